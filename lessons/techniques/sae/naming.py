"""What is a latent about, if the truth is known? Its best true feature, and how good that is.

A latent says that a feature is there wherever it is at least so strong. The threshold is the best
one for this very text, so the scores flatter a little: scores.score chooses on one text and judges
on another.
"""

from typing import NamedTuple

import torch

from lessons.techniques.sae.scores import best_f1


class Name(NamedTuple):
    """A true feature, and how well a latent tells it where it is at least `least`."""

    feature: str
    value: object
    f1: float
    precision: float  # the share of these tokens that have the feature
    recall: float  # the share of the tokens with the feature that are among these
    least: float


def best_names(seen) -> list[Name | None]:
    """Name each latent's best true feature by F1; None if it is on at no token that has one."""
    names: list[Name | None] = [None] * seen.n_latents
    if not seen.features:
        return names
    truth = torch.stack([at[seen.counted] for at in seen.features.values()], 1)  # [n t]
    f1, least = best_f1(seen.sparse, truth)  # [t f] each
    score, which = f1.max(0)  # [f]
    for latent in score.nonzero()[:, 0].tolist():
        t = int(which[latent])
        feature, at = list(seen.features.items())[t]
        where, value = seen.entries(latent)
        said = where[value >= least[t, latent]]  # the tokens where it says so
        hits, total = int(at.flatten()[said].sum()), int(truth[:, t].sum())
        shares = hits / len(said), hits / total, least[t, latent].item()
        names[latent] = Name(*feature, score[latent].item(), *shares)
    return names

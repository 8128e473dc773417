"""Held to the truth: is there a latent for every feature of the world?

    text, held = labelled(model, 300, seed=1), labelled(model, 300, seed=2)
    rows = score(model, sae, text, held)     # chosen on one text, judged on another
    print(table(rows)); print(found(rows))   # ... and the share of features with F1 above 0.8

Of every true feature and every latent: F1 of "the latent is above a threshold", at the best of all
thresholds, and AUROC, which needs none. The best of a thousand latents is the best by luck too, so
latent and threshold are chosen on one text, and only their F1 on other text counts; and labels that
are shuffled between the tokens (`shuffled`) tell how far luck gets.

split     no latent reaches 0.8, but several do when any of them may be on (Bricken et al. 2023)
absorbed  the latent for the feature is silent where a latent for one of its words is on instead
          (Chanin et al. 2024, "A is for Absorption")

Letters: n tokens, d width, f latent, t true feature.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lessons.techniques.sae import writing
from lessons.techniques.sparse_autoencoders import f1, together
from minimech import MinimechError

ENOUGH = 0.8  # F1 from which on a latent stands for a feature
CHUNK = 4096  # tokens that are encoded at a time


@dataclass
class Score:
    """How well the best latent tells a true feature (name, value), on text it was not chosen on.

    f1 of `latent` above `least`, auroc of `ranks`; chosen_f1: on the text they were chosen on.
    tokens: how many have the feature. always: F1 of saying yes every time.
    """

    feature: tuple
    tokens: int
    f1: float
    latent: int
    least: float
    auroc: float
    ranks: int
    chosen_f1: float
    always: float


def score(model, sae, text, held) -> list[Score]:
    """Choose the best latents for each feature on one labelled text, and judge them on another.

    sae: anything with encode([n d]) -> [n f] and cfg.site (baselines.py has controls).
    """
    return score_latents(*latents(model, sae, text), *latents(model, sae, held))


@torch.no_grad()
def latents(model, sae, text) -> tuple[Tensor, dict]:
    """Return the latents [n f], sparse, of all tokens but BOS, and the truth about them.

    The truth: {(feature, value): [n] bool}.
    """
    x = activations(model, text.tokens, sae.cfg.site)
    f = torch.cat([sae.encode(part).to_sparse() for part in x.split(CHUNK)])
    return f.coalesce(), {key: at[:, 1:].flatten() for key, at in text.features().items()}


@torch.no_grad()
def activations(model, tokens: Tensor, site: str, batch: int = 50) -> Tensor:  # [b p] -> [n d]
    """Run the model on tokens, and return the site's activations of all positions but the first."""
    parts = [writing.activations(model, some, site)[:, 1:] for some in tokens.split(batch)]
    return torch.cat(parts).flatten(0, 1)


def score_latents(f: Tensor, truth: dict, held_f: Tensor, held_truth: dict) -> list[Score]:
    """Score latents [n f] (sparse or not, 0 is off), as `score` does."""
    keys = [key for key in truth if key in held_truth]
    if not keys:
        raise MinimechError("the two texts share no feature with 20 tokens; write more documents")
    y = torch.stack([truth[key] for key in keys], 1)  # [n t]
    held_y = torch.stack([held_truth[key] for key in keys], 1)
    chosen, latent, at = choose(f, y)  # [t] each
    judged = told(held_f, held_y, latent, at)
    ranks = auroc(f, y).argmax(1)  # [t]
    area = auroc(columns(held_f, ranks), held_y).diagonal()
    tokens = held_y.sum(0)
    always = 2 * tokens / (tokens + len(held_y))
    fields = tokens, judged, latent, at, area, ranks, chosen, always
    return [Score(key, *row) for key, *row in zip(keys, *(part.tolist() for part in fields))]


def choose(f: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # [n f], [n t] -> [t] each
    """Choose for each feature the latent with the best F1: that F1, the latent, its threshold."""
    best, least = best_f1(f, y)  # [t f] both
    chosen, latent = best.max(1)
    return chosen, latent, least[torch.arange(len(latent)), latent]


def told(f: Tensor, y: Tensor, latent: Tensor, least: Tensor) -> Tensor:  # -> [t]
    """Say how well the latents chosen tell the features on this text: F1 of f >= least."""
    return f1(columns(f, latent) >= least, y).diagonal()


def columns(f: Tensor, which: Tensor) -> Tensor:  # [n f], [t] -> [n t]
    """Take latents out, as an ordinary matrix."""
    return f.index_select(1, which).to_dense() if f.is_sparse else f[:, which]


def by_latent(f: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # [n f] -> [m] each
    """List where latents are on: latent, token, value, and how many tokens are this high or higher.

    Sorted by latent, and then the largest value first; the count is among the latent's own.
    """
    f = (f if f.is_sparse else f.to_sparse()).coalesce()
    (token, latent), values = f.indices(), f.values()
    order = torch.argsort(values, descending=True, stable=True)
    order = order[torch.argsort(latent[order], stable=True)]
    latent, token, values = latent[order], token[order], values[order]
    start = latent.bincount(minlength=f.shape[1]).cumsum(0).roll(1)
    start[0] = 0
    place = torch.arange(1, len(values) + 1) - start[latent]  # [m] 1, 2, ... within its latent
    new = torch.ones(len(values), dtype=torch.bool)
    new[1:] = (values[1:] != values[:-1]) | (latent[1:] != latent[:-1])
    group = new.cumsum(0) - 1  # equal values of one latent are taken in together
    last = torch.zeros(int(new.sum()), dtype=torch.long).scatter_reduce(0, group, place, "amax")
    return latent, token, values, last[group]


def best_f1(f: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:  # [n f], [n t] -> [t f], [t f]
    """Find for each feature and latent the best threshold: F1 of f >= threshold > 0, and itself.

    All thresholds are tried: going down through a latent's values, tokens are taken in one by one,
    and those of equal value together. F1 only ever rises at a token that has the feature, so only
    these are looked at. A latent that is on at none of them has F1 0, at threshold infinity.
    """
    latent, token, values, count = by_latent(f)
    total, n_latents = y.sum(0), f.shape[1]  # [t]
    entry, t = y[token].nonzero().T  # [h] hits: an entry at a token with feature t
    pair = t * n_latents + latent[entry]
    order = pair.argsort(stable=True)  # each pair's hits, still the largest value first
    entry, t, pair = entry[order], t[order], pair[order]
    hits = pair.bincount(minlength=len(total) * n_latents)
    both = torch.arange(1, len(pair) + 1) - (hits.cumsum(0) - hits)[pair]  # [h] so far
    score = 2 * both / (count[entry] + total[t])  # of equal values the last is right, and most
    best = torch.zeros(len(hits)).scatter_reduce(0, pair, score, "amax")
    top = score == best[pair]
    least = torch.full_like(best, -torch.inf)
    least = least.scatter_reduce(0, pair[top], values[entry[top]].float(), "amax")
    least[hits == 0] = torch.inf
    return best.view(-1, n_latents), least.view(-1, n_latents)


def auroc(f: Tensor, y: Tensor) -> Tensor:  # [n f], [n t] -> [t f]
    """How probably is a latent higher on a token with the feature than on one without it?

    A tie counts half: ranks, of which equal values share the mean, and the U statistic of Mann and
    Whitney. Where all tokens have the feature, or none, nan. Never on: 0.5.
    """
    latent, token, values, count = by_latent(f)
    y, n_latents = y.double(), f.shape[1]
    n, positive = len(y), y.sum(0)  # [t]
    new = torch.ones(len(values), dtype=torch.bool)
    new[1:] = (latent[1:] != latent[:-1]) | (count[1:] != count[:-1])
    size = new.nonzero()[:, 0].diff(append=torch.tensor([len(values)]))
    size = size[new.cumsum(0) - 1]  # [m] of how many equal ones
    on, below = (latent[some].bincount(minlength=n_latents) for some in (values != 0, values < 0))
    zero = below + (n - on + 1) / 2  # [f] the rank that all zeros share
    rank = n + 1 - count + (size - 1) / 2  # [m] 1 is the lowest of all n,
    rank = rank - (values < 0) * (n - on)[latent]  # and zeros lie above what is negative
    at, more = torch.stack([latent, token]), rank.double() - zero[latent]
    sums = torch.sparse_coo_tensor(at, more, (n_latents, n), check_invariants=False) @ y  # [f t]
    u = sums.T + positive[:, None] * zero - (positive * (positive + 1) / 2)[:, None]
    return (u / (positive * (n - positive))[:, None]).float()


def found(rows: list[Score], enough: float = ENOUGH) -> float:
    """Return the share of features that have a latent with F1 above `enough`."""
    return sum(row.f1 > enough for row in rows) / len(rows)


def shuffled(f: Tensor, truth: dict, held_f: Tensor, held_truth: dict, seed: int = 0):
    """Score the same latents on labels that are shuffled between the tokens: what luck gets."""
    generator = torch.Generator().manual_seed(seed)

    def mix(y):
        return {key: at[torch.randperm(len(at), generator=generator)] for key, at in y.items()}

    return score_latents(f, mix(truth), held_f, mix(held_truth))


def split(f: Tensor, truth: dict, rows: list[Score], most: int = 40) -> dict[tuple, list[int]]:
    """Find the features that several latents tell together, and no single one: -> the latents.

    Together: any of them is on (`together` of the lesson, among the `most` latents with the best F1
    of their own). No single one: not the row's, on held-out text.
    """
    on = (f.to_dense() if f.is_sparse else f) > 0  # [n f]
    out = {}
    for row in rows:
        if row.f1 <= ENOUGH and row.feature in truth:
            at = truth[row.feature]
            near = f1(on, at[:, None])[0].topk(min(most, on.shape[1])).indices
            chosen = near[together(on[:, near], at, ENOUGH)].tolist()
            if len(chosen) > 1:
                out[row.feature] = chosen
    return out


def absorbed(
    f: Tensor, at: Tensor, words: Tensor, latent: int, least: float, enough: float = ENOUGH
) -> list[tuple[int, int, float]]:
    """List the words that a feature's latent leaves to latents of their own: (word, latent, share).

    f [n f], at [n]: tokens with the feature, words [n]: their ids. A word of the feature is
    absorbed if the feature's latent (f >= least) is silent at most of its tokens, and another
    latent, on at that word (F1 above `enough` as a detector of this word), is on at most of the
    silent ones. share: of the word's tokens, how many are silent with the other latent on.

    That counts, and proves nothing: a latent for a part of the class ("he" and "she", of pronouns)
    is silent at the other words because they are no business of its own. Of words drawn at random
    some are absorbed too (compare.absorbed_by_luck).
    """
    dense = f.to_dense() if f.is_sparse else f
    silent = at & (dense[:, latent] < least)
    ids = words[at].unique()
    own = f1(dense > 0, words[:, None] == ids)  # [w f]
    own[:, latent] = 0
    out = []
    for word, (score_, other) in zip(ids.tolist(), zip(*own.max(1))):
        here = at & (words == word)
        instead = here & silent & (dense[:, other] > 0)
        if score_ > enough and 2 * int(instead.sum()) > int(here.sum()):
            out.append((word, int(other), (instead.sum() / here.sum()).item()))
    return out


def table(rows: list[Score]) -> str:
    """Print the rows, best first."""
    lines = [f"{'feature':<26} {'F1':>5} {'AUROC':>6} {'latent':>6} {'always':>6}"]
    for row in sorted(rows, key=lambda row: -row.f1):
        name = f"{row.feature[0]} {row.feature[1]}"
        numbers = f"{row.f1:5.2f} {row.auroc:6.3f} {row.latent:6d} {row.always:6.2f}"
        lines.append(f"{name:<26} {numbers}")
    return "\n".join(lines)

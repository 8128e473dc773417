# Yours to fill in: write lines in place of each `raise NotImplementedError`. Then
#   make check-10           says what is right, what is not yet, and why; make hint-10.1 helps
#   make lesson-10 MINE=1   runs the lesson on what you have written
# Made from lessons/techniques/spurious_features.py, where the answers are, by `python -m lessons.course stubs`.
"""Find out what a classifier goes by, and take it away from it (lesson 10).

The classifier reads the mean of a sentence's activations. The mean of a sum is the sum of the
means: so what an autoencoder says of the tokens it also says of their mean,

    x = f @ W_dec + b_dec + error        x [b d], f [b f]: means over the tokens of a sentence

and a latent has its share in every logit. Marks et al. 2024, "Sparse Feature Circuits", section 4
(SHIFT); Sundararajan et al. 2017, "Axiomatic Attribution" (integrated gradients).

Letters: b sentence, p position, d width of the activation, f latent, n token.
"""

import torch
from torch import Tensor

from minimech.tokens import PAD


def worst_group(right: Tensor, label: Tensor, gender: Tensor) -> float:
    """Return the lowest accuracy of the four groups: label true or false, gender true or false.

    right, label, gender [b] are booleans: whether the classifier was right, and of whom. A group
    with nobody in it does not count.
    """
    # exercise 10.1: the worst group (5 min)
    raise NotImplementedError("exercise 10.1")
    # end


def put(x: Tensor, f: Tensor, W_dec: Tensor, latents: list[int], to: Tensor) -> Tensor:
    """Give some latents other values, and leave all else in the activation: [... d].

    x [... d] is the activation: [b d], [b p d], or one [d]. f [... f] is what each latent has in
    it, W_dec [f d] what a latent writes per unit. Each of `latents` shall have the value that `to`
    [f] has for it, everywhere. What the autoencoder misses (its error) stays in x, and so do all
    other latents.
    """
    # exercise 10.2: put a latent elsewhere (8 min)
    raise NotImplementedError("exercise 10.2")
    # end


def integrated(score, f: Tensor, base: Tensor, steps: int) -> Tensor:  # [b f], [f] -> [b f]
    """Share out score(f) - score(base) among latents, by integrated gradients.

    `score` takes values of latents [b f] to one number per sentence [b]; no sentence sees another.
    Walk in a straight line from base to f, through base + a (f - base). Take the slope of the score
    by each latent at `steps` points, a = 0.5/steps, 1.5/steps, ..., (the middles of `steps` equal
    parts of the way). A latent's share is its mean slope, times its own way, f - base. The shares
    of a sentence add up to what the score changes by, but for the size of the steps.
    Note: the lesson runs with gradients off, so work under torch.enable_grad().
    """
    # exercise 10.3: integrated gradients (15 min)
    raise NotImplementedError("exercise 10.3")
    # end


def leaning(f: Tensor, one: Tensor, other: Tensor) -> Tensor:  # [n f], [n], [n] -> [f]
    """Say of each latent which of two kinds of token it is on at: from -1 to 1.

    f [n f], not negative; `one` and `other` [n] say which tokens are of which kind; some are of
    neither. With A a latent's mean over the tokens of the one kind, and B over those of the other:
    (A - B) / (A + B). 1: on at the one kind alone; 0: on at both alike, or never on at either.
    """
    # exercise 10.4: what is a latent about? (8 min)
    raise NotImplementedError("exercise 10.4")
    # end


def matched(size: Tensor, chosen: list[int]) -> list[int]:  # [f] -> as many as chosen
    """Pick a fair control for chosen latents: others that are as large as they are.

    size [f] is how much a latent writes. For each of `chosen`, in order, take the latent whose size
    is nearest to its own, of those that are neither chosen nor taken yet (of two equally near, the
    lower number). Random latents would not do: most are nearly never on, so nobody misses them.
    """
    # exercise 10.5: a fair control (10 min)
    raise NotImplementedError("exercise 10.5")
    # end


def choose(shares: Tensor, logit: Tensor, label: Tensor, most: int) -> list[int]:
    """Choose at most `most` latents without which the classifier is right, also on the worst group.

    logit [b]: above 0 says label True. shares [b f]: what each latent adds to a sentence's logit;
    without it the logit is less by just that, and what several add adds up. label [b]. There are as
    many sentences of each of the four groups, and they come in this order: False with False, False
    with True, True with False, True with True (label with gender). Return latents, each once; the
    accuracy of the worst group without them should be as high as you can get it. It may stay at 0
    until several are gone. Any way to choose is right that does about as well as step by step.
    """
    # exercise 10.6: choose with the answers at hand (25 min)
    raise NotImplementedError("exercise 10.6")
    # end


def read(model, tokens: Tensor, site: str, hooks=(), batch: int = 100) -> Tensor:  # -> [b p d]
    """Run sentences and return the activations at a site; 0 at BOS and behind a sentence's end."""
    return torch.cat([x for (x,) in parts(model, tokens, [site], hooks, batch)])


def parts(model, tokens: Tensor, sites: list[str], hooks=(), batch: int = 100):
    """Run sentences in parts, no further than needed; yield each part's activations, by site."""
    stop = 1 + max(int(site.split(".")[1]) for site in sites)
    for some in tokens.split(batch):
        run = {"names_filter": sites, "stop_at_layer": stop, "fwd_hooks": hooks}
        cache = model.run_with_cache(some, **run)[1]
        yield [cache[site].masked_fill(~words(some)[..., None], 0) for site in sites]


def words(tokens: Tensor) -> Tensor:  # [b p] -> [b p]
    """Say which tokens are text: not BOS, which is first, and not PAD."""
    real = tokens != PAD
    real[:, 0] = False
    return real


def pool(x: Tensor, tokens: Tensor) -> Tensor:  # [b p d], [b p] -> [b d]
    """Take the mean over a sentence's words."""
    real = words(tokens)[..., None]  # [b p 1]
    return (x * real).sum(1) / real.sum(1)


def pooled(model, tokens: Tensor, sites: list[str], hooks=()) -> Tensor:  # -> [site b d]
    """Run sentences and return the mean activation over the words of each, at some sites."""
    runs = zip(parts(model, tokens, sites, hooks), tokens.split(100))
    means = [torch.stack([pool(x, some) for x in run]) for run, some in runs]
    return torch.cat(means, dim=1)


def codes(sae, x: Tensor, tokens: Tensor, batch: int = 50) -> Tensor:  # [b p d], [b p] -> [b f]
    """Say how much each latent is on in a sentence, mean over its words."""
    pairs = zip(x.split(batch), tokens.split(batch))
    return torch.cat([pool(sae.encode(some), ids) for some, ids in pairs])


def draws(free: list[int], size: int, n: int, seed: int = 0) -> list[list[int]]:
    """Draw n random sets of a size from free latents."""
    draw = torch.Generator().manual_seed(seed)
    return [[free[i] for i in torch.randperm(len(free), generator=draw)[:size]] for _ in range(n)]


def scores(right: Tensor, sample) -> tuple[float, float, float]:  # [b]
    """Return a classifier's accuracy where gender and label agree, where not, and the worst group.

    `sample`: Bios, of whom `right` says whether the classifier was right.
    """
    agree, disagree = (right[at].float().mean().item() for at in (sample.agree, ~sample.agree))
    return agree, disagree, worst_group(right, sample.label, sample.gender)


def table(rows: dict[str, tuple], columns: list[str]) -> str:
    """Write named rows as a table: floats are shares, in percent; a dash where there is None."""
    wide = max(map(len, rows)) + 2
    widths = [max(10, len(name) + 2) for name in columns]
    lines = [" " * wide + "".join(f"{name:>{n}}" for name, n in zip(columns, widths))]
    for name, row in rows.items():
        cells = [f"{x:.1%}" if isinstance(x, float) else str("-" if x is None else x) for x in row]
        cells = [f"{cell:>{n}}" for cell, n in zip(cells, widths)]
        lines.append(f"{name:<{wide}}" + "".join(cells))
    return "\n".join(lines)

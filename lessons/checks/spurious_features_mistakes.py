"""The usual mistakes of lesson 10: sentences, and what each mistake would give instead."""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from lessons.checks.spurious_features_loops import worst


def groups(right: Tensor, label: Tensor, gender: Tensor) -> dict:
    """Name the usual mistakes, and what each would give."""
    hits = right.float()
    agree = label == gender
    return {
        "the worst of the groups: yours is the accuracy of all": hits.mean().item(),
        "four groups, label by gender: yours are two, where they agree and where not": min(
            hits[at].mean().item() for at in (agree, ~agree) if at.any()
        ),
        "four groups, label by gender: yours are the two labels": min(
            hits[at].mean().item() for at in (label, ~label) if at.any()
        ),
        "four groups, label by gender: yours are the two genders": min(
            hits[at].mean().item() for at in (gender, ~gender) if at.any()
        ),
        "a group with nobody in it does not count: yours counts as 0 there": 0.0,
        "a group with nobody in it does not count: yours is nan there": math.nan,
        "the lowest accuracy: yours is the mean of the groups": mean_of_groups(hits, label, gender),
        "a share of its own group: yours is divided by all sentences": min(
            (hits * ((label == a) & (gender == b))).mean().item()
            for a in (False, True)
            for b in (False, True)
            if ((label == a) & (gender == b)).any()
        ),
    } | one_left_out(hits, label, gender)


def one_left_out(hits: Tensor, label: Tensor, gender: Tensor) -> dict:
    """Name those who look at three groups of four."""
    pairs, mistakes = [(a, b) for a in (False, True) for b in (False, True)], {}
    for out in pairs:
        groups = [(label == a) & (gender == b) for a, b in pairs if (a, b) != out]
        said = f"four groups, label by gender: yours leaves out label {out[0]}, gender {out[1]}"
        mistakes[said] = min((hits[at].mean().item() for at in groups if at.any()), default=1.0)
    return mistakes


def mean_of_groups(hits: Tensor, label: Tensor, gender: Tensor) -> float:
    """Average over the groups that are there."""
    all_four = [(label == a) & (gender == b) for a in (False, True) for b in (False, True)]
    means = [hits[at].mean().item() for at in all_four if at.any()]
    return sum(means) / len(means)


def puts(x: Tensor, f: Tensor, W_dec: Tensor, latents: list[int], to: Tensor) -> dict:
    """Name the usual mistakes, and what each would give."""
    code, part, rows = f.clone(), f[..., latents], W_dec[latents]
    code[..., latents] = to[latents]
    return {
        "the error stays in x: yours is put together from latents alone, and lost it": code @ W_dec,
        "the latents go to the values in `to`: yours go to 0": x - part @ rows,
        "the new values replace the old: yours are added to them": x + to[latents] @ rows,
        "the other way round: add (to - f), yours adds (f - to)": x - (to[latents] - part) @ rows,
        "only the given latents move: yours moves all": x + (to - f) @ W_dec,
        "latents have numbers, W_dec[latents]: yours takes the first rows": (
            x + (to[latents] - part) @ W_dec[: len(latents)]
        ),
    }


def walks(score, f: Tensor, base: Tensor, steps: int) -> dict:
    """Name the usual mistakes, and what each would give."""
    middles, way = [(step + 0.5) / steps for step in range(steps)], f - base

    def summed(points, times=way):
        return sum(slope(score, base, way, a) for a in points) / steps * times

    late = [a * slope(score, base, way, a) for a in middles]  # slopes by f
    kept = sum((steps - i) * one for i, one in enumerate(late)) / steps * way
    return off_the_middle(summed, steps) | {
        "times the latent's own way, f - base: yours is times f": summed(middles, f),
        "a share is the mean slope times the way: yours is the slope alone": summed(middles, 1),
        "the mean of the slopes: yours is their sum": summed(middles) * steps,
        "the slope by the point on the way: yours is by f, and f moves the point by a only": (
            sum(late) / steps * way
        ),
        "f.grad keeps what it had, and adds: yours is not cleared from step to step": kept,
        "each sentence its own score, so .sum(): yours is the slope of their mean": (
            summed(middles) / len(f)
        ),
        "the way starts at base: yours starts at 0": (
            sum(slope(score, torch.zeros_like(f), f, a) for a in middles) / steps * f
        ),
        "what the score gains: yours has the other sign": -summed(middles),
    }


def slope(score, start: Tensor, way: Tensor, a: float) -> Tensor:
    """Differentiate the score at a point on the way, by that point."""
    with torch.enable_grad():
        at = (start + a * way).detach().requires_grad_()
        return torch.autograd.grad(score(at).sum(), at)[0]


def off_the_middle(summed, steps: int) -> dict:
    """Name the mistakes of those who look at other points of the way."""
    ends = torch.linspace(0, 1, steps).tolist() if steps > 1 else [0.0]
    whole, middle = "the slopes of the whole way:", "the middle of each step, (step + 0.5) / steps:"
    return {
        f"{whole} yours is the slope at its end, times the way": summed([1.0] * steps),
        f"{whole} yours is the slope at its start, times the way": summed([0.0] * steps),
        f"{middle} yours is its start": summed([step / steps for step in range(steps)]),
        f"{middle} yours is its end": summed([(step + 1) / steps for step in range(steps)]),
        f"{middle} yours has both ends of the way": summed(ends),
    }


def leanings(f: Tensor, one: Tensor, other: Tensor) -> dict:
    """Name the usual mistakes, and what each would give."""
    a, b = f[one].mean(0), f[other].mean(0)
    sum_a, sum_b = f[one].sum(0), f[other].sum(0)
    on_a, on_b = (f[one] > 0).float().mean(0), (f[other] > 0).float().mean(0)
    return {
        "a latent that is never on leans nowhere, 0: yours is 0 / 0 there": (a - b) / (a + b),
        "the mean over the tokens of one kind: yours is a sum, or divided by the number of all": (
            parts(sum_a, sum_b)
        ),
        "divide by the sum of both means: yours is not divided": a - b,
        "how much it is on: yours counts how often": parts(on_a, on_b),
        "1 is the one kind alone: yours has the other sign": parts(b, a),
        "from -1 to 1: yours is A's part, from 0 to 1": torch.where(a + b > 0, a / (a + b), 0.0),
        "over tokens of the two kinds: yours takes all that are not `one` for the other": parts(
            a, f[~one].mean(0)
        ),
    }


def parts(a: Tensor, b: Tensor) -> Tensor:
    """Return (a - b) / (a + b), 0 where both are."""
    return torch.where(a + b > 0, (a - b) / (a + b), 0.0)


def partner(got, want: list[int], size: Tensor, chosen: list[int], call: str) -> str:
    """Say which latent's partner is not the nearest that is free."""
    said = f"\n  {call}\n    got       {got}\n    expected  {want}"
    if not isinstance(got, list):
        return f"a list of latents is expected{said}"
    if sorted(got) == sorted(want):
        return f"for each of `chosen`, in order: yours come in another order{said}"
    i = next(i for i, (a, b) in enumerate(zip(got, want)) if a != b)
    return (
        f"for latent {chosen[i]}, of size {size[chosen[i]]:.3g}, the nearest that is free is "
        f"{want[i]}, of size {size[want[i]]:.3g}; yours is {got[i]}, of {size[got[i]]:.3g}{said}"
    )


def why(shares: Tensor, logit: Tensor, label: Tensor, got: list[int], most: int) -> str:
    """Say what may have led to a choice that does not help, or not enough."""
    own = worst(shares, logit, label, got)
    sign = label * 2.0 - 1
    helped = (shares * sign[:, None]).mean(0)  # [f], for the right label, over all groups
    if not got:
        return (
            "There may be no single one that raises it: it stays where it is until several are "
            "gone. Take the one that makes the sentences less wrong, by their mean loss."
        )
    if (helped[got] > 0.2).any():
        i = got[int((helped[got]).argmax())]
        return f"Latent {i} helps the right label in all groups: it should stay."
    if any(worst(shares, logit, label, got[:n]) > own for n in range(1, len(got))):
        return "Fewer of them would do better: look again after each one that you take."
    if len(got) < most:
        stopped, more = f"You stopped after {len(got)} of {most}", range(shares.shape[1])
        more = [[*got, i] for i in more if i not in got]
        if any(worst(shares, logit, label, gone) > own for gone in more):
            return f"{stopped}: one more would help."
        left = logit - shares[:, got].sum(1)  # [b]
        after = softplus(-sign[:, None] * (left[:, None] - shares)).mean(0)  # [f]
        if after.min() < softplus(-sign * left).mean():
            return f"{stopped}, and the mean loss can still fall."
    return "Look at the sentences that are wrong: which latents push them there?"

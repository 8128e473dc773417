"""What the checks of lesson 01 hold answers against: slow loops, losses counted out, slips."""

import math

import torch
from torch import Tensor

from lessons.checks import brief


def looped_output(x, W, b, relu=True, hidden_relu=False) -> Tensor:
    """Compute y one number at a time."""
    y = torch.zeros_like(x)
    instances, dimensions, features = W.shape
    for i in range(instances):
        for e in range(x.shape[1]):
            h = [sum(W[i, d, f] * x[i, e, f] for f in range(features)) for d in range(dimensions)]
            h = [max(v, torch.tensor(0.0)) for v in h] if hidden_relu else h
            for f in range(features):
                read = sum(W[i, d, f] * h[d] for d in range(dimensions)) + b[i, f]
                y[i, e, f] = max(read, torch.tensor(0.0)) if relu else read
    return y


def looped_shares(W: Tensor) -> Tensor:
    """Compute D one feature at a time."""
    D = torch.zeros(len(W), W.shape[-1])
    for i in range(len(W)):
        for f in range(W.shape[-1]):
            length = math.sqrt(sum(float(v) ** 2 for v in W[i, :, f]))
            if length == 0:
                continue
            overlaps = [float(W[i, :, f] @ W[i, :, g]) / length for g in range(W.shape[-1])]
            D[i, f] = length**2 / sum(overlap**2 for overlap in overlaps)
    return D


def share(top: Tensor, terms: Tensor, flip: bool = False) -> Tensor:
    """Divide by a sum over the last axis; what has length 0 gets 0."""
    below = terms.sum(-1)
    value = below / top if flip else top / below
    return torch.where(top > 0, value, 0.0)


def counted_losses(p: float, r: float) -> list[float]:
    """Work out the three networks' losses; what a grid of n steps misses falls as 1 / n^2.

    So two grids tell how much it is, and taking it off leaves rounding errors only.
    """
    coarse, fine = gridded_losses(p, r, 20), gridded_losses(p, r, 40)
    return [b + (b - a) / 3 for a, b in zip(coarse, fine)]


def gridded_losses(p: float, r: float, steps: int) -> list[float]:
    """Run the three networks on a grid of strengths; each pattern has its probability."""
    grid = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    nothing = torch.zeros(1, dtype=torch.float64)
    worlds = {
        (grid, nothing): p * (1 - p),
        (nothing, grid): (1 - p) * p,
        (grid, grid): p * p,
        (nothing, nothing): (1 - p) ** 2,
    }
    losses = []
    for (w1, w2), (b1, b2) in (((1, 0), (0, p / 2)), ((0, 1), (p / 2, 0)), ((1, -1), (0, 0))):
        total = 0.0
        for (first, second), probability in worlds.items():
            x1, x2 = first[:, None], second[None]
            h = w1 * x1 + w2 * x2
            wrong = (x1 - (w1 * h + b1).relu()) ** 2 + r * (x2 - (w2 * h + b2).relu()) ** 2
            total += probability * wrong.mean().item()
        losses.append(total)
    return losses


def drawn_loss(W: Tensor, b: Tensor, density: float, seed: int) -> float:
    """Measure the loss on many draws, all features alike; both rivals get the same draws."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(200_000, 5, generator=draw, dtype=torch.float64)
    x = x * (torch.rand(200_000, 5, generator=draw) < density)
    y = (x @ W.T @ W + b).relu()
    return ((x - y) ** 2).sum(-1).mean().item()


def slips_on_paper(p: Tensor, r: Tensor) -> dict[str, Tensor]:
    """Say what usual slips in the three formulas would give."""
    variance, second, clash = p / 3 - p**2 / 4, p / 3, p**2 / 6
    pair = (1 + r) * clash
    short = "each is short by the smaller of the two, E[min^2] = 1/6: yours has"

    def three(*losses: Tensor) -> Tensor:
        return torch.stack([loss + 0 * p for loss in losses], -1)

    return {
        "the feature left out costs its importance: W = (1, 0) leaves out feature 2, which has "
        "r, and W = (0, 1) feature 1, which has 1": three(variance, r * variance, pair),
        "a feature left out is answered with its mean, so its variance is lost: E[x^2] - E[x]^2, "
        "yours is E[x^2]": three(r * second, second, pair),
        "the mean of a feature that may be off is density / 2: yours takes 1/2": three(
            r * (p / 3 - p / 2 + 0.25), p / 3 - p / 2 + 0.25, pair
        ),
        "the variance takes in that a feature is mostly off: density / 3 - density^2 / 4": three(
            r * p / 12, p / 12, pair
        ),
        "density is how often a feature is on: yours takes it for the sparsity, 1 - density": three(
            r * ((1 - p) / 3 - (1 - p) ** 2 / 4),
            (1 - p) / 3 - (1 - p) ** 2 / 4,
            (1 + r) * (1 - p) ** 2 / 6,
        ),
        "both are on with probability density^2: yours has density": three(
            r * variance, variance, (1 + r) * p / 6
        ),
        "when both are on, both are read wrongly: yours counts one of them": three(
            r * variance, variance, clash
        ),
        "when both are on, both are read wrongly: yours counts only feature 2": three(
            r * variance, variance, r * clash
        ),
        f"{short} 1/3": three(r * variance, variance, 2 * pair),
        f"{short} 1/12": three(r * variance, variance, pair / 2),
    }


def slips_of_cost(x: Tensor, y: Tensor, each: Tensor) -> dict[str, Tensor]:
    """Say what usual slips in the weighted loss would give; `each` is the importance [i b f]."""
    square = (x - y) ** 2
    return {
        "the importance is squared too: square the difference first, then multiply": (
            (each * (x - y)) ** 2
        )
        .sum(-1)
        .mean(-1),
        "the importance is missing: a mistake in feature f costs I_f times its square": square.sum(
            -1
        ).mean(-1),
        "the mean goes over examples only, and features are summed: yours takes the mean of both": (
            each * square
        ).mean((-1, -2)),
        "the sum goes over features only: over the examples, take the mean": (each * square).sum(
            (-1, -2)
        ),
        "it should be a sum over features and a mean over examples: yours is the other way": (
            each * square
        )
        .mean(-1)
        .sum(-1),
        "one loss for each instance is wanted: yours mixes the instances": (
            (each * square).sum(-1).mean()
        ),
        "the mean should go over examples: yours goes over instances": (
            (each * square).sum(-1).mean(0)
        ),
        "the difference is not squared": (each * (x - y).abs()).sum(-1).mean(-1),
        "the difference has no square, and errors above and below 0 cancel": (
            (each * (x - y)).sum(-1).mean(-1)
        ),
        "the loss has no 1/2 in it: yours is half": (each * square).sum(-1).mean(-1) / 2,
        "the importance divides: it should multiply": (square / each).sum(-1).mean(-1),
    }


def weighed(W: Tensor, b: Tensor, density: float, seed: int) -> str:
    """Say whether more bias would help or less, and what tells so: five directions are right."""
    square, bias = W.square().sum(0).mean(), b.mean()
    near = max(0.0, (math.cos(2 * math.pi / 5) * square + bias).item())
    weak = max(0.0, (0.3 * square + bias).item())
    less, more = (drawn_loss(W, b + step, density, seed) for step in (0.05, -0.05))
    if more < less:
        return f"more bias: beside a feature that is fully on, a neighbour is read as {near:.2f}"
    return f"less bias: a feature that is on at strength 0.3 is read as {brief(round(weak, 2))}"


def seen_in(W: Tensor, b: Tensor) -> str:
    """Name what stands out in weights that are not good enough; "" where they look right."""
    length = W.norm(dim=0)
    if (length < 0.5).any():
        lost = ", ".join(str(f + 1) for f in (length < 0.5).nonzero().flatten().tolist())
        return f"a direction is shorter than 1/2, of feature {lost}: all five should be represented"
    angles = torch.atan2(W[1], W[0]).rad2deg().sort().values
    gaps = torch.cat([angles, angles[:1] + 360]).diff()
    if (gaps - 72).abs().max() > 6:
        return f"five equal gaps would be 72 degrees each: yours are {brief(gaps.round())}"
    if b.max() > 0:
        return "a bias above 0 is noise even where nothing is on: below 0, it is a threshold"
    if b.min() > -0.05:
        return (
            "with no bias every neighbour is heard, cos 72 = 0.31 of it: a threshold keeps it out"
        )
    strong = (length.square() + b).mean().item()
    if strong < 0.85:
        said = "the bias takes some away, so make the directions longer"
        return f"a feature that is fully on is read as {strong:.2f}: {said}"
    if strong > 1.2:
        return f"a feature that is fully on is read as {strong:.2f}: the directions are too long"
    return ""

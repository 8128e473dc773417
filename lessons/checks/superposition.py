"""Checks of lesson 01, the toy models: slow loops, worked examples, and losses counted out."""

import math

import torch
from torch import Tensor

from lessons.checks import Wrong, brief, called, described, judge, same
from lessons.checks.superposition_loops import (
    counted_losses,
    drawn_loss,
    looped_output,
    looped_shares,
    seen_in,
    share,
    slips_of_cost,
    slips_on_paper,
    weighed,
)

# ---- 1.1 the toy model ---------------------------------------------------------------------------


def check_output(mine, seed):
    """Hold it against one feature worked out by hand, then against loops over all sizes."""
    x = torch.tensor([[[0.5, 2.0]]])
    W, b = torch.tensor([[[1.0, -1.0]]]), torch.tensor([[0.5, -0.25]])
    judged_output(mine, x, W, b, f"output(x={brief(x)}, W={brief(W)}, b={brief(b)})")
    draw = torch.Generator().manual_seed(seed)
    x, W = 3 * torch.rand(2, 6, 5, generator=draw), torch.randn(2, 3, 5, generator=draw)
    b = torch.randn(2, 5, generator=draw)
    judged_output(mine, x, W, b, "output(x [2 6 5], W [2 3 5], b [2 5])")
    judged_gradient(mine, x, W, b, torch.randn(2, 6, 5, generator=draw))


def judged_output(mine, x: Tensor, W: Tensor, b: Tensor, call: str) -> None:
    """Hold one call against the loop, and against what usual slips would give."""
    linear = looped_output(x, W, b, relu=False)
    no_bias = looped_output(x, W, 0 * b, relu=False)
    outer = looped_output(x, W, b, relu=False, hidden_relu=True)
    mixed = looped_output(x, W.flip(0), b)
    mistakes = {
        "the ReLU is missing: what comes out below 0 is cut to 0, last of all": linear,
        "the bias comes too late: add b before the ReLU, so that it can act as a threshold": (
            no_bias.relu() + b[:, None]
        ),
        "the bias b is missing": no_bias.relu(),
        "b goes on with a minus: it is added": (no_bias - b[:, None]).relu(),
        "the ReLU is on the hidden space: h = W x has none, only y does": outer,
        "a ReLU on h too: h = W x has none, only y does": outer.relu(),
        "each instance has its own W: yours takes another's": mixed,
        "yours gives the ReLU of x and not of what is read back from h": x.relu(),
    }
    judge(called(mine.output, x, W, b), looped_output(x, W, b), call, mistakes)


def judged_gradient(mine, x: Tensor, W: Tensor, b: Tensor, weights: Tensor) -> None:
    """Training follows the slopes by W and b: those of a weighted sum of y should be the loop's."""
    slopes = []
    for run in (looped_output, mine.output):
        leaves = W.clone().requires_grad_(), b.clone().requires_grad_()
        with torch.enable_grad():
            total = (run(x.clone(), *leaves) * weights).sum()
            able = total.requires_grad
            slopes.append(torch.autograd.grad(total, leaves, allow_unused=True) if able else ())
    out = "leave out detach, no_grad, numpy and tensor(...)"
    for name, slope, right in zip("Wb", slopes[1] or (None, None), slopes[0]):
        if slope is None:
            raise Wrong(f"no gradient reaches {name}, so it could not be learned: {out}")
        said = f"y is right, but not its gradient by {name}, along which training goes: {out}"
        if name == "W":
            said += ". W stands in h and in y, and both count"
        if not same(slope, right, 1e-4):
            raise Wrong(said)


# ---- 1.2 what a mistake costs --------------------------------------------------------------------


def check_weighted_loss(mine, seed):
    """Hold it against three features worked out by hand, then loops, and odd importances."""
    x, y = torch.tensor([[[1.0, 0, 2], [3, 1, 0]]]), torch.tensor([[[0.0, 2, 2], [3, 0, -1]]])
    importance = torch.tensor([1.0, 0.5, 0.25])
    call = f"weighted_loss(x={brief(x)}, y={brief(y)}, importance={brief(importance)})"
    judged_loss(mine, x, y, importance, call)
    draw = torch.Generator().manual_seed(seed)
    x, y = torch.rand(3, 4, 5, generator=draw), torch.randn(3, 4, 5, generator=draw)
    importance = torch.rand(5, generator=draw)
    judged_loss(mine, x, y, importance, "weighted_loss(x [3 4 5], y [3 4 5], importance [5])")
    judged_slope(mine, x, y, importance)
    each = torch.rand(3, 4, 5, generator=draw)
    judged_loss(mine, x, y, each, "weighted_loss(x [3 4 5], y [3 4 5], importance [3 4 5])")


def judged_slope(mine, x: Tensor, y: Tensor, importance: Tensor) -> None:
    """Training follows the loss's slope by y, 2 I (y - x) over the number of examples."""
    y = y.clone().requires_grad_()
    with torch.enable_grad():
        loss = mine.weighted_loss(x, y, importance).sum()
        if loss.requires_grad:
            loss.backward()
    if y.grad is None:
        raise Wrong("no gradient reaches y, so nothing could be learned: leave out detach and item")
    judge(y.grad, 2 * importance * (y.detach() - x) / x.shape[1], "the gradient of the loss by y")


def judged_loss(mine, x: Tensor, y: Tensor, importance: Tensor, call: str) -> None:
    """Hold one call against the loop, and against what usual slips would give."""
    each, want = importance.expand_as(x), torch.zeros(len(x))  # [i b f], [i]
    for i in range(len(x)):
        for e in range(x.shape[1]):
            for f in range(x.shape[2]):
                want[i] += each[i, e, f] * (x[i, e, f] - y[i, e, f]) ** 2 / x.shape[1]
    judge(called(mine.weighted_loss, x, y, importance), want, call, slips_of_cost(x, y, each))


# ---- 1.3 the share of a dimension ----------------------------------------------------------------


def check_dimensionality(mine, seed):
    """Hold it against shapes whose shares are known, then against loops; 0 must not become nan."""
    pair = torch.tensor([[[2.0, -2.0, 0.0], [0.0, 0.0, 3.0]]])  # two on a line, one alone
    judged_shares(mine, pair, f"dimensionality({brief(pair)})")
    angles = torch.arange(5) * 2 * math.pi / 5
    pentagon = 1.3 * torch.stack([angles.cos(), angles.sin()])[None]
    judged_shares(mine, pentagon, "dimensionality(W), W a pentagon of length 1.3")
    draw = torch.Generator().manual_seed(seed)
    W = torch.randn(2, 3, 7, generator=draw)
    judged_shares(mine, W, "dimensionality(W [2 3 7])")
    W[0, :, 2] *= 0.01
    judged_shares(mine, W, "dimensionality(W [2 3 7]), column 2 of W[0] 100 times shorter")
    W[1, :, 4] = 0
    if called(mine.dimensionality, W)[1, 4].isnan():
        raise Wrong(
            "a feature whose direction is 0 should have D = 0: yours has nan, from 0 divided by 0"
        )
    judged_shares(mine, W, "dimensionality(W [2 3 7]), column 4 of W[1] all 0")


def judged_shares(mine, W: Tensor, call: str) -> None:
    """Hold one call against the loop, and against what usual slips would give."""
    own = W.norm(dim=1)  # [i f]
    product = torch.einsum("idf,idg->ifg", W, W)  # [i f g]
    tiny = 1e-12
    hat_f, hat_g = product / own[:, :, None].clamp(min=tiny), product / own[:, None].clamp(min=tiny)
    both = hat_f / own[:, None].clamp(min=tiny)
    alone = ~torch.eye(W.shape[-1], dtype=torch.bool)
    mistakes = {
        "u_f is W_f divided by its length: yours leaves it as long as it was": share(
            own**2, product**2
        ),
        "the length on top is squared": share(own, hat_f**2),
        "the sum takes in feature f itself: yours leaves it out": share(
            own**2, torch.where(alone, hat_f**2, 0)
        ),
        "only feature f is divided by its length, the others W_g keep theirs: yours divides both": (
            share(own**2, both**2)
        ),
        "only feature f is divided by its length: yours divides the others, W_g": share(
            own**2, hat_g**2
        ),
        "each overlap u_f . W_g is squared before the sum: yours squares the sum": share(
            own**2, hat_f.sum(-1, keepdim=True) ** 2
        ),
        "each overlap u_f . W_g is squared: yours is not": share(own**2, hat_f),
        "each overlap u_f . W_g is squared: yours takes its absolute value": share(
            own**2, hat_f.abs()
        ),
        "yours is upside down: the length squared is on top": share(own**2, hat_f**2, flip=True),
    }
    rows = torch.einsum("idf,ief->ide", W, W)
    mistakes["yours shares out dimensions, W W^T: one number for each feature is wanted"] = share(
        W.norm(dim=2) ** 2, (rows / W.norm(dim=2)[:, :, None]) ** 2
    )
    judge(called(mine.dimensionality, W), looped_shares(W), call, mistakes)


# ---- 1.4 three losses on paper -------------------------------------------------------------------


def check_candidate_losses(mine, seed):
    """Hold it against the three networks, run on a fine grid of all inputs that there are."""
    judged_losses(mine, torch.tensor([1.0]), torch.tensor([0.2]))
    judged_losses(mine, torch.tensor([0.4]), torch.tensor([0.2]))
    draw = torch.Generator().manual_seed(seed)
    density = 0.05 + 0.9 * torch.rand(4, generator=draw)
    judged_losses(mine, density, 3 * torch.rand(4, generator=draw))


def judged_losses(mine, p: Tensor, r: Tensor) -> None:
    """Hold one call against the grid, and against what usual slips would give."""
    want = torch.tensor([counted_losses(*pair) for pair in zip(p.tolist(), r.tolist())])
    call = f"candidate_losses(density={brief(p)}, ratio={brief(r)})"
    judge(called(mine.candidate_losses, p, r), want, call, slips_on_paper(p, r))


# ---- 1.5 a pentagon by hand ----------------------------------------------------------------------


def check_by_hand(mine, seed):
    """Judge weights by their loss alone; whatever beats the square by enough is right."""
    for density in (0.05, 0.03):
        answer = called(mine.by_hand, density)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Wrong(f"by_hand({density}) should return W and b, not {described(answer)}")
        for value, name, shape in zip(answer, "Wb", ([2, 5], [5])):
            if not isinstance(value, Tensor) or list(value.shape) != shape:
                raise Wrong(f"{name} should be a tensor {shape}, not {described(value)}")
        W, b = (value.detach().double() for value in answer)
        if not (W.isfinite().all() and b.isfinite().all()):
            raise Wrong("W and b should hold finite numbers")
        judged_weights(W, b, density, seed)


def judged_weights(W: Tensor, b: Tensor, density: float, seed: int) -> None:
    """Say whether the loss beats the square's, and if not, what a look at the weights shows."""
    square = torch.tensor([[1.0, -1, 0, 0, 0], [0, 0, 1, -1, 0]]).double()
    mean = torch.tensor([0, 0, 0, 0, density / 2]).double()
    share = drawn_loss(W, b, density, seed) / drawn_loss(square, mean, density, seed)
    if share <= 0.7:
        return
    said = f"at density {density} your loss is {share:.2f} of the square's: 0.7 is wanted"
    seen = seen_in(W, b) or weighed(W, b, density, seed)
    raise Wrong(f"{seen}\n  by_hand({density}): {said}")

# Yours to fill in: write lines in place of each `raise NotImplementedError`. Then
#   make check-01           says what is right, what is not yet, and why; make hint-1.1 helps
#   make lesson-01 MINE=1   runs the lesson on what you have written
# Made from lessons/techniques/superposition.py, where the answers are, by `python -m lessons.course stubs`.
"""Toy models of superposition: more features than dimensions (lesson 01).

Elhage et al. 2022, "Toy Models of Superposition": a vector x of f features is squeezed into d
dimensions, h = W x, and read back, y = ReLU(W^T h + b). Column g of W is the direction, in the
hidden space, that stands for feature g.

Many models are trained at once: each tensor's first axis counts the instances.

Letters: i instance, b example of the batch, f and g features, d hidden dimension.
"""

import torch
from torch import Tensor


def sparse(density: Tensor, batch: int, n_features: int) -> Tensor:  # [i] -> [i b f]
    """Draw inputs: each feature is on with probability `density`, and then uniform in 0 to 1.

    One draw does both: where u < density, u / density is uniform again. All instances are shown the
    same u, so they differ in nothing but their density and their start.
    """
    u, density = torch.rand(batch, n_features), density[:, None, None]
    return torch.where(u < density, u / density, 0)


def output(x: Tensor, W: Tensor, b: Tensor) -> Tensor:  # [i b f], [i d f], [i f] -> [i b f]
    """Squeeze each x into d dimensions and read it back: h = W x, then y = ReLU(W^T h + b).

    Each instance has its own W and b. There is one bias per feature, and none in the hidden space.
    """
    # exercise 1.1: the toy model (5 min)
    raise NotImplementedError("exercise 1.1")
    # end


def linear_output(x: Tensor, W: Tensor, b: Tensor) -> Tensor:  # [i b f] -> [i b f]
    """Compute the control, the same model without its ReLU: y = W^T W x + b."""
    return x @ (W.mT @ W) + b[:, None]


def rectified_output(x: Tensor, W: Tensor, b: Tensor) -> Tensor:  # [i b f] -> [i b f]
    """Compute the model with one more ReLU, on h, as lesson 00 has it: y = ReLU(W^T ReLU(W x) + b).

    Now a neuron of h is cut off below 0: it is no longer a line like any other.
    """
    h = torch.relu(torch.einsum("idf,ibf->ibd", W, x))  # [i b d]
    return torch.relu(torch.einsum("idf,ibd->ibf", W, h) + b[:, None])


def weighted_loss(x: Tensor, y: Tensor, importance: Tensor) -> Tensor:  # [i b f] twice -> [i]
    """Score each instance: mean over examples of the sum over features of I_f (x_f - y_f)^2.

    `importance` [f] says how much a mistake in each feature costs. (It may also be any tensor that
    fits x: the phase diagram hands over one weight for each input too.)
    """
    # exercise 1.2: what a mistake costs (5 min)
    raise NotImplementedError("exercise 1.2")
    # end


def train(draw, W, importance, steps=2000, rate=0.01, model=None):  # [i d f] -> [i d f], [i f]
    """Train all instances at once from W and b = 0, on the inputs that `draw()` gives: Adam.

    `model` is `output`, unless it is given: `linear_output` or `rectified_output`.
    The learning rate falls from `rate` to 0 as half a cosine. The losses of the instances are only
    summed, and no weight is shared: none of them knows of the others.
    """
    W, b = W.clone().requires_grad_(), torch.zeros(len(W), W.shape[-1], requires_grad=True)
    adam = torch.optim.Adam([W, b], lr=rate, betas=(0.9, 0.99))
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    with torch.enable_grad():
        for _ in range(steps):
            x = draw()  # [i b f]
            y = (model or output)(x, W, b)
            adam.zero_grad()
            weighted_loss(x, y, importance).sum().backward()
            adam.step()
            fall.step()
    return W.detach(), b.detach()


def kept(W: Tensor) -> Tensor:  # [... d f] -> [... f]
    """Say which features a model represents at all: those whose direction is longer than 1/2."""
    return W.norm(dim=-2) > 0.5


def gaps(W: Tensor) -> Tensor:  # [2 f] -> [k]
    """Go round the plane: the angles, in degrees, from each kept feature to the next; sum 360."""
    x, y = W[:, kept(W)]  # [k] each
    angles = torch.atan2(y, x).rad2deg().sort().values  # [k]
    return torch.cat([angles, angles[:1] + 360]).diff()


def off_axes(W: Tensor) -> Tensor:  # [i 2 f] -> [i]
    """Say by how many degrees the kept feature that is farthest from any axis misses it."""
    angle = torch.atan2(W[:, 1], W[:, 0]).rad2deg() % 90  # [i f], past the axis before it
    return torch.where(kept(W), torch.minimum(angle, 90 - angle), 0).amax(-1)


def nudged(W: Tensor, b: Tensor, length: float, many: int) -> tuple[Tensor, Tensor]:
    """Take steps of this length from W [d f] and b [f], each in a random direction -> [i ...]."""
    step = torch.randn(many, W.numel() + b.numel())
    step = step * length / step.norm(dim=1, keepdim=True)
    return W + step[:, : W.numel()].view(-1, *W.shape), b + step[:, W.numel() :]


def dimensionality(W: Tensor) -> Tensor:  # [i d f] -> [i f]
    """Say what share of a dimension each feature has: D_f = |W_f|^2 / sum_g (u_f . W_g)^2.

    W_f is column f of W, and u_f = W_f / |W_f| its direction; the sum goes over all g, f itself
    included. A feature alone on its line has D = 1; two on one line have 1/2 each. A feature whose
    direction is 0 has D = 0, and not nan.
    """
    # exercise 1.3: the share of a dimension (10 min)
    raise NotImplementedError("exercise 1.3")
    # end


def candidate_losses(density: Tensor, ratio: Tensor) -> Tensor:  # [n] twice -> [n 3]
    """Work out, with no training, the loss of three ways to put two features in one dimension.

    Feature 1 has importance 1, feature 2 has `ratio`. Each is on with probability `density`, apart
    from the other, and then uniform in 0 to 1. The model is y = ReLU(W^T W x + b). The three:
      W = (1, 0),  b = (0, mean): feature 1 alone; feature 2 is always answered with its mean
      W = (0, 1),  b = (mean, 0): feature 2 alone
      W = (1, -1), b = (0, 0):    an antipodal pair: wrong only when both are on
    What an integral needs: for u, v uniform and apart, E[u] = 1/2, E[u^2] = 1/3, and
    E[min(u, v)^2] = 1/6.
    """
    # exercise 1.4: three losses on paper (20 min)
    raise NotImplementedError("exercise 1.4")
    # end


def by_hand(density: float) -> tuple[Tensor, Tensor]:  # -> [2 5], [5]
    """Set the weights of a pentagon by hand: W and b for five features in two dimensions.

    All five matter alike and are on with probability `density`, 0.05 or less. The square, four
    features in two antipodal pairs with the fifth left out, is what you have to beat: your loss
    must be at most 0.7 of the square's. Five directions with equal gaps alone will not do: think
    of what each feature's readout says when its neighbour is on. There is no one right answer.
    """
    # exercise 1.5: a pentagon by hand (20 min)
    raise NotImplementedError("exercise 1.5")
    # end


def every_input(density: Tensor, steps: int = 8) -> tuple[Tensor, Tensor]:
    """List what two features can be: 0 or one of `steps` values each, and how likely each input is.

    density [i] -> the inputs [n 2] and their probabilities [i n], n = (steps + 1)^2. With these an
    expected loss is a sum, and no luck of sampling is left in it.
    """
    values = torch.cat([torch.zeros(1), (torch.arange(steps) + 0.5) / steps])  # [s + 1]
    one = torch.cat([1 - density[:, None], density[:, None].expand(-1, steps) / steps], dim=1)
    both = torch.einsum("is,it->ist", one, one).flatten(1)  # [i n]
    return torch.cartesian_prod(values, values), both


def train_pairs(density: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:  # [c] twice -> [c], [c]
    """Train two features in one dimension, for each density and ratio of importance; four starts.

    The starts have the signs ++, +-, -+ and --, for with equal signs no pair is found. Of the best
    of the four: 0 if it holds feature 1, 1 if feature 2, 2 if both, with opposite signs and the
    shorter at least half as long as the longer; and its loss, in the units of `candidate_losses`.
    """
    inputs, chance = every_input(density)  # [n 2], [c n]
    importance = torch.stack([torch.ones_like(ratio), ratio], dim=-1)  # [c 2]
    scale = len(inputs) / density / (1 + ratio)  # [c], so that all cells learn equally fast
    weights = torch.einsum("cn,cf,c->cnf", chance, importance, scale).repeat(4, 1, 1)  # [i n 2]
    x = inputs.expand(len(weights), -1, -1)  # [i n 2]
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]]).repeat_interleave(len(ratio), 0)
    start = signs[:, None] * (0.5 + torch.rand(len(x), 1, 2) / 2)  # [i 1 2]
    W, b = train(lambda: x, start, weights, steps=400, rate=0.03)
    loss = weighted_loss(x, output(x, W, b), weights).view(4, -1)  # [4 c]
    best, cells = loss.argmin(0), torch.arange(len(ratio))
    W = W.view(4, -1, 2)[best, cells]  # [c 2]
    low, high = W.abs().amin(-1), W.abs().amax(-1)  # [c] each
    pair = (W.prod(-1) < 0) & (low >= high / 2)
    return torch.where(pair, 2, W.abs().argmax(-1)), loss[best, cells] * len(inputs) / scale

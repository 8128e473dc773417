"""What would an autoencoder be paid for? The part of the variance that a true feature makes.

    in_common(x, y)   of what sets its tokens apart from the mean, the part that all of them share
    of_all(x, y)      of the variance of all tokens, the part between those with it and without it
    between(x, z)     of the variance of two groups of tokens, the part between the groups

Letters: n tokens, d width, t true feature.
"""

import torch
from torch import Tensor


def in_common(x: Tensor, y: Tensor) -> Tensor:  # [n d], [n t] bool -> [t]
    """|mean of its tokens|^2 / mean of their |.|^2, all taken from the mean over all tokens.

    1: all tokens of the feature are the same point; 0: their mean is that of all tokens.
    """
    x, y = x - x.mean(0), y.float()
    means = y.T @ x / y.sum(0)[:, None]  # [t d]
    return means.square().sum(1) / (y.T @ x.square().sum(1) / y.sum(0))


def of_all(x: Tensor, y: Tensor) -> Tensor:  # [n d], [n t] bool -> [t]
    """The share of the variance of x that lies between a feature's tokens and all others."""
    return torch.stack([between(x[on], x[~on]) for on in y.T])


def between(x: Tensor, z: Tensor) -> Tensor:  # [n d], [m d] -> []
    """n m |difference of the means|^2 / (n + m), over squared distances from their mean."""
    both = torch.cat([x, z])
    total = (both - both.mean(0)).square().sum()
    gap = (x.mean(0) - z.mean(0)).square().sum()
    return gap * len(x) * len(z) / len(both) / total

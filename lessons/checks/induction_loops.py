"""What lesson 05's functions should return, slowly: number by number, or from the big matrices."""

import torch
from torch import Tensor


def stripe(pattern, back, first) -> Tensor:
    """Add up key by key."""
    n = pattern.shape[-1]
    seen = [pattern[..., query, query - back].double() for query in range(first, n)]
    return (sum(seen) / len(seen)).float()


def after_last(tokens) -> Tensor:
    """Walk through each text and remember where each token stood last."""
    rows = []
    for text in tokens.tolist():
        last: dict[int, int] = {}
        places = []
        for at, token in enumerate(text):
            places.append(last[token] + 1 if token in last else -1)
            last[token] = at
        rows.append(places)
    return torch.tensor(rows)


def copying(left, right) -> Tensor:
    """Take the big matrix: its eigenvalues sum to its trace."""
    big = left.double() @ right.double()
    trace = big.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (trace / torch.linalg.eigvals(big).abs().sum(-1)).float()


def length(matrix) -> Tensor:
    """Take the root of the sum of squares."""
    return (matrix * matrix).sum((-2, -1)).sqrt()


def composition(W_V, W_O, W_Q, W_K) -> Tensor:
    """Multiply out all [d d] matrices."""
    OV, QK = W_V.double() @ W_O.double(), W_Q.double() @ W_K.double().mT
    return (length(QK @ OV.mT) / (length(QK) * length(OV))).float()


def ablated(z, heads, how) -> Tensor:
    """Replace vector by vector."""
    new = z.clone()
    for i in range(len(z)):
        for p in range(z.shape[1]):
            for h in heads:
                mean = sum(z[j, p, h] for j in range(len(z))) / len(z)
                new[i, p, h] = {"zero": 0 * mean, "mean": mean, "resample": z[i - 1, p, h]}[how]
    return new

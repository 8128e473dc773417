"""What is right in lesson 04: loops over single numbers, as slow and as obvious as can be.

Sums are kept in 64 bits. Nothing here is taken from lessons/techniques.
"""

import math

import torch
from torch import Tensor


class Norm:
    """A layer norm that computes mean and divisor of whatever it is handed."""

    def __init__(self, w: Tensor, b: Tensor, eps: float):
        self.w, self.b, self.eps = w, b, eps

    def __call__(self, resid: Tensor) -> Tensor:
        return self.bare(resid) * self.w + self.b

    def bare(self, resid: Tensor) -> Tensor:
        """Norm, without w and b."""
        centred = resid - resid.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()


def lens(resid, ln, W_U) -> Tensor:
    """Unembed vector by vector, word by word."""
    rows = []
    for row in resid.reshape(-1, resid.shape[-1]).double().tolist():
        mean = sum(row) / len(row)
        scale = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + ln.eps)
        normed = [(x - mean) / scale * w + b for x, w, b in zip(row, ln.w.tolist(), ln.b.tolist())]
        rows.append([sum(x * u for x, u in zip(normed, word)) for word in W_U.T.tolist()])
    return torch.tensor(rows).view(*resid.shape[:-1], W_U.shape[-1])


def settles(hits: str) -> int:
    """Find the first depth from which on all are 1."""
    return next((i for i in range(len(hits)) if "0" not in hits[i:]), len(hits))


def shares(post, W_out, scale, w, direction) -> Tensor:
    """Give each neuron its share, number by number."""
    result = torch.zeros(post.shape, dtype=torch.float64)
    for b in range(len(post)):
        for m, row in enumerate(W_out.tolist()):
            mean = sum(row) / len(row)
            said = [(x - mean) * float(post[b, m]) / float(scale[b, 0]) for x in row]
            reads = zip(said, w.tolist(), direction[b].tolist())
            result[b, m] = sum(x * u * y for x, u, y in reads)
    return result.float()


def kl(final, reading) -> Tensor:
    """Add up P (log P - log Q), word by word, in 64 bits."""
    results = []
    flat = (x.reshape(-1, x.shape[-1]).double().tolist() for x in (final, reading))
    for f, r in zip(*flat):
        log_p, log_q = ([x - max(one) - math.log(sum(math.exp(y - max(one)) for y in one))
                         for x in one] for one in (f, r))  # fmt: skip
        results.append(sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q)))
    return torch.tensor(results).view(final.shape[:-1])


def towards(final, reading) -> Tensor:
    """Give the slope of KL(final || reading) by the reading: Q - P."""
    return reading.softmax(-1) - final.softmax(-1)


def adam(x, final, rates, slope=towards, forgets=False, learns="Ab") -> tuple[Tensor, Tensor]:
    """Follow Adam from A = I, b = 0 by hand, from one example x [d] and its final [v = d].

    `slope` says how the loss changes with the reading x A + b; one that forgets starts Adam anew
    at each step, and what is not in `learns` stays.
    """
    learned = torch.cat([torch.eye(len(x)), torch.zeros(1, len(x))]).double()  # [d+1 d]: A, then b
    said = torch.cat([x, torch.ones(1)]).double()
    mean = square = torch.zeros_like(learned)
    for step, rate in enumerate(rates):
        g = torch.outer(said, slope(final.double(), said @ learned))
        g[:-1] *= "A" in learns
        g[-1] *= "b" in learns
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        t = step + 1
        if forgets:
            mean, square, t = 0.1 * g, 0.001 * g**2, 1
        learned = learned - rate * (mean / (1 - 0.9**t)) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
    return learned[:-1].float(), learned[-1].float()

# Yours to fill in: write lines in place of each `raise NotImplementedError`. Then
#   make check-02           says what is right, what is not yet, and why; make hint-2.1 helps
#   make lesson-02 MINE=1   runs the lesson on what you have written
# Made from lessons/techniques/grokking.py, where the answers are, by `python -m lessons.course stubs`.
"""Read the algorithm of a network that adds modulo p, and write one by hand (lesson 02).

Nothing here asks how the network was trained or who trained it: the functions take plain tensors,
the logits of all p * p questions, an embedding, the neurons. Waves are counted in turns per p
numbers: frequency k is cos(2 pi k n / p). All in float64, for losses here get smaller than 1e-7.

Letters: a, b the two numbers, c an answer, p how many numbers, k frequency, d d_model, m neuron.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def odd(p: int) -> int:
    """Return p, which has to be odd; an even one is a slip, more often than not."""
    if p % 2 == 0:
        raise ValueError(
            f"{p} rows, and p is odd. Is the row of '=' still there? Hand over W_E[:p]. Has it a "
            "column for each number? Hand over W_L.T"
        )
    return p


def fourier_basis(p: int) -> Tensor:  # -> [p p], float64
    """Write the waves on the numbers 0 .. p-1 as rows, each of length 1, all at right angles.

    Row 0 is constant: 1 / sqrt(p). Row 2k - 1 is sqrt(2 / p) cos(2 pi k n / p) and row 2k is
    sqrt(2 / p) sin(2 pi k n / p), at n = 0 .. p-1, for k = 1 .. (p - 1) / 2. p is odd.
    """
    # exercise 2.1: the Fourier basis (5 min)
    raise NotImplementedError("exercise 2.1")
    # end


def key_frequencies(W: Tensor, share: float = 0.95) -> tuple[list[int], Tensor]:
    """Find the fewest frequencies that together hold at least `share` of the power of W [p d].

    Row n of W belongs to the number n: W_E[:p], without the row of "=", is one such matrix; W_L has
    a column for each number, so W_L.T is another. W's power at frequency k: the squared
    coefficients of the cosine and of the sine, over all columns, added. The constant (frequency 0)
    is no wave and counts nowhere, not in the total either.
    Returns the frequencies in rising order; and the share of each frequency 1 .. (p - 1) / 2, [k].
    """
    # exercise 2.2: the key frequencies (15 min)
    raise NotImplementedError("exercise 2.2")
    # end


def restrict(logits: Tensor, frequencies: list[int]) -> Tensor:  # [p p c] -> [p p c]
    """Keep of the logits only what depends on a + b, as waves of the given frequencies.

    Centre the logits: over the answers c, each question on its own (softmax does not see it). For
    each frequency k there are two directions in the space of all p * p questions,
    cos(2 pi k (a + b) / p) and sin(2 pi k (a + b) / p), each divided by its length. Project each
    answer's p * p logits on them; the sum of the projections is what is kept.
    """
    # exercise 2.3: the directions of a + b (20 min)
    raise NotImplementedError("exercise 2.3")
    # end


def progress_measures(
    logits: Tensor, frequencies: list[int], is_train: Tensor
) -> tuple[Tensor, Tensor]:
    """Measure the wave algorithm alone, and the network without it: restricted, excluded loss.

    Restricted: the mean cross-entropy of the logits [p p c] of which only the given frequencies of
    a + b were kept (`restrict`), over the test pairs: where is_train [p p] is False. Excluded: the
    centred logits without exactly these, over the training pairs. Both in nats, in float64.
    """
    # exercise 2.4: the restricted and the excluded loss (15 min)
    raise NotImplementedError("exercise 2.4")
    # end


def cosine_network(p: int, frequencies: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Write the weights of a network that adds modulo p, with no training at all.

    The network is `relu((W_E[a] + W_E[b]) @ W_in) @ W_out`: W_E [p d], W_in [d m], W_out [m p],
    float64, d and m as you like. It has to put its largest logit on a + b mod p for all p * p
    questions, and W_E may hold waves of the given frequencies only. p is an odd prime.

    Two identities: cos(x + u) + cos(y + u) = 2 cos((x - y) / 2) cos((x + y) / 2 + u). And over
    phases u spread evenly round the circle, the sum of relu(r cos(t + u)) cos(2 u + v) is
    proportional to |r| cos(2 t - v), but for small terms (take an odd number of phases, 5 or more).
    """
    # exercise 2.5: a network of cosines (30 min)
    raise NotImplementedError("exercise 2.5")
    # end


def run_by_hand(W_E: Tensor, W_in: Tensor, W_out: Tensor) -> tuple[Tensor, Tensor]:
    """Ask a network such as `cosine_network` everything: logits [p p p] and neurons [p p m]."""
    neurons = ((W_E[:, None] + W_E) @ W_in).relu()  # [a b m]
    return neurons @ W_out, neurons


def lead(logits: Tensor) -> Tensor:  # [p p c] -> []
    """Return the least lead of a largest logit over the next, in deviations of all logits."""
    top = logits.topk(2, dim=-1).values  # [p p 2]
    return (top[..., 0] - top[..., 1]).min() / logits.std()


def losses(logits: Tensor) -> Tensor:  # [p p c] -> [p p], float64
    """Compute the cross-entropy of every question, in nats.

    Note: not in float32, where a loss under 6e-8 is 0.
    """
    p = len(logits)
    answers = (torch.arange(p)[:, None] + torch.arange(p)) % p  # [a b]
    flat = logits.double().flatten(0, 1)
    return F.cross_entropy(flat, answers.flatten(), reduction="none").view(p, p)


def accuracy(logits: Tensor, among: Tensor) -> float:  # [p p c], [p p] of booleans
    """Return the share of right answers among the questions that are picked."""
    p = len(logits)
    right = logits.argmax(-1) == (torch.arange(p)[:, None] + torch.arange(p)) % p  # [a b]
    return right[among].double().mean().item()


def without(W: Tensor, frequency: int) -> Tensor:  # [p d] -> [p d]
    """Take one frequency, its cosine and its sine, out of a matrix with a row for each number."""
    waves = fourier_basis(len(W))[2 * frequency - 1 : 2 * frequency + 1].to(W)  # [2 p]
    return W - waves.T @ (waves @ W)


def neuron_frequencies(neurons: Tensor) -> tuple[Tensor, Tensor]:  # [p p m] -> [m], [m]
    """Return each neuron's best frequency, and the share of its variance over all p * p questions
    that waves of this one frequency explain.

    The waves: those of a, those of b, and their products, 8 in all (Nanda et al. 2023, section
    4.2). A neuron that is constant, as a dead one is, gets frequency 0 and share 0.
    """
    p = len(neurons)
    waves = fourier_basis(p)
    spectrum = torch.einsum("xa,abm->xbm", waves, neurons.double())
    power = torch.einsum("yb,xbm->xym", waves, spectrum).square()  # [x y m]
    total = power.sum((0, 1)) - power[0, 0]  # [m], the variance times p * p
    k = torch.arange(1, (p + 1) // 2)
    at = torch.stack([torch.zeros_like(k), 2 * k - 1, 2 * k], dim=1)  # [k 3]
    blocks = power[at[:, :, None], at[:, None]].sum((1, 2)) - power[0, 0]  # [k m]
    best, where = blocks.max(0)
    alive = total > 1e-12 * power[0, 0].clamp_min(1e-12)
    return (where + 1) * alive, torch.where(alive, best / total.clamp_min(1e-300), 0.0)

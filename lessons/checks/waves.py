"""The oracles of lesson 02's checks: waves and losses by definition, a network's answers in words.

Letters: a, b the two numbers, c an answer, p how many numbers, k frequency, d, m a network's sizes.
"""

import cmath
import math

import torch
from torch import Tensor

from lessons.checks import Wrong, brief

TURN = 2 * math.pi


def wave_rows(p: int, turn=TURN, first=0, period=None) -> Tensor:
    """Write the Fourier basis number by number."""
    period, rows = period or p, [[math.sqrt(1 / p)] * p]
    for k in range(1, (p - 1) // 2 + 1):
        for wave in (math.cos, math.sin):
            row = [wave(turn * k * (n + first) / period) for n in range(p)]
            rows.append([math.sqrt(2 / p) * value for value in row])
    return torch.tensor(rows, dtype=torch.float64)


def spectrum(W: Tensor) -> list[float]:
    """Return the power of W [p d] at each frequency 0 .. (p - 1) / 2, by its definition."""
    p, powers = len(W), []
    for k in range((p - 1) // 2 + 1):
        turns = [cmath.exp(-1j * TURN * k * n / p) for n in range(p)]
        sums = [sum(t * x for t, x in zip(turns, column)) for column in W.double().T.tolist()]
        powers.append(sum(abs(s) ** 2 for s in sums) / p * (1 if k == 0 else 2))
    return powers


def directions(p: int, k: int, sign: int = 1) -> list[Tensor]:
    """Return cos and sin of 2 pi k (a + sign b) / p over all questions, each of length 1."""
    pairs = []
    for wave in (math.cos, math.sin):
        grid = [[wave(TURN * k * (a + sign * b) / p) for b in range(p)] for a in range(p)]
        grid = torch.tensor(grid, dtype=torch.float64)
        pairs.append(grid / grid.square().sum().sqrt())
    return pairs


def products(p: int, k: int) -> list[Tensor]:
    """Return cos cos, cos sin, sin cos, sin sin of frequency k over all questions, of length 1."""
    cos, sin = wave_rows(p)[2 * k - 1], wave_rows(p)[2 * k]
    return [torch.outer(x, y) for x in (cos, sin) for y in (cos, sin)]


def onto(logits: Tensor, rows: list[Tensor]) -> Tensor:
    """Project each answer's grid on each direction, one at a time, and add up."""
    kept = torch.zeros_like(logits)
    for row in rows:
        for c in range(logits.shape[-1]):
            kept[..., c] += (row * logits[..., c]).sum() * row
    return kept


def centred(logits: Tensor) -> Tensor:
    """Take from each question's logits their mean over the answers."""
    return logits.double() - logits.double().mean(-1, keepdim=True)


def kept_of(logits: Tensor, frequencies: list[int]) -> Tensor:
    """Keep the directions of a + b, by the definition."""
    rows = [row for k in frequencies for row in directions(logits.shape[0], k)]
    return onto(centred(logits), rows)


def slips(logits: Tensor, frequencies: list[int]) -> dict:
    """Name what the usual mistakes would keep."""
    p, flat = logits.shape[0], centred(logits)
    pairs = {k: directions(p, k) for k in range(1, (p + 1) // 2)}
    pairs[0] = [torch.full((p, p), 1 / p, dtype=torch.float64)]
    minus = onto(flat, [row for k in frequencies for row in directions(p, k, -1)])
    both = [row for k in frequencies for row in products(p, k)]
    cosines, rows = ([pairs[k][0] for k in frequencies], [r for k in frequencies for r in pairs[k]])
    twice = [row * math.sqrt(p * p / 2) for row in rows]
    single = [products(p, k)[0] for k in frequencies]
    ends = [r for k in frequencies for r in (products(p, k)[0], products(p, k)[3])]
    return misplaced(logits.double(), rows) | {
        "centre the logits first, over the answers (dim=-1): a number that rises all answers of a "
        "question alike is invisible to softmax, and yours keeps it": onto(logits.double(), rows),
        "those are the directions of a - b: cos(x + y) = cos x cos y - sin x sin y": minus,
        "you keep cos(wa) cos(wb) alone: the direction is cos(w(a + b)), which is "
        "cos(wa) cos(wb) - sin(wa) sin(wb)": onto(flat, single),
        "you project on cos(wa) cos(wb) and on sin(wa) sin(wb) apart: that keeps a - b too":
            onto(flat, ends),
        "you keep all four products of a frequency, and with them the waves of a - b":
            onto(flat, both),
        "each frequency has two directions: the sine of a + b is missing": onto(flat, cosines),
        "the directions are not of length 1: a wave's squares over p * p questions sum to "
        "p * p / 2": onto(flat, twice),
        "each value of a + b comes p times: divide the directions by sqrt(p), or they are too long":
            onto(flat, [row * math.sqrt(p) for row in rows]),
        "your frequencies are one too low: frequency k is in rows 2k - 1 and 2k":
            onto(flat, [r for k in frequencies for r in pairs[k - 1]]),
        "you return what should go, not what should stay": flat - onto(flat, rows),
        "only the given frequencies should stay: yours keeps all that depends on a + b":
            onto(flat, [row for pair in pairs.values() for row in pair]),
        "you keep the constant too: only the waves of the given frequencies should stay":
            onto(flat, rows) + flat.mean((0, 1)),
    }  # fmt: skip


def misplaced(logits: Tensor, rows: list[Tensor]) -> dict:
    """Name what comes of waves [p p] that meet logits [p p c] on the wrong axes."""
    flat, zero = centred(logits), torch.zeros(logits.shape, dtype=torch.float64)
    each = "each answer has its own projection, over dim=(0, 1): "
    added = each + "yours adds all answers up"
    last = [row[..., None] for row in rows]
    values = {
        f"yours is 0 everywhere. {each}do not add the answers up, for centred they sum to 0": zero,
        added: sum((row * (row * logits).sum() for row in last), zero),
    }
    if flat.shape[-1] != len(flat):
        return values  # a wave [p p] does not fit onto b and c
    over = (
        "the wave runs over a and b, and needs a last axis, `[..., None]`: yours runs over b and c"
    )
    summed = [(row * flat).sum((0, 1)) for row in rows]  # [c] each
    right = [(row * flat).sum((0, 1)) for row in last]
    return values | {
        over: sum((row * part for row, part in zip(rows, summed)), zero),
        f"{over} where it measures": sum((x * part for x, part in zip(last, summed)), zero),
        f"{over} where it is put back": sum((x * part for x, part in zip(rows, right)), zero),
        f"{added}; and {over}": sum((row * (row * flat).sum() for row in rows), zero),
    }


def grid_of(p: int, f) -> Tensor:
    """Fill logits [p p p] from a formula in a, b, c."""
    r = range(p)
    return torch.tensor([[[f(a, b, c) for c in r] for b in r] for a in r], dtype=torch.float64)


def sum_wave(p: int, k: int) -> Tensor:
    """Fill logits [p p p] with cos(2 pi k (a + b - c) / p)."""
    return grid_of(p, lambda a, b, c: math.cos(TURN * k * (a + b - c) / p))


def nll(logits: Tensor) -> Tensor:
    """Compute every question's cross-entropy, one at a time."""
    p, rows = logits.shape[0], logits.double().tolist()
    values = [[0.0] * p for _ in range(p)]
    for a in range(p):
        for b in range(p):
            right = rows[a][b][(a + b) % p]
            rest = sum(math.exp(x - right) for c, x in enumerate(rows[a][b]) if c != (a + b) % p)
            values[a][b] = math.log1p(rest)
    return torch.tensor(values, dtype=torch.float64)


def three(got, p: int, call: str) -> list[Tensor]:
    """Require three matrices that fit each other."""
    if not isinstance(got, (tuple, list)) or len(got) != 3:
        raise Wrong(f"{call} should return three matrices: W_E, W_in, W_out")
    if not all(isinstance(part, Tensor) and part.dim() == 2 for part in got):
        raise Wrong(f"{call}: W_E, W_in and W_out should be tensors of two axes")
    shapes = [list(part.shape) for part in got]
    (rows, d), (d_in, m), (m_out, columns) = shapes
    if (rows, d_in, m_out, columns) != (p, d, m, p):
        raise Wrong(f"{call}: the shapes should be [p d], [d m], [m p] with p = {p}: yours are "
                    f"{', '.join(map(brief, shapes))}")  # fmt: skip
    if not all(part.isfinite().all() for part in got):
        raise Wrong(f"{call}: the weights hold nan or infinity")
    return [part.detach().double() for part in got]


def judge_waves(W_E: Tensor, frequencies: list[int], call: str) -> None:
    """Require that the embedding is made of waves of the given frequencies."""
    powers = spectrum(W_E)
    strangers = [k for k, power in enumerate(powers) if k and k not in frequencies
                 and power > 1e-6 * sum(powers)]  # fmt: skip
    if strangers:
        raise Wrong(
            f"{call}: W_E holds waves of frequency {brief(strangers)}, which were not given: its "
            "columns should be cos(2 pi k n / p) and sin(2 pi k n / p)"
        )


def judge_answers(logits: Tensor, p: int, call: str) -> None:
    """Require the right answer everywhere, and say what the network computes if it is not a + b."""
    a, b = torch.arange(p)[:, None], torch.arange(p)
    said, want = logits.argmax(-1), (a + b) % p
    top = logits.topk(2, dim=-1).values
    tied = top[..., 0] - top[..., 1] <= 1e-9 * logits.abs().max()
    right = (said == want) & ~tied
    if right.all():
        return
    others = {"a - b": a - b, "b - a": b - a, "-(a + b), the sum's sign is wrong": -(a + b)}
    for name, value in others.items():
        if (said == value % p).double().mean() > 0.9:
            raise Wrong(f"{call}: your network computes {name}: look at the signs of the phases")
    if ((said == a) | (said == b)).double().mean() > 0.6:
        raise Wrong(
            f"{call}: your network answers a, or b. With its own phase u a neuron is read as if "
            "there were no relu: double the phase, so that neuron u writes with phase 2u"
        )
    at = (~right).nonzero()[0].tolist()
    ties = f", and {int(tied.sum())} have a tie for the first place" if tied.any() else ""
    if tied.double().mean() > 0.1:
        ties += " (with 4 phases a + b and -(a + b) look the same)"
    raise Wrong(
        f"{call}: {right.double().mean():.1%} of the {p * p} questions are right{ties}; "
        f"a = {at[0]}, b = {at[1]} gives {said[tuple(at)]}, not {sum(at) % p}"
    )

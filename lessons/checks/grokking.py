"""What lesson 02's exercises are held against; the oracles stand in waves.py.

Letters: a, b the two numbers, c an answer, p how many numbers, k frequency.
"""

import math
import random

import torch
from torch import Tensor

from lessons.checks import Wrong, brief, called, described, judge
from lessons.checks.waves import (
    TURN,
    centred,
    grid_of,
    judge_answers,
    judge_waves,
    kept_of,
    nll,
    slips,
    spectrum,
    sum_wave,
    three,
    wave_rows,
)


def check_fourier_basis(mine, seed):
    """Three numbers, then five, then a prime that the seed picks."""
    for p in (3, 5, random.Random(seed).choice([7, 11, 13]), 113):
        want = wave_rows(p)
        bare = want * math.sqrt(p / 2)  # cosines and sines as they are
        bare[0] = 1
        sines = [0, *(i + 1 if i % 2 else i - 1 for i in range(1, p))]
        in_blocks = [0, *range(1, p, 2), *range(2, p, 2)]
        mistakes = {
            "the rows are not normalised: a wave's squares sum to p / 2, the constant's to p; "
            "divide so that every row has length 1": bare,
            "the constant row is too long: it has no cosine that is small half the time, so it "
            "takes 1 / sqrt(p), not sqrt(2 / p)": torch.cat([want[:1] * math.sqrt(2), want[1:]]),
            "the rows stand as columns: row i should be one wave over all numbers n": want.T,
            "half a turn is missing: the angle is 2 pi k n / p, yours is pi k n / p":
                wave_rows(p, turn=math.pi),
            "the numbers start at 0: yours start at n = 1": wave_rows(p, first=1),
            "p numbers go round the circle, so n = p would be back at 0: you divide by p - 1":
                wave_rows(p, period=p - 1),
            "of each frequency the cosine comes first, then the sine: yours are swapped":
                want[sines],
            "the rows go frequency by frequency: yours have all cosines, then all sines":
                want[in_blocks],
            "the last frequency, (p - 1) / 2, is missing": want[:-2],
        }  # fmt: skip
        got = called(mine.fourier_basis, p)
        judge(got, want, f"fourier_basis({p})", mistakes)
        if getattr(got, "dtype", None) != torch.float64 or (got - want).abs().max() > 1e-9:
            raise Wrong(
                "the numbers are right, but make it a tensor of float64, please: the losses of "
                "this lesson get smaller than 1e-7, where float32 ends. Start from "
                "torch.arange(p, dtype=torch.float64): .double() at the end brings no digits back"
            )


def fewest(powers: list[float], share: float, total: float) -> list[int]:
    """Return the places, in order of power, of the fewest that sum to the share of the total."""
    order, held, picked = sorted(range(len(powers)), key=lambda i: -powers[i]), 0.0, []
    for i in order:
        if held >= share * total:
            break
        held += powers[i]
        picked.append(i)
    return picked


def one_sided(W: Tensor, part: str) -> Tensor:
    """Return the power of the cosines alone, or of the sines alone, as shares."""
    rows = wave_rows(len(W))[1 if part == "cosines" else 2 :: 2] @ W.double()
    return rows.square().sum(1) / rows.square().sum()


EVEN = {4: 0.4, 2: 0.3, 5: 0.2, 1: 0.1}  # half of the largest is among them: no threshold by it


def check_key_frequencies(mine, seed):
    """Columns that can be read by eye, then noise with two waves in it, then no share given."""
    p, random = 7, torch.Generator().manual_seed(seed)
    n = torch.arange(p, dtype=torch.float64)
    strong, weak = 3 * (TURN * 3 * n / p).cos(), (TURN * 2 * n / p).sin()
    read = torch.stack([strong, weak + 10], dim=1)  # shares 0, 0.1, 0.9, and a constant
    noise = 0.3 * torch.randn(23, 5, generator=random, dtype=torch.float64)
    n = torch.arange(23, dtype=torch.float64)[:, None]
    phase = TURN * torch.rand(2, 5, generator=random)
    noise += 4 + (TURN * 5 * n / 23 + phase[0]).cos() + 2 * (TURN * 8 * n / 23 + phase[1]).cos()
    n, powers = torch.arange(11)[:, None], {4: 0.8, 2: 0.12, 5: 0.05, 1: 0.03}
    steps = sum(power**0.5 * (TURN * k * n / 11 + k).cos() for k, power in powers.items())
    told, noisy = "columns 3 cos(2 pi 3 n / 7), 10 + sin(2 pi 2 n / 7)", "noise + two waves [23 5]"
    even = sum(power**0.5 * (TURN * k * n / 11).cos() for k, power in EVEN.items())
    cases = [(read, 0.85, told), (read, 0.97, told), (noise, 0.9, noisy), (noise, 0.1, noisy)]
    cases.append((even, 0.6, f"[11 1] in float32, of waves with {EVEN}"))
    for W, share, name in [*cases, (steps, 0.95, f"[11 1] in float32, of waves with {powers}")]:
        judge_frequencies(called(mine.key_frequencies, W, share), W, share, name)
    if called(mine.key_frequencies, steps)[0] != called(mine.key_frequencies, steps, 0.95)[0]:
        raise Wrong("where no share is given it is 0.95: yours finds other frequencies then")


def judge_frequencies(got, W: Tensor, share: float, name: str) -> None:
    """Hold frequencies and shares against the definition, and against the usual slips."""
    powers = spectrum(W)
    waves, total = powers[1:], sum(powers[1:])
    picked = [i + 1 for i in fewest(waves, share, total)]
    shares = torch.tensor(waves, dtype=torch.float64) / total
    want, call = (sorted(picked), shares), f"key_frequencies(W, {share}), W {name}"
    flat = wave_rows(len(W)) @ W.double()
    mistakes = {
        "the constant, frequency 0, is no wave: leave its coefficient out, of the total too":
            (sorted(fewest(powers, share, sum(powers))), torch.tensor(powers) / sum(powers)),
        "a frequency's power is that of its cosine and its sine together: yours is the cosine's":
            (None, one_sided(W, "cosines")),
        "a frequency's power is that of its cosine and its sine together: yours is the sine's":
            (None, one_sided(W, "sines")),
        "each coefficient of a basis row has its own place: cosine and sine (rows 2k - 1, 2k) "
        "share one frequency": (None, flat[1:].square().sum(1) / flat[1:].square().sum()),
        "cosine and sine of a frequency are neighbours, rows 2k - 1 and 2k: yours adds rows that "
        "are (p - 1) / 2 apart":
            (None, flat[1:].square().sum(1).view(2, -1).sum(0) / flat[1:].square().sum()),
        "power is the square of a coefficient: yours adds their sizes":
            (None, flat[1:].abs().sum(1).view(-1, 2).sum(1) / flat[1:].abs().sum()),
        "square first, then add over the columns: the columns' waves must not cancel":
            (None, flat[1:].sum(1).square().view(-1, 2).sum(1) / flat[1:].sum(1).square().sum()),
        "the shares should sum to 1: yours are powers": (None, shares * total),
        "the frequencies are off by one: place 0 of the powers belongs to frequency 1":
            ([k - 1 for k in sorted(picked)], None),
        "one frequency too few: the one that carries the sum over the bar belongs to them":
            (sorted(picked[:-1]), None),
        "one frequency too many: stop as soon as the bar is passed":
            (sorted([i + 1 for i in fewest(waves, 2.0, total)][: len(picked) + 1]), None),
        "the frequencies should be in rising order: yours are in order of power": (picked, None),
        "you kept the weakest frequencies: sort by power from the largest down":
            (sorted(i + 1 for i in fewest([-w for w in waves], -1, -total)[: len(picked)]), None),
    }  # fmt: skip
    judge_parts(got, want, call, mistakes)


def judge_parts(got, want, call: str, mistakes: dict) -> None:
    """Judge both parts of a result, the second first: the frequencies follow from the shares."""
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong(f"{call} should return two things: the frequencies, and every share")
    if not isinstance(got[0], list) or not all(isinstance(k, int) for k in got[0]):
        raise Wrong(f"{call}: the frequencies should be a list of ints, not {described(got[0])}; "
                    "a tensor's `.tolist()` makes one")  # fmt: skip
    for part, what in ((1, "the shares"), (0, "the frequencies")):
        wrongs = {said: value[part] for said, value in mistakes.items() if value[part] is not None}
        kind = torch.long if part == 0 else torch.float64
        wrongs = {said: torch.as_tensor(value, dtype=kind) for said, value in wrongs.items()}
        given = torch.tensor(got[0], dtype=torch.long) if part == 0 else got[1]
        known = [value.tolist() for value in (*wrongs.values(), torch.as_tensor(want[part]))]
        if part == 0 and got[0] not in known:
            raise Wrong(f"{what} should be {want[0]}, and yours are {got[0]}: {call}")
        judge(given, torch.as_tensor(want[part]), f"{what} of {call}", wrongs)


def check_restrict(mine, seed):
    """Two waves of a + b, others of a - b, c, b + c, and one softmax cannot see; then noise."""
    w = TURN / 5

    def some(a, b, c):
        seen = 4 * math.cos(w * (a + b - c)) + 3 * math.cos(2 * w * (a + b - c))
        seen += 2 * math.cos(w * (a - b - c)) + math.cos(w * c)
        return seen + 2 * math.cos(w * (b + c)) + math.cos(w * (a + b))

    told = "4 cos(w(a + b - c)) + 3 cos(2w(a + b - c)) + 2 cos(w(a - b - c)) + cos(w c) "
    told += "+ 2 cos(w(b + c)) + cos(w(a + b)), w = 2 pi / 5"
    logits, call = grid_of(5, some), f"restrict(logits, [1]) at p = 5, logits[a, b, c] = {told}"
    judge(called(mine.restrict, logits, [1]), kept_of(logits, [1]), call, slips(logits, [1]))
    random = torch.Generator().manual_seed(seed)
    for p, c, frequencies in ((7, 7, [2]), (7, 5, [1, 3]), (11, 11, [5, 2, 4])):
        logits = torch.randn(p, p, c, generator=random, dtype=torch.float64) + torch.arange(c)
        logits = logits + 5 * torch.randn(p, p, 1, generator=random, dtype=torch.float64)
        logits = logits.float() if c == 5 else logits
        call = f"restrict(logits [{p} {p} {c}], {frequencies})"
        want = kept_of(logits, frequencies)
        judge(called(mine.restrict, logits, frequencies), want, call, slips(logits, frequencies))


def check_progress_measures(mine, seed):
    """Both losses by their definitions; pairs and logits that no symmetry can hide behind."""
    random = torch.Generator().manual_seed(seed)
    for p, frequencies in ((3, [1]), (7, [2]), (7, [1, 3])):
        is_train = torch.rand(p, p, generator=random) < 0.5
        is_train[0, 1], is_train[1, 0] = True, False
        noise = torch.randn(p, p, p, generator=random, dtype=torch.float64)
        logits = noise + sum(3 * sum_wave(p, k) for k in frequencies)
        kept = kept_of(logits, frequencies)
        left = centred(logits) - kept
        nlls = {"kept": nll(kept), "left": nll(left), "all": nll(logits)}
        call = f"progress_measures(logits, {frequencies}, is_train) at p = {p}"
        want = nlls["kept"][~is_train].mean(), nlls["left"][is_train].mean()
        got = called(mine.progress_measures, logits, frequencies, is_train)
        judge(got, want, call, mixed_up(nlls, is_train))
    judge_small_losses(mine)


def mixed_up(nlls: dict, is_train: Tensor) -> dict:
    """Name what the usual mistakes would measure."""
    kept, left, test = nlls["kept"], nlls["left"], ~is_train
    restricted, excluded = kept[test].mean(), left[is_train].mean()
    return {
        "the restricted loss goes over the test pairs and the excluded over the training pairs: "
        "yours are swapped": (kept[is_train].mean(), left[test].mean()),
        "the restricted loss goes over the test pairs, where is_train is False":
            (kept[is_train].mean(), excluded),
        "the excluded loss goes over the training pairs: on them the network without its waves "
        "still has what it memorised": (restricted, left[test].mean()),
        "each loss has its own pairs: yours go over all": (kept.mean(), left.mean()),
        "the restricted loss comes first": (excluded, restricted),
        "a loss is the mean over its pairs: yours is the sum":
            (kept[test].sum(), left[is_train].sum()),
        "the excluded loss is of what is left without the waves: yours keeps all":
            (restricted, nlls["all"][is_train].mean()),
        "the excluded loss is of what is left without the waves: yours is of the waves":
            (restricted, kept[is_train].mean()),
        "the restricted loss is of the waves alone: yours is of all": (nlls["all"][test].mean(),
                                                                       excluded),
    }  # fmt: skip


def judge_small_losses(mine):
    """A loss of 1e-9 must not come out as 0."""
    logits = 30 * sum_wave(5, 1)
    is_train = torch.arange(25).view(5, 5) % 2 == 0
    want = float(nll(logits)[~is_train].mean())
    got = float(called(mine.progress_measures, logits, [1], is_train)[0])
    if not 0.999 * want < got < 1.001 * want:
        raise Wrong(
            f"a restricted loss of {want:.3g} comes out as {got:.3g}: float32 rounds what is so "
            "small to 0, so keep the logits in float64"
        )


def check_cosine_network(mine, seed):
    """Ask the network everything: at p = 11, then at larger primes, with the seed's frequencies."""
    draw, cases = random.Random(seed), [(11, [1, 3, 4]), (13, [1, 4, 6])]
    for p, n in ((23, 4), (53, 5), (113, 3)):
        cases.append((p, sorted(draw.sample(range(1, (p + 1) // 2), n))))
    for p, frequencies in cases:
        call = f"cosine_network({p}, {brief(frequencies)})"
        W_E, W_in, W_out = three(called(mine.cosine_network, p, list(frequencies)), p, call)
        judge_waves(W_E, frequencies, call)
        logits = (W_E[:, None] + W_E) @ W_in  # [a b m]
        judge_answers(logits.relu() @ W_out, p, call)

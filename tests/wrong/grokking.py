"""Wrong and right answers to lesson 02's exercises; a docstring names the exercise and the word
that the check's message must say."""

import math

import torch
import torch.nn.functional as F

from lessons.techniques import grokking
from lessons.techniques.grokking import fourier_basis, losses

TURN = 2 * math.pi


# 2.1


def basis_not_normalised(p):
    """wrong 2.1: not normalised"""
    rows = fourier_basis(p) * math.sqrt(p / 2)
    rows[0] = 1
    return rows


def basis_with_a_long_constant(p):
    """wrong 2.1: the constant row is too long"""
    rows = fourier_basis(p)
    rows[0] = math.sqrt(2 / p)
    return rows


def basis_of_half_turns(p):
    """wrong 2.1: half a turn is missing"""
    k = torch.arange(1, (p + 1) // 2, dtype=torch.float64)
    angles = math.pi / p * torch.outer(k, torch.arange(p))
    return framed(p, angles)


def basis_from_one(p):
    """wrong 2.1: start at n = 1"""
    k = torch.arange(1, (p + 1) // 2, dtype=torch.float64)
    return framed(p, TURN / p * torch.outer(k, torch.arange(1, p + 1)))


def basis_by_linspace(p):
    """wrong 2.1: divide by p - 1"""
    k = torch.arange(1, (p + 1) // 2, dtype=torch.float64)
    return framed(p, torch.outer(k, torch.linspace(0, TURN, p, dtype=torch.float64)))


def framed(p, angles):
    """Put cosines and sines of the angles [k p] in rows, the constant first."""
    waves = torch.stack([angles.cos(), angles.sin()], dim=1).flatten(0, 1) * math.sqrt(2 / p)
    return torch.cat([torch.full((1, p), p**-0.5, dtype=torch.float64), waves])


def basis_in_blocks(p):
    """wrong 2.1: all cosines, then all sines"""
    rows = fourier_basis(p)
    return torch.cat([rows[:1], rows[1::2], rows[2::2]])


def basis_in_columns(p):
    """wrong 2.1: stand as columns"""
    return fourier_basis(p).T


def basis_with_all_frequencies(p):
    """wrong 2.1: shape"""
    angles = TURN / p * torch.outer(torch.arange(1, p, dtype=torch.float64), torch.arange(p))
    return framed(p, angles)


def basis_without_its_last(p):
    """wrong 2.1: the last frequency"""
    k = torch.arange(1, (p - 1) // 2, dtype=torch.float64)
    return framed(p, TURN / p * torch.outer(k, torch.arange(p)))


def basis_of_two(p):
    """wrong 2.1: shape"""
    return fourier_basis(p)[:5]


def basis_in_float32(p):
    """wrong 2.1: float64, please"""
    return fourier_basis(p).float()


def basis_doubled_at_the_end(p):
    """wrong 2.1: float64, please"""
    return fourier_basis(p).float().double()


def basis_by_loops(p):
    """right 2.1"""
    rows = torch.full((p, p), p**-0.5, dtype=torch.float64)
    for k in range(1, p // 2 + 1):
        for n in range(p):
            turn = TURN * (k * n % p) / p
            rows[2 * k - 1, n] = math.sqrt(2 / p) * math.cos(turn)
            rows[2 * k, n] = math.sqrt(2 / p) * math.sin(turn)
    return rows


def basis_by_the_fft(p):
    """right 2.1"""
    spectrum = torch.fft.rfft(torch.eye(p, dtype=torch.float64))  # [n k]
    rows = torch.stack([spectrum.real, -spectrum.imag], dim=2).flatten(1).T * math.sqrt(2 / p)
    rows = torch.cat([rows[:1] / math.sqrt(2), rows[2:]])
    return rows


# 2.2


def detected(power, share):
    """Return the fewest frequencies that hold the share, and every share."""
    power = power / power.sum()
    values, order = power.sort(descending=True)
    n = int((values.cumsum(0) < share).sum()) + 1
    return sorted((order[:n] + 1).tolist()), power


def coefficients_of(W):
    """Return W's coefficients [p d]."""
    return fourier_basis(len(W)) @ W.double()


def detector_of_cosines(W, share=0.95):
    """wrong 2.2: yours is the cosine's"""
    return detected(coefficients_of(W)[1::2].square().sum(1), share)


def detector_with_the_constant(W, share=0.95):
    """wrong 2.2: the constant, frequency 0, is no wave"""
    power = coefficients_of(W).square().sum(1)
    power = torch.cat([power[:1], power[1:].view(-1, 2).sum(1)])
    frequencies, power = detected(power, share)
    return [k - 1 for k in frequencies], power


def detector_off_by_one(W, share=0.95):
    """wrong 2.2: off by one"""
    frequencies, power = grokking.key_frequencies(W, share)
    return [k - 1 for k in frequencies], power


def detector_that_stops_early(W, share=0.95):
    """wrong 2.2: one frequency too few"""
    power = grokking.key_frequencies(W, share)[1]
    order = power.argsort(descending=True)
    n = int((power[order].cumsum(0) < share).sum())
    return sorted((order[:n] + 1).tolist()), power


def detector_without_squares(W, share=0.95):
    """wrong 2.2: adds their sizes"""
    return detected(coefficients_of(W)[1:].abs().sum(1).view(-1, 2).sum(1), share)


def detector_that_adds_columns_first(W, share=0.95):
    """wrong 2.2: square first"""
    return detected(coefficients_of(W)[1:].sum(1).square().view(-1, 2).sum(1), share)


def detector_by_power(W, share=0.95):
    """wrong 2.2: in order of power"""
    power = grokking.key_frequencies(W, share)[1]
    values, order = power.sort(descending=True)
    return (order[: int((values.cumsum(0) < share).sum()) + 1] + 1).tolist(), power


def detector_of_rows(W, share=0.95):
    """wrong 2.2: share one frequency"""
    return detected(coefficients_of(W)[1:].square().sum(1), share)


def detector_by_a_threshold(W, share=0.95):
    """wrong 2.2: one frequency too many"""
    power = grokking.key_frequencies(W, share)[1]
    return [k + 1 for k in range(len(power)) if power[k] > (1 - share) / 4], power


def detector_by_another_threshold(W, share=0.95):
    """wrong 2.2: one frequency too few"""
    power = grokking.key_frequencies(W, share)[1]
    return [k + 1 for k in range(len(power)) if power[k] > 1 - share], power


def detector_of_90_per_cent(W, share=0.90):
    """wrong 2.2: where no share is given it is 0.95"""
    return grokking.key_frequencies(W, share)


def detector_in_halves(W, share=0.95):
    """wrong 2.2: neighbours"""
    return detected(coefficients_of(W)[1:].square().sum(1).view(2, -1).sum(0), share)


def detector_by_the_fft(W, share=0.95):
    """right 2.2"""
    power = torch.fft.rfft(W.double(), dim=0)[1:].abs().square().sum(1)
    power = power / power.sum()
    held, frequencies = 0.0, []
    for k in power.argsort(descending=True).tolist():
        if held >= share:
            break
        held += power[k].item()
        frequencies.append(k + 1)
    return sorted(frequencies), power


def detector_of_a_tensor(W, share=0.95):
    """wrong 2.2: list of ints"""
    frequencies, power = grokking.key_frequencies(W, share)
    return torch.tensor(frequencies), power


# 2.3


def sums_of(p, sign=1):
    """Return a + sign b mod p for all questions."""
    return (torch.arange(p)[:, None] + sign * torch.arange(p)) % p


def projected(logits, frequencies, sign=1, scale=None, rows=None):
    """Project logits, as they are, on waves of a + sign b."""
    p = len(logits)
    rows = rows or [r for k in frequencies for r in (2 * k - 1, 2 * k)]
    waves = fourier_basis(p)[rows][:, sums_of(p, sign)] * (p**-0.5 if scale is None else scale)
    return torch.einsum("kab,kc->abc", waves, torch.einsum("kab,abc->kc", waves, logits.double()))


def centred(logits):
    """Take the mean over answers off."""
    return logits.double() - logits.double().mean(-1, keepdim=True)


def restrict_uncentred(logits, frequencies):
    """wrong 2.3: centre the logits first"""
    return projected(logits, frequencies)


def restrict_centred_over_a(logits, frequencies):
    """wrong 2.3: over the answers (dim=-1)"""
    return projected(logits.double() - logits.double().mean(0), frequencies)


def restrict_to_differences(logits, frequencies):
    """wrong 2.3: directions of a - b"""
    return projected(centred(logits), frequencies, sign=-1)


def restrict_too_long(logits, frequencies):
    """wrong 2.3: each value of a + b comes p times"""
    return projected(centred(logits), frequencies, scale=1.0)


def restrict_to_cosines(logits, frequencies):
    """wrong 2.3: the sine of a + b is missing"""
    return projected(centred(logits), frequencies, rows=[2 * k - 1 for k in frequencies])


def restrict_one_too_low(logits, frequencies):
    """wrong 2.3: one too low"""
    rows = [r for k in frequencies for r in (2 * k - 3, 2 * k - 2) if r >= 0]
    return projected(centred(logits), frequencies, rows=rows)


def restrict_to_all_products(logits, frequencies):
    """wrong 2.3: all four products"""
    rows = fourier_basis(len(logits))[[r for k in frequencies for r in (2 * k - 1, 2 * k)]]
    kept = torch.zeros(logits.shape, dtype=torch.float64)
    for first, second in zip(rows[::2], rows[1::2]):
        pair = torch.stack([first, second])
        inside = torch.einsum("xa,yb,abc->xyc", pair, pair, centred(logits))
        kept += torch.einsum("xa,yb,xyc->abc", pair, pair, inside)
    return kept


def restrict_to_cos_cos(logits, frequencies):
    """wrong 2.3: you keep cos(wa) cos(wb) alone"""
    kept = torch.zeros(logits.shape, dtype=torch.float64)
    for k in frequencies:
        row = fourier_basis(len(logits))[2 * k - 1]
        wave = torch.outer(row, row)
        kept += wave[..., None] * torch.einsum("ab,abc->c", wave, centred(logits))
    return kept


def restrict_to_all_waves(logits, frequencies):
    """wrong 2.3: all that depends on a + b"""
    return projected(centred(logits), frequencies, rows=list(range(len(logits))))


def restrict_to_the_first(logits, frequencies):
    """wrong 2.3: the numbers are not right"""
    return grokking.restrict(logits, frequencies[:1])


def restrict_removes(logits, frequencies):
    """wrong 2.3: what should go"""
    return centred(logits) - grokking.restrict(logits, frequencies)


def directions_of(p, frequencies):
    """Return the directions of a + b, [p p] each."""
    rows = fourier_basis(p)[[r for k in frequencies for r in (2 * k - 1, 2 * k)]]
    return list(rows[:, sums_of(p)] / math.sqrt(p))


def restrict_all_answers_at_once(logits, frequencies):
    """wrong 2.3: do not add the answers up"""
    flat, kept = centred(logits), torch.zeros(logits.shape, dtype=torch.float64)
    for d in directions_of(len(logits), frequencies):
        d = d[..., None]
        kept += (d * flat).sum() * d
    return kept


def restrict_all_answers_uncentred(logits, frequencies):
    """wrong 2.3: yours adds all answers up"""
    kept = torch.zeros(logits.shape, dtype=torch.float64)
    for d in directions_of(len(logits), frequencies):
        d = d[..., None]
        kept += (d * logits).sum() * d
    return kept


def restrict_without_a_last_axis(logits, frequencies):
    """wrong 2.3: yours runs over b and c"""
    flat, kept = centred(logits), torch.zeros(logits.shape, dtype=torch.float64)
    for d in directions_of(len(logits), frequencies):
        kept += (d * flat).sum((0, 1)) * d
    return kept


def restrict_measured_on_b_and_c(logits, frequencies):
    """wrong 2.3: where it measures"""
    flat, kept = centred(logits), torch.zeros(logits.shape, dtype=torch.float64)
    for d in directions_of(len(logits), frequencies):
        kept += (d * flat).sum((0, 1)) * d[..., None]
    return kept


def restrict_put_back_on_b_and_c(logits, frequencies):
    """wrong 2.3: where it is put back"""
    flat, kept = centred(logits), torch.zeros(logits.shape, dtype=torch.float64)
    for d in directions_of(len(logits), frequencies):
        kept += (d[..., None] * flat).sum((0, 1)) * d
    return kept


def restrict_as_one_sum(logits, frequencies):
    """wrong 2.3: yours adds all answers up; and the wave"""
    flat, kept = centred(logits), torch.zeros(logits.shape, dtype=torch.float64)
    for d in directions_of(len(logits), frequencies):
        kept += (d * flat).sum() * d
    return kept


def restrict_in_place(logits, frequencies):
    """wrong 2.3: in place"""
    logits -= logits.mean(-1, keepdim=True)
    return projected(logits, frequencies)


def restrict_by_means_of_sums(logits, frequencies):
    """right 2.3"""
    p = len(logits)
    flat = centred(logits)
    total = sums_of(p)
    by_sum = torch.stack([flat[total == s].mean(0) for s in range(p)])  # [s c]
    spectrum = torch.fft.fft(by_sum, dim=0)
    keep = torch.zeros(p, 1)
    for k in frequencies:
        keep[[k, p - k]] = 1
    return torch.fft.ifft(spectrum * keep, dim=0).real[total]


def restrict_by_angle_sums(logits, frequencies):
    """right 2.3"""
    basis, kept = fourier_basis(len(logits)), 0
    flat = centred(logits)
    for k in frequencies:
        cos, sin = basis[2 * k - 1], basis[2 * k]
        even = (torch.outer(cos, cos) - torch.outer(sin, sin)) / math.sqrt(2)
        odd = (torch.outer(sin, cos) + torch.outer(cos, sin)) / math.sqrt(2)
        for wave in (even, odd):
            kept = kept + wave[..., None] * (wave[..., None] * flat).sum((0, 1))
    return kept


# 2.4


def both_parts(logits, frequencies):
    """Return the losses of what is kept and of what is left."""
    kept = grokking.restrict(logits, frequencies)
    return losses(kept), losses(centred(logits) - kept)


def measures_swapped(logits, frequencies, is_train):
    """wrong 2.4: yours are swapped"""
    kept, left = both_parts(logits, frequencies)
    return kept[is_train].mean(), left[~is_train].mean()


def measures_on_test(logits, frequencies, is_train):
    """wrong 2.4: over the training pairs"""
    kept, left = both_parts(logits, frequencies)
    return kept[~is_train].mean(), left[~is_train].mean()


def measures_on_all(logits, frequencies, is_train):
    """wrong 2.4: yours go over all"""
    kept, left = both_parts(logits, frequencies)
    return kept.mean(), left.mean()


def measures_in_the_other_order(logits, frequencies, is_train):
    """wrong 2.4: comes first"""
    kept, left = both_parts(logits, frequencies)
    return left[is_train].mean(), kept[~is_train].mean()


def measures_that_exclude_nothing(logits, frequencies, is_train):
    """wrong 2.4: yours keeps all"""
    kept, _ = both_parts(logits, frequencies)
    return kept[~is_train].mean(), losses(logits)[is_train].mean()


def measures_of_the_first_wave(logits, frequencies, is_train):
    """wrong 2.4: the numbers are not right"""
    kept, left = both_parts(logits, frequencies[:1])
    return kept[~is_train].mean(), left[is_train].mean()


def measures_as_sums(logits, frequencies, is_train):
    """wrong 2.4: yours is the sum"""
    kept, left = both_parts(logits, frequencies)
    return kept[~is_train].sum(), left[is_train].sum()


def measures_in_float32(logits, frequencies, is_train):
    """wrong 2.4: float32"""
    p, flat = len(logits), centred(logits)
    kept = grokking.restrict(logits, frequencies)
    pairs = ((kept, ~is_train), (flat - kept, is_train))
    return tuple(
        F.cross_entropy(part.float()[pick], sums_of(p)[pick]).double() for part, pick in pairs
    )


def measures_by_log_softmax(logits, frequencies, is_train):
    """right 2.4"""
    kept = grokking.restrict(logits, frequencies)
    right = sums_of(len(logits))[..., None]
    said = [-part.log_softmax(-1).gather(-1, right)[..., 0] for part in (kept, logits - kept)]
    return said[0][~is_train].mean().item(), said[1][is_train].mean().item()


# 2.5


def waves_of(p, frequencies):
    """Return the angles [p k]."""
    return TURN / p * torch.outer(torch.arange(p), torch.tensor(frequencies).double())


def network_of(p, frequencies, n_phases=7, doubled=2, sign=1):
    """Build the network, with what is to go wrong."""
    u = TURN / n_phases * torch.arange(n_phases, dtype=torch.float64)
    angles = waves_of(p, frequencies)
    each = torch.eye(len(frequencies), dtype=torch.float64)[..., None]
    W_E = torch.cat([angles.cos(), angles.sin()], dim=1)
    W_in = torch.cat([each * u.cos(), -each * u.sin()]).flatten(1)
    W_out = (doubled * u[:, None] + sign * angles.T[:, None]).cos().flatten(0, 1)
    return W_E, W_in, W_out


def network_that_forgets_to_double(p, frequencies):
    """wrong 2.5: double the phase"""
    return network_of(p, frequencies, doubled=1)


def network_with_the_other_sign(p, frequencies):
    """wrong 2.5: sign"""
    return network_of(p, frequencies, sign=-1)


def network_of_four_phases(p, frequencies):
    """wrong 2.5: with 4 phases a + b and -(a + b) look the same"""
    return network_of(p, frequencies, n_phases=4)


def network_for_small_p(p, frequencies):
    """wrong 2.5: questions are right"""
    return network_of(p, frequencies, n_phases=7 if p < 20 else 2)


def network_of_cosines_alone(p, frequencies):
    """wrong 2.5: questions are right"""
    W_E, W_in, W_out = network_of(p, frequencies)
    return W_E[:, : len(frequencies)], W_in[: len(frequencies)], W_out


def network_that_looks_up(p, frequencies):
    """wrong 2.5: which were not given"""
    table = torch.eye(p, dtype=torch.float64)
    return table, table, table


def network_of_all_frequencies(p, frequencies):
    """wrong 2.5: which were not given"""
    return network_of(p, list(range(1, (p + 1) // 2 + 1)))


def network_with_W_out_on_its_side(p, frequencies):
    """wrong 2.5: the shapes should be"""
    W_E, W_in, W_out = network_of(p, frequencies)
    return W_E, W_in, W_out.T


def network_of_sizes(p, frequencies):
    """right 2.5"""
    W_E, W_in, W_out = network_of(p, frequencies, n_phases=18)  # |x| = relu(x) + relu(-x)
    return W_E.float(), torch.cat([W_in, -W_in], dim=1).float(), torch.cat([W_out, W_out]).float()


def network_by_loops(p, frequencies):
    """right 2.5"""
    W_E, n_phases = torch.zeros(p, 2 * len(frequencies)).double(), 9
    W_in = torch.zeros(2 * len(frequencies), n_phases * len(frequencies)).double()
    W_out = torch.zeros(n_phases * len(frequencies), p).double()
    for i, k in enumerate(frequencies):
        for n in range(p):
            W_E[n, 2 * i], W_E[n, 2 * i + 1] = (
                math.sin(TURN * k * n / p),
                math.cos(TURN * k * n / p),
            )
        for j in range(n_phases):
            m, u = i * n_phases + j, TURN * j / n_phases
            W_in[2 * i, m], W_in[2 * i + 1, m] = math.sin(u), math.cos(u)  # cos(x - u)
            for c in range(p):
                W_out[m, c] = math.cos(2 * u - TURN * k * c / p)
    return W_E, W_in, W_out

"""What is right in lesson 09: loops over single numbers, as slow and as obvious as can be.

Sums are kept in 64 bits. Nothing here is taken from lessons/techniques.
"""

import torch
from torch import Tensor


def l0(f: Tensor) -> float:
    """Count what is on, token by token."""
    counts = [sum(x != 0 for x in row) for row in f.reshape(-1, f.shape[-1]).tolist()]
    return sum(counts) / len(counts)


def explained_variance(x: Tensor, x_hat: Tensor) -> float:
    """Add up both sums, number by number, and then divide."""
    rows, other = (t.reshape(-1, x.shape[-1]).double().tolist() for t in (x, x_hat))
    mean = [sum(column) / len(rows) for column in zip(*rows)]
    left = sum((a - b) ** 2 for row, near in zip(rows, other) for a, b in zip(row, near))
    spread = sum((a - m) ** 2 for row in rows for a, m in zip(row, mean))
    return 1 - left / spread


def largest(values: list, among, k: int) -> list[int]:
    """Name the places of the k largest, of those that may be taken."""
    return sorted(among, key=lambda i: -values[i])[:k]


def topk_loss(x, W_enc, b_enc, W_dec, b_dec, k, dead, part=1 / 32, flows=False):
    """Work out the loss token by token, in 64 bits; gradients flow through all but what is given.

    `part` is the weight of the dead latents' loss; `flows`: let the gradient through e as well.
    """
    x, W_enc, b_enc, W_dec, b_dec = (t.double() for t in (x, W_enc, b_enc, W_dec, b_dec))
    d, n_latents, asleep = x.shape[1], len(b_enc), dead.nonzero()[:, 0].tolist()
    total = torch.zeros((), dtype=torch.float64)
    for row in x:
        pre = [((row - b_dec) * W_enc[:, i]).sum() + b_enc[i] for i in range(n_latents)]
        pre = [p if p > 0 else 0 * p for p in pre]
        size = [float(p) for p in pre]
        on, late = largest(size, range(n_latents), k), largest(size, asleep, d // 2)
        e = row - b_dec - sum((pre[i] * W_dec[i] for i in on), torch.zeros(d).double())
        total = total + (e * e).sum()
        if late and part:
            given = e if flows else torch.tensor(e.tolist(), dtype=torch.float64)
            rest = given - sum((pre[i] * W_dec[i] for i in late), torch.zeros(d).double())
            total = total + part * (rest * rest).sum()
    return total / len(x)


def spliced(x, encode, decode, edit=None, error=True, bos=False) -> Tensor:
    """Put each position in by itself."""
    out = x.clone()
    for b in range(x.shape[0]):
        for p in range(0 if bos else 1, x.shape[1]):
            f = encode(x[b, p])
            out[b, p] = decode(f) if edit is None else decode(edit(f))
            if error:
                out[b, p] += x[b, p] - decode(f)
    return out


def f1(on, truth) -> Tensor:
    """Count hits, misses and false alarms, pair by pair."""
    result = torch.zeros(truth.shape[1], on.shape[1])
    for t, is_there in enumerate(truth.T.tolist()):
        for f, is_on in enumerate(on.T.tolist()):
            hits = sum(a and b for a, b in zip(is_there, is_on))
            wrong = sum(a != b for a, b in zip(is_there, is_on))
            result[t, f] = 2 * hits / (2 * hits + wrong) if hits else 0.0
    return result

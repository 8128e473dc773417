"""The usual mistakes of lesson 05: sentences, and what each mistake would give instead."""

import torch

from lessons.checks.induction_loops import length


def stripes(pattern, back, first) -> dict:
    """Name the usual mistakes, and what each would give."""

    def beside(back, first=first):  # where a stripe is that far back
        return pattern.diagonal(-back, dim1=-2, dim2=-1)[..., max(first - back, 0) :].mean(-1)

    on, n = pattern.diagonal(-back, dim1=-2, dim2=-1), pattern.shape[-1]
    off, counted = "the stripe is off by one: yours", on[..., first - back :]
    wrong = {
        f"{off} is one key to the right, {back - 1} back": beside(back - 1),
        f"{off} is one key to the left, {back + 1} back": beside(back + 1),
        "keys lie before their queries, below the diagonal: yours is above it": beside(-back, 0),
        "only queries from position `first` on are counted: yours counts all": on.mean(-1),
        "the stripe begins at query `back`, so query `first` is its entry first - back: yours "
        "leaves out `first` entries": on[..., first:].mean(-1),
        "a score is a mean over queries: yours is a sum": counted.sum(-1),
        "divide by the number of queries counted: yours divides by all": counted.sum(-1) / n,
    }
    if pattern.ndim > 2:
        wrong["texts and heads stay apart: yours takes their mean too"] = counted.mean()
        wrong["the last two axes are q and k: yours takes the first two"] = pattern.movedim(
            (0, 1), (2, 3)
        ).diagonal(-back, dim1=-2, dim2=-1).mean(-1)  # fmt: skip
    return wrong


def places(tokens) -> dict:
    """Name the usual mistakes, and what each would give."""
    at = torch.arange(tokens.shape[1])
    equal = tokens[:, :, None] == tokens[:, None, :]  # [b q k]
    before = equal.tril(-1)
    last = torch.where(before, at, -1).amax(-1)  # [b q]
    first = before.int().argmax(-1)
    new = ~before.any(-1)
    itself = torch.where(equal.tril(), at, -1).amax(-1)
    anywhere = torch.where(equal, at, -1).amax(-1)
    others = torch.where(equal & ~torch.eye(len(at), dtype=torch.bool), at, -1).amax(-1)
    out = "right after the last earlier equal token: yours"
    return {
        f"{out} is that token itself, one too early": last,
        f"{out} is one too late": torch.where(new, -1, last + 2),
        f"{out} follows the first one": torch.where(new, -1, first + 1),
        f"{out} takes the position itself for an earlier one": itself + 1,
        f"{out} looks into the future too": anywhere + 1,
        f"{out} looks at later copies too": torch.where(others < 0, -1, others + 1),
        f"{out} remembers the text before": remembered(tokens),
        "-1 where the token stands for the first time: yours is 0, which is a place": last + 1,
        "-1 where the token stands for the first time: yours is the position itself": torch.where(
            new, at, last + 1
        ),
        f"{out} is told as a distance, not as a position": torch.where(new, -1, at - last - 1),
    }


def remembered(tokens):
    """Walk through all texts with one memory, which is not cleared between them."""
    last: dict[int, int] = {}
    result = torch.full_like(tokens, -1)
    for i, text in enumerate(tokens.tolist()):
        for at, token in enumerate(text):
            result[i, at] = last.get(token, -2) + 1
            last[token] = at
    return result


def copying(left, right) -> dict:
    """Name the usual mistakes, and what each would give."""
    values = torch.linalg.eigvals(left.double() @ right.double())
    stretched = torch.linalg.svdvals(left.double() @ right.double())
    other = torch.linalg.svdvals(right.double() @ left.double())
    real, whole = values.real.sum(-1), values.abs().sum(-1)
    positive = (values.real > 1e-9).sum(-1) / (values.abs() > 1e-9).sum(-1)
    length = "|L| is the whole length of a complex number: yours"
    return {
        f"{length} is that of its real part": real / values.real.abs().sum(-1),
        "divide by the sum of |L|: yours is the bare sum": real,
        "divide by the sum of |L|: yours divides by how many there are": real / left.shape[-1],
        "divide by the sum of |L|: yours is upside down": whole / real,
        "add up the eigenvalues: yours counts how many are positive": positive,
        "add up the lengths: yours takes the length of the sum": real / values.sum(-1).abs(),
        "a score can be negative: yours takes absolute values above the line too": real.abs()
        / whole,
        "eigenvalues, not singular values, which are never negative": real / stretched.sum(-1),
        "|L| are the eigenvalues' lengths, not singular values, which are never negative": real
        / other.sum(-1),
        "eigenvalues, not singular values: yours is always 1": torch.ones_like(real),
        "one score for each head: yours adds them up": real.sum() / whole.sum(),
    }


def compositions(W_V, W_O, W_Q, W_K) -> dict:
    """Name the usual mistakes, and what each would give."""
    OV, QK = W_V.double() @ W_O.double(), W_Q.double() @ W_K.double().mT
    most, keys = length(QK) * length(OV), length(QK @ OV.mT)
    missing = "divide by both lengths, |W_Q W_K^T| and |W_V W_O|: yours"
    wrong = {
        "it is the later head's keys that read: yours lets its queries read (W_Q and W_K are "
        "swapped)": length(QK.mT @ OV.mT) / most,
        "the keys read what the earlier head writes: yours takes what it reads (W_V W_O is not "
        "transposed)": length(QK @ OV) / most,
        f"{missing} divides by none": keys,
        f"{missing} leaves out the earlier head's": keys / length(QK),
        f"{missing} leaves out the later head's": keys / length(OV),
        f"{missing} adds them": keys / (length(QK) + length(OV)),
        "a length is a root: yours is squared": (keys / most) ** 2,
    }
    if W_K.shape == (len(W_Q), 1):  # where the thin matrices fit, turned or not
        turned, fit = (
            "product_norm takes [n e] and [e n]: yours does not transpose",
            W_V @ W_O @ W_K,
        )
        wrong[f"{turned} W_K"] = keys / (length(W_Q) * abs(W_K.sum()) * length(OV))
        wrong[f"{turned} W_V W_O W_K"] = length(W_Q) * abs(fit.sum()) / most
    if keys.ndim:
        wrong["one score for each pair of heads: yours is one for all"] = keys.norm() / most.norm()
    return wrong


def ablated(z, heads, how) -> dict:
    """Name the usual mistakes, and what each would give."""
    away = torch.zeros(z.shape[2], dtype=torch.bool)
    away[heads] = True
    away = away[:, None].expand_as(z)

    def only(instead, some=away):
        return torch.where(some, instead, z)

    values = {"zero": torch.zeros_like(z), "mean": z.mean(0).expand_as(z), "resample": z.roll(1, 0)}
    own, right = "the listed heads only: yours", values.pop(how)
    wrong = {
        f"{own} changes all heads": right,
        f"{own} changes all the others": only(right, ~away),
        f"{own} changes nothing": z,
        "all other heads stay as they were: yours silences them": torch.where(away, right, 0),
        "at all positions: yours changes the last one only": torch.cat(
            [z[:, :-1], only(right)[:, -1:]], 1
        ),
        "in the place of what was said: yours adds it": only(z + right),
    }
    wrong |= {f'you were asked for "{how}": yours is "{it}"': only(values[it]) for it in values}
    if how == "mean":
        over = "the mean goes over texts, each position has its own: yours goes over"
        wrong[f"{over} positions"] = only(z.mean(1, keepdim=True).expand_as(z))
        wrong[f"{over} both"] = only(z.mean((0, 1)).expand_as(z))
        wrong[f"{over} everything"] = only(z.mean().expand_as(z))
    if how == "resample":
        wrong["text i takes from text i - 1: yours takes from text i + 1"] = only(z.roll(-1, 0))
        wrong["another text, same position: yours is the same text, another position"] = only(
            z.roll(1, 1)
        )
        wrong["the same head of another text: yours takes another head's"] = only(z.roll(1, 2))
        chain = only(z[-1:].expand_as(z))
        wrong["take from z as it was: yours takes what was just replaced, so the last text's "
              "words go everywhere"] = chain  # fmt: skip
    return wrong

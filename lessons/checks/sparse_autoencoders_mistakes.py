"""The usual mistakes of lesson 09: sentences, and what each mistake would give instead."""

import torch
from torch import Tensor

from lessons.checks.sparse_autoencoders_loops import topk_loss


def counts(f: Tensor) -> dict:
    """Name the usual mistakes, and what each would give."""
    on, above = (f != 0).double(), (f > 0).double()
    return {
        "L0 counts latents of each token, in the mean over tokens: yours is the sum over all "
        "tokens": on.sum().item(),
        "L0 is a number of latents: yours is the share of them": on.mean().item(),
        "L0 counts what is on, however strong: yours adds up the strengths (that is L1)": f.sum(-1)
        .mean()
        .item(),
        "L0 counts what is on: yours counts what is off": (1 - on).sum(-1).mean().item(),
        "the last axis holds the latents: yours sums over the first": on.sum(0).mean().item(),
        "the mean goes over all tokens, whatever axes they are on: yours is of the first "
        "only": on.sum(-1).flatten()[0].item(),
        "on is what is not 0: yours leaves out what is below 0": above.sum(-1).mean().item(),
    }


def variances(x: Tensor, x_hat: Tensor) -> dict:
    """Name the usual mistakes, and what each would give."""
    shaped = x.double()
    x, x_hat = shaped.flatten(0, -2), x_hat.double().flatten(0, -2)
    e = (x - x_hat).square()
    spread = (x - x.mean(0)).square()
    own = (x - x.mean(1, keepdim=True)).square()
    ratio = (e.sum() / spread.sum()).item()
    return {
        "divide both sums by the same: x.var(0) divides by n - 1, a mean by n": 1
        - (e.mean(0).sum() / (spread.sum() / max(len(x) - 1, 1))).item(),
        "1 minus that: yours is the share that is missed": ratio,
        "the mean is of each dimension over all tokens: yours is one number for all": 1
        - (e.sum() / (x - x.mean()).square().sum()).item(),
        "the mean goes over all tokens, whatever axes they are on: yours goes over the first axis "
        "only": 1 - (e.sum() / (shaped - shaped.mean(0)).square().sum()).item(),
        "the mean is of each dimension, over tokens: yours is of each token, over dimensions": 1
        - (e.sum() / own.sum()).item(),
        "take the mean of x off in the second sum: yours divides by the squares of x itself": 1
        - (e.sum() / x.square().sum()).item(),
        "sum first, divide once: yours divides dimension by dimension and takes the mean": 1
        - (e.sum(0) / spread.sum(0)).mean().item(),
        "sum first, divide once: yours divides token by token and takes the mean": 1
        - (e.sum(1) / spread.sum(1)).mean().item(),
        "square the differences: yours takes their absolute values": 1
        - (e.sqrt().sum() / spread.sqrt().sum()).item(),
        "no square root: yours compares lengths and not variances": 1 - ratio**0.5,
        "the variance of what is missed still has its mean in it: yours takes it off, so a "
        "constant error costs nothing": 1 - (varied(x - x_hat) / spread.sum()).item(),
        "the mean is x's own: yours is that of the reconstruction": 1
        - (e.sum() / (x - x_hat.mean(0)).square().sum()).item(),
        "the variance of x_hat is not what is explained of x: compare x with x_hat": (
            varied(x_hat) / spread.sum()
        ).item(),
    }


def varied(x: Tensor) -> Tensor:  # [n d] -> []
    """Sum the squared distances from the mean."""
    return (x - x.mean(0)).square().sum()


def losses(x, W_enc, b_enc, W_dec, b_dec, k, dead) -> dict:
    """Name the usual mistakes, and what each would give."""
    plain, whole = (topk_loss(x, W_enc, b_enc, W_dec, b_dec, k, dead, part=w) for w in (0, 1))
    right, d, some = plain + (whole - plain) / 32, x.shape[1], int(dead.sum())
    pre = torch.relu((x - b_dec) @ W_enc + b_enc)
    e = x - kept(pre, k) @ W_dec - b_dec
    late, all_of_it = kept(pre * dead, min(d // 2, some)) @ W_dec, x - pre @ W_dec - b_dec
    awake = kept(pre * ~dead, min(d // 2, int((~dead).sum()))) @ W_dec
    raw = (x - b_dec) @ W_enc + b_enc
    below = x - kept(raw, k) @ W_dec - b_dec
    uncentred = topk_loss(x, W_enc, b_enc + b_dec @ W_enc, W_dec, b_dec, k, dead)

    def aux(rest):  # [b d], what e_hat misses
        return mean_square(rest) / 32 if some else 0

    return {
        "without dead latents nothing is added: yours adds |e|^2 / 32": right
        + (mean_square(e) / 32 if not some else torch.nan),
        "the dead latents' loss is missing": plain,
        "the dead latents' loss is weighed with 1/32: yours with 1": whole,
        "|e|^2 is summed over d: yours takes the mean over everything": right / d,
        "sum the second part over d too: yours is its mean": plain + (whole - plain) / (32 * d),
        "the mean goes over the tokens: yours sums them": right * len(x),
        "take b_dec off x before W_enc: yours encodes x as it is": uncentred,
        "b_dec is added once, in x_hat: yours adds it to e_hat too": plain + aux(e - late - b_dec),
        "x_hat ends with + b_dec: yours leaves it out": mean_square(e + b_dec)
        + aux(e + b_dec - late),
        "the dead latents explain e, what is left: yours lets them explain x": plain
        + aux(x - late),
        "of each token the d // 2 largest among the dead: yours takes all of them": plain
        + aux(e - pre * dead @ W_dec),
        "of each token the d // 2 largest among the dead: yours takes k": plain
        + aux(e - kept(pre * dead, min(k, some)) @ W_dec),
        "e_hat is made of the dead: yours is made of the others": plain + aux(e - awake),
        "relu comes first: yours lets what is below 0 be on": mean_square(below)
        + aux(below - late),
        "keep the k largest of each token: yours keeps all": mean_square(all_of_it)
        + aux(all_of_it - late),
    }


def kept(pre: Tensor, k: int) -> Tensor:  # [b f] -> [b f]
    """Keep each row's k largest."""
    if not k:
        return torch.zeros_like(pre)
    smallest = pre.topk(k).values[:, -1:]
    return pre * (pre >= smallest)


def mean_square(e: Tensor) -> Tensor:  # [b d] -> []
    """Sum over d, mean over b."""
    return e.double().square().sum(-1).mean()


def splices(x, encode, decode, edit, error, bos) -> dict:
    """Name the usual mistakes, and what each would give."""
    f = encode(x)
    g = f if edit is None else edit(f)
    miss = x - decode(f)
    zero = torch.zeros_like(x[:, :1])

    def begun(new, other=bos):  # BOS as it is, unless it is told otherwise
        return new if other else torch.cat([x[:, :1], new[:, 1:]], 1)

    return {
        "the first position stays as it is, unless bos: yours changes it": decode(g) + error * miss,
        "with bos the first position is put in too: yours leaves it": begun(
            decode(g) + error * miss, False
        ),
        "with error=True add what the autoencoder misses: yours leaves it out": begun(decode(g)),
        "with error=False add nothing: yours adds what the autoencoder misses": begun(
            decode(g) + miss
        ),
        "the edit is not used, or undone (the error is of the features before the edit, which may "
        "change f itself: take it first)": begun(decode(f) + error * miss),
        "the error is x - decode(f): yours has the other sign": begun(decode(g) - error * miss),
        "edit the features, not what is decoded from them: yours adds decode(edit(f)) on "
        "top": begun(x + decode(g)),
        "x comes back whole: yours leaves the first position out": (decode(g) + error * miss)[
            :, 1:
        ],
        "the first position stays as it is: yours is 0 there": torch.cat(
            [zero, (decode(g) + error * miss)[:, 1:]], 1
        ),
        "return the new activation: yours returns features": begun_or(g, x),
    }


def begun_or(g: Tensor, x: Tensor) -> Tensor:
    """Give features back where they have the width of x, else something nobody returns."""
    return g if g.shape == x.shape else torch.full_like(x, torch.nan)


def scores(on: Tensor, truth: Tensor) -> dict:
    """Name the usual mistakes, and what each would give."""
    on, truth = on.double(), truth.double()
    both, there, said = truth.T @ on, truth.sum(0)[:, None], on.sum(0)
    right = 2 * both / (there + said).clamp(min=1)
    agree = both + (1 - truth).T @ (1 - on)
    return {
        "[t f], a row for each feature: yours is the other way round": right.T,
        "F1 is 2 both over the sum: yours left out the 2": right / 2,
        "yours is precision, both / tokens with the latent on": both / said.clamp(min=1),
        "yours is recall, both / tokens with the feature": both / there.clamp(min=1),
        "yours is the mean of precision and recall: F1 is the harmonic mean": (
            both / said.clamp(min=1) + both / there.clamp(min=1)
        )
        / 2,
        "yours is the share of tokens where both agree, and most tokens have neither": agree
        / len(on),
        "divide by the sum of both counts: yours divides by the tokens with either (that is "
        "Jaccard's)": both / (there + said - both).clamp(min=1),
        "where both counts are 0, F1 is 0: yours is nan": 2 * both / (there + said),
        "yours is the number of tokens with both, not yet divided": both,
    }

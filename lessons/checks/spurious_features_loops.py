"""Slow and obvious: what is right in lesson 10."""

import torch
from torch import Tensor
from torch.nn.functional import softplus


def worst_group(right: Tensor, label: Tensor, gender: Tensor) -> float:
    """Count the four groups one person at a time."""
    count: dict[tuple, list] = {}
    for hit, *group in zip(right.tolist(), label.tolist(), gender.tolist()):
        count.setdefault(tuple(group), []).append(hit)
    return min(sum(hits) / len(hits) for hits in count.values())


def put(x: Tensor, f: Tensor, W_dec: Tensor, latents: list[int], to: Tensor) -> Tensor:
    """Move one latent after the other."""
    x = x.clone()
    for i in latents:
        x += (to[i] - f[..., i])[..., None] * W_dec[i]
    return x


def integrated(score, f: Tensor, base: Tensor, steps: int) -> Tensor:
    """Walk in float64, with finite differences for slopes."""
    f, base = f.double(), base.double()
    total = torch.zeros_like(f)
    for a in [(step + 0.5) / steps for step in range(steps)]:
        at = base + a * (f - base)
        for i in range(f.shape[1]):
            nudge = torch.zeros_like(at)
            nudge[:, i] = 1e-3
            total[:, i] += (measured(score, at + nudge) - measured(score, at - nudge)) / 2e-3
    return (total / steps * (f - base)).float()


def measured(score, at: Tensor) -> Tensor:
    """Ask a score in the precision that it works in."""
    try:
        return score(at)
    except RuntimeError:  # it holds float32 weights
        return score(at.float()).double()


def leaning(f: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Take one latent at a time."""
    out = []
    for column in f.T.tolist():
        a = [value for value, kind in zip(column, one.tolist()) if kind]
        b = [value for value, kind in zip(column, other.tolist()) if kind]
        a, b = sum(a) / len(a), sum(b) / len(b)
        out.append((a - b) / (a + b) if a + b else 0.0)
    return torch.tensor(out)


def matched(size: list[float], chosen: list[int]) -> list[int]:
    """For each, look through all that are free."""
    taken: list[int] = []
    for latent in chosen:
        free = [i for i in range(len(size)) if i not in chosen and i not in taken]
        taken.append(min(free, key=lambda i: (abs(size[i] - size[latent]), i)))
    return taken


def lives(noise: Tensor, strength: Tensor) -> Tensor:  # [b f], [f] -> [b f]
    """Make shares of 30 latents: the first six gender, the next four job, the others noise."""
    b = len(noise)
    sign = (torch.arange(b) >= b // 2) * 2.0 - 1
    tilt = (torch.arange(b) % (b // 2) >= b // 4) * 2.0 - 1
    shares = 0.1 * noise
    shares[:, :6] += tilt[:, None] * (0.6 + 0.2 * strength[:6].sigmoid())
    shares[:, 6:10] += sign[:, None] * 0.4
    return shares


def worst(shares: Tensor, logit: Tensor, label: Tensor, gone: list[int]) -> float:
    """Return the accuracy of the worst of four equal groups without these latents."""
    left = logit - shares[:, gone].sum(1)
    return ((left > 0) == label).float().view(4, -1).mean(1).min().item()


def choose(shares: Tensor, logit: Tensor, label: Tensor, most: int) -> list[int]:
    """Go step by step: of all latents, the one without which the logistic loss is least."""
    sign, gone = label * 2.0 - 1, []

    def cost(gone):
        return softplus(-sign * (logit - shares[:, gone].sum(1))).mean().item()

    while len(gone) < most:
        best = min(
            (i for i in range(shares.shape[1]) if i not in gone), key=lambda i: cost([*gone, i])
        )
        if cost([*gone, best]) >= cost(gone):
            break
        gone.append(best)
    return gone

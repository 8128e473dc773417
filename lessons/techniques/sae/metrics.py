"""How a sparse autoencoder is judged where nobody knows the true features: the field's numbers.

    l0                  latents on per token (lessons/techniques/sparse_autoencoders.py)
    explained_variance  share of x's variance that is in x_hat (the same file)
    loss_recovered      share of what the site does for the model's loss that x_hat does too
    dead, dense         share of the latents that are never on; that are on in over 10 % of tokens
    shrinkage           by what share x_hat is too short
    summary             all of them that need no model, in one go over many tokens

They tell what is lost, and how much is on. Whether a latent means anything, none of them tells:
for that see scores.py. Letters: n tokens, b document, p position, d width, f latent.
"""

import torch
from torch import Tensor

from lessons.techniques.sae.writing import activations
from lessons.techniques.sparse_autoencoders import explained_variance, l0
from minimech import MinimechError
from minimech.tokens import PAD

__all__ = [
    "dead", "dense", "explained_variance", "l0", "loss_recovered", "losses", "rates", "shrinkage",
    "summary",
]  # fmt: skip
CHUNK = 4096  # tokens encoded at a time: 24,576 latents of each are 400 MB


@torch.no_grad()
def rates(sae, x: Tensor) -> Tensor:  # [n d] -> [f]
    """Say at which share of the tokens each latent is on."""
    return sum((sae.encode(part) != 0).sum(0) for part in x.split(CHUNK)) / len(x)


def dead(rate: Tensor) -> float:  # [f] -> 0 to 1
    """Say which share of the latents is never on in these tokens; fewer tokens, more dead."""
    return (rate == 0).float().mean().item()


def dense(rate: Tensor, above: float = 0.1) -> float:  # [f] -> 0 to 1
    """Say which share of the latents is on in more than 10 % of the tokens.

    Rajamanoharan et al. 2024 ("Jumping Ahead", 5.3) draw the line there. Such a latent rarely has
    a meaning that can be named.
    """
    return (rate > above).float().mean().item()


def shrinkage(x: Tensor, x_hat: Tensor) -> float:  # [n d] twice -> share
    """Say by what share the reconstructions are too short: 0 if they are not, 0.2 if by a fifth.

    1 - g, where x_hat / g fits x best: g = sum |x_hat|^2 / sum x_hat . x, both taken from the mean
    of x over tokens. A penalty on f makes f smaller than it should be ("feature suppression",
    Wright & Sharkey 2024); the measure is the relative reconstruction bias of Rajamanoharan et al.
    2024 ("Gated", 4.2), from the mean, so that a large b_dec does not hide it. nan if x_hat is
    always the mean.
    """
    mean = x.mean(0)
    x, x_hat = x - mean, x_hat - mean
    return (1 - x_hat.square().sum() / (x_hat * x).sum()).item()


@torch.no_grad()
def summary(sae, x: Tensor) -> dict[str, float]:  # [n d]
    """Measure l0, explained_variance, shrinkage, dead and dense on the same tokens."""
    x_hat, count = [], 0
    for part in x.split(CHUNK):
        f = sae.encode(part)
        x_hat.append(sae.decode(f))
        count = count + (f != 0).sum(0)
    x_hat, rate = torch.cat(x_hat), count / len(x)
    return {
        "l0": rate.sum().item(),
        "explained_variance": explained_variance(x, x_hat),
        "shrinkage": shrinkage(x, x_hat),
        "dead": dead(rate),
        "dense": dense(rate),
    }


def loss_recovered(model, tokens: Tensor, sae, instead: str = "zero", batch: int = 32) -> float:
    """Say which share of what the site does for the loss, its reconstruction does too.

    (L_instead - L_sae) / (L_instead - L_clean), L the model's loss on tokens [b p] with x_hat, or
    with what stands `instead` of x: "zero", or "mean", each dimension's mean over these tokens.
    1: nothing is lost; 0: as bad as no site at all. Whichever breaks the model worse flatters more,
    so say which. All runs leave the first position (BOS) as it is, unless cfg.bos. Bricken et al.
    2023 ("loss recovered", against zero).
    """
    clean, with_sae, without = losses(model, tokens, sae, instead, batch)
    return (without - with_sae) / (without - clean)


@torch.no_grad()
def losses(model, tokens: Tensor, sae, instead: str = "zero", batch: int = 32):
    """Return the three losses in nats a token: as it is, with x_hat, and with what is instead."""
    if instead not in ("zero", "mean"):
        raise MinimechError(f"loss_recovered: instead is 'zero' or 'mean', not {instead!r}")
    site, start = sae.cfg.site, 0 if sae.cfg.bos else 1
    level = 0.0 if instead == "zero" else site_mean(model, tokens, site, start, batch)

    def ablate(x, hook):  # [b p d]
        x[:, start:] = level
        return x

    runs = [], [sae.splice(error=False)], [(site, ablate)]
    return tuple(mean_loss(model, tokens, hooks, batch) for hooks in runs)


def mean_loss(model, tokens: Tensor, hooks: list, batch: int) -> float:
    """Measure the loss with some hooks, in nats, mean over all tokens that are predicted.

    Where a document has ended (PAD), nothing is.
    """
    total, count = 0.0, 0
    for part in tokens.split(batch):
        loss = model.loss_fn(model.run_with_hooks(part, fwd_hooks=hooks), part, per_token=True)
        total, count = total + loss.sum().item(), count + (part[:, 1:] != PAD).sum().item()
    return total / count


def site_mean(model, tokens: Tensor, site: str, start: int, batch: int) -> Tensor:  # -> [d]
    """Take each dimension's mean at the site, over all tokens from position `start` on."""
    total, count = 0.0, 0
    for part in tokens.split(batch):
        x = activations(model, part, site)[:, start:]  # [b p d]
        x = x[part[:, start:] != PAD]  # [n d]
        total, count = total + x.sum(0), count + len(x)
    return total / count

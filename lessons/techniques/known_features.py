"""A toy whose features are known, to judge autoencoders where there is a truth (lesson 09).

32 directions in 16 dimensions, each on with probability 0.05, apart from the others: so 1.6 are on
at once. x is their sum, each 0.5 to 1.5 strong. That is what we believe of a model's activations
(lesson 01), with the answers in hand.

Letters: b example, d dimension, t true feature, f latent.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lessons.techniques.sae.autoencoders import SAE, Config
from lessons.techniques.sae.training import fit

N_FEATURES, WIDTH, CHANCE = 32, 16, 0.05


def directions(seed: int, n: int = N_FEATURES) -> Tensor:  # -> [n d], rows of norm 1
    """Draw directions at random, by default as many as there are true features."""
    draw = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, WIDTH, generator=draw), dim=1)


def examples(true: Tensor, n: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw n activations [n d], and how strongly each true feature is on in each of them [n t]."""
    on = torch.rand(n, len(true), generator=draw) < CHANCE
    strength = on * (0.5 + torch.rand(n, len(true), generator=draw))  # [n t]
    return strength @ true, strength


def endless(true: Tensor, batch: int, seed: int) -> Iterator[Tensor]:  # [b d], for ever
    """Draw fresh examples to learn from."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield examples(true, batch, draw)[0]


def trained(true: Tensor, seed: int, steps: int = 800, **kind) -> SAE:
    """Train an autoencoder of 64 latents on these features; `kind`: what Config says of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 + seed)  # that of `directions` would make it start from the truth
        sae = SAE(Config(WIDTH, 2 * N_FEATURES, **kind))
    for _ in fit(sae, endless(true, 256, seed), steps, lr=1e-2, every=steps, dead_after=20_000):
        pass
    return sae.requires_grad_(False)


def nearest(true: Tensor, W_dec: Tensor) -> Tensor:  # [t d], [f d] -> [t]
    """Say how near any latent comes to each true feature: the largest cosine."""
    rows = torch.nn.functional.normalize(W_dec, dim=1)
    return (true @ rows.T).amax(1)

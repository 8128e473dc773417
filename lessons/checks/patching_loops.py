"""What is right in lesson 06: sums number by number, slopes by small steps, sets one by one.

The model that is patched is a tiny random one, in 64 bits. Nothing comes from lessons/techniques.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from random import Random

import torch
from torch import Tensor

from minimech import HookedTransformer
from minimech.model import ModelConfig

SITES = ["blocks.0.hook_resid_pre", "blocks.1.attn.hook_z", "blocks.1.hook_resid_mid"]
STEP = 1e-4


def draw(seed: int, *sizes: int) -> Tensor:
    """Draw normal numbers, others for each shape and seed."""
    generator = torch.Generator().manual_seed(Random(f"{seed} {sizes}").randrange(2**31))
    return torch.randn(*sizes, generator=generator)


def tiny(seed: int, n_layers: int = 2) -> HookedTransformer:
    """Make a model with three heads, eleven words and no weight or bias at zero."""
    cfg = ModelConfig(n_layers=n_layers, n_heads=3, d_model=12, n_ctx=8, d_vocab=11)
    model = HookedTransformer(cfg).double().requires_grad_(False)
    for i, weight in enumerate(model.parameters()):
        weight.copy_(0.4 * draw(seed + i, *weight.shape) + (weight == 1))
    return model


def tokens(seed: int, n: int = 2, length: int = 5) -> tuple[Tensor, Tensor]:  # [b p] twice
    """Draw prompts, and others that differ from them in every word but the first."""
    random = Random(f"tokens {seed}")
    clean = torch.tensor([[random.randrange(11) for _ in range(length)] for _ in range(n)])
    other = (clean + torch.randint(1, 11, clean.shape, generator=torch.manual_seed(seed))) % 11
    other[:, 0] = clean[:, 0]
    return clean, other


def metric(logits: Tensor) -> Tensor:  # [b v] -> [b]
    """Take a difference of two logits, squared, so that it is no straight line either."""
    return logits[:, 3] - logits[:, 7] + 0.1 * logits[:, 5].pow(2)


def normalised(patched: Tensor, clean: Tensor, corrupted: Tensor) -> Tensor:
    """Average and divide, patch by patch, number by number."""
    low, high = (sum(values.tolist()) / len(values) for values in (corrupted, clean))
    rows = patched.reshape(-1, len(clean)).tolist()
    shares = [(sum(row) / len(row) - low) / (high - low) for row in rows]
    return torch.tensor(shares).view(patched.shape[:-1])


def put(activation: Tensor, donor: Tensor, position: int, source: int | None) -> Tensor:
    """Copy prompt by prompt."""
    new = activation.clone()
    for b in range(len(new)):
        new[b, position] = donor[b, position if source is None else source]
    return new


def slopes(model, base, donor, measure: Callable, sites: Sequence[str], hooks=()) -> dict:
    """Nudge one activation after the other towards the donor's; measure how the metric moves."""
    old, new = (model.run_with_cache(given, names_filter=list(sites))[1] for given in (base, donor))
    return {site: along(model, base, measure, site, new[site] - old[site], hooks) for site in sites}


def along(model, base, measure, site, change: Tensor, hooks) -> Tensor:
    """Return how fast the metric rises along each vector of `change` [b ... d], one at a time."""
    found = torch.zeros(change.shape[:-1], dtype=change.dtype)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in change.shape[1:-1])).tolist():
        index = (slice(None), *(place if isinstance(place, list) else [place]))
        both = []
        for step in (STEP, -STEP):

            def nudge(x, hook, step=step, index=index):
                x[index] += step * change[index]
                return x

            logits = model.run_with_hooks(base, fwd_hooks=[*hooks, (site, nudge)])
            both.append(measure(logits[:, -1]))
        found[index] = (both[0] - both[1]) / (2 * STEP)
    return found


def first_difference(clean: Tensor, corrupted: Tensor) -> int:
    """Look at one word after the other."""
    for position in range(clean.shape[1]):
        for one, other in zip(clean.tolist(), corrupted.tolist()):
            if one[position] != other[position]:
                return position
    return clean.shape[1]


def resumed(model, given: Tensor, resid: Tensor, layer: int) -> Tensor:
    """Run the whole model, with the stream replaced on the way: [b p], [b p d] -> [b v]."""
    n = model.cfg.n_layers
    site = f"blocks.{layer}.hook_resid_pre" if layer < n else f"blocks.{n - 1}.hook_resid_post"
    return model.run_with_hooks(given, fwd_hooks=[(site, lambda x, hook: resid.clone())])[:, -1]


def smallest(table: dict, nodes: list) -> list[frozenset]:
    """List all smallest sets whose value in the table is below 0."""
    for size in range(len(nodes) + 1):
        found = [frozenset(one) for one in combinations(nodes, size)]
        if found := [one for one in found if table[one] < 0]:
            return found
    return []

"""What a run costs, counted and not measured: `python -m minimech memory`. tests/bench.py measures.

Numbers are counted, of four bytes each: what is alive at once, and what is kept.
"""

import re
from math import prod

from minimech import MinimechError, ModelConfig
from minimech.__main__ import sizes
from minimech.hooks import site_shapes
from minimech.weights import unfilled


def operations(cfg, b: int, p: int, n_layers: float = 0, unembedded: int = 0) -> float:
    """Count what the matrix products of a forward, or of its last layers, add and multiply."""
    block = cfg.d_model * (4 * cfg.d_model + 2 * cfg.d_mlp + 2 * p)  # per position
    blocks = (n_layers or cfg.n_layers) * b * p * block
    return 2 * (blocks + (unembedded or b * p) * cfg.d_model * cfg.d_vocab)


def memory(cfg: ModelConfig, b: int, p: int) -> None:
    """Print what a forward of b prompts of p tokens, a full cache and a patch sweep would cost."""
    if min(b, p) < 1 or p > cfg.n_ctx:
        asked = f"a batch of {b} prompts of {p} tokens cannot be run"
        limits = f"it needs 1 of each, and {cfg.model_name} takes {cfg.n_ctx} tokens"
        raise MinimechError(f"{asked}: {limits}")
    once, kept, patches = operations(cfg, b, p), held(cfg, b, p), cfg.n_layers * p
    resumed = operations(cfg, b, p, n_layers=(cfg.n_layers + 1) / 2, unembedded=b)  # on average
    clean = patches * b * cfg.d_model  # the stream that is patched in
    each, batch = clean + peak(cfg, b, p), clean + peak(cfg, b * p, p, unembedded=b * p)
    print(f"{cfg.model_name}, {b} x {p} tokens, float32".ljust(48) + "       MiB      GFLOP")
    show("weights", parameters(cfg))
    show("forward", peak(cfg, b, p), once)
    show("run_with_cache, which keeps", sum(kept.values()), once)
    for site, numbers in kept.items():
        show(f"  {site}", numbers)
    show(f"{patches} patches of the stream, a forward each", each, patches * once)
    show("  resumed at the layer, one batch for each", batch, patches * resumed)


def show(what: str, numbers: int, flop: float = 0) -> None:
    """Print a row of `memory`."""
    print(f"{what:48}{numbers * 4 / 2**20:10.1f}" + f" {flop / 1e9:10.1f}" * (flop > 0))


def parameters(cfg) -> int:
    """Count the weights of a model."""
    return sum(weight.numel() for weight in unfilled(cfg).parameters())


def held(cfg, b: int, p: int) -> dict[str, int]:
    """Count what a full cache holds, by kind of site. What is there twice is one memory."""
    size, kinds = sizes(cfg) | {"b": b, "p": p, "q": p, "k": p, "1": 1}, {}
    for name, shape in site_shapes(cfg.n_layers).items():
        kind = re.sub(r"blocks\.\d+", "blocks.*", name)
        twice = kind == "blocks.*.hook_resid_pre" and name[7] != "0"  # the layer below's resid_post
        numbers = prod(size[letter] for letter in shape.split())
        kinds[kind] = kinds.get(kind, 0) + (0 if twice else numbers)
    kinds["hook_pos_embed"] //= b  # one row for all prompts
    return kinds


def peak(cfg, b: int, p: int, unembedded: int = 0) -> int:
    """Count what is alive at once in a forward: inside an MLP, or when the logits are there."""
    in_mlp, logits = 4 * cfg.d_model + 2 * cfg.d_mlp, (unembedded or b * p) * cfg.d_vocab
    return max(b * p * in_mlp, b * p * 2 * cfg.d_model + logits)

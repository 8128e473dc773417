"""Random GPT-2 checkpoints that need no storing: the same bits from the same seed, on any machine.

`tests/reference/` holds what two independent libraries answer on them, so a test makes the weights
anew and compares. Every tensor has its own stream, seeded by (seed, name): neither order nor subset
matters. Numbers are uniform and not normal: scaling a uniform number needs no logarithm that could
round otherwise elsewhere. Scales are such that every part of the model shows in the logits: the
first layer's variance is small (so its eps matters), scores spread by about 1, gelu sees both
signs.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

COMMON = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "initializer_range": 0.02,
    "scale_attn_weights": True,
    "use_cache": True,
}
GPT2_SMALL = COMMON | {
    "n_layer": 12,
    "n_head": 12,
    "n_embd": 768,
    "n_positions": 1024,
    "n_ctx": 1024,
    "vocab_size": 50257,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "tie_word_embeddings": True,
}
# No two sizes of it are equal, nor equal to the batch (2) or length (9) that the references use:
# l 3, h 4, e 6, d 24, m 40, v 61, context 29. What is swapped or transposed cannot go unseen.
TINY = COMMON | {
    "n_layer": 3,
    "n_head": 4,
    "n_embd": 24,
    "n_inner": 40,
    "n_positions": 29,
    "n_ctx": 29,
    "vocab_size": 61,
    "bos_token_id": 60,
    "eos_token_id": 60,
    "tie_word_embeddings": True,
}
TINY_UNTIED = TINY | {"tie_word_embeddings": False}
SEEDS = {"tiny_tied": 11, "tiny_untied": 12, "gpt2_small": 13}  # those of tests/reference/


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Name every tensor of a checkpoint in Hugging Face's GPT-2 layout (matrices are [in, out])."""
    d, v = config["n_embd"], config["vocab_size"]
    m = config.get("n_inner") or 4 * d
    named = {"wte.weight": (v, d), "wpe.weight": (config["n_positions"], d)}
    for layer in range(config["n_layer"]):
        block = {
            "ln_1.weight": (d,),
            "ln_1.bias": (d,),
            "attn.c_attn.weight": (d, 3 * d),
            "attn.c_attn.bias": (3 * d,),
            "attn.c_proj.weight": (d, d),
            "attn.c_proj.bias": (d,),
            "ln_2.weight": (d,),
            "ln_2.bias": (d,),
            "mlp.c_fc.weight": (d, m),
            "mlp.c_fc.bias": (m,),
            "mlp.c_proj.weight": (m, d),
            "mlp.c_proj.bias": (d,),
        }
        named |= {f"h.{layer}.{name}": shape for name, shape in block.items()}
    named |= {"ln_f.weight": (d,), "ln_f.bias": (d,)}
    return named if config["tie_word_embeddings"] else named | {"lm_head.weight": (v, d)}


def random_checkpoint(config: dict, seed: int) -> dict[str, np.ndarray]:
    """Draw float32 weights in Hugging Face's GPT-2 names and layout, no `transformer.` prefix."""
    return {name: _draw(name, shape, seed) for name, shape in shapes(config).items()}


def _draw(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    mean, std = 0.0, 0.1  # embeddings, unembedding and biases
    if name == "wpe.weight":
        std = 0.05
    elif name == "ln_f.weight":
        mean = 30 / math.sqrt(shape[0])  # logits of standard deviation 3 at any width
        std = 0.2 * mean
    elif name.endswith(("ln_1.weight", "ln_2.weight")):
        mean, std = 1.0, 0.2
    elif name.endswith(("c_attn.weight", "c_fc.weight")):
        std = 1.2 / math.sqrt(shape[0])
    elif name.endswith("c_proj.weight"):
        std = 0.3 / math.sqrt(shape[0])
    stream = np.random.RandomState([seed, zlib.crc32(name.encode())])  # frozen by NumPy's NEP 19
    uniform = stream.random_sample(shape)  # in [0, 1)
    return (mean + std * math.sqrt(12) * (uniform - 0.5)).astype(np.float32)


def write_checkpoint(folder: str | Path, config: dict, seed: int, prefix: str = "") -> Path:
    """Write config.json and model.safetensors as Hugging Face does; return the folder.

    prefix: "" as in the published GPT-2, or "transformer." as in what `save_pretrained` writes; it
    stands before every name but lm_head's.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {
        name if name.startswith("lm_head") else prefix + name: tensor
        for name, tensor in random_checkpoint(config, seed).items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder

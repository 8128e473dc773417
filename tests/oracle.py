"""GPT-2 once more, in float64 NumPy with plain loops: what minimech's own forward is held against.

It shares no line with minimech. Read `forward_one` from its last paragraph: one prompt at a time,
one head at a time, one query at a time. `record` keeps every activation under TransformerLens's
name (3.9), in the order in which they arise. It is slow: meant for some tens of tokens.
"""

import math

import numpy as np


def gelu(x: np.ndarray) -> np.ndarray:
    """Bend as GPT-2 does, by the tanh form: not x times the normal distribution's integral."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def forward(weights: dict, config: dict, tokens) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Run the model of an HF-layout dict: tokens [b p] -> logits [b p v], {site: [b ...]}."""
    weights = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    runs = [forward_one(weights, config, prompt) for prompt in tokens]
    sites = {site: np.stack([run[site] for run in runs]) for site in runs[0]}
    return sites["unembed.hook_out"], sites


def forward_one(weights: dict, config: dict, prompt) -> dict[str, np.ndarray]:
    """Run one prompt [p] and return its activations, without a batch axis."""
    sites: dict[str, np.ndarray] = {}

    def weight(name):
        return np.asarray(weights[name], dtype=np.float64)

    def affine(x, name):  # [p in] -> [p out]
        return x @ weight(f"{name}.weight") + weight(f"{name}.bias")

    def record(site, value):
        sites[site] = value
        return value

    def layer_norm(x, site, name):  # [p d] -> [p d]
        centred = x - x.mean(axis=1, keepdims=True)
        variance = (centred**2).mean(axis=1, keepdims=True)
        scale = record(f"{site}.hook_scale", np.sqrt(variance + config["layer_norm_epsilon"]))
        # Note: hook_normalized stands before the gain and the bias: it is not layer norm's output.
        normalized = record(f"{site}.hook_normalized", centred / scale)
        return normalized * weight(f"{name}.weight") + weight(f"{name}.bias")

    def attention(x, layer):  # [p d] -> [p d]
        site, n_heads = f"blocks.{layer}.attn", config["n_head"]
        q, k, v = np.split(affine(x, f"h.{layer}.attn.c_attn"), 3, axis=1)  # [p d] each
        q, k, v = (part.reshape(len(x), n_heads, -1) for part in (q, k, v))  # [p h e] each
        for letter, part in (("q", q), ("k", k), ("v", v)):
            record(f"{site}.hook_{letter}", part)
        scores = np.full((n_heads, len(x), len(x)), -np.inf)  # [h q k]
        pattern, z = np.zeros_like(scores), np.zeros_like(q)
        for head in range(n_heads):
            for query in range(len(x)):
                seen = slice(0, query + 1)  # itself and the past
                row = k[seen, head] @ q[query, head] / math.sqrt(q.shape[2])
                scores[head, query, seen] = row
                pattern[head, query, seen] = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
                z[query, head] = pattern[head, query, seen] @ v[seen, head]
        record(f"{site}.hook_attn_scores", scores)
        record(f"{site}.hook_pattern", pattern)
        record(f"{site}.hook_z", z)
        return affine(z.reshape(len(x), -1), f"h.{layer}.attn.c_proj")

    def mlp(x, layer):  # [p d] -> [p d]
        pre = record(f"blocks.{layer}.mlp.hook_pre", affine(x, f"h.{layer}.mlp.c_fc"))  # [p m]
        post = record(f"blocks.{layer}.mlp.hook_post", gelu(pre))  # [p m]
        return affine(post, f"h.{layer}.mlp.c_proj")

    embed = record("hook_embed", weight("wte.weight")[list(prompt)])
    resid = embed + record("hook_pos_embed", weight("wpe.weight")[: len(prompt)])
    for layer in range(config["n_layer"]):
        block = f"blocks.{layer}"
        record(f"{block}.hook_resid_pre", resid)
        attn_out = attention(layer_norm(resid, f"{block}.ln1", f"h.{layer}.ln_1"), layer)
        resid = resid + record(f"{block}.hook_attn_out", attn_out)
        record(f"{block}.hook_resid_mid", resid)
        mlp_out = mlp(layer_norm(resid, f"{block}.ln2", f"h.{layer}.ln_2"), layer)
        resid = record(f"{block}.hook_resid_post", resid + record(f"{block}.hook_mlp_out", mlp_out))
    resid_normed = record("unembed.hook_in", layer_norm(resid, "ln_final", "ln_f"))
    tied = config.get("tie_word_embeddings", True)
    record("unembed.hook_out", resid_normed @ weight("wte.weight" if tied else "lm_head.weight").T)
    return sites

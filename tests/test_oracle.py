"""The oracle against what others computed: two libraries, and a published trained model."""

import base64
import json
import math
from pathlib import Path

import numpy as np
import pytest
from checkpoints import GPT2_SMALL, SEEDS, TINY, TINY_UNTIED, random_checkpoint, write_checkpoint
from oracle import forward
from safetensors import safe_open
from safetensors.numpy import load_file

REFERENCE = Path(__file__).parent / "reference"
MODELS = Path(__file__).parents[2] / "shared" / "models"
CONFIGS = {"tiny_tied": TINY, "tiny_untied": TINY_UNTIED}
TOLERANCE = 1e-5  # ten times the error measured, 1.1e-6: float32's rounding in what is stored


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference over the largest expected value; -inf must meet -inf."""
    assert got.shape == expected.shape
    finite = np.isfinite(expected)
    assert np.array_equal(got[~finite], expected[~finite])
    return np.abs(got[finite] - expected[finite]).max() / np.abs(expected[finite]).max()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_named_activation_equals_transformerlens(name):
    stored = load_file(REFERENCE / f"{name}.safetensors")
    with safe_open(REFERENCE / f"{name}.safetensors", "np") as file:
        order = json.loads(file.metadata()["facts"])["order"]
    logits, sites = forward(
        random_checkpoint(CONFIGS[name], SEEDS[name]), CONFIGS[name], stored["tokens"]
    )
    assert len(order) == 57
    assert list(sites) == order
    for site, activation in sites.items():
        assert relative_error(activation, stored[f"tl/{site}"]) < TOLERANCE, site
    assert relative_error(logits, stored["tl/logits"]) < TOLERANCE
    assert relative_error(logits, stored["hf/logits"]) < TOLERANCE


def test_gpt2_small_shapes_equal_a_float64_run_of_hugging_face():
    stored = load_file(REFERENCE / "gpt2_shapes.safetensors")
    weights = random_checkpoint(GPT2_SMALL, SEEDS["gpt2_small"])
    logits, sites = forward(weights, GPT2_SMALL, stored["tokens"])
    assert relative_error(logits[:, -1], stored["float64/logits_last"]) < 1e-6
    assert relative_error(logits[:, :, ::512], stored["float64/logits_columns"]) < 1e-6
    resid_pre = np.stack([sites[f"blocks.{layer}.hook_resid_pre"] for layer in range(12)])
    norms = np.linalg.norm(resid_pre, axis=-1)
    assert relative_error(norms, stored["float64/resid_pre_norms"]) < 1e-12
    assert relative_error(resid_pre[..., ::48], stored["float64/resid_pre_columns"]) < 1e-6


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_generation_equals_hugging_face(name):
    stored = load_file(REFERENCE / f"{name}_greedy.safetensors")
    weights, tokens = random_checkpoint(CONFIGS[name], SEEDS[name]), stored["prompts"]
    for step in range(stored["logits"].shape[1]):
        last = forward(weights, CONFIGS[name], tokens)[0][:, -1]  # [b v]
        assert relative_error(last, stored["logits"][:, step]) < TOLERANCE
        tokens = np.concatenate([tokens, last.argmax(-1)[:, None]], axis=1)
    assert np.array_equal(tokens, stored["tokens"])


@pytest.mark.skipif(not MODELS.is_dir(), reason="../shared, beside the project, is not here")
def test_published_model_gives_its_published_activations():
    config = json.loads((MODELS / "gpt_nano_sort_config.json").read_text())
    entries = json.loads((MODELS / "gpt_nano_sort_activations.json").read_text())
    published = {
        name: np.frombuffer(base64.b64decode(entry["data"]), "<f4").reshape(entry["shape"])
        for name, entry in entries.items()
        if name != "config"
    }
    weights = load_file(MODELS / "gpt_nano_sort.safetensors")
    logits, sites = forward(weights, config, published["idx"].astype(int))
    block = {site.removeprefix("blocks.0."): value for site, value in sites.items()}
    flat_z = block["attn.hook_z"].reshape(published["y"].shape)
    gain, bias = (weights[f"transformer.h.0.ln_1.{name}"] for name in ("weight", "bias"))
    computed = {
        "tok_emb": sites["hook_embed"],
        "x": block["hook_resid_pre"],
        "ln1": block["ln1.hook_normalized"] * gain + bias,
        "q": block["attn.hook_q"].swapaxes(1, 2),  # published as [b h p e]
        "k": block["attn.hook_k"].swapaxes(1, 2),
        "v": block["attn.hook_v"].swapaxes(1, 2),
        "att": block["attn.hook_attn_scores"],
        "attSm": block["attn.hook_pattern"],
        "y": flat_z,
        "yProj": block["hook_attn_out"],
        "attnResid": block["hook_resid_mid"],
        "fc": block["mlp.hook_pre"],
        "gelu": block["mlp.hook_post"],
        "mlp": block["hook_mlp_out"],
        "mlpResid": block["hook_resid_post"],
        "block1": sites["blocks.1.hook_resid_post"],
        "block2": sites["blocks.2.hook_resid_post"],
        "ln_f": sites["unembed.hook_in"],
        "lm_head": logits,
    }
    for name, value in computed.items():
        assert relative_error(value, published[name]) < TOLERANCE, name


def test_random_checkpoint_is_the_same_everywhere(tmp_path):
    weights = random_checkpoint(TINY_UNTIED, SEEDS["tiny_untied"])
    probed = ("wte.weight", "h.2.ln_2.bias", "ln_f.weight")
    first = [float(weights[name].flat[0]) for name in probed]
    assert first == [0.15046589076519012, -0.01946263574063778, 5.137008190155029]
    assert len(weights) == 2 + 12 * 3 + 2 + 1
    folder = write_checkpoint(tmp_path, TINY_UNTIED, SEEDS["tiny_untied"], prefix="transformer.")
    written = load_file(folder / "model.safetensors")
    for name in ("h.1.mlp.c_fc.weight", "lm_head.weight"):
        prefix = "" if name.startswith("lm_head") else "transformer."
        assert np.array_equal(written[prefix + name], weights[name])


@pytest.mark.parametrize(
    "bug", ["eps 1e-6", "exact gelu", "shifted positions", "no output bias", "unembedding not tied"]
)
def test_planted_bugs_exceed_the_tolerance(bug, monkeypatch):
    config, weights = dict(TINY), random_checkpoint(TINY, SEEDS["tiny_tied"])
    tokens = load_file(REFERENCE / "tiny_tied.safetensors")["tokens"]
    expected = forward(weights, config, tokens)[0]
    if bug == "eps 1e-6":
        config["layer_norm_epsilon"] = 1e-6
    elif bug == "exact gelu":
        normal = np.vectorize(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))))
        monkeypatch.setattr("oracle.gelu", lambda x: x * normal(x))
    elif bug == "shifted positions":
        weights["wpe.weight"] = np.roll(weights["wpe.weight"], 1, axis=0)
    elif bug == "no output bias":
        weights["h.2.attn.c_proj.bias"] = np.zeros(24)
    else:
        config["tie_word_embeddings"] = False
        weights["lm_head.weight"] = weights["wte.weight"] * 1.001
    assert relative_error(forward(weights, config, tokens)[0], expected) > 10 * TOLERANCE

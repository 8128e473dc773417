"""The stored references themselves: whole, small, and saying what PROVENANCE.md says of them."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from checkpoints import SEEDS, TINY, TINY_UNTIED, random_checkpoint
from safetensors.numpy import load_file

REFERENCE = Path(__file__).parent / "reference"
SHARED = Path(__file__).parents[2] / "shared"
PUBLISHED = json.loads((REFERENCE / "gpt2_published.json").read_text(encoding="utf-8"))
ENTRIES = {entry["id"]: entry for entry in PUBLISHED["entries"]}
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="../shared, beside the project, is not here"
)


def test_every_file_is_the_one_that_provenance_describes():
    text = (REFERENCE / "PROVENANCE.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| `([\w.]+)` \|.*\| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    files = [path for path in REFERENCE.iterdir() if path.suffix in (".safetensors", ".json")]
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert found == stated
    assert sum(path.stat().st_size for path in files) < 2 * 2**20


@pytest.mark.parametrize("id", ENTRIES)
def test_published_entry_is_complete(id):
    entry = ENTRIES[id]
    assert {"id", "kind", "what", "expected", "tolerance", "source"} <= set(entry)
    assert entry["kind"] in PUBLISHED["_schema"]["kinds"]
    inputs = ENTRIES[entry.get("prompts_of", id)]
    rows = inputs.get("tokens", [])
    assert all(0 <= token < 50257 for row in rows for token in row)
    for name in ("prompts", "answers", "others"):
        assert len(inputs.get(name, rows)) == len(rows)
    if "bos" in inputs:
        assert all((row[0] == 50256) == inputs["bos"] for row in rows)
    if entry["kind"] in ("slice", "ablated_slice"):
        shape = (len(rows), len(entry["positions"]), len(entry["columns"]))
        assert np.shape(entry["expected"]) == shape
    if entry["kind"] in ("logit_diff", "probability"):
        assert len(entry["expected"]) == len(rows)
    for name in ("prompts_of", "ablation_of"):
        assert entry.get(name, id) in ENTRIES


def test_published_figures_agree_with_one_another():
    mean = np.mean(ENTRIES["D1"]["expected"])
    assert abs(mean - ENTRIES["D2"]["expected"]) < ENTRIES["D2"]["tolerance"]
    by_layer = ENTRIES["D5"]["expected"]["values"]
    running = ENTRIES["D4"]["expected"]["values"]
    assert np.cumsum(by_layer)[1:] == pytest.approx(running, abs=2e-5)
    assert abs(running[-1] - mean) < ENTRIES["D4"]["tolerance"]
    heads = np.array(ENTRIES["D6"]["expected"]["values"])  # [l h]
    assert heads.shape == (12, 12)
    assert heads.sum(axis=1) == pytest.approx(by_layer[2::2], abs=5e-3)  # what biases add is small


@needs_shared
def test_published_tokens_are_gpt2s_and_figures_are_the_collections():
    tokenizers = pytest.importorskip("tokenizers")
    files = (str(SHARED / "tokenizer" / name) for name in ("vocab.json", "merges.txt"))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*files))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    for entry in ENTRIES.values():
        for text, row in zip(entry.get("prompts", []), entry.get("tokens", []), strict=False):
            assert [50256] * entry["bos"] + tokenizer.encode(text).ids == row
        if entry["kind"] == "topk":
            expected = entry["expected"]
            ids = [tokenizer.encode(string).ids for string in expected["strings"]]
            assert ids == [[id] for id in expected["ids"]]
    stored = np.load(SHARED / "reference" / "transformer_explainer_gpt2_small.npz")
    for number in range(5):
        entry, logits = ENTRIES[f"B{number + 1}"], stored[f"ex{number}_logits"]
        ids = np.argsort(-logits)[:5]
        assert entry["expected"]["ids"] == ids.tolist()
        assert entry["expected"]["logits"] == pytest.approx(logits[ids], abs=1e-5)


@pytest.mark.parametrize("name, config", [("tiny_tied", TINY), ("tiny_untied", TINY_UNTIED)])
def test_processed_weights_are_what_the_formulas_say(name, config):
    """Fold each layer norm into what reads it; centre what writes; centre the unembedding."""
    stored = load_file(REFERENCE / f"{name}_processed.safetensors")
    raw = {key: w.astype(float) for key, w in random_checkpoint(config, SEEDS[name]).items()}
    heads = (config["n_embd"], 3, config["n_head"], config["n_embd"] // config["n_head"])

    def over_d(weight):  # subtract the mean over d_model, axis 0 of what reads
        return weight - weight.mean(axis=0, keepdims=True)

    def written(weight):  # subtract the mean over d_model, the last axis of what writes
        return weight - weight.mean(axis=-1, keepdims=True)

    W_U = raw["lm_head.weight" if "lm_head.weight" in raw else "wte.weight"].T  # [d v]
    folded_U, b_U = raw["ln_f.weight"][:, None] * W_U, raw["ln_f.bias"] @ W_U
    expected = {
        "embed.W_E": written(raw["wte.weight"]),
        "pos_embed.W_pos": written(raw["wpe.weight"]),
        "unembed.W_U": written(over_d(folded_U)),  # its last axis is the vocabulary
        "unembed.b_U": written(b_U),
    }
    for layer in range(config["n_layer"]):
        block = {key.removeprefix(f"h.{layer}."): w for key, w in raw.items()}
        gain, bias = block["ln_1.weight"], block["ln_1.bias"]
        W_QKV, b_QKV = block["attn.c_attn.weight"], block["attn.c_attn.bias"]
        W_QKV, b_QKV = over_d(gain[:, None] * W_QKV), b_QKV + bias @ W_QKV
        gain, bias, W_in = block["ln_2.weight"], block["ln_2.bias"], block["mlp.c_fc.weight"]
        here = {
            "mlp.W_in": over_d(gain[:, None] * W_in),
            "mlp.b_in": block["mlp.c_fc.bias"] + bias @ W_in,
            "mlp.W_out": written(block["mlp.c_proj.weight"]),
            "mlp.b_out": written(block["mlp.c_proj.bias"]),
            "attn.W_O": written(block["attn.c_proj.weight"]).reshape(*heads[2:], heads[0]),
            "attn.b_O": written(block["attn.c_proj.bias"]),
        }
        for part, letter in enumerate("QKV"):
            here[f"attn.W_{letter}"] = W_QKV.reshape(heads)[:, part].swapaxes(0, 1)  # [h d e]
            here[f"attn.b_{letter}"] = b_QKV.reshape(heads[1:])[part]  # [h e]
        expected |= {f"blocks.{layer}.{key}": weight for key, weight in here.items()}
    found = {key for key in stored if key.startswith("processed/weights/")}
    assert found == {f"processed/weights/{key}" for key in expected}
    for key, weight in expected.items():
        assert stored[f"processed/weights/{key}"] == pytest.approx(weight, abs=1e-5), key
    before = stored["logits_before"].astype(float)
    log_probs = before - np.log(np.exp(before).sum(axis=-1, keepdims=True))
    assert stored["processed/log_probs"] == pytest.approx(log_probs, abs=3e-5)


def test_attributions_add_up_on_processed_weights_only():
    """TransformerLens takes (part - mean) / scale and a column of W_U: no gain of ln_final."""
    stored = load_file(REFERENCE / "tiny_decompositions.safetensors")
    weights = load_file(REFERENCE / "tiny_untied_processed.safetensors")
    b_U = weights["processed/weights/unembed.b_U"]
    answer = stored["answers"][0]
    attrs = stored["processed/logit_attrs/decompose_resid"][:, 0]  # [part p]
    logits = stored["processed/logits"][0, :, answer]  # [p]
    assert attrs.sum(axis=0) + b_U[answer] == pytest.approx(logits, abs=1e-4)
    raw = stored["raw/logit_attrs/decompose_resid"][:, 0]
    assert np.abs(raw.sum(axis=0) - stored["raw/logits"][0, :, answer]).max() > 1
    parts, running = stored["raw/decompose_resid"], stored["raw/accumulated_resid"]
    assert np.cumsum(parts, axis=0)[1:] == pytest.approx(running, abs=1e-5)
    heads = stored["raw/stack_head_results"]  # the last is the remainder
    assert heads.sum(axis=0) == pytest.approx(running[-1], abs=1e-5)
    gain, bias = (random_checkpoint(TINY_UNTIED, 12)[f"ln_f.{name}"] for name in ("weight", "bias"))
    centred = running - running.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    lens = stored["raw/accumulated_resid_lens"]  # each entry by its own scale, with gain and bias
    assert centred / scale * gain + bias == pytest.approx(lens, abs=1e-4)

"""The loader: right checkpoints load right, bit for bit; wrong ones are refused in words.

The reference is tests/oracle.py, a float64 NumPy forward that shares nothing with minimech. Each
broken checkpoint is a right one after one edit, and the message is what a user would see.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import checkpoints
import numpy as np
import oracle
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from minimech import MinimechError, weights
from minimech.weights import load, save_pretrained
from weights import devices, save

TOKENS = torch.arange(18).view(2, 9)
TOLERANCE = 6e-5  # ten times the measured error of float32; each planted bug below exceeds it
ROOT = Path(__file__).parents[1]
CONFIGS = {"tied": checkpoints.TINY, "untied": checkpoints.TINY_UNTIED}


def right_logits(kind: str = "tied", **changes) -> np.ndarray:
    """What an independent forward says of the checkpoint, with some of its tensors changed."""
    tensors = checkpoints.random_checkpoint(CONFIGS[kind], 11) | changes
    return oracle.forward(tensors, CONFIGS[kind], TOKENS.tolist())[0]


def error_of(model, kind: str = "tied") -> float:
    return np.abs(model(TOKENS).numpy() - right_logits(kind)).max()


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A right checkpoint, to break."""
    return checkpoints.write_checkpoint(tmp_path / "tiny", checkpoints.TINY, 11)


def edit_config(folder: Path, drop: str = "", **changes) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    config.pop(drop, None)
    path.write_text(json.dumps(config))


def edit_tensors(folder: Path, edit) -> None:
    """Rewrite model.safetensors after `edit(tensors)`, which changes the dict in place."""
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def shard(folder: Path) -> None:
    """Cut model.safetensors into two files and an index."""
    tensors = load_file(folder / "model.safetensors")
    where = {n: f"model-0000{1 + (i % 2)}-of-00002.safetensors" for i, n in enumerate(tensors)}
    for file in set(where.values()):
        save_file({n: t for n, t in tensors.items() if where[n] == file}, folder / file)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def refused(folder: Path, *says: str) -> str:
    """Loading must raise MinimechError whose text has each of these."""
    with pytest.raises(MinimechError) as caught:
        load(folder)
    for words in says:
        assert words in str(caught.value)
    return str(caught.value)


# ---- what is right loads right -------------------------------------------------------------------


@pytest.mark.parametrize("sharded", [False, True], ids=["one-file", "shards"])
@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_logits_equal_an_independent_forward(tmp_path, kind, prefix, sharded):
    folder = checkpoints.write_checkpoint(tmp_path, CONFIGS[kind], 11, prefix)
    if sharded:
        shard(folder)
    model = load(folder)
    assert error_of(model, kind) < TOLERANCE
    assert (model.lm_head is model.W_E) == (kind == "tied")
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert not any(p.is_meta for p in [*model.parameters(), *model.buffers()])


def transposed_c_proj(attn):
    return attn.W_O.flatten(0, 1).T.reshape(attn.W_O.shape)


def heads_before_qkv(attn):
    d, _, h, e = attn.W_QKV.shape
    return attn.W_QKV.reshape(d, h, 3, e).transpose(1, 2)


PLANTED = {
    "c_proj transposed": lambda m: weights.put(
        m, "blocks.0.attn.W_O", transposed_c_proj(m.blocks[0].attn)
    ),
    "heads split before q, k, v": lambda m: weights.put(
        m, "blocks.1.attn.W_QKV", heads_before_qkv(m.blocks[1].attn)
    ),
    "q and k swapped": lambda m: weights.put(
        m, "blocks.1.attn.W_QKV", m.blocks[1].attn.W_QKV[:, [1, 0, 2]]
    ),
    "untied unembedding ignored": lambda m: setattr(m, "lm_head", m.W_E),
    "eps 1e-6": lambda m: setattr(m.blocks[0].ln1, "eps", 1e-6),
    "positions shifted": lambda m: weights.put(m, "W_pos", m.W_pos.roll(1, 0)),
    "bias of c_attn dropped": lambda m: weights.put(
        m, "blocks.0.attn.b_QKV", torch.zeros_like(m.blocks[0].attn.b_QKV)
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_exceed_the_tolerance(tmp_path, bug):
    model = load(checkpoints.write_checkpoint(tmp_path, CONFIGS["untied"], 11))
    PLANTED[bug](model)
    assert error_of(model, "untied") > 10 * TOLERANCE


def test_tensors_that_lie_at_odd_addresses(tiny):
    """GPT-2's own file is so: its header is 14,283 bytes long, and no 4-byte number is aligned."""
    path = tiny / "model.safetensors"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = whole[8 : 8 + length].rstrip() + b" " * 3
    header += b" " * (1 - (len(header) % 2))  # odd
    path.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + length :])
    model = load(tiny)
    assert model.W_E.data_ptr() % 4
    assert error_of(model) < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(tiny, dtype):
    whole = {n: torch.from_numpy(t) for n, t in load_file(tiny / "model.safetensors").items()}
    other = {n: t.to(dtype) for n, t in whole.items()}
    save_torch(other, tiny / "model.safetensors")
    model = load(tiny)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    rounded = {n: t.float().numpy() for n, t in other.items()}
    assert np.abs(model(TOKENS).numpy() - right_logits(**rounded)).max() < TOLERANCE


def test_mask_buffers_are_ignored_and_a_copy_of_the_tied_embedding_is_accepted(tiny):
    def add(tensors):
        for layer in range(3):
            tensors[f"h.{layer}.attn.bias"] = np.tril(np.ones((1, 1, 29, 29), dtype=np.uint8))
            tensors[f"h.{layer}.attn.masked_bias"] = np.array(-1e4, dtype=np.float32)
        tensors["lm_head.weight"] = tensors["wte.weight"].copy()

    edit_tensors(tiny, add)
    model = load(tiny)
    assert error_of(model) < TOLERANCE
    assert model.lm_head is model.W_E


def test_old_and_sparse_configs_load(tiny):
    """DistilGPT2's and those of 2019: `n_ctx`, no `n_positions`, none of the newer switches."""
    sizes = {"n_layer": 3, "n_head": 4, "n_embd": 24, "n_inner": 40, "n_ctx": 29, "vocab_size": 61}
    (tiny / "config.json").write_text(json.dumps(sizes))
    assert error_of(load(tiny)) < TOLERANCE


def test_the_config_s_eps_and_heads_are_used(tmp_path):
    config = checkpoints.TINY | {"layer_norm_epsilon": 0.02, "n_head": 3}
    model = load(checkpoints.write_checkpoint(tmp_path, config, 11))
    tensors = checkpoints.random_checkpoint(config, 11)
    right, _ = oracle.forward(tensors, config, TOKENS.tolist())
    assert np.abs(model(TOKENS).numpy() - right).max() < TOLERANCE
    assert np.abs(right - right_logits()).max() > 10 * TOLERANCE


def test_the_other_name_of_the_tanh_gelu_is_accepted(tiny):
    edit_config(tiny, activation_function="gelu_pytorch_tanh")
    assert error_of(load(tiny)) < TOLERANCE


def test_n_inner_null_is_four_times_the_width(tmp_path):
    config = checkpoints.TINY | {"n_inner": None}
    model = load(checkpoints.write_checkpoint(tmp_path, config, 11))
    assert model.cfg.d_mlp == 96
    right, _ = oracle.forward(checkpoints.random_checkpoint(config, 11), config, TOKENS.tolist())
    assert np.abs(model(TOKENS).numpy() - right).max() < TOLERANCE


def test_a_published_model_loads(shared, tmp_path):
    """gpt-nano-sort, trained by others: it sorts."""
    models = shared / "models"
    shutil.copyfile(models / "gpt_nano_sort_config.json", tmp_path / "config.json")
    shutil.copyfile(models / "gpt_nano_sort.safetensors", tmp_path / "model.safetensors")
    model = load(tmp_path)
    digits = [[2, 0, 1, 1, 0, 2]]
    for _ in range(6):
        digits[0].append(model(torch.tensor(digits))[0, -1].argmax().item())
    assert digits[0][6:] == [0, 0, 1, 1, 2, 2]


# ---- one copy in memory --------------------------------------------------------------------------


def test_parameters_are_views_of_the_mapped_file(tiny):
    """Distances in memory equal distances in the file: nothing was copied."""
    whole = (tiny / "model.safetensors").read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    model = load(tiny)
    for theirs, ours in weights.layout(model.cfg).items():
        in_file = header[theirs]["data_offsets"][0] - header["wte.weight"]["data_offsets"][0]
        assert model.get_parameter(ours).data_ptr() - model.W_E.data_ptr() == in_file


def test_an_edit_of_a_weight_reaches_neither_the_file_nor_the_next_load(tiny):
    before = hashlib.sha256((tiny / "model.safetensors").read_bytes()).hexdigest()
    model = load(tiny)
    model.blocks[0].attn.W_O.mul_(2)
    model.W_E.zero_()
    assert error_of(load(tiny)) < TOLERANCE
    assert hashlib.sha256((tiny / "model.safetensors").read_bytes()).hexdigest() == before


# ---- what is wrong is refused, in words ----------------------------------------------------------


def nan(tensors):
    tensors["h.1.mlp.c_fc.weight"][3, 4] = np.nan


def two_infs_of_both_signs(tensors):
    tensors["wpe.weight"][0, :2] = np.inf, -np.inf


BROKEN_TENSORS = {
    "missing": (
        lambda t: t.pop("h.1.ln_2.bias"),
        "h.1.ln_2.bias is missing from the checkpoint; expected [24]",
    ),
    "extra": (
        lambda t: t.update({"h.1.attn.rotary": np.zeros(3, np.float32)}),
        "a GPT-2 of 3 layers has no place for h.1.attn.rotary",
    ),
    "a layer too many": (
        lambda t: t.update({f"h.3.{n}": t[f"h.2.{n}"] for n in weights.BLOCK}),
        "has no place for h.3.attn.c_attn.bias, h.3.attn.c_attn.weight, h.3.attn.c_proj.bias and 9",
    ),
    "misshapen": (
        lambda t: t.update({"wpe.weight": t["wpe.weight"][:20].copy()}),
        "wpe.weight has shape [20, 24]; config.json makes it [29, 24]",
    ),
    "transposed": (
        lambda t: t.update({"h.0.mlp.c_fc.weight": t["h.0.mlp.c_fc.weight"].T.copy()}),
        "h.0.mlp.c_fc.weight has shape [40, 24]; config.json makes it [24, 40]",
    ),
    "integers": (
        lambda t: t.update({"ln_f.bias": np.zeros(24, np.int32)}),
        "ln_f.bias holds torch.int32; weights are float32",
    ),
    "NaN": (nan, "h.1.mlp.c_fc.weight: 1 of 960 values are NaN or infinite"),
    "inf": (two_infs_of_both_signs, "wpe.weight: 2 of 696 values are NaN or infinite"),
    "another unembedding": (
        lambda t: t.update({"lm_head.weight": t["wte.weight"] + 1}),
        "config.json ties lm_head.weight to wte.weight, but the two differ",
    ),
    "twice": (
        lambda t: t.update({"transformer.ln_f.bias": t["ln_f.bias"]}),
        "holds ln_f.bias twice, again as transformer.ln_f.bias",
    ),
    "a Llama": (
        lambda t: (t.clear(), t.update({"model.embed_tokens.weight": np.zeros(3, np.float32)})),
        "wte.weight is missing from the checkpoint",
    ),
}


@pytest.mark.parametrize("what", BROKEN_TENSORS)
def test_a_wrong_tensor_is_named(tiny, what):
    edit, says = BROKEN_TENSORS[what]
    edit_tensors(tiny, edit)
    refused(tiny, str(tiny), says)


def test_large_finite_weights_are_not_taken_for_infinite(tiny):
    """Their sum is infinite, and they are not."""
    edit_tensors(tiny, lambda t: t["wpe.weight"].fill(3e38))
    assert load(tiny).W_pos.max() == np.float32(3e38)


def test_an_untied_checkpoint_needs_its_unembedding(tiny):
    edit_config(tiny, tie_word_embeddings=False)
    refused(tiny, "lm_head.weight is missing from the checkpoint; expected [61, 24]")


BROKEN_CONFIGS = {
    "model_type": ("llama", "model_type is 'llama'; only 'gpt2' runs here"),
    "activation_function": ("gelu", "activation_function is 'gelu'; only 'gelu_new' runs here"),
    "scale_attn_weights": (False, "scale_attn_weights is False; only True runs here"),
    "scale_attn_by_inverse_layer_idx": (True, "scale_attn_by_inverse_layer_idx is True"),
    "reorder_and_upcast_attn": (True, "reorder_and_upcast_attn is True"),
    "add_cross_attention": (True, "add_cross_attention is True"),
    "n_layer": (0, "n_layer is 0; expected int from 1 to 1000"),
    "n_head": (5, "d_model 24 does not divide into 5 heads"),
    "n_embd": ("24", "n_embd is '24'; expected int"),
    "n_inner": (1.5, "n_inner is 1.5; expected int"),
    "vocab_size": (True, "vocab_size is True; expected int"),
    "n_positions": (10**12, "n_positions is 1000000000000; expected int from 1 to 10000000"),
    "layer_norm_epsilon": (float("nan"), "layer_norm_epsilon is nan; expected float"),
    "tie_word_embeddings": ("yes", "tie_word_embeddings is 'yes'; expected bool"),
}


@pytest.mark.parametrize("key", BROKEN_CONFIGS)
def test_a_config_that_is_not_computed_here_is_refused_by_name(tiny, key):
    value, says = BROKEN_CONFIGS[key]
    edit_config(tiny, **{key: value})
    refused(tiny, says)


@pytest.mark.parametrize("key", ["n_layer", "n_head", "n_embd", "vocab_size"])
def test_a_config_without_a_size_is_refused_by_name(tiny, key):
    edit_config(tiny, drop=key)
    refused(tiny, "config.json", f"{key} is missing; expected int")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "config.json is not JSON (Expecting value"),
        ("[1, 2]", "config.json holds a list; expected a JSON object"),
        ("{'n_layer': 3}", "config.json is not JSON"),
        ("[" * 100_000, "config.json is not JSON"),
        ("\x00\xff", "config.json is not JSON"),
    ],
)
def test_a_config_that_is_no_json_object_is_refused(tiny, text, says):
    (tiny / "config.json").write_bytes(text.encode("latin-1"))
    refused(tiny, says)


def torch_zip(path: Path) -> None:
    torch.save({"wte.weight": torch.zeros(3)}, path)


FOREIGN = {
    "empty": (b"", "model.safetensors is empty"),
    "git-lfs pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 548105171\n",
        "model.safetensors is a git-lfs pointer and not what it points to; run `git lfs pull`",
    ),
    "web page": (b"<!DOCTYPE html><html>404</html>", "is a web page; the download went wrong"),
    "Keras": (
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        "is a Keras checkpoint; convert it to safetensors",
    ),
    "GGUF": (b"GGUF" + bytes(100), "is a GGUF checkpoint; convert it to safetensors"),
    "old pickle": (b"\x80\x02\x8a\n" + bytes(100), "is a pickled checkpoint; convert it"),
    "zip pickle": (torch_zip, "is a pickled checkpoint; convert it to safetensors"),
    "noise": (bytes(range(1, 200)), "is truncated, altered or of no known kind"),
    "a header of 2**60 bytes": ((2**60).to_bytes(8, "little") + b"{}", "is truncated, altered or"),
    "a folder": (lambda path: path.mkdir(), "model.safetensors is not a file"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_refused_for_what_it_is(tiny, what):
    content, says = FOREIGN[what]
    path = tiny / "model.safetensors"
    path.unlink()
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    refused(tiny, str(path), says)


def test_a_truncated_file_is_refused(tiny):
    path = tiny / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(tiny, "model.safetensors is truncated, altered or of no known kind")


def test_a_pickled_checkpoint_alone_is_refused(tiny):
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    says = "model.safetensors is missing; pytorch_model.bin is pickled: convert it to safetensors"
    refused(tiny, says)


def test_a_file_that_may_not_be_read_is_refused(tiny, monkeypatch):
    def denied(path, framework):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(weights, "safe_open", denied)
    refused(tiny, "model.safetensors cannot be read: Permission denied")


def test_folders_that_are_none(tmp_path):
    refused(tmp_path, "config.json cannot be read (No such file or directory)")
    file = tmp_path / "file"
    file.write_text("hello")
    refused(file, "cannot be read (Not a directory)")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda index: index.pop("weight_map"), "names no files beside it in weight_map"),
        (
            lambda index: index["weight_map"].update({"wte.weight": "../other.safetensors"}),
            "names no files beside it in weight_map",
        ),
        (
            lambda index: index["weight_map"].update({"wte.weight": "absent.safetensors"}),
            "absent.safetensors is missing",
        ),
    ],
)
def test_a_wrong_index_of_shards_is_refused(tiny, edit, says):
    shard(tiny)
    path = tiny / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    edit(index)
    path.write_text(json.dumps(index))
    refused(tiny, says)


def test_a_shard_that_is_missing_is_named(tiny):
    shard(tiny)
    (tiny / "model-00002-of-00002.safetensors").unlink()
    refused(tiny, "model-00002-of-00002.safetensors is missing")


def test_a_tokenizer_of_another_model_is_refused(tiny):
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{i}": i for i in range(62)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    backend.save(str(tiny / "tokenizer.json"))
    refused(tiny, "a tokenizer of 62 tokens, a model of 61")


# ---- saving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_what_is_saved_loads_bit_for_bit(tmp_path, kind):
    first = load(checkpoints.write_checkpoint(tmp_path / "a", CONFIGS[kind], 11))
    second = load(save_pretrained(first, tmp_path / "b"))
    for (name, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert second.cfg == replace(first.cfg, model_name="b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
    ]


def test_what_is_saved_is_in_hugging_face_s_format(tiny, tmp_path):
    save_pretrained(load(tiny), tmp_path / "b")
    with safe_open(tmp_path / "b" / "model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt"}
        names = {f"transformer.{name}" for name in checkpoints.shapes(checkpoints.TINY)}
        assert set(file.keys()) == names
        assert file.get_slice("transformer.h.0.attn.c_attn.weight").get_shape() == [24, 72]
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["architectures"] == ["GPT2LMHeadModel"]
    for key in (
        "model_type",
        "n_inner",
        "n_positions",
        "layer_norm_epsilon",
        "activation_function",
    ):
        assert config[key] == checkpoints.TINY[key]
    assert config["bos_token_id"] is None  # no tokenizer, so no token begins a text


def test_a_model_can_be_saved_over_the_file_that_it_is_mapped_from(tiny):
    model = load(tiny)
    model.W_pos.mul_(2)
    save_pretrained(model, tiny)
    assert torch.equal(load(tiny).W_pos, model.W_pos)
    assert model(TOKENS).isfinite().all()


def test_the_tokenizer_is_saved_with_the_model(tiny, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{i}": i for i in range(60)} | {"<|endoftext|>": 60}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    backend.save(str(tiny / "tokenizer.json"))
    model = load(save_pretrained(load(tiny), tmp_path / "b"))
    assert model.tokenizer.bos == 60
    assert json.loads((tmp_path / "b" / "config.json").read_text())["bos_token_id"] == 60


@pytest.mark.parametrize("number, reason", [(28, "No space left on device"), (30, "Read-only")])
@pytest.mark.parametrize("existed", [False, True])
def test_a_failed_save_leaves_nothing(tiny, tmp_path, monkeypatch, number, reason, existed):
    def fail(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(number, reason)

    model, folder = load(tiny), tiny if existed else tmp_path / "new"
    before = {path.name: path.read_bytes() for path in folder.glob("*")}
    monkeypatch.setattr(save, "save_file", fail)
    with pytest.raises(MinimechError, match=f"the model was not saved in .*: {reason}"):
        save_pretrained(model, folder)
    assert {path.name: path.read_bytes() for path in folder.glob("*")} == before
    assert folder.exists() == existed


@pytest.mark.parametrize("there_before", [True, False])
def test_a_save_cut_short_between_two_files_is_refused_when_loaded(
    tiny, tmp_path, monkeypatch, there_before
):
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{i}": i for i in range(60)} | {"<|endoftext|>": 60}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    backend.save(str(tiny / "tokenizer.json"))
    model, folder = load(tiny), tmp_path / "b"
    if there_before:
        save_pretrained(model, folder)
    model.W_pos.mul_(2)
    replace_file, moved = Path.replace, []

    def power_cut(path, target):
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(path.name)
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", power_cut)
    with pytest.raises(KeyboardInterrupt):
        save_pretrained(model, folder)
    refused(
        folder, "model.safetensors is " + ("truncated or altered" if there_before else "missing")
    )


# ---- the same model rewritten --------------------------------------------------------------------


FLAGS = ["fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"]
SWITCHES = [dict.fromkeys(FLAGS, False) | {flag: True} for flag in FLAGS] + [{}]


@pytest.mark.parametrize("flags", SWITCHES, ids=[*FLAGS, "default"])
@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_processing_leaves_the_log_probabilities(tmp_path, kind, flags):
    model = load(checkpoints.write_checkpoint(tmp_path, CONFIGS[kind], 11))
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        model.to(dtype)
        before = [weight.clone() for weight in model.parameters()]
        new = model.processed(**flags)
        difference = new(TOKENS).log_softmax(-1) - model(TOKENS).log_softmax(-1)
        assert difference.abs().max() < tolerance
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        assert not any(weight.requires_grad for weight in new.parameters())
        changed = [not torch.equal(a, b) for a, b in zip(before, new.parameters(), strict=False)]
        assert any(changed)


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_processed_weights_are_transformer_lens_s(kind):
    """Stored by TransformerLens itself; see tests/reference/PROVENANCE.md."""
    reference = load_file(Path(__file__).parent / f"reference/tiny_{kind}_processed.safetensors")
    seed = checkpoints.SEEDS[f"tiny_{kind}"]
    new = load_checkpoint(CONFIGS[kind], seed).processed()
    named = {"embed.W_E": new.W_E, "pos_embed.W_pos": new.W_pos}
    named |= {"unembed.W_U": new.W_U, "unembed.b_U": new.b_U}
    for name, right in reference.items():
        group, _, name = name.partition("/weights/")
        if group != "processed" or not name:
            continue
        ours = named.get(name)
        if ours is None:
            _, layer, part, weight = name.split(".")
            ours = getattr(getattr(new.blocks[int(layer)], part), weight)
        assert np.abs(ours.numpy() - right).max() < 1e-5, name
    logits = new(torch.from_numpy(reference["tokens"]).long())
    assert np.abs(logits.numpy() - reference["processed/logits"]).max() < 1e-4
    folded = load_checkpoint(CONFIGS[kind], seed).processed(fold_value_biases=True)
    for layer, block in enumerate(folded.blocks):
        right = reference[f"default/weights/blocks.{layer}.attn.b_O"]
        assert np.abs(block.attn.b_O.numpy() - right).max() < 1e-5
        assert not block.attn.b_V.any()


def load_checkpoint(config: dict, seed: int):
    """Load a random checkpoint by way of a temporary folder."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return load(checkpoints.write_checkpoint(folder, config, seed))


def test_after_folding_the_layer_norms_do_nothing_but_normalize(tiny):
    new = load(tiny).processed()
    for ln in [new.ln_final, *[ln for block in new.blocks for ln in (block.ln1, block.ln2)]]:
        assert (ln.w == 1).all() and (ln.b == 0).all()
    assert new.W_E.mean(-1).abs().max() < 1e-6
    assert new.W_U.mean(-1).abs().max() < 1e-6


def test_a_processed_model_is_not_saved_in_a_format_that_would_lose_b_u(tiny, tmp_path):
    with pytest.raises(MinimechError, match="the file format has no b_U: save the model as it was"):
        save_pretrained(load(tiny).processed(), tmp_path / "b")
    assert not (tmp_path / "b").exists()


# ---- devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "meta", "cpu:1", "CPU", 3])
def test_a_device_that_is_not_here_is_refused(tiny, device):
    with pytest.raises(MinimechError, match=r"there is no device '.*' here; this machine has cpu"):
        weights.from_pretrained(tiny, device)


@pytest.mark.parametrize("wrong", [1.01, float("nan")])
def test_a_device_that_answers_wrong_is_refused_with_its_error(tiny, monkeypatch, wrong):
    answers = iter([torch.ones(2, 3, 4), torch.ones(2, 3, 4).index_fill(2, torch.tensor(1), wrong)])
    monkeypatch.setattr(devices, "golden", lambda model: next(answers))
    with pytest.raises(MinimechError) as caught:
        devices.check_device(load(tiny), "cpu")
    assert "cpu computes this model wrong: its logits differ from the processor's by" in str(
        caught.value
    )
    assert ("nan" if wrong != wrong else "1.0e-02 of the largest") in str(caught.value)


def test_a_device_that_answers_right_is_used_and_both_attentions_are_asked(tiny):
    model = load(tiny)
    assert devices.check_device(model, "cpu") is model
    fused, explicit = devices.golden(model)
    assert not torch.equal(fused, explicit) and torch.allclose(fused, explicit, atol=1e-4)


def test_moving_a_model_keeps_the_unembedding_tied(tiny):
    model = load(tiny).to(torch.float64)
    assert model.lm_head is model.W_E


def test_a_processed_models_weights_do_not_load_into_a_plain_one(tmp_path):
    model = load(checkpoints.write_checkpoint(tmp_path, CONFIGS["tied"], 11))
    new = model.processed()
    with pytest.raises(RuntimeError, match="b_U"):
        type(model)(new.cfg).load_state_dict(new.state_dict())


def test_what_load_would_refuse_is_not_saved(tmp_path):
    model = load(checkpoints.write_checkpoint(tmp_path / "a", CONFIGS["tied"], 11))
    model.blocks[1].mlp.W_in[3, 3] = float("nan")
    with pytest.raises(
        MinimechError, match=r"not saved: blocks\.1\.mlp\.W_in has values that are NaN"
    ):
        save_pretrained(model, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_checksums_that_leave_out_the_weights_are_refused(tmp_path):
    folder = save_pretrained(
        load(checkpoints.write_checkpoint(tmp_path / "a", CONFIGS["tied"], 11)), tmp_path / "b"
    )
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(x for x in lines if "safetensors" not in x))
    with pytest.raises(MinimechError, match=r"does not list model\.safetensors"):
        load(folder)


@pytest.mark.parametrize("name", ["weights", "tests"])
def test_a_users_own_module_of_that_name_is_named(tmp_path, name):
    import subprocess
    import sys

    (tmp_path / f"{name}.py").write_text("mine = 1\n")
    module = {"weights": "weights.processed", "tests": "tests.cost"}[name]
    code = f"import {name}\nfrom minimech.files import beside\nbeside({module!r})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )  # fmt: skip
    assert "MinimechError" in run.stderr and f"'{name}' is not a package" in run.stderr

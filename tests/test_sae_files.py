"""Autoencoders on disk: ours, and the published format, written here by an independent few lines.

The published files' keys are those of gpt2-small-res-jb (old) and of SAELens 3 to 6.
"""

import json
import re
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lessons.techniques.sae import files
from lessons.techniques.sae.autoencoders import SAE, Config
from lessons.techniques.sae.files import load, save
from minimech import HookedTransformer, MinimechError, ModelConfig

SITE = "blocks.1.hook_resid_pre"
OLD = {  # the keys of gpt2-small-res-jb that matter, and some of its others
    "model_name": "gpt2-small", "hook_point": SITE, "hook_point_layer": 1,
    "hook_point_head_index": None, "d_in": 6, "d_sae": 10, "dtype": "torch.float32",
    "context_size": 128, "expansion_factor": 32, "l1_coefficient": 8e-05, "device": "mps",
}  # fmt: skip
NEW = {
    "architecture": "standard", "d_in": 6, "d_sae": 10, "dtype": "float32", "hook_name": SITE,
    "hook_head_index": None, "activation_fn_str": "relu", "activation_fn_kwargs": {},
    "apply_b_dec_to_input": True, "finetuning_scaling_factor": False,
    "normalize_activations": "none", "model_name": "gpt2-small", "prepend_bos": True,
}  # fmt: skip
SIX = {
    "architecture": "topk", "d_in": 6, "d_sae": 10, "k": 3, "dtype": "float32",
    "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
    "metadata": {"hook_name": SITE, "model_name": "gpt2-small", "sae_lens_version": "6.5.0"},
}  # fmt: skip


def numbers(d: int, f: int, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = {"W_enc": (d, f), "b_enc": (f,), "W_dec": (f, d), "b_dec": (d,)}
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def published(folder: Path, cfg: dict, tensors: dict | None = None) -> dict[str, np.ndarray]:
    """Write what is published."""
    tensors = numbers(cfg["d_in"], cfg["d_sae"]) if tensors is None else tensors
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file(tensors, folder / "sae_weights.safetensors")
    return tensors


def message(call, *given) -> str:
    with pytest.raises(MinimechError) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- the published format ------------------------------------------------------------------------


def test_a_published_autoencoder_computes_what_can_be_worked_out_by_hand(tmp_path):
    tensors = {
        "W_enc": [[1.0, 0, 2], [0, 1, -2]],  # [d f]
        "b_enc": [0.0, -1, 0.5],
        "W_dec": [[1.0, 0], [0, 1], [0.6, 0.8]],  # [f d]
        "b_dec": [1.0, 2],
    }
    tensors = {name: np.array(value, dtype=np.float32) for name, value in tensors.items()}
    published(tmp_path, {**NEW, "d_in": 2, "d_sae": 3}, tensors)
    sae = SAE.from_pretrained(tmp_path)
    # x - b_dec is [3, 1]: [3, 1, 4] + [0, -1, .5] = [3, 0, 4.5]; 3 [1, 0] + 4.5 [.6, .8] + [1, 2]
    f = sae.encode(torch.tensor([4.0, 3.0]))
    assert f.tolist() == [3, 0, 4.5]
    torch.testing.assert_close(sae.decode(f), torch.tensor([6.7, 5.6]))
    assert sae.cfg == Config(2, 3, "relu", k=0, site=SITE, bos=True)
    assert not sae.training


def test_gpt2s_shapes_are_read(tmp_path):
    shapes = {"W_enc": (768, 24576), "b_enc": (24576,), "W_dec": (24576, 768), "b_dec": (768,)}
    folder = tmp_path / "blocks.8.hook_resid_pre"
    cfg = {**OLD, "hook_point": folder.name, "d_in": 768, "d_sae": 24576}
    published(folder, cfg, {name: np.full(s, 0.5, np.float32) for name, s in shapes.items()})
    sae = load(tmp_path, "blocks.8.hook_resid_pre")
    assert {name: tuple(t.shape) for name, t in sae.named_parameters()} == shapes
    assert (sae.cfg.d_in, sae.cfg.d_sae, sae.cfg.site) == (768, 24576, folder.name)


def by_hand(t: dict, x: np.ndarray, k: int = 0, threshold=0.0) -> np.ndarray:
    """Encode in NumPy, a row at a time."""
    rows = []
    for row in x:
        pre = np.maximum((row - t["b_dec"]) @ t["W_enc"] + t["b_enc"], 0)
        keep = np.argsort(-pre)[:k] if k else np.flatnonzero(pre > threshold)
        rows.append(np.where(np.isin(np.arange(len(pre)), keep), pre, 0))
    return np.array(rows)


X = np.random.default_rng(9).normal(size=(40, 6)).astype(np.float32)


def test_topk_keeps_the_k_largest(tmp_path):
    t = published(tmp_path, SIX)
    sae = load(tmp_path)
    assert (sae.cfg.kind, sae.cfg.k, sae.cfg.site) == ("topk", 3, SITE)
    np.testing.assert_allclose(sae.encode(torch.tensor(X)).detach(), by_hand(t, X, k=3), atol=1e-5)
    five = {**NEW, "architecture": "topk", "activation_fn_kwargs": {"k": 3}}
    for older in (five, {**five, "architecture": "standard"}):
        published(tmp_path, {**older, "activation_fn_str": "topk"}, t)
        assert (load(tmp_path).cfg.kind, load(tmp_path).cfg.k) == ("topk", 3)


def test_jumprelu_has_a_threshold_for_each_feature(tmp_path):
    t = numbers(6, 10) | {"threshold": np.linspace(0, 3, 10, dtype=np.float32)}
    published(tmp_path, {**NEW, "architecture": "jumprelu"}, t)
    expected = by_hand(t, X, threshold=t["threshold"])
    got = load(tmp_path).encode(torch.tensor(X)).detach()
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert 0 < (expected > 0).sum() < (by_hand(t, X) > 0).sum()


def test_an_encoder_that_takes_x_as_it_is(tmp_path):
    t = published(tmp_path, {**NEW, "apply_b_dec_to_input": False})
    expected = np.maximum(X @ t["W_enc"] + t["b_enc"], 0)
    got = load(tmp_path).encode(torch.tensor(X)).detach()
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
    "cfg", [OLD, {**NEW, "model_from_pretrained_kwargs": {"center_writing_weights": True}}]
)
def test_one_made_for_centred_weights_finds_the_same_in_the_raw_model(tmp_path, cfg):
    """Its features, and the loss with it spliced in, are those of the processed model."""
    torch.manual_seed(0)
    model = HookedTransformer(ModelConfig(2, 2, 6, 12, 30)).requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.3 * torch.randn_like(parameter) + 0.2  # a mean over d, to be centred
    processed, tokens = model.processed(), torch.randint(30, (3, 9))
    t = published(tmp_path, cfg)
    sae = load(tmp_path)
    raw, centred = (m.run_with_cache(tokens, SITE)[1][SITE] for m in (model, processed))
    assert (raw - centred).abs().max() > 0.1
    expected = by_hand(t, centred.flatten(0, 1).numpy()).reshape(3, 9, 10)
    for x in (raw, centred):
        np.testing.assert_allclose(sae.encode(x).detach(), expected, atol=1e-4)
    naive = by_hand(t, raw.flatten(0, 1).numpy()).reshape(3, 9, 10)
    assert abs(naive - expected).max() > 0.1  # without this the raw model is misread
    losses = [
        m.run_with_hooks(tokens, [sae.splice(error=False)], "loss") for m in (model, processed)
    ]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4)


def test_one_made_for_raw_weights_is_left_as_it_is(tmp_path):
    t = published(tmp_path, {**NEW, "model_from_pretrained_kwargs": {}})
    assert np.array_equal(load(tmp_path).W_enc.detach(), t["W_enc"])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"architecture": "gated"}, "architecture 'gated'; here are standard, topk, jumprelu"),
        ({"architecture": "transcoder"}, "architecture 'transcoder'"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations is 'layer_norm'"),
        ({"normalize_activations": True}, "normalize_activations is True"),
        (
            {"activation_fn_str": "tanh-relu"},
            "'tanh-relu'; with architecture 'standard' only 'relu' or",
        ),
        (
            {"architecture": "jumprelu", "activation_fn_str": "topk"},
            "activation_fn is 'topk'; with",
        ),
        ({"architecture": ["topk"]}, "architecture ['topk']"),
        ({"minimech": "x"}, "minimech is 'x'; expected an object"),
        ({"activation_fn_kwargs": "x"}, "activation_fn_kwargs is 'x'; expected an object"),
        ({"model_from_pretrained_kwargs": "x"}, "model_from_pretrained_kwargs is 'x'"),
        ({"minimech": {"kind": "relu", "groups": 3}}, "groups is 3; expected tuple"),
        ({"minimech": {"kind": "relu", "k": True}}, "k is True; expected int"),
        ({"hook_head_index": 3}, "hook_head_index is 3"),
        ({"reshape_activations": "hook_z"}, "reshape_activations is 'hook_z'"),
        ({"rescale_acts_by_decoder_norm": True}, "rescale_acts_by_decoder_norm is True"),
        ({"hook_name_out": "blocks.1.hook_mlp_out"}, "hook_name_out is 'blocks.1.hook_mlp_out'"),
        ({"activation_fn_str": "topk"}, "kind 'topk' with k 0"),
        ({"d_in": None}, "d_in is None; expected int"),
        ({"d_sae": 0}, "d_sae is 0"),
        ({"d_in": "6"}, "d_in is '6'"),
        ({"architecture": "topk"}, "activation_fn is 'relu'; with architecture 'topk' only 'topk'"),
        ({"activation_fn_str": "topk", "k": 11}, "kind 'topk' with k 11 of 10 features"),
        ({"minimech": {"colour": 1}}, "minimech has no setting 'colour'"),
    ],
)
def test_what_is_not_had_here_is_refused_by_name(tmp_path, change, words):
    published(tmp_path, NEW)
    (tmp_path / "cfg.json").write_text(json.dumps({**NEW, **change}))
    said = message(load, tmp_path)
    assert words in said and str(tmp_path / "cfg.json") in said


@pytest.mark.parametrize(
    "change, words",
    [
        ({"W_enc": None}, "W_enc is missing; expected [6, 10]"),
        ({"W_dec": np.zeros((6, 10))}, "W_dec has shape [6, 10]; cfg.json makes it [10, 6]"),
        ({"b_enc": np.zeros(11)}, "b_enc has shape [11]"),
        ({"b_dec": np.zeros(6, int)}, "b_dec holds torch.int64; expected floats"),
        ({"b_dec": np.full(6, np.nan)}, "b_dec: 6 of 6 values are NaN or infinite"),
        ({"W_enc": np.full((6, 10), np.inf)}, "W_enc: 60 of 60 values"),
        ({"r_mag": np.zeros(10)}, "W_enc, b_enc, W_dec, b_dec, and not r_mag"),
        ({"threshold": np.zeros(10)}, "and not threshold"),
        ({"scaling_factor": np.full(10, 2.0)}, "its scaling_factor is not 1"),
    ],
)
def test_a_tensor_that_is_not_as_it_should_be_is_named(tmp_path, change, words):
    tensors = {k: v for k, v in {**numbers(6, 10), **change}.items() if v is not None}
    published(tmp_path, NEW, tensors)
    said = message(load, tmp_path)
    assert words in said and "sae_weights.safetensors" in said


def test_a_scaling_factor_of_ones_and_half_precision_are_read(tmp_path):
    t = {k: v.astype(np.float16) for k, v in numbers(6, 10).items()}
    published(tmp_path, NEW, {**t, "scaling_factor": np.ones(10)})
    assert load(tmp_path).W_dec.dtype == torch.float32
    assert np.array_equal(load(tmp_path).W_dec.detach(), t["W_dec"].astype(np.float32))


@pytest.mark.parametrize("left", [0, 7, 200, -4])
def test_a_file_cut_short_is_named(tmp_path, left):
    published(tmp_path, NEW)
    path = tmp_path / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    assert re.search("empty|truncated", message(load, tmp_path))


def test_sizes_are_held_to_the_file_before_memory_is_asked_for(tmp_path):
    published(tmp_path, NEW)
    (tmp_path / "cfg.json").write_text(json.dumps({**NEW, "d_sae": 10**15}))
    assert f"W_enc has shape [6, 10]; cfg.json makes it [6, {10**15}]" in message(load, tmp_path)
    with pytest.raises(MinimechError, match="6 x 1,000,000,000,000 weights need 48,000 GB"):
        SAE(Config(6, 10**12))


@pytest.mark.parametrize(
    "given, words",
    [
        ({"kind": "tpk"}, "no kind is called 'tpk'. Did you mean 'topk'?"),
        ({"kind": "dense"}, "There are relu, topk, matryoshka"),
        ({"d_in": 0}, "d_in is 0; expected 1 or more"),
        ({"d_sae": 8.0}, "d_sae is 8.0; expected int"),
        ({"k": 9}, "kind 'topk' with k 9 of 8 features"),
        ({"kind": "matryoshka", "k": 0}, "kind 'matryoshka' with k 0"),
        ({"kind": "relu", "l1": float("nan")}, "l1 is nan"),
        ({"kind": "relu", "l1": -1}, "l1 is -1"),
        ({"groups": (4, 8)}, "only matryoshka has groups, and this is topk"),
        ({"kind": "matryoshka", "groups": (3, 4)}, "groups are 3 4; expected rising numbers"),
        ({"kind": "matryoshka", "groups": (4, 4, 8)}, "groups are 4 4 8; expected rising"),
        ({"kind": "matryoshka", "groups": (0, 8)}, "groups are 0 8"),
        ({"kind": "matryoshka", "groups": ("4", 8)}, "groups are 4 8"),
        ({"bos": 1}, "bos is 1; expected bool"),
    ],
)
def test_settings_that_make_no_autoencoder_are_refused(given, words):
    assert words in message(lambda: Config(**{"d_in": 4, "d_sae": 8, "k": 2, **given}))


def test_settings_may_come_from_a_json_file():
    cfg = Config(4, 8, "matryoshka", 2, 0, [3, 8])
    assert cfg.groups == (3, 8) and cfg == Config(4, 8, "matryoshka", 2, 0.0, (3, 8))


# ---- ours ----------------------------------------------------------------------------------------


def ours(kind: str) -> SAE:
    torch.manual_seed(0)
    more = {"relu": {"l1": 0.25}, "topk": {"k": 3}, "matryoshka": {"k": 3, "groups": (4, 10)}}
    sae = SAE(Config(6, 10, kind, site=SITE, model="ab" * 32, **more[kind]))
    for parameter in sae.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    sae.threshold.fill_(0.4 if kind == "matryoshka" else 0)
    return sae


@pytest.mark.parametrize("kind", ["relu", "topk", "matryoshka"])
def test_what_was_saved_is_loaded_bit_for_bit(tmp_path, kind):
    sae, x = ours(kind), torch.tensor(X)
    save(sae, tmp_path / "sae")
    again = SAE.from_pretrained(tmp_path / "sae")
    assert again.cfg == sae.cfg and again.state_dict().keys() == sae.state_dict().keys()
    for name, tensor in sae.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    torch.testing.assert_close(again.encode(x), sae.encode(x))
    save(again, tmp_path / "sae")  # over the file that it came from
    assert torch.equal(load(tmp_path / "sae")(x), again(x))


@pytest.mark.parametrize("kind", ["relu", "topk", "matryoshka"])
def test_what_was_saved_means_the_same_without_our_keys(tmp_path, kind):
    """As another reader of the format would take it."""
    sae, path = ours(kind), save(ours(kind), tmp_path) / "cfg.json"
    cfg = json.loads(path.read_text())
    del cfg["minimech"]
    path.write_text(json.dumps(cfg))
    (tmp_path / "SHA256SUMS").unlink()
    x = torch.tensor(X)
    torch.testing.assert_close(load(tmp_path).encode(x), sae.encode(x))
    assert cfg["architecture"] == {"relu": "standard", "topk": "topk"}.get(kind, "jumprelu")


def test_numbers_that_are_none_are_not_saved(tmp_path):
    sae = ours("relu")
    sae.b_enc.data[3] = float("nan")
    assert message(save, sae, tmp_path) == "not saved: b_enc has values that are NaN or infinite"
    assert not [*tmp_path.iterdir()]


def test_a_disk_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    save(ours("topk"), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "save_file", full)
    said = message(save, ours("relu"), tmp_path)
    assert said == f"the autoencoder was not saved in {tmp_path}: No space left on device"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_altered_file_of_ours_is_noticed(tmp_path):
    path = save(ours("topk"), tmp_path) / "sae_weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "is truncated or altered" in message(load, tmp_path)


# ---- where it is ---------------------------------------------------------------------------------


def test_a_folder_of_several_sites_asks_which(tmp_path):
    for site in ("blocks.0.hook_resid_pre", SITE):
        published(tmp_path / site, {**NEW, "hook_name": site})
    assert load(tmp_path, SITE).cfg.site == SITE
    assert message(load, tmp_path) == f"which one? {tmp_path} holds blocks.0.hook_resid_pre, {SITE}"
    said = message(load, tmp_path, "blocks.1.hook_resid_prr")
    assert f"Did you mean '{SITE}'" in said


def test_a_folder_of_another_site_is_refused(tmp_path):
    published(tmp_path, NEW)
    assert load(tmp_path, SITE).cfg.site == SITE
    said = message(load, tmp_path, "blocks.8.hook_resid_pre")
    assert said == f"{tmp_path} is of {SITE}, and you asked for blocks.8.hook_resid_pre"


def test_a_folder_that_holds_none_and_a_name_that_is_none_are_refused(tmp_path):
    assert message(load, tmp_path) == f"{tmp_path} holds no autoencoder (no cfg.json)"
    said = message(load, "gpt2-small-res-bj", SITE)
    assert "Did you mean 'gpt2-small-res-jb'?" in said and "owner/name on the hub" in said
    assert "there is no folder called" in message(load, tmp_path / "nowhere", SITE)
    said = message(load, "weights/sae/mian")
    assert "Did you mean 'weights/sae/main'" in said and "  " not in said
    assert ". Known are gpt2" in message(load, "xyzzy")
    assert message(load, 5) == "5 names no autoencoder: expected a folder, or a name"


def test_the_hub_gives_two_files_and_no_more(tmp_path, monkeypatch):
    t, asked = published(tmp_path / SITE, OLD), []

    def download(repo, file, revision, token):
        asked.append((repo, file, revision[:7], token))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    sae = load("gpt2-small-res-jb", SITE)
    assert np.array_equal(sae.W_dec.detach(), t["W_dec"])
    repo = "jbloom/GPT2-Small-SAEs-Reformatted"
    assert asked == [
        (repo, f"{SITE}/{file}", "5bd69d8", False)
        for file in ("cfg.json", "sae_weights.safetensors")
    ]


def test_a_cached_set_is_found_by_either_of_its_names(tmp_path, monkeypatch):
    published(tmp_path / SITE, OLD)
    pinned = "5bd69d8ccac6b19d91934c5aeed4866f8b6e50c7"

    def cached(repo, file, revision):
        return str(tmp_path / file) if revision == pinned else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: pytest.fail())
    for name in ("gpt2-small-res-jb", "jbloom/GPT2-Small-SAEs-Reformatted"):
        load(name, SITE)  # nothing is asked for twice


def test_with_no_network_there_is_a_sentence():
    said = message(load, "somebody/some-autoencoders", SITE)
    assert f"{SITE}/cfg.json of somebody/some-autoencoders is not on this machine" in said


def test_a_published_set_asks_for_its_site():
    for name in ("gpt2-small-res-jb", "jbloom/GPT2-Small-SAEs-Reformatted"):
        assert "blocks.8.hook_resid_pre: which?" in message(load, name)


# ---- another model -------------------------------------------------------------------------------


def test_another_width_or_site_is_a_sentence(tmp_path):
    model = HookedTransformer(ModelConfig(2, 2, 8, 12, 30)).requires_grad_(False)
    published(tmp_path, NEW)
    sae, tokens = load(tmp_path), torch.zeros(1, 4, dtype=torch.long)
    said = f"this autoencoder reads 6 numbers of {SITE}; the activation has 8"
    assert message(lambda: model.run_with_hooks(tokens, [sae.splice()])) == said
    assert message(sae.encode, torch.zeros(3, 8)) == said
    said = "9 features; this autoencoder has 10"
    assert message(sae.decode, torch.zeros(3, 9)) == said
    published(tmp_path, {**NEW, "hook_name": "blocks.8.hook_resid_pre"})
    said = message(lambda: model.run_with_hooks(tokens, [load(tmp_path).splice()]))
    assert "no activation is called 'blocks.8.hook_resid_pre'" in said


def asks(latent):
    def edit(f):
        f[..., latent] = 0

    return edit


@pytest.mark.parametrize(
    "edit, words",
    [
        (asks(10), "a latent that is not there (index 10 is out of bounds"),
        (lambda f: f.index_fill(-1, torch.tensor([99]), 0), "they go from 0 to 9"),
        (lambda f: f[..., :4], "the edit made [1, 3, 4] of features [1, 3, 10]: give all back"),
        (lambda f: 0.0, "the edit made float of features [1, 3, 10]"),
    ],
)
def test_an_edit_that_cannot_be_is_a_sentence(edit, words):
    model = HookedTransformer(ModelConfig(2, 2, 6, 12, 30)).requires_grad_(False)
    tokens, sae = torch.zeros(1, 4, dtype=torch.long), ours("topk").requires_grad_(False)
    assert words in message(lambda: model.run_with_hooks(tokens, [sae.splice(edit)]))
    model.run_with_hooks(tokens, [sae.splice(asks(9)), sae.splice(lambda f: f * 0)])

"""The cache: names, guards, and the residual stream as a sum."""

import pytest
import torch
from safetensors.torch import load_file

from minimech import HookedTransformer, MinimechError
from minimech.tokens import PAD
from minimech.weights import load
from tests.checkpoints import SEEDS, TINY_UNTIED, write_checkpoint

STORED = load_file("tests/reference/tiny_decompositions.safetensors")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> HookedTransformer:
    """Return the random model that the stored decompositions were made with."""
    return load(write_checkpoint(tmp_path_factory.mktemp("m"), TINY_UNTIED, SEEDS["tiny_untied"]))


@pytest.fixture(scope="module")
def run(model):
    """Return logits and cache of the stored prompt."""
    return model.run_with_cache(STORED["tokens"])


def close(got, expected, tolerance=2e-5) -> bool:
    return bool((got - expected).abs().max() < tolerance * expected.abs().max())


def test_short_names(run):
    _, cache = run
    for key, name in [
        ("embed", "hook_embed"),
        (("resid_post", 2), "blocks.2.hook_resid_post"),
        (("resid_post", -1), "blocks.2.hook_resid_post"),
        (("pattern", 1), "blocks.1.attn.hook_pattern"),
        (("attn_scores", 1), "blocks.1.attn.hook_attn_scores"),
        (("z", 0), "blocks.0.attn.hook_z"),
        (("q", 0, "attn"), "blocks.0.attn.hook_q"),
        (("pre", 1), "blocks.1.mlp.hook_pre"),
        (("post", 1, "mlp"), "blocks.1.mlp.hook_post"),
        (("scale", 1, "ln2"), "blocks.1.ln2.hook_scale"),
        (("normalized", 0, "ln1"), "blocks.0.ln1.hook_normalized"),
        ("scale", "ln_final.hook_scale"),
        ("ln_final.hook_normalized", "ln_final.hook_normalized"),
    ]:
        assert cache.site(key) == name
        assert cache[key] is cache[name] and key in cache
    assert len(cache) == 57 and len(list(cache.items())) == 57


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("resid_pots", 1), "Did you mean 'blocks.1.hook_resid_post'"),
        (("scale", 1), "blocks.1.ln1.hook_scale or blocks.1.ln2.hook_scale; add 'ln1' or 'ln2'"),
        (("z", 3), "there is no layer 3: the last is 2"),
        (("z", "1"), "there is no layer '1'"),
        ("z", "no activation is called 'z'"),
        (("z", 0, "mlp"), "no activation is called"),
    ],
)
def test_wrong_names_say_what_is_near(run, key, message):
    with pytest.raises(MinimechError, match=message):
        run[1][key]
    assert key not in run[1]


def test_what_was_not_saved_is_named(model):
    _, cache = model.run_with_cache(STORED["tokens"], names_filter="*hook_z")
    assert list(cache) == [f"blocks.{layer}.attn.hook_z" for layer in range(3)]
    with pytest.raises(MinimechError, match=r"blocks\.1\.attn\.hook_q was not saved"):
        cache["q", 1]
    _, cache = model.run_with_cache(STORED["tokens"], stop_at_layer=1)
    assert list(cache)[-1] == "blocks.0.hook_resid_post" and ("resid_pre", 1) not in cache


def test_a_saved_tensor_edited_in_place_is_not_handed_out(model):
    _, cache = model.run_with_cache(STORED["tokens"])
    cache["resid_pre", 1][:] = 0
    for key in (("resid_pre", 1), ("resid_post", 0)):  # the second shares its memory
        with pytest.raises(MinimechError, match="edited in place after the run"):
            cache[key]
    assert cache["resid_post", 1].isfinite().all()
    weights = model.W_pos.clone()
    cache["pos_embed"][0].zero_()
    assert torch.equal(model.W_pos, weights)


def test_decompositions_equal_transformer_lens(model, run):
    _, cache = run
    values, labels = cache.decompose()
    assert labels[:4] == ["embed", "pos_embed", "0_attn_out", "0_mlp_out"]
    assert close(values, STORED["raw/decompose_resid"])
    heads = torch.cat([cache.head_results(layer) for layer in range(3)])
    assert close(heads, STORED["raw/stack_head_results"][:12])


def test_parts_sum_to_the_residual_stream_and_to_the_logits(model, run):
    logits, cache = run
    for heads in (False, True):
        for layer in (0, 1, 3, None):
            whole = cache["resid_post", -1] if layer in (3, None) else cache["resid_pre", layer]
            assert close(cache.decompose(layer, heads=heads).values.sum(0), whole, 1e-6)
        parts = cache.logit_attribution(7, heads=heads)
        assert len(parts.labels) == len(parts.values) == (21 if heads else 9)
        assert close(parts.values.sum(0), logits[:, -1, 7], 1e-6)
    difference = cache.logit_attribution(7, minus=torch.tensor([3])).values.sum(0)
    assert close(difference, logits[:, -1, 7] - logits[:, -1, 3], 1e-5)
    assert close(cache.logit_attribution(7, position=2).values.sum(0), logits[:, 2, 7], 1e-6)


def test_attribution_of_a_padded_batch_reads_each_prompts_own_end(model):
    tokens = torch.randint(0, 60, (2, 9), generator=torch.manual_seed(3))
    tokens[0, 4:] = PAD
    logits, cache = model.run_with_cache(tokens)
    total = cache.logit_attribution(torch.tensor([7, 8]), heads=True).values.sum(0)
    assert close(total, torch.stack([logits[0, 3, 7], logits[1, 8, 8]]), 1e-5)


def test_bytes_count_shared_memory_once(model):
    _, cache = model.run_with_cache(STORED["tokens"], ["*resid_post", "*resid_pre"])
    one = cache["resid_pre", 0].nbytes
    assert cache.nbytes == 4 * one  # three resid_post, and the first resid_pre
    assert "6 activations" in repr(cache)


def test_an_edit_during_the_run_of_what_was_saved_is_noticed(model):
    kept = []

    def keep(x, hook):
        kept.append(x)

    def wipe_what_was_kept(x, hook):
        kept[0].zero_()

    hooks = [("blocks.0.hook_mlp_out", keep), ("blocks.2.hook_mlp_out", wipe_what_was_kept)]
    with torch.no_grad():
        _, cache = model.run_with_cache(STORED["tokens"], fwd_hooks=hooks)
    with pytest.raises(MinimechError, match="edited in place"):
        cache["mlp_out", 0]
    assert cache["mlp_out", 1].isfinite().all()


def test_a_cache_made_in_inference_mode_is_guarded_too(model):
    with torch.inference_mode():
        logits, cache = model.run_with_cache(STORED["tokens"])
        assert close(cache.logit_attribution(7).values.sum(0), logits[:, -1, 7], 1e-6)
        cache["z", 1].zero_()
    with pytest.raises(MinimechError, match="edited in place"):
        cache["z", 1]


def test_layers_and_positions_count_from_the_end_or_are_refused(run):
    _, cache = run
    assert close(cache.decompose(-1).values.sum(0), cache["resid_pre", -1], 1e-6)
    for wrong in (4, -4, "1"):
        with pytest.raises(MinimechError, match="there is no layer"):
            cache.decompose(wrong)
    for wrong in (9, -10):
        with pytest.raises(MinimechError, match=f"position {wrong} is outside a prompt of 9"):
            cache.decompose(position=wrong)

"""Lesson 04 runs on the world and on a stand-in, its edits do what it says, its parts are right."""

import inspect
import json
import subprocess
from pathlib import Path

import pytest
import torch

from lessons.expect import Disagreement
from lessons.techniques import logit_lens
from minimech import HookedTransformer
from tests.clones import ROOT, check_told, rows_that_hold, run_here, run_script
from tests.test_lesson_03 import SHIPS, stand_in
from tests.wrong import logit_lens as answers

SCRIPT = ROOT / "lessons" / "04_logit_lens.py"
SKIPPED = [4, 5, 6, 7, 8, 10, 11, 12, 13]  # of what cells 14 to 17 do not need
PLAIN = """When After John Mary Tom James Dan Sid Martin Amy Paris People and went to the shops
park , gave bag ball an apple a drink flew in is doctor nurse he works at hospital clinic live city
Rome London Tokyo France Italy England Japan"""
SPACED = [f"Ġ{word}" for word in PLAIN.split() if word not in ("When", "After", "People", ",")]
WORDS = " ".join(["<|endoftext|>", *PLAIN.split(), *SPACED])


def run_lesson(root: Path, model, out: Path) -> subprocess.CompletedProcess:
    """Run the lesson as a reader does, with nobody at the keyboard."""
    return run_script("04_logit_lens", root, MODEL=model, OUT=out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return stand_in(tmp_path_factory.mktemp("model") / "stand-in", WORDS)


@pytest.fixture(scope="module", params=["stand-in", "world"])
def run(request, folder, tmp_path_factory):
    if request.param == "world" and not SHIPS:
        pytest.skip("weights/world is not here")
    out = tmp_path_factory.mktemp("out")
    return run_lesson(ROOT, folder if request.param == "stand-in" else "world", out), out / "04"


def test_it_runs_and_every_row_holds(run):
    done, out = run
    rows = rows_that_hold(done, out)
    assert len(rows) > 50 and len([row for row in rows if row["status"] == "ok"]) >= 11


def test_what_is_printed_fits_a_page_and_the_story_stands_once(run):
    done, out = run
    check_told(done.stdout, SCRIPT, out, 5)


BREAKS = [  # before, after, the row that stops, the cells that are not needed for it
    ("return ln(resid) @ W_U", "return resid @ W_U", "3.1", []),
    ("log_p.exp() * (log_p - log_q)", "log_q.exp() * (log_q - log_p)", "10.1", range(4, 10)),
    ("(W_out - W_out.mean(-1, keepdim=True)) * w", "W_out * w", "14.1", SKIPPED),
    ("min(20, cfg.d_mlp // 4)", "min(40, cfg.d_mlp // 4)", "15.1", SKIPPED),
]


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Run the lesson's script in this process, on the world, without the cells left out."""
    if not SHIPS:
        pytest.skip("weights/world is not here")

    def run(cells, edit=lambda source: source):
        run_here(edit(SCRIPT.read_text()), SCRIPT, "world", tmp_path, monkeypatch, cells)

    return run


@pytest.mark.parametrize("right, wrong, row, cells", BREAKS, ids=["norm", "kl", "centre", "forty"])
def test_break_it_does_what_it_says(right, wrong, row, cells, here, monkeypatch):
    part = {"3.1": "lens", "10.1": "kl", "14.1": "neuron_shares"}.get(row)
    source = inspect.getsource(logit_lens) if part else SCRIPT.read_text()
    assert source.count(right) == 1
    if part:
        exec(source.replace(right, wrong), parts := {"__name__": "broken"})
        monkeypatch.setattr(logit_lens, part, parts[part])
    with pytest.raises(Disagreement, match=rf"^Row {row}, .+: predicted .+, observed .+\.$"):
        here(cells, lambda script: script.replace(right, wrong))


@pytest.mark.parametrize("name", ["rewrite_in_order", "rewrite_with_an_eye_on_room"])
def test_the_lesson_holds_for_another_right_rewrite(name, here, monkeypatch, tmp_path):
    monkeypatch.setattr(logit_lens, "rewrite", getattr(answers, name))
    here(SKIPPED)
    rows = json.loads((tmp_path / "04" / "results.json").read_text())
    assert rows[-1]["id"] == "17.4" and {row["status"] for row in rows} == {"ok"}


# ---- parts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(folder) -> HookedTransformer:
    return HookedTransformer.from_pretrained(folder)


@pytest.fixture(scope="module")
def seen(model):
    tokens = torch.arange(2 * 6).view(2, 6) * 5 % model.cfg.d_vocab
    with torch.no_grad():
        return tokens, *model.run_with_cache(tokens)


def test_depths_are_the_streams_of_every_half_layer(model, seen):
    _, logits, cache = seen
    names = logit_lens.depths(model.cfg.n_layers)
    assert list(names) == ["embed", "0_mid", "0_post", "1_mid", "1_post"]
    resid = logit_lens.streams(cache)
    for one, (name, layer) in zip(resid, [("pre", 0), ("mid", 0), ("post", 0), ("mid", 1)]):
        assert torch.equal(one, cache[f"resid_{name}", layer])
    read = logit_lens.lens(resid[-1], model.ln_final, model.W_U)
    assert (read - logits).abs().max() < 1e-4


def test_the_held_lens_adds_up_shares_and_the_lens_does_not(model, seen):
    """Freezing is right for attribution, wrong for reading (TransformerLens, issue 1076)."""
    _, _, cache = seen
    with torch.no_grad():
        resid, ln = logit_lens.streams(cache), model.ln_final
        scale = cache["ln_final.hook_scale"]
        held = logit_lens.lens_held(resid, scale, ln, model.W_U)[:, :, -1, 3]  # [depth b]
        parts = cache.logit_attribution(3, heads=False).values  # [part b]
        summed = parts[:-1].cumsum(0)[1:] + parts[-1]
        own = logit_lens.lens(resid, ln, model.W_U)[:, :, -1, 3]
    assert (held - summed).abs().max() < 1e-4
    assert (own[:-1] - summed[:-1]).abs().max() > 0.05


def test_shares_of_neurons_and_bias_are_the_mlps(model, seen):
    _, _, cache = seen
    mlp, scale = model.blocks[-1].mlp, cache["ln_final.hook_scale"][:, -1]
    with torch.no_grad():
        direction = (model.W_U[:, 3] - model.W_U[:, 4]).expand(2, -1)
        rest = scale, model.ln_final.w, direction
        shares = logit_lens.neuron_shares(cache["post", -1][:, -1], mlp.W_out, *rest)
        bias = logit_lens.neuron_shares(torch.ones(2, 1), mlp.b_out[None], *rest)
        parts = cache.logit_attribution(3, minus=4)
    whole = parts.values[parts.labels.index("1_mlp_out")]
    assert (shares.sum(-1) + bias[:, 0] - whole).abs().max() < 1e-5


def test_what_is_put_in_or_told_touches_the_last_token_alone(model, seen):
    tokens, logits, cache = seen
    with torch.no_grad():
        for depth, resid in zip(logit_lens.depths(2), logit_lens.streams(cache)):
            same = logit_lens.with_last(model, tokens, depth, resid[:, -1])
            other = logit_lens.with_last(model, tokens, depth, resid[:, -1].flip(0))
            assert (same - logits[:, -1]).abs().max() < 1e-5
            assert (other - logits[:, -1]).abs().max() > 1e-3
        post = cache["post", -1][:, -1]
        few, all_of_them = torch.tensor([[3, 5]] * 2), torch.arange(post.shape[1]).expand(2, -1)
        assert (logit_lens.told(model, tokens, few, post) - logits[:, -1]).abs().max() < 1e-5
        swapped = logit_lens.told(model, tokens, all_of_them, post.flip(0))
        hook = ("blocks.1.mlp.hook_post", lambda x, hook: cache["post", 1].flip(0))
        expected = model.run_with_hooks(tokens, fwd_hooks=[hook])[:, -1]
    assert (swapped - expected).abs().max() < 1e-5


def test_partners_have_another_answer():
    assert logit_lens.others(torch.tensor([7, 7, 8, 8, 9])) == [2, 2, 4, 4, 0]
    assert logit_lens.others(torch.tensor([7, 7])) == [0, 1]


def test_facts_are_what_the_vocabulary_has(model):
    table = {"Paris": "France", "Rome": "Italy", "Oslo": "Norway", "Tokyo": "Japan"}
    names, tokens, answers = logit_lens.facts(model, "John flew to {} in", table)
    assert names == ["Paris", "Rome", "Tokyo"] and tokens.shape == (3, 6)
    assert model.to_string(answers) == " France Italy Japan"


def test_its_own_texts_line_up(model):
    stream, logits, came = logit_lens.write(model, 3, 9, seed=1)
    assert stream.shape[:3] == (5, 3, 8) and logits.shape[:2] == came.shape == (3, 8)
    again = logit_lens.write(model, 3, 9, seed=1)[2]
    assert torch.equal(again, came)
    with torch.no_grad():
        read = logit_lens.lens(stream[-1], model.ln_final, model.W_U)
    assert (read - logits).abs().max() < 1e-4


def test_a_table_is_cut_to_fit():
    text = logit_lens.table([["a" * 20, "b"]], ["row"], ["one", "two"], width=6)
    assert text.splitlines() == ["     one   two", "row  aaaaa b"]

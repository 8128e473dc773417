"""Lesson 10 runs on the world and on a stand-in, its edits do what it says, its parts are right."""

import inspect
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lessons.expect import Disagreement
from lessons.techniques import bios as lives
from lessons.techniques import probing, repairs, steering
from lessons.techniques import spurious_features as spurious
from lessons.techniques.sae import compare, ready
from lessons.techniques.sae.files import load, save
from minimech import HookedTransformer, MinimechError
from minimech.world import VOCABULARY
from tests.clones import ROOT, check_told, rows_that_hold, run_here, run_script
from tests.test_lesson_03 import stand_in

SCRIPT = ROOT / "lessons" / "10_spurious_features.py"
SHIPS = (ROOT / "weights" / "sae" / "main" / "cfg.json").exists()
pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = " ".join(dict.fromkeys(word.replace(" ", "Ġ") for word in VOCABULARY))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Write a random model with the world's words, and room for few of them."""
    return stand_in(tmp_path_factory.mktemp("model") / "stand-in", WORDS)


@pytest.fixture(scope="module")
def model(folder) -> HookedTransformer:
    return HookedTransformer.from_pretrained(folder).requires_grad_(False)


@pytest.fixture(scope="module")
def sae(model):
    return ready.trained(model, steps=200)


@pytest.fixture(scope="module", params=["stand-in", "world"])
def run(request, folder, sae, tmp_path_factory):
    if request.param == "world" and not SHIPS:
        pytest.skip("weights/sae/main is not here")
    out = tmp_path_factory.mktemp("out")
    if request.param == "world":
        return run_script(SCRIPT.stem, MODEL="world", OUT=out), out / "10"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        patch.setattr(ready, "trained", lambda model: sae)
        run_here(SCRIPT.read_text(), SCRIPT, folder, out, patch)
    return SimpleNamespace(returncode=0, stdout=said.getvalue(), stderr=""), out / "10"


def test_it_runs_and_every_row_holds(run):
    done, out = run
    rows = rows_that_hold(done, out)
    assert ("Autoencoder: weights/sae/main" in done.stdout) == (rows[0]["model"] == "world")
    assert len(rows) > 50 and rows[-1]["id"] == "18.5"


def test_what_is_printed_fits_a_page_and_the_story_stands_once(run):
    done, out = run
    check_told(done.stdout, SCRIPT, out, 7)


FEWER = (SCRIPT, "for i in order[:40] if abs(lean[i])", "for i in order[:10] if abs(lean[i])")
MIXED = (SCRIPT, 'bios(model, 200, 1, "train")', 'bios(model, 200, 0.95, "train")')
LESS = (SCRIPT, 'job", 1, train', 'job", 0.95, train')
BREAKS = {  # what is edited -> the edits of a file, and the row that stops
    "put": ([(spurious, "to[latents] - f[..., latents]", "to[latents]")], "8.1"),
    "integrated": ([(spurious, "(step + 0.5) / steps", "(step + 1) / steps")], "6.2"),
    "ten": ([FEWER], "7.2"),
    "go on": ([FEWER, (repairs, '"7.2": 8', '"7.2": 4'), (repairs, "0.36,", "0.328,")], "8.1"),
    "sample": ([MIXED], "2.1"),
    "0.95": ([MIXED, LESS], "3.2"),
    "0.99": ([(at, a, b.replace("0.95", "0.99")) for at, a, b in (MIXED, LESS)], "3.2"),
}


@pytest.mark.skipif(not SHIPS, reason="weights/sae/main is not here")
@pytest.mark.parametrize("edits, row", BREAKS.values(), ids=BREAKS)
def test_break_it_does_what_it_says(edits, row, monkeypatch, tmp_path):
    texts = {at: SCRIPT.read_text() if at is SCRIPT else inspect.getsource(at) for at, *_ in edits}
    for at, before, after in edits:
        assert texts[at].count(before) == 1, before
        texts[at] = texts[at].replace(before, after)
    script = texts.pop(SCRIPT, SCRIPT.read_text())
    for module, text in texts.items():
        exec(text, parts := {"__name__": "broken"})
        for name in ("put", "integrated", "KNOWN"):
            if name in parts:
                monkeypatch.setattr(module, name, parts[name])
    script = re.sub(r"(?m)^lesson\.show\(.*\)$", "", script)  # what is only looked at, and cell 4
    with pytest.raises(
        Disagreement, match=rf"^Row {row}, .+: predicted .+, observed .+\.$"
    ) as said:
        run_here(script, SCRIPT, "world", tmp_path, monkeypatch, skip=[4])
    if FEWER in edits and row == "8.1":  # for the better
        rows = json.loads((tmp_path / "10" / "results.json").read_text())
        assert rows[-1]["observed"] > 0.6, said.value


# ---- the lives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.95, 1])
def test_gender_fits_the_job_as_often_as_asked(model, share):
    sample = lives.bios(model, 80, share, "some")
    assert sample.label.float().mean() == 0.5
    for job in (False, True):
        assert sample.agree[sample.label == job].float().mean() == pytest.approx(share, abs=0.03)


def test_every_word_has_its_truth_and_is_of_the_person(model):
    sample = lives.bios(model, 40, 0.5, 3)
    for ids, truth, label, gender in zip(sample.tokens, sample.truth, sample.label, sample.gender):
        words = [model.to_string(i).strip() for i in ids[ids >= 0]]
        assert len(words) == len(truth) and words[-1] == "."
        assert lives.JOBS[int(label)] in words and lives.JOBS[1 - int(label)] not in words
        told = {t["gender"] for t in truth if "gender" in t}
        assert told == {"female" if gender else "male"}
        assert all(w not in words for w in (("he", "his") if gender else ("she", "her")))


def test_without_gender_no_word_tells_it_and_the_others_stay(model):
    sample = lives.bios(model, 20, 0.5, 3)
    bare = sample.without_gender()
    assert not any("gender" in t for row in bare.truth for t in row)
    for old, new in zip(sample.tokens, bare.tokens):
        gone = (old >= 0).sum() - (new >= 0).sum()
        assert gone == 2  # the name and the pronoun
        assert [i for i in old.tolist() if i in new.tolist()] == new[new >= 0].tolist() + [
            -1
        ] * int(((old < 0).sum()) if (new < 0).any() else 0)


def test_seeds_draw_other_lives_and_the_same_seed_the_same(model):
    one, same, other = (lives.bios(model, 8, 1, seed).tokens for seed in (1, 1, 2))
    assert torch.equal(one, same) and one.tolist() != other.tolist()


def test_words_of_a_gender(model):
    text = lives.other_text(model, 12, 1)
    assert text.tokens.shape == (12, model.cfg.n_ctx) and len(text.truth[0]) == model.cfg.n_ctx
    women, men = (lives.words_of(text, gender) for gender in ("female", "male"))
    assert women.any() and men.any() and not (women & men).any()
    for b, row in enumerate(text.truth):
        for p, t in enumerate(row):
            own = t.get("gender") or t.get("subject_gender")
            assert women[b, p] == (own == "female") and men[b, p] == (own == "male")


# ---- what is read --------------------------------------------------------------------------------


def test_the_mean_is_over_words_alone(model):
    sample, site = lives.bios(model, 6, 0.5, 3), "blocks.0.hook_resid_post"
    pooled = spurious.pooled(model, sample.tokens, [site, "blocks.1.hook_resid_mid"])
    for i, ids in enumerate(sample.tokens):
        cache = model.run_with_cache(ids[ids >= 0][None])[1]
        assert (pooled[0, i] - cache[site][0, 1:].mean(0)).abs().max() < 1e-5
        assert (pooled[1, i] - cache["blocks.1.hook_resid_mid"][0, 1:].mean(0)).abs().max() < 1e-5


def test_batches_change_nothing_and_hooks_are_seen(model):
    sample, site = lives.bios(model, 7, 0.5, 3), "blocks.0.hook_resid_post"
    whole = spurious.read(model, sample.tokens, site)
    assert (whole - spurious.read(model, sample.tokens, site, batch=3)).abs().max() < 1e-6
    moved = spurious.read(model, sample.tokens, site, [(site, lambda x, hook: x + 1)])
    real = spurious.words(sample.tokens)
    assert ((moved - whole)[real] - 1).abs().max() < 1e-5 and not moved[~real].any()


def test_codes_are_means_of_what_is_encoded(model, sae):
    sample = lives.bios(model, 5, 0.5, 3)
    stream = spurious.read(model, sample.tokens, sae.cfg.site)
    codes = spurious.codes(sae, stream, sample.tokens, batch=2)
    for i, ids in enumerate(sample.tokens):
        own = sae.encode(stream[i, 1 : (ids >= 0).sum()])
        assert (codes[i] - own.mean(0)).abs().max() < 1e-5


def test_draws_are_sets_of_free_latents():
    sets = spurious.draws([3, 5, 8, 9], 2, 6)
    assert all(len({*s}) == 2 and {*s} <= {3, 5, 8, 9} for s in sets)
    assert len({tuple(sorted(s)) for s in sets}) > 1 and sets == spurious.draws([3, 5, 8, 9], 2, 6)


def test_ranks_are_correlated_and_ties_share(model):
    up, down = torch.tensor([1.0, 5, 7, 100]), torch.tensor([4.0, 3, 2, -50])
    assert compare.in_order(up, up**3) == pytest.approx(1) and compare.in_order(up, down) == -1
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5)
    assert compare.in_order(torch.tensor([0.0, 2, 2, 9]), up) == pytest.approx((4.5 / 5) ** 0.5)


def test_a_table_writes_shares_counts_and_dashes():
    lines = spurious.table({"one": (0.5, 7, None)}, ["a", "b", "a long name"]).splitlines()
    assert lines[1].split() == ["one", "50.0%", "7", "-"]
    assert len(lines[0]) == len(lines[1]) and "  a long name" in lines[0]


def test_a_cure_takes_the_cells_steps(model, sae):
    learn, new = lives.bios(model, 40, 1, 1), lives.bios(model, 40, 0.5, 2)
    x, f = repairs.view(model, sae, learn)
    w, b = probing.fit_probe(x, learn.label)
    sign = learn.label * 2.0 - 1
    shares = spurious.integrated(lambda f: f @ sae.W_dec @ w, f, f.mean(0), 1)
    top = (shares * sign[:, None]).mean(0).topk(40).indices.tolist()
    lean = torch.linspace(-1, 1, sae.cfg.d_sae)
    scored, gone, mean = repairs.cure(model, sae, lean, learn, new)
    assert gone == [i for i in top if abs(lean[i]) > 0.5] and torch.equal(mean, f.mean(0))
    new_x, new_f = repairs.view(model, sae, new)
    change = (mean - new_f)[:, gone] @ sae.W_dec[gone]
    right = ((new_x + change) @ w + b > 0) == new.label
    assert scored[1][:2] == tuple(right[at].float().mean().item() for at in (new.agree, ~new.agree))
    assert repairs.cure(model, sae, 0 * lean, learn, new)[0][0] == scored[0]


def test_erased_is_erased_and_levelled_is_level():
    x, y = torch.randn(60, 5) + 2, torch.arange(60) % 3 == 0
    x[y, 3] += 9
    for edit in repairs.erasers({"some": (x, y)}, x.mean(0)).values():
        assert probing.mean_difference(edit(x, None), y).norm() < 1e-3
    edited = repairs.levelled(x, y, 1, x.mean(0))(x, None)
    assert (edited[:, 3] - x[:, 3].mean()).abs().max() < 1e-6
    assert torch.equal(edited[:, [0, 1, 2, 4]], x[:, [0, 1, 2, 4]])


# ---- an autoencoder for any model ----------------------------------------------------------------


def test_one_that_fits_is_loaded_and_another_is_not(model, sae, tmp_path, monkeypatch):
    monkeypatch.setattr(ready, "SHIPS", save(sae, tmp_path / "main"))
    monkeypatch.setattr(ready, "trained", lambda model: sae)
    found, where = ready.ready(model)
    assert where.startswith("weights/sae/main: topk") and torch.equal(found.W_dec, sae.W_dec)
    assert not found.W_dec.requires_grad
    sae.cfg.model, before = "another", sae.cfg.model
    try:
        save(sae, tmp_path / "main")
    finally:
        sae.cfg.model = before
    assert ready.ready(model)[1].startswith("trained just now")
    (tmp_path / "main" / "cfg.json").unlink()
    with pytest.raises(MinimechError, match="main is not there, or has no cfg"):
        ready.ready(model)


def test_the_shelf_holds_what_was_made_for_these_weights(model, sae, tmp_path, monkeypatch):
    monkeypatch.setattr(ready, "SHIPS", tmp_path / "main")
    facts = {"main": "best", "runs": {"best": {"found": 3}, "other": {"found": 1}}}
    (tmp_path / "runs.json").write_text(json.dumps(facts))
    for name in ("main", "other"):
        save(sae, tmp_path / name)
    shelf = ready.shipped(model)
    assert {name: known["found"] for name, (_, known) in shelf.items()} == {"main": 3, "other": 1}
    assert torch.equal(shelf["other"][0].W_dec, load(tmp_path / "other").W_dec)
    with monkeypatch.context() as patch:
        patch.setattr(ready, "model_hash", lambda model: "another")
        assert ready.shipped(model) == {}


def test_what_is_trained_on_the_spot_explains_and_draws_no_shared_numbers(model, sae):
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    one, same = (ready.trained(model, steps=3) for _ in range(2))
    assert torch.equal(torch.rand(3), want) and torch.equal(one.W_enc, same.W_enc)
    tokens = lives.other_text(model, 20, 9).tokens
    x = model.run_with_cache(tokens, names_filter=sae.cfg.site)[1][sae.cfg.site][:, 1:]
    missed = (x - sae(x)).square().sum() / (x - x.mean((0, 1))).square().sum()
    assert missed < 0.4 and not sae.W_dec.requires_grad


# ---- steering ------------------------------------------------------------------------------------


def test_a_push_is_the_same_with_and_without_what_is_remembered(model):
    prompt = model.to_tokens("Kate is a nurse and")
    hook = [steering.push("blocks.0.hook_resid_post", torch.randn(model.cfg.d_model) * 3)]
    texts = [
        model.generate(prompt, 8, fwd_hooks=hook, use_past_kv_cache=past) for past in (True, False)
    ]
    assert torch.equal(*texts)
    assert not torch.equal(texts[0], model.generate(prompt, 8))


def test_a_push_leaves_bos_alone_and_moves_every_word(model):
    site, vector = "blocks.0.hook_resid_post", torch.ones(model.cfg.d_model)
    tokens = model.to_tokens("Kate is a nurse and")
    plain = model.run_with_cache(tokens)[1][site]
    moved = model.run_with_cache(tokens, fwd_hooks=[steering.push(site, vector)])[1][site]
    assert torch.equal(moved[:, 0], plain[:, 0])
    assert (moved[:, 1:] - plain[:, 1:] - 1).abs().max() < 1e-6


def test_leads_are_those_of_each_prompt_alone(model):
    prompts = ["Kate is a nurse and", "John went to the shops because"]
    together = steering.leads(model, model.to_tokens(prompts), 5, 9)
    for prompt, lead in zip(prompts, together):
        logits = model(prompt)[0, -1]
        assert abs(lead - (logits[5] - logits[9])) < 1e-5


def test_a_trial_moves_by_what_it_says_with_the_loss(model):
    text = lives.other_text(model, 4, 1).tokens
    trial = steering.Trial(model, "blocks.0.hook_resid_post", ["Kate is"], " she", " he", text)
    vector = torch.randn(model.cfg.d_model)
    moved, loss = trial(vector)
    assert trial.moves(vector) == moved != 0 and loss != trial(0 * vector)[1]


def test_marks_are_told_apart(model):
    sample = lives.bios(model, 40, 0.5, 3)
    x = torch.zeros(40, 3)
    x[sample.gender, 1], x[sample.label, 2] = 3.0, 2.0
    assert repairs.apart(x, sample) == pytest.approx(1.5)


def test_random_directions_have_length_one():
    assert (steering.random_directions(20, 7).norm(dim=1) - 1).abs().max() < 1e-6

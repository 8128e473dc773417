"""Lesson 09 runs on the world and its rows hold; the toy is what it says it is."""

import json
from pathlib import Path

import pytest
import torch

from lessons.techniques import known_features as toy
from lessons.techniques import sparse_autoencoders as parts
from lessons.techniques.sae import compare, shares
from lessons.techniques.sae.autoencoders import SAE, Config, topk_loss
from lessons.telling import page
from minimech import HookedTransformer, ModelConfig
from minimech.weights import save_pretrained
from minimech.world import VOCABULARY
from tests.clones import ROOT, check_told, run_here, run_script, tiny_clone
from tests.test_predict import at_terminal

SCRIPT = ROOT / "lessons" / "09_sparse_autoencoders.py"
SHIPS = (ROOT / "weights" / "sae" / "main" / "cfg.json").exists()
ASKED = '''"""Is it shown?"""

# %% 1. Read it
# Here is one.
#
# Prediction: SECRET.
from lessons.lesson import Lesson

lesson = Lesson("90_tiny")
lesson.show("HELD")
lesson.show("THE DASHBOARD", now=True)
lesson.expect("1.1", "class", "verb", "verb", ask="About what?", choices=["noun", "verb"])
lesson.finish()
'''


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    if not SHIPS:
        pytest.skip("weights/sae/main is not here")
    out = tmp_path_factory.mktemp("out")
    return run_script(SCRIPT.stem, ROOT, MODEL="world", OUT=out), Path(out) / "09"


def test_it_runs_and_every_row_holds_but_one(run):
    done, out = run
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = json.loads((out / "results.json").read_text())
    others = {row["id"]: row["status"] for row in rows if row["status"] != "ok"}
    assert others == {"12.2": "GAP", "16.1": "look"}
    assert len(rows) > 60 and "weights/sae/main" in done.stdout


def test_what_is_printed_fits_a_page_and_the_story_stands_once(run):
    done, out = run
    check_told(done.stdout, SCRIPT, out, 4)
    assert (out / "latents.html").stat().st_size > 10_000


def test_the_parts_on_a_model_run_to_the_end_on_a_random_one(tmp_path, monkeypatch):
    """Cells 7 to 20 on a stand-in with the world's words: what no toy is needed for."""
    words = HookedTransformer.from_pretrained("world").tokenizer
    cfg = ModelConfig(n_layers=3, n_heads=2, d_model=32, n_ctx=128, d_vocab=len(VOCABULARY))
    torch.manual_seed(0)
    folder = save_pretrained(HookedTransformer(cfg, words), tmp_path / "stand-in")
    script = SCRIPT.read_text().replace("n = 200 if small", "n = 60 if small")
    run_here(script, SCRIPT, folder, tmp_path, monkeypatch, skip=range(2, 7))
    rows = json.loads((tmp_path / "09" / "results.json").read_text())
    assert {row["status"] for row in rows} == {"ok", "look"} and rows[-1]["id"] == "19.4"


@pytest.mark.parametrize("shares_it, own, expected", [(0.0, 1.0, 0.0), (2.0, 0.0, 1.0)])
def test_what_tokens_have_in_common(shares_it, own, expected):
    """Tokens of a feature at +s and all others at -s, with or without a direction each."""
    y = torch.arange(400)[:, None] < 200
    x = own * torch.eye(400) + shares_it * torch.where(y, 1.0, -1.0)
    assert shares.in_common(x, y).item() == pytest.approx(expected, abs=0.01)
    assert shares.of_all(x, y).item() == pytest.approx(expected, abs=0.01)
    assert shares.between(x[:200], x[200:]).item() == pytest.approx(expected, abs=0.01)


def test_shares_by_hand():
    """Four points on a line at 0, 2 and 4, 6: means 1 and 5, all 3. Between: 16 of 20."""
    x, y = torch.tensor([[0.0], [2.0], [4.0], [6.0]]), torch.tensor([[1], [1], [0], [0]]).bool()
    assert shares.of_all(x, y).tolist() == pytest.approx([0.8])
    assert shares.in_common(x, y).tolist() == pytest.approx([4 / 5])  # 2^2 over (9 + 1) / 2


def test_order_and_agreement_by_hand():
    assert compare.in_order(torch.tensor([1.0, 5, 9]), torch.tensor([2.0, 3, 100])) == 1
    assert compare.in_order(torch.tensor([1.0, 5, 9]), torch.tensor([3.0, 2, 1])) == -1
    f = torch.tensor([[0.0, 1, 0], [2, 1, 0], [4, 1, 0]])
    follows = compare.correlation(f, torch.tensor([1.0, 2, 3]))
    assert follows.tolist() == pytest.approx([1, 0, 0])
    a, b = torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 2, 4, 3])
    assert compare.given(a, a, b) == pytest.approx(1)  # b says nothing of a that is not there
    c = torch.tensor([2.0, 1, 4, 3])  # with a 0.6, with b 0.8, and a with b 0.8: 0.32 / 0.48
    assert compare.given(a, b, c) == pytest.approx((0.8 - 0.6 * 0.8) / (0.8 * 0.6), abs=1e-5)
    a, b = (SAE(Config(2, 2, k=1)) for _ in "ab")
    a.W_dec.data, b.W_dec.data = torch.eye(2), torch.tensor([[0.0, 3.0], [0.6, 0.8]])
    assert compare.agree(a, b) == pytest.approx((0.6 + 1) / 2)


def test_the_toy_is_a_sum_of_known_directions():
    true = toy.directions(3)
    x, strength = toy.examples(true, 4000, torch.Generator().manual_seed(0))
    assert true.norm(dim=1).allclose(torch.ones(32)) and x.shape == (4000, 16)
    assert (x - strength @ true).abs().max() == 0
    on = strength[strength > 0]
    assert on.min() >= 0.5 and on.max() <= 1.5
    assert (strength > 0).float().mean().item() == pytest.approx(0.05, abs=0.003)


def test_no_autoencoder_starts_from_the_truth():
    """The same seed draws the same numbers: the first 32 latents would be the answer."""
    for seed in range(3):
        start = toy.trained(toy.directions(seed), seed, steps=0, kind="relu")
        assert (toy.nearest(toy.directions(seed), start.W_dec) > 0.95).sum() == 0


def test_the_loss_by_hand_is_the_files():
    torch.manual_seed(0)
    sae, x = SAE(Config(7, 13, "topk", 3)), torch.randn(20, 7)
    for dead in (torch.arange(13) < 6, torch.arange(13) < 2, torch.zeros(13, dtype=torch.bool)):
        hand = parts.topk_loss(x, sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec, 3, dead)
        assert torch.allclose(hand, topk_loss(sae, x, dead)[0])


def test_words_and_what_luck_absorbs():
    """Ids 5 and 7 stand often; 5 has a latent of its own, 7 shares one with 5."""
    ids = torch.tensor([5, 7] * 30)
    tokens = torch.cat([torch.zeros(6, 1, dtype=torch.long), ids.view(6, 10)], 1)
    f = torch.stack([(ids == 5).float(), torch.ones(60)], 1)  # [n f]
    a, b, words = compare.frequent(tokens, tokens)
    assert a.equal(ids) and b.equal(ids) and words.tolist() == [5, 7]
    assert compare.frequent(tokens, tokens, least=31)[2].tolist() == []
    assert compare.by_word(f, ids, f, ids, words).tolist() == [1, 0]
    draw = torch.Generator().manual_seed(0)
    assert compare.by_word(f, ids, f, ids, words, mix=draw).tolist() == [0, 0]
    labels = torch.arange(60) < 30
    assert len(compare.word_list(labels, ids, draw)) == 1
    assert len(compare.word_list(labels | True, ids, draw)) == 2
    assert compare.absorbed_by_luck(f, ids, words, draw, size=2, times=3) == 0


def test_two_words_of_which_the_latent_of_one_is_taken_for_both():
    """Drawn together, 5 (30 tokens) and 7 (9): the best latent is 5's; 7 has its own: absorbed."""
    ids = torch.tensor([5] * 30 + [7] * 9)
    f = torch.stack([(ids == 5).float(), (ids == 7).float()], 1)
    draw = torch.Generator().manual_seed(0)
    assert compare.absorbed_by_luck(f, ids, torch.tensor([5, 7]), draw, 2, 4) == 1


def test_what_is_asked_about_is_shown_before_the_question(tmp_path):
    """Cell 17 shows a dashboard and asks what it is about: `now` shows it, and only it, at once."""
    clone = tiny_clone(tmp_path, ASKED)
    said, status = at_terminal(clone, ["a\n"])
    places = [said.find(text) for text in ("THE DASHBOARD", "About what?", "SECRET", "HELD")]
    assert status == 0 and -1 not in places and places == sorted(places), said
    assert said.count("THE DASHBOARD") == 1
    html = (clone / "out" / "90" / "index.html").read_text()
    assert "THE DASHBOARD" in html
    cell = page.read(SCRIPT)[1][16]
    assert cell.title.startswith("17.") and "best=None)), now=True)" in cell.code

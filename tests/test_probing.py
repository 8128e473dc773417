"""Lesson 08 runs on the world and on a stand-in, its edits do what it says, its parts are right."""

import inspect
import subprocess
from pathlib import Path

import pytest
import torch

from lessons.expect import Disagreement
from lessons.techniques import graded, interventions, probing
from lessons.techniques.truth import labelled
from minimech import HookedTransformer, MinimechError, ModelConfig, Tokenizer
from minimech.weights import save_pretrained
from tests.clones import ROOT, check_told, rows_that_hold, run_here, run_script

SCRIPT = ROOT / "lessons" / "08_probing.py"
WORLD = ROOT / "weights" / "world"
pytestmark = pytest.mark.skipif(
    not (WORLD / "model.safetensors").exists(), reason="weights/world is not here"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A random model of another shape, with more words than the world: what GPT-2 runs through."""
    torch.manual_seed(0)
    cfg = ModelConfig(n_layers=3, n_heads=2, d_model=20, n_ctx=128, d_vocab=5000)
    model = HookedTransformer(cfg, Tokenizer.from_folder(WORLD))
    for weight in model.parameters():
        weight.data += torch.randn_like(weight) * 0.15
    return save_pretrained(model, tmp_path_factory.mktemp("model") / "stand-in")


def run_lesson(root: Path, model, out: Path) -> subprocess.CompletedProcess:
    """Run the lesson as a reader does, with nobody at the keyboard."""
    return run_script("08_probing", root, MODEL=model, OUT=out, OMP_NUM_THREADS=1)


@pytest.fixture(scope="module", params=["stand-in", "world"])
def run(request, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return run_lesson(ROOT, folder if request.param == "stand-in" else "world", out), out / "08"


def test_it_runs_and_every_row_holds(run):
    done, out = run
    rows = rows_that_hold(done, out)
    assert len(rows) > 60


def test_what_is_printed_fits_a_page_and_the_story_stands_once(run):
    done, out = run
    check_told(done.stdout, SCRIPT, out, 7)


# ---- its edits -----------------------------------------------------------------------------------

BREAKS = [  # before, after, the row that stops, the cells that are not needed for it
    ("return coin[types]", "return torch.rand(types.shape, generator=draw) < 0.5", "3.1", []),
]


@pytest.mark.parametrize("right, wrong, row, cells", BREAKS, ids=["coins"])
def test_break_it_does_what_it_says(right, wrong, row, cells, tmp_path, monkeypatch):
    part = {"3.1": "control_labels"}[row]
    source = inspect.getsource(probing)
    assert source.count(right) == 1
    exec(source.replace(right, wrong), parts := {"__name__": "broken"})
    monkeypatch.setattr(probing, part, parts[part])
    with pytest.raises(Disagreement, match=rf"^Row {row}, .+: predicted .+, observed .+\.$"):
        run_here(SCRIPT.read_text(), SCRIPT, "world", tmp_path, monkeypatch, cells)


# ---- parts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return HookedTransformer.from_pretrained("world").requires_grad_(False)


@pytest.fixture(scope="module")
def text(model):
    return labelled(model, 6, seed=3)


def test_graded_answers_are_the_words_that_follow(model, text):
    asked = graded.graded(model, text)
    assert {"pronoun", "indirect_object", "fact"} <= asked.keys()
    for name, (b, p, right, wrong) in asked.items():
        assert torch.equal(text.tokens[b, p + 1], right) and (right != wrong).all()
        assert all(text.truth[i][j + 1]["behaviour"] == name for i, j in zip(b, p))
    later = graded.part(asked, 4)
    rows = asked["pronoun"][:, asked["pronoun"][0] >= 4]
    assert torch.equal(later["pronoun"][0], rows[0] - 4)
    assert torch.equal(later["pronoun"][1:], rows[1:])


def test_leads_and_loss_of_a_model_that_knows(model, text):
    asked = graded.graded(model, text)
    logits = torch.zeros(*text.tokens.shape, model.cfg.d_vocab)
    logits.scatter_(-1, text.tokens.roll(-1, 1)[..., None], 7.0)  # the next word, at 7
    assert all(lead == pytest.approx(7) for lead in graded.leads(logits, asked).values())
    even = graded.loss(torch.zeros_like(logits), text.tokens)
    assert even == pytest.approx(torch.tensor(529.0).log().item(), abs=1e-4)
    assert graded.loss(logits, text.tokens) < even


def test_names_are_found_where_they_end(model, text):
    who = graded.names(model, text)
    found = [model.to_string(text.tokens[b, p]).strip() for b, p in (who >= 0).nonzero().tolist()]
    assert found == [graded.NAMES[i] for i in who[who >= 0]] and len(found) > 50
    male = text.where("gender", "male")
    assert ((who % 2 == 0) == male)[who >= 0].all()
    assert torch.equal(graded.later(who, 2, -1)[:, 2:], who[:, :-2])


def test_a_bystander_is_of_the_same_sentence(text):
    everywhere = torch.ones_like(text.tokens, dtype=torch.bool)
    found, male = graded.bystanders(text, everywhere)
    for b, p in found.nonzero().tolist():
        row = text.truth[b][: p + 1]
        mine = [t for t in row if t.get("sentence") == row[-1]["sentence"]]
        last = [t["gender"] for t in mine if t.get("role") == "bystander"][-1]
        assert (last == "male") == male[b, p]


def test_too_few_single_names_is_a_sentence(model, monkeypatch):
    monkeypatch.setattr(graded, "single", lambda model, word: word == "John")
    with pytest.raises(MinimechError, match="of 80 names 1 are one token"):
        graded.people(model)
    with pytest.raises(MinimechError, match="none of 12 animals is one token"):
        graded.animals(model)


def test_the_word_alone_guesses_what_was_truer_of_it():
    tokens, y = torch.tensor([[1, 1, 1, 2, 1, 2, 3]]), torch.tensor([[1, 1, 0, 0, 0, 0, 1]]).bool()
    learn = torch.tensor([[1, 1, 1, 1, 0, 0, 0]]).bool()
    assert graded.by_word(tokens, y, learn, ~learn) == pytest.approx(1 / 3)


def test_erasing_leaves_both_classes_one_mean_and_moves_least(text):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(300, 5, generator=draw) @ torch.randn(5, 5, generator=draw) + 3
    y = torch.rand(300, generator=draw) < 0.3
    x[y] += torch.tensor([2.0, 0, 1, 0, 0])
    mean, (write, read) = x.mean(0), probing.fit_eraser(x, y)
    flat = probing.erase(x, mean, write, read)
    assert probing.mean_difference(flat, y).norm() < 1e-4
    plain = probing.erase(x, mean, write, write / (write @ write))
    assert probing.mean_difference(plain, y).norm() < 1e-4
    assert (flat - x).norm() < 0.9 * (plain - x).norm()


def test_a_push_at_dose_0_and_an_exchange_with_itself_change_nothing(model):
    few = interventions.Pronouns(model, "{} went to the park because", [0, 1, 2])
    site = "blocks.0.hook_resid_post"
    v = torch.arange(model.cfg.d_model).float()  # not all the same: the norm would take that out
    clean = few.lead(model(few.prompts)[:, -1])
    assert few.pushed(site, 2.0, v, 0.0) == pytest.approx(clean, abs=1e-4)
    assert few.pushed(site, 2.0, v, 1.0) != pytest.approx(clean, abs=1e-2)
    same = probing.exchanged(model, few.prompts, few.prompts, site, 1)
    assert few.lead(same) == pytest.approx(clean, abs=1e-4)


def test_slopes_are_what_a_small_push_does(model):
    one = interventions.Pronouns(model, "{} went to the park because", [0])
    site, step = "blocks.0.hook_resid_post", 0.01
    slope = one.slopes(site)[0]
    way = slope / slope.norm()
    moved = one.pushed(site, step, way, 1.0) - one.pushed(site, step, way, -1.0)
    assert -moved / (2 * step) == pytest.approx(slope.norm().item(), rel=0.02)


def test_an_exam_tells_shares_of_what_was_there(model, text):
    site = {"0_post": "blocks.0.hook_resid_post"}
    _, cache = model.run_with_cache(text.tokens, names_filter=[*site.values()])
    exam = interventions.Exam(model, text, 3, site, cache[site["0_post"]][None])
    left = exam.run(0, lambda rows: lambda resid, hook: resid)
    assert left.pop("loss") == pytest.approx(exam.loss)
    assert all(share == pytest.approx(1, abs=1e-4) for share in left.values())
    name, male = graded.names(model, text) >= 0, text.where("gender", "male")
    assert exam.swap(0, name, male)["pronoun"] < 0.5
    x, y = exam.learned(0, name, male)
    edit = probing.fit_eraser(x, y)
    assert exam.erased(0, torch.zeros_like(name), x.mean(0), edit)["pronoun"] == pytest.approx(1)

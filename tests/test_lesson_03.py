"""Lesson 03 runs, its rows hold, its page stands alone; and a wrong part makes it fail."""

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import checkpoints
import numpy as np
import oracle
import pytest
import torch
from matplotlib.image import imread

from lessons import expect, figures, lesson
from lessons.expect import Disagreement, at_least, at_most, judge
from lessons.judging import marks, prove
from lessons.techniques import bugs, transformer
from lessons.telling import page
from minimech import HookedTransformer, ModelConfig, Tokenizer
from minimech.weights import save_pretrained
from tests.clones import run_script

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "lessons" / "03_transformer.py"
WORDS = "<|endoftext|> When John ĠJohn Ġand ĠMary Ġwent Ġto Ġthe Ġstore , Ġgave Ġa Ġdrink Ġball"
WORDS += " ĠAnna ĠTom"
SHIPS = (ROOT / "weights" / "world" / "model.safetensors").exists()
KEYS = "id what predicted seen observed tolerance status pass source gap reader model minimech"


def stand_in(folder: Path, vocabulary: str = WORDS) -> Path:
    """Write a random model whose vocabulary has the lesson's prompt in it."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    words = {word: i for i, word in enumerate(vocabulary.split())}
    backend = Backend(models.WordLevel(words))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    torch.manual_seed(0)
    cfg = ModelConfig(n_layers=2, n_heads=3, d_model=48, n_ctx=20, d_vocab=len(words))
    model = HookedTransformer(cfg, Tokenizer(backend))
    for weight in model.parameters():
        weight.data += torch.randn_like(weight) * 0.15
    return save_pretrained(model, folder)


def run_lesson(root: Path, model: str | Path, out: Path, **env) -> subprocess.CompletedProcess:
    """Run the lesson as a reader does, with nobody at the keyboard."""
    return run_script("03_transformer", root, **{"MODEL": model, "OUT": out, **env})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return stand_in(tmp_path_factory.mktemp("model") / "stand-in")


@pytest.fixture(scope="module", params=["stand-in", "world"])
def run(request, folder, tmp_path_factory):
    if request.param == "world" and not SHIPS:
        pytest.skip("weights/world is not here")
    model = folder if request.param == "stand-in" else "world"
    out = tmp_path_factory.mktemp("out")
    return run_lesson(ROOT, model, out, PREDICT="1"), out / "03"


def test_it_runs_and_every_row_holds(run):
    done, out = run
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "results.json").read_text())
    statuses = [row["status"] for row in rows]
    assert "FAIL" not in statuses and statuses.count("ok") >= 25
    assert done.stderr == ""


def test_every_row_has_its_fields_and_was_printed(run):
    done, out = run
    for row in json.loads((out / "results.json").read_text()):
        assert list(row) == [*KEYS.split(), "seconds"]
        assert row["reader"] is None  # PREDICT=1 without a terminal asks nobody
        assert re.search(rf"^  \w+ +{row['id']} +{re.escape(row['what'])} ", done.stdout, re.M)


def test_what_is_printed_fits_a_page(run):
    told = run[0].stdout.splitlines()
    lines = [line for line in told if "index.html" not in line]
    assert max(map(len, lines)) <= 100


def test_the_page_stands_alone(run):
    html = (run[1] / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script\s+src|link|iframe)|url\(|@import|https?://", html)
    assert all(
        src.startswith("data:image/png;base64,") for src in re.findall(r'src="([^"]+)', html)
    )
    assert "width=device-width" in html and "prefers-color-scheme: dark" in html
    assert html.count("<img ") == len(list(run[1].glob("*.png"))) == 6


def test_story_stands_once_and_reaches_both_terminal_and_page(run):
    done, out = run
    html = (out / "index.html").read_text(encoding="utf-8")
    for cell in page.read(SCRIPT)[1]:
        assert done.stdout.count(cell.prose) == 1
        assert f"<h2>{cell.title}</h2>" in html
        assert page.paragraphs(cell.prose) in html


def test_figures_are_pictures_of_something(run):
    for file in run[1].glob("*.png"):
        picture = imread(file)
        assert min(picture.shape[:2]) > 200 and picture[..., :3].std() > 0.05, file.name


# ---- the script ----------------------------------------------------------------------------------


def test_the_first_line_is_a_question():
    assert ast.get_docstring(ast.parse(SCRIPT.read_text())).splitlines()[0].endswith("?")


def test_cells_that_measure_predict_first_and_have_a_control():
    for cell in page.read(SCRIPT)[1]:
        if "lesson.expect" in cell.code and "Which head" not in cell.title:
            assert "Prediction: " in cell.prose and "ontrol" in cell.prose + cell.code, cell.title


BREAKS = [
    ("y**3", "y**2", "9.1"),
    ("triu(diagonal=1)", "triu(diagonal=0)", "7.1"),
    ("/ math.sqrt(q.shape[-1])  #", "/ math.sqrt(q.shape[-1]) + 5  #", None),
    ('GIVER, RECEIVER = "John", "Mary"', 'GIVER, RECEIVER = "Anna", "Tom"', None),
]


def copy_of_the_clone(folder: Path) -> None:
    """Copy what a reader edits, and what it needs beside it."""
    for name in ("lessons", "minimech", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for name in ("tests", "weights"):
        (folder / name).symlink_to(ROOT / name)


@pytest.mark.parametrize("right, wrong, row", BREAKS, ids=["gelu", "mask", "plus five", "names"])
def test_break_it_does_what_it_says(right, wrong, row, folder, tmp_path):
    copy_of_the_clone(tmp_path)
    place = "03_transformer.py" if "GIVER" in right else "techniques/transformer.py"
    file = tmp_path / "lessons" / place
    source = file.read_text()
    assert source.count(right) == 1
    file.write_text(source.replace(right, wrong))
    done = run_lesson(tmp_path, folder, tmp_path / "out")
    assert done.returncode == (row is not None), done.stderr
    if row:
        assert re.fullmatch(rf"Row {row}, .+: predicted .+, observed .+\.\n", done.stderr)
        assert 'class="FAIL"' in (tmp_path / "out" / "03" / "index.html").read_text()


def test_a_missing_model_or_word_or_place_ends_with_a_sentence(folder, tmp_path):
    (tmp_path / "taken").write_text("")
    cases = [
        ("no-such-model", tmp_path, "no-such-model"),
        (folder, tmp_path / "taken", "cannot be written"),
        (nameless(tmp_path), tmp_path, "' Mary'"),
    ]
    for model, out, told in cases:
        done = run_lesson(ROOT, model, out)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert done.stderr.startswith("lesson: ") and told in done.stderr, done.stderr


def test_another_prompt_runs_on_the_world_model(tmp_path):
    if not SHIPS:
        pytest.skip("weights/world is not here")
    copy_of_the_clone(tmp_path)
    file = tmp_path / "lessons" / "03_transformer.py"
    file.write_text(file.read_text().replace('"John", "Mary"', '"Anna", "Tom"'))
    done = run_lesson(tmp_path, "world", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out" / "03" / "results.json").read_text())
    seen = {row["id"]: row for row in rows}
    assert seen["11.2"]["status"] == "look" and seen["11.2"]["observed"] == "Tom"


def nameless(folder: Path) -> Path:
    """Write a model that has never heard of Mary."""
    return stand_in(folder / "nameless", WORDS.replace("Mary", "Ann"))


# ---- by hand, against an independent forward -----------------------------------------------------


def test_forward_by_hand_equals_numpy(tmp_path):
    folder = checkpoints.write_checkpoint(tmp_path, checkpoints.TINY, seed=5)
    model = HookedTransformer.from_pretrained(folder).double()
    tokens = torch.tensor([60, 3, 17, 3, 9, 42, 8])
    weights = checkpoints.random_checkpoint(checkpoints.TINY, seed=5)
    expected = torch.tensor(oracle.forward(weights, checkpoints.TINY, tokens[None].tolist())[0][0])
    assert transformer.error(transformer.forward(tokens, model), expected) < 1e-12
    for bug, (part, wrong) in bugs.BUGS.items():
        with mock.patch.object(transformer, part, wrong):
            assert transformer.error(transformer.forward(tokens, model), expected) > 1e-5, bug


def test_replace_and_nudge_touch_one_head():
    z = torch.ones(3, 5, 3, 4)
    silent = transformer.replace_own_head(torch.zeros(5, 3, 4))(z.clone(), None)  # row i: head i
    assert silent.sum((1, 3)).tolist() == [[0, 20, 20], [20, 0, 20], [20, 20, 0]]
    said = torch.arange(60.0).view(5, 3, 4)
    told = transformer.replace_own_head(said)(z.clone(), None)
    assert all(torch.equal(told[i, :, i], said[:, i]) for i in range(3))
    moved = transformer.nudge_head(2, torch.arange(4.0))(z.clone(), None) - z
    assert torch.equal(moved[:, -1, 2], torch.arange(4.0).expand(3, 4))
    assert moved.abs().sum() == 3 * 6


def test_no_warning_shows_a_line_of_an_answer(recwarn):
    def all_heads(x, attn, head):
        warnings.warn("scores = q @ k.T", stacklevel=1)
        pattern = transformer.attention_pattern(x @ attn.W_Q, x @ attn.W_K)
        return pattern, pattern @ (x @ attn.W_V) @ attn.W_O

    e = next(e for e in marks.course() if e.id == "3.3")
    verdict = prove.answered(e, all_heads)
    assert "shape should be [2, 2], not [2, 2, 2]" in verdict.said
    assert not [str(warning.message) for warning in recwarn]
    assert transformer.attention_pattern(torch.ones(2, 3, 4), torch.ones(2, 3, 4)).ndim == 3
    assert not recwarn.list


def test_slope_of_a_cube():
    at, along = torch.tensor([2.0, 5.0]).double(), torch.tensor([1.0, 0.0]).double()
    assert transformer.slope(lambda t: (at + t)[0] ** 3, along) == pytest.approx(12, rel=1e-7)


# ---- expect --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "predicted, observed, tolerance, status",
    [
        (3.56, 3.6, 0.05, "ok"),
        (3.56, 3.7, 0.05, "FAIL"),
        (3, float("nan"), 1, "FAIL"),
        (at_most(1e-5), float("nan"), 0, "FAIL"),
        (at_most(1e-5), 1e-6, 0, "ok"),
        (at_least(4), 3.9, 0, "FAIL"),
        (expect.Band(3.3, 3.8), 3.5, 0, "ok"),
        ("L1H0", "L1H0", 0, "ok"),
        ("L1H0", "L1H1", 0, "FAIL"),
        (" Mary", "Mary", 0, "FAIL"),
        (True, False, 0, "FAIL"),
        (True, True, 0, "ok"),
        (None, 3, 0, "look"),
    ],
)
def test_judge(predicted, observed, tolerance, status):
    assert judge(predicted, observed, tolerance) == status


@pytest.fixture
def run_here(tmp_path, monkeypatch):
    monkeypatch.setattr(lesson, "OUT", tmp_path)
    return lesson.Lesson("03_transformer")


def test_expect_stops_outside_the_tolerance_and_keeps_the_row(run_here):
    run_here.expect("1.1", "a number", 3.5, torch.tensor(3.52), tolerance=0.05)
    with pytest.raises(Disagreement, match=r"^Row 1\.2, a head: predicted L1H0 \(nowhere\), obs"):
        run_here.expect("1.2", "a head", "L1H0", "L1H1", source="nowhere")
    kept = json.loads((run_here.folder / "results.json").read_text())
    assert [row["status"] for row in kept] == ["ok", "FAIL"]


def test_a_gap_is_shown_and_not_hidden(run_here, capsys):
    run_here.expect("1.1", "a number", 3.5, 9.0, gap="we do not know why")
    printed = capsys.readouterr().out
    assert "GAP" in printed and "we do not know why" in printed and "9" in printed
    assert not run_here.rows[0]["pass"]
    assert run_here.rows[0]["gap"] == "we do not know why"
    run_here.finish()
    assert "we do not know why" in (run_here.folder / "index.html").read_text()


def test_the_ledger_gathers_all_lessons(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lesson, "OUT", tmp_path)
    monkeypatch.setattr(expect, "OUT", tmp_path)
    assert expect.main() == 0 and "No lesson has run" in capsys.readouterr().out
    lesson.Lesson("03_transformer").expect("3.1", "one | two", 1, 1)
    assert expect.main() == 0
    assert "| ok | 3.1 | one \\| two | 1 | 1 |" in (tmp_path / "results.md").read_text()
    with pytest.raises(Disagreement):
        lesson.Lesson("03_transformer").expect("3.1", "one", 1, 2)
    assert expect.main() == 1


# ---- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_text_figures_fit_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    labels = figures.token_labels(["<|endoftext|>", *[" word"] * 29])
    square = np.tril(np.full((30, 30), 0.1))
    signed = [-3.0, 0.001, 5.0]
    texts = [
        figures.text_heatmap(square, labels, labels),
        figures.text_heatmap(-square, labels, labels, signed=True),
        figures.text_bars(signed, ["one", "two", "three"]),
        figures.text_bars([1e-6, 1e-2, 1.0], ["one", "two", "three"], log=True),
    ]
    for text in texts:
        assert max(map(len, text.splitlines())) <= min(columns, 100), text


def test_a_small_heat_map_is_printed_as_numbers_and_the_future_is_grey():
    plot = figures.heatmap([[1, 0.5], [0.25, 0.75]], "ab", "cd", "t", "x", "y", "u", causal=True)
    assert plot.text.split() == ["c", "d", "a", "1.00", "b", "0.25", "0.75"]
    assert np.isnan(plot.figure.axes[0].images[0].get_array().filled(np.nan)).tolist() == [
        [False, True],
        [False, False],
    ]


def test_what_is_known_of_a_row_is_held_against_it(run_here):
    run_here.know({"1.1": 3.5}, "somebody")
    run_here.recorded("1.1", "a number", 3.52, 0.05)
    run_here.recorded("1.2", "another", 7)
    assert [(row["status"], row["source"]) for row in run_here.rows] == [
        ("ok", "somebody"),
        ("look", ""),
    ]
    assert expect.written(at_most(2), 0.01) == "<= 2"


def test_text_figures_need_no_unicode(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert figures.text_bars([1.0, -2.0], ["up", "down"]).isascii()
    assert figures.text_heatmap([[0.1, 0.9]], ["row"], ["a", "b"]).isascii()
    assert figures.sparkline([1, 2, 3]).isascii()


def test_a_bar_is_as_long_as_its_value():
    rows = figures.text_bars([1.0, 2.0, -1.0], ["one", "two", "less"]).splitlines()
    one, two, less = (row.count(figures.blocks()[-1]) for row in rows)
    assert abs(two - 2 * one) <= 1 and abs(less - one) <= 1
    assert rows[2].rindex(figures.blocks()[-1]) < rows[0].index(figures.blocks()[-1])


def test_every_plot_has_title_labels_and_ink():
    plots = [
        figures.heatmap(
            [[0.5, -1]], ["row"], ["a", "b"], "A finding", "x", "y", "unit", signed=True
        ),
        figures.bars([1.0, -2.0], ["a", "b"], "A finding", "nats", limit=0.5),
        figures.line([1, 2, 3], {"one": [1, 4, 9], "two": [9, 4, 1]}, "A finding", "x", "nats"),
    ]
    for plot in plots:
        figure, axes = plot.figure, plot.figure.axes[0]
        assert figure.get_suptitle() == plot.title and axes.get_xlabel()
        memory = io.BytesIO()
        figure.savefig(memory, format="png")
        memory.seek(0)
        assert imread(memory)[..., :3].std() > 0.05


def test_ctrl_c_ends_with_a_word(tmp_path):
    code = "from lessons.lesson import Lesson; Lesson('03_transformer'); raise KeyboardInterrupt"
    env = os.environ | {"OUT": str(tmp_path), "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.stderr == "\nlesson: interrupted\n" and run.returncode != 0

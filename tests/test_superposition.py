"""Lesson 01: the toy models against slow loops and drawn losses; the lesson runs and can fail."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from lessons import geometry
from lessons.techniques import superposition as toy
from lessons.telling import page
from tests.clones import run_script

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "lessons" / "01_superposition.py"


def run_lesson(out: Path, root: Path = ROOT) -> subprocess.CompletedProcess:
    """Run the lesson as a reader does, with nobody at the keyboard."""
    return run_script("01_superposition", root, OUT=out, PYTHONPATH=root)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return run_lesson(out), out / "01"


def polygon(n: int) -> torch.Tensor:  # -> [1 2 n]
    angles = torch.arange(n) * 2 * torch.pi / n
    return torch.stack([angles.cos(), angles.sin()])[None]


def test_it_runs_and_every_row_holds(run):
    done, out = run
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    statuses = [row["status"] for row in json.loads((out / "results.json").read_text())]
    assert set(statuses) == {"ok", "look"} and statuses.count("ok") >= 40
    assert max(len(line) for line in done.stdout.splitlines() if "index.html" not in line) <= 100


def test_the_reader_is_taken_in_by_seed_1_and_then_told(run):
    rows = {row["id"]: row for row in json.loads((run[1] / "results.json").read_text())}
    assert rows["4.1"]["observed"] == 4 and rows["4.2"]["observed"] < 6  # a square
    assert 2 <= rows["5.1"]["observed"] <= 8 and rows["5.3"]["observed"] < 5  # a vote would err
    assert rows["5.5"]["observed"] == 0  # no small step leads out of it
    assert rows["6.2"]["observed"] <= 6 and rows["7.1"]["observed"] <= 0.05
    assert rows["16.2"]["observed"] >= 0.7


def test_story_and_figures_reach_the_page(run):
    done, out = run
    html = (out / "index.html").read_text(encoding="utf-8")
    assert html.count("<img ") == len(list(out.glob("*.png"))) == 8
    for cell in page.read(SCRIPT)[1]:
        assert done.stdout.count(cell.prose) == 1


def test_without_the_relu_the_lesson_stops_where_it_says(tmp_path):
    """The first edit of "Break it"."""
    broken = tmp_path / "clone"
    for folder in ("lessons", "minimech"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, broken / folder, ignore=ignored)
    (broken / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    path = broken / "lessons" / "techniques" / "superposition.py"
    text = path.read_text(encoding="utf-8")
    line = 'return torch.relu(torch.einsum("idf,ibd->ibf", W, h) + b[:, None])'
    assert line in text
    path.write_text(text.replace(line, line.replace("torch.relu", "")), encoding="utf-8")
    done = run_lesson(tmp_path / "out", broken)
    assert done.returncode == 1 and "Row 4.1" in done.stderr


def test_inputs_are_on_as_often_as_said_and_uniform_when_on():
    x = toy.sparse(torch.tensor([0.1, 0.5, 1.0]), 100_000, 3)
    assert x.shape == (3, 100_000, 3) and x.min() >= 0 and x.max() <= 1
    for density, one in zip((0.1, 0.5, 1.0), x):
        on = one[one > 0]
        assert len(on) / one.numel() == pytest.approx(density, abs=0.005)
        shares = torch.histc(on, 10, 0, 1) / len(on)
        assert (shares - 0.1).abs().max() < 0.01


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_regular_polygons_have_equal_gaps_and_shares(n):
    W = 1.2 * polygon(n)
    assert toy.gaps(W[0]).tolist() == pytest.approx([360 / n] * n, abs=1e-3)
    assert toy.dimensionality(W)[0].tolist() == pytest.approx([2 / n] * n, abs=1e-5)


def test_gaps_go_all_the_way_round_and_pass_over_what_is_not_kept():
    W = torch.tensor([[1.0, 0.0, -0.8, 0.1], [0.0, 1.0, -0.8, 0.1]])
    assert toy.gaps(W).tolist() == pytest.approx([135, 90, 135], abs=1e-3)  # from -135 degrees
    assert toy.kept(W).tolist() == [True, True, True, False]


def test_linear_is_the_same_model_without_its_relu():
    x, W, b = torch.rand(2, 6, 5), torch.randn(2, 3, 5), torch.randn(2, 5)
    linear = toy.linear_output(x, W, b)
    assert torch.allclose(linear.relu(), toy.output(x, W, b), atol=1e-5)
    assert linear.min() < 0


def test_a_relu_on_h_cuts_each_neuron_and_so_a_turn_changes_what_is_read():
    W, b, x = (
        torch.tensor([[[1.0, -1.0], [0.0, 2.0]]]),
        torch.zeros(1, 2),
        torch.tensor([[[1.0, 3]]]),
    )
    assert toy.rectified_output(x, W, b).tolist() == [[[0.0, 12.0]]]  # h = (-2, 6), cut to (0, 6)
    assert toy.output(x, W, b).tolist() == [[[0.0, 14.0]]]
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert toy.output(x, quarter @ W, b).tolist() == [[[0.0, 14.0]]]
    assert toy.rectified_output(x, quarter @ W, b).tolist() == [[[0.0, 0.0]]]


def test_off_axes_measures_the_kept_feature_that_is_farthest_from_any_axis():
    angles = torch.tensor(
        [[3.0, 88.0, 45.0], [-91.0, 130.0, 45.0]]
    ).deg2rad()  # the last is not kept
    W = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor([1.0, 1.0, 0.2])
    assert toy.off_axes(W).tolist() == pytest.approx([3, 40], abs=1e-3)


def test_nudged_takes_steps_of_one_length_each_in_a_direction_of_its_own():
    W, b = torch.randn(2, 5), torch.randn(5)
    near, bias = toy.nudged(W, b, 0.1, 50)
    step = torch.cat([(near - W).flatten(1), bias - b], dim=1)
    assert near.shape == (50, 2, 5) and bias.shape == (50, 5)
    assert step.norm(dim=1).tolist() == pytest.approx([0.1] * 50, abs=1e-5)
    assert torch.linalg.matrix_rank(step) == 15


def test_a_border_is_where_one_of_eight_neighbours_is_of_another_kind():
    kinds = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert geometry.at_border(kinds).tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [False] * 4,
    ]
    found = torch.tensor([[2, 0, 0, 0], [0, 2, 2, 0], [0, 0, 0, 0]])  # four amiss, two at a border
    assert geometry.strays(found, kinds) == 2


def test_instances_trained_together_do_not_know_of_each_other():
    x, start = torch.rand(3, 50, 4), torch.randn(3, 2, 4) * 0.3
    together, _ = toy.train(lambda: x, start, torch.ones(4), steps=50)
    alone, _ = toy.train(lambda: x[1:2], start[1:2], torch.ones(4), steps=50)
    assert torch.allclose(together[1], alone[0], atol=1e-4)
    assert not torch.allclose(together[1], start[1], atol=1e-2)


def test_every_input_has_its_probability():
    density = torch.tensor([0.1, 0.7])
    x, chance = toy.every_input(density, steps=4)
    assert x.shape == (25, 2) and chance.shape == (2, 25)
    assert chance.sum(-1).tolist() == pytest.approx([1, 1])
    assert (chance @ (x > 0).float()).flatten().tolist() == pytest.approx([0.1, 0.1, 0.7, 0.7])
    assert (chance @ x).flatten().tolist() == pytest.approx([0.05, 0.05, 0.35, 0.35])


def test_a_pair_is_best_below_the_density_that_the_lesson_derives():
    for r in (0.2, 0.5, 1.0):
        edge = 4 * r / (2 + 5 * r)
        p = torch.tensor([edge * 0.99, edge * 1.01])
        best = toy.candidate_losses(p, torch.tensor([r, r])).argmin(-1).tolist()
        assert best == [2, 0]


def test_the_text_forms_say_where_things_lie():
    drawn = geometry.text_arrows([polygon(4)[0].numpy()], ["a square"])
    rows = drawn.split("\n")
    assert rows[0] == "a square" and len(rows) == 10
    assert next(line for line in rows if "1" in line).split() == ["3", "+", "1"]
    assert drawn.index("2") < drawn.index("+") < drawn.index("4")
    two = torch.tensor([[1.0, 1.0], [0.5, 0.0]]).numpy()
    dots = geometry.text_dots([1.0, 3.0], two, "1 / p", "D")
    assert "across: D; down: 1 / p" in dots and len(dots.splitlines()) == 5
    kinds, odd = torch.tensor([[0, 1], [2, 2]]), torch.tensor([[False, True], [False, False]])
    names, xs = ["one", "two", "both"], torch.tensor([0.1, 10.0])
    places = xs.numpy(), xs.numpy()
    text = geometry.text_regions(kinds.numpy(), names, odd.numpy(), *places, "r", "p")
    assert re.search(r"10  x x\n +0\.1  1 \?", text) and "across: r; down: p" in text


def test_an_arrow_too_short_to_see_is_a_dot_and_long_rows_wrap():
    short = 0.1 * polygon(5)[0]
    plot = geometry.arrows([short] * 6, [f"density {i}" for i in range(6)], "six panels")
    assert not re.search(r"^[ 1-5+]*[1-5]", plot.text.replace("density", "d"), re.M)
    assert plot.text.count("+") == 6 and max(map(len, plot.text.splitlines())) <= 100

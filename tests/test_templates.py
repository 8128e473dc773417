"""Lesson 00 runs and its rows hold; its techniques do what they say, on MNIST where it is."""

import json
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from lessons import pictures
from lessons.checks import Wrong, brief
from lessons.checks.templates import check_smallest_change
from lessons.techniques import digits, templates
from tests.clones import run_script

ROOT = Path(__file__).resolve().parent.parent


def run_lesson(out: Path, **env) -> subprocess.CompletedProcess:
    """Run the lesson as a reader does, with nobody at the keyboard."""
    return run_script("00_templates", OUT=out, **env)


def rows_of(out: Path) -> dict[str, dict]:
    """Read what a run recorded, by row."""
    return {row["id"]: row for row in json.loads((out / "00" / "results.json").read_text())}


@pytest.fixture(scope="module", params=["drawn", "mnist"])
def run(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    folder = ROOT.parent / "shared" / "mnist"
    if request.param == "mnist" and not folder.is_dir():
        pytest.skip(f"needs MNIST's files beside the repo, and {folder} is not there")
    return run_lesson(out, DATA="drawn" if request.param == "drawn" else str(folder)), out


def test_the_lesson_runs_and_every_row_holds(run):
    done, out = run
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert done.stderr == ""
    rows = rows_of(out)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert len(rows) >= 35


def test_every_cell_with_rows_has_a_control(run):
    _, out = run
    rows = rows_of(out).values()
    cells = {row["id"].split(".")[0] for row in rows}
    controlled = {row["id"].split(".")[0] for row in rows if "control" in row["what"]}
    assert cells == controlled


def test_figures_and_page_are_kept(run):
    _, out = run
    names = {path.stem for path in (out / "00").glob("*.png")}
    known = {"raw", "shuffled", "centred", "shares", "flipped", "neurons", "strongest", "own"}
    assert known <= names
    assert "http://" not in (out / "00" / "index.html").read_text().split("<pre><code>")[0]


def test_data_that_is_not_there_is_answered_in_words(tmp_path):
    done = run_lesson(tmp_path, DATA="letters")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("lesson: DATA=letters is neither drawn, nor mnist, nor a folder")


# The bars, on MNIST


@pytest.fixture(scope="module")
def mnist():
    folder = ROOT.parent / "shared" / "mnist"
    if not folder.is_dir():
        pytest.skip(f"needs MNIST's files beside the repo, and {folder} is not there")
    return digits.load(str(folder))


@pytest.fixture(scope="module")
def linear(mnist):
    threads, began = torch.get_num_threads(), time.process_time()
    torch.set_num_threads(1)  # as the lesson does
    W, b = templates.train_linear(*templates.start(), mnist.train, mnist.train_labels)
    torch.set_num_threads(threads)
    return W, b, time.process_time() - began


def test_92_percent_in_under_20_seconds(mnist, linear):
    W, b, seconds = linear
    assert templates.accuracy(mnist.test @ W.T + b, mnist.test_labels) >= 0.92
    assert seconds < 20


def test_logits_are_the_correlation_with_every_picture(mnist, linear):
    W, b, _ = (part.double() if isinstance(part, torch.Tensor) else part for part in linear)
    logits = mnist.test @ W.float().T + b.float()  # [n c]
    for c in range(10):
        by_pixel = (mnist.test.double() * W[c]).sum(1) + b[c]  # [n]
        assert (logits[:, c] - by_pixel).abs().max() < 1e-4


def test_the_shared_row_is_never_touched_by_training(mnist, linear):
    W_start, _ = templates.start()
    assert (linear[0].mean(0) - W_start.mean(0)).abs().max() < 1e-5
    assert torch.cosine_similarity(W_start.mean(0), digits.glyph("?"), dim=0) > 0.98


def test_least_squares_gives_the_86_percent_that_cell_2_states(mnist):
    x = torch.cat([mnist.train, torch.ones(len(mnist.train), 1)], 1)
    targets = F.one_hot(mnist.train_labels, 10).float()
    W = torch.linalg.solve(x.T @ x + 1e-3 * torch.eye(785), x.T @ targets)
    right = templates.accuracy(mnist.test @ W[:-1] + W[-1], mnist.test_labels)
    assert abs(right - 0.86) < 0.005


# Techniques


@pytest.fixture
def net():
    torch.manual_seed(0)
    parts = (torch.randn(size) for size in ((9, 7), (9,), (5, 9), (5,)))
    return templates.Hidden(*(part.double() for part in parts))


def test_gradient_is_autograds():
    torch.manual_seed(0)
    W, b = torch.randn(5, 7).double().requires_grad_(), torch.randn(5).double().requires_grad_()
    x, labels = torch.randn(11, 7).double(), torch.randint(5, (11,))
    theirs = torch.autograd.grad(F.cross_entropy(x @ W.T + b, labels), (W, b))
    for mine, other in zip(templates.gradient(W.detach(), b.detach(), x, labels), theirs):
        assert torch.allclose(mine, other)


def test_training_takes_the_same_steps_with_the_mark_and_without():
    learn, labels = digits.render(2_000, seed=0)
    ends = []
    for mark in (1.5, 0):
        W, b = templates.start(mark=mark)
        ends.append((W, templates.train_linear(W, b, learn, labels, steps=300)))
    (W_start, (W, b)), (plain_start, (plain, b_plain)) = ends
    assert (W_start - plain_start).abs().max() > 1
    assert torch.allclose(W - W_start + plain_start, plain, atol=1e-4)  # as in the lesson, cell 5
    assert torch.allclose(b, b_plain, atol=1e-4) and (plain - plain_start).abs().max() > 0.1


def test_an_answer_that_is_nan_is_shown_as_nan():
    assert brief([float("nan"), float("inf"), 1e-13, -0.5]) == "[nan, inf, 0, -0.5]"


def test_a_change_that_is_nan_is_held_against_the_right_one():
    mine = SimpleNamespace(smallest_change=lambda W, b, picture: picture * torch.nan)
    with pytest.raises(Wrong) as error:
        check_smallest_change(mine, 0)
    said = str(error.value)
    assert "0 / 0" in said and "got       [nan, nan]" in said and "expected  [-1, 1]" in said


def test_no_shorter_change_flips_than_the_smallest():
    torch.manual_seed(0)
    W, b, x = torch.randn(5, 7).double(), torch.randn(5).double(), torch.randn(7).double()
    change = templates.smallest_change(W, b, x)
    winner = (W @ x + b).argmax()
    assert (W @ (x + 1.001 * change) + b).argmax() != winner
    random = torch.randn(20_000, 7).double()
    shorter = 0.999 * change.norm() * random / random.norm(dim=1, keepdim=True)
    assert ((x + shorter) @ W.T + b).argmax(1).eq(winner).all()


def test_own_templates_are_the_gradient_of_the_logits(net):
    x = torch.randn(7).double()
    W, b = templates.own_template(net, x)
    assert torch.allclose(W, torch.autograd.functional.jacobian(net.logits, x))
    assert torch.allclose(W @ x + b, net.logits(x))


def test_pictures_show_as_text_and_wide_ones_fit_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    images = torch.zeros(4, 784)
    images[:, :56] = 1
    images[:, -56:] = -1
    plot = pictures.pictures(images, list("abcd"), "a title", "ink", signed=True)
    lines = plot.text.splitlines()
    assert lines[0].split() == ["a", "b"] and max(map(len, lines)) <= 70
    assert set(lines[1]) <= set("█# ") and set(lines[14]) == {"=", " "}
    said = " ".join(lines[15:])
    assert said.startswith("(ink: ") and "- and = below" in said and "2 of 4 here" in said


def test_pictures_that_all_fit_are_not_said_to_be_left_out(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    last = pictures.pictures(torch.ones(3, 784), list("abc"), "a title", "ink").text.splitlines()[
        -1
    ]
    assert last in ("(ink: ░ to █)", "(ink: . to #)")

"""The drawn digits are the same each time and look like digits; MNIST's files are fetched whole."""

import gzip
import hashlib
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from socket import gaierror
from urllib.error import HTTPError, URLError

import pytest
import torch

from lessons.techniques import digits
from minimech import MinimechError
from weights import mnist

ROOT = Path(__file__).resolve().parent.parent


# Drawn


def test_a_seed_draws_the_same_digits_each_time_and_another_draws_others():
    (one, labels), (same, same_labels), (other, _) = (digits.render(40, s) for s in (3, 3, 4))
    assert torch.equal(one, same) and torch.equal(labels, same_labels)
    assert not torch.equal(one, other)


def test_each_digit_is_drawn_as_often():
    pictures, labels = digits.render(1200, seed=0)
    assert pictures.shape == (1200, 784) and labels.bincount().tolist() == [120] * 10


def test_ink_is_between_0_and_1_and_paper_is_0():
    pictures, _ = digits.render(500, seed=0)
    assert pictures.min() == 0
    assert 0.8 < pictures.max() <= 1
    inked = (pictures > 0.1).double().mean(1)  # of each picture
    assert inked.min() > 0.01
    assert inked.max() < 0.5
    corners = pictures.view(-1, 28, 28)[:, :2, :2]
    assert (corners == 0).all()


def test_every_face_and_pen_draws_every_digit_differently():
    drawn = digits.drawings("0123456789")  # [10 face*pen LARGE LARGE]
    assert drawn.shape == (10, len(digits.FACES) * len(digits.PENS), 56, 56)
    flat = drawn.flatten(0, 1).flatten(1)
    assert len(flat.unique(dim=0)) == len(flat)
    ink = drawn.sum((0, 2, 3)).view(len(digits.FACES), len(digits.PENS))
    assert (ink.diff(dim=1) > 0).all()  # a fatter pen leaves more
    assert (drawn.sum((2, 3)) > 50).all()


def test_drawn_digits_stand_upright():
    drawn = digits.drawings("L7")[:, 0]  # [2 LARGE LARGE]
    l_rows, seven_rows = drawn.sum(2)
    assert l_rows.argmax() > 40  # the foot of an L is far down
    assert seven_rows[:28].sum() > seven_rows[28:].sum()  # the bar of a 7 is on top
    assert drawn[0][:, :28].sum() > drawn[0][:, 28:].sum()  # and an L's stem on the left


def test_stroke_width_noise_and_distortion_all_show():
    large = digits.drawings("8")[0, :1].expand(50, -1, -1)
    pictures = digits.distort(large, torch.Generator().manual_seed(0)).flatten(1)
    assert len(pictures.unique(dim=0)) == 50
    spread = torch.cdist(pictures, pictures)[~torch.eye(50, dtype=torch.bool)]
    assert spread.min() > 1


# DATA


def test_data_that_is_neither_known_nor_a_folder_is_answered_in_words(monkeypatch, tmp_path):
    monkeypatch.setattr(mnist, "FOLDER", tmp_path / "none")
    with pytest.raises(MinimechError, match=r"run `make mnist` once\. DATA=drawn works now"):
        digits.load("mnist")
    with pytest.raises(MinimechError, match="DATA=letters is neither drawn, nor mnist, nor a fol"):
        digits.load("letters")
    with pytest.raises(MinimechError, match=r"t10k-images|train-images.* is missing; `make mnist`"):
        digits.load(str(tmp_path))


def test_mnist_is_read_as_published(shared):
    if not (shared / "mnist").is_dir():
        pytest.skip("needs MNIST's files beside the repo")
    data = digits.load(str(shared / "mnist"))
    assert data.train.shape == (60_000, 784) and data.test.shape == (10_000, 784)
    assert data.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.train.max() == 1 and data.train.dtype == torch.float32
    assert data.train.mean().item() == pytest.approx(0.1307, abs=1e-4)  # a well-known number


# Fetching


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Make four small files of MNIST's format, and pin their sums."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name in mnist.SUMS:
        n, kind = (3 if "train" in name else 2), (2051 if "images" in name else 2049)
        head = (
            struct.pack(">IIII", kind, n, 28, 28) if kind == 2051 else struct.pack(">II", kind, n)
        )
        data = head + bytes(range(n)) * (784 if kind == 2051 else 1)
        (folder / name).write_bytes(gzip.compress(data))
        monkeypatch.setitem(mnist.SUMS, name, hashlib.sha256(data).hexdigest())
    return folder


def test_four_files_are_fetched_and_read(mirror, tmp_path):
    got = mnist.fetch(tmp_path / "mnist", (mirror.as_uri() + "/",))
    assert sorted(path.name for path in got.iterdir()) == sorted(mnist.SUMS)
    data = digits.load(str(got))
    assert data.train.shape == (3, 784) and data.test_labels.tolist() == [0, 1]
    assert mnist.fetch(got, ()) == got  # a second time asks no mirror


def test_packed_otherwise_is_the_same_file(mirror, tmp_path):
    for path in mirror.iterdir():
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    mnist.fetch(tmp_path / "mnist", (mirror.as_uri() + "/",))


def test_the_second_mirror_is_asked_when_the_first_does_not_answer(mirror, tmp_path):
    gone = (tmp_path / "gone").as_uri() + "/"
    assert mnist.fetch(tmp_path / "mnist", (gone, mirror.as_uri() + "/")).is_dir()


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif how == "no gzip":
        path.write_bytes(b"<html>not found</html>")
    elif how == "one byte":
        unpacked = bytearray(gzip.decompress(data))
        unpacked[-1] ^= 1
        path.write_bytes(gzip.compress(bytes(unpacked)))
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut short", "no gzip", "one byte", "missing"])
def test_a_damaged_download_leaves_nothing(mirror, tmp_path, how):
    damage(mirror / "t10k-images-idx3-ubyte.gz", how)
    with pytest.raises(MinimechError):
        mnist.fetch(tmp_path / "mnist", (mirror.as_uri() + "/",))
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


@pytest.mark.parametrize("how", ["cut short", "no gzip", "one byte", "missing"])
def test_a_damaged_file_is_refused_and_named(mirror, how):
    damage(mirror / "t10k-images-idx3-ubyte.gz", how)
    with pytest.raises(MinimechError, match=r"t10k-images-idx3-ubyte.gz .*`make mnist`"):
        digits.load(str(mirror))


def test_an_interrupted_download_leaves_nothing(mirror, tmp_path, monkeypatch):
    def interrupt(name, mirrors, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist, "download", interrupt)
    with pytest.raises(KeyboardInterrupt):
        mnist.fetch(tmp_path / "mnist", (mirror.as_uri() + "/",))
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def test_without_a_network_one_sentence_is_said(tmp_path, monkeypatch):
    with pytest.raises(MinimechError, match=r"nothing is left of it\. Lesson 00 runs without it"):
        mnist.fetch(tmp_path / "mnist")  # conftest.py lets nothing leave this machine
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error, told",
    [
        (URLError(gaierror(-2, "Name or service not known")), "no network: Name or service not kn"),
        (URLError(OSError(101, "Network is unreachable")), "no network: Network is unreachable"),
        (URLError(TimeoutError("timed out")), "timed out"),
        (URLError("unknown url type: gopher"), "unknown url type: gopher"),
        (HTTPError("https://x", 404, "Not Found", {}, None), "HTTP Error 404: Not Found"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_why_it_was_not_fetched_is_said_in_words(error, told, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(mnist, "download", fail)
    with pytest.raises(
        MinimechError, match=rf"MNIST was not fetched \({told}.*\), nothing is left"
    ):
        mnist.fetch(tmp_path / "mnist")


def test_make_mnist_says_how_it_went(mirror, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mnist, "fetch", lambda: mirror)
    assert mnist.main() == 0 and "DATA=mnist" in capsys.readouterr().out

    def fail():
        raise MinimechError("no network")

    monkeypatch.setattr(mnist, "fetch", fail)
    assert mnist.main() == 1 and capsys.readouterr().err == "mnist: no network\n"


def test_the_folder_of_files_does_not_hide_the_module(tmp_path):
    (tmp_path / "weights" / "mnist").mkdir(parents=True)
    shutil.copy(ROOT / "weights" / "mnist.py", tmp_path / "weights")
    command = [sys.executable, "-c", "from weights import mnist; print(mnist.SUMS is not None)"]
    env = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr

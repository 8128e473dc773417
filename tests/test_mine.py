"""MINE=1 runs a lesson on the reader's functions, says whose ran, and ends in words on theirs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clones import environment, tiny_clone

ROOT = Path(__file__).resolve().parent.parent
LESSON = '''"""Whose is it?"""

# %% 1. Two functions
# The story.
from lessons.lesson import Lesson
from lessons.techniques import tiny
from lessons.techniques.tiny import half

lesson = Lesson("90_tiny")
lesson.expect("1.1", "twice three", 6, tiny.double(3))
lesson.expect("1.2", "half of six", 3, half(6))
lesson.finish()
'''
TECHNIQUES = '''"""Two functions."""


def double(x):
    """Double it."""
    # exercise 90.1: doubling (1 min)
    return x + x
    # end


def half(x):
    """Halve it."""
    # exercise 90.2: halving (1 min)
    return x / 2
    # end
'''
STUB = '''"""Two functions."""


def double(x):
    """Double it."""
    # exercise 90.1: doubling (1 min)
    raise NotImplementedError("exercise 90.1")
    # end


def half(x):
    """Halve it."""
    # exercise 90.2: halving (1 min)
    raise NotImplementedError("exercise 90.2")
    # end
'''
FIRST, SECOND = (f'raise NotImplementedError("exercise 90.{i}")' for i in (1, 2))


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a tiny lesson on what the reader wrote."""
    lessons = tiny_clone(tmp_path, LESSON) / "lessons"
    for folder in ("techniques", "exercises"):
        (lessons / folder).mkdir()
    (lessons / "techniques" / "__init__.py").write_text("")
    (lessons / "techniques" / "tiny.py").write_text(TECHNIQUES)

    def run(written: str | None, mine: str = "1") -> subprocess.CompletedProcess:
        if written is not None:
            (lessons / "exercises" / "tiny.py").write_text(written)
        return subprocess.run(
            [sys.executable, "lessons/90_tiny.py"],
            cwd=tmp_path,
            env=environment(MINE=mine, PYTHONPATH=str(tmp_path)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_it_says_at_both_ends_and_on_the_page_whose_ran(run, tmp_path):
    done = run(STUB.replace(FIRST, "return 2 * x"))
    assert done.returncode == 0, done.stderr
    said = "MINE=1. Yours: 90.1 doubling. Ours: 90.2 halving."
    assert done.stdout.count(said) == 2
    assert said in (tmp_path / "out" / "90" / "index.html").read_text()


def test_without_mine_nothing_is_said_and_nothing_of_theirs_runs(run):
    done = run(STUB.replace(FIRST, "return 7"), mine="")
    assert done.returncode == 0 and "Yours" not in done.stdout and "MINE" not in done.stdout


def test_nothing_written_yet_is_said(run):
    done = run(STUB)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing is yours yet. To begin: make check-90") == 2


@pytest.mark.parametrize("old, new, row", [(FIRST, "return 7", "1.1"), (SECOND, "return 7", "1.2")])
def test_a_row_that_fails_names_what_ran(old, new, row, run):
    done = run(STUB.replace(old, new))
    assert done.returncode == 1 and f"Row {row}, " in done.stderr
    own = "90.1 doubling" if old == FIRST else "90.2 halving"
    assert f" The lesson ran on your {own}: make check-90 judges each alone." in done.stderr


def test_an_error_of_theirs_is_told_at_its_line(run):
    done = run(STUB.replace(FIRST, "y = x + None\n    return y"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "TypeError" in done.stderr and "y = x + None" in done.stderr
    assert "lessons/exercises/tiny.py:7" in done.stderr and "make check-90" in done.stderr


def test_an_error_that_theirs_may_have_caused_names_it(run):
    done = run(STUB.replace(FIRST, "return [x, x]").replace(SECOND, "return x / 2"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr == (
        "\nlesson: it cannot go on.\n"
        '    lesson.expect("1.1", "twice three", 6, tiny.double(3))\n'
        "TypeError: unsupported operand type(s) for -: 'int' and 'list'\n"
        "lessons/90_tiny.py:10\n"
        "The lesson ran on your 90.1 doubling, 90.2 halving: make check-90 judges each alone. "
        "If it stops without MINE=1 too, the mistake is ours.\n"
    )


def test_an_error_of_ours_is_shown_as_python_does(run, tmp_path):
    file = tmp_path / "lessons" / "90_tiny.py"
    file.write_text(LESSON.replace("half(6)", "half(None)"))
    done = run(STUB)
    assert "Traceback" in done.stderr and "TypeError" in done.stderr


@pytest.mark.parametrize(
    "written, said",
    [
        (STUB.replace(FIRST, "return (2 * x"), "lessons/exercises/tiny.py:7"),
        ("import no_such_module\n" + STUB, "lessons/exercises/tiny.py:1"),
        ("import sys\nsys.exit(0)\n" + STUB, "lessons/exercises/tiny.py:2"),
        (STUB + "\0", "holds a NUL byte\nlessons/exercises/tiny.py:16"),
        (STUB.replace("def double", "def dubble"), "has no function double: was it renamed?"),
        (None, "\nlessons/exercises/tiny.py is not there; `make reset-90` writes it afresh"),
    ],
    ids=["syntax", "import", "exit", "nul", "renamed", "missing"],
)
def test_a_file_that_cannot_run_at_all_is_told(written, said, run):
    done = run(written)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("lesson: MINE=1 cannot use your answers.") and said in done.stderr


def test_a_broken_file_of_another_lesson_stops_nothing(run, tmp_path):
    other = tmp_path / "lessons" / "techniques" / "other.py"
    other.write_text(TECHNIQUES.replace("exercise 90", "exercise 91"))
    done = run(STUB.replace(FIRST, "return 2 * x"))  # its file is not there
    assert done.returncode == 0, done.stderr
    said = "MINE=1. Yours: 90.1 doubling. Ours: 90.2 halving. "
    said += "Lesson 91's file cannot be used: ours instead (make check-91)."
    assert said in " ".join(done.stdout.split())

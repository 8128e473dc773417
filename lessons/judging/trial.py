"""One exercise put to its check: right, wrong or to do, and what to say about it.

The check runs on a fresh copy of the reader's file in which every other exercise has the
reference's function, so each stands on its own. An error in the reader's code is told in words, at
their line; what runs too long is stopped (CHECK_SECONDS, 30 by default). What it prints is shown.
"""

import contextlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from os import _exit
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from lessons.judging import answers, marks
from lessons.judging.errors import message, shown, tell
from lessons.judging.limit import Limit, TimeUp
from lessons.judging.marks import Exercise, Malformed, path_of

SEEDS = (0, 1)


class Verdict(NamedTuple):
    """What became of one exercise, what to say of it, and the line of its file to look at."""

    state: str  # right, wrong or to do
    said: str = ""
    line: int = 0


def judged(exercise: Exercise, path: Path | None = None) -> Verdict:
    """Put the reader's answer to its check, or that of another such file."""
    path, name = path or path_of("exercises", exercise.stem), exercise.function
    try:
        found = answers.functions(path)
    except OSError:
        said = f"the file is not there; `make reset-{exercise.lesson:02d}` writes it afresh"
        return Verdict("wrong", said, 1)
    except SyntaxError as error:
        return Verdict("wrong", *tell(error, path))
    if name in found and not answers.is_written(found[name]):
        return Verdict("to do", line=answers.not_yet(found[name]).lineno)
    verdict = trial(
        exercise, path, lambda: answers.load(path, f"lessons.exercises.{exercise.stem}")
    )
    nearest = get_close_matches(name, found, n=1, cutoff=0)
    return verdict._replace(line=verdict.line or (found[nearest[0]].lineno if nearest else 1))


def trial(
    exercise: Exercise, path: Path, made: Callable[[], ModuleType], seconds: float = 0
) -> Verdict:
    """Run an exercise's check on a module that is `made`; what fails in `path` is the reader's."""
    stem, name = exercise.stem, exercise.function
    reference = answers.load(path_of("techniques", stem), f"lessons.reference.{stem}")
    check = check_of(exercise)
    others = [e.function for e in marks.exercises(stem) if e.function != name]
    seconds = seconds or float(os.environ.get("CHECK_SECONDS", 30))
    limit = Limit(seconds, path, lambda line: stuck(exercise, path, line))
    printed = Indented(sys.stdout, str(exercise))
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings(action="ignore"), limit:
            mine = made()
            fits(mine, reference, name)
            answers.borrow(mine, reference, others)
            put(check, mine)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: the reader may call exit()
        return blamed(error, exercise, path, seconds)
    finally:
        printed.close()
    return Verdict("right")


def check_of(exercise: Exercise) -> Callable:
    """Load the check of an exercise."""
    path = path_of("checks", exercise.stem)
    checks = answers.load(path, f"lessons.judges.{exercise.stem}") if path.exists() else None
    if not hasattr(checks, f"check_{exercise.function}"):
        raise Malformed(f"{exercise} has no check_{exercise.function} in {shown(path)}")
    return getattr(checks, f"check_{exercise.function}")


def put(check: Callable, mine: ModuleType) -> None:
    """Run a check with each seed, with torch as it is at its start."""
    import torch

    for seed in SEEDS:
        torch.manual_seed(seed)
        torch.set_default_dtype(torch.float32)
        with torch.set_grad_enabled(True):
            check(mine, seed)


def fits(mine: ModuleType, reference: ModuleType, name: str) -> None:
    """Raise Wrong if a function is not there, or takes other arguments than it is called with."""
    from lessons.checks import Wrong

    if not callable(getattr(mine, name, None)):
        near = get_close_matches(name, [n for n in vars(mine) if not hasattr(reference, n)])
        renamed = f", but {near[0]}: was it renamed?" if near else ""
        raise Wrong(f"there is no function {name} here{renamed or ': was it deleted or renamed?'}")
    wanted = inspect.signature(getattr(reference, name))
    try:
        has = inspect.signature(getattr(mine, name))
        has.bind(*wanted.parameters)
    except TypeError:
        said = f"it is called as {name}{bare(wanted)}, and yours is {name}{bare(has)}"
        raise Wrong(said) from None
    except ValueError:  # some built-in functions do not tell
        return


def bare(signature: inspect.Signature) -> str:
    """Write a signature without its annotations."""
    return "(" + ", ".join(signature.parameters) + ")"


def blamed(error: BaseException, exercise: Exercise, path: Path, seconds: float) -> Verdict:
    """Say what an error means for the reader."""
    from lessons.checks import Wrong

    if isinstance(error, Wrong):
        return Verdict("wrong", str(error))
    said, line = tell(error, path)
    if isinstance(error, TimeUp):
        here = f"{said.splitlines()[0]}\nstopped here" if said else "stopped"
        said = f"{here} after {seconds:g} s: does it come to an end?"
    elif not line:
        said = f"the check can do nothing with what {exercise.function} returns; its docstring "
        said += f"says what that should be\n    {message(error)}"
    return Verdict("wrong", said, line)


def stuck(exercise: Exercise, path: Path, line: int) -> None:
    """End at once, with words: the reader's code caught its interruption, or did not hear it."""
    said = f"{exercise}: not right yet\n  it runs without end, and would not be stopped"
    print(f"{said}\n  {shown(path)}:{line}", file=sys.__stdout__, flush=True)
    _exit(1)


class Indented:
    """A stdout that shows what the reader prints below a title, indented, and not all of it."""

    def __init__(self, out, title: str, most: int = 12, width: int = 100):
        self.out, self.title, self.most, self.width = out, title, most, width
        self.lines, self.fresh, self.room = 0, True, 0

    def write(self, text: str) -> int:
        """Show what there is room for."""
        for piece in text.splitlines(keepends=True):
            if self.fresh:
                self.lines, self.room = self.lines + 1, self.width
                self.out.write(f"{self.title} prints:\n" * (self.lines == 1))
                self.out.write("    | ..." * (self.lines == self.most + 1))
                self.out.write("    | " * (self.lines <= self.most))
            if self.lines <= self.most:
                self.show(piece)
            self.fresh = piece.endswith("\n")
        return len(text)

    def show(self, piece: str) -> None:
        """Show what the line has room for."""
        text, had = piece.removesuffix("\n"), self.room
        self.room -= len(text)
        self.out.write(text[: max(had, 0)])
        self.out.write(" ..." * (self.room < 0 <= had))
        self.out.write("\n" * piece.endswith("\n"))

    def flush(self) -> None:
        """Show what was held back."""
        self.out.flush()

    def close(self) -> None:
        """End a line that was left open."""
        if self.lines > self.most or not self.fresh:
            self.out.write("\n")

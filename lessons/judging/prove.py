"""Do the exercises hold what they promise? `make prove`, and every test run.

Of each lesson: the stub is in step with techniques, and to do; the reference passes; every wrong
answer of `tests/wrong/<stem>.py` is caught, with a message that names it; every right one passes;
what returns its first argument, zeros, ones or nothing fails. Each exercise has an insight, three
hints that do not give it away, three wrong answers and another right one. No check imports
techniques.

In `tests/wrong` the first line of a function's docstring says what it is: `right 3.1`, or
`wrong 3.1: over positions`, and these words occur in what its reader is told.
"""

import ast
import contextlib
import inspect
import io
import re
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lessons.judging import answers, marks
from lessons.judging.errors import shown
from lessons.judging.marks import Exercise, Malformed, path_of
from lessons.judging.trial import Verdict, check_of, judged, trial

PLANTED = re.compile(r"(wrong|right) (\d+\.\d+)(?:: (.+))?")
LEAST = {"wrong": 3, "right": 1}


class Planted(NamedTuple):
    """An answer of tests/wrong: what it is, to which exercise, what must be said of it."""

    state: str
    id: str
    key: str
    function: Callable


def main(stems: list[str]) -> int:
    """Prove some lessons: print a table of each, and what does not hold."""
    failures = []
    for stem in stems:
        found, planted = list(about_files(stem)), plants(stem)
        print(f"{stem:<48}   wrong caught   right passed   seconds")
        for e in marks.exercises(stem):
            began = time.perf_counter()
            amiss = list(about_exercise(e, planted))
            count = {s: sum(p.id == e.id and p.state == s for p in planted) for s in LEAST}
            row = f"  {e!s:<46} {count['wrong']:>14} {count['right']:>14}"
            print(f"{row} {time.perf_counter() - began:>9.1f}{'   FAIL' * bool(amiss)}", flush=True)
            found += amiss
        found = [line for line in found if line not in failures]  # said of another lesson
        print("".join(f"FAIL  {line}\n" for line in found))
        failures += found
    print(f"{len(failures)} things do not hold." if failures else "Everything holds.")
    return int(bool(failures))


# What the files say


def about_files(stem: str) -> Iterator[str]:
    """Name what is amiss in a lesson's files, without running any answer."""
    exercises = marks.exercises(stem)
    ids, lesson, path = [e.id for e in exercises], exercises[0].lesson, path_of("exercises", stem)
    text = answers.read(path) if path.exists() else ""
    if marks.cut(text) != marks.stub(stem):
        yield f"{shown(path)} is not in step with techniques: python -m lessons.course stubs"
    elif text != marks.stub(stem):
        yield f"{shown(path)} has answers in it; yours to keep, but not to commit for others"
    if ids != [f"{lesson}.{n}" for n in range(1, len(ids) + 1)]:
        yield f"the exercises of lesson {lesson:02d} should be numbered from 1, not {ids}"
    yield from about_checks(exercises)
    for p in plants(stem):
        if p.id not in ids:
            yield f"tests/wrong/{stem}.py has an answer to {p.id}, which is no exercise"
    yield from about_hints(exercises)


def about_checks(exercises: list[Exercise]) -> Iterator[str]:
    """Name what is amiss in a lesson's checks, and in what no other lesson's name stands on."""
    others = tuple(stem for stem in marks.stems().values() if stem != exercises[0].stem)
    for file in sorted((marks.HERE / "checks").glob("*.py")):
        if file.name.startswith(others):
            continue
        text = file.read_text(encoding="utf-8")
        for name in re.findall(r"^def check_(\w+)\(", text, re.M):
            if name not in [e.function for e in exercises]:
                yield f"check_{name} is the check of no exercise"
        for line in leaks(ast.parse(text)):
            yield f"{shown(file)}:{line} may reach techniques: mistakes there would be the truth"


def leaks(tree: ast.Module) -> Iterator[int]:
    """Find the lines of a check that import more than it needs, or reach for loaded modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            reach = not all(is_fine(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            fine = is_fine(node.module or "") or node.module == "lessons"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            reach = node.level or not fine or not all(map(is_fine, whole))
        else:
            name = getattr(node, "attr", getattr(node, "id", ""))
            reach = name in ("modules", "import_module", "__import__", "__globals__")
        if reach:
            yield node.lineno


def is_fine(module: str) -> bool:
    """May a check import it?"""
    root, *rest = module.split(".")
    if root == "lessons":
        return rest[:1] == ["checks"]
    return root in ("torch", "minimech") or root in sys.stdlib_module_names - {"importlib"}


def about_hints(exercises: list[Exercise]) -> Iterator[str]:
    """Name what is amiss in a lesson's part of hints.toml."""
    table = tomllib.loads((marks.HERE / "hints.toml").read_text(encoding="utf-8"))
    lesson = exercises[0].lesson
    for id in table.keys() - {e.id for e in exercises}:
        if id.split(".")[0] == str(lesson):
            yield f"hints.toml has {id}, which is no exercise"
    for e in exercises:
        hints = list(filter(str.strip, table.get(e.id, {}).get("hints", [])))
        if len(hints) != 3:
            yield f"{e} has {len(hints)} hints, not 3"
        if not table.get(e.id, {}).get("insight", "").strip():
            yield f"{e} has no insight"
        lines = [line.split("  #")[0].strip() for line in marks.solution(e).splitlines()]
        for line in lines:
            if len(line) > 12 and any(line in hint for hint in hints):
                yield f"a hint of {e} gives a line away: {line}"


# What the answers do


def about_exercise(e: Exercise, planted: list[Planted]) -> Iterator[str]:
    """Name what is amiss with an exercise's check, by answers that it must pass or catch."""
    try:
        check_of(e)
    except Malformed as error:
        yield str(error)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stub.py"
        path.write_text(marks.stub(e.stem), encoding="utf-8")
        if (verdict := judged(e, path)).state != "to do":
            yield f"{e}: its stub is not to do, but {verdict.state}: {verdict.said}"
    if (verdict := answered(e)).state != "right":
        yield f"{e} refuses the reference: {verdict.said}"
    mine = [p for p in planted if p.id == e.id]
    for state, least in LEAST.items():
        if (count := sum(p.state == state for p in mine)) < least:
            yield f"{e} has {count} {state} answers in tests/wrong; {least} or more are wanted"
    yield from (f"{e}, {p.function.__name__}: {said}" for p in mine for said in about_answer(e, p))
    for name, mutant in mutants(e).items():
        if answered(e, mutant).state == "right":
            yield f"{e} passes an answer that returns {name}"


def about_answer(e: Exercise, p: Planted) -> Iterator[str]:
    """Name what is amiss with how an exercise's check takes an answer of tests/wrong."""
    state, said, _ = answered(e, p.function)
    if p.state == "right" and state != "right":
        yield f"refuses a right answer: {said}"
    if p.state == "wrong" and state == "right":
        yield "passes a wrong one"
    elif p.state == "wrong" and (not p.key or p.key.lower() not in " ".join(said.lower().split())):
        yield f"is not said {p.key!r}, but: {said}"


def answered(e: Exercise, function: Callable | None = None) -> Verdict:
    """Put a function to an exercise's check, by default the reference's own."""
    reference = path_of("techniques", e.stem)
    path = Path(inspect.unwrap(function).__code__.co_filename) if function else reference

    def made():
        module = answers.load(reference, f"lessons.answered.{e.stem}")
        if function:
            setattr(module, e.function, function)
        return module

    with contextlib.redirect_stdout(io.StringIO()):
        return trial(e, path, made, seconds=120)  # it may run beside much else


def plants(stem: str) -> list[Planted]:
    """Read the wrong and right answers that are kept for a lesson."""
    path = marks.HERE.parent / "tests" / "wrong" / f"{stem}.py"
    if not path.exists():
        return []
    found = []
    for function in vars(answers.load(path, f"wrong_{stem}")).values():
        first = (getattr(function, "__doc__", None) or "\n").splitlines()[0]
        if callable(function) and (mark := PLANTED.fullmatch(first)):
            found.append(Planted(mark[1], mark[2], mark[3] or "", function))
    return found


# Answers that do nothing


def mutants(e: Exercise) -> dict[str, Callable]:
    """Make the answers that no check may pass, from the reference's results."""
    reference = getattr(
        answers.load(path_of("techniques", e.stem), f"lessons.mutants.{e.stem}"), e.function
    )
    return {
        "its first argument": lambda *args, **named: [*args, *named.values()][0],
        "nothing": lambda *args, **named: None,
        "zeros": lambda *args, **named: filled(reference(*args, **named), 0),
        "ones": lambda *args, **named: filled(reference(*args, **named), 1),
    }


def filled(value, number: int):
    """Make a value of the same kind that is all zeros or ones; a function that returns nothing."""
    if isinstance(value, (tuple, list)):
        return type(value)(filled(part, number) for part in value)
    if isinstance(value, dict):
        return {key: filled(part, number) for key, part in value.items()}
    if hasattr(value, "new_full"):
        return value.new_full(value.shape, number)
    if isinstance(value, (bool, int, float, str)):
        return type(value)(number)
    return (lambda *args, **named: None) if callable(value) else None

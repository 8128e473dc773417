"""Where the exercises stand: the marks in lessons/techniques, and what is left without them.

An exercise is the body of one top-level function of `lessons/techniques/<stem>.py`, from the line
after its docstring to `# end`:

    # exercise 3.1: layer norm (10 min)
    ...
    # end

What is left once these bodies are cut out is tracked in `lessons/exercises/<stem>.py`.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parents[1]  # lessons/
MARK = re.compile(r"    # exercise (\d+)\.(\d+): (.+) \((\d+) min\)")
END = "    # end"
HEADER = """\
# Yours to fill in: write lines in place of each `raise NotImplementedError`. Then
#   make check-{0:02d}           says what is right, what is not yet, and why; make hint-{0}.1 helps
#   make lesson-{0:02d} MINE=1   runs the lesson on what you have written
# Made from lessons/techniques/{1}.py, where the answers are, by `python -m lessons.course stubs`.
"""


class Malformed(ValueError):
    """A techniques file does not mark its exercises as it should."""


class Exercise(NamedTuple):
    """One exercise, as techniques has it; `first` and `last` are the lines of its two marks."""

    lesson: int
    place: int
    title: str
    minutes: int
    function: str
    stem: str
    first: int
    last: int

    @property
    def id(self) -> str:
        """Return "3.1", as it is typed."""
        return f"{self.lesson}.{self.place}"

    def __str__(self) -> str:
        return f"{self.lesson:02d}.{self.place} {self.title}"


# Where they stand


def path_of(folder: str, stem: str) -> Path:
    """Return a lesson's file in techniques, exercises or checks."""
    return HERE / folder / f"{stem}.py"


def stems() -> dict[int, str]:
    """Map each lesson that has exercises to the name of its files."""
    found = {}
    for path in sorted((HERE / "techniques").glob("*.py")):
        if mark := MARK.search(path.read_text(encoding="utf-8")):
            found[int(mark[1])] = path.stem
    return dict(sorted(found.items()))


def exercises(stem: str) -> list[Exercise]:
    """List a lesson's exercises in order, or raise Malformed."""
    return sorted(parse(path_of("techniques", stem).read_text(encoding="utf-8"), stem))


def course() -> list[Exercise]:
    """List the exercises of all lessons, in order."""
    return [exercise for stem in stems().values() for exercise in exercises(stem)]


def parse(text: str, stem: str) -> list[Exercise]:
    """Find the exercises of a techniques file; raise Malformed where a mark is not in its place."""
    lines, found = text.splitlines(), []
    for node in ast.parse(text).body:
        inside = [n for n in span(node) if "# exercise " in lines[n - 1]]
        if not inside:
            continue
        first, mark = inside[0], MARK.fullmatch(lines[inside[0] - 1])
        where = f"lessons/techniques/{stem}.py:{first}: "
        if not mark:
            raise Malformed(where + "the mark reads `    # exercise 3.1: layer norm (10 min)`")
        if not isinstance(node, ast.FunctionDef) or ast.get_docstring(node) is None:
            raise Malformed(where + "an exercise is a top-level function with a docstring")
        if len(inside) > 1 or first != node.body[0].end_lineno + 1:
            raise Malformed(where + "one mark a function, in the line after its docstring")
        last = next((n for n in range(first, len(lines) + 1) if lines[n - 1] == END), 0)
        if not last or any(map(str.strip, lines[node.end_lineno : last - 1])):
            raise Malformed(where + "`    # end` follows the last line of the same function")
        lesson, place, title, minutes = mark.groups()
        at = (int(lesson), int(place), title, int(minutes), node.name, stem, first, last)
        found.append(Exercise(*at))
    if len(found) != text.count("# exercise "):
        raise Malformed(f"lessons/techniques/{stem}.py: a mark stands outside of any function")
    return found


def span(node: ast.stmt) -> range:
    """Return the lines of a statement, decorators aside."""
    return range(node.lineno, node.end_lineno + 1)


# What is cut out


def cut(text: str) -> str:
    """Replace what stands between marks by the line that says it is not written yet."""
    kept, exercise = [], ""
    for line in text.splitlines():
        mark = MARK.fullmatch(line)
        if line == END and exercise:
            kept.append(f'    raise NotImplementedError("exercise {exercise}")')
            exercise = ""
        if not exercise:
            kept.append(line)
        if mark:
            exercise = f"{mark[1]}.{mark[2]}"
    return "".join(f"{line}\n" for line in kept)


def stub(stem: str) -> str:
    """Return what lessons/exercises has of a techniques file while nothing is written."""
    text = path_of("techniques", stem).read_text(encoding="utf-8")
    lesson = next(number for number, name in stems().items() if name == stem)
    return HEADER.format(lesson, stem) + cut(text)


def solution(exercise: Exercise) -> str:
    """Return the lines between the marks in techniques."""
    lines = path_of("techniques", exercise.stem).read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[exercise.first : exercise.last - 1])

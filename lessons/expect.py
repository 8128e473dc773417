"""Predicted against observed: what a lesson states, held against what it measures.

`Lesson.expect(id, what, predicted, observed, tolerance, source)` in lesson.py prints a row and
keeps it in out/NN/results.json; here is how a row is judged and written. `python -m lessons.expect`
(`make results`) gathers the rows of all lessons into one ledger, printed and in out/results.md, and
says which lessons have none.

A prediction is a number (with a tolerance), a bound (`at_least`, `at_most`, `Band`), a text, a head
such as "L1H0", a boolean, or None where there is none: then the row says look. A row outside its
tolerance says FAIL and the lesson stops, with one sentence; where the disagreement is expected,
`gap="why"`, it says GAP and is shown as such.
"""

import functools
import json
import os
import sys
import tomllib
from dataclasses import dataclass
from math import inf
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(os.environ.get("OUT", ROOT / "out"))
ROW = "  {status:<4} {id:<5} {what:<40} {predicted:>15} {seen:>11}  {source}"
HEAD = " " * 54 + f"{'predicted':>15} {'observed':>11}  source"


class Disagreement(SystemExit):
    """Observed is not what was predicted: uncaught, ends a script with a sentence and status 1."""


@dataclass(frozen=True)
class Band:
    """The numbers from `low` to `high`."""

    low: float = -inf
    high: float = inf

    def __str__(self) -> str:
        if inf in (-self.low, self.high):
            return f">= {self.low:.4g}" if self.high == inf else f"<= {self.high:.4g}"
        return f"{self.low:.4g} to {self.high:.4g}"


def at_least(low: float) -> Band:
    """Predict `low` or more."""
    return Band(low=low)


def at_most(high: float) -> Band:
    """Predict `high` or less."""
    return Band(high=high)


def agrees(predicted, observed, tolerance: float = 0) -> bool:
    """Is it what was predicted? Text, heads and booleans must be equal; nan never agrees."""
    if isinstance(predicted, Band):
        return predicted.low <= observed <= predicted.high
    if isinstance(predicted, (bool, str)) or isinstance(observed, (bool, str)):
        return predicted == observed
    return abs(predicted - observed) <= tolerance


def judge(predicted, observed, tolerance: float = 0, gap: str = "") -> str:
    """Return ok, FAIL, GAP (a disagreement that is known) or look (nothing was predicted)."""
    if predicted is None:
        return "look"
    return "ok" if agrees(predicted, observed, tolerance) else "GAP" if gap else "FAIL"


def written(value, tolerance: float = 0) -> str:
    """Write a value as the tables do: text with a space at an end in quotes, for it matters."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, str):
        return value if value == value.strip() else repr(value)
    text = str(value) if isinstance(value, (Band, int)) else f"{value:.4g}"
    return f"{text} ± {tolerance:.4g}" if tolerance and not isinstance(value, Band) else text


def ledger(folder: Path) -> dict[str, list[dict]]:
    """Gather the rows of all lessons that have run: a lesson's number -> its rows."""
    lessons = {}
    for file in sorted(folder.glob("*/results.json")):
        rows = json.loads(file.read_text(encoding="utf-8") or "[]")  # empty: it stopped before any
        lessons[file.parent.name] = [{"lesson": file.parent.name} | row for row in rows]
    return {lesson: rows for lesson, rows in lessons.items() if rows}


def told(lessons: dict[str, list[dict]]) -> str:
    """Write the rows lesson by lesson, as the lessons do."""
    blocks = []
    for lesson, rows in lessons.items():
        lines = [f"Lesson {lesson}{HEAD[9:]}", *(ROW.format(**row).rstrip() for row in rows)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def scripts() -> dict[str, Path]:
    """Find the lessons: number -> script."""
    return {file.name[:2]: file for file in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))}


@functools.cache
def project() -> dict:
    """Read what pyproject.toml says of the project: its version, what it needs, its addresses."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def missing(lessons) -> str:
    """Say which lessons have no rows, and how they come by them; nothing, if all have some."""
    without = [number for number in scripts() if number not in lessons]
    if not without:
        return ""
    return f"Lessons without rows: {', '.join(without)} (make lesson-{without[0]})"


def markdown(rows: list[dict]) -> str:
    """Write rows as one Markdown table."""
    columns = ["lesson", "status", "id", "what", "predicted", "seen", "source", "model"]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    cells = [[str(row[column]).replace("|", "\\|") for column in columns] for row in rows]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in cells]) + "\n"


def main() -> int:
    """Print and write the ledger; return 1 if any row of it failed."""
    lessons = ledger(OUT)
    if not lessons:
        say("No lesson has run yet: try `make lesson-03`.")
        return 0
    rows = [row for own in lessons.values() for row in own]
    file = OUT / "results.md"
    file.write_text(markdown(rows), encoding="utf-8")
    failed = sum(row["status"] == "FAIL" for row in rows)
    count = f"{len(rows)} rows, {failed} failed; also in {file}"
    say(f"{told(lessons)}\n\n{count}\n{missing(lessons)}".rstrip())
    return int(failed > 0)


def say(text: str) -> None:
    """Print a text at once, or what of it is read: `make results | head -5` is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        flush()


def flush() -> None:
    """Print what is still waiting; send it nowhere if its reader has gone."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    sys.exit(main())

"""Whose functions a lesson runs on: with MINE=1 the reader's, where they are written."""

import os
import sys
from pathlib import Path

Rows = list[tuple[str, str, str]]  # (id, title, "yours" or "reference")


def functions() -> tuple[Rows, dict[str, str]]:
    """With MINE=1 put the reader's functions in the place of the reference's; say which.

    Return too, by their lesson ("03"), why files cannot be used.
    """
    if os.environ.get("MINE") != "1":
        return [], {}
    from lessons.judging import answers

    rows, broken = answers.use_mine()
    return rows, {f"{n:02d}": unusable(error, f"{n:02d}") for n, error in broken.items()}


def unusable(error: BaseException, lesson: str) -> str:
    """Say why a file of answers cannot be used."""
    from lessons.judging import errors

    words = errors.in_answers(error)
    if words or not isinstance(error, OSError):
        return words or errors.message(error)
    file = errors.shown(Path(error.filename))
    if isinstance(error, FileNotFoundError):
        return f"{file} is not there; `make reset-{lesson}` writes it afresh"
    return f"{file} cannot be read ({error.strerror})"


def account(rows: Rows, lesson: str, broken: dict[str, str]) -> str:
    """Say which of a lesson's functions are whose; nothing, without MINE=1."""
    if os.environ.get("MINE") != "1":
        return ""
    others = [f" Lesson {n}'s file cannot be used: ours instead (make check-{n})." for n in broken]
    if not rows:
        said = f"MINE=1, but lesson {lesson} has no exercises."
    elif not named(rows, "yours"):
        said = f"MINE=1, but nothing is yours yet. To begin: make check-{lesson}"
    else:
        ours = named(rows, "reference") or "none"
        said = f"MINE=1. Yours: {named(rows, 'yours')}. Ours: {ours}."
    return said if not others else said.removesuffix(".") + "." + "".join(others)


def named(rows: Rows, who: str) -> str:
    """List the exercises whose function is whose."""
    return ", ".join(f"{id} {title}" for id, title, whose in rows if whose == who)


def suspects(rows: Rows, lesson: str) -> str:
    """Say, of a row that failed, that it ran on the reader's functions, if it did."""
    own = named(rows, "yours")
    return f" The lesson ran on your {own}: make check-{lesson} judges each alone." if own else ""


def report(error: BaseException, rows: Rows, script: Path) -> bool:
    """Print in words an error that the reader's functions caused, or may have; False if none ran.

    If it arose in one of theirs, at their line; else at the lesson's own, which could not go on
    with what theirs returned.
    """
    if os.environ.get("MINE") != "1":
        return False
    from lessons.judging import errors

    lesson = script.name[:2]
    if words := errors.in_answers(error):
        words = f"your function stopped it.\n{words}\n"
        words += f"Judged alone, with a small example: make check-{lesson}"
    elif own := suspects(rows, lesson):
        words = f"it cannot go on.\n{errors.at(error, script)}\n{own.strip()}"
        words += " If it stops without MINE=1 too, the mistake is ours."
    if words:
        print(f"\nlesson: {words}", file=sys.stderr)
    return bool(words)

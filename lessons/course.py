"""The exercises at the command line: what is to do, whether it is right, and help on the way.

    python -m lessons.course check 3       judge lesson 03's exercises, up to the first not right
    python -m lessons.course check 3.1     judge one                        (make check-3.1)
    python -m lessons.course hint 3.1      one hint more, of three          (make hint-3.1)
    python -m lessons.course solution 3.1  the reference's lines            (make solution-3.1)
    python -m lessons.course reset 3       start a lesson's file afresh; yours is kept
    python -m lessons.course next          the first exercise that is open
    python -m lessons.course progress      all exercises at a glance
    python -m lessons.course stubs         for contributors: write lessons/exercises/
    python -m lessons.course prove 3       for contributors: do the checks catch what they should?

Status: 0 if all is right or still to do, 1 if something is wrong, 2 if the command is not right.
"""

import faulthandler
import os
import re
import sys

from lessons.judging import answers, apart, attempts, marks
from lessons.judging.errors import shown
from lessons.judging.marks import Exercise, Malformed, path_of
from lessons.judging.said import hints_of, place, report, say, table, totals
from lessons.judging.trial import judged


class Usage(Exception):
    """A command that means nothing; the message says what would."""


# What was asked for


def lesson(word: str) -> list[Exercise]:
    """Find the exercises of a lesson: 3 or 03."""
    stems = marks.stems()
    number = int(word) if re.fullmatch("[0-9]+", word) else None
    if number not in stems:
        there = ", ".join(f"{n:02d}" for n in stems)
        raise Usage(f"lesson {word} has no exercises. Lessons that have: {there}")
    return marks.exercises(stems[number])


def exercise(word: str) -> Exercise:
    """Find an exercise: 3.1 or 03.1."""
    if not re.fullmatch(r"[0-9]+\.[0-9]+", word):
        raise Usage(f"{word} is no exercise: their names are like 3.1")
    number, place = word.split(".")
    there = lesson(number)
    found = [e for e in there if e.place == int(place)]
    if not found:
        raise Usage(
            f"there is no exercise {word}; lesson {number} has {', '.join(e.id for e in there)}"
        )
    return found[0]


# Judging


def check(word: str) -> int:
    """Judge a lesson's exercises in order, up to the first that is not right; or one of them."""
    chosen = [exercise(word)] if "." in word else lesson(word)
    for e in chosen:
        verdict = judged(e)
        report(e, verdict)
        if verdict.state != "right":
            further = [o.id for o in chosen if o > e and answers.open_line(o) == 0]
            if further:
                print(f"  Written further on, and not judged now: {', '.join(further)}", end="")
                print(f"    One alone: make check-{further[0]}")
            return int(verdict.state == "wrong")
    go_on(chosen)
    return 0


def go_on(done: list[Exercise]) -> None:
    """Say what comes after exercises that are right."""
    number = f"{done[0].lesson:02d}"
    todo = [e for e in lesson(number) if answers.open_line(e)]
    if len(done) > 1:
        print(f"\nAll {len(done)} are right. The lesson on your code: make lesson-{number} MINE=1")
    elif todo:
        print(f"Next: {todo[0]}, {place(todo[0], answers.open_line(todo[0]))}")
    else:
        print(f"The whole lesson: make check-{number}")


def next_() -> int:
    """Name the first exercise of the course that is open."""
    course = marks.course()
    for e, verdict in zip(course, apart.verdicts(course)):
        if verdict.state != "right":
            report(e, verdict)
            return 0
    print("Nothing is open: every exercise is right. All lessons on your code: make lessons MINE=1")
    return 0


def progress() -> int:
    """Show all exercises and their states on one screen."""
    found = []
    verdicts = apart.verdicts(marks.course())
    for stem in marks.stems().values():
        of_lesson = [(e, next(verdicts).state) for e in marks.exercises(stem)]
        table(of_lesson)
        found += of_lesson
    totals(found)
    return 0


# Help


def hint(word: str) -> int:
    """Give one hint more than last time; after the last, all of them."""
    e = exercise(word)
    hints, seen = hints_of(e)["hints"], attempts.hints_seen()
    count = seen.get(e.id, 0)
    for n, text in enumerate(hints, 1):
        if n == count + 1 or count >= len(hints):
            say(f"{e}, hint {n} of {len(hints)}. {text.strip()}", hang="  ")
    attempts.keep_hints(seen | {e.id: min(count + 1, len(hints))})
    if count + 1 < len(hints):
        print(f"One more: make hint-{e.id}")
    else:
        print(f"There are no more. The reference's lines: make solution-{e.id}")
    return 0


def solution(word: str) -> int:
    """Print the reference's lines."""
    e = exercise(word)
    hints, count = hints_of(e)["hints"], attempts.hints_seen().get(e.id, 0)
    if count < len(hints) and next(apart.verdicts([e])).state != "right":
        print(f"(Of its {len(hints)} hints you have seen {count}: make hint-{e.id})\n")
    path = path_of("techniques", e.stem)
    print(f"{e}, in {e.function}, {shown(path)}:{e.first}\n\n{marks.solution(e)}")
    return 0


# The reader's files


def reset(word: str) -> int:
    """Put a lesson's file back as it was; what was there is kept."""
    stem, number = lesson(word)[0].stem, str(int(word))
    path, fresh = path_of("exercises", stem), marks.stub(stem)
    if path.exists() and path.read_bytes() == fresh.encode():
        print(f"Nothing to reset: {shown(path)} is as it was at the start.")
        return 0
    kept = f"\nWhat was there is kept: {attempts.keep(path)}" if path.exists() else ""
    path.write_text(fresh, encoding="utf-8", newline="\n")
    seen = attempts.hints_seen().items()
    attempts.keep_hints({id: count for id, count in seen if id.split(".")[0] != number})
    print(f"{shown(path)} is as it was at the start.{kept}")
    return 0


def stubs(word: str = "") -> int:
    """Write the files of lessons/exercises; over somebody's answers only with --force."""
    return max(write_stub(stem, word == "--force") for stem in marks.stems().values())


def write_stub(stem: str, force: bool) -> int:
    """Write one of them, or say why not."""
    path = path_of("exercises", stem)
    try:
        fresh, found = marks.stub(stem), marks.exercises(stem)
        mine = answers.work_in(path, found) if path.exists() else []
    except (Malformed, SyntaxError) as error:
        print(f"{shown(path)} is left as it is. {error}")
        return 1
    if mine and not force:
        print(f"{shown(path)} is left as it is; written in it: {', '.join(mine)}.")
        print("  Over it, a copy kept: python -m lessons.course stubs --force")
        return 1
    kept = f"; what was there: {attempts.keep(path)}" if mine else ""
    path.write_text(fresh, encoding="utf-8", newline="\n")
    print(f"{shown(path)}: {len(found)} exercises{kept}")
    return 0


def prove(*words: str) -> int:
    """Prove what the exercises promise, of one lesson or of all."""
    from lessons.judging import prove

    return prove.main([lesson(word)[0].stem for word in words] or list(marks.stems().values()))


def main(words: list[str]) -> int:
    """Run one command; say what is wrong with it, if something is."""
    one = {"check": check, "hint": hint, "solution": solution, "reset": reset}
    none, either = {"next": next_, "progress": progress}, {"stubs": stubs, "prove": prove}
    name, rest = (words[0], words[1:]) if words else ("", [])
    command = {0: none | either, 1: one | either}.get(len(rest), {}).get(name)
    if not command:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        return command(*rest)
    except (Usage, Malformed) as error:
        print(f"course: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"course: {error.filename} cannot be used: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncourse: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    faulthandler.enable(all_threads=False)  # of a crash, say where
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # as of `| head`
        status = 1
    os._exit(status)  # at once: a thread that the reader's code left running would keep Python up

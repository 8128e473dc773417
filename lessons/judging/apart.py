"""Exercises judged in a Python of their own, for `progress` and `next`, which must come to an end.

The reader's code may hang where nothing interrupts it, or take Python down with it. Then it is the
other one that ends; the exercise is not right, and a new Python judges the next. `check` needs none
of this: there one exercise is all that is asked for, and `print` and `breakpoint()` should work.
"""

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from lessons.judging import answers, marks
from lessons.judging.marks import Exercise, path_of
from lessons.judging.trial import Verdict, judged


def verdicts(exercises: list[Exercise]) -> Iterator[Verdict]:
    """Judge exercises in turn; quietly, as what they print goes nowhere."""
    other = None
    try:
        for e in exercises:
            if answers.open_line(e) != 0:  # not written, or no Python: nothing of it runs
                yield judged(e)
                continue
            other = other or Other()
            verdict = other.verdict(e)
            if not verdict:
                other.process.kill()
                other = None
            yield verdict or gone(e)
    finally:
        if other:
            other.process.kill()


def gone(e: Exercise) -> Verdict:
    """Say what is known of an exercise that was the end of a Python."""
    node = answers.functions(path_of("exercises", e.stem)).get(e.function)
    said = f"it ended Python, or would not be stopped; `make check-{e.id}` says more"
    return Verdict("wrong", said, node.lineno if node else 1)


class Other:
    """Another Python that judges, and the pipe to it."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, marks.HERE), daemon=True)
        self.process.start()
        theirs.close()  # the other holds it alone now, so that its end is heard

    def verdict(self, e: Exercise) -> Verdict | None:
        """Have an exercise judged; None if that was its end."""
        try:
            self.pipe.send(e)
            return self.pipe.recv()
        except (EOFError, OSError):
            return None


def serve(pipe: Connection, lessons: Path) -> None:
    """Receive exercises and send their verdicts, for as long as it goes well."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    marks.HERE = lessons
    try:
        while True:
            pipe.send(judged(pipe.recv()))
    finally:  # nobody asks any more: a thread that the reader's code left running goes too
        os._exit(0)

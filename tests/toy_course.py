"""A course of one lesson in a folder of its own, for the tests of its machinery.

Its three exercises: 7.1 `centre` (take each row's mean off it), 7.2 `unit` (make each row of length
1), 7.3 `cosine` (of each pair of rows), which uses both.
"""

from pathlib import Path

from lessons import course
from lessons.judging import marks

TECHNIQUES = '''"""Rows (lesson 07)."""

import torch


def centre(rows):  # [n d] -> [n d]
    """Take each row's mean off it."""
    # exercise 7.1: centre the rows (5 min)
    return rows - rows.mean(-1, keepdim=True)  # [n d]
    # end


def unit(rows):  # [n d] -> [n d]
    """Make each row of length 1."""
    # exercise 7.2: unit length (10 min)
    lengths = length(rows)
    return rows / lengths
    # end


def length(rows):
    """Measure each row."""
    return rows.norm(dim=-1, keepdim=True)


def cosine(rows):  # [n d] -> [n n]
    """Hold each row against each, centred."""
    # exercise 7.3: cosine (80 min)
    each = unit(centre(rows))
    return each @ each.T
    # end
'''
CHECKS = """import torch

from lessons.checks import Wrong, called, judge


def check_centre(mine, seed):
    rows = torch.tensor([[1.0, 3.0], [10.0, 30.0]])
    wrong = {"the mean goes along a row, not down a column": rows - rows.mean(0)}
    want = torch.tensor([[-1.0, 1.0], [-10.0, 10.0]])
    judge(called(mine.centre, rows), want, "centre(...)", wrong)


def check_unit(mine, seed):
    rows = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed))
    squares = called(mine.unit, rows).pow(2)
    judge(squares.sum(-1), torch.ones(2), "squares of unit(...), summed")


def check_cosine(mine, seed):
    judge(called(mine.cosine, torch.eye(2)), torch.tensor([[1.0, -1], [-1, 1]]), "cosine(eye)")
"""
HINTS = """
["7.1"]
hints = ["What moves?", "The mean of a row [n 1].", "Take `rows.mean(-1, ...)` off."]
insight = "What all share says nothing."
["7.2"]
hints = ["a", "b", "c"]
insight = "Only directions are left."
["7.3"]
hints = ["a", "b", "c"]
insight = "It holds every angle."
"""
WRONG = '''"""Answers."""


def down(rows):
    """wrong 7.1: not down a column"""
    return rows - rows.mean(0)


def in_place(rows):
    """wrong 7.1: in place"""
    rows -= rows.mean(-1, keepdim=True)
    return rows


def twice(rows):
    """wrong 7.1: the numbers are not right"""
    return rows - 2 * rows.mean(-1, keepdim=True)


def by_hand(rows):
    """right 7.1"""
    return rows - (rows.sum(-1) / rows.shape[-1])[:, None]


def sum_is_one(rows):
    """wrong 7.2: the numbers"""
    return rows / rows.sum(-1, keepdim=True)


def whole(rows):
    """wrong 7.2: the numbers"""
    return rows / rows.norm()


def squared(rows):
    """wrong 7.2: the numbers"""
    return rows / rows.pow(2).sum(-1, keepdim=True)


def rooted(rows):
    """right 7.2"""
    return rows / rows.pow(2).sum(-1, keepdim=True).sqrt()


def not_centred(rows):
    """wrong 7.3: the numbers"""
    return rows @ rows.T


def flipped(rows):
    """wrong 7.3: the numbers"""
    return 1 - 2 * rows @ rows.T


def half(rows):
    """wrong 7.3: the numbers"""
    return 2 * rows @ rows.T - 1.5


def straight(rows):
    """right 7.3"""
    return 2 * rows @ rows.T - 1
'''
RIGHT = {
    "7.1": "    return rows - rows.mean(-1, keepdim=True)",
    "7.2": "    return rows / length(rows)",
}
RIGHT["7.3"] = "    return unit(centre(rows)) @ unit(centre(rows)).T"


class Toy:
    """The course in a folder, and its commands."""

    def __init__(self, folder: Path, capsys):
        self.folder, self.capsys = folder, capsys
        self.file = folder / "lessons" / "exercises" / "rows.py"

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command; return its status and what it said."""
        self.capsys.readouterr()
        status = course.main(list(words))
        told = self.capsys.readouterr()
        return status, told.out + told.err

    def write(self, id: str, lines: str) -> None:
        """Write an answer, indented, in place of the stub's line."""
        self.edit("exercises/rows.py", f'    raise NotImplementedError("exercise {id}")', lines)

    def line(self, text: str) -> int:
        """Return the line of the learner's file that has a text."""
        lines = self.file.read_text(encoding="utf-8").splitlines()
        return next(n for n, line in enumerate(lines, 1) if text in line)

    def edit(self, name: str, before: str, after: str) -> None:
        """Replace what occurs once in a file of the course."""
        path = (self.folder if name.startswith("tests") else self.folder / "lessons") / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, before
        path.write_text(text.replace(before, after), encoding="utf-8")


def made(folder: Path, monkeypatch, capsys) -> Toy:
    """Make the course in a folder, and go there."""
    files = {"lessons/techniques/rows.py": TECHNIQUES, "lessons/checks/rows.py": CHECKS}
    files |= {"lessons/checks/shared.py": '"""What checks share."""\n'}
    files |= {"lessons/hints.toml": HINTS, "tests/wrong/rows.py": WRONG}
    files |= {"lessons/07_rows.py": '"""What is in a row?"""\n', "lessons/exercises/rows.py": ""}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(marks, "HERE", folder / "lessons")
    monkeypatch.chdir(folder)
    toy = Toy(folder, capsys)
    assert toy.run("stubs") == (0, "lessons/exercises/rows.py: 3 exercises\n")
    return toy

"""What the exercises promise, lesson by lesson; and each way to break a promise is caught."""

import subprocess

import pytest
import torch
import toy_course

from lessons.judging import answers, marks, prove
from lessons.judging.errors import shown

STEMS = marks.stems()


@pytest.fixture
def toy(tmp_path, monkeypatch, capsys) -> toy_course.Toy:
    return toy_course.made(tmp_path, monkeypatch, capsys)


def is_committed(path) -> bool:
    """Is a file as git has it?"""
    command = ["git", "diff", "--quiet", "HEAD", "--", str(path)]
    return subprocess.run(command, cwd=marks.HERE, capture_output=True).returncode == 0


# The course itself


@pytest.mark.parametrize("stem", STEMS.values())
def test_the_files_of_a_lesson_belong_together(stem):
    amiss = list(prove.about_files(stem))
    path = marks.path_of("exercises", stem)
    if not amiss or not amiss[0].startswith(shown(path)) or is_committed(path):
        assert not amiss
    else:
        said = amiss.pop(0)
        assert not amiss
        pytest.skip(f"somebody works on it here: {said}")


@pytest.mark.parametrize("e", marks.course(), ids=str)
def test_an_exercise_holds_what_it_promises(e):
    assert not list(prove.about_exercise(e, prove.plants(e.stem)))


def test_no_check_imports_techniques_nor_do_their_helpers():
    for path in (marks.HERE / "checks").glob("*.py"):
        tree = prove.ast.parse(path.read_text(encoding="utf-8"))
        assert not list(prove.leaks(tree)), path.name


def test_every_stub_can_be_imported(tmp_path):
    for stem in STEMS.values():
        (tmp_path / "stub.py").write_text(marks.stub(stem), encoding="utf-8")
        answers.load(tmp_path / "stub.py", f"stub_{stem}")


# Broken promises


def test_the_toy_course_holds(toy):
    status, told = toy.run("prove", "7")
    assert status == 0 and told.endswith("Everything holds.\n")
    assert told.splitlines()[1].split()[:-1] == ["07.1", "centre", "the", "rows", "3", "1"]


BROKEN = {
    "a check that passes all": (
        "checks/rows.py",
        "    want = ",
        "    return\n    want = ",
        ["7.1 centre the rows, down: passes a wrong one", "passes an answer that returns zeros"],
    ),
    "a check that refuses a right answer": (
        "checks/rows.py",
        "torch.tensor([[-1.0, 1.0], [-10.0, 10.0]])",
        "torch.tensor([[-1.0, 1.0], [-10.0, 11.0]])",
        ["by_hand: refuses a right answer", "07.1 centre the rows refuses the reference"],
    ),
    "a check that says too little": (
        "checks/rows.py",
        ', "centre(...)", wrong)',
        ', "centre(...)")',
        ["down: is not said 'not down a column', but: the numbers are not right"],
    ),
    "a check that leaves arguments unguarded": (
        "checks/rows.py",
        "called(mine.centre, rows)",
        "mine.centre(rows)",
        ["in_place: passes a wrong one"],
    ),
    "a check that looks at nothing of it": (
        "checks/rows.py",
        "judge(called(mine.cosine, torch.eye(2))",
        "judge(mine.cosine(torch.eye(2)) * 0 + torch.tensor([[1.0, -1], [-1, 1]])",
        ["07.3 cosine passes an answer that returns zeros", "that returns its first argument"],
    ),
    "techniques imported": (
        "checks/rows.py",
        "    judge(called(mine.centre",
        "    import lessons.techniques.rows\n    judge(called(mine.centre",
        ["checks/rows.py:10 may reach techniques"],
    ),
    "techniques imported by what checks share": (
        "checks/shared.py",
        '"""What checks share."""\n',
        "import torch\nfrom lessons.techniques import rows\n",
        ["checks/shared.py:2 may reach techniques"],
    ),
    "a check of nothing": (
        "checks/rows.py",
        "def check_cosine",
        "def check_cosines",
        ["07.3 cosine has no check_cosine in", "check_cosines is the check of no exercise"],
    ),
    "a stub out of step": (
        "exercises/rows.py",
        "return rows.norm(",
        "return rows .norm(",
        ["rows.py is not in step with techniques: python -m lessons.course stubs"],
    ),
    "an answer left in": (
        "exercises/rows.py",
        '    raise NotImplementedError("exercise 7.1")',
        "    return rows",
        ["exercises/rows.py has answers in it"],
    ),
    "a hint too few": ("hints.toml", '"What moves?", ', "", ["07.1 centre the rows has 2 hints"]),
    "an empty hint": ("hints.toml", "What moves?", " ", ["07.1 centre the rows has 2 hints"]),
    "no insight": ("hints.toml", '"It holds every angle."', '""', ["07.3 cosine has no insight"]),
    "hints of nothing": ("hints.toml", '["7.3"]', '["7.4"]', ["hints.toml has 7.4, which is no"]),
    "a hint that is the answer": (
        "hints.toml",
        "What moves?",
        "return rows - rows.mean(-1, keepdim=True)",
        ["a hint of 07.1 centre the rows gives a line away: return rows - rows.mean"],
    ),
    "too few wrong answers": (
        "tests/wrong/rows.py",
        "wrong 7.1: in place",
        "in place",
        ["07.1 centre the rows has 2 wrong answers"],
    ),
    "no other right answer": (
        "tests/wrong/rows.py",
        "right 7.2",
        "Right.",
        ["07.2 unit length has 0 right answers"],
    ),
    "an answer to nothing": (
        "tests/wrong/rows.py",
        "right 7.2",
        "right 7.8",
        ["tests/wrong/rows.py has an answer to 7.8"],
    ),
    "a gap in the numbers": (
        "techniques/rows.py",
        "exercise 7.2",
        "exercise 7.4",
        ["the exercises of lesson 07 should be numbered from 1"],
    ),
    "a check whose second draw is none": (
        "checks/rows.py",
        "    want = ",
        "    assert seed == 0\n    want = ",
        ["07.1 centre the rows refuses the reference"],
    ),
    "a reference that is wrong": (
        "techniques/rows.py",
        "return rows / lengths",
        "return lengths / rows",
        ["07.2 unit length refuses the reference: the numbers are not right"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_named(toy, name):
    file, before, after, words = BROKEN[name]
    toy.edit(file, before, after)
    if file.startswith("techniques") and "gap" not in name:
        toy.run("stubs")
    status, told = toy.run("prove")
    assert status == 1, told
    for word in words:
        assert word in told, told
    assert "do not hold" in told and "Traceback" not in told


@pytest.mark.parametrize(
    "line",
    [
        "from lessons.techniques import rows",
        "from lessons.techniques.rows import centre",
        "from lessons import techniques",
        "import lessons.techniques.rows",
        "import lessons",
        "import lessons.grok as grok",
        "import torch, lessons.grok",
        "from lessons import grok",
        "from .. import techniques",
        "from importlib import import_module",
        "rows = importlib.import_module('lessons.techniques.rows')",
        "rows = __import__('lessons.techniques.rows')",
        "rows = sys.modules['lessons.reference.rows']",
        "rows = mine.centre.__globals__['centre']",
    ],
)
def test_techniques_are_found_whichever_way_they_come_in(line):
    assert list(prove.leaks(prove.ast.parse(f"x = 1\n{line}\n"))) == [2]


def test_what_only_speaks_of_techniques_is_no_import():
    text = '"""Nothing imports lessons.techniques."""\nimport torch\nprint("techniques")\n'
    text += "import math\nfrom lessons.checks import Wrong\nfrom lessons import checks\n"
    text += "from minimech.hooks import HookPoint\nimportance.sum()\n"
    assert not list(prove.leaks(prove.ast.parse(text)))


def test_answers_that_do_nothing_have_the_kind_of_the_real_one():
    filled = prove.filled((torch.arange(3), {"a": 2.5}, [True], "x"), 0)
    assert filled[0].tolist() == [0, 0, 0] and filled[1:] == ({"a": 0.0}, [False], "0")
    assert prove.filled(len, 1)(1, 2) is None

"""Stubs, and what `make check-NN` says to a learner, in the course of toy_course.py."""

import re

import pytest
import toy_course
from toy_course import RIGHT, TECHNIQUES

from lessons.judging import answers, marks


@pytest.fixture
def toy(tmp_path, monkeypatch, capsys) -> toy_course.Toy:
    return toy_course.made(tmp_path, monkeypatch, capsys)


# Stubs


def test_a_stub_is_its_technique_without_the_answers(toy):
    stub = toy.file.read_text(encoding="utf-8")
    assert stub.count("    raise NotImplementedError") == 3 and "rows.mean" not in stub
    assert "return rows.norm(dim=-1, keepdim=True)" in stub
    assert "make check-07 " in stub and "make lesson-07 MINE=1" in stub
    kept = re.sub(r"(?s)(    # exercise [^\n]*\n).*?(    # end\n)", r"\1\2", TECHNIQUES)
    without = re.sub(r"    raise NotImplementedError.*\n", "", stub)
    assert without.endswith(kept)
    answers.load(toy.file, "stub")


def test_stubs_never_writes_over_answers(toy):
    toy.write("7.2", RIGHT["7.2"])
    before = toy.file.read_bytes()
    status, told = toy.run("stubs")
    assert status == 1 and "is left as it is; written in it: unit" in told
    assert toy.file.read_bytes() == before
    status, told = toy.run("stubs", "--force")
    (copy,) = (toy.folder / ".attempts").glob("rows-*.py")
    assert status == 0 and copy.read_bytes() == before and copy.name in told
    toy.file.write_text("def unit(", encoding="utf-8")
    assert toy.run("stubs")[0] == 1


def test_stubs_follows_techniques_where_nothing_is_written(toy):
    toy.edit("techniques/rows.py", "def length(rows):\n", "def length(rows, eps=0):\n")
    assert toy.run("prove")[0] == 1
    assert toy.run("stubs")[0] == 0
    assert "def length(rows, eps=0)" in toy.file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "before, after, said",
    [
        ("# exercise 7.1: centre the rows (5 min)", "# exercise 7.1 centre", "rows.py:8: the mark"),
        ("    # end\n\n\ndef unit", "\n\ndef unit", "rows.py:8: `    # end` follows"),
        ('    """Take each row\'s mean off it."""\n', "", "with a docstring"),
        ("    lengths = length(rows)\n", "    # exercise 7.4: b (5 min)\n", "one mark a function"),
        (
            "import torch\n",
            "import torch\n\n# exercise 7.9: b (5 min)\n",
            "outside of any function",
        ),
    ],
)
def test_a_mark_out_of_place_is_named(toy, before, after, said):
    toy.edit("techniques/rows.py", before, after)
    status, told = toy.run("check", "7")
    assert status == 2 and said in told
    assert toy.run("stubs")[0] == 1


# Check


def test_untouched_is_to_do(toy):
    status, told = toy.run("check", "07")
    assert status == 0
    assert told == (
        "07.1 centre the rows: to do (5 min)\n"
        f"  lessons/exercises/rows.py:{toy.line('Error(')}, in centre\n"
        "  Write it there, then: make check-07    For a hint: make hint-7.1\n"
    )


def test_a_right_answer_gets_its_insight_and_the_next(toy):
    toy.write("7.1", RIGHT["7.1"])
    status, told = toy.run("check", "7")
    assert status == 0
    assert told.startswith("07.1 centre the rows: right. What all share says nothing.\n07.2 unit")
    assert "07.2 unit length: to do (10 min)" in told
    status, told = toy.run("check", "7.1")
    assert status == 0 and "Next: 07.2 unit length, lessons/exercises/rows.py:" in told


def test_the_reference_pasted_is_right(toy):
    for e in marks.course():
        toy.write(e.id, marks.solution(e))
    status, told = toy.run("check", "7")
    assert status == 0 and told.count(": right. ") == 3 and told.count("\n") == 5
    assert "All 3 are right. The lesson on your code: make lesson-07 MINE=1" in told
    assert "make lessons MINE=1" in toy.run("next")[1]
    assert "The whole lesson: make check-07" in toy.run("check", "7.3")[1]


def test_exercises_are_solved_in_any_order(toy):
    toy.write("7.1", "    return rows  # wrong, and 7.3 calls it")
    toy.write("7.3", RIGHT["7.3"])
    status, told = toy.run("check", "7.3")
    assert status == 0 and told.startswith("07.3 cosine: right. It holds every angle.\n")
    status, told = toy.run("check", "7")
    assert status == 1 and "Written further on, and not judged now: 7.3" in told


def test_a_wrong_answer_gets_words_example_and_place(toy):
    toy.write("7.1", "    return rows - rows.mean(0)")
    status, told = toy.run("check", "7")
    assert status == 1
    assert told.splitlines() == [
        "07.1 centre the rows: not right yet",
        "  the mean goes along a row, not down a column",
        "    centre(...)",
        "      got       [[-4.5, -13.5], [4.5, 13.5]]",
        "      expected  [[-1, 1], [-10, 10]]",
        f"  lessons/exercises/rows.py:{toy.line('def centre')}",
        "  Change it, then: make check-07    For a hint: make hint-7.1",
    ]


MISTAKES = {
    "exception": ("    a = 1 / 0\n    return a", "a = 1 / 0", ["ZeroDivisionError: division"]),
    "in torch": (
        "    return rows @ rows[0, :1]",
        "rows @ rows",
        ["RuntimeError", "here rows is [2, 2]"],
    ),
    "name": ("    middle = 0\n    return midle", "return midle", ["did you mean middle?"]),
    "attribute": ("    return rows.maen()", "rows.maen()", ["did you mean mean?"]),
    "syntax": ("    return (rows", "return (rows", ["SyntaxError: '(' was never closed"]),
    "indent": ("    a = 1\n  return a", "  return a", ["IndentationError: unindent"]),
    "tabs": ("    a = 1\n\treturn a", "return a", ["TabError"]),
    "left": ('    raise NotImplementedError("7.1")\n    return rows', "Error(", ["delete it"]),
    "no return": ("    rows - rows.mean()", "def centre", ["returned None"]),
    "in place": ("    rows -= 1\n    return rows", "def centre", ["argument 1 in place (rows)"]),
    "list": ("    return rows.tolist()", "def centre", ["a tensor, not a list of 2 (list)"]),
    "complex": ("    return rows.cfloat()", "def centre", ["should hold real numbers"]),
    "case": ("    return Rows * 2", "return Rows", ["did you mean rows?"]),
    "nul": ("    return 0  # \0", "return 0", ["NUL byte"]),
    "kind": (
        "    return 'text'",
        "def centre",
        ["should return a tensor", "not something of type str"],
    ),
    "shape": ("    return rows[0]", "def centre", ["shape should be [2, 2], not [2]"]),
    "recursion": ("    return centre(rows)", "return centre", ["again and again"]),
    "exit": ("    exit()", "exit()", ["this ends Python"]),
    "loop": ("    while True:\n        pass", "", ["stopped here after 0.3 s"]),
    "torch loop": ("    while True:\n        rows = rows + 1", "", ["stopped here after 0.3 s"]),
    "long": ("    raise ValueError('so ' * 999)", "raise ValueError", ["ValueError: so so", "..."]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_bug_is_told_at_its_line_in_a_few_words(toy, name, monkeypatch):
    if "loop" in name:
        monkeypatch.setenv("CHECK_SECONDS", "0.3")
    lines, where, words = MISTAKES[name]
    toy.write("7.1", lines)
    status, told = toy.run("check", "7")
    assert status == 1 and told.startswith("07.1 centre the rows: not right yet\n")
    assert all(word in told for word in words), told
    assert "Traceback" not in told and len(told.splitlines()) <= 8
    assert all(len(line) <= 100 for line in told.splitlines()) or name == "long"
    if where:
        assert f"rows.py:{toy.line(where)}\n" in told, told


@pytest.mark.parametrize(
    "before, after, where, said",
    [
        (
            "def centre(rows)",
            "def center(rows)",
            "def center",
            "no function centre here, but center",
        ),
        ("def centre(rows)", "def centre()", "def centre", "called as centre(rows), and yours is"),
        ("import torch\n", "import torhc\n", "import torhc", "No module named 'torhc'"),
        ("import torch\n", "import torch\nprint(1 / 0)\n", "1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_bug_outside_of_the_body_is_told_too(toy, before, after, where, said):
    toy.write("7.1", RIGHT["7.1"])
    toy.edit("exercises/rows.py", before, after)
    status, told = toy.run("check", "7")
    assert status == 1 and said in told and f"rows.py:{toy.line(where)}\n" in told


def test_other_ways_to_have_a_function_are_fine(toy):
    toy.write("7.1", RIGHT["7.1"])
    text = toy.file.read_text(encoding="utf-8").replace("    # end\n", "")
    text = re.sub(r"    # exercise .*\n", "", text)
    toy.file.write_text("\ufeff" + text.replace("\n", "\r\n"), encoding="utf-8", newline="")
    assert "07.1 centre the rows: right." in toy.run("check", "7")[1]
    toy.file.write_text(text + "\ncentre = lambda rows: rows - rows.mean(1, True)\n", "utf-8")
    assert "07.1 centre the rows: right." in toy.run("check", "7")[1]
    toy.file.write_text(text + "\ncentre = torch.sigmoid  # which has no signature\n", "utf-8")
    assert "the numbers are not right" in toy.run("check", "7")[1]


def test_a_file_that_is_gone_or_no_text_is_said(toy):
    toy.file.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8 text" in toy.run("check", "7")[1]
    toy.file.unlink()
    status, told = toy.run("check", "7")
    assert status == 1 and "the file is not there; `make reset-07` writes it afresh" in told
    assert toy.run("reset", "7")[0] == 0 and toy.run("check", "7")[0] == 0


def test_what_is_printed_is_shown_apart_and_not_all(toy):
    toy.write("7.1", f"    print('mean', rows.mean(-1))\n    print('a\\n' * 50)\n{RIGHT['7.1']}")
    lines = toy.run("check", "7")[1].splitlines()
    assert lines[:3] == ["07.1 centre the rows prints:", "    | mean tensor([ 2., 20.])", "    | a"]
    assert lines[12:15] == ["    | a", "    | ...", lines[14]]
    assert lines[14].startswith("07.1 centre the rows: right.")


def test_a_flood_is_cut_across_too(toy):
    flood = "    print('x' * 10**6)\n    for i in range(10**4):\n        print(i, end=' ')\n"
    toy.write("7.1", flood + RIGHT["7.1"])
    lines = toy.run("check", "7")[1].splitlines()
    assert lines[1] == "    | " + "x" * 100 + " ..." and lines[2].startswith("    | 0 1 2 3 ")
    assert lines[2].endswith(" 36 ...") and max(map(len, lines)) <= 110


def test_the_seeds_of_a_check_differ(toy):
    toy.edit("checks/rows.py", "    want = ", "    print(seed, torch.rand(1).item())\n    want = ")
    toy.write("7.1", RIGHT["7.1"])
    drawn = [line.split()[1:] for line in toy.run("check", "7.1")[1].splitlines() if "| " in line]
    assert len(drawn) > 1 and len({seed for seed, _ in drawn}) == len({x for _, x in drawn}) > 1


def test_an_error_of_the_check_on_an_odd_result_is_not_a_traceback(toy):
    toy.write("7.2", "    return 3")
    status, told = toy.run("check", "7.2")
    assert status == 1 and "the check can do nothing with what unit returns" in told

"""Help, the way through the course, and what make runs. Judging: test_check.py."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import toy_course
from toy_course import RIGHT

from lessons import course
from lessons.judging import attempts, marks, said

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def toy(tmp_path, monkeypatch, capsys) -> toy_course.Toy:
    return toy_course.made(tmp_path, monkeypatch, capsys)


# What is asked for


@pytest.mark.parametrize(
    "words, said",
    [
        (("check", "8"), "lesson 8 has no exercises. Lessons that have: 07"),
        (("check", "seven"), "lesson seven has no exercises"),
        (("check", "7.9"), "there is no exercise 7.9; lesson 7 has 7.1, 7.2, 7.3"),
        (("hint", "7"), "7 is no exercise: their names are like 3.1"),
        (("reset", "9"), "lesson 9 has no exercises"),
        (("chekc", "7"), "python -m lessons.course check 3 "),
        (("check",), "python -m lessons.course check 3 "),
        ((), "python -m lessons.course check 3 "),
    ],
)
def test_a_command_that_means_nothing_says_what_would(toy, words, said):
    status, told = toy.run(*words)
    assert status == 2 and said in told


# Help, and the way through


def test_hints_come_one_by_one_then_all(toy):
    hints = ["What moves?", "The mean of a row [n 1].", "Take `rows.mean(-1, ...)` off."]
    for n, text in enumerate(hints, 1):
        told = toy.run("hint", "07.1")[1]
        assert told.startswith(f"07.1 centre the rows, hint {n} of 3. {text}\n")
        assert sum(hint in told for hint in hints) == 1
    told = toy.run("hint", "7.1")[1]
    assert all(hint in told for hint in hints) and "make solution-7.1" in told
    assert "hint 1 of 3" in toy.run("hint", "7.2")[1]


def test_a_solution_comes_with_a_word_on_hints(toy):
    told = toy.run("solution", "7.2")[1]
    assert "(Of its 3 hints you have seen 0: make hint-7.2)" in told
    assert "    lengths = length(rows)\n    return rows / lengths\n" in told
    toy.write("7.2", RIGHT["7.2"])
    assert "hints" not in toy.run("solution", "7.2")[1]


def test_reset_keeps_the_attempt(toy):
    assert "Nothing to reset" in toy.run("reset", "7")[1]
    fresh = toy.file.read_bytes()
    toy.run("hint", "7.1")
    toy.write("7.1", "    return rows  # my own")
    mine = toy.file.read_bytes()
    status, told = toy.run("reset", "07")
    (copy,) = (toy.folder / ".attempts").glob("rows-*.py")
    assert status == 0 and f"What was there is kept: .attempts/{copy.name}" in told
    assert toy.file.read_bytes() == fresh and copy.read_bytes() == mine
    assert "hint 1 of 3" in toy.run("hint", "7.1")[1]


def test_reset_twice_in_a_second_keeps_both(toy, monkeypatch):
    monkeypatch.setattr(attempts.time, "strftime", lambda form: "now")
    for line in ("    return 1", "    return 2", "    return 3"):
        toy.write("7.1", line)
        toy.run("reset", "7")
    copies = sorted((toy.folder / ".attempts").glob("rows-now*.py"))
    assert [re.search(r"return (\d)", copy.read_text("utf-8"))[1] for copy in copies] == list("231")


@pytest.mark.parametrize("text", ["[]", '{"7.1": "x", "7.2": 1}', "3", "{"])
def test_hints_that_are_not_ours_are_none(toy, text):
    toy.run("hint", "7.1")
    (toy.folder / ".attempts" / "hints.json").write_text(text)
    assert "hint 1 of 3" in toy.run("hint", "7.1")[1]


def test_next_is_the_first_that_is_open(toy):
    assert toy.run("next")[1].startswith("07.1 centre the rows: to do")
    toy.write("7.1", RIGHT["7.1"])
    toy.write("7.2", "    print('hello')\n    return rows")
    status, told = toy.run("next")
    assert (
        status == 0 and told.startswith("07.2 unit length: not right yet") and "hello" not in told
    )


def test_progress_shows_the_whole_course(toy):
    toy.write("7.1", RIGHT["7.1"])
    toy.write("7.2", "    return rows")
    status, told = toy.run("progress")
    assert status == 0
    assert told == (
        f"{'07 What is in a row?':<86} 1 of 3 right\n"
        f"  {'[x] 07.1 centre the rows (5)':<49}[!] 07.2 unit length (10)\n"
        "  [ ] 07.3 cosine (80)\n\n"
        "[x] 1 right   [!] 1 not right yet   [ ] 1 to do   (5): minutes\n"
        "About 1 h 30 min are left. Go on: make next\n"
    )


def test_the_course_fits_on_a_screen(capsys):  # 11 lessons of four lines, and three below
    assert course.main(["progress"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 47 and all(len(line) <= 100 for line in lines)


def test_the_whole_course_solved_is_right(tmp_path, monkeypatch, capsys):
    lessons = tmp_path / "lessons"
    shutil.copytree(marks.HERE, lessons, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(marks, "HERE", lessons)
    solved = toy_course.Toy(tmp_path, capsys)
    solved.run("stubs", "--force")
    for e in marks.course():
        line = f'    raise NotImplementedError("exercise {e.id}")'
        solved.edit(f"exercises/{e.stem}.py", line, marks.solution(e))
    for number, stem in marks.stems().items():
        status, told = solved.run("check", str(number))
        assert status == 0 and told.count(": right. ") == len(marks.exercises(stem)), told


def test_long_lines_are_wrapped_and_keep_their_indent(capsys):
    said.say("word " * 30 + "\n    got   " + "[1, 2], " * 20, "  ")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in lines) and len(lines) == 4
    assert lines[1].startswith("  word") and lines[2].startswith("      got   [1, 2],")
    assert lines[3].startswith("          ")


def test_colours_only_at_a_terminal(monkeypatch):
    assert said.tint("right", 32) == "right"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert said.tint("right", 32) == "\033[32mright\033[0m"
    monkeypatch.setenv("NO_COLOR", "")
    assert said.tint("right", 32) == "right"


# make


def make(*words: str) -> subprocess.CompletedProcess:
    """Run make in the clone, as a user would, with no trace of the make that runs the tests."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=ROOT, env=env, capture_output=True, text=True)


def test_the_help_fits_on_a_screen_and_shows_the_exercises():
    lines = make().stdout.splitlines()
    assert len(lines) <= 50 and all(len(line) <= 100 for line in lines)
    for target in ("check-03", "hint-3.1", "solution-3.1", "reset-03", "next", "progress", "prove"):
        assert any(line.startswith(f"  make {target} ") for line in lines), target
    assert "MINE=1" in "\n".join(lines)


@pytest.mark.parametrize(
    "target, runs",
    [
        ("check-03", "-m lessons.course check 03"),
        ("check-3.1", "-m lessons.course check 3.1"),
        ("hint-3.1", "-m lessons.course hint 3.1"),
        ("solution-03.1", "-m lessons.course solution 03.1"),
        ("reset-03", "-m lessons.course reset 03"),
        ("next", "-m lessons.course next"),
        ("progress", "-m lessons.course progress"),
        ("prove", "-m lessons.course prove"),
        ("break-03", "-m lessons.breaks"),
        ("notebook-03", "-m lessons.telling.notebook 03"),
        ("predictions", "-m lessons.telling.predictions"),
        ("mnist", "-m weights.mnist"),
        ("grok", "-m lessons.grok"),
    ],
)
def test_what_a_target_runs(target, runs):
    planned = make("--dry-run", target)
    assert planned.returncode == 0 and planned.stdout.rstrip().endswith(runs)
    module = runs.split()[1].replace(".", "/") + ".py"
    assert (ROOT / module).exists(), module


def test_a_target_without_its_number_says_which():
    for target, example in {"check": "check-03", "hint": "hint-3.1", "lesson": "lesson-03"}.items():
        asked = make(target)
        assert asked.returncode == 2 and f"For example: make {example}" in asked.stderr
    assert "No rule to make target 'check-'" in make("check-").stderr


def test_lessons_run_one_after_the_other_however_make_is_called():
    targets = make("--dry-run", "--jobs", "--print-data-base", "lessons").stdout
    assert "\n.NOTPARALLEL:" in targets

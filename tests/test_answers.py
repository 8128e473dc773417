"""A lesson on the learner's functions (MINE=1), and a learner's code that does not end."""

import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy_course

from lessons.judging import answers, errors, marks, trial

ROOT = Path(__file__).resolve().parents[1]
FIRST = '''"""Sums (lesson 07)."""


def double(x):
    """Twice x."""
    # exercise 7.1: double (5 min)
    return 2 * x
    # end


def quadruple(x):
    """Twice twice x."""
    return double(double(x))
'''
SECOND = '''"""More sums (lesson 08)."""

from lessons.techniques.first import double


def triple(x):
    """Twice x and x."""
    # exercise 8.1: triple (5 min)
    return double(x) + x
    # end


def six(x):
    """Twice three times x."""
    # exercise 8.2: six (5 min)
    return double(triple(x))
    # end
'''


@pytest.fixture
def toy(tmp_path, monkeypatch, capsys) -> toy_course.Toy:
    return toy_course.made(tmp_path, monkeypatch, capsys)


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """Make a clone whose course are two lessons that need no torch."""
    lessons = tmp_path / "lessons"
    (lessons / "techniques").mkdir(parents=True)
    (lessons / "exercises").mkdir()
    shutil.copytree(ROOT / "lessons" / "judging", lessons / "judging")
    for name in ("__init__.py", "techniques/__init__.py"):
        shutil.copy(ROOT / "lessons" / name, lessons / name)
    monkeypatch.setattr(marks, "HERE", lessons)
    for stem, text in {"first": FIRST, "second": SECOND}.items():
        (lessons / "techniques" / f"{stem}.py").write_text(text, encoding="utf-8")
    for stem in ("first", "second"):
        (lessons / "exercises" / f"{stem}.py").write_text(marks.stub(stem), encoding="utf-8")
    return tmp_path


def write(clone: Path, stem: str, id: str, line: str) -> None:
    """Write an answer."""
    path = clone / "lessons" / "exercises" / f"{stem}.py"
    before = f'raise NotImplementedError("exercise {id}")'
    path.write_text(path.read_text("utf-8").replace(before, line), "utf-8")


def run(clone: Path, code: str) -> subprocess.CompletedProcess:
    """Run lines in the clone, after `use_mine`."""
    begin = "from lessons.judging import answers, errors\n"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", begin + code]
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, timeout=60)


USES = """
whose = {id: who for id, title, who in answers.use_mine()[0]}
from lessons.techniques.first import quadruple
print(whose, quadruple(1), second.triple(1), second.six(1))
"""


@pytest.mark.parametrize("early", ["second", "first, second", "second, first"])
def test_mine_runs_wherever_the_reference_would(clone, early):
    write(clone, "first", "7.1", "return 2 * x + 100")
    write(clone, "second", "8.2", "return ['mine', double(triple(x))]")
    ran = run(clone, f"from lessons.techniques import {early}" + USES)
    assert ran.returncode == 0, ran.stderr
    whose = "{'7.1': 'yours', '8.1': 'reference', '8.2': 'yours'}"
    # 8.2 is the learner's, and calls 8.1, the reference's, which calls the learner's 7.1
    assert ran.stdout == f"{whose} 304 103 ['mine', 306]\n"


def test_without_answers_all_is_the_reference(clone):
    ran = run(clone, "from lessons.techniques import second" + USES)
    assert "yours" not in ran.stdout and ran.stdout.endswith(" 4 3 6\n")


def test_the_names_of_a_script_are_exchanged_too(clone):
    write(clone, "first", "7.1", "return 'mine'")
    ran = run(
        clone, "from lessons.techniques.first import double\nanswers.use_mine()\nprint(double(1))"
    )
    assert ran.stdout == "mine\n"


STOPS = """
try:
    for error in answers.use_mine()[1].values():
        raise error
    from lessons.techniques import first
    first.quadruple(1)
except Exception as error:
    print(errors.in_answers(error))
"""


@pytest.mark.parametrize(
    "line, said, at",
    [
        ("return x / 0", "    return x / 0\nZeroDivisionError: division by zero", 11),
        ("return (x", "    return (x\nSyntaxError: '(' was never closed", 11),
        ("pass\n    raise NotImplementedError('7.1')", "this line is still there", 12),
    ],
)
def test_an_error_of_the_learner_is_told_in_words(clone, line, said, at):
    write(clone, "first", "7.1", line)
    ran = run(clone, STOPS)
    assert ran.returncode == 0, ran.stderr
    assert said in ran.stdout and ran.stdout.endswith(f"lessons/exercises/first.py:{at}\n")


def test_a_function_that_was_renamed_is_missed(clone):
    path = clone / "lessons" / "exercises" / "first.py"
    path.write_text(path.read_text("utf-8").replace("def double", "def dubble"), "utf-8")
    ran = run(clone, "print(answers.use_mine())")
    assert "lessons/exercises/first.py has no function double: was it renamed?" in ran.stdout


def test_a_file_that_cannot_be_used_leaves_its_lesson_to_the_reference(clone):
    write(clone, "first", "7.1", "return (2 * x")
    write(clone, "second", "8.2", "return ['mine', double(triple(x))]")
    code = "account, broken = answers.use_mine()\nprint(account, broken)\n"
    ran = run(clone, code + "from lessons.techniques import second\nprint(second.six(1))\n")
    assert ran.returncode == 0, ran.stderr
    assert "('7.1', 'double', 'reference')" in ran.stdout and "{7: SyntaxError(" in ran.stdout
    assert "('8.2', 'six', 'yours')" in ran.stdout and ran.stdout.endswith("['mine', 6]\n")


def test_an_error_of_others_is_not_the_learners():
    assert errors.in_answers(ValueError("no")) == ""


# What does not end

SWALLOWS = """\
    from time import sleep
    from lessons.judging.trial import ended
    while not ended:
        try:
            while not ended:
                sleep(0.01)
        except BaseException:
            pass
"""


def test_what_swallows_its_interruption_is_ended_with_words(toy, monkeypatch):
    ended = []
    monkeypatch.setattr(trial, "_exit", ended.append)
    monkeypatch.setattr(trial, "ended", ended, raising=False)
    monkeypatch.setenv("CHECK_SECONDS", "0.2")
    monkeypatch.setattr(sys, "__stdout__", io.StringIO())
    toy.write("7.1", SWALLOWS)
    toy.run("check", "7")
    told = sys.__stdout__.getvalue()
    assert ended == [1] and "runs without end, and would not be stopped" in told
    assert f"  lessons/exercises/rows.py:{toy.line('sleep(')}\n" in told


def test_what_only_waits_is_interrupted(toy, monkeypatch):
    monkeypatch.setenv("CHECK_SECONDS", "0.3")
    toy.write("7.1", "    from time import sleep\n    sleep(60)")
    status, told = toy.run("check", "7.1")
    assert status == 1 and "stopped here after 0.3 s: does it come to an end?" in told
    assert f"rows.py:{toy.line('sleep(60)')}\n" in told


def test_progress_outlives_what_ends_python_and_what_hears_nothing(toy, monkeypatch):
    monkeypatch.setenv("CHECK_SECONDS", "0.3")
    toy.write("7.1", "    import os\n    os.abort()")
    toy.write("7.2", "    sum(range(10**12))")
    toy.write("7.3", toy_course.RIGHT["7.3"])
    status, told = toy.run("progress")
    assert status == 0 and "[!] 07.1" in told and "[!] 07.2" in told and "[x] 07.3" in told
    told = toy.run("next")[1]
    assert "it ended Python, or would not be stopped; `make check-7.1` says more" in told
    assert f"rows.py:{toy.line('def centre')}\n" in told


def test_what_ends_python_and_says_nothing_is_told(toy):
    toy.write("7.1", "    import os\n    os._exit(3)")
    status, told = toy.run("check", "7.1")
    assert status == 1 and "os._exit(3)\n  this ends Python" in told
    assert os._exit.__module__ == "posix" or os.name == "nt"


def test_a_crash_is_said_with_its_line(clone):
    write(clone, "first", "7.1", "import ctypes; ctypes.string_at(0)")
    shutil.copytree(ROOT / "lessons" / "checks", clone / "lessons" / "checks")
    shutil.copy(ROOT / "lessons" / "course.py", clone / "lessons")
    check = "def check_double(mine, seed):\n    mine.double(2)\n"
    (clone / "lessons" / "checks" / "first.py").write_text(check)
    command = [sys.executable, "-m", "lessons.course", "check", "7.1"]
    ran = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=60)
    assert ran.returncode != 0 and 'first.py", line 11 in double' in ran.stderr


def test_what_hears_nothing_is_ended_by_pythons_watchdog(tmp_path):
    begin = "from lessons.judging.limit import Limit\nwith Limit(0.1, '', print):\n"
    code = begin + "    sum(range(10**12))"
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1 and 'File "<string>", line 3' in ran.stderr


def test_the_limit_is_over_with_its_block(toy, monkeypatch):
    monkeypatch.setenv("CHECK_SECONDS", "0.3")
    before = signal.getsignal(signal.SIGINT)
    toy.write("7.1", toy_course.RIGHT["7.1"])
    assert "right" in toy.run("check", "7.1")[1]
    trial.sys.modules["time"].sleep(0.5)  # an interruption would come here
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_a_check_with_a_word(toy):
    toy.write("7.1", "    import signal\n    signal.raise_signal(signal.SIGINT)")
    status, told = toy.run("check", "7")
    assert status == 130 and told.endswith("course: interrupted\n")


def test_a_breakpoint_opens_the_debugger_for_as_long_as_one_likes(toy, monkeypatch):
    monkeypatch.setenv("CHECK_SECONDS", "0.3")
    monkeypatch.delenv("PYTHONBREAKPOINT", raising=False)
    commands = io.StringIO("import time; time.sleep(0.5)\np rows.shape\nc\n" * 4)
    monkeypatch.setattr(sys, "stdin", commands)
    monkeypatch.setattr(sys, "__stdout__", io.StringIO())
    toy.write("7.1", f"    breakpoint()\n{toy_course.RIGHT['7.1']}")
    status, told = toy.run("check", "7.1")
    assert status == 0 and "07.1 centre the rows: right." in told
    assert "torch.Size([2, 2])" in sys.__stdout__.getvalue()


def test_a_check_begins_with_torch_as_it_is_at_its_start(toy):
    meddle = "    torch.set_grad_enabled(False)\n    torch.set_default_dtype(torch.float64)\n"
    toy.write("7.1", meddle + toy_course.RIGHT["7.1"])
    toy.write("7.2", toy_course.RIGHT["7.2"])
    assert toy.run("check", "7.1")[0] == 0 and toy.run("check", "7.2")[0] == 0
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


def test_read_says_what_is_no_text(tmp_path):
    (tmp_path / "a.py").write_bytes(b"\xff")
    with pytest.raises(SyntaxError, match="not UTF-8"):
        answers.read(tmp_path / "a.py")
    (tmp_path / "a.py").write_bytes(b"a = 1\n\0")
    with pytest.raises(SyntaxError, match="NUL byte") as caught:
        answers.read(tmp_path / "a.py")
    assert caught.value.lineno == 2

"""PREDICT=1 asks at a terminal before it shows, reads what people type, keeps what they said."""

import ast
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lessons.expect import at_least, at_most
from lessons.telling import guess, page, predictions
from tests.clones import environment, tiny_clone

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
LESSON_03 = ROOT / "lessons" / "03_transformer.py"
SHIPS = (ROOT / "weights" / "world" / "model.safetensors").exists()
PROMPT = b"Enter skips > "
TINY = '''"""Is it asked?"""

# %% 1. Two questions
# The story.
#
# Prediction: SECRET.
#
# It knows the ANSWER.
from lessons.expect import at_least, at_most
from lessons.lesson import Lesson

lesson = Lesson("90_tiny")
lesson.show("GIVEN AWAY")
lesson.expect("1.1", "control", 1, 1)
lesson.expect(
    "1.2",
    "a share",
    0.72,
    0.72,
    ask="What share?",
)
lesson.show("STILL HELD")
lesson.expect("1.3", "a head", "L0H1", "L0H1", ask="Which head?")
lesson.show("FREE")
print("AT ONCE")

# %% 2. Nothing is asked
# Prediction: told at once.
lesson.expect("2.1", "not asked", 1, 1)

# %% 3. Choices
# The story goes on.
#
# Prediction: HIDDEN.
bands = {"little": at_most(1), "much": at_least(1)}
lesson.expect("3.1", "a size", 5, 5, ask="How much?", choices=bands)
lesson.finish()
'''


def at_terminal(folder: Path, answers: list, script: str = "90_tiny", **env) -> tuple[str, int]:
    """Run a lesson at a terminal of its own, type an answer at each prompt; return what it said."""
    command = [sys.executable, f"lessons/{script}.py"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        env = environment(PREDICT="1", PYTHONPATH=str(folder), COLUMNS="100", **env)
        os.execvpe(command[0], command, env)
    said, asked, typed, answers, end = b"", 0, "", list(answers), time.monotonic() + 100
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.5)[0]:
            if typed == "\x03":  # came between the prompt and the reading: once more
                os.write(terminal, b"\x03")
            continue
        try:
            said += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        while said.count(PROMPT) > asked:
            asked, typed = asked + 1, answers.pop(0) if answers else "\n"
            os.write(terminal, typed.encode())
    else:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    text = said.decode().replace("\r\n", "\n")
    assert not answers and status != -signal.SIGKILL, text
    return text, status


def rows_of(folder: Path, number: str = "90") -> dict:
    rows = json.loads((folder / "out" / number / "results.json").read_text())
    return {row["id"]: row for row in rows}


# ---- at a terminal -------------------------------------------------------------------------------


def test_it_asks_before_it_shows_and_tells_the_prediction_after(tmp_path):
    said, status = at_terminal(tiny_clone(tmp_path, TINY), ["0.3\n", "0.1\n", "b\n"])
    assert status == 0, said
    order = [
        "The story.",
        "What share?",
        "You said 0.3, observed 0.72: off by 0.42.",
        "Which head?",
    ]
    order += ["You said L0H1, observed L0H1: right.", "Prediction: SECRET.", "the ANSWER"]
    order += ["GIVEN AWAY"]
    order += ["ok   1.1", "ok   1.2", "STILL HELD", "ok   1.3", "FREE", "AT ONCE"]
    order += ["Prediction: told at once.", "ok   2.1", "The story goes on.", "a) little", "b) much"]
    order += ["You said much, observed 5: right.", "Prediction: HIDDEN.", "ok   3.1"]
    order += ["Your predictions", "2 right, 0 near, 1 off."]
    places = [said.find(text) for text in order]
    assert -1 not in places and places == sorted(places), list(zip(order, places))
    once = ("SECRET", "ANSWER", "GIVEN AWAY", "STILL HELD", "FREE")
    assert all(said.count(text) == 1 for text in once)
    rows = rows_of(tmp_path)
    assert rows["1.2"]["reader"] == {"said": 0.3, "verdict": "off", "far": "off by 0.42"}
    assert rows["1.1"]["reader"] is None and rows["3.1"]["reader"]["said"] == "much"
    html = (tmp_path / "out" / "90" / "index.html").read_text()
    assert "<h2>Your predictions</h2>" in html and "<td>What share?</td><td>0.3</td>" in html


def test_what_cannot_be_read_is_asked_again_twice_and_empty_skips(tmp_path):
    said, status = at_terminal(
        tiny_clone(tmp_path, TINY), ["dunno\n", "well\n", "no\n", "\n", "x\n", "a\n"]
    )
    assert status == 0, said
    assert said.count("cannot be read as a number, such as 0.3, -2, 1e-3, 50% or 1,234") == 3
    assert "'x' cannot be read as a letter, a to b, or the words" in said
    assert "0 right, 0 near, 1 off. Skipped: 2." in said
    assert [rows_of(tmp_path)[id]["reader"] is None for id in ("1.2", "1.3", "3.1")] == [1, 1, 0]


SHARE = (
    "Of all the questions that it never saw, and whose mirror it never saw, which share (0 to 1)?"
)


def test_a_share_lies_between_0_and_1_and_a_long_question_fits_the_page(tmp_path):
    clone = tiny_clone(tmp_path, TINY.replace('"What share?"', repr(SHARE)))
    said, status = at_terminal(clone, ["7\n", "50\n", "-0.1\n", "l0h1\n", "a\n"])
    assert status == 0, said
    assert said.count("  A share lies between 0 and 1 (50% is read as 0.5).") == 3
    assert said.count("as 0.5). On we go.") == 1
    assert rows_of(tmp_path)["1.2"]["reader"] is None and "Skipped: 1." in said
    lines = said.splitlines()
    assert max(len(line) for line in lines if "index.html" not in line) <= 100
    assert SHARE in " ".join(said.split())


@pytest.mark.parametrize("said", ["0", "1", "0.5", "50%", "100%", "1e-3"])
def test_what_is_a_share_is_taken(said):
    assert guess.refusal(said, guess.read(said, 0.7), SHARE, "a number") == ""


@pytest.mark.parametrize("said", ["7", "150%", "1.01", "-0.1"])
def test_what_is_no_share_is_not_taken_where_one_is_asked_for(said):
    for question in (SHARE, "Of the rest, which share is right?", "With it gone (0 to 1)?"):
        assert "between 0 and 1" in guess.refusal(said, guess.read(said, 0.7), question, "a number")
    assert guess.refusal(said, guess.read(said, 0.7), "By how much?", "a number") == ""


def test_the_end_of_input_ends_the_asking_and_nothing_else(tmp_path):
    said, status = at_terminal(tiny_clone(tmp_path, TINY), ["0.7\n", "\x04"])
    assert status == 0, said
    assert "No more questions, then." in said and "How much?" not in said
    assert "ok   3.1" in said and said.index("SECRET") < said.index("GIVEN AWAY")
    assert "1 right, 0 near, 0 off." in said


def test_ctrl_c_ends_the_lesson_with_a_word_and_what_was_said_is_kept(tmp_path):
    said, status = at_terminal(tiny_clone(tmp_path, TINY), ["0.7\n", "\x03"])
    assert status != 0 and "lesson: interrupted" in said and "Traceback" not in said
    assert "GIVEN AWAY" not in said
    assert len((tmp_path / ".attempts" / "predictions.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("wanted", ["1", "0"])
def test_with_nobody_there_it_asks_nothing_and_says_so_once(wanted, tmp_path):
    folder = tiny_clone(tmp_path, TINY)
    command = [sys.executable, "lessons/90_tiny.py"]
    env = environment(PREDICT=wanted, PYTHONPATH=str(folder), COLUMNS="100")
    pipe = {"capture_output": True, "text": True}
    done = subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, **pipe, timeout=60
    )
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.count("PREDICT=1 asks at a terminal") == (wanted == "1")
    assert "What share?" not in done.stdout and "Your predictions" not in done.stdout
    assert done.stdout.index("SECRET") < done.stdout.index("GIVEN AWAY")
    assert not (tmp_path / ".attempts").exists()


def test_a_row_that_fails_is_asked_and_everything_held_is_shown(tmp_path):
    folder = tiny_clone(tmp_path, TINY)
    file = folder / "lessons" / "90_tiny.py"
    file.write_text(TINY.replace("    0.72,\n    0.72,", "    0.72,\n    0.99,"))
    said, status = at_terminal(folder, ["1\n"])
    assert status == 1 and "Row 1.2, a share: predicted 0.72, observed 0.99." in said
    assert said.index("What share?") < said.index("GIVEN AWAY") < said.index("FAIL 1.2")


def test_a_log_that_cannot_be_written_is_told_once(tmp_path):
    folder = tiny_clone(tmp_path, TINY)
    (folder / ".attempts").write_text("")
    said, status = at_terminal(folder, ["1\n", "0.0\n"])
    assert status == 0 and said.count("cannot be written") == 1


def test_lesson_03_asks_and_never_gives_an_answer_away(tmp_path):
    if not SHIPS:
        pytest.skip("weights/world is not here")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    for name in ("lessons", "minimech"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    said, status = at_terminal(
        tmp_path, ["14\n", "mary\n", "John\n"], "03_transformer", MODEL="world"
    )
    assert status == 0, said
    asked = [row for row in rows_of(tmp_path, "03").values() if row["reader"]]
    for row in asked:
        echo = f"You said {guess.written(row['reader']['said'])}, observed {row['seen']}"
        assert said.index(echo) < said.index(f"  ok   {row['id']}")
    assert len(asked) == 3
    assert said.count("Your prediction, please.") == len(page.questions(LESSON_03)) == 9
    assert "1 right, 1 near, 1 off. Skipped: 6." in said


# ---- every lesson --------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_lesson_asks_every_few_minutes_and_in_the_open(script):
    """A question in a function or a loop would come after what it asks about."""
    lines = page.questions(script)
    assert 8 <= len(lines) <= 15
    for node in ast.parse(script.read_text()).body:
        call = getattr(node, "value", None)
        if isinstance(node, ast.Expr) and isinstance(call, ast.Call) and call.lineno in lines:
            assert ast.unparse(call.func) in ("lesson.expect", "lesson.recorded")
            lines.remove(call.lineno)
    assert not lines


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_prediction_has_paragraphs_of_its_own(script):
    """From the first paragraph on that begins with it, all is held back; before it, nothing is."""
    questions = page.questions(script)
    _, cells = page.read(script)
    for cell, end in zip(cells, [*(cell.line for cell in cells[1:]), 10**6]):
        if any(cell.line < question < end for question in questions):
            told, held = page.parted(cell.prose)
            assert told and held.startswith("Prediction:"), cell.title
            assert "Prediction:" not in told, cell.title
            assert f"{told}\n\n{held}" == cell.prose, cell.title


# ---- reading -------------------------------------------------------------------------------------

HEADS = [
    "L0H1",
    "l0h1",
    "0.1",
    "L0.H1",
    "0 1",
    "0,1",
    "layer 0 head 1",
    "Layer 0, head 1",
    " L0 H1 ",
]
NUMBERS = [("0.3", 0.3), ("1e-3", 0.001), ("50%", 0.5), ("50 %", 0.5), ("1,234", 1234), ("-2", -2)]
NUMBERS += [("−2.5", -2.5), (".5", 0.5), ("0,5", 0.5), ("12,345.5", 12345.5), ("L3", 3), ("7", 7)]
NUMBERS += [("layer 3", 3), ("+4", 4), ("1E3", 1000)]


@pytest.mark.parametrize("text", HEADS)
def test_a_head_is_read_as_people_write_it(text):
    assert guess.read(text, "L5H5") == "L0H1"


@pytest.mark.parametrize("text, value", NUMBERS)
def test_a_number_is_read_as_people_write_it(text, value):
    assert guess.read(text, 0.7) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text, observed, choices, value",
    [
        ("3", "layer 7", (), "layer 3"),
        ("L3", "L7", (), "L3"),
        ("Layer 3", "L7", (), "L3"),
        ("y", False, (), True),
        ("No", True, (), False),
        ("Mary", "John", (), "Mary"),
        ("b", "x", ("one", "two"), "two"),
        ("B)", "x", ("one", "two"), "two"),
        ("Two", "x", ("one", "two"), "two"),
        ("mary", "x", ("2 ·John", "4 ·Mary", "14 ·to"), "4 ·Mary"),
        ("4", "x", ("2 ·John", "4 ·Mary", "14 ·to"), "4 ·Mary"),
        ("more", "x", {"less than 1": 0, "more than 1": 1}, "more than 1"),
        ("mor", "x", {"less than 1": 0, "more than 1": 1}, "more than 1"),
        ("0.1", "x", ("L0H0", "L0H1"), "L0H1"),
        ("a", "x", ("b", "a"), "a"),
        ("3", 3, (1, 3), 3),
    ],
)
def test_other_answers_are_read(text, observed, choices, value):
    assert guess.read(text, observed, choices) == value


@pytest.mark.parametrize(
    "text, observed, choices",
    [
        ("much", 0.7, ()),
        ("nan", 0.7, ()),
        ("inf", 0.7, ()),
        ("1_000", 0.7, ()),
        ("1,2,3", 0.7, ()),
        ("%", 0.7, ()),
        ("L0", "L0H1", ()),
        ("01", "L0H1", ()),
        ("L0H1H2", "L0H1", ()),
        ("first", "layer 1", ()),
        ("maybe", True, ()),
        ("c", "one", ("one", "two")),
        ("john", "x", ("2 ·John", "10 ·John")),
        ("than", "x", ("less than 1", "more than 1")),
        ("?!", "Mary", ()),
        ("··", "x", ("one", "two")),
    ],
)
def test_what_is_no_answer_is_not_read_as_one(text, observed, choices):
    assert guess.read(text, observed, choices) is None


# ---- how far -------------------------------------------------------------------------------------

BANDS = {"little": at_most(1), "much": at_least(1)}


@pytest.mark.parametrize(
    "said, observed, tolerance, choices, verdict, far",
    [
        (0.3, 0.72, 0, (), "off", "off by 0.42"),
        (0.6, 0.72, 0, (), "near", "near, off by 0.12"),
        (0.7, 0.72, 0, (), "right", "right, off by 0.02"),
        (0.6, 0.72, 0.2, (), "right", "right, off by 0.12"),
        (7, 7, 0, (), "right", "right"),
        (1, 6400, 0, (), "off", "off by 6,399"),
        (0, 0, 0, (), "right", "right"),
        (0.1, 0, 0, (), "off", "off by 0.1"),
        (-1, 1, 0, (), "off", "off by 2"),
        (1, float("nan"), 0, (), "off", "off by nan"),
        ("L0H1", "L0H1", 0, (), "right", "right"),
        ("L0H2", "L0H1", 0, (), "near", "near, that layer"),
        ("L1H1", "L0H1", 0, (), "off", "off, another layer"),
        ("L3", "L4", 0, (), "near", "near, layer beside"),
        ("L1", "L4", 0, (), "off", "3 layers off"),
        ("mary", "Mary", 0, (), "right", "right"),
        (True, False, 0, (), "off", "not that"),
        ("much", 5, 0, BANDS, "right", "right"),
        ("little", 5, 0, BANDS, "off", "not that"),
        ("one", "two", 0, ("one", "two"), "off", "not that"),
    ],
)
def test_how_far_an_answer_is(said, observed, tolerance, choices, verdict, far):
    assert guess.compare(said, observed, tolerance, choices) == (verdict, far)


# ---- over all lessons ----------------------------------------------------------------------------


def kept(lesson: str, id: str, said, observed, **more) -> dict:
    """Make a line of the log."""
    verdict, far = guess.compare(said, observed)
    row = {"lesson": lesson, "id": id, "what": "a row", "kind": guess.kind(observed), "said": said}
    row |= {"observed": observed, "you": str(said), "seen": str(observed), "verdict": verdict}
    return row | {"far": far, "chance": None, **more}


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "LOG", tmp_path / "predictions.jsonl")
    return predictions.LOG


def test_an_empty_log_says_what_to_run(log, capsys):
    assert predictions.main() == 0
    assert capsys.readouterr().out == "No predictions yet: try `make lesson-03 PREDICT=1`.\n"


def test_the_log_shows_the_latest_answers_and_judges_by_the_first(log, capsys):
    answers = [kept("03", "1.1", 10, 5), kept("03", "1.2", 2, 4), kept("05", "1.1", "L0H1", "L0H1")]
    answers += [kept("03", "1.1", 5, 5), kept("05", "10.1", "L0H1", "L0H1")]
    answers += [kept("05", "2.1", "b", "a", kind="choice", chance=0.5)]
    log.write_text("".join(json.dumps(one) + "\n" for one in answers))
    assert predictions.main() == 0
    printed = capsys.readouterr().out
    assert printed.index("Lesson 03") < printed.index("Lesson 05")
    assert "All lessons, your latest answers: 3 right, 0 near, 2 off." in printed
    assert "Your first answers, given before you knew: 2 right, 0 near, 3 off." in printed
    assert "Numbers: 2; 1 too large, 1 too small, the middle one is off by 75%." in printed
    assert "Choices: 0 of 1 right; chance alone gives 0.5." in printed
    assert printed.index("  2.1 ") < printed.index("  10.1 ")


@pytest.mark.parametrize("damage", ["{", "[]", "7", '{"lesson": "03"}', "\xff", "null", "x"])
def test_a_damaged_line_is_skipped_with_a_word(damage, log, capsys):
    good = json.dumps(kept("03", "1.1", 5, 5))
    damage = good.replace('"said": 5', '"said": "x"') if damage == "x" else damage
    log.write_bytes(f"{good}\n{damage}\n{good}\n".encode("latin-1"))
    assert predictions.main() == 0
    told = capsys.readouterr()
    assert "skipped: line 2." in told.err and "1 right, 0 near, 0 off" in told.out


def test_the_log_survives_make_clean():
    recipe = re.search(r"^clean:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)[1]
    assert ".attempts" not in recipe and ".attempts/" in (ROOT / ".gitignore").read_text()
    assert predictions.LOG == ROOT / ".attempts" / "predictions.jsonl"

"""How the exercises speak on the terminal: a verdict, the whole course, help from hints.toml."""

import os
import sys
import textwrap
import tomllib

from lessons.judging import marks
from lessons.judging.errors import shown
from lessons.judging.marks import Exercise, path_of
from lessons.judging.trial import Verdict

GREEN, RED, CYAN = 32, 31, 36
MARKS = {"right": "[x]", "wrong": "[!]", "to do": "[ ]"}


def hints_of(e: Exercise) -> dict:
    """Return an exercise's hints and insight."""
    table = tomllib.loads((marks.HERE / "hints.toml").read_text(encoding="utf-8"))
    return {"hints": [], "insight": ""} | table.get(e.id, {})


def place(e: Exercise, line: int) -> str:
    """Write where something is, so that an editor can go there."""
    return f"{shown(path_of('exercises', e.stem))}:{line}"


def report(e: Exercise, verdict: Verdict) -> None:
    """Say what is right, wrong or to do; of the latter two also where, and what to run next."""
    again, help_ = f"make check-{e.lesson:02d}", f"make hint-{e.id}"
    if verdict.state == "right":
        say(f"{e}: {tint('right', GREEN)}. {hints_of(e)['insight']}", hang="  ")
    elif verdict.state == "to do":
        print(f"{e}: {tint('to do', CYAN)} ({e.minutes} min)")
        print(f"  {place(e, verdict.line)}, in {e.function}")
        print(f"  Write it there, then: {again}    For a hint: {help_}")
    else:
        print(f"{e}: {tint('not right yet', RED)}")
        say(verdict.said, "  ")
        print(f"  {place(e, verdict.line)}")
        print(f"  Change it, then: {again}    For a hint: {help_}")


def title(e: Exercise) -> str:
    """Write a lesson's number and its question."""
    scripts = sorted(marks.HERE.glob(f"{e.lesson:02d}_*.py"))
    first = scripts[0].read_text(encoding="utf-8").splitlines()[0] if scripts else e.stem
    return f"{e.lesson:02d} " + first.strip('r"')


def table(found: list[tuple[Exercise, str]]) -> None:
    """Print a lesson's exercises and their states, two in a line."""
    right = sum(state == "right" for _, state in found)
    print(f"{title(found[0][0]):<86} {right} of {len(found)} right")
    cells = [cell(e, state) for e, state in found]
    for pair in zip(cells[::2], [*cells[1::2], ""]):
        print("  " + "".join(pair).rstrip(), flush=True)


def cell(e: Exercise, state: str) -> str:
    """Write an exercise and its state in 49 columns."""
    mark = tint(MARKS[state], {"right": GREEN, "wrong": RED}.get(state, 0))
    text = f"{textwrap.shorten(str(e), 40, placeholder='...')} ({e.minutes})"
    return f"{mark} {text:<45}"


def totals(found: list[tuple[Exercise, str]]) -> None:
    """Print what is done of the whole course, and how long the rest may take."""
    count = {state: sum(s == state for _, s in found) for state in MARKS}
    left = sum(e.minutes for e, state in found if state != "right")
    print(f"\n[x] {count['right']} right   [!] {count['wrong']} not right yet   ", end="")
    print(f"[ ] {count['to do']} to do   (5): minutes")
    if left:
        print(f"About {left // 60} h {left % 60:02d} min are left. Go on: make next")
    else:
        print("All of it is yours now: make lessons MINE=1 runs every lesson on your code")


def tint(word: str, colour: int) -> str:
    """Colour a word where there is a terminal that shows colours."""
    if not colour or not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return word
    return f"\033[{colour}m{word}\033[0m"


def say(text: str, indent: str = "", hang: str = "") -> None:
    """Print lines, those too long wrapped between words; a line that is indented stays so."""
    wrapper = textwrap.TextWrapper(100, break_long_words=False, break_on_hyphens=False)
    for line in text.split("\n"):
        words = line.lstrip()
        own = line.removesuffix(words)
        wrapper.initial_indent = indent + own
        wrapper.subsequent_indent = indent + (own + "    " if own else hang)
        print(wrapper.fill(words))

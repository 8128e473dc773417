"""What the reader said: asked before it is shown, told how far it is, and kept.

With PREDICT=1 and a terminal to ask at, a row of a lesson that carries `ask="a question?"` is asked
about before it is shown (guess.py says what can be answered). Enter skips a question; the
end of input (Ctrl-D) ends the asking; Ctrl-C ends the lesson. Every answer goes to
.attempts/predictions.jsonl at once, which `make clean` leaves alone.
`python -m lessons.telling.predictions` (`make predictions`) shows them over all lessons.
"""

import json
import os
import re
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from statistics import median

from lessons.expect import ROOT, say, written
from lessons.telling import guess

LOG = ROOT / ".attempts" / "predictions.jsonl"
HEAD = {"id": "", "what": "", "you": "you said", "seen": "observed", "far": "how far"}
KEYS = {"lesson", "id", "what", "kind", "said", "observed", "you", "seen"}
KEYS |= {"verdict", "far", "chance"}


class Asker:
    """Asks the questions of one lesson; `answers` holds what was said."""

    def __init__(self, lesson: str):
        wanted = os.environ.get("PREDICT") == "1"
        self.lesson = lesson
        self.active = wanted and sys.stdin is not None and sys.stdin.isatty()
        self.alone = wanted and not self.active  # nobody is there to answer
        self.answers: list[dict] = []
        self.skipped, self.unkept = 0, False

    def ask(self, row: dict, question: str, choices=()) -> dict | None:
        """Ask about a row, tell how far the answer is, keep it; None if there was no answer."""
        observed = row["observed"]
        said = self._hear(question, observed, choices) if self.active else None
        if said is None:
            return None
        verdict, far = guess.compare(said, observed, row["tolerance"], choices)
        answer = {"lesson": self.lesson, "id": row["id"], "what": row["what"]}
        answer |= {"question": question, "kind": guess.kind(observed, choices), "said": said}
        answer |= {"observed": observed, "you": written(said), "seen": written(observed)}
        answer |= {"verdict": verdict, "far": far, "chance": guess.chance(observed, choices)}
        answer |= {"model": row["model"], "when": time.strftime("%Y-%m-%d %H:%M")}
        print("  You said {you}, observed {seen}: {far}.".format(**answer))
        self.answers.append(answer)
        self._keep(answer)
        return {"said": said, "verdict": verdict, "far": far}

    def summary(self) -> str:
        """Say in a table what was predicted and what came out, and count."""
        return f"{table(self.answers)}\n\n  {self.count()}"

    def count(self) -> str:
        """Count the answers, and say what right and near mean."""
        skipped = f" Skipped: {self.skipped}." if self.skipped else ""
        return f"{tally(self.answers)}{skipped}\n  ({guess.RULE})"

    def _hear(self, question: str, observed, choices):
        """Put a question until its answer can be read, three times at most."""
        accepted = guess.accepted(observed, choices)
        asked = f"Your prediction, please. {question}"
        print("\n" + textwrap.fill(asked, 100, initial_indent="  ", subsequent_indent="  "))
        for letter, choice in zip(guess.LETTERS, choices):
            print(f"    {letter}) {written(choice)}")
        for left in (2, 1, 0):
            try:
                text = input(f"  {accepted}; Enter skips > ").strip()
            except EOFError:
                print("\n  No more questions, then.")
                self.active = False
                return None
            if not text:
                break
            said = guess.read(text, observed, choices)
            refusal = guess.refusal(text, said, question, accepted)
            if not refusal:
                return said
            print(f"  {refusal}" + ("" if left else " On we go."))
        self.skipped += 1
        return None

    def _keep(self, answer: dict) -> None:
        """Append an answer to the log; say once if that cannot be done."""
        try:
            LOG.parent.mkdir(parents=True, exist_ok=True)
            with LOG.open("a", encoding="utf-8") as log:
                log.write(json.dumps(answer, ensure_ascii=False) + "\n")
        except OSError as error:
            if not self.unkept:
                print(f"  ({LOG} cannot be written, {error.strerror}: not kept for later.)")
            self.unkept = True


def table(answers: list[dict]) -> str:
    """Write answers beside what was observed, one line each."""
    wide = [max(len(row[key]) for row in (HEAD, *answers)) for key in ("what", "you", "seen")]
    what, you, seen = wide
    line = f"  {{id:<5}} {{what:<{what}}}  {{you:>{you}}}  {{seen:>{seen}}}  {{far}}"
    return "\n".join(line.format(**row) for row in (HEAD, *answers))


def tally(answers: list[dict]) -> str:
    """Count what was right, near and off."""
    count = Counter(answer["verdict"] for answer in answers)
    return ", ".join(f"{count[verdict]} {verdict}" for verdict in ("right", "near", "off")) + "."


def calibration(answers: list[dict]) -> str:
    """Say how far numbers tend to be off, and how choices compare with tossing a coin or a die."""
    said = []
    numbers = [one for one in answers if one["kind"] == "number" and one["observed"]]
    if numbers:
        away = [one["said"] / one["observed"] - 1 for one in numbers]
        high, low = sum(x > guess.RIGHT for x in away), sum(x < -guess.RIGHT for x in away)
        size = f"the middle one is off by {median(map(abs, away)):.0%}"
        said.append(f"Numbers: {len(away)}; {high} too large, {low} too small, {size}.")
    picks = [one for one in answers if one["chance"]]
    if picks:
        right = sum(one["verdict"] == "right" for one in picks)
        luck = sum(one["chance"] for one in picks)
        said.append(f"Choices: {right} of {len(picks)} right; chance alone gives {luck:.1f}.")
    return " ".join(said)


def kept(log: Path) -> tuple[list[dict], list[int]]:
    """Read the log: its answers, and the numbers of the lines that are damaged."""
    answers, damaged = [], []
    lines = log.read_bytes().splitlines() if log.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if is_whole(answer):
            answers.append(answer)
        else:
            damaged.append(number)
    return answers, damaged


def is_whole(answer) -> bool:
    """Is this an answer as `ask` writes it?"""
    if not isinstance(answer, dict) or not set(answer) >= KEYS:
        return False
    texts = all(isinstance(answer[key], str) for key in KEYS - {"said", "observed", "chance"})
    values = (answer["said"], answer["observed"])
    numbers = all(isinstance(value, (int, float)) for value in values)
    return texts and (numbers or answer["kind"] != "number")


def main() -> int:
    """Print the latest answers lesson by lesson, the count, and the calibration."""
    answers, damaged = kept(LOG)
    if damaged:
        lines = ", ".join(map(str, damaged))
        print(f"Damaged in {LOG}, and skipped: line {lines}.\n", file=sys.stderr)
    if not answers:
        say("No predictions yet: try `make lesson-03 PREDICT=1`.")
        return 0
    latest = {(one["lesson"], one["id"]): one for one in answers}
    first = {(one["lesson"], one["id"]): one for one in reversed(answers)}
    said = []
    for lesson in sorted({one["lesson"] for one in answers}):
        rows = [one for (where, _), one in latest.items() if where == lesson]
        rows.sort(key=lambda one: [int(part) for part in re.findall(r"\d+", one["id"])])
        said.append(f"Lesson {lesson}\n{table(rows)}\n  {tally(rows)}\n")
    said.append(f"All lessons, your latest answers: {tally(list(latest.values()))}")
    said.append(f"  ({guess.RULE})")
    said.append(f"Your first answers, given before you knew: {tally(list(first.values()))}")
    say("\n".join([*said, calibration(list(first.values()))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

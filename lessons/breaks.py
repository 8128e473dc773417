"""make break-03: a slip is planted in a copy of the model. Find where it starts, and name it.

    make break-03                    the case: where the broken model differs from the sound one
    make break-03 LOOK=hook_q        the numbers at a site, in both
    make break-03 ANSWER=c           your diagnosis
    make break-03 SEED=7             a case to share: the same for whoever has found the same

    from lessons.breaks import PROMPT, broken, sound     # both models, in a Python of your own

At a terminal it asks, and takes letters and sites alike. What is planted stays until it is found;
.attempts/break-03.json remembers it, without saying what it is.
"""

import hashlib
import json
import os
import random
import secrets
import sys
import textwrap
from itertools import zip_longest
from pathlib import Path

from lessons.judging.compare import PROMPT, Bench
from lessons.judging.slips import SLIPS, Slip, changed_lines, plant, sound_model
from minimech import MinimechError

STATE = Path(__file__).resolve().parent.parent / ".attempts" / "break-03.json"
CHOICES = dict(zip("abcdefghijklmnopqrstuvwxyz", SLIPS))
STORY = f"""\
Somebody copied minimech/model.py and slipped, in one place. Nothing raised. Where is it, and what?
The sound model and the broken one both read
  "{PROMPT}".
Below, every site in the order of the forward pass, with its error: the largest difference, as a
share of the site's largest number. What is called equal is equal to the last bit.
"""
HOW = """\
The first site that differs says where the slip is; its numbers say what it is.
  make break-03 LOOK=hook_q      shows the numbers of a site, in both
  make break-03 ANSWER=c         is your diagnosis, one of those below
Two slips can start at one site and look alike there: a matrix turned, say, and tokens mixed up.
Then only computing tells them apart: do what you suspect to the sound model's numbers, and see
whether the broken one's come out. In a Python started here (such as .venv/bin/python):
  from lessons.breaks import PROMPT, broken, sound
  right, here = (model.run_with_cache(PROMPT)[1] for model in (sound, broken))
  right["blocks.0.attn.hook_q"], here["blocks.0.attn.hook_q"], sound.blocks[0].attn.W_Q
"""


class Case:
    """What is planted, how often it was guessed, and what has been found before."""

    def __init__(self, file: Path):
        self.file = file
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            self.salt, self.tries, self.seed = str(kept["salt"]), int(kept["tries"]), kept["seed"]
            self.planted = self.named(kept["planted"])
            self.found = [slip for slip in SLIPS if self.code(slip) in kept["found"]]
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or unreadable: begin
            self.salt, self.tries, self.seed = secrets.token_hex(8), 0, None
            self.planted, self.found = None, []

    def code(self, slip: Slip | None) -> str | None:
        """Write a slip so that nobody reads it."""
        text = f"{self.salt} {slip and slip.name}"
        return slip and hashlib.sha256(text.encode()).hexdigest()[:16]

    def named(self, code: str | None) -> Slip | None:
        """Return the slip that was written so."""
        return next((slip for slip in SLIPS if self.code(slip) == code), None)

    def plant(self, seed: str | None) -> None:
        """Choose a slip that has not been found yet; if all have, begin again."""
        self.found = [] if len(self.found) == len(SLIPS) else self.found
        order = random.Random(seed).sample(SLIPS, len(SLIPS))
        self.planted = next(slip for slip in order if slip not in self.found)
        self.tries, self.seed = 0, seed
        self.keep()

    def keep(self) -> None:
        """Write it all down."""
        kept = {"salt": self.salt, "tries": self.tries, "seed": self.seed}
        kept |= {"planted": self.code(self.planted), "found": sorted(map(self.code, self.found))}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise MinimechError(f"{self.file} cannot be written ({error.strerror})") from None


def choices() -> str:
    """List the diagnoses, in two columns."""
    texts = [f"{letter}  {slip.name}" for letter, slip in CHOICES.items()]
    half = (len(texts) + 1) // 2
    pairs = zip_longest(texts[:half], texts[half:], fillvalue="")
    return "\n".join(f"  {left:<44}{right}".rstrip() for left, right in pairs)


def diagnosis(answer: str) -> Slip | None:
    """Return the slip of a letter or of a name, None if it is neither."""
    said = answer.strip().lower()
    return next((s for letter, s in CHOICES.items() if said in (letter, s.name.lower())), None)


def judge(case: Case, bench: Bench, said: Slip) -> bool:
    """Answer a diagnosis with evidence, or with what it teaches; was it right?"""
    case.tries += 1
    right = said == case.planted
    if right:
        case.found.append(said)
        tries = "at the first try" if case.tries == 1 else f"after {case.tries} tries"
        count = f"Found {len(case.found)} of {len(SLIPS)}."
        last = "make break-03 plants another." if len(case.found) < len(SLIPS) else "That was all!"
        insight = textwrap.fill(said.insight, 96)
        print(f"\nYes: {said.name}, {tries}.\n\n{changed_lines(said)}\n\n{insight}")
        print(f"\n{count} {last}")
        case.planted = None
    else:
        print(f"\nNo.\n{bench.evidence(said)}")
    case.keep()
    return right


def answered(case: Case, bench: Bench, text: str) -> bool:
    """Take what was typed: a diagnosis, or a site to look at. Is the case closed?"""
    if said := diagnosis(text):
        return judge(case, bench, said)
    try:
        print(f"\n{bench.look(text.strip())}")
    except MinimechError as error:
        print(f"\n{text.strip()!r} is none of the letters above, and {error}")
    return False


def ask(case: Case, bench: Bench) -> None:
    """Ask at the terminal until it is found or the reader leaves."""
    closed = False
    while not closed:
        try:
            text = input("\nA site to look at, or your answer (a letter; Enter leaves): ")
        except (EOFError, KeyboardInterrupt):
            text = ""
        if not text.strip():
            print("\nIt stays planted: make break-03 goes on.")
            return
        closed = answered(case, bench, text)


def needs_planted(case: Case, seed: str | None = None) -> None:
    """Raise if nothing is planted, or another case than the seed's."""
    first = f"run `make break-03{f' SEED={seed}' if seed else ''}` first"
    if not case.planted:
        raise MinimechError(f"nothing is planted at the moment: {first}")
    if seed and seed != case.seed:
        raise MinimechError(f"SEED={seed} is not the case that is planted: {first}")


def main() -> int:
    """Play one turn, as the environment asks: ANSWER, LOOK, SEED, or none of them."""
    answer, look, seed = (os.environ.get(name) for name in ("ANSWER", "LOOK", "SEED"))
    case = Case(STATE)
    if answer or look:
        needs_planted(case, seed)
    if answer and not diagnosis(answer):
        raise MinimechError(f"ANSWER={answer} is none of the diagnoses. They are:\n{choices()}")
    if not case.planted or (seed and seed != case.seed):
        case.plant(seed)
    bench = Bench(case.planted)
    if answer:
        judge(case, bench, diagnosis(answer))
    elif look:
        print(bench.look(look))
    else:
        print(f"{STORY}\n{bench.table()}\n\n{HOW}\n{choices()}")
        print(
            f"\nFound so far: {len(case.found)} of {len(SLIPS)}. Tries at this one: {case.tries}."
        )
        if sys.stdin.isatty():
            ask(case, bench)
    return 0


def __getattr__(name: str):
    """Hand out `sound` and `broken`, the models of the case that is planted."""
    if name == "sound":
        return sound_model()
    if name == "broken":
        needs_planted(case := Case(STATE))
        return plant(case.planted, sound_model())
    raise AttributeError(f"lessons.breaks has no {name!r}")


def run() -> int:
    """Play one turn; say in one sentence what was asked wrongly."""
    try:
        return main()
    except MinimechError as error:
        sys.stdout.flush()
        print(f"break-03: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(run())

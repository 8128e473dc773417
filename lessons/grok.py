"""Watch a network grok: addition modulo 53, learned before your eyes (`make grok`).

    make grok                about two minutes on two cores
    make grok SEED=1         another start and other questions
    make grok DECAY=0        without weight decay: it never will

Half of the 2,809 questions are shown, again and again. Of the other half, two curves: questions
whose mirror (b + a for a + b) was shown, and new ones. It ends once 99 % of the new questions are
right, or after 6,000 steps. Ctrl-C ends it earlier and keeps what there is. The curves go to
out/grok/grok.png, the numbers to out/grok/curves.json; lesson 02 tells what happened.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.expect import OUT
from lessons.techniques.grokking import key_frequencies
from lessons.techniques.modular import ModularAddition, scores, split, train

P, SHARE, STEPS, EVERY, DONE = 53, 0.5, 6000, 20, 0.99
NAMES = {"train": "learned", "mirror": "mirror learned", "new": "new"}


def bar(share: float, width: int = 14) -> str:
    """Draw a share of 1 as a bar."""
    full, empty = ("█", "░") if figures.unicode_works() else ("#", ".")
    n = round(share * width)
    return full * n + empty * (width - n)


def line(row: dict, seconds: float) -> str:
    """Write one row of the curves as a line of the terminal."""
    parts = [
        f"{name} {bar(row[part + '_accuracy'])} {row[part + '_accuracy']:>4.0%}"
        for part, name in NAMES.items()
    ]
    return f"step {row['step']:>5,}  " + "  ".join(parts) + f"  {seconds:>3.0f} s"


def watch(rows: list, seed: int, decay: float, steps: int) -> ModularAddition:
    """Train, and print a line that moves; every tenth row stays. Fills `rows` as it goes."""
    torch.manual_seed(seed)
    model, is_train = ModularAddition(P), split(P, SHARE, seed)
    live, began, good = sys.stdout.isatty(), time.perf_counter(), 0
    for step, _, _ in train(model, is_train, steps, decay):
        if step % EVERY:
            continue
        rows.append({"step": step} | scores(model, is_train))
        stays = len(rows) % 10 == 1
        if live or stays:
            told = line(rows[-1], time.perf_counter() - began)
            print(f"\r{told}" if live else told, end="\n" if stays else "", flush=True)
        good = good + 1 if rows[-1]["new_accuracy"] >= DONE else 0
        if good == 3:  # three rows in a row
            break
    print()
    return model


def report(rows: list, model: ModularAddition | None, folder: Path) -> str:
    """Draw and keep the curves; say in words what they show."""
    steps = [row["step"] for row in rows]
    curves = {name: [row[f"{part}_accuracy"] for row in rows] for part, name in NAMES.items()}
    last, half = rows[-1], next((r["step"] for r in rows if r["new_accuracy"] >= 0.5), None)
    known = next((row["step"] for row in rows if row["train_accuracy"] == 1), None)
    title = (
        f"Of the new questions, half were right at step {half:,}" if half else "Not grokked (yet)"
    )
    plot = figures.line(steps, curves, title, "step", "accuracy")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grok.png").write_bytes(plot.png)
    (folder / "curves.json").write_text(json.dumps(rows) + "\n", encoding="utf-8")
    told = [str(plot), ""]
    if known is not None:
        told.append(f"By step {known:,} it knew all that it was shown, by heart.")
        then = next(row for row in rows if row["step"] == known)
        told.append(
            f"Of the others it had {then['test_accuracy']:.0%} right by then: of mirrors "
            f"{then['mirror_accuracy']:.0%}, of new questions {then['new_accuracy']:.0%}."
        )
    told.append(f"At step {last['step']:,} of new questions {last['new_accuracy']:.1%} are right.")
    if model is not None and half:
        keys, _ = key_frequencies((model.W_out @ model.W_U).detach().T)
        told.append(f"The waves it answers with (95 % of the power): {', '.join(map(str, keys))}.")
    return "\n".join(told + [f"The curves: {folder / 'grok.png'}"])


def number(name: str, default: float, kind: type):
    """Read a number from the environment; end with a sentence if it is none."""
    text = os.environ.get(name) or str(default)
    try:
        value = kind(text)
    except ValueError:
        sys.exit(f"grok: {name}={text} is no number; say for instance {name}=1")
    if not 0 <= value <= 2**31:
        sys.exit(f"grok: {name}={text} should be 0 or more")
    return value


def main() -> int:
    """Watch, then draw; a Ctrl-C on the way goes straight to drawing."""
    seed, decay = number("SEED", 0, int), number("DECAY", 1.0, float)
    steps, rows, model = number("STEPS", STEPS, int), [], None
    print(
        f"Addition modulo {P}, seed {seed}, weight decay {decay:g}. Of {P * P:,} questions half "
        "are shown, the others asked.\nAbout two minutes; Ctrl-C ends it and keeps what there is.\n"
    )
    try:
        model = watch(rows, seed, decay, steps)
    except KeyboardInterrupt:
        print("\n\nInterrupted: this is what there is.")
    if rows:
        print("\n" + report(rows, model, OUT / "grok"))
    return 0 if model is not None else 130


if __name__ == "__main__":
    sys.exit(main())

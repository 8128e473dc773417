"""A reader's guess: what can be read as one, and how far it is from what was observed.

What counts as an answer follows from what was observed: a number ("0.3", "1e-3", "50%", "1,234"), a
head ("L0H1", "0.1"), a layer ("3", "layer 3"), yes or no, a word; or one of the row's choices, by
its letter or its words. Choices may be a dict whose values say what each of them claims:
{"next to nothing": at_most(0.1), "more than 0.1": at_least(0.1)}. Where the question says
"which share" or (0 to 1), no other number is taken.
"""

import math
import re

from lessons.expect import agrees, written

RIGHT, NEAR = 0.05, 0.2  # of what was observed
RULE = (
    "right: within the row's tolerance or 5 % of what was observed;\n"
    "  near: within 20 %, another head of the right layer, or the layer beside"
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ACCEPTED = {
    "yes or no": "yes or no",
    "number": "a number, such as 0.3, -2, 1e-3, 50% or 1,234",
    "head": "a head, such as L0H1 (or 0.1)",
    "layer": "a layer, such as 3 (or L3)",
    "word": "a word",
}
HEAD = re.compile(r"(?:layer|l)?\s*(\d+)\s*(?:[.,:\s]|head|h)\s*(?:head|h)?\s*(\d+)", re.IGNORECASE)
LAYER = re.compile(r"(?:layer|l)?\s*(\d+)", re.IGNORECASE)
SHARE = re.compile(r"which share|\(0 to 1\)")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")


def kind(observed, choices=()) -> str:
    """Say what kind of answer fits what was observed."""
    if choices:
        return "choice"
    if isinstance(observed, bool):
        return "yes or no"
    if isinstance(observed, (int, float)):
        return "number"
    if re.fullmatch(r"L\d+H\d+", observed):
        return "head"
    return "layer" if re.fullmatch(r"(L|layer )\d+", observed) else "word"


def accepted(observed, choices=()) -> str:
    """Say in words which answers can be read."""
    if choices:
        return f"a letter, a to {LETTERS[len(choices) - 1]}, or the words"
    return ACCEPTED[kind(observed)]


def chance(observed, choices=()) -> float | None:
    """How often a coin or a die would be right; None where nobody can say."""
    if choices:
        return 1 / len(choices)
    return 0.5 if isinstance(observed, bool) else None


def read(text: str, observed, choices=()):
    """Turn what was typed into a value to hold against what was observed; None: unreadable."""
    text, which = text.strip(), kind(observed, choices)
    if which == "choice":
        return read_choice(text, list(choices))
    if which == "yes or no":
        words = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}
        return words.get(text.lower())
    if which == "number":
        return read_number(text)
    if which == "head":
        return read_head(text)
    if which == "layer":
        found = LAYER.fullmatch(text)
        return f"{observed.rstrip('0123456789')}{int(found[1])}" if found else None
    return text if re.search(r"\w", text) else None


def refusal(text: str, said, question: str, accepted: str) -> str:
    """Say why what was typed is no answer to this question; nothing, if it is one."""
    if said is None:
        return f"{text!r} cannot be read as {accepted}."
    if SHARE.search(question) and not 0 <= said <= 1:
        return "A share lies between 0 and 1 (50% is read as 0.5)."
    return ""


def read_choice(text: str, choices: list):
    """Find the choice that has these words, this letter, or that alone has this word."""
    words, said = [plain(choice) for choice in choices], plain(read_head(text) or text)
    if said in words:
        return choices[words.index(said)]
    letter = LETTERS.find(said.rstrip(").")) if len(said.rstrip(").")) == 1 else -1
    if 0 <= letter < len(choices):
        return choices[letter]
    for mark in (" ", ""):  # whole words, then the beginning of one
        found = [one for one, word in zip(choices, words) if f" {said}{mark}" in f" {word} "]
        if said and len(found) == 1:
            return found[0]
    return None


def read_head(text: str) -> str | None:
    """Write a head the field's way: "0.1", "l0h1" and "layer 0, head 1" are L0H1."""
    found = HEAD.fullmatch(text)
    return f"L{int(found[1])}H{int(found[2])}" if found else None


def read_number(text: str) -> int | float | None:
    """Read 3, -0.5, .5, 1e-3, 50%, 1,234 or 0,5; a layer may be L3."""
    text = re.sub(r"^(?:layer\s*|l)(?=\d)", "", text.replace("−", "-").lower())
    share, text = text.endswith("%"), text.removesuffix("%").strip()
    text = text.replace(",", "") if THOUSANDS.fullmatch(text) else text.replace(",", ".", 1)
    if re.fullmatch(r"[+-]?\d{1,15}", text) and not share:
        return int(text)
    try:
        value = float(text) / (100 if share else 1)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def plain(value) -> str:
    """Write a value without case, quotes and spaces at its ends, for comparing."""
    return re.sub(r"[·'\"`\s]+", " ", written(value)).strip().lower()


def compare(said, observed, tolerance: float = 0, choices=()) -> tuple[str, str]:
    """Return right, near or off, and how far in words."""
    which = kind(observed, choices)
    if which == "number":
        return compare_numbers(said, observed, tolerance)
    if isinstance(choices, dict):
        right = agrees(choices[said], observed)
    else:
        right = plain(said) == plain(observed)
    if right:
        return "right", "right"
    if which not in ("head", "layer"):
        return "off", "not that"
    layers = [int(re.search(r"\d+", value)[0]) for value in (said, observed)]
    apart = abs(layers[0] - layers[1])
    if which == "head":
        return ("off", "off, another layer") if apart else ("near", "near, that layer")
    return ("near", "near, layer beside") if apart == 1 else ("off", f"{apart} layers off")


def compare_numbers(said, observed, tolerance: float) -> tuple[str, str]:
    """Return right, near or off, and by how much; nothing is near nan."""
    far = abs(said - observed)
    apart = f"{far:.2g}" if far < 100 else f"{far:,.0f}"
    if far <= max(tolerance, RIGHT * abs(observed)):
        return "right", f"right, off by {apart}" if far else "right"
    if far <= NEAR * abs(observed):
        return "near", f"near, off by {apart}"
    return "off", f"off by {apart}"

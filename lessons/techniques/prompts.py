"""Prompts to experiment on, made from the small world's own words.

An indirect-object prompt names two people, then the giver again, and stops before the receiver
(Wang et al. 2022). To corrupt a prompt, fill the same template with other names: all prompts of a
template have the same length, so patching between them position by position is meaningful.
"""

from dataclasses import dataclass
from random import Random

from minimech.world import BOS, IO_TEMPLATES, NAMES, SPACED, WORDS, held_out, label_repeats


def repeated_sequence(seed, length):
    """Return the document BOS, `length` random words, the same words again."""
    words = Random(f"repeat {seed}").sample(SPACED, length)
    return label_repeats([BOS, *words, *words], [None] * (length + 1) + [*range(1, length + 1)])


@dataclass
class IOPrompt:
    """An indirect-object prompt up to the answer; where its names and its end stand (BOS is 0)."""

    text: str
    io: str
    s: str
    template: int
    order: str
    positions: dict


def io_prompt(template, order, io, s, x="Tom", place="store", object="drink"):
    """Fill one template. To corrupt a prompt, fill it with other names."""
    a, b = (io, s) if order == "ABBA" else (s, io)
    slots = {"A": a, "B": b, "S": s, "X": x, "place": place, "object": object}
    text = IO_TEMPLATES[template].format(**slots)
    words = [BOS, *text.replace(",", " ,").replace(".", " .").split()]
    at = {"IO": words.index(io), "S1": words.index(s), "END": len(words) - 1}
    at["S2"] = words.index(s, at["S1"] + 1)
    return IOPrompt(text, io, s, template, order, at)


def io_prompts(n, seed, templates=None, orders=("ABBA", "BABA"), unseen=True):
    """Return n prompts, templates and orders balanced; `unseen`: names from held-out pairs only.

    ABBA has the indirect object first.
    """
    random, prompts = Random(f"io {seed}"), []
    templates = range(len(IO_TEMPLATES)) if templates is None else templates
    for i in range(n):
        s = random.choice(NAMES)
        io = random.choice([name for name in NAMES if name != s and held_out(name, s) == unseen])
        x = random.choice([name for name in NAMES if name not in (s, io)])
        place, thing = random.choice(WORDS["place"]), random.choice(WORDS["object"][:-2])
        template = templates[i // len(orders) % len(templates)]
        prompts.append(io_prompt(template, orders[i % len(orders)], io, s, x, place, thing))
    return prompts

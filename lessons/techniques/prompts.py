"""Prompts to experiment on, made from the small world's own words.

An indirect-object prompt names two people, then the giver again, and stops before the receiver
(Wang et al. 2022). To corrupt a prompt, fill the same template with other names: all prompts of a
template have the same length, so patching between them position by position is meaningful.
"""

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from minimech import MinimechError
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


# ---- batches of tokens, for any model that knows the words ---------------------------------------

TWINS = {  # whom a corrupted twin names in the places of IO, S1 and S2; a, b, c are new names
    "S2": lambda io, s, a, b, c: (io, s, io),  # the other one gives
    "IO": lambda io, s, a, b, c: (a, s, s),  # somebody else receives
    "S": lambda io, s, a, b, c: (io, a, a),  # somebody else gives
    "places": lambda io, s, a, b, c: (s, io, s),  # IO and S1 change places; the answer stays
    "ABC": lambda io, s, a, b, c: (a, b, c),  # three who have nothing to do with it (p_ABC)
}
STEMS = {  # of the eight prompts that TransformerLens's demos publish numbers for
    "When John and Mary went to the shops, {} gave the bag to": ("Mary", "John"),
    "When Tom and James went to the park, {} gave the ball to": ("Tom", "James"),
    "When Dan and Sid went to the shops, {} gave an apple to": ("Dan", "Sid"),
    "After Martin and Amy went to the park, {} gave a drink to": ("Martin", "Amy"),
}
EIGHT = [(t.format(s), io, s) for t, (a, b) in STEMS.items() for io, s in ((a, b), (b, a))]


@dataclass
class IOBatch:
    """Indirect-object prompts of one length, with their corrupted twins.

    tokens [b p]; io, s [b]: the two names' ids; template [b]; at: where IO, S1, S2, END and X, the
    bystander, stand, [b] (the first time, where one is named again); twins: name, as in TWINS, or X
    with another bystander -> tokens [b p], which differ from `tokens` in names alone.
    """

    tokens: Tensor
    io: Tensor
    s: Tensor
    template: Tensor
    at: dict[str, Tensor]
    twins: dict[str, Tensor]

    def looks(self, pattern, head, role):  # [b h q k] -> [b]
        """Say what share of its attention a head, at the end, gives to the place of a role."""
        return pattern[torch.arange(len(self.io)), head, -1, self.at[role]]

    def named(self, role, twin):  # -> [b]
        """Return the ids that a twin has in the place of a role."""
        return self.twins[twin][torch.arange(len(self.io)), self.at[role]]


def io_batches(model, n, seed=0, templates=None, orders=("ABBA", "BABA"), x=None):
    """Return n prompts of each template, as batches of one length, for any model with the words.

    Orders take turns. Names, places and objects are those that the model has as one token; IO and S
    are a held-out pair, which the world model never met. `x`: "IO" or "S" names this one as the
    bystander too. Raises MinimechError for a template with unknown words, or too few names.
    """
    random, groups = Random(f"io batches {seed}"), {}
    names, things = one_token(model, NAMES), one_token(model, WORDS["object"][:-2])
    starts, places = one_token(model, names, space=""), one_token(model, WORDS["place"])
    for template in range(len(IO_TEMPLATES)) if templates is None else templates:
        for i in range(n):
            s = random.choice(names)
            io = random.choice([name for name in names if name != s and held_out(name, s)])
            a, b, c = random.sample([name for name in names if name not in (io, s)], 3)
            free = [name for name in starts if name not in (io, s, a, b, c)]
            slots = {"place": random.choice(places), "object": random.choice(things)}
            known, another = random.sample(free, 2)
            slots["X"] = {"IO": io, "S": s}.get(x, known)
            who = {"": (io, s, s)} | {twin: whom(io, s, a, b, c) for twin, whom in TWINS.items()}
            fill = IO_TEMPLATES[template].format
            first, second = ((0, 1), (1, 0))[orders[i % len(orders)] == "BABA"]
            texts = {k: fill(A=w[first], B=w[second], S=w[2], **slots) for k, w in who.items()}
            texts["X"] = fill(A=who[""][first], B=who[""][second], S=s, **slots | {"X": another})
            row = (model.to_tokens(list(texts.values())), io, s, template)  # [twin p]
            groups.setdefault(row[0].shape[1], []).append(row)
    return [io_batch(model, rows) for _, rows in sorted(groups.items())]


def io_batch(model, rows):
    """Put prompts of one length together: rows of (tokens [twin p], IO, S, template)."""
    texts, ios, givers, templates = zip(*rows)
    tokens = dict(zip(["", *TWINS, "X"], torch.stack(texts, dim=1)))  # [b p] each
    clean = tokens.pop("")
    io, s = (torch.tensor([model.to_single_token(f" {n}") for n in ns]) for ns in (ios, givers))
    end = torch.full_like(io, clean.shape[1] - 1)
    same = [(clean == name[:, None]).int() for name in (io, s)]  # [b p] each
    last = end - same[1].flip(1).argmax(1)  # where S stands for the last time
    at = {"IO": same[0].argmax(1), "S1": same[1].argmax(1), "S2": last, "END": end}
    at["X"] = (clean != tokens["X"]).int().argmax(1)  # 0, where there is no bystander
    return IOBatch(clean, io, s, torch.tensor(templates), at, tokens)


def one_token(model, words, space=" "):
    """Return those of the words which, with a space in front, are one token of this model."""
    kept = []
    for word in words:
        try:
            model.to_single_token(space + word)
            kept.append(word)
        except MinimechError:
            pass
    if len(kept) < 6:
        said = f"only {len(kept)} of {len(words)} words such as {words[0]!r} are one token each"
        raise MinimechError(f"{said} of this model: prompts need at least 6")
    return kept

"""What the world's text asks of a model, token by token, and how the model answers (lesson 08).

At many tokens the text so far decides the next word, or its form: he or she, is or are, the closing
mark, the country of a city. The text knows which (truth.py), so one run over some documents grades
every such behaviour at once: the right word's logit less that of the typical wrong one.
"""

import torch
from torch import Tensor

from lessons import figures, points
from lessons.techniques.truth import Labelled
from minimech import MinimechError
from minimech.world import NAMES, WORDS

MEANT = ("pronoun", "agreement", "quotation")
CALLED = {"indirect_object": "object", "context_fact": "home", "agreement": "verb"}
CALLED |= {"quotation": "quote", "workplace": "job", "category": "kind"}
NOUNS = ("animal", "animals")
# What the rows of lesson 08 gave when it was written: row -> value.
WORLD = {"2.1": 1.0, "2.2": 0.97, "3.1": 0.914, "3.2": 0.0858, "3.3": 0.699, "4.1": 1.0}
WORLD |= {"4.3": 0.915, "5.1": 0.796, "5.2": 0.413, "5.3": 0.99, "5.4": 0.839, "6.1": "1_mid"}
WORLD |= {"6.2": 0.514, "6.3": 1.0, "6.4": 0.56, "7.1": 0.766, "7.2": 0.493, "7.3": 0.544}
WORLD |= {"8.1": 8.332, "8.2": -6.581, "8.3": -5.242, "8.4": 6.003, "9.1": 0.872, "9.2": -0.942}
WORLD |= {"9.3": 1.727, "9.4": 1.554, "9.5": 0.749, "9.6": 0.912, "9.7": 0.864, "10.1": 0.999}
WORLD |= {"10.3": -0.655, "11.1": 0.99, "11.2": 0.978, "11.3": -0.915, "11.4": 0.00466}
WORLD |= {"11.5": 0.966, "12.1": 6.087, "12.2": -7.91, "12.3": 6.087, "12.4": -7.18, "12.5": 5.394}
WORLD |= {"12.6": -8.616, "13.1": 0.993, "13.2": 0.995, "13.3": 0.996, "14.1": 0.834}
WORLD |= {"14.2": 0.774, "14.3": 0.435, "14.5": 0.996, "14.6": 0.303, "15.1": 0.16, "15.2": 0.0903}
WORLD |= {"15.3": 0.0549, "15.4": 0.991, "15.5": 0.958, "16.1": 0.863, "16.2": 8.151, "16.3": 0.839}
WORLD |= {"16.4": 0.701, "16.5": 0.888, "17.1": 0.91, "17.3": 0.94, "17.4": 0.844}
KNOWN = {"world": (WORLD, "recorded")}


def graded(model, text: Labelled) -> dict[str, Tensor]:
    """List the graded answers: behaviour -> [4 n], document, last place before, right, wrong.

    Of a word in several pieces the first counts.
    """
    ids, found = {}, {}
    for b, row in enumerate(text.truth):
        for p in range(1, len(row)):
            if "behaviour" not in row[p] or row[p] is row[p - 1]:
                continue
            wrong = row[p]["wrong"]
            if wrong not in ids:
                ids[wrong] = model.to_tokens(wrong, prepend_bos=False)[0, 0].item()
            asked = b, p - 1, text.tokens[b, p].item(), ids[wrong]
            found.setdefault(row[p]["behaviour"], []).append(asked)
    return {name: torch.tensor(rows).T for name, rows in found.items()}


def part(asked: dict[str, Tensor], start: int, stop: float = torch.inf) -> dict[str, Tensor]:
    """Keep what is asked in the documents from number `start` to `stop`, and count these from 0."""
    kept = {name: rows[:, (rows[0] >= start) & (rows[0] < stop)] for name, rows in asked.items()}
    shift = torch.tensor([[start], [0], [0], [0]])
    return {name: rows - shift for name, rows in kept.items() if rows.shape[1]}


def leads(logits: Tensor, asked: dict[str, Tensor]) -> dict[str, float]:  # [b p v]
    """Return each behaviour's mean lead: the right word's logit less the wrong one's."""
    result = {}
    for name, (b, p, right, wrong) in asked.items():
        result[name] = (logits[b, p, right] - logits[b, p, wrong]).mean().item()
    return result


def loss(logits: Tensor, tokens: Tensor) -> float:  # [b p v], [b p]
    """Return the loss of the next token, nats per token."""
    log_p = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])
    return -log_p.mean().item()


def names(model, text: Labelled) -> Tensor:  # -> [b p]
    """Say which name ends at each token: its number in world.NAMES, -1 where none does."""
    number = {name: i for i, name in enumerate(NAMES)}
    found = torch.full_like(text.tokens, -1)
    for b, row in enumerate(text.truth):
        start = 0
        for p, truth in enumerate(row):
            start = start if p and truth is row[p - 1] else p
            ends = p + 1 == len(row) or row[p + 1] is not truth
            if ends and truth.get("class") in ("male", "female"):
                said = model.to_string(text.tokens[b, start : p + 1]).strip()
                found[b, p] = number.get(said, -1)
    return found


def single(model, word: str) -> bool:
    """Is this word one token, behind a space and at the start of a text?"""
    forms = (f" {word}", word) if word[0].isupper() else (f" {word}",)
    return all(model.to_tokens(form, prepend_bos=False).shape[1] == 1 for form in forms)


def people(model) -> tuple[list[int], list[int]]:
    """Halve the names that are one token each, by their numbers in world.NAMES.

    Even numbers are men's. Of two pairs (John, Mary, Bob, Alice) the first is in the first half.
    """
    kept = [i for i, name in enumerate(NAMES) if single(model, name)]
    halves = [i for i in kept if i // 2 % 2 == 0], [i for i in kept if i // 2 % 2]
    for half in halves:
        if len({i % 2 for i in half}) < 2:
            raise MinimechError(
                f"of {len(NAMES)} names {len(kept)} are one token in this model: too few to halve "
                "men's and women's; take another MODEL (make lesson-08 MODEL=world)"
            )
    return halves


def animals(model) -> list[tuple[str, str]]:
    """Pair each animal with its plural, where both are one token in this model."""
    pairs = [*zip(WORDS["animal"], WORDS["animals"], strict=True)]
    kept = [two for two in pairs if all(single(model, x) for x in two)]
    if not kept:
        raise MinimechError(
            f"none of {len(pairs)} animals is one token in this model, as one and as many; take "
            "another MODEL (make lesson-08 MODEL=world)"
        )
    return kept


def later(values: Tensor, k: int, fill) -> Tensor:  # [b p] -> [b p]
    """Move what is said of each token k places on; before that stands `fill`."""
    moved = torch.full_like(values, fill)
    moved[:, k:] = values[:, : values.shape[1] - k]
    return moved


def questions(text: Labelled, asked: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Ask yes-or-no questions of some tokens: {question: (of which [b p], the truth [b p])}.

    "at the pronoun" and "at the verb": at the word before it, where it has to be foretold.
    """
    name, quoted = text.where("class", "male") | text.where("class", "female"), text.has("in_quote")
    noun = text.has("number") & sum(text.where("class", kind) for kind in NOUNS).bool()
    singular, animal = text.where("number", "singular"), text.where("category", "animal")
    eaten = animal | text.where("category", "food")
    half = (torch.arange(text.tokens.shape[1]) >= text.tokens.shape[1] // 2).expand_as(name)
    before = {kind: torch.zeros_like(name) for kind in ("pronoun", "agreement")}
    for kind, where in before.items():
        where[tuple(asked[kind][:2])] = True
    male, one = text.where("subject_gender", "male"), text.where("subject_number", "singular")
    return {
        "male? at the name": (name, text.where("gender", "male")),
        "subject male? at the pronoun": (before["pronoun"], male),
        "bystander male? there": bystanders(text, before["pronoun"]),
        "singular? at the animal": (noun, singular),
        "subject singular? at the verb": (before["agreement"], one),
        "animal, not food? at the word": (eaten, animal),
        "said before? at a name": (name, text.where("seen")),
        "quoted? in its sentence": (text.where("kind", "quote"), quoted),
        "second half? anywhere": (text.tokens >= 0, half),
    }


def bystanders(text: Labelled, where: Tensor) -> tuple[Tensor, Tensor]:  # [b p] -> [b p], [b p]
    """Of these tokens, keep those with a bystander earlier in their sentence; is he male?"""
    found, male = torch.zeros_like(where), torch.zeros_like(where)
    for b, row in enumerate(text.truth):
        sentence, gender = None, None
        for p, truth in enumerate(row):
            gender = gender if truth.get("sentence") == sentence else None
            sentence = truth.get("sentence")
            if truth.get("role") == "bystander":
                gender = truth["gender"]
            found[b, p] = where[b, p] and gender is not None
            male[b, p] = gender == "male"
    return found, male


def by_word(tokens: Tensor, y: Tensor, learn: Tensor, test: Tensor) -> float:  # [b p] each
    """Guess by the word alone: what was truer of it where we learned. The share that is right."""
    n = int(tokens.max()) + 1
    true = torch.bincount(tokens[learn], y[learn].float(), minlength=n)
    share = true / torch.bincount(tokens[learn], minlength=n)  # nan where it was not met
    guess = torch.where(share.isnan(), y[learn].float().mean(), share) > 0.5
    return (guess[tokens[test]] == y[test]).float().mean().item()


def table(heads: list[str], rows: dict[str, list]) -> str:
    """Write named rows of numbers under their heads."""
    label = max(map(len, rows)) + 2
    lines = [" " * label + "".join(f"{head:>13}" for head in heads)]
    lines += [
        f"{name:<{label}}" + "".join(f"{x:>13.2f}" for x in row) for name, row in rows.items()
    ]
    return "\n".join(lines)


def left(runs: dict[str, dict], title: str) -> figures.Plot:
    """Draw what each change leaves of each behaviour's lead, those that it is meant for first."""
    kinds = [kind for kind in next(iter(runs.values())) if kind != "loss"]
    kinds.sort(key=lambda kind: [*MEANT, kind].index(kind))
    values = [[run[kind] for kind in kinds] for run in runs.values()]
    columns = [CALLED.get(kind, kind) for kind in kinds]
    axes = "behaviour", "what is changed", "share of the lead that is left"
    return figures.heatmap(values, [*runs], columns, title, *axes, signed=True)


def scattered(series: dict[str, list], title: str, xlabel: str, ylabel: str) -> figures.Plot:
    """Draw points, name -> (x, y); as text, each name's mean and reach."""
    plot = points.points(series, title, xlabel, ylabel)
    rows = {
        name: [sum(x) / len(x), sum(y) / len(y), min(y), max(y)] for name, (x, y) in series.items()
    }
    return figures.Plot(title, plot.figure, table(["told", "lead", "lowest", "highest"], rows))

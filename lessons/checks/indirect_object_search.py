"""Where a circuit is looked for in lesson 07: scores that one knows, and how a search goes wrong.

A score is a function of a set of heads. Here it counts the sets it is asked about, and says so when
it is handed something else.
"""

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import torch

from lessons.checks import Wrong
from lessons.checks import indirect_object_loops as loops

A, B, C, D = (0, 0), (0, 1), (1, 0), (1, 1)


class Case(NamedTuple):
    """Heads, what a set of them scores, the bar, and all of that in words."""

    heads: list
    worth: Callable
    bar: float
    said: str


def cases(seed: int) -> list[Case]:
    """List what a circuit is looked for in: from three heads that add up to fifteen that do not."""
    three, adds = [A, B, C], "L0H0 adds 0.625 to the score, L0H1 adds 0.125, L1H0 adds 0.25"
    alone = summed({A: 0.625, B: 0.125, C: 0.25})
    signs = "L0H0 adds 0.75 to the score, L0H1 adds 0.5, and L1H0 takes 0.25 off"
    pair = "a circuit scores 1 if L0H1 and L1H0 are both there, else 0"
    spare = "L0H0 adds 0.5 to the score, and either of L0H1 and L1H0, or both, add 0.5"
    ward = "a circuit with {} scores 1; but 0.5 if it has {} and not {}, which stops it"
    return [
        Case(three, alone, 0.8, adds),
        Case(three, alone, 0.875, adds),
        Case([A, B, C, D], lambda c: float({B, C} <= c), 0.5, pair),
        Case(three, lambda c: (A in c) / 2 + (B in c or C in c) / 2, 0.9, spare),
        Case(three, warded(B, C, A), 0.9, ward.format("L0H1", "L1H0", "L0H0")),
        Case(three, warded(B, A, C), 0.9, ward.format("L0H1", "L0H0", "L1H0")),
        Case(three, summed({A: 0.75, B: 0.5, C: -0.25}), 0.9, signs),
        wired(),
        planted(seed, n_layers=2, n_heads=3),
        planted(seed, n_layers=5, n_heads=3),
        Case(three, lambda c: 1.0, 0.9, "every set of heads scores 1, the empty one too"),
    ]  # fmt: skip


def summed(worth: dict) -> Callable:
    """Score a circuit by what its heads add, each on its own."""
    return lambda circuit: math.fsum(worth[head] for head in circuit)


def warded(does, harms, stops) -> Callable:
    """Score 1 with the head that does the work, half if one that harms it goes unstopped."""
    return lambda circuit: (
        (does in circuit) * (0.5 if harms in circuit and stops not in circuit else 1.0)
    )


def wired() -> Case:
    """Look for a circuit in a model that was wired by hand: L1H0 says what L0H0 tells it."""
    model, tokens = loops.wired_model(), torch.tensor([[1]])
    silent = {layer: torch.zeros(1, 1, 2, 4) for layer in range(2)}

    def worth(circuit):
        return loops.circuit_alone(model, tokens, circuit, silent)[0, 0, 2].item() / 11

    said = "L1H0 says 11 if L0H0 tells it 10, 1 if L0H0 is silent; the score is a share of 11"
    return Case([A, B, C, D], worth, 0.9, said)


def planted(seed: int, n_layers: int, n_heads: int) -> Case:
    """Hide a pair that works together, two that stand in for each other, one alone, one against."""
    heads = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    random = Random(f"planted {seed} {len(heads)}")
    first, second, one, other, alone, against, *idle = random.sample(heads, len(heads))
    crumbs = {head: random.uniform(0, 0.01) for head in idle}

    def worth(circuit):
        both, backup = {first, second} <= circuit, one in circuit or other in circuit
        sure = 0.5 * both + 0.25 * backup + 0.25 * (alone in circuit) - 0.12 * (against in circuit)
        return sure + math.fsum(crumbs[head] for head in circuit if head in crumbs)

    said = "two work together, two stand in for each other, one works against"
    return Case(heads, worth, 0.85, f"of {len(heads)} heads {said}")


# ---- asking --------------------------------------------------------------------------------------


class Score:
    """A case's score, as a search is handed it; a set that is asked about again costs nothing."""

    def __init__(self, case: Case, most: int = 1000):
        self.case, self.known, self.most = case, {}, most

    def __call__(self, circuit) -> float:
        """Say what a set of heads scores."""
        circuit = heads_of(circuit, self.case, "score was asked about")
        if circuit not in self.known:
            if len(self.known) >= self.most:
                raise Wrong(
                    f"yours asks `score` about more than {self.most:,} sets of "
                    f"{len(self.case.heads)} heads: do not go through all sets there are, ask what "
                    "is left when one head goes, and then the next"
                )
            self.known[circuit] = self.case.worth(circuit)
        return self.known[circuit]


def heads_of(circuit, case: Case, what: str) -> frozenset:
    """Read a set of heads; raise Wrong if it is something else."""
    if circuit in case.heads:
        raise Wrong(f"{what} one head, {circuit}: a circuit is a set of heads, {{{circuit}}}")
    if not isinstance(circuit, (set, frozenset)):
        raise Wrong(f"{what} a {type(circuit).__name__}: a circuit is a set of heads")
    strange = [head for head in circuit if head not in case.heads]
    if strange:
        raise Wrong(f"{what} a set with {strange[0]!r}, which is none of the heads it was given")
    return frozenset(circuit)


def shown(circuit) -> str:
    """Write a circuit as its heads' names: {L0H1, L1H0}."""
    return "{" + ", ".join(f"L{layer}H{head}" for layer, head in sorted(circuit)) + "}"


def lacking(circuit: frozenset, case: Case) -> str:
    """Say what a circuit lacks; "" if it reaches the bar, and needs all that it has."""
    if (score := case.worth(circuit)) < case.bar:
        return f"the circuit's score is {score:.3g}: the bar, {case.bar:g}, is not reached"
    for head in sorted(circuit):
        if (rest := case.worth(circuit - {head})) >= case.bar:
            rest = f"without it, the rest still scores {rest:.3g}"
            return f"L{head[0]}H{head[1]} is not needed: {rest}, and the bar is {case.bar:g}"
    return ""


# ---- how a search goes wrong ---------------------------------------------------------------------


def slips(case: Case) -> dict:
    """Map the sentence of each usual mistake to the circuit that it would find."""
    heads, worth, bar = case.heads, case.worth, case.bar
    whole = frozenset(heads)
    missed = {head: worth(whole) - worth(whole - {head}) for head in heads}
    alone = {head: worth(frozenset([head])) for head in heads}
    at_least = "at least the bar: a circuit that scores just that is good enough"
    return {
        "a head that others stand in for is not missed when it alone goes, nor are they: look at "
        "what is left together, not at one head at a time": {
            head for head in heads if worth(whole - {head}) < bar
        },
        "a head may do its work only together with another: yours takes heads by what each scores "
        "alone": ranked(alone, case),
        "what a head is worth depends on who else is there: yours ranks the heads once, by what "
        "the whole model loses without each": ranked(missed, case),
        "once a head has gone, one that was needed before may be needed no more: yours asks about "
        "each head once": one_pass(heads, case),
        "once a head has gone, one that was needed before may be needed no more: yours asks about "
        "each head once, from the last": one_pass(heads[::-1], case),
        "adding one head may help nothing until a second is there: yours stops too early": climbed(
            case
        ),
        "yours takes heads in the order in which they are listed, until the bar is reached": ranked(
            dict.fromkeys(heads, 0), case
        ),
        "enough is enough: yours goes on to the highest score there is": highest(case),
        at_least: backward(case, lambda score: score > bar),
        "the bar is given: yours is always 0.9": backward(case, lambda score: score >= 0.9),
        "higher is better: yours refuses scores far above 1": backward(
            case, lambda score: abs(1 - score) <= 1 - bar + 1e-9
        ),
        "yours hands back all heads: leave out what is not needed": whole,
        "yours hands back the heads that it leaves out": whole - backward(
            case, lambda score: score >= bar
        ),
    }  # fmt: skip


def explained(circuit: frozenset, case: Case, others: list[Case], finds: Callable) -> str:
    """Name the mistake that finds this circuit, and what else was found, most often; or say ""."""
    like = [said for said, wrong in slips(case).items() if wrong == circuit]
    agree = dict.fromkeys(like, 0)
    for other in others if len(like) > 1 else []:
        try:
            found, wrongs = finds(other), slips(other)
        except Exception:  # it stops: that explains nothing
            continue
        for said in like:
            agree[said] += wrongs[said] == found
    return f"{max(agree, key=agree.get)}\n  " if like else ""


def ranked(order: dict, case: Case) -> frozenset:
    """Take heads from the best down until the bar is reached."""
    circuit = frozenset()
    for head in sorted(order, key=order.get, reverse=True):
        if case.worth(circuit) >= case.bar:
            break
        circuit |= {head}
    return circuit


def highest(case: Case) -> frozenset:
    """Go on leaving out heads as long as that does not make the score lower."""
    circuit, worth = frozenset(case.heads), case.worth
    while circuit:
        less = max((circuit - {head} for head in sorted(circuit)), key=worth)
        if worth(less) < worth(circuit):
            break
        circuit = less
    return circuit


def one_pass(order: list, case: Case) -> frozenset:
    """Leave out, one after the other, what is not needed at that time."""
    circuit = frozenset(order)
    for head in order:
        if case.worth(circuit - {head}) >= case.bar:
            circuit -= {head}
    return circuit


def climbed(case: Case) -> frozenset:
    """Add the head that helps most, as long as one helps."""
    circuit = frozenset()
    while case.worth(circuit) < case.bar:
        more = max((circuit | {head} for head in case.heads if head not in circuit), key=case.worth)
        if case.worth(more) <= case.worth(circuit):
            break
        circuit = more
    return circuit


def backward(case: Case, is_enough: Callable) -> frozenset:
    """Leave out the head that is missed least, as long as what is left is enough."""
    circuit = frozenset(case.heads)
    while circuit:
        less = max((circuit - {head} for head in sorted(circuit)), key=case.worth)
        if not is_enough(case.worth(less)):
            break
        circuit = less
    return circuit

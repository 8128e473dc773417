"""Where a circuit is looked for in lesson 07: scores that one knows.

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

A, B, C, D, E = (0, 0), (0, 1), (1, 0), (1, 1), (2, 0)


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
    spare = "L0H0 adds 0.25 to the score, and either of L0H1 and L1H0, or both, add 0.5"
    hair = "L0H0 adds 0.5 to the score, L0H1 adds 0.396, L1H0 adds 0.1"
    five, chain = [A, B, C, D, E], "a circuit with L2H0 scores 1; but 0.5 if L1H1 is there and not "
    chain += "L1H0, which stops it, or L1H0 and not L0H1, or L0H1 and not L0H0"
    ward = "a circuit with {} scores 1; but 0.5 if it has {} and not {}, which stops it"
    return [
        Case(three, alone, 0.8, adds),
        Case(three, alone, 0.875, adds),
        Case([A, B, C, D], lambda c: float({B, C} <= c), 0.5, pair),
        Case(three, lambda c: (A in c) / 4 + (B in c or C in c) / 2, 0.7, spare),
        Case(three, warded(B, C, A), 0.9, ward.format("L0H1", "L1H0", "L0H0")),
        Case(three, warded(B, A, C), 0.9, ward.format("L0H1", "L0H0", "L1H0")),
        Case(three, summed({A: 0.75, B: 0.5, C: -0.25}), 0.9, signs),
        Case(three, summed({A: 0.5, B: 0.396, C: 0.1}), 0.9, hair),
        Case(five, chained, 0.9, chain),
        Case(five[::-1], chained, 0.9, chain),
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


def chained(circuit) -> float:
    """Score 1 with E; but half if one is there that harms, and not the one before, who stops it."""
    free = any(one in circuit and stops not in circuit for stops, one in ((A, B), (B, C), (C, D)))
    return (E in circuit) * (0.5 if free else 1.0)


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

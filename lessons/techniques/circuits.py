"""A whole circuit held against the whole model (lesson 07): faithful, complete, minimal?

    F = Knockouts(model, batches, "mean")
    whole, circuit = all_heads(model), {(0, 1), (1, 1)}
    F(circuit).diff, F(circuit).right, faithfulness(F(circuit).diff, F(whole).diff)

Wang et al. 2022, sections 2.1 and 4: C(x) is the model run with every head outside the circuit C
knocked out, F(C) its mean logit difference, M the whole model. Only heads are knocked out; MLPs,
layer norms and embeddings stay in every circuit.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from lessons import figures
from lessons.techniques import indirect_object
from lessons.techniques.indirect_object import Head
from lessons.techniques.roads import called, donor, hushing

HOWS = {  # what a head that is knocked out says instead
    "mean": "its mean over strangers, template by template",
    "resample": "what it says with three strangers",
    "exchange": "what it says when the other one gives",
}

SCALE = "ln_final.hook_scale"


@dataclass(frozen=True)
class Outcome:
    """What a circuit says, over all prompts.

    diff: mean logit difference; right: share of prompts whose IO is first of all words; io, s: the
    two names' logits above the mean of the names that occur.
    """

    diff: float
    right: float
    io: float
    s: float


class Knockouts:
    """F: circuit -> Outcome, on some batches, with one way to knock out; answers are remembered."""

    def __init__(self, model, batches, how: str = "mean"):
        self.model, self.batches, self.how = model, batches, how
        self.donors = [donor(model, batch, how) for batch in batches]
        self.names = torch.cat([batch.io for batch in batches]).unique()
        self.known: dict[frozenset, Outcome] = {}

    def __call__(self, circuit) -> Outcome:
        circuit = frozenset(circuit)
        if circuit not in self.known:
            pairs = zip(self.batches, self.donors)
            told = torch.cat([self.measure(batch, donor, circuit) for batch, donor in pairs], 1)
            self.known[circuit] = Outcome(*told.mean(1).tolist())
        return self.known[circuit]

    def measure(self, batch, donor, circuit) -> Tensor:  # -> [4 b]
        """Return logit difference, whether it is right, and both names' levels, per prompt."""
        logits = indirect_object.knocked_out(self.model, batch.tokens, set(circuit), donor)
        diff = indirect_object.logit_diff(logits, batch.io, batch.s)  # [b]
        last, rows = logits[:, -1], torch.arange(len(diff))  # [b v]
        level = last - last[:, self.names].mean(1, keepdim=True)
        right = (last.argmax(-1) == batch.io).float()
        return torch.stack([diff, right, level[rows, batch.io], level[rows, batch.s]])


class Silenced(NamedTuple):
    """What is lost without some heads: shares of the whole model's logit difference.

    lost: as it runs; held: with the last norm's divisor held at the plain run's; divisor: which
    part of its size it has at END, where it is not held; right: share of prompts still right.
    """

    lost: float
    held: float
    divisor: float
    right: float


def silenced(F: Knockouts, whole, silent) -> Silenced:
    """Silence heads, everything else running as it does; and once more, the last divisor held."""
    diffs, parts, at, run = [], [], {"names_filter": SCALE}, F.model.run_with_cache
    for batch, instead in zip(F.batches, F.donors):
        plain = run(batch.tokens, **at)[1][SCALE]  # [b p 1]
        hooks = [("*.hook_z", hushing(silent, instead))]
        free = run(batch.tokens, **at, fwd_hooks=hooks)[1][SCALE]
        hooks += [(SCALE, lambda scale, hook, plain=plain: plain.clone())]
        logits = F.model.run_with_hooks(batch.tokens, fwd_hooks=hooks)
        diffs.append(indirect_object.logit_diff(logits, batch.io, batch.s))
        parts.append((free / plain)[:, -1, 0])
    rest, all_heads = F(frozenset(whole) - set(silent)), F(whole).diff
    held, divisor = (torch.cat(some).mean().item() for some in (diffs, parts))
    return Silenced(1 - rest.diff / all_heads, 1 - held / all_heads, divisor, rest.right)


def faithfulness(circuit: float, whole: float) -> float:
    """Return 1 - |F(M) - F(C)| / |F(M)|: 1 if the circuit does as much, 0 if nothing."""
    return 1 - abs(whole - circuit) / abs(whole)


def subsets(heads) -> list[frozenset]:
    """List all subsets, the empty one first."""
    heads = sorted(heads)
    sizes = range(len(heads) + 1)
    return [frozenset(one) for size in sizes for one in combinations(heads, size)]


def some_subsets(heads, most: int = 64) -> list[frozenset]:
    """List all subsets, or where there are more than `most`, none and all: each costs a run."""
    return subsets(heads) if 2 ** len(heads) <= most else [frozenset(), frozenset(heads)]


def minimality(F: Knockouts, circuit) -> dict[Head, float]:
    """For each head v the largest |F(C \\ K) - F(C \\ (K and v))| over sets K of others.

    Of a large circuit two sets K are asked, none and all; the paper searched for each head's own.
    """
    C = frozenset(circuit)
    scores = {}
    for v in sorted(C):
        kept = [C - K for K in some_subsets(C - {v})]
        scores[v] = max(abs(F(rest).diff - F(rest - {v}).diff) for rest in kept)
    return scores


def incompleteness(F: Knockouts, circuit, whole) -> dict[frozenset, tuple[float, float]]:
    """For every K of the circuit: F(C \\ K) and F(M \\ K). A complete circuit has them equal."""
    C, M = frozenset(circuit), frozenset(whole)
    return {K: (F(C - K).diff, F(M - K).diff) for K in some_subsets(C)}


def least_complete(F: Knockouts, circuit, whole) -> tuple[frozenset, float]:
    """Grow K head by head, the one first that drives F(C \\ K) and F(M \\ K) furthest apart.

    Of more than six heads five are tried at random, three times (in the paper's appendix M, ten).
    """
    C, M = frozenset(circuit), frozenset(whole)

    def apart(K):
        return abs(F(C - K).diff - F(M - K).diff)

    random, best, K = Random(0), frozenset(), frozenset()
    while C - K and len(K) < (len(C) if len(C) < 8 else 3):
        left = sorted(C - K)
        tried = left if len(left) <= 6 else random.sample(left, 5)
        K = max((K | {head} for head in tried), key=apart)
        best = max(best, K, key=apart)
    return best, apart(best)


def most_complete(F: Knockouts, whole, large) -> tuple[float, float]:
    """Say how far from complete the best circuit with fewer heads than `large` is; and `large`."""

    def apart(C):
        return max(abs(ours - theirs) for ours, theirs in incompleteness(F, C, whole).values())

    return min(apart(C) for C in subsets(whole) if len(C) < len(large)), apart(large)


def rivals(heads, size: int, limit: int = 15, seed: int = 0) -> list[frozenset]:
    """List all circuits of a size, or where there are more than `limit`, ten at random."""
    if math.comb(len(heads), size) <= limit:
        return [frozenset(one) for one in combinations(heads, size)]
    random = Random(seed)
    return [frozenset(random.sample(heads, size)) for _ in range(10)]


def shortly(circuit) -> str:
    """Name a circuit's heads, or say how many there are."""
    return called(frozenset(circuit)) if len(circuit) < 5 else f"{len(circuit)} heads"


def ranking(score: dict, best: frozenset, found: frozenset) -> figures.Plot:
    """Show how faithful each circuit is, the most faithful first; one is marked."""
    order = sorted(score, key=score.get, reverse=True)
    names = [shortly(one) for one in order]
    names = [f"{name}, {i}" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]
    title = f"{shortly(best)} alone: {score[best]:.2f}. A search ends with {shortly(found)}"
    marked = [names[order.index(best)]]
    values = [score[one] for one in order]
    return figures.bars(values, names, title, "faithfulness", marked=marked, limit=0.9)

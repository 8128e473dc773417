"""What `make check-07` asks of each exercise: a case that one can read, then odd sizes.

What is right is said by loops over heads and positions (indirect_object_loops.py), which also has
the small models; mistakes that have a name are in indirect_object_mistakes.py, those of whole runs
in indirect_object_runs.py. The search for a circuit has indirect_object_search.py, and its mistakes
indirect_object_slips.py.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from lessons.checks import Wrong, brief, called, judge, same
from lessons.checks import indirect_object_loops as loops
from lessons.checks import indirect_object_mistakes as mistakes
from lessons.checks import indirect_object_runs as runs
from lessons.checks import indirect_object_search as search
from lessons.checks import indirect_object_slips as slips
from lessons.checks.indirect_object_loops import draw, ids

WIRED = """where L0H0 says 10 x for token x, L0H1 says 5 x,
    L1H0 says x plus what L0H0 said, MLP 1 says what L0H0 said;
    the four logits are what L0H0, L0H1, L1H0 and MLP 1 said"""


def with_model(function, model, *rest):
    """Call the learner's function with a model, which it must leave as it is."""
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    result = called(function, model, *rest)
    for name, weight in model.state_dict().items():
        if not torch.equal(weight, before[name]):
            raise Wrong(f"your function changed a weight of the model: {name} is needed again")
    return result


class Trial(NamedTuple):
    """One call of the learner's function: how it reads, how it is made, and how near it must be.

    `right` returns what is right, and `mistakes` what known mistakes would give.
    """

    call: str
    ask: Callable
    right: Callable
    mistakes: Callable
    atol: float = 1e-5


def judge_all(trials: list[Trial]) -> None:
    """Judge one call after the other; of mistakes that look alike in one, ask the later ones."""
    for number, trial in enumerate(trials):
        got, want = trial.ask(), trial.right()
        is_list = isinstance(got, (list, tuple)) and getattr(want, "ndim", 0)
        if same(got, want, trial.atol) and not is_list:
            continue
        named = trial.mistakes()
        like = {said: value for said, value in named.items() if same(got, value, trial.atol)}
        for later in trials[number + 1 :] if len(like) > 1 else []:
            like = {said: like[said] for said in agreeing(later, like)} or like
        judge(got, want, trial.call, like, trial.atol)


def agreeing(trial: Trial, sentences) -> list[str]:
    """List the sentences that would explain what the learner's function gives in another call."""
    try:
        got, right, named = trial.ask(), trial.right(), trial.mistakes()
    except Exception:  # it stops: that explains nothing
        return list(sentences)
    return [said for said in sentences if same(got, named.get(said, right), trial.atol)]


# ---- 7.1 logit difference ------------------------------------------------------------------------


def check_logit_diff(mine, seed):
    """Judge logit_diff: two prompts of two positions, then odd sizes, then a single prompt."""
    logits = torch.tensor([[[9.0, 9, 7], [5, 2, 1]], [[0, 8, 0], [1, 4, 10]]])
    small = logits, torch.tensor([0, 1]), torch.tensor([1, 2])
    odd = [(draw(seed, b, p, 11), ids(seed, b, below=6), ids(seed, b, below=5) + 6)
           for b, p in ((5, 3), (3, 7), (1, 4))]  # fmt: skip
    trials = []
    for case in [small, *odd]:
        logits, *names = case
        shown = brief(logits) if case is small else f"logits {list(logits.shape)}"
        trials.append(
            Trial(
                f"logit_diff({shown}, right={brief(names[0])}, wrong={brief(names[1])})",
                partial(called, mine.logit_diff, *case),
                partial(loops.difference, *case),
                partial(mistakes.differences, *case),
            )
        )
    judge_all(trials)


# ---- 7.2 path patching ---------------------------------------------------------------------------


def check_direct_effect(mine, seed):
    """Judge direct_effect: a model that one can run by hand, then heads of a random one."""
    wired, one, two = loops.wired_model(), torch.tensor([[1]]), torch.tensor([[2]])
    random, sizes = loops.random_model(seed), (2, 5)
    tokens, other = ids(seed, *sizes, below=13), ids(seed + 9, *sizes, below=13)
    cases = [(wired, one, two, 0, 0), (wired, one, two, 1, 0)]
    cases += [(random, tokens, other, *at) for at in ((0, 1), (1, 2), (2, 0), (0, 2))]
    trials = []
    for case in cases:
        layer, head = case[3:]
        call = f"direct_effect(model, tokens, other, {layer}, {head}), 3 layers of 3 heads"
        if case[0] is wired:
            call = f"direct_effect(model, [[1]], [[2]], {layer}, {head}), {WIRED}"
        ask = partial(with_model, mine.direct_effect, *case)
        atol = 1e-2 if case[0] is wired else 1e-4
        trials += [Trial(call, ask, partial(loops.direct, *case), partial(runs.paths, *case), atol)]
    judge_all(trials)


# ---- 7.3 copying score ---------------------------------------------------------------------------


def check_copying_score(mine, seed):
    """Judge copying_score: four names of which two are copied, then many, heads one by one."""
    four, stream, trials = loops.four_names(), 2 * torch.eye(8)[:4] + 1, []
    against = "L0H1 writes against the name that it reads"
    for *rest, said in [
        (0, 0, 1, "L0H0 writes names 0 and 1 as they are, but 3 for 2 and 2 for 3"),
        (0, 1, 1, against),
        (0, 1, 1, -1, against),
    ]:
        case, shown = (four, stream, torch.arange(4), *rest), ", ".join(map(str, rest))
        call = f"copying_score(model, stream, [0, 1, 2, 3], {shown}), where {said}"
        ask = partial(with_model, mine.copying_score, *case)
        trials += [Trial(call, ask, partial(loops.copied, *case), partial(mistakes.copies, *case))]
    judge_all([*trials, many_names(mine, loops.copying_model(seed), seed)])


def many_names(mine, model, seed) -> Trial:
    """Ask for the scores of several heads together: one number alone may be right by luck."""
    names = torch.randperm(47, generator=torch.Generator().manual_seed(seed))[:31]
    given = model, model.W_E[names] + model.W_U.T[names] + draw(seed, 31, 18) / 3, names
    calls = [(1, 1), (1, 0, 3), (0, 2, 7), (1, 2, 4, -1), (1, 2, 4), (0, 1, 1)]

    def ask():
        return torch.tensor([float(with_model(mine.copying_score, *given, *r)) for r in calls])

    def named():
        every = [mistakes.copies(*given, *rest) for rest in calls]
        numbers = [said for said, score in every[0].items() if score.ndim == 0]
        return {said: torch.stack([each[said] for each in every]) for said in numbers}

    def right():
        return torch.tensor([loops.copied(*given, *rest) for rest in calls])

    call = (
        "copying_score(model, stream, names, ...) of 31 names; layer, head, k and sign being\n    "
    )
    return Trial(call + ", ".join(map(str, calls)), ask, right, named)


# ---- 7.4 mean over the template ------------------------------------------------------------------


def check_template_means(mine, seed):
    """Judge template_means: four prompts of two templates by hand, then odd sizes."""
    small = torch.tensor([1.0, 10, 3, 50]).view(4, 1, 1, 1), torch.tensor([7, 2, 7, 2])
    two = torch.tensor([[1.0, 2], [3, 6], [5, 4]]).view(3, 2, 1, 1), torch.tensor([1, 1, 0])
    odd = draw(seed, 7, 5, 3, 4), torch.tensor([4, 9, 4, 4, 0, 9, 4])
    trials = []
    for case in (small, two, odd):
        z, template = case
        shown = brief(z.flatten(1)) if len(z) < 5 else "z [b p h e]"
        call = f"template_means({shown}, template={brief(template)})"
        if len(z) < 5:
            call += f", where z is {list(z.shape)}, one head of one number"
        ask = partial(called, mine.template_means, *case)
        trials += [Trial(call, ask, partial(loops.means, *case), partial(mistakes.averages, *case))]
    judge_all(trials)


# ---- 7.5 knock out -------------------------------------------------------------------------------


def check_knocked_out(mine, seed):
    """Judge knocked_out: a model that one can run by hand, then circuits in a random one."""
    wired, one, random = loops.wired_model(), torch.tensor([[1]]), loops.random_model(seed, 3, 4)
    says = {0: torch.tensor([40.0, 6]), 1: torch.tensor([8.0, 9])}  # wire 0 of z, by head
    by_hand = {layer: said.view(1, 1, 2, 1) * torch.eye(4)[0] for layer, said in says.items()}
    tokens = ids(seed, 2, 5, below=13)
    donor = {layer: draw(seed + layer, 2, 5, 4, 3) for layer in range(3)}
    cases = [(wired, one, {(1, 0)}, by_hand), (wired, one, {(0, 0), (1, 0)}, by_hand)]
    circuits = {(0, 1), (1, 2), (2, 1)}, {(1, 0), (1, 1), (1, 2), (1, 3)}, {(0, 2), (2, 0)}, set()
    every = {(layer, head) for layer in range(3) for head in range(4)}
    cases += [(random, tokens, circuit, donor) for circuit in (*circuits, every)]
    trials = []
    for case in cases:
        call = f"knocked_out(model, tokens, {search.shown(case[2])}, donor), 3 layers of 4 heads"
        if case[0] is wired:
            call = f"knocked_out(model, [[1]], {search.shown(case[2])}, donor), {WIRED};"
            call += "\n    the donor holds 40 for L0H0, 6 for L0H1, 8 for L1H0"
        ask, atol = partial(knocked, mine, *case), 1e-2 if case[0] is wired else 1e-4
        trials += [
            Trial(call, ask, partial(loops.circuit_alone, *case), partial(runs.knocks, *case), atol)
        ]
    judge_all(trials)


def knocked(mine, model, tokens, circuit, donor) -> torch.Tensor:
    """Run a circuit as the learner does, and see that what was handed over is as it was."""
    given, keeps = {layer: z.clone() for layer, z in donor.items()}, set(circuit)
    got = with_model(mine.knocked_out, model, tokens, keeps, given)
    if given.keys() != donor.keys() or any((given[n] != donor[n]).any() for n in donor):
        raise Wrong("your function changed the donor: it is needed for other circuits, clone first")
    if keeps != circuit:
        raise Wrong("your function changed the circuit: whoever called it still needs it")
    return got


# ---- 7.6 find a circuit --------------------------------------------------------------------------


def check_find_circuit(mine, seed):
    """Judge find_circuit by what was asked of it: enough, nothing too much, not too often."""
    cases = search.cases(seed)
    for number, case in enumerate(cases):
        circuit = sought(mine, case)
        if amiss := search.lacking(circuit, case):
            finds = partial(sought, mine)
            others = cases[:number] + cases[number + 1 :]
            why = slips.explained(circuit, case, others, finds)
            call = f"find_circuit(score, heads, bar={case.bar:g}), where {case.said}"
            raise Wrong(f"{why}{amiss}\n  {call}\n    got       {search.shown(circuit)}")


def sought(mine, case) -> frozenset:
    """Let the learner look for a circuit."""
    heads = list(case.heads)
    found = called(mine.find_circuit, search.Score(case), heads, case.bar)
    if heads != case.heads:
        raise Wrong("your function changed the list of heads: whoever called it still needs it")
    return search.heads_of(found, case, "find_circuit should return a set of heads, not")

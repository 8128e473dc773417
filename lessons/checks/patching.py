"""What `make check-06` asks of each exercise: small cases by hand first, then odd sizes.

What is right is said by slow loops and small steps (patching_loops.py); the mistakes that have a
name are in patching_mistakes.py. Work that is not to be done is counted.
"""

from itertools import combinations
from random import Random

import torch
from torch import Tensor

from lessons.checks import Wrong, brief, called, judge
from lessons.checks import patching_loops as loops
from lessons.checks import patching_mistakes as mistakes
from lessons.checks.patching_loops import draw
from minimech.hooks import HookPoint

# ---- 6.1 normalised ------------------------------------------------------------------------------


def check_normalised(mine, seed):
    """Judge normalised: two prompts, many patches, the clean metric below the other, odd sizes."""
    small = torch.tensor([3.0, 2]), torch.tensor([8.0, 7]), torch.tensor([1.0, 1])
    two = torch.tensor([[9.0, 5], [2, 0], [10, 10], [-9, 2]]), *small[1:]
    fall = torch.tensor([4.0, 2]), torch.tensor([3.5, 1]), torch.tensor([3.0, 2])
    odd = draw(seed, 2, 3, 5), draw(seed, 5) + 4, draw(seed, 5, 1)[:, 0] - 1
    for case in (small, two, fall, odd):
        names = "patched, clean, corrupted" if case is odd else ", ".join(map(brief, case))
        got = called(mine.normalised, *case)
        judge(got, loops.normalised(*case), f"normalised({names})", mistakes.shares(*case))


# ---- 6.2 put one position in ---------------------------------------------------------------------


def check_put(mine, seed):
    """Judge put: two prompts of two numbers, the stream, heads, other places, twice."""
    small = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])  # [b p d]
    small = small, 10 * small
    stream = draw(seed, 3, 5, 4), draw(seed, 5, 3, 4).transpose(0, 1)
    heads = draw(seed, 2, 5, 3, 4), draw(seed, 5, 2, 3, 4).transpose(0, 1)
    cases = [(*small, 1, None), (*small, 1, 0), (*stream, 2, None), (*stream, 1, 3)]
    cases += [(*heads, 4, None), (*stream, -2, None), (*heads, -1, -3), (*heads, 3, 0)]
    for activation, donor, position, source in cases:
        place = f"{position}" if source is None else f"{position}, source={source}"
        known = mistakes.places(activation, donor, position, source)
        shown = f"{brief(donor)}, {place}" if donor is small[1] else f"donor, {place}"
        call = f"put({shown}), its hook called with "
        call += brief(activation) if donor is small[1] else f"{list(activation.shape)}"
        want = loops.put(activation, donor, position, source)
        judge(hooked(mine, activation, donor, position, source)[0], want, call, known)
    got = hooked(mine, *stream, 2, None, times=2)[1]
    judge(got, loops.put(2 * stream[0], stream[1], 2, None), "the same hook, in a second run")


def hooked(mine, activation, donor, position, source, times: int = 1) -> list[Tensor]:
    """Make the hook, call it as the model does, and return what the runs would go on with."""
    before = donor.clone()
    given = {} if source is None else {"source": source}
    made = mine.put(donor, position, **given)
    if not callable(made):
        what = "nothing" if made is None else f"a {type(made).__name__}"
        raise Wrong(f"put should return a hook, a function of (activation, hook), not {what}")
    results = []
    for run in range(times):
        own = (1 + run) * activation
        result = made(own, HookPoint("blocks.0.hook_resid_pre"))
        if not torch.equal(donor, before):
            raise Wrong("your hook changed `donor`: it will be used again. Only the activation is "
                        "yours")  # fmt: skip
        if result is None and torch.equal(own, (1 + run) * activation):
            raise Wrong("your hook returned None and left the activation as it was: nothing is "
                        "patched. Return what the run should go on with")  # fmt: skip
        results.append(own if result is None else result)
    return results


# ---- 6.3 attribution patching --------------------------------------------------------------------


def check_attribution(mine, seed):
    """Judge attribution on a tiny model: one prompt, two, all kinds of sites, then more hooks."""
    model = loops.tiny(seed)
    one, (base, donor) = loops.tokens(seed, 1, 3), loops.tokens(seed)
    half = [("blocks.0.hook_attn_out", lambda x, hook: 0.5 * x)]
    cases = [(*one, loops.SITES[:1], ()), (base, donor, loops.SITES, ())]
    cases += [(base, donor, loops.SITES[2:0:-1], half)]
    for base, donor, sites, hooks in cases:
        got = estimated(mine, model, base, donor, sites, hooks)
        want = loops.slopes(model, base, donor, loops.metric, sites, hooks)
        known = mistakes.estimates(model, base, donor, sites, hooks)
        for site in sites:
            what = f"{'one prompt' if len(base) == 1 else 'two prompts'}, {site}"
            what += ", with a hook that halves what attention adds in layer 0" * bool(hooks)
            wrong = {said: of[site] for said, of in known.items()}
            judge(got[site], want[site], f"attribution({what})", wrong, atol=1e-4)


def estimated(mine, model, base, donor, sites, hooks) -> dict:
    """Call attribution without gradients, as the lesson does; count the runs of the model."""
    runs = []
    counter = model.blocks[0].register_forward_hook(lambda *_: runs.append(1))
    try:
        with torch.no_grad():
            more = (list(hooks),) if hooks else ()
            got = called(mine.attribution, model, base, donor, loops.metric, list(sites), *more)
    finally:
        counter.remove()
    if not isinstance(got, dict):
        raise Wrong("attribution should return a dict, from each name in `sites` to a tensor: "
                    f"yours returns a {type(got).__name__}")  # fmt: skip
    if set(got) != set(sites):
        raise Wrong(f"the dict should have the keys {sites}, not {list(got)}")
    if len(runs) > 4:
        raise Wrong(f"one backward pass serves all sites: yours ran the model {len(runs)} times. "
                    "Catch all gradients in one run, then call backward once")  # fmt: skip
    return got


# ---- 6.4 the first difference --------------------------------------------------------------------


def check_first_difference(mine, seed):
    """Judge first_difference: one prompt, two that differ in turn, none that does, drawn ones."""
    one = torch.tensor([[5, 6, 7, 8, 9, 1, 2]])
    two = torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]])
    cases = [(one, torch.tensor([[0, 0, 7, 8, 9, 1, 0]]))]
    cases += [(one, torch.tensor([[5, 6, 0, 8, 9, 1, 2]])), (one, one - 1)]
    others = ([[5, 6, 0, 8], [1, 0, 3, 0]], two.tolist(), [[5, 0, 7, 8], [1, 2, 0, 0]])
    cases += [(two, torch.tensor(other)) for other in others]
    cases += [(torch.tensor([[5, 6, 8], [5, 7, 9]]), torch.tensor([[5, 7, 8], [5, 6, 9]]))]
    random = Random(f"first {seed}")
    for _ in range(5):
        tokens = torch.tensor([[random.randrange(9) for _ in range(7)] for _ in range(3)])
        changed = torch.tensor([[random.random() < 0.15 for _ in range(7)] for _ in range(3)])
        cases.append((tokens, tokens + changed))
    for clean, corrupted in cases:
        got = called(mine.first_difference, clean, corrupted)
        call = f"first_difference({brief(clean)}, {brief(corrupted)})"
        want = loops.first_difference(clean, corrupted)
        judge(got, want, call, mistakes.positions(clean, corrupted, got))


# ---- 6.5 resume at the patch ---------------------------------------------------------------------


def check_resume(mine, seed):
    """Judge resume on a model of three layers: from each layer, and from above the last."""
    model, tokens = loops.tiny(seed, n_layers=3), loops.tokens(seed, 2, 5)[0]
    for layer in (1, 2, 0, 3):
        resid = 2 * draw(seed + layer, 2, 5, 12).double()  # [b p d]
        got, blocks, normed, unembedded = counted(mine, model, resid, layer)
        call = f"resume(model, resid, {layer}), where the model has 3 layers"
        known = mistakes.resumptions(model, resid, layer)
        judge(got, loops.resumed(model, tokens, resid, layer), call, known)
        if blocks != list(range(layer, 3)):
            ran, wanted = (", ".join(map(str, run)) or "none" for run in (blocks, range(layer, 3)))
            raise Wrong(f"{call}: blocks to run: {wanted}; yours ran: {ran}")
        if unembedded > 2 or normed > 2:
            raise Wrong(f"only the last position is read, 2 vectors for 2 prompts: yours brings "
                        f"{max(unembedded, normed)} through the last layer norm or the "
                        "unembedding. Pick the position first")  # fmt: skip


def counted(mine, model, resid, layer) -> tuple[Tensor, list[int], int, int]:
    """Call resume; note the blocks that run, and the vectors that are normed and unembedded."""
    blocks, normed, unembedded, unembed = [], [], [], model.unembed
    hooks = [block.register_forward_hook(lambda *_, i=i: blocks.append(i))
             for i, block in enumerate(model.blocks)]  # fmt: skip
    hooks.append(model.ln_final.register_forward_hook(lambda m, x, y: normed.append(y[..., 0])))

    def noted(x):
        unembedded.append(x[..., 0])
        return unembed(x)

    model.unembed = noted
    try:
        got = called(mine.resume, model, resid, layer)
    finally:
        del model.unembed
        for hook in hooks:
            hook.remove()
    return got, blocks, *(sum(x.numel() for x in seen) for seen in (normed, unembedded))


# ---- 6.6 the smallest set ------------------------------------------------------------------------


def check_smallest_flip(mine, seed):
    """Judge smallest_flip on tables of sets: one, two that only work together, three, drawn."""
    alone = {"": 5, "a": 3, "b": -2, "c": 4, "ab": -4, "ac": 2, "bc": -3, "abc": -5}
    pair = {"": 9, "a": 2, "b": 8, "c": 8, "ab": 1, "ac": 1, "bc": -1, "abc": -4}
    zero = {"": 3, "a": 0, "b": 2, "c": 2, "ab": -1, "ac": 1, "bc": 1, "abc": -2}
    against = {"": 4, "a": 1, "b": 2, "c": 7, "ab": -2, "ac": 3, "bc": 5, "abc": -1}
    cases = [(list("abc"), {frozenset(key): value for key, value in table.items()})
             for table in (alone, pair, zero, against)]  # fmt: skip
    every = [frozenset(s) for size in range(5) for s in combinations("abcd", size)]
    three = {one: -1 if one >= set("acd") else 7 - len(one) for one in every}
    cases.append((list("abcd"), three))
    for n in (4, 5, 1):
        nodes = [(i % 2, i) for i in range(n)]
        subsets = [frozenset(s) for size in range(n + 1) for s in combinations(nodes, size)]
        random = Random(f"sets {seed} {n}")
        table = {s: random.uniform(-1, 4) - 0.4 * len(s) for s in subsets}
        cases.append((nodes, table | {subsets[0]: 1.0, subsets[-1]: -1.0}))
    for nodes, table in cases:
        judge_set(*asked(mine, nodes, table), nodes, table)


def asked(mine, nodes: list, table: dict) -> tuple:
    """Call smallest_flip with a measure that looks a set up; return the answer and the count."""
    calls, given_nodes = [], list(nodes)

    def measure(chosen):
        given = list(chosen)
        if len(set(given)) != len(given) or not set(given) <= set(nodes):
            raise Wrong(f"measure takes a list of different nodes out of {nodes}, not {given}")
        calls.append(given)
        return float(table[frozenset(given)])

    got = called(mine.smallest_flip, measure, given_nodes)
    if given_nodes != nodes:
        raise Wrong(f"`nodes` belongs to its caller, and yours made {given_nodes} of {nodes}")
    return got, len(calls)


def judge_set(got, count: int, nodes: list, table: dict) -> None:
    """Hold a set against what the table says of it, and of all smaller ones."""
    if not isinstance(got, (list, tuple, set, frozenset)):
        raise Wrong(f"smallest_flip should return a list of nodes, not {brief(got)}")
    if not all(node in nodes for node in got) or len(set(got)) != len(got):
        raise Wrong(f"what is returned should be different nodes out of {nodes}, not {list(got)}")
    best, value = loops.smallest(table, nodes), table[frozenset(got)]
    story = f"\n  the measure of each set: {told(table)}" if nodes[0] == "a" else ""
    if value >= 0:
        raise Wrong(f"the set {list(got)} does not turn the answer: its measure is {value:g}, and "
                    f"below 0 is asked for{story}")  # fmt: skip
    if len(got) > len(best[0]):
        raise Wrong(f"your set of {len(got)} turns the answer, but {sorted(best[0])} does too, and "
                    f"is smaller. What a node does alone does not say what it does in "
                    f"company{story}")  # fmt: skip
    if count > 2 ** len(nodes):
        raise Wrong(f"{len(nodes)} nodes make {2 ** len(nodes)} sets, and yours called measure "
                    f"{count} times: each call is a run of the model")  # fmt: skip


def told(table: dict) -> str:
    """Write a small table of sets."""
    return ", ".join(f"{''.join(sorted(key)) or 'none'} {value:g}" for key, value in table.items())

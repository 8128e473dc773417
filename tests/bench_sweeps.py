"""Sweeps: all patches in one walk against one full forward pass for each.

Counted: how many times fewer products with weights are left (sweep/planning.py in techniques). What
is measured lies above that, where a long stack of tokens keeps the processor busier than one
prompt.
"""

from itertools import accumulate

import torch

from lessons.techniques.sweep import LogitDiff, Nodes, plan, sweep
from lessons.techniques.sweep.nodes import SITES
from minimech import HookedTransformer, ModelConfig
from tests.direct import place

Row = tuple[str, float, float | None, str]
BARS = {  # at GPT-2 small's shapes
    ("stream", "unrelated"): -6.0,
    ("stream", "shared prefix"): -25.0,
    ("heads", "unrelated"): None,  # by count no more than 3.3 are to be had
    ("heads", "shared prefix"): -7.0,
}
WHAT = {
    "stream": Nodes("resid_pre", over="layer position"),
    "heads": Nodes("z", over="layer head"),
}


def prompts(cfg: ModelConfig, b: int, p: int) -> dict[str, tuple]:
    """Draw prompts that begin alike with the BOS token; or that differ in one word, two thirds in.

    As in "When John and Mary went to the store, John gave a drink to", where the second John is the
    tenth of fifteen words.
    """
    base, donor = torch.randint(cfg.d_vocab, (2, b, p))
    base[:, 0] = donor[:, 0] = cfg.d_vocab - 1
    near = base.clone()
    near[:, 5 * p // 8] = (base[:, 5 * p // 8] + 1) % cfg.d_vocab
    return {"unrelated": (base, donor), "shared prefix": (base, near)}


def one_by_one(model, base, cache, metric, patches) -> torch.Tensor:
    """Make one full forward pass for each patch: hooks, all logits, the metric at the answer."""
    values = []
    for patch in patches:

        def hook(x, hook, patch=patch):
            where = place(patch, hook.layer())
            x[where] = cache[hook.name][where]
            return x

        logits = model.run_with_hooks(base, fwd_hooks=[(site, hook) for site in patch.sites()])
        values.append(metric(logits[:, -1]))
    return torch.stack(values)


def sweeps(cfg: ModelConfig, b: int, p: int, clocked, rounds: int, clock, every: int = 1) -> list:
    """Measure sweeps of random weights: rows of what, ratio, bar, how.

    Of the plain loop, each `every`-th patch is made, and counted up: all take the same time. These
    are held against what the sweep finds. Memory is what torch takes at most, over the budget.
    """
    torch.manual_seed(0)
    model = HookedTransformer(cfg).requires_grad_(False).eval()
    metric, rows = LogitDiff(torch.arange(b), torch.arange(b) + b), []
    for (name, kind), bar in BARS.items():
        base, donor = prompts(cfg, b, p)[kind]
        given = base, donor, metric, WHAT[name], "noising"
        patches, found = WHAT[name].within(cfg, p).patches(), {}
        cache = model.run_with_cache(donor, f"*.{SITES[WHAT[name].type]}")[1]

        def slow(base=base, cache=cache, some=patches[::every], found=found):
            found["slow"] = one_by_one(model, base, cache, metric, some)

        def fast(given=given, found=found):
            found["fast"] = sweep(model, *given).values.flatten(0, 1)

        t = clocked({"slow": slow, "fast": fast}, rounds, clock)
        found["fast"] = found["fast"][::every]
        torch.testing.assert_close(found["fast"], found["slow"], rtol=1e-4, atol=1e-4)
        ratio = t["slow"] / len(found["slow"]) * len(patches) / t["fast"]
        counted = 1 / plan(model, *given).share
        how = f"{ratio / counted:.2f} of the {counted:.1f} counted, {b} x {p} tokens"
        rows.append((f"{len(patches)} patches, {name}, {kind}", ratio, bar, how))
    return [*rows, memory(model, b, p)]


def memory(model: HookedTransformer, b: int, p: int) -> Row:
    """Measure the most memory that a sweep takes, in a third of what one walk would take."""
    base, donor = prompts(model.cfg, b, p)["shared prefix"]
    given = base, donor, LogitDiff(0, 1), WHAT["heads"], "noising"
    budget = plan(model, *given).bytes // 3
    planned = plan(model, *given, budget=budget)
    used = most_bytes(lambda: sweep(model, *given, budget=budget))
    how = f"{budget / 2**20:.1f} MiB, {len(planned.walks)} walks"
    return "peak memory of a sweep / its budget", used / budget, 1.0, how


def most_bytes(call) -> int:
    """Return the most bytes that were taken and not yet given back, while `call` ran."""
    activity = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activity, profile_memory=True) as profile:
        call()
    events = profile.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return max(accumulate(nbytes for _, nbytes in sorted(changes)))

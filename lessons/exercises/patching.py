# Yours to fill in: write lines in place of each `raise NotImplementedError`. Then
#   make check-06           says what is right, what is not yet, and why; make hint-6.1 helps
#   make lesson-06 MINE=1   runs the lesson on what you have written
# Made from lessons/techniques/patching.py, where the answers are, by `python -m lessons.course stubs`.
"""Put one run's activations into another run, and see what becomes of the answer (lesson 06).

Activation patching: Vig et al. 2020; Meng et al. 2022 ("causal tracing"); Wang et al. 2022. Which
run is patched decides what is asked (Heimersheim and Nanda 2024): denoising puts the clean run's
activation into the corrupted run, noising the other way round. Attribution patching estimates all
patches from one backward pass (Nanda 2023). Here everything is as plain as it can be; the tool that
does it fast, and in general, is sweep.

The run that is patched is the base; what is put in comes from the donor. A metric is a function of
the logits at the last position, [b v] -> [b].

Letters: b prompt, p position, h head, d d_model, e d_head, v vocabulary.
"""

from collections.abc import Callable, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from lessons.techniques.sweep import Nodes, sweep


def normalised(patched: Tensor, clean: Tensor, corrupted: Tensor) -> Tensor:
    """Say how far a patch has moved the metric: 0 as in the corrupted run, 1 as in the clean run.

    All three hold the metric, one number per prompt: `patched` [... b] for any number of patches,
    `clean` and `corrupted` [b]. First take the mean over prompts of each, then the ratio: how far
    the patched mean lies from the corrupted one, in units of the way from corrupted to clean.
    -> [...]. (A mean of ratios would let one prompt with hardly any way to go drown the others.)
    """
    # exercise 6.1: normalised (5 min)
    raise NotImplementedError("exercise 6.1")
    # end


def put(donor: Tensor, position: int, source: int | None = None) -> Callable:
    """Make a hook that puts in the donor's activation at one position, and leaves all others.

    The hook is a function (activation, hook); activation and `donor` have one shape, [b p d] in the
    stream, [b p h e] for what heads collect. In each prompt, what stands at `position` gives way to
    what the donor has at `source`; None means at the same position. Negative positions count from
    the end. The run goes on with what the hook returns, or with the activation if that is None: it
    is the hook's own, to be edited in place if you like. `donor` is not, it will be used again.
    """
    # exercise 6.2: put one position in (10 min)
    raise NotImplementedError("exercise 6.2")
    # end


def put_heads(cache, heads: Sequence[tuple[int, int]], start: int = 0, shift: int = 0) -> list:
    """Make hooks that give these heads, as (layer, head), the z that they have in `cache`.

    From position `start` on; each position gets what stands `shift` places before it in the cache.
    """

    def hook_for(own: list[int]) -> Callable:
        def hook(z, hook):
            end = z.shape[1] - shift
            z[:, start:, own] = cache[hook.name][:, start - shift : end, own]
            return z

        return hook

    layers = sorted({layer for layer, _ in heads})
    by_layer = {layer: [h for one, h in heads if one == layer] for layer in layers}
    return [(f"blocks.{layer}.attn.hook_z", hook_for(own)) for layer, own in by_layer.items()]


def patched(model, tokens: Tensor, hooks, metric: Callable) -> Tensor:  # [b p] -> [b]
    """Run with hooks, and measure at the last position."""
    return metric(model.run_with_hooks(tokens, fwd_hooks=list(hooks))[:, -1])


def sweep_stream(model, base: Tensor, donor: Tensor, metric: Callable, sites) -> Tensor:
    """Patch the stream at each site and position, one at a time: [b p] twice -> [site p b].

    One full run of the model for every patch: slow, and plain to see.
    """
    cache = model.run_with_cache(donor, names_filter=list(sites))[1]
    places = range(base.shape[1])
    rows = [
        [patched(model, base, [(site, put(cache[site], at))], metric) for at in places]
        for site in sites
    ]
    return torch.stack([torch.stack(row) for row in rows])


def both_ways(model, clean: Tensor, other: Tensor, metric: Callable, nodes: Nodes) -> Tensor:
    """Sweep between two stories, in both directions: -> [patch 3], shares of the way between them.

    What a patch brings back (denoising), what it costs (noising), and how far it moves each prompt
    (denoising), up or down: the mean of a patch that lifts some and lowers others may be 0.
    """
    both = [sweep(model, clean, other, metric, nodes, way) for way in ("denoising", "noising")]
    there, back = (one.values.flatten(0, -2) for one in both)  # [patch b] each
    ends = both[0].clean, both[0].corrupted  # [b] each
    moves = (there - ends[1]).abs().mean(-1) / (ends[0] - ends[1]).mean()
    return torch.stack([normalised(there, *ends), 1 - normalised(back, *ends), moves], 1)


# ---- one backward pass for all patches -----------------------------------------------------------


def attribution(model, base: Tensor, donor: Tensor, metric: Callable, sites, hooks=()) -> dict:
    """Estimate what patching would change, at all sites at once, from one backward pass.

    Take the metric for a straight line: then putting in another activation changes it by
    gradient . (donor's - base's). The gradient of the metric by each site's activation is that of
    the base run; the two activations are those of the base run and of the donor run. Sum the
    products over the last axis (d or e), and over nothing else: a dict, from each name in `sites`
    to an estimate for each prompt and position, [b p] in the stream, [b p h] for hook_z.

    The metric gives one number per prompt [b], from the logits at the last position [b v]. Prompts
    of a batch know nothing of each other, so the gradient of the sum over prompts holds each
    prompt's own. `hooks`, (site, function) pairs, are to run in the run that is differentiated, and
    in no other. An activation is caught with model.run_with_cache(tokens, names_filter=sites), a
    gradient by a hook that calls x.register_hook(f): f is handed it during .backward(). The lesson
    runs with gradients switched off: torch.enable_grad() is needed.
    """
    # exercise 6.3: attribution patching (25 min)
    raise NotImplementedError("exercise 6.3")
    # end


def integrated(model, base: Tensor, donor: Tensor, metric: Callable, sites, steps: int) -> dict:
    """Estimate with the mean of slopes at `steps` points on the way from base to donor.

    The points are mixtures of the two prompts' embeddings, at the middles of equal steps (Hanna et
    al. 2024, "EAP-IG"; the idea is that of Sundararajan et al. 2017). Costs `steps` backward
    passes, for however many sites.
    """
    start, end = (model.run_with_cache(t, names_filter="hook_embed")[1]["embed"]
                  for t in (base, donor))  # fmt: skip
    found = []
    for i in range(steps):
        mixed = start + (i + 0.5) / steps * (end - start)  # [b p d]
        hooks = [("hook_embed", lambda x, hook, mixed=mixed: mixed)]
        found.append(attribution(model, base, donor, metric, sites, hooks))
    return {site: torch.stack([one[site] for one in found]).mean(0) for site in sites}


def by_head(estimates: dict) -> Tensor:
    """Gather estimates of hook_z, [b p h] each, layer by layer: mean over prompts -> [head]."""
    found = [one.sum(1).mean(0) for site, one in estimates.items() if site.endswith("hook_z")]
    return torch.cat(found)


# ---- doing less ----------------------------------------------------------------------------------


def first_difference(clean: Tensor, corrupted: Tensor) -> int:
    """Return the first position at which any prompt differs from its twin: [b p], [b p] of ids.

    If none does, return the number of positions. Before it, every activation of both runs is the
    same, for nobody looks ahead: whatever is patched there is equal put in for equal.
    """
    # exercise 6.4: the first difference (10 min)
    raise NotImplementedError("exercise 6.4")
    # end


def resume(model, resid: Tensor, layer: int) -> Tensor:  # [b p d] -> [b v]
    """Go on from the stream that enters block `layer`: logits at the last position alone.

    What stands below the patch has been computed once, and stays as it was. So run block `layer`
    and those after it, no other; then bring the last position, no other, through the last layer
    norm and the unembedding. `layer` may be the number of layers: then no block is left to run.
    The model is made of its parts, which you can call one by one: model.blocks (each a function of
    the stream), model.run_blocks(resid, start, stop), model.ln_final(resid), and
    model.unembed(resid_normed), which takes any number of vectors [... d] to logits [... v].
    """
    # exercise 6.5: resume at the patch (10 min)
    raise NotImplementedError("exercise 6.5")
    # end


def sweep_stream_faster(model, base: Tensor, donor: Tensor, metric: Callable) -> Tensor:
    """Patch the stream that enters each layer, at each position: [b p] twice -> [layer p b].

    Resumes at the patched layer, and does nothing at all before the first difference.
    """
    base_run, donor_run = (model.run_with_cache(t, "*.hook_resid_pre")[1] for t in (base, donor))
    layers, first = range(model.cfg.n_layers), first_difference(base, donor)
    unchanged = metric(resume(model, base_run["resid_pre", 0], 0))  # [b]
    values = unchanged.repeat(len(layers), base.shape[1], 1)  # [layer p b]
    for layer in layers:
        for position in range(first, base.shape[1]):
            hook = put(donor_run["resid_pre", layer], position)
            own = base_run["resid_pre", layer].clone()  # [b p d]
            resid = hook(own, None)  # None: the hook has edited `own` in place
            values[layer, position] = metric(resume(model, own if resid is None else resid, layer))
    return values


@contextmanager
def counted(model):
    """Count: within the with block, a list grows by the layer of every block that is run."""
    runs, handles = [], []
    for layer, block in enumerate(model.blocks):
        note = lambda *_, layer=layer: runs.append(layer)  # noqa: E731
        handles.append(block.register_forward_hook(note))
    try:
        yield runs
    finally:
        for handle in handles:
            handle.remove()


# ---- together ------------------------------------------------------------------------------------


def smallest_flip(measure: Callable[[list], float], nodes: list) -> list:
    """Find a smallest set of nodes that turns the answer: measure(set) < 0, and no smaller one has.

    `measure` takes a list of nodes, patches them all at once and returns the metric, a number.
    With none of them it is 0 or more, with all of them below 0. What one node does alone need not
    say what it does in company: two may stand in for each other, a third may work against both. If
    several smallest sets turn the answer, any of them will do. Each call costs a run of the model:
    make at most one for each set that there is, 2 ** len(nodes).
    """
    # exercise 6.6: the smallest set that turns the answer (20 min)
    raise NotImplementedError("exercise 6.6")
    # end

"""The usual mistakes of lesson 06: sentences, and what each mistake would give instead."""

import torch
from torch import Tensor

from lessons.checks.patching_loops import metric


def shares(patched: Tensor, clean: Tensor, corrupted: Tensor) -> dict:
    """Name the usual mistakes, and what each would give."""
    mean, low, high = patched.mean(-1), corrupted.mean(), clean.mean()
    right = (mean - low) / (high - low)
    return {
        "first the means, then the ratio: yours is the mean of each prompt's own ratio": (
            (patched - corrupted) / (clean - corrupted)
        ).mean(-1),
        "one number per patch, a mean over prompts: yours has one for each prompt": (
            (patched - low) / (high - low)
        ),
        "one number per patch, a mean over prompts: yours is each prompt's own ratio": (
            (patched - corrupted) / (clean - corrupted)
        ),
        "one number per patch: yours is one for all of them": right.mean(),
        "0 is the corrupted run, 1 the clean one: yours is the other way round": 1 - right,
        "the way from corrupted to clean is signed: yours takes its size": (
            (mean - low) / (high - low).abs()
        ),
        "the way from corrupted to clean may be short, or go down: yours is held at 1 or more": (
            (mean - low) / (high - low).clamp(min=1)
        ),
        "divide by the way from corrupted to clean: yours is not divided": mean - low,
        "divide by the way from corrupted to clean: yours divides by the clean metric": (
            (mean - low) / high
        ),
        "count from the corrupted run: its metric is not subtracted from the patched one": (
            mean / (high - low)
        ),
        "divide by the way from corrupted to clean: yours only divides by the clean metric": (
            mean / high
        ),
        "how far from the corrupted run, not from the clean one": (mean - high) / (high - low),
        "the share is signed: yours is never negative": right.abs(),
        "below 0 and above 1 count too: yours is cut off there": right.clamp(0, 1),
    }


def places(activation: Tensor, donor: Tensor, position: int, source: int | None) -> dict:
    """Name the usual mistakes, and what each would give."""
    at = position if source is None else source

    def patched(position, at):
        new = activation.clone()
        new[:, position] = donor[:, at]
        return new

    added, n = activation.clone(), activation.shape[1]
    added[:, position] += donor[:, at]
    prompt = "positions are the second axis, [:, position]: yours replaces in one prompt"
    wrong = {
        "all other positions stay as they are: yours replaces them too": donor,
        "put the donor's in the place of what is there: yours adds it": added,
        "`source` is ignored: take the donor's vector from there": patched(position, position),
        "it goes to `position`: yours puts it at `source`": patched(at, at),
        "position and source are exchanged": patched(at, position),
        "positions count from 0: yours is one too far": patched(
            (position + 1) % n, (at + 1) % n if source is None else at
        ),
        "nothing is patched: the activation is as it was": activation,
    }
    if 0 <= position < len(activation):
        whole = activation.clone()
        whole[position] = donor[position if source is None else min(at, len(donor) - 1)]
        wrong[prompt] = whole
    if source == 0:
        said = "source=0 is the first position, and not the same as no source (None)"
        wrong = {said: patched(position, position)} | wrong
    return wrong


def estimates(model, base: Tensor, donor: Tensor, sites: list, hooks) -> dict:
    """Name the usual mistakes, and what each would give: sentence -> site -> estimate."""
    old, new = (model.run_with_cache(given, names_filter=sites)[1] for given in (base, donor))
    slope, from_donor = (gradients(model, given, sites, hooks) for given in (base, donor))
    change = {site: new[site] - old[site] for site in sites}

    def product(left, right):
        return {site: (left[site] * right[site]).sum(-1) for site in sites}

    right = product(slope, change)
    wrong = {
        "times the change, the donor's less the base's: yours is the other way round": {
            site: -value for site, value in right.items()
        },
        "the gradient is that of the base run: yours is the donor's": product(from_donor, change),
        "times the change: yours multiplies by the donor's activation": product(slope, new),
        "times the change: yours multiplies by the base's activation": product(slope, old),
        "times the change: yours only sums the gradient": {
            site: slope[site].sum(-1) for site in sites
        },
        "times the change: yours only sums the change": {
            site: change[site].sum(-1) for site in sites
        },
    }
    wrong |= summed_amiss({site: slope[site] * change[site] for site in sites})
    return wrong | (hooks_amiss(model, base, donor, sites, hooks, slope) if hooks else {})


def summed_amiss(products: dict) -> dict:
    """Name what goes wrong with the sum of the products, site by site."""
    right, alone = {site: x.sum(-1) for site, x in products.items()}, "sum over the last axis"
    wrong = {
        "sum the products over the last axis: yours are not summed": products,
        f"{alone}: yours takes the mean": {site: x.mean(-1) for site, x in products.items()},
        f"{alone} and over nothing else: yours sums over positions too": {
            site: x.sum(1) for site, x in right.items()
        },
        f"{alone} and over nothing else: yours sums over heads too": {
            site: x.flatten(2).sum(-1) if x.ndim > 2 else x for site, x in right.items()
        },
        "one number for each prompt: yours sums over prompts": {
            site: x.sum(0) for site, x in right.items()
        },
        "each prompt has its own gradient, that of the sum: yours is that of the mean": {
            site: x / len(x) for site, x in right.items()
        },
        "the sign counts: yours has lost it": {site: x.abs() for site, x in right.items()},
    }
    return wrong


def hooks_amiss(model, base, donor, sites, hooks, slope) -> dict:
    """Name what goes wrong with `hooks`."""
    bare = gradients(model, base, sites)
    old, new = (model.run_with_cache(given, names_filter=sites)[1] for given in (base, donor))
    kept = [model.run_with_cache(given, names_filter=sites, fwd_hooks=hooks)[1]
            for given in (base, donor)]  # fmt: skip
    changes = {
        "`hooks` are ignored: they run in the run that is differentiated": (bare, new, old),
        "`hooks` run in the differentiated run alone: with yours they run in all three": (
            slope, kept[1], kept[0]),
        "the base's activation is that of its own run, without `hooks`": (slope, new, kept[0]),
    }  # fmt: skip
    return {
        said: {site: (left[site] * (to[site] - start[site])).sum(-1) for site in sites}
        for said, (left, to, start) in changes.items()
    }


def gradients(model, tokens: Tensor, sites: list, hooks=()) -> dict:
    """Return the metric's gradient by each site's activation."""
    kept = {}

    def keep(x, hook):
        x.retain_grad()
        kept[hook.name] = x

    with torch.enable_grad():
        logits = model.run_with_hooks(tokens, fwd_hooks=[*hooks, *((site, keep) for site in sites)])
        metric(logits[:, -1]).sum().backward()
    return {site: x.grad for site, x in kept.items()}


def positions(clean: Tensor, corrupted: Tensor, got) -> dict:
    """Name the usual mistakes, and what each would give."""
    differs = clean != corrupted  # [b p]
    n = clean.shape[1]

    def first(where):
        return next((i for i, yes in enumerate(where.tolist()) if yes), n)

    if not differs.any():
        said = f"where nothing differs, the number of positions is asked for, {n}"
        return {said: got}
    any_of, counted = differs.any(0), first(differs.any(0))
    last = max(i for i, yes in enumerate(any_of.tolist()) if yes)
    return {
        "the first position: yours is the last one that differs": last,
        "any prompt of the batch: yours waits until all of them differ": first(differs.all(0)),
        "any prompt of the batch: yours waits until all of them differ, and says 0 if they never "
        "do": int(differs.all(0).int().argmax()),
        "any prompt of the batch: yours looks at the first prompt alone": first(differs[0]),
        "any prompt of the batch: yours looks at the last prompt alone": first(differs[-1]),
        "positions count from 0: yours is one too far": counted + 1,
        "a position is asked for: yours counts how many differ": int(any_of.sum()),
        "a position is asked for: yours counts the words that differ": int(differs.sum()),
        "a position is asked for: yours is the first prompt that differs": first(differs.any(1)),
        "yours is the first position that is the same": first(~any_of),
        "a position is asked for: yours counts how many are the same": n - int(any_of.sum()),
        "two prompts' differences may cancel: compare token by token, not sums over prompts": (
            first(clean.sum(0) != corrupted.sum(0))
        ),
    }


def resumptions(model, resid: Tensor, layer: int) -> dict:
    """Name the usual mistakes, and what each would give."""

    def ends(resid, norm=model.ln_final):
        return model.unembed(norm(resid))

    above = model.run_blocks(resid, start=layer)
    one_late = model.run_blocks(resid, start=layer + 1)
    wrong = {
        "only the last position is asked for, [b v]: yours returns all of them": ends(above),
        "the last position is asked for: yours takes the first": ends(above)[:, 0],
        "the last position is asked for: yours takes the one before it": ends(above)[:, -2],
        "positions are the second axis: yours takes the last prompt": ends(above)[-1],
        "the last layer norm is missing": ends(above[:, -1], lambda x: x),
        "block `layer` itself has to run: yours starts one too late": ends(one_late[:, -1]),
        "what stands below is not run again: yours starts from block 0": ends(
            model.run_blocks(resid)[:, -1]
        ),
        "the blocks above have to run: yours unembeds the stream as it came": ends(resid[:, -1]),
        "logits are asked for, [b v]: yours returns the stream": above[:, -1],
        "run block `layer` and those after it, to the end: yours runs that one alone": ends(
            model.run_blocks(resid, layer, layer + 1)[:, -1]
        ),
        "earlier positions are looked at: run the blocks on all of them, and pick the last one "
        "afterwards": ends(model.run_blocks(resid[:, -1:], start=layer)[:, -1]),
    }
    return wrong

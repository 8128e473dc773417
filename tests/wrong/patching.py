"""Answers to lesson 06: wrong ones, with what a check must say of each, and right ones."""

from itertools import combinations

import torch

# ---- 6.1 -----------------------------------------------------------------------------------------


def share_per_prompt_first(patched, clean, corrupted):
    """wrong 6.1: mean of each prompt's own ratio"""
    return ((patched - corrupted) / (clean - corrupted)).mean(-1)


def share_not_averaged(patched, clean, corrupted):
    """wrong 6.1: one for each prompt"""
    return (patched - corrupted.mean()) / (clean.mean() - corrupted.mean())


def share_neither_averaged(patched, clean, corrupted):
    """wrong 6.1: each prompt's own ratio"""
    return (patched - corrupted) / (clean - corrupted)


def share_of_all_patches(patched, clean, corrupted):
    """wrong 6.1: one for all of them"""
    return (patched.mean() - corrupted.mean()) / (clean.mean() - corrupted.mean())


def share_upside_down(patched, clean, corrupted):
    """wrong 6.1: the other way round"""
    return (clean.mean() - patched.mean(-1)) / (clean.mean() - corrupted.mean())


def share_of_the_clean_metric(patched, clean, corrupted):
    """wrong 6.1: divides by the clean metric"""
    return (patched.mean(-1) - corrupted.mean()) / clean.mean()


def share_not_divided(patched, clean, corrupted):
    """wrong 6.1: not divided"""
    return patched.mean(-1) - corrupted.mean()


def share_from_zero(patched, clean, corrupted):
    """wrong 6.1: not subtracted"""
    return patched.mean(-1) / (clean.mean() - corrupted.mean())


def share_cut_off(patched, clean, corrupted):
    """wrong 6.1: cut off"""
    share = (patched.mean(-1) - corrupted.mean()) / (clean.mean() - corrupted.mean())
    return share.clamp(0, 1)


def share_in_place(patched, clean, corrupted):
    """wrong 6.1: in place"""
    patched -= corrupted.mean()
    return patched.mean(-1) / (clean.mean() - corrupted.mean())


def share_of_the_way_s_size(patched, clean, corrupted):
    """wrong 6.1: yours takes its size"""
    return (patched.mean(-1) - corrupted.mean()) / (clean.mean() - corrupted.mean()).abs()


def share_by_the_size_of_the_mean(patched, clean, corrupted):
    """wrong 6.1: yours takes its size"""
    return (patched.mean(-1) - corrupted.mean()) / (clean - corrupted).mean().abs()


def share_kept_from_exploding(patched, clean, corrupted):
    """wrong 6.1: yours is held at 1 or more"""
    low = corrupted.mean()
    return (patched.mean(-1) - low) / (clean.mean() - low).clamp(min=1)


def share_of_the_clean_metric_alone(patched, clean, corrupted):
    """wrong 6.1: only divides by the clean metric"""
    return patched.mean(-1) / clean.mean()


def share_in_64_bits(patched, clean, corrupted):
    """right 6.1"""
    patched, low = patched.double().mean(-1), corrupted.double().mean()
    return (patched - low) / (clean.double().mean() - low)


def share_by_sums(patched, clean, corrupted):
    """right 6.1"""
    return (patched - corrupted).sum(-1) / (clean - corrupted).sum()


def share_by_lerp(patched, clean, corrupted):
    """right 6.1"""
    ends = torch.stack([corrupted, clean]).mean(1)
    return (patched.mean(dim=patched.ndim - 1) - ends[0]) / ends.diff()[0]


# ---- 6.2 -----------------------------------------------------------------------------------------


def put_everywhere(donor, position, source=None):
    """wrong 6.2: replaces them too"""
    return lambda activation, hook: donor.clone()


def put_in_a_prompt(donor, position, source=None):
    """wrong 6.2: positions are the second axis"""

    def hook(activation, hook):
        activation[position] = donor[position]
        return activation

    return hook


def put_and_add(donor, position, source=None):
    """wrong 6.2: yours adds it"""
    source = position if source is None else source

    def hook(activation, hook):
        activation[:, position] += donor[:, source]
        return activation

    return hook


def put_without_source(donor, position, source=None):
    """wrong 6.2: source=0 is the first position"""
    source = source or position

    def hook(activation, hook):
        activation[:, position] = donor[:, source]
        return activation

    return hook


def put_from_the_same_place(donor, position, source=None):
    """wrong 6.2: the same as no source"""

    def hook(activation, hook):
        activation[:, position] = donor[:, position]
        return activation

    return hook


def put_at_the_source(donor, position, source=None):
    """wrong 6.2: puts it at `source`"""
    at = position if source is None else source

    def hook(activation, hook):
        activation[:, at] = donor[:, at]
        return activation

    return hook


def put_backwards(donor, position, source=None):
    """wrong 6.2: changed `donor`"""

    def hook(activation, hook):
        donor[:, position] = activation[:, position]
        return donor

    return hook


def put_in_a_copy(donor, position, source=None):
    """wrong 6.2: nothing is patched"""

    def hook(activation, hook):
        activation.clone()[:, position] = donor[:, position if source is None else source]

    return hook


def put_no_hook(donor, position, source=None):
    """wrong 6.2: should return a hook"""
    return donor[:, position]


def put_what_it_saw_first(donor, position, source=None):
    """wrong 6.2: in a second run"""
    seen = []

    def hook(activation, hook):
        seen.append(activation.clone())
        new = seen[0].clone()
        new[:, position] = donor[:, position if source is None else source]
        return new

    return hook


def put_in_place(donor, position, source=None):
    """right 6.2"""

    def hook(activation, hook):
        activation[:, position] = donor[:, position if source is None else source]

    return hook


def put_by_where(donor, position, source=None):
    """right 6.2"""

    def hook(activation, hook):
        n = activation.shape[1]
        here = torch.arange(n) == position % n  # [p]
        source_ = position if source is None else source
        new = donor[:, source_ % n].unsqueeze(1).expand_as(activation)
        return torch.where(here.view(1, n, *[1] * (activation.ndim - 2)), new, activation)

    return hook


def put_prompt_by_prompt(donor, position, source=None):
    """right 6.2"""
    if source is None:
        source = position

    def replace(activation, point):
        for one, other in zip(activation, donor):
            one[position] = other[source]

    return replace


# ---- 6.3 -----------------------------------------------------------------------------------------


def caches(model, base, donor, sites):
    return [model.run_with_cache(tokens, names_filter=sites)[1] for tokens in (base, donor)]


def slopes_of(model, tokens, metric, sites, hooks=(), gather=torch.sum):
    found = {}

    def catch(x, hook):
        x.register_hook(lambda gradient: found.update({hook.name: gradient}))

    with torch.enable_grad():
        hooks = [*hooks, *((site, catch) for site in sites)]
        gather(metric(model.run_with_hooks(tokens, fwd_hooks=hooks)[:, -1])).backward()
    return found


def estimate_with_the_sign_turned(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: yours is the other way round"""
    old, new = caches(model, base, donor, sites)
    slopes = slopes_of(model, base, metric, sites, hooks)
    return {site: (slopes[site] * (old[site] - new[site])).sum(-1) for site in sites}


def estimate_at_the_donor(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: yours is the donor's"""
    old, new = caches(model, base, donor, sites)
    slopes = slopes_of(model, donor, metric, sites, hooks)
    return {site: (slopes[site] * (new[site] - old[site])).sum(-1) for site in sites}


def estimate_times_activation(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: multiplies by the base's activation"""
    old, slopes = caches(model, base, donor, sites)[0], slopes_of(model, base, metric, sites, hooks)
    return {site: (slopes[site] * old[site]).sum(-1) for site in sites}


def estimate_times_donor(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: multiplies by the donor's activation"""
    new, slopes = caches(model, base, donor, sites)[1], slopes_of(model, base, metric, sites, hooks)
    return {site: (slopes[site] * new[site]).sum(-1) for site in sites}


def estimate_without_change(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: only sums the gradient"""
    slopes = slopes_of(model, base, metric, sites, hooks)
    return {site: slopes[site].sum(-1) for site in sites}


def estimate_not_summed(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: are not summed"""
    old, new = caches(model, base, donor, sites)
    slopes = slopes_of(model, base, metric, sites, hooks)
    return {site: slopes[site] * (new[site] - old[site]) for site in sites}


def estimate_summed_over_positions(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: over positions too"""
    old, new = caches(model, base, donor, sites)
    slopes = slopes_of(model, base, metric, sites, hooks)
    return {site: (slopes[site] * (new[site] - old[site])).sum((1, -1)) for site in sites}


def estimate_of_the_mean(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: that of the mean"""
    old, new = caches(model, base, donor, sites)
    slopes = slopes_of(model, base, metric, sites, hooks, gather=torch.mean)
    return {site: (slopes[site] * (new[site] - old[site])).sum(-1) for site in sites}


def estimate_without_hooks(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: `hooks` are ignored"""
    old, new = caches(model, base, donor, sites)
    slopes = slopes_of(model, base, metric, sites)
    return {site: (slopes[site] * (new[site] - old[site])).sum(-1) for site in sites}


def estimate_with_hooks_everywhere(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: in all three"""
    old, new = (model.run_with_cache(tokens, names_filter=sites, fwd_hooks=hooks)[1]
                for tokens in (base, donor))  # fmt: skip
    slopes = slopes_of(model, base, metric, sites, hooks)
    return {site: (slopes[site] * (new[site] - old[site])).sum(-1) for site in sites}


def estimate_site_by_site(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: one backward pass serves all sites"""
    old, new = caches(model, base, donor, sites)
    found = {}
    for site in sites:
        slopes = slopes_of(model, base, metric, [site], hooks)
        found[site] = (slopes[site] * (new[site] - old[site])).sum(-1)
    return found


def estimate_without_gradients(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: does not require grad"""
    slopes = {}

    def catch(x, hook):
        slopes[hook.name] = x

    logits = model.run_with_hooks(base, fwd_hooks=[*hooks, *((site, catch) for site in sites)])
    metric(logits[:, -1]).sum().backward()
    return {site: slopes[site].grad for site in sites}


def estimate_in_a_list(model, base, donor, metric, sites, hooks=()):
    """wrong 6.3: should return a dict"""
    old, new = caches(model, base, donor, sites)
    slopes = slopes_of(model, base, metric, sites, hooks)
    return [(slopes[site] * (new[site] - old[site])).sum(-1) for site in sites]


def estimate_by_autograd(model, base, donor, metric, sites, hooks=()):
    """right 6.3"""
    new = model.run_with_cache(donor, names_filter=sites)[1]
    old = model.run_with_cache(base, names_filter=sites)[1]
    held = {}
    keep = [(site, lambda x, hook: held.update({hook.name: x})) for site in sites]
    with torch.enable_grad():
        said = metric(model.run_with_hooks(base, fwd_hooks=[*hooks, *keep])[:, -1])
        slopes = dict(zip(held, torch.autograd.grad(said.sum(), [*held.values()])))
    return {s: torch.einsum("...d,...d->...", slopes[s], new[s] - old[s]) for s in sites}


def estimate_in_one_base_run(model, base, donor, metric, sites, hooks=()):
    """right 6.3"""
    old, new = caches(model, base, donor, sites)
    slopes = slopes_of(model, base, metric, sites, hooks, gather=lambda m: m.mean() * len(m))
    return {site: (slopes[site] * new[site] - slopes[site] * old[site]).sum(-1) for site in sites}


# ---- 6.4 -----------------------------------------------------------------------------------------


def first_where_all_differ(clean, corrupted):
    """wrong 6.4: until all of them differ"""
    differs = (clean != corrupted).all(0).tolist()
    return differs.index(True) if True in differs else len(differs)


def first_of_the_first_prompt(clean, corrupted):
    """wrong 6.4: looks at the first prompt alone"""
    differs = (clean[0] != corrupted[0]).tolist()
    return differs.index(True) if True in differs else len(differs)


def last_difference(clean, corrupted):
    """wrong 6.4: the last one that differs"""
    differs = (clean != corrupted).any(0).nonzero()
    return int(differs.max()) if len(differs) else clean.shape[1]


def zero_if_none(clean, corrupted):
    """wrong 6.4: the number of positions is asked for"""
    return int((clean != corrupted).any(0).int().argmax())


def none_if_none(clean, corrupted):
    """wrong 6.4: returned None"""
    for position in range(clean.shape[1]):
        if (clean[:, position] != corrupted[:, position]).any():
            return position


def one_too_far(clean, corrupted):
    """wrong 6.4: one too far"""
    differs = (clean != corrupted).any(0).tolist()
    return differs.index(True) + 1 if True in differs else len(differs)


def how_many_differ(clean, corrupted):
    """wrong 6.4: counts"""
    return int((clean != corrupted).any(0).sum())


def first_that_is_the_same(clean, corrupted):
    """wrong 6.4: the first position that is the same"""
    same = (clean == corrupted).all(0).tolist()
    return same.index(True) if True in same else len(same)


def how_many_are_the_same(clean, corrupted):
    """wrong 6.4: counts how many are the same"""
    return int((clean == corrupted).all(0).sum())


def first_by_argmax_where_all_differ(clean, corrupted):
    """wrong 6.4: until all of them differ"""
    differs = (clean != corrupted).all(0)
    return int(differs.int().argmax()) if (clean != corrupted).any() else clean.shape[1]


def first_by_sums_over_prompts(clean, corrupted):
    """wrong 6.4: differences may cancel"""
    differs = (clean.sum(0) != corrupted.sum(0)).tolist()
    return differs.index(True) if True in differs else len(differs)


def by_running_product(clean, corrupted):
    """right 6.4"""
    return (clean == corrupted).all(0).int().cumprod(0).sum()


def by_argmax(clean, corrupted):
    """right 6.4"""
    differs = (clean != corrupted).any(dim=0)
    return differs.int().argmax().item() if differs.any() else len(differs)


# ---- 6.5 -----------------------------------------------------------------------------------------


def resume_one_too_late(model, resid, layer):
    """wrong 6.5: starts one too late"""
    resid = model.run_blocks(resid, start=layer + 1)
    return model.unembed(model.ln_final(resid[:, -1]))


def resume_from_the_bottom(model, resid, layer):
    """wrong 6.5: from block 0"""
    return model.unembed(model.ln_final(model.run_blocks(resid)[:, -1]))


def resume_one_block(model, resid, layer):
    """wrong 6.5: that one alone"""
    resid = model.run_blocks(resid, layer, layer + 1)
    return model.unembed(model.ln_final(resid[:, -1]))


def resume_without_norm(model, resid, layer):
    """wrong 6.5: layer norm is missing"""
    return model.unembed(model.run_blocks(resid, start=layer)[:, -1])


def resume_at_all_positions(model, resid, layer):
    """wrong 6.5: returns all of them"""
    return model.unembed(model.ln_final(model.run_blocks(resid, start=layer)))


def resume_and_pick_late(model, resid, layer):
    """wrong 6.5: pick the position first"""
    return model.unembed(model.ln_final(model.run_blocks(resid, start=layer)))[:, -1]


def resume_last_position_alone(model, resid, layer):
    """wrong 6.5: earlier positions are looked at"""
    resid = model.run_blocks(resid[:, -1:], start=layer)
    return model.unembed(model.ln_final(resid[:, -1]))


def resume_by_a_whole_run(model, resid, layer):
    """wrong 6.5: yours ran: 0, 1, 2"""
    tokens = torch.zeros(resid.shape[:2], dtype=torch.long)
    n = len(model.blocks)
    site = f"blocks.{layer}.hook_resid_pre" if layer < n else f"blocks.{n - 1}.hook_resid_post"
    return model.run_with_hooks(tokens, fwd_hooks=[(site, lambda x, hook: resid.clone())])[:, -1]


def resume_in_the_stream(model, resid, layer):
    """wrong 6.5: returns the stream"""
    return model.run_blocks(resid, start=layer)[:, -1]


def resume_block_by_block(model, resid, layer):
    """right 6.5"""
    for block in model.blocks[layer:]:
        resid = block(resid)
    return model.ln_final(resid[:, -1:])[:, 0] @ model.W_U


def resume_by_negative_index(model, resid, layer):
    """right 6.5"""
    for i in range(layer, model.cfg.n_layers):
        resid = model.blocks[i].forward(resid) if False else model.blocks[i](resid)
    last = resid.select(1, resid.shape[1] - 1)
    return model.unembed(model.ln_final(last))


# ---- 6.6 -----------------------------------------------------------------------------------------


def smallest_by_greed(measure, nodes):
    """wrong 6.6: does too, and is smaller"""
    chosen, rest = [], list(nodes)
    while measure(chosen) >= 0:
        best = min(rest, key=lambda node: measure([*chosen, node]))
        chosen, rest = [*chosen, best], [node for node in rest if node != best]
    return chosen


def smallest_by_effect_alone(measure, nodes):
    """wrong 6.6: in company"""
    order = sorted(nodes, key=lambda node: measure([node]))
    for n in range(1, len(nodes) + 1):
        if measure(order[:n]) < 0:
            return order[:n]


def smallest_by_leaving_out(measure, nodes):
    """wrong 6.6: does too, and is smaller"""
    chosen = list(nodes)
    for node in nodes:
        less = [one for one in chosen if one != node]
        if measure(less) < 0:
            chosen = less
    return chosen


def smallest_is_everything(measure, nodes):
    """wrong 6.6: does too, and is smaller"""
    return list(nodes)


def smallest_is_one(measure, nodes):
    """wrong 6.6: does not turn the answer"""
    return [min(nodes, key=lambda node: measure([node]))]


def smallest_of_one_or_two(measure, nodes):
    """wrong 6.6: does too, and is smaller"""
    for size in (1, 2):
        for chosen in combinations(nodes, size):
            if measure(list(chosen)) < 0:
                return list(chosen)
    return list(nodes)


def smallest_at_zero(measure, nodes):
    """wrong 6.6: does not turn the answer"""
    for size in range(1, len(nodes) + 1):
        for chosen in combinations(nodes, size):
            if measure(list(chosen)) <= 0:
                return list(chosen)


def smallest_as_number(measure, nodes):
    """wrong 6.6: should return a list of nodes"""
    sets = [s for size in range(len(nodes) + 1) for s in combinations(nodes, size)]
    return min(len(s) for s in sets if measure(list(s)) < 0)


def smallest_with_too_many_runs(measure, nodes):
    """wrong 6.6: each call is a run of the model"""
    sets = [s for size in range(1, len(nodes) + 1) for s in combinations(nodes, size)]
    return list(min((s for s in sets if measure(list(s)) < 0 and measure(list(s)) < 0), key=len))


def smallest_largest_first(measure, nodes):
    """wrong 6.6: does too, and is smaller"""
    for size in range(len(nodes), 0, -1):
        for chosen in combinations(nodes, size):
            if measure(list(chosen)) < 0:
                return list(chosen)


def smallest_by_emptying_the_list(measure, nodes):
    """wrong 6.6: belongs to its caller"""
    sets = [list(s) for size in range(len(nodes) + 1) for s in combinations(nodes, size)]
    nodes.clear()
    return next(chosen for chosen in sets if measure(chosen) < 0)


def smallest_by_bits(measure, nodes):
    """right 6.6"""
    sets = [[n for i, n in enumerate(nodes) if bits >> i & 1] for bits in range(2 ** len(nodes))]
    return min((chosen for chosen in sets if measure(chosen) < 0), key=len)


def smallest_as_a_set(measure, nodes):
    """right 6.6"""
    waiting = [frozenset()]
    while waiting:
        chosen = waiting.pop(0)
        if measure(sorted(chosen)) < 0:
            return set(chosen)
        more = [chosen | {node} for node in nodes if node not in chosen]
        waiting += [one for one in dict.fromkeys(more) if one not in waiting]

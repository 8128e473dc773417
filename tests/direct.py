"""A sweep by definition: for every patch one full forward pass, whole logits, and the metric.

It shares nothing with what it judges but the model's hooks: places are counted off in loops, and
set one vector at a time.
"""

from itertools import product

import torch

NAMES = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    **{name: f"attn.hook_{name}" for name in ("q", "k", "v", "z", "pattern")},
}


def listed(index, size):
    """Write out an index: None is all, a number one, negative from the end."""
    index = range(size) if index is None else [index] if isinstance(index, int) else index
    return [i if i >= 0 else size + i for i in index]


def heads_of(heads, layer):
    """Pick a layer's heads: all, or of pairs (layer, head) its own."""
    pairs = [head for head in heads or [] if isinstance(head, tuple)]
    return [head for home, head in pairs if home == layer] if pairs else heads


def place(nodes, layer):
    """Return what to index an activation with, the batch first: nodes with indices written out."""
    rows, heads = list(nodes.positions), heads_of(nodes.heads, layer)
    if heads is None:
        return slice(None), rows  # [b p d]
    columns = [[head] for head in heads]
    if nodes.type == "pattern":
        return slice(None), columns, rows  # [b h q k]
    return slice(None), rows, columns  # [b p h e]


def vectors(activation, type, position, heads):
    """Yield the vectors that stand at a position, of all prompts: [b ...], views."""
    if type == "pattern":  # [b h q k]: what a query takes of each key
        yield from (activation[:, head, position] for head in heads)
    elif type in ("q", "k", "v", "z"):  # [b p h e]
        yield from (activation[:, position, head] for head in heads)
    else:  # [b p d]
        yield activation[:, position]


def patch(type, donor, layers, positions, heads):
    """Return the hooks that put the donor's activations in."""

    def hook(activation, hook):
        theirs = donor[hook.name].expand_as(activation)
        for position in positions:
            here = heads_of(heads, hook.layer())
            pairs = (vectors(x, type, position, here) for x in (activation, theirs))
            for own, other in zip(*pairs):
                own.copy_(other)

    return [(f"blocks.{layer}.{NAMES[type]}", hook) for layer in layers]


@torch.no_grad()
def sweep(model, base, donor, metric, what, answer=-1):
    """Return the metric after each patch [*axes b]; `donor`: tokens, or {site: activation}."""
    given = not isinstance(donor, torch.Tensor)
    donor = donor if given else model.run_with_cache(donor)[1]
    sizes = {"layer": model.cfg.n_layers, "position": base.shape[1], "head": model.cfg.n_heads}
    pairs = isinstance(what.heads, list) and isinstance(what.heads[0], tuple)
    index = {axis: getattr(what, f"{axis}s") for axis in sizes if not (pairs and axis == "head")}
    picked = {axis: listed(i, sizes[axis]) for axis, i in index.items()}
    if pairs:
        picked["head"] = [tuple(i % n for i, n in zip(pair, (sizes["layer"], sizes["head"])))
                          for pair in what.heads]  # fmt: skip
    values = []
    for place in product(*(picked[axis] for axis in what.over)):
        at = picked | {axis: [i] for axis, i in zip(what.over, place)}
        hooks = patch(what.type, donor, at["layer"], at["position"], at["head"])
        logits = model.run_with_hooks(base, fwd_hooks=hooks)  # [b p v]
        values.append(metric(logits[:, answer]))  # [b]
    return torch.stack(values).view(*(len(picked[axis]) for axis in what.over), len(base))

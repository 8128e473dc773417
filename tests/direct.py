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
            pairs = (vectors(x, type, position, heads) for x in (activation, theirs))
            for own, other in zip(*pairs):
                own.copy_(other)

    return [(f"blocks.{layer}.{NAMES[type]}", hook) for layer in layers]


@torch.no_grad()
def sweep(model, base, donor, metric, what, answer=-1):
    """Return the metric after each patch [*axes b]; `donor`: tokens, or {site: activation}."""
    given = not isinstance(donor, torch.Tensor)
    donor = donor if given else model.run_with_cache(donor)[1]
    sizes = {"layer": model.cfg.n_layers, "position": base.shape[1], "head": model.cfg.n_heads}
    picked = {axis: listed(getattr(what, f"{axis}s"), size) for axis, size in sizes.items()}
    values = []
    for place in product(*(picked[axis] for axis in what.over)):
        at = picked | {axis: [i] for axis, i in zip(what.over, place)}
        hooks = patch(what.type, donor, at["layer"], at["position"], at["head"])
        logits = model.run_with_hooks(base, fwd_hooks=hooks)  # [b p v]
        values.append(metric(logits[:, answer]))  # [b]
    return torch.stack(values).view(*(len(picked[axis]) for axis in what.over), len(base))

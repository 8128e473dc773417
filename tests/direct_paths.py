"""Path patching exactly as Wang et al. 2022 define it (section 3.1, appendix B): slow, and right.

One prompt, one sender and one head at a time; what a run is made to hold is a plain dictionary,
{(type, layer, head, position): vector}. No line is shared with what it judges: not the model's
forward pass, nor the sweep's way of indexing.
"""

import math

import torch
import torch.nn.functional as F

from tests import direct


def forward(model, tokens, held=None):
    """Run one prompt [p], holding what `held` says: return logits [p v] and all that was seen."""
    held, seen, positions = held or {}, {}, torch.arange(len(tokens))

    def see(value, *place):  # [p ...] -> [p ...]
        rows = [held.get((*place, p), row) for p, row in enumerate(value.unbind())]
        seen.update({(*place, p): row for p, row in enumerate(rows)})
        return torch.stack(rows)

    resid = model.W_E[tokens] + model.W_pos[: len(tokens)]  # [p d]
    for layer, block in enumerate(model.blocks):
        x, attn = norm(resid, block.ln1), block.attn
        attn_out = attn.b_O.expand_as(resid)
        for head in range(model.cfg.n_heads):
            q = see(x @ attn.W_Q[head] + attn.b_Q[head], "q", layer, head)  # [p e]
            k = see(x @ attn.W_K[head] + attn.b_K[head], "k", layer, head)
            v = see(x @ attn.W_V[head] + attn.b_V[head], "v", layer, head)
            scores = q @ k.T / math.sqrt(model.cfg.d_head)  # [q k]
            scores[positions[:, None] < positions] = -torch.inf
            z = see(scores.softmax(-1) @ v, "z", layer, head)
            attn_out = attn_out + z @ attn.W_O[head]
        resid = resid + see(attn_out, "attn_out", layer, None)
        hidden = norm(resid, block.ln2) @ block.mlp.W_in + block.mlp.b_in  # [p m]
        mlp_out = F.gelu(hidden, approximate="tanh") @ block.mlp.W_out + block.mlp.b_out
        resid = resid + see(mlp_out, "mlp_out", layer, None)
    return norm(resid, model.ln_final) @ model.W_U + model.b_U, seen


def norm(resid, ln):  # [p d] -> [p d]
    """Apply a layer norm, its scale that of the stream as it now is."""
    centred = resid - resid.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + ln.eps).sqrt() * ln.w + ln.b


def places(type, layers, heads, positions):
    """List the places of some nodes."""
    return [(type, i, head, p) for i in layers for head in heads or [None] for p in positions]


def places_of(nodes):
    """List the places of nodes with indices written out; their heads may be (layer, head)."""
    if not isinstance((nodes.heads or [0])[0], tuple):
        return places(nodes.type, nodes.layers, nodes.heads, nodes.positions)
    return [(nodes.type, *head, p) for head in nodes.heads for p in nodes.positions]


def steps(model, original, from_original, from_new, senders, receivers, mlps_held=False):
    """Path patch one prompt [p]: senders and receivers are places, or "logits". -> logits [p v].

    Run A and run B, of the original and of the new prompt, gave what was seen in them.
    """
    # Run C: on the original, every head frozen at its original output but the sender, which takes
    # the new prompt's. Layer norms and MLPs are recomputed (or MLPs held: a way that is shorter
    # still). What the receivers come to hear is kept.
    layers, heads, positions = map(range, (model.cfg.n_layers, model.cfg.n_heads, len(original)))
    frozen = places("z", layers, heads, positions)
    frozen += places("mlp_out", layers, None, positions) if mlps_held else []
    held = {place: from_original[place] for place in frozen}
    held |= {place: from_new[place] for place in senders}
    logits, heard = forward(model, original, held)
    if receivers == "logits":
        return logits
    # Run D: on the original, nothing frozen, the receivers as run C had them.
    return forward(model, original, {place: heard[place] for place in receivers})[0]


def by_hand(model, base, donor, metric, paths, answer=-1):
    """Return the metric [patch b] of each sender of `paths` (indices written out), by the steps."""
    one_by_one, to = [], paths.to
    if to != "logits":
        to = places_of(to)
    seen = [(b, forward(model, b)[1], forward(model, d)[1]) for b, d in zip(base, donor)]
    for patch in paths.senders.patches():
        rest = places_of(patch), to, paths.hold == "heads mlps"
        logits = [steps(model, *prompt, *rest)[answer] for prompt in seen]
        one_by_one.append(metric(torch.stack(logits)))
    return torch.stack(one_by_one)


def by_hooks(model, base, donor, metric, paths, answer=-1, sample=None):
    """Do the same with hooks, a full forward for each run: what one would write. [patch b].

    `sample`: the numbers of the senders to do, all unless told; for timing.
    """
    original, new = (model.run_with_cache(tokens)[1] for tokens in (base, donor))
    patches = paths.senders.patches()
    picked = range(len(patches)) if sample is None else sample
    return torch.stack([hooked(model, original, new, metric, patches[i], paths, answer)
                        for i in picked])  # fmt: skip


def hooked(model, original, new, metric, patch, paths, answer):
    """Path patch from one sender: two forwards."""

    def put(cache, nodes):
        def hook(x, hook):
            where = direct.place(nodes, hook.layer())
            x[where] = cache[hook.name][where]

        return [(site, hook) for site in nodes.sites()]

    site = "hook_attn_out" if patch.type == "attn_out" else "attn.hook_z"
    hooks = [(f"blocks.*.{site}", lambda x, hook: original[hook.name].clone())]
    if paths.hold == "heads mlps":
        hooks += [("blocks.*.hook_mlp_out", lambda x, hook: original[hook.name].clone())]
    hooks += put(new, patch)
    if paths.to != "logits":
        names = paths.to.sites()
        heard = model.run_with_cache(original.tokens, names, fwd_hooks=hooks)[1]
        hooks = put(heard, paths.to)
    return metric(model.run_with_hooks(original.tokens, fwd_hooks=hooks)[:, answer])

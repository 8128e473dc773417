"""By which road news travels in the indirect-object circuit, and who looks where (lesson 07).

`swept` runs one sweep over all batches. `told` is path patching for several senders at once: they
speak as in a twin, and only some hear them.
"""

import torch
from torch import Tensor

from lessons.techniques import indirect_object
from lessons.techniques.indirect_object import Head
from lessons.techniques.prompts import EIGHT, io_batches
from lessons.techniques.sweep import Effects, LogitDiff, Nodes, Paths, sweep


def all_heads(model) -> list[Head]:
    """List all heads of a model, as (layer, head)."""
    cfg = model.cfg
    return [(layer, head) for layer in range(cfg.n_layers) for head in range(cfg.n_heads)]


def called(heads) -> str:
    """Name heads as the lessons do, L0H1 L1H1; those of a set in order."""
    heads = sorted(heads) if isinstance(heads, (set, frozenset)) else heads
    return " ".join(f"L{layer}H{head}" for layer, head in heads) or "none"


def lowest(change: Tensor, n: int, above: int = 0) -> list[Head]:  # [l h]
    """List the n heads that lower the metric most, the first most; from layer `above` on."""
    order = (change[above:].flatten().argsort() + above * change.shape[1]).tolist()
    return [divmod(i, change.shape[1]) for i in order[:n]]


def least(change: Tensor, but=()) -> float:  # [l h]
    """Return the lowest change of any head that is not in `but`; 0 if there is none."""
    kept = change.clone()
    for head in but:
        kept[head] = 0.0
    return kept.min().item()


def of_one_layer(heads) -> tuple[int, list[int]]:
    """Return the layer of the first head, and which of the heads are in it."""
    home = heads[0][0]
    return home, [head for layer, head in heads if layer == home]


def idlest(change: Tensor, n: int) -> list[Head]:  # [l h]
    """List the n heads that change the metric least."""
    return lowest(change.abs(), n)


def averaged(batches, of) -> Tensor:
    """Return the mean over all prompts of `of(batch)` [... b]."""
    return torch.cat([of(batch) for batch in batches], dim=-1).float().mean(-1)


def swept(model, batches, what, twin: str = "ABC") -> Effects:
    """Sweep over all batches, noising with a twin; one Effects for all prompts together."""
    parts = []
    for batch in batches:
        metric = LogitDiff(batch.io, batch.s)
        other = batch.twins[twin]
        parts.append(sweep(model, batch.tokens, other, metric, what, direction="noising"))
    one, values = parts[0], torch.cat([part.values for part in parts], dim=-1)
    clean, corrupted = (torch.cat([getattr(p, k) for p in parts]) for k in ("clean", "corrupted"))
    return Effects(values, one.axes, one.labels, clean, corrupted, one.direction, one.what)


def into_inputs(model, batches, movers) -> dict[str, Effects]:
    """Path patching into the movers' queries, keys, values: each earlier head speaks of strangers.

    The movers of the first one's layer, all positions.
    """
    home, own = of_one_layer(movers)
    earlier = Nodes("z", over="layer head", layers=range(home))
    to = {name: Nodes(name[0], layers=home, heads=own) for name in ("queries", "keys", "values")}
    return {name: swept(model, batches, Paths(earlier, to=nodes)) for name, nodes in to.items()}


def answers(model, batches, twin: str | None = None) -> tuple[Tensor, Tensor]:  # -> [b], [b]
    """Return, for all prompts (or their twins), the logit difference and the word that is first."""
    diffs, words = [], []
    for batch in batches:
        parts = (batch.twins[twin] if twin else batch.tokens), batch.io, batch.s
        for tokens, io, s in zip(*(part.split(32) for part in parts)):  # a vocabulary is large
            logits = model(tokens)
            diffs.append(indirect_object.logit_diff(logits, io, s))
            words.append(logits[:, -1].argmax(-1))
    return torch.cat(diffs), torch.cat(words)


def published_eight(model) -> Tensor:  # -> [8]
    """Return the logit differences of the eight prompts of prompts.EIGHT."""
    diffs = []
    for text, *names in EIGHT:
        io, s = (torch.tensor([model.to_single_token(f" {name}")]) for name in names)
        diffs.append(indirect_object.logit_diff(model(text), io, s))
    return torch.cat(diffs)


def bystanders(model, n: int, reader: Head, seed: int = 0) -> dict[tuple, Tensor]:
    """Name a bystander early or late, and let him be nobody, IO or S.

    Returns (place, who) -> [2]: the logit difference, and the reader's attention to the bystander.
    """
    found, (layer, head) = {}, reader
    for place, template in (("early", 7), ("late", 6)):
        for who in ("nobody", "IO", "S"):
            rows = []
            for batch in io_batches(model, n, seed, [template], x=who):
                logits, cache = model.run_with_cache(batch.tokens)
                diff = indirect_object.logit_diff(logits, batch.io, batch.s)
                rows.append(torch.stack([diff, batch.looks(cache["pattern", layer], head, "X")]))
            found[place, who] = torch.cat(rows, dim=-1).mean(-1)
    return found


# ---- several speak, some hear --------------------------------------------------------------------


def told(model, batch, tellers, to=None, hold_mlps=False, twin="S2"):
    """Run the prompts while `tellers` say at END what they say in the twin; return logits, cache.

    `to`: who hears it. None: all. "logits": no head does, all others are held at the plain run's z
    (and with `hold_mlps` no MLP either). A list of heads: their queries at END alone.
    """
    plain = model.run_with_cache(batch.tokens)[1]
    other = model.run_with_cache(batch.twins[twin], names_filter="*.hook_z")[1]

    def speak(z, hook):
        z = z.clone() if to is None else plain[hook.name].clone()  # [b p h e]
        for layer, head in tellers:
            if layer == hook.layer():
                z[:, -1, head] = other[hook.name][:, -1, head]
        return z

    hooks = [("*.hook_z", speak)]
    if hold_mlps:
        hooks += [("*.hook_mlp_out", lambda out, hook: plain[hook.name].clone())]
    if isinstance(to, list):
        heard = model.run_with_cache(batch.tokens, names_filter="*.hook_q", fwd_hooks=hooks)[1]

        def ask(q, hook):
            for layer, head in to:
                if layer == hook.layer():
                    q[:, -1, head] = heard[hook.name][:, -1, head]
            return q

        hooks = [("*.hook_q", ask)]
    return model.run_with_cache(batch.tokens, fwd_hooks=hooks)


def told_diff(model, batch, tellers, to=None, hold_mlps=False) -> Tensor:  # -> [b]
    """Return the logit difference while the tellers say that the other one gives; see `told`."""
    logits = told(model, batch, tellers, to, hold_mlps)[0]
    return indirect_object.logit_diff(logits, batch.io, batch.s)


def looks_when_told(model, batch, tellers, movers, head: Head) -> Tensor:  # -> [2 2 b]
    """Return a head's attention to IO and S1, before the movers' queries hear the lie and after."""
    runs = [model.run_with_cache(batch.tokens), told(model, batch, tellers, list(movers))]
    patterns = [cache["pattern", head[0]] for _, cache in runs]
    looks = [batch.looks(one, head[1], role) for one in patterns for role in ("IO", "S1")]
    return torch.stack(looks).view(2, 2, -1)


def donor(model, batch, how: str) -> dict[int, Tensor]:
    """Return what heads say when they are knocked out: layer -> z [b p h e]. `how`: see HOWS."""
    twin = batch.twins["S2" if how == "exchange" else "ABC"]
    cache = model.run_with_cache(twin, names_filter="*.hook_z")[1]
    z = {layer: cache["z", layer] for layer in range(model.cfg.n_layers)}
    if how == "mean":
        z = {i: indirect_object.template_means(said, batch.template) for i, said in z.items()}
    return z


def hushing(silent, donor: dict[int, Tensor]):
    """Make a hook for z: the silent heads say what the donor holds for them, at all positions."""

    def hush(z, hook):
        for layer, head in silent:
            if layer == hook.layer():
                z[:, :, head] = donor[layer][:, :, head]
        return z

    return hush


def changed_heads(model, batches, silent, by: float = 0.01) -> list[Head]:
    """List the other heads whose z at END changes by more than `by` of its length.

    The silent ones say their mean over strangers.
    """
    changes = torch.zeros(model.cfg.n_layers, model.cfg.n_heads)
    for batch in batches:
        plain, means = model.run_with_cache(batch.tokens)[1], donor(model, batch, "mean")
        hooks = [("*.hook_z", hushing(silent, means))]
        z = model.run_with_cache(batch.tokens, fwd_hooks=hooks)[1]
        for i in range(len(changes)):
            gap = (z["z", i] - plain["z", i])[:, -1].norm(dim=-1)  # [b h]
            changes[i] += (gap / plain["z", i][:, -1].norm(dim=-1)).mean(0) / len(batches)
    return [head for head in all_heads(model) if changes[head] > by and head not in silent]

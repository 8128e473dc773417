"""All patches in one walk through the layers, each run computed only where it can differ.

A patched run is the base run, but for what the patch changes. So:
- it joins the walk at the patched site: below, it is the base run, which walks along;
- it carries the positions from the first that can differ: of those before, it reads the base run's
  keys and values (causality: nothing later changes them);
- it ends at the answer's position: what comes after is read by nobody;
- in the last block only that position asks: of the others, keys and values are all it needs;
- all runs, whatever layer they joined at, share each product with a weight matrix;
- where base and donor cannot differ yet, no run is made at all (see planning.py).

Letters: t tokens of all runs, r runs, s positions that a run carries, n positions up to the answer;
the others are those of minimech/model.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lessons.techniques.sweep.nodes import SITES
from minimech.model import affine, attend_fused

INSIDE = ("q", "k", "v", "pattern")  # patched between the products with W_QKV and with W_O


@dataclass(eq=False)
class Runs:
    """Runs that join at one layer and carry the same positions, up to the answer's.

    prompts [r]: the prompt of each. start: the first position that they carry. layers: where they
    are patched, the lowest first. patches [r]: the number of each run's patch. masks: for each of
    the layers, [r s h 1] or [r s 1], where it puts the donor's activation. The last three are those
    of patched runs alone.
    """

    prompts: Tensor
    start: int = 0
    layers: tuple[int, ...] = ()
    patches: Tensor | None = None
    masks: dict[int, Tensor] | None = None


class Walk:
    """One walk: the base run first, then the donor's, then patched runs as they join.

    `type`: that of the patched nodes. `base`, `donor`: tokens [b n], equal before position `first`.
    Instead of tokens, `donor` may map site names to activations [b n ...]. `at_once`: how many
    tokens go through an MLP together.
    """

    def __init__(self, model, type: str, base: Tensor, donor: Tensor | Mapping, first: int,
                 waiting: list[Runs], at_once: int = 2048):  # fmt: skip
        self.model, self.type, self.waiting, self.at_once = model, type, waiting, at_once
        self.n, everyone = base.shape[1], torch.arange(len(base), device=base.device)
        self.given = donor if isinstance(donor, Mapping) else None
        self.base, self.donor = Runs(everyone), Runs(everyone, first)
        self.here = [self.base]
        self.stream = model.embed(base).flatten(0, 1)  # [t d]
        if self.given is None and first < self.n:
            self.here.append(self.donor)
            theirs = model.embed(donor[:, first:], start=first)  # [b s d]
            self.stream = torch.cat([self.stream, theirs.flatten(0, 1)])

    def __call__(self, done=lambda tokens: None) -> list[tuple[Runs, Tensor]]:  # [r d] each
        """Walk through all blocks; return each group and its normed final stream at the answer."""
        stream = self.stream
        for layer, block in enumerate(self.model.blocks):
            (stream,) = self.visit("resid_pre", layer, stream)
            stream = self.attention(block, layer, stream)
            stream = self.mlp(block, layer, stream)
            done(sum(len(runs.prompts) * (self.n - runs.start) for runs in self.here))
        normed = self.model.ln_final(stream)  # [r d]
        return list(zip(self.here, normed.split([len(runs.prompts) for runs in self.here])))

    def attention(self, block, layer: int, stream: Tensor) -> Tensor:
        """Add attention to the stream: [t d] -> [t d]; in the last block to the answer's, [r d]."""
        z, stream = self.look(block, layer, stream)  # [t h e], [t d]
        z, stream = self.visit("z", layer, z, stream)
        attn_out = affine(z.flatten(1), block.attn.W_O.flatten(0, 1), block.attn.b_O)  # [t d]
        attn_out, stream = self.visit("attn_out", layer, attn_out, stream)
        return self.visit("resid_mid", layer, stream + attn_out)[0]

    def look(self, block, layer: int, stream: Tensor) -> tuple[Tensor, Tensor]:
        """Let every run look around: return z [t h e], and the stream where it will be needed."""
        asking = x = block.ln1(stream)  # [t d]
        if layer == len(self.model.blocks) - 1:
            asking, stream = self.answers(x), self.answers(stream)  # [r d]
        W, b = block.attn.W_QKV, block.attn.b_QKV  # [d 3 h e], [3 h e]
        q = affine(asking, W[:, 0].flatten(1), b[0].flatten()).unflatten(-1, b.shape[1:])
        kv = affine(x, W[:, 1:].flatten(1), b[1:].flatten()).unflatten(-1, b[1:].shape)
        if self.type in INSIDE:
            q, kv, stream = self.join(layer, q, kv, stream)
        if self.type in ("q", "k", "v"):
            self.put(layer, {"q": q, "k": kv[:, 0], "v": kv[:, 1]}[self.type])
        return self.attend(block.attn, q, kv), stream

    def attend(self, attn, q: Tensor, kv: Tensor) -> Tensor:  # [t h e], [t 2 h e] -> z [t h e]
        """Let every run look at its own positions, and before these at the base run's."""
        parts = self.parts(kv)  # [r s 2 h e] each
        for runs, asking, own in zip(self.here, self.parts(q), parts):
            before = parts[0][runs.prompts, : runs.start]  # [r n-s 2 h e]
            k, v = torch.cat([before, own], dim=1).unbind(2)  # [r n h e] each
            if self.type == "pattern":
                z = attn.attend(asking, k, v, self.patterns_of(runs, attn.layer))
            else:
                z = attend_fused(asking, k, v)
            asking.copy_(z)  # z takes the place of q
        return q

    def mlp(self, block, layer: int, stream: Tensor) -> Tensor:  # [t d] -> [t d]
        """Add the MLP to the stream; inside it is four times as wide, so some tokens at a time."""
        parts = [block.mlp(block.ln2(part)) for part in stream.split(self.at_once)]
        mlp_out, stream = self.visit("mlp_out", layer, torch.cat(parts), stream)
        return self.visit("resid_post", layer, stream + mlp_out)[0]

    # ---- joining, and the patch itself ---------------------------------------------------------

    def visit(self, type: str, layer: int, x: Tensor, *more: Tensor) -> list[Tensor]:
        """Stop at a site: if it is the patched one, runs join, and hear what the donor says."""
        if type != self.type:
            return [x, *more]
        live = self.join(layer, x, *more)
        self.put(layer, live[0])
        return live

    def join(self, layer: int, *live: Tensor) -> list[Tensor]:
        """Let those runs join that are first patched at this layer, as copies of the base run."""
        new = [runs for runs in self.waiting if runs.layers[0] == layer]
        joined = []
        for x in live:
            base = self.parts(x)[0]  # [b n ...]; where only the answer is left, [b 1 ...]
            starts = [runs.start - self.n for runs in new]  # from the end
            copies = [base[runs.prompts, start:] for runs, start in zip(new, starts)]
            joined.append(torch.cat([x, *(copy.flatten(0, 1) for copy in copies)]))
        self.here += new
        return joined

    def put(self, layer: int, x: Tensor) -> None:  # [t ...]
        """Put the donor's activation into the runs that are patched at this layer, in place."""
        for runs, own in zip(self.here, self.parts(x)):
            self.put_one(layer, runs, own)

    def put_one(self, layer: int, runs: Runs, own: Tensor) -> None:  # [r s ...]
        """Read off what the donor says as the base and the donor pass by; tell it to the others."""
        s = own.shape[1]
        if runs is self.base:
            self.says = own.clone()  # [b n ...]: where the two are equal, this is the donor's too
        elif runs is self.donor:
            self.says[:, -s:] = own
        elif layer in runs.layers:
            told, mask = self.told(layer, runs)[:, -s:], runs.masks[layer][:, -s:]
            own.copy_(torch.where(mask, told, own))

    def told(self, layer: int, runs: Runs) -> Tensor:  # -> [r n ...]
        """Return what is put into each of these runs."""
        if self.given is None:
            return self.says[runs.prompts]
        told = self.given[f"blocks.{layer}.{SITES[self.type]}"][runs.prompts]  # [r n ...]
        if self.type == "pattern":
            told = told.transpose(1, 2)[..., : self.n]  # [r q h k]
        return told[:, : self.n]

    def patterns_of(self, runs: Runs, layer: int):
        """Make the tap that patches the patterns of some runs."""

        def tap(name: str, x: Tensor) -> Tensor:  # [r h q k]
            if name.endswith("hook_pattern"):
                self.put_one(layer, runs, x.transpose(1, 2))  # [r q h k], a view
            return x

        return tap

    def parts(self, x: Tensor) -> list[Tensor]:  # [t ...] -> [r s ...] for each of `here`
        """Part what is stacked into views of each group's runs; of [r ...], the answer's, too."""
        counts = [len(runs.prompts) for runs in self.here]
        lengths = [1 if len(x) == sum(counts) else self.n - runs.start for runs in self.here]
        sizes = [r * s for r, s in zip(counts, lengths)]
        return [part.unflatten(0, (r, -1)) for part, r in zip(x.split(sizes), counts)]

    def answers(self, x: Tensor) -> Tensor:  # [t d] -> [r d]
        """Pick each run's last position."""
        return torch.cat([part[:, -1] for part in self.parts(x)])

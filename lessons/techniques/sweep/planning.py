"""What a sweep takes, known before it starts: which runs to make, how many at a time, what share.

A run is one patch of one prompt. Tokens alone say which runs can differ from the base run, and from
which position on. The others are not made: patching equal by equal changes nothing.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lessons.techniques.sweep.nodes import OF_HEADS, Nodes
from lessons.techniques.sweep.walk import INSIDE, Runs
from minimech import MinimechError


def first_affected(patch: Nodes, differs: Tensor, n_layers: int) -> Tensor:  # [b n] -> [b]
    """Return the first position at which each patched prompt can differ; n where none can.

    differs: where base and donor have different tokens. An activation can differ at that token and
    after; at layer 0, before anything is read from elsewhere, at that token alone.
    """
    n = differs.shape[1]
    own_token = set(patch.layers) == {0} and patch.type in ("resid_pre", "q", "k", "v")
    can = differs if own_token else differs.cumsum(1) > 0  # [b n]
    patched = torch.zeros(n, dtype=torch.bool, device=differs.device)
    patched[[position for position in patch.positions if position < n]] = True
    if set(patch.layers) == {n_layers - 1} and patch.type not in ("resid_pre", "k", "v"):
        patched[:-1] = False  # in the last block, the answer's position is all that is read
    can = can & patched
    return torch.where(can.any(1), can.int().argmax(1), n)


class Plan:
    """The runs of a sweep, parted into walks that keep within a budget of memory.

    `what`: nodes with their indices written out. `differs` [b n]: where the donor's tokens differ,
    up to the answer. `length`: that of the prompts. `is_run`: the donor is a run and walks along.
    `kept`: how many numbers of a run the metric reads; `in_all`: or is it all logits, of which
    these are the last stream? `budget`: bytes, beside model and prompts.
    Raises MinimechError if not even one run fits.
    """

    def __init__(self, model, what: Nodes, differs: Tensor, length: int, is_run: bool, kept: int,
                 in_all: bool, budget: int):  # fmt: skip
        self.cfg, self.patches, self.length = model.cfg, what.patches(), length
        self.type, self.number = what.type, model.W_E.element_size()
        self.b, self.n = differs.shape
        starts = [first_affected(patch, differs, model.cfg.n_layers) for patch in self.patches]
        self.starts = torch.stack(starts)  # [patch b]
        firsts = torch.where(differs.any(1), differs.int().argmax(1), self.n)  # [b]
        self.first = int(firsts.min()) if is_run else self.n  # where the donor's run starts
        self.both = 2 * self.n - self.first  # tokens of a prompt's base and donor
        self.logits = 3 * self.b * model.cfg.d_vocab * in_all  # while such a metric reads them
        self.share_out(kept * self.b, budget // self.number)
        self.walks = list(self.parted())

    def share_out(self, kept: int, budget: int) -> None:
        """Settle how many patches, tokens and runs may be in a walk; `budget` counts numbers.

        At most so many numbers are alive at once: for each token of the stack, `a_token`: stream,
        normed stream, q or z, k, v and a copy, more where runs join amid these. For each run that
        is attending, `a_run`: the keys and values it looks at. For each token in an MLP, `in_mlp`.
        And of each patch what the metric is going to read.
        """
        cfg, self.some = self.cfg, max(1, min(len(self.patches), budget // 4 // kept))
        self.kept = self.some * kept
        room, patterns = budget - self.kept, 4 * cfg.n_heads * self.n**2 * (self.type == "pattern")
        self.a_token = (9 if self.type in INSIDE else 6) * cfg.d_model
        self.a_run = 4 * self.n * cfg.d_model + patterns
        self.in_mlp = 2 * (cfg.d_model + cfg.d_mlp)
        least = (self.both + self.n) * self.a_token  # base, donor, and one run
        need = max(least * 4 // 3 + 1, 8 * self.a_run, 8 * self.in_mlp, self.logits)
        if need > room:
            takes, has = (mib(x * self.number) for x in (need + self.kept, budget))
            raise MinimechError(f"one patch at a time takes {takes}, and the budget is {has}: "
                                "pass a larger `budget`, in bytes")  # fmt: skip
        self.tokens = room * 3 // 4 // self.a_token
        self.runs = room // 8 // self.a_run
        self.at_once = min(2048, room // 8 // self.in_mlp)

    # ---- which runs walk together ----------------------------------------------------------------

    def parted(self) -> Iterator[tuple[slice, slice, list[Runs]]]:
        """Yield of each walk the patches, the prompts, and the runs that walk together."""
        for i in range(0, len(self.patches), self.some):
            patches = slice(i, min(i + self.some, len(self.patches)))
            carried = int((self.n - self.starts[patches]).sum(0).max())
            size = max(1, min(self.tokens // (self.both + carried), self.runs, self.b))
            size = -(-self.b // -(-self.b // size))  # as many walks, as even as can be
            for j in range(0, self.b, size):
                prompts = slice(j, min(j + size, self.b))
                for together in self.fitting(patches, prompts):
                    yield patches, prompts, together

    def fitting(self, patches: slice, prompts: slice) -> Iterator[list[Runs]]:
        """Yield runs of some patches and prompts, as many as fit beside the base and the donor."""
        room = self.tokens - (prompts.stop - prompts.start) * self.both
        together, left = [], room
        for runs in self.groups(patches, prompts, room):
            if self.carried(runs) > left:
                yield together
                together, left = [], room
            together.append(runs)
            left -= self.carried(runs)
        yield together  # be it empty: base and donor walk in any case

    def groups(self, patches: slice, prompts: slice, room: int) -> Iterator[Runs]:
        """Yield the runs that join at one layer and start at one position, not too many in one."""
        layers = [tuple(sorted(set(patch.layers))) for patch in self.patches[patches]]
        for where in sorted(set(layers)):
            here = [patches.start + i for i, each in enumerate(layers) if each == where]
            here = torch.tensor(here, device=self.starts.device)
            starts = self.starts[here, prompts]  # [patch b]
            for start in starts.unique().tolist():
                if start < self.n:
                    patch, prompt = (starts == start).nonzero().T  # [r] each
                    size = max(1, min(self.runs, room // (self.n - start)))
                    for i in range(0, len(patch), size):
                        yield Runs(prompt[i : i + size], start, where, here[patch[i : i + size]])

    def carried(self, runs: Runs) -> int:
        """Count the tokens of some runs."""
        return len(runs.prompts) * (self.n - runs.start)

    def masked(self, runs: Runs) -> Runs:
        """Write out where each run is patched."""
        return replace(runs, masks={layer: self.mask(runs, layer) for layer in runs.layers})

    def mask(self, runs: Runs, layer: int) -> Tensor:  # -> [r s h 1], or [r s 1]
        """Write out where each run is patched in a layer."""
        of_heads = self.type in OF_HEADS
        mask = torch.zeros(len(runs.prompts), self.n, self.cfg.n_heads if of_heads else 1, 1)
        mask = mask.bool()  # [r n h 1]
        for i, patch in enumerate(runs.patches.tolist()):
            patch = self.patches[patch]
            rows = [[position] for position in patch.positions if position < self.n]
            mask[i, rows, patch.heads_in(layer) if of_heads else [0]] = True
        mask = mask[:, runs.start :].to(runs.prompts.device)
        return mask if of_heads else mask.squeeze(2)

    # ---- what it takes ---------------------------------------------------------------------------

    @property
    def bytes(self) -> int:
        """Return how many bytes are needed at most, beside the model and the prompts."""
        most = 0
        for _, prompts, together in self.walks:
            b = prompts.stop - prompts.start
            tokens = b * self.both + sum(map(self.carried, together))
            runs = max([b, *(len(runs.prompts) for runs in together)])
            in_mlp = min(self.at_once, tokens) * self.in_mlp
            most = max(most, tokens * self.a_token + runs * self.a_run + in_mlp)
        return (max(most, self.logits) + self.kept) * self.number

    @property
    def share(self) -> float:
        """Return the products with weights that are left, of those in one forward per patch."""
        cfg, done = self.cfg, 0
        block = 4 * cfg.d_model**2 + 2 * cfg.d_model * cfg.d_mlp  # of one token
        whole = self.length * (cfg.n_layers * block + cfg.d_model * cfg.d_vocab)
        for _, prompts, together in self.walks:
            both = (self.left("resid_pre", 0, s) for s in (self.n, self.n - self.first))
            done += (prompts.stop - prompts.start) * sum(both)
            for runs in together:
                left = self.left(self.type, runs.layers[0], self.n - runs.start)
                done += len(runs.prompts) * left
        return done / (len(self.patches) * self.b * whole)

    @property
    def steps(self) -> int:
        """Count the tokens that go through each block, over all blocks and walks."""
        n_layers, steps = self.cfg.n_layers, 0
        for _, prompts, together in self.walks:
            steps += (prompts.stop - prompts.start) * self.both * n_layers
            steps += sum(self.carried(runs) * (n_layers - runs.layers[0]) for runs in together)
        return steps

    def left(self, type: str, layer: int, s: int) -> int:
        """Count the products of a run of s tokens that joins at a site."""
        d, mlp = self.cfg.d_model, 2 * self.cfg.d_model * self.cfg.d_mlp  # of one token
        block, last = 4 * d * d + mlp, self.cfg.n_layers - 1
        done = {"resid_pre": 0, "attn_out": 4 * d * d, "resid_mid": 4 * d * d}
        done |= {"mlp_out": block, "resid_post": block}
        here = block - done.get(type, 3 * d * d)  # the patched block; q, k, v, z: all but W_QKV
        at_last = block - 2 * d * d + s * 2 * d * d  # k and v of every token, the rest of one
        if layer == last:
            here = at_last if type == "resid_pre" else here
        return s and (here if layer == last else s * (here + (last - 1 - layer) * block) + at_last)

    def __str__(self) -> str:
        runs = sum(len(runs.prompts) for *_, together in self.walks for runs in together)
        walks = f"{len(self.walks)} walk" + "s" * (len(self.walks) > 1)
        return (f"{len(self.patches)} patches of {self.b} prompts: {runs} runs in {walks}, "
                f"{mib(self.bytes)}, {self.share:.1%} of one forward each")  # fmt: skip


def mib(count: int) -> str:
    """Write a number of bytes in MiB."""
    return f"{count / 2**20:,.3g} MiB"

"""Path patching without the waste: one pass over the layers for all senders.

By definition each sender costs two forward passes (Wang et al. 2022, section 3.1). In run C it
says what it said on the donor, every head holds what it had on the base, and what the receivers
come to hear is kept. In run D the receivers are set to that, nothing is held, and the metric is
read. Most of this is waste:

- Attention alone carries anything from one position to another, and in run C it is held. So what a
  sender changes stays where it was said. Run C needs no attention: only the change of the stream,
  followed through layer norms and MLPs, at the positions where a receiver listens.
- All senders are rows of one stack. Each joins it in its own layer.
- Run D differs from the base run from the first receiver's layer on, and from the first position
  that heard anything. It starts there, and reads the base run's keys and values before.
- The answer alone is read. No later position is computed, and in the last layer no other.

Letters: r rows of run C, s senders in run D; the others are those of minimech/model.py.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from lessons.techniques.sweep.base_run import BaseRun, planned
from lessons.techniques.sweep.nodes import Nodes, Paths
from minimech.model import affine, is_future

BAR = {"delay": 2, "disable": None, "leave": False}  # at a terminal, if it takes longer


def walk(run, paths: Paths) -> Tensor:  # -> kept [patch b k]
    """Take every path of `paths`, whose indices are written out; see run.py for what is kept.

    Where nothing is heard, that is the base run's. Fills in `run.ends` too.
    Raises: MinimechError if one sender of one prompt does not fit into the budget.
    """
    senders, plan = paths.senders.patches(), planned(run, paths)
    kept = run.room(len(senders), len(run.base))
    heard = torch.zeros(kept.shape[:2], dtype=torch.bool, device=kept.device)
    with tqdm(total=heard.numel(), desc=str(plan), **BAR) as bar:
        for prompts in torch.arange(len(run.base), device=kept.device).split(plan.prompts):
            base = BaseRun(run, paths, prompts)
            run.ends[:, prompts] = read(run, base.ends, prompts)
            for some in base.parted(senders, plan.senders):
                run_c = RunC(base, [senders[i] for i in some])
                resid = run_c.stream() if paths.to == "logits" else run_d(run_c)  # [s b d]
                where = torch.tensor(some, device=kept.device)[:, None], prompts
                kept[where] = read(run, resid, prompts)
                heard[where] = base.differs.expand(len(some), -1)
                bar.update(len(prompts) * len(some))
    return kept.where(heard[..., None], run.ends[0])


def read(run, resid: Tensor, prompts: Tensor) -> Tensor:  # [s b d] -> [s b k]
    """Read the final stream of the same prompts several times over."""
    normed = run.model.ln_final(resid).flatten(0, 1)  # [s*b d]
    said = run.said(normed, prompts.repeat(len(resid)), len(normed))  # [s*b k]
    return said.unflatten(0, resid.shape[:2])


class RunC:
    """Some senders, each on its own: what it changes in the stream while all heads are held.

    Row r is senders[sender[r]] at one position where it speaks and is listened to. The rows are
    sorted by the layer in which they start. `change` [r b d] is the stream minus the base run's, a
    row for each that has spoken so far.
    """

    def __init__(self, base: BaseRun, senders: list[Nodes]):
        self.base, self.blocks, self.paths, self.to = base, base.blocks, base.paths, base.paths.to
        self.senders = senders
        rows = [(i, position, min(sender.layers)) for i, sender in enumerate(senders)
                for position in sorted(base.ears.intersection(sender.positions))]  # fmt: skip
        self.sender, self.position, self.start = torch.tensor(rows).to(base.differs.device).mT

    def stream(self) -> Tensor:  # -> [s b d]
        """Return the stream behind the last layer at the answer: a row for each sender."""
        *_, (_, change) = self.layers(len(self.blocks))
        return self.base.ends[0] + change

    def heard(self) -> dict[int, Tensor]:
        """Return q, k or v of the receivers in each layer that hears anything: [r b h e]."""
        heard, name = {}, self.to.type.upper()
        for layer, change in self.layers(max(self.to.layers)):
            if layer in self.to.layers and len(change):
                block = self.blocks[layer]
                x = block.ln1(self.held("resid_pre", layer, change) + change)  # [r b d]
                heads = self.to.heads_in(layer)
                W, b = (getattr(block.attn, f"{x}_{name}")[heads] for x in "Wb")
                heard[layer] = torch.einsum("rbd,hde->rbhe", x, W) + b
        return heard

    def layers(self, last: int) -> Iterator[tuple[int, Tensor]]:
        """Yield each layer up to `last`, and the change of the stream that enters it."""
        change = self.base.ends[:0]  # [r b d], with no rows yet
        for layer in range(last):
            yield layer, change
            joining = int((self.start == layer).sum())
            change = torch.cat([change, change.new_zeros(joining, *change.shape[1:])])
            if len(change):
                change = self.through(layer, change)
        yield last, change

    def through(self, layer: int, change: Tensor) -> Tensor:  # [r b d] -> [r b d]
        """Take the change through a layer whose heads are held, but for what its senders say."""
        block, of_mlp = self.blocks[layer], self.paths.senders.type == "mlp_out"
        rows, said = self.said(layer, len(change))  # [r], [r b d]
        if not of_mlp:
            change = change.index_add(0, rows, said)
        echo = torch.zeros_like(change)
        if self.paths.hold == "heads":  # then an MLP hears the change, and answers it
            mlp_out = block.mlp(block.ln2(self.held("resid_mid", layer, change) + change))
            echo = mlp_out - self.held("mlp_out", layer, change)  # [r b d]
        if of_mlp:
            echo[rows] = said  # but one that is the sender says what the donor's said
        return change + echo

    def said(self, layer: int, n: int) -> tuple[Tensor, Tensor]:  # -> [r], [r b d]
        """Return which of the first n rows speak in a layer, and what they add to the stream."""
        W_O = self.blocks[layer].attn.W_O  # [h e d]
        heads = W_O.new_zeros(len(self.senders), len(W_O))  # [s h]: 1 where it speaks
        for i, sender in enumerate(self.senders):
            if layer in sender.layers:
                heads[i, sender.heads_in(layer) or slice(None)] = 1
        heads = heads[self.sender[:n]]  # [r h]
        rows = heads.any(-1).nonzero().squeeze(-1)
        if not len(rows):
            return rows, self.base.ends[:0]
        news = self.base.news[layer][:, self.position[rows]].transpose(0, 1)
        if self.paths.senders.type == "z":  # [r b h e] -> [r b d]
            news = (news * heads[rows][:, None, :, None]).flatten(2) @ W_O.flatten(0, 1)
        return rows, news

    def held(self, type: str, layer: int, change: Tensor) -> Tensor:  # -> [r b d]
        """Return the base run's activation at each row's position."""
        activation = self.base.cache[type, layer]  # [b p d]
        return activation[:, self.position[: len(change)]].transpose(0, 1)

    def tell(self, layer: int, heard: Tensor, qkv: Tensor, first: int) -> Tensor:
        """Set the receivers to what they were in run C: `heard` [r b h e] into qkv [s b p 3 h e].

        Those that no change had reached were as in the base run; what reaches them now is no news.
        """
        n, which, heads = len(heard), "qkv".index(self.to.type), self.to.heads_in(layer)
        if len(qkv) == 1:  # still the base run's, the same for all
            qkv = qkv.repeat(len(self.senders), *[1] * 5)
        base = self.base.cache[self.to.type, layer]  # [b p h e]
        for position in range(first, base.shape[1]):
            if position in self.to.positions:
                qkv[:, :, position - first, which, heads] = base[:, position, heads]
        sender, place = self.sender[:n, None], self.position[:n, None] - first  # [r 1] each
        heads = torch.tensor(heads, device=qkv.device)
        qkv[sender, :, place, which, heads] = heard.transpose(1, 2)  # [r h b e]
        return qkv


def run_d(run_c: RunC) -> Tensor:  # -> [s b d]
    """Run the prompts on, once for each sender, from the first layer that heard anything.

    Returns the final stream at the answer.
    """
    cache, heard, first = run_c.base.cache, run_c.heard(), int(run_c.position.min())
    resid = cache["resid_pre", min(heard)][None, :, first:]  # [1 b p d]: the same for all
    for layer, block in enumerate(run_c.blocks):
        if layer < min(heard):
            continue
        W, b = block.attn.W_QKV.flatten(1), block.attn.b_QKV
        qkv = affine(block.ln1(resid), W, b.flatten()).unflatten(-1, b.shape)  # [s b p 3 h e]
        if layer in heard:
            qkv = run_c.tell(layer, heard[layer], qkv, first)
        q, k, v = qkv.unbind(3)  # [s b p h e] each
        if block is run_c.blocks[-1]:
            q, resid = q[:, :, -1:], resid[:, :, -1:]  # the answer alone
        before = (cache[x, layer][:, :first] for x in "kv")
        z = attend(q, k, v, *before)  # [s b p h e]
        resid = resid + affine(z.flatten(3), block.attn.W_O.flatten(0, 1), block.attn.b_O)
        resid = resid + block.mlp(block.ln2(resid))
    return resid[:, :, -1]


def attend(q: Tensor, k: Tensor, v: Tensor, k_before: Tensor, v_before: Tensor) -> Tensor:
    """Attend, [s b p h e] -> the same, also to the positions before: [b k h e], one for all s."""
    n = k_before.shape[1]
    before = torch.einsum("sbqhe,bkhe->sbhqk", q, k_before)
    own = torch.einsum("sbqhe,sbkhe->sbhqk", q, k).masked_fill(is_future(q[0], k[0]), -torch.inf)
    pattern = (torch.cat([before, own], dim=-1) / math.sqrt(q.shape[-1])).softmax(dim=-1)
    z = torch.einsum("sbhqk,sbkhe->sbqhe", pattern[..., n:], v)
    return z + torch.einsum("sbhqk,bkhe->sbqhe", pattern[..., :n], v_before)

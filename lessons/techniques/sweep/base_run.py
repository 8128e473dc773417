"""What path patching needs of the base run, for all senders, and how much fits into memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lessons.techniques.sweep.nodes import Nodes, Paths
from lessons.techniques.sweep.planning import mib
from minimech import MinimechError


class BaseRun:
    """The base run of some prompts: what every sender needs of it, and where it hears anything.

    `news` [b p ...] of each layer: donor minus base at the senders' site. `ears`: the positions
    where news can be heard that bears on the answer. `differs` [b]: prompts that have any news.
    """

    def __init__(self, run, paths: Paths, prompts: Tensor):
        model, n, sites = run.model, run.answer + 1, paths.senders.sites()
        self.paths, self.blocks, whole = paths, list(model.blocks), model.cfg.n_layers
        tokens, names = run.base[prompts, :n], needed(run, paths)
        resid, self.cache = model.run_with_cache(tokens, names, stop_at_layer=whole)  # [b n d]
        if run.given:
            others, said = resid, {site: run.others[site][prompts, :n] for site in sites}
        else:
            tokens = run.others[prompts, :n]
            others, said = model.run_with_cache(tokens, sites, stop_at_layer=whole)
        self.news = {layer: said[site] - self.cache[site]
                     for layer, site in zip(paths.senders.layers, sites)}  # fmt: skip
        self.ends = torch.stack([resid[:, -1], others[:, -1]])  # base and donor [2 b d]
        different = run.different[prompts]  # [b n]
        self.differs, news = different.any(1), different.any(0).nonzero()
        first = int(news.min()) if len(news) else n
        listening = {run.answer} if paths.to == "logits" else set(paths.to.positions)
        self.ears = listening.intersection(range(first, n))  # no news before, and no use after

    def parted(self, senders: list[Nodes], at_once: int) -> Iterator[list[int]]:
        """Yield the numbers of the senders that are heard, sorted by layer, `at_once` together."""
        last, lowest = reach(self.paths, len(self.blocks)), [min(x.layers) for x in senders]
        heard = [i for i, sender in enumerate(senders) if self.ears.intersection(sender.positions)]
        heard = sorted((i for i in heard if lowest[i] < last), key=lambda i: lowest[i])
        yield from (heard[start : start + at_once] for start in range(0, len(heard), at_once))


def reach(paths: Paths, n_layers: int) -> int:
    """Return the layer below which one must speak to be heard."""
    return n_layers if paths.to == "logits" else max(paths.to.layers)


def needed(run, paths: Paths) -> list[str]:
    """Name the activations of the base run that any sender needs."""
    to, n_layers, names = paths.to, run.model.cfg.n_layers, paths.senders.sites()
    if paths.hold == "heads":
        below = range(reach(paths, n_layers))
        names += [f"blocks.{i}.hook_{x}" for i in below for x in ("resid_mid", "mlp_out")]
    if to != "logits":
        names += [f"blocks.{i}.hook_resid_pre" for i in to.layers] + to.sites()
        above = range(min(to.layers), n_layers)
        names += [f"blocks.{i}.attn.hook_{x}" for i in above for x in "kv"]
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class PathPlan:
    """What a sweep of paths takes: so many prompts at once, of each so many senders."""

    paths: int
    all_prompts: int
    prompts: int
    senders: int
    bytes: int  # needed at most, beside the model and the prompts

    def __str__(self) -> str:
        once = f"{self.senders} of {self.prompts} at once"
        return f"{self.paths} paths of {self.all_prompts} prompts: {once}, {mib(self.bytes)}"


def planned(run, paths: Paths) -> PathPlan:
    """Share out the budget: how many prompts fit in at once, and for these how many senders.

    A prompt takes what is kept of its base run and of the donor's. A sender of a prompt takes most
    where a layer is widest, in an MLP before gelu and after, and what each receiver hears of it.
    Raises: MinimechError if one sender of one prompt does not fit.
    """
    cfg, number, n = run.model.cfg, run.model.W_E.element_size(), run.answer + 1
    first, layers, count = run.answer, [], len(paths.senders.patches())
    if paths.to != "logits":
        first, layers = min(run.answer, *paths.to.positions), paths.to.layers
    widest = 8 * cfg.d_model + 2 * cfg.d_mlp + 4 * cfg.n_heads * n  # of one token, in a layer
    kept = len(needed(run, paths)) + 2 * len(paths.senders.layers) + 2
    prompt = n * (kept * cfg.d_model + widest) * number
    sender = (n - first) * (len(layers) * cfg.d_model + widest) * number
    read = count * len(run.base) * run.width * number  # what the metric is going to read
    room = run.budget - read
    if prompt + sender > room:
        takes, has = mib(prompt + sender + read), mib(run.budget)
        raise MinimechError(f"one path at a time takes {takes}, and the budget is {has}: "
                            "pass a larger `budget`, in bytes")  # fmt: skip
    prompts = min(len(run.base), max(1, room // (2 * max(prompt, sender))))
    senders = min(count, (room - prompts * prompt) // (prompts * sender))
    most = read + prompts * (prompt + senders * sender)
    return PathPlan(count, len(run.base), prompts, senders, most)

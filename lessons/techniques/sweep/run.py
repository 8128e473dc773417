"""One sweep's material: the base run, the donor, and what is read of them and of patched runs."""

from collections.abc import Mapping
from itertools import groupby

import torch
from torch import Tensor
from tqdm import tqdm

from lessons.techniques.sweep import paths
from lessons.techniques.sweep.base_run import PathPlan, planned
from lessons.techniques.sweep.nodes import Nodes, Paths
from lessons.techniques.sweep.planning import Plan
from lessons.techniques.sweep.walk import Walk
from minimech import MinimechError


class Run:
    """A run to be patched, and the donor: another run, or activations by name of site.

    `base`: tokens [b p]. `others`: the donor's tokens [b p], or {site: activation [b p ...]}.
    `answer`: the position whose logits the metric reads, from 0. `budget`: bytes to keep within.
    """

    def __init__(self, model, base: Tensor, others: Tensor | Mapping, metric, answer: int,
                 budget: int):  # fmt: skip
        self.model, self.base, self.others, self.metric = model, base, others, metric
        self.answer, self.budget, self.given = answer, budget, isinstance(others, Mapping)
        differs = torch.ones_like(base, dtype=torch.bool) if self.given else base != others
        self.different = differs[:, : answer + 1]  # [b n]
        self.tokens = None  # all logits are read; or those of [b k]
        if hasattr(metric, "tokens") and hasattr(metric, "of"):
            self.tokens = metric.tokens.to(base.device).expand(len(base), -1)
        self.width = model.cfg.d_model if self.tokens is None else self.tokens.shape[1]  # k
        self.ends = self.room(2, len(base))  # of base and donor [2 b k], as they are walked
        self.known = 0  # for so many prompts

    # ---- nodes: all patches in a few walks -------------------------------------------------------

    def plan(self, what: Nodes | Paths) -> Plan | PathPlan:
        """Plan the walks, or what paths take."""
        if isinstance(what, Paths):
            return planned(self, what)
        read = self.width, self.tokens is None
        length, is_run = self.base.shape[1], not self.given
        return Plan(self.model, what, self.different, length, is_run, *read, self.budget)

    def nodes(self, what: Nodes) -> Tensor:  # -> [patch b]
        """Return the metric after every patch."""
        plan, values = self.plan(what), []
        with tqdm(total=plan.steps, desc=str(plan), delay=2, disable=None, leave=False) as bar:
            for patches, walks in groupby(plan.walks, key=lambda walk: walk[0]):
                kept = self.room(patches.stop - patches.start, len(self.base))  # [patch b k]
                for _, prompts, together in walks:
                    self.walk(plan, prompts, together, kept, bar)
                made = (plan.starts[patches] < plan.n).unsqueeze(-1)  # [patch b 1]
                values.append(self.read(kept.where(made, self.ends[0])))
        return torch.cat(values)

    def paths(self, what: Paths) -> Tensor:  # -> [patch b]
        """Return the metric after patching every path."""
        return self.read(paths.walk(self, what))

    def walk(self, plan: Plan, prompts: slice, together: list, kept: Tensor, bar) -> None:
        """Make some runs, and keep of each what the metric reads."""
        base, donor = self.base[prompts, : plan.n], self.donor_of(prompts, plan.n)
        waiting = [plan.masked(runs) for runs in together]
        walk = Walk(self.model, plan.type, base, donor, plan.first, waiting, plan.at_once)
        for runs, normed in walk(bar.update):
            which = runs.prompts + prompts.start  # [r]
            said = self.said(normed, which, plan.at_once)  # [r k]
            if runs.patches is not None:
                kept[runs.patches % plan.some, which] = said
            elif prompts.stop > self.known:  # the first walk of these prompts
                self.ends[int(runs is walk.donor), which] = said
        if plan.first == plan.n:  # the donor did not walk: it says what the base says
            self.ends[1, prompts] = self.ends[0, prompts]
        self.known = max(self.known, prompts.stop)

    def donor_of(self, prompts: slice, n: int) -> Tensor | dict[str, Tensor]:
        """Return the donor of some prompts: tokens up to the answer, or activations by site."""
        if not self.given:
            return self.others[prompts, :n]
        b = len(self.base)
        return {site: x.expand(b, *x.shape[1:])[prompts] for site, x in self.others.items()}

    # ---- what the metric reads -------------------------------------------------------------------

    def said(self, normed: Tensor, prompts: Tensor, at_once: int) -> Tensor:  # [r d] -> [r k]
        """Unembed what the metric reads, and no more; if it reads all logits, that has to wait."""
        if self.tokens is None:
            return normed
        tokens, some, logits = self.tokens[prompts], max(1, at_once // self.width), []
        for x, ids in zip(normed.split(some), tokens.split(some)):  # [r d], [r k]
            products = torch.einsum("rd,rkd->rk", x, self.model.lm_head[ids])
            logits.append(products + self.model.b_U[ids])
        return torch.cat(logits)

    def read(self, kept: Tensor) -> Tensor:  # [patch b k] -> [patch b]
        """Read the metric off what was kept of many runs."""
        if self.tokens is not None:
            return checked(self.metric.of(kept), kept.shape[:2])
        logits = map(self.model.unembed, kept)  # [b v] each
        return torch.stack([checked(self.metric(each), kept.shape[1:2]) for each in logits])

    def room(self, *shape: int) -> Tensor:
        """Make room for what is kept of runs."""
        W_E = self.model.W_E
        return torch.full((*shape, self.width), torch.nan, dtype=W_E.dtype, device=W_E.device)

    @property
    def metrics(self) -> tuple[Tensor, Tensor | None]:
        """Return the metric of the base run and of the donor, [b] each; None if that is no run."""
        return self.read(self.ends[:1])[0], None if self.given else self.read(self.ends[1:])[0]


def checked(values: object, shape: torch.Size) -> Tensor:
    """Return what a metric gave, if it is a number for each prompt."""
    if not isinstance(values, Tensor) or values.shape != shape:
        got = f"shape {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        asked = f"one number per prompt is needed, shape {list(shape)}"
        raise MinimechError(f"the metric returned {got}; {asked}")
    if values.isnan().any():
        raise MinimechError("the metric is not a number (NaN) for some prompts")
    return values.clone() if values.is_floating_point() else values.float()  # no view of all logits

"""What makes an autoencoder good: many small steps, each on a fresh batch of activations.

    for row in fit(sae, batches, steps=3000):    # batches: anything that gives [b d], for ever
        print(row["step"], row["loss"])          # step, loss, l0, explained_variance, dead

    train(sae, store, "out/sae", steps=3000)     # the same from disk to disk; it resumes

The autoencoder may be used at any step: it works on activations as they are. Only the optimiser
knows their scale s, as if it saw x / s. Adam does not care how large a gradient is, so two changes
do it: the loss is divided by s^2, and the biases, which have the unit of x, learn s times as fast.

Letters: b token, d width of the activation, f feature (latent).
"""

import math
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from lessons.techniques.sae import devices, distributed, sparse
from lessons.techniques.sae.autoencoders import LOSSES, SAE
from lessons.techniques.sae.resume import Saved, settings
from minimech import MinimechError

SMOOTH = 0.99  # of matryoshka's threshold, a running mean (Bussmann et al. 2024)


@dataclass
class Plan:
    """How long and how fast to learn. dead_after: tokens without firing. scale: of x."""

    steps: int
    lr: float = 1e-3
    warm_up: int = 100  # steps in which the rate rises to lr
    fall: float = 0.2  # the last share of the steps, in which it falls to 0
    dead_after: int = 200_000
    scale: float = 1.0
    precision: str = "float32"  # of the products: this or bfloat16

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, the first of which is 1."""
        rise = step / max(1, min(self.warm_up, self.steps // 2))
        return self.lr * min(1.0, rise, (self.steps - step + 1) / max(1, self.fall * self.steps))


class Training:
    """An autoencoder and all that its training has to remember from step to step."""

    def __init__(self, sae: SAE, plan: Plan):
        self.sae, self.plan, self.steps = sae, plan, 0
        matrices, biases = [sae.W_enc, sae.W_dec], [sae.b_enc, sae.b_dec]
        groups = [{"params": matrices, "unit": 1.0}, {"params": biases, "unit": plan.scale}]
        self.adam = torch.optim.Adam(groups, lr=plan.lr, fused=True)
        self.silent = torch.zeros(sae.cfg.d_sae, dtype=torch.long, device=sae.W_enc.device)  # [f]
        self.smallest = torch.zeros((), device=sae.W_enc.device)  # that BatchTopK kept

    @property
    def dead(self) -> Tensor:  # [f]
        """Features that have not been on for `dead_after` tokens."""
        return self.silent >= self.plan.dead_after

    def loss(self, x: Tensor):  # [b d] -> [], [b f] or Pairs
        """Return the loss that LOSSES defines, over scale^2, worked out in the fastest way."""
        cfg, short = self.sae.cfg, self.plan.precision == "bfloat16"
        how, more = LOSSES[cfg.kind], ()
        if cfg.kind == "matryoshka":
            more = (self.cut,)
        elif cfg.kind == "topk" and cfg.d_sae >= max(256, 16 * cfg.k):
            how = sparse.topk_loss
        with torch.autocast(x.device.type, torch.bfloat16, enabled=short):
            loss, f = how(self.sae, x, self.dead, *more)
        return loss / self.plan.scale**2, f

    @torch.enable_grad()
    def step(self, x: Tensor, look: bool = False) -> dict | None:  # [b d]
        """Take one step of Adam; with `look`, say how good the autoencoder was before it."""
        loss, f = self.loss(x)
        self.adam.zero_grad()
        loss.backward()
        value, fired = loss.detach(), on_somewhere(f).float()
        distributed.average(value, fired, *(p.grad for p in self.sae.parameters()))
        self.steps += 1
        if not math.isfinite(value.item()):
            raise MinimechError(f"the loss is {value.item()} at step {self.steps}")
        row = self.row(x, f, value.item()) if look else None
        keep_length(self.sae.W_dec)
        for group in self.adam.param_groups:
            group["lr"] = self.plan.rate(self.steps) * group["unit"]
        self.adam.step()
        self.sae.normalise()
        self.remember(fired > 0, len(x))
        return row

    @torch.no_grad()
    def remember(self, fired: Tensor, tokens: int) -> None:  # [f]
        """Note which features were on, and matryoshka's threshold."""
        self.silent += tokens * distributed.world()
        self.silent.masked_fill_(fired, 0)
        if self.sae.cfg.kind == "matryoshka":
            new = max(1 - SMOOTH, 1 / self.steps)  # at first a plain mean
            self.sae.threshold.lerp_(self.smallest, new)

    @torch.no_grad()
    def row(self, x: Tensor, f, loss: float) -> dict:  # [b d], [b f] or Pairs
        """Say how well this batch was explained, by how many features, and how many are dead."""
        if isinstance(f, sparse.Pairs):
            x_hat, l0 = sparse.weighted_rows(self.sae.W_dec, f.at, f.values), f.l0()
        else:
            x_hat, l0 = f @ self.sae.W_dec, (f > 0).sum() / len(f)
        mean = x.mean(0)
        distributed.average(mean)
        missed, whole = (x - x_hat - self.sae.b_dec).square().sum(), (x - mean).square().sum()
        sums = torch.stack([missed, whole, l0])
        distributed.average(sums)
        missed, whole, l0 = sums.tolist()
        explained = 1 - missed / whole if whole else 0.0
        row = {"step": self.steps, "loss": loss, "l0": l0, "explained_variance": explained}
        return row | {"dead": int(self.dead.sum())}

    @torch.no_grad()
    def cut(self, pre: Tensor, k: int) -> Tensor:  # [b f] -> []
        """Find the smallest of the k b largest, over all processes.

        The last step's answer tells which few to look at: the same number, found 8 times faster.
        """
        many = k * len(pre) * distributed.world()
        for guess in (0.9 * self.smallest, 0.0):
            likely = distributed.gather(pre[pre > guess], many)
            if len(likely) >= many:
                self.smallest = likely.topk(many, sorted=False).values.min()
                return self.smallest
        self.smallest = torch.zeros_like(self.smallest)  # fewer are on at all
        return self.smallest


def on_somewhere(f: Tensor | sparse.Pairs) -> Tensor:  # [b f] -> [f]
    """Say which features are on at any token."""
    return f.fired() if isinstance(f, sparse.Pairs) else f.sum(0) > 0


@torch.no_grad()
def keep_length(W_dec: Tensor) -> None:  # [f d]
    """Take from the gradient what would only make rows longer or shorter (Bricken et al. 2023).

    `normalise` would undo it anyway, but Adam's moments would remember. With relu it matters (at a
    price of 0.3, of 32 known features three seeds find 27, 23 and 22, and 17, 13 and 15 without).
    """
    along = torch.linalg.vecdot(W_dec.grad, W_dec)  # [f]
    W_dec.grad.addcmul_(along[:, None], W_dec, value=-1)


def fit(sae: SAE, batches, steps: int, lr=1e-3, every=100, dead_after=200_000, scale=1.0):
    """Train for so many steps; yield a row {step, loss, l0, ...} every so often, and at the end.

    batches: an iterable of tensors [b d]. b_dec should start at their mean: `sae.b_dec.data[:] =`
    that. scale: the size of an activation's coordinates, see above.
    Raises: MinimechError when the loss is no number.
    """
    run = Training(sae, Plan(steps, lr, dead_after=dead_after, scale=scale))
    for step, x in enumerate(islice(batches, steps), 1):
        row = run.step(x, look=step % every == 0 or step == steps)
        if row:
            yield row


def train(
    sae: SAE,
    store,
    out,
    steps: int,
    batch: int = 4096,
    lr: float = 1e-3,
    seed: int = 0,
    every: int = 100,
    keep: int = 500,
    dead_after: int = 200_000,
    device: str = "cpu",
    precision: str = "float32",
    fresh: bool = False,
) -> list[dict]:
    """Train on a store, and write to a folder: the autoencoder, and its curves (history.json).

    Every `keep` steps all that a resumed run needs is saved; the same call goes on from there, and
    ends with the same bits. Returns the curves' rows, one every `every` steps. Raises:
    MinimechError for a loss that is no number, a store that does not fit or is changed, settings
    that are not those of the run that is to go on, a disk that fails; what was saved is kept.
    """
    fits(sae.cfg, store)
    plan = Plan(steps, lr, dead_after=dead_after, scale=store.scale(), precision=precision)
    sae.b_dec.data.copy_(store.mean())
    devices.check(sae, store[: min(64, batch)], device)
    run = Training(sae.to(device), plan)
    saved = Saved(out, settings(sae.cfg, plan, store, batch, seed))
    rows = saved.load(run, fresh)
    distributed.wait()  # until all have read it
    batches = store.batches(batch, seed, run.steps, distributed.rank(), distributed.world())
    work(run, (x.to(device) for x in batches), saved, rows, every, keep)
    if distributed.rank() == 0:
        saved.finish(run, rows)
    distributed.wait()
    return rows


def work(run: Training, batches, saved: Saved, rows: list[dict], every: int, keep: int) -> None:
    """Take the steps that are left; add to the rows, and save what a resumed run needs."""
    steps, first = run.plan.steps, distributed.rank() == 0
    quiet = {"mininterval": 1, "delay": 1, "disable": not first}
    with tqdm(total=steps, initial=run.steps, desc=run.sae.cfg.kind, **quiet) as bar:
        while run.steps < steps:
            look = (run.steps + 1) % every == 0 or run.steps + 1 == steps
            try:
                row = run.step(next(batches), look)
            except MinimechError as error:
                raise MinimechError(f"{error}; {saved.kept()}") from None
            if row:
                rows.append(row)
                bar.set_postfix_str(said(row))
            bar.update()
            if first and (run.steps % keep == 0 or run.steps == steps):
                saved.save(run, rows)


def fits(cfg, store) -> None:
    """Refuse a store of another width or site; note in the config what it is trained on."""
    for name, asked, got in (("width", cfg.d_in, store.d), ("site", cfg.site, store.site)):
        if asked and asked != got:
            raise MinimechError(f"the store has {name} {got}, the autoencoder is of {asked}")
    if not store.scale() > 0:
        raise MinimechError(f"all rows of {store} are the same: there is nothing to explain")
    cfg.site, cfg.model, cfg.bos = store.site, store.model, store.bos


def said(row: dict) -> str:
    """Say a row in a few words."""
    words = f"loss {row['loss']:.4g}, L0 {row['l0']:.1f}"
    return f"{words}, explained {row['explained_variance']:.1%}, dead {row['dead']}"

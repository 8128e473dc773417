"""Three sparse autoencoders. Their docstrings are their equations.

    sae = SAE(Config(d_in=96, d_sae=1024, kind="topk", k=16, site="blocks.1.hook_resid_pre"))
    f = sae.encode(x)             # [... d] -> [... f]   which features are on, and how much
    x_hat = sae.decode(f)         # [... f] -> [... d]   the activation, put together from them
    model.run_with_hooks(text, [sae.splice(error=False)])    # the model, with x_hat in place of x

A model has more features than neurons, so it writes them as directions that are not orthogonal
(lesson 01). An autoencoder whose code is wide, but nearly empty, can take them apart again.

relu        Cunningham et al. 2023, Bricken et al. 2023: a penalty on the size of what is on
topk        Gao et al. 2024: the k largest are on, and the dead are given what is left to explain
matryoshka  Bussmann et al. 2025: every beginning of the dictionary must do on its own; of a whole
            batch the k largest per token (BatchTopK, Bussmann et al. 2024)

Letters: b token, d width of the activation, f feature (latent).
"""

import torch
from torch import Tensor, nn

from lessons.techniques.sae.config import Config
from minimech import MinimechError

AUX = 1 / 32  # weight of the dead features' loss (Gao et al. 2024, A.2)


class SAE(nn.Module):
    """f = activation((x - b_dec) W_enc + b_enc),   x_hat = f W_dec + b_dec.

    Rows of W_dec have norm 1, so that f is in the unit of x. W_enc [d f] starts as W_dec^T [d f].
    """

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        try:
            W_dec = nn.functional.normalize(torch.randn(cfg.d_sae, cfg.d_in), dim=1)
            self.W_dec = nn.Parameter(W_dec)  # [f d]
            self.W_enc = nn.Parameter(W_dec.T.clone())  # [d f]
        except (RuntimeError, TypeError):  # torch has several words for it
            needs = f"{8 * cfg.d_sae * cfg.d_in / 1e9:,.0f} GB, and so much memory is not to be had"
            raise MinimechError(f"{cfg.d_in:,} x {cfg.d_sae:,} weights need {needs}") from None
        self.b_enc = nn.Parameter(torch.zeros(cfg.d_sae))
        self.b_dec = nn.Parameter(torch.zeros(cfg.d_in))
        self.register_buffer("threshold", torch.zeros(()))  # matryoshka's, once trained

    @staticmethod
    def from_pretrained(folder_or_repo, site: str = "") -> "SAE":
        """Load an autoencoder: a folder, or a published set and the site; see files.py."""
        from lessons.techniques.sae.files import load

        return load(folder_or_repo, site)

    def pre(self, x: Tensor) -> Tensor:  # [... d] -> [... f]
        """relu((x - b_dec) W_enc + b_enc): before any choice is made."""
        if x.shape[-1] != self.cfg.d_in:
            reads = f"this autoencoder reads {self.cfg.d_in} numbers of {self.cfg.site or 'a site'}"
            raise MinimechError(f"{reads}; the activation has {x.shape[-1]}")
        return torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)

    def encode(self, x: Tensor) -> Tensor:  # [... d] -> [... f]
        """Say which features are on. A token's features do not depend on other tokens."""
        pre = self.pre(x)
        if self.cfg.kind == "topk":
            return keep_top(pre, self.cfg.k)
        return pre * (pre > self.threshold)  # 0 for relu

    def decode(self, f: Tensor) -> Tensor:  # [... f] -> [... d]
        """f W_dec + b_dec."""
        if f.shape[-1] != self.cfg.d_sae:
            raise MinimechError(f"{f.shape[-1]} features; this autoencoder has {self.cfg.d_sae:,}")
        return f @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:  # [... d] -> [... d]
        """The reconstruction."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def normalise(self) -> None:
        """Give every row of W_dec norm 1 again, after a step of the optimiser."""
        self.W_dec /= self.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-8)

    def splice(self, edit=None, error: bool = True):
        """Return the hook (site, function) that puts the autoencoder into a run of the model.

        With `edit`, a function of the features [b p f] that returns new ones or edits in place, the
        activation gets decode(edit(f)) + error, where error = x - decode(f) is what the autoencoder
        misses: an edit that changes nothing changes nothing. error=False leaves x_hat alone, to see
        what is lost. The text's first position is left as it is, unless cfg.bos.
        """

        def hook(x, hook):  # [b p d]
            start = 0 if self.cfg.bos or hook.start else 1  # later steps of `generate` have no BOS
            f = self.encode(x[:, start:])
            missed = x[:, start:] - self.decode(f) if error else 0.0
            x[:, start:] = self.decode(self._edited(f, edit) if edit else f) + missed
            return x

        return self.cfg.site, hook

    def _edited(self, f: Tensor, edit) -> Tensor:  # [b p f] -> [b p f]
        """Return the features that an edit makes of these."""
        try:
            edited = edit(f)
        except IndexError as error:
            has = f"an edit asks for a latent that is not there ({error})"
            raise MinimechError(f"{has}: they go from 0 to {self.cfg.d_sae - 1:,}") from None
        edited = f if edited is None else edited
        if getattr(edited, "shape", None) != f.shape:
            got = list(edited.shape) if isinstance(edited, Tensor) else type(edited).__name__
            raise MinimechError(f"the edit made {got} of features {list(f.shape)}: give all back")
        return edited


def keep_top(pre: Tensor, k: int) -> Tensor:  # [... f] -> [... f]
    """Keep each token's k largest, and set the others to 0."""
    values, at = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, at, values)


def smallest_kept(pre: Tensor, k: int) -> Tensor:  # [b f] -> []
    """Return the smallest of a batch's k b largest: some tokens get more than k, some fewer."""
    return pre.flatten().topk(k * len(pre)).values[-1]


# ---- what training makes small: each returns (loss, features [b f]), means over tokens -----------


def relu_loss(sae: SAE, x: Tensor, dead: Tensor):  # [b d]
    """|x - x_hat|^2 + l1 * sum_f |f|. The rows of W_dec have norm 1, or f could just shrink."""
    f = sae.pre(x)
    return squared(x - sae.decode(f)) + sae.cfg.l1 * f.sum(-1).mean(), f


def topk_loss(sae: SAE, x: Tensor, dead: Tensor):  # [b d], [f]
    """|e|^2 + AUX |e - e_hat|^2, with e = x - x_hat; the dead features alone make e_hat."""
    pre = sae.pre(x)
    f = keep_top(pre, sae.cfg.k)
    e = x - sae.decode(f)
    return squared(e) + dead_loss(sae, pre, e, dead), f


def matryoshka_loss(sae: SAE, x: Tensor, dead: Tensor, cut=smallest_kept):  # [b d], [f]
    """mean_g |x - x_hat_g|^2 + AUX |e - e_hat|^2; x_hat_g uses the first g features alone.

    cut: what finds the smallest activation of the batch that is kept (training.py has faster ones).
    """
    pre = sae.pre(x)
    f = pre * (pre >= cut(pre, sae.cfg.k))
    x_hat, losses, start = sae.b_dec, [], 0
    for stop in sae.cfg.groups or (sae.cfg.d_sae,):
        x_hat = x_hat + f[:, start:stop] @ sae.W_dec[start:stop]  # [b d]
        losses.append(squared(x - x_hat))
        start = stop
    return sum(losses) / len(losses) + dead_loss(sae, pre, x - x_hat, dead), f


def dead_loss(sae: SAE, pre: Tensor, e: Tensor, dead: Tensor) -> Tensor:  # [b f], [b d], [f]
    """AUX |e - e_hat|^2: the largest of the dead features (up to d/2) explain what is missed."""
    k = min(sae.cfg.d_in // 2, int(dead.sum()))
    if not k:
        return e.new_zeros(())
    e_hat = keep_top(pre * dead, k) @ sae.W_dec
    return AUX * squared(e.detach() - e_hat)


def squared(error: Tensor) -> Tensor:  # [b d] -> []
    """The squared length, mean over tokens."""
    return error.square().sum(-1).mean()


LOSSES = {"relu": relu_loss, "topk": topk_loss, "matryoshka": matryoshka_loss}

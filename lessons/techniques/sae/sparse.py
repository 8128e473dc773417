"""TopK's training step without the zeros: the numbers of `autoencoders.topk_loss`, in less time.

    loss, f = topk_loss(sae, x, dead)     # x [b d]; f: the pairs (token, feature) that are on
    loss.backward()                       # ordinary gradients, in W_enc.grad and so on

By dense matrices a step is six products of b d f multiplications: x W_enc and f W_dec, and going
back two for each of them. But only k of a token's f features are on, 32 of 4,096, say. The first
product looks at all features to find these k. The other five mostly multiply by zero:

    x_hat           per token, a sum of k rows of W_dec                    b k d
    grad of f       per token, k dot products with rows of W_dec           b k d
    grad of W_dec   per feature, a sum over the tokens where it is on      b k d
    grad of W_enc   the same, of the tokens' x - b_dec                     b k d
    grad of b_dec   -W_enc (grad of b_enc): sum first, then multiply once  d f

So one product is left, and no gradient [b f] is ever made. Sums of weighted rows are one function
of torch, `embedding_bag`. The savings are those of Gao et al. 2024, D.2, who wrote GPU kernels for
them. These lines are torch alone, for either device, but so far only a processor has run them.

Under `torch.autocast` the one product is made in bfloat16, which looks for candidates, a few more
than k; float32 weighs them. So no value is rounded. Only a choice may differ, where more than
MARGIN features nearly tie: nowhere on random data; at the world model's activations, with 4,096
features and early in training, in 3 of 100,000 pairs (without the margin, in 2 of 100). Call
backward outside of autocast, as torch asks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from lessons.techniques.sae.autoencoders import AUX, SAE, keep_top, squared
from minimech import MinimechError

CHUNK = 512  # tokens whose features are looked through together
MARGIN = 16  # candidates of bfloat16 beyond k: see test_bf16_finds_what_float32_finds
FEW = 4  # up to so many dead features for each that may explain, dense is faster


@dataclass
class Pairs:
    """The features that are on: at token b, feature at[b, j] by values[b, j] (0: it is off)."""

    values: Tensor  # [b k]
    at: Tensor  # [b k]
    d_sae: int

    def fired(self) -> Tensor:  # [f]
        """Say of every feature whether it is on at any token."""
        fired = torch.zeros(self.d_sae, dtype=torch.bool, device=self.at.device)
        fired[self.at[self.values > 0]] = True
        return fired

    def l0(self) -> Tensor:  # []
        """How many are on, mean over tokens."""
        return (self.values > 0).sum() / len(self.values)

    def dense(self) -> Tensor:  # [b f]
        """The same with all its zeros."""
        zeros = self.values.new_zeros(len(self.values), self.d_sae)
        return zeros.scatter(1, self.at, self.values)


def topk_loss(sae: SAE, x: Tensor, dead: Tensor) -> tuple[Tensor, Pairs]:  # [b d], [f]
    """|e|^2 + AUX |e - e_hat|^2, as `autoencoders.topk_loss`. x must not need a gradient."""
    bf16 = torch.is_autocast_enabled(x.device.type)
    with torch.autocast(x.device.type, enabled=False):
        weights = sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec
        x_hat, values, at = TopK.apply(x, *weights, sae.cfg.k, bf16)
        e = x - x_hat - sae.b_dec
        loss = squared(e) + dead_loss(sae, x, e, dead, bf16)
    return loss, Pairs(values, at, sae.cfg.d_sae)


def dead_loss(sae: SAE, x, e, dead, bf16=False) -> Tensor:  # [b d], [b d], [f] -> []
    """AUX |e - e_hat|^2, as `autoencoders.dead_loss`, from the dead features' weights alone."""
    of = dead.nonzero()[:, 0]  # [n]
    k = min(sae.cfg.d_in // 2, len(of))
    if not k:
        return e.new_zeros(())
    W_enc, b_enc, W_dec = sae.W_enc.T[of].T, sae.b_enc[of], sae.W_dec[of]  # [d n], [n], [n d]
    if len(of) > FEW * k:
        e_hat = TopK.apply(x, W_enc, b_enc, W_dec, sae.b_dec, k, bf16)[0]
    else:
        pre = torch.relu((x - sae.b_dec) @ W_enc + b_enc)  # [b n]
        e_hat = (pre if k == len(of) else keep_top(pre, k)) @ W_dec
    return AUX * squared(e.detach() - e_hat)


class TopK(Function):
    """f W_dec, where f keeps the k largest of relu((x - b_dec) W_enc + b_enc), and goes back."""

    @staticmethod
    def forward(ctx, x, W_enc, b_enc, W_dec, b_dec, k, bf16):  # [b d], ... -> [b d], [b k], [b k]
        if ctx.needs_input_grad[0]:
            raise MinimechError("the sparse step has no gradient for x: give it x.detach()")
        x = x - b_dec
        values, at = largest(x, W_enc, b_enc, k, bf16)
        values = values.relu()
        ctx.save_for_backward(x, W_enc, W_dec, values, at)
        ctx.mark_non_differentiable(values, at)
        return weighted_rows(W_dec, at, values), values, at

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *_):  # [b d]
        x, W_enc, W_dec, values, at = ctx.saved_tensors
        grad_f = dots(grad, W_dec, at) * (values > 0)  # [b k]
        features, by = at.flatten().sort()  # by: the pairs, feature after feature
        starts = torch.searchsorted(features, torch.arange(len(W_dec), device=at.device))
        tokens = by // at.shape[1]
        grad_W_dec = weighted_rows(grad, tokens, values.flatten()[by], starts)  # [f d]
        grad_W_enc = weighted_rows(x, tokens, grad_f.flatten()[by], starts).T  # [d f]
        grad_b_enc = W_enc.new_zeros(len(W_dec)).index_add_(0, at.flatten(), grad_f.flatten())
        return None, grad_W_enc, grad_b_enc, grad_W_dec, -(W_enc @ grad_b_enc), None, None


def largest(x, W, b, k, bf16=False):  # [b d], [d f], [f] -> [b k], [b k]
    """Find each token's k largest of x W + b: their values, and which they are.

    With `bf16`, candidates are found in bfloat16, then computed in x's precision to choose among.
    """
    if bf16:
        half = (part.bfloat16() for part in (x, W, b))
        at = largest(*half, min(k + MARGIN, len(b)))[1]
        values, best = (dots(x, W.T, at) + b[at]).topk(k, dim=-1)
        return values, at.gather(1, best)
    pairs = [torch.addmm(b, some, W).topk(k, dim=-1) for some in x.split(CHUNK)]
    return tuple(torch.cat(part) for part in zip(*pairs))


def weighted_rows(rows, at, weights, starts=None):
    """Sum weights * rows[at]: along the last axis, or from each of `starts` to the next."""
    bag = torch.nn.functional.embedding_bag
    return bag(at, rows, starts, per_sample_weights=weights, mode="sum")


@torch.enable_grad()
def dots(a, rows, at):  # [b d], [f d], [b k] -> [b k]
    """a[b] . rows[at[b, j]]: what the gradient of weighted_rows by its weights is."""
    weights = torch.zeros(at.shape, dtype=a.dtype, device=a.device, requires_grad=True)
    return torch.autograd.grad(weighted_rows(rows.detach(), at, weights), weights, a)[0]

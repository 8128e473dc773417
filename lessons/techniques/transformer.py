"""The parts of GPT-2 by hand: one prompt, one head, one line at a time (lesson 03).

Nothing here is fast and nothing is hidden. Each function is one part of the forward pass, works in
any precision, and shares no line with `minimech.model`: the lesson holds the two against each
other.

Letters: p position, q/k query/key position, h head, d d_model, e d_head, m d_mlp, v vocabulary.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def embed(tokens: Tensor, W_E: Tensor, W_pos: Tensor) -> Tensor:  # [p], [v d], [c d] -> [p d]
    """Start the residual stream: the row of each token plus the row of its position."""
    return W_E[tokens] + W_pos[: len(tokens)]


def layer_norm(resid: Tensor, w: Tensor, b: Tensor, eps: float) -> Tensor:  # [p d] -> [p d]
    """Compute (resid - mean) / sqrt(variance + eps) * w + b, each position on its own."""
    centred = resid - resid.mean(-1, keepdim=True)  # [p d]
    variance = centred.pow(2).mean(-1, keepdim=True)  # [p 1], divided by d and not by d - 1
    return centred / (variance + eps).sqrt() * w + b


def attention_pattern(q: Tensor, k: Tensor) -> Tensor:  # [q e], [k e] -> [q k]
    """Say what share each query takes of each key: softmax(q . k / sqrt(e)), the future masked."""
    scores = q @ k.T / math.sqrt(q.shape[-1])  # [q k]
    future = torch.ones_like(scores, dtype=torch.bool).triu(diagonal=1)  # [q k]
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1)


def attention_head(x: Tensor, attn, head: int) -> tuple[Tensor, Tensor]:  # [p d] -> [q k], [p d]
    """Run one head: where it looks (the pattern), and what it adds to the residual stream.

    `x` is the normed residual stream; `attn` holds W_Q, W_K, W_V [h d e], b_Q, b_K, b_V [h e] and
    W_O [h e d]. The bias b_O belongs to no head and is not added.
    """
    q = x @ attn.W_Q[head] + attn.b_Q[head]  # [p e]  what each token looks for
    k = x @ attn.W_K[head] + attn.b_K[head]  # [p e]  what each token offers
    v = x @ attn.W_V[head] + attn.b_V[head]  # [p e]  what it hands over if looked at
    pattern = attention_pattern(q, k)  # [q k]
    z = pattern @ v  # [p e]
    return pattern, z @ attn.W_O[head]


def gelu(x: Tensor) -> Tensor:
    """Compute GPT-2's gelu: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mlp(x: Tensor, W_in: Tensor, b_in: Tensor, W_out: Tensor, b_out: Tensor) -> Tensor:
    """Compute gelu(x W_in + b_in) W_out + b_out: [p d] -> [p d], through m neurons."""
    return gelu(x @ W_in + b_in) @ W_out + b_out


def forward(tokens: Tensor, model) -> Tensor:  # [p] -> [p v]
    """Run the whole model on one prompt, from the parts above."""
    resid = embed(tokens, model.W_E, model.W_pos)  # [p d]
    for block in model.blocks:
        x = normed(resid, block.ln1)  # [p d]
        heads = [attention_head(x, block.attn, head)[1] for head in range(len(block.attn.W_O))]
        resid = resid + sum(heads) + block.attn.b_O
        m = block.mlp
        resid = resid + mlp(normed(resid, block.ln2), m.W_in, m.b_in, m.W_out, m.b_out)
    return normed(resid, model.ln_final) @ model.W_U


def normed(resid: Tensor, ln) -> Tensor:  # [p d] -> [p d]
    """Apply a layer norm module's own weights by hand."""
    return layer_norm(resid, ln.w, ln.b, ln.eps)


def attribute(parts: Tensor, scale: Tensor, w: Tensor, direction: Tensor) -> Tensor:
    """Say what each part of the last residual stream adds to a logit, or to a difference of two.

    logit = sum over parts of ((part - mean) / scale * w) . direction, and a bias. With the scale
    held at the value that the whole stream gave it, the last layer norm is linear: parts add up.
    parts [n d], scale [1], w [d], direction [d] (a column of W_U, or a difference of two) -> [n].
    """
    centred = parts - parts.mean(-1, keepdim=True)  # [n d]
    return (centred / scale * w) @ direction


def replace_own_head(said: Tensor) -> Callable:  # [p h e], what is said instead
    """Make a hook for `hook_z` [h p h e], run on n_heads copies: copy i has head i replaced."""

    def hook(z, hook):
        rows = torch.arange(len(z))
        z[rows, :, rows] = said.transpose(0, 1)  # [h p e]
        return z

    return hook


def hold(cache) -> Callable:
    """Make a hook for any site that puts back what the site held in the run of `cache`."""
    return lambda activation, hook: cache[hook.name].expand_as(activation)


def nudge_head(head: int, step: Tensor) -> Callable:
    """Make a hook for `hook_z` [b p h e] that adds `step` [e] to one head at the last token."""

    def hook(z, hook):
        z[:, -1, head] += step
        return z

    return hook


def catch_gradient(caught: list) -> Callable:
    """Make a hook that appends to `caught` the gradient, once `.backward()` is called."""

    def hook(z, hook):
        z.register_hook(caught.append)

    return hook


def slope(f: Callable[[Tensor], Tensor], along: Tensor, step: float = 1e-4) -> Tensor:
    """Measure how fast f rises from 0 along a direction of length 1, by central differences."""
    return (f(step * along) - f(-step * along)) / (2 * step)


def error(got: Tensor, expected: Tensor) -> float:
    """Return the largest difference in any vector, as a share of that vector's largest number."""
    difference = (got - expected).abs().amax(-1)  # [...]
    return (difference / expected.abs().amax(-1)).max().item()

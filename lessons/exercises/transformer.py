# Yours to fill in: write lines in place of each `raise NotImplementedError`. Then
#   make check-03           says what is right, what is not yet, and why; make hint-3.1 helps
#   make lesson-03 MINE=1   runs the lesson on what you have written
# Made from lessons/techniques/transformer.py, where the answers are, by `python -m lessons.course stubs`.
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
    """Compute (resid - mean) / sqrt(variance + eps) * w + b, each position on its own.

    Mean and variance are those of one position's d numbers. The variance is the mean of their
    squared distances from the mean: a sum divided by d, and not by d - 1. `w` and `b` [d] are
    learned and the same for all positions.
    """
    # exercise 3.1: layer norm (10 min)
    raise NotImplementedError("exercise 3.1")
    # end


def attention_pattern(q: Tensor, k: Tensor) -> Tensor:  # [q e], [k e] -> [q k]
    """Say what share each query takes of each key: softmax(q . k / sqrt(e)), the future masked.

    Line i of the pattern belongs to the token at position i, which asks; column j to the token at
    position j, which is asked. In three steps: the score of i for j is the product of the two
    vectors, q[i] . k[j], divided by sqrt(e). Where j comes after i, the score is -inf instead. And
    in each line, softmax turns the scores into shares that sum to 1.
    """
    # exercise 3.2: attention pattern (10 min)
    raise NotImplementedError("exercise 3.2")
    # end


def attention_head(x: Tensor, attn, head: int) -> tuple[Tensor, Tensor]:  # [p d] -> [q k], [p d]
    """Run one head: return where it looks (the pattern), and what it adds to the residual stream.

    `x` is the normed residual stream; `attn` holds the weights of all heads, by head: W_Q, W_K, W_V
    [h d e], b_Q, b_K, b_V [h e] and W_O [h e d]. A token's query is what it looks for, x W_Q + b_Q;
    its key is what it offers, x W_K + b_K; its value is what it hands over, x W_V + b_V. The
    queries and keys make the pattern (`attention_pattern`). What a token collects, called z, is
    the sum of all values, each times the share that the pattern gives it; z W_O is what the head
    adds. The layer's b_O belongs to no head and is left out.
    """
    # exercise 3.3: attention head (15 min)
    raise NotImplementedError("exercise 3.3")
    # end


def mlp(x: Tensor, W_in: Tensor, b_in: Tensor, W_out: Tensor, b_out: Tensor) -> Tensor:
    """Compute gelu(x W_in + b_in) W_out + b_out: [p d] -> [p d], through m neurons.

    W_in [d m] holds the neurons' questions, gelu lets a yes through and holds a no back, W_out
    [m d] holds what each neuron writes. The gelu is GPT-2's, number by number:
    gelu(y) = 0.5 y (1 + tanh(sqrt(2 / pi) (y + 0.044715 y^3))).
    """
    # exercise 3.4: mlp (10 min)
    raise NotImplementedError("exercise 3.4")
    # end


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

    The stream is the sum of `parts` [n d]. Its logit goes through the last layer norm:
    ((stream - mean) / scale * w + b) . direction, where scale is sqrt(variance + eps). `scale` [1]
    is given: the whole stream's, and held for every part. Then all is linear, and each part has a
    share of its own: ((part - its mean) / scale * w) . direction. The bias b is nobody's share.
    `w` [d], `direction` [d] (a column of W_U, or a difference of two) -> shares [n]; or for several
    words at once, `direction` [d v] -> [n v].
    """
    # exercise 3.5: direct attribution (10 min)
    raise NotImplementedError("exercise 3.5")
    # end


def replace_own_head(said: Tensor) -> Callable:  # [p h e], what is said instead
    """Make a hook for `hook_z`, run on one copy of the prompt per head: copy i loses its head i.

    The hook is a function (z, hook): z [h p h e] holds, for each copy, position and head, what the
    head has collected. In copy i, at all positions, head i is to say `said[:, i]` [p e] instead;
    all other heads stay as they are. The run goes on with the tensor that the hook returns. z is
    the hook's own, to be edited in place if you like; `said` is not, it will be used again.
    """
    # exercise 3.6: replace each head (20 min)
    raise NotImplementedError("exercise 3.6")
    # end


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

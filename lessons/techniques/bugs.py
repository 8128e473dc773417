"""Eight ways to get a forward pass wrong: each is a real slip, and each still runs (lesson 03).

A bug is the name of a function of transformer.py and a wrong version to put in its place. None of
them raises, and with most of them a model still gives the right answer: only a number held against
a number tells.
"""

import math

import torch
import torch.nn.functional as F

from lessons.techniques.transformer import attention_pattern, embed, layer_norm, mlp


def exact_gelu(x, W_in, b_in, W_out, b_out):
    """Use gelu as the textbook has it: GPT-2 was trained with an approximation to it."""
    return F.gelu(x @ W_in + b_in) @ W_out + b_out


def small_eps(resid, w, b, eps):
    """Use 1e-6 where GPT-2 has 1e-5."""
    return layer_norm(resid, w, b, 1e-6)


def unbiased_variance(resid, w, b, eps):
    """Divide the squares by d - 1, as torch.std does, and not by d."""
    return layer_norm(resid, w * math.sqrt((len(w) - 1) / len(w)), b, eps)


def no_scale(q, k):
    """Forget to divide the scores by sqrt(d_head)."""
    return attention_pattern(q * math.sqrt(q.shape[-1]), k)


def one_ahead(q, k):
    """Let each token see the one that follows it: diagonal=2 where it should be 1."""
    scores = q @ k.T / math.sqrt(q.shape[-1])  # [q k]
    future = torch.ones_like(scores, dtype=torch.bool).triu(diagonal=2)  # [q k]
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1)


def swapped(q, k):
    """Cut the q, k, v matrix in the wrong order: keys ask, queries answer."""
    return attention_pattern(k, q)


def head_with(make_pattern):
    """Make an attention head whose pattern is made in another way."""

    def attention_head(x, attn, head):
        q, k = x @ attn.W_Q[head] + attn.b_Q[head], x @ attn.W_K[head] + attn.b_K[head]  # [p e] x 2
        pattern = make_pattern(q, k)  # [q k]
        z = pattern @ (x @ attn.W_V[head] + attn.b_V[head])  # [p e]
        return pattern, z @ attn.W_O[head]

    return attention_head


def shifted(tokens, W_E, W_pos):
    """Count positions from 1."""
    return embed(tokens, W_E, W_pos[1:])


def no_bias(x, W_in, b_in, W_out, b_out):
    """Drop the MLP's last bias."""
    return mlp(x, W_in, b_in, W_out, torch.zeros_like(b_out))


BUGS = {
    "gelu is the exact one": ("mlp", exact_gelu),
    "layer norm's eps is 1e-6": ("layer_norm", small_eps),
    "variance over d - 1": ("layer_norm", unbiased_variance),
    "no 1 / sqrt(d_head)": ("attention_head", head_with(no_scale)),
    "mask is off by one": ("attention_head", head_with(one_ahead)),
    "q and k are swapped": ("attention_head", head_with(swapped)),
    "positions start at 1": ("embed", shifted),
    "MLP's last bias is lost": ("mlp", no_bias),
}

"""Answers to lesson 03: wrong ones, with what a check must say of each, and right ones."""

import copy
import math

import torch
import torch.nn.functional as F

from lessons.techniques.transformer import attention_pattern

# ---- 3.1 -----------------------------------------------------------------------------------------


def norm_over_positions(resid, w, b, eps):
    """wrong 3.1: over positions"""
    centred = resid - resid.mean(0)
    return centred / (centred.pow(2).mean(0) + eps).sqrt() * w + b


def norm_of_all(resid, w, b, eps):
    """wrong 3.1: one mean and variance"""
    return (resid - resid.mean()) / (resid.var(correction=0) + eps).sqrt() * w + b


def norm_with_torch_var(resid, w, b, eps):
    """wrong 3.1: d - 1"""
    centred = resid - resid.mean(-1, keepdim=True)
    return centred / (resid.var(-1, keepdim=True) + eps).sqrt() * w + b


def norm_with_eps_outside(resid, w, b, eps):
    """wrong 3.1: outside"""
    centred = resid - resid.mean(-1, keepdim=True)
    return centred / (resid.std(-1, keepdim=True, correction=0) + eps) * w + b


def norm_without_eps(resid, w, b, eps):
    """wrong 3.1: eps is missing"""
    centred = resid - resid.mean(-1, keepdim=True)
    return centred / resid.std(-1, keepdim=True, correction=0) * w + b


def norm_without_w_and_b(resid, w, b, eps):
    """wrong 3.1: w and b are missing"""
    centred = resid - resid.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def norm_without_root(resid, w, b, eps):
    """wrong 3.1: no root"""
    centred = resid - resid.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + eps) * w + b


def norm_by_mean_square(resid, w, b, eps):
    """wrong 3.1: not centred"""
    return resid / (resid.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w + b


def norm_by_length(resid, w, b, eps):
    """wrong 3.1: yours is the sum"""
    centred = resid - resid.mean(-1, keepdim=True)
    return centred / (centred.pow(2).sum(-1, keepdim=True) + eps).sqrt() * w + b


def norm_with_means_along_d(resid, w, b, eps):
    """wrong 3.1: size of tensor"""
    centred = resid - resid.mean(-1)
    return centred / (centred.pow(2).mean(-1) + eps).sqrt() * w + b


def norm_of_four(resid, w, b, eps):
    """wrong 3.1: the numbers are not right"""
    centred = resid - resid.sum(-1, keepdim=True) / 4
    return centred / (centred.pow(2).sum(-1, keepdim=True) / 4 + eps).sqrt() * w + b


def norm_in_place(resid, w, b, eps):
    """wrong 3.1: in place"""
    resid -= resid.mean(-1, keepdim=True)
    return resid / (resid.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w + b


def norm_in_single(resid, w, b, eps):
    """wrong 3.1: counts on all 64 bits"""
    return F.layer_norm(resid.float(), resid.shape[-1:], w.float(), b.float(), eps)


def norm_by_torch(resid, w, b, eps):
    """right 3.1"""
    return F.layer_norm(resid, resid.shape[-1:], w, b, eps)


def norm_by_squares(resid, w, b, eps):
    """right 3.1"""
    mean = resid.double().mean(1, keepdim=True)
    variance = resid.double().square().mean(1, keepdim=True) - mean**2
    return ((resid - mean) * torch.rsqrt(variance + eps) * w + b).to(resid.dtype)


# ---- 3.2 -----------------------------------------------------------------------------------------


def later(q, k, diagonal=1):
    return torch.ones(len(q), len(k), dtype=torch.bool).triu(diagonal)


def pattern_without_scale(q, k):
    """wrong 3.2: yours are not divided"""
    return (q @ k.T).masked_fill(later(q, k), -math.inf).softmax(-1)


def pattern_masked_with_minus_20(q, k):
    """wrong 3.2: exactly 0"""
    return (q @ k.T / math.sqrt(q.shape[-1])).masked_fill(later(q, k), -20).softmax(-1)


def pattern_over_e(q, k):
    """wrong 3.2: by e itself"""
    return (q @ k.T / q.shape[-1]).masked_fill(later(q, k), -math.inf).softmax(-1)


def pattern_over_length(q, k):
    """wrong 3.2: the number of tokens"""
    return (q @ k.T / math.sqrt(len(q))).masked_fill(later(q, k), -math.inf).softmax(-1)


def pattern_sees_one_ahead(q, k):
    """wrong 3.2: the one after it"""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    return scores.masked_fill(later(q, k, 2), -math.inf).softmax(-1)


def pattern_hides_itself(q, k):
    """wrong 3.2: from itself"""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    return scores.masked_fill(later(q, k, 0), -math.inf).softmax(-1)


def pattern_without_mask(q, k):
    """wrong 3.2: no mask"""
    return (q @ k.T / math.sqrt(q.shape[-1])).softmax(-1)


def pattern_masked_too_late(q, k):
    """wrong 3.2: yours masks after it"""
    return (q @ k.T / math.sqrt(q.shape[-1])).softmax(-1).masked_fill(later(q, k), 0)


def pattern_masked_with_zero(q, k):
    """wrong 3.2: exp(0) = 1"""
    return (q @ k.T / math.sqrt(q.shape[-1])).tril().softmax(-1)


def pattern_over_queries(q, k):
    """wrong 3.2: over queries"""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    return scores.masked_fill(later(q, k), -math.inf).softmax(0)


def pattern_upside_down(q, k):
    """wrong 3.2: upside down"""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    return scores.masked_fill(later(q, k).T, -math.inf).softmax(-1)


def pattern_transposed(q, k):
    """wrong 3.2: q and k swapped"""
    scores = k @ q.T / math.sqrt(q.shape[-1])
    return scores.masked_fill(later(q, k), -math.inf).softmax(-1)


def pattern_on_its_side(q, k):
    """wrong 3.2: lines are queries and columns are keys: yours is transposed"""
    return pattern_masked_and_normed_again(q, k).T


def pattern_of_sums(q, k):
    """wrong 3.2: the numbers are not right"""
    scores = torch.outer(q.sum(1), k.sum(1)) / q.shape[-1] ** 1.5
    return scores.masked_fill(later(q, k), -math.inf).softmax(-1)


def pattern_of_weights(q, k):
    """wrong 3.2: sum to 1"""
    return (q @ k.T / math.sqrt(q.shape[-1])).exp().tril()


def pattern_with_its_own_precision(q, k):
    """wrong 3.2: dtype=x.dtype"""
    scores = torch.full((len(q), len(q)), -math.inf)
    for i in range(len(q)):
        scores[i, : i + 1] = k[: i + 1] @ q[i] / math.sqrt(q.shape[-1])
    return scores.softmax(-1)


def pattern_with_large_number(q, k):
    """right 3.2"""
    scores = torch.einsum("qe,ke->qk", q, k) * q.shape[-1] ** -0.5
    return (scores - 1e9 * later(q, k)).softmax(dim=1)


def pattern_masked_and_normed_again(q, k):
    """right 3.2"""
    weights = (q @ k.T / math.sqrt(q.shape[-1])).exp().tril()
    return weights / weights.sum(1, keepdim=True)


# ---- 3.3 -----------------------------------------------------------------------------------------


def parts_of(x, attn, head, q="Q", k="K", v="V", bias=1):
    """Make a head's queries, keys and values; each with the weights of the letter given."""
    weights, each = vars(attn), (q, k, v)
    return [x @ weights[f"W_{name}"][head] + bias * weights[f"b_{name}"][head] for name in each]


def head_without_biases(x, attn, head):
    """wrong 3.3: missing"""
    q, k, v = parts_of(x, attn, head, bias=0)
    pattern = attention_pattern(q, k)
    return pattern, pattern @ v @ attn.W_O[head]


def head_without_b_Q(x, attn, head):
    """wrong 3.3: the bias of the queries is missing"""
    _, k, v = parts_of(x, attn, head)
    pattern = attention_pattern(x @ attn.W_Q[head], k)
    return pattern, pattern @ v @ attn.W_O[head]


def head_swapped(x, attn, head):
    """wrong 3.3: q and k swapped"""
    q, k, v = parts_of(x, attn, head, q="K", k="Q")
    pattern = attention_pattern(q, k)
    return pattern, pattern @ v @ attn.W_O[head]


def head_with_b_O(x, attn, head):
    """wrong 3.3: b_O belongs to no head"""
    q, k, v = parts_of(x, attn, head)
    pattern = attention_pattern(q, k)
    return pattern, pattern @ v @ attn.W_O[head] + attn.b_O


def head_zero(x, attn, head):
    """wrong 3.3: runs head 0"""
    q, k, v = parts_of(x, attn, 0)
    pattern = attention_pattern(q, k)
    return pattern, pattern @ v @ attn.W_O[0]


def head_last(x, attn, head):
    """wrong 3.3: runs the last one"""
    return head_by_einsum(x, attn, -1)


def head_reversed(x, attn, head):
    """wrong 3.3: the other way round"""
    q, k, v = parts_of(x, attn, head)
    pattern = attention_pattern(q, k)
    return pattern @ v @ attn.W_O[head], pattern


def head_transposed(x, attn, head):
    """wrong 3.3: transposed"""
    q, k, v = parts_of(x, attn, head)
    pattern = attention_pattern(q, k)
    return pattern, pattern.T @ v @ attn.W_O[head]


def head_without_W_O(x, attn, head):
    """wrong 3.3: yours returns z"""
    q, k, v = parts_of(x, attn, head)
    pattern = attention_pattern(q, k)
    return pattern, pattern @ v


def head_that_edits_weights(x, attn, head):
    """wrong 3.3: changed a weight"""
    attn.W_O[head] *= 2
    q, k, v = parts_of(x, attn, head)
    pattern = attention_pattern(q, k)
    return pattern, pattern @ v @ (attn.W_O[head] / 2)


def head_in_a_list(x, attn, head):
    """right 3.3"""
    return list(head_by_einsum(x, attn, head))


def head_by_einsum(x, attn, head):
    """right 3.3"""
    q = torch.einsum("pd,hde->phe", x, attn.W_Q)[:, head] + attn.b_Q[head]
    k = torch.einsum("pd,hde->phe", x, attn.W_K)[:, head] + attn.b_K[head]
    scores = (q @ k.T / math.sqrt(k.shape[-1])).masked_fill(later(q, k), -math.inf)
    pattern = scores.softmax(-1)
    return pattern, pattern @ (x @ (attn.W_V[head] @ attn.W_O[head])) + (
        attn.b_V[head] @ attn.W_O[head]
    )


# ---- 3.4 -----------------------------------------------------------------------------------------


def mlp_exact(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: exact"""
    return F.gelu(x @ W_in + b_in) @ W_out + b_out


def mlp_relu(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: relu"""
    return F.relu(x @ W_in + b_in) @ W_out + b_out


def mlp_without_b_in(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: b_in is missing"""
    return F.gelu(x @ W_in, approximate="tanh") @ W_out + b_out


def mlp_without_b_out(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: b_out is missing"""
    return F.gelu(x @ W_in + b_in, approximate="tanh") @ W_out


def mlp_gelu_last(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: yours comes at the end"""
    return F.gelu((x @ W_in + b_in) @ W_out + b_out, approximate="tanh")


def mlp_without_root(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: yours has no root"""
    y = x @ W_in + b_in
    return 0.5 * y * (1 + torch.tanh(2 / math.pi * (y + 0.044715 * y**3))) @ W_out + b_out


def mlp_adds_x(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: added x already"""
    return x + F.gelu(x @ W_in + b_in, approximate="tanh") @ W_out + b_out


def mlp_one_by_one(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: size of tensor"""
    return F.gelu(x * W_in + b_in, approximate="tanh") * W_out + b_out


def mlp_of_the_first_number(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: the numbers are not right"""
    return F.gelu(x[:, :1] @ W_in[:1] + b_in, approximate="tanh") @ W_out + b_out


def mlp_linear(x, W_in, b_in, W_out, b_out):
    """wrong 3.4: the two matrices are one"""
    return (x @ W_in + b_in) @ W_out + b_out


def mlp_by_torch(x, W_in, b_in, W_out, b_out):
    """right 3.4"""
    return F.linear(F.gelu(F.linear(x, W_in.T, b_in), approximate="tanh"), W_out.T, b_out)


# ---- 3.5 -----------------------------------------------------------------------------------------


def own_scale(parts, scale, w, direction):
    """wrong 3.5: computed anew"""
    return F.layer_norm(parts, parts.shape[-1:], w) @ direction


def scale_measured(parts, scale, w, direction):
    """wrong 3.5: from the sum of the parts"""
    scale = (parts.sum(0).var(correction=0) + 1e-5).sqrt()
    return (parts - parts.mean(-1, keepdim=True)) / scale * w @ direction


def not_centred(parts, scale, w, direction):
    """wrong 3.5: not centred"""
    return (parts / scale * w) @ direction


def centred_over_parts(parts, scale, w, direction):
    """wrong 3.5: over parts"""
    return ((parts - parts.mean(0)) / scale * w) @ direction


def means_along_d(parts, scale, w, direction):
    """wrong 3.5: the means go along d"""
    return (parts - parts.mean(-1)) / scale * w @ direction


def centred_by_half(parts, scale, w, direction):
    """wrong 3.5: the numbers are not right"""
    return ((parts - parts.sum(-1, keepdim=True) / 2) / scale * w) @ direction


def share_without_scale(parts, scale, w, direction):
    """wrong 3.5: divide by the scale"""
    return ((parts - parts.mean(-1, keepdim=True)) * w) @ direction


def share_without_w(parts, scale, w, direction):
    """wrong 3.5: w is missing"""
    return (parts - parts.mean(-1, keepdim=True)) / scale @ direction


def absolute(parts, scale, w, direction):
    """wrong 3.5: not linear"""
    return (((parts - parts.mean(-1, keepdim=True)) / scale * w) @ direction).abs()


def one_word_only(parts, scale, w, direction):
    """wrong 3.5: several words at once"""
    return ((parts - parts.mean(-1, keepdim=True)) / scale * w * direction).sum(-1)


def share_by_folding(parts, scale, w, direction):
    """right 3.5"""
    folded = direction * w.view(-1, *[1] * (direction.ndim - 1))  # [d ...]
    folded = folded - folded.mean(0)  # centring the reader is centring what is read
    return torch.tensordot(parts, folded, 1) / scale.item()


# ---- 3.6 -----------------------------------------------------------------------------------------


def replaces_everything(said):
    """wrong 3.6: all heads in all copies"""

    def hook(z, hook):
        rows = torch.arange(len(z))
        z[:, :, rows] = said
        return z

    return hook


def replaces_late(said):
    """wrong 3.6: mixes positions with heads"""

    def hook(z, hook):
        rows = torch.arange(len(z))
        z[rows, :, rows] = said if z.shape[1] == len(z) else said.transpose(0, 1)
        return z

    return hook


def replaces_by_view(said):
    """wrong 3.6: mixes positions with heads"""

    def hook(z, hook):
        rows = torch.arange(len(z))
        z[rows, :, rows] = said.view(len(z), -1, said.shape[-1])
        return z

    return hook


def replaces_at_the_end(said):
    """wrong 3.6: at the last one only"""

    def hook(z, hook):
        for i in range(len(z)):
            z[i, -1, i] = said[-1, i]
        return z

    return hook


def edits_a_copy(said):
    """wrong 3.6: left z as it was"""

    def hook(z, hook):
        z = z.clone()
        for i in range(len(z)):
            z[i, :, i] = said[:, i]

    return hook


def edits_said(said):
    """wrong 3.6: changed `said`"""

    def hook(z, hook):
        for i in range(len(z)):
            z[i, :, i] = said.mul_(2)[:, i] / 2
        return z

    return hook


def adds(said):
    """wrong 3.6: yours adds it"""

    def hook(z, hook):
        for i in range(len(z)):
            z[i, :, i] += said[:, i]
        return z

    return hook


def all_heads_of_the_first_copy(said):
    """wrong 3.6: all heads in copy 0"""

    def hook(z, hook):
        z[0] = said
        return z

    return hook


def no_hook(said):
    """wrong 3.6: should return a hook"""
    return said


def remembers(said):
    """wrong 3.6: twice"""
    kept = []

    def hook(z, hook):
        kept.append(z)
        z = kept[0].clone()
        for i in range(len(z)):
            z[i, :, i] = said[:, i]
        return z

    return hook


def head_by_head(said):
    """right 3.6"""

    def replace(z, point):
        for i in range(len(z)):
            z[i, :, i] = said[:, i]

    return replace


def by_where(said):
    """right 3.6"""
    own = torch.eye(said.shape[1], dtype=torch.bool)[:, None, :, None]  # [h 1 h 1]
    return lambda z, hook: torch.where(own, copy.copy(said), z)

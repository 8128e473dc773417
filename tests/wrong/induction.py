"""Answers to lesson 05: wrong ones, with what a check must say of each, and right ones."""

import numpy as np
import torch

from lessons.techniques import induction
from lessons.techniques.induction import product_norm

# ---- 5.1 -----------------------------------------------------------------------------------------


def one_to_the_right(pattern, back, first):
    """wrong 5.1: one key to the right"""
    return pattern.diagonal(1 - back, dim1=-2, dim2=-1)[..., first - back + 1 :].mean(-1)


def one_to_the_left(pattern, back, first):
    """wrong 5.1: one key to the left"""
    return pattern.diagonal(-1 - back, dim1=-2, dim2=-1)[..., max(first - back - 1, 0) :].mean(-1)


def above_the_diagonal(pattern, back, first):
    """wrong 5.1: below the diagonal"""
    return pattern.diagonal(back, dim1=-2, dim2=-1).mean(-1)


def all_queries(pattern, back, first):
    """wrong 5.1: yours counts all"""
    return pattern.diagonal(-back, dim1=-2, dim2=-1).mean(-1)


def first_entries_left_out(pattern, back, first):
    """wrong 5.1: entry first - back"""
    return pattern.diagonal(-back, dim1=-2, dim2=-1)[..., first:].mean(-1)


def stripe_summed(pattern, back, first):
    """wrong 5.1: yours is a sum"""
    return pattern.diagonal(-back, dim1=-2, dim2=-1)[..., first - back :].sum(-1)


def mean_of_everything(pattern, back, first):
    """wrong 5.1: texts and heads stay apart"""
    return pattern.diagonal(-back, dim1=-2, dim2=-1)[..., first - back :].mean()


def stripe_query_by_query(pattern, back, first):
    """right 5.1"""
    queries = range(first, pattern.shape[-1])
    return sum(pattern[..., q, q - back] for q in queries) / len(queries)


def stripe_by_index(pattern, back, first):
    """right 5.1"""
    q = torch.arange(first, pattern.shape[-1])
    return pattern[..., q, q - back].mean(dim=-1)


# ---- 5.2 -----------------------------------------------------------------------------------------


def one_memory_for_all_texts(tokens):
    """wrong 5.2: remembers the text before"""
    result, seen = torch.full_like(tokens, -1), {}
    for i, text in enumerate(tokens.tolist()):
        for at, token in enumerate(text):
            if token in seen:
                result[i, at] = seen[token] + 1
            seen[token] = at
    return result


def later_copies_too(tokens):
    """wrong 5.2: looks at later copies"""
    n = tokens.shape[1]
    equal = (tokens[:, :, None] == tokens[:, None, :]) & (torch.eye(n) == 0)
    last = torch.where(equal, torch.arange(n), -1).amax(-1)
    return torch.where(last < 0, -1, last + 1)


def the_copy_itself(tokens):
    """wrong 5.2: that token itself"""
    at = torch.arange(tokens.shape[1])
    equal = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    return torch.where(equal, at, -1).amax(-1)


def after_the_first(tokens):
    """wrong 5.2: follows the first one"""
    equal = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    return torch.where(equal.any(-1), equal.int().argmax(-1) + 1, -1)


def place_itself_counts(tokens):
    """wrong 5.2: takes the position itself"""
    at = torch.arange(tokens.shape[1])
    equal = (tokens[:, :, None] == tokens[:, None, :]).tril()
    return torch.where(equal, at, -1).amax(-1) + 1


def sees_the_future(tokens):
    """wrong 5.2: looks into the future"""
    at = torch.arange(tokens.shape[1])
    return torch.where(tokens[:, :, None] == tokens[:, None, :], at, -1).amax(-1) + 1


def zero_for_none(tokens):
    """wrong 5.2: which is a place"""
    return the_copy_itself(tokens) + 1


def as_a_distance(tokens):
    """wrong 5.2: told as a distance"""
    last = the_copy_itself(tokens)
    return torch.where(last < 0, -1, torch.arange(tokens.shape[1]) - last - 1)


def as_floats(tokens):
    """wrong 5.2: whole numbers"""
    return induction.after_last(tokens).float()


def first_text_only(tokens):
    """wrong 5.2: shape"""
    return induction.after_last(tokens)[0]


def walked(tokens):
    """right 5.2"""
    result = torch.full_like(tokens, -1)
    for i, text in enumerate(tokens.tolist()):
        last = {}
        for at, token in enumerate(text):
            if token in last:
                result[i, at] = last[token] + 1
            last[token] = at
    return result


def by_the_largest(tokens):
    """right 5.2"""
    n = tokens.shape[1]
    equal = (tokens.unsqueeze(2) == tokens.unsqueeze(1)).tril(-1).long()
    after = (equal * torch.arange(1, n + 1)).max(-1).values
    return after - (after == 0).long()


# ---- 5.3 -----------------------------------------------------------------------------------------


def in_the_big_matrix(left, right):
    """wrong 5.3: vocabulary squared"""
    values = torch.linalg.eigvals(left @ right)
    return values.real.sum(-1) / values.abs().sum(-1)


def in_the_big_matrix_by_numpy(left, right):
    """wrong 5.3: vocabulary squared"""
    values = torch.from_numpy(np.linalg.eigvals(left.numpy() @ right.numpy()))
    return (values.real.sum(-1) / values.abs().sum(-1)).float()


def length_of_the_sum(left, right):
    """wrong 5.3: the length of the sum"""
    values = torch.linalg.eigvals(right @ left)
    return values.real.sum(-1) / values.sum(-1).abs()


def divided_by_how_many(left, right):
    """wrong 5.3: how many there are"""
    return torch.linalg.eigvals(right @ left).real.mean(-1)


def of_real_parts(left, right):
    """wrong 5.3: real part"""
    values = torch.linalg.eigvals(right @ left).real
    return values.sum(-1) / values.abs().sum(-1)


def complex_score(left, right):
    """wrong 5.3: real numbers"""
    values = torch.linalg.eigvals(right @ left)
    return values.sum(-1) / values.abs().sum(-1)


def of_singular_values(left, right):
    """wrong 5.3: never negative"""
    product = right @ left
    return torch.linalg.eigvals(product).real.sum(-1) / torch.linalg.svdvals(product).sum(-1)


def bare_sum(left, right):
    """wrong 5.3: the bare sum"""
    return torch.linalg.eigvals(right @ left).real.sum(-1)


def counted_positive(left, right):
    """wrong 5.3: counts how many"""
    return (torch.linalg.eigvals(right @ left).real > 1e-4).float().mean(-1)


def all_heads_together(left, right):
    """wrong 5.3: one score for each head"""
    values = torch.linalg.eigvals(right @ left)
    return values.real.sum() / values.abs().sum()


def absolute_above(left, right):
    """wrong 5.3: absolute values above"""
    values = torch.linalg.eigvals(right @ left)
    return values.real.sum(-1).abs() / values.abs().sum(-1)


def by_numpy(left, right):
    """right 5.3"""
    values = torch.from_numpy(np.linalg.eigvals(right.numpy() @ left.numpy()))
    return (values.real.sum(-1) / values.abs().sum(-1)).float()


def by_trace(left, right):
    """right 5.3"""
    small = right @ left
    trace = small.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace / torch.linalg.eig(small)[0].abs().sum(dim=-1)


def other_way_round(left, right):
    """right 5.3"""
    values = torch.linalg.eigvals(left.mT.double() @ right.mT.double())
    return (values.sum(-1).real / values.abs().sum(-1)).float()


# ---- 5.4 -----------------------------------------------------------------------------------------


def lengths(W_V, W_O, W_Q, W_K):
    return product_norm(W_Q, W_K.mT) * product_norm(W_V, W_O)


def queries_read(W_V, W_O, W_Q, W_K):
    """wrong 5.4: its queries read"""
    return induction.k_composition(W_V, W_O, W_K, W_Q)


def reads_what_it_reads(W_V, W_O, W_Q, W_K):
    """wrong 5.4: takes what it reads"""
    return product_norm(W_Q @ (W_K.mT @ W_V), W_O) / lengths(W_V, W_O, W_Q, W_K)


def keys_not_transposed(W_V, W_O, W_Q, W_K):
    """wrong 5.4: does not transpose W_K"""
    length = product_norm(W_Q, (W_V @ (W_O @ W_K)).mT)
    return length / (product_norm(W_Q, W_K) * product_norm(W_V, W_O))


def handed_on_not_transposed(W_V, W_O, W_Q, W_K):
    """wrong 5.4: does not transpose W_V W_O W_K"""
    return product_norm(W_Q, W_V @ (W_O @ W_K)) / lengths(W_V, W_O, W_Q, W_K)


def not_divided(W_V, W_O, W_Q, W_K):
    """wrong 5.4: divides by none"""
    return product_norm(W_Q, (W_V @ (W_O @ W_K)).mT)


def earlier_length_left_out(W_V, W_O, W_Q, W_K):
    """wrong 5.4: leaves out the earlier head's"""
    return product_norm(W_Q, (W_V @ (W_O @ W_K)).mT) / product_norm(W_Q, W_K.mT)


def squared(W_V, W_O, W_Q, W_K):
    """wrong 5.4: yours is squared"""
    return induction.k_composition(W_V, W_O, W_Q, W_K) ** 2


def lengths_of_the_thin_ones(W_V, W_O, W_Q, W_K):
    """wrong 5.4: the numbers are not right"""
    thin = [W.flatten(-2).norm(dim=-1) for W in (W_V, W_O, W_Q, W_K)]
    return product_norm(W_Q, (W_V @ (W_O @ W_K)).mT) / (thin[0] * thin[1] * thin[2] * thin[3])


def by_big_matrices(W_V, W_O, W_Q, W_K):
    """right 5.4"""
    OV, QK = W_V @ W_O, W_Q @ W_K.mT
    norm = torch.linalg.matrix_norm
    return norm(OV @ QK.mT) / norm(OV) / norm(QK)


def by_rotation(W_V, W_O, W_Q, W_K):
    """right 5.4"""
    norm = torch.linalg.matrix_norm
    (_, v), (_, q) = torch.linalg.qr(W_V), torch.linalg.qr(W_Q)  # lengths stay as they were
    read = q @ W_K.mT
    return norm(read @ (v @ W_O).mT) / (norm(read) * norm(v @ W_O))


# ---- 5.5 -----------------------------------------------------------------------------------------


def edit(instead):
    """Make an answer of a function (z, how) -> what to say instead."""

    def ablate(heads, how):
        def hook(z, hook):
            new = z.clone()
            new[:, :, heads] = instead(z, how)[:, :, heads]
            return new

        return hook

    return ablate


def right_one(z, how):
    mean = z.mean(0, keepdim=True).expand_as(z)
    return {"zero": torch.zeros_like(z), "mean": mean, "resample": z.roll(1, 0)}[how]


def all_heads(heads, how):
    """wrong 5.5: yours changes all heads"""
    return lambda z, hook: right_one(z, how)


def all_the_others(heads, how):
    """wrong 5.5: changes all the others"""

    def hook(z, hook):
        new = right_one(z, how).clone()
        new[:, :, heads] = z[:, :, heads]
        return new

    return hook


def mean_over_positions(heads, how):
    """wrong 5.5: yours goes over both"""
    return edit(lambda z, how: z.mean((0, 1)).expand_as(z) if how == "mean" else right_one(z, how))(
        heads, how
    )


def mean_along_the_text(heads, how):
    """wrong 5.5: yours goes over positions"""
    along = edit(
        lambda z, how: z.mean(1, keepdim=True).expand_as(z) if how == "mean" else right_one(z, how)
    )
    return along(heads, how)


def from_the_next_text(heads, how):
    """wrong 5.5: from text i + 1"""

    def instead(z, how):
        return z.roll(-1, 0) if how == "resample" else right_one(z, how)

    if how == "resample":
        return edit(instead)(heads, how)
    return edit(right_one)(heads, how)


def from_another_position(heads, how):
    """wrong 5.5: another position"""
    moved = edit(lambda z, how: z.roll(1, 1) if how == "resample" else right_one(z, how))
    return moved(heads, how)


def one_after_another(heads, how):
    """wrong 5.5: what was just replaced"""

    def hook(z, hook):
        if how != "resample":
            return edit(right_one)(heads, how)(z, hook)
        for i in range(len(z)):
            z[i, :, heads] = z[i - 1, :, heads]
        return z

    return hook


def edits_a_copy(heads, how):
    """wrong 5.5: left z as it was"""

    def hook(z, hook):
        z = z.clone()
        z[:, :, heads] = right_one(z, how)[:, :, heads]

    return hook


def right_in_the_first_run(heads, how):
    """wrong 5.5: in its second run"""
    kept = {}

    def hook(z, hook):
        if hook.name not in kept:
            kept[hook.name] = edit(right_one)(heads, how)(z, hook)
        return kept[hook.name]

    return hook


def heads_used_up(heads, how):
    """wrong 5.5: in its second run"""
    left = iter(heads)

    def hook(z, hook):
        return edit(right_one)(list(left), how)(z, hook)

    return hook


def takes_the_list_apart(heads, how):
    """wrong 5.5: changed the list of heads"""

    def hook(z, hook):
        instead = right_one(z, how).clone()
        while heads:
            head = heads.pop()
            z[:, :, head] = instead[:, :, head]
        return z

    return hook


def no_hook(heads, how):
    """wrong 5.5: should return a hook"""
    return torch.zeros(len(heads))


def at_the_last_token(heads, how):
    """wrong 5.5: the last one only"""

    def hook(z, hook):
        z[:, -1, heads] = right_one(z, how)[:, -1, heads].clone()
        return z

    return hook


def in_place(heads, how):
    """right 5.5"""

    def hook(z, hook):
        instead = right_one(z, how).clone()
        for head in heads:
            z[:, :, head] = instead[:, :, head]

    return hook


def by_mask(heads, how):
    """right 5.5"""

    def hook(z, hook):
        away = torch.zeros(z.shape[2], 1, dtype=torch.bool)
        away[heads] = True
        return torch.where(away, right_one(z, how), z)

    return hook


# ---- 5.6 -----------------------------------------------------------------------------------------


def changed(d_vocab, n_ctx, **changes):
    """Make a right network and put other matrices into it: a name -> a function of the rooms."""
    d = 3 * d_vocab + n_ctx
    rooms = torch.eye(d).split([d_vocab, d_vocab, d_vocab, n_ctx], dim=1)
    weights = induction.by_hand(d_vocab, n_ctx)
    return weights | {name: make(weights, *rooms) for name, make in changes.items()}


def looks_at_the_copy(d_vocab, n_ctx):
    """wrong 5.6: the earlier copy of its"""
    own_keys = changed(d_vocab, n_ctx, W_K=lambda w, own, *rest: [w["W_K"][0], own])
    own_keys["W_Q"][1] = own_keys["W_Q"][1].clone()
    only_past = torch.zeros_like(own_keys["W_pos"])  # the token itself is as good as its copy
    return own_keys | {"W_pos": own_keys["W_pos"] + 0 * only_past, **away_from_itself(own_keys)}


def away_from_itself(w):
    """Let layer 1's queries shun their own place, so that they find the copy."""
    place = w["W_pos"].T
    W_Q = torch.cat([w["W_Q"][1], -3 * w["W_Q"][1].max() * place], 1)
    return {"W_Q": [w["W_Q"][0], W_Q], "W_K": [w["W_K"][0], torch.cat([w["W_K"][1], place], 1)]}


def nobody_looks_back(d_vocab, n_ctx):
    """wrong 5.6: nobody tells a place"""
    return changed(d_vocab, n_ctx, W_Q=lambda w, *rooms: [0 * w["W_Q"][0], w["W_Q"][1]])


def looks_ahead(d_vocab, n_ctx):
    """wrong 5.6: nobody tells a place"""
    return changed(d_vocab, n_ctx, W_K=lambda w, o, b, f, place: [place.roll(-2, 1), w["W_K"][1]])


def too_soft(d_vocab, n_ctx):
    """wrong 5.6: much larger than wrong"""
    return changed(d_vocab, n_ctx, W_Q=lambda w, *rooms: [w["W_Q"][0], w["W_Q"][1] / 1000])


def says_nothing(d_vocab, n_ctx):
    """wrong 5.6: not what comes out"""
    return changed(d_vocab, n_ctx, W_O=lambda w, *rooms: [w["W_O"][0], 0 * w["W_O"][1]])


def reads_another_room(d_vocab, n_ctx):
    """wrong 5.6: not what comes out"""
    return changed(d_vocab, n_ctx, W_U=lambda w, own, before, following, place: before)


def says_both(d_vocab, n_ctx):
    """wrong 5.6: has an equal"""
    return changed(d_vocab, n_ctx, W_U=lambda w, own, *rest: w["W_U"] + own)


def one_matrix_too_few(d_vocab, n_ctx):
    """wrong 5.6: is missing from the dict"""
    weights = induction.by_hand(d_vocab, n_ctx)
    return {name: weight for name, weight in weights.items() if name != "W_pos"}


def one_layer_only(d_vocab, n_ctx):
    """wrong 5.6: a list of two matrices"""
    return changed(d_vocab, n_ctx, W_Q=lambda w, *rooms: w["W_Q"][:1])


def transposed(d_vocab, n_ctx):
    """wrong 5.6: should be"""
    return changed(d_vocab, n_ctx, W_U=lambda w, *rooms: w["W_U"].T)


def always_the_same_distance(d_vocab, n_ctx):
    """wrong 5.6: the place after the earlier copy only"""
    place = lambda w, o, b, f, place: [place.roll(-1, 1), 50 * place.roll(-3, 1)]  # noqa: E731
    keys = lambda w, o, b, f, place: [50 * place, 50 * place]  # noqa: E731
    return changed(d_vocab, n_ctx, W_Q=place, W_K=keys)


def in_fewer_numbers(d_vocab, n_ctx):
    """right 5.6"""
    v, c = d_vocab, n_ctx
    d = 2 * v + 2  # places as points of a circle; layer 1 subtracts what stood there before
    angle = torch.arange(c) * 3.0 / c
    places = torch.stack([angle.cos(), angle.sin()], 1)  # [c 2]
    step = torch.tensor(3.0 / c)
    turn = torch.stack(
        [torch.stack([step.cos(), -step.sin()]), torch.stack([step.sin(), step.cos()])]
    )
    own, before = torch.zeros(d, v), torch.zeros(d, v)
    own[:v], before[v : 2 * v] = torch.eye(v), torch.eye(v)
    circle = torch.zeros(d, 2)
    circle[2 * v :] = torch.eye(2)
    W_pos = places @ circle.T
    sharp = 300.0 * c**2
    return {
        "W_E": own.T,
        "W_pos": W_pos,
        "W_Q": [sharp * circle @ turn, 1000 * own],
        "W_K": [circle, before],
        "W_V": [own, own],
        "W_O": [before.T, 5 * before.T],
        "W_U": before,
    }


def as_stacked(d_vocab, n_ctx):
    """right 5.6"""
    v, d = d_vocab, 3 * d_vocab + n_ctx
    e = max(v, n_ctx)
    W = {name: torch.zeros(2, d, e) for name in ("W_Q", "W_K", "W_V")} | {
        "W_O": torch.zeros(2, e, d)
    }
    for token in range(v):
        W["W_V"][:, token, token] = 1
        W["W_O"][0, token, v + token] = W["W_O"][1, token, 2 * v + token] = 1
        W["W_Q"][1, token, token], W["W_K"][1, v + token, token] = 100, 10
    for at in range(n_ctx):
        W["W_K"][0, 3 * v + at, at] = 10
        if at:
            W["W_Q"][0, 3 * v + at, at - 1] = 100
    room = torch.eye(d)
    return W | {"W_E": room[:v], "W_pos": room[3 * v :], "W_U": room[:, 2 * v : 3 * v]}

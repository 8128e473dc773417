"""Answers to lesson 09: wrong ones, with what a check must say of each, and right ones."""

import torch

from lessons.techniques.sparse_autoencoders import f1

# ---- 9.1 -----------------------------------------------------------------------------------------


def l0_in_all(f):
    """wrong 9.1: the sum over all tokens"""
    return (f > 0).sum().item()


def l0_as_a_share(f):
    """wrong 9.1: yours is the share"""
    return (f > 0).float().mean().item()


def l0_of_strengths(f):
    """wrong 9.1: that is L1"""
    return f.sum(-1).mean().item()


def l0_of_what_is_off(f):
    """wrong 9.1: what is off"""
    return (f == 0).sum(-1).float().mean().item()


def l0_of_the_first_token(f):
    """wrong 9.1: of the first only"""
    return (f > 0).sum(-1).float().flatten()[0].item()


def l0_per_token(f):
    """wrong 9.1: the result's shape"""
    return (f > 0).sum(-1).float()


def l0_above_a_tenth(f):
    """wrong 9.1: numbers are not right"""
    return (f.abs() >= 0.1).sum(-1).float().mean()


def l0_above_zero(f):
    """wrong 9.1: yours leaves out what is below 0"""
    return (f > 0).sum(-1).float().mean()


def l0_by_norm(f):
    """right 9.1"""
    return torch.linalg.vector_norm(f, ord=0, dim=-1).mean()


def l0_by_counting(f):
    """right 9.1"""
    return f.count_nonzero().item() / f[..., 0].numel()


# ---- 9.2 -----------------------------------------------------------------------------------------


def variance_missed(x, x_hat):
    """wrong 9.2: the share that is missed"""
    x, x_hat = x.flatten(0, -2), x_hat.flatten(0, -2)
    return ((x - x_hat).square().sum() / (x - x.mean(0)).square().sum()).item()


def variance_from_one_mean(x, x_hat):
    """wrong 9.2: one number for all"""
    return (1 - (x - x_hat).square().sum() / (x - x.mean()).square().sum()).item()


def variance_from_zero(x, x_hat):
    """wrong 9.2: the squares of x itself"""
    return (1 - (x - x_hat).square().sum() / x.square().sum()).item()


def variance_per_dimension(x, x_hat):
    """wrong 9.2: dimension by dimension"""
    x, x_hat = x.flatten(0, -2), x_hat.flatten(0, -2)
    return (1 - (x - x_hat).square().sum(0) / (x - x.mean(0)).square().sum(0)).mean().item()


def variance_per_token(x, x_hat):
    """wrong 9.2: token by token"""
    x, x_hat = x.flatten(0, -2), x_hat.flatten(0, -2)
    return (1 - (x - x_hat).square().sum(1) / (x - x.mean(0)).square().sum(1)).mean().item()


def variance_by_the_first_axis(x, x_hat):
    """wrong 9.2: yours goes over the first axis only"""
    return (1 - (x - x_hat).square().sum() / (x - x.mean(0)).square().sum()).item()


def variance_of_error(x, x_hat):
    """wrong 9.2: a constant error costs nothing"""
    x, x_hat = x.flatten(0, -2), x_hat.flatten(0, -2)
    return (1 - (x - x_hat).var(0).sum() / x.var(0).sum()).item()


def variance_of_the_reconstruction(x, x_hat):
    """wrong 9.2: compare x with x_hat"""
    x, x_hat = x.flatten(0, -2), x_hat.flatten(0, -2)
    return (x_hat.var(0).sum() / x.var(0).sum()).item()


def variance_with_a_root(x, x_hat):
    """wrong 9.2: lengths and not variances"""
    x, x_hat = x.flatten(0, -2), x_hat.flatten(0, -2)
    return (1 - (x - x_hat).norm() / (x - x.mean(0)).norm()).item()


def variance_by_another_n(x, x_hat):
    """wrong 9.2: divides by n - 1"""
    x, x_hat = x.flatten(0, -2), x_hat.flatten(0, -2)
    return 1 - (x - x_hat).square().mean(0).sum() / x.var(0).sum()


def variance_by_var(x, x_hat):
    """right 9.2"""
    x, x_hat = x.flatten(0, -2), x_hat.flatten(0, -2)
    left = (x - x_hat).pow(2).mean(0).sum()
    return 1 - left / x.var(0, correction=0).sum()


def variance_by_norms(x, x_hat):
    """right 9.2"""
    d = x.shape[-1]
    mean = x.reshape(-1, d).mean(0)
    return 1 - float((x - x_hat).norm() ** 2 / (x - mean).norm() ** 2)


# ---- 9.3 -----------------------------------------------------------------------------------------


def kept(pre, k):
    """Keep each token's k largest."""
    values, at = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter(-1, at, values)


def topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, centre=1, many=None, weight=32, whole=False,
         detach=True, what=None, again=0):  # fmt: skip
    """Compute it as it should be, with one thing to be changed."""
    pre = torch.relu((x - centre * b_dec) @ W_enc + b_enc)
    f = pre if whole else kept(pre, k)
    e = x - (f @ W_dec + b_dec)
    loss = e.pow(2).sum(-1).mean()
    few = min(x.shape[-1] // 2 if many is None else many, int(dead.sum()))
    if not few:
        return loss
    target = x if what == "x" else e
    e_hat = kept(pre * (~dead if what == "awake" else dead), few) @ W_dec + again * b_dec
    target = target.detach() if detach else target
    return loss + (target - e_hat).pow(2).sum(-1).mean() / weight


def topk_without_the_dead(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: the dead latents' loss is missing"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead & False)


def topk_of_what_is_below_0(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: relu comes first"""
    raw = (x - b_dec) @ W_enc + b_enc
    e = x - kept(raw, k) @ W_dec - b_dec
    few = min(x.shape[-1] // 2, int(dead.sum()))
    if not few:
        return e.pow(2).sum(-1).mean()
    e_hat = kept(torch.relu(raw) * dead, few) @ W_dec
    return e.pow(2).sum(-1).mean() + (e.detach() - e_hat).pow(2).sum(-1).mean() / 32


def topk_in_full_weight(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours with 1"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, weight=1)


def topk_not_centred(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours encodes x as it is"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, centre=0)


def topk_with_all_the_dead(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours takes all of them"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, many=len(b_enc))


def topk_with_k_dead(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours takes k"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, many=k)


def topk_with_the_dead_in_the_mean(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: sum the second part over d too"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, weight=32 * x.shape[1])


def topk_keeps_all(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours keeps all"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, whole=True)


def topk_flows_through_e(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: use e.detach()"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, detach=False)


def topk_dead_explain_x(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours lets them explain x"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, what="x")


def topk_awake_explain_e(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours is made of the others"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, what="awake")


def topk_bias_twice(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours adds it to e_hat too"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead, again=1)


def topk_mean_of_everything(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours takes the mean over everything"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead) / x.shape[1]


def topk_as_a_number(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: no .item()"""
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead).item()


def topk_always_adds(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """wrong 9.3: yours adds |e|^2 / 32"""
    if dead.any():
        return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead)
    return topk(x, W_enc, b_enc, W_dec, b_dec, k, dead) * (1 + 1 / 32)


def topk_by_a_mask(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """right 9.3"""
    pre = torch.relu(x @ W_enc - b_dec @ W_enc + b_enc)

    def best(values, k):
        if k == 0:
            return values * 0
        mask = torch.zeros_like(values, dtype=torch.bool)
        mask.scatter_(-1, values.argsort(-1, descending=True)[:, :k], True)
        return values.masked_fill(~mask, 0)

    e = x - b_dec - best(pre, k) @ W_dec
    few = min(x.shape[1] // 2, int(dead.sum()))
    e_hat = best(pre.masked_fill(~dead, 0), few) @ W_dec
    aux = (e.detach() - e_hat).norm(dim=1).pow(2).mean() if few else 0
    return e.pow(2).sum() / len(x) + aux / 32


def topk_among_the_dead_alone(x, W_enc, b_enc, W_dec, b_dec, k, dead):
    """right 9.3"""
    pre = torch.relu((x - b_dec) @ W_enc + b_enc)
    values, at = pre.topk(k)
    e = x - torch.einsum("bk,bkd->bd", values, W_dec[at]) - b_dec
    loss = (e**2).sum(1).mean()
    if dead.any():
        late = pre[:, dead]
        values, at = late.topk(min(x.shape[1] // 2, late.shape[1]))
        e_hat = torch.einsum("bk,bkd->bd", values, W_dec[dead][at])
        loss = loss + ((e.detach() - e_hat) ** 2).sum(1).mean() / 32
    return loss


# ---- 9.4 -----------------------------------------------------------------------------------------


def splice_bos_too(x, encode, decode, edit=None, error=True, bos=False):
    """wrong 9.4: unless bos: yours changes it"""
    f = encode(x)
    return decode(edit(f) if edit else f) + error * (x - decode(f))


def splice_never_bos(x, encode, decode, edit=None, error=True, bos=False):
    """wrong 9.4: yours leaves it"""
    return spliced(x, encode, decode, edit, error, False)


def splice_undoes_the_edit(x, encode, decode, edit=None, error=True, bos=False):
    """wrong 9.4: not used, or undone"""
    f = encode(x)
    new = decode(edit(f) if edit else f)
    new = new + error * (x - new)
    return new if bos else torch.cat([x[:, :1], new[:, 1:]], 1)


def splice_without_error(x, encode, decode, edit=None, error=True, bos=False):
    """wrong 9.4: yours leaves it out"""
    return spliced(x, encode, decode, edit, False, bos)


def splice_always_with_error(x, encode, decode, edit=None, error=True, bos=False):
    """wrong 9.4: add nothing"""
    return spliced(x, encode, decode, edit, True, bos)


def splice_ignores_the_edit(x, encode, decode, edit=None, error=True, bos=False):
    """wrong 9.4: the edit is not used"""
    return spliced(x, encode, decode, None, error, bos)


def splice_cuts_bos_off(x, encode, decode, edit=None, error=True, bos=False):
    """wrong 9.4: leaves the first position out"""
    new = spliced(x, encode, decode, edit, error, bos)
    return new if bos else new[:, 1:]


def splice_in_place(x, encode, decode, edit=None, error=True, bos=False):
    """wrong 9.4: in place"""
    x[:] = spliced(x, encode, decode, edit, error, bos)
    return x


def spliced(x, encode, decode, edit=None, error=True, bos=False):
    """right 9.4"""
    f = encode(x)
    missed = error * (x - decode(f))
    new = decode(f if edit is None else edit(f)) + missed
    return new if bos else torch.cat([x[:, :1], new[:, 1:]], 1)


def splice_with_the_error_last(x, encode, decode, edit=None, error=True, bos=False):
    """wrong 9.4: take it first"""
    f = encode(x)
    new = decode(f if edit is None else edit(f)) + error * (x - decode(f))
    return new if bos else torch.cat([x[:, :1], new[:, 1:]], 1)


def splice_by_difference(x, encode, decode, edit=None, error=True, bos=False):
    """right 9.4"""
    out, start = x.clone(), 0 if bos else 1
    f = encode(x[:, start:])
    g = f if edit is None else edit(f.clone())
    if error:
        out[:, start:] += decode(g) - decode(f)
    else:
        out[:, start:] = decode(g)
    return out


# ---- 9.5 -----------------------------------------------------------------------------------------


def f1_turned(on, truth):
    """wrong 9.5: the other way round"""
    return f1(on, truth).T


def f1_halved(on, truth):
    """wrong 9.5: left out the 2"""
    return f1(on, truth) / 2


def f1_precision(on, truth):
    """wrong 9.5: yours is precision"""
    both = truth.float().T @ on.float()
    return both / on.sum(0).clamp(min=1)


def f1_recall(on, truth):
    """wrong 9.5: yours is recall"""
    both = truth.float().T @ on.float()
    return both / truth.sum(0)[:, None].clamp(min=1)


def f1_arithmetic(on, truth):
    """wrong 9.5: harmonic mean"""
    return (f1_precision(on, truth) + f1_recall(on, truth)) / 2


def f1_accuracy(on, truth):
    """wrong 9.5: most tokens have neither"""
    return torch.stack([(on == t[:, None]).float().mean(0) for t in truth.T])


def f1_jaccard(on, truth):
    """wrong 9.5: Jaccard's"""
    either = torch.stack([(on | t[:, None]).sum(0) for t in truth.T])
    return (truth.float().T @ on.float()) / either.clamp(min=1)


def f1_of_booleans(on, truth):
    """wrong 9.5: nan"""
    on, truth = on.float(), truth.float()
    return 2 * (truth.T @ on) / (truth.sum(0)[:, None] + on.sum(0))


def f1_by_precision_and_recall(on, truth):
    """right 9.5"""
    p, r = f1_precision(on, truth), f1_recall(on, truth)
    return torch.nan_to_num(2 * p * r / (p + r))


def f1_by_a_loop(on, truth):
    """right 9.5"""
    rows = []
    for there in truth.T:
        both = (on & there[:, None]).sum(0)
        wrong = (on ^ there[:, None]).sum(0)
        rows.append(2 * both / (2 * both + wrong).clamp(min=1))
    return torch.stack(rows)


# ---- 9.6 -----------------------------------------------------------------------------------------


def greedy(on, truth, enough=0.8):
    """wrong 9.6: yours found none"""
    chosen, said, best = [], torch.zeros_like(truth), 0.0
    while best < enough:
        scores = f1(on | said[:, None], truth[:, None])[0]
        if scores.max() <= best:
            return []
        chosen.append(int(scores.argmax()))
        best, said = scores.max().item(), said | on[:, chosen[-1]]
    return chosen


def the_best_alone(on, truth, enough=0.8):
    """wrong 9.6: the F1 should be at least"""
    return [int(f1(on, truth[:, None])[0].argmax())]


def all_that_are_precise(on, truth, enough=0.8):
    """wrong 9.6: stop once it is enough"""
    right = (on & truth[:, None]).sum(0) / on.sum(0).clamp(min=1)
    chosen = (right > 0.9).nonzero()[:, 0].tolist()
    return chosen if chosen and score(on, truth, chosen) >= enough else careful(on, truth, enough)


def by_their_own_f1(on, truth, enough=0.8):
    """wrong 9.6: is 0"""
    chosen = []
    for latent in f1(on, truth[:, None])[0].argsort(descending=True).tolist():
        chosen.append(latent)
        if score(on, truth, chosen) >= enough:
            return chosen
    return chosen


def found_none(on, truth, enough=0.8):
    """wrong 9.6: yours found none"""
    return []


def as_a_mask(on, truth, enough=0.8):
    """wrong 9.6: whole numbers"""
    chosen = careful(on, truth, enough)
    return [i in chosen for i in range(on.shape[1])]


def twice_over(on, truth, enough=0.8):
    """wrong 9.6: chosen twice"""
    return careful(on, truth, enough) * 2


def score(on, truth, chosen):
    """Score what any of the chosen says."""
    return f1(on[:, chosen].any(1, keepdim=True), truth[:, None]).item()


def careful(on, truth, enough=0.8):
    """right 9.6"""
    hits, alarms = (on & truth[:, None]).float(), (on & ~truth[:, None]).float()
    chosen, missing = [], truth.float()
    order = [i for i in range(on.shape[1]) if hits[:, i].sum() > 3 * alarms[:, i].sum()]
    while order:
        best = max(order, key=lambda i: float((hits[:, i] * missing).sum() - alarms[:, i].sum()))
        order.remove(best)
        chosen.append(best)
        missing = missing * (1 - hits[:, best])
        if score(on, truth, chosen) >= enough:
            return chosen
    return []


def backwards(on, truth, enough=0.8):
    """right 9.6"""
    right = (on & truth[:, None]).sum(0) / on.sum(0).clamp(min=1)
    chosen = (right > 0.7).nonzero()[:, 0].tolist()
    if not chosen or score(on, truth, chosen) < enough:
        return []
    while len(chosen) > 1:
        without = [[i for i in chosen if i != j] for j in chosen]
        best = max(without, key=lambda some: score(on, truth, some))
        if score(on, truth, best) < enough:
            break
        chosen = best
    return chosen


def what_covers_most(on, truth, enough=0.8):
    """right 9.6"""
    right = (on & truth[:, None]).sum(0) / on.sum(0).clamp(min=1)
    order, chosen, said = (right > 0.75).nonzero()[:, 0].tolist(), [], torch.zeros_like(truth)
    while order:
        best = max(order, key=lambda i: int((on[:, i] & truth & ~said).sum()))
        order.remove(best)
        chosen, said = [*chosen, best], said | on[:, best]
        if score(on, truth, chosen) >= enough:
            return chosen
    return []

"""Answers to lesson 04: wrong ones, with what a check must say of each, and right ones."""

import torch
import torch.nn.functional as F

from lessons.techniques.logit_lens import kl

# ---- 4.1 -----------------------------------------------------------------------------------------


def lens_without_norm(resid, ln, W_U):
    """wrong 4.1: unembeds it as it is"""
    return resid @ W_U


def lens_as_probabilities(resid, ln, W_U):
    """wrong 4.1: yours took a softmax"""
    return (ln(resid) @ W_U).softmax(-1)


def lens_as_log_probabilities(resid, ln, W_U):
    """wrong 4.1: log_softmax"""
    return (ln(resid) @ W_U).log_softmax(-1)


def lens_with_torchs_norm(resid, ln, W_U):
    """wrong 4.1: call it as a function"""
    return F.layer_norm(resid, resid.shape[-1:], eps=ln.eps) @ W_U


def lens_by_length(resid, ln, W_U):
    """wrong 4.1: only divides"""
    return resid / resid.std(-1, keepdim=True) @ W_U


def lens_norms_twice(resid, ln, W_U):
    """wrong 4.1: norms twice"""
    return ln(ln(resid)) @ W_U


def lens_with_the_last_divisor(resid, ln, W_U):
    """wrong 4.1: the numbers are not right"""
    centred = resid - resid.mean(-1, keepdim=True)
    last = centred.flatten(0, -2)[-1]
    return (centred / (last.pow(2).mean() + ln.eps).sqrt() * ln.w + ln.b) @ W_U


def lens_by_einsum(resid, ln, W_U):
    """right 4.1"""
    return torch.einsum("...d,dv->...v", ln(resid), W_U)


# ---- 4.2 -----------------------------------------------------------------------------------------


def settles_at_the_first(logits, answer):
    """wrong 4.2: stops at the first depth"""
    hits = (logits.argmax(-1) == answer).tolist()
    return hits.index(True) if True in hits else len(hits)


def settles_counts(logits, answer):
    """wrong 4.2: counts its first places"""
    return (logits.argmax(-1) == answer).sum()


def settles_counts_misses(logits, answer):
    """wrong 4.2: counts the depths where it is not first"""
    return len(logits) - int((logits.argmax(-1) == answer).sum())


def settles_for_word_two(logits, answer):
    """wrong 4.2: where word 0 is the first choice"""
    return settles_by_a_loop(logits, 2)


def settles_for_the_last_word(logits, answer):
    """wrong 4.2: settles(logits, 0)"""
    return settles_by_a_loop(logits, logits.shape[1] - 1)


def settles_above_zero(logits, answer):
    """wrong 4.2: settles"""
    hits = (logits[:, answer] > 0).tolist()
    return next((i for i in range(len(hits)) if all(hits[i:])), len(hits))


def settles_by_probability(logits, answer):
    """wrong 4.2: settles"""
    hits = (logits.softmax(-1)[:, answer] > 0.4).tolist()
    return next((i for i in range(len(hits)) if all(hits[i:])), len(hits))


def settles_among_the_two_best(logits, answer):
    """wrong 4.2: settles"""
    hits = (logits.topk(min(2, logits.shape[1])).indices == answer).any(-1).tolist()
    return next((i for i in range(len(hits)) if all(hits[i:])), len(hits))


def settles_from_the_end(logits, answer):
    """wrong 4.2: counts how many there are from there on"""
    hits = (logits.argmax(-1) == answer).tolist()
    return len(hits) if all(hits) else hits[::-1].index(False)


def settles_minus_one(logits, answer):
    """wrong 4.2: yours returns -1"""
    hits = (logits.argmax(-1) == answer).tolist()
    return next((i for i in range(len(hits)) if all(hits[i:])), -1)


def settles_at_the_last_anyway(logits, answer):
    """wrong 4.2: yours returns the last one"""
    hits = (logits.argmax(-1) == answer).tolist()
    return next((i for i in range(len(hits)) if all(hits[i:])), len(hits) - 1)


def settles_one_early(logits, answer):
    """wrong 4.2: the depth before"""
    hits = (logits.argmax(-1) == answer).tolist()
    return next((i for i in range(len(hits)) if all(hits[i:])), len(hits)) - 1


def settles_where_it_is_largest(logits, answer):
    """wrong 4.2: its own logit is largest"""
    return logits[:, answer].argmax().item() if logits[-1].argmax() == answer else len(logits)


def settles_by_a_loop(logits, answer):
    """right 4.2"""
    from_here = len(logits)
    for depth in reversed(range(len(logits))):
        if logits[depth].argmax().item() != answer:
            break
        from_here = depth
    return from_here


def settles_by_cumulated_hits(logits, answer):
    """right 4.2"""
    hits = (logits.argmax(-1) == answer).long().flip(0)
    return len(logits) - hits.cumprod(0).sum()


# ---- 4.3 -----------------------------------------------------------------------------------------


def shares_not_centred(post, W_out, scale, w, direction):
    """wrong 4.3: not centred"""
    return post / scale * (direction @ (W_out * w).T)


def shares_centred_over_neurons(post, W_out, scale, w, direction):
    """wrong 4.3: over neurons"""
    return post / scale * (direction @ ((W_out - W_out.mean(0)) * w).T)


def shares_centred_late(post, W_out, scale, w, direction):
    """wrong 4.3: centres afterwards"""
    rows = W_out * w
    return post / scale * (direction @ (rows - rows.mean(-1, keepdim=True)).T)


def shares_without_scale(post, W_out, scale, w, direction):
    """wrong 4.3: does not divide"""
    return post * (direction @ ((W_out - W_out.mean(-1, keepdim=True)) * w).T)


def shares_with_own_scale(post, W_out, scale, w, direction):
    """wrong 4.3: one of its own"""
    wrote = F.layer_norm(post[:, :, None] * W_out, w.shape, w)  # [b m d]
    return torch.einsum("bmd,bd->bm", wrote, direction)


def shares_without_w(post, W_out, scale, w, direction):
    """wrong 4.3: w is missing"""
    return post / scale * (direction @ (W_out - W_out.mean(-1, keepdim=True)).T)


def shares_without_post(post, W_out, scale, w, direction):
    """wrong 4.3: post is missing"""
    return (direction @ ((W_out - W_out.mean(-1, keepdim=True)) * w).T) / scale


def shares_absolute(post, W_out, scale, w, direction):
    """wrong 4.3: absolute"""
    return shares_by_einsum(post, W_out, scale, w, direction).abs()


def shares_summed(post, W_out, scale, w, direction):
    """wrong 4.3: added up"""
    return shares_by_einsum(post, W_out, scale, w, direction).sum(-1)


def shares_one_direction(post, W_out, scale, w, direction):
    """wrong 4.3: the first for all"""
    return shares_by_einsum(post, W_out, scale, w, direction[:1].expand_as(direction))


def shares_by_einsum(post, W_out, scale, w, direction):
    """right 4.3"""
    wrote = torch.einsum("bm,md->bmd", post, W_out)
    wrote = (wrote - wrote.mean(-1, keepdim=True)) / scale[:, None] * w
    return torch.einsum("bmd,bd->bm", wrote, direction)


def shares_by_folding(post, W_out, scale, w, direction):
    """right 4.3"""
    reader = direction * w  # [b d]
    reader = reader - reader.mean(-1, keepdim=True)  # centring the reader is centring what is read
    return post * (reader @ W_out.T) / scale


# ---- 4.4 -----------------------------------------------------------------------------------------


def kl_reversed(final, reading):
    """wrong 4.4: the other way round"""
    log_p, log_q = final.log_softmax(-1), reading.log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


def kl_as_cross_entropy(final, reading):
    """wrong 4.4: cross-entropy"""
    return -(final.softmax(-1) * reading.log_softmax(-1)).sum(-1)


def kl_in_bits(final, reading):
    """wrong 4.4: in bits"""
    log_p, log_q = final.log_softmax(-1), reading.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1) / torch.tensor(2.0).log()


def kl_by_torchs_default(final, reading):
    """wrong 4.4: averages over all"""
    return F.kl_div(reading.log_softmax(-1), final.softmax(-1), reduction="mean") * final.shape[-1]


def kl_mean_over_words(final, reading):
    """wrong 4.4: yours is their mean"""
    log_p, log_q = final.log_softmax(-1), reading.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).mean(-1)


def kl_softmax_then_log(final, reading):
    """wrong 4.4: softmax, then log"""
    p, q = final.softmax(-1), reading.softmax(-1)
    return (p * (p.log() - q.log())).sum(-1)


def kl_with_a_floor(final, reading):
    """wrong 4.4: the numbers are not right"""
    p, q = final.softmax(-1), reading.softmax(-1)
    return (p * ((p + 1e-9).log() - (q + 1e-9).log())).sum(-1)


def kl_of_each_word(final, reading):
    """wrong 4.4: not summed"""
    log_p, log_q = final.log_softmax(-1), reading.log_softmax(-1)
    return log_p.exp() * (log_p - log_q)


def kl_wrong_sign(final, reading):
    """wrong 4.4: the sign"""
    log_p, log_q = final.log_softmax(-1), reading.log_softmax(-1)
    return (log_p.exp() * (log_q - log_p)).sum(-1)


def kl_by_torch(final, reading):
    """right 4.4"""
    log_p, log_q = final.log_softmax(-1), reading.log_softmax(-1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def kl_by_logsumexp(final, reading):
    """right 4.4"""
    log_p = final - final.logsumexp(-1, keepdim=True)
    log_q = reading - reading.logsumexp(-1, keepdim=True)
    return torch.einsum("...v,...v->...", log_p.exp(), log_p - log_q)


# ---- 4.5 -----------------------------------------------------------------------------------------


def fitted(
    stream, final, read, steps, lr, batch, seed, rate=None, loss=None, start=1.0, learn="Ab"
):
    """Fit as it should be, with one thing to be changed."""
    draw = torch.Generator().manual_seed(seed)
    A = (start * torch.eye(stream.shape[-1])).requires_grad_("A" in learn)
    b = torch.zeros(stream.shape[-1]).requires_grad_("b" in learn)
    adam = torch.optim.Adam([x for x in (A, b) if x.requires_grad], lr)
    with torch.enable_grad():
        for step in range(steps):
            adam.param_groups[0]["lr"] = rate(step) if rate else lr * (1 - step / steps)
            rows = torch.randint(len(stream), (batch,), generator=draw)
            reading = read(stream[rows] @ A + b)
            (loss(final[rows], reading) if loss else kl(final[rows], reading).mean()).backward()
            adam.step()
            adam.zero_grad()
    return A.detach(), b.detach()


def fit_with_gradients_off(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: torch.enable_grad()"""
    A = torch.eye(stream.shape[-1]).requires_grad_()
    b = torch.zeros(stream.shape[-1]).requires_grad_()
    adam = torch.optim.Adam([A, b], lr)
    for _ in range(steps):
        kl(final, read(stream @ A + b)).mean().backward()
        adam.step()
    return A.detach(), b.detach()


def fit_from_zero(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: with lr=0 nothing is learned"""
    return fitted(stream, final, read, steps, lr, batch, seed, start=0.0)


def fit_at_one_rate(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: yours stays lr"""
    return fitted(stream, final, read, steps, lr, batch, seed, rate=lambda step: lr)


def fit_down_to_nothing(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: reaches 0 at the last"""
    late = lambda step: lr * (1 - (step + 1) / steps)  # noqa: E731
    return fitted(stream, final, read, steps, lr, batch, seed, rate=late)


def fit_the_wrong_way(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: yours climbs"""
    climb = lambda final, reading: -kl(final, reading).mean()  # noqa: E731
    return fitted(stream, final, read, steps, lr, batch, seed, loss=climb)


def fit_reversed_kl(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: in this order"""
    back = lambda final, reading: kl(reading, final).mean()  # noqa: E731
    return fitted(stream, final, read, steps, lr, batch, seed, loss=back)


def fit_without_b(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: b is to be learned too"""
    return fitted(stream, final, read, steps, lr, batch, seed, learn="A")


def fit_without_A(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: A is to be learned too"""
    return fitted(stream, final, read, steps, lr, batch, seed, learn="b")


def fit_transposed(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: the other way round"""
    A, b = fitted(stream, final, read, steps, lr, batch, seed)
    return A.T, b


def fit_on_the_first_examples(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: yours always uses the same 10"""
    return fitted(stream[:batch], final[:batch], read, steps, lr, batch, seed)


def fit_one_batch_drawn_before(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: yours always uses the same"""
    rows = torch.randint(len(stream), (batch,), generator=torch.Generator().manual_seed(seed))
    return fitted(stream[rows], final[rows], read, steps, lr, batch, seed)


def fit_seeds_each_step(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: yours always uses the same"""
    A = torch.eye(stream.shape[-1]).requires_grad_()
    b = torch.zeros(stream.shape[-1]).requires_grad_()
    adam = torch.optim.Adam([A, b], lr)
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * (1 - step / steps)
        draw = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(stream), (batch,), generator=draw)
        with torch.enable_grad():
            adam.zero_grad()
            kl(final[rows], read(stream[rows] @ A + b)).mean().backward()
        adam.step()
    return A.detach(), b.detach()


def fit_on_all_but_the_last(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: never drew 1 of them"""
    few = max(1, len(stream) - 1)
    return fitted(stream[:few], final[:few], read, steps, lr, batch, seed)


def fit_with_a_fixed_batch(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: each step takes 10 examples"""
    return fitted(stream, final, read, steps, lr, 512, seed)


def fit_with_one_seed(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: does not use `seed`"""
    return fitted(stream, final, read, steps, lr, batch, 0)


def fit_squared_error(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: squared distance"""
    far = lambda final, reading: (reading - final).pow(2).mean()  # noqa: E731
    return fitted(stream, final, read, steps, lr, batch, seed, loss=far)


def fit_with_a_new_adam_each_step(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: yours is a new one at each step"""
    draw = torch.Generator().manual_seed(seed)
    A, b = torch.eye(stream.shape[-1]), torch.zeros(stream.shape[-1])
    for step in range(steps):
        A, b = A.detach().requires_grad_(), b.detach().requires_grad_()
        adam = torch.optim.Adam([A, b], lr * (1 - step / steps))
        rows = torch.randint(len(stream), (batch,), generator=draw)
        with torch.enable_grad():
            kl(final[rows], read(stream[rows] @ A + b)).mean().backward()
        adam.step()
    return A.detach(), b.detach()


def fit_by_a_list_of_rates(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """right 4.5"""
    rates = torch.linspace(lr, lr / steps, steps).tolist()
    return fitted(stream, final, read, steps, lr, batch, seed, rate=lambda step: rates[step])


def fit_reads_all_and_picks(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """right 4.5"""
    draw = torch.Generator().manual_seed(seed)
    A = torch.eye(stream.shape[-1], requires_grad=True)
    b = torch.zeros(stream.shape[-1], requires_grad=True)
    adam = torch.optim.Adam([A, b], lr)
    for rate in torch.linspace(lr, lr / steps, steps).tolist():
        adam.param_groups[0]["lr"] = rate
        rows = torch.randperm(len(stream), generator=draw)[:batch]
        with torch.enable_grad():
            cost = kl(final, read(stream @ A + b))  # of all: slow, and the same
            adam.zero_grad()
            cost[rows].mean().backward()
        adam.step()
    return A.detach(), b.detach()


def fit_unseeded(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: same seed"""
    return fitted(stream, final, read, steps, lr, batch, int(torch.randint(1000, ())))


def fit_keeps_its_gradients(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """wrong 4.5: detach"""
    return tuple(x.requires_grad_() for x in fitted(stream, final, read, steps, lr, batch, seed))


def fit_by_cross_entropy(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """right 4.5"""

    def loss(final, reading):  # differs from KL by what no lens can change
        return F.cross_entropy(reading, final.softmax(-1))

    return fitted(stream, final, read, steps, lr, batch, seed, loss=loss)


def fit_by_a_module(stream, final, read, steps, lr=0.01, batch=512, seed=0):
    """right 4.5"""
    d, draw = stream.shape[-1], torch.Generator().manual_seed(seed)
    layer = torch.nn.Linear(d, d)
    layer.weight.data, layer.bias.data = torch.eye(d), torch.zeros(d)
    adam = torch.optim.Adam(layer.parameters(), lr)
    fall = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / max(1, steps))
    with torch.enable_grad():
        for _ in range(steps):
            rows = torch.randperm(len(stream), generator=draw)[:batch]
            adam.zero_grad()
            kl(final[rows], read(layer(stream[rows]))).mean().backward()
            adam.step()
            fall.step()
    return layer.weight.detach().T.clone(), layer.bias.detach()


# ---- 4.6 -----------------------------------------------------------------------------------------


def rewrite_by_gain_alone(fall, lead, keep=0.5):
    """wrong 4.6: each of the others must keep 0.5"""
    chosen, left = [], float(lead[0])
    for m in fall[0].argsort(descending=True).tolist():
        if left >= 0:
            chosen.append(m)
            left -= float(fall[0, m])
    return chosen


def rewrite_one_short(fall, lead, keep=0.5):
    """wrong 4.6: must get below 0"""
    return rewrite_by_ratio(fall, lead, keep)[:-1] or [0]


def rewrite_twice(fall, lead, keep=0.5):
    """wrong 4.6: chosen twice"""
    gentle = (fall[1:] < 0.3 * lead[1:, None]).all(0)
    best = int(fall[0].masked_fill(~gentle, 0).argmax())
    return [best] * (int(lead[0] / fall[0, best]) + 1)


def rewrite_with_half(fall, lead, keep=0.5):
    """wrong 4.6: must keep 0.9"""
    return rewrite_by_ratio(fall, lead, 0.5)


def rewrite_everything_harmless(fall, lead, keep=0.5):
    """wrong 4.6: stop as soon as"""
    return rewrite_by_ratio(fall, lead, keep) and harmless(fall, lead, keep)


def harmless(fall, lead, keep):
    """Choose as many as the others can bear, from those that gain least to those that gain most."""
    chosen, left = [], lead.clone()
    for m in fall[0].argsort().tolist():
        after = left - fall[:, m]
        if fall[0, m] > 0 and (after[1:] >= keep * lead[1:]).all():
            chosen, left = [*chosen, m], after
    return chosen


def rewrite_gives_up(fall, lead, keep=0.5):
    """wrong 4.6: yours found none"""
    return []


def rewrite_as_mask(fall, lead, keep=0.5):
    """wrong 4.6: whole numbers"""
    chosen = rewrite_by_ratio(fall, lead, keep)
    return [m in chosen for m in range(fall.shape[1])]


def rewrite_whatever_it_takes(fall, lead, keep=0.5):
    """wrong 4.6: each of the others must keep"""
    return rewrite_by_ratio(fall, lead, keep) or rewrite_by_gain_alone(fall, lead)


def rewrite_by_ratio(fall, lead, keep=0.5):
    """right 4.6"""
    chosen, left, n = [], lead.clone(), fall.shape[1]
    while left[0] >= 0:
        room = left[1:] - keep * lead[1:]
        fits = [m for m in range(n) if m not in chosen and (fall[1:, m] <= room).all()]
        fits = [m for m in fits if fall[0, m] > 0]
        if not fits:
            return []
        chosen.append(max(fits, key=lambda m: float(fall[0, m])))
        left = left - fall[:, chosen[-1]]
    return chosen


def rewrite_gently(fall, lead, keep=0.5):
    """wrong 4.6: take those that gain most first"""
    harm = (fall[1:] / lead[1:, None]).clamp(min=0).amax(0)  # [m]
    order = (fall[0] / lead[0] - harm).argsort(descending=True).tolist()
    chosen, left = [], lead.clone()
    for m in order:
        after = left - fall[:, m]
        if left[0] >= 0 and fall[0, m] > 0 and (after[1:] >= keep * lead[1:]).all():
            chosen, left = [*chosen, m], after
    return chosen if left[0] < 0 else []


def rewrite_by_gain_less_harm(fall, lead, keep=0.5):
    """wrong 4.6: take those that gain most first"""
    cost = fall[1:].clamp(min=0).div(lead[1:, None]).amax(0)  # [m]
    chosen, left = [], lead.clone()
    for m in (fall[0] - cost * lead[0]).argsort(descending=True).tolist():
        after = left - fall[:, m]
        if left[0] >= 0 and (after[1:] >= keep * lead[1:]).all():
            chosen, left = [*chosen, m], after
    return chosen if left[0] < 0 else []


def rewrite_each_for_itself(fall, lead, keep=0.5):
    """wrong 4.6: when all that you chose are told"""
    safe = (lead[1:, None] - fall[1:] >= keep * lead[1:, None]).all(0)  # [m]
    chosen, left = [], float(lead[0])
    for m in fall[0].masked_fill(~safe, 0).argsort(descending=True).tolist():
        if left >= 0 and safe[m] and fall[0, m] > 0:
            chosen.append(m)
            left -= float(fall[0, m])
    return chosen if left < 0 else []


def rewrite_stops_at_zero(fall, lead, keep=0.5):
    """wrong 4.6: must get below 0"""
    chosen, left = [], lead.clone()
    for m in fall[0].argsort(descending=True).tolist():
        after = left - fall[:, m]
        if left[0] > 0 and fall[0, m] > 0 and (after[1:] >= keep * lead[1:]).all():
            chosen, left = [*chosen, m], after
    return chosen if left[0] <= 0 else []


def rewrite_in_order(fall, lead, keep=0.5):
    """right 4.6"""
    chosen, left = [], lead.clone()
    for m in fall[0].argsort(descending=True).tolist():
        after = left - fall[:, m]
        if left[0] >= 0 and fall[0, m] > 0 and (after[1:] >= keep * lead[1:]).all():
            chosen, left = [*chosen, m], after
    return chosen if left[0] < 0 else []


def rewrite_with_an_eye_on_room(fall, lead, keep=0.5):
    """right 4.6"""
    chosen, left = [], lead.clone()
    while left[0] >= 0:
        room = (left[1:] - keep * lead[1:]).clamp(min=1e-6)
        use = (fall[1:].clamp(min=0) / room[:, None]).amax(0)  # [m], the share of the least room
        worth = (fall[0] / lead[0] - 0.05 * use).masked_fill((use > 1) | (fall[0] <= 0), -9)
        worth[chosen] = -9
        if worth.max() <= -9:
            return []
        chosen.append(int(worth.argmax()))
        left = left - fall[:, chosen[-1]]
    return chosen

"""Answers to lesson 10: wrong ones, with what a check must say of each, and right ones."""

import torch
from torch.nn.functional import softplus

# ---- 10.1 ----------------------------------------------------------------------------------------


def worst_group_all(right, label, gender):
    """wrong 10.1: accuracy of all"""
    return right.float().mean().item()


def worst_group_of_two(right, label, gender):
    """wrong 10.1: where they agree and where not"""
    agree = label == gender
    return min(right[at].float().mean().item() for at in (agree, ~agree) if at.any())


def worst_group_of_labels(right, label, gender):
    """wrong 10.1: the two labels"""
    return min(right[at].float().mean().item() for at in (label, ~label) if at.any())


def worst_group_of_genders(right, label, gender):
    """wrong 10.1: the two genders"""
    return min(right[at].float().mean().item() for at in (gender, ~gender) if at.any())


def worst_group_empty_is_zero(right, label, gender):
    """wrong 10.1: counts as 0"""
    groups = [(label == a) & (gender == b) for a in (False, True) for b in (False, True)]
    return min(right[at].float().sum().item() / max(1, int(at.sum())) for at in groups)


def worst_group_mean(right, label, gender):
    """wrong 10.1: the mean of the groups"""
    groups = [(label == a) & (gender == b) for a in (False, True) for b in (False, True)]
    shares = [right[at].float().mean().item() for at in groups if at.any()]
    return sum(shares) / len(shares)


def worst_group_share_of_all(right, label, gender):
    """wrong 10.1: divided by all"""
    groups = [(label == a) & (gender == b) for a in (False, True) for b in (False, True)]
    return min((right & at).float().mean().item() for at in groups if at.any())


def worst_group_without_nobody(right, label, gender):
    """wrong 10.1: leaves out label False, gender False"""
    kinds = [(0, 1), (1, 0), (1, 1)]
    groups = [(label == a) & (gender == b) for a, b in kinds]
    return min(right[at].float().mean().item() for at in groups if at.any())


def worst_group_without_men_of_the_second_job(right, label, gender):
    """wrong 10.1: leaves out label True, gender False"""
    kinds = [(0, 0), (0, 1), (1, 1)]
    groups = [(label == a) & (gender == b) for a, b in kinds]
    return min(right[at].float().mean().item() for at in groups if at.any())


def worst_group_unguarded(right, label, gender):
    """wrong 10.1: nan"""
    groups = [(label == a) & (gender == b) for a in (False, True) for b in (False, True)]
    return min(right[at].float().mean().item() for at in groups)


def worst_group_by_number(right, label, gender):
    """right 10.1"""
    group = label.long() * 2 + gender.long()
    hits = torch.zeros(4).index_add(0, group, right.float())
    return (hits / torch.bincount(group, minlength=4)).nan_to_num(nan=2.0).min().item()


# ---- 10.2 ----------------------------------------------------------------------------------------


def put_without_error(x, f, W_dec, latents, to):
    """wrong 10.2: lost it"""
    code = f.clone()
    code[..., latents] = to[latents]
    return code @ W_dec


def put_at_zero(x, f, W_dec, latents, to):
    """wrong 10.2: yours go to 0"""
    return x - f[..., latents] @ W_dec[latents]


def put_on_top(x, f, W_dec, latents, to):
    """wrong 10.2: added to them"""
    return x + to[latents] @ W_dec[latents]


def put_backwards(x, f, W_dec, latents, to):
    """wrong 10.2: the other way round"""
    return x - (to[latents] - f[..., latents]) @ W_dec[latents]


def put_all(x, f, W_dec, latents, to):
    """wrong 10.2: moves all"""
    return x + (to - f) @ W_dec


def put_first_rows(x, f, W_dec, latents, to):
    """wrong 10.2: takes the first rows"""
    return x + (to[latents] - f[..., latents]) @ W_dec[: len(latents)]


def put_in_place(x, f, W_dec, latents, to):
    """wrong 10.2: in place"""
    x += (to[latents] - f[..., latents]) @ W_dec[latents]
    return x


def put_in_the_code(x, f, W_dec, latents, to):
    """wrong 10.2: in place"""
    before = f @ W_dec
    f[..., latents] = to[latents]
    return x - before + f @ W_dec


def put_by_two_decodings(x, f, W_dec, latents, to):
    """right 10.2"""
    code = f.clone()
    code[..., latents] = to[latents]
    return code @ W_dec + (x - f @ W_dec)


# ---- 10.3 ----------------------------------------------------------------------------------------


def slopes_at(score, at):
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        return torch.autograd.grad(score(at).sum(), at)[0]


def integrated_at_the_end(score, f, base, steps):
    """wrong 10.3: the slope at its end"""
    return slopes_at(score, f) * (f - base)


def integrated_at_the_start(score, f, base, steps):
    """wrong 10.3: the slope at its start"""
    return slopes_at(score, base.expand_as(f)) * (f - base)


def integrated_times_f(score, f, base, steps):
    """wrong 10.3: yours is times f"""
    points = [base + (i + 0.5) / steps * (f - base) for i in range(steps)]
    return sum(slopes_at(score, at) for at in points) / steps * f


def integrated_no_way(score, f, base, steps):
    """wrong 10.3: the slope alone"""
    points = [base + (i + 0.5) / steps * (f - base) for i in range(steps)]
    return sum(slopes_at(score, at) for at in points) / steps


def integrated_sum(score, f, base, steps):
    """wrong 10.3: yours is their sum"""
    points = [base + (i + 0.5) / steps * (f - base) for i in range(steps)]
    return sum(slopes_at(score, at) for at in points) * (f - base)


def integrated_from_the_left(score, f, base, steps):
    """wrong 10.3: yours is its start"""
    points = [base + i / steps * (f - base) for i in range(steps)]
    return sum(slopes_at(score, at) for at in points) / steps * (f - base)


def integrated_to_the_right(score, f, base, steps):
    """wrong 10.3: yours is its end"""
    points = [base + (i + 1) / steps * (f - base) for i in range(steps)]
    return sum(slopes_at(score, at) for at in points) / steps * (f - base)


def integrated_with_both_ends(score, f, base, steps):
    """wrong 10.3: both ends of the way"""
    points = torch.linspace(0, 1, steps)
    slopes = [slopes_at(score, base + a * (f - base)) for a in points]
    return sum(slopes) / steps * (f - base)


def integrated_by_f(score, f, base, steps):
    """wrong 10.3: by the point on the way"""
    with torch.enable_grad():
        f = f.clone().requires_grad_()
        points = [base + (i + 0.5) / steps * (f - base) for i in range(steps)]
        (slope,) = torch.autograd.grad(sum(score(at).sum() for at in points), f)
    return (slope / steps * (f - base)).detach()


def integrated_never_cleared(score, f, base, steps):
    """wrong 10.3: not cleared"""
    total, f = torch.zeros_like(f), f.clone().requires_grad_()
    for i in range(steps):
        with torch.enable_grad():
            score(base + (i + 0.5) / steps * (f - base)).sum().backward()
        total += f.grad
    return total / steps * (f - base).detach()


def integrated_of_the_mean_score(score, f, base, steps):
    """wrong 10.3: the slope of their mean"""
    points = [base + (i + 0.5) / steps * (f - base) for i in range(steps)]
    return sum(slopes_at(score, at) for at in points) / steps / len(f) * (f - base)


def integrated_from_zero(score, f, base, steps):
    """wrong 10.3: yours starts at 0"""
    return sum(slopes_at(score, (i + 0.5) / steps * f) for i in range(steps)) / steps * f


def integrated_gradients_off(score, f, base, steps):
    """wrong 10.3: gradients off"""
    total = torch.zeros_like(f)
    for i in range(steps):
        at = (base + (i + 0.5) / steps * (f - base)).requires_grad_()
        total += torch.autograd.grad(score(at).sum(), at)[0]
    return total / steps * (f - base)


def integrated_all_at_once(score, f, base, steps):
    """right 10.3"""
    a = (torch.arange(steps) + 0.5)[:, None, None] / steps
    points = (base + a * (f - base)).flatten(0, 1)  # [s*b f]
    return slopes_at(score, points).view(steps, *f.shape).mean(0) * (f - base)


# ---- 10.4 ----------------------------------------------------------------------------------------


def leaning_nan(f, one, other):
    """wrong 10.4: leans nowhere"""
    a, b = f[one].mean(0), f[other].mean(0)
    return (a - b) / (a + b)


def leaning_sums(f, one, other):
    """wrong 10.4: yours is a sum"""
    a, b = f[one].sum(0), f[other].sum(0)
    return ((a - b) / (a + b)).nan_to_num()


def leaning_of_all_tokens(f, one, other):
    """wrong 10.4: divided by the number of all"""
    a, b = (f * one[:, None]).mean(0), (f * other[:, None]).mean(0)
    return ((a - b) / (a + b)).nan_to_num()


def leaning_difference(f, one, other):
    """wrong 10.4: not divided"""
    return f[one].mean(0) - f[other].mean(0)


def leaning_how_often(f, one, other):
    """wrong 10.4: counts how often"""
    a, b = (f[one] > 0).float().mean(0), (f[other] > 0).float().mean(0)
    return ((a - b) / (a + b)).nan_to_num()


def leaning_backwards(f, one, other):
    """wrong 10.4: the other sign"""
    a, b = f[one].mean(0), f[other].mean(0)
    return ((b - a) / (a + b)).nan_to_num()


def leaning_share(f, one, other):
    """wrong 10.4: from 0 to 1"""
    a, b = f[one].mean(0), f[other].mean(0)
    return (a / (a + b)).nan_to_num()


def leaning_all_others(f, one, other):
    """wrong 10.4: yours takes all that are not"""
    a, b = f[one].mean(0), f[~one].mean(0)
    return ((a - b) / (a + b)).nan_to_num()


def leaning_by_weights(f, one, other):
    """right 10.4"""
    kinds = torch.stack([one / one.sum(), other / other.sum()])  # [2 n]
    a, b = kinds @ f
    return ((a - b) / (a + b)).nan_to_num()


# ---- 10.5 ----------------------------------------------------------------------------------------


def matched_themselves(size, chosen):
    """wrong 10.5: must not hold what it is a control of"""
    taken = []
    for latent in chosen:
        far = (size - size[latent]).abs()
        far[taken] = torch.inf
        taken.append(int(far.argmin()))
    return taken


def matched_twice(size, chosen):
    """wrong 10.5: taken twice"""
    free = size.clone()
    free[chosen] = torch.inf
    return [int((free - size[latent]).abs().argmin()) for latent in chosen]


def matched_largest(size, chosen):
    """wrong 10.5: the nearest that is free"""
    return [i for i in size.argsort(descending=True).tolist() if i not in chosen][: len(chosen)]


def matched_random(size, chosen):
    """wrong 10.5: the nearest that is free"""
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(len(size), generator=draw).tolist()
    return [i for i in order if i not in chosen][: len(chosen)]


def matched_from_above(size, chosen):
    """wrong 10.5: the nearest that is free"""
    taken = []
    for latent in chosen:
        free = [i for i in range(len(size)) if i not in chosen and i not in taken]
        over = [i for i in free if size[i] >= size[latent]] or free
        taken.append(min(over, key=lambda i: abs(float(size[i] - size[latent]))))
    return taken


def matched_sorted(size, chosen):
    """wrong 10.5: in order"""
    taken = []
    for latent in chosen:
        free = [i for i in range(len(size)) if i not in chosen and i not in taken]
        taken.append(min(free, key=lambda i: abs(float(size[i] - size[latent]))))
    return sorted(taken)


def matched_appended(size, chosen):
    """wrong 10.5: in place (chosen)"""
    taken = []
    for latent in [*chosen]:
        far = (size - size[latent]).abs()
        far[chosen] = torch.inf
        taken.append(int(far.argmin()))
        chosen.append(taken[-1])
    return taken


def matched_as_a_loop(size, chosen):
    """right 10.5"""
    free, taken = {*range(len(size))} - {*chosen}, []
    for latent in chosen:
        taken.append(min(sorted(free), key=lambda i: abs(float(size[i]) - float(size[latent]))))
        free.remove(taken[-1])
    return taken


# ---- 10.6 ----------------------------------------------------------------------------------------


def choose_largest(shares, logit, label, most):
    """wrong 10.6: helps the right label in all groups"""
    return shares.abs().mean(0).argsort(descending=True)[:most].tolist()


def choose_what_helps(shares, logit, label, most):
    """wrong 10.6: helps the right label in all groups"""
    sign = label * 2.0 - 1
    return (shares * sign[:, None]).mean(0).argsort(descending=True)[:most].tolist()


def choose_none(shares, logit, label, most):
    """wrong 10.6: until several are gone"""
    return []


def choose_while_the_worst_group_rises(shares, logit, label, most):
    """wrong 10.6: until several are gone"""
    sign, gone = label * 2.0 - 1, []
    worst = lambda gone: (  # noqa: E731
        ((logit - shares[:, gone].sum(1)) * sign > 0).float().view(4, -1).mean(1).min().item()
    )
    while len(gone) < most:
        free = [i for i in range(shares.shape[1]) if i not in gone]
        best = max(free, key=lambda i: worst([*gone, i]))
        if worst([*gone, best]) <= worst(gone):
            break
        gone.append(best)
    return gone


def choose_too_many(shares, logit, label, most):
    """wrong 10.6: at most"""
    sign = label * 2.0 - 1
    return (shares * sign[:, None]).mean(0).argsort()[: most + 1].tolist()


def choose_the_same_again(shares, logit, label, most):
    """wrong 10.6: each latent once"""
    sign = label * 2.0 - 1
    cost = softplus(-sign[:, None] * (logit[:, None] - shares)).mean(0)
    return [int(cost.argmin())] * most


def choose_by_the_familiar(shares, logit, label, most):
    """wrong 10.6: helps the right label in all groups"""
    quarter = len(label) // 4
    agree = torch.cat([torch.arange(quarter), torch.arange(3 * quarter, 4 * quarter)])
    sign = label * 2.0 - 1
    return (shares * sign[:, None])[agree].mean(0).argsort(descending=True)[:most].tolist()


def choose_by_the_unfamiliar(shares, logit, label, most):
    """wrong 10.6: look again after each"""
    quarter = len(label) // 4
    sign = (label * 2.0 - 1)[:, None]
    order = (shares * sign)[quarter : 3 * quarter].mean(0).argsort()
    return order[:most].tolist()


def choose_one_too_few(shares, logit, label, most):
    """wrong 10.6: one more would help"""
    sign, gone = label * 2.0 - 1, []
    while len(gone) < max(1, most - 1):
        cost = softplus(-sign[:, None] * (logit[:, None] - shares)).mean(0)
        cost[gone] = torch.inf
        gone.append(int(cost.argmin()))
        logit = logit - shares[:, gone[-1]]
    return gone


def choose_by_accuracy_and_margin(shares, logit, label, most):
    """right 10.6"""
    sign, gone = label * 2.0 - 1, []
    for _ in range(most):
        margins = sign[:, None] * (logit[:, None] - shares)  # [b f]
        score = margins.clamp(max=1).view(4, -1, shares.shape[1]).mean(1).min(0).values
        score[gone] = -torch.inf
        now = (sign * logit).clamp(max=1).view(4, -1).mean(1).min()
        best = int(score.argmax())
        if score[best] <= now:
            break
        gone.append(best)
        logit = logit - shares[:, best]
    return gone


def choose_the_best_beginning(shares, logit, label, most):
    """right 10.6"""
    sign = label * 2.0 - 1
    quarter = len(label) // 4
    harm = (shares * sign[:, None])[quarter : 3 * quarter].mean(0).argsort().tolist()

    def lowest(gone):
        margins = sign * (logit - shares[:, gone].sum(1))
        return (margins > 0).float().view(4, -1).mean(1).min() + 1e-3 * margins.min()

    return max((harm[:n] for n in range(most + 1)), key=lowest)


def choose_in_one_go(shares, logit, label, most):
    """wrong 10.6: look again after each"""
    sign = label * 2.0 - 1
    before = softplus(-sign * logit).mean()
    cost = softplus(-sign[:, None] * (logit[:, None] - shares)).mean(0)
    return [i for i in cost.argsort().tolist() if cost[i] < before][:most]

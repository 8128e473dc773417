"""Answers to lesson 08: wrong ones, with what a check must say of each, and right ones."""

import torch
import torch.nn.functional as F

# ---- 8.1 -----------------------------------------------------------------------------------------


def difference_reversed(x, y):
    """wrong 8.1: the other way round"""
    return x[~y].mean(0) - x[y].mean(0)


def difference_of_sums(x, y):
    """wrong 8.1: one of sums"""
    return x[y].sum(0) - x[~y].sum(0)


def difference_of_parts_of_all(x, y):
    """wrong 8.1: its own tokens"""
    return (x * torch.where(y, 1.0, -1.0)[:, None]).mean(0)


def difference_of_the_first(x, y):
    """wrong 8.1: the numbers are not right"""
    k = int(y.sum())
    return x[:k].mean(0) - x[k:].mean(0)


def difference_from_all(x, y):
    """wrong 8.1: takes off the mean of all"""
    return x[y].mean(0) - x.mean(0)


def difference_of_length_1(x, y):
    """wrong 8.1: yours has length 1"""
    return F.normalize(x[y].mean(0) - x[~y].mean(0), dim=0)


def difference_of_numbers(x, y):
    """wrong 8.1: one number"""
    return x[y].mean() - x[~y].mean()


def difference_over_dimensions(x, y):
    """wrong 8.1: shape"""
    return x[y].mean(-1).sum() - x[~y].mean(-1)


def difference_by_weights(x, y):
    """right 8.1"""
    yes, no = y.to(x), (~y).to(x)
    return (yes / yes.sum() - no / no.sum()) @ x


# ---- 8.2 -----------------------------------------------------------------------------------------


def newton(x, y, penalty, steps, on_b=0.0, weigh=True, mean=True, sign=-1, bias=True, each=1.0,
           part=1.0, renew=True):  # fmt: skip
    """Fit as it should be, with one thing to be changed."""
    z = torch.cat([x, torch.full_like(x[:, :1], float(bias))], 1)
    rest = torch.full_like(z[0], penalty * each)
    rest[-1] = on_b if bias else 1.0
    wb, n = torch.zeros_like(z[0]), len(z) if mean else 1
    for step in range(steps):
        p = (z @ wb).sigmoid()
        weight = p * (1 - p) if weigh else torch.ones_like(p)
        if renew or not step:
            H = (z * weight[:, None]).T @ z / n + rest.diag()
        wb = wb + sign * torch.linalg.solve(H, z.T @ (p - y.to(p)) / n + part * rest * wb)
    return wb[:-1], wb[-1]


def logistic_penalises_b(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: b is not penalised"""
    return newton(x, y, penalty, steps, on_b=penalty)


def logistic_penalises_b_late(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: b is not penalised"""
    return newton(x, y, penalty, steps, on_b=penalty if steps > 1 else 0.0)


def logistic_weighs_nothing(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: p (1 - p)"""
    return newton(x, y, penalty, steps, weigh=False)


def logistic_climbs(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: the other way"""
    return newton(x, y, penalty, steps, sign=1)


def logistic_of_the_opposite(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: the other way"""
    return newton(x, ~y, penalty, steps)


def logistic_of_one_H(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: H changes with p"""
    return newton(x, y, penalty, steps, renew=False)


def logistic_with_its_own_penalty(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: always 0.001"""
    return newton(x, y, 1e-3, steps)


def logistic_with_another_penalty(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: always 0.1"""
    return newton(x, y, 0.1, steps)


def logistic_with_half_the_penalty(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: half as much"""
    return newton(x, y, penalty, steps, each=0.5)


def logistic_with_no_penalty_in_g(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: has a part in g"""
    return newton(x, y, penalty, steps, part=0.0)


def logistic_to_the_end(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: where the fit ends"""
    return newton(x, y, penalty, 30)


def logistic_in_32_bits(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: float64"""
    return newton(x.float(), y, penalty, steps)


def logistic_by_the_gradient(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: goes along the gradient"""
    z = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    wb = torch.zeros_like(z[0])
    for _ in range(steps):
        p = (z @ wb).sigmoid()
        g = z.T @ (p - y.to(p)) / len(z)
        g[:-1] += penalty * wb[:-1]
        wb = wb - g
    return wb[:-1], wb[-1]


def logistic_of_one_step(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: yours stops after one"""
    return newton(x, y, penalty, 1)


def logistic_without_b(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: the probe has a b"""
    return newton(x, y, penalty, steps, bias=False)


def logistic_of_sums(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: yours are sums"""
    return newton(x, y, penalty, steps, mean=False)


def logistic_as_one_vector(x, y, penalty=1e-3, steps=12):
    """wrong 8.2: two things"""
    return torch.cat([v.reshape(-1) for v in newton(x, y, penalty, steps)])


def logistic_by_autograd(x, y, penalty=1e-3, steps=12):
    """right 8.2"""

    def cost(wb):
        signed = torch.where(y, 1.0, -1.0).to(x) * (x @ wb[:-1] + wb[-1])
        return F.softplus(-signed).mean() + penalty / 2 * (wb[:-1] ** 2).sum()

    wb = torch.zeros(x.shape[1] + 1, dtype=x.dtype)
    with torch.enable_grad():
        for _ in range(steps):
            H = torch.autograd.functional.hessian(cost, wb)
            g = torch.autograd.functional.jacobian(cost, wb)
            wb = wb - torch.linalg.inv(H) @ g
    return wb[:-1], wb[-1].item()


# ---- 8.3 -----------------------------------------------------------------------------------------


def labels_by_token(types, seed):
    """wrong 8.3: a coin for each token"""
    return torch.rand(types.shape, generator=torch.Generator().manual_seed(seed)) < 0.5


def labels_unseeded(types, seed):
    """wrong 8.3: same seed"""
    return (torch.rand(int(types.max()) + 1) < 0.5)[types]


def labels_by_parity(types, seed):
    """wrong 8.3: does not use `seed`"""
    return types % 2 == 0


def labels_by_parity_and_seed(types, seed):
    """wrong 8.3: a coin of its own"""
    return (types + seed) % 2 == 0


def labels_by_threes(types, seed):
    """wrong 8.3: a coin of its own"""
    return ((types + seed) // 3) % 2 == 0


def labels_of_pairs(types, seed):
    """wrong 8.3: a coin of its own"""
    draw = torch.Generator().manual_seed(seed)
    return (torch.rand(int(types.max()) + 1, generator=draw) < 0.5)[types // 2 * 2]


def labels_for_everybody(types, seed):
    """wrong 8.3: a generator of your own"""
    torch.manual_seed(seed)
    return (torch.rand(int(types.max()) + 1) < 0.5)[types]


def labels_unfair(types, seed):
    """wrong 8.3: the coin is fair"""
    draw = torch.Generator().manual_seed(seed)
    return (torch.rand(int(types.max()) + 1, generator=draw) < 0.25)[types]


def labels_by_normal_numbers(types, seed):
    """wrong 8.3: the coin is fair"""
    draw = torch.Generator().manual_seed(seed)
    return (torch.randn(int(types.max()) + 1, generator=draw) < 0.5)[types]


def labels_as_numbers(types, seed):
    """wrong 8.3: True or False"""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(2, (int(types.max()) + 1,), generator=draw)[types]


def labels_by_type_alone(types, seed):
    """wrong 8.3: one label for each token"""
    return torch.rand(int(types.max()) + 1, generator=torch.Generator().manual_seed(seed)) < 0.5


def labels_of_what_occurs(types, seed):
    """wrong 8.3: some other types are not there"""
    kinds, at = types.unique(return_inverse=True)
    draw = torch.Generator().manual_seed(seed)
    return (torch.rand(len(kinds), generator=draw) < 0.5)[at]


def labels_by_list(types, seed):
    """right 8.3"""
    draw = torch.Generator().manual_seed(seed)
    coins = torch.randint(2, (int(types.max()) + 1,), generator=draw).tolist()
    return torch.tensor([bool(coins[t]) for t in types.flatten().tolist()]).view(types.shape)


# ---- 8.4 -----------------------------------------------------------------------------------------


def steer_by_the_vector(direction, length, dose):
    """wrong 8.4: as far as it is long"""
    return lambda resid, hook: resid + dose[..., None] * length * direction


def steer_of_length_1(direction, length, dose):
    """wrong 8.4: yours is 1 long"""
    return lambda resid, hook: resid + dose[..., None] * direction / direction.norm()


def steer_everywhere(direction, length, dose):
    """wrong 8.4: pushes all alike"""
    return lambda resid, hook: resid + length * direction / direction.norm()


def steer_without_sign(direction, length, dose):
    """wrong 8.4: drops it"""
    push = length * direction / direction.norm()
    return lambda resid, hook: resid + dose.abs()[..., None] * push


def steer_in_place(direction, length, dose):
    """wrong 8.4: in place"""

    def hook(resid, hook):
        resid += dose[..., None] * length * direction / direction.norm()
        return resid

    return hook


def steer_returns_nothing(direction, length, dose):
    """wrong 8.4: returned None"""

    def hook(resid, hook):
        resid + dose[..., None] * length * direction / direction.norm()

    return hook


def steer_puts(direction, length, dose):
    """wrong 8.4: in its place"""
    push = length * direction / direction.norm()
    return lambda resid, hook: dose[..., None] * push


def steer_at_once(direction, length, dose):
    """wrong 8.4: return a function"""
    return dose[..., None] * length * direction / direction.norm()


def steer_by_the_sum(direction, length, dose):
    """wrong 8.4: adds up their sizes"""
    push = length * direction / direction.abs().sum()
    return lambda resid, hook: resid + dose[..., None] * push


def steer_by_einsum(direction, length, dose):
    """right 8.4"""

    def hook(resid, hook):
        unit = F.normalize(direction, dim=0)
        return torch.einsum("bp,d->bpd", dose * length, unit).add(resid)

    return hook


# ---- 8.5 -----------------------------------------------------------------------------------------


def parts(x, y):
    """Return D, and the covariance matrix."""
    x = x.double()
    return x[y].mean(0) - x[~y].mean(0), torch.cov(x.T, correction=0)


def eraser_plain(x, y):
    """wrong 8.5: the plain projection"""
    D, _ = parts(x, y)
    return D, D / (D @ D)


def eraser_not_centred(x, y):
    """wrong 8.5: not centred"""
    D, _ = parts(x, y)
    read = torch.linalg.solve(x.double().T @ x.double() / len(x), D)
    return D, read / (D @ read)


def eraser_not_divided(x, y):
    """wrong 8.5: not divided"""
    D, C = parts(x, y)
    return D, torch.linalg.solve(C, D)


def eraser_along_what_reads(x, y):
    """wrong 8.5: along what reads it"""
    D, C = parts(x, y)
    read = F.normalize(torch.linalg.solve(C, D), dim=0)
    return read, read


def eraser_times_C(x, y):
    """wrong 8.5: multiplies by C"""
    D, C = parts(x, y)
    return D, C @ D / (D @ C @ D)


def eraser_of_the_diagonal(x, y):
    """wrong 8.5: diagonal only"""
    D, C = parts(x, y)
    return D, D / C.diagonal() / (D @ (D / C.diagonal()))


def eraser_as_matrix(x, y):
    """wrong 8.5: two things"""
    D, C = parts(x, y)
    read = torch.linalg.solve(C, D)
    return torch.outer(D, read / (D @ read))


def eraser_over_n_less_1(x, y):
    """right 8.5"""
    D, _ = parts(x, y)
    read = torch.linalg.solve(torch.cov(x.double().T), D)
    return D, read / (D @ read)


def eraser_within_the_classes(x, y):
    """right 8.5"""
    x = x.double()
    apart = torch.where(y[:, None], x - x[y].mean(0), x - x[~y].mean(0))
    D = x[y].mean(0) - x[~y].mean(0)
    read = torch.linalg.pinv(apart.T @ apart) @ D  # what lies between them scales read, no more
    return D, read / (D @ read)


def eraser_of_length_1(x, y):
    """right 8.5"""
    D, C = parts(x, y)
    read = torch.linalg.inv(C) @ D
    return D / D.norm(), read / (D @ read) * D.norm()


# ---- 8.6 -----------------------------------------------------------------------------------------


def free_of(gradients, keep):
    """Return the matrix that takes out what is used."""
    used = torch.linalg.svd(gradients.double()).Vh[:keep]
    return torch.eye(gradients.shape[1], dtype=torch.float64) - used.T @ used


def fisher(x, y, P):
    """Return the best direction within what P leaves."""
    inside = x.double() @ P
    apart = torch.where(y[:, None], inside - inside[y].mean(0), inside - inside[~y].mean(0))
    W = apart.T @ apart / len(x)
    u = torch.linalg.pinv(W, rtol=1e-6) @ (inside[y].mean(0) - inside[~y].mean(0))
    return F.normalize(P @ u, dim=0)


def unused_means(x, y, gradients, keep=8):
    """wrong 8.6: the model uses what you found"""
    return F.normalize(x[y].mean(0) - x[~y].mean(0), dim=0)


def unused_by_the_best(x, y, gradients, keep=8):
    """wrong 8.6: the model uses what you found"""
    return fisher(x, y, torch.eye(x.shape[1], dtype=torch.float64)).float()


def unused_cut_down(x, y, gradients, keep=8):
    """wrong 8.6: another direction has less spread"""
    u = (x[y].mean(0) - x[~y].mean(0)).double() @ free_of(gradients, keep)
    return F.normalize(u, dim=0).float()


def unused_projected_after(x, y, gradients, keep=8):
    """wrong 8.6: spreads apart"""
    u = fisher(x, y, torch.eye(x.shape[1], dtype=torch.float64)) @ free_of(gradients, keep)
    return F.normalize(u, dim=0).float()


def unused_of_the_mean_gradient(x, y, gradients, keep=8):
    """wrong 8.6: the model uses what you found"""
    return fisher(x, y, free_of(gradients.mean(0, keepdim=True), 1)).float()


def unused_of_centred_gradients(x, y, gradients, keep=8):
    """wrong 8.6: the model uses what you found"""
    return fisher(x, y, free_of(gradients - gradients.mean(0), keep)).float()


def unused_not_normed(x, y, gradients, keep=8):
    """wrong 8.6: should have length 1"""
    return 3 * fisher(x, y, free_of(gradients, keep)).float()


def unused_reversed(x, y, gradients, keep=8):
    """wrong 8.6: the wrong way"""
    return -fisher(x, y, free_of(gradients, keep)).float()


def unused_by_projection(x, y, gradients, keep=8):
    """right 8.6"""
    return fisher(x, y, free_of(gradients, keep)).float()


def unused_by_least_squares(x, y, gradients, keep=8):
    """right 8.6"""
    P = free_of(gradients, keep)
    inside = (x.double() - x.double().mean(0)) @ P
    target = y.double() - y.double().mean()
    u = torch.linalg.lstsq(inside, target[:, None], driver="gelsd", rcond=1e-8).solution[:, 0]
    return F.normalize(P @ u, dim=0).float()

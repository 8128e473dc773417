"""Answers to lesson 01: wrong ones, with what a check must say of each, and right ones."""

import torch

# ---- 1.1 -----------------------------------------------------------------------------------------


def output_by_matmul(x, W, b):
    """right 1.1"""
    h = x @ W.transpose(1, 2)
    return (h @ W + b.unsqueeze(1)).clamp(min=0)


def output_by_overlaps(x, W, b):
    """right 1.1"""
    return torch.stack([(a @ (w.T @ w) + c).relu() for a, w, c in zip(x, W, b)])


def output_without_relu(x, W, b):
    """wrong 1.1: ReLU is missing"""
    return x @ W.transpose(1, 2) @ W + b[:, None]


def output_bias_after(x, W, b):
    """wrong 1.1: too late"""
    return torch.relu(x @ W.transpose(1, 2) @ W) + b[:, None]


def output_no_bias(x, W, b):
    """wrong 1.1: b is missing"""
    return torch.relu(x @ W.transpose(1, 2) @ W)


def output_bias_minus(x, W, b):
    """wrong 1.1: with a minus"""
    return torch.relu(x @ W.transpose(1, 2) @ W - b[:, None])


def output_relu_inside(x, W, b):
    """wrong 1.1: hidden space"""
    return torch.relu(x @ W.transpose(1, 2)) @ W + b[:, None]


def output_relu_twice(x, W, b):
    """wrong 1.1: a ReLU on h too"""
    return torch.relu(torch.relu(x @ W.transpose(1, 2)) @ W + b[:, None])


def output_by_w_wt(x, W, b):
    """wrong 1.1: x is [1, 1, 2], b is [1, 2], W is [1, 1, 2]"""
    return torch.relu(x @ (W @ W.transpose(1, 2)) + b[:, None])


def output_detached(x, W, b):
    """wrong 1.1: no gradient reaches W"""
    return output_by_matmul(x, W, b).detach()


def output_half_detached(x, W, b):
    """wrong 1.1: W stands in h and in y"""
    return torch.relu(x @ W.detach().transpose(1, 2) @ W + b[:, None])


def output_without_grad(x, W, b):
    """wrong 1.1: no gradient reaches W"""
    with torch.no_grad():
        return output_by_matmul(x, W, b)


def output_through_numpy(x, W, b):
    """wrong 1.1: numpy()"""
    return output_by_matmul(x, W, torch.from_numpy(b.numpy()))


def output_copied(x, W, b):
    """wrong 1.1: no gradient reaches b"""
    return output_by_matmul(x, W, torch.tensor(b.tolist()))


def output_of_one_instance(x, W, b):
    """wrong 1.1: the numbers are not right"""
    return torch.relu(x @ W[0].T @ W[0] + b[:, None])


def output_in_place(x, W, b):
    """wrong 1.1: in place"""
    x[:] = torch.relu(x @ W.transpose(1, 2) @ W + b[:, None])
    return x


# ---- 1.2 -----------------------------------------------------------------------------------------


def loss_by_einsum(x, y, importance):
    """right 1.2"""
    return ((x - y).square() * importance).mean(1).sum(-1)


def loss_by_roots(x, y, importance):
    """right 1.2"""
    return ((y - x) * importance**0.5).square().sum((1, 2)) / x.shape[1]


def loss_importance_squared(x, y, importance):
    """wrong 1.2: importance is squared too"""
    return (importance * (x - y)).square().sum(-1).mean(-1)


def loss_without_importance(x, y, importance):
    """wrong 1.2: importance is missing"""
    return (x - y).square().sum(-1).mean(-1)


def loss_mean_of_features(x, y, importance):
    """wrong 1.2: features are summed"""
    return (importance * (x - y) ** 2).mean((1, 2))


def loss_sum_of_examples(x, y, importance):
    """wrong 1.2: over the examples, take the mean"""
    return (importance * (x - y) ** 2).sum((1, 2))


def loss_other_way(x, y, importance):
    """wrong 1.2: the other way"""
    return (importance * (x - y) ** 2).mean(-1).sum(-1)


def loss_one_number(x, y, importance):
    """wrong 1.2: mixes the instances"""
    return (importance * (x - y) ** 2).sum(-1).mean()


def loss_mean_over_instances(x, y, importance):
    """wrong 1.2: goes over instances"""
    return (importance * (x - y) ** 2).sum(-1).mean(0)


def loss_absolute(x, y, importance):
    """wrong 1.2: not squared"""
    return (importance * (x - y).abs()).sum(-1).mean(-1)


def loss_by_a_product(x, y, importance):
    """wrong 1.2: x is [3, 4, 5]"""
    return ((x - y) ** 2 @ importance).mean(-1)


def loss_half(x, y, importance):
    """wrong 1.2: no 1/2"""
    return 0.5 * (importance * (x - y) ** 2).sum(-1).mean(-1)


def loss_of_what_is_above_0(x, y, importance):
    """wrong 1.2: the numbers are not right"""
    return (importance * (x - y.relu()) ** 2).sum(-1).mean(-1)


def loss_detached(x, y, importance):
    """wrong 1.2: gradient"""
    return (importance * (x - y.detach()) ** 2).sum(-1).mean(-1)


# ---- 1.3 -----------------------------------------------------------------------------------------


def shares_by_gram(W):
    """right 1.3"""
    gram = W.transpose(1, 2) @ W
    length = gram.diagonal(dim1=1, dim2=2)
    return torch.nan_to_num(length**2 / (gram**2).sum(-1))


def shares_by_frame(W):
    """right 1.3"""
    u = torch.nn.functional.normalize(W, dim=1)
    spread = torch.einsum("idf,ide,ief->if", u, W @ W.transpose(1, 2), u)
    return torch.where(spread > 0, W.pow(2).sum(1) / spread.clamp(min=1e-20), 0)


def shares_without_hat(W):
    """wrong 1.3: as long as it was"""
    gram = W.transpose(1, 2) @ W
    return torch.nan_to_num(W.pow(2).sum(1) / (gram**2).sum(-1))


def shares_length_on_top(W):
    """wrong 1.3: on top is squared"""
    u = torch.nn.functional.normalize(W, dim=1)
    return torch.nan_to_num(W.norm(dim=1) / (u.transpose(1, 2) @ W).pow(2).sum(-1))


def shares_without_self(W):
    """wrong 1.3: leaves it out"""
    u = torch.nn.functional.normalize(W, dim=1)
    overlap = (u.transpose(1, 2) @ W).pow(2) * (1 - torch.eye(W.shape[-1]))
    return W.pow(2).sum(1) / overlap.sum(-1)


def shares_both_hats(W):
    """wrong 1.3: divides both"""
    u = torch.nn.functional.normalize(W, dim=1)
    return W.pow(2).sum(1) / (u.transpose(1, 2) @ u).pow(2).sum(-1)


def shares_wrong_hat(W):
    """wrong 1.3: divides the others"""
    u = torch.nn.functional.normalize(W, dim=1)
    return torch.nan_to_num(W.pow(2).sum(1) / (W.transpose(1, 2) @ u).pow(2).sum(-1))


def shares_sum_squared(W):
    """wrong 1.3: squares the sum"""
    u = torch.nn.functional.normalize(W, dim=1)
    return W.pow(2).sum(1) / (u.transpose(1, 2) @ W).sum(-1).pow(2)


def shares_absolute(W):
    """wrong 1.3: absolute value"""
    u = torch.nn.functional.normalize(W, dim=1)
    return torch.nan_to_num(W.pow(2).sum(1) / (u.transpose(1, 2) @ W).abs().sum(-1))


def shares_nan(W):
    """wrong 1.3: nan"""
    u = W / W.norm(dim=1, keepdim=True)
    return W.pow(2).sum(1) / torch.einsum("idf,idg->ifg", u, W).pow(2).sum(-1)


def shares_of_one_instance(W):
    """wrong 1.3: the numbers are not right"""
    return shares_by_gram(W[:1]).expand(len(W), -1)


def shares_of_dimensions(W):
    """wrong 1.3: W W^T"""
    rows = W @ W.transpose(1, 2)
    length = W.norm(dim=2)
    return torch.nan_to_num(length**2 / (rows / length[:, :, None]).pow(2).sum(-1))


# ---- 1.4 -----------------------------------------------------------------------------------------


def losses_in_double(density, ratio):
    """right 1.4"""
    p, r = density.double(), ratio.double()
    lost = p * (4 - 3 * p) / 12
    return torch.stack([r * lost, lost, p * p * (1 + r) / 6], 1)


def losses_as_rows(density, ratio):
    """right 1.4"""
    rows = []
    for p, r in zip(density.tolist(), ratio.tolist()):
        lost = p / 3 - (p / 2) ** 2
        rows.append([r * lost, lost, (r + 1) * p**2 / 6])
    return torch.tensor(rows)


def losses_swapped(density, ratio):
    """wrong 1.4: leaves out feature 2"""
    right = losses_in_double(density, ratio)
    return right[:, [1, 0, 2]]


def losses_second_moment(density, ratio):
    """wrong 1.4: yours is E[x^2]"""
    pair = (1 + ratio) * density**2 / 6
    return torch.stack([ratio * density / 3, density / 3, pair], 1)


def losses_variance_when_on(density, ratio):
    """wrong 1.4: mostly off"""
    pair = (1 + ratio) * density**2 / 6
    return torch.stack([ratio * density / 12, density / 12, pair], 1)


def losses_mean_when_on(density, ratio):
    """wrong 1.4: yours takes 1/2"""
    lost = density / 3 - density / 2 + 1 / 4
    return torch.stack([ratio * lost, lost, (1 + ratio) * density**2 / 6], 1)


def losses_of_sparsity(density, ratio):
    """wrong 1.4: for the sparsity"""
    return losses_in_double(1 - density, ratio)


def losses_clash_once(density, ratio):
    """wrong 1.4: yours has density"""
    lost = density / 3 - density**2 / 4
    return torch.stack([ratio * lost, lost, (1 + ratio) * density / 6], 1)


def losses_one_wrong(density, ratio):
    """wrong 1.4: counts one of them"""
    lost = density / 3 - density**2 / 4
    return torch.stack([ratio * lost, lost, density**2 / 6], 1)


def losses_smaller_min(density, ratio):
    """wrong 1.4: yours has 1/12"""
    lost = density / 3 - density**2 / 4
    return torch.stack([ratio * lost, lost, (1 + ratio) * density**2 / 12], 1)


def losses_mean_square(density, ratio):
    """wrong 1.4: yours has 1/3"""
    lost = density / 3 - density**2 / 4
    return torch.stack([ratio * lost, lost, (1 + ratio) * density**2 / 3], 1)


# ---- 1.5 -----------------------------------------------------------------------------------------


def polygon(length, bias, radians=2 * torch.pi / 5):
    """Place five directions, each so far from the one before."""
    angles = torch.arange(5) * radians
    return length * torch.stack([angles.cos(), angles.sin()]), torch.full((5,), bias)


def hand_turned(density):
    """right 1.5"""
    W, b = polygon(1.2**0.5, -0.2)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    return (turn @ W)[:, [3, 0, 4, 1, 2]], b


def hand_short(density):
    """right 1.5"""
    return [part.double() for part in polygon(1.0, -0.155)]


def hand_trained(density):
    """right 1.5"""
    W, b = polygon(1.0, 0.0)
    W, b = W.requires_grad_(), b.requires_grad_()
    adam, draw = torch.optim.Adam([W, b], lr=0.02), torch.Generator().manual_seed(0)
    for _ in range(50):
        u = torch.rand(1000, 5, generator=draw)
        x = torch.where(u < density, u / density, 0)
        adam.zero_grad()
        with torch.enable_grad():
            (((x @ W.T @ W + b).relu() - x) ** 2).sum(-1).mean().backward()
        adam.step()
    return W.detach(), b.detach()


def hand_without_bias(density):
    """wrong 1.5: with no bias every neighbour is heard"""
    return polygon(1.0, 0.0)


def hand_bias_above(density):
    """wrong 1.5: a bias above 0"""
    return polygon(1.14, 0.25)


def hand_square(density):
    """wrong 1.5: all five should be represented"""
    W = torch.tensor([[1.0, -1, 0, 0, 0], [0, 0, 1, -1, 0]])
    return W, torch.tensor([0, 0, 0, 0, density / 2])


def hand_in_degrees(density):
    """wrong 1.5: 72 degrees each"""
    return polygon(1.14, -0.25, radians=72.0)


def hand_half_circle(density):
    """wrong 1.5: 72 degrees each"""
    return polygon(1.14, -0.25, radians=torch.pi / 5)


def hand_too_long(density):
    """wrong 1.5: too long"""
    return polygon(1.5, -0.4)


def hand_too_short(density):
    """wrong 1.5: make the directions longer"""
    return polygon(1.0, -0.3)


def hand_for_one_density(density):
    """wrong 1.5: make the directions longer"""
    return polygon(1.14 * density / 0.05, -0.25)


def hand_little_bias(density):
    """wrong 1.5: more bias: beside a feature that is fully on, a neighbour is read as 0.31"""
    return polygon(1.2**0.5, -0.06)


def hand_much_bias(density):
    """wrong 1.5: less bias: a feature that is on at strength 0.3 is read as 0"""
    return polygon(1.4**0.5, -0.45)


def hand_transposed(density):
    """wrong 1.5: W should be a tensor [2, 5]"""
    W, b = polygon(1.14, -0.25)
    return W.T, b

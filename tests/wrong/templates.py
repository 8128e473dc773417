"""Wrong and right answers to lesson 00's exercises; a docstring names the exercise and the words
that the check's message must say."""

import torch
import torch.nn.functional as F

# 0.1


def centre_over_pixels(W):
    """wrong 0.1: yours goes over the pixels"""
    return W - W.mean(1, keepdim=True)


def centre_over_everything(W):
    """wrong 0.1: every pixel has a mean of its own"""
    return W - W.mean()


def centre_in_place(W):
    """wrong 0.1: changed its argument 1 in place"""
    W -= W.mean(0)
    return W


def centre_by_the_sum(W):
    """wrong 0.1: not their sum"""
    return W - W.sum(0)


def centre_and_scale(W):
    """wrong 0.1: the rows' sizes"""
    return (W - W.mean(0)) / W.std(0)


def only_the_mean(W):
    """wrong 0.1: it has to be taken off"""
    return W.mean(0).expand_as(W)


def centre_three(W):
    """wrong 0.1: the numbers are not right"""
    return W - W.sum(0) / 3


def centre_by_one_less(W):
    """wrong 0.1: divides by one less"""
    return W - W.sum(0) / (len(W) - 1)


def centre_by_projection(W):
    """right 0.1"""
    n = len(W)
    return (torch.eye(n, dtype=W.dtype) - torch.ones(n, n, dtype=W.dtype) / n) @ W


# 0.2


def adds_to_one_logit(W, pictures, for_, against):
    """wrong 0.2: one logit alone"""
    return W[for_] * pictures


def adds_turned_round(W, pictures, for_, against):
    """wrong 0.2: the sign is turned round"""
    return (W[against] - W[for_]) * pictures


def adds_without_ink(W, pictures, for_, against):
    """wrong 0.2: its weight times its ink"""
    return W[for_] - W[against]


def adds_summed(W, pictures, for_, against):
    """wrong 0.2: keep the pixels apart"""
    return ((W[for_] - W[against]) * pictures).sum(-1)


def adds_of_columns(W, pictures, for_, against):
    """wrong 0.2: the result's shape should be"""
    return pictures[:, None] * W[for_] - pictures[:, None] * W[against]


def adds_without_sign(W, pictures, for_, against):
    """wrong 0.2: yours is never"""
    return ((W[for_] - W[against]) * pictures).abs()


def adds_cut_off(W, pictures, for_, against):
    """wrong 0.2: not 0"""
    return ((W[for_] - W[against]) * pictures).relu()


def adds_of_two(W, pictures, for_, against):
    """wrong 0.2: the two templates are added"""
    return (W[for_] + W[against]) * pictures


def adds_for_the_first_picture(W, pictures, for_, against):
    """wrong 0.2: the numbers are not right"""
    return (W[for_[0]] - W[against[0]]) * pictures


def adds_one_by_one(W, pictures, for_, against):
    """right 0.2"""
    rows = zip(pictures, for_.tolist(), against.tolist())
    return torch.stack([x * W[f] - x * W[a] for x, f, a in rows])


# 0.3


def gradient_without_label(W, b, pictures, labels):
    """wrong 0.3: the label is forgotten"""
    shares = (pictures @ W.T + b).softmax(-1) / len(labels)
    return shares.T @ pictures, shares.sum(0)


def gradient_downhill(W, b, pictures, labels):
    """wrong 0.3: that is the way down"""
    into_W, into_b = gradient_by_autograd(W, b, pictures, labels)
    return -into_W, -into_b


def gradient_of_the_sum(W, b, pictures, labels):
    """wrong 0.3: divide by n"""
    into_W, into_b = gradient_by_autograd(W, b, pictures, labels)
    return into_W * len(labels), into_b * len(labels)


def gradient_turned(W, b, pictures, labels):
    """wrong 0.3: yours is turned"""
    into_W, into_b = gradient_by_autograd(W, b, pictures, labels)
    return into_W.T, into_b


def gradient_without_softmax(W, b, pictures, labels):
    """wrong 0.3: softmax is missing"""
    excess = (pictures @ W.T + b - F.one_hot(labels, len(b))) / len(labels)
    return excess.T @ pictures, excess.sum(0)


def gradient_over_pictures(W, b, pictures, labels):
    """wrong 0.3: yours goes over the pictures"""
    excess = ((pictures @ W.T + b).softmax(0) - F.one_hot(labels, len(b))) / len(labels)
    return excess.T @ pictures, excess.sum(0)


def gradient_without_biases(W, b, pictures, labels):
    """wrong 0.3: the biases are missing"""
    excess = ((pictures @ W.T).softmax(-1) - F.one_hot(labels, len(b))) / len(labels)
    return excess.T @ pictures, excess.sum(0)


def gradient_at_the_start(W, b, pictures, labels):
    """wrong 0.3: the numbers are not right"""
    excess = (1 / len(b) - F.one_hot(labels, len(b)).double()) / len(labels)
    return excess.T @ pictures, excess.sum(0)


def gradient_of_too_few_classes(W, b, pictures, labels):
    """wrong 0.3: give it the number, one_hot(labels, len(b))"""
    excess = ((pictures @ W.T + b).softmax(-1) - F.one_hot(labels)) / len(labels)
    return excess.T @ pictures, excess.sum(0)


def gradient_of_every_label(W, b, pictures, labels):
    """wrong 0.3: each picture has one label"""
    shares = (pictures @ W.T + b).softmax(-1)
    shares[:, labels] -= 1
    return shares.T @ pictures / len(labels), shares.mean(0)


def gradient_by_autograd(W, b, pictures, labels):
    """right 0.3"""
    with torch.enable_grad():
        W, b = W.detach().requires_grad_(), b.detach().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(pictures @ W.T + b, labels), (W, b))


def gradient_by_einsum(W, b, pictures, labels):
    """right 0.3"""
    shares = torch.softmax(torch.einsum("cp,np->nc", W, pictures) + b, dim=1)
    shares[torch.arange(len(labels)), labels] -= 1
    return torch.einsum("nc,np->cp", shares, pictures) / len(labels), shares.mean(0)


# 0.4


def change_to_the_runner_up(W, b, picture):
    """wrong 0.4: A smaller lead is not a smaller distance"""
    first, second = (W @ picture + b).topk(2).indices
    return way(W, b, picture, first, second)


def change_away(W, b, picture):
    """wrong 0.4: leads away"""
    return -change_by_trying_all(W, b, picture)


def change_of_the_picture(W, b, picture):
    """wrong 0.4: return the change alone"""
    return picture + change_by_trying_all(W, b, picture)


def change_divided_once(W, b, picture):
    """wrong 0.4: needs to be divided by it once more"""
    first, second = (W @ picture + b).topk(2).indices
    return way(W, b, picture, first, second) * (W[second] - W[first]).norm()


def change_without_biases(W, b, picture):
    """wrong 0.4: the biases are missing"""
    logits = W @ picture + b
    return change_by_trying_all(W, torch.zeros_like(b), picture, logits.argmax())


def change_towards_the_template(W, b, picture):
    """wrong 0.4: the winner's logit moves too"""
    logits = W @ picture + b
    first, second = logits.topk(2).indices
    return W[second] * (logits[first] - logits[second]) / W[second].pow(2).sum()


def change_to_the_farthest(W, b, picture):
    """wrong 0.4: but not the nearest"""
    winner = (W @ picture + b).argmax()
    ways = [way(W, b, picture, winner, c) for c in range(len(b)) if c != winner]
    return max(ways, key=torch.norm)


def change_by_squared_lengths(W, b, picture):
    """wrong 0.4: nearest"""
    logits = W @ picture + b
    winner, across = logits.argmax(), W - W[logits.argmax()]
    distance = (logits[winner] - logits) / across.pow(2).sum(1)
    distance[winner] = torch.inf
    return way(W, b, picture, winner, distance.argmin())


def change_to_nowhere(W, b, picture):
    """wrong 0.4: the winner's distance to itself is 0 / 0"""
    logits = W @ picture + b
    winner = logits.argmax()
    across, lead = W - W[winner], logits[winner] - logits
    c = (lead / across.norm(dim=-1)).argmin()
    return across[c] * lead[c] / across[c].pow(2).sum()


def change_half_way(W, b, picture):
    """wrong 0.4: half way"""
    return change_by_trying_all(W, b, picture) / 2


def change_beyond(W, b, picture):
    """wrong 0.4: goes beyond the border"""
    return change_by_trying_all(W, b, picture) * 1.3


def way(W, b, picture, winner, c):
    """Go from the picture straight to the border between the winner and class c."""
    across = W[c] - W[winner]
    return across * -(across @ picture + b[c] - b[winner]) / across.pow(2).sum()


def change_by_trying_all(W, b, picture, winner=None):
    """right 0.4"""
    winner = (W @ picture + b).argmax() if winner is None else winner
    ways = [way(W, b, picture, winner, c) for c in range(len(b)) if c != winner]
    return min(ways, key=torch.norm)


# 0.5


def own_of_all_neurons(net, picture):
    """wrong 0.5: strike out those that are silent"""
    return net.W_out @ net.W_in, net.W_out @ net.b_in + net.b_out


def own_without_neurons_biases(net, picture):
    """wrong 0.5: what the answering neurons' b_in adds is missing"""
    return own_by_jacobian(net, picture)[0], net.b_out


def own_without_output_biases(net, picture):
    """wrong 0.5: b_out is missing"""
    W, b = own_by_jacobian(net, picture)
    return W, b - net.b_out


def own_weighted(net, picture):
    """wrong 0.5: weighted by how strongly they answer"""
    through = net.W_out * torch.relu(net.W_in @ picture + net.b_in)
    return through @ net.W_in, through @ net.b_in + net.b_out


def own_before_the_bias(net, picture):
    """wrong 0.5: depends on its bias too"""
    through = net.W_out * (net.W_in @ picture > 0)
    return through @ net.W_in, through @ net.b_in + net.b_out


def own_of_the_strongest(net, picture):
    """wrong 0.5: the numbers are not right"""
    m = (net.W_in @ picture + net.b_in).argmax()
    W = torch.outer(net.W_out[:, m], net.W_in[m])
    return W, net.W_out[:, m] * net.b_in[m] + net.b_out


def own_in_place(net, picture):
    """wrong 0.5: changed the net's own weights"""
    net.W_out.mul_(net.W_in @ picture + net.b_in > 0)
    return net.W_out @ net.W_in, net.W_out @ net.b_in + net.b_out


def own_by_jacobian(net, picture):
    """right 0.5"""

    def logits(x):
        return net.W_out @ F.relu(net.W_in @ x + net.b_in) + net.b_out

    with torch.enable_grad():
        W = torch.autograd.functional.jacobian(logits, picture)
    return W, logits(picture) - W @ picture


def own_by_picking(net, picture):
    """right 0.5"""
    on = (net.W_in @ picture + net.b_in).gt(0).nonzero()[:, 0]
    return net.W_out[:, on] @ net.W_in[on], net.W_out[:, on] @ net.b_in[on] + net.b_out

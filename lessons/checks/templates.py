"""What lesson 00's exercises are held against.

Letters: n picture, c class, p pixel, m neuron.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lessons.checks import Wrong, brief, called, judge
from lessons.checks.templates_slips import slips_of_change, slips_of_gradient, slopes


def check_centre_rows(mine, seed):
    """Three rows of three pixels, then five of seven."""
    small = torch.tensor([[1.0, 5.0, 3.0], [3.0, 1.0, 3.0], [5.0, 3.0, 0.0]])
    for W in (small, drawn(seed, 5, 7)):
        total = sum(W[c] for c in range(len(W)))
        mistakes = {
            "the mean goes over the classes, dim=0: yours goes over the pixels of each row": W
            - W.mean(1, keepdim=True),
            "one number was taken off everything: every pixel has a mean of its own": W - W.mean(),
            "that is what the rows share; it has to be taken off": total / len(W) + 0 * W,
            "take off the mean of the rows, not their sum": W - total,
            "divide by the number of rows: yours divides by one less": W - total / (len(W) - 1),
            "the mean was added: take it off": W + total / len(W),
            "only take the mean off: the rows' sizes are what the network learned": (
                (W - W.mean(0)) / W.std(0)
            ),
        }
        call = f"centre_rows({brief(W)})" if W is small else "centre_rows(W [5 7])"
        judge(called(mine.centre_rows, W), W - total / len(W), call, mistakes)


def check_contributions(mine, seed):
    """One picture of four pixels, then four of seven, with five classes."""
    W = torch.tensor([[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, 3.0, 2.0], [2.0, 2.0, 2.0, 2.0]])
    small = W, torch.tensor([[1.0, 1.0, 2.0, 0.0]]), torch.tensor([1]), torch.tensor([0])
    large = drawn(seed, 5, 7), drawn(seed + 50, 4, 7), torch.tensor([4, 0, 2, 1])
    for W, pictures, for_, against in (small, (*large, torch.tensor([1, 3, 0, 4]))):
        want = torch.zeros_like(pictures)
        for n, picture in enumerate(pictures):
            for p in range(len(picture)):
                want[n, p] = W[for_[n], p] * picture[p] - W[against[n], p] * picture[p]
        mistakes = {
            "that is for one logit alone: take off what it adds to the other": W[for_] * pictures,
            "the sign is turned round: what speaks for the class `for_` counts as positive": -want,
            "that is the difference of the two templates: a pixel adds its weight times its ink": (
                W[for_] - W[against]
            ),
            "those are the sums, one for each picture: keep the pixels apart": want.sum(1),
            "what speaks against the class `for_` counts as negative: yours is never": want.abs(),
            "what speaks against the class `for_` is negative, not 0": want.relu(),
            "the two templates are added: take off one": (W[for_] + W[against]) * pictures,
        }
        what = f"W {brief(W)}, one picture {brief(pictures[0])}, for 1, against 0"
        call = f"contributions({what if len(for_) == 1 else 'W [5 7], pictures [4 7], ...'})"
        judge(called(mine.contributions, W, pictures, for_, against), want, call, mistakes)


def check_gradient(mine, seed):
    """One picture of three pixels, then two of them, then six of four with biases."""
    zeros = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    two = torch.tensor([[2.0, 1.0, 0.0], [0.0, 4.0, 1.0]]).double()
    large = drawn(seed, 3, 4).double(), drawn(seed + 9, 3).double(), drawn(seed + 5, 6, 4).double()
    cases = [(*zeros, two[:1], torch.tensor([0])), (*zeros, two, torch.tensor([0, 1]))]
    cases.append((*large, torch.tensor([2, 0, 1, 1, 2, 2])))
    for W, b, pictures, labels in cases:
        want = slopes(W, b, pictures, labels)
        got = called(mine.gradient, W, b, pictures, labels)
        into_W = got[0] if isinstance(got, (tuple, list)) and got else None
        if isinstance(into_W, Tensor) and into_W.shape == W.T.shape:
            raise Wrong("the gradient by W has the shape of W, [c p]: yours is turned, [p c]")
        small = f"zeros, zeros, {brief(pictures)}, {labels.tolist()}"
        call = f"gradient({small if len(labels) < 3 else 'W [3 4], b [3], pictures [6 4], labels'})"
        judge(got, want, call, slips_of_gradient(W, b, pictures, labels))


def check_smallest_change(mine, seed):
    """Two classes on two pixels, a nearest border that is not the runner-up's, then any five."""
    eye = torch.eye(2).double()
    hand = eye, torch.zeros(2).double(), torch.tensor([3.0, 1.0]).double()
    judge_change(mine, *hand, "W [[1, 0], [0, 1]], b [0, 0], picture [3, 1]")
    W = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 6.0], [1.0, 0.0]]).double()
    b, ones = torch.tensor([0.0, -8.0, -15.0, -8.0]).double(), torch.ones(2).double()
    judge_change(mine, W, b, ones, f"W {brief(W)}, b {brief(b)}, picture [1, 1]")
    for more in range(8):
        draw = (
            drawn(seed + 10 * more + i, *size).double() for i, size in enumerate(((5, 7), (5,)))
        )
        picture = drawn(seed + 10 * more + 5, 7).double()
        judge_change(mine, *draw, picture, "W [5 7], b [5], picture [7]")


def judge_change(mine, W, b, picture, what):
    """Hold a change against the way to each border: the nearest is right."""
    call = f"smallest_change({what})"
    got = called(mine.smallest_change, W, b, picture)
    logits = torch.stack([(W[c] * picture).sum() + b[c] for c in range(len(b))])
    winner = int(logits.argmax())
    ways = {}  # class: the way to its border
    for c in set(range(len(b))) - {winner}:
        across = W[c] - W[winner]
        ways[c] = across * (logits[winner] - logits[c]) / (across * across).sum()
    nearest, behind = min(ways, key=lambda c: ways[c].norm()), max(ways, key=lambda c: logits[c])
    if not isinstance(got, Tensor) or got.shape != picture.shape or not got.isfinite().all():
        nowhere = "the winner's distance to itself is 0 / 0: put infinity in its place"
        mistakes = {nowhere: torch.full_like(picture, torch.nan)}
        judge(got, ways[nearest], call, mistakes)  # or says what is wrong with its kind
    shown = f"\n  {call}\n    got       {brief(got)}\n    expected  {brief(ways[nearest])}"

    def near(change):
        size = float(picture.norm() + ways[nearest].norm())
        return torch.allclose(got.double(), change, rtol=1e-3, atol=1e-4 * size)

    if near(ways[nearest]):
        return
    if behind != nearest and near(ways[behind]):
        raise Wrong(
            f"that border is the runner-up's, class {behind}; class {nearest}'s is nearer. A "
            "smaller lead is not a smaller distance: divide each lead by the length of "
            f"w_c - w_winner{shown}"
        )
    for c, way in ways.items():
        for said, change in slips_of_change(W, b, picture, winner, c, way).items():
            if near(change):
                raise Wrong(said + shown)
    after = W @ (picture + got.double()) + b
    lead = (after[winner] - after[torch.arange(len(b)) != winner].max()).item()
    short = "stops short of" if lead > 0 else "goes beyond"
    raise Wrong(f"the change {short} the border: the winner leads by {lead:.3g}, not by 0{shown}")


class Net(NamedTuple):
    """A hidden layer's weights, and the same thing computed in slow loops."""

    W_in: Tensor
    b_in: Tensor
    W_out: Tensor
    b_out: Tensor

    def neurons(self, pictures: Tensor) -> Tensor:  # [... p] -> [... m]
        """Multiply, add, and silence what is below 0."""
        return (pictures @ self.W_in.T + self.b_in).clamp(min=0)

    def logits(self, pictures: Tensor) -> Tensor:  # [... p] -> [... c]
        """Read the logits off the neurons."""
        return self.neurons(pictures) @ self.W_out.T + self.b_out


def check_own_template(mine, seed):
    """Three neurons of which one answers, then nine."""
    W_in, W_out = [[1.0, 0], [0, 1], [-1, 0]], [[1.0, 5, 4], [2, 7, 6]]
    parts = (torch.tensor(part).double() for part in (W_in, [0.5, -2, 0], W_out, [1, -1]))
    picture = torch.tensor([2.0, 1.0]).double()
    judge_own(mine, Net(*parts), picture, "a net of 3 neurons, picture [2, 1]")
    sizes = (9, 7), (9,), (4, 9), (4,)
    large = Net(*(drawn(seed + i, *size).double() for i, size in enumerate(sizes)))
    judge_own(mine, large, drawn(seed + 7, 7).double(), "a net of 9 neurons, picture [7]")


def judge_own(mine, net, picture, what):
    """Hold templates and biases against those that the answering neurons make, one at a time."""
    call, before = f"own_template({what})", [part.clone() for part in net]
    got = called(mine.own_template, net, picture)
    if any(not torch.equal(part, old) for part, old in zip(net, before)):
        raise Wrong("your function changed the net's own weights, and the network with them")
    W, b = torch.zeros(len(net.b_out), len(picture)).double(), net.b_out.clone()
    for m in range(len(net.b_in)):
        if (net.W_in[m] * picture).sum() + net.b_in[m] > 0:
            for c in range(len(b)):
                W[c] += net.W_out[c, m] * net.W_in[m]
                b[c] += net.W_out[c, m] * net.b_in[m]

    def through(share):  # [m] -> what comes of letting each neuron's share through
        return (net.W_out * share) @ net.W_in, (net.W_out * share) @ net.b_in + net.b_out

    answers = net.neurons(picture)
    mistakes = {
        "all neurons are let through: strike out those that are silent on this picture": through(1),
        "the biases are b_out alone: what the answering neurons' b_in adds is missing": (
            (W, net.b_out)
        ),
        "b_out is missing from the biases": (W, b - net.b_out),
        "a neuron is let through (1) or not (0): yours are weighted by how strongly they answer": (
            through(answers)
        ),
        "whether a neuron answers depends on its bias too: W_in picture + b_in > 0": (
            through(net.W_in @ picture > 0)
        ),
        "those are the silent neurons: keep the ones that answer": through(answers == 0),
    }
    judge(got, (W, b), call, mistakes)


def drawn(seed: int, *size: int) -> Tensor:
    """Draw random numbers."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))

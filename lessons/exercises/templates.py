# Yours to fill in: write lines in place of each `raise NotImplementedError`. Then
#   make check-00           says what is right, what is not yet, and why; make hint-0.1 helps
#   make lesson-00 MINE=1   runs the lesson on what you have written
# Made from lessons/techniques/templates.py, where the answers are, by `python -m lessons.course stubs`.
"""A digit classifier in one matrix, what its rows say, and a network whose rows do not (lesson 00).

A row of W [c p] is a template: as many numbers as a picture has pixels. A picture's logit for a
class is the product of the two, pixel by pixel, summed up, plus the class's bias.

Letters: n picture, c class, p pixel, m neuron.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.techniques.digits import glyph


class Hidden(NamedTuple):
    """A network with one hidden layer: W_in [m p], b_in [m], W_out [c m], b_out [c]."""

    W_in: Tensor
    b_in: Tensor
    W_out: Tensor
    b_out: Tensor

    def neurons(self, pictures: Tensor) -> Tensor:  # [n p] -> [n m]
        """Say how strongly each neuron answers; one that would answer below 0 is silent."""
        return F.relu(pictures @ self.W_in.T + self.b_in)

    def logits(self, pictures: Tensor) -> Tensor:  # [n p] -> [n c]
        """Give each class its score."""
        return self.neurons(pictures) @ self.W_out.T + self.b_out


def centre_rows(W: Tensor) -> Tensor:  # [c p] -> [c p]
    """Take from every row what all rows share: their mean, the same picture for each class.

    What is left has a mean of 0 over the classes, at each pixel. Softmax cannot tell: it compares
    the classes' logits, and all of them lose the same.
    """
    # exercise 0.1: centre the rows (3 min)
    raise NotImplementedError("exercise 0.1")
    # end


def contributions(W: Tensor, pictures: Tensor, for_: Tensor, against: Tensor) -> Tensor:
    """Say what each pixel of each picture adds to the logit of one class minus that of another.

    W [c p], pictures [n p]; for_ and against [n] hold a class for each picture -> [n p]. A
    picture's row sums to its logit for class for_ minus its logit for class against, but for the
    biases, which belong to no pixel. A pixel without ink adds nothing, whatever the weights say.
    """
    # exercise 0.2: what each pixel adds (8 min)
    raise NotImplementedError("exercise 0.2")
    # end


def gradient(W: Tensor, b: Tensor, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiate the mean cross-entropy by W and by b, by hand: no autograd.

    W [c p], b [c], pictures [n p], labels [n] (integers) -> the gradient by W [c p], by b [c].
    With softmax of the logits as probabilities, loss = mean over n of -log(probability of the
    label). Its slope by a logit is (probability - 1 for the label's class, probability - 0 for any
    other) / n; and a logit is a product of its template with the picture, plus its bias.
    """
    # exercise 0.3: the gradient by hand (15 min)
    raise NotImplementedError("exercise 0.3")
    # end


def smallest_change(W: Tensor, b: Tensor, picture: Tensor) -> Tensor:  # [c p], [c], [p] -> [p]
    """Find the shortest change that brings a picture to where another class takes over.

    picture [p] -> the change [p], to be added. At picture + change the class that won so far and
    one other share the highest logit, so a hair's breadth further the other wins. No change of a
    smaller (Euclidean) length gets there. Pixels may leave the range from 0 to 1.

    Between the winner and class c lies a flat border, where (w_winner - w_c) . x + b_winner - b_c
    is 0. Think of how far a border is, and of which way is straight to it.
    """
    # exercise 0.4: the smallest change that matters (20 min)
    raise NotImplementedError("exercise 0.4")
    # end


def own_template(net: Hidden, picture: Tensor) -> tuple[Tensor, Tensor]:  # [p] -> [c p], [c]
    """Write a hidden layer as it acts on one picture: as templates and biases, with no neurons.

    net holds W_in [m p], b_in [m], W_out [c m], b_out [c]; its logits are
    W_out relu(W_in picture + b_in) + b_out. For this picture some neurons answer (above 0) and the
    others are silent. Return W [c p] and b [c] such that W x + b are the network's logits for this
    picture, and for every other x that makes the same neurons answer.
    """
    # exercise 0.5: one picture's own template (15 min)
    raise NotImplementedError("exercise 0.5")
    # end


def start(seed: int = 0, mark: float = 1.5) -> tuple[Tensor, Tensor]:  # -> [c p], [c]
    """Draw W and b to start from: noise and 0. (What else is in W, cell 4 of the lesson tells.)"""
    noise = 0.1 * torch.randn(10, 784, generator=torch.Generator().manual_seed(seed))
    return noise + mark * glyph("?"), torch.zeros(10)


def train_linear(W: Tensor, b: Tensor, pictures: Tensor, labels: Tensor, steps=2400, seed=0):
    """Descend along `gradient` from W [c p], b [c], 200 pictures a step; return the W, b reached.

    Momentum 0.9, and a rate that falls from 0.1 to 0. Every class's row takes steps of the same
    rate, and nothing decays.
    """
    random = torch.Generator().manual_seed(seed)
    W, b = W.clone(), b.clone()
    pace_W, pace_b = torch.zeros_like(W), torch.zeros_like(b)
    for step in range(steps):
        rows = torch.randint(len(labels), (200,), generator=random)
        slope_W, slope_b = gradient(W, b, pictures[rows], labels[rows])
        pace_W, pace_b = 0.9 * pace_W + slope_W, 0.9 * pace_b + slope_b
        rate = 0.1 * (1 - step / steps)
        W, b = W - rate * pace_W, b - rate * pace_b
    return W, b


def train_hidden(pictures: Tensor, labels: Tensor, n_neurons=64, steps=2400, seed=0) -> Hidden:
    """Train a hidden layer in the same way, with autograd's gradient."""
    random = torch.Generator().manual_seed(seed)
    W_in = torch.randn(n_neurons, pictures.shape[1], generator=random) / pictures.shape[1] ** 0.5
    W_out = torch.randn(10, n_neurons, generator=random) / n_neurons**0.5
    net = Hidden(W_in, torch.zeros(n_neurons), W_out, torch.zeros(10))
    pace = [torch.zeros_like(part) for part in net]
    for step in range(steps):
        rows = torch.randint(len(labels), (200,), generator=random)
        with torch.enable_grad():
            net = Hidden(*(part.detach().requires_grad_() for part in net))
            F.cross_entropy(net.logits(pictures[rows]), labels[rows]).backward()
        pace = [0.9 * before + part.grad for before, part in zip(pace, net)]
        rate = 0.1 * (1 - step / steps)
        net = Hidden(*(part.detach() - rate * step_ for part, step_ in zip(net, pace)))
    return net


def accuracy(logits: Tensor, labels: Tensor) -> float:  # [n c], [n]
    """Return the share of pictures whose highest logit is the label's."""
    return (logits.argmax(-1) == labels).double().mean().item()


def class_means(pictures: Tensor, labels: Tensor) -> Tensor:  # [n p], [n] -> [c p]
    """Average the pictures of each class."""
    return torch.stack([pictures[labels == c].mean(0) for c in range(10)])


def cosines(left: Tensor, right: Tensor) -> Tensor:  # [i p], [j p] -> [i j]
    """Compare the directions of all rows with all rows: 1 if they are the same."""
    return F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T

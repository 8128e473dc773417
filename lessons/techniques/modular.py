"""A network that learns to add modulo p, and how it is trained (lesson 02).

The network is one transformer layer on three tokens, "a b =", without layer norm (Nanda et al.
2023, "Progress measures for grokking via mechanistic interpretability", section 3): what it says
after "=" is its answer to a + b mod p. How its algorithm is read stands in grokking.py.

Letters: n example, p number (0 .. p-1), d d_model, h head, e d_head, m neuron.
"""

import json
import math
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from lessons.techniques.grokking import accuracy, losses
from minimech import MinimechError
from weights.snapshots import unpack
from weights.sums import check_sums


class ModularAddition(nn.Module):
    """One layer of attention and one MLP, read at the last of three tokens."""

    def __init__(self, p: int, d_model: int = 128, n_heads: int = 4, d_mlp: int = 512):
        super().__init__()
        self.p, d, e = p, d_model, d_model // n_heads
        self.W_E, self.W_pos = drawn(p + 1, d, width=d), drawn(3, d, width=d)  # row p is "="
        self.W_Q, self.W_K, self.W_V = (drawn(n_heads, d, e, width=d) for _ in "QKV")
        self.W_O = drawn(n_heads, e, d, width=d)
        self.W_in, self.b_in = drawn(d, d_mlp, width=d), nn.Parameter(torch.zeros(d_mlp))
        self.W_out, self.b_out = drawn(d_mlp, d, width=d), nn.Parameter(torch.zeros(d))
        self.W_U = drawn(d, p, width=p)

    def neurons(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:  # [n], [n] -> [n m], [n d]
        """Run up to the neurons after their ReLU; return also the stream that they read.

        There are only 2p + 1 different inputs, a number first, a number second, and "=", and only
        "=" asks. So keys' scores and values are computed once for each, and looked up: half the
        time of doing it for each example.
        """
        numbers, equals = self.W_E[: self.p], self.W_E[self.p :] + self.W_pos[2]
        inputs = torch.cat([numbers + self.W_pos[0], numbers + self.W_pos[1], equals])  # [2p+1 d]
        q = torch.einsum("d,hde->he", inputs[-1], self.W_Q)
        scores = torch.einsum("td,hde,he->th", inputs, self.W_K, q) / math.sqrt(q.shape[-1])
        v = torch.einsum("td,hde->the", inputs, self.W_V)
        at = [a, b + self.p, torch.full_like(a, 2 * self.p)]  # where the three tokens' rows stand
        pattern = torch.stack([F.embedding(row, scores) for row in at]).softmax(0)  # [3 n h]
        values = [F.embedding(row, v.flatten(1)).view(-1, *q.shape) for row in at]  # 3 of [n h e]
        z = sum(share[..., None] * value for share, value in zip(pattern, values))  # [n h e]
        resid = inputs[-1] + z.flatten(1) @ self.W_O.flatten(0, 1)  # [n d]
        return F.relu(torch.addmm(self.b_in, resid, self.W_in)), resid

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # [n], [n] -> [n p]
        """Return the logits of every possible answer."""
        post, resid = self.neurons(a, b)
        return (resid + torch.addmm(self.b_out, post, self.W_out)) @ self.W_U


def drawn(*shape: int, width: int) -> nn.Parameter:
    """Draw a matrix with entries of variance 1 / width."""
    return nn.Parameter(torch.randn(*shape) / math.sqrt(width))


def split(p: int, share: float, seed: int) -> Tensor:  # -> [p p], True where trained on
    """Draw the pairs to be trained on, of all p * p ordered pairs."""
    order = torch.randperm(p * p, generator=torch.Generator().manual_seed(seed))
    is_train = torch.zeros(p * p, dtype=torch.bool)
    is_train[order[: int(share * p * p)]] = True
    return is_train.view(p, p)


def train(model: ModularAddition, is_train: Tensor, steps: int, weight_decay: float, state=None):
    """Train on all training pairs at once; at each step yield its number, its loss, the optimiser.

    AdamW 1e-3, betas (0.9, 0.98), ten steps of warm-up; the loss in float64, for it gets so small
    that float32 rounds its gradient to 0 (the "slingshots" of other runs).
    """
    a, b = is_train.nonzero(as_tuple=True)
    answers = (a + b) % model.p
    adam = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=weight_decay
    )
    first = 0
    if state:
        adam.load_state_dict(state["adam"])
        first = state["step"]
    for step in range(first, steps):
        loss = F.cross_entropy(model(a, b).double(), answers)
        yield step, loss.item(), adam
        for group in adam.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 10)
        adam.zero_grad()
        loss.backward()
        adam.step()
    yield steps, F.cross_entropy(model(a, b).double(), answers).item(), adam


@torch.no_grad()
def answers(model, p: int) -> tuple[Tensor, Tensor]:  # -> [p p c], [p p m]
    """Ask all p * p questions; return the logits and the neurons."""
    a, b = torch.cartesian_prod(torch.arange(p), torch.arange(p)).T
    return model(a, b).view(p, p, -1), model.neurons(a, b)[0].view(p, p, -1)


@torch.no_grad()
def with_embedding(model: ModularAddition, numbers: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the logits [n p] that a network would give with other embeddings [p d] of numbers."""
    changed = deepcopy(model)
    changed.W_E[: changed.p] = numbers
    return changed(a, b)


@torch.no_grad()
def scores(model: ModularAddition, is_train: Tensor) -> dict:
    """Measure loss and accuracy on train and test; test split by whether (b, a) was trained on."""
    p = model.p
    a, b = torch.cartesian_prod(torch.arange(p), torch.arange(p)).T
    logits = model(a, b).view(p, p, -1)
    nll, mirror = losses(logits), ~is_train & is_train.T
    parts = {"train": is_train, "test": ~is_train, "mirror": mirror, "new": ~is_train & ~mirror}
    row = {f"{name}_loss": nll[part].mean().item() for name, part in parts.items()}
    return row | {f"{name}_accuracy": accuracy(logits, part) for name, part in parts.items()}


def load(folder: Path) -> tuple[ModularAddition, Tensor, dict]:
    """Read a network that the recipe trained, its training pairs [p p], and its curves.

    Raises: MinimechError if a file is missing, truncated or altered.
    """
    check_sums(folder)
    if not (folder / "model.safetensors").exists():
        raise MinimechError(f"no network in {folder}: weights/recipes/grokking.py makes one")
    tensors = load_file(folder / "model.safetensors")
    is_train = tensors.pop("is_train")
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return filled(tensors), is_train, history["curves"]


def snapshots(folder: Path) -> dict[int, ModularAddition]:
    """Read the networks on the way: step -> network."""
    return {step: filled(weights) for step, weights in unpack(folder).items()}


def filled(tensors: dict[str, Tensor]) -> ModularAddition:
    """Make a network of its weights."""
    n_heads, d, _ = tensors["W_Q"].shape
    model = ModularAddition(len(tensors["W_E"]) - 1, d, n_heads, len(tensors["b_in"]))
    model.load_state_dict(tensors)
    return model.requires_grad_(False)

"""A small network that learns to copy, what it is trained on, and how (lesson 05).

Attention alone, no MLP. What a position is stands in the queries and keys only and never enters the
stream, so a value cannot carry it: copying has to go by what a token is (Olsson et al. 2022,
"In-context Learning and Induction Heads", whose small models do the same). That is why it cannot be
loaded as GPT-2, which adds positions to the stream. Sites have GPT-2's names (minimech/hooks.py).

Letters: b batch, p position, q/k query/key position, h head, d d_model, e d_head, v vocabulary.
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from minimech import MinimechError
from minimech.hooks import UNTAPPED, Tap, site_shapes
from weights.snapshots import unpack
from weights.sums import check_sums, mend

BOS, VOCAB, LENGTH = 0, 128, 48  # token 0 begins a text, and stands nowhere else
HEADS, WIDTH = 4, 64
HALF = LENGTH // 2


class Attention(nn.Module):
    """One layer of heads. Queries and keys read stream + positions, values the stream alone."""

    def __init__(self, d_model: int, n_heads: int, d_head: int, layer: int):
        super().__init__()
        self.W_Q, self.W_K, self.W_V = (drawn(n_heads, d_model, d_head) for _ in "QKV")
        self.W_O = drawn(n_heads, d_head, d_model)
        self.name = f"blocks.{layer}.attn"

    def forward(self, x: Tensor, W_pos: Tensor, tap: Tap) -> Tensor:  # [b p d], [p d] -> [b p d]
        placed = x + W_pos  # [b p d]
        q = tap(f"{self.name}.hook_q", torch.einsum("bpd,hde->bphe", placed, self.W_Q))
        k = tap(f"{self.name}.hook_k", torch.einsum("bpd,hde->bphe", placed, self.W_K))
        v = tap(f"{self.name}.hook_v", torch.einsum("bpd,hde->bphe", x, self.W_V))
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(q.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)  # [q k]
        scores = tap(f"{self.name}.hook_attn_scores", scores.masked_fill(future, -math.inf))
        pattern = tap(f"{self.name}.hook_pattern", scores.softmax(-1))
        z = tap(f"{self.name}.hook_z", torch.einsum("bhqk,bkhe->bqhe", pattern, v))
        return torch.einsum("bphe,hed->bpd", z, self.W_O)


class Block(nn.Module):
    """One layer: its heads read the normed stream and add to the stream."""

    def __init__(self, *sizes: int):
        super().__init__()
        self.attn = Attention(*sizes)


class Copier(nn.Module):
    """Tokens -> W_E -> [ norm -> heads -> added ] x layers -> norm -> W_U -> logits.

    The norm is a layer norm with no weights. `normed=False` leaves it out: easier to set by hand.
    """

    def __init__(
        self, n_layers=2, n_heads=HEADS, d_model=WIDTH, d_head=None, d_vocab=VOCAB,
        n_ctx=LENGTH + 1, normed=True,
    ):  # fmt: skip
        super().__init__()
        self.W_E = nn.Parameter(torch.randn(d_vocab, d_model))
        self.W_pos = nn.Parameter(torch.randn(n_ctx, d_model))
        sizes = d_model, n_heads, d_head or d_model // n_heads
        self.blocks = nn.ModuleList(Block(*sizes, layer) for layer in range(n_layers))
        self.W_U, self.normed, self.n_heads = drawn(d_model, d_vocab), normed, n_heads

    def norm(self, resid: Tensor) -> Tensor:  # [b p d] -> [b p d]
        return F.layer_norm(resid, resid.shape[-1:]) if self.normed else resid

    def forward(self, tokens: Tensor, tap: Tap = UNTAPPED) -> Tensor:  # [b p] -> [b p v]
        resid = tap("hook_embed", self.W_E[tokens])  # [b p d]
        for layer, block in enumerate(self.blocks):
            resid = tap(f"blocks.{layer}.hook_resid_pre", resid)
            out = block.attn(self.norm(resid), self.W_pos[: tokens.shape[1]], tap)  # [b p d]
            resid = resid + tap(f"blocks.{layer}.hook_attn_out", out)
            resid = tap(f"blocks.{layer}.hook_resid_post", resid)
        return self.norm(resid) @ self.W_U

    def run_with_hooks(self, tokens: Tensor, fwd_hooks) -> Tensor:  # [b p] -> [b p v]
        """Run with hooks, as HookedTransformer does: (site or glob, function) pairs."""
        return self(tokens, Tap(self.sites(), fwd_hooks))

    def run_with_cache(self, tokens: Tensor, names_filter=None) -> tuple[Tensor, dict]:
        """Run and keep activations, by their sites' full names."""
        tap = Tap(self.sites(), save=names_filter)
        return self(tokens, tap), {name: kept for name, (kept, _) in tap.saved.items()}

    def sites(self) -> list[str]:
        """Name the sites that a run comes by: GPT-2's, less those that are not here."""
        kinds = ("resid_pre", "attn_out", "resid_post", "attn.hook")
        names = site_shapes(len(self.blocks))
        return ["hook_embed", *(name for name in names if any(kind in name for kind in kinds))]


def drawn(*shape: int) -> nn.Parameter:
    """Draw weights that keep a vector's length: of variance 1 / (numbers that each sum takes)."""
    return nn.Parameter(torch.randn(*shape) / math.sqrt(shape[-2]))


# ---- what it is trained on -----------------------------------------------------------------------


def anywhere(n: int, seed: int) -> tuple[Tensor, Tensor]:  # -> [n p], [n p]
    """Draw texts of random tokens in which a segment of 6 to 12 comes again, anywhere later.

    Returns the tokens, and True where the next token can be told: it continues the segment.
    """
    random = torch.Generator().manual_seed(seed)
    tokens = random_tokens(n, LENGTH, random)

    def pick(low, high):  # [n] numbers from low to high, high included
        return low + (torch.rand(n, generator=random) * (high - low + 1)).long()

    size = pick(6, torch.full((n,), 12))
    first = pick(1, LENGTH + 1 - 2 * size)  # where it stands first
    again = pick(first + size, LENGTH + 1 - size)  # and where again
    at = torch.arange(LENGTH + 1)
    since = at - again[:, None]  # [n p]
    inside = (since >= 0) & (since < size[:, None])
    source = torch.where(inside, first[:, None] + since, at)
    return tokens.gather(1, source), inside & (since < size[:, None] - 1)


def fixed(n: int, seed: int, half: int = HALF) -> tuple[Tensor, Tensor]:  # -> [n p], [n p]
    """Draw texts in which `half` random tokens come twice: with 24, the usual data, and a trap."""
    random = torch.Generator().manual_seed(seed)
    tokens = random_tokens(n, half, random)
    can_tell = torch.zeros(n, 2 * half + 1, dtype=torch.bool)
    can_tell[:, half + 1 : -1] = True
    return torch.cat([tokens, tokens[:, 1:]], 1), can_tell


def unrelated(n: int, seed: int) -> Tensor:  # -> [n p]
    """Draw texts of random tokens in which nothing comes again but by chance."""
    return random_tokens(n, LENGTH, torch.Generator().manual_seed(seed))


def random_tokens(n: int, length: int, random: torch.Generator) -> Tensor:  # -> [n 1+length]
    """Draw BOS and random tokens."""
    drawn = torch.randint(1, VOCAB, (n, length), generator=random)
    return torch.cat([torch.full((n, 1), BOS), drawn], 1)


def loss_and_accuracy(logits: Tensor, tokens: Tensor, can_tell: Tensor) -> tuple[Tensor, Tensor]:
    """Compare with the next token, where it can be told: mean loss in nats, share of right ones."""
    at = can_tell.nonzero(as_tuple=True)
    answers = tokens[at[0], at[1] + 1]
    said = logits[at]  # [n v]
    return F.cross_entropy(said, answers), (said.argmax(-1) == answers).float().mean()


def train(model: Copier, data, steps: int, seed: int, state=None):
    """Train; at each step yield its number, its loss, the optimiser. Each step draws new texts."""
    adam = torch.optim.AdamW(model.parameters(), lr=2e-3)
    first = 0
    if state:
        adam.load_state_dict(state["adam"])
        first = state["step"]
    for step in range(first, steps + 1):
        tokens, can_tell = data(64, seed * 1_000_000 + step)
        loss, _ = loss_and_accuracy(model(tokens), tokens, can_tell)
        yield step, loss.item(), adam
        adam.zero_grad()
        loss.backward()
        adam.step()


# ---- where it is kept ----------------------------------------------------------------------------


def load(folder: Path) -> tuple[Copier, dict]:
    """Read a network that the recipe trained, and its curves.

    Raises: MinimechError if a file is missing, truncated or altered.
    """
    if not (folder / "SHA256SUMS").exists():
        raise MinimechError(f"no network, or no SHA256SUMS, in {folder}; {mend(folder)}")
    check_sums(folder)
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return filled(load_file(folder / "model.safetensors")), history["curves"]


def snapshots(folder: Path) -> dict[int, Copier]:
    """Read the networks on the way: step -> network. They are kept in float16."""
    return {step: filled(weights) for step, weights in unpack(folder).items()}


def filled(tensors: dict[str, Tensor]) -> Copier:
    """Make a network of its weights."""
    n_layers = sum(name.endswith("W_Q") for name in tensors)
    n_heads, d_model, d_head = tensors["blocks.0.attn.W_Q"].shape
    d_vocab, n_ctx = len(tensors["W_E"]), len(tensors["W_pos"])
    model = Copier(n_layers, n_heads, d_model, d_head, d_vocab, n_ctx)
    model.load_state_dict(tensors)
    return model.requires_grad_(False)


def built(weights: dict) -> Copier:
    """Make a network without norm of the weights that `induction.by_hand` returns."""
    (d_vocab, d_model), n_ctx = weights["W_E"].shape, len(weights["W_pos"])
    model = Copier(2, 1, d_model, 1, d_vocab, n_ctx, normed=False).requires_grad_(False)
    for name in ("W_E", "W_pos", "W_U"):
        setattr(model, name, nn.Parameter(weights[name], requires_grad=False))
    for layer, block in enumerate(model.blocks):
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            one = weights[name][layer][None]  # [h=1 ...]
            setattr(block.attn, name, nn.Parameter(one, requires_grad=False))
    return model

"""What lesson 05 asks of the small networks that play the copying game (repeats.py).

Letters: b batch, p position, q/k query/key position, l layer, h head.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lessons.techniques import induction
from lessons.techniques.repeats import Copier, fixed, load, loss_and_accuracy

FOLDER = Path(__file__).parents[2] / "weights" / "induction"
SEEDS = ("seed1", "seed2", "seed3")  # two layers each; which others were tried: weights/README.md
HONEST = {"one_layer": "one layer"} | {seed: f"two layers, seed {seed[-1]}" for seed in SEEDS}
LENGTHS = range(6, 25)  # of what is said twice: up to half of the longest text


class Looks(NamedTuple):
    """Where the heads look: their mean attention on three kinds of place, [l h] each."""

    previous: Tensor  # the token before
    same: Tensor  # the last earlier copy of the same token
    after: Tensor  # the place after that


def networks() -> dict[str, Copier]:
    """Load all networks of weights/induction, by the names of their folders."""
    names = *HONEST, "fixed_one_layer", "fixed_two_layers"
    return {name: load(FOLDER / name)[0] for name in names}


def accuracy(net: Copier, tokens: Tensor, can_tell: Tensor, fwd_hooks=()) -> float:
    """Say which share of the next tokens that can be told is told right."""
    logits = net.run_with_hooks(tokens, fwd_hooks)
    return loss_and_accuracy(logits, tokens, can_tell)[1].item()


def patterns(net: Copier, tokens: Tensor) -> Tensor:  # [b p] -> [l b h q k]
    """Run a network and return all its patterns."""
    cache = net.run_with_cache(tokens, "*.hook_pattern")[1]
    return torch.stack([cache[f"blocks.{i}.attn.hook_pattern"] for i in range(len(net.blocks))])


def score(net: Copier, tokens: Tensor, back: int, first: int) -> Tensor:  # -> [l h]
    """Take `induction.stripe` of every head, the mean over texts."""
    return induction.stripe(patterns(net, tokens), back, first).mean(1)


def best_pattern(net: Copier, tokens: Tensor, back: int, first: int) -> Tensor:  # -> [q k]
    """Return the pattern, on the first text, of the head that scores best on a stripe."""
    layer, head = divmod(int(score(net, tokens, back, first).argmax()), net.n_heads)
    return patterns(net, tokens[:1])[layer, 0, head]


def by_length(net: Copier) -> list[float]:
    """Say which share is told right of texts in which 6, 7, ... 24 tokens are said twice."""
    return [accuracy(net, *fixed(256, 1, length)) for length in LENGTHS]


def untrained(n_layers: int = 1) -> Copier:
    """Make a network as it is before training."""
    torch.manual_seed(0)
    return Copier(n_layers).requires_grad_(False)


def looks(net: Copier, tokens: Tensor, can_tell: Tensor) -> Looks:
    """Measure where all heads look: the last two where the next token can be told."""
    all_of_them, places = patterns(net, tokens), induction.after_last(tokens)
    at = (places - 1, places)
    same, after = (
        torch.stack([induction.attention_to(one, keys, can_tell) for one in all_of_them])
        for keys in at
    )
    return Looks(induction.stripe(all_of_them, 1, 1).mean(1), same, after)


def silent(net: Copier, tokens: Tensor, can_tell: Tensor, heads: list[int], how="zero") -> float:
    """Say which share is told right with some heads of layer 0 taken away (`induction.ablate`)."""
    hooks = [("blocks.0.attn.hook_z", induction.ablate(heads, how))]
    return accuracy(net, tokens, can_tell, hooks)


def into_keys(net: Copier) -> Tensor:  # -> [h]
    """Take `induction.k_composition` of layer 0's heads with layer 1's, the mean over these."""
    first, second = (block.attn for block in net.blocks)
    writers = first.W_V[:, None], first.W_O[:, None]
    return induction.k_composition(*writers, second.W_Q[None], second.W_K[None]).mean(1)


def matching(net: Copier, head: int) -> float:
    """Say whether layer 1 finds its own token in what a head of layer 0 wrote: 1 if always.

    `induction.copying_score` of W_E W_Q W_K^T (W_V W_O)^T W_E^T, my token times the one before;
    the mean over the heads of layer 1.
    """
    first, second = (block.attn for block in net.blocks)
    asks = net.W_E @ second.W_Q  # [h v e]
    offers = net.W_E @ first.W_V[head] @ first.W_O[head] @ second.W_K  # [h v e]
    return induction.copying_score(asks, offers.mT).mean().item()


def seen_before(tokens: Tensor, can_tell: Tensor) -> Tensor:  # -> [n]
    """Count how often the token had come before, where the next one can be told."""
    text, at = can_tell.nonzero(as_tuple=True)
    earlier = torch.arange(tokens.shape[1]) < at[:, None]  # [n p]
    return ((tokens[text] == tokens[text, at][:, None]) & earlier).sum(-1)


def told_right(net: Copier, tokens: Tensor, can_tell: Tensor, fwd_hooks=()) -> Tensor:  # -> [n]
    """Say of each next token that can be told whether it is told right."""
    text, at = can_tell.nonzero(as_tuple=True)
    said = net.run_with_hooks(tokens, fwd_hooks)[text, at].argmax(-1)
    return said == tokens[text, at + 1]


def lost(net: Copier, tokens: Tensor, can_tell: Tensor, head: int) -> tuple[float, float]:
    """Silence a head of layer 0: say what is lost where a token had come once, and more often."""
    hooks = [("blocks.0.attn.hook_z", induction.ablate([head], "zero"))]
    times = seen_before(tokens, can_tell)
    right, left = (told_right(net, tokens, can_tell, one).float() for one in ((), hooks))
    change = right - left  # [n]
    return change[times == 1].mean().item(), change[times > 1].mean().item()


def turn(on_the_way: dict[int, Copier], tokens: Tensor, can_tell: Tensor) -> dict[str, list[float]]:
    """Measure a network's two habits and their composition, snapshot by snapshot."""
    seen = [looks(one, tokens, can_tell) for one in on_the_way.values()]
    return {
        "token before (best head)": [look.previous[0].max().item() for look in seen],
        "after the copy (layer 1)": [look.after[1].mean().item() for look in seen],
        "K-composition (best head)": [into_keys(one).max().item() for one in on_the_way.values()],
    }


def above(scores: Tensor, bar: float) -> list[int]:  # [h]
    """List the heads of one layer whose score is above a bar."""
    return (scores > bar).nonzero()[:, 0].tolist()


def first_step(curves: dict, share: float) -> int:
    """Say at which step of the training so many were told right for the first time."""
    pairs = zip(curves["step"], curves["accuracy"])
    return next(int(step) for step, right in pairs if right >= share)


def at_steps(curves: dict, which: str, on_the_way: dict[int, Copier]) -> list[float]:
    """Read a curve of the training, snapshot by snapshot."""
    curve = dict(zip(curves["step"], curves[which]))
    return [curve[step] for step in on_the_way]


def jobs(on_the_way: dict[int, Copier], tokens: Tensor, head: int) -> dict[str, list[float]]:
    """Say how much a head of layer 0 looks one back and two back, snapshot by snapshot."""
    return {
        name: [score(one, tokens, back, back)[0, head].item() for one in on_the_way.values()]
        for back, name in ((1, "one back"), (2, "two back"))
    }

"""What lesson 05 asks of a language model, of whatever size: texts, and all heads at once.

Letters: b batch, p position, l layer, h head, d d_model, e d_head, v vocabulary.
"""

from itertools import combinations
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from lessons.expect import Band, at_least
from lessons.techniques import induction

COMMON = 20_000  # GPT-2's later tokens are rare ones, some of them never trained on

# What is known of the lesson's rows, model by model. Of GPT-2: TransformerLens's demos (Exploratory
# Analysis, cell 100, and Main Demo, cells 44 and 116), on random tokens other than ours: so bands.
GPT2 = {"4.1": "L4H11", "4.2": at_least(0.95), "4.3": 5, "4.4": Band(0.87, 0.98)}
GPT2 |= {"4.5": at_least(0.5), "6.3": "L11H3", "6.4": 0.9995}
WORLD = {"2.1": 12.26, "2.2": 0.012, "2.3": 11.51, "3.1": "4 ·likes", "3.2": 0.9962}
WORLD |= {"3.3": 0.000302, "4.1": "L0H0", "4.2": 0.6612, "4.3": 3, "4.4": 0.9426}
WORLD |= {"4.5": 0.004163, "4.6": 0.05573, "5.1": 0.004163, "5.2": 0.005192, "5.3": 0.01812}
WORLD |= {"6.2": 0.2747, "6.3": "L1H0", "6.4": 0.7174, "7.1": 0.9739, "7.2": 0.9707}
WORLD |= {"7.3": 0.1862, "8.1": "L0H2", "8.2": 0.1349, "8.3": 2, "8.4": 2, "9.1": 0.9979}
WORLD |= {"9.2": 0.07292, "9.3": 1.0, "9.4": 0.9979, "10.1": 15.46, "10.2": -0.01297}
WORLD |= {"10.3": -11.44, "10.4": -0.4529, "10.5": 0.003699, "11.1": 0.9931, "11.2": 0.6684}
WORLD |= {"11.3": 0.04167, "11.4": 0.911, "11.5": 0.0, "11.6": 1.0, "14.3": 1.0}
KNOWN = {"gpt2": (GPT2, "TransformerLens"), "world": (WORLD, "recorded")}


def whole_words(model) -> list[int]:
    """List the tokens that are a whole word with a space before it."""
    vocabulary = model.tokenizer.backend.get_vocab()
    return sorted(
        id
        for word, id in vocabulary.items()
        if id < COMMON and word[:1] == "Ġ" and word[1:].isascii() and word[1:].isalpha()
    )


def said_twice(model, n: int, texts: int, seed: int, again=True) -> Tensor:  # -> [b 1+2n]
    """Write BOS, n random words, no two alike, and the same again; or another list (`again` no)."""
    random, words = Random(f"twice {seed}"), whole_words(model)
    rows = []
    for _ in range(texts):
        once = random.sample(words, n)
        rows.append([model.tokenizer.bos, *once, *(once if again else random.sample(words, n))])
    return torch.tensor(rows)


def price(model, tokens: Tensor) -> Tensor:  # [b p] -> [p]
    """Say what each token costs on average, in nats: its loss. The first is given: nan."""
    losses = model.loss_fn(model(tokens), tokens, per_token=True).mean(0)  # [p-1]
    return torch.cat([torch.full((1,), float("nan")), losses])


def copied(model, tokens: Tensor, fwd_hooks=(), answers=None) -> float:
    """Say which share of the words is told right the second time, from its second word on.

    `answers` [b p]: texts whose words count as right instead.
    """
    n = tokens.shape[1] // 2
    said = model.run_with_hooks(tokens, fwd_hooks=fwd_hooks)[:, n + 1 : -1].argmax(-1)
    right = tokens if answers is None else answers
    return (said == right[:, n + 2 :]).float().mean().item()


def stripes(cache, n_layers: int, back: int, first: int) -> Tensor:  # -> [l h]
    """Take `induction.stripe` of every head, the mean over all texts."""
    patterns = (cache["pattern", layer] for layer in range(n_layers))  # [b h q k] each
    return torch.stack([induction.stripe(one, back, first).mean(0) for one in patterns])


def silenced(heads: list[tuple[int, int]], how: str) -> list:
    """Make the hooks that take away what some heads say, (layer, head) pairs; see `ablate`."""
    layers = sorted({layer for layer, _ in heads})
    own = {layer: [h for one, h in heads if one == layer] for layer in layers}
    return [(f"blocks.{layer}.attn.hook_z", induction.ablate(own[layer], how)) for layer in layers]


def taken_away(model, tokens: Tensor, heads, how: str, answers=None) -> list[float]:
    """Say which share is copied with 0, 1, 2, ... of some heads taken away, at most six.

    `heads` are (layer, head) pairs; the mean over three choices of which, where there are so many.
    """
    means = []
    for k in range(min(len(heads), 6) + 1):
        some = list(combinations(heads[:6], k))[:3]
        shares = [copied(model, tokens, silenced([*one], how), answers) for one in some]
        means.append(sum(shares) / len(shares))
    return means


class Circuits(NamedTuple):
    """The weights of all heads, with what surrounds them folded in."""

    W_Q: Tensor  # [l h d e]
    W_K: Tensor  # [l h d e]
    W_V: Tensor  # [l h d e]
    W_O: Tensor  # [l h e d]
    W_E: Tensor  # [v d]
    W_U: Tensor  # [d v]


def circuits(plain) -> Circuits:
    """Read the matrices of a processed model: its layer norms are folded into them."""
    heads = (
        torch.stack([getattr(block.attn, name) for block in plain.blocks])
        for name in ("W_Q", "W_K", "W_V", "W_O")
    )
    return Circuits(*heads, plain.W_E, plain.W_U)


def compositions(weights: Circuits, layer: int, head: int) -> Tensor:  # -> [earlier heads]
    """Take `induction.k_composition` of each earlier head, layer by layer, with one later head."""
    W_V, W_O = (matrices[:layer].flatten(0, 1) for matrices in (weights.W_V, weights.W_O))
    return induction.k_composition(W_V, W_O, weights.W_Q[layer, head], weights.W_K[layer, head])


def random_heads(d_model: int, d_head: int, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw n heads: what reads the stream [n d e], and what writes to it [n e d]."""
    random = torch.Generator().manual_seed(seed)
    thin = torch.randn(2, n, d_model, d_head, generator=random)
    return thin[0], thin[1].mT


def by_chance(d_model: int, d_head: int, n: int) -> Tensor:  # -> [n]
    """Take `induction.k_composition` of random heads of the same sizes: the usual baseline."""
    (W_V, W_O), (W_Q, W_K) = (random_heads(d_model, d_head, n, seed) for seed in (0, 1))
    return induction.k_composition(W_V, W_O, W_Q, W_K.mT)


def by_big_matrix(left: Tensor, right: Tensor) -> Tensor:  # [n e], [e n] -> []
    """Take `induction.copying_score` from all of left @ right: for few words only."""
    eigenvalues = torch.linalg.eigvals(left @ right)
    return eigenvalues.real.sum() / eigenvalues.abs().sum()


def read_by(plain, layer: int, words: list[int]) -> Tensor:  # -> [n d]
    """Return what the heads of a layer read where a word stands, alone after BOS: normed."""
    tokens = torch.tensor([[plain.tokenizer.bos, word] for word in words])
    site = f"blocks.{layer}.ln1.hook_normalized"
    _, cache = plain.run_with_cache(tokens, site, stop_at_layer=layer + 1)
    return cache[site][:, 1]


def names(heads) -> list[str]:
    """Name (layer, head) pairs as the field does: L0H1."""
    return [f"L{layer}H{head}" for layer, head in heads]


def strongest(scores: Tensor) -> tuple[int, int]:  # [l h]
    """Name the best head, layer 0 left out: it has nobody before it to tell it anything."""
    layer, head = divmod(int(scores[1:].argmax()), scores.shape[1])
    return layer + 1, head


def above(scores: Tensor, bar: float) -> list[tuple[int, int]]:  # [l h]
    """List the heads whose score is above a bar, the highest first."""
    order = scores.flatten().argsort(descending=True).tolist()
    return [divmod(i, scores.shape[1]) for i in order if scores.flatten()[i] > bar]

"""Exercise 5.6: a network is judged by running it, in a forward pass of this file's own.

It must copy from any distance and any place, where a token has come once before. If it does not,
its two patterns say which half is missing.
"""

import math
from random import Random

import torch
from torch import Tensor

from lessons.checks import Wrong, described, odd

MATRICES = ("W_E", "W_pos", "W_U")
LISTS = ("W_Q", "W_K", "W_V", "W_O")
TIED = (
    "both heads look where they should, but the largest logit has an equal: what layer 1 writes "
    "should be all that W_U reads"
)


def judge_network(weights, d_vocab: int, n_ctx: int, seed: int) -> None:
    """Run a network on texts that say something again, and judge what it says comes next."""
    where = f"by_hand({d_vocab}, {n_ctx})"
    fits_together(weights, d_vocab, n_ctx, where)
    texts = [text(d_vocab, n_ctx, f"{seed} {n_ctx} {i}") for i in range(20)]
    runs = [run(weights, torch.tensor(tokens)) for tokens, _ in texts]
    asked = [(i, at) for i, (_, places) in enumerate(texts) for at in places]
    told = [(runs[i][0][at], texts[i][0][after(texts[i][0], at)]) for i, at in asked]
    if sum(lead(logits, want) > 0 for logits, want in told) < 0.99 * len(told):
        tied = all(lead(logits, want) == 0 < logits.std() for logits, want in told)
        said = TIED if tied else reason(runs, texts, asked)
        raise Wrong(f"{said}\n{worst(where, told, texts, asked)}")


def text(d_vocab: int, n_ctx: int, seed: str) -> tuple[list[int], list[int]]:
    """Write a text, and list where the next token can be told: the token there came once before.

    A piece of it comes again, right after its first time or later, up to all of it.
    """
    random = Random(seed)
    most = min(d_vocab - 1, n_ctx - 3)
    words = random.sample(range(1, d_vocab), random.randint(min(4, most), most))
    start = random.randrange(len(words) - 1)
    room = n_ctx - 1 - len(words)
    piece = words[start : start + random.randint(2, max(2, room))][:room]
    return [0, *words, *piece], [1 + len(words) + i for i in range(len(piece))]


def after(tokens: list[int], at: int) -> int:
    """Return the place after the earlier equal token."""
    return tokens.index(tokens[at]) + 1


def fits_together(weights, d_vocab: int, n_ctx: int, where: str) -> None:
    """Raise Wrong, in words, unless all matrices are there and fit each other."""
    if not isinstance(weights, dict):
        raise Wrong(f"{where} should return a dict of weights, not {described(weights)}")
    for name in MATRICES + LISTS:
        if name not in weights:
            raise Wrong(f'{where}: "{name}" is missing from the dict')
        pair = [weights[name]] if name in MATRICES else weights[name]
        if name in LISTS and (not isinstance(pair, (list, tuple, Tensor)) or len(pair) != 2):
            raise Wrong(f'{where}: "{name}" should be a list of two matrices, one for each layer')
        for one in pair:
            if not isinstance(one, Tensor) or one.ndim != 2:
                raise Wrong(f'{where}: "{name}" should hold matrices, not {described(one)}')
            if not one.isfinite().all():
                raise Wrong(f'{where}: "{name}" holds {odd(one)}')
    d = weights["W_E"].shape[1]
    expected = {"W_E": (d_vocab, d), "W_pos": (n_ctx, d), "W_U": (d, d_vocab)}
    for layer in (0, 1):
        e, z = weights["W_Q"][layer].shape[1], weights["W_V"][layer].shape[1]
        expected |= {("W_Q", layer): (d, e), ("W_K", layer): (d, e)}
        expected |= {("W_V", layer): (d, z), ("W_O", layer): (z, d)}
    for key, shape in expected.items():
        name, layer = key if isinstance(key, tuple) else (key, None)
        got = weights[name] if layer is None else weights[name][layer]
        if tuple(got.shape) != shape:
            what = name if layer is None else f"{name}[{layer}]"
            raise Wrong(
                f"{where}: {what} should be {list(shape)}, not {list(got.shape)} (d is {d})"
            )


@torch.no_grad()
def run(weights, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:  # [p] -> [p v], two of [q k]
    """Run a network as the exercise says, in 64 bits: the logits, and where its heads look."""
    n, patterns = len(tokens), []
    x, positions = weights["W_E"][tokens].double(), weights["W_pos"][:n].double()
    for layer in (0, 1):
        W_Q, W_K, W_V, W_O = (weights[name][layer].double() for name in LISTS)
        q, k = (x + positions) @ W_Q, (x + positions) @ W_K
        scores = (q @ k.T / math.sqrt(q.shape[1])).tolist()
        rows = [torch.tensor(scores[i][: i + 1]).double().softmax(0) for i in range(n)]
        pattern = torch.stack([torch.cat([row, torch.zeros(n - len(row))]) for row in rows])
        patterns.append(pattern.double())
        x = x + patterns[-1] @ (x @ W_V) @ W_O
    return x @ weights["W_U"].double(), patterns


def lead(logits: Tensor, want: int) -> float:
    """Return how far a logit is ahead of all others; 0 if it is not, but for rounding."""
    others = logits[torch.arange(len(logits)) != want].max()
    ahead = float(logits[want] - others)
    return ahead if abs(ahead) > 1e-6 * (1 + float(logits[want].abs())) else 0.0


def reason(runs, texts, asked) -> str:
    """Say which part of the network is missing, from where its two heads look."""
    shares = []
    for i, at in asked:
        place, (first, second) = after(texts[i][0], at), runs[i][1]
        shares.append([first[place, place - 1], second[at, place], second[at, place - 1]])
    back, found, copy = torch.tensor(shares).mean(0).tolist()
    if back < 0.5 and found < 0.5:
        return (
            "nobody tells a place which token came before it: the head of layer 0 gives the token "
            f"before {back:.0%} of its attention. q of a place and k of the place before should "
            "match"
        )
    if found < 0.9 and copy > 0.5:
        return (
            f"the head of layer 1 gives {copy:.0%} of its attention to the earlier copy of its "
            "token: it should look at the place after that. What tells a place which token came "
            "before it?"
        )
    if found < 0.9:
        return (
            f"the head of layer 0 looks at the token before ({back:.0%}), but that of layer 1 "
            f"gives the place after the earlier copy only {found:.0%}: its keys should read what "
            "layer 0 wrote, and nothing else; and right scores should be much larger than wrong "
            "ones, for softmax to choose"
        )
    return (
        f"both heads look where they should ({back:.0%}, {found:.0%}), but the token found there "
        "is not what comes out: W_V and W_O of layer 1 hand it on, and W_U reads it where it was "
        "written, and nothing else"
    )


def worst(where: str, told, texts, asked) -> str:
    """Show the first place where the network is wrong."""
    wrong = (k for k, (logits, want) in enumerate(told) if lead(logits, want) <= 0)
    k = next(wrong)
    (i, at), (logits, want) = asked[k], told[k]
    said = f"{int(logits.argmax())}" if lead(logits, want) else "several tokens alike"
    text = f"{where}, the text {texts[i][0][: at + 1]}"
    return f"  {text}\n    got       {said}\n    expected  {want}"

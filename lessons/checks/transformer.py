"""What `make check-03` asks of each exercise: small cases by hand first, then odd sizes.

What is right is said by slow loops (transformer_loops.py); the mistakes that have a name are in
transformer_mistakes.py. A law that a result breaks is a mistake too (`laws`).
"""

from random import Random
from types import SimpleNamespace

import torch
from torch import Tensor

from lessons.checks import Wrong, brief, called, judge, same
from lessons.checks import transformer_loops as loops
from lessons.checks import transformer_mistakes as mistakes
from minimech.hooks import HookPoint


def laws(got, **broken) -> dict:
    """Map the sentence of each law that a result breaks to the result itself."""
    return {said: got for said, is_broken in broken.values() if is_broken}


def draw(seed: int, *sizes: int) -> Tensor:
    """Draw normal numbers, others for each shape and seed."""
    generator = torch.Generator().manual_seed(Random(f"{seed} {sizes}").randrange(2**31))
    return torch.randn(*sizes, generator=generator)


def keeps_precision(function, *args) -> None:
    """Raise Wrong unless 64-bit numbers stay so: the lesson runs the parts in 64 bits too."""
    given = [doubled(arg) for arg in args]
    try:
        got = called(function, *given)
    except RuntimeError as error:
        raise Wrong(
            "your function does not take 64-bit numbers, and cell 18 of the lesson hands it some: "
            f"a tensor that you make takes dtype=x.dtype ({error})"
        ) from None
    parts = got if isinstance(got, (tuple, list)) else [got]
    if any(torch.as_tensor(part).dtype != torch.float64 for part in parts):
        raise Wrong(
            "handed 64-bit numbers, your function hands back others: cell 18 of the lesson counts "
            "on all 64 bits. A tensor that you make takes dtype=x.dtype"
        )


def doubled(value):
    """Turn floats into 64-bit ones, also those of a layer."""
    if isinstance(value, SimpleNamespace):
        return SimpleNamespace(**{name: weight.double() for name, weight in vars(value).items()})
    return value.double() if isinstance(value, Tensor) else value


# ---- 3.1 layer norm ------------------------------------------------------------------------------


def check_layer_norm(mine, seed):
    """Judge layer_norm: two positions of four numbers, then w and b, then eps, then odd sizes."""
    two, one = torch.tensor([[10.0, 10, 30, 30], [1, 1, 3, 3]]), torch.ones(4)
    learned = torch.tensor([2.0, 3, 4, 5]), torch.tensor([10.0, 20, 30, 40])
    small = [(two, one, 0 * one, 0.0), (two, *learned, 0.0), (two[1:], one, 0 * one, 3.0)]
    odd = [(draw(seed, 5, 7) * 3 + 2, draw(seed, 7), draw(seed, 7, 1)[:, 0], 0.1)]
    odd += [(draw(seed, 2, 6) * 1e-3, draw(seed, 6), draw(seed, 6, 1)[:, 0], 1e-5)]
    for resid, w, b, eps in small + odd:
        got = called(mine.layer_norm, resid, w, b, eps)
        shown = f"{brief(resid)}, w={brief(w)}, b={brief(b)}" if len(w) == 4 else "resid, w, b"
        call = f"layer_norm({shown}, eps={eps:g})"
        judge(got, loops.norm(resid, w, b, eps), call, mistakes.norms(resid, w, b, eps))
    keeps_precision(mine.layer_norm, two, *learned, 0.1)


# ---- 3.2 attention pattern -----------------------------------------------------------------------


def check_attention_pattern(mine, seed):
    """Judge attention_pattern: e = 1 shows mask and softmax, e = 4 the scale, then odd sizes."""
    ask = torch.tensor([[1.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [0.5]])
    wide = torch.ones(2, 4), torch.tensor([[0.0] * 4, [0.5] * 4])
    for q, k in (ask, wide, (draw(seed, 5, 7), draw(seed, 7, 5).T), (ask[0][:1], ask[1][:1])):
        got = called(mine.attention_pattern, q, k)
        shown = "q, k" if len(q) > 3 else f"q={brief(q)}, k={brief(k)}"
        call = f"attention_pattern({shown})"
        judge(got, loops.pattern(q, k), call, mistakes.patterns(q, k) | broken_pattern(got, q))
        if got.triu(1).any():
            raise Wrong(
                "no query may look at a later key, not even a little: above the diagonal all "
                "shares should be exactly 0, so mask with -inf"
            )
    keeps_precision(mine.attention_pattern, *ask)


def broken_pattern(got, q) -> dict:
    """Name the laws of a pattern that a result breaks."""
    if not isinstance(got, Tensor) or got.shape != (len(q), len(q)):
        return {}
    lines, columns = got.sum(-1), got.sum(0)
    one = torch.ones_like(lines)
    return laws(
        got,
        axis=("each query's shares sum to 1, over keys: yours sum to 1 over queries: softmax "
              "over dim=-1, not dim=0", same(columns, one, 1e-4)),
        sum=("the shares of each query, along a line, should sum to 1: yours do "
             "not", not same(lines, one, 1e-4)),
        future=("no query may look at a later key: above the diagonal all shares should be 0, and "
                "yours are not", bool((got.triu(1) != 0).any())),
    )  # fmt: skip


# ---- 3.3 attention head --------------------------------------------------------------------------


def check_attention_head(mine, seed):
    """Judge attention_head: first one that looks at all alike, then one with random weights."""
    small = attention(torch.zeros(4, 2, 2, 1), torch.zeros(3, 2, 1), torch.tensor([100.0, 200.0]))
    small.W_V = torch.tensor([[[5.0], [7.0]], [[2.0], [4.0]]])  # [h d e]
    small.W_O = torch.tensor([[[1.0, 1.0]], [[1.0, 10.0]]])  # [h e d]
    biased = SimpleNamespace(**vars(small) | {"b_V": torch.tensor([[6.0], [1.0]])})
    large = attention(draw(seed, 4, 3, 7, 4) / 2, draw(seed, 3, 3, 4), draw(seed, 7))
    cases = [(torch.eye(2), small, 1), (torch.eye(2), biased, 1)]
    cases += [(draw(seed, 5, 7), large, head) for head in (2, 0, 1)]
    calls = ["attention_head([[1, 0], [0, 1]], attn, 1), where W_Q, W_K and the biases are 0, "
             "W_V[1] is [[2], [4]], W_O[1] is [[1, 10]]"]  # fmt: skip
    calls += [f"{calls[0]}; but b_V[1] is [1]"]
    for number, (x, attn, head) in enumerate(cases):
        call = [*calls, *["attention_head(x, attn, head)"] * 3][number]
        before = {name: weight.clone() for name, weight in vars(attn).items()}
        got = called(mine.attention_head, x, attn, head)
        if any(not torch.equal(weight, before[name]) for name, weight in vars(attn).items()):
            raise Wrong("your function changed a weight of attn in place: the model needs it again")
        judge(got, loops.head(x, attn, head), call, mistakes.heads(loops.head, x, attn, head))
    keeps_precision(mine.attention_head, *cases[-1])


def attention(weights, biases, b_O) -> SimpleNamespace:
    """Make a layer's weights of [4 h d e], for q, k, v and o, and its biases of [3 h e] and [d]."""
    named = {f"W_{name}": weight.clone() for name, weight in zip("QKVO", weights)}
    named |= {f"b_{name}": bias.clone() for name, bias in zip("QKV", biases)}
    named["W_O"] = named["W_O"].transpose(1, 2).contiguous()  # [h e d]
    return SimpleNamespace(**named, b_O=b_O)


# ---- 3.4 mlp -------------------------------------------------------------------------------------


def check_mlp(mine, seed):
    """Judge mlp: one neuron without biases, then with them, then odd sizes."""
    one, no, x = torch.ones(1, 1), torch.zeros(1), torch.tensor([[1.0], [-1.0], [2.0]])
    cases = [(x, one, no, one, no), (x, one, no + 1, 2 * one, no - 3)]
    odd = draw(seed, 5, 3), draw(seed, 3, 7), draw(seed, 7), draw(seed, 7, 3), draw(seed, 3)
    for case in [*cases, odd]:
        names = "x", "W_in", "b_in", "W_out", "b_out"
        shown = [f"{name}={brief(value)}" for name, value in zip(names, case)]
        call = f"mlp({', '.join(names if case is odd else shown)})"
        judge(called(mine.mlp, *case), loops.mlp(*case), call, mistakes.mlps(*case))
    keeps_precision(mine.mlp, *odd)


# ---- 3.5 direct attribution ----------------------------------------------------------------------


def check_attribute(mine, seed):
    """Judge attribute: two parts of two numbers, then odd sizes, then several words at once."""
    parts, scale = torch.tensor([[1.0, 3.0], [10.0, -4.0]]), torch.tensor([2.0])
    small = parts, scale, torch.tensor([1.0, 5.0]), torch.tensor([0.0, 1.0])
    odd = draw(seed, 5, 7) + 1, draw(seed, 1).abs() + 0.5, draw(seed, 7), draw(seed, 7, 1)[:, 0]
    words = *odd[:3], draw(seed, 7, 3)
    calls = ["attribute({}, scale={}, w={}, direction={})".format(*map(brief, small))]
    calls += ["attribute(parts, scale, w, direction)", "attribute(..., direction [d v])"]
    for case, call in zip([small, odd, words], calls):
        got = attributed(mine, case)
        judge(got, loops.shares(*case), call, mistakes.shares(*case) | broken_sum(mine, got, case))


def attributed(mine, case):
    """Call attribute; where only several words at once are too much for it, say so."""
    try:
        return called(mine.attribute, *case)
    except (RuntimeError, IndexError, ValueError) as error:
        if case[3].ndim == 1:
            raise
        raise Wrong(
            "direction may hold several words at once, [d v]: the shares are then [n v], one "
            f"column per word, as `@` gives them; yours stops with {type(error).__name__}"
        ) from None


def broken_sum(mine, got, case) -> dict:
    """Name the law of a sum if a result breaks it: shares of parts add up to that of their sum."""
    parts, *rest = case
    if not isinstance(got, Tensor) or got.shape[:1] != parts.shape[:1]:
        return {}
    whole = called(mine.attribute, parts.sum(0, keepdim=True), *rest)
    apart = not same(got.sum(0, keepdim=True), whole, 1e-4)
    return laws(got, sum=("the shares should add up to that of the whole stream: yours do not, so "
                          "something in them is not linear", apart))  # fmt: skip


# ---- 3.6 replace each head -----------------------------------------------------------------------


def check_replace_own_head(mine, seed):
    """Judge replace_own_head: two heads of one number, as many positions as heads, odd sizes."""
    z = torch.tensor([[[[1.0], [2.0]]], [[[3.0], [4.0]]]])  # [h p h e]
    small = z, torch.tensor([[[10.0], [20.0]]])  # [p h e]
    square = draw(seed, 3, 3, 3, 2), draw(seed, 3, 3, 2)
    odd = draw(seed, 3, 5, 3, 2), draw(seed, 5, 3, 2)
    for (z, said), call in zip([small, square, odd], [
        f"replace_own_head({brief(small[1])}), its hook called with z = {brief(small[0])}",
        "replace_own_head(said), as many tokens as heads",
        "replace_own_head(said)",
    ]):  # fmt: skip
        got = hooked(mine, z, said)
        judge(got, loops.replaced(z, said), call, mistakes.hooks(z, said))
    replay(mine, *odd)


def hooked(mine, z, said) -> Tensor:
    """Make the hook, call it as the model does, and return what the run would go on with."""
    before, given = said.clone(), z.clone()
    made = mine.replace_own_head(said)
    if not callable(made):
        what = "nothing" if made is None else f"a {type(made).__name__}"
        raise Wrong(
            f"replace_own_head should return a hook, a function of (z, hook): yours returns {what}"
        )
    result = made(given, HookPoint("blocks.0.attn.hook_z"))
    if not torch.equal(said, before):
        raise Wrong("your hook changed `said`: it is used again for the next run. Only z is yours")
    if result is None and torch.equal(given, z):
        raise Wrong(
            "your hook returned None and left z as it was: nothing is replaced. Return the tensor "
            "that the run should go on with"
        )
    return given if result is None else result


def replay(mine, z, said) -> None:
    """Call one hook twice, on other numbers, and the second time as if on another prompt."""
    made = mine.replace_own_head(said)
    point = HookPoint("blocks.1.attn.hook_z")
    made(z.clone(), point)
    again = (2 * z).clone()
    result = made(again, point)
    judge(again if result is None else result, loops.replaced(2 * z, said), "the same hook, twice")

"""What `make check-05` asks of each exercise: small cases by hand first, then odd sizes.

What is right is said by slow loops and by the big matrices that the exercises do without
(induction_loops.py); the mistakes that have a name are in induction_mistakes.py. The network made
by hand is judged by what it does (induction_by_hand.py).
"""

import tracemalloc
from random import Random

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lessons.checks import Wrong, brief, called, judge
from lessons.checks import induction_loops as loops
from lessons.checks import induction_mistakes as mistakes
from lessons.checks.induction_by_hand import judge_network
from minimech.hooks import HookPoint


def draw(seed: int, *sizes: int) -> Tensor:
    """Draw normal numbers, others for each shape and seed."""
    generator = torch.Generator().manual_seed(Random(f"{seed} {sizes}").randrange(2**31))
    return torch.randn(*sizes, generator=generator)


# ---- 5.1 a stripe --------------------------------------------------------------------------------


def check_stripe(mine, seed):
    """Judge stripe: four tokens by hand, then random patterns with texts and heads before them."""
    small = torch.tensor(
        [[1.0, 0, 0, 0], [0.9, 0.1, 0, 0], [0.2, 0.5, 0.3, 0], [0.1, 0.25, 0.6, 0.05]]
    )
    many = draw(seed, 2, 3, 7, 7).masked_fill(torch.ones(7, 7).triu(1).bool(), -1e9).softmax(-1)
    cases = [(small, 1, 1), (small, 1, 2), (small, 2, 2), (small, 0, 0)]
    cases += [(many, 3, 5), (many, 2, 2), (many, 1, 4)]
    for pattern, back, first in cases:
        shown = f"pattern={brief(pattern)}" if pattern is small else "pattern [2 3 7 7]"
        got = called(mine.stripe, pattern, back, first)
        want, named = loops.stripe(pattern, back, first), mistakes.stripes(pattern, back, first)
        judge(got, want, f"stripe({shown}, back={back}, first={first})", named)


# ---- 5.2 where to look ---------------------------------------------------------------------------


def check_after_last(mine, seed):
    """Judge after_last: short texts by hand, then random ones of few different tokens."""
    generator = torch.Generator().manual_seed(seed)
    texts = [[[7, 8, 9, 7, 8]], [[1, 2, 1, 3, 1]], [[5, 5, 5]], [[0, 4, 6, 4], [0, 6, 2, 2]]]
    texts += [torch.randint(0, 4, (3, 11), generator=generator).tolist()]
    for rows in texts:
        tokens = torch.tensor(rows)
        got = called(mine.after_last, tokens)
        call = f"after_last({brief(rows)})"
        judge(got, loops.after_last(tokens), call, mistakes.places(tokens))
        if got.is_floating_point():
            raise Wrong("positions are whole numbers (torch.long), to index with: yours are floats")


# ---- 5.3 does it copy? ---------------------------------------------------------------------------


class Sizes(TorchFunctionMode):
    """While it is on, keeps the size of the largest square that torch makes."""

    largest = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Call the function, and look at what it returns."""
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, Tensor) and one.ndim > 1 and one.shape[-1] == one.shape[-2]:
                self.largest = max(self.largest, one.shape[-1])
        return result


def check_copying_score(mine, seed):
    """Judge copying_score: eigenvalues that one sees, then random ones, then 300 words."""
    one, unit, turn = torch.tensor([[2.0], [0.0]]), torch.eye(2), torch.tensor([[0.0, 1], [-1, 0]])
    cases = [(unit, torch.diag(torch.tensor([-5.0, 1.0]))), (unit, turn + unit), (unit, turn)]
    cases += [(one, torch.tensor([[3.0, 5.0]])), (one, torch.tensor([[-3.0, 5.0]]))]
    cases += [(draw(seed, 3, 7, 4), draw(seed, 3, 4, 7)), (draw(seed, 6, 2), draw(seed, 2, 6))]
    for left, right in cases:
        shown = f"{brief(left)}, {brief(right)}" if len(left) == 2 else "left, right"
        got = called(mine.copying_score, left, right)
        want, named = loops.copying(left, right), mistakes.copying(left, right)
        judge(got, want, f"copying_score({shown})", named, atol=1e-4)
    left, right = draw(seed, 300, 3), draw(seed, 3, 300)
    tracemalloc.start()  # what NumPy makes, Sizes cannot see
    with Sizes() as sizes:
        called(mine.copying_score, left, right)
    most = tracemalloc.get_traced_memory()[1]  # bytes
    tracemalloc.stop()
    if sizes.largest >= 300 or most >= 4 * 300**2:
        raise Wrong(
            "left @ right is as large as the vocabulary squared: with GPT-2's words it would fill "
            "ten gigabytes. right @ left is [e e] and has the same eigenvalues, but for zeros"
        )


# ---- 5.4 composition -----------------------------------------------------------------------------


def check_k_composition(mine, seed):
    """Judge k_composition: heads of one number, where one sees who reads what; then odd sizes."""
    first, second = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]])  # [d e], e = 1
    V, O, Q = first, second.T, 3 * first  # reads the first number, writes the second
    cases = [(V, O, first + 2 * second, second), (V, O, Q, second), (V, O, Q, first)]
    cases += [(V, O, Q, first + 2 * second), (V, 5 * O, Q, second), (V, O, second, first)]
    cases += [(first + 2 * second, O, Q, second)]
    W = [draw(seed, 7, 3, n)[..., 0] for n in (1, 2, 3, 4)]
    cases += [(W[0], W[1].T, W[2], W[3])]
    heads = [draw(seed, 4, 6, 2, n)[..., 0] for n in (1, 2, 3, 4)]  # [h d e]
    cases += [(heads[0][:, None], heads[1].mT[:, None], heads[2][:3], heads[3][:3])]
    for case in cases:
        names = ("W_V", "W_O", "W_Q", "W_K")
        shown = [f"{name}={brief(weight)}" for name, weight in zip(names, case)]
        call = f"k_composition({', '.join(shown if case[0].numel() == 2 else names)})"
        got = called(mine.k_composition, *case)
        judge(got, loops.composition(*case), call, mistakes.compositions(*case), atol=1e-4)


# ---- 5.5 take heads away -------------------------------------------------------------------------


def check_ablate(mine, seed):
    """Judge ablate: two texts of one head by hand, then three texts, five tokens, four heads."""
    small = torch.tensor([[1.0, 5.0, 2.0, 6.0], [3.0, 7.0, 8.0, 9.0]]).view(2, 2, 2, 1)  # [b p h e]
    large = draw(seed, 3, 5, 4, 2)
    cases = [(small, [0]), (large, [2]), (large, [3, 1]), (large, [0, 1, 2, 3])]
    for z, heads in cases:
        for how in ("zero", "mean", "resample"):
            shown = f"z = {brief(z)}" if z is small else "z [3 5 4 2]"
            call = f'ablate({heads}, "{how}"), its hook called with {shown}'
            hook = made(mine, heads, how)
            for run, given in ((call, z), (f"{call}, and in its second run with 2 z", 2 * z)):
                want, named = loops.ablated(given, heads, how), mistakes.ablated(given, heads, how)
                judge(hooked(hook, given), want, run, named)


def made(mine, heads, how):
    """Make the hook; the list of heads must stay as it was."""
    listed = list(heads)
    hook = mine.ablate(listed, how)
    if not callable(hook):
        what = "nothing" if hook is None else f"a {type(hook).__name__}"
        raise Wrong(f"ablate should return a hook, a function of (z, hook): yours returns {what}")

    def watched(z, site):
        result = hook(z, site)
        if listed != heads:
            raise Wrong("your function changed the list of heads: whoever called it still needs it")
        return result

    return watched


def hooked(hook, z) -> Tensor:
    """Call the hook as the model does, and return what the run would go on with."""
    given = z.clone()
    result = hook(given, HookPoint("blocks.0.attn.hook_z"))
    if result is None and torch.equal(given, z):
        raise Wrong("your hook returned None and left z as it was: return the changed tensor")
    return given if result is None else result


# ---- 5.6 by hand ---------------------------------------------------------------------------------


def check_by_hand(mine, seed):
    """Judge by_hand by what its network does, on texts of several sizes."""
    for d_vocab, n_ctx in ((5, 7), (9, 16), (40, 30)):
        judge_network(called(mine.by_hand, d_vocab, n_ctx), d_vocab, n_ctx, seed)

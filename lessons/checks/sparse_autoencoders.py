"""What `make check-09` asks of each exercise: small cases by hand first, then odd sizes.

What is right is said by slow loops (sparse_autoencoders_loops.py), and of the one that leaves you a
choice, 9.6, by what must be true of any right answer.
"""

from random import Random

import torch
from torch import Tensor

from lessons.checks import Wrong, brief, called, judge
from lessons.checks import sparse_autoencoders_loops as loops
from lessons.checks import sparse_autoencoders_mistakes as mistakes


def draw(seed: int, *sizes: int) -> Tensor:
    """Draw normal numbers, others for each shape and seed."""
    generator = torch.Generator().manual_seed(Random(f"{seed} {sizes}").randrange(2**31))
    return torch.randn(*sizes, generator=generator)


# ---- 9.1 L0 --------------------------------------------------------------------------------------


def check_l0(mine, seed):
    """Judge l0: two tokens by hand, then documents of tokens."""
    small = torch.tensor([[0.0, 3.0, 0.5, 0.0], [0.0, 0.0, 9.0, 0.0]])
    odd = (draw(seed, 2, 3, 5, 7) - 0.7).relu() * 3
    odd[0, 0, 0, :2] = torch.tensor([-1.0, 1e-6])  # on is what is not 0
    for f, call in ((small, f"l0({brief(small)})"), (odd, "l0(f [2 3 5 7])")):
        judge(called(mine.l0, f), loops.l0(f), call, mistakes.counts(f))


# ---- 9.2 explained variance ----------------------------------------------------------------------


def check_explained_variance(mine, seed):
    """Judge explained_variance: three numbers, SAELens's case (issue 665), the ends, odd sizes."""
    x, x_hat = torch.tensor([[0.0], [3.0], [6.0]]), torch.tensor([[2.0], [3.0], [5.0]])
    cases = [(x, x_hat, f"explained_variance({brief(x)}, {brief(x_hat)})")]
    x, x_hat = torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    cases += [(x, x_hat, f"explained_variance({brief(x)}, {brief(x_hat)})")]
    x = torch.tensor([[1.0, 10.0], [2.0, 10.0], [6.0, 40.0]])
    cases += [(x, x.clone(), "explained_variance(x, x)")]
    cases += [(x, x.mean(0).expand(3, -1), "explained_variance(x, the mean every time)")]
    cases += [(x, x + 3, f"explained_variance(x, x + 3), x = {brief(x)}")]
    odd = draw(seed, 2, 3, 5) * torch.tensor([1.0, 2, 3, 4, 5]) + 2
    cases += [(odd, odd + draw(seed, 5, 3, 2).T + 0.3, "explained_variance(x [2 3 5], x_hat)")]
    for x, x_hat, call in cases:
        got = called(mine.explained_variance, x, x_hat)
        want = loops.explained_variance(x, x_hat)
        judge(got, want, call, mistakes.variances(x, x_hat), 1e-4)


# ---- 9.3 TopK ------------------------------------------------------------------------------------

NAMES = "x", "W_enc", "b_enc", "W_dec", "b_dec", "k", "dead"


def check_topk_loss(mine, seed):
    """Judge topk_loss: one token and three latents, then odd sizes; the value, then its slopes."""
    x, W_enc = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, -0.5]])
    biases = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, -0.5])
    small = x, W_enc, biases[0], W_enc.T.contiguous(), biases[1], 1
    none, last = torch.tensor([False] * 3), torch.tensor([False, True, True])
    for dead in (none, last):
        case = *small, dead
        shown = [f"{name}={brief(value)}" for name, value in zip(NAMES, case)]
        judge_loss(mine, case, f"topk_loss({', '.join(shown)})")
    case = (
        torch.tensor([[3.0, -9.0]]),
        *small[1:3],
        small[3] + 0.25,
        small[4],
        3,
        none,
    )  # two are on
    shown = [f"{name}={brief(value)}" for name, value in zip(NAMES, case)]
    judge_loss(mine, case, f"topk_loss({', '.join(shown)})")
    for n_dead in (9, 2):  # more and fewer than d // 2
        dead = torch.arange(13) % 13 >= 13 - n_dead
        odd = draw(seed, 5, 7) + 1, draw(seed, 7, 13), draw(seed, 13, 1)[:, 0], draw(seed, 13, 7)
        case = *odd, draw(seed, 7, 1)[:, 0], 4, dead
        call = f"topk_loss(x [5 7], W_enc [7 13], ..., k=4, dead [13]), {n_dead} of them dead"
        judge_loss(mine, case, call)
        judge_slopes(mine, case, call)


def judge_loss(mine, case, call) -> None:
    """Hold the loss against the loops'."""
    got = called(mine.topk_loss, *case)
    judge(got, loops.topk_loss(*case), call, mistakes.losses(*case), 1e-4)


def judge_slopes(mine, case, call) -> None:
    """Hold the gradient of each weight against the loops', with and without a way through e."""
    x, *weights, k, dead = case
    ways = []
    for loss, more in (
        (mine.topk_loss, {}),
        (loops.topk_loss, {}),
        (loops.topk_loss, {"flows": 1}),
    ):
        leaves = [w.clone().requires_grad_() for w in weights]
        result = loss(x.clone(), *leaves, k, dead.clone(), **more)
        if not isinstance(result, Tensor) or not result.requires_grad:
            raise Wrong("no gradient comes back from the loss: keep it a tensor, no .item()")
        slopes = torch.autograd.grad(result, leaves, allow_unused=True)
        if any(slope is None for slope in slopes):
            missing = NAMES[1 + [slope is None for slope in slopes].index(True)]
            raise Wrong(f"no gradient reaches {missing}: the loss must be computed from it")
        ways.append(slopes)
    flows = "e is a given for the dead latents: yours lets a gradient through it, so the others "
    flows += "learn to leave what the dead can explain; use e.detach()"
    for name, got, want, leak in zip(NAMES[1:], *ways):
        judge(got, want, f"the gradient of {name} in {call}", {flows: leak}, 1e-3)


# ---- 9.4 splice it in ----------------------------------------------------------------------------


def check_spliced(mine, seed):
    """Judge spliced: one document of three tokens, by hand, then odd sizes; all ways to call it."""
    x = torch.tensor([[[9.0, 9.0], [2.0, 1.0], [4.0, -3.0]]])
    hand = torch.relu, lambda f: 2 * f + 1
    W, b = draw(seed, 5, 7), draw(seed, 5, 1)[:, 0]
    drawn = (lambda x: torch.relu((x - b) @ W)), (lambda f: f @ W.T / 5 + b)
    small = "x = [[[9, 9], [2, 1], [4, -3]]], encode = relu, decode = 2 f + 1"
    cases = [(x, *hand, small), (draw(seed, 2, 3, 5), *drawn, "x [2 3 5], 7 latents")]
    ways = [(None, True, False), (None, False, False), (None, False, True)]
    for x, encode, decode, what in cases:
        edits = [(first_off, True, False), (first_off, False, True), (in_place, True, False)]
        for edit, error, bos in [*ways, *edits]:
            named = {"edit": edit, "error": error, "bos": bos}
            got = called(mine.spliced, x, encode, decode, **named)
            told = {None: None, first_off: "the first latent to 0"}
            told = told.get(edit, "the first latent to 0, in place")
            call = f"spliced(x, encode, decode, edit={told}, error={error}, bos={bos}), {what}"
            edit = edit and first_off  # the same, not in place
            want = loops.spliced(x, encode, decode, edit, error, bos)
            judge(got, want, call, mistakes.splices(x, encode, decode, edit, error, bos))


def first_off(f: Tensor) -> Tensor:  # [... f] -> [... f]
    """Switch the first latent off."""
    return torch.cat([torch.zeros_like(f[..., :1]), f[..., 1:]], -1)


def in_place(f: Tensor) -> Tensor:  # [... f] -> [... f]
    """Do the same to the very f that is given."""
    f[..., 0] = 0
    return f


# ---- 9.5 F1 of all with all ----------------------------------------------------------------------


def check_f1(mine, seed):
    """Judge f1: four tokens, two latents and three features by hand, then odd sizes."""
    on = torch.tensor([[1, 0], [1, 0], [1, 0], [0, 0]]).bool()
    truth = torch.tensor([[1, 0, 0], [1, 0, 1], [0, 0, 1], [0, 0, 1]]).bool()
    odd = draw(seed, 41, 7) > 0.5, draw(seed, 41, 5) > 1
    call = f"f1(on, truth), on = {brief(on.int())}, truth = {brief(truth.int())} (as booleans)"
    for case, shown in (((on, truth), call), (odd, "f1(on [41 7], truth [41 5])")):
        got = called(mine.f1, *case)
        judge(got, loops.f1(*case), shown, mistakes.scores(*case))


# ---- 9.6 one feature, several latents ------------------------------------------------------------


def check_together(mine, seed):
    """Judge together by what must be true of any choice, from four tokens to a planted case."""
    truth = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).bool()
    halves = torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0]])
    alone = torch.tensor([[0, 1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]])
    noise = torch.tensor([[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1]])
    sloppy = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 0]])  # F1 .73, and nothing makes it better
    accept(mine, alone, truth, 0.8, [1])
    accept(mine, torch.cat([noise, halves]), truth, 0.8, [2, 3])
    accept(mine, torch.cat([halves, noise])[:1], truth, 0.6, [0])
    accept(mine, noise, truth, 0.8, [])
    accept(mine, torch.cat([sloppy, noise, halves]), truth, 0.8, [3, 4])
    accept(mine, *planted(seed), 0.8, [5, 11, 17, 23, 29, 31, 37, 41])


def planted(seed, n=600, m=60) -> tuple[Tensor, Tensor]:
    """Make a case of eight words of one class, a latent for each, and others that are on by luck.

    Latent 3 is on at all eight and in a hundred more places.
    """
    truth = torch.arange(n) < 160
    on = draw(seed, m, n) > 1.9
    for i, latent in enumerate((5, 11, 17, 23, 29, 31, 37, 41)):
        on[latent] = (torch.arange(n) // 20 == i) | (draw(seed, m, n)[latent] > 3)
    on[3] = torch.arange(n) < 260
    return on, truth


def accept(mine, on, truth, enough, known) -> None:
    """Raise Wrong unless the latents chosen do what they should; `known` is a choice that does."""
    on = on.bool().T  # [n f]
    got = called(mine.together, on, truth, enough)
    small = f"on = {brief(on.int())}, truth = {brief(truth.int())} (as booleans)"
    shown = small if on.numel() < 50 else f"on {[*on.shape]}, truth {[*truth.shape]}"
    if not isinstance(got, (list, tuple, Tensor)):
        raise Wrong(f"together should return a list of latents, not {got!r}")
    chosen = [m.item() if isinstance(m, Tensor) else m for m in got]
    call = f"\n  together({shown}, enough={enough})\n    got       {brief(chosen)}"
    call += f"\n    one that does it is {brief(known)}" if small == shown and known else ""
    if any(type(m) is not int or not 0 <= m < on.shape[1] for m in chosen):
        raise Wrong(f"together should return latents, whole numbers below {on.shape[1]}{call}")
    if len(set(chosen)) < len(chosen):
        raise Wrong(f"a latent is chosen twice{call}")
    if not chosen and known:
        why = "a choice exists, and yours found none: did a latent that is on in many other places "
        raise Wrong(f"{why}come first? What it says wrongly, no other can take back{call}")
    if not chosen:
        return
    score = loops.f1(on[:, chosen].any(1, keepdim=True), truth[:, None]).item()
    if score < enough - 1e-5:
        hopeless = "" if known else "; here no choice reaches it, so return []"
        raise Wrong(
            f"where any of them is on, the F1 should be at least {enough}: it is "
            f"{score:.2f}{hopeless}{call}"
        )
    if len(chosen) > 1.25 * len(known):
        more = f"{len(chosen)} latents, where {len(known)} do it: "
        raise Wrong(f"{more}take what adds most first, and stop once it is enough{call}")

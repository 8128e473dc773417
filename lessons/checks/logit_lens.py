"""What `make check-04` asks of each exercise: small cases by hand first, then odd sizes.

What is right is said by slow loops (logit_lens_loops.py), and of the two that leave you a choice,
4.5 and 4.6, by what must be true of any right answer.
"""

from random import Random

import torch
from torch import Tensor

from lessons.checks import Wrong, brief, called, judge, same
from lessons.checks import logit_lens_loops as loops
from lessons.checks import logit_lens_mistakes as mistakes


def draw(seed: int, *sizes: int) -> Tensor:
    """Draw normal numbers, others for each shape and seed."""
    generator = torch.Generator().manual_seed(Random(f"{seed} {sizes}").randrange(2**31))
    return torch.randn(*sizes, generator=generator)


# ---- 4.1 the logit lens --------------------------------------------------------------------------


def check_lens(mine, seed):
    """Judge lens: two streams of two numbers, then many depths at once."""
    two, W_U = torch.tensor([[1.0, 3.0], [5.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0], [0, 1, 1]])
    small = two, loops.Norm(torch.tensor([1.0, 10]), torch.tensor([0.0, 100]), 0.0), W_U
    norm = loops.Norm(draw(seed, 7), draw(seed, 7, 1)[:, 0], 0.1)
    odd = draw(seed, 2, 3, 5, 7) * 3 + 1, norm, draw(seed, 7, 4)
    call = f"lens({brief(two)}, ln, {brief(W_U)}), ln with w = [1, 10] and b = [0, 100]"
    for case, shown in ((small, call), (odd, "lens(resid [2 3 5 7], ln, W_U [7 4])")):
        judge(called(mine.lens, *case), loops.lens(*case), shown, mistakes.lenses(*case), 1e-4)


# ---- 4.2 from where on it knows ------------------------------------------------------------------

RUNS = ["1011", "0000", "1111", "1110", "0001", "1001", "0100", "1", "0", "0011010111"]


def check_settles(mine, seed):
    """Judge settles: rows of hits (1) and misses (0), from the embedding to the end."""
    for i, hits in enumerate(RUNS):
        logits = draw(seed + i, len(hits), 3).abs()  # what the other words get
        for row, hit in zip(logits, hits):
            row[2] = row.max() + 0.5 if hit == "1" else -1.0
        call = f"settles(logits, 2), where word 2 is the first choice (1) or not (0): {hits}"
        got = called(mine.settles, logits, 2)
        if isinstance(got, bool):
            raise Wrong(f"{call} should be the number of a depth, not {got}")
        judge(got, loops.settles(hits), call, mistakes.depths(hits, logits))


# ---- 4.3 the neurons' shares ---------------------------------------------------------------------


def check_neuron_shares(mine, seed):
    """Judge neuron_shares: one prompt and two neurons, then two prompts, then odd sizes."""
    W_out, w = torch.tensor([[1.0, 3.0], [5.0, 1.0]]), torch.tensor([1.0, 10.0])
    one = torch.tensor([[2.0, 3.0]]), W_out, torch.tensor([[2.0]]), w, torch.tensor([[0.0, 1.0]])
    two = torch.tensor([[2.0, 3.0], [2.0, 3.0]]), W_out, torch.tensor([[2.0], [4.0]]), w
    two = *two, torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    odd = draw(seed, 3, 5), draw(seed, 5, 7) + 1, draw(seed, 3, 1).abs() + 0.5
    odd = *odd, draw(seed, 7), draw(seed, 3, 7)
    names = "post", "W_out", "scale", "w", "direction"
    for case in (one, two, odd):
        shown = [f"{name}={brief(value)}" for name, value in zip(names, case)]
        call = f"neuron_shares({', '.join(names if case is odd else shown)})"
        got = called(mine.neuron_shares, *case)
        judge(got, loops.shares(*case), call, mistakes.shares(*case), 1e-4)


# ---- 4.4 KL --------------------------------------------------------------------------------------


def check_kl(mine, seed):
    """Judge kl: two words, then logits off by a constant, then a word at 0, then odd sizes."""
    even, lean = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 3.0]).log()
    sure, extreme = torch.tensor([0.0, -1000.0, 1.0]), torch.tensor([0.0, 5.0, -1000.0])
    cases = [(lean, even, "kl([log 1, log 3], [0, 0]): P is 1/4 and 3/4, Q is 1/2 and 1/2")]
    cases += [(lean + 2, even - 1, "kl([log 1 + 2, log 3 + 2], [-1, -1]): P and Q as before")]
    cases += [(sure, extreme, "kl([0, -1000, 1], [0, 5, -1000]): words that round to 0")]
    odd = draw(seed, 2, 3, 7), draw(seed, 3, 2, 7).transpose(0, 1)
    for final, reading, call in [*cases, (*odd, "kl(final [2 3 7], reading [2 3 7])")]:
        got = called(mine.kl, final, reading)
        judge(got, loops.kl(final, reading), call, mistakes.kls(final, reading), 1e-4)


# ---- 4.5 the affine lens -------------------------------------------------------------------------


def check_fit_lens(mine, seed):
    """Judge fit_lens by its start, its very first steps, where it gets to, and its seed."""
    x, p = torch.tensor([[1.0, 0.5, 0.1]]), torch.tensor([[2.2, 0.0, 2.3]])
    start = fitted(mine, x, p, lambda stream: stream, 0)
    call = "with steps=0 nothing is learned yet, A and b of fit_lens(stream, final, read, 0)"
    judge(start, (torch.eye(3), torch.zeros(3)), call)
    first_steps(mine, x.expand(3, -1), p.expand(3, -1))
    gets_there(mine, seed)


def fitted(mine, stream, final, read, steps, **more) -> tuple:
    """Call fit_lens as the lesson does, with gradients off; say so if that is what it trips on."""
    with torch.no_grad():
        try:
            got = called(mine.fit_lens, stream, final, read, steps, **more)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            raise Wrong(
                "there is nothing to follow back from the loss: A and b need requires_grad_(), and "
                "the lesson runs with gradients off, so compute the loss under torch.enable_grad()"
            ) from None
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong("fit_lens should return two things, A [d d] and b [d]")
    if any(isinstance(part, Tensor) and part.requires_grad for part in got):
        raise Wrong("A and b still ask for gradients: hand back A.detach() and b.detach()")
    return tuple(got)


def first_steps(mine, stream, final) -> None:
    """Where all examples are one, Adam's first steps are known: each is as long as its rate."""
    lr, d = 1e-3, stream.shape[-1]
    for steps, length in ((4, 2.5), (1, 1.0)):
        A, b = fitted(mine, stream, final, lambda x: x, steps, lr=lr, batch=2)
        call = f"(A - 1) / lr and b / lr after {steps} of {steps} steps, lr={lr}, from one example"
        call += f", stream {brief(stream[0])}, final {brief(final[0])}, read(x) = x"
        up = (final[0].softmax(-1) - stream[0].softmax(-1)).sign()  # against the slope of KL by b
        want = length * torch.outer(stream[0].sign(), up), length * up
        got = (A - torch.eye(d)) / lr, b / lr
        judge(got, want, call, mistakes.steps(stream[0], final[0], steps), 0.02)


def gets_there(mine, seed) -> None:
    """Let it learn a rotation and a shift, from few examples at a time, and from its own seed."""
    stream, turn = draw(seed, 90, 3), torch.linalg.qr(draw(seed, 3, 3))[0]
    stream[:10, 1:] = 0  # the first ten teach nothing of two directions
    final = 3 * (stream @ turn) + torch.tensor([2.0, 0.0, -2.0])
    more = {"lr": 0.1, "batch": 10, "seed": 5}
    torch.manual_seed(seed)
    A, b = fitted(mine, stream, final, lambda x: 3 * x, 200, **more)
    before, after = (loops.kl(final, 3 * (stream @ M + v)).mean().item() for M, v in (
        (torch.eye(3), torch.zeros(3)), (A, b)))  # fmt: skip
    half = loops.kl(final, 3 * (stream @ A + b))[:10].mean().item()
    if not after < 0.05 * before:
        only = ": on the first 10 examples it is low. Draw new ones at each step" * (
            half < after / 3
        )
        raise Wrong(
            f"a rotation and a shift should be found in 200 steps: KL, {before:.3f} at the start, "
            f"should get below {0.05 * before:.3f}, and is {after:.3f}{only}"
        )
    torch.manual_seed(seed + 1)
    if not same(fitted(mine, stream, final, lambda x: 3 * x, 200, **more)[0], A, 1e-6):
        raise Wrong(
            "twice with the same seed should give the same A and b: draw the examples with "
            "generator=torch.Generator().manual_seed(seed)"
        )


# ---- 4.6 rewrite one fact ------------------------------------------------------------------------


def check_rewrite(mine, seed):
    """Judge rewrite by what must be true of any choice, from three neurons to sixty."""
    lead, fall = torch.tensor([3.0, 4.0]), torch.tensor([[5.0, 2.0, 2.0], [4.0, 0.0, 0.0]])
    accept(mine, fall, lead, 0.5, [1, 2])
    accept(mine, torch.tensor([[2.0, 5.0, -9.0], [0.0, 1.0, 0.0]]), lead, 0.5, [1])
    accept(mine, torch.tensor([[2.0, 5.0, 2.5], [0.0, 1.0, 0.1]]), lead, 0.9, [2, 0])
    accept(mine, torch.tensor([[2.0, 9.0, 0.5], [0.0, 3.0, 0.0]]), lead, 0.5, [])
    accept(mine, *planted(seed), 0.5, [3, 14, 15, 9, 2])


def planted(seed) -> tuple[Tensor, Tensor]:
    """Make 60 neurons and 6 prompts; five neurons do it, others look better and do harm."""
    lead = draw(seed, 6).abs() + 4  # [n]
    fall = draw(seed, 6, 60) * 0.02  # [n m]
    for i, neuron in enumerate((3, 14, 15, 9, 2)):
        fall[0, neuron] = lead[0] * 0.21
        fall[1 + i % 5, neuron] = lead[1 + i % 5] * 0.1
    fall[0, 30:40] = lead[0] * 0.4
    for neuron in range(30, 40):  # each alone takes too much from somebody
        fall[1 + neuron % 5, neuron] = lead[1 + neuron % 5] * 0.6
    return fall, lead


def accept(mine, fall, lead, keep, known) -> None:
    """Raise Wrong unless the neurons chosen do what they should; `known` is a choice that does."""
    got = called(mine.rewrite, fall, lead, keep)
    small = fall.numel() < 10
    shown = f"fall={brief(fall)}, lead={brief(lead)}" if small else "fall [6 60], lead [6]"
    call = f"\n  rewrite({shown}, keep={keep})\n    got       "
    chosen = [m.item() if isinstance(m, Tensor) else m for m in got]
    call += brief(chosen) + (f"\n    one that does it is {brief(known)}" if small else "")
    if any(type(m) is not int or not 0 <= m < fall.shape[1] for m in chosen):
        raise Wrong(f"rewrite should return neurons, whole numbers below {fall.shape[1]}{call}")
    if len(set(chosen)) < len(chosen):
        raise Wrong(f"a neuron is chosen twice: it can be told the other story only once{call}")
    if not chosen and known:
        raise Wrong(f"a choice exists, and yours found none{call}")
    if not chosen:
        return
    left = lead - fall[:, chosen].sum(-1)  # [n]
    worst = (left[1:] / lead[1:]).min().item()
    if worst < keep - 1e-5:
        raise Wrong(
            f"each of the others must keep {keep} of its lead, one keeps {worst:.2f}: yours does "
            f"not look at what a neuron takes from the other prompts{call}"
        )
    if left[0] >= 0:
        raise Wrong(f"the first prompt's lead must get below 0, it is {left[0]:.3g} yet{call}")
    if len(chosen) > 2 * len(known):
        enough = f"{len(chosen)} neurons, where {len(known)} do it: take those that gain most first"
        raise Wrong(f"{enough}, and stop as soon as the lead is below 0{call}")

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

RUNS = ["10110111", "0000", "1111", "1110", "0001", "1001", "0100", "1", "0", "0011010111"]


def check_settles(mine, seed):
    """Judge settles: rows of hits (1) and misses (0), won and lost by a hair, of all five words."""
    for i, hits in enumerate(RUNS):
        logits, answer = draw(seed + i, len(hits), 5), i % 5
        top = logits[:, torch.arange(5) != answer].amax(-1)  # [depth]
        won = torch.tensor([hit == "1" for hit in hits])
        logits[:, answer] = top + torch.where(won, 0.01, -0.01)
        call = (
            f"settles(logits, {answer}), where word {answer} is the first choice (1) or not (0): "
        )
        got = called(mine.settles, logits, answer)
        if isinstance(got, bool):
            raise Wrong(f"{call}{hits} should be the number of a depth, not {got}")
        judge(got, loops.settles(hits), call + hits, mistakes.depths(hits, logits[:, answer]))


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
    """Judge fit_lens by its start and draws, its first steps, where it gets to, and its seed."""
    draws(mine, seed)
    first_steps(mine)
    gets_there(mine, seed)


def draws(mine, seed, steps=200, batch=10) -> None:
    """At rate 0 the lens stays as it began, and `read` sees the examples themselves."""
    stream, final, used = draw(seed, 90, 3), draw(seed, 3, 90).T, []

    def read(x):  # notes which examples the loss hears of
        out = 3 * x
        rows = torch.cdist(x.detach().reshape(-1, 3), stream).argmin(-1)
        if out.requires_grad:
            out.register_hook(lambda g: used.append(rows[g.reshape(-1, 3).abs().sum(-1) > 0]))
        return out

    start = fitted(mine, stream, final, read, steps, lr=0.0, batch=batch)
    call = "with lr=0 nothing is learned: A and b of fit_lens(stream, final, read, 200, lr=0.0)"
    judge(start, (torch.eye(3), torch.zeros(3)), call)
    different = len(torch.cat(used).unique()) if used else 0
    each = sum(len(rows.unique()) for rows in used) / steps
    if used and different <= batch:
        raise Wrong(f"each step draws new examples: yours always uses the same {different}")
    if not 0.8 * batch < each <= batch:
        raise Wrong(f"each step takes {batch} examples (batch={batch}): yours took {each:.0f}")
    if different < len(stream):
        raise Wrong(
            f"in {steps} steps of {batch} each of 90 examples should be drawn from time to time: "
            f"yours never drew {len(stream) - different} of them"
        )


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


def first_steps(mine) -> None:
    """Where all examples are one, Adam's steps can be followed by hand."""
    x, p = torch.tensor([1.0, 0.5, 0.1]), torch.tensor([2.2, 0.0, 2.3])
    for steps in (4, 1):
        rates = [0.3 * (1 - step / steps) for step in range(steps)]
        call = f"A and b after {steps} of {steps} steps, lr=0.3, from one example, "
        call += f"stream {brief(x)}, final {brief(p)}, read(x) = x"
        alike = x.expand(3, -1), p.expand(3, -1)
        got = fitted(mine, *alike, lambda stream: stream, steps, lr=0.3, batch=2)
        judge(got, loops.adam(x, p, rates), call, mistakes.steps(x, p, rates), 2e-3)


def gets_there(mine, seed) -> None:
    """Let it learn a rotation and a shift, from few examples at a time, and from its own seed."""
    stream, turn = draw(seed, 90, 3), torch.linalg.qr(draw(seed, 3, 3))[0]
    final = 3 * (stream @ turn) + torch.tensor([2.0, 0.0, -2.0])

    def fit(steps, other=0, own=5):  # with torch's own generator at `other`
        torch.manual_seed(other)
        more = {"lr": 0.1, "batch": 10, "seed": own}
        return fitted(mine, stream, final, lambda x: 3 * x, steps, **more)

    learned = fit(200)
    before, after = (loops.kl(final, 3 * (stream @ A + b)).mean().item() for A, b in (
        (torch.eye(3), torch.zeros(3)), learned))  # fmt: skip
    if not after < 0.05 * before:
        raise Wrong(
            f"a rotation and a shift should be found in 200 steps: KL, {before:.3f} at the start, "
            f"should get below {0.05 * before:.3f}, and is {after:.3f}"
        )
    A = fit(9)[0]
    if not same(fit(9, other=1)[0], A, 1e-6):
        raise Wrong(
            "twice with the same seed should give the same A and b: draw the examples with "
            "generator=torch.Generator().manual_seed(seed)"
        )
    if same(fit(9, own=6)[0], A, 1e-6):
        raise Wrong("another seed should draw other examples: yours does not use `seed`")


# ---- 4.6 rewrite one fact ------------------------------------------------------------------------


def check_rewrite(mine, seed):
    """Judge rewrite by what must be true of any choice, from three neurons to 384."""
    lead, fall = torch.tensor([3.0, 4.0]), torch.tensor([[5.0, 2.0, 2.0], [4.0, 0.0, 0.0]])
    accept(mine, fall, lead, 0.5, [1, 2])
    accept(mine, torch.tensor([[2.0, 5.0, -9.0], [0.0, 1.0, 0.0]]), lead, 0.5, [1])
    accept(mine, torch.tensor([[2.0, 5.0, 2.5], [0.0, 1.0, 0.1]]), lead, 0.9, [2, 0])
    accept(mine, torch.tensor([[2.0, 9.0, 0.5], [0.0, 3.0, 0.0]]), lead, 0.5, [])
    together = torch.tensor([[2.0, 2.0, 1.5, 1.5], [1.5, 1.5, 0.0, 0.0]])
    accept(mine, together, lead, 0.5, [0, 2])
    even = torch.tensor([[2.0, 2.0, 1.0], [0.0, 0.0, 0.0]])  # two of them: exactly 0
    accept(mine, even, torch.tensor([4.0, 4.0]), 0.5, [0, 1, 2])
    accept(mine, *planted(seed), 0.5, [3, 14, 15, 9, 26, 53, 58, 97, 93, 2])


def planted(seed, n=37, m=384) -> tuple[Tensor, Tensor]:
    """Make a case of the lesson's size: ten do it, twenty do harm, all others next to nothing."""
    lead = draw(seed, n).abs() + 4  # [n]
    fall = -draw(seed, n, m).abs() * 0.001  # [n m]
    fall[0] = lead[0] * 0.01 * (1 + 0.1 * draw(seed, m, 1)[:, 0].tanh())
    for i, neuron in enumerate((3, 14, 15, 9, 26, 53, 58, 97, 93, 2)):
        fall[0, neuron], fall[1 + i, neuron] = lead[0] * 0.105, lead[1 + i] * 0.2
    for neuron in range(200, 220):
        fall[0, neuron], fall[neuron - 190, neuron] = lead[0] * 0.4, lead[neuron - 190] * 0.6
    return fall, lead


def accept(mine, fall, lead, keep, known) -> None:
    """Raise Wrong unless the neurons chosen do what they should; `known` is a choice that does."""
    got = called(mine.rewrite, fall, lead, keep)
    small = fall.numel() < 10
    shown = (
        f"fall={brief(fall)}, lead={brief(lead)}"
        if small
        else f"fall {[*fall.shape]}, lead {[*lead.shape]}"
    )
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
            f"each of the others must keep {keep} of its lead, when all that you chose are told: "
            f"one keeps {worst:.2f}{call}"
        )
    if left[0] >= 0:
        raise Wrong(f"the first prompt's lead must get below 0, it is {left[0]:.3g} yet{call}")
    if len(chosen) > 2 * len(known):
        enough = f"{len(chosen)} neurons, where {len(known)} do it: take those that gain most first"
        raise Wrong(f"{enough}, and stop as soon as the lead is below 0{call}")

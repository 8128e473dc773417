"""What `make check-10` asks of each exercise: small cases by hand first, then odd sizes.

What is right is said by slow loops and by identities (spurious_features_loops.py); of 10.6, which
leaves you a choice, by what must be true of any right answer.
"""

from random import Random

import torch
from torch import Tensor

from lessons.checks import Wrong, brief, called, judge
from lessons.checks import spurious_features_loops as loops
from lessons.checks import spurious_features_mistakes as mistakes


def draw(seed: int, *sizes: int) -> Tensor:
    """Draw normal numbers, others for each shape and seed."""
    generator = torch.Generator().manual_seed(Random(f"{seed} {sizes}").randrange(2**31))
    return torch.randn(*sizes, generator=generator)


def booleans(text: str) -> Tensor:
    """Write "1101" as True, True, False, True."""
    return torch.tensor([letter == "1" for letter in text])


# ---- 10.1 the worst group ------------------------------------------------------------------------


def check_worst_group(mine, seed):
    """Judge worst_group: thirteen people by hand, groups that are empty, then many."""
    cases = ["1111100111110 0000000111111 0000111001111", "11010 00111 01111"]
    cases = [[booleans(part) for part in case.split()] for case in cases]
    for k in range(4):  # each group is once the worst, and once empty
        two, three = torch.arange(8) // 2, torch.arange(12) // 3
        cases.append([(two != k) | (torch.arange(8) % 2 > 0), two > 1, two % 2 > 0])
        left = three[three != k]
        cases.append([torch.arange(9) % 3 > 0, left > 1, left % 2 > 0])
    cases.append([draw(seed + i, 90) > -0.5 for i in range(3)])
    for case in cases:
        shown = [brief(part.long()) for part in case] if len(case[0]) < 14 else "right label gender"
        shown = ", ".join(shown) if isinstance(shown, list) else "right [90], label, gender"
        want, call = loops.worst_group(*case), f"worst_group({shown}), 1 for True"
        judge(called(mine.worst_group, *case), want, call, mistakes.groups(*case))


# ---- 10.2 put a latent elsewhere -----------------------------------------------------------------


def check_put(mine, seed):
    """Judge put: two latents in the plane, then several of many, then no latent at all."""
    W_dec = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    small = torch.tensor([[5.0, 7.0]]), torch.tensor([[2.0, 3.0]]), W_dec, [1]
    cases = [(*small, torch.tensor([0.0, 0.0])), (*small, torch.tensor([9.0, 1.0]))]
    odd = draw(seed, 2, 3, 4), draw(seed, 2, 3, 7).relu(), draw(seed, 7, 4)
    cases += [(*odd, [5, 0, 2], draw(seed, 7).abs()), (*odd, [], draw(seed, 7).abs())]
    cases.append((odd[0][0], odd[1][0], odd[2], [6], draw(seed, 7).abs()))
    for case in cases:
        x, f, W_dec, latents, to = case
        shown = (
            f"x {brief(x)}, f {brief(f)}, W_dec {brief(W_dec)}" if x.numel() < 3 else "x, f, W_dec"
        )
        call = f"put({shown}, {latents}, to {brief(to)})"
        judge(called(mine.put, *case), loops.put(*case), call, mistakes.puts(*case), 1e-4)


# ---- 10.3 integrated gradients -------------------------------------------------------------------


def check_integrated(mine, seed):
    """Judge integrated: a square, a sum, what is complete, and that it works with gradients off."""
    f, base = torch.tensor([[5.0, 2.0]]), torch.tensor([1.0, 0.0])
    square = lambda at: at[:, 0] ** 2  # noqa: E731
    cube = lambda at: at[:, 0] ** 3 + at[:, 0] * at[:, 1]  # noqa: E731
    judged_walk(mine, square, f, base, 3, "the square of latent 0")
    two = torch.tensor([[3.0, 2.0], [0.5, -1.0]])
    for at, steps in ((two, 3), (f, 1)):
        judged_walk(mine, cube, at, base, steps, "latent 0 cubed, plus latent 0 times latent 1")
    w = draw(seed, 7)
    bent = lambda at: (at @ w).sigmoid() + at[:, 2].square()  # noqa: E731
    judged_walk(mine, bent, draw(seed, 5, 7), draw(seed, 7), 4, "a sigmoid of a sum, and a square")
    fine = walked(mine, bent, draw(seed, 5, 7), draw(seed, 7), 200)
    rise = bent(draw(seed, 5, 7)) - bent(draw(seed, 7).expand(5, 7))
    judge(fine.sum(-1), rise, "with 200 steps the shares of a sentence add up", {}, 1e-3)


def judged_walk(mine, score, f, base, steps, what):
    """Hold one walk against a loop whose slopes are finite differences."""
    call = f"integrated(score, {brief(f)}, base {brief(base)}, steps={steps}), score: {what}"
    want = loops.integrated(score, f, base, steps)
    judge(
        walked(mine, score, f, base, steps), want, call, mistakes.walks(score, f, base, steps), 2e-3
    )


def walked(mine, score, f, base, steps):
    """Call integrated as the lesson does, with gradients off; say so if it trips on that."""
    with torch.no_grad():
        try:
            got = called(mine.integrated, score, f, base, steps)
        except RuntimeError as error:
            if "require grad" not in str(error):
                raise
            raise Wrong(
                "the lesson runs with gradients off: take the slope under torch.enable_grad(), of "
                "a tensor that requires_grad"
            ) from None
    if isinstance(got, Tensor) and got.requires_grad:
        raise Wrong("the shares still carry a graph: detach what you return")
    return got


# ---- 10.4 what is a latent about? ----------------------------------------------------------------


def check_leaning(mine, seed):
    """Judge leaning: four tokens and three latents, kinds of different size, then many."""
    f = torch.tensor([[2.0, 0.0, 1.0], [0, 0, 1], [0, 0, 3], [6, 0, 0]])
    one, other = booleans("1100"), booleans("0010")
    cases = [(f, one, other), (f, booleans("1000"), booleans("0111"))]
    many = draw(seed, 50, 7).relu() * (torch.arange(7) != 4)
    which = draw(seed, 50)
    cases.append((many, which > 0.7, which < 0))
    for f, one, other in cases:
        call = f"leaning(f, one {brief(one.long())}, other {brief(other.long())}), f {brief(f)}"
        call = call if len(f) < 9 else "leaning(f [50 7], one, other), some tokens of neither kind"
        want = loops.leaning(f, one, other)
        judge(called(mine.leaning, f, one, other), want, call, mistakes.leanings(f, one, other))


# ---- 10.5 a fair control -------------------------------------------------------------------------


def check_matched(mine, seed):
    """Judge matched: six sizes by hand, two that want the same partner, then many."""
    size = torch.tensor([5.0, 1.0, 4.75, 9.0, 5.5, 0.0])
    cases = [(size, [0]), (size, [0, 2]), (size, [2, 0]), (size, [3, 1]), (torch.ones(5), [2, 0])]
    cases.append((draw(seed, 40).abs(), [7, 30, 2, 11]))
    for size, chosen in cases:
        given = [*chosen]
        got = called(mine.matched, size, given)
        if given != chosen:
            raise Wrong("your function changed its argument 2 in place (chosen): copy it first")
        call = f"matched({brief(size) if len(size) < 9 else 'size [40]'}, {chosen})"
        got = got.tolist() if isinstance(got, Tensor) else got
        if isinstance(got, list):
            got = [int(i) for i in got]
            told_matched(got, chosen, call)
        want = loops.matched(size.tolist(), chosen)
        if got != want:
            raise Wrong(mistakes.partner(got, want, size, chosen, call))


def told_matched(got: list[int], chosen: list[int], call: str) -> None:
    """Say what any control must be: as many, none of them chosen, none twice."""
    if len(got) != len(chosen):
        raise Wrong(f"one for each: {call} should be {len(chosen)} latents, not {len(got)}")
    if set(got) & set(chosen):
        raise Wrong(f"a control must not hold what it is a control of: {call} gave {got}")
    if len(set(got)) < len(got):
        raise Wrong(f"no latent may be taken twice: {call} gave {got}")


# ---- 10.6 choose with the answers at hand --------------------------------------------------------


def check_choose(mine, seed):
    """Judge choose: one latent to find, two that only help together, then many: nearly as good."""
    label, gender = booleans("0011"), booleans("0101")
    sign, tilt = label * 2.0 - 1, gender * 2.0 - 1
    shares = torch.stack([sign, 3 * tilt, 0.5 * sign], dim=1)  # [b f]: job, gender, job again
    chosen_well(mine, shares, shares.sum(1), label, 1, "job 1, gender 3 and job 0.5, a latent each")
    halves = torch.stack([2 * sign, 1.5 * tilt, 1.5 * tilt, -0.1 * sign], dim=1)
    what = "job, and gender in two halves"
    chosen_well(mine, halves, halves.sum(1), label, 2, what)
    chosen_well(mine, halves, halves.sum(1), label, 1, f"{what}; only one may go")
    rivals = torch.stack([sign, 2 * tilt, 1.9 * tilt], dim=1)  # the error holds -1.4 of gender
    chosen_well(mine, rivals, sign + 2.5 * tilt, label, 2, "gender in two, of which one is enough")
    many = loops.lives(draw(seed, 64, 30), draw(seed, 30))
    label = torch.arange(64) >= 32
    for most in (4, 9):
        chosen_well(mine, many, many.sum(1) + 0.2, label, most, "64 sentences, 30 latents")


def chosen_well(mine, shares, logit, label, most, what):
    """Hold a choice against what must be true of it, and against going step by step."""
    got = called(mine.choose, shares, logit, label, most)
    call = f"choose(shares, logit, label, {most}), {what}"
    shown = f"\n    shares    {brief(shares)}\n    logit     {brief(logit)}" * (len(shares) == 4)
    if not isinstance(got, (list, tuple, Tensor)):
        raise Wrong(f"{call} should be a list of latents, not {brief(got)}")
    got = [int(i) for i in got]
    if len(got) > most:
        raise Wrong(f"at most {most}: {call} gave {len(got)} latents")
    if len(set(got)) < len(got) or not set(got) <= set(range(shares.shape[1])):
        raise Wrong(f"each latent once, by its number: {call} gave {got}")
    own, best = (
        loops.worst(shares, logit, label, x)
        for x in (got, loops.choose(shares, logit, label, most))
    )
    if own < best - 0.1:
        before = loops.worst(shares, logit, label, [])
        why = mistakes.why(shares, logit, label, got, most)
        raise Wrong(
            f"without {got} the worst group is right in {own:.0%}; before it was {before:.0%}, and "
            f"going step by step gets to {best:.0%}. {why}\n  {call}{shown}"
        )

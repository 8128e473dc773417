"""What `make check-08` asks of each exercise: small cases by hand first, then odd sizes.

What is right is said by slow loops and by descent (probing_loops.py), and where you have a choice
(8.3, 8.6) by what must be true of any right answer.
"""

from random import Random

import torch
from torch import Tensor

from lessons.checks import Wrong, brief, called, described, judge, same
from lessons.checks import probing_loops as loops
from lessons.checks import probing_mistakes as mistakes


def draw(seed: int, *sizes: int) -> Tensor:
    """Draw normal numbers, others for each shape and seed."""
    generator = torch.Generator().manual_seed(Random(f"{seed} {sizes}").randrange(2**31))
    return torch.randn(*sizes, generator=generator)


def labelled(seed: int, n: int, d: int) -> tuple[Tensor, Tensor]:
    """Draw n activations of d numbers, off centre, every third of them true and apart."""
    y = torch.arange(n) % 3 == 1
    x = draw(seed, n, d) @ draw(seed + 1, d, d) + 2
    return x + y[:, None] * draw(seed, d, 1)[:, 0], y


# ---- 8.1 the difference of means -----------------------------------------------------------------


def check_mean_difference(mine, seed):
    """Judge mean_difference: three tokens by hand, then odd sizes."""
    small = torch.tensor([[1.0, 0.0], [3.0, 2.0], [4.0, 5.0]]), torch.tensor([True, False, True])
    call = f"mean_difference({brief(small[0])}, {brief(small[1])})"
    for case, shown in (
        (small, call),
        (labelled(seed, 11, 7), "mean_difference(x [11 7], y [11])"),
    ):
        wrongs = mistakes.differences(*case)
        judge(called(mine.mean_difference, *case), loops.difference(*case), shown, wrongs)


# ---- 8.2 a logistic probe ------------------------------------------------------------------------


def check_fit_logistic(mine, seed):
    """Judge fit_logistic by its first step, then by where a slow descent gets to as well."""
    x = torch.tensor([[0.0], [1.0], [2.0], [5.0]]).double()
    y = torch.tensor([False, True, False, True])
    penalty = 0.1
    call = f"fit_logistic({brief(x)}, {brief(y)}, penalty=0.1, steps="
    got = fitted(mine, x, y, penalty, 1)
    wrongs = mistakes.first_steps(x, y, penalty)
    judge(got, loops.newton(x, y, penalty), call + "1)", wrongs, 1e-4)
    got, want = fitted(mine, x, y, 0.02, 3), loops.newton(x, y, 0.02, 3)
    wrongs = mistakes.few_steps(x, y, 0.02, 3)
    judge(got, want, f"fit_logistic({brief(x)}, {brief(y)}, penalty=0.02, steps=3)", wrongs, 1e-4)
    odd = labelled(seed, 13, 3)
    cases = [
        (x, y, call + "30)"),
        (odd[0].double(), odd[1], "fit_logistic(x [13 3], y [13], 0.1, 30)"),
    ]
    for x, y, shown in cases:
        got, want = fitted(mine, x, y, penalty, 30), loops.descend(x, y, penalty)
        right = all(same(one, two, 1e-4) for one, two in zip(got, want))
        judge(got, want, shown, {} if right else mistakes.fits(x, y, penalty), 1e-4)


def fitted(mine, x, y, penalty, steps) -> tuple:
    """Call fit_logistic; it should return two things, w and b."""
    got = called(mine.fit_logistic, x, y, penalty, steps)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong(f"fit_logistic should return two things, w [d] and b, not {described(got)}")
    if isinstance(got[0], Tensor) and got[0].is_floating_point() and got[0].dtype != x.dtype:
        raise Wrong(f"x is float64, and w should be: yours is {described(got[0])}")
    return tuple(got)


# ---- 8.3 a control task --------------------------------------------------------------------------


def check_control_labels(mine, seed):
    """Judge control_labels by what makes it a control task: one fair coin for each type."""
    types = torch.tensor([[2, 0, 2, 1], [0, 2, 1, 2]])
    call = f"control_labels({brief(types)}, {seed})"
    got = called(mine.control_labels, types, seed)
    if not isinstance(got, Tensor):
        raise Wrong(f"{call} should be a tensor, not {described(got)}")
    if got.shape != types.shape:
        raise Wrong(f"one label for each token, {list(types.shape)}, not {list(got.shape)}: {call}")
    if got.dtype != torch.bool:
        raise Wrong(f"labels are True or False: yours are {described(got)}")
    many = torch.arange(500).repeat(3)[
        torch.randperm(1500, generator=torch.Generator().manual_seed(seed))
    ]
    coins(mine, many, seed)


def coins(mine, types, seed) -> None:
    """Toss 500 coins: the same for a type's tokens, fair, each on its own, by the seed alone."""
    torch.manual_seed(1)
    got = called(mine.control_labels, types, seed)
    first = torch.zeros(500, dtype=torch.bool)
    first[types] = got
    if not torch.equal(first[types], got):
        raise Wrong("all tokens of a type get the one label: yours tosses a coin for each token")
    share = first.float().mean().item()
    if not 0.4 < share < 0.6:
        raise Wrong(f"the coin is fair: of 500 types yours makes {share:.0%} True")
    torch.manual_seed(2)
    if not torch.equal(called(mine.control_labels, types, seed), got):
        raise Wrong(
            "twice with the same seed should give the same coins: draw with "
            "generator=torch.Generator().manual_seed(seed)"
        )
    before = torch.get_rng_state()
    if torch.equal(called(mine.control_labels, types, seed + 7), got):
        raise Wrong("another seed should toss other coins: yours does not use `seed`")
    if not torch.equal(torch.get_rng_state(), before):
        raise Wrong(
            "torch.manual_seed sets the random numbers of everybody: toss with a generator of your "
            "own, generator=torch.Generator().manual_seed(seed)"
        )
    for k in range(1, 9):
        share = (first[k:] == first[:-k]).float().mean().item()
        if not 0.4 < share < 0.6:
            raise Wrong(
                f"each type has a coin of its own: yours makes {share:.0%} of the types alike to "
                f"the one {k} further on, where coins are alike in half of the cases"
            )
    some = types[(types % 3 == 0) | (types == 499)]
    if not torch.equal(called(mine.control_labels, some, seed), first[some]):
        raise Wrong(
            "toss for each of the numbers 0 to types.max(), occurring or not: yours gives a type "
            "another label when some other types are not there"
        )


# ---- 8.4 push ------------------------------------------------------------------------------------


def check_steer(mine, seed):
    """Judge steer: three tokens by hand, then odd sizes."""
    small = torch.tensor([[[1.0, 1], [2, 0], [0, 4]]]), torch.tensor([3.0, 4]), 10.0
    small = *small, torch.tensor([[1.0, 0.0, -0.5]])
    odd = draw(seed, 2, 5, 7), draw(seed, 7, 1)[:, 0], 2.5, draw(seed, 2, 5).round()
    for resid, direction, length, dose in (small, odd):
        shown = "on resid [2 5 7]"
        if resid is small[0]:
            shown = f"steer({brief(direction)}, {length}, {brief(dose)}), on {brief(resid)}"
        hook = called(mine.steer, direction, length, dose)
        if not callable(hook):
            raise Wrong(
                f"steer should return a function (resid, hook) -> resid, not {described(hook)}"
            )
        case = resid, direction, length, dose
        judge(called(hook, resid, None), loops.pushed(*case), shown, mistakes.pushes(*case))


# ---- 8.5 erase -----------------------------------------------------------------------------------


def check_fit_eraser(mine, seed):
    """Judge fit_eraser by what its edit does: to four tokens by hand, then to odd sizes."""
    x = torch.tensor([[0.0, 0.0], [4.0, 2.0], [2.0, 3.0], [4.0, 1.0]])
    small = x, torch.tensor([False, False, True, True])
    call = f"of {brief(x)}, the last two true"
    for case, shown in ((small, call), (labelled(seed, 17, 5), "of x [17 5]")):
        got = called(mine.fit_eraser, *case)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise Wrong(
                f"fit_eraser should return two things, write and read, not {described(got)}"
            )
        wrongs = mistakes.erasers(*case)
        for part, name in zip(got, ("write", "read")):
            if not isinstance(part, Tensor) or part.shape != case[0].shape[1:]:
                raise Wrong(
                    f"{name} should be a tensor {[*case[0].shape[1:]]}, not {described(part)}"
                )
        want = loops.erased(case[0], *loops.eraser(*case))
        wrongs = {said: loops.erased(case[0], *edit) for said, edit in wrongs.items()}
        judge(loops.erased(case[0], *got), want, f"what the edit leaves {shown}", wrongs, 1e-4)


# ---- 8.6 read, and not used ----------------------------------------------------------------------


def check_unused_direction(mine, seed):
    """Judge unused_direction by what must be true of any, in three dimensions, then in twelve."""
    noise = torch.tensor([1.0, -1, 2, -2]).repeat(2)
    y = torch.arange(8) < 4
    x = torch.stack([y * 9.0, y * 2.0 + noise, noise + torch.tensor([0.1, -0.1] * 4)], dim=1)
    accept(mine, x, y, torch.tensor([[1.0, 0, 0], [3.0, 0, 0]]), 1)
    accept(mine, *planted(seed), 3)


def planted(seed, n=240, d=12, m=20) -> tuple[Tensor, Tensor, Tensor]:
    """Make a case where the model uses three dimensions, and others read as well, behind noise."""
    turn = torch.linalg.qr(draw(seed, d, d))[0]
    y = draw(seed, n, 1)[:, 0] > 0.2
    x = draw(seed, n, d)
    x[:, 4] *= 5
    x[:, 3] = 1.5 * y + x[:, 4] + 0.3 * x[:, 3]
    x[:, 5] = (
        1.0 * y - 3 * x[:, 0] + 0.3 * x[:, 5]
    )  # read well with what is used, and badly without
    x[:, 0] += 8.0 * y
    gradients = torch.zeros(m, d)
    gradients[:, :3] = draw(seed, m, 3)
    gradients[:, 0] = 5.0  # the same at all tokens
    return x @ turn, y, (gradients + 0.01 * draw(seed, m, d)) @ turn


def accept(mine, x, y, gradients, keep) -> None:
    """Raise Wrong unless the direction has length 1, is not used, and reads well."""
    u = called(mine.unused_direction, x, y, gradients, keep)
    shown = f"unused_direction(x {[*x.shape]}, y, gradients {[*gradients.shape]}, keep={keep})"
    if x.shape[1] == 3:
        shown = f"unused_direction({brief(x)}, {brief(y)}, {brief(gradients)}, keep=1)"
    if not isinstance(u, Tensor) or u.shape != x.shape[1:]:
        raise Wrong(f"a direction is a tensor {[*x.shape[1:]]}, not {described(u)}\n  {shown}")
    u = u.detach().double()
    if not abs(u.norm() - 1) < 1e-3:
        raise Wrong(f"the direction should have length 1: yours has {u.norm():.3g}\n  {shown}")
    used = loops.largest(gradients, keep)  # [d keep]
    part = (u @ used).norm().item()
    if part > 0.01:
        raise Wrong(
            f"the model uses what you found: {part:.3f} of its length lies in the {keep} directions"
            f" in which the gradients are largest; it should be at right angles to them\n  {shown}"
        )
    reads, best = loops.reads(x, y, u), loops.best(x, y, used)
    if reads < 0:
        raise Wrong(
            f"the direction points the wrong way: what is true is lower along it\n  {shown}"
        )
    if reads < 0.8 * best:
        raise Wrong(
            f"the classes are {reads:.2f} spreads apart along it, where {best:.2f} is possible: "
            "what matters is the distance between the means in units of the spread within the "
            f"classes, and another direction has less spread\n  {shown}"
        )

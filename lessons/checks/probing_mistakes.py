"""The usual mistakes of lesson 08: sentences, and what each mistake would give instead."""

import torch

from lessons.checks import probing_loops as loops

WEIGHED = "H weighs each token by p (1 - p): yours leaves it out"


def differences(x, y) -> dict:
    """Name the usual mistakes, and what each would give."""
    true, false = x[y], x[~y]
    right = true.mean(0) - false.mean(0)
    return {
        "what is true, less what is not: yours is the other way round": -right,
        "a difference of means: yours is one of sums": true.sum(0) - false.sum(0),
        "each mean goes over its own tokens: yours divides both sums by the number of all": (
            true.sum(0) - false.sum(0)
        )
        / len(x),
        "take off the mean of what is not true: yours takes off the mean of all": true.mean(0)
        - x.mean(0),
        "take off the mean of what is not true: yours is the mean of what is": true.mean(0),
        "the length counts, it is the distance between the classes: yours has length 1": right
        / right.norm(),
        "the mean goes over tokens, dim=0: yours is one number": right.mean(),
    }


def slips(x, y, penalty, steps) -> dict:
    """Name the usual slips in one line of the loop, and what each gives after some steps."""
    n, twice = len(x), "the penalty is penalty / 2 * |w|^2, its gradient penalty * w: yours is "
    return {
        "the step is subtracted, downhill, and True is 1: yours goes the other way": slip(
            x, y, penalty, steps, to=1
        ),
        WEIGHED: slip(x, y, penalty, steps, weigh=False),
        f"{WEIGHED}, and penalises b": slip(x, y, penalty, steps, weigh=False, on_b=penalty),
        "b is not penalised: yours is": slip(x, y, penalty, steps, on_b=penalty),
        "g and H are means over tokens, beside the penalty: yours are sums": slip(
            x, y, penalty / n, steps
        ),
        twice + "twice as much": slip(x, y, 2 * penalty, steps),
        twice + "half as much": slip(x, y, penalty / 2, steps),
        "the penalty is an argument: yours is always 0.001": slip(x, y, 1e-3, steps),
        "the penalty is an argument: yours is always 0.1": slip(x, y, 0.1, steps),
        "H has the penalty too, on w's part of the diagonal: yours has none": slip(
            x, y, penalty, steps, in_H=0
        ),
        "the probe has a b: yours stays 0": slip(x, y, penalty, steps, bias=False),
        "True is 1: yours learns the opposite": slip(x, ~y, penalty, steps),
    }


def slip(x, y, penalty, steps, on_b=0.0, weigh=True, to=-1, bias=True, in_g=1.0, in_H=1.0,
         renew=True):  # fmt: skip
    """Take Newton's steps with one thing changed."""
    z = torch.cat([x, torch.full_like(x[:, :1], float(bias))], dim=1)
    rest, wb = torch.full_like(z[0], penalty), torch.zeros_like(z[0])
    rest[-1] = on_b
    for step in range(steps):
        p = (z @ wb).sigmoid()
        if renew or step == 0:
            weight = p * (1 - p) if weigh else torch.ones_like(p)
            H = (z * weight[:, None]).T @ z / len(z) + in_H * rest.diag()
        g = z.T @ (p - y.to(p)) / len(z) + in_g * rest * wb
        wb = wb + to * torch.linalg.pinv(H, hermitian=True) @ g
    return wb[:-1], wb[-1]


def first_steps(x, y, penalty) -> dict:
    """Name the usual mistakes of one Newton step, and what each would give."""
    zero = torch.zeros(x.shape[1] + 1, dtype=torch.float64)
    slope = loops.gradient(x, y, zero, penalty)
    return slips(x, y, penalty, 1) | {
        "each step solves H @ step = g: yours goes along the gradient": (-slope[:-1], -slope[-1]),
        "with steps=1 it should be one Newton step from zeros: yours is where the fit ends, or "
        "near it": loops.descend(x, y, penalty),
    }


def few_steps(x, y, penalty, steps) -> dict:
    """Name the usual mistakes of some steps, and what each would give."""
    return slips(x, y, penalty, steps) | {
        "H changes with p, from step to step: yours is that of the first": slip(
            x, y, penalty, steps, renew=False
        ),
        "the penalty has a part in g, penalty * w: yours has none": slip(
            x, y, penalty, steps, in_g=0
        ),
        "take all the steps: yours stops after one": loops.newton(x, y, penalty),
    }


def fits(x, y, penalty) -> dict:
    """Name the usual mistakes of where the fit ends, and what each would give."""
    n = len(x)
    return {
        "b is not penalised: yours is": loops.descend(x, y, penalty, on_b=penalty),
        "the loss is a mean over tokens, beside the penalty: yours is a sum": loops.descend(
            x, y, penalty / n
        ),
        "the penalty is penalty / 2 * |w|^2, its gradient penalty * w: yours is twice as "
        "much": loops.descend(x, y, 2 * penalty),
        "the penalty is penalty / 2 * |w|^2, its gradient penalty * w: yours is half as "
        "much": loops.descend(x, y, penalty / 2),
        "the probe has a b: yours stays 0": loops.descend(x, y, penalty, bias=False),
        "True is 1: yours learns the opposite": tuple(-v for v in loops.descend(x, y, penalty)),
        "take all the steps: yours stops after one": loops.newton(x, y, penalty),
    }


def pushes(resid, direction, length, dose) -> dict:
    """Name the usual mistakes, and what each would give."""
    unit = direction / direction.norm()
    each = dose[..., None]
    return {
        "bring the direction to length 1 first: yours goes as far as it is long": resid
        + each * length * direction,
        "the push is `length` long at dose 1: yours is 1 long": resid + each * unit,
        "the push is `length` long at dose 1: yours is as long as the direction": resid
        + each * direction,
        "each token has its own dose, and at 0 nothing changes: yours pushes all alike": resid
        + length * unit,
        "a dose has a sign: yours pushes the other way": resid - each * length * unit,
        "a dose has a sign: yours drops it": resid + each.abs() * length * unit,
        "a dose has a size: yours is on or off": resid + (each != 0) * length * unit,
        "push what is there: yours puts the push in its place": each * length * unit
        + torch.zeros_like(resid),
        "the length of a vector is the root of the sum of its squares: yours adds up their "
        "sizes": resid + each * length * direction / direction.abs().sum(),
    }


def erasers(x, y) -> dict:
    """Name the usual mistakes: what write and read each would give."""
    x = x.double()
    write, read = loops.eraser(x, y)
    raw = torch.linalg.pinv(x.T @ x / len(x)) @ write
    inverse = torch.linalg.inv(loops.covariance(x))
    spread = write / loops.covariance(x).diagonal()
    return {
        "read is C^-1 D: yours leaves C out, which is the plain projection": (
            write,
            write / (write @ write),
        ),
        "C is a covariance, of x less its mean: yours is not centred": (write, raw / (write @ raw)),
        "divide read by D . C^-1 D: yours is not divided": (write, inverse @ write),
        "divide read by D . C^-1 D: yours is divided by its own length": (
            write,
            inverse @ write / (inverse @ write).norm(),
        ),
        "it is taken out along D: yours takes it out along what reads it": (
            read / read.norm(),
            read / read.norm(),
        ),
        "write is D and read is C^-1 D: yours are swapped": (read, write),
        "read is C^-1 D: yours multiplies by C": (
            write,
            loops.covariance(x) @ write / (write @ loops.covariance(x) @ write),
        ),
        "C is the whole covariance matrix: yours has its diagonal only": (
            write,
            spread / (write @ spread),
        ),
    }

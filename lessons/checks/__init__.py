"""How a check speaks: what it holds against what, and what it says when they differ.

A check is one function per exercise, `check_<function>(mine, seed)`, in the file of the lesson's
name. `mine` holds the learner's function (and, for whatever else that calls, the reference's);
`seed` draws other random numbers. It returns if all is well, and raises `Wrong` with one sentence
in the terms of the idea and the smallest example that shows it. Small cases come first.

    def check_centre_rows(mine, seed):
        rows = torch.tensor([[1.0, 5.0, 3.0], [3.0, 1.0, 3.0]])
        judge(
            called(mine.centre_rows, rows),
            torch.tensor([[-1.0, 2.0, 0.0], [1.0, -2.0, 0.0]]),
            f"centre_rows({brief(rows)})",
            {"the mean goes over classes, dim=0: yours goes over pixels": ...},
        )

The oracles here are slow loops, closed forms, identities and hand-built cases. Nothing imports
`lessons.techniques`: a mistake there must not become the truth here.
"""

import inspect
import math
from collections.abc import Callable

import torch
from torch import Tensor


class Wrong(Exception):
    """An answer is not right; the message is for the learner."""


def called(function: Callable, *args, **kwargs):
    """Call the learner's function on copies; it must return something and leave them as they are.

    Tensors among the arguments are cloned; raises Wrong if one of the clones was changed in place.
    """
    given = [copied(arg) for arg in args]
    named = {name: copied(arg) for name, arg in kwargs.items()}
    result = function(*given, **named)
    pairs = [*zip(args, given), *((kwargs[name], named[name]) for name in kwargs)]
    names = [*names_of(function, len(args)), *kwargs]
    for n, (name, (before, after)) in enumerate(zip(names, pairs), 1):
        if isinstance(before, Tensor) and not same(before, after):
            raise Wrong(
                f"your function changed its argument {n} in place ({name}): whoever called it "
                "still needs the old values. Work on a new tensor (x = x - m, not x -= m), or "
                "clone first"
            )
    if result is None:
        raise Wrong("your function returned None: is there a `return` at its end?")
    return result


def names_of(function: Callable, count: int) -> list[str]:
    """List the names of a function's first parameters, or dots where it does not tell."""
    try:
        names = [*inspect.signature(function).parameters][:count]
    except ValueError:  # as of some built-in ones
        names = []
    return names + ["..."] * (count - len(names))


def copied(value):
    """Clone a tensor; hand on anything else."""
    return value.clone() if isinstance(value, Tensor) else value


def judge(got, want, call: str, mistakes: dict | None = None, atol: float = 1e-5) -> None:
    """Hold a result against what is expected: known mistakes, kind, shape, finite, then value.

    `call` is how the call reads. `mistakes` maps a sentence to what that mistake would give; one
    that gives the right answer here accuses nobody. Tuples are judged part by part, floats and
    tensors of no dimension are the same, float32 and float64 too.
    """
    if isinstance(want, tuple):
        if not isinstance(got, (tuple, list)) or len(got) != len(want):
            raise Wrong(f"{call} should return {len(want)} things, not {described(got)}")
        for part, (left, right) in enumerate(zip(got, want), 1):
            wrongs = {said: value[part - 1] for said, value in (mistakes or {}).items()}
            judge(left, right, f"{call}, part {part} of the result", wrongs, atol)
        return
    if isinstance(want, Tensor) and want.ndim and isinstance(got, (tuple, list)):
        how = "torch.stack makes one of tensors, torch.tensor of numbers"
        raise Wrong(f"{call} should be a tensor, not {described(got)}: {how}")
    if same(got, want, atol):
        return
    for said, value in (mistakes or {}).items():
        if same(got, value, atol) and not same(value, want, atol):
            raise Wrong(f"{said}\n{example(call, got, want)}")
    if isinstance(want, (str, bool)) or not is_numeric(want):
        raise Wrong(f"{call} is not right\n{example(call, got, want)}")
    if not is_numeric(got):
        raise Wrong(f"{call} should return {described(want)}, not {described(got)}")
    left, right = torch.as_tensor(got).detach(), torch.as_tensor(want).detach()
    if left.shape != right.shape:
        shapes = f"{list(right.shape)}, not {list(left.shape)}"
        raise Wrong(f"the result's shape should be {shapes}: {call}")
    if (left.dtype == torch.bool) != (right.dtype == torch.bool):
        raise Wrong(f"{call} should return {described(right)}, not {described(left)}")
    if left.is_complex() and not right.is_complex():
        raise Wrong(f"{call} should hold real numbers: yours hold {left.dtype}")
    if right.is_floating_point() and not left.is_floating_point():
        raise Wrong(f"{call} should hold floats: yours hold {left.dtype}, which cuts off fractions")
    if left.is_floating_point() and not left.isfinite().all() and right.isfinite().all():
        raise Wrong(f"the result holds {odd(left)}\n{example(call, got, want)}")
    raise Wrong(f"the numbers are not right\n{example(call, got, want)}")


def same(got, want, atol: float = 0) -> bool:
    """Are both equal in kind, shape and value? Numbers to `atol` plus as large a share of them."""
    if isinstance(want, (str, bool)) or not is_numeric(want) or not is_numeric(got):
        return type(got) is type(want) and got == want
    left, right = torch.as_tensor(got).detach(), torch.as_tensor(want).detach()
    if left.shape != right.shape or left.is_complex() != right.is_complex():
        return False
    if (left.dtype == torch.bool) != (right.dtype == torch.bool):
        return False
    if right.is_floating_point() and not left.is_floating_point() and isinstance(got, Tensor):
        return False
    left, right = left.double(), right.double()
    return torch.allclose(left, right, rtol=atol, atol=atol, equal_nan=True)


def is_numeric(value) -> bool:
    """Is it a tensor, a number, or a list of numbers?"""
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(is_numeric(part) for part in value)
    return isinstance(value, (Tensor, int, float))


def example(call: str, got, want) -> str:
    """Write the smallest failing example: whole if small, else the first place that differs."""
    both = is_numeric(got) and is_numeric(want)
    left, right = (torch.as_tensor(v).detach() if both else None for v in (got, want))
    if not both or left.shape != right.shape or right.numel() <= 16:
        return f"  {call}\n{pair(got, want)}"
    far = (left.double() - right.double()).abs()
    far = torch.where(far.isnan(), math.inf, far)
    off = far > 1e-5 * (1 + right.double().abs())
    at = [int(i) for i in (off if off.any() else far > 0).nonzero()[0]]
    where = f"at {at}, and at {int(off.sum()) - 1} more of {right.numel()} places"
    return f"  {call}\n    {where}\n{pair(left[tuple(at)], right[tuple(at)])}"


def pair(got, want) -> str:
    """Write two values one below the other, and say so where four digits do not tell them apart."""
    same = brief(got) == brief(want)
    note = " (they differ in a later digit: was it rounded, or in a smaller dtype?)" * same
    return f"    got       {brief(got)}{note}\n    expected  {brief(want)}"


def brief(value) -> str:
    """Write a value short: four digits, rounding errors as 0, tensors as nested lists."""
    if isinstance(value, Tensor):
        value = value.detach().tolist()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(brief(part) for part in value) + "]"
    if isinstance(value, float):
        return "0" if abs(value) <= 1e-12 else f"{value:.4g}"  # nan stays nan
    return repr(value)


def described(value) -> str:
    """Say what kind of thing a value is."""
    if isinstance(value, Tensor):
        kind = {torch.bool: "booleans"}.get(value.dtype, str(value.dtype).removeprefix("torch."))
        return f"a tensor {list(value.shape)} of {kind}"
    name = type(value).__name__
    if isinstance(value, (list, tuple)):
        kinds = sorted({type(part).__name__ for part in value})
        return f"a {name} of {len(value)}" + f" ({', '.join(kinds)})" * bool(kinds)
    return f"something of type {name}"


def odd(values: Tensor) -> str:
    """Name what is not finite in a tensor."""
    return "nan" if values.isnan().any() else "infinity"

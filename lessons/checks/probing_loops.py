"""What is right in lesson 08: loops, closed forms and a slow descent, in 64 bits.

Nothing here is taken from lessons/techniques.
"""

import math

import torch
from torch import Tensor


def difference(x: Tensor, y: Tensor) -> Tensor:
    """Average column by column, number by number."""
    means = []
    for column in x.T.tolist():
        true = [value for value, yes in zip(column, y.tolist()) if yes]
        false = [value for value, yes in zip(column, y.tolist()) if not yes]
        means.append(sum(true) / len(true) - sum(false) / len(false))
    return torch.tensor(means)


def gradient(x: Tensor, y: Tensor, wb: Tensor, penalty: float) -> Tensor:
    """Return the gradient of the penalised mean log loss, over w and b."""
    total = [0.0] * len(wb)
    for row, yes in zip(x.tolist(), y.tolist()):
        z = [*row, 1.0]
        p = 1 / (1 + math.exp(-sum(a * b for a, b in zip(z, wb.tolist()))))
        total = [t + (p - yes) * a for t, a in zip(total, z)]
    rest = [penalty * w for w in wb.tolist()[:-1]] + [0.0]
    return torch.tensor([t / len(x) + r for t, r in zip(total, rest)], dtype=torch.float64)


def newton(x, y, penalty: float, steps: int = 1, h: float = 1e-5) -> tuple[Tensor, Tensor]:
    """Take some steps from zeros, with second derivatives by finite differences."""
    wb = torch.zeros(x.shape[1] + 1, dtype=torch.float64)
    for _ in range(steps):
        columns = []
        for i in range(len(wb)):
            step = torch.zeros_like(wb)
            step[i] = h
            far = gradient(x, y, wb + step, penalty) - gradient(x, y, wb - step, penalty)
            columns.append(far / (2 * h))
        wb = wb - torch.linalg.inv(torch.stack(columns, dim=1)) @ gradient(x, y, wb, penalty)
    return wb[:-1], wb[-1]


def descend(x, y, penalty, on_b=0.0, bias=True, steps=4000) -> tuple[Tensor, Tensor]:
    """Go downhill until it goes no further; `on_b` is a penalty on b, which should have none."""
    z = torch.cat([x, torch.full_like(x[:, :1], float(bias))], dim=1)  # [n d+1]
    rest = torch.full_like(z[0], penalty)
    rest[-1] = on_b
    rate = 1 / (torch.linalg.matrix_norm(z, 2) ** 2 / len(z) / 4 + rest.max())
    wb, ahead = torch.zeros_like(z[0]), torch.zeros_like(z[0])
    for step in range(steps):  # with Nesterov's momentum
        slope = z.T @ ((z @ ahead).sigmoid() - y.to(z)) / len(z) + rest * ahead
        new = ahead - rate * slope
        ahead = new + step / (step + 3) * (new - wb)
        wb = new
    return wb[:-1], wb[-1]


def pushed(resid, direction, length, dose) -> Tensor:
    """Push token by token."""
    norm = math.sqrt(sum(v * v for v in direction.tolist()))
    result = resid.clone()
    for b in range(len(resid)):
        for p in range(resid.shape[1]):
            for d, v in enumerate(direction.tolist()):
                result[b, p, d] += float(dose[b, p]) * length * v / norm
    return result


def covariance(x: Tensor) -> Tensor:  # [n d] -> [d d]
    """Average the products of what two columns have beyond their means."""
    columns = [[v - sum(c) / len(c) for v in c] for c in x.double().T.tolist()]
    rows = [[sum(a * b for a, b in zip(r, c)) / len(r) for c in columns] for r in columns]
    return torch.tensor(rows, dtype=torch.float64)


def eraser(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return write and read by the closed form, with an explicit inverse."""
    write = difference(x.double(), y).double()
    read = torch.linalg.inv(covariance(x)) @ write
    return write, read / (write @ read)


def erased(x: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Edit token by token."""
    mean, rows = x.double().mean(0), []
    for row in x.double():
        rows.append(row - float((row - mean) @ read.double()) * write.double())
    return torch.stack(rows)


def largest(gradients: Tensor, keep: int) -> Tensor:  # [m d] -> [d keep]
    """Return the directions in which the gradients are largest together, by eigenvectors."""
    return torch.linalg.eigh(gradients.double().T @ gradients.double()).eigenvectors[:, -keep:]


def within(x: Tensor, y: Tensor) -> Tensor:  # -> [d d]
    """Return the covariance within the classes."""
    apart = x.double().clone()
    for yes in (True, False):
        apart[y == yes] -= apart[y == yes].mean(0)
    return apart.T @ apart / len(x)


def reads(x: Tensor, y: Tensor, u: Tensor) -> float:
    """Say how many spreads the classes are apart along a direction."""
    gap = difference(x.double(), y).double() @ u
    return (gap / (u @ within(x, y) @ u).sqrt()).item()


def best(x: Tensor, y: Tensor, used: Tensor) -> float:
    """Say how far apart they can be, at right angles to what is used."""
    free = torch.linalg.svd(used, full_matrices=True).U[:, used.shape[1] :]  # [d d-keep]
    gap, spread = free.T @ difference(x.double(), y).double(), free.T @ within(x, y) @ free
    return (gap @ torch.linalg.pinv(spread) @ gap).sqrt().item()

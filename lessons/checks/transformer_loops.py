"""What is right in lesson 03: loops over single numbers, as slow and as obvious as can be.

Sums are kept in 64 bits. Nothing here is taken from lessons/techniques.
"""

import math

import torch
from torch import Tensor


def norm(resid, w, b, eps) -> Tensor:
    """Norm one position after the other, one number after the other."""
    rows = []
    for row in resid.tolist():
        mean = sum(row) / len(row)
        scale = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + eps)
        rows.append([(x - mean) / scale * u + v for x, u, v in zip(row, w.tolist(), b.tolist())])
    return torch.tensor(rows)


def pattern(q, k) -> Tensor:
    """Score each query against each key up to its own place, and share out."""
    rows = []
    for i, query in enumerate(q.tolist()):
        seen = [sum(x * y for x, y in zip(query, key)) for key in k.tolist()[: i + 1]]
        weights = [math.exp(score / math.sqrt(len(query))) for score in seen]
        rows.append([x / sum(weights) for x in weights] + [0.0] * (len(q) - i - 1))
    return torch.tensor(rows)


def head(x, attn, head, **instead) -> tuple[Tensor, Tensor]:
    """Run a head token by token; `instead` holds weights to use in place of attn's."""
    of = {name: weight[head].double() for name, weight in vars(attn).items() if name != "b_O"}
    of |= {name: weight.double() for name, weight in instead.items()}
    x = x.double()
    q, k = ([row @ of[f"W_{s}"] + of[f"b_{s}"] for row in x] for s in "QK")
    shares = pattern(torch.stack(q), torch.stack(k))
    result = torch.zeros(len(x), of["W_O"].shape[-1]).double()
    for i in range(len(x)):
        for j in range(i + 1):
            value = x[j] @ of["W_V"] + of["b_V"]
            result[i] += shares[i, j] * (value @ of["W_O"])
    return shares, result.float()


def mlp(x, W_in, b_in, W_out, b_out) -> Tensor:
    """Ask neuron by neuron, and add up what each writes."""
    result = b_out.double().repeat(len(x), 1)
    for i, row in enumerate(x.double()):
        for m in range(len(b_in)):
            y = float(row @ W_in[:, m].double() + b_in[m])
            u = math.sqrt(2 / math.pi) * (y + 0.044715 * y * y * y)
            result[i] += y / (1 + math.exp(-2 * u)) * W_out[m]  # 0.5 (1 + tanh u), otherwise
    return result.float()


def shares(parts, scale, w, direction) -> Tensor:
    """Give each part its share, number by number, word by word."""
    words = direction if direction.ndim == 2 else direction[:, None]  # [d v]
    shares = torch.zeros(len(parts), words.shape[1], dtype=torch.float64)
    for i, part in enumerate(parts.tolist()):
        mean = sum(part) / len(part)
        for v, word in enumerate(words.T.tolist()):
            each = ((x - mean) / scale.item() * u * y for x, u, y in zip(part, w.tolist(), word))
            shares[i, v] = sum(each)
    return (shares if direction.ndim == 2 else shares[:, 0]).float()


def replaced(z, said) -> Tensor:
    """Replace vector by vector."""
    new = z.clone()
    for i in range(len(z)):
        for p in range(z.shape[1]):
            new[i, p, i] = said[p, i]
    return new

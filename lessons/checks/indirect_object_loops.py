"""What is right in lesson 07: runs written out head by head, and small models to run.

A run here is a loop over layers, heads and positions, in 64 bits; nothing of the model is used but
its weights. Nothing here is taken from lessons/techniques.
"""

import math
from copy import deepcopy
from functools import lru_cache
from random import Random

import torch
from torch import Tensor

from minimech import HookedTransformer, ModelConfig


def draw(seed: int, *sizes: int) -> Tensor:
    """Draw normal numbers, others for each shape and seed."""
    generator = torch.Generator().manual_seed(Random(f"{seed} {sizes}").randrange(2**31))
    return torch.randn(*sizes, generator=generator)


def ids(seed: int, *sizes: int, below: int) -> Tensor:
    """Draw token ids, each from 0 to `below` - 1."""
    generator = torch.Generator().manual_seed(Random(f"{seed} {sizes} {below}").randrange(2**31))
    return torch.randint(below, sizes, generator=generator)


# ---- models --------------------------------------------------------------------------------------


def random_model(seed, n_layers=3, n_heads=3, d_model=12, d_vocab=13) -> HookedTransformer:
    """Make a small model in which every weight, bias and norm is random and none is near 0."""
    cfg = ModelConfig(n_layers, n_heads, d_model, n_ctx=6, d_vocab=d_vocab, d_mlp=7, tied=False)
    model = HookedTransformer(cfg).requires_grad_(False)
    for place, (name, weight) in enumerate(model.named_parameters()):
        numbers = draw(1000 * seed + place, *weight.shape)
        if ".ln" in f".{name}":  # w near 1, b near 0
            weight.copy_(numbers / 3 + name.endswith("w"))
        elif name.endswith("W_QKV"):
            weight.copy_(numbers / math.sqrt(d_model) * torch.tensor([2.0, 2, 1])[:, None, None])
        else:
            weight.copy_(numbers * (0.6 if weight.ndim > 1 else 0.4))
    return model


LARGE = 2.0**15  # beside it the rest of the stream is small: a norm divides by half of it, always


def wired_model() -> HookedTransformer:
    """Make a model that one can run by hand: numbers on wires, and norms that change nothing.

    Token x stands on wire 0. L0H0 says 10 x, on wire 1; L0H1 says 5 x, on wire 2; L1H0 says what is
    on wires 0 and 1, on wire 3; MLP 1 says what is on wire 1, on wire 4; L1H1 is silent. The four
    logits are wires 1 to 4. What is written is taken off wire 5, which nobody reads, so the mean is
    0; wires 6 and 7 hold a large number and its negative, so the scale is always the same.
    """
    cfg = ModelConfig(n_layers=2, n_heads=2, d_model=8, n_ctx=1, d_vocab=4, d_mlp=1, tied=False)
    model = HookedTransformer(cfg).requires_grad_(False)
    for name, weight in model.named_parameters():
        weight.fill_(LARGE / 2 if ".ln" in f".{name}" and name.endswith("w") else 0)
    model.W_E[:, 0], model.W_E[:, 5] = torch.arange(4), -torch.arange(4)
    model.W_E[:, 6], model.W_E[:, 7] = LARGE, -LARGE
    for layer, head, reads, wire in [
        (0, 0, {0: 10}, 1),
        (0, 1, {0: 5}, 2),
        (1, 0, {0: 1, 1: 1}, 3),
    ]:
        attn = model.blocks[layer].attn
        for read, gain in reads.items():
            attn.W_QKV[read, 2, head, 0] = gain
        attn.W_O[head, 0, wire], attn.W_O[head, 0, 5] = 1, -1
    mlp = model.blocks[1].mlp
    mlp.W_in[1, 0], mlp.W_out[0, 4], mlp.W_out[0, 5] = 1, 1, -1
    model.lm_head[range(4), range(1, 5)] = 1
    return model


def copying_model(seed) -> HookedTransformer:
    """Make a random model whose heads copy some words, more or less: L1H2 writes against them."""
    model = random_model(seed, n_layers=2, d_model=18, d_vocab=47)  # [h 18 6]
    for block in model.blocks:
        attn = block.attn
        attn.W_O.copy_(attn.W_V.transpose(1, 2) + 0.1 * draw(seed + 7, *attn.W_O.shape))
    model.blocks[1].attn.W_O[2] *= -1
    return model


def four_names() -> HookedTransformer:
    """Make a model of two heads: one copies two of four names, one writes against all of them."""
    cfg = ModelConfig(n_layers=1, n_heads=2, d_model=8, n_ctx=1, d_vocab=8, d_mlp=1, tied=False)
    model, same = HookedTransformer(cfg).requires_grad_(False), torch.eye(4)
    for name, weight in model.named_parameters():
        weight.fill_(float(".ln" in f".{name}" and name.endswith("w")))
    attn = model.blocks[0].attn
    attn.W_QKV[:4, 2] = same[:, None]
    attn.W_O[0, :, :4], attn.W_O[1, :, :4] = same[[0, 1, 3, 2]], -same
    attn.W_O[:, :, 4:] = torch.tensor([0.5, 0.1, 0.2, 0.3])  # no two words alike
    model.lm_head.copy_(torch.eye(8))
    model.W_E.copy_(torch.eye(8).roll(1, 0))
    return model


# ---- runs ----------------------------------------------------------------------------------------


def run(model, tokens, instead=lambda layer, head, z: z) -> tuple[Tensor, dict]:
    """Run head by head: tokens [b p] -> logits [b p v], and z [b p e] by (layer, head).

    `instead(layer, head, z)` returns what a head says instead of z.
    """
    model, said = in_64_bits(model), {}
    resid = model.W_E[tokens] + model.W_pos[: tokens.shape[1]]
    for layer, block in enumerate(model.blocks):
        x, attn = norm(resid, block.ln1), block.attn
        for head in range(model.cfg.n_heads):
            z = instead(layer, head, attend(x, attn, head)).double()
            said[layer, head] = z
            resid = resid + z @ attn.W_O[head]
        resid = resid + attn.b_O
        resid = resid + mlp(norm(resid, block.ln2), block.mlp)
    return (norm(resid, model.ln_final) @ model.W_U).float(), said


@lru_cache(maxsize=4)
def in_64_bits(model):
    """Copy a model, once; its weights are not to change after."""
    return deepcopy(model).double()


def norm(resid, ln) -> Tensor:
    """Norm each position: minus its mean, over the root of its variance, times w, plus b."""
    centred = resid - resid.sum(-1, keepdim=True) / resid.shape[-1]
    variance = (centred * centred).sum(-1, keepdim=True) / resid.shape[-1]
    return centred / torch.sqrt(variance + ln.eps) * ln.w + ln.b


def attend(x, attn, head) -> Tensor:
    """Collect values position by position: [b p d] -> z [b p e]."""
    q, k, v = (x @ attn.W_QKV[:, i, head] + attn.b_QKV[i, head] for i in range(3))
    z = torch.zeros_like(v)
    for i in range(x.shape[1]):
        scores = [(q[:, i] * k[:, j]).sum(-1) / math.sqrt(q.shape[-1]) for j in range(i + 1)]
        weights = [score.exp() for score in scores]
        for weight, j in zip(weights, range(i + 1)):
            z[:, i] += (weight / sum(weights))[:, None] * v[:, j]
    return z


def mlp(x, weights) -> Tensor:
    """Ask neuron by neuron, and add up what each writes."""
    added = weights.b_out.expand_as(x)
    for m in range(len(weights.b_in)):
        y = x @ weights.W_in[:, m] + weights.b_in[m]  # [b p]
        u = math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)
        added = added + (0.5 * y * (1 + torch.tanh(u)))[..., None] * weights.W_out[m]
    return added


# ---- the exercises -------------------------------------------------------------------------------


def difference(logits, right, wrong) -> Tensor:
    """Subtract prompt by prompt."""
    last = [prompt[-1] for prompt in logits.tolist()]
    return torch.tensor([line[r] - line[w] for line, r, w in zip(last, right, wrong)])


def direct(model, tokens, other, layer, head) -> Tensor:
    """Run with every head held but one, which says what it says on `other`."""
    held, told = run(model, tokens)[1], run(model, other)[1]
    return run(
        model, tokens, lambda *at: told[at[:2]] if at[:2] == (layer, head) else held[at[:2]]
    )[0]


def copied(model, stream, names, layer, head, k=5, sign=1) -> float:
    """Count, name by name, how many words have a higher logit than the name has."""
    model, count = in_64_bits(model), 0
    block = model.blocks[layer]
    for row, name in zip(stream.double(), names.tolist()):
        value = norm(row, block.ln1) @ block.attn.W_QKV[:, 2, head] + block.attn.b_QKV[2, head]
        logits = norm(sign * (value @ block.attn.W_O[head]), model.ln_final) @ model.W_U
        count += int((logits > logits[name]).sum()) < k
    return count / len(names)


def means(z, template) -> Tensor:
    """Average, number by number, over the prompts of the same template."""
    result = torch.zeros_like(z)
    for i, one in enumerate(template.tolist()):
        same = [z[j] for j, other in enumerate(template.tolist()) if other == one]
        result[i] = sum(same) / len(same)
    return result


def circuit_alone(model, tokens, circuit, donor) -> Tensor:
    """Run with every head outside the circuit saying what the donor holds for it."""
    return run(
        model, tokens, lambda *at: at[2] if at[:2] in circuit else donor[at[0]][:, :, at[1]]
    )[0]

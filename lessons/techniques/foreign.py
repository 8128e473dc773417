"""Read a network that others trained to add modulo p, so that lesson 02 can open it.

`read(state)` takes a state dict (names to tensors) of one layer of attention and one ReLU MLP,
without layer norm, in any of three layouts, told apart by names and shapes:

    own              W_E [v d]  W_pos [n d]  W_Q W_K W_V [h d e]  W_O [h e d]  W_in [d m] ...
    TransformerLens  embed.W_E, pos_embed.W_pos, blocks.0.attn.W_Q ..., unembed.W_U; the same shapes
    Nanda et al.     the same names with every matrix the other way round: W_E [d v], W_Q [h e d],
                     W_O [d h*e], W_in [m d], W_out [d m]; W_pos [n d] and W_U [d v] as above

Biases that are missing are 0. A state dict does not say which activation it was trained with, nor
whether there was a layer norm without weights: we take ReLU and none. What is not understood is
refused in words.

Letters: n position or question, v token, p number, d d_model, h head, e d_head, m neuron, c answer.
"""

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = {"W_E": "vd", "W_pos": "nd", "W_Q": "hde", "W_K": "hde", "W_V": "hde", "W_O": "hed"}
SHAPES |= {"W_in": "dm", "W_out": "md", "W_U": "dc"}
BIASES = {"b_Q": "he", "b_K": "he", "b_V": "he", "b_O": "d", "b_in": "m", "b_out": "d", "b_U": "c"}
BUFFERS = re.compile(r"(^|\.)(mask|IGNORE|bias_mask)$")  # attention's constants, no weights
NAME = re.compile(r"(?:.*\.)?(?:embed|pos_embed|unembed|blocks\.0\.(?:attn|mlp))\.(\w+)$")


class Unreadable(ValueError):
    """A state dict is not one that we understand; the message says why."""


class Network:
    """One layer, read at the last token of the prompt; every weight by its name."""

    def __init__(self, weights: dict[str, Tensor], p: int, prompt: tuple):
        self.p, self.prompt = p, prompt
        for name, weight in weights.items():
            setattr(self, name, weight)

    def neurons(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:  # [n], [n] -> [n m], [n d]
        """Run up to the neurons after their ReLU; return also the stream that they read."""
        given = {"a": a, "b": b}
        tokens = [given[t] if t in given else torch.full_like(a, t) for t in self.prompt]
        resid = self.W_E[torch.stack(tokens, dim=1)] + self.W_pos[: len(tokens)]  # [n t d]
        q = torch.einsum("nd,hde->nhe", resid[:, -1], self.W_Q) + self.b_Q
        k = torch.einsum("ntd,hde->nthe", resid, self.W_K) + self.b_K
        v = torch.einsum("ntd,hde->nthe", resid, self.W_V) + self.b_V
        pattern = (torch.einsum("nhe,nthe->nht", q, k) / math.sqrt(q.shape[-1])).softmax(-1)
        z = torch.einsum("nht,nthe->nhe", pattern, v)
        resid = resid[:, -1] + torch.einsum("nhe,hed->nd", z, self.W_O) + self.b_O
        return F.relu(resid @ self.W_in + self.b_in), resid

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:  # [n], [n] -> [n p]
        """Return the logits of the answers 0 .. p-1; those of other tokens are cut off."""
        post, resid = self.neurons(a, b)
        return ((resid + post @ self.W_out + self.b_out) @ self.W_U + self.b_U)[:, : self.p]

    @property
    def numbers(self) -> Tensor:  # [p d]
        """The embedding's rows that belong to numbers."""
        return self.W_E[: self.p]

    @property
    def W_L(self) -> Tensor:  # [m p]
        """The neuron-logit map: what each neuron adds to each answer."""
        return (self.W_out @ self.W_U)[:, : self.p]


def read(state: dict, p: int | None = None, prompt: tuple | None = None) -> Network:
    """Make a network of a state dict.

    `prompt` says what it was asked with, such as ("a", "b", 113), numbers being tokens; without it,
    two positions are read as "a b" and three as "a b =", where "=" is token p. `p` without it is
    the number of answers where they are fewer than tokens, else of tokens, less one if there is
    "=". Raises: Unreadable.
    """
    weights = named(state)
    if weights["W_O"].dim() == 2:
        weights = turned(weights)
    sizes = measured(weights)
    for name, letters in BIASES.items():
        weights.setdefault(name, torch.zeros([sizes[letter] for letter in letters]))
    measured(weights)  # again, with the biases
    prompt, p = asked(sizes, p, prompt)
    return Network({name: weight.double() for name, weight in weights.items()}, p, prompt)


def named(state: dict) -> dict[str, Tensor]:
    """Strip the names of a state dict down to W_E, W_Q and so on; each must be known, and there."""
    found = {}
    for name, weight in state.items():
        short = NAME.sub(r"\1", name)
        if BUFFERS.search(name):
            continue
        if not isinstance(weight, Tensor):
            raise Unreadable(f"{name!r} is a {type(weight).__name__} and no tensor: hand over the "
                             "state dict itself, names to tensors")  # fmt: skip
        if re.search(r"blocks\.[1-9]", name):
            raise Unreadable(f"{name} belongs to a second layer; only one-layer networks are read")
        if re.search(r"(^|[._])(ln|norm)", name):
            raise Unreadable(f"{name} belongs to a layer norm; only networks without it are read")
        if short not in SHAPES | BIASES:
            known = ", ".join(SHAPES | BIASES)
            raise Unreadable(f"{name} is no weight that we know; known are {known}, by these names "
                             "or as blocks.0.attn.W_Q and so on")  # fmt: skip
        if not weight.is_floating_point() or not weight.isfinite().all():
            raise Unreadable(f"{name} holds {weight.dtype}, or values that are not finite")
        found[short] = weight.detach()
    if missing := [name for name in SHAPES if name not in found]:
        raise Unreadable(f"the state dict has no {', '.join(missing)}")
    return found


def turned(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn the matrices of Nanda et al.'s layout, used as W @ x, into ours, used as x @ W."""
    turned = {name: weights[name].mT for name in ("W_E", "W_Q", "W_K", "W_V", "W_in", "W_out")}
    if turned["W_Q"].dim() != 3:
        raise Unreadable("W_O has two axes, as Nanda et al. have it, so W_Q needs three, [h e d]; "
                         f"its shape is {list(weights['W_Q'].shape)}")  # fmt: skip
    h, _, e = turned["W_Q"].shape
    if weights["W_O"].shape[1] != h * e:
        raise Unreadable(f"W_O has shape {list(weights['W_O'].shape)}; its second axis should be "
                         f"heads * d_head = {h} * {e} = {h * e}")  # fmt: skip
    W_O = weights["W_O"].T.unflatten(0, (h, e))
    return weights | turned | {"W_O": W_O}


def measured(weights: dict[str, Tensor]) -> dict[str, int]:
    """Read every size off the shapes; a size must be the same wherever it occurs."""
    sizes, where = {}, {}
    for name, letters in (SHAPES | BIASES).items():
        if name not in weights:
            continue
        shape = weights[name].shape
        if len(shape) != len(letters):
            raise Unreadable(f"{name} should have the axes [{' '.join(letters)}]; its shape is "
                             f"{list(shape)}")  # fmt: skip
        for letter, size in zip(letters, shape):
            if sizes.setdefault(letter, size) != size:
                raise Unreadable(
                    f"{name} [{' '.join(letters)}] has shape {list(shape)}, so {letter} would be "
                    f"{size}; in {where[letter]} it is {sizes[letter]}"
                )
            where.setdefault(letter, name)
    return sizes


def asked(sizes: dict[str, int], p: int | None, prompt: tuple | None) -> tuple[tuple, int]:
    """Decide how the network is asked, and modulo what."""
    v, n, c = sizes["v"], sizes["n"], sizes["c"]
    has_equals = n == 3 if prompt is None else any(t not in ("a", "b") for t in prompt)
    p = p if p is not None else c if c < v else v - has_equals
    if p % 2 == 0 or p < 3:
        raise Unreadable(f"{v} tokens would mean addition modulo {p}, and an even p has a wave of "
                         "another kind; if it is another, say p=")  # fmt: skip
    if prompt is None and (n not in (2, 3) or (n == 3 and v > p + 1)):
        most = min(v - 1, c)
        raise Unreadable(f"{n} positions, {v} tokens and modulo {p}: say how it is asked, "
                         'prompt=("a", "b", T) and p=P, where T is the token of "=" and the '
                         f'numbers are tokens 0 to P - 1; for instance prompt=("a", "b", {v - 1}), '
                         f"p={most - 1 + most % 2}")  # fmt: skip
    prompt = prompt or (("a", "b", p) if n == 3 else ("a", "b"))
    if min(v, c) < p or len(prompt) > n or any(t not in ("a", "b", *range(v)) for t in prompt):
        raise Unreadable(f"modulo {p} and prompt {prompt} do not fit {v} tokens, {n} positions and "
                         f"{c} answers")  # fmt: skip
    return prompt, p

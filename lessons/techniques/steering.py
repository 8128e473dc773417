"""Push a running model along a direction, and measure what it is meant to change and what not.

A hook of `model.generate` sees only the positions of its step; `hook.start` says where they begin.
So a push that leaves BOS alone has to count from there.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from minimech.tokens import ends


def push(site: str, vector: Tensor):
    """Return the hook (site, function) that adds vector [d] to every token but the first."""

    def hook(resid, hook):  # [b p d]
        first = 1 if hook.start == 0 else 0
        resid[:, first:] += vector
        return resid

    return site, hook


def leads(model, tokens: Tensor, right: int, wrong: int, hooks=()) -> Tensor:  # [b p] -> [b]
    """Return logit `right` less logit `wrong` at the end of each prompt."""
    logits = model.run_with_hooks(tokens, fwd_hooks=hooks)  # [b p v]
    last = logits[torch.arange(len(tokens)), ends(tokens)]  # [b v]
    return last[:, right] - last[:, wrong]


def loss(model, tokens: Tensor, hooks=()) -> float:  # [b p]
    """Return the mean loss on texts of one length, in nats per token."""
    logits = model.run_with_hooks(tokens, fwd_hooks=hooks)[:, :-1]  # [b p-1 v]
    return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item()


class Trial:
    """Push a model, and say what it does: at the end of prompts, and to the loss on other text.

    A push by vector [d] at every word of `site`. Called with it, a trial returns by how far the
    lead of one next word over another moves, mean over prompts, and the loss in nats per token;
    `moves` returns the first of these alone, which costs less.
    """

    def __init__(self, model, site: str, prompts: list[str], right: str, wrong: str, text: Tensor):
        """Take prompts as text, two words of one token each, and text as tokens [b p]."""
        self.model, self.site, self.text = model, site, text
        self.words = [model.to_single_token(word) for word in (right, wrong)]
        self.prompts = model.to_tokens(prompts)  # [b p]
        self.before = leads(model, self.prompts, *self.words)  # [b]

    def __call__(self, vector: Tensor) -> tuple[float, float]:
        """Push along a vector [d]."""
        return self.moves(vector), loss(self.model, self.text, [push(self.site, vector)])

    def moves(self, vector: Tensor) -> float:
        """Say by how far a push along a vector [d] moves the lead; no loss is measured."""
        hooks = [push(self.site, vector)]
        moved = leads(self.model, self.prompts, *self.words, hooks) - self.before
        return moved.mean().item()


def random_directions(n: int, d: int, seed: int = 0) -> Tensor:  # -> [n d]
    """Draw directions of length 1, none more likely than another."""
    draw = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(n, d, generator=draw), dim=1)

"""Change a model's activations, and see what it does: in prompts and in documents (lesson 08).

Whether a feature is used is not to be read off; it is to be tried. `Pronouns` asks for he or she in
short prompts, which is quick enough for many directions and doses. `Exam` grades all behaviours of
the world's documents at once (graded.py), so that a change shows what else it changes.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lessons.techniques import graded, probing
from lessons.techniques.truth import Labelled
from minimech.world import NAMES


class Pronouns:
    """Prompts about one name each, at position 1, that go on with he or she.

    `numbers` [n]: the names, by their numbers in world.NAMES (even: men's), one token each.
    """

    def __init__(self, model, template: str, numbers: list[int]):
        self.model = model
        self.prompts = model.to_tokens([template.format(NAMES[i]) for i in numbers])  # [n p]
        self.sign = 1 - 2.0 * (torch.tensor(numbers) % 2)  # [n], 1 for a man, -1 for a woman
        self.he, self.she = model.to_single_token(" he"), model.to_single_token(" she")
        self.men, self.women = self.prompts[self.sign > 0], self.prompts[self.sign < 0]

    def lead(self, logits: Tensor) -> float:  # [n v]
        """Return the right pronoun's logit less the wrong one's, mean over the names."""
        return (self.sign * (logits[:, self.he] - logits[:, self.she])).mean().item()

    def pushed(self, site: str, length: float, direction: Tensor, dose: float) -> float:
        """Push each name towards the other gender, `direction` pointing to the men: the lead."""
        doses = torch.zeros(self.prompts.shape)  # [n p]
        doses[:, 1] = -dose * self.sign
        hook = probing.steer(direction, length, doses)
        return self.lead(self.model.run_with_hooks(self.prompts, fwd_hooks=[(site, hook)])[:, -1])

    def slopes(self, site: str) -> Tensor:  # -> [n d]
        """Return how fast he leads she more, per step in each direction at the name."""
        return probing.slopes(self.model, self.prompts, site, 1, self.he, self.she)


def put_in(
    model, prompts: Tensor, twins: Tensor, answers: tuple[int, int], site, position
) -> float:
    """Run prompts with the twins' vector at one place: the lead of the first answer, the mean."""
    logits = probing.exchanged(model, prompts, twins, site, position)  # [n v]
    return (logits[:, answers[0]] - logits[:, answers[1]]).mean().item()


@dataclass
class Exam:
    """The documents from number `cut` on, with everything that they ask of a model.

    sites: depth -> site; resid [depth b p d]: the streams of all documents, there. What a change
    leaves of each behaviour's lead is told as a share of the lead without it.
    """

    model: object
    text: Labelled
    cut: int
    sites: dict[str, str]
    resid: Tensor

    def __post_init__(self):
        self.tokens = self.text.tokens[self.cut :]  # [b p]
        self.asked = graded.part(graded.graded(self.model, self.text), self.cut)
        self.whole, self.loss = self.marks()

    def marks(self, *hooks) -> tuple[dict[str, float], float]:
        """Run the documents: each behaviour's mean lead, and the loss, nats per token.

        Hooks are (site, rows -> a hook for these documents). So many documents at once as have
        logits of 128 MiB, ten at most: a large vocabulary makes them long.
        """
        leads, loss = dict.fromkeys(self.asked, 0.0), 0.0
        some = (1 << 25) // (self.tokens.shape[1] * self.model.cfg.d_vocab)
        for rows in torch.arange(len(self.tokens)).split(min(10, max(1, some))):
            here = [(site, hook(rows)) for site, hook in hooks]
            logits = self.model.run_with_hooks(self.tokens[rows], fwd_hooks=here)  # [b p v]
            loss += graded.loss(logits, self.tokens[rows]) * len(rows) / len(self.tokens)
            asked = graded.part(self.asked, int(rows[0]), int(rows[-1]) + 1)
            for kind, lead in graded.leads(logits, asked).items():
                leads[kind] += lead * asked[kind].shape[1] / self.asked[kind].shape[1]
        return leads, loss

    def run(self, depth: int, hook) -> dict[str, float]:
        """Run with one change at a depth: the share left of each lead, and the loss, nats."""
        leads, loss = self.marks(([*self.sites.values()][depth], hook))
        return {kind: leads[kind] / self.whole[kind] for kind in leads} | {"loss": loss}

    def swap(self, depth: int, where: Tensor, y: Tensor, direction: Tensor | None = None) -> dict:
        """Push each of these tokens by the distance between the classes, to the other class.

        where, y [b p], of all documents; the difference of means is that of the first `cut`. With
        `direction` [d] another way is taken, just as far.
        """
        gap = probing.mean_difference(*self.learned(depth, where, y))
        dose = (torch.where(y, -1.0, 1.0) * where)[self.cut :]  # [b p]
        way = gap if direction is None else direction
        length = gap.norm().item()
        return self.run(depth, lambda rows: probing.steer(way, length, dose[rows]))

    def erased(self, depth: int, where: Tensor, mean: Tensor, edit: tuple) -> dict:
        """Take out of these tokens what `edit` (write, read) takes out."""
        here = where[self.cut :, :, None]  # [b p 1]

        def hook(resid, hook, rows):  # [b p d]
            return torch.where(here[rows], probing.erase(resid, mean, *edit), resid)

        return self.run(depth, lambda rows: partial(hook, rows=rows))

    def unused(self, depth: int, where: Tensor, y: Tensor, asked: Pronouns) -> Tensor:  # -> [d]
        """Find what reads y at these tokens, and is not what these prompts' gradients fill."""
        slopes = asked.slopes([*self.sites.values()][depth])
        return probing.unused_direction(*self.learned(depth, where, y), slopes)

    def learned(self, depth: int, where: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Pick these tokens of the first `cut` documents: streams [n d] and truth [n]."""
        rows = where[: self.cut]
        return self.resid[depth][: self.cut][rows], y[: self.cut][rows]

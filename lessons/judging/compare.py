"""A sound model and a broken one side by side: the layer-by-layer verifier of make break-03."""

from itertools import groupby

import torch
from torch import Tensor

from lessons.judging.slips import Slip, plant, sound_model
from minimech import MinimechError
from minimech.hooks import nearest_words

PROMPT = "When John and Mary went to the store, John gave a drink to"
SHOWN = 7  # lines and columns of an excerpt


class Bench:
    """Every activation of one prompt, in the sound model and in the one with a slip in it."""

    def __init__(self, slip: Slip):
        self.slip, self.sound = slip, sound_model()
        tokens = self.sound.to_str_tokens(PROMPT, prepend_bos=False)
        self.labels = [f"{i} {token.strip()}" for i, token in enumerate(["BOS", *tokens])]
        self.right, self.here = activations(self.sound), activations(plant(slip, self.sound))

    def errors(self) -> dict[str, float]:
        """Return each site's largest error, as a share of its largest number."""
        return {site: error(self.here[site], right) for site, right in self.right.items()}

    def table(self) -> str:
        """List all sites in the order of the forward pass; of later layers, a line each."""

        def line(site: str) -> str:
            layer = site.split(".")[1] if site.startswith("blocks.") else "0"
            return site if layer == "0" else f"blocks.{layer}.*"

        lines = []
        for name, sites in groupby(self.errors().items(), lambda pair: line(pair[0])):
            worst = told(max(apart for _, apart in sites))
            most = "up to " if "*" in name and worst != "equal" else ""
            lines.append(f"  {name:<34} {most}{worst}")
        return "\n".join(lines)

    def look(self, name: str) -> str:
        """Show a site's numbers in both, and what lies between them."""
        site = self.find(name)
        labels, about = self.lines_of(site)
        right, here = excerpt(self.right, site), excerpt(self.here, site)
        if right.shape[-1] == 1:
            heads = f"  {'':<12}" + "".join(f"{name:>15}" for name in TOLD[:2] + TOLD[3:])
            lines = numbers(torch.cat([right, here, here / right], dim=1), labels, 15)
            return f"{site}: {about}\n{heads}\n{lines}"
        if torch.equal(right, here):
            return f"{site}: {about}\nequal in both\n{numbers(right, labels)}"
        blocks = [numbers(part, labels) for part in (right, here, here - right)]
        texts = [f"{title}\n{block}" for title, block in zip(TOLD, blocks)]
        return "\n".join([f"{site}: {about}", *texts])

    def find(self, name: str) -> str:
        """Return the site of a name, or of the end of one; the first, if there are several."""
        ends = (name, f".{name}", f"hook_{name}")
        found = [site for end in ends for site in self.right if site.endswith(end)]
        if not found or not name:
            near = nearest_words(name, self.right) or "`make break-03` lists them."
            raise MinimechError(f"no site is called {name!r}. {near}")
        return name if name in found else found[0]

    def lines_of(self, site: str) -> tuple[list[str], str]:
        """Name the lines of an excerpt, and say what it shows."""
        value = self.right[site]
        if is_pattern(site):
            return self.labels, f"head 0, its first {SHOWN} queries (down) and keys (across)"
        if value.ndim == 3:
            heads = [f"H{head}" for head in range(value.shape[1])]
            return heads, f"each head at the last token, its first {SHOWN} numbers"
        if value.shape[-1] == 1:
            return self.labels, f"one number per token; the first {SHOWN} tokens"
        return self.labels, f"the first {SHOWN} tokens, the first {SHOWN} numbers of each"

    def evidence(self, said: Slip) -> str:
        """Say why it is not that slip: run it, and hold what it does against what is here."""
        if said.first != self.slip.first:
            return (
                f"If {said.name}, it starts at {said.first}.\nHere it starts at {self.slip.first}."
            )
        would = activations(plant(said, self.sound))
        sound, theirs, here = (excerpt(run, said.first) for run in (self.right, would, self.here))
        apart = torch.where(theirs == here, 0, (theirs - here).abs()).amax(-1)  # [line]
        worst, (labels, _) = int(apart.argmax()), self.lines_of(said.first)
        lines = numbers(torch.stack([sound[worst], theirs[worst], here[worst]]), SAID)
        return (
            f"If {said.name}, it starts at {said.first}.\n"
            f"So it does here. But look at the numbers there, at {labels[worst]}:\n{lines}"
        )


TOLD = ["sound", "broken", "broken - sound", "broken / sound"]
SAID = ["sound", "as you say", "here"]


@torch.no_grad()
def activations(model) -> dict[str, Tensor]:
    """Run a model on the prompt and keep every activation."""
    cache = model.run_with_cache(PROMPT)[1]
    return {site: cache[site][0] for site in cache}


def is_pattern(site: str) -> bool:
    """Is it a table of queries and keys?"""
    return site.endswith(("hook_attn_scores", "hook_pattern"))


def excerpt(run: dict[str, Tensor], site: str) -> Tensor:
    """Pick a corner of a site that fits the screen: [line column]."""
    value = run[site]  # [p d], [h q k] or [p h e]
    if value.ndim == 3:
        value = value[0] if is_pattern(site) else value[-1]
    return value[:SHOWN, :SHOWN]


def error(got: Tensor, right: Tensor) -> float:
    """Return the largest difference as a share of the largest number; inf if -inf is elsewhere."""
    finite = right.isfinite()
    if not torch.equal(finite, got.isfinite()):
        return float("inf")
    return float((got - right)[finite].abs().max() / right[finite].abs().max())


def told(apart: float) -> str:
    """Write an error so that the eye finds the first line which is not equal."""
    if apart == float("inf"):
        return "-inf is not at the same places"
    return "equal" if apart == 0 else f"{apart:.2g}"


def numbers(part: Tensor, labels: list[str], width: int = 12) -> str:
    """Write a small matrix, a label before each line; where there is no number, a dot."""
    cells = [[f"{x:{width}.5g}".replace("nan", "  .") for x in line] for line in part.tolist()]
    return "\n".join(f"  {label[:12]:<12}" + "".join(line) for label, line in zip(labels, cells))

"""What is one latent about? A dashboard: where it is on, what it says, what is lost without it.

    seen = survey(model, sae, labelled(model, 300, seed=1))  # one run of the model serves them all
    print(describe(seen, 17))                                # as text; .plot() is the figure
    write_page(model, sae, seen, "out/09/latents.html")      # all latents, to browse and search

Nothing here names a latent by itself. The strongest contexts alone would mislead: most tokens where
a latent is on are weaker, and often about something else. So contexts are drawn from each quarter
of its activations as well (Bricken et al. 2023, "Towards Monosemanticity").

Letters: b document, p position, d width of the activation, f latent, v word, n where one is on.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lessons.techniques.sae.effects import Ablation, ablate, effects
from lessons.techniques.sae.naming import Name
from lessons.techniques.sae.survey import Survey, survey
from lessons.telling import latents, latents_page
from minimech import MinimechError

BINS = 20  # of the histogram
BEFORE, AFTER = 14, 6  # tokens of a context, round the one that it is for
QUARTERS = "strongest quarter", "second quarter", "third quarter", "weakest quarter"


@dataclass
class Context:
    """Some tokens of one document, with one latent's activation on each."""

    words: list[str]
    values: list[float]
    at: int  # which of them it is for
    document: int
    start: int  # the position of the first


@dataclass
class Dashboard:
    """One latent over one text."""

    latent: int
    n_latents: int
    site: str
    count: int  # tokens where it is on,
    n_tokens: int  # of so many
    mean: float = 0.0  # of its activation, where it is on
    largest: float = 0.0
    at: list[tuple[str, float]] = field(default_factory=list)  # word, share of all its activation
    histogram: list[int] = field(default_factory=list)  # BINS equal bins from 0 to the largest
    top: list[Context] = field(default_factory=list)
    spread: list[tuple[str, list[Context]]] = field(default_factory=list)  # by quarter
    promotes: list[tuple[str, float]] = field(default_factory=list)  # word, logits
    suppresses: list[tuple[str, float]] = field(default_factory=list)
    best: Name | None = None  # the best true feature
    near: list[tuple[int, float]] = field(default_factory=list)  # latent, cosine of W_dec
    together: list[tuple[int, float]] = field(default_factory=list)  # latent, share of its tokens
    ablation: Ablation | None = None

    def __str__(self) -> str:
        return latents.text(self)

    def plot(self):
        """Draw it as a figure (lessons/figures.py)."""
        return latents.plot(self)


def dashboard(model, sae, text, latent: int) -> Dashboard:
    """Describe one latent over a text (truth.Labelled, or token ids [b p])."""
    return describe(survey(model, sae, text), latent)


@torch.no_grad()
def describe(seen: Survey, latent: int, ablated: bool = True) -> Dashboard:
    """Describe one latent. `ablated`: also measure what is lost without it (three more runs)."""
    where, value = seen.entries(latent)
    site = seen.sae.cfg.site
    told = Dashboard(latent, seen.n_latents, site, len(where), seen.n_tokens)
    told.near = nearest(seen, latent)
    if not len(where):
        return told
    told.mean, told.largest = value.mean().item(), value[0].item()
    told.at = words_at(seen, where, value)
    told.histogram = value.histc(BINS, 0, told.largest).long().tolist()
    told.top, told.spread = contexts(seen, latent)
    push = promoted(seen, latent)  # [v]
    told.promotes = seen.words(push, largest=True)
    told.suppresses = seen.words(push, largest=False)
    told.best = seen.best[latent]
    share, which = seen.together(latent).topk(min(4, seen.n_latents))
    told.together = [(i, s) for i, s in zip(which.tolist(), share.tolist()) if s > 0]
    if ablated:
        told.ablation = ablate(seen, latent)
    return told


def contexts(seen: Survey, latent: int, n_top=5, n_each=2) -> tuple[list, list]:
    """Pick where to look: the strongest token of some documents, and some tokens of each quarter.

    Quarters have equally many tokens. Those from a quarter are drawn at random, always the same.
    """
    where, _ = seen.entries(latent)
    dense, top, taken = seen.activation(latent).flatten(), [], set()
    for at in where.tolist():
        document = at // seen.tokens.shape[1]
        if document not in taken:
            top.append(context(seen, dense, at))
            taken.add(document)
        if len(top) == n_top:
            break
    draw = torch.Generator().manual_seed(latent)
    spread = []
    for name, part in zip(QUARTERS, where.tensor_split(4)):
        drawn = part[torch.randperm(len(part), generator=draw)[:n_each]]
        spread.append((name, [context(seen, dense, at) for at in drawn.tolist()]))
    return top, [(name, some) for name, some in spread if some]


def context(seen: Survey, dense: Tensor, at: int) -> Context:  # dense [b*p]
    """Cut out the tokens round one."""
    document, position = divmod(at, seen.tokens.shape[1])
    start = max(0, position - BEFORE)
    stop = min(seen.lengths[document], position + AFTER + 1)
    first = document * seen.tokens.shape[1]
    values = dense[first + start : first + stop].tolist()
    ids = seen.tokens[document, start:stop].tolist()
    return Context(list(map(seen.word, ids)), values, position - start, document, start)


def promoted(seen: Survey, latent: int) -> Tensor:  # -> [v]
    """Say what a latent adds to each logit, in the mean over the tokens where it is on.

    Its row of W_dec, centred and times w as the last layer norm does, with the norm's divisor held
    at what it was; then through W_U, and less the mean over all words, which changes no
    probability. This is the direct way only: what later layers make of the latent is not in it.
    """
    row, norm = seen.written[latent], seen.model.ln_final
    logits = ((row - row.mean()) * norm.w) @ seen.model.W_U * seen.strength[latent]  # [v]
    return logits - logits.mean()


def words_at(seen: Survey, where: Tensor, value: Tensor, n: int = 5) -> list[tuple[str, float]]:
    """Name the words that a latent is on at, and their share of all its activation.

    Counting tokens instead would name words where it is often on, but hardly.
    """
    ids, at = seen.tokens.flatten()[where].unique(return_inverse=True)
    total = torch.zeros(len(ids)).index_add(0, at, value.float())
    share, which = (total / total.sum()).topk(min(n, len(ids)))
    return [(seen.word(i), s) for i, s in zip(ids[which].tolist(), share.tolist())]


def nearest(seen: Survey, latent: int, n: int = 4) -> list[tuple[int, float]]:
    """Find the latents whose rows of W_dec point the most alike."""
    cosine = seen.directions @ seen.directions[latent]  # [f]
    cosine[latent] = -1.0
    value, which = cosine.topk(min(n, len(cosine) - 1))
    return list(zip(which.tolist(), value.tolist()))


def write_page(model, sae, text, path, documents: int = 2, only=None) -> str:
    """Write a page of latents, to browse and search, that needs nothing else; say where it is.

    `text`: truth.Labelled, token ids [b p], or a Survey that was made of them already. What is lost
    without a latent is measured in so many documents (0: not at all; it takes longest). `only`
    lists latents; without it, all: of 1,024 on 300 documents ten seconds' work, and under 1 MB.
    """
    seen = text if isinstance(text, Survey) else survey(model, sae, text)
    which = range(seen.n_latents) if only is None else list(only)
    told = [describe(seen, latent, ablated=False) for latent in which]
    if not told:
        raise MinimechError("a page of no latents: name some, or leave `only` out for all")
    lost = effects(seen, documents, which)[list(which)].tolist() if documents else []
    html = latents_page.html(told, lost, documents, seen.tokens, seen.word)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(html, encoding="utf-8")
    except OSError as error:
        raise MinimechError(f"{path} cannot be written ({error.strerror})") from None
    return f"{len(told):,} latents, to browse and search: {path}"

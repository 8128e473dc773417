"""Which latents are about this? From a concept's examples, or from a word, to latents.

    tokens, yes = examples(model, ["*Tom* said that he was sad.", "..."], no=["Mary said ..."])
    print(apart(survey(model, sae, tokens), yes))    # latents that tell the marked tokens apart
    print(find(survey(model, sae, text), " he"))     # latents that promote a word

A concept is a mask [b p] of tokens that have it. Of a thousand latents some tell any few tokens
apart by luck, so the same search is made for as many tokens drawn at random. With few examples look
at that first.

Letters: b document, p position, f latent, v word, n token where a latent is on.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from lessons.techniques.sae.scores import auroc
from lessons.techniques.sae.survey import Survey
from minimech import MinimechError
from minimech.tokens import pad


@dataclass
class Found:
    """Latents, the best first: [k] each. AUROC, and their means where the concept is and is not."""

    latents: list[int]
    auroc: list[float]
    here: list[float]
    elsewhere: list[float]
    luck: float  # the best AUROC of any latent for tokens drawn at random, mean over some draws
    examples: int  # tokens that have the concept,
    n_tokens: int  # of so many

    def __str__(self) -> str:
        lines = [f"{self.examples:,} tokens of {self.n_tokens:,} have it. By luck: {self.luck:.2f}"]
        lines += [f"{'latent':>8}{'AUROC':>8}{'mean there':>12}{'elsewhere':>11}"]
        rows = zip(self.latents, self.auroc, self.here, self.elsewhere)
        return "\n".join(lines + [f"{i:>8}{a:>8.2f}{h:>12.2f}{e:>11.2f}" for i, a, h, e in rows])


@torch.no_grad()
def apart(seen: Survey, concept: Tensor, k: int = 8, draws: int = 5, seed: int = 0) -> Found:
    """Rank latents by how well they tell the tokens of a mask [b p] from all others, by AUROC.

    That is how probably a latent is stronger at a token of the concept than at another; 0.5 is
    chance. The control: the same search for as many tokens drawn at random.
    """
    if concept.shape != seen.tokens.shape:
        shapes = f"{list(concept.shape)}, and the text has {list(seen.tokens.shape)}"
        raise MinimechError(f"the mask of a concept's tokens has shape {shapes}")
    has = concept[seen.counted].bool()  # [n]
    n, total = int(has.sum()), len(has)
    if n in (0, total):
        all_or_none = "all of the text's tokens have" if n else "no token of the text has"
        raise MinimechError(f"{all_or_none} the concept: there is nothing to tell apart")
    draw = torch.Generator().manual_seed(seed)
    shuffled = [has[torch.randperm(total, generator=draw)] for _ in range(draws)]
    areas = auroc(seen.sparse, torch.stack([has, *shuffled], 1))  # [1 + draws, f]
    luck = areas[1:].max(1).values.mean().item()
    score, best = areas[0].topk(min(k, seen.n_latents))
    f = seen.sparse.index_select(1, best).to_dense()  # [n k]
    means = f[has].mean(0).tolist(), f[~has].mean(0).tolist()
    return Found(best.tolist(), score.tolist(), *means, luck, n, total)


def examples(model, yes: list[str], no: list[str] = ()) -> tuple[Tensor, Tensor]:
    """Turn texts into tokens [b p] and a mask of those that have the concept [b p].

    In `yes` the words between stars have it: "When *Mary and* John". A text of `yes` without stars
    has it everywhere, but at BOS; one of `no` nowhere.
    """
    rows, marks = [], []
    for text, has in [(text, True) for text in yes] + [(text, False) for text in no]:
        if text.count("*") % 2:
            raise MinimechError(f"a star is missing in {text!r}: words between two stars are meant")
        row, mark = [model.tokenizer.bos], [False]
        for i, part in enumerate(re.split(r"(\s*\*[^*]+\*)", text)):
            if not part:
                continue
            ids = model.to_tokens(part.replace("*", ""), prepend_bos=False)[0].tolist()
            row += ids
            mark += [has and (i % 2 == 1 or "*" not in text)] * len(ids)
        rows.append(row)
        marks.append(mark)
    if not rows:
        raise MinimechError("there is no example: give texts that have the concept")
    return pad(rows), pad(marks) == 1


@torch.no_grad()
def find(seen: Survey, words: str | list[str], k: int = 8) -> list[tuple[int, float]]:
    """Find the latents that promote a word the most, or the mean of several, and by how much.

    In logits, the direct way only, in the mean over the tokens where the latent is on: see
    dashboards.promoted.
    """
    words = [words] if isinstance(words, str) else words
    tokens = [seen.model.to_single_token(word) for word in words]
    norm, W_U = seen.model.ln_final, seen.model.W_U
    reads = norm.w * (W_U[:, tokens].mean(-1) - W_U.mean(-1))  # [d]
    promote = seen.strength * (seen.written @ (reads - reads.mean()))  # [f]
    value, which = promote.topk(min(k, seen.n_latents))
    return list(zip(which.tolist(), value.tolist()))

"""Short lives of the world, "Kate is a nurse and she works at the hospital .", told to order.

In the world any profession goes with any gender. Here a sample can be had in which one tells the
other, as in many a real one (De-Arteaga et al. 2019, "Bias in Bios"), and one in which it does not.
"""

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from lessons.techniques.truth import Labelled, labelled
from minimech.tokens import pad
from minimech.world import WORDS, Writer

JOBS = ("doctor", "nurse")  # label False, label True


class Narrowed(Writer):
    """A writer who takes a word that is wanted wherever one is among those to choose from."""

    wanted: frozenset = frozenset()

    def pick(self, options):
        """Choose among the wanted options, if there are any, else among all."""
        return super().pick([x for x in options if x in self.wanted] or options)


@dataclass
class Bios:
    """Lives as tokens [b p], PAD behind the end; who they are of: label and gender [b], booleans.

    label: whether the second profession; gender: whether a woman. `truth` has each token's
    features; BOS is the first token.
    """

    tokens: Tensor
    truth: list[list[dict]]
    label: Tensor
    gender: Tensor

    @property
    def agree(self) -> Tensor:  # [b]
        """Whose gender is the one that goes with the profession in a biased sample."""
        return self.label == self.gender

    def without_gender(self) -> "Bios":
        """Leave out every word that tells the gender: the name and the pronoun."""
        kept = [[p for p, t in enumerate(row) if "gender" not in t] for row in self.truth]
        rows = [[int(ids[p]) for p in at] for ids, at in zip(self.tokens, kept)]
        truth = [[row[p] for p in at] for row, at in zip(self.truth, kept)]
        return Bios(pad(rows), truth, self.label, self.gender)


def bios(model, n: int, agree: float, seed, jobs=JOBS) -> Bios:
    """Write n lives, half of each profession; of the share `agree` the gender fits the profession.

    That is: second profession and woman, or first profession and man. Of the others it does not.
    """
    random, label, gender, rows, truth = Random(f"bios {seed}"), [], [], [], []
    pieces = {}
    for i in range(n):
        label.append(i % 2 == 1)
        fits = int((i // 2 + 1) * agree) > int(i // 2 * agree)  # spread evenly
        gender.append(label[-1] == fits)
        writer = Narrowed(random)
        names = WORDS["female" if gender[-1] else "male"]
        writer.wanted = frozenset([jobs[label[-1]], *names])
        writer.write("bio")
        ids, features = spelled(model, writer, pieces)
        rows.append(ids)
        truth.append(features)
    return Bios(pad(rows), truth, torch.tensor(label), torch.tensor(gender))


def spelled(model, writer: Writer, pieces: dict) -> tuple[list[int], list[dict]]:
    """Put what was written into a model's tokens, each with its word's features."""
    ids, features = [model.tokenizer.bos], [{}]
    for word, known in zip(writer.tokens[1:], writer.features[1:]):
        if word not in pieces:
            pieces[word] = model.to_tokens(word, prepend_bos=False)[0].tolist()
        ids += pieces[word]
        features += [known] * len(pieces[word])
    return ids, features


def other_text(model, n: int, seed: int) -> Labelled:
    """Write n labelled texts of all kinds, cut to what the model can read."""
    text = labelled(model, n, seed)
    length = min(model.cfg.n_ctx, text.tokens.shape[1])
    return Labelled(text.tokens[:, :length], [row[:length] for row in text.truth])


def words_of(text: Labelled, gender: str) -> Tensor:  # -> [b p]
    """Say which words go with a gender: names and pronouns of it, words of whose subject it is."""
    own, subject = text.where("gender", gender), text.where("subject_gender", gender)
    return own | (subject & ~text.has("gender"))

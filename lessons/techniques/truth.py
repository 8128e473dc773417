"""The small world's sentences with the truth about every token, for any model that reads text.

    text = labelled(model, 300, seed=1)       # tokens [b p], and what is true of each of them
    text.where("gender", "male")              # [b p]: True at male names and pronouns
    text.features()                           # every categorical feature: ("class", "city"), ...

The model that ships was trained on these sentences, but never told of the features. What a probe
or an autoencoder finds in its activations is held to them (minimech/world.grammar says what each
means). Another model's tokenizer may cut a word into pieces: each piece has the word's features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from minimech import world

# What is true of a token or not: all but numbers, grades and random words' sources.
CATEGORICAL = (
    "kind", "type", "class", "gender", "number", "country", "category", "role", "subject_gender",
    "subject_number", "in_quote",
)  # fmt: skip


@dataclass
class Labelled:
    """Documents as tokens [b p], and each token's features [b][p]: {feature: value}."""

    tokens: Tensor
    truth: list[list[dict]]

    def where(self, feature: str, value=True) -> Tensor:  # -> [b p]
        """Say of every token whether it has this value of the feature."""
        return torch.tensor([[t.get(feature) == value for t in row] for row in self.truth])

    def has(self, feature: str) -> Tensor:  # -> [b p]
        """Say of every token whether the feature is told of it at all."""
        return torch.tensor([[feature in t for t in row] for row in self.truth])

    def features(self, at_least: int = 20) -> dict[tuple, Tensor]:
        """Return every categorical feature with this many tokens: (feature, value) -> [b p].

        BOS is no part of the language, and has none.
        """
        found: dict[tuple, list[int]] = {}
        for b, row in enumerate(self.truth):
            for p, token in enumerate(row[1:], 1):
                for feature in CATEGORICAL:
                    if token.get(feature) is not None:
                        key = feature, token[feature]
                        found.setdefault(key, []).append(b * self.tokens.shape[1] + p)
        out = {}
        for key, places in sorted(found.items(), key=str):
            if len(places) >= at_least:
                out[key] = torch.zeros_like(self.tokens, dtype=torch.bool)
                out[key].view(-1)[places] = True
        return out


def labelled(model, n: int, seed: int, repeats: float = 0.0, unseen: bool = False) -> Labelled:
    """Write n documents of the world, as long as the world's (128), in this model's tokens.

    `repeats`: the share of documents that are random words; `unseen`: names and cities meet in
    pairs that the world model never saw. Seeds are not those that the model was trained on.
    """
    pieces: dict[str, list[int]] = {world.BOS: [model.tokenizer.bos]}
    tokens, truth = [], []
    for document in world.documents(f"labelled {seed}", n, repeats=repeats, unseen=unseen):
        ids, rows = [], []
        for word, features in zip(document.tokens, document.features):
            if word not in pieces:
                pieces[word] = model.to_tokens(word, prepend_bos=False)[0].tolist()
            ids += pieces[word]
            rows += [features] * len(pieces[word])
        tokens.append(ids[: len(document.tokens)])
        truth.append(rows[: len(document.tokens)])
    return Labelled(torch.tensor(tokens), truth)

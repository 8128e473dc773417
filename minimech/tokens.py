"""Text to tokens and back, and two rules that every printed position depends on.

BOS: a string gets the BOS token "<|endoftext|>" in front (`prepend_bos=False` leaves it out); token
ids are taken as they are. GPT-2 saw that token between documents, and its heads rest on position 0:
without it the prompt's first word is that place, and answers change (one published logit difference
from 6.8 to 2.8).

Padding: prompts of different length are padded on the right with `PAD`, which is no token of any
vocabulary. Nothing needs masking: attention looks only backwards, so no real position sees padding
and each prompt's activations are those of the prompt alone. Beyond a prompt's end, results are NaN:
to resume from such a residual stream, or to learn through a hook, batch prompts of one length.
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor

from minimech import MinimechError
from minimech.hooks import nearest_words

PAD = -1
BOS = "<|endoftext|>"


class Tokenizer:
    """A tokenizer of the `tokenizers` library, with errors that name the word."""

    def __init__(self, backend):
        backend.no_truncation()  # files of trained models often ask for it, and for padding
        backend.no_padding()
        self.backend = backend  # tokenizers.Tokenizer
        self.bos: int | None = backend.token_to_id(BOS)

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer | None":
        """Read tokenizer.json, or GPT-2's vocab.json and merges.txt; None without either."""
        import tokenizers

        names = "tokenizer.json", "vocab.json", "merges.txt"
        file, vocab, merges = (Path(folder) / name for name in names)
        try:
            if file.exists():
                return cls(tokenizers.Tokenizer.from_file(str(file)))
            if vocab.exists() and merges.exists():
                backend = tokenizers.ByteLevelBPETokenizer(str(vocab), str(merges))
                backend.add_special_tokens([BOS])
                return cls(backend)
        except Exception as error:  # the library raises bare Exception
            raise MinimechError(f"the tokenizer in {folder} cannot be read: {error}") from None
        return None

    def encode(self, text: str) -> list[int]:
        """Split a text into token ids, without BOS.

        Raises: MinimechError for a word that is not in the vocabulary, with the nearest ones.
        """
        if text.endswith(" "):
            ending = f"the prompt ends in a space: {text[-12:]!r}"
            why = "A space belongs to the word after it, so this asks for what the model rarely saw"
            warnings.warn(f"{ending}. {why}", stacklevel=4)
        try:
            return self.backend.encode(text, add_special_tokens=False).ids
        except Exception:  # a word-level vocabulary has no token for this
            raise MinimechError(self._unknown(text)) from None

    def decode(self, ids: list[int]) -> str:
        """Join tokens to text; padding is dropped."""
        return self.backend.decode([i for i in ids if i != PAD], skip_special_tokens=False)

    def _unknown(self, text: str) -> str:
        pieces = [piece for piece, _ in self.backend.pre_tokenizer.pre_tokenize_str(text)]
        vocab = self.backend.get_vocab()
        words = [word.replace("Ġ", " ") for word in vocab]
        unknown = [piece.replace("Ġ", " ") for piece in pieces if piece not in vocab]
        more = f" (nor {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        absent = f"{unknown[0]!r} is not among this model's {len(vocab)} words{more}"
        rule = "a space belongs to the word that follows it."
        return f"{absent}; {rule} {nearest_words(unknown[0], words)}".strip()


def pad(rows: list[list[int]]) -> Tensor:
    """Stack token ids of different length: PAD on the right, [b p]."""
    width = max(len(row) for row in rows)
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])


def ends(tokens: Tensor) -> Tensor:  # [b p] -> [b]
    """Position of each prompt's last token."""
    return (tokens != PAD).sum(dim=1) - 1


def at_end(activation: Tensor, tokens: Tensor) -> Tensor:  # [b p ...], [b p] -> [b ...]
    """Pick the row of each prompt's last token."""
    return activation[torch.arange(len(tokens)), ends(tokens).to(activation.device)]


def check_tokens(tokens, d_vocab: int, room: int) -> Tensor:
    """Return token ids as int64 [b p]; `room` is how many positions the model has left.

    Raises: MinimechError for another type, shape or dtype, an id outside the vocabulary, padding
    that is not on the right, or more tokens than there is room for.
    """
    try:
        tokens = torch.as_tensor(tokens)
    except (TypeError, ValueError, RuntimeError):
        kind = type(tokens).__name__
        raise MinimechError(f"a prompt is a text, texts, or token ids; got {kind}") from None
    if tokens.numel() and (tokens.is_floating_point() or tokens.dtype == torch.bool):
        raise MinimechError(f"token ids must be integers, not {tokens.dtype}")
    tokens = (tokens.unsqueeze(0) if tokens.ndim == 1 else tokens).long()
    if tokens.ndim != 2:
        raise MinimechError(f"token ids must be [batch position]; got shape {list(tokens.shape)}")
    is_pad = tokens == PAD
    if not tokens.numel() or is_pad[:, 0].any():
        raise MinimechError("the prompt is empty: a model needs one token at least, such as BOS")
    if (is_pad[:, :-1] & ~is_pad[:, 1:]).any():
        raise MinimechError(f"padding ({PAD}) stands before a token; padding goes on the right")
    for b, p in ((tokens < PAD) | (tokens >= d_vocab)).nonzero().tolist():
        which = f"token id {int(tokens[b, p])} (prompt {b}, position {p})"
        raise MinimechError(f"{which} is not in the vocabulary: ids go from 0 to {d_vocab - 1}")
    if tokens.shape[1] > room:
        limit = f"this model has room for {room} (its context length, less any `past`)"
        raise MinimechError(f"{tokens.shape[1]} tokens do not fit: {limit}")
    return tokens

"""One pass over a text: where every latent of an autoencoder is on, and how much.

    seen = survey(model, sae, labelled(model, 300, seed=1))
    seen.activation(17)           # [b p]: what sae.encode says of latent 17, token by token
    seen.count / seen.n_tokens    # [f]: how often each latent is on

What is kept is where a latent is on (a few of a thousand at each token), latent by latent, the
strongest first. So a dashboard of every latent costs one run of the model, and 24,576 latents on
40,000 tokens still fit into memory.

Letters: b document, p position, d width of the activation, f latent, v word, n where one is on.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lessons.techniques.sae.naming import Name, best_names
from minimech import MinimechError
from minimech.hooks import nearest_sites, site_shapes
from minimech.tokens import PAD, check_tokens


@dataclass(repr=False)
class Survey:
    """Where each latent is on. Entries [n] are sorted by latent, and then the strongest first."""

    model: object
    sae: object
    tokens: Tensor  # [b p]
    features: dict  # (feature, value) -> [b p], what is true; empty for a text without labels
    counted: Tensor  # [b p]: not padding, and not the first position (unless trained on it)
    scale: Tensor  # [b p]: what the last layer norm divides by
    loss: Tensor  # [b p-1], of each next token, in nats
    latent: Tensor  # [n]
    where: Tensor  # [n], in tokens.flatten()
    value: Tensor  # [n]

    n_latents = property(lambda self: len(self.sae.W_dec))
    n_tokens = property(lambda self: int(self.counted.sum()))

    def __repr__(self) -> str:
        return (
            f"Survey({self.n_latents:,} latents of {self.sae.cfg.site}, {self.n_tokens:,} tokens)"
        )

    @cached_property
    def count(self) -> Tensor:  # [f]
        """At how many tokens each latent is on."""
        return self.latent.bincount(minlength=self.n_latents)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *self.count.cumsum(0).tolist()]

    @cached_property
    def sparse(self) -> Tensor:  # [n f], n the tokens that count
        """All activations as one sparse matrix, as scores.py takes them."""
        place = self.counted.flatten().cumsum(0) - 1
        at = torch.stack([place[self.where], self.latent])
        size = self.n_tokens, self.n_latents
        return torch.sparse_coo_tensor(at, self.value, size, check_invariants=False).coalesce()

    def entries(self, latent: int) -> tuple[Tensor, Tensor]:
        """Return where one latent is on, the strongest first, and how much: [n], [n]."""
        self.check(latent)
        part = slice(self._starts[latent], self._starts[latent + 1])
        return self.where[part], self.value[part]

    def activation(self, latent: int) -> Tensor:  # -> [b p]
        """Return one latent's activation at every token; 0 where tokens are not counted."""
        where, value = self.entries(latent)
        dense = torch.zeros(self.tokens.numel(), device=value.device)
        return dense.index_copy(0, where, value).view(self.tokens.shape)

    def together(self, latent: int) -> Tensor:  # -> [f]
        """At which share of this latent's tokens each other one is on as well."""
        where, _ = self.entries(latent)
        here = torch.zeros(self.tokens.numel(), dtype=torch.bool, device=where.device)
        here[where] = True
        both = self.latent[here[self.where]].bincount(minlength=self.n_latents)
        both[latent] = 0
        return both / max(1, len(where))

    def sums(self, numbers: Tensor) -> Tensor:  # [n] -> [f]
        """Add up a number of every entry over each latent's tokens."""
        zeros = torch.zeros(self.n_latents, device=numbers.device, dtype=numbers.dtype)
        return zeros.index_add(0, self.latent, numbers)

    @cached_property
    def strength(self) -> Tensor:  # [f]
        """The mean of activation / scale, the last norm's: how much of W_dec the logits see."""
        sums = self.sums(self.value / self.scale.flatten()[self.where])
        return sums / self.count.clamp_min(1)

    @cached_property
    def best(self) -> list[Name | None]:
        """Each latent's best true feature."""
        return best_names(self)

    @cached_property
    def directions(self) -> Tensor:  # [f d]
        """The rows of W_dec at length 1."""
        return torch.nn.functional.normalize(self.sae.W_dec, dim=1)

    @cached_property
    def written(self) -> Tensor:  # -> [f d]
        """What a latent's row adds to the stream: the row itself; of neurons, through W_out."""
        neurons = self.sae.cfg.site.split(".mlp.hook_")[1:]
        if not neurons:
            return self.sae.W_dec
        if neurons == ["pre"]:
            raise MinimechError("what comes before a GELU writes to no logit: use hook_post")
        return self.sae.W_dec @ self.model.W_out[int(self.sae.cfg.site.split(".")[1])]

    @cached_property
    def lengths(self) -> list[int]:  # [b]
        """How many tokens each document has."""
        return (self.tokens != PAD).sum(1).tolist()

    def word(self, token: int) -> str:
        """Write a token as text; without a tokenizer, its id."""
        if token not in self._words:
            known = self.model.tokenizer
            self._words[token] = known.decode([token]) if known else f" {token}"
        return self._words[token]

    def words(self, numbers: Tensor, largest: bool, n: int = 6) -> list[tuple[str, float]]:
        """Name the words [v] with the largest numbers, or the smallest."""
        value, which = numbers.topk(min(n, len(numbers)), largest=largest)
        return [(self.word(i), v) for i, v in zip(which.tolist(), value.tolist())]

    @cached_property
    def _words(self) -> dict[int, str]:
        return {}

    def check(self, latent: int) -> None:
        """Raise MinimechError for a latent that there is not."""
        if type(latent) is not int or not 0 <= latent < self.n_latents:
            all_of_them = f"they go from 0 to {self.n_latents - 1:,}"
            raise MinimechError(f"latent {latent!r} of {self.n_latents:,}: {all_of_them}")


@torch.no_grad()
def survey(model, sae, text) -> Survey:
    """Read a text: truth.Labelled, or token ids [b p], with PAD where a document has ended.

    Raises MinimechError where there is nothing to read, or the autoencoder is of another model.
    """
    tokens = getattr(text, "tokens", text)
    tokens = check_tokens(tokens, model.cfg.d_vocab, model.cfg.n_ctx)
    counted = tokens != PAD
    counted[:, 0] &= sae.cfg.bos
    if not counted.any():
        raise MinimechError("there is nothing to read: each text has one token, and that is BOS")
    fits(model, sae)
    parts = (torch.cat(part) for part in zip(*read(model, sae, tokens)))
    scale, loss, latent, where, value = parts
    kept = counted.flatten()[where].nonzero()[:, 0]
    order = kept[value[kept].argsort(descending=True, stable=True)]
    order = order[latent[order].argsort(stable=True)]
    features = text.features() if hasattr(text, "features") else {}
    entries = latent[order], where[order], value[order]
    return Survey(model, sae, tokens, features, counted, scale, loss, *entries)


def read(model, sae, tokens: Tensor):
    """Yield for each batch the last norm's scale [b p], the loss [b p-1], and where latents are on:
    latent, place and value, [n] each."""
    start, site = 0, sae.cfg.site
    for rows in batches(model, sae, tokens):
        logits, cache = model.run_with_cache(rows, [site, "ln_final.hook_scale"])
        loss = model.loss_fn(logits, rows, per_token=True)
        f = sae.encode(cache[site]).flatten(0, 1)  # [b*p f]
        where, latent = (f > 0).nonzero().T  # what is NaN, beyond a text's end, is on nowhere
        scale = cache["ln_final.hook_scale"][..., 0]
        yield scale, loss, latent, where + start, f[where, latent]
        start += rows.numel()


def fits(model, sae) -> None:
    """Raise MinimechError unless the autoencoder reads an activation of this model."""
    site, shapes = sae.cfg.site, site_shapes(model.cfg.n_layers)
    if site not in shapes:
        named = f"this autoencoder reads {site!r}, and" if site else "it names no site:"
        hint = nearest_sites(site, shapes)
        raise MinimechError(f"{named} this model has no such activation. {hint}")
    widths = {"b p d": model.cfg.d_model, "b p m": model.cfg.d_mlp}
    got, needed = widths.get(shapes[site]), sae.W_dec.shape[1]
    if got != needed:
        has = f"has {got}" if got else f"is [{shapes[site]}]"
        raise MinimechError(
            f"this autoencoder reads {needed} numbers per token, and {site} of this model {has}"
        )


def batches(model, sae, rows: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, ...]:
    """Split rows, one for each document [b p], such that logits, or features, take 128 MiB."""
    p = (rows if tokens is None else tokens).shape[1]
    widest = max(model.cfg.d_vocab, len(sae.W_dec))
    return rows.split(max(1, min(32, (1 << 25) // (p * widest))))

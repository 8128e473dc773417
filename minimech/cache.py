"""What `run_with_cache` hands back: activations by name, and the residual stream taken apart.

The residual stream is a sum: embeddings, then what each layer's attention and MLP add. The last
layer norm and the unembedding are linear once the norm's scale is held at its saved value, so every
logit is a sum over the same parts (direct logit attribution; Elhage et al. 2021, "A Mathematical
Framework for Transformer Circuits").
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from minimech import MinimechError
from minimech.hooks import nearest_sites, site_shapes
from minimech.model import Past
from minimech.tokens import ends


class Parts(NamedTuple):
    """Named summands: `values[i]` is called `labels[i]`, and `values.sum(0)` is the whole."""

    values: Tensor
    labels: list[str]


class ActivationCache(Mapping):
    """The activations of one run: `cache["blocks.9.attn.hook_z"]`, or `cache["z", 9]`.

    A short key is what follows `hook_`, then the layer (negative: from the last), then, where two
    sites of a layer share that name, which: `("resid_post", 9)`, `("pattern", -1)`,
    `("scale", 9, "ln2")`, `"embed"`; `"scale"` alone is the final layer norm's. A saved tensor that
    was edited in place is not handed out again.
    """

    def __init__(self, saved: dict[str, tuple[Tensor, int]], model, tokens: Tensor, start: int = 0):
        self.model, self.tokens = model, tokens  # [b p]
        self.start = start  # the position of the first token
        self._saved = saved  # name -> activation, and how often it had been edited when saved

    def __getitem__(self, key: str | tuple) -> Tensor:
        name = self.site(key)
        if name not in self._saved:
            missing = f"{name} was not saved in this run. Saved: {', '.join(self._saved)}"
            mend = "Ask for it in names_filter, or leave that out to save everything"
            raise MinimechError(f"{missing}. {mend}")
        activation, edits = self._saved[name]
        if activation._version != edits:
            edited = f"{name}, or a tensor that shares its memory, was edited in place"
            mend = "it is no longer what the model computed. Edit a .clone() instead"
            raise MinimechError(f"{edited} after the run saved it: {mend}")
        return activation

    def __contains__(self, key: object) -> bool:
        try:
            return self.site(key) in self._saved
        except MinimechError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._saved)

    def __len__(self) -> int:
        return len(self._saved)

    def __repr__(self) -> str:
        return f"ActivationCache({len(self)} activations, {self.nbytes / 2**20:.1f} MiB)"

    @property
    def nbytes(self) -> int:
        """Bytes held; activations that share memory count once."""
        blocks = [x.untyped_storage() for x, _ in self._saved.values()]
        return sum({block.data_ptr(): block.nbytes() for block in blocks}.values())

    def site(self, key: str | tuple) -> str:
        """Turn a key into the full name of a site. Raises MinimechError with the nearest names."""
        n_layers = self.model.cfg.n_layers
        sites = list(site_shapes(n_layers))
        if key in sites:
            return key
        short, layer, where = (*(key if isinstance(key, tuple) else (key,)), None, None)[:3]
        if layer is not None and layer not in range(-n_layers, n_layers):
            raise MinimechError(f"there is no layer {layer!r}: the last is {n_layers - 1}")
        block = "" if layer is None else f"blocks.{layer % n_layers}."
        prefix, name = block + (f"{where}." if where else ""), f"hook_{short}"
        found = [site for site in sites if site.startswith(prefix) and site.endswith(name)]
        found = [site for site in found if block or not site.startswith("blocks.")]
        if not found:
            hint = nearest_sites(prefix + name, sites)
            raise MinimechError(f"no activation is called {key!r}. {hint}")
        if len(found) > 1:
            choice = " or ".join(found)
            raise MinimechError(f"{key!r} means {choice}; add 'ln1' or 'ln2' to the key")
        return found[0]

    def past(self, upto: int | None = None) -> Past:
        """Return keys and values of the positions before `upto`: any run can start there."""
        if self.start:
            raise MinimechError(f"this run began at position {self.start}: its own `past` has more")
        layers = range(self.model.cfg.n_layers)
        kept = {i: (self["k", i][:, :upto], self["v", i][:, :upto]) for i in layers}
        return Past(kept, grows=False)

    def head_results(self, layer: int, position: int | None = None) -> Tensor:
        """Return what each head adds to the residual stream, z @ W_O: [h b p d], or [h b d].

        The bias b_O belongs to no head and is not in it. `position`: see decompose.
        """
        z = self._at(self["z", layer], position)  # [b p h e]
        return torch.einsum("...he,hed->h...d", z, self.model.blocks[layer].attn.W_O)

    def decompose(self, layer: int | None = None, heads=False, position: int | None = None):
        """Take apart the residual stream that enters `layer` (None: the last layer norm).

        Parts: embed, pos_embed, then attention and MLP of each earlier layer; with `heads`,
        attention is split into its heads and its bias. Returns Parts with values [part b p d], or
        [part b d] at one `position` (negative: from each prompt's own end). They sum to the stream,
        unless a hook rewrote the stream itself (hook_resid_*), which is no part's doing.
        """
        n_layers = self.model.cfg.n_layers
        if layer is not None and layer not in range(-n_layers, n_layers + 1):
            raise MinimechError(f"there is no layer {layer!r}: the last is {n_layers - 1}")
        labels = ["embed", "pos_embed"]
        values = [self._at(self[label], position) for label in labels]
        for i in range(n_layers)[:layer]:
            attn_out = self._at(self["attn_out", i], position)
            if heads:
                results = self.head_results(i, position)  # [h b p d]
                labels += [f"L{i}H{h}" for h in range(len(results))] + [f"{i}_attn_bias"]
                values += [*results, attn_out - results.sum(0)]
            else:
                labels += [f"{i}_attn_out"]
                values += [attn_out]
            labels += [f"{i}_mlp_out"]
            values += [self._at(self["mlp_out", i], position)]
        return Parts(torch.stack(values), labels)

    def apply_ln(self, stack: Tensor, position: int | None = None) -> Tensor:
        """Apply the last layer norm with its saved scale, without its bias: [part b p d] -> same.

        With the scale held, the norm is linear: it can be applied to each part of a sum.
        """
        scale = self._at(self["ln_final.hook_scale"], position)  # [b p 1]
        return (stack - stack.mean(-1, keepdim=True)) / scale * self.model.ln_final.w

    def logit_attribution(self, token, minus=None, heads=False, position: int = -1) -> Parts:
        """Split a logit, or the difference of two, into what each part writes directly.

        logit = sum over parts of apply_ln(part) . W_U[token], plus ln_final.b . W_U[token].
        `token`, `minus`: a word, an id, or one id per prompt [b]. Returns Parts with values
        [part b], the final norm's bias last; they sum to the logit of the run (see decompose).
        """
        parts = self.decompose(heads=heads, position=position)
        normed = self.apply_ln(parts.values, position)  # [part b d]
        direction, offset = self._unembed_row(token)  # [b d], [b]
        if minus is not None:
            other = self._unembed_row(minus)
            direction, offset = direction - other[0], offset - other[1]
        bias = (self.model.ln_final.b * direction).sum(-1) + offset  # [b]
        values = (normed * direction).sum(-1)  # [part b]
        return Parts(torch.cat([values, bias.expand_as(values[:1])]), [*parts.labels, "ln_final.b"])

    def _unembed_row(self, token) -> tuple[Tensor, Tensor]:
        if isinstance(token, str):
            token = self.model.to_single_token(token)
        token = torch.as_tensor(token, device=self.model.W_E.device)
        return self.model.W_U.T[token], self.model.b_U[token]

    def _at(self, activation: Tensor, position: int | None) -> Tensor:
        """Pick a position [b p ...] -> [b ...]; negative ones count from each prompt's own end."""
        if position is None:
            return activation
        end = ends(self.tokens).to(activation.device)  # [b]
        index = torch.full_like(end, position) if position >= 0 else end + 1 + position
        if (index < 0).any() or (index > end).any():
            raise MinimechError(f"position {position} is outside a prompt of {int(end.min()) + 1}")
        return activation[torch.arange(len(end), device=activation.device), index]

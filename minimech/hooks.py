"""The tap: read, replace or differentiate any named activation of one forward pass.

The model writes `z = tap("blocks.9.attn.hook_z", z)`: it hands every activation over and goes on
with what it is handed back. A `Tap` belongs to one run and is passed as an argument, so there is
nothing to reset, nothing leaks after an exception, and two runs can interleave. With nobody looking
it is the identity.

A hook is a function `hook(activation, hook)`. It may return a new tensor, return None, or edit in
place: it owns what it is given (a copy), so no edit reaches an activation that was saved before.
What it is given requires grad, also where weights are frozen, unless inside `torch.no_grad()`: so
`x.register_hook(f)` and `x.retain_grad()` work, and the graph reaches down to the lowest hooked
site and no further.

The names, and what each holds, are those of TransformerLens 3.9 (Nanda and Bloom 2022).
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

import torch
from torch import Tensor

from minimech import MinimechError

# Every site and its shape. b batch, p position, q/k query/key position, h head, d d_model,
# e d_head, m d_mlp, v d_vocab. With `past`, p and q count this run's positions, k all of them.
BLOCK_SITES = {
    "hook_resid_pre": "b p d",
    "ln1.hook_scale": "b p 1", "ln1.hook_normalized": "b p d",  # before the norm's w and b
    "attn.hook_q": "b p h e", "attn.hook_k": "b p h e", "attn.hook_v": "b p h e",
    "attn.hook_attn_scores": "b h q k",  # over sqrt(d_head); -inf where the key is in the future
    "attn.hook_pattern": "b h q k", "attn.hook_z": "b p h e",
    "hook_attn_out": "b p d", "hook_resid_mid": "b p d",
    "ln2.hook_scale": "b p 1", "ln2.hook_normalized": "b p d",
    "mlp.hook_pre": "b p m", "mlp.hook_post": "b p m",
    "hook_mlp_out": "b p d", "hook_resid_post": "b p d",
}  # fmt: skip
FINAL_SITES = {
    "ln_final.hook_scale": "b p 1", "ln_final.hook_normalized": "b p d",
    "unembed.hook_in": "b p d",  # after the final norm's w and b: what W_U multiplies
    "unembed.hook_out": "b p v",  # the logits
}  # fmt: skip

Filter = str | Callable[[str], bool] | Sequence["Filter"]
Hook = Callable[..., Tensor | None]


@cache
def site_shapes(n_layers: int) -> dict[str, str]:
    """Name every activation of a model, in the order of the forward pass; for reading only."""
    sites = {"hook_embed": "b p d", "hook_pos_embed": "b p d"}
    for layer in range(n_layers):
        sites |= {f"blocks.{layer}.{site}": shape for site, shape in BLOCK_SITES.items()}
    return sites | FINAL_SITES


def select(names: Filter | None, sites: Iterable[str]) -> list[str]:
    """Return the sites that a filter means: name, glob, predicate, list of these; None for all."""
    wanted = set().union(*groups(names, list(sites)))
    return [site for site in sites if site in wanted]


def groups(names: Filter | None, sites: list[str]) -> list[list[str]]:
    """Return what each part of a filter matches. Raises MinimechError if it is nothing."""
    if names is None:
        return [sites]
    if isinstance(names, (list, tuple, set)) and names:
        return [group for part in names for group in groups(part, sites)]
    if not isinstance(names, str) and not callable(names):
        raise MinimechError(f"{names!r} names no activation; a name, a glob or a predicate does")
    matches = names if callable(names) else lambda site: fnmatchcase(site, names)
    found = [site for site in sites if matches(site)]
    if not found:
        raise MinimechError(f"no activation is called {names!r}. {nearest_sites(names, sites)}")
    return [found]


def nearest_words(word: object, known: Iterable[str]) -> str:
    """Say what was probably meant: a question, or nothing if nothing is near."""
    close = difflib.get_close_matches(str(word), list(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else ""


def nearest_sites(name: object, sites: Iterable[str]) -> str:
    """Say which activation was probably meant, and where all names stand."""
    return f"{nearest_words(name, sites)} `python -m minimech sites` lists every name.".strip()


@dataclass(frozen=True)
class HookPoint:
    """Where a hook stands: its site's full name, and the text position of the first row it sees."""

    name: str
    start: int = 0  # above 0 when earlier positions come from `past`, as in steps of `generate`

    def layer(self) -> int:
        """Return the layer of the site; -1 outside the blocks."""
        return int(self.name.split(".")[1]) if self.name.startswith("blocks.") else -1


class Tap:
    """What one forward pass is asked to do at its sites: hooks to call, activations to save.

    `save` None saves whatever the run reaches. A site that is named must be reached, of a glob or a
    predicate at least one. `beyond` [b p] is True beyond each prompt's end, in a padded batch:
    there, hooks and saved activations hold NaN, and what a hook writes is dropped. So padding is
    not read by mistake, nor changes anything.
    """

    def __init__(self, sites=(), fwd_hooks=(), save=(), beyond: Tensor | None = None, start=0):
        sites = list(sites)
        self.hooks: dict[str, list[Hook]] = {}
        self.awaited = [] if save == () else groups(save, sites)
        self.save = set().union(*self.awaited)
        for pair in fwd_hooks:
            if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and callable(pair[1])):
                raise MinimechError(f"fwd_hooks lists (name, function); {pair!r} is no such pair")
            names, function = pair
            parts = groups(names, sites)
            self.awaited += parts
            for name in set().union(*parts):
                self.hooks.setdefault(name, []).append(function)
        self.watched = self.save | set(self.hooks)
        self.fired: set[str] = set()
        self.saved: dict[str, tuple[Tensor, int]] = {}  # with torch's count of its in-place edits
        self.beyond = beyond if beyond is not None and beyond.any() else None
        self.start = start

    def watches(self, *names: str) -> bool:
        """Is anybody looking at one of these? If not, the model may take a faster way round."""
        return not self.watched.isdisjoint(names)

    def __call__(self, name: str, activation: Tensor) -> Tensor:
        """Hand over the activation of a site; get back the one to go on with, of the same shape."""
        if name not in self.watched:
            return activation
        self.fired.add(name)
        for function in self.hooks.get(name, ()):
            activation = self._apply(function, name, activation)
        if name in self.save:
            kept = self.hide(name, activation)
            if kept.is_inference():  # edits of these are not counted; of a copy made outside, yes
                with torch.inference_mode(False):
                    kept = kept.clone()
            self.saved[name] = kept, kept._version
        return activation

    def hide(self, name: str, activation: Tensor) -> Tensor:
        """Put NaN beyond each prompt's end."""
        if self.beyond is None:
            return activation
        return activation.masked_fill(self._mask(name, activation), float("nan"))

    def check_all_fired(self) -> None:
        """Raise if a hook or a filter was waiting at a site that the run never reached."""
        missed = [group[0] for group in self.awaited if self.fired.isdisjoint(group)]
        if missed:
            raise MinimechError(f"the run stopped before reaching {', '.join(missed)}")

    def _mask(self, name: str, activation: Tensor) -> Tensor:
        if name.endswith(("hook_attn_scores", "hook_pattern")):  # all others have p on axis 1
            return self.beyond[:, None, :, None]  # [b 1 q 1]
        return self.beyond.view(*self.beyond.shape, *[1] * (activation.ndim - 2))  # [b p 1 ...]

    def _apply(self, function: Hook, name: str, activation: Tensor) -> Tensor:
        starts_graph = torch.is_grad_enabled() and not activation.requires_grad
        given = (activation.detach().requires_grad_() if starts_graph else activation).clone()
        given = self.hide(name, given)
        point = HookPoint(name, self.start)
        by_keyword = "hook" in inspect.signature(function).parameters  # as partials need it
        result = function(given, hook=point) if by_keyword else function(given, point)
        result = given if result is None else result
        check_replacement(name, result, activation)
        if self.beyond is not None:
            result = torch.where(self._mask(name, activation), activation, result)
        return result


UNTAPPED = Tap()  # nobody looks; nothing is ever written to it


def check_replacement(name: str, got: object, expected: Tensor) -> None:
    """Raise unless a hook returned a tensor of the activation's shape, dtype and device."""
    returned = f"the hook at {name} returned"
    if not isinstance(got, Tensor):
        raise MinimechError(f"{returned} {type(got).__name__}; return a tensor, or None")
    for is_, should_be in zip(traits(got), traits(expected)):
        if is_ != should_be:
            raise MinimechError(f"{returned} {is_}; the activation there has {should_be}")


def traits(x: Tensor) -> tuple[str, str, str]:
    """Say what a replacement must have in common with the activation."""
    return f"shape {list(x.shape)}", f"dtype {x.dtype}", f"device {x.device}"

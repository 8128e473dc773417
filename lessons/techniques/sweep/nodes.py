"""Which activations to patch: nodes of the model, and paths between them.

    Nodes("resid_pre", over="layer position")       every layer and position, one at a time
    Nodes("z", over="layer head", positions=-1)     every head, at the last position alone
    Nodes("mlp_out", over="layer", layers=[1, 2])   two MLPs, each at all positions at once
    Paths(Nodes("z", over="layer head"), to=Nodes("q", layers=9, heads=[6, 9], positions=-1))

`over` names the axes that are swept; along the others, all that is selected is patched at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor

from minimech import MinimechError
from minimech.hooks import nearest_words

AXES = ("layer", "head", "position")
SITES = {
    "resid_pre": "hook_resid_pre", "attn_out": "hook_attn_out", "resid_mid": "hook_resid_mid",
    "mlp_out": "hook_mlp_out", "resid_post": "hook_resid_post",
    "q": "attn.hook_q", "k": "attn.hook_k", "v": "attn.hook_v", "z": "attn.hook_z",
    "pattern": "attn.hook_pattern",
}  # fmt: skip
OF_HEADS = ("q", "k", "v", "z", "pattern")
Index = int | Sequence[int] | None


@dataclass(frozen=True)
class Nodes:
    """Activations of one type: which, and which axes are swept.

    `type`: a key of SITES. `over`: axes to sweep, "layer", "head", "position". `layers`, `heads`,
    `positions`: a number or several; None: all. Negative positions count from the end. The
    positions of a pattern are those that look (queries).
    """

    type: str
    over: str | Sequence[str] = ()
    layers: Index = None
    positions: Index = None
    heads: Index = None

    def __post_init__(self):
        """Refuse a type or an axis that does not exist."""
        if self.type not in SITES:
            hint = nearest_words(self.type, SITES) or f"There are: {', '.join(SITES)}"
            raise MinimechError(f"no node type is called {self.type!r}. {hint}")
        over = self.over.replace(",", " ").split() if isinstance(self.over, str) else self.over
        for axis in over:
            if axis not in AXES:
                raise MinimechError(f"{axis!r} cannot be swept: over takes {', '.join(AXES)}")
        if len(set(over)) != len(over):
            raise MinimechError(f"over names an axis twice: {' '.join(over)}")
        if self.type not in OF_HEADS and ("head" in over or self.heads is not None):
            raise MinimechError(f"{self.type} has no heads; {', '.join(OF_HEADS)} have")
        object.__setattr__(self, "over", tuple(over))

    def within(self, cfg, length: int) -> "Nodes":
        """Return the same with every index written out, for prompts of `length` tokens."""
        sizes = {"layers": cfg.n_layers, "positions": length, "heads": cfg.n_heads}
        if self.type not in OF_HEADS:
            sizes.pop("heads")
        return replace(self, **{name: self._indices(name, size) for name, size in sizes.items()})

    def selected(self, axis: str) -> list[int]:
        """Return the indices along an axis: "layer" gives layers, and so on."""
        return list(getattr(self, f"{axis}s") or [])

    def patches(self) -> list["Nodes"]:
        """Part what is swept into single patches, in the order of the axes; none has an `over`."""
        ways = product(*(self.selected(axis) for axis in self.over))
        keys = [f"{axis}s" for axis in self.over]
        return [replace(self, over=(), **{key: [i] for key, i in zip(keys, way)}) for way in ways]

    def sites(self) -> list[str]:
        """Name the sites in the model, one for each layer."""
        return [f"blocks.{layer}.{SITES[self.type]}" for layer in self.layers]

    def index(self) -> tuple:
        """Return what to index an activation with, the batch first."""
        rows = list(self.positions)
        if self.type not in OF_HEADS:
            return slice(None), rows  # [b p d]
        columns = [[head] for head in self.heads]
        if self.type == "pattern":
            return slice(None), columns, rows  # [b h q k]
        return slice(None), rows, columns  # [b p h e]

    def _indices(self, name: str, size: int) -> list[int]:
        given = getattr(self, name)
        if given is None:
            return list(range(size))
        listed = given.tolist() if isinstance(given, Tensor) else given
        listed = [listed] if isinstance(listed, int) else list(listed)
        if not listed:
            raise MinimechError(f"{name} is empty: nothing would be patched")
        for i in listed:
            if i not in range(-size, size):
                raise MinimechError(f"there is no {name[:-1]} {i!r}: the last is {size - 1}")
        return [i % size for i in listed]


@dataclass(frozen=True)
class Paths:
    """From each sender, one at a time, straight to the receivers (Wang et al. 2022, appendix B).

    `senders` are z, attn_out or mlp_out nodes. `to` are q, k or v nodes, all receivers at once, or
    "logits". On the way the heads hold what they had, so nothing travels through another head;
    MLPs and layer norms are recomputed, unless `hold` is "heads mlps".
    """

    senders: Nodes
    to: Nodes | str = "logits"
    hold: str = "heads"

    def __post_init__(self):
        """Refuse what is no sender, no receiver, or nothing to hold."""
        if self.senders.type not in ("z", "attn_out", "mlp_out"):
            raise MinimechError(f"{self.senders.type} sends no path; z, attn_out and mlp_out do")
        is_nodes = isinstance(self.to, Nodes)
        if not (is_nodes and self.to.type in ("q", "k", "v")) and self.to != "logits":
            got = self.to.type if is_nodes else repr(self.to)
            raise MinimechError(f'{got} receives no path; Nodes of q, k or v do, and "logits"')
        if is_nodes and self.to.over:
            raise MinimechError("the receivers of a path are not swept: leave out their `over`")
        if self.hold not in ("heads", "heads mlps"):
            raise MinimechError(f'hold is "heads" or "heads mlps", not {self.hold!r}')

    over = property(lambda self: self.senders.over, doc="The axes that are swept.")

    def within(self, cfg, length: int) -> "Paths":
        """Return the same with every index written out."""
        to = self.to if self.to == "logits" else self.to.within(cfg, length)
        return replace(self, senders=self.senders.within(cfg, length), to=to)

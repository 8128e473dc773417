"""Which activations to patch: nodes of the model, and paths between them.

    Nodes("resid_pre", over="layer position")       every layer and position, one at a time
    Nodes("z", over="layer head", positions=-1)     every head, at the last position alone
    Nodes("mlp_out", over="layer", layers=[1, 2])   two MLPs, each at all positions at once
    Nodes("z", heads=[(0, 1), (1, 2)])              L0H1 and L1H2 at once, and no others
    Nodes("z", over="head", heads=[(0, 1), (1, 2)]) the same, one at a time
    Paths(Nodes("z", over="layer head"), to=Nodes("q", heads=[(9, 6), (10, 0)], positions=-1))

`over` names the axes that are swept; along the others, all that is selected is patched at once.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import product

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
Index = int | Collection[int] | None
Heads = Index | Collection[tuple[int, int]]


@dataclass(frozen=True)
class Nodes:
    """Activations of one type: which, and which axes are swept.

    `type`: a key of SITES. `over`: axes to sweep, "layer", "head", "position". `layers`, `heads`,
    `positions`: a number or several; None: all. Negative ones count from the end. They multiply:
    layers=[0, 1] with heads=[1, 2] are four heads. Or `heads` are pairs (layer, head): these alone,
    and `layers` is left out. The positions of a pattern are those that look (queries).
    """

    type: str
    over: str | Sequence[str] = ()
    layers: Index = None
    positions: Index = None
    heads: Heads = None

    def __post_init__(self):
        """Refuse a type or an axis that does not exist."""
        if self.type not in SITES:
            short = str(self.type).split(".")[-1].removeprefix("hook_")  # of a site's full name
            hint = nearest_words(short, SITES) or f"There are: {', '.join(SITES)}"
            raise MinimechError(f"no node type is called {self.type!r}. {hint}")
        over = self.over or ()
        over = over.replace(",", " ").split() if isinstance(over, str) else over
        for axis in over:
            if axis not in AXES:
                raise MinimechError(f"{axis!r} cannot be swept: over takes {', '.join(AXES)}")
        if len(set(over)) != len(over):
            raise MinimechError(f"over names an axis twice: {' '.join(over)}")
        if self.type not in OF_HEADS and ("head" in over or self.heads is not None):
            raise MinimechError(f"{self.type} has no heads; {', '.join(OF_HEADS)} have")
        object.__setattr__(self, "over", tuple(over))
        if self.in_pairs:
            self._check_pairs()

    @property
    def in_pairs(self) -> bool:
        """Are the heads given as pairs (layer, head)?"""
        return any(isinstance(head, tuple) for head in listed("heads", self.heads))

    def within(self, cfg, length: int) -> "Nodes":
        """Return the same with every index written out, for prompts of `length` tokens."""
        sizes = {"layers": cfg.n_layers, "positions": length, "heads": cfg.n_heads}
        if self.type not in OF_HEADS:
            sizes.pop("heads")
        if not self.in_pairs:
            return replace(self, **{x: indices(x, getattr(self, x), n) for x, n in sizes.items()})
        pairs = zip(*(indices(x, i, sizes[x]) for x, i in zip(("layers", "heads"), self._parted())))
        pairs, positions = list(pairs), indices("positions", self.positions, length)
        layers = sorted({layer for layer, _ in pairs})
        return replace(self, layers=layers, positions=positions, heads=pairs)

    def selected(self, axis: str) -> list:
        """Return the indices along an axis: "layer" gives layers, and so on."""
        return list(getattr(self, f"{axis}s") or [])

    def heads_in(self, layer: int) -> list[int] | None:
        """Return the heads of a layer, written out; None if the type has no heads."""
        if not self.in_pairs:
            return self.heads
        return [head for home, head in self.heads if home == layer]

    def patches(self) -> list["Nodes"]:
        """Part what is swept into single patches, in the order of the axes; none has an `over`."""
        ways = [dict(zip(self.over, way)) for way in product(*map(self.selected, self.over))]
        if self.in_pairs and "head" in self.over:
            ways = [{"layer": way["head"][0], **way} for way in ways]
        return [replace(self, over=(), **{f"{axis}s": [i] for axis, i in way.items()})
                for way in ways]  # fmt: skip

    def sites(self) -> list[str]:
        """Name the sites in the model, one for each layer."""
        return [f"blocks.{layer}.{SITES[self.type]}" for layer in self.layers]

    def _check_pairs(self) -> None:
        """Refuse pairs that are none, or that contradict `layers`."""
        heads = listed("heads", self.heads)
        if not all(isinstance(head, tuple) and len(head) == 2 for head in heads):
            raise MinimechError(f"heads are numbers, or else all pairs (layer, head), not {heads}")
        homes = set(self._parted()[0])
        if "layer" in self.over or set(listed("layers", self.layers)) not in (set(), homes):
            raise MinimechError(f"pairs (layer, head) say which layers: with heads={heads}, leave "
                                "out `layers`, and sweep over head, not layer")  # fmt: skip

    def _parted(self) -> tuple[tuple, tuple]:
        """Part pairs into layers and heads."""
        return tuple(zip(*listed("heads", self.heads)))


def indices(name: str, given: Heads, size: int) -> list[int]:
    """Write an index out, from 0 to size - 1."""
    numbers = list(range(size)) if given is None else listed(name, given)
    if not numbers:
        raise MinimechError(f"{name} is empty: nothing would be patched")
    for i in numbers:
        if type(i) is not int:
            raise MinimechError(f"{name} are whole numbers, and {i!r} is none")
        if i not in range(-size, size):
            raise MinimechError(f"there is no {name[:-1]} {i!r}: the last is {size - 1}")
    return [i % size for i in numbers]


def listed(name: str, given: Heads) -> list:
    """Write a number or several as a list, pairs as tuples; nothing as an empty one."""
    given = given.tolist() if hasattr(given, "tolist") else given  # tensors, NumPy's numbers
    given = [given] if isinstance(given, (int, float)) else given or []
    if not isinstance(given, Collection) or isinstance(given, str):
        hint = "; a word's place is that in model.to_str_tokens" if name == "positions" else ""
        raise MinimechError(f"{name} are whole numbers, not {given!r}{hint}")
    plain = (x.tolist() if hasattr(x, "tolist") else x for x in given)
    return [tuple(x) if isinstance(x, (tuple, list)) else x for x in plain]


@dataclass(frozen=True)
class Paths:
    """From each sender, one at a time, straight to the receivers (Wang et al. 2022, appendix B).

    `senders` are z, attn_out or mlp_out nodes. `to` are q, k or v nodes, all receivers at once, or
    "logits". On the way the heads hold what they had, so nothing travels through another head;
    MLPs and layer norms are recomputed, unless `hold` is "heads mlps". What is said stays at its
    position: a sender below no receiver, or at no position of theirs, has an effect of exactly 0.
    MinimechError if no sender lies below any receiver.
    """

    senders: Nodes
    to: Nodes | str = "logits"
    hold: str = "heads"

    def __post_init__(self):
        """Refuse what is no sender, no receiver, or nothing to hold."""
        if not isinstance(self.senders, Nodes):
            raise MinimechError(f"the senders of a path are Nodes, not {self.senders!r}")
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
        senders = self.senders.within(cfg, length)
        if self.to == "logits":
            return replace(self, senders=senders)
        to = self.to.within(cfg, length)
        if max(to.layers) <= min(senders.layers):
            raise MinimechError(f"no path leads up from layer {min(senders.layers)}, that of the "
                                f"lowest sender, to layer {max(to.layers)}, that of the highest "
                                "receiver")  # fmt: skip
        return replace(self, senders=senders, to=to)

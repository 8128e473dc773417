"""What an autoencoder is, in numbers and names; and which of them make none."""

from dataclasses import dataclass, fields

from minimech import MinimechError
from minimech.hooks import nearest_words

KINDS = ("relu", "topk", "matryoshka")
ALSO = {float: (float, int), tuple[int, ...]: (tuple, list)}  # types that do as well


@dataclass
class Config:
    """What an autoencoder is: its sizes, its kind, and the activation that it was made for.

    k: features per token (topk; on average: matryoshka). l1: weight of relu's penalty. groups: the
    beginnings of matryoshka's dictionary, the last of which is all of it. site: the activation's
    name; model: sha256 of the model's weights, "" if not known. bos: whether it was trained on the
    first position. Raises: MinimechError naming the setting that makes no autoencoder.
    """

    d_in: int
    d_sae: int
    kind: str = "topk"
    k: int = 16
    l1: float = 0.0
    groups: tuple[int, ...] = ()
    site: str = ""
    model: str = ""
    bos: bool = False

    def __post_init__(self):
        for field in fields(self):
            value, kind = getattr(self, field.name), field.type
            is_bool = isinstance(value, bool)  # which is an int as well
            if not isinstance(value, ALSO.get(kind, kind)) or is_bool != (kind is bool):
                raise MinimechError(f"{field.name} is {value!r}; expected {kind.__name__}")
        if self.kind not in KINDS:
            near = nearest_words(self.kind, KINDS) or f"There are {', '.join(KINDS)}"
            raise MinimechError(f"no kind is called {self.kind!r}. {near}")
        for name in ("d_in", "d_sae"):
            if getattr(self, name) < 1:
                raise MinimechError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.kind != "relu" and not 0 < self.k <= self.d_sae:
            of = f"{self.d_sae:,} features: at least 1, at most all of them, are on at a token"
            raise MinimechError(f"kind {self.kind!r} with k {self.k} of {of}")
        if not 0 <= self.l1 < float("inf"):
            raise MinimechError(f"l1 is {self.l1}; expected a weight, 0 or more")
        self._check_groups()

    def _check_groups(self) -> None:
        self.groups = groups = tuple(self.groups)
        if groups and self.kind != "matryoshka":
            raise MinimechError(f"only matryoshka has groups, and this is {self.kind}")
        whole = all(type(n) is int and n > 0 for n in groups)
        if groups and not (whole and sorted(set(groups)) == [*groups] and groups[-1] == self.d_sae):
            got = " ".join(map(str, groups))
            raise MinimechError(f"groups are {got}; expected rising numbers, the last {self.d_sae}")

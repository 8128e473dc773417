"""What a sweep found: a labelled array of the metric, one number per patch and prompt."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lessons import figures
from minimech import MinimechError

KINDS = {"normalised": "share", "change": "change of the metric", "mean": "metric"}  # units
SHARES = {"denoising": "share brought back", "noising": "share left"}
SCALE = " (0 as corrupted, 1 as clean)"


@dataclass
class Effects:
    """The metric after each patch, with names on every axis.

    values [*axes b]: one number per patch and prompt. `clean` and `corrupted` [b]: the metric of
    the two runs (corrupted is None where the donor was no run, as in mean ablation). `direction`
    says which run was patched: denoising patches the corrupted one, noising the clean one.
    """

    values: Tensor
    axes: tuple[str, ...]
    labels: dict[str, list[str]]
    clean: Tensor
    corrupted: Tensor | None
    direction: str
    what: str = ""

    mean = property(lambda self: self.values.mean(-1), doc="The metric, over prompts: [*axes].")

    @property
    def change(self) -> Tensor:
        """What each patch changed, over prompts: [*axes]."""
        base = self.clean if self.direction == "noising" else self.corrupted
        return (self.values - base).mean(-1)

    @property
    def has_scale(self) -> bool:
        """Do the two runs differ, so that a patch can land between them?"""
        if self.corrupted is None:
            return False
        size = max(self.corrupted.abs().max(), self.clean.abs().max())
        return bool((self.clean.mean() - self.corrupted.mean()).abs() > 1e-6 * size)

    def normalised(self) -> Tensor:
        """Return where between the two runs each patch lands: 0 corrupted's, 1 clean's [*axes].

        Means first, then the ratio. Raises MinimechError if the two runs do not differ.
        """
        if self.corrupted is None:
            raise MinimechError("there was no corrupted run to normalise by: read .change")
        low, high = self.corrupted.mean(), self.clean.mean()
        if not self.has_scale:
            raise MinimechError(
                f"clean and corrupted give the same metric, {high:.4g}: no scale to normalise by"
            )
        share = self.change / (high - low)  # exactly 0 where nothing happens
        return share + 1 if self.direction == "noising" else share

    def of(self, kind: str) -> Tensor:
        """Return "normalised", "change" or "mean", [*axes]."""
        if kind not in KINDS:
            raise MinimechError(f"{kind!r} is none of {', '.join(KINDS)}")
        return (self.normalised() if kind == "normalised" else getattr(self, kind)) + 0.0  # no -0

    def at(self, **index: int) -> "Effects":
        """Pick along some axes by place: after positions=[10, 12], at(position=1) is position 12.

        Raises MinimechError where there is no such axis or place.
        """
        values, axes = self.values, list(self.axes)
        for axis, i in index.items():
            if axis not in axes:
                raise MinimechError(f"there is no axis {axis!r}: {', '.join(self.axes)}")
            if i not in range(-len(self.labels[axis]), len(self.labels[axis])):
                raise MinimechError(f"there is no place {i!r} among {len(self.labels[axis])} "
                                    f"along {axis}")  # fmt: skip
            values = values.select(axes.index(axis), i)
            axes.remove(axis)
        labels = {axis: self.labels[axis] for axis in axes}
        both = self.clean, self.corrupted, self.direction, self.what
        return Effects(values, tuple(axes), labels, *both)

    def top(self, n: int = 5, kind: str = "change") -> list[tuple[str, float]]:
        """List the n patches that change most, the largest |change| first: (name, value).

        `kind`: which value is told, see `of`; change is in the metric's own unit.
        """
        if n < 0:
            raise MinimechError(f"the top {n} cannot be listed: n is 0 or more")
        values = self.of(kind).flatten()
        order = self.change.flatten().abs().argsort(descending=True, stable=True)[:n].tolist()
        return [(self.name(i), values[i].item()) for i in order]

    def name(self, i: int) -> str:
        """Name the i-th patch: "L9H6", "L3 ·Mary"."""
        place = torch.unravel_index(torch.tensor(i), self.values.shape[:-1])
        parts = [self.labels[axis][j] for axis, j in zip(self.axes, place)]
        for i, pair in enumerate(zip(self.axes, self.axes[1:])):
            if pair == ("layer", "head"):
                parts[i : i + 2] = ["".join(parts[i : i + 2])]
        return " ".join(parts)

    def plot(self, title: str = "", kind: str = "", **more) -> figures.Plot:
        """Draw it: bars for one axis, a heat map for two. `kind`: see `of`."""
        kind = kind or ("normalised" if self.has_scale else "change")
        is_share, values = kind == "normalised", self.of(kind)
        unit = SHARES[self.direction] if is_share else KINDS[kind]
        title = title or f"{self.what}, {self.direction}: {unit}{SCALE * is_share}"
        if len(self.axes) == 1:
            return figures.bars(values, self.labels[self.axes[0]], title, unit, **more)
        if len(self.axes) != 2:
            raise MinimechError("a plot has one axis or two: pick along the others with .at()")
        rows, columns = (self.labels[axis] for axis in self.axes)
        axes = {"ylabel": self.axes[0], "xlabel": self.axes[1], "unit": unit}
        return figures.heatmap(values, rows, columns, title, signed=True, **axes, **more)

    def __str__(self) -> str:
        if not self.axes:
            return f"{self.what}, {self.direction}: metric {self.mean:.4g}"
        if len(self.axes) > 2:
            title = f"{self.what}, {self.direction}: largest changes of the metric"
            return "\n".join([title, *(f"{name}: {x:+.3g}" for name, x in self.top(10))])
        return str(self.plot())

"""What a sweep found: a labelled array of the metric, one number per patch and prompt."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lessons import figures
from minimech import MinimechError

KINDS = {
    "normalised": "0 corrupted, 1 clean",
    "change": "change of the metric",
    "mean": "metric",
}


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

    def normalised(self) -> Tensor:
        """Return where between the two runs each patch lands: 0 corrupted's, 1 clean's [*axes].

        Means first, then the ratio. Raises MinimechError if the two runs do not differ.
        """
        if self.corrupted is None:
            raise MinimechError("there was no corrupted run to normalise by: read .change")
        low, high = self.corrupted.mean(), self.clean.mean()
        if (high - low).abs() < 1e-6 * high.abs().clamp(min=1):
            raise MinimechError(
                f"clean and corrupted give the same metric, {high:.4g}: no scale to normalise by"
            )
        return (self.mean - low) / (high - low)

    def of(self, kind: str) -> Tensor:
        """Return "normalised", "change" or "mean", [*axes]."""
        if kind not in KINDS:
            raise MinimechError(f"{kind!r} is none of {', '.join(KINDS)}")
        return self.normalised() if kind == "normalised" else getattr(self, kind)

    def at(self, **index: int) -> "Effects":
        """Pick along some axes by place: effects.at(position=-1)."""
        values, axes = self.values, list(self.axes)
        for axis, i in index.items():
            if axis not in axes:
                raise MinimechError(f"there is no axis {axis!r}: {', '.join(self.axes)}")
            values = values.select(axes.index(axis), i)
            axes.remove(axis)
        labels = {axis: self.labels[axis] for axis in axes}
        both = self.clean, self.corrupted, self.direction, self.what
        return Effects(values, tuple(axes), labels, *both)

    def top(self, n: int = 5, kind: str = "change") -> list[tuple[str, float]]:
        """List the n patches that matter most, as (name, value), the largest |value| first."""
        values = self.of(kind).flatten()
        order = values.abs().argsort(descending=True, stable=True)[:n].tolist()
        return [(self.name(i), values[i].item()) for i in order]

    def name(self, i: int) -> str:
        """Name the i-th patch: "L9H6", "L3 ·Mary"."""
        place = torch.unravel_index(torch.tensor(i), self.values.shape[:-1])
        parts = [self.labels[axis][j] for axis, j in zip(self.axes, place)]
        joined = " ".join(parts)
        return joined.replace(" H", "H") if "head" in self.axes else joined

    def plot(self, title: str = "", kind: str = "", **more) -> figures.Plot:
        """Draw it: bars for one axis, a heat map for two. `kind`: see `of`."""
        kind = kind or ("change" if self.corrupted is None else "normalised")
        values, title = self.of(kind), title or f"{self.what}, {self.direction}"
        if len(self.axes) == 1:
            return figures.bars(values, self.labels[self.axes[0]], title, KINDS[kind], **more)
        if len(self.axes) != 2:
            raise MinimechError("a plot has one axis or two: pick along the others with .at()")
        rows, columns = (self.labels[axis] for axis in self.axes)
        axes = {"ylabel": self.axes[0], "xlabel": self.axes[1], "unit": KINDS[kind]}
        return figures.heatmap(values, rows, columns, title, signed=True, **axes, **more)

    def __str__(self) -> str:
        if not self.axes:
            return f"{self.what}, {self.direction}: {self.mean:.4g}"
        if len(self.axes) > 2:
            return "\n".join(f"{name}: {value:+.3g}" for name, value in self.top(10))
        return str(self.plot())

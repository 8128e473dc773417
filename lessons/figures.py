"""The plots that the lessons share: heat map, bars, line; each as a picture and as text.

A figure's title states the finding and its axes say what they hold. Colours differ in lightness, so
that they survive greyscale and colour blindness; a sign is also a place (bars) or a number (heat
maps). The text form needs no colour, fits the terminal's width, and says the same over ssh.
"""

import io
import shutil
import sys
import textwrap
import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

DARK, LIGHT, GREY = "#1f4e79", "#e3a83b", "#9a9a9a"
STYLES = [(DARK, "-", "o"), ("#c46a1b", "--", "s"), (GREY, ":", "^"), ("#1c1c1c", "-.", "D")]


@dataclass
class Plot:
    """A picture, the same as text, and what readers can point at on a page (telling/live.py)."""

    title: str
    figure: Figure
    text: str
    live: dict | None = None

    def __str__(self) -> str:
        return f"{self.title}\n\n{self.text}"

    @cached_property
    def png(self) -> bytes:
        """The picture as a PNG file, drawn once for all who want it."""
        memory = io.BytesIO()
        for said in self.figure.findobj(lambda it: isinstance(it, Text) and "$" in it.get_text()):
            said.set_parse_math(False)  # GPT-2 has the token "$$", and it is no formula
        with warnings.catch_warnings():  # a token may be in letters that the font does not have
            warnings.filterwarnings("ignore", "Glyph .* missing")
            self.figure.savefig(memory, format="png")
        return memory.getvalue()


def heatmap(
    values, rows, columns, title, xlabel, ylabel, unit, signed=False, causal=False, framed=None
) -> Plot:
    """Draw a matrix [row column] with a label on each row and column (tokens, layers, heads).

    `causal`: what lies above the diagonal is the future, which nobody can see, and is left grey.
    `framed` is the row to look at.
    """
    values = as_array(values)
    values = np.where(np.tri(*values.shape) > 0, values, np.nan) if causal else values
    high = np.nanmax(np.abs(values)) or 1.0
    low = -high if signed else 0.0
    height = min(9.0, 1.9 + 0.3 * len(rows))
    figure, axes = blank(title, xlabel, ylabel, (min(9.0, 2.6 + 0.36 * len(columns)), height))
    colours = "cividis" if signed else "Blues"  # both grow steadily lighter or darker
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) > 3 else 0)
    axes.set_yticks(range(len(rows)), rows)
    figure.colorbar(image, label=unit, fraction=0.05)
    axes.set_facecolor("#d9d9d9")  # where there is no number
    if framed is not None:
        box = {"fill": False, "ec": "#c46a1b", "lw": 2, "clip_on": False}
        axes.add_patch(Rectangle((-0.5, range(len(rows))[framed] - 0.5), len(columns), 1, **box))
    if values.size <= 64:
        for (row, column), value in np.ndenumerate(values):
            if np.isnan(value):
                continue
            light = (round(value, 2) - low) / (high - low) > 0.5
            ink = "black" if light == signed else "white"
            axes.text(column, row, cents(value), ha="center", va="center", color=ink, fontsize=8)
    live = {"rows": list(rows), "columns": list(columns), "names": [ylabel, xlabel, unit]}
    live["values"] = values
    return Plot(title, figure, text_heatmap(values, rows, columns, signed), live)


def bars(values, labels, title, xlabel, log=False, marked=(), limit=None) -> Plot:
    """Draw one horizontal bar per named part, first on top.

    Bars named in `marked` stand out; `limit` is a bound to hold them against, drawn as a line.
    """
    values, labels = as_array(values), list(labels)
    figure, axes = blank(title, xlabel, "", (7.0, 1.3 + 0.27 * len(labels)))
    colours = [LIGHT if label in marked else DARK for label in labels]
    hatches = ["///" if label in marked else "" for label in labels]
    style = {"color": colours, "hatch": hatches, "edgecolor": "black", "lw": 0.4}
    drawn = axes.barh(range(len(labels)), values, **style)
    counts = (values % 1 == 0).all()
    numbers = [f"{value:.0f}" if counts else short(value, log) for value in values]
    axes.bar_label(drawn, numbers, padding=3, fontsize=8)
    axes.margins(x=0.12)  # room for the numbers
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xscale("log" if log else "linear")
    axes.axvline(axes.get_xlim()[0] if log else 0, color="black", lw=0.8)
    if limit is not None:
        axes.axvline(limit, color="black", lw=1.2, ls="--", label=f"bound {limit:.2g}")
        figure.legend(loc="outside lower right", frameon=False)
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    return Plot(title, figure, text_bars(values, labels, log))


def line(x, series: dict, title, xlabel, ylabel, log="", level=()) -> Plot:
    """Draw one line per named series over the same x; each has its own dash and marker.

    `log` names the axes that are logarithmic: "x", "y" or "xy". `level` (value, label) is a height
    to hold the lines against.
    """
    figure, axes = blank(title, xlabel, ylabel, (7.0, 3.8))
    for (name, y), (colour, dash, marker) in zip(series.items(), STYLES * len(series)):
        every = max(1, len(y) // 60)
        style = {"color": colour, "marker": marker, "ms": 3.5, "markevery": every, "label": name}
        axes.plot(as_array(x), as_array(y), dash, **style)
    if level:
        axes.axhline(level[0], color="black", lw=0.8, label=level[1])
    for axis in log:
        axes.set(**{f"{axis}scale": "log"})
    axes.grid(color="#dddddd", lw=0.6)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return Plot(title, figure, text_line(series, "y" in log))


def blank(title: str, xlabel: str, ylabel: str, size: tuple[float, float]):
    """Make a figure with one pair of axes; a long title wraps."""
    figure = Figure(figsize=size, dpi=140, layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    figure.suptitle(textwrap.fill(title, int(size[0] * 11)), fontsize=11, ha="left", x=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def text_heatmap(values, rows, columns, signed=False) -> str:
    """Draw a matrix: a small one as numbers, else in four shades; with signs, in tenths."""
    values = as_array(values)
    label, wide = max(map(len, rows)) + 1, max(8, 1 + max(map(len, columns)))
    if values.size <= 64 and label + wide * len(columns) <= terminal_width():  # room for numbers
        lines = [" " * label + "".join(f"{name:>{wide}}" for name in columns)]
        for name, row in zip(rows, values):
            lines.append(
                f"{name:<{label}}"
                + "".join(f"{cents(value):>{wide}}" for value in row).replace("nan", "   ").rstrip()
            )
        return "\n".join(lines)
    high = np.nanmax(np.abs(values)) or 1.0
    room = terminal_width() - label
    cell = 4 if signed else 3 if 3 * len(columns) <= room else 2
    first = max(0, len(columns) - room // cell)  # what fits: the last columns
    names = [name if len(name) < cell else str(i)[-2:] for i, name in enumerate(columns)]
    lines = [" " * label + "".join(f"{name:>{cell}}" for name in names[first:])]
    for name, row in zip(rows, values):
        cells = [tenths(v / high) if signed else shade(v / high) * 2 for v in row[first:]]
        lines.append(f"{name:<{label}}" + "".join(f"{text:>{cell}}" for text in cells).rstrip())
    steps = " ".join(f"{mark} {high * (i + 1) / 4:.2g}" for i, mark in enumerate(blocks()))
    shades = textwrap.fill(f"up to: . {high / 20:.2g} {steps}", terminal_width())
    lines.append(f"in tenths of {high:.3g}" if signed else shades)
    return "\n".join(lines + ([f"(columns {first} and later)"] if first else []))


def text_bars(values, labels, log=False) -> str:
    """Draw one bar of blocks per part; negative ones to the left of the axis."""
    values = as_array(values)
    lengths = np.log10(values / values.min()) + 1 if log else values
    label = max(map(len, labels)) + 2
    room = terminal_width() - label - 12
    left, right = max(0.0, -lengths.min()), max(0.0, lengths.max())
    unit = room / ((left + right) or 1.0)
    block, axis = blocks()[-1], round(left * unit)
    lines = []
    for name, value, length in zip(labels, values, lengths):
        n = round(abs(length) * unit)
        bar = block * n if length >= 0 else (block * n).rjust(axis)
        lines.append(f"{name:<{label}}{value:>10.3g}  " + (" " * axis if length >= 0 else "") + bar)
    return "\n".join(line.rstrip() for line in lines)


def text_line(series: dict, log=False) -> str:
    """Draw lines one below the other, all on one scale, with three numbers beside each."""
    series = {name: as_array(y) for name, y in series.items()}
    low = min(y.min() for y in series.values())
    high = max(y.max() for y in series.values())
    label = max(map(len, series)) + 2
    longest = max(map(len, series.values()))
    room = min(longest, max(20, min(60, terminal_width() - label - 29)))
    lines = [" " * (label + room + 2) + "".join(f"{head:>9}" for head in ("first", "last", "most"))]
    for name, y in series.items():
        told = "".join(f"{value:>9.3g}" for value in (y[0], y[-1], y.max()))
        lines.append(f"{name:<{label}}{sparkline(y, room, log, low, high):<{room}}  {told}")
    return "\n".join(lines)


def sparkline(y, width=48, log=False, low=None, high=None) -> str:
    """Draw a line as one row of blocks, from `low` to `high`: without these, its own ends.

    Where there is no room for all values, a block stands for the largest of several.
    """
    y = as_array(y)
    ends = [y.min() if low is None else low, y.max() if high is None else high]
    heights, (low, high) = (np.log(y), np.log(ends)) if log else (y, ends)
    picked = [part.max() for part in np.array_split(heights, min(width, len(y)))]
    levels = "▁▂▃▄▅▆▇█" if unicode_works() else "_.-=*#"
    spread = (high - low) or 1.0
    return "".join(levels[int((v - low) / spread * (len(levels) - 1))] for v in picked)


def token_labels(str_tokens) -> list[str]:
    """Number a prompt's tokens and show the space that belongs to a word: " Mary" -> "4 ·Mary"."""
    names = ["BOS" if token == "<|endoftext|>" else token for token in str_tokens]
    return [f"{i} {name.replace(' ', '·')}" for i, name in enumerate(names)]


def short(value: float, log: bool = False) -> str:
    """Write the number beside a bar: of a tiny one on a log axis the power of ten matters."""
    small = f"{value:.1e}" if log and value < 0.01 else f"{value:.2g}"
    return f"{value:.2f}" if abs(value) >= 1 else small if abs(value) < 0.1 else f"{value:.3g}"


def shade(share: float) -> str:
    """Pick one of four shades for 0 to 1; a dot below 0.05, nothing at 0 or where there is none."""
    if not share >= 0.05:
        return "." if share > 0 else " "
    return blocks()[min(3, int(share * 4))]


def cents(value: float) -> str:
    """Write two digits after the point, and never a minus before nothing."""
    return f"{round(value, 2) + 0.0:.2f}"


def tenths(share: float) -> str:
    """Write -1 to 1 in tenths, zero as a dot."""
    return f"{round(share * 10)}" if round(share * 10) else "·"


def blocks() -> str:
    """Four shades, in plain characters where the terminal cannot show blocks."""
    return "░▒▓█" if unicode_works() else ".:*#"


def unicode_works() -> bool:
    """Can standard output show block characters?"""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def terminal_width() -> int:
    """Columns to draw in: the terminal's, at most 100."""
    return min(100, shutil.get_terminal_size((100, 24)).columns)


def as_array(values) -> np.ndarray:
    """Accept tensors, arrays and lists."""
    values = values.detach().cpu() if hasattr(values, "detach") else values
    return np.asarray(values, dtype=float)

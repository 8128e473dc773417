"""Where features lie: arrows in a plane, dots on levels, regions of a map (lesson 01).

A feature is named by its number, and a region by a letter as well as by its colour; what is told by
colour differs in lightness too.
"""

import numpy as np
from matplotlib.figure import Figure

from lessons.figures import DARK, Plot, as_array, blank, heatmap, shade, terminal_width

INK = ["#1f4e79", "#c46a1b", "#2a9d8f", "#8a6fb0", "#1c1c1c"]  # one per feature, again after five
GROUND = ["#f3d9a4", "#9fc1dd", "#1f4e79"]  # one per region: light, middle, dark
REACH = 1.45  # how far a panel shows


def arrows(weights, labels, title: str, columns: int = 4) -> Plot:
    """Draw the columns of each W [k 2 f] as numbered arrows from 0; the circle has radius 1.

    One panel per W, a label over each. What is shorter than 1/4 is left a dot in the middle.
    """
    weights = as_array(weights)
    rows = -(-len(weights) // columns)
    size = (1.85 * columns, 2.1 * rows + 0.5)
    figure = Figure(figsize=size, dpi=140, layout="constrained")
    figure.suptitle(title, fontsize=11, ha="left", x=0.02, wrap=True)
    for panel, (W, label) in enumerate(zip(weights, labels)):
        axes = figure.add_subplot(rows, columns, panel + 1)
        axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[], yticks=[])
        axes.set_title(label, fontsize=8.5)
        axes.spines[:].set_color("#cccccc")
        round_circle = np.linspace(0, 2 * np.pi, 100)
        axes.plot(np.cos(round_circle), np.sin(round_circle), color="#bbbbbb", lw=0.7, ls=":")
        for feature, (x, y) in enumerate(W.T):
            draw_arrow(axes, x, y, feature)
    return Plot(title, figure, text_arrows(weights, labels, columns))


def draw_arrow(axes, x: float, y: float, feature: int) -> None:
    """Draw one feature's direction, with its number at the tip."""
    length, ink = np.hypot(x, y), INK[feature % len(INK)]
    if length < 0.25:
        axes.plot(x, y, "o", color=ink, ms=2.5)
        return
    style = {"arrowstyle": "-|>", "color": ink, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, y), (0, 0), arrowprops=style)
    far = 1 + 0.2 / length
    axes.text(x * far, y * far, feature + 1, color=ink, ha="center", va="center", fontsize=8.5)


def text_arrows(weights, labels, columns: int = 4, width: int = 19, height: int = 9) -> str:
    """Draw each panel in characters: a feature's number where its arrow ends, + in the middle."""
    panels = []
    for W, label in zip(weights, labels):
        sheet = [[" "] * (width - 2) for _ in range(height)]
        sheet[height // 2][width // 2 - 1] = "+"
        for feature, (x, y) in enumerate(W.T):
            if np.hypot(x, y) >= 0.25:
                across = (x / REACH + 1) / 2 * (width - 3)
                down = (1 - y / REACH) / 2 * (height - 1)
                column, row = np.clip(np.round([across, down]), 0, [width - 3, height - 1])
                sheet[int(row)][int(column)] = str(feature + 1)
        panels.append([label[: width - 1].ljust(width), *("".join(r).ljust(width) for r in sheet)])
    fit, lines = max(1, min(columns, terminal_width() // width)), []
    for first in range(0, len(panels), fit):
        lines += ["".join(parts).rstrip() for parts in zip(*panels[first : first + fit])] + [""]
    return "\n".join(lines[:-1])


def heard(readouts, title: str) -> Plot:
    """Draw what the readout of each feature says while one is on: [f on, f says]."""
    features = range(1, len(readouts) + 1)
    rows, columns = [f"{f} is on" for f in features], [f"says {f}" for f in features]
    return heatmap(readouts, rows, columns, title, "", "", "W^T W x, before bias and ReLU", True)


def dots(x, values, levels: dict, title: str, xlabel: str, ylabel: str) -> Plot:
    """Draw values [n k], k dots over each of n places on a log axis; `levels` are named lines."""
    x, values = as_array(x), as_array(values)
    figure, axes = blank(title, xlabel, ylabel, (7.0, 4.0))
    for name, level in levels.items():
        axes.axhline(level, color="#777777", lw=0.9, ls="--", zorder=0)
        axes.text(1.01, level, name, fontsize=8, va="center", transform=axes.get_yaxis_transform())
    shift = np.exp(np.linspace(-0.04, 0.04, values.shape[1]))  # side by side, so that all are seen
    for place, column in zip(x, values):
        axes.plot(place * shift, column, "o", color=DARK, ms=2.6, alpha=0.45, mew=0)
    axes.set(xscale="log", ylim=(-0.03, 1.05), xticks=x, xticklabels=[f"{v:.2g}" for v in x])
    axes.minorticks_off()
    return Plot(title, figure, text_dots(x, values, xlabel, ylabel))


def text_dots(x, values, xlabel: str, ylabel: str, bins: int = 20) -> str:
    """Draw one line per place: how many of its dots lie in each twentieth of 0 to 1."""
    lines = ["         0" + "1/2".center(2 * bins - 2) + "1"]
    for place, column in zip(x, values):
        column = column[column > 0.01]
        count, _ = np.histogram(column, bins=bins, range=(-0.025, 1.025))
        most = max(1, count.max())
        lines.append(f"{place:>7.2g}  " + "".join(shade(n / most) * 2 for n in count).rstrip())
    key = f"across: {ylabel}; down: {xlabel}"
    return "\n".join([*lines, key, "darker: more features; those at 0 are left out"])


def regions(kinds, names, odd, xs, ys, curves, title: str, xlabel: str, ylabel: str) -> Plot:
    """Draw a map of kinds [y x], whole numbers that index `names`, both axes logarithmic.

    `odd` [y x] marks places with a cross; `curves` are pairs of x and y, drawn as one bold line.
    """
    kinds, odd, xs, ys = as_array(kinds).astype(int), as_array(odd) > 0, as_array(xs), as_array(ys)
    figure, axes = blank(title, xlabel, ylabel, (6.6, 4.9))
    edges = [np.sqrt(np.r_[v[0] ** 2 / v[1], v] * np.r_[v, v[-1] ** 2 / v[-2]]) for v in (xs, ys)]
    for kind, name in enumerate(names):
        row, column = (kinds == kind).nonzero()
        style = {"color": GROUND[kind], "marker": "s", "ms": 9, "mec": "#777777", "mew": 0.4}
        axes.plot([], [], ls="", label=name, **style)
        for i, j in zip(row, column):
            box = (edges[0][j : j + 2][[0, 1, 1, 0]], edges[1][i : i + 2][[0, 0, 1, 1]])
            axes.fill(*box, color=GROUND[kind], lw=0.1)
    for i, (x, y) in enumerate(curves):
        axes.plot(x, y, color="black", lw=2, label=None if i else "derived on paper")
    row, column = odd.nonzero()
    axes.plot(xs[column], ys[row], "x", color="#b3261e", ms=5, mew=1.5, label="not as derived")
    axes.set(xscale="log", yscale="log", xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return Plot(title, figure, text_regions(kinds, names, odd, xs, ys, xlabel, ylabel))


def text_regions(kinds, names, odd, xs, ys, xlabel: str, ylabel: str) -> str:
    """Draw the map in characters, the largest y on top; an odd place is a question mark."""
    marks, lines = "12x"[: len(names)], []
    for y, row, strange in list(zip(ys, kinds, odd))[::-1]:
        line = "".join("? " if s else marks[kind] + " " for kind, s in zip(row, strange))
        lines.append(f"{y:>7.2g}  {line}".rstrip())
    lines.append(" " * 9 + f"{xs[0]:<8.2g}" + f"{xs[-1]:.2g}".rjust(2 * len(xs) - 9))
    key = [f"{mark} {name}" for mark, name in zip(marks, names)]
    axes = f"across: {xlabel}; down: {ylabel}"
    return "\n".join([*lines, axes, "   ".join([*key, "? not as derived"])])


def at_border(kinds) -> np.ndarray:  # [y x] -> [y x]
    """Say of each place of a map whether one of the eight around it is of another kind."""
    kinds = as_array(kinds)
    rows, columns = kinds.shape
    wide = np.pad(kinds, 1, mode="edge")
    around = [wide[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.any([other != kinds for other in around], axis=0)


def strays(found, kinds) -> int:
    """Count the places [y x] that are not of the kind they should be, but for those at a border."""
    return int(((as_array(found) != as_array(kinds)) & ~at_border(kinds)).sum())

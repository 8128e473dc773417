"""Points in a plane, as a figure and as text (lessons 07 and 09)."""

import numpy as np

from lessons.figures import STYLES, Plot, as_array, blank


def points(series: dict, title, xlabel, ylabel, diagonal=False) -> Plot:
    """Draw points, a mark and colour for each named series: name -> (x, y).

    `diagonal`: draw the line on which both are equal. As text: how many, how they go together
    (correlation), and how far from equal they are at most.
    """
    series = {name: (as_array(x), as_array(y)) for name, (x, y) in series.items()}
    figure, axes = blank(title, xlabel, ylabel, (6.4, 4.6))
    for (name, (x, y)), (colour, _, marker) in zip(series.items(), STYLES * len(series)):
        size = 46 if len(x) < 40 else 12
        style = {"c": colour, "marker": marker, "s": size, "label": name, "alpha": 0.75, "lw": 0}
        axes.scatter(x, y, **style)
    if diagonal:
        axes.axline((0, 0), slope=1, color="black", lw=0.8, ls="--", label="equal")
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return Plot(title, figure, text(series, diagonal))


def text(series: dict, diagonal: bool) -> str:
    """Say in numbers what the picture shows."""
    wide = max(map(len, series)) + 2
    head = f"{'':{wide}}{'points':>8}{'mean x':>9}{'mean y':>9}"
    lines = [head + (f"{'apart':>9}" if diagonal else f"{'correlation':>13}")]
    for name, (x, y) in series.items():
        means = f"{name:<{wide}}{len(x):>8}{x.mean():>9.2f}{y.mean():>9.2f}"
        last = f"{np.abs(x - y).max():>9.2f}" if diagonal else f"{correlation(x, y):>13.2f}"
        lines.append(means + last)
    return "\n".join(lines + (["(apart: the most that x and y differ)"] if diagonal else []))


def correlation(x, y) -> float:
    """Return Pearson's correlation; 0 where one of the two does not vary."""
    x, y = as_array(x) - np.mean(as_array(x)), as_array(y) - np.mean(as_array(y))
    size = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / size) if size > 0 else 0.0

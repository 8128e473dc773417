"""Small pictures in a row, as a figure and as text (lesson 00).

Ink is black on white. What has a sign is dark below 0 and light above, with grey for 0; as text,
blocks are above 0, and minus signs below; a line under it says so, and how many are left out.
"""

from textwrap import fill

import numpy as np

from lessons.figures import Plot, as_array, blank, blocks, terminal_width


def pictures(images, labels, title, unit, columns=5, signed=False, as_text=3) -> Plot:
    """Draw pictures [n side side] or [n side*side] in a grid, a label above each.

    All share one scale. The text form shows the first few, as many as fit.
    """
    images = as_array(images)
    side = int(images[0].size ** 0.5)
    images = images.reshape(-1, side, side)
    rows = -(-len(images) // columns)
    cell = side + 2, side + 7  # wide, and high: room for a label
    sheet = np.full((rows * cell[1], columns * cell[0]), np.nan)
    figure, axes = blank(title, "", "", (max(4.5, 1.15 * columns + 0.9), 1.45 * rows + 0.6))
    for i, (image, label) in enumerate(zip(images, labels)):
        top, left = i // columns * cell[1] + 6, i % columns * cell[0] + 1
        sheet[top : top + side, left : left + side] = image
        axes.text(left, top - 1.5, label, fontsize=9, va="bottom")
    high = np.abs(images).max() or 1.0
    style = {"cmap": "cividis" if signed else "Greys", "vmin": -high if signed else 0, "vmax": high}
    figure.colorbar(axes.imshow(sheet, **style), label=unit, fraction=0.03)
    axes.axis("off")
    n = min(as_text, len(images), terminal_width() // (side + 2))
    drawn = text(images[:n], labels[:n])
    return Plot(title, figure, f"{drawn}\n{key(unit, signed, n, len(images))}")


def text(images: np.ndarray, labels) -> str:
    """Draw pictures side by side, a character for two pixels one above the other."""
    high = np.abs(images).max() or 1.0
    halves = images.reshape(len(images), -1, 2, images.shape[-1]).mean(2) / high
    side = images.shape[-1]
    head = "  ".join(f"{label:<{side}}" for label in labels)
    lines = ["  ".join("".join(map(character, row)) for row in rows) for rows in zip(*halves)]
    return "\n".join(line.rstrip() for line in [head, *lines])


def character(share: float) -> str:
    """Pick a mark for -1 to 1; nothing near 0."""
    if abs(share) < 0.08:
        return " "
    return blocks()[min(3, int(share * 5))] if share > 0 else "-" if share > -0.4 else "="


def key(unit: str, signed: bool, shown: int, count: int) -> str:
    """Say what the marks stand for, and how many of the pictures stand here."""
    marks = f"{blocks()[0]} to {blocks()[-1]}" + " above 0, - and = below" * signed
    left = f"; {shown} of {count} here, all on the page named at the end" if shown < count else ""
    return fill(f"({unit}: {marks}{left})", terminal_width())

"""Pictures of digits to classify: drawn here, or MNIST's (lesson 00).

The drawn ones need no download. Every face of matplotlib's own fonts is drawn large, thin to bold;
each picture then takes one of these drawings, tilts, slants, stretches, bends and shifts it, and
speckles its ink. A seed gives the same pictures each time. Paper is exactly 0, so pixels that no
digit reaches are 0 in every picture, as in MNIST.

Letters: n picture, p pixel (784 of them, row by row).
"""

import os
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, IdentityTransform
from torch import Tensor

from minimech import MinimechError
from weights import mnist

FACES = [
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
]
PENS = (-1.5, 0.0, 2.0)  # added to the stroke's width, in pixels of 56: thin, as it is, fat
SIDE, LARGE = 28, 56  # pixels along a picture's edge, and of the large drawings


class Digits(NamedTuple):
    """Pictures to learn from and pictures to test on: [n p] from 0 (paper) to 1; labels [n]."""

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def load(name: str = "") -> Digits:
    """Return what DATA names: "drawn" (the default), "mnist", or a folder with MNIST's four files.

    Raises: MinimechError for anything else, and for files that are missing or altered.
    """
    if name in ("", "drawn"):
        return Digits("drawn", *render(12_000, seed=0), *render(3_000, seed=1))
    folder = mnist.FOLDER if name == "mnist" else Path(name)
    if not os.path.isdir(folder):
        known = "DATA=drawn works now, it needs no network"
        if name == "mnist":
            raise MinimechError(f"MNIST is not here yet: run `make mnist` once. {known}")
        raise MinimechError(f"DATA={name} is neither drawn, nor mnist, nor a folder. {known}")
    return Digits("MNIST", *read_mnist(folder, "train"), *read_mnist(folder, "t10k"))


def read_mnist(folder: Path, part: str) -> tuple[Tensor, Tensor]:  # -> [n p], [n]
    """Read MNIST's pictures and labels, part "train" or "t10k"; whoever is altered is refused.

    A file is a header (16 bytes for pictures, 8 for labels), then one byte for each number.
    """
    pixels = mnist.contents(folder / f"{part}-images-idx3-ubyte.gz")
    labels = mnist.contents(folder / f"{part}-labels-idx1-ubyte.gz")
    pictures = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, SIDE * SIDE)
    numbers = np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)
    return torch.from_numpy(pictures / np.float32(255)), torch.from_numpy(numbers)


def render(n: int, seed: int) -> tuple[Tensor, Tensor]:  # -> [n p], [n]
    """Draw n random digits, as many of each kind; ink is 1, paper 0."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n)[torch.randperm(n, generator=random)] % 10  # [n]
    large = drawings("0123456789")  # [10 face*pen LARGE LARGE]
    which = torch.randint(large.shape[1], (n,), generator=random)  # [n]
    parts = zip(labels.split(1000), which.split(1000))  # a thousand at a time: less memory
    pictures = [distort(large[label, face], random) for label, face in parts]
    return torch.cat(pictures).flatten(1), labels


def glyph(letter: str) -> Tensor:  # -> [p]
    """Draw one letter, upright and bold, as a picture."""
    return F.avg_pool2d(drawings(letter)[0, 4][None], 2).flatten()


def distort(large: Tensor, random: torch.Generator) -> Tensor:  # [n LARGE LARGE] -> [n SIDE SIDE]
    """Tilt, slant, stretch, bend, shift and shrink drawings; then speckle the ink."""
    n = len(large)

    def draw(low, high):  # -> [n]
        return low + (high - low) * torch.rand(n, generator=random)

    tilt, slant = draw(-0.26, 0.26), draw(-0.35, 0.35)  # radians, and pixels per pixel
    wide, high = draw(0.95, 1.45), draw(0.95, 1.25)  # more is smaller: where to look, not to draw
    rows = [wide * tilt.cos(), slant - tilt.sin(), draw(-0.14, 0.14)]
    rows += [tilt.sin(), high * tilt.cos(), draw(-0.14, 0.14)]
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), (n, 1, LARGE, LARGE), False)
    knots = torch.randn(n, 2, 4, 4, generator=random) * 0.06
    bend = F.interpolate(knots, (LARGE, LARGE), mode="bicubic", align_corners=True)
    look = grid + bend.permute(0, 2, 3, 1)  # [n LARGE LARGE 2]
    ink = F.avg_pool2d(F.grid_sample(large[:, None], look, align_corners=False), 2)[:, 0]
    return ink * (1 - 0.5 * torch.rand(ink.shape, generator=random))


def drawings(letters: str) -> Tensor:  # -> [letter face*pen LARGE LARGE]
    """Draw each letter in each face with each pen: one large sheet, cut into its cells."""
    kinds = [(face, pen) for face in FACES for pen in PENS]
    size = (len(kinds) * LARGE / 100, len(letters) * LARGE / 100)  # inches, of 100 pixels each
    sheet = Figure(figsize=size, dpi=100)
    for i, letter in enumerate(letters):
        for j, (face, pen) in enumerate(kinds):
            sheet.add_artist(drawn(letter, face, pen, (j + 0.5) * LARGE, (i + 0.5) * LARGE))
    canvas = FigureCanvasAgg(sheet)
    canvas.draw()
    ink = 1 - torch.from_numpy(np.array(canvas.buffer_rgba())[:, :, 0]) / 255  # [row column]
    cells = ink.view(len(letters), LARGE, len(kinds), LARGE).flip(0)  # the sheet grows upwards
    return cells.transpose(1, 2)


def drawn(letter: str, face: str, pen: float, x: float, y: float) -> PathPatch:
    """Draw one letter, 38 pixels high, around (x, y); a white pen on its edge makes it thinner."""
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    path = TextPath((0, 0), letter, size=50, prop=FontProperties(fname=str(file)))
    box = path.get_extents()
    move = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2)
    path = path.transformed(move.scale(38 / box.height).translate(x, y))
    edge = "white" if pen < 0 else "black"
    width = abs(pen) * 72 / 100  # points
    return PathPatch(path, fc="black", ec=edge, lw=width, transform=IdentityTransform())

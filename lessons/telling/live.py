"""What on a lesson's page answers when it is pointed at: heat maps, and the attention viewer.

A Plot that has `live` data is written with them: whole numbers of 10^-decimals, as JSON beside the
picture, so that what is shown is what was measured, to the digit. hover.js reads them for a heat
map, viewer.js draws an attention viewer from them. Both are plain JavaScript, put with their style
into the page itself, and only into a page that needs them. Without JavaScript a heat map is its
picture and a viewer its text.
"""

import json
from html import escape
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
FILES = {"cells": "hover", "attention": "viewer"}  # kind of live data -> its script and style


def kind(item) -> str:
    """Say what kind of live data an item of a lesson has: cells, attention or none ("")."""
    live = getattr(item, "live", None)
    return "" if live is None else "attention" if "patterns" in live else "cells"


def needed(items: list, ending: str) -> list[str]:
    """Read the files that these items need, each once; none, if none is live."""
    kinds = set(map(kind, items))
    files = [HERE / f"{name}{ending}" for one, name in FILES.items() if one in kinds]
    return [file.read_text(encoding="utf-8") for file in files]


def style(items: list) -> str:
    """Return the style that these items need."""
    return "".join(needed(items, ".css"))


def scripts(items: list) -> str:
    """Return the scripts that these items need."""
    return "\n".join(f"<script>\n{text}</script>" for text in needed(items, ".js"))


def cells(plot) -> str:
    """Write a heat map's numbers, to stand behind its picture, and where in it they lie.

    The box is [left, top, width, height] of all cells, in shares of the picture.
    """
    assert plot.png  # drawing it is what lays it out
    left, bottom, width, height = plot.figure.axes[0].get_position().bounds
    box = [round(share, 5) for share in (left, 1 - bottom - height, width, height)]
    digits = whole(plot.live["values"])
    return as_json(plot.live | digits | {"box": box}, "cells")


def viewer(plot) -> str:
    """Write an attention viewer: its numbers, and for readers without JavaScript its text."""
    text = f"<p>{escape(plot.title)}</p><pre>{escape(plot.text)}</pre>"
    text = f"<noscript>{text}<p>With JavaScript on, every head opens here.</p></noscript>"
    return f'<figure class="attention">{text}{as_json(plot.live, "attention")}</figure>'


def whole(values, decimals=None) -> dict:
    """Write a matrix as whole numbers of 10^-decimals; None where there is no number.

    Without `decimals` the largest gets four digits.
    """
    values = np.asarray(values, dtype=float)
    if decimals is None:
        finite = values[np.isfinite(values)]
        high = np.abs(finite).max(initial=0) or 1.0
        counts = (finite % 1 == 0).all()
        decimals = 0 if counts else max(0, 4 - int(np.ceil(np.log10(high))))
    numbers = [[round(v * 10**decimals) if np.isfinite(v) else None for v in row] for row in values]
    return {"decimals": decimals, "values": numbers}


def as_json(data: dict, name: str) -> str:
    """Write data as JSON that no text in it can end: a token may be "</script>"."""
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" class="{name}">{text}</script>'

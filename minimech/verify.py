"""Published numbers and independent references against this implementation: `make verify`.

GPT-2 small is held against what others published of it (tests/reference/gpt2_published.json), any
model against NumPy in float64 and against itself run otherwise, and this code against what
TransformerLens answered on random weights. The comparisons are in tests/proof.py.
"""

from pathlib import Path

import torch

from minimech import MinimechError
from minimech.files import SHIPPED, beside, find
from minimech.weights import load

FIGURES = SHIPPED.parent / "tests" / "reference"


@torch.no_grad()
def verify(name: str) -> list:
    """Make, print and return every comparison there is for a model, given by name or folder.

    Returns rows, whose `difference` must not exceed their `tolerance`. A row shows the place where
    what was expected and what was got are furthest apart.
    """
    if not FIGURES.is_dir():
        raise MinimechError(f"{FIGURES} is not there: `verify` runs in a clone of the repository")
    proof, folder, rows = beside("tests.proof"), find(name), []
    model = load(folder, name=Path(name).name)
    print(f"{'what':50} {'expected':>12} {'got':>12} {'apart':>8}       source")
    for part in (proof.published, proof.recorded, proof.otherwise, proof.transformer_lens):
        for row in part(model, folder):
            print(row, flush=True)
            rows.append(row)
    return rows

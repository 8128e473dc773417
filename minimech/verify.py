"""Published numbers and independent references against this implementation: `make verify`.

GPT-2 small is held against what others published of it (tests/reference/gpt2_published.json), any
model against NumPy in float64 and against itself run otherwise, and this code against what
TransformerLens answered on random weights. A row shows the place where the two are furthest apart.
"""

import sys
from math import inf, isnan
from pathlib import Path
from typing import NamedTuple

import torch

from minimech import MinimechError
from minimech.fetch import SHIPPED, find
from minimech.weights import load

FIGURES = SHIPPED.parent / "tests" / "reference"


class Row(NamedTuple):
    """One comparison. `source` says whose number is expected."""

    what: str
    expected: object
    got: object
    difference: float
    tolerance: float
    source: str

    def __str__(self) -> str:
        seen = [f"{x:.6g}" if isinstance(x, float) else repr(x)[:12] for x in self[1:3]]
        ok = "pass" if self.difference <= self.tolerance else "FAIL"
        return f"{self.what[:50]:50} {seen[0]:>12} {seen[1]:>12} {self[3]:8.1e} {ok}  {self.source}"


@torch.no_grad()
def verify(name: str) -> list[Row]:
    """Make, print and return every comparison there is for a model, given by name or folder."""
    if not FIGURES.is_dir():
        raise MinimechError(f"{FIGURES} is not there: `verify` runs in a clone of the repository")
    sys.path.insert(0, str(SHIPPED.parent))
    from tests import proof

    folder, rows = find(name), []
    model = load(folder, name=Path(name).name)
    print(f"{'what':50} {'expected':>12} {'got':>12} {'apart':>8}       source")
    for part in (proof.published, proof.recorded, proof.otherwise, proof.transformer_lens):
        for row in part(model, folder):
            print(row, flush=True)
            rows.append(row)
    return rows


def worst(rows) -> Row:
    """Pick the row that fills most of its tolerance, or exceeds it most."""
    return max(rows, key=lambda row: row.difference / (row.tolerance or 1e-300))


def compare(what: str, expected, got, tolerance, source: str) -> Row:
    """Compare numbers (absolutely), texts, lists and dicts of them; a dict may allow by field."""
    if isinstance(expected, dict):
        allowed = tolerance if isinstance(tolerance, dict) else dict.fromkeys(expected, tolerance)
        fields = [(expected[name], got[name], allowed.get(name, 0)) for name in expected]
        return worst(compare(what, *field, source) for field in fields)
    if isinstance(expected, list):
        pairs = zip(expected, got, strict=True)
        return worst(compare(what, *pair, tolerance, source) for pair in pairs)
    text = isinstance(expected, str)
    apart = (0 if expected == got else inf) if text else abs(expected - got)
    return Row(what, expected, got, inf if isnan(apart) else apart, tolerance, source)


def relative(what: str, expected, got: torch.Tensor, source: str) -> Row:
    """Compare tensors relative to the largest number that is expected; bar 2e-5."""
    expected, got = torch.as_tensor(expected).double().flatten(), got.double().flatten()
    scale = expected[expected.isfinite()].abs().max()
    apart = torch.where(expected == got, 0, (expected - got).abs() / scale).nan_to_num(nan=inf)
    at = apart.argmax()
    return Row(what, expected[at].item(), got[at].item(), apart[at].item(), 2e-5, source)

"""Networks on their way through training, many in one file: snapshots.safetensors, in float16."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

FILE = "snapshots.safetensors"


def pack(out: Path, steps) -> None:
    """Write the states that a recipe kept in out/all, at some steps, into one file."""
    halves = {}
    for step in steps:
        weights = load_file(out / "all" / f"{step:05d}.safetensors")
        halves |= {f"{step}.{name}": weight.half() for name, weight in weights.items()}
    save_file(halves, out / FILE)


def unpack(folder: Path) -> dict[int, dict[str, Tensor]]:
    """Read them, in float32: step -> weights by name, the steps in rising order."""
    by_step: dict[int, dict[str, Tensor]] = {}
    for name, weight in load_file(folder / FILE).items():
        step, name = name.split(".", 1)
        by_step.setdefault(int(step), {})[name] = weight.float()
    return dict(sorted(by_step.items()))

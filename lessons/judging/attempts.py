"""What is kept of a reader's way through the exercises, in .attempts/, which git ignores.

Earlier answers, with the time at which they were put aside, and how many hints were asked for.
"""

import json
import time
from pathlib import Path

from lessons.judging import marks
from lessons.judging.errors import shown


def folder() -> Path:
    """Return .attempts/, made if need be."""
    path = marks.HERE.parent / ".attempts"
    path.mkdir(exist_ok=True)
    return path


def keep(path: Path) -> str:
    """Copy a file of answers here, with the time; say where it is."""
    name, count = f"{path.stem}-{time.strftime('%Y-%m-%d-%H%M%S')}", 1
    copy = folder() / f"{name}.py"
    while copy.exists():  # of the same second
        count += 1
        copy = copy.with_name(f"{name}-{count}.py")
    copy.write_bytes(path.read_bytes())
    return shown(copy)


def hints_seen() -> dict[str, int]:
    """Return how many hints of each exercise were asked for."""
    try:
        seen = json.loads((folder() / "hints.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    pairs = seen.items() if isinstance(seen, dict) else ()
    return {id: count for id, count in pairs if isinstance(count, int) and count > 0}


def keep_hints(seen: dict[str, int]) -> None:
    """Write down how many hints were asked for."""
    (folder() / "hints.json").write_text(json.dumps(seen) + "\n", encoding="utf-8")

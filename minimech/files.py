"""Where a model's folder is, and whether its files are what they should be.

The files that a folder's SHA256SUMS names must have that sha256. A file up to 64 MB is hashed each
time that the model is loaded; a bigger one (hashing GPT-2 takes longer than loading it) when it is
fetched, by `make weights` and by `make verify`. Downloads are the business of weights/fetch.py.
"""

import hashlib
import json
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from minimech import MinimechError

SHIPPED = Path(__file__).parent.parent / "weights"
SMALL = 64 * 2**20  # bytes


def root() -> Path:
    """Return the folder of named models: the repository's weights/, or MINIMECH_WEIGHTS."""
    return Path(os.environ.get("MINIMECH_WEIGHTS") or SHIPPED)


def find(name: str | Path) -> Path:
    """Return a model's folder; fetch it if it is a published one and nowhere on this machine.

    Raises: MinimechError for a name that is neither known nor a folder.
    """
    name = "gpt2" if name == "gpt2-small" else name  # TransformerLens's name for it
    for folder in (root() / name, SHIPPED / name, Path(name)):
        if os.path.isdir(folder):  # False, and no error, for any text
            return folder
    return beside("weights.fetch").published(name)


def beside(module: str) -> ModuleType:
    """Import what stands beside minimech/ in its repository: weights.fetch, tests.proof, ..."""
    repository = Path(__file__).parent.parent
    if not (repository / f"{module.replace('.', '/')}.py").exists():
        raise MinimechError(f"{repository} has no {module}: this needs a clone of the repository")
    if sys.path[0] != str(repository):  # no other `weights` or `tests` is to be found before it
        sys.path.insert(0, str(repository))
    return import_module(module)


def read_json(path: Path) -> dict:
    """Read a JSON object. Raises: MinimechError if the file is absent or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MinimechError(f"{path} cannot be read ({error.strerror}); a model needs it") from None
    except (ValueError, RecursionError) as error:
        raise MinimechError(f"{path} is not JSON ({error}); fetch or copy it again") from None
    if not isinstance(value, dict):
        raise MinimechError(f"{path} holds a {type(value).__name__}; expected a JSON object")
    return value


def check_sums(folder: Path, sums: dict | None = None, whole: bool = False) -> None:
    """Compare files, the small ones or all, with their sha256 (None: what SHA256SUMS says).

    Raises: MinimechError naming a file that is missing, truncated or altered.
    """
    for file, expected in (read_sums(folder) if sums is None else sums).items():
        path = folder / file
        if not path.is_file():
            raise MinimechError(f"{path} is missing; fetch or copy the model again")
        size = path.stat().st_size
        got = sha256(path) if expected and (whole or size <= SMALL) else expected
        if got != expected:
            found = f"its {size:,} bytes have sha256 {got[:12]}..., expected {expected[:12]}..."
            mend = "Delete it, and fetch or copy the model again"
            raise MinimechError(f"{path} is truncated or altered: {found} {mend}")


def sha256(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def read_sums(folder: Path) -> dict[str, str]:
    """Read SHA256SUMS, lines as `sha256sum` writes them: file -> sha256; empty if there is none."""
    path = folder / "SHA256SUMS"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    matches = [re.fullmatch(r"([0-9a-f]{64}) [ *]([\w.-]+)", line) for line in lines]
    if None in matches or (path.exists() and not matches):
        raise MinimechError(f"{path} is no list of `sha256  file`; restore it from its source")
    return {match[2]: match[1] for match in matches}


def why(error: Exception) -> str:
    """Say what went wrong; for an error of the disk, with the file."""
    reason, path = getattr(error, "strerror", None), getattr(error, "filename", None)
    return f"{reason} ({path})" if reason and path else reason or str(error)

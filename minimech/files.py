"""Where a model's folder is, and what stands beside minimech/ in its repository.

`weights/` holds what deals with files (fetch.py, sums.py, save.py), `tests/` what measures and
proves; they are imported when somebody needs them.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from minimech import MinimechError

SHIPPED = Path(__file__).parent.parent / "weights"


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
    sys.path.insert(0, str(repository))
    try:
        found = import_module(module)
    except ImportError as error:
        raise MinimechError(f"{module} of {repository} cannot be imported: {error}") from None
    finally:
        sys.path.remove(str(repository))
    if not Path(found.__file__).is_relative_to(repository):
        top, other = module.split(".")[0], found.__file__
        raise MinimechError(f"{other} is in the way of {repository / top}: rename your `{top}`")
    return found


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


def why(error: Exception) -> str:
    """Say what went wrong; for an error of the disk, with the file."""
    reason, path = getattr(error, "strerror", None), getattr(error, "filename", None)
    return f"{reason} ({path})" if reason and path else reason or str(error)

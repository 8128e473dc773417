"""A clone with what a lesson without a model needs, and one tiny lesson, to test the telling."""

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tiny_clone(folder: Path, lesson: str) -> Path:
    """Make one in a folder, with this text as its only lesson, 90_tiny.py; return the folder."""
    ignored = shutil.ignore_patterns("[0-9]*", "__pycache__", "techniques", "exercises", "checks")
    shutil.copytree(ROOT / "lessons", folder / "lessons", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "lessons" / "90_tiny.py").write_text(lesson)
    return folder


def environment(**env) -> dict[str, str]:
    """Return this environment without what steers a lesson, but for what is given."""
    steers = ("PYTHONPATH", "PREDICT", "MINE", "MODEL", "DATA", "OUT")
    return {name: value for name, value in os.environ.items() if name not in steers} | env

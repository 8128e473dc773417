"""A clone with what a lesson without a model needs, and one tiny lesson, to test the telling."""

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

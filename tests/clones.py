"""Lessons as a reader runs them, and a clone with one tiny lesson, to test the telling."""

import os
import shutil
import subprocess
import sys
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


def run_script(lesson: str, root: Path = ROOT, **env) -> subprocess.CompletedProcess:
    """Run a lesson of a clone as a reader does, with nobody at the keyboard."""
    return subprocess.run(
        [sys.executable, f"lessons/{lesson}.py"],
        cwd=root,
        env=environment(**{name: str(value) for name, value in env.items()}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )

"""Lessons as a reader runs them, or in this process; and a clone with one tiny lesson."""

import json
import os
import re
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


def rows_that_hold(done, out: Path) -> list[dict]:
    """Return a lesson's rows, once checked: ok on the world; on a stand-in some may only look."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = json.loads((out / "results.json").read_text())
    statuses = {row["status"] for row in rows}
    assert statuses == ({"ok"} if rows[0]["model"] == "world" else {"ok", "look"})
    return rows


def check_told(stdout: str, path: Path, out: Path, pictures: int) -> None:
    """Check that a lesson's output fits a page, and that it and the page tell the story once."""
    from lessons.telling import page

    lines = [line for line in stdout.splitlines() if ".html" not in line]
    assert max(map(len, lines)) <= 100
    for cell in page.read(path)[1]:
        assert stdout.count(cell.prose) == 1
    html = (out / "index.html").read_text(encoding="utf-8")
    assert html.count("<img ") == len(list(out.glob("*.png"))) == pictures


def run_here(script: str, path: Path, model, out: Path, patch, skip=()) -> None:
    """Run a lesson's text in this process, on a model, and leave all settings as they were.

    `patch`: a MonkeyPatch; `skip`: the numbers of cells to leave out. Lines keep their numbers.
    """
    import torch

    from lessons import lesson

    for number in skip:
        cell = re.search(rf"(?s)# %% {number}\. .*?(?=# %% )", script)[0]
        script = script.replace(cell, "\n" * cell.count("\n"))
    for name in ("PREDICT", "MINE"):
        patch.delenv(name, raising=False)
    patch.setenv("MODEL", str(model))
    patch.setattr(lesson, "OUT", out)
    patch.setattr(sys, "excepthook", sys.excepthook)  # and back again
    patch.setattr(sys, "path", [*sys.path])
    threads, gradients = torch.get_num_threads(), torch.is_grad_enabled()
    try:
        exec(compile(script, path, "exec"), {"__name__": "__main__", "__file__": str(path)})
    finally:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(gradients)

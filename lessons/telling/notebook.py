"""A lesson as a notebook, for Jupyter and Colab.

`make notebook-03` (python -m lessons.telling.notebook 03) writes out/03/lesson.ipynb from the
script's `# %%` cells: what a cell's comment tells becomes text, the rest code. One code cell comes
first: it finds this clone or fetches it, installs what is missing, and says which file the cells
come from, as a script knows by itself. The script stays the only source: edit it, and write the
notebook anew.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from lessons.expect import OUT, ROOT, project, scripts
from lessons.telling import page

SETUP = """\
# Finds the course, or fetches it where it is not (as on Colab), and installs what is missing.
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

SCRIPT = "lessons/{script}"
ADDRESS = "{address}"
PACKAGES = {packages}


def run(*command):
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"This did not work: {{' '.join(command)}} ({{error}})") from None


here = Path.cwd()
places = [here, *here.parents, here / "minimech"]
root = next((place for place in places if (place / SCRIPT).exists()), None)
if root is None and ADDRESS:
    run("git", "clone", "--depth", "1", ADDRESS, "minimech")
    root = here / "minimech"
if root is None or not (root / SCRIPT).exists():
    raise RuntimeError(
        f"There is no {{SCRIPT}} here. Put the folder minimech (the whole clone, with its weights) "
        "beside this notebook, or set ADDRESS to where git finds it."
    )
missing = [package for name, package in PACKAGES.items() if find_spec(name) is None]
if missing:
    run(sys.executable, "-m", "pip", "install", "--quiet", *missing)
os.chdir(root)
sys.path.insert(0, str(root))
__file__ = str(root / SCRIPT)
"""
USE = "Open it in Jupyter or VS Code, or upload it to Colab."
USE_HERE = """\
Open it in Jupyter or VS Code.
For Colab, first set ADDRESS in its first cell: this clone has no public origin."""


def notebook(script: Path) -> dict:
    """Turn a lesson's script into a notebook, nbformat 4.5."""
    intro, cells = page.read(script)
    question, _, rest = intro.partition("\n")
    parts = [("markdown", f"# {inline(question)}\n\n{markdown(rest)}"), ("code", setup(script))]
    for cell in cells:
        parts.append(("markdown", f"## {inline(cell.title)}\n\n{markdown(cell.prose)}"))
        parts.append(("code", cell.code))
    made = [as_cell(i, kind, text) for i, (kind, text) in enumerate(parts) if text.strip()]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    metadata["colab"] = {"name": f"{script.stem}.ipynb", "provenance": []}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def as_cell(index: int, kind: str, text: str) -> dict:
    """Make one cell; its id stays the same from one writing to the next."""
    cell = {"cell_type": kind, "id": f"{kind}-{index:02d}", "metadata": {}}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell | {"source": text.strip("\n").splitlines(keepends=True)}


def setup(script: Path) -> str:
    """Write the first code cell."""
    packages = "{\n" + "".join(f"    {k!r}: {v!r},\n" for k, v in needed().items()) + "}"
    packages = packages.replace("'", '"')
    return SETUP.format(script=script.name, address=address(), packages=packages)


def needed() -> dict[str, str]:
    """Map what is imported to what pip installs, as pyproject.toml states it."""
    names = [re.match(r"[\w-]+", package)[0] for package in project()["dependencies"]]
    return {
        name.replace("-", "_"): package for name, package in zip(names, project()["dependencies"])
    }


def address() -> str:
    """Say where git finds this repository: what pyproject.toml names, else the clone's origin."""
    named = {name.lower(): url for name, url in project().get("urls", {}).items()}
    for name in ("repository", "source", "homepage"):
        if public(named.get(name, "")):
            return public(named[name])
    try:
        command = ["git", "remote", "get-url", "origin"]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return public(told.stdout.strip())


def public(url: str) -> str:
    """Write a remote as an address that others can clone, without names or passwords; else ""."""
    url = re.sub(r"^(?:ssh://)?git@([\w.-]+)[:/]", r"https://\1/", url)
    url = re.sub(r"^(https?://)[^/]*@", r"\1", url)
    return url if re.fullmatch(r"https?://[\w.-]+(?::\d+)?/[\w./~-]+", url) else ""


def markdown(text: str) -> str:
    """Turn a comment into Markdown: one line per paragraph, so that nobody breaks it anew."""
    return "\n\n".join(block(one) for one in re.split(r"\n\s*\n", text.strip("\n")) if one.strip())


def block(text: str) -> str:
    """Turn one paragraph, list (- or 1.) or indented block into Markdown."""
    if text.startswith("    "):
        lines = "\n".join(line[4:] for line in text.splitlines())
        return f"```text\n{lines}\n```"
    before, items = page.listed(text)
    before = [one_line(before)] if before else []
    items = [mark + one_line(item) for mark, item in items]
    return "\n\n".join(before + (["\n".join(items)] if items else []))


def one_line(text: str) -> str:
    """Join the lines of a paragraph; what would open a list or a heading there is escaped."""
    text = re.sub(r"^([-+#])", r"\\\1", inline(" ".join(text.split())))
    return re.sub(r"^(\d+)(?=\. )", r"\1\\", text)


def inline(text: str) -> str:
    """Escape what Markdown or maths would read as a sign, but leave `code` as it is."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(
        piece if i % 2 else re.sub(r"([\\*_$<|~\[\]])", r"\\\1", piece)
        for i, piece in enumerate(pieces)
    )


def main(arguments: list[str]) -> int:
    """Write the notebook of the lesson whose number is given."""
    if len(arguments) != 1 or arguments[0].zfill(2) not in scripts():
        said = f"There is no lesson {arguments[0]}. " if len(arguments) == 1 else ""
        print(f"notebook: {said}There are: {', '.join(scripts())}", file=sys.stderr)
        return 2
    script = scripts()[arguments[0].zfill(2)]
    file = OUT / script.name[:2] / "lesson.ipynb"
    text = json.dumps(notebook(script), indent=1, ensure_ascii=False) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        why = f"{file} cannot be written ({error.strerror}); set OUT to another folder"
        print(f"notebook: {why}", file=sys.stderr)
        return 2
    print(f"Written: {file}\n{USE if address() else USE_HERE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A lesson's notebook is valid, says what the script says, and runs from a fresh kernel."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lessons.telling import notebook, page, story
from tests.clones import environment, tiny_clone

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))
SHIPS = (ROOT / "weights" / "world" / "model.safetensors").exists()
KERNEL = """
import json, sys
cells = json.load(open(sys.argv[1], encoding="utf-8"))["cells"]
space = {"__name__": "__main__"}
for cell in cells:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), space)
"""
TINY = '''"""Does it *run*?"""

# %% 1. A cell
# Text.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
print(Path(__file__).name, Path.cwd().name)
'''


def written(script: Path, folder: Path, **env) -> Path:
    """Write a lesson's notebook as `make notebook-NN` does."""
    done = subprocess.run(
        [sys.executable, "-m", "lessons.telling.notebook", script.name[:2]],
        cwd=script.parent.parent,
        env=os.environ | {"OUT": str(folder), **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / script.name[:2] / "lesson.ipynb"


def execute(file: Path, cwd: Path, **env) -> subprocess.CompletedProcess:
    """Run a notebook's code cells in order, in a process of their own that knows of no clone."""
    return subprocess.run(
        [sys.executable, "-c", KERNEL, str(file)],
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )


def check(made: dict) -> None:
    """Hold a notebook against what nbformat 4.5 requires, and allow nothing else."""
    assert set(made) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert set(made["metadata"]["kernelspec"]) == {"name", "display_name", "language"}
    assert made["metadata"]["language_info"]["name"] == "python"
    ids = [cell["id"] for cell in made["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in made["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert set(cell) == keys | code and cell["cell_type"] in ("code", "markdown")
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"]) and cell["metadata"] == {}
        assert cell.get("execution_count") is None and cell.get("outputs", []) == []
        assert all(isinstance(line, str) for line in cell["source"])
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        assert "".join(cell["source"]).strip()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_is_valid_and_has_all_of_its_lesson(script):
    made = notebook.notebook(script)
    check(made)
    check(json.loads(json.dumps(made)))
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]]
    assert sources[0][0] == "markdown" and sources[0][1].startswith("# ")
    assert sources[1][0] == "code" and script.name in sources[1][1]
    codes = [text for kind, text in sources[2:] if kind == "code"]
    texts = [text for kind, text in sources[1:] if kind == "markdown"]
    cells = page.read(script)[1]
    assert codes == [cell.code for cell in cells if cell.code]
    assert len(texts) == len(cells)
    for cell, text in zip(cells, texts):
        said = re.sub(r"\\(.)", r"\1", text.replace("```text", "").replace("```", ""))
        assert said.split() == ["##", *cell.title.split(), *cell.prose.split()]
    for code in codes:
        ast.parse(code)


def test_the_check_can_fail():
    good = notebook.notebook(SCRIPTS[0])
    for spoil in (
        lambda one: one["cells"][0].pop("id"),
        lambda one: one["cells"][1].pop("outputs"),
        lambda one: one["cells"][0].update(outputs=[]),
        lambda one: one["cells"][1].update(id=one["cells"][0]["id"]),
        lambda one: one.update(nbformat_minor=4),
        lambda one: one["cells"][0].update(source=["a", "b"]),
    ):
        bad = json.loads(json.dumps(good))
        spoil(bad)
        with pytest.raises((AssertionError, KeyError)):
            check(bad)


def test_lesson_03_runs_from_a_fresh_kernel_with_the_scripts_numbers(tmp_path):
    if not SHIPS:
        pytest.skip("weights/world is not here")
    file = written(LESSON_03, tmp_path)
    done = execute(file, ROOT / "lessons", OUT=str(tmp_path), MODEL="world")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "03" / "results.json").read_text())
    assert len(rows) >= 25 and not [row for row in rows if row["status"] == "FAIL"]
    first = page.read(LESSON_03)[1][0].prose
    assert first not in done.stdout  # the notebook tells it already


LESSON_03 = ROOT / "lessons" / "03_transformer.py"


@pytest.fixture
def clone(tmp_path) -> Path:
    """Make a clone with a tiny lesson, under git."""
    return tiny_clone(tmp_path / "clone", TINY)


def test_the_first_cell_finds_the_clone_from_a_folder_inside_it_or_beside_it(clone, tmp_path):
    file = written(clone / "lessons" / "90_tiny.py", clone / "out")
    for here in (clone, clone / "out" / "90"):
        assert execute(file, here).stdout == "90_tiny.py clone\n"
    clone.rename(tmp_path / "minimech")
    file = tmp_path / "minimech" / "out" / "90" / "lesson.ipynb"
    assert execute(file, tmp_path).stdout == "90_tiny.py minimech\n"


def test_elsewhere_it_clones_the_address_and_says_so_if_it_cannot(clone, tmp_path):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run(git + command, cwd=clone, check=True)
    file = written(clone / "lessons" / "90_tiny.py", tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    told = execute(file, elsewhere)  # a clone without an address
    last = told.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: There is no ") and "Put the folder minimech" in last
    text = file.read_text()
    file.write_text(text.replace('ADDRESS = \\"\\"', f'ADDRESS = \\"file://{clone}\\"'))
    assert execute(file, elsewhere).stdout == "90_tiny.py minimech\n"
    assert execute(file, elsewhere).stdout == "90_tiny.py minimech\n"  # once more: it is there
    shutil.rmtree(elsewhere / "minimech")
    file.write_text(text.replace('ADDRESS = \\"\\"', 'ADDRESS = \\"file:///nowhere\\"'))
    told = execute(file, elsewhere)
    last = told.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: This did not work: git clone --depth 1 file:///nowhere ")
    assert "During handling" not in told.stderr


def test_it_installs_what_is_missing_and_nothing_else(clone, tmp_path):
    """With a pip of our own, which writes down what it is asked for."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").write_text("")
    (tmp_path / "pip" / "__main__.py").write_text("import sys\nprint(sys.argv[1:])\n")
    (clone / "pyproject.toml").write_text(
        (ROOT / "pyproject.toml").read_text().replace('"numpy>', '"no-such-thing>=1", "numpy>')
    )
    file = written(clone / "lessons" / "90_tiny.py", tmp_path / "out")
    done = execute(file, clone, PYTHONPATH=str(tmp_path))
    assert done.stdout.splitlines() == [
        "['install', '--quiet', 'no-such-thing>=1']",
        "90_tiny.py clone",
    ]


@pytest.mark.parametrize(
    "remote, address",
    [
        ("https://github.com/someone/minimech.git", "https://github.com/someone/minimech.git"),
        ("git@github.com:someone/minimech.git", "https://github.com/someone/minimech.git"),
        ("ssh://git@github.com/someone/minimech", "https://github.com/someone/minimech"),
        ("https://name:secret@github.com/some/one.git", "https://github.com/some/one.git"),
        ("/srv/git/minimech", ""),
        ("file:///srv/git/minimech", ""),
        ("../minimech", ""),
        ('https://x.org/"; import os', ""),
        ("", ""),
    ],
)
def test_an_address_is_one_that_others_can_clone(remote, address):
    assert notebook.public(remote) == address


@pytest.mark.parametrize(
    "text, said",
    [
        ("one\ntwo", "one two"),
        ("a `x**2`, a_b * c_d, <eos>, $5", r"a `x**2`, a\_b \* c\_d, \<eos>, \$5"),
        ("Four:\n\n1. one\n   more\n2. two", "Four:\n\n1. one more\n2. two"),
        ("Two:\n- one\n- two", "Two:\n\n- one\n- two"),
        ("    a -> b\n      c", "```text\na -> b\n  c\n```"),
        ("as in cell\n2. Call them its own", "as in cell 2. Call them its own"),
        ("a\n- b", "a - b"),
        ("2019. A year", r"2019\. A year"),
        ("the year\n1, then", "the year 1, then"),
        ("+ plus", r"\+ plus"),
    ],
)
def test_prose_becomes_markdown(text, said):
    assert notebook.markdown(text) == said


@pytest.mark.parametrize("arguments", [["77"], [], ["x"], ["03", "04"], ["../03"]])
def test_an_unknown_lesson_is_answered_in_words(arguments, capsys):
    assert notebook.main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("notebook: ") and "There are: " in told and "03" in told


def test_a_place_that_cannot_be_written_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr(notebook, "OUT", tmp_path / "taken")
    assert notebook.main(["03"]) == 2 and "set OUT to another" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["", "https://github.com/someone/minimech"])
def test_without_an_address_it_says_what_colab_needs(address, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(notebook, "OUT", tmp_path)
    monkeypatch.setattr(notebook, "address", lambda: address)
    assert notebook.main(["03"]) == 0
    told = capsys.readouterr().out
    assert ("this clone has no public origin" in told) == (not address)
    assert f'ADDRESS = \\"{address}\\"' in (tmp_path / "03" / "lesson.ipynb").read_text()


def test_no_notebook_is_tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    assert ".ipynb" not in listed.stdout


# ---- what a lesson does in a notebook ------------------------------------------------------------


class Shell:
    """Stands in for Jupyter's: what makes it one is its kernel."""

    kernel, execution_count = object(), 7


def test_a_plot_appears_in_place_and_nothing_is_told(monkeypatch, capsys):
    import types

    shown = []
    ipython, tools = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython, ipython.version_info = Shell, (9, 0)
    tools.Image = lambda data, alt: (data[:4], alt)
    tools.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", tools)
    from lessons import figures

    telling = story.Story(LESSON_03, None)
    telling.show(figures.bars([1.0], ["one"], "a title", "x"))
    telling.show("a text")
    assert shown == [(b"\x89PNG", "a title")] and capsys.readouterr().out == "\na text\n"
    assert telling.cell == 7


def test_what_stops_a_lesson_stops_its_cell_alone(monkeypatch):
    """IPython warns about SystemExit, as if the reader had wanted to leave."""
    from lessons import lesson

    monkeypatch.setattr(lesson, "notebook", Shell)
    with pytest.raises(RuntimeError, match=r"^no such model$"):
        lesson.stop("no such model")


def test_outside_a_notebook_ipython_is_not_asked_for():
    code = "import lessons.lesson, sys; from lessons.telling import story; print(story.notebook())"
    command = [sys.executable, "-c", code + "; print('IPython' in sys.modules)"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.stdout.split() == ["None", "False"], told.stderr


def test_a_list_on_the_page_is_a_list_in_the_notebook():
    assert page.paragraphs("in cell\n2. Call") == "<p>in cell\n2. Call</p>"
    assert page.paragraphs("Two:\n- a\n- b") == "<p>Two:\n</p><ul><li>a\n</li><li>b</li></ul>"
    assert page.paragraphs("1. a\n2. b") == "<ol><li>a\n</li><li>b</li></ol>"

"""What a run leaves behind: its page, its rows in the ledger, and no traceback in a closed pipe."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lessons import expect
from lessons.telling import notebook, page
from tests.clones import ROOT, environment, tiny_clone

SCRIPTS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))

TINY = '''"""Is it kept?"""

# %% 1. A cell
# The story.
import os
import sys

from lessons import figures
from lessons.lesson import Lesson, stop

lesson = Lesson("90_tiny")
if os.environ.get("DATA"):
    stop("no such data")
lesson.show(figures.bars([1.0], ["one"], "a title", "x"), "bars")
if os.environ.get("BREAK"):
    sys.exit(3)
for _ in range(int(os.environ.get("LONG", 0))):
    lesson.show("long " * 20)
lesson.expect("1.1", "a row", 1, int(os.environ.get("SEEN", 1)))
lesson.finish()
'''


@pytest.fixture
def clone(tmp_path) -> Path:
    return tiny_clone(tmp_path / "clone", TINY)


def start(clone: Path, *command: str, **env) -> subprocess.Popen:
    """Start a command of a clone, at no terminal, with pipes to read it by."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=clone,
        env=environment(**{"PYTHONPATH": str(clone), **env}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(clone: Path, *command: str, **env) -> tuple[str, str, int]:
    process = start(clone, *(command or ["lessons/90_tiny.py"]), **env)
    said, told = process.communicate(timeout=60)
    return said, told, process.returncode


def after_a_line(process: subprocess.Popen) -> tuple[str, int]:
    """Read one line and go, as `| head -1` does; return what came on stderr, and the status."""
    assert process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read()
    return told, process.wait(timeout=60)


def rows_of(clone: Path) -> list[dict]:
    return json.loads((clone / "out" / "90" / "results.json").read_text())


# ---- the page ------------------------------------------------------------------------------------


def test_a_run_as_a_notebook_leaves_the_page_alone(clone, tmp_path):
    """With a stand-in for Jupyter's shell: what makes it one is its kernel."""
    (tmp_path / "IPython").mkdir()
    shell = "class Shell:\n    kernel, execution_count = 1, 1\n\n\nget_ipython = Shell\n"
    (tmp_path / "IPython" / "__init__.py").write_text(shell + "version_info = (9, 0)\n")
    display = "def Image(data, alt):\n    return alt\n\n\ndisplay = print\n"
    (tmp_path / "IPython" / "display.py").write_text(display)
    assert run(clone)[2] == 0
    page = (clone / "out" / "90" / "index.html").read_text()
    cells = notebook.notebook(clone / "lessons" / "90_tiny.py")["cells"]
    codes = ["".join(cell["source"]) for cell in cells[2:] if cell["cell_type"] == "code"]
    code = "import IPython\n" + "\n".join(codes)
    said, told, status = run(clone, "-c", code, PYTHONPATH=f"{clone}:{tmp_path}", SEEN="1")
    assert status == 0, told
    assert "a title" in said and "The rows: " in said and "index.html" not in said
    assert (clone / "out" / "90" / "index.html").read_text() == page and "<img" in page


def test_a_figure_grows_when_tapped_and_no_model_is_not_told(clone):
    said, told, status = run(clone)
    assert status == 0, told
    page = (clone / "out" / "90" / "index.html").read_text()
    assert (
        page.count('<label class="figure"><input type="checkbox" aria-label="full size"><img') == 1
    )
    assert "input:checked + img { max-width: none" in page
    assert "\nRows: 1 ok. " in said and ">Rows: 1 ok. " in page and "Model" not in said + page


# ---- the ledger ----------------------------------------------------------------------------------


def test_a_run_that_is_refused_keeps_the_rows_of_the_last(clone):
    assert run(clone)[2] == 0
    _, told, status = run(clone, DATA="none")
    assert status == 2 and told == "lesson: no such data\n"
    assert [row["status"] for row in rows_of(clone)] == ["ok"]
    assert run(clone, SEEN="2")[2] == 1
    assert [row["status"] for row in rows_of(clone)] == ["FAIL"]


def test_with_the_first_new_figure_the_old_rows_go(clone):
    assert run(clone)[2] == 0 and rows_of(clone)
    assert run(clone, BREAK="1")[2] == 3 and rows_of(clone) == []


def test_the_ledger_says_whose_rows_it_has_and_which_lessons_have_none(clone):
    for name in ("91_more.py", "92_more.py"):
        (clone / "lessons" / name).write_text("")
    assert run(clone)[2] == 0
    (clone / "out" / "92").mkdir()
    (clone / "out" / "92" / "results.json").write_text("")  # of a run that was refused
    said, told, status = run(clone, "-m", "lessons.expect")
    assert status == 0, told
    lines = said.splitlines()
    assert lines[0].split() == ["Lesson", "90", "predicted", "observed", "source"]
    assert lines[0].index("predicted") == expect.HEAD.index("predicted")
    assert lines[1].split()[:2] == ["ok", "1.1"]
    assert lines[-1] == "Lessons without rows: 91, 92 (make lesson-91)"
    table = (clone / "out" / "results.md").read_text().splitlines()
    assert table[0].startswith("| lesson | status |") and table[2].startswith("| 90 | ok | 1.1 |")


def test_the_ledger_of_all_lessons_says_of_none_that_it_is_missing(clone):
    assert run(clone)[2] == 0
    said, _, _ = run(clone, "-m", "lessons.expect")
    assert "without rows" not in said and said.splitlines()[-1].startswith("1 rows, 0 failed")


# ---- a pipe that is closed -----------------------------------------------------------------------


def test_a_lesson_whose_reader_has_gone_ends_without_a_word(clone):
    process = start(clone, "lessons/90_tiny.py", LONG="5000")
    assert after_a_line(process) == ("", 0)


def test_a_row_that_failed_fails_in_a_closed_pipe_too(clone):
    process = start(clone, "lessons/90_tiny.py", SEEN="2", PYTHONUNBUFFERED="")
    process.stdout.close()
    told, status = process.stderr.read(), process.wait(timeout=60)
    assert told == "Row 1.1, a row: predicted 1, observed 2.\n" and status == 1


@pytest.mark.parametrize("status", ["ok", "FAIL"])
def test_the_ledger_whose_reader_has_gone_ends_without_a_word(clone, status):
    assert run(clone)[2] == 0
    file = clone / "out" / "90" / "results.json"
    file.write_text(json.dumps([row | {"status": status} for row in rows_of(clone) * 5000]))
    told, code = after_a_line(start(clone, "-m", "lessons.expect"))
    assert (told, code) == ("", int(status == "FAIL"))
    assert len((clone / "out" / "results.md").read_text().splitlines()) == 5002


def test_the_predictions_whose_reader_has_gone_end_without_a_word(clone):
    keys = ("lesson", "what", "kind", "you", "seen", "verdict", "far")
    one = dict.fromkeys(keys, "right") | {"said": "x", "observed": "x", "chance": None}
    (clone / ".attempts").mkdir()
    lines = [json.dumps(one | {"id": f"{i}.1"}) + "\n" for i in range(5000)]
    (clone / ".attempts" / "predictions.jsonl").write_text("".join(lines))
    assert after_a_line(start(clone, "-m", "lessons.telling.predictions")) == ("", 0)


# ---- every lesson --------------------------------------------------------------------------------

ASIDE = ("#", "import ", "from ", "sys.path", "ask")  # what a cell needs besides what it is about
LINES = {"00_templates": 19, "01_superposition": 17}  # of code in a cell; of others 15


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_cells_are_short_and_the_last_one_is_to_be_broken(script):
    _, cells = page.read(script)
    for cell in cells:
        lines = [line for line in cell.code.splitlines() if line and not line.startswith(ASIDE)]
        assert len(lines) <= LINES.get(script.stem, 15), f"{cell.title}: {len(lines)} lines of code"
        assert 2 <= len(cell.prose.splitlines()) <= 18, cell.title
    assert "break" in cells[-1].title.lower() and "Break it" in cells[-1].title + cells[-1].prose


def test_a_text_with_columns_scrolls_and_a_sentence_wraps():
    assert page.said("name   mean\nL0H1   0.58").startswith('<pre class="columns">')
    assert page.said("a sentence  of two\nlines").startswith("<pre>")
    assert "pre.columns { white-space: pre; overflow-x: auto; }" in page.STYLE


def test_an_error_that_explains_itself_comes_without_a_traceback(clone):
    script = clone / "lessons" / "90_tiny.py"
    bad = "from minimech import MinimechError\n\nraise MinimechError('the file is cut short')\n"
    script.write_text(script.read_text().replace("lesson.finish()\n", bad))
    said, told, status = run(clone)
    assert status == 2 and "ok   1.1" in said
    assert told == "lesson: the file is cut short (90_tiny.py, line 22)\n"

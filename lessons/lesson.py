"""One run of a lesson: the story that is told, the rows that are judged, the figures that are kept.

    lesson = Lesson("03_transformer")
    model = lesson.load(PROMPT)                               # MODEL=world, gpt2 or a folder
    lesson.expect("3.1", "tokens, BOS included", 15, len(tokens), source="counted by hand")
    lesson.expect("3.3", "layer norm by hand, largest error", at_most(1e-5), error)
    lesson.show(figures.heatmap(...), "attention")            # as text here, out/03/attention.png
    lesson.finish()                                           # out/03/index.html

The story stands once, in the comments that open the lesson's `# %%` cells. Whatever a cell shows is
preceded by its comment, on the terminal and on the page. With PREDICT=1 and a terminal to ask at,
`expect` asks before it shows (but not of bounds, errors and controls). In a notebook the cells
themselves are the page, so nothing is told twice.
"""

import json
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

from lessons import page
from lessons.expect import HEAD, OUT, ROOT, ROW, Band, Disagreement, judge, written


class Lesson:
    """The story, rows and figures of one run; everything lands in out/NN/."""

    def __init__(self, name: str):
        self.script, self.folder = ROOT / "lessons" / f"{name}.py", OUT / name[:2]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "results.json").write_text("[]\n", encoding="utf-8")
        except OSError as error:
            stop(f"{self.folder} cannot be written ({error.strerror}); set OUT to another folder")
        self.intro, self.cells = page.read(self.script)
        self.rows: list[dict] = []
        self.known: dict[str, tuple] = {}  # row -> (value, source)
        self.log: list[tuple] = []  # (cell, row or text or Plot), in the order of the run
        self.told = 0  # how many cells have been told
        self.model_name = self.model_path = ""
        self.started = time.perf_counter()
        sys.excepthook = interrupted
        print(f"\n{self.intro}")

    def load(self, prompt: str):
        """Load what MODEL names: world (default), gpt2 (default once fetched) or a folder.

        Stops with a sentence if it is not there, or if its vocabulary lacks a word of the prompt.
        """
        from minimech import HookedTransformer, MinimechError

        fetched = (ROOT / "weights" / "gpt2" / "model.safetensors").exists()
        self.model_path = os.environ.get("MODEL") or ("gpt2" if fetched else "world")
        self.model_name = Path(self.model_path).name
        try:
            model = HookedTransformer.from_pretrained(self.model_path)
            model.to_tokens(prompt)
        except MinimechError as error:
            stop(str(error))
        return model

    def expect(self, id, what, predicted, observed, tolerance=0, source="", gap=""):
        """Hold an observation against its prediction: print the row, keep it, raise if outside."""
        self._tell()
        dull = isinstance(predicted, Band) or re.search("error|control", what)
        reader = None if dull else ask(what)
        observed = observed.item() if hasattr(observed, "item") else observed  # of a tensor
        status = judge(predicted, observed, tolerance, gap)
        row = {"id": id, "what": what, "predicted": written(predicted, tolerance)}
        row |= {"seen": written(observed), "observed": observed, "tolerance": tolerance}
        row |= {"status": status, "pass": status == "ok"}
        row |= {
            "source": "" if predicted is None else source,
            "gap": gap if status == "GAP" else "",
        }
        row |= {"reader": reader, "model": self.model_name, "minimech": version()}
        self._keep(row | {"seconds": round(time.perf_counter() - self.started, 2)})
        if status == "FAIL":
            self.finish()
            said, got, whose = row["predicted"], row["seen"], f" ({source})" if source else ""
            raise Disagreement(f"Row {id}, {what}: predicted {said}{whose}, observed {got}.")

    def know(self, values: dict, source: str) -> None:
        """Take in what is known of rows, by id: recorded from this same model, or published."""
        self.known |= {id: (value, source) for id, value in values.items()}

    def recorded(self, id, what, observed, tolerance=0):
        """Hold an observation against what is known of its row; where nothing is, just look."""
        predicted, source = self.known.get(id, (None, ""))
        self.expect(id, what, predicted, observed, tolerance, source)

    def show(self, item, name: str = "") -> None:
        """Print a text, or a Plot as text; with a name the picture is kept as out/NN/name.png."""
        self._tell()
        self.log.append((self.told - 1, item))
        print(f"\n{item}")
        if name:
            item.figure.savefig(self.folder / f"{name}.png")

    def finish(self) -> None:
        """Write the page, and say how many predictions held."""
        self._tell()
        count = Counter(row["status"] for row in self.rows)
        rows = ", ".join(f"{n} {status}" for status, n in count.items())
        seconds = time.perf_counter() - self.started
        self.summary = f"Model: {self.model_name or 'none'}. Rows: {rows}. {seconds:.0f} seconds."
        (self.folder / "index.html").write_text(page.html(self), encoding="utf-8")
        print(f"\n{self.summary}\nThe same with its figures: {self.folder / 'index.html'}")

    def _keep(self, row: dict) -> None:
        cell, last = self.log[-1] if self.log else (None, None)
        if cell != self.told - 1 or not isinstance(last, dict):
            print(f"\n{HEAD}")
        print(ROW.format(**row).rstrip())
        if row["status"] == "GAP":
            print(f"{'':13}{row['gap']}")
        self.rows.append(row)
        self.log.append((self.told - 1, row))
        text = json.dumps(self.rows, indent=1, ensure_ascii=False)
        (self.folder / "results.json").write_text(text + "\n", encoding="utf-8")

    def _tell(self) -> None:
        """Print the comments of all cells up to the one that runs."""
        line = running_line(self.script)
        reached = sum(cell.line <= line for cell in self.cells)
        for cell in self.cells[self.told : reached]:
            print(f"\n\n{cell.title}\n{'-' * len(cell.title)}\n{cell.prose}")
        self.told = max(self.told, reached)


def stop(why: str) -> None:
    """End with a sentence and status 2, as the commands do."""
    sys.stdout.flush()
    print(f"lesson: {why}", file=sys.stderr)
    sys.exit(2)


def interrupted(kind, error, trace) -> None:
    """End on Ctrl-C with a word; show any other error as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stdout.flush()
        print("\nlesson: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def running_line(script: Path) -> int:
    """Return the line of a script that is being executed; 0 if none is, as in a notebook."""
    frame = sys._getframe()
    while frame:
        code = frame.f_code
        if code.co_name == "<module>" and Path(code.co_filename).name == script.name:
            return frame.f_lineno
        frame = frame.f_back
    return 0


def ask(what: str) -> str | None:
    """Ask for the reader's prediction, if PREDICT=1 and somebody is there to answer."""
    if os.environ.get("PREDICT") != "1" or not sys.stdin.isatty():
        return None
    try:
        return input(f"  Your prediction. {what}: ").strip() or None
    except EOFError:
        return None


def version() -> str:
    """Read minimech's version from the one place where it is written."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^version = "(.+)"', text, re.MULTILINE)[1]

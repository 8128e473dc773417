"""One run of a lesson: the story that is told, the rows that are judged, the figures that are kept.

    lesson = Lesson("03_transformer")
    model = lesson.load(PROMPT)                               # MODEL=world, gpt2 or a folder
    lesson.expect("3.1", "tokens, BOS included", 15, len(tokens), source="counted by hand")
    lesson.expect("3.3", "layer norm by hand, largest error", at_most(1e-5), error)
    lesson.show(figures.heatmap(...), "attention")            # as text here, out/03/attention.png
    lesson.finish()                                           # out/03/index.html

The story stands once, in the comments that open the lesson's `# %%` cells. Whatever a cell shows is
preceded by its comment, on the terminal and on the page. In a notebook the cells themselves are the
page: nothing is told twice, and figures appear in place.

With PREDICT=1 and a terminal to ask at, `expect(..., ask="a question?")` asks before it shows.
What a cell tells from its first "Prediction:" on, and what it shows, waits until its last question
is answered (story.py); all answers are kept (predictions.py). With MINE=1 the lesson runs on the
reader's functions where they are written (whose.py).
"""

import json
import os
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from traceback import extract_tb

from lessons.expect import HEAD, OUT, ROOT, ROW, Disagreement, flush, judge, project, say, written
from lessons.telling import page, whose
from lessons.telling.predictions import Asker
from lessons.telling.story import Story, notebook


class Lesson:
    """The story, rows and figures of one run; everything lands in out/NN/."""

    def __init__(self, name: str):
        self.number = number = name[:2]
        self.script, self.folder = ROOT / "lessons" / f"{name}.py", OUT / number
        if number in BROKEN:
            stop(f"MINE=1 cannot use your answers.\n{BROKEN[number]}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "results.json").open("a").close()  # the last run's rows stay until ours
        except OSError as error:
            stop(f"{self.folder} cannot be written ({error.strerror}); set OUT to another folder")
        self.asker = Asker(number)
        self.story = Story(self.script, self.asker)
        self.rows: list[dict] = []
        self.known: dict[str, tuple] = {}  # row -> (value, source)
        self.log: list[tuple] = []  # (cell, row or text or Plot), in the order of the run
        self.model_name = self.model_path = self.summary = ""
        self.started = time.perf_counter()
        self.whose = [row for row in WHOSE if row[0].startswith(f"{int(number)}.")]
        self.account = whose.account(self.whose, number, BROKEN)
        sys.excepthook = self._stopped
        self._open()

    def load(self, prompt: str):
        """Load what MODEL names: world (default), gpt2 (default once fetched) or a folder.

        Stops with a sentence if it is not there, or if its vocabulary lacks a word of the prompt.
        """
        from minimech import HookedTransformer, MinimechError

        fetched = (ROOT / "weights" / "gpt2" / "model.safetensors").exists()
        self.model_path = os.environ.get("MODEL") or ("gpt2" if fetched else "world")
        name = Path(self.model_path).name
        self.model_name = {"gpt2-small": "gpt2"}.get(name, name)
        try:
            model = HookedTransformer.from_pretrained(self.model_path)
            model.to_tokens(prompt)
        except MinimechError as error:
            stop(str(error))
        return model

    def expect(
        self, id, what, predicted, observed, tolerance=0, source="", gap="", ask="", choices=()
    ):
        """Hold an observation against its prediction: print the row, keep it, raise if outside."""
        self.story.tell()
        observed = observed.item() if hasattr(observed, "item") else observed  # of a tensor
        status = judge(predicted, observed, tolerance, gap)
        row = {"id": id, "what": what, "predicted": written(predicted, tolerance)}
        row |= {"seen": written(observed), "observed": observed, "tolerance": tolerance}
        row |= {"status": status, "pass": status == "ok"}
        row |= {"source": "" if predicted is None else source}
        row |= {"gap": gap if status == "GAP" else "", "reader": None}
        row |= {"model": self.model_name, "minimech": project()["version"]}
        if ask:
            row["reader"] = self.asker.ask(row, ask, choices)
            self.story.answered()
        self._keep(row | {"seconds": round(time.perf_counter() - self.started, 2)})
        if status == "FAIL":
            self._fail(row)

    def know(self, values: dict, source: str) -> None:
        """Take in what is known of rows, by id: recorded from this same model, or published."""
        self.known |= {id: (value, source) for id, value in values.items()}

    def recorded(self, id, what, observed, tolerance=0, ask="", choices=()):
        """Hold an observation against what is known of its row; where nothing is, just look."""
        predicted, source = self.known.get(id, (None, ""))
        self.expect(id, what, predicted, observed, tolerance, source, "", ask, choices)

    def show(self, item, name: str = "", now: bool = False) -> None:
        """Print a text, or a Plot as text; with a name the picture is kept as out/NN/name.png.

        `now`: what a question is about is shown before the question, not held back.
        """
        self.story.tell()
        self.log.append((self.story.cell, item))
        self.story.show(item, now)
        if name:
            if not self.rows:
                self._keep_rows()  # the last run's figures are going: so do its rows
            (self.folder / f"{name}.png").write_bytes(item.png)

    def finish(self) -> None:
        """Write the page, which a notebook is itself, and say how many predictions held."""
        self.story.tell()
        self.story.release()
        count = Counter(row["status"] for row in self.rows)
        rows = ", ".join(f"{n} {status}" for status, n in count.items())
        model = f"Model: {self.model_name}. " if self.model_name else ""
        self.summary = f"{model}Rows: {rows}. {time.perf_counter() - self.started:.0f} seconds."
        said, where = "The rows", self.folder / "results.json"
        if not notebook():
            said, where = "The same with its figures", self.folder / "index.html"
            where.write_text(page.html(self), encoding="utf-8")
        if self.asker.answers:
            print(f"\nYour predictions\n\n{self.asker.summary()}")
        lines = [self.summary, textwrap.fill(self.account, 100), f"{said}: {where}"]
        say("\n" + "\n".join(filter(None, lines)))

    def _keep(self, row: dict) -> None:
        cell, last = self.log[-1] if self.log else (None, None)
        if cell != self.story.cell or not isinstance(last, dict):
            self.story.say(f"\n{HEAD}")
        self.story.say(ROW.format(**row).rstrip())
        if row["status"] == "GAP":
            self.story.say(f"{'':13}{row['gap']}")
        self.rows.append(row)
        self.log.append((self.story.cell, row))
        self._keep_rows()

    def _keep_rows(self) -> None:
        text = json.dumps(self.rows, indent=1, ensure_ascii=False)
        (self.folder / "results.json").write_text(text + "\n", encoding="utf-8")

    def _open(self) -> None:
        """Say what the lesson is about, on whose functions it runs, and whether it will ask."""
        if not notebook():
            print(f"\n{self.story.intro}")
        if self.account:
            print(f"\n{textwrap.fill(self.account, 100)}")
        if self.asker.alone:
            print("\nPREDICT=1 asks at a terminal. There is none here, so nothing is asked.")

    def _fail(self, row: dict) -> None:
        self.finish()
        whom = f" ({row['source']})" if row["source"] else ""
        why = "Row {id}, {what}: predicted {predicted}{whom}, observed {seen}."
        own = whose.suspects(self.whose, self.number)
        raise Disagreement(why.format(**row, whom=whom) + own)

    def _stopped(self, kind, error, trace) -> None:
        """End on Ctrl-C with a word, on an error of the reader's function at their line."""
        flush()
        if issubclass(kind, BrokenPipeError):  # `make lesson-03 | head` has read enough
            sys.exit(any(row["status"] == "FAIL" for row in self.rows))
        if issubclass(kind, KeyboardInterrupt):
            print("\nlesson: interrupted", file=sys.stderr)
            return
        self.story.release()
        flush()
        if whose.report(error, self.whose, self.script):
            return
        if kind.__name__ == "MinimechError":  # it says itself what is wrong
            lines = [at.lineno for at in extract_tb(trace) if at.filename == str(self.script)]
            stop(f"{error} ({self.script.name}, line {lines[-1]})")
        sys.__excepthook__(kind, error, trace)


def stop(why: str) -> None:
    """End with a sentence and status 2, as the commands do; in a notebook, its cell alone."""
    if notebook():
        raise RuntimeError(why) from None
    flush()
    print(f"lesson: {why}", file=sys.stderr)
    sys.exit(2)


WHOSE, BROKEN = whose.functions()

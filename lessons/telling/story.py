"""What a lesson says, and when: each cell's comment before what the cell shows.

A cell that asks the reader (`ask=` in one of its calls, PREDICT=1, a terminal) is told up to its
first paragraph that begins with "Prediction:". The rest, which knows the answer, and whatever the
cell shows before its last question is answered, are held back until then (`now=True`: what the
question is about is shown before it). In a notebook nothing is told: its text is there.
"""

import importlib
import sys
from math import inf
from pathlib import Path

from lessons.telling import page


class Story:
    """The telling of one script; `told` is how many of its cells have been told."""

    def __init__(self, script: Path, asker):
        self.script, self.asker = script, asker
        self.intro, self.cells = page.read(script)
        self.questions = page.questions(script)
        self.told = 0
        self.held: list[str] = []
        self.holding = False

    @property
    def cell(self) -> int:
        """Which cell runs: its index among the cells; in a notebook, the notebook's own count."""
        shell = notebook()
        return shell.execution_count if shell else self.told - 1

    def tell(self) -> None:
        """Print the comments of all cells up to the one that runs; hold back what it predicts."""
        line = running_line(self.script)
        reached = sum(cell.line <= line for cell in self.cells)
        for index in range(self.told, reached):
            self.release()
            cell, asks = self.cells[index], index == reached - 1 and self.asks_after(line - 1)
            prose, predictions = page.parted(cell.prose) if asks else (cell.prose, "")
            print(f"\n\n{cell.title}\n{'-' * len(cell.title)}\n{prose}")
            self.holding, self.held = asks, [f"\n{predictions}"] if predictions else []
        self.told = max(self.told, reached)

    def asks_after(self, line: int) -> bool:
        """Is there a question below a line, in the same cell?"""
        end = min((cell.line for cell in self.cells if cell.line > line), default=inf)
        return self.asker.active and any(line < question < end for question in self.questions)

    def answered(self) -> None:
        """Show what was held back, if the cell asks no more."""
        if not self.asks_after(running_line(self.script)):
            self.release()

    def release(self) -> None:
        """Show what was held back."""
        held, self.held, self.holding = self.held, [], False
        for text in held:
            print(text)

    def say(self, text: str) -> None:
        """Print a text, once it may be seen."""
        if self.holding:
            self.held.append(text)
        else:
            print(text)

    def show(self, item, now: bool = False) -> None:
        """Print a text or a Plot as text, `now` or once it may be seen; in a notebook as a picture.

        An attention viewer appears as itself: it says how (`_repr_html_`).
        """
        if notebook() and hasattr(item, "figure"):
            tools = importlib.import_module("IPython.display")
            itself = hasattr(item, "_repr_html_")
            tools.display(item if itself else tools.Image(item.png, alt=item.title))
        else:
            (print if now else self.say)(f"\n{item}")


def notebook():
    """Return the shell of Jupyter, Colab or VS Code's window, where there is one."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell if hasattr(shell, "kernel") else None


def running_line(script: Path) -> int:
    """Return the line of a script that is being executed; 0 if none is, as in a notebook."""
    frame = sys._getframe()
    while frame:
        code = frame.f_code
        if code.co_name == "<module>" and Path(code.co_filename).name == script.name:
            return frame.f_lineno
        frame = frame.f_back
    return 0

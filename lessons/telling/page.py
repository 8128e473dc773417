"""A lesson's script as a story, and its run as one HTML file that needs nothing else.

`read` splits a script at its `# %%` lines: the comment that follows is the cell's prose, the rest
its code. `html` joins the prose with what the run printed and drew. The file holds its figures,
follows the reader's light or dark setting, and fits a phone: code wraps, a wide table scrolls in a
box of its own, and so does a figure, in its full size, once it is tapped. It asks nothing of a
network, and says so to the browser, which then refuses.
"""

import ast
import base64
import re
from html import escape
from pathlib import Path
from typing import NamedTuple

from lessons.telling import live

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --soft: #5a5a5a; --paper: #fdfcf9; --box: #f1efe8;
        --line: #d8d4c8; --good: #1a6b3c; --bad: #a32a12; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e6df; --soft: #a9a59b; --paper: #191917; --box: #252522; --line: #3d3c37;
          --good: #7fcf9c; --bad: #ff9c82; } }
body { margin: 0 auto; max-width: 46rem; padding: 1rem 1.1rem 4rem; color: var(--ink);
       background: var(--paper); font: 1.05rem/1.6 Georgia, "Iowan Old Style", serif;
       overflow-wrap: break-word; }
h1 { font-size: 1.9rem; line-height: 1.2; } h2 { font-size: 1.3rem; margin: 2.6rem 0 .4rem; }
.soft, summary, th { color: var(--soft); } summary { cursor: pointer; font-size: .85rem; }
pre, table, code, summary { font-family: ui-monospace, Menlo, "DejaVu Sans Mono", monospace; }
code { font-size: .88em; background: var(--box); border-radius: 3px; padding: .05em .25em; }
pre { font-size: .78rem; line-height: 1.35; margin: .8rem 0; padding: .7rem .8rem;
      background: var(--box); border-radius: 5px; white-space: pre-wrap; }
pre.columns { white-space: pre; overflow-x: auto; }
pre code { padding: 0; background: none; } .reason td { color: var(--bad); }
.box { overflow-x: auto; margin: .8rem 0; } table { border-collapse: collapse; font-size: .8rem; }
td, th { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line);
         vertical-align: top; } td:nth-child(3) { min-width: 7rem; } th { font-weight: normal; }
td:nth-child(4), td:nth-child(5) { white-space: nowrap; } .ok td:first-child { color: var(--good); }
:is(.GAP, .FAIL) td:is(:first-child, :nth-child(5)) { color: var(--bad); font-weight: bold; }
@media (max-width: 30rem) { table { font-size: .72rem; } td, th { padding-right: .45rem; } }
img { max-width: 100%; height: auto; background: #fff; border-radius: 5px; cursor: zoom-in; }
.figure { display: block; overflow-x: auto; position: relative; margin: 1rem 0; }
.figure input { position: absolute; opacity: 0; }
input:checked + img { max-width: none; cursor: zoom-out; }
input:focus-visible + img { outline: 2px solid var(--soft); outline-offset: -2px; }
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
COLUMNS = {"": "status", "row": "id", "what": "what", "predicted": "predicted", "observed": "seen",
           "source": "source"}  # fmt: skip

YOURS = {"row": "id", "question": "question", "you said": "you", "observed": "seen",
         "how far": "far"}  # fmt: skip


class Cell(NamedTuple):
    """One `# %%` cell of a lesson."""

    line: int
    title: str
    prose: str
    code: str


def read(script: Path) -> tuple[str, list[Cell]]:
    """Split a lesson into its docstring and its cells."""
    source = script.read_text(encoding="utf-8")
    intro, cells = ast.get_docstring(ast.parse(source)), []
    lines = source.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("# %%")]
    for start, end in zip(starts, starts[1:] + [len(lines)]):
        body = lines[start + 1 : end]
        n_prose = next((i for i, line in enumerate(body) if not line.startswith("#")), len(body))
        prose = "\n".join(line[2:] for line in body[:n_prose])
        cells.append(Cell(start + 1, lines[start][5:], prose, "\n".join(body[n_prose:]).strip()))
    return intro, cells


def questions(script: Path) -> list[int]:
    """List the lines of the calls that ask the reader: those with ask=."""
    calls = (node for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))) if
             isinstance(node, ast.Call))  # fmt: skip
    return sorted(call.lineno for call in calls if any(word.arg == "ask" for word in call.keywords))


def parted(prose: str) -> tuple[str, str]:
    """Part a cell's prose where its first paragraph begins that opens with "Prediction:"."""
    opens = re.search(r"(?:\A|\n\s*\n)(?=Prediction:)", prose)
    return (prose[: opens.start()], prose[opens.end() :]) if opens else (prose, "")


def html(lesson) -> str:
    """Write a finished run as a page: its story with what each cell printed and drew."""
    question, *rest = lesson.story.intro.split("\n", 1)
    body = [f"<h1>{escape(question)}</h1>", paragraphs("".join(rest))]
    body.append(f'<p class="soft">{escape(" ".join([lesson.summary, lesson.account]))}</p>')
    for index, cell in enumerate(lesson.story.cells[: lesson.story.told]):
        body += [f"<h2>{escape(cell.title)}</h2>", paragraphs(cell.prose)]
        body += shown([item for where, item in lesson.log if where == index])
        code = f"<pre><code>{escape(cell.code)}</code></pre>"
        body.append(f"<details><summary>the code of this cell</summary>{code}</details>")
    body += predicted(lesson.asker)
    body += ["<h2>Predicted and observed</h2>", table(lesson.rows)]
    items = [item for _, item in lesson.log]
    body += [live.scripts(items)]
    return document(question, STYLE + live.style(items), "\n".join(body))


def document(title: str, style: str, body: str) -> str:
    """Write a page that holds all it needs."""
    return PAGE.format(title=escape(title), policy=POLICY, style=style, body=body)


def shown(items: list) -> list[str]:
    """Turn what one cell showed into HTML: rows in a row become one table."""
    parts, rows = [], []
    for item in [*items, ""]:
        if isinstance(item, dict):
            rows.append(item)
            continue
        parts += [table(rows)] if rows else []
        rows = []
        parts += [picture(item) if hasattr(item, "figure") else said(item)]
    return parts[:-1]


def said(text: str) -> str:
    """Write a text that was shown; one with columns scrolls, so that they stay below each other."""
    rows = sum(bool(re.search(r"\S {2,}\S", row)) for row in text.splitlines())
    kind = ' class="columns"' if rows > 1 else ""
    return f"<pre{kind}>{escape(text)}</pre>"


def predicted(asker) -> list[str]:
    """Write what the reader said as a table with its count; nothing, if nothing was said."""
    if not asker.answers:
        return []
    rows = [answer | {"status": "", "gap": ""} for answer in asker.answers]
    count = f'<p class="soft">{escape(asker.count())}</p>'
    return ["<h2>Your predictions</h2>", table(rows, YOURS), count]


def table(rows: list[dict], columns: dict = COLUMNS) -> str:
    """Write rows as an HTML table in a box that scrolls."""
    columns = {name: key for name, key in columns.items() if any(row[key] for row in rows)}
    head = "".join(f"<th>{name}</th>" for name in columns)
    lines = []
    for row in rows:
        cells = "".join(f"<td>{escape(str(row[key]))}</td>" for key in columns.values())
        lines.append(f'<tr class="{row["status"]}">{cells}</tr>')
        reason = f'<td></td><td colspan="{len(columns) - 1}">{escape(row["gap"])}</td>'
        lines += [f'<tr class="reason">{reason}</tr>'] if row["gap"] else []
    return f'<div class="box"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def picture(plot) -> str:
    """Put a figure into the page itself; its title is what a screen reader says."""
    if live.kind(plot) == "attention":
        return live.viewer(plot)
    data = base64.b64encode(plot.png).decode()
    image = f'<img alt="{escape(plot.title, quote=True)}" src="data:image/png;base64,{data}">'
    figure = f'<label class="figure"><input type="checkbox" aria-label="full size">{image}</label>'
    return figure + (live.cells(plot) if live.kind(plot) == "cells" else "")


def paragraphs(text: str) -> str:
    """Turn a comment into HTML: paragraphs, lists (- or 1.), `code`, indented lines as they are."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        before, items = listed(block)
        if block.startswith("    "):
            blocks.append(f"<pre>{escape(block)}</pre>")
        elif items:
            before = f"<p>{inline(before)}</p>" if before else ""
            tag = "ul" if items[0][0] == "- " else "ol"
            lines = "".join(f"<li>{inline(item)}</li>" for _, item in items)
            blocks.append(f"{before}<{tag}>{lines}</{tag}>")
        else:
            blocks.append(f"<p>{inline(block)}</p>")
    return "\n".join(blocks)


def listed(block: str) -> tuple[str, list[tuple[str, str]]]:
    """Part a block into what stands before its list, and the list's (mark, text).

    A list opens the block or follows a colon, and counts from 1: a line that happens to begin with
    "2. " or "- " is none.
    """
    opens = re.search(r"(?:\A|:\n)(?=(?:-|1\.) )", block)
    if not opens:
        return block, []
    parts = re.split(r"^((?:-|\d+\.) )", block[opens.end() :], flags=re.MULTILINE)
    return block[: opens.end()], list(zip(parts[1::2], parts[2::2]))


def inline(text: str) -> str:
    """Escape a text, with what stands in backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))

"""An error in the reader's own file, in a few words at their line, with the shapes that met there.

z = pattern @ value
RuntimeError: mat1 and mat2 shapes cannot be multiplied (5x5 and 4x5)
here pattern is [5, 5], value is [4, 5]
"""

import ast
import builtins
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import FrameType

from lessons.judging import marks


def tell(error: BaseException, path: Path) -> tuple[str, int]:
    """Say what an error is and at which line of a file; ("", 0) if it did not pass through it."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        said = f"{type(error).__name__}: {error.msg}"
        return quoted((error.text or "").strip(), said), error.lineno or 1
    frame, line = place(error, path)
    if frame is None:
        return "", 0
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    source = text.splitlines()[line - 1].strip()
    if isinstance(error, NotImplementedError) and source.startswith("raise NotImplementedError"):
        said = "this line is still there: delete it, so that yours can run"
    elif isinstance(error, RecursionError):
        said = "it calls itself, again and again, without an end"
    elif isinstance(error, SystemExit):
        said = "this ends Python: a function ends with `return`"
    else:
        said = message(error) + meant(error, frame)
        said += "" if isinstance(error, NameError) else shapes_at(frame, line, text)
    return quoted(source, said), line


def quoted(source: str, said: str) -> str:
    """Put a line of the reader's above what is said of it."""
    return f"    {source}\n{said}" if source else said


def message(error: BaseException) -> str:
    """Cut what an error says to a line or two."""
    said = f"{type(error).__name__}: {str(error).strip()}".split("\n")[0].rstrip(": ")
    return said if len(said) <= 200 else said[:197] + "..."


def meant(error: BaseException, frame: FrameType) -> str:
    """Name what is there and is spelled nearly so."""
    if isinstance(error, NameError):
        there = [*frame.f_globals, *dir(builtins), *frame.f_locals]
    elif isinstance(error, AttributeError):
        there = dir(error.obj)
    else:
        return ""
    spelled = {name.casefold(): name for name in there}
    near = get_close_matches(str(error.name).casefold(), spelled, n=1)
    return f"; did you mean {spelled[near[0]]}?" if near else ""


def place(error: BaseException, path: Path) -> tuple[FrameType | None, int]:
    """Find the innermost frame of an error's traceback that runs in a file, and its line."""
    found = (None, 0)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == str(path):
            found = frame, line
    return found


def shapes_at(frame: FrameType, line: int, text: str) -> str:
    """Name the tensors that the statement at a line has to do with, and their shapes."""
    around = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.stmt)]
    around = [n for n in around if n.lineno <= line <= n.end_lineno]
    innermost = min(around, key=lambda n: n.end_lineno - n.lineno)
    found = {}
    for node in ast.walk(innermost):
        if not isinstance(node, (ast.Name, ast.Attribute)):
            continue
        if hasattr(innermost, "body") and node.lineno != line:
            continue  # a loop's header is to blame, not its body
        shape = getattr(value_of(node, frame), "shape", None)
        if isinstance(shape, tuple):
            found[ast.unparse(node)] = f"{ast.unparse(node)} is {list(shape)}"
    return "\nhere " + ", ".join(list(found.values())[:5]) if found else ""


def value_of(node: ast.expr, frame: FrameType):
    """Look up a name, or an attribute of one, where a frame stopped."""
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id)
    try:
        return getattr(value_of(node.value, frame), node.attr, None)
    except Exception:  # a property that fails
        return None


def in_answers(error: BaseException) -> str:
    """Tell an error that came out of the reader's answers, as in a lesson; "" if it did not.

    The innermost file of lessons/exercises in its traceback is the one to blame.
    """
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    files = [*frames, error.filename or ""] if isinstance(error, SyntaxError) else frames
    paths = [Path(name) for name in files if Path(name).parent == marks.HERE / "exercises"]
    if not paths:
        return ""
    return at(error, paths[-1])


def at(error: BaseException, path: Path) -> str:
    """Tell an error at the line of a file that it passed through."""
    said, line = tell(error, path)
    return f"{said}\n{shown(path)}:{line}" if line else message(error)


def shown(path: Path) -> str:
    """Write a path as one would type it here."""
    try:
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return str(path)

"""What the reader wrote in lessons/exercises, as text and as functions, and how it gets used.

A function counts as written once its body is more than the stub's one line. Its marks do not
matter: they may be gone. Nothing here imports torch, but what is loaded may.
"""

import ast
import importlib
import sys
from pathlib import Path
from types import FunctionType, ModuleType

from lessons.judging import marks
from lessons.judging.errors import shown
from lessons.judging.marks import Exercise, path_of

# As text


def read(path: Path) -> str:
    """Read a file of the reader's; raises OSError, or SyntaxError where it is no text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"this file is not UTF-8 text: {error.reason}"
        raise SyntaxError(what, (str(path), 1, 0, "")) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise SyntaxError("this file holds a NUL byte", (str(path), line, 0, ""))
    return text


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """Find a file's top-level functions; raises OSError or SyntaxError."""
    body = ast.parse(read(path), str(path)).body
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}


def not_yet(node: ast.FunctionDef) -> ast.stmt | None:
    """Return a function's `raise NotImplementedError`, if its body still has it."""
    for statement in node.body:
        if isinstance(statement, ast.Raise) and "NotImplementedError" in ast.dump(statement):
            return statement
    return None


def is_written(node: ast.FunctionDef) -> bool:
    """Is a function's body more than its docstring and the stub's one line?"""
    has_docstring = ast.get_docstring(node, clean=False) is not None
    return node.body[has_docstring:] != [not_yet(node)]


def open_line(exercise: Exercise) -> int | None:
    """Return the line where an exercise is to be written; 0 if one did, None if it is no Python."""
    try:
        node = functions(path_of("exercises", exercise.stem)).get(exercise.function)
    except (OSError, SyntaxError):
        return None
    return not_yet(node).lineno if node and not is_written(node) else 0


def work_in(path: Path, exercises: list[Exercise]) -> list[str]:
    """List the exercises that somebody wrote in a file, which are not the reference's own lines."""
    try:
        mine, given = functions(path), functions(path_of("techniques", exercises[0].stem))
    except SyntaxError:
        return ["something that is no Python"]
    names = [e.function for e in exercises if e.function in mine and is_written(mine[e.function])]
    own = [name for name in names if ast.dump(mine[name]) != ast.dump(given[name])]
    return own or ["lines between marks"] * (marks.cut(read(path)) != read(path))


# As functions


def load(path: Path, name: str) -> ModuleType:
    """Run a file afresh, as a module of this name; lines in tracebacks are those of the file."""
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    exec(compile(read(path), str(path), "exec"), module.__dict__)
    return module


def borrow(mine: ModuleType, reference: ModuleType, names: list[str]) -> None:
    """Give a module the reference's functions of these names."""
    for name in names:
        setattr(mine, name, getattr(reference, name))


def use_mine() -> tuple[list[tuple[str, str, str]], dict[int, BaseException]]:
    """Put the reader's functions, where written, in place of the reference's, wherever imported.

    Return (id, title, "yours" or "reference") for the whole course, and by its lesson what is amiss
    with a file that cannot be used: there, all is the reference's.
    """
    for path in sorted((marks.HERE / "techniques").glob("[!_]*.py")):
        importlib.import_module(f"lessons.techniques.{path.stem}")
    account, broken, instead = [], {}, {}
    for number, stem in marks.stems().items():
        reference, mine = sys.modules[f"lessons.techniques.{stem}"], {}
        try:
            mine = written(stem, reference)
        except (Exception, SystemExit) as error:
            broken[number] = error
        for e in marks.exercises(stem):
            account.append((e.id, e.title, "yours" if e.function in mine else "reference"))
        instead |= {getattr(reference, name): function for name, function in mine.items()}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("lessons", "__main__") and module:
            exchange(vars(module), instead)
    return account, broken


def written(stem: str, reference: ModuleType) -> dict[str, FunctionType]:
    """Load a lesson's file, and return the functions that the reader wrote.

    They call what else the reader wrote, and the reference for the rest.
    """
    mine = load(path_of("exercises", stem), f"lessons.exercises.{stem}")
    todo = [e.function for e in marks.exercises(stem) if open_line(e)]
    borrow(mine, reference, todo)
    return {e.function: own(mine, e) for e in marks.exercises(stem) if e.function not in todo}


def own(mine: ModuleType, exercise: Exercise) -> FunctionType:
    """Return the reader's function, or say that it is gone."""
    if not callable(getattr(mine, exercise.function, None)):
        where = shown(path_of("exercises", exercise.stem))
        raise LookupError(f"{where} has no function {exercise.function}: was it renamed?")
    return getattr(mine, exercise.function)


def exchange(names: dict, instead: dict) -> None:
    """Rebind the names of a module whose function has a replacement."""
    for name, value in list(names.items()):
        if isinstance(value, FunctionType) and value in instead:
            names[name] = instead[value]

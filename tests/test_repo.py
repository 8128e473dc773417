"""The promises about the repo itself: its size, what it imports, what it names, what it says."""

import ast
import errno
import io
import os
import re
import socket
import subprocess
import sys
import tokenize
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "torch",
    "numpy",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "tqdm",
    "matplotlib",
    "pytest",
}
# What tokens of a Python file are no code, beside docstrings.
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
NO_CODE |= {tokenize.INDENT, tokenize.DEDENT}
# Run by hand in an environment of its own, where the independent libraries are.
MAKES_REFERENCES = "tests/reference/make_references.py"
# Machine paths, and hosts that a clone must not depend on. [p]ypi does not find itself here.
FORBIDDEN = re.compile(
    r"/(?:work|root|opt)/\w"
    r"|/home/\w"
    r"|(?:[p]ypi|[p]ythonhosted|[a]naconda)\.org"
    r"|[h]uggingface\.co\b|\b[h]f\.co\b|[d]ownload\.pytorch\.org"
)


def tracked() -> list[str]:
    """List the files that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git clone")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def python_files(*folders: str) -> list[Path]:
    """List the Python files of some folders."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def run(*command: str, **more) -> subprocess.CompletedProcess:
    """Run a command in the repo, as a user would: no trace of the make that runs the tests."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, **more)


def readme() -> str:
    """Return the README, or skip while there is none."""
    path = ROOT / "README.md"
    if not path.exists():
        pytest.skip("no README.md yet")
    return path.read_text(encoding="utf-8")


# Size


def code_lines(text: str) -> int:
    """Count as cloc does: blank lines, comments and docstrings are no code, and we want them."""
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        has_body = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if has_body and ast.get_docstring(node) is not None:
            code -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(code)


def code_of(folder: Path) -> dict[str, int]:
    """Count the lines of code of each Python file in a folder."""
    return {path.name: code_lines(path.read_text("utf-8")) for path in sorted(folder.glob("*.py"))}


@pytest.mark.parametrize(
    "text, count",
    [
        ("x = 1\n\n\ny = 2\n", 2),
        ("# why\nx = 1  # why\n", 1),
        ('"""A file,\n\nexplained."""\nx = 1\n', 1),
        ('def f():\n    """Return\n    nothing."""\n', 1),
        ('class A:\n    "What it is."\n\n    def f(self):\n        """Do."""\n', 2),
        ("x = [\n    1,\n]\n", 3),
        ('x = """no\ndocstring"""\n', 2),
        ("x = (1 +  # why\n     # why not\n     2)\n", 2),
        ("x = 1 + \\\n    2\n", 2),
    ],
)
def test_lines_of_code_are_counted_as_cloc_does(text, count):
    assert code_lines(text) == count


def test_minimech_stays_under_1200_lines_of_code():
    code = code_of(ROOT / "minimech")
    assert sum(code.values()) < 1200, code


def test_files_of_minimech_stay_under_250_lines_of_code():
    code = code_of(ROOT / "minimech")
    assert not {name: n for name, n in code.items() if n >= 250}


def test_functions_stay_under_40_lines():
    long = []
    for path in python_files("minimech", "lessons"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 >= 40:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not long


def test_tracked_weights_stay_under_32_mib():
    weights = [ROOT / name for name in tracked() if name.startswith("weights/")]
    assert sum(path.stat().st_size for path in weights) < 32 * 2**20


# What it imports and names


def test_imports_are_the_standard_library_or_declared():
    own = {"minimech", "lessons", "weights", "tests"}
    allowed = {*sys.stdlib_module_names, *PACKAGES, *own}
    strangers = []
    for path in python_files("minimech", "lessons", "weights", "tests"):
        neighbours = {file.stem for file in path.parent.glob("*.py")}
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in (name.split(".")[0] for name in names):
                if name not in allowed | neighbours:
                    strangers.append(f"{path.relative_to(ROOT).as_posix()}: {name}")
    assert not [line for line in strangers if not line.startswith(MAKES_REFERENCES)]


def test_no_file_names_a_machine_or_a_registry():
    found = []
    for name in tracked():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights, pictures
        for number, line in enumerate(text.splitlines(), 1):
            if hit := FORBIDDEN.search(line):
                found.append(f"{name}:{number}: {hit.group()}")
    assert not found


@pytest.mark.parametrize(
    "line", ["cd /wor" + "k/main", "https://pypi" + ".org/simple", "/home" + "/a"]
)
def test_a_machine_path_or_a_registry_would_be_found(line):
    assert FORBIDDEN.search(line)


def test_pins_lie_within_the_declared_ranges(env):
    pins = re.findall(r"^([\w-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.M)
    declared = [
        re.match(r"([\w-]+)(.+)", wanted).groups()
        for group in ("dependencies", "test")
        for wanted in env.requirements(group)
    ]
    assert len(declared) == 8
    for name, ranges in declared:
        versions = [version for pinned, version in pins if pinned == name]
        assert versions and all(env.meets(version, ranges) for version in versions), name


def test_importing_minimech_and_asking_for_help_load_no_torch():
    ask = "import sys, {}; sys.exit('torch' in sys.modules)"
    assert run(sys.executable, "-c", ask.format("minimech")).returncode == 0
    if not (ROOT / "minimech/__main__.py").exists():
        pytest.skip("no python -m minimech yet")
    helped = run(sys.executable, "-X", "importtime", "-m", "minimech", "--help")
    assert helped.returncode == 0 and "usage" in helped.stdout.lower()
    assert not re.search(r"\| +(torch|numpy|matplotlib)$", helped.stderr, re.M)


# What it says


def test_every_target_in_the_help_exists():
    helped = run("make").stdout
    targets = set(re.findall(r"^  make ([a-z]+(?:-\d\d)?)(?: |$)", helped, re.M))
    assert {"setup", "test", "lint", "lessons", "verify", "weights", "bench", "clean"} <= targets
    for target in targets:
        planned = run("make", "--dry-run", target)
        assert planned.returncode == 0, planned.stderr


def test_help_shows_the_question_of_each_lesson():
    helped = run("make").stdout
    for path in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py")):
        question = path.read_text().splitlines()[0].strip('r"')
        assert f"make lesson-{path.name[:2]}  {question}" in helped


def test_an_unknown_lesson_gets_a_sentence():
    asked = run("make", "lesson-77")
    assert asked.returncode == 2 and "There is no lesson-77. There are:" in asked.stderr


def test_links_of_the_texts_resolve():
    broken = []
    for path in [*ROOT.glob("*.md"), *ROOT.glob("weights/*.md"), *ROOT.glob("tests/**/*.md")]:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", link) and not (path.parent / link).exists():
                broken.append(f"{path.relative_to(ROOT)}: {link}")
    assert not broken


def test_readme_example_prints_what_the_readme_says():
    examples = re.findall(r"```python\n(.*?)```\s+prints\s+```\w*\n(.*?)```", readme(), re.S)
    assert examples, "the README has no python block, the word prints, and a block of output"
    for code, expected in examples:
        printed = run(sys.executable, "-c", code)
        assert printed.returncode == 0, printed.stderr
        assert printed.stdout.strip() == expected.strip()


# With no network


def test_sockets_reach_this_machine_only():
    with pytest.raises(OSError, match=r"no network, and something wanted to reach 'example\.com'"):
        urllib.request.urlopen("http://example.com", timeout=1)
    with socket.socket() as abroad, pytest.raises(OSError, match="no network"):
        abroad.connect(("192.0.2.1", 80))
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        try:
            client.connect(server.getsockname())
        except OSError as error:
            if error.errno != errno.ENETUNREACH:  # as where not even the loopback is up
                raise


def test_commands_that_tests_start_are_offline_too():
    assert os.environ["HF_HUB_OFFLINE"] == "1"

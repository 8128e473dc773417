"""Set up .venv, or say whether an environment fits. Standard library only: it runs before pip does.

python3 .ci/env.py setup         make .venv from constraints.txt, or bring it up to date
python  .ci/env.py fits [test]   print yes if this environment meets pyproject.toml's ranges,
                                 those of the test tools included; .venv itself never does
python  .ci/env.py report        one sentence on this environment

It parses on Python 3.6, so that one too old gets a sentence and not a syntax error.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
READY, UNFINISHED = VENV / "ready", VENV / "unfinished"
PINS = ROOT / "constraints.txt"
NO_NETWORK = "NewConnectionError|NameResolutionError|ProxyError|ConnectTimeout|Read timed out"

OFFLINE = """there seems to be no network, and the packages are not on this machine.
They are fetched once. Run make again with a network, or activate an environment that has them."""
ANOTHER = """the reason stands above. Run make again: it starts cleanly.
If no version of a package suits this Python, try another: make setup PYTHON=python3.12"""


class SetupError(Exception):
    """What stands in the way, and the way out."""


def requirements(group):
    """Return the list `group = [...]` of pyproject.toml, which reads as Python too."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return ast.literal_eval(re.search(rf"^{group} = (\[.*?^\])", text, re.M | re.S).group(1))


def release(version):
    """Turn "2.13.0+cpu" into [2, 13], which compares as versions do."""
    numbers = [int(n) for n in re.match(r"\d+(\.\d+)*", version).group().split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def meets(version, ranges):
    """Say whether a version lies in ranges such as ">=2.4,<3"."""
    for bound in ranges.split(","):
        sign, limit = re.match(r"(>=|<)(.+)", bound.strip()).groups()
        if (release(version) >= release(limit)) != (sign == ">="):
            return False
    return True


def misfits(groups):
    """List what this environment lacks of pyproject.toml's ranges, importing no package."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    if sys.version_info < (3, 11):
        found.append(f"Python is {sys.version.split()[0]}, not >=3.11")
    for requirement in [r for group in groups for r in requirements(group)]:
        name, ranges = re.match(r"([\w-]+)(.*)", requirement).groups()
        try:
            if not meets(version(name), ranges):
                found.append(f"{name} is {version(name)}, not {ranges}")
        except PackageNotFoundError:
            found.append(f"{name} is missing")
    return found


def check_python():
    """Refuse a Python that cannot make the environment."""
    if sys.version_info < (3, 11):
        raise SetupError(
            f"minimech needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}.\n"
            "If a newer one is installed under another name: make setup PYTHON=python3.12"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError(
            f"{sys.executable} cannot make virtual environments: its venv module is not complete.\n"
            "Debian and Ubuntu keep it apart: sudo apt install python3-venv. Then run make again."
        ) from None


def runs(python):
    """Say whether a Python starts and has pip."""
    command = [str(python), "-c", "import pip"]
    return python.exists() and subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def lacks(environment):
    """Say in words what another environment lacks, or nothing if it fits."""
    python = Path(environment) / "bin" / "python"
    if not python.exists():
        return "it has no Python"
    command = [str(python), __file__, "misfits"]
    asked = subprocess.run(command, stdout=subprocess.PIPE, universal_newlines=True)
    return asked.stdout.strip() if asked.returncode == 0 else "its Python does not start"


def adopt():
    """Take a .venv that somebody made by hand; say whether it still needs packages."""
    reason = lacks(VENV)
    if not reason:
        print(".venv was not made by make, but fits: used as it is", flush=True)
    elif runs(VENV_PYTHON) and "Python" not in reason:
        print(f"Installing into .venv, from constraints.txt: {reason}", flush=True)
        UNFINISHED.touch()
    else:
        raise SetupError(
            f".venv was not made by make, and does not do: {reason}, or no pip is in it.\n"
            "Remove it (rm -r .venv) and run make again."
        )
    return bool(reason)


def make_venv():
    """Leave an empty .venv, or the earlier one where it works, marked as unfinished."""
    if READY.exists() and runs(VENV_PYTHON):
        print("constraints.txt or pyproject.toml changed: bringing .venv up to date", flush=True)
        READY.rename(UNFINISHED)
        return
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if active and Path(active).resolve() != VENV:
        print(f"The activated environment, {active}, does not fit: {lacks(active)}", flush=True)
    again = READY.exists() or UNFINISHED.exists()
    print("Starting again on" if again else "Setting up", ".venv, from constraints.txt", end=" ")
    print("(once; some minutes).", flush=True)
    if sys.platform == "linux" and not os.environ.get("PIP_ARGS"):
        print("With torch, pip may bring 5 GB of CUDA packages; README, Install, avoids them.")
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()  # first to come and last to go
    for path in sorted(VENV.iterdir(), key=lambda path: path != READY):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path))
        elif path != UNFINISHED:
            path.unlink()
    base = getattr(sys, "_base_executable", sys.executable)  # not an activated environment's own
    run([base, "-m", "venv", VENV])


def run(command):
    """Run a command; its progress is shown on a terminal, its warnings only if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=str(ROOT),
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    if done.returncode:
        if re.search(NO_NETWORK, done.stderr):
            raise SetupError("Setup did not finish: " + OFFLINE)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING: Loc")]
        print("\n".join(lines[-6:]), file=sys.stderr)
        raise SetupError("Setup did not finish: " + ANOTHER)


def install():
    """Install the pinned packages; torch first and alone where PIP_ARGS says from where."""
    pip = [VENV_PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--retries", "2"]
    pip += ["--constraint", PINS.name] + ([] if sys.stdout.isatty() else ["--quiet"])
    torch_from = shlex.split(os.environ.get("PIP_ARGS", ""))
    if torch_from:
        run([*pip, "--no-deps", *torch_from, "torch"])
    run([*pip, *requirements("dependencies"), *requirements("test")])


def add_repo_to_path():
    """Let .venv's Python import minimech and lessons anywhere, even after the repo is moved."""
    site = next(VENV.glob("lib/python3*/site-packages"))
    (site / "minimech.pth").write_text("../../../..\n")


def setup():
    """Make .venv ready, one make at a time."""
    check_python()
    with PINS.open() as pins:
        try:
            import fcntl

            fcntl.flock(pins, fcntl.LOCK_EX)  # a second make waits here, then finds all done
        except (ImportError, OSError):
            pass
        newest = max(PINS.stat().st_mtime, (ROOT / "pyproject.toml").stat().st_mtime)
        if READY.exists() and READY.stat().st_mtime >= newest and runs(VENV_PYTHON):
            return
        began = time.time()
        ours = READY.exists() or UNFINISHED.exists() or not VENV.exists()
        if ours:
            make_venv()
        if ours or adopt():
            install()
            UNFINISHED.unlink()
        add_repo_to_path()
        READY.touch()
        print(f"Setup took {time.time() - began:.0f} s", flush=True)


def fits(groups):
    """Print yes for the Makefile; .venv itself never counts, its stamp decides."""
    if Path(sys.prefix).resolve() != VENV and not misfits(groups):
        print("yes")


def report():
    """Say which environment is used."""
    from importlib.metadata import version

    print(f"Ready: {sys.prefix} (Python {sys.version.split()[0]}, torch {version('torch')})")


if __name__ == "__main__":
    try:
        if sys.argv[1] == "setup":
            setup()
        elif sys.argv[1] == "fits":
            fits(["dependencies", *sys.argv[2:]])
        elif sys.argv[1] == "misfits":
            print(", ".join(misfits(["dependencies", "test"])))
        else:
            report()
    except SetupError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(
            f"Setup could not write .venv: {error}. Free or unlock that place, then run make again."
        )
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Run make again: it starts cleanly.")

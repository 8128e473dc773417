"""How make gets its environment (.ci/env.py and the Makefile), without installing anything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MADE_BY = ("Makefile", "constraints.txt", "pyproject.toml", ".ci/env.py")


@pytest.fixture
def clone(tmp_path):
    """Return an empty clone, in a folder whose name has a space."""
    folder = tmp_path / "a clone"
    (folder / ".ci").mkdir(parents=True)
    for name in MADE_BY:
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def rehearsal(env, clone, monkeypatch):
    """Return env.py at work in the clone; `commands` is what it would have run."""
    env.ROOT, env.VENV, env.PINS = clone, clone / ".venv", clone / "constraints.txt"
    env.VENV_PYTHON = env.VENV / "bin/python"
    env.READY, env.UNFINISHED = env.VENV / "ready", env.VENV / "unfinished"
    env.commands = []

    def run(command):
        env.commands.append([str(word) for word in command])
        if "venv" in command:
            (env.VENV / "lib/python3.11/site-packages").mkdir(parents=True)
            (env.VENV / "bin").mkdir()
            env.VENV_PYTHON.touch()

    monkeypatch.setattr(env, "run", run)
    monkeypatch.setattr(env, "runs", lambda python: python.exists())
    monkeypatch.delenv("PIP_ARGS", raising=False)
    return env


def test_setup_runs_once_and_again_when_a_pin_changes(rehearsal):
    rehearsal.setup()
    assert [command[1:3] for command in rehearsal.commands] == [["-m", "venv"], ["-m", "pip"]]
    rehearsal.setup()
    assert len(rehearsal.commands) == 2
    os.utime(rehearsal.PINS, (rehearsal.READY.stat().st_mtime + 9,) * 2)
    rehearsal.setup()
    assert len(rehearsal.commands) == 3 and "pip" in rehearsal.commands[-1]


def test_an_interrupted_setup_starts_again(rehearsal, monkeypatch, capsys):
    def interrupted():
        (rehearsal.VENV / "half a package").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rehearsal, "install", interrupted)
        rehearsal.setup()
    assert not rehearsal.READY.exists()
    rehearsal.setup()
    assert rehearsal.READY.exists() and not (rehearsal.VENV / "half a package").exists()
    assert "Starting again on .venv" in capsys.readouterr().out


def test_pip_args_are_for_torch_alone(rehearsal, monkeypatch):
    monkeypatch.setenv("PIP_ARGS", "--index-url 'an address'")
    rehearsal.setup()
    torch, rest = rehearsal.commands[1:]
    assert torch[-4:] == ["--no-deps", "--index-url", "an address", "torch"]
    assert "an address" not in rest and len(rest) - rest.index("--quiet") - 1 == 8


def test_the_repo_is_on_the_path_of_its_environment(rehearsal):
    rehearsal.setup()
    (link,) = rehearsal.VENV.glob("lib/*/site-packages/minimech.pth")
    assert (link.parent / link.read_text().strip()).resolve() == rehearsal.ROOT.resolve()


def test_a_venv_made_by_hand_is_not_thrown_away(rehearsal):
    rehearsal.VENV.mkdir()
    (rehearsal.VENV / "mine").touch()
    with pytest.raises(rehearsal.SetupError, match=r"not made by make.*\n.*rm -r \.venv"):
        rehearsal.setup()
    assert (rehearsal.VENV / "mine").exists() and not rehearsal.commands


def test_an_old_python_gets_a_sentence(env, monkeypatch):
    monkeypatch.setattr(env.sys, "version_info", (3, 9, 18))
    with pytest.raises(env.SetupError, match=r"needs Python 3\.11 or newer.*\n.*PYTHON=python3"):
        env.check_python()


def test_a_python_without_venv_gets_a_sentence(env, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(env.SetupError, match="apt install python3-venv"):
        env.check_python()


def test_no_network_gets_a_sentence(env):
    pip = "import sys; sys.exit('NewConnectionError: [Errno -3] name resolution')"
    with pytest.raises(env.SetupError, match="there seems to be no network"):
        env.run([sys.executable, "-c", pip])


def test_versions_compare_as_numbers(env):
    assert env.meets("2.13.0+cpu", ">=2.4,<3")
    assert env.meets("2.4", ">=2.4.0,<3") and env.meets("2.4.0", ">=2.4,<3")
    assert not env.meets("3.0", ">=2.4,<3") and not env.meets("2.3.1", ">=2.4,<3")


def planned(clone, **variables) -> str:
    """Return what `make lint` would run in a clone, under an activated environment or none."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = ["make", "--dry-run", "lint"]
    return subprocess.run(
        command, cwd=clone, env=keep | variables, capture_output=True, text=True, check=True
    ).stdout


def test_make_sets_up_its_own_environment(clone):
    assert ".ci/env.py setup" in planned(clone)
    assert ".venv/bin/python -m ruff" in planned(clone)


@pytest.mark.parametrize("name", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_make_uses_an_activated_environment_that_fits(clone, name):
    python = Path(sys.prefix) / "bin/python"
    if not python.exists():
        pytest.skip("this environment has no bin/python")
    assert f'"{python}" -m ruff' in planned(clone, **{name: sys.prefix})
    assert ".ci/env.py setup" not in planned(clone, **{name: sys.prefix})


def test_make_passes_by_an_activated_environment_that_does_not_fit(clone, tmp_path):
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    assert ".ci/env.py setup" in planned(clone, VIRTUAL_ENV=str(bare))

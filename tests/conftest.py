"""Every test runs with no network, two threads and no display. `shared`: data beside the repo.

The environment is set before anything imports torch, matplotlib or huggingface_hub; the commands
that a test starts inherit it.
"""

import importlib.util
import os
import socket
import tempfile
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "2"
os.environ["MPLBACKEND"] = "Agg"
# One folder for all runs of a user: matplotlib lists the machine's fonts there, for some seconds.
USER = getattr(os, "getuid", lambda: 0)()
os.environ["MPLCONFIGDIR"] = str(Path(tempfile.gettempdir()) / f"minimech-matplotlib-{USER}")

LOCAL = ("localhost", "127.0.0.1", "::1", "", None)


def guarded(call):
    """Wrap a function of `socket`, or a socket's method: it reaches this machine only."""

    def guard(*args, **named):
        target = args[1] if isinstance(args[0], socket.socket) else args[0]
        host = target[0] if isinstance(target, tuple) else target  # (host, port, ...), or a host
        pipe = isinstance(args[0], socket.socket) and args[0].family == socket.AF_UNIX
        if not pipe and host not in LOCAL:
            raise OSError(f"tests run with no network, and something wanted to reach {host!r}")
        return call(*args, **named)

    return guard


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Let no Python socket leave this machine, and no name be looked up."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (socket.socket, "connect"),
            (socket.socket, "connect_ex"),
            (socket.socket, "sendto"),
            (socket, "getaddrinfo"),
            (socket, "gethostbyname"),
        ):
            patch.setattr(owner, name, guarded(getattr(owner, name)))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference data that stands beside the repo, or skip."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the data beside the repo, and {folder} is not there")
    return folder


@pytest.fixture
def env():
    """Return .ci/env.py, which the Makefile runs before there are packages, as a module."""
    spec = importlib.util.spec_from_file_location("env", Path(__file__).parents[1] / ".ci/env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def one_thread():
    """Let a module of small tensors run on one thread: a second one would mostly wait."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def browser():
    """Start a browser for a module's pages, or skip."""
    from tests.browser import Browser, found

    if not found():
        pytest.skip("no Chromium here (looked for chromium, chromium-browser, google-chrome)")
    one = Browser()
    try:
        one.__enter__()
    except (OSError, RuntimeError) as error:
        pytest.skip(f"{found()} does not start here: {error}")
    yield one
    one.__exit__()

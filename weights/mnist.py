"""MNIST's four original files: fetched once by `make mnist`, and checked each time they are read.

LeCun, Cortes and Burges' 70,000 handwritten digits (LeCun et al. 1998). What is pinned is the
sha256 of what the files hold, unpacked: two copies may be packed differently and hold the same.
"""

import errno
import gzip
import hashlib
import shutil
import socket
import sys
import urllib.request
import zlib
from pathlib import Path
from urllib.error import URLError

from tqdm import tqdm

from minimech import MinimechError
from minimech.files import SHIPPED, why

FOLDER = SHIPPED / "mnist"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
UNPACKED = {  # sha256 of what the files hold
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SUMS = {f"{file}.gz": sha256 for file, sha256 in UNPACKED.items()}


def contents(path: Path) -> bytes:
    """Unpack one of the four. Raises: MinimechError if it is missing, cut short or altered."""
    try:
        unpacked = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise MinimechError(f"{path} is missing; `make mnist` fetches MNIST's four files") from None
    except (OSError, EOFError, zlib.error) as error:
        raise MinimechError(f"{path} cannot be read ({why(error)}); {again(path)}") from None
    got, expected = hashlib.sha256(unpacked).hexdigest(), SUMS[path.name]
    if got != expected:
        found = f"it holds {len(unpacked):,} bytes of sha256 {got[:12]}..."
        raise MinimechError(f"{path} is altered: {found}, not {expected[:12]}...; {again(path)}")
    return unpacked


def again(path: Path) -> str:
    """Say how to mend a file."""
    return f"delete {path.parent} and run `make mnist`"


def fetch(folder: Path = FOLDER, mirrors: tuple[str, ...] = MIRRORS) -> Path:
    """Download the four files, from the first mirror that answers; check them if they are there.

    They arrive in a hidden folder beside, which is renamed once all four are right: whatever goes
    wrong before, Ctrl-C too, leaves nothing.
    Raises: MinimechError that says what failed and what to do.
    """
    if folder.is_dir():
        for name in SUMS:
            contents(folder / name)
        return folder
    partial = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in SUMS:
            download(name, mirrors, partial / name)
            contents(partial / name)
        partial.rename(folder)
    except OSError as error:
        raise MinimechError(
            f"MNIST was not fetched ({unfetched(error)}), nothing is left of it. Lesson 00 runs "
            "without it, on digits that it draws"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def download(name: str, mirrors: tuple[str, ...], path: Path) -> None:
    """Download a file, showing progress. Raises: OSError, the last mirror's, if none has it."""
    for left, mirror in reversed(list(enumerate(reversed(mirrors)))):
        try:
            with urllib.request.urlopen(mirror + name, timeout=30) as answer, path.open("wb") as to:
                size = int(answer.headers.get("Content-Length") or 0) or None
                with tqdm(total=size, desc=name, unit="B", unit_scale=True) as bar:
                    while block := answer.read(2**16):
                        bar.update(to.write(block))
            return
        except OSError:
            if not left:
                raise


def unfetched(error: OSError) -> str:
    """Say why a file did not come."""
    reason = error.reason if type(error) is URLError else error
    if isinstance(reason, str):
        return reason
    away = (errno.ENETUNREACH, errno.EHOSTUNREACH)
    offline = isinstance(reason, socket.gaierror) or reason.errno in away
    return f"{'no network: ' if offline else ''}{why(reason)}"


def main() -> int:
    """Fetch MNIST, and say in one sentence how it went."""
    try:
        folder = fetch()
    except MinimechError as error:
        print(f"mnist: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmnist: interrupted, nothing is left of it", file=sys.stderr)
        return 130
    print(f"MNIST's four files are in {folder}, each as published: make lesson-00 DATA=mnist")
    return 0


if __name__ == "__main__":
    sys.exit(main())

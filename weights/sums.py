"""Are a model's files what they should be? SHA256SUMS beside them says what they hash to.

A file up to 64 MB is hashed each time that the model is loaded; a bigger one (hashing GPT-2 takes
longer than loading it) when it is fetched, by `make weights` and by `make verify`.
"""

import hashlib
import re
from pathlib import Path

from minimech import MinimechError
from minimech.files import SHIPPED, read_json

SMALL = 64 * 2**20  # bytes
AGAIN = "fetch or copy the model again"


def check_sums(folder: Path, sums: dict | None = None, whole: bool = False) -> None:
    """Compare files, the small ones or all, with their sha256 (None: what SHA256SUMS says).

    Raises: MinimechError naming a file that is missing, truncated or altered.
    """
    sums = read_sums(folder) if sums is None else sums
    for file, expected in sums.items():
        path = folder / file
        if not path.is_file():
            raise MinimechError(f"{path} is missing; {mend(folder)}")
        size = path.stat().st_size
        got = sha256(path) if expected and (whole or size <= SMALL) else expected
        if got != expected:
            found = f"its {size:,} bytes have sha256 {got[:12]}..., expected {expected[:12]}..."
            how = f"Delete it, and {mend(folder)}"
            raise MinimechError(f"{path} is truncated or altered: {found} {how}")
    unlisted = [path.name for path in folder.glob("*.safetensors") if path.name not in sums]
    if sums and unlisted:
        raise MinimechError(
            f"{folder / 'SHA256SUMS'} does not list {unlisted[0]}; add or remove it"
        )


def mend(folder: Path) -> str:
    """Say where a model's files come from."""
    fetched = read_json(SHIPPED / "pinned.json")["models"]
    here, shipped = folder.resolve(), SHIPPED.resolve()
    ships = shipped in here.parents and here.relative_to(shipped).parts[0] not in fetched
    return f"`git checkout -- weights/{here.relative_to(shipped)}` restores it" if ships else AGAIN


def sha256(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def read_sums(folder: Path) -> dict[str, str]:
    """Read SHA256SUMS, lines as `sha256sum` writes them: file -> sha256; empty if there is none."""
    path = folder / "SHA256SUMS"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    matches = [re.fullmatch(r"([0-9a-f]{64}) [ *]([\w.-]+)", line) for line in lines]
    if None in matches or (path.exists() and not matches):
        raise MinimechError(f"{path} is no list of `sha256  file`; restore it from its source")
    return {match[2]: match[1] for match in matches}


def write_sums(folder: Path, files) -> None:
    """Write SHA256SUMS for files of a folder."""
    lines = [f"{sha256(folder / file)}  {file}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines))

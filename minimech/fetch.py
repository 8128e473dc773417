"""Where a checkpoint comes from: weights/, a folder, the Hugging Face cache, or a checked download.

The files that a folder's SHA256SUMS names must have that sha256. A file up to 64 MB is hashed each
time that the model is loaded; a bigger one (hashing GPT-2 takes longer than loading it) when it is
fetched, by `make weights` and by `make verify`. `weights/pinned.json` says where the published
GPT-2s are and what their files hash to.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from minimech import MinimechError
from minimech.hooks import nearest_words

SHIPPED = Path(__file__).parent.parent / "weights"
SMALL = 64 * 2**20  # bytes
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}


def root() -> Path:
    """Return the folder of named models: the repository's weights/, or MINIMECH_WEIGHTS."""
    return Path(os.environ.get("MINIMECH_WEIGHTS") or SHIPPED)


def pinned() -> dict[str, dict]:
    """Read which models can be fetched: name -> repository, revision, sha256 of each file."""
    return read_json(SHIPPED / "pinned.json")["models"]


def find(name: str | Path) -> Path:
    """Return a model's folder; fetch it if it is a published one and nowhere on this machine.

    Raises: MinimechError for a name that is neither known nor a folder.
    """
    name = "gpt2" if name == "gpt2-small" else name  # TransformerLens's name for it
    for folder in (root() / name, SHIPPED / name, Path(name)):
        if os.path.isdir(folder):  # False, and no error, for any text
            return folder
    if name in pinned():
        return cached(name) or fetch(name)
    known = [path.parent.name for path in sorted(SHIPPED.glob("*/config.json"))]
    known += [one for one in pinned() if one not in known]
    raise MinimechError(
        f"there is no model or folder called {str(name)!r}. {nearest_words(str(name), known)} "
        f"Known are {', '.join(known)}, and any folder that holds a checkpoint."
    )


def cached(name: str) -> Path | None:
    """Return a published model's folder in the Hugging Face cache, if all of it is there."""
    from huggingface_hub import try_to_load_from_cache

    pin = pinned()[name]
    for repository in (pin["repository"], name):  # the bare name was its address until 2024
        paths = [
            try_to_load_from_cache(repository, f, revision=pin["revision"]) for f in pin["files"]
        ]
        if all(isinstance(path, str) for path in paths):
            folder = Path(paths[0]).parent
            check_sums(folder, pin["files"])
            return folder
    return None


def fetch(name: str, source: str | Path | None = None) -> Path:
    """Download a published model into weights/<name>, or copy it from `source`; check it if there.

    Files arrive in a hidden folder, renamed when every sha256 is right. What a lost network or
    Ctrl-C cut short goes on from there the next time; any other failure leaves nothing.
    Raises: MinimechError that says what failed and what to do.
    """
    if name not in pinned():
        raise MinimechError(f"{name!r} cannot be fetched; known are {', '.join(pinned())}")
    files, folder, partial = pinned()[name]["files"], root() / name, root() / f".{name}.part"
    if folder.is_dir():
        check_sums(folder, files, whole=True)
        return folder
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for file in files:
            if source is None:
                download(name, file, partial)
            else:
                shutil.copyfile(Path(source) / file, partial / file)
        check_sums(partial, files, whole=True)
        write_sums(partial, files)
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # the hub client's notes
        partial.rename(folder)
    except ConnectionError as error:
        raise MinimechError(
            f"{name} is not on this machine and could not be downloaded ({error}). With a network, "
            f"run `make weights MODEL={name}`; MODEL=world works now, it needs none"
        ) from None
    except (OSError, MinimechError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise MinimechError(
            f"{name} was not fetched, nothing is left of it: {why(error)}"
        ) from None
    return folder


def download(name: str, file: str, folder: Path) -> None:
    """Download a file, showing progress. Raises: OSError of the disk, else ConnectionError."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    repository, revision = pinned()[name]["repository"], pinned()[name]["revision"]
    try:  # ask once: the client itself would try half a minute to reach a network that is not there
        get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), token=False)
        hf_hub_download(repository, file, revision=revision, local_dir=folder, token=False)
    except Exception as error:  # the client's own kinds, and those of the HTTP library below it
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        raise ConnectionError(type(error).__name__) from None


def read_json(path: Path) -> dict:
    """Read a JSON object. Raises: MinimechError if the file is absent or holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MinimechError(f"{path} cannot be read ({error.strerror}); a model needs it") from None
    except (ValueError, RecursionError) as error:
        raise MinimechError(f"{path} is not JSON ({error}); fetch or copy it again") from None
    if not isinstance(value, dict):
        raise MinimechError(f"{path} holds a {type(value).__name__}; expected a JSON object")
    return value


def check_sums(folder: Path, sums: dict | None = None, whole: bool = False) -> None:
    """Compare files, the small ones or all, with their sha256 (None: what SHA256SUMS says).

    Raises: MinimechError naming a file that is missing, truncated or altered.
    """
    for file, expected in (read_sums(folder) if sums is None else sums).items():
        path = folder / file
        if not path.is_file():
            raise MinimechError(f"{path} is missing; fetch or copy the model again")
        size = path.stat().st_size
        got = sha256(path) if expected and (whole or size <= SMALL) else expected
        if got != expected:
            raise MinimechError(
                f"{path} is truncated or altered: its {size:,} bytes have sha256 {got[:12]}..., "
                f"expected {expected[:12]}... Delete it, and fetch or copy the model again"
            )


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


def why(error: Exception) -> str:
    """Say what went wrong; for an error of the disk, with the file."""
    reason, path = getattr(error, "strerror", None), getattr(error, "filename", None)
    return f"{reason} ({path})" if reason and path else reason or str(error)

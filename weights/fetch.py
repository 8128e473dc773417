"""Where a published GPT-2 comes from: the Hugging Face cache, or a checked download, or a copy.

`pinned.json` beside this file says where each is and what its files hash to. minimech itself comes
here only for a model that is nowhere on this machine; what ships was made by recipes/.
"""

import errno
import shutil
from pathlib import Path

from minimech import MinimechError, files
from minimech.files import read_json, root, why
from minimech.hooks import nearest_words
from weights.sums import check_sums, write_sums

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}


def pinned() -> dict[str, dict]:
    """Read which models can be fetched: name -> repository, revision, sha256 of each file."""
    return read_json(Path(__file__).parent / "pinned.json")["models"]


def published(name: str | Path) -> Path:
    """Return the folder of a published model, fetched if the Hugging Face cache does not have it.

    Raises: MinimechError for any other name, with the nearest known ones.
    """
    if name in pinned():
        return cached(name) or fetch(name)
    shipped = [path.parent.name for path in sorted(files.SHIPPED.glob("*/config.json"))]
    known = list(dict.fromkeys([*shipped, *pinned()]))
    unknown = f"there is no model or folder called {str(name)!r}. {nearest_words(name, known)}"
    every = f"Known are {', '.join(known)}, and any folder that holds a checkpoint."
    raise MinimechError(f"{unknown.strip()} {every}")


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
    sums, folder, partial = pinned()[name]["files"], root() / name, root() / f".{name}.part"
    if folder.is_dir():
        check_sums(folder, sums, whole=True)
        return folder
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for file in sums:
            if source is None:
                download(name, file, partial)
            else:
                shutil.copyfile(Path(source) / file, partial / file)
        check_sums(partial, sums, whole=True)
        write_sums(partial, sums)
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # the hub client's notes
        partial.rename(folder)
    except ConnectionError as error:
        if not any(partial.iterdir()):
            partial.rmdir()
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

"""How a store of activations is written: what it says of itself, and how a write goes on.

`store.json` comes first, then the text, then the rows, block by block. How far a run came is said
by the size of activations.bin alone: it goes on from the last whole block. When all are there,
`store.json` notes their sum (seal.py), and when the file was last written to.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lessons.techniques.sae import seal
from lessons.techniques.sae.shuffling import written
from minimech import MinimechError
from minimech.files import read_json, why
from minimech.tokens import PAD

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
BLOCK = 2**24  # bytes of rows, about, that are shuffled together: all that a kill can lose
PIECE = 2**21  # bytes that are put in order, looked at and written while they are near


class Header(NamedTuple):
    """What a store holds. `model` and `tokens` are sha256; `d` numbers of `dtype` are a row.

    `block`: how many documents were shuffled together. `bos`: whether first positions have rows.
    `sum`, `mtime_ns`: of activations.bin, once it is complete.
    """

    site: str
    model: str
    dtype: str
    d: int
    bos: bool
    tokens: str
    documents: int
    positions: int
    rows: int
    block: int
    complete: bool = False
    sum: str = ""
    mtime_ns: int = 0

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return self.d * DTYPES[self.dtype].itemsize

    @classmethod
    def read(cls, folder: Path) -> "Header":
        """Read store.json. Raises: MinimechError if it is not there, or describes no store."""
        path = folder / "store.json"
        if not path.is_file():
            raise MinimechError(f"{folder} holds no store of activations: no store.json is there")
        mend = f"delete {folder} and collect again"
        try:
            found = read_json(path)
        except MinimechError:
            raise MinimechError(f"{path} is damaged; {mend}") from None
        kinds = cls.__annotations__
        wrong = [key for key, kind in kinds.items() if type(found.get(key)) is not kind]
        wrong = wrong or sorted(set(found) - set(kinds))
        header = None if wrong else cls(**found)
        if wrong or header.dtype not in DTYPES or min(header.d, header.rows, header.block) < 1:
            what = f"{wrong[0]} is {found.get(wrong[0])!r}" if wrong else "its sizes make no sense"
            raise MinimechError(f"{path} describes no store: {what}; {mend}")
        return header

    def write(self, folder: Path) -> None:
        """Write store.json."""
        put(folder / "store.json", (json.dumps(self._asdict(), indent=1) + "\n").encode())


def lengths(tokens: Tensor, bos: bool) -> Tensor:  # [b p] -> [b]
    """How many rows each document has: none for padding, nor for the first position unless bos."""
    return ((tokens != PAD).sum(1) - (0 if bos else 1)).clamp(min=0)


def model_hash(model) -> str:
    """Return the sha256 of a model: its sizes, and every number in it."""
    sizes = {key: value for key, value in asdict(model.cfg).items() if key != "model_name"}
    digest = hashlib.sha256(repr(sizes).encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def activations(model, tokens: Tensor, site: str) -> Tensor:  # [b p] -> [b p d]
    """Run the model up to a site, and no further."""
    layer = int(site.split(".")[1]) if site.startswith("blocks.") else None
    if site.endswith("hook_resid_pre"):
        return model(tokens, stop_at_layer=layer)
    stop = layer + 1 if layer is not None else 0 if site.endswith("embed") else None
    _, cache = model.run_with_cache(tokens, site, return_type=None, stop_at_layer=stop)
    return cache[site].flatten(2)


def write(folder, tokens: Tensor, rows_of: Callable, batch: int = 32, **what) -> Path:
    """Write the rows of tokens [b p], rows_of(some of them) -> [b p d], where they are not yet.

    what: site, model, dtype, d, bos. A run that goes on begins where one block ends: the bytes are
    those of an unbroken run.
    Raises: MinimechError if the folder holds something else, or the disk fails; nothing is lost.
    """
    folder, text = Path(folder), tokens.to(torch.int32).cpu().numpy().tobytes()
    rows = lengths(tokens, what["bos"])
    mean = DTYPES[what["dtype"]].itemsize * what["d"] * int(rows.sum()) / len(rows)  # bytes
    header = Header(
        **what,
        tokens=hashlib.sha256(text).hexdigest(),
        documents=tokens.shape[0],
        positions=tokens.shape[1],
        rows=int(rows.sum()),
        block=batch * max(1, round(BLOCK / max(mean, 1) / batch)),
    )
    if not header.rows:
        raise MinimechError("these tokens have no rows: each document is one token, its BOS")
    try:
        header = prepare(folder, header, text)
        if not header.complete:
            path = folder / "activations.bin"
            with path.open("ab", buffering=0) as out:
                total = append(out, header, tokens, rows_of, batch)
            made = {"sum": total.told(), "mtime_ns": path.stat().st_mtime_ns}
            header._replace(complete=True, **made).write(folder)
    except OSError as error:
        raise MinimechError(
            f"the store in {folder} is not finished: {why(error)}. What was written is kept; once "
            "that is mended, the same call goes on from there"
        ) from None
    return folder


def prepare(folder: Path, header: Header, text: bytes) -> Header:
    """Make the folder ready to be written on, and return the header as it is to be."""
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if "store.json" in others:
        header = same(folder, Header.read(folder), header)
    elif others:
        raise MinimechError(f"{folder} holds {others[0]}, and no store: name a folder of its own")
    else:
        header.write(folder)
    at = folder / "tokens.bin"
    if not at.exists() or at.read_bytes() != text:
        put(at, text)
    needed, free = header.rows * header.width - size(folder), shutil.disk_usage(folder).free
    if needed > free:
        room = f"{needed / 1e9:.1f} GB are still to be written, and {free / 1e9:.1f} GB are free"
        raise MinimechError(f"{folder}: {room}; name a folder on another disk, or fewer tokens")
    return header


def same(folder: Path, there: Header, asked: Header) -> Header:
    """Return the header that is there. Raises: MinimechError if it is not what was asked for."""
    for key, got, expected in zip(Header._fields, there, asked):
        if got != expected and key not in ("block", "complete", "sum", "mtime_ns"):
            has = f"the store in {folder} has {key} {got!r}, and you asked for {expected!r}"
            raise MinimechError(f"{has}: name another folder, or delete that one")
    return there._replace(complete=there.complete and size(folder) == there.rows * there.width)


def append(out, header: Header, tokens: Tensor, rows_of: Callable, batch: int) -> seal.Sum:
    """Write the blocks that are not yet written; return the sum of all.

    One is brought to the disk while the next is made: neither waits for the other.
    """
    try:
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MinimechError(f"another process is writing {out.name}; wait for it") from None
    counts = [int(n.sum()) for n in lengths(tokens, header.bos).split(header.block)]
    whole = sum(int(end) * header.width <= out.tell() for end in np.cumsum(counts))
    out.seek(out.truncate(sum(counts[:whole]) * header.width))
    total = seal.of(Path(out.name), size(Path(out.name).parent))
    how = {"desc": header.site, "unit": " documents", "delay": 2, "disable": None, "leave": False}
    done = min(whole * header.block, len(tokens))
    with tqdm(total=len(tokens), initial=done, **how) as bar, ThreadPoolExecutor(1) as disk:
        brought, sure = disk.submit(os.fsync, out.fileno()), out.tell()
        for block in range(whole, len(counts)):
            some, x = tokens.split(header.block)[block], []
            for part in some.split(batch):
                x.append(rows_of(part).to("cpu", DTYPES[header.dtype]).flatten(0, 1))  # [b*p d]
                bar.update(len(part))
            order, start = kept(some, header.bos)[written(block, counts[block])], out.tell()
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # others would be in the way of the one that syncs
            try:
                write_rows(out, torch.cat(x) if len(x) > 1 else x[0], order, header, total)
            finally:
                torch.set_num_threads(threads)
            wait(brought, out, sure)
            brought, sure = disk.submit(os.fsync, out.fileno()), start
        wait(brought, out, sure)
    return total


def wait(brought: Future, out, sure: int) -> None:
    """Wait until what was written is on the disk; if it did not get there, keep what is sure to."""
    try:
        brought.result()
    except OSError:
        out.truncate(sure)
        raise


def kept(tokens: Tensor, bos: bool) -> Tensor:  # [b p] -> [r]
    """Say which of the b*p positions have rows."""
    has = tokens != PAD
    has[:, : 0 if bos else 1] = False
    return has.flatten().nonzero().flatten()


def write_rows(out, x: Tensor, order: Tensor, header: Header, total: seal.Sum) -> None:
    """Write rows of x [n d] in an order, a piece at a time, and look whether they are numbers."""
    piece = torch.empty(max(1, PIECE // header.width), header.d, dtype=x.dtype)
    for at in order.split(len(piece)):
        rows = piece[: len(at)]
        np.take(items(x), at.numpy(), out=items(rows), mode="clip")  # "clip": with no copy
        if not rows.sum(dtype=torch.float32).isfinite() and not rows.isfinite().all():
            raise MinimechError(f"{header.site} has values that are NaN, or no {header.dtype}")
        view = memoryview(rows.view(torch.uint8).numpy().reshape(-1))
        total.add(view)
        put_all(out, view)


def items(x: Tensor) -> np.ndarray:  # [n d] -> [n]
    """View rows as things of so many bytes: NumPy moves them faster than numbers."""
    row = np.dtype((np.void, x.shape[1] * x.element_size()))
    return x.contiguous().view(torch.uint8).numpy().view(row)[:, 0]


def put_all(out, view: memoryview) -> None:
    """Write all of it: a disk that fills takes a part, and says why at the next try."""
    while view:
        view = view[out.write(view) :]


def put(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all."""
    aside = path.with_name(f".{path.name}.part")
    with aside.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(path)


def size(folder: Path) -> int:
    """Bytes of activations that are there."""
    path = folder / "activations.bin"
    return path.stat().st_size if path.exists() else 0

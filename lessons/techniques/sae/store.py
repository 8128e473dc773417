"""Activations of one site, written to disk once, and read back shuffled without loading them whole.

    store = collect(model, tokens, "blocks.0.hook_resid_post", "out/store")    # tokens [b p]
    for x in itertools.islice(store.batches(4096, seed=0), 1000):              # x [4096 d]
        ...

A folder of three files: `activations.bin`, rows [n d] one after the other; `tokens.bin`, the text
that they are of; and `store.json`, which says what they are (writing.Header). Rows lie in a random
order (see shuffling.py): `places` says where each was in the text, `rows` where a document went.
"""

import hashlib
import itertools
import os
import weakref
from collections import deque
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from lessons.techniques.sae import seal, writing
from lessons.techniques.sae.shuffling import lend, run_length, runs, written
from lessons.techniques.sae.writing import DTYPES, Header, activations, lengths, model_hash
from minimech import MinimechError
from minimech.hooks import nearest_sites, site_shapes
from minimech.tokens import check_tokens

AHEAD = 4  # batches that the disk is asked for, before they are read


@torch.no_grad()
def collect(model, tokens: Tensor, site: str, folder, batch=32, dtype="float32", bos=False):
    """Write the activations of a site, for tokens [b p], and return them as a Store.

    Padding has no rows, nor has the first position unless `bos`. The model runs no further than the
    site, on `batch` documents at a time. What an earlier call left is gone on with, or just opened.
    Raises: MinimechError if the folder holds something else, or the disk fails; nothing is lost.
    """
    sites = site_shapes(model.cfg.n_layers)
    if site not in sites:
        raise MinimechError(f"no activation is called {site!r}. {nearest_sites(site, sites)}")
    if not sites[site].startswith("b p"):
        raise MinimechError(f"{site} is [{sites[site]}]: a store has a row for each token")
    if dtype not in DTYPES:
        raise MinimechError(f"dtype {dtype!r}: a dtype is {', '.join(DTYPES)}")
    if batch < 1:
        raise MinimechError(f"batch {batch}: the model reads at least one document at a time")
    tokens = check_tokens(tokens, model.cfg.d_vocab, model.cfg.n_ctx).cpu()
    d = activations(model, tokens[:1, :1], site).shape[-1]
    what = {"site": site, "model": model_hash(model), "dtype": dtype, "d": d, "bos": bool(bos)}
    rows = partial(activations, model, site=site)
    return Store(writing.write(folder, tokens, rows, batch, **what))


class Store:
    """n rows of width d on disk: `store[i:j]` reads some, `store.batches` all of them, shuffled."""

    def __init__(self, folder):
        self.folder = Path(folder)
        header = Header.read(self.folder)
        self.header, self.n, self.width = header._asdict(), header.rows, header.width  # in bytes
        self.site, self.model, self.d = header.site, header.model, header.d
        self.dtype, self.bos = header.dtype, header.bos
        self.path, size = self.folder / "activations.bin", writing.size(self.folder)
        if not header.complete or size != self.n * self.width:
            has = f"{size // self.width:,} of {self.n:,} rows are there"
            has += "; the call of `collect` that began it goes on from them"
            raise MinimechError(f"the store in {folder} is cut short, or not finished: {has}")
        self.file = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.file)
        self.stamp = self._stamp()
        if self.stamp[2] != header.mtime_ns and seal.of(self.path, size).told() != header.sum:
            raise self._spoilt("is not what `collect` wrote")

    def __len__(self) -> int:
        return self.n

    def __repr__(self) -> str:
        return f"Store({self.n:,} rows of {self.site}, {self.d} wide, {self.dtype})"

    @property
    def id(self) -> str:
        """Name what is in it: another model, site or text, another dtype or order gives another."""
        return hashlib.sha256(repr(self.header | {"mtime_ns": 0}).encode()).hexdigest()

    def check(self, model) -> None:
        """Raise MinimechError unless the activations are this model's."""
        got = model_hash(model)
        if got != self.model:
            has = f"the store in {self.folder} holds {self.site} of model {self.model[:12]}..."
            mend = "collect this one's in another folder"
            raise MinimechError(f"{has}, and this model is {got[:12]}...: {mend}")

    # ---- the text -------------------------------------------------------------------------------

    @cached_property
    def tokens(self) -> Tensor:  # [documents p]
        """The text, padded with PAD."""
        path, documents = self.folder / "tokens.bin", self.header["documents"]
        text = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(text).hexdigest() != self.header["tokens"]:
            raise MinimechError(f"{path} is missing, cut short or altered: collect again")
        return torch.frombuffer(bytearray(text), dtype=torch.int32).view(documents, -1).long()

    @cached_property
    def starts(self) -> Tensor:  # [documents + 1]
        """How many rows the documents before each have."""
        rows = lengths(self.tokens, self.bos).cumsum(0)
        return torch.cat([torch.zeros(1, dtype=torch.long), rows])

    @cached_property
    def blocks(self) -> Tensor:  # [blocks + 1]
        """How many rows the blocks before each have."""
        return torch.cat([self.starts[:-1][:: self.header["block"]], self.starts[-1:]])

    def places(self, rows) -> tuple[Tensor, Tensor]:  # [r] -> [r], [r]
        """Say which document, and which position of it, each of some rows is of."""
        rows = self._inside(rows)
        block, at = torch.searchsorted(self.blocks, rows, right=True) - 1, torch.empty_like(rows)
        for k in block.unique().tolist():
            start, stop = self.blocks[k : k + 2].tolist()
            at[block == k] = start + written(k, stop - start)[rows[block == k] - start]
        document = torch.searchsorted(self.starts, at, right=True) - 1
        return document, at - self.starts[document] + (0 if self.bos else 1)

    def rows(self, document: int) -> Tensor:  # -> [r]
        """Say which rows a document's positions are: `store[store.rows(7)]` is document 7."""
        if not 0 <= document < self.header["documents"]:
            raise MinimechError(f"document {document} of a store of {self.header['documents']:,}")
        k = document // self.header["block"]
        start, stop = self.blocks[k : k + 2].tolist()
        went = written(k, stop - start).argsort()
        return start + went[self.starts[document] - start : self.starts[document + 1] - start]

    # ---- the numbers ----------------------------------------------------------------------------

    def __getitem__(self, rows) -> Tensor:  # [...] -> [... d]
        """Read rows: a slice, or numbers of any shape."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.n)
            if step != 1:
                raise MinimechError(f"a slice of a store has step 1, not {step}; or give numbers")
            shape, where = (max(stop - start, 0),), [(start, stop - start)] * (stop > start)
        else:
            rows = self._inside(rows)
            shape, where = rows.shape, [(row, 1) for row in rows.flatten().tolist()]
        x = torch.empty(*shape, self.d)
        self._read(x, where)
        return x

    def _inside(self, rows) -> Tensor:
        """Return row numbers as a tensor, those from the end counted from the start."""
        rows = torch.as_tensor(rows)
        if rows.dtype == torch.bool or rows.is_floating_point():
            raise MinimechError(f"rows of a store are whole numbers, not {rows.dtype}")
        outside = rows[(rows < -self.n) | (rows >= self.n)]
        if len(outside.flatten()):
            raise MinimechError(f"row {int(outside.flatten()[0]):,} of a store of {self.n:,}")
        return rows.long() % self.n

    def mean(self) -> Tensor:  # [d]
        """The mean row."""
        return self._moments[0]

    def scale(self) -> float:
        """Root mean squared distance from the mean, over sqrt(d): 1 for a standard normal."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Tensor, float]:
        step = max(1, writing.BLOCK // (4 * self.d))
        near = self[:step].mean(0)  # squares of what is left cancel no digits
        total, squares = torch.zeros(self.d, dtype=torch.double), 0.0
        for start in range(0, self.n, step):
            x = self[start : start + step] - near
            total += x.sum(0, dtype=torch.double)
            squares += float(x.square().sum(dtype=torch.double))
        mean = total / self.n
        spread = squares / self.n - float(mean @ mean)
        if not spread < float("inf"):
            raise self._spoilt("holds NaN, or numbers whose squares are infinite")
        return (near + mean).float(), (max(0.0, spread) / self.d) ** 0.5

    def batches(self, batch: int, seed: int, start=0, rank=0, world=1) -> Iterator[Tensor]:
        """Give batches [batch/world d] without end, from step `start` on.

        The n rows of an epoch come each once, in an order that the seed decides, and then the next
        epoch's. Of each batch, process `rank` of `world` reads its own part. A batch is the
        caller's: it may be kept or changed.
        """
        if not 0 < batch <= self.n:
            raise MinimechError(f"batches of {batch:,} rows, from a store of {self.n:,}")
        if batch % world or not 0 <= rank < world or start < 0:
            part = f"batch {batch}, step {start}, part {rank} of {world}"
            raise MinimechError(f"{part}: no such part")
        return self._batches(batch, seed, start, rank, world)

    def _batches(self, batch, seed, step, rank, world) -> Iterator[Tensor]:
        part, pool = batch // world, []
        length = run_length(self.n, self.width, batch)

        def parts(step: int) -> list:
            first = step * batch + rank * part
            return list(runs(self.n, length, seed, first, first + part))

        steps, coming = map(parts, itertools.count(step)), deque()
        while True:
            while len(coming) <= AHEAD:
                coming.append(next(steps))
                self._read_ahead(coming[-1])
            x = lend(pool, (part, self.d))
            self._read(x, coming.popleft())
            yield x
            del x

    def _read_ahead(self, runs: list) -> None:
        """Ask for what is not in memory, to be brought while those before are worked on."""
        byte = bytearray(1)
        for row, count in runs if hasattr(os, "RWF_NOWAIT") else ():
            at, size = row * self.width, count * self.width
            try:
                os.preadv(self.file, [byte], at + size // 2, os.RWF_NOWAIT)
            except OSError:  # it would have to wait
                os.posix_fadvise(self.file, at, size, os.POSIX_FADV_WILLNEED)

    def _read(self, x: Tensor, runs) -> None:
        """Fill x [r d] with runs of rows: (first row, how many), ..."""
        dtype, width = DTYPES[self.dtype], self.width
        raw = x if dtype is torch.float32 else torch.empty(x.shape, dtype=dtype)
        view, at = memoryview(raw.view(torch.uint8).numpy().reshape(-1)), 0
        for row, count in runs:
            start, stop = at, at + count * width
            while at < stop:  # the system reads at most 2 GiB at a time
                got = os.preadv(self.file, [view[at:stop]], row * width + at - start)
                if not got:
                    raise MinimechError(f"{self.path} was cut short while it was read")
                at += got
        if raw is not x:
            x.copy_(raw)
        if self._stamp() != self.stamp:
            raise self._spoilt("was changed while it was read")

    def _spoilt(self, how: str) -> MinimechError:
        return MinimechError(f"{self.path} {how}: delete {self.folder} and collect again")

    def _stamp(self):
        try:
            now = os.stat(self.path)
        except OSError:
            return None
        return now.st_ino, now.st_size, now.st_mtime_ns

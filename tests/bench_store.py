"""The store of activations against the disk: writing, and shuffled reading, of random rows.

    python -m tests.bench_store --gib 2 [--train]

writes a store of that size and reads it through, and says how much memory that took at most.
"""

import argparse
import itertools
import json
import os
import re
import shutil
import statistics
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch

from lessons.techniques.sae.shuffling import memory
from lessons.techniques.sae.store import Store
from lessons.techniques.sae.writing import write

Row = tuple[str, float, float | None, str]
BATCH, POSITIONS = 4096, 128
FULL = 256  # MiB of a store that is judged
DISK = "wall clock, median"
WHAT = {"site": "random", "model": "", "bos": False}


@cache
def random_rows(d: int) -> torch.Tensor:  # -> [b p d]
    """Draw the activations of some documents."""
    return torch.randn(32, POSITIONS, d, generator=torch.Generator().manual_seed(0))


def random_store(folder, d: int, n: int, dtype: str = "float32") -> Store:
    """Write a store of about n rows: those of 32 documents, again and again."""
    x = random_rows(d)
    tokens = torch.zeros(-(-n // (POSITIONS - 1)), POSITIONS, dtype=torch.long)
    path = write(folder, tokens, lambda t: x[: len(t)], 32, d=d, dtype=dtype, **WHAT)
    return Store(path)


def buffer(d: int) -> memoryview:
    """Find memory for a batch, as the store does: how long a read takes depends on where it is."""
    return memoryview(memory((BATCH, d)).reshape(-1).view(np.uint8))


def read_in_order(path: Path, d: int) -> None:
    """Read a file from its beginning to its end, into two buffers in turns.

    A loop over batches needs two: it has one while the next is read. A single one stays in the
    processor's cache, which no training leaves to it.
    """
    with path.open("rb", buffering=0) as stream:
        for at in itertools.cycle((buffer(d), buffer(d))):
            if not stream.readinto(at):
                return


def copy(path: Path, to: Path, d: int) -> None:
    """Copy a file, and bring it to the disk as a store is."""
    at = buffer(d)
    with path.open("rb", buffering=0) as stream, to.open("wb", buffering=0) as out:
        while n := stream.readinto(at):
            out.write(at[:n])
        os.fsync(out.fileno())


def forget(path: Path) -> None:
    """Take a file out of the system's memory, so that the disk has to be read."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def stores(d: int, mib: int, clocked, rounds: int, clock) -> list[Row]:
    """Measure rows of what, ratio, bar, how. A small store is over before it is judged: no bars."""
    rows, n = [], mib * 2**20 // (4 * d)
    least = -0.8 if mib >= FULL else None
    how = f"{mib} MiB, {d} wide, {DISK}"
    with tempfile.TemporaryDirectory() as aside:
        aside = Path(aside)
        halves = random_store(aside / "half", d, n, "bfloat16")
        store = random_store(aside / "store", d, n)

        def rewrite():
            shutil.rmtree(aside / "new", ignore_errors=True)
            random_store(aside / "new", d, n)

        def recopy():
            (aside / "copy").unlink(missing_ok=True)
            copy(store.path, aside / "copy", d)

        def in_order():
            read_in_order(store.path, d)

        def shuffled(store=store):
            for _ in itertools.islice(store.batches(BATCH, seed=0), store.n // BATCH):
                pass

        t = typical({"copy": recopy, "write": rewrite}, rounds)
        rows.append(("a plain copy / the store written", t["copy"] / t["write"], least, how))
        cases = {"shuffled": shuffled, "in order": in_order, "halves": lambda: shuffled(halves)}
        t = clocked(cases, rounds, clock)
        rate = f"{mib / 1024 / t['shuffled']:.1f} GiB/s"
        ratio = t["in order"] / t["shuffled"]
        rows.append(("read in order / shuffled, in memory", ratio, least, rate))
        rows.append(("shuffled / shuffled from bfloat16", t["shuffled"] / t["halves"], None, rate))
        t = typical(
            {"in order": in_order, "shuffled": shuffled}, rounds, lambda: forget(store.path)
        )
        rate = f"{mib / 1024 / t['shuffled']:.1f} GiB/s, {DISK}"
        ratio = t["in order"] / t["shuffled"]
        rows.append(("read in order / shuffled, from the disk", ratio, least, rate))
    return rows


def typical(cases: dict, rounds: int, before=lambda: None) -> dict[str, float]:
    """Run every case in turns; return the median of its seconds, by the wall clock.

    The disk is waited for, and others use it too: its best moment tells of luck.
    """
    seconds = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            before()
            start = time.perf_counter()
            case()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


# ---- memory --------------------------------------------------------------------------------------


def peak() -> float:
    """Resident memory of this process at most, in MiB: pages of mapped files count as well."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def main() -> None:
    """Write a large store, read it through, train some steps, and say what memory that took."""
    parser = argparse.ArgumentParser(prog="tests.bench_store")
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--train", action="store_true", help="20 steps, 768 -> 4,096, batch 1,024")
    parser.add_argument("--folder", help="where to write it; default: a temporary one")
    args = parser.parse_args()
    found = {"imports": peak()}
    with tempfile.TemporaryDirectory(dir=args.folder) as aside:
        start = time.perf_counter()
        store = random_store(Path(aside) / "store", 768, int(args.gib * 2**30) // 3072)
        found |= {"written": peak(), "seconds to write": time.perf_counter() - start}
        size, start = store.path.stat().st_size, time.perf_counter()
        seen = sum(len(x) for x in itertools.islice(store.batches(BATCH, 0), store.n // BATCH + 1))
        found |= {"read": peak(), "seconds to read": time.perf_counter() - start}
        assert size >= args.gib * 2**30 and seen >= store.n
        if args.train:
            found |= train(store, Path(aside) / "sae")
    print(f"a store of {size / 2**30:.2f} GiB, {store.n:,} rows; resident memory at most, in MiB:")
    print(json.dumps({key: round(value, 1) for key, value in found.items()}, indent=1))


def train(store: Store, out: Path) -> dict:
    """Train a TopK autoencoder for some steps."""
    from lessons.techniques.sae.autoencoders import SAE, Config
    from lessons.techniques.sae.training import train

    sae = SAE(Config(store.d, 4096, "topk", k=32, site=store.site))
    start = time.perf_counter()
    train(sae, store, out, steps=20, batch=1024, lr=1e-3, seed=0)
    return {"trained": peak(), "seconds to train": time.perf_counter() - start}


if __name__ == "__main__":
    main()

"""In what order the rows of a store are written and read.

Neighbours in a text are alike, so a batch of neighbours teaches little; but neighbours on a disk
are what is read fastest. So rows are shuffled twice. While they are in memory to be written, those
of a block (some MiB, many documents) are put in a random order, which costs nothing there. What is
read is then long runs of rows, from all over the file. Nothing has to be held to mix it, and the
rows of any step are known without reading what came before.
"""

import math
import weakref
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

RUN = 2**20  # bytes that are read in one place: if fewer, finding them takes longer than they do
PLACES = 16  # that a batch comes from, at least
LINE = 64  # bytes of a line of the processor's cache
MOST = 2**22  # runs whose order is drawn: 32 MiB of numbers, whatever the size of the store


def written(block: int, n: int) -> Tensor:  # -> [n]
    """Draw the order in which the n rows of a block are written."""
    return torch.from_numpy(np.random.default_rng([block, n]).permutation(n))


@lru_cache(maxsize=2)
def drawn(seed: int, epoch: int, n: int) -> np.ndarray:  # -> [n]
    """Draw the order in which the n runs of an epoch are read."""
    return np.random.default_rng([seed, epoch]).permutation(n)


def run_length(n: int, width: int, batch: int) -> int:
    """Say how many rows are read in one place, of n rows of `width` bytes."""
    return max(1, min(RUN // width, batch // PLACES), -(-n // MOST))


def runs(n: int, length: int, seed: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Say where the rows `start` to `stop` of all epochs lie: (first row, how many), ...

    An epoch is n rows, each once: runs of `length` in a random order, and then what is left over.
    """
    while start < stop:
        epoch, row = divmod(start, n)
        k, inside = divmod(row, length)
        order = drawn(seed, epoch, n // length)
        k = int(order[k]) if k < len(order) else k
        count = min(length - inside, n - row, stop - start)
        yield k * length + inside, count
        start += count


def lend(pool: list, shape: tuple) -> Tensor:
    """Give a tensor whose memory nobody holds: that of an earlier one, if all of it was let go.

    The system takes as long to find new memory as we to fill it; a loop takes two in turns.
    """
    array = next((array for array, lent in pool if lent() is None), None)
    array = memory(shape) if array is None else array
    view = array[:]  # lives as long as any tensor in its memory
    pool[:] = [one for one in pool if one[0] is not array][-1:] + [(array, weakref.ref(view))]
    return torch.from_numpy(view)


def memory(shape: tuple) -> np.ndarray:
    """Find new memory that begins with a line of the processor's cache: filled a sixth faster."""
    size = 4 * math.prod(shape)
    raw = np.empty(size + LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size].view(np.float32).reshape(shape)

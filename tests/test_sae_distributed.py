"""Two processes with half of every batch each take the steps that one process takes.

This file is also what the two processes run: `python -m tests.test_sae_distributed FOLDER`.
"""

import os
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from lessons.techniques.sae import distributed
from lessons.techniques.sae.autoencoders import SAE, Config, smallest_kept
from lessons.techniques.sae.training import Plan, Training
from minimech import MinimechError

ONE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # thread
KINDS = {
    "relu": Config(6, 20, "relu", l1=0.1),
    "topk": Config(6, 20, "topk", k=3),
    "matryoshka": Config(6, 20, "matryoshka", k=3, groups=(4, 9, 20)),
    "sparse": Config(6, 256, "topk", k=3),  # large enough for the fast step
}
STEPS, BATCH = 8, 24


def batches(width: int):
    """Give batches whose two halves differ: the second is larger, and of fewer directions."""
    generator = torch.Generator().manual_seed(1)
    while True:
        x = torch.randn(BATCH, width, generator=generator)
        x[BATCH // 2 :] = 3 * x[BATCH // 2 :] * (torch.arange(width) < width // 2)
        yield x


def trained(name: str) -> tuple[dict, list[dict]]:
    """Train with this process's part of the batches; return all weights, and all rows."""
    torch.manual_seed(0)
    sae = SAE(KINDS[name])
    run = Training(sae, Plan(STEPS, lr=0.02, warm_up=1, dead_after=40, scale=2.0))
    me, part = distributed.rank(), BATCH // distributed.world()
    rows = []
    for x in islice(batches(KINDS[name].d_in), STEPS):
        rows.append(run.step(x[me * part : (me + 1) * part], look=True))
    table = torch.tensor([list(row.values()) for row in rows], dtype=torch.double)
    weights = {key: tensor.detach().contiguous() for key, tensor in sae.state_dict().items()}
    return {**weights, "rows": table, "silent": run.silent.double()}


RIGHT = distributed.average


def summed(*tensors):
    """Planted: the processes' gradients are added, not averaged."""
    for tensor in tensors:
        dist.all_reduce(tensor)


def own_cut(run, pre, k):
    """Planted: each process keeps the largest of its own part of the batch."""
    run.smallest = smallest_kept(pre.detach(), k)
    return run.smallest


PLANTED = {  # name -> kind, what is replaced, by what
    "summed": ("relu", distributed, "average", summed),
    "never averaged": ("topk", distributed, "average", lambda *tensors: None),
    "own dead": ("topk", distributed, "average", lambda value, *more: RIGHT(value, *more[-4:])),
    "own largest": ("matryoshka", Training, "cut", own_cut),
}


def be_one_of_two(folder: Path) -> None:
    """Train all kinds, right and with each planted mistake; then process 1 dies."""
    distributed.start("cpu")
    me = distributed.rank()
    for name in KINDS:
        save_file(trained(name), folder / f"{name}.{me}")
    for name, (kind, owner, function, wrong) in PLANTED.items():
        right = getattr(owner, function)
        setattr(owner, function, wrong)
        save_file(trained(kind), folder / f"{name}.{me}")
        setattr(owner, function, right)
    if me == 1:
        os._exit(1)
    try:
        trained("relu")
    except MinimechError as error:
        (folder / "lost").write_text(str(error))
    os._exit(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Run the two processes."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    settings = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "tests.test_sae_distributed", str(folder)]
    ranks = [
        subprocess.Popen(command, env=os.environ | settings | {"RANK": rank, **ONE})
        for rank in "01"
    ]
    try:
        assert [rank.wait(120) for rank in ranks] == [0, 1]
    finally:
        for rank in ranks:
            rank.kill()
    return folder


def distance(folder: Path, name: str, kind: str) -> float:
    """Compare both processes, after all steps, with one that had the whole batches."""
    torch.set_num_threads(1)
    right = trained(kind)
    both = [load_file(folder / f"{name}.{rank}") for rank in (0, 1)]
    largest = 0.0
    for got in both:
        assert got.keys() == right.keys()
        for key, tensor in right.items():
            scale = tensor.abs().amax().clamp_min(1e-6)
            largest = max(largest, ((got[key] - tensor).abs().amax() / scale).item())
    return largest


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_take_the_steps_of_one(folder, kind):
    d = distance(folder, kind, kind)
    print(kind, d)
    assert d < 1e-4


@pytest.mark.parametrize("name", PLANTED)
def test_planted_mistakes_are_seen(folder, name):
    assert distance(folder, name, PLANTED[name][0]) > 1e-2


def test_a_process_that_dies_ends_the_other(folder):
    assert (folder / "lost").read_text().startswith("process 0 lost another")


if __name__ == "__main__":
    be_one_of_two(Path(sys.argv[1]))

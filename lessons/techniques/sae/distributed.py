"""Several processes that train one autoencoder: each sees a part of every batch.

    torchrun --nproc_per_node 2 -m lessons.techniques.sae train ...

Every process holds all of the weights. What the loss takes a mean of, is averaged; what asks "was
it on at any token?" or "which are the largest?" asks them all. So the steps are those of one
process with the whole batch, up to the order in which floats are added. One process sends nothing.
"""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from minimech import MinimechError
from weights.devices import check_exists

PATIENCE = timedelta(minutes=5)  # with a process that does not answer


def asked_for() -> int:
    """How many processes torchrun was asked for; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def start(device: str) -> str:
    """Join the processes of torchrun, if it started this one; return the device that is its own."""
    check_exists(device)
    if asked_for() > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        check_exists(device)
        torch.cuda.set_device(device)
    return device


def stop() -> None:
    """Leave them."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Which process this is; 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average(*tensors: Tensor) -> None:
    """Put the mean over all processes in each tensor's place; all travel together."""
    if world() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    ask(dist.all_reduce, flat)
    flat /= world()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(mean.view(tensor.shape))


def gather(values: Tensor, most: int) -> Tensor:  # [n] -> [m]
    """Return the positive values of all processes, of each its `most` largest."""
    if world() == 1:
        return values
    mine = values.new_zeros(most)
    mine[: len(values)] = values if len(values) <= most else values.topk(most).values
    parts = [torch.empty_like(mine) for _ in range(world())]
    ask(dist.all_gather, parts, mine)
    every = torch.cat(parts)
    return every[every > 0]


def wait() -> None:
    """Go on when all processes are here."""
    if world() > 1:
        ask(dist.barrier)


def ask(what, *arguments) -> None:
    """Talk to the other processes. Raises: MinimechError if one is gone."""
    try:
        what(*arguments)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise MinimechError(f"process {rank()} lost another, which says why: {reason}") from None

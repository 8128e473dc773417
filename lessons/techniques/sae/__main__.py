"""The commands: `python -m lessons.techniques.sae collect | train | score | dashboard`."""

import argparse
import inspect
import os
import sys
from pathlib import Path

import torch

from lessons.techniques.sae import commands, distributed
from minimech import MinimechError
from minimech.files import why

ABOUT = """Sparse autoencoders: from a model's text to latents that can be read.

  python -m lessons.techniques.sae collect --site blocks.0.hook_resid_post --out out/store
  python -m lessons.techniques.sae train --store out/store --out out/sae --kind topk --k 8
  python -m lessons.techniques.sae score out/sae
  python -m lessons.techniques.sae dashboard out/sae 17"""

MEMORY = """memory, in bytes: 32 x width x d-sae (weights, gradients, moments), 40 x
batch x d-sae (features; a third of it for topk), and 0.5 GB. The store may have any size."""


def parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    raw = argparse.RawDescriptionHelpFormatter
    name = "python -m lessons.techniques.sae"
    top = argparse.ArgumentParser(name, description=ABOUT, formatter_class=raw)
    several = top.add_subparsers(required=True, metavar="COMMAND")
    for name, options in OPTIONS.items():
        about = inspect.getdoc(getattr(commands, name))
        new = several.add_parser(
            name, help=about.split("\n")[0], description=about, formatter_class=raw
        )
        new.set_defaults(function=getattr(commands, name))
        new.epilog = MEMORY if name == "train" else None
        for add_some in options:
            add_some(new.add_argument)
    return top


def text_options(add) -> None:
    """Which model, and which text it reads."""
    add("--model", default="world", help="name or folder (world)")
    add("--docs", type=count, default=300, help="documents of the small world's text (300)")
    add("--seed", type=int, default=1, help="of that text (1)")
    add("--text", type=Path, metavar="FILE", help="read this text file instead")
    add("--threads", type=count, default=1, help="(1: in steps so small, more only wait)")


def sae_options(add) -> None:
    """Which autoencoder."""
    add("sae", help="folder of the autoencoder, or a published set")
    add("--site", default="", help="which of its sites, if it has several")


def collect_options(add) -> None:
    """Which activations to write, and where."""
    add("--site", required=True, help="`python -m minimech sites` lists them")
    add("--out", type=Path, required=True, metavar="FOLDER", help="the store")
    add("--dtype", default="float32", help="float32, float16 or bfloat16 (float32)")
    add("--batch", type=count, default=32, help="documents in a run of the model (32)")
    add("--bos", action="store_true", help="with the first position, whose activations are huge")


def train_options(add) -> None:
    """What to train, on what, how long."""
    add("--store", type=Path, required=True, metavar="FOLDER", help="what `collect` wrote")
    add("--out", type=Path, required=True, metavar="FOLDER", help="a folder of its own")
    add("--kind", default="topk", help="relu, topk or matryoshka (topk)")
    add("--d-sae", type=count, default=1024, help="latents (1024)")
    add("--k", type=count, default=16, help="of topk and matryoshka: latents on per token (16)")
    l1 = "of relu: weight of the penalty, as if coordinates had standard deviation 1 (1)"
    add("--l1", type=positive, default=1.0, help=l1)
    groups = (
        "of matryoshka: beginnings that must do on their own, the last is all (d-sae / 16, 4, 1)"
    )
    add("--groups", type=count, nargs="+", metavar="N", default=[], help=groups)
    add("--steps", type=count, default=5000, help="(5000)")
    add("--batch", type=count, default=4096, help="rows in a step, over all processes (4096)")
    add("--lr", type=positive, default=1e-3, help="learning rate (0.001)")
    add("--seed", type=seed, default=0, help="of the first weights and the order of rows (0)")
    add("--dead-after", type=count, default=200_000, help="tokens without firing (200000)")
    add("--every", type=count, default=100, help="steps between rows of the curves (100)")
    add("--keep", type=count, default=500, help="steps between saved states (500)")
    add("--device", help="cpu, cuda or mps (cuda where there is one, else cpu)")
    precision = (
        "of the products: float32, bfloat16 or auto: bfloat16 where the hardware multiplies "
    )
    precision += "it and the matrices are large enough to gain (auto)"
    add("--precision", default="auto", help=precision)
    add("--threads", type=count, help="of each process (torch's choice; other numbers, other bits)")
    add("--fresh", action="store_true", help="start over, whatever --out holds")


def dashboard_options(add) -> None:
    """What of it."""
    add("latent", type=int, nargs="?", help="the number of one, to print")
    add("--page", type=Path, metavar="FILE", help="write a page of all latents, to browse")


def count(text: str) -> int:
    """Read a whole number from 1 on."""
    return whole(text, 1)


def seed(text: str) -> int:
    """Read a whole number from 0 on."""
    return whole(text, 0)


def whole(text: str, least: int, most: int = 2**31 - 1) -> int:
    """Read a whole number."""
    good = text.isascii() and text.isdigit() and len(text) < 20
    if not good or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
    return int(text)


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


OPTIONS = {
    "collect": (text_options, collect_options),
    "train": (train_options,),
    "score": (sae_options, text_options),
    "dashboard": (sae_options, text_options, dashboard_options),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its status."""
    args = parser().parse_args(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    return ended(args.function, args)


def ended(function, args, who="sae") -> int:
    """Run a function to its end; of what the user can mend say one sentence, with status 2."""
    try:
        function(args)
        print(end="", flush=True)
        return 0
    except KeyboardInterrupt:
        message, status = "interrupted; the same command goes on from what was saved", 130
    except BrokenPipeError:  # `... | head`: nobody reads on, which is no mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, MinimechError) as error:
        message, status = why(error), 2
    who += f", process {distributed.rank()}" * (distributed.world() > 1)
    print(f"{who}: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    status = main()
    if status and distributed.world() > 1:
        os._exit(status)  # no goodbye: the others may be gone
    distributed.stop()
    sys.exit(status)

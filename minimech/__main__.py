"""The commands: `python -m minimech verify | fetch | sites | memory`. `--help` loads no torch."""

import argparse
import os
import sys

from minimech import MinimechError
from minimech.files import beside, find, why

# Layers, heads, d_model: what `sites` and `memory` say of a published model needs no download.
SIZES = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024), "gpt2-large": (36, 20, 1280)}
SIZES |= {"gpt2-xl": (48, 25, 1600), "distilgpt2": (6, 12, 768)}


def parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    top = argparse.ArgumentParser(prog="python -m minimech")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    default = os.environ.get("MODEL") or "world"
    for function in (verify, fetch, sites, memory):
        new = commands.add_parser(function.__name__, help=function.__doc__)
        new.set_defaults(function=function)
        if function is not fetch:
            new.add_argument("--model", default=default, help=f"name or folder ({default})")
    command = commands.choices
    command["fetch"].add_argument("name", help=", ".join(SIZES))
    command["fetch"].add_argument("--from", dest="source", metavar="DIR", help="copy from there")
    command["sites"].add_argument("filter", nargs="?", help="a name, or a glob: 'blocks.0.*'")
    command["memory"].add_argument("--batch", type=int, default=1, help="prompts in a run (1)")
    command["memory"].add_argument("--length", type=int, default=16, help="tokens of each (16)")
    return top


def verify(args) -> int:
    """Hold a model against published numbers and independent references."""
    from minimech.verify import verify as compare

    rows = compare(args.model)
    failed = sum(not row.difference <= row.tolerance for row in rows)
    print(f"{args.model}: {len(rows)} rows, {failed} failed")
    return 1 if failed else 0


def fetch(args) -> int:
    """Put a published model into weights/, each file's sha256 checked."""
    folder = beside("weights.fetch").fetch(args.name, args.source)
    print(f"{args.name} is in {folder}")
    return 0


def sites(args) -> int:
    """List every activation of a model, with its shape in letters and in numbers."""
    from minimech.hooks import select, site_shapes

    cfg = config(args.model)
    shapes, size = site_shapes(cfg.n_layers), sizes(cfg)
    for name in select(args.filter, shapes):
        numbers = " ".join(str(size.get(letter, letter)) for letter in shapes[name].split())
        print(f"{name:34} [{shapes[name]}]".ljust(46) + f"[{numbers}]")
    return 0


def memory(args) -> int:
    """Say what a forward, a full cache and a patch sweep would cost."""
    beside("tests.cost").memory(config(args.model), args.batch, args.length)
    return 0


def sizes(cfg) -> dict[str, int]:
    """Say how many of each letter a model has."""
    return {"h": cfg.n_heads, "d": cfg.d_model, "e": cfg.d_head, "m": cfg.d_mlp, "v": cfg.d_vocab}


def config(name: str):
    """Return a model's ModelConfig; of a published one also where it is not on this machine."""
    from minimech.model import ModelConfig
    from minimech.weights import read_config

    if name in SIZES:
        return ModelConfig(*SIZES[name], n_ctx=1024, d_vocab=50257, model_name=name)
    return read_config(find(name), name)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; status 1 if a row of `verify` fails, 2 for what the user can mend."""
    args = parser().parse_args(arguments)
    try:
        status = args.function(args)
        print(end="", flush=True)
        return status
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    except BrokenPipeError:  # `... | head`: nobody reads on, which is no mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ModuleNotFoundError as error:
        message, status = f"{error}: run .venv/bin/python, which `make setup` makes", 2
    except (OSError, MinimechError) as error:
        message, status = why(error), 2
    print(f"minimech: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())

"""The commands: `python -m minimech verify | fetch | sites | memory`. `--help` loads no torch."""

import argparse
import os
import re
import sys
from math import prod

from minimech import MinimechError

# Layers, heads, d_model: what `sites` and `memory` say of a published model needs no download.
SIZES = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024), "gpt2-large": (36, 20, 1280)}
SIZES |= {"gpt2-xl": (48, 25, 1600), "distilgpt2": (6, 12, 768)}


def parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    top = argparse.ArgumentParser(prog="python -m minimech")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    default = os.environ.get("MODEL") or "world"
    for function in (verify, fetch, sites, memory):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.set_defaults(function=function)
        if function is fetch:
            command.add_argument("name", help=", ".join(SIZES))
            command.add_argument("--from", dest="source", metavar="DIR", help="copy from there")
        else:
            command.add_argument("--model", default=default, help=f"name or folder ({default})")
        if function is sites:
            command.add_argument("filter", nargs="?", help="a name, or a glob: 'blocks.0.*'")
        if function is memory:
            command.add_argument("--batch", type=int, default=1, help="prompts in a run (1)")
            command.add_argument("--length", type=int, default=16, help="tokens of each (16)")
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
    from minimech.fetch import fetch as get

    print(f"{args.name} is in {get(args.name, args.source)}")
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
    cfg, b, p = config(args.model), args.batch, args.length
    if min(b, p) < 1 or p > cfg.n_ctx:
        asked = f"a batch of {b} prompts of {p} tokens cannot be run"
        raise MinimechError(
            f"{asked}: it needs 1 of each, and {args.model} takes {cfg.n_ctx} tokens"
        )
    kept, patches = held(cfg, b, p), cfg.n_layers * p
    clean, mean_layers = patches * b * cfg.d_model, (cfg.n_layers + 1) / 2
    once, resumed = operations(cfg, b, p), operations(cfg, b, p, mean_layers, b)
    rows = [("weights", parameters(cfg), 0), ("forward", peak(cfg, b, p), once)]
    rows += [("run_with_cache, which keeps", sum(kept.values()), once)]
    rows += [(f"  {site}", numbers, 0) for site, numbers in kept.items()]
    rows += [
        (
            f"{patches} patches of the stream, a forward each",
            clean + peak(cfg, b, p),
            patches * once,
        )
    ]
    rows += [
        (
            "  resumed at the layer, one batch for each",
            clean + peak(cfg, b * p, p, b * p),
            patches * resumed,
        )
    ]
    print(f"{args.model}, {b} x {p} tokens, float32".ljust(48) + "       MiB      GFLOP")
    for what, numbers, flop in rows:
        print(f"{what:48}{numbers * 4 / 2**20:10.1f}" + f" {flop / 1e9:10.1f}" * (flop > 0))
    return 0


# ---- counting, in numbers of four bytes ---------------------------------------------------------


def sizes(cfg) -> dict[str, int]:
    """Say how many of each letter a model has."""
    return {"h": cfg.n_heads, "d": cfg.d_model, "e": cfg.d_head, "m": cfg.d_mlp, "v": cfg.d_vocab}


def parameters(cfg) -> int:
    """Count the weights of a model."""
    d, m = cfg.d_model, cfg.d_mlp
    blocks = cfg.n_layers * (4 * d * d + 2 * d * m + 9 * d + m)
    return blocks + (cfg.d_vocab * (1 if cfg.tied else 2) + cfg.n_ctx + 2) * d


def operations(cfg, b: int, p: int, n_layers: float = 0, unembedded: int = 0) -> float:
    """Count what the matrix products of a forward, or of its last layers, add and multiply."""
    block = cfg.d_model * (4 * cfg.d_model + 2 * cfg.d_mlp + 2 * p)  # per position
    blocks = (n_layers or cfg.n_layers) * b * p * block
    return 2 * (blocks + (unembedded or b * p) * cfg.d_model * cfg.d_vocab)


def held(cfg, b: int, p: int) -> dict[str, int]:
    """Count what a full cache holds, by kind of site. What is there twice is one memory."""
    from minimech.hooks import site_shapes

    size, kinds = sizes(cfg) | {"b": b, "p": p, "q": p, "k": p, "1": 1}, {}
    for name, shape in site_shapes(cfg.n_layers).items():
        kind = re.sub(r"blocks\.\d+", "blocks.*", name)
        twice = kind == "blocks.*.hook_resid_pre" and name[7] != "0"  # the layer below's resid_post
        numbers = prod(size[letter] for letter in shape.split())
        kinds[kind] = kinds.get(kind, 0) + (0 if twice else numbers)
    kinds["hook_pos_embed"] //= b  # one row for all prompts
    return kinds


def peak(cfg, b: int, p: int, unembedded: int = 0) -> int:
    """Count what is alive at once in a forward: inside an MLP, or when the logits are there."""
    in_mlp, logits = 4 * cfg.d_model + 2 * cfg.d_mlp, (unembedded or b * p) * cfg.d_vocab
    return max(b * p * in_mlp, b * p * 2 * cfg.d_model + logits)


def config(name: str):
    """Return a model's ModelConfig; of a published one also where it is not on this machine."""
    from minimech.fetch import find
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
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    except BrokenPipeError:  # `... | head`: nobody reads on, which is no mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        message, status = f"{error.strerror or error}{about}", 2
    except MinimechError as error:
        message, status = str(error), 2
    print(f"minimech: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())

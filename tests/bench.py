"""How fast is it? Ratios measured in one run, interleaved, each the least of several rounds.

    make bench, or python -m tests.bench [--quick] [--cpu] [--batch B] [--length P]

Random weights at GPT-2 small's shapes; --quick: a small model, for a look at the columns. Other
work on the machine disturbs wall clocks; --cpu takes the processor time of one thread instead.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from minimech import HookedTransformer, ModelConfig
from minimech.hooks import UNTAPPED, Tap, site_shapes
from minimech.model import Transformer
from tests.bench_paths import path_patching
from tests.bench_sae import training_steps
from tests.bench_store import stores
from tests.bench_sweeps import sweeps
from tests.checkpoints import GPT2_SMALL, TINY, write_checkpoint
from tests.cost import operations

ROOT = Path(__file__).resolve().parent.parent


def clocked(cases: dict, rounds: int, clock=time.perf_counter) -> dict[str, float]:
    """Run every case once to warm up, then in turns; return the least seconds of each."""
    for case in cases.values():
        case()
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):
        for name, case in cases.items():
            start = clock()
            case()
            best[name] = min(best[name], clock() - start)
    return best


class Bare:
    """The same maths with nothing around it: linear layers, layer norms, fused attention."""

    def __init__(self, model: HookedTransformer):
        self.model, self.blocks = model, []
        for b in model.blocks:
            qkv = b.attn.W_QKV.flatten(1).T.contiguous(), b.attn.b_QKV.flatten()
            out = b.attn.W_O.flatten(0, 1).T.contiguous(), b.attn.b_O
            up = b.mlp.W_in.T.contiguous(), b.mlp.b_in
            down = b.mlp.W_out.T.contiguous(), b.mlp.b_out
            self.blocks.append(((b.ln1.w, b.ln1.b), qkv, out, (b.ln2.w, b.ln2.b), up, down))

    def __call__(self, tokens):  # [b p] -> [b p v]
        model, cfg = self.model, self.model.cfg
        x = model.W_E[tokens] + model.W_pos[: tokens.shape[1]]
        for ln1, qkv, out, ln2, up, down in self.blocks:
            y = F.linear(F.layer_norm(x, (cfg.d_model,), *ln1, cfg.ln_eps), *qkv)
            q, k, v = y.view(*tokens.shape, 3, cfg.n_heads, cfg.d_head).permute(2, 0, 3, 1, 4)
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + F.linear(z.transpose(1, 2).flatten(2), *out)
            y = F.linear(F.layer_norm(x, (cfg.d_model,), *ln2, cfg.ln_eps), *up)
            x = x + F.linear(F.gelu(y, approximate="tanh"), *down)
        last = model.ln_final
        return F.linear(F.layer_norm(x, (cfg.d_model,), last.w, last.b, cfg.ln_eps), model.W_E)


class Explicit(Tap):
    """Computes the attention pattern in plain view, and keeps nothing."""

    def watches(self, *names):
        return names[-1].endswith("hook_pattern")


def products(model: HookedTransformer, n: int):
    """Return a function that does only the matrix products with weights, of n positions."""
    blocks = [(b.attn.W_QKV.flatten(1), b.attn.W_O.flatten(0, 1)) for b in model.blocks]
    blocks = [(*pair, b.mlp.W_in, b.mlp.W_out) for pair, b in zip(blocks, model.blocks)]
    inputs = {size: torch.randn(n, size) for size in (model.cfg.d_model, model.cfg.d_mlp)}

    def run():
        for W in [*(W for block in blocks for W in block), model.W_U]:
            inputs[W.shape[0]] @ W

    return run


def forwards(cfg: ModelConfig, b: int, p: int, rounds: int, clock) -> list[tuple]:
    """Measure runs of one model: rows of what, ratio, bar, how."""
    torch.manual_seed(0)
    model = HookedTransformer(cfg).requires_grad_(False).eval()
    tokens, middle = torch.randint(cfg.d_vocab, (b, p)), cfg.n_layers // 2
    half, bare, explicit = torch.randn(b, p, cfg.d_model), Bare(model), Explicit()
    t = clocked(
        {
            "products": products(model, b * p),
            "plain": lambda: model(tokens),
            "bare": lambda: bare(tokens),
            "explicit": lambda: Transformer.forward(model, tokens, explicit),
            "all": lambda: model.run_with_cache(tokens),
            "one": lambda: model.run_with_cache(tokens, f"blocks.{middle}.hook_resid_post"),
            "stop": lambda: model(tokens, stop_at_layer=middle),
            "resume": lambda: model.unembed(model.ln_final(model.run_blocks(half, middle))),
        },
        rounds,
        clock,
    )
    torch.testing.assert_close(bare(tokens), model(tokens), rtol=1e-3, atol=1e-4)
    rate = operations(cfg, b, p) / t["plain"] / 1e9
    how = f"{b} x {p} tokens"
    return [
        (
            "products with weights / forward",
            t["products"] / t["plain"],
            None,
            f"{rate:.0f} GFLOP/s",
        ),
        ("forward / the same maths bare", t["plain"] / t["bare"], 1.05, how),
        ("forward with pattern / fused", t["explicit"] / t["plain"], None, how),
        ("cache everything / forward with pattern", t["all"] / t["explicit"], 1.10, how),
        ("cache everything / forward", t["all"] / t["plain"], None, how),
        ("cache one site / forward", t["one"] / t["plain"], 1.02, how),
        (f"stop at layer {middle} / forward", t["stop"] / t["plain"], None, how),
        (f"resume from layer {middle} / forward", t["resume"] / t["plain"], None, how),
        (
            "unused taps / forward",
            taps(cfg) / t["plain"],
            0.01,
            f"{taps(cfg) * 1e6:.0f} us of calls",
        ),
    ]


def taps(cfg: ModelConfig) -> float:
    """Measure the seconds of a forward's unused taps: the calls, and the names made for them."""
    x, name, names = torch.zeros(1), "blocks.0", [0] * len(site_shapes(cfg.n_layers))
    looks = [0] * (3 * cfg.n_layers + 1)  # `watches`: layer norms and attention

    def calls():
        for _ in names:
            UNTAPPED(f"{name}.hook_z", x)
        for _ in looks:
            UNTAPPED.watches(f"{name}.hook_attn_scores", f"{name}.hook_pattern")

    return clocked({"calls": calls}, 50)["calls"]


def generation(cfg: ModelConfig, new: int, rounds: int, clock) -> list[tuple]:
    """Measure a greedy continuation with keys and values reused, and without."""
    torch.manual_seed(0)
    model = HookedTransformer(cfg).requires_grad_(False).eval()
    tokens = torch.randint(cfg.d_vocab, (1, 14))
    t = clocked(
        {
            reuse: lambda reuse=reuse: model.generate(tokens, new, use_past_kv_cache=reuse)
            for reuse in (True, False)
        },
        rounds,
        clock,
    )
    how = f"14 tokens and {new} new"
    return [("generate with reuse, times faster", t[False] / t[True], -3.0, how)]


LOAD = """
import json, os, re, sys, time
from pathlib import Path
import torch
from minimech.weights import load

def most_memory():  # of this process; ru_maxrss would be the parent's where that is greater
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

folder = Path(sys.argv[1])
file = folder / "model.safetensors"
if sys.argv[2] == "cold":
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
before = most_memory()
start = time.perf_counter()
if sys.argv[3] == "load":
    model = load(folder)
    seconds = time.perf_counter() - start
    model(torch.zeros(1, 2, dtype=torch.long))
else:
    buffer = bytearray(2**22)
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
    seconds = time.perf_counter() - start
print(json.dumps([seconds, most_memory() - before]))
"""


def child(*arguments: str) -> str:
    """Run Python in the repository's root and return what it prints."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=True
    ).stdout


def loading(config: dict, rounds: int) -> list[tuple]:
    """Measure loading a checkpoint against reading its file, and the memory that it takes."""
    rows = []
    with tempfile.TemporaryDirectory() as aside:
        size = (write_checkpoint(aside, config, 13) / "model.safetensors").stat().st_size
        for state in ("cold", "warm"):
            runs = {"load": [], "read": []}
            for _ in range(rounds):
                for what, results in runs.items():
                    results.append(json.loads(child("-c", LOAD, aside, state, what)))
            load, read = (min(run[0] for run in runs[what]) for what in ("load", "read"))
            how = f"{size / 1e6:.0f} MB in {load:.2f} s, {state} disk"
            rows.append((f"load / read the file once, {state}", load / read, 1.2, how))
        peak = max(run[1] for run in runs["load"])
        rows.append(
            (
                "peak memory of load and a forward / file",
                peak / size,
                1.2,
                "beside what imports take",
            )
        )
    return rows


def importing(rounds: int) -> list[tuple]:
    """Measure the processor time of importing minimech against torch alone."""
    statements = "import torch", "from minimech import HookedTransformer"

    def children() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    t = clocked({s: lambda s=s: child("-c", s) for s in statements}, rounds, children)
    how = f"{t[statements[1]]:.2f} s of processor time"
    return [("import minimech / import torch", t[statements[1]] / t[statements[0]], 1.10, how)]


@torch.no_grad()
def main(arguments: list[str] | None = None) -> list[dict]:
    """Measure, print and write out/bench.json. A negative bar is a least, others are a most."""
    parser = argparse.ArgumentParser(prog="tests.bench")
    for flag in ("--quick", "--cpu"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1 if args.cpu else torch.get_num_threads())
    clock = time.process_time if args.cpu else time.perf_counter
    cfg, config, rounds = ModelConfig(12, 12, 768, 1024, 50257), GPT2_SMALL, args.rounds
    if args.quick:
        cfg, config, rounds = ModelConfig(2, 4, 128, 256, 500), TINY, 1
    sizes = cfg, *((2, 12) if args.quick else (8, 16))  # of what is swept
    codes = (96, (256,), 64) if args.quick else (768, (4096, 24576), 4096)
    clocks = "processor time" if args.cpu else "wall clock"
    busy = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{cfg}\n{torch.get_num_threads()} threads, {clocks}, least of {rounds}{busy}\n")
    rows = []
    for part in (
        lambda: forwards(cfg, args.batch, args.length, rounds, clock),
        lambda: generation(cfg, 50, min(rounds, 3), clock),
        lambda: sweeps(*sizes, clocked, 1, clock, every=12),
        lambda: path_patching(*sizes, clocked, min(rounds, 2), clock),
        lambda: training_steps(*codes, clocked, min(rounds, 3), clock),
        lambda: stores(
            *((64, 16) if args.quick else (768, 512)), clocked, 1 if args.quick else 9, clock
        ),
        lambda: loading(config, min(rounds, 3)),
        lambda: importing(min(rounds, 5)),
    ):
        for what, ratio, bar, how in part():
            ok = bar is None or (ratio <= bar if bar > 0 else ratio >= -bar)
            limit = "" if bar is None else f"{'<=' if bar > 0 else '>='} {abs(bar):g}"
            print(f"{what:42} {ratio:7.3f} {limit:>8} {'ok' if ok else 'MISS':5} {how}", flush=True)
            rows.append({"what": what, "ratio": ratio, "bar": bar, "ok": ok, "how": how})
    out = Path(os.environ.get("OUT", ROOT / "out"))
    out.mkdir(exist_ok=True)
    (out / "bench.json").write_text(json.dumps(rows, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    main()

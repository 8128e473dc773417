"""Train the sparse autoencoders of lesson 09: of each kind several settings, on the same text.

    python weights/recipes/sae.py                  (all, about 15 minutes on one free core)
    python weights/recipes/sae.py topk-8 relu-1    some of them

3,000 documents of the world (lessons/techniques/truth.py, seed 7), the activations of one site, one
store for all. Rerun it after an interruption and it goes on where it stopped; --fresh starts over.
On a loss that is no number it stops, says at which step, and keeps the last good state. It writes,
to --out/<name>: cfg.json, sae_weights.safetensors, history.json (curves), SHA256SUMS; and the
scores of all, runs.json. A copy of them, without resume.pt, is what weights/sae holds.

`main` is a copy of the run whose latents stand for most of the true features (F1 above 0.8, latent
and threshold chosen on text 1, judged on text 2) of those that recover 90 % of the loss with at
most 16 latents on. Lesson 09 judges it on a third text.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from lessons.techniques.sae import metrics, scores
from lessons.techniques.sae.__main__ import count, ended
from lessons.techniques.sae.autoencoders import SAE, Config
from lessons.techniques.sae.files import load
from lessons.techniques.sae.store import collect
from lessons.techniques.sae.training import train
from lessons.techniques.truth import labelled
from minimech import HookedTransformer

SITE, DOCUMENTS, STEPS, BATCH, LR = "blocks.0.hook_resid_post", 3000, 2000, 512, 3e-3
GROUPS = (32, 64, 128, 256, 512)
RUNS = {f"topk-{k}": {"kind": "topk", "k": k} for k in (4, 8, 16, 32)}
NESTED = {"kind": "matryoshka", "groups": GROUPS}
RUNS |= {f"matryoshka-{k}": {**NESTED, "k": k} for k in (4, 8, 16, 32)}
RELU = {"kind": "relu", "k": 0}
RUNS |= {f"relu-{l1}": {**RELU, "l1": l1} for l1 in (0.5, 1, 2, 4)}  # l1 in units of scale
RUNS |= {
    "topk-8-1024": {"kind": "topk", "k": 8, "d_sae": 1024},
    "topk-8-seed1": {"kind": "topk", "k": 8, "seed": 1},
    "batchtopk-8": {"kind": "matryoshka", "k": 8},  # all of the dictionary is its one group
}
FILES = ("cfg.json", "sae_weights.safetensors", "history.json", "SHA256SUMS")
RECOVERED, MOST_ON = 0.9, 16


def run(name: str, store, args) -> None:
    """Train one autoencoder, from its last saved state if there is one."""
    setting = {"d_sae": 512, "seed": 0, **RUNS[name]}
    seed = setting.pop("seed")
    setting["l1"] = setting.get("l1", 0.0) * store.scale()
    torch.manual_seed(seed)
    sae = SAE(Config(store.d, site=store.site, **setting))
    train(sae, store, args.out / name, args.steps, BATCH, LR, seed, fresh=args.fresh)


@torch.no_grad()
def judge(model, sae, text, held) -> dict:
    """Measure what an autoencoder keeps, and what its latents stand for."""
    x = scores.activations(model, held.tokens, sae.cfg.site)
    row = {"kind": sae.cfg.kind, "d_sae": sae.cfg.d_sae, "k": sae.cfg.k, "l1": sae.cfg.l1}
    row |= metrics.summary(sae, x)
    for instead in ("zero", "mean"):
        recovered = metrics.loss_recovered(model, held.tokens[:100], sae, instead)
        row[f"recovered_{instead}"] = recovered
    rows = scores.score(model, sae, text, held)
    row |= {"found": sum(r.f1 > scores.ENOUGH for r in rows), "features": len(rows)}
    row["mean_f1"] = sum(r.f1 for r in rows) / len(rows)
    return {
        key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()
    }


def good(row: dict) -> bool:
    """Say whether a run keeps the loss with few latents on."""
    return row["recovered_mean"] >= RECOVERED and row["l0"] <= MOST_ON


def choose(runs: dict) -> str:
    """Return the run with most features found, of those that keep the loss with few latents."""
    keep = [name for name, row in runs.items() if good(row)]
    return max(keep or runs, key=lambda name: (runs[name]["found"], runs[name]["mean_f1"]))


def put_main(runs: dict, out: Path) -> str:
    """Copy the best run of all, and return its name; while some are missing, there is none."""
    if len(runs) < len(RUNS):
        print(f"{len(runs)} of {len(RUNS)} runs are there; main is chosen among all of them")
        return ""
    best = choose(runs)
    (out / "main").mkdir(exist_ok=True)
    for file in FILES:
        shutil.copyfile(out / best / file, out / "main" / file)
    if not good(runs[best]):
        bars = f"{RECOVERED:.0%} of the loss with at most {MOST_ON} latents on"
        print(f"no run keeps {bars}; main is the best of the others")
    print(f"main is {best}: {runs[best]['found']} of {runs[best]['features']} features")
    return best


def main() -> int:
    """Read the options, and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(RUNS)} (default: all)")
    add = parser.add_argument
    add("--steps", type=count, default=STEPS, help=f"of each training ({STEPS})")
    add("--documents", type=count, default=DOCUMENTS, help=f"to train on ({DOCUMENTS})")
    add("--threads", type=count, default=1, help="the shipped runs had one (1)")
    add("--out", type=Path, default=Path("out/sae"), help="folder of all runs (out/sae)")
    parser.add_argument("--fresh", action="store_true", help="do not go on from a saved step")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in RUNS]:
        parser.error(f"no run is called {unknown[0]!r}; there are {', '.join(RUNS)}")
    return ended(make, args, "weights/recipes/sae.py")


def make(args) -> None:
    """Collect, train, judge, choose."""
    torch.set_num_threads(args.threads)
    model = HookedTransformer.from_pretrained("world")
    tokens = labelled(model, args.documents, seed=7).tokens
    store = collect(model, tokens, SITE, args.out / "store")
    for name in args.names or RUNS:
        run(name, store, args)  # a finished one is only looked at
    done = [name for name in RUNS if (args.out / name / "cfg.json").exists()]
    text, held = labelled(model, 300, seed=1), labelled(model, 300, seed=2)
    runs = {name: judge(model, load(args.out / name), text, held) for name in done}
    for name, row in runs.items():
        print(name, json.dumps(row))
    best = put_main(runs, args.out)
    (args.out / "runs.json").write_text(json.dumps({"main": best, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

"""Train the grokking networks: addition modulo 113, with weight decay and without.

    python weights/recipes/grokking.py                     (two runs, about 25 minutes each)
    python weights/recipes/grokking.py --weight-decay 0    one of them

Rerun it after an interruption and it goes on where it stopped; --fresh starts over. On a loss that
is no number it stops, says at which step, and keeps the last good state. It writes, to --out/decay
and --out/no_decay: the final network with its training pairs (model.safetensors), its curves
(history.json), checksums; and, of the run with weight decay, the snapshots that the lesson looks
at, in float16. These files are what weights/grokking holds.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))

from lessons.techniques.modular import ModularAddition, scores, split, train
from weights import snapshots
from weights.sums import write_sums

P, SHARE, STEPS = 113, 0.3, 20_000
EVERY, KEEP = 50, 250  # steps between rows of the curves, and between snapshots
SNAPSHOTS = (0, 500, 1000, 2000, 3000, 4000, 4500, 5000, 5500, 6000, 6500, 7000, 8000)


def run(args, weight_decay, out):
    """Train one network, from its last saved state if there is one."""
    torch.manual_seed(args.seed)
    model, is_train = ModularAddition(P), split(P, SHARE, args.seed)
    saved, state, rows = out / "resume.pt", None, []
    (out / "all").mkdir(parents=True, exist_ok=True)
    if saved.exists() and not args.fresh:
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        rows = json.loads(state["rows"])
        print(f"going on after step {state['step']} of {saved}")
    first = state["step"] if state else 0
    bar = tqdm(total=args.steps, initial=first, mininterval=5, desc=f"weight decay {weight_decay}")
    for step, loss, adam in train(model, is_train, args.steps, weight_decay, state):
        if not math.isfinite(loss):
            sys.exit(f"the loss is {loss} at step {step}; {saved} keeps the last good state")
        bar.update(step > first)
        is_due = step % EVERY == 0 or (step < 500 and step % 10 == 0)
        if is_due and (not rows or rows[-1]["step"] < step):
            rows.append({"step": step} | scores(model, is_train))
            bar.set_postfix(train=f"{loss:.1e}", test=f"{rows[-1]['test_accuracy']:.1%}")
        if step % KEEP == 0:
            save_file(dict(model.state_dict()), out / "all" / f"{step:05d}.safetensors")
            kept = {"model": model.state_dict(), "adam": adam.state_dict(), "step": step}
            torch.save(kept | {"rows": json.dumps(rows)}, saved.with_suffix(".tmp"))
            saved.with_suffix(".tmp").replace(saved)
    bar.close()
    write(model, is_train, rows, out, weight_decay, args)
    print(json.dumps(rows[-1], indent=1))


def write(model, is_train, rows, out, weight_decay, args):
    """Write what the lesson reads: the network, the training pairs, the curves, the snapshots."""
    tensors = {name: weight.detach() for name, weight in model.named_parameters()}
    save_file(tensors | {"is_train": is_train}, out / "model.safetensors")
    config = {"p": P, "share": SHARE, "seed": args.seed, "weight_decay": weight_decay}
    curves = {name: [float(f"{row[name]:.4g}") for row in rows] for name in rows[0]}
    history = json.dumps({"config": config | {"steps": args.steps}, "curves": curves})
    (out / "history.json").write_text(history.replace("], ", "],\n") + "\n")
    files = ["model.safetensors", "history.json"]
    if weight_decay:
        snapshots.pack(out, [step for step in SNAPSHOTS if step <= args.steps])
        files.append(snapshots.FILE)
    write_sums(out, files)
    for file in files:
        (out / file).chmod(0o644)


def main():
    """Read the options, train the two networks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--weight-decay", type=float, help="train only this one (default: 1 and 0)")
    parser.add_argument("--threads", type=int, default=1, help="the shipped runs had one")
    parser.add_argument("--out", type=Path, default=Path("out/grokking"))
    parser.add_argument("--fresh", action="store_true", help="do not go on from a saved step")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    decays = [1.0, 0.0] if args.weight_decay is None else [args.weight_decay]
    for decay in decays:
        run(args, decay, args.out / ("decay" if decay else "no_decay"))


if __name__ == "__main__":
    main()

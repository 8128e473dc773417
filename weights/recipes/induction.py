"""Train the small networks of lesson 05: some learn to copy, some only look as if they did.

    python weights/recipes/induction.py                  (six runs, 8 minutes of processor)
    python weights/recipes/induction.py one_layer        one of them

Two layers on segments that come again anywhere, three seeds; one layer on the same; and, the trap,
one layer and two on texts whose second half always repeats the first. Rerun it after an
interruption and it goes on where it stopped; --fresh starts over. On a loss that is no number it
stops, says at which step, and keeps the last good state. It writes, to --out/RUN: the network
(model.safetensors), its curves (history.json), checksums; and, of seed1, the snapshots that the
lesson looks at, in float16. These files are what weights/induction holds.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))

from lessons.techniques.repeats import Copier, anywhere, fixed, loss_and_accuracy, train
from weights import snapshots
from weights.sums import write_sums

STEPS, TEXTS, UNSEEN = 2500, 512, 999_999_999  # the texts of the curves: their number, their seed
EVERY, KEEP = 25, 25  # steps between rows of the curves, and between saved states
SNAPSHOTS = (0, 500, 750, 850, 900, 925, 950, 975, 1000, 1025, 1050, 1100, 1250, 1500, 1750, 2000)
SNAPSHOTS += (2500,)
RUNS = {  # name -> layers, texts, seed
    "seed1": (2, anywhere, 1),
    "seed2": (2, anywhere, 2),
    "seed3": (2, anywhere, 3),
    "one_layer": (1, anywhere, 0),
    "fixed_one_layer": (1, fixed, 0),
    "fixed_two_layers": (2, fixed, 0),
}


def run(args, name: str) -> None:
    """Train one network, from its last saved state if there is one."""
    n_layers, data, seed = RUNS[name]
    torch.manual_seed(seed)
    model, out = Copier(n_layers), args.out / name
    saved, state, rows = out / "resume.pt", None, []
    (out / "all").mkdir(parents=True, exist_ok=True)
    if saved.exists() and not args.fresh:
        state, rows = resumed(saved, model, name)
        print(f"going on after step {state['step']} of {saved}")
    first = state["step"] if state else 0
    bar = tqdm(total=args.steps, initial=first, mininterval=5, desc=name)
    for step, loss, adam in train(model, data, args.steps, seed, state):
        if not math.isfinite(loss):
            sys.exit(f"the loss is {loss} at step {step}; {saved} keeps the last good state")
        bar.update(step > first)
        last = step == args.steps
        if (step % EVERY == 0 or last) and (not rows or rows[-1]["step"] < step):
            rows.append({"step": step} | measure(model, data))
            bar.set_postfix(loss=f"{loss:.2f}", right=f"{rows[-1]['accuracy']:.1%}")
        if step % KEEP == 0 or last:
            save_file(dict(model.state_dict()), out / "all" / f"{step:05d}.safetensors")
            kept = {"model": model.state_dict(), "adam": adam.state_dict(), "step": step}
            torch.save(kept | {"run": name, "rows": json.dumps(rows)}, saved.with_suffix(".tmp"))
            saved.with_suffix(".tmp").replace(saved)
    bar.close()
    write(out, rows, name)
    print(json.dumps(rows[-1]))


def resumed(saved: Path, model: Copier, name: str) -> tuple[dict, list]:
    """Fill the network from a saved state; return that state, and the curves so far."""
    try:
        state = torch.load(saved, weights_only=True)
        whose, rows = state["run"], json.loads(state["rows"])
        if whose == name:
            model.load_state_dict(state["model"])
    except Exception as error:  # a damaged file fails in many ways
        sys.exit(f"{saved} cannot be read ({type(error).__name__}); --fresh starts over")
    if whose != name:
        sys.exit(f"{saved} is of the run {whose}; --fresh starts over")
    return state, rows


@torch.no_grad()
def measure(model: Copier, data) -> dict:
    """Measure loss and accuracy where the next token can be told, on texts never trained on."""
    tokens, can_tell = data(TEXTS, UNSEEN)
    loss, accuracy = loss_and_accuracy(model(tokens), tokens, can_tell)
    return {"loss": loss.item(), "accuracy": accuracy.item()}


def write(out: Path, rows: list[dict], name: str) -> None:
    """Write what the lesson reads: the network, its curves, of one run the snapshots."""
    last = f"{rows[-1]['step']:05d}.safetensors"
    save_file(load_file(out / "all" / last), out / "model.safetensors")
    n_layers, data, seed = RUNS[name]
    config = {"n_layers": n_layers, "texts": data.__name__, "seed": seed}
    curves = {key: [float(f"{row[key]:.4g}") for row in rows] for key in rows[0]}
    history = json.dumps({"config": config | {"steps": rows[-1]["step"]}, "curves": curves})
    (out / "history.json").write_text(history.replace("], ", "],\n") + "\n")
    files = ["model.safetensors", "history.json"]
    if name == "seed1":
        snapshots.pack(out, [step for step in SNAPSHOTS if step <= rows[-1]["step"]])
        files.append(snapshots.FILE)
    write_sums(out, files)
    for file in files:
        (out / file).chmod(0o644)


def main():
    """Read the options, train the networks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    which = f"which to train, of {', '.join(RUNS)} (default: all)"
    parser.add_argument("runs", nargs="*", metavar="RUN", help=which)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of training (default: {STEPS})")
    parser.add_argument("--threads", type=int, default=1, help="the shipped runs had one")
    folder = "the folder that gets a folder for each run (default: out/induction)"
    parser.add_argument("--out", type=Path, default=Path("out/induction"), help=folder)
    parser.add_argument("--fresh", action="store_true", help="do not go on from a saved step")
    args = parser.parse_args()
    if unknown := set(args.runs) - set(RUNS):
        parser.error(f"there is no run called {min(unknown)}; there are {', '.join(RUNS)}")
    if args.steps < 0 or args.threads < 1:
        parser.error("--steps is 0 or more, and --threads 1 or more")
    if args.out.exists() and not args.out.is_dir():
        parser.error(f"--out is a folder, and {args.out} is a file")
    torch.set_num_threads(args.threads)
    try:
        for name in args.runs or RUNS:
            run(args, name)
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; the same command goes on from the last saved step")
    except OSError as error:
        sys.exit(f"{error.filename} cannot be written ({error.strerror})")


if __name__ == "__main__":
    main()

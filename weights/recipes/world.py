"""Train the world model: a GPT-2 of two layers, on the sentences of minimech/world.py.

    python weights/recipes/world.py                      (about a quarter of an hour)
    python weights/recipes/world.py --steps 500 --out out/trial

Rerun it after an interruption and it goes on where it stopped; --fresh starts over. On a loss that
is no number it stops, says at which step, and keeps the last good checkpoint. It writes the
checkpoint, its tokenizer, history.json (the progress curve) and card.json to --out.

What made it learn, found by trial (weights/README.md has the runs): matrices and embeddings drawn
wider than GPT-2's; positions that start as sines and cosines, so that "the token before" is one
rotation away; texts that grow from 32 to 128 tokens; two layers, so that the head that finds the
subject forms below the heads that copy names and acts on their queries; and answers that count
more in the loss, the indirect object most, without which the movers stay at 70 : 30.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from world_scores import ID, canonical, ids_of, summary

from minimech import HookedTransformer, ModelConfig
from minimech.tokens import Tokenizer
from minimech.weights import save_pretrained
from minimech.world import BOS, VOCABULARY, documents

CONFIG = {"n_layers": 2, "n_heads": 3, "d_model": 96, "d_mlp": 384, "n_ctx": 128}
STEPS, TOKENS = 5000, 3072  # tokens a step
EMBEDDING, MATRIX = 0.1, 0.08  # standard deviations at the start
GROWTH = ((0, 32), (0.035, 64), (0.07, 128))  # (from this share of the run, length of the texts)
CYCLES = ((0.0, 2e-3), (0.7, 1e-3))  # (from this share of the run, learning rate's peak)
WARM_UP, WEIGHT_DECAY = 100, 0.1
WEIGHTS = {"indirect_object": 10.0, "context_fact": 10.0, "induction": 3.0}  # others: 5
PLAIN_FROM = 0.42  # share of the run from which tokens that are not fully determined count 1
SHARPNESS, SHARP_FROM, SHARP_AT = 0.02, 0.21, 0.35  # weight of the attention's entropy; it grows


def world_tokenizer():
    """One token per word, split exactly as GPT-2 splits: a space belongs to the word after it."""
    backend = Backend(models.WordLevel({t.replace(" ", "Ġ"): i for t, i in ID.items()}))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([BOS])
    return Tokenizer(backend)


def new_model(seed):
    """Draw a model: embeddings N(0, 0.1), positions sines and cosines of that size."""
    torch.manual_seed(seed)
    cfg = ModelConfig(d_vocab=len(VOCABULARY), model_name="world", **CONFIG)
    model = HookedTransformer(cfg, world_tokenizer())
    waves = torch.exp(torch.linspace(0, -math.log(100), cfg.d_model // 2))  # [d/2]
    angles = torch.arange(cfg.n_ctx)[:, None] * waves  # [p d/2]
    with torch.no_grad():
        for name, weight in model.blocks.named_parameters():
            if "W_" in name:
                weight.mul_(MATRIX / 0.02)
        model.W_E.normal_(std=EMBEDDING)
        model.W_pos.copy_(EMBEDDING * math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], -1))
    return model


def batch_of(seed, step, steps):
    """The texts of one step: ids [b p], weight of each token in the loss [b p-1]."""
    length = [length for share, length in GROWTH if step / steps >= share][-1]
    texts = list(documents(f"train {seed} {step}", TOKENS // length, length))
    plain = step / steps >= PLAIN_FROM
    weights = [
        [
            weight_of(f, cost, plain) * s
            for f, cost, s in zip(t.features, t.nll, t.scored, strict=True)
        ]
        for t in texts
    ]
    return ids_of(texts), torch.tensor(weights)[:, 1:]


def weight_of(feature, cost, plain):
    """What a token counts in the loss.

    An answer that the context fully determines may count more to the end: no other word is
    possible there, so the distribution to be learned stays the same.
    """
    if "behaviour" not in feature or (plain and cost > 0):
        return 1.0
    return WEIGHTS.get(feature["behaviour"], 5.0)


def loss_of(model, ids, weights, sharpness):
    """Weighted cross-entropy; and the same plus the patterns' mean entropy times `sharpness`."""
    entropies = []

    def measure(pattern, hook):
        entropies.append(-(pattern * pattern.clamp_min(1e-9).log()).sum(-1).mean())

    hooks = [("blocks.*.attn.hook_pattern", measure)] if sharpness else []
    logits = model.run_with_hooks(ids, fwd_hooks=hooks)
    nll = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    loss = (nll * weights.flatten()).sum() / weights.sum()
    return loss, loss + sharpness * sum(entropies)


def rate(step, steps):
    """Learning rate: a warm-up, then cosines down to a twentieth, the second from a lower peak."""
    ends = [share for share, _ in CYCLES[1:]] + [1.0]
    for (start, peak), end in zip(CYCLES, ends, strict=True):
        if step < end * steps:
            passed = (step - start * steps) / ((end - start) * steps)
            cosine = 0.5 + 0.5 * math.cos(math.pi * passed)
            return peak * min(1, (step + 1) / WARM_UP) * (0.05 + 0.95 * cosine)


def sharpness_at(share):
    """Weight of the patterns' entropy in the loss after this share of the run."""
    return SHARPNESS * min(1.0, max(0.0, (share - SHARP_FROM) / (SHARP_AT - SHARP_FROM)))


def train(args):
    """Run all steps, from the last saved one if there is one."""
    torch.set_num_threads(args.threads)
    model, saved = new_model(args.seed), args.out / "resume.pt"
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    first, history = 0, []
    if saved.exists() and not args.fresh:
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, history = state["step"], json.loads(state["history"])
        print(f"going on after step {first} of {saved}")
    began = time.time() - (history[-1]["seconds"] if history else 0)
    bar = tqdm(range(first, args.steps), initial=first, total=args.steps, mininterval=5)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, args.steps)
        texts, weights = batch_of(args.seed, step, args.steps)
        loss, total = loss_of(model, texts, weights, sharpness_at(step / args.steps))
        if not math.isfinite(total.item()):
            sys.exit(f"the loss is {loss.item()} at step {step}; {saved} keeps the last good state")
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            row = progress(model, step + 1, loss.item(), time.time() - began, args)
            history.append(row)
            save(model, optimizer, step + 1, history, args, saved)
    return model, history


def progress(model, step, loss, seconds, args):
    """One row of the progress curve: the loss and every behaviour's score."""
    return {"step": step, "train_loss": loss, "seconds": seconds} | summary(model, args.texts, 20)


def save(model, optimizer, step, history, args, saved):
    """Write the checkpoint, the curve and what a rerun needs, each aside first and then renamed."""
    save_pretrained(model, args.out)
    (args.out / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state | {"history": json.dumps(history)}, saved.with_suffix(".tmp"))
    saved.with_suffix(".tmp").replace(saved)


def main():
    """Read the options, train, print the last scores."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--every", type=int, default=250, help="steps between saved checkpoints")
    parser.add_argument("--texts", type=int, default=60, help="documents in each score on the way")
    parser.add_argument("--threads", type=int, default=1, help="the shipped run had one")
    parser.add_argument("--out", type=Path, default=Path("out/world"))
    parser.add_argument("--fresh", action="store_true", help="do not go on from a saved step")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model, history = train(args)
    (args.out / "card.json").write_text(
        json.dumps({"canonical": canonical(model)}, indent=1) + "\n"
    )
    print(json.dumps(history[-1], indent=1))


if __name__ == "__main__":
    main()

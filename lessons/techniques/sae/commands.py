"""What `python -m lessons.techniques.sae` does. Its options are in __main__.py."""

import torch
from torch import Tensor

from lessons.techniques.sae import devices, distributed, files, metrics, store, training
from lessons.techniques.sae.autoencoders import SAE
from lessons.techniques.sae.config import Config
from lessons.techniques.truth import labelled
from minimech import HookedTransformer, MinimechError, world
from minimech.tokens import PAD


def collect(args) -> None:
    """Write one site's activations to disk, for `train` to read.

    Goes on where it was interrupted. Padding has no rows, nor has the first position (BOS).
    """
    model = HookedTransformer.from_pretrained(args.model)
    tokens = read(model, args) if args.text else written(model, args.docs, args.seed)
    made = store.collect(model, tokens, args.site, args.out, args.batch, args.dtype, args.bos)
    print(f"{args.out}: {made.n:,} rows of {made.site}, {made.d} wide, in {args.dtype}")


def train(args) -> None:
    """Train an autoencoder on a store of activations.

    The same command, started again, goes on from the last saved step and ends with the same bits.
    A run that is killed loses at most --keep steps; on a loss that is no number it stops, says at
    which step, and keeps what was saved. --out gets cfg.json and sae_weights.safetensors (what
    SAE.from_pretrained reads), history.json (the curves), SHA256SUMS, and resume.pt (the saved
    state, which the finished autoencoder does not need).

    Several processes, each with a part of every batch, take the steps that one would take:
      torchrun --nproc_per_node 2 -m lessons.techniques.sae train --store ... --out ...
    """
    if args.batch % distributed.asked_for():
        among = f"{distributed.asked_for()} processes"
        raise MinimechError(f"--batch {args.batch} does not divide among {among}")
    device = distributed.start(args.device or devices.best())
    data = store.Store(args.store)
    torch.manual_seed(args.seed)
    sae = SAE(config(args, data))
    precision = devices.precision(args.precision, device, sae.cfg)
    first = distributed.rank() == 0
    if first:
        print(f"{sae.cfg.kind}, {data.d} -> {args.d_sae:,}, on {data.n:,} rows of {data.site}")
        several = f", {distributed.world()} processes" * (distributed.world() > 1)
        print(f"{args.steps:,} steps of {args.batch:,} rows; {device}, {precision}{several}")
    rows = training.train(
        sae, data, args.out, args.steps, args.batch, args.lr, args.seed, args.every, args.keep,
        args.dead_after, device, precision, args.fresh,
    )  # fmt: skip
    if first:
        print(f"{args.out}: {training.said(rows[-1])}, in the last batch")


def score(args) -> None:
    """Measure an autoencoder: how sparse, how true, what the model loses with it in its place.

    And, on the small world's text, which of the true features have a latent: the latent and its
    threshold are chosen on one text (--seed), and judged on another (--seed + 1), as are the
    numbers above them. weights/sae/main was chosen on seed 2: --seed 2 judges it on seed 3.
    """
    from lessons.techniques.sae import scores

    model, sae = both(args)
    text = read(model, args, seed=args.seed + 1)
    tokens = text if args.text else text.tokens
    x = torch.cat([rows(model, sae, some) for some in tokens.split(32)])
    for name, value in metrics.summary(sae, x).items():
        print(f"{name.replace('_', ' '):36}{value:8.3f}")
    for instead in ("zero", "mean"):
        share = metrics.loss_recovered(model, tokens, sae, instead)
        print(f"{f'loss recovered, against {instead} ablation':36}{share:8.3f}")
    if args.text:
        return
    told = scores.score(model, sae, read(model, args), text)
    print(f"{f'true features with F1 above {scores.ENOUGH}':36}{scores.found(told):8.3f}\n")
    print("   F1  AUROC  latent  true feature")
    for row in sorted(told, key=lambda row: -row.f1):
        name = " = ".join(map(str, row.feature))
        print(f"{row.f1:5.2f}  {row.auroc:5.2f}  {row.latent:6}  {name}")


def dashboard(args) -> None:
    """Say what a latent is about, as text; or write a page of all of them, to browse and search."""
    from lessons.techniques.sae import dashboards

    if args.latent is None and not args.page:
        raise MinimechError("name a latent, or a file for the page of all of them: --page FILE")
    if args.page and not args.page.parent.parent.is_dir():  # a slip would make folders far away
        raise MinimechError(f"--page {args.page}: there is no folder {args.page.parent.parent}")
    model, sae = both(args)
    text = read(model, args)
    if args.page:
        print(dashboards.write_page(model, sae, text, args.page))
    if args.latent is not None:
        print(dashboards.dashboard(model, sae, text, args.latent))


def both(args) -> tuple[HookedTransformer, SAE]:
    """Load the model and the autoencoder."""
    return HookedTransformer.from_pretrained(args.model), files.load(args.sae, args.site)


def rows(model, sae, tokens: Tensor) -> Tensor:  # [b p] -> [n d]
    """Return the activations that the autoencoder is about."""
    kept = tokens != PAD
    kept[:, 0] &= sae.cfg.bos
    return store.activations(model, tokens, sae.cfg.site)[kept]


def config(args, data: store.Store) -> Config:
    """Make the autoencoder's config of the options and the store's site."""
    width, groups = args.d_sae, tuple(args.groups)
    if args.kind == "matryoshka" and not groups:
        groups = tuple(sorted({max(1, width // 16), max(1, width // 4), width}))
    k = 0 if args.kind == "relu" else args.k
    l1 = args.l1 * data.scale() if args.kind == "relu" else 0.0
    return Config(data.d, width, args.kind, k, l1, groups, data.site, data.model, data.bos)


def read(model, args, seed: int | None = None):  # -> [b p], or truth.Labelled
    """Return a file's text as tokens; or the small world's, with the truth about each."""
    if not args.text:
        return labelled(model, args.docs, args.seed if seed is None else seed)
    try:
        text = args.text.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise MinimechError(f"{args.text} is no text in UTF-8") from None
    if not text:
        raise MinimechError(f"{args.text} has no words")
    return cut(model, text)


def written(model, n: int, seed: int) -> Tensor:  # -> [b p]
    """Write the documents of truth.labelled without their truth, which takes 100 times the room."""
    pieces = {world.BOS: [model.tokenizer.bos]}
    tokens = torch.empty(n, 128, dtype=torch.long)
    for row, document in zip(tokens, world.documents(f"labelled {seed}", n, repeats=0.0)):
        for word in document.tokens:
            if word not in pieces:
                pieces[word] = model.to_tokens(word, prepend_bos=False)[0].tolist()
        ids = [token for word in document.tokens for token in pieces[word]]
        row.copy_(torch.tensor(ids[:128]))
    return tokens


def cut(model, text: str) -> Tensor:  # -> [b p]
    """Cut a text into documents as long as the model reads, each with BOS in front."""
    ids = torch.tensor(model.tokenizer.encode(text))
    length = model.cfg.n_ctx - 1
    short = torch.full((-len(ids) % length,), PAD)
    ids = torch.cat([ids, short]).view(-1, length)
    return torch.nn.functional.pad(ids, (1, 0), value=model.tokenizer.bos)

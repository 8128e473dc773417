"""An autoencoder for whatever model a lesson runs on: the one that ships, a published one, or ours.

    sae, where = ready(model)
    shelf = shipped(model)      all that ship for these very weights, and what is known of them

    the world model    weights/sae/main, which was made for these very weights
    GPT-2 small        gpt2-small-res-jb at blocks.8.hook_resid_pre (Bloom 2024), if it is cached;
                       BOS, which it was trained on, is left out as with all others (Config.bos)
    any other          a small one, trained on the spot: it shows the way, and no more

What is loaded is frozen: no gradients for its parameters.
"""

from dataclasses import replace

import torch
from torch import Tensor

from lessons.techniques.sae.autoencoders import SAE, Config
from lessons.techniques.sae.files import load
from lessons.techniques.sae.published import PUBLISHED
from lessons.techniques.sae.scores import activations
from lessons.techniques.sae.store import model_hash
from lessons.techniques.sae.training import fit
from lessons.techniques.truth import labelled
from minimech import MinimechError
from minimech.files import SHIPPED, read_json

SHIPS, GPT2, SITE = SHIPPED / "sae" / "main", "gpt2-small-res-jb", "blocks.8.hook_resid_pre"


def ready(model) -> tuple[SAE, str]:
    """Return an autoencoder that fits this model, and a line that says where it is from.

    MinimechError where the one that ships is missing: this is no whole copy of the repository.
    """
    if not (SHIPS / "cfg.json").is_file():
        raise MinimechError(
            f"{SHIPS} is not there, or has no cfg.json; it comes with this repository: "
            "git checkout weights/sae, or make it anew, python weights/recipes/sae.py"
        )
    sae = load(SHIPS).requires_grad_(False)
    if sae.cfg.model == model_hash(model):
        return sae, f"weights/sae/main: {told(sae)}"
    gpt2 = (model.cfg.d_model, model.cfg.n_layers) == (768, 12)
    if gpt2 and is_cached():
        sae = load(GPT2, SITE).requires_grad_(False)
        sae.cfg = replace(sae.cfg, bos=False)
        return sae, f"{GPT2} (Bloom 2024): {told(sae)}"
    sae = trained(model)
    if not gpt2:
        return sae, f"trained just now (none fits this model): {told(sae)}"
    how = f'SAE.from_pretrained("{GPT2}", "{SITE}")'
    return sae, f"trained just now: {told(sae)}\n(The published one is not here; {how} fetches it.)"


def shipped(model) -> dict[str, tuple[SAE, dict]]:
    """Return all that ship for these very weights, by name, and what their recipe measured of each.

    What was measured, by name, is in runs.json beside them: explained_variance, found, l0, ...
    Nothing ships for other weights than the world model's.
    """
    own, shelf, told = model_hash(model), {}, read_json(SHIPS.with_name("runs.json"))
    for folder in sorted(file.parent for file in SHIPS.parent.glob("*/cfg.json")):
        sae = load(folder).requires_grad_(False)
        if sae.cfg.model == own:
            name = told["main"] if folder == SHIPS else folder.name
            shelf[folder.name] = sae, told["runs"][name]
    return shelf


def told(sae: SAE) -> str:
    """Say what an autoencoder is, in a line."""
    cfg = sae.cfg
    return f"{cfg.kind}, {cfg.d_in} -> {cfg.d_sae:,}, at {cfg.site}"


def is_cached() -> bool:
    """Are the published autoencoder's files on this machine? Asks no network."""
    from huggingface_hub import try_to_load_from_cache

    repo, revision = PUBLISHED[GPT2]
    files = (f"{SITE}/cfg.json", f"{SITE}/sae_weights.safetensors")
    return all(
        isinstance(try_to_load_from_cache(repo, file, revision=revision), str) for file in files
    )


def trained(model, seed: int = 0, steps: int = 0) -> SAE:
    """Train a small TopK autoencoder on the middle of a model, in seconds.

    Text: the world's sentences, cut to what the model can read. steps, if not told: 600, or 60 for
    a model wider than 128.
    """
    small, width = model.cfg.d_model <= 128, model.cfg.d_model
    site = f"blocks.{(model.cfg.n_layers - 1) // 2}.hook_resid_post"
    tokens = labelled(model, 300 if small else 24, seed).tokens[:, : model.cfg.n_ctx]
    x = activations(model, tokens, site)  # [n d], BOS left out
    cfg = Config(width, 4 * width, "topk", 8, site=site, model=model_hash(model))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sae = SAE(cfg)
    sae.b_dec.data[:] = x.mean(0)
    scale = float((x - x.mean(0)).square().mean().sqrt())
    for _ in fit(sae, shuffled(x, 256, seed), steps or (600 if small else 60), scale=scale):
        pass
    return sae.requires_grad_(False).eval()


def shuffled(x: Tensor, batch: int, seed: int):  # [n d] -> [batch d], for ever
    """Draw batches of rows."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield x[torch.randint(len(x), (batch,), generator=draw)]

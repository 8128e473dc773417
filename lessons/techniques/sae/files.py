"""Autoencoders on disk, in the format of the published ones: cfg.json and sae_weights.safetensors.

    save(sae, "out/sae")
    sae = load("out/sae")
    sae = load("gpt2-small-res-jb", "blocks.8.hook_resid_pre")    # 768 -> 24,576; Bloom 2024

The format is SAELens's (Bloom, Chanin, Tigges et al.), the one that most published autoencoders of
language models are in, and what is saved here opens there. Tensors: W_enc [d f], b_enc [f],
W_dec [f d], b_dec [d], and, if features need more than 0 to be on, threshold [f].

Note: the published GPT-2 ones were trained on a model whose writing weights were centred (what is
added to the stream has mean 0 over d; TransformerLens's default). No layer norm sees that mean, but
an encoder does. So it is taken out of theirs when it is loaded: it then finds the same features in
the raw model as in `model.processed()`. What it gives back stays centred; explained variance is to
be measured against x - x.mean(-1), the loss is not moved.
"""

import json
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from lessons.techniques.sae.autoencoders import SAE
from lessons.techniques.sae.config import Config
from lessons.techniques.sae.published import CONFIG, WEIGHTS, find, flat
from minimech import MinimechError
from minimech.files import read_json, why
from minimech.weights import open_file
from weights.sums import check_sums, write_sums

RENAMED = {  # keys of older files -> today's
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
ARCHITECTURES = {  # and the values of activation_fn that each may have; the first, if none is given
    "standard": ("relu", "topk"),
    "topk": ("topk",),
    "jumprelu": ("relu",),
}
SWITCHES = {  # what changes the maths, and the values that it may have here
    "normalize_activations": ("none", None, False),
    "hook_head_index": (None,),
    "reshape_activations": ("none", None),
    "rescale_acts_by_decoder_norm": (False, None),
    "hook_name_out": (None,),
}


# ---- saving -------------------------------------------------------------------------------------


def save(sae: SAE, folder) -> Path:
    """Write an autoencoder that `load`, and SAELens, read back. Whole or not at all.

    Raises: MinimechError if a number is not finite, or the disk is full or read-only.
    """
    folder = Path(folder)
    tensors = {name: t.detach().cpu().contiguous() for name, t in sae.state_dict().items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise MinimechError(f"not saved: {name} has values that are NaN or infinite")
    threshold = tensors.pop("threshold")
    if threshold.any():
        tensors["threshold"] = threshold.expand(sae.cfg.d_sae).contiguous()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as aside:
            partial = Path(aside)
            save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
            (partial / WEIGHTS).chmod(0o644)
            (partial / CONFIG).write_text(json.dumps(describe(sae), indent=1) + "\n")
            write_sums(partial, [CONFIG, WEIGHTS])
            for file in ("SHA256SUMS", CONFIG, WEIGHTS):
                (partial / file).replace(folder / file)
    except (OSError, SafetensorError) as error:
        raise MinimechError(f"the autoencoder was not saved in {folder}: {why(error)}") from None
    return folder


def describe(sae: SAE) -> dict:
    """Say in SAELens's keys what an autoencoder is; under "minimech", in ours."""
    cfg, topk = sae.cfg, sae.cfg.kind == "topk"
    architecture = "topk" if topk else "jumprelu" if sae.threshold.any() else "standard"
    return {
        "architecture": architecture,
        "d_in": cfg.d_in,
        "d_sae": cfg.d_sae,
        "dtype": "float32",
        "hook_name": cfg.site,
        "hook_head_index": None,
        "activation_fn": "topk" if topk else "relu",
        "activation_fn_kwargs": {"k": cfg.k} if topk else {},
        "apply_b_dec_to_input": True,
        "finetuning_scaling_factor": False,
        "normalize_activations": "none",
        "prepend_bos": True,
        "minimech": asdict(cfg),
    }


# ---- loading ------------------------------------------------------------------------------------


def load(folder_or_repo, site: str = "") -> SAE:
    """Load an autoencoder from a folder, or from a repository of the Hugging Face hub.

    site: the subfolder, named as the activation, where there are several. A repository is "owner/
    name", or one of PUBLISHED; its two files are fetched once into the hub's cache.
    Raises: MinimechError naming the file, key or tensor, what it is, and what it should be.
    """
    folder = find(folder_or_repo, site)
    check_sums(folder)
    path = folder / CONFIG
    file = {RENAMED.get(key, key): value for key, value in flat(read_json(path)).items()}
    cfg = read_config(file, path)
    tensors = open_file(folder / WEIGHTS)
    d, f = cfg.d_in, cfg.d_sae
    shapes = {"W_enc": [d, f], "b_enc": [f], "W_dec": [f, d], "b_dec": [d]}
    shapes |= {"threshold": [f]} if file.get("architecture") == "jumprelu" else {}
    scale = tensors.pop("scaling_factor", tensors.pop("finetuning_scaling_factor", torch.ones(1)))
    if not (scale == 1).all():
        raise MinimechError(f"{folder / WEIGHTS}: its scaling_factor is not 1; not had here")
    found = {
        name: checked(tensors.pop(name, None), f"{folder / WEIGHTS}: {name}", shape)
        for name, shape in shapes.items()
    }
    if tensors:
        has = f"{', '.join(shapes)}, and not {', '.join(sorted(tensors))}"
        raise MinimechError(f"{folder / WEIGHTS}: an autoencoder of this architecture has {has}")
    sae = SAE(cfg)  # now that its sizes are known to be those of the file
    for name, tensor in found.items():
        put(sae, name, tensor)
    adapt(sae, file)
    return sae.eval()


def read_config(file: dict, path: Path) -> Config:
    """Turn cfg.json into a Config. Raises: MinimechError for what is missing or not had here."""
    kind = file.setdefault("architecture", "standard")
    if kind not in tuple(ARCHITECTURES):
        raise MinimechError(f"{path}: architecture {kind!r}; here are {', '.join(ARCHITECTURES)}")
    for key, allowed in SWITCHES.items():
        if file.get(key, allowed[0]) not in allowed:
            raise MinimechError(f"{path}: {key} is {file[key]!r}; only {allowed[0]!r} runs here")
    activations = ARCHITECTURES[kind]
    activation = file.get("activation_fn", activations[0])
    if activation not in activations:
        of = f"{path}: activation_fn is {activation!r}; with architecture {kind!r}"
        raise MinimechError(f"{of} only {' or '.join(map(repr, activations))} runs here")
    for key in ("activation_fn_kwargs", "model_from_pretrained_kwargs", "minimech"):
        if not isinstance(file.get(key) or {}, dict):
            raise MinimechError(f"{path}: {key} is {file[key]!r}; expected an object")
    ours = file.get("minimech") or {
        "kind": "topk" if activation == "topk" else "relu",
        "k": file.get("k", (file.get("activation_fn_kwargs") or {}).get("k", 0)),
        "site": file.get("hook_name", ""),
        "bos": not file.get("exclude_special_tokens", False),
    }
    ours = {"d_in": file.get("d_in"), "d_sae": file.get("d_sae"), **ours}
    unknown = sorted(set(ours) - {field.name for field in fields(Config)})
    if unknown:
        raise MinimechError(f"{path}: minimech has no setting {unknown[0]!r}")
    try:
        return Config(**ours)
    except MinimechError as error:
        raise MinimechError(f"{path}: {error}") from None


def checked(tensor: Tensor | None, name: str, shape: list[int]) -> Tensor:
    """Return a tensor of a file in float32, or say what is wrong with it."""
    if tensor is None:
        raise MinimechError(f"{name} is missing; expected {shape}")
    if list(tensor.shape) != shape:
        raise MinimechError(f"{name} has shape {list(tensor.shape)}; cfg.json makes it {shape}")
    if not tensor.is_floating_point():
        raise MinimechError(f"{name} holds {tensor.dtype}; expected floats")
    bad = int((~tensor.isfinite()).sum())
    if bad:
        raise MinimechError(f"{name}: {bad} of {tensor.numel():,} values are NaN or infinite")
    return tensor.float().clone()  # no view of the file


def put(sae: SAE, name: str, tensor: Tensor) -> None:
    """Give the autoencoder a tensor; one threshold for all is kept as one number."""
    if name == "threshold":
        sae.threshold = tensor[0] if (tensor == tensor[0]).all() else tensor
    else:
        getattr(sae, name).data = tensor


@torch.no_grad()
def adapt(sae: SAE, file: dict) -> None:
    """Make (x - b_dec) W_enc + b_enc of what the file's own equation says."""
    if not file.get("apply_b_dec_to_input", True):  # x W_enc + b_enc
        sae.b_enc += sae.b_dec @ sae.W_enc
    how = file.get("model_from_pretrained_kwargs")
    old = how is None and "hook_point_layer" in file  # from before there was a choice
    if old or (how or {}).get("center_writing_weights"):  # (x - mean(x) - b_dec) W_enc + b_enc
        sae.b_enc -= sae.b_dec.mean() * sae.W_enc.sum(0)
        sae.W_enc -= sae.W_enc.mean(0)

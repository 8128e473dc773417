"""Checkpoints in GPT-2's own file format: what is in them, loaded and checked.

A model is a folder: config.json, model.safetensors (or shards and an index), a tokenizer, perhaps
SHA256SUMS (see files.py). Nothing is unpickled. `load` maps the file into memory and takes views of
it: there is one copy, pages are read when touched, and an edited weight stays in this process. Each
tensor is used once; what is missing, extra, misshapen, no float or not finite is refused. That a
finite number was changed into another shows only by SHA256SUMS, which all that ships has.
"""

import re
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from minimech import MinimechError
from minimech.files import beside, find, read_json, why
from minimech.hooked import HookedTransformer
from minimech.model import ModelConfig
from minimech.tokens import Tokenizer

# Every tensor: its name in the file -> its name here. Matrices are [in out] in both.
BLOCK = {
    "ln_1.weight": "ln1.w", "attn.c_attn.weight": "attn.W_QKV", "attn.c_proj.weight": "attn.W_O",
    "ln_1.bias": "ln1.b", "attn.c_attn.bias": "attn.b_QKV", "attn.c_proj.bias": "attn.b_O",
    "ln_2.weight": "ln2.w", "mlp.c_fc.weight": "mlp.W_in", "mlp.c_proj.weight": "mlp.W_out",
    "ln_2.bias": "ln2.b", "mlp.c_fc.bias": "mlp.b_in", "mlp.c_proj.bias": "mlp.b_out",
}  # fmt: skip
OUTSIDE = {"wte.weight": "W_E", "wpe.weight": "W_pos"}
OUTSIDE |= {"ln_f.weight": "ln_final.w", "ln_f.bias": "ln_final.b"}

# GPT-2's switches and how they stand here (the two activations are one function).
SWITCHES = {
    "model_type": ["gpt2"],
    "activation_function": ["gelu_new", "gelu_pytorch_tanh"],
    "scale_attn_weights": [True],
    "scale_attn_by_inverse_layer_idx": [False],
    "reorder_and_upcast_attn": [False],
    "add_cross_attention": [False],
}
# Its sizes: the name here, the type, the least and the most that a file may say.
SIZES = {
    "n_embd": ("d_model", int, 1, 10**6),
    "n_layer": ("n_layers", int, 1, 1000),
    "n_head": ("n_heads", int, 1, 10**6),
    "n_positions": ("n_ctx", int, 1, 10**7),
    "vocab_size": ("d_vocab", int, 1, 10**7),
    "n_inner": ("d_mlp", int, 1, 10**7),
    "layer_norm_epsilon": ("ln_eps", float, 1e-12, 1.0),
    "tie_word_embeddings": ("tied", bool, False, True),
}
FOREIGN = {  # how files begin that are often met in a checkpoint's place
    b"version https://git-lfs": "a git-lfs pointer and not what it points to; run `git lfs pull`",
    b"<": "a web page; the download went wrong",
    b"PK": "a pickled checkpoint; convert it to safetensors",
    b"\x80": "a pickled checkpoint; convert it to safetensors",
    b"\x89HDF": "a Keras checkpoint; convert it to safetensors",
    b"GGUF": "a GGUF checkpoint; convert it to safetensors",
}


# ---- loading ------------------------------------------------------------------------------------


def from_pretrained(name: str | Path = "world", device: str = "cpu") -> HookedTransformer:
    """Load a model, frozen, by name ("world", "gpt2", ...) or folder; a GPT-2 is fetched once.

    Raises: MinimechError for an unknown name or device, or a checkpoint absent or not in order.
    """
    return load(find(name), device, Path(name).name)


def load(folder: str | Path, device: str = "cpu", name: str | None = None) -> HookedTransformer:
    """Load a checkpoint, frozen, in float32, without copying it (half precision is converted).

    Raises: MinimechError naming the file, setting or tensor, what it is and what it should be.
    """
    folder = Path(folder)
    cfg = read_config(folder, name or folder.name)
    beside("weights.sums").check_sums(folder)
    tokenizer = Tokenizer.from_folder(folder)
    size = tokenizer.backend.get_vocab_size() if tokenizer else 0
    if size > cfg.d_vocab:
        raise MinimechError(f"{folder}: a tokenizer of {size} tokens, a model of {cfg.d_vocab}")
    model = unfilled(cfg, tokenizer)
    tensors = open_tensors(folder)
    for theirs, ours in layout(cfg).items():
        weight = model.get_parameter(ours)
        tensor = checked(tensors.pop(theirs, None), f"{folder}: {theirs}", flat(ours, weight).shape)
        put(model, ours, tensor.view(weight.shape))
    model.lm_head = model.W_E if cfg.tied else model.lm_head
    model.b_U = torch.zeros(cfg.d_vocab)
    check_leftovers(tensors, model, folder)
    on_cpu = model.eval()
    return on_cpu if device == "cpu" else beside("weights.devices").check_device(on_cpu, device)


def layout(cfg: ModelConfig) -> dict[str, str]:
    """Name every tensor of a checkpoint: its name in the file -> its name here."""
    names = OUTSIDE if cfg.tied else OUTSIDE | {"lm_head.weight": "lm_head"}
    for layer in range(cfg.n_layers):
        names = names | {f"h.{layer}.{a}": f"blocks.{layer}.{b}" for a, b in BLOCK.items()}
    return names


def flat(ours: str, weight: Tensor) -> Tensor:
    """View a weight as the file has it: W_QKV [d 3*h*e], b_QKV [3*h*e], W_O [h*e d]."""
    axes = {"W_QKV": (1, 3), "b_QKV": (0, 2), "W_O": (0, 1)}.get(ours.rpartition(".")[2])
    return weight.flatten(*axes) if axes else weight


def unfilled(cfg: ModelConfig, tokenizer: Tokenizer | None = None) -> HookedTransformer:
    """Build a model of shapes without memory, for `put` to fill."""
    with torch.device("meta"):
        return HookedTransformer(cfg, tokenizer)


def put(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Make a tensor a frozen parameter of a model, under its dotted name."""
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, nn.Parameter(tensor, requires_grad=False))


def read_config(folder: Path, name: str) -> ModelConfig:
    """Read config.json. Raises: MinimechError for what is missing, mistyped or not had here."""
    path = folder / "config.json"
    config = read_json(path)
    for key, allowed in SWITCHES.items():
        if config.get(key, allowed[0]) not in allowed:
            raise MinimechError(f"{path}: {key} is {config[key]!r}; only {allowed[0]!r} runs here")
    config.setdefault("n_positions", config.get("n_ctx"))  # its name in files of 2019
    sizes = {}
    for key, (ours, kind, least, most) in SIZES.items():
        value = config.get(key)
        if value is None and hasattr(ModelConfig, ours):
            continue  # its default is GPT-2's
        if type(value) is not kind or not least <= value <= most:
            got, limits = "missing" if value is None else repr(value), f"from {least} to {most}"
            raise MinimechError(f"{path}: {key} is {got}; expected {kind.__name__} {limits}")
        sizes[ours] = value
    return ModelConfig(**sizes, model_name=name)


def open_tensors(folder: Path) -> dict[str, Tensor]:
    """Map a checkpoint, whole or in shards: name, without "transformer.", -> tensor."""
    index, files = folder / "model.safetensors.index.json", ["model.safetensors"]
    if index.exists() and not (folder / files[0]).exists():
        shards = read_json(index).get("weight_map")
        files = sorted({*map(str, shards.values())}) if isinstance(shards, dict) else []
        if not files or any(Path(file).name != file for file in files):
            raise MinimechError(f"{index} names no files beside it in weight_map")
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in open_file(folder / file).items():
            short = name.removeprefix("transformer.")
            if short in tensors:
                raise MinimechError(f"{folder} holds {short} twice, again as {name} in {file}")
            tensors[short] = tensor
    return tensors


def open_file(path: Path) -> dict[str, Tensor]:
    """Map one safetensors file: name -> tensor. Raises: MinimechError that says what it is."""
    if not path.is_file():
        pickled = sorted(path.parent.glob("*.bin"))
        hint = f"; {pickled[0].name} is pickled: convert it to safetensors" if pickled else ""
        raise MinimechError(f"{path} is {'not a file' if path.exists() else 'missing'}{hint}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise MinimechError(f"{path} cannot be read: {why(error)}") from None
    except Exception as error:  # safetensors has its own, and torch many
        with path.open("rb") as stream:
            start = stream.read(64)
        kind = next((what for magic, what in FOREIGN.items() if start.startswith(magic)), None)
        kind = kind or (f"truncated, altered or of no known kind ({error})" if start else "empty")
        raise MinimechError(f"{path} is {kind}") from None


def checked(tensor: Tensor | None, name: str, shape: torch.Size) -> Tensor:
    """Return a tensor of a checkpoint in float32, or say what is wrong with it."""
    if tensor is None:
        raise MinimechError(f"{name} is missing from the checkpoint; expected {list(shape)}")
    if tensor.shape != shape:
        got = list(tensor.shape)
        raise MinimechError(f"{name} has shape {got}; config.json makes it {list(shape)}")
    if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        raise MinimechError(f"{name} holds {tensor.dtype}; weights are float32, 16 or 64, bfloat16")
    tensor = tensor.float()
    # A NaN or inf makes the sum one; so may sheer size, hence the second, slower look.
    bad = 0 if tensor.sum().isfinite() else int((~tensor.isfinite()).sum())
    if bad:
        raise MinimechError(f"{name}: {bad} of {tensor.numel():,} values are NaN or infinite")
    return tensor


def check_leftovers(tensors: dict[str, Tensor], model: HookedTransformer, folder: Path) -> None:
    """Refuse what was not used, other than mask buffers and a second copy of the tied embedding."""
    head = tensors.pop("lm_head.weight", model.W_E)
    if not torch.equal(head.float(), model.W_E):
        differ = f"{folder}: config.json ties lm_head.weight to wte.weight, but the two differ"
        raise MinimechError(f"{differ}; if both are meant, set tie_word_embeddings to false")
    mask = r"h\.\d+\.attn\.(masked_)?bias"  # the causal mask, stored by old files
    extra = sorted(name for name in tensors if not re.fullmatch(mask, name))
    if extra:
        more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
        layers = f"a GPT-2 of {model.cfg.n_layers} layers"
        raise MinimechError(f"{folder}: {layers} has no place for {', '.join(extra[:3])}{more}")


# ---- saving -------------------------------------------------------------------------------------


def save_pretrained(model: HookedTransformer, folder: str | Path) -> Path:
    """Write a checkpoint that `load`, or any other GPT-2, reads back bit for bit.

    Files are written aside and renamed, SHA256SUMS first: what a crash cuts short, `load` refuses.
    Raises: MinimechError if the disk is full or read-only; nothing half-written stays.
    """
    return beside("weights.save").save_pretrained(model, folder)

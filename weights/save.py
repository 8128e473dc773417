"""How a checkpoint is written: in GPT-2's own file format, with checksums, whole or not at all."""

import json
import shutil
import tempfile
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from minimech import HookedTransformer, MinimechError
from minimech.files import why
from minimech.weights import SIZES, flat, layout
from weights.sums import write_sums


def save_pretrained(model: HookedTransformer, folder: str | Path) -> Path:
    """Write a checkpoint that `load`, or any other GPT-2, reads back bit for bit.

    Files are written aside and renamed, SHA256SUMS first: what a crash cuts short, `load` refuses.
    Raises: MinimechError if the disk is full or read-only; nothing half-written stays.
    """
    if model.b_U.any():
        raise MinimechError("the file format has no b_U: save the model as it was, unprocessed")
    folder = Path(folder)
    existed = folder.exists()
    tensors = {}
    for theirs, ours in layout(model.cfg).items():
        prefix = "" if ours == "lm_head" else "transformer."
        tensors[prefix + theirs] = flat(ours, model.get_parameter(ours))
        if not tensors[prefix + theirs].isfinite().all():
            raise MinimechError(f"not saved: {ours} has values that are NaN or infinite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as aside:
            partial = Path(aside)
            save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
            (partial / "model.safetensors").chmod(0o644)
            (partial / "config.json").write_text(json.dumps(hf_config(model), indent=2) + "\n")
            if model.tokenizer:
                model.tokenizer.backend.save(str(partial / "tokenizer.json"))
            files = sorted(path.name for path in partial.iterdir())
            write_sums(partial, files)
            for file in ["SHA256SUMS", *files]:
                (partial / file).replace(folder / file)
    except (OSError, SafetensorError) as error:
        if not existed:
            shutil.rmtree(folder, ignore_errors=True)
        raise MinimechError(f"the model was not saved in {folder}: {why(error)}") from None
    return folder


def hf_config(model: HookedTransformer) -> dict:
    """Describe a model as Hugging Face's GPT2LMHeadModel wants it."""
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
    config |= {key: getattr(model.cfg, ours) for key, (ours, *_) in SIZES.items()}
    config |= dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    config |= {"activation_function": "gelu_new"}
    bos = model.tokenizer.bos if model.tokenizer else None
    return config | {"bos_token_id": bos, "eos_token_id": bos}

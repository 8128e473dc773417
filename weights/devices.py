"""Before a model runs on another device: is it there, and does it compute as the processor?"""

import re

import torch
from torch import Tensor

from minimech import HookedTransformer, MinimechError
from minimech.hooks import Tap, site_shapes
from minimech.model import Transformer


def check_exists(device: str) -> None:
    """Refuse a device that torch does not know or this machine does not have."""
    counts = {"cpu": 1, "cuda": torch.cuda.device_count()}
    counts["mps"] = int(torch.backends.mps.is_available())
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", str(device))
    if not match or int(match[2] or 0) >= counts.get(match[1], 0):
        have = ", ".join(kind for kind, count in counts.items() if count)
        raise MinimechError(f"there is no device {str(device)!r} here; this machine has {have}")


@torch.no_grad()
def check_device(model: HookedTransformer, device: str) -> HookedTransformer:
    """Move a model to a device, if it answers there as on the processor.

    Some answer wrong and raise nothing (Apple's mps: TransformerLens issue 1178).
    Raises: MinimechError with the error, which may be 1e-3 of the largest logit.
    """
    check_exists(device)
    right = golden(model.cpu())  # [2 p v]
    error = ((golden(model.to(device)) - right).abs().max() / right.abs().max()).item()
    if not error <= 1e-3:  # or NaN
        model.cpu()
        wrong = f"{device} computes this model wrong: its logits differ from the processor's by"
        mend = "Use device='cpu', or another version of torch"
        raise MinimechError(f"{wrong} {error:.1e} of the largest, over 1e-3. {mend}")
    return model


def golden(model: HookedTransformer) -> Tensor:
    """Answer a fixed prompt with fused and with explicit attention: [2 p v], on the processor."""
    tokens = torch.arange(0, 37 * min(16, model.cfg.n_ctx), 37) % model.cfg.d_vocab  # [p]
    tokens = tokens[None].to(model.W_E.device)  # [1 p]
    look = Tap(site_shapes(model.cfg.n_layers), save="*.hook_pattern")
    return torch.cat([Transformer.forward(model, tokens, tap).cpu() for tap in (Tap(), look)])

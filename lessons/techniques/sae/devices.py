"""On which device is an autoencoder trained, in which precision, and does it compute there?"""

import torch
from torch import Tensor

from lessons.techniques.sae.autoencoders import LOSSES, SAE, Config
from minimech import MinimechError
from weights.devices import check_exists

LARGE = 2**18  # weights of a matrix; smaller ones gain nothing from bfloat16, or lose


def best() -> str:
    """Return cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def multiplies_bfloat16(device: str) -> bool:
    """Say whether the hardware multiplies bfloat16 itself, faster than float32."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def precision(asked: str, device: str, cfg: Config) -> str:
    """Return float32 or bfloat16: what was asked for, or, for auto, what is faster."""
    if asked not in ("auto", "float32", "bfloat16"):
        raise MinimechError(f"--precision is float32, bfloat16 or auto, not {asked!r}")
    if asked != "auto":
        return asked
    gains = cfg.d_in * cfg.d_sae >= LARGE and multiplies_bfloat16(device)
    return "bfloat16" if gains else "float32"


@torch.no_grad()
def check(sae: SAE, x: Tensor, device: str) -> None:  # [b d]
    """Move an autoencoder to a device, if its loss is there what it is on the processor.

    Some compute wrong and raise nothing. Raises: MinimechError with both losses.
    """
    check_exists(device)
    loss = LOSSES[sae.cfg.kind]
    dead = torch.ones(sae.cfg.d_sae, dtype=torch.bool)
    right = loss(sae, x, dead)[0].item()
    got = loss(sae.to(device), x.to(device), dead.to(device))[0].item()
    if not abs(got - right) <= 1e-3 * abs(right):  # or NaN
        said = f"{device} computes the loss of this autoencoder as {got:.6g}; it is {right:.6g}"
        raise MinimechError(f"{said}. Use --device cpu, or another version of torch")

"""A TopK autoencoder's training step: the sparse one against the same maths by dense matrices.

Random data, k 32. Only the loss and its gradients are timed; a row of its own adds Adam (fused, of
torch), which is the same for both. The rate that operations are held against is that of the one
product that neither can do without, x W_enc, in the same run.
"""

import torch

from lessons.techniques.sae import autoencoders, sparse
from lessons.techniques.sae.autoencoders import SAE, Config
from tests.bench_sweeps import most_bytes

Row = tuple[str, float, float | None, str]
K = 32
BARS = {4096: -2.5}


def step(loss_of, sae: SAE, x, dead, bf16: bool = False) -> dict[str, torch.Tensor]:
    """Make the loss and its gradients, as training does."""
    sae.zero_grad()
    with torch.enable_grad():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = loss_of(sae, x, dead)[0]
        loss.backward()
    return {"loss": loss.detach()} | {name: p.grad for name, p in sae.named_parameters()}


def clear(sae: SAE, x: torch.Tensor) -> torch.Tensor:  # [b d] -> [b' d]
    """Leave out tokens whose last feature and the next are equal but for rounding: both may win."""
    top = sae.pre(x).topk(sae.cfg.k + 1).values
    return x[top[:, -2] - top[:, -1] > 1e-5]


def furthest(found: dict, true: dict) -> float:
    """Return the largest difference of a loss or gradient, relative to its largest number."""
    return max(((found[n] - v).abs().max() / v.abs().max()).item() for n, v in true.items())


def held_to(sae: SAE, x: torch.Tensor, dead: torch.Tensor) -> float:
    """Hold loss and gradients, in float32 and bfloat16, to the dense step's; return the error."""
    x = clear(sae, x)
    true = {n: v.clone() for n, v in step(autoencoders.topk_loss, sae, x, dead).items()}
    some = [step(sparse.topk_loss, sae, x, dead, bf16=bf16) for bf16 in (False, True)]
    error = max(furthest(found, true) for found in some)
    assert error < 1e-4, f"the sparse step is off by {error:.1e} of the largest number"
    return error


def random_sae(d: int, f: int, k: int) -> SAE:
    """Make an autoencoder whose weights and biases are random, and no two alike."""
    torch.manual_seed(0)
    sae = SAE(Config(d, f, k=k))
    for p in sae.parameters():
        p += 0.02 * torch.randn_like(p)
    return sae


def training_steps(d: int, sizes, b: int, clocked, rounds: int, clock) -> list[Row]:
    """Measure steps of random autoencoders: rows of what, ratio, bar, how.

    Larger ones are timed in fewer rounds, down to one after the first, which warms up.
    """
    rows = []
    for f in sizes:
        sae, x = random_sae(d, f, min(K, f // 8)), torch.randn(b, d)
        tenth = torch.arange(f) % 10 == 0
        error = max(held_to(sae, x[:512], dead) for dead in (tenth & False, tenth))
        cases = steps(sae, x, tenth)
        t = clocked(cases, max(1, rounds * sizes[0] // f), clock)
        memory = []
        for name in ("dense", "sparse"):
            sae.zero_grad()  # old gradients given back would hide what new ones take
            memory.append(most_bytes(cases[name]))
        rows += [(f"{d} to {f}: {what}", *row) for what, *row in summary(t, sae, b, error, memory)]
    return rows


def steps(sae: SAE, x: torch.Tensor, tenth: torch.Tensor) -> dict:
    """Say what is timed. `tenth`: a tenth of the features, dead in two of the cases."""
    none, dense, few = tenth & False, autoencoders.topk_loss, sparse.topk_loss
    adam = torch.optim.Adam(sae.parameters(), lr=0.0, fused=True)
    return {
        "product": lambda: x @ sae.W_enc,
        "dense": lambda: step(dense, sae, x, none),
        "sparse": lambda: step(few, sae, x, none),
        "bf16": lambda: step(few, sae, x, none, bf16=True),
        "adam": adam.step,
        "dense, dead": lambda: step(dense, sae, x, tenth),
        "sparse, dead": lambda: step(few, sae, x, tenth),
    }


def summary(t: dict, sae: SAE, b: int, error: float, memory: list[int]) -> list[tuple]:
    """Put the seconds into ratios. An operation is a multiplication or an addition."""
    d, f, k = sae.cfg.d_in, sae.cfg.d_sae, sae.cfg.k
    product, pairs = 2 * b * d * f, 2 * b * d * k
    work = {"dense": 6 * product, "sparse": product + 4 * pairs}
    rate = {name: count / t[name] * t["product"] / product for name, count in work.items()}
    whole = (t["dense"] + t["adam"]) / (t["sparse"] + t["adam"])
    peak = product / t["product"] / 1e9
    return [
        ("sparse step, times faster", t["dense"] / t["sparse"], BARS.get(f), f"error {error:.0e}"),
        ("with a tenth dead", t["dense, dead"] / t["sparse, dead"], None, f"{b} tokens, k {k}"),
        ("with Adam", whole, None, f"Adam {t['adam'] * 1e3:.0f} ms"),
        ("in bf16, times faster", t["dense"] / t["bf16"], None, f"{t['bf16'] * 1e3:.0f} ms"),
        ("rate / product's, dense", rate["dense"], None, f"product {peak:.0f} GFLOP/s"),
        ("rate / product's, sparse", rate["sparse"], None, f"{t['sparse'] * 1e3:.0f} ms"),
        ("memory, dense / sparse", memory[0] / memory[1], None, f"{memory[1] / 2**20:.0f} MiB"),
    ]

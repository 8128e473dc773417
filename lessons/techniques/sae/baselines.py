"""What an autoencoder has to beat: dictionaries that nobody trained, used in the same way.

    pca(x, k)       the principal components of the activations
    neurons(x, k)   the dimensions as they are: is a feature a neuron?
    random(x, f, k) directions drawn at random: what many latents get by being many

Each is an SAE with these directions as its rows: f = the k largest of relu((x - mean) W_dec^T), and
x_hat = f W_dec + mean. A latent is 0 or positive, so a component or a dimension gives two of them,
one for each sign. With k = d nothing of x is lost to pca or neurons. `probes` and `read` are the
other end: what a detector reaches that is told the labels.

Letters: n tokens, d width, f latent, t true feature.
"""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lessons.techniques.sae.autoencoders import SAE, Config
from lessons.techniques.sae.scores import best_f1


def pca(x: Tensor, k: int, site: str = "", model: str = "") -> SAE:  # [n d]
    """Take the principal components of x, each in both directions; the k largest are on."""
    axes = torch.linalg.eigh(torch.cov(x.T))[1].T.flip(0)  # [d d], the widest first
    return untrained(x, torch.cat([axes, -axes]), k, site, model)


def neurons(x: Tensor, k: int, site: str = "", model: str = "") -> SAE:  # [n d]
    """Take the dimensions of x themselves, each in both directions; the k largest are on."""
    axes = torch.eye(x.shape[1])
    return untrained(x, torch.cat([axes, -axes]), k, site, model)


def random(x: Tensor, d_sae: int, k: int, site: str = "", model: str = "", seed: int = 0) -> SAE:
    """Draw d_sae directions; the k largest are on."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(d_sae, x.shape[1], generator=generator)
    return untrained(x, rows / rows.norm(dim=1, keepdim=True), k, site, model)


def untrained(x: Tensor, rows: Tensor, k: int, site: str, model: str) -> SAE:  # [n d], [f d]
    """Make an autoencoder of given directions around the mean of x."""
    sae = SAE(Config(x.shape[1], len(rows), "topk", k=k, site=site, model=model))
    sae.requires_grad_(False)
    sae.W_dec.data, sae.W_enc.data, sae.b_dec.data = rows, rows.T.clone(), x.mean(0)
    return sae


@torch.enable_grad()
def probes(
    x: Tensor, y: Tensor, steps: int = 600, lr: float = 0.02, batch: int = 2048
) -> tuple[Tensor, Tensor]:
    """Learn a direction for every feature from its labels: x [n d], y [n t] -> [d t], [t].

    Logistic regression, all at once. x @ directions + offsets is what a linear reader can say of a
    feature: the ceiling for any latent of this site, which is linear up to its threshold.
    """
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    x, y = (x - mean) / scale, y.float()
    w = torch.zeros(x.shape[1], y.shape[1], requires_grad=True)
    b = torch.zeros(y.shape[1], requires_grad=True)
    adam = torch.optim.Adam([w, b], lr=lr)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        adam.param_groups[0]["lr"] = lr * min(1.0, 4 * (1 - step / steps))
        i = torch.randint(len(x), (batch,), generator=generator)
        loss = binary_cross_entropy_with_logits(x[i] @ w + b, y[i])
        adam.zero_grad()
        loss.backward()
        adam.step()
    w = w.detach() / scale[:, None]
    return w, b.detach() - mean @ w


@torch.no_grad()
def read(x: Tensor, y: Tensor, held: Tensor, **how) -> Tensor:  # [n d], [n t], [m d] -> [m t]
    """Say where probes learned on x, y see each feature in other activations.

    Above the threshold with the best F1 on x, as a latent's is chosen; `how`: see `probes`.
    """
    w, b = probes(x, y, **how)
    said, there = (x @ w + b).exp(), (held @ w + b).exp()  # [n t]: thresholds are above 0
    least = [best_f1(said[:, [t]], y[:, [t]])[1].item() for t in range(y.shape[1])]
    return there >= torch.tensor(least)

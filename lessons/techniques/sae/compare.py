"""Many dictionaries of one site, side by side: what they keep, and what their latents tell.

    saes = shelf(model, sae)                     # all that ship for the same site and model
    plain = untrained(x, sae.cfg.d_sae, k)       # and what nobody trained
    table = {name: metrics.summary(one, x) for name, one in (saes | plain).items()}

Letters: n tokens, d width, f latent, t true feature, w word.
"""

from collections import Counter

import torch
from torch import Tensor

from lessons.figures import Plot
from lessons.points import points
from lessons.techniques.sae import baselines, metrics, scores
from lessons.techniques.sae.autoencoders import SAE
from lessons.techniques.sae.ready import shipped

KINDS = {"TopK": "topk", "Matryoshka": "matryoshka", "ReLU": "relu", "PCA": "PCA"}


def shelf(model, sae: SAE) -> dict[str, SAE]:
    """Take what ships for this model and autoencoder's site (ready.py); itself is "main"."""
    ships = {name: one for name, (one, _) in shipped(model).items() if one.cfg.site == sae.cfg.site}
    return ships | {"main": sae}


def untrained(x: Tensor, d_sae: int, k: int, site: str = "") -> dict[str, SAE]:  # [n d]
    """Make the neurons and random directions, k of which are on, and PCA for several k."""
    plain = {"neurons": baselines.neurons(x, k, site)}
    plain["random"] = baselines.random(x, d_sae, k, site)
    return plain | {f"PCA-{m}": baselines.pca(x, m, site) for m in sorted({4, k, 16, 32})}


def frontier(table: dict[str, dict], title: str, ours: str) -> Plot:
    """Draw explained variance against L0, a series for each kind; `ours` is the kind of main."""
    series = {}
    for kind, start in KINDS.items():
        names = [n for n in table if n.startswith(start) or (n == "main" and start == ours)]
        rows = [table[name] for name in names]
        if rows:
            series[kind] = [row["l0"] for row in rows], [row["explained_variance"] for row in rows]
    return points(series, title, "latents on per token (L0)", "explained variance")


def scatter(common: Tensor, best: Tensor, reads: Tensor, plainly: Tensor) -> Plot:  # [t] all
    """Draw the best latent's F1 against what a feature's tokens have in common (shares.py).

    reads: the features that a probe reads; plainly: those of them that are no country.
    """
    groups = {"countries": reads & ~plainly, "all others that a probe reads": plainly}
    series = {name: (common[of], best[of]) for name, of in groups.items() if of.any()}
    series = series or {"all: a probe reads none": (common, best)}
    title = "Share in common and F1 of the best latent, countries left out: rank correlation "
    title += f"{in_order(common[plainly], best[plainly]):.2f}"
    common_axis = "what its tokens have in common (share of their squared length)"
    return points(series, title, common_axis, "F1 of the best latent")


def telling(sae, x: Tensor, y: Tensor, held: Tensor, held_y: Tensor, every: int = 1) -> int:
    """Count the features [n t] that have a latent: chosen on x [n d], judged on held [m d].

    `every`: 2 looks at every second token only.
    """
    x, y, held, held_y = (z[::every] for z in (x, y, held, held_y))
    chosen = scores.choose(sae.encode(x), y)[1:]
    return int((scores.told(sae.encode(held), held_y, *chosen) > scores.ENOUGH).sum())


def frequent(tokens: Tensor, held: Tensor, least: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ids of two texts [b p] without BOS, [n] and [m], and the words [w] of both.

    Words: those that stand in each text `least` times or more.
    """
    ids, held_ids = tokens[:, 1:].flatten(), held[:, 1:].flatten()
    size = int(torch.maximum(ids.max(), held_ids.max())) + 1
    counts = [text.bincount(minlength=size) for text in (ids, held_ids)]
    return ids, held_ids, (torch.minimum(*counts) >= least).nonzero()[:, 0]


def by_word(f, ids, held_f, held_ids, words, mix: torch.Generator | None = None) -> Tensor:
    """Say of each of the words [w] whether it has a latent, 1.0 or 0.0.

    f [n f] at tokens ids [n], judged on others. `mix`: with the ids mixed up, as a control.
    """
    if mix:
        ids, held_ids = (x[torch.randperm(len(x), generator=mix)] for x in (ids, held_ids))
    latents = scores.choose(f, ids[:, None] == words)[1:]
    told = scores.told(held_f, held_ids[:, None] == words, *latents)
    return (told > scores.ENOUGH).float()


def word_list(labels: Tensor, ids: Tensor, draw: torch.Generator) -> Tensor:  # [n] bool, [n]
    """Draw words at random, until they have as many tokens as there are labels."""
    some, counts = ids.unique(return_counts=True)
    order = torch.randperm(len(some), generator=draw)
    return some[order][: 1 + int((counts[order].cumsum(0) < labels.sum()).sum())]


def absorbed_by_luck(f, ids, words, draw: torch.Generator, size: int = 6, times: int = 20) -> float:
    """Count how many of `size` words drawn at random are absorbed (scores.py), in the mean."""
    drawn = [words[torch.randperm(len(words), generator=draw)[:size]] for _ in range(times)]
    y = torch.stack([torch.isin(ids, some) for some in drawn], 1)  # [n times]
    best = zip(y.T, *(z.tolist() for z in scores.choose(f, y)[1:]))
    return sum(len(scores.absorbed(f, at, ids, *latent)) for at, *latent in best) / times


def listed(table: dict[str, dict], back: dict[str, float], has: dict[str, int]) -> str:
    """Write dictionaries one below the other: the field's numbers, and features with a latent."""
    lines = [
        f"{'':<14}{'L0':>8}{'explained':>12}{'recovered':>12}{'too short':>12}{'features':>11}"
    ]
    for name, row in table.items():
        line = f"{name:<14}{row['l0']:>8.1f}{row['explained_variance']:>12.3f}"
        lines.append(f"{line}{back[name]:>12.3f}{row['shrinkage']:>12.2f}{has.get(name, '-'):>11}")
    return "\n".join(lines)


def families(rows: list[scores.Score], reads: Tensor) -> str:  # reads: [t] bool
    """Count by name of the feature: how many there are, a probe reads, have a latent."""
    names = [row.feature[0] for row in rows]
    read = Counter(name for name, ok in zip(names, reads.tolist()) if ok)
    found = Counter(row.feature[0] for row in rows if row.f1 > scores.ENOUGH)
    lines = [f"{'':<16}{'features':>12}{'a probe reads':>16}{'have a latent':>16}"]
    for name, n in Counter(names).items():
        lines.append(f"{name:<16}{n:>12}{read[name]:>16}{found[name]:>16}")
    return "\n".join(lines)


def correlation(f: Tensor, z: Tensor) -> Tensor:  # [n f], [n] -> [f]
    """Correlation of each latent with a number that every token has; 0 for one that is never on."""
    f, z = f - f.mean(0), z - z.mean()
    return f.T @ z / (f.norm(dim=0) * z.norm()).clamp_min(1e-6)


def in_order(a: Tensor, b: Tensor) -> float:  # [m] twice
    """Rank correlation (Spearman 1904), 1 if both rise together; ties share their middle rank.

    0 where there is no order to compare: fewer than two, or all of one value.
    """
    if len(a) < 2:
        return 0.0
    ranks = [(x[:, None] > x).sum(1) + (x[:, None] == x).sum(1) / 2 for x in (a, b)]
    return torch.corrcoef(torch.stack(ranks))[0, 1].nan_to_num(0).item()


def given(a: Tensor, b: Tensor, c: Tensor) -> float:  # [m] each
    """Rank correlation of a and b with c taken out of both (the partial one, Yule 1907)."""
    ab, ac, bc = in_order(a, b), in_order(a, c), in_order(b, c)
    return (ab - ac * bc) / max((1 - ac**2) * (1 - bc**2), 1e-12) ** 0.5


def agree(a: SAE, b: SAE) -> float:
    """Mean over a's directions of the cosine with the nearest of b's."""
    rows = [torch.nn.functional.normalize(sae.W_dec, dim=1) for sae in (a, b)]
    return (rows[0] @ rows[1].T).amax(1).mean().item()


def recovered(model, tokens: Tensor, dictionaries: dict[str, SAE]) -> dict[str, float]:
    """Say for each which share of the loss it recovers, against the site's mean (metrics.py)."""
    first = next(iter(dictionaries.values()))
    clean, _, bad = metrics.losses(model, tokens, first, "mean")
    kept = {}
    for name, sae in dictionaries.items():
        loss = metrics.mean_loss(model, tokens, [sae.splice(error=False)], batch=32)
        kept[name] = (bad - loss) / (bad - clean)
    return kept


def of_the_first(sae: SAE, x: Tensor, n: int = 32) -> float:  # [n d]
    """Of all that is on, the share that is among the first n latents."""
    rate = metrics.rates(sae, x)
    return (rate[:n].sum() / rate.sum()).item()

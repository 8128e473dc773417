"""Path patching from every head to one set of receivers: the fast way against the definition."""

import torch

from lessons.techniques.sweep import LogitDiff, Nodes, Paths, sweep
from minimech import HookedTransformer, ModelConfig
from tests.direct_paths import by_hooks

Row = tuple[str, float, float | None, str]


def path_patching(cfg: ModelConfig, b: int, p: int, clocked, rounds: int, clock) -> list[Row]:
    """Measure on random weights: rows of what, ratio, bar, how.

    The definition takes two forwards for each sender, so it is timed on one sender in each quarter
    of the layers, and counted up; what it finds there must be what the fast way finds. The two
    prompts differ from position 2 p / 3 on, as where one name is exchanged.
    """
    torch.manual_seed(0)
    model = HookedTransformer(cfg).requires_grad_(False).eval()
    base = torch.randint(cfg.d_vocab, (b, p))
    donor = base.clone()
    donor[:, 2 * p // 3] = (base[:, 2 * p // 3] + 1) % cfg.d_vocab
    metric = LogitDiff(torch.arange(b), torch.arange(b) + 1)
    late, heads = [3 * cfg.n_layers // 4, 3 * cfg.n_layers // 4 + 1], range(min(3, cfg.n_heads))
    late = [layer for layer in late if layer < cfg.n_layers]
    senders, rows = Nodes("z", over="layer head"), []
    total = cfg.n_layers * cfg.n_heads
    sample = [total * i // 8 for i in (1, 3, 5, 7)]
    for name, to in {
        "queries of the answer": Nodes("q", layers=late, heads=list(heads), positions=-1),
        "keys of all positions": Nodes("k", layers=late, heads=list(heads)),
        "logits": "logits",
    }.items():
        what, found = Paths(senders, to=to), {}

        def fast(what=what, found=found):
            found["fast"] = sweep(model, base, donor, metric, what, direction="noising").values

        def slow(what=what, found=found, sample=sample):
            found["slow"] = by_hooks(model, base, donor, metric, what.within(cfg, p), sample=sample)

        def before():
            model.run_with_cache(base), model.run_with_cache(donor)

        t = clocked({"fast": fast, "slow": slow, "before": before}, rounds, clock)
        torch.testing.assert_close(
            found["fast"].flatten(0, 1)[sample], found["slow"], rtol=1e-4, atol=1e-5
        )
        definition = t["before"] + (t["slow"] - t["before"]) / len(sample) * total
        what = f"path patching, {total} heads to {name}"
        rows.append((what, definition / t["fast"], None, f"{b} x {p} tokens"))
    return rows

"""The bench: every row is there, judged by its bar, and written."""

import json
import re

import pytest
import torch

from minimech import ModelConfig
from tests import bench

QUICK = ModelConfig(2, 4, 32, 64, 100)


def test_a_case_is_run_once_more_than_it_is_timed_and_the_least_counts():
    times = iter([0, 5, 5, 7, 7, 10])  # start and end of each round
    runs = []
    best = bench.clocked({"a": lambda: runs.append(1)}, 3, lambda: next(times))
    assert best == {"a": 2} and len(runs) == 4


@torch.no_grad()
def test_what_is_compared_computes_the_same():
    model = bench.HookedTransformer(QUICK).requires_grad_(False)
    tokens = torch.randint(100, (2, 9))
    explicit = bench.Transformer.forward(model, tokens, bench.Explicit())
    torch.testing.assert_close(bench.Bare(model)(tokens), model(tokens))
    torch.testing.assert_close(explicit, model(tokens))


def test_the_explicit_forward_computes_patterns_and_no_layer_norm_by_hand(monkeypatch):
    seen, attend = [], bench.Transformer(QUICK).blocks[0].attn.__class__.attend
    look = "minimech.model.Attention.attend"
    monkeypatch.setattr(look, lambda *given: seen.append(1) or attend(*given))
    bench.Transformer.forward(bench.Transformer(QUICK), torch.zeros(1, 4).long(), bench.Explicit())
    assert len(seen) == QUICK.n_layers
    assert not bench.Explicit().watches("ln_final.hook_scale", "ln_final.hook_normalized")


@pytest.mark.parametrize(
    "ratio, bar, ok", [(1.0, 1.1, 1), (1.2, 1.1, 0), (3.5, -3.0, 1), (2.9, -3.0, 0), (9, None, 1)]
)
def test_a_row_is_judged_and_written(ratio, bar, ok, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    parts = ["generation", "sweeps", "path_patching", "training_steps", "stores", "loading"]
    for part in [*parts, "importing"]:
        monkeypatch.setattr(bench, part, lambda *_, **__: [])
    monkeypatch.setattr(bench, "forwards", lambda *_: [("a thing", ratio, bar, "so")])
    bench.main(["--quick"])
    assert re.search(rf"a thing .* {'ok' if ok else 'MISS'} +so", capsys.readouterr().out)
    written = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert written == [{"what": "a thing", "ratio": ratio, "bar": bar, "ok": bool(ok), "how": "so"}]


@pytest.mark.slow
def test_quick_prints_every_row(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OUT", str(tmp_path))
    rows = bench.main(["--quick", "--cpu"])
    assert (
        len(rows)
        == 14 + 5 + 3 + 7 + 4
        == capsys.readouterr().out.count(" ok ") + sum(not r["ok"] for r in rows)
    )

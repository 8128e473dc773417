"""The recipe of weights/sae: a short run, cut off and gone on with; and what is committed."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from lessons.techniques.sae.files import load
from lessons.techniques.sae.store import model_hash
from minimech import HookedTransformer
from weights.sums import check_sums

ROOT = Path(__file__).parents[1]


def recipe():
    spec = importlib.util.spec_from_file_location("recipe_sae", ROOT / "weights/recipes/sae.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_committed_fits_the_model():
    hashed = model_hash(HookedTransformer.from_pretrained("world"))
    folders = sorted(path.parent for path in (ROOT / "weights/sae").glob("*/cfg.json"))
    assert ROOT / "weights/sae/main" in folders
    for folder in folders:
        check_sums(folder)
        sae = load(folder)
        assert sae.cfg.model == hashed and not sae.cfg.bos
        assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(sae.cfg.d_sae), atol=1e-3)
    size = sum(path.stat().st_size for path in (ROOT / "weights/sae").rglob("*") if path.is_file())
    assert size <= 7 * 2**20


def told(module, monkeypatch, capsys, *words) -> str:
    """Run the recipe on options that it refuses; return its one sentence."""
    monkeypatch.setattr(sys, "argv", ["sae.py", *map(str, words)])
    assert module.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("weights/recipes/sae.py: ") and error.count("\n") == 1
    return error


def test_the_recipe_runs(tmp_path, monkeypatch, capsys):
    module, words = recipe(), ["topk-4", "--documents", "12", "--steps", "4"]
    out = ["--out", str(tmp_path)]
    monkeypatch.setattr(module, "labelled", lambda m, n, seed: LABELLED(m, min(n, 30), seed))
    monkeypatch.setattr(module, "RUNS", {"topk-4": module.RUNS["topk-4"]})
    monkeypatch.setattr(sys, "argv", ["sae.py", *words, *out])
    assert module.main() == 0
    runs = json.loads((tmp_path / "runs.json").read_text())
    said = capsys.readouterr().out
    assert runs["main"] == "topk-4" and "main is topk-4" in said
    assert "no run keeps 90% of the loss with at most 16 latents on; main is the best of" in said
    first, main = (load(tmp_path / name) for name in ("topk-4", "main"))
    assert torch.equal(first.W_dec, main.W_dec) and first.cfg.d_sae == 512
    (tmp_path / "topk-4" / "history.json").unlink()  # as if cut off before the end: goes on
    judged = dict.fromkeys(("recovered_mean", "mean_f1"), 0.0) | {
        "l0": 4,
        "found": 0,
        "features": 1,
    }
    monkeypatch.setattr(module, "judge", lambda *_: judged)
    assert module.main() == 0
    assert torch.equal(load(tmp_path / "topk-4").W_dec, first.W_dec)
    before = (tmp_path / "main" / "cfg.json").stat().st_mtime_ns
    monkeypatch.setattr(module, "RUNS", module.RUNS | {"topk-8": {}})
    assert module.main() == 0 and "1 of 2 runs are there" in capsys.readouterr().out
    assert (tmp_path / "main" / "cfg.json").stat().st_mtime_ns == before
    said = told(module, monkeypatch, capsys, *words[:3], "--steps", "40", *out)
    assert "with steps 4, and you asked for 40" in said
    said = told(module, monkeypatch, capsys, "topk-4", "--documents", "13", *out)
    assert "you asked for" in said
    (tmp_path / "file").touch()
    said = told(module, monkeypatch, capsys, *words, "--out", tmp_path / "file")
    assert f"{tmp_path / 'file'}" in said


def test_main_is_the_best_of_those_that_keep_the_loss():
    row = {"recovered_mean": 0.95, "l0": 8.0, "found": 20, "mean_f1": 0.5}
    runs = {"good": row, "many on": row | {"l0": 32.0, "found": 30}}
    runs |= {"lossy": row | {"recovered_mean": 0.8, "found": 40}, "worse": row | {"found": 10}}
    assert recipe().choose(runs) == "good"
    assert recipe().choose(runs | {"even": row | {"mean_f1": 0.6}}) == "even"


@pytest.mark.parametrize("option", ["--steps", "--documents", "--threads"])
def test_a_count_is_a_count(option, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sae.py", option, "0"])
    with pytest.raises(SystemExit) as end:
        recipe().main()
    assert end.value.code == 2 and "'0' is no whole number" in capsys.readouterr().err


def test_an_unknown_run_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sae.py", "topk-5"])
    with pytest.raises(SystemExit):
        recipe().main()
    assert "'topk-5'" in capsys.readouterr().err


LABELLED = recipe().labelled

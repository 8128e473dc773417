"""The recipe of the world model: it resumes to the same weights and stops on a loss that is NaN."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

RECIPES = Path(__file__).parents[1] / "weights" / "recipes"


@pytest.fixture
def recipe(monkeypatch):
    """The recipe as a module, its scores left out, its model and texts tiny."""
    monkeypatch.setattr(sys, "path", [str(RECIPES), *sys.path])
    spec = importlib.util.spec_from_file_location("world_recipe", RECIPES / "world.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tiny = {"n_layers": 1, "n_heads": 2, "d_model": 16, "d_mlp": 16, "n_ctx": 128}
    monkeypatch.setattr(module, "CONFIG", tiny)
    monkeypatch.setattr(module, "TOKENS", 256)
    monkeypatch.setattr(module, "progress", lambda model, step, *rest: {"step": step, "seconds": 0})
    return module


def options(out, **changes):
    """Options for six steps, saved after every two."""
    known = {"seed": 0, "steps": 6, "every": 2, "texts": 2, "threads": 1, "out": out}
    return SimpleNamespace(**known | {"fresh": False} | changes)


def weights_of(recipe, out, **changes):
    """Train and return all weights as one vector."""
    out.mkdir(exist_ok=True)
    model, _ = recipe.train(options(out, **changes))
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def break_at(recipe, monkeypatch, step, then):
    """Let the recipe's loss go wrong at one step."""
    calls, loss_of = [], recipe.loss_of

    def wrong(*args):
        calls.append(0)
        return then(*loss_of(*args)) if len(calls) == step + 1 else loss_of(*args)

    monkeypatch.setattr(recipe, "loss_of", wrong)


def test_an_interrupted_run_ends_with_the_very_weights_of_one_that_was_not(
    recipe, monkeypatch, tmp_path
):
    whole = weights_of(recipe, tmp_path / "whole")

    def interrupt(*losses):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        break_at(recipe, patch, 3, interrupt)
        with pytest.raises(KeyboardInterrupt):
            weights_of(recipe, tmp_path / "cut")
    resumed = weights_of(recipe, tmp_path / "cut")
    assert torch.equal(whole, resumed)
    history = json.loads((tmp_path / "cut" / "history.json").read_text())
    assert [row["step"] for row in history] == [2, 4, 6]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_state(
    recipe, monkeypatch, tmp_path
):
    break_at(recipe, monkeypatch, 3, lambda loss, total: (loss * float("nan"),) * 2)
    with pytest.raises(SystemExit, match=r"nan at step 3; .*resume.pt keeps the last good state"):
        weights_of(recipe, tmp_path / "bad")
    kept = torch.load(tmp_path / "bad" / "resume.pt", weights_only=True)
    assert kept["step"] == 2
    assert all(weight.isfinite().all() for weight in kept["model"].values())

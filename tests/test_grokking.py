"""Lesson 02's networks hold their bars, judged by slow and plain means; and others' can be read."""

import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lessons import figures, grok
from lessons.techniques import foreign, grokking, modular
from minimech import MinimechError
from tests.clones import run_script

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "weights" / "grokking"
SCRIPT = ROOT / "lessons" / "02_grokking.py"
P = 113


@pytest.fixture(scope="module")
def ships():
    """The network that ships, its pairs and curves, and its logits in NumPy's float64."""
    model, is_train, curves = modular.load(FOLDER / "decay")
    logits, neurons = modular.answers(model, P)
    return SimpleNamespace(
        model=model,
        is_train=is_train.numpy(),
        curves=curves,
        logits=logits.double().numpy(),
        neurons=neurons.double().numpy(),
    )


def cross_entropy(logits):
    """Compute each question's loss [p p] in NumPy."""
    p = len(logits)
    a, b = np.indices((p, p))
    top = logits.max(-1, keepdims=True)
    lse = top[..., 0] + np.log(np.exp(logits - top).sum(-1))
    return lse - logits[a, b, (a + b) % p]


def fft_power(W):
    """Return the share of power of frequencies 1 .. (p-1)/2 by NumPy's FFT."""
    power = (np.abs(np.fft.rfft(W.double().numpy(), axis=0)) ** 2).sum(1)[1:]
    return power / power.sum()


def by_fft(logits, frequencies):
    """Keep waves of a + b by a two-dimensional FFT: where both frequencies are k, or both -k."""
    centred = logits - logits.mean(-1, keepdims=True)
    spectrum = np.fft.fft2(centred, axes=(0, 1))
    keep = np.zeros((len(logits), len(logits), 1))
    for k in frequencies:
        keep[k, k] = keep[-k, -k] = 1
    kept = np.fft.ifft2(spectrum * keep, axes=(0, 1)).real
    return kept, centred - kept


# The bars


def test_it_groks_ten_times_later_than_it_learns(ships):
    steps, curves = ships.curves["step"], ships.curves
    learned = next(s for s, y in zip(steps, curves["train_accuracy"]) if y == 1)
    grokked = next(s for s, y in zip(steps, curves["test_accuracy"]) if y >= 0.999)
    assert grokked >= 10 * learned
    right = ships.logits.argmax(-1) == np.add.outer(np.arange(P), np.arange(P)) % P
    assert right[~ships.is_train].mean() >= 0.999 and right[ships.is_train].all()


def test_the_curves_end_where_the_network_is(ships):
    final = modular.scores(ships.model, torch.from_numpy(ships.is_train))
    for name, value in final.items():
        assert ships.curves[name][-1] == pytest.approx(value, rel=0.05, abs=2e-9), name


def test_few_frequencies_hold_the_embedding_and_the_answers(ships):
    W_E, W_L = ships.model.W_E[:P], (ships.model.W_out @ ships.model.W_U).T
    for W in (W_E, W_L):
        found, shares = grokking.key_frequencies(W)
        assert len(found) <= 8
        assert np.allclose(shares, fft_power(W), atol=1e-9)
        assert shares[[k - 1 for k in found]].sum() >= 0.95


def test_restricted_and_excluded_losses_by_another_road(ships):
    keys, _ = grokking.key_frequencies((ships.model.W_out @ ships.model.W_U).T)
    kept, left = by_fft(ships.logits, keys)
    is_train = torch.from_numpy(ships.is_train)
    logits = torch.from_numpy(ships.logits)
    restricted, excluded = grokking.progress_measures(logits, keys, is_train)
    assert np.allclose(grokking.restrict(logits, keys), kept, atol=1e-8)
    assert restricted.item() == pytest.approx(cross_entropy(kept)[~ships.is_train].mean(), rel=1e-3)
    assert excluded.item() == pytest.approx(cross_entropy(left)[ships.is_train].mean(), rel=1e-6)
    assert restricted <= cross_entropy(ships.logits)[~ships.is_train].mean()
    assert excluded > math.log(P)


def test_neurons_are_of_one_frequency_each(ships):
    own, explained = grokking.neuron_frequencies(torch.from_numpy(ships.neurons))
    assert explained.median() > 0.85
    for m in (0, 7, 100):  # by hand: least squares on the eight waves and a constant
        k, n = int(own[m]), np.arange(P)
        waves = [np.ones(P), np.cos(2 * np.pi * k * n / P), np.sin(2 * np.pi * k * n / P)]
        columns = np.stack([np.outer(x, y).ravel() for x in waves for y in waves], axis=1)
        says = ships.neurons[..., m].ravel()
        rest = says - columns @ np.linalg.lstsq(columns, says, rcond=None)[0]
        assert explained[m].item() == pytest.approx(1 - rest.var() / says.var(), abs=1e-6)


def test_the_twin_never_groks_and_is_sparse_nowhere():
    twin, is_train, curves = modular.load(FOLDER / "no_decay")
    assert curves["train_accuracy"][-1] == 1 and curves["test_accuracy"][-1] < 0.05
    assert curves["new_accuracy"][-1] < 1 / P  # of questions whose mirror is new too, under chance
    assert len(grokking.key_frequencies(twin.W_E[:P])[0]) > 40
    assert torch.equal(is_train, modular.load(FOLDER / "decay")[1])


def test_snapshots_in_half_precision_tell_the_same_story(ships):
    kept = modular.snapshots(FOLDER / "decay")
    assert 10 <= len(kept) <= 16 and min(kept) == 0
    for step in (0, 4000, 6000):
        row = ships.curves["step"].index(step)
        losses = modular.scores(kept[step], torch.from_numpy(ships.is_train))
        assert losses["test_loss"] == pytest.approx(ships.curves["test_loss"][row], rel=0.02)


def test_what_ships_is_small_and_whole(tmp_path):
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 8 * 2**20
    with pytest.raises(MinimechError, match="no network in"):
        modular.load(tmp_path)
    for file in (FOLDER / "decay").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(MinimechError, match="truncated or altered"):
        modular.load(tmp_path)


# By hand


@pytest.mark.parametrize("p, frequencies", [(5, [1]), (7, [3]), (59, [2, 11]), (113, [14, 35, 41])])
def test_a_network_of_cosines_adds(p, frequencies):
    logits, _ = grokking.run_by_hand(*grokking.cosine_network(p, frequencies))
    right = logits.argmax(-1).numpy() == np.add.outer(np.arange(p), np.arange(p)) % p
    assert right.all()


def test_a_dead_neuron_belongs_to_no_frequency():
    own, explained = grokking.neuron_frequencies(torch.zeros(7, 7, 2) + torch.tensor([0.0, 3.0]))
    assert own.tolist() == [0, 0] and explained.tolist() == [0, 0]


def test_a_frequency_taken_out_is_gone_and_no_other():
    W = torch.randn(11, 4)
    left = grokking.without(W, 3)
    before, after = grokking.key_frequencies(W)[1], grokking.key_frequencies(left)[1]
    assert after[2] < 1e-9
    others = [0, 1, 3, 4]
    assert torch.allclose(after[others] / after[0], before[others] / before[0], atol=1e-5)


def test_a_matrix_of_another_make_is_refused():
    for rows in (114, 512):  # W_E with its "=", W_L not turned
        with pytest.raises(ValueError, match=rf"{rows} rows, and p is odd.*W_E\[:p\].*W_L.T"):
            grokking.key_frequencies(torch.randn(rows, 3))
    with pytest.raises(ValueError, match="6 rows"):
        grokking.neuron_frequencies(torch.randn(6, 6, 2))


# Others' networks


def random_weights(p, v, n, d=10, h=3, e=4, m=7, c=None, biases=()):
    """Draw weights of every size, with the biases that are named."""
    random = torch.Generator().manual_seed(p)
    shapes = {"W_E": (v, d), "W_pos": (n, d), "W_O": (h, e, d), "W_in": (d, m), "W_out": (m, d)}
    shapes |= {name: (h, d, e) for name in ("W_Q", "W_K", "W_V")} | {"W_U": (d, c or v)}
    extra = {"b_Q": (h, e), "b_K": (h, e), "b_V": (h, e), "b_O": (d,), "b_in": (m,)}
    extra |= {"b_out": (d,), "b_U": (c or v,)}
    shapes |= {name: extra[name] for name in biases}
    return {
        name: torch.randn(shape, generator=random, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def slowly(w, p, tokens):
    """Run one question through one layer with NumPy, a head and a token at a time."""
    w = {name: weight.numpy() for name, weight in w.items()}
    zero = lambda name, shape: w.get(name, np.zeros(shape))  # noqa: E731
    h, d, e = w["W_Q"].shape
    x = [w["W_E"][t] + w["W_pos"][i] for i, t in enumerate(tokens)]
    resid = x[-1] + zero("b_O", d)
    for i in range(h):
        q = x[-1] @ w["W_Q"][i] + zero("b_Q", (h, e))[i]
        keys = [one @ w["W_K"][i] + zero("b_K", (h, e))[i] for one in x]
        shares = np.exp([q @ k / math.sqrt(e) for k in keys])
        values = [one @ w["W_V"][i] + zero("b_V", (h, e))[i] for one in x]
        z = sum(share * value for share, value in zip(shares / shares.sum(), values))
        resid = resid + z @ w["W_O"][i]
    post = np.maximum(resid @ w["W_in"] + zero("b_in", w["W_in"].shape[1]), 0)
    return ((resid + post @ w["W_out"] + zero("b_out", d)) @ w["W_U"] + zero("b_U", 1))[:p], post


PLACES = {"W_E": "embed", "W_pos": "pos_embed", "W_U": "unembed", "b_U": "unembed"}


def named(weights):
    """Name weights as TransformerLens does."""
    mlp = ("W_in", "W_out", "b_in", "b_out")
    places = {name: "blocks.0.mlp" if name in mlp else "blocks.0.attn" for name in weights}
    return {f"{(places | PLACES)[name]}.{name}": weight for name, weight in weights.items()}


def as_nanda(weights):
    """Turn weights into the layout of the paper's own code."""
    turned = {name: weights[name].mT for name in ("W_E", "W_Q", "W_K", "W_V", "W_in", "W_out")}
    state = named(weights | turned | {"W_O": weights["W_O"].flatten(0, 1).T})
    return state | {"blocks.0.attn.mask": torch.tril(torch.ones(3, 3))}


ALL = ("b_Q", "b_K", "b_V", "b_O", "b_in", "b_out", "b_U")
LAYOUTS = {
    "ours": (random_weights(11, 12, 3, c=11, biases=("b_in", "b_out")), dict, ("=",)),
    "nanda": (random_weights(7, 8, 3, biases=("b_in", "b_out")), as_nanda, ("=",)),
    "nanda, square": (random_weights(9, 10, 3, d=10, m=10), as_nanda, ("=",)),
    "lens": (random_weights(11, 12, 3, c=11, biases=ALL), named, ("=",)),
    "lens, no mlp bias": (random_weights(13, 14, 3), named, ("=",)),
    "lens, no =, a token more": (random_weights(11, 12, 2, c=11), named, ("unused",)),
    "lens, no =": (random_weights(11, 11, 2, biases=ALL), named, ()),
    "lens, one head": (random_weights(5, 6, 3, h=1, e=10, c=5), named, ("=",)),
    "compiled": (random_weights(7, 8, 3), lambda w: prefixed(named(w), "_orig_mod."), ("=",)),
}


def prefixed(state, prefix):
    """Put a prefix before every name."""
    return {prefix + name: weight for name, weight in state.items()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_foreign_network_answers_as_a_slow_loop_does(name):
    weights, layout, end = LAYOUTS[name]
    network = foreign.read(layout(weights))
    p = network.p
    assert p == len(weights["W_E"]) - len(end)
    logits, neurons = modular.answers(network, p)
    assert logits.shape == (p, p, p)
    for a, b in ((0, 1), (1, 0), (p - 1, 2)):
        want, post = slowly(weights, p, [a, b, *([p] if end == ("=",) else [])])
        assert np.allclose(logits[a, b], want, atol=1e-9)
        assert np.allclose(neurons[a, b], post, atol=1e-9)
    assert grokking.restrict(logits, [1]).shape == logits.shape
    assert len(grokking.key_frequencies(network.W_L.T)[1]) == (p - 1) // 2


def test_our_own_network_read_as_another_says_the_same(ships):
    state = {name: weight.data for name, weight in ships.model.named_parameters()}
    a, b = torch.tensor([[3, 7], [100, 50], [0, 112]]).T
    for layout in (dict, named, as_nanda):
        network = foreign.read(layout(state))
        assert network.p == P
        assert np.allclose(network(a, b), ships.logits[a, b], atol=1e-3)
    assert np.allclose(network.W_L, ships.model.W_out @ ships.model.W_U, atol=1e-5)


def test_a_prompt_of_ones_own():
    weights = random_weights(7, 10, 4, c=7)
    network = foreign.read(named(weights), p=7, prompt=("a", 8, "b", 9))
    want, _ = slowly(weights, 7, [2, 8, 5, 9])
    assert np.allclose(network(torch.tensor([2]), torch.tensor([5]))[0], want, atol=1e-9)


def lens(**changes):
    """A TransformerLens state dict with something changed; None takes it out."""
    state = named(random_weights(11, 12, 3, c=11)) | changes
    return {name: weight for name, weight in state.items() if weight is not None}


REFUSED = {
    "second layer": lens(**{"blocks.1.attn.W_Q": torch.zeros(3, 10, 4)}),
    "layer norm": lens(**{"blocks.0.ln1.w": torch.zeros(10)}),
    "has no W_in": lens(**{"blocks.0.mlp.W_in": None}),
    "no weight that we know": lens(**{"blocks.0.mlp.W_gate": torch.zeros(10, 7)}),
    "d would be 9; in W_E it is 10": lens(**{"blocks.0.mlp.W_in": torch.zeros(9, 7)}),
    "not finite": lens(**{"unembed.W_U": torch.full((10, 11), math.nan)}),
    "hand over the state dict itself": {"model": lens(), "config": 3},
    "say how it is asked": lens(**{"pos_embed.W_pos": torch.zeros(5, 10)}),
    "an even p": lens(
        **{"pos_embed.W_pos": torch.zeros(2, 10), "unembed.W_U": torch.zeros(10, 12)}
    ),
    "3 positions, 12 tokens and modulo 9: say how": lens(**{"unembed.W_U": torch.zeros(10, 9)}),
    "second axis should be": as_nanda(random_weights(7, 8, 3))
    | {"blocks.0.attn.W_O": torch.zeros(10, 9)},
    "should have the axes": lens(**{"blocks.0.mlp.b_in": torch.zeros(7, 1)}),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_not_understood_is_refused_in_words(said):
    with pytest.raises(foreign.Unreadable, match=said):
        foreign.read(REFUSED[said])


@pytest.mark.parametrize("p, v, n, c", [(31, 33, 4, 33), (11, 12, 5, 11), (9, 12, 3, 9)])
def test_the_prompt_that_is_proposed_is_one_that_works(p, v, n, c):
    state = named(random_weights(p, v, n, c=c))
    with pytest.raises(foreign.Unreadable, match="say how it is asked") as refused:
        foreign.read(state)
    said = re.search(r"instance (prompt=.*), (p=\d+)$", str(refused.value))
    network = foreign.read(state, **eval(f"dict({said[1]}, {said[2]})"))
    assert network.p == p and network.prompt == ("a", "b", v - 1)
    assert torch.equal(network.numbers, state["embed.W_E"][:p])


def test_a_p_or_a_prompt_that_does_not_fit_is_refused():
    for more in ({"p": 13}, {"prompt": ("a", "b", 12)}, {"prompt": ("a", "b", "c")}):
        with pytest.raises(foreign.Unreadable, match="do not fit 12 tokens, 3 positions"):
            foreign.read(lens(), **more)


# The recipe


@pytest.fixture
def recipe(monkeypatch):
    """The recipe as a module, its clock and its network tiny."""
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "weights/recipes/grokking.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "P", 7)
    monkeypatch.setattr(module, "ModularAddition", lambda p: modular.ModularAddition(p, 8, 2, 16))
    monkeypatch.setattr(module, "EVERY", 2)
    monkeypatch.setattr(module, "KEEP", 4)
    monkeypatch.setattr(module, "SNAPSHOTS", (0, 8))
    return module


def options(**changes):
    """Options for twelve steps."""
    return SimpleNamespace(**{"seed": 0, "steps": 12, "fresh": False} | changes)


def test_an_interrupted_run_ends_with_the_very_weights_of_one_that_was_not(
    recipe, monkeypatch, tmp_path
):
    recipe.run(options(), 1.0, tmp_path / "whole")
    measure, calls = recipe.scores, []

    def interrupt(*args):
        calls.append(0)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return measure(*args)

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "scores", interrupt)
        with pytest.raises(KeyboardInterrupt):
            recipe.run(options(), 1.0, tmp_path / "cut")
    recipe.run(options(), 1.0, tmp_path / "cut")
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    histories = [(tmp_path / name / "history.json").read_text() for name in ("whole", "cut")]
    assert histories[0] == histories[1]
    assert json.loads(histories[0])["curves"]["step"] == list(range(0, 13, 2))
    model, is_train, _ = modular.load(tmp_path / "cut")
    assert model.p == 7 and is_train.sum() == int(0.3 * 49)
    assert list(modular.snapshots(tmp_path / "cut")) == [0, 8]


def test_a_loss_that_is_no_number_stops_the_run(recipe, monkeypatch, tmp_path):
    def broken(*args):
        for step, loss, adam in modular.train(*args):
            yield step, math.nan if step == 6 else loss, adam

    monkeypatch.setattr(recipe, "train", broken)
    with pytest.raises(SystemExit, match=r"nan at step 6; .*resume.pt keeps the last good state"):
        recipe.run(options(), 0.0, tmp_path)
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["step"] == 4


# make grok


def test_grok_can_be_watched_and_interrupted(tmp_path):
    env = os.environ | {"OUT": str(tmp_path), "STEPS": "100000", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(
        [sys.executable, "-u", "-m", "lessons.grok"], env=env, cwd=ROOT, **pipes
    )
    told = [running.stdout.readline() for _ in range(4)]
    assert "Addition modulo 53" in told[0] and told[-1].startswith("step     0")
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    said, errors = running.communicate(timeout=60)
    assert running.returncode == 130 and errors == "" and "Interrupted" in said
    assert (tmp_path / "grok" / "grok.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "grok" / "curves.json").read_text())[0]["step"] == 0


def test_grok_tells_what_its_curves_show(tmp_path, monkeypatch):
    monkeypatch.setattr(grok, "P", 5)
    monkeypatch.setattr(grok, "EVERY", 2)
    rows = []
    model = grok.watch(rows, 0, 1.0, 6)
    assert [row["step"] for row in rows] == [0, 2, 4, 6]
    for share, row in zip((0.0, 0.1, 0.6, 1.0), rows):
        row["new_accuracy"], row["train_accuracy"] = share, min(1.0, share * 10)
    told = grok.report(rows, model, tmp_path)
    assert "half were right at step 4" in told and "By step 2 it knew" in told
    assert "of new questions 100.0% are right" in told and "The waves" in told


@pytest.mark.parametrize("wrong", ["x", "-1"])
def test_grok_refuses_a_seed_that_is_none(wrong, monkeypatch):
    monkeypatch.setenv("SEED", wrong)
    with pytest.raises(SystemExit, match=f"grok: SEED={wrong}"):
        grok.main()


# The lesson


def test_the_lines_of_a_plot_share_one_scale_and_hide_no_peak():
    peak = [0.0] * 200
    peak[101] = 1.0
    rows = figures.text_line({"result": peak, "control": [0.01] * 200}).splitlines()
    levels = "▁▂▃▄▅▆▇█" if figures.unicode_works() else "_.-=*#"
    assert rows[0].split() == ["first", "last", "most"]
    assert levels[-1] in rows[1] and rows[1].split()[-3:] == ["0", "0", "1"]
    assert set(rows[2].split()[1]) == {levels[0]}


def run_lesson(root, out):
    """Run the lesson as a reader does."""
    return run_script("02_grokking", root, OUT=out)


@pytest.mark.slow
def test_the_lesson_runs_and_every_row_holds(tmp_path):
    done = run_lesson(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = json.loads((tmp_path / "02" / "results.json").read_text())
    assert {row["status"] for row in rows} == {"ok"} and len(rows) >= 50
    lines = [line for line in done.stdout.splitlines() if "index.html" not in line]
    assert max(map(len, lines)) <= 100
    html = (tmp_path / "02" / "index.html").read_text(encoding="utf-8")
    assert html.count("<img ") == len(list((tmp_path / "02").glob("*.png"))) == 7

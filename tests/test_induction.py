"""Lesson 05: the small networks, their recipe and their card; the lesson runs, and can fail."""

import importlib.util
import itertools
import json
import math
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from test_lesson_03 import stand_in

from lessons.expect import Disagreement
from lessons.techniques import copiers, copying, induction, repeats
from minimech import HookedTransformer, MinimechError
from tests.clones import ROOT, run_script
from weights.sums import check_sums

SCRIPT = ROOT / "lessons" / "05_induction.py"
RUNS = ["fixed_one_layer", "fixed_two_layers", "one_layer", "seed1", "seed2", "seed3"]


@pytest.fixture(scope="module")
def net():
    torch.set_num_threads(1)
    return copiers.networks()


@pytest.fixture(scope="module")
def game():
    return repeats.anywhere(512, seed=999_999_999)


# ---- the games -----------------------------------------------------------------------------------


def test_where_the_next_token_can_be_told_it_follows_an_earlier_copy():
    tokens, can_tell = repeats.anywhere(300, seed=3)
    assert tokens.shape == can_tell.shape == (300, 49)
    assert (tokens[:, 0] == repeats.BOS).all() and (tokens[:, 1:] != repeats.BOS).all()
    sizes = can_tell.sum(1) + 1
    assert sizes.min() == 6 and sizes.max() == 12
    distances = set()
    for text, told in zip(tokens.tolist(), can_tell.tolist()):
        first, last = told.index(True), 48 - told[::-1].index(True) + 1  # the piece said again
        piece = text[first : last + 1]
        starts = [i for i in range(1, first) if text[i : i + len(piece)] == piece]
        assert starts and starts[0] + len(piece) <= first  # before it, and not overlapping
        distances.add(first - starts[0])
    assert min(distances) == 6 and max(distances) >= 35  # at any distance


def test_the_usual_game_and_texts_in_which_nothing_comes_again():
    tokens, can_tell = repeats.fixed(3, seed=0)
    assert torch.equal(tokens[:, 1:25], tokens[:, 25:]) and can_tell.sum() == 3 * 23
    assert can_tell[:, 25:48].all()
    assert repeats.fixed(2, seed=0, half=6)[0].shape == (2, 13)
    nothing = repeats.unrelated(200, seed=1)
    assert nothing.shape == (200, 49)
    assert (nothing[:, 1:25] == nothing[:, 25:]).float().mean() < 0.02
    assert torch.equal(repeats.anywhere(2, 7)[0], repeats.anywhere(2, 7)[0])
    assert not torch.equal(repeats.anywhere(2, 7)[0], repeats.anywhere(2, 8)[0])


# ---- the network ---------------------------------------------------------------------------------


def slow(net, tokens: list[int]) -> torch.Tensor:  # -> [p v]
    """Run a network in 64 bits, number by number where it is easy to be wrong."""
    W = {name: weight.double() for name, weight in net.state_dict().items()}

    def norm(row):
        if not net.normed:
            return row
        centred = row - row.mean()
        return centred / math.sqrt(float(centred @ centred) / len(row) + 1e-5)

    x = [W["W_E"][token] for token in tokens]
    for layer in range(len(net.blocks)):
        part = {name: W[f"blocks.{layer}.attn.W_{name}"] for name in "QKVO"}
        read, out = [norm(row) for row in x], []
        for q in range(len(tokens)):
            wrote = torch.zeros_like(x[0])
            for h in range(len(part["Q"])):
                query = (read[q] + W["W_pos"][q]) @ part["Q"][h]
                keys = [(read[k] + W["W_pos"][k]) @ part["K"][h] for k in range(q + 1)]
                scores = [math.exp(float(query @ key) / math.sqrt(len(query))) for key in keys]
                for k, score in enumerate(scores):
                    wrote += score / sum(scores) * (read[k] @ part["V"][h] @ part["O"][h])
            out.append(wrote)
        x = [row + wrote for row, wrote in zip(x, out)]
    return torch.stack([norm(row) @ W["W_U"] for row in x])


@pytest.mark.parametrize("normed", [True, False])
def test_the_network_is_what_its_docstring_says(normed):
    torch.manual_seed(1)
    net = repeats.Copier(2, 3, 12, 5, d_vocab=11, n_ctx=9, normed=normed).requires_grad_(False)
    tokens = [0, 3, 10, 3, 7, 2]
    assert torch.allclose(net(torch.tensor([tokens]))[0].double(), slow(net, tokens), atol=1e-4)


@pytest.mark.parametrize(
    "weight", ["W_E", "W_pos", "blocks.0.attn.W_O", "blocks.1.attn.W_K", "W_U"]
)
def test_a_weight_that_is_off_would_show(weight):
    torch.manual_seed(1)
    net = repeats.Copier(2, 3, 12, 5, d_vocab=11, n_ctx=9).requires_grad_(False)
    tokens = [0, 3, 10, 3, 7, 2]
    right = slow(net, tokens)
    net.get_parameter(weight).view(-1)[37] += 0.3
    assert not torch.allclose(net(torch.tensor([tokens]))[0].double(), right, atol=1e-4)


def test_positions_never_enter_the_stream(net, game):
    """Values do not carry them: two texts that differ in their order alone embed alike."""
    _, cache = net["seed1"].run_with_cache(game[0][:4])
    assert torch.equal(cache["hook_embed"], net["seed1"].W_E[game[0][:4]])


def test_sites_have_gpt2s_names_and_hooks_act():
    torch.manual_seed(0)
    net, tokens = repeats.Copier().requires_grad_(False), repeats.anywhere(2, 0)[0]
    logits, cache = net.run_with_cache(tokens)
    assert torch.equal(logits, net(tokens)) and set(cache) == set(net.sites())
    assert cache["blocks.1.attn.hook_pattern"].shape == (2, 4, 49, 49)
    silenced = net.run_with_hooks(tokens, [("blocks.0.attn.hook_z", lambda z, hook: 0 * z)])
    assert not torch.equal(silenced, logits)
    with pytest.raises(MinimechError, match="no activation is called"):
        net.run_with_hooks(tokens, [("blocks.0.hook_mlp_out", lambda z, hook: z)])


# ---- the recipe ----------------------------------------------------------------------------------


@pytest.fixture
def recipe(monkeypatch):
    """The recipe, on much smaller networks."""
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "weights/recipes/induction.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "Copier", lambda n_layers: repeats.Copier(n_layers, 2, 8))
    monkeypatch.setattr(module, "TEXTS", 4)
    monkeypatch.setattr(module, "EVERY", 2)
    monkeypatch.setattr(module, "KEEP", 4)
    monkeypatch.setattr(module, "SNAPSHOTS", (0, 8))
    return module


def options(out: Path, steps: int = 12) -> SimpleNamespace:
    return SimpleNamespace(steps=steps, fresh=False, out=out)


def test_an_interrupted_run_ends_with_the_very_weights_of_one_that_was_not(
    recipe, monkeypatch, tmp_path
):
    recipe.run(options(tmp_path / "whole"), "seed1")
    measure, calls = recipe.measure, []

    def interrupt(*args):
        calls.append(0)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return measure(*args)

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            recipe.run(options(tmp_path / "cut"), "seed1")
    recipe.run(options(tmp_path / "cut"), "seed1")
    whole, cut = (tmp_path / name / "seed1" for name in ("whole", "cut"))
    for file in ("model.safetensors", "snapshots.safetensors", "history.json", "SHA256SUMS"):
        assert (whole / file).read_bytes() == (cut / file).read_bytes(), file
    curves = repeats.load(cut)[1]
    assert curves["step"] == [0, 2, 4, 6, 8, 10, 12]
    assert list(repeats.snapshots(cut)) == [0, 8]


def test_a_loss_that_is_no_number_stops_the_run(recipe, monkeypatch, tmp_path):
    def broken(*args):
        for step, loss, adam in repeats.train(*args):
            yield step, math.nan if step == 6 else loss, adam

    monkeypatch.setattr(recipe, "train", broken)
    with pytest.raises(SystemExit, match=r"nan at step 6; .*resume.pt keeps the last good state"):
        recipe.run(options(tmp_path), "one_layer")
    assert torch.load(tmp_path / "one_layer" / "resume.pt", weights_only=True)["step"] == 4


def test_the_last_step_is_kept_whatever_its_number(recipe, tmp_path):
    recipe.run(options(tmp_path, steps=3), "one_layer")
    folder = tmp_path / "one_layer"
    assert repeats.load(folder)[1]["step"] == [0, 2, 3]
    assert json.loads((folder / "history.json").read_text())["config"]["steps"] == 3
    last = load_file(folder / "all" / "00003.safetensors")
    assert all(torch.equal(last[name], w) for name, w in repeats.load(folder)[0].named_parameters())
    recipe.run(options(tmp_path, steps=5), "one_layer")  # and the run goes on from there
    assert repeats.load(folder)[1]["step"] == [0, 2, 3, 4, 5]


def test_a_damaged_state_is_named_and_how_to_go_on(recipe, tmp_path):
    (tmp_path / "one_layer").mkdir()
    for damaged in (b"", b"nonsense"):
        (tmp_path / "one_layer" / "resume.pt").write_bytes(damaged)
        with pytest.raises(SystemExit, match=r"resume.pt cannot be read .*--fresh starts over"):
            recipe.run(options(tmp_path), "one_layer")
    torch.save({"step": 4}, tmp_path / "one_layer" / "resume.pt")
    with pytest.raises(SystemExit, match="--fresh starts over"):
        recipe.run(options(tmp_path), "one_layer")


@pytest.mark.parametrize(
    "wrong, said",
    [
        (["two_layers"], "there is no run called two_layers"),
        (["--steps", "-5"], "--steps is 0 or more"),
        (["--out", str(SCRIPT)], "--out is a folder"),
    ],
    ids=["run", "steps", "out"],
)
def test_wrong_options_get_a_sentence(recipe, wrong, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["induction.py", *wrong])
    with pytest.raises(SystemExit):
        recipe.main()
    assert said in capsys.readouterr().err


def test_what_ships_begins_as_the_recipe_begins():
    """The first snapshot is the network that the seed draws: in float16."""
    torch.manual_seed(1)
    drawn = repeats.Copier(2)
    kept = load_file(copiers.FOLDER / "seed1" / "snapshots.safetensors")
    for name, weight in drawn.named_parameters():
        assert torch.equal(weight.half(), kept[f"0.{name}"]), name


# ---- the card ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_files_are_what_they_should_be(name, tmp_path):
    folder = copiers.FOLDER / name
    check_sums(folder, whole=True)
    history = json.loads((folder / "history.json").read_text())
    assert history["config"]["steps"] == 2500 and history["curves"]["step"][-1] == 2500
    copy = shutil.copytree(folder, tmp_path / name)
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(MinimechError, match="truncated or altered"):
        repeats.load(copy)


def test_there_are_six_and_they_are_small(net):
    assert sorted(net) == RUNS
    files = [file for file in copiers.FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 4 * 2**20


def test_the_last_step_of_the_curves_is_the_network_that_ships(net, game):
    for name in RUNS:
        texts = repeats.fixed(512, 999_999_999) if name.startswith("fixed") else game
        curves = repeats.load(copiers.FOLDER / name)[1]
        loss, share = repeats.loss_and_accuracy(net[name](texts[0]), *texts)
        assert curves["accuracy"][-1] == pytest.approx(share.item(), abs=2e-3), name
        assert curves["loss"][-1] == pytest.approx(loss.item(), rel=0.05, abs=1e-3), name


def test_snapshots_in_float16_do_what_they_did(game):
    curves = repeats.load(copiers.FOLDER / "seed1")[1]
    for step, net in repeats.snapshots(copiers.FOLDER / "seed1").items():
        share = copiers.accuracy(net, *game)
        assert share == pytest.approx(curves["accuracy"][curves["step"].index(step)], abs=5e-3)


def test_the_card_says_what_the_networks_score(net, game):
    card = (ROOT / "weights" / "README.md").read_text(encoding="utf-8")
    section = card[card.index("## induction") :]
    for name in ("one_layer", *copiers.SEEDS):
        looks = copiers.looks(net[name], *game)
        line = next(line for line in section.splitlines() if line.startswith(f"| {name} |"))
        cells = [[float(x) for x in re.findall(r"[\d.]+", cell)] for cell in line.split("|")[2:5]]
        alone = [copiers.silent(net[name], *game, [head]) for head in range(4)]
        accuracy = 100 * copiers.accuracy(net[name], *game)
        measured = [[accuracy], looks.previous[0].tolist(), alone]
        for said, got, tolerance in zip(cells, measured, (0.2, 0.011, 0.01)):
            assert said == pytest.approx(got, abs=tolerance), name


def test_the_tokens_are_copied_at_any_distance_or_at_one(net):
    for half in (12, 23, 24):
        texts = repeats.fixed(128, 4, half)
        assert all(copiers.accuracy(net[seed], *texts) > 0.9 for seed in copiers.SEEDS)
        assert (copiers.accuracy(net["fixed_one_layer"], *texts) > 0.9) == (half == 24)


# ---- what the lesson asks ------------------------------------------------------------------------


def test_shares_are_of_the_places_that_count():
    pattern = torch.zeros(1, 1, 3, 3)
    pattern[0, 0] = torch.tensor([[1.0, 0, 0], [0.4, 0.6, 0], [0.1, 0.2, 0.7]])
    keys, counted = torch.tensor([[0, 0, 1]]), torch.tensor([[False, True, True]])
    assert induction.attention_to(pattern, keys, counted).tolist() == pytest.approx([0.3])


def test_product_norm_is_the_length_of_the_big_matrix():
    left, right = torch.randn(2, 9, 3), torch.randn(2, 3, 9)
    expected = torch.linalg.matrix_norm(left @ right)
    assert torch.allclose(induction.product_norm(left, right), expected, rtol=1e-5)


def test_texts_for_a_language_model_say_every_word_twice():
    model = HookedTransformer.from_pretrained("world")
    tokens = copying.said_twice(model, 5, texts=3, seed=0)
    assert (tokens[:, 0] == model.tokenizer.bos).all()
    assert torch.equal(tokens[:, 1:6], tokens[:, 6:])
    other = copying.said_twice(model, 5, texts=3, seed=0, again=False)
    assert not torch.equal(other[:, 1:6], other[:, 6:]) and torch.equal(other[0, :6], tokens[0, :6])
    assert all(word.startswith(" ") for word in model.to_str_tokens(tokens[0])[1:])
    assert math.isnan(copying.price(model, tokens)[0])
    everyone = [(1, head) for head in range(3)]
    assert copying.copied(model, tokens) > 0.9
    assert copying.copied(model, tokens, answers=tokens.roll(1, 0)) < 0.1
    assert copying.copied(model, tokens, copying.silenced(everyone, "zero")) < 0.2


def test_the_network_made_by_hand_is_right_at_every_distance():
    hand = repeats.built(induction.by_hand(100, 41))
    generator = torch.Generator().manual_seed(5)
    for n in (2, 5, 13, 20):
        once = 1 + torch.stack([torch.randperm(99, generator=generator)[:n] for _ in range(8)])
        tokens = torch.cat([torch.zeros(8, 1).long(), once, once], 1)
        assert torch.equal(hand(tokens)[:, n + 1 : -1].argmax(-1), tokens[:, n + 2 :])


# ---- the lesson ----------------------------------------------------------------------------------


def cells() -> dict[int, str]:
    """Split the script into its cells, each on the lines where it stands; 0 is what comes first."""
    text = SCRIPT.read_text(encoding="utf-8")
    starts = [0, *(at.start() for at in re.finditer(r"^# %% ", text, re.M)), len(text)]
    parts = enumerate(itertools.pairwise(starts))
    return {n: "\n" * text.count("\n", 0, first) + text[first:end] for n, (first, end) in parts}


def play(names: dict, *sources: str) -> dict:
    """Run cells in this process, one after the other, on the same names."""
    with torch.no_grad():  # the script switches gradients off for good; this brings them back
        for source in sources:
            exec(compile(source, str(SCRIPT), "exec"), names)
    return names


@pytest.fixture(scope="module")
def lesson_until(tmp_path_factory):
    """Play some cells on a model; what they leave behind in this process is undone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setattr(sys, "path", [*sys.path])

        def until(model: str, *numbers: int) -> dict:
            patch.setenv("MODEL", model)
            patch.setattr("lessons.lesson.OUT", tmp_path_factory.mktemp("out"))
            script = cells()
            return play({"__file__": str(SCRIPT)}, *(script[n] for n in numbers))

        yield until


@pytest.fixture(scope="module")
def honest_game(lesson_until) -> dict:
    """The names after cell 15, the language model's cells left out: none of them is used later."""
    return lesson_until("world", 1, 12, 15)


@pytest.mark.slow
def test_the_lesson_runs_and_every_row_holds(tmp_path):
    done = run_script("05_induction", OUT=tmp_path, MODEL="world")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    rows = json.loads((tmp_path / "05" / "results.json").read_text())
    assert {row["status"] for row in rows} == {"ok"} and len(rows) >= 80
    lines = [line for line in done.stdout.splitlines() if "index.html" not in line]
    assert max(map(len, lines)) <= 100
    html = (tmp_path / "05" / "index.html").read_text(encoding="utf-8")
    assert len(list((tmp_path / "05").glob("*.png"))) == 12 and "<img " in html


def test_on_a_random_model_nothing_copies_and_the_lesson_ends(lesson_until, tmp_path):
    """The way that GPT-2 goes, on a stand-in: the cells that ask a language model."""
    model = str(stand_in(tmp_path / "model"))
    lesson = lesson_until(model, *range(1, 13), 14, len(cells()) - 1)["lesson"]
    rows = {row["id"]: row for row in lesson.rows}
    assert rows["9.1"]["observed"] < 0.5 and rows["9.1"]["status"] == "look"
    assert {row["status"] for row in rows.values()} == {"ok", "look"}
    assert (lesson.folder / "index.html").exists()


BREAKS = [
    ("after_last", "last < 0, -1, last + 1)", "last < 0, -1, last)", 15, "15.4"),
    ("by_hand", "place.roll(-1, 1)", "place.roll(1, 1)", 18, "18.1"),
    ("by_hand", "[sharp * place.roll(-1, 1), sharp * own]", "[place.roll(-1, 1), own]", 18, "18.1"),
    ("", "*game, [one]) for one in", '*game, [one], how="resample") for one in', 16, "16.1"),
]


@pytest.mark.parametrize("name, right, wrong, cell, row", BREAKS, ids=[0, 1, 2, 3])
def test_break_it_does_what_it_says(honest_game, monkeypatch, name, right, wrong, cell, row):
    """Each edit, in the technique (where it has a name) or in the cell, stops its cell."""
    source = cells()[cell]
    if name:
        path = ROOT / "lessons" / "techniques" / "induction.py"
        text = path.read_text(encoding="utf-8")
        assert text.count(right) == 1
        edited: dict = {}
        exec(compile(text.replace(right, wrong), str(path), "exec"), edited)
        monkeypatch.setattr(induction, name, edited[name])
    else:
        assert source.count(right) == 1
        source = source.replace(right, wrong)
    with pytest.raises(Disagreement, match=f"^Row {row}, "):
        play({**honest_game}, source)

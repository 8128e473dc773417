"""Lesson 06: patches against plain definitions, its stories, its rows, and its breaks."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from test_predict import at_terminal

from lessons.checks import patching_loops as loops
from lessons.techniques import patching, stories
from lessons.techniques.sweep import LogitDiff, Nodes, sweep
from lessons.telling import guess, page
from minimech import HookedTransformer, ModelConfig, Tokenizer
from minimech.weights import save_pretrained
from tests.clones import run_script

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "lessons" / "06_patching.py"
MINE = {
    "6.1": "patched, clean, corrupted = (x.double().mean(-1) for x in (patched, clean, corrupted))"
    "\n    return (patched - corrupted) / (clean - corrupted)",
    "6.2": "source = position if source is None else source\n\n    def hook(activation, hook):"
    "\n        activation[:, position] = donor[:, source]\n\n    return hook",
}  # in 64 bits; in place, with nothing returned
SHIPS = (ROOT / "weights" / "world" / "model.safetensors").exists()
KINDS = {
    "told": stories.told(stories.PEOPLE),
    "other gives": stories.other_gives(),
    "other people": stories.other_people(),
    "other receiver": stories.other_receiver(),
    "elsewhere": stories.elsewhere(0) + stories.elsewhere(1),
    "same giver": stories.elsewhere(0, giver=True),
}


def all_texts() -> list[str]:
    return [text for texts in (*KINDS.values(), *stories.homes()[:3]) for text in texts]


def stand_in(folder: Path, n_layers: int = 3, without: str = "") -> Path:
    """Write a random model whose vocabulary has the lesson's words in it."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [" ".join(all_texts()), *all_texts(), *(f" {city}" for city in stories.homes()[3])]
    words = sorted({word for text in texts for word, _ in cut.pre_tokenize_str(text)} - {without})
    backend = Backend(models.WordLevel({w: i for i, w in enumerate(["<|endoftext|>", *words])}))
    backend.pre_tokenizer, backend.decoder = cut, decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    torch.manual_seed(0)
    sizes = {"n_layers": n_layers, "n_heads": 4, "d_model": 32, "n_ctx": 20}
    model = HookedTransformer(ModelConfig(**sizes, d_vocab=len(words) + 1), Tokenizer(backend))
    for weight in model.parameters():
        weight.data += torch.randn_like(weight) * 0.15
    return save_pretrained(model, folder)


def run_lesson(root: Path, model: str | Path, out: Path, **env) -> subprocess.CompletedProcess:
    """Run the lesson as a reader does, with nobody at the keyboard."""
    return run_script("06_patching", root, **{"MODEL": model, "OUT": out, **env})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the lesson once, at a terminal that is asked: -> what it said, its folder in out."""
    if not SHIPS:
        pytest.skip("weights/world is not here")
    folder = copy_of_the_clone(tmp_path_factory.mktemp("clone"))
    said, status = at_terminal(folder, ["0\n"] * len(page.questions(SCRIPT)), SCRIPT.stem)
    assert status == 0, said
    return said, folder / "out" / "06"


def copy_of_the_clone(folder: Path) -> Path:
    for name in ("lessons", "minimech", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for name in ("tests", "weights"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def rows_of(folder: Path) -> dict:
    return {row["id"]: row for row in json.loads((folder / "results.json").read_text())}


# ---- the lesson ----------------------------------------------------------------------------------


def test_it_runs_and_every_row_is_held_against_something(run):
    said, out = run
    assert "Warning" not in said and "Traceback" not in said
    statuses = [row["status"] for row in rows_of(out).values()]
    assert set(statuses) == {"ok"} and len(statuses) >= 60
    told = [line for line in said.splitlines() if "index.html" not in line]
    assert max(map(len, told)) <= 100


def test_its_surprises_are_surprises(run):
    rows = {id: row["observed"] for id, row in rows_of(run[1]).items()}
    assert rows["4.1"] == pytest.approx(1) and abs(rows["4.2"]) < 0.01  # all of it, then nothing
    assert abs(rows["6.3"]) < 0.05 < 0.9 < rows["6.2"]  # one story, two maps
    assert rows["7.1"] > 2  # shares are no slices of a cake
    assert rows["9.1"] < 0.05  # a fifth of the one metric, nothing of the other
    assert abs(rows["11.1"]) < 1e-4 and rows["11.5"] > 1  # a mean of 0, and not idle
    assert rows["12.2"] > rows["12.1"] and rows["12.4"] < rows["12.3"]
    assert abs(rows["12.5"]) < 0.01 and rows["12.6"] > 10 * rows["12.7"]  # a mean that hides
    assert rows["13.2"] > 1.5 * rows["13.1"]  # together more than their sum
    assert rows["13.4"] == pytest.approx(rows["13.3"], abs=1e-4)  # by what comes behind them
    assert rows["14.1"] > 0.3 and abs(rows["8.4"]) < 0.01  # another corruption
    assert 0.2 < rows["15.1"] < 0.5 < rows["15.3"] and rows["15.7"] > 0.3  # any donor will do
    assert rows["16.1"] < 0.4 and rows["16.3"] > 0.9 and rows["17.3"] < 0.8
    assert abs(rows["18.2"]) > 0.2 and abs(rows["18.3"]) < 0.01  # the head that was not there
    assert abs(rows["18.4"]) < 0.05 and rows["18.5"] > 0.85 and abs(rows["18.6"] - 1) < 0.01
    assert rows["20.2"] == 2 and rows["20.4"] == 1


@pytest.mark.parametrize("n_layers", [1, 3])
def test_it_runs_to_its_end_on_any_model_with_the_words(n_layers, tmp_path):
    """The one of three layers with a reader's answers that are right and differ in kind."""
    folder, mine = copy_of_the_clone(tmp_path), str(int(n_layers == 3))
    written = folder / "lessons" / "exercises" / "patching.py"
    text = written.read_text()
    for id, lines in MINE.items():
        assert text.count(f'raise NotImplementedError("exercise {id}")') == 1
        text = text.replace(f'raise NotImplementedError("exercise {id}")', lines)
    written.write_text(text)
    model = stand_in(tmp_path / "stand-in", n_layers)
    done = run_lesson(folder, model, tmp_path / "out", MINE=mine)
    assert done.returncode == 0, done.stderr
    assert ("Yours: 6.1 normalised, 6.2 put" in done.stdout) == (mine == "1")
    statuses = [row["status"] for row in rows_of(tmp_path / "out" / "06").values()]
    assert set(statuses) == {"ok", "look"} and statuses.count("ok") >= 14


def test_a_word_that_is_missing_is_told_in_a_sentence(tmp_path):
    folder = stand_in(tmp_path / "stand-in", without="Mark")
    done = run_lesson(ROOT, folder, tmp_path / "out")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("lesson: ") and "'Mark'" in done.stderr


def test_the_page_has_its_figures(run):
    html = (run[1] / "index.html").read_text(encoding="utf-8")
    assert html.count("<img ") == len(list(run[1].glob("*.png"))) == 11
    for cell in page.read(SCRIPT)[1]:
        assert f"<h2>{cell.title}</h2>" in html


BREAKS = [
    ("patching", "donor[:, source]", "donor[:, source - 1]", "4.1"),
    ("patching", "resid[:, -1]", "resid[:, -2]", "19.2"),
    ("patching", "(new[site] - old[site])", "new[site]", "16.3"),
    ("stories", '("Martin", "Amy")', '("Anna", "Paul")', None),
]


@pytest.mark.parametrize("file, right, wrong, row", BREAKS, ids=["place", "resume", "all", "names"])
def test_break_it_does_what_it_says(file, right, wrong, row, tmp_path):
    if not SHIPS:
        pytest.skip("weights/world is not here")
    path = copy_of_the_clone(tmp_path) / "lessons" / "techniques" / f"{file}.py"
    source = path.read_text()
    assert source.count(right) == 1
    path.write_text(source.replace(right, wrong))
    done = run_lesson(tmp_path, "world", tmp_path / "out")
    assert done.returncode == (row is not None), done.stderr
    if row:
        assert re.match(rf"Row {row}, .+: predicted .+, observed ", done.stderr)
    else:
        assert rows_of(tmp_path / "out" / "06")["8.1"]["status"] == "look"


def test_it_asks_and_no_answer_is_told_before(run):
    said, out = run
    asked = [row for row in rows_of(out).values() if row["reader"]]
    assert len(asked) == len(page.questions(SCRIPT)) == 15
    for row in asked:
        echo = f"You said {guess.written(row['reader']['said'])}, observed {row['seen']}"
        assert said.index(echo) < said.index(f"  ok   {row['id']} ")


def test_the_first_line_is_a_question():
    assert ast.get_docstring(ast.parse(SCRIPT.read_text())).splitlines()[0].endswith("?")


# ---- its stories ---------------------------------------------------------------------------------


def test_the_eight_stories_are_the_published_ones():
    entries = json.loads((ROOT / "tests" / "reference" / "gpt2_published.json").read_text())
    published = {entry["id"]: entry for entry in entries["entries"]}
    assert set(KINDS["told"]) == set(published["D1"]["prompts"])
    by_prompt = dict(zip(published["D1"]["prompts"], published["D3"]["prompts"]))
    assert [by_prompt[text] for text in KINDS["told"]] == KINDS["other gives"]
    assert stories.DEMO["3.1"].low < published["D2"]["expected"] < stories.DEMO["3.1"].high


def test_what_is_known_of_gpt2_is_what_the_demo_shows(shared):
    maps = shared / "reference" / "gpt2_small_heatmaps.json"
    if not maps.exists():
        pytest.skip("no published heat maps beside the repo")
    found = {name: torch.tensor(grid) for name, grid in json.loads(maps.read_text()).items()
             if "exploratory/cell" in name and isinstance(grid, list)}  # fmt: skip
    stream, attn, mlp, heads = (
        next(grid for name, grid in found.items() if name.endswith(f"Patched {what}"))
        for what in ("Residual Stream", "Attention Layer", "MLP Layer", "Head Output")
    )
    known = stories.DEMO
    assert stream[11, 10].item() == pytest.approx(known["4.2"], abs=1e-3)
    assert (attn.sum() + mlp.sum()).item() == pytest.approx(known["7.1"], abs=1e-3)
    assert mlp.max().item() == pytest.approx(known["7.3"], abs=1e-3) and mlp.max() > attn.max()
    assert divmod(mlp.argmax().item(), 15)[0] == 0 and known["7.2"] == "L0 mlp"
    for which, (head, share) in {"max": ("8.1", "8.2"), "min": ("8.3", "8.4")}.items():
        place = divmod(getattr(heads, f"arg{which}")().item(), 12)
        assert "L{}H{}".format(*place) == known[head]
        assert heads[place].item() == pytest.approx(known[share], abs=1e-4)


@pytest.mark.parametrize("other", [name for name in KINDS if name != "told"])
def test_stories_differ_in_names_alone(other):
    names = {name for pair in stories.PAIRS for name in pair}
    for one, two in zip(KINDS["told"], KINDS[other]):
        left, right = (re.findall(r"\w+", text) for text in (one, two))
        differ = [(a, b) for a, b in zip(left, right, strict=True) if a != b]
        assert differ and all(set(pair) <= names for pair in differ)


def test_who_gives_and_who_receives_is_as_promised():
    names = {name for pair in stories.PAIRS for name in pair}
    for i, (a, b, giver) in enumerate(stories.PEOPLE):
        words = [re.findall(r"\w+", KINDS[kind][i]) for kind in KINDS]
        said = [[word for word in text if word in names] for text in words]
        told, other_gives, people, receiver, elsewhere, same = said
        assert told == [a, b, giver] and other_gives == [a, b, stories.RECEIVERS[i]]
        assert not {a, b} & set(people) and len(set(people)) == 3
        assert receiver[2] == giver and stories.RECEIVERS[i] not in receiver
        assert receiver.index(giver) == told.index(giver)
        assert not {a, b} & set(elsewhere) and elsewhere[2] in elsewhere[:2]
        assert same[2] == giver and same.index(giver) != told.index(giver)
        assert stories.RECEIVERS[i] not in same


def test_all_words_are_single_tokens_of_gpt2(shared):
    from tokenizers import ByteLevelBPETokenizer

    if not (shared / "tokenizer" / "vocab.json").exists():
        pytest.skip("no tokenizer of GPT-2 beside the repo")
    files = [str(shared / "tokenizer" / name) for name in ("vocab.json", "merges.txt")]
    gpt2 = ByteLevelBPETokenizer(*files)
    for texts in (*KINDS.values(), *stories.homes()[:3]):
        for text in texts:
            assert len(gpt2.encode(text).ids) == len(re.findall(r"\w+|[.,]", text)), text
        assert len({len(gpt2.encode(text).ids) for text in texts}) == 1


# ---- its functions -------------------------------------------------------------------------------


@pytest.fixture
def model():
    return loops.tiny(3, n_layers=3)


@pytest.fixture
def runs():
    return loops.tokens(5, n=4, length=6)


def test_put_touches_one_position_and_heads_their_own(model, runs):
    corrupted = runs[1]
    caches = [model.run_with_cache(tokens)[1] for tokens in runs]
    site = "blocks.1.hook_resid_mid"
    changed = patching.put(caches[0][site], 3, source=1)(caches[1][site].clone(), None)
    assert torch.equal(changed[:, 3], caches[0][site][:, 1])
    assert torch.equal(changed[:, [0, 1, 2, 4, 5]], caches[1][site][:, [0, 1, 2, 4, 5]])
    hooks = patching.put_heads(caches[0], [(0, 2), (2, 1), (2, 0)], start=2, shift=1)
    seen = model.run_with_cache(corrupted, "*.hook_z", fwd_hooks=hooks)[1]
    assert torch.equal(seen["z", 0][:, 2:, 2], caches[0]["z", 0][:, 1:-1, 2])
    assert (seen["z", 0] - caches[1]["z", 0])[:, :, :2].abs().max() < 1e-12
    assert torch.equal(seen["z", 2][:, 2:, :2], caches[0]["z", 2][:, 1:-1, :2])
    assert (seen["z", 2] - caches[1]["z", 2])[:, :2].abs().max() < 1e-12


def test_the_plain_sweep_is_the_tool_s_and_the_faster_one_s(model, runs):
    metric = LogitDiff([1, 2, 3, 4], [5, 6, 7, 8])
    sites = [f"blocks.{layer}.hook_resid_pre" for layer in range(3)]
    slow = patching.sweep_stream(model, runs[1], runs[0], metric, sites)
    with patching.counted(model) as blocks:
        fast = patching.sweep_stream_faster(model, runs[1], runs[0], metric)
    tool = sweep(model, *runs, metric, Nodes("resid_pre", over="layer position")).values
    assert (slow - fast).abs().max() < 1e-12 and (slow - tool).abs().max() < 1e-10
    assert len(blocks) == 3 * 3 + 5 * 6  # runs[0] and runs[1] have their first word in common
    assert not model.blocks[0]._forward_hooks


def test_a_faster_sweep_that_skips_too_much_is_seen(model, runs, monkeypatch):
    metric = LogitDiff([1, 2, 3, 4], [5, 6, 7, 8])
    right = patching.sweep_stream_faster(model, *runs, metric)
    first = patching.first_difference
    monkeypatch.setattr(patching, "first_difference", lambda *both: first(*both) + 1)
    assert (patching.sweep_stream_faster(model, *runs, metric) - right).abs().max() > 1e-3


def test_attribution_is_the_slope_and_its_integral_the_rise(model, runs):
    clean, corrupted = runs
    sites = ["blocks.0.hook_resid_pre", "blocks.2.attn.hook_z"]
    found = patching.attribution(model, corrupted, clean, loops.metric, sites)
    for site, slopes in loops.slopes(model, corrupted, clean, loops.metric, sites).items():
        assert (found[site] - slopes).abs().max() < 1e-6
    rise = loops.metric(model(clean)[:, -1]) - loops.metric(model(corrupted)[:, -1])
    whole = patching.integrated(model, corrupted, clean, loops.metric, sites[:1], steps=40)
    assert (whole[sites[0]].sum(1) - rise).abs().max() < 1e-3 * rise.abs().max()
    assert (found[sites[0]].sum(1) - rise).abs().max() > 0.1 * rise.abs().max()


def test_on_mirrored_stories_noising_is_denoising(model):
    one, other = loops.tokens(5, n=3, length=6)
    clean, corrupted = torch.cat([one, other]), torch.cat([other, one])
    metric = LogitDiff([1, 2, 3, 5, 6, 7], [5, 6, 7, 1, 2, 3])
    both = [sweep(model, clean, corrupted, metric, Nodes("z", over="layer head"), way).normalised()
            for way in ("denoising", "noising")]  # fmt: skip
    assert (both[0] + both[1] - 1).abs().max() < 1e-9
    aside = LogitDiff([1, 2, 3, 5, 6, 7], [5, 6, 7, 1, 2, 4])  # a metric that is not mirrored
    both = [sweep(model, clean, corrupted, aside, Nodes("z", over="layer head"), way).normalised()
            for way in ("denoising", "noising")]  # fmt: skip
    assert (both[0] + both[1] - 1).abs().max() > 1e-3


def test_counting_leaves_nothing_behind_after_an_error(model, runs):
    with pytest.raises(ZeroDivisionError), patching.counted(model) as blocks:
        model(runs[0])
        raise ZeroDivisionError
    model(runs[0])
    assert blocks == [0, 1, 2]


def test_by_head_goes_layer_by_layer():
    found = {f"blocks.{i}.attn.hook_z": torch.full((2, 3, 4), i + 1.0) for i in range(2)}
    found["blocks.0.hook_resid_pre"] = torch.zeros(2, 3)
    assert patching.by_head(found).tolist() == [3.0] * 4 + [6.0] * 4

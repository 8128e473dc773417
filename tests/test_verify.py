"""`make verify`: its rows pass what is right, fail what is wrong, and none crashes."""

import json
import shutil
from math import inf, nan

import pytest
import torch
from safetensors.torch import load_file

from minimech import verify
from minimech.__main__ import main
from minimech.cache import Parts
from minimech.model import Past
from minimech.weights import load
from tests import proof
from tests.checkpoints import GPT2_SMALL, SEEDS, TINY, TINY_UNTIED, write_checkpoint


@pytest.fixture
def tiny(tmp_path):
    """Return the folder of a tiny random checkpoint."""
    return write_checkpoint(tmp_path / "tiny", TINY, SEEDS["tiny_tied"])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a folder "gpt2": its exact shapes, its tokenizer, random weights."""
    shared = proof.FIGURES.parents[2] / "shared" / "tokenizer"
    if not shared.is_dir():
        pytest.skip(f"needs GPT-2's tokenizer, and {shared} is not there")
    folder = write_checkpoint(tmp_path_factory.mktemp("weights") / "gpt2", GPT2_SMALL, 13)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(shared / name, folder / name)
    return folder


def passed(rows) -> list[bool]:
    return [row.difference <= row.tolerance for row in rows]


# the comparisons


def test_compare_shows_the_place_that_is_furthest_beyond_its_tolerance():
    expected, got = {"a": [1.0, 2.0], "b": [5.0]}, {"a": [1.1, 2.0], "b": [9.0]}
    row = proof.compare("", expected, got, {"a": 0.01, "b": 9}, "")
    assert (row.expected, row.got) == (1.0, 1.1) and passed([row]) == [False]


@pytest.mark.parametrize(
    "expected, got, tolerance, right",
    [
        (1.0, 1.05, 0.1, True),
        (1.0, 1.2, 0.1, False),
        (1.0, nan, 0.1, False),
        (1.0, inf, 0.1, False),
        ([1.0, 2.0], [nan, 2.0], 0.1, False),
        ([1.0, 2.0], [1.0, nan], 0.1, False),
        ([1, 2], [1, 3], 0, False),
        ([[1.0]], [[1.0]], 0, True),
        ({"ids": [3], "text": " a"}, {"ids": [3], "text": " a", "more": 1}, 0, True),
        ({"ids": [3], "text": " a"}, {"ids": [3], "text": "a"}, 0.1, False),
        ({"ids": [3], "logits": [1.0]}, {"ids": [4], "logits": [1.0]}, 0.001, False),
        ({"p": [0.5], "z": [1.0]}, {"p": [0.51], "z": [1.01]}, {"p": 0.001, "z": 0.1}, False),
    ],
)
def test_compare_passes_and_fails(expected, got, tolerance, right):
    assert passed([proof.compare("", expected, got, tolerance, "")]) == [right]


def test_relative_treats_minus_infinity_as_equal_and_nan_as_wrong():
    expected = torch.tensor([-inf, 2.0, 1.0])
    assert passed([proof.relative("", expected, expected + 1e-5, "")]) == [True]
    assert passed([proof.relative("", expected, expected + 1e-4, "")]) == [False]
    for wrong in (torch.tensor([0.0, 2.0, 1.0]), torch.tensor([-inf, nan, 1.0])):
        assert passed([proof.relative("", expected, wrong, "")]) == [False]


# any model


def test_a_random_checkpoint_passes_every_row(tiny, capsys):
    rows = verify.verify(str(tiny))
    assert len(rows) == 7 and all(passed(rows)), rows
    assert max(row.difference for row in rows) < 2e-6  # the bar is ten times what was measured
    assert main(["verify", "--model", str(tiny)]) == 0
    assert "7 rows, 0 failed" in capsys.readouterr().out


def exact_gelu(x, approximate):
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def sees_the_next_token(q, k):
    return torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).triu(2)


def past_of_one_too_few(cache, upto):
    layers = range(cache.model.cfg.n_layers)
    return Past({i: (cache["k", i][:, : upto - 1], cache["v", i][:, : upto - 1]) for i in layers})


def without_the_embedding(stack, labels):
    return Parts(stack.clone().index_fill_(0, torch.tensor([0]), 0.0), labels)


@pytest.mark.parametrize(
    "where, bug, rows",
    [
        ("minimech.model.F.gelu", exact_gelu, {0, 5, 6}),
        ("minimech.model.is_future", sees_the_next_token, {1, 2, 5, 6}),
        ("minimech.cache.ActivationCache.past", past_of_one_too_few, {2}),
        ("minimech.cache.Parts", without_the_embedding, {3, 4}),
    ],
)
def test_planted_bugs_fail_their_rows(tiny, monkeypatch, where, bug, rows):
    monkeypatch.setattr(where, bug)
    found = passed(verify.verify(str(tiny)))
    assert {row for row, ok in enumerate(found) if not ok} >= rows, found


def test_a_wrong_hash_fails_its_row(tiny):
    (tiny / "notes.txt").write_text("x")
    (tiny / "SHA256SUMS").write_text(f"{'0' * 64}  notes.txt\n")
    assert passed(proof.recorded(load(write_checkpoint(tiny / "a", TINY, 1)), tiny)) == [False]


class Words:
    """A tokenizer whose words are numbers, for cards."""

    bos = 60

    def encode(self, text):
        return [int(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(str(i) for i in ids)


def test_a_card_is_held_to_the_model(tiny):
    model = load(tiny)
    model.tokenizer = Words()
    logits = model("3 41 17")[0, -1]
    best, second = logits.topk(2).indices.tolist()
    margin = (logits[best] - logits[second]).item()
    cases = [(best, second, margin), (best, second, margin + 0.1), (second, best, -margin)]
    for (answer, other, expected), ok in zip(cases, (True, False, False)):
        case = {"prompt": "3 41 17", "answer": str(answer), "other": str(other)}
        (tiny / "card.json").write_text(
            json.dumps({"canonical": [case | {"logit_diff": expected}]})
        )
        assert passed(proof.recorded(model, tiny)) == [ok], case


# what was published


def test_attributions_are_those_of_transformer_lens_on_processed_weights(tmp_path):
    model = load(write_checkpoint(tmp_path, TINY_UNTIED, SEEDS["tiny_untied"]))
    stored = load_file(proof.FIGURES / "tiny_decompositions.safetensors")
    cache = model.run_with_cache(stored["tokens"])[1]
    answers, others = stored["answers"], stored["others"]

    def ours(by):
        return torch.tensor(proof.attribution(cache, by, answers, others)["values"])

    def theirs(name):
        return stored[f"processed/{name}"][:, 0, -1]  # [part ...] of the last position

    W_U = load_file(proof.FIGURES / "tiny_untied_processed.safetensors")
    direction = W_U["processed/weights/unembed.W_U"][:, answers]
    direction = (direction - W_U["processed/weights/unembed.W_U"][:, others])[:, 0]  # [d]
    summed = theirs("apply_ln_to_stack/accumulated_resid") @ direction
    heads = theirs("logit_attrs_difference/stack_head_results")[:-1].view(3, 4)
    layers = theirs("logit_attrs_difference/decompose_resid")
    for by, expected in (("layer", layers), ("head", heads), ("accumulated", summed)):
        assert passed([proof.relative(by, expected, ours(by), "")]) == [True], by


def test_value_biases_belong_to_heads_in_one_convention_only(tmp_path):
    model = load(write_checkpoint(tmp_path, TINY, 11))
    entries = {
        "D": {"id": "D", "kind": "attribution", "by": "head", "tokens": [[3, 41, 17]]},
        "E": {"id": "E", "kind": "attribution", "by": "layer", "tokens": [[3, 41, 17]]},
    }
    for entry in entries.values():
        entry |= {"answers": [5], "others": [44], "expected": {}}
    (by_head, models), (by_layer, alone) = proof.both_ways(model, entries)
    assert len(models) == 2 and len(alone) == 1

    def values(one, entry):
        return torch.tensor(proof.measure(one, entry, entries, tmp_path)["values"])

    assert (values(models[0], by_head) - values(models[1], by_head)).abs().max() > 0.01
    torch.testing.assert_close(values(models[0], by_layer), values(models[1], by_layer))


@pytest.mark.slow
def test_gpt2_runs_every_row_and_random_weights_fail_them(small, monkeypatch, capsys):
    monkeypatch.setenv("MINIMECH_WEIGHTS", str(small.parent))
    assert main(["verify", "--model", "gpt2"]) == 1
    rows = [row.split()[0] for row in capsys.readouterr().out.splitlines() if " pass  " in row]
    figures = json.loads((proof.FIGURES / "gpt2_published.json").read_text())
    ids = [entry["id"] for entry in figures["entries"]]
    assert set(rows) & set(ids) <= {"H2", "H3", "H6"}  # vocab.json, merges.txt, number of weights


@pytest.mark.slow
@torch.no_grad()
def test_gpt2_passes_figures_made_from_its_own_weights(small, tmp_path, monkeypatch):
    model = load(small, name="gpt2")
    figures = json.loads((proof.FIGURES / "gpt2_published.json").read_text())
    kept = {(entry["kind"], entry.get("by")): entry for entry in figures["entries"][::-1]}
    kept |= {"D1": next(entry for entry in figures["entries"] if entry["id"] == "D1")}
    figures["entries"] = list(kept.values())  # one of each kind, and the prompts that they borrow
    entries = {entry["id"]: entry for entry in figures["entries"]}
    for entry, models in proof.both_ways(model, entries):
        if entry["kind"] != "file":
            got = proof.measure(models[-1], entry, entries, small)
            asked = entry["expected"]
            entry["expected"] = {k: got[k] for k in asked} if isinstance(asked, dict) else got
    (tmp_path / "gpt2_published.json").write_text(json.dumps(figures))
    monkeypatch.setattr(proof, "FIGURES", tmp_path)
    rows = list(proof.published(model, small))
    wrong = [row for row, ok in zip(rows, passed(rows)) if not ok]
    assert len(rows) == len(entries) >= 15
    assert [row.what[:2] for row in wrong] == ["H1"], wrong  # the published file's hash


def test_missing_figures_are_named(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verify, "FIGURES", tmp_path / "nowhere")
    assert main(["verify", "--model", str(tiny)]) == 2
    assert "nowhere is not there: `verify` runs in a clone" in capsys.readouterr().err
    monkeypatch.setattr(verify, "FIGURES", tmp_path)
    monkeypatch.setattr(proof, "FIGURES", tmp_path)
    assert main(["verify", "--model", str(tiny)]) == 2
    assert "gpt2_published.json cannot be read" in capsys.readouterr().err

"""The shipped world model holds what its card (weights/README.md) says of it."""

from pathlib import Path

import pytest
import torch

from minimech import HookedTransformer
from minimech.verify import verify
from weights.recipes import world_scores as scores

ROOT = Path(__file__).parents[1]

PREVIOUS, READER, MOVERS = (0, 0), (0, 1), ((1, 0), (1, 1))
SOME = (0, 3, 5, 6)  # templates


@pytest.fixture(scope="module")
def model():
    return HookedTransformer.from_pretrained(str(ROOT / "weights" / "world"))


def test_canonical_prompts_are_answered_with_the_indirect_object(model):
    for text, (right, wrong) in scores.PROMPTS.items():
        logits = model(text)[0, -1]
        assert logits.argmax() == scores.ID[right]
        assert logits[scores.ID[right]] - logits[scores.ID[wrong]] > 4


def test_verify_holds_the_model_to_its_card():
    rows = [row for row in verify("world") if row.source == "card.json"]
    assert {row.what for row in rows} == set(scores.PROMPTS)
    assert all(row.difference <= row.tolerance for row in rows)


def test_indirect_object_over_all_templates_and_orders_on_unseen_pairs(model):
    rows = scores.io_scores(model, 50).values()
    assert sum(right for right, _, _ in rows) / sum(n for _, n, _ in rows) >= 0.99
    assert sum(diff for _, _, diff in rows) / len(rows) >= 4


def test_the_other_behaviours_on_new_sentences(model):
    bars = dict.fromkeys(("pronoun", "agreement", "quotation", "context_fact"), 0.97)
    counts = scores.behaviours(model, 150, "test")
    for behaviour, bar in (bars | {"fact": 0.99}).items():
        right, n = counts[behaviour]
        assert scores.interval(right, n)[1] >= bar, (behaviour, right, n)


def test_repeated_random_words_are_copied(model):
    right, n = scores.repeats(model, 30)
    assert right / n >= 0.95


def test_the_loss_is_near_the_generators_entropy(model):
    loss, entropy, error = scores.loss_gap(model, 150)
    assert loss - entropy < 0.05 + 2 * error
    assert loss > entropy - 2 * error, "no model is better than the truth"


def test_one_head_looks_at_the_previous_token_and_copying_needs_it_alone(model):
    rows = scores.repeat_heads(model, 20)
    first = {head: row for head, row in rows.items() if head[0] == 0}
    assert max(first, key=lambda head: first[head]["previous"]) == PREVIOUS
    for head, row in first.items():
        assert (row["ablated"] < 0.5) == (head == PREVIOUS), (head, row)


def test_one_head_reads_the_subject_and_the_answer_turns_with_it_alone(model):
    rows = scores.io_heads(model, SOME)
    for head, row in rows.items():
        assert (row["exchanged"] < 0) == (head == READER), (head, row)
    for head in MOVERS:
        assert rows[head]["IO"] > 0.5 > 0.25 > rows[head]["S1"] + rows[head]["S2"]


def test_the_reader_works_through_the_movers_queries(model):
    """Control: the same change written straight to the unembedding, and the other early heads."""
    row = scores.path_patch(model, READER, 1, tuple(head for _, head in MOVERS), SOME)
    direct = scores.path_patch(model, READER, templates=SOME)
    assert row["patched"] < 0.25 * row["clean"] and row["S1 patched"] > row["IO patched"]
    assert row["clean"] - direct["patched"] < 0.2 * (row["clean"] - row["patched"])
    other = scores.path_patch(model, PREVIOUS, 1, tuple(head for _, head in MOVERS), SOME)
    assert abs(other["patched"] - other["clean"]) < 0.1 * other["clean"]


def test_the_tokenizer_splits_every_world_sentence_into_its_tokens(model):
    for text in scores.documents("tokens", 50):
        ids = scores.ids_of([text])[0]
        assert torch.equal(model.to_tokens(text.text)[0], ids)
        assert model.to_string(ids[1:]) == text.text

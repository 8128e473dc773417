"""The small world: its sentences, their labels, and that their costs are the exact entropy."""

import math
import os
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from lessons.techniques.prompts import io_prompts, repeated_sequence
from minimech import world
from minimech.world import VOCABULARY, Writer, documents, held_out
from weights.recipes.world_scores import whole_sentences

SENTENCES = list(documents("test", 200, repeats=0.0))


def test_a_document_fills_the_context_and_labels_every_token():
    for text in documents("shape", 50):
        assert len(text.tokens) == len(text.features) == len(text.nll) == len(text.scored) == 128
        assert text.tokens[0] == world.BOS and not text.scored[0]


def test_every_word_is_in_the_vocabulary_and_every_sentence_word_is_said():
    seen = Counter(token for text in documents("words", 1000) for token in text.tokens)
    assert len(VOCABULARY) == len(set(VOCABULARY)) and 500 <= len(VOCABULARY) <= 1000
    assert set(seen) <= set(VOCABULARY)
    assert set(world.SPACED) | set(',.?!"') < set(seen)


def test_the_same_seed_says_the_same_whatever_the_hash_seed():
    code = "from minimech.world import *; print([d.text for d in documents(7, 3)], VOCABULARY)"
    run = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout
        for seed in "12"
    ]  # fmt: skip
    assert run[0] == run[1]


def test_features_are_in_the_glossary():
    used = {name for text in documents("glossary", 200) for f in text.features for name in f}
    assert used == set(world.FEATURES)


def test_the_cost_of_a_sentence_is_minus_the_log_of_how_often_it_is_said():
    random, n, said, cost = Random(0), 20000, 0, None
    for _ in range(n):
        writer = Writer(random)
        writer.write("category")
        if writer_text(writer) == "We call the red a kind of color.":
            said, cost = said + 1, sum(writer.nll)
    share = math.exp(-cost)
    assert said / n == pytest.approx(share, abs=4 * math.sqrt(share / n))


def test_one_derivation_each_so_the_probabilities_of_all_sentences_sum_to_one():
    """A small kind, enumerated: every sentence of `fact`, each cost counted once."""
    costs = {}
    random = Random(0)
    for _ in range(60000):
        writer = Writer(random)
        writer.write("fact")
        costs[writer_text(writer)] = sum(writer.nll)
    assert 0.99 < sum(math.exp(-cost) for cost in costs.values()) < 1 + 1e-9


def test_sentences_that_read_alike_cost_alike():
    """Two derivations of one sentence would give it two costs."""
    random, costs = Random(1), {}
    for kind in 3000 * list(world.KINDS):
        writer = Writer(random)
        writer.write(kind)
        costs.setdefault(writer_text(writer), set()).add(round(sum(writer.nll), 9))
    assert max(len(cost) for cost in costs.values()) == 1


def writer_text(writer):
    """What was written so far, BOS left out."""
    return "".join(writer.tokens[1:])


def test_held_out_pairs_share_no_training_sentence_and_are_all_that_unseen_has():
    for text in SENTENCES:
        for words in people(text):
            assert not any(held_out(a, b) for a in words for b in words if a != b)
    prompts = io_prompts(64, 0)
    assert all(held_out(p.io, p.s) for p in prompts)
    assert not any(held_out(p.io, p.s) for p in io_prompts(64, 0, unseen=False))


def people(text):
    """The names in each sentence of kind io."""
    sentences = {}
    for token, feature in zip(text.tokens, text.features, strict=True):
        if feature.get("kind") == "io" and feature["class"] in ("male", "female"):
            sentences.setdefault(feature["sentence"], set()).add(token.strip())
    return sentences.values()


def test_the_answer_of_an_indirect_object_sentence_is_the_one_name_left():
    for text in SENTENCES:
        for i, feature in enumerate(text.features):
            if feature.get("behaviour") == "indirect_object":
                assert text.nll[i] == 0 and text.tokens[i] != feature["wrong"]
                assert text.features[i - 1]["role"] == "END"
                answer = text.tokens[i].strip()
                roles = {f.get("role") for t, f in before(text, i) if t.strip() == answer}
                assert roles & {"IO", "S1"}, "the name was introduced in this sentence"


def before(text, i):
    """Tokens and features of the same sentence before token i."""
    start = i - text.features[i]["place"]
    return zip(text.tokens[start:i], text.features[start:i], strict=True)


def test_profession_and_gender_are_independent():
    pairs = Counter(
        (f["subject_gender"], f["class"] == "profession" and t)
        for text in documents("jobs", 1500, repeats=0.0)
        for t, f in zip(text.tokens, text.features, strict=True)
        if f["class"] == "profession"
    )
    for job in world.WORDS["profession"]:
        male, female = pairs["male", " " + job], pairs["female", " " + job]
        assert abs(male - female) < 4 * math.sqrt(male + female)


def test_a_is_an_before_a_vowel():
    for text in SENTENCES:
        for token, following in zip(text.tokens, text.tokens[1:], strict=False):
            if token in (" a", " an"):
                assert (token == " an") == (following[1] in "aeiou")


def test_repeats_have_no_fixed_distance_and_only_what_follows_is_scored():
    gaps = Counter()
    for text in documents("repeats", 100, repeats=1.0):
        for i, feature in enumerate(text.features):
            if text.scored[i]:
                assert text.tokens[feature["copy_of"]] == text.tokens[i]
                gaps[i - feature["copy_of"]] += 1
    assert max(gaps.values()) < 0.1 * sum(gaps.values()) and len(gaps) > 50
    text = repeated_sequence(0, 20)
    assert text.tokens[1:21] == text.tokens[21:] and sum(text.scored) == 19


def test_sentences_begun_in_the_first_half_end_within_the_context():
    for text in SENTENCES:
        whole = whole_sentences(text)
        assert 64 < whole < 128
        assert text.tokens[whole - 1] in {".", "?", "!"}


def test_the_positions_of_an_indirect_object_prompt_point_at_its_names():
    for prompt in io_prompts(32, 1):
        words = [world.BOS, *prompt.text.replace(",", " ,").replace(".", " .").split()]
        at = prompt.positions
        assert words[at["IO"]] == prompt.io and words[at["S1"]] == words[at["S2"]] == prompt.s
        assert at["S1"] < at["S2"] < at["END"] == len(words) - 1
        assert (at["IO"] < at["S1"]) == (prompt.order == "ABBA")

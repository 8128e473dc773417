"""Labels of the world's words, and how they come out in another tokenizer's pieces."""

import pytest
import torch

from lessons.techniques.truth import CATEGORICAL, Labelled, labelled
from minimech import HookedTransformer


@pytest.fixture(scope="module")
def model():
    return HookedTransformer.from_pretrained("world")


def by_hand():
    rows = [
        [{"class": "BOS"}, {"class": "male", "gender": "male"}, {"class": "verb", "seen": False}],
        [{"class": "BOS"}, {"class": "pronoun", "gender": "male"}, {"class": "male"}],
    ]
    return Labelled(torch.tensor([[0, 1, 2], [0, 3, 1]]), rows)


def test_features_by_hand():
    features = by_hand().features(at_least=1)
    assert features[("gender", "male")].tolist() == [[False, True, False], [False, True, False]]
    assert features[("class", "male")].tolist() == [[False, True, False], [False, False, True]]
    assert ("class", "BOS") not in features  # no part of the language
    assert not {key[0] for key in features} - set(CATEGORICAL)  # "seen" is not told
    assert list(features) == sorted(features, key=str)
    assert list(by_hand().features(at_least=2)) == [("class", "male"), ("gender", "male")]


def test_where_and_has(model):
    text = labelled(model, 20, seed=5)
    assert text.tokens.shape == (20, 128)
    his = text.tokens == model.to_single_token(" his")
    assert his.any() and text.where("gender", "male")[his].all()
    assert not text.where("gender", "female")[his].any() and text.has("class").all()
    assert text.has("country").sum() == sum(
        at.sum() for (name, _), at in text.features(1).items() if name == "country"
    )


def test_seeds_give_other_text_and_the_same_again(model):
    first, second = labelled(model, 3, seed=1), labelled(model, 3, seed=2)
    assert not torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.tokens, labelled(model, 3, seed=1).tokens)


def test_every_piece_of_a_word_has_its_features(model):
    class Letters:
        """Cuts every word into two pieces: its number in the world's vocabulary, and a 7."""

        tokenizer = model.tokenizer

        def to_tokens(self, word, prepend_bos):
            return torch.cat([model.to_tokens(word, prepend_bos=False), torch.tensor([[7]])], 1)

    whole, cut = labelled(model, 4, seed=3), labelled(Letters(), 4, seed=3)
    assert cut.tokens.shape == whole.tokens.shape and (cut.tokens[:, 2::2] == 7).all()
    for name, value in (("gender", "male"), ("class", "city"), ("in_quote", True)):
        at = whole.where(name, value)[:, 1:64]
        assert torch.equal(cut.where(name, value)[:, 1:127:2], at)
        assert torch.equal(cut.where(name, value)[:, 2:127:2], at)

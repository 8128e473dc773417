"""The scores against the truth: by hand, and against slow loops."""

import math

import pytest
import torch

from lessons.techniques.sae import baselines, scores
from lessons.techniques.sae.scores import absorbed, auroc, best_f1, score_latents, split
from minimech import MinimechError

# six tokens; the feature is on the first three
Y = torch.tensor([1, 1, 1, 0, 0, 0], dtype=torch.bool)
F = torch.tensor([
    [5.0, 1.0, 0.0, 2.0],
    [4.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 1.0],
    [3.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0],
])  # fmt: skip


def test_f1_by_hand():
    best, least = best_f1(F, Y[:, None])
    # latent 0: above 4 two of three and nothing else: 2*2/(2+3) = .8; with 3 too: 2*2/(3+3)
    # latent 1: four tokens at once, two of them right: 2*2/(4+3); latent 3: 2*2/(2+3)
    assert best[0].tolist() == pytest.approx([0.8, 4 / 7, 0.0, 0.8])
    assert least[0].tolist() == [4.0, 1.0, math.inf, 1.0]


def test_auroc_by_hand():
    # latent 0: of 9 pairs: 5 and 4 beat all (6); 0 against 3, 0, 0: 0 + half + half
    # latent 1: 1, 1, 0 against 1, 0, 1: (.5+1+.5) twice, and 0+.5+0
    area = auroc(F, Y[:, None])[0]
    assert area.tolist() == pytest.approx([7 / 9, 4.5 / 9, 0.5, 2 / 3 + 1 / 6])


def slow_auroc(f, y):
    pairs = [(a > b) + 0.5 * (a == b) for a in f[y].tolist() for b in f[~y].tolist()]
    return sum(pairs) / len(pairs)


def slow_f1(f, y):
    best = (0.0, math.inf)
    for least in sorted(set(f.tolist()) - {0.0}):
        on = f >= least
        both = (on & y).sum().item()
        best = max(best, (2 * both / (on.sum().item() + y.sum().item()), least))
    return best


@pytest.mark.parametrize("sparse", [False, True])
def test_scores_are_those_of_slow_loops(sparse):
    torch.manual_seed(3)
    f = (torch.randn(57, 11).relu() * 3).round()  # many ties
    f[:, 4] = 0
    y = torch.rand(57, 5) < torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    given = f.to_sparse() if sparse else f
    (best, least), area = best_f1(given, y), auroc(given, y)
    for t in range(5):
        for j in range(11):
            expected = slow_f1(f[:, j], y[:, t])
            assert best[t, j].item() == pytest.approx(expected[0], abs=1e-6)
            if j != 4:
                on = f[:, j] >= least[t, j]
                both = 2 * (on & y[:, t]).sum() / (on.sum() + y[:, t].sum())
                assert both.item() == pytest.approx(expected[0], abs=1e-6)
            assert area[t, j].item() == pytest.approx(slow_auroc(f[:, j], y[:, t]), abs=1e-6)


def test_auroc_knows_of_negative_values():
    torch.manual_seed(1)
    f, y = torch.randn(40, 3) * (torch.rand(40, 3) < 0.6), torch.rand(40, 1) < 0.4
    expected = [slow_auroc(f[:, j], y[:, 0]) for j in range(3)]
    assert auroc(f, y)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_latent_is_judged_on_text_it_was_not_chosen_on():
    """Latent 0 is perfect on the first text and silent on the second; latent 1 is good on both."""
    y = torch.arange(60) < 30
    f = torch.zeros(60, 2)
    f[:30, 0] = 1.0
    f[3:30, 1] = 1.0
    held = f.clone()
    held[:, 0] = 0
    row = score_latents(f, {("a", 1): y}, held, {("a", 1): y})[0]
    assert (row.latent, row.ranks, row.chosen_f1, row.f1, row.auroc) == (0, 0, 1.0, 0.0, 0.5)
    assert row.tokens == 30 and row.always == pytest.approx(2 / 3)
    # and the threshold too is the first text's
    held[:30, 0] = 0.5
    assert score_latents(f, {("a", 1): y}, held, {("a", 1): y})[0].f1 == 0.0


def test_the_best_of_many_is_good_by_luck():
    """1,000 latents that mean nothing: the chosen one looks better than it is."""
    torch.manual_seed(0)
    f, held = torch.rand(120, 1000), torch.rand(120, 1000)
    y = {("a", 1): torch.arange(120) < 24}
    row = score_latents(f * (f > 0.8), y, held * (held > 0.8), y)[0]
    assert row.chosen_f1 > 0.45 and row.f1 < row.chosen_f1 - 0.1
    true = torch.zeros(120, 1)
    true[:24] = 1.0
    assert score_latents(true, y, true, y)[0].f1 == 1.0
    assert scores.shuffled(true, y, true, y)[0].f1 < 0.5


def test_split_by_hand():
    """A word each, and no latent for the class: any of the two is on at all of it."""
    y = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0], dtype=torch.bool)
    f = torch.zeros(8, 3)
    f[:2, 0] = f[2:4, 1] = f[4:, 2] = 1.0
    key = ("class", "pet")
    rows = score_latents(f, {key: y}, f, {key: y})
    assert rows[0].f1 == pytest.approx(2 / 3)
    assert {k: sorted(v) for k, v in split(f, {key: y}, rows).items()} == {key: [0, 1]}
    rows[0].f1 = 0.9  # as if one had done on held-out text
    assert split(f, {key: y}, rows) == {}
    f[:4, 2], f[4:, 2] = 1.0, 0.0  # one for the class: not split
    rows = score_latents(f, {key: y}, f, {key: y})
    assert rows[0].f1 == 1.0 and split(f, {key: y}, rows) == {}


def test_absorbed_by_hand():
    """Latent 0 is for pets, but at word 7 latent 1 is on in its place."""
    words = torch.tensor([5, 5, 6, 7, 7, 7, 9, 9])
    pets = words < 8
    f = torch.zeros(8, 3)
    f[:3, 0] = 1.0
    f[3:6, 1] = 1.0
    f[6:, 2] = 1.0
    assert absorbed(f, pets, words, 0, 1.0) == [(7, 1, 1.0)]
    f[3, 0] = 1.0  # once it speaks: still silent at most of the word's tokens
    assert absorbed(f, pets, words, 0, 1.0) == [(7, 1, pytest.approx(2 / 3))]
    f[4, 0] = 1.0
    assert absorbed(f, pets, words, 0, 1.0) == []
    f[3:5, 0], f[3:6, 1] = 0.0, 0.0  # silent, and nobody is on instead: missed, not absorbed
    assert absorbed(f, pets, words, 0, 1.0) == []
    f[3:6, 1] = f[:3, 1] = f[6:, 1] = 1.0  # on instead, but everywhere: not the word's own
    assert absorbed(f, pets, words, 0, 1.0) == []


def test_texts_that_share_no_feature_are_refused():
    with pytest.raises(MinimechError, match="share no feature"):
        score_latents(F, {("a", 1): Y}, F, {("b", 1): Y})


def test_untrained_dictionaries():
    torch.manual_seed(0)
    x = torch.randn(500, 7) @ torch.randn(7, 7) + 5
    for sae in (baselines.pca(x, 7), baselines.neurons(x, 7)):
        assert torch.allclose(sae(x), x, atol=1e-4)  # one sign of each of the 7 is on
        assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(14), atol=1e-5)
    first = baselines.pca(x, 1)
    wide = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][0]
    assert abs((first.W_dec[0] @ wide).item()) == pytest.approx(1, abs=1e-4)
    some = baselines.random(x, 30, 3, seed=1)
    assert (some.encode(x) > 0).sum(1).max() <= 3
    assert torch.equal(some.W_dec, baselines.random(x, 30, 3, seed=1).W_dec)


def test_the_probe_is_a_ceiling():
    """What is there linearly is found; what is not, is not."""
    torch.manual_seed(0)
    x = torch.randn(3000, 6) * torch.arange(1, 7) + 3
    y = torch.stack([x @ torch.randn(6) > 2, (x[:, 0] - 3).abs() > 1.5], 1)
    w, b = baselines.probes(x, y)
    right = (((x @ w + b) > 0) == y).float().mean(0)
    assert right[0] > 0.97 and right[1] < 0.9

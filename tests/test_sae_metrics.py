"""The field's numbers, each held to a case that was worked by hand."""

import math

import pytest
import torch
from torch import Tensor

from lessons.techniques.sae import baselines, metrics
from lessons.techniques.sae.autoencoders import SAE, Config
from lessons.techniques.truth import labelled
from minimech import HookedTransformer, MinimechError, ModelConfig
from minimech.tokens import pad

SITE = "blocks.0.hook_resid_post"
X = torch.tensor([[1.0, 10.0], [2.0, 10.0], [6.0, 40.0]])  # mean 3, 20; squares 14 and 600


class Given:
    """An autoencoder that reconstructs by a function, and whose latents are x itself."""

    def __init__(self, function, bos=False):
        self.cfg = Config(2, 2, "relu", site=SITE, bos=bos)
        self.function = function

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, f: Tensor) -> Tensor:
        return self.function(f)

    def splice(self, edit=None, error=True):
        return SAE.splice(self, edit, error)


def test_the_mean_explains_nothing_and_the_identity_all():
    assert metrics.explained_variance(X, X.mean(0).expand(3, -1)) == 0
    assert metrics.explained_variance(X, X) == 1


def test_explained_variance_as_saelens_has_it():
    """SAELens issue 665: per dimension and then averaged, or over one mean, it is not 0.8."""
    x, x_hat = torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    assert metrics.explained_variance(x, x_hat) == pytest.approx(0.8)  # 1 - 2 / 10


def test_explained_variance_sums_first_and_divides_once():
    x_hat = X + torch.tensor([1.0, 0.0])
    assert metrics.explained_variance(X, x_hat) == pytest.approx(1 - 3 / 614)
    assert metrics.explained_variance(X, -X) < 0  # worse than the mean


def test_l0_counts_what_is_on():
    assert metrics.l0(torch.tensor([[0.0, 3.0, 0.5], [0.0, 0.0, 9.0]])) == 1.5
    assert metrics.l0(torch.ones(2, 3, 5)) == 5


def test_dead_is_never_on_and_dense_on_in_more_than_a_tenth():
    f = torch.zeros(10, 4)
    f[0, 1] = f[0, 2] = f[1, 2] = 0.1
    rate = metrics.rates(Given(lambda f: f), f)
    assert rate.tolist() == pytest.approx([0, 0.1, 0.2, 0])
    assert metrics.dead(rate) == 0.5
    assert metrics.dense(rate) == 0.25  # 0.1 is not more than a tenth
    assert metrics.dense(torch.tensor([0.1001, 0.0])) == 0.5


def test_what_is_a_fifth_too_short_has_shrunk_by_a_fifth():
    mean = X.mean(0)
    assert metrics.shrinkage(X, X) == pytest.approx(0)
    assert metrics.shrinkage(X, mean + 0.8 * (X - mean)) == pytest.approx(0.2, abs=1e-6)
    assert metrics.shrinkage(X, mean + 1.25 * (X - mean)) == pytest.approx(-0.25, abs=1e-6)
    assert math.isnan(metrics.shrinkage(X, mean.expand(3, -1)))


def test_a_best_fit_has_not_shrunk_however_much_it_misses():
    """A projection is the best that its direction can do: short of x, but not shrunk."""
    direction = torch.tensor([0.6, 0.8])
    centred = X - X.mean(0)
    x_hat = X.mean(0) + (centred @ direction)[:, None] * direction
    assert metrics.explained_variance(X, x_hat) < 0.99
    assert metrics.shrinkage(X, x_hat) == pytest.approx(0, abs=1e-6)


def test_summary_is_its_parts_whatever_the_size_of_a_chunk(monkeypatch):
    torch.manual_seed(0)
    sae, x = SAE(Config(5, 11, "topk", 2)).requires_grad_(False), torch.randn(70, 5)
    whole = metrics.summary(sae, x)
    monkeypatch.setattr(metrics, "CHUNK", 16)
    assert metrics.summary(sae, x) == pytest.approx(whole)
    assert whole["l0"] == pytest.approx(metrics.l0(sae.encode(x)))
    assert whole["explained_variance"] == pytest.approx(metrics.explained_variance(x, sae(x)))


# ---- loss recovered ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> HookedTransformer:
    torch.manual_seed(0)
    cfg = ModelConfig(n_layers=2, n_heads=2, d_model=16, n_ctx=12, d_vocab=30)
    model = HookedTransformer(cfg).requires_grad_(False)
    for weight in model.parameters():
        weight += torch.randn_like(weight) * 0.3
    return model


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.arange(5 * 9).view(5, 9) * 7 % 30


@pytest.mark.parametrize("instead", ["zero", "mean"])
@pytest.mark.parametrize("bos", [True, False])
def test_the_identity_recovers_all_and_the_ablation_nothing(model, tokens, instead, bos):
    x = model.run_with_cache(tokens)[1][SITE][:, 0 if bos else 1 :].flatten(0, 1)
    level = x.mean(0) * (instead == "mean")
    nothing, all_of_it = Given(lambda f: 0 * f + level, bos), Given(lambda f: f, bos)
    assert metrics.loss_recovered(model, tokens, all_of_it, instead, batch=2) == pytest.approx(1)
    got = metrics.loss_recovered(model, tokens, nothing, instead, batch=2)
    assert got == pytest.approx(0, abs=1e-4)


def test_the_three_losses_are_those_of_three_runs(model, tokens):
    def ablate(x, hook):
        x[:, 1:] = 0
        return x

    half = Given(lambda f: 0.5 * f)
    clean, with_sae, without = metrics.losses(model, tokens, half, batch=2)
    assert clean == pytest.approx(model(tokens, return_type="loss").item(), abs=1e-5)
    hooked = model.run_with_hooks(tokens, [(SITE, ablate)], return_type="loss").item()
    assert without == pytest.approx(hooked, abs=1e-5)
    hooked = model.run_with_hooks(tokens, [half.splice(error=False)], return_type="loss").item()
    assert with_sae == pytest.approx(hooked, abs=1e-5) and abs(clean - with_sae) > 1e-3


def test_the_first_position_does_not_count_unless_it_was_trained_on(model, tokens):
    """Whatever it does to BOS alone, an autoencoder that leaves it out is not judged by it."""
    x = model.run_with_cache(tokens)[1][SITE]

    def spoils_bos(f):
        return torch.where((f - x[:1, :1]).abs().amax(-1, keepdim=True) < 1e-4, 9 - f, f)

    same = tokens.clone()
    same[:, 0] = tokens[0, 0]
    assert metrics.loss_recovered(model, same, Given(spoils_bos)) == pytest.approx(1)
    assert metrics.loss_recovered(model, same, Given(spoils_bos, bos=True)) != pytest.approx(
        1, abs=1e-4
    )


def test_another_worst_case_is_refused(model, tokens):
    with pytest.raises(MinimechError, match="'zero' or 'mean', not 'median'"):
        metrics.losses(model, tokens, Given(lambda f: f), "median")


def test_where_a_document_has_ended_nothing_is_counted():
    """Documents of several lengths, padded, against one by one."""
    model = HookedTransformer.from_pretrained("world").requires_grad_(False)
    whole = labelled(model, 3, seed=0).tokens
    texts = [row[:n][None] for row, n in zip(whole, (128, 40, 9))]
    site = "blocks.0.hook_resid_post"
    sae = baselines.random(torch.randn(50, model.cfg.d_model), 30, 3, site)
    hooks = [sae.splice(error=False)]
    each = [metrics.mean_loss(model, text, hooks, 1) * (text.shape[1] - 1) for text in texts]
    tokens = pad([text[0].tolist() for text in texts])
    mean = sum(each) / sum(text.shape[1] - 1 for text in texts)
    assert metrics.mean_loss(model, tokens, hooks, 2) == pytest.approx(mean, abs=1e-4)
    x = torch.cat([model.run_with_cache(text, site)[1][site][0, 1:] for text in texts])
    assert metrics.site_mean(model, tokens, site, 1, 2).allclose(x.mean(0), atol=1e-5)

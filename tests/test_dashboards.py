"""What a dashboard tells of a latent is what the autoencoder and the model do, number by number.

The oracles are slow loops over documents, tokens and pairs, with no function of survey.py,
effects.py, dashboards.py or search.py in them. The autoencoder is a random one, so that nothing is
right by luck; its sizes differ from all others.
"""

import math

import pytest
import torch

from lessons.figures import Plot
from lessons.techniques.sae import dashboards, effects, search
from lessons.techniques.sae.autoencoders import SAE, Config
from lessons.techniques.sae.dashboards import dashboard, describe
from lessons.techniques.sae.survey import survey
from lessons.techniques.truth import labelled
from minimech import HookedTransformer, MinimechError, ModelConfig
from tests.clones import ROOT

SITE, N_LATENTS, DEAD = "blocks.0.hook_resid_post", 61, 7
SOME = [0, 3, 18, 42, 60]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    if not (ROOT / "weights" / "world" / "model.safetensors").exists():
        pytest.skip("weights/world is not here")
    return HookedTransformer.from_pretrained("world")


@pytest.fixture(scope="module")
def text(model):
    return labelled(model, 5, seed=3)


def random_sae(model, text, bos=False) -> SAE:
    """An autoencoder of random directions, with biases, and one latent that is never on."""
    torch.manual_seed(0)
    sae = SAE(Config(model.cfg.d_model, N_LATENTS, "topk", k=5, site=SITE, bos=bos))
    with torch.no_grad():
        _, cache = model.run_with_cache(text.tokens, SITE)
        sae.b_dec[:] = cache[SITE].mean((0, 1))
        sae.b_enc[:] = torch.randn(N_LATENTS) / 10
        sae.b_enc[DEAD] = -1e3
        sae.W_dec *= torch.rand(N_LATENTS, 1) + 0.5  # published ones need not have norm 1
    return sae


class Rounded(SAE):
    """An autoencoder whose activations are often equal."""

    def encode(self, x):
        return (super().encode(x) * 2).round()


def rounded(sae) -> SAE:
    copy = Rounded(sae.cfg)
    copy.load_state_dict(sae.state_dict())
    return copy


@pytest.fixture(scope="module")
def sae(model, text):
    return random_sae(model, text)


@pytest.fixture(scope="module")
def seen(model, sae, text):
    return survey(model, sae, text)


@pytest.fixture(scope="module")
def known(seen):
    """The dashboards of some latents."""
    return {latent: describe(seen, latent) for latent in [*SOME, DEAD]}


@pytest.fixture(scope="module")
def plain(model, sae, text):
    """Every document by itself: activations [b p f], 0 at BOS."""
    with torch.no_grad():
        runs = [model.run_with_cache(row[None], SITE)[1][SITE][0] for row in text.tokens]
        f = torch.stack([sae.encode(x) for x in runs])
    f[:, 0] = 0
    return f


# ---- where a latent is on ------------------------------------------------------------------------


def test_activations_are_those_of_a_plain_run(seen, plain):
    assert seen.n_tokens == 5 * 127 and plain[..., 0].any()
    for latent in range(N_LATENTS):
        torch.testing.assert_close(seen.activation(latent), plain[..., latent])
        where, value = seen.entries(latent)
        assert (value.diff() <= 0).all() and (value > 0).all()
        assert seen.count[latent] == len(where) == int((plain[..., latent] > 0).sum())


def test_the_first_position_counts_if_the_autoencoder_was_trained_on_it(model, text):
    seen = survey(model, random_sae(model, text, bos=True), text)
    assert seen.n_tokens == 5 * 128
    assert any(seen.activation(latent)[:, 0].all() for latent in range(N_LATENTS))


def test_padding_changes_nothing_and_is_not_counted(model, sae, text, plain):
    tokens = text.tokens.clone()
    tokens[2, 40:] = tokens[4, 7:] = -1
    seen = survey(model, sae, tokens)
    assert seen.n_tokens == 5 * 127 - 88 - 121 and seen.features == {}
    for latent in SOME[1:3]:
        wanted = plain[..., latent] * (tokens >= 0)
        torch.testing.assert_close(seen.activation(latent), wanted)
        told = describe(seen, latent)
        contexts = told.top + [one for _, some in told.spread for one in some]
        ends = {2: 40, 4: 7}
        assert all(one.start + len(one.words) <= ends.get(one.document, 128) for one in contexts)
        assert told.best is None and math.isfinite(told.ablation.all) and str(told)


def test_batches_are_joined_in_order(model, sae, text, seen, monkeypatch):
    by_two = lambda model, sae, rows, tokens=None: rows.split(2)  # noqa: E731
    whole = effects.ablate(seen, 3), effects.effects(seen, 1, SOME)[SOME]
    monkeypatch.setattr("lessons.techniques.sae.survey.batches", by_two)
    monkeypatch.setattr(effects, "batches", by_two)
    again = survey(model, sae, text)
    for latent in SOME:
        torch.testing.assert_close(again.activation(latent), seen.activation(latent))
    torch.testing.assert_close(again.loss, seen.loss)
    parts = effects.ablate(again, 3), effects.effects(again, 1, SOME)[SOME]
    for name in ("here", "all", "random"):
        wanted = pytest.approx(getattr(whole[0], name), abs=1e-5)
        assert getattr(parts[0], name) == wanted
    torch.testing.assert_close(parts[1], whole[1], atol=1e-5, rtol=1e-4)


def test_what_is_on_together_is_counted_token_by_token(seen, plain):
    on = plain.flatten(0, 1) > 0
    for latent in SOME:
        rows = on[on[:, latent]]
        wanted = rows.float().mean(0)
        wanted[latent] = 0
        torch.testing.assert_close(seen.together(latent), wanted)


def test_the_best_true_feature_is_the_best_of_a_loop(seen, text, plain):
    for latent in SOME:
        f, best = plain[..., latent], (0.0,)
        for (feature, value), at in text.features().items():
            for least in f[f > 0].tolist():
                said = f >= least
                both, n_said, n_true = (int(x.sum()) for x in (said & at, said, at))
                f1 = 2 * both / (n_said + n_true)
                if f1 > best[0]:
                    best = f1, both / n_said, both / n_true, least, feature, value
        feature, value, *scores = seen.best[latent]
        assert (feature, value) == best[4:] and scores == pytest.approx(best[:4], rel=1e-5)
    assert seen.best[DEAD] is None


def test_a_threshold_does_not_part_equal_activations(model, sae, text):
    seen = survey(model, rounded(sae), text)
    for latent in SOME:
        name = seen.best[latent]
        said = seen.activation(latent) >= name.least - 1e-6
        truth = text.where(name.feature, name.value)
        both = int((said & truth).sum())
        assert name.f1 == pytest.approx(2 * both / int(said.sum() + truth.sum()))
        assert name.precision == pytest.approx(both / int(said.sum()))


# ---- one latent ----------------------------------------------------------------------------------


def test_a_dashboard_counts_and_averages(known, plain):
    for latent in SOME:
        told, on = known[latent], plain[..., latent]
        on = on[on > 0]
        assert (told.count, told.n_tokens) == (len(on), 5 * 127)
        assert told.mean == pytest.approx(on.mean().item(), rel=1e-5)
        assert told.largest == pytest.approx(on.max().item(), rel=1e-5)
        assert sum(told.histogram) == told.count and len(told.histogram) == dashboards.BINS
        step = told.largest / dashboards.BINS
        clear = ((on / step) % 1 - 0.5).abs() < 0.499  # not on a bin's edge
        bins = [int(v // step) for v in on[clear].tolist()]
        assert all(bins.count(i) <= told.histogram[i] for i in range(dashboards.BINS))


def test_words_it_is_on_at_share_its_activation(known, model, text, plain):
    for latent in SOME:
        f, shares = plain[..., latent].clamp(min=0), {}
        for word, value in zip(text.tokens.flatten().tolist(), f.flatten().tolist()):
            shares[word] = shares.get(word, 0) + value / f.sum().item()
        for word, share in known[latent].at:
            assert share == pytest.approx(shares[model.to_single_token(word)], rel=1e-4)
        assert known[latent].at[0][1] == pytest.approx(max(shares.values()), rel=1e-4)


def test_contexts_hold_the_documents_words_and_activations(known, model, text, plain):
    for latent in SOME:
        told, on = known[latent], plain[..., latent]
        ranked = on[on > 0].sort(descending=True).values
        for one in told.top + [one for _, some in told.spread for one in some]:
            span = slice(one.start, one.start + len(one.words))
            words = model.to_str_tokens(text.tokens[one.document, span])
            assert one.words == words and one.values[one.at] > 0
            wanted = on[one.document, span].tolist()
            assert one.values == pytest.approx(wanted, rel=1e-5)
        documents = [one.document for one in told.top]
        assert len(set(documents)) == len(documents)
        largest = on.max(1).values.sort(descending=True).values  # [b]
        wanted = largest[largest > 0][: len(documents)].tolist()
        assert [one.values[one.at] for one in told.top] == pytest.approx(wanted, rel=1e-5)
        for (_, some), part in zip(told.spread, ranked.tensor_split(4)):
            for one in some:
                value = one.values[one.at]
                assert part.min() * (1 - 1e-5) <= value <= part.max() * (1 + 1e-5)


def test_promoted_words_are_those_of_a_loop(known, model, sae, text, plain):
    with torch.no_grad():
        _, cache = model.run_with_cache(text.tokens, "ln_final.hook_scale")
        scale = cache["ln_final.hook_scale"][..., 0].double()
    for latent in SOME[:2]:
        on = plain[..., latent] > 0
        strength = sum((plain[..., latent].double() / scale)[on].tolist()) / int(on.sum())
        row = sae.W_dec[latent].double().tolist()
        centred = [v - sum(row) / len(row) for v in row]
        read = torch.tensor([v * w for v, w in zip(centred, model.ln_final.w.tolist())])
        logits = [float(read @ column) * strength for column in model.W_U.T]  # [v]
        mean = sum(logits) / len(logits)
        ranked = sorted(range(len(logits)), key=lambda i: -logits[i])
        told = known[latent]
        for side, ids in ((told.promotes, ranked[:6]), (told.suppresses, ranked[::-1][:6])):
            assert [word for word, _ in side] == model.to_str_tokens(torch.tensor(ids))
            wanted = [logits[i] - mean for i in ids]
            assert [number for _, number in side] == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_promoted_words_are_what_the_last_norm_lets_through_when_nothing_else_changes(
    seen, model, sae, text, plain
):
    """At the last layer nothing follows: the logits move by what is told, the divisor held."""
    latent, last = 3, f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    on = plain[..., latent] > 0
    shift = plain[..., latent, None] * sae.W_dec[latent]
    with torch.no_grad():
        before, cache = model.run_with_cache(text.tokens, "ln_final.hook_scale")
        held = "ln_final.hook_scale", lambda x, hook: cache["ln_final.hook_scale"]
        after = model.run_with_hooks(text.tokens, [(last, lambda x, hook: x + shift), held])
    change = (after - before)[on].mean(0)
    change -= change.mean()
    torch.testing.assert_close(dashboards.promoted(seen, latent), change, atol=1e-4, rtol=1e-3)


def test_a_latent_of_neurons_writes_through_w_out(model, text):
    torch.manual_seed(1)
    last = model.cfg.n_layers - 1
    sae = SAE(Config(model.cfg.d_mlp, 9, "relu", site=f"blocks.{last}.mlp.hook_post"))
    seen = survey(model, sae, text)
    row = sae.W_dec[4].detach() @ model.blocks[last].mlp.W_out
    torch.testing.assert_close(seen.written[4].detach(), row)
    assert len(describe(seen, 4, ablated=False).promotes) == 6
    before_the_gelu = SAE(Config(model.cfg.d_mlp, 9, "relu", site=f"blocks.{last}.mlp.hook_pre"))
    with pytest.raises(MinimechError, match="use hook_post"):
        search.find(survey(model, before_the_gelu, text), " he")


def test_the_nearest_latents_have_the_largest_cosines(known, sae):
    for latent in SOME:
        rows = sae.W_dec.detach()
        cosines = [float(torch.cosine_similarity(rows[latent], row, dim=0)) for row in rows]
        wanted = sorted((i for i in range(N_LATENTS) if i != latent), key=lambda i: -cosines[i])[:4]
        near = known[latent].near
        assert [i for i, _ in near] == wanted
        assert [c for _, c in near] == pytest.approx([cosines[i] for i in wanted], abs=1e-5)


# ---- without it ----------------------------------------------------------------------------------


def spliced_out(model, sae, text, latent):
    """Zero a latent by the autoencoder's own splice: rise of loss [b p-1], change of P [b p v]."""

    def zero(f):
        f = f.clone()
        f[..., latent] = 0
        return f

    with torch.no_grad():
        before = model(text.tokens).double().log_softmax(-1)
        after = model.run_with_hooks(text.tokens, [sae.splice(zero)]).double().log_softmax(-1)
    targets = text.tokens[:, 1:, None]
    rise = (before - after)[:, :-1].gather(-1, targets)[..., 0]
    return rise, after.exp() - before.exp()


def test_ablation_is_the_splice_with_that_latent_at_zero(seen, model, sae, text, plain):
    for latent in SOME[:3]:
        rise, change = spliced_out(model, sae, text, latent)
        on = plain[..., latent] > 0
        rows = on.any(1)
        told = effects.ablate(seen, latent)
        known = int(on[:, :-1].sum())
        assert (told.documents, told.tokens) == (int(rows.sum()), int(on.sum()))
        assert told.here == pytest.approx(float(rise[on[:, :-1]].sum()) / known, abs=1e-5)
        assert told.all == pytest.approx(float(rise.sum()) / known, abs=1e-5)
        change = change[on].mean(0)
        for side, largest in ((told.fall, False), (told.rise, True)):
            value, which = change.topk(6, largest=largest)
            assert [number for _, number in side] == pytest.approx(value.tolist(), abs=1e-5)
            assert side[0][0] == model.to_string(which[0])


def test_documents_that_are_measured_are_the_first_that_it_is_on_in(model, sae, text, plain):
    tokens = text.tokens.clone()
    tokens[0, 4:] = -1
    has = torch.cat([(plain[:1, :4] > 0).any(1), (plain[1:] > 0).any(1)])  # [b f]
    latent = int((~has[0] & (has[1:].sum(0) > 2)).nonzero()[0])  # not in the first document
    rise, _ = spliced_out(model, sae, text, latent)
    on = plain[:, :, latent] > 0
    rows = has[:, latent].nonzero()[:2, 0]
    told = effects.ablate(survey(model, sae, tokens), latent, documents=2)
    wanted = float(rise[rows][on[rows, :-1]].sum()) / int(on[rows, :-1].sum())
    assert told.documents == 2 and told.here == pytest.approx(wanted, abs=1e-5)


def test_the_control_takes_away_as_much_in_other_directions(seen, sae, monkeypatch):
    asked, real = [], effects.without
    monkeypatch.setattr(effects, "without", lambda *a: asked.append(a[2:]) or real(*a))
    told = effects.ablate(seen, 18)
    (f0, nothing), (f1, row), (f2, noise) = asked
    assert not nothing.any() and torch.equal(row, sae.W_dec[18])
    assert torch.equal(f0, f2) and torch.equal(f1, f2)
    torch.testing.assert_close(noise.norm(dim=-1), row.norm().expand(noise.shape[:2]))
    cosine = torch.cosine_similarity(noise, row, dim=-1)
    assert cosine.abs().max() < 0.6 and abs(cosine.mean()) < 0.02 and told.random != told.here


def test_all_latents_are_measured_as_each_by_itself(seen):
    every = effects.effects(seen, documents=99)
    for latent in SOME:
        assert every[latent] == pytest.approx(effects.ablate(seen, latent).here, abs=1e-5)
    assert every.isnan().nonzero().flatten().tolist() == [DEAD]
    some = effects.effects(seen, documents=99, latents=[3, 42])
    assert some[[3, 42]].tolist() == pytest.approx(every[[3, 42]].tolist(), abs=1e-6)
    assert int(some.isfinite().sum()) == 2
    once, again = (effects.effects(seen, documents=1, latents=SOME)[SOME] for _ in range(2))
    assert torch.equal(once, again)  # the same documents are drawn


# ---- as text and as a figure ---------------------------------------------------------------------


@pytest.mark.parametrize("columns", [100, 72])
def test_a_dashboard_fits_the_terminal(known, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for latent in [*SOME, DEAD]:
        lines = str(known[latent]).splitlines()
        assert max(map(len, lines)) <= columns and len(lines) < 50


def test_as_text_it_marks_strength_under_the_words(known):
    told = known[3]
    lines = str(told).splitlines()
    assert lines[0] == f"latent 3 of 61 at {SITE}" and f"On at {told.count} of 635" in lines[1]
    at = lines.index("where it is strongest, one token of each document")
    words, under = lines[at + 1 : at + 3]
    assert float(words.split()[0]) == pytest.approx(told.largest, abs=0.005)
    word = told.top[0].words[told.top[0].at].strip()
    left, right = words.index("["), words.index("]")
    assert words[left : right + 1] == f"[{word}]"
    assert under[left : right + 1] == "█" * (len(word) + 2)


def test_the_figure_is_the_same_dashboard(known):
    told = known[3]
    plot = told.plot()
    assert isinstance(plot, Plot) and plot.text == str(told) and plot.png[:4] == b"\x89PNG"
    assert plot.title.startswith("Latent 3 is on at")
    bars = plot.figure.axes[1].patches
    assert [bar.get_height() for bar in bars] == told.histogram
    words = [label.get_text() for label in plot.figure.axes[2].get_yticklabels()]
    assert words == [word.strip() for word, _ in told.promotes + told.suppresses[::-1]]


def test_a_dead_latent_says_so(known):
    told = known[DEAD]
    assert "Dead: never on in 635 tokens." in str(told) and told.ablation is None
    assert told.plot().title == "Latent 7 is dead" and told.plot().png[:4] == b"\x89PNG"


def test_one_call_tells_one_latent(model, sae, text, known):
    assert str(dashboard(model, sae, text, 18)) == str(known[18])


# ---- what cannot be told -------------------------------------------------------------------------


@pytest.mark.parametrize("latent", [61, -1, 5000, "17", None, 3.0, True])
def test_a_latent_that_is_not_there(seen, latent):
    with pytest.raises(MinimechError, match=rf"latent {latent!r} of 61: they go from 0 to 60"):
        describe(seen, latent)


@pytest.mark.parametrize(
    "width, site, message",
    [
        (768, SITE, rf"reads 768 numbers per token, and {SITE} of this model has 96"),
        (96, "blocks.0.mlp.hook_post", r"reads 96 numbers per token, .* has 384"),
        (96, "blocks.0.attn.hook_z", r"hook_z of this model is \[b p h e\]"),
        (
            96,
            "blocks.8.hook_resid_pre",
            r"no such activation. Did you mean 'blocks.1.hook_resid_pre'",
        ),
        (96, "", "it names no site"),
    ],
)
def test_an_autoencoder_of_another_model(model, text, width, site, message):
    with pytest.raises(MinimechError, match=message):
        survey(model, SAE(Config(width, 4, "topk", k=1, site=site)), text)


@pytest.mark.parametrize("tokens", [torch.empty(0, 5).long(), torch.zeros(3, 1).long(), [[]]])
def test_no_text(model, sae, tokens):
    with pytest.raises(MinimechError, match=r"nothing to read|the prompt is empty"):
        survey(model, sae, tokens)


def test_another_model_without_words(tmp_path):
    torch.manual_seed(1)
    model = HookedTransformer(ModelConfig(3, 2, 24, 29, 51))
    with torch.no_grad():
        model.W_E *= 20
    sae = SAE(Config(24, 13, "relu", site="blocks.2.hook_resid_mid"))
    seen = survey(model, sae, torch.randint(0, 51, (4, 29)))
    assert seen.n_tokens == 4 * 28 and "[" in str(describe(seen, 5))
    said = dashboards.write_page(model, sae, seen, tmp_path / "new" / "latents.html", only=[5, 2])
    assert said.startswith("2 latents, to browse and search: ")


# ---- search --------------------------------------------------------------------------------------


def test_auroc_counts_pairs_and_ties(model, sae, text):
    seen = survey(model, rounded(sae), text)
    concept = text.where("class", "male") & seen.counted
    found = search.apart(seen, concept, k=N_LATENTS)
    scores = dict(zip(found.latents, found.auroc))
    for latent in [*SOME, DEAD]:
        f = seen.activation(latent)
        have, lack = f[concept], f[~concept & seen.counted]
        pairs = (have[:, None] > lack).double() + (have[:, None] == lack).double() / 2
        assert scores[latent] == pytest.approx(pairs.mean().item(), abs=1e-6)
    assert scores[DEAD] == 0.5
    assert seen.value.unique().numel() < 30  # ties there were


def test_a_concept_finds_its_latents_and_luck_is_told(seen, plain):
    mask = plain[..., 42] > 0
    found = search.apart(seen, mask, k=3)
    assert found.latents[0] == 42 and found.auroc[0] == 1.0 and found.auroc[1] < 1
    assert found.here[0] == pytest.approx(plain[..., 42][mask].mean().item(), rel=1e-5)
    assert found.elsewhere[0] == 0
    other = found.latents[1]
    lack = ~mask & seen.counted
    assert found.elsewhere[1] == pytest.approx(plain[..., other][lack].mean().item(), rel=1e-4)
    assert 0.5 < found.luck < 0.7 and found.examples == int(mask.sum())
    few = torch.zeros_like(mask)
    few[0, 5] = few[3, 9] = True
    assert search.apart(seen, few).luck > found.luck  # two tokens are told apart by chance
    assert "By luck" in str(found) and len(str(found).splitlines()) == 5


@pytest.mark.parametrize("fill, message", [(False, "no token of the text"), (True, "all of the")])
def test_a_concept_of_no_token_or_of_all(seen, fill, message):
    with pytest.raises(MinimechError, match=message):
        search.apart(seen, torch.full_like(seen.counted, fill))


def test_a_mask_of_another_shape(seen):
    with pytest.raises(MinimechError, match=r"has shape \[2, 3\], and the text has \[5, 128\]"):
        search.apart(seen, torch.ones(2, 3))


def test_examples_mark_the_words_between_stars(model):
    yes = ["When *Mary and* John went", "Tom went"]
    tokens, mask = search.examples(model, yes, no=["*Paul* said."])
    marked = [[model.to_string(i) for i in row[at]] for row, at in zip(tokens, mask)]
    assert marked == [[" Mary", " and"], ["Tom", " went"], []]
    plain = model.to_tokens(["When Mary and John went", "Tom went", "Paul said."])
    assert torch.equal(tokens, plain)


@pytest.mark.parametrize(
    "yes, message", [([], "there is no example"), (["a *b c"], r"a star is missing in 'a \*b c'")]
)
def test_examples_that_are_none(model, yes, message):
    with pytest.raises(MinimechError, match=message):
        search.examples(model, yes)


def test_what_promotes_a_word_is_what_dashboards_say(seen, model):
    token = model.to_single_token(" he")
    with torch.no_grad():
        push = torch.stack([dashboards.promoted(seen, i) for i in range(N_LATENTS)])  # [f v]
    value, which = push[:, token].topk(4)
    found = search.find(seen, " he", k=4)
    assert [i for i, _ in found] == which.tolist()
    assert [v for _, v in found] == pytest.approx(value.tolist(), abs=1e-5)
    two = [token, model.to_single_token(" his")]
    value, which = push[:, two].mean(-1).topk(1)
    assert search.find(seen, [" he", " his"], k=1) == [(int(which), pytest.approx(float(value)))]
    with pytest.raises(MinimechError, match="'xyzzy' is not among"):
        search.find(seen, "xyzzy")

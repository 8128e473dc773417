"""The sweep equals one full forward pass for each patch, keeps its budget, and answers mistakes."""

import random
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from lessons.techniques.sweep import LogitDiff, Nodes, Paths, plan, planning, sweep
from lessons.techniques.sweep.nodes import OF_HEADS, SITES
from lessons.techniques.sweep.planning import Plan
from lessons.techniques.sweep.walk import Walk
from minimech import HookedTransformer, MinimechError, ModelConfig
from tests import direct
from tests.bench_sweeps import most_bytes

# No two sizes are equal: l 3, h 4, e 6, m 40, v 61, context 29; prompts [3 7].
CFG = ModelConfig(3, 4, 24, 29, 61, d_mlp=40)


@pytest.fixture(autouse=True)
def one_thread_and_no_gradients(one_thread):
    """Nothing is differentiated."""
    with torch.no_grad():
        yield


def random_model(cfg: ModelConfig = CFG, dtype=torch.float64) -> HookedTransformer:
    """Make a model with weights of a size that makes every part count, biases too."""
    torch.manual_seed(1)
    model = HookedTransformer(cfg).requires_grad_(False).eval()
    for name, weight in model.named_parameters():
        weight.normal_(1.0 if "ln" in name and name.endswith("w") else 0.0, 0.3)
    return model.to(dtype)


MODEL = random_model()
METRIC = LogitDiff([1, 2, 3], [4, 5, 6])


def in_all(logits):  # [b v] -> [b]
    """Read all logits, as a metric may that names no tokens."""
    return logits.log_softmax(-1)[:, 5] - logits[:, 7] ** 2


def prompts(kind: str, b=3, p=7, d_vocab=61, seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw two batches: unrelated, sharing a prefix, one word apart, or of all these kinds."""
    draw = torch.Generator().manual_seed(seed)
    base, donor = torch.randint(d_vocab, (2, b, p), generator=draw)
    other = donor.clone()
    if kind in ("prefix", "one word", "mixed"):
        donor[:, :3] = base[:, :3]
    if kind == "one word":
        donor[:, 4:] = base[:, 4:]
    if kind == "mixed":  # the first prompt is its own donor, the second differs everywhere
        donor[0], donor[1], donor[2, 5:] = base[0], other[1], base[2, 5:]
    return base, donor


def assert_same(got, want, rtol=1e-10):
    torch.testing.assert_close(got, want, rtol=rtol, atol=rtol)


def axes_of(type: str, kind: str) -> list[str]:
    """List ways of sweeping nodes of a type."""
    plain, by_all = ["", "layer", "position", "layer position"], ["head position layer"]
    return plain + (["head", "layer head"] + by_all * (kind == "mixed")) * (type in OF_HEADS)


# ---- equal to the definition ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["one word", "mixed"])
@pytest.mark.parametrize("type", SITES)
def test_equal_to_one_forward_for_each_patch(type, kind):
    base, donor = prompts(kind)
    for over in axes_of(type, kind):
        what = Nodes(type, over=over)
        wanted = direct.sweep(MODEL, base, donor, METRIC, what)
        assert_same(sweep(MODEL, base, donor, METRIC, what, "noising").values, wanted)
        assert_same(sweep(MODEL, donor, base, METRIC, what).values, wanted)  # denoising


def any_nodes(rng: random.Random, cfg: ModelConfig, p: int) -> Nodes:
    """Draw nodes of any type, over any axes, with any indices, in any order."""
    type = rng.choice(list(SITES))
    if type in OF_HEADS and rng.random() < 0.4:
        heads = [(i, j) for i in range(-1, cfg.n_layers) for j in range(-1, cfg.n_heads)]
        pairs = rng.sample(heads, rng.randrange(1, 6))
        over = rng.choice([(), "head", "position", "head position", "position head"])
        return Nodes(type, over=over, positions=rng.choice([None, -1, [2 % p, 0]]), heads=pairs)
    axes = ["layer", "position"] + ["head"] * (type in OF_HEADS)
    sizes = {"layers": cfg.n_layers, "positions": p, "heads": cfg.n_heads}
    over = rng.sample(axes, rng.randrange(len(axes) + 1))
    index = {}
    for axis in axes:
        size = sizes[f"{axis}s"]
        some = rng.sample(range(-size, size), rng.randrange(1, size + 1))
        index[f"{axis}s"] = rng.choice([None, rng.randrange(-size, size), some])
    return Nodes(type, over=over, **index)


@pytest.mark.parametrize("seed", range(40))
def test_any_sweep_is_equal_to_the_definition(seed):
    rng = random.Random(seed)
    b, p = rng.randrange(1, 5), rng.randrange(1, 9)
    base, donor = prompts(rng.choice(["unrelated", "prefix", "one word"]), b, p, seed=seed)
    metric = rng.choice([in_all, LogitDiff(torch.arange(b), 9), LogitDiff(3, 4)])
    what, answer = any_nodes(rng, CFG, p), rng.randrange(-p, p)
    wanted = direct.sweep(MODEL, base, donor, metric, what, answer)
    least = 0
    for budget in (2**17, 2**18, 2**29):
        try:
            got = sweep(MODEL, base, donor, metric, what, "noising", answer, budget=budget)
        except MinimechError as error:
            assert "pass a larger `budget`" in str(error) and budget < 2**29
            continue
        least = least or budget
        assert_same(got.values, wanted)
        assert_same(got.clean, metric(MODEL(base)[:, answer]))
        assert_same(got.corrupted, metric(MODEL(donor)[:, answer]))
    assert least


@pytest.mark.parametrize("type", OF_HEADS)
def test_any_set_of_heads_and_no_others(type):
    base, donor = prompts("prefix")
    heads = [(0, 1), (2, 3), (1, 2), (2, 0)]
    for over in ("", "head", "position head"):
        what = Nodes(type, over=over, heads=heads)
        wanted = direct.sweep(MODEL, base, donor, METRIC, what)
        assert_same(sweep(MODEL, base, donor, METRIC, what, "noising").values, wanted)
    one_by_one = sweep(MODEL, base, donor, METRIC, Nodes(type, over="head", heads=heads), "noising")
    assert one_by_one.labels == {"head": ["L0H1", "L2H3", "L1H2", "L2H0"]}
    everyone = sweep(MODEL, base, donor, METRIC, Nodes(type, over="layer head"), "noising")
    assert_same(one_by_one.values, torch.stack([everyone.values[head] for head in heads]))
    for same in (frozenset(heads), torch.tensor(heads)):
        again = sweep(MODEL, base, donor, METRIC, Nodes(type, heads=same), "noising").values
        assert_same(again, direct.sweep(MODEL, base, donor, METRIC, Nodes(type, heads=heads)))


@pytest.mark.parametrize("type", SITES)
def test_activations_may_be_given_instead_of_a_run(type):
    base, donor = prompts("unrelated")
    cache = MODEL.run_with_cache(donor)[1]
    what = Nodes(type, over="layer position", layers=[0, 2])
    given = {site: x for site, x in cache.items() if site.endswith(SITES[type])}
    wanted = direct.sweep(MODEL, base, given, METRIC, what, -2)
    effects = sweep(MODEL, base, given, METRIC, what, "noising", -2)
    assert_same(effects.values, wanted)
    assert effects.corrupted is None
    means = {site: x.mean(0, keepdim=True) for site, x in given.items()}  # one for all prompts
    wanted = direct.sweep(MODEL, base, means, METRIC, what)
    assert_same(sweep(MODEL, base, means, METRIC, what, "noising").values, wanted)


@pytest.mark.parametrize("cfg", [CFG, ModelConfig(1, 2, 8, 9, 30), ModelConfig(5, 1, 12, 16, 61)])
def test_float32_models_of_any_depth(cfg):
    model = random_model(cfg, torch.float32)
    base, donor = prompts("prefix", d_vocab=cfg.d_vocab)
    for what in (Nodes("resid_pre", over="layer position"), Nodes("z", over="layer head")):
        wanted = direct.sweep(model, base, donor, METRIC, what)
        got = sweep(model, base, donor, METRIC, what, "noising").values
        assert_same(got, wanted, rtol=1e-4)


def test_a_model_that_learns_and_gradients_that_are_on_change_nothing():
    model = random_model().requires_grad_(True)
    base, donor = prompts("prefix")
    what = Nodes("mlp_out", over="layer position")
    with torch.enable_grad():
        effects = sweep(model, base, donor, METRIC, what, "noising")
    assert not effects.values.requires_grad
    assert_same(effects.values, direct.sweep(MODEL, base, donor, METRIC, what))


def test_what_cannot_have_an_effect_has_exactly_none():
    base, donor = prompts("mixed")
    for type in SITES:
        effects = sweep(MODEL, base, donor, METRIC, Nodes(type, over="layer position"), "noising")
        change = effects.values - effects.clean  # [layer position b]
        assert not change[..., 0].any()  # its own donor
        assert not change[:, :3, 2].any()  # before the first difference
        early = effects.at(layer=-1).values[:-1] - effects.clean
        assert bool(early.any()) == (type in ("resid_pre", "k", "v"))  # the last block
    effects = sweep(MODEL, base, donor, METRIC, Nodes("z", over="position"), "noising", answer=4)
    assert not (effects.values - effects.clean)[5:].any()  # after the answer


# ---- what is saved -------------------------------------------------------------------------------


def tokens_through(monkeypatch, model, what, kind, answer=-1) -> int:
    """Count the tokens that go through the MLPs of all layers."""
    seen = []
    forward = type(model.blocks[0].mlp).forward
    counted = lambda self, x, *rest: seen.append(len(x)) or forward(self, x, *rest)  # noqa: E731
    monkeypatch.setattr(type(model.blocks[0].mlp), "forward", counted)
    sweep(model, *prompts(kind), METRIC, what, "noising", answer)
    monkeypatch.undo()
    return sum(seen)


@pytest.mark.parametrize("kind, expected", [("unrelated", 0), ("prefix", 3)])
def test_each_run_carries_what_can_differ_and_no_more(kind, expected, monkeypatch):
    """Prompts of 7 tokens in 3 layers: of the last, the answer's token alone."""
    first = expected
    both = 2 * 7 + 2 * (7 - first) + 2
    carried = [7 - position for position in range(first, 7)]
    layers = [2 * s + 1 for s in carried] + [s + 1 for s in carried] + [1 for _ in carried]
    stream = Nodes("resid_pre", over="layer position")
    assert tokens_through(monkeypatch, MODEL, stream, kind) == 3 * (both + sum(layers))
    heads = 4 * (2 * (7 - first) + 1 + (7 - first) + 1 + 1)
    z = Nodes("z", over="layer head")
    assert tokens_through(monkeypatch, MODEL, z, kind) == 3 * (both + heads)


def test_at_layer_0_a_token_that_both_share_is_no_patch(monkeypatch):
    stream = Nodes("resid_pre", over="position", layers=0)
    both = 2 * 7 + 2 * 4 + 2
    assert tokens_through(monkeypatch, MODEL, stream, "one word") == 3 * (both + 2 * 4 + 1)


def test_no_more_than_the_metrics_tokens_are_unembedded(monkeypatch):
    monkeypatch.setattr(type(MODEL), "unembed", lambda *_: pytest.fail("all of the vocabulary"))
    sweep(MODEL, *prompts("prefix"), METRIC, Nodes("z", over="layer"))


def test_the_count_is_that_of_what_is_run():
    base, donor = prompts("unrelated")
    planned = plan(MODEL, base, donor, METRIC, Nodes("resid_pre", over="layer position"))
    d, mlp = 24, 2 * 24 * 40
    block, whole = 4 * d * d + mlp, 7 * (3 * (4 * d * d + mlp) + d * 61)
    end = lambda s: s * 2 * d * d + block - 2 * d * d  # noqa: E731
    runs = sum(2 * s * block + s * block + 3 * end(s) for s in range(1, 8))
    both = 2 * (2 * 7 * block + end(7))
    assert planned.share == pytest.approx((runs + both) / (21 * whole))
    assert str(planned).startswith("21 patches of 3 prompts: 63 runs in 1 walk, ")


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("type, metric", [
    *((type, METRIC) for type in SITES),
    *((type, in_all) for type in ("resid_pre", "k", "pattern")),
])  # fmt: skip
def test_memory_keeps_within_the_budget(type, metric):
    base, donor = prompts("unrelated", p=12)
    what = Nodes(type, over="position head" if type in OF_HEADS else "layer position")
    given = base, donor, metric, what, "noising"
    found, walks = [], []
    for budget in (2**29, 2**18):
        planned = plan(MODEL, *given, budget=budget)
        walks.append(len(planned.walks))
        used = most_bytes(lambda: found.append(sweep(MODEL, *given, budget=budget)))  # noqa: B023
        assert used <= planned.bytes <= budget
    assert_same(found[0].values, found[1].values)
    assert walks[0] == 1 < walks[1]


def test_a_metric_that_is_a_view_keeps_no_logits_alive():
    model = random_model(ModelConfig(1, 2, 8, 9, 4001))
    both, what = prompts("unrelated", 4, 9, d_vocab=4001), Nodes("z", over="head position")
    given = model, *both, lambda logits: logits[:, 5], what, "noising"
    assert most_bytes(lambda: sweep(*given)) <= plan(*given).bytes


def test_too_small_a_budget_says_what_is_needed():
    with pytest.raises(MinimechError, match=r"takes .* MiB, and the budget is .* MiB: pass a larg"):
        sweep(MODEL, *prompts("prefix"), METRIC, Nodes("z", over="layer"), budget=1000)


def test_a_sweep_that_is_interrupted_leaves_nothing_behind(monkeypatch):
    base, donor = prompts("prefix")
    what, before = Nodes("z", over="layer head"), deepcopy(MODEL.state_dict())
    wanted = sweep(MODEL, base, donor, METRIC, what).values

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Walk, "mlp", stop)
        sweep(MODEL, base, donor, METRIC, what)
    assert torch.equal(sweep(MODEL, base, donor, METRIC, what).values, wanted)
    assert all(torch.equal(weight, before[name]) for name, weight in MODEL.state_dict().items())


# ---- planted bugs --------------------------------------------------------------------------------


def planted(monkeypatch, bug: str) -> None:
    """Put a bug into the fast sweep."""
    first, carried = planning.first_affected, Walk.attend

    if bug == "prefix off by one":

        def late(patch, differs, n_layers):
            return (first(patch, differs, n_layers) + 1).clamp(max=differs.shape[1])

        monkeypatch.setattr(planning, "first_affected", late)
    if bug == "keys before the patch are the donor's":

        def attend(self, attn, q, kv):
            parts = self.parts(kv)
            if len(self.here) > 1 and self.here[1] is self.donor:
                parts[0][:, -parts[1].shape[1] :] = parts[1]
            return carried(self, attn, q, kv)

        monkeypatch.setattr(Walk, "attend", attend)
    if bug == "runs join one layer late":
        join = Walk.join
        monkeypatch.setattr(Walk, "join", lambda self, layer, *x: join(self, max(layer - 1, 0), *x))
    if bug == "the last block drops keys patched before the answer":

        def early(patch, differs, n_layers):
            n, at_end = differs.shape[1], patch.layers == [n_layers - 1]
            starts = first(patch, differs, n_layers)
            return starts.where((starts == n - 1) | (not at_end), n)

        monkeypatch.setattr(planning, "first_affected", early)
    if bug == "the mask of another run":
        masked = Plan.masked

        def flipped(self, runs):
            runs = masked(self, runs)
            return replace(runs, masks={i: mask.flip(0) for i, mask in runs.masks.items()})

        monkeypatch.setattr(Plan, "masked", flipped)
    if bug == "pairs multiply":
        every = lambda self, layer: [head for _, head in self.heads]  # noqa: E731
        monkeypatch.setattr(Nodes, "heads_in", every)
    if bug == "one mask for all layers":
        mask = Plan.mask
        monkeypatch.setattr(Plan, "mask", lambda self, runs, _: mask(self, runs, runs.layers[0]))
    if bug == "at layer 0 only the differing token counts, for z too":

        def own(patch, differs, n_layers):
            z_as_q = Nodes("q", layers=patch.layers, positions=patch.positions)
            return first(z_as_q if patch.type == "z" else patch, differs, n_layers)

        monkeypatch.setattr(planning, "first_affected", own)
    if bug == "higher layers of one patch are left out":
        put = Walk.put_one

        def once(self, layer, runs, own):
            if layer in runs.layers[:1] or not runs.layers:
                put(self, layer, runs, own)

        monkeypatch.setattr(Walk, "put_one", once)


BUGS = {
    "prefix off by one": Nodes("resid_pre", over="layer position"),
    "keys before the patch are the donor's": Nodes("resid_pre", over="layer position"),
    "runs join one layer late": Nodes("resid_pre", over="layer position", layers=[1, 2]),
    "the last block drops keys patched before the answer": Nodes("k", over="layer position"),
    "the mask of another run": Nodes("z", over="layer head"),
    "at layer 0 only the differing token counts, for z too": Nodes("z", over="layer position"),
    "higher layers of one patch are left out": Nodes("v", over="head"),
    "pairs multiply": Nodes("z", heads=[(0, 1), (1, 2)]),
    "one mask for all layers": Nodes("q", over="position", heads=[(0, 1), (2, 2)]),
}


@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_is_caught(bug, monkeypatch):
    base, donor = prompts("one word")
    wanted = direct.sweep(MODEL, base, donor, METRIC, BUGS[bug])
    assert_same(sweep(MODEL, base, donor, METRIC, BUGS[bug], "noising").values, wanted)
    planted(monkeypatch, bug)
    try:
        got = sweep(MODEL, base, donor, METRIC, BUGS[bug], "noising").values
    except (RuntimeError, MinimechError, IndexError):
        return  # it could not even run
    assert not torch.allclose(got, wanted, rtol=1e-4)


# ---- bad input -----------------------------------------------------------------------------------

STREAM = Nodes("resid_pre", over="layer position")
BASE, DONOR = prompts("prefix")
TOO_SHORT = {"blocks.0.hook_resid_pre": torch.ones(3, 6, 24)}
MISTAKES = {
    "another length": (lambda: sweep(MODEL, BASE, DONOR[:, 1:], METRIC, STREAM), "its own length"),
    "another batch": (lambda: sweep(MODEL, BASE, DONOR[:2], METRIC, STREAM), "needs a partner"),
    "padded": (
        lambda: sweep(MODEL, torch.tensor([[1, 2, 3], [1, 2, -1]]), DONOR[:2, :3], METRIC, STREAM),
        "clean prompts have 2 to 3 tokens",
    ),
    "too long": (
        lambda: sweep(MODEL, torch.ones(1, 30).long(), torch.ones(1, 30).long(), METRIC, STREAM),
        "30 tokens do not fit",
    ),
    "no such token": (lambda: sweep(MODEL, BASE + 61, DONOR, METRIC, STREAM), "not in the vocab"),
    "empty": (lambda: sweep(MODEL, BASE[:, :0], DONOR, METRIC, STREAM), "prompt is empty"),
    "floats": (lambda: sweep(MODEL, BASE * 1.0, DONOR, METRIC, STREAM), "must be integers"),
    "text without a tokenizer": (
        lambda: sweep(MODEL, "a", "b", METRIC, STREAM),
        "without a tokenizer",
    ),
    "no prompt": (lambda: sweep(MODEL, None, DONOR, METRIC, STREAM), "a prompt is a text"),
    "direction": (lambda: sweep(MODEL, BASE, DONOR, METRIC, STREAM, "sideways"), "'sideways'"),
    "answer": (lambda: sweep(MODEL, BASE, DONOR, METRIC, STREAM, answer=7), "answer 7 is outside"),
    "what": (lambda: sweep(MODEL, BASE, DONOR, METRIC, "z"), "Nodes or Paths say what to patch"),
    "type": (lambda: Nodes("resid_pro"), "Did you mean 'resid_pre'"),
    "senders": (lambda: Paths("z"), "the senders of a path are Nodes"),
    "pairs and layers": (
        lambda: Nodes("z", layers=0, heads=[(0, 1), (1, 2)]),
        "leave out `layers`, and sweep over head",
    ),
    "pairs over layers": (lambda: Nodes("z", over="layer head", heads=[(0, 1)]), "say which layer"),
    "pairs and numbers": (lambda: Nodes("z", heads=[(0, 1), 2]), "or else all pairs"),
    "no such pair": (
        lambda: sweep(MODEL, BASE, DONOR, METRIC, Nodes("z", heads=[(1, 4)])),
        "there is no head 4: the last is 3",
    ),
    "a mask": (
        lambda: sweep(MODEL, BASE, DONOR, METRIC, Nodes("z", heads=torch.tensor([False, True]))),
        "heads are whole numbers, and False is none",
    ),
    "part of a layer": (
        lambda: sweep(MODEL, BASE, DONOR, METRIC, Nodes("z", layers=0.5)),
        "layers are whole numbers, and 0.5 is none",
    ),
    "a word": (lambda: LogitDiff(" Mary", " John"), r"not ' Mary': model.to_single_token\(word\)"),
    "words": (lambda: LogitDiff([1, 2], [" John", " Tom"]), "LogitDiff takes token ids"),
    "ids that are none": (lambda: LogitDiff(1.0, 2.0), "LogitDiff takes token ids"),
    "unequal ids": (lambda: LogitDiff([1, 2, 3], [4, 5]), "3 right tokens and 2 wrong ones"),
    "a path down": (
        lambda: sweep(
            MODEL,
            BASE,
            DONOR,
            METRIC,
            Paths(Nodes("z", over="head", layers=[1, 2]), Nodes("q", layers=[0, 1])),
        ),
        "no path leads up from layer 1, that of the lowest sender, to layer 1, that of the highest",
    ),
    "axis": (lambda: Nodes("z", over="layer neuron"), "'neuron' cannot be swept"),
    "axis twice": (lambda: Nodes("z", over="layer layer"), "names an axis twice"),
    "heads of a stream": (lambda: Nodes("resid_pre", over="head"), "has no heads"),
    "layer": (
        lambda: sweep(MODEL, BASE, DONOR, METRIC, Nodes("z", layers=3)),
        "there is no layer 3: the last is 2",
    ),
    "no layers": (
        lambda: sweep(MODEL, BASE, DONOR, METRIC, Nodes("z", layers=[])),
        "layers is empty",
    ),
    "metric": (lambda: sweep(MODEL, BASE, DONOR, 3, STREAM), "a metric is a function"),
    "metric of all": (
        lambda: sweep(MODEL, BASE, DONOR, lambda logits: logits.mean(), STREAM),
        r"returned shape \[\]; one number per prompt",
    ),
    "metric of rows": (
        lambda: sweep(MODEL, BASE, DONOR, lambda logits: logits, STREAM),
        r"returned shape \[3, 61\]; one number per prompt",
    ),
    "metric of floats": (
        lambda: sweep(MODEL, BASE, DONOR, lambda logits: 1.0, STREAM),
        "returned float",
    ),
    "metric that is none": (
        lambda: sweep(MODEL, BASE, DONOR, lambda x: x[:, 0] / 0 * 0, STREAM),
        "not a number",
    ),
    "metric of another batch": (
        lambda: sweep(MODEL, BASE, DONOR, LogitDiff([1, 2], [3, 4]), STREAM),
        r"tokens have shape \[2, 2\]: for 3 prompts, \[3 k\] is needed",
    ),
    "metric of no token": (
        lambda: sweep(MODEL, BASE, DONOR, LogitDiff(61, 0), STREAM),
        "reads token 61",
    ),
    "metric of a negative token": (
        lambda: sweep(MODEL, BASE, DONOR, LogitDiff(-1, 2), STREAM),
        "reads token -1",
    ),
    "given under no name": (
        lambda: sweep(MODEL, BASE, {("z", 0): BASE}, METRIC, STREAM, "noising"),
        "Given are: none",
    ),
    "names": (
        lambda: sweep(MODEL, BASE, DONOR, METRIC, STREAM, names={"layer": ["one"]}),
        "1 names for 3 layers",
    ),
    "names of what": (
        lambda: sweep(MODEL, BASE, DONOR, METRIC, STREAM, names={"head": ["one"]}),
        "names for 'head', which is not swept",
    ),
    "given and denoising": (
        lambda: sweep(MODEL, BASE, {}, METRIC, STREAM),
        "only be put into the clean run",
    ),
    "given elsewhere": (
        lambda: sweep(MODEL, BASE, {"blocks.0.hook_resid_pro": BASE}, METRIC, STREAM, "noising"),
        "Did you mean 'blocks.0.hook_resid_pro'",
    ),
    "given another shape": (
        lambda: sweep(MODEL, BASE, TOO_SHORT, METRIC, Nodes("resid_pre", layers=0), "noising"),
        r"is \[3, 6, 24\]; \[3, 7, 24\]",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_a_sentence(mistake):
    call, said = MISTAKES[mistake]
    with pytest.raises(MinimechError, match=said):
        call()


# ---- effects -------------------------------------------------------------------------------------


def test_effects_know_their_axes_and_names():
    effects = sweep(MODEL, BASE, DONOR, METRIC, Nodes("z", over="layer head"))
    assert effects.axes == ("layer", "head") and effects.values.shape == (3, 4, 3)
    assert effects.labels == {"layer": ["L0", "L1", "L2"], "head": ["H0", "H1", "H2", "H3"]}
    (name, value), *rest = effects.top(12)
    assert name[0] == "L" and name[2] == "H" and len(rest) == 11
    assert value == effects.change[int(name[1]), int(name[3])].item()
    assert all(abs(value) >= abs(other) for _, other in rest)
    assert_same(effects.change, (effects.values - effects.corrupted).mean(-1))
    between = (effects.mean - effects.corrupted.mean()) / (effects.clean - effects.corrupted).mean()
    assert_same(effects.normalised(), between)
    noised = sweep(MODEL, BASE, DONOR, METRIC, Nodes("z", over="head position layer"), "noising")
    between = (noised.mean - noised.corrupted.mean()) / (noised.clean - noised.corrupted).mean()
    assert_same(noised.normalised(), between)
    assert (noised.normalised()[:, :3] == 1).all()  # exactly, where nothing happens
    names = [name for name, _ in noised.top(5)]
    assert names == [name for name, _ in noised.top(5, "normalised")] and " L" in names[0]


def test_a_name_is_left_as_it_is():
    what = Nodes("z", over="layer head position", positions=[1])
    effects = sweep(MODEL, BASE, DONOR, METRIC, what, names={"position": ["2 Henry"]})
    assert effects.name(1) == "L0H1 2 Henry"


def test_what_is_printed_says_what_is_counted():
    rest = MODEL, BASE, DONOR, METRIC
    z, by_place = Nodes("z", over="layer head"), Nodes("z", over="layer head position")
    head = str(sweep(*rest, z)).splitlines()[0]
    assert head == "z, denoising: share brought back (0 as corrupted, 1 as clean)"
    noised = sweep(*rest, z, "noising")
    unit = "share left"
    assert (
        str(noised).startswith(f"z, noising: {unit} (0 as corrupted, 1 as clean)\n")
        and noised.plot("so").live["names"][2] == unit
    )
    given = sweep(MODEL, BASE, MODEL.run_with_cache(DONOR, "*.hook_z")[1], METRIC, z, "noising")
    assert str(given).startswith("z, noising: change of the metric\n")
    assert str(sweep(*rest, by_place)).startswith("z, denoising: largest changes of the metric\n")
    assert str(sweep(*rest, Nodes("z"))).startswith("z, denoising: metric ")
    for direction in ("denoising", "noising"):
        for both in ((BASE, DONOR), (DONOR, BASE)):
            for over in ("layer position", "position"):
                effects = sweep(MODEL, *both, METRIC, Nodes("resid_pre", over=over), direction)
                for kind in ("normalised", "change"):
                    words = str(effects.plot(kind=kind)).split()
                    assert not {"-0", "-0.0", "-0.00"}.intersection(words)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_there_is_a_scale_however_small_the_metric(scale):
    small = sweep(MODEL, BASE, DONOR, lambda logits: METRIC(logits) * scale, STREAM)
    assert_same(small.normalised(), sweep(MODEL, BASE, DONOR, METRIC, STREAM).normalised(), 1e-8)


def test_a_metric_may_count():
    argmax = sweep(MODEL, BASE, DONOR, lambda logits: logits.argmax(-1), STREAM)
    assert argmax.values.is_floating_point() and argmax.normalised().shape == (3, 7)


def test_effects_can_be_picked_from_printed_and_drawn():
    effects = sweep(MODEL, BASE, DONOR, METRIC, Nodes("z", over="layer head position"))
    assert effects.at(position=-1).axes == ("layer", "head")
    assert_same(effects.at(position=-1, head=0).values, effects.values[:, 0, -1])
    assert len(str(effects).splitlines()) == 11 and "L" in str(effects)
    assert effects.at(position=-1).plot("so it is").title == "so it is"
    assert "H3" in str(effects.at(position=-1)) and "L2" in str(effects.at(position=-1, head=1))
    assert str(effects.at(layer=0, head=0, position=0)).startswith("z, denoising: ")
    with pytest.raises(MinimechError, match=r"pick along the others with \.at"):
        effects.plot()
    with pytest.raises(MinimechError, match="there is no axis 'neuron'"):
        effects.at(neuron=1)
    with pytest.raises(MinimechError, match="there is no place 7 among 7 along position"):
        effects.at(position=7)
    with pytest.raises(MinimechError, match="'share' is none of"):
        effects.top(kind="share")


def test_no_scale_where_both_runs_agree():
    effects = sweep(MODEL, BASE, BASE, METRIC, STREAM)
    assert not effects.change.any()
    with pytest.raises(MinimechError, match="no scale to normalise by"):
        effects.normalised()


def test_the_plan_says_what_it_takes():
    planned = plan(MODEL, BASE, DONOR, METRIC, STREAM)
    assert 0 < planned.share < 1 and "MiB" in str(planned)


def test_paths_have_a_plan_that_keeps_to_the_budget():
    paths = Paths(Nodes("z", over="layer head"))
    planned = plan(MODEL, BASE, DONOR, METRIC, paths)
    n = len(BASE)
    assert planned.senders == planned.paths and planned.prompts == n and "MiB" in str(planned)
    for budget in (planned.bytes, planned.bytes - 1, planned.bytes // 2):
        less = plan(MODEL, BASE, DONOR, METRIC, paths, budget=budget)
        assert less.bytes <= budget and less.senders * less.prompts > 0
    assert less.senders * less.prompts < planned.senders * n


def test_a_run_against_itself_can_be_printed():
    effects = sweep(MODEL, BASE, BASE, METRIC, STREAM)
    assert "change of the metric" in str(effects) and "share" not in str(effects)

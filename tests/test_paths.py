"""Path patching, fast, is the path patching of Wang et al. 2022, slow (tests/direct_paths.py)."""

import inspect
import random
import types
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import product

import pytest
import torch

from lessons.techniques.sweep import LogitDiff, base_run, paths, sweep
from lessons.techniques.sweep.nodes import Nodes, Paths
from lessons.techniques.sweep.run import Run
from minimech import HookedTransformer, MinimechError, ModelConfig
from minimech.model import MLP, Attention
from tests.bench_sweeps import most_bytes
from tests.direct_paths import by_hand, by_hooks, forward, places
from weights.recipes import world_scores

SHAPES = {3: (3, 4, 24, 20, 61, 40), 4: (4, 2, 10, 16, 37, 14)}  # by layers; all sizes differ
Z = Nodes("z", over="layer head")
EVERY_KIND = {
    "heads to logits": Paths(Z),
    "heads to two layers' queries": Paths(Z, to=Nodes("q", layers=[2, 1], heads=[1, 0])),
    "heads at the end to queries there": Paths(
        replace(Z, positions=-1), Nodes("q", layers=2, positions=-1)
    ),
    "heads, by position, to keys": Paths(
        Nodes("z", over="head layer position", layers=[0, 1], heads=[1, 0], positions=[6, 2, 4]),
        Nodes("k", heads=1),
    ),
    "whole layers to values": Paths(Nodes("z", over="layer"), Nodes("v", positions=[2, 4, 5])),
    "a head of all layers to values": Paths(Nodes("z", over="head"), Nodes("v", layers=[1, 2])),
    "two heads at once to logits": Paths(Nodes("z", over="position", heads=[1, 0], layers=[0, 2])),
    "any heads at once to any heads' queries": Paths(
        Nodes("z", over="position", heads=[(0, 1), (1, 0)]), Nodes("q", heads=[(2, 0), (1, 1)])
    ),
    "any heads, one at a time, to any heads' keys": Paths(
        Nodes("z", over="head", heads=[(1, 1), (0, 0)]), Nodes("k", heads=[(2, 1), (1, 0), (2, 0)])
    ),
    "attn_out to keys": Paths(
        Nodes("attn_out", over="layer position", layers=[1, 0]), Nodes("k", layers=2)
    ),
    "attn_out of all layers": Paths(Nodes("attn_out", over="position"), Nodes("q")),
    "mlp_out to logits": Paths(Nodes("mlp_out", over="layer")),
    "mlp_out to values": Paths(Nodes("mlp_out", over="position layer", layers=[0, 1]), Nodes("v")),
    "mlp_out of all layers": Paths(Nodes("mlp_out"), Nodes("k", layers=[1, 2])),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread_and_no_gradients(one_thread):
    """Nothing is differentiated."""
    with torch.no_grad():
        yield


def random_model(n_layers: int, dtype=torch.float64) -> HookedTransformer:
    """Make a model in which everything matters: biases, layer norms' weights, large matrices."""
    *sizes, d_mlp = SHAPES[n_layers]
    model = HookedTransformer(ModelConfig(*sizes, d_mlp=d_mlp)).double()
    torch.manual_seed(n_layers)
    for name, weight in model.named_parameters():
        is_scale = name.endswith("w")
        weight.copy_(torch.randn(weight.shape, dtype=weight.dtype) * 0.3 + is_scale)
    return model.to(dtype)


class Question:
    """A model, prompts that differ at positions 2 and 4 of 7, and a metric."""

    def __init__(self, n_layers: int = 3, dtype=torch.float64):
        self.model = random_model(n_layers, dtype)
        self.base = torch.randint(30, (3, 7))
        self.donor = self.base.clone()
        self.donor[:, [2, 4]] += 1 + torch.randint(6, (3, 2))
        self.metric = LogitDiff(torch.tensor([1, 5, 9]), torch.tensor([2, 4, 8]))

    def fast(self, what: Paths, module=paths, answer=-1, budget=2**29, donor=None, metric=None):
        donor, metric = self.donor if donor is None else donor, metric or self.metric
        n = self.base.shape[1]
        run = Run(self.model, self.base, donor, metric, answer % n, budget)
        return run.read(module.walk(run, what.within(self.model.cfg, n)))

    def slow(self, what: Paths, way=by_hand, **rest):
        rest = {"metric": self.metric, "donor": self.donor} | rest
        what = what.within(self.model.cfg, self.base.shape[1])
        return way(self.model, self.base, paths=what, **rest)


@pytest.fixture(scope="module")
def question() -> Question:
    return Question()


# ---- equal to the definition ---------------------------------------------------------------------


@cache
def definition(kind: str, hold: str):
    """Return what the slow definition gives."""
    return Question().slow(replace(EVERY_KIND[kind], hold=hold))


@pytest.mark.parametrize("n_layers", SHAPES)
@pytest.mark.parametrize("hold", ["heads", "heads mlps"])
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_equal_to_the_definition(kind, hold, n_layers):
    question, what = Question(n_layers), replace(EVERY_KIND[kind], hold=hold)
    fast, slow = question.fast(what), question.slow(what, by_hooks)
    base = question.metric(question.model(question.base)[:, -1])
    assert (slow - base).abs().max() > 1e-2  # there is something to be seen
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    if n_layers == 3:  # the two ways of going slow agree
        torch.testing.assert_close(slow, definition(kind, hold), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(12))
def test_any_path_is_equal_to_the_definition(seed):
    draw = random.Random(seed)
    question = Question(draw.choice(list(SHAPES)))
    cfg, answer = question.model.cfg, draw.choice([-1, -1, 4])

    def some(n):
        return draw.choice([None, draw.sample(range(n), draw.randint(1, n))])

    type = draw.choice(["z", "attn_out", "mlp_out"])
    over = draw.sample(["layer", "position"] + ["head"] * (type == "z"), draw.randint(0, 2))
    heads = some(cfg.n_heads) if type == "z" else None
    senders = Nodes(type, tuple(over), some(cfg.n_layers), some(7), heads)
    to = Nodes(draw.choice("qkv"), (), some(cfg.n_layers), some(7), some(cfg.n_heads))
    everyone = list(product(range(cfg.n_layers), range(cfg.n_heads)))
    if type == "z" and "layer" not in over and draw.random() < 0.5:
        senders = replace(senders, layers=None, heads=draw.sample(everyone, draw.randint(1, 4)))
    if draw.random() < 0.3:
        to = replace(to, layers=None, heads=draw.sample(everyone, draw.randint(1, 4)))
    what = Paths(senders, draw.choice(["logits", to, to, to]), draw.choice(["heads", "heads mlps"]))
    try:
        what.within(cfg, 7)
    except MinimechError:  # a path that leads down
        return
    fast, slow = question.fast(what, answer=answer), question.slow(what, answer=answer)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_in_float32_too(kind):
    fast = Question(dtype=torch.float32).fast(EVERY_KIND[kind]).double()
    slow = definition(kind, "heads")
    assert (fast - slow).abs().max() <= 1e-4 * slow.abs().max()


def test_either_run_may_be_the_base_and_means_the_donor(question):
    what = EVERY_KIND["heads to two layers' queries"]
    rest = question.model, question.base, question.donor, question.metric, what
    fast = question.fast(what).view(3, 4, 3)  # [layer head b]
    torch.testing.assert_close(sweep(*rest, direction="noising").values, fast)
    turned = question.model, question.donor, question.base, question.metric, what
    torch.testing.assert_close(sweep(*turned, direction="denoising").values, fast)
    cache = question.model.run_with_cache(question.donor)[1]
    means = {f"blocks.{i}.attn.hook_z": cache["z", i].mean(0, keepdim=True) for i in range(3)}
    got = sweep(question.model, question.base, means, *rest[3:], direction="noising").values
    wide = {site: z.expand(3, -1, -1, -1) for site, z in means.items()}
    torch.testing.assert_close(got.flatten(0, 1), question.fast(what, donor=wide))
    assert (got - fast).abs().max() > 1e-2


def test_any_metric_will_do(question):
    def entropy(logits):  # [b v] -> [b]
        return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)

    what = EVERY_KIND["heads, by position, to keys"]
    fast, slow = question.fast(what, metric=entropy), question.slow(what, metric=entropy)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)


# ---- where nothing is heard ----------------------------------------------------------------------


@pytest.mark.parametrize("what", [
    Paths(Nodes("z", over="head", heads=[(1, 0), (1, 3), (2, 0)], positions=[5]),
          Nodes("q", layers=2, positions=[4, 6])),  # where nobody listens
    Paths(Nodes("mlp_out", over="position", positions=[0, 1]), Nodes("v")),  # equal so far
    Paths(Nodes("z", over="head", positions=[2, 4]), Nodes("q", positions=[3, 5])),  # elsewhere
    Paths(Nodes("z", over="head", positions=[2, 4])),
])  # fmt: skip
def test_no_effect_is_exactly_none(question, what):
    n = question.base.shape[1]
    run = Run(question.model, question.base, question.donor, question.metric, n - 1, 2**29)
    values = run.read(paths.walk(run, what.within(question.model.cfg, n)))
    assert torch.equal(values, run.metrics[0].expand_as(values))
    torch.testing.assert_close(values, question.slow(what), rtol=1e-10, atol=1e-10)


def test_senders_above_all_receivers_have_exactly_none(question):
    effects = sweep(question.model, question.base, question.donor, question.metric,
                    Paths(Z, to=Nodes("q", layers=1)), "noising")  # fmt: skip
    assert (effects.values[1:] == effects.clean).all() and effects.change[0].abs().min() > 1e-6


def test_a_prompt_that_is_its_own_donor_does_not_change(question):
    donor = question.donor.clone()
    donor[1] = question.base[1]
    run = Run(question.model, question.base, donor, question.metric, 6, 2**29)
    values = run.read(paths.walk(run, EVERY_KIND["attn_out to keys"].within(question.model.cfg, 7)))
    same = (values == run.metrics[0]).all(0)
    assert same.tolist() == [False, True, False]


def test_both_runs_metrics_are_those_of_plain_runs(question):
    run = Run(question.model, question.base, question.donor, question.metric, 4, 2**29)
    paths.walk(run, Paths(Z).within(question.model.cfg, 7))
    for tokens, got in zip((question.base, question.donor), run.metrics):
        torch.testing.assert_close(got, question.metric(question.model(tokens)[:, 4]))


# ---- the bugs that one makes ---------------------------------------------------------------------

BUGS = {
    "another sender's row": ("[senders[i] for i in some]", "[senders[i] for i in some[::-1]]"),
    "MLPs are held unasked": ('if self.paths.hold == "heads":', "if False:"),
    "MLPs answer though held": ('if self.paths.hold == "heads":', "if True:"),
    "the MLP that sends is recomputed": ("echo[rows] = said", "echo[rows] += said"),
    "other heads of the layer speak too": ("sender.heads_in(layer) or slice(None)", "slice(None)"),
    "the MLP does not hear what its layer's heads say": ("if not of_mlp", "if False"),
    "a scale is frozen": (
        'block.ln1(self.held("resid_pre", layer, change) + change)',
        "frozen(block.ln1, self.held('resid_pre', layer, change), change)",
    ),
    "MLPs answer the change alone": (
        'block.mlp(block.ln2(self.held("resid_mid", layer, change) + change))',
        "block.mlp(block.ln2(change))",
    ),
    "receivers above the first hear nothing": ("if layer in heard:", "if layer == min(heard):"),
    "receivers without news are not held": ("if position in self.to.positions:", "if False:"),
    "no bias": ("W) + b", "W)"),
    "nothing before is looked at": ("[:, :first] for x", "[:, :0] for x"),
    "the future is seen": (".masked_fill(is_future(q[0], k[0]), -torch.inf)", ""),
    "a position late": ("range(first, n)", "range(first + 1, n)"),
    "a layer late": ("if lowest[i] < last", "if lowest[i] < last - 1"),
}


def frozen(norm, base, change):
    """Apply a layer norm with the base run's scale."""
    scale = (base.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    return norm(base) + (change - change.mean(-1, keepdim=True)) / scale * norm.w


@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_is_caught(bug, question):
    old, new = BUGS[bug]
    sources = [inspect.getsource(module) for module in (base_run, paths)]
    assert sum(old in source for source in sources) == 1  # else the bug is no bug
    broken = types.ModuleType("broken")
    broken.frozen = frozen
    for source in sources:
        source = source.replace(
            "from lessons.techniques.sweep.base_run import BaseRun, planned\n", ""
        )
        exec(source.replace(old, new), vars(broken))
    for kind, hold in product(EVERY_KIND, ("heads", "heads mlps")):
        try:
            wrong = question.fast(replace(EVERY_KIND[kind], hold=hold), broken)
        except MinimechError:  # it asks for what was not kept: caught
            return
        if (wrong - definition(kind, hold)).abs().max() > 1e-4:
            return
    pytest.fail(f"no test sees that {bug}")


@pytest.mark.parametrize("role", ["z", "qk"])
@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if kind.startswith("any heads")])
def test_pairs_that_multiply_are_caught(kind, role, question, monkeypatch):
    right = Nodes.heads_in

    def every(nodes, layer):
        multiply = nodes.in_pairs and nodes.type in role
        return [head for _, head in nodes.heads] if multiply else right(nodes, layer)

    monkeypatch.setattr(Nodes, "heads_in", every)
    one_by_one = role == "z" and EVERY_KIND[kind].over == ("head",)  # then there is but one pair
    wrong = (question.fast(EVERY_KIND[kind]) - definition(kind, "heads")).abs().max() > 1e-4
    assert bool(wrong) != one_by_one


def misread(bug, model, original, new, senders, receivers):
    """Path patch one prompt, the definition misread: return its logits."""
    everywhere = range(model.cfg.n_layers), range(model.cfg.n_heads), range(len(original))
    _, from_original = forward(model, original)
    _, from_new = forward(model, new)
    frozen = {place: from_original[place] for place in places("z", *everywhere)}
    held = {} if bug == "heads are not held" else frozen
    _, heard = forward(model, original, held | {place: from_new[place] for place in senders})
    heard = from_new if bug == "receivers are as on the donor" else heard
    held = frozen if bug == "run D holds the heads too" else {}
    return forward(model, original, held | {place: heard[place] for place in receivers})[0]


@pytest.mark.parametrize(
    "bug", ["heads are not held", "receivers are as on the donor", "run D holds the heads too", ""]
)
def test_what_is_held_in_which_run_matters(question, bug):
    what = EVERY_KIND["whole layers to values"].within(question.model.cfg, 7)
    to, values = places(what.to.type, what.to.layers, what.to.heads, what.to.positions), []
    for patch in what.senders.patches():
        senders = places(patch.type, patch.layers, patch.heads, patch.positions)
        pairs = zip(question.base, question.donor)
        logits = [misread(bug, question.model, *pair, senders, to)[-1] for pair in pairs]
        values.append(question.metric(torch.stack(logits)))
    error = (question.fast(what) - torch.stack(values)).abs().max()
    assert error > 1e-2 if bug else error < 1e-10


# ---- how little is computed ----------------------------------------------------------------------


def counting(calls: Counter, name: str, call):
    """Wrap a function so that its calls are counted."""

    def wrapped(*args):
        calls[name] += 1
        return call(*args)

    return wrapped


def counted(monkeypatch, question, what) -> Counter:
    """Count calls, but for those of the two whole runs that are kept, base and donor."""
    calls, kept = Counter(), HookedTransformer.run_with_cache
    places = ((MLP, "forward"), (Attention, "forward"), (paths.RunC, "through"), (paths, "attend"))

    def without_counting(*args, **rest):
        before = calls.copy()
        result = kept(*args, **rest)
        calls.clear()
        calls.update(before)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(HookedTransformer, "run_with_cache", without_counting)
        for owner, name in places:
            told = f"{owner.__name__} {name}".removeprefix("lessons.techniques.")
            patch.setattr(owner, name, counting(calls, told, getattr(owner, name)))
        question.fast(what)
    return calls


def test_one_pass_over_the_layers_for_all_senders_and_no_attention_in_it(monkeypatch, question):
    run_c = counted(monkeypatch, question, Paths(Z))
    assert run_c == {"RunC through": 3, "MLP forward": 3}  # 12 senders
    one = counted(monkeypatch, question, Paths(replace(Z, layers=0, heads=0)))
    assert one == run_c
    both = counted(monkeypatch, question, Paths(Z, to=Nodes("q", layers=1)))
    assert both == {
        "RunC through": 1,
        "MLP forward": 1 + 2,
        "sweep.paths attend": 2,
    }  # D: layers 1, 2
    held = counted(monkeypatch, question, Paths(Z, hold="heads mlps"))
    assert held == {"RunC through": 3}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_memory_keeps_within_the_budget_and_chunks_change_nothing(kind, question):
    what, least = EVERY_KIND[kind], None
    whole = question.fast(what)
    for budget in (2**14, 2**15, 2**16, 2**17):
        parts = []
        try:
            used = most_bytes(lambda: parts.append(question.fast(what, budget=budget)))  # noqa: B023
        except MinimechError as error:
            assert "pass a larger `budget`" in str(error)
            continue
        least = least or budget
        torch.testing.assert_close(parts[0], whole, rtol=1e-12, atol=1e-12)
        assert used <= budget
    assert least <= 2**17


# ---- what it finds -------------------------------------------------------------------------------


def test_direct_effects_are_direct_logit_attribution():
    """With heads and MLPs held, and a final norm whose scale stays, all is a sum.

    logit = apply_ln(sum of parts) . W_U: what a sender changes at the answer is what its part's
    attribution changes. With all parts together, that is all that differs between the two runs,
    where both end with the same token.
    """
    question = Question()
    model, metric = question.model, question.metric
    model.ln_final.eps = 1e12  # the scale is sqrt(variance + eps): 1e6, whatever the variance
    model.ln_final.w *= 1e6
    base, donor = (model.run_with_cache(x) for x in (question.base, question.donor))
    right, wrong = metric.tokens.T
    parts = [cache.logit_attribution(right, wrong, heads=True) for _, cache in (base, donor)]
    news = dict(zip(parts[0].labels, parts[1].values - parts[0].values))  # {part: [b]}
    start = metric(base[0][:, -1])
    total = torch.zeros(3, dtype=torch.float64)
    for senders in (Z, Nodes("mlp_out", over="layer")):
        effects = question.fast(Paths(senders, hold="heads mlps")) - start  # [patch b]
        names = [f"L{i}H{h}" for i in range(3) for h in range(4)]
        names = names if senders is Z else [f"{i}_mlp_out" for i in range(3)]
        expected = torch.stack([news[name] for name in names])
        torch.testing.assert_close(effects, expected, rtol=1e-6, atol=1e-6)
        total += effects.sum(0)
    torch.testing.assert_close(start + total, metric(donor[0][:, -1]), rtol=1e-6, atol=1e-6)


CARD = {  # weights/README.md, "Path patching": from, to queries of layer 1 -> logit difference
    ("0.0", (0,)): 10.11, ("0.0", (1,)): 10.11, ("0.0", (2,)): 10.12, ("0.0", (0, 1, 2)): 10.10,
    ("0.1", (0,)): 7.09, ("0.1", (1,)): 5.17, ("0.1", (2,)): 10.12, ("0.1", (0, 1, 2)): 1.29,
    ("0.2", (0,)): 9.05, ("0.2", (1,)): 8.13, ("0.2", (2,)): 10.12, ("0.2", (0, 1, 2)): 6.88,
}  # fmt: skip


def test_the_world_models_card():
    model, found = HookedTransformer.from_pretrained("world"), Counter()
    for template in world_scores.TEMPLATES:
        prompts = world_scores.IOSet(template)
        metric = LogitDiff(prompts.io, prompts.s)
        for heads in {heads for _, heads in CARD}:
            senders = Nodes("z", over="layer head", layers=0, positions=-1)
            what = Paths(senders, to=Nodes("q", layers=1, heads=heads, positions=-1))
            both = prompts.ids, prompts.corrupted
            effects = sweep(model, *both, metric, what, direction="noising")
            for head, value in enumerate(effects.mean[0].tolist()):
                found[f"0.{head}", heads] += value / len(world_scores.TEMPLATES)
    assert {key: round(value, 2) for key, value in found.items()} == CARD

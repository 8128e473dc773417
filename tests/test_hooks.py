"""What hooks may do, what they cannot do, and what a user reads when a hook is wrong."""

from functools import partial

import pytest
import torch

from minimech import HookedTransformer, MinimechError, ModelConfig, Past
from minimech.hooks import select, site_shapes
from minimech.tokens import PAD

SIZES = {"l": 3, "b": 2, "p": 9, "q": 9, "k": 9, "h": 4, "d": 24, "e": 6, "m": 40, "v": 61, "1": 1}
TOKENS = torch.randint(0, 61, (2, 9), generator=torch.manual_seed(1))
Z1 = "blocks.1.attn.hook_z"


@pytest.fixture(scope="module")
def model() -> HookedTransformer:
    """Return a random model with frozen weights, large enough that every part matters."""
    torch.manual_seed(0)
    model = HookedTransformer(ModelConfig(3, 4, 24, n_ctx=29, d_vocab=61, d_mlp=40))
    for weight in model.parameters():
        weight.data.normal_(std=0.4)
    return model.requires_grad_(False)


def zero_head(z, hook):
    z[:, :, 2] = 0
    return z


def test_hooks_may_return_mutate_and_return_or_return_none(model):
    def replaces(z, hook):
        return z * torch.tensor([1.0, 1, 0, 1])[:, None]

    def mutates(z, hook):
        z[:, :, 2] = 0

    one, two, three = (
        model.run_with_hooks(TOKENS, fwd_hooks=[(Z1, hook)])
        for hook in (replaces, zero_head, mutates)
    )
    assert torch.equal(one, two) and torch.equal(two, three)
    by_hand = model.blocks[1].attn.W_O[2].clone()
    model.blocks[1].attn.W_O[2] = 0  # a view: the model changes
    assert (model(TOKENS) - one).abs().max() < 1e-4
    model.blocks[1].attn.W_O[2] = by_hand
    assert (model(TOKENS) - one).abs().max() > 0.01


def test_hooks_are_told_where_they_are(model):
    seen = []

    def look(activation, hook):
        seen.append((hook.name, hook.layer(), hook.start))

    def partial_in_the_middle(activation, head, hook):
        seen.append((head, hook.layer()))

    def other_name(activation, point):
        seen.append(point.name)

    hooks = [
        ("hook_embed", look),
        ("blocks.*.hook_mlp_out", look),
        (lambda name: name.endswith("2.attn.hook_q"), other_name),
        (["ln_final.hook_scale"], partial(partial_in_the_middle, head=7)),
    ]
    model.run_with_hooks(TOKENS, fwd_hooks=hooks)
    assert seen == [
        ("hook_embed", -1, 0),
        ("blocks.0.hook_mlp_out", 0, 0),
        ("blocks.1.hook_mlp_out", 1, 0),
        "blocks.2.attn.hook_q",
        ("blocks.2.hook_mlp_out", 2, 0),
        (7, -1),
    ]


def test_every_site_has_its_stated_shape_and_is_causal_to_the_logits(model):
    clean = model(TOKENS)
    for name, shape in site_shapes(3).items():
        shapes = []

        def nudge(activation, hook, shapes=shapes):
            shapes.append(list(activation.shape))
            return activation * 0.5 + torch.linspace(0.5, 2, activation.shape[-1])

        patched = model.run_with_hooks(TOKENS, fwd_hooks=[(name, nudge)])
        assert shapes == [[SIZES[letter] for letter in shape.split()]], name
        assert (patched - clean).abs().max() > 1e-3, f"{name} is not read by what follows"


def test_nothing_leaks(model):
    clean = model(TOKENS)

    def fails(z, hook):
        raise RuntimeError("a hook of mine")

    with pytest.raises(RuntimeError, match="a hook of mine"):
        model.run_with_hooks(TOKENS, fwd_hooks=[("hook_embed", zero_embed), (Z1, fails)])
    assert torch.equal(model(TOKENS), clean)
    interleaved = []

    def runs_the_model(z, hook):
        interleaved.append(model(TOKENS))

    outer = model.run_with_hooks(TOKENS, fwd_hooks=[(Z1, runs_the_model), (Z1, zero_head)])
    assert torch.equal(interleaved[0], clean)
    assert torch.equal(outer, model.run_with_hooks(TOKENS, fwd_hooks=[(Z1, zero_head)]))


def zero_embed(embed, hook):
    return embed * 0


def test_hooks_at_one_site_run_in_order_and_the_cache_saves_what_they_leave(model):
    hooks = [(Z1, lambda z, hook: z + 1), (Z1, lambda z, hook: z * 0)]
    _, cache = model.run_with_cache(TOKENS, fwd_hooks=hooks)
    assert cache["z", 1].abs().max() == 0
    _, cache = model.run_with_cache(TOKENS, fwd_hooks=hooks[::-1])
    assert (cache["z", 1] == 1).all()


def test_an_edit_in_place_reaches_nothing_that_was_saved(model):
    """resid_post of a layer and resid_pre of the next are one tensor; q, k, v are views of one."""
    _, clean = model.run_with_cache(TOKENS)

    def wipe(activation, hook):
        activation.zero_()

    hooks = [("blocks.1.hook_resid_pre", wipe), ("blocks.0.attn.hook_v", wipe)]
    _, cache = model.run_with_cache(TOKENS, fwd_hooks=hooks)
    assert torch.equal(cache["q", 0], clean["q", 0]) and torch.equal(cache["k", 0], clean["k", 0])
    _, cache = model.run_with_cache(TOKENS, fwd_hooks=hooks[:1])
    assert torch.equal(cache["resid_post", 0], clean["resid_post", 0])
    assert cache["resid_pre", 1].abs().max() == 0


@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_equal_finite_differences(model, frozen):
    model.requires_grad_(not frozen)
    direction = torch.randn(2, 9, 4, 6, generator=torch.manual_seed(2))
    found = {}

    def keep(z, hook):
        z.register_hook(lambda grad: found.__setitem__("grad", grad))
        z.retain_grad()
        found["z"] = z

    logits = model.run_with_hooks(TOKENS, fwd_hooks=[(Z1, keep)])
    logits[:, -1, 7].sum().backward()
    assert torch.equal(found["z"].grad, found["grad"])
    assert all((weight.grad is None) == frozen for weight in model.parameters())
    model.requires_grad_(False)
    double = model.to(torch.float64)
    step = 1e-6
    ends = [
        double.run_with_hooks(TOKENS, fwd_hooks=[(Z1, lambda z, hook, s=s: z + s * direction)])
        for s in (step, -step)
    ]
    slope = (ends[0] - ends[1])[:, -1, 7].sum() / (2 * step)
    model.to(torch.float32)
    slope = float(slope.detach())
    assert abs(slope - float((found["grad"] * direction).detach().sum())) < 1e-3 * abs(slope)
    model.zero_grad()


def test_the_graph_reaches_down_to_the_lowest_hook_only(model):
    nodes = {}
    for layer in (0, 2):
        site = f"blocks.{layer}.hook_resid_pre"
        logits = model.run_with_hooks(TOKENS, fwd_hooks=[(site, lambda x, hook: None)])
        stack, seen = [logits.grad_fn], set()
        while stack:
            node = stack.pop()
            if node is not None and node not in seen:
                seen.add(node)
                stack += [parent for parent, _ in node.next_functions]
        nodes[layer] = len(seen)
    assert nodes[2] < nodes[0] / 2
    with torch.no_grad():
        assert not model.run_with_hooks(TOKENS, fwd_hooks=[(Z1, zero_head)]).requires_grad
    assert not model(TOKENS).requires_grad
    with torch.inference_mode():
        assert model.run_with_hooks(TOKENS, fwd_hooks=[(Z1, zero_head)]).is_inference()


def test_hooks_work_where_edits_and_gradients_meet(model):
    """An edit in place before register_hook: a leaf that requires grad would refuse it."""
    grads = []

    def edit_then_watch(z, hook):
        z[:, 3] *= 2
        z.register_hook(grads.append)

    model.run_with_hooks(TOKENS, fwd_hooks=[(Z1, edit_then_watch)]).sum().backward()
    assert grads[0].shape == (2, 9, 4, 6)


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (lambda z, hook: z[:1], r"hook at blocks.1.attn.hook_z returned shape \[1, 9, 4, 6\]"),
        (
            lambda z, hook: z.double(),
            "returned dtype torch.float64; the activation there has dtype",
        ),
        (lambda z, hook: z.to("meta"), "returned device meta; the activation there has device cpu"),
        (lambda z, hook: 3.0, "returned float; return a tensor, or None"),
        (lambda z, hook: (z,), "returned tuple"),
    ],
)
def test_a_wrong_replacement_is_named(model, hook, message):
    with pytest.raises(MinimechError, match=message):
        model.run_with_hooks(TOKENS, fwd_hooks=[(Z1, hook)])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("blocks.1.hook_z", "Did you mean 'blocks.1.attn.hook_z'"),
        ("blocks.3.hook_resid_pre", "Did you mean 'blocks.2.hook_resid_pre'"),
        ("blocks.*.hook_queries", r"no activation is called"),
        (["hook_embed", "hook_emb"], "no activation is called 'hook_emb'"),
        (lambda name: False, "no activation is called <function"),
    ],
)
def test_a_name_that_matches_nothing_raises(model, names, message):
    with pytest.raises(MinimechError, match=message):
        model.run_with_hooks(TOKENS, fwd_hooks=[(names, zero_head)])
    with pytest.raises(MinimechError, match=message):
        model.run_with_cache(TOKENS, names_filter=names)


def test_a_site_that_the_run_does_not_reach_raises(model):
    with pytest.raises(MinimechError, match=r"stopped before reaching blocks\.2\.hook_mlp_out"):
        model.run_with_hooks(TOKENS, [("blocks.2.hook_mlp_out", zero_embed)], stop_at_layer=2)
    with pytest.raises(MinimechError, match=r"stopped before reaching ln_final\.hook_scale"):
        model.run_with_cache(TOKENS, ["hook_embed", "ln_final.hook_scale"], stop_at_layer=1)
    with pytest.raises(MinimechError, match="stop_at_layer 4 is not a layer: this model has 3"):
        model(TOKENS, stop_at_layer=4)


def test_filters():
    sites = list(site_shapes(2))
    assert select("blocks.1.hook_resid_pre", sites) == ["blocks.1.hook_resid_pre"]
    assert select("*hook_pattern", sites) == [f"blocks.{i}.attn.hook_pattern" for i in range(2)]
    assert select(lambda name: "embed" in name, sites)[:2] == ["hook_embed", "hook_pos_embed"]
    assert select(["*hook_z", "hook_embed"], sites)[0] == "hook_embed"  # forward order, once each
    assert select(None, sites) == sites


def test_padding_can_be_neither_read_nor_written(model):
    """Prompt 1 has five tokens. Beyond, a hook sees NaN and what it writes is dropped."""
    ragged = TOKENS.clone()
    ragged[1, 5:] = PAD
    logits, cache = model.run_with_cache(ragged)
    alone, alone_cache = model.run_with_cache(TOKENS[1:, :5])
    assert logits[1, 5:].isnan().all() and not logits[1, :5].isnan().any()
    assert (logits[1, :5] - alone[0]).abs().max() < 1e-4
    for name, shape in site_shapes(3).items():
        value, expected = cache[name][1], alone_cache[name][0]
        if shape == "b h q k":
            assert value[:, 5:].isnan().all(), name
            value = value[:, :5, :5]
        else:
            assert value[5:].isnan().all(), name
            value = value[:5]
        finite = expected.isfinite()
        assert (value[finite] - expected[finite]).abs().max() < 1e-4, name
    seen = []

    def shout(activation, hook):
        seen.append(activation[1, 5:].isnan().all())
        return activation.nan_to_num(1e4)

    patched = model.run_with_hooks(ragged, [("blocks.0.hook_resid_post", shout)])
    assert seen == [True]
    assert (patched[1, :5] - alone[0]).abs().max() < 1e-4
    assert (model.loss_fn(logits, ragged, per_token=True)[1, 4:] == 0).all()
    both = [
        model(TOKENS[:1], return_type="loss") * 8,
        model(TOKENS[1:, :5], return_type="loss") * 4,
    ]
    assert abs(float(model(ragged, return_type="loss")) - float(sum(both)) / 12) < 1e-4


def test_hooks_with_a_past_see_this_step_and_know_where_it_begins(model):
    past, starts = Past(), []

    def look(pattern, hook):
        starts.append((hook.start, list(pattern.shape)))

    for step in (TOKENS[:, :4], TOKENS[:, 4:5], TOKENS[:, 5:]):
        model.run_with_hooks(step, [("blocks.0.attn.hook_pattern", look)], past=past)
    assert starts == [(0, [2, 4, 4, 4]), (4, [2, 4, 1, 5]), (5, [2, 4, 4, 9])]
    _, cache = model.run_with_cache(TOKENS[:, 4:], past=model.run_with_cache(TOKENS)[1].past(4))
    with pytest.raises(MinimechError, match="this run began at position 4"):
        cache.past(2)


def test_a_loss_does_not_hide_what_is_not_a_number(model):
    def poison(resid, hook):
        resid[0, 2] = float("nan")

    hooks = [("blocks.0.hook_resid_post", poison)]
    assert model.run_with_hooks(TOKENS, hooks, return_type="loss").isnan()
    ragged = torch.cat([TOKENS, torch.full((2, 3), PAD)], dim=1)
    assert torch.equal(model(ragged, return_type="loss"), model(TOKENS, return_type="loss"))


def test_a_run_that_fails_leaves_the_past_as_it_was(model):
    full, past = model(TOKENS), Past()
    model(TOKENS[:, :5], past=past)

    def fails(z, hook):
        raise RuntimeError("a hook of mine")

    with pytest.raises(RuntimeError, match="a hook of mine"):
        model.run_with_hooks(TOKENS[:, 5:], [("blocks.2.attn.hook_z", fails)], past=past)
    assert past.length == 5
    assert (model(TOKENS[:, 5:], past=past) - full[:, 5:]).abs().max() < 1e-4


def test_one_prefix_serves_a_whole_patch_sweep(model):
    _, cache = model.run_with_cache(TOKENS)
    prefix = cache.past(5)

    def zero_from_5(head, z, hook):
        z[:, 5 - hook.start :, head] = 0

    for head in range(4):
        hooks = [("blocks.1.attn.hook_z", partial(zero_from_5, head))]
        resumed = model.run_with_hooks(TOKENS[:, 5:], hooks, past=prefix)
        assert (resumed - model.run_with_hooks(TOKENS, hooks)[:, 5:]).abs().max() < 1e-4
    assert prefix.length == 5


def test_a_past_that_does_not_fit_is_refused(model):
    other = HookedTransformer(ModelConfig(2, 4, 24, n_ctx=29, d_vocab=61)).requires_grad_(False)
    past = other.run_with_cache(TOKENS)[1].past(3)
    with pytest.raises(MinimechError, match="of another model, or of a batch of another size"):
        model(TOKENS[:, 3:], past=past)
    past = model.run_with_cache(TOKENS)[1].past(3)
    with pytest.raises(MinimechError, match="of a batch of another size"):
        model(TOKENS[:1, 3:].expand(3, -1), past=past)
    with pytest.raises(MinimechError, match="stop_at_layer leaves some out"):
        model(TOKENS, past=Past(), stop_at_layer=1)
    ragged = TOKENS.clone()
    ragged[1, 5:] = PAD
    with pytest.raises(MinimechError, match="must have the same length"):
        model(ragged, past=Past())


def test_a_glob_or_predicate_asks_for_what_the_run_reaches(model):
    _, cache = model.run_with_cache(TOKENS, "*resid_post", stop_at_layer=2)
    assert list(cache) == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    with pytest.raises(MinimechError, match=r"stopped before reaching blocks\.2"):
        model.run_with_cache(TOKENS, lambda name: name.startswith("blocks.2"), stop_at_layer=2)


@pytest.mark.parametrize("names", [[], 5])
def test_an_empty_filter_is_no_filter(model, names):
    with pytest.raises(MinimechError, match="names no activation"):
        model.run_with_cache(TOKENS, names)
    with pytest.raises(MinimechError, match="names no activation"):
        model.run_with_hooks(TOKENS, [(names, zero_head)])
    for not_pairs in ([(Z1, "zero")], (Z1, zero_head), [Z1]):
        with pytest.raises(MinimechError, match=r"fwd_hooks lists \(name, function\)"):
            model.run_with_hooks(TOKENS, not_pairs)

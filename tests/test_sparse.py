"""The sparse TopK step: the dense step's loss and gradients, and what it never makes."""

import inspect
import sys
from types import ModuleType

import pytest
import torch

from lessons.techniques.sae import autoencoders, sparse
from lessons.techniques.sae.autoencoders import AUX, SAE, Config
from lessons.techniques.sae.training import fit
from minimech import MinimechError
from tests import bench_sae
from tests.bench_sweeps import most_bytes

B, D, F = 11, 7, 29  # no two sizes are equal
DEAD = {
    "none": torch.zeros(F).bool(),
    "one": torch.arange(F) == 5,
    "as many as may explain": torch.arange(F) % 10 == 2,
    "some": torch.arange(F) % 4 == 1,
    "most": torch.arange(F) != 3,  # more than FEW * (d / 2): these are sparse as well
    "all": torch.ones(F).bool(),
}
BUGS = {  # what to write instead of what
    "no path to b_dec through the encoder": ("-(W_enc @ grad_b_enc)", "0 * x[0]"),
    "b_dec's sign": ("-(W_enc @ grad_b_enc)", "W_enc @ grad_b_enc"),
    "gradient through what is off": ("at) * (values > 0)", "at)"),
    "pairs not sorted by feature": ("by // at.shape[1]", "torch.arange(at.numel()) // at.shape[1]"),
    "x without b_dec taken away": ("save_for_backward(x, W", "save_for_backward(x + b_dec, W"),
    "W_enc's gradient by what is on": ("(x, tokens, grad_f.flat", "(x, tokens, values.flat"),
    "no relu": ("values = values.relu()", ""),
    "not the largest": ("topk(k, dim=-1) for", "topk(k, dim=-1, largest=False) for"),
    "dead ones' k": ("sae.cfg.d_in // 2, len(of)", "sae.cfg.k, len(of)"),
    "dead ones explain x": ("e.detach() - e_hat", "x - e_hat"),
    "what is missed learns from the dead": ("e.detach() - e_hat", "e - e_hat"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread_and_small_chunks(one_thread, monkeypatch):
    monkeypatch.setattr(sparse, "CHUNK", 4)  # 11 tokens: 4, 4 and 3
    with torch.enable_grad():
        yield


def random_sae(k: int = 4, d: int = D, f: int = F, dtype=torch.float64) -> SAE:
    torch.manual_seed(k)
    sae = SAE(Config(d, f, k=k)).to(dtype)
    for p in sae.parameters():
        torch.nn.init.normal_(p, 0.1, 0.7)
    return sae


def pieces(loss_of, sae: SAE, x, dead, bf16: bool = False) -> dict:
    """Return the loss and every gradient, as they are now."""
    found = bench_sae.step(loss_of, sae, x, dead, bf16)
    return {name: value.clone() for name, value in found.items()}


def off(module, sae: SAE, x, dead) -> float:
    """Say how far a module's step is from the dense one, relative to the largest number."""
    true = pieces(autoencoders.topk_loss, sae, x, dead)
    return bench_sae.furthest(pieces(module.topk_loss, sae, x, dead), true)


@pytest.mark.parametrize("dead", DEAD)
@pytest.mark.parametrize("k", [1, 4, F])
def test_loss_and_gradients_are_the_dense_steps(k, dead):
    sae, x = random_sae(k), torch.randn(B, D, dtype=torch.float64)
    assert off(sparse, sae, x, DEAD[dead]) < 1e-12
    sae.W_enc = torch.nn.Parameter(sae.W_enc.detach().contiguous())  # as another file may have it
    assert off(sparse, sae, x, DEAD[dead]) < 1e-12


@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_is_seen(bug, monkeypatch):
    old, new = BUGS[bug]
    source = inspect.getsource(sparse)
    assert source.count(old) == 1
    wrong = ModuleType("lessons.techniques.sae.wrong")
    monkeypatch.setitem(sys.modules, wrong.__name__, wrong)
    exec(source.replace(old, new), vars(wrong))
    sae, x = random_sae(F // 2), torch.randn(B, D, dtype=torch.float64)
    try:
        assert off(wrong, sae, x, DEAD["some"]) > 1e-3
    except RuntimeError:
        assert bug == "pairs not sorted by feature"  # starts and tokens do not fit


def test_gradients_are_the_slopes_of_the_loss():
    sae, (x, e) = random_sae(3, 5, 11), torch.randn(2, 7, 5, dtype=torch.float64)
    dead = torch.arange(11) < 0, torch.arange(11) % 4 == 1, torch.arange(11) != 3
    for name, loss_of in {  # e: what is missed, held still in the dead ones' loss
        "loss": lambda: sparse.topk_loss(sae, x, dead[0])[0],
        "few dead": lambda: sparse.dead_loss(sae, x, e, dead[1]),
        "many dead": lambda: sparse.dead_loss(sae, x, e, dead[2]),
    }.items():
        sae.zero_grad()
        loss_of().backward()
        for p in sae.parameters():
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            slopes = torch.zeros_like(p)
            for place in torch.cartesian_prod(*map(torch.arange, p.shape)).view(p.numel(), -1):
                slopes[tuple(place)] = slope(loss_of, p.data, tuple(place))
            torch.testing.assert_close(grad, slopes, rtol=1e-5, atol=1e-6, msg=name)


@torch.no_grad()
def slope(loss_of, p, place, h: float = 1e-5) -> float:
    """Change one number a little, and see what the loss does."""
    values, was = [], p[place].item()
    for change in (h, -h):
        p[place] = was + change
        values.append(loss_of().item())
    p[place] = was
    return (values[0] - values[1]) / (2 * h)


def test_where_nothing_is_on_only_b_dec_learns():
    sae, x = random_sae(), torch.randn(B, D, dtype=torch.float64)
    sae.b_enc.data.fill_(-100.0)
    found = pieces(sparse.topk_loss, sae, x, DEAD["some"])
    assert all(found[n].count_nonzero() == 0 for n in ("W_enc", "W_dec", "b_enc"))
    torch.testing.assert_close(found["b_dec"], -2 * (x - sae.b_dec).mean(0))
    f = sparse.topk_loss(sae, x, DEAD["some"])[1]
    assert not f.fired().any() and f.l0() == 0


def test_of_features_that_tie_some_win_and_theirs_is_the_gradient():
    """Eight features read alike, of which four may be on: whichever are, all must agree."""
    sae, x = random_sae(), torch.randn(B, D, dtype=torch.float64)
    sae.W_enc.data[:, :8], sae.b_enc.data[:8] = sae.W_enc.data[:, :1], 9.0
    f = sparse.topk_loss(sae, x, DEAD["none"])[1]
    torch.testing.assert_close(f.values, sae.pre(x).topk(4).values)
    assert all(len(set(row)) == 4 for row in f.at.tolist())
    mask = torch.zeros(B, F).scatter(1, f.at, 1.0)

    def dense(sae, x, dead):
        return autoencoders.squared(x - sae.decode(sae.pre(x) * mask)), None

    true = pieces(dense, sae, x, DEAD["none"])
    assert bench_sae.furthest(pieces(sparse.topk_loss, sae, x, DEAD["none"]), true) < 1e-12


def test_pairs_say_what_is_on():
    f = sparse.Pairs(torch.tensor([[2.0, 0.0], [3.0, 1.0]]), torch.tensor([[4, 0], [1, 4]]), 5)
    assert f.dense().tolist() == [[0, 0, 0, 0, 2], [0, 3, 0, 0, 1]]
    assert f.fired().tolist() == [False, True, False, False, True] and f.l0() == 1.5
    sae, x = random_sae(), torch.randn(B, D, dtype=torch.float64)
    loss, f = sparse.topk_loss(sae, x, DEAD["some"])
    torch.testing.assert_close(f.dense(), sae.encode(x).detach())
    assert loss.dtype == torch.float64 and not f.values.requires_grad


def test_bf16_finds_what_float32_finds(monkeypatch):
    """One of a hundred would differ without the margin; with it, none."""
    sae = random_sae(16, 96, 1024, torch.float32)
    x = bench_sae.clear(sae, torch.randn(300, 96))
    dead, others, errors = torch.zeros(1024).bool(), {}, {}
    true = pieces(autoencoders.topk_loss, sae, x, dead)
    on = sae.encode(x) > 0
    for margin in (0, sparse.MARGIN):
        monkeypatch.setattr(sparse, "MARGIN", margin)
        found = pieces(sparse.topk_loss, sae, x, dead, bf16=True)
        with torch.autocast("cpu", torch.bfloat16):
            f = sparse.topk_loss(sae, x, dead)[1]
        others[margin] = (f.dense() > 0)[~on].sum() / on.sum()
        errors[margin] = bench_sae.furthest(found, true)
        assert all(value.dtype == torch.float32 for value in found.values())
    assert others[0] > 0.003 and others[sparse.MARGIN] == 0
    assert errors[0] > 1e-3 and errors[sparse.MARGIN] < 1e-5


def test_training_ends_where_dense_steps_end(monkeypatch):
    """Twenty steps of Adam, the later ones with dead features; two runs end in equal bits."""
    x, ends = torch.randn(20, 64, 24), {}
    for name in ("sparse", "again", "dense"):
        if name == "dense":
            monkeypatch.setattr(sparse, "topk_loss", autoencoders.topk_loss)
        sae = random_sae(8, 24, 256, torch.float32)
        rows = list(fit(sae, x, 20, every=1, dead_after=300))
        ends[name] = rows, {n: p.detach() for n, p in sae.named_parameters()}
    assert rows[0]["dead"] == 0 < rows[-1]["dead"]
    assert all(torch.equal(ends["again"][1][n], p) for n, p in ends["sparse"][1].items())
    torch.testing.assert_close(ends["sparse"][1], ends["dense"][1], rtol=1e-4, atol=1e-4)
    losses = [torch.tensor([row["loss"] for row in rows]) for rows, _ in ends.values()]
    torch.testing.assert_close(losses[0], losses[2])


def test_nothing_as_large_as_all_features_of_all_tokens_is_made(monkeypatch):
    monkeypatch.setattr(sparse, "CHUNK", 64)
    sae, x, b = random_sae(4, 16, 2048, torch.float32), torch.randn(1024, 16), 1024
    dead = torch.zeros(2048).bool()
    of = {
        module: most_bytes(lambda module=module: pieces(module.topk_loss, sae, x, dead))
        for module in (autoencoders, sparse)
    }
    assert of[sparse] < 4 * b * 2048 / 4 and of[autoencoders] > 3 * 4 * b * 2048


def test_x_has_no_gradient_and_is_told_so():
    with pytest.raises(MinimechError, match=r"no gradient for x: give it x.detach\(\)"):
        sparse.topk_loss(random_sae(), torch.randn(B, D).double().requires_grad_(), DEAD["none"])


def test_the_bench_holds_its_steps_to_the_dense_one(monkeypatch):
    with torch.no_grad():
        sae, x = bench_sae.random_sae(24, 96, 8), torch.randn(200, 24)
        assert bench_sae.held_to(sae, x, torch.arange(96) % 10 == 0) < 1e-5
        monkeypatch.setattr(sparse, "AUX", AUX * 1.01)
        with pytest.raises(AssertionError, match="the sparse step is off by"):
            bench_sae.held_to(sae, x, torch.arange(96) % 10 == 0)


def test_an_operation_that_costs_nothing_more_than_the_product_is_at_its_rate():
    """Six products in six times the seconds of one: rate 1. Four times 32 of 128 features: 1."""
    sae = SAE(Config(10, 128, k=32))
    t = dict.fromkeys(("product", "bf16", "adam"), 1.0) | {"dense": 6.0, "sparse": 2.0}
    t |= {"dense, dead": 9.0, "sparse, dead": 3.0}
    rows = {row[0]: row[1] for row in bench_sae.summary(t, sae, 7, 0.0, [300, 100])}
    assert rows["rate / product's, dense"] == rows["rate / product's, sparse"] == 1
    assert rows["sparse step, times faster"] == rows["with a tenth dead"] == 3
    assert rows["with Adam"] == 7 / 3 and rows["memory, dense / sparse"] == 3

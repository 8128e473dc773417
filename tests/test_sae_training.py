"""Training an autoencoder: it learns, and an interruption leaves no trace."""

import json
import resource
import shutil
from contextlib import contextmanager
from itertools import islice

import pytest
import torch

from lessons.techniques.sae import devices, files, training
from lessons.techniques.sae.autoencoders import LOSSES, SAE, Config, smallest_kept
from lessons.techniques.sae.resume import Saved
from lessons.techniques.sae.store import Store
from lessons.techniques.sae.training import Plan, Training, fit, train
from lessons.techniques.sae.writing import write
from minimech import MinimechError

KINDS = {
    "relu": Config(6, 20, "relu", l1=0.1),
    "topk": Config(6, 20, "topk", k=2),
    "matryoshka": Config(6, 20, "matryoshka", k=2, groups=(4, 9, 20)),
    "sparse": Config(6, 256, "topk", k=2),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def known(n_features: int, d: int, batch: int, seed: int = 0):
    """Draw directions [f d], and batches for ever: each direction is on at one token in 20."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(n_features, d, generator=generator))

    def batches():
        while True:
            u = torch.rand(batch, n_features, generator=generator)
            yield torch.where(u < 0.05, u / 0.05, 0) @ directions

    return directions, batches()


def made(kind: str) -> SAE:
    torch.manual_seed(0)
    return SAE(KINDS[kind])


def dense(seed: int = 1, batch: int = 32):
    """Give batches [b 6] with a mean that is not 0."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield 2 + torch.randn(batch, 6, generator=generator)


def test_known_features_are_found():
    torch.manual_seed(0)
    directions, batches = known(16, 10, 256, seed=7)
    sae = SAE(Config(10, 32, "topk", k=2))
    before = (sae.W_dec @ directions.T).amax(0)  # [f]
    rows = list(fit(sae, batches, 400, lr=1e-2, every=200))
    after = (sae.W_dec @ directions.T).amax(0)
    assert (before > 0.95).sum() <= 1 and (after > 0.95).sum() >= 15
    assert [row["step"] for row in rows] == [200, 400]
    assert rows[1]["loss"] < rows[0]["loss"] and rows[1]["l0"] <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_says_what_the_equations_say(kind):
    sae, x = made(kind), next(dense())
    loss, f = LOSSES[sae.cfg.kind](sae, x, torch.zeros(sae.cfg.d_sae, dtype=torch.bool))
    missed = (x - sae.decode(f)).square().sum() / (x - x.mean(0)).square().sum()
    (row,) = fit(sae, [x], 1)
    assert row["step"] == 1 and row["dead"] == 0
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert row["l0"] == pytest.approx((f > 0).sum().item() / len(x))
    assert row["explained_variance"] == pytest.approx(1 - missed.item(), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_the_decoder_keep_norm_1(kind):
    sae = made(kind)
    for _ in fit(sae, dense(), 5, lr=0.1):
        pass
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(sae.cfg.d_sae), atol=1e-6)


def test_the_gradient_keeps_no_part_along_a_row():
    W_dec = torch.nn.Parameter(torch.nn.functional.normalize(torch.randn(5, 3)))
    grad = torch.randn(5, 3)
    W_dec.grad = grad.clone()
    training.keep_length(W_dec)
    assert ((W_dec.grad * W_dec).sum(1).abs() < 1e-6).all()
    around = torch.linalg.cross(W_dec, grad)  # what is across is all there
    assert torch.allclose(torch.linalg.cross(W_dec, W_dec.grad), around, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scale_changes_the_unit_and_nothing_else(kind):
    """Activations 8 times as large, with scale=8: the same features, 8 times as large."""
    small, large = made(kind), made(kind)
    large.cfg = Config(**vars(large.cfg) | {"l1": 8 * large.cfg.l1})
    list(fit(small, dense(), 20, lr=0.01, dead_after=200))
    list(fit(large, (8 * x for x in dense()), 20, lr=0.01, dead_after=200, scale=8.0))
    x = next(dense(seed=2))
    assert torch.allclose(8 * small.encode(x), large.encode(8 * x), rtol=1e-3, atol=1e-3)
    assert torch.allclose(8 * small.b_dec, large.b_dec, rtol=1e-3)
    assert torch.allclose(small.W_dec, large.W_dec, atol=1e-4)
    unscaled = made(kind)
    unscaled.cfg = large.cfg
    list(fit(unscaled, (8 * x for x in dense()), 20, lr=0.01, dead_after=200))
    assert not torch.allclose(8 * small.b_dec, unscaled.b_dec, rtol=1e-1)


def test_the_rate_rises_and_falls():
    plan = Plan(100, lr=2.0, warm_up=10, fall=0.2)
    assert [plan.rate(step) for step in (1, 5, 10, 50, 81)] == [0.2, 1.0, 2.0, 2.0, 2.0]
    assert [plan.rate(step) for step in (91, 100)] == pytest.approx([1.0, 0.1])
    assert Plan(1).rate(1) == 1e-3


def test_dead_is_silent_for_long_enough():
    sae = SAE(Config(2, 3, "topk", k=1))
    sae.W_enc.data = torch.tensor([[1.0, -1, 0], [0, 0, -1]])  # feature 2: negative of x_1
    run = Training(sae, Plan(10, lr=1e-9, dead_after=8))
    for _ in range(2):
        run.step(torch.tensor([[3.0, 0]] * 4))  # feature 0 alone
    assert run.silent.tolist() == [0, 8, 8] and run.dead.tolist() == [False, True, True]
    run.step(torch.tensor([[-3.0, 0]] * 4))  # feature 1: a feature comes back to life
    assert run.silent.tolist() == [4, 0, 12] and run.dead.tolist() == [False, False, True]


def test_the_cut_is_the_equations(monkeypatch):
    run = Training(made("matryoshka"), Plan(1))
    for seed in range(6):
        torch.manual_seed(seed)
        pre = (torch.randn(30, 20) * (1 + seed % 3) - 0.5).relu()  # the guess: too high, too low
        assert run.cut(pre, 2) == smallest_kept(pre, 2)
    few = torch.zeros(30, 20)
    few[0, :3] = torch.tensor([1.0, 2, 3])
    assert run.cut(few, 2) == smallest_kept(few, 2) == 0  # all that is on is kept
    assert run.cut(pre, 2) == smallest_kept(pre, 2)  # and 0 is no bad guess


def test_the_threshold_keeps_k_of_new_tokens():
    sae = made("matryoshka")
    list(fit(sae, dense(batch=256), 300, lr=3e-3))
    f = sae.encode(next(dense(seed=3, batch=2000)))
    assert (f > 0).sum().item() / 2000 == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_stops_before_it_is_learned(kind):
    sae = made(kind)
    batches = [*islice(dense(), 2), torch.full((4, 6), torch.nan)]
    with pytest.raises(MinimechError, match="the loss is nan at step 3"):
        list(fit(sae, batches, 10))
    assert all(parameter.isfinite().all() for parameter in sae.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_learns_the_same(kind):
    losses = []
    for precision in ("float32", "bfloat16"):
        run = Training(made(kind), Plan(60, lr=0.01, precision=precision))
        rows = [run.step(x, look=True) for x in islice(dense(), 60)]
        losses.append(sum(row["loss"] for row in rows[-10:]) / 10)
        assert rows[-1]["loss"] < rows[0]["loss"] / 2
    assert losses[1] != losses[0] and losses[1] == pytest.approx(losses[0], rel=0.05)


def test_auto_is_bfloat16_where_it_is_faster(monkeypatch):
    small, large = Config(96, 1024), Config(768, 4096)
    for has in (True, False):
        monkeypatch.setattr(devices, "multiplies_bfloat16", lambda device, has=has: has)
        assert devices.precision("auto", "cpu", small) == "float32"
        assert devices.precision("auto", "cpu", large) == ("bfloat16" if has else "float32")
    assert devices.precision("bfloat16", "cpu", small) == "bfloat16"
    with pytest.raises(MinimechError, match="float32, bfloat16 or auto, not 'half'"):
        devices.precision("half", "cpu", small)


def test_a_device_that_computes_wrong_is_refused(monkeypatch):
    devices.check(made("topk"), next(dense()), "cpu")
    with pytest.raises(MinimechError, match="no device 'cuda:7'"):
        devices.check(made("topk"), next(dense()), "cuda:7")
    sae = made("topk")
    monkeypatch.setattr(sae, "to", lambda device: SAE(sae.cfg))  # its weights are lost on the way
    with pytest.raises(MinimechError, match="cpu computes the loss of this autoencoder as"):
        devices.check(sae, next(dense()), "cpu")


# ---- from disk to disk ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    generator = torch.Generator().manual_seed(0)
    x = 2 + torch.randn(40, 11, 6, generator=generator)
    tokens = torch.arange(440).view(40, 11)
    what = {"site": "blocks.0.hook_resid_post", "model": "m" * 64, "d": 6, "bos": False}
    folder = tmp_path_factory.mktemp("sae") / "store"
    rows = lambda some: x[some[:, 0] // 11]  # noqa: E731
    return Store(write(folder, tokens, rows, dtype="float32", **what))


RUN = {"steps": 24, "batch": 50, "lr": 0.02, "seed": 3, "every": 4, "keep": 5, "dead_after": 200}


def stop_after(monkeypatch, step: int, error: BaseException) -> None:
    """Make the training fail at a step."""
    right = Training.step

    def wrong(run, x, look=False):
        if run.steps == step:
            raise error
        return right(run, x, look)

    monkeypatch.setattr(Training, "step", wrong)


def all_of(folder) -> dict:
    """Return the weights, and the curves, that a run left."""
    sae = files.load(folder)
    weights = {key: tensor.tolist() for key, tensor in sae.state_dict().items()}
    return weights | {"history": (folder / "history.json").read_text()}


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory) -> dict:
    """Train each kind without an interruption."""
    ends = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        train(made(kind), store, folder, **RUN)
        ends[kind] = all_of(folder)
    return ends


@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_leaves_no_trace(kind, store, whole, tmp_path, monkeypatch):
    for step in (3, 13, 23):  # before anything was saved, and twice between
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            stop_after(patch, step, KeyboardInterrupt())
            train(made(kind), store, tmp_path, **RUN)
    rows = train(made(kind), store, tmp_path, **RUN)
    assert all_of(tmp_path) == whole[kind]
    assert [row["step"] for row in rows] == [4, 8, 12, 16, 20, 24]
    train(made(kind), store, tmp_path, **RUN)  # and once finished, it is finished
    assert all_of(tmp_path) == whole[kind]


@pytest.mark.parametrize("part", ("adam", "silent", "sae", "step"))
def test_every_part_of_the_state_is_needed(part, store, whole, tmp_path, monkeypatch):
    """The test above would see it if one was forgotten."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 13, KeyboardInterrupt())
        train(made("sparse"), store, tmp_path, **RUN)
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    new = Training(made("sparse"), Plan(24))
    new.step(store[:50])
    state[part] = {
        "adam": new.adam.state_dict(),
        "silent": new.silent,
        "sae": new.sae.state_dict(),
        "step": 9,
    }[part]
    torch.save(state, tmp_path / "resume.pt")
    train(made("sparse"), store, tmp_path, **RUN)
    assert all_of(tmp_path)["W_enc"] != whole["sparse"]["W_enc"]


@pytest.fixture
def halfway(store, tmp_path, monkeypatch):
    """Leave a run of topk that was stopped after its 13th step, of which 10 are saved."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 13, KeyboardInterrupt())
        train(made("topk"), store, tmp_path, **RUN)
    return tmp_path


def test_other_settings_are_refused_by_name(store, halfway):
    for key, value, said in (
        ("lr", 0.01, "with lr 0.02, and you asked for 0.01"),
        ("seed", 4, "with seed 3, and you asked for 4"),
        ("steps", 25, "with steps 24, and you asked for 25"),
        ("batch", 40, "with batch 50, and you asked for 40"),
        ("dead_after", 1, "with dead_after 200, and you asked for 1"),
        ("precision", "bfloat16", "with precision float32, and you asked for bfloat16"),
    ):
        with pytest.raises(MinimechError, match=said):
            train(made("topk"), store, halfway, **RUN | {key: value})
    with pytest.raises(MinimechError, match="with d_sae 20, and you asked for 256"):
        train(made("sparse"), store, halfway, **RUN)


def test_fresh_starts_over(store, halfway, whole, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 2, KeyboardInterrupt())
        train(made("topk"), store, halfway, **RUN | {"lr": 0.01}, fresh=True)
    train(made("topk"), store, halfway, **RUN)  # what was there before is gone
    assert all_of(halfway) == whole["topk"]


def test_a_finished_autoencoder_is_not_overwritten(store, tmp_path):
    files.save(made("relu"), tmp_path)
    before = (tmp_path / files.WEIGHTS).read_bytes()
    with pytest.raises(MinimechError, match=r"holds an autoencoder, and no resume.pt"):
        train(made("topk"), store, tmp_path, **RUN)
    assert (tmp_path / files.WEIGHTS).read_bytes() == before


@pytest.mark.parametrize("keep", (0, 1000, -1))
def test_a_state_cut_short_is_said(keep, store, halfway):
    whole = (halfway / "resume.pt").read_bytes()
    (halfway / "resume.pt").write_bytes(whole[:keep])
    with pytest.raises(MinimechError, match=r"resume.pt cannot be read .* --fresh starts over"):
        train(made("topk"), store, halfway, **RUN)


def test_nan_keeps_what_was_saved(store, halfway, whole, monkeypatch):
    right = Training.loss

    def wrong(run, x):
        loss, f = right(run, x)
        return (loss * torch.nan if run.steps == 16 else loss), f

    with monkeypatch.context() as patch:
        patch.setattr(Training, "loss", wrong)
        with pytest.raises(MinimechError, match=r"nan at step 17; .*resume.pt keeps step 15"):
            train(made("topk"), store, halfway, **RUN)
    train(made("topk"), store, halfway, **RUN)
    assert all_of(halfway) == whole["topk"]


@contextmanager
def room_for(size: int):
    """Let no file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_within_a_file_is_said(tmp_path):
    """Torch then raises an error of its own, which names no disk."""
    run = Training(SAE(Config(6, 2000)), Plan(1))
    run.step(next(dense()))
    with room_for(100_000), pytest.raises(MinimechError, match="step 1 was not saved: File too la"):
        Saved(tmp_path, {}).save(run, [])
    assert not [*tmp_path.iterdir()]


def test_a_full_disk_loses_nothing(store, halfway, whole):
    said = r"step 15 was not saved: File too large; .* keeps step 10"
    with room_for(3000), pytest.raises(MinimechError, match=said):
        train(made("topk"), store, halfway, **RUN)
    assert [path.name for path in halfway.iterdir()] == ["resume.pt"]
    train(made("topk"), store, halfway, **RUN)
    assert all_of(halfway) == whole["topk"]


def test_weights_that_are_no_numbers_are_not_saved(store, halfway, monkeypatch):
    monkeypatch.setattr(SAE, "normalise", lambda sae: sae.W_dec.data.mul_(torch.inf))
    with pytest.raises(MinimechError, match="keeps step 10"):
        train(made("topk"), store, halfway, **RUN | {"keep": 1})
    assert torch.load(halfway / "resume.pt", weights_only=True)["step"] == 10


def test_a_store_that_changes_is_said(store, tmp_path, monkeypatch):
    folder = shutil.copytree(store.folder, tmp_path / "store")
    right, copy = Training.step, Store(folder)

    def meanwhile(run, x, look=False):
        if run.steps == 12:
            (folder / "activations.bin").touch()
        return right(run, x, look)

    monkeypatch.setattr(Training, "step", meanwhile)
    with pytest.raises(MinimechError, match=r"activations.bin was changed .* keeps step 10"):
        train(made("topk"), copy, tmp_path / "sae", **RUN)


@pytest.mark.parametrize("out", ("file", "file/sae"))
def test_a_folder_that_cannot_be_is_said_before_the_first_step(store, out, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    stop_after(monkeypatch, 0, AssertionError("a step was taken"))
    with pytest.raises(MinimechError, match=r"nothing can be saved in .*file"):
        train(made("topk"), store, tmp_path / out, **RUN)


def test_a_folder_that_goes_away_does_not_hide_the_reason(store, halfway, monkeypatch):
    right = Training.step

    def meanwhile(run, x, look=False):
        if run.steps == 14:
            shutil.rmtree(halfway)
            halfway.touch()
        return right(run, x, look)

    monkeypatch.setattr(Training, "step", meanwhile)
    with pytest.raises(MinimechError, match=r"step 15 was not saved: File exists .* keeps step 10"):
        train(made("topk"), store, halfway, **RUN)


def test_another_store_is_said_not_asked_for(store, halfway, tmp_path_factory):
    tokens = torch.arange(440).view(40, 11)
    what = {"site": store.site, "model": store.model, "dtype": "float32", "d": 6, "bos": False}
    x = torch.randn(440, 6, generator=torch.Generator().manual_seed(5))
    other = Store(write(tmp_path_factory.mktemp("other") / "s", tokens, lambda t: x[t], **what))
    with pytest.raises(MinimechError, match="on another store, or on what this one was; take an"):
        train(made("topk"), other, halfway, **RUN)


def test_a_store_that_does_not_fit(store, tmp_path):
    with pytest.raises(MinimechError, match="the store has width 6, the autoencoder is of 7"):
        train(SAE(Config(7, 20)), store, tmp_path, **RUN)
    with pytest.raises(MinimechError, match=r"has site blocks.0.hook_resid_post, the autoencoder"):
        train(SAE(Config(6, 20, site="blocks.1.hook_mlp_out")), store, tmp_path, **RUN)
    with pytest.raises(MinimechError, match="batches of 500 rows, from a store of 400"):
        train(made("topk"), store, tmp_path, **RUN | {"batch": 500})


def test_what_is_written(store, whole, tmp_path):
    rows = train(made("relu"), store, tmp_path, **RUN)
    sae = SAE.from_pretrained(tmp_path)
    assert (sae.cfg.site, sae.cfg.model, sae.cfg.bos) == (store.site, store.model, False)
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["settings"]["lr"] == 0.02 and history["settings"]["l1"] == 0.1
    assert history["curves"]["loss"] == pytest.approx([row["loss"] for row in rows], rel=1e-4)
    (tmp_path / "history.json").write_text("{}")
    with pytest.raises(MinimechError, match=r"history.json is truncated or altered"):
        SAE.from_pretrained(tmp_path)

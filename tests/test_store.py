"""The store of activations: what is in it, in what order it is read, and what can go wrong.

Most tests write rows that say which token they are of, so that each can be told from every other.
"""

import errno
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from lessons.techniques.sae import seal, shuffling, writing
from lessons.techniques.sae.store import Store, collect
from lessons.techniques.sae.writing import model_hash, write
from minimech import HookedTransformer, MinimechError, ModelConfig
from minimech.hooks import site_shapes
from minimech.model import Block
from minimech.tokens import PAD

WHAT = {"site": "blocks.0.hook_resid_post", "model": "ab" * 32, "dtype": "float32", "d": 3}
SIGNS = torch.tensor([1.0, -1.0, 0.5])


def text(documents: int, positions: int) -> torch.Tensor:
    """Tokens [b p], all different."""
    return torch.arange(documents * positions).view(documents, positions)


def rows_of(tokens):  # [b p] -> [b p 3]
    return tokens[..., None].float() * SIGNS


def told(x) -> list[int]:
    """Say which tokens rows are of."""
    assert torch.equal(x, x[..., :1] * SIGNS)
    return x[..., 0].int().tolist()


@pytest.fixture(autouse=True)
def a_disk_that_does_not_wait(monkeypatch):
    """What is written need not survive a power cut here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 8 documents of 9 rows, 12 bytes each."""
    monkeypatch.setattr(writing, "BLOCK", 8 * 9 * 12)


@pytest.fixture
def store(tmp_path, small_blocks) -> Store:
    """50 documents of 9 rows, 450 in all: 6 whole blocks and one of two documents."""
    return Store(write(tmp_path / "store", text(50, 10), rows_of, 4, **WHAT, bos=False))


@pytest.fixture(scope="module")
def model() -> HookedTransformer:
    torch.manual_seed(0)
    model = HookedTransformer(ModelConfig(3, 2, 8, 12, 30)).requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def padded() -> torch.Tensor:
    """Documents of 12, 5, 1, 9, ... tokens."""
    tokens = torch.randint(30, (21, 12), generator=torch.Generator().manual_seed(1))
    for row, end in zip(tokens, itertools.cycle([12, 5, 1, 9])):
        row[end:] = PAD
    return tokens


def message(call, *given, **more) -> str:
    with pytest.raises(MinimechError) as caught:
        call(*given, **more)
    text = str(caught.value)
    assert "\n" not in text and "Traceback" not in text
    return text


# ---- what is in it -------------------------------------------------------------------------------


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize(
    "site",
    ["hook_embed", "blocks.0.hook_resid_pre", "blocks.2.hook_resid_pre", "blocks.1.hook_resid_mid",
     "blocks.1.attn.hook_z", "blocks.0.mlp.hook_post", "ln_final.hook_normalized"],
)  # fmt: skip
def test_rows_are_the_models_activations_at_the_places_that_are_told(
    site, bos, model, padded, tmp_path, monkeypatch
):
    monkeypatch.setattr(writing, "BLOCK", 8 * 40 * 4)
    store = collect(model, padded, site, tmp_path / "store", batch=2, bos=bos)
    expected = model.run_with_cache(padded)[1][site].flatten(2)  # [b p d]
    document, position = store.places(torch.arange(len(store)))
    assert store.n == len(store) == int((padded != PAD).sum()) - (0 if bos else 21)
    assert store.d == expected.shape[-1] and store.site == site
    torch.testing.assert_close(store[:], expected[document, position], rtol=1e-5, atol=1e-6)
    assert len({*zip(document.tolist(), position.tolist())}) == store.n
    assert (position > 0).all() or bos
    assert torch.equal(store.tokens, padded)
    Store(tmp_path / "store").check(model)


def test_a_documents_rows_are_its_positions_in_order(store):
    for document in range(50):
        rows = store.rows(document)
        assert told(store[rows]) == list(range(10 * document + 1, 10 * document + 10))
        where, position = store.places(rows)
        assert (where == document).all() and position.tolist() == list(range(1, 10))
    assert message(store.rows, 50) == "document 50 of a store of 50"


def test_rows_are_read_by_number_slice_and_tensor(store):
    whole = store[:]
    assert sorted(told(whole)) == [i for i in range(500) if i % 10]
    assert told(store[7]) == told(whole[7]) and told(store[-1]) == told(whole[-1])
    assert torch.equal(store[440:999], whole[440:]) and store[5:5].shape == (0, 3)
    at = torch.tensor([[3, 449], [-450, 3]])
    assert torch.equal(store[at], whole[at])
    assert message(store.__getitem__, 450) == "row 450 of a store of 450"
    assert "step 1, not 2" in message(store.__getitem__, slice(0, 9, 2))
    assert "not torch.bool" in message(store.__getitem__, torch.ones(450, dtype=torch.bool))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_the_bytes_hold_what_half_precision_does(dtype, model, padded, tmp_path):
    site = "blocks.1.hook_resid_post"
    full = collect(model, padded, site, tmp_path / "full", bos=True)
    half = collect(model, padded, site, tmp_path / "half", dtype=dtype, bos=True)
    expected = full[:].to(getattr(torch, dtype)).float()
    assert torch.equal(half[:], expected) and half[:].dtype == torch.float32
    sizes = [(s.folder / "activations.bin").stat().st_size for s in (full, half)]
    assert sizes[0] == 2 * sizes[1]
    batch = next(half.batches(len(half), seed=0))
    assert torch.equal(batch.sort(0).values, expected.sort(0).values)
    assert batch.dtype == torch.float32


def test_the_model_runs_no_further_than_the_site(model, padded, tmp_path, monkeypatch):
    ran, forward = [], Block.forward
    monkeypatch.setattr(
        Block, "forward", lambda self, *given: ran.append(self.name) or forward(self, *given)
    )
    for site, last in (
        ("hook_embed", 0),
        ("blocks.1.hook_resid_pre", 1),
        ("blocks.1.attn.hook_q", 2),
    ):
        ran.clear()
        collect(model, padded, site, tmp_path / site, batch=21)
        assert ran == 2 * [f"blocks.{i}" for i in range(last)]  # one token for the width, and all


def test_mean_and_scale_are_those_of_the_rows_also_far_from_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BLOCK", 4 * 3 * 64)  # 64 rows at a time
    numbers = torch.randn(500, 3, generator=torch.Generator().manual_seed(2))
    numbers = numbers * torch.tensor([1.0, 2, 3]) + torch.tensor([3000.0, -7, 0])
    folder = write(tmp_path / "s", text(50, 10), lambda tokens: numbers[tokens], **WHAT, bos=True)
    store, exact = Store(folder), numbers.double()
    torch.testing.assert_close(store.mean(), exact.mean(0).float())
    far = (exact - exact.mean(0)).square().sum(1).mean().sqrt() / 3**0.5
    assert store.scale() == pytest.approx(float(far), rel=1e-5) and 1.9 < float(far) < 2.4


def test_rows_that_are_all_alike_have_scale_zero(tmp_path):
    same = lambda tokens: torch.full((*tokens.shape, 3), 0.1)  # noqa: E731
    assert Store(write(tmp_path / "s", text(3, 4), same, **WHAT, bos=True)).scale() == 0


# ---- in what order it is read --------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 7, 64, 449, 450])
def test_each_row_comes_once_in_every_epoch(store, batch, monkeypatch):
    monkeypatch.setattr(shuffling, "PLACES", 4)
    stream = told(
        torch.cat([*itertools.islice(store.batches(batch, seed=3), 3 * 450 // batch + 1)])
    )
    epochs = [stream[i * 450 : (i + 1) * 450] for i in range(3)]
    assert all(sorted(epoch) == [i for i in range(500) if i % 10] for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_seed_decides_the_order(store):
    first, again, other = (
        told(torch.cat([*itertools.islice(store.batches(50, seed), 9)])) for seed in (1, 1, 2)
    )
    assert first == again != other and sorted(first) == sorted(other)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_step_is_gone_on_from_and_processes_share_it(store, world, monkeypatch):
    steps = [told(x) for x in itertools.islice(store.batches(60, seed=5), 20)]
    read = []
    monkeypatch.setattr(Store, "_read_ahead", lambda *_: None)
    pread = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *given: read.append(pread(*given)) or read[-1])
    parts = [
        [told(x) for x in itertools.islice(store.batches(60, 5, 13, rank, world), 7)]
        for rank in range(world)
    ]
    assert [[*itertools.chain(*step)] for step in zip(*parts)] == steps[13:]
    assert sum(read) == 7 * 60 * 12  # bytes: each process reads its part, and nothing before


def test_the_order_does_not_depend_on_how_the_disk_is_read(store, monkeypatch):
    expected = next(store.batches(450, seed=0)).clone()
    pread = os.preadv
    monkeypatch.setattr(
        os,
        "preadv",
        lambda file, views, *at: pread(file, [views[0][: max(1, len(views[0]) // 3)]], *at),
    )
    assert torch.equal(next(store.batches(450, seed=0)), expected)


def test_a_batch_mixes_hundreds_of_documents(tmp_path, monkeypatch):
    """Count a row's companions of its own document in a batch of 4,096, as for GPT-2's activations.

    Rows here are shorter, and as many: in runs and blocks of as many rows as there.
    """
    documents, positions, batch, gpt2, here = 5500, 128, 4096, 3072, 8  # bytes of a row
    monkeypatch.setattr(writing, "BLOCK", writing.BLOCK * here // gpt2)
    monkeypatch.setattr(shuffling, "RUN", shuffling.RUN * here // gpt2)
    pick = lambda t: torch.stack([t // positions, t % positions], -1).float()  # noqa: E731
    what = {**WHAT, "d": 2, "bos": True}
    store = Store(write(tmp_path / "s", text(documents, positions), pick, **what))
    assert store.header["block"] == 32 and shuffling.run_length(store.n, here, batch) == 256

    def companions(document) -> float:  # [b], mean over its rows
        return float(np.square(np.unique(document, return_counts=True)[1]).sum()) / batch - 1

    steps = [x[:, 0].numpy().copy() for x in itertools.islice(store.batches(batch, seed=0), 100)]
    ours = np.mean([companions(document) for document in steps])
    rng = np.random.default_rng(0)
    drawn = [rng.choice(documents * positions, batch, False) // positions for _ in range(100)]
    perfect = np.mean([companions(document) for document in drawn])
    assert perfect == pytest.approx(0.74, abs=0.02) and ours == pytest.approx(8.6, abs=0.1)
    assert companions(np.arange(batch) // positions) == 127  # in the order of the text
    assert np.mean([document[:-1] == document[1:] for document in steps]) < 0.04


def test_runs_of_a_huge_store_are_few_enough_to_be_drawn():
    n = 10**12
    length = shuffling.run_length(n, 3072, 4096)
    assert n // length <= shuffling.MOST
    assert shuffling.run_length(700_000, 3072, 4096) == 256


def test_a_batch_that_is_kept_stays_what_it_was(store):
    kept = [*itertools.islice(store.batches(50, seed=0), 9)]
    assert len({told(x)[0] for x in kept}) == 9
    view = next(iter(store.batches(50, seed=0)))[3:5]
    before = view.clone()
    for _ in itertools.islice(store.batches(50, seed=0), 5):
        assert torch.equal(view, before)


def test_part_of_a_batch_that_is_kept_stays_what_it_was(store):
    batches = store.batches(50, seed=0)
    part = next(batches)[3:5]
    before = part.clone()
    for _ in range(5):
        next(batches)
    assert torch.equal(part, before)


def test_a_loop_reads_into_the_same_memory_again(store):
    places = set()
    for x in itertools.islice(store.batches(50, seed=0), 30):
        places.add(x.data_ptr())
    assert len(places) == 2


@pytest.mark.parametrize(
    "given, words",
    [
        ((451, 0), "batches of 451 rows, from a store of 450"),
        ((0, 0), "batches of 0 rows"),
        ((50, 0, 0, 0, 3), "part 0 of 3"),
        ((50, 0, 0, 2, 2), "part 2 of 2"),
        ((50, 0, -1), "step -1"),
    ],
)
def test_batches_that_cannot_be_are_refused_at_once(store, given, words):
    assert words in message(store.batches, *given)


# ---- interruptions -------------------------------------------------------------------------------


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Read all files; but when a store was written is its own."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    if "store.json" in found:
        found["store.json"] = re.sub(rb'"mtime_ns": [0-9]+', b"", found["store.json"])
    return found


@pytest.mark.parametrize("left", [0, 1, 863, 864, 865, 2600, 5183, 5184, 5399])
def test_what_a_kill_left_at_any_byte_is_gone_on_with(store, left):
    whole, seen = bytes_of(store.folder), []
    path = store.folder / "activations.bin"
    os.truncate(path, left)  # of 5,400 bytes: six blocks of 864, and one of 216
    header = json.loads((store.folder / "store.json").read_text())
    (store.folder / "store.json").write_text(json.dumps({**header, "complete": False}))
    assert f"{left // 12} of 450 rows are there" in message(Store, store.folder)

    def watched(tokens):
        seen.extend(tokens[:, 0].tolist())
        return rows_of(tokens)

    write(store.folder, text(50, 10), watched, 4, **WHAT, bos=False)
    assert bytes_of(store.folder) == whole
    assert seen == list(
        range(left // 864 * 80, 500, 10)
    )  # the block that was cut, and what follows


def test_a_kill_loses_only_the_block_in_memory(tmp_path, small_blocks):
    folder, tokens = tmp_path / "store", text(50, 10)

    def dies(some):
        if int(some[0, 0]) >= 200:
            os.kill(os.getpid(), signal.SIGKILL)
        return rows_of(some)

    child = os.fork()
    if child == 0:
        write(folder, tokens, dies, 4, **WHAT, bos=False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert "144 of 450 rows are there" in message(Store, folder)  # two blocks of 72
    seen = []
    write(folder, tokens, lambda t: seen.append(int(t[0, 0])) or rows_of(t), 4, **WHAT, bos=False)
    whole = write(tmp_path / "whole", tokens, rows_of, 4, **WHAT, bos=False)
    assert bytes_of(folder) == bytes_of(whole) and min(seen) == 160


def test_ctrl_c_is_passed_on_and_the_next_call_goes_on(tmp_path, small_blocks):
    def stopped(some):
        if int(some[0, 0]) >= 200:
            raise KeyboardInterrupt
        return rows_of(some)

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", text(50, 10), stopped, 4, **WHAT, bos=False)
    assert len(Store(write(tmp_path / "s", text(50, 10), rows_of, 4, **WHAT, bos=False))) == 450


@pytest.mark.parametrize("after", ["mkdir", "store.json", "tokens.bin"])
def test_a_kill_before_the_first_row_is_gone_on_from(store, after):
    files = ["store.json", "tokens.bin", "activations.bin"]
    keep = files[: files.index(after) + 1] if after in files else []
    for file in set(files) - set(keep):
        (store.folder / file).unlink()
    (store.folder / ".tokens.bin.part").write_bytes(b"half")
    if keep:
        header = json.loads((store.folder / "store.json").read_text())
        (store.folder / "store.json").write_text(json.dumps({**header, "complete": False}))
    assert "no store.json" in message(Store, store.folder) or keep
    assert len(Store(write(store.folder, text(50, 10), rows_of, 4, **WHAT, bos=False))) == 450


def test_a_store_that_is_there_is_opened_and_the_model_is_not_run(
    model, padded, tmp_path, monkeypatch
):
    site = "blocks.1.hook_resid_post"
    before = collect(model, padded, site, tmp_path / "s")
    monkeypatch.setattr(
        "lessons.techniques.sae.store.activations", lambda *_, **__: before[:1][None]
    )
    after = collect(model, padded, site, tmp_path / "s", batch=5)
    assert after.id == before.id and torch.equal(after[:], before[:])


def test_the_disk_that_fills_keeps_what_is_written(tmp_path, small_blocks):
    folder, limits = tmp_path / "store", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        said = message(write, folder, text(50, 10), rows_of, 4, **WHAT, bos=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert said == (
        f"the store in {folder} is not finished: {os.strerror(errno.EFBIG)}. What was written is "
        "kept; once that is mended, the same call goes on from there"
    )
    assert (folder / "activations.bin").stat().st_size == 3000  # three blocks, and part of one
    whole = write(tmp_path / "whole", text(50, 10), rows_of, 4, **WHAT, bos=False)
    write(folder, text(50, 10), rows_of, 4, **WHAT, bos=False)
    assert bytes_of(folder) == bytes_of(whole)


@pytest.mark.parametrize("after", range(5))
def test_what_the_disk_took_and_lost_is_written_again(tmp_path, small_blocks, monkeypatch, after):
    """The system drops what it could not bring to the disk: reading it back gives anything."""
    folder, fsync, asked = tmp_path / "store", os.fsync, []

    def fail(file):
        if os.readlink(f"/proc/self/fd/{file}").endswith("activations.bin"):
            asked.append(file)
            if len(asked) == after + 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(file)

    monkeypatch.setattr(os, "fsync", fail)
    said = message(write, folder, text(50, 10), rows_of, 4, **WHAT, bos=False)
    assert said.startswith(f"the store in {folder} is not finished: {os.strerror(errno.EIO)}")
    monkeypatch.setattr(os, "fsync", fsync)
    assert (folder / "activations.bin").stat().st_size == 864 * max(0, after - 1)  # whole blocks
    whole = write(tmp_path / "whole", text(50, 10), rows_of, 4, **WHAT, bos=False)
    write(folder, text(50, 10), rows_of, 4, **WHAT, bos=False)
    assert bytes_of(folder) == bytes_of(whole)


def test_nor_does_it_lose_what_an_earlier_call_wrote(tmp_path, small_blocks, monkeypatch):
    folder, whole = tmp_path / "store", tmp_path / "whole"
    for one in (whole, folder):
        write(one, text(50, 10), rows_of, 4, **WHAT, bos=False)
    header = json.loads((folder / "store.json").read_text()) | {"complete": False}
    (folder / "store.json").write_text(json.dumps(header))
    os.truncate(folder / "activations.bin", 3000)  # three blocks of 864 bytes, and part of one

    def fail(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    message(write, folder, text(50, 10), rows_of, 4, **WHAT, bos=False)
    monkeypatch.undo()
    assert (folder / "activations.bin").stat().st_size == 3 * 864


def test_too_little_room_is_said_before_the_work_begins(tmp_path, monkeypatch):
    free = namedtuple("usage", "free")(100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    said = message(write, tmp_path / "s", text(50, 10), lambda _: 1 / 0, **WHAT, bos=False)
    assert "0.0 GB are still to be written, and 0.0 GB are free" in said


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, number):
    def fail(self, *_, **__):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", fail)
    said = message(write, tmp_path / "s", text(5, 4), rows_of, **WHAT, bos=False)
    assert f"{os.strerror(number)} ({tmp_path / 's'})" in said


def test_two_processes_do_not_write_the_same_store(tmp_path, small_blocks):
    folder, said = tmp_path / "s", []

    def second(tokens):
        if not said:
            said.append(message(write, folder, text(50, 10), rows_of, 4, **WHAT, bos=False))
        return rows_of(tokens)

    assert len(Store(write(folder, text(50, 10), second, 4, **WHAT, bos=False))) == 450
    assert said == [f"another process is writing {folder / 'activations.bin'}; wait for it"]


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"site": "blocks.1.hook_resid_post"},
            "has site 'blocks.0.hook_resid_post', and you asked",
        ),
        ({"model": "cd" * 32}, "has model 'abababababab"),
        ({"dtype": "float16"}, "has dtype 'float32', and you asked for 'float16'"),
        ({"d": 4}, "has d 3"),
        ({"bos": True}, "has bos False"),
        ({"tokens": text(50, 11)}, "has tokens '"),
        ({"tokens": text(50, 10).flip(0)}, "has tokens '"),
    ],
)
def test_a_store_of_something_else_is_not_written_on(store, change, words):
    whole = bytes_of(store.folder)
    given = {**WHAT, "bos": False, "tokens": text(50, 10), "rows_of": rows_of, **change}
    said = message(write, store.folder, **given)
    assert words in said and said.endswith("name another folder, or delete that one")
    assert bytes_of(store.folder) == whole


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    said = message(write, tmp_path, text(5, 4), rows_of, **WHAT, bos=False)
    assert said == f"{tmp_path} holds thesis.tex, and no store: name a folder of its own"
    assert [*bytes_of(tmp_path)] == ["thesis.tex"]


def test_a_store_cut_short_is_refused_and_completed_by_the_same_call(store):
    whole = bytes_of(store.folder)
    os.truncate(store.folder / "activations.bin", 1000)
    assert message(Store, store.folder) == (
        f"the store in {store.folder} is cut short, or not finished: 83 of 450 rows are there; "
        "the call of `collect` that began it goes on from them"
    )
    write(store.folder, text(50, 10), rows_of, 4, **WHAT, bos=False)
    assert bytes_of(store.folder) == whole


@pytest.mark.parametrize(
    "content, words",
    [
        ("", "is damaged; delete"),
        ("{", "is damaged; delete"),
        ("[]", "is damaged; delete"),
        ("{}", "describes no store: site is None"),
        ('{"site": 3}', "describes no store: site is 3"),
        ('{"rows": -450}', "its sizes make no sense"),
        ('{"dtype": "int8"}', "its sizes make no sense"),
        ('{"more": 1}', "more is 1"),
    ],
)
def test_a_store_json_that_makes_no_sense_is_refused(store, content, words):
    path = store.folder / "store.json"
    if content not in ("", "{", "[]", "{}"):
        content = json.dumps(json.loads(path.read_text()) | json.loads(content))
    path.write_text(content)
    for call in (Store, lambda folder: write(folder, text(50, 10), rows_of, **WHAT, bos=False)):
        said = message(call, store.folder)
        assert words in said and said.endswith(f"delete {store.folder} and collect again")


def test_no_store_is_said_to_be_none(tmp_path):
    assert "holds no store of activations" in message(Store, tmp_path / "nowhere")


def test_a_text_that_was_altered_is_refused(store):
    path = store.folder / "tokens.bin"
    path.write_bytes(path.read_bytes()[:-4])
    assert f"{path} is missing, cut short or altered" in message(lambda: Store(store.folder).tokens)


def overwritten(path):
    stream = path.open("r+b")
    stream.write(b"other")
    stream.close()
    os.utime(path, ns=(1, 1))  # clocks of some disks are coarse


def replaced(path):
    (path.parent / "new").write_bytes(path.read_bytes())
    (path.parent / "new").replace(path)


@pytest.mark.parametrize(
    "change, words",
    [
        (overwritten, "was changed while it was read"),
        (replaced, "was changed while it was read"),
        (lambda path: path.unlink(), "was changed while it was read"),
        (lambda path: os.truncate(path, 600), "was cut short while it was read"),
        (lambda path: os.truncate(path, 6000), "was changed while it was read"),
    ],
)
def test_a_store_that_is_changed_while_it_is_read_is_noticed(store, change, words):
    batches = store.batches(50, seed=0)
    next(batches)
    change(store.path)
    said = message(lambda: [*itertools.islice(batches, 9)])
    assert words in said and str(store.path) in said


@pytest.mark.parametrize("at", [0, 2700, 5392])
def test_a_store_that_was_overwritten_is_refused_by_all_that_open_it(store, at):
    with store.path.open("r+b") as stream:
        stream.seek(at)
        stream.write(b"some bit")
    os.utime(store.path, ns=(1, 1))
    said = f"{store.path} is not what `collect` wrote: delete {store.folder} and collect again"
    assert message(Store, store.folder) == said
    folder = write(store.folder, text(50, 10), rows_of, 4, **WHAT, bos=False)  # all seems there
    assert message(Store, folder) == said
    shutil.rmtree(folder)
    assert len(Store(write(folder, text(50, 10), rows_of, 4, **WHAT, bos=False))) == 450


def test_a_copy_of_a_store_is_that_store(store, tmp_path, monkeypatch):
    folder = shutil.copytree(store.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    os.utime(folder / "activations.bin", ns=(1, 1))
    copy = Store(folder)
    assert copy.id == store.id and torch.equal(copy[:], store[:])
    monkeypatch.setattr("lessons.techniques.sae.seal.of", lambda *_: 1 / 0)
    Store(store.folder)  # whose file was not touched is not read through


@pytest.mark.parametrize("chunk", [8, 64, 2**20])
def test_a_sum_is_the_same_in_whatever_parts_it_comes(chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(seal, "CHUNK", chunk)
    draw = np.random.default_rng(0)
    content = draw.integers(0, 256, 1003, dtype=np.uint8).tobytes()
    (tmp_path / "file").write_bytes(content + b"more")
    words = (content + bytes(5),) if chunk > 1003 else ()
    told = seal.of(tmp_path / "file", 1003).told()
    for _ in range(20):
        total, cuts = seal.Sum(), sorted(draw.integers(0, 1004, 9).tolist())
        for start, stop in zip([0, *cuts], [*cuts, 1003]):
            total.add(memoryview(content)[start:stop])
        assert total.told() == told
    for whole in words:
        exact = sum(int.from_bytes(whole[i : i + 8], "little") for i in range(0, 1008, 8))
        assert [number % 2**64 for number in total.sums] == [exact % 2**64]
    for at in (0, 500, 1002):
        changed = bytearray(content)
        changed[at] ^= 1
        (tmp_path / "file").write_bytes(changed)
        assert seal.of(tmp_path / "file", 1003).told() != told


@pytest.mark.parametrize("value", [1e30, float("nan")])
def test_numbers_that_have_no_scale_are_said(store, value):
    where = np.memmap(store.path, dtype=np.float32, mode="r+")
    where[600] = value
    where.flush()
    os.utime(store.path, ns=(1, store.header["mtime_ns"]))  # as if it was never touched
    assert "whose squares are infinite: delete" in message(Store(store.folder).scale)


def test_another_model_is_told_by_its_hash(model, padded, tmp_path):
    store = collect(model, padded, "blocks.0.hook_resid_post", tmp_path / "s")
    store.check(model)
    torch.manual_seed(0)
    other = HookedTransformer(ModelConfig(3, 2, 8, 12, 30)).requires_grad_(False)
    assert "of model" in message(store.check, other) and "another folder" in message(
        store.check, other
    )
    other.load_state_dict(model.state_dict())
    store.check(other)
    other.blocks[2].mlp.b_out[3] += 1e-6
    message(store.check, other)
    renamed = HookedTransformer(ModelConfig(3, 2, 8, 12, 30, model_name="other"))
    renamed.load_state_dict(model.state_dict())
    assert model_hash(renamed) == model_hash(model)
    heads = HookedTransformer(ModelConfig(3, 4, 8, 12, 30))
    assert model_hash(heads) != model_hash(model)


def test_stores_of_the_same_have_the_same_id(model, padded, tmp_path):
    site = "blocks.0.hook_resid_post"
    first, again, half, shorter = (
        collect(model, tokens, site, tmp_path / str(i), dtype=dtype).id
        for i, (tokens, dtype) in enumerate(
            [
                (padded, "float32"),
                (padded, "float32"),
                (padded, "float16"),
                (padded[:20], "float32"),
            ]
        )
    )
    assert first == again and len({first, half, shorter}) == 3


@pytest.mark.parametrize(
    "change, words",
    [
        ({"site": "blocks.0.hook_resid_pst"}, "Did you mean 'blocks.0.hook_resid_post'"),
        (
            {"site": "blocks.9.hook_resid_post"},
            "no activation is called 'blocks.9.hook_resid_post'",
        ),
        ({"site": "blocks.0.attn.hook_pattern"}, "a store has a row for each token"),
        ({"dtype": "int8"}, "dtype 'int8': a dtype is float32, float16, bfloat16"),
        ({"batch": 0}, "batch 0: the model reads at least one"),
        ({"tokens": torch.empty(0, 5, dtype=torch.long)}, "the prompt is empty"),
        ({"tokens": torch.full((2, 3), 30)}, "30"),
        ({"tokens": torch.zeros(4, 1, dtype=torch.long)}, "have no rows"),
    ],
)
def test_what_cannot_be_collected_is_refused_before_a_file_is_made(
    change, words, model, padded, tmp_path
):
    given = {
        "tokens": padded,
        "site": "blocks.0.hook_resid_post",
        "folder": tmp_path / "s",
        **change,
    }
    assert words in message(collect, model, **given)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("value, dtype", [(float("nan"), "float32"), (1e5, "float16")])
def test_numbers_that_a_dtype_does_not_hold_are_refused(tmp_path, value, dtype):
    what = {**WHAT, "dtype": dtype, "bos": True}
    said = message(write, tmp_path / "s", text(5, 4), lambda t: rows_of(t) + value, **what)
    assert said == f"blocks.0.hook_resid_post has values that are NaN, or no {dtype}"


def test_large_numbers_are_no_nan(tmp_path):
    big = lambda t: torch.full((*t.shape, 3), 60000.0)  # noqa: E731  their sum is inf in float16
    assert len(
        Store(write(tmp_path / "s", text(5, 4), big, **{**WHAT, "dtype": "float16"}, bos=True))
    )


# ---- memory --------------------------------------------------------------------------------------

PEAKS = """
import itertools, json, re, sys
from pathlib import Path
import torch
from lessons.techniques.sae.store import Store
from lessons.techniques.sae.writing import write

def peak():  # resident memory at most, in MiB: what is mapped from files counts too
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

torch.set_num_threads(1)
x = torch.randn(32, 128, 512)
what = {"site": "s", "model": "m", "dtype": sys.argv[2], "d": 512, "bos": True}
peaks = [peak()]
for size in map(int, sys.argv[3:]):  # MiB, in float32
    tokens = torch.zeros(size * 4, 128, dtype=torch.long)
    store = Store(write(f"{sys.argv[1]}/{size}", tokens, lambda t: x[:len(t)], **what))
    for batch in itertools.islice(store.batches(4096, seed=0), len(store) // 4096):
        pass
    store.scale()
    peaks.append(peak())
print(json.dumps(peaks))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_size_of_the_store(tmp_path):
    command = [sys.executable, "-c", PEAKS, str(tmp_path), "float32", "64", "256"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert run.returncode == 0, run.stderr
    before, small, large = json.loads(run.stdout)
    # The allocator's own ups and downs are up to 60; 192 more lie on disk.
    assert small - before < 250 and large - small < 96, (before, small, large)


def test_every_site_with_a_row_for_each_token_can_be_collected(model, padded, tmp_path):
    for site, shape in site_shapes(3).items():
        if shape.startswith("b p"):
            store = collect(model, padded[:4], site, tmp_path / site)
            assert store.n == 23 and store[:].isfinite().all()
    assert not re.search(r"b [hq]", "".join(s for s in site_shapes(3).values() if s[:3] == "b p"))

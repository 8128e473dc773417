"""`python -m lessons.techniques.sae`: collect, train, score, dashboard, and what goes wrong."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lessons.techniques.sae import SAE, commands, files
from lessons.techniques.sae.__main__ import main, parser
from lessons.techniques.sae.store import Store
from lessons.techniques.truth import labelled
from minimech import HookedTransformer
from minimech.tokens import PAD

SITE = "blocks.0.hook_resid_post"
SMALL = ["--d-sae", "64", "--k", "4", "--batch", "100", "--steps", "30", "--keep", "5"]
SMALL += ["--every", "10", "--threads", "1"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Collect a store, and train an autoencoder, as a reader does."""
    folder = tmp_path_factory.mktemp("command")
    collect = ["collect", "--site", SITE, "--out", str(folder / "store"), "--docs", "12"]
    assert main(collect) == 0
    assert main(train(folder, "sae")) == 0
    return folder


def train(folder, out, *more) -> list[str]:
    return ["train", "--store", str(folder / "store"), "--out", str(folder / out), *SMALL, *more]


def bytes_of(folder) -> list[bytes]:
    """Read what a finished run left, without its state."""
    names = (files.WEIGHTS, files.CONFIG, "history.json", "SHA256SUMS")
    return [(folder / name).read_bytes() for name in names]


def said(capsys, arguments) -> str:
    """Run a command that fails for what the user can mend; return its one line."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sae: ") and error.count("\n") == 1
    return error[5:-1]


def test_the_store_is_of_the_text(folder):
    model = HookedTransformer.from_pretrained("world")
    text, store = labelled(model, 12, seed=1), Store(folder / "store")
    assert torch.equal(store.tokens, text.tokens) and len(store) == 12 * 127
    x = model.run_with_cache(text.tokens)[1][SITE][:, 1:].flatten(0, 1)
    rows = torch.cat([store[store.rows(document)] for document in range(12)])
    assert torch.allclose(rows, x, atol=1e-4)


def test_the_autoencoder_is_of_the_store(folder):
    sae, store = SAE.from_pretrained(folder / "sae"), Store(folder / "store")
    assert (sae.cfg.kind, sae.cfg.d_sae, sae.cfg.k, sae.cfg.site) == ("topk", 64, 4, SITE)
    assert sae.cfg.model == store.model
    assert (sae.encode(store[:50]) > 0).sum(1).max() <= 4


@pytest.mark.parametrize(
    ("options", "cfg"),
    (
        (["--kind", "relu", "--l1", "0.5"], ("relu", 0, ())),
        (["--kind", "matryoshka"], ("matryoshka", 4, (4, 16, 64))),
        (["--kind", "matryoshka", "--groups", "5", "64"], ("matryoshka", 4, (5, 64))),
    ),
)
def test_other_kinds(folder, options, cfg):
    args = parser().parse_args(train(folder, "x", *options))
    store = Store(folder / "store")
    made = commands.config(args, store)
    assert (made.kind, made.k, made.groups) == cfg
    assert made.l1 == pytest.approx(0.5 * store.scale() if cfg[0] == "relu" else 0)


def test_killed_it_goes_on_and_ends_the_same(folder):
    def arguments(out):
        return [word if word != "30" else "150" for word in train(folder, out)]

    command = [sys.executable, "-m", "lessons.techniques.sae", *arguments("killed")]
    with open(os.devnull, "w") as quiet:
        run = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        while not (folder / "killed" / "resume.pt").exists() and run.poll() is None:
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL and not (folder / "killed" / files.WEIGHTS).exists()
    state = torch.load(folder / "killed" / "resume.pt", weights_only=True)
    assert state["step"] % 5 == 0 and 0 < state["step"] < 150
    assert main(arguments("killed")) == main(arguments("whole")) == 0
    assert bytes_of(folder / "killed") == bytes_of(folder / "whole")


def test_the_same_command_gives_the_same_bytes(folder):
    assert main(train(folder, "again")) == 0
    assert bytes_of(folder / "again") == bytes_of(folder / "sae")


def test_score(folder, capsys):
    assert main(["score", str(folder / "sae"), "--docs", "5"]) == 0
    rows = capsys.readouterr().out.splitlines()
    names = ["l0", "explained variance", "shrinkage", "dead", "dense"]
    assert [row[:36].strip() for row in rows[:5]] == names
    assert 0 < float(rows[1][36:]) < 1 and float(rows[0][36:]) <= 4
    assert rows[5].startswith("loss recovered, against zero ablation")
    assert rows[7].startswith("true features with F1 above 0.8")
    f1 = [float(row.split()[0]) for row in rows[10:]]
    assert f1 == sorted(f1, reverse=True) and len(f1) > 10
    share = sum(value > 0.8 for value in f1) / len(f1)
    assert float(rows[7][36:]) == pytest.approx(share, abs=0.03)  # 0.80 may be above it or not
    assert all(" = " in row for row in rows[10:])


def test_dashboard(folder, capsys, tmp_path):
    page = tmp_path / "page.html"
    sae = str(folder / "sae")
    assert main(["dashboard", sae, "3", "--docs", "5", "--page", str(page)]) == 0
    assert "3" in capsys.readouterr().out and page.read_text().startswith("<!")
    assert "name a latent" in said(capsys, ["dashboard", sae])
    assert "they go from 0 to 63" in said(capsys, ["dashboard", sae, "64", "--docs", "2"])


def test_any_text(folder, tmp_path, capsys):
    model = HookedTransformer.from_pretrained("world")
    text = model.to_string(labelled(model, 2, seed=5).tokens[0, 1:101])
    (tmp_path / "text").write_text(text)
    tokens = commands.cut(model, f"{text} {text}")
    assert tokens.shape == (2, 128) and (tokens[:, 0] == model.tokenizer.bos).all()
    assert (tokens[1, 74:] == PAD).all() and (tokens[1, :74] != PAD).all()
    assert main(["score", str(folder / "sae"), "--text", str(tmp_path / "text")]) == 0
    (tmp_path / "text").write_bytes(b"\xff\xfe\x00")
    score = ["score", folder / "sae", "--text"]
    assert "is no text in UTF-8" in said(capsys, [*score, tmp_path / "text"])
    assert str(tmp_path / "none") in said(capsys, [*score, tmp_path / "none"])
    (tmp_path / "text").write_text("\n")
    assert "has no words" in said(capsys, [*score, tmp_path / "text"])


def test_mistakes_are_one_line(folder, capsys, tmp_path):
    for more, words in (
        (["--kind", "topp"], "no kind is called 'topp'. Did you mean 'topk'?"),
        (["--k", "65"], "with k 65 of 64 features"),
        (["--groups", "4", "64"], "only matryoshka has groups"),
        (["--kind", "matryoshka", "--groups", "64", "4"], "groups are 64 4; expected rising"),
        (["--device", "cuda:99"], "there is no device 'cuda:99'"),
        (["--device", "tpu"], "there is no device 'tpu'"),
        (["--d-sae", "2000000000"], "weights need 1,536 GB"),
        (["--precision", "half"], "--precision is float32, bfloat16 or auto"),
        (["--batch", "5000"], "batches of 5,000 rows, from a store of 1,524"),
        (["--lr", "1e30"], "step"),
    ):
        assert words in said(capsys, train(folder, "wrong", *more)), more
    (tmp_path / "file").touch()
    nowhere = ["--out", tmp_path / "file", "--keep", "1"]
    assert said(capsys, train(folder, "x", *nowhere)).startswith("nothing can be saved in")
    for more, words in (
        (["--dtype", "float64"], "dtype 'float64': a dtype is float32"),
        (["--site", "blocks.0.resid"], "no activation is called"),
    ):
        collect = ["collect", "--site", SITE, "--out", tmp_path / "s", "--docs", "2", *more]
        assert words in said(capsys, collect)
    assert "with lr 0.001" in said(capsys, train(folder, "sae", "--lr", "0.1"))
    assert "there is no folder called" in said(capsys, ["score", tmp_path / "nothing"])
    none = ["train", "--store", tmp_path / "nothing", "--out", tmp_path / "x"]
    assert str(tmp_path / "nothing") in said(capsys, none)


@pytest.mark.parametrize("option", ("--steps", "--batch", "--d-sae", "--keep", "--every"))
def test_a_count_is_a_count(folder, option, capsys):
    for wrong in ("0", "-1", "2.5", "x"):
        with pytest.raises(SystemExit) as end:
            main(train(folder, "wrong", option, wrong))
        assert end.value.code == 2 and "no whole number" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ("-1", "9" * 23, "x", "1.0"))
def test_a_seed_is_a_number_that_torch_takes(folder, wrong, capsys):
    with pytest.raises(SystemExit) as end:
        main(train(folder, "wrong", "--seed", wrong))
    assert end.value.code == 2 and "no whole number from 0 to" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_a_sentence(folder, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "there is no device 'cuda' here" in said(
        capsys, train(folder, "wrong", "--device", "cuda")
    )


def test_a_batch_that_cannot_be_shared_is_refused_before_the_processes_meet(
    folder, capsys, monkeypatch
):
    monkeypatch.setenv("WORLD_SIZE", "3")
    words = "--batch 100 does not divide among 3 processes"
    assert said(capsys, train(folder, "wrong")) == words


def test_a_page_makes_no_folders_far_away(folder, capsys, tmp_path):
    page = tmp_path / "none" / "here" / "page.html"
    words = f"--page {page}: there is no folder {tmp_path / 'none'}"
    assert said(capsys, ["dashboard", folder / "sae", "--page", page, "--docs", "2"]) == words
    assert not (tmp_path / "none").exists()


def test_help_says_what_it_does(capsys):
    for command in ([], ["collect"], ["train"], ["score"], ["dashboard"]):
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
    text = capsys.readouterr().out
    assert "torchrun" in text and "memory" in text and "None" not in text and "{" not in text

"""Finding and fetching: every place that a model can come from, and every way that this can fail.

No test needs a network: the hub's client is replaced by one that copies from a folder, or fails.
"""

import errno
import json
import re
import shutil
from pathlib import Path

import checkpoints
import huggingface_hub
import huggingface_hub.constants
import pytest

from minimech import HookedTransformer, MinimechError, files, weights
from weights import fetch, save, sums

FILES = ("config.json", "tokenizer.json", "model.safetensors")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty folder of named models, and an empty Hugging Face cache."""
    monkeypatch.setenv("MINIMECH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "weights"


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """A folder that holds what is published as "gpt2": a tiny model, pinned by its sha256."""
    tokenizers = pytest.importorskip("tokenizers")
    folder = checkpoints.write_checkpoint(tmp_path / "published", checkpoints.TINY, 11)
    words = {f"w{i}": i for i in range(60)} | {"<|endoftext|>": 60}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w0"))
    backend.save(str(folder / "tokenizer.json"))
    hashes = {file: sums.sha256(folder / file) for file in FILES}
    pin = {"repository": "openai-community/gpt2", "revision": "60" * 20, "files": hashes}
    monkeypatch.setattr(fetch, "pinned", lambda: {"gpt2": pin})
    return folder


@pytest.fixture
def hub(published, monkeypatch) -> list[str]:
    """A hub that answers: the list of what was downloaded from it."""
    served = []

    def download(repository, file, revision, local_dir, token):
        assert (repository, revision, token) == ("openai-community/gpt2", "60" * 20, False)
        served.append(file)
        (Path(local_dir) / ".cache").mkdir(exist_ok=True)
        shutil.copyfile(published / file, Path(local_dir) / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url, token: None)
    return served


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def message(call, *arguments) -> str:
    with pytest.raises(MinimechError) as caught:
        call(*arguments)
    return str(caught.value)


# ---- finding -------------------------------------------------------------------------------------


def test_the_pins_are_whole_and_gpt2_s_are_those_on_record(shared):
    pins = fetch.pinned()
    assert list(pins) == ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2"]
    for pin in pins.values():
        assert re.fullmatch(r"[\w-]+/[\w-]+", pin["repository"])
        assert re.fullmatch(r"[0-9a-f]{40}", pin["revision"])
        assert sorted(pin["files"]) == sorted(FILES)
        assert all(
            sha is None or re.fullmatch(r"[0-9a-f]{64}", sha) for sha in pin["files"].values()
        )
        assert pin["files"]["model.safetensors"]
    record = (shared / "reference" / "README.md").read_text()
    assert pins["gpt2"]["revision"] in record
    for file, sha in pins["gpt2"]["files"].items():
        assert re.search(rf"\| {file} \| \d* ?\| {sha} \|", record)


def test_an_unknown_name_gets_the_nearest(home):
    text = message(weights.from_pretrained, "gtp2")
    assert text.startswith("there is no model or folder called 'gtp2'. Did you mean 'gpt2'")
    assert "gpt2-xl, distilgpt2, and any folder that holds a checkpoint." in text


@pytest.mark.parametrize("name", ["no/such/folder", "x" * 5000, "a\0b", "wörld"], ids=list("abcd"))
def test_any_text_that_is_no_model_is_refused(home, name):
    assert "there is no model or folder called" in message(weights.from_pretrained, name)


def test_a_named_folder_of_weights_is_found_and_names_the_model(home):
    checkpoints.write_checkpoint(home / "mine", checkpoints.TINY, 11)
    model = HookedTransformer.from_pretrained("mine")
    assert model.cfg.model_name == "mine"
    assert files.find("mine") == home / "mine"


def test_a_folder_is_found_as_text_and_as_path(home, tmp_path, monkeypatch):
    checkpoints.write_checkpoint(tmp_path / "here", checkpoints.TINY, 11)
    monkeypatch.chdir(tmp_path)
    for name in ("here", str(tmp_path / "here"), tmp_path / "here", Path("here")):
        assert HookedTransformer.from_pretrained(name).cfg.model_name == "here"


def test_a_model_that_ships_is_found_where_the_others_are_not(home, tmp_path, monkeypatch):
    checkpoints.write_checkpoint(tmp_path / "shipped" / "world", checkpoints.TINY, 11)
    monkeypatch.setattr(files, "SHIPPED", tmp_path / "shipped")
    assert HookedTransformer.from_pretrained().cfg.model_name == "world"


@pytest.mark.parametrize("name", ["gpt2", "gpt2-small"])
def test_transformer_lens_s_name_for_gpt2_means_gpt2(home, hub, name):
    assert files.find(name) == home / "gpt2"


@pytest.mark.parametrize("address", ["models--openai-community--gpt2", "models--gpt2"])
def test_the_hugging_face_cache_is_used_at_the_pinned_revision_only(
    home, published, hub, tmp_path, address
):
    snapshots = tmp_path / "cache" / address / "snapshots"
    shutil.copytree(published, snapshots / ("60" * 20))
    assert files.find("gpt2") == snapshots / ("60" * 20)
    (snapshots / ("60" * 20)).rename(snapshots / ("61" * 20))
    assert files.find("gpt2") == home / "gpt2"
    assert hub == list(FILES)


def test_an_altered_file_in_the_cache_is_refused(home, published, tmp_path):
    folder = tmp_path / "cache" / "models--openai-community--gpt2" / "snapshots" / ("60" * 20)
    shutil.copytree(published, folder)
    (folder / "config.json").write_text("{}")
    assert "config.json is truncated or altered: its 2 bytes have" in message(files.find, "gpt2")


# ---- fetching ------------------------------------------------------------------------------------


def test_a_download_is_checked_renamed_and_loaded(home, hub):
    model = HookedTransformer.from_pretrained("gpt2")
    assert model.cfg.model_name == "gpt2" and model.tokenizer.bos == 60
    assert hub == list(FILES)
    assert contents(home) == ["gpt2"]
    assert contents(home / "gpt2") == ["SHA256SUMS", *sorted(FILES)]
    HookedTransformer.from_pretrained("gpt2")
    assert hub == list(FILES)  # once


def test_a_copy_from_a_folder_is_checked_too(home, published):
    assert fetch.fetch("gpt2", published) == home / "gpt2"
    assert fetch.fetch("gpt2", "nowhere") == home / "gpt2"  # it is there, and in order
    (home / "gpt2" / "model.safetensors").write_bytes(b"other")
    text = message(fetch.fetch, "gpt2")
    assert (
        "model.safetensors is truncated or altered: its 5 bytes have sha256 d9298a10d1b0..." in text
    )
    assert "Delete it, and fetch or copy the model again" in text


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("break_it", ["cut", "flip", "remove"])
def test_a_source_that_is_not_what_was_published_leaves_nothing(home, published, file, break_it):
    path = published / file
    content = bytearray(path.read_bytes())
    if break_it == "cut":
        path.write_bytes(content[:-1])
    elif break_it == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    text = message(fetch.fetch, "gpt2", published)
    assert text.startswith("gpt2 was not fetched, nothing is left of it: ")
    assert (
        f"{file} is truncated or altered" in text or f"No such file or directory ({path})" in text
    )
    assert contents(home) == []


def test_without_a_network_one_sentence_says_what_to_do(home, capfd):
    """As the client behaves when the network is off; conftest.py sets HF_HUB_OFFLINE."""
    assert message(weights.from_pretrained, "gpt2-medium") == (
        "gpt2-medium is not on this machine and could not be downloaded (OfflineModeIsEnabled). "
        "With a network, run `make weights MODEL=gpt2-medium`; MODEL=world works now, it needs none"
    )
    assert capfd.readouterr() == ("", "")
    assert not (home / "gpt2-medium").exists()


def test_what_a_lost_network_cut_short_goes_on_from_there(home, published, hub, monkeypatch):
    whole = huggingface_hub.hf_hub_download

    def lost(repository, file, revision, local_dir, token):
        if file == "model.safetensors":
            (Path(local_dir) / ".cache").mkdir(exist_ok=True)
            (Path(local_dir) / ".cache" / "half").write_bytes(b"half")
            raise TimeoutError("timed out")
        whole(repository, file, revision, local_dir, token)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lost)
    assert "could not be downloaded (TimeoutError)" in message(fetch.fetch, "gpt2")
    assert contents(home) == [".gpt2.part"]
    assert "could not be downloaded" in message(
        weights.from_pretrained, "gpt2"
    )  # still not a model
    kept = home / ".gpt2.part" / ".cache" / "half"
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda *a, **named: kept.read_bytes() and whole(*a, **named),
    )
    assert contents(fetch.fetch("gpt2")) == ["SHA256SUMS", *sorted(FILES)]
    assert contents(home) == ["gpt2"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EROFS, "Read-only file system"),
        (errno.EACCES, "Permission denied"),
    ],
)
@pytest.mark.parametrize("way", ["download", "copy"])
def test_a_disk_that_fails_is_named_and_nothing_is_left(
    home, published, hub, monkeypatch, number, reason, way
):
    def fail(*a, **named):
        raise OSError(number, reason)

    if way == "download":
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    else:
        monkeypatch.setattr(shutil, "copyfile", fail)
    text = message(fetch.fetch, "gpt2", published if way == "copy" else None)
    assert text == f"gpt2 was not fetched, nothing is left of it: {reason}"
    assert contents(home) == []


def test_a_weights_folder_that_cannot_be_made_is_named(home):
    home.write_text("a file")
    text = message(fetch.fetch, "gpt2")
    assert "gpt2 was not fetched, nothing is left of it: " in text and "directory (" in text


def test_a_name_that_is_not_published_cannot_be_fetched(home):
    text = message(fetch.fetch, "world")
    assert text.startswith("'world' cannot be fetched; known are gpt2, gpt2-medium")


# ---- checksums -----------------------------------------------------------------------------------


@pytest.fixture
def summed(tmp_path) -> Path:
    """A checkpoint with SHA256SUMS, as all that ships."""
    folder = checkpoints.write_checkpoint(tmp_path / "summed", checkpoints.TINY, 11)
    save.write_sums(folder, ["config.json", "model.safetensors"])
    return folder


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def test_a_bit_flipped_in_a_weight_is_refused(summed):
    weights.load(summed)
    flip(summed / "model.safetensors", -400)
    assert "model.safetensors is truncated or altered" in message(weights.load, summed)


def test_a_config_that_another_model_would_have_is_refused(summed):
    """Half as many heads give a model of the same shapes, and other answers."""
    config = json.loads((summed / "config.json").read_text()) | {"n_head": 2}
    (summed / "config.json").write_text(json.dumps(config))
    assert "config.json is truncated or altered" in message(weights.load, summed)


def test_a_big_file_is_hashed_when_fetched_and_not_at_each_load(summed, monkeypatch):
    flip(summed / "model.safetensors", -400)
    monkeypatch.setattr(sums, "SMALL", 1000)
    weights.load(summed)
    assert "is truncated or altered" in message(sums.check_sums, summed, None, True)


@pytest.mark.parametrize("text", ["", "hello", "0" * 63 + "  config.json", "0" * 64 + "  ../x"])
def test_a_list_of_checksums_that_is_none_is_refused(summed, text):
    (summed / "SHA256SUMS").write_text(text)
    says = "SHA256SUMS is no list of `sha256  file`; restore it from its source"
    assert says in message(weights.load, summed)


def test_a_file_that_the_checksums_name_must_be_there(summed):
    (summed / "SHA256SUMS").write_text("0" * 64 + "  tokenizer.json\n")
    assert "tokenizer.json is missing; fetch or copy the model again" in message(
        weights.load, summed
    )


def test_the_list_is_the_one_that_sha256sum_writes(summed):
    import hashlib

    for line in (summed / "SHA256SUMS").read_text().splitlines():
        digest, _, file = line.partition("  ")
        assert hashlib.sha256((summed / file).read_bytes()).hexdigest() == digest

"""Checkpoints broken at random: refused with a reason, or loaded right. Never wrong in silence.

Each case takes a right checkpoint (whole or in shards, with SHA256SUMS or without), breaks it in
one random way, and loads it. Right means: the same logits as before, to the bit, and an independent
forward agrees with those. Some damage no program can see without a checksum (a bit of a weight, two
tensors of one shape swapped, another number of heads): it is tried only where there is one.
"""

import json
import random
from pathlib import Path

import checkpoints
import numpy as np
import oracle
import pytest
import torch
from safetensors.numpy import save_file

from minimech import MinimechError
from minimech.weights import load
from weights.save import write_sums

CONFIG = checkpoints.TINY_UNTIED | {"n_layer": 2}
TOKENS = torch.arange(12).view(2, 6)
CASES = 40  # of each kind of damage
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def make(folder: Path, sharded: bool, summed: bool) -> Path:
    """Write the right checkpoint."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tensors = checkpoints.random_checkpoint(CONFIG, 11)
    where = {name: f"{'ab'[i % 2]}.safetensors" for i, name in enumerate(tensors)}
    for file in sorted(set(where.values())) if sharded else [WHOLE]:
        save_file(
            {n: t for n, t in tensors.items() if not sharded or where[n] == file}, folder / file
        )
    if sharded:
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    if summed:
        write_sums(folder, sorted(path.name for path in folder.iterdir()))
    return folder


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> torch.Tensor:
    """The logits of the right checkpoint [b p v], which an independent forward confirms."""
    logits = load(make(tmp_path_factory.mktemp("right") / "x", False, False))(TOKENS)
    weights = checkpoints.random_checkpoint(CONFIG, 11)
    assert np.abs(logits.numpy() - oracle.forward(weights, CONFIG, TOKENS.tolist())[0]).max() < 1e-4
    return logits


# ---- ways to break a file ------------------------------------------------------------------------


def split(content: bytes) -> tuple[dict, bytes]:
    """Take a safetensors file apart: header, data."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def joined(header: dict, data: bytes) -> bytes:
    """Put a safetensors file together without any check, as no library would."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def a_tensor(rng, header: dict) -> str:
    return rng.choice(sorted(set(header) - {"__metadata__"}))


def truncated(rng, content: bytes) -> bytes:
    return content[: rng.choice([0, 1, 7, 8, rng.randrange(len(content))])]


def extended(rng, content: bytes) -> bytes:
    return content + rng.randbytes(rng.randint(1, 100))


def noise(rng, content: bytes) -> bytes:
    return rng.randbytes(rng.randint(1, 300))


def header_bytes(rng, content: bytes) -> bytes:
    """Overwrite some bytes of the header or of its length."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(8 + int.from_bytes(content[:8], "little"))] = rng.randrange(256)
    return bytes(changed)


def header_length(rng, content: bytes) -> bytes:
    length = rng.choice([0, 1, 2**31, 2**63, 2**64 - 1, rng.randrange(2 * len(content))])
    return length.to_bytes(8, "little") + content[8:]


def renamed(rng, content: bytes) -> bytes:
    header, data = split(content)
    name = a_tensor(rng, header)
    other = rng.choice(
        [name[1:], name + "s", name.upper(), f"model.{name}", "", "ß", "transformer"]
    )
    header[other] = header.pop(name)
    return joined(header, data)


def retyped(rng, content: bytes) -> bytes:
    header, data = split(content)
    kinds = ["I32", "U32", "F16", "BF16", "F64", "I8", "BOOL", "F8_E4M3", "F8_E5M2", "C64", "X"]
    header[a_tensor(rng, header)]["dtype"] = rng.choice([*kinds, "", None, 7])
    return joined(header, data)


def reshaped(rng, content: bytes) -> bytes:
    header, data = split(content)
    entry = header[a_tensor(rng, header)]
    n = int(np.prod(entry["shape"]))
    shapes = [
        [*entry["shape"], 1],
        [1, *entry["shape"]],
        [n, 1],
        [2, n // 2, 1],
        [],
        [0],
        [-n],
        [2**62, 4],
    ]
    entry["shape"] = rng.choice([*shapes, "x", None])
    return joined(header, data)


def moved(rng, content: bytes) -> bytes:
    """Let offsets overlap, leave a gap, run backwards or end beyond the file."""
    header, data = split(content)
    entry = header[a_tensor(rng, header)]
    start, end = entry["data_offsets"]
    by = rng.choice([4, -4, 1, 96, len(data), 2**63, -(2**40)])
    ways = [[start + by, end + by], [end, start], [start, end + by], [start], None, ["0", "4"]]
    entry["data_offsets"] = rng.choice(ways)
    return joined(header, data)


def dropped_or_doubled(rng, content: bytes) -> bytes:
    header, data = split(content)
    name = a_tensor(rng, header)
    if rng.random() < 0.5:
        del header[name]
    else:
        header[f"transformer.{name}"] = header[name]
    return joined(header, data)


def poisoned(rng, content: bytes) -> bytes:
    """Put a NaN or an infinity among the weights."""
    header, data = split(content)
    values = np.frombuffer(data, np.float32).copy()
    values[rng.randrange(len(values))] = rng.choice([np.nan, np.inf, -np.inf])
    return joined(header, values.tobytes())


def flipped(rng, content: bytes) -> bytes:
    """Flip one bit anywhere. Needs a checksum."""
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def swapped(rng, content: bytes) -> bytes:
    """Let two tensors of one shape change places. Needs a checksum."""
    header, data = split(content)
    a = a_tensor(rng, header)
    shape = header[a]["shape"]
    twins = sorted(
        n for n in header if n not in (a, "__metadata__") and header[n]["shape"] == shape
    )
    b = rng.choice(twins or [a])
    header[a], header[b] = header[b], header[a]
    return joined(header, data)


# ---- ways to break a JSON file -------------------------------------------------------------------


def json_value(rng, content: bytes) -> bytes:
    """Give one key of a config a senseless value; the switches that are right stay right."""
    config = json.loads(content)
    sizes = ["n_layer", "n_embd", "vocab_size", "n_positions", "n_inner"]
    key = rng.choice([*sizes, "tie_word_embeddings"])
    senseless = [0, -1, 10**30, 1.5, "3", [], {}, "", float("nan"), [[0]]]
    config[key] = rng.choice([*senseless, config[key] + 1] if key in config else senseless)
    return json.dumps(config).encode()


def json_text(rng, content: bytes) -> bytes:
    at = rng.randrange(1, len(content))
    return rng.choice(
        [content[:at], content[at:], b"[" * 5000, b"null", b"3", b"\xff\xfe{}", b"[]"]
    )


def other_heads(rng, content: bytes) -> bytes:
    """A config that fits the same tensors and means another model. Needs a checksum."""
    change = rng.choice([{"n_head": 2}, {"n_head": 6}, {"layer_norm_epsilon": 1e-6}])
    return json.dumps(json.loads(content) | change).encode()


def index_value(rng, content: bytes) -> bytes:
    index = json.loads(content)
    name = rng.choice(sorted(index["weight_map"]))
    index["weight_map"][name] = rng.choice(["c.safetensors", "../a.safetensors", "", 3, None, "."])
    return json.dumps(index).encode()


ANYWHERE = [truncated, extended, noise, header_bytes, header_length, renamed, retyped, reshaped]
ANYWHERE += [moved, dropped_or_doubled, poisoned]
WITH_SUMS = [flipped, swapped]


def outcome(folder: Path, right: torch.Tensor) -> str:
    """Load: the reason why not, or "" if what was loaded is right; anything else fails the test."""
    try:
        model = load(folder)
    except MinimechError as refusal:
        assert str(folder) in str(refusal) or "heads" in str(refusal), "the reason names no place"
        assert len(str(refusal)) < 600
        return str(refusal)
    assert torch.equal(model(TOKENS), right), "loaded, and wrong"
    return ""


def run(tmp_path, right, damage, seed: int, pattern: str, sharded: bool, summed: bool) -> str:
    folder = make(tmp_path / f"{seed}", sharded, summed)
    rng = random.Random(f"{damage.__name__} {seed}")
    path = rng.choice(sorted(folder.glob(pattern)))
    path.write_bytes(damage(rng, path.read_bytes()))
    return outcome(folder, right)


@pytest.mark.parametrize("damage", ANYWHERE, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_refused_or_loads_right(tmp_path, right, damage):
    reasons = [
        run(tmp_path, right, damage, seed, "*.safetensors", seed % 2 == 1, summed=False)
        for seed in range(CASES)
    ]
    refused = sum(map(bool, reasons))
    # In the header's spaces, or in a number that comes out the same, a byte may not matter.
    assert refused == CASES or (damage is header_bytes and refused > CASES // 2)


@pytest.mark.parametrize("damage", ANYWHERE + WITH_SUMS, ids=lambda damage: damage.__name__)
def test_with_checksums_every_change_is_refused(tmp_path, right, damage):
    for seed in range(CASES // 2):
        folder = make(tmp_path / f"{seed}", seed % 2 == 1, summed=True)
        rng = random.Random(f"{damage.__name__} {seed}")
        path = rng.choice(sorted(folder.glob("*.safetensors")))
        before = path.read_bytes()
        path.write_bytes(damage(rng, before))
        reason = outcome(folder, right)
        assert path.read_bytes() == before or "is truncated or altered" in reason


@pytest.mark.parametrize("damage", [json_value, json_text], ids=lambda damage: damage.__name__)
def test_a_damaged_config_is_refused_or_loads_right(tmp_path, right, damage):
    reasons = [
        run(tmp_path, right, damage, seed, "config.json", seed % 2 == 1, summed=False)
        for seed in range(CASES)
    ]
    assert sum(map(bool, reasons)) > CASES * 0.9


def test_a_damaged_index_is_refused(tmp_path, right):
    for damage in (index_value, json_text):
        for seed in range(CASES // 2):
            folder = tmp_path / damage.__name__
            folder.mkdir(exist_ok=True)
            assert run(folder, right, damage, seed, INDEX, True, summed=False)


def test_a_config_of_another_model_is_refused_where_there_are_checksums(tmp_path, right):
    for seed in range(CASES // 4):
        assert run(tmp_path, right, other_heads, seed, "config.json", False, summed=True)


def test_the_test_sees_a_wrong_model(tmp_path, right):
    """The same damage without checksums loads, and is wrong: what `outcome` is there to notice."""
    for damage in (other_heads, swapped):
        pattern = "config.json" if damage is other_heads else "*.safetensors"
        with pytest.raises(AssertionError, match="loaded, and wrong"):
            for seed in range(5):
                folder = tmp_path / damage.__name__
                folder.mkdir(exist_ok=True)
                run(folder, right, damage, seed, pattern, False, summed=False)

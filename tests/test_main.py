"""The commands, as a user meets them: what they print, and how they answer a mistake."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from minimech import HookedTransformer, ModelConfig
from minimech import __main__ as commands
from minimech.hooks import site_shapes
from minimech.model import Transformer
from tests import cost
from tests.checkpoints import TINY, write_checkpoint

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    """Return the folder of a tiny random checkpoint."""
    return str(write_checkpoint(tmp_path_factory.mktemp("models") / "tiny", TINY, 11))


def python(*arguments, **env) -> subprocess.CompletedProcess:
    """Run Python in the repo, as a shell would."""
    env = os.environ | {"PYTHONPATH": str(ROOT)} | env
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


def test_help_names_the_commands_and_loads_no_torch():
    code = "import sys, runpy; sys.argv = ['minimech', '--help']\n"
    code += "try: runpy.run_module('minimech', run_name='__main__')\n"
    code += "finally: print(sorted(set(sys.modules) & {'torch', 'numpy'}))"
    start = time.perf_counter()
    result = python("-c", code)
    assert time.perf_counter() - start < 2  # 0.05 s on an idle machine
    assert result.returncode == 0 and result.stdout.splitlines()[-1] == "[]"
    for command in ("verify", "fetch", "sites", "memory"):
        assert re.search(rf"^ +{command} +[A-Z]", result.stdout, re.M)


def test_help_of_every_command(capsys):
    for command in ("verify", "fetch", "sites", "memory"):
        with pytest.raises(SystemExit, match="0"):
            commands.main([command, "--help"])
        assert command in capsys.readouterr().out


# what goes wrong


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ("verify --model gpt3", "there is no model or folder called 'gpt3'. Did you mean"),
        ("sites --model nowhere/at/all", "there is no model or folder called 'nowhere/at/all'"),
        ("memory --model tests", "config.json cannot be read"),
        ("verify --model tests", "config.json cannot be read"),
        ("fetch gpt5", "'gpt5' cannot be fetched; known are gpt2, gpt2-medium"),
        ("fetch gpt2", "could not be downloaded"),  # the tests have no network
        ("fetch gpt2 --from nowhere", "gpt2 was not fetched, nothing is left of it: No such file"),
        ("verify --model gpt2", "could not be downloaded"),
        ("sites --model gpt2 hook_zz", "no activation is called 'hook_zz'. Did you mean"),
        ("sites --model gpt2 blocks.12.*", "no activation is called 'blocks.12.*'"),
        ("memory --model gpt2 --batch 0", "a batch of 0 prompts of 16 tokens cannot be run"),
        ("memory --model gpt2 --length 1025", "it needs 1 of each, and gpt2 takes 1024 tokens"),
        ("memory --model gpt2 --length -3", "a batch of 1 prompts of -3 tokens cannot be run"),
    ],
)
def test_a_mistake_is_answered_by_one_sentence(arguments, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIMECH_WEIGHTS", str(tmp_path))  # none of GPT-2's weights are there
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert commands.main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("minimech: ") and sentence in error and error.count("\n") == 1


def test_a_mistake_shows_no_traceback_in_a_shell():
    for arguments in (["sites", "--model", "gpt3"], ["fly"], ["memory", "--batch", "many"], []):
        result = python("-m", "minimech", *arguments)
        assert result.returncode == 2 and result.stderr and "Traceback" not in result.stderr
        assert not result.stdout


def test_ctrl_c_and_a_failing_disk_are_sentences(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    def full(*_):
        raise OSError(28, "No space left on device", "weights/x")

    for stop, status, sentence in (
        (interrupt, 130, "interrupted"),
        (full, 2, "No space left on device (weights/x)"),
    ):
        monkeypatch.setattr(commands, "config", stop)
        assert commands.main(["sites"]) == status
        assert capsys.readouterr().err == f"minimech: {sentence}\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_leaves_is_no_mistake(unbuffered):
    code = f"{sys.executable} -m minimech sites --model gpt2-xl; echo status $? >&2"
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    command = ["bash", "-c", f"({code}) | true"]  # as in `| head`, but gone before the first line
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.stderr == "status 141\n"


# sites


def test_sites_lists_every_activation_with_the_shape_that_it_has(tiny, capsys):
    assert commands.main(["sites", "--model", tiny]) == 0
    model = HookedTransformer.from_pretrained(tiny)
    cache = model.run_with_cache(torch.zeros(2, 9, dtype=torch.long))[1]
    listed = re.findall(r"^(\S+) +\[(.*)\] +\[(.*)\]$", capsys.readouterr().out, re.M)
    assert [name for name, _, _ in listed] == list(cache)
    run = {"b": 2, "p": 9, "q": 9, "k": 9}
    for name, letters, numbers in listed:
        assert letters == site_shapes(3)[name]
        assert [run.get(n) or int(n) for n in numbers.split()] == list(cache[name].shape)


def test_sites_takes_a_filter_and_the_model_from_the_environment(tiny, capsys, monkeypatch):
    monkeypatch.setenv("MODEL", tiny)
    assert commands.main(["sites", "blocks.*.attn.hook_z"]) == 0
    assert capsys.readouterr().out.count("[b p h e]  [b p 4 6]") == 3


# memory


SHAPES = [
    ModelConfig(3, 4, 24, 29, 61, d_mlp=40),
    ModelConfig(2, 2, 16, 32, 300, tied=False),
    ModelConfig(1, 1, 8, 20, 11),
]


@pytest.mark.parametrize("cfg", SHAPES)
@pytest.mark.parametrize("b, p", [(1, 1), (1, 9), (3, 17)])
def test_memory_counts_weights_and_a_full_cache_exactly(cfg, b, p):
    model = HookedTransformer(cfg).requires_grad_(False)
    cache = model.run_with_cache(torch.zeros(b, p, dtype=torch.long))[1]
    assert sum(cost.held(cfg, b, p).values()) * 4 == cache.nbytes
    assert cost.parameters(cfg) == sum(weight.numel() for weight in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize(
    "cfg", [ModelConfig(3, 4, 256, 256, 500), ModelConfig(2, 4, 64, 256, 9000)]
)
def test_memory_foresees_the_peak_of_a_forward(cfg):
    """What is alive at once, by torch's own count of what it allocates and frees."""
    model, tokens = Transformer(cfg), torch.zeros(4, 200, dtype=torch.long)
    kind = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[kind], profile_memory=True) as profile:
        model(tokens)
    alive = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            most = max(most, alive)
    assert 0.8 < cost.peak(cfg, 4, 200) * 4 / most < 1.1


def test_operations_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    cfg, tokens = SHAPES[0], torch.zeros(2, 9, dtype=torch.long)
    model = HookedTransformer(cfg)
    with FlopCounterMode(display=False) as counter:
        model.run_with_cache(tokens)
    assert cost.operations(cfg, 2, 9) == counter.get_total_flops()


def test_memory_prints_what_is_counted(capsys):
    assert commands.main(["memory", "--model", "gpt2", "--batch", "2", "--length", "128"]) == 0
    lines = capsys.readouterr().out.splitlines()
    mib = {line[:48].strip(): float(line[48:58]) for line in lines[1:]}
    assert mib["weights"] == pytest.approx(124439808 * 4 / 2**20, abs=0.1)
    kept = sum(value for name, value in mib.items() if "hook" in name)
    assert kept == pytest.approx(mib["run_with_cache, which keeps"], abs=1)
    assert any("1536 patches" in name for name in mib)

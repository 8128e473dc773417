"""make break-03: every slip shows where it is said to, is judged rightly, and is told to nobody."""

import io
import json
import os
import subprocess
import sys
import textwrap
from itertools import permutations
from pathlib import Path

import pytest
import torch

from lessons import breaks
from lessons.judging import compare, slips
from lessons.judging.slips import SLIPS
from minimech import HookedTransformer, MinimechError, model

ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / "weights" / "world" / "model.safetensors").exists():
    pytest.skip("weights/world is not here", allow_module_level=True)
NAMES = [slip.name for slip in SLIPS]


@pytest.fixture(scope="module")
def benches():
    return {slip.name: compare.Bench(slip) for slip in SLIPS}


@pytest.fixture
def state(tmp_path, monkeypatch):
    """Play in a folder of our own, with nobody at the keyboard."""
    monkeypatch.setattr(breaks, "STATE", tmp_path / ".attempts" / "break-03.json")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for name in ("ANSWER", "LOOK", "SEED"):
        monkeypatch.delenv(name, raising=False)
    return breaks.STATE


def play(monkeypatch, capsys, **env) -> str:
    """Play one turn and return what it says."""
    for name in ("ANSWER", "LOOK", "SEED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert breaks.main() == 0
    return capsys.readouterr().out


def letter(name: str) -> str:
    return next(letter for letter, slip in breaks.CHOICES.items() if slip.name == name)


# ---- the slips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_slip_shows_first_where_it_says_and_clearly(name, benches):
    bench = benches[name]
    errors = bench.errors()
    differ = [site for site, apart in errors.items() if apart > 0]
    assert differ[0] == bench.slip.first and errors[differ[0]] > 1e-4
    assert differ[-1] == "unembed.hook_out" and errors["unembed.hook_out"] > 5e-5
    assert all(value.isfinite().all() for value in (bench.here[differ[-1]],))


def test_there_are_enough_and_several_share_their_first_site():
    firsts = [slip.first for slip in SLIPS]
    assert len(SLIPS) >= 10 and len(set(NAMES)) == len(SLIPS)
    assert sum(firsts.count(first) > 1 for first in firsts) >= 8


def test_the_world_model_and_the_machine_stay_as_they_are(benches):
    fresh, source = slips.sound_model(), Path(model.__file__).read_text()
    sound = compare.activations(fresh)
    broken = slips.plant(SLIPS[0], fresh)
    for weight in broken.parameters():
        weight.data.zero_()
    assert all(
        torch.equal(value, sound[site]) for site, value in compare.activations(fresh).items()
    )
    assert Path(model.__file__).read_text() == source
    assert sys.modules["minimech.model"] is model
    assert type(fresh) is HookedTransformer and type(broken) is not HookedTransformer


def test_a_slip_also_shows_where_nobody_looks(benches):
    for bench in benches.values():
        broken = slips.plant(bench.slip, bench.sound)
        apart = broken(compare.PROMPT)[0] - bench.here["unembed.hook_out"]
        assert apart.abs().max() < 1e-4, bench.slip.name


def test_an_edit_that_no_longer_fits_is_named():
    with pytest.raises(MinimechError, match="no longer has `no such line` once"):
        slips.machine(SLIPS[0]._replace(right="no such line"))


@pytest.mark.parametrize("name", NAMES)
def test_the_insight_comes_with_the_lines(name):
    slip = SLIPS[NAMES.index(name)]
    lines = slips.changed_lines(slip).splitlines()
    assert lines[0].startswith("  right  ") and all(
        line.startswith("  here ") for line in lines[1:]
    )
    assert lines[0].split(maxsplit=1)[1] != lines[1].split(maxsplit=1)[1]
    assert len(slip.insight) > 60


# What the insights say of the numbers


def test_what_the_insights_say_is_so(benches):
    def both(name, site):
        bench = next(bench for said, bench in benches.items() if name in said)
        return bench.right[site], bench.here[site]

    right, here = both("d - 1", "blocks.0.ln1.hook_scale")
    assert torch.allclose(here / right, torch.tensor(1.0052), atol=1e-4)
    right, here = both("eps", "blocks.0.ln1.hook_scale")
    assert (right - here)[right.argmin()] > (right - here)[right.argmax()] > 0
    right, here = both("RMS", "blocks.0.ln1.hook_scale")
    assert (here > right).all() and (here / right).std() > 1e-4
    right, here = both("counted from 1", "hook_pos_embed")
    assert torch.equal(here[:-1], right[1:])
    bench = next(bench for name, bench in benches.items() if "swapped" in name)
    assert torch.equal(bench.here["blocks.0.attn.hook_q"], bench.right["blocks.0.attn.hook_k"])
    right, here = both("head by head", "blocks.0.attn.hook_q")
    assert torch.equal(here[:, 0], right[:, 0]) and not torch.equal(here[:, 1], right[:, 1])
    right, here = both("sqrt(d_head)", "blocks.0.attn.hook_attn_scores")
    assert torch.allclose((here / right)[right.isfinite()], torch.tensor(32.0).sqrt())
    right, here = both("mask", "blocks.0.attn.hook_attn_scores")
    assert torch.equal(here[right.isfinite()], right[right.isfinite()])
    assert (here.isfinite().sum(-1) - right.isfinite().sum(-1))[:, :-1].eq(1).all()
    right, here = both("softmax", "blocks.0.attn.hook_pattern")
    assert torch.allclose(here.sum(-2), torch.tensor(1.0)) and (here.sum(-1) - 1).abs().max() > 0.1
    right, here = both("b_O", "blocks.0.hook_attn_out")
    assert (right - here).std(0).max() < 1e-5 < (right - here).abs().max()
    right, here = both("gelu", "blocks.0.mlp.hook_post")
    assert (right - here).abs().max() < 5e-4
    bench = next(bench for name, bench in benches.items() if "not used" in name)
    assert torch.equal(bench.here["unembed.hook_in"], bench.right["blocks.1.hook_resid_post"])


def test_after_a_mere_reshape_earlier_tokens_see_later_ones():
    sound = slips.sound_model()
    broken = slips.plant(SLIPS[NAMES.index("heads are joined by a mere reshape")], sound)
    for one, sees in ((sound, False), (broken, True)):
        runs = [one(compare.PROMPT + last)[0, :-2] for last in (" Mary", " the")]
        assert (runs[0] - runs[1]).abs().max().gt(1e-3).item() is sees


# ---- the game ------------------------------------------------------------------------------------


def test_every_diagnosis_is_judged(benches, state, capsys):
    case = breaks.Case(state)
    for slip, said in [(s, s) for s in SLIPS] + list(permutations(SLIPS, 2)):
        case.planted, case.tries, case.found = slip, 0, []
        assert breaks.judge(case, benches[slip.name], said) is (slip is said)
        printed = capsys.readouterr().out
        if slip is said:
            assert "at the first try" in printed and slip.insight in " ".join(printed.split())
            assert "Found 1 of 16" in printed and case.planted is None
        else:
            assert said.name in printed and slip.name not in printed
            assert printed.count(said.first) and slip.first in printed
            if said.first == slip.first:
                sound, theirs, here = (line[14:] for line in printed.splitlines()[-3:])
                assert len({sound, theirs, here}) >= 2 and theirs != here, (slip.name, said.name)
        lines = [
            line for line in printed.splitlines() if not line.startswith(("  right", "  here"))
        ]
        assert max(map(len, lines)) <= 100


def test_a_case_from_planting_to_the_next(state, monkeypatch, capsys):
    told = play(monkeypatch, capsys, SEED="3")
    planted = breaks.Case(state).planted
    assert "blocks.0.attn.hook_q" in told and "Found so far: 0 of 16" in told
    assert all(f"{letter}  {slip.name}" in told for letter, slip in breaks.CHOICES.items())
    assert max(map(len, told.splitlines())) <= 100
    assert "broken" in play(monkeypatch, capsys, LOOK=planted.first)
    wrong = next(slip for slip in SLIPS if slip is not planted)
    assert "No." in play(monkeypatch, capsys, ANSWER=letter(wrong.name))
    assert "Tries at this one: 1" in play(monkeypatch, capsys)  # it stays
    assert "after 2 tries" in play(monkeypatch, capsys, ANSWER=letter(planted.name).upper())
    with pytest.raises(MinimechError, match="run `make break-03` first"):
        play(monkeypatch, capsys, ANSWER="a")
    play(monkeypatch, capsys)
    assert breaks.Case(state).planted not in (None, planted)


def test_none_comes_twice_and_then_it_begins_again(state):
    case, seen = breaks.Case(state), []
    for _ in SLIPS:
        case.plant(None)
        seen.append(case.planted)
        case.found.append(case.planted)
    assert set(seen) == set(SLIPS)
    case.plant(None)
    assert case.found == [] and case.planted in SLIPS


def test_a_seed_plants_the_same(tmp_path):
    planted = []
    for name in ("one", "two"):
        case = breaks.Case(tmp_path / name)
        case.plant("7")
        planted.append(case.planted)
    assert planted[0] is planted[1]


def test_an_answer_to_another_seed_is_not_judged(state, monkeypatch, capsys):
    with pytest.raises(MinimechError, match=r"nothing is planted.* `make break-03 SEED=5` first"):
        play(monkeypatch, capsys, SEED="5", ANSWER="k")
    play(monkeypatch, capsys, SEED="5")
    kept = state.read_text()
    for env in ({"ANSWER": "k"}, {"LOOK": "hook_q"}):
        with pytest.raises(MinimechError, match=r"SEED=99 is not the case .*SEED=99` first"):
            play(monkeypatch, capsys, SEED="99", **env)
    assert state.read_text() == kept
    assert "hook_q" in play(monkeypatch, capsys, SEED="5", LOOK="hook_q")
    wrong = next(slip for slip in SLIPS if slip is not breaks.Case(state).planted)
    assert "No." in play(monkeypatch, capsys, SEED="5", ANSWER=letter(wrong.name))


def test_what_is_kept_names_nothing_and_a_spoilt_file_begins_again(state):
    texts = []
    for slip in SLIPS:
        case = breaks.Case(state)
        case.planted, case.found = slip, [SLIPS[0]]
        case.keep()
        texts.append(state.read_text())
        assert breaks.Case(state).planted is slip and breaks.Case(state).found == [SLIPS[0]]
        kept = json.loads(texts[-1])
        assert set(kept) == {"salt", "tries", "seed", "planted", "found"}
        assert len(kept["planted"]) == 16 and int(kept["planted"], 16) >= 0
        assert slip.name not in texts[-1] and slip.first not in texts[-1]
    for spoilt in ("", "[]", "{}", texts[0][:40], "\0"):
        state.write_text(spoilt)
        assert breaks.Case(state).planted is None


def test_looking(benches):
    bench = benches["the mask is off by one"]
    assert bench.look("attn_scores").startswith("blocks.0.attn.hook_attn_scores: head 0")
    assert "equal in both" in bench.look("blocks.0.attn.hook_q")
    assert "broken / sound" in bench.look("ln2.hook_scale")
    for site in bench.right:
        lines = bench.look(site).splitlines()
        assert bench.find(site) == site and lines[0].startswith(site)
        assert max(map(len, lines)) <= 100 and len(lines) <= 25
    with pytest.raises(MinimechError, match="Did you mean 'blocks"):
        bench.look("blocks.0.attn.hook_qq")


def test_the_models_can_be_had(state, monkeypatch, capsys):
    with pytest.raises(MinimechError, match="nothing is planted"):
        breaks.broken  # noqa: B018
    play(monkeypatch, capsys)
    first = breaks.Case(state).planted.first
    broken, sound = (compare.activations(getattr(breaks, name)) for name in ("broken", "sound"))
    assert not torch.equal(broken[first], sound[first])
    code = breaks.HOW[breaks.HOW.index("  from") :]
    exec(textwrap.dedent(code), {})  # what the reader is told to type
    with pytest.raises(ImportError):
        from lessons.breaks import nothing_like_it  # noqa: F401


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_at_a_terminal_it_asks_until_it_is_found(state, monkeypatch, capsys):
    case = breaks.Case(state)
    case.plant("1")
    wrong = next(slip for slip in SLIPS if slip is not case.planted)
    typed = f"hook_q\nnonsense\n{letter(wrong.name)}\n{case.planted.name}\nnever read\n"
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    told = play(monkeypatch, capsys)
    places = [
        told.index(said) for said in ("hook_q: each head", "none of the letters", "No.", "Yes")
    ]
    assert places == sorted(places) and "after 2 tries" in told
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    assert "It stays planted" in play(monkeypatch, capsys)


@pytest.mark.parametrize(
    "env, status, said",
    [
        ({}, 0, "Found so far"),
        ({"ANSWER": "z"}, 2, "a  positions are counted from 1"),
        ({"LOOK": "hook_qq"}, 2, "Did you mean"),
    ],
)
def test_as_a_command_it_never_blocks(env, status, said, tmp_path):
    case = breaks.Case(tmp_path / "break-03.json")
    case.plant("1")
    code = "import pathlib, sys; import lessons.breaks as b; "
    code += f"b.STATE = pathlib.Path({str(case.file)!r}); sys.exit(b.run())"
    clean = {name: value for name, value in os.environ.items() if name not in ("ANSWER", "LOOK")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status and said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr

"""Patch one place after another and measure what becomes of the answer.

    metric = LogitDiff(marys, johns)
    effects = sweep(model, clean, corrupted, metric, Nodes("resid_pre", over="layer position"))
    print(effects)                    # a heat map; effects.plot("what it shows") draws it
    effects.values                    # the metric after each patch [layer position b]
    effects.change                    # what each changed, in the metric's unit, over prompts
    effects.normalised()              # 0: as corrupted, 1: as clean; what is printed and drawn
    effects.top(5)                    # the five that change most, by name, with .change
    print(plan(model, clean, corrupted, metric, Nodes("z", over="layer head")))  # what it will take

Activation patching (Vig et al. 2020; Meng et al. 2022, "causal tracing"; Wang et al. 2022). Two
prompts differ in one thing. Denoising runs the corrupted one and puts in one activation of the
clean run: does that suffice to bring the answer back? Noising runs the clean one and puts in one
activation of the corrupted run: was it needed? The two need not agree.

What comes out is what one full forward pass for each patch would give. How it gets there many times
faster, within a budget of memory: walk.py (nodes), paths.py, planning.py.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lessons import figures
from lessons.techniques.sweep.base_run import PathPlan
from lessons.techniques.sweep.effects import Effects
from lessons.techniques.sweep.nodes import SITES, Nodes, Paths
from lessons.techniques.sweep.planning import Plan
from lessons.techniques.sweep.run import Run
from minimech import MinimechError
from minimech.hooked import is_texts
from minimech.hooks import BLOCK_SITES, nearest_words
from minimech.tokens import PAD, check_tokens

BUDGET = 512 * 2**20  # bytes

__all__ = ["Effects", "LogitDiff", "Nodes", "Paths", "plan", "sweep"]


class LogitDiff:
    """logit(right) - logit(wrong), per prompt: a metric that reads two tokens of the vocabulary.

    `right`, `wrong`: token ids, one per prompt [b], or one for all (model.to_single_token gives a
    word's). A metric is any function of the logits at the answer's position, [b v] -> [b]. One that
    has `tokens` [b k] and `of`, a function of these tokens' logits [... b k] -> [... b], spares the
    unembedding of all others.
    """

    def __init__(self, right, wrong):
        right, wrong = as_ids(right), as_ids(wrong)  # [b] each
        if len(right) != len(wrong) and 1 not in (len(right), len(wrong)):
            raise MinimechError(f"there are {len(right)} right tokens and {len(wrong)} wrong ones")
        self.tokens = torch.stack(torch.broadcast_tensors(right, wrong), dim=-1)  # [b 2]

    def __call__(self, logits: Tensor) -> Tensor:  # [... b v] -> [... b]
        tokens = self.tokens.to(logits.device).expand(*logits.shape[:-1], 2)  # [... b 2]
        return self.of(logits.gather(-1, tokens))

    def of(self, logits: Tensor) -> Tensor:  # [... b 2] -> [... b]
        """Return the first token's logit minus the second's."""
        return logits[..., 0] - logits[..., 1]


def as_ids(ids) -> Tensor:  # -> [b]
    """Turn token ids into a row; refuse words."""
    try:
        ids = torch.as_tensor(ids).reshape(-1)
        if not (ids.is_floating_point() or ids.dtype is torch.bool):
            return ids
    except (TypeError, ValueError, RuntimeError):
        pass
    raise MinimechError(f"LogitDiff takes token ids, not {ids!r}: model.to_single_token(word) "
                        "gives a word's")  # fmt: skip


@torch.no_grad()
def sweep(
    model, clean, corrupted, metric, what: Nodes | Paths, direction: str = "denoising",
    answer: int = -1, names: dict[str, list[str]] | None = None, budget: int = BUDGET,
) -> Effects:  # fmt: skip
    """Patch every node or path of `what`, one at a time, and measure the metric.

    `clean`, `corrupted`: prompts (text, texts, or tokens [b p]), all of one length; `corrupted` may
    also map site names to activations [b p ...], such as means: what noising puts in. `metric`: see
    LogitDiff. `answer`: the position whose logits it reads. `names`: labels for an axis instead of
    the tokens or numbers, as {"position": [...]}. `budget`: bytes of memory to keep within, beside
    the model and the prompts. After two seconds a bar shows how far it is.
    Raises: MinimechError for prompts that do not fit each other, nodes that do not exist, a metric
    that gives no number per prompt, or a budget in which not even one patch fits.
    """
    run, what = prepared(model, clean, corrupted, metric, what, direction, answer, budget)
    nodes = what.senders if isinstance(what, Paths) else what
    tokens = run.others if direction == "denoising" else run.base
    labels = labelled(model, nodes, tokens, names or {})
    values = run.paths(what) if isinstance(what, Paths) else run.nodes(what)  # [patch b]
    values = values.view(*map(len, labels.values()), len(tokens))
    both = run.metrics if direction == "noising" else run.metrics[::-1]
    return Effects(values, nodes.over, labels, *both, direction, nodes.type)


@torch.no_grad()
def plan(model, clean, corrupted, metric, what: Nodes | Paths, direction: str = "denoising",
         answer: int = -1, budget: int = BUDGET) -> Plan | PathPlan:  # fmt: skip
    """Say what such a sweep takes, without running it: print it, or read .bytes.

    Of nodes there is .share, too: the products with weights that are left to do.
    """
    run, what = prepared(model, clean, corrupted, metric, what, direction, answer, budget)
    return run.plan(what)


# ---- a user's mistakes get a sentence ------------------------------------------------------------


def prepared(model, clean, corrupted, metric, what, direction, answer, budget):
    """Check all that was passed; return the run to be patched and the nodes, written out."""
    if not isinstance(budget, (int, float)):
        raise MinimechError(f"the budget is a number of bytes, such as 2**30, not {budget!r}")
    if direction not in ("denoising", "noising"):
        raise MinimechError(f"direction is 'denoising' or 'noising', not {direction!r}")
    if not isinstance(what, (Nodes, Paths)):
        raise MinimechError(f"Nodes or Paths say what to patch, not {what!r}")
    if not hasattr(model, "run_with_hooks"):
        raise MinimechError(f"a model is swept, not {model!r}: HookedTransformer.from_pretrained()")
    given, tokens = isinstance(corrupted, Mapping), as_tokens(model, clean, "clean")
    if given and direction == "denoising":
        raise MinimechError("activations can only be put into the clean run: direction='noising'")
    others = corrupted if given else as_tokens(model, corrupted, "corrupted")
    if not given and tokens.shape != others.shape:
        sizes = f"{list(tokens.shape)} clean and {list(others.shape)} corrupted tokens [b p]"
        raise MinimechError(f"{sizes}: each prompt needs a partner of its own length")
    if not isinstance(answer, int) or answer not in range(-tokens.shape[1], tokens.shape[1]):
        raise MinimechError(f"answer {answer} is outside a prompt of {tokens.shape[1]} tokens")
    what = what.within(model.cfg, tokens.shape[1])
    if given:
        others = fitting(model, what, others, tokens)
    check_metric(metric, model.cfg.d_vocab, len(tokens))
    base, donor = (tokens, others) if direction == "noising" else (others, tokens)
    return Run(model, base, donor, metric, answer % tokens.shape[1], int(budget)), what


def as_tokens(model, prompts, which: str) -> Tensor:
    """Turn prompts into tokens [b p] of one length."""
    is_text = isinstance(prompts, str) or is_texts(prompts)
    tokens = model.to_tokens(prompts) if is_text else prompts
    tokens = check_tokens(tokens, model.cfg.d_vocab, model.cfg.n_ctx).to(model.W_E.device)
    if (tokens == PAD).any():
        lengths = (tokens != PAD).sum(-1).tolist()
        raise MinimechError(f"{which} prompts have {min(lengths)} to {max(lengths)} tokens: "
                            "position by position, prompts must have one length")  # fmt: skip
    return tokens


def fitting(model, what: Nodes | Paths, given: Mapping, tokens: Tensor) -> dict[str, Tensor]:
    """Return the given activations of the patched sites, each [b p ...]."""
    nodes = what.senders if isinstance(what, Paths) else what
    sizes = {"b": len(tokens), "p": tokens.shape[1], "q": tokens.shape[1], "k": tokens.shape[1]}
    sizes |= {"h": model.cfg.n_heads, "e": model.cfg.d_head, "d": model.cfg.d_model}
    shape = tuple(sizes[letter] for letter in BLOCK_SITES[SITES[nodes.type]].split())
    fitted = {}
    for site in nodes.sites():
        if site not in given:
            names = [name for name in given if isinstance(name, str)]
            known = nearest_words(site, names) or f"Given are: {', '.join(names) or 'none'}"
            raise MinimechError(f"there is no activation to put in at {site!r}. {known}")
        try:
            fitted[site] = given[site].to(model.W_E).expand(shape)
        except (RuntimeError, AttributeError):
            got = list(getattr(given[site], "shape", [])) or type(given[site]).__name__
            raise MinimechError(f"what is given for {site!r} is {got}; {list(shape)}, or 1 for "
                                "what all share, is needed") from None  # fmt: skip
    return fitted


def check_metric(metric, d_vocab: int, b: int) -> None:
    """Refuse a metric that cannot be called, or whose tokens are not those of the prompts."""
    if not callable(metric):
        raise MinimechError(f"a metric is a function of logits [b v], not {metric!r}")
    tokens = getattr(metric, "tokens", None)
    if tokens is None:
        return
    if tokens.ndim != 2 or len(tokens) not in (1, b):
        raise MinimechError(f"the metric's tokens have shape {list(tokens.shape)}: "
                            f"for {b} prompts, [{b} k] is needed, or [1 k] for all")  # fmt: skip
    if len(strange := tokens[(tokens < 0) | (tokens >= d_vocab)]):
        raise MinimechError(f"the metric reads token {int(strange[0])}, and the vocabulary "
                            f"has ids from 0 to {d_vocab - 1}")  # fmt: skip


def labelled(model, nodes: Nodes, tokens: Tensor, names: dict) -> dict[str, list[str]]:
    """Name what stands along each axis that is swept."""
    for axis in names:
        if not isinstance(names[axis], (list, tuple)):
            raise MinimechError(f"the names of an axis are a list, not {names[axis]!r}")
        if axis not in nodes.over:
            raise MinimechError(f"there are names for {axis!r}, which is not swept: {nodes.over}")
    return {axis: label(model, nodes, axis, tokens, names) for axis in nodes.over}


def label(model, nodes: Nodes, axis: str, tokens: Tensor, names: dict) -> list[str]:
    """Name what stands along an axis: L9, H6, and of positions the tokens, where all agree."""
    picked = nodes.selected(axis)
    if axis in names:
        if len(names[axis]) != len(picked):
            raise MinimechError(f"{len(names[axis])} names for {len(picked)} {axis}s")
        return [str(name) for name in names[axis]]
    if axis != "position":
        return [f"L{i[0]}H{i[1]}" if nodes.in_pairs else f"{axis[0].upper()}{i}" for i in picked]
    if model.tokenizer is None:
        return [str(i) for i in picked]
    words = figures.token_labels(model.to_str_tokens(tokens[0]))
    same = (tokens == tokens[0]).all(0)
    return [words[i] if same[i] else str(i) for i in picked]

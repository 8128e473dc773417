"""The usual mistakes of lesson 07: sentences, and what each mistake would give instead.

Written the short way, with torch and hooks, as whoever makes the mistake would write it. Those of
whole runs are in indirect_object_runs.py, those of the search in indirect_object_search.py.
"""

import torch
import torch.nn.functional as F


def differences(logits, right, wrong) -> dict:
    """Name the usual mistakes, and what each would give."""
    rows, last = torch.arange(len(logits)), logits[:, -1]

    def between(table):  # [b ... v] -> [b ...]
        return table[rows, ..., right] - table[rows, ..., wrong]

    own, end = "each prompt has its own two names: yours", "at the last position: yours is"
    named = {
        "the right answer's logit minus the wrong one's: yours is the other way round": -between(
            last
        ),
        f"{own} asks every prompt for the names of all, [b b]": last[:, right] - last[:, wrong],
        f"{own} asks all for those of the first": last[:, right[0]] - last[:, wrong[0]],
        f"{end} at the first": between(logits[:, 0]),
        f"{end} at all of them, [b p]": between(logits),
        f"{end} a mean over positions": between(logits.mean(1)),
        "a difference of logits: yours is one of probabilities": between(last.softmax(-1)),
        "how much one name is preferred to the other has a sign: yours is always positive": between(
            last
        ).abs(),
        "subtract the wrong name's logit: yours is the right name's alone": last[rows, right],
        "subtract the wrong name's logit: yours is the wrong name's alone": last[rows, wrong],
        "the wrong answer is one name: yours takes the mean of all words off": (
            last[rows, right] - last.mean(-1)
        ),
    }
    if len(logits) > 1:  # otherwise a squeeze looks like them
        named["one number for each prompt: yours is their mean"] = between(last).mean()
        named["one number for each prompt: yours is their sum"] = between(last).sum()
    if logits.shape[1] > 1:
        named[f"{end} one before it"] = between(logits[:, -2])
    return named


# ---- 7.3 copying score ---------------------------------------------------------------------------


def copies(model, stream, names, layer, head, k=5, sign=1) -> dict:
    """Name the usual mistakes, and what each would give."""
    out = sign * written(model, model.blocks[layer].ln1(stream), layer, head)  # [n d]
    wrong = reads(model, stream, layer, head, sign) | writes(model, stream, layer, head, sign)
    logits = {said: model.ln_final(one) @ model.W_U for said, one in wrong.items()}
    logits |= ends(model, out, sign)
    named = {said: share(one, names, k) for said, one in logits.items()}
    return named | counts(model.ln_final(out) @ model.W_U, names, k)


def written(model, read, layer, head):  # [n d] -> [n d]
    """Write what a head makes of what it reads."""
    attn = model.blocks[layer].attn
    return (read @ attn.W_V[head] + attn.b_V[head]) @ attn.W_O[head]


def share(logits, names, k):
    """Count the names that are among the best k."""
    return (logits.topk(k).indices == names[:, None]).any(-1).float().mean()


def reads(model, stream, layer, head, sign) -> dict:
    """Name what may be read in place of the normed stream: what would be written."""
    block = model.blocks[layer]
    reads = "the head reads the stream through its layer's ln1: yours"
    mirror = "the sign goes in before the last norm, whose b does not turn round: yours"
    wrong = {
        f"{reads} reads it bare": stream,
        f"{reads} reads it through ln2": block.ln2(stream),
        f"{reads} reads it through ln_final": model.ln_final(stream),
        f"{reads} uses that of layer 0": model.blocks[0].ln1(stream),
    }
    wrong = {said: sign * written(model, read, layer, head) for said, read in wrong.items()}
    early = written(model, block.ln1(sign * stream), layer, head)
    wrong[f"{mirror} is on the stream, where ln1 and b_V do not"] = early
    wrong["the sign is forgotten"] = written(model, block.ln1(stream), layer, head)
    return wrong


def writes(model, stream, layer, head, sign) -> dict:
    """Name what may be written in place of what the head writes."""
    attn, read = model.blocks[layer].attn, model.blocks[layer].ln1(stream)
    out, bare = written(model, read, layer, head), read @ attn.W_V[head]
    every = [written(model, read, layer, other) for other in range(model.cfg.n_heads)]
    wrong = {
        "b_V is missing: the value is x W_V + b_V": bare @ attn.W_O[head],
        "b_O belongs to no head: yours adds it": out + attn.b_O,
        "W_O of another head writes it: every head has its own": (
            (bare + attn.b_V[head]) @ attn.W_O[0]
        ),
        "one head is asked for: yours asks head 0": every[0],
        "one head is asked for: yours adds up what all of them write": sum(every),
        "the head is in `layer`: yours takes that of layer 0": written(model, read, 0, head),
    }
    wrong = {said: sign * one for said, one in wrong.items()}
    alone = "what the head wrote is judged alone: yours adds it to the stream"
    nobody = "the head is not run at all: yours asks the stream itself"
    return wrong | {alone: stream + sign * out, nobody: stream}


def ends(model, out, sign) -> dict:
    """Name what goes wrong between what was written [n d] and the logits."""
    mirror = "the sign goes in before the last norm, whose b does not turn round: yours"
    return {
        "ln_final is missing between what was written and W_U": out @ model.W_U,
        "the last norm's own w and b are missing: use ln_final": (
            F.layer_norm(out, out.shape[-1:]) @ model.W_U
        ),
        f"{mirror} comes after it": sign * model.ln_final(sign * out) @ model.W_U,
        "W_U reads the answer out: yours uses the embedding": model.ln_final(out) @ model.W_E.T,
        "the k highest logits: yours takes the lowest": -model.ln_final(out) @ model.W_U,
    }


def counts(logits, names, k) -> dict:
    """Name what goes wrong when names are counted."""
    best, among = logits.topk(k).indices, logits[:, names].topk(k).indices
    found = (best == names[:, None]).float()
    given, of = "k is given: yours", "the share of names that are copied"
    return {
        f"{given} always takes the first 5": share(logits, names, 5),
        f"{given} takes the first one only": share(logits, names, 1),
        f"{given} takes one too few": share(logits, names, max(k - 1, 1)),
        f"{given} takes one too many": share(logits, names, k + 1),
        "a name counts where the head saw it: yours counts a name that is among the best of any "
        "row": torch.isin(names, best).float().mean(),
        "the k best of all words: yours ranks the names among themselves": (
            (among == torch.arange(len(names))[:, None]).any(-1).float().mean()
        ),
        f"{of}: yours divides by k as well": found.mean(),
        f"{of}, 0 to 1: yours counts them": found.sum(),
        f"{of}, 0 to 1: yours is in per cent": 100 * share(logits, names, k),
        f"{of}: yours is the share that are not": 1 - share(logits, names, k),
        f"{of}: yours answers for each name": found.any(-1).float(),
    }


# ---- 7.4 mean over the template ------------------------------------------------------------------


def averages(z, template) -> dict:
    """Name the usual mistakes, and what each would give."""
    kinds, own = template.unique(), template[:, None] == template  # [b b]
    weights = own.float()

    def mean(over, z=z):
        total = torch.einsum("bc,cphe->bphe", over, z)
        return total / over.sum(1)[:, None, None, None]

    right = mean(weights)
    by_kind = torch.stack([z[template == kind].mean(0) for kind in kinds])  # [t p h e]
    others = weights - torch.eye(len(z))
    template_of = "the mean of each prompt's own template: yours is"
    named = {
        f"{template_of} that of all prompts": mean(torch.ones_like(weights)),
        f"{template_of} the mean of the templates' means": by_kind.mean(0).expand_as(z),
        f"{template_of} that of the other templates": mean(1 - weights),
        f"{template_of} that of the first one, for all": by_kind[:1].expand_as(z),
        f"{template_of} its first prompt, not a mean": z[own.int().argmax(1)],
        f"{template_of} a sum": torch.einsum("bc,cphe->bphe", weights, z),
        f"{template_of} a sum, divided by the number of all prompts": (
            torch.einsum("bc,cphe->bphe", weights, z) / len(z)
        ),
        f"{template_of} a median": torch.stack([z[same].median(0).values for same in own]),
        "the prompt itself belongs to its template: yours leaves it out": mean(others),
        "one mean for each prompt, [b p h e]: yours is one for each template": by_kind,
        "each prompt stays in its place: yours puts the prompts of a template together": right[
            template.argsort(stable=True)
        ],
        "return the means: yours is what they leave of z": z - right,
        "return the means: yours is z itself": z,
    }
    return blurred(z, right) | named


def blurred(z, right) -> dict:
    """Name the axes over which a mean may go too, beside the prompts."""
    each = "every position, head and number has its own mean: yours goes over"
    axes = {
        "positions too": 1,
        "heads too": 2,
        "the numbers of z too": 3,
        "positions and heads too": (1, 2),
        "all but the template": (1, 2, 3),
    }
    wrong = {f"{each} {said}": right.mean(dims, keepdim=True) for said, dims in axes.items()}
    wrong[f"{each} positions, and all prompts"] = z.mean((0, 1))
    return {said: one.expand_as(z) for said, one in wrong.items()}

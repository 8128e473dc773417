"""The usual mistakes of lesson 03: sentences, and what each mistake would give instead.

Written the short way, with torch, as whoever makes the mistake would write it. A sentence names the
idea: the axis, the missing scale, what is off by one.
"""

import math

import torch


def norms(resid, w, b, eps) -> dict:
    """Name the usual mistakes, and what each would give."""
    mean, of_d = resid.mean(-1, keepdim=True), {"dim": -1, "keepdim": True}
    centred, variance = resid - mean, resid.var(**of_d, correction=0)
    scale, square = (variance + eps).sqrt(), resid.pow(2).mean(**of_d)
    spread, outside = (centred.pow(2).sum(**of_d) + eps).sqrt(), variance.sqrt() + eps
    normed = centred / scale

    def ends(normed):
        return normed * w + b

    def over(dims):
        return (resid - resid.mean(dims)) / (resid.var(dims, correction=0) + eps).sqrt()

    alone = "each position is normed on its own, over d (dim=-1)"
    divide = "divide by the standard deviation"
    return {
        f"{alone}: yours takes mean and variance over positions": ends(over(0)),
        f"{alone}: yours takes one mean and variance of all positions": ends(over((0, 1))),
        f"{alone}: yours takes the mean over positions": ends((resid - resid.mean(0)) / scale),
        "the variance divides by d: yours divides by d - 1, as torch.var and torch.std do unless "
        "told correction=0": ends(centred / (resid.var(**of_d) + eps).sqrt()),
        "the variance is a mean, divide by d: yours is the sum": ends(centred / spread),
        "eps is added to the variance, under the root: yours is outside": ends(centred / outside),
        "eps is missing: add it to the variance, under the root": ends(centred / variance.sqrt()),
        f"{divide}: yours divides by the variance, no root": ends(centred / (variance + eps)),
        f"{divide}: yours only subtracts the mean": ends(centred),
        "subtract the mean first: yours is not centred": ends(resid / scale),
        "subtract the mean first: yours divides by the root of the mean square, and is not "
        "centred": ends(resid / (square + eps).sqrt()),
        "w and b are missing: times w, then plus b": normed,
        "b is missing: add it at the end": normed * w,
        "w is missing: multiply by it before b is added": normed + b,
        "first times w, then plus b: yours adds b first": (normed + b) * w,
    }


def patterns(q, k) -> dict:
    """Name the usual mistakes, and what each would give."""
    raw, root, n = q @ k.T, math.sqrt(q.shape[-1]), len(q)
    future = torch.ones(n, n, dtype=torch.bool).triu(1)

    def hide(scores, hidden=future, value=-math.inf):
        return scores.masked_fill(hidden, value)

    return scales(raw, root, hide) | masks(raw / root, future, hide) | shares_of(raw / root, hide)


def scales(raw, root, hide) -> dict:
    """Name what goes wrong with sqrt(e)."""
    scale = "divide the scores by sqrt(e), the root of the length of a query"
    wrong = {
        f"{scale}: yours are not divided": raw,
        f"{scale}: yours are divided by e itself": raw / root**2,
        f"{scale}: yours are multiplied by it": raw * root,
        f"{scale}: yours are divided by the root of the number of tokens": raw / len(raw) ** 0.5,
    }
    late = f"{scale}: yours divides after the softmax, and the shares no longer sum to 1"
    softmax = {said: hide(scores).softmax(-1) for said, scores in wrong.items()}
    return softmax | {late: hide(raw).softmax(-1) / root}


def masks(scores, future, hide) -> dict:
    """Name what goes wrong with the mask."""
    ahead, itself = future.triu(2), future | torch.eye(len(future), dtype=torch.bool)
    off = "the mask is off by one: yours"
    wrong = {
        f"{off} lets each token see the one after it": hide(scores, ahead),
        f"{off} hides each token from itself": hide(scores, itself),
        "there is no mask: yours lets each token see all that follow it": scores,
        "the mask is upside down: it hides the past, shows the future": hide(scores, future.T),
        "a masked score is -inf: yours is 0, which still gets a share, for exp(0) = 1": hide(
            scores, value=0
        ),
    }
    late = "mask before the softmax: yours masks after it, and the shares no longer sum to 1"
    softmax = {said: masked.softmax(-1) for said, masked in wrong.items()}
    return softmax | {late: hide(scores.softmax(-1), value=0)}


def shares_of(scores, hide) -> dict:
    """Name what goes wrong with the softmax, and with its axes."""
    hidden, bare = hide(scores), hide(scores, value=0)
    whole = hidden.flatten().softmax(0).view_as(scores)
    over = "softmax goes over the keys of one query (dim=-1): yours goes over"
    missing = "softmax is missing: yours"
    return {
        f"{over} queries": hidden.softmax(0),
        f"{over} all scores at once": whole,
        "lines are queries and columns are keys: yours is transposed": hidden.softmax(-1).T,
        "lines are queries and columns are keys, q @ k.T: yours has q and k swapped": hide(
            scores.T
        ).softmax(-1),
        f"{missing} returns the scores": hidden,
        f"{missing} divides each score by the sum of its line": bare / bare.sum(-1, keepdim=True),
    }


def heads(run, x, attn, head) -> dict:
    """Name the usual mistakes, and what each gives; `run` is a right head, given other weights."""
    W = {name: weight[head] for name, weight in vars(attn).items() if name != "b_O"}
    none = torch.zeros_like(W["b_Q"])
    swapped = {"W_Q": W["W_K"], "W_K": W["W_Q"], "b_Q": W["b_K"], "b_K": W["b_Q"]}
    missing = "is missing: add it, as in x W_Q + b_Q"
    wrong = {
        f"the bias of the queries {missing}": {"b_Q": none},
        f"the bias of the keys {missing}": {"b_K": none},
        f"the bias of the values {missing}": {"b_V": none},
        "the biases of q, k and v are missing": {"b_Q": none, "b_K": none, "b_V": none},
        "queries ask and keys answer: yours has q and k swapped": swapped,
        "what is collected are the values, x W_V + b_V: yours collects keys": {
            "W_V": W["W_K"],
            "b_V": W["b_K"],
        },
    }
    named = {said: run(x, attn, head, **instead) for said, instead in wrong.items()}
    pattern, result = run(x, attn, head)
    v = x @ W["W_V"] + W["b_V"]
    every = [run(x, attn, h) for h in range(len(attn.W_O))]
    return named | wrong_ends(pattern, result, v, W["W_O"], attn.b_O) | wrong_heads(every)


def wrong_heads(every) -> dict:
    """Name which other heads may have run."""
    asked = "run the one head that is asked for: yours"
    total = every[0][0], sum(result for _, result in every)
    return {
        f"{asked} runs head 0": every[0],
        f"{asked} runs the last one": every[-1],
        f"{asked} adds up what all of them write": total,
    }


def wrong_ends(pattern, result, v, W_O, b_O) -> dict:
    """Name what goes wrong once there is a pattern."""
    wrong = {
        "b_O belongs to no head: yours adds it": result + b_O,
        "W_O is missing: yours returns z, before it is written to the stream": pattern @ v,
        "each query collects values, pattern @ v: yours uses the pattern transposed": (
            pattern.T @ v @ W_O
        ),
        "the pattern is missing: yours writes each token's own value": v @ W_O,
    }
    order = "return the pattern first, then what the head adds: yours is the other way round"
    return {said: (pattern, end) for said, end in wrong.items()} | {order: (result, pattern)}


def mlps(x, W_in, b_in, W_out, b_out) -> dict:
    """Name the usual mistakes, and what each would give."""
    F, y, bare = torch.nn.functional, x @ W_in + b_in, x @ W_in
    post = F.gelu(y, approximate="tanh")
    tanh, inside = "GPT-2's gelu is the one with tanh: yours", "inside tanh stands"
    posts = {
        f"{tanh} is the exact one, as torch's is unless told approximate='tanh'": F.gelu(y),
        f"{tanh} is x sigmoid(1.702 x)": y * (1.702 * y).sigmoid(),
        f"{tanh} is silu": F.silu(y),
        "gelu is missing: without it the two matrices are one": y,
        "gelu is not relu: yours cuts off at 0": F.relu(y),
        f"{inside} the root of 2 / pi: yours has no root": gelu(y, factor=2 / math.pi),
        f"{inside} the cube of y: yours has its square": gelu(y, power=2),
        "0.5 is missing: yours is twice as large": 2 * post,
        "1 + tanh: the 1 is missing": post - 0.5 * y,
        "b_in is missing: each neuron's bias is added before gelu": gelu(bare),
        "b_in is added before gelu: yours adds it after": gelu(bare) + b_in,
    }
    result, between = post @ W_out + b_out, "gelu stands between the two matrices"
    return {said: one @ W_out + b_out for said, one in posts.items()} | {
        "b_out is missing: it is added at the end": post @ W_out,
        "both biases are missing: b_in before gelu, b_out at the end": gelu(bare) @ W_out,
        f"{between}: yours comes at the end": gelu(y @ W_out + b_out),
        f"{between}, once: yours comes twice": gelu(result),
        "an MLP returns what it adds to the stream: yours has added x already": result + x,
    }


def gelu(y, factor=(2 / math.pi) ** 0.5, power=3):
    """Compute GPT-2's gelu, or one that is a little wrong."""
    return 0.5 * y * (1 + torch.tanh(factor * (y + 0.044715 * y**power)))


def shares(parts, scale, w, direction) -> dict:
    """Name the usual mistakes, and what each would give."""
    centred, over_parts = parts - parts.mean(-1, keepdim=True), parts - parts.mean(0)
    own = (parts.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    measured = (parts.sum(0).var(correction=0) + 1e-5).sqrt()
    given, centre = "the scale is given, and the same for every part", "centre each part on its own"
    normed = {
        f"{given}: yours is computed anew for each part": centred / own,
        f"{given}: yours is computed from the sum of the parts": centred / measured,
        f"{centre} mean, as the layer norm does: yours is not centred": parts / scale,
        f"{centre} mean, over d (dim=-1): yours takes the mean over parts": over_parts / scale,
        "divide by the scale: it is missing": centred,
        "divide by the scale: yours multiplies by it": centred * scale,
    }
    bare = "w and the mean are missing: yours holds the bare parts against the direction"
    right = (centred / scale * w) @ direction
    if len(parts) == parts.shape[-1]:  # otherwise torch stops it
        along = "each part needs its own mean: keepdim=True, or the means go along d"
        normed[along] = (parts - parts.mean(-1)) / scale
    return {said: (one * w) @ direction for said, one in normed.items()} | {
        "w is missing: the last layer norm multiplies by it": (centred / scale) @ direction,
        bare: (parts / scale) @ direction,
        "one share per part: yours adds them up": right.sum(0),
        "one share per part: yours is a running sum": right.cumsum(0),
    }


def hooks(z, said) -> dict:
    """Name the usual mistakes, and what each would give."""
    n, rows = len(z), torch.arange(len(z))
    all_heads = said.expand_as(z)
    own = torch.eye(n, dtype=torch.bool)[:, None, :, None].expand_as(z)  # copy i, head i
    in_first, in_all, last, folded = (z.clone() for _ in range(4))
    folded[rows, :, rows] = said.reshape(n, -1, said.shape[-1])
    in_first[0], in_all[:, :, 0] = said, said[:, 0]
    last[rows, -1, rows] = said[-1]
    right = torch.where(own, all_heads, z)
    return {
        "replace head i in copy i: yours does nothing to z": z,
        "replace head i in copy i: yours replaces all heads in all copies: "
        "one index has to run over copies and heads together": all_heads,
        "replace head i in copy i: yours replaces all heads in copy 0": in_first,
        "replace head i in copy i: yours replaces head 0 in all copies": in_all,
        "replace head i in copy i: yours keeps head i and replaces all others": torch.where(
            own, z, all_heads
        ),
        "replace at all positions: yours replaces at the last one only": last,
        "put `said` in the place of z: yours adds it to what was there": torch.where(
            own, z + all_heads, z
        ),
        "head i is to fall silent or speak `said`: yours silences it always": z.masked_fill(own, 0),
        "all other heads stay as they are: yours silences them": right * own,
        "copy i has head i replaced: yours has the last head replaced in every copy": torch.cat(
            [z[:, :, :-1], all_heads[:, :, -1:]], 2
        ),
        "z[rows, :, rows] is [h p e], heads first, and `said` is [p h e]: yours mixes positions "
        "with heads. A transpose swaps the two; view and reshape do not": folded,
    }

"""The usual mistakes of lesson 04: sentences, and what each mistake would give instead."""

import torch

from lessons.checks.logit_lens_loops import adam, towards


def lenses(resid, ln, W_U) -> dict:
    """Name the usual mistakes, and what each would give."""
    right, once = ln(resid) @ W_U, ln(resid)
    spread = resid.std(-1, keepdim=True)
    return {
        "norm the stream first, ln(resid): yours unembeds it as it is": resid @ W_U,
        "the lens returns logits: yours took a softmax": right.softmax(-1),
        "the lens returns logits: yours took a log_softmax": right.log_softmax(-1),
        "ln has a w and a b, call it as a function: yours leaves them out": ln.bare(resid) @ W_U,
        "ln has a b, call it as a function: yours leaves it out": (ln.bare(resid) * ln.w) @ W_U,
        "norm once: yours norms twice": ln(once) @ W_U,
        "ln centres as well as divides: yours only divides": (resid / spread) @ W_U,
        "norm before W_U: yours norms the logits": loosely(ln, resid @ W_U, right),
    }


def loosely(function, x, other):
    """Apply a function where the sizes allow it."""
    try:
        return function(x)
    except RuntimeError:
        return torch.full_like(other, torch.nan)


def depths(hits: str, own) -> dict:  # own [depth], the answer's logit
    """Name the usual mistakes, and what each would give."""
    n, ones = len(hits), [i for i, hit in enumerate(hits) if hit == "1"]
    stays = next((i for i in range(n) if "0" not in hits[i:]), n)
    largest = own.argmax().item()
    stay = "it must stay the first choice to the end"
    asked = "the depth at which it starts to stay is asked: yours"
    return {
        f"{stay}: yours stops at the first depth where it is": ones[0] if ones else n,
        f"{asked} counts how many there are from there on": n - stays,
        f"{asked} counts its first places": len(ones),
        f"{asked} counts the depths where it is not first": n - len(ones),
        "the last run of first places is asked: yours is its end": ones[-1] if ones else n,
        "if it is not the first choice at the last depth, return the number of depths: yours "
        "returns -1": -1 if stays == n else stays,
        "if it is not the first choice at the last depth, return the number of depths: yours "
        "returns the last one": min(stays, n - 1),
        "compare the answer with the other words of the same depth: yours asks at which depth its "
        "own logit is largest": largest if hits[-1] == "1" else n,
        "off by one: yours is the depth before": stays - 1,
        "off by one: yours is the depth after": stays + 1,
    }


def shares(post, W_out, scale, w, direction) -> dict:
    """Name the usual mistakes, and what each would give."""
    rows = W_out - W_out.mean(-1, keepdim=True)  # [m d]
    wrote = post[:, :, None] * W_out  # [b m d]
    own = (wrote.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()  # [b m 1]
    centred = wrote - wrote.mean(-1, keepdim=True)
    read = direction @ (rows * w).T  # [b m]
    right = post / scale * read
    weighed = W_out * w
    twice = weighed - weighed.mean(-1, keepdim=True)
    hold = "the divisor is the whole stream's, handed in as `scale`"
    return {
        "the norm centres each row of W_out on 0, over d: yours is not centred": post
        / scale
        * (direction @ weighed.T),
        "each row of W_out is centred over its own d numbers: yours over neurons": post
        / scale
        * (direction @ ((W_out - W_out.mean(0)) * w).T),
        "centre first, then multiply by w: yours centres afterwards": post
        / scale
        * (direction @ twice.T),
        f"{hold}: yours does not divide": post * read,
        f"{hold}: yours multiplies by it": post * scale * read,
        f"{hold}: yours gives each neuron one of its own": (
            (centred / own * w) * direction[:, None]
        ).sum(-1),
        "w is missing: the norm multiplies by it": post / scale * (direction @ rows.T),
        "a neuron writes its row of W_out times its activation: post is missing": read / scale,
        "shares have a sign: yours are absolute": right.abs(),
        "each prompt has its own direction: yours takes the first for all": post
        / scale
        * (direction[:1] @ (rows * w).T),
        "each prompt has its own divisor: yours takes the first for all": post / scale[:1] * read,
        "one share for each neuron, [b m]: yours are added up": right.sum(-1),
        "one share for each neuron, [b m]: yours is transposed": right.T,
    }


def kls(final, reading) -> dict:
    """Name the usual mistakes, and what each would give."""
    p, q = final.softmax(-1), reading.softmax(-1)
    log_p, log_q = final.log_softmax(-1), reading.log_softmax(-1)
    right, back = (p * (log_p - log_q)).sum(-1), (q * (log_q - log_p)).sum(-1)
    finite = "log_softmax keeps the log of a tiny probability finite: yours is softmax, then log"
    return {
        "the other way round: the words come as `final` says, so its probabilities weigh; yours "
        "weighs by those of the reading": back,
        "P log P is missing: yours is the cross-entropy, which also counts what even the model "
        "loses": -(p * log_q).sum(-1),
        "P is missing: weigh each word by its probability": (log_p - log_q).sum(-1),
        "the sign: log P - log Q, yours is log Q - log P": -right,
        "sum over the words: yours is their mean": right / final.shape[-1],
        "one number for each place: yours adds up or averages over all": right.sum(),
        "one number for each place: yours averages over all": right.mean(),
        "nats: yours is in bits, log to base 2": right / torch.log(torch.tensor(2.0)),
        "both ways in one: yours is the mean of KL(P || Q) and KL(Q || P)": (right + back) / 2,
        f"{finite}": (p * (p.log() - q.log())).sum(-1),
        f"{finite} ": (p * (p / q).log()).sum(-1),
        "both are logits: take their softmax first": (final * (final.log() - reading.log())).sum(
            -1
        ),
        "softmax goes over the words, dim=-1: yours over another axis": other_axis(final, reading),
        "one number for each place: yours is not summed over the words": p * (log_p - log_q),
    }


def other_axis(final, reading):
    """Take the softmax over the first axis."""
    log_p, log_q = final.log_softmax(0), reading.log_softmax(0)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def steps(x, final, rates) -> dict:
    """Name the usual mistakes of the first steps, and the A and b that each would give."""
    n = len(rates)
    A, b = adam(x, final, rates)
    falls = "the rate falls evenly from lr at the first step to lr / steps at the last: yours"

    def back(P, logits):  # of KL(reading || final)
        apart = logits.log_softmax(-1) - P.log_softmax(-1)
        q = logits.softmax(-1)
        return q * (apart - (q * apart).sum())

    return {
        f"{falls} stays lr": adam(x, final, rates[:1] * n),
        f"{falls} reaches 0 at the last": adam(x, final, [*rates[1:], 0.0]),
        "the loss should fall: yours climbs": adam(x, final, rates, lambda P, Q: -towards(P, Q)),
        "x @ A + b: yours is A @ x, the other way round": (A.T, b),
        "kl(final, reading), in this order: yours is the other way round": adam(
            x, final, rates, back
        ),
        "the loss is kl(final, reading): yours is the squared distance of the logits": adam(
            x, final, rates, lambda P, logits: logits - P
        ),
        "one Adam for all steps, for it remembers: yours is a new one at each step": adam(
            x, final, rates, forgets=True
        ),
        "b is to be learned too": adam(x, final, rates, learns="A"),
        "A is to be learned too": adam(x, final, rates, learns="b"),
    }

"""How a model copies: heads found by where they look, read by what they multiply (lesson 05).

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022,
"In-context Learning and Induction Heads". A head is two circuits. W_Q W_K^T [d d] says which token
looks at which; W_V W_O [d d] says what is handed over. Both are products of two thin matrices,
[d e] times [e d], and are kept so: no [d d] matrix, or [v v] one, is ever made.

Letters: b batch, p position, q/k query/key position, h head, d d_model, e d_head, v vocabulary,
n any number.
"""

import torch
from torch import Tensor


def stripe(pattern: Tensor, back: int, first: int) -> Tensor:  # [... q k] -> [...]
    """Say which share of its attention a query gives to the key `back` positions before it.

    The mean over all queries from position `first` on, to the last one; `first` is at least `back`.
    In `pattern`, line i belongs to the query at position i and column j to the key at position j,
    so what is asked for is a stripe beside the diagonal. There may be axes before these two, such
    as texts and heads; they stay.
    """
    # exercise 5.1: a stripe (5 min)
    return pattern.diagonal(-back, dim1=-2, dim2=-1)[..., first - back :].mean(-1)
    # end


def after_last(tokens: Tensor) -> Tensor:  # [b p] -> [b p]
    """Find where an induction head should look: right after the last earlier equal token.

    For each position of each text: find the last position before it that holds the same token, and
    return the position that follows. -1 where the token stands for the first time. In the text
    7 8 9 7 8 the result is -1, -1, -1, 1, 2. Whole numbers (torch.long), as positions are.
    """
    # exercise 5.2: where to look (15 min)
    at = torch.arange(tokens.shape[1])
    equal = tokens[:, :, None] == tokens[:, None, :]  # [b q k]
    last = torch.where(equal.tril(-1), at, -1).amax(-1)  # [b q]
    return torch.where(last < 0, -1, last + 1)
    # end


def attention_to(pattern: Tensor, keys: Tensor, counted: Tensor) -> Tensor:
    """Say which share of its attention a query gives to a key of its own, wherever that is.

    `pattern` [b h q k]; `keys` [b q] names each query's key; `counted` [b q] is True for the
    queries that count. Returns the mean for each head, [h].
    """
    text, query = counted.nonzero(as_tuple=True)  # [n], [n]
    return pattern[text, :, query, keys[text, query]].mean(0)


def copying_score(left: Tensor, right: Tensor) -> Tensor:  # [... n e], [... e n] -> [...]
    """Say whether left @ right, [n n], gives back what it is given: sum of L / sum of |L|.

    L are the eigenvalues of left @ right, the numbers by which it stretches its own directions. If
    all are positive, what goes in comes out, and the score is 1; if all are negative, its opposite
    does, and the score is -1. The eigenvalues of left @ right and of right @ left are the same, but
    for zeros, so only the small matrix is needed: with n = 50,000 words the big one would fill ten
    gigabytes. Eigenvalues are complex numbers; L counts with its real part, |L| with its whole
    length. (Elhage et al. 2021, "Summarizing OV/QK matrices".)
    """
    # exercise 5.3: does it copy? (10 min)
    eigenvalues = torch.linalg.eigvals(right @ left)  # [... e]
    return eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)
    # end


def product_norm(left: Tensor, right: Tensor) -> Tensor:  # [... n e], [... e n] -> [...]
    """Compute the length of left @ right, the root of the sum of its squares, from [e e] only."""
    return ((left.mT @ left) * (right @ right.mT)).sum((-2, -1)).clamp(min=0).sqrt()


def k_composition(W_V: Tensor, W_O: Tensor, W_Q: Tensor, W_K: Tensor) -> Tensor:
    """Say how much a later head's keys read of what an earlier head writes: 0 nothing, 1 all.

    The earlier head writes x W_V W_O [d d] to the stream: W_V [d e], W_O [e d]. The later one
    scores a query x against a key y by x W_Q W_K^T y^T: W_Q [d e], W_K [d e]. If y is what the
    earlier head wrote, this becomes x W_Q (W_V W_O W_K)^T x^T. The score is the length of that
    matrix, as a share of what it could be:

        |W_Q (W_V W_O W_K)^T| / (|W_Q W_K^T| |W_V W_O|)

    where |M| is the root of the sum of the squares of M. `product_norm(left, right)` gives the
    length of left @ right. There may be axes before the two, such as heads. (Elhage et al. 2021,
    "Path Expansion of Attention Scores QK Circuit".)
    """
    # exercise 5.4: composition (15 min)
    handed_on = W_V @ (W_O @ W_K)  # [... d e]
    length = product_norm(W_Q, handed_on.mT)
    return length / (product_norm(W_Q, W_K.mT) * product_norm(W_V, W_O))
    # end


def ablate(heads: list[int], how: str):
    """Make a hook for `hook_z` that takes away what some heads of one layer say.

    The hook is a function (z, hook): z [b p h e] holds what each head has collected, for each text
    and position. It returns z with the listed heads changed, at all positions, and all others as
    they were. `how` is one of three:

        "zero"      each becomes 0
        "mean"      each becomes its mean over the texts, at its own position
        "resample"  in text i it becomes what the same head says in text i - 1, at the same
                    position (in text 0: in the last one)

    z is the hook's own, to be edited in place if you like.
    """
    # exercise 5.5: take heads away (15 min)

    def hook(z, hook):
        if how == "zero":
            instead = torch.zeros_like(z)
        else:
            instead = z.mean(0).expand_as(z) if how == "mean" else z.roll(1, 0)
        z[:, :, heads] = instead[:, :, heads].clone()
        return z

    return hook
    # end


def by_hand(d_vocab: int, n_ctx: int) -> dict:
    """Set the weights of a two-layer network by hand, so that it copies; nothing is trained.

    One head in each layer, no MLP, no norm, no bias. The stream x [p d] starts as W_E[tokens].
    Layer l = 0, 1 does what lesson 03's heads do, but for one thing, positions: queries and keys
    read x + W_pos, values read x alone.

        q = (x + W_pos) W_Q[l]    k = (x + W_pos) W_K[l]    v = x W_V[l]
        x = x + softmax(q k^T / sqrt(e), the future masked) v W_O[l]

    and the logits are x W_U. Return a dict: "W_E" [v d], "W_pos" [c d], "W_U" [d v], and "W_Q",
    "W_K", "W_V", "W_O", each a list of two matrices, one per layer: [d e] the first three, [e d]
    the last. v is `d_vocab`, c is `n_ctx`; d and e are yours to choose, also differently in the two
    layers. A text of n_ctx tokens or fewer begins with token 0, which comes nowhere else; wherever
    a token has come once before, the largest logit must be that of the token that followed it.
    """
    # exercise 5.6: an induction head by hand (30 min)
    d = 3 * d_vocab + n_ctx  # rooms in the stream: my token, the one before, the next, my place
    own, before, following, place = torch.eye(d).split([d_vocab] * 3 + [n_ctx], dim=1)
    sharp = 20 * d**0.5  # so that softmax takes the best key and next to nothing else
    return {
        "W_E": own.T,
        "W_pos": place.T,
        "W_Q": [sharp * place.roll(-1, 1), sharp * own],  # the place before mine; my token
        "W_K": [place, before],  # its place; the token before it
        "W_V": [own, own],
        "W_O": [before.T, following.T],
        "W_U": following,
    }
    # end

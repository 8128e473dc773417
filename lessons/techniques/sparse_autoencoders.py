"""What a sparse autoencoder is held to: how much is on, what is lost, is it true? (lesson 09)

An autoencoder writes an activation x as a sum of a few of its latents, each a direction that is on
by so much: x_hat = f W_dec + b_dec. What is asked of many tokens at once stands in sae/metrics.py,
the autoencoders themselves in sae/autoencoders.py.

Letters: b token of a batch, n tokens in all, d width of the activation, f latent, t true feature.
"""

import torch
from torch import Tensor


def l0(f: Tensor) -> float:  # [... f]
    """Say how many latents are on (not 0) at a token, in the mean over all tokens.

    The last axis holds the latents, all others tokens. A float.
    """
    # exercise 9.1: L0 (3 min)
    return (f != 0).sum(-1).float().mean().item()
    # end


def explained_variance(x: Tensor, x_hat: Tensor) -> float:  # [... d] twice
    """Say what share of the activations' variance is in their reconstructions, as one float.

    1 - sum |x - x_hat|^2 / sum |x - mean|^2, each sum over all tokens and all d, and only then
    divided. `mean` [d] is of each dimension over all tokens given. So 1 is perfect, and 0 is what
    you get by saying the mean every time; below 0 is worse than that.
    """
    # exercise 9.2: explained variance (8 min)
    x, x_hat = x.flatten(0, -2), x_hat.flatten(0, -2)  # [n d] each
    left = (x - x_hat).square().sum()
    return (1 - left / (x - x.mean(0)).square().sum()).item()
    # end


def topk_loss(
    x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, k: int, dead: Tensor
) -> Tensor:
    """Compute what a TopK autoencoder learns from, dead latents included (Gao et al. 2024, A.2).

    pre = relu((x - b_dec) W_enc + b_enc). Of each token the k largest stay, all others become 0:
    that is f, and x_hat = f W_dec + b_dec. The loss is |x - x_hat|^2, summed over d, mean over b.

    A latent that is never among the k gets no gradient, ever: it is dead. So the dead ones (`dead`
    [f], booleans) are given what is left to explain, e = x - x_hat: the largest d // 2 of each
    token's pre among the dead (all, if they are fewer) make e_hat = f_dead W_dec, with no b_dec.
    Add |e - e_hat|^2 / 32, summed over d, mean over b. There e is a given: no gradient flows
    through it (`.detach()`). Without dead latents nothing is added.

    x [b d], W_enc [d f], b_enc [f], W_dec [f d], b_dec [d] -> a tensor of no dimension.
    """
    # exercise 9.3: TopK, and something for the dead (20 min)
    pre = torch.relu((x - b_dec) @ W_enc + b_enc)  # [b f]
    values, at = pre.topk(k, dim=-1)  # [b k]
    f = torch.zeros_like(pre).scatter(-1, at, values)  # [b f]
    e = x - (f @ W_dec + b_dec)  # [b d]
    loss = e.square().sum(-1).mean()
    if few := min(x.shape[-1] // 2, int(dead.sum())):
        values, at = (pre * dead).topk(few, dim=-1)
        e_hat = torch.zeros_like(pre).scatter(-1, at, values) @ W_dec  # [b d]
        loss = loss + (e.detach() - e_hat).square().sum(-1).mean() / 32
    return loss
    # end


def spliced(x: Tensor, encode, decode, edit=None, error=True, bos=False) -> Tensor:  # [b p d]
    """Put an autoencoder into a run: return what the model is to go on with, [b p d].

    `encode` [... d] -> [... f], `decode` [... f] -> [... d], `edit` (if given) [... f] -> [... f].
    f = encode(x). The new activation is decode(f), or decode(edit(f)) with an edit. With `error`,
    add what the autoencoder misses of x, x - decode(f), where f is the one before the edit: so
    without an edit the model notices nothing. (An edit may change the f that it is given and hand
    it back: f[..., 3] = 0.) The first position (BOS) stays as it is, unless `bos`: most
    autoencoders were never trained on it. x itself stays as it is.
    """
    # exercise 9.4: splice it in (12 min)
    start = 0 if bos else 1
    f = encode(x[:, start:])  # [b p f]
    missed = x[:, start:] - decode(f) if error else 0.0  # before the edit, which may change f
    new = decode(edit(f) if edit else f) + missed  # [b p d]
    return torch.cat([x[:, :start], new], dim=1)
    # end


def f1(on: Tensor, truth: Tensor) -> Tensor:  # [n f], [n t] -> [t f]
    """Score every latent as a detector of every true feature, by F1.

    `on` [n f] and `truth` [n t] are booleans: is the latent on, does the token have the feature?
    Of a latent and a feature let both be the number of tokens where the latent is on and the
    feature is there. F1 = 2 both / (tokens with the latent on + tokens with the feature): the
    harmonic mean of precision and recall. Where both counts are 0, F1 is 0. Floats, [t f].
    """
    # exercise 9.5: F1 of all with all (10 min)
    on, truth = on.float(), truth.float()
    both = truth.T @ on  # [t f]
    return 2 * both / (truth.sum(0)[:, None] + on.sum(0)).clamp(min=1)
    # end


def together(on: Tensor, truth: Tensor, enough: float = 0.8) -> list[int]:  # [n f], [n]
    """Choose latents that say a feature together, where no single one does: as few as you can.

    `on` [n f] says at which tokens each latent is on, `truth` [n] at which the feature is there,
    both booleans. Of your choice any one that is on says that the feature is there, and the F1 of
    that (see `f1`) must be at least `enough`. Return latents, as a list of ints, each once; [] if
    you find none. Any choice is right that does it and is at most a quarter longer than the
    shortest that we know. The latent with the best F1 of its own need not be in it.
    """
    # exercise 9.6: one feature, several latents (25 min)
    best: list[int] = []
    on, truth = on.float(), truth.float()
    precision = truth @ on / on.sum(0).clamp(min=1)  # [f]
    for floor in (0.5, 0.7, 0.9):  # what is on in too many other places spoils the rest
        some, chosen, score = on * (precision >= floor), [], 0.0  # [n f]
        left = torch.ones_like(truth)  # [n], 1 where none of the chosen is on
        while score < enough:
            said = (1 - left).sum() + left @ some  # [f], tokens where any is on, with this one too
            both = (1 - left) @ truth + (left * truth) @ some  # [f], of these, with the feature
            scores = 2 * both / (truth.sum() + said).clamp(min=1)
            if scores.max() <= score + 1e-6:
                break
            chosen.append(int(scores.argmax()))
            score, left = scores.max().item(), left * (1 - some[:, chosen[-1]])
        if score >= enough and (not best or len(chosen) < len(best)):
            best = chosen
    return best
    # end

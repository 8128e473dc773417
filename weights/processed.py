"""The same model in other weights: layer norms folded, means taken out, as TransformerLens does.

None of it moves a log-probability. It is what most published figures were computed with.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from minimech import HookedTransformer
from minimech.weights import put, unfilled


@torch.no_grad()
def processed(
    model: HookedTransformer, fold_ln=True, center_writing_weights=True, center_unembed=True,
    fold_value_biases=False,
) -> HookedTransformer:  # fmt: skip
    """Return a rewritten copy with the same log-probabilities; the steps are TransformerLens's.

    fold_ln: a layer norm's w and b move into the weights that read it; they lose their mean over d.
    center_writing_weights: what writes to the stream loses its mean over d: no layer norm sees it.
    center_unembed: W_U and b_U lose their mean over v: softmax does not see it.
    fold_value_biases: b_V moves into b_O: the rows of a pattern sum to 1.
    """
    new = unfilled(replace(model.cfg, tied=False), model.tokenizer)
    for name, weight in model.named_parameters(remove_duplicate=False):
        put(new, name, weight.clone())
    new.register_buffer("b_U", model.b_U.clone())  # belongs to its state_dict: it is not zero now
    writers = [new.W_E, new.W_pos]
    for attn, mlp, ln1, ln2 in ((b.attn, b.mlp, b.ln1, b.ln2) for b in new.blocks):
        if fold_ln:
            fold(ln1, attn.W_QKV.flatten(1), attn.b_QKV.flatten())
            fold(ln2, mlp.W_in, mlp.b_in)
        if fold_value_biases:
            attn.b_O += torch.einsum("he,hed->d", attn.b_V, attn.W_O)
            attn.b_V.zero_()
        writers += [attn.W_O, attn.b_O, mlp.W_out, mlp.b_out]
    if fold_ln:
        fold(new.ln_final, new.W_U, new.b_U)
    for W in writers if center_writing_weights else ():
        W -= W.mean(-1, keepdim=True)
    if center_unembed:
        new.lm_head -= new.lm_head.mean(0)
        new.b_U -= new.b_U.mean()
    return new.eval()


def fold(ln: nn.Module, W: Tensor, b: Tensor) -> None:
    """Move a layer norm's w and b into W [d n], b [n]: (x w + b) W = x (w W) + b W, in place."""
    b += ln.b @ W
    W *= ln.w[:, None]
    W -= W.mean(0)
    ln.w.fill_(1)
    ln.b.zero_()

"""Sixteen slips in minimech/model.py, each one edit of its source that still runs (make break-03).

If you want to play, do not read on: here the answers are. `plant` runs the edited source as a
module of its own, so the model that everybody imports stays as it is.
"""

import functools
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from unittest import mock

import minimech.hooked
import minimech.model
from minimech import HookedTransformer, MinimechError


class Slip(NamedTuple):
    """One slip: its name, the line it changes and into what, where it shows first, what it says."""

    name: str
    right: str
    wrong: str
    first: str  # the first site whose value differs
    insight: str


SLIPS = [
    Slip(
        "positions are counted from 1",
        "torch.arange(start, start + tokens.shape[1], device",
        "torch.arange(start + 1, start + tokens.shape[1] + 1, device",
        "hook_pos_embed",
        "The rows were all there, one line too low. Of two tables that differ, look first whether "
        "one is the other, moved.",
    ),
    Slip(
        "the variance divides by d - 1",
        "centred.pow(2).mean(-1, keepdim=True)",
        "centred.pow(2).sum(-1, keepdim=True) / (centred.shape[-1] - 1)",
        "blocks.0.ln1.hook_scale",
        "One factor at all tokens: sqrt(96 / 95) = 1.0052. A constant ratio names a constant.",
    ),
    Slip(
        "layer norm's eps is 1e-6, not 1e-5",
        "+ self.eps).sqrt()",
        "+ 1e-6).sqrt()",
        "blocks.0.ln1.hook_scale",
        "The smaller the scale, the larger the change: so something was added under the root. In a "
        "long stream eps drowns, and such a slip waits for the one prompt where it does not.",
    ),
    Slip(
        "the mean is not subtracted (RMS norm)",
        "centred = resid - resid.mean(-1, keepdim=True)",
        "centred = resid",
        "blocks.0.ln1.hook_scale",
        "The scales came out a little larger, each by another factor: what was left in is the "
        "mean, and every token has its own. Llama's norm does this on purpose.",
    ),
    Slip(
        "layer norm's w and b are left out",
        "return normalized * self.w + self.b",
        "return normalized",
        "blocks.0.attn.hook_q",
        "Normalized was right and q was wrong: the error sits between two sites, and only two "
        "things stand there. (hook_normalized is before w and b.)",
    ),
    Slip(
        "q and k are swapped",
        "q, k, v = qkv.unflatten(-1, self.b_QKV.shape).unbind(2)",
        "k, q, v = qkv.unflatten(-1, self.b_QKV.shape).unbind(2)",
        "blocks.0.attn.hook_q",
        "All numbers were right, under each other's names: broken's q is sound's k. Before you ask "
        "what was computed wrongly, ask whether it is something else, computed rightly.",
    ),
    Slip(
        "the q, k, v matrix is cut head by head",
        "q, k, v = qkv.unflatten(-1, self.b_QKV.shape).unbind(2)",
        "q, k, v = qkv.unflatten(-1, self.b_QKV[0, :, None].expand(-1, 3, -1).shape).unbind(3)",
        "blocks.0.attn.hook_q",
        "Head 0's queries were right, by luck: both ways of cutting begin with them. GPT-NeoX "
        "stores its matrix head by head, GPT-2 all queries first; a loader has to know.",
    ),
    Slip(
        "scores are not divided by sqrt(d_head)",
        "torch.einsum(\"bqhe,bkhe->bhqk\", q, k) / math.sqrt(q.shape[-1])",
        "torch.einsum(\"bqhe,bkhe->bhqk\", q, k)",
        "blocks.0.attn.hook_attn_scores",
        "Every score was 5.66 times too large, and 5.66 = sqrt(32). When a ratio is constant, "
        "square it, and see whether you know the number.",
    ),
    Slip(
        "the mask is off by one",
        ".triu(n_k - n_q + 1)",
        ".triu(n_k - n_q + 2)",
        "blocks.0.attn.hook_attn_scores",
        "The scores were right where both had one; but broken had one more in each line. In "
        "training this looks like a triumph: the next token can be read off.",
    ),
    Slip(
        "softmax goes over the queries",
        "scores.softmax(dim=-1)",
        "scores.softmax(dim=-2)",
        "blocks.0.attn.hook_pattern",
        "The columns summed to 1 and the lines did not. Every axis has its law: check sums.",
    ),
    Slip(
        "W_O is transposed",
        "self.W_O.flatten(0, 1), self.b_O",
        "self.W_O.flatten(0, 1).T, self.b_O",
        "blocks.0.hook_attn_out",
        "A square matrix fits both ways, so no shape complained. GPT-2 stores x @ W, most others "
        "store W @ x: the commonest slip of whoever copies weights.",
    ),
    Slip(
        "heads are joined by a mere reshape",
        "return affine(z.flatten(2), self.W_O",
        "return affine(z.transpose(1, 2).reshape(z.shape).flatten(2), self.W_O",
        "blocks.0.hook_attn_out",
        "Each head was right, but tokens were handed pieces of other tokens, of later ones too: "
        "change the last word, and broken changes before it. A reshape moves no number.",
    ),
    Slip(
        "b_O is forgotten",
        "self.W_O.flatten(0, 1), self.b_O)",
        "self.W_O.flatten(0, 1), 0 * self.b_O)",
        "blocks.0.hook_attn_out",
        "The difference was one and the same vector at every token: whatever does not depend on "
        "the token is a bias.",
    ),
    Slip(
        "the MLP reads the stream before attention",
        "self.mlp(self.ln2(resid, tap), tap)",
        "self.mlp(self.ln2(resid - attn_out, tap), tap)",
        "blocks.0.ln2.hook_scale",
        "resid_mid was right, and the next site wrong: so something else was read. GPT-J is built "
        "that way, attention and MLP side by side.",
    ),
    Slip(
        "gelu is the exact one",
        "F.gelu(pre, approximate=\"tanh\")",
        "F.gelu(pre)",
        "blocks.0.mlp.hook_post",
        "Off by 0.0005 at most in each neuron, and the text reads as before. Only a number held "
        "against a number finds this one.",
    ),
    Slip(
        "the last layer norm is computed, and not used",
        "resid_normed = tap(\"unembed.hook_in\", self.ln_final(resid, tap))",
        "self.ln_final(resid, tap)\n        resid_normed = tap(\"unembed.hook_in\", resid)",
        "unembed.hook_in",
        "ln_final was right, and what came after it was the stream as it went in. A result that "
        "nobody picks up raises nothing.",
    ),
]  # fmt: skip


def sound_model() -> HookedTransformer:
    """Load the world model, as it ships."""
    return HookedTransformer.from_pretrained("world")


@functools.cache
def machine(slip: Slip) -> type:
    """Return HookedTransformer as it would be if model.py had this slip; always the plain lines."""
    text = Path(minimech.model.__file__).read_text(encoding="utf-8")
    if text.count(slip.right) != 1:
        raise MinimechError(f"minimech/model.py no longer has `{slip.right}` once; see slips.py")
    edited = ModuleType("minimech.model")
    edited.always = lambda *names: True
    hooked = ModuleType("minimech.hooked")
    with mock.patch.dict(sys.modules, {"minimech.model": edited, "minimech.hooked": hooked}):
        source = text.replace(slip.right, slip.wrong).replace("tap.watches(", "always(")
        exec(compile(source, "broken/model.py", "exec"), edited.__dict__)
        source = Path(minimech.hooked.__file__).read_text(encoding="utf-8")
        exec(compile(source, "broken/hooked.py", "exec"), hooked.__dict__)
    return hooked.HookedTransformer


def plant(slip: Slip, sound: HookedTransformer) -> HookedTransformer:
    """Build a model with the slip in it, and copies of the sound model's weights."""
    broken = machine(slip)(sound.cfg, sound.tokenizer)
    broken.load_state_dict(sound.state_dict())
    return broken.requires_grad_(False)


def changed_lines(slip: Slip) -> str:
    """Show the edit as the lines of model.py before and after it."""
    text = Path(minimech.model.__file__).read_text(encoding="utf-8")
    at = text.index(slip.right)
    start, end = text.rindex("\n", 0, at) + 1, text.index("\n", at + len(slip.right))
    before = text[start:end]
    after = before.replace(slip.right, slip.wrong).splitlines()
    return "\n".join(
        [f"  right  {before.strip()}", *(f"  here   {line.strip()}" for line in after)]
    )

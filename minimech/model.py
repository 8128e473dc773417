"""GPT-2, whole: token ids in, next-token logits out (Radford et al. 2019).

Read it from the bottom: `Transformer.forward` is embed, blocks, unembed, and every name in it is
defined just above. The weights are the matrices that GPT-2 stores, used as `x @ W`; `W_Q [h d e]`
and its kin are views of them. `tap(name, activation)` is the identity unless somebody looks (see
hooks.py): read past it.

Letters, here and everywhere: b batch, p position, q/k query/key position, h head, d d_model,
e d_head, m d_mlp, v vocabulary, l layer.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimech import MinimechError
from minimech.hooks import UNTAPPED, Tap


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model. `tied`: unembed with the transpose of the embedding, as GPT-2 does."""

    n_layers: int
    n_heads: int
    d_model: int
    n_ctx: int
    d_vocab: int
    d_mlp: int = 0  # 0: four times d_model
    ln_eps: float = 1e-5
    tied: bool = True
    model_name: str = "unnamed"

    def __post_init__(self):
        """Refuse sizes that make no model."""
        object.__setattr__(self, "d_mlp", self.d_mlp or 4 * self.d_model)
        for name in ("n_layers", "n_heads", "d_model", "n_ctx", "d_vocab", "d_mlp"):
            size = getattr(self, name)
            if not isinstance(size, int) or size < 1:
                raise MinimechError(f"{name} is {size!r}; a positive integer is needed")
        if self.d_model % self.n_heads:
            raise MinimechError(f"d_model {self.d_model} does not divide into {self.n_heads} heads")

    d_head = property(lambda self: self.d_model // self.n_heads, doc="Width of one head.")


class Past:
    """Keys and values of the positions before: what lets a run start in the middle of a text.

    Causality makes them final: no later token changes them. `generate` grows one token by token:
    each run with `Past()` adds its positions. That of `cache.past(upto)` does not grow: any number
    of patched runs start from the one prefix that they share with the unpatched run.
    """

    def __init__(self, layers: dict[int, tuple[Tensor, Tensor]] | None = None, grows: bool = True):
        self.layers = dict(layers or {})  # layer -> k, v, each [b p h e]
        self.grows = grows

    @property
    def length(self) -> int:
        """Number of positions held."""
        return next(iter(self.layers.values()))[0].shape[1] if self.layers else 0

    def fits(self, cfg: ModelConfig, batch: int) -> bool:
        """Are these the keys and values of such a model, for so many prompts, or one for all?"""
        held = {(len(x), *x.shape[2:]) for k_and_v in self.layers.values() for x in k_and_v}
        one, all_of_them = ((b, cfg.n_heads, cfg.d_head) for b in (1, batch))
        return not held or (held <= {one, all_of_them} and len(self.layers) == cfg.n_layers)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append this run's keys and values [b p h e] and return all, the past ones first."""
        if layer in self.layers:
            old_k, old_v = self.layers[layer]
            k = torch.cat([old_k.expand(len(k), -1, -1, -1), k], dim=1)  # [b k h e]
            v = torch.cat([old_v.expand(len(v), -1, -1, -1), v], dim=1)  # [b k h e]
        self.layers[layer] = k, v
        return k, v


def affine(x: Tensor, W: Tensor, b: Tensor) -> Tensor:  # [... i], [i j], [j] -> [... j]
    """Compute x @ W + b in one call."""
    return torch.addmm(b, x.flatten(0, -2), W).unflatten(0, x.shape[:-1])


class LayerNorm(nn.Module):
    """resid -> (resid - mean) / sqrt(variance + eps) * w + b, over d (Ba et al. 2016)."""

    def __init__(self, cfg: ModelConfig, name: str):
        super().__init__()
        self.w = nn.Parameter(torch.ones(cfg.d_model))
        self.b = nn.Parameter(torch.zeros(cfg.d_model))
        self.eps, self.name = cfg.ln_eps, name

    def forward(self, resid: Tensor, tap: Tap = UNTAPPED) -> Tensor:  # [b p d] -> [b p d]
        if not tap.watches(f"{self.name}.hook_scale", f"{self.name}.hook_normalized"):
            return F.layer_norm(resid, self.w.shape, self.w, self.b, self.eps)  # the same, fused
        centred = resid - resid.mean(-1, keepdim=True)  # [b p d]
        scale = (centred.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()  # [b p 1]
        scale = tap(f"{self.name}.hook_scale", scale)
        # Note: "normalized" means before w and b, as in TransformerLens 3.
        normalized = tap(f"{self.name}.hook_normalized", centred / scale)  # [b p d]
        return normalized * self.w + self.b


class Attention(nn.Module):
    """Each head reads earlier positions: softmax(q k^T / sqrt(e)) v W_O (Vaswani et al. 2017)."""

    def __init__(self, cfg: ModelConfig, layer: int):
        super().__init__()
        h, d, e = cfg.n_heads, cfg.d_model, cfg.d_head
        self.layer, self.name = layer, f"blocks.{layer}.attn"
        self.W_QKV = nn.Parameter(torch.empty(d, 3, h, e))
        self.b_QKV = nn.Parameter(torch.zeros(3, h, e))
        self.W_O = nn.Parameter(torch.empty(h, e, d))
        self.b_O = nn.Parameter(torch.zeros(d))

    def forward(self, x: Tensor, tap: Tap = UNTAPPED, past: Past | None = None) -> Tensor:
        # [b q d] -> [b q d]
        qkv = affine(x, self.W_QKV.flatten(1), self.b_QKV.flatten())  # [b q 3*h*e]
        q, k, v = qkv.unflatten(-1, self.b_QKV.shape).unbind(2)  # three of [b q h e]
        q = tap(f"{self.name}.hook_q", q)
        k = tap(f"{self.name}.hook_k", k)
        v = tap(f"{self.name}.hook_v", v)
        if past is not None:
            k, v = past.extend(self.layer, k, v)  # [b k h e]
        if tap.watches(f"{self.name}.hook_attn_scores", f"{self.name}.hook_pattern"):
            z = self.attend(q, k, v, tap)  # [b q h e]
        else:
            z = attend_fused(q, k, v)  # [b q h e]
        z = tap(f"{self.name}.hook_z", z)
        return affine(z.flatten(2), self.W_O.flatten(0, 1), self.b_O)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tap: Tap) -> Tensor:
        """Attend in plain view: [b q h e], [b k h e], [b k h e] -> z [b q h e]."""
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(is_future(q, k), float("-inf"))
        scores = tap(f"{self.name}.hook_attn_scores", scores)
        pattern = tap(f"{self.name}.hook_pattern", scores.softmax(dim=-1))  # [b h q k]
        return torch.einsum("bhqk,bkhe->bqhe", pattern, v)

    W_Q = property(lambda self: self.W_QKV[:, 0].transpose(0, 1), doc="[h d e], a view.")
    W_K = property(lambda self: self.W_QKV[:, 1].transpose(0, 1), doc="[h d e], a view.")
    W_V = property(lambda self: self.W_QKV[:, 2].transpose(0, 1), doc="[h d e], a view.")
    b_Q = property(lambda self: self.b_QKV[0], doc="[h e], a view.")
    b_K = property(lambda self: self.b_QKV[1], doc="[h e], a view.")
    b_V = property(lambda self: self.b_QKV[2], doc="[h e], a view.")


def is_future(q: Tensor, k: Tensor) -> Tensor:  # [b q h e], [b k h e] -> [q k]
    """True where the key comes after the query; the queries are the last of the key positions."""
    n_q, n_k = q.shape[1], k.shape[1]
    return torch.ones(n_q, n_k, dtype=torch.bool, device=q.device).triu(n_k - n_q + 1)


def attend_fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend without keeping scores or pattern, in one kernel: the shapes of Attention.attend."""
    n_q, n_k = q.shape[1], k.shape[1]
    whole_text = n_q == n_k
    allowed = None if whole_text or n_q == 1 else ~is_future(q, k)  # [q k]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [b h q e], [b h k e] x 2
    z = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=whole_text)
    return z.transpose(1, 2)


class MLP(nn.Module):
    """x -> gelu(x W_in + b_in) W_out + b_out."""

    def __init__(self, cfg: ModelConfig, layer: int):
        super().__init__()
        self.name = f"blocks.{layer}.mlp"
        self.W_in = nn.Parameter(torch.empty(cfg.d_model, cfg.d_mlp))
        self.b_in = nn.Parameter(torch.zeros(cfg.d_mlp))
        self.W_out = nn.Parameter(torch.empty(cfg.d_mlp, cfg.d_model))
        self.b_out = nn.Parameter(torch.zeros(cfg.d_model))

    def forward(self, x: Tensor, tap: Tap = UNTAPPED) -> Tensor:  # [b p d] -> [b p d]
        pre = tap(f"{self.name}.hook_pre", affine(x, self.W_in, self.b_in))  # [b p m]
        # Note: GPT-2's gelu is the tanh approximation; the exact one differs by up to 5e-4.
        post = tap(f"{self.name}.hook_post", F.gelu(pre, approximate="tanh"))  # [b p m]
        return affine(post, self.W_out, self.b_out)


class Block(nn.Module):
    """One layer: attention, then the MLP, each reads the residual stream and adds to it."""

    def __init__(self, cfg: ModelConfig, layer: int):
        super().__init__()
        self.name = f"blocks.{layer}"
        self.ln1 = LayerNorm(cfg, f"{self.name}.ln1")
        self.attn = Attention(cfg, layer)
        self.ln2 = LayerNorm(cfg, f"{self.name}.ln2")
        self.mlp = MLP(cfg, layer)

    def forward(self, resid: Tensor, tap: Tap = UNTAPPED, past: Past | None = None) -> Tensor:
        # [b p d] -> [b p d]
        resid = tap(f"{self.name}.hook_resid_pre", resid)
        attn_out = tap(f"{self.name}.hook_attn_out", self.attn(self.ln1(resid, tap), tap, past))
        resid = tap(f"{self.name}.hook_resid_mid", resid + attn_out)
        mlp_out = tap(f"{self.name}.hook_mlp_out", self.mlp(self.ln2(resid, tap), tap))
        return tap(f"{self.name}.hook_resid_post", resid + mlp_out)


class Transformer(nn.Module):
    """GPT-2: a residual stream that starts as token + position and that every block adds to."""

    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.cfg = cfg
        self.W_E = nn.Parameter(torch.empty(cfg.d_vocab, cfg.d_model))
        self.W_pos = nn.Parameter(torch.empty(cfg.n_ctx, cfg.d_model))
        self.blocks = nn.ModuleList(Block(cfg, layer) for layer in range(cfg.n_layers))
        self.ln_final = LayerNorm(cfg, "ln_final")
        self.lm_head = self.W_E if cfg.tied else nn.Parameter(torch.empty(cfg.d_vocab, cfg.d_model))
        self.register_buffer("b_U", torch.zeros(cfg.d_vocab), persistent=False)  # GPT-2 has none
        if not self.W_E.is_meta:
            self.init_weights()

    def forward(self, tokens: Tensor, tap: Tap = UNTAPPED,
                stop: int | None = None, past: Past | None = None) -> Tensor:  # fmt: skip
        """Token ids [b p] -> logits [b p v]; or the stream [b p d] that enters block `stop`."""
        resid = self.embed(tokens, tap, start=past.length if past else 0)  # [b p d]
        resid = self.run_blocks(resid, stop=stop, tap=tap, past=past)  # [b p d]
        if stop is not None:
            return resid
        resid_normed = tap("unembed.hook_in", self.ln_final(resid, tap))  # [b p d]
        return tap("unembed.hook_out", self.unembed(resid_normed))

    def embed(self, tokens: Tensor, tap: Tap = UNTAPPED, start: int = 0) -> Tensor:
        """Look up token and position, the first being `start`: ids [b p] -> stream [b p d]."""
        embed = tap("hook_embed", self.W_E[tokens])  # [b p d]
        positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)  # [p]
        pos_embed = tap("hook_pos_embed", self.W_pos[positions].expand_as(embed))  # [b p d]
        return embed + pos_embed

    def run_blocks(self, resid: Tensor, start: int = 0, stop: int | None = None,
                   tap: Tap = UNTAPPED, past: Past | None = None) -> Tensor:  # fmt: skip
        """Run blocks start to stop (exclusive; None: to the end): [b p d] -> [b p d]."""
        for block in list(self.blocks)[start:stop]:
            resid = block(resid, tap, past)
        return resid

    def unembed(self, resid_normed: Tensor) -> Tensor:
        """Compare the normed residual stream with every token: [... d] -> logits [... v]."""
        return F.linear(resid_normed, self.lm_head, self.b_U)

    W_U = property(lambda self: self.lm_head.T, doc="[d v], a view.")

    @torch.no_grad()
    def init_weights(self) -> None:
        """Draw as GPT-2 does: N(0, 0.02), for what writes to the stream times 1/sqrt(2 l)."""
        for name, weight in self.named_parameters():
            if weight.ndim > 1 and not name.endswith("b_QKV"):
                writes = name.endswith(("attn.W_O", "mlp.W_out"))
                weight.normal_(std=0.02 / (math.sqrt(2 * self.cfg.n_layers) if writes else 1))

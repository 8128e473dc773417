"""The instrument: the transformer with text at both ends, and every activation within reach.

    model = HookedTransformer.from_pretrained("world")
    logits, cache = model.run_with_cache(prompt)
    patched = model.run_with_hooks(prompt, fwd_hooks=[("blocks.1.attn.hook_z", hook)])

Each run makes its own `Tap` and drops it. Names and behaviour are TransformerLens's, so that code
written for it runs by changing the import; where they differ, the README's name table says so.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from minimech import MinimechError
from minimech.cache import ActivationCache
from minimech.files import beside
from minimech.hooks import Filter, Hook, Tap, site_shapes
from minimech.model import ModelConfig, Past, Transformer
from minimech.tokens import PAD, Tokenizer, check_tokens, pad

Prompt = str | Sequence[str] | Tensor
Hooks = Sequence[tuple[Filter, Hook]]


class HookedTransformer(Transformer):
    """A GPT-2 that takes text and opens at any activation."""

    def __init__(self, cfg: ModelConfig, tokenizer: Tokenizer | None = None):
        super().__init__(cfg)
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, name: str | Path = "world", device="cpu") -> "HookedTransformer":
        """Load "world" (ships with the repo), "gpt2", "gpt2-medium", ... or a folder; frozen."""
        from minimech.weights import from_pretrained

        return from_pretrained(name, device)

    # ---- running ------------------------------------------------------------------------------

    def forward(
        self, input: Prompt, return_type="logits", prepend_bos=True, stop_at_layer=None, past=None
    ):
        """Run the model: text or tokens -> logits [b p v].

        `return_type`: "logits", "loss" (mean next-token cross-entropy in nats), "both" or None.
        `stop_at_layer`: return the residual stream [b p d] that enters that layer instead.
        `past`: keys and values of the positions before `input`; this run extends it.
        """
        return self.run_with_hooks(input, (), return_type, prepend_bos, stop_at_layer, past)

    def run_with_hooks(
        self, input: Prompt, fwd_hooks: Hooks = (), return_type="logits", prepend_bos=True,
        stop_at_layer: int | None = None, past: Past | None = None,
    ):  # fmt: skip
        """Run the model with `hook(activation, hook)` called at each named site; see hooks.py.

        Raises: MinimechError if a name matches no site, a hook was never reached, or what it
        returned is no tensor of the activation's shape, dtype and device.
        """
        rest = return_type, prepend_bos, stop_at_layer, past, fwd_hooks
        return self.run_with_cache(input, (), *rest)[0]  # nothing is saved

    def run_with_cache(
        self, input: Prompt, names_filter: Filter | None = None, return_type="logits",
        prepend_bos=True, stop_at_layer: int | None = None, past: Past | None = None,
        fwd_hooks: Hooks = (),
    ) -> tuple[Tensor, ActivationCache]:  # fmt: skip
        """Run the model and save activations, after any hooks: -> logits [b p v], cache.

        `names_filter`: a name, a glob ("blocks.*.hook_resid_post"), a predicate, or a list of
        these; None saves every activation that the run reaches.
        """
        n_layers, start = self.cfg.n_layers, past.length if past else 0
        tokens = self._tokens(input, prepend_bos, past)
        if stop_at_layer is not None and stop_at_layer not in range(-n_layers, n_layers + 1):
            stop = f"stop_at_layer {stop_at_layer!r}"
            raise MinimechError(f"{stop} is not a layer: this model has {n_layers}")
        if stop_at_layer is not None and past and past.grows:
            raise MinimechError(
                "a `past` that grows needs all layers: stop_at_layer leaves some out"
            )
        if return_type not in ("logits", "loss", "both", None):
            raise MinimechError(f"return_type is 'logits', 'loss' or 'both', not {return_type!r}")
        tap = Tap(site_shapes(n_layers), fwd_hooks, names_filter, tokens == PAD, start)
        here = Past(past.layers) if past else None  # a run that fails leaves `past` as it was
        output = super().forward(tokens.clamp(min=0), tap, stop_at_layer, here)
        tap.check_all_fired()
        if past and past.grows:
            past.layers = here.layers
        output = tap.hide("output", output)
        if stop_at_layer is None and return_type in ("loss", "both"):
            loss = self.loss_fn(output, tokens)
            output = loss if return_type == "loss" else (output, loss)
        cache = ActivationCache(tap.saved, self, tokens, start)
        return None if return_type is None else output, cache

    def loss_fn(self, logits: Tensor, tokens: Tensor, per_token: bool = False) -> Tensor:
        """Cross-entropy of each next token in nats: [b p v], [b p] -> mean, or [b p-1] per token.

        Beyond a prompt's end there is nothing to predict: 0 per token, and not counted in the mean.
        """
        if tokens.shape[1] < 2:
            raise MinimechError("a loss needs two tokens: one to predict from, one to predict")
        targets = tokens[:, 1:].to(logits.device)  # [b p-1]
        rows = logits[:, :-1].flatten(0, 1)  # [b*(p-1) v]
        losses = F.cross_entropy(rows, targets.flatten(), ignore_index=PAD, reduction="none")
        losses = losses.view(targets.shape)  # [b p-1]
        return losses if per_token else losses.sum() / (targets != PAD).sum()

    @torch.no_grad()
    def generate(
        self, input: Prompt, max_new_tokens: int = 10, temperature: float = 0.0,
        top_k: int | None = None, seed: int | None = None, stop_at_eos=True, prepend_bos=True,
        use_past_kv_cache=True, fwd_hooks: Hooks = (),
    ):  # fmt: skip
        """Continue a prompt: greedily at temperature 0, else sampled, the same for the same seed.

        Text gives text (prompt included), a list of texts a list, each as if alone and with the
        same seed; tokens [b p] give tokens. Each step runs only the new position: `past` keeps
        what came before. Hooks see the positions of their step, and `hook.start` says where in
        the text these begin.
        """
        fwd_hooks = list(fwd_hooks)  # they serve every step
        if is_texts(input):
            rest = max_new_tokens, temperature, top_k, seed, stop_at_eos, prepend_bos
            return [self.generate(text, *rest, use_past_kv_cache, fwd_hooks) for text in input]
        tokens = self._tokens(input, prepend_bos)
        self._check_generation(tokens, max_new_tokens, temperature, top_k)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        eos = self.tokenizer.bos if stop_at_eos and self.tokenizer else None
        done = torch.zeros(len(tokens), 1, dtype=torch.bool)
        past = Past() if use_past_kv_cache else None
        for _ in range(max_new_tokens):
            new = tokens[:, past.length :] if past else tokens
            logits = self.run_with_hooks(new, fwd_hooks, past=past)[:, -1].cpu()  # [b v]
            token = choose(logits, temperature, top_k, generator)  # [b 1]
            token = token.masked_fill(done, eos or 0)
            tokens = torch.cat([tokens, token.to(tokens.device)], dim=1)
            done |= token == eos if eos is not None else done
            if done.all():
                break
        return self.to_string(tokens[0, int(prepend_bos) :]) if isinstance(input, str) else tokens

    # ---- text ---------------------------------------------------------------------------------

    def to_tokens(self, text: str | Sequence[str], prepend_bos: bool = True) -> Tensor:
        """Turn text into token ids [b p]; several texts are padded on the right with PAD (-1)."""
        tokenizer = self._tokenizer()
        texts = [text] if isinstance(text, str) else list(text)
        if not texts or not all(texts):
            raise MinimechError("the prompt is empty; give it text, or the id of the BOS token")
        if prepend_bos and tokenizer.bos is None:
            raise MinimechError("this tokenizer has no BOS token; pass prepend_bos=False")
        bos = [tokenizer.bos] if prepend_bos else []
        return pad([bos + tokenizer.encode(one) for one in texts]).to(self.W_E.device)

    def to_str_tokens(self, input: Prompt, prepend_bos: bool = True) -> list:
        """Turn one text or row of tokens into token strings; a list of texts into lists."""
        if is_texts(input):
            return [self.to_str_tokens(one, prepend_bos) for one in input]
        if isinstance(input, str):
            input = self.to_tokens(input, prepend_bos)
        tokens = torch.as_tensor(input)
        if tokens.ndim == 2 and len(tokens) > 1:
            return [self.to_str_tokens(row) for row in tokens]
        return [self._tokenizer().decode([i]) for i in tokens.flatten().tolist() if i != PAD]

    def to_single_token(self, text: str) -> int:
        """Return the id of a text that is exactly one token. Raises MinimechError if it is not."""
        ids = self._tokenizer().encode(text)
        if len(ids) != 1:
            pieces = [self._tokenizer().decode([i]) for i in ids]
            spaced = f" (did you mean {' ' + text!r}, with its space?)"
            hint = "" if text.startswith(" ") else spaced
            raise MinimechError(f"{text!r} is {len(ids)} tokens, {pieces}; one was expected{hint}")
        return ids[0]

    def to_string(self, tokens) -> str | list[str]:
        """Turn token ids into text: an id or a row [p] into a string, a batch into a list."""
        tokens = torch.as_tensor(tokens)
        if tokens.ndim == 2:
            return [self.to_string(row) for row in tokens]
        return self._tokenizer().decode(tokens.flatten().tolist())

    # ---- weights stacked over layers (copies; those of each block are the model's memory) -----

    W_Q = property(lambda self: self._stack("attn", "W_Q"), doc="[l h d e]")
    W_K = property(lambda self: self._stack("attn", "W_K"), doc="[l h d e]")
    W_V = property(lambda self: self._stack("attn", "W_V"), doc="[l h d e]")
    W_O = property(lambda self: self._stack("attn", "W_O"), doc="[l h e d]")
    b_Q = property(lambda self: self._stack("attn", "b_Q"), doc="[l h e]")
    b_K = property(lambda self: self._stack("attn", "b_K"), doc="[l h e]")
    b_V = property(lambda self: self._stack("attn", "b_V"), doc="[l h e]")
    b_O = property(lambda self: self._stack("attn", "b_O"), doc="[l d]")
    W_in = property(lambda self: self._stack("mlp", "W_in"), doc="[l d m]")
    b_in = property(lambda self: self._stack("mlp", "b_in"), doc="[l m]")
    W_out = property(lambda self: self._stack("mlp", "W_out"), doc="[l m d]")
    b_out = property(lambda self: self._stack("mlp", "b_out"), doc="[l d]")

    def processed(self, **options) -> "HookedTransformer":
        """Return a copy with folded, centred weights; options: see weights/processed.py."""
        return beside("weights.processed").processed(self, **options)

    # ---- the few lines behind all of these ----------------------------------------------------

    def _tokens(self, input: Prompt, prepend_bos: bool, past: Past | None = None) -> Tensor:
        """Return a prompt as token ids [b p], the first at the position after `past`."""
        start = past.length if past else 0
        is_text = isinstance(input, str) or is_texts(input)
        tokens = self.to_tokens(input, prepend_bos and start == 0) if is_text else input
        tokens = check_tokens(tokens, self.cfg.d_vocab, self.cfg.n_ctx - start).to(self.W_E.device)
        if past and (tokens == PAD).any():
            raise MinimechError("with `past`, all prompts of a batch must have the same length")
        if past and not past.fits(self.cfg, len(tokens)):
            raise MinimechError("this `past` is of another model, or of a batch of another size")
        return tokens

    def _check_generation(self, tokens, max_new_tokens, temperature, top_k) -> None:
        if (tokens == PAD).any():
            raise MinimechError("generate takes rows of one length; pass a list of texts instead")
        if temperature < 0 or (top_k is not None and top_k < 1) or max_new_tokens < 1:
            raise MinimechError("generate needs temperature >= 0, top_k >= 1, max_new_tokens >= 1")
        n, n_ctx = tokens.shape[1], self.cfg.n_ctx
        if n + max_new_tokens > n_ctx:
            asked = f"{n} tokens and {max_new_tokens} new ones do not fit"
            room = f"this model's {n_ctx} positions; at most {n_ctx - n} new ones do"
            raise MinimechError(f"{asked} into {room}")

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            name = self.cfg.model_name
            raise MinimechError(f"model {name!r} came without a tokenizer; pass token ids")
        return self.tokenizer

    def _stack(self, part: str, weight: str) -> Tensor:
        return torch.stack([getattr(getattr(block, part), weight) for block in self.blocks])


def is_texts(input) -> bool:
    """Is this a list of texts, rather than of token ids?"""
    is_list = isinstance(input, (list, tuple)) and len(input) > 0
    return is_list and all(isinstance(one, str) for one in input)


def choose(logits: Tensor, temperature: float, top_k: int | None, generator) -> Tensor:
    """Pick the next token: logits [b v] -> id [b 1]; the largest at temperature 0, else sampled."""
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]  # [b 1]
        logits = logits.masked_fill(logits < least, float("-inf"))
    return torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)

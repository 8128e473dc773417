"""Make the stored reference outputs, in a throw-away environment that holds the other libraries.

From the repository's root (PROVENANCE.md has the versions that were used):

    python3 -m venv ../refenv
    ../refenv/bin/pip install torch==2.13.0 transformers==5.23.0 transformer-lens==3.9.0 \\
        numpy==2.4.6 safetensors==0.8.0
    ../refenv/bin/python tests/reference/make_references.py

Nothing here imports minimech: Hugging Face's GPT2LMHeadModel and TransformerLens's
HookedTransformer get the random weights of tests/checkpoints.py and say what they compute. No
network is used. Running it again gives the same bits on the same kind of processor, and the same
numbers to float32's rounding on another.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402
from checkpoints import GPT2_SMALL, SEEDS, TINY, TINY_UNTIED, random_checkpoint  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformer_lens import HookedTransformer, HookedTransformerConfig  # noqa: E402
from transformer_lens.pretrained.weight_conversions.gpt2 import convert_gpt2_weights  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel  # noqa: E402

PROMPTS = {  # chosen by hand; the last prompt of a pair shares no prefix with the first
    "tiny": [[60, 3, 41, 17, 3, 41, 59, 0, 22], [7, 7, 52, 30, 12, 48, 1, 7, 52]],
    "gpt2_small": [
        [50256, 2215, 1757, 290, 5335, 1816, 284, 262, 3650, 11, 1757, 2921],
        [8, 50255, 31373, 995, 0, 198, 40, 716, 257, 1332, 13, 464],
    ],
    # Of 1,500 tried, those that wander longest before a repeat and are never within 0.02 of a tie.
    "greedy": [[28, 16, 23], [38, 11, 21]],
}
COLUMNS = 512  # of the logits at positions other than the last, every 512th is kept


def hf_model(config: dict, seed: int) -> GPT2LMHeadModel:
    """Build Hugging Face's model on the random weights, eager attention."""
    weights = {name: torch.from_numpy(w) for name, w in random_checkpoint(config, seed).items()}
    model = GPT2LMHeadModel(GPT2Config(**config, attn_implementation="eager")).eval()
    head = weights.pop("lm_head.weight", weights["wte.weight"])
    named = {f"transformer.{name}": weight for name, weight in weights.items()}
    model.load_state_dict(named | {"lm_head.weight": head}, strict=True)
    return model


def tl_model(config: dict, hf: GPT2LMHeadModel) -> HookedTransformer:
    """Build TransformerLens's model on the same weights, by its own conversion, nothing folded."""
    d, h = config["n_embd"], config["n_head"]
    cfg = HookedTransformerConfig(
        n_layers=config["n_layer"],
        n_heads=h,
        d_model=d,
        d_head=d // h,
        d_mlp=config.get("n_inner") or 4 * d,
        n_ctx=config["n_positions"],
        d_vocab=config["vocab_size"],
        act_fn="gelu_new",
        eps=config["layer_norm_epsilon"],
        normalization_type="LN",
        attention_dir="causal",
        device="cpu",
        init_weights=False,
    )
    model = HookedTransformer(cfg)
    weights = {name: w.detach().clone() for name, w in convert_gpt2_weights(hf, cfg).items()}
    left = model.load_state_dict(weights, strict=False)
    silent = ("mask", "IGNORE", "b_U")  # buffers, and a bias that GPT-2 has not: made zero below
    assert not left.unexpected_keys
    assert all(name.endswith(silent) for name in left.missing_keys), left.missing_keys
    torch.nn.init.zeros_(model.unembed.b_U)
    return model.eval()


def save(name: str, tensors: dict[str, torch.Tensor], **facts) -> None:
    """Write tests/reference/<name>.safetensors; the facts are its metadata, one JSON text.

    One, because safetensors writes several entries of metadata in any order: the file's hash would
    change from run to run.
    """
    tensors = {key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()}
    save_file(tensors, HERE / f"{name}.safetensors", metadata={"facts": json.dumps(facts)})
    (HERE / f"{name}.safetensors").chmod(0o644)
    print(f"{name}: {len(tensors)} tensors; {facts if len(str(facts)) < 400 else list(facts)}")


def sites(name: str, config: dict) -> None:
    """Write every named activation of a tiny model, with both libraries' logits."""
    hf = hf_model(config, SEEDS[name])
    tokens = torch.tensor(PROMPTS["tiny"])  # [b p]
    logits, cache = tl_model(config, hf).run_with_cache(tokens)
    hf_logits = hf(tokens).logits
    stored = {f"tl/{site}": activation for site, activation in cache.items()}
    stored |= {"tokens": tokens, "tl/logits": logits, "hf/logits": hf_logits}
    difference = (logits - hf_logits).abs().max().item()
    save(name, stored, seed=SEEDS[name], order=list(cache.keys()), tl_minus_hf=difference)


def processed(name: str, config: dict) -> None:
    """Write the weights as TransformerLens folds and centres them, and what they answer."""
    hf = hf_model(config, SEEDS[name])
    tokens = torch.tensor(PROMPTS["tiny"])
    stored = {"tokens": tokens, "logits_before": tl_model(config, hf)(tokens)}
    flags = {"fold_ln": True, "center_writing_weights": True, "center_unembed": True}
    for kind, fold_value_biases in (("processed", False), ("default", True)):
        model = tl_model(config, hf)
        model.load_and_process_state_dict(
            model.state_dict(), **flags, fold_value_biases=fold_value_biases
        )
        logits, cache = model.run_with_cache(tokens)
        stored |= {f"{kind}/logits": logits, f"{kind}/log_probs": logits.log_softmax(-1)}
        stored |= {f"{kind}/resid_post": cache["resid_post", config["n_layer"] - 1]}
        stored |= {
            f"{kind}/weights/{key}": weight
            for key, weight in model.state_dict().items()
            if key.split(".")[-1] not in ("mask", "IGNORE")
            and (kind == "processed" or key.endswith(("b_V", "b_O")))
        }
    before, after = stored["logits_before"], stored["processed/log_probs"]
    difference = (before.log_softmax(-1) - after).abs().max().item()
    save(f"{name}_processed", stored, seed=SEEDS[name], flags=flags, log_probs_moved=difference)


def decompositions() -> None:
    """Write the residual stream taken apart, on weights as they are and on processed ones.

    Note: TransformerLens's logit_attrs has no ln_final.w in it: on weights as they are ("raw") its
    parts do not add up to a logit. On processed weights they do, less b_U.
    """
    config, seed = TINY_UNTIED, SEEDS["tiny_untied"]
    tokens = torch.tensor(PROMPTS["tiny"][:1])
    answers, others = torch.tensor([5]), torch.tensor([44])
    stored, labels = {"tokens": tokens, "answers": answers, "others": others}, {}
    for kind in ("raw", "processed"):
        model = tl_model(config, hf_model(config, seed))
        if kind == "processed":
            model.load_and_process_state_dict(model.state_dict(), fold_value_biases=False)
        logits, cache = model.run_with_cache(tokens)
        parts, labels["decompose_resid"] = cache.decompose_resid(return_labels=True)
        heads, labels["stack_head_results"] = cache.stack_head_results(
            return_labels=True, incl_remainder=True
        )
        running, labels["accumulated_resid"] = cache.accumulated_resid(
            incl_mid=True, return_labels=True
        )
        found = {
            "logits": logits,
            "decompose_resid": parts,
            "decompose_resid_up_to_2_mlp_input": cache.decompose_resid(2, mlp_input=True),
            "stack_head_results": heads,
            "accumulated_resid": running,
            "accumulated_resid_lens": cache.accumulated_resid(incl_mid=True, apply_ln=True),
            "apply_ln_to_stack/decompose_resid": cache.apply_ln_to_stack(parts),
            "apply_ln_to_stack/stack_head_results": cache.apply_ln_to_stack(heads),
            "apply_ln_to_stack/accumulated_resid": cache.apply_ln_to_stack(running),
            "apply_ln_to_stack/decompose_resid_layer_1": cache.apply_ln_to_stack(parts, layer=1),
            "logit_attrs/decompose_resid": cache.logit_attrs(parts, answers),
            "logit_attrs_difference/decompose_resid": cache.logit_attrs(parts, answers, others),
            "logit_attrs_difference/stack_head_results": cache.logit_attrs(heads, answers, others),
        }
        stored |= {f"{kind}/{name}": tensor for name, tensor in found.items()}
    save("tiny_decompositions", stored, seed=seed, labels=labels)


def gpt2_shapes() -> None:
    """Write logits at GPT-2 small's exact shapes: a float64 truth and two float32 witnesses."""
    hf = hf_model(GPT2_SMALL, SEEDS["gpt2_small"])
    tokens = torch.tensor(PROMPTS["gpt2_small"])
    witnesses = {"hf": hf(tokens).logits}
    witnesses["tl"] = tl_model(GPT2_SMALL, hf)(tokens)
    truth = hf.double()(tokens, output_hidden_states=True)
    logits = truth.logits  # [b p v], float64
    # The layers' outputs; the last of HF's hidden states has ln_f already applied.
    resid_pre = torch.stack(truth.hidden_states[:-1])  # [l b p d]: resid_pre of layers 0 to 11
    losses = -logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]  # [b p-1]
    stored = {
        "tokens": tokens,
        "float64/logits_last": logits[:, -1].float(),
        "float64/logits_columns": logits[:, :, ::COLUMNS].float(),
        "float64/losses": losses,
        "float64/resid_pre_norms": resid_pre.norm(dim=-1),
        "float64/resid_pre_columns": resid_pre[..., ::48].float(),
        "float64/resid_normed_columns": truth.hidden_states[-1][..., ::48].float(),
    }
    errors = {}
    for name, found in witnesses.items():
        stored[f"{name}/logits_columns"] = found[:, :, ::COLUMNS]
        errors[name] = ((found - logits).abs().max() / logits.abs().max()).item()
    save(
        "gpt2_shapes",
        stored,
        seed=SEEDS["gpt2_small"],
        columns=COLUMNS,
        resid_columns=48,
        largest_logit=logits.abs().max().item(),
        loss=losses.mean().item(),
        relative_error_of_float32=errors,
    )


def generations() -> None:
    """Write greedy continuations; they are the same with keys and values reused and without."""
    for name, config in (("tiny_tied", TINY), ("tiny_untied", TINY_UNTIED)):
        model = hf_model(config, SEEDS[name])
        prompts, runs = torch.tensor(PROMPTS["greedy"]), {}
        for use_cache in (True, False):
            runs[use_cache] = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=20,
                do_sample=False,
                use_cache=use_cache,
                pad_token_id=config["eos_token_id"],
                eos_token_id=None,
                output_logits=True,
                return_dict_in_generate=True,
            )
        assert torch.equal(runs[True].sequences, runs[False].sequences)
        logits = torch.stack(runs[True].logits, dim=1)  # [b step v]
        best = logits.topk(2).values
        margin = (best[..., 0] - best[..., 1]).min().item()
        stored = {"prompts": prompts, "tokens": runs[True].sequences, "logits": logits}
        save(f"{name}_greedy", stored, seed=SEEDS[name], smallest_margin=margin)
        print(runs[True].sequences.tolist())


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    for name, config in (("tiny_tied", TINY), ("tiny_untied", TINY_UNTIED)):
        sites(name, config)
        processed(name, config)
    decompositions()
    generations()
    gpt2_shapes()


if __name__ == "__main__":
    main()

"""What `make verify` compares a model with: four sources of rows, each a function (model, folder).

`published`: figures that others printed of GPT-2 small (tests/reference/gpt2_published.json, whose
`_schema` is the key to `measure`). `recorded`: what lies beside a model. `otherwise`: NumPy in
float64, and the same model run in other ways. `transformer_lens`: its answers on random weights.

Much was published of folded and centred weights. That moves nothing that is compared here
(differences, probabilities, parts centred and scaled), except what is one head's: b_V may have
moved into b_O, and the head's part be without b_V @ W_O. TransformerLens does so since its pull
request 116 (December 2022); the sources stand on both sides of it, so the nearer one counts.
"""

import tempfile
from math import inf, isnan
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from minimech.cache import ActivationCache
from minimech.files import SHIPPED, read_json
from minimech.hooked import HookedTransformer
from minimech.verify import FIGURES
from minimech.weights import flat, layout, load, open_tensors
from tests.checkpoints import SEEDS, TINY, TINY_UNTIED, write_checkpoint
from tests.oracle import forward
from weights.sums import read_sums, sha256


class Row(NamedTuple):
    """One comparison. `source` says whose number is expected."""

    what: str
    expected: object
    got: object
    difference: float
    tolerance: float
    source: str

    def __str__(self) -> str:
        seen = [f"{x:.6g}" if isinstance(x, float) else repr(x)[:12] for x in self[1:3]]
        ok = "pass" if self.difference <= self.tolerance else "FAIL"
        return f"{self.what[:50]:50} {seen[0]:>12} {seen[1]:>12} {self[3]:8.1e} {ok}  {self.source}"


def worst(rows) -> Row:
    """Pick the row that fills most of its tolerance, or exceeds it most."""
    return max(rows, key=lambda row: row.difference / (row.tolerance or 1e-300))


def compare(what: str, expected, got, tolerance, source: str) -> Row:
    """Compare numbers (absolutely), texts, lists and dicts of them; a dict may allow by field."""
    if isinstance(expected, dict):
        allowed = tolerance if isinstance(tolerance, dict) else dict.fromkeys(expected, tolerance)
        fields = [(expected[name], got[name], allowed.get(name, 0)) for name in expected]
        return worst(compare(what, *field, source) for field in fields)
    if isinstance(expected, list):
        pairs = zip(expected, got, strict=True)
        return worst(compare(what, *pair, tolerance, source) for pair in pairs)
    text = isinstance(expected, str)
    apart = (0 if expected == got else inf) if text else abs(expected - got)
    return Row(what, expected, got, inf if isnan(apart) else apart, tolerance, source)


def relative(what: str, expected, got: torch.Tensor, source: str) -> Row:
    """Compare tensors relative to the largest number that is expected; bar 2e-5."""
    expected, got = torch.as_tensor(expected).double().flatten(), got.double().flatten()
    scale = expected[expected.isfinite()].abs().max()
    apart = torch.where(expected == got, 0, (expected - got).abs() / scale).nan_to_num(nan=inf)
    at = apart.argmax()
    return Row(what, expected[at].item(), got[at].item(), apart[at].item(), 2e-5, source)


def published(model: HookedTransformer, folder: Path):
    """Compare GPT-2 small with published figures, but for files that minimech has no need of."""
    figures = read_json(FIGURES / "gpt2_published.json")
    entries = {entry["id"]: entry for entry in figures["entries"]}
    for entry, models in both_ways(model, entries) if model.cfg.model_name == "gpt2" else ():
        if entry["kind"] != "file" or (folder / entry["file"]).exists():
            what, rest = f"{entry['id']} {entry['what']}", (entry["tolerance"], entry["source"])
            got = [measure(one, entry, entries, folder) for one in models]
            rows = [compare(what, entry["expected"], one, *rest) for one in got]
            yield min(rows, key=lambda row: row.difference)


def recorded(model: HookedTransformer, folder: Path):
    """Compare with what lies beside the model: its files' hashes, its card's answers."""
    if folder.parent == SHIPPED and not read_sums(folder):
        yield compare(
            "SHA256SUMS, which all that ships has", "there", "missing", 0, str(folder.name)
        )
    for file, expected in read_sums(folder).items():
        yield compare(f"sha256 of {file}", expected, sha256(folder / file), 0, "SHA256SUMS")
    card = read_json(folder / "card.json") if (folder / "card.json").exists() else {}
    for case in card.get("canonical", ()):
        logits = model(case["prompt"])[0, -1]  # [v]
        right, wrong = (model.to_single_token(case[name]) for name in ("answer", "other"))
        got = {"answer": model.to_string(logits.argmax())}
        got["logit_diff"] = (logits[right] - logits[wrong]).item()
        wanted = {field: case[field] for field in got}
        yield compare(case["prompt"], wanted, got, {"logit_diff": 1e-3}, "card.json")


def otherwise(model: HookedTransformer, folder: Path):
    """Compare logits with an independent forward, and the model with itself run in other ways."""
    n, layers = min(12, model.cfg.n_ctx), model.cfg.n_layers
    tokens = (torch.arange(2 * n) * 37).view(2, n) % model.cfg.d_vocab  # [2 n]
    weights = {name: tensor.float().numpy() for name, tensor in open_tensors(folder).items()}
    config = {"layer_norm_epsilon": model.cfg.ln_eps} | read_json(folder / "config.json")
    logits, (explicit, cache) = model(tokens), model.run_with_cache(tokens)  # [2 n v]
    resumed = model(tokens[:, n // 2 :], past=cache.past(n // 2))
    stream, best = cache.decompose(heads=True).values.sum(0), explicit[:, -1].max(-1)
    parts = cache.logit_attribution(best.indices, heads=True).values.sum(0)
    truth = forward(weights, config, tokens.tolist())[0]
    yield relative("logits, relative to the largest", truth, logits, "NumPy in float64")
    here = "the same, run otherwise"
    yield relative("logits, with pattern computed", logits, explicit, here)
    yield relative("logits, from past keys and values", logits[:, n // 2 :], resumed, here)
    yield relative("residual stream, from its parts", cache["resid_post", layers - 1], stream, here)
    yield relative("likeliest token's logit, from its parts", best.values, parts, here)


def transformer_lens(model: HookedTransformer, folder: Path):
    """Compare every activation with TransformerLens's stored ones, on two random checkpoints."""
    for name, config in (("tiny_tied", TINY), ("tiny_untied", TINY_UNTIED)):
        with tempfile.TemporaryDirectory() as aside:
            stored = load_file(FIGURES / f"{name}.safetensors")
            tiny = load(write_checkpoint(aside, config, SEEDS[name]))
            cache = tiny.run_with_cache(stored["tokens"])[1]
            what, source = f"{name}: {len(cache)} activations, worst", "TransformerLens 3.9.0"
            pairs = [(site, stored[f"tl/{site}"], cache[site]) for site in cache]
            yield worst(relative(f"{what} {site}", one, ours, source) for site, one, ours in pairs)


def both_ways(model: HookedTransformer, entries: dict[str, dict]):
    """Yield each entry with the models it may mean: this one; for heads also one with b_V moved."""
    moved = model.processed(fold_value_biases=True)
    for entry in entries.values():
        by_head = entry.get("by") == "head" or "head" in entry or "ablation_of" in entry
        yield entry, [model, moved] if by_head else [model]


def measure(model: HookedTransformer, entry: dict, entries: dict[str, dict], folder: Path):
    """Return what an entry is about, in the form of its `expected`: a number, lists or a dict."""
    kind, expected = entry["kind"], entry["expected"]
    if kind == "parameters":
        return sum(weight.numel() for weight in model.parameters())
    if kind == "file":
        path = folder / entry["file"]
        return {"sha256": sha256(path), "bytes": path.stat().st_size}
    if kind in ("weight", "weight_std"):
        ours = layout(model.cfg)[entry["tensor"]]
        weight = flat(ours, model.get_parameter(ours)).flatten()
        return weight[:4].tolist() if kind == "weight" else weight.std(correction=0).item()
    tokens = torch.tensor(entries[entry.get("prompts_of", entry["id"])]["tokens"])  # [b p]
    if kind == "loss":
        return model(tokens, return_type="loss").item()
    if kind == "generation":
        run = model.generate(tokens, len(expected["ids"]), stop_at_eos=False)[0, tokens.shape[1] :]
        return {"ids": run.tolist(), "text": model.to_string(run)}
    return measure_run(model, entry, entries, tokens)


def measure_run(model: HookedTransformer, entry: dict, entries: dict[str, dict], tokens: Tensor):
    """Return what an entry says of one forward pass, ablated where it or its `ablation_of` says."""
    kind, asked = entry["kind"], entries[entry.get("prompts_of", entry["id"])]
    cut = entries[entry.get("ablation_of", entry["id"])]

    def zero(z, hook):  # [b p h e]
        z[:, cut["positions"], cut["head"]] = 0

    hooks = [(cut["site"], zero)] if "head" in cut else []
    logits, cache = model.run_with_cache(tokens, fwd_hooks=hooks)
    if kind in ("slice", "ablated_slice"):
        return cache[entry["site"]][:, entry["positions"]][..., entry["columns"]].tolist()
    last, rows = logits[:, -1], torch.arange(len(tokens))  # [b v], [b]
    if kind == "probability":
        return last.softmax(-1)[rows, asked["answers"]].tolist()
    if kind == "topk":
        return likeliest(model, last[0], len(entry["expected"]["ids"]))
    if kind == "attribution":
        return attribution(cache, entry["by"], asked["answers"], asked["others"])
    differences = last[rows, asked["answers"]] - last[rows, asked["others"]]  # [b]
    return differences.tolist() if kind == "logit_diff" else differences.mean().item()


def likeliest(model: HookedTransformer, logits: Tensor, k: int) -> dict:
    """Describe the k likeliest next tokens: logits [v] -> the fields of a `topk` entry."""
    top = logits.topk(k)
    return {
        "ids": top.indices.tolist(),
        "strings": model.to_str_tokens(top.indices),
        "logits": top.values.tolist(),
        "logsumexp": logits.logsumexp(-1).item(),
        "probabilities": logits.softmax(-1)[top.indices].tolist(),
        "logits_below_first": (top.values[0] - top.values).tolist(),
    }


def attribution(cache: ActivationCache, by: str, answers, others) -> dict:
    """Split the mean logit difference at the last position by head or layer, or sum up layers."""
    parts = cache.logit_attribution(answers, minus=others, heads=by == "head")
    values, cfg = parts.values[:-1].mean(-1), cache.model.cfg  # [part]; ln_final's bias left out
    if by == "head":
        heads = values[[label.startswith("L") for label in parts.labels[:-1]]]
        return {"values": heads.view(cfg.n_layers, cfg.n_heads).tolist()}
    if by == "layer":
        return {"labels": parts.labels[:-1], "values": values.tolist()}
    labels = [f"{layer}_{where}" for layer in range(cfg.n_layers) for where in ("pre", "mid")]
    return {"labels": [*labels, "final_post"], "values": values.cumsum(0)[1:].tolist()}

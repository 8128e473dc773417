"""What can the world model do, and which head does it? Prints the numbers of its card.

    python weights/recipes/world_scores.py [folder]        (default: weights/world; minutes)

Behaviours are scored on sentences never trained on, the indirect object also with pairs of names
that never met in training. Each head is then tried by intervention, every other head being its
control: mean ablation (its output replaced by its mean over prompts of the same template),
exchange (its output replaced by that on the prompt whose subject is the other name), and path
patching into one later head's query alone (Wang et al. 2022).
"""

import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[2]))

from lessons.techniques.prompts import io_prompts, repeated_sequence
from minimech import HookedTransformer
from minimech.world import (
    BOS,
    IO_TEMPLATES,
    NAMES,
    VOCABULARY,
    documents,
)

TEMPLATES = tuple(range(len(IO_TEMPLATES)))
ID = {token: i for i, token in enumerate(VOCABULARY)}


def whole_sentences(document):
    """Count the leading tokens that belong to sentences begun in the document's first half.

    These always fit, so which tokens are counted does not depend on what they say: their mean
    `nll` is an unbiased estimate of the generator's entropy per token.
    """
    last = document.features[len(document.tokens) // 2]["sentence"]
    return sum(feature.get("sentence", -1) <= last for feature in document.features)


def interval(right, n):
    """95 % confidence interval of a share (Wilson 1927)."""
    z, p = 1.96, right / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def ids_of(documents):
    """Documents -> token ids [b p]."""
    return torch.tensor([[ID[token] for token in document.tokens] for document in documents])


@torch.no_grad()
def logits_of(model, ids, batch=50):
    """[b p] -> [b p v], a few rows at a time."""
    return torch.cat([model(ids[i : i + batch]) for i in range(0, len(ids), batch)])


def behaviours(model, n=400, seed="held out", unseen=False):
    """Score every graded token of n new documents: {behaviour: (right, out of)}.

    An answer that the context determines must be the first choice; where more words are possible
    (the tense of a verb, whose things) the right form must be above the wrong one.
    """
    texts = list(documents(seed, n, model.cfg.n_ctx, repeats=0.0, unseen=unseen))
    ids, counts = ids_of(texts), {}
    logits = logits_of(model, ids)
    for b, text in enumerate(texts):
        for i, feature in enumerate(text.features):
            if "behaviour" not in feature:
                continue
            row, answer = logits[b, i - 1], ids[b, i]
            sure = text.nll[i] == 0
            right = row.argmax() == answer if sure else row[answer] > row[ID[feature["wrong"]]]
            got, of = counts.get(feature["behaviour"], (0, 0))
            counts[feature["behaviour"]] = (got + int(right), of + 1)
    return counts


def loss_gap(model, n=400, seed="gap"):
    """Return (loss, entropy, standard error of their difference) in nats per token.

    Over whole sentences begun in the first half of new documents from the generator as trained
    on; the entropy is the mean of the generator's own -log p over the very same tokens.
    """
    texts = list(documents(seed, n, model.cfg.n_ctx, repeats=0.0))
    ids = ids_of(texts)
    logits = logits_of(model, ids)
    nll = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    nll = nll.view(len(texts), -1)  # [b p-1]
    ends = [whole_sentences(text) for text in texts]
    losses = torch.tensor([nll[b, : end - 1].sum() for b, end in enumerate(ends)])
    costs = torch.tensor([sum(text.nll[:end]) for text, end in zip(texts, ends, strict=True)])
    tokens = sum(end - 1 for end in ends)
    error = (losses - costs).std() * len(texts) ** 0.5 / tokens
    return losses.sum().item() / tokens, costs.sum().item() / tokens, error.item()


def repeats(model, n=100, length=50, seed=0):
    """Accuracy (right, out of) on the second half of random words said twice, but its first."""
    ids = ids_of([repeated_sequence(f"{seed} {i}", length) for i in range(n)])
    guess = logits_of(model, ids)[:, length + 1 : -1].argmax(-1)
    right = guess == ids[:, length + 2 :]
    return int(right.sum()), right.numel()


class IOSet:
    """Prompts of one template, their corrupted twins (the subject's second mention exchanged)."""

    def __init__(self, template, n=100, seed="scores", unseen=True):
        prompts = io_prompts(n, seed, templates=[template], unseen=unseen)
        self.ids = tokens_of(prompts)  # [b p]
        self.io = torch.tensor([ID[" " + p.io] for p in prompts])
        self.s = torch.tensor([ID[" " + p.s] for p in prompts])
        self.at = {k: torch.tensor([p.positions[k] for p in prompts]) for k in prompts[0].positions}
        self.rows = torch.arange(n)
        self.corrupted = self.ids.clone()
        self.corrupted[self.rows, self.at["S2"]] = self.io

    def logit_diff(self, logits):  # [b p v] -> [b]
        return logits[self.rows, -1, self.io] - logits[self.rows, -1, self.s]

    def outcome(self, name, logits):
        """{name: mean logit difference, name acc: share of prompts answered with the IO}."""
        right = (logits[:, -1].argmax(-1) == self.io).float().mean().item()
        return {name: self.logit_diff(logits).mean().item(), f"{name} acc": right}

    def attention(self, pattern, head, role):
        """Mean attention from the end to a role: pattern [b h q k] -> float."""
        return pattern[self.rows, head, -1, self.at[role]].mean().item()


def tokens_of(prompts):
    """IO prompts of one template -> ids [b p], split as the tokenizer does."""
    texts = [p.text.replace(",", " ,").replace(".", " .").split() for p in prompts]
    spaced = [[BOS, words[0], *(w if w in ",." else " " + w for w in words[1:])] for words in texts]
    return torch.tensor([[ID[token] for token in tokens] for tokens in spaced])


def io_scores(model, n=100):
    """(right, out of, mean logit difference) of each template and order, on unseen pairs."""
    scores = {}
    for template in range(len(IO_TEMPLATES)):
        for k, order in enumerate(("ABBA", "BABA")):
            io_set = IOSet(template, 2 * n)
            logits = logits_of(model, io_set.ids)[k::2]
            right = (logits[:, -1].argmax(-1) == io_set.io[k::2]).sum().item()
            diff = (logits[torch.arange(n), -1, io_set.io[k::2]]
                    - logits[torch.arange(n), -1, io_set.s[k::2]])  # fmt: skip
            scores[template, order] = right, n, diff.mean().item()
    return scores


def replace_head(layer, head, value):
    """A hook pair that puts value [b p e] in the place of one head's output z."""

    def hook(z, hook):
        z[:, :, head] = value
        return z

    return (f"blocks.{layer}.attn.hook_z", hook)


@torch.no_grad()
def io_heads(model, templates=TEMPLATES):
    """What each head does for the indirect object, averaged over templates: {head: row}.

    A row: attention from the end; then logit difference and accuracy as they are, with the head's
    output replaced by its mean over prompts, and by that on the prompt with the other subject.
    """
    rows = {}
    for template in templates:
        io_set = IOSet(template)
        logits, clean = model.run_with_cache(io_set.ids)
        _, other = model.run_with_cache(io_set.corrupted)
        for layer in range(model.cfg.n_layers):
            for head in range(model.cfg.n_heads):
                pattern, z = clean["pattern", layer], clean["z", layer][:, :, head]
                row = {role: io_set.attention(pattern, head, role) for role in ("IO", "S1", "S2")}
                row |= io_set.outcome("clean", logits)
                mean = z.mean(0, keepdim=True).expand_as(z)
                for name, value in (
                    ("ablated", mean),
                    ("exchanged", other["z", layer][:, :, head]),
                ):
                    hook = replace_head(layer, head, value)
                    row |= io_set.outcome(name, model.run_with_hooks(io_set.ids, fwd_hooks=[hook]))
                rows.setdefault((layer, head), []).append(row)
    return {head: average(seen) for head, seen in rows.items()}


def average(rows):
    """Mean of each entry over a list of dicts."""
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


@torch.no_grad()
def path_patch(model, source, layer=None, heads=(), templates=TEMPLATES):
    """Patch what one head's change of subject at the end does to the stream into one receiver.

    The receiver, nothing else being changed: the queries of `heads` of a later layer; or, with no
    heads, the unembedding.
    Returns the logit difference before and after, and the first head's attention to IO and S1.
    """
    (from_layer, from_head), last, rows = source, model.cfg.n_layers - 1, []
    for template in templates:
        io_set = IOSet(template)
        logits, clean = model.run_with_cache(io_set.ids)
        _, other = model.run_with_cache(io_set.corrupted)
        z = clean["z", from_layer][:, :, from_head].clone()
        z[:, -1] = other["z", from_layer][:, -1, from_head]
        hook, entry = replace_head(*source, z), f"blocks.{layer or last}.hook_resid_pre"
        stream = {}
        model.run_with_hooks(io_set.ids, fwd_hooks=[hook, (entry, keep_end(stream))])
        change = stream["end"] - clean[entry][:, -1]  # [b d]
        row = {"clean": io_set.logit_diff(logits).mean().item()}
        if heads:
            hooks = query_hooks(model, clean, change, layer, heads, io_set, row)
        else:
            hooks = [(f"blocks.{last}.hook_resid_post", add_at_end(change))]
        patched = model.run_with_hooks(io_set.ids, fwd_hooks=hooks)
        rows.append(row | {"patched": io_set.logit_diff(patched).mean().item()})
    return average(rows)


def keep_end(stream):
    """A hook that keeps the stream at the last position [b d]."""

    def keep(resid, hook):
        stream["end"] = resid[:, -1]

    return keep


def add_at_end(change):
    """A hook that adds change [b d] to the stream at the last position."""

    def add(resid, hook):
        resid[:, -1] += change

    return add


def query_hooks(model, clean, change, layer, heads, io_set, row):
    """Hooks that let these heads ask as if the stream had changed; they note what is attended."""
    block, heads = model.blocks[layer], list(heads)
    resid = block.ln1(clean["resid_pre", layer][:, -1] + change)  # [b d]
    q = torch.einsum("bd,hde->bhe", resid, block.attn.W_Q) + block.attn.b_Q  # [b h e]

    def ask(activation, hook):
        activation[:, -1, heads] = q[:, heads]

    def look(pattern, hook):
        for role in ("IO", "S1"):
            row[role] = io_set.attention(clean["pattern", layer], heads[0], role)
            row[f"{role} patched"] = io_set.attention(pattern, heads[0], role)

    name = f"blocks.{layer}.attn.hook_"
    return [(name + "q", ask), (name + "pattern", look)]


@torch.no_grad()
def copy_score(model, layer, head, k=5):
    """Share of names that the head's OV circuit, given the name's embedding, puts in the top k."""
    names = torch.tensor([ID[" " + name] for name in NAMES])
    resid = model.W_E[names][None]  # [1 n d]
    block = model.blocks[0]
    resid = resid + block.mlp(block.ln2(resid))  # layer 0's MLP extends the embedding
    block = model.blocks[layer]
    moved = block.ln1(resid)[0] @ block.attn.W_V[head] @ block.attn.W_O[head]  # [n d]
    scores = model.ln_final(moved) @ model.W_U  # [n v]
    return (scores.topk(k).indices == names[:, None]).any(-1).float().mean().item()


@torch.no_grad()
def repeat_heads(model, n=50, length=50):
    """Previous-token and induction score of each head, and what ablating it does to copying."""
    ids = ids_of([repeated_sequence(f"heads {i}", length) for i in range(n)])
    logits, cache = model.run_with_cache(ids)
    rows, q = {}, torch.arange(length + 2, 2 * length)
    p = torch.arange(2, 2 * length)

    def accuracy(logits):
        guess = logits[:, length + 1 : -1].argmax(-1)
        return (guess == ids[:, length + 2 :]).float().mean().item()

    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            pattern, z = cache["pattern", layer][:, head], cache["z", layer][:, :, head]
            hook = replace_head(layer, head, z.mean(0, keepdim=True).expand_as(z))
            rows[layer, head] = {
                "previous": pattern[:, p, p - 1].mean().item(),
                "induction": pattern[:, q, q - length + 1].mean().item(),
                "duplicate": pattern[:, q, q - length].mean().item(),
                "clean": accuracy(logits),
                "ablated": accuracy(model.run_with_hooks(ids, fwd_hooks=[hook])),
            }
    return rows


@torch.no_grad()
def copying_without(model, heads, n=50, length=50):
    """Accuracy on repeated random words with all these heads replaced by their means at once."""
    ids = ids_of([repeated_sequence(f"heads {i}", length) for i in range(n)])
    _, cache = model.run_with_cache(ids, names_filter="*.hook_z")
    hooks = []
    for layer, head in heads:
        z = cache["z", layer][:, :, head]
        hooks.append(replace_head(layer, head, z.mean(0, keepdim=True).expand_as(z)))
    guess = model.run_with_hooks(ids, fwd_hooks=hooks)[:, length + 1 : -1].argmax(-1)
    return (guess == ids[:, length + 2 :]).float().mean().item()


PROMPTS = {
    "When John and Mary went to the store, John gave a drink to": (" Mary", " John"),
    "When Mary and John went to the store, Mary gave a drink to": (" John", " Mary"),
    "When Alice and Bob went to the park, Bob gave the ball to": (" Alice", " Bob"),
    "When Bob and Alice went to the park, Alice gave the ball to": (" Bob", " Alice"),
}


@torch.no_grad()
def head_scores(model, n=50, length=50):
    """Attention alone, quickly: {head: previous token, induction, from the end to IO, S1, S2}."""
    io_set, scores = IOSet(0, n), {}
    _, io_cache = model.run_with_cache(io_set.ids, names_filter="*.hook_pattern")
    ids = ids_of([repeated_sequence(f"heads {i}", length) for i in range(n)])
    _, cache = model.run_with_cache(ids, names_filter="*.hook_pattern")
    p, q = torch.arange(2, 2 * length), torch.arange(length + 2, 2 * length)
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            pattern = cache["pattern", layer][:, head]
            scores[f"{layer}.{head}"] = {
                "previous": pattern[:, p, p - 1].mean().item(),
                "induction": pattern[:, q, q - length + 1].mean().item(),
            } | {
                role: io_set.attention(io_cache["pattern", layer], head, role)
                for role in ("IO", "S1", "S2")
            }
    return scores


def summary(model, n=400, n_io=100):
    """All scores in one dict, as history.json and the card want them."""
    loss, entropy, error = loss_gap(model, n)
    io = io_scores(model, n_io)
    return {
        "loss": loss, "entropy": entropy, "gap": loss - entropy, "gap_error": error,
        "behaviours": behaviours(model, n),
        "unseen pairs": behaviours(model, n, "unseen", unseen=True),
        "repeats": repeats(model, n_io),
        "io": {f"{t} {order}": score for (t, order), score in io.items()},
        "heads": head_scores(model),
    }  # fmt: skip


def report(model):
    """Print the card's numbers."""
    scores = summary(model)
    print(f"loss {scores['loss']:.4f}, entropy {scores['entropy']:.4f} nats per token; gap "
          f"{scores['gap']:.4f} +- {1.96 * scores['gap_error']:.4f}")  # fmt: skip
    for what in ("behaviours", "unseen pairs"):
        for name, (right, n) in sorted(scores[what].items()):
            print(f"{what:12s} {name:16s} {share(right, n)}")
    print(f"{'repeats':29s} {share(*scores['repeats'])}")
    for name, (right, n, diff) in scores["io"].items():
        print(f"indirect object, template {name:7s} {share(right, n)}  logit diff {diff:.2f}")
    for case in canonical(model):
        print(f"{case['prompt']} ->{case['answer']}, logit diff {case['logit_diff']:.2f}")
    print_heads(model)


@torch.no_grad()
def canonical(model):
    """Answer the four prompts that stand in the card, as `make verify` asks them (card.json)."""
    cases = []
    for text, (right, wrong) in PROMPTS.items():
        logits = model(text)[0, -1]  # [v]
        difference = (logits[ID[right]] - logits[ID[wrong]]).item()
        answer = model.to_string(logits.argmax())
        cases.append({"prompt": text, "answer": answer, "other": wrong, "logit_diff": difference})
    return cases


def share(right, n):
    """Write a share with its 95 % confidence interval."""
    low, high = interval(right, n)
    return f"{100 * right / n:6.2f} % of {n} [{100 * low:.2f}, {100 * high:.2f}]"


def print_heads(model):
    """Print the head tables; then each earlier head patched into each later head's query."""
    for table in (io_heads(model), repeat_heads(model)):
        print("head  " + "  ".join(f"{name:>12s}" for name in next(iter(table.values()))))
        for (layer, head), row in table.items():
            print(f"{layer}.{head}   " + "  ".join(f"{value:12.3f}" for value in row.values()))
    heads = [(layer, h) for layer in range(model.cfg.n_layers) for h in range(model.cfg.n_heads)]
    every = tuple(range(model.cfg.n_heads))
    for left in (None, *every):
        gone = [(model.cfg.n_layers - 1, head) for head in every if head != left]
        print(f"copying without {gone}: {copying_without(model, gone):.3f}")
    for source in heads:
        paths = {"unembedding": (None, ())}
        for layer in range(source[0] + 1, model.cfg.n_layers):
            paths |= {f"query of {layer}.{h}": (layer, (h,)) for h in every}
            paths |= {f"queries of layer {layer}": (layer, every)}
        for name, (layer, to) in paths.items():
            row = path_patch(model, source, layer, to)
            values = ", ".join(f"{what} {value:.2f}" for what, value in row.items())
            print(f"{source[0]}.{source[1]} -> {name}: {values}")
    print(
        "copy score "
        + ", ".join(f"{layer}.{h} {copy_score(model, layer, h):.2f}" for layer, h in heads)
    )


if __name__ == "__main__":
    torch.set_num_threads(2)
    report(HookedTransformer.from_pretrained(sys.argv[1] if len(sys.argv) > 1 else "world"))

"""What is in a forward pass?

Paper: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2).
Minutes: 45 to read and play with, less than one to run. To have done first: nothing.

We follow one prompt through the model, from letters to the answer. Each part is computed twice: by
the model (minimech/model.py), and by hand (lessons/techniques/transformer.py), and the two must
agree. At the end the parts written by hand are put together, and then made to fail, one planted bug
at a time.
"""

# %% 1. The prompt
# "When John and Mary went to the store, John gave a drink to": to whom? You know: to the one who
# was named only once. The model has to work it out from what stands before. We watch one number all
# along, the logit difference: the logit of Mary minus the logit of John. At 0 the model has no
# preference between the two; with each 1 that is added, Mary becomes e = 2.7 times as likely
# compared with John.
import io
import sys
from contextlib import redirect_stdout
from copy import deepcopy
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.expect import at_least, at_most
from lessons.lesson import Lesson
from lessons.techniques import transformer
from lessons.techniques.bugs import BUGS
from minimech.verify import verify

# %% 2. The model
# A stream of numbers, `d_model` wide, runs through the model for each token. A layer has some
# heads, which carry information from token to token, and one MLP, which works on each token by
# itself. That is all.
torch.set_grad_enabled(False)
PROMPT = "When John and Mary went to the store, John gave a drink to"
GPT2 = {"head": "L9H9", "answer": "Mary", "logit_diff": 3.172, "swapped": -3.535}
WORLD = {"head": "L1H1", "looks_at": "4 ·Mary", "answer": "Mary", "logit_diff": 6.73}
WORLD |= {"swapped": at_most(-2), "source": "weights/README.md"}
GPT2["source"] = "jeffbai996/interp-lab"

lesson = Lesson("03_transformer")
model = lesson.load(PROMPT)
cfg, known = model.cfg, {"gpt2": GPT2, "world": WORLD}.get(lesson.model_name, {})
source = known.get("source", "")
n_parameters = sum(weight.numel() for weight in model.parameters())
lesson.show(
    f"{lesson.model_name}: {cfg.n_layers} layers of {cfg.n_heads} heads, d_model {cfg.d_model}, "
    f"{cfg.d_vocab:,} words, {n_parameters:,} parameters"
)

# %% 3. Tokens
# The model sees no letters. A text is cut into tokens, and a token is a number: its row in a table.
# A space belongs to the word that follows it (GPT-2's files write that space as Ġ, we write it as
# ·). In front goes one token more, BOS, "here a text begins": in GPT-2, heads with nothing to do
# rest on it.
#
# Prediction: 13 words, a comma and BOS make 15. Both Johns get one and the same number, and "John"
# without its space would get another.
tokens = model.to_tokens(PROMPT)  # [1 p]
labels = figures.token_labels(model.to_str_tokens(PROMPT))
johns = [i for i, label in enumerate(labels) if label.endswith("·John")]
vocabulary = model.tokenizer.backend.get_vocab()
no_space = vocabulary.get("John") == vocabulary["ĠJohn"]

lesson.expect("3.1", "tokens, BOS included", 15, tokens.shape[1], source="counted by hand")
lesson.expect("3.2", "both Johns are one token", True, tokens[0, johns].unique().numel() == 1)
lesson.expect("3.3", 'control: "John", no space, is that one', False, no_space)
lesson.show("   ".join(labels[:8]) + "\n" + "   ".join(labels[8:]))

# %% 4. Embeddings
# The stream starts as a sum of two rows: one says which token this is (W_E), the other where it
# stands (W_pos). The second is all that the model is told about word order.
#
# Prediction: one addition, so no difference at all between by hand and the model. The two Johns
# start from the same row of W_E; only their positions tell them apart.
logits, cache = model.run_with_cache(tokens)  # one forward pass, every activation of it kept
stream = transformer.embed(tokens[0], model.W_E, model.W_pos)  # [p d]
first, second = cache["embed"][0, johns]
error = transformer.error  # the largest difference, as a share of the largest number in its row

lesson.expect("4.1", "embeddings by hand: error", 0, error(stream, cache["resid_pre", 0][0]))
lesson.expect("4.2", "the two Johns are equal before W_pos", True, torch.equal(first, second))
first, second = stream[johns]
lesson.expect("4.3", "control: and after it", False, torch.equal(first, second))

# %% 5. Which head to open
# Looking at every head would take all day. We open the one that adds most to the logit difference,
# and see in cell 12 how that is known. In GPT-2 small it should be L9H9 (layer 9, head 9), the
# strongest of what Wang et al. 2022 call name movers. In another model, let the measurement name
# it.
mary, john = model.to_single_token(" Mary"), model.to_single_token(" John")
written = cache.logit_attribution(mary, minus=john, heads=True)  # what each part adds
by_head = {k: v.item() for k, v in zip(written.labels, written.values) if k.startswith("L")}
opened = max(by_head, key=by_head.get)
layer, head = map(int, opened[1:].split("H"))
block = model.blocks[layer]

lesson.expect("5.1", "the head that adds most", known.get("head"), opened, source=source)

# %% 6. Layer norm
# Whatever reads the stream reads it through a layer norm: each token's row is centred on 0 and
# divided by its standard deviation, then each column is scaled by a learned w and shifted by a
# learned b. So what counts is the direction of a row and not its length.
#
# Prediction: by hand equals the model, but for rounding: 32-bit floats carry 7 digits, and sums of
# many of them lose one or two, so the error is under 1e-5. Control: `torch.var` divides by d - 1
# and GPT-2 by d. That is a small slip, and it must show.
ROUNDING = 1e-5
resid = cache["resid_pre", layer][0]  # [p d]
x = transformer.normed(resid, block.ln1)  # [p d]
slip = (resid - resid.mean(-1, keepdim=True)) / (resid.var(-1, keepdim=True) + cfg.ln_eps).sqrt()
slip = slip * block.ln1.w + block.ln1.b

lesson.expect("6.1", "layer norm by hand: error", at_most(ROUNDING), error(x, block.ln1(resid)))
lesson.expect("6.2", "control: d - 1 for d", at_least(ROUNDING), error(slip, block.ln1(resid)))

# %% 7. One head looks
# Each token makes three short rows from its normed one: a query (what am I looking for?), a key
# (what do I offer?) and a value (what do I hand over if you pick me?). A token's score for an
# earlier token is its query times that one's key, divided by sqrt(d_head); later tokens are out of
# sight; softmax turns the scores into shares that sum to 1. That table of shares is the pattern:
# read along a row to see where a token looks.
#
# Prediction: equal to the model's but for rounding. Where does the last token look? To answer it
# needs the name that was said once; so say a place before you see it. Control: without the sqrt,
# another pattern.
pattern, result = transformer.attention_head(x, block.attn, head)  # [q k], [p d]
q, k = cache["q", layer][0, :, head], cache["k", layer][0, :, head]  # [p e] each
no_sqrt = (q @ k.T).masked_fill(pattern == 0, float("-inf")).softmax(dim=-1)  # [q k]
looks_at = labels[pattern[-1].argmax()]
title = f"{opened}: the last token puts {pattern[-1].max():.0%} of its attention on {looks_at}"
theirs = cache["pattern", layer][0, head]  # [q k]

lesson.expect("7.1", "pattern by hand: error", at_most(ROUNDING), error(pattern, theirs))
lesson.expect("7.2", "control: without sqrt(d_head)", at_least(ROUNDING), error(no_sqrt, theirs))
lesson.expect("7.3", "the last token looks at", known.get("looks_at"), looks_at)
axes = {"xlabel": "looked at (key)", "ylabel": "looking (query)", "unit": "attention"}
lesson.show(figures.heatmap(pattern, labels, labels, title, **axes), "attention")

# %% 8. The head writes
# What the head looked at, it copies: the values, weighted by the pattern, make one short row for
# each token (z), and W_O turns it into a row as wide as the stream. A layer's heads work side by
# side and know nothing of each other; what they write is added up, with one bias b_O for all.
#
# Prediction: the head by hand equals the model's, and all heads and b_O together are what attention
# adds to the stream. Control: leave out b_O and they are not.
heads = [transformer.attention_head(x, block.attn, h)[1] for h in range(cfg.n_heads)]
theirs, attn_out = cache.head_results(layer)[head, 0], cache["attn_out", layer][0]  # [p d] each

lesson.expect("8.1", "the head by hand: error", at_most(ROUNDING), error(result, theirs))
total = sum(heads) + block.attn.b_O  # [p d]
lesson.expect("8.2", "sum of heads and b_O: error", at_most(ROUNDING), error(total, attn_out))
lesson.expect("8.3", "control: without b_O", at_least(ROUNDING), error(sum(heads), attn_out))

# %% 9. The MLP
# The MLP looks at one token at a time: every neuron asks its own question of the row (W_in), gelu
# lets a yes through and holds a no back, and every neuron that said yes writes its own row (W_out).
#
# Prediction: equal but for rounding. Control: GPT-2 was trained with an approximation of gelu,
# built on tanh. The exact gelu differs from it by 0.0005 at most. Nobody sees that in a text; here
# it must show.
x = transformer.normed(cache["resid_mid", layer][0], block.ln2)  # [p d]
mlp = block.mlp
by_hand = transformer.mlp(x, mlp.W_in, mlp.b_in, mlp.W_out, mlp.b_out)  # [p d]
with mock.patch.object(transformer, "gelu", torch.nn.functional.gelu):  # the exact one
    slip = transformer.mlp(x, mlp.W_in, mlp.b_in, mlp.W_out, mlp.b_out)
mlp_out = cache["mlp_out", layer][0]  # [p d]
active = (cache["post", layer][0, -1] > 0.1).sum().item()

lesson.expect("9.1", "MLP by hand: error", at_most(ROUNDING), error(by_hand, mlp_out))
lesson.expect("9.2", "control: the exact gelu", at_least(ROUNDING), error(slip, mlp_out))
lesson.show(f"At the last token {active} of {cfg.d_mlp} neurons in layer {layer} answer above 0.1.")

# %% 10. The stream is a sum
# Nothing in the stream is ever overwritten. Embeddings, then what each attention and each MLP
# writes: every part reads the sum so far and adds to it. So the last stream is the sum of named
# parts, and can be taken apart again. This is what makes a transformer open to inspection.
#
# Prediction: the parts add up, but for rounding. Control: leave out the smallest part and they do
# not.
parts, names = cache.decompose()  # [part b p d]
stream = cache["resid_post", -1][0]  # [p d]
sizes = parts[:, 0, -1].norm(dim=-1)  # [part], at the last token
without = parts.sum(0)[0] - parts[sizes.argmin(), 0]

lesson.expect("10.1", "sum of all parts: error", at_most(ROUNDING), error(parts.sum(0)[0], stream))
lesson.expect("10.2", "control: the smallest left out", at_least(ROUNDING), error(without, stream))
title = f"The largest part at the last token is {names[sizes.argmax()]}"
lesson.show(figures.bars(sizes, names, title, "length of what the part adds"), "parts")


# %% 11. The answer
# A last layer norm, and every word of the vocabulary is compared with the stream: its logit is the
# product of the row with the word's column of W_U. Softmax over all words gives probabilities.
#
# Prediction: by hand equals the model but for rounding. On GPT-2 the answer is Mary, with a logit
# difference of 3.17. Control: let Mary give the drink, and the preference must turn to John.
def logit_diff(logits):  # [b p v] -> [b], at the last token
    return logits[:, -1, mary] - logits[:, -1, john]


by_hand = transformer.normed(stream, model.ln_final) @ model.W_U  # [p v]
best = logits[0, -1].softmax(-1).topk(5)
clean, swapped = logit_diff(logits)[0], logit_diff(model(PROMPT.replace(", John", ", Mary")))
lesson.expect("11.1", "logits by hand: error", at_most(ROUNDING), error(by_hand, logits[0]))
words = [model.to_string(i).strip() for i in best.indices]
lesson.expect("11.2", "the answer", known.get("answer"), words[0], source=source)
lesson.expect("11.3", "logit difference", known.get("logit_diff"), clean, 0.01, source)
lesson.expect("11.4", "control: Mary gives", known.get("swapped"), swapped, 0.01, source)
title = f"The model says {words[0]}, with probability {best.values[0]:.2f}"
lesson.show(figures.bars(best.values, words, title, "probability"), "answer")

# %% 12. Who wrote the answer?
# Hold the last layer norm's divisor at the value it had, and all that comes after the stream is
# linear: what is true of the sum is true of each part. So each part of the stream has its own share
# of the logit difference, and the shares add up to it. Before you look: which part has the largest
# share, and do all pull one way?
#
# Prediction: they sum to the logit difference of cell 11. Control: with the last norm left out,
# they do not.
direction = model.W_U[:, mary] - model.W_U[:, john]  # [d]
scale, ln = cache["ln_final.hook_scale"][0, -1], model.ln_final
shares = transformer.attribute(parts[:, 0, -1], scale, ln.w, direction)  # [part]
raw = parts[:, 0, -1] @ direction  # [part]
total, names = shares.sum() + ln.b @ direction, [*names, "ln_final.b"]
shares = torch.cat([shares, (ln.b @ direction)[None]])

lesson.expect("12.1", "sum of shares - logit difference", 0, total - clean, tolerance=1e-4)
lesson.expect("12.2", "control: without the last norm", at_least(0.01), (raw.sum() - clean).abs())
title = f"{names[shares.argmax()]} writes {shares.max():.1f} of the logit difference of {clean:.1f}"
lesson.show(
    figures.bars(
        shares, names, title, "share of the logit difference", marked=[f"{layer}_attn_out"]
    ),
    "attribution",
)


# %% 13. Replace: what if a head were silent?
# A hook is a function that the model calls in the middle of a run: it is handed an activation, and
# the run goes on with what it hands back. `zero_own_head` sets z of one head to 0, another one in
# each copy of the prompt: so every head falls silent once, and the head that we opened has all the
# others as its control.
#
# Prediction: the difference falls by exactly what the head wrote. This can fail, and if it does the
# row says GAP: what comes later reads what the head wrote, and answers to its absence. Control: a
# hook that does nothing. And before you look: is the head that writes most to the answer also the
# one whose silence costs most? (Zero is a harsh silence: nothing that comes later was ever trained
# to meet it.)
def silence(layer):  # -> [h], how the logit difference changes as each head falls silent
    copies = tokens.expand(cfg.n_heads, -1)  # [h p]
    hooks = [(f"blocks.{layer}.attn.hook_z", transformer.zero_own_head)]
    return logit_diff(model.run_with_hooks(copies, fwd_hooks=hooks)) - clean


changes = torch.stack([silence(one) for one in range(cfg.n_layers)])  # [l h]
idle = model.run_with_hooks(tokens, fwd_hooks=[("*.hook_z", lambda z, hook: None)])
change, others = changes[layer, head], changes.flatten().abs().median()
why = "what comes later answers to its absence"
lesson.expect("13.1", "control: an idle hook", 0, (idle - model(tokens)).abs().max())
lesson.expect("13.2", f"change, {opened} silent", -by_head[opened], change, 0.1, gap=why)
lesson.expect("13.3", "control: the median head", known.get("median"), others)
costly = "L{}H{}".format(*divmod(int(changes.argmin()), cfg.n_heads))
lesson.expect("13.4", "the head whose silence costs most", None, costly)
title = f"{costly} costs most, {changes.min():+.1f}; {opened}, which writes most, {change:+.1f}"
layers, heads = [f"L{i}" for i in range(cfg.n_layers)], [f"H{i}" for i in range(cfg.n_heads)]
axes = {"xlabel": "head", "ylabel": "layer", "unit": "change of logit difference", "signed": True}
lesson.show(figures.heatmap(changes, layers, heads, title, **axes), "silenced")

# %% 14. Differentiate: which way is up?
# Every activation has a gradient: the direction in which a small push raises the logit difference
# most. A hook catches it with `x.register_hook`. Is it right? Push a little both ways, and measure
# the slope.
#
# Prediction: along the gradient, the slope is the gradient's own length. We measure in 64 bits,
# where the difference of two close numbers keeps its digits. Control: along (1, 1, ..., 1) it is
# less, by the cosine of the angle between the two.
exact, caught = deepcopy(model).double(), []
site = f"blocks.{layer}.attn.hook_z"
with torch.enable_grad():
    hooks = [(site, transformer.catch_gradient(caught))]
    logit_diff(exact.run_with_hooks(tokens, fwd_hooks=hooks)).backward()
gradient = caught[0][0, -1, head]  # [e]


def after(push):  # [e] -> the logit difference, once the head's z at the last token was pushed
    hooks = [(site, transformer.nudge_head(head, push))]
    return logit_diff(exact.run_with_hooks(tokens, fwd_hooks=hooks))


length = gradient.norm()
anywhere = torch.ones(cfg.d_head).double() / cfg.d_head**0.5
up, other = (transformer.slope(after, one) / length for one in (gradient / length, anywhere))
lesson.expect("14.1", "slope along the gradient / its length", 1, up, 1e-5)
cosine = (gradient @ anywhere / length).item()
lesson.expect("14.2", "control: along (1, 1, ..., 1)", cosine, other, 1e-5)

# %% 15. The proof
# Now all parts together: `transformer.forward` is the whole model in ten lines, all of it yours by
# now. We run it in 64 bits and hold the model's logits against it: the model in 32 bits, once with
# its fast attention, and once with the plain one that it takes when somebody looks at a pattern.
#
# Prediction: 2e-5 at most, a bar that was set before the first measurement; only rounding should be
# left. Control: the next cell.
by_hand = transformer.forward(tokens[0], exact)  # [p v]
fast, plain = error(model(tokens)[0], by_hand), error(logits[0], by_hand)

lesson.expect("15.1", "the model: error", at_most(2 * ROUNDING), fast, source="our own bar")
lesson.expect("15.2", "the model, somebody looking: error", at_most(2 * ROUNDING), plain)

# %% 16. What others found
# Our own hand could err the way our own model does. So here is what is held against references that
# share no line with either: a forward in NumPy, 64 bits; TransformerLens's stored answers on random
# weights, for every activation that has a name; and for GPT-2 what others published. `make verify`
# prints the same table.
#
# Prediction: no row of it fails. Control: the next cell.
printed = io.StringIO()
with redirect_stdout(printed):
    rows = verify(lesson.model_path)
failed = sum(not row.difference <= row.tolerance for row in rows)

lesson.expect("16.1", "rows of the table", at_least(5), len(rows))
lesson.expect("16.2", "of these, out of tolerance", 0, failed)
lesson.show(printed.getvalue().rstrip())

# %% 17. Could it have failed?
# A proof that cannot fail is no proof. So we plant bugs in the parts written by hand, one at a
# time: eight slips that people make. None raises, and a model with one of them may still answer
# Mary.
#
# Prediction: every one shows, with at least ten times the error that cell 15 found with no bug.
# Which shows least? Control: the first bar, where nothing is wrong.
errors = {"nothing is wrong": fast}
for bug, (part, wrong) in BUGS.items():
    with mock.patch.object(transformer, part, wrong):
        errors[bug] = error(model(tokens)[0], transformer.forward(tokens[0], exact))

least = min(BUGS, key=errors.get)
lesson.expect("17.1", "least error of a bug / error without", at_least(10), errors[least] / fast)
title = f"Every planted bug shows; least of all: {least}"
lesson.show(
    figures.bars(list(errors.values()), list(errors), title, "error", log=True, limit=2 * ROUNDING),
    "bugs",
)

# %% 18. Break it
# Three edits. Say what will happen, make one, run the lesson, and put it back.
#
# 1. In lessons/techniques/transformer.py, make it `x**2` in gelu: row 9.1 must stop the lesson.
# 2. In `attention_pattern`, make it `triu(diagonal=0)`: no token sees itself, BOS has nothing left
#    to look at, its row turns to nan, and nan agrees with nothing: row 7.1 must stop the lesson.
# 3. In `attention_pattern`, add 5 to all scores, before the mask: nothing may change. Softmax turns
#    differences into shares; what is added to all is never seen.
lesson.finish()

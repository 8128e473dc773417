"""What is in a forward pass?

Paper: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" (GPT-2).
Minutes: 45 to read and play with, less than one to run. To have done first: nothing.

We follow one prompt through the model, from letters to the answer. Each part is computed twice: by
the model (minimech/model.py), and by hand (lessons/techniques/transformer.py), and the two must
agree. Then we take the answer apart, get fooled, and catch it. At the end the parts written by hand
are put together, and made to fail, one planted bug at a time.

In the tables, ok: as predicted; look: nothing was predicted; GAP: a miss that was expected, with
its reason; control: what must come out otherwise, or not at all, if we measure what we think.
"""

# %% 1. The prompt
# "When John and Mary went to the store, John gave a drink to": to whom? You know: to the one who is
# not giving. The model has to work it out from what stands before. It gives every word that could
# come next a score, called its logit; softmax turns the scores of all words into probabilities. We
# watch one number all along, the logit difference: the logit of Mary minus the logit of John. At 0
# the model has no preference between the two; with each 1 that is added, Mary becomes e = 2.7 times
# as likely compared with John.
import io
import sys
from contextlib import redirect_stdout
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.expect import Band, at_least, at_most
from lessons.lesson import Lesson
from lessons.techniques import transformer
from lessons.techniques.bugs import BUGS

torch.set_grad_enabled(False)
GIVER, RECEIVER = "John", "Mary"
STORY = "When {} and {} went to the store, {} gave a drink to"
PROMPT, SWAPPED = (STORY.format(GIVER, RECEIVER, who) for who in (GIVER, RECEIVER))

# %% 2. The model
# A stream of numbers runs through the model for each token, called the residual stream: one vector
# of `d_model` numbers. A layer's heads carry information from token to token, and its MLP works on
# each token by itself. That is all:
#
#     tokens -> W_E + W_pos -> the stream
#     [ norm -> heads -> added to the stream
#       norm -> MLP   -> added to the stream ]
#       x layers
#     norm -> W_U -> logits -> probabilities
ORIGINAL = PROMPT == "When John and Mary went to the store, John gave a drink to"
GPT2 = {"5.1": "L9H9", "11.2": "Mary", "11.3": 3.172, "11.4": -3.535}
WORLD = {"5.1": "L1H1", "7.3": "4 ·Mary", "8.4": "Mary", "11.4": -4.65, "12.3": 0.006}
WORLD |= {"13.3": "L0H0", "14.2": -3.20, "14.3": 1.96, "14.4": 3, "15.2": -0.09, "15.3": "L0H1"}
WORLD |= {"15.4": -7.46, "16.1": "10 ·John", "16.2": 0.48, "16.3": 0.77, "20.2": 7}
SOURCES = {"gpt2": (GPT2, "jeffbai996/interp-lab"), "world": (WORLD, "recorded")}
CARD = {"11.2": "Mary", "11.3": 6.73}  # the world model's card lists these two

lesson = Lesson("03_transformer")
model = lesson.load(PROMPT)
if ORIGINAL:  # what is known, row by row, holds for the prompt that it was measured on
    lesson.know(*SOURCES.get(lesson.model_name, ({}, "")))
    lesson.know(CARD if lesson.model_name == "world" else {}, "weights/README.md")
cfg, n_parameters = model.cfg, sum(weight.numel() for weight in model.parameters())
size = f"{cfg.n_layers} layers of {cfg.n_heads} heads, d_model {cfg.d_model}, {cfg.d_vocab:,} words"
lesson.show(f"{lesson.model_name}: {size}, {n_parameters:,} parameters")

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
givers = [i for i, label in enumerate(labels) if label.endswith(f"·{GIVER}")]
vocabulary = model.tokenizer.backend.get_vocab()
no_space = vocabulary.get(GIVER) == vocabulary[f"Ġ{GIVER}"]
n_words = 15 if ORIGINAL else None

ask, n = "How many tokens is our prompt, BOS included?", tokens.shape[1]
lesson.expect("3.1", "tokens, BOS included", n_words, n, source="counted by hand", ask=ask)
lesson.expect("3.2", f"both {GIVER}s are one token", 1, tokens[0, givers].unique().numel())
lesson.expect("3.3", f'control: "{GIVER}", no space, is that one', False, no_space)
lesson.show("   ".join(labels[:8]) + "\n" + "   ".join(labels[8:]))

# %% 4. Embeddings
# The stream starts as a sum of two vectors: one says which token this is (W_E), the other where it
# stands (W_pos). This is the only place where position is written down; the mask of cell 7 leaks
# some more.
#
# Our measure from here on is the error: the largest difference in a vector, divided by the largest
# number in that vector. Prediction: one addition, so none at all. The two Johns start from the same
# row of W_E; only their positions tell them apart.
logits, cache = model.run_with_cache(tokens)  # one forward pass, every activation of it kept
stream = transformer.embed(tokens[0], model.W_E, model.W_pos)  # [p d]
error = transformer.error
first, *_, second = cache["embed"][0, givers]

lesson.expect("4.1", "embeddings by hand: error", 0, error(stream, cache["resid_pre", 0][0]))
lesson.expect("4.2", f"the {GIVER}s are equal before W_pos", True, torch.equal(first, second))
first, *_, second = stream[givers]
lesson.expect("4.3", "control: and after it", False, torch.equal(first, second))

# %% 5. Which head to open
# Looking at every head would take all day. We open the one which, of the heads, adds most to the
# logit difference; cell 12 shows how that is known, and what the others add. In GPT-2 small it
# should be L9H9 (layer 9, head 9), the strongest of what Wang et al. 2022 call name movers. In
# another model, let the measurement name it.
receiver, giver = (model.to_single_token(f" {name}") for name in (RECEIVER, GIVER))
at = tokens[0].tolist().index(receiver)  # where the receiver stands
written = cache.logit_attribution(receiver, minus=giver, heads=True)  # what each part adds
by_part = {name: share.item() for name, share in zip(written.labels, written.values)}
by_head = {name: share for name, share in by_part.items() if name.startswith("L")}
opened = max(by_head, key=by_head.get)
layer, head = map(int, opened[1:].split("H"))
block = model.blocks[layer]

lesson.recorded("5.1", "the head that adds most", opened)

# %% 6. Layer norm
# Whatever reads the stream reads it through a layer norm: each token's vector is centred on 0 and
# divided by its standard deviation, then each number is scaled by a learned w and shifted by a
# learned b. (eps, 1e-5 in GPT-2, is added to the variance, so that nobody divides by 0.) So what
# counts is the direction of a vector and not its length.
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
# Each token makes three short vectors from its normed one: a query (what am I looking for?), a key
# (what do I offer?) and a value (what do I hand over if you pick me?). A token's score for an
# earlier token is its query times that one's key, divided by sqrt(d_head); later tokens are out of
# sight (the mask); softmax turns the scores into shares that sum to 1. That table of shares is the
# pattern: read along a line to see where a token looks. Where does the last one look? Say a place
# before you see it.
#
# Prediction: equal to the model's. To answer, the last token needs the name of the one who is not
# giving; so it looks there. Control: without the sqrt, another pattern.
pattern, result = transformer.attention_head(x, block.attn, head)  # [q k], [p d]
q, k = cache["q", layer][0, :, head], cache["k", layer][0, :, head]  # [p e] each
no_sqrt = (q @ k.T).masked_fill(pattern == 0, float("-inf")).softmax(dim=-1)  # [q k]
looks_at = labels[pattern[-1].argmax()]
title = f"{opened}: the last token puts {pattern[-1].max():.0%} of its attention on {looks_at}"
theirs = cache["pattern", layer][0, head]  # [q k]

lesson.expect("7.1", "pattern by hand: error", at_most(ROUNDING), error(pattern, theirs))
lesson.expect("7.2", "control: without sqrt(d_head)", at_least(ROUNDING), error(no_sqrt, theirs))
where = "Where does the last token look most?"
lesson.recorded("7.3", "the last token looks at", looks_at, ask=where, choices=labels)
axes = {"xlabel": "looked at (key)", "ylabel": "looking (query)", "unit": "attention"}
axes |= {"causal": True, "framed": -1}
lesson.show(figures.heatmap(pattern, labels, labels, title, **axes), "attention")

# %% 8. The head writes
# The values, weighted by the pattern, make one short vector for each token, called z; W_O turns z
# into a vector as wide as the stream. A layer's heads work side by side and know nothing of each
# other; what they write is added up, with one bias b_O for all.
#
# The head looked at Mary. Does what it wrote say Mary, or something that goes with her? We hold it
# against every word's column of W_U (cell 12 says why that is allowed): which word gains most?
#
# Prediction: head by head, and b_O, by hand is what attention adds to the stream. Control: leave
# out b_O and it is not.
heads = [transformer.attention_head(x, block.attn, h)[1] for h in range(cfg.n_heads)]
theirs, attn_out = cache.head_results(layer)[head, 0], cache["attn_out", layer][0]  # [p d] each

lesson.expect("8.1", "the head by hand: error", at_most(ROUNDING), error(result, theirs))
total = sum(heads) + block.attn.b_O  # [p d]
lesson.expect("8.2", "sum of heads and b_O: error", at_most(ROUNDING), error(total, attn_out))
lesson.expect("8.3", "control: without b_O", at_least(ROUNDING), error(sum(heads), attn_out))
scale, ln = cache["ln_final.hook_scale"][0, -1], model.ln_final
gains = transformer.attribute(result[-1:], scale, ln.w, model.W_U)[0].topk(5)  # over [v]
words = [model.to_string(i).strip() for i in gains.indices]
ask = f"Of all words, which gains most by what {opened} writes at the last token?"
lesson.recorded("8.4", f"{opened} promotes most", words[0], ask=ask)
gained = ", ".join(f"{word} {gain:+.1f}" for word, gain in zip(words, gains.values))
lesson.show(f"What {opened} writes at the last token promotes: {gained}")

# %% 9. The MLP
# The MLP looks at one token at a time: every neuron asks its own question of the vector (W_in),
# gelu lets a yes through and holds a no back, and every neuron that said yes writes a vector of its
# own (W_out).
#
# Prediction: equal but for rounding. Control: GPT-2 was trained with an approximation of gelu,
# built on tanh. The exact gelu differs from it by 0.0005 at most in each neuron; then `d_mlp` of
# them are summed. Nobody sees that in a text; here it must show.
x = transformer.normed(cache["resid_mid", layer][0], block.ln2)  # [p d]
mlp = block.mlp
by_hand = transformer.mlp(x, mlp.W_in, mlp.b_in, mlp.W_out, mlp.b_out)  # [p d]
exact_gelu = torch.nn.functional.gelu
slip = exact_gelu(x @ mlp.W_in + mlp.b_in) @ mlp.W_out + mlp.b_out
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
# not. And a bet: is the longest part also the one that makes the model say Mary? (Cell 12 settles
# it.)
parts, names = cache.decompose()  # [part b p d]
stream = cache["resid_post", -1][0]  # [p d]
sizes = parts[:, 0, -1].norm(dim=-1)  # [part], at the last token
without = parts.sum(0)[0] - parts[sizes.argmin(), 0]

lesson.expect("10.1", "sum of all parts: error", at_most(ROUNDING), error(parts.sum(0)[0], stream))
lesson.expect("10.2", "control: the smallest left out", at_least(ROUNDING), error(without, stream))
title = f"The longest part at the last token is {names[sizes.argmax()]}"
lesson.show(figures.bars(sizes, names, title, "length of what the part adds"), "parts")


# %% 11. The answer
# A last layer norm, and every word of the vocabulary is compared with the stream: its logit is the
# product of the vector with the word's column of W_U. Softmax over all words: probabilities.
#
# Prediction: by hand equals the model but for rounding. On GPT-2 the answer is Mary, with a logit
# difference of 3.17. Control: let Mary give the drink, and the preference must turn to John.
def logit_diff(logits):  # [b p v] -> [b], at the last token
    return logits[:, -1, receiver] - logits[:, -1, giver]


by_hand = transformer.normed(stream, model.ln_final) @ model.W_U  # [p v]
best = logits[0, -1].softmax(-1).topk(5)
swapped_logits, other = model.run_with_cache(SWAPPED)  # the other story: cell 15 uses its cache
clean, swapped = logit_diff(logits)[0], logit_diff(swapped_logits)
words = [model.to_string(i).strip() for i in best.indices]
lesson.expect("11.1", "logits by hand: error", at_most(ROUNDING), error(by_hand, logits[0]))
lesson.recorded("11.2", "the answer", words[0])
lesson.recorded("11.3", "logit difference", clean, 0.01)
ask = f"{RECEIVER}'s logit minus {GIVER}'s is {clean:.2f}. Let {RECEIVER} give: what is it now?"
lesson.recorded("11.4", f"control: {RECEIVER} gives", swapped, 0.01, ask=ask)
title = f"The model says {words[0]}, with probability {best.values[0]:.3f}"
lesson.show(figures.bars(best.values, words, title, "probability"), "answer")

# %% 12. Who wrote the answer?
# Hold the last norm's divisor at the value it had, and all that comes after the stream is linear:
# what is true of the sum is true of each part. So each part has its own share of the difference.
# Before you look: which part has the largest? And what has the head that looks at Mary next most?
#
# Prediction: the shares add up to cell 11's number; control: with the last norm left out, they do
# not. Whoever looks at Mary says Mary, you would think.
direction = model.W_U[:, receiver] - model.W_U[:, giver]  # [d]
shares = transformer.attribute(parts[:, 0, -1], scale, ln.w, direction)  # [part]
total, raw = shares.sum() + ln.b @ direction, (parts[:, 0, -1] @ direction).sum()
looks = [(cache["pattern", layer][0, h, -1, at].item(), h) for h in range(cfg.n_heads) if h != head]
looker = f"L{layer}H{max(looks)[1]}"
lesson.expect("12.1", "sum of shares - logit difference", 0, total - clean, tolerance=1e-4)
lesson.expect("12.2", "control: without the last norm", at_least(0.01), (raw - clean).abs())
what = f"{looker}, {max(looks)[0]:.0%} on {RECEIVER}, adds"
bands = {"less than 0.1": at_most(0.1), "0.1 to 1": Band(0.1, 1), "more than 1": at_least(1)}
ask = f"{what} how much to the logit difference?"
lesson.recorded("12.3", what, by_head[looker], 0.001, ask=ask, choices=bands)
names = sorted(by_part, key=lambda name: -abs(by_part[name]))[:12]
values = [by_part[name] for name in names]
title = f"{names[0]} writes {values[0]:.1f} of {clean:.1f}; of the heads, {opened} writes most"
axis = "share of the logit difference"
lesson.show(figures.bars(values, names, title, axis, marked=[opened]), "attribution")


# %% 13. Replace: what if a head were silent?
# In the world model the last MLP wrote most, 4.3 of 6.7, and yet it sees one token only. It cannot
# look: it reads what the heads brought and says it louder. And L1H0 looks at Mary 70 % and adds
# 0.006 (Mary +1.53, John +1.52): looking is not deciding.
#
# A hook is a function that the model calls in the middle of a run: it is handed an activation, and
# the run goes on with what it hands back. `replace_own_head` puts something else in the place of
# one head's z, of another head in each copy of the prompt. First nothing at all: zeros. So every
# head falls silent once, and the head that we opened has all the others as its control. Before you
# look: whose silence will cost most?
#
# Prediction: the difference falls by exactly what the head wrote. We expect this to miss: other
# parts come later, and read. (The row has its reason ready, and cannot fail.) Control: idle hooks.
def replaced(layer, said, *more):  # said [p h e] -> [h], how the logit difference changes
    copies = tokens.expand(cfg.n_heads, -1)  # [h p]
    hooks = [(f"blocks.{layer}.attn.hook_z", transformer.replace_own_head(said)), *more]
    return logit_diff(model.run_with_hooks(copies, fwd_hooks=hooks)) - clean


nothing = torch.zeros_like(cache["z", layer][0])  # [p h e]
silent = torch.stack([replaced(one, nothing) for one in range(cfg.n_layers)])  # [l h]
idle = model.run_with_hooks(tokens, fwd_hooks=[("*.hook_z", lambda z, hook: None)])
change, why = silent[layer, head], "expected to miss: what comes later reads the head; see cell 14"
costly = "L{}H{}".format(*divmod(int(silent.argmin()), cfg.n_heads))
whose = "Whose silence lowers the logit difference most?"
lesson.expect("13.1", "control: an idle hook", 0, (idle - model(tokens)).abs().max())
lesson.expect("13.2", f"change, {opened} silent", -by_head[opened], change, 0.1, gap=why)
lesson.recorded("13.3", "the silence that costs most", costly, ask=whose)
lesson.show(f"{costly} falls silent: {silent.min():+.1f}. Is {costly} where the answer is made?")

# %% 14. Why the number is not what the head wrote
# Prediction: put back all that comes later, the last norm's divisor too, and 13.2 must hold. Put
# back the divisor alone: what is missing more, the MLP wrote less, for it read less. Then let the
# divisor go: a shorter stream has a smaller one (in the world model 0.82 becomes 0.60), so all that
# is left counts 1.36 times. That is most of the answer to the head's absence.
#
# Control: the other heads. Silence does not single out the head that we opened: of five, three move
# the number more. L1H2's even raises it. That head promotes both names alike (Mary +3.96, John
# +3.90); without it the divisor shrinks, and what tells the two apart counts more.
hold = transformer.hold(cache)
sites = [f"blocks.{i}.hook_mlp_out" for i in range(layer, cfg.n_layers)]
sites += [f"blocks.{i}.hook_attn_out" for i in range(layer + 1, cfg.n_layers)]
divisor = ("ln_final.hook_scale", hold)
all_held = replaced(layer, nothing, divisor, *((site, hold) for site in sites))[head]
held, wrote = replaced(layer, nothing, divisor)[head], by_head[opened]
others = silent.flatten()[torch.arange(silent.numel()) != layer * cfg.n_heads + head].abs()
lesson.expect("14.1", "silent, all that follows held", -wrote, all_held, 1e-3)
lesson.recorded("14.2", "silent, the divisor held", held, 0.01)
lesson.recorded("14.3", "control: the median other head", others.median(), 0.01)
lesson.recorded("14.4", "control: heads that move it more", (others > change.abs()).sum())
account = f"{-wrote:+.2f} its own, {held + wrote:+.2f} what others, reading less, wrote less"
lesson.show(f"{account}, {change - held:+.2f} a smaller divisor: together {change:+.2f}")

# %% 15. Replace again: told the other story
# Were you taken in? Zero is a value that no head ever takes, and nothing that follows was ever
# trained to meet it. So ask a fairer question: hand each head what it says when Mary gives (cell
# 11's control), and leave all else as it is. The prompt says John; one head has heard Mary.
#
# Prediction: the head whose silence cost most costs nearly nothing now, and another one most. That
# one knows who gives. Control: a head that is told its own story changes nothing.
same = replaced(layer, cache["z", layer][0]).abs().max()
told = torch.stack([replaced(i, other["z", i][0]) for i in range(cfg.n_layers)])  # [l h]
l, h = divmod(int(told.argmin()), cfg.n_heads)
teller, rest = f"L{l}H{h}", told.flatten()[silent.argmin()]
lesson.expect("15.1", "control: told its own story", 0, same, 1e-4)
lesson.recorded("15.2", f"change, {costly} told", rest, 0.01)
whom = "Which head, told the other story, lowers the logit difference most?"
lesson.recorded("15.3", "the telling that costs most", teller, ask=whom)
lesson.recorded("15.4", f"change, {teller} told", told.min(), 0.01)
title = f"Silenced, {costly} costs most; told the other story, {teller}"
lines = [f"L{i} {how}" for how in ("silenced", "told") for i in range(cfg.n_layers)]
axes = {"xlabel": "head", "ylabel": "", "unit": "change of logit difference", "signed": True}
plot = [torch.cat([silent, told]), lines, [f"H{i}" for i in range(cfg.n_heads)], title]
lesson.show(figures.heatmap(*plot, **axes), "replaced")

# %% 16. Who told the mover?
# In the world model L0H1 reads, from the end, the giver; the heads of layer 1, which move a name to
# the end, pass over him because of it.
#
# Prediction: with L0H1 told that Mary gives, L1H1 turns away from Mary, from 77 % of its attention
# to less than half. Control: with L0H0 told the same, it looks where it did. Zero was not wrong:
# something of L0H0 is needed. But it does not know who gives. A number from a replacement answers
# the question that the replacement asks.
reads, looks = labels[cache["pattern", l][0, h, -1].argmax()], []
watch = (f"blocks.{layer}.attn.hook_pattern", lambda p, hook: looks.append(p[:, head, -1, at]))
l0, h0 = divmod(int(silent.argmin()), cfg.n_heads)
for one in (l, l0):
    replaced(one, other["z", one][0], watch)  # copy i: head i is told
lesson.recorded("16.1", f"{teller}, from the end, looks at", reads)
what = f"{opened} on {RECEIVER}, {teller} told"
share = f"{opened} had {pattern[-1, at]:.0%} of its attention on {RECEIVER}. With {teller} told "
share += f"that {RECEIVER} gives, which share (0 to 1)?"
lesson.recorded("16.2", what, looks[0][h], 0.01, ask=share)
lesson.recorded("16.3", f"control: {opened} on {RECEIVER}, {costly} told", looks[1][h0], 0.01)

# %% 17. Differentiate: which way is up?
# Trying every head took a copy of the prompt for each. One backward pass estimates what pushing any
# head would do, all of them at once; a later lesson uses it. Every activation has a gradient, the
# direction in which a small push raises the logit difference most; a hook catches it with
# `x.register_hook`. Ours is of z of the opened head, at the last token. Is it right? Push a little,
# measure the slope.
#
# Prediction: along the gradient, the slope is the gradient's own length. We measure in 64 bits,
# where the difference of two close numbers keeps its digits. Control: along (1, 1, ..., 1) it is
# less; it is the cosine of the angle between the two, here almost sideways.
from copy import deepcopy

exact, caught = deepcopy(model).double(), []
site = f"blocks.{layer}.attn.hook_z"
with torch.enable_grad():
    hooks = [(site, transformer.catch_gradient(caught))]
    logit_diff(exact.run_with_hooks(tokens, fwd_hooks=hooks)).backward()
gradient = caught[0][0, -1, head]  # [e]


def after(push):  # [e] -> the logit difference, once the head's z at the last token was pushed
    hooks = [(site, transformer.nudge_head(head, push))]
    return logit_diff(exact.run_with_hooks(tokens, fwd_hooks=hooks))


length, anywhere = gradient.norm(), torch.ones(cfg.d_head).double() / cfg.d_head**0.5
up, aside = (transformer.slope(after, one) / length for one in (gradient / length, anywhere))
lesson.expect("17.1", "slope along the gradient / its length", 1, up, 1e-5)
cosine = (gradient @ anywhere / length).item()
lesson.expect("17.2", "control: along (1, 1, ..., 1)", cosine, aside, 1e-5)

# %% 18. The proof
# Now all parts together: `transformer.forward` is the whole model in ten lines, all of it yours by
# now. We run it in 64 bits and hold the model's logits against it: the model in 32 bits, once with
# its fast attention, and once with the plain one that it takes when somebody looks at a pattern.
#
# Prediction: 2e-5 at most, a bar that was set before the first measurement; only rounding should be
# left. Control: cell 20, with eight bugs.
by_hand = transformer.forward(tokens[0], exact)  # [p v]
fast, plain = error(model(tokens)[0], by_hand), error(logits[0], by_hand)

lesson.expect("18.1", "the model: error", at_most(2 * ROUNDING), fast, source="our own bar")
lesson.expect("18.2", "the model, somebody looking: error", at_most(2 * ROUNDING), plain)

# %% 19. Other witnesses
# Our own hand could err the way our own model does. So here is what is held against references that
# share no line with either: a forward in NumPy, 64 bits, and TransformerLens's stored answers on
# random weights, for every activation that has a name. For GPT-2 there is also what others
# published; of the world model nobody published anything: card.json is our own. `make verify`
# prints the same rows with their values.
#
# Prediction: no row fails. Control: a copy of the model in which a single weight is off by 0.1, on
# NumPy's bench: that row must fail.
from minimech.files import find
from minimech.verify import verify
from tests.proof import otherwise

with redirect_stdout(io.StringIO()):  # it prints too
    rows = verify(lesson.model_path)
failed = sum(not row.difference <= row.tolerance for row in rows)
off = deepcopy(model)
off.blocks[layer].mlp.W_out[0, 0] += 0.1
numpy = next(otherwise(off, find(lesson.model_path)))  # its first row: logits against NumPy's
lesson.expect("19.1", "rows of the table", at_least(5), len(rows))
lesson.expect("19.2", "of these, out of tolerance", 0, failed)
lesson.expect("19.3", "control: one weight off", at_least(numpy.tolerance), numpy.difference)
told = [f"{row.source}: {row.what}".split(", worst")[0] for row in rows]
table = [f"{row.difference:.0e} of {row.tolerance:.0e}  {what}" for row, what in zip(rows, told)]
lesson.show("\n".join(["apart    allowed", *table]))

# %% 20. Could it have failed?
# A proof that cannot fail is no proof. So we plant bugs in the parts written by hand, one at a
# time: eight slips that people make. None raises. Before you look: with how many of them will the
# answer still be the same? And which shows least?
#
# Prediction: every one shows, with at least ten times the error that cell 18 found with no bug. The
# answer hides most of them: reading it is no test. Control: the first bar, where nothing is wrong.
from unittest import mock

errors, answers = {"nothing is wrong": fast}, {"nothing is wrong": by_hand[-1].argmax()}
for bug, (part, wrong) in BUGS.items():
    with mock.patch.object(transformer, part, wrong):
        wrong_logits = transformer.forward(tokens[0], exact)
    errors[bug], answers[bug] = error(model(tokens)[0], wrong_logits), wrong_logits[-1].argmax()
kept = sum(answers[bug] == by_hand[-1].argmax() for bug in BUGS)
least, order = min(BUGS, key=errors.get), sorted(errors, key=errors.get)
lesson.expect("20.1", "least error of a bug / error without", at_least(10), errors[least] / fast)
ask = f"With how many of the {len(BUGS)} bugs does the answer stay the same?"
lesson.recorded("20.2", "bugs that leave the answer as it is", kept, ask=ask)
title = f"With {kept} of {len(BUGS)} bugs the answer stays the same; every one shows in the error"
bench = {"xlabel": "error (share of the largest logit), log", "log": True, "limit": 2 * ROUNDING}
said = [f"{bug}: {model.to_string(answers[bug]).strip()}" for bug in order]
lesson.show(figures.bars([errors[bug] for bug in order], said, title, **bench), "bugs")

# %% 21. Break it
# Four edits. Say what will happen, make one, run the lesson, and put it back.
#
# 1. In lessons/techniques/transformer.py, in `mlp`, make it `y**2` where it says `y**3`: row 9.1
#    must stop the lesson.
# 2. In `attention_pattern`, make it `triu(diagonal=0)`: no token sees itself, BOS has nothing left
#    to look at, its shares turn to nan, and nan agrees with nothing: row 7.1 must stop the lesson.
# 3. In `attention_pattern`, add 5 to all scores, before the mask: nothing may change but for
#    rounding. Softmax turns differences into shares; what is added to all is never seen.
# 4. In cell 1, tell of others: GIVER, RECEIVER = "Anna", "Tom". Rows of numbers now say look. Which
#    heads keep their parts?
lesson.show("""\
Now you. make check-03: six of the parts, for you to write; make lesson-03 MINE=1: this lesson on
what you wrote. make break-03: somebody slipped in a copy of the model; find where, and how.""")
lesson.finish()

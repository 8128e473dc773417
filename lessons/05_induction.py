"""How does a model copy?

Papers: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022,
"In-context Learning and Induction Heads".
Minutes: 60 to read and play with, one to run (GPT-2: about three). To have done first: lesson 03.

Say random words to a language model, and then the same words again. The second time it knows each
of them before it comes. Two heads that work together do it, and in the first half we find them,
read what they multiply, and take them away. In the second half we look at small networks that were
trained to copy, watch how they learn it, and at last make one by hand. On the way weights fool us,
and a picture does; a control catches each.

In the tables, ok: as predicted; look: nothing was predicted; control: what must come out otherwise,
or not at all, if we measure what we think; recorded: what these same weights gave when this was
written, no prediction of ours.
"""

# %% 1. Words that make no sense
# We draw words at random, no two alike, and say them twice, after BOS ("here a text begins"). No
# grammar helps and no meaning: whatever the model knows of the second time it has from the first.
import math
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.expect import at_least, at_most
from lessons.lesson import Lesson
from lessons.techniques import copiers, copying, induction, repeats
from lessons.techniques.sweep import LogitDiff, Nodes, Paths, sweep
from lessons.telling.viewer import attention

torch.set_grad_enabled(False)
torch.set_num_threads(1)  # where others work too, a second thread costs far more than it brings
lesson = Lesson("05_induction")
model = lesson.load(" the")
lesson.know(*copying.KNOWN.get(lesson.model_name, ({}, "")))
cfg, words = model.cfg, copying.whole_words(model)
n = min(25, len(words) // 2, (cfg.n_ctx - 1) // 2)  # words in a list
tokens = copying.said_twice(model, n, texts=20, seed=0)  # [b p], p = 1 + 2n
others = copying.said_twice(model, n, texts=20, seed=0, again=False)
said = "".join(model.to_str_tokens(tokens[0])[n - 3 : n + 5])
lesson.show(f"{lesson.model_name}. {len(tokens)} texts of {n} words, twice, such as\n...{said} ...")

# %% 2. The price of a word
# What a model did not expect costs it: the loss of a word is -ln of the probability it gave, in
# nats. Whoever holds all v words for equally likely pays ln(v) for each, 6.3 nats where there are
# 529 words. Nothing can be known of the first time. What does the model pay there, and what the
# second time?
#
# Prediction: in the world model more than ln(v) the first time. It knows how texts go on, and is
# sure of it; random words punish whoever is sure. The second time next to nothing, from the second
# word on: the first says that it all begins again, and where. Control: another list, as before.
even = math.log(cfg.d_vocab)
twice, never = copying.price(model, tokens), copying.price(model, others)  # [p]
first, second = twice[1 : n + 1].mean(), twice[n + 2 :].mean()
ask = f"All {cfg.d_vocab:,} words equally likely costs {even:.1f} nats. The first time it pays?"
sizes = {f"less than {even:.1f}": at_most(even), f"more than {even:.1f}": at_least(even)}
lesson.recorded("2.1", "nats per word, the first time", first, 0.5, ask=ask, choices=sizes)
ask = f"The first time it pays {first:.1f} nats per word. And the second time?"
lesson.recorded("2.2", "nats per word, the second time", second, 0.01, ask=ask)
lesson.recorded("2.3", "control: another list instead", never[n + 2 :].mean(), 0.5)
lines = {"the same list again": twice[1:], "control: another list": never[1:]}
title = f"The second time a word costs {second:.2g} nats, not {first:.1f}"
lesson.show(figures.line(range(1, 2 * n + 1), lines, title, "position", "loss, nats"), "price")

# %% 3. Where would you look?
# To say what comes next, a head can only look back. Here is a short text, six words said twice, and
# one head of the model (cell 4 says how we found it). It stands on a word that it sees for the
# second time. Three places would be natural: the token before this one; the earlier copy of this
# word; or something beside that copy.
#
# Prediction: it looks right after the earlier copy, at the word that is asked for. It has seen "A B
# ... A", and it looks at B. Nobody told it to; it has the habit from all texts in which a name, a
# quotation, a refrain comes again. It is called an induction head: what followed once will follow
# again. Control: with another list in the second half, it looks elsewhere.
_, cache = model.run_with_cache(tokens, "*.hook_pattern")
after = copying.stripes(cache, cfg.n_layers, back=n - 1, first=n + 1)  # [l h]
layer, head = copying.strongest(after)
short, another = (copying.said_twice(model, 6, 1, 1, again=again) for again in (True, False))
small, control = (model.run_with_cache(text)[1] for text in (short, another))
labels = figures.token_labels(model.to_str_tokens(short[0]))
pattern, opened = small["pattern", layer][0, head], f"L{layer}H{head}"  # [q k]
ask = f"At {labels[9]} (said before at 3), {opened} looks most at which token?"
looks = labels[pattern[9].argmax()]
lesson.recorded("3.1", f"from {labels[9]}, {opened} looks at", looks, ask=ask, choices=labels[:10])
lesson.recorded("3.2", f"its share there, {labels[4]}", pattern[9, 4], 0.02)
elsewhere = control["pattern", layer][0, head, 9, 4]
lesson.recorded("3.3", "control: with another second list", elsewhere, 0.02)
title = f"{opened}: from {labels[9]} {pattern[9].max():.0%} of its attention goes to {looks}"
plot = [pattern, labels, labels, title, "looked at (key)", "looking (query)", "attention"]
lesson.show(figures.heatmap(*plot, causal=True, framed=9), "pattern")

# %% 4. All heads, three questions
# With n words said twice, the earlier copy of a word stands n tokens back. So each habit is a
# stripe in the pattern, beside the diagonal: the previous token, 1 back; the same word, n back; the
# one after it, n - 1 back. A head's score is its mean attention along a stripe. Who has which?
#
# Prediction: in GPT-2 small five heads stand out on the stripe after the copy, 5.1, 5.5, 6.9, 7.2
# and 7.10, one on the token before, 4.11, and two on the same word, 0.5 and 3.0. (The paper of
# lesson 07 lists 5.5, 5.8, 5.9 and 6.9 for the first: it used other prompts, and it asked which
# heads matter, not where they look.) In the world model all heads of the last layer look after the
# copy, and none at the same word. Control: the score of each head on the two other stripes.
before = copying.stripes(cache, cfg.n_layers, back=1, first=1)
same = copying.stripes(cache, cfg.n_layers, back=n, first=n + 1)
high = copying.above(after, 0.7)
previous = copying.above(before[:layer], -1)[0]
duplicate = copying.above(same, -1)[0]
lesson.recorded("4.1", "previous token: the best head", copying.names([previous])[0])
lesson.recorded("4.2", "its score", before[previous], 0.05)
ask = f"Of all {cfg.n_layers * cfg.n_heads} heads, how many score above 0.7 right after the copy?"
lesson.recorded("4.3", "after the copy: heads above 0.7", len(high), ask=ask)
lesson.recorded("4.4", f"the best, {opened}", after[layer, head], 0.05)
best = copying.names([duplicate])[0]
lesson.recorded("4.5", f"the same word: the best, {best}", same[duplicate], 0.1)
lesson.recorded("4.6", f"control: {opened} on the token before", before[layer, head], 0.05)
patterns = torch.stack([small["pattern", one][0] for one in range(cfg.n_layers)])
title = f"Above 0.7 right after the copy: {', '.join(copying.names(sorted(high))) or 'none'}"
lesson.show(attention(labels, patterns, title, opened=(layer, head)), "heads")

# %% 5. One key to the left
# A public replication once reported all five heads of GPT-2 found, with a formula that was off by
# one, and said so itself later. So we measure the neighbours of the stripe too: one key to the left
# lies the word itself, one key to the right the word after next.
#
# Prediction: both under 0.1; a stripe is one key wide, and an error of one would show. Control, on
# texts whose second half is another list: where nothing comes again, this head has nothing to look
# at, and the same stripe is empty. Control: heads with random patterns. (Keep the first of these
# two controls in mind.)
beside = [copying.stripes(cache, cfg.n_layers, back, n + 1)[layer, head] for back in (n, n - 2)]
_, cache_of_others = model.run_with_cache(others, "*.hook_pattern")
empty = copying.stripes(cache_of_others, cfg.n_layers, n - 1, n + 1)[layer, head]
scores = torch.randn(200, 2 * n + 1, 2 * n + 1, generator=torch.Generator().manual_seed(0))
future = torch.ones(2 * n + 1, 2 * n + 1).triu(1).bool()
random = scores.masked_fill(future, -math.inf).softmax(-1)  # [200 q k]
lesson.recorded("5.1", f"{opened}, on the word itself", beside[0], 0.02)
lesson.recorded("5.2", f"{opened}, on the word after next", beside[1], 0.02)
ask = f"On texts in which no word comes again, what is {opened}'s score on that stripe (0 to 1)?"
lesson.recorded("5.3", "control: another list instead", empty, 0.02, ask=ask)
score = induction.stripe(random, n - 1, n + 1).max()
lesson.expect("5.4", "control: the best of 200 random", at_most(2.5 / n), score)
values = {"the word itself": beside[0], "the one after it": after[layer, head]}
values |= {"the word after next": beside[1], "control: no word comes again": empty}
title = f"{opened}'s stripe is one key wide, and only there where words come again"
lesson.show(figures.bars([*values.values()], [*values], title, "mean attention"), "stripes")

# %% 6. What does it say?
# Looking is half of copying. What a head hands over is x W_V W_O: the OV circuit, a d by d matrix
# of rank d_head. Does it give back the word that it read? Put the embedding before it and the
# unembedding behind, W_E W_V W_O W_U, a table of all words by all words; copying means that what
# goes in comes out stronger, in most directions: its eigenvalues are positive. The score is their
# sum over the sum of their lengths: 1 if all are positive, -1 if all are negative, about 0 if they
# lie at random. With GPT-2's 50,257 words the table would fill 10 gigabytes. But A B and B A have
# the same eigenvalues, but for zeros; taken round the other way it is d_head by d_head.
#
# Prediction: equal but for rounding, on a few words, both ways. In GPT-2, L11H3 copies best,
# 0.9995. And our head, which looks right after the copy: does it copy? It must, you would think.
# Control: a random head.
plain = model.processed()  # the same model, its layer norms folded into what reads them
circuits = copying.circuits(plain)
round_trip = circuits.W_U @ circuits.W_E  # [d d], for W_U comes before W_E, going round
left = (circuits.W_E[words[:30]] @ circuits.W_V[layer, head]).double()  # [30 e]
right = (circuits.W_O[layer, head] @ circuits.W_U[:, words[:30]]).double()  # [e 30]
apart = copying.by_big_matrix(left, right) - induction.copying_score(left, right)
by_weights = induction.copying_score(circuits.W_V, circuits.W_O @ round_trip)  # [l h]
reads, writes = copying.random_heads(cfg.d_model, cfg.d_head, n=50)
noise = induction.copying_score(reads, writes @ round_trip).abs().mean()
lesson.expect("6.1", "30 words, both ways round: apart", at_most(1e-6), apart.abs())
ask = f"{opened} scores {after[layer, head]:.2f} on its stripe. Its copying score (-1 to 1)?"
lesson.recorded("6.2", f"copying score of {opened}", by_weights[layer, head], 0.02, ask=ask)
top = copying.above(by_weights, -2)[0]
lesson.recorded("6.3", "the head that copies best", copying.names([top])[0])
lesson.recorded("6.4", "its score", by_weights[top], 0.01)
lesson.expect("6.5", "control: random heads, mean size", at_most(0.25), noise)

# %% 7. What it reads
# Were you disappointed? We asked of W_E, and this head never sees W_E. It stands in a later layer,
# and what it reads has been through an MLP. So ask again: let each word stand alone after BOS, take
# what the heads of that layer read there, and put it in the place of W_E.
#
# Prediction: above 0.9 for every head of cell 4 (in the world model; of GPT-2 nobody has published
# it). Control: the same, with each word's place taken by another's; what comes out is then a word,
# but not the one that went in.
some, found = words[:400], high or [(layer, head)]
read = {one: copying.read_by(plain, one, some) for one, _ in [*found, (layer, head)]}  # [n d]
handed = circuits.W_O @ circuits.W_U[:, some]  # [l h e n]
each = [induction.copying_score(read[one] @ circuits.W_V[one, h], handed[one, h])
        for one, h in [(layer, head), *found]]  # fmt: skip
as_read, mixed = each[0], read[layer].roll(1, 0) @ circuits.W_V[layer, head]
swapped = induction.copying_score(mixed, handed[layer, head])
old = by_weights[layer, head]
ask = f"From the embeddings {opened} copies {old:.2f}. From what reaches it (-1 to 1)?"
lesson.recorded("7.1", f"copying score of {opened}, as it reads", as_read, 0.02, ask=ask)
lesson.recorded("7.2", "the least, of all heads of 4.3", min(each), 0.02)
lesson.recorded("7.3", "control: words swapped", swapped.abs(), 0.05)
told = f"{opened} copies {old:.2f} from W_E, {as_read:.2f} from what reaches it."
lesson.show(f"{told}\nMatrices multiplied in a row claim that nothing stands between them.")

# %% 8. Who tells it where?
# The induction head stands on A and looks at B, since A stood before B. But at B there is nothing
# of A: B was embedded alone. Somebody in an earlier layer must have written at B which token came
# before. That is what a previous-token head is good for, and the later head's keys read it:
# K-composition. The QK circuit W_Q W_K^T says which key a query finds. Put what an earlier head
# writes, W_V W_O, where the keys read: how long is the product, as a share of what it could be?
#
# Prediction: the previous-token head composes more than the best of 300 random heads. In the world
# model it does. But so does L0H2, which hardly ever looks at the token before, and its score is the
# largest (with L1H0 and L1H1 it is the other way round). Heads of one model are trained on one
# stream: to be better than random is not much. Control: the random heads, all other earlier ones.
flat = [(one, h) for one in range(layer) for h in range(cfg.n_heads)]
composed = copying.compositions(circuits, layer, head)  # [earlier heads]
chance = copying.by_chance(cfg.d_model, cfg.d_head, n=300)
order = composed.argsort(descending=True).tolist()
ranked = [flat[i] for i in order]
lesson.recorded("8.1", "composes most", copying.names(ranked)[0])
lesson.recorded("8.2", "its score", composed[order[0]], 0.002)
past = copying.names([previous])[0]
lesson.recorded("8.3", f"rank of {past}, previous token", ranked.index(previous) + 1)
lesson.recorded("8.4", "heads above the best of 300 random ones", (composed > chance.max()).sum())
title = f"{copying.names(ranked)[0]} composes most with the keys of {opened}; is it needed?"
values = [*composed[order[:12]].tolist(), chance.max(), chance.mean()]
bars = [*copying.names(ranked[:12]), "control: best of 300 random", "control: their mean"]
lesson.show(figures.bars(values, bars, title, "K-composition", marked=[past]), "composition")

# %% 9. Ask the model
# Two heads now claim to tell it where. So we take each away, as lesson 03 did: we let it say what
# it says of another text, at the same place (`resample`), and count the words that the model still
# copies.
#
# Prediction: in the world model nearly none without the previous-token head, and nearly all without
# the one that composes most. Weights say what could be handed on; whether anything is, and whether
# it matters, only a run says. Control: the head that composes least.
tried = list(dict.fromkeys([previous, *ranked[:2], ranked[-1]]))
left = {name: copying.copied(model, tokens, copying.silenced([one], "resample"))
        for name, one in zip(copying.names(tried), tried)}  # fmt: skip
whole, second = copying.copied(model, tokens), next(one for one in ranked if one != previous)
most, last = copying.names([second, ranked[-1]])
lesson.recorded("9.1", "words copied, nothing done", whole, 0.01)
lesson.recorded("9.2", f"without {past}", left[past], 0.02)
ask = f"Without {most}, which composes more than most: which share is copied (0 to 1)?"
lesson.recorded("9.3", f"without {most}", left[most], 0.02, ask=ask)
lesson.recorded("9.4", f"control: without {last}", left[last], 0.02)

# %% 10. Through which door?
# What a head hears comes in by three doors: its query (what it looks for), its keys (what the
# others offer) and its values (what they hand over). We say what the previous-token head says of
# another text into one door at a time, of all heads in the induction head's layer, and leave all
# else. The measure: the logit of the word that is to be copied, minus that of the other text's.
#
# Prediction: the keys carry most of it. Queries come from the word that the model stands on, and
# values from the one that it looks at; neither needs to know what came before. Control: the head
# that composed most, into the same keys.
cut = n + 1 + n // 2  # stop in the middle of the second time: what comes next?
clean, corrupted = tokens[:8, :cut], copying.said_twice(model, n, texts=8, seed=2)[:, :cut]
metric = LogitDiff(tokens[:8, cut], corrupted[:, cut - n])


def change(sender, door):  # by how much the difference changes
    own = Nodes("z", over="head", layers=sender[0], heads=sender[1])
    path = Paths(own, to=Nodes(door, layers=layer))
    return (sweep(model, clean, corrupted, metric, path, direction="noising").mean - ahead).item()


ahead = metric(model(clean)[:, -1]).mean()
changes = {what: change(previous, what[0]) for what in ("queries", "keys", "values")}
lesson.recorded("10.1", "nothing done: the difference", ahead, 0.05)
for row, (what, by) in enumerate(changes.items(), 2):
    lesson.recorded(f"10.{row}", f"{past} into the {what}: change", by, 0.05)
lesson.recorded("10.5", f"control: {most} into the keys", change(second, "k"), 0.05)
told = f"{past} tells layer {layer}'s keys which token came before; without it"
lesson.show(f"{told} {ahead:.1f} becomes {ahead + changes['keys']:.1f}")

# %% 11. Are they needed?
# Now the induction heads themselves. We take away one, two, ... all of those that cell 4 found, in
# three ways: zero; the mean over texts; and what they say of another text. Control: as many others
# at once as there are, at most six, no induction heads and no previous-token heads.
#
# Prediction: in the world model zero and mean find each one spare. One can go, and nothing happens;
# with two of the three gone, most words are still copied. Told another text, two are enough to ruin
# it: they do not fall silent, they say the other text's words, and outvote the third. Neither is
# the truth about "needed". What you put in is what you have asked.
rest = [one for one in copying.above(-before, -0.3) if after[one] < 0.1] or [ranked[-1]]
some, two = tokens[:8], min(2, len(found))
kept = {how: copying.taken_away(model, some, found, how) for how in ("zero", "mean", "resample")}
control = copying.taken_away(model, some, rest, "resample")[-1]
lies = copying.taken_away(model, some, found, "resample", some.roll(1, 0))[two]
silent, told = kept["zero"][two], kept["resample"][two]
lesson.recorded("11.1", "one of them silent (zero)", kept["zero"][1], 0.02)
lesson.recorded("11.2", f"{two} of {len(found)} silent (zero)", silent, 0.05)
ask = f"Of the {len(found)}, {two} say what they say of another text. Share still copied (0 to 1)?"
lesson.recorded("11.3", f"{two} of {len(found)} told another text", told, 0.05, ask=ask)
lesson.recorded("11.4", "and then it says the other text's word", lies, 0.05)
lesson.recorded("11.5", "all of them silent (zero)", kept["zero"][-1], 0.02)
lesson.recorded("11.6", f"control: {len(rest[:6])} others told another text", control, 0.02)
title = f"With {two} of {len(found)} silent {silent:.0%} is copied; told another text, {told:.0%}"
plot = [torch.tensor([*kept.values()]), [*kept], [*"0123456"][: len(kept["zero"])], title]
lesson.show(figures.heatmap(*plot, "heads taken away", "how", "share copied"), "needed")

# %% 12. Two networks of our own
# Is that what it takes: a low price, a stripe, a share near 1? We trained two small networks, A and
# B, attention and nothing else (lessons/techniques/repeats.py); positions enter queries and keys
# only. Here they read the usual test: 24 random tokens, said twice. We count the tokens that they
# tell right, and score their heads on the stripe of cell 4, where both are to be seen.
#
# A is perfect, and its stripe is clearer than B's; GPT-2's best head has 0.93. Control: the same
# stripe for a network that was never trained. Look well at the picture: cell 13 asks.
net = copiers.networks()
nets = {"A": net["fixed_one_layer"], "B": net["seed1"]}
usual, can_tell = repeats.fixed(256, seed=1)
right = {name: copiers.accuracy(one, usual, can_tell) for name, one in nets.items()}
best = {name: copiers.score(one, usual, 23, 25).max() for name, one in nets.items()}
blank = copiers.score(copiers.untrained(), usual, 23, 25).max()
lesson.expect("12.1", "A: tokens told right", at_least(0.99), right["A"])
lesson.expect("12.2", "A: its best head on the stripe", 0.95, best["A"], 0.02)
lesson.expect("12.3", "B: tokens told right", at_least(0.95), right["B"])
lesson.expect("12.4", "B: its best head on the stripe", 0.84, best["B"], 0.03)
lesson.expect("12.5", "control: not trained, the same stripe", at_most(0.1), blank)
pattern, every = copiers.best_pattern(nets["A"], usual, 23, 25), [""] * 49  # [q k]
every[::4] = map(str, range(0, 49, 4))
plot = [pattern[25:], every[25:], every, f"A's best head: a stripe of {best['A']:.2f}"]
lesson.show(figures.heatmap(*plot, "looked at", "looking, second time", "attention"), "stripe")

# %% 13. Say it a little sooner
# Both have every sign that we asked for. To copy is to find what was said before, wherever that
# was. So now we say 23 tokens twice, not 24; and 22, and so on, down to 6.
#
# Prediction: B goes on as before, and A, which had 100 %, has next to nothing right (19 % of 6
# tokens: whoever guesses among six has one in six). With one fixed distance, looking 23 back is a
# perfect answer, no matter what stands there, and that is what A has learned. It has one layer, and
# cannot do otherwise: in one layer nobody can tell a token what came before another. Control: two
# layers, trained on the same texts as A. They could learn to copy, and did not; it is the texts.
shares = {name: copiers.by_length(one) for name, one in nets.items()}  # at 6, 7, ... 24 tokens
ask = "Network A tells all of 24 tokens right that are said twice. Of 23, which share (0 to 1)?"
lesson.expect("13.1", "A, 23 tokens: right", 0, shares["A"][-2], 0.02, ask=ask)
lesson.expect("13.2", "B, 23 tokens: right", at_least(0.95), shares["B"][-2])
lesson.expect("13.3", "B, 6 to 24 tokens: the least", at_least(0.9), min(shares["B"]))
two_layers = copiers.by_length(net["fixed_two_layers"])
lesson.expect("13.4", "control: two layers, A's texts, 24", at_least(0.99), two_layers[-1])
lesson.expect("13.5", "control: two layers, A's texts, 23", 0, two_layers[-2], 0.02)
title = f"A copies at the one distance it was trained on; B is never under {min(shares['B']):.0%}"
lines = shares | {"two layers, A's texts": two_layers}
axes = "tokens said twice", "share told right"
lesson.show(figures.line(copiers.LENGTHS, lines, title, *axes), "distance")

# %% 14. The control that we had
# We could have known. Cell 5 asked what the stripe is on texts in which nothing comes again; we
# did not ask it of A.
#
# Prediction: A's stripe is as clear as before, and B's is gone. So a picture of a stripe, a high
# score, and every token right prove nothing of copying, as long as one distance is all there is;
# one more row would have told. And the language model of the first half? Its row stands in cell 5.
# Control: it copies lists of another length too.
nothing = repeats.unrelated(256, seed=1)
empty = {name: copiers.score(one, nothing, 23, 25).max() for name, one in nets.items()}
lesson.expect("14.1", "A's stripe where nothing comes again", 0.95, empty["A"], 0.02)
lesson.expect("14.2", "B's there", at_most(0.1), empty["B"])
half = copying.said_twice(model, n // 2, texts=20, seed=3)
what = f"control: {lesson.model_name}, lists of {n // 2} words"
lesson.recorded("14.3", what, copying.copied(model, half), 0.02)

# %% 15. An honest game
# B was trained on another game: in 48 random tokens a piece of 6 to 12 comes again, at any later
# place. Where it will stand is not known, nor how long it is; only where it continues can the next
# token be told, and only there do we count. Four networks played it: one layer, and three of two
# layers, from different starts (seeds 1, 2, 3). B is seed 1.
#
# Prediction: one layer stays under 15 %, two layers reach 95 %. Each of these has a head in layer 0
# on the token before, and heads in layer 1 on the right place, which we now have to find text by
# text (`after_last`); on the same word, which an error of one would hit, next to nothing.
texts, can_tell = game = repeats.anywhere(512, seed=999_999_999)  # what the recipe tests on
told = {label: copiers.accuracy(net[name], *game) for name, label in copiers.HONEST.items()}
looks = {seed: copiers.looks(net[seed], *game) for seed in copiers.SEEDS}
previous = {seed: look.previous[0] for seed, look in looks.items()}  # [h] each
worst = sorted(told.values())[1]
lesson.expect("15.1", "one layer: told right", at_most(0.15), told["one layer"])
lesson.expect("15.2", "two layers: the worst of three seeds", at_least(0.95), worst)
least = min(scores.max() for scores in previous.values())
lesson.expect("15.3", "the token before: each seed's best head", at_least(0.75), least)
least = min(look.after[1].mean() for look in looks.values())
lesson.expect("15.4", "after the copy: each seed's layer 1", at_least(0.7), least)
most = max(look.same.max() for look in looks.values())
lesson.expect("15.5", "control: on the same token, any head", at_most(0.1), most)
title = f"One layer tells {told['one layer']:.0%} right, two layers {worst:.0%} or more"
lesson.show(figures.bars([*told.values()], [*told], title, "share told right"), "layers")

# %% 16. Spare parts
# Layer 1 lives on what a previous-token head tells it. So we silence that head, and all is over. Or
# is it? Each seed has more than one head that looks at the token before; seed 3 has two that are
# equally strong, L0H1 with 0.84 and L0H3 with 0.83.
#
# Prediction: silence the stronger one of seed 3, and more than 85 % stay right: the other does its
# work. The same for the other. One after the other, both seem useless; without both, under 20 % are
# left, most of them by a third head, L0H2, which scores 0.30. In each seed, with every head of
# layer 0 gone that scores above 0.3, under 10 %. Who takes away one head at a time learns what is
# spare, not what is used. Control: the two others of seed 3, L0H0 and L0H2, at once. They cost
# about as much as one of the pair alone (what L0H0 is good for, cell 19 shows).
order = previous["seed3"].argsort(descending=True).tolist()
alone = [copiers.silent(net["seed3"], *game, [one]) for one in order]
both, rest = (copiers.silent(net["seed3"], *game, some) for some in (order[:2], order[2:]))
gone = [copiers.silent(net[s], *game, copiers.above(h, 0.3)) for s, h in previous.items()]
one, other = (f"L0H{head}" for head in order[:2])
lesson.expect("16.1", f"seed 3 without {one}", at_least(0.85), alone[0])
lesson.expect("16.2", f"seed 3 without {other}", at_least(0.85), alone[1])
ask = f"{alone[0]:.0%} right without {one}, {alone[1]:.0%} without {other}. Without both (0 to 1)?"
lesson.expect("16.3", "seed 3 without both", at_most(0.2), both, ask=ask)
lesson.expect("16.4", "seed 3 without all above 0.3", at_most(0.1), gone[-1])
lesson.expect("16.5", "the same, the best of the seeds", at_most(0.1), max(gone))
lesson.expect("16.6", "control: seed 3 without the other two", at_least(0.85), rest)
values = [told["two layers, seed 3"], *alone[:2], both, rest]
bars = ["nothing done", f"without {one}", f"without {other}", "without both", "control: the others"]
title = f"Each of the two is spare; without both {both:.0%} are right"
lesson.show(figures.bars(values, bars, title, "share told right"), "spare")

# %% 17. The turn
# How does a network come to this? Seed 1 was kept on its way. For a long time it gets by with what
# one layer can do: tokens that stand in the text are more likely than others. Olsson et al. found
# that in large models, too, induction does not come bit by bit, but in a turn so sharp that it can
# be seen in the loss.
#
# Prediction: from 10 % right to 80 % in less than a tenth of the training, between steps 900 and
# 1,100. There the loss falls by more than 3 nats, and what we have measured one by one comes up:
# the attention to the token before, the attention after the copy, and the composition of the two.
# Neither half is of use without the other, so neither can come first. Control: one layer's loss.
curves, of_one = (repeats.load(copiers.FOLDER / name)[1] for name in ("seed1", "one_layer"))
ten, eighty = (copiers.first_step(curves, share) for share in (0.1, 0.8))
on_the_way = repeats.snapshots(copiers.FOLDER / "seed1")  # step -> network
lines = copiers.turn(on_the_way, texts[:256], can_tell[:256])
old, new = ([*on_the_way].index(step) for step in (900, 1100))
ask = "Seed 1 trained for 2,500 steps. How many of them led from 10 % right to 80 %?"
lesson.expect("17.1", "steps from 10 % right to 80 %", at_most(250), eighty - ten, ask=ask)
for row, (what, least) in enumerate(zip(lines, (0.4, 0.5, 0.05)), 2):
    rise = lines[what][new] - lines[what][old]
    lesson.expect(f"17.{row}", f"900 to 1,100: {what}", at_least(least), rise)
cost, flat = (copiers.at_steps(of, "loss", on_the_way) for of in (curves, of_one))  # nats
lesson.expect("17.5", "900 to 1,100: loss falls by (nats)", at_least(3), cost[old] - cost[new])
lesson.expect("17.6", "control: one layer's loss falls by", at_most(0.2), flat[old] - flat[new])
lines[f"loss (1 is {cost[0]:.1f} nats)"] = [one / cost[0] for one in cost]
title = f"Steps {ten} to {eighty:,}: the loss falls, both habits come up, and they compose"
lesson.show(figures.line([*on_the_way], lines, title, "step", "attention, score, loss"), "turn")

# %% 18. One made by hand
# Now we know enough to build one. `induction.by_hand` sets the weights of two layers with one head
# each, and nothing is trained. The head of layer 0 looks one place back and writes down, where
# nothing else is written, which token it found. The head of layer 1 looks for its own token there.
# It is exercise 5.6: if you want to build it yourself, do so before you read it.
#
# Prediction: where a token has come just once before, all right, to the last one. On all of cell
# 15's game it is less: 22 % of the time a random token has come more than once, the head looks at
# all the places that followed, and divides itself. So what we built by the book is worse than what
# training found. Control: without its first head, nothing. And is ours the circuit of seed 1 at
# all? There, too, my token should match the token that layer 0 wrote down: the eigenvalues of
# W_E W_Q W_K^T (W_V W_O)^T W_E^T should be positive, a score of 1. Control: a network not trained.
hand = repeats.built(induction.by_hand(repeats.VOCAB, repeats.LENGTH + 1))
times = copiers.seen_before(*game)  # [n]
hits, trained = (copiers.told_right(one, *game) for one in (hand, net["seed1"]))  # [n]
ask = f"Seed 1, trained, tells {told[copiers.HONEST['seed1']]:.0%} right. The one by hand (0 to 1)?"
lesson.expect("18.1", "by hand: told right", at_least(0.85), hits.float().mean(), ask=ask)
lesson.expect("18.2", "seen once before: by hand", at_least(0.99), hits[times == 1].float().mean())
more, after_more = (one[times > 1].float().mean() for one in (hits, trained))
lesson.expect("18.3", "seen more than once: by hand", at_least(0.3), more)
gone = copiers.silent(hand, *game, [0])
lesson.expect("18.4", "control: without its first head", at_most(0.1), gone)
match = copiers.matching(net["seed1"], int(previous["seed1"].argmax()))
lesson.expect("18.5", "seed 1: the two tokens match", at_least(0.95), match)
by_luck = copiers.matching(copiers.untrained(2), 0)
lesson.expect("18.6", "control: not trained", at_most(0.3), abs(by_luck))

# %% 19. What it found that we did not think of
# Where a token has come twice or three times before, one token does not say which of its followers
# is meant. What would? The token before that. We look for a head of layer 0 that looks two back.
#
# Prediction: the trained network tells more than 85 % right there. Seed 1 has such a head, L0H2.
# Silence it, and where the token was seen once nothing changes; where it was seen more often, 29 of
# every 100 are lost. And this head has a past: until step 1,750, long after the turn, it looked one
# back, a third previous-token head and a spare one, and 91 % of all were told right. Then it took
# up a better job, and with it the share climbs to 97 %. Seeds 2 and 3 have such a head too, from
# other starts. Control: L0H1, which looks neither one nor two back.
two_back = {seed: copiers.score(net[seed], texts, 2, 2)[0] for seed in copiers.SEEDS}  # [h] each
job, least = int(two_back["seed1"].argmax()), min(scores.max() for scores in two_back.values())
(once, often), (_, control) = (copiers.lost(net["seed1"], *game, head) for head in (job, 1))
ask = f"Tokens seen more than once: by hand {more:.0%} right. And by training (0 to 1)?"
lesson.expect("19.1", "seen more than once: trained", at_least(0.85), after_more, ask=ask)
lesson.expect("19.2", "two back: each seed's best head", at_least(0.5), least)
lesson.expect("19.3", f"seen more than once, no L0H{job}: lost", at_least(0.25), often)
lesson.expect("19.4", f"seen once, no L0H{job}: lost", at_most(0.01), once)
lesson.expect("19.5", "control: seen more than once, no L0H1", at_most(0.05), control)
lines = copiers.jobs(on_the_way, texts[:64], job)
lines["told right, of all"] = right = copiers.at_steps(curves, "accuracy", on_the_way)
then = [*on_the_way].index(1750)
lesson.expect("19.6", f"step 1,750: L0H{job} one back", at_least(0.4), lines["one back"][then])
lesson.expect("19.7", "step 1,750: told right, of all", at_most(0.92), right[then])
title = f"L0H{job} looked one back; long after the turn it took up another job"
lesson.show(figures.line([*on_the_way], lines, title, "step", "attention, share"), "job")

# %% 20. Break it
# Four edits. Say what will happen, make one, run the lesson, and put it back.
#
# 1. In lessons/techniques/induction.py, in `after_last`, return `last` where it says `last + 1`: an
#    error of one. Row 15.4 must stop the lesson.
# 2. In `by_hand`, make it `place.roll(1, 1)`: the first head now looks at the place after, which is
#    masked. Row 18.1 must stop it.
# 3. In `by_hand`, leave out both `sharp *`: the right places have the highest scores, and softmax
#    hardly sees it. Row 18.1 again.
# 4. In cell 16, give `silent` the words how="resample", where `alone` is made: told another text, a
#    spare head is not harmless. Row 16.1 must stop it.
lesson.show("""\
Now you. make check-05: six of the parts, for you to write; the last is the network of cell 18. make
lesson-05 MINE=1: this lesson on what you wrote.""")
lesson.finish()

"""What are the features?

Papers: Cunningham et al. 2023, "Sparse Autoencoders Find Highly Interpretable Features"; Bricken et
al. 2023, "Towards Monosemanticity"; Gao et al. 2024 (TopK); Bussmann et al. 2025 (Matryoshka).
Minutes: 70 to read and play with, 1 to run (GPT-2: some minutes). To have done first: lesson 01.

Lesson 01 ended with more features than dimensions, and no way to get at them. A sparse autoencoder
is the field's way. We first try it where we made the features ourselves, and it is there that most
is learned: what the field's numbers reward, and what they do not see. Then we take a real model
apart, measure as the field does, and do what the field cannot: hold the result to the truth, since
somebody knows what every token of our world is.

In the tables, ok: as predicted; look: nothing was predicted; control: what must come out otherwise,
or not at all, if we measure what we think; recorded: what these same weights gave when this was
written, no prediction of ours.
"""

# %% 1. A world with known features
# Draw 32 directions in 16 dimensions: our features. An example has each of them with probability
# 0.05, by itself, 0.5 to 1.5 strong, and is their sum: 16 numbers. That is what we believe of a
# model's activations (lesson 01): many directions, few on at once. The task is to get the 32 back,
# from examples alone.
#
# We call a feature found if some direction of ours comes near it: a cosine above 0.95. How near
# does one come with no work at all? Take 64 directions, at random, and for each true feature the
# nearest of the 64.
#
# Prediction: nearer than one would think, about 0.55. In 16 dimensions two random directions have a
# cosine of 0.25, more or less, and the best of 64 is far above that. So a mean cosine of 0.55 is
# what nothing gives; whoever reports 0.7 has to say so. None of the 32 is found.
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.expect import Band, at_least, at_most
from lessons.lesson import Lesson
from lessons.techniques import known_features as toy
from lessons.techniques import sparse_autoencoders as parts
from lessons.techniques.sae import baselines, compare, metrics, scores, shares
from lessons.techniques.sae.autoencoders import LOSSES
from lessons.techniques.sae.dashboards import describe, write_page
from lessons.techniques.sae.ready import ready
from lessons.techniques.sae.search import apart
from lessons.techniques.sae.store import Store, collect, model_hash
from lessons.techniques.sae.survey import survey
from lessons.techniques.truth import labelled
from minimech import HookedTransformer, MinimechError

WORLD = {"9.1": "mean", "9.2": 0.997, "9.3": 0.997, "9.5": 0.81, "9.6": 0.78, "10.1": 8}
WORLD |= {"10.2": 0.959, "10.3": 0.17, "10.4": 0.004, "10.5": 0.71, "10.6": 0.007, "11.1": 0.76}
WORLD |= {"11.2": 0.39, "11.3": 0.28, "11.4": 0.27, "11.5": 0, "12.1": 0.76, "12.3": 0.42}
WORLD |= {"12.4": 0.49, "12.5": 0, "12.6": 0, "13.1": "main", "13.2": "topk-32", "13.3": 8}
WORLD |= {"13.4": 0.53, "13.5": 0.06, "13.6": 0.66, "13.7": 0.31, "14.1": 0.48, "14.2": 0.86}
WORLD |= {"14.3": -0.32, "14.4": -0.65, "14.5": 0.74, "14.6": 0.64, "14.7": 0.29, "14.8": 0.02}
torch.set_grad_enabled(False)
torch.set_num_threads(1)  # the same numbers everywhere
lesson = Lesson("09_sparse_autoencoders")
true = toy.directions(seed=0)  # [t d]
x, strength = toy.examples(true, 20_000, torch.Generator().manual_seed(1))  # [n d], [n t]
chance = toy.nearest(true, toy.directions(seed=5, n=64))  # [t]
ask = "Of 64 directions drawn at random in 16 dimensions, how near does the nearest come to a true "
ask += "one (cosine, mean over the 32)?"
lesson.expect("1.1", "true features on at once", 1.6, parts.l0(strength), 0.05)
lesson.expect("1.2", "nearest of 64 at random, mean cosine", Band(0.5, 0.6), chance.mean(), ask=ask)
lesson.expect("1.3", "control: of 32, found by these", 0, (chance > 0.95).sum())

# %% 2. Four autoencoders
# An autoencoder reads x, says which of its 64 latents are on and how much (f), and puts x together
# again: x_hat = f W_dec + b_dec. A row of W_dec is a latent's direction. It learns to make x_hat
# like x; and, so that it has to find out what x is made of, to have little on. Two ways to ask for
# little: a price on the sum of f (ReLU, with a low price and a high one), or a limit, the k largest
# and no more (TopK, with 8 and with 2).
#
# Explained variance is the share of x's variance that x_hat has; L0 is how many latents are on. The
# field reports these two. All four have learned well; look at their numbers.
#
# Prediction: the less it costs to be on, the more is explained. By hand (exercise 9.3) the loss of
# TopK comes out as that of sae/autoencoders.py. Control: its second part, for latents that are
# never on (cell 6), is there: without it the loss is another.
KINDS = {f"ReLU {price}": {"kind": "relu", "l1": price} for price in (0.02, 0.3)}
KINDS |= {f"TopK {k}": {"kind": "topk", "k": k} for k in (8, 2)}
made = {name: toy.trained(true, seed=0, **kind) for name, kind in KINDS.items()}
numbers = {name: metrics.summary(sae, x) for name, sae in made.items()}
explained = {name: row["explained_variance"] for name, row in numbers.items()}
two, silent = made["TopK 2"], metrics.rates(made["TopK 2"], x) == 0  # [f]
hand = parts.topk_loss(x, two.W_enc, two.b_enc, two.W_dec, two.b_dec, 2, silent)
lesson.expect("2.1", "explained, ReLU at the lowest price", at_least(0.99), explained["ReLU 0.02"])
lesson.expect("2.2", "explained, TopK 2", Band(0.83, 0.89), explained["TopK 2"])
lesson.expect("2.3", "loss by hand - the file's", 0, hand - LOSSES["topk"](two, x, silent)[0], 1e-4)
without = LOSSES["topk"](two, x, silent & False)[0]
lesson.expect("2.4", "control: nothing for the silent", at_least(1e-4), (hand - without).abs())
head = f"{'':<12}{'explained variance':>20}{'L0':>16}"
lines = [f"{n:<12}{r['explained_variance']:>20.3f}{r['l0']:>16.1f}" for n, r in numbers.items()]
lesson.show("\n".join([head, *lines]))

# %% 3. Which one would you keep?
# You are to find the features, and may keep one of the four. In a real model there is nothing to go
# by but that table. Here there is: hold the rows of W_dec to the 32 directions.
#
# Prediction: keep the best by explained variance, and you have found none at all. The worst of the
# four found (nearly) all. If 20 latents may be on, any 20 directions will do to write 16 numbers:
# nobody has to find out what x is made of. It is not ReLU's fault, TopK with 8 fails in the same
# way. Control: the random directions of cell 1, none (row 1.3).
cosine = {name: toy.nearest(true, sae.W_dec) for name, sae in made.items()}  # [t] each
found = {name: int((near > 0.95).sum()) for name, near in cosine.items()}
best = max(found, key=found.get)
ask = "Which of the four has found the most features?"
lesson.expect("3.1", "found the most", "TopK 2", best, ask=ask, choices=[*KINDS])
ask = f"ReLU 0.02 explains {explained['ReLU 0.02']:.1%}. How many of the 32 has it found?"
lesson.expect("3.2", "of 32, by ReLU 0.02", at_most(2), found["ReLU 0.02"], ask=ask)
lesson.expect("3.3", "of 32, by TopK 2", at_least(29), found["TopK 2"])
lesson.expect("3.4", "of 32, by TopK 8", at_most(4), found["TopK 8"])
lesson.expect("3.5", "mean cosine, ReLU 0.02", Band(0.6, 0.8), cosine["ReLU 0.02"].mean())
labels = [f"{name}, explains {explained[name]:.3f}" for name in found]
title = f"Explains {explained['ReLU 0.02']:.1%}, found {found['ReLU 0.02']}; "
title += f"explains {explained['TopK 2']:.1%}, found {found['TopK 2']}"
axis = "true features found, of 32 (cosine above 0.95)"
lesson.show(figures.bars([*found.values()], labels, title, axis), "found")

# %% 4. When nobody knows the truth
# In a real model there are no 32 directions to look up. Is there any sign, then? Train the same
# again from another start. What it found should be found again; what it made up, why should it?
#
# Of two random dictionaries, the nearest of one comes within 0.56 of a direction of the other. The
# autoencoder that explains the most, trained twice: how near do its two dictionaries come?
#
# Prediction: hardly nearer than two random ones; TopK 2 agrees with itself. (Only latents that are
# ever on count.) It is the cheapest test there is, and it needs no truth. Yet it can fail too: what
# two starts get wrong in the same way, it calls right.
again = {name: toy.trained(true, seed=1, **KINDS[name]) for name in ("ReLU 0.02", "TopK 2")}


def alike(a, b):  # two autoencoders -> the mean over a's latents of the nearest of b's
    rows = [sae.W_dec[metrics.rates(sae, x) > 0] for sae in (a, b)]
    return toy.nearest(*rows).mean()


random = toy.nearest(toy.directions(5, 64), toy.directions(6, 64)).mean()
ask = f"Two random dictionaries: {random:.2f}. Two of ReLU 0.02, from two starts: what mean cosine?"
sloppy = alike(made["ReLU 0.02"], again["ReLU 0.02"])
lesson.expect("4.1", "ReLU 0.02 and itself", Band(0.5, 0.7), sloppy, ask=ask)
lesson.expect("4.2", "TopK 2 and itself", at_least(0.85), alike(two, again["TopK 2"]))
lesson.expect("4.3", "control: two random dictionaries", Band(0.5, 0.6), random)

# %% 5. What a price does to what is found
# ReLU at the high price did well: most features are found, with L0 near 6. But to be on costs, and
# the cost grows with f. So it pays to be on a little less than one should.
#
# By which share are its reconstructions too short? (Measured from the mean: 0.2 is a fifth.)
#
# Prediction: by about a seventh. The name is shrinkage, or feature suppression (Wright & Sharkey
# 2024). TopK pays nothing for how much a latent is on, and is not short. Whoever steers with a
# latent, or sums what latents do, should know it. Control: at the low price, hardly any.
short = {name: row["shrinkage"] for name, row in numbers.items()}
ask = "By which share are the reconstructions of ReLU 0.3 too short?"
lesson.expect("5.1", "shrinkage, ReLU 0.3", Band(0.11, 0.19), short["ReLU 0.3"], ask=ask)
lesson.expect("5.2", "shrinkage, TopK 2", 0, short["TopK 2"], 0.02)
lesson.expect("5.3", "control: ReLU 0.02", at_most(0.04), short["ReLU 0.02"])

# %% 6. The dead
# 64 latents, 32 features, and TopK 2 found them all. What do the other half do? A latent that is
# not among the k largest gets no gradient, so it may never get among them: it is dead. In large
# autoencoders that can be most of them; hence the second part of the loss, which lets the dead
# explain what is left (exercise 9.3).
#
# Of the 64, how many are never on in 20,000 examples?
#
# Prediction: about twenty. Here that is no fault: there is nothing left to be found. Dead latents
# are waste; whether they are a loss depends on what they could have found. Control: no true
# feature's nearest latent is a dead one.
which = (true @ torch.nn.functional.normalize(two.W_dec, dim=1).T).argmax(1)  # [t]
ask = "How many of the 64 latents of TopK 2 are never on in 20,000 examples?"
lesson.expect("6.1", "of 64, dead", Band(8, 32), silent.sum(), ask=ask)
lesson.expect("6.2", "control: features that a dead one has", at_most(1), silent[which].sum())

# %% 7. A real model
# Now a model, and text of the world that it was trained on (lesson 08): 200 documents to choose on,
# and 200 others to judge on. BOS is left out throughout: in most models its activation is like no
# other and would be most of the variance.
#
# And an autoencoder for it. The world model's ships in weights/sae/main: of the 15 that ship it is
# the one that found most true features on a text of its own, and more were tried before
# (weights/README.md). That was a choice, and a choice flatters; hence we judge on a text that had
# no part in it. GPT-2's is the published one (gpt2-small-res-jb, Bloom 2024: 24,576 latents, with
# an L0 of 60 and 0.9 explained on web text at this site), if it is on this machine; any other model
# gets a small one, trained just now.
model = lesson.load("John went to the park")
small = model.cfg.d_model <= 128
n = 200 if small else 24  # documents
text, held = labelled(model, n, seed=1), labelled(model, n, seed=3)
sae, where = ready(model)
WORLD |= {"15.1": 0.81, "15.2": 0.99, "15.3": 0.54, "15.4": 0, "15.5": 0.47, "15.6": 1.5}
WORLD |= {"17.1": "profession", "17.2": 0.99, "18.1": "364", "18.2": 1, "18.3": 0.55, "19.1": 1.89}
WORLD |= {"19.2": 0, "19.3": 0}
ours = where.startswith("weights/sae")
lesson.know(*((WORLD, "recorded") if ours else ({}, "")))
bar = at_least(0.8) if ours else None  # what we aimed at: row 12.2
site, tokens = sae.cfg.site, text.tokens  # [b p]
xa, xs = (scores.activations(model, each.tokens, site) for each in (text, held))  # [n d] both
lesson.show(where)

# %% 8. Activations on disk
# All activations of a site are examples like those above. An autoencoder needs millions of them, so
# they are written to disk once, and read shuffled. A store knows what it holds, of which model and
# which text.
#
# Prediction: a document's rows in the store are its activations. The store has a row for every
# token but the first of each document. Handed another model, it refuses.
few = tokens[: 40 if small else 4]  # [b p]
folder = lesson.folder / f"store-{model_hash(model)[:8]}-{site}"
store, other = collect(model, few, site, folder), HookedTransformer(model.cfg)
rows, stored = scores.activations(model, few[:1], site), store[store.rows(0)]  # [p-1 d], of one
try:
    Store(folder).check(other)
    answer = "taken"
except MinimechError:
    answer = "refused"
lesson.expect("8.1", "rows of the store", few[:, 1:].numel(), store.n)
lesson.expect("8.2", "store - a run of the model", 0, (stored - rows).abs().max(), 1e-4)
lesson.expect("8.3", "the same store, another model", "refused", answer)
lesson.show(f"{store}")

# %% 9. What the field would say of it
# First we measure as anybody would, on text that the autoencoder has not seen.
#
# Put x_hat in the place of x, and let the model go on. The loss rises. To say whether by little or
# much, one needs a worst case: the site's activation replaced by zeros, or by its mean. What share
# of the way from the worst case to the model itself does x_hat recover? But which worst case? Which
# of the two breaks the model more?
#
# Prediction: nearly all is recovered, with 8 latents of 1,024. In the world model the mean breaks
# more than zeros do. Whichever breaks more flatters more: so papers must say which. Controls: with
# its own error added, the splice is exact. A random dictionary of as many latents loses far more,
# and yet recovers 0.81: that is what nothing gives, as 0.55 was in cell 1.
row, part = metrics.summary(sae, xs), held.tokens[: 30 if small else 8]
draw = torch.Generator().manual_seed(0)
good, with_x, zero = metrics.losses(model, part, sae, "zero")
mean = metrics.losses(model, part, sae, "mean")[2]
k = max(1, round(row["l0"]))
drawn = baselines.random(xs, sae.cfg.d_sae, k, site)
worse = "zero" if zero > mean else "mean"
ask = "Which breaks the model more at this site: zeros, or the mean activation?"
lesson.recorded("9.1", "breaks more", worse, ask=ask, choices=["zero", "mean"])
lesson.recorded("9.2", "loss recovered, against zeros", (zero - with_x) / (zero - good), 0.01)
lesson.recorded("9.3", "loss recovered, against the mean", (mean - with_x) / (mean - good), 0.01)
exact = metrics.mean_loss(model, part, [sae.splice()], 32)
lesson.expect("9.4", "with its error: change of the loss", 0, exact - good, 1e-4)
for i, bad in enumerate(("mean", "zero"), 5):
    by_luck = metrics.loss_recovered(model, part, drawn, bad)
    lesson.recorded(f"9.{i}", f"control: a random dictionary ({bad})", by_luck, 0.05)

# %% 10. L0, dead, dense
# The field's list: L0 and explained variance, as of the toy; latents that are never on; and those
# that are on at more than every tenth token, which rarely have a meaning that can be named.
#
# Prediction: hardly any are dense (4 of 1,024), but every sixth is never on in this text. The
# densest of all does have a meaning here: it follows the place in the document (its correlation
# with the position). Every token has a place, so such a direction is always worth its while, and it
# is no concept. Control: the latents at large do not follow it (the median).
f, f_held = sae.encode(xa), sae.encode(xs)  # [n f] both
place = torch.arange(1, held.tokens.shape[1]).repeat(n).float()  # [n]
follows = compare.correlation(f_held, place).abs()  # [f]
densest = (f_held != 0).sum(0).argmax()
lesson.recorded("10.1", "latents on per token, L0", row["l0"], 0.3)
lesson.recorded("10.2", "explained variance", row["explained_variance"], 0.005)
lesson.recorded("10.3", "dead, share of the latents", row["dead"], 0.02)
lesson.recorded("10.4", "dense, share of the latents", row["dense"], 0.003)
lesson.recorded("10.5", "the densest, with position", follows[densest], 0.05)
lesson.recorded("10.6", "control: all latents, median", follows.median(), 0.01)

# %% 11. Fidelity against sparsity
# One autoencoder is one point. Here are those that we have of this site: TopK, Matryoshka and ReLU
# with four settings each, and a few more; and dictionaries that nobody trained, allowed just as
# many directions at each token: the principal components (PCA, in the figure too), the neurons
# (here the dimensions of the stream, each in both directions), and random directions.
#
# How much do as many principal components explain, each token with the largest of its own?
#
# Prediction: clearly less. The components are the best directions if the same few have to do for
# all tokens; here each token may choose. (With 32 on, PCA explains 0.96 too; and of the ReLU ones
# the two with most on, 29 and 56, lie below PCA.) And what cell 5 said of the price holds: the ReLU
# with the fewest on is short by 27 %.
saes, plain = compare.shelf(model, sae), compare.untrained(xs, sae.cfg.d_sae, k, site)
table = {name: metrics.summary(one, xs[::4]) for name, one in (saes | plain).items()}
explains = {name: one["explained_variance"] for name, one in table.items()}
ours = row["explained_variance"]
ask = f"At L0 {k} it explains {ours:.2f}. The {k} largest of each token's principal components?"
pca = explains[f"PCA-{k}"]
lesson.recorded("11.1", f"PCA, {k} of each token", pca, 0.01, ask=ask)
lesson.recorded("11.2", f"neurons, {k} of each token", explains["neurons"], 0.01)
lesson.recorded("11.3", f"random, {k} of each token", explains["random"], 0.02)
short = max(one["shrinkage"] for one in table.values())
lesson.recorded("11.4", "shrinkage of the shortest", short, 0.02)
lesson.recorded("11.5", f"control: of {sae.cfg.kind}, ours", row["shrinkage"], 0.01)
title = f"With {k} on, the autoencoder explains {ours:.2f} of the variance, PCA {pca:.2f}"
lesson.show(compare.frontier(table, title, sae.cfg.kind), "frontier")

# %% 12. Held to the truth
# So far all is as in any paper. Now the question that the field cannot ask of a real model. The
# world's grammar knows of every token what it is: a male name, a city in France, in a quotation,
# plural, ... For each of these features take the latent (and its threshold) that tells it best on
# one text, and score it on another, by F1: the harmonic mean of precision and recall. Above 0.8 we
# say that the feature has a latent.
#
# A linear probe that is told the labels (lesson 08) reads a good part of these features at this
# site, so they are there, in the model, as directions. What share of all features has a latent?
#
# Prediction: far fewer: a third of all, two fifths of those that a probe reads. We had set
# ourselves 80 %: row 12.2 is a gap, and stays one. Some features nobody can know at the token: who
# receives (IO, S1, other) is told by words that come later. One that the probe "reads", type
# statement, it gets by saying yes nearly every time (98 % of the tokens have it). By AUROC, which
# needs no threshold, half of all look found: to rank well is not to tell. Controls: neurons, random
# directions, shuffled labels.
at, at_held = ({key: y[:, 1:].flatten() for key, y in t.features().items()} for t in (text, held))
main = scores.score_latents(f, at, f_held, at_held)
y, y_held = (torch.stack([one[row.feature] for row in main], 1) for one in (at, at_held))  # [n t]
reads = parts.f1(baselines.read(xa, y, xs, steps=400), y_held).diagonal() > 0.8  # [t]
ask = f"A probe reads {reads.sum()} of {len(main)} features. What share of all {len(main)} has a "
ask += "latent?"
lesson.recorded("12.1", "features that a probe reads", reads.float().mean(), 0.05)
lesson.expect("12.2", "features that have a latent", bar, scores.found(main), gap="missed", ask=ask)
best = torch.tensor([one.f1 for one in main])  # [t]
lesson.recorded("12.3", "of those that a probe reads", (best[reads] > 0.8).float().mean(), 0.06)
ranks = sum(one.auroc > 0.9 for one in main) / len(main)
lesson.recorded("12.4", "with an AUROC above 0.9", ranks, 0.05)
unlearned = max(compare.telling(plain[name], xa, y, xs, y_held) for name in ("neurons", "random"))
lesson.recorded("12.5", "control: neurons, random directions", unlearned)
luck = scores.found(scores.shuffled(f, at, f_held, at_held))
lesson.recorded("12.6", "control: with shuffled labels", luck, 0.001)
lesson.show(compare.families(main, reads))

# %% 13. The ranking, once more
# The toy's lesson was that explained variance can rank autoencoders upside down. Here are all that
# we have of this site, with the share of the model's loss that they recover, and the number of
# features that have a latent (chosen and judged on every second token). The one that explains the
# most: for how many features has it a latent?
#
# Prediction: topk-32 has 8, where topk-4 has 16. (Not quite upside down: main has 1,024 latents,
# the others 512, and explains a lot. Two seeds of topk-8 have 15 and 19: smaller differences say
# nothing.) Matryoshka was made against splitting. With 4 on it has as many as TopK, with more on,
# fewer; each beginning of its dictionary must do alone, so its first 32 latents are broad: half of
# all that is on. Broad is no class. Control: the same without nesting (BatchTopK). And cell 4's
# test of two starts? They agree at 0.66, random directions at 0.31: more than luck, and far from
# the same dictionary. ("Too short" below 0: random directions overlap, so x_hat is longer than x.)
has = {name: compare.telling(one, xa, y, xs, y_held, every=2) for name, one in saes.items()}
back = compare.recovered(model, part[:10], saes | plain)
most, first = (max(saes, key=numbers.get) for numbers in (explains, has))
ask = f"{first} has a latent for {has[first]} features. And {most}, which explains the most?"
lesson.recorded("13.1", "has a latent for most features", first)
lesson.recorded("13.2", "explains the most", most)
lesson.recorded("13.3", "and has a latent for", has[most], ask=ask)
for i, name in enumerate(name for name in ("matryoshka-8", "batchtopk-8") if name in saes):
    share = compare.of_the_first(saes[name], xs[::4])
    lesson.recorded(f"13.{4 + i}", f"of {name}'s L0, its first 32", share, 0.05)
if {"topk-8", "topk-8-seed1"} <= {*saes}:
    again = compare.agree(saes["topk-8"], saes["topk-8-seed1"])
    lesson.recorded("13.6", "two starts, mean cosine", again, 0.03)
    lucky = compare.agree(drawn, baselines.random(xs, 512, k, seed=1))
    lesson.recorded("13.7", "control: two random dictionaries", lucky, 0.02)
lesson.show(compare.listed(table, back, has))

# %% 14. What is it that has a latent, then?
# The probe shows that many features are directions of this site, and yet they have no latent. An
# autoencoder is not asked to be readable: it is paid for variance, token by token, and may name a
# few things at each. So ask of each feature: of what sets its tokens apart from the average token,
# which share do they have in common? (The squared length of their mean, over the mean of their
# squared lengths.) If it does what it is paid for, features with a high share have a latent.
#
# Of the features that a probe reads: by how much do share and F1 go together (rank correlation; 1:
# the same order, 0: no relation)?
#
# Prediction: clearly, 0.5, where 0.27 could be luck; without the countries, two rare words each,
# which have a latent or not as it falls, 0.86 (we left them out after we had seen the figure).
# Controls, without them too: F1 falls with the number of tokens, -0.65, as rare features are of
# few words; with that taken out, the share in common still tells, 0.74. Places have 0.64 in common,
# men's names 0.29, for what is in the activation is the name. Gender is 2 % of the variance among
# names, though a probe reads it at names without a mistake: a latent for each name pays better.
common, whole = shares.in_common(xa, y), shares.of_all(xa, y)  # [t]
keys = [one.feature for one in main]
plainly = reads & torch.tensor([name != "country" for name, _ in keys])
together = compare.in_order(common[reads], best[reads])
ask = "What is the rank correlation of the share in common and F1?"
lesson.recorded("14.1", "share in common, with F1", together, 0.1, ask=ask)
share, all_of_it, size, told = (z[plainly] for z in (common, whole, y.sum(0), best))
lesson.recorded("14.2", "the same without the countries", compare.in_order(share, told), 0.1)
lesson.recorded("14.3", "control: share of all variance", compare.in_order(all_of_it, told), 0.15)
lesson.recorded("14.4", "control: number of tokens", compare.in_order(size, told), 0.1)
lesson.recorded("14.5", "14.2 with that taken out", compare.given(share, told, size), 0.1)
for i, key in enumerate([("class", "place"), ("class", "male")], 6):
    lesson.recorded(f"14.{i}", f"{key[1]}: share in common", common[keys.index(key)], 0.02)
gender = shares.between(xa[at["class", "male"]], xa[at["class", "female"]])
lesson.recorded("14.8", "variance among names that is gender", gender, 0.005)
lesson.show(compare.scatter(common, best, reads, plainly), "common")

# %% 15. Words
# If a name is what is in the activation, there should be latents for names. For each word of the
# text (20 times or more): is there a latent that tells this word from all others? The autoencoder
# was never told of words, and sees no token, only the activation.
#
# Prediction: for a good part of the words there is, for names nearly always; and the larger the
# dictionary the more: with 512 latents fewer than with 1,024. That is splitting: what has room for
# a word gives it a latent. Control: words mixed up.
#
# And a class may come in parts: the best latent for pronouns is on at every "he" and every "she",
# and at no other word. Absorption (Chanin et al. 2024) would be more: a latent for the whole class,
# silent only at a word that has its own. Our count cannot tell the two apart: it calls three of six
# pronouns absorbed; of six words at random 1.4 in the mean, and three or more in 18 % of the draws.
ids, ids_held, words = compare.frequent(tokens, held.tokens)  # [n], [n], [w]
own = compare.by_word(f, ids, f_held, ids_held, words)  # [w]
ask = f"Of {len(words)} words, what share has a latent that tells it from all others (F1 > 0.8)?"
lesson.recorded("15.1", "words with a latent", own.mean(), 0.03, ask=ask)
names = torch.isin(words, ids[at["class", "male"] | at["class", "female"]])  # [w]
lesson.recorded("15.2", "names with a latent", own[names].mean(), 0.03)
if half := saes.get("topk-8"):
    share = compare.by_word(half.encode(xa), ids, half.encode(xs), ids_held, words).mean()
    lesson.recorded("15.3", "with half as many latents", share, 0.03)
luck = compare.by_word(f, ids, f_held, ids_held, words, mix=draw).mean()
lesson.recorded("15.4", "control: words mixed up", luck, 0.001)
one = main[keys.index(key := ("class", "pronoun"))]
there = (f[at[key], one.latent] >= one.least).float().mean()
lesson.recorded("15.5", "of pronouns, the best latent is on at", there, 0.03)
random = compare.absorbed_by_luck(f, ids, words, draw)
lesson.recorded("15.6", "control: absorbed, of six random words", random, 0.5)

# %% 16. An idea, put together from latents
# If a class is a list of words, take the list: some latents, any of which may be on. `together`
# (exercise 9.6) chooses as few as it can, on one text; that they tell the feature is judged on
# the other (there an F1 of 0.75 will do, for 0.8 is where it stopped).
#
# For a part of the features without a latent it works. What would you compare that with? Labels
# shuffled between tokens can be told by nothing; that is too easy. Take lists of words drawn at
# random, each with as many tokens as the feature has. How many of those can be put together?
#
# Prediction: as many as of the features, or more. So it finds no ideas: the latents are a
# vocabulary, and a list of words drawn at random is spelled with it about as often as a concept is.
# That is why a control must be as like the real thing as can be.
every = slice(None, None, 4)
on, on_held = (z > 0.2 * f.amax(0) for z in (f[every], f_held[every]))  # on: over a fifth of most
missing = [(at[one.feature], at_held[one.feature]) for one in main if one.f1 <= 0.8]


def several(a, b):  # labels on two texts -> are they told by several latents together?
    near = parts.f1(on, a[every, None])[0].topk(min(60, on.shape[1])).indices
    said = on_held[:, near[parts.together(on[:, near], a[every])]].any(1, keepdim=True)
    return parts.f1(said, b[every, None]).item() > 0.75


lists = [compare.word_list(a, ids, draw) for a, _ in missing]
told = sum(several(*pair) for pair in missing)
spelled = sum(several(torch.isin(ids, words), torch.isin(ids_held, words)) for words in lists)
ask = f"{told} of the {len(missing)} features are told together. Of as many random lists of words?"
fair = at_least(told / 2) if bar else None
lesson.expect("16.1", "features told by several together", None, told)  # your `together` decides
lesson.expect("16.2", "control: random lists of words", fair, spelled, ask=ask)

# %% 17. Read one
# Numbers rank latents; to know what one is about, people read a dashboard: where it is strongest,
# and (lest we see only its best side) where it is weak; what it says, directly, of the next word.
#
# Here is one of the latents. Read it, and say what it is about.
#
# Prediction: you will be right; this one is the clearest that we have for a class of words. On the
# page of all latents it is harder: open it, tick "guess first", and try five at random.
seen = survey(model, sae, text)
classes = [one for one in main if one.feature[0] == "class"]
clear = max(classes, key=lambda one: one.f1)
dashboard = describe(seen, clear.latent, ablated=False)
lesson.show(str(replace(dashboard, best=None)), now=True)
options = {one.feature[1] for one in classes[:: len(classes) // 5 or 1]} | {clear.feature[1]}
ask = f"Which class of words is latent {clear.latent} about?"
answer = clear.feature[1]
lesson.recorded("17.1", "the dashboard's class", answer, ask=ask, choices=sorted(options))
lesson.recorded("17.2", "its F1, on other text", clear.f1, 0.03)
lesson.show(replace(dashboard.plot(), text="(the figure is on this lesson's page)"), "latent")
often = seen.count.argsort(descending=True)[:1024].tolist()
lesson.show(write_page(model, sae, seen, lesson.folder / "latents.html", 0, only=sorted(often)))

# %% 18. Find one
# The other way round: we have an idea, and look for its latent. Mark the tokens that have it, and
# rank all latents by how well they tell these from all others (AUROC: how often a marked token has
# more of the latent than another; 0.5 is luck).
#
# Prediction: with 40 documents' worth of examples the search finds the latent that all 200 found.
# Control: as many tokens drawn at random; the best latent for those is the luck of searching many.
got = apart(survey(model, sae, few), text.where(*clear.feature)[: len(few)])
lesson.recorded("18.1", "the search finds", f"{got.latents[0]}")
lesson.recorded("18.2", "its AUROC", got.auroc[0], 0.02)
lesson.recorded("18.3", "control: AUROC by luck", got.luck, 0.03)

# %% 19. Take it away
# Is the latent used? Set it to zero and let the model go on. What the autoencoder misses of x is
# put back (`spliced`, exercise 9.4), or we would measure its mistakes along with our edit. By how
# many nats does the loss rise, at the tokens where the latent is on?
#
# Prediction: it does, there, and hardly anywhere else. Nothing edited: nothing changes. Control:
# take as much away at the same tokens, in a direction drawn at random.


def rise(hook):  # -> how much the loss of each token rises, [b p-1]
    return model.loss_fn(model.run_with_hooks(part, [(site, hook)]), part, per_token=True) - before


before, bos = model.loss_fn(model(part), part, per_token=True), sae.cfg.bos  # [b p-1]
strong = f_held[: part[:, 1:].numel(), clear.latent].view(len(part), -1, 1)  # [b p-1 1], no BOS
there = torch.nn.functional.pad(strong[:, :-1, 0] > 0, (1, 0))  # where the next word is guessed
off = torch.arange(sae.cfg.d_sae) != clear.latent  # [f]
away = torch.nn.functional.normalize(torch.randn(sae.cfg.d_in, generator=draw), dim=0)
gone = rise(lambda x, hook: parts.spliced(x, sae.encode, sae.decode, lambda f: f * off, bos=bos))
pushed = rise(lambda x, hook: torch.cat([x[:, :1], x[:, 1:] - strong * away], 1))
none = rise(lambda x, hook: parts.spliced(x, sae.encode, sae.decode, bos=bos))
ask = f"Without latent {clear.latent}, by how many nats does the loss rise where it was on?"
lesson.recorded("19.1", "loss, where it was on", gone[there].mean(), 0.05, ask=ask)
lesson.recorded("19.2", "loss, everywhere else", gone[~there].mean(), 0.02)
lesson.recorded("19.3", "control: as much, in a random direction", pushed[there].mean(), 0.05)
lesson.expect("19.4", "control: no latent, largest change", 0, none.abs().max(), 1e-3)

# %% 20. Break it
# Four edits of lessons/techniques/sparse_autoencoders.py. Say what will happen, make one, run the
# lesson, and put it back.
#
# 1. In `l0`, take the mean over the latents, `.float().mean(-1).mean()`, for the sum: row 1.1 must
#    stop the lesson.
# 2. In `topk_loss`, leave out the `/ 32`: row 2.3 must stop it.
# 3. In `topk_loss`, leave out `.detach()`: nothing stops it. The loss is the same number; only what
#    is learned from it is not. Make the same slip in your own answer, and make check-09 sees it.
# 4. In `spliced`, in the line `missed = ...`, put 0.0: row 19.1 must stop it.
lesson.show("""\
Now you. make check-09: six of the parts, for you to write; make lesson-09 MINE=1: this lesson on
what you wrote.""")
lesson.finish()

"""Grokking: can a network learn an algorithm?

Paper: Nanda et al. 2023, "Progress measures for grokking via mechanistic interpretability".
Minutes: 45 to read and play with, less than one to run. To have done first: nothing; lesson 00
helps in cell 9.

We look at a network that adds on a circle. First it learns its questions by heart; thousands of
steps later, so it seems all at once, it can answer questions that it never saw. We open it, find
the waves it adds with, and write a network of waves by hand, which needs no training. Two
measurements fool us on the way, and a control catches each. `make grok` trains such a network
before your eyes.

In the tables, ok: as predicted; look: nothing was predicted; control: what must come out otherwise,
or not at all, if we measure what we think; recorded: what these same weights gave when this was
written, no prediction of ours.
"""

# %% 1. The task
# Add two numbers on a clock with p = 113 hours: 100 + 50 is 150, which on this clock is
# 150 - 113 = 37. There are p * p = 12,769 questions. The network is shown 30 % of them, over and
# over, all at each step; the rest is the test. It knows nothing of numbers: 0 to 112 are 113 words
# of a language that it has never heard.
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.expect import at_least, at_most
from lessons.lesson import Lesson
from lessons.pictures import pictures
from lessons.techniques import foreign, grokking, modular

torch.set_grad_enabled(False)
torch.set_num_threads(1)  # where others work too, a second thread costs far more than it brings
lesson, p = Lesson("02_grokking"), 113
lesson.show(f"{p * p:,} questions; the answer to 100 + 50 is {(100 + 50) % p}")

# %% 2. Two networks
# The network is one layer of what lesson 03 takes apart: three tokens "a b =", each a vector, four
# attention heads, 512 neurons, no layer norm. What it says after "=" is its answer; its loss is the
# cross-entropy, in nats. It was trained by weights/recipes/grokking.py, twice from the same start:
# once with weight decay, which at each step pulls every weight a little towards 0, and once
# without, our control all along: the twin.
KNOWN = {"3.1": 150, "3.2": 6400, "8.2": "1, 8, 21", "8.6": "1, 8, 21"}
lesson.model_name, folder = "grokking", Path(modular.__file__).parents[2] / "weights" / "grokking"
model, is_train, curves = modular.load(folder / "decay")
twin, _, twin_curves = modular.load(folder / "no_decay")
is_test, steps = ~is_train, torch.tensor(curves["step"])
logits, neurons = modular.answers(model, p)  # [p p c], [p p m], of all p * p questions
twin_logits, twin_neurons = modular.answers(twin, p)
lesson.know(KNOWN, "recorded")
size = sum(weight.numel() for weight in model.parameters())
lesson.show(
    f"{size:,} weights; {int(is_train.sum()):,} questions learned, {int(is_test.sum()):,} not"
)


# %% 3. By heart, and then
# How soon does it know its own questions? And when does it know the others? We read it off the
# curves that were kept in training.
#
# Prediction: its own within 200 steps, the others at least ten times later, with nothing to be seen
# in the training accuracy, which has long been at 100 %. Control: the twin without weight decay
# never gets there; its last test accuracy is under 5 %.
def first_step(curve, bar):  # -> the first step at which a curve reaches the bar
    return int(steps[(torch.tensor(curve) >= bar).nonzero()[0]])


train, test = curves["train_accuracy"], curves["test_accuracy"]
learned, grokked = first_step(train, 1), first_step(test, 0.999)
ask = f"Its own questions: 100 % at step {learned}. The others: 99.9 % at step?"
lesson.recorded("3.1", "training accuracy 100 % at step", learned)
lesson.recorded("3.2", "test accuracy 99.9 % at step", grokked, ask=ask)
lesson.expect("3.3", "that many times later", at_least(10), grokked / learned)
lesson.expect("3.4", "test accuracy at the end", at_least(0.999), test[-1])
lesson.expect("3.5", "control: no decay", at_most(0.05), twin_curves["test_accuracy"][-1])
late, both = steps > 0, {"training": train, "test": test}
both |= {"test, no weight decay": twin_curves["test_accuracy"]}
lines = {name: torch.tensor(y)[late] for name, y in both.items()}
title = f"It knows its own questions at step {learned}, the others at step {grokked:,}"
lesson.show(figures.line(steps[late], lines, title, "step, log", "accuracy", "x"), "grokking")

# %% 4. A smaller clock
# Before we open it, a smaller clock: p = 53, half of the questions to learn from, no weight decay.
# We train it here and now, 120 steps.
#
# Prediction: all of its own questions right, and of the others about half. Guessing would give
# 1 / 53 = 2 %. So it is far better than chance on questions that it never saw, without any weight
# decay: it seems to have understood half of addition. Control: it did not start so.
torch.manual_seed(0)
small, shown = modular.ModularAddition(53), modular.split(53, 0.5, seed=0)
before, (untrained, _) = modular.scores(small, shown), modular.answers(small, 53)
with torch.enable_grad():
    for _ in modular.train(small, shown, steps=120, weight_decay=0):
        pass
after = modular.scores(small, shown)
ask = "All of its own questions right. Of the others, which share (0 to 1)?"
lesson.expect("4.1", "p = 53: training accuracy", at_least(0.999), after["train_accuracy"])
lesson.expect("4.2", "p = 53: test accuracy", 0.48, after["test_accuracy"], 0.08, ask=ask)
lesson.expect("4.3", "control: before training", at_most(0.06), before["test_accuracy"])

# %% 5. The mirror
# Which half? Addition has a symmetry that needs no arithmetic: a + b = b + a. Sort the questions
# of the test by whether their mirror, b + a, was among those learned. With half of all questions
# learned, that is the case for half of the test.
#
# Prediction: mirrors over 90 % right; new questions, whose mirror was not learned either, under
# chance, for all that it learned about a, or about b, was about other sums. It has understood
# nothing of addition, only that the order does not matter; and that it hardly sees, since attention
# adds up what it reads: before training, the logits of a + b and b + a are 1 % apart. Control: cut
# the test in two at random, and both halves are alike.
answers, _ = modular.answers(small, 53)  # [p p c]
coin = torch.rand(53, 53, generator=torch.Generator().manual_seed(0)) < 0.5
halves = [grokking.accuracy(answers, ~shown & half) for half in (coin, ~coin)]
ask = "Of the test questions whose mirror was not learned, which share is right?"
seen = grokking.accuracy(answers, ~shown & shown.T)
lesson.expect("5.1", "mirror learned: right", at_least(0.9), seen)
unseen = grokking.accuracy(answers, ~shown & ~shown.T)
lesson.expect("5.2", "mirror not learned: right", 0, unseen, 1 / 53, ask=ask)
order = (untrained - untrained.transpose(0, 1)).norm() / untrained.norm()
lesson.expect("5.3", "before training: a + b from b + a, apart", at_most(0.02), order)
apart = abs(halves[0] - halves[1])
lesson.expect("5.4", "control: random halves, apart", at_most(0.08), apart)
told = f"{after['test_accuracy']:.0%} right = {seen:.0%} of the mirrors, {unseen:.0%} of the new"
lesson.show(told)

# %% 6. The story told by the second curve
# Back to p = 113, with two test curves for one. Only 30 % were learned here, so a test question has
# a 30 % chance of a learned mirror, and the memoriser gets few of these: the trap is smaller. It is
# there all the same. Between steps 500 and 4,000 the test accuracy creeps from 2.5 % to 12 %.
#
# Prediction: nine in ten of the twin's right test answers are mirrors; and at step 4,000, when the
# test accuracy says 12 %, of the new questions under 3 % are right. From here on we ask new ones,
# wherever it matters. Control: the same count for guesses would be the mirrors' share of the test,
# 30 %.
new, at = ~is_train & ~is_train.T, curves["step"].index(4000)  # [p p]
end = {name: values[-1] for name, values in twin_curves.items()}
share = ((is_test & is_train.T).sum() / is_test.sum()).item()
lucky = share * end["mirror_accuracy"] / end["test_accuracy"]
ask = "Step 4,000: 0.12 of the test is right. Of the new ones, which share (0 to 1)?"
lesson.expect("6.1", "no decay: right answers that are mirrors", at_least(0.9), lucky)
lesson.expect("6.2", "step 4,000: test accuracy", 0.12, test[at], 0.02)
new_curve = curves["new_accuracy"]
lesson.expect("6.3", "step 4,000: new questions right", 0.017, new_curve[at], 0.01, ask=ask)
lesson.expect("6.4", "control: mirrors in the test", 0.3, share, 0.02)
lines = {"mirror learned": curves["mirror_accuracy"], "new": new_curve, "both": test}
inside, halfway = (steps > 0) & (steps <= 8000), first_step(new_curve, 0.5)
lines = {name: torch.tensor(y)[inside] for name, y in lines.items()}
title = f"Mirrors come first; of the new questions half are right at step {halfway:,}"
lesson.show(figures.line(steps[inside], lines, title, "step", "test accuracy"), "mirrors")

# %% 7. Waves
# What does the network know about a number? Its row of the embedding W_E, 128 numbers that say
# nothing to us. So look down a column. Any list of 113 numbers is, in exactly one way, a sum of a
# constant and of waves that turn once, twice, up to 56 times, each with a cosine and a sine:
# 1 + 2 * 56 = 113. Made of length 1, these are the Fourier basis (exercise 2.1). A frequency's
# power (2.2): how much of it each column holds, squared, added over columns, cosine and sine.
#
# Prediction: 8 frequencies at most hold 95 % of the power. Controls: the twin, which learned the
# same answers by heart; and ours with its numbers shuffled, for few waves suffice only if the order
# 0, 1, 2, ... means something to the network. Both need most of the 56.
waves = grokking.fourier_basis(p)  # [wave p]
off = (waves @ waves.T - torch.eye(p)).abs().max()
found, power = grokking.key_frequencies(model.W_E[:p])
twin_found, twin_power = grokking.key_frequencies(twin.W_E[:p])
dealt = torch.randperm(p, generator=torch.Generator().manual_seed(0))
shuffled, _ = grokking.key_frequencies(model.W_E[:p][dealt])
ask = "How many of the 56 frequencies hold 95 % of the embedding's power?"
lesson.expect("7.1", "error: rows of length 1, at right angles", at_most(1e-5), off)
lesson.expect("7.2", "frequencies for 95 % of W_E", at_most(8), len(found), ask=ask)
lesson.expect("7.3", "control: without weight decay", at_least(40), len(twin_found))
lesson.expect("7.4", "control: numbers shuffled", at_least(40), len(shuffled))
lines = {"the network": power, "without weight decay": twin_power}
title = f"{len(found)} frequencies hold the embedding: {', '.join(map(str, found))}"
axes = ["frequency (turns per 113 numbers)", "share of W_E's power"]
lesson.show(figures.line(range(1, 57), lines, title, *axes), "embedding")

# %% 8. What the neurons say
# That is how numbers go in. How do answers come out? W_out W_U, called W_L, says what each neuron
# adds to each of the 113 answers. It has a column for each answer; turned on its side, a row for
# each number. Its frequencies are the ones that the network answers with: the key frequencies.
#
# Prediction: at most 8 again, all of them among the embedding's. (One of the embedding's is missing
# here: 42 = 2 * 21, twice the turns of 21; no answer is read from it.) Which ones are key depends
# on seed and data: in Nanda et al.'s network 14, 35, 41, 42, 52. Control: the twin needs most of
# the 56. Its three strongest are ours all the same; both had the same start and the same questions.
key, said_power = grokking.key_frequencies((model.W_out @ model.W_U).T)
twin_key, twin_power = grokking.key_frequencies((twin.W_out @ twin.W_U).T)
strongest = sorted((twin_power.topk(3).indices + 1).tolist())
held = sum(said_power[k - 1] for k in key)
ask = f"{len(found)} frequencies hold 95 % of the embedding. How many hold 95 % of W_L?"
lesson.expect("8.1", "key frequencies: 95 % of W_L", at_most(8), len(key), ask=ask)
lesson.recorded("8.2", "they are", ", ".join(map(str, key)))
lesson.expect("8.3", "their share of W_L's power", at_least(0.95), held)
lesson.expect("8.4", "all of them in the embedding", True, set(key) <= set(found))
lesson.expect("8.5", "control: without weight decay", at_least(40), len(twin_key))
lesson.recorded("8.6", "its three strongest", ", ".join(map(str, strongest)))

# %% 9. Neurons
# Lesson 00 ended where looking fails, at a hidden layer's neurons. Now we know in which basis to
# look: ask each neuron all 12,769 questions, and write what it says in waves of a, of b, and
# products of the two: 8 patterns for each frequency. How much can a single frequency explain?
#
# Prediction: in the median neuron over 85 %. Nanda et al. found that 84.6 % of their neurons pass
# that bar. Every neuron belongs to a key frequency: the layer is as many small machines as there
# are keys. Control: the twin's neurons; and ours, with the numbers shuffled.
own, explained = grokking.neuron_frequencies(neurons)  # [m], [m]
controls = {"no decay": twin_neurons, "shuffled": neurons[dealt][:, dealt]}
ask = "Of the median neuron's variance, which share can one frequency explain (0 to 1)?"
lesson.expect("9.1", "median share, one frequency", at_least(0.85), explained.median(), ask=ask)
many = (explained > 0.85).double().mean()
lesson.expect("9.2", "neurons over 0.85", 0.846, many, 0.1, "Nanda et al. 2023")
lesson.expect("9.3", "neurons of a key frequency", 512, sum((own == k).sum() for k in key))
for i, (name, other) in enumerate(controls.items(), 4):
    median = grokking.neuron_frequencies(other)[1].median()
    lesson.expect(f"9.{i}", f"control: {name}, median", at_most(0.2), median)
best = [int((explained * (own == k)).argmax()) for k in key[-2:]]
says = [neurons[..., best[1]], twin_neurons[..., best[1]], neurons[..., best[0]]]  # 3 of [p p]
labels = [f"frequency {key[-1]}", "no weight decay", f"frequency {key[-2]}"]
title = "A neuron is a wave in a and in b; in the twin, stripes in no order (a, b up to 29)"
cut = [one[:30, :30] / one[:30, :30].max() for one in says]
lesson.show(pictures(cut, labels, title, "share of its largest", columns=3), "neurons")


# %% 10. The sum
# A neuron of a wave of a and a wave of b can make their product, and products make sums of angles:
# cos(x + y) = cos x cos y - sin x sin y. So the angles of a and b are added, and with them a and b;
# past p the circle closes by itself, which is what "modulo" means. If that is how, logits must be
# waves of a + b. Write one answer's logit for all 12,769 questions as one long list. A wave
# cos(2 pi k (a + b) / p) is such a list too, a direction, and its sine another. How much of the
# list lies along them (exercise 2.3)? First we subtract each question's mean logit, for softmax
# sees only differences: that is "centred".
#
# Prediction: the two directions of each key frequency hold over 90 % of the logits' variance.
# Controls: the same directions in the twin, and in ours with its numbers shuffled.
def share_of_sum(logits, frequencies):  # -> what share of the centred logits' variance
    every = (logits.double() - logits.double().mean(-1, keepdim=True)).square().sum()
    return grokking.restrict(logits, frequencies).square().sum() / every


mixed, lines = logits[dealt][:, dealt], {}
ask = "Of the logits' variance, which share do waves of a + b, at the key frequencies, hold?"
held = share_of_sum(logits, key)
lesson.expect("10.1", "waves of a + b, of the logits", at_least(0.9), held, ask=ask)
lesson.expect("10.2", "control: no decay", at_most(0.05), share_of_sum(twin_logits, key))
lesson.expect("10.3", "control: numbers shuffled", at_most(0.05), share_of_sum(mixed, key))
for name, said in {"ours": logits, "no decay": twin_logits}.items():
    one = (said - said.mean(-1, keepdim=True))[..., 37]  # [a b], the logit of answer 37
    by_sum = torch.stack([row.roll(a) for a, row in enumerate(one)])  # [a a+b]
    lines |= {f"{name}, most": by_sum.amax(0), f"{name}, least": by_sum.amin(0)}
title = "The logit of 37 follows a + b, highest at 37; in the twin a + b tells next to nothing"
lesson.show(figures.line(range(p), lines, title, "a + b, on the clock", "logit, centred"), "sum")

# %% 11. Only the waves, all but the waves
# Now as losses (exercise 2.4), in nats; ln 113 = 4.73 is what pure guessing costs. Restricted: keep
# only these directions of the logits, and test. Excluded: take exactly them away, and ask the
# training questions, which memory alone could answer.
#
# Prediction: restricted is at most the full test loss: what we throw away, by far most of the
# directions, was of no use. Excluded is above ln 113: what is left is big and points nowhere, which
# costs more than admitting ignorance; under 5 % are right. Control: the same in the twin. Without
# these waves its memory is whole; these waves alone know little.
full = grokking.losses(logits)[is_test].mean().item()
restricted, excluded = grokking.progress_measures(logits, key, is_train)
twin_restricted, twin_excluded = grokking.progress_measures(twin_logits, key, is_train)
left = grokking.accuracy(logits - grokking.restrict(logits, key), is_train)
lesson.expect("11.1", "restricted loss, test", at_most(full), restricted)
ask = "The waves taken away: which loss on its own training questions? Guessing costs 4.73."
lesson.expect("11.2", "excluded loss, training", at_least(math.log(p)), excluded, ask=ask)
lesson.expect("11.3", "excluded: right of the training", at_most(0.05), left)
lesson.expect("11.4", "control: excluded, no decay", at_most(0.01), twin_excluded)
lesson.expect("11.5", "control: restricted, no decay", at_least(2), twin_restricted)


# %% 12. The same measure on the twin
# A measure that shows what we hoped for deserves a try on something that must fail. The twin knows
# nothing of addition: 3 % of the test (row 3.5), nearly all of it mirrors (6.1). Keep of its logits
# only waves of a + b, and because it has no key frequencies, all 56 of them. Does it still fail?
#
# Prediction: it gets every new question right. Keeping the waves of a + b is averaging over all
# questions with the same sum, and of those 30 % were learned by heart: they tell the rest. We, not
# the network, did the addition, when we chose the directions. Control: average over new questions
# only, blanking out what was learned, and its mirrors. (49 % are left; a wave shrinks by as much,
# so we divide by it.) The twin falls to nothing, and our network still knows.
def blanked(logits):  # centred, and 0 where a question or its mirror was learned
    flat = logits - logits.mean(-1, keepdim=True)
    return flat.masked_fill(~new[..., None], 0) / new.double().mean()


every, ask = list(range(1, 57)), "The twin, waves of a + b alone: which share of the new is right?"
told, alone, ours = (
    grokking.accuracy(grokking.restrict(said, every), new)
    for said in (twin_logits, blanked(twin_logits), blanked(logits))
)
lesson.expect("12.1", "no decay, 56 waves: new right", at_least(0.99), told, ask=ask)
lesson.expect("12.2", "no decay, learned ones blanked", at_most(0.05), alone)
lesson.expect("12.3", "control: ours, learned ones blanked", at_least(0.99), ours)

# %% 13. Take one away
# So far we looked at logits. Now act: take one frequency, its cosine and its sine, out of the
# embedding, and let the network run. Each of the 56 once, on 1,000 new questions.
#
# Prediction: without any one of the key frequencies less than 60 % are right. Control: the other
# 53, of which the worst leaves over 99 % right. (That is 42, twice 21: it costs no answer, but
# certainty.)
some = torch.randperm(int(new.sum()), generator=torch.Generator().manual_seed(0))[:1000]
(a, b), right, loss = new.nonzero()[some].T, {}, {}  # [n] each
for k in range(1, 57):
    said = modular.with_embedding(model, grokking.without(model.W_E[:p], k), a, b).double()
    right[k] = (said.argmax(-1) == (a + b) % p).double().mean().item()
    loss[k] = F.cross_entropy(said, (a + b) % p).item()
ask = "Take out the key frequency that is missed least: which share is still right (0 to 1)?"
most = max(right[k] for k in key)
lesson.expect("13.1", "without a key frequency, most", at_most(0.6), most, ask=ask)
rest = min(right[k] for k in right if k not in key)
lesson.expect("13.2", "control: without another, least", at_least(0.99), rest)
order, chosen = sorted(loss, key=loss.get, reverse=True)[:10], [str(k) for k in key]
losses, names = [loss[k] for k in order], [str(k) for k in order]
title, axis = f"Without {' or '.join(chosen)} it fails", "loss without it (nats), log"
lesson.show(figures.bars(losses, names, title, axis, log=True, marked=chosen), "ablation")

# %% 14. Three losses on the way
# Did it understand all at once, shortly before step 6,000? The recipe kept the weights on the way.
# For each of these steps we measure the loss on new questions; the restricted loss, with the key
# frequencies of the end and from new questions alone, as cell 12 taught us; and the excluded loss.
#
# A loss of half of ln 113, 2.36, is our bar. The loss on new questions starts at 4.76, and has to
# come below it; so has the restricted loss. The excluded loss, which learning by heart has brought
# to almost 0, has to rise above it. Say the order before you read on.
kept, others = modular.snapshots(folder / "decay"), [k + 5 for k in key]  # step -> network
curve = {name: [] for name in ("new questions", "restricted", "excluded", "restricted to others")}
pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p)).T
for step, one in kept.items():
    said = one(*pairs).view(p, p, p)
    parts = [said, *(grokking.restrict(blanked(said), these) for these in (key, others))]
    for name, part in zip(("new questions", "restricted", "restricted to others"), parts):
        curve[name].append(grokking.losses(part)[new].mean().item())
    curve["excluded"].append(grokking.progress_measures(said, key, is_train)[1].item())
    if step == 3000:
        plain, circles, strangers = (grokking.accuracy(part, new) for part in parts)
lesson.show(f"measured at {len(kept)} steps, from {min(kept)} to {max(kept):,}")


# %% 15. In which order
# Here is where each crosses the bar; and, at step 3,000, what the restricted logits, the three
# circles of the key frequencies alone, would answer.
#
# Prediction: at step 3,000 under 1 % of the new questions are right; by the three circles alone
# 31 %. Restricted crosses first, then excluded, and last what shows, the loss on new questions. At
# a bar of 1 nat the first two change places: what is safe to say is that both move before the test
# does. Nanda et al.'s explanation, not measured here: circles answer with smaller weights than a
# memory needs; weight decay rewards that, lets them grow, and at last clears the memory away.
# Controls: as many other circles; and the twin's at its end, a trace (cell 8), under 10 % right.
def crossed(losses, bar):  # -> the first step at which a loss is not on the side of step 500
    return next(s for s, y in zip(at[1:], losses[1:]) if (y < bar) != (losses[1] < bar))


at, half, three = list(kept), math.log(p) / 2, list(curve)[:3]
first, at_one = ({name: crossed(curve[name], bar) for name in three} for bar in (half, 1))
ask = "Step 3,000: under 1 % of the new ones are right. By the circles alone, which share?"
lesson.expect("15.1", "step 3,000: new questions right", at_most(0.01), plain)
lesson.expect("15.2", "step 3,000: by the circles alone", 0.31, circles, 0.03, ask=ask)
lesson.expect("15.3", "control: by other circles", at_most(0.02), strangers)
lesson.expect("15.4", "the last to cross", "new questions", max(first, key=first.get))
lesson.expect("15.5", "and at a bar of 1 nat", "new questions", max(at_one, key=at_one.get))
trace = grokking.accuracy(grokking.restrict(blanked(twin_logits), key), new)
lesson.expect("15.6", "control: circles, no decay, at the end", at_most(0.1), trace)
told = ", ".join(f"{name} at step {first[name]:,}" for name in sorted(first, key=first.get))
axes = ["step", "loss (nats)", "", (half, "the bar, half of ln 113")]
lesson.show(figures.line(at, curve, f"It shows last: {told}", *axes), "progress")

# %% 16. By hand
# If this is how one adds on a clock, we should be able to write such a network down. Exercise 2.5
# does: an embedding of cosines and sines, some ReLU neurons, cosines to read them. No attention:
# the embeddings of a and b are added. No training. The trained network has 512 neurons; how many
# must ours have to answer all 12,769 questions, with one frequency?
#
# Prediction: with one frequency 5 neurons answer all 12,769 questions. But by a hair: the
# second-best answer comes so close that any noise would tip it. With our three, 5 neurons for each,
# the right answer leads by far more: that is what several frequencies are good for. Control: the
# neurons' answers dealt anew.
W_E, W_in, W_out = grokking.cosine_network(p, key)
by_hand, hand_neurons = grokking.run_by_hand(W_E, W_in, W_out)
single, few = grokking.run_by_hand(*grokking.cosine_network(p, key[-1:]))
all_pairs, ask = torch.ones(p, p, dtype=torch.bool), "How many neurons, with one frequency?"
lesson.expect("16.1", "right, one frequency", 1, grokking.accuracy(single, all_pairs))
why = "written in another way, it may take more neurons"
lesson.expect("16.2", "neurons, one frequency", 5, few.shape[-1], gap=why, ask=ask)
lesson.expect("16.3", "neurons, three frequencies", 15, hand_neurons.shape[-1], gap=why)
lesson.expect("16.4", "right, three frequencies", 1, grokking.accuracy(by_hand, all_pairs))
leads = grokking.lead(by_hand) / grokking.lead(single)
lesson.expect("16.5", "least lead: three frequencies / one", at_least(100), leads)
alone = grokking.accuracy(hand_neurons @ W_out[:, dealt], all_pairs)
lesson.expect("16.6", "control: answers dealt anew", at_most(0.05), alone)

# %% 17. Is ours theirs?
# Both add on circles. Is the network that we wrote the one that was learned? In ours the waves of a
# and of b are added, half and half, and meet inside a ReLU, which leaves a factor
# |cos(w (a - b) / 2)|: a trace of a - b in the logits. The learned one has attention before its
# ReLU, which may weigh a against b. So fix it: half to a and half to b, whatever they are.
#
# Prediction: of ours, waves of a + b hold about 8 / pi^2 = 0.81 of the variance, for that is the
# square of |cos|'s mean over the mean of its square; of the learned one over 0.9. With its
# attention fixed, the learned one answers half of the new questions; ours, which has none, answers
# all (row 16.4). So no: the same answers, another way of making them. (Zhong et al. 2023 found
# networks of both kinds, and call them pizza, as ours, and clock. The learned one stands between.)
OV = torch.einsum("hde,hef->df", model.W_V, model.W_O)  # what attention does to what it reads
halves = [(model.W_E[:p] + model.W_pos[i]) @ OV / 2 for i in (0, 1)]  # 2 of [p d]
resid = model.W_E[p] + model.W_pos[2] + halves[0][:, None] + halves[1]  # [a b d]
post = (resid @ model.W_in + model.b_in).relu()
evenly = (resid + post @ model.W_out + model.b_out) @ model.W_U  # [a b c]
hand, why = share_of_sum(by_hand, key), "written in another way, it may keep less of a - b"
lesson.expect("17.1", "by hand: waves of a + b", 8 / math.pi**2, hand, 0.01, gap=why)
lesson.expect("17.2", "learned: waves of a + b", at_least(0.9), share_of_sum(logits, key))
right = grokking.accuracy(evenly, new)
ask = "With its attention fixed at half and half: which share of the new ones is still right?"
lesson.expect("17.3", "learned, attention fixed: new right", 0.5, right, 0.1, ask=ask)

# %% 18. Anybody's network
# Nothing above asked who trained the network. `foreign.read` takes the weights of any network of
# one layer that adds modulo an odd p, in our layout, TransformerLens's or Nanda et al.'s, and says
# what it does not understand. Two lines open somebody else's file:
#
#     theirs = foreign.read(torch.load("their_weights.pt", weights_only=True))
#     logits, neurons = modular.answers(theirs, theirs.p)
#
# Then `key_frequencies(theirs.W_L.T)`. Here: ours, turned to Nanda et al.'s layout, and the small
# one, of cell 4. (Its forward pass was written apart from ours: a second opinion.)
#
# Prediction: the same logits, but for rounding; and the small one, which knew mirrors and nothing
# else, answers with most of its 26 frequencies. Control: ours with 0.1 added to one weight.
state = {name: weight.clone() for name, weight in model.state_dict().items()}
turned = {name: state[name].mT for name in ("W_E", "W_Q", "W_K", "W_V", "W_in", "W_out")}
as_theirs = state | turned | {"W_O": state["W_O"].flatten(0, 1).T}
theirs, its = foreign.read(as_theirs), foreign.read(small.state_dict())
state["W_U"][0, 0] += 0.1
said, harmed = model(a, b), foreign.read(state)
off = [(one(a, b) - said).abs().max() / said.abs().max() for one in (theirs, harmed)]
again = (modular.answers(its, its.p)[0] - answers).abs().max() / answers.abs().max()
lesson.expect("18.1", "error: ours, turned", at_most(1e-5), off[0])
lesson.expect("18.2", "error: the small one", at_most(1e-5), again)
many = len(grokking.key_frequencies(its.W_L.T)[0])
lesson.expect("18.3", "its frequencies, of 26", at_least(20), many)
lesson.expect("18.4", "control: one weight off", at_least(1e-4), off[1])

# %% 19. Break it
# Three edits. Say what will happen, make one, run the lesson, and put it back.
#
# 1. In lessons/techniques/grokking.py, in `progress_measures`, swap `~is_train` and `is_train`. The
#    rows 11.1 to 11.3 hold all the same: by now our network knows learned and new questions alike.
#    The twin does not: row 11.4 must stop the lesson.
# 2. In `cosine_network`, make it 4 phases where it says 5, twice: row 16.1 must stop the
#    lesson. With 4 phases a + b and -(a + b) look the same.
# 3. In cell 4, learn 80 % of the questions (0.8) instead of half. Which share of the test has a
#    learned mirror now? Say the test accuracy; row 4.2 must stop the lesson.
lesson.finish()

"""Is it represented, and is it used?

Papers: Alain and Bengio 2016, "Understanding intermediate layers using linear classifier probes";
Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks"; Ravichander, Belinkov
and Hovy 2021, "Probing the Probing Paradigm"; Belrose et al. 2023, "LEACE".
Minutes: 60 to read and play with, 1 to run (GPT-2: some minutes). To have done first: lesson 06.

A probe reads a feature off a model's activations. That is quickly done, and looks convincing. First
we let it fool us, and find the control that it does not pass. Then we ask the other question: does
the model itself read what the probe reads? No probe answers that. We push activations along the
probe's direction, take the feature out, and watch what the model does, at each depth, for two
features; and at the end we look for a direction that everybody can read and nobody uses.

In the tables, ok: as predicted; look: nothing was predicted; control: what must come out otherwise,
or not at all, if we measure what we think; recorded: what these same weights gave when this was
written, no prediction of ours.
"""

# %% 1. A text, and what is true of it
# The world model was trained on sentences of a small world (minimech/world.py). Nobody ever told it
# that a name is a man's or a woman's, a noun singular or plural; but the program that writes the
# sentences knows, of every token. So there is a truth to hold a probe to.
#
# And the text asks for it: after "John went to the park because" comes "he". At such places we
# grade the model: the logit of the right word less that of the wrong one, here he less she. We call
# this the lead of a behaviour; in these documents there are eight, from pronouns to facts.
#
# Probes learn on two documents of three. Every number below is from the last third.
import sys
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.lesson import Lesson
from lessons.techniques import graded, logit_lens, probing
from lessons.techniques.interventions import Exam, Pronouns, put_in
from lessons.techniques.truth import labelled
from minimech import HookedTransformer

PROMPT = "{} went to the park because"
torch.set_grad_enabled(False)
lesson = Lesson("08_probing")
model = lesson.load(PROMPT.format("John"))
lesson.know(*graded.KNOWN.get(lesson.model_name, ({}, "")))
small = model.cfg.d_vocab < 5000
torch.set_num_threads(1 if small else torch.get_num_threads())  # one: the same numbers everywhere
n, cut = (300, 200) if small else (60, 40)  # documents; of these to learn from
text = labelled(model, n, seed=1)
asked, who = graded.graded(model, text), graded.names(model, text)  # who [b p]: which name, or -1
name, male = who >= 0, text.where("gender", "male")  # [b p] each
lesson.show(f"{n} documents, {name.sum()} names, {sum(x.shape[1] for x in asked.values())} answers")
lesson.show(model.to_string(text.tokens[0, 1:18]) + " ...")

# %% 2. A probe
# Take the stream at every name, at some depth (lesson 04: embed is before any layer, 0_mid after
# the attention of layer 0, 0_post after its MLP). A linear probe is a vector w and a number b: it
# says "male" if the stream's product with w, plus b, is above 0. We fit w and b to the names of the
# first documents (logistic regression), and let it judge those of the last.
#
# Half of the names are men's. Of which share does the probe say what is true, at the embedding?
#
# Prediction: of all, at the embedding and in nearly every depth behind it. Control: the same labels
# dealt out to the tokens at random. Of those a probe can learn nothing, and guesses.
every = logit_lens.depths(model.cfg.n_layers)
some = sorted({0, 1, 2, len(every) // 2, len(every) - 2, len(every) - 1})
sites = {depth: every[depth] for depth in [[*every][i] for i in some]}
_, cache = model.run_with_cache(text.tokens, [*sites.values()], stop_at_layer=model.cfg.n_layers)
resid = torch.stack([cache[site] for site in sites.values()])  # [depth b p d]
depths, learn = [*sites], (torch.arange(n) < cut)[:, None].expand_as(who)


def read(x, y, where, where_else=None, fit=probing.fit_probe):  # -> the share that is right
    one, two = where & learn, (where if where_else is None else where_else) & ~learn
    return probing.accuracy(x[two], y[two], fit(x[one][:3000], y[one][:3000]))


gender, draw = [read(x, male, name) for x in resid], torch.Generator().manual_seed(0)
random = torch.randn(20 if small else 5, resid.shape[-1], generator=draw)  # for later: directions
dealt = torch.rand(who.shape, generator=draw) < 0.5
ask = "At the embedding, of which share of the names does the probe say the gender rightly?"
lesson.recorded("2.1", f"gender, {depths[0]}", gender[0], 0.005, ask=ask)
lesson.recorded("2.2", f"gender, {depths[-1]}", gender[-1], 0.01)
lesson.expect("2.3", "control: labels dealt at random", 0.5, read(resid[0], dealt, name), 0.04)

# %% 3. A coin for each name
# Does this say that the model knows gender? Here is a label that nobody can know: toss a coin for
# each of the 80 names, and all tokens of that name get it. John is heads, in every document; Mary
# too; Tom is tails. Nothing in the world goes with it: a control task (Hewitt and Liang).
# A probe on the embedding: of which share of the names, in documents that it has not seen, does it
# tell how the coin fell?
#
# Prediction: of nearly all. The documents are new to it, the names are not, and 80 names in 96
# dimensions are easily told apart and learned by heart. What is left of the triumph, accuracy less
# control accuracy, is called selectivity. (Mean of three times 80 coins;
# the tolerances are as wide as other coins need.)
coins = [probing.control_labels(who.clamp(min=0), seed) for seed in range(3)]  # [b p] each


def control(x, *where):
    return sum(read(x, coin, *where) for coin in coins) / len(coins)


by_heart = [control(x, name) for x in resid]
ask = "Each name has a tossed coin. In new documents, of which share of names does a probe tell it?"
lesson.recorded("3.1", f"coins, {depths[0]}", by_heart[0], 0.05, ask=ask)
lesson.recorded("3.2", f"selectivity, {depths[0]}", gender[0] - by_heart[0], 0.05)
lesson.recorded("3.3", f"coins, {depths[-1]}", by_heart[-1], 0.05)

# %% 4. Names that it never met
# What is learned by heart is of no use for a name that was not there. So we split the names too:
# the probe learns on forty of them, and is asked about the other forty. A coin it can only guess.
# And gender, at the embedding? The embedding of a name is a row of a table, made for that one word.
# What would the rows of John and Tom tell you about a row that you have not seen?
#
# Prediction: all, or nearly: the probe is right of names that it never met, so there is one
# direction that men's names share, a fact about the model. Control: the coins fall to one half (of
# forty names, with luck between .4 and .6). At the last depth the gender has begun to fade.
met = name & (who // 2 % 2 == 0)  # of each four names, two men's and two women's, one pair
new = name & ~met


def both(*how, **more):  # -> on names that it met, on new ones
    return read(*how, name, **more), read(*how, met, new, **more)


unmet = [read(x, male, met, new) for x in resid]
guessed = [control(x, met, new) for x in resid]
ask = "The probe learned on forty names. Of which share of forty others does it tell the gender?"
lesson.recorded("4.1", f"gender, new names, {depths[0]}", unmet[0], 0.01, ask=ask)
lesson.expect("4.2", f"control: coins, new names, {depths[0]}", 0.5, guessed[0], 0.15)
lesson.recorded("4.3", f"gender, new names, {depths[-1]}", unmet[-1], 0.02)
rows = ["gender", "coin", "gender, new names", "coin, new names"]
title = f"A coin is read at {by_heart[0]:.0%}; of names never met, at {guessed[0]:.0%}"
values = [gender, by_heart, unmet, guessed]
lesson.show(figures.heatmap(values, rows, depths, title, "depth", "", "share right"), "coins")

# %% 5. Five rivals
# Five others are asked the same, one layer in, each on names that it met (in new documents) and on
# names that it did not: the word alone (what was true of it before); the difference of means (the
# middle of the men's less the middle of the women's, nothing fitted); a probe with a hidden layer,
# which may draw any line; the linear probe on a model of random weights; and the hidden layer again
# on the coins.
#
# Of names that it met, of which share does the probe on the random model tell the gender?
#
# Prediction: far more than half. Names are names: random vectors are learned by heart like any. On
# new names it falls to a guess. The hidden layer is no better than the line where the line is
# right, and knows the coins nearly all: the stronger the probe, the less its success says. So hold
# a probe against the word alone, a control task and an untrained model, on words that it never met.
torch.manual_seed(0)
blank = HookedTransformer(model.cfg, model.tokenizer)
blank = blank.run_with_cache(text.tokens, (at := every["0_post"]), stop_at_layer=1)[1][at]
x, coin, curved = resid[2], coins[0], probing.fit_curved
rivals = {"linear probe": both(x, male), "random weights": both(blank, male)}
rivals |= {"difference of means": both(x, male, fit=probing.means_probe)}
rivals |= {"hidden layer": both(x, male, fit=curved), "  on coins": both(x, coin, fit=curved)}
two = (name & learn, name & ~learn), (met & learn, new & ~learn)
rivals |= {"the word alone": [graded.by_word(text.tokens, male, *where) for where in two]}
ask = "On a model of random weights, of which share of the names the probe learned on is it right?"
lesson.recorded("5.1", "random weights, names met", rivals["random weights"][0], 0.03, ask=ask)
lesson.recorded("5.2", "control: random weights, new names", rivals["random weights"][1], 0.1)
lesson.recorded("5.3", "hidden layer, coins, names met", rivals["  on coins"][0], 0.03)
lesson.recorded("5.4", "difference of means, new names", rivals["difference of means"][1], 0.03)
lesson.show(graded.table(["names met", "new names"], rivals))

# %% 6. Nine questions, at every depth
# So far the answer stood in the word itself. The interesting ones do not: the word "because" is the
# same after John and after Mary. Nine yes-or-no questions of the text, each asked of the tokens
# where it makes sense. The first column is the word alone, what needs no model at all.
#
# "John went to the park because": the last word must foretell a "he". The model has two layers,
# each an attention (mid) and an MLP (post). From which depth on does a probe at that word read the
# subject's gender?
#
# Prediction: from 1_mid on, all at once; at 0_post it still guesses, although the name, a few words
# back, carries it plainly. So it is layer 1's attention that fetches it. With a verb's number it is
# the same. The bystander's gender ("John, a friend of Mary, said that") never arrives.
questions = graded.questions(text, asked)
shares = []
for where, y in questions.values():
    guess = graded.by_word(text.tokens, y, where & learn, where & ~learn)
    shares.append([guess, *(read(x, y, where) for x in resid)])
arrives = next((depth for depth, share in zip(depths, shares[1][1:]) if share > 0.9), "never")
ask = "At the word before its pronoun, from which depth on can the subject's gender be read?"
choices = [*depths, "never"]
lesson.recorded("6.1", "subject's gender, read from", arrives, ask=ask, choices=choices)
lesson.recorded("6.2", f"the same, at {depths[2]}", shares[1][3], 0.08)
lesson.recorded("6.3", f"subject's number, {depths[-2]}", shares[4][-2], 0.03)
lesson.recorded("6.4", f"control: a bystander's, {depths[-2]}", shares[2][-2], 0.12)
title = f"In front of the pronoun, the subject's gender is read from: {arrives}"
axes = "depth (word: the word alone)", "question", "share right, new documents"
plot = shares, [*questions], ["word", *depths], title, *axes
lesson.show(figures.heatmap(*plot), "questions")

# %% 7. Where it lies about
# One more look before we intervene. Behind a name, word after word, how long can its gender be
# read? We ask at the name, one word on, two words on, ..., as long as no other name comes; and only
# of names that the probe never met.
#
# One word behind the name, "John went": of which share is the gender of John read at "went", after
# layer 0's attention?
#
# Prediction: of three in four. In the world model one head of layer 0 copies the previous word, so
# the name is carried one place on. Two, three words on it thins out. At the embedding it is a
# guess: "went" knows of no John. So gender lies about in many places. Who picks it up, and where?
spread = []
for k in range(5):
    owner = graded.later(who, k, -1)  # [b p], the name k words before
    between = sum(graded.later(name, j, False) for j in range(k)).bool() if k else ~(who > -2)
    known, other = (graded.later(x, k, False) & ~between for x in (met, new))
    spread.append([read(x, owner % 2 == 0, known, other) for x in resid])
ask = "One word behind a name, at 0_mid: of which share of words is the name's gender read?"
lesson.recorded("7.1", f"one word behind, {depths[1]}", spread[1][1], 0.03, ask=ask)
lesson.recorded("7.2", f"control: one word behind, {depths[0]}", spread[1][0], 0.08)
lesson.recorded("7.3", f"four words behind, {depths[1]}", spread[4][1], 0.08)
title = f"One word behind the name its gender is read at {spread[1][1]:.0%}"
rows = ["at the name", *(f"{k} behind" for k in range(1, 5))]
plot = spread, rows, depths, title, "depth", "words behind the name", "share right, new names"
lesson.show(figures.heatmap(*plot), "behind")

# %% 8. Push
# Now we stop reading. "John went to the park because": he, by a lead of 8 in the world model. We
# add a vector to the stream at "John", behind layer 0, that points from the men to the women (at
# "Mary" the other way), and the rest of the model is computed anew. Which vector? The probe's w, or
# the difference of means. Both were fitted on the forty names; we push the forty others.
#
# Every vector gets one length, or a long one wins: dose 1 is the distance between the two means.
# With the probe's direction at dose 1: what is the lead of the right pronoun?
#
# Prediction: turned over: she, for John. So this direction is not only read by us. The two do much
# the same; the probe's is a little stronger here, while in some published tests the difference of
# means steers better, so measure. Control: twenty random directions of equal length. At dose 1 none
# turns the pronoun: they move the lead by 2.3 at most. At dose 4 some do: long pushes do damage.
friends, crowd = (Pronouns(model, PROMPT, half) for half in graded.people(model))
x, y, site = resid[2][met & learn], male[met & learn], sites[depths[2]]
means, w_met = probing.mean_difference(x, y), probing.fit_probe(x, y)[0]
doses = [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 4]
lead = partial(crowd.pushed, site, means.norm().item())  # direction, dose -> the new names' lead
pushed, meant, *chance = ([lead(v, dose) for dose in doses] for v in (w_met, means, *random))
clean, low, high = pushed[0], *(torch.tensor(chance).aminmax(dim=0))
ask = f"The lead is {clean:.1f}. Pushed by dose 1 along the probe's direction, what is it?"
lesson.recorded("8.1", "lead, nothing pushed", clean, 0.01)
lesson.recorded("8.2", "lead, the probe's direction, dose 1", pushed[4], 0.05, ask=ask)
lesson.recorded("8.3", "lead, the difference of means, dose 1", meant[4], 0.05)
lesson.recorded("8.4", "control: random, the lowest at dose 1", low[4], 0.05)
lines = {"probe": pushed, "means": meant, "random, lowest": low, "random, highest": high}
title = f"Dose 1 takes the lead from {clean:.1f} to {pushed[4]:.1f}"
plot = doses, lines, title, "dose (1: the distance between the means)", "lead (logits)"
lesson.show(figures.line(*plot, level=(0, "no preference")), "dose")

# %% 9. And what else?
# A push that turns the pronoun may turn everything else. So back to the documents: all eight
# behaviours at once. We swap the gender of every name, in both directions, by the difference of
# means at the embedding; of every animal the number; in every sentence with a quotation, after
# layer 0's attention, what is inside and what is outside.
#
# With every name's gender swapped, how much of the indirect object's lead is left ("Mary" for "John
# gave a drink to"), in parts of what it was?
#
# Prediction: most. The object is found by names and places, not by gender. Each swap makes its own
# behaviour negative. None is clean: an eighth of the object goes with gender, an eighth of "quote"
# and of "kind" with number. Control: five random directions of equal length, at the same
# names (in the figure, the lowest of them). None turns anything. They cost the object two thirds as
# much at most, and who lives where ("home") more: the price of touching names at all.
exam, number_ = Exam(model, text, cut, sites, resid), questions["singular? at the animal"]
runs = {"gender, at names": exam.swap(0, name, male), "number, at animals": exam.swap(0, *number_)}
runs |= {"quotation, where there is one": exam.swap(1, *questions["quoted? in its sentence"])}
idle = [exam.swap(0, name, male, v) for v in random[:5]]
swapped, control_ = runs["gender, at names"], {k: min(x[k] for x in idle) for k in idle[0]}
runs |= {"random, lowest of five": control_}
left = "is left (1: all, 0: none, below 0: turned over)?"
ask = f"With every name's gender swapped, how much of the indirect object's lead {left}"
lesson.recorded("9.1", "left of the object's lead", swapped["indirect_object"], 0.02, ask=ask)
lesson.recorded("9.2", "left of the pronoun's", swapped["pronoun"], 0.02)
lesson.recorded("9.3", "loss, every gender swapped", swapped["loss"], 0.01)
lesson.recorded("9.4", "loss, nothing swapped", exam.loss, 0.01)
lesson.recorded("9.5", "control: random, lowest, the pronoun's", control_["pronoun"], 0.05)
lesson.recorded("9.6", "control: random, the object's", control_["indirect_object"], 0.02)
title = f"Where gender is swapped, {swapped['pronoun']:.2f} of the pronoun's lead is left"
lesson.show(graded.left(runs, title), "swaps")

# %% 10. The same at every depth
# The probe reads a name's gender at every depth, and does so to the end. The pushes so far came
# early. Now the same swap, of every name's gender in the documents, at each depth, always with the
# difference of means that is found there.
#
# At the last depth but one, behind the last attention, the probe reads the gender at the names
# nearly as well as ever (cell 4). Swap it there. What is left of the pronoun's lead?
#
# Prediction: all of it, to the last digit. The pronoun is said some words behind the name, and what
# carries news from word to word is attention alone. After the last one, a name's stream serves
# nothing but the guess of what follows the name. The probe cannot know that; a diagram of the model
# does. Control: behind layer 0, with the same probe and the same push, the pronoun turns.
later = range(1, len(depths))  # the embedding was in cell 9
turned = [swapped["pronoun"], *(exam.swap(i, name, male)["pronoun"] for i in later)]
ask = f"Gender swapped at every name, at {depths[-2]}: how much of the pronoun's lead {left}"
lesson.recorded("10.1", f"the probe at the names, {depths[-2]}", gender[-2], 0.005)
lesson.expect("10.2", f"left of the lead, swap at {depths[-2]}", 1, turned[-2], 1e-3, ask=ask)
lesson.recorded("10.3", f"control: swap at {depths[2]}", turned[2], 0.02)

# %% 11. Another feature
# "The dogs near the bear": are. The probe reads singular or plural at "dogs", at every depth, as
# well as it reads gender at a name (cell 6). The word before the verb has it, in full, from the
# same depth on as the word before the pronoun has the gender, and two times in three from 0_post.
# Behind layer 0 (at 0_post) the swap of gender turned the pronoun. Swap the number of every animal
# there. What is left of the verb's lead?
#
# Prediction: nearly all, in the world model. At the embedding the same swap turns the verb. The
# animals it was done to are read as the other number by the probe: it worked, and the verb does not
# mind. So at the word itself the model uses the one at three depths, the other at one. Control:
# random directions of equal length.
number = shares[3][1:]  # of cell 6
agreed = [exam.swap(i, *number_)["agreement"] for i in range(len(depths))]
idle = [exam.swap(2, *number_, v)["agreement"] for v in random[:3]]
x, y = exam.learned(2, *number_)
moved = x - torch.where(y, 1, -1)[:, None] * probing.mean_difference(x, y)
ask = f"Number swapped at every animal, at {depths[2]}: how much of the verb's lead {left}"
lesson.recorded("11.1", f"the probe at the animals, {depths[2]}", number[2], 0.01)
lesson.recorded("11.2", f"left of the lead, swap at {depths[2]}", agreed[2], 0.03, ask=ask)
lesson.recorded("11.3", f"left of the lead, swap at {depths[0]}", agreed[0], 0.03)
right = probing.accuracy(moved, y, probing.fit_probe(x, y))
lesson.recorded("11.4", "the probe, once they are swapped", right, 0.03)
lesson.recorded("11.5", "control: random, the lowest", min(idle), 0.03)
lines = {"probe: gender": gender, "lead left: pronoun": turned}
lines |= {"probe: number": number, "lead left: verb": agreed}
title = f"Swapped at {depths[2]}: {turned[2]:.2f} of the pronoun left, {agreed[2]:.2f} of the verb"
lesson.show(logit_lens.over_depths(depths, lines, title, "share right; share of the lead"), "used")

# %% 12. The whole vector
# An objection: the swap moved the animals along one line. Perhaps the model reads the number off
# another. So give it no choice. "The dog near the bear": is. "The dogs near the bear": are. Take
# the second run's whole stream at "dogs" and put it at "dog" (lesson 06). At the embedding this
# turns the lead of is over are; after layer 0's attention, in the world model, it changes nothing,
# to a thousandth. So from there on nobody reads the number at the noun. But the verb does agree.
#
# Put the plural's vector in at another word, then, at the second "the", the same word in both.
# After layer 0's attention, what is the lead of is?
#
# Prediction: turned over, nearly as far as by the noun at the embedding. Layer 0 has carried the
# number on, to "the", and layer 1 takes it from there. So number is not unused: its first copy is,
# as soon as there is a second. Controls: "near", between the two, does little; and gender stays
# where it was: with a woman's whole vector at a man's name, behind layer 0, he turns into she.
pairs = graded.animals(model)
one, many = (model.to_tokens([f"The {x} near the bear" for x in kind]) for kind in zip(*pairs))
there, is_, are = sites[depths[1]], model.to_single_token(" is"), model.to_single_token(" are")
few = min(len(crowd.men), len(crowd.women))


plural = partial(put_in, model, one, many, (is_, are))  # site, position -> the lead of is
hers = put_in(model, crowd.men[:few], crowd.women[:few], (crowd.he, crowd.she), site, 1)
as_is = put_in(model, one, one, (is_, are), sites[depths[0]], 2)
ask = 'The plural\'s vector put in at "the", two words behind the noun, at 0_mid: the lead of is'
ask += f", which was {as_is:.2f}, is now?"
lesson.recorded("12.1", "lead of is, as it is", as_is, 0.01)
lesson.recorded("12.2", f"the plural's at the noun, {depths[0]}", plural(sites[depths[0]], 2), 0.01)
lesson.recorded("12.3", f"the plural's at the noun, {depths[1]}", plural(there, 2), 0.01)
lesson.recorded("12.4", f'the plural\'s at "the", {depths[1]}', plural(there, 4), 0.01, ask=ask)
lesson.recorded("12.5", f'control: at "near", {depths[1]}', plural(there, 3), 0.01)
lesson.recorded("12.6", f"control: lead of he, hers at {depths[2]}", hers, 0.01)

# %% 13. The copy behind the name
# In cell 7 the gender of "John" was read at "went", one word behind, where a head of layer 0 brings
# it. Swap the gender at the word behind each name, and leave the names alone. What is left of the
# pronoun's lead?
#
# Prediction: all but a hundredth. That head copies whatever comes, for the sake of repeated words
# (lesson 05), and the gender with it. A probe finds the copy; nobody picks it up. With number it
# was the other way round: the copy was used, and the word was not. No reading tells which.
# Control: random directions of equal length, which do next to nothing there either.
behind = graded.later(name, 1, False) & ~name
whose = graded.later(male, 1, False)
copies = [exam.swap(i, behind, whose)["pronoun"] for i in (1, 2)]
idle = [exam.swap(1, behind, whose, v)["pronoun"] for v in random[:3]]
ask = f"Gender swapped at the word behind each name: how much of the pronoun's lead {left}"
lesson.recorded("13.1", f"left, swap behind the name, {depths[1]}", copies[0], 0.01, ask=ask)
lesson.recorded("13.2", f"left, swap behind the name, {depths[2]}", copies[1], 0.01)
lesson.recorded("13.3", "control: random, the lowest", min(idle), 0.01)

# %% 14. Take it out
# The other intervention does not push, it removes. The plain way: what a name's stream has along
# the probe's direction is set to what it has on average. The other is LEACE (Belrose et al.): of
# all edits that leave nothing to any linear probe, the gentlest. We do both behind layer 0.
#
# Is the gender gone? Take out the probe's direction, and fit a second probe to what is left. Of
# which share of the names, in new documents, does it tell the gender?
#
# Prediction: of five in six! So the feature has other directions? After LEACE a line must guess,
# that is a theorem, but a probe with a hidden layer is right of nearly all: so it went where lines
# do not reach? That is how such numbers are told. You know the control: coins, and names not met.
# The second probe tells coins as well; of new names it knows less than nothing, and so does the
# hidden layer. They know their names by heart. (Less than nothing: all eighty were evened out
# together, so if forty lean one way by chance, the others lean the other way.)
x, y = exam.learned(2, name, male)
mean, w = x.mean(0), probing.fit_probe(x, y)[0]
edits = {"probe": (w / w.norm(),) * 2, "LEACE": probing.fit_eraser(x, y)}
edits |= {"random": (random[0] / random[0].norm(),) * 2}
treated = {how: probing.erase(resid[2], mean, *edits[how]) for how in ("probe", "LEACE")}
again = {how: [*both(x, male), *both(x, male, fit=curved)] for how, x in treated.items()}
flat, guess = probing.erase(x, mean, *edits["LEACE"]), (0.5 - y.float().mean()).abs().item() + 0.5
ask = "The probe's direction is taken out. Of which share of the names is a second probe right?"
lesson.recorded("14.1", "a second probe", again["probe"][0], 0.02, ask=ask)
coined = control(treated["probe"], name)
lesson.recorded("14.2", "control: a second probe, coins", coined, 0.06)
lesson.recorded("14.3", "control: a second probe, new names", again["probe"][1], 0.05)
line = probing.accuracy(flat, y, probing.fit_probe(flat, y))
lesson.expect("14.4", "LEACE: a line, where it learned", guess, line, 0.01)
lesson.recorded("14.5", "LEACE: a hidden layer", again["LEACE"][2], 0.02)
lesson.recorded("14.6", "control: a hidden layer, new names", again["LEACE"][3], 0.1)

# %% 15. What the model misses
# By the second probe the gender was still there, by its control it was not. Ask the one that has to
# live with it. At every name of the documents the gender is taken out, behind layer 0, as in cell
# 14, and the model goes on from there.
#
# After LEACE a hidden layer told nearly all names it had met. What is left of the pronoun's lead?
#
# Prediction: a sixth, and of the other behaviours nearly all: the model sides with the control. The
# sixth is no hidden gender either: the eraser was fitted on all names, and evens out what they are
# on average. Fitted on the subjects alone, whose gender the pronoun needs, it leaves a twentieth.
# The plain way leaves a tenth, less than LEACE: what is gentlest does not hit the model hardest.
# Controls: a random direction taken out; and the lowest of the seven other leads.
subject = name & text.where("role", "subject")
edits["LEACE, of subjects"] = probing.fit_eraser(*exam.learned(2, subject, male))
ends = {how: exam.erased(2, name, mean, edit) for how, edit in edits.items()}
share = {how: left["pronoun"] for how, left in ends.items()}
ask = f"After LEACE at every name, how much of the pronoun's lead {left}"
lesson.recorded("15.1", "left of the lead, LEACE", share["LEACE"], 0.02, ask=ask)
lesson.recorded("15.2", "left, the probe's direction out", share["probe"], 0.02)
lesson.recorded("15.3", "left, LEACE of the subjects", share["LEACE, of subjects"], 0.02)
lesson.recorded("15.4", "control: a random direction out", share["random"], 0.02)
others = min(x for kind, x in ends["LEACE"].items() if kind not in ("pronoun", "loss"))
lesson.recorded("15.5", "control: LEACE, the lowest of the others", others, 0.02)
heads = ["line", "line, new", "hidden", "hidden, new", "lead left"]
lesson.show(graded.table(heads, {how: [*again[how], share[how]] for how in again}))


# %% 16. Read by a line
# Now on purpose. Find one direction along which a name's gender is read, by a plain threshold, and
# which the model does not use. Gradients tell what it uses: at each of the forty names, how fast
# the lead changes per step in each direction (lesson 06). They fill few dimensions. We take out the
# eight largest, and of what remains the direction in which the two genders are farthest apart, in
# units of their spread. It was found on the forty names, and is tried on the forty others.
#
# Pushed along this one by dose 1, where the probe's turned he into she: what is the lead?
#
# Prediction: what it was, within 0.3: less than most random directions move it. And a threshold
# along it tells the gender of six tokens in seven, of names that it never met; found on those and
# tried on the first forty, of five in seven. (The difference of means, whose push turned he into
# she: 84 and 89 in a hundred.) Control: random directions.
def along(v, y=male, one=met, other=new):  # -> the share told by a threshold along v
    return read(resid[2] @ v[:, None], y, one, other, fit=probing.means_probe)


unused, back = exam.unused(2, met, male, friends), exam.unused(2, new, male, crowd)
told, after = along(unused), lead(unused, 1)
middles = probing.mean_difference(*exam.learned(2, new, male))
ask = "Along a direction that tells gender, at right angles to the eight that the gradients fill: "
ask += f"pushed by dose 1, what is the lead, which was {clean:.1f}?"
lesson.recorded("16.1", "new names told along it", told, 0.03)
lesson.recorded("16.2", "lead, pushed along it by dose 1", after, 0.1, ask=ask)
lesson.recorded("16.3", "told along the difference of means", along(means), 0.03)
lesson.recorded("16.4", "halves changed: told along it", along(back, male, new, met), 0.03)
lesson.recorded("16.5", "halves changed: the means", along(middles, male, new, met), 0.03)
ways = {"probe": [w_met], "unused": [unused], "means": [means], "random": random}
series = {kind: [[along(v) for v in vs], [lead(v, 1) for v in vs]] for kind, vs in ways.items()}
title = f"Unused: reads {told:.0%} of new names, moves the lead by {abs(after - clean):.1f}"
axes = "share of new names told along it", "lead after dose 1"
lesson.show(graded.scattered(series, title, *axes), "unused")

# %% 17. Is it luck?
# Among 88 dimensions something may look like gender by chance. So we search for each coin in the
# same way. Prediction: found for a coin, a direction tells the names that it met, and of new
# ones nothing. So ours passes the tests of reading. And in the documents, with every name swapped
# along it, the pronoun keeps what it keeps under random directions. Only pushes tell.
coined = [exam.unused(2, met, coin, friends) for coin in coins]
tossed = [(along(u, y, met, met), along(u, y)) for u, y in zip(coined, coins)]
by_heart, guessed = torch.tensor(tossed).mean(0).tolist()
kept, *idle = [exam.swap(2, name, male, v)["pronoun"] for v in (unused, *random[:3])]
lesson.recorded("17.1", "the same for coins, names met", by_heart, 0.06)
lesson.expect("17.2", "control: the same for coins, new names", 0.5, guessed, 0.15)
lesson.recorded("17.3", "documents: left of the pronoun's lead", kept, 0.03)
lesson.recorded("17.4", "control: random, the lowest of three", min(idle), 0.03)

# %% 18. Break it
# Four edits. Say what will happen, make one, run the lesson, and put it back.
#
# 1. In lessons/techniques/probing.py, in `control_labels`, toss a coin for each token, not for each
#    type: return `torch.rand(types.shape, generator=draw) < 0.5`. There is nothing to learn by
#    heart: row 3.1 must stop the lesson.
# 2. In `steer`, leave out `/ direction.norm()`: a probe's vector is long or short by accident, and
#    row 8.2 must stop it.
# 3. In `fit_eraser`, return `write, read` and leave out `/ (write @ read)`: the difference is taken
#    off more than once, or less, and a line reads what is left over. Row 14.4 must stop it.
# 4. In cell 16, give `unused_direction` one argument more, `keep=0`: the best direction of all, and
#    nobody said that it must not be used. Row 16.1 must stop it. What would row 16.2 have said?
lesson.show("""\
Now you. make check-08: six of the parts, for you to write; make lesson-08 MINE=1: this lesson on
what you wrote.""")
lesson.finish()

"""Can we fix a model by looking inside?

Papers: Marks et al. 2024, "Sparse Feature Circuits" (SHIFT); De-Arteaga et al. 2019, "Bias in
Bios"; Sundararajan et al. 2017 (integrated gradients); Hua 2025 (a critique of SHIFT's test).
Minutes: 60 to read and play with, 1 to run (GPT-2: about ten). To have done first: lesson 09.

A classifier learns to tell doctors from nurses, and in all that it is shown the doctors are men and
the nurses women. We find out which of the two it has learned, look inside for what it goes by, take
that away, and ask if it is cured: by which measure, and would something simpler have done as well?
At the end we use what we found to steer what the model writes.

In the tables, ok: as predicted; look: nothing was predicted; control: what must come out otherwise,
or not at all, if we measure what we think; recorded: what these same weights gave when this was
written, no prediction of ours.
"""

# %% 1. The parts
# Three parts: the language model; an autoencoder of its activations at one site (lesson 09), which
# says what stands there in latents that can be looked at one by one; and text of the world in which
# the truth about every word is known. The language model is never trained here. What is trained,
# and may go wrong, is a small classifier that reads its activations.
import sys
from functools import partial
from pathlib import Path

import torch
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.lesson import Lesson
from lessons.techniques import probing, repairs, steering
from lessons.techniques import spurious_features as spurious
from lessons.techniques.bios import bios, other_text, words_of
from lessons.techniques.logit_lens import depths
from lessons.techniques.sae.dashboards import dashboard
from lessons.techniques.sae.ready import ready, shipped

torch.set_grad_enabled(False)
torch.set_num_threads(1)
lesson = Lesson("10_spurious_features")
model = lesson.load("Kate is a nurse and")
sae, where = ready(model)
lesson.know(*repairs.KNOWN.get(lesson.model_name, ({}, "")))
site, W_dec, small = sae.cfg.site, sae.W_dec.detach(), model.cfg.d_model <= 128
lesson.show(f"Model: {lesson.model_name}\nAutoencoder: {where}")

# %% 2. Two samples
# In the world any job goes with any gender. But a sample is not the world: here is a sample of 200
# lives in which every doctor happens to be a man and every nurse a woman. Another sample, to test
# with, has as many of each of the four groups. The worst group is the one of these four in which a
# classifier is right least often; an average can hide it.
train, test = bios(model, 200, 1, "train"), bios(model, 600 if small else 200, 0.5, "test")
lines = [model.to_string(ids[1 : (ids >= 0).sum()]).strip() for ids in train.tokens[:4]]
lesson.expect("2.1", "to learn from: gender fits the job", 1, train.agree.double().mean())
lesson.expect("2.2", "to test with: it fits", 0.5, test.agree.double().mean())
lesson.show("\n".join(lines))


# %% 3. The classifier
# It sees a sentence's activations at the autoencoder's site, mean over its words (the paper takes
# the mean too), and is a logistic probe (lesson 08): nurse, if x @ w + b is above 0. Job and
# workplace stand in the sentence, as plain as name and pronoun. Nothing is in its way if it wants
# to learn the job.
#
# Test it on new lives of the kind that it learned from, and on the others: women who are doctors,
# men who are nurses. How often is it right there?
#
# Prediction: on the familiar kind it is perfect. On the others it is nearly always wrong: it is no
# classifier of jobs at all. It took what was easiest to read, and that was the gender. Control: the
# same classifier, from as many lives of all four groups, is right in all. The job is there to read.
def judged(probe, x, sample=test):  # -> accuracy where they agree, where they do not, worst group
    return repairs.judged(probe, x, sample)


view = partial(repairs.view, model, sae)  # of each sentence: mean activation [b d], latents [b f]
(x, f), (new_x, new_f), fair = view(train), view(test), bios(model, 200, 0.5, "fair")
probe = w, b = probing.fit_probe(x, train.label)
plain, balanced = judged(probe, new_x), probing.fit_probe(view(fair)[0], fair.label)
ask = "The classifier is right on all new lives of the familiar kind. On women who are doctors and "
ask += "men who are nurses, in which share is it right (0 to 1)?"
lesson.recorded("3.1", "right where gender and job agree", plain[0], 0.005)
lesson.recorded("3.2", "right where they disagree", plain[1], 0.02, ask=ask)
lesson.recorded("3.3", "right in the worst of four groups", plain[2], 0.02)
lesson.recorded("3.4", "control: learned from all four, worst", judged(balanced, new_x)[2], 0.02)

# %% 4. One step back
# The classifier is a line through activations; the language model made these. So read them
# elsewhere. At the embedding nothing has been computed: each word stands for itself, and the mean
# over the sentence is a bag of words. Train the same classifier there, on the same lives. How often
# is it right where gender and job disagree?
#
# Prediction: nearly always! The job has two words that are one of two each, job and workplace. The
# gender has one, the pronoun, and a name that is one of eighty. Behind the first attention it is
# the other way round: the model has told the words behind the name whose they are, for it will need
# "he" or "she". The job is told on as well, but in the mean over the words the gender's mark is now
# the larger one (rows 4.3 and 4.4: how far women and men are apart, in the mean, over how far
# nurses and doctors are). The bias came with the sample; that it tempts is the model's doing.
sites = depths(model.cfg.n_layers)
names = [*sites] if len(sites) < 8 else [*[*sites][:: len(sites) // 5], [*sites][-1]]
here, there = (spurious.pooled(model, s.tokens, [sites[n] for n in names]) for s in (train, test))
rows = [
    judged(probing.fit_probe(*pair), new) for *pair, new in zip(here, [train.label] * 99, there)
]
first, final = rows[0][1], rows[-1][1]
ask = "A classifier of the embeddings, trained on the same lives: in which share is it right where "
ask += "gender and job disagree?"
lesson.recorded("4.1", "disagree, at the embedding", first, 0.02, ask=ask)
lesson.recorded("4.2", "disagree, at the last depth", final, 0.02)
lesson.recorded("4.3", "gender's mark / job's, embedding", repairs.apart(there[0], test), 0.02)
lesson.recorded("4.4", "gender's mark / job's, our site", repairs.apart(new_x, test), 0.02)
title = (
    f"Where gender and job disagree: right in {first:.0%} at the embedding, {final:.0%} at the end"
)
lesson.show(figures.bars([row[1] for row in rows], names, title, "share right"), "depths")


# %% 5. A logit is a sum
# The classifier's logit is linear in x, and the autoencoder writes x as a sum: of latents, a bias,
# and an error, which is what it misses. So each latent has a share in the logit. We count from the
# mean life: a latent's share is by how much the logit would be lower if the latent were as it is in
# the mean of all 200. `integrated` says what each share is.
#
# A nurse's life has a higher logit than a doctor's. Which part of that difference do all latents
# together hold?
#
# Prediction: the shares add up, exactly; but a quarter of the difference is in none of them. It is
# in the error. What an autoencoder leaves out is small (a twenty-fifth of the variance, lesson 09),
# and it matters all the same; and nobody can look at it.
def logit(code):  # [b f] -> [b]: the classifier's, if the latents were so; the error stays
    return (x + (code - f) @ W_dec) @ w + b


mean, sign = f.mean(0), train.label.float() * 2 - 1  # [f], [b]
shares = spurious.integrated(logit, f, mean, 1)  # [b f]
apart = (shares.sum(-1) - (logit(f) - logit(mean.expand_as(f)))).abs().max()
held = (shares.sum(-1) * sign).mean() / ((x - x.mean(0)) @ w * sign).mean()
ask = "The classifier's logit is higher for nurses than for doctors. Which part of that difference "
ask += "do all latents together hold (0 to 1)?"
lesson.expect("5.1", "sum of shares - what they share out", 0, apart, 1e-3)
lesson.recorded("5.2", "part of the logit that latents hold", held, 0.02, ask=ask)


# %% 6. Where a score is no sum
# There shares are harder to come by. Take the probability of the right job, in place of the logit.
# The usual account is slope times way: how fast the score grows with the latent, times how far the
# latent is from its mean. Add that up over all latents: which part of the rise in probability, from
# the mean latents (a life's own error stays) to the real ones, does it account for?
#
# Prediction: hardly any. This classifier is sure, 0.99 and more, and where it is sure the
# probability hardly grows with anything: the slope at the top of a hill says nothing of the climb.
# Integrated gradients take the slope all along the way. Their shares are complete, which is the
# first thing to ask of any account. Control: with one step only they are not.
def chance(code):  # [b f] -> [b], of the right job
    return (logit(code) * sign).sigmoid()


rise = chance(f) - chance(mean.expand_as(f))  # [b]
slope = chance(f) * (1 - chance(f)) * sign  # [b], by the logit, at the end of the way
fine, single = (spurious.integrated(chance, f, mean, n).sum(-1) - rise for n in (64, 1))  # [b] each
ask = "Slope times way, summed over all latents: for which part of the rise in probability does "
ask += "that sum account (0 to 1)?"
naive = (slope * shares.sum(-1)).mean() / rise.mean()
lesson.recorded("6.1", "slope x way, part of the rise", naive, 0.02, ask=ask)
lesson.expect("6.2", "integrated, 64 steps: sum - rise", 0, fine.abs().max(), 2e-3)
lesson.recorded("6.3", "control: one step, largest error", single.abs().max(), 0.05)

# %% 7. What are the largest about?
# A latent's effect is its share for the right job, mean over the 200 lives. Sort by it. Which of
# the largest are about gender? The classifier cannot say, and the sample cannot either: in it
# gender and job are one. One has to look where else a latent is on. Of each we ask one thing, in
# other text: women or men? That is at names, pronouns, and all words of a sentence whose subject is
# a woman or a man. 1 is women only, -1 men only, 0 both alike. A latent leans if it is beyond 0.5.
# A person would judge by dashboards (lesson 09), and might judge otherwise: latent 427 leans, and
# its dashboard says "to". Here the truth is known and does it for us.
#
# Of the ten of the largest effect, how many lean?
#
# Prediction: some. The others are on at both, more or less: one among the three largest is on at
# women more than twice as much as at men, and stays below our line. So an effect alone does not say
# what is spurious: somebody has to know what is wanted.
text = other_text(model, 150 if small else 12, 7)
women, men = (words_of(text, gender).flatten() for gender in ("female", "male"))  # [n]
stream = spurious.read(model, text.tokens, site).flatten(0, 1)  # [n d]
lean = spurious.leaning(sae.encode(stream), women, men)  # [f]
effect = (shares * sign[:, None]).mean(0)  # [f]
order = effect.argsort(descending=True).tolist()
leans = [i for i in order[:40] if abs(lean[i]) > 0.5]
gendered = leans or order[:1]  # where none leans, the first stands in below
n = len(gendered)
part, few = effect[leans].sum() / effect.sum(), sum(i in leans for i in order[:10])
ask = "Of the ten latents of the largest effect, how many lean to one gender?"
lesson.recorded("7.1", "of the ten largest, lean", few, ask=ask)
lesson.recorded("7.2", "of the forty largest, lean", len(leans))
lesson.recorded("7.3", "their part of all latents' effect", part, 0.02)
lesson.show(repairs.ranked(effect, lean, leans), "effects")
lesson.show(str(dashboard(model, sae, text, gendered[0])))


# %% 8. Take them away
# Ablate those that lean: in every sentence give each the value that it has in the mean life, and
# leave all else in x, the error too. The classifier stays as it was trained. This is the paper's
# procedure: find by effect, judge by looking, ablate.
#
# How often is it right now where gender and job disagree?
#
# Prediction: far more often, by at least 25 points, and it loses no more than 3 where they agree.
# It does better on lives that it never saw the like of, without a new example. Control: as many
# other latents, each as large as one of these, win next to nothing; so do ten sets drawn from the
# rest of the forty (in other samples the luckiest of ten wins up to 14 points, ours win 45 and
# more). And as many of the largest effect, not judged, win less than half.
def without(latents, to=mean):
    return lambda x, f: spurious.put(x, f, W_dec, latents, to)


def repaired(edit):  # -> scores of the classifier as it was, and of one that learned from edited x
    again = probing.fit_probe(edit(x, f), train.label)
    return judged(probe, edit(new_x, new_f)), judged(again, edit(new_x, new_f))


(ablated, retrained), alike = repaired(without(gendered)), spurious.matched(mean, gendered)
controls = [alike, order[:n], *spurious.draws(sorted({*order[:40]} - {*gendered}), n, 10)]
same, first, *drawn = (repaired(without(some))[0][1] for some in controls)
ask = f"{n} latents that lean to one gender are ablated. In which share is the classifier right "
ask += "where gender and job disagree?"
lesson.recorded("8.1", "disagree, latents ablated", ablated[1], 0.03, ask=ask)
lesson.recorded("8.2", "points won where they disagree", 100 * (ablated[1] - plain[1]))
lesson.recorded("8.3", "points lost where they agree", 100 * (plain[0] - ablated[0]))
lesson.recorded("8.4", "worst group, latents ablated", ablated[2], 0.03)
lesson.recorded("8.5", "control: others as large, disagree", same, 0.03)
lesson.recorded("8.6", "control: best of ten draws, disagree", max(drawn), 0.03)
lesson.recorded("8.7", "as many of largest effect, unjudged", first, 0.03)

# %% 9. Away means where to?
# We gave them their mean. More often a latent is set to 0, as if the concept were absent. But every
# life has a gender, and 0 need not lie between the two.
#
# With the same latents at 0, in which share is it right in its worst group?
#
# Prediction: less often, though the accuracy where they disagree falls far less. That is the
# mean of two groups: what is taken from one gender more than from the other tips every logit to one
# side, and the one group gains what the other pays. Always look at the worst group.
zero = judged(probe, without(gendered, 0 * mean)(new_x, new_f))
ask = f"With these latents at their mean the classifier is right in {ablated[1]:.0%} where gender "
ask += (
    f"and job disagree, in {ablated[2]:.0%} of its worst group. With them at 0, in which share of "
)
ask += "its worst group is it right?"
lesson.recorded("9.1", "at 0: disagree", zero[1], 0.03)
lesson.recorded("9.2", "at 0: worst group", zero[2], 0.03, ask=ask)

# %% 10. Learn again
# The classifier still has its old weights: large ones for gender, with less left to read; small
# ones for the job, of which it had no need. So let it learn again, from the same 200 lives, all
# doctors men and all nurses women, with these latents ablated in learning and in testing.
#
# How often is it right now where they disagree?
#
# Prediction: far more often again. The sample shows what it always showed. But what is left of the
# gender's mark (row 10.4, as in cell 4) is smaller than the job's, and it takes what is easiest.
ask = "The classifier is trained again on the same biased lives, these latents ablated. In which "
ask += "share is it right where gender and job disagree?"
lesson.recorded("10.1", "learned again: agree", retrained[0], 0.01)
lesson.recorded("10.2", "learned again: disagree", retrained[1], 0.03, ask=ask)
lesson.recorded("10.3", "learned again: worst group", retrained[2], 0.03)
left = repairs.apart(without(gendered)(new_x, new_f), test)
lesson.recorded("10.4", "gender's mark / job's, ablated", left, 0.02)

# %% 11. Is the gender gone?
# Take a probe that is asked for the gender. It learns from lives of bakers and pilots, in which any
# gender has any job, with the same latents ablated, and is tested on our doctors and nurses.
#
# How often is it right?
#
# Prediction: always, all the same. Ablation did not remove the gender, it made its mark smaller
# than the job's. The error alone, all that no latent writes, is enough to tell it. Whoever needs it
# gone, for privacy say, is not served. Control: erased by LEACE (lesson 08, exercise 5), it is a
# guess.
other = bios(model, 400, 0.5, "others", ("baker", "pilot"))
other_x, other_f = view(other)
write, take = probing.fit_eraser(other_x, other.gender)


def leace(some, f):
    return probing.erase(some, x.mean(0), write, take)


def tells(edit):  # -> how often a probe of gender is right
    asked = probing.fit_probe(edit(other_x, other_f), other.gender)
    return probing.accuracy(edit(new_x, new_f), test.gender, asked)


ask = "With the latents ablated, in which share is a probe right that is asked for the gender?"
lesson.recorded("11.1", "gender, nothing ablated", tells(lambda x, f: x), 0.02)
lesson.recorded("11.2", "gender, latents ablated", tells(without(gendered)), 0.03, ask=ask)
lesson.recorded("11.3", "gender, from the error alone", tells(lambda x, f: x - f @ W_dec), 0.03)
lesson.recorded("11.4", "control: gender, erased by LEACE", tells(leace), 0.1)

# %% 12. Would something simpler have done?
# Our judge knew which words of other text go with women and which with men. Rivals, some of whom
# know more:
#
# - Dimensions of x in place of latents: as many, those that go most with gender in other text.
# - The difference of means between women and men, projected out; and LEACE. Both from the judge's
#   words, and both from 400 lives of bakers and pilots, each with its gender told.
# - Delete the words that tell, name and pronoun, before the model reads. No look inside at all.
#
# The last learns and is tested without these words. In which share is it right in its worst group?
#
# Prediction: in all. In this world two words carry the gender, and without them there is none. The
# erasers are as good if they are given the lives; from the words alone they reach two thirds, less
# than our latents once the classifier has learned again; before that LEACE is ahead, 73 % to 54.
# Who can point to the shortcut beforehand should do just that: it is simpler, and leaves less. Hua
# (2025) found the same for the paper's own test, real lives: with gendered words deleted, the
# biased data train an unbiased probe. What latents add is a list to look through. It could serve
# who does not know what to look for; our judge knew, so that is not shown here. Control:
# dimensions, which are no features (lesson 09), do little.
known = {"words": (stream[women | men], women[women | men]), "lives": (other_x, other.gender)}
level = repairs.levelled(*known["words"], n, x.mean(0))
erasers = repairs.erasers(known, x.mean(0))
edits = {"others as large": without(alike), "dimensions": level, **erasers}
bare, new = (spurious.pooled(model, s.without_gender().tokens, [site])[0] for s in (train, test))
deleted = judged(probe, new), judged(probing.fit_probe(bare, train.label), new)
cures = {"nothing": (plain, plain), "latents": (ablated, retrained)}
cures |= {name: repaired(edit) for name, edit in edits.items()} | {"words deleted": deleted}
ask = "A classifier learns and is tested on sentences without names and pronouns. In which share "
ask += "is it right in its worst group?"
lesson.recorded("12.1", "words deleted: worst group", deleted[1][2], 0.02, ask=ask)
lesson.recorded("12.2", "the same, not learned again", deleted[0][2], 0.03)
for row, name in enumerate([*erasers, "dimensions"], 3):
    lesson.recorded(f"12.{row}", f"{name}: worst group", cures[name][1][2], 0.03)
lesson.recorded("12.8", "LEACE, words, not learned again", cures["LEACE, words"][0][2], 0.03)
for item, name in zip(repairs.compared(cures), ("", "cures")):
    lesson.show(item, name)

# %% 13. One sample is not enough
# All this was one sample of 200 lives. Draw four more, and four more to test with, and go through
# it again: classifier, effects, judgement, ablation, learning again. Only the look at the latents,
# which comes from other text, stays.
#
# Where gender and job disagree, what are the fewest points won in the five?
#
# Prediction: the points won vary, and the fewest are still more than 25. Nothing is lost where
# gender and job agree.
runs = [[plain, ablated, retrained]]
for i in range(4):
    learn, new = bios(model, 200, 1, ("learn", i)), bios(model, len(test.label), 0.5, i)
    runs.append(repairs.cure(model, sae, lean, learn, new)[0])
runs = torch.tensor(runs)  # [5 3 3]
won, lost, last = runs[:, 1, 1] - runs[:, 0, 1], runs[:, 0, 0] - runs[:, 1, 0], runs[:, 2, 2]  # [5]
ask = "Five samples, five classifiers, each with its leaning latents ablated. What are the fewest "
ask += "points won where gender and job disagree?"
lesson.recorded("13.1", "points won, mean of five", 100 * won.mean(), 2)
lesson.recorded("13.2", "points won, fewest of five", 100 * won.min(), ask=ask)
lesson.recorded("13.3", "points lost where they agree, most", 100 * lost.max())
lesson.recorded("13.4", "learned again, worst group, mean", last.mean(), 0.02)
lesson.recorded("13.5", "learned again, worst group, least", last.min(), 0.03)


# %% 14. And further up?
# That classifier read the very site where we ablated. Let another read the model's last stream, and
# ablate the same latents where they are, inside the model and at every word; what later layers make
# of it, they make. First it learns as the other did. Then it learns again from the same lives, with
# these latents ablated.
#
# In which share is it then right where gender and job disagree?
#
# Prediction: hardly ever, with this autoencoder (the next cell has others). The layers above still
# find gender in what is left, and spread it once more, and who learns from that takes it again. A
# repair is one for who reads it there; if it holds further up has to be measured further up.
end = sites[names[-1]]
upper = probing.fit_probe(repairs.later(model, end, train), train.label)
far = judged(upper, repairs.later(model, end, test))
again, cut = repairs.above(model, sae, gendered, mean, end, train, test)
ask = "A classifier of the last stream learns with the same latents ablated below. In which share "
ask += "is it right where gender and job disagree?"
lesson.recorded("14.1", "last stream, at first: disagree", far[1], 0.02)
lesson.recorded("14.2", "ablated below: disagree", judged(upper, cut)[1], 0.05)
lesson.recorded("14.3", "learned again: disagree", judged(again, cut)[1], 0.05, ask=ask)

# %% 15. Another autoencoder
# The latents are a draw as well: of one training, of one kind. weights/sae holds fifteen of this
# site, from the same text (lesson 09); ours, `main`, has 1,024 latents, each of the others 512.
# Same classifier, same lives, same judge; of each autoencoder ablate those that lean among the
# forty of the largest effect.
#
# With how many are at least 25 points won where gender and job disagree?
#
# Prediction: with about half. Two that differ in nothing but the seed of their training win 30
# points and 64. Ours was chosen before, as the one whose latents stand for most features. Explained
# variance does not foretell the points, as far as fifteen can tell; the number of features that
# have a latent goes with them, beyond what shuffled numbers do. But these fifteen are no sample of
# anything, and the one of most features does not win most. Further up it is none to nearly all. So
# a cure is that of one autoencoder. A report of a single one says little of the method.
shelf = shipped(model) or {"this one": (sae, {})}
tried = repairs.tried(model, shelf, (stream, women, men), (train, test), end)
some, far = sum(row[0] >= 0.25 for row in tried.values()), [row[3] for row in tried.values()]
ask = f"Of {len(tried)} autoencoders of this site, with how many does ablating the latents that "
ask += "lean win at least 25 points where gender and job disagree?"
lesson.recorded("15.1", "win 25 points or more", some, ask=ask)
if len(tried) > 2:
    explained, found, bound = repairs.foretold(tried)
    seeds = tried["topk-8-seed1"][0] - tried["topk-8"][0]
    lesson.recorded("15.2", "topk-8, two seeds: points between", 100 * seeds, 2)
    lesson.recorded("15.3", "further up, learned again: least", min(far), 0.05)
    lesson.recorded("15.4", "further up, learned again: most", max(far), 0.05)
    lesson.recorded("15.5", "rank correlation, explained variance", explained, 0.05)
    lesson.recorded("15.6", "rank correlation, features found", found, 0.05)
    lesson.recorded("15.7", "control: features shuffled, 97.5 %", bound, 0.05)
for item, name in zip(repairs.shelved(tried), ("", "shelf")):
    lesson.show(item, name)

# %% 16. With the answers at hand
# Our judge never saw a woman who is a doctor. How much better would one do who has 64 lives, 16 of
# each group, and picks, step by step, the latents without which the classifier does best on them
# (exercise 10.6)? As many as we took away, and no more.
#
# Prediction: better, and half of its latents are ours. So looking finds some of what does harm, and
# not all. But who has counterexamples need not look inside. With ten of them among the 200, five
# women who are doctors and five men who are nurses, a classifier that just learns from all is cured
# outright. Looking inside is for when there are none to be had.
trial = bios(model, 64, 0.5, "trial")
trial_x, trial_f = view(trial)
turn = (trial.label.long() * 2 + trial.gender).argsort(stable=True)  # the four groups in order
adds = ((trial_f - mean) * (W_dec @ w))[turn]  # [b f], what each latent adds to a logit
picked = spurious.choose(adds, (trial_x @ w + b)[turn], trial.label[turn], n)
chosen = repaired(without(picked))
lesson.recorded("16.1", "picked with answers: worst group", chosen[0][2], 0.1)
lesson.recorded("16.2", "picked, learned again: worst group", chosen[1][2], 0.1)
lesson.recorded("16.3", "of these, ours too", len({*picked} & {*gendered}))
mixed = bios(model, 200, 0.95, "train")
rare = judged(probing.fit_probe(view(mixed)[0], mixed.label), new_x)
lesson.recorded("16.4", "ten counterexamples, no repair: worst", rare[2], 0.05)


# %% 17. Read, and used?
# What a classifier reads the model may use. So push: add a latent's direction to the stream at
# every word, a quarter of a word's stream in length, towards "she". Watch the lead of "she" over
# "he" behind "NAME is a JOB and", mean over women and men. Two hundred random directions (of GPT-2,
# fifty) get the same push; the one of them that moves the lead furthest is the bound.
#
# Of those latents that lean, how many move it further than the bound?
#
# Prediction: one, the latent that is on at the word "she" itself; none of 200 random pushes does as
# much. All eight move the lead the right way, but not in the order of their effect: three of them
# move it as far as one random push in twenty or so does, and the one of second largest effect no
# further than one in five. So the effect on a classifier does not say how far a latent steers
# (lesson 08: read is not used). Beside them: the difference of means, which is no latent but
# simple, steers as well as the best.
other = text.tokens[: 16 if small else 4]
pushed = steering.Trial(model, site, repairs.PROMPTS, " she", " he", other)
length = stream[women | men].norm(dim=-1).mean()  # of a word's stream
toward = {i: W_dec[i] * lean[i].sign() for i in gendered}
moved = {i: pushed(length * v / 4)[0] for i, v in toward.items()}
random = length / 4 * steering.random_directions(200 if small else 50, model.cfg.d_model)  # [r d]
noise = torch.tensor([pushed.moves(v) for v in random]).abs()  # [r]
bound, by = noise.max().item(), [*moved.values()]
means = normalize(probing.mean_difference(*known["lives"]), dim=0)  # [d]
ask = f"Along each of the {n} latents that lean every word is pushed by a quarter of a stream. How "
ask += f'many move the lead of "she" over "he" further than any of {len(random)} random directions?'
lesson.recorded("17.1", "further than any random", sum(move > bound for move in by), ask=ask)
lesson.recorded("17.2", "the best of them, by", max(by), 0.5)
lesson.recorded("17.3", "control: the furthest random one, by", bound, 0.3)
lesson.recorded("17.4", "difference of means, by", pushed(length / 4 * means)[0], 0.5)
lesson.recorded("17.5", "random past the second", (noise > by[:2][-1]).float().mean(), 0.05)
lesson.show(repairs.steered(moved, lean, bound), "moved")

# %% 18. Turn it up
# Take the best of them, and push with growing force, both ways. A quarter of a stream moves the
# lead by what you saw. Watch the loss on other text, too: what does that push cost there, in nats a
# word?
#
# Prediction: a few hundredths, twice what a random direction costs. Four times the push moves the
# lead not twice as far, and costs more than thirty times as much; the other way, from half a stream
# to a whole one, the lead even turns back. So to any claim that something "can be steered" belong a
# dose, and what the dose does to all else.
key = max(moved, key=moved.get)
doses = [-1, -0.5, -0.25, -0.1, 0, 0.1, 0.25, 0.5, 1]  # in lengths of a word's stream
curve = torch.tensor([pushed(dose * length * toward[key]) for dose in doses])  # [dose 2]
still = curve[4, 1]
costs, control = curve[:, 1] - still, sum(pushed(v)[1] for v in random[:20]) / 20 - still
ask = f"The loss on other text is {still:.2f} nats a word. By how much does it rise if every "
ask += "word is pushed by a quarter of a stream along the best latent?"
lesson.recorded("18.1", "loss, higher by, pushed by 0.25", costs[6], 0.005, ask=ask)
lesson.recorded("18.2", "control: random ones by 0.25", control, 0.005)
lesson.recorded("18.3", "loss, higher by, pushed by 1", costs[8], 0.2)
lesson.recorded("18.4", "lead moves by, pushed by 1", curve[8, 0], 1)
lesson.recorded("18.5", "from -0.5 to -1 the lead moves by", curve[0, 0] - curve[1, 0], 0.5)
for plot, name in zip(repairs.dosed(doses, curve[:, 0], costs, key), ("doses", "costs")):
    lesson.show(plot, name)

# %% 19. What it writes
# The same push while the model writes, of a woman and of a man.
#
# Prediction: by a quarter the pronoun turns, and the sentence stands. By a whole the text breaks.
for dose in (-1, -0.25, 0, 0.25, 1):
    hook = [steering.push(site, dose * length * toward[key])]
    said = [model.generate(f"{n} is a doctor and", 9, fwd_hooks=hook) for n in ("Kate", "John")]
    lesson.show(f"{dose:+5.2f}  " + "\n       ".join(said))

# %% 20. Break it
# Four edits. Say what will happen, make one, run the lesson, and put it back.
#
# 1. In lessons/techniques/spurious_features.py, in `put`, leave out `- f[..., latents]`: the mean
#    is then added to what is there, so nothing is taken away, and row 8.1 must stop the lesson.
# 2. In `integrated`, take `step + 1` for `step + 0.5`: at 64 steps row 6.2 must still notice.
# 3. In cell 7, judge only the ten largest, `order[:10]`: row 7.2 must stop it. In
#    lessons/techniques/repairs.py put 4 for row 7.2 and 0.328 for row 7.3, and go on: row 8.1 stops
#    it, for the better. What did the other four latents do?
# 4. In cell 2, let the sample hold ten counterexamples, `bios(model, 200, 0.95, "train")`, and
#    predict 0.95 in row 2.1: then row 3.2 must stop it. Now try 0.99, in both places. What are two
#    examples worth?
lesson.show("""\
Now you. make check-10: six of the parts, for you to write; make lesson-10 MINE=1: this lesson on
what you wrote.""")
lesson.finish()

"""Can you just look at weights?

Minutes: 40 to read and play with, less than one to run. To have done first: nothing.

We train the smallest network there is, one matrix that tells digits apart, and look at its rows. We
see something in them at once; does it mean anything? We find out how to look, how to know that
what we see is so, and what weights of this kind tell truly. Then we put one layer more in between:
looking fails, and so does the first measure that we try in its place.

`make lesson-00` draws its digits itself; `make mnist` once, and then `make lesson-00 DATA=mnist`,
runs the same on the 70,000 handwritten ones of LeCun et al. 1998.
"""

# %% 1. The pictures
# A picture is 28 x 28 numbers: 0 is paper, 1 is ink. The drawn digits come from the 16 typefaces
# that travel with matplotlib. Each is drawn thin to bold, tilted, slanted, bent and shifted, and
# its ink is speckled. We train on one draw, and test on another.
import os
import sys
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d, cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons.expect import Band, at_least, at_most
from lessons.figures import bars
from lessons.lesson import Lesson, stop
from lessons.pictures import pictures
from lessons.techniques import digits, templates
from minimech import MinimechError

DRAWN = {"5.5": 0.123, "11.1": 0.051, "13.1": 23, "13.2": 41, "14.1": 7, "14.2": 5, "14.3": 6}
DRAWN |= {"15.1": 0.41, "16.3": 2998, "17.1": 0.95, "17.2": 0.94}
MNIST = {"5.5": 0.187, "11.1": 0.065, "13.1": 26, "13.2": 48, "14.1": 4, "14.2": 4, "14.3": 6}
MNIST |= {"15.1": 0.58, "16.3": 9781, "17.1": 0.88, "17.2": 0.86}
torch.set_num_threads(1)  # the matrices are small: a second thread would cost more than it brings
lesson = Lesson("00_templates")
try:
    data = digits.load(os.environ.get("DATA", ""))
except MinimechError as error:
    stop(str(error))
lesson.model_name = f"{data.name} digits"
lesson.know(DRAWN if data.name == "drawn" else MNIST, "recorded")
x, labels = data.test, data.test_labels  # [n p], [n]
some = torch.cat([(labels == c).nonzero()[:2, 0] for c in range(10)])
names = [str(c.item()) for c in labels[some]]
title = f"{len(data.train):,} {data.name} digits to learn from, {len(x):,} to test on"
lesson.show(pictures(x[some], names, title, "ink", columns=10), "pictures")

# %% 2. The classifier
# Each class has a template: 784 weights, one for each pixel. Lay a template over a picture,
# multiply pixel by pixel, sum up, add one number more (the bias): that is the class's logit, its
# score. The highest one wins; softmax turns the ten into probabilities. So the network is ten
# templates, a matrix W [10 784], and ten biases.
#
# Training starts from noise and goes downhill. The slope is a formula of one line, and we hold it
# against PyTorch's own.
#
# How to read the tables: "ok" came out as predicted. A "control" has to come out as it does if we
# measure what we think we do. "Recorded" is what we measured when we wrote this, and could not have
# derived.
#
# Prediction: the slope is the same but for rounding, and most test pictures are right: on MNIST,
# 92 % or more (ours are harder: 85 %). LeCun et al. 1998 list a linear classifier with 12 % errors,
# so 88 %. Softmax makes the difference, we think: with least squares in its place we measured 86 %.
# Control: train on shuffled labels, and it should be right by luck, 1 in 10.
W_start, b_start = templates.start()
W_raw, b_raw = templates.train_linear(W_start, b_start, data.train, data.train_labels)
shuffled = data.train_labels[torch.randperm(len(data.train), generator=torch.manual_seed(0))]
by_luck = templates.train_linear(W_start, b_start, data.train, shuffled)
few = W_start.clone().requires_grad_(), data.train[:50], data.train_labels[:50]
cross_entropy(few[1] @ few[0].T, few[2]).backward()
by_hand = templates.gradient(few[0].detach(), b_start, *few[1:])[0]  # [c p]
bar = 0.92 if data.name == "MNIST" else 0.85
right = templates.accuracy(x @ W_raw.T + b_raw, labels)
lucky = templates.accuracy(x @ by_luck[0].T + by_luck[1], labels)
lesson.expect("2.1", "gradient by hand: error", at_most(1e-6), (by_hand - few[0].grad).abs().max())
ask = "One template for each digit: which share of the test pictures is right (0 to 1)?"
lesson.expect("2.2", "test pictures right", at_least(bar), right, source="our own bar", ask=ask)
lesson.expect("2.3", "control: learned from shuffled labels", Band(0.02, 0.25), lucky)


# %% 3. Look
# Here are the ten templates as they come out of training: light speaks for the class, dark against
# it. Take your time. What does this network look for in a picture?
def show_rows(rows, names, title, file):  # [c p]
    lesson.show(pictures(rows, names, title, "weight", signed=True), file)


classes = [f"for {c}" for c in range(10)]
show_rows(W_raw, classes, "Ten templates, as they come out of training", "raw")

# %% 4. Take away what all share
# A question mark, in every one. It is the strongest thing in there; does the network look for
# question marks? Take it away and see: subtract from each row the mean of the ten rows.
#
# Prediction: not one answer changes. What all ten templates share adds the same to all ten logits,
# and softmax only compares them. The mark was there before training. We said "noise", and it was
# not all: `templates.start` puts a mark on it. Nothing in this training could remove it, for the
# slopes by the ten logits always sum to 0: what one class gains, others lose. So the mean row at
# the end is the mean row at the start. Controls: the rows themselves did move; and leave the mark
# in one row alone, and it is no small thing.
W = templates.centre_rows(W_raw)  # [c p]
b = b_raw - b_raw.mean()
logits = x @ W.T + b  # [n c]
answers, raw_answers = logits.argmax(-1), (x @ W_raw.T + b_raw).argmax(-1)
but_one = W.clone()
but_one[3] = W_raw[3]
question = "Subtract the mean row from each row: how many test answers change?"
lesson.expect("4.1", "answers that change", 0, (answers != raw_answers).sum(), ask=question)
drift = (W_raw - W_start).mean(0).abs().max()
lesson.expect("4.2", "the mean row moved in training by", at_most(1e-5), drift)
moved = (W_raw - W_start).abs().amax(1).min()
lesson.expect("4.3", "control: any one row moved by", at_least(0.1), moved)
changed = ((x @ but_one.T + b).argmax(-1) != raw_answers).double().mean()
lesson.expect("4.4", "control: row 3 keeps it: answers changed", at_least(0.5), changed)

# %% 5. Look again
# So what all rows share says nothing, however large it looks. (Any matrix before a softmax can have
# it, also the one that gives GPT-2's words their logits; how large it is there we have not
# measured.) Here is the same network, centred, its templates shuffled and without their names.
# Which is which? Make a guess at each; the figure below the table tells.
#
# Prediction: each template points, of the ten classes, most towards its own: towards the average
# picture of its class minus the average of all pictures. We measure with the cosine: 1 is the same
# direction, 0 has nothing to do with it. Controls: ten random templates, within 0.15 of 0; and the
# raw rows, far below the centred ones, for the mark drowns the rest.
#
# Then centring is what makes templates readable? Do not conclude yet: we planted our mark large, to
# be seen. From plain noise there is a shared part too, but a small one. (No need to train again:
# training sees only differences, so it takes the same steps.) In length, the root of the sum of the
# squared numbers, it is an eighth of a row, on MNIST a fifth. And its raw rows should point nearly
# as well as centred ones. What we cleared away, we had put there.
means = templates.class_means(data.train, data.train_labels)  # [c p]
usual = templates.centre_rows(means)
order, letters = [1, 2, 0, 7, 5, 8, 3, 9, 6, 4], "ABCDEFGHIJ"
show_rows(W[order], letters, "Centred and shuffled: which is which?", "shuffled")
noise = torch.randn(10, 784, generator=torch.manual_seed(1))
plain = W_raw - W_start + templates.start(mark=0)[0]  # as it would be without the mark
mean, raw, unmarked = (templates.cosines(rows, usual).diag().mean() for rows in (W, W_raw, plain))
random = templates.cosines(templates.centre_rows(noise), usual).diag().abs().max()
own = (templates.cosines(W, usual).argmax(1) == torch.arange(10)).sum()
lesson.expect("5.1", "templates that point to their own class", 10, own)
lesson.expect("5.2", "the mean of these cosines", at_least(0.5), mean)
lesson.expect("5.3", "control: random templates, the largest", at_most(0.15), random)
lesson.expect("5.4", "control: raw rows, the mean", at_most(0.4), raw)
shared = plain.mean(0).norm() / plain.norm(dim=1).mean()
lesson.recorded("5.5", "from plain noise: shared, of a row's length", shared, 0.01)
lesson.expect("5.6", "control: its raw rows, the mean", at_least(mean - 0.05), unmarked)
names = [f"for {c}, was {letters[order.index(c)]}" for c in range(10)]
title = "Centred, each template points to its own class, though few look like it"
show_rows(W, names, title, "centred")

# %% 6. Is a template a picture of its digit?
# It points there. Is it a picture of it? Put real ones in its place: use the average picture of
# each class as its template. (With minus half its squared length as the bias, the class wins whose
# average is nearest to the picture.) How well does that do? Control: random templates.
#
# Prediction: clearly worse than what was learned, by 5 % or more. A template is not what its digit
# looks like. It is what tells the digit from the nine others: light where only this digit has ink,
# dark where the others would have it. Look at the middle of the 0.
nearest = x @ means.T - means.pow(2).sum(1) / 2  # [n c]
score, by_noise = (templates.accuracy(each, labels) for each in (nearest, x @ noise.T))
ask = f"Templates: {right:.2f} right. With average pictures in their place, which share is?"
lesson.expect("6.1", "right with average pictures", at_most(right - 0.05), score, ask=ask)
lesson.expect("6.2", "control: with random templates", Band(0, 0.3), by_noise)

# %% 7. The grain in the corners
# Look at the corners of the templates: a fine grain. Does the network read something there? Some
# pixels have no ink in any training picture. Set all their weights to 0.
#
# Prediction: not one training picture's logits change, at all: 0 times anything is 0. And as the
# slope by a weight is a sum of pixels' ink, training never touched these weights. The grain is the
# noise that we started from, to the last bit. Control: take as many weights of pixels that do have
# ink. What you see in weights may be what training did not bother to remove.
blank = (data.train == 0).all(0)  # [p]
inked = (~blank).nonzero()[:, 0]
inked = inked[torch.randperm(len(inked), generator=torch.manual_seed(0))[: blank.sum()]]
without, others = torch.zeros(2, 10, 784)
without[:, blank], others[:, inked] = W[:, blank], W[:, inked]  # what is taken away
change, other = ((data.train @ part.T).abs().max() for part in (without, others))
ask = "No ink, weights set to 0: how much does any training picture's logit change, at most?"
lesson.expect("7.1", "largest change of a logit", 0, change, ask=ask)
lesson.expect("7.2", "control: as many inked pixels", at_least(1), other)
same = torch.equal(W_raw[:, blank], W_start[:, blank])
lesson.expect("7.3", f"{blank.sum()} pixels' weights as they started", True, same)

# %% 8. What does each pixel add?
# A logit is a sum over pixels, so a decision can be taken apart: what did each pixel add to the
# winner's logit, minus the runner-up's?
#
# Prediction: for every test picture, the pixels' shares and the two biases sum to the difference.
# Raw templates give the same shares as centred ones. Controls: the shares of another picture do not
# sum to it; and shares of one logit alone do change with the mark. (So always take a difference:
# what a pixel adds to one logit alone has the question mark in it, and means nothing.)
first, second = logits.topk(2).indices.T  # [n] each: the winner and the runner-up
shares = templates.contributions(W, x, first, second)  # [n p]
lead = logits.gather(1, first[:, None])[:, 0] - logits.gather(1, second[:, None])[:, 0]  # [n]
gap = (shares.sum(1) + b[first] - b[second] - lead).abs().max()
lesson.expect("8.1", "sum of shares - difference, largest", at_most(1e-4), gap)
wrong = (shares.roll(1, 0).sum(1) + b[first] - b[second] - lead).abs().median()
lesson.expect("8.2", "control: another picture's, median error", at_least(1), wrong)
raw_shares = templates.contributions(W_raw, x, first, second)
differ = (raw_shares - shares).abs().max()
ask, sizes = (
    "Raw templates, question mark and all: how far do the pixels' shares differ from the centred?",
    {
        "not at all": at_most(1e-4),
        "a little": Band(1e-4, 0.1),
        "a lot": at_least(0.1),
    },
)
lesson.expect("8.3", "raw: shares differ by", at_most(1e-4), differ, ask=ask, choices=sizes)
differ = ((W_raw - W)[first] * x).abs().max()
lesson.expect("8.4", "control: of one logit, shares differ by", at_least(0.5), differ)

# %% 9. The worst mistake
# We take apart the test picture that was most confidently got wrong. Which ink misled the model?
# (Nothing is predicted here, just look.)
missed = torch.where(answers != labels, lead, 0).argmax().item()
f, t = answers[missed].item(), labels[missed].item()
misled = templates.contributions(W, x[[missed]], answers[[missed]], labels[[missed]])[0]
title = f"A {t} read as {f}: where the ink spoke for {f}, and where for {t}"
both = torch.stack([x[missed], misled / misled.abs().max()])
names = ["the picture", f"for {f}, against {t}"]
lesson.show(pictures(both, names, title, "share of the largest", columns=2, signed=True), "shares")

# %% 10. Edit a template, and say first what breaks
# If we can read the template of the 0, we can say what an edit to it will do. Its middle is dark:
# ink there speaks against a 0. Strike the objection: of the 6 x 6 weights in the middle, set the
# dark ones to 0. For every test picture we can say beforehand, with pencil and paper, whether it
# turns into a 0: it does if what was held against it there is more than its lead over the 0. Which
# digit is a 0 but for the ink in its middle?
#
# Prediction: an 8, most of all. And exactly the pictures on our list change their answer, all of
# them to 0: no luck in it, only arithmetic. Is it this place, or would any cut do as much? Control:
# the same cut, of every other 6 x 6 square that does not overlap this one. The worst of them should
# not do half as much.
middle = (torch.arange(28) - 13.5).abs() < 3  # [28]
middle = (middle[:, None] & middle).flatten() & (W[0] < 0)  # [p], what is dark in the middle
W_cut = W.clone()
W_cut[0, middle] = 0
after = (x @ W_cut.T + b).argmax(1)  # [n]
turned, changes = (after != answers) & (after == 0), (after != answers).sum()
behind = torch.where(answers != 0, logits.amax(1) - logits[:, 0], torch.inf)  # [n], the 0's lag
listed = -x[:, middle] @ W[0, middle] > behind  # [n], what the 0 gains in each picture, by hand
objections = -36 * avg_pool2d((x * W[0].clamp(max=0)).view(-1, 28, 28), 6, 1)  # [n 23 23]
squares = (objections > behind[:, None, None]).sum(0)  # [23 23], by a square's upper left corner
away = (torch.arange(23) - 11).abs() >= 6
ask = "Which other digit's pictures are now taken for a 0 most often?"
victim = str(labels[turned & (labels != 0)].bincount(minlength=10).argmax().item())
lesson.expect("10.1", "most often taken for a 0", "8", victim, ask=ask, choices=tuple("123456789"))
lesson.expect("10.2", f"answers that change, of {len(x):,}", listed.sum().item(), changes)
lesson.expect("10.3", "of them not on the list, or not to 0", 0, (turned != listed).sum())
worst = squares[away[:, None] | away].max()
lesson.expect("10.4", "control: the worst square elsewhere", at_most(changes / 2), worst)

# %% 11. How little does it take?
# Between two classes lies a flat border in the space of pictures. The straight way to it is the
# difference of the two templates, and the distance is the lead divided by that difference's length.
# So for each picture we know the smallest change that turns it into something else, and how long it
# is. How long, compared with the picture's own length? (In the figure, see what it adds and what it
# takes away, ten times as strong.)
#
# Prediction: of the first 1,000 test pictures, all have another answer 1 % beyond that point, and
# none 1 % before. It takes so little that you hardly see it: a few percent of the picture. Control:
# changes as long in a random direction do next to nothing. It is not the size, it is the direction,
# and we read it off the weights.
sample, theirs = x[:1000], answers[:1000]
change = torch.stack([templates.smallest_change(W, b, picture) for picture in sample])  # [n p]
length = change.norm(dim=1, keepdim=True)  # [n 1]
anywhere = torch.nn.functional.normalize(torch.randn(x.shape, generator=torch.manual_seed(2)))


def flips(change):  # [n p] -> the share of pictures with another answer
    return (((sample + change) @ W.T + b).argmax(1) != theirs).double().mean()


share = length[:, 0] / sample.norm(dim=1)  # [n]
question = "The smallest change that flips the answer, as a share of the picture's length (0 to 1)?"
lesson.recorded("11.1", "length of change / picture, median", share.median(), 0.01, ask=question)
lesson.expect("11.2", "flipped, 1 % beyond", 1.0, flips(1.01 * change))
lesson.expect("11.3", "flipped, 1 % before", 0.0, flips(0.99 * change))
random = flips(1.01 * length * anywhere[:1000])
lesson.expect("11.4", "control: flipped, random direction", at_most(0.06), random)
n = (labels[:1000] == 4).nonzero()[0].item()  # a four
three = torch.stack([sample[n], sample[n] + 1.01 * change[n], 10 * change[n]])
now = (W @ three[1] + b).argmax()
title = f"Read as {theirs[n]}; changed by {share[n]:.0%} of its length, read as {now}"
names = "before", "after", "the change, x 10"
lesson.show(pictures(three, names, title, "ink", columns=3, signed=True), "flipped")

# %% 12. One layer more
# So far looking worked, once we knew how. Now the first place where it does not. We put 64 neurons
# between picture and answer. Each has a template and a bias of its own: if a picture's product with
# the template, plus the bias, is above 0, that is the neuron's answer; else it is silent, 0. The
# ten logits are read off the neurons' answers.
#
# Prediction: this network is better, by 3 % or more; control: read each neuron's answer as its
# neighbour's, and it is lost. And its templates? See for yourself: which of them would you put a
# name on?
net = templates.train_hidden(data.train, data.train_labels)
neurons = net.neurons(x)  # [n m]
better = templates.accuracy(net.logits(x), labels)
mixed = templates.accuracy(neurons.roll(1, 1) @ net.W_out.T + net.b_out, labels)
ask = f"With 64 neurons in between, which share is right (0 to 1)? Without, {right:.2f} were."
lesson.expect("12.1", "test pictures right", at_least(right + 0.03), better, ask=ask)
lesson.expect("12.2", "control: neurons' answers mixed up", at_most(0.4), mixed)
likeness = templates.cosines(net.W_in, usual)  # [m c]
order = likeness.amax(1).argsort(descending=True)
named = [f"{m}: a {likeness[m].argmax()}?" for m in order[:21].tolist()]
title = "The 21 neurons of 64 whose templates look most like a digit"
lesson.show(
    pictures(net.W_in[order[:21]], named, title, "weight", columns=7, signed=True), "neurons"
)


# %% 13. Is a neuron what it looks like?
# Give each neuron the name of the digit that its template points to most (as in cell 5). Test the
# names: silence the neuron, and see which digit's pictures suffer most. If the names are right, it
# is that digit. A neuron has another side, too: its column of W_out, what it adds to each digit's
# logit when it answers. Name it by the digit that it speaks for most, and test again.
#
# Prediction: by their looks, more often right than by luck, and yet wrong for most neurons. By what
# they say, right for most. (Part of that is no wonder: what we silence is what they say. A few
# neurons never answer, and count as wrong.) So eyes on the templates mislead, and the other side of
# the same neuron tells more, though not all. Controls: what luck gives, and the same test of the
# ten templates of cell 5, which are what they point to.
def suffers(logits):  # [n c] -> [c], the mean loss on each digit's pictures
    loss = cross_entropy(logits, labels, reduction="none")
    return labels.bincount(loss) / labels.bincount()


def hurt(said, W_out, logits):  # [n m], [c m], [n c] -> [m], the digit that needs a neuron most
    silent = (logits - said[:, [m]] * W_out[:, m] for m in range(len(W_out.T)))
    usual_loss = suffers(logits)
    return torch.stack([(suffers(one) - usual_loss).argmax() for one in silent])


needs = hurt(neurons, net.W_out, net.logits(x))  # [m]
look, speaks = likeness.argmax(1), net.W_out.argmax(0)  # [m] each
luck = sum((look == c).double().mean() * (needs == c).double().mean() for c in range(10)) * 64
ask = "Of 64 neurons: how many hurt most, when silenced, the digit that they look like?"
lesson.recorded("13.1", "rightly named by what they look like", (look == needs).sum(), 8, ask=ask)
lesson.recorded("13.2", "rightly named by what they say", (speaks == needs).sum(), 8)
lesson.expect("13.3", "control: by luck", Band(2, 12), luck)
own = (hurt(x @ W.T, torch.eye(10), logits) == torch.arange(10)).sum()
lesson.expect("13.4", "control: linear templates, of 10", 10, own)


# %% 14. Whom does a neuron answer?
# Perhaps the pictures can tell. If a neuron stands for a digit, it answers this digit's pictures,
# and is silent on the others. So for how many of the ten digits does it answer more often than not?
# Let us ask the ten linear templates as well, which do stand for a digit each (they answer if their
# logit is above 0), and the 64 neurons as they were before training.
#
# Prediction: a neuron answers several digits. So neurons stand for no digit, but each for a mixture
# of some? It sounds right, and the table seems to say it. Now the controls: so do the templates,
# and so do neurons that never learned anything. "Answers" says the same of what we know to have a
# name and of what we know to have none: it is too weak a word to conclude from.
def often(said):  # [n m] -> for how many digits the median neuron answers more often than not
    answering = torch.stack([(said[labels == c] > 0).double().mean(0) for c in range(10)])  # [c m]
    return (answering > 0.5).sum(0).median()


untrained = templates.train_hidden(data.train, data.train_labels, steps=0).neurons(x)  # [n m]
ask = "For how many of the ten digits does the median neuron answer more often than not?"
lesson.recorded("14.1", "digits that a neuron answers, median", often(neurons), 1, ask=ask)
ask = "For how many of the ten digits does a linear template answer more often than not?"
lesson.recorded("14.2", "control: linear templates", often(logits), 1, ask=ask)
lesson.recorded("14.3", "control: neurons before training", often(untrained), 1)


# %% 15. A better question
# Ask how strongly. Take the 100 test pictures that a neuron answers most strongly: which share of
# them shows one and the same digit?
#
# Prediction: this tells apart what "above 0" could not. Most of them, for a linear template, which
# stands for a digit (control). Far fewer for a neuron. Fewer still before training (control), but
# more than one in ten: pictures of one digit are alike, whatever you hold against them. So neurons
# have learned something about digits, but the median one does not stand for a digit as a template
# does.
def purest(said):  # [n m] -> of the 100 strongest answers, the share of one digit; the median
    strongest = labels[said.topk(100, dim=0).indices]  # [100 m]
    return torch.stack([(strongest == c).double().mean(0) for c in range(10)]).amax(0).median()


kinds = {"linear templates": logits, "neurons": neurons, "before training": untrained}
by_template, share, before = map(purest, kinds.values())
ask = "Of the median neuron's 100 strongest answers, which share goes to one digit (0 to 1)?"
lesson.recorded("15.1", "strongest answers: one digit's share", share, 0.1, ask=ask)
lesson.expect("15.2", "control: linear templates", at_least(share + 0.2), by_template)
lesson.expect("15.3", "control: neurons before training", at_most(share - 0.1), before)
title = f"One digit's share: {share:.0%} for a neuron, {by_template:.0%} for a template"
values, unit = [by_template, share, before], "share of the 100 strongest answers"
lesson.show(bars(values, list(kinds), title, unit), "strongest")

# %% 16. What became of the templates?
# For one picture some neurons answer and the others are silent. Strike out the silent ones, and
# what is left is linear: ten templates and ten biases, as in cell 2. Call them the picture's own.
#
# Prediction: with its own templates, a picture's logits come out as the network's, and with those
# of the picture before (the control) they do not. Nearly every picture has a set of neurons all to
# itself. That is why there is no matrix to look at: there are thousands.
own = [templates.own_template(net, picture) for picture in x[:200]]  # 200 of ([c p], [c])
given = torch.stack([W_own @ picture + b_own for (W_own, b_own), picture in zip(own, x)])
lent = torch.stack([W_own @ picture + b_own for (W_own, b_own), picture in zip(own, x[1:])])
theirs = net.logits(x[:201])  # [n c]
error = (given - theirs[:200]).abs().max()
lesson.expect("16.1", "own templates: error of a logit, largest", at_most(1e-3), error)
error = (lent - theirs[1:]).abs().amax(1).median()
lesson.expect("16.2", "control: of the picture before's, median", at_least(1), error)
sets = (neurons > 0).unique(dim=0)
ask = f"{len(x):,} pictures: how many different sets of answering neurons?"
lesson.recorded("16.3", "different sets of templates", len(sets), 0.02 * len(x), ask=ask)


# %% 17. Do these show digits again?
# Thousands of templates, made of neurons that are, most of them, not what they look like. Which
# share of them points to its own class, as all ten did in cell 5?
#
# Prediction: most of them, where one neuron in three was what it looked like. Do a picture's own
# neurons know its digit, then? The control takes that back: of as many neurons drawn at random, the
# templates point just as well. One neuron's do not. So it does not take the right neurons, it
# takes many: what none of them shows, they show together.
def pointing(many):  # [c p] each -> the share of templates that point to their own class
    found = [templates.cosines(templates.centre_rows(W), usual).argmax(1) for W in many]
    return (torch.stack(found) == torch.arange(10)).double().mean()


order = torch.randperm(64, generator=torch.manual_seed(0))
strangers = [(net.W_out * (one > 0)[order]) @ net.W_in for one in neurons[:200]]  # of [c p]
ask = "Of all the pictures' own templates, which share points to the class it is for (0 to 1)?"
share = pointing([W for W, _ in own])
lesson.recorded("17.1", "own templates that point to their class", share, 0.04, ask=ask)
alone = [net.W_out[:, [m]] * net.W_in[m] for m in range(64)]  # of [c p]
lesson.recorded("17.2", "control: of as many at random", pointing(strangers), 0.05)
lesson.expect("17.3", "control: of one neuron alone", at_most(0.4), pointing(alone))
alike = [templates.centre_rows(W)[3] for (W, _), label in zip(own, labels) if label == 3][:5]
title = "Five pictures of a 3, five templates for 3"
names = [f"picture {i + 1}" for i in range(5)]
lesson.show(pictures(torch.stack(alike), names, title, "weight", signed=True), "own")

# %% 18. What to take away, and what to break
# You can look at weights, if you know what does not count (what all rows share, what meets no ink),
# hold it against what chance would show, and say what an edit will do before you make it. A
# neuron's input template does not tell what it is for; its output weights tell more, though not
# all. And before you believe what you measured, measure the same on what you know: "it answers
# several digits" was true of the neurons, and of everything else.
#
# What a network knows may stand in no neuron, and in many together. Why would it? Lesson 01 builds
# the smallest network that must do so, and shows one reason.
#
# Break it, in lessons/techniques/templates.py (your own file is not read for these), one at a time;
# put it back after:
#
# - In `train_linear`, let weights decay: `W = 0.999 * W - rate * pace_W`. What is shared now costs,
#   so the mark fades: row 4.2 must stop the lesson. (What is unused costs too. Which row would be
#   next?)
# - In `start`, make the mark a million times as strong. Softmax cannot tell; 32-bit floats, with
#   their seven digits, can: row 2.2 must stop the lesson.
# - In `gradient`, forget to subtract the label: row 2.1 must stop the lesson.
lesson.finish()

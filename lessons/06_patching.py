"""What causes the answer?

Papers: Meng et al. 2022, "Locating and Editing Factual Associations in GPT"; Wang et al. 2022,
"Interpretability in the Wild"; Nanda 2023, "Attribution Patching"; Heimersheim and Nanda 2024, "How
to use and interpret activation patching".
Minutes: 60 to read and play with, one to run (GPT-2: some). To have done first: lesson 03.

To look at a part says what is in it, not whether anybody uses it. So we put it into another run: of
two stories that differ in one word, one is run, and one activation of the other is put in its
place. If the answer follows, it came by there. We do that everywhere and in both directions, learn
what such a number does not say, hold an estimate of all of them, from one backward pass, against
the truth, and at the end do the whole with a fraction of the work.
"""

# %% 1. Two stories that differ in one word
# "When John and Mary went to the shops, John gave the bag to": Mary. Let Mary give, and it is John.
# The two stories have the same words at the same places, but for one. That is what makes the
# experiment clean: whatever differs between the two runs comes from that one word.
#
# Four templates, four pairs of people, and either of the two may give: eight stories. Neel Nanda
# used them in the demo of his library TransformerLens, so for GPT-2 their numbers are published.
# The clean run reads the story, the corrupted run the same story with the other of the two giving.
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.expect import at_most
from lessons.lesson import Lesson
from lessons.techniques import patching, stories
from lessons.techniques.sweep import LogitDiff, Nodes, sweep

torch.set_grad_enabled(False)
clean_texts, corrupted_texts = stories.told(stories.PEOPLE), stories.other_gives()
ORIGINAL = "".join(map("".join, stories.PAIRS)) == "JohnMaryTomJamesDanSidMartinAmy"

# %% 2. The model
# The model of lesson 03. Everything below runs on all eight stories at once, and every number is a
# mean over them.
lesson = Lesson("06_patching")
model = lesson.load([*clean_texts, *stories.homes()[0]])
if ORIGINAL:  # what is known, row by row, holds for the stories that it was measured on
    lesson.know(*stories.KNOWN.get(lesson.model_name, ({}, "")))
clean, corrupted = model.to_tokens(clean_texts), model.to_tokens(corrupted_texts)  # [b p] each
labels = figures.token_labels(model.to_str_tokens(clean[0]))
n_layers, n_heads = model.cfg.n_layers, model.cfg.n_heads
last, heads = n_layers - 1, [(i, h) for i in range(n_layers) for h in range(n_heads)]
names = [f"L{layer}H{head}" for layer, head in heads]
z_sites = [f"blocks.{layer}.attn.hook_z" for layer in range(n_layers)]
lesson.show(f"{lesson.model_name}: {n_layers} layers of {n_heads} heads")
lesson.show("   ".join(labels[:8]) + "\n" + "   ".join(labels[8:]))

# %% 3. First of all, pin the metric
# Before anything is patched we say what will count as an effect; afterwards it would be too easy to
# pick the number that looks best. Ours is the logit difference of lesson 03: the logit of the right
# name less that of the giver, at the last word. At 0 the model prefers neither. The right name is
# that of the clean story, in whatever run we measure.
#
# Prediction: exactly the clean number, with its sign turned. Each corrupted story is the clean
# story of the other one in its pair, and there right and wrong are exchanged. Keep that in mind: it
# comes back where you do not expect it. Control: two names that the story does not mention. Some
# names are liked more than others: by 2 logits, one way or the other, so the sign is dropped.
right = [model.to_single_token(f" {name}") for name in stories.RECEIVERS]
wrong = [model.to_single_token(f" {giver}") for _, _, giver in stories.PEOPLE]
metric = LogitDiff(right, wrong)
m_clean, m_corrupted = (metric(model(tokens)[:, -1]) for tokens in (clean, corrupted))  # [b] each
absent = LogitDiff(right[2:] + right[:2], wrong[2:] + wrong[:2])(model(clean)[:, -1])

lesson.recorded("3.1", "logit difference, clean", m_clean.mean(), 0.01)
ask = f"Mary's logit less John's, where John gives, is {m_clean.mean():.2f} (mean over eight such "
ask += "stories). Now Mary gives, and we still take Mary's less John's: what is it?"
lesson.expect("3.2", "corrupted", -m_clean.mean(), m_corrupted.mean(), 1e-3, ask=ask)
lesson.recorded("3.3", "control: two absent names, either way", absent.abs().mean(), 0.01)

# %% 4. Put one vector in
# We run the corrupted stories. When the stream comes to the name of the giver, we take its vector
# out, put in the one of the clean run, and let the run go on. That is all there is to activation
# patching. The result is written as a share: 0 where the corrupted run's metric is, 1 where the
# clean run's is. What does this one vector bring back as it enters layer 0? And the last layer?
#
# Prediction: at the bottom all of it. There the stream is the embedding and nothing else, and with
# the right word in its place the corrupted story is the clean one. At the last layer nothing: by
# then the news has left that word. Control: a vector of its own run put in changes nothing; try
# that first with every hook that you write.
site, at = "blocks.{}.hook_resid_pre", patching.first_difference(clean, corrupted)
kept, own = (model.run_with_cache(tokens)[1] for tokens in (clean, corrupted))


def share(hooks):  # -> how much of the way from the corrupted to the clean metric
    patched = patching.patched(model, corrupted, hooks, metric)
    return patching.normalised(patched, m_clean, m_corrupted)


low = share([(site.format(0), patching.put(kept["resid_pre", 0], at))])
high = share([(site.format(last), patching.put(kept["resid_pre", last], at))])
ask = f"Entering layer 0, the giver's vector of the clean run goes into the corrupted one: {at} "
ask += f"positions before it, {len(labels) - at - 1} after it. Which share (0 to 1) comes back?"
lesson.expect("4.1", "the giver's vector, entering layer 0", 1, low, 1e-4, ask=ask)
ask = f"And the same word's vector, as it enters layer {last}: which share (0 to 1) comes back?"
lesson.recorded("4.2", f"the same, entering layer {last}", high, 0.01, ask=ask)
same = share([(site.format(0), patching.put(own["resid_pre", 0], at))])
lesson.expect("4.3", "control: its own vector put in", 0, same, 1e-6)

# %% 5. The map
# So where has the news gone? We patch every place: each position, as it enters each layer ("pre")
# and between its attention and its MLP ("mid"), one at a time. A full run for each takes minutes on
# GPT-2, so a tool does it; what is in it, see cell 19.
#
# Prediction: read the map from top to bottom, as the model computes. Left of the giver there is
# nothing at all: nobody looks ahead, so up to there both runs are the same, and equal was put in
# for equal. This is the control that every map brings along. In the world model the news stands in
# one place at a time, and goes to the last word in a single step, the attention of layer 0. (In
# GPT-2 the attentions of layers 7 and 8 take it there, and in the rows above it waits at the name.)
halves = [(layer, half) for layer in range(n_layers) for half in ("pre", "mid")]
sites = [f"blocks.{layer}.hook_resid_{half}" for layer, half in halves]
nodes = [Nodes(f"resid_{half}", over="layer position") for half in ("pre", "mid")]
values = [sweep(model, clean, corrupted, metric, one).values for one in nodes]
values = torch.stack(values, 1).flatten(0, 1)  # [site p b]
grid = patching.normalised(values, m_clean, m_corrupted)  # [site p]
many, places = (grid > 0.05).sum(), grid.numel()
when = [f"L{layer} {half}" for layer, half in halves]

ask = f"Of the {places} places on the map, how many bring back more than 0.05 on their own?"
lesson.recorded("5.1", "places that bring back over 0.05", many, ask=ask)
lesson.recorded("5.2", "after the first attention it stands at", labels[grid[1].argmax()])
lesson.expect("5.3", "control: the most, left of the giver", 0, grid[:, :at].abs().max(), 1e-4)
title = f"{many} of {places} places bring back more than 0.05, each of them alone"
axes = {"xlabel": "position", "ylabel": "", "unit": "share brought back", "signed": True}
lesson.show(figures.heatmap(grid, when, labels, title, **axes), "stream")

# %% 6. Two questions to one story
# A map shows what differs between two runs, and nothing else. To see that, take another behaviour:
# "Tom lives in Rome and Mary lives in Cairo. Tom went home to" Rome. Corrupt it in two ways: ask
# for the other one ("Mary went home to"), or exchange the two cities and leave the question as it
# is. Either makes Cairo of Rome.
#
# Prediction: two maps with nothing in common. In the world model who is asked has moved to the last
# word before the last layer begins; the cities have not moved at all. They wait where they stand,
# half of the effect in each, until the last layer fetches one. So each map is the other's control,
# and none of them is "the circuit": each is the way of one thing through it.
asked, other_asked, exchanged, *cities = stories.homes()
home = LogitDiff(*([model.to_single_token(f" {city}") for city in row] for row in cities))
words = figures.token_labels(model.to_str_tokens(asked[0]))
stream = Nodes("resid_pre", over="layer position")
maps = [sweep(model, asked, text, home, stream, names={"position": words})
        for text in (other_asked, exchanged)]  # fmt: skip
who, where = (one.normalised()[-1] for one in maps)  # [p] each, entering the last layer
stand = [i for i, word in enumerate(words) if word.split("·")[-1] in ("Rome", "Cairo")]

lesson.recorded("6.1", "right, of 8 stories", (maps[0].clean > 0).sum())
lesson.recorded("6.2", f"other asked: entering L{last}, last word", who[-1], 0.01)
ask = "In the corrupted story the two cities are exchanged. The clean run's vector of the last "
ask += f"word is put in as it enters layer {last}: which share (0 to 1) does it bring back?"
lesson.recorded("6.3", "cities exchanged: the same place", where[-1], 0.01, ask=ask)
lesson.recorded("6.4", "cities exchanged: both cities' places", where[stand].sum(), 0.01)
grid, when = torch.cat([one.normalised() for one in maps]), range(n_layers)
rows = [f"{what}, L{i}" for what in ("other asked", "exchanged") for i in when]
title = f"Last word, L{last}: who is asked {who[-1]:.2f}, cities {figures.cents(float(where[-1]))}"
lesson.show(figures.heatmap(grid, rows, words, title, **axes), "homes")

# %% 7. Attention and MLPs
# The stream holds all that was written so far. Which part wrote it? We go back to the eight stories
# and put in, one at a time, what the attention or the MLP of one layer adds at one position. If the
# parts divide the work between them, their shares sum to 1, or nearly so. Do they?
#
# Prediction: to far more. In the world model the attention of layer 0 brings back everything (in
# GPT-2 the first MLP .85), for what follows is computed anew from what it wrote; and each later
# link of the chain brings back a good part once more. Shares of patches are no slices of a cake.
# Control: left of the giver nothing.
kinds = [sweep(model, clean, corrupted, metric, Nodes(kind, over="layer position")).values
         for kind in ("attn_out", "mlp_out")]  # fmt: skip
kinds = [patching.normalised(values, m_clean, m_corrupted) for values in kinds]  # [l p] each
grid = torch.stack(kinds, 1).flatten(0, 1)  # [part p]
rows = [f"L{layer} {part}" for layer in range(n_layers) for part in ("attn", "mlp")]
best = rows[grid.amax(1).argmax()]

ask = f"All {len(rows)} attentions and MLPs are patched, one at a time, at each position alone. "
ask += "What do all these shares sum to?"
lesson.recorded("7.1", "sum of all shares", grid.sum(), 0.02, ask=ask)
lesson.recorded("7.2", "the part that brings back most", best)
lesson.recorded("7.3", "its share, at one position", grid.max(), 0.01)
lesson.expect("7.4", "control: the most, left of the giver", 0, grid[:, :at].abs().max(), 1e-4)
title = f"{best} alone brings back {grid.max():.2f}, and all parts together {grid.sum():.1f}"
lesson.show(figures.heatmap(grid, rows, labels, title, **axes), "parts")

# %% 8. Heads
# An attention is a row of heads. We hand over the z of one head (what it has collected, before W_O)
# from the clean run to the corrupted one, at all positions, and leave all other heads as they are.
#
# Prediction: one head does most. In the world model it is L0H1, which finds the giver (lesson 03).
# In GPT-2 it is L5H5, an induction head, with .34; and L10H7 brings back -.48: told the truth, it
# makes the answer worse, for it writes against what the others found. Control: all other heads.
each = Nodes("z", over="layer head")
enough = sweep(model, clean, corrupted, metric, each)
alone = patching.normalised(enough.values, m_clean, m_corrupted).flatten().float()  # [head]
most, least = alone.argmax().item(), alone.argmin().item()
silent = alone[:n_heads].abs().argmin().item()  # in layer 0: the idle head

lesson.recorded("8.1", "the head that brings back most", names[most])
ask = "One head alone hears the clean story, at all positions. The best one for that: which share "
ask += "(0 to 1) does it bring back?"
lesson.recorded("8.2", "its share", alone[most], 0.01, ask=ask)
lesson.recorded("8.3", "the head that brings back least", names[least])
lesson.recorded("8.4", "its share", alone[least], 0.01)
lesson.recorded("8.5", "control: the median head", alone.median(), 0.01)
title, grid = f"{names[most]} alone brings back {alone[most]:.2f}", alone.view(n_layers, n_heads)
rows, columns = ([f"{i}{k}" for k in range(n)] for i, n in (("L", n_layers), ("H", n_heads)))
lesson.show(figures.heatmap(grid, rows, columns, title, **axes | {"xlabel": "head"}), "heads")


# %% 9. Why not the probability?
# Everyone understands probabilities, so why not measure with that of the right name? Take the head
# that brings back nearest to a fifth of the logit difference. Is it a fifth of the probability too?
#
# Prediction: in the world model next to nothing. Between "surely John" and "surely Mary" softmax is
# a switch: the probability hardly moves at first, and then all at once. By this metric a head that
# does a fifth of the work is idle, and one that comes at the switch is a hero. (Zhang and Nanda
# 2024 compare metrics.) Control: the order of the heads; both rise together, so it is the same.
def probability(logits):  # [b v] -> [b], of the right name
    return logits.softmax(-1).gather(-1, metric.tokens[:, :1])[:, 0]


ends = [probability(model(tokens)[:, -1]) for tokens in (clean, corrupted)]
by_p = patching.normalised(sweep(model, clean, corrupted, probability, each).values, *ends)
by_p, fifth = by_p.flatten(), (alone - 0.2).abs().argmin().item()
order = alone.argsort(descending=True)[:12]

ask = f"{names[fifth]} brings back {alone[fifth]:.2f} of the logit difference. Which share (0 to "
ask += "1) of the right name's probability does it bring back?"
lesson.recorded("9.1", f"{names[fifth]}, of the probability", by_p[fifth], 0.003, ask=ask)
lesson.recorded("9.2", f"{names[most]}, of the probability", by_p[most], 0.01)
lesson.recorded("9.3", "control: heads in the same order", (by_p[order].diff() <= 0).all())
both, rows = torch.stack([alone, by_p], 1)[order], [names[i] for i in order]
title = f"{names[fifth]}: {alone[fifth]:.2f} by logit difference, {by_p[fifth]:.2f} by probability"
axes["xlabel"] = "metric"
lesson.show(figures.heatmap(both, rows, ["logits", "prob."], title, **axes), "metrics")

# %% 10. The other direction
# So far we denoised: something clean went into the corrupted run. Is it enough? Noising asks the
# opposite: something corrupted goes into the clean run. Was it needed? The two are not the same. Of
# two switches in one cable, each is needed, and neither is enough; of two lamps in a room, each is
# enough, and neither is needed. So we do it all over again.
#
# Prediction: what is left is 1 minus what the head brought back, for every head, to the last digit.
# It was no second measurement! Our stories come as twins, each the other's corrupted version; so to
# noise one is to denoise its twin, with the sign of the metric turned. That holds for any model.
# Whoever shows both directions on mirrored prompts has shown one number twice. (It is also why the
# world model's layer 0 summed to 1 in cell 8. Of its three heads one is idle, and to noise one of
# the other two is to denoise the other.) Control: cell 11, with stories that are nobody's twins.
noised = sweep(model, clean, corrupted, metric, each, direction="noising")
left = patching.normalised(noised.values, m_clean, m_corrupted).flatten()  # [head]

ask = f"Put into the corrupted run, {names[most]} brought back {alone[most]:.3f}. Now all is clean "
ask += f"but {names[most]}, which hears the corrupted story: which share (0 to 1) is left?"
lesson.expect("10.1", f"left with {names[most]} noised", 1 - alone[most], left[most], 1e-4, ask=ask)
lesson.expect("10.2", "the most that a head is off", 0, (1 - alone - left).abs().max(), 1e-4)

# %% 11. Enough, or needed? The words
# For a second measurement we need another corruption. Let the story be told of three other people:
# nobody in it is called John or Mary, and the mean of the metric is 0. (Wang et al. 2022 corrupt
# like that.) We put in one name at a time, at the very bottom: into the story of the others, and
# the other way round.
#
# Prediction: an AND. Every name is needed: in the world model each costs most of the metric, and
# the giver's second mention, in any model, all of it. And none is enough. The two in front bring
# back 0, in any model, too: our twins share them. That is not idle. The first name moves the metric
# by more than all of it (row 11.5), up in one twin and down in the other. Who gives decides which,
# and that is missing. Control: the words that both stories share.
people = model.to_tokens(stories.other_people())  # [b p]
m_people = metric(model(people)[:, -1])  # [b]
both = (model, clean, people, metric)
by_word = patching.both_ways(*both, Nodes("resid_pre", over="position", layers=0))
told = (clean != people).any(0)  # [p], where the two stories differ
first = told.nonzero()[0].item()
ask = "Into the story of three others we put one name of ours, the first that is told. It brings "
ask += f"back {by_word[first, 0]:.2f}, on average. Now ours is the story, and only this name is "
ask += "another: which share (0 to 1) is lost?"
lesson.expect("11.1", f"{labels[first]} brings back", 0, by_word[first, 0], 1e-4)
lesson.recorded("11.2", f"{labels[first]} costs", by_word[first, 1], 0.01, ask=ask)
lesson.recorded("11.3", f"{labels[at]} brings back", by_word[at, 0], 0.01)
lesson.expect("11.4", f"{labels[at]} costs", 1, by_word[at, 1], 1e-4)
lesson.recorded("11.5", f"{labels[first]} moves it, either way", by_word[first, 2], 0.01)
lesson.expect("11.6", "control: all other words", 0, by_word[~told].abs().max(), 1e-3)

# %% 12. Enough, or needed? The heads
# Now the heads, between the same two stories. One knows who gives, others carry a name to the end.
#
# Prediction: in the world model the head that knows who gives costs more than it brings back: it is
# needed, and not enough, for it says whom to pass over, and the name to take must be there as well.
# A head that carries a name brings back more than it costs. And a mean hides heads: L1H2 seems to
# do nothing, but it moves every story, some up and some down. Control: the idle head of cell 8,
# which does nothing story by story.
by_head, layer_of = patching.both_ways(*both, each), torch.tensor(heads)[:, 0]  # [head 3], [head]
mover = (by_head[:, 0] - 9.0 * (layer_of == heads[most][0])).argmax().item()  # in another layer
hidden = (by_head[:, 2] - by_head[:, :2].abs().amax(1)).argmax().item()  # 0 in the mean alone
for i, head in enumerate((most, mover)):
    lesson.recorded(f"12.{2 * i + 1}", f"{names[head]} brings back", by_head[head, 0], 0.01)
    lesson.recorded(f"12.{2 * i + 2}", f"{names[head]} costs", by_head[head, 1], 0.01)
lesson.recorded("12.5", f"{names[hidden]} costs", by_head[hidden, 1], 0.01)
lesson.recorded("12.6", f"{names[hidden]} moves it, either way", by_head[hidden, 2], 0.01)
lesson.recorded("12.7", f"control: {names[silent]} moves it, either way", by_head[silent, 2], 0.01)
title = "; ".join("{}: brings back {:.2f}, costs {:.2f}".format(names[i], *by_head[i, :2])
                  for i in (most, mover))  # fmt: skip
columns, more = ["brings", "costs", "moves"], {"unit": "share", "xlabel": "other people"}
lesson.show(figures.heatmap(by_head[order], rows, columns, title, **axes | more), "directions")

# %% 13. Does one stand in for another?
# The heads of the layer that carries the name hear of the others, one at a time, and then all at
# once. If each does its own part, what they cost together is the sum.
#
# Prediction: in the world model it is far more, as if one stood in for another. None does, for
# within a layer no head hears another. What comes behind them, an MLP and a norm, levels out a
# single loss, and not all at once. So heads that are noised one by one are underrated. Control:
# hold what comes behind them at the clean run's, and the costs just add up, in any model.
home, theirs = heads[mover][0], model.run_with_cache(people, "*.hook_z")[1]
behind = [f"blocks.{i}.hook_{part}_out" for i in range(home, n_layers) for part in ("attn", "mlp")]
held = [(site, lambda x, hook: kept[hook.name]) for site in [*behind[1:], "ln_final.hook_scale"]]


def cost(chosen, hooks=()):  # -> the share that is lost if these heads hear of the others
    hurt = patching.patched(model, clean, [*patching.put_heads(theirs, chosen), *hooks], metric)
    return 1 - patching.normalised(hurt, m_clean, m_people).item()


team = heads[home * n_heads : (home + 1) * n_heads]
added, fixed = (sum(cost([head], hooks) for head in team) for hooks in ((), held))
ask = f"One at a time, the heads of layer {home} cost {added:.2f} in sum. All at once: which share "
ask += "(0 to 1) is lost?"
lesson.recorded("13.1", f"heads of L{home}: sum of costs", added, 0.01)
lesson.recorded("13.2", "they cost together", cost(team), 0.01, ask=ask)
lesson.recorded("13.3", "control: the rest held, sum of costs", fixed, 0.01)
lesson.expect("13.4", "control: the rest held, together", fixed, cost(team, held), 1e-3)

# %% 14. Another receiver
# Who gives was changed in cell 8, everyone in cell 11. Now we leave the giver and change the one
# who receives: "When John and Tom went to the shops, John gave the bag to". The clean story, its
# answer and the model are as they were. So is the list of the heads that matter?
#
# Prediction: no. A head that carries both names to the end, whoever gives, cannot show where only
# the giver changes. In the world model L1H2 is such a one: it did nothing at all, and here it does
# as much as the best. The best of cell 8 falls behind. A share without its corruption says nothing;
# write down both. Control: the idle head of cell 8.
receiver = model.to_tokens(stories.other_receiver())  # [b p]
m_receiver = metric(model(receiver)[:, -1])  # [b]
other = sweep(model, clean, receiver, metric, each).values
other = patching.normalised(other, m_clean, m_receiver).flatten()  # [head]
riser = (other - alone).argmax().item()

ask = f"{names[riser]} brought back {alone[riser]:.2f} of what another giver had changed. Of what "
ask += "another receiver changes, which share (0 to 1) does it bring back?"
lesson.recorded("14.1", f"{names[riser]}, another receiver", other[riser], 0.01, ask=ask)
lesson.recorded("14.2", f"{names[most]}, another receiver", other[most], 0.01)
lesson.recorded("14.3", f"control: {names[silent]}, another receiver", other[silent], 0.01)
picked = (alone.abs() + other.abs()).argsort(descending=True)[:12]
grid, rows = torch.stack([alone, other], 1)[picked], [names[i] for i in picked]
title = f"{names[riser]}: {alone[riser]:.2f} where the giver changes, {other[riser]:.2f} where the "
axes["xlabel"], columns = "changed: the one who", ["gives", "gets"]
lesson.show(figures.heatmap(grid, rows, columns, title + "receiver does", **axes), "corruptions")


# %% 15. Would any other activation have done it?
# The head of cell 8 was told the truth, and much came back. Did the truth do it? Or is it enough
# that it no longer tells the lie? Let it hear another story: other people on the same template, one
# of them giving, drawn by chance, 20 times. Such a donor knows nothing of who gives here. Two more:
# a story in which the same one gives, to somebody else, and is named in the other place; and the
# right story, but what the head had one position earlier.
#
# Prediction: much comes back with any of them. In the world model, of .71, .31 are due to silence
# about the wrong giver; only the rest needs the right one. The same giver in another story does as
# well as the truth, even a little better: so the head tells who gives, and not in which place that
# name stood. (In GPT-2, say Wang et al., the place counts for more.) Control: a head that does
# nothing with the right donor. Handed what it had in other places, it may do a lot. What never
# stands at a place proves nothing when it is put there.
def hears(texts, head=most, shift=0):  # -> the share, if it hears these from the giver on
    cache = model.run_with_cache(texts, "*.hook_z", stop_at_layer=heads[head][0] + 1)[1]
    return share(patching.put_heads(cache, [heads[head]], at, shift)).item()


draws, same = (torch.tensor([hears(stories.elsewhere(i, giver=giver)) for i in range(20)])
               for giver in (False, True))  # fmt: skip
truth, odd = hears(clean_texts), max(hears(clean_texts, silent, shift) for shift in range(1, at))
bars = {"other people: mean of 20": draws.mean(), "the truth": truth}
bars |= {"the same giver, elsewhere": same.mean()}
bars |= {"one position earlier": hears(clean_texts, shift=1), "other people: most": draws.max()}
bars |= {"other people: least": draws.min(), f"control: {names[silent]}, worst place": odd}
ask = f"With the truth, {names[most]} brings back {truth:.2f}. Now it hears a story "
ask += "about other people, which cannot know who gives here. Which share (0 to 1), on average?"
lesson.recorded("15.1", "other people: mean of 20", draws.mean(), 0.01, ask=ask)
for i, what in enumerate([*bars][1:], 2):
    lesson.recorded(f"15.{i}", what, bars[what], 0.01)
title = f"Of {truth:.2f} that {names[most]} brings back, {draws.mean():.2f} need no truth"
lesson.show(figures.bars([*bars.values()], bars, title, "share brought back"), "donors")

# %% 16. All patches from one backward pass
# A run for each patch is dear: GPT-2 has 144 heads and, for our stories, 180 places in the stream.
# Attribution patching (Nanda 2023) estimates all of them at once. Take the metric for a straight
# line: then a patch changes it by the gradient times the change, and one backward pass gives every
# gradient. Let us hold that against the exact sweeps of cells 5 and 8.
#
# Prediction: in the world model it finds the right heads, in the right order and the wrong size,
# about half. At the bottom of the stream, where the truth is exactly 1, it sees a quarter. Control:
# no mistake in the gradient. A hundredth of the way, which is nearly straight, agrees with it.
ladder, way = [*sites, f"blocks.{last}.hook_resid_post"], (m_clean - m_corrupted).mean()
found = patching.attribution(model, corrupted, clean, metric, [*ladder, *z_sites])
guess, line = patching.by_head(found) / way, found[sites[0]][:, at].mean() / way


def part_of_the_way(step):  # -> the share brought back, if the giver's embedding goes so far
    mixed = own["resid_pre", 0] + step * (kept["resid_pre", 0] - own["resid_pre", 0])  # [b p d]
    return share([(sites[0], patching.put(mixed, at))]).item()


fit = torch.corrcoef(torch.stack([guess, alone]))[0, 1]
ask = "The giver's vector, entering layer 0, brings back exactly 1. What share does the straight "
ask += "line say, from the gradient in the corrupted run?"
lesson.recorded("16.1", "estimate: giver's vector, layer 0", line, 0.01, ask=ask)
begins = (part_of_the_way(0.01) - part_of_the_way(-0.01)) * 50
lesson.expect("16.2", "control: slope of the first hundredth", line, begins, 0.01)
lesson.recorded("16.3", "heads: correlation with the truth", fit, 0.01)
lesson.recorded("16.4", "heads: size, estimate / truth", guess @ alone / (alone @ alone), 0.01)
title, axes["xlabel"] = f"All heads, one backward pass: correlation {fit:.2f}", "truth and slopes"
grid, rows = torch.stack([alone, guess], 1)[order], [names[i] for i in order]
lesson.show(figures.heatmap(grid, rows, ["exact", "guess"], title, **axes), "attribution")

# %% 17. Where the straight line fails, and why
# In each row of the world model's map in cell 5, and at the very top, there is one place where the
# exact share is 1. What does the straight line say of these, from the bottom up? The higher the
# place, the less stands between it and the answer.
#
# Prediction: more and more, and never enough. Even at the top, where only the last layer norm is
# left, a third is missing. On the way from one story to the other the stream grows shorter and then
# longer again, for the wrong name goes before the right one has come; a norm makes up for that, and
# at first writes larger what is left of the wrong name. And a softmax that is sure of itself hardly
# moves when it is pushed a little. So the way is flat, then steep, then flat, and the straight line
# knows only how it begins. Control: halfway. On mirrored stories it is exactly one half.
bright = [*values.mean(-1).argmax(1).tolist(), len(labels) - 1]  # the place, row by row
seen = [found[one][:, i].mean() / way for one, i in zip(ladder, bright)]
steps = torch.linspace(0, 1, 21)
curve = torch.tensor([part_of_the_way(step) for step in steps.tolist()])
ends = [cache["resid_post", last][:, -1] for cache in (own, kept)]  # [b d] each
middle, end = ((x - x.mean(-1, keepdim=True)).norm(dim=-1).mean() for x in (sum(ends) / 2, ends[1]))

lesson.recorded("17.1", "estimate at the bottom", seen[0], 0.01)
lesson.recorded("17.2", f"entering layer {last}", seen[-3], 0.01)
lesson.recorded("17.3", "at the top, under the last norm", seen[-1], 0.01)
lesson.recorded("17.4", "length of the last stream: halfway / end", middle / end, 0.01)
lesson.expect("17.5", "control: halfway", 0.5, curve[10], 1e-3)
title = f"It begins as a straight line to {line:.2f} would, and ends at {curve[-1]:.2f}"
lines = {"exact": curve, "straight line": line * steps}
lesson.show(figures.line(steps, lines, title, "part of the way", "share brought back"), "way")

# %% 18. The head that was not there, and a repair
# Too small does no harm while the order is right. It need not be. Take the other direction and the
# stories of other people: one head of the clean run hears of them. And a repair: take the slope not
# only where we start, but at five points between the two stories, and their mean ("integrated
# gradients": five backward passes, still for all places at once).
#
# Prediction: by the straight line one head matters most whose effect is 0 in the mean: in the world
# model L1H2 (row 12.6: not story by story). It writes both names alike. With a little less of them
# the difference counts for more (lesson 07 takes them all away), and a gradient sees no further.
# But the other people's names come in where ours go out, and at the end the gain is gone. Five
# points see that, too. They are no cure: now L1H1 comes out before L0H1, for on that way everything
# changes at once, and a patch changes one thing. Take an estimate to choose what to patch, and then
# patch it. Control: the repaired shares of the whole embedding sum to 1: slopes add up to a rise.
fall, there = (m_people - m_clean).mean(), (clean, people, metric, z_sites)
found = patching.attribution(model, *there), patching.integrated(model, *there, steps=5)
straight, mended = (patching.by_head(one) / fall for one in found)  # [head] each
exact, ghost, more = by_head[:, 1], straight.abs().argmax(), {"unit": "share that it costs"}
whole = patching.integrated(model, corrupted, clean, metric, sites[:1], steps=20)[sites[0]]
size = patching.by_head(patching.integrated(model, corrupted, clean, metric, z_sites, 5)) / way

lesson.recorded("18.1", "the head that seems to matter most", names[ghost])
lesson.recorded("18.2", "what the straight line says it costs", straight[ghost], 0.01)
lesson.recorded("18.3", "what it costs", exact[ghost], 0.01)
lesson.recorded("18.4", "what five points say it costs", mended[ghost], 0.01)
lesson.recorded("18.5", "row 16.4 with five points", size @ alone / (alone @ alone), 0.01)
lesson.recorded("18.6", "control: sum over the embedding", whole.sum(1).mean() / way, 0.01)
grid, columns = torch.stack([exact, straight, mended], 1)[order], ["exact", "1 slope", "mean 5"]
title = f"{names[ghost]}: {straight[ghost]:.2f} by one slope, in truth {exact[ghost]:.3f}"
lesson.show(figures.heatmap(grid, rows, columns, title, **axes | more), "repair")

# %% 19. The same sweep, with a fraction of the work
# The exact sweep is slow because most of what it does is idle. Below the patch nothing has changed:
# resume at the patched layer. Left of the first difference equal goes in for equal: do nothing. And
# only the last position is read: unembed no other. We count the blocks that are run for the stream
# entering each layer, at all positions.
#
# Prediction: as counted. Three runs (clean, corrupted, and what comes out with no patch), and then,
# for each position from the giver on, every layer with those above it. The numbers must stay as
# they were. The tool that did the sweeps of this lesson goes further, its file says how; `make
# bench` measures it on GPT-2's sizes. Control: the tool, held against the plain way.
rest, n = (model, corrupted, clean, metric), len(labels)
one = patching.sweep_stream(*rest, [sites[0], sites[-2]])  # [2 p b], lowest and last layer
with patching.counted(model) as resumed:
    two = patching.sweep_stream_faster(*rest)  # [layer p b]
three = sweep(model, clean, corrupted, metric, stream).values
count, unit = 3 * n_layers + (n - at) * n_layers * (n_layers + 1) // 2, m_clean.abs().max()
lesson.expect("19.1", "blocks run", count, len(resumed), source="counted by hand")
lesson.expect("19.2", "largest difference", at_most(1e-4), (one - two[[0, -1]]).abs().max() / unit)
lesson.expect("19.3", "control: the tool's", at_most(1e-4), (three - two).abs().max() / unit)

# %% 20. Which heads together?
# One at a time, heads do not add up. So at last: all is clean, and some heads hear of another giver
# or of another receiver. What is the smallest set with which the answer turns? We try the sets of
# the six heads that did most in cells 8 and 14.
#
# Prediction: in the world model another giver takes one head. Another receiver takes two, and not
# the two that brought the name in cell 8: one is L1H2, which did nothing there. Control: the pairs.
few = [heads[i] for i in (alone.abs() + other.abs()).argsort(descending=True)[:6].tolist()]


def smallest(tokens):  # -> the smallest set that turns the answer, and how many pairs do
    cache = model.run_with_cache(tokens, names_filter="*.hook_z")[1]

    def measure(chosen):
        hooks = patching.put_heads(cache, chosen)
        return patching.patched(model, clean, hooks, metric).mean().item()

    found = patching.smallest_flip(measure, few) if measure(few) < 0 <= measure([]) else []
    pairs = sum(measure([a, b]) < 0 for i, a in enumerate(few) for b in few[:i])
    return " ".join("L{}H{}".format(*one) for one in sorted(found)), len(found), pairs


giver, receiver_too = smallest(corrupted), smallest(receiver)
lesson.recorded("20.1", "another giver: the smallest set", giver[0] or "none")
ask = f"All is clean, but some of {len(few)} heads hear of another receiver. How many must, at the "
ask += "least, until the model no longer prefers the right name?"
lesson.recorded("20.2", "another receiver: how many", receiver_too[1], ask=ask)
lesson.recorded("20.3", "another receiver: the smallest set", receiver_too[0] or "none")
lesson.recorded("20.4", "control: pairs that turn it, of 15", receiver_too[2])

# %% 21. Break it
# Four edits. Say what will happen, make one, run the lesson, and put it back.
#
# 1. In lessons/techniques/patching.py, in `put`, make it donor[:, source - 1]: the neighbour's
#    vector goes in, and row 4.1 must stop the lesson.
# 2. In `resume`, make it resid[:, -2]: the answer is read one word too early, and row 19.2 must
#    stop the lesson. No row before it does: nobody resumed.
# 3. In `attribution`, leave out `- old[site]`: no change any more, but the whole activation times
#    the slope. Row 16.3 must stop the lesson, and not 16.1. Why not? (Whatever reads that vector
#    reads it through a norm: along itself its slope is nearly 0. With z it is another matter.)
# 4. In lessons/techniques/stories.py, let the last pair be ("Anna", "Paul"): rows of numbers now
#    say look. Which heads keep their parts?
lesson.show("""\
Now you. make check-06: six of the functions, for you to write; make lesson-06 MINE=1: this lesson
on what you wrote. And a map of your own: put two stories of your own into cell 6.""")
lesson.finish()

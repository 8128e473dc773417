"""What is the whole circuit?

Paper: Wang et al. 2022, "Interpretability in the Wild: a Circuit for Indirect Object Identification
in GPT-2 small". Its rival here: Adhikari, "Emergence of Minimal Circuits for Indirect Object
Identification in Attention-Only Transformers" (arXiv 2510.25013).
Minutes: 60 to read and play with, half a minute to run (GPT-2: some minutes). To have done first:
lessons 03 and 06.

Lesson 03 opened one head on one prompt. Now we want all: which heads name the receiver, who tells
them, how they know, and whether anything was missed. We go backwards from the answer, as the paper
did; then we hold what we found against the whole model, and it gets uncomfortable.

In the tables, ok: as predicted; look: nothing was predicted; control: what must come out otherwise,
or not at all, if we measure what we think.
"""

# %% 1. The task
# "When John and Mary went to the store, John gave a drink to": Mary. In the paper's words Mary is
# IO, the indirect object; John is S, the subject, who is named twice: S1 and S2. The last word,
# from which the answer must come, is END. A circuit is a part of the model that does the task: here
# a set of heads. The measure is lesson 03's logit difference, IO's logit minus S's: at 0 the model
# has no preference; each 1 makes IO 2.7 times as likely compared with S.
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this clone, before any other
from lessons import figures
from lessons.expect import Band, at_least, at_most
from lessons.lesson import Lesson, stop
from lessons.points import correlation, points
from lessons.techniques import circuits, gaze, indirect_object, published, roads
from lessons.techniques.circuits import faithfulness
from lessons.techniques.prompts import io_batches
from lessons.techniques.roads import averaged, called, swept
from lessons.techniques.sweep import Nodes, Paths
from lessons.telling.viewer import attention

torch.set_grad_enabled(False)
N, SEED = 24, 0  # prompts per template
PROMPT = "When John and Mary went to the store, John gave a drink to"

lesson = Lesson("07_indirect_object")
model = lesson.load(PROMPT)
if model.cfg.n_layers < 2:
    stop(f"{lesson.model_name} has one layer: no head could tell another. Take another MODEL")
if (N, SEED) == (24, 0):  # what is known, row by row, holds for the prompts it was measured on
    for values, source in published.known(lesson.model_name):
        lesson.know(values, source)
cfg, heads, facts = model.cfg, roads.all_heads(model), published.facts(lesson.model_name)
small = len(heads) <= 12 and cfg.d_vocab < 5000  # then every set of heads is tried, else some
lesson.show(f"{lesson.model_name}: {cfg.n_layers} layers of {cfg.n_heads} heads")

# %% 2. Prompts, and their twins
# One prompt proves little. We fill eight templates with names (from cell 4 on, in a large model,
# four), each in two orders (ABBA names IO first, BABA S). IO and S are pairs that the world model
# never met together in training.
#
# Each prompt has twins, with other names in the same places. In the twin S2 the other one gives, so
# the right answer turns around. In the twin ABC three strangers meet, and nobody is named twice
# (the paper's p_ABC): it keeps the grammar, and loses the task.
#
# Prediction: a twin differs from its prompt in the names and nowhere else: in one place for S2, in
# three for ABC. Then whatever a patch changes came from the names. Control: not the twin, but the
# next prompt of the same length.
batches = io_batches(model, N if small else 4, SEED, None if small else (0, 1, 2, 4))
one = averaged(batches, lambda b: (b.tokens != b.twins["S2"]).sum(1))
three = averaged(batches, lambda b: (b.tokens != b.twins["ABC"]).sum(1))
another = averaged(batches, lambda b: (b.tokens != b.tokens.roll(1, 0)).sum(1))
lesson.expect("2.1", "places in which S2 differs", 1, one)
lesson.expect("2.2", "places in which ABC differs", 3, three)
lesson.recorded("2.3", "control: the next prompt differs in", another, 0.01)
first, n = batches[0], sum(len(batch.io) for batch in batches)
texts = {"prompt": first.tokens[0]} | {f"twin {k}": first.twins[k][0] for k in ("S2", "ABC")}
told = [f"{name:<9}{model.to_string(text[1:])}" for name, text in texts.items()]
lesson.show("\n".join([f"{n} prompts. The first, and two of its twins:", *told]))

# %% 3. Does it do the task?
# Before opening anything: how well, on how many? Published for GPT-2, on the paper's own templates:
# a mean difference of 3.56, and IO above S in 99.3 %.
#
# And what does it say to strangers? When Anna and Tom went to the store, and Peter gave a drink,
# then Anna and Tom are both right, and Peter, who gives, is not.
#
# Prediction: it passes over the giver. Control: our two names, where neither is in the prompt. Some
# names are liked more than others (in the world model 3.0, either way), but chance gives the parts.
many = io_batches(model, 64, SEED)
diffs, words = roads.answers(model, many)
strange, to = roads.answers(model, many, "ABC")
ios = torch.cat([batch.io for batch in many])
givers = torch.cat([batch.named("S2", "ABC") for batch in many])
lesson.recorded("3.1", f"logit difference, {len(diffs)} prompts", diffs.mean(), 0.01)
lesson.recorded("3.2", "IO above S, share", (diffs > 0).float().mean(), 0.002)
lesson.recorded("3.3", "IO above all words, share", (words == ios).float().mean(), 0.002)
ask = "Three strangers meet. In which share (0 to 1) of the prompts is the answer the giver?"
lesson.recorded("3.4", "the answer is the giver", (to == givers).float().mean(), 0.002, ask=ask)
lesson.recorded("3.5", "control: IO - S with strangers, size", strange.abs().mean(), 0.01)
eight = roads.published_eight(model).mean()
lesson.recorded("3.6", "eight prompts of TransformerLens's demo", eight, 0.001)

# %% 4. All heads at once
# Before we ask what causes what, look. On the page (its name is printed at the end) this is a
# viewer: open a head, point at a word, see where it looks. Which heads look from the last "to" at a
# name, and at whose?
#
# Looking is not doing: lesson 03 met a head that looks at Mary and adds nothing. So the figure is a
# source of guesses, and nothing that follows rests on it.
tokens = model.to_tokens(PROMPT)  # [1 p]
cache = model.run_with_cache(tokens)[1]
patterns = torch.stack([cache["pattern", i][0] for i in range(cfg.n_layers)])  # [l h q k]
lesson.show(attention(model.to_str_tokens(PROMPT), patterns, "Where all heads look"), "heads")

# %% 5. Who speaks to the answer?
# Path patching: one head alone is told about strangers (twin ABC). All other heads are held at what
# they said, so that none can pass the news on. What still reaches the logits is that head's own
# voice. If the task needs it, the logit difference falls. It is exercise 7.2; `sweep` does the same
# for all heads at once.
#
# Before you look: whose story should matter most? A head that looks at IO, you would think.
#
# Prediction: by hand and by the tool, the same. In the paper the name movers fall out here, the
# heads that copy a name to the answer. In the world model the winner gives IO only 10 % of its
# attention. Control: a head that is told its own story changes nothing.
senders = Nodes("z", over="layer head", positions=-1)
spoken = swept(model, batches, Paths(senders, to="logits"))
strongest = roads.lowest(spoken.change, 1)[0]
ids = first.tokens, first.twins["ABC"]
by_hand = indirect_object.direct_effect(model, *ids, *strongest)
by_hand = indirect_object.logit_diff(by_hand, first.io, first.s)  # [b]
idle = indirect_object.direct_effect(model, ids[0], ids[0], *strongest) - model(ids[0])
apart = (by_hand - spoken.values[strongest][: len(by_hand)]).abs().max()
fall, clean = spoken.change[strongest].item(), spoken.clean.mean().item()
lesson.expect("5.1", "by hand against the sweep", at_most(1e-3), apart)
lesson.expect("5.2", "control: told its own story", at_most(1e-4), idle.abs().max())
ask = "Which head's voice, changed for a stranger's, lowers the logit difference most?"
lesson.recorded("5.3", "it lowers the difference most", called([strongest]), ask=ask)
lesson.recorded("5.4", f"{called([strongest])} changes the {clean:.2f} by", fall, 0.01)
title = f"Told of strangers, {called([strongest])} costs most: {fall:+.2f}"
lesson.show(spoken.plot(title, "change"), "direct")

# %% 6. Straight, or through an MLP?
# The paper's paths run "through residual connections and MLPs": only other heads are held. An MLP
# that reads a head's news can turn it into an answer of its own. Is that the head speaking? Hold
# the MLPs as well, and only what the head itself writes is left.
#
# Prediction: a head that writes names keeps its effect; one that merely informs an MLP loses it. In
# the world model L0H1 falls out, and the name movers stand in front: L1H1 and L1H0. Control: the
# largest fall among all heads that are not taken for movers.
straight = swept(model, batches, Paths(senders, to="logits", hold="heads mlps"))
movers = roads.lowest(straight.change, facts.n_movers, above=1)
bands = {"under a tenth": at_most(0.1), "a tenth to a half": Band(0.1, 0.5), "more": at_least(0.5)}
ask = f"{called([strongest])} cost {-fall:.2f}. MLPs held too, which part of that is left?"
left = straight.change[strongest] / fall
what = f"part of {called([strongest])}'s that is left"
lesson.recorded("6.1", what, left, 0.01, ask=ask, choices=bands)
lesson.recorded("6.2", "movers", called(movers))
lesson.recorded("6.3", "of these, known as movers", len(facts.movers & set(movers)))
lesson.recorded("6.4", "the first lowers the difference by", straight.change[movers[0]], 0.01)
lowest = roads.least(straight.change, but=movers)
lesson.recorded("6.5", "control: the largest fall of another", lowest, 0.01)
title = f"MLPs held: {called(movers)} speak for themselves"
lesson.show(straight.plot(title, "change"), "straight")

# %% 7. Do they write what they look at?
# A mover should write the name it looks at, the more, the longer it looks. For each prompt and both
# names: the share of attention that a name gets, against what the head adds to that name's logit.
# In GPT-2 the paper found a correlation above 0.81.
#
# And take a head of the same layer that gives the names next to no attention. What can it add?
#
# Prediction: movers, a slanted cloud; the other head, a pile at the left. In the world model L1H2
# never looks at a name and adds more to each than L1H1 does. Somebody put both names where it looks
# (the earlier "to"). It adds to both alike: its own words cancel in the logit difference (what it
# does to the last norm: cell 14). Control: that head's correlation.
caches = [model.run_with_cache(batch.tokens)[1] for batch in batches]
looked = {head: gaze.looks_and_writes(batches, caches, head) for head in heads}  # [2 n] each
mover, blind = movers[0], gaze.blindest(looked, movers[0][0], movers)  # two of one layer
(_, added), (shy, adds) = looked[mover].mean(1), looked[blind].mean(1)
series = {called([head]): looked[head] for head in (mover, blind)}
lesson.recorded("7.1", f"{called([mover])}: correlation", correlation(*looked[mover]), 0.01)
lesson.recorded("7.2", f"control: {called([blind])}", correlation(*looked[blind]), 0.01)
ask = (
    f"{called([mover])} adds {added:.2f} to a name, on average. And {called([blind])}, which gives "
)
ask += f"a name {shy:.0%} of its attention?"
kinds = {"next to nothing": at_most(0.2 * added), "something": Band(0.2 * added, added)}
kinds |= {f"more than {called([mover])}": at_least(added)}
lesson.recorded("7.3", f"{called([blind])} adds to a name", adds, 0.01, ask=ask, choices=kinds)
title = f"{called([mover])} writes what it looks at; {called([blind])} adds {adds:.1f} unseen"
axes = "attention from END to the name", "added to the name's logit"
lesson.show(points(series, title, *axes), "looks")

# %% 8. Would they copy any name?
# Skip the looking. Hand a head the stream as it is at a name, after the first layer: would it write
# that name? The copying score counts how often the name is among the five words that gain most.
#
# Prediction: movers, nearly always (published: above 95 %, an average head below 20 %). Control:
# all other heads, on average and the best of them. So copying is what a head can do; where it looks
# decides what it does.
at_names = gaze.at_names(batches, caches)  # [n d], ids [n]
scores = {head: indirect_object.copying_score(model, *at_names, *head) for head in heads}
others = [head for head in heads if head not in movers]
best = max(others, key=scores.get)
lesson.recorded("8.1", "movers: the lowest score", min(scores[head] for head in movers), 0.01)
mean = sum(scores[head] for head in others) / len(others)
lesson.recorded("8.2", "control: mean of the others", mean, 0.01)
lesson.recorded("8.3", f"control: the best of the others, {called([best])}", scores[best], 0.01)
looks = gaze.mean_look(batches, caches, movers, "IO")
lesson.recorded("8.4", "where movers look: END to IO, mean", looks, 0.01)

# %% 9. What do the movers listen to?
# A head has three inputs: queries (where to look), keys (where to be looked at), values (what to
# hand over). Into each of the movers' three, one earlier head at a time speaks of strangers; then
# the movers, and all after them, run as they do. This is a path: sender -> one input of the movers.
#
# Which input is it that tells a mover which name to take?
#
# Prediction: the queries, as in the paper, where the heads found here are called S-inhibition: they
# keep the movers from looking at S. In the world model L0H1 is back, and L0H2 with it, and both
# were nothing by themselves in cell 6. They do not say names; they say where to look. Control: of
# the other senders the one that matters most, and the movers' two other inputs.
into = roads.into_inputs(model, batches, movers)
readers = roads.lowest(into["queries"].change, facts.n_readers)
falls = {name: roads.least(effects.change) for name, effects in into.items()}
ask = "Through which input of the movers does an earlier head's news cost most?"
which = min(falls, key=falls.get)
lesson.recorded("9.1", "the input that matters", which, ask=ask, choices=list(into))
lesson.recorded("9.2", "heads that speak to the queries", called(readers))
lesson.recorded("9.3", f"by {called(readers[:1])} alone", falls["queries"], 0.01)
lesson.recorded("9.4", "of these, known for it", len(facts.readers & set(readers)))
fall = roads.least(into["queries"].change, but=readers)
lesson.recorded("9.5", "control: the largest fall of another", fall, 0.01)
size = max(into[name].change.abs().max() for name in ("keys", "values"))
lesson.recorded("9.6", "control: keys, values: most, either way", size, 0.01)
title = f"Into the movers' queries: {called(readers)}"
lesson.show(into["queries"].plot(title, "change"), "queries")

# %% 10. Two hypotheses
# Readers we call the heads that cell 9 found: they know who gives. How is it used? Two ways would
# give the same answers.
#
# (a) Inhibition: the readers turn the movers' look away from S, and IO is what is left to copy.
# (b) Subtraction: both names are copied, and the readers take S off again at the logits. A network
#     of one layer was found to do this (arXiv 2510.25013).
#
# One experiment decides. The readers lie: they speak as if the other one gave (twin S2). First, all
# who listen hear the lie. Then the movers' queries alone. Then the logits alone, all heads and MLPs
# held. By (a) the lie works through the queries, by (b) straight at the logits.
#
# Prediction: in the world model (a): through the queries the answer turns around, straight to the
# logits hardly anything happens. Control: the same lie, told to the query of the blind head.
diff = roads.told_diff
everyone = averaged(batches, lambda b: diff(model, b, readers))
queries = torch.cat([diff(model, b, readers, movers) for b in batches])  # per prompt
direct = averaged(batches, lambda b: diff(model, b, readers, "logits", hold_mlps=True))
aside = averaged(batches, lambda b: diff(model, b, readers, [blind]))
lesson.recorded("10.1", "logit difference, all hear the lie", everyone, 0.01)
ask = "The readers lie to the movers' queries alone. In which share (0 to 1) of the prompts does "
ask += "IO still lead?"
held = (queries > 0).float().mean()
lesson.recorded("10.2", "queries alone: IO still leads, share", held, 0.006, ask=ask)
lesson.recorded("10.3", "queries alone: logit difference", queries.mean(), 0.01)
ask = "The readers tell the lie to the logits alone; all other heads and MLPs hear nothing. The "
ask += f"difference was {clean:.2f}, and {everyone:.2f} where all heard it. Where does it end?"
kinds = {"within 1 of the first": at_least(clean - 1), "in between": Band(everyone + 1, clean - 1)}
kinds |= {"within 1 of the second": at_most(everyone + 1)}
lesson.recorded("10.4", "straight to the logits", direct, 0.01, ask=ask, choices=kinds)
lesson.recorded("10.5", f"control: query of {called([blind])}", aside, 0.01)

# %% 11. Does it add up?
# The queries took much of the fall and the straight way little. Is anything missing? One way is
# left: an MLP hears a reader and answers in its own words, no other head between.
#
# Prediction: in the world model queries, straight and MLPs add up to all that there is, nearly to
# the digit. The MLPs carry a third: there (b) lives on, as a side road. So the verdict is not "(a),
# not (b)" but two thirds to one third, and 2 % for the pure form of (b). Control: the movers'
# attention itself: told the lie, it must turn.
mlps = averaged(batches, lambda b: diff(model, b, readers, "logits")) - direct
changes = {"queries of the movers": queries.mean() - clean, "MLPs": mlps}
changes |= {"straight to the logits": direct - clean}
total, everything = sum(changes.values()), everyone - clean
ask = "The lie goes down three roads, one at a time: queries, straight, MLPs. Add up the falls: "
ask += "how large is the sum, as a multiple of the fall where all hear it?"
lesson.recorded("11.1", "all three roads, of the whole fall", total / everything, 0.01, ask=ask)
lesson.recorded("11.2", "through MLPs, share", mlps / everything, 0.01)
looks = [roads.looks_when_told(model, b, readers, movers, movers[0]) for b in batches]
before, after = torch.cat(looks, dim=-1).mean(-1).unbind()  # IO, S1 each
what = f"{called(movers[:1])} on IO"
lesson.recorded("11.3", f"{what}: before", before[0], 0.01)
lesson.recorded("11.4", f"control: {what}: told the lie", after[0], 0.01)
changes |= {"all three": total, "all who listen": everything}
title = f"The lie works through the queries ({changes['queries of the movers'] / everything:.0%})"
axis = "change of the logit difference, readers lying"
lesson.show(figures.bars(list(changes.values()), list(changes), title, axis), "roads")

# %% 12. How does a reader know who gives?
# In GPT-2 the next step back finds heads that look from S2 to S1 and see that the name came twice:
# duplicate-token heads, and induction heads that do the same. In the world model the readers are in
# layer 0. Below them there is no head to ask: they see each word, its place, and nothing else.
#
# So let nobody be named twice. With strangers, who does the reader look at?
#
# Prediction: the giver, as before. The world's reader has no use for a repetition. It likes names
# (2.8 above other words in the same places), and it likes whatever comes late (names and others by
# 2.6). So it takes the later of two names, and who is named last gives. Right, for a reason of its
# own. Control: those other words; and the largest share that any head gives, at S2, to S1.
layer, head = reader = readers[0]
strangers = [model.run_with_cache(b.twins["ABC"])[1]["pattern", layer] for b in batches]
pairs = list(zip(batches, caches, strangers))
here = torch.cat([b.looks(cache["pattern", layer], head, "S2") for b, cache, _ in pairs]).mean()
there = torch.cat([b.looks(pattern, head, "S2") for b, _, pattern in pairs]).mean()
back = {one: gaze.looks_back(batches, caches, one) for one in heads}
twice = max(back, key=back.get)
lesson.recorded("12.1", f"{called([reader])}, END to S2", here, 0.01)
ask = f"{called([reader])} gives {here:.2f} of its attention to S2. Now a stranger gives, "
ask += "named once: what does it give him (0 to 1)?"
lesson.recorded("12.2", "strangers: to the giver", there, 0.01, ask=ask)
lesson.recorded("12.3", f"control: S2 to S1, most: {called([twice])}", back[twice], 0.005)
looks = gaze.mean_look(batches, caches, readers, "S2")
lesson.recorded("12.4", "all readers: END to S2, mean", looks, 0.01)
lesson.show(gaze.how_it_knows(model, batches, reader), "reader")

# %% 13. Another reason, other mistakes
# If we understand it, we can break it. The paper did: name IO once more in between ("John and Mary
# went to the store. Mary had a good day. John gave ...") and a model that looks for repetitions
# meets two. GPT-2's difference fell from 3.55 to 1.23, and S led in 23 %. Named S instead: 3.64.
#
# The world has two templates with a bystander: one names him first of all ("Tom waited at the
# store. After ..."), one names him late ("... went to the store where Tom worked, ..."). We let IO
# be the bystander. Repeated is repeated.
#
# Prediction: to the world model a repetition is nothing; it goes by the place. Named early, nothing
# happens. Named late, next to S2, the reader takes some of IO for the giver: the difference halves.
# Control: S as the bystander, late.
stood = roads.bystanders(model, 48, reader, SEED)
share = {one: diff / stood[one[0], "nobody"][0] for one, (diff, _) in stood.items()}
ask = "IO is the bystander too, named {}. The logit difference, as a multiple of what it was?"
early, late = (ask.format(place) for place in ("first of all", "late"))
lesson.recorded("13.1", "IO again, early", share["early", "IO"], 0.01, ask=early)
lesson.recorded("13.2", "IO again, late", share["late", "IO"], 0.01, ask=late)
lesson.recorded("13.3", "control: S again, late", share["late", "S"], 0.01)
what = f"{called([reader])} on the bystander"
lesson.recorded("13.4", f"{what}, late", stood["late", "IO"][1], 0.01)
lesson.recorded("13.5", f"control: {what}, early", stood["early", "IO"][1], 0.01)
told = [f"{place:<8}{who:<9}{diff:>6.2f}" for (place, who), (diff, _) in stood.items()]
lesson.show("\n".join(["the bystander is, and the logit difference", *told]))

# %% 14. Silence the movers
# The movers carry the name to the answer. So without them there should be none. To silence a head,
# let it say its mean over strangers, template by template, as in the paper: what such sentences
# share stays, which names there were goes (exercises 7.4 and 7.5).
#
# Prediction: far less is lost than you think. Published for GPT-2: 5 %, because heads further up,
# which had said little, take over: the paper's backup name movers. In the world model a quarter. No
# head wakes up: both movers are in the last layer, where none hears another. But the last norm
# does. Without the movers the stream is shorter, its divisor falls to 0.65 of what it was, and all
# that is left is written half as large again. Hold the divisor (lesson 03, cell 14): half is lost.
#
# Control: an idle head, L0H0: nothing. And L1H2, whose words cancel, does as much as both movers,
# the other way: without it the difference rises by 27 % (divisor held: 8 %). So a size alone proves
# little; look at the sign, and at 14.2.
F = circuits.Knockouts(model, batches, "mean")
whole = frozenset(heads)
extra = roads.idlest(spoken.change, 1)[0]
gone, idle, unseen = (circuits.silenced(F, whole, some) for some in (movers, [extra], [blind]))
moved = roads.changed_heads(model, batches, movers)
ask = f"{called(movers)} silenced: which share (0 to 1) of the logit difference is lost?"
lesson.recorded("14.1", "movers silent: share lost", gone.lost, 0.01, ask=ask)
lesson.recorded("14.2", "movers silent: IO above all words, share", gone.right, 0.006)
lesson.recorded("14.3", "other heads that now speak otherwise", len(moved))
lesson.recorded("14.4", "the last norm's divisor, of what it was", gone.divisor, 0.01)
lesson.recorded("14.5", "movers silent, divisor held: lost", gone.held, 0.01)
lesson.recorded("14.6", f"control: {called([extra])} silent: lost", idle.lost, 0.01)
what = f"control: {called([blind])} silent"
lesson.recorded("14.7", f"{what}: lost", unseen.lost, 0.01)
lesson.recorded("14.8", f"{what}, divisor held: lost", unseen.held, 0.01)


# %% 15. A circuit, and how faithful it is
# Now the other way round. Keep a circuit C, knock out every head outside it, and measure the mean
# logit difference, F(C). Faithfulness is 1 - |F(M) - F(C)| / F(M), M being the whole model: 1 if
# the circuit does as much as the model. The paper's 26 heads of 144 have 0.87. MLPs stay, always.
#
# Say we may keep a third of the world model's heads: two.
#
# Prediction: in the world model the first reader and the stronger mover are enough: 0.97. Control:
# every other pair, and no heads at all. A search that takes away, again and again, the head that is
# missed least (exercise 7.6) ends elsewhere: with four heads, 0.97 as well, of which none can go.
# That nothing can go does not make it the smallest. (In a large model it searches readers, movers.)
def faithful(circuit, F=F) -> float:
    return faithfulness(F(circuit).diff, F(whole).diff)


rivals = circuits.rivals(heads, len(facts.circuit) or len(heads) // 3)
score = {one: faithful(one) for one in rivals}
best = max(score, key=score.get) if small else facts.circuit or frozenset(movers + readers)
score[best] = faithful(best)
pool = heads if small else movers + readers
found = frozenset(indirect_object.find_circuit(faithful, pool, min(0.9, faithful(pool))))
rest = sorted(value for one, value in score.items() if one != best)
ask = f"The best {len(best)} of {len(heads)} heads, all others knocked out. Faithfulness (0 to 1)?"
lesson.recorded("15.1", "faithfulness of the best", score[best], 0.01, ask=ask)
lesson.recorded("15.2", "the best", circuits.shortly(best))
lesson.recorded("15.3", "control: the median of the others", rest[len(rest) // 2], 0.01)
lesson.recorded("15.4", "control: no head at all", faithful([]), 0.01)
lesson.expect("15.5", "a search's circuit", at_least(0.9) if small else None, faithful(found))
lesson.show(circuits.ranking(score, best, found), "faithfulness")

# %% 16. Is it right, too?
# A third of the heads, more than nine tenths of the difference: a paper could end here. But the
# logit difference compares two names. The model chooses among all words. So ask the circuit the
# question itself: which word comes next?
#
# Prediction: in the world model the pair that "does it all" is right on seven prompts of ten. The
# reader alone, no mover left, has 58 % of the logit difference and is right on 2 prompts of 192: it
# pushes S down, 6.7 below the mean name, and lifts nobody. To the difference, one name down is one
# name up; and what adds to both, as L1H2 does, it cannot see. Control: the whole model.
alone = [reader]
ask = f"{circuits.shortly(best)} alone: in which share (0 to 1) of the prompts is IO above all "
ask += "words?"
lesson.recorded("16.1", "the best: IO above all words, share", F(best).right, 0.006, ask=ask)
lesson.recorded("16.2", f"{called(alone)} alone: faithfulness", faithful(alone), 0.01)
lesson.recorded("16.3", f"{called(alone)} alone: the same share", F(alone).right, 0.006)
lesson.recorded("16.4", "control: the whole model", F(whole).right, 0.006)
shown = {called(alone): alone, "movers": movers, "the best": best, "all heads": heads}
levels = torch.tensor([[F(one).io, F(one).s] for one in shown.values()])
title = f"{called(alone)} alone: IO {levels[0, 0]:+.1f}, S {levels[0, 1]:+.1f}"
axes = {"xlabel": "", "ylabel": "heads kept", "unit": "logit above the mean name", "signed": True}
lesson.show(figures.heatmap(levels, list(shown), ["IO", "S"], title, **axes), "levels")

# %% 17. Other knives
# How faithful a circuit is depends on what the absent heads are made to say. A mean of strangers
# says "a name, whichever": kind to the circuit. One prompt's own strangers say a wrong name. And
# the twin S2 says the one thing that matters here: the wrong giver. It asks who can overrule it.
#
# Prediction: in the world model the pair holds with the kind knife only. Two readers and two movers
# hold against the lie, as well as the whole model (0.996): these four decide which of the two names
# it is. Their 0.72 with the kind knife is no lack: without L1H2 they do 28 % more than the model,
# and faithfulness punishes that, too. Control: the same four with one head left out, at best. Three
# knives, three questions; say which you asked.
knives = {how: circuits.Knockouts(model, batches, how) for how in ("resample", "exchange")}
team, lie = frozenset(movers + readers), knives["exchange"]
table = {
    how: [faithful(one, G) for one in (best, team)] for how, G in ({"mean": F} | knives).items()
}
short = max(faithful(team - {head}, lie) for head in team)
lesson.recorded("17.1", "the best, strangers' own words", table["resample"][0], 0.01)
lesson.recorded("17.2", "the best, against the lie", table["exchange"][0], 0.01)
lesson.recorded("17.3", "movers and readers, against the lie", table["exchange"][1], 0.01)
lesson.recorded("17.4", "control: the same without one, at best", short, 0.01)
rows = [f"{circuits.HOWS[how]:<50}{one:>9.2f}{two:>21.2f}" for how, (one, two) in table.items()]
head = f"{'absent heads say':<50}{'the best':>9}{'movers and readers':>21}"
lesson.show("\n".join([head, *rows]))

# %% 18. Is every head needed?
# Minimality: for each head v of the circuit there must be a set K of its other heads such that v
# makes a difference where K is missing: |F(C \ K) - F(C \ (K and v))|. In the paper every head
# makes at least 1 % of F(M); the least needed two take it from 0.45 to 0.41, which is 1.1 %.
#
# Prediction: in the world model each head makes far more than that, 55 % and 39 % at least in our
# two circuits. Control: put in the head that does nothing here, L0H0. It reaches 1.1 % too: with so
# many sets K to choose from, one always gives something. A bar that an idle head passes is too low;
# look at the gap.
need = circuits.minimality(lie, team | {extra})
need = {called([head]): value / lie(whole).diff for head, value in need.items()}
ours = min(value for name, value in need.items() if name != called([extra]))
pair = min(circuits.minimality(F, best).values()) / F(whole).diff
lesson.recorded("18.1", "movers and readers: the least needed", ours, 0.01)
lesson.recorded("18.2", "the best: the least needed", pair, 0.01)
lesson.recorded("18.3", f"control: {called([extra])}, put in", need[called([extra])], 0.002)
title = f"The least needed: {ours:.0%}. {called([extra])}, put in: {need[called([extra])]:.1%}"
axis = "the most that it changes, share of F(M)"
plot = figures.bars(list(need.values()), need, title, axis, marked=[called([extra])], limit=0.01)
lesson.show(plot, "needed")

# %% 19. Is anything missing?
# Completeness is the hardest of the three. A model may do a task twice over; then half of it is
# faithful, and what was left out shows only when you break what you found. So for every set K of
# the circuit's heads: take K out of the circuit, and take K out of the whole model. If both have
# the same left, nothing is missing. The paper's 26 heads fail for sets that a search found: 3.09
# apart, of 3.56.
#
# Prediction: in the world model the faithful pair is caught. Take its reader away, and the pair has
# 0.3 left and the model 6.3: L0H2 knows too. Against strangers' means no set of four heads or fewer
# is complete (the best is 1.9 apart). Against the lie, movers and readers are. Control: all heads
# but the idle one, L0H0: nothing is missing.
five = whole - {extra}
K, apart = circuits.least_complete(F, best, whole)
lies = circuits.least_complete(lie, team, whole)[1]
fewer, but_one = circuits.most_complete(F, whole, five) if small else (None, None)
ask = f"Take the same heads out of {circuits.shortly(best)} and out of the model (with all heads "
ask += f"{F(whole).diff:.1f}). By how much can the two logit differences come apart?"
lesson.recorded("19.1", "the best: furthest apart", apart, 0.02, ask=ask)
lesson.recorded("19.2", "with these taken out", circuits.shortly(K))
lesson.recorded("19.3", "movers and readers, against the lie", lies, 0.02)
lesson.recorded("19.4", f"fewer than {len(five)} heads: the best of all sets", fewer, 0.02)
lesson.recorded("19.5", f"control: all but {called([extra])}", but_one, 0.02)
shown = {"the best": best} | ({f"all but {called([extra])}": five} if small else {})
sets = {name: circuits.incompleteness(F, one, whole) for name, one in shown.items()}
title = f"{circuits.shortly(best)}: {score[best]:.0%} faithful, and {apart:.1f} short of complete"
axes = "F of the circuit without K", "F of the model without K"
series = {name: zip(*pairs.values()) for name, pairs in sets.items()}
lesson.show(points(series, title, *axes, diagonal=True), "complete")

# %% 20. The same behaviour
# Both models answer with the indirect object. Both have movers that copy, and readers that turn the
# movers away from S. Then they part: GPT-2 finds S because it was said before, the world model
# because it was said last. A circuit found in one model is a hypothesis about the next, no more.
# And "the circuit" was never one thing: it depends on the measure, the knife, and what you ask.
lesson.show("""\
                        GPT-2 small (published)         the world model (measured here)
movers                  9.9 9.6 10.0                    1.1 1.0
speak against           10.7 11.10                      none (1.2 adds to both names alike)
tell the movers         7.3 7.9 8.6 8.10                0.1 0.2
who gives is known by   his name, said before           his name, said last
  from                  duplicate, induction heads      word and place alone
movers silenced         backups take over (5 % lost)    the last norm makes up (26 % lost,
                                                        51 % with its divisor held)
also                    MLPs beyond the first, jointly  the MLPs subtract S (a third)
faithful                26 of 144 heads: 0.87           2 of 6: 0.97; 4 of 6 against a lie: 1.00
complete                no: 3.09 of 3.56 apart          2: no, 6.0 of 10.6; 5 of 6: yes""")

# %% 21. Break it
# Four edits. Say what will happen, make one, run the lesson, and put it back.
#
# 1. In lessons/techniques/indirect_object.py, in `direct_effect`, let the hook start from its own
#    z.clone(), not from what is held: news now travels through other heads: row 5.1 must stop the
#    lesson.
# 2. In `template_means`, take the mean of all prompts, z.mean(0): a name's place in one sentence is
#    a verb's in another. Nobody warns you; the movers' row 14.1 must stop the lesson.
# 3. In `knocked_out`, write `in circuit` for `not in circuit`: you silence what you meant to keep.
#    Row 14.1 must stop the lesson, too.
# 4. In cell 1, SEED = 1: other prompts. What was recorded now says look. Are the heads the same?
lesson.show("""\
Now you. make check-07: six of the parts, for you to write, the last of them a search for a circuit;
make lesson-07 MINE=1: this lesson on what you wrote.""")
lesson.finish()

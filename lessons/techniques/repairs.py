"""What lesson 10 does more than once: read lives, judge a classifier, repair it, and compare cures.

An edit is a function of a sentence's activation and latents (x [b d], f [b f]) that returns another
activation [b d]. A score is three shares: right where gender and job agree, right where they do
not, right in the worst of the four groups.

Letters: b sentence, d width of the activation, f latent, a autoencoder.
"""

import torch
from torch import Tensor

from lessons import figures
from lessons.expect import at_least, at_most
from lessons.techniques import probing, spurious_features
from lessons.techniques.sae import compare

PEOPLE = "Kate Mary Anna Lucy Jane Helen John Mark Tom Paul David Jack".split()  # noqa: SIM905
PROMPTS = [f"{name} is a {job} and" for name in PEOPLE for job in ("doctor", "nurse", "baker")]
PUBLISHED = """\
Published, worst group, for professors and nurses in Pythia-70M (Marks et al. 2024, as
others report it): 24.4 % at first, 76.0 % with latents ablated, 89.0 % learned again,
91.9 % from fair data."""
# What the rows of lesson 10 gave when it was written: row -> value. The bars are bounds.
WORLD = {"3.1": 1, "3.2": 0.11, "3.3": 0.06, "3.4": 1, "4.1": 0.947, "4.2": 0}
WORLD |= {"4.3": 0.813, "4.4": 1.18, "10.4": 0.804, "12.8": 0.727, "5.2": 0.767}
WORLD |= {"6.1": 0.0194, "6.3": 0.304, "7.1": 4, "7.2": 8, "7.3": 0.36, "8.1": 0.583}
WORLD |= {"8.2": at_least(25), "8.3": at_most(3), "8.4": 0.54, "8.5": 0.0867, "8.6": 0.127}
WORLD |= {"8.7": 0.287}
WORLD |= {"9.1": 0.577, "9.2": 0.453, "10.1": 1, "10.2": 0.843, "10.3": 0.807, "11.1": 1, "11.2": 1}
WORLD |= {"11.3": 1, "11.4": 0.518, "12.1": 1, "12.2": 1, "12.3": 0.673, "12.4": 0.687, "12.5": 1}
WORLD |= {"12.6": 1, "12.7": 0.14, "13.1": 48.5, "13.2": at_least(25), "13.3": at_most(3)}
WORLD |= {"13.4": 0.844, "13.5": 0.807, "14.1": 0, "14.2": 0.13, "14.3": 0.03, "15.1": 7}
WORLD |= {"15.2": 34.7, "15.3": 0, "15.4": 0.997, "15.5": 0.232, "15.6": 0.723, "15.7": 0.512}
WORLD |= {"16.1": 0.827, "16.2": 0.947, "16.3": 4, "16.4": 0.987, "17.1": 1, "17.2": 7.51}
WORLD |= {"17.3": 5.71, "17.4": 7.4, "17.5": 0.205, "18.1": 0.039, "18.2": 0.0175, "18.3": 1.35}
WORLD |= {"18.4": 13.2, "18.5": 3.31}
KNOWN = {"world": (WORLD, "recorded")}


def view(model, sae, sample) -> tuple[Tensor, Tensor]:  # -> [b d], [b f]
    """Read each sentence's mean activation at an autoencoder's site, and its mean latents."""
    stream = spurious_features.read(model, sample.tokens, sae.cfg.site)  # [b p d]
    pooled = spurious_features.pool(stream, sample.tokens)
    return pooled, spurious_features.codes(sae, stream, sample.tokens)


def judged(probe, x: Tensor, sample) -> tuple[float, float, float]:
    """Score a probe (w [d], b) on activations [b d] of a sample's lives."""
    return spurious_features.scores((x @ probe[0] + probe[1] > 0) == sample.label, sample)


def apart(x: Tensor, sample) -> float:  # [b d]
    """Divide how far women and men are apart in activations, in the mean, by how far the jobs are.

    sample: Bios, whose activations they are.
    """
    gender, job = (probing.mean_difference(x, y).norm() for y in (sample.gender, sample.label))
    return (gender / job).item()


def cure(model, sae, lean: Tensor, learn, new) -> tuple[list, list[int], Tensor]:
    """Repair a classifier as in cells 3 to 10 of the lesson: train, judge latents, ablate.

    lean [f] says to which gender each latent leans. Returns three scores on `new` (at first, with
    latents ablated, learned again), which latents they were, and their mean values [f].
    """
    (x, f), (new_x, new_f) = view(model, sae, learn), view(model, sae, new)
    probe, sign, mean = probing.fit_probe(x, learn.label), learn.label.float() * 2 - 1, f.mean(0)
    effect = ((f - mean) * sign[:, None]).mean(0) * (sae.W_dec @ probe[0])  # [f]: logits are linear
    gone = [i for i in effect.argsort(descending=True)[:40].tolist() if abs(lean[i]) > 0.5]
    x, cut = (
        spurious_features.put(*pair, sae.W_dec, gone, mean) for pair in ((x, f), (new_x, new_f))
    )
    tested = (probe, new_x), (probe, cut), (probing.fit_probe(x, learn.label), cut)
    return [judged(*pair, new) for pair in tested], gone, mean


def later(model, site: str, sample, *hooks) -> Tensor:  # -> [b d]
    """Read each sentence's mean activation at some site."""
    return spurious_features.pooled(model, sample.tokens, [site], hooks)[0]


def above(model, sae, gone: list[int], to: Tensor, site: str, learn, new) -> tuple:
    """Ablate latents inside the running model; train and score a classifier of a later site.

    Returns the classifier, trained on `learn`, and the activations [b d] of `new`, both ablated.
    """

    def mend(code):  # [b p f]
        code = code.clone()
        code[..., gone] = to[gone]
        return code

    hook = sae.splice(mend)
    probe = probing.fit_probe(later(model, site, learn, hook), learn.label)
    return probe, later(model, site, new, hook)


def levelled(x: Tensor, y: Tensor, n: int, mean: Tensor):
    """Return the edit that gives n dimensions their mean [d]: those that go most with a class.

    x [n d], y [n]: what is known of the class. How far its mean is off, in standard deviations.
    """
    gap = probing.mean_difference(x, y) / x.std(0)  # [d]
    dims = gap.abs().argsort(descending=True)[:n]
    return lambda x, f: x.index_copy(1, dims, mean[dims].expand(len(x), -1))


def erasers(known: dict, mean: Tensor) -> dict:
    """Return edits that erase a class, from what is known of it: name -> (x [n d], class [n]).

    Of each: LEACE, and the difference of means projected out.
    """
    edits = {}
    for name, pair in known.items():
        means = probing.mean_difference(*pair)
        lines = {"LEACE": probing.fit_eraser(*pair), "means": [means / means.norm()] * 2}
        for kind, line in lines.items():
            edits[f"{kind}, {name}"] = lambda x, f, line=line: probing.erase(x, mean, *line)
    return edits


def compared(cures: dict) -> tuple[str, figures.Plot]:
    """Show cures, name -> (score, score learned again), as a table and as bars of the worst group.

    There must be "nothing", "latents" and "words deleted".
    """
    columns = ["disagree", "worst", "again: agree", "again: disagree", "again: worst"]
    table = spurious_features.table({k: (*a[1:], *b) for k, (a, b) in cures.items()}, columns)
    worst = {name: again[2] for name, (_, again) in cures.items()}
    title = f"Worst group: {worst['nothing']:.0%} at first, {worst['latents']:.0%} cured by "
    title += f"latents, {worst['words deleted']:.0%} by deleting words"
    unit = "share right in the worst group, learned again"
    plot = figures.bars([*worst.values()], worst, title, unit, marked=["latents"])
    return f"{table}\n\n{PUBLISHED}", plot


def ranked(effect: Tensor, lean: Tensor, gendered: list[int]) -> figures.Plot:
    """Draw the twelve latents of the largest effect [f], with how they lean [f]."""
    top = effect.argsort(descending=True)[:12].tolist()
    labels = [f"{i} ({lean[i]:+.2f})" for i in top]
    marked = [label for label, i in zip(labels, top) if i in gendered]
    title = f"Of the {len(top)} largest, {len(marked)} lean to one gender (striped)"
    return figures.bars(effect[top], labels, title, "effect on the logit", marked=marked)


def tried(model, shelf: dict, text, samples, site: str) -> dict[str, tuple]:
    """Repair the same classifier with each autoencoder of a shelf; that which wins most first.

    shelf: name -> (autoencoder, what is known of it); text: stream [n d], women [n], men [n];
    samples: to learn from, to test with. Of each: share won where gender and job disagree, share
    lost where they agree, worst group learned again, right where they disagree at the later `site`
    (learned again), explained variance, features with a latent.
    """
    rows, (stream, women, men) = {}, text
    for name, (sae, facts) in shelf.items():
        lean = spurious_features.leaning(sae.encode(stream), women, men)
        (first, cut, again), gone, mean = cure(model, sae, lean, *samples)
        far = judged(*above(model, sae, gone, mean, site, *samples), samples[1])
        rows[name] = cut[1] - first[1], first[0] - cut[0], again[2], far[1]
        rows[name] += facts.get("explained_variance"), facts.get("found")
    return dict(sorted(rows.items(), key=lambda pair: -pair[1][0]))


def foretold(rows: dict[str, tuple]) -> tuple[float, float, float]:
    """Correlate, by rank, what `tried` won with explained variance, and with features found.

    The third number: 97.5 % of 1,000 shuffles of the features found correlate less than this.
    """
    won, *_, explained, found = torch.tensor([*rows.values()]).T  # [a] each
    draw = torch.Generator().manual_seed(0)
    mixed = [found[torch.randperm(len(won), generator=draw)] for _ in range(1000)]
    explained, found, *mixed = (compare.in_order(won, x) for x in (explained, found, *mixed))
    return explained, found, sorted(mixed)[975]


def shelved(rows: dict[str, tuple]) -> tuple[str, figures.Plot]:
    """Show what `tried` found, as a table and as bars of the points won, with the bar of 25."""
    columns = ["won", "lost", "again: worst", "further up", "explained", "features"]
    points = torch.tensor([100 * row[0] for row in rows.values()])  # [a]
    title = f"25 points or more are won with {(points >= 25).sum()} of {len(rows)} autoencoders"
    unit = "points won where gender and job disagree"
    plot = figures.bars(points, rows, title, unit, marked=["main"], limit=25)
    return spurious_features.table(rows, columns), plot


def steered(moved: dict[int, float], lean: Tensor, bound: float) -> figures.Plot:
    """Draw by how far each latent moves the lead, with how it leans, and the bound to pass."""
    further = sum(by > bound for by in moved.values())
    title = f"From the largest effect down: {further} of {len(moved)} steer beyond the bound"
    labels = [f"{i} ({lean[i]:+.2f})" for i in moved]
    unit = "lead of she over he moves by, nats"
    return figures.bars([*moved.values()], labels, title, unit, limit=bound)


def dosed(doses: list, lead: Tensor, costs: Tensor, latent: int) -> list[figures.Plot]:
    """Draw by how far pushes of some doses (lengths of a stream) move the lead, and their cost.

    lead, costs [dose]: of the lead of one word over another, and of the loss on other text, in
    nats. A quarter and 1 must be among the doses.
    """
    some, whole, way = doses.index(0.25), doses.index(1), "push, in lengths of a stream"
    title = f"A quarter of a stream along latent {latent} moves the lead by {lead[some]:.1f} nats,"
    title += f" a whole one by {lead[whole]:.1f}"
    cost = f"On other text a quarter of a stream costs {costs[some]:.2f} nats a word, a whole one "
    cost += f"{costs[whole]:.2f}"
    lines = (title, "lead moves by", lead, "lead of she over he moves by, nats")
    below = (cost, "loss rises by", costs, "loss rises by, nats a word")
    return [figures.line(doses, {n: y}, title, way, unit) for title, n, y, unit in (lines, below)]

"""The dashboard of a latent as text and as a figure; as a page: latents_page.py.

Data are those of lessons/techniques/sae/dashboards.py; here they only get a form.
"""

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from lessons.figures import DARK, Plot, blocks, shade, sparkline, terminal_width

NUMBERS = 6  # characters before a context
LEFT = 0.6  # of a line's room, for what comes before the token


# ---- as text -------------------------------------------------------------------------------------


def text(told) -> str:
    """Write a dashboard for a terminal."""
    lines = [f"latent {told.latent} of {told.n_latents:,} at {told.site}", *wrapped(summary(told))]
    if told.count:
        lines += ["", "where it is strongest, one token of each document"]
        lines += [part for one in told.top for part in drawn(one, told.largest)]
        lines += ["", "and at random, one of each quarter of the tokens where it is on"]
        lines += [part for _, some in told.spread for part in drawn(some[0], told.largest)]
        ends = [f"{mark} {(i + 1) / 4 * told.largest:.3g}" for i, mark in enumerate(blocks())]
        lines += wrapped(f"(the number is of the token in brackets; up to: {'  '.join(ends)})")
        lines += [""]
    for name, said in parts(told):
        lines += wrapped(said, f"{name:<12}")
    return "\n".join(lines)


def parts(told) -> list[tuple[str, str]]:
    """List what is told beside the contexts, with its names."""
    if not told.count:
        return [("near", near(told))]
    at = "  ".join(f"{plain(word).strip()} {share:.0%}" for word, share in told.at)
    return [
        ("on at", f"{at}  (share of all its activation)"),
        ("how much", histogram(told)),
        ("promotes", f"{listed(told.promotes)}  (logits: the direct way only)"),
        ("suppresses", listed(told.suppresses)),
        *(ablation(told.ablation) if told.ablation else []),
        ("near", near(told)),
    ]


def summary(told) -> str:
    """Say in a sentence or two how often it is on, and at what."""
    if not told.count:
        return f"Dead: never on in {told.n_tokens:,} tokens."
    rate = f"{told.count / told.n_tokens:.2%}".replace("%", " %")
    said = f"On at {told.count:,} of {told.n_tokens:,} tokens ({rate}): "
    said += f"{told.mean:.2f} in the mean there, {told.largest:.2f} at most."
    if told.best:
        best = told.best
        said += f" Best true feature: {feature(told)}, F1 {best.f1:.2f}, where it is at least "
        said += f"{best.least:.2f} ({best.precision:.0%} of these tokens have it; they are "
        said += f"{best.recall:.0%} of all that do)."
    return said


def feature(told) -> str:
    """Write the best true feature; "" if there is none."""
    return f"{told.best.feature} = {told.best.value}" if told.best else ""


def drawn(one, largest: float) -> list[str]:
    """Draw a context in two lines: its words, and shades under those where the latent is on.

    The token that it is for stands in brackets, always in the same column.
    """
    shown = list(map(plain, one.words))
    shown[one.at] = f" [{shown[one.at].strip()}]"
    room = terminal_width() - NUMBERS
    start, stop, left = one.at, one.at, int(room * LEFT)
    while start and sum(map(len, shown[start - 1 : one.at])) <= left:
        start -= 1
    while stop < len(shown) and sum(map(len, shown[one.at : stop + 1])) <= room - left:
        stop += 1
    indent = " " * (left - sum(map(len, shown[start : one.at])))
    under = " " * NUMBERS + indent
    for word, value in zip(shown[start:stop], one.values[start:stop]):
        body = word.strip(" ")
        under += (" " * word.find(body) + shade(value / largest) * len(body)).ljust(len(word))
    number = f"{one.values[one.at]:>{NUMBERS - 1}.2f} "
    return [f"{number}{indent}{''.join(shown[start:stop])}".rstrip(), under.rstrip()]


def plain(word: str) -> str:
    """Show a token on one line: the ends of lines and tabs as signs, half a character as ?."""
    word = "BOS " if word == "<|endoftext|>" else word or "(empty)"
    word = word.encode("utf-8", "replace").decode()
    return word.replace("\n", "↵").replace("\r", "↵").replace("\t", "⇥")


def histogram(told) -> str:
    """Draw how often it is how strong, in logarithms, on one line."""
    bars = sparkline(np.log1p(told.histogram), len(told.histogram), low=0.0)
    return f"0 {bars} {told.largest:.2f}  (log counts; the highest is {max(told.histogram):,})"


def ablation(one) -> list[tuple[str, str]]:
    """Say what was measured without the latent."""
    said = f"loss {one.here:+.3f} nats at the tokens where it is on ({one.tokens:,} tokens of "
    said += f"{one.documents} documents), {one.all:+.3f} with what later tokens lose; "
    said += f"as much taken away in random directions: {one.random:+.3f}"
    fall, rise = (listed([(w, 100 * v) for w, v in some]) for some in (one.fall, one.rise))
    return [
        ("without it", said),
        ("", f"next words that fall (points of a per cent)  {fall}"),
        ("", f"next words that rise  {rise}"),
    ]


def near(told) -> str:
    """Name the nearest latents, and those that are on at the same tokens."""
    alike = "  ".join(f"{latent} ({cosine:.2f})" for latent, cosine in told.near)
    said = f"by direction (cosine)  {alike}"
    if told.together:
        shares = "  ".join(f"{latent} ({share:.0%})" for latent, share in told.together)
        said += f";  on at the same tokens  {shares}"
    return said


def listed(words: list[tuple[str, float]]) -> str:
    """Write words with their numbers, on one line; none whose number is 0.00."""
    told = (f"{plain(word).strip()} {v:+.2f}" for word, v in words if abs(v) >= 0.005)
    return "  ".join(told) or "none"


def wrapped(said: str, first: str = "") -> list[str]:
    """Wrap a text to the terminal."""
    style = {"initial_indent": first, "subsequent_indent": " " * len(first)}
    return textwrap.wrap(said, terminal_width(), **style, break_long_words=False)


# ---- as a figure ---------------------------------------------------------------------------------


def plot(told) -> Plot:
    """Draw a dashboard: contexts on the left; on the right how much, and what it says."""
    figure = Figure(figsize=(11, 5.6), dpi=140, layout="constrained")
    figure.suptitle(textwrap.fill(title(told), 120), fontsize=11, ha="left", x=0.01)
    if not told.count:
        figure.text(0.5, 0.5, f"never on in {told.n_tokens:,} tokens", ha="center")
        return Plot(title(told), figure, text(told))
    axes = figure.subplot_mosaic(
        [["contexts", "how much"], ["contexts", "words"]], width_ratios=[2.6, 1]
    )
    draw_contexts(axes["contexts"], told)
    draw_histogram(axes["how much"], told)
    draw_words(axes["words"], told)
    return Plot(title(told), figure, text(told))


def title(told) -> str:
    """Say the finding in one line."""
    if not told.count:
        return f"Latent {told.latent} is dead"
    said = f"Latent {told.latent} is on at {told.count / told.n_tokens:.2%} of the tokens"
    if told.best:
        said += f"; best true feature: {feature(told)} (F1 {told.best.f1:.2f})"
    return said


def draw_contexts(axes, told, before=62, after=44) -> None:
    """Write contexts, tokens shaded by activation; what they are for stands in a column, bold."""
    groups = [("strongest, one of each document", told.top), *told.spread]
    lines = [line for name, some in groups for line in [name, *some]]
    axes.set(xlim=(-before - 6, after), ylim=(len(lines) - 0.4, -0.6))
    axes.axis("off")
    style = {"fontsize": 7, "va": "center"}
    for row, line in enumerate(lines):
        if isinstance(line, str):
            axes.text(-before - 6, row, line, color="#555555", **style)
            continue
        axes.text(-before - 1, row, f"{line.values[line.at]:.2f}", ha="right", **style)
        for x, word, value, bold in placed(line, before, after):
            box = {"color": DARK, "alpha": 0.45 * value / told.largest, "lw": 0}
            axes.add_patch(Rectangle((x, row - 0.42), len(word), 0.84, **box))
            weight = "bold" if bold else "normal"
            axes.text(x, row, word, family="monospace", weight=weight, **style)


def placed(one, before: int, after: int):
    """Give each word of a context its column, 0 for the one that it is for; leave out the rest."""
    words = [plain(word).strip(" ") + " " for word in one.words]
    x = -sum(map(len, words[: one.at]))
    for i, (word, value) in enumerate(zip(words, one.values)):
        if -before <= x and x + len(word) <= after:
            yield x, word.rstrip(), value, i == one.at
        x += len(word)


def draw_histogram(axes, told) -> None:
    """Draw how often the latent is how strong; counts in logarithms."""
    step = told.largest / len(told.histogram)
    left = [i * step for i in range(len(told.histogram))]
    axes.bar(left, told.histogram, step, align="edge", color=DARK, ec="white", lw=0.3, log=True)
    axes.set_ylim(bottom=0.7)  # so that one token can be seen
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("activation", fontsize=8)
    axes.set_ylabel("tokens", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def draw_words(axes, told) -> None:
    """Draw what the latent adds to the logits of the words that it promotes and suppresses."""
    shown = told.promotes + told.suppresses[::-1]
    numbers = [number for _, number in shown]
    axes.barh(range(len(shown)), numbers, color=[DARK if v > 0 else "#c46a1b" for v in numbers])
    axes.set_yticks(range(len(shown)), [plain(word).strip() for word, _ in shown], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xlabel("logits, the direct way only", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)

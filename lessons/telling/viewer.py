"""The attention viewer: every head of a prompt as a small picture, and the one you open in full.

    patterns = torch.stack([cache["pattern", i][0] for i in range(cfg.n_layers)])
    lesson.show(attention(model.to_str_tokens(PROMPT), patterns, "Who looks where?"), "heads")

On the lesson's page, and in a notebook, heads open with a click, a tap or the arrow keys, and cells
and tokens answer when they are pointed at. On the terminal it is a table of where the last token
looks, and out/NN/heads.png has all heads in one picture.
"""

from dataclasses import dataclass
from html import escape

import numpy as np

from lessons.figures import Plot, as_array, blank, terminal_width, token_labels
from lessons.telling import live, page

DECIMALS = 3  # of a share, wherever it is shown
FRAME = """\
<iframe srcdoc="{document}" title="{title}" style="width: 100%; height: 40rem; border: 0"></iframe>
<details><summary>the same as text</summary><pre>{text}</pre></details>"""
FIT = """\
<script>
const fit = () => { frameElement.style.height = `${document.body.scrollHeight + 20}px`; };
if (frameElement) new ResizeObserver(fit).observe(document.body);
</script>"""


@dataclass
class Attention(Plot):
    """A Plot that a notebook shows as the viewer itself."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n(to open the heads: the page named at the end)"

    def _repr_html_(self) -> str:
        body = f"{live.viewer(self)}\n{live.scripts([self])}\n{FIT}"
        document = page.document(self.title, page.STYLE + live.style([self]), body)
        parts = {"document": document, "title": self.title, "text": str(self)}
        return FRAME.format(**{name: escape(part) for name, part in parts.items()})


def attention(tokens, patterns, title: str, opened=None) -> Attention:
    """Show the attention patterns of all heads, [layer head q k], over a prompt's p tokens.

    `tokens` are texts as `model.to_str_tokens` gives them (labels numbered by `token_labels` do
    too). `opened` is the (layer, head) that stands open at first: without it, the one whose last
    token puts most on one earlier token other than BOS. Raises ValueError for other shapes, and for
    numbers that are no shares or look into the future, and for a head that is not there.
    """
    patterns = as_array(patterns)
    refuse(tokens, patterns)
    numbered = all(str(token).startswith(f"{i} ") for i, token in enumerate(tokens))
    labels = [visible(label) for label in (tokens if numbered else token_labels(tokens))]
    strongest = strength(patterns, labels)
    opened = opened or divmod(int(strongest.argmax()), patterns.shape[1])
    if len(opened) != 2 or not all(0 <= i < n for i, n in zip(opened, strongest.shape)):
        layers, heads = strongest.shape
        raise ValueError(f"opened is {tuple(opened)}; there are {layers} layers of {heads} heads")
    rows, columns = np.tril_indices(len(labels))
    shares = [[live.whole([head[rows, columns]], DECIMALS)["values"][0] for head in layer]
              for layer in patterns]  # fmt: skip
    data = {"title": title, "tokens": labels, "opened": [int(i) for i in opened]}
    data |= {"decimals": DECIMALS, "patterns": shares}
    return Attention(title, sheet(patterns, title), text(patterns, labels, strongest), data)


def refuse(tokens, patterns: np.ndarray) -> None:
    """Raise ValueError, in words, for what are no patterns of these tokens."""
    n_tokens = len(tokens)
    if not all(isinstance(token, str) for token in tokens):
        raise ValueError("tokens are texts: model.to_str_tokens makes them of ids")
    shape = f"[{' '.join(map(str, patterns.shape))}]"
    if patterns.ndim != 4:
        raise ValueError(f"patterns have shape {shape}; expected [layer head q k], of one prompt")
    if patterns.shape[2:] != (n_tokens, n_tokens) or not patterns.size:
        raise ValueError(f"patterns have shape {shape}, and there are {n_tokens} tokens")
    if not ((patterns >= 0) & (patterns <= 1 + 1e-4)).all():
        raise ValueError("patterns hold shares, from 0 to 1: these are others (scores, or nan)")
    if np.triu(patterns, k=1).any():
        raise ValueError("a token looks at a later one: a causal model's patterns are 0 there")


def visible(label: str) -> str:
    """Show the ends of lines and tabs, half a character as ?, and that a token is empty."""
    label = label.encode("utf-8", "replace").decode()
    label = label.replace("\n", "↵").replace("\r", "↵").replace("\t", "⇥")
    return label if label.rstrip(" ").count(" ") else f"{label.rstrip()} (empty)"


def strength(patterns: np.ndarray, labels) -> np.ndarray:
    """Find for each head [layer head] what the last token puts on one earlier token, BOS aside."""
    shares = patterns[:, :, -1, labels[0].endswith(" BOS") : -1]
    return shares.max(-1) if shares.shape[-1] else patterns[:, :, -1, -1]


def text(patterns: np.ndarray, labels, strongest: np.ndarray, most: int = 12) -> str:
    """Tell where the last token looks, of all heads or, of many, of the strongest."""
    n_heads = patterns.shape[1]
    chosen = sorted((-strongest.flatten()).argsort(kind="stable")[:most])
    lines = [f"where the last token, {labels[-1]}, looks (shares; those under 0.1 are left out)"]
    for layer, head in (divmod(int(i), n_heads) for i in chosen):
        shares = patterns[layer, head, -1]
        top = [i for i in (-shares).argsort(kind="stable")[:4] if shares[i] >= 0.1]
        told = "   ".join(f"{labels[i]} {shares[i]:.2f}" for i in top)
        lines.append(f"L{layer}H{head}".ljust(8) + told[: terminal_width() - 8])
    if most < strongest.size:
        lines.append(
            f"({most} of {strongest.size} heads: those that put most on one earlier token)"
        )
    return "\n".join(lines)


def sheet(patterns: np.ndarray, title: str):
    """Draw all patterns in one picture, a line of heads per layer."""
    n_layers, n_heads, p, _ = patterns.shape
    cell = p + max(2, p // 8)  # and a gap
    tiles = np.full((n_layers * cell, n_heads * cell), np.nan)
    for (layer, head), _ in np.ndenumerate(patterns[:, :, 0, 0]):
        top, left = layer * cell, head * cell
        tiles[top : top + p, left : left + p] = patterns[layer, head]
    side = min(1.6, 8.0 / n_heads)
    size = (max(4.5, n_heads * side + 1.9), n_layers * side + 0.9)
    figure, axes = blank(title, "head", "layer", size)
    image = axes.imshow(tiles, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    middle = (p - 1) / 2
    axes.set_xticks([h * cell + middle for h in range(n_heads)], [f"H{h}" for h in range(n_heads)])
    axes.set_yticks(
        [i * cell + middle for i in range(n_layers)], [f"L{i}" for i in range(n_layers)]
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="attention (share)", fraction=0.03)
    return figure

"""All latents of an autoencoder as one HTML file, to browse and search; it needs nothing else.

A table of all latents sorts by any column and is searched by word, true feature or number; the one
that is chosen stands beside it in full, and #latent=17 at the end of the address opens that one.
What it shows are the numbers of lessons/techniques/sae/dashboards.py, as whole ones of 10^-2 or
10^-3; the texts stand on the page once, and a context says only where in them it is. latents.js
and latent.js draw it, latents.css is its style.
"""

from html import escape

from lessons.telling import live, page
from lessons.telling.latents import feature, plain

GUESS = """ Guess first: the box hides what is true. F1 is of this
same text, at the best of all thresholds: on other text it is lower."""
INTRO = """\
<h1>{title}</h1>
<p class="soft">Each latent is a direction that the autoencoder found at {site}, over {n_tokens:,}
tokens of text. Choose one to see where it is on. A name is yours to give: look at the weaker
quarters too, not only at the strongest contexts.{guess} Search by a word, a true feature or a
number; sort by a click on a column's head. Keys: <kbd>/</kbd> to search, arrows to go from one to
the next.</p>
<noscript><p>This page needs JavaScript to draw its table. Without it, a single latent is told as
text by lessons/techniques/sae/dashboards.py.</p></noscript>"""


def html(told: list, lost: list[float], documents: int, tokens, word) -> str:
    """Write the page of some dashboards (not empty).

    `lost`: what was measured without each latent, in nats, in so many `documents`; [] if nothing
    was. tokens [b p] are those of the text, `word` is a function that writes one.
    """
    first = told[0]
    title = f"{first.n_latents:,} latents of {first.site}"
    guess = GUESS if any(map(feature, told)) else ""
    names = {"title": escape(title), "site": escape(first.site), "guess": guess}
    intro = INTRO.format(**names, n_tokens=first.n_tokens)
    ids: dict[str, int] = {}  # by text: several tokens may be written alike
    texts = [[ids.setdefault(plain(word(token)), len(ids)) for token in row if token >= 0]
             for row in tokens.tolist()]  # fmt: skip
    features = sorted({feature(one) for one in told} - {""})
    data = {"n_tokens": first.n_tokens, "documents": documents if lost else 0, "texts": texts}
    rows = [row(one, features, ids) for one in told]
    for one, value in zip(rows, lost):
        one["lost"] = whole(value, 3) if value == value else None  # nan: dead
    data |= {"features": features, "words": list(ids), "latents": rows}
    scripts = "\n".join(f"<script>\n{own(name)}</script>" for name in ("latent.js", "latents.js"))
    body = f'{intro}\n<main class="latents"></main>\n{live.as_json(data, "data")}\n{scripts}'
    return page.document(title, page.STYLE + own("latents.css"), body)


def own(name: str) -> str:
    """Read a file of the page."""
    return (live.HERE / name).read_text(encoding="utf-8")


def row(one, features: list[str], ids: dict[str, int]) -> dict:
    """Write one dashboard as whole numbers; words by their number, which `ids` may gain."""

    def listed(pairs):
        return [[ids.setdefault(plain(w), len(ids)), whole(v)] for w, v in pairs]

    told = {"n": one.latent, "count": one.count, "near": [[i, whole(v)] for i, v in one.near]}
    if not one.count:
        return told
    told |= {"mean": whole(one.mean), "most": whole(one.largest), "bins": one.histogram}
    told |= {"at": listed(one.at), "up": listed(one.promotes), "down": listed(one.suppresses)}
    told["with"] = [[i, whole(share)] for i, share in one.together]
    if one.best:
        told["best"] = [features.index(feature(one)), *map(whole, one.best[2:])]
    told["seen"] = [[context(each) for each in some] for some in
                    [one.top, *(some for _, some in one.spread)]]  # fmt: skip
    return told


def context(one) -> list:
    """Write a context: document, first position, how many tokens, which; then [token, activation]
    wherever the latent is on."""
    on = [[i, whole(value)] for i, value in enumerate(one.values) if value]
    return [one.document, one.start, len(one.words), one.at, on]


def whole(number: float, decimals: int = 2) -> int:
    """Write a number as a whole one of 10^-decimals."""
    return round(number * 10**decimals)

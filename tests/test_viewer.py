"""Heat maps and the attention viewer answer on a page: what they show is what was measured.

With a Chromium on the machine the page is used as a reader uses it, with a mouse, a finger or the
keyboard; without one those tests are skipped. The numbers are held against the world model's cache.
"""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from lessons import figures
from lessons.telling import live, page, story
from lessons.telling.viewer import attention
from minimech import HookedTransformer
from tests.clones import ROOT

PROMPT = "When John and Mary went to the store, John gave a drink to"
EVIL = [
    "<|endoftext|>",
    "</script>",
    '"',
    "'><img src=x onerror=alert(1)>",
    "\n",
    "",
    " \u2028&amp;",
]
EVIL += ["<!--", "\\", "\ud800", " 🙂"]
AXES = {"xlabel": "position", "ylabel": "layer", "unit": "logit difference"}


def written(items: list, intro="Who looks where?") -> str:
    """Write the page of a run that showed these items, through the same door as a lesson."""
    cells = [page.Cell(1, "A cell", "Some prose.", "code()")]
    return page.html(
        SimpleNamespace(
            story=SimpleNamespace(intro=intro, cells=cells, told=1),
            log=[(0, item) for item in items],
            rows=[{key: "" for key in page.COLUMNS.values()} | {"gap": "", "status": "ok"}],
            asker=SimpleNamespace(answers=[]),
            summary="Rows: 1 ok.",
            account="",
        )
    )


def random_patterns(n_layers: int, n_heads: int, p: int) -> torch.Tensor:
    scores = torch.randn(n_layers, n_heads, p, p, generator=torch.Generator().manual_seed(0)) * 3
    future = torch.ones(p, p).triu(1).bool()
    return scores.masked_fill(future, float("-inf")).softmax(-1)


def data_of(html: str, name: str) -> list[dict]:
    """Read the JSON that stands on a page."""
    pattern = rf'<script type="application/json" class="{name}">(.*?)</script>'
    return [json.loads(text) for text in re.findall(pattern, html, re.DOTALL)]


@pytest.fixture(scope="module")
def world() -> SimpleNamespace:
    """One prompt of the world model: its labels and patterns [layer head q k], and both items."""
    if not (ROOT / "weights" / "world" / "model.safetensors").exists():
        pytest.skip("weights/world is not here")
    model = HookedTransformer.from_pretrained("world")
    with torch.no_grad():
        _, cache = model.run_with_cache(PROMPT)
    patterns = torch.stack([cache["pattern", i][0] for i in range(model.cfg.n_layers)])
    tokens = model.to_str_tokens(PROMPT)
    heads = attention(tokens, patterns, "All heads", opened=(1, 1))
    return SimpleNamespace(
        tokens=tokens, labels=figures.token_labels(tokens), patterns=patterns, heads=heads
    )


def some_map(n_rows=5, n_columns=9, **more) -> figures.Plot:
    values = np.random.default_rng(0).normal(size=(n_rows, n_columns)) * 3
    rows, columns = [f"L{i}" for i in range(n_rows)], [f"{i} ·word" for i in range(n_columns)]
    return figures.heatmap(values, rows, columns, "A title", **AXES, signed=True, **more)


# ---- without a browser ---------------------------------------------------------------------------


def test_the_pages_numbers_are_the_patterns_own(world):
    data = data_of(written([world.heads]), "attention")[0]
    assert data["tokens"] == world.labels and data["opened"] == [1, 1]
    rows, columns = np.tril_indices(len(world.labels))
    shares = np.array(data["patterns"]) / 10 ** data["decimals"]  # [layer head cells]
    assert np.abs(shares - world.patterns.numpy()[:, :, rows, columns]).max() <= 0.0005 + 1e-7


def test_the_head_that_stands_open_looks_most_at_one_earlier_word():
    patterns = torch.zeros(2, 2, 3, 3)
    patterns[..., 0] = 1  # every token of every head on BOS
    patterns[0, 1, 2] = torch.tensor([0.5, 0.1, 0.4])  # at itself
    patterns[1, 0, 2] = torch.tensor([0.7, 0.3, 0.0])  # at the word before
    tokens = ["<|endoftext|>", " a", " b"]
    assert attention(tokens, patterns, "t").live["opened"] == [1, 0]
    assert attention(tokens, patterns, "t", opened=(0, 1)).live["opened"] == [0, 1]
    assert attention([" a"], torch.ones(1, 1, 1, 1), "t").live["opened"] == [0, 0]


def test_as_text_it_says_where_the_last_token_looks(world):
    lines = str(world.heads).splitlines()
    assert lines[0] == "All heads" and "the page named at the end" in lines[-1]
    told = next(line for line in lines if line.startswith("L1H1"))
    share = world.patterns[1, 1, -1, 4].item()
    assert told.startswith(f"L1H1    4 ·Mary {share:.2f}   2 ·John") and len(lines) == 2 + 1 + 6 + 1
    many = str(attention([" a"] * 20, random_patterns(12, 12, 20), "many"))
    assert "(12 of 144 heads" in many and len(many.splitlines()) < 20
    assert max(map(len, many.splitlines())) <= 100


def test_labels_that_are_numbered_already_are_not_numbered_again(world):
    again = attention(world.labels, world.patterns, "t")
    assert again.live["tokens"] == world.heads.live["tokens"]


@pytest.mark.parametrize(
    "shape, change, message",
    [
        ((2, 3, 3), None, r"patterns have shape \[2 3 3\]; expected \[layer head q k\]"),
        ((1, 2, 4, 4), None, r"patterns have shape \[1 2 4 4\], and there are 3 tokens"),
        ((0, 2, 3, 3), None, r"patterns have shape \[0 2 3 3\]"),
        ((1, 2, 3, 3), float("nan"), "others .scores, or nan"),
        ((1, 2, 3, 3), -1.0, "others .scores, or nan"),
        ((1, 2, 3, 3), 1.2, "others .scores, or nan"),
    ],
)
def test_what_are_no_patterns_is_refused_in_words(shape, change, message):
    patterns = torch.zeros(shape)
    if change is not None:
        patterns[0, 0, 1, 0] = change
    with pytest.raises(ValueError, match=message):
        attention(["a", "b", "c"], patterns, "t")


def test_a_head_that_is_not_there_cannot_stand_open():
    with pytest.raises(ValueError, match=r"opened is \(1, 2\); there are 2 layers of 2 heads"):
        attention(["a"] * 3, random_patterns(2, 2, 3), "t", opened=(1, 2))
    with pytest.raises(ValueError, match=r"opened is \(1,\)"):
        attention(["a"] * 3, random_patterns(2, 2, 3), "t", opened=(1,))
    with pytest.raises(ValueError, match="tokens are texts"):
        attention([5, 6, 7], random_patterns(2, 2, 3), "t")


def test_half_a_character_can_be_written():
    heads = attention(["\ud800", "b", "c"], random_patterns(2, 2, 3), "t")
    assert heads.live["tokens"][0].endswith("?") and str(heads).encode("utf-8")


def test_a_look_into_the_future_is_refused():
    with pytest.raises(ValueError, match="a token looks at a later one"):
        attention(["a", "b"], torch.full((1, 1, 2, 2), 0.5), "t")


@pytest.mark.parametrize(
    "values, decimals, whole",
    [
        ([[0.12345, 1.0]], 4, [[1234, 10000]]),
        ([[1.05, -0.5]], 3, [[1050, -500]]),
        ([[-10.126, 3]], 2, [[-1013, 300]]),
        ([[3, -12]], 0, [[3, -12]]),
        ([[0.00321]], 6, [[3210]]),
        ([[12345.678]], 0, [[12346]]),
        ([[float("nan"), 0.5], [float("inf"), 0.25]], 4, [[None, 5000], [None, 2500]]),
        ([[0.0]], 0, [[0]]),
        ([[float("nan")]], 0, [[None]]),
    ],
)
def test_a_heat_maps_numbers_have_four_digits(values, decimals, whole):
    assert live.whole(values) == {"decimals": decimals, "values": whole}


def test_no_token_ends_the_data_or_becomes_an_element():
    p = len(EVIL)
    title = '<b>bold</b> </script> "title"'
    html = written([attention(EVIL, random_patterns(1, 1, p), title)])
    assert len(data_of(html, "attention")) == 1 and data_of(html, "attention")[0]["title"] == title
    labels = data_of(html, "attention")[0]["tokens"]
    assert labels[0] == "0 BOS" and labels[1] == "1 </script>" and labels[4] == "4 ↵"
    assert labels[5] == "5 (empty)" and labels[9] == "9 ?"
    assert "<img" not in html and "<b>bold" not in html and html.count("<!--") == 0
    html.encode()  # a lone surrogate would have no place in UTF-8


def test_any_token_can_be_a_label(recwarn):
    """GPT-2 has tokens that would be formulas, and letters that the font does not have."""
    rows, columns = [" $$", "#$#$"], ["中", "\N{WASTEBASKET}"]
    assert figures.heatmap([[1, 2], [3, 4]], rows, columns, "costs $5", "x", "y", "u").png
    assert not recwarn.list


def test_a_page_without_live_figures_has_no_script():
    html = written([figures.bars([1.0], ["one"], "a title", "x"), "text"])
    assert "<script" not in html and "attention" not in html and ".tip" not in html


def test_a_page_has_the_scripts_that_it_needs_each_once(world):
    count = {name: (live.HERE / name).read_text() for name in ("hover.js", "viewer.js")}
    for items, hovers, viewers in (
        ([some_map(), some_map(), "text"], 1, 0),
        ([world.heads, world.heads], 0, 1),
        ([world.heads, some_map()], 1, 1),
    ):
        html = written(items)
        assert (html.count(count["hover.js"]), html.count(count["viewer.js"])) == (hovers, viewers)


def test_a_page_grows_little():
    plots = [some_map(12, 15) for _ in range(10)]
    plain = [figures.Plot(plot.title, plot.figure, plot.text) for plot in plots]
    grown = len(written(plots)) - len(written(plain))
    assert grown < 10 * 2_000 + 12_000  # 2 KB each, and script and style once
    tokens = [" token"] * 20
    assert len(written([attention(tokens, random_patterns(12, 12, 20), "t")])) < 130_000


def test_a_page_names_nothing_outside_itself(world):
    html = written([world.heads, some_map()])
    assert "default-src 'none'" in html and "http:" not in html and "https:" not in html
    assert set(re.findall(r'(?:src|href)="(.{5})', html)) == {"data:"}
    assert "@import" not in html and "url(" not in html


def test_all_heads_are_one_picture(world, tmp_path):
    (tmp_path / "heads.png").write_bytes(world.heads.png)
    picture = imread(tmp_path / "heads.png")
    assert min(picture.shape[:2]) > 200 and picture[..., :3].std() > 0.05
    sheet = world.heads.figure.axes[0].images[0].get_array()
    p, cell = len(world.labels), len(world.labels) + 2
    assert np.allclose(sheet[cell : cell + p, :p], world.patterns[1, 0])


def test_a_notebook_shows_the_viewer_itself_and_a_heat_map_as_a_picture(world, monkeypatch):
    shown = []
    tools = SimpleNamespace(display=shown.append, Image=lambda data, alt: (data[:4], alt))
    monkeypatch.setattr(story, "notebook", lambda: True)
    monkeypatch.setattr(story.importlib, "import_module", lambda name: tools)
    telling = story.Story.__new__(story.Story)
    telling.show(world.heads)
    telling.show(some_map())
    assert shown == [world.heads, (b"\x89PNG", "A title")]
    html = world.heads._repr_html_()
    assert html.startswith("<iframe srcdoc=") and "<details>" in html and "4 ·Mary 0.77" in html


def luminance(colour: str) -> float:
    """Return a colour's relative luminance (WCAG 2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("which", [0, 1], ids=["light", "dark"])
def test_texts_stand_out_from_what_they_stand_on(which):
    style = page.STYLE + (live.HERE / "viewer.css").read_text()
    colour = {
        name: re.findall(rf"--{name}: (#\w+)", style)[which]
        for name in ("ink", "soft", "paper", "mark", "edge")
    }
    for text, ground, least in [
        ("ink", "mark", 4.5),  # a token that is fully looked at
        ("ink", "paper", 4.5),
        ("soft", "paper", 4.5),
        ("edge", "paper", 3),  # the frame of what is chosen
    ]:
        bright, dark = sorted((luminance(colour[text]), luminance(colour[ground])), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= least, (text, ground)


# ---- in a browser --------------------------------------------------------------------------------

READOUT = (
    "[...document.querySelectorAll('.attention output > *')].map(e => e.textContent).join(' ')"
)
CELLS = "[...document.querySelectorAll('.attention [role=gridcell]')].map(e => e.ariaLabel)"
TIP = "document.querySelector('.tip').hidden ? '' : document.querySelector('.tip').innerText"
FOCUS = "document.activeElement.ariaLabel"
FULL = "document.querySelector('.figure input').checked"
IMAGE = "document.querySelector('.figure img')"


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page of some items in the browser; at the end, nothing left it and nothing failed."""
    browser.requests.clear()
    browser.errors.clear()

    def show(items: list, **window):
        file = tmp_path / "index.html"
        file.write_text(written(items), encoding="utf-8")
        browser.open(file, **window)
        return browser

    yield show
    allowed = ("data:", (tmp_path / "index.html").as_uri())
    assert browser.requests and all(url.startswith(allowed) for url in browser.requests)
    assert not browser.errors


def says(world, layer: int, head: int, q: int, k: int) -> str:
    """Write what the readout must say of a cell, from the cache."""
    share = f"{world.patterns[layer, head, q, k].item():.3f}"
    return f"L{layer}H{head} from {world.labels[q]} to {world.labels[k]} {share}"


def head_button(layer: int, head: int) -> str:
    return f"document.querySelector('.heads [aria-label=L{layer}H{head}]')"


def test_a_click_opens_a_head_with_the_caches_numbers(world, opened):
    browser = opened([world.heads])
    n = len(world.labels)
    for layer, head in np.ndindex(*world.patterns.shape[:2]):
        browser.click(*browser.middle(head_button(layer, head)))
        labels = browser.run(CELLS)
        pairs = [(q, k) for q in range(n) for k in range(q + 1)]
        assert labels == [says(world, layer, head, q, k)[5:] for q, k in pairs]
        k = int(world.patterns[layer, head, -1].argmax())
        assert browser.run(READOUT) == says(world, layer, head, n - 1, k)
        assert browser.run(f"{head_button(layer, head)}.ariaChecked") == "true"


def test_a_cell_that_is_pointed_at_shows_until_the_pointer_goes_and_a_clicked_one_stays(
    world, opened
):
    browser = opened([world.heads])
    before = browser.run(READOUT)
    cell = "document.querySelectorAll('.attention [role=gridcell]')[{}]"
    browser.move(*browser.middle(cell.format(10 * 11 // 2 + 6)))
    assert browser.run(READOUT) == says(world, 1, 1, 10, 6)
    marked = (
        "[...document.querySelectorAll('.attention table .at')].map(e => e.ariaLabel || e.title)"
    )
    assert browser.run(marked) == ["10 ·John", says(world, 1, 1, 10, 6)[5:], "6 ·to"]
    browser.move(2, 2)
    assert browser.run(READOUT) == before
    browser.click(*browser.middle(cell.format(10 * 11 // 2 + 6)))
    browser.move(2, 2)
    assert browser.run(READOUT) == says(world, 1, 1, 10, 6)
    browser.click(*browser.middle(head_button(0, 1)))
    assert browser.run(READOUT) == says(world, 0, 1, 10, 6)  # the same cell of another head


def test_a_token_that_is_pointed_at_shows_where_it_looks(world, opened):
    browser = opened([world.heads])
    word = "document.querySelectorAll('.attention .tokens button')[{}]"
    browser.run(f"{head_button(0, 1)}.click()")
    browser.move(*browser.middle(word.format(10)))
    words = "[...document.querySelectorAll('.attention .tokens button')]"
    shares = browser.run(f"{words}.map(e => +e.style.getPropertyValue('--share'))")
    assert np.abs(np.array(shares) - world.patterns[0, 1, 10].numpy()).max() <= 0.0005 + 1e-7
    assert browser.run(f"{words}.map(e => e.className)") == [""] * 10 + ["looks"] + ["later"] * 4
    k = int(world.patterns[0, 1, 10].argmax())
    assert browser.run(READOUT) == says(world, 0, 1, 10, k)
    small = browser.run(f"{words}.map(e => e.querySelector('small').textContent)")
    wanted = [share.item() for share in world.patterns[0, 1, 10]]
    assert small == [f"{s:.3f}".removeprefix("0") if s >= 0.05 else "" for s in wanted]
    assert browser.run(f"getComputedStyle({word.format(k)}).backgroundColor") != browser.run(
        f"getComputedStyle({word.format(0)}).backgroundColor"
    )
    browser.move(2, 2)
    k = int(world.patterns[0, 1, 14].argmax())
    assert browser.run(READOUT) == says(world, 0, 1, 14, k)


def test_the_keyboard_alone_reaches_everything(world, opened):
    browser = opened([world.heads])
    browser.press("Tab")  # the tokens
    assert browser.run(FOCUS) == "14 ·to"
    browser.press("ArrowLeft", 4)
    assert browser.run(FOCUS) == "10 ·John"
    k = int(world.patterns[1, 1, 10].argmax())
    assert browser.run(READOUT) == says(world, 1, 1, 10, k)
    browser.press("Tab")  # the heads
    assert browser.run(FOCUS) == "L1H1"
    browser.press("ArrowUp")
    browser.press("ArrowRight")
    browser.press("ArrowRight")  # there is none
    browser.press("Enter")
    assert browser.run(FOCUS) == "L0H2" and browser.run(READOUT).startswith("L0H2 from 10 ·John")
    browser.press("Tab")  # the cells
    k = int(world.patterns[0, 2, 10].argmax())
    assert browser.run(FOCUS) == says(world, 0, 2, 10, k)[5:]
    browser.press("ArrowDown")
    browser.press("ArrowRight", 20)  # no further than the token itself
    assert browser.run(READOUT) == says(world, 0, 2, 11, 11)
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.run(outline) == "solid"
    browser.press("Tab")  # and out again
    assert browser.run("document.activeElement.closest('.attention')") is None


def test_the_small_pictures_are_the_patterns(world, opened):
    browser = opened([world.heads])
    n = len(world.labels)
    for layer, head in [(0, 0), (1, 2)]:
        drawn = browser.run(
            f"(() => {{ const c = {head_button(layer, head)}.firstChild, s = c.width / {n}; "
            f"const cells = [...Array({n * n}).keys()]; return cells.map(i => c.getContext('2d')"
            f".getImageData(i % {n} * s + s / 2, Math.floor(i / {n}) * s + s / 2, 1, 1).data[3]) "
            "})()"
        )  # how opaque the middle of each cell is
        shares = world.patterns[layer, head].flatten().numpy()
        assert np.abs(np.array(drawn) / 255 - shares).max() < 0.005


def test_a_tap_opens_a_head_and_reads_a_cell(world, opened):
    browser = opened([world.heads], width=375, touch=True)
    browser.tap(*browser.middle(head_button(0, 0)))
    assert browser.run(READOUT).startswith("L0H0")
    cell = f"document.querySelectorAll('.attention [role=gridcell]')[{9 * 10 // 2 + 2}]"
    browser.tap(*browser.middle(cell))
    assert browser.run(READOUT) == says(world, 0, 0, 9, 2)


def test_tokens_of_every_kind_are_shown_as_they_are(opened):
    browser = opened([attention(EVIL, random_patterns(1, 2, len(EVIL)), "<i>t</i>")])
    shown = browser.run("[...document.querySelectorAll('.tokens span')].map(e => e.textContent)")
    assert shown[1:4] == [token.replace(" ", "·") for token in EVIL[1:4]]
    assert shown[4:6] == ["↵", "(empty)"] and shown[7] == "<!--"
    assert browser.run("document.querySelectorAll('img, figcaption *').length") == 0


def places(plot, row: int, column: int) -> tuple[float, float]:
    """Return where in the picture a cell's middle is, in shares, as matplotlib drew it."""
    x, y = plot.figure.axes[0].transData.transform((column, row))
    width, height = plot.figure.canvas.get_width_height()
    return x / width, 1 - y / height


def test_a_heat_map_says_what_the_pointed_cell_holds(opened):
    plot = some_map(12, 15)
    browser = opened([plot])
    values = plot.live["values"]
    for zoomed in (False, True):
        assert browser.run(FULL) == zoomed
        for row, column in [(0, 0), (11, 14), (3, 9), (8, 0), (11, 4)]:
            browser.run(f"{IMAGE}.parentNode.scrollLeft = {column * 40}")  # once it has grown
            browser.move(*browser.middle(IMAGE, *places(plot, row, column)))
            number = f"{values[row, column]:.3f}"
            told = f"logit difference: {number}\nlayer: L{row}\nposition: {column} ·word"
            assert browser.run(TIP) == told
        browser.move(*browser.middle(IMAGE, *places(plot, 12, 4)))  # below the last row
        assert browser.run(TIP) == ""
        browser.move(*browser.middle(IMAGE, *places(plot, 3, 3)))
        assert browser.run(TIP) != ""
        browser.move(2, 2)  # beside the picture
        assert browser.run(TIP) == ""
        browser.click(*browser.middle(IMAGE, *places(plot, 3, 3)))  # grows it, as ever


def test_the_frame_of_a_heat_map_is_round_the_cell(opened):
    plot = some_map(5, 9)
    browser = opened([plot])
    browser.move(*browser.middle(IMAGE, *places(plot, 2, 7)))
    frame = browser.run(
        "(() => { const f = document.querySelector('i.cell').getBoundingClientRect(), "
        f"i = {IMAGE}.getBoundingClientRect(); "
        "return [(f.left - i.left) / i.width, (f.top - i.top) / i.height, "
        "(f.right - i.left) / i.width, (f.bottom - i.top) / i.height] })()"
    )
    corners = [*places(plot, 1.5, 6.5), *places(plot, 2.5, 7.5)]
    assert np.abs(np.array(frame) - corners).max() < 0.004


def test_a_cell_without_a_number_says_nothing(opened):
    square = np.random.default_rng(0).random((6, 6))
    plot = figures.heatmap(
        square, list("abcdef"), list("abcdef"), "t", "", "", "share", causal=True
    )
    browser = opened([plot])
    browser.move(*browser.middle(IMAGE, *places(plot, 4, 2)))
    assert browser.run(TIP) == f"share: {square[4, 2]:.4f}\ne\nc"
    browser.move(*browser.middle(IMAGE, *places(plot, 2, 4)))
    assert browser.run(TIP) == ""


def test_the_keyboard_alone_reads_a_heat_map(opened):
    plot = some_map()
    browser = opened([plot])
    browser.press("Tab")
    assert browser.run("document.activeElement.type") == "checkbox" and browser.run(TIP) == ""
    browser.press("Tab")
    assert browser.run(FOCUS) == "A title. Arrow keys read the cells."
    browser.press("ArrowDown", 3)
    browser.press("ArrowRight", 2)
    browser.press("ArrowLeft")
    assert browser.run(TIP).splitlines()[0] == f"logit difference: {plot.live['values'][3, 1]:.3f}"
    browser.press("Escape")
    assert browser.run(TIP) == "" and not browser.run(FULL)


def test_a_tap_reads_a_cell_and_a_second_grows_the_picture(opened):
    plot = some_map(12, 15)
    browser = opened([plot], width=375, touch=True)
    browser.tap(*browser.middle(IMAGE, *places(plot, 3, 9)))
    assert browser.run(TIP).splitlines()[0] == f"logit difference: {plot.live['values'][3, 9]:.3f}"
    assert not browser.run(FULL)
    browser.tap(*browser.middle(IMAGE, *places(plot, 7, 2)))
    assert browser.run(TIP).splitlines()[0] == f"logit difference: {plot.live['values'][7, 2]:.3f}"
    assert not browser.run(FULL)
    browser.tap(*browser.middle(IMAGE, *places(plot, 7, 2)))
    assert browser.run(FULL) and browser.run(TIP) == ""
    browser.tap(*browser.middle(IMAGE, 0.01, 0.01))  # beside the cells: at once
    assert not browser.run(FULL)


@pytest.mark.parametrize("heads, p", [((2, 3), 15), ((12, 12), 30)], ids=["world", "gpt2"])
def test_on_a_phone_nothing_is_wider_than_the_window(heads, p, opened):
    tokens = ["<|endoftext|>"] + [" extraordinarily"] * (p - 1)
    viewer = attention(tokens, random_patterns(*heads, p), "A title that takes more than one line")
    browser = opened([viewer, some_map(12, 30)], width=375, touch=True)
    assert browser.run("document.documentElement.scrollWidth") <= 375
    wide = "[...document.querySelectorAll('.attention, .attention *')].filter(e => "
    wide += "e.getBoundingClientRect().right > 375.5).map(e => e.outerHTML.slice(0, 80))"
    assert browser.run(wide) == []
    tall = browser.run("document.querySelector('.attention output').offsetHeight")
    assert tall < 32  # one line, so that nothing moves below the finger
    sides = f"(r => [r.width, r.height])({head_button(0, 0)}.getBoundingClientRect())"
    width, height = browser.run(sides)
    assert width >= 24 and abs(width - height) < 1  # a finger's least


def test_without_javascript_the_text_stands_there(world, opened):
    browser = opened([world.heads, some_map()], scripts=False)
    text = browser.run("document.body.innerText")
    assert "L1H1    4 ·Mary 0.77" in text and "With JavaScript on" in text
    assert browser.run(f"{IMAGE}.naturalWidth") > 100


def test_in_a_notebook_the_viewer_works_in_its_frame_and_the_frame_fits(world, opened, tmp_path):
    browser = opened([])
    file = tmp_path / "index.html"
    file.write_text(f"<!doctype html><meta charset=utf-8>{world.heads._repr_html_()}", "utf-8")
    browser.open(file)
    inside = "document.querySelector('iframe').contentDocument"
    browser.run(f"{inside}.querySelector('.heads [aria-label=L0H1]').click()")
    readout = READOUT.replace("document", inside)
    k = int(world.patterns[0, 1, -1].argmax())
    assert browser.run(readout) == says(world, 0, 1, 14, k)
    room = browser.run("document.querySelector('iframe').clientHeight")
    needs = browser.run(f"{inside}.documentElement.scrollHeight")
    assert needs <= room < needs + 60

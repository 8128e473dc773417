"""The page of all latents shows the dashboards' own numbers, and is found, sorted and passed on.

With a Chromium on the machine the page is used as a reader uses it; without one those tests are
skipped. What must be seen is written here from the dashboards themselves.
"""

import json
import re
from types import SimpleNamespace

import pytest
import torch

from lessons.techniques.sae.autoencoders import SAE, Config
from lessons.techniques.sae.dashboards import describe, write_page
from lessons.techniques.sae.effects import effects
from lessons.techniques.sae.survey import survey
from lessons.techniques.truth import labelled
from lessons.telling import latents_page, page
from minimech import HookedTransformer, MinimechError
from tests.clones import ROOT
from tests.test_viewer import EVIL, luminance

SITE, N, DEAD = "blocks.0.hook_resid_mid", 230, 5


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """A page of a random autoencoder's latents over a few documents, and what stands behind it."""
    if not (ROOT / "weights" / "world" / "model.safetensors").exists():
        pytest.skip("weights/world is not here")
    model = HookedTransformer.from_pretrained("world")
    text = labelled(model, 4, seed=2)
    torch.manual_seed(0)
    sae = SAE(Config(96, N, "topk", k=6, site=SITE)).requires_grad_(False)
    sae.b_enc[DEAD] = -1e3
    seen = survey(model, sae, text)
    file = tmp_path_factory.mktemp("page") / "latents.html"
    said = write_page(model, sae, seen, file, documents=1)
    told = [describe(seen, latent, ablated=False) for latent in range(N)]
    lost = effects(seen, 1).tolist()
    html = file.read_text(encoding="utf-8")
    return SimpleNamespace(file=file, said=said, told=told, lost=lost, html=html, seen=seen)


def data_of(html: str) -> dict:
    """Read the JSON that stands on a page."""
    found = re.findall(r'<script type="application/json" class="data">(.*?)</script>', html)
    assert len(found) == 1
    return json.loads(found[0])


def shown_as(word: str) -> str:
    return "BOS" if word == "<|endoftext|>" else word.strip()


def by_f1(made) -> list[int]:
    """Sort latents as the page does at first: by F1 as it is shown, then by number."""
    shown = [round(100 * one.best.f1) if one.best else -1 for one in made.told]
    return sorted(range(N), key=lambda i: (-shown[i], i))


# ---- without a browser ---------------------------------------------------------------------------


def test_the_pages_numbers_are_the_dashboards_own(made):
    data = data_of(made.html)
    assert len(data["latents"]) == N and data["n_tokens"] == 4 * 127
    words = data["words"]
    for one, row, lost in zip(made.told, data["latents"], made.lost):
        assert (row["n"], row["count"]) == (one.latent, one.count)
        if not one.count:
            assert row.keys() == {"n", "count", "near", "lost"} and row["lost"] is None
            continue
        assert row["mean"] / 100 == pytest.approx(one.mean, abs=0.00501)
        assert row["lost"] / 1000 == pytest.approx(lost, abs=0.000501)
        assert row["bins"] == one.histogram
        for key, pairs in (("at", one.at), ("up", one.promotes), ("down", one.suppresses)):
            assert [words[i].strip() for i, _ in row[key]] == [shown_as(w) for w, _ in pairs]
            wanted = [number for _, number in pairs]
            assert [v / 100 for _, v in row[key]] == pytest.approx(wanted, abs=0.00501)
        if one.best:
            which, *scores = row["best"]
            assert data["features"][which] == f"{one.best.feature} = {one.best.value}"
            assert [v / 100 for v in scores] == pytest.approx(one.best[2:], abs=0.00501)
        groups = [one.top, *(some for _, some in one.spread)]
        for some, shown in zip(groups, row["seen"]):
            for context, (document, start, length, at, on) in zip(some, shown):
                texts = data["texts"][document][start : start + length]
                assert [words[i].strip() for i in texts] == list(map(shown_as, context.words))
                values = dict(on)
                wanted = context.values
                shown_values = [values.get(i, 0) / 100 for i in range(length)]
                assert shown_values == pytest.approx(wanted, abs=0.00501) and at == context.at


def test_a_page_says_where_it_is_and_names_nothing_outside_itself(made):
    assert made.said == f"230 latents, to browse and search: {made.file}"
    assert page.POLICY in made.html and "http:" not in made.html and "https:" not in made.html
    assert not re.findall(r'(?:src|href)="', made.html)
    assert "url(" not in made.html and "@import" not in made.html
    assert len(made.html) < 230 * 1000 + 40_000  # of 1,024 latents under 1 MB


def evil_told(made):
    """A dashboard whose words and feature are hostile."""
    one = describe(made.seen, 3, ablated=False)
    one.best = one.best._replace(feature="</script><img src=x>", value='"')
    one.promotes = [(word, 1.0) for word in EVIL]
    return [one]


def test_no_word_ends_the_data_or_becomes_an_element(made):
    words = {i: EVIL[i % len(EVIL)] for i in range(600)}
    html = latents_page.html(evil_told(made), [], 0, made.seen.tokens, words.get)
    data = data_of(html)
    assert data["features"] == ['</script><img src=x> = "'] and "<img" not in html
    said = [data["words"][i] for i, _ in data["latents"][0]["up"]]
    assert said[1:4] == EVIL[1:4] and said[4:6] == ["↵", "(empty)"]
    html.encode()  # a lone surrogate would have no place in UTF-8


def test_what_cannot_be_written(made, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MinimechError, match=r"latents.html cannot be written \("):
        write_page(None, None, made.seen, tmp_path / "file" / "latents.html", 0, only=[1])
    with pytest.raises(MinimechError, match="a page of no latents"):
        write_page(None, None, made.seen, tmp_path / "latents.html", only=[])
    with pytest.raises(MinimechError, match="latent 230 of 230: they go from 0 to 229"):
        write_page(None, None, made.seen, tmp_path / "latents.html", only=[230])


@pytest.mark.parametrize("which", [0, 1], ids=["light", "dark"])
def test_texts_stand_out_from_what_they_stand_on(which):
    style = page.STYLE + latents_page.own("latents.css")
    colour = {
        name: re.findall(rf"--{name}: (#\w+)", style)[which]
        for name in ("ink", "soft", "paper", "box", "mark", "edge", "bar", "less")
    }
    for text, ground, least in [
        ("ink", "mark", 4.5),  # the strongest token, and the chosen row
        ("ink", "box", 4.5),
        ("soft", "paper", 4.5),
        ("edge", "paper", 3),
        ("bar", "paper", 3),
        ("less", "paper", 3),
    ]:
        bright, dark = sorted((luminance(colour[text]), luminance(colour[ground])), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= least, (text, ground)


# ---- in a browser --------------------------------------------------------------------------------

ROWS = "[...document.querySelectorAll('.rows tbody tr')]"
NUMBERS = f"{ROWS}.map(row => Number(row.dataset.n))"
TITLE = "document.querySelector('.one h2')?.textContent"
FACTS = (
    "Object.fromEntries([...document.querySelectorAll('.one dt')]"
    ".map(name => [name.textContent, name.nextSibling.textContent]))"
)
TOKENS = (
    "[...document.querySelectorAll('.one .context')].map(line => [...line.querySelectorAll("
    "'.token')].map(token => [token.firstChild.textContent, "
    "token.querySelector('small')?.textContent ?? '', token.classList.contains('at')]))"
)


@pytest.fixture
def opened(browser, made):
    """Open the page; at the end, nothing left it and nothing failed."""
    browser.requests.clear()
    browser.errors.clear()

    def show(at="", file=made.file, **window):
        browser.open(file, **window)
        if at:
            browser.run(f"location.hash = {at!r}")
        return browser

    yield show
    assert all(url.startswith("file:") for url in browser.requests) and not browser.errors


def search(browser, query: str, where="all") -> list[int]:
    """Type a query; return the latents that the table has."""
    code = "(() => { const box = document.querySelector('.search input'), scope = "
    code += "document.querySelector('.search select'); scope.value = %s; box.value = %s; "
    browser.run(code % (json.dumps(where), json.dumps(query)) + "box.oninput(); })()")
    return browser.run(NUMBERS)


def test_a_latent_in_full_shows_the_dashboards_numbers(made, opened):
    browser = opened()
    for latent in (3, 42):
        one, lost = made.told[latent], made.lost[latent]
        browser.run(f"location.hash = '#latent={latent}'")
        facts = browser.run(FACTS)
        assert browser.run(TITLE) == f"latent {latent}"
        rate = f"{100 * one.count / one.n_tokens:.2f} %"
        wanted = f"at {one.count} of 508 tokens ({rate}), "
        assert (
            facts["on"] == wanted + f"{one.mean:.2f} in the mean there, {one.largest:.2f} at most"
        )
        assert facts["best true feature"].startswith(
            f"{one.best.feature} = {one.best.value}, F1 {one.best.f1:.2f}, where it is at least "
            f"{one.best.least:.2f}: {one.best.precision:.0%} ".replace("%", " %")
        )
        assert facts["lost without it"].startswith(f"{lost:.3f} nats".replace("-0.000", "0.000"))
        assert facts["alike in direction"].split()[:2] == [
            str(one.near[0][0]),
            f"({one.near[0][1]:.2f})",
        ]
        contexts = one.top + [context for _, some in one.spread for context in some]
        for context, line in zip(contexts, browser.run(TOKENS), strict=True):
            words = list(map(shown_as, context.words))
            numbers = [f"{value:.2f}" if value else "" for value in context.values]
            marks = [i == context.at for i in range(len(words))]
            assert line == [list(token) for token in zip(words, numbers, marks)]


def test_what_is_true_can_be_hidden_from_who_wants_to_guess(opened):
    browser = opened("#latent=3")
    seen = "(() => [...document.querySelectorAll('.truth')]"
    seen += ".filter(e => getComputedStyle(e).visibility === 'visible').length)()"
    told = browser.run(seen)
    assert told > 400  # two columns, and the latent's own
    browser.run("document.querySelector('.search [type=checkbox]').click()")
    assert browser.run(seen) == 0
    assert browser.run(NUMBERS)[:5] == [0, 1, 2, 3, 4]  # F1 would tell by the order
    browser.run("document.querySelector('.search [type=checkbox]').click()")
    assert browser.run(seen) == told


def test_the_table_sorts_by_every_column(made, opened):
    browser = opened()
    assert browser.run(NUMBERS) == by_f1(made)[:200]
    assert browser.run(TITLE) == f"latent {by_f1(made)[0]}"
    count = [one.count for one in made.told]
    lost = [round(1000 * v) if v == v else None for v in made.lost]
    by_count = sorted(range(N), key=lambda i: (-count[i], i))
    by_lost = sorted(range(N), key=lambda i: (lost[i] is None, -(lost[i] or 0), i))
    turned = sorted(range(N), key=lambda i: (lost[i] is None, lost[i] or 0, i))
    head = "[...document.querySelectorAll('.rows th button')].find(b => b.textContent === {!r})"
    for name, wanted in (("latent", [*range(N)]), ("on", by_count), ("lost, nats", by_lost)):
        browser.run(head.format(name) + ".click()")
        assert browser.run(NUMBERS) == wanted[:200], name
    browser.run(head.format("lost, nats") + ".click()")  # once more: the other way round
    assert browser.run(NUMBERS) == turned[:200]
    sort = head.format("lost, nats") + ".parentNode.ariaSort"
    assert browser.run(sort) == "ascending"
    browser.run("document.querySelector('.further').click()")
    assert browser.run(NUMBERS) == turned and made.lost[turned[-1]] != made.lost[turned[-1]]


def test_search_finds_words_features_and_numbers(made, opened):
    browser, told = opened(), made.told
    word = told[42].at[0][0].strip()

    def having(pairs_of):
        return {one.latent for one in told if word in [w.strip() for w, _ in pairs_of(one)]}

    assert set(search(browser, word, "at")) == having(lambda one: one.at)
    assert set(search(browser, word, "up")) == having(lambda one: one.promotes)
    male = {i for i, one in enumerate(told) if one.best and one.best[:2] == ("gender", "male")}
    assert set(search(browser, "gender = male", "best")) == male  # and no female
    assert search(browser, "17")[0] == 17 and search(browser, " 229 ")[0] == 229
    beginnings = {i for i, one in enumerate(told) if one.best and one.best.feature == "country"}
    assert set(search(browser, "countr", "best")) == beginnings
    assert search(browser, "xyzzy") == []
    said = "document.querySelector('.all output').textContent"
    assert browser.run(said) == "0 of 230 latents"
    assert len(search(browser, "")) == 200 and browser.run(said) == "230 of 230 latents"


def test_the_address_opens_a_latent_and_keeps_the_chosen_one(made, opened):
    browser = opened("#latent=17")
    assert browser.run(TITLE) == "latent 17"
    browser.run("document.querySelector('.one dd a').click()")
    near = made.told[17].near[0][0]
    assert browser.run(TITLE) == f"latent {near}"
    assert browser.run("location.hash") == f"#latent={near}"
    browser.run("location.hash = '#latent=5000'")
    said = browser.run("document.querySelector('.one').textContent")
    assert said == "There is no latent 5000 on this page; the last is 229."
    browser.run(f"location.hash = '#latent={DEAD}'")
    assert browser.run(FACTS)["dead"] == "never on in 508 tokens"


def test_the_keyboard_alone_goes_from_latent_to_latent(made, opened):
    browser, order = opened(), by_f1(made)
    browser.press("Tab")
    assert browser.run("document.activeElement.type") == "search"
    browser.press("ArrowDown")  # into the table
    browser.press("ArrowDown", 3)
    assert browser.run(TITLE) == f"latent {order[3]}"
    browser.press("ArrowUp")
    assert browser.run(TITLE) == f"latent {order[2]}"
    focus = "document.activeElement.dataset.n"
    assert browser.run(focus) == str(order[2])
    assert browser.run("location.hash") == f"#latent={order[2]}"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    chosen = f"{ROWS}.filter(row => row.ariaSelected === 'true').map(row => row.dataset.n)"
    assert browser.run(chosen) == [str(order[2])]
    found = search(browser, "class", "best")
    assert len(found) > 1 and order[2] != found[0]
    slash = {"key": "/", "code": "Slash", "windowsVirtualKeyCode": 191, "text": "/"}
    browser.ask("Input.dispatchKeyEvent", type="keyDown", **slash)
    assert browser.run("document.activeElement.type") == "search"
    browser.press("ArrowDown")  # to the first that was found
    assert browser.run(TITLE) == f"latent {found[0]}" and browser.run(focus) == str(found[0])


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone(made, opened, dark):
    browser = opened(width=375, height=800, touch=True, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") == 375
    browser.tap(*browser.middle(f"{ROWS}[4]"))
    assert browser.run(TITLE) == f"latent {by_f1(made)[4]}"
    top = browser.run("document.querySelector('.one').getBoundingClientRect().top")
    assert -5 < top < 100  # it has come into sight


def test_words_of_every_kind_are_shown_as_they_are(made, opened, tmp_path):
    words = {i: EVIL[i % len(EVIL)] for i in range(600)}
    evil = evil_told(made)
    evil[0].promotes += [(" 17", 1.0)]
    evil[0].best = evil[0].best._replace(f1=1.0)
    html = latents_page.html([*evil, made.told[17]], [], 0, made.seen.tokens, words.get)
    (tmp_path / "evil.html").write_text(html, encoding="utf-8")
    browser = opened(file=tmp_path / "evil.html")
    shown = browser.run("[...document.querySelectorAll('.charts th')].map(e => e.textContent)")
    assert "</script>" in shown and "'><img src=x onerror=alert(1)>" in shown
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert search(browser, "17") == [17, 3]  # the number before the word
    assert "F1" in browser.run("document.querySelector('.rows th:nth-child(2)').textContent")
    assert "lost" not in browser.run("document.querySelector('.rows thead').textContent")

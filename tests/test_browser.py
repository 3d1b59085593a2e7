"""Drawings in a real browser: as files, in a page of a notebook, and in JupyterLab, with trust and without.

First what the questions to the browser are worth: each has to hear what it is there to hear.
"""

import html

import pytest
from browser import (
    complaints,
    contrast,
    faint,
    inside,
    nbconvert_page,
    open_notebook,
    open_page,
    overlapping,
    press,
    requested,
    run_notebook,
    screenshot,
    texts,
)
from PIL import Image

import microgad as mg
from microgad.viz.theme import THEMES

DOT = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"  # a picture of one pixel
NOWHERE = "https://example.org/x"


def framed(body: str) -> str:
    return f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(body)}"></iframe>'


def show(driver, tmp_path, body: str):
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><meta charset="utf-8">{body}', encoding="utf-8")
    open_page(driver, page)


@pytest.mark.parametrize("where", [str, framed], ids=["page", "frame"])
@pytest.mark.parametrize(
    "script",
    [
        "throw Error('bad')",
        "setTimeout('throw Error(`bad`)')",
        "Promise.reject(Error('bad'))",
        "console.warn('bad')",
    ],
)
def test_what_a_script_complains_of_is_heard(chromium, tmp_path, where, script):
    show(chromium, tmp_path, where(f"<script>{script}</script>"))
    heard = complaints(chromium)
    assert len(heard) == 1
    assert "bad" in heard[0]
    assert complaints(chromium) == []
    show(chromium, tmp_path, where("<script>console.log('good')</script>"))
    assert complaints(chromium) == []


@pytest.mark.parametrize("where", [str, framed], ids=["page", "frame"])
@pytest.mark.parametrize(
    ("body", "url"),
    [
        (f"<img src='{NOWHERE}'>", NOWHERE),
        (f"<link rel='stylesheet' href='{NOWHERE}'>", NOWHERE),
        (f"<style>body {{background: url({NOWHERE})}}</style>", NOWHERE),
        (f"<script>fetch('{NOWHERE}').catch(() => 0)</script>", NOWHERE),
        (f"<script>navigator.sendBeacon('{NOWHERE}', 'x')</script>", NOWHERE),
        ("<script>new WebSocket('wss://example.org/')</script>", "wss://example.org/"),
    ],
    ids=["img", "stylesheet", "background", "fetch", "beacon", "socket"],
)
def test_what_a_page_asks_of_the_network_is_heard(chromium, tmp_path, where, body, url):
    show(chromium, tmp_path, where(body))
    assert requested(chromium) == [url]
    assert complaints(chromium) == []
    show(chromium, tmp_path, where(f"<img src='{DOT}'><a href='{NOWHERE}'>not followed</a>"))
    assert requested(chromium) == []


def test_a_file_beside_the_page_is_not_the_page(chromium, tmp_path):
    show(chromium, tmp_path, "<script src='beside.js'></script>")
    assert requested(chromium) == [(tmp_path / "beside.js").as_uri()]


def test_keys_and_clicks_reach_a_frame(chromium, tmp_path):
    show(chromium, tmp_path, framed("<p>here</p><script>onkeydown = e => document.body.append(e.key + ' ')</script>"))
    with inside(chromium):
        chromium.find_element("css selector", "p").click()
        press(chromium, "ARROW_RIGHT", "a", "HOME")
        assert chromium.find_element("css selector", "body").text.split() == ["here", "ArrowRight", "a", "Home"]
    assert chromium.find_element("css selector", "body").text == ""


PAGE = """
<style>
  body {background: #222; color: #eee}
  .reader {position: absolute; width: 1px; height: 1px; overflow: hidden; white-space: nowrap}
</style>
<p>plain</p>
<p style="color: #444">on dark <b style="background: white">on white</b></p>
<p style="opacity: 0.3">see-through</p>
<p class="reader">for screen readers</p> <p style="visibility: hidden">hidden</p>
<details><summary>closed</summary>unseen <b>unseen, too</b></details>
<button disabled>resting</button>
<p style="width: 50px; overflow: hidden; white-space: nowrap">more than there is room for</p>
<svg width="400" height="100" style="background: #fff">
  <defs><rect width="400" height="100"/></defs>
  <rect width="400" height="100" fill="none" stroke="red"/>
  <rect y="60" width="400" height="40" fill="#abc"/>
  <text x="5" y="90">on the ground</text>
  <g transform="translate(100 0) scale(2)">
    <rect y="10" width="50" height="40" fill-opacity="0.8"/>
    <circle cx="60" cy="25" r="10" fill="#000"/>
    <text y="20">dark</text> <text y="22" fill="white">light</text> <text x="66" y="18" font-size="8">corner</text>
  </g>
  <text x="310" y="40">beyond the edge</text>
</svg>
"""


def test_the_texts_of_a_page(chromium, tmp_path):
    show(chromium, tmp_path, PAGE)
    seen = {text.text: text for text in texts(chromium)}
    assert {name: (text.color, text.background) for name, text in seen.items()} == {
        "plain": ("#eeeeee", "#222222"),
        "on dark": ("#444444", "#222222"),
        "on white": ("#444444", "#ffffff"),
        "see-through": ("#5f5f5f", "#222222"),  # 0.3 · 238 + 0.7 · 34 = 95
        "closed": ("#eeeeee", "#222222"),
        "resting": (seen["resting"].color, seen["resting"].background),
        "more than there is room for": ("#eeeeee", "#222222"),
        "on the ground": ("#000000", "#aabbcc"),
        "dark": ("#000000", "#333333"),
        "light": ("#ffffff", "#333333"),
        "corner": ("#000000", "#ffffff"),  # inside the square around the circle, not inside the circle
        "beyond the edge": ("#000000", "#ffffff"),
    }
    assert {name for name, text in seen.items() if text.clipped} == {"more than there is room for", "beyond the edge"}
    assert {text.text for text, ratio in faint(chromium)} == {"on dark", "see-through", "dark"}
    assert overlapping(chromium) == [("dark", "light")]
    assert [text.text for text in texts(chromium, "button")] == ["resting"]
    assert faint(chromium, "button") == []
    chromium.find_element("css selector", "summary").click()
    assert {text.text for text in texts(chromium, "details")} == {"closed", "unseen", "unseen, too"}


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21), ("#12ab9f", "#12ab9f", 1), ("#ffffff", "#767676", 4.54), ("#ff0000", "#ffffff", 4.0)],
)
def test_contrast(one, other, ratio):
    assert contrast(one, other) == contrast(other, one) == pytest.approx(ratio, abs=0.005)


def large() -> mg.Value:
    """A network for one point, whose picture is wider and higher than the window."""
    mg.manual_seed(0)
    model = mg.nn.scalar.MLP(2, [3, 1])
    f = model([mg.Value(0.5, "x"), mg.Value(-1.0, "y")])
    f.backward()
    return f


@pytest.mark.parametrize("theme", THEMES)
def test_a_drawing_can_be_read(chromium, tmp_path, theme):
    drawing = mg.viz.draw(large(), theme=theme, highlight="x")
    drawing.save(tmp_path / "f.svg")
    open_page(chromium, tmp_path / "f.svg")
    seen = texts(chromium)
    assert len(seen) > 100
    assert not [text for text in seen if text.clipped]
    assert faint(chromium) == []
    assert overlapping(chromium) == []
    assert complaints(chromium) == requested(chromium) == []


SOURCES = [
    "import microgad as mg\nf = mg.parse('(x + y) * z', x=-2, y=5, z=-4)\nf.backward()\nf",
    f"from IPython.display import HTML\nHTML({framed('<p>running</p><img src=beside.png>')!r}"
    f"""'<details><summary>steps</summary><img src="{DOT}" alt="a dot"><ol><li>first<li>last</ol></details>')""",
    *(f"mg.viz.draw(f, theme={theme!r})" for theme in THEMES),
    "model = mg.nn.scalar.MLP(2, [3, 1])\nmg.viz.draw(model([0.5, -1.0]))",  # wider than the page
]
PICTURES = """
return [...document.querySelectorAll(".jp-OutputArea-output img[src^='data:image/svg']")].map(image => {
    const box = image.getBoundingClientRect(), around = image.closest(".jp-OutputArea").getBoundingClientRect();
    let scrolled = image;  // what is there to be scrolled, if the picture is too wide
    const fits = element => element.scrollWidth <= element.clientWidth + 1;
    while (scrolled.parentElement && fits(scrolled)) scrolled = scrolled.parentElement;
    scrolled.scrollLeft = 1e6;
    const right = image.getBoundingClientRect().right - scrolled.getBoundingClientRect().right;
    scrolled.scrollLeft = 0;
    return {alt: image.alt, pixels: image.naturalWidth, width: box.width, spare: around.right - box.right, right};
});
"""


@pytest.fixture(scope="module")
def notebook():
    return run_notebook(SOURCES)


def check_pictures(driver):
    *small, wide = driver.execute_script(PICTURES)
    assert len(small) == 4
    for picture in small:
        assert picture["alt"].startswith("Computation graph. Inputs: x = -2 (grad -4)")
        assert picture["pixels"] > 0
        assert picture["width"] == pytest.approx(picture["pixels"], abs=1)
    assert all(picture["spare"] >= 0 for picture in small)
    assert wide["width"] == pytest.approx(
        0.45 * wide["pixels"], abs=1
    )  # smaller, but not so small that nobody reads it
    assert wide["spare"] < 0
    assert wide["right"] <= 1  # scrolled to its end all of it can be seen


@pytest.mark.parametrize("trusted", [False, True], ids=["untrusted", "trusted"])
def test_a_notebook_in_jupyterlab(chromium, jupyterlab, notebook, trusted):
    open_notebook(chromium, jupyterlab, notebook, trusted=trusted)
    check_pictures(chromium)
    assert len(chromium.find_elements("css selector", ".jp-OutputArea-output iframe")) == trusted
    if trusted:
        with inside(chromium, ".jp-OutputArea-output iframe"):
            assert chromium.find_element("css selector", "p").text == "running"
    assert requested(chromium) == [f"{jupyterlab.url}doc/tree/beside.png"] * trusted
    details = chromium.find_element("css selector", ".jp-OutputArea-output details")
    assert details.text == "steps"
    details.find_element("css selector", "summary").click()
    assert details.text.split() == ["steps", "first", "last"]
    dot = details.find_element("css selector", "img")
    assert dot.is_displayed()
    assert (dot.get_property("alt"), dot.get_property("naturalWidth")) == ("a dot", 1)
    assert complaints(chromium) == []


def test_a_notebook_as_a_page(chromium, notebook, tmp_path):
    open_page(chromium, nbconvert_page(run_notebook([]), tmp_path / "empty.html"))
    of_the_template = requested(chromium)
    open_page(chromium, nbconvert_page(notebook, tmp_path / "page.html"))
    check_pictures(chromium)
    assert requested(chromium) == [*of_the_template, (tmp_path / "beside.png").as_uri()]
    screenshot(chromium, tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.height > 2 * chromium.execute_script("return innerHeight")  # also what is below the window

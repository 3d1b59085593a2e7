"""Drawings: what they say, that hostile names stay text, and that every renderer makes a real picture."""

import base64
import html
import io
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import graphviz
import pytest
from browser import contrast
from PIL import Image

import microgad as mg
from microgad import Value, viz
from microgad.errors import InputError, RenderError
from microgad.primitives import where
from microgad.viz.theme import THEMES

HOSTILE = [
    'a"b<script>alert(1)</script>',
    r"\n",
    r"\N",
    r"\G and \L",
    "trailing\\",
    r"a\\b\\\\c",
    "line\nbreak",
    "tab\tnul\0bell\a",
    "<b>bold</b>",
    "&amp; &#92; ]]>",
    "<>",
    "{a|b}",
    "\u202eright to left",
    "\ud800",
    "变量",
    "-->",
    "' onload='x",
]


def lecture(names=True) -> Value:
    x, y, z = (Value(data, name if names else None) for data, name in ((-2, "x"), (5, "y"), (-4, "z")))
    f = (x + y) * z
    f.name = "f" if names else None
    return f


def shown(svg: str) -> list[str]:
    """The texts of an SVG, as a reader sees them."""
    root = ElementTree.fromstring(svg)
    return ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]


def svg_texts(drawing) -> list[str]:
    return shown(drawing.pipe("svg", encoding="utf-8"))


def test_the_lecture_s_graph_shows_every_number():
    f = lecture()
    f.backward()
    texts = svg_texts(viz.draw(f))
    for text in ("x", "y", "z", "f", "+", "×", "data -2", "data 5", "data -4", "data 3", "data -12"):
        assert text in texts
    assert texts.count("grad -4") == 3  # x, y and x + y
    assert "grad 3" in texts
    assert "grad 1" in texts
    stripped = [text.strip() for text in texts]
    for text in ("local 1", "local -4", "local 3"):
        assert text in stripped
    assert not [text for text in texts if "∂" in text]  # with a second path ∂f/∂z would be another number


def test_before_backward_gradients_are_dashes_never_zero():
    texts = svg_texts(viz.draw(lecture()))
    assert texts.count("grad –") == 5
    assert "grad 0" not in texts


def test_grads_can_be_asked_for_or_left_out():
    f = lecture()
    assert "grad 3" in svg_texts(viz.draw(f, grads=True))
    assert f.grad is None
    assert not [text for text in svg_texts(viz.draw(f, grads=False)) if "grad" in text]


def test_a_drawing_shows_the_adjoints_of_its_own_result():
    x = Value(3.0, "x")
    first, second = x * x, x * 10.0
    first.backward()
    x.grad = None
    second.backward()
    texts = svg_texts(viz.draw(first))
    assert "grad 10" in texts  # what x holds
    assert "of this result 6" in texts  # what this result gave it


def test_a_node_used_twice_has_two_edges():
    x = Value(3.0, "x")
    assert viz.draw(x * x).source.count("v0 -> v1o") == 2


def test_operands_keep_their_order_and_numbers_are_drawn():
    x = Value(3.0, "x")
    source = viz.draw(2 - x).source
    assert source.index("v1o0 -> v1o") < source.index("v0 -> v1o")
    assert 'v0 -> v1o [label=" local -1 " headport=sw]' in source  # below: the second
    assert "v1o0 -> v1o [headport=nw]" in source
    assert "2" in svg_texts(viz.draw(2 - x))


def test_three_operands():
    c, a, b = Value(1.0, "c"), Value(2.0, "a"), Value(3.0, "b")
    assert viz.draw(where(c, a, b)).source.count("-> v3o") == 3


def test_a_derivative_that_does_not_exist_says_so():
    root = Value(0.0, "x") ** 0.5
    assert any("undefined" in text for text in svg_texts(viz.draw(root, grads=True)))


@pytest.mark.parametrize("rankdir", ["LR", "TB", "RL", "BT"])
def test_rankdir(rankdir):
    assert f"rankdir={rankdir}" in viz.draw(lecture(), rankdir=rankdir).source


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_has_contrast_on_every_colour(theme):
    for fill in (theme.background, theme.leaf, theme.interior, theme.result, theme.operation):
        assert contrast(theme.text, fill) >= 4.5
        assert contrast(theme.line, fill) >= 3.0  # WCAG's bar for what is not text


@pytest.mark.parametrize("theme", THEMES)
def test_a_theme_is_used_and_colour_is_not_the_only_cue(theme):
    source = viz.draw(lecture(), theme=theme).source
    assert THEMES[theme].leaf in source
    assert source.count("peripheries=2") == 1  # the result
    assert source.count('style="filled,rounded"') == 3  # the leaves


@pytest.mark.parametrize("options", [{"theme": "pink"}, {"theme": []}, {"rankdir": "XY"}])
def test_a_choice_that_does_not_exist(options):
    with pytest.raises(InputError, match="choose from"):
        viz.draw(lecture(), **options)


@pytest.mark.parametrize("thing", [None, 3.0, "x", [Value(1.0)]])
def test_foreign_objects(thing):
    with pytest.raises(InputError, match="graph of a Value"):
        viz.draw(thing)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_are_drawn_literally(name):
    x = Value(1.0, name)
    f = x * x
    f.name = name
    drawing = viz.draw(f)
    svg = drawing.pipe("svg", encoding="utf-8")
    literal = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    assert "".join(shown(svg)).count(literal) >= 2
    assert not list(ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}script"))
    page = drawing._repr_mimebundle_()["text/html"]
    alt = re.fullmatch(r'<img src="[^"]*" alt="([^"<>]*)" style="[^"]*">', page)
    assert alt
    assert literal in html.unescape(alt[1])


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_dot_reads_hostile_names_as_one_node_each(name):
    texts = svg_texts(viz.draw(Value(1.0, name) + Value(2.0, "y")))
    assert "data 1" in texts
    assert "data 2" in texts
    assert "data 3" in texts


def test_numbers_that_are_not_finite():
    x = Value(float("inf"), "x")
    f = x - x
    f.backward()
    texts = svg_texts(viz.draw(f))
    assert "data inf" in texts
    assert "data nan" in texts


def test_a_graph_that_is_not_drawn_unasked_says_how_large_it_is():
    f = Value(1.0, "x")
    for _ in range(300_000):
        f = f + 1.0
    bundle = f._repr_mimebundle_()
    assert bundle == {"text/plain": f"{f!r}: a graph of 300,001 nodes, which mg.viz.draw shows folded"}


def picture(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_png_is_a_picture():
    image = picture(viz.draw(lecture()).pipe("png"))
    assert image.width > 1000
    colors = {color for _, color in image.convert("RGB").getcolors(1 << 24)}
    assert {(227, 239, 253), (255, 243, 196), (255, 255, 255)} <= colors  # leaf, result, background


def test_pdf():
    assert viz.draw(lecture()).pipe("pdf").startswith(b"%PDF-")


@pytest.mark.parametrize("beside", ["", "变"])
def test_the_text_needs_no_installed_font(tmp_path, monkeypatch, beside):
    """Where no font is found, pygraphviz draws every letter as the same box."""
    (tmp_path / "fonts.conf").write_text("<fontconfig></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_PATH", str(tmp_path))  # a machine that has no fonts
    letters = [picture(viz.draw(Value(1.0, letter + beside)).pipe("png")).tobytes() for letter in "OQ"]
    assert letters[0] != letters[1]


def test_drawing_leaves_no_file_and_no_environment_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = dict(os.environ)
    viz.draw(lecture())._repr_mimebundle_()
    lecture()._repr_mimebundle_()
    assert list(tmp_path.iterdir()) == []
    assert dict(os.environ) == before
    fonts = Path(viz.__file__).parent / "fonts"
    assert {path.name for path in fonts.iterdir()} == {"DejaVuSans.ttf", "LICENSE"}


def test_a_file_keeps_its_mode_and_a_link_its_target(tmp_path):
    (tmp_path / "real.svg").write_text("old")
    (tmp_path / "real.svg").chmod(0o600)
    (tmp_path / "link.svg").symlink_to(tmp_path / "real.svg")
    viz.draw(lecture()).render(outfile=tmp_path / "link.svg", cleanup=True)
    assert (tmp_path / "link.svg").is_symlink()
    assert (tmp_path / "real.svg").read_text().startswith("<?xml")
    assert (tmp_path / "real.svg").stat().st_mode & 0o777 == 0o600


def test_only_the_derivative_that_does_not_exist_is_undefined():
    a, b = Value(-2.0, "a"), Value(2.0, "b")
    texts = [text.strip() for text in svg_texts(viz.draw(a**b))]
    assert "local -4" in texts
    assert "local undefined" in texts


def test_render_writes_the_picture_and_its_source(tmp_path):
    path = viz.draw(lecture()).render("f", tmp_path)
    assert path == str(tmp_path / "f.svg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "f.svg"]
    path = viz.draw(lecture(), format="png").render(tmp_path / "g", cleanup=True)
    assert picture(Path(path).read_bytes()).format == "PNG"
    assert not (tmp_path / "g").exists()
    assert viz.draw(lecture()).render(outfile=tmp_path / "h.pdf") == str(tmp_path / "h.pdf")
    assert (tmp_path / "h.gv").exists()
    with pytest.raises(graphviz.FileExistsError):
        viz.draw(lecture()).render(outfile=tmp_path / "h.pdf", raise_if_result_exists=True)


def test_an_unknown_format_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="unknown format"):
        viz.draw(lecture()).render("f", tmp_path, format="bmpp")
    assert list(tmp_path.iterdir()) == []


def test_in_a_notebook_it_is_an_image_with_words():
    f = lecture()
    f.backward()
    for bundle in (viz.draw(f)._repr_mimebundle_(), f._repr_mimebundle_()):
        page = bundle["text/html"]
        assert page.startswith('<img src="data:image/svg+xml;base64,')
        assert "image/svg+xml" not in bundle  # vanishes where a notebook is not trusted
        svg = base64.b64decode(re.search('base64,([^"]*)', page)[1]).decode()
        assert "data -12" in shown(svg)
        alt = html.unescape(re.search('alt="([^"]*)"', page)[1])
        for part in ("x = -2", "y = 5", "z = -4", "grad 3", "Operations: +, ×", "f = -12"):
            assert part in alt
    assert f._repr_mimebundle_()["text/plain"] == repr(f)


def test_a_leaf_alone_draws_itself():
    assert "<img" in Value(1.0, "x")._repr_mimebundle_()["text/html"]


def test_names_of_variables_in_a_notebook(monkeypatch):
    f = lecture(names=False)
    x, y = f.inputs[0].inputs
    z = f.inputs[1]

    shell = SimpleNamespace(
        user_ns={"_": f, "_1": x, "x": x, "w": [y], "d": {"k": z}, "f": f, "number": 3, "Out": {1: f}, "v": x}
    )
    monkeypatch.setattr("builtins.get_ipython", lambda: shell, raising=False)
    texts = svg_texts(viz.draw(f))
    assert {"x", "w[0]", "d['k']", "f"} <= set(texts)
    x.name = "own"
    assert "own" in svg_texts(viz.draw(f))
    assert f.name is None  # the drawing borrowed the name, the node did not take it


WITHOUT_RENDERERS = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "pygraphviz" else find(name, *rest)
import microgad as mg
"""


def run_without_renderers(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": str(tmp_path / "no-programs"), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_RENDERERS + code], env=env, cwd=tmp_path, capture_output=True, encoding="utf-8"
    )


def test_without_a_renderer_a_drawing_is_a_tree_and_the_command_to_install(tmp_path):
    done = run_without_renderers(
        "f = mg.parse('(x + y) * z', x=-2, y=5, z=-4)\n"
        "f.backward()\n"
        "bundle = mg.viz.draw(f)._repr_mimebundle_()\n"
        "print(bundle['text/plain'])\n"
        "assert bundle['text/html'].startswith('<pre>')\n"
        "assert f._repr_mimebundle_()['text/plain'].startswith('Value(data=-12.0')\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "├── (+) = 3, grad -4" in done.stdout
    assert 'pip install "microgad[render]"' in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_without_a_renderer_a_file_is_an_error_that_names_the_command(tmp_path):
    done = run_without_renderers(
        "try:\n    mg.viz.draw(mg.Value(1.0)).render('f')\nexcept mg.errors.RenderError as error:\n    print(error)\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert 'pip install "microgad[render]"' in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_dot_comes_first(tmp_path, monkeypatch):
    """A program named dot on the PATH is what draws, with the font that comes along in its sight."""
    dot = tmp_path / "dot"
    dot.write_text('#!/bin/sh\ncat >/dev/null\ncat "$FONTCONFIG_FILE"\n')
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert "<fontconfig>" in viz.draw(lecture()).pipe("svg", encoding="utf-8")


@pytest.mark.parametrize("program", ["#!/bin/sh\necho 'bad things' >&2\nexit 3\n", "#!/bin/sh\n", "no program\n"])
def test_where_dot_does_not_work_the_next_renderer_draws(tmp_path, monkeypatch, program):
    dot = tmp_path / "dot"
    dot.write_text(program)
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))  # this dot and no other
    assert "data -12" in svg_texts(viz.draw(lecture()))
    assert viz.renderer() == "pygraphviz"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RenderError, match=r'pip install "microgad\[render\]"') as error:
        viz.draw(lecture()).pipe("svg")
    assert "bad things" in str(error.value) or "bad" not in program


def test_without_a_folder_for_temporary_files_displaying_falls_back_to_text(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    bundle = viz.draw(lecture())._repr_mimebundle_()  # displaying never raises
    assert "could not make svg" in bundle["text/plain"]
    assert bundle["text/html"].startswith("<pre>")


def test_pictures_in_several_threads():
    letters = ["A", "B", "C", "D"]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda letter: svg_texts(viz.draw(Value(1.0, letter))), letters))
    assert [texts[0] for texts in found] == letters
    assert "FONTCONFIG_FILE" not in os.environ


def test_the_tree_names_again_what_it_has_shown():
    x = Value(2.0, "x")
    square = x * x
    assert viz.draw(square + square, grads=False).text.splitlines() == [
        "(+) = 8",
        "├── (×) = 4",
        "│   ├── x = 2",
        "│   └── x = 2",
        "└── (×) = 4, as above",
    ]


def test_a_long_tree_is_cut():
    f = mg.Value(0.0, "x")
    for _ in range(300):
        f = f + 1.0
    text = viz.draw(f, fold=False).text.splitlines()
    assert len(text) == 201
    assert text[-1] == "… and more"


def test_a_picture_of_what_is_no_longer_one_computation_says_so():
    x = Value(3.0, "x")
    f = x * x
    assert "Not of one computation" not in viz.draw(f).source
    x.data = 10.0
    drawing = viz.draw(f)
    note = "Not of one computation: x * x is 9.0, but its operands as they are now give 100.0"
    assert all(note in text for text in (drawing.source, drawing.alt, drawing.text))
    assert drawing.pipe("svg").startswith(b"<?xml")


def test_sums_and_products_are_laid_out_freely():
    x, y = Value(1.0, "x"), Value(2.0, "y")
    assert "ordering=in" not in viz.draw(x + y).source
    assert "ordering=in" in viz.draw(x - y).source

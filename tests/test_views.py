"""Every view of a graph or a network against everything that is asked of all of them.

A table of views, and a test for each demand that goes through it: so none is forgotten, and a new one is tested from
its first day. What one view alone is asked for stands in its own file.
"""

import base64
import html
import inspect
import io
import itertools
import os
import random
import re
import sys
from functools import cache, partial
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from browser import (
    complaints,
    faint,
    nbconvert_page,
    open_notebook,
    open_page,
    requested,
    run_notebook,
    texts,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from test_viz import HOSTILE, run_without_renderers

import microgad as mg
from microgad import Tensor, Value, nn, viz
from microgad.errors import MicrogadError
from microgad.naming import literal, number
from microgad.order import topological_order
from microgad.primitives import TABLE
from microgad.randomness import generator
from microgad.viz import plot
from microgad.viz.theme import THEMES

SVG = "{http://www.w3.org/2000/svg}"
INSTALL = 'pip install "microgad[render]"'
NAN, INF = float("nan"), float("inf")

VIEWS = {
    "draw": viz.draw,
    "draw, folded": partial(viz.draw, fold=True),
    "draw, modules as boxes": partial(viz.draw, depth=0),
    "draw, calls opened": partial(viz.draw, fold=False, expand=True),
    "play": viz.play,
    "network": viz.network,
    "shapes": viz.shapes,
    "mermaid": viz.mermaid,
    "tree": viz.tree,
    "a node alone in a cell": viz.mimebundle,
}
every = pytest.mark.parametrize("view", VIEWS)


@pytest.fixture(autouse=True)
def _as_before():
    """The same weights for each test, no figure left, and no row in the table that other tests would find."""
    mg.manual_seed(0)
    rows = set(TABLE)
    yield
    plt.close("all")
    for name in set(TABLE) - rows:
        del TABLE[name]


def test_no_view_is_forgotten():
    tested = {getattr(view, "func", view).__name__ for view in VIEWS.values()}
    assert tested == {name for name in viz.__all__ if inspect.isfunction(getattr(viz, name))} - {"renderer"}
    assert {call.partition(":")[0] for call in PLOTS} == set(plot.__all__)


# ---- what is looked at


def tensors():
    """A model, and its loss after the backward pass."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Softmax())
    loss = (model(Tensor(np.arange(6.0).reshape(2, 3), name="X")) ** 2).sum()
    loss.name = "loss"
    loss.backward()
    return model, loss


def values(*widths):
    """The same of Values, with hidden layers of these widths."""
    model = nn.scalar.MLP(2, [*widths, 1])
    loss = (model([Value(0.5, "x1"), Value(-1.0, "x2")]) - 1.0) ** 2
    loss.name = "loss"
    loss.backward()
    return model, loss


def products(n, name="x"):
    """A sum of n products: 4 n - 1 nodes."""
    f = sum(Value(0.1 * i, f"{name}{i}") * Value(1.0 + i) for i in range(n))
    f.name = "f"
    return f


def chain(n):
    f = Value(1.0, "x")
    for _ in range(n):
        f = f * 1.01
    return f


class Page(HTMLParser):
    """What a browser finds in a page: which elements with which attributes, what these say, and text."""

    def __init__(self, text):
        super().__init__()
        self.shape, self.found, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.shape.append((tag, *sorted(name for name, _ in attrs)))
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.shape.append(f"/{tag}")

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.shape.append("a comment")

    def handle_pi(self, data):
        self.shape.append("an instruction")

    def attributes(self, tag):
        return [attributes for found, attributes in self.found if found == tag]


def bundle_of(shown):
    """What a notebook shows of what a view returned, by type of content."""
    if isinstance(shown, dict):
        return shown
    return shown._repr_mimebundle_() if hasattr(shown, "_repr_mimebundle_") else {"text/plain": str(shown)}


def pages_of(bundle):
    """The HTML of an output, and that of the frames in it."""
    pages = [Page(text) for kind, text in bundle.items() if kind == "text/html"]
    return [*pages, *(Page(frame["srcdoc"]) for page in pages for frame in page.attributes("iframe"))]


def images_of(bundle):
    """The pictures of an output: each its SVG and its alt text."""
    found = [image for page in pages_of(bundle) for image in page.attributes("img")]
    return [(base64.b64decode(image["src"].partition("base64,")[2]).decode(), image["alt"]) for image in found]


DRAWN = {"svg", "g", "title", "polygon", "polyline", "path", "ellipse", "rect", "text", "style"}


def check_picture(svg):
    """An SVG is XML, nothing in it runs, and nothing is fetched for it; what it says, as a reader sees it."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in DRAWN
        for name, value in element.attrib.items():
            assert not re.match(r"on|.*(href|src)", name, re.IGNORECASE)
            assert "url(" not in value
        assert element.tag != f"{SVG}style" or not re.search(r"url|@import|expression", element.text)
    return "".join("".join(text.itertext()) for text in root.iter(f"{SVG}text")).replace("\xa0", " ")


def check_output(bundle):
    """Every picture of an output is one; what they say."""
    said = [check_picture(svg) for svg, _ in images_of(bundle)]
    for text in (text for kind, text in bundle.items() if kind == "text/html"):
        for svg in re.findall(r"<svg.*?</svg>", html.unescape(text), re.DOTALL):
            if "aria-hidden" not in svg:  # the sign of a button
                said.append(check_picture(svg))
    assert all(text.encode() for text in bundle.values())
    return said


def check_error(error):
    """An error of the project, in one line that can be printed."""
    assert isinstance(error, MicrogadError)
    assert str(error).isprintable()
    assert str(error)


# ---- what is no graph, and no choice


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no\nwords")


class Everything:
    """It has every attribute, and all can be called; who goes from one to the next without end is stopped."""

    def __init__(self, depth=0):
        self.__dict__["depth"] = depth

    def __getattr__(self, name):
        if self.depth > 100:
            raise RuntimeError("asked for ever")
        return Everything(self.depth + 1)

    def __call__(self, *args, **kwargs):
        return Everything(self.depth + 1)


class Failing:
    def __getattr__(self, name):
        raise RuntimeError("no\nanswer")


FOREIGN = {  # each with what an error says of it
    "none": (lambda: None, "NoneType"),
    "number": (lambda: 3.5, "float 3.5"),
    "text": (lambda: "nothing\nlike it", "str 'nothing"),
    "class": (lambda: Value, "the class Value"),
    "list": (lambda: [Value(1.0)], "list"),
    "generator": (lambda: (x for x in "ab"), "generator"),
    "array": (lambda: np.ones((3, 1, 5)), "ndarray"),
    "unprintable": (Unprintable, "Unprintable"),
    "everything": (Everything, "Everything"),
    "failing": (Failing, "Failing"),
    "two lines": (type("two\nlines", (), {}), "not two( |\\\\n)lines"),
    "two lines, the class": (lambda: type("two\nlines", (), {}), "the class two( |\\\\n)lines"),
    "root": (lambda: SimpleNamespace(root=lambda: 1 / 0), "SimpleNamespace"),
    "rootless": (lambda: SimpleNamespace(root=lambda: None), "SimpleNamespace"),
}
if find_spec("torch") is not None:
    FOREIGN["torch"] = (lambda: import_module("torch").ones(5, requires_grad=True), "Tensor")


def refused(call, thing):
    """What is said of something foreign, in an error of the project, in one line that can be printed."""
    try:
        with pytest.raises(MicrogadError) as error:
            call(FOREIGN[thing][0]())
        check_error(error.value)
    except BaseException as problem:
        problem.add_note(f"given: {thing}")
        raise
    return str(error.value)


@every
@pytest.mark.parametrize("thing", FOREIGN)
def test_what_is_no_graph(view, thing):
    assert re.search(FOREIGN[thing][1], refused(VIEWS[view], thing))


OPTIONS = [
    (name, option)
    for name in ("draw", "play", "network", "shapes", "mermaid", "tree")
    for option in list(inspect.signature(getattr(viz, name)).parameters)[1:]
]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_what_is_no_choice(name, option):
    model, loss = tensors()
    for thing in FOREIGN:
        if thing != "none":  # which is the default of most
            refused(lambda x: getattr(viz, name)(model if option == "x" else loss, **{option: x}), thing)


def bowl(x, y):
    return x**2 + 20 * y**2


def line(f=lambda x: x, X=(0.0, 1.0), y=(1.0, 2.0), **options):  # noqa: N803
    return plot.regression(f, X, y, ax=axes(), **options)


def plane(f=lambda X: X[:, :1], X=((0.0, 1.0), (1.0, 0.0)), y=(0, 1), **options):  # noqa: N803
    return plot.decision_boundary(f, X, y, ax=axes(), **{"grid_resolution": 5, **options})


def race(f=bowl, rivals=None, start=(1.0, 1.0), steps=2, of=plot.race, **options):
    rivals = {"SGD": lambda p: nn.optim.SGD(p, lr=0.01)} if rivals is None else rivals
    return of(f, rivals, start, steps, **options)


def axes():
    return Figure().subplots()


def rectified():
    return nn.MLP(1, [2, 1])


PLOTS = {  # each argument of each function, with something else in its place
    "history": lambda x: plot.history(x, ax=axes()),
    "history: numbers": lambda x: plot.history({"loss": x}, ax=axes()),
    "history: a number": lambda x: plot.history({"loss": [1.0, x]}, ax=axes()),
    "history: keys": lambda x: plot.history({"loss": [1.0]}, x, ax=axes()),
    "decision_boundary": plane,
    "decision_boundary: X": lambda x: plane(X=x),
    "decision_boundary: y": lambda x: plane(y=x),
    "decision_boundary: threshold": lambda x: plane(threshold=x),
    "decision_boundary: levels": lambda x: plane(levels=x),
    "decision_boundary: labels": lambda x: plane(labels=x),
    "decision_boundary: grid_resolution": lambda x: plane(grid_resolution=x),
    "regression": line,
    "regression: X": lambda x: line(X=x),
    "regression: y": lambda x: line(y=x),
    "regression: function": lambda x: line(function=x),
    "flow": lambda x: plot.flow(x, ax=axes()),
    "flow: kinds": lambda x: plot.flow(tensors()[1], x, ax=axes()),
    "weights": lambda x: plot.weights(x, ax=axes()),
    "weights: grads": lambda x: plot.weights(tensors()[0], x, ax=axes()),
    "weights: bins": lambda x: plot.weights(tensors()[0], bins=x, ax=axes()),
    "activations": lambda x: plot.activations(x, ax=axes()),
    "activations: bounds": lambda x: plot.activations("relu", x, ax=axes()),
    "activations: one by name": lambda x: plot.activations({"f": x}, ax=axes()),
    "race": lambda x: race(x, ax=axes()),
    "race: optimizers": lambda x: race(rivals=x, ax=axes()),
    "race: an optimizer": lambda x: race(rivals={"SGD": x}, ax=axes()),
    "race: start": lambda x: race(start=x, ax=axes()),
    "race: steps": lambda x: race(steps=x, ax=axes()),
    "race: bounds": lambda x: race(bounds=x, ax=axes()),
    "animate_race: interval": lambda x: race(of=plot.animate_race, interval=x, ax=axes()),
    "paths": lambda x: race(x, of=plot.paths),
    "linear_regions": lambda x: plot.linear_regions(x, (-1.0, 1.0), ax=axes()),
    "linear_regions: bounds": lambda x: plot.linear_regions(rectified(), x, ax=axes()),
    "count_linear_regions": lambda x: plot.count_linear_regions(x, (-1.0, 1.0)),
    "region_bound": lambda x: plot.region_bound(x, 1, 1),
    "region_bound: inputs": lambda x: plot.region_bound(3, x, 1),
    "region_bound: layers": lambda x: plot.region_bound(3, 1, x),
}
TAKEN = {  # what is not foreign there: the default, a number, or what has all that is asked of it
    *((call, "none") for call in ("history: keys", "decision_boundary: levels", "decision_boundary: labels")),
    *((call, "none") for call in ("regression: function", "flow: kinds", "activations", "race: bounds")),
    *((f"decision_boundary: {name}", "number") for name in ("threshold", "levels")),
    *(("decision_boundary: levels", "array"), ("history: a number", "number")),
    *(("race: optimizers", "none"), ("race: an optimizer", "everything")),
}


@pytest.mark.parametrize("call", PLOTS)
def test_what_cannot_be_plotted(call):
    for thing, (make, _) in FOREIGN.items():
        if (call, thing) in TAKEN:
            PLOTS[call](make())
        else:
            refused(PLOTS[call], thing)
    assert plt.get_fignums() == []


# ---- numbers of every kind


def after(make):
    """A graph after its backward pass, computed without NumPy's warnings."""

    def made():
        with np.errstate(all="ignore"):
            f = make()
            f.backward()
        return f

    return made


def array(*numbers, dtype=float, name=None):
    return Tensor(np.array(numbers, dtype), requires_grad=True, name=name)


def set_later(x):
    f = x * 3.0
    x.data = x.data + 1.0
    return f


def set_by_hand():
    x = Value(2.0, "x")
    f = x * 3.0
    f.backward()
    x.grad, f.grad = NAN, -INF
    return f


def given_gradient(f, gradient):
    f.backward(gradient)
    return f


def not_finite(model, x):
    for p in model.parameters():
        p.data = p.data * NAN if p.ndim == 1 else p.data * INF
    return (model(x) ** 2).sum()


NUMBERS = {
    "of Values": after(
        lambda: sum(Value(x, f"{x}") * y for x in (NAN, INF, -INF, -0.0, 5e-324) for y in (-0.0, 1e308))
    ),
    "at the edge of a domain": lambda: mg.sqrt(Value(0.0, "x")),
    "without a derivative": lambda: Value(-2.0, "x") ** Value(2.0, "y"),
    "of arrays": after(
        lambda: sum(
            (x * 2.0).sum()
            for x in (
                array(NAN, INF, -INF, -0.0),
                array(*[NAN] * 20),
                array(*[NAN, INF] * 20),
                array(*[-INF] * 20),
                array(1.0, NAN, INF, dtype=np.float32),
                Tensor(-0.0, requires_grad=True),
                Tensor(np.ones((0, 3)), requires_grad=True, name="none"),
                Tensor(np.full((1, 2, 1, 3), NAN), requires_grad=True),
            )
        )
    ),
    "poles": after(lambda: (mg.log(array(0.0, -1.0)) / array(0.0, 1.0)).sum()),
    "float32": after(
        lambda: mg.exp(array([100.0, -0.0], dtype=np.float32) @ array([1.0], [NAN], dtype=np.float32)).sum()
    ),
    "a result without numbers": lambda: Tensor(np.ones((0, 3)), requires_grad=True) * 2.0,
    "a product over nothing": after(lambda: (array([], []) @ Tensor(np.ones((0, 3)), requires_grad=True)).sum()),
    "a leaf": lambda: Value(NAN, "x"),
    "a leaf with a gradient": after(lambda: Value(-0.0)),
    "a leaf that needs none": lambda: Tensor([INF, 1.0], name="x"),
    "an empty leaf": lambda: Tensor(np.ones((2, 0)), name="x"),
    "no axes": after(lambda: Tensor(-INF, requires_grad=True)),
    "nothing needs a gradient": lambda: Tensor([1.0, NAN], name="x") * 3.0,
    "set later": lambda: set_later(Value(2.0, "x")),
    "an array set later": lambda: set_later(array(2.0, name="x")),
    "a gradient set by hand": set_by_hand,
    "a gradient that was given": lambda: given_gradient(array(1.0, 2.0) * 3.0, np.array([NAN, -INF])),
    "a jitted call": after(lambda: mg.jit(lambda x: x * NAN + 1.0)(Value(2.0, "x"))),
    "a network": after(lambda: not_finite(nn.MLP(2, [2, 1]), Tensor([[1.0, INF]], name="x"))),
    "neurons": after(lambda: (nn.scalar.MLP(2, [2, 1])([NAN, -INF]) - 1.0) ** 2),
    "many": after(lambda: sum(Value((NAN, INF, -0.0)[i % 3], f"x{i}") * Value(float(i)) for i in range(100))),
    "many poles": after(lambda: sum(mg.log(array(0.0, 1.0 + i)).sum() for i in range(80))),
}
NETWORKS = ("float32", "a network", "neurons")
REFUSED = {  # what cannot be shown, with what is said of it
    **{("network", numbers): "network draws dense layers" for numbers in NUMBERS if numbers not in NETWORKS},
    ("play", "set later"): "data was set after it was computed",
    ("play", "an array set later"): "data was set after it was computed",
    ("play", "many"): "a graph of 399 nodes is too large",
    ("play", "many poles"): "a graph of 319 nodes is too large",
    ("shapes", "many poles"): "picture shows up to 200 equations",
    ("shapes", "many"): "picture shows up to 200 equations",
}
RENDERED = ("draw", "play", "network", "shapes")  # the others are the same picture, or text
ALONE = ("a leaf", "an empty leaf", "set later", "many")


@pytest.mark.parametrize(
    ("view", "numbers"),
    [(view, x) for view in VIEWS for x in NUMBERS if view != "a node alone in a cell" or x in ALONE],
)
def test_numbers_of_every_kind(view, numbers):
    f = NUMBERS[numbers]()
    if reason := REFUSED.get((view, numbers)):
        with pytest.raises(MicrogadError, match=reason) as error:
            VIEWS[view](f)
        check_error(error.value)
        return
    with np.errstate(all="raise"):  # as somebody may have it
        shown = VIEWS[view](f)
    if view == "a node alone in a cell":
        text, alt = repr(f), images_of(shown)[0][1]
    else:
        text = str(getattr(shown, "text", shown))
        alt = getattr(shown, "alt", text)
    said = html.unescape(re.sub(r"#(\d+);", r"&#\1;", alt)).replace("\xa0", " ")  # Mermaid's way to write a character
    if view != "shapes":  # which shows no numbers
        assert ("Not of one computation" in said) == ("set later" in numbers)
        assert number(f.data) in said  # not yet so of many poles in full, for the same reason as in large pictures
    if view in RENDERED:
        bundle = bundle_of(shown)
        assert "<pre>" not in bundle["text/html"]
        assert any(check_output(bundle))
    assert text


# ---- names

NAMES = list(
    dict.fromkeys(
        [
            *HOSTILE,
            r"\frac{1}{0} $x$ $$",
            r"\href{javascript:alert(1)}{x}",
            "%%{init: {'securityLevel': 'loose'}}%%",
            '"]; click v0 href "javascript:alert(1)"; v9["',
            "${alert(1)}",
            "`",
            "{}",
            "{0.x}",
            "%s",
            "</script><script>alert(1)</script>",
            "<!--<script>",
            "<![CDATA[",
            "&#0; &lt;",
            "n" * 2000,
            "",
            "   ",
            "\u0645\u0631\u062d\u0628\u0627",  # right to left
            "e\u0301\u0301\u0301",
            "\U0001f469\u200d\U0001f469\u200d\U0001f467",  # three, joined to one
            "\udfff\ud800",
            "\0",
            "\r\n\x85\u2028",
            "\x1b[31m",
            "\ufeff\ufffe",
            "_",
            "v1",
            "a.b[0]",
            "\u00a0x  y ",
        ]
    )
)
LENGTH = 12  # of the lists of names that are drawn together


def called(names):
    """A network whose inputs, modules, classes, parameters, operations, functions and result have these names."""
    rows = [mg.primitive(f"views_{i}", lambda x: x + 1.0, 1.0, label=name) for i, name in enumerate(names)]

    class Strange(nn.Module):
        def __init__(self):
            self.parts = {name: class_called(name)(2, 2) for name in names}

        def forward(self, x):
            for row, part in zip(rows, self.parts.values(), strict=True):
                x = row(part(x))
            return x

    model = Strange()
    for name, part in model.parts.items():
        part.bias.name = name
    functions = [lambda x: x * 2.0 for _ in names]
    loss = model(Tensor([[1.0, 2.0]], name=names[0])).sum()
    for name, function in zip(names, functions, strict=True):
        function.__name__ = function.__qualname__ = name
        loss = mg.jit(function)(loss)
    loss.name = names[-1]
    loss.backward()
    return loss


def class_called(name):
    try:
        return type(name, (nn.Linear,), {})
    except ValueError:  # no name for a class: UnicodeEncodeError is one, too
        return nn.Linear


@cache
def harmless(view):
    """The form of what a view shows where all names are."""
    return form_of(bundle_of(VIEWS[view](called([f"name{i}" for i in range(LENGTH)]))))


def form_of(bundle):
    """How an output is built, whatever its names are."""
    text = str(bundle["text/plain"])
    if "text/vnd.mermaid" in bundle:
        text = re.sub('"[^"\n]*"', "", text)
        return re.sub("%%.*?\n", "", text)
    return text.count("\n"), [page.shape for page in pages_of(bundle)]


def check_names(view, names, loss):
    shown = VIEWS[view](loss)
    bundle = bundle_of(shown)
    assert form_of(bundle) == harmless(view)
    assert "<pre>" not in bundle.get("text/html", "")
    said = "".join(check_output(bundle))
    for page in pages_of(bundle):
        for image in page.attributes("img"):
            assert image["alt"] == shown.alt
        for frame in page.attributes("iframe"):
            assert frame["srcdoc"] == shown.html
    for name in names:
        start = literal(name)[:12]
        if view in ("draw", "play"):
            assert said.count(start) >= 3  # a parameter, a frame and an operation
        assert start in getattr(shown, "text", start)
    if view == "tree":
        assert all(literal(name) in shown for name in names)


CHUNKS = [tuple((NAMES * 2)[i : i + LENGTH]) for i in range(0, len(NAMES), LENGTH)]
NAMED = [view for view in VIEWS if view != "a node alone in a cell"]  # which is as `draw`
named = cache(called)


@pytest.mark.parametrize("view", NAMED)
@pytest.mark.parametrize("names", CHUNKS, ids=range(len(CHUNKS)))
def test_hostile_names(view, names):
    check_names(view, names, named(names))


marks = st.sampled_from("\"'`<>&;:#%$\\/{}[]()|*_-=+~^@!?., \n\t\0\u2028\u202e\u0301\ufe0f\ud800\xa0\U0001f642x0")
words = st.text(marks | st.characters(), max_size=12) | st.sampled_from(NAMES)


@settings(deadline=None, max_examples=3, database=None, phases=[Phase.generate])  # to shrink would take minutes
@given(st.lists(words, min_size=LENGTH, max_size=LENGTH, unique=True))
def test_names_that_nobody_thought_of(names):
    loss = called(names)
    for view in NAMED:
        check_names(view, names, loss)


def plotted_names(names):
    """Plots in which the names stand wherever a plot has a place for them."""
    X = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])  # noqa: N806
    loss, functions = called(names), []
    for name in names[:3]:
        functions.append(lambda x: mg.tanh(x))
        functions[-1].__name__ = name
    model = nn.Module()
    model.parts = {name: class_called(name)(2, 1) for name in names}
    rivals = {name: lambda p: nn.optim.SGD(p, lr=0.01) for name in names}
    return {
        "history": plot.history({name: [2.0, 1.0] for name in names}, names, ax=axes()),
        "history, right": plot.history({"loss": [2.0, 1.0], f"{names[0]}acc": [0.0, 1.0]}, ax=axes()),
        "decision_boundary": plane(lambda x: x @ np.ones((2, 3)), X, names[:3], labels=names[:3]),
        "flow": plot.flow(loss, ax=axes()),
        "weights": plot.weights(model, ax=axes()),
        "activations": plot.activations(dict.fromkeys(names, "relu"), ax=axes()),
        "activations, functions": plot.activations(functions, ax=axes()),
        "race": race(rivals=rivals, ax=axes()),
    }


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:Matplotlib currently does not support")  # letters without a font
@pytest.mark.parametrize("names", [NAMES[::2], NAMES[1::2]], ids=range(2))
def test_hostile_names_in_plots(names):
    for kind, ax in plotted_names(names).items():
        file = io.StringIO()
        with mpl.rc_context({"svg.fonttype": "none"}):
            ax.figure.savefig(file, format="svg")
        root = ElementTree.fromstring(file.getvalue())
        for element in root.iter():
            assert element.tag.rpartition("}")[2].lower() not in ("script", "a", "foreignobject", "iframe")
            for name, value in element.attrib.items():
                assert not name.lower().startswith("on")
                assert "href" not in name or value.startswith(("#", "data:image/png;"))
        said = "".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))
        if kind == "history":
            for name in names:
                assert literal(name)[:12].replace(" ", "") in said.replace(" ", "")


# ---- files


@cache
def saved(view):
    """What is saved of each view, and with which suffix; the page of `play` is laid out once."""
    shown = VIEWS[view](tensors()[1])
    return shown, ".html" if view == "play" else ".dot"


SAVED = [view for view in VIEWS if view not in ("mermaid", "tree", "a node alone in a cell")]
PATHS = {
    "another suffix": (lambda folder, end: folder / "f.bmp", "unknown suffix '.bmp': use ."),
    "no suffix": (lambda folder, end: folder / "f", "unknown suffix ''"),
    "a suffix alone": (lambda folder, end: folder / end, "unknown suffix ''"),
    "nothing": (lambda folder, end: "", "unknown suffix ''"),
    "a folder": (lambda folder, end: folder / f"folder{end}", "cannot write .*folder"),
    "in no folder": (lambda folder, end: folder / "no" / f"f{end}", "cannot write .*No such file or directory"),
    "in a file": (lambda folder, end: folder / "file" / f"f{end}", "cannot write .*Not a directory"),
    "in /proc": (lambda folder, end: Path(f"/proc/f{end}"), "cannot write /proc/f"),
    "a zero byte": (lambda folder, end: str(folder / f"f\0{end}"), r"cannot write .*f\\x00.*null byte"),
    "a link to itself": (lambda folder, end: folder / f"loop{end}", "cannot write .*loop"),
    "too long": (lambda folder, end: folder / f"{'f' * 300}{end}", "cannot write .*too long"),
    "a lone surrogate": (lambda folder, end: str(folder / f"\ud800{end}"), r"cannot write .*\\ud800"),
    "a number": (lambda folder, end: 3, "a path is text or a Path, not int 3"),
    "bytes": (lambda folder, end: b"f" + end.encode(), "a path is text or a Path, not bytes"),
    "one that fails": (lambda folder, end: Failing(), "a path is text or a Path, not Failing"),
}


def contents(folder):
    """All that is in a folder, with what is in files."""
    found = {path.name: path.read_bytes() if path.is_file() else path.is_symlink() for path in folder.rglob("*")}
    return found, folder.stat().st_mode


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file, a folder and a link to itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    for end in (".dot", ".html"):
        (tmp_path / f"folder{end}").mkdir()
        (tmp_path / f"loop{end}").symlink_to(tmp_path / f"loop{end}")
    return tmp_path


@pytest.mark.parametrize("view", SAVED)
@pytest.mark.parametrize("path", PATHS)
def test_where_no_file_can_be_written(folder, view, path):
    shown, end = saved(view)
    make, said = PATHS[path]
    before = contents(folder)
    with pytest.raises(MicrogadError, match=said) as error:
        shown.save(make(folder, end))
    check_error(error.value)
    assert contents(folder) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(folder):
    folder.chmod(0o500)
    before = contents(folder)
    try:
        for view in SAVED:
            shown, end = saved(view)
            with pytest.raises(MicrogadError, match=r"cannot write .*Permission denied") as error:
                shown.save(folder / f"f{end}")
            check_error(error.value)
            assert contents(folder) == before
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("view", SAVED)
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, view):
    """Files may not grow beyond a few bytes here: writing fails in its middle."""
    resource = pytest.importorskip("resource", reason="limits are those of POSIX")
    shown, end = saved(view)
    shown.save(tmp_path / f"f{end}")  # so that all is computed
    (tmp_path / f"f{end}").write_text("as it was")
    before, limits = contents(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(MicrogadError, match=r"cannot write .*too large") as error:
            shown.save(tmp_path / f"f{end}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_error(error.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("view", SAVED)
def test_a_file_is_replaced_whole_and_a_link_is_followed(tmp_path, view):
    shown, end = saved(view)
    end = ".svg" if end == ".dot" else end
    link, target = tmp_path / f"link{end}", tmp_path / f"target{end}"
    target.write_text("much longer than what comes" * 10_000)
    target.chmod(0o640)
    link.symlink_to(target)
    assert shown.save(str(link)) == str(link)
    text = target.read_text(encoding="utf-8")
    if end == ".svg":
        check_picture(text)
    assert text.strip().endswith("</svg>" if end == ".svg" else "</html>")
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {link.name, target.name}


@pytest.mark.parametrize("view", [*SAVED, "a node alone in a cell"])
def test_a_program_named_dot_that_prints_something_else(tmp_path, monkeypatch, view):
    """Whatever it prints is no picture: the words are there, and nothing is raised."""
    (tmp_path / "dot").write_text("#!/bin/sh\ncat >/dev/null\necho '<p>a greeting</p>'\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    [page] = pages_of(bundle_of(VIEWS[view](values(2)[1])))
    assert "loss" in page.text + "".join(image["alt"] for image in page.attributes("img"))
    assert ("p",) not in page.shape


def test_without_a_renderer_each_view_is_text_and_the_command_to_install(tmp_path):
    done = run_without_renderers(
        "import os, html\n"
        "model = mg.nn.MLP(2, [2, 1])\n"
        "loss = (model(mg.Tensor([[1.0, 2.0]], name='<b>')) ** 2).sum()\n"
        "loss.backward()\n"
        "large = sum(mg.Value(1.0 * i, f'<b>{i}') * 2.0 for i in range(100))\n"
        "draw, network = mg.viz.draw, mg.viz.network\n"
        "shown = [draw(loss), draw(large), draw(loss, depth=0), draw(loss, collapse='Linear'), network(model)]\n"
        "shown += [network(loss), mg.viz.shapes(loss), mg.viz.play(loss), loss]\n"
        "for view in shown:\n"
        "    bundle = view._repr_mimebundle_()\n"
        "    assert not any(tag in bundle['text/html'] for tag in ('<img', '<iframe', '<b'))\n"
        "    assert '<pre>' in bundle['text/html'] and len(bundle['text/plain']) > 20\n"
        "    print(html.unescape(bundle['text/html']).count(INSTALL))\n"
        "    for end in ('.svg', '.png', '.pdf', '.html') if view is not loss else ():\n"
        "        try:\n            view.save(f'f{end}')\n"
        "        except mg.errors.RenderError as error:\n"
        "            assert chr(10) not in str(error) and INSTALL in str(error)\n            print('refused')\n"
        "        except mg.errors.InputError as error:\n            print('another suffix')\n"
        "print(mg.viz.tree(loss)[:3], mg.viz.mermaid(loss)[:9])\n".replace("INSTALL", repr(INSTALL)),
        tmp_path,
    )
    assert done.stderr == ""
    drawing, page = ["1", *["refused"] * 3, "another suffix"], ["1", *["another suffix"] * 3, "refused"]
    assert done.stdout.split("\n") == [*drawing * 7, *page, "1", "(Σ) flowchart", ""]
    assert list(tmp_path.iterdir()) == []


# ---- words that stand in for a picture

LIMIT = 2500  # characters
LONG = [f"{i}{'n' * 2000}" for i in range(12)]
LARGE = {  # as much as each view shows at most, and how the result is named, or that words are left out
    "draw": (lambda: viz.draw(products(37)), "Result: f = "),
    "draw, every node": (lambda: viz.draw(products(200), fold=False), "Result: f = "),
    "draw, 1,000 nodes": (lambda: viz.draw(products(250)), " f (+ ×249): data "),
    "draw, a chain": (lambda: viz.draw(chain(150), fold=False), "Result: "),
    "draw, names": (lambda: viz.draw(sum(Value(1.0, name) for name in LONG)), "Result: "),
    "draw, names of modules": (lambda: viz.draw(called(LONG), depth=0), "; …"),
    "draw, neurons": (lambda: viz.draw(values(16, 16)[1], highlight="x1"), " loss (**): data "),
    "play": (lambda: viz.play(products(75)), "Result: f = "),
    "play, names": (lambda: viz.play(called(LONG)), " … "),
    "network": (lambda: viz.network(deep(49)), "the result is loss = "),
    "network, names": (
        lambda: viz.network(called(LONG), highlight=f"parts.{LONG[0]}.weight[0, 0]"),
        " … ",
    ),
    "shapes": (lambda: viz.shapes(products(25)), "f (1) = "),
    "shapes, names": (lambda: viz.shapes(called(LONG)), " … "),
}


def deep(layers):
    model = nn.MLP(20, [20] * layers + [1])
    loss = (model(np.ones((2, 20))) ** 2).sum()
    loss.name = "loss"
    return loss


@pytest.mark.parametrize("view", LARGE)
def test_words_for_a_large_picture_are_not_endless(view):
    make, result = LARGE[view]
    alt = make().alt
    assert 50 < len(alt) < LIMIT
    assert alt.isprintable()
    assert result in alt


SAID = {  # what they name: inputs or layers, and the result
    "draw": ["X (2, 3) = ", "0.weight (4, 3) = ", "softmax", "Result: loss () = 1.0"],
    "draw, folded": ["X (2, 3) = ", "0.weight (4, 3) = ", "softmax", "Result: loss () = 1.0"],
    "draw, modules as boxes": ["1. X: (2, 3)", "2. Sequential: 4 operations", "4. loss (Σ): (), data 1.0"],
    "draw, calls opened": ["X (2, 3) = ", "0.weight (4, 3) = ", "softmax", "Result: loss () = 1.0"],
    "play": ["X (2, 3) = ", "0.weight (4, 3) = ", "softmax", "Result: loss () = 1.0"],
    "network": [
        "3 inputs",
        "0 Linear of 4 neurons with tanh",
        "2 Linear of 2 neurons with softmax",
        "the result is loss = 1.0",
    ],
    "shapes": ["Linear.0 (2×4) = X (2×3) @ 0.weightᵀ (3×4)", "loss (1) = "],
    "a node alone in a cell": ["X (2, 3) = ", "0.weight (4, 3) = ", "softmax", "Result: loss () = 1.0"],
}


@pytest.mark.parametrize("view", SAID)
def test_every_picture_has_words_that_name_inputs_and_result(view):
    images = images_of(bundle_of(VIEWS[view](tensors()[1])))
    assert len(images) == 1
    [(svg, alt)] = images
    assert check_picture(svg)
    for part in SAID[view]:
        assert part in alt


def test_each_view_with_pictures_is_asked_for_words():
    assert set(SAID) == set(VIEWS) - {"mermaid", "tree"}


# ---- pictures made of pixels


def lettered(letter):
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    loss = model(Tensor([[1.0, 2.0]], name="x")).sum() * Tensor(2.0, name=letter)
    loss.name = f"loss{letter}"
    return loss


PIXELS = {
    "draw": lambda letter: viz.draw(lettered(letter)),
    "draw, folded": lambda letter: viz.draw(products(50, letter)),
    "draw, modules as boxes": lambda letter: viz.draw(lettered(letter), depth=0, theme="dark"),
    "network": lambda letter: viz.network(lettered(letter)),
    "shapes": lambda letter: viz.shapes(lettered(letter), theme="dark"),
}


@pytest.mark.parametrize("view", PIXELS)
def test_a_picture_of_pixels_needs_no_font_and_is_whole(tmp_path, monkeypatch, view):
    (tmp_path / "fonts.conf").write_text("<fontconfig></fontconfig>")
    monkeypatch.setenv("FONTCONFIG_PATH", str(tmp_path))  # a machine that has no fonts
    mg.manual_seed(0)
    seen = []
    for letter in "OQ":
        mg.manual_seed(0)
        path = tmp_path / f"{letter}.png"
        PIXELS[view](letter).save(path)
        with Image.open(path) as image:
            seen.append(np.asarray(image.convert("RGB")))
    for pixels in seen:
        high, wide = pixels.shape[:2]
        inked = (pixels != pixels[2, 2]).any(axis=2)
        inked[[0, -1]] = inked[:, [0, -1]] = False  # a background may end within a pixel
        rows, columns = inked.any(axis=1).nonzero()[0], inked.any(axis=0).nonzero()[0]
        assert 0.005 < inked.mean() < 0.9
        assert min(rows[0], columns[0], high - 1 - rows[-1], wide - 1 - columns[-1]) >= 5  # nothing is cut off
        assert rows[-1] - rows[0] > 0.6 * high
        assert columns[-1] - columns[0] > 0.6 * wide
    assert seen[0].shape != seen[1].shape or (seen[0] != seen[1]).any()


# ---- in a browser

INK = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d");
return [...document.querySelectorAll("svg")].map(svg => {
  const page = svg.getBoundingClientRect();
  const seen = t => t.textContent.trim() && t.checkVisibility({visibilityProperty: true});
  return [...svg.querySelectorAll("text")].filter(seen).map(t => {
    const style = getComputedStyle(t), to = t.getScreenCTM(), at = t.getStartPositionOfChar(0);
    canvas.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const ink = canvas.measureText(t.textContent);
    const corner = (x, y) => new DOMPoint(at.x + x, at.y + y).matrixTransform(to);
    const a = corner(-ink.actualBoundingBoxLeft, -ink.actualBoundingBoxAscent);
    const b = corner(ink.actualBoundingBoxRight, ink.actualBoundingBoxDescent);
    return {
      text: t.textContent, left: a.x, top: a.y, right: b.x, bottom: b.y,
      size: parseFloat(style.fontSize) * Math.hypot(to.a, to.b),
      outside: Math.max(page.left - a.x, page.top - a.y, b.x - page.right, b.y - page.bottom),
    };
  });
});
"""
THEMED = {
    "draw": lambda theme: viz.draw(tensors()[1], theme=theme, highlight="0.weight"),
    "draw, folded": lambda theme: viz.draw(values(16, 16)[1], theme=theme, highlight="x1"),
    "draw, one opened": lambda theme: viz.draw(values(16, 16)[1], theme=theme, expand="layers.2"),
    "draw, modules as boxes": lambda theme: viz.draw(values(2)[1], theme=theme, depth=1),
    "draw, one collapsed": lambda theme: viz.draw(tensors()[1], theme=theme, collapse="Linear"),
    "play": lambda theme: viz.play(tensors()[1], theme=theme),
    "play, Values": lambda theme: viz.play(values(2)[1], theme=theme),
    "network, model": lambda theme: viz.network(values(2)[0], [[1.0, 2.0], [3.0, -4.0]], theme=theme),
    "network, Values": lambda theme: viz.network(values(2)[1], theme=theme, highlight="layers.0.weight[0, 1]"),
    "network": lambda theme: viz.network(tensors()[1], theme=theme),
    "shapes": lambda theme: viz.shapes(tensors()[1], theme=theme),
    "wide letters": lambda theme: viz.play(Value(2.0, "W" * 40) * Value(3.0, "m" * 40), theme=theme),
}


@pytest.mark.parametrize("theme", THEMES)
def test_every_text_can_be_read(chromium, tmp_path, theme):
    """Contrast, size, and that no text is cut off or covers another one, in pictures at their own size."""
    pictures = {view: svg for view, make in THEMED.items() for svg, _ in images_of(bundle_of(make(theme)))}
    assert pictures.keys() == THEMED.keys()
    for styled in (False, True):  # a style sheet is one of the whole page
        some = {view: svg for view, svg in pictures.items() if ("<style>" in svg) == styled}
        body = "".join(f"<p>{svg[svg.index('<svg') :]}</p>" for svg in some.values())
        page = tmp_path / f"{styled}.html"
        page.write_text(f'<!doctype html><meta charset="utf-8"><body style="width: 9000px">{body}', encoding="utf-8")
        open_page(chromium, page)
        for view, inks in zip(some, chromium.execute_script(INK), strict=True):
            assert len(inks) > 5, view
            assert min(ink["size"] for ink in inks) >= 9.0, view
            assert [ink["text"] for ink in inks if ink["outside"] > 0.5] == [], view
            assert [
                (one["text"], other["text"])
                for one, other in itertools.combinations(inks, 2)
                if min(one["right"], other["right"]) - max(one["left"], other["left"]) > 0.3
                and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 0.3
            ] == [], view
        assert faint(chromium) == []
        assert [text.text for text in texts(chromium) if text.clipped] == []
        assert complaints(chromium) == requested(chromium) == []


CELLS = [
    "import microgad as mg\nfrom microgad import Value, nn, viz\nmg.manual_seed(0)",
    "f = sum(mg.sin(Value(0.1 * i, f'x{i}')) * Value(1.0 + i) for i in range(200))\nf.backward()\nf",
    "x = [Value(0.3, 'x1'), Value(-0.2, 'x2')]\n"
    "f = (nn.scalar.MLP(2, [16, 16, 1])(x) - 1.0) ** 2\nf.backward()\nviz.draw(f)",
    "h = Value(1.0, 'h')\nfor _ in range(500):\n    h = mg.tanh(h * 1.01)\nviz.draw(h)",
]
WIDTHS = """
return [...document.querySelectorAll(".jp-OutputArea-output img")].map(image => {
  const box = image.getBoundingClientRect(), around = image.closest(".jp-OutputArea-output").getBoundingClientRect();
  let scrolled = 0;
  for (let e = image.parentElement; e; e = e.parentElement) scrolled = Math.max(scrolled, e.scrollLeft);
  return {
    alt: image.alt, pixels: image.naturalWidth, spare: around.right - box.right, scrolled,
    ratio: (box.width / box.height) / (image.naturalWidth / image.naturalHeight),
  };
});
"""


@pytest.fixture(scope="module")
def large_graphs():
    return run_notebook(CELLS)


def check_widths(driver):
    found = driver.execute_script(WIDTHS)
    assert len(found) == len(CELLS) - 1
    for image in found:
        assert re.match(r"Computation graph of (981|999|1,001) nodes", image["alt"])
        assert image["pixels"] > 0
        assert image["spare"] >= 0, image
        assert image["scrolled"] == 0
        assert image["ratio"] == pytest.approx(1.0, abs=0.01)


def test_a_large_graph_fits_a_page_of_nbconvert(chromium, large_graphs, tmp_path):
    open_page(chromium, nbconvert_page(large_graphs, tmp_path / "notebook.html"))
    check_widths(chromium)


def test_a_large_graph_fits_a_cell_of_jupyterlab(chromium, jupyterlab, large_graphs):
    open_notebook(chromium, jupyterlab, large_graphs, trusted=False)
    check_widths(chromium)


# ---- nothing is changed by looking


def state(model, loss):
    """What could have been changed."""

    def of(node):
        grad = None if node.grad is None else (id(node.grad), np.array(node.grad).tobytes())
        return id(node), node.name, np.array(node.data).tobytes(), grad

    return {
        "nodes": [of(node) for node in topological_order(loss)],
        "parameters": [of(p) for p in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "randomness": str((generator().bit_generator.state, random.getstate(), np.random.get_state())),
        "matplotlib": (dict(mpl.rcParams), mpl.get_backend(), plt.get_fignums()),
        "environment": dict(os.environ),
        "folder": (os.getcwd(), contents(Path.cwd())),
        "numpy": (np.geterr(), np.get_printoptions()),
        "python": (sys.path[:], sys.getrecursionlimit(), sys.stdout, sys.stderr),
    }


def ones(model, columns):
    """A function of points with fewer inputs than the model's."""
    return lambda x: model(np.concatenate([x, np.ones((len(x), 3 - columns))], axis=1))


LOOKED_AT = {
    **{view: lambda model, loss, view=view: bundle_of(VIEWS[view](loss)) for view in VIEWS},
    "draw, marked": lambda model, loss: viz.draw(loss, highlight="X", collapse="Linear", grads=True),
    "network, model": lambda model, loss: bundle_of(viz.network(model)),
    "network, numbers": lambda model, loss: viz.network(model, np.ones((2, 3)), grads=True),
    "flow": lambda model, loss: plot.flow(loss, ax=axes()),
    "weights": lambda model, loss: plot.weights(model, True, ax=axes()),
    "decision_boundary": lambda model, loss: plane(ones(model, 2)),
    "regression": lambda model, loss: line(lambda x: ones(model, 1)(x)[:, :1]),
}


@pytest.mark.parametrize("view", LOOKED_AT)
def test_nothing_is_changed_by_looking(tmp_path, monkeypatch, capfd, view):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model, loss = tensors()
    model.append(nn.Dropout(0.5))
    list(model.modules())[2].eval()  # in a mode of its own
    seen = []
    loss.inputs[0].register_hook(seen.append)
    before = state(model, loss)
    assert LOOKED_AT[view](model, loss)
    assert state(model, loss) == before
    assert seen == []
    assert capfd.readouterr() == ("", "")

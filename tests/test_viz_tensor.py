"""Drawings of arrays: shapes, numbers or their range, gradients, and how operations on whole arrays send them back."""

import html
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from test_mermaid import read
from test_viz import HOSTILE, run_without_renderers, shown, svg_texts

import microgad as mg
from microgad import Tensor, Value, viz
from microgad.agreement import close, outdated
from microgad.naming import FEW, literal, number
from microgad.order import topological_order
from microgad.structural import ROWS, total


def network(rows=3):
    x = Tensor(np.arange(2.0 * rows).reshape(rows, 2), name="X")
    w = Tensor([[1.0, -1.0], [0.5, 2.0]], requires_grad=True, name="W")
    b = Tensor([0.25, -1.0], requires_grad=True, name="b")
    h = mg.nn.linear(x, w, b).relu()
    h.name = "h"
    loss = h.sum()
    loss.name = "loss"
    return loss


def texts_of(f, **options):
    return [text.strip() for text in svg_texts(viz.draw(f, **options))]


def in_words(source):
    """Edge labels of a DOT source that are no numbers."""
    labels = re.findall(r"-> \w+ \[label=<(.*)> headport", source)
    return [html.unescape(re.sub("<[^>]*>", "", label)).strip() for label in labels]


# ---- numbers


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (None, "–"),
        (2.0, "2"),
        (3, "3"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.5), "0.5"),
        (np.array(1.23456789), "1.23457"),
        (np.array([1.23456789]), "[1.23457]"),
        (np.array([[1.23456789]]), "[[1.23457]]"),
        (np.array([1.23456789, -2.0]), "[1.235, -2]"),
        (np.array([[1.0, 2.0], [3.0, 4.0]]), "[[1, 2], [3, 4]]"),
        (np.zeros((2, 1, 2)), "[[[0, 0]], [[0, 0]]]"),
        (np.zeros(0), "[]"),
        (np.zeros((2, 0)), "[[], []]"),
        (np.zeros((0, 500)), "[]"),
        (np.arange(12.0), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]"),
        (np.arange(13.0), "0 … 12"),
        (np.linspace(-1.23456, 1e6, 100), "-1.235 … 1e+06"),
        (np.ones((5, 5)), "all 1"),
        (np.full(20, 1.23456789), "all 1.235"),
        (np.array([np.inf, -np.inf] * 10), "-inf … inf"),
        (np.array([np.nan, 1.0, 2.0] * 5), "1 … 2, 5 nan"),
        (np.array([np.nan] + [1.0] * 12), "1 … 1, 1 nan"),
        (np.full(2000, np.nan), "all nan"),
        (np.array([np.nan] * 1500 + [2.0]), "2 … 2, 1,500 nan"),
        (np.array([True, False]), "[1, 0]"),
        (np.arange(20), "0 … 19"),
        (np.float32(0.1) * np.ones(20, np.float32), "all 0.1"),
        ([1.0, 2.0], "[1, 2]"),
        ("abc", "str 'abc'"),
    ],
    ids=str,
)
def test_how_numbers_are_written(x, text):
    assert number(x) == text


def test_fewer_digits_on_request():
    assert number(np.array([1.23456, 2.0]), 2) == "[1.2, 2]"
    assert number(np.array([1.23456]), 2) == "[1.2]"
    assert number(np.linspace(1.234, 2.345, 50), 2) == "1.2 … 2.3"


# ---- boxes


def test_a_small_tensor_shows_its_shape_and_every_number():
    loss = network()
    loss.backward()
    drawing = viz.draw(loss)
    texts = [text.strip() for text in shown(drawing.pipe("svg", encoding="utf-8"))]
    for text in ("X", "W", "b", "h", "loss", "(3, 2)", "(2, 2)", "(2,)", "()", "linear", "relu", "Σ", "data 18"):
        assert text in texts, text
    assert "float64" not in drawing.source  # as it is unless said otherwise
    for value in loss.inputs[0].data.ravel():
        assert f"{value:.4g}" in texts
    assert texts.count("data") == 5  # X, W, b, and both that were computed
    assert texts.count("grad") == 4  # X has none
    assert texts.count("grad –") == 1
    assert "grad 1" in texts


def test_rows_of_a_matrix_stand_below_each_other():
    source = viz.draw(Tensor([[1.5, 2.5], [3.5, 4.5], [5.5, 6.5]])).source
    rows = re.findall(r"<tr>(.*?)</tr>", source)
    numbers = [found for row in rows if (found := re.findall(r">([\d.]+)<", row))]
    assert numbers == [["1.5", "2.5"], ["3.5", "4.5"], ["5.5", "6.5"]]
    [first] = [row for row in rows if "1.5" in row]
    assert first.count('rowspan="3"') == 3  # the word, and a bracket at either side
    assert [first.count(f'sides="{side}TB"') for side in "LR"] == [1, 1]


def test_matrices_of_a_batch_have_brackets_of_their_own():
    source = viz.draw(Tensor(np.arange(12.0).reshape(3, 2, 2))).source
    assert source.count('sides="LTB"') == 3
    assert source.count('rowspan="2"') == 6


def test_a_large_tensor_shows_its_range():
    x = Tensor(np.linspace(-2.0, 3.0, 128 * 32).reshape(32, 128), name="X", requires_grad=True)
    f = (x * x).sum()
    f.backward()
    texts = texts_of(f)
    for text in ("(32, 128)", "data -2 … 3", "grad -4 … 6", "local (32, 128)", "grad all 1"):
        assert text in texts, text


def test_how_much_is_said_does_not_grow_with_the_arrays():
    sizes = [len(viz.draw((Tensor(np.zeros((n, n))) * 2.0).sum()).source) for n in (10, 1000)]
    assert abs(sizes[1] - sizes[0]) < 30


@pytest.mark.parametrize(("size", "written"), [(FEW, True), (FEW + 1, False)])
def test_up_to_how_many_numbers_are_written(size, written):
    drawing = viz.draw(Tensor(np.arange(100.0, 100.0 + size)))
    assert ("…" in drawing.source) is not written
    assert ("…" in drawing.text) is not written


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (Tensor(np.zeros((2, 3), np.float32)), "(2, 3) float32"),
        (Tensor(np.float32(2.0)), "() float32"),
        (Tensor(2.0), "()"),
        (Tensor([2.0]), "(1,)"),
        (Tensor(np.zeros((0, 3))), "(0, 3)"),
    ],
)
def test_shape_and_dtype(tensor, said):
    assert said in texts_of(tensor)
    assert f"tensor {said} = " in viz.draw(tensor).text
    assert f"unnamed {said} = " in viz.draw(tensor).alt


def test_the_axis_of_an_operation_is_said():
    x = Tensor(np.zeros((2, 3, 4)), name="X")
    assert "axis 1" in texts_of(x.sum(axis=1))
    assert "axes 0, 2" in texts_of(x.max(axis=(0, 2)))
    assert "axis 2" in texts_of(mg.softmax(x))
    assert "axis 1" in texts_of(mg.concatenate([x, x], axis=1))
    assert not [text for text in texts_of(x.sum()) if "ax" in text]
    assert viz.draw(x.sum(axis=1)).text.startswith("(Σ axis 1) (2, 4) = all 0" if FEW < 8 else "(Σ axis 1) (2, 4) = [[")
    assert "Operations: Σ axis 1." in viz.draw(x.sum(axis=1)).alt


# ---- edges


def two(a="A", b="B", needs=True):
    x = Tensor(np.ones((2, 3)), requires_grad=needs, name=a)
    y = Tensor(np.ones((2, 3)), requires_grad=needs, name=b)
    return x, y


def edges_of_each_row():
    x, y = two("X", "W")
    v = Tensor(np.ones(3), name="v", requires_grad=True)
    value = Value(0.5, "x")
    return {
        "matmul": (x @ Tensor(np.ones((3, 2)), name="M"), ["G Mᵀ", "Xᵀ G"]),
        "linear": (mg.nn.linear(x, y, Tensor(np.ones(2), name="b")), ["G W", "Gᵀ X", "Σ G"]),
        "transpose": (x.T, ["Gᵀ"]),
        "reshape": (x.reshape(6), ["G, reshaped"]),
        "broadcast_to": (v.broadcast_to((2, 3)), ["Σ G"]),
        "sum_to": (ROWS["sum_to"].given(to=(3,))(x), ["G, repeated"]),
        "cast": (ROWS["cast"].given(to=np.dtype(np.float32))(x), ["G"]),
        "index": (x[0], ["G at its place, else 0"]),
        "scatter": (ROWS["scatter"].given(key=(0,), to=(2, 3))(v), ["G of its place"]),
        "item": (v.unbind()[0], ["G at its place, else 0"]),
        "concatenate": (mg.concatenate([x, y, x]), ["its part of G"] * 3),
        "stack": (mg.stack([value, value]), ["its part of G"] * 2),
        "sum": (x.sum(), ["G, repeated"]),
        "mean": (x.mean(axis=0), ["G / n, repeated"]),
        "max": (x.max(), ["G at the largest, else 0"]),
        "min": (x.min(), ["G at the smallest, else 0"]),
        "prod": (x.prod(), ["G ⊙ product of the others"]),
        "softmax": (x.softmax(), ["Y ⊙ (G − Σ G ⊙ Y)"]),
        "log_softmax": (x.log_softmax(), ["G − softmax(X) ⊙ Σ G"]),
        "logsumexp": (x.logsumexp(), ["G ⊙ softmax(X)"]),
        "nll": (ROWS["nll"].given(reduction="mean")(x, y), ["−G · W / n", "−G · X / n"]),
        "cross_entropy": (
            ROWS["cross_entropy"].given(reduction="mean", hard=True)(x, y),
            ["(softmax(X) − W) · G / n", "−G · log_softmax(X) / n"],
        ),
    }


EDGES = edges_of_each_row()


def test_every_row_is_tried():
    assert set(EDGES) == set(ROWS)


@pytest.mark.parametrize(("f", "labels"), EDGES.values(), ids=EDGES)
def test_edges_of_operations_on_arrays_say_what_flows_back(f, labels):
    drawing = viz.draw(f)
    assert in_words(drawing.source) == labels
    texts = "".join(shown(drawing.pipe("svg", encoding="utf-8")))
    for label in labels:
        assert label in texts
    chart = [rows[-1] for _, end, rows in read(viz.mermaid(f))[1] if rows]
    assert chart == labels


def test_operands_without_names_are_letters_and_odd_names_stand_in_parentheses():
    x, y = two(None, None)
    assert in_words(viz.draw(x @ y.T).source)[:2] == ["Gᵀ", "G Bᵀ"]  # the first is that of y.T
    x, y = two("hidden layer", "W[0]")
    assert in_words(viz.draw(mg.nn.linear(x, y, np.ones(2))).source) == ["G W[0]", "Gᵀ (hidden layer)", "Σ G"]


def test_inputs_that_need_no_gradient_have_their_edges():
    x, y = two(needs=False)
    y.requires_grad = True
    texts = texts_of(x * 2.0 + y)
    assert texts.count("local 2") == 1
    assert texts.count("local 1") == 2
    assert in_words(viz.draw(x @ Tensor(np.ones((3, 2)))).source) == ["G Bᵀ", "Aᵀ G"]
    assert viz.draw(x * 2.0).source.count("local 2") == 1


def test_local_derivatives_of_arrays():
    x, y = Tensor([[1.5, -2.5]], name="x"), Tensor([[4.5], [8.5]], name="y", requires_grad=True)
    source = viz.draw(x * y).source
    labels = dict(re.findall(r"(v\d) -> v2o \[label=<(.*)> headport", source))
    assert re.findall(r">(-?[\d.]+)<", labels["v0"]) == ["4.5", "8.5"]
    assert re.findall(r">(-?[\d.]+)<", labels["v1"]) == ["1.5", "-2.5"]
    assert labels["v0"].count("<tr>") > labels["v1"].count("<tr>")  # a column and a row
    large = Tensor(np.ones((32, 128)), name="X")
    assert "local (32, 128)" in texts_of(large.tanh())
    assert "local 3" in texts_of(large * 3.0)
    assert "local 1" in texts_of(large + 3.0)


def test_a_value_and_a_tensor_in_one_graph():
    x, v = Value(3.0, "x"), Tensor([1.0, 2.0], requires_grad=True, name="v")
    f = (x * v).unbind()[1] * 2.0
    f.name = "f"
    f.backward()
    texts = texts_of(f)
    for text in ("data 12", "data 3", "grad 4", "local 2", "G at its place, else 0", "(2,)"):
        assert text in texts, text
    assert viz.draw(f).text.split("\n")[2:] == [
        "│   └── (×) (2,) = [3, 6], grad [0, 2]",
        "│       ├── x = 3, grad 4",
        "│       └── v (2,) = [1, 2], grad [0, 6]",
        "└── 2",
    ]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_on_edges_are_drawn_literally(name):
    x = Tensor([[1.0, 2.0]], name=name, requires_grad=True)
    f = x @ Tensor([[1.0], [2.0]], name="y")
    drawing = viz.draw(f, grads=True)
    texts = "".join(shown(drawing.pipe("svg", encoding="utf-8")))
    assert texts.count(literal(name)) == 2  # its box, and the edge of y
    boxes, edges = read(viz.mermaid(f))
    assert boxes["v0"][1][0] == literal(name)
    assert literal(name) in edges[2][2][1]


def test_a_row_that_says_nothing_of_its_way_back():
    silent = replace(total, flow=()).given(axis=None, keepdims=False)
    assert in_words(viz.draw(silent(Tensor([1.0, 2.0]))).source) == ["its vjp"]


# ---- gradients


def test_before_backward_gradients_are_dashes():
    texts = texts_of(network())
    assert texts.count("grad –") == 6
    assert not [text for text in texts if text == "grad"]


def test_grads_can_be_asked_for_or_left_out():
    loss = network()
    assert "grad 1" in texts_of(loss, grads=True)
    assert texts_of(loss, grads=True).count("grad –") == 1  # X needs none
    assert loss.grad is None
    assert not [text for text in texts_of(loss, grads=False) if "grad" in text]


def test_gradients_of_a_tensor_of_several_numbers_are_those_of_the_pass():
    x = Tensor([1.0, 2.0], requires_grad=True, name="x")
    y = x * np.array([10.0, 100.0])
    assert viz.draw(y, grads=True).text.count("grad –") == 3  # of no number there is no gradient
    y.backward([3.0, 4.0])
    text = viz.draw(y).text.split("\n")
    assert text[0].endswith("grad [3, 4]")
    assert text[1] == "├── x (2,) = [1, 2], grad [30, 400]"
    assert text[2].endswith("= [10, 100], grad –")
    y.backward([1.0, 1.0])
    assert viz.draw(y).text.split("\n")[1].endswith("grad [40, 500], of this result [10, 100]")


def test_what_another_result_gave_is_told_apart():
    x = Tensor([1.0, 2.0], requires_grad=True, name="x")
    first, second = (x * x).sum(), (x * 5.0).sum()
    first.backward()
    second.backward()
    texts = texts_of(first)
    assert "of this result" in texts
    assert "x (2,) = [1, 2], grad [7, 9], of this result [2, 4]" in viz.draw(first).text
    assert "of this result" not in viz.draw(x * 1.0, grads=False).text


def test_rounding_is_no_other_result():
    x = Tensor(np.linspace(-1.0, 1.0, 3000).reshape(3, 1000), requires_grad=True, name="x")
    f = (x @ x.T).sum()
    f.backward()
    x.grad = x.grad * (1 + 1e-15) + 1e-13
    assert "of this result" not in viz.draw(f).text
    x.grad = x.grad + 1e-3
    assert "of this result" in viz.draw(f).text
    x32 = Tensor(np.ones(3, np.float32), requires_grad=True, name="x")
    f = (x32 * 0.1).sum()
    f.backward()
    x32.grad = x32.grad * np.float32(1 + 1e-6)
    assert "of this result" not in viz.draw(f).text


@pytest.mark.parametrize("grad", [np.ones(3), 5.0, [[1.0, 2.0]]], ids=str)
def test_a_gradient_that_was_set_by_hand(grad):
    x = Tensor([1.0, 2.0], requires_grad=True, name="x")
    f = (x * x).sum()
    f.backward()
    x.grad = grad
    assert f"grad {number(grad)}, of this result [2, 4]" in viz.draw(f).text
    assert viz.draw(f).pipe("svg").startswith(b"<?xml")
    y = x * 2.0
    y.grad = np.ones(7)
    assert viz.draw(y).text.count("grad –") == 2


def test_nothing_that_needs_a_gradient():
    f = (Tensor([1.0, 2.0]) * 2.0).sum()
    assert viz.draw(f, grads=True).text.count("grad –") == 3


def test_a_drawing_warns_of_nothing_and_changes_nothing():
    x = Tensor([0.0, 1.0], requires_grad=True, name="x")
    with np.errstate(all="ignore"):
        f = (mg.log(x) / x).sum()
    before = [node.grad for node in topological_order(f)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = viz.draw(f, grads=True)
        viz.mermaid(f, grads=True)
        viz.tree(f, grads=True)
    assert "data" in drawing.source
    assert "x (2,) = [0, 1], grad [inf, 1]" in drawing.text
    assert [node.grad for node in topological_order(f)] == before


# ---- text, Mermaid, notebooks


def test_the_tree():
    loss = network(2)
    loss.backward()
    h = loss.inputs[0]
    _, w, b = h.inputs[0].inputs
    data = [number(node.data) for node in (h, h.inputs[0])]
    grads = [number(node.grad) for node in (h, h.inputs[0], w, b)]
    assert viz.draw(loss).text == str(viz.tree(loss))
    assert str(viz.tree(loss)).split("\n") == [
        f"loss (Σ) () = {loss.item():g}, grad 1",
        f"└── h (relu) (2, 2) = {data[0]}, grad {grads[0]}",
        f"    └── (linear) (2, 2) = {data[1]}, grad {grads[1]}",
        "        ├── X (2, 2) = [[0, 1], [2, 3]], grad –",
        f"        ├── W (2, 2) = [[1, -1], [0.5, 2]], grad {grads[2]}",
        f"        └── b (2,) = [0.25, -1], grad {grads[3]}",
    ]


def test_mermaid():
    x = Tensor([[1.0, 2.0]], name="x", requires_grad=True)
    f = (x * 2.0).sum(axis=1)
    f.backward()
    boxes, edges = read(viz.mermaid(f))
    assert boxes == {
        "v0": ("leaf", ["x", "(1, 2)", "data [[1, 2]]", "grad [[2, 2]]"]),
        "v1": ("interior", ["(1, 2)", "data [[2, 4]]", "grad [[1, 1]]"]),
        "v1o": ("operation", ["×"]),
        "v1o1": ("constant", ["2"]),
        "v2": ("result", ["(1,)", "data [6]", "grad [1]"]),
        "v2o": ("operation", ["Σ axis 1"]),
    }
    assert edges == [
        ("v1o", "v1", []),
        ("v0", "v1o", ["local 2"]),
        ("v1o1", "v1o", []),
        ("v2o", "v2", []),
        ("v1", "v2o", ["G, repeated"]),
    ]


def test_mermaid_of_a_product():
    x, y = two("X", "W")
    _, edges = read(viz.mermaid(mg.nn.linear(x, y)))
    assert ("v0", "v3o", ["operand 1", "G Bᵀ"]) in edges
    _, edges = read(viz.mermaid(x - Tensor(np.ones((5, 2, 3)))))
    assert ("v1", "v2o", ["operand 2", "local -1"]) in edges


def test_in_a_notebook():
    loss = network()
    loss.backward()
    bundle = loss._repr_mimebundle_()
    assert bundle["text/plain"] == repr(loss)
    alt = html.unescape(re.search('alt="([^"]*)"', bundle["text/html"])[1])
    assert alt == viz.draw(loss).alt
    for part in (
        "X (3, 2) = [[0, 1], [2, 3], [4, 5]] (grad –)",
        "W (2, 2) = [[1, -1], [0.5, 2]] (grad [[",
        "Operations: linear, relu, Σ.",
        "Result: loss () = 18 (grad 1)",
    ):
        assert part in alt, part
    leaf = Tensor(np.zeros((50, 50)))._repr_mimebundle_()
    assert "(50, 50) = all 0" in html.unescape(leaf["text/html"])


def test_without_a_renderer(tmp_path):
    done = run_without_renderers(
        "f = (mg.Tensor([[1.0, 2.0]], name='X') * 2.0).sum()\n"
        "print(mg.viz.draw(f)._repr_mimebundle_()['text/plain'])\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "X (1, 2) = [[1, 2]], grad –" in done.stdout
    assert 'pip install "microgad[render]"' in done.stdout


@pytest.mark.parametrize("theme", ["light", "dark", "colorblind"])
@pytest.mark.parametrize("rankdir", ["LR", "TB"])
def test_every_direction_and_theme_is_a_picture(theme, rankdir):
    drawing = viz.draw(network(), theme=theme, rankdir=rankdir, highlight="W")
    assert "Marked: every path from W to loss." in drawing.alt
    assert drawing.pipe("png").startswith(b"\x89PNG")


# ---- data that changed


def test_a_picture_of_what_is_no_longer_one_computation_says_so():
    x = Tensor(np.ones((20, 20)), requires_grad=True, name="X")
    f = (x * 2.0).mean()
    f.name = "f"
    f.backward()
    assert "Not of one computation" not in viz.draw(f).source
    x.data -= 0.1 * x.grad
    note = "Not of one computation: X * 2.0 holds other numbers than its operands as they are now give"
    for text in (viz.draw(f).source, viz.draw(f).alt, viz.draw(f).text):
        assert note in text


@pytest.mark.parametrize(("f", "labels"), EDGES.values(), ids=EDGES)
def test_a_graph_of_one_piece(f, labels):
    assert outdated(topological_order(f)) is None


@pytest.mark.parametrize(
    ("x", "y", "same"),
    [
        (np.ones(3), np.ones(3) + 1e-12, True),
        (np.ones(3), np.ones(3) + 1e-6, False),
        (np.array([1e9, 1e-3]), np.array([1e9, 2e-3]), True),  # what rounding of the first leaves of the second
        (np.array([1e9, 1e-3]), np.array([1e9, 20.0]), False),
        (np.array([np.nan, np.inf]), np.array([np.nan, np.inf]), True),
        (np.array([np.nan, np.inf]), np.array([np.nan, -np.inf]), False),
        (np.ones(3, np.float32), np.ones(3, np.float32) + np.float32(1e-6), True),
        (np.ones(3, np.float32), np.ones(3, np.float32) + np.float32(1e-4), False),
        (np.float64(2.0), 2.0, True),
        (np.float64(2.0), 3.0, False),
        (np.zeros((0, 2)), np.zeros((0, 2)), True),
    ],
    ids=str,
)
def test_whether_gradients_are_the_same_but_for_rounding(x, y, same):
    assert close(x, y) is same

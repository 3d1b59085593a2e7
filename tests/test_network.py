"""The network view: its numbers are those of both passes, its marks are the paths, and everything in it can be read."""

import base64
import html
import io
import random
import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import contrast
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops
from test_viz import HOSTILE, shown

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.errors import GraphSizeError, InputError, MicrogadError, ShapeError
from microgad.naming import literal
from microgad.randomness import generator
from microgad.viz.columns import FEW, PALETTES, mixed
from microgad.viz.network import Network, network
from microgad.viz.reading import of_model, of_result
from microgad.viz.render import Drawing
from microgad.viz.text import width_of
from microgad.viz.theme import THEMES

many = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# The lecture's fragment of a network, with numbers: a sigmoid, two outputs, half the sum of squared errors.
X, T = [1.0, 2.0], [1.0, 0.0]
W1, B1 = [[0.1, 0.4], [-0.3, 0.2]], [0.05, -0.1]
W2, B2 = [[0.7, -0.5], [0.6, 0.8]], [0.0, 0.1]
WANT = {
    "z1": [0.95, 0.0],
    "y1": [0.72111518, 0.5],
    "z2": [0.25478062, 0.93266911],
    "d1": [0.00763163, 0.27968624],
    "d2": [-0.74521938, 0.93266911],
    "g1": [[0.00763163, 0.01526326], [0.27968624, 0.55937249]],
    "g2": [[-0.53738900, -0.37260969], [0.67256185, 0.46633455]],
}


def tensors():
    model = nn.MLP(2, [2, 2], "sigmoid")
    for layer, weight, bias in zip(model.layers, (W1, W2), (B1, B2), strict=True):
        layer.weight.data[...], layer.bias.data[...] = weight, bias
    return model


def loss_of(model, x=X, t=T):
    if isinstance(model, nn.scalar.MLP):
        return sum((out - target) ** 2 for out, target in zip(model(x), t, strict=True)) * 0.5
    return ((model(Tensor([x])) - np.array([t])) ** 2).sum() * 0.5


KINDS = {"tensors": tensors, "values": lambda: nn.scalar.MLP.from_module(tensors())}
both = pytest.mark.parametrize("kind", KINDS)


def lecture(kind="tensors", backward=True):
    model = KINDS[kind]()
    loss = loss_of(model)
    if backward:
        loss.backward()
    return model, loss


# ---- what stands in a picture


def statements(drawing):
    """The nodes and the edges of a DOT source, each with its attributes; an edge also with its ends."""
    nodes, edges = {}, []
    for line in drawing.source.splitlines():
        found = re.fullmatch(r"\t(\w+)(?: -> (\w+))? \[(.*)\]", line)
        if not found or found[1] in ("graph", "node", "edge"):
            continue
        label = re.search(r"label=<(.*)>(?= \w+=|$)", found[3])
        rest = found[3].replace(label[0], "") if label else found[3]
        attributes = dict(re.findall(r'(\w+)="?([^"\s]*)"?', rest))
        if found[2]:
            edges.append((found[1], found[2], attributes))
        else:
            lines = re.split(r"<br/>", label[1]) if label else []
            attributes["said"] = [html.unescape(re.sub(r"<[^>]*>", "", text)) for text in lines]
            nodes[found[1]] = attributes
    return nodes, edges


def lines_of(drawing):
    """The lines between circles, squares and boxes, which have names; corners and samples have none."""
    return [edge for edge in statements(drawing)[1] if not {edge[0][0], edge[1][0]} & {"n"}]


def marked(drawing, theme="light"):
    """The names of what is marked: circles and squares, and lines."""
    nodes, _ = statements(drawing)
    path = THEMES[theme].path
    circles = {name for name, look in nodes.items() if look.get("color") == path}
    assert all(float(nodes[name]["penwidth"]) == 3 for name in circles)  # never by colour alone
    edges = lines_of(drawing)
    on = {(tail, head) for tail, head, look in edges if look.get("color") == path}
    widths = {(tail, head): float(look["penwidth"]) for tail, head, look in edges}
    assert all(widths[edge] > 3 for edge in on)
    assert all(width <= 3.6 for edge, width in widths.items() if edge not in on)
    return circles, on


def table(text):
    """The rows of a text's tables as lists of cells."""
    return [line.split() for line in text.splitlines()]


# ---- numbers


@both
def test_the_numbers_of_the_lecture_s_network(kind):
    _, loss = lecture(kind)
    found, _ = of_result(loss, None)
    inputs, first, last = found.layers
    np.testing.assert_allclose(inputs.y, X)
    for layer, z, y, d, g, weight, bias in (
        (first, "z1", "y1", "d1", "g1", W1, B1),
        (last, "z2", "z2", "d2", "g2", W2, B2),
    ):
        np.testing.assert_allclose(layer.z, WANT[z], atol=5e-9)
        np.testing.assert_allclose(layer.y, WANT[y], atol=5e-9)
        np.testing.assert_allclose(layer.dz.astype(float), WANT[d], atol=5e-9)
        np.testing.assert_allclose(layer.bias_grad.astype(float), WANT[d], atol=5e-9)
        np.testing.assert_allclose(layer.weight_grad.astype(float), WANT[g], atol=5e-9)
        np.testing.assert_array_equal(layer.weight, weight)
        np.testing.assert_array_equal(layer.bias, bias)
    np.testing.assert_allclose(first.dy.astype(float), np.array(W2).T @ WANT["d2"], atol=5e-9)
    assert (first.activations, last.activations) == (["sigmoid"] * 2, [""] * 2)
    assert found.result.value == pytest.approx(0.71261179, abs=5e-9)
    assert (found.result.name, found.result.grad) == ("L", 1.0)
    drawing = network(loss)
    for x in (0.95, *WANT["y1"], *WANT["z2"], *WANT["d1"], *WANT["d2"], *np.ravel([WANT["g1"], WANT["g2"]])):
        assert f"{x:.5g}"[:6] in drawing.text
    nodes, _ = statements(drawing)
    assert nodes["z1_0"]["said"] == ["z₀", "0.95", "δ 0.00763"]
    assert nodes["y1_1"]["said"] == ["y₁", "0.5", "∂ 1.119"]
    assert nodes["z2_0"]["said"] == ["z₀", "0.2548", "δ -0.7452"]
    assert nodes["b2_1"]["said"] == ["0.1", "∂ 0.9327"]
    assert nodes["L"]["said"] == ["L", "0.7126", "∂ 1"]
    said = [look["said"] for look in nodes.values()]
    for w, g in zip(np.ravel([W1, W2]), ("0.00763", "0.01526", "0.2797", "0.5594"), strict=False):
        assert [f"{w:g}", f"∂ {g}"] in said


def test_both_kinds_give_the_same_picture():
    """But for the classes of their modules, and for what rounding leaves of z = 0."""
    drawings = []
    for kind in KINDS:
        model, _ = lecture(kind)
        loss = loss_of(model, [1.5, 2.0])
        loss.backward()
        drawings.append(network(loss, highlight="layers.0[1]"))
    one, other = (drawing.source.replace("Layer,", "Linear,").replace("<Layer>", "<Linear>") for drawing in drawings)
    assert one == other
    assert drawings[0].text.replace("Linear", "Layer") == drawings[1].text


@both
def test_a_model_and_its_gradients(kind):
    model, _ = lecture(kind, backward=False)
    nodes, _ = statements(network(model))
    assert [nodes[name]["said"] for name in ("y0_0", "z1_1", "y2_0", "b1_0")] == [["x₀"], ["z₁"], ["y₀"], ["0.05"]]
    nodes, _ = statements(network(model, X))
    assert nodes["y1_0"]["said"] == ["y₀", "0.7211"]
    assert "L" not in nodes
    model, _ = lecture(kind)
    drawing = network(model, X)  # of a new result: no gradient of neurons is known
    nodes, _ = statements(drawing)
    assert nodes["z1_0"]["said"] == ["z₀", "0.95"]
    assert nodes["b1_0"]["said"] == ["0.05", "∂ 0.00763"]
    assert "δ" not in drawing.source
    assert "∂" not in network(model, X, grads=False).text
    model.zero_grad(set_to_none=True)
    assert "∂" not in network(model, X).text
    assert "∂ –" in network(model, X, grads=True).source


@both
def test_dashes_before_the_backward_pass_never_zeros(kind):
    _, loss = lecture(kind, backward=False)
    nodes, _ = statements(network(loss))
    for name in ("z1_0", "y1_0", "z2_1", "b2_0", "L"):
        assert nodes[name]["said"][-1][2:] == "–"
    assert sum(look["said"][-1:] == ["∂ –"] for look in nodes.values()) == 8 + 4 + 4 + 1  # w, b, y and L
    nodes, _ = statements(network(loss, grads=True))
    assert nodes["z2_0"]["said"][-1] == "δ -0.7452"
    assert not [
        text for look in statements(network(loss, grads=False))[0].values() for text in look["said"] if "∂ " in text
    ]


@both
def test_gradients_of_several_passes(kind):
    model, _ = lecture(kind)
    loss = loss_of(model)
    loss.backward()  # once more
    drawing = network(loss)
    nodes, _ = statements(drawing)
    assert nodes["b2_1"]["said"] == ["0.1", "∂ 1.865"]  # what the leaf holds
    assert nodes["z2_1"]["said"][-1] == "δ 0.9327"
    assert "Gradients of weights and biases hold more than this result gave them." in drawing.alt


def test_data_that_was_set_afterwards():
    model, loss = lecture()
    model.layers[0].weight.data[0, 0] = 5.0
    drawing = network(loss)
    assert all("Not of one computation" in text for text in (drawing.alt, drawing.text, drawing.source))


@st.composite
def networks(draw, values=False):
    """A model with numbers of its own, a batch, and what NumPy makes of it: z and y of each layer."""
    widths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    seed = draw(st.integers(0, 2**16))
    activation = draw(st.sampled_from(["tanh", "relu", "sigmoid", "identity"]))
    rng = np.random.default_rng(seed)
    model = nn.MLP(widths[0], widths[1:], activation)
    for p in model.parameters():
        p.data[...] = rng.normal(size=p.shape)
    x = rng.normal(size=(draw(st.integers(1, 5)), widths[0]))
    bend = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0.0), "sigmoid": lambda z: 1 / (1 + np.exp(-z))}
    zs, ys = [], [x]
    for k, layer in enumerate(model.layers):
        zs.append(ys[-1] @ layer.weight.data.T + layer.bias.data)
        ys.append(zs[-1] if k + 2 == len(widths) else bend.get(activation, lambda z: z)(zs[-1]))
    return nn.scalar.MLP.from_module(model) if draw(st.booleans()) else model, x, zs, ys


def result_of(model, x):
    """The mean over the batch of the sum of squares."""
    if isinstance(model, nn.scalar.MLP):
        rows = [out if isinstance(out, list) else [out] for out in map(model, x)]
        return sum(out**2 for row in rows for out in row) / len(x)
    return (model(Tensor(x)) ** 2).sum() / len(x)


@many
@given(networks())
def test_means_over_a_batch_are_numpy_s(case):
    model, x, zs, ys = case
    found = of_model(model, x, None)
    assert found.examples == len(x)
    np.testing.assert_allclose(found.layers[0].y, x.mean(axis=0), atol=1e-12)
    for layer, z, y in zip(found.layers[1:], zs, ys[1:], strict=True):
        np.testing.assert_allclose(layer.z, z.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(layer.y, y.mean(axis=0), atol=1e-12)
    text = network(model, x).text
    assert (f"means over {len(x)} examples" in text) == (len(x) > 1)


@many
@given(networks())
def test_gradients_of_neurons_add_up_to_those_of_biases(case):
    model, x, _, ys = case
    loss = result_of(model, x)
    loss.backward()
    found, _ = of_result(loss, None)
    assert [layer.size for layer in found.layers] == [y.shape[1] for y in ys]
    for layer in found.layers[1:]:
        np.testing.assert_allclose(layer.dz.astype(float), layer.bias_grad.astype(float), atol=1e-9)
    for before, layer in zip(found.layers[1:], found.layers[2:], strict=False):
        np.testing.assert_allclose(before.dy.astype(float), layer.weight.T @ layer.dz.astype(float), atol=1e-9)
    grads = {name: np.asarray(p.grad) for name, p in model.named_parameters()}
    for cells in found.cells:
        if cells.leaf is not None:
            layer = found.layers[cells.layer]
            got = (layer.weight_grad if cells.part == "weight" else layer.bias_grad).ravel()[cells.places]
            np.testing.assert_array_equal(np.asarray(got, float), grads[cells.names[0]])


# ---- paths

ALL_BEHIND_Z1 = {("y1_{}", f"z2_{k}") for k in range(2)} | {(f"z2_{k}", f"y2_{k}") for k in range(2)}
ALL_BEHIND_Z1 |= {(f"y2_{k}", "L") for k in range(2)}
CIRCLES_BEHIND = {"z2_0", "z2_1", "y2_0", "y2_1", "L"}


def behind(i):
    return {(f"z1_{i}", f"y1_{i}"), *((tail.format(i), head) for tail, head in ALL_BEHIND_Z1)}


@both
@pytest.mark.parametrize(
    ("what", "circles", "edges", "paths"),
    [
        pytest.param(
            "layers.1.weight[0, 1]",
            {"z2_0", "y2_0", "L"},
            {("y1_1", "z2_0"), ("z2_0", "y2_0"), ("y2_0", "L")},
            1,
            id="figure 2, of the last layer",
        ),
        pytest.param(
            "layers.0.weight[0, 1]",
            {"z1_0", "y1_0", *CIRCLES_BEHIND},
            {("y0_1", "z1_0"), *behind(0)},
            2,
            id="figure 2, of the first layer",
        ),
        pytest.param("layers.0[1]", {"z1_1", "y1_1", *CIRCLES_BEHIND}, behind(1), 2, id="figure 3"),
        pytest.param(
            "layers.1.bias[0]",
            {"b2_0", "z2_0", "y2_0", "L"},
            {("b2_0", "z2_0"), ("z2_0", "y2_0"), ("y2_0", "L")},
            1,
            id="figure 4, of the last layer",
        ),
        pytest.param(
            "layers.0.bias[0]",
            {"b1_0", "z1_0", "y1_0", *CIRCLES_BEHIND},
            {("b1_0", "z1_0"), *behind(0)},
            2,
            id="figure 4, of the first layer",
        ),
        pytest.param(
            "inputs[0]",
            {"y0_0", "z1_0", "z1_1", "y1_0", "y1_1", *CIRCLES_BEHIND},
            {("y0_0", "z1_0"), ("y0_0", "z1_1"), *behind(0), *behind(1)},
            4,
            id="an input",
        ),
        pytest.param("layers.1[1]", {"z2_1", "y2_1", "L"}, {("z2_1", "y2_1"), ("y2_1", "L")}, 1, id="an output"),
        pytest.param(
            "layers.0.weight[1]",
            {"z1_1", "y1_1", *CIRCLES_BEHIND},
            {("y0_0", "z1_1"), ("y0_1", "z1_1"), *behind(1)},
            4,
            id="a row of weights",
        ),
        pytest.param(
            "layers.1.bias",
            {"b2_0", "b2_1", *CIRCLES_BEHIND},
            {("b2_0", "z2_0"), ("b2_1", "z2_1"), *(edge for edge in behind(0) if edge[0][1] == "2")},
            2,
            id="all biases",
        ),
    ],
)
def test_the_figures_of_the_lecture(kind, what, circles, edges, paths):
    _, loss = lecture(kind)
    plain = network(loss)
    assert marked(plain) == (set(), set())
    assert len(lines_of(plain)) == 8 + 4 + 4 + 2  # figure 1: weights, activations, biases, loss
    for theme in THEMES:
        drawing = network(loss, highlight=what, theme=theme)
        assert marked(drawing, theme) == (circles, edges)
    said = f"Marked: {paths} path{'s' * (paths > 1)} from "
    assert said in drawing.alt
    assert said in drawing.text
    assert said in drawing.source


@both
def test_a_leaf_is_highlighted_as_its_name_is(kind):
    model, loss = lecture(kind)
    if kind == "values":
        neuron = model.layers[0].neurons[1]
        pairs = [
            (neuron.w[0], "layers.0.neurons.1.w.0", "layers.0.weight[1, 0]"),
            (neuron.b, "layers.0.neurons.1.b", "layers.0.bias[1]"),
        ]
    else:
        pairs = [(model.layers[0].weight, "layers.0.weight", "layers.0.weight[:, :]")]
    for leaf, *names in pairs:
        want = marked(network(loss, highlight=leaf))
        assert want[1]
        for name in names:
            assert marked(network(loss, highlight=name)) == want
            assert marked(network(model, X, highlight=name))[1] == {edge for edge in want[1] if edge[1] != "L"}


def test_nodes_that_circles_stand_for_are_highlighted():
    model = nn.scalar.MLP.from_module(tensors())
    x = [Value(1.0, "x0"), Value(2.0, "x1")]
    hidden = model.layers[0](x)
    loss = sum(out * out for out in model.layers[1](hidden))
    assert marked(network(loss, highlight=hidden[1])) == (
        {"y1_1", *CIRCLES_BEHIND},
        behind(1) - {("z1_1", "y1_1")},
    )
    assert marked(network(loss, highlight=x[0])) == marked(network(loss, highlight="inputs[0]"))
    assert "∂ " not in "".join(statements(network(loss, grads=False))[0]["y0_0"]["said"])


@both
@pytest.mark.parametrize("of", ["layers.0", "layers.1"])
def test_the_products_that_are_named_are_the_gradients(kind, of):
    _, loss = lecture(kind)
    found, _ = of_result(loss, None)
    layer = found.layers[1 if of == "layers.0" else 2]
    for i in range(2):
        cases = [(f"{of}.bias[{i}]", layer.bias_grad[i]), (f"{of}[{i}]", layer.dz[i])]
        cases += [(f"{of}.weight[{i}, {j}]", layer.weight_grad[i, j]) for j in range(2)]
        for what, want in cases:
            last = network(loss, highlight=what).text.splitlines()[-1]
            if (of, what) == ("layers.1", f"layers.1[{i}]"):
                assert last.startswith("Marked: 1 path from")  # what the loss makes of it is not the network's
            else:
                assert float(last.rstrip(".").split()[-1]) == pytest.approx(want, rel=1e-3)


class Counted(nn.Module):
    """Layers in which every local derivative is 1, some of them beside a direct path."""

    def __init__(self, widths, skips):
        self.layers = [nn.Linear(n, m) for n, m in pairwise(widths)]
        self.skips = skips
        for p in self.parameters():
            p.data[...] = 1.0

    def forward(self, x):
        for layer, skip in zip(self.layers, self.skips, strict=True):
            x = layer(x) + x if skip and layer.weight.shape[0] == layer.weight.shape[1] else layer(x)
        return x


@many
@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=5), st.lists(st.booleans(), min_size=4, max_size=4), st.booleans()
)
def test_paths_are_counted(widths, skips, loss):
    """Where every local derivative is 1, a derivative is the number of paths."""
    model = Counted(widths, skips[: len(widths) - 1])
    out = model(np.zeros((1, widths[0])))
    out.backward(np.ones(out.shape))
    shown = out.sum() if loss else out
    for name, p in model.named_parameters():
        for at in {(0,) * p.ndim, tuple(n - 1 for n in p.shape)}:
            want = int(model.layers[int(name.split(".")[1])].bias.grad[at[0]])  # those of the neuron
            said = network(shown, highlight=f"{name}{list(at)}", labels=False).alt
            assert f"Marked: {want:,} path" in said


def test_paths_through_what_mixes_neurons():
    model = nn.Sequential(
        nn.Linear(2, 3), nn.Tanh(), nn.Residual(nn.Linear(3, 3), nn.ReLU()), nn.Linear(3, 2), nn.Softmax()
    )
    drawing = network(model, X, highlight="0.bias[1]")
    # z to y, from there 3 ways through the layer and 1 beside it, 2 to its neurons each, 2 to their probabilities
    assert "Marked: 16 paths from 0.bias[1] to the outputs." in drawing.alt
    circles, _ = marked(drawing)
    assert circles == {"b1_1", "z1_1", "y1_1", *(f"{p}2_{k}" for p in "zy" for k in range(3)), "z3_0", "z3_1",
                       "f3", "y3_0", "y3_1"}  # fmt: skip
    assert marked(network(model, X, highlight="3.bias[0]"))[0] == {"b3_0", "z3_0", "f3", "y3_0", "y3_1"}


def test_only_what_lies_on_a_path_is_marked():
    model = Seen()
    out = model(Tensor([X]))
    loss = (out[:, :1] ** 2).sum() + (model.hidden**2).sum()  # beside the outputs, which are one column, a penalty
    circles, edges = marked(network(loss, highlight="second.bias[1]"))
    assert circles == {"b2_1", "z2_1", "y2_1", "L"}
    assert edges == {("b2_1", "z2_1"), ("z2_1", "y2_1"), ("y2_1", "L")}
    drawing = network(loss, highlight="first.bias[1]")
    assert "Marked: 3 paths from first.bias[1] to L." in drawing.alt  # two through the second layer, one beside it
    assert "y of first" in drawing.source


class Seen(nn.Module):
    """Two layers, of which the first can be seen from outside."""

    def __init__(self):
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        self.hidden = self.first(x).tanh()
        return self.second(self.hidden)


def test_of_neurons_that_a_result_is_not_computed_from():
    """One output of two alone: the other one is not in its graph, and the one that is keeps its index."""
    model = nn.scalar.MLP.from_module(tensors())
    out = model(X)[1]
    out.backward()
    drawing = network(out, highlight="layers.0.bias[0]")
    assert marked(drawing) == (
        {"b1_0", "z1_0", "y1_0", "z2_0", "y2_0"},
        {("b1_0", "z1_0"), ("z1_0", "y1_0"), ("y1_0", "z2_0"), ("z2_0", "y2_0")},
    )
    assert statements(drawing)[0]["z2_0"]["said"][0] == "z₁"
    assert ["1", "0.932669", "1", "0.932669", "1", "0.1", "1"] in table(drawing.text)
    weights = model.layers[1].neurons[1].w
    for what in ("layers.1.weight[1, 0]", "layers.1.neurons.1.w.0", weights[0]):
        assert "from layers.1.neurons.1.w.0 to the outputs" in network(out, highlight=what).alt
    for what in ("layers.1.weight[0, 0]", "layers.1.bias[0]", "layers.1[0]", "layers.1.neurons.0.w.0"):
        with pytest.raises(InputError, match=r"no index|nothing named"):
            network(out, highlight=what)
    with pytest.raises(InputError, match="no parameter, input or neuron"):
        network(out, highlight=model.layers[1].neurons[0].b)


# ---- lines


@many
@given(
    st.lists(
        st.one_of(
            st.floats(-1e3, 1e3),
            st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-300, -1e300, 1e300]),
        ),
        min_size=6,
        max_size=6,
    ),
    st.sampled_from(sorted(THEMES)),
)
def test_lines_say_sign_and_size(weights, theme):
    model = nn.Linear(3, 2)
    model.weight.data[...] = np.reshape(weights, (2, 3))
    found = []
    for tail, head, look in lines_of(network(model, theme=theme)):
        if tail[0] == "y":
            w = model.weight.data[int(head[-1]), int(tail[-1])]
            assert (look.get("style") == "dashed") == bool(w < 0)
            sign = PALETTES[theme].positive if w > 0 else PALETTES[theme].negative if w < 0 else THEMES[theme].text
            assert look["color"] == sign
            if np.isfinite(w):
                found.append((abs(w), float(look["penwidth"])))
            else:
                assert look["penwidth"] == "1.00"
    widths = [width for _, width in sorted(found)]
    assert widths == sorted(widths)
    if found and max(found)[0] > 0:
        assert max(widths) == 3.6


@pytest.mark.parametrize("theme", THEMES)
def test_contrast(theme):
    colors, palette = THEMES[theme], PALETTES[theme]
    for color in (palette.positive, palette.negative):
        assert contrast(color, colors.background) >= 4.5  # the numbers of weights have it, too
    assert contrast(colors.path, colors.background) >= 4.5
    for fill in (palette.above, palette.below):
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            shade = mixed(colors.background, fill, share)
            assert contrast(colors.text, shade) >= 4.5
            assert contrast(colors.line, shade) >= 3.0 or share > 0.5  # the circle also stands out by its fill
    assert (mixed("#102030", "#ffffff", 0.0), mixed("#102030", "#ffffff", 1.0)) == ("#102030", "#ffffff")


@pytest.mark.parametrize("theme", THEMES)
def test_a_theme_is_used(theme):
    _, loss = lecture()
    source = network(loss, theme=theme).source
    assert f'bgcolor="{THEMES[theme].background}"' in source
    assert all(color in source for color in PALETTES[theme][:2])
    others = {color for name, other in PALETTES.items() if name != theme for color in other}
    assert not [color for color in others - set(PALETTES[theme]) if color in source]


# ---- where things are


def cases():
    mg.manual_seed(0)
    _, loss = lecture()
    residual = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3), nn.ReLU())
    deep = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Residual(*residual), nn.Linear(3, 4), nn.Softmax())
    deep_loss = (deep(Tensor([[1.0, 2.0], [3.0, 4.0]])) ** 2).sum()
    deep_loss.backward()
    small = nn.scalar.MLP(2, [4, 4, 1], "tanh")
    large = nn.MLP(64, [32, 10])
    name = "the_{}_of_the_layers_of_this_network"
    long = nn.Sequential({name.format("first"): nn.Linear(2, 2), name.format("second"): nn.Linear(2, 1)})
    tiny = nn.MLP(2, [3, 2])
    for p in tiny.parameters():
        p.data[...] *= -1e-7
    wide = nn.Linear(12, 12)
    wide_loss = (wide(np.ones((1, 12))) ** 2).sum()
    wide_loss.backward()
    return {
        "lecture": network(loss),
        "before the backward pass": network(lecture(backward=False)[1]),
        "symbols": network(tensors()),
        "no labels": network(small, labels=False),
        "scalar": network(small, [1.0, -2.0]),
        "residual": network(deep_loss, highlight="0[1]"),
        "large": network(large, np.ones((3, 64))),
        "large with labels": network(large, labels=True),
        "twelve": network(nn.MLP(12, [12, 1])),
        "one": network(nn.Linear(1, 1), [2.0]),
        "long names": network(long, [1.0, 2.0]),
        "long names alone": network(long, labels=False),
        "many labels of two lines": network(wide_loss, labels=True),
        "small numbers": network(tiny, [-1.0, 1e-9]),
        "dark": network(loss, theme="dark", highlight="layers.0.weight[0, 1]"),
    }


CASES = cases()
each = pytest.mark.parametrize("drawing", CASES.values(), ids=CASES)


def boxes_of(drawing):
    """The rectangle or circle of each thing that is seen: its kind, its middle, half its sides, and its text."""
    found = []
    for name, look in statements(drawing)[0].items():
        if look.get("shape") == "point":
            continue
        x, y = map(float, look["pos"].split(","))
        shape = look.get("shape", "text")
        if shape == "text":
            size = float(look["fontsize"])
            half = max(map(lambda text: width_of(text, size), look["said"])) / 2, size / 2
        else:
            half = float(look["width"]) * 36, float(look["height"]) * 36
        found.append((shape, x, y, *half, " ".join(look["said"]) or name))
    return found


def overlap(one, other):
    """How deep two things reach into each other, in points; of a circle what lies beyond its rim is free."""
    (shape, x, y, wide, high, _), (shape2, x2, y2, wide2, high2, _) = sorted((one, other), key=lambda box: box[0])
    if shape == shape2 == "circle":
        return wide + wide2 - np.hypot(x - x2, y - y2)
    if "circle" in (shape, shape2):  # b < c < t: a box comes first, text behind
        if shape != "circle":
            (x, y, wide), (x2, y2, wide2, high2) = (x2, y2, wide2), (x, y, wide, high)
        aside, above = max(0.0, abs(x - x2) - wide2), max(0.0, abs(y - y2) - high2)
        return wide - np.hypot(aside, above)
    return min(wide + wide2 - abs(x - x2), high + high2 - abs(y - y2))


@each
def test_nothing_covers_anything(drawing):
    found = boxes_of(drawing)
    assert len(found) > 5
    for one, other in combinations(found, 2):
        assert overlap(one, other) <= 0.5, f"{one[-1]} and {other[-1]}"


@each
def test_text_fits_into_what_it_stands_in(drawing):
    for look in statements(drawing)[0].values():
        if look.get("shape") == "circle" and len(look["said"]) == 3:
            radius = float(look["width"]) * 36
            for text, size, off in zip(look["said"], (10, 12, 10), (13, 0, 13), strict=True):
                assert np.hypot(width_of(text, size) / 2, off) <= radius
        elif look.get("shape") == "box" and look["said"] and not look["said"][0][0].isalpha():
            assert max(width_of(text, 10) for text in look["said"]) <= float(look["width"]) * 72
            assert 10 * len(look["said"]) <= float(look["height"]) * 72


@each
def test_columns_are_aligned(drawing):
    nodes, _ = statements(drawing)
    places = {name: tuple(map(float, look["pos"].split(","))) for name, look in nodes.items()}
    columns = {}
    for name, (x, y) in places.items():
        if found := re.fullmatch(r"([zyb]\d+)_(\d+)", name):
            columns.setdefault(found[1], []).append((int(found[2]), x, y))
    for column in columns.values():
        assert len({x for _, x, _ in column}) == 1
        heights = [y for _, _, y in sorted(column)]
        assert heights == sorted(heights, reverse=True)
    for name, (x, y) in places.items():
        if name[0] == "z":
            x2, y2 = places[f"y{name[1:]}"]
            assert y2 == y
            assert x2 > x
    rights = [columns[name][0][1] for name in sorted(columns) if name[0] == "y"]
    assert rights == sorted(rights)


@pytest.mark.parametrize("name", ["lecture", "no labels", "residual", "large", "dark", "long names"])
def test_a_picture_is_whole(name):
    drawing = CASES[name]
    background = THEMES["dark" if name == "dark" else "light"].background
    image = Image.open(io.BytesIO(drawing.pipe("png"))).convert("RGB")
    image = image.crop((2, 2, image.width - 2, image.height - 2))  # a background may end within a pixel
    wide, high = image.size
    assert 300 < wide < 8000
    assert 200 < high < 8000
    plain = Image.new("RGB", image.size, background)
    left, top, right, bottom = ImageChops.difference(image, plain).getbbox()
    pad = 0.2 * 192 - 8
    assert min(left, top, wide - right, high - bottom) >= pad * (drawing.dpi or 192) / 192  # nothing is cut off
    assert left < wide / 8
    assert right > wide * 7 / 8
    root = ElementTree.fromstring(drawing.pipe("svg"))
    ratio = float(root.get("width").rstrip("pt")) / float(root.get("height").rstrip("pt"))
    assert wide / high == pytest.approx(ratio, rel=0.01)


# ---- names


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_drawn_literally(name):
    weight = Tensor([[1.0, 2.0]], requires_grad=True, name=name)
    loss = (weight @ Tensor([1.0, 2.0])).tanh().sum()
    loss.name = name
    drawing = network(loss, highlight=weight)
    page = drawing._repr_mimebundle_()["text/html"]
    found = re.fullmatch(r'<img src="data:image/svg\+xml;base64,([^"]*)" alt="([^"<>]*)" style="[^"]*">', page)
    texts = "".join(shown(base64.b64decode(found[1]).decode()))  # a backslash is a text of its own
    said = f"Marked: 2 paths from {literal(name)} to {literal(name)}."
    assert f"from {literal(name)} to {literal(name)}." in texts
    assert said in drawing.text
    assert html.unescape(found[2]).endswith(said)


@settings(max_examples=15, deadline=None)
@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12), st.text(max_size=12))
def test_any_name_makes_a_picture(layer, weight, result):
    if "." in layer or hasattr(nn.Sequential, layer):
        layer = "layer"
    model = nn.Sequential({layer: nn.Linear(2, 2), f"{layer}_2": nn.Linear(2, 1)})
    first = next(iter(model))
    first.weight.name = weight
    loss = model([1.0, 2.0]).sum()
    loss.name = result or None
    loss.backward()
    drawing = network(loss, highlight=first.weight)
    root = ElementTree.fromstring(drawing.pipe("svg"))
    assert len(list(root.iter("{http://www.w3.org/2000/svg}ellipse"))) == 2 + 4 + 2 + 2
    assert "\n" not in drawing.alt


def test_long_names_are_cut_in_the_picture_and_whole_in_the_text():
    drawing = CASES["long names"]
    assert "the_first_of_the_layers_of_this_network Linear" in drawing.text
    assert "…" in drawing.source


def test_names_of_highlights():
    model = tensors()
    drawing = network(model.layers[1], highlight="weight[0, 1]")  # as this module's own parameters are called
    assert "from weight[0, 1] to the outputs" in drawing.alt
    assert network(model.layers[1], highlight="layers.1.weight[0, 1]").source == drawing.source  # and in the model
    assert marked(network(model, highlight="layers.0.weight[-1, -1]")) == marked(
        network(model, highlight="layers.0.weight[1,1]")
    )


# ---- sizes


def test_a_large_network_is_abridged():
    mg.manual_seed(0)
    model = nn.MLP(784, [128, 10])
    x = np.random.default_rng(0).normal(size=(8, 784))
    drawing = network(model, x)
    nodes, _ = statements(drawing)
    assert [sum(name.startswith(f"{part}_") for name in nodes) for part in ("y0", "z1", "y1", "z2")] == [8, 8, 8, 10]
    said = [text for look in nodes.values() for text in look["said"]]
    assert {"776 more", "120 more", "⋮", "784 inputs", "128 neurons", "x₇₈₃", "z₁₂₇"} <= set(said)
    assert len(lines_of(drawing)) == 8 * 8 + 8 * 10 + 2 * (8 + 10)
    assert all(len(look["said"]) < 2 or name[0] in "zyb" for name, look in nodes.items())  # no numbers of weights
    text = drawing.text.splitlines()
    assert len(text) < 60
    assert [row for row in table(drawing.text) if row[:3] == ["120", "more", "…"]]
    inside = network(model, x, highlight="layers.0.weight[60, 400]")
    nodes, _ = statements(inside)
    assert {"y0_400", "z1_60", "y1_60"} <= set(nodes)
    assert ("y0_400", "z1_60") in marked(inside)[1]
    assert "Marked: 10 paths" in inside.alt
    nodes, _ = statements(network(nn.Linear(29, 1), highlight="inputs[15]"))
    assert [look["said"] for look in nodes.values()].count(["10 more"]) == 2
    whole = network(model, highlight="layers.0.weight")
    assert f"Marked: {784 * 128 * 10:,} paths" in whole.alt


@pytest.mark.parametrize(("inputs", "neurons"), [(5, 6), (6, 6), (2, 3)])
def test_where_weights_carry_numbers(inputs, neurons):
    model = nn.Linear(inputs, neurons, bias=False)

    def labels(**options):
        return sum(look.get("shape") == "box" for look in statements(network(model, **options))[0].values())

    assert labels() == (inputs * neurons if inputs * neurons <= FEW else 0)
    assert labels(labels=True) == inputs * neurons
    assert labels(labels=False) == 0


def test_biases_without_numbers():
    nodes, _ = statements(network(tensors(), labels=False))
    assert [nodes[name]["said"] for name in ("b1_0", "b2_1")] == [[], []]
    assert "0.05" in network(tensors(), labels=False).text


def test_no_bias():
    drawing = network(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1)), [1.0, 2.0])
    nodes, _ = statements(drawing)
    assert [name for name in nodes if name[0] == "b"] == ["b2_0"]
    with pytest.raises(InputError, match=r"nothing named '0.bias\[0\]'"):
        network(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1)), highlight="0.bias[0]")


def test_too_many_layers():
    with pytest.raises(GraphSizeError, match="a network of 51 layers; a picture shows up to 50"):
        network(nn.MLP(1, [1] * 51))
    assert network(nn.MLP(1, [1] * 50)).text.split("\n")[0].count("Linear (1 neuron") == 50


# ---- models


class Own(nn.Module):
    """A module that computes with its parameters itself, with examples in columns, as in the lecture, or in rows."""

    def __init__(self, columns):
        self.columns = columns
        self.W, self.b = nn.Parameter(np.array(W1)), nn.Parameter(B1)
        self.out = nn.Linear(2, 2)
        self.out.weight.data[...], self.out.bias.data[...] = W2, B2

    def forward(self, x):
        if self.columns:
            h = mg.sigmoid(self.W @ x + self.b.reshape(-1, 1))
            return self.out.weight @ h + self.out.bias.reshape(-1, 1)
        return self.out(mg.sigmoid(x @ self.W.T + self.b))


def by_hand(form):
    """The lecture's network without modules, in each of the ways in which a layer is written."""
    w1, b1 = Tensor(W1, requires_grad=True, name="W1"), Tensor(B1, requires_grad=True, name="b1")
    w2, b2 = Tensor(W2, requires_grad=True, name="W2"), Tensor(B2, requires_grad=True, name="b2")
    turned = Tensor(np.array(W1).T, requires_grad=True, name="W1")
    x = np.array(X)
    if form == "columns":
        out = w2 @ mg.sigmoid(w1 @ x[:, None] + b1[:, None]) + b2.reshape(2, 1)
        loss = ((out - np.array(T)[:, None]) ** 2).sum() * 0.5
        loss.backward()
        return loss
    h = {
        "vector": lambda: mg.sigmoid(w1 @ Tensor(x) + b1),
        "rows": lambda: mg.sigmoid(x[None] @ w1.T + b1),
        "stored the other way round": lambda: mg.sigmoid(b1 + x[None] @ turned),
        "function": lambda: mg.sigmoid(nn.linear(x[None], w1, b1)),
        "the data need a gradient": lambda: mg.sigmoid(Tensor(x[None], requires_grad=True) @ w1.T + b1),
    }[form]()
    out = h @ w2.T + b2
    loss = ((out - np.array(T)) ** 2).sum() * 0.5
    loss.backward()
    return loss


@pytest.mark.parametrize(
    "form", ["columns", "vector", "rows", "stored the other way round", "function", "the data need a gradient"]
)
def test_ways_to_write_a_layer(form):
    found, _ = of_result(by_hand(form), None)
    assert [layer.name for layer in found.layers] == ["inputs", "layer1", "layer2"]
    for layer, weight, z, d, g in zip(
        found.layers[1:], (W1, W2), ("z1", "z2"), ("d1", "d2"), ("g1", "g2"), strict=True
    ):
        np.testing.assert_array_equal(layer.weight, weight)
        np.testing.assert_allclose(layer.z, WANT[z], atol=5e-9)
        np.testing.assert_allclose(layer.dz.astype(float), WANT[d], atol=5e-9)
        np.testing.assert_allclose(layer.weight_grad.astype(float), WANT[g], atol=5e-9)
    one = "[1, 0]" if form.startswith("stored") else "[0, 1]"
    drawing = network(by_hand(form), highlight=f"W1{one}")
    assert ("y0_1", "z1_0") in marked(drawing)[1]
    assert marked(network(by_hand(form), highlight="layer1.weight[0, 1]")) == marked(drawing)
    assert (found.layers[0].dy is not None) == (form == "the data need a gradient")


@pytest.mark.parametrize("x", [X, [X, [3.0, -1.0]], Tensor(X, name="x"), np.array(X, np.float32)], ids=str)
def test_own_modules(x):
    want = of_model(tensors(), x, None)
    columns = np.reshape(getattr(x, "data", x), (-1, 2)).T
    for own, given_x in ((Own(False), x), (Own(True), columns)):
        got = of_model(own, given_x, None)
        for one, other in zip(got.layers, want.layers, strict=True):
            np.testing.assert_allclose(one.y, other.y)
        assert got.examples == columns.shape[1]
        assert [layer.name for layer in got.layers[1:]] == ["layer1", "out"]
        assert network(own).source.count("sigmoid") == 3  # on zeros


class Plain:
    """micrograd's classes without a base, as somebody may have written them."""

    class Neuron:
        def __init__(self, n):
            self.w, self.b = [Value(0.1 * (k + 1)) for k in range(n)], Value(0.5)

        def __call__(self, x):
            return mg.tanh(sum((w * xi for w, xi in zip(self.w, x, strict=True)), self.b))

    def __init__(self, n, m):
        self.neurons = [Plain.Neuron(n) for _ in range(m)]

    def __call__(self, x):
        return [neuron(x) for neuron in self.neurons]

    def parameters(self):
        return [p for neuron in self.neurons for p in (*neuron.w, neuron.b)]


def test_classes_without_a_base():
    found = of_model(Plain(2, 3), [1.0, 2.0], None)
    [_, layer] = found.layers
    np.testing.assert_allclose(layer.z, 1.0)
    assert layer.activations == ["tanh"] * 3
    assert network(Plain(2, 3), highlight="layer1.weight[2, 1]").alt.endswith("to the outputs.")


@pytest.mark.parametrize(
    ("model", "x", "names"),
    [
        (lambda: nn.scalar.Neuron(3), [1, 2, 3], ["Neuron"]),
        (lambda: nn.scalar.Layer(3, 2), [1, 2, 3], ["Layer"]),
        (lambda: nn.scalar.MLP(2, [3, 1]), [Value(1.0), Value(2.0)], ["layers.0", "layers.1"]),
        (lambda: nn.scalar.MLP(2, [3, 1]), Tensor([[1.0, 2.0], [3.0, 4.0]]), ["layers.0", "layers.1"]),
        (lambda: nn.scalar.MLP(1, [11, 2]), [[0.5]], ["layers.0", "layers.1"]),
        (lambda: nn.Linear(3, 2), [1, 2, 3], ["Linear"]),
        (lambda: nn.Sequential(nn.Linear(3, 2)), np.ones((2, 5, 3)), ["0"]),
        (lambda: mg.jit(tensors()), X, ["layers.0", "layers.1"]),
        (lambda: lambda x: tensors()(x).tanh(), X, ["layers.0", "layers.1"]),
        (lambda: nn.Sequential(nn.Linear(2, 2, dtype=np.float32), nn.ReLU()), X, ["0"]),
    ],
)
def test_kinds_of_models(model, x, names):
    mg.manual_seed(0)
    model = model()
    found = of_model(model, x, None)
    assert [layer.name for layer in found.layers[1:]] == names
    assert all(np.isfinite(layer.y).all() for layer in found.layers)
    assert network(model, x).text


def test_jitted_losses():
    for model in (tensors(), nn.scalar.MLP.from_module(tensors())):
        loss = mg.jit(lambda x, model=model: loss_of(model, x))(X)
        loss.backward()
        found, _ = of_result(loss, None)
        np.testing.assert_allclose(found.layers[1].dz.astype(float), WANT["d1"], atol=5e-9)
        assert "Marked: 2 paths" in network(loss, highlight="layers.0[1]").alt
        found = of_model(mg.jit(model), X, None)
        np.testing.assert_allclose(found.layers[2].y, WANT["z2"], atol=5e-9)


def test_what_lies_between_layers():
    mg.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 3), nn.LayerNorm(3), nn.GELU(),
        nn.Residual(nn.LayerNorm(3), nn.Linear(3, 3), nn.Tanh(), scale=0.5), nn.Linear(3, 2), nn.Softmax(),
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(6, 2))
    for _ in range(3):
        model(x)  # running means
    found = of_model(model, x, None)
    assert [layer.activations[0] for layer in found.layers[1:]] == [
        "BatchNorm1d → relu", "LayerNorm → gelu", "tanh → ×", "softmax",
    ]  # fmt: skip
    assert [layer.mixes for layer in found.layers[1:]] == [False, True, False, True]
    assert found.layers[3].skips == [(2, True, False)]  # from before the second LayerNorm
    model.eval()
    parts, y, want = list(model), x, []
    for part in parts:
        if isinstance(part, nn.Linear):
            want.append(np.asarray(getattr(y, "data", y)).mean(axis=0))
        if isinstance(part, nn.Residual):
            want.append(part[0](y).data.mean(axis=0))
        y = part(y)
    want.append(y.data.mean(axis=0))
    for layer, mean in zip(found.layers, want, strict=True):
        np.testing.assert_allclose(layer.y, mean, atol=1e-12)
    loss = (model.train()(x) ** 2).mean()
    assert of_result(loss, None)[0].layers[1].activations[0] == "BatchNorm1d → relu → Dropout"


def test_a_direct_path_into_what_mixes_neurons():
    """Layer normalization behind a residual connection, as in the first transformers."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Residual(nn.Linear(3, 3)), nn.LayerNorm(3), nn.Linear(3, 1))
    assert of_model(model, X, None).layers[2].skips == [(1, False, True)]
    drawing = network(model, X, highlight="0.bias[0]")
    assert "Marked: 12 paths" in drawing.alt  # 3 through the layer and 1 beside it, each to 3 numbers
    assert {"y2_0", "y2_1", "y2_2"} <= marked(drawing)[0]
    nothing = network(model, X, highlight="1.0.bias[0]")
    assert "Marked: 3 paths" in nothing.alt


def test_a_layer_that_is_used_twice():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    found = of_model(model, X, None)
    assert [one.name for one in found.layers] == ["inputs", "0", "0_2"]
    drawing = network(model, highlight="0.weight[0, 1]")
    assert {("y0_1", "z1_0"), ("y1_1", "z2_0")} <= marked(drawing)[1]
    assert "Marked: 3 paths from 0.weight[0, 1]" in drawing.alt  # 2 from the first use, 1 from the second
    assert "Marked: 1 path from 0_2[0] to the outputs." in network(model, highlight="0_2[0]").alt


def test_a_part_of_a_parameter():
    b = Tensor([0.5, 1.5, 2.5, 3.5], requires_grad=True, name="b")
    out = Tensor([X]) @ Tensor(W1, requires_grad=True).T + b[:2]
    [_, layer] = of_result(out, None)[0].layers
    assert layer.bias.tolist() == [0.5, 1.5]
    reversed_too = Tensor([X]) @ Tensor(W1, requires_grad=True).T.T.T + b[:2][::-1]
    [_, layer] = of_result(reversed_too, None)[0].layers
    assert (layer.weight.tolist(), layer.bias.tolist()) == (W1, [1.5, 0.5])


def test_one_output_without_its_axis():
    model = nn.MLP(2, [3, 1], "tanh")

    class Flat(nn.Module):
        def __init__(self):
            self.inside = model

        def forward(self, x):
            return self.inside(x)[:, 0]

    x = np.ones((4, 2))
    found = of_model(Flat(), x, None)
    np.testing.assert_allclose(found.layers[2].y, model(x).data.mean())
    assert found.result is None
    assert found.layers[2].activations == [""]


class Bent(nn.Module):
    """Behind its last layer it does what no activation of the library does."""

    def __init__(self):
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return mg.exp(-mg.abs(self.layer(x)))


def test_outputs_are_what_the_module_gives():
    model = Bent()
    out = model([X])
    for found in (of_model(model, X, None), of_result((out**2).sum(), None)[0]):
        np.testing.assert_allclose(found.layers[1].y, out.data[0])
        assert found.layers[1].activations == ["abs → neg → exp"] * 2
    bare = of_result((mg.exp(model.layer([X])) ** 2).sum(), None)[0]  # outside of a module it is of the loss
    np.testing.assert_array_equal(bare.layers[1].y, bare.layers[1].z)
    followed = of_result((mg.tanh(model.layer([X])) ** 2).sum(), None)[0]  # but for what is an activation
    np.testing.assert_allclose(followed.layers[1].y, np.tanh(followed.layers[1].z))


def test_residual_connections():
    mg.manual_seed(0)
    model = nn.Sequential(nn.Residual(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), nn.Linear(2, 2))
    drawing = network(model, X, highlight="inputs[0]")
    assert "+ y of inputs, neuron by neuron" in drawing.source
    assert "Marked: 14 paths from inputs[0]" in drawing.alt  # 3 * 2 through two layers and 1 beside them, times 2


# ---- what is left alone


def state(model):
    """All that drawing a model might change."""
    parameters = dict(model.named_parameters())
    return (
        {name: (p, p.grad, np.array(p.data).tolist(), p.name, p.prim) for name, p in parameters.items()},
        [module.training for module in model.modules()],
        {name: np.array(getattr(x, "data", x)).tolist() for name, x in model.named_buffers()},
        generator().bit_generator.state,
        random.getstate(),
    )


class Noisy(nn.Module):
    """It draws random numbers whatever its mode is."""

    def __init__(self):
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return nn.dropout(self.layer(x), 0.5, training=True)


@pytest.mark.parametrize(
    "make",
    [
        tensors,
        KINDS["values"],
        lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1)),
        Noisy,
    ],
)
@pytest.mark.parametrize("x", [None, X, [X, X]])
def test_a_model_is_left_as_it_was(make, x):
    mg.manual_seed(3)
    model = make()
    if not isinstance(model, nn.scalar.MLP):
        model(np.ones((4, 2))).sum().backward()
        list(model.modules())[-1].training = False  # in a mode of its own
    before = state(model)
    network(model, x)
    after = state(model)
    assert after == before
    for name, (_, grad, *_) in before[0].items():
        assert after[0][name][1] is grad


def test_a_model_that_fails_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    with pytest.raises(ShapeError):
        network(model, [1.0, 2.0, 3.0])
    assert all(module.training for module in model.modules())


@both
def test_a_result_is_left_as_it_was(kind):
    model, loss = lecture(kind)
    before = state(model)
    grad, inputs = loss.grad, loss.inputs
    network(loss, highlight="layers.0[1]")
    with mg.no_grad():
        assert network(model, X).text  # recorded all the same
    assert state(model) == before
    assert loss.grad == grad
    assert loss.inputs is not None
    assert all(x is y for x, y in zip(loss.inputs, inputs, strict=True))


# ---- text, files, notebooks


def test_what_is_said():
    _, loss = lecture()
    drawing = network(loss)
    assert isinstance(drawing, Network)
    assert isinstance(drawing, Drawing)
    assert drawing.alt == (
        "A neural network of 2 inputs, layers.0 Linear of 2 neurons with sigmoid, layers.1 Linear of 2 neurons; "
        "the result is L = 0.712612. Inputs: 1, 2. Outputs: 0.254781, 0.932669."
    )
    assert drawing.text.startswith(
        "2 inputs, layers.0 Linear (2 neurons, sigmoid), layers.1 Linear (2 neurons), L = 0.712612, grad 1\n\n"
        "inputs  y\n0       1\n1       2\n\nlayers.0"
    )
    assert network(tensors()).alt == (
        "A neural network of 2 inputs, layers.0 Linear of 2 neurons with sigmoid, layers.1 Linear of 2 neurons."
    )
    model, criterion = tensors(), nn.MSELoss()
    loss = criterion(model([X]), [T])
    said = [look["said"] for look in statements(network(loss))[0].values()]
    assert ["MSELoss"] in said
    loss.name = "error of all"
    drawing = network(loss)
    assert "the result is error of all = " in drawing.alt
    assert ["error of all"] in [look["said"] for look in statements(drawing)[0].values()]
    assert "∂L/∂z" in drawing.text  # a symbol in formulas
    loss.name = "E"
    assert "∂E/∂z" in network(loss).text
    assert marked(network(model, highlight="layers.0")) == marked(network(model, highlight="layers.0[:]"))


def test_nan_and_inf_are_drawn_as_such():
    model = nn.Linear(2, 1)
    model.weight.data[...] = [[np.nan, np.inf]]
    nodes, _ = statements(network(model, [1.0, 1.0]))
    said = [look["said"] for look in nodes.values()]
    assert ["nan"] in said
    assert ["inf"] in said
    assert nodes["z1_0"]["said"] == ["z₀", "nan"]
    nodes, _ = statements(network(nn.Linear(2, 1), [np.inf, -1.0]))
    assert nodes["y0_0"]["said"] == ["x₀", "inf"]
    assert nodes["y0_0"]["fillcolor"] == PALETTES["light"].above


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "dot"])
def test_files(tmp_path, suffix):
    path = tmp_path / f"net.{suffix}"
    assert network(tensors(), X).save(path) == str(path)
    begins = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF", "dot": b"digraph"}[suffix]
    assert path.read_bytes().startswith(begins)


def test_a_notebook_shows_it():
    bundle = network(tensors(), X)._repr_mimebundle_()
    assert bundle["text/plain"].startswith("2 inputs")
    assert 'alt="A neural network of 2 inputs' in bundle["text/html"]


# ---- errors


def graph(form):
    x, rng = Tensor(np.ones((1, 3)), name="x"), np.random.default_rng(0)
    w, u = (Tensor(rng.normal(size=(3, 3)), requires_grad=True, name=name) for name in "WU")
    h = mg.tanh(x @ w)
    windows = mg.stack([Tensor(np.arange(8.0))[None, i : i + 3] for i in range(6)], axis=1)
    with mg.no_grad():
        cut = x @ w
    return {
        "expression": lambda: mg.parse("(x + y) * z", x=-2, y=5, z=-4),
        "leaf": lambda: Value(1.0),
        "cut": lambda: cut,
        "side by side": lambda: x @ w * mg.sigmoid(x @ u),
        "recurrent": lambda: mg.tanh(x @ w + h @ u),
        "joined": lambda: mg.concatenate([h, h], axis=1) @ Tensor(np.ones((6, 2)), requires_grad=True),
        "attention": lambda: (h.T @ h) @ u,
        "convolution": lambda: (windows @ w).relu().reshape(1, 18) @ Tensor(np.ones((18, 2)), requires_grad=True),
        "part": lambda: h[:, :2] @ Tensor(np.ones((2, 2)), requires_grad=True),
        "exchanged": lambda: h[:, ::-1] @ u,
        "empty": lambda: x @ Tensor(np.ones((3, 0)), requires_grad=True),
        "of no examples": lambda: Tensor(np.ones((0, 3))) @ w,
        "parameters alone": lambda: (w @ w.T).sum(),
        "broadcast": lambda: (x[:, :1] + (x[:, :1] @ Tensor(np.ones((1, 3)), requires_grad=True)).relu()) @ u,
        "of two examples": lambda: (lambda one, two: one @ u + (one + two) @ u)(h, mg.tanh((x * 2.0) @ w)),
    }[form]()


def values(form):
    """Neurons of Values that are no chain of layers."""
    one, two = nn.scalar.Layer(2, 2), nn.scalar.Layer(2, 2)
    a, b = one.neurons
    x, h = [Value(1.0), Value(2.0)], one([1.0, 2.0])
    return {
        "joined": lambda: nn.scalar.Neuron(4)([*h, 1.0, 2.0]),
        "one for two": lambda: sum(two([h[0] + h[1], 5.0])),
        "twice": lambda: sum(two([h[0], h[0]])),
        "exchanged": lambda: (lambda out: out[0] + h[1] - nn.scalar.Neuron(2)([out[0] + h[1], out[1] + h[0]]))(two(h)),
        "more often": lambda: a(x) + a([3.0, 4.0]) + b(x),
        "of others": lambda: a(x) + b(x[::-1]),
    }[form]()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("joined", "there are 2 neurons in layer1 and 4 numbers behind it"),
        ("one for two", "other numbers than its own are used behind layer1"),
        ("twice", "not each neuron of layer 1 goes into the next one once"),
        ("exchanged", "numbers of layer1 are used again behind layer2, not one for one"),
        ("more often", "some neurons of a layer are used more often than others"),
        ("of others", "not all neurons of a layer are given the same numbers"),
    ],
)
def test_neurons_that_are_no_chain_of_layers(form, said):
    with pytest.raises(InputError) as error:
        network(values(form))
    assert said in re.sub(r"\bLayer(_(\d))?\b", lambda found: f"layer{found[2] or 1}", str(error.value))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("expression", r"this graph has none, only \+, ×; viz.draw"),
        ("leaf", "nothing that was computed"),
        ("cut", "no_grad"),
        ("side by side", "W, U stand side by side"),
        ("recurrent", "used more often"),
        ("joined", "the shape changes"),
        ("attention", "the shape changes"),
        ("convolution", "the shape changes"),
        ("part", "the shape changes"),
        ("exchanged", "behind layer1 comes index"),
        ("empty", r"a weight of shape \(3, 0\) has no neurons"),
        ("of no examples", "there is no example"),
        ("parameters alone", "this graph has none"),
        ("broadcast", "numbers of inputs are used again behind layer1, not one for one"),
        ("of two examples", "other numbers than its own are used behind layer1"),
    ],
)
def test_graphs_that_are_no_chain_of_layers(form, said):
    with pytest.raises(MicrogadError, match=said) as error:
        network(graph(form))
    assert "\n" not in str(error.value)


SCALAR = nn.scalar.MLP.from_module(tensors())


@pytest.mark.parametrize(
    ("args", "options", "kind", "said"),
    [
        ((3,), {}, InputError, "a model or the graph of a result, not int 3"),
        ((None,), {}, InputError, "not NoneType"),
        ((nn.MLP,), {}, InputError, "not the class MLP"),
        ((tensors(),), {"theme": "pink"}, InputError, "no theme 'pink': choose from light"),
        ((tensors(),), {"theme": []}, InputError, "no theme"),
        ((tensors(),), {"labels": 2}, InputError, "labels is True, False or None"),
        ((tensors(),), {"grads": "no"}, InputError, "grads is True, False or None"),
        ((lecture()[1], X), {}, InputError, "takes no x"),
        ((tensors(), [1.0, 2.0, 3.0]), {}, ShapeError, "Linear layers.0 takes 2 features"),
        ((tensors(), np.ones((4, 3))), {}, ShapeError, "Linear layers.0 takes 2 features"),
        ((tensors(), 3.0), {}, ShapeError, "takes 2 features"),
        ((tensors(), "ab"), {}, InputError, "x: a Tensor holds real numbers"),
        ((tensors(), {"a": 1}), {}, InputError, "x: a Tensor"),
        ((tensors(), np.ones((0, 2))), {}, ShapeError, "no example"),
        ((SCALAR, [1.0, 2.0, 3.0]), {}, ShapeError, "Layer layers.0 takes 2 numbers for an example, not 3"),
        ((SCALAR, np.ones((2, 2, 2))), {}, ShapeError, "one example or a batch of them"),
        ((SCALAR, np.ones((0, 2))), {}, ShapeError, "no example"),
        ((SCALAR, "ab"), {}, InputError, "x: a Tensor"),
        ((nn.ReLU(),), {}, InputError, "needs x, an example"),
        ((nn.ReLU(), X), {}, InputError, "this graph has none, only relu"),
        ((nn.LayerNorm(2), X), {}, InputError, "this graph has none"),
        ((lambda x: x,), {}, InputError, "needs x, an example"),
        ((lambda x: 1 / 0, X), {}, InputError, "fails: ZeroDivisionError: division by zero"),
        ((lambda x: None, X), {}, InputError, "and this one gives NoneType"),
        ((lambda x: [], X), {}, InputError, "gives an empty list"),
        ((lambda x: x.data, X), {}, InputError, "this one gives ndarray"),
        ((lambda x: (tensors()(x), tensors()(x)), X), {}, InputError, "the model gives 2 Tensors"),
        ((nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 1)),), {}, InputError, "on zeros to find its layers: Linear 1"),
        ((tensors(),), {"highlight": 3}, InputError, "highlight is a name, a Value or a Tensor, not int 3"),
        ((tensors(),), {"highlight": Value(1.0, "q")}, InputError, "q is no parameter, input or neuron"),
        ((tensors(),), {"highlight": "layers.0.weigth[1, 0]"}, InputError, r"did you mean layers.0.weight\[1, 0\]\?"),
        ((tensors(),), {"highlight": "layer.1[0]"}, InputError, r"did you mean layers.[01]\[0\]\?"),
        ((tensors(),), {"highlight": "?"}, InputError, "it has layers.0.weight, layers.0.bias"),
        ((tensors(),), {"highlight": ""}, InputError, "nothing named ''"),
        ((tensors(),), {"highlight": "layers.0.weight[2, 0]"}, InputError, r"of shape \(2, 2\) has no index \[2, 0\]"),
        ((tensors(),), {"highlight": "layers.0.weight[0, 0, 0]"}, InputError, "has no index"),
        ((tensors(),), {"highlight": "layers.0[7]"}, InputError, r"layers.0 of shape \(2,\) has no index \[7\]"),
        ((tensors(),), {"highlight": "layers.0[x]"}, InputError, "nothing named"),
        ((tensors(),), {"highlight": "layers.0[" + "9" * 30 + "]"}, InputError, "nothing named"),
        ((SCALAR,), {"highlight": "layers.0.neurons.5.b"}, InputError, r"did you mean layers.0.neurons.\d.b\?"),
    ],
)
def test_errors_say_what_happened(args, options, kind, said):
    with pytest.raises(kind, match=said) as error:
        network(*args, **options)
    assert "\n" not in str(error.value)


def test_gradients_set_by_hand():
    model = tensors()
    model.layers[0].bias.grad = [1.0, 2.0]
    assert statements(network(model))[0]["b1_0"]["said"] == ["0.05", "∂ 1"]
    model.layers[0].bias.grad = [1.0]
    with pytest.raises(ShapeError, match=r"the grad of layers.0.bias has shape \(1,\), and its own is \(2,\)"):
        network(model)

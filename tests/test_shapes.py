"""Block diagrams: that their equations are right in shape and in number, true to scale, and shown everywhere."""

import html
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from browser import contrast
from hypothesis import given
from hypothesis import strategies as st
from test_viz import HOSTILE, picture, run_without_renderers, shown

import microgad as mg
from microgad import Tensor, Value, primitives, viz
from microgad.errors import GraphSizeError, InputError, MicrogadError, RenderError
from microgad.naming import literal
from microgad.order import topological_order
from microgad.primitives import TABLE
from microgad.structural import ROWS
from microgad.viz.blocks import Block, Equations
from microgad.viz.shapes import BRACKET, GAP, LIMIT, LONG, SHORT, THIN, _Scale, _type, shapes
from microgad.viz.text import width_of
from microgad.viz.theme import THEMES


def leaf(name, *shape, needs=True):
    rng = np.random.default_rng(sum(map(ord, name or "x")))
    return Tensor(rng.uniform(0.2, 0.9, shape), requires_grad=needs, name=name)


def called(name, x):
    x.name = name
    return x


def layer(m=None):
    """The layer of figures 5 and 6: columns are examples."""
    w, y = leaf("W", 2, 3), leaf("Y", *(3,) if m is None else (3, m))
    b = leaf("b", 2) if m is None else leaf("b", 2, 1)
    return called("Z", w @ y + b)


def two_layers():
    w1, b1, w2, b2 = leaf("W1", 3, 4), leaf("b1", 3, 1), leaf("W2", 2, 3), leaf("b2", 2, 1)
    z1 = called("Z1", w1 @ leaf("Y0", 4, 5, needs=False) + b1)
    return called("Z2", w2 @ called("Y1", z1.sigmoid()) + b2)


def classifier():
    h = mg.nn.linear(leaf("X", 5, 4, needs=False), leaf("W1", 3, 4), leaf("b1", 3)).relu()
    z = called("z", mg.nn.linear(h, leaf("W2", 2, 3), leaf("b2", 2)))
    return mg.nn.cross_entropy(z, Tensor(np.eye(2)[[0, 1, 1, 0, 1]], name="T"))


def recurrent(n):
    h, u = leaf("h", 3), leaf("U", 3, 3)
    for _ in range(n):
        h = (u @ h).tanh()
    return h


def reused():
    x = leaf("X", 2, 2)
    return x * x


def reused_activation():
    y = called("y", leaf("z", 3).relu())
    return leaf("W", 2, 3) @ y + leaf("V", 2, 3) @ y


def lines(f, **options):
    return shapes(f, **options).text.split("\n")


@pytest.mark.parametrize(
    ("f", "text"),
    [
        pytest.param(
            layer(),
            """forward
Z (2) = W (2×3) @ Y (3) + b (2)
backward
δZ (2) = G (2)
∇b (2) = δZ (2)
∇W (2×3) = δZ (2×1) @ Yᵀ (1×3)
∇Y (3) = Wᵀ (3×2) @ δZ (2)""",
            id="figure 5",
        ),
        pytest.param(
            layer(32),
            """forward
Z (2×32) = W (2×3) @ Y (3×32) + b (2×1)
backward
δZ (2×32) = G (2×32)
∇b (2×1) = Σ δZ (2×32)
∇W (2×3) = δZ (2×32) @ Yᵀ (32×3)
∇Y (3×32) = Wᵀ (3×2) @ δZ (2×32)""",
            id="figure 6",
        ),
        pytest.param(
            two_layers(),
            """forward
Z1 (3×5) = W1 (3×4) @ Y0 (4×5) + b1 (3×1)
Y1 (3×5) = sigmoid(Z1 (3×5))
Z2 (2×5) = W2 (2×3) @ Y1 (3×5) + b2 (2×1)
backward
δZ2 (2×5) = G (2×5)
∇b2 (2×1) = Σ δZ2 (2×5)
∇W2 (2×3) = δZ2 (2×5) @ Y1ᵀ (5×3)
δZ1 (3×5) = (W2ᵀ (3×2) @ δZ2 (2×5)) ⊙ sigmoid′(Z1) (3×5)
∇b1 (3×1) = Σ δZ1 (3×5)
∇W1 (3×4) = δZ1 (3×5) @ Y0ᵀ (5×4)""",
            id="figure 6, two layers",
        ),
        pytest.param(
            classifier(),
            """forward
v1 (5×3) = X (5×4) @ W1ᵀ (4×3) + b1 (3)
v2 (5×3) = relu(v1 (5×3))
z (5×2) = v2 (5×3) @ W2ᵀ (3×2) + b2 (2)
f (1) = cross_entropy(z (5×2), T (5×2))
backward
δf (1) = 1
δz (5×2) = (softmax(z) (5×2) ⊙ Σ T (5×2) − T (5×2)) · δf (1) / n
∇W2 (2×3) = δzᵀ (2×5) @ v2 (5×3)
∇b2 (2) = Σ δz (5×2)
δv1 (5×3) = (δz (5×2) @ W2 (2×3)) ⊙ relu′(v1) (5×3)
∇W1 (3×4) = δv1ᵀ (3×5) @ X (5×4)
∇b1 (3) = Σ δv1 (5×3)""",
            id="linear and cross_entropy",
        ),
        pytest.param(
            called("Z", leaf("X", 5, 3) @ leaf("W", 2, 3).T + leaf("b", 2)),
            """forward
Z (5×2) = X (5×3) @ Wᵀ (3×2) + b (2)
backward
δZ (5×2) = G (5×2)
∇b (2) = Σ δZ (5×2)
∇X (5×3) = δZ (5×2) @ W (2×3)
∇W (2×3) = δZᵀ (2×5) @ X (5×3)""",
            id="rows are examples",
        ),
        pytest.param(
            (leaf("X", 2, 3) * 0.5).sum(axis=0).mean(),
            """forward
v1 (2×3) = X (2×3) · 0.5
v2 (3) = sum(v1 (2×3), axis=0)
f (1) = mean(v2 (3))
backward
δf (1) = 1
δv2 (3) = δf (1) / n, repeated
δv1 (2×3) = δv2 (3), repeated
∇X (2×3) = δv1 (2×3) · 0.5""",
            id="reductions",
        ),
        pytest.param(
            leaf("X", 2, 3) * leaf("m", 3) - leaf("c"),
            """forward
v1 (2×3) = X (2×3) ⊙ m (3)
f (2×3) = v1 (2×3) - c (1)
backward
δf (2×3) = G (2×3)
∇c (1) = Σ −δf (2×3)
δv1 (2×3) = δf (2×3)
∇X (2×3) = δv1 (2×3) ⊙ m (3)
∇m (3) = Σ δv1 (2×3) ⊙ X (2×3)""",
            id="broadcasting",
        ),
        pytest.param(
            reused(),
            """forward
f (2×2) = X (2×2) ⊙ X (2×2)
backward
δf (2×2) = G (2×2)
∇X (2×2) = δf (2×2) ⊙ X (2×2)
    + δf (2×2) ⊙ X (2×2)""",
            id="used twice",
        ),
        pytest.param(
            recurrent(2),
            """forward
v1 (3) = U (3×3) @ h (3)
v2 (3) = tanh(v1 (3))
v3 (3) = U (3×3) @ v2 (3)
f (3) = tanh(v3 (3))
backward
δf (3) = G (3)
δv3 (3) = δf (3) ⊙ tanh′(v3) (3)
δv1 (3) = (Uᵀ (3×3) @ δv3 (3)) ⊙ tanh′(v1) (3)
∇U (3×3) = δv3 (3×1) @ v2ᵀ (1×3)
    + δv1 (3×1) @ hᵀ (1×3)
∇h (3) = Uᵀ (3×3) @ δv1 (3)""",
            id="weights that are shared",
        ),
        pytest.param(
            called("out", (leaf("Q", 2, 3, 4) @ leaf("K", 2, 3, 4).transpose(0, 2, 1)).softmax(axis=-1)),
            """forward
v1 (2×3×3) = Q (2×3×4) @ Kᵀ (2×4×3)
out (2×3×3) = softmax(v1 (2×3×3), axis=2)
backward
δout (2×3×3) = G (2×3×3)
δv1 (2×3×3) = out (2×3×3) ⊙ (δout (2×3×3) − Σ δout (2×3×3) ⊙ out (2×3×3))
∇Q (2×3×4) = δv1 (2×3×3) @ K (2×3×4)
∇K (2×3×4) = δv1ᵀ (2×3×3) @ Q (2×3×4)""",
            id="batches of matrices",
        ),
        pytest.param(
            mg.parse("(x + y) * z", x=-2, y=5, z=-4),
            """forward
v1 (1) = x (1) + y (1)
f (1) = v1 (1) · z (1)
backward
δf (1) = 1
∇z (1) = δf (1) · v1 (1)
δv1 (1) = δf (1) · z (1)
∇x (1) = δv1 (1)
∇y (1) = δv1 (1)""",
            id="values",
        ),
        pytest.param(
            reused_activation(),
            """forward
y (3) = relu(z (3))
f (2) = W (2×3) @ y (3) + V (2×3) @ y (3)
backward
δf (2) = G (2)
∇V (2×3) = δf (2×1) @ yᵀ (1×3)
∇W (2×3) = δf (2×1) @ yᵀ (1×3)
δy (3) = Vᵀ (3×2) @ δf (2)
    + Wᵀ (3×2) @ δf (2)
∇z (3) = δy (3) ⊙ relu′(z) (3)""",
            id="an activation used twice",
        ),
        pytest.param(
            leaf("W", 2, 3) @ (leaf("z", 3) + np.ones((3, 3))),
            """forward
v2 (3×3) = z (3) + v1 (3×3)
f (2×3) = W (2×3) @ v2 (3×3)
backward
δf (2×3) = G (2×3)
∇W (2×3) = δf (2×3) @ v2ᵀ (3×3)
δv2 (3×3) = Wᵀ (3×2) @ δf (2×3)
∇z (3) = Σ δv2 (3×3)""",
            id="what was repeated is no activation",
        ),
        pytest.param(
            leaf("A", 5, 2, 3) @ leaf("x", 3),
            """forward
f (5×2) = A (5×2×3) @ x (3)
backward
δf (5×2) = G (5×2)
∇A (5×2×3) = δf (5×2×1) @ xᵀ (1×3)
∇x (3) = Σ Aᵀ (5×3×2) @ δf (5×2×1)""",
            id="a batch of matrices and one vector",
        ),
        pytest.param(
            leaf("A", 2, 3, 4).transpose(2, 0, 1),
            """forward
f (4×2×3) = transpose(A (2×3×4), (2, 0, 1))
backward
δf (4×2×3) = G (4×2×3)
∇A (2×3×4) = δfᵀ (2×3×4)""",
            id="axes in another order",
        ),
        pytest.param(
            leaf("A", 2, 3).T.T @ leaf("x", 3),
            """forward
v1 (2×3) = A (2×3)
f (2) = v1 (2×3) @ x (3)
backward
δf (2) = G (2)
∇x (3) = v1ᵀ (3×2) @ δf (2)
δv1 (2×3) = δf (2×1) @ xᵀ (1×3)
∇A (2×3) = δv1 (2×3)""",
            id="transposed twice",
        ),
        pytest.param(leaf("X", 2, 3), "forward\nX (2×3)", id="a leaf"),
        pytest.param(
            leaf("X", 2, 3, needs=False).sum(), "forward\nf (1) = sum(X (2×3))", id="nothing needs a gradient"
        ),
        pytest.param(
            mg.where(np.array([True, False]), leaf("a", 2), 0.0),
            """forward
f (2) = where(v1 (2), a (2), 0)
backward
δf (2) = G (2)
∇a (2) = δf (2) ⊙ ∂f/∂a (2)""",
            id="a choice",
        ),
        pytest.param(
            leaf("a", 2).step(), "forward\nf (2) = step(a (2))\nbackward\nδf (2) = G (2)\n∇a (2) = 0", id="no way back"
        ),
    ],
)
def test_the_equations(f, text):
    assert shapes(f).text == text


def test_grads_can_be_left_out():
    assert lines(layer(4), grads=False) == ["forward", "Z (2×4) = W (2×3) @ Y (3×4) + b (2×1)"]


def test_what_has_a_name_has_an_equation_of_its_own():
    w, y, b = leaf("W", 2, 3), leaf("Y", 3, 4), leaf("b", 2, 1)
    p = called("P", w @ y)
    assert lines(called("Z", p + b), grads=False)[1:] == ["P (2×4) = W (2×3) @ Y (3×4)", "Z (2×4) = P (2×4) + b (2×1)"]
    twice = w @ y
    assert lines(twice + twice, grads=False)[1:] == ["v1 (2×4) = W (2×3) @ Y (3×4)", "f (2×4) = v1 (2×4) + v1 (2×4)"]
    t = called("T", w.T)
    assert lines(y.T @ t, grads=False)[1:] == ["T (3×2) = Wᵀ (3×2)", "f (4×2) = Yᵀ (4×3) @ T (3×2)"]
    minuend = leaf("c", 2, 4) - w @ y  # inside it would need a minus on the way back
    assert lines(minuend)[1:3] == ["v1 (2×4) = W (2×3) @ Y (3×4)", "f (2×4) = c (2×4) - v1 (2×4)"]
    assert lines(w @ y - leaf("c", 2, 4))[1] == "f (2×4) = W (2×3) @ Y (3×4) - c (2×4)"
    wider = w @ leaf("y", 3) + leaf("B", 4, 2)  # repeated
    assert lines(wider)[1:3] == ["v1 (2) = W (2×3) @ y (3)", "f (4×2) = v1 (2) + B (4×2)"]


def test_long_lists_are_cut():
    text = lines(mg.stack([Value(float(k), f"x{k}") for k in range(40)]))
    assert text[1] == "f (40) = stack([x0 (1), x1 (1), x2 (1), x3 (1), … 35 more, x39 (1)])"
    text = lines(recurrent(9))
    [first] = [k for k, line in enumerate(text) if line.startswith("∇U")]
    assert [line[:5] for line in text[first + 1 : first + 7]] == ["    +"] * 6
    assert text[first + 6] == "    + … 3 more"
    assert text[first + 7].startswith("∇h")
    six = mg.concatenate([leaf(f"x{k}", 1) for k in range(6)])
    assert "…" not in shapes(six).text
    assert lines(six)[1].count("(1)") == 6


def test_names_that_would_be_misread():
    f = leaf("hidden layer", 2, 3) @ leaf("w'", 3, 2)
    f.name = "a+b"
    assert lines(f)[1:] == [
        "a+b (2×2) = hidden layer (2×3) @ w' (3×2)",
        "backward",
        "δ(a+b) (2×2) = G (2×2)",
        "∇(hidden layer) (2×3) = δ(a+b) (2×2) @ w'ᵀ (2×3)",
        "∇w' (3×2) = (hidden layer)ᵀ (3×2) @ δ(a+b) (2×2)",
    ]


# ---- the equations are true


def passes(f):
    """The equations of a graph, and by name what is in them."""
    order = topological_order(f)
    equations = Equations(order, True)
    known = {"G": np.random.default_rng(0).normal(size=np.shape(f._value))}
    found = mg.autodiff.pull(order, seeds={f: known["G"]}) if np.ndim(f._value) else mg.adjoints(f)
    for node, name in equations._names.items():
        known[name] = np.asarray(node._value)
        if node in found:
            known[f"{'∇' if node.prim is None else 'δ'}{name}"] = np.asarray(found[node])
    return equations, known


SLOPES = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)) * (1 - 1 / (1 + np.exp(-x))),
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "relu": lambda x: (x > 0) * 1.0,
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
    "log_softmax": lambda x: x - np.log(np.exp(x).sum(axis=-1, keepdims=True)),
}


def number_of(block, known):
    """What stands in a block, as it stands."""
    name = block.name
    inner = re.fullmatch(r"(\w+?)′?\((\w+)\)", name)
    data = SLOPES[inner[1]](known[inner[2]]) if inner else known[name.removesuffix("ᵀ")]
    if name.endswith("ᵀ"):
        data = data if data.ndim == 1 else np.swapaxes(data, -1, -2)
    assert np.size(data) == np.prod(block.sides)
    assert np.size(data) == np.prod(block.shape)
    return np.reshape(data, block.sides)


def value_of(parts, known, sides, **env):
    """What the right side of an equation comes to, summed down to what stands on the left."""
    summed, code = parts[0] == "Σ ", ""
    for k, part in enumerate(parts[summed:]):
        if isinstance(part, Block):
            env[f"x{k}"] = number_of(part, known)
            code += f"x{k}"
        else:
            code += part.translate(str.maketrans("⊙·−", "**-"))
    got = eval(re.sub(r"Σ (\w+)", r"\1.sum(axis=-1, keepdims=True)", code), env)
    if summed:
        assert np.shape(got) != sides
        while np.ndim(got) > len(sides):
            got = got.sum(axis=0)
        got = got.sum(axis=tuple(i for i, n in enumerate(sides) if n == 1), keepdims=True)
    return got


@pytest.mark.parametrize(
    "f",
    [
        layer(),
        layer(4),
        two_layers(),
        recurrent(4),
        reused(),
        classifier().inputs[0].inputs[0],
        leaf("x", 3) @ leaf("W", 2, 3).T + leaf("b", 2),
        leaf("x", 3) @ leaf("W", 3, 2),
        leaf("x", 3) @ leaf("y", 3),
        leaf("A", 5, 2, 3) @ leaf("x", 3),
        leaf("x", 2) @ leaf("A", 5, 2, 3),
        leaf("A", 5, 2, 3) @ leaf("B", 3, 4),
        leaf("A", 5, 1, 2, 3) @ leaf("B", 4, 3, 2),
        mg.nn.linear(leaf("x", 3), leaf("W", 2, 3), leaf("b", 2)),
        mg.nn.linear(leaf("X", 5, 4, 3), leaf("W", 2, 3), leaf("b", 2)),
        leaf("X", 2, 3) * leaf("m", 3) - leaf("c"),
        leaf("a", 3, 2).T @ leaf("b", 3, 4),
        leaf("a", 2, 3, 4).transpose(0, 2, 1) @ leaf("b", 3, 4),
        leaf("W", 2, 3).T @ (leaf("W", 2, 3) @ leaf("v", 3)),
        (leaf("W", 2, 3) @ leaf("v", 3)).relu() * leaf("s"),
        mg.parse("(x + y) * z - x", x=-2.0, y=5.0, z=-4.0),
    ],
    ids=lambda f: shapes(f).text.split("\n")[1] + f"; {len(lines(f))} lines",
)
def test_each_equation_holds(f):
    """Of products and sums: what stands on the right, computed, is what stands on the left."""
    equations, known = passes(f)
    assert len(equations.backward) > 1
    for part in (equations.forward, equations.backward):
        left, total = None, {}
        for line in part:
            left = line.left or left
            if line.right[0] in ("sigmoid(", "tanh(", "relu(", "1"):
                continue
            total[left] = total.get(left, 0.0) + value_of(line.right, known, left.sides)
        for left, got in total.items():
            np.testing.assert_allclose(got, number_of(left, known), rtol=1e-9, err_msg=f"{left}")


def each_row():
    a, b = leaf("a", 2, 3), leaf("b", 2, 3)
    x = Value(0.5, "x")
    found = {
        "broadcast_to": leaf("s").broadcast_to((2, 3)),
        "sum_to": ROWS["sum_to"].given(to=(3,))(a),
        "cast": ROWS["cast"].given(to=np.dtype(np.float32))(a),
        "reshape": a.reshape(6),
        "transpose": leaf("c", 2, 3, 4).transpose(2, 0, 1),
        "index": a[0],
        "scatter": ROWS["scatter"].given(key=(0,), to=(2, 3))(leaf("c", 3)),
        "item": a.unbind()[0].unbind()[1],
        "concatenate": mg.concatenate([a, b], axis=1),
        "stack": mg.stack([x, x * 2.0]),
        "matmul": a @ b.T,
        "linear": mg.nn.linear(a, b, leaf("c", 2)),
        "softmax": a.softmax(axis=0),
        "log_softmax": a.log_softmax(axis=1),
        "logsumexp": a.logsumexp(axis=1),
        "nll": mg.nn.nll_loss(a.log_softmax(), [0, 1], reduction="none"),
        "cross_entropy": mg.nn.cross_entropy(a, [0, 1], reduction="none"),
        **{row: getattr(a, row)(axis=0) for row in ("sum", "mean", "max", "min", "prod")},
    }
    for row in TABLE.values():
        operands = [leaf("abcd"[k], 2, 3) for k in range(len(row.partials))]
        found[row.name] = row(*operands)
    return found


EACH = each_row()


def test_every_row_is_tried():
    own = {row.name for row in TABLE.values() if row.name in vars(primitives)}
    assert set(EACH) >= set(ROWS) | own


@pytest.mark.parametrize("f", EACH.values(), ids=EACH)
def test_every_operation(f):
    equations, known = passes(f)
    text = shapes(f).text
    assert not re.search(r"[{}]|None|object", text)
    every = [line.left for line in (*equations.forward, *equations.backward) if line.left]
    assert {block.name for block in every} >= {f"∇{x.name}" for x in topological_order(f) if x.name}
    for block in every:
        assert block.shape == known[block.name].shape
    for line in (*equations.forward, *equations.backward):
        for block in line.right:
            if isinstance(block, Block):
                assert np.prod(block.shape) == np.prod(block.sides)
                if block.name in known:
                    assert block.shape == known[block.name].shape
    assert shapes(f).pipe("svg").startswith(b"<?xml")


A, T = leaf("a", 2, 3), leaf("t", 2, 3)
LOSSES = {
    "nll": (lambda how: mg.nn.nll_loss(A.log_softmax(), [0, 1], how), ["δv1 (2×3) = −δf ({0}) {1} v2 (2×3){2}"]),
    "cross_entropy of labels": (
        lambda how: mg.nn.cross_entropy(A, [0, 1], how),
        ["∇a (2×3) = (softmax(a) (2×3) − v1 (2×3)) {1} δf ({0}){2}"],
    ),
    "cross_entropy of probabilities": (
        lambda how: mg.nn.cross_entropy(A, T, how),
        [
            "∇a (2×3) = (softmax(a) (2×3) ⊙ Σ t (2×3) − t (2×3)) {1} δf ({0}){2}",
            "∇t (2×3) = −δf ({0}) {1} log_softmax(a) (2×3){2}",
        ],
    ),
}


@pytest.mark.parametrize("how", ["mean", "sum", "none"])
@pytest.mark.parametrize(("loss", "want"), LOSSES.values(), ids=LOSSES)
def test_the_ways_to_reduce_a_loss(loss, want, how):
    f = loss(how)
    equations, known = passes(f)
    found = {str(line): line for line in equations.backward}
    assert "\n".join(found) in shapes(f).text
    for template in want:
        line = found[template.format(*((2, "⊙") if how == "none" else (1, "·")), " / n" * (how == "mean"))]
        got = value_of(line.right, known, line.left.sides, n=2)
        np.testing.assert_allclose(got, number_of(line.left, known), rtol=1e-12)


# ---- the picture


def boxes(drawing):
    """The rectangles and the texts of a drawing: name, x, y, width, height, fill; y grows upward."""
    found = []
    for line in drawing.source.splitlines():
        if match := re.fullmatch(r'\tn\d+ \[label=(?:<(.*)>|"") (.*)\]', line):
            options = dict(re.findall(r'(\w+)="?([^" ]*)"?', match[2]))
            x, y = map(float, options["pos"].split(","))
            label = html.unescape(re.sub("<[^>]*>", "", match[1] or ""))
            wide, high = (72 * float(options.get(side, 0)) for side in ("width", "height"))
            found.append((label, x, y, wide, high, options.get("fillcolor"), float(options["fontsize"])))
    return found


def rectangles(drawing):
    """By name the width and height of what is drawn for it, the name inside or above."""
    found, every = {}, boxes(drawing)
    for label, x, y, wide, high, fill, _ in every:
        if fill is None:
            continue
        if not label:  # above it, in its middle
            above = [(b[2] - y, b[0]) for b in every if b[5] is None and abs(b[1] - x) < 4 and b[2] > y + high / 2]
            label = min(above)[1]
        found.setdefault(label, set()).add((round(wide, 2), round(high, 2)))
    return found


def test_blocks_are_true_to_scale():
    found = rectangles(shapes(two_layers()))
    [(wide, high)] = found["W1"]
    unit = wide / 4
    assert high == pytest.approx(3 * unit)
    for name, (rows, columns) in {"Z1": (3, 5), "W2": (2, 3), "W2ᵀ": (3, 2), "Y0ᵀ": (5, 4), "∇W1": (3, 4)}.items():
        [size] = found[name]
        assert size == pytest.approx((columns * unit, rows * unit), abs=0.02), name
    assert found["b1"] == found["∇b1"] == {(THIN, round(3 * unit, 2))}


def test_vectors_stand_as_they_are_used():
    def sizes(f):
        return {name: size for name, size in rectangles(shapes(f)).items() if len(size) == 1}

    found = sizes(layer())
    unit = 26.0
    assert found["Y"] == {(THIN, 3 * unit)}
    assert found["Yᵀ"] == {(3 * unit, THIN)}
    assert found["b"] == found["∇b"] == {(THIN, 2 * unit)}
    found = sizes(called("z", leaf("x", 3) @ leaf("W", 2, 3).T + leaf("b", 2)))  # the other convention
    assert found["x"] == found["∇x"] == {(3 * unit, THIN)}
    assert found["z"] == found["b"] == {(2 * unit, THIN)}
    found = sizes(mg.nn.linear(leaf("X", 4, 3), leaf("W", 2, 3), leaf("b", 2)))
    assert found["b"] == found["∇b"] == {(2 * unit, THIN)}
    found = sizes(called("s", called("c", leaf("X", 2, 3)[0]) * 2.0) + leaf("X", 2, 3).sum(axis=0))
    assert found["c"] == found["s"] == {(3 * unit, THIN)}
    assert sizes(called("s", leaf("X", 2, 3).sum(axis=0)))["s"] == {(3 * unit, THIN)}
    found = sizes(called("s", leaf("X", 2, 3).sum(axis=1)))
    assert found["s"] == {(THIN, 2 * unit)}
    found = sizes(leaf("X", 2, 3) + leaf("m", 3))
    assert found["m"] == found["∇m"] == {(3 * unit, THIN)}


def test_scalars_are_small():
    assert set.union(*rectangles(shapes(mg.parse("x * y", x=1, y=2))).values()) == {(THIN, THIN)}


lengths = st.lists(st.integers(1, 10**6), min_size=1, max_size=9)


@given(lengths)
def test_every_length_can_be_read_and_longer_is_never_shorter(some):
    scale = _Scale(some)
    sizes = [scale(n) for n in sorted(set(some))]
    assert sizes == sorted(sizes)
    for n, size in zip(sorted(set(some)), sizes, strict=True):
        assert size == THIN if n == 1 else SHORT - 1e-9 <= size <= LONG + 1e-9
    longer = [n for n in some if n > 1]
    if longer and max(longer) / min(longer) <= 2.0:
        assert scale(max(longer)) / scale(min(longer)) == pytest.approx(max(longer) / min(longer))


@pytest.mark.parametrize(
    "f", [layer(32), two_layers(), classifier(), recurrent(3), *map(EACH.get, ("concatenate", "nll", "cross_entropy"))]
)
def test_nothing_is_drawn_over_something_else(f):
    placed = []
    for label, x, y, wide, high, fill, size in boxes(shapes(f)):
        if fill is None:
            wide, high = 0.27 * size * len(label), 0.7 * size  # at least
        placed.append((label, x - wide / 2, x + wide / 2, y - high / 2, y + high / 2))
    for (one, a, b, c, d), (other, e, f, g, h) in combinations(placed, 2):
        assert b <= e + 0.1 or f <= a + 0.1 or d <= g + 0.1 or h <= c + 0.1, f"{one} and {other}"


def test_a_sign_behind_a_bracket_stands_apart():
    for how, sign in (("sum", "·"), ("none", "⊙")):
        at = {label: (x, y) for label, x, y, *_ in boxes(shapes(LOSSES["cross_entropy of labels"][0](how)))}
        assert at[sign][1] == at[")"][1]
        room = (width_of(")", BRACKET) + width_of(sign, _type(sign))) / 2
        assert at[sign][0] - at[")"][0] == pytest.approx(room + GAP, abs=0.1)


def test_signs_stand_below_each_other():
    every = boxes(shapes(two_layers()))
    for sign in ("forward", "backward"):
        assert sum(label.startswith(sign) for label, *_ in every) == 1
    [bottom] = [y for label, _, y, *_ in every if label.startswith("backward")]
    equals = [(x, y > bottom) for label, x, y, *_ in every if label == "="]
    assert len(equals) == 9
    assert len(set(equals)) == 2  # one column in either part
    left = {
        (round(x + wide / 2), y > bottom)
        for _, x, y, wide, _, fill, _ in every
        if fill and x < min(equals)[0] and wide > 60
    }
    assert len(left) == 2  # and what is wider than its texts ends where it begins


def test_the_picture_says_what_the_text_says():
    drawing = shapes(two_layers())
    texts = [text.strip() for text in shown(drawing.pipe("svg", encoding="utf-8"))]
    for name in (
        "forward",
        "Z1",
        "W2ᵀ",
        "Y0ᵀ",
        "∇W1",
        "∇b1",
        "δZ1",
        "sigmoid′(Z1)",
        "sigmoid",
        "(",
        ")",
        "·",
        "+",
        "⊙",
        "Σ",
    ):
        assert name in texts, name
    assert "backward: δ and ∇ are gradients of Σ G ⊙ Z2" in texts
    assert texts.count("=") == drawing.text.count("=")
    assert sorted(text for text in texts if "×" in text) == sorted(re.findall(r"\d+×\d+", drawing.text))


@pytest.mark.parametrize("theme", THEMES)
def test_colours_are_the_theme_s_and_not_the_only_cue(theme):
    drawing = shapes(two_layers(), theme=theme)
    colors = THEMES[theme]
    assert f'bgcolor="{colors.background}"' in drawing.source
    assert f'fontcolor="{colors.text}"' in drawing.source
    every = boxes(drawing)
    assert {fill for *_, fill, _ in every if fill} == {colors.leaf, colors.interior, colors.result}
    inside = {
        fill: {label for label, *_, other, _ in every if other == fill and label} for *_, fill, _ in every if fill
    }
    assert inside[colors.result] == {"δZ1", "δZ2", "∇W1", "∇W2"}
    for fill in (colors.leaf, colors.interior, colors.result):
        assert contrast(colors.text, fill) >= 4.5
    assert drawing.source.count("penwidth=2") == sum(fill == colors.leaf for *_, fill, _ in every)


def test_of_three_axes_there_is_a_sheet_behind():
    flat, deep = shapes(EACH["matmul"]), shapes(leaf("A", 5, 2, 3) @ leaf("B", 5, 3, 2))
    count = [sum(fill is not None for *_, fill, _ in boxes(drawing)) for drawing in (flat, deep)]
    assert count[1] == 2 * count[0]
    one = shapes(leaf("A", 1, 2, 3) @ leaf("B", 1, 3, 2))
    assert sum(fill is not None for *_, fill, _ in boxes(one)) == count[0]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_are_drawn_literally(name):
    x = leaf(name, 2, 3)
    drawing = shapes(called(name, x @ leaf("y", 3, 2)))
    texts = shown(drawing.pipe("svg", encoding="utf-8"))
    assert "".join(texts).count(literal(name)) >= 4
    page = drawing._repr_mimebundle_()["text/html"]
    alt = re.fullmatch(r'<img src="[^"]*" alt="([^"<>]*)" style="[^"]*">', page)
    assert literal(name) in html.unescape(alt[1])


def test_in_a_notebook_it_is_an_image_with_words():
    drawing = shapes(layer(32))
    bundle = drawing._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"] == drawing.text
    assert bundle["text/html"].startswith('<img src="data:image/svg+xml;base64,')
    alt = html.unescape(re.search('alt="([^"]*)"', bundle["text/html"])[1])
    assert alt == drawing.alt
    for line in drawing.text.split("\n"):
        assert line.strip().lower() in alt.lower()


def test_without_a_renderer_it_is_text_and_the_command_to_install(tmp_path):
    done = run_without_renderers(
        "f = mg.Tensor([[1.0, 2.0]], requires_grad=True, name='W') @ mg.Tensor([3.0, 4.0], name='y')\n"
        "drawing = mg.viz.shapes(f)\n"
        "print(drawing._repr_mimebundle_()['text/plain'])\n"
        "for name in ('f.dot', 'f.svg'):\n"
        "    try:\n        drawing.save(name)\n"
        "    except mg.errors.RenderError as error:\n        print(name, error)\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "f (1) = W (1×2) @ y (2)\n" in done.stdout
    assert done.stdout.count('pip install "microgad[render]"') == 2
    assert [path.name for path in tmp_path.iterdir()] == ["f.dot"]


# ---- files


@pytest.mark.parametrize(
    ("suffix", "start"),
    [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF-"), ("dot", b"digraph"), ("PNG", b"\x89P")],
)
def test_save(tmp_path, suffix, start):
    path = tmp_path / f"f.{suffix}"
    assert shapes(layer(3)).save(path) == str(path)
    assert path.read_bytes().startswith(start)
    assert shapes(layer(3)).save(str(path)) == str(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "path", ["f.bmp", "f", "", "svg", "f.svg.txt", 3, b"f.svg", "no folder/f.svg", "a\0b.svg", "."]
)
def test_a_path_that_will_not_do(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        shapes(layer()).save(path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "f.dot").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*f\.dot: "):
        shapes(layer()).save(tmp_path / "f.dot")
    assert [p.name for p in tmp_path.iterdir()] == ["f.dot"]


def test_an_unknown_suffix_names_the_known(tmp_path):
    with pytest.raises(InputError, match=r"unknown suffix '.bmp': use .svg, .png, .pdf, .dot"):
        shapes(layer()).save(tmp_path / "f.bmp")


def test_a_missing_renderer_is_an_error_of_microgad(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RenderError, match=r"pip install") as error:
        shapes(layer()).save(tmp_path / "f.svg")
    assert isinstance(error.value, MicrogadError)
    assert list(tmp_path.iterdir()) == []


def test_a_tall_drawing_is_a_picture_too():
    h = leaf("X", 3, 3)
    for _ in range(60):
        h = (h @ leaf("W", 3, 3)).tanh()
    drawing = shapes(h, grads=False)
    image = picture(drawing.pipe("png"))
    assert 15_000 < image.height < 25_000
    assert picture(shapes(layer()).pipe("png")).width > 600  # sharp where there is room
    assert drawing.pipe("svg").startswith(b"<?xml")


# ---- what cannot be drawn


@pytest.mark.parametrize("thing", [None, 3.0, "x", [leaf("x", 2)], np.ones(3)])
def test_foreign_objects(thing):
    with pytest.raises(InputError, match="shapes shows the graph of a Value, a Tensor or a program, not "):
        shapes(thing)


@pytest.mark.parametrize("theme", ["pink", None, []])
def test_a_theme_that_does_not_exist(theme):
    with pytest.raises(InputError, match="choose from light, dark, colorblind"):
        shapes(layer(), theme=theme)


def chain(n):
    x = Value(1.0, "x")
    for _ in range(n):
        x = -x
    return x


def test_a_graph_too_large():
    assert len(lines(chain(LIMIT), grads=False)) == LIMIT + 1
    assert len(lines(chain(LIMIT // 2 - 1))) == LIMIT + 1
    with pytest.raises(GraphSizeError, match=r"shapes of 201 equations; .* up to 200 .*grads=False"):
        shapes(chain(LIMIT // 2))
    with pytest.raises(GraphSizeError, match="shapes of 201 equations") as error:
        shapes(chain(LIMIT + 1), grads=False)
    assert "grads" not in str(error.value)
    with pytest.raises(GraphSizeError, match="shapes of 100,000 operations"):
        shapes(chain(100_000))


def test_a_drawing_leaves_the_graph_as_it_was():
    f = two_layers()
    shapes(f)
    assert all(node.grad is None for node in topological_order(f))
    assert f.inputs[0].name is None


def test_it_is_public():
    assert viz.shapes is shapes
    assert "shapes" in viz.__all__
    assert isinstance(shapes(layer()), viz.Drawing)
    assert Path(viz.__file__).name == "__init__.py"

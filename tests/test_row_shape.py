"""The shape of a row carries what comes later: nodes of arrays, structural rows, forward mode.

Here that is a class of array nodes and four rows, written as a later module would write them.
"""

from functools import partial

import numpy as np
import pytest

import microgad as mg
from microgad import Value
from microgad.node import Node
from microgad.operators import Arithmetic
from microgad.order import EMPTY, topological_order
from microgad.primitive import Primitive
from microgad.primitives import TABLE

RNG = np.random.default_rng(0)
A, B, V, W = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 2)), RNG.normal(size=(4, 3)), RNG.normal(size=(3, 2))


class Array(Arithmetic, rank=10):
    __slots__ = ()

    @staticmethod
    def constant(x):
        return float(x) if np.ndim(x) == 0 else leaf(x)  # a slot holds a float or a node


def born(data, prim=None, a=EMPTY, b=EMPTY):
    node = object.__new__(Array)
    node._data, node.prim, node.a, node.b = data, prim, a, b
    node.grad = node.mark = node.name = None
    return node


def leaf(data):
    return born(np.array(data, float))


def number(x):
    return x._data if isinstance(x, Node) else x


def by_hand(row, *operands):
    """The node of a row on arrays, put together without `Primitive.bind`, which computes on floats."""
    return born(row.array(*map(number, operands), **row.params), row, *operands)


def structural(name, array, vjp, jvp, params=None, **templates):
    params = params or {}
    # `bind` computes with `scalar`, and leaves out the parameters.
    scalar = partial(array, **params)
    return Primitive(name, scalar, array, vjp=vjp, jvp=jvp, params=params, label=name, **templates)


transpose = structural(
    "transpose",
    np.transpose,
    (lambda g, y, a: transpose(g),),
    (lambda t, y, a: transpose(t),),
    text="{}.T",
    latex=r"{}^\top",
)
matmul = structural(
    "matmul",
    np.matmul,
    (lambda g, y, a, b: matmul(g, transpose(b)), lambda g, y, a, b: matmul(transpose(a), g)),
    (lambda t, y, a, b: matmul(t, b), lambda t, y, a, b: matmul(a, t)),
    text="{} @ {}",
    latex=r"{} \, {}",
)


def total(axis, count):
    """The row that adds up an axis of `count` numbers, and keeps it with length 1."""
    return structural(
        "total",
        lambda x, axis, count: np.sum(x, axis=axis, keepdims=True),
        (lambda g, y, x, axis, count: spread(axis, count)(g),),
        (lambda t, y, x, axis, count: total(axis, count)(t),),
        {"axis": axis, "count": count},
        text=f"total({{}}, axis={axis})",
        latex=rf"\sum_{{{{{axis}}}}} {{}}",
    )


def spread(axis, count):
    """The row that repeats an axis of length 1, the transpose of `total`."""
    return structural(
        "spread",
        lambda x, axis, count: np.repeat(x, count, axis=axis),
        (lambda g, y, x, axis, count: total(axis, count)(g),),
        (lambda t, y, x, axis, count: spread(axis, count)(t),),
        {"axis": axis, "count": count},
        text=f"spread({{}}, axis={axis})",
        latex=r"{}",
    )


def add_up(x):
    """All the numbers of a matrix, as a node of shape (1, 1)."""
    rows, columns = x._data.shape
    return total(1, columns)(total(0, rows)(x))


def pull(root, seed, trace=False):
    """Reverse mode: the derivatives by every node below the root, as arrays or, traced, as nodes."""
    found = {root: seed}
    for node in reversed(topological_order(root)):
        for x, _, contribution in node.edges(found[node], trace) if node in found else ():
            found[x] = found[x] + contribution if x in found else contribution
    return found


def push(root, tangents):
    """Forward mode, an interpreter of its own over the same graph: the derivative of the root along `tangents`."""
    found = dict(tangents)
    for node in topological_order(root):
        row, args = node.prim, [number(x) for x in node.operands]
        for i, x in enumerate(node.operands):
            if isinstance(x, Node) and x in found:
                if row.jvp:
                    part = row.jvp[i](found[x], node._data, *args, **row.params)
                else:
                    rule = row.partials[i]
                    part = found[x] * (rule(node._data, *args) if callable(rule) else rule)
                found[node] = found[node] + part if node in found else part
    return found[root]


ONE = np.ones((1, 1))


def model(a, b):
    """The sum of tanh(a b)², as a graph."""
    h = by_hand(TABLE["tanh"], matmul(a, b))
    return add_up(h * h)


def along(f, point, direction, h=1e-5):
    return (f(point + h * direction) - f(point - h * direction)) / (2 * h)


def test_structural_rows_have_edges_without_a_local_derivative():
    a, b = leaf(A), leaf(B)
    y = matmul(a, b)
    assert y.prim is matmul
    np.testing.assert_array_equal(y._data, A @ B)
    edges = y.edges(np.ones((4, 2)))
    assert [(x, local) for x, local, _ in edges] == [(a, None), (b, None)]
    np.testing.assert_array_equal(edges[0][2], np.ones((4, 2)) @ B.T)
    np.testing.assert_array_equal(edges[1][2], A.T @ np.ones((4, 2)))
    assert [x for x, _, _ in y.edges(np.ones((4, 2)), among={b})] == [b]


def test_parameters_reach_the_rules():
    x = leaf(A)
    y = total(0, 4)(x)
    np.testing.assert_array_equal(y._data, A.sum(axis=0, keepdims=True))
    [(_, _, contribution)] = y.edges(np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(contribution, np.tile([1.0, 2.0, 3.0], (4, 1)))


def test_first_derivative():
    a, b = leaf(A), leaf(B)
    found = pull(model(a, b), ONE)
    h = np.tanh(A @ B)
    g = 2 * h * (1 - h**2)
    np.testing.assert_allclose(found[a], g @ B.T, rtol=1e-14)
    np.testing.assert_allclose(found[b], A.T @ g, rtol=1e-14)


def test_traced_derivative_is_the_same_and_a_graph():
    a, b = leaf(A), leaf(B)
    root = model(a, b)
    plain, traced = pull(root, ONE), pull(root, leaf(ONE), trace=True)
    for x in (a, b):
        assert type(traced[x]) is Array
        np.testing.assert_allclose(traced[x]._data, plain[x], rtol=1e-14)
        assert {a, b} <= set(topological_order(traced[x]))


def test_second_derivative():
    """Of the derivative by `b` along W: by `b` the Hessian times W, by `a` the mixed part."""
    a, b = leaf(A), leaf(B)
    db = pull(model(a, b), leaf(ONE), trace=True)[b]
    found = pull(add_up(db * leaf(W)), ONE)

    def gradient(a, b):
        a, b = leaf(a), leaf(b)
        found = pull(model(a, b), ONE)
        return found[a], found[b]

    np.testing.assert_allclose(found[b], along(lambda b: gradient(A, b)[1], B, W), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found[a], along(lambda b: gradient(A, b)[0], B, W), rtol=1e-7, atol=1e-8)


def test_forward_mode():
    a, b = leaf(A), leaf(B)
    root = model(a, b)
    found = pull(root, ONE)
    for tangents in ({a: V}, {b: W}, {a: V, b: W}):
        want = sum(np.sum(found[x] * tangent) for x, tangent in tangents.items())
        np.testing.assert_allclose(push(root, tangents), [[want]], rtol=1e-13)


def test_forward_over_reverse_is_reverse_over_reverse():
    a, b = leaf(A), leaf(B)
    db = pull(model(a, b), leaf(ONE), trace=True)[b]
    hessian_along_w = pull(add_up(db * leaf(W)), ONE)[b]
    np.testing.assert_allclose(push(db, {b: W}), hessian_along_w, rtol=1e-12)


def test_elementwise_rows_on_arrays():
    """The same rules as for floats; `backward` and `edges` on every row that arrays can be made of today."""
    x = leaf(V)
    for name in ("exp", "tanh", "relu", "neg", "identity"):
        row = TABLE[name]
        y = by_hand(row, x)
        [(_, local, contribution)] = y.edges(np.full((4, 3), 2.0))
        want = np.vectorize(lambda v: mg.grad(row)(v))(V)  # noqa: B023
        np.testing.assert_allclose(np.broadcast_to(local, (4, 3)), want, rtol=1e-14)
        np.testing.assert_allclose(contribution, 2 * want, rtol=1e-14)


def test_backward_shares_no_array_between_nodes():
    """A sum hands the same upstream to both sides; what arrives at one later must not reach the other."""
    u, v = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    s = u + v
    root = v * leaf([10.0, 20.0]) + s * leaf([5.0, 6.0])
    want = pull(root, 1.0)
    root.backward()
    for node in (u, v, s):
        np.testing.assert_array_equal(node.grad, want[node])


# ---- forward mode on Values, through the same interpreter


@pytest.mark.parametrize(
    ("f", "point"),
    [
        (lambda x, y: x.relu() * y, (2.0, 3.0)),
        (lambda x, y: x.relu() * y, (-2.0, 3.0)),
        (lambda x, y: x.relu() * y, (0.0, 3.0)),
        (lambda x, y: x**2 + y**-1, (-2.0, 3.0)),  # plain exponents: no log(-2)
        (lambda x, y: x**y, (2.0, 3.0)),
        (lambda x, y: 2**x * x**y, (2.0, 0.0)),
        (lambda x, y: mg.exp(x * y + mg.maximum(x, y)) / (x - y), (0.5, 0.25)),
        (lambda x, y: mg.maximum(x, y) * mg.minimum(x, y) + x, (1.5, 1.5)),
    ],
)
def test_forward_mode_on_values(f, point):
    x, y = map(Value, point)
    root = f(x, y)
    want = mg.adjoints(root)
    assert push(root, {x: 1.0, y: 0.0}) == pytest.approx(want[x], rel=1e-15)
    assert push(root, {x: 0.0, y: 1.0}) == pytest.approx(want[y], rel=1e-15)
    assert push(root, {x: 2.0, y: -3.0}) == pytest.approx(2.0 * want[x] - 3.0 * want[y], rel=1e-13)


# ---- what a drawing and a derivation need of a row


def test_templates_of_structural_rows_are_filled_like_any_other():
    filled = [
        matmul.latex.format("A", "B"),
        transpose.latex.format("A"),
        total(0, 4).latex.format("A"),
        total(0, 4).text.format("a"),
    ]
    assert filled == [r"A \, B", r"A^\top", r"\sum_{0} A", "total(a, axis=0)"]
    assert matmul(leaf(A), leaf(B)).op == "matmul"


def test_templates_of_the_table_fill_with_what_a_derivation_writes():
    assert TABLE["div"].latex.format("x + y", "z") == r"\frac{x + y}{z}"
    assert TABLE["pow"].latex.format("x", "2") == "x^{2}"
    assert TABLE["exp"].latex.format("x y") == "e^{x y}"
    assert TABLE["mul"].latex.format("x", "y") == r"x \cdot y"
    assert TABLE["relu"].latex.format("x") == r"\operatorname{relu}\left(x\right)"
    assert TABLE["maximum"].latex.format("x", "y") == r"\max\left(x, y\right)"
    for row in TABLE.values():  # braces of LaTeX come in pairs whatever the operands
        filled = row.latex.format(*["x_{1}"] * len(row.partials))
        assert filled.count("{") == filled.count("}"), row.name
        assert "{}" not in filled

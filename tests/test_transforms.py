"""The transforms: values against formulas, kinds of arguments and results, nesting in every order, no side effect."""

import gc
import itertools
import math
from collections import namedtuple
from contextlib import suppress
from threading import Thread

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, transforms
from microgad.errors import DomainError, GraphCutError, InputError, MicrogadError, ShapeError
from microgad.order import order_of_all
from microgad.primitive import silent

Point = namedtuple("Point", "x y")
EPS = 2.0**-52


def array(*numbers, dtype=float):
    return np.array(numbers, dtype)


def plain(x):
    """The numbers of a result, as an array."""
    return np.asarray(getattr(x, "_value", x))


def close(got, want, rtol=1e-12, atol=1e-13):
    """Trees of the same structure, with numbers that are close; nodes count as their numbers."""
    got, structure = mg.tree_flatten(got)
    want, expected = mg.tree_flatten(want)
    assert structure == expected
    for x, y in zip(got, want, strict=True):
        assert plain(x).shape == np.shape(y)
        np.testing.assert_allclose(plain(x), y, rtol, atol)


def kinds(tree):
    """The class of each leaf, and the dtype of each array."""

    def kind(x):
        return (type(x).__name__, str(x.dtype), x.shape) if isinstance(x, (np.ndarray, Tensor)) else type(x).__name__

    return mg.tree_map(kind, tree)


def nodes(tree):
    return [x for x in mg.tree_leaves(tree) if isinstance(x, (Value, Tensor))]


# ---- what comes in, what comes out: of f(x) = the sum of the cubes


def cubes(x):
    return (x**3).sum() if np.ndim(plain(x)) else x**3


def values(tree, numbers):
    close(tree, mg.tree_map(lambda x: x, numbers))


F64, F32 = "float64", "float32"
# An argument; its class and dtype as a derivative; whether the value of f is a node, and of which class.
ARGUMENTS = {
    "int": (3, "float", "float"),
    "float": (3.0, "float", "float"),
    "bool": (True, "float", "float"),
    "float64": (np.float64(3.0), "float", "float"),
    "float32": (np.float32(3.0), "float", "float"),
    "int64": (np.int64(3), "float", "float"),
    "0-d": (np.array(3.0), ("ndarray", F64, ()), "float"),
    "0-d float32": (np.array(3.0, np.float32), ("ndarray", F32, ()), "float"),
    "of length 1": (array(3.0), ("ndarray", F64, (1,)), "float"),
    "array": (array(1.0, 2.0), ("ndarray", F64, (2,)), "float"),
    "integers": (array(1, 2, dtype=int), ("ndarray", F64, (2,)), "float"),
    "booleans": (array(True, False, dtype=bool), ("ndarray", F64, (2,)), "float"),
    "float32 array": (array(1, 2, dtype=np.float32), ("ndarray", F32, (2,)), "float"),
    "float16 array": (array(1, 2, dtype=np.float16), ("ndarray", F64, (2,)), "float"),
    "big-endian": (array(1, 2, dtype=">f8"), ("ndarray", F64, (2,)), "float"),
    "read-only": (np.broadcast_to(2.0, (2,)), ("ndarray", F64, (2,)), "float"),
    "columns first": (np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]), ("ndarray", F64, (2, 2)), "float"),
    "empty": (np.zeros((0, 3)), ("ndarray", F64, (0, 3)), "float"),
    "Value": (Value(3.0), "Value", "Value"),
    "Tensor": (Tensor([1.0, 2.0], requires_grad=True), ("Tensor", F64, (2,)), ("Tensor", F64, ())),
    "Tensor of data": (Tensor([1.0, 2.0]), ("Tensor", F64, (2,)), ("Tensor", F64, ())),
    "float32 Tensor": (
        Tensor(array(1, 2, dtype=np.float32), requires_grad=True),
        ("Tensor", F32, (2,)),
        ("Tensor", F32, ()),
    ),
    "0-d Tensor": (Tensor(3.0, requires_grad=True), ("Tensor", F64, ()), ("Tensor", F64, ())),
    "empty Tensor": (Tensor(np.zeros((0, 3)), requires_grad=True), ("Tensor", F64, (0, 3)), ("Tensor", F64, ())),
    "computed": (Tensor([0.5, 1.0], requires_grad=True) * 2.0, ("Tensor", F64, (2,)), ("Tensor", F64, ())),
}


@pytest.mark.parametrize(("x", "kind", "out"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_derivative_is_of_the_kind_of_the_argument(x, kind, out):
    data = plain(x).astype(float)
    value, slope, bend = (data**3).sum(), 3.0 * data**2, 6.0 * data
    way = np.ones(data.shape) if isinstance(kind, tuple) else 1.0

    got, found = mg.value_and_grad(cubes)(x)
    assert (kinds(got), kinds(found)) == (out, kind)
    close(found, slope)
    close(got, value)

    found = mg.grad(cubes)(x)
    assert kinds(found) == kind
    close(found, slope)

    got, pullback = mg.vjp(cubes, x)
    (found,) = pullback(2.0)
    assert (kinds(got), kinds(found)) == (out, kind)
    close(found, 2.0 * slope)

    got, moved = mg.jvp(cubes, (x,), (way,))
    assert (kinds(got), kinds(moved)) == (out, out)
    close(moved, slope.sum())

    found = mg.jacobian(cubes)(x)
    assert kinds(found) == kind
    close(found, slope)

    found = mg.hessian_diagonal(cubes)(x)
    assert kinds(found) == kind
    close(found, bend)

    found = mg.hvp(cubes, x, way)
    assert kinds(found) == kind
    close(found, bend)

    found = mg.hessian(cubes)(x)
    assert kinds(found) == (kind if isinstance(kind, str) else (*kind[:2], kind[2] * 2))
    close(found, np.diag(bend.ravel()).reshape(data.shape * 2))


@pytest.mark.parametrize("give", [lambda x: 5.0, lambda x: 5, lambda x: np.array(5.0), lambda x: Value(5.0) * 1.0])
@pytest.mark.parametrize(("x", "kind"), [row[:2] for row in ARGUMENTS.values()], ids=ARGUMENTS)
def test_constants_have_derivatives_of_zero_in_the_kind_of_the_argument(x, kind, give):
    data = plain(x)
    zero = np.zeros(data.shape)
    way = np.ones(data.shape) if isinstance(kind, tuple) else 1.0
    for found in (mg.grad(give)(x), mg.vjp(give, x)[1](1.0)[0], mg.jacobian(give)(x), mg.hessian_diagonal(give)(x)):
        assert kinds(found) == kind
        close(found, zero)
    close(mg.hessian(give)(x), np.zeros(data.shape * 2))
    close(mg.hvp(give, x, way), zero)
    out, moved = mg.jvp(give, (x,), (way,))
    close((out, moved), (5.0, 0.0))
    assert [type(y) is float for y in (out, moved)] == [not isinstance(x, (Value, Tensor))] * 2


@pytest.mark.parametrize("x", [2.0, np.array(2.0), array(1.0, 2.0), np.zeros((2, 0)), {"a": (1.0, array(2.0))}])
def test_the_identity(x):
    size = sum(np.size(leaf) for leaf in mg.tree_leaves(x))
    ways = mg.tree_map(lambda leaf: np.full(np.shape(leaf), 3.0) if np.ndim(leaf) else 3.0, x)
    if np.ndim(mg.tree_leaves(x)[0]) == 0 and isinstance(x, np.ndarray):
        ways = np.array(3.0)
    out, moved = mg.jvp(lambda x: x, (x,), (ways,))
    close((out, moved), (x, ways))
    out, pullback = mg.vjp(lambda x: x, x)
    close((out, *pullback(ways)), (x, ways))
    blocks = [plain(block) for block in mg.tree_leaves(mg.jacobian(lambda x: x)(x))]
    assert sum(block.sum() for block in blocks) == size


def test_numbers_in_arrays_out_and_back():
    out, pullback = mg.vjp(lambda x: mg.stack([x, x * x, 1.0]), 3.0)
    assert (kinds(out), out.tolist()) == (("ndarray", F64, (3,)), [3.0, 9.0, 1.0])
    assert pullback(array(1.0, 10.0, 100.0)) == (61.0,)
    assert mg.jacobian(lambda x: mg.stack([x, x * x, 1.0]))(3.0).tolist() == [1.0, 6.0, 0.0]
    assert mg.hessian(lambda x: (mg.stack([x, x * x]) * [2.0, 3.0]).sum())(3.0) == 6.0


def test_numbers_stay_numbers_in_a_jacobian():
    found = mg.jacobian(lambda x: (x * x, mg.stack([x, x]).sum(), np.float64(1.0)))(3.0)
    assert (found, [type(x) for x in found]) == ((6.0, 2.0, 0.0), [float] * 3)


# ---- trees, and several arguments


TREE = {"w": array(1.0, 2.0), "b": [3.0, (np.array(0.5), None)], "p": Point(2.0, array(1.0, -1.0, 0.0))}


def of_tree(t):
    return (t["w"] ** 2).sum() * t["b"][0] + t["b"][1][0] * t["p"].x ** 2 + (t["p"].y * [1.0, 2.0, 3.0]).sum() ** 2


SLOPES = {"w": array(6.0, 12.0), "b": [5.0, (np.array(4.0), None)], "p": Point(2.0, array(-2.0, -4.0, -6.0))}


def test_trees_of_numbers_and_arrays():
    value, found = mg.value_and_grad(of_tree)(TREE)
    assert value == 18.0
    close(found, SLOPES)
    close(mg.jacobian(of_tree)(TREE), SLOPES)
    out, (found,) = (lambda out, pullback: (out, pullback(-1.0)))(*mg.vjp(of_tree, TREE))
    close((out, found), (18.0, mg.tree_map(np.negative, SLOPES)))
    directions = mg.tree_map(lambda x: np.ones(np.shape(x)) if isinstance(x, np.ndarray) else 1.0, TREE)
    moved = mg.jvp(of_tree, (TREE,), (directions,))[1]
    assert moved == sum(np.sum(x) for x in mg.tree_leaves(SLOPES))
    diagonal = {"w": array(6.0, 6.0), "b": [0.0, (np.array(0.0), None)], "p": Point(1.0, array(2.0, 8.0, 18.0))}
    close(mg.hessian_diagonal(of_tree)(TREE), diagonal)
    along = mg.hvp(of_tree, TREE, directions)
    rows = {"w": array(8.0, 10.0), "b": [6.0, (np.array(4.0), None)], "p": Point(5.0, array(12.0, 24.0, 36.0))}
    close(along, rows)
    assert list(found) == list(TREE)


def test_the_hessian_over_a_dict():
    def f(p):
        return (p["w"] ** 2).sum() * p["b"] ** 2 + p["b"] * mg.exp(p["c"][0])

    w, b, c = array(1.0, 2.0), 3.0, 0.5
    e = math.exp(c)
    found = mg.hessian(f)({"w": w, "b": b, "c": [c]})
    close(
        found,
        {
            "w": {"w": 2.0 * b * b * np.eye(2), "b": 4.0 * b * w, "c": [np.zeros(2)]},
            "b": {"w": 4.0 * b * w, "b": 10.0, "c": [e]},
            "c": [{"w": np.zeros(2), "b": e, "c": [b * e]}],
        },
    )
    assert type(found["b"]["b"]) is type(found["c"][0]["b"]) is float


ARGNUMS = {
    "0": (0, lambda a, b: a),
    "1": (1, lambda a, b: b),
    "-1": (-1, lambda a, b: b),
    "int64": (np.int64(1), lambda a, b: b),
    "(0,)": ((0,), lambda a, b: (a,)),
    "(0, 1)": ((0, 1), lambda a, b: (a, b)),
    "(1, 0)": ((1, 0), lambda a, b: (b, a)),
    "[-1, 0]": ([-1, 0], lambda a, b: (b, a)),
    "(1, -1)": ((1, -1), lambda a, b: (b, b)),
    "()": ((), lambda a, b: ()),
}


@pytest.mark.parametrize(("argnums", "choose"), ARGNUMS.values(), ids=ARGNUMS)
def test_argnums(argnums, choose):
    x, y = array(1.0, 2.0), {"s": 3.0}

    def f(x, y, z=1.0, *, k=1.0):
        return (x**2).sum() * y["s"] ** 3 * z * k

    slope = (2.0 * x * 27.0, {"s": 135.0})
    bend = ((54.0 * np.eye(2), {"s": 54.0 * x}), (54.0 * x, {"s": 90.0}))
    diagonal = (array(54.0, 54.0), {"s": 90.0})

    def times(c, tree):
        return mg.tree_map(lambda leaf: c * leaf, tree)

    for args, kwargs, c in (((x, y), {}, 1.0), ((x, y), {"k": 2.0}, 2.0), ((x, y), {"z": 3.0, "k": 2.0}, 6.0)):
        value, found = mg.value_and_grad(f, argnums)(*args, **kwargs)
        assert value == 135.0 * c
        close(found, times(c, choose(*slope)))
        close(mg.grad(f, argnums)(*args, **kwargs), times(c, choose(*slope)))
        close(mg.jacobian(f, argnums)(*args, **kwargs), times(c, choose(*slope)))
        close(mg.hessian_diagonal(f, argnums)(*args, **kwargs), times(c, choose(*diagonal)))
        want = choose(choose(*bend[0]), {"s": choose(*bend[1])})  # the structure of the first derivative is outside
        close(mg.hessian(f, argnums)(*args, **kwargs), times(c, want))


def test_positions_count_what_is_given():
    assert mg.grad(lambda x, y, z=5.0: x * y * z, -1)(2.0, 3.0) == 10.0  # of two arguments the last is y
    assert mg.jacobian(lambda *xs: sum(xs), 3)(1.0, 2.0, 3.0, 4.0) == 1.0


def test_the_same_array_as_several_arguments():
    x = array(1.0, 2.0)
    close(mg.grad(lambda a, b: (a * a * b).sum(), (0, 1))(x, x), (2.0 * x * x, x * x))
    close(mg.grad(lambda t: (t[0] * t[0] * t[1]).sum())([x, x]), [2.0 * x * x, x * x])
    t = Tensor(x, requires_grad=True)
    close(mg.grad(lambda a, b: (a * a * b).sum(), (0, 1))(t, t), (2.0 * x * x, x * x))
    close(mg.jvp(lambda a, b: a * b, (t, t), (x, np.zeros(2)))[1], x * x)


def test_results_of_every_structure():
    def f(x, s):
        return {"many": [x * s, (x.sum(), None)], "one": Point(s * s, 5.0)}

    x, s = array(1.0, 2.0), 3.0
    out = {"many": [3.0 * x, (3.0, None)], "one": Point(9.0, 5.0)}
    got, pullback = mg.vjp(f, x, s)
    close(got, out)
    cotangent = {"one": Point(10.0, 7.0), "many": [array(1.0, -1.0), (100.0, None)]}
    close(pullback(cotangent), (array(103.0, 97.0), -1.0 + 60.0))
    got, moved = mg.jvp(f, (x, s), (array(0.5, 0.0), 1.0))
    close((got, moved), (out, {"many": [array(1.0 + 1.5, 2.0), (0.5, None)], "one": Point(6.0, 0.0)}))
    found = mg.jacobian(f, (0, 1))(x, s)
    zero = np.zeros(2)
    blocks = {"many": [(3.0 * np.eye(2), x), ((np.ones(2), 0.0), None)], "one": Point((zero, 6.0), (zero, 0.0))}
    close(found, blocks)


def test_functions_without_arguments_or_results():
    out, pullback = mg.vjp(lambda: 3.0)
    assert (out, pullback(1.0)) == (3.0, ())
    assert mg.jvp(lambda: (3.0, None), (), ()) == ((3.0, None), (0.0, None))
    assert mg.jvp(lambda x: None, (1.0,), (1.0,)) == (None, None)
    assert mg.grad(lambda p: 1.0)({}) == {}
    assert mg.hessian(lambda p: 1.0)([None]) == [None]
    assert mg.jacobian(lambda x: [])(1.0) == []
    out, pullback = mg.vjp(lambda x: {}, 1.0)
    assert (out, pullback({})) == ({}, (0.0,))


# ---- jacobians: tall and wide


def counted(monkeypatch, name):
    calls, inner = [], getattr(transforms, name)
    monkeypatch.setattr(transforms, name, lambda *args: calls.append(1) or inner(*args))
    return calls


RNG = np.random.default_rng(4)


@pytest.mark.parametrize(
    ("inputs", "outputs", "passes"),
    [((5,), (2,), "pull"), ((2,), (5,), "push"), ((3,), (3,), "pull"), ((1,), (2, 3), "push"), ((2, 3), (), "pull")],
)
def test_a_jacobian_takes_the_mode_with_fewer_passes(inputs, outputs, passes, monkeypatch):
    n, m = math.prod(inputs), math.prod(outputs)
    a, x = RNG.normal(size=(m, n)), RNG.normal(size=inputs)

    def f(x):
        return mg.sin(a @ x.reshape(n)).reshape(outputs)

    calls = {name: counted(monkeypatch, name) for name in ("pull", "push")}
    found = mg.jacobian(f)(x)
    want = (np.cos(a @ x.ravel())[:, None] * a).reshape(*outputs, *inputs)
    close(found, want)
    other = "push" if passes == "pull" else "pull"
    assert (len(calls[passes]), len(calls[other])) == (min(n, m), 0)


@pytest.mark.parametrize("sizes", [(4, 2), (2, 4)], ids=["tall", "wide"])
def test_a_jacobian_of_several_arguments_and_results(sizes):
    n, m = sizes
    a, b, c = RNG.normal(size=(m, n)), RNG.normal(size=(m, 2)), RNG.normal(size=(m, n))

    def f(x, p):
        return {"y": a @ x + b @ p["z"], "t": ((c @ x) ** 2, p["s"] * x[0])}

    x, p = RNG.normal(size=n), {"z": RNG.normal(size=2), "s": 0.5}
    found = mg.jacobian(f, (0, 1))(x, p)
    first = np.eye(n)[0]
    close(
        found,
        {
            "y": (a, {"z": b, "s": np.zeros(m)}),
            "t": (
                (2.0 * (c @ x)[:, None] * c, {"z": np.zeros((m, 2)), "s": np.zeros(m)}),
                (0.5 * first, {"z": np.zeros(2), "s": x[0]}),
            ),
        },
    )


def test_a_jacobian_holds_zeros_for_constants_and_rows_of_the_unit_matrix_for_inputs():
    for x in (array(1.0, 2.0), array(1.0, 2.0, 3.0, 4.0)):
        found = mg.jacobian(lambda x: (x, array(7.0, 8.0, 9.0), x, 1))(x)
        close(found, (np.eye(len(x)), np.zeros((3, len(x))), np.eye(len(x)), np.zeros(len(x))))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_empty_arrays(shape):
    x = np.zeros(shape)
    close(mg.jacobian(lambda x: x * 2.0)(x), np.zeros(shape * 2))
    close(mg.jacobian(lambda x: x.sum())(x), np.zeros(shape))
    close(mg.jacobian(lambda x, y: (x, y), (0, 1))(x, 1.0), ((np.zeros(shape * 2), np.zeros(shape)), (x, 1.0)))
    close(mg.hessian(lambda x: (x**3).sum())(x), np.zeros(shape * 2))
    close(mg.hessian_diagonal(lambda x: (x**3).sum())(Tensor(x)), x)
    assert mg.jacobian(lambda x: x)(x.astype(np.float32)).dtype == np.float32
    assert mg.grad(lambda x, y: x.sum() + y, 1)(x, 3.0) == 1.0


def test_rows_and_columns_in_single_precision():
    x = array(1.0, 2.0, dtype=np.float32)
    for f in (lambda x: mg.concatenate([x, x * x]), lambda x: (x * x).sum(), lambda x: (x, 3.0, x[0])):
        assert {leaf.dtype for leaf in mg.tree_leaves(mg.jacobian(f)(x))} == {np.dtype(np.float32)}
    assert mg.hessian(cubes)(x).dtype == mg.hvp(cubes, x, array(1.0, 0.0)).dtype == np.float32
    out, pullback = mg.vjp(lambda x: x * 2.0, x)
    assert out.dtype == pullback(array(1, 2, dtype=int))[0].dtype == np.float32
    out, moved = mg.jvp(lambda x, s: (x + s, x.sum(), 2.0), (x, 1.0), (array(1.0, 1.0), 1.0))
    assert [y.dtype for y in (out[0], moved[0])] == [np.float32] * 2
    assert moved[1:] == (2.0, 0.0)
    t = Tensor(x, requires_grad=True)
    moved = mg.jvp(lambda s: (t + s, t * s, t.sum()), (1.0,), (Value(1.0),))[1]
    assert [y.dtype for y in moved] == [np.float32] * 3
    assert mg.hessian(lambda x: (x * np.ones(2)).prod())(t).dtype == np.float32


# ---- second derivatives


def rosenbrock(x):
    return ((1.0 - x[:-1]) ** 2 + 100.0 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def rosenbrock_hessian(x):
    inner = np.zeros(len(x))
    inner[:-1] = 2.0 - 400.0 * (x[1:] - x[:-1] ** 2) + 800.0 * x[:-1] ** 2
    inner[1:] += 200.0
    beside = np.diag(-400.0 * x[:-1], 1)
    return np.diag(inner) + beside + beside.T


A, B, TARGETS = RNG.normal(size=(3, 4)), RNG.normal(size=(5, 3)), np.eye(3)[[0, 2, 1, 1, 0]]
# Functions of one array of 4 numbers, made of all that has a rule of its own.
SMOOTH = {
    "rosenbrock": rosenbrock,
    "cubic form": lambda x: mg.sin(A @ x) @ mg.exp(x[:3] * x[1:]),
    "norm": lambda x: ((x * x).sum() + 1.0) ** 0.5,
    "softmax": lambda x: (mg.softmax(A @ x, temperature=2.0) * [1.0, 2.0, 4.0]).sum(),
    "logsumexp": lambda x: mg.logsumexp(x * x) * x.mean(),
    "log softmax": lambda x: mg.log_softmax(x.reshape(2, 2), axis=0)[0, 1] * x[3],
    "cross-entropy": lambda x: mg.nn.cross_entropy(mg.tanh(B @ x[1:]).reshape(5, 1) * A[:, 0], TARGETS),
    "linear": lambda x: mg.nn.linear(x[:3] * x[0], A.T, x).prod(),
    "product": lambda x: x.prod() + (x * x).prod(),
    "broadcasting": lambda x: (x.reshape(4, 1) * mg.tanh(x) + x.reshape(2, 2).T.flatten()).var(),
    "extremes": lambda x: x.max() * x.min() ** 2 + mg.maximum(x, 0.1 * x).sum() ** 2,
    "indexing": lambda x: (x[[0, 0, 3]] ** 3).sum() * x[np.array([True, False, True, False])].sum(),
    "numbers and back": lambda x: mg.stack([a * b for a, b in itertools.combinations(mg.unbind(x), 2)]).prod(),
    "concatenation": lambda x: (mg.concatenate([x, x * x]) @ mg.concatenate([x * x, x])) ** 2,
    "NumPy": lambda x: np.sum(np.exp(np.sin(x)) * np.where(x.data > 0.0, x * x, -x)) * np.max(x),
    "quadratic": lambda x: x @ (np.outer(A[0], A[0]) @ x),
    "linear alone": lambda x: (A @ x).sum(),
    "constant": lambda x: 3.0,
}
POINT = array(0.4, -0.7, 0.9, 0.3)


def differences(f, x, step=1e-4):
    """The derivative of an array by an array, by central differences of order 4."""
    columns = []
    for at in np.ndindex(x.shape):
        unit = np.zeros(x.shape)
        unit[at] = step
        one, two = f(x + unit) - f(x - unit), f(x + 2.0 * unit) - f(x - 2.0 * unit)
        columns.append((8.0 * one - two) / (12.0 * step))
    return np.stack(columns, -1).reshape(*np.shape(columns[0]), *x.shape)


@pytest.mark.parametrize("name", SMOOTH)
def test_hessians_are_right_and_symmetric_and_all_ways_to_them_agree(name):
    f = SMOOTH[name]
    close(mg.grad(f)(POINT), differences(lambda x: plain(f(Tensor(x))), POINT), 1e-8, 1e-9)
    found = mg.hessian(f)(POINT)
    close(found, differences(mg.grad(f), POINT), 1e-7, 1e-8)
    close(found, found.T, 1e-12, 1e-14)
    close(mg.hessian_diagonal(f)(POINT), np.diag(found), 1e-12, 1e-13)
    close(mg.jacobian(mg.jacobian(f))(POINT), found, 1e-12, 1e-13)
    v = array(1.0, -2.0, 0.5, 3.0)
    ways = {
        "forward over reverse": mg.hvp(f, POINT, v),
        "several": mg.hvp(f, (POINT,), (v,)),
        "reverse over forward": mg.grad(lambda x: mg.jvp(f, (x,), (v,))[1])(POINT),
        "reverse over reverse": mg.grad(lambda x: (mg.grad(f)(x) * v).sum())(POINT),
        "by vjp": mg.vjp(mg.grad(f), POINT)[1](v)[0],
    }
    for way in ways.values():
        close(way, found @ v, 1e-11, 1e-12)
    along = mg.jvp(lambda x: mg.jvp(f, (x,), (v,))[1], (POINT,), (v,))[1]  # forward over forward
    assert along == pytest.approx(v @ found @ v, rel=1e-11, abs=1e-12)


def test_the_hessian_of_rosenbrock_in_ten_dimensions():
    x = RNG.normal(size=10)
    close(mg.hessian(rosenbrock)(x), rosenbrock_hessian(x))
    close(mg.hessian_diagonal(rosenbrock)(x), np.diag(rosenbrock_hessian(x)))
    v = RNG.normal(size=10)
    close(mg.hvp(rosenbrock, x, v), rosenbrock_hessian(x) @ v, 1e-11)


def test_second_derivatives_of_several_arguments():
    def f(x, s, y):
        return (x * y).sum() ** 2 * s**3

    x, s, y = array(1.0, 2.0), 2.0, array(3.0, -1.0)
    dot = x @ y
    second = {
        ("x", "x"): 2.0 * np.outer(y, y) * s**3,
        ("x", "s"): 6.0 * dot * y * s**2,
        ("x", "y"): 2.0 * (np.outer(y, x) + dot * np.eye(2)) * s**3,
        ("s", "s"): 6.0 * dot**2 * s,
        ("s", "y"): 6.0 * dot * x * s**2,
        ("y", "y"): 2.0 * np.outer(x, x) * s**3,
    }
    names = ("x", "s", "y")
    want = tuple(tuple(second[a, b] if (a, b) in second else np.transpose(second[b, a]) for b in names) for a in names)
    close(mg.hessian(f, (0, 1, 2))(x, s, y), want)
    v = (array(1.0, -1.0), 2.0, array(0.5, 0.0))
    rows = [[np.tensordot(block, part, np.ndim(part)) for block, part in zip(line, v, strict=True)] for line in want]
    close(mg.hvp(f, (x, s, y), v), tuple(sum(row) for row in rows))
    close(mg.hessian_diagonal(f, (0, 1, 2))(x, s, y), (np.diag(want[0][0]), want[1][1], np.diag(want[2][2])))


def test_hvp_never_holds_the_hessian():
    n = 20_000
    x = np.linspace(-1.0, 1.0, n)
    close(mg.hvp(lambda x: (x**4).sum() + x.sum() ** 2, x, np.ones(n)), 12.0 * x**2 + 2.0 * n)


# ---- third derivatives, and derivatives through nodes


def quintic(x):
    return x[0] ** 2 * x[1] ** 3


X, Y = 1.5, -0.5
GRADIENT = array(2 * X * Y**3, 3 * X**2 * Y**2)
HESSIAN = np.array([[2 * Y**3, 6 * X * Y**2], [6 * X * Y**2, 6 * X**2 * Y]])
THIRD = np.array([[[0.0, 6 * Y**2], [6 * Y**2, 12 * X * Y]], [[6 * Y**2, 12 * X * Y], [12 * X * Y, 6 * X**2]]])
WEIGHTS = np.array([[1.0, -2.0], [0.5, 3.0]])


def test_three_jacobians():
    x = array(X, Y)
    close(mg.jacobian(mg.hessian(quintic))(x), THIRD)
    close(mg.jacobian(mg.jacobian(mg.grad(quintic)))(x), THIRD)
    v, w, u = array(1.0, 2.0), array(-1.0, 0.5), array(3.0, 1.0)
    close(mg.jvp(lambda x: mg.hvp(quintic, x, v), (x,), (w,))[1], THIRD @ w @ v)
    close(mg.grad(lambda x: (mg.hvp(quintic, x, v) * w).sum())(x), THIRD @ w @ v)
    close(mg.vjp(mg.hessian(quintic), x)[1](WEIGHTS)[0], np.tensordot(THIRD, WEIGHTS))
    close(mg.hvp(lambda x: mg.jvp(quintic, (x,), (v,))[1], x, u), THIRD @ u @ v)
    close(mg.jacobian(mg.hessian_diagonal(quintic))(x), np.array([THIRD[i, i] for i in (0, 1)]))


# What a transform gives at a Tensor, as a node, and the derivative of that (weighted) by the Tensor.
THROUGH = {
    "grad": (lambda x: mg.grad(quintic)(x), GRADIENT, WEIGHTS[0], HESSIAN @ WEIGHTS[0]),
    "value": (lambda x: mg.value_and_grad(quintic)(x)[0], X**2 * Y**3, 2.0, 2.0 * GRADIENT),
    "vjp": (lambda x: mg.vjp(quintic, x)[1](3.0)[0], 3.0 * GRADIENT, WEIGHTS[0], 3.0 * HESSIAN @ WEIGHTS[0]),
    "jvp": (lambda x: mg.jvp(quintic, (x,), (WEIGHTS[1],))[1], GRADIENT @ WEIGHTS[1], 2.0, 2.0 * HESSIAN @ WEIGHTS[1]),
    "jacobian": (lambda x: mg.jacobian(quintic)(x), GRADIENT, WEIGHTS[0], HESSIAN @ WEIGHTS[0]),
    "tall jacobian": (
        lambda x: mg.jacobian(lambda x: mg.stack([quintic(x), x[0], x[1] ** 2]))(x),
        np.array([GRADIENT, [1.0, 0.0], [0.0, 2 * Y]]),
        np.array([WEIGHTS[0], [5.0, 5.0], [0.0, 7.0]]),
        HESSIAN @ WEIGHTS[0] + [0.0, 14.0],
    ),
    "hessian": (lambda x: mg.hessian(quintic)(x), HESSIAN, WEIGHTS, np.tensordot(THIRD, WEIGHTS)),
    "hessian diagonal": (
        lambda x: mg.hessian_diagonal(quintic)(x),
        np.diag(HESSIAN),
        WEIGHTS[0],
        WEIGHTS[0] @ [THIRD[0, 0], THIRD[1, 1]],
    ),
    "hvp": (
        lambda x: mg.hvp(quintic, x, WEIGHTS[1]),
        HESSIAN @ WEIGHTS[1],
        WEIGHTS[0],
        THIRD @ WEIGHTS[1] @ WEIGHTS[0],
    ),
}


@pytest.mark.parametrize(("call", "value", "weights", "slope"), THROUGH.values(), ids=THROUGH)
def test_results_at_a_tensor_go_backward(call, value, weights, slope):
    x = Tensor([X, Y], requires_grad=True)
    found = call(x)
    close(found, value)
    assert x.grad is None
    (found * weights).sum().backward()
    close(x.grad, slope)
    inner = Tensor([X / 2.0, 2.0 * Y], requires_grad=True)  # and through what the tensor was computed from
    (call(inner * [2.0, 0.5]) * weights).sum().backward()
    close(inner.grad, slope * [2.0, 0.5])
    close(mg.grad(lambda x: (call(x) * weights).sum())(array(X, Y)), slope)


def test_results_at_a_value_go_backward_to_the_third_derivative():
    for call, factor in (
        (mg.hessian(lambda x: x**5), 1.0),
        (mg.hessian_diagonal(lambda x: x**5), 1.0),
        (lambda x: mg.hvp(lambda x: x**5, x, 2.0), 2.0),
        (lambda x: mg.jvp(mg.jacobian(lambda x: x**5), (x,), (1.0,))[1], 1.0),
        (lambda x: mg.vjp(mg.grad(lambda x: x**5), x)[1](1.0)[0], 1.0),
    ):
        v = Value(2.0, "v")
        found = call(v)
        assert (type(found), found.data, v.grad) == (Value, 160.0 * factor, None)
        found.backward()
        assert v.grad == 240.0 * factor


def test_a_gradient_penalty_reaches_the_weights():
    w, x = RNG.normal(size=(3, 2)), RNG.normal(size=(4, 3))

    def penalty(w, x):
        slopes = mg.grad(lambda x: mg.tanh(x @ w).sum())(x)
        return (slopes * slopes).sum()

    by_transform = mg.grad(penalty)(w, x)
    close(by_transform, differences(lambda w: np.array(plain(penalty(w, x))), w), 1e-7, 1e-9)
    for points in (Tensor(x), Tensor(x, requires_grad=True)):
        weights = Tensor(w, requires_grad=True)
        penalty(weights, points).backward()
        close(weights.grad, by_transform)


def test_what_needs_no_gradient_gives_results_that_need_none():
    data, w = Tensor([1.0, 2.0]), Tensor([3.0, 4.0], requires_grad=True)

    def needs(tree):
        return [x.requires_grad for x in mg.tree_leaves(tree)]

    assert needs(mg.grad(cubes)(data)) == needs(mg.hessian(cubes)(data)) == [False]
    assert needs(mg.vjp(lambda x: x * x, data)[0]) == [False]
    assert needs(mg.vjp(lambda x: x * x, data)[1](array(1.0, 1.0))) == [False]
    assert needs(mg.jvp(cubes, (data,), (data,))) == [False, False]
    assert np.asarray(mg.grad(cubes)(data)).tolist() == [3.0, 12.0]
    assert needs(mg.grad(lambda x, y: (x * y).sum(), (0, 1))(data, w)) == [True, False]  # w, and data alone
    assert needs(mg.grad(lambda x, y: (x * y).sum(), (0, 1))(data, array(1.0, 2.0))) == [False, False]
    assert needs(mg.grad(lambda x: (x * x * w).sum())(data)) == [True]
    assert needs(mg.grad(lambda x: (x * x * w).sum())(w)) == [True]


# ---- nesting


def along(f):
    return lambda x: mg.jvp(f, (x,), (1.0,))[1]


def back(f):
    return lambda x: mg.vjp(f, x)[1](1.0)[0]


# Ways to the derivative of a function of one number.
WAYS = {"grad": mg.grad, "jvp": along, "vjp": back, "jacobian": mg.jacobian}
LEVELS = list(itertools.product(WAYS, repeat=3))


@pytest.mark.parametrize("names", LEVELS, ids="-".join)
def test_three_levels_of_every_kind(names):
    outer, middle, inner = (WAYS[name] for name in names)
    x = 0.7
    sin, cos = math.sin(x), math.cos(x)
    third = 6 * sin + 18 * x * cos - 9 * x**2 * sin - x**3 * cos
    functions = (
        lambda x: x**3 * mg.sin(x),
        lambda x: (mg.stack([x, x * x]) * mg.stack([x, 1.0])).prod() / x * mg.sin(x),  # through an array
    )
    for f, kind in itertools.product(functions, (float, Value)):
        found = outer(middle(inner(f)))(kind(x))
        assert len(nodes(found)) == (kind is Value)
        assert plain(found) == pytest.approx(third, rel=1e-11)
    for tensor in (Tensor(x), Tensor(x, requires_grad=True)):
        assert plain(outer(middle(inner(functions[0])))(tensor)) == pytest.approx(third, rel=1e-11)


@pytest.mark.parametrize("names", LEVELS, ids="-".join)
def test_inner_derivatives_see_the_outer_variables(names):
    outer, middle, inner = (WAYS[name] for name in names)
    x = 1.25

    def at_the_variable(x):  # by z at y: 4 x² y⁶; by y at x: 24 x⁷
        return middle(lambda y: inner(lambda z: x**2 * y**3 * z**4)(y))(x)

    def at_numbers(x):  # by z at 2: 4 x² y z; by y: 8 x²; times x
        return x * middle(lambda y: inner(lambda z: x**2 * y * z**2)(2.0))(3.0) * 2.0

    def of_the_outermost_alone(x):  # by z: 0, by y: sin x
        return middle(lambda y: y * mg.sin(x) + inner(lambda z: mg.sin(x) * y)(2.0))(3.0)

    def between(x):  # the middle one closes over x, and its result meets x again
        return x * middle(lambda y: x + y * inner(lambda z: z * z)(x))(x)

    wanted = [(at_the_variable, 168 * x**6), (at_numbers, 24 * x**2), (of_the_outermost_alone, math.cos(x))]
    for f, want in [*wanted, (between, 4 * x)]:
        for arg in (x, np.array(x), Value(x), Tensor(x, requires_grad=True)):
            assert plain(outer(f)(arg)) == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("inner", WAYS)
@pytest.mark.parametrize("outer", WAYS)
def test_perturbations_are_not_confused(outer, inner):
    d, e = WAYS[outer], WAYS[inner]
    # Siskind and Pearlmutter, "Perturbation confusion and referential transparency", 2005: 1, and not 2
    assert d(lambda x: x * e(lambda y: x + y)(1.0))(1.0) == 1.0
    assert d(lambda x: x * e(lambda y: x + y)(x))(1.0) == 1.0
    assert d(lambda x: e(lambda y: x * y * y)(x))(3.0) == 12.0
    assert d(lambda x: e(lambda y: x)(x))(3.0) == 0.0
    assert d(lambda x: e(lambda y: y * y)(2.0 * x))(3.0) == 4.0
    # "Confusion of tagged perturbations in forward automatic differentiation of higher-order functions", 2019
    assert e(lambda x: d(lambda u: mg.exp(x + u))(0.0))(0.0) == 1.0
    assert e(lambda x: d(lambda u: d(lambda w: mg.exp(w + u))(x))(0.0))(0.0) == 1.0


def test_arrays_in_nested_transforms():
    x = array(1.0, 2.0)

    def f(x):
        inner = mg.jacobian(lambda y: mg.stack([(x * y).sum(), (y * y * x).sum(), x.prod()]))(x)  # (x, 2 x², 0)
        return (inner * [[1.0], [2.0], [3.0]]).sum()

    close(mg.grad(f)(x), 1.0 + 8.0 * x)
    close(mg.hessian(f)(x), 8.0 * np.eye(2))
    close(mg.grad(lambda s: mg.hvp(lambda y: (y**3).sum() * s, x, x).sum())(2.0), (6.0 * x * x).sum())
    close(mg.jacobian(lambda s: mg.hessian(lambda y: (y**3).sum() * s)(x))(2.0), np.diag(6.0 * x))
    close(mg.jacobian(lambda y: mg.jvp(lambda x: x * y, (x,), (y,))[1])(x), np.diag(2.0 * x))


def test_both_directions_of_a_tangent_that_is_traced():
    # d/dt of the derivative of sin along t, by t: cos
    assert mg.grad(lambda t: mg.jvp(mg.sin, (0.5,), (t,))[1])(2.0) == math.cos(0.5)
    assert mg.jvp(lambda t: mg.jvp(mg.sin, (0.5,), (t * t,))[1], (2.0,), (1.0,))[1] == 4.0 * math.cos(0.5)
    assert mg.grad(lambda t: mg.vjp(mg.sin, 0.5)[1](t * t)[0])(2.0) == 4.0 * math.cos(0.5)
    assert mg.grad(lambda t: mg.hvp(lambda x: x**3, 2.0, t))(1.0) == 12.0
    moved = mg.jvp(lambda x: x * Tensor([1.0, 2.0]), (2.0,), (Value(3.0),))[1]
    close(moved, array(3.0, 6.0))
    # where the function and the tangent have it, both count
    assert mg.grad(lambda t: mg.jvp(lambda x: t * x * x, (t,), (t,))[1])(2.0) == 24.0  # of 2 t³


def test_a_pullback_is_called_later_and_often():
    x = array(1.0, 2.0)
    out, pullback = mg.vjp(lambda x: (x * x, x.sum()), x)
    first = pullback((array(1.0, 1.0), 0.0))
    x[:] = 100.0  # the pullback keeps what it was computed with
    out[0][:] = 100.0
    first[0][:] = 100.0
    for _ in range(2):
        close(pullback((array(1.0, 1.0), 0.0)), (array(2.0, 4.0),))
        close(pullback((array(0.0, 1.0), 10.0)), (array(10.0, 14.0),))


@pytest.mark.parametrize("name", SMOOTH)
def test_a_pullback_is_linear_in_the_cotangent(name):
    pullback = mg.vjp(SMOOTH[name], POINT)[1]
    v = array(1.0, -2.0, 0.5, 3.0)
    want = mg.grad(SMOOTH[name])(POINT) @ v
    for c in (2.0, np.array(2.0)):
        close(mg.grad(lambda c: (pullback(c)[0] * v).sum())(c), want)
        close(mg.grad(lambda c: (pullback(c * c)[0] * v).sum())(c), 4.0 * want)
        close(mg.jvp(lambda c: (pullback(c)[0] * v).sum(), (c,), (c,)), (2.0 * want, 2.0 * want))


def test_a_result_that_is_given_twice():
    def f(x):
        y = x * x
        return {"a": y, "b": (y, x, y)}

    assert mg.vjp(f, 3.0)[1]({"a": 1.0, "b": (10.0, 1000.0, 100.0)}) == (1666.0,)
    assert mg.jvp(f, (3.0,), (1.0,))[1] == mg.jacobian(f)(3.0) == {"a": 6.0, "b": (6.0, 1.0, 6.0)}


def test_a_pullback_inside_another_derivative():
    _, pullback = mg.vjp(lambda x: (x**3, x), 2.0)
    assert mg.grad(lambda c: pullback((c * c, c))[0])(5.0) == 12.0 * 10.0 + 1.0  # it is linear in the cotangent
    assert mg.jvp(lambda c: pullback((c, 1.0))[0], (5.0,), (1.0,)) == (61.0, 12.0)
    assert mg.hessian(lambda c: pullback((c**3, 0.0))[0])(1.0) == 72.0
    close(mg.jacobian(lambda c: mg.stack(pullback((c, c))))(1.0), array(13.0))
    _, pullback = mg.vjp(lambda x: A @ x, POINT)
    close(mg.jacobian(lambda c: pullback(c)[0])(array(1.0, 2.0, 3.0)), A.T)
    close(mg.grad(lambda c: (pullback(c)[0] ** 2).sum())(array(1.0, 2.0, 3.0)), 2.0 * A @ (A.T @ [1.0, 2.0, 3.0]))


def test_a_pullback_made_inside_another_derivative():
    kept = []

    def f(x):
        out, pullback = mg.vjp(lambda y: x * y**3, x)
        kept.append(pullback)
        return out + pullback(x)[0] + pullback(2.0)[0]  # x⁴ + 3 x⁴ + 6 x³

    assert mg.grad(f)(2.0) == 16.0 * 8.0 + 18.0 * 4.0
    (late,) = kept[0](1.0)  # outside, the variable of f is a constant
    assert plain(late) == 24.0


def test_a_pullback_at_a_node_called_with_nodes():
    v, c = Value(2.0), Value(5.0)
    out, pullback = mg.vjp(lambda x: x**3, v)
    (found,) = pullback(c)  # 3 v² c
    found.backward()
    assert (out.data, found.data, v.grad, c.grad) == (8.0, 60.0, 60.0, 12.0)
    t, c = Tensor([1.0, 2.0], requires_grad=True), Tensor([1.0, 3.0], requires_grad=True)
    (found,) = mg.vjp(lambda x: x**3, t)[1](c)
    found.sum().backward()
    close((t.grad, c.grad), (6.0 * t.data * c.data, 3.0 * t.data**2))


@pytest.mark.parametrize("like", [2.0, np.array(2.0), Value(2.0), Tensor(2.0, requires_grad=True)])
@pytest.mark.parametrize("way", [3.0, np.array(3.0), Value(3.0), Tensor(3.0, requires_grad=True), Tensor(3.0)])
def test_cotangents_and_tangents_of_every_kind(like, way):
    def f(x):
        return (x**3, x * 2.0)

    (found,) = mg.vjp(f, like)[1]((way, way))
    close(found, 42.0)
    assert isinstance(found, (float, Value)) == isinstance(like, (float, Value))  # of the kind of the argument
    out, moved = mg.jvp(f, (like,), (way,))
    if nodes(moved):
        assert {type(x) for x in moved} == ({Value} if isinstance(like, (float, Value)) else {Tensor})
    close((out, moved), ((8.0, 4.0), (36.0, 6.0)))
    assert len(nodes(moved)) == (2 if nodes(like) or nodes(way) else 0)
    close(mg.hvp(lambda x: x**3, like, way), 36.0)
    for node in nodes(way):
        node.grad = None
        if node.requires_grad:
            (found + moved[0]).backward()
            close(node.grad, 26.0)
            node.grad = None
    for node in nodes(like):
        node.grad = None


# ---- what a function may close over and do


def test_values_and_tensors_in_one_function():
    def f(v, t, w):
        return (v * t + w).sum() * v + mg.stack([v, w[0]]).prod()

    args = (2.0, array(1.0, 3.0), array(0.5, -1.0))
    want = (2 * 2.0 * 4.0 - 0.5 + 0.5, array(4.0, 4.0), array(2.0 + 2.0, 2.0))
    close(mg.grad(f, (0, 1, 2))(*args), want)
    mixed = (Value(2.0), Tensor(args[1], requires_grad=True), args[2])
    found = mg.grad(f, (0, 1, 2))(*mixed)
    close(found, want)
    assert [type(x) for x in found] == [Value, Tensor, Tensor]  # also by the array: it depends on the nodes
    found[0].backward()  # 2 v (t1 + t2) + w1 + w2 + w1
    close((mixed[0].grad, mixed[1].grad), (8.0, array(4.0, 4.0)))


def test_second_derivatives_of_values_and_tensors():
    def f(v, t):
        return (v * t).sum() * v

    for x in (array(1.0, 3.0), Tensor([1.0, 3.0])):
        close(mg.hessian(f, (0, 1))(2.0, x), ((8.0, array(4.0, 4.0)), (array(4.0, 4.0), np.zeros((2, 2)))))
    v, t = Value(2.0), Tensor([1.0, 3.0], requires_grad=True)
    (found,) = mg.vjp(lambda t: t * v, t)[1](array(1.0, 2.0))
    close(found, array(2.0, 4.0))
    found.sum().backward()
    assert v.grad == 3.0
    assert mg.grad(lambda v: mg.jvp(lambda t: t * v, (t,), (array(1.0, 2.0),))[1].sum())(2.0) == 3.0


def test_what_a_function_closes_over_is_a_constant():
    w, v = Tensor([3.0, 4.0], requires_grad=True), Value(2.0)
    x = array(1.0, 2.0)
    found = mg.grad(lambda x: (x * x * w).sum() * v)(x)
    assert kinds(found) == ("ndarray", F64, (2,))  # arrays in, arrays out
    close(found, array(12.0, 32.0))
    out, moved = mg.jvp(lambda x: (x * w).sum() * v, (x,), (x,))
    assert (type(out), out, moved) == (float, 22.0, 22.0)
    found = mg.grad(lambda x: (x * x * w).sum() * v)(Tensor(x))  # nodes in, nodes out
    found.sum().backward()
    close((w.grad, v.grad), (array(4.0, 8.0), 22.0))


def test_a_transform_inside_of_a_graph_that_requires_gradients():
    w = Tensor([1.0, 2.0], requires_grad=True)
    s = Value(3.0)
    h = mg.tanh(w * s)  # interior nodes, closed over by f and given to it
    found = mg.grad(lambda x: (x**2 * h).sum() * s)(h)
    loss = (found * h).sum()  # 2 h³ s
    loss.backward()
    t = np.tanh(3.0 * array(1.0, 2.0))
    close(w.grad, 6.0 * t**2 * 3.0 * (1.0 - t * t) * 3.0)
    close(s.grad, (2.0 * t**3).sum() + (6.0 * t**2 * 3.0 * (1.0 - t * t) * array(1.0, 2.0)).sum())


def test_detach_and_data_cut_inside_of_a_function():
    x = array(1.0, 2.0)
    for cut in (lambda x: x.detach(), lambda x: x.data, lambda x: mg.no_grad()(lambda: x * 1.0)()):
        close(mg.grad(lambda x, cut=cut: (x * cut(x)).sum())(x), x)
        close(mg.hessian(lambda x, cut=cut: (x * x * cut(x)).sum())(x), 2.0 * np.diag(x))
        close(mg.jvp(lambda x, cut=cut: x * cut(x), (x,), (x,))[1], x * x)
    assert mg.grad(lambda x: x * x.data)(3.0) == 3.0
    close(mg.grad(lambda x: x.detach().sum())(x), np.zeros(2))


def test_an_inner_derivative_under_no_grad_is_a_constant():
    def f(x):
        with mg.no_grad():
            c = mg.grad(lambda y: y * y * x)(x)  # 2 x², and cut
        return x * c

    for kind in (float, Value):
        assert plain(mg.grad(f)(kind(3.0))) == 18.0
    assert mg.jvp(f, (3.0,), (1.0,)) == (54.0, 18.0)


@mg.no_grad()
def silently(call):
    return call()


@pytest.mark.parametrize("name", THROUGH)
def test_a_transform_under_no_grad_gives_the_numbers_and_no_graph(name):
    call, value, _, _ = THROUGH[name]
    x = Tensor([X, Y], requires_grad=True)
    found = silently(lambda: call(x))
    close(found, value)
    assert kinds(found) == kinds(call(x))
    assert (found.inputs, found.requires_grad) == ((), False)
    found = silently(lambda: call(array(X, Y)))
    assert kinds(found) == kinds(call(array(X, Y)))
    assert call(x).requires_grad
    assert not silent


def test_a_pullback_called_under_no_grad():
    x = Tensor([1.0, 2.0], requires_grad=True)
    out, pullback = mg.vjp(lambda x: x**3, x)
    for cotangent in (array(1.0, 1.0), Tensor([1.0, 1.0], requires_grad=True)):
        (found,) = silently(lambda c=cotangent: pullback(c))
        assert (kinds(found), found.inputs, found.requires_grad) == (("Tensor", F64, (2,)), (), False)
        close(found, 3.0 * x.data**2)
    out, pullback = silently(lambda: mg.vjp(lambda x: x**3, x))
    assert (out.inputs, out.requires_grad) == ((), False)
    assert pullback(array(1.0, 1.0))[0].requires_grad
    out, moved = silently(lambda: mg.jvp(lambda x: x**3, (2.0,), (Value(1.0),)))
    assert (out, moved.data, moved.inputs) == (8.0, 12.0, ())


def test_no_grad_in_another_thread():
    found = []
    with mg.no_grad():
        thread = Thread(target=lambda: found.append(mg.grad(lambda x: x**3)(Value(2.0))))
        thread.start()
        thread.join()
    assert (found[0].data, len(found[0].inputs) > 0) == (12.0, True)


def test_what_a_function_gives_besides():
    w = Tensor(2.0)

    def f(x, c=1.0):
        return (x * x).sum() * c, {"x": x, "twice": [2.0 * x, (x * w).sum()], "w": w, "note": "text", "none": None}

    x = array(1.0, 2.0)
    besides = {"x": x, "twice": [2.0 * x, 6.0], "note": "text", "none": None}

    def check(aux, nodes=False):
        assert aux.pop("w") is w
        assert kinds(aux["twice"]) == ([("Tensor", F64, (2,)), ("Tensor", F64, ())] if nodes else [
            ("ndarray", F64, (2,)), "float"])  # fmt: skip
        assert aux.pop("note") == besides["note"]
        close(aux, {key: besides[key] for key in ("x", "twice", "none")})

    (value, aux), found = mg.value_and_grad(f, has_aux=True)(x)
    assert value == 5.0
    close(found, 2.0 * x)
    check(aux)
    found, aux = mg.grad(f, has_aux=True)(x, c=3.0)
    close(found, 6.0 * x)
    check(aux)
    found, aux = mg.grad(f, 1, has_aux=True)(x, 3.0)
    assert found == 5.0
    assert aux["x"] is x  # x is no variable here
    out, pullback, aux = mg.vjp(f, x, has_aux=True)
    close((out, *pullback(2.0)), (5.0, 4.0 * x))
    check(aux)
    out, moved, aux = mg.jvp(f, (x,), (x,), has_aux=True)
    assert (out, moved) == (5.0, 10.0)
    check(aux)
    found, aux = mg.jacobian(f, has_aux=True)(x)
    close(found, 2.0 * x)
    check(aux)
    found, aux = mg.hessian(f, has_aux=True)(x)
    close(found, 2.0 * np.eye(2))
    check(aux)
    (value, aux), found = mg.value_and_grad(f, has_aux=True)(Tensor(x, requires_grad=True))
    check(aux, nodes=True)


def test_what_comes_besides_is_passed_on_as_it_is():
    thing = object()
    besides = [thing, {"a": np.arange(3)}]
    assert mg.grad(lambda x: (x * x, besides), has_aux=True)(3.0)[1] is besides
    assert mg.grad(lambda x: [x * x, None], has_aux=True)(3.0) == (6.0, None)
    assert mg.grad(lambda x: (x * x, (x,)), has_aux=True)(3.0) == (6.0, (3.0,))


def test_what_comes_besides_belongs_to_an_outer_derivative():
    def f(x):
        found, aux = mg.grad(lambda y: (y * y, x * y), has_aux=True)(x)
        return found * aux  # 2 x · x²

    assert mg.grad(f)(3.0) == 54.0
    # also where the result itself does not depend on the outer variable
    assert mg.grad(lambda x: mg.grad(lambda y: (y * y, x * y), has_aux=True)(5.0)[1])(3.0) == 5.0
    assert mg.grad(lambda x: mg.vjp(lambda y: (y * y, x * y), 5.0, has_aux=True)[2])(3.0) == 5.0


# ---- no side effect


def everything(x, way, f=cubes):
    """A call of every transform, and all that they give."""
    out, pullback = mg.vjp(f, x)
    return [
        mg.grad(f)(x),
        mg.value_and_grad(lambda x: (f(x), x), has_aux=True)(x),
        out,
        pullback(1.0),
        pullback(1.0),
        mg.jvp(f, (x,), (way,)),
        mg.jacobian(f)(x),
        mg.hessian(f)(x),
        mg.hvp(f, x, way),
        mg.hessian_diagonal(f)(x),
        mg.jvp(lambda x: (x, x, f(x)), (x,), (way,)),
        mg.jacobian(lambda x: (x, x))(x),
        mg.vjp(lambda x: (x, x), x)[1]((way, way)),
        mg.grad(lambda x, y: x.sum() + y.sum() if np.ndim(plain(x)) else x + y, (0, 1))(x, x),
        mg.vjp(lambda x: x.reshape(-1) if np.ndim(plain(x)) else x, x),
    ]


def test_no_grad_is_touched():
    w, v = Tensor([1.0, 2.0], requires_grad=True), Value(2.0)
    computed, number = w * v, v * v
    (computed.sum() * number).backward()
    below = order_of_all([computed.sum() * number])
    before = [(node, node.grad, np.copy(node.grad), plain(node).copy()) for node in below[:-1] if node.grad is not None]
    assert len(before) == 4
    everything(computed, array(1.0, 1.0), lambda x: (x**3 * w * v).sum() * number)
    everything(number, 1.0, lambda x: x**3 * v * w.sum())
    everything(w, array(1.0, 1.0), lambda x: (x**3 * w * v).sum() * number)
    for node, grad, numbers, data in before:
        assert node.grad is grad
        assert np.array_equal(grad, numbers)
        assert np.array_equal(plain(node), data)


def arrays(tree):
    """The arrays of a tree, also those that nodes hold where their data can be set."""
    found = []
    for x in mg.tree_leaves(tree):
        if isinstance(x, np.ndarray):
            found.append(x)
        elif isinstance(x, Tensor):
            if x.prim is None:
                found.append(x.data)
            else:
                assert not x.data.flags.writeable
    return found


def test_no_two_results_share_memory_with_each_other_or_with_the_arguments():
    c, w = np.ones(2), Tensor([3.0, 4.0], requires_grad=True)

    def f(x):
        return (x * c + w).sum() + (x.reshape(2, 1) * w).sum() + x @ c

    x, way = array(1.0, 2.0), array(1.0, 1.0)
    found = arrays([x, way, c, w, everything(x, way, f), everything(x, way, f)])
    assert len(found) > 40
    for i, a in enumerate(found):
        assert a.flags.writeable
        assert not any(np.shares_memory(a, b) for b in found[:i])
    x, way = Tensor(x, requires_grad=True), Tensor(way)
    for result in (everything(x, way, f), silently(lambda: everything(x, way, f))):
        found = arrays([x, way, c, w, result])
        for i, a in enumerate(found):
            assert not any(np.shares_memory(a, b) for b in found[:i])


def test_no_leaf_of_another_is_given_as_a_derivative():
    v, t = Value(2.0), Tensor([1.0, 2.0], requires_grad=True)
    found = mg.grad(lambda x: x * v)(Value(3.0))
    assert found is not v
    found.name = "slope"
    assert (found.data, v.name) == (2.0, None)
    (found,) = mg.vjp(lambda x: x, Tensor([5.0, 6.0]))[1](t)
    assert found is not t
    found.sum().backward()
    close(t.grad, array(1.0, 1.0))
    out, moved = mg.jvp(lambda x: (x, v), (Value(3.0),), (v,))
    assert not {*out, *moved} & {v}
    assert [x.data for x in (*out, *moved)] == [3.0, 2.0, 2.0, 0.0]


def test_arguments_may_change_afterwards():
    x, c = array(1.0, 2.0), array(3.0, 4.0)
    t = Tensor(x, requires_grad=True)
    pullback = mg.vjp(lambda x: (x**3).sum(), t)[1]
    t.data[:] = 100.0
    close(pullback(1.0)[0], 3.0 * x * x)
    found = []
    mg.grad(lambda y: found.append(y) or (y * c).sum())(x)
    x[:] = 100.0
    assert found[0].data.tolist() == [1.0, 2.0]


class BrokenError(Exception):
    pass


def test_an_error_in_a_function_leaves_nothing_behind():
    kept = []

    def f(x):
        kept.append(x)
        with mg.no_grad():
            kept.append(x * 2.0)
            raise BrokenError

    calls = (
        lambda x: mg.grad(f)(x),
        lambda x: mg.vjp(f, x),
        lambda x: mg.jvp(f, (x,), (1.0,)),
        lambda x: mg.jacobian(f)(x),
        lambda x: mg.hessian(f)(x),
        lambda x: mg.hvp(f, x, 1.0),
        lambda x: mg.hessian_diagonal(f)(x),
        lambda x: mg.grad(lambda y: mg.grad(f)(y) * x)(x),
    )
    for call, surround in itertools.product(calls, (lambda call: call(), silently)):
        with pytest.raises(BrokenError):
            surround(lambda call=call: call(3.0))
        assert not silent
        # an open variable would make the result a node, as that of an inner derivative is
        assert [type(mg.grad(lambda y, x=x: y * x)(2.0)) for x in kept] == [float] * len(kept)
        assert (Value(2.0) * 3.0).inputs
    assert len(kept) == 4 * len(calls)


@pytest.mark.parametrize(
    "call",
    [
        lambda f: mg.grad(f)(2.0),
        lambda f: mg.vjp(f, 2.0),
        lambda f: mg.vjp(lambda x: (f(x), x)[1], 2.0)[1]("text"),
        lambda f: mg.jvp(f, (2.0,), (1.0,)),
        lambda f: mg.jvp(lambda x: (f(x), x)[1], (2.0,), (array(1.0, 2.0),)),
        lambda f: mg.jacobian(f)(2.0),
        lambda f: mg.grad(lambda x: (f(x), mg.sqrt(0.0 * x))[1])(2.0),
    ],
)
def test_an_error_of_a_transform_leaves_nothing_behind(call):
    kept = []
    for surround in (lambda call: call(), silently):
        with pytest.raises(MicrogadError):
            surround(lambda: call(lambda x: kept.append(x) or "text"))
        assert not silent
        assert type(mg.grad(lambda y: y * kept[-1])(2.0)) is float


def test_under_an_error_inside_of_no_grad_it_stays_silent():
    with mg.no_grad():
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                mg.grad(lambda x: 1 / 0)(2.0)
            assert (Value(2.0) * 3.0).inputs == ()
    assert (Value(2.0) * 3.0).inputs != ()


def test_graphs_are_freed_without_the_collector():
    def count():
        ours = (Value, Tensor, np.ndarray, transforms.Run)
        return sum(issubclass(type(x), ours) for x in gc.get_objects())

    def failing(x):
        raise BrokenError

    def use():
        x, way = array(1.0, 2.0), array(1.0, 1.0)
        tree = {"a": x, "b": [2.0]}
        for kind in (lambda x: x, Tensor, lambda x: Tensor(x, requires_grad=True)):
            everything(kind(x), way)
            silently(lambda kind=kind: everything(kind(x), way))
        everything(2.0, 1.0)
        everything(Value(2.0), Value(1.0))
        mg.grad(lambda x: mg.grad(lambda y: mg.grad(lambda z: x * y * z**3)(y))(x))(2.0)
        mg.hessian(lambda t: (t["a"] ** 3).sum() * t["b"][0] ** 2)(tree)
        mg.vjp(lambda t: t, tree)[1](tree)
        for wrong in (lambda: mg.grad(failing)(x), lambda: mg.vjp(lambda t: t, tree)[1](x)):
            with suppress(BrokenError, MicrogadError):
                wrong()

    use()  # fills what is kept for good
    gc.collect()
    gc.disable()
    try:
        before = count()
        use()
        assert count() == before
    finally:
        gc.enable()


def test_a_pullback_keeps_the_graph_and_lets_it_go():
    gc.collect()
    gc.disable()
    try:
        x = np.ones(1000)
        before = sum(issubclass(type(o), Tensor) for o in gc.get_objects())
        out, pullback = mg.vjp(lambda x: mg.exp(mg.sin(x)).sum(), x)
        assert sum(issubclass(type(o), Tensor) for o in gc.get_objects()) > before
        del out, pullback
        assert sum(issubclass(type(o), Tensor) for o in gc.get_objects()) == before
    finally:
        gc.enable()


# ---- backward inside of a function that is being differentiated


def through_backward(x):
    loss = (x * x * x).sum() if np.ndim(plain(x)) else x * x * x
    loss.backward()
    return (x * x.grad).sum() if np.ndim(plain(x)) else x * x.grad


@pytest.mark.parametrize("x", [2.0, array(1.0, 2.0), Value(2.0), Tensor([1.0, 2.0], requires_grad=True), Tensor([1.0])])
@pytest.mark.parametrize("name", ["grad", "jacobian", "vjp", "jvp", "hvp", "inner"])
def test_backward_on_a_variable_is_refused(x, name):
    way = np.ones(np.shape(plain(x))) if np.ndim(plain(x)) else 1.0
    calls = {
        "grad": lambda: mg.grad(through_backward)(x),
        "jacobian": lambda: mg.jacobian(through_backward)(x),
        "vjp": lambda: mg.vjp(through_backward, x),
        "jvp": lambda: mg.jvp(through_backward, (x,), (way,)),
        "hvp": lambda: mg.hvp(through_backward, x, way),
        "inner": lambda: mg.grad(lambda x: mg.grad(lambda y: (through_backward(x), cubes(y))[1])(2.0) * cubes(x))(x),
    }
    with pytest.raises(GraphCutError, match=r"backward\(\) inside a function that is being differentiated .*mg\.grad"):
        calls[name]()
    assert getattr(x, "grad", None) is None


def test_backward_inside_where_it_concerns_no_variable():
    w, t = Value(3.0), Tensor([1.0, 2.0], requires_grad=True)

    def f(x):
        (w * w).backward()
        (t * x.data).sum().backward()
        return x * w.grad + x * t.grad.sum()

    assert mg.grad(f)(2.0) == 10.0
    assert (w.grad, t.grad.tolist()) == (6.0, [2.0, 2.0])


def test_backward_inside_touches_no_other_leaf():
    w, t = Value(3.0), Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GraphCutError):
        mg.grad(lambda x: (w * x * w).backward())(2.0)
    with pytest.raises(GraphCutError):
        mg.grad(lambda x: (w * x * t).sum().backward())(2.0)
    assert (w.grad, t.grad) == (None, None)


def test_adjoints_inside_of_a_function():
    assert mg.grad(lambda x: mg.adjoints(x**3)[x])(2.0) == 12.0
    assert mg.hessian(lambda x: x * mg.adjoints(x**3)[x])(2.0) == 36.0
    close(mg.jacobian(lambda x: mg.adjoints((x**3).sum())[x])(array(1.0, 2.0)), np.diag(array(6.0, 12.0)))
    v = Value(2.0)
    mg.grad(lambda x: mg.adjoints(x**3 * v)[x])(Value(1.0)).backward()
    assert v.grad == 6.0
    assert type(mg.adjoints(v * v)[v]) is float


def test_what_is_shown_inside_of_a_function():
    shown = []

    def f(x):
        y = x * x
        shown.append((str(mg.formula(y)), repr(y), mg.viz.draw(y, grads=True).source.count("label")))
        return y

    assert mg.grad(f)(Value(3.0, "x")) == 6.0
    assert shown[0][:2] == ("x * x", "Value(data=9.0, grad=None)")


# ---- errors


TEXT, OBJECTS, COMPLEX = np.array(["a"]), array(None, dtype=object), array(1j, dtype=complex)
WITH_ARGNUMS = ("value_and_grad", "jacobian", "hessian", "hessian_diagonal")
NUMBER = "a number or an array is expected, not"
ONE = "is not one number; take its .sum\\(\\) or .mean\\(\\), or mg.jacobian for the derivative of each"
EACH = "takes a tuple of one tangent for each argument, not"


def same(x):
    return x


def pulled(f, x, cotangent):
    return mg.vjp(f, x)[1](cotangent)


FUNCTIONS = {
    "grad": lambda: mg.grad(3.0),
    "value_and_grad": lambda: mg.value_and_grad("f"),
    "vjp": lambda: mg.vjp(None, 1.0),
    "jvp": lambda: mg.jvp([], (1.0,), (1.0,)),
    "jacobian": lambda: mg.jacobian(3.0),
    "hessian": lambda: mg.hessian(3.0),
    "hvp": lambda: mg.hvp(3.0, 1.0, 1.0),
    "hessian_diagonal": lambda: mg.hessian_diagonal(3.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_function(name):
    with pytest.raises(InputError, match=f"^{name} is that of a function, not of "):
        FUNCTIONS[name]()


@pytest.mark.parametrize("name", WITH_ARGNUMS)
@pytest.mark.parametrize(
    "argnums", ["x", 1.0, None, True, (0, "x"), (0, None), (1, True), {0: 1}, array(0, 1)], ids=repr
)
def test_argnums_that_are_no_positions(name, argnums):
    with pytest.raises(InputError, match="argnums is the position of an argument, or several, not "):
        getattr(mg, name)(cubes, argnums)


@pytest.mark.parametrize("name", WITH_ARGNUMS)
@pytest.mark.parametrize("argnums", [2, -3, (0, 5)])
def test_argnums_out_of_range(name, argnums):
    with pytest.raises(InputError) as info:
        getattr(mg, name)(lambda x, y: x * y, argnums)(1.0, 2.0)
    assert f"by argument {argnums} of a call with 2 positional arguments" in str(info.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda f: mg.grad(f, has_aux=True)(1.0),
        lambda f: mg.value_and_grad(f, has_aux=True)(1.0),
        lambda f: mg.vjp(f, 1.0, has_aux=True),
        lambda f: mg.jvp(f, (1.0,), (1.0,), has_aux=True),
        lambda f: mg.jacobian(f, has_aux=True)(1.0),
        lambda f: mg.hessian(f, has_aux=True)(1.0),
    ],
)
@pytest.mark.parametrize("give", [same, lambda x: (x, x, x), lambda x: {"a": x, "b": x}, lambda x: None])
def test_has_aux_and_no_pair(call, give):
    with pytest.raises(InputError, match=r"with has_aux the function returns a pair, not (Value|tuple|dict|NoneType)"):
        call(give)


# A call; the class of the error; what it says.
ERRORS = {
    # leaves that are no numbers, and where they stand
    "text in a dict": (
        lambda: mg.grad(lambda p: p["x"])({"x": 1.0, "name": "layer"}),
        InputError,
        rf"^grad: argument 0\['name'\]: {NUMBER} str 'layer'; a function can close over anything else",
    ),
    "text in the second argument": (
        lambda: mg.jacobian(lambda x, p: x, (0, 1))(1.0, {"a": [1.0, ("b", 2.0)]}),
        InputError,
        rf"^jacobian: argument 1\['a'\]\[1\]\[0\]: {NUMBER} str 'b'",
    ),
    "text where it is chosen": (lambda: mg.grad(max, 1)(1.0, ["b"]), InputError, rf"^grad: argument 1\[0\]: {NUMBER}"),
    "an object": (lambda: mg.vjp(same, object()), InputError, f"^vjp: argument 0: {NUMBER} object"),
    "a set": (lambda: mg.hessian(same)({1.0}), InputError, f"argument 0: {NUMBER} set"),
    "a complex number": (lambda: mg.jvp(same, (1j,), (1.0,)), InputError, f"^jvp: argument 0: {NUMBER} complex"),
    "a huge integer": (lambda: mg.grad(same)(10**400), InputError, f"^grad: argument 0: {NUMBER} int 1000"),
    "complex numbers": (lambda: mg.grad(same)(COMPLEX), InputError, r"^grad: argument 0: .*take \.real and \.imag"),
    "an array of text": (lambda: mg.grad(same)([TEXT]), InputError, r"^grad: argument 0\[0\]: .*real numbers"),
    "an array of objects": (lambda: mg.grad(same)(OBJECTS), InputError, "^grad: argument 0: .*real numbers"),
    # results
    "a vector": (
        lambda: mg.grad(lambda x: x * 2.0)(POINT),
        ShapeError,
        rf"^grad: the result, .* of shape \(4,\), {ONE}",
    ),
    "a plain vector": (lambda: mg.grad(lambda x: POINT)(1.0), ShapeError, rf"^grad: .* of shape \(4,\), {ONE}"),
    "an empty vector": (lambda: mg.grad(lambda x: x[:0])(POINT), ShapeError, rf"of shape \(0,\), {ONE}"),
    "a vector for a Hessian": (lambda: mg.hessian(same)(POINT), ShapeError, ONE),
    "a vector for a diagonal": (lambda: mg.hessian_diagonal(same)(POINT), ShapeError, ONE),
    "a vector for hvp": (lambda: mg.hvp(same, POINT, POINT), ShapeError, ONE),
    "a tuple": (
        lambda: mg.grad(lambda x: (x, x))(1.0),
        InputError,
        r"^grad: the result is \(\*, \*\), not one number; mg\.jacobian takes several, and has_aux=True a pair",
    ),
    "None": (lambda: mg.grad(lambda x: None)(1.0), InputError, "^grad: the result is None, not one number"),
    "text": (lambda: mg.grad(lambda x: "a")(1.0), InputError, f"^grad: the result: {NUMBER} str 'a'"),
    "text in a tree": (
        lambda: mg.jacobian(lambda x: {"y": [x, "a"]})(1.0),
        InputError,
        rf"^jacobian: the result\['y'\]\[1\]: {NUMBER} str 'a'; with has_aux=True it may come second",
    ),
    "objects": (lambda: mg.vjp(lambda x: OBJECTS, 1.0), InputError, "^vjp: the result: .*real numbers"),
    # cotangents
    "a cotangent of another shape": (
        lambda: pulled(same, POINT, array(1.0, 2.0)),
        ShapeError,
        r"^vjp: cotangent: ndarray array\(\[1., 2.\]\), of shape \(2,\), for a number or array of shape \(4,\)",
    ),
    "a number for an array": (lambda: pulled(same, POINT, 1.0), ShapeError, r"of shape \(\), for .* shape \(4,\)"),
    "an array for a number": (
        lambda: pulled(cubes, POINT, array(1.0)),
        ShapeError,
        r"of shape \(1,\), for .* shape \(\)",
    ),
    "a tensor for a number": (
        lambda: pulled(cubes, 1.0, Tensor([1.0])),
        ShapeError,
        r"of shape \(1,\), for .* shape \(\)",
    ),
    "a list for an array": (
        lambda: pulled(same, POINT, [1.0] * 4),
        InputError,
        "^vjp: cotangent: a leaf is expected, not l",
    ),
    "a cotangent of another structure": (
        lambda: pulled(lambda x: {"a": x, "b": (x,)}, 1.0, {"a": 1.0, "b": 1.0}),
        InputError,
        r"^vjp: cotangent at \['b'\]: a tuple of 1 is expected, not float 1.0",
    ),
    "a cotangent without a key": (
        lambda: pulled(lambda x: {"a": x, "b": x}, 1.0, {"a": 1.0}),
        InputError,
        r"^vjp: cotangent: a dict with the keys \['a', 'b'\] is expected, not dict \{'a': 1.0\}",
    ),
    "None for a cotangent": (
        lambda: pulled(same, 1.0, None),
        InputError,
        "^vjp: cotangent: a leaf is expected, not None",
    ),
    "text for a cotangent": (lambda: pulled(same, [1.0], ["a"]), InputError, rf"^vjp: cotangent\[0\]: {NUMBER} str"),
    "complex cotangents": (lambda: pulled(same, array(1.0), COMPLEX), InputError, "^vjp: cotangent: .*real numbers"),
    # tangents
    "no tuple of arguments": (
        lambda: mg.jvp(cubes, 1.0, (1.0,)),
        InputError,
        "^jvp takes the arguments as a tuple, and",
    ),
    "no tuple of tangents": (lambda: mg.jvp(cubes, (1.0,), 1.0), InputError, f"^jvp {EACH} float 1.0"),
    "too many tangents": (lambda: mg.jvp(cubes, (1.0,), (1.0, 2.0)), InputError, f"^jvp {EACH} tuple"),
    "too few tangents": (lambda: mg.hvp(max, (1.0, 2.0), (1.0,)), InputError, f"^hvp {EACH} tuple"),
    "no tuple of directions": (lambda: mg.hvp(max, (1.0, 2.0), POINT[:2]), InputError, f"^hvp {EACH} ndarray"),
    "a tangent of another shape": (
        lambda: mg.jvp(lambda x, y: y, (1.0, [POINT]), (1.0, [array(1.0, 2.0)])),
        ShapeError,
        r"^jvp: tangent 1\[0\]: ndarray array\(\[1., 2.\]\), of shape \(2,\), for a number or array of shape \(4,\)",
    ),
    "a tangent of another structure": (
        lambda: mg.jvp(same, ([1.0, 2.0],), ((1.0, 2.0),)),
        InputError,
        "^jvp: tangent 0: a list of 2 is expected, not tuple",
    ),
    "text for a tangent": (lambda: mg.jvp(cubes, (1.0,), ("a",)), InputError, f"^jvp: tangent 0: {NUMBER} str 'a'"),
    "a direction of another shape": (lambda: mg.hvp(cubes, POINT, POINT[:2]), ShapeError, "^hvp: tangent 0: ndarray"),
    "a direction of another structure": (
        lambda: mg.hvp(lambda p: p["a"], {"a": 1.0}, {"b": 1.0}),
        InputError,
        r"^hvp: tangent 0: a dict with the keys \['a'\] is expected, not dict \{'b': 1.0\}",
    ),
    # numbers
    "outside of a domain": (lambda: mg.grad(mg.log)(-1.0), DomainError, r"log\(-1.0\) is undefined"),
    "no derivative": (lambda: mg.grad(mg.sqrt)(0.0), DomainError, r"the derivative of sqrt\(0.0\)"),
    "too many axes": (
        lambda: mg.jacobian(same)(np.zeros((1,) * 40)),
        ShapeError,
        "a Jacobian .* would have 80 axes: flatten",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_say_where_and_what_to_do(call, error, message):
    with pytest.raises(error, match=message) as info:
        call()
    assert isinstance(info.value, MicrogadError)
    assert not silent


def test_a_derivative_that_does_not_exist_in_forward_mode():
    with pytest.raises(DomainError, match=r"the derivative of sqrt\(0.0\) by 0.0 does not exist"):
        mg.jvp(mg.sqrt, (0.0,), (1.0,))


def test_names_of_nodes_are_in_the_messages():
    with pytest.raises(DomainError, match=r"log\(price\) is undefined at price = -1.0"):
        mg.grad(mg.log)(Value(-1.0, "price"))
    with pytest.raises(ShapeError, match=r"grad: the result, weights \* 2.0 of shape \(2,\)"):
        mg.grad(lambda x: x * 2.0)(Tensor([1.0, 2.0], name="weights"))

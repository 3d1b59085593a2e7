"""`vmap` against a loop over the examples: values, gradients, axes, containers, nesting, and what it refuses."""

import copy
import functools
import inspect
import itertools
import math
import operator
import pickle
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.errors import DomainError, InputError, MicrogadError, ShapeError, TraceError
from microgad.replay.batching import REDUCTIONS, Batch
from microgad.structural import ROWS

F = nn.functional
Point = namedtuple("Point", "x y")
RNG = np.random.default_rng(0)
W = Tensor(RNG.normal(size=(3, 3)), True, "W")
V = Tensor(RNG.normal(size=3), True, "V")
C = Value(0.7, "c")
LEAVES = (W, V, C)
X = RNG.normal(size=(4, 3))


@pytest.fixture(autouse=True)
def leaves_without_gradients():
    yield
    for leaf in LEAVES:
        leaf.grad = None


def shape(x):
    return np.shape(getattr(x, "_value", x))


def plain(x):
    return np.asarray(getattr(x, "_value", x))


def same(got, want, rtol=1e-11, kinds=True):
    """Equal structures of close numbers; with `kinds` of the same classes and dtypes, too."""
    got, structure = mg.tree_flatten(got)
    want, expected = mg.tree_flatten(want)
    assert structure == expected
    for x, y in zip(got, want, strict=True):
        assert shape(x) == shape(y)
        if kinds:
            assert (type(x), plain(x).dtype) == (type(y), plain(y).dtype)
        np.testing.assert_allclose(plain(x), plain(y), rtol, rtol / 10)


def expand(axis, x):
    """The axis of each leaf."""
    if isinstance(axis, (dict, list, tuple)):
        keys = list(x) if isinstance(x, dict) else range(len(x))
        return [found for k in keys for found in expand(axis[k], x[k])]
    return [axis] * len(mg.tree_leaves(x))


def taken(x, axis, i):
    return x if axis is None else x[(*[slice(None)] * (axis % len(shape(x))), i)]


def loop(f, in_axes=0, out_axes=0):
    """What `vmap` stands for: one example after the other, and the results stacked."""

    def many(*args):
        leaves, structure = mg.tree_flatten(args)
        axes = expand(in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args), args)
        axes = [None if isinstance(x, str) else axis for x, axis in zip(leaves, axes, strict=True)]
        n = next(shape(x)[axis] for x, axis in zip(leaves, axes, strict=True) if axis is not None)
        outs = []
        for i in range(n):
            one = [taken(x, axis, i) for x, axis in zip(leaves, axes, strict=True)]
            outs.append(f(*mg.tree_unflatten(structure, one)))
        columns = zip(*map(mg.tree_leaves, outs), strict=True)
        places = expand(out_axes, outs[0])
        made = [c[0] if axis is None else mg.stack(list(c), axis) for c, axis in zip(columns, places, strict=True)]
        return mg.tree_unflatten(mg.tree_structure(outs[0]), made)

    return many


def weighted(out):
    """One number that depends on every number of a result."""
    rng, total = np.random.default_rng(5), 0.0
    for x in mg.tree_leaves(out):
        weights = rng.normal(size=shape(x))
        if isinstance(x, Tensor):
            total = total + (x * weights).sum()
        elif isinstance(x, Value):
            total = total + x * float(weights)
    return total


def gradients(f, args):
    """By Tensors in the place of the arguments, and by the leaves: zeros where nothing arrives."""
    tensors = [Tensor(x, requires_grad=True) for x in args]
    for leaf in LEAVES:
        leaf.grad = None
    out = f(*tensors)
    total = weighted(out)
    if isinstance(total, Value) or total.requires_grad:
        total.backward()
    return out, [np.zeros(shape(x)) if x.grad is None else np.asarray(x.grad) for x in (*tensors, *LEAVES)]


# ---- every function, against a loop


def without(x):
    with mg.no_grad():
        return x * C


def neurons(x):
    return [mg.tanh(sum(w * u for w, u in zip(row, x, strict=True))) for row in W]


def unary(f):
    return lambda x, s: (f(x), f(s) * 2.0)


def binary(f):
    return lambda x, y, s: (f(x, y), f(y, x), f(s, x), f(y, s), f(s, s), f(x, 1.0))


def reduced(name):
    how = list(itertools.product((None, 1, -2, (0, 1)), (False, True)))
    return lambda x: [getattr(x, name)(axis=axis, keepdims=keep) for axis, keep in how]


def along(f):
    return lambda x: [f(x, axis=axis) for axis in (None, 0, -1, (0, 1))]


def each(loss, **more):
    return lambda *xs: [loss(*xs, reduction=reduction, **more) for reduction in ("mean", "sum", "none")]


def labelled(loss, labels, **more):
    return lambda x: each(loss, **more)(x, labels)


ONE, TWO, THREE = (3,), (2, 3), (2, 3, 4)
SIGNS = np.array([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
SMOOTH = "exp sin cos tanh erf sigmoid relu leaky_relu elu softplus silu gelu abs sign step swish log sqrt"
BINARY = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow}
POSITIVE = "log", "sqrt", "div", "pow"
KEYS = [-1, slice(1, None), slice(None, None, -1), (1, slice(0, 2)), [0, 1, 1], None, (slice(None), slice(1, None))]
KEYS += [
    (..., 0),
    (slice(None), [2, 0, 0]),
    ([1, 1], 0),
    ([0, 1], [2, 0]),
    (None, ..., [1, 0]),
    np.array([[0, 1], [1, 0]]),
]
KEYS += [np.array([True, False]), slice(0, 0), np.array([[True, False, True], [False, True, False]])]
KEYS += [(slice(None, None, 2), slice(None, None, -2))]
DEEP = [(0, slice(None), [1, 2]), ([0, 1], slice(None), [1, 2]), (slice(None), 0, [1, 2]), (..., [0, 1], 0)]
DEEP += [(slice(None), slice(1, 3)), (slice(None), slice(None, None, 2)), (None, [0, 1], None, ..., [0, 3])]
TABLE = {  # functions of one example, and the shapes of their arguments
    **{name: (unary(getattr(mg, name)), TWO, ()) for name in SMOOTH.split()},
    **{name: (binary(f), TWO, ONE, ()) for name, f in BINARY.items()},
    **{name: (binary(getattr(mg, name)), TWO, ONE, ()) for name in ("maximum", "minimum", "greater", "equal")},
    "number operators": (lambda x: 2.0**x + (1 - x) * 3.0 - x**3 / 2.0 + -x, ONE),
    "where": (lambda c, a, b: (mg.where(c > 0.0, a, b), mg.where(SIGNS > 0.0, a, b)), TWO, ONE, ()),
    "clip": (lambda x, a, b: (mg.clip(x, a, b), mg.clip(x, -0.5, b), mg.clip(b, -0.5, 0.5)), TWO, ONE, ()),
    "W @ x": (lambda x, y, z: (W @ x, W @ y, W @ z, x @ W, y.T @ W, V @ x, V @ y, V @ z), ONE, (3, 2), (2, 3, 2)),
    **{name: (reduced(name), TWO) for name in ("sum", "mean", "max", "min", "prod")},
    "sum along some axes, or none": (lambda x: (x.sum(axis=(0, -1)), x.sum(axis=()), x[:0].sum(axis=0)), THREE),
    "var": (lambda x: (x.var(), x.var(axis=1, keepdims=True, correction=1)), TWO),
    **{name: (along(getattr(mg, name)), TWO) for name in ("logsumexp", "softmax", "log_softmax")},
    "logsumexp, kept": (lambda x: mg.logsumexp(x, axis=0, keepdims=True), TWO),
    "softmax, cooled": (lambda x, t: mg.softmax(x, temperature=t * t + 1.0), ONE, ()),
    **{f"index {key}": (lambda x, k=key: x[k], TWO) for key in KEYS},
    **{f"index {key} of three": (lambda x, k=key: x[k], THREE) for key in DEEP},
    "reshape": (lambda x, s: (x.reshape(3, 2), x.reshape(-1), x.flatten(), mg.stack([s]).reshape(1, 1)), TWO, ()),
    "transpose": (lambda x: (x.T, x.transpose(1, 2, 0), x.swapaxes(0, 2)), THREE),
    "squeeze": (lambda x: (x.squeeze(), x.squeeze(axis=0), x.squeeze(axis=-1), x.unsqueeze(1)), (1, 3, 1)),
    "stack": (lambda a, b: (mg.stack([a, b]), mg.stack([a, W[:2]], axis=-1)), TWO, TWO),
    "stack of numbers": (lambda a, b: mg.stack([a, b, 1.0, C]), (), ()),
    "concatenate": (lambda a, b: mg.concatenate([a, b, np.ones((1, 3))]), TWO, (3, 3)),
    "concatenate with a leaf": (lambda a, b: mg.concatenate([a, W[:2], b], axis=1), TWO, (2, 1)),
    "split": (lambda x: [*mg.split(x, [1], axis=1), *mg.split(x, 2)], TWO),
    "unbind": (lambda x: (mg.unbind(x, axis=1), [a * b for a, b in itertools.pairwise(x[0])]), TWO),
    "number by number": (lambda x: sum(a * a * C for a in x), ONE),
    "leaves": (lambda x: (C * x + V).sum() * W[0, 1], ONE),
    "what is the same for all": (lambda x: (C * W, x, V.sum(), 2.0), ONE),
    "containers": (lambda x, y: {"a": x * y, "b": [x.sum(), (y, C)]}, ONE, ONE),
    "linear": (F.linear, ONE, (2, 3), (2,)),
    "linear of two batches": (F.linear, (2, 2, 3), (4, 3), (4,)),
    "linear without bias": (F.linear, TWO, (4, 3)),
    "linear by leaves": (lambda x: F.linear(x, W, V), TWO),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, ONE, w, b), TWO, ONE, ONE),
    "batch_norm": (lambda x: F.batch_norm(x, np.zeros(3), np.ones(3)), TWO),
    "batch_norm in training": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (4, 3), ONE, ONE),
    "dropout in evaluation": (lambda x: F.dropout(x, 0.5, training=False), ONE),
    "prelu, nn.softplus": (lambda x, a: (nn.prelu(x, a), nn.softplus(x, 2.0, 1.0)), TWO, ONE),
    **{f: (each(getattr(nn, f)), TWO, TWO) for f in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss")},
    **{f: (labelled(getattr(nn, f), SIGNS), TWO) for f in ("hinge_loss", "exponential_loss", "sigmoid_loss")},
    "soft_margin_loss": (labelled(nn.soft_margin_loss, SIGNS), TWO),
    "bce": (lambda x, y: each(nn.binary_cross_entropy_with_logits, pos_weight=X[0] ** 2)(x, mg.sigmoid(y)), TWO, TWO),
    "cross_entropy": (labelled(nn.cross_entropy, np.array(2)), ONE),
    "cross_entropy of a batch": (labelled(nn.cross_entropy, np.eye(2, 3, dtype=int)), THREE),
    "cross_entropy, soft": (lambda z, y: each(nn.cross_entropy)(z, mg.softmax(y)), TWO, TWO),
    "cross_entropy, weighted": (
        labelled(nn.cross_entropy, np.array([0, 2]), weight=np.arange(1.0, 4.0), label_smoothing=0.1), TWO),
    "nll_loss": (lambda z: each(nn.nll_loss)(mg.log_softmax(z), np.array([0, 2])), TWO),
    "argmax": (lambda x: (x.argmax() * x, x.argmax(axis=1) * x.sum(axis=1)), TWO),
    "detach": (lambda x: x.detach() * x + x.data, ONE),
    "item": (lambda x: x.sum().item() * x, ONE),
    "no_grad": (lambda x: without(x) * x, ONE),
    "functions of NumPy": (lambda x: np.exp(x) + np.sum(x) + np.maximum(x, 0.0) + np.mean(x, axis=0), ONE),
    "a reversed view, used twice": (lambda x: (lambda y: mg.sin(y * 3.0) * y)((x * 2.0)[::-1]), ONE),
    "neurons": (neurons, ONE),
}  # fmt: skip
METHODS = {"squeeze", "detach", "item", "argmax", "reshape", "transpose", "var"}  # what arrays and numbers lack
FLOATS = ("exp", "mul", "clip", "W @ x", "mean", "max", "softmax", "index -1", "transpose", "stack", "split")
FLOATS += ("linear", "layer_norm", "bce", "cross_entropy, soft", "functions of NumPy", "number operators")


def drawn(seed, n, shapes, positive=False):
    """Arguments of `n` examples: some are the same for all, the others have the axis anywhere."""
    rng = np.random.default_rng(seed)
    many = [bool(rng.random() < 0.7) for _ in shapes]
    many[int(rng.integers(len(shapes)))] = True
    axes, args = [], []
    for of, is_many in zip(shapes, many, strict=True):
        axes.append(int(rng.integers(-len(of) - 1, len(of) + 1)) if is_many else None)
        full = list(of)
        if is_many:
            full.insert(axes[-1] % (len(of) + 1), n)
        x = np.abs(rng.normal(size=full)) + 0.2 if positive else rng.normal(size=full)
        args.append(np.asfortranarray(x) if rng.random() < 0.3 else x)
    return tuple(axes), args


def of_table(name, seed, n):
    f, *shapes = TABLE[name]
    return f, *drawn([seed, *name.encode()], n, shapes, name in POSITIVE)


def check_gradients(f, axes, args):
    (got, by), (want, expected) = (gradients(way(f, axes), args) for way in (mg.vmap, loop))
    same(got, want)
    same(by, expected, 1e-10)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("name", TABLE)
def test_values_and_gradients_are_those_of_a_loop(name, n):
    check_gradients(*of_table(name, n, n))


@pytest.mark.parametrize("name", TABLE)
def test_second_derivatives_are_those_of_a_loop(name):
    f, axes, args = of_table(name, 3, 2)

    def twice(way):
        slope = mg.grad(lambda xs: weighted(way(f, axes)(*xs)))
        return mg.grad(lambda xs: weighted(slope(xs)))(args)

    same(twice(mg.vmap), twice(loop), 1e-9)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in METHODS])
def test_plain_arrays_give_the_same_numbers(name):
    f, axes, args = of_table(name, 4, 3)
    same(mg.vmap(f, axes)(*args), loop(f, axes)(*args), kinds=False)


@pytest.mark.parametrize("name", FLOATS)
def test_float32_stays_float32(name):
    f, axes, args = of_table(name, 5, 3)
    args = [Tensor(x.astype(np.float32), True) for x in args]
    got, want = mg.vmap(f, axes)(*args), loop(f, axes)(*args)
    same(got, want, 1e-4)
    weighted(got).backward()
    assert {x.grad.dtype for x in args} == {np.dtype(np.float32)}


def test_every_structural_row_has_a_rule():
    assert [name for name in ROWS if name not in REDUCTIONS and not hasattr(Batch, f"_{name}")] == []


@settings(deadline=None, max_examples=50)
@given(hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, max_side=3), st.integers(0, 99))
def test_any_product_of_matrices(shapes, seed):
    check_gradients(operator.matmul, *drawn(seed, 3, shapes.input_shapes))


@settings(deadline=None, max_examples=50)
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3), st.integers(0, 99))
def test_any_broadcasting(shapes, seed):
    check_gradients(lambda c, a, b: mg.where(c > 0.0, a * b, a + c), *drawn(seed, 2, shapes.input_shapes))


INDICES = hnp.basic_indices((2, 3, 2), allow_newaxis=True, max_dims=5) | hnp.integer_array_indices((2, 3, 2))


@settings(deadline=None, max_examples=80)
@given(INDICES, st.integers(0, 99))
def test_any_index(key, seed):
    check_gradients(lambda x: x[key] * 2.0, *drawn(seed, 2, [(2, 3, 2)]))


# ---- axes, and kinds of arguments


def product(x, y):
    return x["a"] * x["b"][0].sum() + y


TREE = {"a": np.arange(6.0).reshape(2, 3), "b": [np.arange(4.0).reshape(2, 2), None, "text"]}
IN_AXES = {
    "one axis for all": (0, (TREE, np.ones((2, 3)))),
    "an axis of each argument": ((0, -1), (TREE, np.ones((3, 2)))),
    "an axis of each leaf": (({"a": 1, "b": [0, None, None]}, None), ({**TREE, "a": np.ones((3, 2))}, 2.0)),
    "None for a container": ((None, 0), ({"a": X[0], "b": [X]}, X)),
    "None for a leaf": (({"b": [None], "a": 0}, 0), ({"a": X, "b": [X]}, X)),
    "a list of axes": ([0, None], (TREE, 1.0)),
    "an integer of NumPy": (np.int64(0), (TREE, np.ones(2))),
}


@pytest.mark.parametrize(("axes", "args"), IN_AXES.values(), ids=IN_AXES)
def test_in_axes_is_one_for_each_argument_container_or_leaf(axes, args):
    want = loop(product, tuple(axes) if isinstance(axes, list) else axes)
    same(mg.vmap(product, axes)(*args), want(*args))


def test_a_named_tuple_has_axes_of_its_own():
    f = mg.vmap(lambda p: p.x * p.y, in_axes=(Point(0, None),))
    assert f(Point(np.array([1.0, 2.0]), 3.0)).tolist() == [3.0, 6.0]


LISTS = {
    "numbers": ([1, 2.5, np.float32(3.0)], lambda x: x * 2.0, [2.0, 5.0, 6.0]),
    "a tuple": ((1.0, 2.0), lambda x: x * 2.0, [2.0, 4.0]),
    "lists": ([[1.0, 2.0], [3.0, 4.0]], lambda x: x[0] * x[1], [2.0, 12.0]),
    "tuples, unpacked": ([(1.0, 2.0), (3.0, 4.0)], lambda x: (lambda a, b: a - b)(*x), [-1.0, -1.0]),
    "dicts": ([{"a": 1.0, "b": (2.0,)}, {"a": 3.0, "b": (4,)}], lambda x: x["a"] * x["b"][0], [2.0, 12.0]),
    "named tuples": ([Point(1.0, 2.0), Point(3.0, 4.0)], lambda p: p.x * p.y, [2.0, 12.0]),
    "numbers beside arrays": ([[1.0, np.ones(2)], [2.0, np.ones(2)]], lambda x: x[0] * x[1].sum(), [2.0, 4.0]),
    "arrays, a container": ([np.ones(2), np.array([3.0, 4.0])], lambda x: x[0] * x[1], [3.0, 4.0]),
}


@pytest.mark.parametrize(("given_list", "f", "want"), LISTS.values(), ids=LISTS)
def test_a_list_of_examples(given_list, f, want):
    same(mg.vmap(f)(given_list), np.array(want), 1e-15)
    same(mg.vmap(lambda *, x: f(x))(x=given_list), np.array(want), 1e-15)


def test_values_in_lists_get_gradients():
    a, b = [[Value(float(i + j), f"x{i}{j}") for j in range(2)] for i in (1, 3)]
    out = mg.vmap(lambda x: x[0] * x[1] * C)([a, b])
    out.sum().backward()
    assert isinstance(out, Tensor)
    assert [x.grad for x in (*a, *b)] == pytest.approx([1.4, 0.7, 2.8, 2.1], rel=1e-14)


def test_only_what_needs_a_gradient_gets_one_and_what_is_given_twice_gets_both():
    a, b = Tensor([1.0, 2.0], True), Tensor([3.0, 4.0])
    mg.vmap(lambda x, y, z: x * y * z)(a, b, a).sum().backward()
    assert (a.grad.tolist(), b.grad) == ([6.0, 16.0], None)
    assert not mg.vmap(lambda y: y * 2.0)(b).requires_grad


def test_keyword_arguments_have_their_examples_first():
    f = mg.vmap(lambda x, *, k, mode="sum": x * k if mode == "sum" else x, in_axes=1)
    assert f(np.ones((2, 3)), k=np.arange(3.0), mode="sum").tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    assert f(np.ones((2, 3)), k=[5.0, 6.0, 7.0], mode="other").tolist() == [[1.0, 1.0]] * 3


@pytest.mark.parametrize("x", [np.eye(2, 3, dtype=int), np.eye(2, 3) > 0, np.arange(6.0)[::-2][:, None]])
def test_integers_booleans_and_strides(x):
    same(mg.vmap(lambda row: row.sum() * 0.5)(x), 0.5 * np.asarray(x, float).sum(axis=1))


@pytest.mark.parametrize("given_as", [np.asarray, np.ndarray.tolist], ids=["array", "list"])
@pytest.mark.parametrize("many", [(), (2,)], ids=["one", "two"])
def test_integers_can_be_labels_and_are_those_of_each_call(many, given_as):
    mapped, z = mg.vmap(nn.cross_entropy), RNG.normal(size=(5, *many, 4))
    for seed in range(3):
        labels = np.random.default_rng(seed).integers(4, size=(5, *many))
        want = mg.stack([nn.cross_entropy(a, y) for a, y in zip(z, labels, strict=True)])
        same(mapped(z, given_as(labels) if not many else labels), want)


# ---- results


def several(x):
    return {"a": x, "b": [x.sum(), x * 2.0], "c": 1.5}


OUT_AXES = {
    "behind": -1,
    "for each": {"a": 1, "b": [0, -1], "c": None},
    "for a container": {"a": 1, "b": 0, "c": 0},
    "another order of keys": {"c": 0, "b": [0, 0], "a": 0},
}


@pytest.mark.parametrize("axes", OUT_AXES.values(), ids=OUT_AXES)
def test_out_axes_say_where_the_examples_are(axes):
    same(mg.vmap(several, out_axes=axes)(X), loop(several, out_axes=axes)(X), kinds=axes != OUT_AXES["for each"])


def test_results_that_are_the_same_for_all_are_repeated():
    given = 1.5, 2, np.ones(2), C * 2.0, V, Value(3.0), Tensor([1.0, 2.0])
    out = mg.vmap(lambda x: (1.5, 2, np.ones(2), C * 2.0, V, Value(3.0), Tensor([1.0, 2.0])))(np.ones(4))
    same(out, tuple(mg.stack([x] * 4) for x in given))
    (out[3].sum() + out[4].sum()).backward()
    assert C.grad == 8.0
    assert V.grad.tolist() == [4.0] * 3


def test_results_that_are_the_same_for_all_can_come_alone():
    out = mg.vmap(lambda x, y: (y, x.sum(), V, C * 2.0), in_axes=(None, 0), out_axes=(0, None, None, None))(X[0], X)
    assert shape(out[0]) == (4, 3)
    assert float(out[1]) == pytest.approx(X[0].sum(), rel=1e-14)
    assert out[2] is V
    assert (type(out[3]), out[3].data) == (Value, 1.4)


def test_what_is_no_number_comes_back_as_it_is():
    assert mg.vmap(lambda x: ("text", None, True, (), x))(np.ones(2))[:4] == ("text", None, True, ())


SAME_FOR_ALL = {
    "a sum": lambda x, y: (y, x.sum()),
    "a product": lambda x, y: (y, x @ x),
    "a number of it": lambda x, y: (y, x[0] * 2.0),
    "used beside": lambda x, y: y * x[0] - x.sum() * x,
}


@pytest.mark.parametrize("form", [np.asarray, Tensor], ids=["array", "Tensor"])
@pytest.mark.parametrize("f", SAME_FOR_ALL.values(), ids=SAME_FOR_ALL)
def test_what_is_computed_of_what_is_the_same_for_all(f, form):
    same(mg.vmap(f, (None, 0))(form(X[0]), form(X)), loop(f, (None, 0))(form(X[0]), form(X)))


KINDS = {
    "hinge_loss": lambda x: nn.hinge_loss(x, np.array([1.0, -1.0, 1.0])),
    "cross_entropy": lambda x: nn.cross_entropy(x, np.array([0.2, 0.3, 0.5])),
    "nll_loss": lambda x: nn.nll_loss(x, np.array(1)),
    "mse_loss": lambda x: nn.mse_loss(x, np.ones(3)),
    "a list": lambda x: [x[0], x],
    "a Value": lambda x: C * x[0],
    "a Tensor": lambda x: V * x,
}


@pytest.mark.parametrize("f", KINDS.values(), ids=KINDS)
def test_arrays_give_arrays_and_nodes_give_tensors(f):
    same(mg.vmap(f)(X), loop(f)(X))
    same(mg.vmap(f)(Tensor(X)), loop(f)(Tensor(X)))


@pytest.mark.parametrize("f", [lambda x: x, lambda x: x[0], lambda x: x[:2]], ids=["all", "0", ":2"])
@pytest.mark.parametrize("axes", [(0, 0), (1, 0), (0, -1), (1, -1)])
def test_results_and_arguments_share_no_memory(f, axes):
    x = np.ones((3, 3))
    out = mg.vmap(f, *axes)(x)
    x[:] = 5.0
    assert out.max() == 1.0


@pytest.mark.parametrize("f", [lambda x: x * C, lambda x: (V[:2] @ x) * C], ids=["elementwise", "product"])
def test_an_argument_may_change_before_the_backward_pass(f):
    slopes = []
    for change in (0.0, 99.0):
        C.grad = None
        x = np.ones((3, 2))
        out = mg.vmap(f)(x).sum()
        x += change
        out.backward()
        slopes.append(C.grad)
    assert slopes[0] == slopes[1]


def test_a_result_can_be_written_without_a_trace_in_the_next_call():
    f = mg.vmap(lambda x: (x * 2.0, x * 2.0, x, x, 3.0, np.ones(2)))
    first = f(np.ones(3))
    want = copy.deepcopy(first)
    for k in range(6):
        first[k][:] = 9.0
        same(first[k + 1 :], want[k + 1 :])
    same(f(np.ones(3)), want)


def test_calls_do_not_overwrite_each_other():
    f = mg.vmap(lambda x: C * C * x)
    a, b = f(np.array([1.0, 2.0])), f(np.array([10.0, 20.0]))
    assert a.tolist() == pytest.approx([0.49, 0.98], rel=1e-14)
    (a.sum() + b.sum()).backward()
    assert C.grad == pytest.approx(2 * 0.7 * 33, rel=1e-14)


def test_leaves_are_read_in_each_call_and_parents_are_reached():
    leaf = Value(2.0)
    double = leaf * 2.0
    f = mg.vmap(lambda x: leaf * double * x)
    assert f(np.ones(2)).tolist() == [8.0, 8.0]
    out = f(np.ones(2)).sum()
    out.backward()
    assert leaf.grad == 16.0
    leaf.data = 5.0
    assert f(np.ones(2)).tolist() == [20.0, 20.0]


# ---- nesting


def energy(x):
    return mg.tanh(W @ x).sum() * C + x[0] * x[1]


def field(x):
    return mg.tanh(W @ x) * x[0]


def between(a, b):
    return mg.sin(a @ b) + b * a[0] * C


def jvp(f):
    return lambda x, v: mg.jvp(f, (x,), (v,))


def pairs(m):
    return m(m(between, (None, 0)), (0, None))


Y, Z = RNG.normal(size=(5, 3)), RNG.normal(size=(2, 3, 4, 3))
DEEPEST = RNG.normal(size=(4, 3, 5, 2))
NESTED = {  # of `vmap` or the loop in its place, and the arguments
    "grad": (lambda m: m(mg.grad(energy)), (X,)),
    "value_and_grad": (lambda m: m(mg.value_and_grad(energy)), (X,)),
    "jacobian": (lambda m: m(mg.jacobian(field)), (X,)),
    "hessian": (lambda m: m(mg.hessian(energy)), (X,)),
    "hessian_diagonal": (lambda m: m(mg.hessian_diagonal(energy)), (X,)),
    "jvp": (lambda m: m(jvp(field)), (X, X[::-1])),
    "hvp": (lambda m: m(lambda x, v: mg.hvp(energy, (x,), (v,))), (X, X[::-1])),
    "vjp": (lambda m: m(lambda x, v: mg.vjp(field, x)[1](v)), (X, X[::-1])),
    "third derivative": (lambda m: m(mg.grad(mg.grad(mg.grad(lambda x: mg.sin(x) * x**2 * C)))), (X[0],)),
    "grad by a number beside an array": (lambda m: m(mg.grad(lambda s, a: (mg.sin(s) * a).sum())), (X[:, 0], X)),
    "hessian by a number beside an array": (lambda m: m(mg.hessian(lambda s, a: (a**2 * s**3).sum())), (X[:, 0], X)),
    "hessian by both": (lambda m: m(mg.hessian(lambda s, a: (a**2 * s**3).sum(), (0, 1))), (X[:, 0], X)),
    "inside grad": (lambda m: mg.grad(lambda x: (m(field)(x) ** 2).sum()), (X,)),
    "inside jacobian": (lambda m: mg.jacobian(m(field)), (X,)),
    "inside hessian": (lambda m: mg.hessian(lambda x: m(energy)(x).sum()), (X,)),
    "inside jvp": (lambda m: jvp(m(field)), (X, X[::-1])),
    "inside vjp": (lambda m: lambda x, v: mg.vjp(m(field), x)[1](v), (X, X[::-1])),
    "grad on both sides": (lambda m: mg.grad(lambda x: (m(mg.grad(energy))(x) ** 2).sum()), (X,)),
    "of jit": (lambda m: m(mg.jit(field)), (X,)),
    "of jit of grad": (lambda m: m(mg.jit(mg.grad(energy))), (X,)),
    "all pairs": (pairs, (X, Y)),
    "all pairs of columns": (lambda m: m(m(between, (None, 1)), (1, None), 1), (X.T, Y.T)),
    "all pairs, closed over": (lambda m: lambda x, y: m(lambda a: m(lambda b: between(a, b))(y))(x), (X, Y)),
    "gradients of all pairs": (lambda m: m(m(mg.jacobian(between, (0, 1)), (None, 0)), (0, None)), (X, Y)),
    "inside grad of all pairs": (lambda m: mg.grad(lambda x, y: (pairs(m)(x, y) ** 2).sum(), (0, 1)), (X, Y)),
    "three deep": (lambda m: m(m(m(lambda z: (z * C).sum() + z[0]))), (Z,)),
    "three deep, other axes": (lambda m: m(m(m(lambda z: (z * C).sum() + z[0], 0), 1), 2), (Z,)),
    "three deep, from behind": (lambda m: m(m(m(lambda z: z * V, -1, -1), 0, -1), -2, 1), (DEEPEST,)),
}  # fmt: skip


@pytest.mark.parametrize("jit", [lambda f: f, mg.jit], ids=["", "jit"])
@pytest.mark.parametrize("form", [np.asarray, Tensor], ids=["array", "Tensor"])
@pytest.mark.parametrize(("made", "args"), NESTED.values(), ids=NESTED)
def test_transforms_of_each_other(made, args, form, jit):
    args = [form(x) for x in args]
    same(jit(made(mg.vmap))(*args), made(loop)(*args), 1e-10, kinds=False)


# ---- networks


def test_a_module_is_mapped_and_gives_away_its_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2))
    mapped = mg.vmap(model)
    same(mapped(X), model(X), 1e-13)
    mapped(X).sum().backward()
    got = [p.grad for p in mapped.parameters()]
    model.zero_grad()
    model(X).sum().backward()
    same(got, [p.grad for p in model.parameters()])


@pytest.mark.parametrize("given_as", [np.asarray, Tensor, np.ndarray.tolist], ids=["array", "Tensor", "list"])
def test_a_network_of_values_is_mapped(given_as):
    mg.manual_seed(2)
    model = nn.scalar.MLP(3, [4, 1])
    results = []
    for way in (mg.vmap, loop):
        for p in model.parameters():
            p.grad = None
        out = way(model)(given_as(X) if way is mg.vmap else X)
        (out * np.arange(1.0, 5.0)).sum().backward()
        results.append([out, np.array([p.grad for p in model.parameters()])])
    same(*results)


def test_training_and_evaluation_are_told_apart():
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).eval()
    f = mg.vmap(lambda x: model(x))
    same(f(X), model(X), 1e-13)
    model.train()
    with pytest.raises(TraceError, match="random"):
        f(X)


PARAMETERS = {"w1": RNG.normal(size=(4, 3)), "b1": RNG.normal(size=4), "w2": RNG.normal(size=(2, 4)), "b2": np.zeros(2)}
TARGETS = np.eye(2)[[0, 1, 1, 0]]


def loss(p, x, y):
    return nn.cross_entropy(F.linear(mg.tanh(F.linear(x, p["w1"], p["b1"])), p["w2"], p["b2"]), y)


@pytest.mark.parametrize("jit", [lambda f: f, mg.jit], ids=["", "jit"])
def test_gradients_of_each_example(jit):
    axes = (None, 0, 0)
    got = jit(mg.vmap(mg.grad(loss), axes))(PARAMETERS, X, TARGETS)
    same(got, loop(mg.grad(loss), axes)(PARAMETERS, X, TARGETS))
    mean = mg.grad(lambda p: mg.vmap(loss, axes)(p, X, TARGETS).mean())(PARAMETERS)
    same(mg.tree_map(lambda g: g.mean(axis=0), got), mean)


def test_an_ensemble_has_its_axis_in_the_parameters():
    many = mg.tree_map(lambda p: np.stack([p, 2.0 * p, -p]), PARAMETERS)
    many["w2"] = np.moveaxis(many["w2"], 0, -1)
    many["b1"] = PARAMETERS["b1"]
    axes = {"w1": 0, "b1": None, "w2": -1, "b2": 0}

    def results(m):
        f = m(m(loss, (None, 0, 0)), (axes, None, None))
        return f(many, X, TARGETS), mg.grad(lambda p: (f(p, X, TARGETS) ** 2).sum())(many)

    same(results(mg.vmap), results(loop), kinds=False)


# ---- rows of one's own

CUBE = mg.primitive("cube_of_test_vmap", lambda x: x**3, lambda y, x: 3.0 * x**2)
MIXED = mg.primitive("mixed_of_test_vmap", lambda x, y: x * y + x, (lambda z, x, y: y + 1.0, lambda z, x, y: x))
OWN = {
    "cube": (CUBE, 0, (X,)),
    "second derivative": (mg.grad(mg.grad(CUBE)), 0, (X[0],)),
    "of two, one the same for all": (MIXED, (0, None), (X, 2.0)),
    "of two of different ranks": (MIXED, (0, 0), (X, X[:, 0])),
    "derivatives by both": (mg.grad(lambda x, y: MIXED(x, y).sum(), (0, 1)), (0, 0), (X, X[:, 0])),
}


@pytest.mark.parametrize(("f", "axes", "args"), OWN.values(), ids=OWN)
def test_rows_of_ones_own_are_mapped(f, axes, args):
    same(mg.vmap(f, axes)(*args), loop(f, axes)(*args), kinds=False)


# ---- what it refuses


def f(x, *rest, **named):
    """The first argument."""
    return x


MISUSES = {
    "no function": (lambda: mg.vmap(3), InputError, ["vmap", "function", "3"]),
    "another number of axes": (lambda: mg.vmap(f, (0, 0))(X), InputError, ["vmap(f)", "in_axes", "2", "1"]),
    "no integer": (lambda: mg.vmap(f, 1.5)(X), InputError, ["vmap(f)", "in_axes", "integers or None", "1.5"]),
    "a bool": (lambda: mg.vmap(f, True)(X), InputError, ["vmap(f)", "in_axes", "True"]),
    "another key": (lambda: mg.vmap(f, ({"b": 0},))({"a": X}), InputError, ["vmap(f)", "in_axes", "'b'", "'a'"]),
    "a list for a dict": (lambda: mg.vmap(f, ([0],))({"a": X}), InputError, ["vmap(f)", "in_axes", "[0]", "'a'"]),
    "a list for an array": (lambda: mg.vmap(f, ([0],))(X), InputError, ["vmap(f)", "in_axes", "[0]"]),
    "no such axis": (lambda: mg.vmap(f, 2)(X), ShapeError, ["vmap(f)", "argument 1", "(4, 3)", "axis 2", "None"]),
    "a number": (lambda: mg.vmap(f)(X, 3.0), ShapeError, ["vmap(f)", "argument 2", "()", "axis 0", "in_axes is None"]),
    "a number by name": (lambda: mg.vmap(f)(X, k=3.0), ShapeError, ["vmap(f)", "argument 'k'", "axis 0"]),
    "a leaf": (lambda: mg.vmap(f, 1)({"a": [X, X[0]]}), ShapeError, ["argument 1['a'][1]", "(3,)", "axis 1"]),
    "nothing mapped": (lambda: mg.vmap(f, None)(X), ShapeError, ["vmap(f)", "no argument", "examples"]),
    "sizes": (lambda: mg.vmap(f)(X, X[:2]), ShapeError, ["vmap(f)", "4 in argument 1", "2 in argument 2"]),
    "sizes of leaves": (lambda: mg.vmap(f)(X, [X, X[:2]]), ShapeError, ["4 in argument 1", "2 in argument 2[1]"]),
    "sizes by name": (lambda: mg.vmap(f)(X, k=X[:3]), ShapeError, ["4 in argument 1", "3 in argument 'k'"]),
    "no examples": (lambda: mg.vmap(f)(np.zeros((0, 2))), ShapeError, ["vmap(f)", "no examples"]),
    "an empty list": (lambda: mg.vmap(f)([]), ShapeError, ["vmap(f)", "no examples"]),
    "ragged lists": (
        lambda: mg.vmap(f)([[1.0, 2.0], [3.0]]),
        ShapeError,
        ["vmap(f)", "argument 1[1]", "[*]", "[*, *]"],
    ),
    "lists of different things": (lambda: mg.vmap(f)([1.0, X]), ShapeError, ["vmap(f)"]),
    "text among numbers": (lambda: mg.vmap(f)([("a", 1.0), ("b", 2.0)]), MicrogadError, ["vmap(f)", "'a'"]),
    "complex numbers": (lambda: mg.vmap(f)(X * 1j), MicrogadError, ["vmap(f)", "argument 1", "complex"]),
    "a generator": (lambda: mg.vmap(f)(x for x in X), MicrogadError, ["vmap(f)", "generator"]),
    "no such axis of results": (lambda: mg.vmap(f, 0, 2)(X), ShapeError, ["vmap(f)", "result", "(3,)", "axis 2"]),
    "axis of a number": (lambda: mg.vmap(np.sum, 0, 1)(X), ShapeError, ["vmap(sum)", "result", "()", "axis 1"]),
    "different results": (lambda: mg.vmap(f, 0, None)(X), ShapeError, ["vmap(f)", "differs", "out_axes is None"]),
    "structure of results": (lambda: mg.vmap(f, 0, (0,))(X), InputError, ["vmap(f)", "out_axes", "(0,)"]),
    "shapes inside": (lambda: mg.vmap(lambda x: x @ np.ones(2))(X), ShapeError, ["(3,)", "(2,)"]),
}


@pytest.mark.parametrize(("call", "error", "words"), MISUSES.values(), ids=MISUSES)
def test_a_misuse_says_what_and_where(call, error, words):
    with pytest.raises(error) as raised:
        call()
    assert issubclass(raised.type, MicrogadError)
    assert [word for word in words if word not in str(raised.value)] == []


REFUSED = {
    "a branch": (lambda x: x if x.sum() > 0.0 else -x, r"mg\.where"),
    "a float": (lambda x: float(x[0]), "float"),
    "math.exp": (lambda x: math.exp(x[0]), r"mg\.exp"),
    "np.array": (lambda x: np.array(x) * 2.0, r"mg\.stack"),
    "a count": (lambda x: sum(range(x[0])), "whole number"),
    "an index of an array": (lambda x: X[0][x[0]], "traced"),
    "an index of itself": (lambda x: x[x[0]], "traced"),
    "a mask": (lambda x: x[x > 1.0], r"mg\.where"),
    "a leaf that is written": (lambda x: setattr(V, "data", V.data), "written"),
    "an example that is written": (lambda x: operator.setitem(x, 0, 1.0), "written"),
    "backward": (lambda x: (x * V).sum().backward(), r"mg\.grad"),
    "dropout": (lambda x: F.dropout(x, 0.5), "random"),
    "np.random": (lambda x: x + np.random.rand(), "random"),
    "sorted": (lambda x: sorted(x), r"mg\.maximum"),
}


@pytest.mark.parametrize("form", [np.asarray, Tensor], ids=["array", "Tensor"])
@pytest.mark.parametrize(("bad", "word"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_traced_names_the_line(bad, word, form):
    one, two = form(np.ones((2, 3))), form(np.ones((2, 2, 3)))
    calls = [
        (mg.vmap(bad), one),
        (mg.vmap(mg.vmap(bad)), two),
        (mg.jit(mg.vmap(bad)), one),
        (mg.vmap(mg.jit(bad)), one),
    ]
    for call, x in calls:
        with pytest.raises(TraceError, match=word) as raised:
            call(x)
        assert f"line {bad.__code__.co_firstlineno} of {__file__}, `" in str(raised.value)


def test_while_anomalies_are_looked_for_it_is_the_loop():
    mg.manual_seed(0)
    want = mg.stack([F.dropout(x, 0.5) for x in X])
    mg.manual_seed(0)
    with mg.detect_anomaly():
        assert mg.vmap(lambda x: F.dropout(x, 0.5))(X).tolist() == want.tolist()
    with mg.detect_anomaly(), pytest.raises(mg.errors.AnomalyError, match="log"), np.errstate(all="ignore"):
        mg.vmap(lambda x: mg.log(Tensor(x)))(np.array([[1.0, 2.0], [0.0, 1.0]]))


def test_an_error_of_the_function_goes_through_and_leaves_nothing_behind():
    def wrong(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        mg.vmap(wrong)(X)
    assert bool(Value(2.0) > 1.0)


# ---- outside of a domain, nan and infinity, precision

OUTSIDE = {
    "log": (lambda x: mg.log(C * x), -1.0),
    "sqrt": (lambda x: mg.sqrt(C * x) + 1.0, -1.0),
    "division": (lambda x: C / x, 0.0),
    "power": (lambda x: (C * x) ** 0.5, -1.0),
    "derivative of sqrt": (mg.grad(lambda x: mg.sqrt(x)), 0.0),
}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("f", "bad"), OUTSIDE.values(), ids=OUTSIDE)
def test_a_number_outside_of_the_domain_is_the_error_of_the_loop_at_any_place_in_any_call(f, bad, place):
    x = [1.0, 2.0, 3.0]
    x[place] = bad
    with pytest.raises(DomainError):
        [f(number) for number in x]
    mapped = mg.vmap(f)
    with pytest.raises(DomainError):
        mapped(np.array(x))
    mapped(np.array([1.0, 2.0, 3.0]))
    with pytest.raises(DomainError):
        mapped(np.array(x))


@pytest.mark.parametrize("place", [0, 1])
def test_arrays_have_nan_outside_of_the_domain_as_those_of_numpy(place):
    x = np.ones((2, 2))
    x[place] = -1.0
    with np.errstate(all="ignore"):
        for mapped in (mg.vmap(mg.log), mg.jit(mg.vmap(mg.log))):
            for _ in range(2):
                same(mapped(Tensor(x)), mg.log(Tensor(x)))


def test_nan_and_infinity_stay_in_their_example():
    x = np.array([1.0, np.nan, np.inf, 1000.0, -2.0])
    with np.errstate(all="ignore"):
        for g in (lambda t: mg.exp(C * t), lambda t: mg.maximum(t, 0.0) - t, lambda t: mg.stack([t, C]).sum()):
            same(mg.vmap(g)(Tensor(x)), loop(g)(Tensor(x)))


# ---- the mapped function itself


def scale(x, y=2.0, *, k=3.0):
    """Scale a number."""
    return x * y * k


class Machine:
    each = mg.vmap(lambda self, x: self.w * x)

    def __init__(self, w):
        self.w = Value(w)

    def one(self, x):
        return self.w * x


def test_it_has_name_signature_and_text_of_the_function():
    mapped = mg.vmap(scale)
    assert (mapped.__name__, mapped.__doc__, mapped.__wrapped__) == ("vmap(scale)", "Scale a number.", scale)
    assert str(inspect.signature(mapped)) == "(x, y=2.0, *, k=3.0)"
    assert "vmap(scale)" in repr(mapped)
    assert mapped(np.ones(2)).tolist() == [6.0, 6.0]
    with pytest.raises(AttributeError, match="nothing"):
        _ = mapped.nothing


def test_it_explains_itself():
    mapped = mg.vmap(scale)
    assert "never called" in mapped.explain()
    for n in (2, 2, 2, 3):
        mapped(np.ones(n))
    said = str(mapped.explain())
    assert "traced 2 times" in said
    assert "x (2,)" in said
    assert "3 calls" in said


def test_methods_and_partial_functions_are_mapped():
    a, b, x = Machine(3.0), Machine(5.0), np.array([1.0, 2.0])
    assert a.each(x).tolist() == [3.0, 6.0]
    assert b.each(x).tolist() == [5.0, 10.0]
    assert Machine.each(b, x).tolist() == [5.0, 10.0]
    assert mg.vmap(b.one)(x).tolist() == [5.0, 10.0]
    assert mg.vmap(functools.partial(scale, y=x[1], k=1.0))(x).tolist() == [2.0, 4.0]
    assert mg.vmap(np.sum)(np.ones((2, 3))).tolist() == [3.0, 3.0]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_it_is_copied_and_pickled_before_and_after_a_call(again):
    mapped = mg.vmap(scale, out_axes=-1)
    for _ in range(2):
        assert again(mapped)(X).tolist() == (6.0 * X.T).tolist()
        mapped(X)


def test_a_mapped_call_is_drawn_and_checked():
    x = Tensor([1.0, 2.0], True, "x")
    out = mg.vmap(lambda t: C * t * t)(x).sum()
    assert mg.adjoints(out)[C] == 5.0
    assert mg.viz.draw(out, expand=True).source != mg.viz.draw(out).source
    rows = mg.vmap(lambda row: mg.sin(row).sum() * row[0])
    mg.check_grads(lambda t: rows(t).sum(), X[:2])


# ---- against PyTorch

TORCH = {
    "matrices": (lambda lib: lambda a, b: a @ b, (1, 2), 1, (RNG.normal(size=(2, 4, 3)), RNG.normal(size=(3, 2, 4)))),
    "vectors by name": (lambda lib: lambda d: d["a"] @ d["b"], ({"a": 0, "b": None},), 0, ({"a": X, "b": X[0]},)),
    "logsumexp": (lambda lib: lambda a: lib.logsumexp(a, 0), (-1,), 0, (X,)),
    "tanh of a part": (lambda lib: lambda a: (lib.tanh(a[1:]), a[0]), (0,), (-1, 0), (X,)),
    "where": (lambda lib: lambda a, b: lib.where(a > 0, a, b * 2), (0, 0), 0, (X, X[::-1])),
    "stack": (lambda lib: lambda a, b: lib.stack([a, b], 1), (0, None), 2, (X, Y[0])),
}


@pytest.mark.parametrize(("f", "in_axes", "out_axes", "args"), TORCH.values(), ids=TORCH)
def test_it_agrees_with_pytorch(f, in_axes, out_axes, args):
    torch = pytest.importorskip("torch")
    theirs = torch.func.vmap(f(torch), in_axes, out_axes)(*mg.tree_map(lambda x: torch.tensor(x.copy()), args))
    same(mg.vmap(f(mg), in_axes, out_axes)(*args), mg.tree_map(lambda x: x.numpy(), theirs), 1e-12)


def test_gradients_of_each_example_agree_with_pytorch():
    torch = pytest.importorskip("torch")

    def theirs(p, x, y):
        hidden = torch.tanh(torch.nn.functional.linear(x, p["w1"], p["b1"]))
        return torch.nn.functional.cross_entropy(torch.nn.functional.linear(hidden, p["w2"], p["b2"]), y)

    args = mg.tree_map(torch.tensor, (PARAMETERS, X, TARGETS))
    want = torch.func.vmap(torch.func.grad(theirs), in_dims=(None, 0, 0))(*args)
    same(mg.vmap(mg.grad(loss), (None, 0, 0))(PARAMETERS, X, TARGETS), mg.tree_map(lambda g: g.numpy(), want), 1e-12)

"""What a Tensor is and does, as its user sees it."""

import copy
import functools
import gc
import inspect
import math
import operator
import pickle
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, primitives
from microgad.errors import AnomalyError, GraphCutError, InputError, InteriorError, MicrogadError, ShapeError
from microgad.order import topological_order

INF, NAN = math.inf, math.nan
MATRIX = np.array([[0.5, -1.5, 2.0], [1.25, 0.75, -0.25]])
CUBE = np.linspace(-2.0, 2.0, 24).reshape(3, 4, 2) + 0.01


def weights(shape):
    """Different numbers in that shape: a result is summed with them, so that each of its numbers counts."""
    return np.cos(np.arange(math.prod(shape))).reshape(shape) + 0.1


def slopes(f, arrays, step=1e-6):
    """The derivatives of ``sum(weights * f(*arrays))``, by finite differences in NumPy alone."""
    found = []
    for i, array in enumerate(arrays):
        grad = np.zeros(array.shape)
        for place in np.ndindex(array.shape):
            ends = []
            for way in (step, -step):
                moved = [x.copy() for x in arrays]
                moved[i][place] += way
                out = np.asarray(f(*moved))
                ends.append(np.sum(weights(out.shape) * out))
            grad[place] = (ends[0] - ends[1]) / (2 * step)
        found.append(grad)
    return found


def agrees(f, *arrays, plain=None):
    """`f` of Tensors gives what `plain`, by default `f`, gives of arrays; and so do its gradients."""
    arrays = [np.array(x, dtype=float) for x in arrays]
    leaves = [Tensor(x, requires_grad=True) for x in arrays]
    plain = plain or f
    out, expected = f(*leaves), np.asarray(plain(*arrays))
    assert type(out) is Tensor
    assert out.shape == expected.shape
    assert out.dtype == np.float64
    np.testing.assert_allclose(out.data, expected, rtol=1e-13, atol=1e-13)
    out.backward(weights(expected.shape))
    for leaf, slope in zip(leaves, slopes(plain, arrays), strict=True):
        assert type(leaf.grad) is np.ndarray
        assert leaf.grad.shape == leaf.shape
        np.testing.assert_allclose(leaf.grad, slope, rtol=1e-6, atol=1e-7)


def leaf(data, name=None):
    return Tensor(data, requires_grad=True, name=name)


@pytest.fixture
def table():
    """The table as it was, when a test has added rows to it."""
    before = dict(primitives.TABLE)
    yield
    primitives.TABLE.clear()
    primitives.TABLE.update(before)


# ---- what it holds


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2], [1.0, 2.0]),
        ((1, 2), [1.0, 2.0]),
        ([[1, 2], [3, 4]], [[1.0, 2.0], [3.0, 4.0]]),
        ([(1, 2), np.array([3, 4])], [[1.0, 2.0], [3.0, 4.0]]),
        ([True, False], [1.0, 0.0]),
        (True, 1.0),
        (3, 3.0),
        (3.5, 3.5),
        (np.float64(3.5), 3.5),
        (np.array(3), 3.0),
        (np.arange(3, dtype=np.uint8), [0.0, 1.0, 2.0]),
        (np.array([0.5], dtype=np.float16), [0.5]),
        (np.array([0.5], dtype=np.longdouble), [0.5]),
        (np.array([1.0, 2.0], dtype=">f8"), [1.0, 2.0]),
        (range(3), [0.0, 1.0, 2.0]),
        ([], np.zeros(0)),
        ([[], []], np.zeros((2, 0))),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (np.asfortranarray(MATRIX), MATRIX),
        (MATRIX[::-1, ::2], MATRIX[::-1, ::2]),
    ],
    ids=repr,
)
def test_numbers_become_float64(given, expected):
    found = Tensor(given)
    assert type(found.data) is np.ndarray
    assert found.dtype == found.data.dtype == np.dtype("float64")
    assert found.dtype.isnative
    assert np.array_equal(found.data, expected)
    assert found.shape == np.shape(expected)
    assert (found.ndim, found.size) == (np.ndim(expected), np.size(expected))


@pytest.mark.parametrize(
    "given", [np.float32(0.1), np.float32([0.1, 0.2]), [np.float32(0.1)], np.zeros((0, 2), np.float32)], ids=repr
)
def test_float32_is_kept(given):
    x = leaf(given)
    assert x.dtype == np.float32
    assert np.array_equal(x.data, np.array(given))
    y = (x * 2.0 + 1).sum()
    assert y.dtype == np.float32
    y.backward()
    assert x.grad.dtype == np.float32


def test_float32_beside_float64_gives_float64_and_each_its_own_gradient():
    x, y = leaf(np.float32([1.0, 2.0])), leaf([3.0, 4.0])
    z = x * y
    assert z.dtype == np.float64
    z.sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)
    x.data = [5.0, 6.0]
    assert x.dtype == np.float32


def test_it_copies():
    array, rows = np.array([1.0, 2.0]), [np.array([1.0, 2.0])]
    x, y = Tensor(array), Tensor(rows)
    again = Tensor(x)
    array[0] = rows[0][0] = x.data[1] = 9.0
    assert x.tolist() == [1.0, 9.0]
    assert y.tolist() == [[1.0, 2.0]]
    assert again.tolist() == [1.0, 2.0]


def test_what_it_is_before_anything_happened():
    x = Tensor([1.0, 2.0])
    assert (x.grad, x.requires_grad, x.name, x.label, x.op, x.inputs) == (None, False, None, "", "", ())
    assert Tensor([1.0], requires_grad=True).requires_grad is True
    assert Tensor([1.0], requires_grad=np.bool_(True)).requires_grad is True


def test_names_and_micrograd_s_words():
    x = leaf([1.0, 2.0], "x")
    assert x.label == "x"
    assert Tensor(1.0, label="y").name == "y"
    x.label = "later"
    assert x.name == "later"
    y = x * x
    assert (y._op, y.op) == ("×", "×")
    assert [y._prev[0] is x, y._prev[1] is x, y.inputs == y._prev] == [True, True, True]
    assert x._prev == ()


# ---- its data


def test_data_of_a_leaf_can_be_set():
    x = leaf([1.0, 2.0])
    given = np.array([3, 4])
    x.data = given
    given[0] = 9
    assert (x.tolist(), x.dtype) == ([3.0, 4.0], np.float64)
    x.data -= 1.0
    x.data[0] = 7.0
    assert x.tolist() == [7.0, 3.0]
    assert (x * 2).tolist() == [14.0, 6.0]
    number = leaf(1.0)
    number.data -= 0.25
    number.data = 2 * number.data
    assert (number.item(), type(number.data), number.shape) == (1.5, np.ndarray, ())


@pytest.mark.parametrize("given", [[1.0], [[1.0, 2.0]], 1.0, [1.0, 2.0, 3.0]])
def test_data_keeps_its_shape(given):
    x = leaf([1.0, 2.0], "x")
    with pytest.raises(ShapeError, match=r"data of shape \(.*\) for x of shape \(2,\)"):
        x.data = given
    assert x.tolist() == [1.0, 2.0]


COMPUTED = {
    "product": lambda x: x * 2.0,
    "of one number": lambda x: x.sum(),
    "index": lambda x: x[0],
    "view": lambda x: x.T,
    "reshape": lambda x: x.reshape(-1),
    "stack": lambda x: mg.stack([x, x]),
    "repeated": lambda x: x.broadcast_to((4, 2, 3)),
}


@pytest.mark.parametrize("compute", COMPUTED.values(), ids=COMPUTED)
def test_data_of_a_computed_tensor_is_read_only(compute):
    x = leaf(MATRIX, "x")
    y = compute(x)
    before = y.data.copy()
    assert type(y.data) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        y.data[...] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        y.data += 1.0
    with pytest.raises(InteriorError, match="set the data of its inputs"):
        y.data = before
    with pytest.raises(InteriorError, match=r"mg\.where"):
        y[...] = 0.0
    assert np.array_equal(y.data, before)
    assert np.array_equal(x.data, MATRIX)


def test_setitem_is_for_leaves_that_no_gradient_reaches():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], name="x")
    x[0] = [5, 6]
    x[1, -1] = 7.0
    x[x.data == 3.0] = 0.0
    assert x.tolist() == [[5.0, 6.0], [0.0, 7.0]]
    tracked = leaf([1.0, 2.0], "w")
    with pytest.raises(InteriorError, match=r"w needs a gradient, .* set \.data\[\.\.\.\] between two passes"):
        tracked[0] = 5.0
    with pytest.raises(GraphCutError):
        x[0] = tracked
    assert tracked.tolist() == [1.0, 2.0]
    assert x.tolist() == [[5.0, 6.0], [0.0, 7.0]]
    for use in (lambda x: x * 2.0, lambda x: tracked[:2] * x, Tensor.relu, Tensor.sum, mg.exp, lambda x: mg.stack([x])):
        x = Tensor([1.0, 2.0], name="x")
        with mg.no_grad():
            use(x)
        x[0] = 3.0
        use(x)
        with pytest.raises(InteriorError, match=r"x was used in a graph, which would not know of the change"):
            x[0] = 4.0
        assert x.tolist() == [3.0, 2.0]


def test_requires_grad_is_set_on_leaves():
    x = Tensor([1.0, 2.0], name="x")
    x.requires_grad = True
    y = x * 2.0
    with pytest.raises(InteriorError, match=r"x \* 2\.0 is computed: \.detach\(\)"):
        y.requires_grad = False
    with pytest.raises(InputError, match="True or False"):
        x.requires_grad = "yes"
    with pytest.raises(InputError, match="a Value always has a gradient"):
        Value(1.0).requires_grad = False
    y.sum().backward()
    assert (x.grad.tolist(), x.requires_grad, y.requires_grad, Value(1.0).requires_grad) == (
        [2.0, 2.0],
        True,
        True,
        True,
    )


# ---- gradients


def test_leaves_accumulate_and_nodes_in_between_hold_the_last_pass():
    x = leaf([1.0, 2.0])
    y = x * 3.0
    z = y.sum()
    assert x.grad is y.grad is z.grad is None
    for k in (1, 2, 3):
        z.backward()
        assert type(x.grad) is np.ndarray
        assert x.grad.tolist() == [3.0 * k] * 2
        assert y.grad.tolist() == [1.0, 1.0]
        assert float(z.grad) == 1.0
    z.backward(10.0)
    assert (x.grad.tolist(), y.grad.tolist()) == ([39.0, 39.0], [10.0, 10.0])
    x.grad = None
    z.backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_a_pass_writes_into_no_array_that_is_there():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (x * y).sum().backward()
    kept = x.grad
    y.grad = kept
    (x * y).sum().backward()
    assert (kept.tolist(), x.grad.tolist(), y.grad.tolist()) == ([3.0, 4.0], [6.0, 8.0], [4.0, 6.0])


def test_a_leaf_of_one_number_keeps_an_array_as_its_gradient():
    x = leaf(2.0)
    for k in (1, 2, 3):
        (x * 3.0).backward()
        assert (type(x.grad), x.grad.shape, float(x.grad)) == (np.ndarray, (), 3.0 * k)


def test_two_losses_over_one_shared_node():
    x = leaf([1.0, 2.0])
    shared = x * x
    first, second = shared.sum(), (shared * [10.0, 100.0]).sum()
    first.backward()
    assert (shared.grad.tolist(), x.grad.tolist()) == ([1.0, 1.0], [2.0, 4.0])
    second.backward()
    assert (shared.grad.tolist(), x.grad.tolist()) == ([10.0, 100.0], [22.0, 404.0])


def test_backward_starts_from_one_number_or_a_gradient():
    x = leaf([[1.0, 2.0]])
    (x[:, :1] * 2.0).backward()
    assert x.grad.tolist() == [[2.0, 0.0]]
    (x * x).backward([[1, -1]])
    assert x.grad.tolist() == [[4.0, -4.0]]
    (x * x).backward(Tensor([[1.0, 1.0]]))
    assert x.grad.tolist() == [[6.0, 0.0]]
    x.backward([[1.0, 1.0]])
    assert x.grad.tolist() == [[7.0, 1.0]]


def test_an_operand_that_stands_there_twice():
    x = leaf([1.0, 2.0, 3.0])
    (x * x + x @ x + x).sum().backward()
    assert x.grad.tolist() == [2.0 + 6.0 + 1.0, 4.0 + 12.0 + 1.0, 6.0 + 18.0 + 1.0]


def test_a_pass_that_fails_leaves_the_leaves_as_they_were():
    x, y = leaf([1.0, 2.0], "x"), leaf([1.0, 2.0], "y")
    loss = (x * y).sum()
    loss.backward()
    y.grad = np.zeros(5)
    with pytest.raises(ShapeError, match=r"grad of y was set to shape \(5,\), and its own is \(2,\)"):
        loss.backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([1.0, 2.0], [0.0] * 5)


@pytest.mark.parametrize("held", [[10, 20], np.array([10, 20]), np.float32([10, 20]), Tensor([10.0, 20.0])], ids=repr)
def test_a_grad_that_was_set_by_hand(held):
    x = leaf([1.0, 2.0])
    x.grad = held
    (x * x).sum().backward()
    assert type(x.grad) is np.ndarray
    assert x.grad.tolist() == [12.0, 24.0]


GRAPHS = {  # of leaves a and b, of shape (2, 3)
    "leaf": lambda a, b: a,
    "sum": lambda a, b: a + b,
    "twice": lambda a, b: a + a,
    "sums": lambda a, b: (a + b) + (b + a),
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "by one": lambda a, b: a * 1.0 + b / 1.0,
    "positive": lambda a, b: +a + b,
    "total": lambda a, b: (a + b).sum(),
    "rows": lambda a, b: a.sum(0) + b.mean(0),
    "kept": lambda a, b: a.sum(1, keepdims=True) + b,
    "reshape": lambda a, b: a.reshape(3, 2) + b.reshape(3, 2),
    "transpose": lambda a, b: a.T + b.T,
    "back again": lambda a, b: a.T.T + b.reshape(6).reshape(2, 3),
    "flat": lambda a, b: a.flatten() + b.flatten(),
    "squeeze": lambda a, b: a.unsqueeze(0).squeeze(0) + b,
    "all of it": lambda a, b: a[:] + b[...],
    "slices": lambda a, b: a[:1] + b[1:],
    "concatenate": lambda a, b: mg.concatenate([a, b]) + mg.concatenate([b, a]),
    "stack": lambda a, b: mg.stack([a, b]),
    "apart": lambda a, b: a.unbind()[0] + b.split(3, axis=1)[0].flatten()[0],
    "where": lambda a, b: mg.where([True, False, True], a, b),
    "matmul": lambda a, b: a @ b.T,
    "broadcast": lambda a, b: a.broadcast_to((4, 2, 3)) + b,
    "linear": lambda a, b: mg.nn.linear(a, b, b[:, 0]),
    "softmax": lambda a, b: mg.softmax(a) + mg.log_softmax(b),
    "extremes": lambda a, b: a.max() + b.min(0),
    "values": lambda a, b: mg.stack([a[0].unbind()[0], b[0].unbind()[1]]),
    "activation": lambda a, b: a.relu() + b.tanh(),
}


@pytest.mark.parametrize("compute", GRAPHS.values(), ids=GRAPHS)
def test_the_gradient_of_a_leaf_is_shared_with_nothing(compute):
    a, b = leaf(MATRIX), leaf(MATRIX * 2.0)
    root = compute(a, b)
    seed = np.ones(root.shape)
    root.backward(seed)
    order = topological_order(root)
    for x in {a, b} & set(order):
        assert x.grad.flags.writeable
        others = [y for y in order if y is not x]
        arrays = [z for y in others for z in (y.grad, y._value) if isinstance(z, np.ndarray)]
        assert not any(np.shares_memory(x.grad, z) for z in (*arrays, x.data, seed))
    kept = [np.copy(y.grad) for y in order if y is not a and y.grad is not None]
    data = [np.copy(y._value) for y in order]
    a.grad[...] = NAN
    now = [y.grad for y in order if y is not a and y.grad is not None]
    assert all(np.array_equal(x, y) for x, y in zip(now, kept, strict=True))
    assert all(np.array_equal(x._value, y) for x, y in zip(order, data, strict=True))


def test_the_gradient_that_was_given_is_copied():
    x = leaf([1.0, 2.0])
    seed = np.array([1.0, 1.0])
    x.backward(seed)
    y = x + 0.0
    y.backward(seed)
    seed[0] = 9.0
    assert (x.grad.tolist(), y.grad.tolist()) == ([2.0, 2.0], [1.0, 1.0])


def test_adjoints_are_pure_and_leave_out_what_needs_none():
    x, c = leaf([1.0, 2.0]), Tensor([3.0, 4.0])
    y = x * c
    root = y.sum()
    found = mg.adjoints(root)
    assert set(found) == {x, y, root}
    assert found[x].tolist() == [3.0, 4.0]
    assert x.grad is y.grad is root.grad is c.grad is None


# ---- what needs no gradient


def test_requires_grad_passes_on():
    w, c = leaf([1.0, 2.0]), Tensor([3.0, 4.0])
    assert (w * c).requires_grad is (c + w).requires_grad is mg.stack([c, w]).requires_grad is True
    assert w[0].requires_grad is w.T.requires_grad is w.sum().requires_grad is (w @ c).requires_grad is True
    assert (
        (c * c).requires_grad is c[0].requires_grad is (c * 2.0).requires_grad is mg.stack([c]).requires_grad is False
    )
    assert (Value(1.0) * c).requires_grad is mg.stack([Value(1.0), 2.0]).requires_grad is True


def test_what_needs_no_gradient_is_recorded_all_the_same():
    c = Tensor([3.0, 4.0], name="c")
    y = (c * 2.0).sum()
    assert (y.op, y.inputs[0].op) == ("Σ", "×")
    assert y.inputs[0].inputs[0] is c
    with pytest.raises(InputError, match=r"nothing below sum\(c \* 2.0\) needs a gradient.*requires_grad=True"):
        y.backward()


def test_requires_grad_can_be_switched():
    w = Tensor([1.0, 2.0])
    w.requires_grad = True
    (w * w).sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]
    w.requires_grad = False
    assert not (w * w).requires_grad


@pytest.fixture
def counted(table):
    """A product of two operands, and the list of the derivatives that were asked of it."""
    calls = []

    def by(side, operand):
        def rule(y, a, b):
            calls.append(side)
            return (a, b)[operand]

        return rule

    row = mg.primitive("counted", lambda a, b: a * b, [by("left", 1), by("right", 0)], array=lambda a, b: a * b)
    return row, calls


@pytest.mark.parametrize(
    ("left", "right", "asked"), [(True, False, ["left"]), (False, True, ["right"]), (True, True, ["left", "right"])]
)
def test_derivatives_are_computed_for_what_needs_them(counted, left, right, asked):
    row, calls = counted
    a, b = Tensor([1.0, 2.0], requires_grad=left), Tensor([3.0, 4.0], requires_grad=right)
    row(a, b).sum().backward()
    assert calls == asked
    assert (a.grad is not None, b.grad is not None) == (left, right)


def test_nothing_is_computed_below_constants(counted):
    row, calls = counted
    c, w = Tensor([1.0, 2.0]), leaf([3.0, 4.0])
    frozen = row(row(c, c), np.array([1.0, 2.0]))
    row(frozen, w).sum().backward()
    assert calls == ["right"]
    assert frozen.grad is c.grad is None
    assert w.grad.tolist() == [1.0, 8.0]
    calls.clear()
    mg.adjoints(row(frozen, w).sum())
    assert calls == ["right"]


@pytest.mark.parametrize(
    ("name", "compute"),
    [
        ("matmul", lambda a, b: a @ b),
        ("concatenate", lambda a, b: mg.concatenate([a, b])),
        ("stack", lambda a, b: mg.stack([a, b])),
    ],
)
def test_structural_rows_too_are_asked_for_what_needs_it(monkeypatch, name, compute):
    asked = []
    edges = mg.Tensor.edges

    def watched(node, *args):
        found = edges(node, *args)
        asked.extend(x for x, _, _ in found)
        return found

    a, b = Tensor(np.eye(2)), leaf(np.ones((2, 2)))
    root = compute(a, b).sum()
    assert root.inputs[0].prim.name == name
    root.backward()
    assert a.grad is None
    assert np.array_equal(b.grad, np.ones((2, 2)))
    monkeypatch.setattr(Tensor, "edges", watched)
    found = mg.adjoints(root)
    assert not any(x is a for x in (*asked, *found))
    assert any(x is b for x in asked)


# ---- no_grad


def test_no_grad_records_nothing():
    w, v = leaf([1.0, 2.0], "w"), Value(3.0)
    with mg.no_grad():
        results = [w * 2.0, w + w, w @ w, w.sum(), w[0], mg.stack([w, w]), mg.exp(w), w.relu(), w * v, mg.softmax(w)]
        results += [v * 2.0, v + v, v.relu(), mg.exp(v), w.unbind()[0]]
    for y in results:
        assert (y.inputs, y.op) == ((), "")
        assert not (type(y) is Tensor and y.requires_grad)
    assert results[0].tolist() == [2.0, 4.0]
    assert results[10].data == 6.0
    y = (w * 2.0).sum()
    assert y.requires_grad
    y.backward()
    assert w.grad.tolist() == [2.0, 2.0]


@mg.no_grad
def plain(w):
    """Twice of it."""
    return w * 2.0


@mg.no_grad()
def called(w, *, times=2.0):
    return w * times


def test_no_grad_as_a_decorator():
    w = leaf([1.0, 2.0])
    for found in (plain(w), called(w), called(w, times=2.0)):
        assert (found.tolist(), found.requires_grad, found.inputs) == ([2.0, 4.0], False, ())
    assert (w * 2.0).requires_grad
    assert (plain.__name__, plain.__doc__) == ("plain", "Twice of it.")


def test_no_grad_nested():
    w = leaf([1.0, 2.0])
    again = mg.no_grad()
    with mg.no_grad(), again:
        with again:
            plain(w)
            assert not (w * 2.0).requires_grad
        assert not (w * 2.0).requires_grad
    assert (w * 2.0).requires_grad


def test_no_grad_ends_with_an_exception():
    w = leaf([1.0, 2.0])

    @mg.no_grad
    def fail():
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    with pytest.raises(ShapeError), mg.no_grad():
        w @ [1.0, 2.0, 3.0]
    assert (w * 2.0).requires_grad
    assert (Value(1.0) + 1.0).inputs


def test_no_grad_belongs_to_its_thread():
    w = leaf([1.0, 2.0])
    inside, done, found = threading.Event(), threading.Event(), []

    def silent():
        with mg.no_grad():
            inside.set()
            done.wait(10)
            found.append((w * 2.0).requires_grad)
        found.append((w * 2.0).requires_grad)

    thread = threading.Thread(target=silent)
    thread.start()
    assert inside.wait(10)
    meanwhile = (w * 2.0).requires_grad, bool((Value(1.0) + 1.0).inputs), w.relu().requires_grad
    done.set()
    thread.join()
    assert meanwhile == (True, True, True)
    assert found == [False, True]


def test_a_step_of_an_optimizer_under_no_grad():
    w = leaf([1.0, 2.0])
    loss = (w * w).sum()
    with mg.no_grad():
        loss.backward()
        w.data -= 0.25 * w.grad
        moved = w - 0.25 * w.grad
    assert w.tolist() == [0.5, 1.0]
    assert moved.tolist() == [0.0, 0.0]
    assert not moved.requires_grad


def test_transforms_record_inside_of_no_grad():
    x = np.array([1.0, 2.0])
    with mg.no_grad():
        assert mg.grad(lambda x: (x**3).sum())(x).tolist() == [3.0, 12.0]
        assert mg.hvp(lambda x: (x**3).sum(), x, np.ones(2)).tolist() == [6.0, 12.0]
        assert not (leaf(x) * 2.0).requires_grad
    frozen = mg.grad(lambda x: (plain(x) * x).sum())(x)
    assert frozen.tolist() == [2.0, 4.0]


# ---- what Python asks of it


def test_numbers_out_of_it():
    x = leaf([[1.0, 2.0], [3.0, 4.0]], "x")
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert type(x.sum().item()) is float
    assert (x.sum().item(), x[:1, :1].item(), Tensor(2).item()) == (10.0, 1.0, 2.0)
    out = x.numpy()
    out[0, 0] = 9.0
    assert type(out) is np.ndarray
    assert x.tolist()[0][0] == 1.0
    with pytest.raises(ShapeError, match=r"item\(\) of x of shape \(2, 2\)"):
        x.item()
    assert type(leaf(np.float32(0.5)).item()) is float


def test_detach():
    x = leaf([1.0, 2.0])
    y = x * 3.0
    cut = y.detach()
    assert (cut.tolist(), cut.requires_grad, cut.inputs) == ([3.0, 6.0], False, ())
    (x * cut).sum().backward()
    assert x.grad.tolist() == [3.0, 6.0]
    cut.data[0] = 100.0
    x.detach().data[1] = 100.0
    assert (y.tolist(), x.tolist()) == ([3.0, 6.0], [1.0, 2.0])


def test_len_iteration_and_membership():
    x = leaf([[1.0, 2.0], [3.0, 4.0]], "x")
    assert len(x) == 2
    first, second = x
    (first * 2.0 + second).sum().backward()
    assert x.grad.tolist() == [[2.0, 2.0], [1.0, 1.0]]
    assert [row.tolist() for row in reversed(x)] == [[3.0, 4.0], [1.0, 2.0]]
    assert 3.0 in x
    assert 9.0 not in x
    assert [1.0, 2.0] in x
    assert "a" not in x
    assert list(Tensor(np.zeros((0, 2)))) == []
    for use in (len, list, iter):
        with pytest.raises(ShapeError, match="one number"):
            use(leaf(1.0))


def test_truth():
    assert bool(Tensor(2.0)) is bool(Tensor([[2.0]])) is True
    assert bool(Tensor(0.0)) is False
    for many in (Tensor([1.0, 2.0], name="x"), Tensor([], name="x")):
        with pytest.raises(InputError, match=r"x of shape \(.*\) is neither true nor false: use .data.any\(\)"):
            bool(many)


def test_format():
    x = leaf([1.5, 2.25], "x")
    assert f"{x[1]:.1f} {x[:1]:+.3e}" == "2.2 +1.500e+00"
    assert f"{x}" == str(x) == repr(x)
    with pytest.raises(ShapeError, match=r"x of shape \(2,\) in the format '.1f'.*array2string"):
        f"{x:.1f}"


def test_repr_of_a_small_one():
    assert repr(Tensor([1.0, 2.5])) == "Tensor(data=[1.  2.5], grad=None)"
    assert repr(Tensor(3)) == "Tensor(data=3., grad=None)"
    assert repr(Tensor([])) == "Tensor(data=[], grad=None)"
    w = leaf([[0, 1], [2, 3]], "W")
    (w * w).sum().backward()
    assert repr(w) == (
        "Tensor(data=[[0. 1.]\n"
        "             [2. 3.]],\n"
        "       grad=[[0. 2.]\n"
        "             [4. 6.]], requires_grad=True, name='W')"
    )
    v = leaf([1.0, 2.0])
    (v * 2.0).sum().backward()
    assert repr(v) == "Tensor(data=[1. 2.], grad=[2. 2.], requires_grad=True)"
    assert repr(v * 2.0) == "Tensor(data=[2. 4.], grad=None)"


@pytest.mark.parametrize("shape", [(100_000,), (300, 300), (40, 50, 60)])
def test_repr_of_a_large_one_is_short(shape):
    x = leaf(np.linspace(0.0, 1.0, math.prod(shape)).reshape(shape), "x")
    x.grad = np.ones(shape)
    text = repr(x)
    assert "..." in text
    assert len(text) < 2500
    assert text.endswith("requires_grad=True, name='x')")


COMPARE = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


@pytest.mark.parametrize("compare", COMPARE, ids=lambda f: f.__name__)
def test_comparisons_give_bool_arrays_of_numpy(compare):
    data = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, NAN]])
    x = leaf(data)
    for other in (1.0, 1, [2.0, 1.0, 0.0], np.array([[1.0], [2.0]]), np.float64(1), np.array(1.0), data.T.copy().T):
        found = compare(x, other)
        assert type(found) is np.ndarray
        assert found.dtype == bool
        assert np.array_equal(found, compare(data, np.asarray(other)))
        assert np.array_equal(compare(x, Tensor(other)), found)
        assert np.array_equal(compare(other, x), compare(np.asarray(other), data))
    for number in (Value(1.0), Fraction(1)):
        assert np.array_equal(compare(x, number), compare(data, 1.0))
        assert np.array_equal(compare(number, x), compare(1.0, data))
    assert compare(x[0, 1], 1.0) is bool(compare(1.0, 1.0))


def test_identity_and_hash():
    x, twin = Tensor([1.0, 2.0]), Tensor([1.0, 2.0])
    assert hash(x) != hash(twin)
    assert len({x, twin, x}) == 2
    assert {x: "x", twin: "twin"}[x] == "x"
    assert (x is None, x == None, x != None, x == "a") == (False, False, True, False)  # noqa: E711


def test_no_attribute_but_its_own():
    with pytest.raises(AttributeError):
        Tensor([1.0]).foo = 1.0


@pytest.mark.parametrize("convert", [float, int, complex, math.exp, round], ids=lambda f: f.__name__)
def test_conversions_do_not_cut_the_graph(convert):
    with pytest.raises(TypeError):
        convert(leaf(1.0))


def test_builtins_that_add_and_compare():
    x = leaf([1.0, 2.0, 3.0])
    assert sum([x]) is x
    total = sum([x * k for k in (1.0, 10.0)])
    total.sum().backward()
    assert x.grad.tolist() == [11.0] * 3
    assert sum(x).item() == 6.0
    assert (max(x).item(), min(x).item()) == (3.0, 1.0)
    assert [y.item() for y in sorted(x, reverse=True)] == [3.0, 2.0, 1.0]
    assert functools.reduce(operator.mul, x).item() == 6.0


# ---- operators

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
LEFT = np.array([[0.5, 1.5, 2.0], [1.25, 0.75, 0.25]])
OTHERS = {  # what may stand beside a tensor of shape (2, 3)
    "float": 1.5,
    "int": 2,
    "bool": True,
    "Fraction": Fraction(1, 4),
    "float64": np.float64(1.5),
    "float32": np.float32(1.5),
    "int8": np.int8(3),
    "array of no axes": np.array(1.5),
    "array": LEFT + 1.0,
    "row": np.array([1.0, 2.0, 3.0]),
    "column": np.array([[1.0], [2.0]]),
    "integers": np.array([1, 2, 3]),
    "bools": np.array([True, True, True]),
    "large": np.full((4, 1, 3), 1.25),
    "list": [1.0, 2.0, 3.0],
    "nested list": [[1], [2]],
    "tuple": (1.0, 2.0, 3.0),
}


def plain_other(other):
    return float(other) if isinstance(other, Fraction) else np.asarray(other, dtype=float)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("compute", BINARY, ids=lambda f: f.__name__)
def test_operators_with_what_is_no_node(compute, other):
    agrees(lambda x: compute(x, other), LEFT, plain=lambda x: compute(x, plain_other(other)))
    agrees(lambda x: compute(other, x), LEFT, plain=lambda x: compute(plain_other(other), x))


@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 3)), ((2, 3), (3,)), ((1, 3), (2, 1)), ((), (2,)), ((2, 1), (4, 1, 3))]
)
@pytest.mark.parametrize("compute", BINARY, ids=lambda f: f.__name__)
def test_operators_between_tensors(compute, shapes):
    agrees(compute, *(np.linspace(0.5, 2.0, math.prod(shape)).reshape(shape) for shape in shapes))


@pytest.mark.parametrize("compute", BINARY, ids=lambda f: f.__name__)
def test_operators_with_a_value(compute):
    for order in (lambda x, v: (x, v), lambda x, v: (v, x)):
        x, v = leaf(LEFT), Value(1.5)
        out = compute(*order(x, v))
        assert type(out) is Tensor
        out.backward(weights((2, 3)))
        by_x, by_v = slopes(lambda x, v: compute(*order(x, v)), [LEFT, np.array(1.5)])  # noqa: B023
        np.testing.assert_allclose(x.grad, by_x, rtol=1e-6)
        assert type(v.grad) is float
        assert v.grad == pytest.approx(float(by_v), rel=1e-6)


@pytest.mark.parametrize("compute", [operator.neg, operator.pos, abs], ids=lambda f: f.__name__)
def test_operators_of_one_operand(compute):
    agrees(lambda x: compute(x * 1.0), MATRIX, plain=compute)


def test_augmented_assignment_makes_a_new_node():
    x = leaf([1.0, 2.0], "x")
    y = x + 0.0
    y += 1.0
    y *= x
    y -= [1.0, 1.0]
    y /= 2.0
    y **= 2
    assert x.tolist() == [1.0, 2.0]
    assert y.tolist() == [0.25, 6.25]
    y.sum().backward()
    assert x.grad.tolist() == [1.5, 12.5]
    for change in (operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ipow):
        with pytest.raises(InteriorError, match=r"x is a leaf that needs a gradient: .* write p\.data -= "):
            change(x, 1.0)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 2)),
        ((2, 3), (5, 3, 2)),
        ((5, 2, 3), (3, 2)),
        ((1, 2, 3), (5, 3, 2)),
        ((2, 1, 2, 3), (4, 3, 2)),
        ((5, 2, 3), (3,)),
        ((3,), (5, 3, 2)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
    ],
    ids=str,
)
def test_matmul(shapes):
    left, right = (
        np.sin(np.arange(math.prod(shape), dtype=float) + i).reshape(shape) for i, shape in enumerate(shapes)
    )
    agrees(operator.matmul, left, right)
    agrees(lambda a: a @ right, left)
    agrees(lambda b: left @ b, right)
    agrees(lambda b: left.tolist() @ b, right, plain=lambda b: left @ b) if left.size else None


# ---- Values and Tensors in one graph


def test_a_value_spread_over_a_tensor():
    v, t = Value(2.0, "v"), leaf([[1.0, 2.0], [3.0, 4.0]], "t")
    ((v * t + v) / v).sum().backward()
    assert t.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert v.grad == pytest.approx(0.0, abs=1e-12)
    w = Value(3.0)
    (w * Tensor([1.0, 2.0])).sum().backward()
    assert (w.grad, type(w.grad)) == (3.0, float)


def test_stack_of_values():
    v = [Value(float(k)) for k in range(3)]
    stacked = mg.stack(v)
    assert (type(stacked), stacked.tolist(), stacked.requires_grad) == (Tensor, [0.0, 1.0, 2.0], True)
    (stacked * stacked).sum().backward()
    assert [x.grad for x in v] == [0.0, 2.0, 4.0]
    assert all(type(x.grad) is float for x in v)
    nested = mg.stack([[v[0], v[1]], [v[2], 5.0]])
    assert nested.tolist() == [[0.0, 1.0], [2.0, 5.0]]
    (nested @ [1.0, 10.0]).sum().backward()
    assert [x.grad for x in v] == [1.0, 12.0, 5.0]
    mixed = mg.stack([v[0], Tensor(7.0), 8.0, np.float64(9.0)])
    assert mixed.tolist() == [0.0, 7.0, 8.0, 9.0]


def test_unbind_to_values_and_back():
    t = leaf([1.0, 2.0, 3.0], "t")
    parts = t.unbind()
    assert [type(x) for x in parts] == [Value] * 3
    back = mg.stack([x * x for x in parts])
    (back * [1.0, 10.0, 100.0]).sum().backward()
    assert t.grad.tolist() == [2.0, 40.0, 600.0]
    rows = leaf(MATRIX).unbind()
    assert [type(x) for x in rows] == [Tensor] * 2
    assert [x.shape for x in leaf(CUBE).unbind(axis=-1)] == [(3, 4)] * 2
    agrees(lambda x: mg.unbind(x, 1)[2] * mg.unbind(x, -1)[0], MATRIX, plain=lambda x: x[:, 2] * x[:, 0])


def test_a_loss_that_is_a_value():
    t, v = leaf([1.0, 2.0, 3.0]), Value(4.0)
    a, b, c = t.unbind()
    loss = a * b + mg.exp(c * 0.0) * v + (a - b).relu() + 1.0
    assert type(loss) is Value
    for k in (1.0, 2.0):
        loss.backward()
        assert t.grad.tolist() == [2.0 * k, 1.0 * k, 0.0]
        assert v.grad == 1.0 * k
    assert a.grad == 2.0
    loss.backward(10.0)
    assert t.grad.tolist() == [24.0, 12.0, 0.0]
    assert mg.adjoints(loss)[t].tolist() == [2.0, 1.0, 0.0]


def test_a_value_that_scalar_and_array_code_share():
    v, t = Value(3.0), leaf([1.0, 2.0])
    scalar = v * v
    loss = (scalar * t).sum() + v * 10.0 + scalar
    assert type(loss) is Tensor
    loss.backward()
    assert v.grad == 2 * 3.0 * 3.0 + 10.0 + 6.0
    assert scalar.grad == 4.0
    assert t.grad.tolist() == [9.0, 9.0]
    loss.backward()
    assert (v.grad, scalar.grad) == (68.0, 4.0)


def test_values_below_tensors_below_values():
    v = Value(2.0)
    a, b = (mg.stack([v, v * v]) * [3.0, 5.0]).unbind()
    loss = a * b
    assert type(loss) is Value
    loss.backward()
    assert loss.data == 15.0 * 8.0
    assert v.grad == 15.0 * 3.0 * 4.0


def mixture(p):
    """One number of a float and an array, by way of Values, Tensors and back; and the same in NumPy."""
    s, x = p["s"], p["x"]
    parts = mg.unbind(x)
    again = mg.stack([parts[0] * s, parts[1] * parts[1], s * s])
    return (again * x * s).sum() + mg.exp(parts[2] * s)


def mixture_in_numpy(s, x):
    again = np.array([x[0] * s, x[1] * x[1], s * s])
    return (again * x * s).sum() + np.exp(x[2] * s)


def test_second_derivatives_through_both():
    s, x = 0.7, np.array([0.5, -1.0, 2.0])
    point = {"s": s, "x": x}
    value, gradient = mg.value_and_grad(mixture)(point)
    assert value == pytest.approx(mixture_in_numpy(s, x))

    def flat(z):
        return mixture_in_numpy(z[0], z[1:])

    z, eye, h = np.array([s, *x]), np.eye(4), 1e-4
    first = [(flat(z + h * e) - flat(z - h * e)) / (2 * h) for e in eye]
    np.testing.assert_allclose([gradient["s"], *gradient["x"]], first, rtol=1e-6)
    second = [
        [
            (flat(z + h * (a + b)) - flat(z + h * (a - b)) - flat(z - h * (a - b)) + flat(z - h * (a + b)))
            / (4 * h * h)
            for b in eye
        ]
        for a in eye
    ]
    found = mg.hessian(mixture)(point)
    got = np.block(
        [[np.array([[found["s"]["s"]]]), found["s"]["x"][None]], [found["x"]["s"][:, None], found["x"]["x"]]]
    )
    np.testing.assert_allclose(got, second, rtol=1e-5, atol=1e-6)


def test_derivatives_of_nodes_are_nodes_that_go_backward():
    s, x = Value(3.0), leaf([1.0, 2.0])
    by_s, by_x = mg.grad(lambda s, x: (s * s * x * x).sum(), (0, 1))(s, x)
    assert (type(by_s), type(by_x)) == (Value, Tensor)
    assert (by_s.data, by_x.tolist()) == (30.0, [18.0, 36.0])
    by_s.backward()
    assert s.grad == 10.0
    assert x.grad.tolist() == [12.0, 24.0]
    by_x.sum().backward()
    assert s.grad == 10.0 + 36.0
    assert x.grad.tolist() == [30.0, 42.0]


# ---- indexing

INDICES = [  # into shape (3, 4, 2)
    0,
    -1,
    np.int64(2),
    (1, 2),
    (1, 2, -1),
    slice(None),
    slice(1, None),
    slice(None, None, -1),
    slice(3, 0, -2),
    slice(5, 9),
    slice(np.int64(1), None),
    (slice(None), 1),
    (slice(None), slice(1, 3), 0),
    (slice(None, None, -1), slice(None, None, 2)),
    Ellipsis,
    (Ellipsis, 0),
    (0, Ellipsis),
    (Ellipsis, slice(1), slice(None)),
    (),
    None,
    (None, 1),
    (slice(None), None, 0),
    (Ellipsis, None),
    np.newaxis,
    [0, 2],
    [0, 0, 2, 0],
    [-1, 2],
    [],
    np.array([[0, 1], [2, 2]]),
    np.array([1, 0], dtype=np.uint8),
    ([0, 0, 1], [1, 1, 3]),
    ([0, 1], [2], [1]),
    (np.array([[0], [2]]), np.array([1, 1, 3])),
    (slice(None), [3, 0, 3]),
    ([0, 2], slice(1, 3)),
    ([1, 1], slice(None), [0, 1]),
    (0, slice(None), [1, 0, 1]),
    ([0, 1], None, [2, 2]),
    (Ellipsis, [1, 1, 0]),
    ([2, 2], Ellipsis),
    [True, False, True],
    np.array([False, False, False]),
    (slice(None), np.array([True, False, True, True])),
    CUBE > 0,
    CUBE[..., 0] > 0,
    (CUBE[..., 0] > 0, 1),
    ([True, False, True], [1, 2]),
    (np.array([True, False, True]), slice(None), 0),
    True,
    (False, 0),
    np.bool_(True),
]


@pytest.mark.parametrize("key", INDICES, ids=lambda key: repr(key).replace("\n", "")[:60])
def test_indexing_is_numpy_s(key):
    plain_key = tuple(
        np.array(k, int) if isinstance(k, list) and not k else k for k in (key if type(key) is tuple else (key,))
    )
    x = leaf(CUBE)
    out, expected = x[key], CUBE[plain_key]
    assert type(out) is Tensor
    assert out.shape == expected.shape
    assert np.array_equal(out.data, expected)
    given = weights(expected.shape)
    out.backward(given)
    grad = np.zeros(CUBE.shape)
    np.add.at(grad, plain_key, given)
    np.testing.assert_allclose(x.grad, grad, rtol=1e-14, atol=0)


def test_repeated_indices_accumulate():
    x = leaf([1.0, 2.0, 3.0])
    x[[0, 0, 2, 0]].backward([1.0, 10.0, 100.0, 1000.0])
    assert x.grad.tolist() == [1011.0, 0.0, 100.0]


def test_an_index_is_kept_as_it_was():
    x, rows, mask = leaf([1.0, 2.0, 3.0]), np.array([0, 1]), np.array([True, False, True])
    y = x[rows] * [1.0, 10.0] + x[mask]
    rows[:] = 2
    mask[:] = True
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 10.0, 1.0]


def test_an_index_by_a_comparison():
    x = leaf([1.0, -2.0, 3.0])
    x[x > 0].sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 1.0]


def test_derivatives_of_higher_order_through_indices():
    def f(x):
        return (x[[0, 0, 1]] ** 2 * x[::-1]).sum() + x[x > 0][0] ** 3

    x = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(mg.grad(f)(x), [2 * 1.0 * 3.0 + 2 * 1.0 * 2.0 + 2.0**2 + 3.0, 1.0 + 2 * 2.0 * 1.0, 1.0])
    np.testing.assert_allclose(mg.hessian(f)(x), [[16.0, 6.0, 2.0], [6.0, 2.0, 0.0], [2.0, 0.0, 0.0]])


# ---- shapes

SHAPING = {
    "T": (lambda x: x.T, lambda x: x.T),
    "transpose": (lambda x: x.transpose(), lambda x: x.transpose()),
    "transpose axes": (lambda x: x.transpose(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    "transpose tuple": (lambda x: x.transpose((0, 2, 1)), lambda x: x.transpose((0, 2, 1))),
    "transpose negative": (lambda x: x.transpose(-1, 0, 1), lambda x: x.transpose(-1, 0, 1)),
    "swapaxes": (lambda x: x.swapaxes(0, -1), lambda x: x.swapaxes(0, -1)),
    "reshape": (lambda x: x.reshape(4, 6), lambda x: x.reshape(4, 6)),
    "reshape tuple": (lambda x: x.reshape((4, 6)), lambda x: x.reshape((4, 6))),
    "reshape -1": (lambda x: x.reshape(2, -1), lambda x: x.reshape(2, -1)),
    "flatten": (lambda x: x.flatten(), lambda x: x.flatten()),
    "squeeze": (lambda x: x[:, :1, :1].squeeze(), lambda x: x[:, 0, 0]),
    "squeeze axis": (lambda x: x[:, :1, :1].squeeze(1), lambda x: x[:, 0, :1]),
    "squeeze axes": (lambda x: x[:, :1, :1].squeeze((1, -1)), lambda x: x[:, 0, 0]),
    "unsqueeze": (lambda x: x.unsqueeze(1), lambda x: x[:, None]),
    "unsqueeze last": (lambda x: x.unsqueeze(-1), lambda x: x[..., None]),
    "broadcast_to": (lambda x: x.broadcast_to((5, 3, 4, 2)), lambda x: np.broadcast_to(x, (5, 3, 4, 2))),
    "concatenate": (lambda x: mg.concatenate([x, x * 2.0], axis=1), lambda x: np.concatenate([x, x * 2.0], axis=1)),
    "concatenate last": (lambda x: mg.concatenate((x, x), -1), lambda x: np.concatenate((x, x), -1)),
    "concatenate uneven": (
        lambda x: mg.concatenate([x[:, :1], x, x[:, :2]], axis=1),
        lambda x: np.concatenate([x[:, :1], x, x[:, :2]], axis=1),
    ),
    "concatenate array": (lambda x: mg.concatenate([x, CUBE]), lambda x: np.concatenate([x, CUBE])),
    "stack": (lambda x: mg.stack([x, x * 2.0], axis=-1), lambda x: np.stack([x, x * 2.0], axis=-1)),
    "stack of a tensor": (lambda x: mg.stack(x, axis=1), lambda x: np.stack(list(x), axis=1)),
    "split": (lambda x: x.split(2, axis=1)[1], lambda x: np.split(x, 2, axis=1)[1]),
    "split at": (lambda x: mg.split(x, [1, 3], -2)[1], lambda x: np.split(x, [1, 3], -2)[1]),
    "split at negative": (lambda x: mg.split(x, [-1])[1], lambda x: np.split(x, [-1])[1]),
    "unbind": (lambda x: x.unbind(1)[3], lambda x: x[:, 3]),
    "clip": (lambda x: x.clip(-1.0, 0.5), lambda x: x.clip(-1.0, 0.5)),
    "where": (lambda x: mg.where(x > 0, x, -2.0 * x), lambda x: np.where(x > 0, x, -2.0 * x)),
    "maximum": (lambda x: mg.maximum(x, 0.25), lambda x: np.maximum(x, 0.25)),
    "minimum": (lambda x: mg.minimum(x, x[::-1]), lambda x: np.minimum(x, x[::-1])),
}


@pytest.mark.parametrize(("ours", "plain"), SHAPING.values(), ids=SHAPING)
def test_shapes_and_joints(ours, plain):
    agrees(ours, CUBE, plain=plain)


def test_empty_tensors_pass_through():
    x = leaf(np.zeros((0, 3)))
    for y in (
        x * 2.0,
        x.T,
        x.reshape(3, 0),
        x.flatten(),
        mg.concatenate([x, x]),
        mg.stack([x, x]),
        x[:, 0],
        x @ np.eye(3),
    ):
        assert y.size == 0
        y.backward(np.zeros(y.shape))
    assert x.sum().item() == 0.0
    assert x.prod().item() == 1.0
    x.sum().backward()
    x.sum(0).backward([1.0, 2.0, 3.0])
    assert x.grad.shape == (0, 3)


# ---- reductions

AXES = [None, 0, 1, -1, (0, 2), (-1, 0), (0, 1, 2), (1,), (), np.int64(1), [0, 1]]
REDUCTIONS = {
    "sum": np.sum,
    "mean": np.mean,
    "var": np.var,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
    "logsumexp": lambda x, axis, keepdims: np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims)),
}


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=repr)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, axis, keepdims):
    plain_axis = tuple(axis) if isinstance(axis, list) else axis
    agrees(
        lambda x: getattr(x, name)(axis=axis, keepdims=keepdims),
        CUBE,
        plain=lambda x: REDUCTIONS[name](x, axis=plain_axis, keepdims=keepdims),
    )


@pytest.mark.parametrize("name", REDUCTIONS)
def test_keepdims_as_a_bool_of_numpy(name):
    assert getattr(Tensor(CUBE), name)((1, 2), np.bool_(True)).shape == (3, 1, 1)
    assert getattr(Tensor(CUBE), name)((0, 2), np.bool_(False)).shape == (4,)


def test_variance_with_a_correction():
    agrees(lambda x: x.var(0, correction=1), MATRIX, plain=lambda x: x.var(0, ddof=1))
    agrees(lambda x: x.var(correction=1.5), MATRIX, plain=lambda x: x.var(ddof=1.5))


@pytest.mark.parametrize("name", ["max", "min"])
def test_ties_share_the_gradient(name):
    x = leaf([[2.0, 2.0, 1.0], [2.0, 1.0, 1.0]])
    getattr(x, name)().backward(12.0)
    assert x.grad.tolist() == (
        [[4.0, 4.0, 0.0], [4.0, 0.0, 0.0]] if name == "max" else [[0.0, 0.0, 4.0], [0.0, 4.0, 4.0]]
    )


def test_products_at_zeros():
    x = leaf([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0], [2.0, 3.0, 4.0]])
    x.prod(axis=1).sum().backward()
    assert x.grad.tolist() == [[0.0, 6.0, 0.0], [0.0, 0.0, 0.0], [12.0, 8.0, 6.0]]


# ---- softmax

LOGITS = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25]])


def softmax(x, axis=-1, temperature=1.0):
    e = np.exp(x / temperature)
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x, axis=-1, temperature=1.0):
    return np.log(softmax(x, axis, temperature))


SOFT = {"softmax": (mg.softmax, softmax), "log_softmax": (mg.log_softmax, log_softmax)}


@pytest.mark.parametrize("axis", [-1, 0, 1, None, (0, 1)], ids=repr)
@pytest.mark.parametrize(("ours", "plain"), SOFT.values(), ids=SOFT)
def test_softmax_along_an_axis(ours, plain, axis):
    agrees(lambda x: ours(x, axis=axis), LOGITS, plain=lambda x: plain(x, axis))
    agrees(lambda x: getattr(x, ours.__name__)(axis), LOGITS, plain=lambda x: plain(x, axis))


@pytest.mark.parametrize("given", [0.5, 3, np.float64(2.0)], ids=repr)
@pytest.mark.parametrize(("ours", "plain"), SOFT.values(), ids=SOFT)
def test_softmax_with_a_temperature(ours, plain, given):
    agrees(lambda x: ours(x, temperature=given), LOGITS, plain=lambda x: plain(x, temperature=float(given)))


@pytest.mark.parametrize("shape", [(), (1,), (2, 1), (1, 3)], ids=str)
@pytest.mark.parametrize(("ours", "plain"), SOFT.values(), ids=SOFT)
def test_softmax_with_a_temperature_that_is_learnt(ours, plain, shape):
    t = np.linspace(0.5, 2.0, math.prod(shape)).reshape(shape)
    agrees(lambda x, t: ours(x, temperature=t), LOGITS, t, plain=lambda x, t: plain(x, temperature=t))
    if not shape:
        x, v = leaf(LOGITS), Value(0.5)
        ours(x, temperature=v).backward(weights((2, 3)))
        by_x, by_v = slopes(lambda x, t: plain(x, temperature=t), [LOGITS, np.array(0.5)])
        np.testing.assert_allclose(x.grad, by_x, rtol=1e-6)
        assert v.grad == pytest.approx(float(by_v), rel=1e-6)


@pytest.mark.parametrize(
    ("function", "logits", "expected", "slope"),
    [
        # the slope is that of the first number of the result
        (mg.softmax, [1000.0, 0.0], [1.0, 0.0], [0.0, 0.0]),
        (mg.softmax, [-1000.0, -1000.0], [0.5, 0.5], [0.25, -0.25]),
        (mg.softmax, [1000.0, -1000.0], [1.0, 0.0], [0.0, 0.0]),
        (mg.softmax, [-INF, 0.0], [0.0, 1.0], [0.0, 0.0]),
        (mg.softmax, [1e308, 1e308], [0.5, 0.5], [0.25, -0.25]),
        (mg.log_softmax, [1000.0, 0.0], [0.0, -1000.0], [0.0, 0.0]),
        (mg.log_softmax, [0.0, 1000.0], [-1000.0, 0.0], [1.0, -1.0]),
        (mg.log_softmax, [-1000.0, -1000.0], [-math.log(2)] * 2, [0.5, -0.5]),
        (mg.log_softmax, [0.0, -INF], [0.0, -INF], [0.0, 0.0]),
        (mg.logsumexp, [1000.0, 1000.0], 1000.0 + math.log(2), [0.5, 0.5]),
        (mg.logsumexp, [-1000.0, -1000.0], -1000.0 + math.log(2), [0.5, 0.5]),
        (mg.logsumexp, [0.0, -INF], 0.0, [1.0, 0.0]),
        (mg.logsumexp, [1000.0, -1000.0], 1000.0, [1.0, 0.0]),
    ],
)
def test_far_out_nothing_overflows(function, logits, expected, slope):
    x = leaf(logits)
    y = function(x)
    np.testing.assert_allclose(y.data, expected, rtol=1e-14)
    assert np.array_equal(function(np.array(logits)), y.data)
    (y if not y.ndim else y[0]).backward()
    np.testing.assert_allclose(x.grad, slope, rtol=1e-14)


def test_infinite_logits():
    assert mg.logsumexp(Tensor([INF, 0.0])).item() == INF
    assert mg.logsumexp(Tensor([-INF, -INF])).item() == -INF
    assert mg.logsumexp(Tensor(np.zeros((2, 0))), axis=1).tolist() == [-INF, -INF]
    rows = Tensor([[INF, 1.0], [-INF, 2.0], [0.0, 0.0]])
    assert mg.logsumexp(rows, axis=1).tolist() == [INF, 2.0, math.log(2)]
    with np.errstate(invalid="ignore"):  # inf - inf
        assert np.isnan(mg.softmax(Tensor([INF, 0.0])).data).any()
        assert mg.softmax(rows).tolist()[2] == [0.5, 0.5]


# ---- NumPy's functions

DISPATCHED = {
    "sum": (lambda x: np.sum(x), lambda x: np.sum(x, 1), lambda x: np.sum(x, axis=(0, 1), keepdims=True)),
    "mean": (lambda x: np.mean(x), lambda x: np.mean(x, axis=0, keepdims=True)),
    "var": (lambda x: np.var(x), lambda x: np.var(x, axis=0), lambda x: np.var(x, axis=1, ddof=1, keepdims=True)),
    "max": (lambda x: np.max(x), lambda x: np.max(x, axis=1), lambda x: np.amax(x, 0)),
    "min": (lambda x: np.min(x), lambda x: np.min(x, axis=1), lambda x: np.amin(x, 0)),
    "prod": (lambda x: np.prod(x), lambda x: np.prod(x, axis=0)),
    "reshape": (lambda x: np.reshape(x, (3, 2)), lambda x: np.reshape(x, -1)),
    "ravel": (lambda x: np.ravel(x),),
    "transpose": (lambda x: np.transpose(x), lambda x: np.transpose(x, (1, 0)), lambda x: np.transpose(x, axes=[0, 1])),
    "swapaxes": (lambda x: np.swapaxes(x, 0, 1),),
    "squeeze": (lambda x: np.squeeze(x[:1]), lambda x: np.squeeze(x[:, :1], axis=1)),
    "expand_dims": (lambda x: np.expand_dims(x, 0), lambda x: np.expand_dims(x, axis=-1)),
    "broadcast_to": (lambda x: np.broadcast_to(x, (4, 2, 3)),),
    "stack": (lambda x: np.stack([x, x]), lambda x: np.stack([x, MATRIX], axis=1), lambda x: np.stack((x, x), axis=-1)),
    "concatenate": (lambda x: np.concatenate([x, x]), lambda x: np.concatenate([MATRIX, x], axis=1)),
    "split": (lambda x: np.split(x, 3, axis=1)[1], lambda x: np.split(x, [1])[1]),
    "where": (lambda x: np.where(MATRIX > 0, x, 0.0), lambda x: np.where(x > 0, MATRIX, x)),
    "clip": (
        lambda x: np.clip(x, -1.0, 1.0),
        lambda x: np.clip(x, 0.1, None),
        lambda x: np.clip(x, a_min=-1.0, a_max=1.0),
        lambda x: np.clip(x, None, [0.1, 0.2, 0.3]),
    ),
    "matmul": (lambda x: np.matmul(x, MATRIX.T), lambda x: np.matmul(MATRIX.T, x), lambda x: MATRIX.T @ x),
    "maximum": (lambda x: np.maximum(x, 0.1), lambda x: np.maximum(MATRIX[0] * 0.9, x)),
    "minimum": (lambda x: np.minimum(x, 0.1),),
    "exp": (lambda x: np.exp(x), lambda x: np.tanh(x) + np.sin(x) * np.cos(x)),
    "log": (lambda x: np.log(x * x), lambda x: np.sqrt(x * x + 1.0)),
    "arithmetic": (
        lambda x: np.add(x, MATRIX),
        lambda x: np.subtract(MATRIX, x),
        lambda x: np.multiply(x, np.float64(3.0)),
        lambda x: np.divide(np.float64(2.0), x),
        lambda x: np.power(x * x, 1.5),
        lambda x: np.negative(x) + np.absolute(x),
        lambda x: np.float64(2.0) - x,
        lambda x: MATRIX * x + MATRIX[0] - x / MATRIX,
    ),
}


@pytest.mark.parametrize("function", [pytest.param(f, id=name) for name, fs in DISPATCHED.items() for f in fs])
def test_functions_of_numpy_record_a_graph(function):
    agrees(function, MATRIX)


QUESTIONS = [
    np.shape,
    np.ndim,
    np.size,
    np.zeros_like,
    np.ones_like,
    np.argmax,
    np.argmin,
    np.argsort,
    np.any,
    np.all,
    np.count_nonzero,
    np.nonzero,
    np.isnan,
    np.isfinite,
    np.isinf,
    np.signbit,
    np.logical_not,
    lambda x: np.argmax(x, axis=1),
    lambda x: np.argmax(a=x, axis=0),
    lambda x: np.allclose(x, MATRIX),
    lambda x: np.isclose(MATRIX, x),
    lambda x: np.array_equal(x, x),
    lambda x: np.less(x, 0.5),
    lambda x: np.greater_equal(MATRIX, x),
    lambda x: np.logical_and(x > 0, x),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda f: f.__name__)
def test_questions_of_numpy_are_answered_in_plain_numbers(question):
    found, expected = question(leaf(MATRIX)), question(MATRIX)
    assert type(found) is type(expected)
    assert np.array_equal(found, expected)


ARGUMENTS = [
    lambda x: (x,),
    lambda x: ([x, x],),
    lambda x: (x, x),
    lambda x: (x, np.full((2, 2), 2.0)),
    lambda x: (np.full((2, 2), 2.0), x),
    lambda x: (x, 1),
]
SQUARE = np.array([[2.0, 0.5], [0.25, 1.5]])
# These have no array as their operand: they change settings, read and write, or make text of anything.
NOT_OF_ARRAYS = "set get show test save load from gen info print err str_ bmat rec"


def outcome(call, *args):
    """What a call gives, or the exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy's own: a deprecated function, a root of a negative number
        try:
            return call(*args)
        except Exception as error:
            return error


def functions_of_numpy():
    """Every public function, with the calls with arrays that it takes."""
    for space in (np, np.linalg, np.fft):
        for name in dir(space):
            function = getattr(space, name)
            if name.startswith(("_", *NOT_OF_ARRAYS.split())) or not callable(function):
                continue
            found = [(arguments, outcome(function, *arguments(SQUARE.copy()))) for arguments in ARGUMENTS]
            calls = [(arguments, plain) for arguments, plain in found if not isinstance(plain, Exception)]
            if calls:
                yield pytest.param(function, calls, id=f"{space.__name__}.{name}")


# What NumPy calls in the place of what was called.
INSIDE = {np.full_like: "copyto", np.poly1d: "poly"}
INSIDE |= {getattr(np, old): new for old, new in (("row_stack", "vstack"), ("trapz", "trapezoid")) if hasattr(np, old)}


def parts_of(found):
    return [y for x in found for y in parts_of(x)] if isinstance(found, (tuple, list)) else [found]


@pytest.mark.parametrize(("function", "calls"), list(functions_of_numpy()))
def test_every_function_of_numpy_records_answers_or_refuses(function, calls):
    for arguments, expected in calls:
        x = leaf(SQUARE, "the leaf")
        found = outcome(function, *arguments(x))
        assert x.tolist() == SQUARE.tolist()
        if isinstance(found, Exception):
            if function in (np.isfortran, np.nditer):  # they ask for what is an array's alone
                continue
            assert isinstance(found, MicrogadError), repr(found)
            names = function.__name__, INSIDE.get(function, "the leaf"), "the leaf"
            assert any(name in str(found) for name in names), str(found)
            continue
        for part, plain in zip(parts_of(found), parts_of(expected), strict=True):
            if isinstance(part, Tensor):
                assert np.allclose(part.data, plain)
                assert any(node is x for node in topological_order(part))
            elif function is not np.empty_like:
                assert np.asarray(part).dtype != object
                assert np.array_equal(np.asarray(part), np.asarray(plain))
                plain_numbers = np.zeros_like, np.ones_like, np.real_if_close  # whose second operand is a tolerance
                assert np.asarray(part).dtype.kind in "biuU" or function in plain_numbers


def test_arrays_of_tracked_tensors_are_refused():
    t, v = leaf([1.0, 2.0], "t"), Value(1.0, "v")
    array = np.zeros(2)

    def put(x):
        array[0] = x

    def fill(x):
        array[:] = x

    def add(x):
        nonlocal array
        array += x

    for make in (np.asarray, np.array, np.asanyarray, np.float64, lambda x: np.array(x, dtype=object)):
        with pytest.raises(GraphCutError, match="t would cut it out of the graph"):
            make(t)
    for nested in ([t, t], [t, v], [t[0], t[1]], [[t], [t]], (t, 1.0), [v, v]):
        for make in (np.array, np.asarray, Tensor):
            with pytest.raises(GraphCutError):
                make(nested)
    for change, x in ((fill, t), (add, t), (put, v), (fill, v), (add, v)):
        with pytest.raises((GraphCutError, InputError)):
            change(x)
    with pytest.raises(ValueError, match="sequence"):  # NumPy's words for a float() that refused
        put(t[0])
    assert array.tolist() == [0.0, 0.0]


def test_arrays_of_tensors_that_need_no_gradient():
    t = Tensor([1.0, 2.0])
    found = np.asarray(t)
    assert (type(found), found.dtype, found.tolist()) == (np.ndarray, np.float64, [1.0, 2.0])
    assert np.array([t, t]).shape == (2, 2)
    assert np.asarray(t, dtype=np.float32).dtype == np.float32
    assert np.asarray(leaf([1.0, 2.0]).detach()).tolist() == [1.0, 2.0]
    found[0] = 9.0
    assert t.tolist() == [1.0, 2.0]


# ---- copies


def some_graph():
    x, c = leaf([[1.0, 2.0], [3.0, 4.0]], "x"), Tensor([5.0, 6.0], name="c")
    v = Value(2.0, "v")
    a, b = ((x @ c) * v + x[[0, 0], 1]).unbind()
    root = (mg.stack([a, b * a]).reshape(2, 1).softmax(0) * x.T).sum() + v + x.max(axis=0).mean()
    root.name = "root"
    return root


def by_name(root):
    return {node.name: node for node in topological_order(root) if node.name}


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "oldest pickle": lambda x: pickle.loads(pickle.dumps(x, protocol=2)),
}


@pytest.mark.parametrize("again", COPIES.values(), ids=COPIES)
def test_copies_of_a_graph(again):
    root = some_graph()
    twin = again(root)
    assert twin.item() == root.item()
    order, copied = topological_order(root), topological_order(twin)
    assert [(type(x), x.op, x.name, getattr(x, "requires_grad", None)) for x in order] == [
        (type(x), x.op, x.name, getattr(x, "requires_grad", None)) for x in copied
    ]
    assert not set(order) & set(copied)
    arrays = [x._value for x in order if type(x) is Tensor]
    assert not any(np.shares_memory(x._value, y) for x in copied if type(x) is Tensor for y in arrays)
    root.backward()
    assert twin.grad is None
    twin.backward()
    ours, theirs = by_name(root), by_name(twin)
    assert np.array_equal(ours["x"].grad, theirs["x"].grad)
    assert ours["v"].grad == theirs["v"].grad
    assert theirs["c"].grad is None
    third = again(root)
    assert np.array_equal(by_name(third)["x"].grad, ours["x"].grad)
    by_name(third)["x"].grad[...] = 0.0
    by_name(third)["x"].data[...] = 0.0
    assert np.any(ours["x"].grad)
    assert np.any(ours["x"].data)


@pytest.mark.parametrize("again", [*COPIES.values(), copy.copy], ids=[*COPIES, "copy"])
def test_copies_of_a_leaf(again):
    x = leaf(np.float32([1.0, 2.0]), "x")
    (x * x).sum().backward()
    y = again(x)
    assert y is not x
    assert (y.tolist(), y.grad.tolist(), y.name, y.requires_grad, y.dtype) == ([1.0, 2.0], [2.0, 4.0], "x", True, "f4")
    (y * 3.0).sum().backward()
    assert (y.grad.tolist(), x.grad.tolist()) == ([5.0, 7.0], [2.0, 4.0])
    y.data = [7.0, 8.0]
    assert x.tolist() == [1.0, 2.0]
    plain = again(Tensor([1.0]))
    assert (plain.requires_grad, plain.grad) == (False, None)


def test_copies_of_deep_graphs():
    x = leaf([1.0])
    y = x
    for _ in range(5_000):
        y = y + 1.0
    twin = copy.deepcopy(y)
    twin.backward()
    assert x.grad is None
    assert twin.item() == 5_001.0


# ---- size and life


@pytest.fixture
def nodes_alive():
    """How many tensors there are beyond those at the start, with the garbage collector off."""
    gc.collect()
    gc.disable()
    try:

        def count():
            return sum(type(x) is Tensor for x in gc.get_objects())

        start = count()
        yield lambda: count() - start
    finally:
        gc.enable()


def everything(x):
    y = (x @ x.T).sum(0, keepdims=True) + mg.exp(-x[:, :1] * x[0, 0])
    y = mg.concatenate([y, mg.stack([y[0], y[1]])]).reshape(-1).softmax() * 2.0
    a, b, *_ = y.unbind()
    return y.max() + (a * b + mg.maximum(a, b)) + mg.where(y > 0.1, y, 0.0).prod() + y.var()


def listed(root):
    root.register_hook(print).remove()
    return repr(root) + root.op + f"{root:.3f}"


@pytest.mark.parametrize(
    "use",
    [
        lambda root: None,
        lambda root: root.backward(),
        lambda root: [root.backward(), root.backward()],
        lambda root: mg.adjoints(root),
        lambda root: topological_order(root),
        listed,
    ],
    ids=["nothing", "backward", "twice", "adjoints", "order", "asked"],
)
def test_a_graph_is_freed_with_its_root(nodes_alive, use):
    x = leaf([[0.5, 1.5], [2.5, 0.25]])
    root = everything(x)
    assert nodes_alive() > 15
    use(root)
    del root
    assert nodes_alive() == 1  # x


@pytest.mark.parametrize("order", [1, 2])
def test_the_graphs_of_derivatives_are_freed(nodes_alive, order):
    def f(x):
        return mg.grad(everything)(x).sum() if order == 2 else everything(x)

    assert type(mg.grad(f)(np.array([[0.5, 1.5], [2.5, 0.25]]))) is np.ndarray
    assert nodes_alive() == 0
    x = leaf([[0.5, 1.5], [2.5, 0.25]])
    got = mg.grad(f)(x)
    assert nodes_alive() > 10
    got.sum().backward()
    del got
    assert nodes_alive() == 1


def test_arrays_are_freed_with_the_graph():
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        x = leaf(np.ones((100, 100)))
        x.grad = np.zeros((100, 100))
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            loss = (mg.softmax(x @ x + x.T * 2.0) * x[::-1]).sum()
            loss.backward()
            during, _ = tracemalloc.get_traced_memory()
            del loss
            after, _ = tracemalloc.get_traced_memory()
            assert during - before > 5 * 80_000
            assert after - before < 40_000  # half of one of its arrays
    finally:
        tracemalloc.stop()
        gc.enable()


def test_what_failed_keeps_nothing(nodes_alive):
    def fail():
        x = leaf([[0.5, 1.5], [2.5, 0.25]])
        for wrong in (
            lambda: everything(x) @ x,
            lambda: (everything(x) * x).backward(),
            lambda: x[7],
            lambda: np.sort(x),
        ):
            with pytest.raises(MicrogadError):
                wrong()
        with pytest.raises(ZeroDivisionError):
            mg.grad(lambda x: everything(x) / (1 // 0))(x)

    fail()
    gc.collect()  # an exception and its frames are a cycle of Python's own
    assert nodes_alive() == 0


DEEP = 50_000  # fifty times what recursion would reach


@pytest.mark.parametrize(
    ("step", "slope"),
    [
        pytest.param(lambda leaf, x: x + 1.0, 1.0, id="x + 1"),
        pytest.param(lambda leaf, x: leaf + x, DEEP + 1.0, id="leaf + x"),
        pytest.param(lambda leaf, x: x.reshape(2), 1.0, id="reshape"),
    ],
)
def test_long_chains(step, slope):
    start = x = leaf([1.0, 2.0])
    for _ in range(DEEP):
        x = step(start, x)
    assert len(topological_order(x)) == DEEP + 1
    assert len(repr(x)) + len(mg.errors.spell(x)) < 300
    x.backward([1.0, 0.0])
    assert start.grad.tolist() == [slope, 0.0]
    del x  # frees it, without recursion


def test_long_chains_of_values_and_tensors():
    x = leaf([1.0, 2.0])
    y = x
    for _ in range(2_000):
        a, b = y.unbind()
        y = mg.stack([b, a])
    y.backward([1.0, 0.0])
    assert x.grad.tolist() == [1.0, 0.0]
    assert mg.grad(lambda x: functools.reduce(lambda y, _: y * 1.0 + 0.0, range(3_000), x).sum())(
        np.ones(2)
    ).tolist() == [
        1.0,
        1.0,
    ]


# ---- hooks, anomalies, threads


def test_a_hook_sees_the_whole_gradient_once():
    x = leaf([1.0, 2.0])
    y = x * 3.0
    seen = []
    with y.register_hook(lambda g: seen.append(("y", g.tolist()))), x.register_hook(lambda g: seen.append(g.tolist())):
        (y + y * y).sum().backward()
    assert seen == [("y", [7.0, 13.0]), [21.0, 39.0]]
    (y + y * y).sum().backward()
    assert len(seen) == 2


def test_a_hook_can_change_the_gradient():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    z = x * y
    with z.register_hook(lambda g: np.clip(g, -0.5, 0.5)), y.register_hook(lambda g: [0, 1]):
        z.sum().backward()
    assert (z.grad.tolist(), x.grad.tolist(), y.grad.tolist()) == ([0.5, 0.5], [1.5, 2.0], [0.0, 1.0])
    with z.register_hook(lambda g: Tensor(g) * 2.0):
        z.sum().backward()
    assert x.grad.tolist() == [1.5 + 6.0, 2.0 + 8.0]
    with (
        z.register_hook(lambda g: np.ones(3)),
        pytest.raises(ShapeError, match=r"gradient of shape \(3,\) for .* \(2,\)"),
    ):
        z.sum().backward()
    assert x.grad.tolist() == [7.5, 10.0]
    with pytest.raises(InputError, match="a hook is a function"):
        x.register_hook(3)


def test_a_hook_cannot_write_into_the_gradient_of_others():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    first, second = x * 1.0, y * 1.0
    for node in (first, second):
        with node.register_hook(lambda g: operator.imul(g, 0.0)), pytest.raises(ValueError, match="read-only"):
            (first + second).sum().backward()
    (first + second).sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([1.0, 1.0], [1.0, 1.0])


def test_a_hook_of_what_needs_no_gradient_is_not_called():
    c, x = Tensor([1.0, 2.0]), leaf([3.0, 4.0])
    with c.register_hook(pytest.fail), (c * c).register_hook(pytest.fail):
        (x * (c * c)).sum().backward()
    assert x.grad.tolist() == [1.0, 4.0]


def test_a_hook_of_a_value_in_a_graph_of_tensors():
    v, x = Value(2.0), leaf([3.0, 4.0])
    seen = []
    with v.register_hook(seen.append):
        (v * x).sum().backward()
    assert seen == [7.0]


@mg.detect_anomaly()
def backward_watched(root):
    root.backward()


def test_anomalies_are_named_with_their_place():
    x = leaf([[1.0, 0.0], [0.0, 3.0]], "x")
    with np.errstate(all="ignore"):
        with (
            pytest.raises(AnomalyError, match=r"log\(x\) is -inf at \[0, 1\] at x of shape \(2, 2\)"),
            mg.detect_anomaly(),
        ):
            (x * mg.log(x)).sum()
        with pytest.raises(AnomalyError, match=r"gradient is .*inf at \[0, 1\] where it flows from sqrt\(x\) to x"):
            backward_watched(mg.sqrt(x).sum())
        assert x.grad is None
        with mg.detect_anomaly():
            (x * x).sum().backward()
    assert x.grad.tolist() == [[2.0, 0.0], [0.0, 6.0]]


def test_different_graphs_in_different_threads():
    def work(k):
        x = leaf(np.arange(4.0).reshape(2, 2) + k)
        y = x
        for _ in range(30):
            y = (y @ x).softmax() + x * 0.5
        y.sum().backward()
        with mg.no_grad():
            assert not (x * y).requires_grad
        return x.grad.tolist()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(32)))
    assert found == [work(k) for k in range(32)]


# ---- the surface


def test_the_same_names_as_methods_and_as_functions():
    x = np.array([0.5, 1.5, 2.5])
    names = "exp log sqrt abs sin cos tanh sigmoid relu softplus silu swish gelu elu leaky_relu erf sign step"
    for name in (*names.split(), "softmax", "log_softmax", "logsumexp"):
        method, function = getattr(leaf(x), name)(), getattr(mg, name)(leaf(x))
        assert type(method) is type(function) is Tensor
        assert np.array_equal(method.data, function.data)
        assert np.array_equal(method.data, getattr(mg, name)(x))


def test_every_public_method_is_documented():
    for name, method in vars(Tensor).items():
        if not name.startswith("_") and (callable(method) or isinstance(method, property)):
            assert inspect.getdoc(getattr(Tensor, name)), name


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize(
    ("f", "want"),
    [
        (lambda x: x / 0.0, [math.inf, math.inf]),
        (lambda x: (-1.5) ** x, [math.nan, math.nan]),
        (lambda x: x * Value(3.0) / Value(0.0), [math.inf, math.inf]),
    ],
)
def test_a_number_beside_a_tensor_has_what_ieee_says(f, want):
    x = Tensor([1.0, 2.0], requires_grad=True)
    f(x).sum().backward()
    np.testing.assert_array_equal(x.grad, want)
    np.testing.assert_array_equal(mg.jvp(f, (x.data,), (np.ones(2),))[1], want)


def test_a_masked_array_does_not_cut_the_graph():
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    for beside in (Tensor([1.0, 2.0], requires_grad=True), Value(2.0)):
        for product in (lambda x: masked * x, lambda x: x * masked, lambda x: np.ma.multiply(masked, x)):
            with pytest.raises(MicrogadError):
                product(beside)


def test_argmax():
    logits = Tensor([[1.0, 5.0, 2.0], [7.0, 2.0, 7.0]], requires_grad=True)
    assert logits.argmax(1).tolist() == [1, 0]
    assert logits.argmax(0).tolist() == [1, 0, 1]
    assert logits.argmax() == 3
    assert logits.argmax(-1).dtype.kind == "i"
    with pytest.raises(ShapeError, match=r"argmax of .* no number to be the largest"):
        Tensor(np.zeros((2, 0))).argmax(1)
    with pytest.raises(ShapeError, match="axis"):
        logits.argmax(2)

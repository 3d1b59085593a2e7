"""Hooks on gradients, and `detect_anomaly`: what each sees, and that all is as before when it is gone."""

import gc
import math
import random
import threading
import traceback
import weakref

import numpy as np
import pytest

import microgad as mg
from microgad import Value
from microgad.errors import AnomalyError, DomainError, InputError
from microgad.node import hooks
from microgad.operators import Arithmetic
from microgad.order import topological_order
from microgad.primitive import watchers

INF, NAN = math.inf, math.nan


@pytest.fixture(autouse=True)
def nothing_stays():
    yield
    left, watching = dict(hooks), list(watchers)
    hooks.clear()
    assert not left
    assert not watching
    assert all(vars(Arithmetic)[name] is method for name, method in Arithmetic.spelled_out.items())


class Probe(Value):
    """A Value whose end can be noticed."""

    __slots__ = ("__weakref__",)


# ---- hooks: what they see


def test_a_hook_on_a_leaf_sees_the_gradient_of_the_pass():
    x, seen = Value(3.0), []
    with x.register_hook(seen.append):
        for _ in range(2):
            (x * x).backward()
    assert seen == [6.0, 6.0]  # not what has been added up
    assert x.grad == 12.0


def test_a_hook_on_an_interior_node_and_on_the_root():
    x, seen = Value(3.0), []
    y = x * x
    z = y * 5.0
    with y.register_hook(lambda g: seen.append(("y", g))), z.register_hook(lambda g: seen.append(("z", g))):
        z.backward(gradient=2.0)
    assert seen == [("z", 2.0), ("y", 10.0)]
    assert (z.grad, y.grad, x.grad) == (2.0, 10.0, 60.0)


@pytest.mark.parametrize(
    ("build", "want"),
    [
        (lambda y: y * y, 6.0),
        (lambda y: y + y, 2.0),
        (lambda y: (y * 2.0 + mg.exp(y * 0.0)) * y - y, 2.0 * 3.0 * 2.0 + 1.0 - 1.0),
        (lambda y: mg.maximum(y, y) + y**2, 1.0 + 6.0),
    ],
)
def test_a_hook_sees_the_whole_gradient_once(build, want):
    for y in (Value(3.0), Value(1.5) * 2.0):
        seen = []
        with y.register_hook(seen.append):
            build(y).backward()
        assert seen == [want]
        assert type(seen[0]) is float


def test_a_hook_elsewhere_is_not_called():
    x, other = Value(3.0), Value(4.0)
    above = x * other
    with other.register_hook(pytest.fail), above.register_hook(pytest.fail):
        (x * x).backward()
    assert (x.grad, other.grad) == (6.0, None)


def test_hooks_are_for_backward_alone():
    x = Value(3.0)
    y = x * x
    with x.register_hook(pytest.fail), y.register_hook(pytest.fail):
        assert mg.adjoints(y)[x] == 6.0
        assert mg.grad(lambda t: t * y)(x).data == 9.0
        assert mg.grad(mg.grad(lambda t: t * t * y))(2.0) == 18.0


# ---- hooks: what they change


@pytest.mark.parametrize("given", [10.0, 10, np.float32(10.0), np.int64(10), np.array(10.0)])
def test_what_a_hook_returns_flows_on(given):
    x, w = Value(3.0), Value(5.0)
    y = x * w
    z = y * 7.0 + x
    with y.register_hook(lambda g: given):
        z.backward()
    assert (z.grad, y.grad, w.grad, x.grad) == (1.0, 10.0, 30.0, 51.0)
    assert type(y.grad) is float


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x * 1.0], ids=["leaf", "interior"])
def test_several_hooks_in_the_order_in_which_they_came(make):
    x = Value(3.0)
    y, seen = make(x), []
    steps = (lambda g: g + 1.0, seen.append, lambda g: g * 10.0, seen.append)
    handles = [y.register_hook(step) for step in steps]
    (y * 2.0).backward()
    assert seen == [3.0, 30.0]
    assert x.grad == 30.0
    for handle in handles:
        handle.remove()


def test_zero_and_nan_replace_as_well():
    for given in (0.0, -0.0, NAN):
        x = Value(3.0)
        with x.register_hook(lambda g: given):  # noqa: B023
            (x * 2.0).backward()
        assert str(x.grad) == str(given)


def test_clipping_gradients_on_the_way():
    x = Value(2.0)
    y = x * x
    with y.register_hook(lambda g: mg.clip(g, -1.0, 1.0)):
        (y * 1e6).backward()
    assert x.grad == 4.0


# ---- hooks: how they end


def test_a_hook_ends_by_remove_and_a_second_time_does_nothing():
    x, seen = Value(3.0), []
    handle, other = x.register_hook(seen.append), x.register_hook(lambda g: seen.append("other"))
    handle.remove()
    handle.remove()
    (x * x).backward()
    assert seen == ["other"]
    other.remove()
    (x * x).backward()
    assert seen == ["other"]


def test_a_hook_ends_with_its_block_even_by_an_error():
    x, seen = Value(3.0), []
    with x.register_hook(seen.append) as handle:
        handle.remove()  # early: the end of the block does not mind
    with pytest.raises(KeyError), x.register_hook(seen.append):
        raise KeyError
    (x * x).backward()
    assert seen == []


def test_one_function_twice_is_two_hooks():
    x, seen = Value(3.0), []
    first, second = x.register_hook(seen.append), x.register_hook(seen.append)
    first.remove()
    first.remove()
    (x * x).backward()
    second.remove()
    assert seen == [6.0]


def test_the_order_of_the_others_stays():
    x, seen = Value(3.0), []
    named = [lambda g: seen.append("a"), lambda g: seen.append("b")]
    handles = [x.register_hook(named[i]) for i in (0, 1, 0)]
    handles.pop().remove()
    (x * x).backward()
    for handle in handles:
        handle.remove()
    assert seen == ["a", "b"]


def test_a_hook_that_removes_itself_leaves_the_others_their_turn():
    x, seen = Value(3.0), []
    once = x.register_hook(lambda g: once.remove())
    with x.register_hook(seen.append):
        (x * x).backward()
    assert seen == [6.0]


def test_a_hook_that_registers_a_hook_further_down():
    x, seen, handles = Value(3.0), [], []
    y = x * x
    with y.register_hook(lambda g: handles.append(x.register_hook(seen.append))):
        y.backward()
    assert seen == [6.0]
    handles[0].remove()


# ---- hooks: errors


@pytest.mark.parametrize("where", ["leaf", "interior", "root"])
def test_a_hook_that_raises_leaves_every_leaf_as_it_was(where):
    x, w, far = Value(3.0), Value(5.0), Value(7.0)
    (x * 5.0).backward()
    y = x * w
    z = far * y + far
    node = {"leaf": x, "interior": y, "root": z}[where]

    def fails(g):
        raise KeyError

    with node.register_hook(fails), pytest.raises(KeyError):
        z.backward()
    assert (x.grad, w.grad, far.grad) == (5.0, None, None)
    z.backward()
    assert (x.grad, w.grad, far.grad) == (40.0, 21.0, 16.0)


@pytest.mark.parametrize(
    "given",
    ["1", [1.0], (), 1j, np.ones(2), Value(1.0), object(), 10**400, {}],
    ids=lambda given: type(given).__name__,
)
def test_a_hook_that_returns_what_is_no_number(given):
    x, w = Value(3.0), Value(5.0)
    (x * 5.0).backward()
    y = x * w
    for node in (x, y):
        with node.register_hook(lambda g: given), pytest.raises(InputError, match="one real number, not"):
            y.backward()
        assert (x.grad, w.grad) == (5.0, None)


@pytest.mark.parametrize("hook", [None, 3, "print", Value(1.0)], ids=repr)
def test_a_hook_that_is_no_function(hook):
    with pytest.raises(InputError, match="a hook is a function of the gradient, not "):
        Value(1.0).register_hook(hook)


# ---- hooks: what they may do meanwhile


def test_a_hook_may_work_on_another_graph():
    x, found = Value(3.0), []

    def elsewhere(g):
        t = Value(g)
        (t * t).backward()
        found.append((t.grad, mg.grad(lambda s: s * s)(g)))

    y = x * x
    with y.register_hook(elsewhere), x.register_hook(elsewhere):
        (y * y).backward()
    assert found == [(36.0, 36.0), (216.0, 216.0)]
    assert x.grad == 108.0


@pytest.mark.parametrize(
    ("node", "walk", "more"),
    [
        ("leaf", lambda x, z: mg.adjoints(z), 0.0),
        ("interior", lambda x, z: mg.adjoints(z), 0.0),
        ("leaf", lambda x, z: mg.viz.draw(z), 0.0),
        ("interior", lambda x, z: mg.viz.draw(z), 0.0),
        ("interior", lambda x, z: (x * 3.0).backward(), 3.0),  # shares the leaf
    ],
)
def test_a_hook_may_walk_the_nodes_of_the_pass_it_is_in(node, walk, more):
    x = Value(2.0)
    y = x * x
    z = y * x
    with (x if node == "leaf" else y).register_hook(lambda g: walk(x, z) and None):
        z.backward()
    assert (x.grad, y.grad) == (12.0 + more, 2.0)


# ---- hooks: memory


def test_a_graph_without_hooks_is_freed():
    x = Probe(3.0)
    handle = x.register_hook(lambda g: None)
    y = x * 2.0
    y.backward()
    nodes = [weakref.ref(x), weakref.ref(y)]
    handle.remove()
    del x, y, handle
    assert [node() for node in nodes] == [None, None]  # by counting references, without the collector


def test_a_hook_keeps_its_node_and_nothing_above_it():
    x, seen = Probe(3.0), []
    y = x * 2.0
    above, below = weakref.ref(y), weakref.ref(x)
    handle = x.register_hook(seen.append)
    del x, y
    gc.collect()
    assert above() is None
    (below() * 5.0).backward()
    assert seen == [5.0]
    handle.remove()


# ---- detect_anomaly: the forward pass

BIG = 1e308
BORN = {  # every way in which a node is born: what is made of 1e308, ∞ and nan, and what the error says of it
    "x + x": (lambda x, i, n: x + x, "x + x is inf", "x = 1e+308"),
    "x + float": (lambda x, i, n: x + BIG, "x + 1e+308 is inf", "x = 1e+308"),
    "x + int": (lambda x, i, n: x + 10**308, "x + 1e+308 is inf", "x = 1e+308"),
    "float + x": (lambda x, i, n: BIG + x, "1e+308 + x is inf", "x = 1e+308"),
    "sum": (lambda x, i, n: sum([x, x]), "x + x is inf", "x = 1e+308"),
    "x * x": (lambda x, i, n: x * x, "x * x is inf", "x = 1e+308"),
    "x * float": (lambda x, i, n: x * -10.0, "x * -10.0 is -inf", "x = 1e+308"),
    "x * int": (lambda x, i, n: x * 10, "x * 10.0 is inf", "x = 1e+308"),
    "float * x": (lambda x, i, n: 10.0 * x, "10.0 * x is inf", "x = 1e+308"),
    "0 * i": (lambda x, i, n: 0.0 * i, "0.0 * i is nan", "i = inf"),
    "relu of inf": (lambda x, i, n: i.relu(), "relu(i) is inf", "i = inf"),
    "relu of nan": (lambda x, i, n: n.relu(), "relu(n) is nan", "n = nan"),
    "i - i": (lambda x, i, n: i - i, "i - i is nan", "i = inf"),
    "x / float": (lambda x, i, n: x / 1e-10, "x / 1e-10 is inf", "x = 1e+308"),
    "x ** 2": (lambda x, i, n: x**2, "x ** 2.0 is inf", "x = 1e+308"),
    "2 ** x": (lambda x, i, n: 2**x, "2.0 ** x is inf", "x = 1e+308"),
    "-i": (lambda x, i, n: -i, "-i is -inf", "i = inf"),
    "abs": (lambda x, i, n: abs(i), "abs(i) is inf", "i = inf"),
    "a function": (lambda x, i, n: mg.exp(x), "exp(x) is inf", "x = 1e+308"),
    "a method": (lambda x, i, n: x.exp(), "exp(x) is inf", "x = 1e+308"),
    "of two": (lambda x, i, n: mg.maximum(n, x), "max(n, x) is nan", "n = nan, x = 1e+308"),
    "of three": (lambda x, i, n: mg.clip(n, 0.0, 1.0), "clip(n, 0.0, 1.0) is nan", "n = nan"),
    "parse": (lambda x, i, n: mg.parse("1 + x * x", x=x), "x * x is inf", "x = 1e+308"),
    "parse of numbers": (lambda x, i, n: mg.parse("exp(t)", t=1e4), "exp(t) is inf", "t = 10000.0"),
    "a ufunc": (lambda x, i, n: np.exp(x), "exp(x) is inf", "x = 1e+308"),
    "a ufunc of two": (lambda x, i, n: np.multiply(x, x), "x * x is inf", "x = 1e+308"),
    "a NumPy number": (lambda x, i, n: np.float64(10) * x, "10.0 * x is inf", "x = 1e+308"),
    "np.where": (lambda x, i, n: np.where(x > 0, i, x), "where(1.0, i, x) is inf", "i = inf, x = 1e+308"),
    "inside": (lambda x, i, n: mg.tanh((x * 0.9 + x) * i), "(x * 0.9) + x is inf", "x * 0.9 = 9e+307, x = 1e+308"),
}


@pytest.mark.parametrize(("make", "what", "numbers"), BORN.values(), ids=BORN)
def test_the_first_node_that_is_not_finite_is_named(make, what, numbers):
    given = Value(BIG, "x"), Value(INF, "i"), Value(NAN, "n")
    make(*given)  # outside nothing happens
    with pytest.raises(AnomalyError) as caught, mg.detect_anomaly():
        make(*given)
    assert str(caught.value) == f"{what} at {numbers}"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Value(INF) and Value(NAN),  # what is given is not computed
        lambda: mg.exp(1e4) + mg.sigmoid(INF),  # numbers are no graph
        lambda: Value(INF) > Value(NAN),
        lambda: 1.0 / Value(INF),  # finite again
        lambda: mg.tanh(Value(-INF)),
        lambda: mg.clip(Value(INF), -1.0, 1.0),
        lambda: mg.where(1.0, Value(2.0), Value(NAN)),
        lambda: mg.parse("x", x=INF),
    ],
)
def test_what_is_no_anomaly(make):
    with mg.detect_anomaly():
        make()


def test_other_errors_come_through():
    with mg.detect_anomaly(), pytest.raises(DomainError):
        mg.log(Value(-1.0))
    with pytest.raises(KeyError), mg.detect_anomaly():
        raise KeyError


def forward():
    x = Value(BIG, "x")
    y = x * 0.9
    z = y + x  # the culprit
    return z.relu()


def backward():
    x = Value(1e-300, "x")
    y = x * 1e200
    y = y * 1e200
    y.backward()  # the walk to the culprit


@pytest.mark.parametrize(("f", "line"), [(forward, "z = y + x  # the culprit"), (backward, "y.backward()  # the walk")])
def test_the_traceback_shows_the_line_that_did_it(f, line):
    with pytest.raises(AnomalyError) as caught, mg.detect_anomaly():
        f()
    lines = [frame.line for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert any(shown.startswith(line) for shown in lines)


# ---- detect_anomaly: the way back


def overflowing_product(x):
    return (x * 1e200) * 1e200


def zero_times_infinity(x):
    return mg.log(x) * 0.0


def sum_at_a_leaf(x):
    return x * 1e308 + x * 1e308


def sum_at_an_interior_node(x):
    y = x * 1.0
    return y * 1e308 + y * 1e308


def not_finite_derivative(x):
    return mg.log(x)


BACKWARD = [
    (
        overflowing_product,
        1e-300,
        r"the gradient is inf where it flows from x \* 1e\+200 to x = 1e-300: ups.* 1e\+200 t",
    ),
    (
        zero_times_infinity,
        5e-324,
        r"the gradient is nan where it flows from log\(x\) to x = 5e-324: upstream 0\.0 times",
    ),
    (not_finite_derivative, 5e-324, r"is inf where it .*: upstream 1\.0 times local derivative inf$"),
    (sum_at_a_leaf, 1e-300, r"^the gradient of x is inf: so much came in, or adds up to that$"),
    (sum_at_an_interior_node, 1e-300, r"^the gradient of x \* 1\.0 is inf: so much came in, or adds up to that$"),
]


@pytest.mark.parametrize(("f", "at", "message"), BACKWARD)
def test_the_way_back_is_watched(f, at, message):
    x = Value(at, "x")
    root = f(x)
    assert math.isfinite(root.data)
    for walk in (root.backward, lambda: mg.adjoints(root)):
        with pytest.raises(AnomalyError, match=message), mg.detect_anomaly():
            walk()
    assert x.grad is None  # as after any pass that fails
    with pytest.raises(AnomalyError, match="the gradient "), mg.detect_anomaly():
        mg.grad(f)(at)
    root.backward()
    assert not math.isfinite(x.grad)


def test_the_gradient_to_start_from_is_watched():
    x = Value(1.0, "x")
    for gradient in (INF, NAN):
        with pytest.raises(AnomalyError, match=rf"the gradient of x \+ 1\.0 is {gradient}"), mg.detect_anomaly():
            (x + 1.0).backward(gradient)


def test_a_hook_that_returns_infinity_is_found():
    x = Value(1.0, "x")
    y = x * 2.0
    with x.register_hook(lambda g: INF), pytest.raises(AnomalyError, match="the gradient of x is"), mg.detect_anomaly():
        y.backward()
    assert x.grad is None


@pytest.mark.parametrize(
    ("f", "x", "order"),
    [
        (lambda t: mg.sqrt(t), 1e-300, 2),
        (mg.log, 1e-200, 2),
        (mg.log, 1e-110, 3),
        (lambda t: t**0.5, 1e-300, 2),
        (lambda t: mg.exp(t * 1e200), 1e-205, 2),
    ],
)
def test_derivatives_of_derivatives_are_watched(f, x, order):
    for _ in range(order):
        with mg.detect_anomaly():
            assert math.isfinite(f(x))
        f = mg.grad(f)
    assert not math.isfinite(f(x))
    for given in (x, Value(x, "x")):
        with pytest.raises(AnomalyError), mg.detect_anomaly():
            f(given)


# ---- detect_anomaly: where it begins and ends


def anomaly():
    return Value(BIG) * 10.0


def test_nested_contexts():
    with mg.detect_anomaly():
        with mg.detect_anomaly(), pytest.raises(AnomalyError):
            anomaly()
        with pytest.raises(AnomalyError):  # the inner end has ended the inner one only
            anomaly()
    assert anomaly().data == INF


def test_contexts_that_end_out_of_order():
    first, second = mg.detect_anomaly(), mg.detect_anomaly()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with pytest.raises(AnomalyError):
        anomaly()
    second.__exit__(None, None, None)
    assert anomaly().data == INF


def test_a_decorated_function_is_watched_in_every_call():
    @mg.detect_anomaly()
    def watched(deeper=0):
        return watched(deeper - 1) if deeper else anomaly()

    for deeper in (0, 1, 3):
        with pytest.raises(AnomalyError):
            watched(deeper)
        assert anomaly().data == INF


@pytest.mark.parametrize("error", [KeyError, AnomalyError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_the_fast_methods_come_back(error):
    fast = {name: getattr(Value, name) for name in ("__add__", "__mul__", "relu")}

    def fails():
        assert all(getattr(Value, name) is not method for name, method in fast.items())
        raise error

    with pytest.raises(error), mg.detect_anomaly():
        fails()
    assert all(getattr(Value, name) is method for name, method in fast.items())


def test_other_threads_are_not_watched():
    found = {}

    def unwatched(name):
        x = Value(1e200)
        y = (x * x + x).relu() * 0.0
        y.backward()
        tiny = Value(5e-324)
        mg.log(tiny).backward()
        found[name] = math.isnan(y.data), x.grad, mg.adjoints(y)[x], tiny.grad

    def watched(name):
        with pytest.raises(AnomalyError), mg.detect_anomaly():
            anomaly()
        unwatched(name)

    with mg.detect_anomaly():
        threads = [threading.Thread(target=(watched, unwatched)[k % 2], args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(AnomalyError):  # and here it is still on
            anomaly()
    assert found == dict.fromkeys(range(8), (True, 0.0, 0.0, INF))


# ---- detect_anomaly: what is computed inside is what is computed outside

STEPS = [
    lambda a, b: a + b,
    lambda a, b: a + 0.5,
    lambda a, b: 2 + a,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a * -0.0,
    lambda a, b: 3 * a,
    lambda a, b: a.relu(),
    lambda a, b: a / (b * b + 1.0),
    lambda a, b: (a * a + 1.0) ** 0.5,
    lambda a, b: mg.tanh(a),
    lambda a, b: mg.sigmoid(a) * mg.maximum(a, b),
    lambda a, b: mg.where(a > b, a, b),
    lambda a, b: -abs(a),
]


def compute(seed):
    choose = random.Random(seed)
    numbers = [choose.choice([0.0, -0.0, 1.0, -2.0, choose.uniform(-2.0, 2.0)]) for _ in range(3)]
    nodes = leaves = [Value(x) for x in numbers]
    for _ in range(20):
        a, b = choose.choice(nodes), choose.choice(nodes)
        nodes = [*nodes, mg.tanh(choose.choice(STEPS)(a, b))]
    root = sum(nodes)
    root.backward()
    found = mg.adjoints(root)
    order = topological_order(root)
    second = mg.grad(mg.grad(lambda t: mg.tanh(t * root) + t.relu() * t))(numbers[0])
    return [x.hex() for node in order for x in (node.data, node.grad, found[node])] + [
        second.hex(),
        *(node.op for node in order),
        *(str(leaf.grad) for leaf in leaves),
    ]


@pytest.mark.parametrize("seed", range(30))
def test_results_inside_are_those_outside_to_the_bit(seed):
    with mg.detect_anomaly():
        inside = compute(seed)
    assert inside == compute(seed)

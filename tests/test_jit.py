"""`jit`: a call gives what its function gives, is one node that owns what its backward pass needs, and is not stale."""

import copy
import gc
import itertools
import math
import pickle
import random
import sys
import tracemalloc
import types
import weakref
from collections import OrderedDict, namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier, Event

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn, viz
from microgad.errors import AnomalyError, GradCheckError, InputError, ShapeError, TraceError
from microgad.order import topological_order

Point = namedtuple("Point", "x y")
LARGE = 9000  # numbers: large arrays are recycled


def array(*numbers, dtype=float):
    return np.array(numbers, dtype)


def leaf(*numbers, dtype=float):
    return Tensor(array(*numbers, dtype=dtype), requires_grad=True)


def kind(x):
    """The class of a leaf, and the dtype and shape of an array; plain numbers are all alike."""
    if isinstance(x, Tensor) or (isinstance(x, np.ndarray) and x.ndim):
        return type(x).__name__, str(x.dtype), x.shape
    return "number" if isinstance(x, (int, float, np.number, np.ndarray)) and type(x) is not bool else type(x).__name__


def same(got, want, rtol=1e-12):
    """Equal structures, of leaves of the same kinds with the same numbers but for rounding."""
    got, structure = mg.tree_flatten(got)
    want, expected = mg.tree_flatten(want)
    assert structure == expected
    for x, y in zip(got, want, strict=True):
        assert kind(x) == kind(y)
        if isinstance(y, (Value, Tensor, np.ndarray, np.number, float, int)):
            np.testing.assert_allclose(getattr(x, "_value", x), getattr(y, "_value", y), rtol, 1e-14)
        else:
            assert x == y


def itself(f):
    return f


def message(f, *args):
    """What an attempt ends in."""
    try:
        return f(*args)
    except (ArithmeticError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


# ---- what comes out

RESULTS = {
    "one": lambda x: x * 2.0, "argument": itself, "tuple": lambda x: (x, x * 2.0), "of one": lambda x: (x * 2.0,),
    "named tuple": lambda x: Point(x * 2.0, y=x), "None": lambda x: None,
    "dict": lambda x: {"b": x * 2.0, 1: x, None: x + 1.0}, "OrderedDict": lambda x: OrderedDict(b=x * 2.0, a=x),
    "nested": lambda x: [{"a": (x * 2.0, None, "text", True, [])}, (), Point({}, [x])], "nothing": lambda x: (),
    "text": lambda x: "text", "constant": lambda x: (5.5, x * 2.0), "array": lambda x: (np.arange(3.0), x * 2.0),
    "Value": lambda x: (Value(5.5), x * 2.0), "Tensor": lambda x: (Tensor([5.5, 1.0]), x * 2.0),
    "Tensor of one": lambda x: (Tensor([5.5]), x * 2.0), "the same": lambda x: (lambda y: (y, y, y * 1.0))(x * 2.0),
    "computed like": lambda x: [0.5 * k * x for k in range(12)], "stack": lambda x: mg.stack([x, x * 2.0]),
    "parts": lambda x: mg.unbind(mg.stack([x, x * 2.0])), "beside": lambda x: Value(2.0) * x,
    "of one number": lambda x: (mg.stack([x]), mg.stack([x]).sum(), mg.stack([mg.stack([x])]) * 2.0),
}  # fmt: skip
GIVEN = {
    "float": lambda: 3.0, "int": lambda: 3, "Value": lambda: Value(3.0), "0-d": lambda: Tensor(3.0, True),
    "Tensor": lambda: leaf(3.0, 4.0), "data": lambda: Tensor([3.0, 4.0]), "one number": lambda: leaf(3.0),
    "float32": lambda: leaf(3.0, 4.0, dtype=np.float32), "array": lambda: array(3.0, 4.0),
    "float32 array": lambda: array(3.0, 4.0, dtype=np.float32), "integers": lambda: array(3, 4, dtype=int),
    "booleans": lambda: array(True, False, dtype=bool), "empty": lambda: np.zeros((0, 2)),
}  # fmt: skip


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("f", RESULTS.values(), ids=RESULTS)
def test_results_are_of_the_kinds_of_the_function(f, given):
    jitted = mg.jit(f)
    for _ in range(2):
        same(jitted(given()), f(given()))


@pytest.mark.parametrize("x", [3, 3.0, True, "a", np.float32(3), array(1.0), Value(3.0), Tensor([3.0, 4.0])], ids=repr)
def test_numbers_stay_plain_and_what_goes_in_comes_out_itself(x):
    w, f = Value(2.0), mg.jit(lambda x, k: {"x": x, "w": w, "numbers": [k * 2.0, mg.exp(-k), np.exp(-k), k - k]})
    for k in (3.0, 3, 10**20, np.float32(3), np.int64(3)):
        out = f(x, k)
        assert out["x"] is x
        assert out["w"] is w
        assert [type(y) for y in out["numbers"]] == [float] * 4


@pytest.mark.parametrize("n", [3, LARGE])
def test_results_that_are_equal_or_constant_are_arrays_of_their_own(n):
    f = mg.jit(lambda x: (x * 2.0, x * 2.0, x * 2.0 + 0.0, 1.0 * (x * 2.0), np.full(n, 2.0), np.full(n, 2.0)))
    for _ in range(2):
        for k in range(6):
            out = f(np.ones(n))
            out[k][:] = 7.0
            assert [y[0] for y in out] == [7.0 if i == k else 2.0 for i in range(6)]


OWN = {
    "exp": lambda w, x: mg.exp(w * x * 1e-3), "two": lambda w, x: (w * x + w, mg.exp(w * 1e-3) * x),
    "views": lambda w, x: (w.reshape(-1, 1) * 2.0, w[::2] * x[::2], w[1:] * 1.0),
    "transposed": lambda w, x: ((w.reshape(2, -1) * x.reshape(2, -1)).T, (w * x).reshape(2, -1)),
    "identities": lambda w, x: (w * 1.0, w + 0.0, x * 1.0, -w), "taken": lambda w, x: (w[[0, 1, 1]], w[[1, 0]] * x[:2]),
    "joined": lambda w, x: (mg.concatenate([w, x]), mg.stack([w, x * 2.0])),
    "products": lambda w, x: (w.reshape(2, -1) @ x.reshape(-1, 2), x.reshape(-1, 2) * w.sum()),
    "sums": lambda w, x: (w.reshape(2, -1).sum(axis=0), w + x.sum(), (w * x).sum()),
    "hinge": lambda w, x: (mg.relu(w - 1.5), mg.maximum(w, x)),
    "gradient": lambda w, x: mg.value_and_grad(lambda w: ((w * x) ** 2).sum())(w),
}  # fmt: skip


@pytest.mark.parametrize("kinds", ["TA", "AA", "TT"])
@pytest.mark.parametrize("n", [4, LARGE])
@pytest.mark.parametrize("f", OWN.values(), ids=OWN)
def test_nothing_that_came_out_is_changed_by_later_calls_nor_changes_them(f, n, kinds):
    def run(f, k):
        numbers = np.linspace(1, 2, n) + k, np.linspace(0, 3, n) * (k + 1)
        args = [Tensor(x, requires_grad=True) if kind == "T" else x for x, kind in zip(numbers, kinds, strict=True)]
        out = mg.tree_leaves(f(*args))
        for y in out:
            if isinstance(y, Tensor) and y.requires_grad:
                (y * y).sum().backward()
        return [y.data if isinstance(y, Tensor) else y for y in out], [x.grad for x in args if isinstance(x, Tensor)]

    jitted, kept = mg.jit(f), []
    for k in range(6):
        got = run(jitted, k)
        same(got, run(f, k), 1e-9)
        if k % 2:
            kept.append((got, copy.deepcopy(got)))
        else:  # as if the caller reused what it was given
            for x in mg.tree_leaves(got):
                if isinstance(x, np.ndarray) and x.flags.writeable:
                    x.fill(math.nan)
        del got
        for earlier, as_it_was in kept:
            same(earlier, as_it_was, 0.0)


HELD = {
    "itself": itself, "slice": lambda x: x[5:], "every other": lambda x: x[::-2], "iterator": lambda x: x.flat,
    "view of a view": lambda x: x[1:].reshape(1, -1).T, "other dtype": lambda x: x.view(np.int64),
    "field": lambda x: x.view(complex).imag, "memoryview": lambda x: memoryview(x)[10:20], "dlpack": np.from_dlpack,
    "strides": lambda x: np.lib.stride_tricks.as_strided(x, (3,), (8,)), "buffer": lambda x: np.frombuffer(x, np.int64),
    "method": lambda x: x.copy, "closure": lambda x: lambda: x, "list": lambda x: [x],
    "partial": lambda x: partial(itself, x),
}  # fmt: skip


@pytest.mark.parametrize("hold", HELD.values(), ids=HELD)
def test_a_large_result_is_not_recycled_while_somebody_sees_it(hold):
    def seen(held):
        return np.array(held() if callable(held) else held).ravel()[:3].tolist()

    f = mg.jit(lambda x: x + 1.0)
    kept = [hold(f(np.full(LARGE, float(k)))) for k in range(5)]
    for k in range(5):
        f(np.full(LARGE, 100.0 + k))
    assert [seen(x) for x in kept] == [seen(hold(np.full(LARGE, k + 1.0))) for k in range(5)]


@pytest.mark.parametrize("n", [3, LARGE])
def test_threads_that_call_one_function_do_not_meet(n):
    w, weights = Tensor(np.ones(n), requires_grad=True), [Value(0.1 * i) for i in range(20)]
    f = mg.jit(lambda x, k: (w * x, x * 2.0, sum(mg.sin(w * k) for w in weights)))  # traced in all threads at once
    start, interval = Barrier(4), sys.getswitchinterval()

    def run(k):
        start.wait()
        held = []
        for i in range(20):
            x = 10.0 * k + i
            held = [*held[-2:], (x, *f(np.full(n, x), x))]
            for x, y, z, s in held:
                assert (y.data[0], y.data[-1], z[0], z[-1]) == (x, x, 2.0 * x, 2.0 * x)
                assert s.data == pytest.approx(sum(math.sin(0.1 * i * x) for i in range(20)), rel=1e-9, abs=1e-12)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(run, range(4))) == [None] * 4
    finally:
        sys.setswitchinterval(interval)


def test_another_thread_does_what_it_likes_while_this_one_traces():
    asked, done, found = Event(), Event(), []

    def eager_code():
        asked.wait()
        x = Value(3.0)
        (x * x if x > 1.0 else x).backward()
        x.data = 5.0
        found.extend([x.grad, x.data, random.random()])
        done.set()

    random.seed(0)
    want = [6.0, 5.0, random.random(), random.random()]
    random.seed(0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(eager_code)
        assert mg.jit(lambda x: (asked.set(), done.wait(9.0), x * 2.0)[2])(1.0) == 2.0
    assert [*found, random.random()] == want


# ---- one node


def graph(jit):
    w, x = Value(2.0, "w"), Value(3.0, "x")
    a, b = jit(lambda x: (sum(mg.tanh(w * x * k) for k in range(5)), w + x))(x)
    return a * b


def test_a_call_is_one_node_of_which_results_are_parts():
    f = graph(mg.jit)
    assert [node.op for node in topological_order(f)] == ["", "", "<lambda>", "[0]", "[1]", "×"]
    assert [node.name for node in f.inputs[0].inputs[0].inputs] == ["x", "w"]
    assert [step.node.op for step in mg.backward_steps(f)][-1] == "<lambda>"
    found, want = ({x.name: g for x, g in mg.adjoints(y).items() if not x.op} for y in (f, graph(itself)))
    same(found, {name: want[name] for name in found}, 1e-10)
    assert all(node.grad is None for node in topological_order(f))


def test_expanded_and_saved_it_is_the_graph_of_the_function():
    assert viz.draw(graph(mg.jit), expand=True).source == viz.draw(graph(itself)).source
    assert viz.draw(graph(mg.jit)).source.count("->") < 15 < viz.draw(graph(itself)).source.count("->")
    assert mg.to_json(graph(mg.jit)) == mg.to_json(graph(itself))


@pytest.mark.parametrize(("f", "x", "says"), [
    (lambda x: mg.exp(x) / mg.sin(x + 3.0), 1.0, "straight-line Python"),
    (lambda x: mg.exp(x).sum(), array(1.0, 2.0), "arrays as they were written"),
    (lambda xs: sum(mg.exp(x) * x for x in xs), [1.0] * 40, "on numbers became"),
    (lambda x: mg.exp(x * 1e3), Value(1.0), "in the function itself"),
])  # fmt: skip
def test_explain_says_how_it_runs_and_why(f, x, says):
    jitted = mg.jit(f)
    assert jitted.explain() == "<lambda>, never called"
    for _ in range(2):
        same(jitted(x), f(x))
    assert "<lambda>, traced once\n" in jitted.explain()
    assert says in jitted.explain()


# ---- when it is traced again, and that nothing is stale

V, A, T, SPACE, SETTINGS = Value, array, Tensor, types.SimpleNamespace, types.ModuleType("settings")
TRACES = {  # calls, and how many traces they make
    "numbers": ([(1.0,), (2.0,), (3,), (np.float32(1.0),), (np.int64(1),)], 1), "text": ([("a",), ("b",)] * 2, 2),
    "Values": ([(V(1.0),), (V(2.0, "named"),), (V(1.0) * 2.0,)], 1), "bool": ([(True,), (False,), (1,), (0,)] * 2, 3),
    "arrays": ([(A(1.0, 2.0),), (A(1.0, 2.0, 3.0, 4.0)[::2],), (np.broadcast_to(1.0, 2),)], 1),
    "Tensors": ([(T([2.0], requires_grad=True),), (T([2.0], True, "named"),), (T([2.0], True) * 2.0,)], 1),
    "kinds": ([(1.0,), (V(1.0),), (A(1.0),), (T([1.0]),)] * 2, 4), "None": ([([1.0, None],), ([None, 1.0],)] * 2, 2),
    "shapes": ([(A(1.0),), (A(1.0, 2.0),), (np.ones((2, 1)),), (np.ones((1, 2)),)] * 2, 4),
    "dtypes": ([(np.ones(2, dtype),) for dtype in (float, np.float32, int, bool)] * 2, 4),
    "lengths": ([([1.0, 2.0],), ([1.0],), ([],), ([3.0, 4.0],)], 3), "arguments": ([(1.0,), (1.0, 2.0)] * 2, 2),
    "containers": ([([1.0],), ((1.0,),), ({"a": 1.0},), ({"b": 1.0},), (Point(1.0, 2.0),)] * 2, 5),
    "more than are kept": ([(np.ones(k),) for k in range(70)], 70),
}  # fmt: skip


@pytest.mark.parametrize(("calls", "count"), TRACES.values(), ids=TRACES)
def test_each_structure_shape_dtype_and_kind_is_traced_once(calls, count):
    runs = itertools.count()
    f = mg.jit(lambda *args: (next(runs), [x * 2.0 for x in mg.tree_leaves(args) if not isinstance(x, (str, bool))])[1])
    for args in calls:
        f(*args)
    assert next(runs) == count
    assert f"traced {count} times" in f.explain() or count == 1


def test_what_the_function_itself_changes_does_not_trace_again():
    runs, memo = [], {}
    f = mg.jit(lambda x: (runs.append(1), memo.setdefault(len(runs), 1.0), x * 2.0)[2])
    assert [f(1.0), f(2.0), f(3.0), len(runs), len(memo)] == [2.0, 4.0, 6.0, 1, 1]


def signed(x, k):
    return x * (math.copysign(2.0, k) if isinstance(k, float) else 3.0 if isinstance(k, bool) else 5.0)


STATICS = {  # a function of them, some of them, and a change of the last one in its place
    "kinds": (signed, [1, True, 1.0, np.True_], None), "signs of zero": (signed, [0.0, -0.0], None),
    "in tuples": (lambda x, k: signed(x, k[0]), [(1,), (True,), (1.0,), (0.0,), (-0.0,)], None),
    "nan": (signed, [math.nan, math.nan], None), "text": (lambda x, k: x * len(k), ["a", "ab", "a"], None),
    "functions": (lambda x, k: k(x), [mg.exp, mg.sin], None),
    "lists": (lambda x, k: x * k[0], [[2.0], [3.0], [2.0]], lambda k: k.__setitem__(0, 5.0)),
    "dicts": (lambda x, k: x * k["a"], [{"a": 2.0}, {"a": 3.0}], lambda k: k.update(a=5.0)),
    "sets": (lambda x, k: x * len(k), [{1}, {1, 2}], lambda k: k.add(3)),
    "arrays": (lambda x, k: x * k[-1], [np.ones(5000), np.arange(5000.0)], lambda k: k.fill(5.0)),
}  # fmt: skip


@pytest.mark.parametrize(("f", "values", "change"), STATICS.values(), ids=STATICS)
def test_another_static_argument_makes_another_program(f, values, change):
    values, jitted = copy.deepcopy(values), mg.jit(f, static_argnums=1)
    assert [jitted(1.0, k) for k in values * 2] == [f(1.0, k) for k in values * 2]
    if change:
        change(values[-1])
        assert jitted(1.0, values[-1]) == f(1.0, values[-1])


@pytest.mark.parametrize("options", [{"static_argnums": 1}, {"static_argnums": (-1,)}, {"static_argnames": ["n"]}])
def test_static_arguments_are_named_by_place_or_name(options):
    def f(x, n):
        return sum([x] * n)

    for jitted in (mg.jit(f, **options), mg.jit(**options)(f)):
        assert jitted(2.0, 3) == jitted(2.0, n=3) == jitted(n=3, x=2.0) == 6.0
    with pytest.raises(TraceError, match="static_arg"):
        mg.jit(f)(2.0, 3)


@pytest.mark.parametrize(
    "options", [{"static_argnums": x} for x in (3, "a", 1.0)] + [{"static_argnames": x} for x in ("n", 3, [3])]
)
def test_static_arguments_that_are_none_are_refused(options):
    with pytest.raises(InputError, match="static_arg"):
        mg.jit(lambda x: x, **options)
    assert mg.jit(lambda *args: sum([args[0]] * args[1]), static_argnums=1)(2.0, 3) == 6.0


K = 2.0


def times(x):
    return x * K


class Model:
    """Methods of every kind, which read attributes of every kind."""

    def __init__(self, w=2.0):
        self.w, self.scale = Value(w), 3.0

    def __call__(self, x):
        return self.w * x * self.scale * K

    def other(self, x):
        return times(x)

    @mg.jit
    def go(self, x, n=2):
        """Its text."""
        return self.w * x * n


class Net(nn.Module):
    def forward(self, x):
        return self.other(x)

    def other(self, x):
        return times(x) * (2.0 if self.training else 1.0)


def set_k(_):
    globals()["K"] = 7.0


STALE = {  # what is around, how it changes, and the function of it
    "Value": (lambda: V(2.0), lambda n: setattr(n, "data", 5.0), lambda n: lambda x: n * x),
    "Tensor": (lambda: leaf(2.0), lambda n: setattr(n, "data", A(5.0)), lambda n: lambda x: n * x),
    "Value in list": (lambda: [V(2.0)], lambda n: n.__setitem__(0, V(5.0)), lambda n: lambda x: n[0] * x),
    "longer list": (lambda: [V(2.0)], lambda n: n.append(V(5.0)), lambda n: lambda x: sum(n) * x),
    "number in dict": (lambda: {"a": 2.0}, lambda n: n.update(a=5.0), lambda n: lambda x: n["a"] * x),
    "attribute": (lambda: SPACE(a=2.0), lambda n: setattr(n, "a", 5.0), lambda n: lambda x: n.a * x),
    "Value as attribute": (lambda: SPACE(a=V(2.0)), lambda n: setattr(n, "a", V(5.0)), lambda n: lambda x: n.a * x),
    "settings": (lambda: setattr(SETTINGS, "a", 2.0), lambda n: setattr(SETTINGS, "a", 5.0),
                 lambda n: lambda x: SETTINGS.a * x),
    "self": (Model, lambda n: setattr(n, "scale", 5.0), itself),
    "a method": (Model, lambda n: setattr(n, "scale", 5.0), lambda n: n.__call__),
    "weight": (lambda: nn.Linear(1, 1), lambda n: setattr(n, "weight", leaf([5.0])), lambda n: lambda x: n(x * A(1.0))),
    "layer": (lambda: nn.Sequential(nn.ReLU(), nn.Tanh()), lambda n: n.__setitem__(1, nn.ReLU()),
              lambda n: lambda x: n(A(2.0) * x)),
    "eval": (lambda: nn.Sequential(nn.Tanh(), Net()), lambda n: n.eval(), itself),
    "eval, not called": (nn.Tanh, lambda n: n.eval(), lambda n: lambda x: x * 2.0 if n.training else x),
    "global": (lambda: None, set_k, lambda n: times),
    "global of a function": (lambda: None, set_k, lambda n: lambda x: times(x)),
    "global of a decorated one": (lambda: None, set_k, lambda n: (lambda f: lambda *args: f(*args))(times)),
    "global of an argument of one": (lambda: None, set_k, lambda n: partial(lambda f, x: f(x), times)),
    "global of a default": (lambda: None, set_k, lambda n: lambda x, f=times: f(x)),
    "global of a callable": (Model, set_k, itself),
    "global of another method": (Model, set_k, lambda n: n.other),
    "global of a module inside": (Net, set_k, lambda n: lambda x: n(x)),
    "global of a jitted one": (lambda: mg.jit(times), set_k, lambda n: lambda x: n(x)),
    "global of a gradient": (lambda: None, set_k, lambda n: mg.grad(times)),
    "global of vmap": (lambda: None, set_k, lambda n: lambda x: mg.vmap(times)(mg.stack([x]))),
    "global of an argument": (lambda: times, set_k, lambda n: partial(mg.jit(lambda f, x: f(x)), n)),
    "function in a dict": (lambda: {"f": times}, lambda n: n.update(f=mg.exp), lambda n: lambda x: n["f"](x)),
}  # fmt: skip


@pytest.fixture(autouse=True)
def put_back():
    yield
    globals()["K"] = 2.0


@pytest.mark.parametrize(("around", "change", "of"), STALE.values(), ids=STALE)
def test_what_changes_around_the_function_is_seen(around, change, of):
    n = around()
    f = of(n)
    jitted, before = mg.jit(f), f(1.0)
    same(jitted(1.0), before)
    change(n)
    same(jitted(1.0), f(1.0))
    with pytest.raises(AssertionError):  # so that the case is one
        same(f(1.0), before)


def test_explain_says_what_was_changed_and_how_often():
    k, f, found = 1.0, mg.jit(lambda x: times(x) * k), []
    for k in (1.0, 2.0, 3.0):  # noqa: B007
        found.append(f(1.0))
    set_k(None)
    assert [*found, f(1.0)] == [2.0, 4.0, 6.0, 21.0]
    for text in ("traced 4 times", "; 1 call; ", "k was set anew: 2 times", "K was set anew: 1 time"):
        assert text in f.explain()


def test_a_name_that_the_function_reads_of_something_else_does_not_trace_again():
    names = {"mg": mg}
    exec("def f(x):\n    return x.mean() + (x * x).sum()\n", names)
    f = mg.jit(names["f"])
    for k in range(4):
        names["mean"] = names["sum"] = names["x"] = f(np.full(3, float(k)))
    assert "traced once" in f.explain()


def test_a_constant_array_that_is_changed_is_as_it_was_traced_in_all_places():
    x, found = array(1.0, 2.0), []
    f = mg.jit(lambda w: mg.value_and_grad(lambda w: (mg.exp(w * x) * np.log(x) + w * x).sum())(w))
    for _ in range(2):
        found.append(f(2.0))
        x.fill(5.0)
    assert found[0] == found[1]


# ---- backward


class Scenarios:
    """What is done with a function under `jit` or without it, and what is seen of it."""

    def calls_of_calls_inside_of_calls_together_again_and_in_any_order(self, jit):
        found = []
        for n in (2, LARGE):
            w = Tensor(np.linspace(1, 2, n), requires_grad=True)
            f = jit(lambda x, w=w, n=n: (mg.sin(w * x) ** 2).sum() / n)
            g = jit(lambda x, w=w, f=f: f(x) * f(x + 1.0) + w[0])
            (f(1.0) + f(2.0)).backward()
            outs = [f(float(k)) for k in range(5)] + [f(g(g(f(w * 2.0))))]
            for k in (3, 0, 4, 5, 4, 1, 5, 2, 0):
                found += [w.grad, w.grad.copy()]
                outs[k].backward()
            found += [w.grad, w.grad, *[out.grad for out in outs]]
        return found  # with what was in w.grad as it is by now, and as it was

    def keywords_defaults_and_any_number_of_arguments(self, jit):
        f = jit(lambda x, *rest, k=2.0, how="a", **more: x * k + sum(rest) + (how == "a") * len(more))
        calls = [f(1.0), f(1.0, k=3.0), f(1.0, how="b"), f(how="a", x=2.0, k=5), f(1.0, 2.0, 3.0), f(1.0, z=1.0)]
        return [*calls, f(1.0), f(3.0, 4.0, 5.0), f(2.0, y=1.0, z=2.0), message(lambda: jit(lambda: Value(1.0))())]

    def leaves_are_frozen_and_thawed_between_calls(self, jit):
        w, v, x, found = leaf(2.0), leaf(3.0), leaf(1.0), []
        f = jit(lambda x: ((w * v * x).sum(), v * 1.0, x.detach() * 2.0, x * 3.0 if x.requires_grad else x * 4.0))
        for w.requires_grad, v.requires_grad in ((True, True), (False, True), (True, False), (False, False)):
            for x in (Tensor([2.0]), leaf(1.0)):
                w.grad = v.grad = None
                out = f(x)
                if out[0].requires_grad:
                    out[0].backward()
                found.append((out, [y.requires_grad for y in out], w.grad, v.grad, x.grad))
        return found

    def results_that_are_used_often_in_part_or_not_at_all(self, jit):
        w, v = Value(2.0), leaf(1.0, 2.0)
        a, b, c, d = jit(lambda x: (w * x, w * w * x, mg.exp(w), v * w))(3.0)
        (a * a + mg.sin(a) * b + d.sum()).backward()
        found = w.grad, v.grad, a.grad, b.grad, c.grad, d.grad
        c.backward(3.0)
        d.backward(array(1.0, 10.0))
        for gradient in ((), (np.ones(3),)):
            with pytest.raises(ShapeError):
                d.backward(*gradient)
        return found, w.grad, v.grad, c.grad, d.grad

    def arguments_that_are_the_same_or_do_not_matter_and_nodes_that_are_computed(self, jit):
        x, y, z, w = Value(3.0), Value(4.0), leaf(5.0), leaf(1.0, 2.0)
        jit(lambda a, b, y, z: a * b * x + 0.0 * z.sum())(x, x, y, z).backward()
        jit(lambda a, rest: (a * rest[0] * w).sum())(w, [w, w]).backward()
        xs = [Value(float(i)) if i % 3 else float(i) for i in range(40)]
        h, k, g = x * x, w * w, jit(lambda xs: sum(mg.tanh(0.1 * x) * x for x in xs))
        f = jit(lambda x: (h * k * x).sum() + g(xs))
        g(xs).backward()
        g(xs).backward()
        (f(2.0) * f(3.0)).backward()
        return x.grad, y.grad, z.grad, w.grad, h.grad, k.grad, [x.grad for x in xs if isinstance(x, Value)]

    def arrays_that_went_in_or_came_out_may_be_changed_before_backward(self, jit):
        found = []
        for n in (2, LARGE):
            w, v, x, outs = Tensor(np.arange(float(n)), requires_grad=True), Value(2.0), np.ones(n), []
            f = jit(lambda x, w=w, v=v: (mg.exp(x), (w * x * v).sum() + (v * mg.exp(x)).sum()))
            for k in range(3):
                x[:] = k + 1.0
                e, out = f(x)
                e[:] = math.nan
                outs.append(out)
            x[:] = math.nan
            sum(outs).backward()
            found.append((w.grad, v.grad))
        return found

    def hooks_on_results_and_leaves(self, jit):
        calls, x, w = [], Value(3.0), leaf(1.0, 2.0)
        a, b = jit(lambda x: ((x * w).sum() * x, x + 1.0))(x)
        hook = a.register_hook(lambda g: calls.append(g))
        b.register_hook(lambda g: 2.0 * g)
        w.register_hook(lambda g: g.clip(-1.0, 1.0))
        x.register_hook(lambda g: g + 100.0)
        (a * b).backward()
        hook.remove()
        (a * b).backward()
        return calls, x.grad, w.grad, a.grad, b.grad

    def no_grad_data_and_detach_let_no_gradient_through(self, jit):
        w, v = Value(2.0), leaf(1.0, 2.0)

        @jit
        def f(x):
            with mg.no_grad():
                h = w * x
            return h * w, (v * h * v.detach() * v.data * w.data).sum() + w.detach()

        sum(f(3.0)).backward()
        with mg.no_grad():
            a, b = f(3.0)
        return a.inputs, b.inputs, a.op, b.requires_grad, mg.no_grad()(f)(3.0)[0].inputs, w.grad, v.grad

    def derivatives_of_every_kind_through_jit_and_inside_of_it(self, jit):
        x, w, found = Value(1.5), leaf(1.0, 2.0), []
        h = jit(lambda x: mg.sin(x) * (w * w).sum() * x)
        for f in (h, lambda x: h(x)):
            mg.grad(f)(x).backward()
            jit(mg.grad(f))(x).backward()
            for g in (mg.value_and_grad, lambda f: mg.grad(mg.grad(mg.grad(f))), mg.jacobian, mg.hessian,
                      mg.hessian_diagonal, lambda f: lambda x: (mg.jvp(mg.grad(f), (x,), (2.0,)), mg.hvp(f, x, 2.0)),
                      lambda f: mg.grad(lambda y: mg.vjp(f, y)[1](y)[0])):  # fmt: skip
                found += [g(f)(1.5), jit(g(f))(1.5)]
        mg.check_grads(h, (1.0,))
        with pytest.raises(GradCheckError):
            mg.check_grads(jit(lambda x: x * x.data), (Value(1.0),))
        return found, x.grad, w.grad

    def partials_callables_and_recursion(self, jit):
        w, model = Value(2.0), Model()
        f = jit(partial(lambda a, b, c=0.0: a * b + c, w, c=1.0))
        y = f(3.0) + partial(jit(lambda a, b: a * b), w)(2.0) + jit(model)(3.0)
        y.backward()
        w.data = 5.0
        rising = jit(lambda x, n: x if n == "" else rising(x, n[1:]) * (x + len(n)))
        return y, w.grad, model.w.grad, f(3.0), rising(2.0, "five"), rising(w, "four")

    def training_of_modules(self, jit):
        mg.manual_seed(1)
        first, x, found = nn.Linear(3, 4), np.linspace(-1, 1, 12).reshape(4, 3), []
        for model in (nn.MLP(3, [4, 1]), nn.Sequential(first, nn.ReLU(), nn.LayerNorm(4), nn.Residual(nn.Linear(4, 4))),
                      nn.Sequential(first, nn.BatchNorm1d(4), nn.Dropout(0.5)).eval()):  # fmt: skip
            loss = jit(lambda x, model=model: (model(x) ** 2).mean())
            for steps in (nn.optim.SGD(model.parameters(), 0.1, momentum=0.9), nn.optim.Adam(model.parameters(), 0.01)):
                for k in range(3):
                    found.append(loss(x * (k + 1)))
                    steps.zero_grad()
                    found[-1].backward()
                    steps.step()
            found.append(jit(model)(x))
        return found

    def the_demo_of_micrograd(self, jit):
        mg.manual_seed(2)
        model, found = nn.scalar.MLP(2, [4, 1]), []
        points, labels = [[0.5, 1.0], [-1.0, 0.3], [0.2, -0.7], [1.5, 1.0]], [1.0, -1.0, 1.0, -1.0]

        @jit
        def loss(points, labels):
            scores = [model(p) for p in points]
            margins = sum((1.0 + -y * s).relu() for y, s in zip(labels, scores, strict=True)) * (1.0 / len(labels))
            hits = [(y > 0) == (s.data > 0) for y, s in zip(labels, scores, strict=True)]
            return margins + 1e-4 * sum(p * p for p in model.parameters()), sum(hits) / len(hits)

        for k in range(8):
            found.append(loss(points, labels))
            model.zero_grad()
            found[-1][0].backward()
            for p in model.parameters():
                p.data -= (1.0 - 0.9 * k / 8) * p.grad
        return found

    def dtypes_and_layouts_of_every_kind(self, jit):
        w, v, x = leaf([1.0, 2.0], [3.0, 4.0]), leaf(1.0, 2.0, dtype=np.float32), np.arange(12.0).reshape(3, 4)
        f, found = jit(lambda x: (w @ x, x * 2.0, x.T + 0.5, x.reshape(-1) * 1.0, (v * 2.0).sum(), v * w)), []
        for y in (x[:2, ::2], x[1:, 2:], x[1::-1, 3:1:-1], np.asfortranarray(x[:2, :2]), x.T[:2, :2], x[:2, :0],
                  np.broadcast_to(5.0, (2, 2)), x[:2, :2].astype(">f8"), x[:2].astype(np.float32)):  # fmt: skip
            found += [f(y), f(y.view(np.recarray))[0]]
            (found[-1].sum() + found[-2][4]).backward()
        return found, w.grad, v.grad, jit(lambda x: x * x + 0.5)(array(1, 2, dtype=np.float16))


@pytest.mark.parametrize("name", [name for name in vars(Scenarios) if name[0] != "_"])
def test_under_jit_all_is_as_without(name):
    scenario = getattr(Scenarios(), name)
    same(scenario(mg.jit), scenario(itself), 1e-10)


def test_an_anomaly_is_found_in_a_call_and_in_its_backward_pass():
    x = leaf(0.0, 1.0)
    y = mg.jit(lambda x: mg.sqrt(x).sum())(x)
    with mg.detect_anomaly(), np.errstate(all="ignore"):
        for run, says in ((y.backward, "inf"), (lambda: mg.jit(mg.log)(x), "log")):
            with pytest.raises(AnomalyError, match=says):
                run()
    assert x.grad is None


W = Value(0.7)


def test_methods_of_every_kind():
    a, b = Model(2.0), Model(5.0)
    a.go(3.0).backward()
    assert (a.w.grad, b.go(3.0).data, a.go(x=1.0, n=1).data, Model.go(a, 2.0).data) == (6.0, 30.0, 2.0, 8.0)
    assert (mg.jit(a.other)(1.0), mg.jit(b)(1.0).data) == (2.0, 30.0)
    assert (Model.go.__name__, Model.go.__doc__, repr(Model.go)) == ("go", "Its text.", "<Jitted of go>")


# ---- copies, memory, errors


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_jitted_function_is_one(again):
    f = mg.jit(times)
    assert again(f).explain() == "times, never called"
    assert (f(1.0), again(f)(3.0), again(SPACE(f=f)).f(3.0)) == (2.0, 6.0, 6.0)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("after", [itself, lambda y: y * 2.0, lambda y: (y * y).backward() or y])
def test_a_copy_of_a_result_is_a_graph_of_its_own(after, again):
    def run(jit):
        w = Value(2.0, "w")
        y = after(jit(lambda x: mg.sin(w * x) + x)(Value(3.0, "x")))
        w.grad = None
        z = again(y)
        z.backward()
        return z.data, w.grad, sorted((x.name, x.grad) for x in topological_order(z) if not x.op)

    same(run(mg.jit), run(itself))


def test_a_result_and_what_it_keeps_are_freed_without_the_collector():
    w, x = Tensor(np.ones((100, 100)), requires_grad=True), np.ones((100, 100))
    f = mg.jit(lambda x: mg.tanh(mg.sin(w @ x) * w).sum())
    f(x).backward()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(3):
            f(x).backward()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            f(x).backward()
        assert tracemalloc.get_traced_memory()[0] - before < 40_000  # a single array has 80,000 bytes
        held = [f(x) for _ in range(30)]
        most = tracemalloc.get_traced_memory()[0] - before
        del held
        assert tracemalloc.get_traced_memory()[0] - before < most / 2
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("f", [lambda x: (x * x).sum(), lambda x: x.T * 2.0, lambda x: (W * x * x).sum(), Model.go])
def test_arguments_are_not_kept(f):
    jitted, alive = f if f is Model.go else mg.jit(f), []
    for _ in range(3):
        x = np.ones((100, 90))
        x = (Model(), 1.0) if f is Model.go else (x,)
        jitted(*x)
        alive.append(weakref.ref(x[0]))
        del x
    gc.collect()
    assert [x() is None for x in alive[:2]] == [True] * 2  # the last one may be seen by the buffers of its call


@pytest.mark.parametrize("error", [KeyError, ValueError, RuntimeError, KeyboardInterrupt])
def test_after_an_error_in_the_function_the_next_call_is_right(error):
    x, fails = Value(3.0), []

    def f(x, how):
        if fails:
            raise error(x * 2.0, fails.pop())
        return x * 2.0

    jitted = mg.jit(f)
    for how in "ab":
        fails.append(how)
        with pytest.raises(error):
            jitted(x, how)
        assert (gc.isenabled(), bool(x > 1.0), jitted(x, how).data, jitted(2.0, how)) == (True, True, 6.0, 4.0)


# ---- numbers

UNDEFINED = {  # a number where it is defined, and one where it, or its derivative, is not, or is extreme
    "log": (mg.log, 1.0, -1.0), "log of 0": (mg.log, 1.0, 0.0), "1 / x": (lambda x: 1.0 / x, 1.0, 0.0),
    "x / x": (lambda x: x * x / x, 1.0, 0.0), "x ** -1": (lambda x: x**-1, 1.0, 0.0), "sqrt": (mg.sqrt, 1.0, -1.0),
    "sqrt' of 0": (mg.sqrt, 1.0, 0.0), "x ** 0.5": (lambda x: x**0.5, 1.0, -1.0),
    "x ** 0.5 of 0": (lambda x: x**0.5, 1.0, 0.0), "x ** x": (lambda x: x**x, 1.0, -1.0),
    "x ** x of -1.5": (lambda x: x**x, 1.0, -1.5), "2 ** x": (lambda x: 2.0**x, 1.0, 5000.0),
    "exp": (mg.exp, 1.0, 1000.0), "sin of inf": (mg.sin, 1.0, math.inf), "x ** 2": (lambda x: x**2, 1.0, 1e200),
    "x ** 3": (lambda x: x**3, 1.0, -1e200), "log * 0": (lambda x: mg.log(x) * 0.0, 1.0, -1.0),
    "x - x": (lambda x: x - x, 1.0, math.inf), "x * 0": (lambda x: x * 0.0, 1.0, math.inf),
    "maximum": (lambda x: mg.maximum(x, 0.5), 1.0, math.nan), "relu": (mg.relu, 1.0, math.nan),
    "clip": (lambda x: mg.clip(x, -1.0, 1.0), 0.5, math.nan), "sigmoid": (mg.sigmoid, 1.0, -1e4),
    "log of sigmoid": (lambda x: mg.log(mg.sigmoid(x)), 1.0, -1e4), "silu": (mg.silu, 1.0, -math.inf),
    "abs": (abs, 1.0, 0.0), "where": (lambda x: mg.where(x > 0.0, mg.log(x), x), 1.0, -1.0),
    "tanh": (mg.tanh, 1.0, math.inf), "where of sqrt": (lambda x: mg.where(x > 0.0, mg.sqrt(x), 0.0), 1.0, 0.0),
}  # fmt: skip
WAYS = {  # the function of one Value, of many, or of an array; and what it is given, for a number
    "one": (itself, lambda x: Value(x)),
    "many": (lambda f: lambda xs: sum(map(f, xs)), lambda x: [Value(1.0) for _ in range(20)] + [Value(x)]),
    "array": (lambda f: lambda x: f(x).sum(), lambda x: leaf(0.5, x)),
}


@pytest.mark.parametrize(("over", "given"), WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("f", "good", "bad"), UNDEFINED.values(), ids=UNDEFINED)
def test_outside_of_the_domain_all_is_as_in_the_function(f, good, bad, over, given):
    def both_passes(f, x):
        xs = given(x)
        out = f(xs)
        out.backward()
        return out.data, [x.grad for x in mg.tree_leaves(xs)]

    f = over(f)
    jitted = mg.jit(f)
    with np.errstate(all="ignore"):
        for run, x in ((jitted, good), (jitted, bad), (mg.jit(f), bad), (jitted, good)):
            same(message(both_passes, run, x), message(both_passes, f, x))


@pytest.mark.parametrize("one", [1.0, np.float64(1.0)])
@pytest.mark.parametrize("f", [lambda x: 1.0 / (x + 1.0), mg.log, lambda x: x**0.5])
def test_outside_of_the_domain_the_first_call_of_numbers_is_as_later_ones(f, one):
    later = mg.jit(f)
    later(one)
    with np.errstate(all="ignore"):
        for jitted in (later, mg.jit(f)):
            same(message(jitted, -one), message(f, -one))


# ---- what cannot be traced: test_tracing.py has all of it

REFUSED = {
    "branch": lambda x: x if x > 0.0 else -x, "draw": lambda x: x * random.random(), "float": lambda x: math.exp(x),
    "write": lambda x: setattr(W, "data", 5.0), "backward": lambda x: (W * x).backward(), "int": lambda x: [0.0] * x,
}  # fmt: skip


@pytest.mark.parametrize("f", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_traced_names_the_line_in_every_call(f):
    jitted = mg.jit(f)
    for x in (2, Value(2.0), 2.0, 2):
        with pytest.raises(TraceError, match=f"line {f.__code__.co_firstlineno} of .*test_jit"):
            jitted(x)
    assert (W.data, W.grad) == (0.7, None)

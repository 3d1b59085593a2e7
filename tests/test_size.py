"""Graphs of any length are built, walked and freed; what they weigh, and that nothing keeps them."""

import gc
import tracemalloc

import pytest

import microgad as mg
from microgad import Value
from microgad.order import topological_order
from microgad.primitives import TABLE

LONG = 1_000_000
DEEP = 50_000  # fifty times what recursion would reach
WIDE = 100_000


def chain(n, start=None):
    x = Value(1.0) if start is None else start
    for _ in range(n):
        x = x + 1.0
    return x


def test_a_million_operations():
    x = Value(1.0)
    y = chain(LONG, x)
    y.backward()
    assert (y.data, x.grad) == (LONG + 1.0, 1.0)
    del y  # frees a million nodes, each of which holds the next
    assert (x + 1).data == 2.0


@pytest.fixture
def traced():
    gc.collect()
    tracemalloc.start()
    yield tracemalloc.get_traced_memory
    tracemalloc.stop()


@pytest.mark.parametrize("step", [lambda x: x * 1.001, lambda x: x + x, lambda x: x.relu(), lambda x: 1.5 - x])
def test_bytes_for_each_node(traced, step):
    n = 20_000
    leaf = x = Value(1e-300)  # doubled 20,000 times it overflows to inf, a float like any other
    before, _ = traced()
    for _ in range(n):
        x = step(x)
    after, _ = traced()
    assert (after - before) / n <= 115
    tracemalloc.reset_peak()
    x.backward()
    _, peak = traced()
    assert leaf.grad is not None
    assert (peak - before) / n <= 170


@pytest.fixture
def nodes_alive():
    """How many nodes there are beyond those at the start, with the garbage collector off."""
    gc.collect()
    gc.disable()
    try:

        def count():
            return sum(type(x) is Value for x in gc.get_objects())

        start = count()
        yield lambda: count() - start
    finally:
        gc.enable()


def everything(x):
    y = x * x + mg.exp(x) - x / 2.0
    y = TABLE["where"](y, mg.maximum(y, x), mg.tanh(y).relu())
    return y**2 + y


@pytest.mark.parametrize(
    "use",
    [
        lambda root: None,
        lambda root: root.backward(),
        lambda root: [root.backward(), root.backward()],
        lambda root: mg.adjoints(root),
        lambda root: topological_order(root),
        lambda root: repr(root) + root.op,
    ],
    ids=["nothing", "backward", "twice", "adjoints", "order", "repr"],
)
def test_a_graph_is_freed_with_its_root(nodes_alive, use):
    x = Value(0.5)
    root = everything(x)
    assert nodes_alive() > 10
    use(root)
    del root
    assert nodes_alive() == 1  # x


def test_a_node_outlives_what_is_made_of_it(nodes_alive):
    x = Value(0.5)
    shared = x * x
    first, second = everything(shared), shared + 1
    first.backward()
    del first
    assert nodes_alive() == 3
    second.backward()
    assert x.grad is not None


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_graphs_of_derivatives_are_freed(nodes_alive, order):
    f = everything
    for _ in range(order):
        f = mg.grad(f)
    assert type(f(0.5)) is float
    assert nodes_alive() == 0
    x = Value(0.5)
    got = f(x)
    assert nodes_alive() > 10
    got.backward()
    del got
    assert nodes_alive() == 1


def test_nested_derivatives_are_freed(nodes_alive):
    assert mg.grad(lambda x: x * mg.grad(lambda y: x * y)(2.0))(3.0) == 6.0
    assert nodes_alive() == 0


def test_failures_keep_nothing(nodes_alive):
    def fail():
        x = Value(0.0)
        with pytest.raises(mg.errors.DomainError):
            (everything(x) + x**0.5).backward()
        with pytest.raises(mg.errors.DomainError):
            mg.log(everything(x) * 0.0)

    fail()
    gc.collect()  # an exception and its frames are a cycle of Python's own
    assert nodes_alive() == 0


@pytest.mark.parametrize(
    ("step", "slope"),
    [
        pytest.param(lambda leaf, x: x + 1.0, 1.0, id="x + 1"),
        pytest.param(lambda leaf, x: 1.0 + x, 1.0, id="1 + x"),
        pytest.param(lambda leaf, x: leaf + x, DEEP + 1.0, id="leaf + x"),
        pytest.param(lambda leaf, x: x + leaf, DEEP + 1.0, id="x + leaf"),
        pytest.param(lambda leaf, x: (leaf * 1.0) + x, DEEP + 1.0, id="node + x"),
        pytest.param(lambda leaf, x: 1.0 - x, 1.0, id="1 - x"),
        pytest.param(lambda leaf, x: mg.maximum(x, x), 1.0, id="max(x, x)"),
        pytest.param(lambda leaf, x: -x, 1.0, id="-x"),
        pytest.param(lambda leaf, x: TABLE["where"](1.0, x, 0.0), 1.0, id="where(1, x, 0)"),
        pytest.param(lambda leaf, x: TABLE["where"](0.0, leaf, x), 1.0, id="where(0, leaf, x)"),
        pytest.param(lambda leaf, x: TABLE["where"](x, x, x), 1.0, id="where(x, x, x)"),
    ],
)
def test_deep_chains_of_every_shape(step, slope):
    leaf = x = Value(1.0)
    for _ in range(DEEP):
        x = step(leaf, x)
    order = topological_order(x)
    assert (order[0], order[-1]) == (leaf, x)
    assert len(order) in (DEEP + 1, 2 * DEEP + 1)
    x.backward()
    assert leaf.grad == slope
    assert mg.adjoints(x)[leaf] == slope
    del order, x


def test_a_derivative_through_a_deep_chain():
    assert mg.grad(lambda x: chain(DEEP, x) * x)(2.0) == DEEP + 4.0
    assert mg.grad(mg.grad(lambda x: chain(DEEP, x) * x))(2.0) == 2.0


def test_one_leaf_used_a_hundred_thousand_times():
    x = Value(3.0)
    total = sum(x * float(k) for k in range(WIDE))
    total.backward()
    assert x.grad == sum(range(WIDE))


def test_one_node_used_a_hundred_thousand_times():
    x = Value(3.0)
    y = x * 2.0
    total = Value(0.0)
    for _ in range(WIDE):
        total = total + y
    total.backward()
    assert (y.grad, x.grad) == (WIDE, 2.0 * WIDE)


def test_a_ladder_has_many_paths_and_few_nodes():
    x = Value(1.0)
    y = x
    for _ in range(1000):
        y = (y + y) * 0.5  # 2 ** 1000 paths
    y.backward()
    assert x.grad == 1.0
    assert len(topological_order(y)) == 2001

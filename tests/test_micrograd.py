"""What programs written for micrograd rely on, with no line of them changed but the import.

Where we differ on purpose is said, and tested, at the end.
"""

import contextlib
import io
import math
import random
import re

import graphviz
import pytest

from microgad import Value
from microgad.errors import InteriorError
from microgad.primitives import TABLE


@pytest.fixture
def peer():
    return pytest.importorskip("micrograd.engine").Value


# ---- programs


def expression(Value):  # noqa: N803
    """The operations of the example in micrograd's README, in its order."""
    a, b = Value(-4.0), Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    g.backward()
    return g, a, b


def check(Value):  # noqa: N803
    """What micrograd's own tests compare with PyTorch: a small number that is used again and again."""
    x = Value(-4.0)
    z = 2 * x + 2 + x
    q = z.relu() + z * x
    h = (z * z).relu()
    y = h + q + q * x
    y.backward()
    return y, x


def training(Value):  # noqa: N803
    """Three steps of a network of two layers in micrograd's idiom: lists of weights, p.grad = 0, p.data -= …"""
    uniform = random.Random(1337).uniform
    hidden = [([Value(uniform(-1, 1)) for _ in range(2)], Value(0)) for _ in range(4)]
    last = [Value(uniform(-1, 1)) for _ in range(4)], Value(0)
    parameters = [p for w, b in [*hidden, last] for p in [*w, b]]

    def neuron(w, b, x):
        return sum((wi * xi for wi, xi in zip(w, x, strict=True)), b)

    seen = []
    points = [([2.0, 3.0], 1), ([3.0, -1.0], -1), ([0.5, 1.0], -1), ([1.0, 1.0], 1)]
    for step in range(3):
        scores = [neuron(*last, [neuron(w, b, x).relu() for w, b in hidden]) for x, _ in points]
        losses = [(1 + -y * score).relu() for (_, y), score in zip(points, scores, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in parameters)
        for p in parameters:
            p.grad = 0
        loss.backward()
        for p in parameters:
            p.data -= (1.0 - 0.9 * step / 3) * p.grad
        accuracy = sum((y > 0) == (score.data > 0) for (_, y), score in zip(points, scores, strict=True))
        seen += [loss.data, accuracy, *(p.data for p in parameters), *(p.grad for p in parameters)]
    return seen


def test_the_example_of_the_readme():
    g, a, b = expression(Value)
    assert (f"{g.data:.4f}", f"{a.grad:.4f}", f"{b.grad:.4f}") == ("24.7041", "138.8338", "645.5773")
    assert ("%.4f" % g.data, "%.4f" % a.grad, "%.4f" % b.grad) == ("24.7041", "138.8338", "645.5773")  # noqa: UP031


@pytest.mark.parametrize("program", [expression, check])
def test_numbers_of_programs(peer, program):
    ours, theirs = program(Value), program(peer)
    assert [x.data for x in ours] == pytest.approx([x.data for x in theirs], rel=1e-14, abs=0.0)
    assert [x.grad for x in ours] == pytest.approx([x.grad for x in theirs], rel=1e-14, abs=0.0)


def test_a_training_loop(peer):
    assert training(Value) == pytest.approx(training(peer), rel=1e-13, abs=1e-15)


TEXT = """
from micrograd.engine import Value

a = Value(2.0)
b = Value(-3.0)
L = sum([a * b, a**2, (a - b).relu() / 2]) + 1
L.backward()
print(f'{L.data:.4f} {a.grad:.4f} {b.grad:.4f}', '%.3f' % L.data)
print(L, a)
for node in sorted(L._prev, key=lambda v: v.data):
    print(node.data, node._op, len(node._prev))
"""


def test_text_with_only_the_import_changed(peer):
    printed = []
    for text in (TEXT, TEXT.replace("micrograd.engine", "microgad")):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(text, {})
        printed.append(out.getvalue().splitlines())
    theirs, ours = printed
    assert ours[:2] == ["1.5000 1.5000 1.5000 1.500", "Value(data=1.5, grad=1.0) Value(data=2.0, grad=1.5)"]
    assert ours[0] == theirs[0]
    assert [re.sub(r"\.0\b", "", line) for line in ours[:2]] == [re.sub(r"\.0\b", "", line) for line in theirs[:2]]
    assert ours[2:] == ["0.5 + 2"]  # of L = 0.5 + 1 there the 1 is a node as well
    assert theirs[2:] == ["0.5 + 2", "1  0"]


# ---- what nodes have


def test_label():
    x = Value(2.0, label="x")
    y = x * 3
    y.label = "y"
    assert (x.label, y.label, (x + y).label) == ("x", "y", "")


def test_prev_and_op():
    x, y = Value(2.0), Value(3.0)
    assert set((x * y)._prev) == {x, y}
    assert set(x._prev) == set()
    assert [child is x for child in (x * x)._prev] == [True, True]  # and one when it is put into a set
    assert len(set((x * x)._prev)) == 1
    assert (x._op, (x + y)._op) == ("", "+")


def test_sums():
    values = [Value(1.0), Value(2.0), Value(4.0)]
    for total in (sum(values), sum(values, Value(0)), sum((v * 1 for v in values), 0.0)):
        total.backward()
        assert total.data == 7.0
    assert [v.grad for v in values] == [3.0, 3.0, 3.0]


def test_in_place_operators_make_new_nodes():
    x = a = Value(2.0)
    a += 1
    a *= 3
    a -= x
    a /= 2
    a **= 2
    assert (a.data, x.data) == (12.25, 2.0)
    a.backward()
    assert x.grad == 2 * 3.5 * (3 - 1) / 2


def test_gradients_are_reset_to_zero():
    x = Value(3.0)
    for _ in range(2):
        x.grad = 0
        (x * x).backward()
        assert x.grad == 6.0
    x.grad = 0.0
    x.data += -0.1 * x.grad
    assert x.data == 3.0


def test_a_walk_of_ones_own():
    """Programs of this kind have their own topological sort: a set of nodes that have been visited, and recursion."""
    x, y = Value(2.0), Value(2.0)  # equal numbers are different nodes
    root = (x * y + x).relu() * y
    order, visited = [], set()

    def build(v):
        if v not in visited:
            visited.add(v)
            for child in v._prev:
                build(child)
            order.append(v)

    build(root)
    assert len(order) == 6
    assert {id(v) for v in order[:2]} == {id(x), id(y)}
    assert order[-1] is root


# ---- drawing, in the way that programs for micrograd do it


def dot(root):
    """A box for every node with its number and its gradient, and a small one for the operation that gave it."""
    nodes, edges, todo = set(), set(), [root]
    while todo:
        node = todo.pop()
        if node not in nodes:
            nodes.add(node)
            edges |= {(child, node) for child in node._prev}
            todo += node._prev
    graph = graphviz.Digraph(graph_attr={"rankdir": "LR"})
    for node in nodes:
        name = str(id(node))
        graph.node(name, "{ %.4f | %.4f }" % (node.data, node.grad), shape="record")  # noqa: UP031
        if node._op:
            graph.node(name + node._op, node._op)
            graph.edge(name + node._op, name)
    for child, node in edges:
        graph.edge(str(id(child)), str(id(node)) + node._op)
    return graph


SPELLED = {"*": "×", "ReLU": "relu", "**2": "**"}  # operations have their sign in every drawing of ours


def without_ids(graph):
    """The lines in order: each id replaced by what its box shows and its operation, which no two nodes may share."""
    shown = dict(re.findall(r'^\t(\d+) \[label="\{ (.*?) \}" shape=record\]', graph.source, re.MULTILINE))
    ops = dict(re.findall(r'^\t"?(\d+)(\D\S*?)"? \[label=', graph.source, re.MULTILINE))
    names = {id: f"{text} | {SPELLED.get(ops.get(id), ops.get(id))}" for id, text in shown.items()}
    assert len(set(names.values())) == len(names)
    lines = []
    for line in graph.body:
        line = re.sub(
            r'"?(\d{6,})([^\d\s"][^\s"]*)?"?', lambda found: names[found[1]] + (" op" if found[2] else ""), line
        )
        label = re.search(r'label="?([^"\s{]+?)"?\]', line)
        lines.append(line.replace(label[0], f"label={SPELLED.get(label[1], label[1])}]") if label else line)
    return sorted(lines)


@pytest.mark.parametrize(
    "build",
    [
        lambda x, y: x + y,
        lambda x, y: (x * y).relu() + x,
        lambda x, y: (x * y + x) * (y + x * x),
        lambda x, y: ((x + y) ** 2 * y).relu() + x**2,
        lambda x, y: sum([x * y, y * y, x * x * y], x),
    ],
)
def test_the_same_drawing_up_to_ids(peer, build):
    drawn = []
    for kind in (Value, peer):
        x, y = kind(1.25), kind(3.5)
        root = build(x, y)
        root.backward()
        drawn.append(without_ids(dot(root)))
    ours, theirs = drawn
    assert ours == theirs
    assert sum("->" in line for line in ours) >= 3


def test_the_drawing_of_a_neuron():
    w, x, b = Value(-3.0, label="w"), Value(2.0, label="x"), Value(6.5, label="b")
    out = (w * x + b).relu()
    out.backward()
    lines = without_ids(dot(out))
    assert sum("shape=record" in line for line in lines) == 6
    assert sum("->" in line for line in lines) == 3 + 5
    assert [line.strip() for line in lines if "| +" in line] == [
        "-6.0000 | 1.0000 | × -> 0.5000 | 1.0000 | + op",
        "0.5000 | 1.0000 | + -> 0.5000 | 1.0000 | relu op",
        '0.5000 | 1.0000 | + [label="{ 0.5000 | 1.0000 }" shape=record]',
        "0.5000 | 1.0000 | + op -> 0.5000 | 1.0000 | +",
        "0.5000 | 1.0000 | + op [label=+]",
        "6.5000 | 1.0000 | None -> 0.5000 | 1.0000 | + op",
    ]


# ---- where we differ on purpose


def test_constants_are_numbers_and_not_nodes(peer):
    """In micrograd every constant is a node, a difference is a sum, and a quotient is a product."""
    for build, ours, theirs in (
        (lambda x: x * 2 + 1, 3, 5),
        (lambda x: -x, 2, 3),
        (lambda x: x - 3.0, 2, 3),
        (lambda x: x / 4, 2, 3),
        (lambda x: 4 / x, 2, 4),
    ):
        assert len(nodes_below(build(Value(2.0)))) == ours
        assert len(nodes_below(build(peer(2.0)))) == theirs


def nodes_below(root):
    found = {root}
    for child in root._prev:
        found |= nodes_below(child)
    return found


@pytest.mark.parametrize(("method", "name"), [("__mul__", "*"), ("__pow__", "**2"), ("__add__", "+")])
def test_operations_are_spelled_as_in_our_drawings(peer, method, name):
    assert getattr(peer(1.5), method)(2)._op == name
    assert getattr(Value(1.5), method)(2)._op == SPELLED.get(name, name)
    assert peer(1.5).relu()._op == "ReLU"
    assert Value(1.5).relu()._op == SPELLED["ReLU"]
    assert {row.label for row in TABLE.values()} >= set(SPELLED.values())


def test_a_gradient_is_none_until_there_is_one(peer):
    """There it is 0 from the beginning: a drawing of gradients before a backward pass has none to draw here."""
    assert peer(2.0).grad == 0
    x = Value(2.0)
    y = x * x
    with pytest.raises(TypeError, match="NoneType"):
        dot(y)
    y.backward()
    assert "4.0000 | 1.0000" in dot(y).source


def test_numbers_are_floats(peer):
    assert type(peer(2).data) is int
    assert type(Value(2).data) is float
    assert repr(Value(2)) == "Value(data=2.0, grad=None)"


def test_equality_is_of_numbers(peer):
    """There two nodes are equal where they are one; sets and dicts go by identity in both."""
    assert peer(2.0) != peer(2.0)
    assert Value(2.0) == Value(2.0)
    assert len({Value(2.0), Value(2.0)}) == 2
    assert Value(2.0) in [Value(2.0)]  # so a list is not the place to note what has been visited


def test_data_of_a_result_is_not_set(peer):
    y = peer(2.0) * 3
    y.data = 5.0
    z = Value(2.0) * 3
    with pytest.raises(InteriorError):
        z.data = 5.0


def test_a_second_backward_pass(peer):
    """There the nodes in between add up too, so what arrives the second time is counted twice; here only leaves do."""
    grads = []
    for kind in (peer, Value):
        x = kind(3.0)
        y = x * x
        z = y * y
        z.backward()
        z.backward()
        grads.append(x.grad)
    assert grads == [108.0 * 3, 108.0 * 2]


def test_a_deep_graph_has_no_recursion(peer):
    for kind, depth in ((peer, 5_000), (Value, 20_000)):
        x = y = kind(1.0)
        for _ in range(depth):
            y = y + 1.0
        if kind is peer:
            with pytest.raises(RecursionError):
                y.backward()
        else:
            y.backward()
            assert x.grad == 1.0


def test_powers_and_functions_that_micrograd_lacks():
    x = Value(2.0)
    for y in (2**x, x**x, x.exp(), x.log(), x.tanh(), x.sigmoid()):
        y.backward()
    assert math.isfinite(x.grad)

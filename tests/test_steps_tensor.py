"""The two passes over graphs of Tensors, step by step: numbers and shapes as they are read, and the pass itself."""

import re

import numpy as np
import pytest
from test_copying_tensor import bits
from test_random_tensors import drawn
from test_steps import Table, markdown
from test_tensor_rows import CASES, leaves

import microgad as mg
from microgad import Tensor, Value
from microgad.agreement import agree, close, outdated
from microgad.errors import DomainError, InputError, ShapeError
from microgad.naming import number
from microgad.order import topological_order
from microgad.structural import ROWS


def text(steps):
    return "\n".join(map(str, steps))


def layer():
    x, w = Tensor([[1.0, 2.0], [3.0, -1.0]], name="x"), Tensor([[1.0], [-2.0]], requires_grad=True, name="w")
    b = Tensor([0.5], requires_grad=True, name="b")
    h = mg.relu(x @ w + b)
    h.name = "h"
    return (h * h).mean()


def mixed():
    v, x = Value(2.0, "v"), Tensor([1.0, -3.0], requires_grad=True, name="x")
    return (x * v).sum() + v * v + mg.unbind(x)[1] + mg.stack([v, 1.0, v]).sum()


def large():
    x, w = Tensor(np.arange(160.0).reshape(20, 8) % 7 - 3, name="x"), Tensor(np.zeros((8, 3)), True, name="w")
    return mg.nn.cross_entropy(x @ w, np.arange(20) % 3)


PASSES = {  # a graph, the forward pass, the backward pass, the trace
    "a layer": (
        layer,
        """\
x = [[1, 2], [3, -1]]
w = [[1], [-2]]
v1 = x @ w = [[1, 2], [3, -1]] @ [[1], [-2]] = [[-3], [5]]
b = [0.5]
v2 = v1 + b = [[-3], [5]] + [0.5] = [[-2.5], [5.5]]
h = relu(v2) = relu([[-2.5], [5.5]]) = [[0], [5.5]]
v3 = h * h = [[0], [5.5]] * [[0], [5.5]] = [[0], [30.25]]
f = mean(v3) = mean([[0], [30.25]]) = 15.125""",
        """\
∂f/∂v3 = ∂f/∂f / 2, repeated = [[0.5], [0.5]]
∂f/∂h, part 1 of 2: ∂f/∂v3 ⊙ ∂v3/∂h⁽¹⁾ = [[0.5], [0.5]] ⊙ [[0], [5.5]] = [[0], [2.75]]
∂f/∂h, part 2 of 2: ∂f/∂v3 ⊙ ∂v3/∂h⁽²⁾ = [[0.5], [0.5]] ⊙ [[0], [5.5]] = [[0], [2.75]], in all [[0], [5.5]]
∂f/∂v2 = ∂f/∂h ⊙ ∂h/∂v2 = [[0], [5.5]] ⊙ [[0], [1]] = [[0], [5.5]]
∂f/∂v1 = ∂f/∂v2 ⊙ ∂v2/∂v1 = [[0], [5.5]] ⊙ 1 = [[0], [5.5]]
∂f/∂b = Σ (∂f/∂v2 ⊙ ∂v2/∂b) = Σ ([[0], [5.5]] ⊙ 1) = [5.5]
∂f/∂w = xᵀ ∂f/∂v1 = [[16.5], [-5.5]]""",
        """\
node  primal                value  adjoint                                                                   value
────  ────────  ─────────────────  ─────────────────────────────────────────────────────────────  ────────────────
x               [[1, 2], [3, -1]]                                                                                –
w                     [[1], [-2]]  xᵀ ∂f/∂v1                                                      [[16.5], [-5.5]]
v1    x @ w           [[-3], [5]]  [[0], [5.5]] ⊙ 1                                                   [[0], [5.5]]
b                           [0.5]  Σ ([[0], [5.5]] ⊙ 1)                                                      [5.5]
v2    v1 + b      [[-2.5], [5.5]]  [[0], [5.5]] ⊙ [[0], [1]]                                          [[0], [5.5]]
h     relu(v2)       [[0], [5.5]]  [[0.5], [0.5]] ⊙ [[0], [5.5]] + [[0.5], [0.5]] ⊙ [[0], [5.5]]      [[0], [5.5]]
v3    h * h        [[0], [30.25]]  ∂f/∂f / 2, repeated                                              [[0.5], [0.5]]
f     mean(v3)             15.125                                                                                1""",
    ),
    "numbers and arrays": (
        mixed,
        """\
x = [1, -3]
v = 2
v1 = x * v = [1, -3] * 2 = [2, -6]
v2 = sum(v1) = sum([2, -6]) = -4
v3 = v * v = 2 * 2 = 4
v4 = v2 + v3 = -4 + 4 = 0
v5 = x[1] = [1, -3][1] = -3
v6 = v4 + v5 = 0 + (-3) = -3
v7 = stack([v, 1, v]) = stack([2, 1, 2]) = [2, 1, 2]
v8 = sum(v7) = sum([2, 1, 2]) = 5
f = v6 + v8 = -3 + 5 = 2""",
        """\
∂f/∂v6 = ∂f/∂f · ∂f/∂v6 = 1 · 1 = 1
∂f/∂v8 = ∂f/∂f · ∂f/∂v8 = 1 · 1 = 1
∂f/∂v7 = ∂f/∂v8, repeated = [1, 1, 1]
∂f/∂v, part 1 of 5: its part of ∂f/∂v7 = 1
∂f/∂v, part 2 of 5: its part of ∂f/∂v7 = 1, so far 2
∂f/∂v4 = ∂f/∂v6 · ∂v6/∂v4 = 1 · 1 = 1
∂f/∂v5 = ∂f/∂v6 · ∂v6/∂v5 = 1 · 1 = 1
∂f/∂x, part 1 of 2: ∂f/∂v5 at its place, else 0 = [0, 1]
∂f/∂v2 = ∂f/∂v4 · ∂v4/∂v2 = 1 · 1 = 1
∂f/∂v3 = ∂f/∂v4 · ∂v4/∂v3 = 1 · 1 = 1
∂f/∂v, part 3 of 5: ∂f/∂v3 · ∂v3/∂v⁽¹⁾ = 1 · 2 = 2, so far 4
∂f/∂v, part 4 of 5: ∂f/∂v3 · ∂v3/∂v⁽²⁾ = 1 · 2 = 2, so far 6
∂f/∂v1 = ∂f/∂v2, repeated = [1, 1]
∂f/∂x, part 2 of 2: ∂f/∂v1 ⊙ ∂v1/∂x = [1, 1] ⊙ 2 = [2, 2], in all [2, 3]
∂f/∂v, part 5 of 5: Σ (∂f/∂v1 ⊙ ∂v1/∂v) = Σ ([1, 1] ⊙ [1, -3]) = -2, in all 4""",
        """\
x: [2, 3] = (∂f/∂v5 at its place, else 0) + [1, 1] ⊙ 2
v: 4 = (its part of ∂f/∂v7) + (its part of ∂f/∂v7) + 1 · 2 + 1 · 2 + Σ ([1, 1] ⊙ [1, -3])
v1: [1, 1] = ∂f/∂v2, repeated""",
    ),
    "large arrays": (
        large,
        """\
x = (20, 8): -3 … 3
w = (8, 3): all 0
v1 = x @ w = (20, 3): all 0
v2 = (20, 3): 0 … 1
f = cross_entropy(v1, v2) = 1.09861""",
        """\
∂f/∂v1 = (softmax(v1) − v2) · ∂f/∂f / 20 = (20, 3): -0.03333 … 0.01667
∂f/∂w = xᵀ ∂f/∂v1 = (8, 3): -0.1 … 0.1""",
        """\
node  primal                           value  adjoint                                                value
────  ─────────────────────  ───────────────  ───────────────────────────────  ───────────────────────────
x                            (20, 8): -3 … 3                                                             –
w                              (8, 3): all 0  xᵀ ∂f/∂v1                                 (8, 3): -0.1 … 0.1
v1    x @ w                   (20, 3): all 0  (softmax(v1) − v2) · ∂f/∂f / 20  (20, 3): -0.03333 … 0.01667
v2                            (20, 3): 0 … 1                                                             –
f     cross_entropy(v1, v2)          1.09861                                                             1""",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "forward", "backward", "trace"), PASSES.values(), ids=PASSES)
def test_the_passes(make, forward, backward, trace):
    assert text(mg.forward_steps(make())) == forward
    assert text(mg.backward_steps(make())) == backward
    found = mg.evaluation_trace(make())
    if trace.startswith("node"):
        assert str(found) == repr(found) == trace
    else:
        lines = {f"{row.name}: {number(row.adjoint)} = {row.parts}" for row in found.rows}
        assert lines >= set(trace.splitlines())


A, X = Tensor([[1.0, 2.0], [3.0, 4.0]], True, name="A"), Tensor([1.0, -1.0], True, name="x")
LINES = [  # a result, its last forward step, the first backward step of its sum or of it
    (A @ X, "f = A @ x = [[1, 2], [3, 4]] @ [1, -1] = [-1, -1]", "∂f/∂A = ∂f/∂v1 xᵀ = [[1, -1], [1, -1]]"),
    (A.T, "f = A.T = [[1, 2], [3, 4]].T = [[1, 3], [2, 4]]", "∂f/∂A = (∂f/∂v1)ᵀ = [[1, 1], [1, 1]]"),
    (A[0, 1:], "f = A[0, 1:] = [[1, 2], [3, 4]][0, 1:] = [2]", "∂f/∂A = ∂f/∂f at its place, else 0 = [[0, 1], [0, 0]]"),
    (A.reshape(4), "f = reshape(A, (4,)) = reshape([[1, 2], [3, 4]], (4,)) = [1, 2, 3, 4]",
     "∂f/∂A = ∂f/∂v1, reshaped = [[1, 1], [1, 1]]"),
    (A.mean(0), "f = mean(A, axis=0) = mean([[1, 2], [3, 4]], axis=0) = [2, 3]",
     "∂f/∂A = ∂f/∂v1 / 2, repeated = [[0.5, 0.5], [0.5, 0.5]]"),
    (A.max(), "f = max(A) = max([[1, 2], [3, 4]]) = 4", "∂f/∂A = ∂f/∂f at the largest, else 0 = [[0, 0], [0, 1]]"),
    (A.prod(), "f = prod(A) = prod([[1, 2], [3, 4]]) = 24",
     "∂f/∂A = ∂f/∂f ⊙ product of the others = [[24, 12], [8, 6]]"),
    (X.broadcast_to((2, 2)), "f = broadcast_to(x, (2, 2)) = broadcast_to([1, -1], (2, 2)) = [[1, -1], [1, -1]]",
     "∂f/∂x = Σ ∂f/∂v1 = [2, 2]"),
    (mg.softmax(X * 0.0), "f = softmax(v1, axis=0) = softmax([0, -0], axis=0) = [0.5, 0.5]",
     "∂f/∂v1 = v2 ⊙ (∂f/∂v2 − Σ ∂f/∂v2 ⊙ v2) = [0, 0]"),
    (mg.concatenate([X, [5.0]]), "f = concatenate([x, v1]) = concatenate([[1, -1], [5]]) = [1, -1, 5]",
     "∂f/∂x = its part of ∂f/∂v2 = [1, 1]"),
    (X * [[2.0], [3.0]], "f = x * v1 = [1, -1] * [[2], [3]] = [[2, -2], [3, -3]]",
     "∂f/∂x = Σ (∂f/∂v2 ⊙ ∂v2/∂x) = Σ ([[1, 1], [1, 1]] ⊙ [[2], [3]]) = [5, 5]"),
    (-X, "f = -x = -[1, -1] = [-1, 1]", "∂f/∂x = ∂f/∂v1 ⊙ ∂v1/∂x = [1, 1] ⊙ (-1) = [-1, -1]"),
    (X + 1e-9, "f = x + 1e-09 = [1, -1] + 1e-09 = [1, -1]", "∂f/∂x = ∂f/∂v1 ⊙ ∂v1/∂x = [1, 1] ⊙ 1 = [1, 1]"),
    (Tensor(3.0, True, name="s") * X[0], "f = s * v1 = 3 * 1 = 3", "∂f/∂s = ∂f/∂f · ∂f/∂s = 1 · 1 = 1"),
    (mg.nn.linear(A, A, X), "f = A @ A.T + x = [[1, 2], [3, 4]] @ [[1, 2], [3, 4]].T + [1, -1] = [[6, 10], [12, 24]]",
     "∂f/∂A, part 1 of 2: ∂f/∂v1 A = [[4, 6], [4, 6]]"),
    (A @ np.ones((3, 2, 1)), "f = A @ v1 = [[1, 2], [3, 4]] @ [[[1], [1]], [[1], [1]], [[1], [1]]]"
     " = [[[3], [7]], [[3], [7]], [[3], [7]]]", "∂f/∂A = Σ ∂f/∂v2 v1ᵀ = [[3, 3], [3, 3]]"),
    (mg.nn.nll_loss(A, [0, 1]), "f = nll(A, v1) = nll([[1, 2], [3, 4]], [[1, 0], [0, 1]]) = -2.5",
     "∂f/∂A = −∂f/∂f · v1 / 2 = [[-0.5, -0], [-0, -0.5]]"),
    (mg.nn.nll_loss(mg.log_softmax(A), [0, 1], "none"), "f = nll(v1, v2) = nll([[-1.313, -0.3133], [-1.313, -0.3133]], "
     "[[1, 0], [0, 1]]) = [1.313, 0.3133]", "∂f/∂v1 = −∂f/∂v3 ⊙ v2 = [[-1, -0], [-0, -1]]"),
    (mg.nn.cross_entropy(A, [[1.0, 1.0], [0.5, 0.0]]),
     "f = cross_entropy(A, v1) = cross_entropy([[1, 2], [3, 4]], [[1, 1], [0.5, 0]]) = 1.14158",
     "∂f/∂A = (softmax(A) ⊙ Σ v1 − v1) · ∂f/∂f / 2 = [[-0.2311, 0.2311], [-0.1828, 0.1828]]"),
    (A * np.ones((7, 2, 2)), "f = A * v1 = (7, 2, 2): 1 … 4", "∂f/∂A = Σ (∂f/∂v2 ⊙ ∂v2/∂A) = [[7, 7], [7, 7]]"),
    (X[:0], "f = x[:0] = [1, -1][:0] = []", "∂f/∂x = ∂f/∂v1 at its place, else 0 = [0, 0]"),
    (A[:0], "f = A[:0] = [[1, 2], [3, 4]][:0] = (0, 2)", "∂f/∂A = ∂f/∂v1 at its place, else 0 = [[0, 0], [0, 0]]"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "forward", "backward"), LINES, ids=[forward for _, forward, _ in LINES])
def test_lines(f, forward, backward):
    *_, last = mg.forward_steps(f)
    assert str(last) == forward
    lines = text(mg.backward_steps(f if f.size == 1 else f.sum())).splitlines()
    assert lines[0 if f.size == 1 else 1] == backward


def test_an_operand_that_stands_twice_in_a_product():
    lines = text(mg.backward_steps((A @ A).sum())).splitlines()[1:]
    assert lines == [
        "∂f/∂A, part 1 of 2: ∂f/∂v1 Aᵀ = [[3, 7], [3, 7]]",
        "∂f/∂A, part 2 of 2: Aᵀ ∂f/∂v1 = [[4, 4], [6, 6]], in all [[7, 11], [9, 13]]",
    ]


def test_a_leaf_that_was_asked_for_a_gradient_later():
    """What was computed of it before sends none: its uses are not counted, nor those of what lies above."""
    w, x = Tensor([1.0, 2.0], True, name="w"), Tensor([3.0, 4.0], name="x")
    f = (w * x * (x * 2.0)).sum()
    x.requires_grad = True
    same_as_backward(f)
    assert text(mg.backward_steps(f)).splitlines()[-1].startswith("∂f/∂x = ∂f/∂v1 ⊙ ∂v1/∂x = ")


def test_a_value_from_a_tensor_without_a_gradient_sends_none():
    steps = list(mg.backward_steps(Tensor([1.0, 2.0], name="x").unbind()[0] * Value(2.0, "v")))
    assert text(steps) == "∂f/∂v1 = ∂f/∂f · ∂f/∂v1 = 1 · 2 = 2\n∂f/∂v = ∂f/∂f · ∂f/∂v = 1 · 1 = 1"
    assert len(steps) == 1


def test_names_that_are_no_words():
    w = Tensor([[1.0, 2.0]], True, name="a b")
    f = (w @ Tensor([[1.0], [2.0]], name="w[0]")).sum()
    assert "v1 = (a b) @ w[0] = [[1, 2]] @ [[1], [2]] = [[5]]" in text(mg.forward_steps(f)).splitlines()
    assert text(mg.backward_steps(f)).endswith("∂f/∂(a b) = ∂f/∂v1 (w[0])ᵀ = [[1, 2]]")
    layer = mg.nn.linear(Tensor([[3.0, 4.0]], True, name="x"), w, Tensor([0.0], name="n"))
    assert text(mg.backward_steps(layer)).splitlines()[0] == "∂f/∂x = ∂f/∂f (a b) = [[1, 2]]"
    g = (Tensor([[1.0], [2.0]], name="G") @ w).sum()  # G and Y and n stand for something else where a row says them
    assert text(mg.backward_steps(g)).endswith("∂f/∂(a b) = Gᵀ ∂f/∂v1 = [[3, 3]]")
    h = mg.softmax(Tensor([[1.0]], True, name="Y")).mean()
    assert "= v1 ⊙ (∂f/∂v1 − Σ ∂f/∂v1 ⊙ v1) =" in text(mg.backward_steps(h))


# ---- the pass itself


def same_as_backward(root):
    """Whether the steps say what `backward` does, to the last bit; they leave no trace on the graph."""
    order = topological_order(root)
    before = [bits(node.grad) for node in order]
    totals = {root: root.seed()}
    for step in mg.backward_steps(root):
        assert bits(step.upstream) == bits(totals[step.node])
        needing = [x for x in step.node.inputs if x.requires_grad]
        assert [id(edge.input) for edge in step.edges] == [id(x) for x in needing]
        for x, local, contribution, total in step.edges:
            assert (local is None) == bool(step.node.prim.vjp)
            assert np.shape(contribution) == np.shape(total) == np.shape(x._value)
            assert bits(total) == bits(totals[x] + contribution if x in totals else contribution)
            totals[x] = total
    assert [bits(node.grad) for node in order] == before
    for node in order:
        node.grad = None
    root.backward()
    assert {node: bits(x) for node, x in totals.items()} == {n: bits(n.grad) for n in order if n.grad is not None}


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
@pytest.mark.parametrize("name", sorted({case.row.name for case in CASES}))
def test_every_row_to_the_last_bit(name, dtype):
    for case in [case for case in CASES if case.row.name == name]:
        out = case(*leaves(case, dtype))
        out = out * case.cotangent(dtype) if isinstance(out, Tensor) else out
        same_as_backward(out if isinstance(out, Value) else out.sum())


@pytest.mark.parametrize("block", range(3))
def test_random_graphs_to_the_last_bit(block):
    for seed in range(30 * block, 30 * block + 30):
        program = drawn(seed)
        tracked = zip(program.leaves, program.tracked, strict=True)
        values = program.run([Value(z) if type(z) is float else Tensor(z, requires_grad=r) for z, r in tracked], "ours")
        root = program.root(values)
        if not root.requires_grad:
            continue
        same_as_backward(root)
        want, order = mg.adjoints(root), topological_order(root)
        assert [id(step.node) for step in mg.forward_steps(root)] == [id(node) for node in order]
        rows = mg.evaluation_trace(root).rows
        assert [id(row.node) for row in rows] == [id(node) for node in order]
        assert [bits(row.value) for row in rows] == [bits(node._value) for node in order]
        assert [bits(row.adjoint) for row in rows] == [bits(want.get(node)) for node in order]
        assert all((row.parts == "") == (row.node is root or row.adjoint is None) for row in rows)
        said = [*text(mg.forward_steps(root)).splitlines(), *text(mg.backward_steps(root)).splitlines()]
        assert all(" = " in line for line in said)


def test_arrays_of_steps_are_read_only():
    step = next(step for step in mg.backward_steps(layer()) if len(step.edges) == 2)
    edge = step.edges[0]
    for x in (step.upstream, edge.local, edge.contribution, edge.total):
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 5.0
    rows = mg.evaluation_trace(layer()).rows
    leaf = rows[0].node
    leaf.data[0, 0] = 9.0
    assert rows[0].value[0, 0] == 1.0


def test_only_what_needs_a_gradient_has_steps():
    x, w, c = Tensor([1.0, 2.0], name="x"), Tensor([3.0, 4.0], True, name="w"), Tensor([5.0, 6.0], name="c")
    idle = mg.exp(x) * c
    f = (w * idle + w.detach() * x).sum()
    lines = text(mg.backward_steps(f)).splitlines()
    assert [line.partition(" = ")[0] for line in lines] == ["∂f/∂v6", "∂f/∂v3", "∂f/∂w"]
    idle_rows = {row.name for row in mg.evaluation_trace(f).rows if row.adjoint is None}
    assert idle_rows == {"x", "v1", "c", "v2", "v4", "v5"}


def test_a_node_that_is_used_where_no_gradient_flows():
    """The second use of w is under `no_grad`; that of the leaf without a gradient is none."""
    w = Tensor([1.0, 2.0], True, name="w")
    with mg.no_grad():
        frozen = w * 2.0
    assert text(mg.backward_steps((w * frozen).sum())).splitlines()[-1].startswith("∂f/∂w = ∂f/∂v2 ⊙ ∂v2/∂w = ")


# ---- what cannot be shown


@pytest.mark.parametrize("function", [mg.backward_steps, mg.evaluation_trace])
def test_a_result_of_several_numbers_has_no_gradient(function):
    with pytest.raises(ShapeError, match=r"A @ x of shape \(2,\), is not one number; take its \.sum\(\) or \.mean\(\)"):
        function(A @ X)


def test_nothing_that_needs_a_gradient():
    f = Tensor([1.0, 2.0], name="x").sum()
    with pytest.raises(InputError, match=r"nothing below sum\(x\) needs a gradient: make a leaf with Tensor"):
        mg.backward_steps(f)
    assert str(mg.evaluation_trace(f)).splitlines()[2:] == [
        "x             [1, 2]               –",
        "f     sum(x)       3               1",
    ]
    assert text(mg.forward_steps(f)) == "x = [1, 2]\nf = sum(x) = sum([1, 2]) = 3"


def test_a_leaf_alone():
    assert list(mg.backward_steps(Tensor([3.0], True))) == []
    assert text(mg.forward_steps(A)) == "A = [[1, 2], [3, 4]]"


def test_where_there_is_no_derivative_of_a_number():
    root = mg.sqrt(mg.unbind(Tensor([0.0, 1.0], True, name="x"))[0]) * 2.0
    with pytest.raises(DomainError, match=r"the derivative of sqrt\(x\[0\]\) by x\[0\] does not exist"):
        list(mg.backward_steps(root))


@pytest.mark.parametrize("make", [layer, mixed, large])
def test_the_trace_in_markdown_and_html(make):
    trace = mg.evaluation_trace(make())
    lines = [re.split(r"  +", line) for line in str(trace).split("\n")[2:]]
    table, (_, _, *rows) = Table(trace.to_html()), trace.to_markdown().split("\n")
    assert [markdown(row) for row in rows] == table.rows[1:]
    assert [[cell for cell in row if cell] for row in table.rows[1:]] == lines


# ---- data that was set later


@pytest.mark.parametrize(
    "show",
    [lambda f: str(next(mg.forward_steps(f))), lambda f: str(next(mg.backward_steps(f))), mg.evaluation_trace],
    ids=["forward", "backward", "trace"],
)
@pytest.mark.parametrize(
    ("change", "node"),
    [
        (lambda w: w.data.__setitem__((0, 0), 7.0), r"w\.T \* 2\.0"),  # w.T is a view, and changes with it
        (lambda w: setattr(w, "data", w.data + 1e-6), r"w\.T"),
        (lambda w: w.data.fill(0.0), r"w\.T \* 2\.0"),
    ],
)
def test_what_is_no_longer_true_is_not_shown(show, change, node):
    w = Tensor([[1.0, 2.0], [3.0, 4.0]], True, name="w")
    f, kept = ((w.T * 2.0) @ w[:1].T).sum(), w.numpy()
    assert show(f)
    change(w)
    with pytest.raises(InputError, match=rf"^{node} holds other numbers than its operands as they are now give: data"):
        show(f)
    w.data[...] = kept
    if not node.endswith("T"):
        assert show(f)


def test_shapes_that_no_longer_fit_are_no_error_of_numpy():
    w = Tensor([[1.0, 2.0]], True, name="w")
    f = (w @ [[1.0], [2.0]]).sum()
    w._value = np.ones((5, 7))
    assert outdated(topological_order(f)).startswith("w @ (an array) holds other numbers")


NAN = float("nan")


@pytest.mark.parametrize(
    ("x", "y", "same"),
    [
        ([1.0, 2.0], [1.0, 2.0 + 1e-12], True),
        ([1.0, 2.0], [1.0, 2.0 + 1e-6], False),
        ([1e9, 1e-9], [1e9, 2e-9], False),  # each number counts for itself
        ([1.0, NAN], [1.0, NAN], True),
        ([1.0, NAN], [NAN, 1.0], False),
        ([np.inf, 1.0], [np.inf, 1.0], True),
        ([np.inf, 1.0], [-np.inf, 1.0], False),
        ([np.inf, 1.0], [1e308, 1.0], False),
        ([1.0, 2.0], [[1.0, 2.0]], False),
        ([], [], True),
        ([0.0, 1.0], [-0.0, 1.0], True),
        ([0.0, 1.0], [1e-320, 1.0], False),
    ],
)
def test_agreement(x, y, same):
    x, y = np.array(x), np.array(y)
    assert agree(x, y) is agree(y, x) is same
    assert agree(x[..., None], y[..., None]) is same
    assert not agree(x, ValueError("no array"))


def test_agreement_of_single_numbers():
    x = np.array([1.0, 2.0], np.float32)
    assert agree(x, x * np.float32(1.0 + 2e-7))
    assert not agree(x, x * np.float32(1.0 + 1e-4))
    assert not agree(x, x.astype(np.float64))
    assert agree(np.float64(1.0), np.array(1.0))
    assert not agree(1.0, np.array([1.0]))


def test_closeness_is_relative_to_the_largest():
    assert close(np.array([1e9, 1e-9]), np.array([1e9, 2e-9]))
    assert not close(np.array([1.0, 1e-9]), np.array([1.0, 1e-6]))


def test_numbers_that_cancel_agree_as_what_they_are_made_of():
    f = Tensor([1e8, 1.0, -1e8]).sum()
    assert agree(np.array(1.0), np.array(1.0 + 1e-3), f)
    assert not agree(np.array(1.0), np.array(1.0 + 1e-3))
    assert not agree(np.array(1.0), np.array(3.0), f)
    difference = Tensor([1e8]) - Tensor([1e8 - 1.0])  # is exact
    assert not agree(np.array([1.0]), np.array([1.0 + 1e-6]), difference)
    with np.errstate(all="ignore"):
        g = (Tensor([[np.inf, 1.0], [2.0, 3.0]])).sum(axis=1)
    assert agree(np.array([np.inf, 5.0]), np.array([np.inf, 5.0 + 1e-12]), g)
    assert not agree(np.array([np.inf, 5.0]), np.array([np.inf, 5.1]), g)


def test_an_infinity_that_is_not_in_the_result_hides_nothing():
    f = Tensor([[-np.inf, 1.0]]).max(axis=1)
    assert agree(np.array([1.0]), np.array([1.0 + 1e-12]), f)
    assert not agree(np.array([1.0]), np.array([2.0]), f)


def test_every_row_is_known_to_the_steps():
    """What a row says of the way back has nothing left to be filled in."""
    for case in CASES:
        if case.row.vjp:
            operands = leaves(case)
            for k, leaf in enumerate(operands):
                leaf.name = f"operand{k}"
            out = case(*operands)
            for line in text(mg.backward_steps(out if isinstance(out, Value) else out.sum())).splitlines():
                assert not re.search(r"(?<!\w)[GYn](?!\w)|[{}]", line.replace("∂", "")), line
    assert {case.row.name for case in CASES if case.row.vjp} == set(ROWS)

"""Copies and pickles of graphs of Tensors: the same numbers, rows and gradients, and no array in common."""

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from test_random_tensors import drawn
from test_tensor_rows import CASES, leaves

import microgad as mg
from microgad import Tensor, Value
from microgad.errors import FormatError, InputError
from microgad.order import EMPTY, topological_order
from microgad.primitives import TABLE
from microgad.structural import ROWS, matmul

WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda f: pickle.loads(pickle.dumps(f))}
each_way = pytest.mark.parametrize("duplicate", WAYS.values(), ids=WAYS)


def bits(x):
    """A number or an array as something that differs where a bit does."""
    if x is None or type(x) is float:
        return x if x is None else x.hex()
    x = np.array(x)
    return x.dtype.name, x.shape, np.where(x == x, x, x.dtype.type(math.nan)).tobytes()  # a nan may have a sign


def said(x):
    """A parameter of a row as something that compares by what it holds."""
    if isinstance(x, tuple):
        return tuple(map(said, x))
    if isinstance(x, slice):
        return "slice", x.start, x.stop, x.step
    return ("array", x.dtype.kind, x.tolist()) if isinstance(x, np.ndarray) else x


def picture(f):
    """All that there is of a graph, node by node."""
    order = topological_order(f)
    index = {node: i for i, node in enumerate(order)}
    return [
        (
            type(node),
            node.prim and (node.prim.name, node.prim.vjp, {key: said(x) for key, x in node.prim.params.items()}),
            [bits(x) if type(x) is float else index[x] for x in node.operands],
            bits(node._value),
            node.name,
            bits(node.grad),
            node.requires_grad,
        )
        for node in order
    ]


def arrays(f):
    held = [x for node in topological_order(f) for x in (node._value, node.grad)]
    return [x for x in held if isinstance(x, np.ndarray) and x.size]


def apart(f, g):
    """Whether no two arrays of two graphs lie in the same memory."""
    return not any(np.shares_memory(x, y) for x in arrays(f) for y in arrays(g))


def network():
    w, b = Tensor([[0.5, -1.0], [2.0, 0.25]], requires_grad=True, name="w"), Tensor([0.1, 0.2], requires_grad=True)
    x, v = Tensor([[1.0, 2.0], [3.0, -4.0], [0.0, 1.0]], name="x"), Value(0.5, "v")
    h = mg.tanh(x @ w + b) * v
    f = (h[1:] ** 2).mean() + mg.stack([v, 2.0]).sum() + mg.unbind(b)[0]
    return f, (w, b, v)


@each_way
@pytest.mark.parametrize("name", sorted({case.row.name for case in CASES}))
def test_every_row(duplicate, name):
    for case in [case for case in CASES if case.row.name == name]:
        f = case(*leaves(case))
        twin = duplicate(f)
        assert picture(twin) == picture(f)
        assert apart(f, twin)


@each_way
def test_random_graphs(duplicate):
    for seed in range(60):
        program = drawn(seed)
        tracked = zip(program.leaves, program.tracked, strict=True)
        values = program.run([Value(z) if type(z) is float else Tensor(z, requires_grad=r) for z, r in tracked], "ours")
        root = program.root(values)
        if root.requires_grad:
            root.backward()
        twin = duplicate(root)
        assert picture(twin) == picture(root)
        assert apart(root, twin)


@each_way
def test_a_copy_computes_the_same_apart_from_it(duplicate):
    f, _ = network()
    twin = duplicate(f)
    before = picture(f)
    twin.backward()
    assert picture(f) == before
    f.backward()
    assert picture(f) == picture(twin) != before
    leaf = next(node for node in topological_order(twin) if node.name == "w")
    leaf.data[0, 0] = 7.0
    leaf.grad *= 0.0
    assert picture(f) == picture(network_after_backward())


def network_after_backward():
    f, _ = network()
    f.backward()
    return f


@each_way
def test_rows_stay_what_they_are(duplicate):
    f, _ = network()
    for node, twin in zip(topological_order(f), topological_order(duplicate(f)), strict=True):
        if node.prim is not None and "key" not in node.prim.params:  # slices cannot be looked up
            assert twin.prim is node.prim


def test_copies_made_together_share_what_was_shared():
    w = Tensor([1.0, 2.0], requires_grad=True)
    held = {"a": w * 2.0, "b": w.sum(), "w": w}
    twin = copy.deepcopy(held)
    assert twin["a"].inputs[0] is twin["b"].inputs[0] is twin["w"] is not w
    (twin["a"].sum() + twin["b"]).backward()
    assert (twin["w"].grad.tolist(), w.grad) == ([3.0, 3.0], None)


@pytest.mark.parametrize("duplicate", [copy.copy, *WAYS.values()], ids=["copy", *WAYS])
def test_a_copy_of_a_leaf_is_a_leaf_of_its_own(duplicate):
    w = Tensor([1.0, 2.0], requires_grad=True, name="w")
    (w * 2.0).sum().backward()
    twin = duplicate(w)
    assert (twin.data.tolist(), twin.grad.tolist(), twin.name, twin.requires_grad) == (
        [1.0, 2.0],
        [2.0, 2.0],
        "w",
        True,
    )
    twin.data[0] = 9.0
    twin.grad[0] = 9.0
    assert (w.data.tolist(), w.grad.tolist()) == ([1.0, 2.0], [2.0, 2.0])
    assert twin.data.flags.writeable
    assert twin.operands == ()


def test_a_shallow_copy_of_a_result_has_the_same_inputs():
    f, _ = network()
    twin = copy.copy(f)
    assert twin is not f
    assert all(x is y for x, y in zip(twin.inputs, f.inputs, strict=True))
    assert picture(twin) == picture(f)


@pytest.mark.parametrize("needs", [True, False])
@each_way
def test_requires_grad_is_kept(duplicate, needs):
    w = Tensor([1.0], requires_grad=needs)
    assert [node.requires_grad for node in topological_order(duplicate(w * 2.0))] == [needs, needs]


@pytest.mark.parametrize(
    "parts",
    [[Value(1.0)], [Value(1.0), math.nan], [math.nan, Value(1.0)], [Value(1.0), 2.0, math.nan], [Tensor([1.0])],
     [Tensor(2.0), math.nan]],
    ids=len,
)  # fmt: skip
@each_way
def test_a_row_of_any_number_of_operands_keeps_their_number(duplicate, parts):
    """`EMPTY`, which fills the place of an operand that is missing, is a nan itself."""
    f = mg.stack(parts, axis=-1)
    twin = duplicate(f)
    assert len(twin.operands) == len(parts)
    assert picture(twin) == picture(f)
    assert (twin.b is EMPTY) == (f.b is EMPTY)


def test_a_pickle_needs_the_rows_that_it_names():
    stored = pickle.dumps(Tensor([1.0]).sum())
    assert stored.count(b"\x03sum") == 1
    with pytest.raises(FormatError, match=r"needs the primitive sun: define it with mg\.primitive first"):
        pickle.loads(stored.replace(b"\x03sum", b"\x03sun"))


def test_rows_that_are_not_in_the_table_are_not_pickled():
    x = Tensor([[1.0]], requires_grad=True)
    for row in (replace(matmul), replace(matmul, vjp=matmul.vjp[::-1]), replace(matmul, array=np.dot)):
        node = row(x, x)
        if row.vjp is matmul.vjp and row.array is matmul.array:
            assert pickle.loads(pickle.dumps(node)).prim is matmul
        else:
            with pytest.raises(InputError, match="a node of matmul cannot be pickled"):
                pickle.dumps(node)
        assert copy.deepcopy(node).prim is row
    with pytest.raises(InputError, match="a node of variable cannot be pickled"):
        mg.grad(lambda z: [pickle.dumps(z * z), z.sum()][1])(np.ones(2))


def test_a_users_row_of_the_name_of_a_structural_one():
    row = mg.primitive("linear_", lambda x: 2.0 * x, 2.0, array=lambda x: 2.0 * x)
    TABLE["linear"] = renamed = replace(row, name="linear")
    try:
        node = renamed(Tensor([1.0]))
        layer = mg.nn.linear(Tensor([[1.0]]), Tensor([[2.0]]), Tensor([3.0]))
        for way in WAYS.values():
            assert way(node).prim is renamed
            assert way(layer).prim is ROWS["linear"]
    finally:
        del TABLE["linear"], TABLE["linear_"]


def test_a_long_graph_is_copied_without_recursion():
    w = Tensor([0.5, 1.5], requires_grad=True)
    f = w
    for _ in range(5_000):
        f = f * 0.999 + w
    twin = copy.deepcopy(f.sum())
    twin.backward()
    assert w.grad is None
    f.sum().backward()
    np.testing.assert_array_equal(topological_order(twin)[0].grad, w.grad)

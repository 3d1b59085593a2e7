"""Saved graphs of Tensors: what comes back is what was there to the last bit, and any other text is a FormatError."""

import contextlib
import json
import math
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_copying_tensor import network, picture
from test_random_tensors import drawn
from test_tensor_rows import CASES, leaves

import microgad as mg
from microgad import Tensor, Value
from microgad.errors import AnomalyError, FormatError, InputError
from microgad.order import topological_order
from microgad.saved_arrays import readers
from microgad.serial import from_json, to_json
from microgad.structural import ROWS, matmul, total

many = settings(deadline=None, max_examples=150)


def there_and_back(f):
    text = to_json(f)
    g = from_json(text)
    assert picture(g) == picture(f)
    assert to_json(g) == text
    return text


# ---- there and back


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["double", "single"])
@pytest.mark.parametrize("name", sorted({case.row.name for case in CASES}))
def test_every_row(name, dtype):
    for case in [case for case in CASES if case.row.name == name]:
        there_and_back(case(*leaves(case, dtype)))


@pytest.mark.parametrize("name", ROWS)
def test_the_parameters_of_every_row_are_known(name):
    for case in [case for case in CASES if case.row.name == name]:
        assert readers(name).keys() == case.params.keys()


@pytest.mark.parametrize("block", range(4))
def test_random_graphs(block):
    for seed in range(25 * block, 25 * block + 25):
        program = drawn(seed)
        tracked = zip(program.leaves, program.tracked, strict=True)
        values = program.run([Value(z) if type(z) is float else Tensor(z, requires_grad=r) for z, r in tracked], "ours")
        root = program.root(values)
        if root.requires_grad and seed % 3:
            root.backward()
        there_and_back(root)


SPECIAL = [
    Tensor(np.zeros(())),
    Tensor(3.5, requires_grad=True, name="变量 \u2028 \0"),
    Tensor(np.zeros((0,))),
    Tensor(np.zeros((3, 0, 2)), requires_grad=True),
    Tensor(np.zeros((0, 784))) @ np.zeros((784, 10)),
    Tensor(np.zeros((0, 3))).sum(axis=0),
    Tensor([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]),
    Tensor(np.array([math.nan, math.inf, -0.0, 1e-45, 3.4028235e38, 0.1], np.float32)) * 0.5,
    Tensor(np.arange(24.0).reshape(2, 3, 4)).transpose(2, 0, 1)[1:, ..., None, [True, False, True]],
    Tensor(np.arange(6.0))[np.array([[0, 5], [-1, 2]], np.int8)],
    Tensor(np.arange(6.0))[-3:None:-2],
    Tensor(np.arange(4.0))[np.array(True)],
    Tensor(np.arange(4.0))[np.array([], int)],
    Value(2.0, "v") * Tensor(np.ones((2, 1))),
]


@pytest.mark.parametrize("f", SPECIAL, ids=[f"{i}-{f.shape}" for i, f in enumerate(SPECIAL)])
def test_special_numbers_shapes_and_indices(f):
    text = there_and_back(f)
    assert text.isascii()
    json.loads(text, parse_constant=pytest.fail)
    assert picture(from_json(to_json(f, indent=1))) == picture(f)


def test_the_text_is_what_the_documentation_says():
    w, v = Tensor(np.array([[1.0, -2.0]], np.float32), requires_grad=True, name="w"), Value(3.0, "v")
    f = (w[:, ::-1][..., [0]] * v).sum(axis=0)
    f.backward()
    assert json.loads(to_json(f)) == {
        "format": "microgad.graph",
        "version": 2,
        "root": 5,
        "nodes": [
            {"op": None, "operands": [], "shape": [1, 2], "dtype": "float32", "data": [[1.0, -2.0]],
             "requires_grad": True, "name": "w", "grad": [[0.0, 3.0]]},
            {"op": "index", "params": {"key": [{"slice": [None, None, None]}, {"slice": [None, None, -1]}]},
             "operands": [0], "shape": [1, 2], "dtype": "float32", "data": [[-2.0, 1.0]], "requires_grad": True,
             "grad": [[3.0, 0.0]]},
            {"op": "index", "params": {"key": ["...", {"dtype": "int64", "shape": [1], "data": [0]}]},
             "operands": [1], "shape": [1, 1], "dtype": "float32", "data": [[-2.0]], "requires_grad": True,
             "grad": [[3.0]]},
            {"op": None, "operands": [], "data": 3.0, "name": "v", "grad": -2.0},
            {"op": "mul", "operands": [2, 3], "shape": [1, 1], "dtype": "float32", "data": [[-6.0]],
             "requires_grad": True, "grad": [[1.0]]},
            {"op": "sum", "params": {"axis": [0], "keepdims": False}, "operands": [4], "shape": [1],
             "dtype": "float32", "data": [-6.0], "requires_grad": True, "grad": [1.0]},
        ],
    }  # fmt: skip


def test_what_is_infinite_or_undefined():
    with np.errstate(all="ignore"):
        f = mg.log(Tensor([0.0, 1.0, -1.0]) * np.array([[1.0], [math.inf]])).sum(axis=0)
    there_and_back(f)  # without a warning


def test_graphs_of_values_are_written_as_before():
    f = Value(3.0, "x") * 2.0
    f.backward()
    assert to_json(f) == (
        '{"format": "microgad.graph", "version": 1, "root": 1, "nodes": [{"op": null, "operands": [], "data": 3.0, '
        '"name": "x", "grad": 2.0}, {"op": "mul", "operands": [0, {"constant": 2.0}], "data": 6.0, "grad": 1.0}]}'
    )


def test_what_is_loaded_can_go_on():
    f, _ = network()
    g = from_json(to_json(f))
    g.backward()
    f.backward()
    assert picture(g) == picture(f)
    leaf = next(node for node in topological_order(g) if node.name == "w")
    leaf.data -= 0.1 * leaf.grad
    assert leaf.data.flags.writeable
    with pytest.raises(AttributeError, match="is computed"):
        g.data = 0.0


def test_under_no_grad_the_graph_is_loaded_all_the_same():
    f, _ = network()
    text = to_json(f)
    with mg.no_grad():
        assert picture(from_json(text)) == picture(f)


def test_an_anomaly_that_is_looked_for_is_no_fault_of_the_text():
    text = to_json(Tensor([math.inf]) + 1.0)
    with mg.detect_anomaly(), pytest.raises(AnomalyError):
        from_json(text)


# ---- the numbers of another machine


def nudged(f, off):
    """The text of f with the first number of its data moved by a relative amount, and that number."""
    graph = json.loads(to_json(f))
    data = graph["nodes"][-1]["data"]
    while isinstance(data[0], list):
        data = data[0]
    data[0] += abs(data[0]) * off
    return json.dumps(graph), data[0]


WIDE = np.array([[1e8, 1.0, -1e8, 0.5]])
NEAR = [  # a graph, how far a number of it may be off and is accepted, and how far not
    (mg.tanh(Tensor([0.3, 0.4])), 1e-15, 1e-6),
    (Tensor([[0.3]]) @ Tensor([[0.7]]), 1e-15, 1e-6),
    (Tensor(WIDE).sum(axis=1), 1e-3, 1e2),  # 1.5, of what is 2e8 in size
    (Tensor(WIDE) @ np.ones((4, 1)), 1e-3, 1e2),
    (Tensor(WIDE).mean(axis=1), 1e-3, 1e2),
    (Tensor(WIDE) * 1.0, 1e-12, 1e-6),
    (mg.log_softmax(Tensor([[30.0, 0.0]])), 1e-3, 1e7),  # -9e-14, the logarithm of what is 1 in size
    (mg.logsumexp(Tensor([[-30.0, 0.0]]), axis=1), 1e-3, 1e7),
    (mg.nn.cross_entropy(Tensor([[30.0, 0.0]]), [0], "none"), 1e-3, 1e7),
    (mg.nn.cross_entropy(Tensor([[1e8, -1e8, -1e8]]), [[0.0, 1.0, 1e-8 - 1.0]], "none"), 1e-3, 1e2),  # 2, of 4e8
    (mg.nn.linear(Tensor(WIDE), np.ones((1, 4)), [0.0])[0], 0.0, 1e-6),  # taken from an array, and as exact
    (mg.tanh(Tensor(np.array([0.3, 0.4], np.float32))), 1e-7, 1e-3),
    (Tensor([1.0, 2.0])[::-1], 0.0, 1e-6),
]


@pytest.mark.parametrize(("f", "good", "bad"), NEAR)
def test_the_stored_bits_are_kept_where_they_agree(f, good, bad):
    text, stored = nudged(f, good)
    assert from_json(text).data.ravel()[0] == f.dtype.type(stored)
    for sign in (1.0, -1.0):
        with pytest.raises(FormatError, match=r"node .*: its data is of shape .*, but .* gives other numbers"):
            from_json(nudged(f, sign * bad)[0])


def test_sums_in_another_order_agree():
    """A view of memory in another order adds up in another order than the array that is read."""
    numbers = np.random.default_rng(0).normal(size=(60, 90)) * 1e6
    numbers -= numbers.mean(axis=1, keepdims=True)  # which leaves nothing but rounding of their sums
    x = Tensor(numbers)
    for f in (x.T.sum(axis=0), mg.log_softmax(x.T * 1e-5, axis=0), x.T @ numbers[:, :2], x.T.mean()):
        there_and_back(f)


# ---- graphs that cannot be saved


def changed(change):
    f, leaves = network()
    f.backward()
    change(f, *leaves)
    return f


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, w, b, v: w.data.fill(1.0), r"node 2, x @ w, .*holds other numbers than its operands as they are"),
        (lambda f, w, b, v: setattr(w, "data", w.data * 2), r"x @ w, .*; compute it again"),
        (lambda f, w, b, v: setattr(v, "data", 2.0), r"node \d+, .* \* v, cannot be saved: it holds other numbers"),
        (lambda f, w, b, v: (setattr(w, "_value", np.ones((3, 3))), setattr(w, "grad", None)),
         r"node 2, .* holds other numbers than its operands as they are now give: matmul of x of shape \(3, 2\) and w"),
        (lambda f, w, b, v: setattr(w, "_value", w._value.astype(np.float16)), r"shape \(2, 2\) and dtype float16"),
        (lambda f, w, b, v: setattr(w, "_value", np.ones((2, 2), complex)), r"dtype complex128"),
        (lambda f, w, b, v: setattr(w, "_value", np.zeros((0, 10**7))), r"it holds an array of shape \(0, 10000000\)"),
        (lambda f, w, b, v: setattr(w, "grad", [1.0]), r"its grad is list .*only arrays of the node's shape, \(2, 2\)"),
        (lambda f, w, b, v: setattr(w, "grad", "1"), r"its grad is str"),
        (lambda f, w, b, v: setattr(w, "grad", w), r"its grad is Tensor"),
        (lambda f, w, b, v: setattr(w, "grad", np.ones((2, 2)) * 1j), r"its grad is ndarray"),
        (lambda f, w, b, v: setattr(w, "name", 5), r"its name has to be text"),
        (lambda f, w, b, v: setattr(f, "prim", replace(f.prim, name="own")), r"made by own, which is not"),
    ],
)  # fmt: skip
def test_graphs_that_would_not_load_are_not_saved(change, message):
    with pytest.raises(InputError, match=message) as caught:
        to_json(changed(change))
    assert "\n" not in str(caught.value)
    assert "cannot be saved" in str(caught.value)


def test_gradients_that_were_set_by_hand():
    w = Tensor(np.zeros(2, np.float32), requires_grad=True)
    w.grad = [1, 0.5]
    assert from_json(to_json(w)).grad.dtype == np.float32
    w.grad = np.array([0.1, 0.2])  # more digits than a gradient of w has
    with pytest.raises(InputError, match="its grad is"):
        to_json(w)


def test_a_row_of_somebody_elses_is_not_saved():
    row = type(matmul)("matmul", np.matmul, np.matmul, vjp=(lambda g, y, a, b: g, lambda g, y, a, b: g))
    with pytest.raises(InputError, match="it was made by matmul, which is not, or no longer, in the table"):
        to_json(row(Tensor([[1.0]]), Tensor([[1.0]])))


def test_the_graph_inside_a_derivative_is_not_saved():
    with pytest.raises(InputError, match="made by variable"):
        mg.grad(lambda x: [to_json(x.sum()), x.sum()][1])(np.ones(2))


# ---- text that is no saved graph


def refused(text, message):
    with pytest.raises(FormatError, match=message) as caught:
        from_json(text)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 500
    assert "; " in said  # what happened; what to do


def text_of_sum(**options):
    """The text of a sum, of which the tests below change a part."""
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="x")
    x.grad = np.array([[1.0, 0.0], [0.0, 1.0]])
    return to_json(x.sum(axis=0), **options)


SHAPE, DTYPE, DATA = '"shape": [2, 2]', '"shape": [2], "dtype": "float64"', "[[1.0, 2.0], [3.0, 4.0]]"
NEEDS, GRAD = '"requires_grad": true, "name"', '"grad": [[1.0, 0.0], [0.0, 1.0]]'
PARAMS = '{"axis": [0], "keepdims": false}'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 2', '"version": 1', r'node 0: there is no field "shape"; these are: data, grad, name, op'),
        ('"shape": [2, 2], ', "", r'node 0: the field "shape" is missing'),
        ('"dtype": "float64", "data": [[', '"data": [[', r'node 0: the field "dtype" is missing'),
        ('"shape": [2, 2], "dtype": "float64", "data": [[1', '"data": [[1', r'node 0: the field "dtype" is missing'),
        (SHAPE, '"shape": [2, 3]', r'node 0: "data\[0\]" has to be a list of 3, .* not a list of 2'),
        (SHAPE, '"shape": [4]', r'node 0: "data" has to be a list of 4, as its shape says, not a list of 2'),
        (SHAPE, '"shape": []', r'node 0: "data" has to be a number, .* not a list'),
        (SHAPE, '"shape": [2]', r'node 0: "data\[0\]" has to be a number, .* not a list'),
        (SHAPE, '"shape": [2, 2, 1]', r'node 0: "data\[0\]\[0\]" has to be a list of 1, .* not 1.0'),
        (SHAPE, '"shape": [2, -2]', r'node 0: "shape" has to be a list of up to 32 lengths, not a list'),
        (SHAPE, '"shape": [2, 2.0]', r'"shape" has to be a list of up to 32 lengths'),
        (SHAPE, '"shape": [2, true]', r'"shape" has to be a list of up to 32 lengths'),
        (SHAPE, '"shape": 4', r'"shape" has to be a list of up to 32 lengths, not 4'),
        (SHAPE, '"shape": {}', r'"shape" has to be a list of up to 32 lengths, not an object'),
        (SHAPE, f'"shape": {[1] * 33}', r'"shape" has to be a list of up to 32 lengths'),
        (SHAPE, '"shape": [1000000000, 1000000000]', r'"shape" is of an array larger than the text'),
        (SHAPE, '"shape": [' + "9" * 400 + "]", r'"shape" is of an array larger than the text'),
        (DTYPE, '"shape": [2], "dtype": "float16"', r'node 1: "dtype" has to be "float64" or'),
        (DTYPE, '"shape": [2], "dtype": "float32"',
         r"node 1: its data is of shape \(2,\) and dtype float32, but sum of its operands gives numbers .* float64"),
        (DTYPE, '"shape": [2], "dtype": "O"', r'has to be "float64" or "float32", not "O"'),
        (DTYPE, '"shape": [2], "dtype": []', r"not a list"),
        (DATA, "[[1.0, 2.0], [3.0]]", r'"data\[1\]" has to be a list of 2, .* not a list of 1'),
        (DATA, "[[1.0, 2.0], [3.0, true]]", r'"data\[1\]\[1\]" has to be a number, .*, not true'),
        (DATA, '[[1.0, 2.0], [3.0, "4"]]', r'"data\[1\]\[1\]" has to be a number, .*, not "4"'),
        (DATA, "[[1.0, NaN], [3.0, 4.0]]", r'"data\[0\]\[1\]" is nan, no JSON number'),
        (DATA, "[[1.0, 1e999], [3.0, 4.0]]", r'"data\[0\]\[1\]" is inf, no JSON number'),
        (DATA, "[[1.0, " + "9" * 400 + "], [3.0, 4.0]]", r"an integer too large for a float"),
        (DATA, "10.0", r'node 0: "data" has to be a list of 2, as its shape says, not 10.0'),
        (DATA, '"nan"', r'node 0: "data" has to be a list of 2, .* not "nan"'),
        (DATA, "[[1.0, 2.0], [3.0, 4.5]]", r"node 1: its data .*, but sum .* gives other numbers"),
        ("[4.0, 6.0]", "[4.0, 6.1]", r"node 1: its data .* gives other numbers"),
        ("[4.0, 6.0]", '[4.0, "nan"]', r"node 1: its data .* gives other numbers"),
        ("[4.0, 6.0]", '[4.0, "inf"]', r"node 1: its data .* gives other numbers"),
        (NEEDS, '"requires_grad": 1, "name"', r'"requires_grad" has to be true or false, not 1'),
        (NEEDS, '"requires_grad": null, "name"', r'"requires_grad" has to be true or .* not null'),
        (NEEDS, '"needs": true, "name"', r'no field "needs"; these are: data, dtype, grad, name'),
        (GRAD, '"grad": 1.0', r'node 0: "grad" has to be a list of 2, as its shape says, not'),
        (GRAD, '"grad": [1.0, 0.0]', r'"grad\[0\]" has to be a list of 2, .* not 1.0'),
        (GRAD, '"grad": null', r'"grad" has to be a list of 2, .* not null'),
        ('"sum"', '"sun"', r'no operation "sun" here, did you mean sum\?; save the graph again'),
        ('"sum"', '"add"', r'no operation "add" here'),
        ('"sum"', '"__class__"', r'no operation "__class__" here'),
        ('"sum"', "null", r"a leaf, whose op is null, has no operands, not 1"),
        ('"sum"', '"mean"', r"node 1: its data .*, but mean .* gives other numbers"),
        ('"sum"', '"softmax"', r'node 1, params: there is no field "keepdims"; these are: axis'),
        ('"sum"', '"matmul"', r"node 1: matmul takes 2 operands, not 1"),
        ('"params": {"axis": [0], "keepdims": false}, ', "", r'the field "params" is missing, which sum has'),
        ('"op": null', '"op": null, "params": {}', r"a leaf, whose op is null, has no operands, not 0"),
        (PARAMS, "[]", r"node 1, params: it has to be an object, not a list"),
        (PARAMS, "null", r"node 1, params: it has to be an object, not null"),
        (PARAMS, '{"axis": [0]}', r'node 1, params: the field "keepdims" is missing'),
        (PARAMS, '{"axis": [0], "keepdims": false, "out": 1}', r'there is no field "out"'),
        (PARAMS, '{"axis": [0], "axis": [0], "keepdims": false}', r'"axis" stands there twice'),
        ('"axis": [0]', '"axis": 0', r'node 1: "axis" has to be a list of integers from 0 on, not 0'),
        ('"axis": [0]', '"axis": [-2]', r'node 1: "axis" has to be a list of integers from 0 on'),
        ('"axis": [0]', '"axis": [0.0]', r'node 1: "axis" has to be a list of integers from 0 on'),
        ('"axis": [0]', '"axis": [true]', r'node 1: "axis" has to be a list of integers from 0 on'),
        ('"axis": [0]', '"axis": [2]', r"node 1: sum cannot be computed: sum along axis 2 of x"),
        ('"axis": [0]', '"axis": [0, 0]', r"node 1: sum cannot be computed"),
        ('"axis": [0]', '"axis": [' + "9" * 30 + "]", r'node 1: "axis" has to be a list of integers'),
        ('"axis": [0]', '"axis": null', r"node 1: its data is of shape \(2,\) .* gives numbers of shape \(\)"),
        ('"axis": [0]', '"axis": [1]', r"node 1: its data .* gives other numbers"),
        ('"keepdims": false', '"keepdims": 0', r'"keepdims" has to be true or false, not 0'),
        ('"keepdims": false', '"keepdims": true', r"node 1: its data is of shape \(2,\) .* numbers of shape \(1, 2\)"),
        ('"operands": [0]', '"operands": [{"constant": 1}]', r"none of the operands of sum is a node"),
        ('"operands": [0]', '"operands": []', r"sum takes 1 operand, not 0"),
        ('"operands": [0], "shape": [2], "dtype": "float64", "data": [4.0, 6.0], "requires_grad": true',
         '"operands": [0], "data": 4.0', r"node 1: sum of these operands gives a Tensor, which has a shape"),
    ],
    ids=lambda x: ascii(x)[:40],
)  # fmt: skip
def test_a_changed_part_is_found(old, new, message):
    assert text_of_sum().count(old) == 1
    refused(text_of_sum().replace(old, new), message)


def tensor(shape, data, op=None, operands=(), dtype="float64", **more):
    return {"op": op, "operands": list(operands), "shape": shape, "dtype": dtype, "data": data, **more}


def value(data, op=None, operands=(), **more):
    return {"op": op, "operands": list(operands), "data": data, **more}


def graph(*nodes):
    return json.dumps({"format": "microgad.graph", "version": 2, "root": len(nodes) - 1, "nodes": nodes})


X = tensor([2], [1.0, 2.0])
V = value(3.0)
INDEX = "has to be made of integers, slices, null, .* and arrays of them"


@pytest.mark.parametrize(
    ("op", "params", "message"),
    [
        ("index", {"key": 0}, r'"key" has to be a list, not 0'),
        ("index", {"key": [0.0]}, INDEX),
        ("index", {"key": [True]}, INDEX),
        ("index", {"key": ["x"]}, INDEX),
        ("index", {"key": [[0]]}, INDEX),
        ("index", {"key": [10**30]}, INDEX),
        ("index", {"key": [{"slice": [0, 2]}]}, INDEX),
        ("index", {"key": [{"slice": [0, 2, 0.5]}]}, INDEX),
        ("index", {"key": [{"slice": [0, 2, 0]}]}, r"index does not take operands of shape \(2,\)"),
        ("index", {"key": [{"slice": [0, 2, 1], "x": 1}]}, r'no field "x"; these are: slice'),
        ("index", {"key": [{"data": [0, 1]}]}, r'the field "dtype" is missing'),
        ("index", {"key": [{"dtype": "O", "shape": [1], "data": [0]}]}, INDEX),
        ("index", {"key": [{"dtype": [], "shape": [1], "data": [0]}]}, INDEX),
        ("index", {"key": [{"dtype": "int64", "shape": [1], "data": [0.5]}]}, r'"key: data\[0\]" cannot hold 0.5'),
        ("index", {"key": [{"dtype": "bool", "shape": [2], "data": [1, 0]}]}, r'"key: data\[0\]" cannot hold 1'),
        ("index", {"key": [{"dtype": "int64", "shape": [2], "data": [0]}]}, r'"key: data" has to be a list of 2'),
        ("index", {"key": [{"dtype": "int64", "shape": [2], "data": [0, 2]}]}, r"index cannot be computed"),
        ("index", {"key": [{"dtype": "bool", "shape": [3], "data": [True, True, False]}]}, r"index cannot be computed"),
        ("index", {"key": [None] * 65}, r'"key" has to be a list'),
        ("index", {"key": ["...", "..."]}, r"index cannot be computed"),
        ("index", {"key": [0, 0]}, r"node 1: index of its operands gives 1 numbers, and its data are 2"),
        (
            "index",
            {"key": [{"slice": [0, 1, 1]}]},
            r"node 1: index of its operands gives 1 numbers, and its data are 2",
        ),
        ("index", {"key": [{"slice": [None] * 3}, {"slice": [None] * 3}]}, r"index does not take operands of shape"),
        ("cast", {"to": "float16"}, r'"to" has to be "float64" or "float32", not "float16"'),
        ("cast", {"to": [2]}, r'"to" has to be "float64" or "float32", not a list'),
        ("reshape", {"to": "float64"}, r'"to" has to be a list of up to 32 lengths'),
        ("reshape", {"to": [-1]}, r'"to" has to be a list of up to 32 lengths'),
        ("transpose", {"axes": [1]}, r"transpose cannot be computed"),
        ("transpose", {"axes": [0, 1]}, r"transpose cannot be computed"),
        ("stack", {"axis": None}, r'"axis" has to be an axis counted from 0, not null'),
        ("stack", {"axis": [0]}, r'"axis" has to be an axis counted from 0, not a list'),
        ("stack", {"axis": 2}, r"stack cannot be computed"),
        ("stack", {"axis": -1}, r'"axis" has to be an axis counted from 0, not -1'),
        ("sum_to", {"to": [1, 2]}, r"sum_to cannot be computed"),
        ("neg", {}, r'no operation "neg" here'),
        ("neg", None, r'no operation "neg" here'),
    ],
)
def test_parameters_that_do_not_fit(op, params, message):
    refused(graph(X, tensor([2], [1.0, 2.0], op, [0], params=params)), message)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((V, tensor([2], [6.0, 6.0], "neg", [0])), r"node 1: neg of these operands gives a Value, which has no shape"),
        ((X, value(1.0, "neg", [0])), r"node 1: neg of these operands gives a Tensor, which has a shape"),
        ((X, value(1.0, "softmax", [0], params={"axis": None})), r"softmax of these operands gives a Tensor"),
        ((X, tensor([], 1.0, "item", [0], params={"at": [0]})), r"node 1: item of these operands gives a Value"),
        ((X, value(1.0, "item", [0], params={"at": []})), r"item does not take operands of shape \(2,\)"),
        ((X, value(1.0, "item", [0], params={"at": [0, 0]})), r"item does not take operands of shape \(2,\)"),
        ((X, value(1.0, "item", [0], params={"at": [2]})), r"item cannot be computed"),
        ((X, value(1.0, "item", [0], params={"at": [-1]})), r'"at" has to be a list of integers from 0 on'),
        ((X, value(2.0, "item", [0], params={"at": [0]})), r"node 1: its data is 2.0, but item of its operands is 1.0"),
        ((X, value(1.0, "item", [0])), r'the field "params" is missing, which item has'),
        ((V, value(3.0, "item", [0], params={"at": []})), r"item cannot be computed"),
        ((X, tensor([], 1.0, "nll", [0, 0], params={"reduction": "max"})), r'"reduction" has to be "mean", "sum" or'),
        *(
            ((X, tensor([], 1.0, "cross_entropy", [0, 0], params={"reduction": "sum", "hard": hard})), message)
            for hard, message in [
                (1, r'"hard" has to be true or false, not 1'),
                (None, r'"hard" has to be true or false, not null'),
                ("true", r'"hard" has to be true or false, not "true"'),
                (True, r'node 1: "hard" has to be false where a target does not add up to 1'),
                (False, r"node 1: its data is of shape \(\) .*, but cross_entropy of its operands gives other numbers"),
            ]
        ),
        (
            (X, tensor([], 1.0, "cross_entropy", [0, 0], params={"reduction": "sum"})),
            r'node 1, params: the field "hard" is missing',
        ),
        *(
            ((tensor([], 1.0), tensor([], 0.0, row, [0, 0], params=params)), rf"{row} does not take operands of shape")
            for row, params in [
                ("nll", {"reduction": "none"}),
                ("cross_entropy", {"reduction": "none", "hard": False}),
            ]
        ),
        (
            (X, tensor([], 0.0, "cross_entropy", [0, {"constant": 1.0}], params={"reduction": "sum", "hard": True})),
            r"cross_entropy does not take operands of shape \(2,\) and \(\)",
        ),
        (
            (X, tensor([2], [1.0, 2.0], "linear", [0, 0, 0], params={})),
            r"linear does not take operands of shape \(2,\)",
        ),
        ((X, V, tensor([], 1.0, "matmul", [0, 1], params={})), r"matmul does not take operands of shape \(2,\) and"),
        ((X, tensor([3], [1.0] * 3), tensor([3], [1.0] * 3, "add", [0, 1])), r"add does not take operands of shape"),
        ((X, tensor([1], [0.0]), tensor([3], [0.0] * 3, "concatenate", [0, 1])), r'the field "params" is missing'),
        (
            (
                tensor([1, 2], [[1.0, 2.0]]),
                tensor([2, 1], [[3.0], [4.0]]),
                tensor([], -11.0, "nll", [0, 1], params={"reduction": "sum"}),
            ),
            r"nll does not take operands of shape \(1, 2\)",
        ),
        (
            (
                tensor([1, 2], [[1.0, 2.0]]),
                tensor([2, 1], [[1.0], [0.0]]),
                tensor([], 1.0, "cross_entropy", [0, 1], params={"reduction": "sum", "hard": False}),
            ),
            r"cross_entropy does not take operands of shape \(1, 2\) and \(2, 1\): it needs logits and target",
        ),
        ((tensor([2], [1e300, 0.0], dtype="float32"),), r'node 0: "data" has a number too large for float32'),
    ],
)
def test_operands_that_do_not_fit(nodes, message):
    refused(graph(*nodes), message)


LONG = 3000
ROW, COLUMN = tensor([1, LONG], [[1.0] * LONG]), tensor([LONG, 1], [[1.0]] * LONG)
ZEROS = {"dtype": "int64", "shape": [LONG], "data": [0] * LONG}
FIRST = {"axis": [0], "keepdims": False}
BOMBS = {  # small texts of large arrays
    "a shape": (tensor([10**10], [1.0]),),
    "an empty shape": (tensor([0, 10**12], []), tensor([1], [0.0], "prod", [0], params=FIRST)),
    "a million": (tensor([0, 10**6], []), tensor([1], [0.0], "prod", [0], params=FIRST)),
    "broadcast_to": (X, tensor([2], [1.0, 2.0], "broadcast_to", [0], params={"to": [10**10, 2]})),
    "broadcast_to, in the text's size": (X, tensor([2], [1.0, 2.0], "broadcast_to", [0], params={"to": [500_000, 2]})),
    "reshape": (X, tensor([2], [1.0, 2.0], "reshape", [0], params={"to": [0, 10**15]})),
    "scatter": (X, tensor([2], [1.0, 2.0], "scatter", [0], params={"key": [{"slice": [0, 2, 1]}], "to": [900_000]})),
    "an outer sum": (ROW, COLUMN, tensor([1], [1.0], "add", [0, 1])),
    "an outer choice": (ROW, COLUMN, tensor([1], [1.0], "where", [0, 1, {"constant": 0.0}])),
    "an outer product": (COLUMN, ROW, tensor([1, 1], [[1.0]], "matmul", [0, 1], params={})),
    "a product over nothing": (tensor([LONG, 0], [[]] * LONG), tensor([0, LONG], []),
                               tensor([1], [0.0], "matmul", [0, 1], params={})),
    "a batch of products": (tensor([LONG, 1, 1], [[[1.0]]] * LONG), tensor([1, 1, LONG], [[[1.0] * LONG]]),
                            tensor([1], [0.0], "matmul", [0, 1], params={})),
    "a layer": (COLUMN, COLUMN, tensor([LONG], [0.0] * LONG), tensor([1], [0.0], "linear", [0, 1, 2], params={})),
    "an index": (ROW, tensor([1], [1.0], "index", [0], params={"key": [ZEROS]})),
    "an index of a slice": (ROW, tensor([1], [1.0], "index", [0], params={"key": [ZEROS, {"slice": [None] * 3}]})),
    "an outer index": (ROW, tensor([1], [1.0], "index", [0], params={
        "key": [{"dtype": "int64", "shape": [LONG, 1], "data": [[0]] * LONG}, ZEROS]})),
    "stack": (ROW, tensor([1], [1.0], "stack", [0] * 10_000, params={"axis": 0})),
    "concatenate": (ROW, tensor([1], [1.0], "concatenate", [0] * 10_000, params={"axis": 0})),
    "a loss": (ROW, COLUMN, tensor([], 1.0, "nll", [0, 1], params={"reduction": "sum"})),
    "a loss of each": (COLUMN, ROW, tensor([], 1.0, "cross_entropy", [0, 1], params={
        "reduction": "none", "hard": False})),
    "lists in lists": None,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_no_text_makes_an_array_larger_than_itself(name):
    text = graph(*(BOMBS[name] or [X])).replace(
        "[1.0, 2.0]" if name == "lists in lists" else "\0", "[" * 900 + "]" * 900
    )
    tracemalloc.start()
    with pytest.raises(FormatError):
        from_json(text)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < (12_000_000 if name == "a million" else 5_000_000)  # 9 million numbers would be 72


def test_what_other_programs_may_write_is_read():
    assert from_json(graph(tensor([2], [1, -0.0]))).data.tolist() == [1.0, -0.0]
    assert from_json(graph(tensor([2], [0.1, "inf"], dtype="float32"))).data.tolist() == [
        float(np.float32(0.1)),
        math.inf,
    ]
    assert from_json(graph({**X, "requires_grad": False})).requires_grad is False
    text = text_of_sum().replace("1.0", "1").replace(" ", "\n")
    assert picture(from_json(text)) == picture(from_json(text_of_sum()))


def test_a_graph_of_values_in_the_newer_version():
    text = to_json(Value(3.0, "x") * 2.0)
    assert picture(from_json(text.replace('"version": 1', '"version": 2'))) == picture(from_json(text))


def test_version_1_has_no_arrays():
    x = Tensor([1.0])
    text = to_json(mg.unbind(x)[0]).replace('"version": 2', '"version": 1')
    refused(text, r'node 0: there is no field "shape"')
    text = graph(V, value(3.0, "item", [0], params={"at": []})).replace('"version": 2', '"version": 1')
    refused(text, r'node 1: there is no field "params"')


# ---- random damage: an error, or the graph that the damaged text stands for


def stands_for(text, f):
    """Whether `f` is the graph in the text: what is saved of it says the same."""

    def pairs(of):
        assert len(of) == len(dict(of))
        return dict(of)

    told = json.loads(text, object_pairs_hook=pairs)
    again = json.loads(to_json(f))
    order = topological_order(f)
    assert len(order) == len(told["nodes"])
    of, rest = {}, [(told["root"], len(order) - 1)]
    while rest:
        i, k = rest.pop()
        if i in of:
            assert of[i] == k
            continue
        of[i] = k
        entry, mine = told["nodes"][i], again["nodes"][k]
        assert {**entry, "operands": 0, "requires_grad": entry.get("requires_grad") or False} == {
            **mine, "operands": 0, "requires_grad": mine.get("requires_grad", False)
        }  # fmt: skip
        for x, y in zip(entry["operands"], mine["operands"], strict=True):
            if type(x) is int:
                rest.append((x, y))
            else:
                assert x == y
    assert len(of) == len(order)
    return True


def saved():
    w, v = Tensor([[1.0, -2.0]], requires_grad=True, name="w"), Value(0.5, "v")
    f = (mg.exp(w * v)[0, [1, 0, 1]] @ np.array([[1.0], [2.0], [math.inf]])).sum(axis=0) + mg.stack([v, 3.0])[:1]
    f.backward()
    return to_json(f)


with np.errstate(all="ignore"):
    SAVED = saved()
PARTS = sorted({*re.findall(r'"\w+"|-?[\d.]+|[][{},: ]', SAVED), "NaN", "1e999", "true", "null", "[]", "é", "\\", "0"})
edits = st.lists(
    st.tuples(
        st.integers(0, len(SAVED)), st.integers(0, 12), st.sampled_from(PARTS) | st.just("") | st.text(max_size=2)
    ),
    min_size=1,
    max_size=3,
)


@settings(many, max_examples=120)
@given(edits)
def test_damaged_text_is_an_error_or_what_it_says(edits):
    text = SAVED
    for at, length, new in edits:
        text = text[:at] + new + text[at + length :]
    with contextlib.suppress(FormatError):
        assert stands_for(text, from_json(text))


@settings(many, max_examples=120)
@given(st.data())
def test_swapped_parts_are_an_error_or_what_they_say(data):
    parts = re.findall(r'"[^"]*"|-?[\d.e-]+|null|true|false|[^"\d]', SAVED)
    values = [i for i, part in enumerate(parts) if part[0] in '"-0123456789ntf']
    i, j = data.draw(st.sampled_from(values)), data.draw(st.sampled_from(values))
    parts[i], parts[j] = parts[j], parts[i]
    with contextlib.suppress(FormatError):
        assert stands_for("".join(parts), from_json("".join(parts)))


FIELDS = ["op", "operands", "params", "shape", "dtype", "data", "requires_grad", "name", "grad"]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats()
    | st.sampled_from(["add", "sum", "nan", "...", "float32"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*FIELDS, "key", "axis", "slice", "constant"]), inner, max_size=5)
    ),
    max_leaves=6,
)


@settings(many, max_examples=120)
@given(st.integers(0, len(json.loads(SAVED)["nodes"]) - 1), st.sampled_from(FIELDS), anything)
def test_any_value_in_any_field_is_an_error_or_what_it_says(i, field, value):
    told = json.loads(SAVED)
    told["nodes"][i][field] = value
    text = json.dumps(told)
    with contextlib.suppress(FormatError):
        assert stands_for(text, from_json(text))


@settings(many, max_examples=120)
@given(st.sampled_from(sorted({case.row.name for case in CASES if case.row.vjp})), st.data())
def test_any_parameter_is_an_error_or_what_it_says(name, data):
    case = data.draw(st.sampled_from([case for case in CASES if case.row.name == name]))
    told = json.loads(to_json(case(*leaves(case))))
    entry = told["nodes"][-1]
    if entry["params"]:
        entry["params"][data.draw(st.sampled_from(sorted(entry["params"])))] = data.draw(anything)
    if data.draw(st.booleans()):
        entry["op"] = data.draw(st.sampled_from(sorted(ROWS)))
    text = json.dumps(told)
    with contextlib.suppress(FormatError):
        assert stands_for(text, from_json(text))


def test_every_beginning_of_a_text_is_an_error():
    for end in range(0, len(SAVED), 3):
        with pytest.raises(FormatError):
            from_json(SAVED[:end])


def test_a_sum_of_a_reduced_row_is_the_row_of_the_table():
    g = from_json(text_of_sum())
    assert g.prim is total.given(axis=(0,), keepdims=False)

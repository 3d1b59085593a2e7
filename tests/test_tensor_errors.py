"""What a bad call says: which operation, which node, which shapes, and what to do; and nobody else's exceptions."""

import array
import collections
import datetime
import math
import operator
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.errors import GraphCutError, InputError, InteriorError, MicrogadError, ShapeError

HOME = {str(Path(mg.__file__).parent), str(Path(nn.__file__).parent), str(Path(nn.__file__).resolve().parent)}


def leaf(data, name=None):
    return Tensor(data, requires_grad=True, name=name)


X = Tensor(np.ones((2, 3)), name="X")  # needs no gradient
W = leaf(np.ones((2, 3)), "W")
B = leaf([1.0, 2.0, 3.0, 4.0], "b")
S = leaf(2.0, "s")
V = Value(1.0, "v")
H = W * 2.0
EMPTY = Tensor(np.zeros((0, 3)), name="E")


def fresh():
    """A tensor that no graph has seen."""
    return Tensor(np.ones((2, 3)), name="X")


def set_data(x, data):
    x.data = data


def set_grad(x, grad):
    x = leaf(x.data, x.name)
    x.grad = grad
    x.sum().backward()


# ---- one table: the call, the class of the error, and what its text has to say

ERRORS = [
    # operators: both shapes, both names, the operation
    (lambda: W + B, ShapeError, "add of W of shape (2, 3) and b of shape (4,): 3 and 4 differ"),
    (lambda: X - [1, 2], ShapeError, "sub of X of shape (2, 3) and [1.0, 2.0] of shape (2,): 3 and 2 differ"),
    (lambda: [[1, 2]] * W, ShapeError, "mul of", "shape (1, 2) and W of shape (2, 3)"),
    (lambda: np.ones((5, 3)) / W, ShapeError, "div of", "shape (5, 3) and W of shape (2, 3): 5 and 2 differ"),
    (lambda: W ** Tensor(np.ones((3, 2))), ShapeError, "pow of W of shape (2, 3) and", "(3, 2)", "equal, or 1"),
    (lambda: mg.maximum(H, B), ShapeError, "maximum of W * 2.0 of shape (2, 3) and b of shape (4,)"),
    (lambda: mg.where(X, B, 0.0), ShapeError, "where of X of shape (2, 3) and b of shape (4,) and the number 0.0"),
    (lambda: mg.clip(W, B, 1.0), ShapeError, "clip of W of shape (2, 3) and b of shape (4,)"),
    (lambda: mg.leaky_relu(W, B), ShapeError, "leaky_relu of W of shape (2, 3) and b of shape (4,)"),
    (lambda: mg.exp(W.T)[0] + B, ShapeError, "add of exp(…)[0] of shape (2,) and b of shape (4,)"),
    (lambda: W < B, ShapeError, "comparison of W of shape (2, 3) and b of shape (4,)"),
    (lambda: W == [1, 2], ShapeError, "comparison of W of shape (2, 3)", "of shape (2,)"),
    (lambda: np.ones(4) < W, ShapeError, "(4,)", "W of shape (2, 3)"),
    (lambda: np.less(W, B), ShapeError, "np.less of W of shape (2, 3) and b of shape (4,)"),
    (lambda: np.add(W, B), ShapeError, "add of W of shape (2, 3) and b of shape (4,)"),
    (lambda: W + "a", InputError, "add with W", "not with str 'a'"),
    (lambda: None * W, InputError, "mul with W", "not with NoneType None"),
    (lambda: W - 1j, InputError, "sub with W", "not with complex 1j"),
    (lambda: {1, 2} / W, InputError, "div with W", "not with set {1, 2}"),
    (lambda: W ** b"a", InputError, "pow with W", "bytes b'a'"),
    (lambda: W @ {"a": 1}, InputError, "matmul with W", "dict {'a': 1}"),
    (lambda: W + np.timedelta64(1, "s"), InputError, "add with W", "timedelta64"),
    (lambda: W + 10**400, InputError, "add with W", "too large for a float"),
    (lambda: W + np.array(["a"]), InputError, "add with W", "dtype <U1", "np.asarray(x, float)"),
    (lambda: W + np.array([1j]), InputError, "add with W", "complex128", ".real and .imag"),
    (lambda: W * [[1], [2, 3]], ShapeError, "mul with W", "rows of different lengths"),
    (lambda: W * [V, V, V], GraphCutError, "mul with W", "a list that holds the Value v", "mg.stack"),
    (lambda: W + np.ma.array([1.0, 2.0, 3.0]), InputError, "add with W", "no mask", "filled"),
    # matrix products: which lengths do not meet
    (lambda: W @ X, ShapeError, "matmul of W of shape (2, 3) and X of shape (2, 3): 3 and 2 differ"),
    (lambda: B @ W, ShapeError, "matmul of b of shape (4,) and W of shape (2, 3): 4 and 2 differ"),
    (lambda: W @ B, ShapeError, "matmul of W of shape (2, 3) and b of shape (4,): 3 and 4 differ", "the last axis"),
    (lambda: W @ S, ShapeError, "matmul of W of shape (2, 3) and s of shape ()", "multiplied by *"),
    (lambda: 2.0 @ W, ShapeError, "the number 2.0 and W of shape (2, 3)", "multiplied by *"),
    (lambda: np.matmul(W, W), ShapeError, "matmul of W of shape (2, 3) and W of shape (2, 3)"),
    (
        lambda: Tensor(np.ones((2, 2, 3)), name="P") @ Tensor(np.ones((5, 3, 2)), name="Q"),
        ShapeError,
        "matmul of P of shape (2, 2, 3) and Q of shape (5, 3, 2): the axes in front do not broadcast",
    ),
    (lambda: nn.linear(X, B), ShapeError, "linear of X", "(2, 3)", "weight b", "(4,)", "(..., n)"),
    (lambda: nn.linear(X, W, [1.0]), ShapeError, "linear", "weight W", "(2, 3)", "bias [1.0]", "(1,)"),
    (lambda: nn.linear("a", W), InputError, "linear", "str 'a'"),
    (lambda: nn.linear(X, [["a"]]), InputError, "weight of linear", "dtype <U1"),
    # axes
    (lambda: W.sum(axis=2), ShapeError, "sum along axis 2: W of shape (2, 3) has 2 axes, -2 to 1"),
    (lambda: H.mean(-3), ShapeError, "mean along axis -3: W * 2.0 of shape (2, 3) has 2 axes"),
    (lambda: W.max((0, 0)), ShapeError, "max of W", "(0, 0)", "twice"),
    (lambda: W.min((0, -2)), ShapeError, "min of W", "twice"),
    (lambda: W.prod(1.5), InputError, "prod of W", "whole number", "float 1.5"),
    (lambda: W.var("rows"), InputError, "of W", "str 'rows'"),
    (lambda: W.logsumexp(True), InputError, "logsumexp of W", "bool True"),
    (lambda: W.sum(math.nan), InputError, "sum of W", "float nan"),
    (lambda: S.sum(0), ShapeError, "sum along axis 0: s of shape () has none", "one number"),
    (lambda: mg.softmax(S), ShapeError, "softmax along axis -1: s of shape ()", "one number"),
    (lambda: mg.log_softmax(W, axis=7), ShapeError, "log_softmax along axis 7: W of shape (2, 3)"),
    (lambda: np.sum(W, axis=4), ShapeError, "sum along axis 4: W of shape (2, 3)"),
    (lambda: np.argmax(W, axis=4), ShapeError, "np.argmax of W of shape (2, 3)", "axis 4"),
    (lambda: W.sum(keepdims=1), InputError, "keepdims of sum", "int 1"),
    (lambda: W.var(correction=6), InputError, "var of 6 numbers", "below 6"),
    (lambda: EMPTY.max(), ShapeError, "max of", "(0, 3)", "at least one number"),
    (lambda: EMPTY.min(axis=0), ShapeError, "min along axis 0 of E of shape (0, 3)", "at least one number"),
    (lambda: mg.softmax(W, temperature=0), InputError, "temperature", "above 0", "int 0"),
    (lambda: mg.softmax(W, temperature=-1.0), InputError, "temperature", "float -1.0"),
    (lambda: mg.softmax(W, temperature=math.nan), InputError, "temperature", "nan"),
    (lambda: mg.softmax(W, temperature="hot"), InputError, "temperature", "str 'hot'"),
    (lambda: mg.softmax(W, temperature=B), ShapeError, "W of shape (2, 3)", "b of shape (4,)"),
    # shapes
    (lambda: W.reshape(4, 2), ShapeError, "reshape of W of shape (2, 3) to (4, 2)", "6 numbers", "-1"),
    (lambda: W.reshape(-1, 4), ShapeError, "reshape of W of shape (2, 3) to (-1, 4)", "6 numbers"),
    (lambda: W.reshape(-1, -1), ShapeError, "reshape of W of shape (2, 3) to (-1, -1)"),
    (lambda: W.reshape("a"), InputError, "reshape of W", "whole numbers"),
    (lambda: W.reshape(2.0, 3), InputError, "reshape of W", "(2.0, 3)"),
    (lambda: W.reshape(10**5000), ShapeError, "reshape of W of shape (2, 3)"),
    (lambda: W.transpose(0), ShapeError, "transpose of W of shape (2, 3)", "all 2"),
    (lambda: W.transpose(0, 2), ShapeError, "transpose along axis 2: W of shape (2, 3)"),
    (lambda: W.swapaxes(0, 5), ShapeError, "swapaxes along axis 5: W of shape (2, 3)"),
    (lambda: W.swapaxes((0, 1), 0), InputError, "swapaxes of W", "one axis"),
    (lambda: W.squeeze(0), ShapeError, "squeeze of W of shape (2, 3) along axis 0", "not 1"),
    (lambda: W.unsqueeze(4), ShapeError, "unsqueeze along axis 4: W of shape (2, 3)", "3 axes, -3 to 2"),
    (lambda: W.unsqueeze((0, 1)), InputError, "unsqueeze of W", "one axis"),
    (lambda: W.broadcast_to((2, 2)), ShapeError, "W of shape (2, 3) does not broadcast to (2, 2)"),
    (lambda: W.broadcast_to("a"), InputError, "broadcast_to of W", "str 'a'"),
    (lambda: mg.concatenate([W, B]), ShapeError, "concatenate along axis 0 of W of shape (2, 3) and b of shape (4,)"),
    (lambda: mg.concatenate([W, X.T], 1), ShapeError, "along axis 1", "(2, 3)", "X.T of shape (3, 2)", "same shape"),
    (lambda: mg.concatenate([]), ShapeError, "concatenate of nothing"),
    (lambda: mg.concatenate(V), ShapeError, "concatenate takes a list", "v"),
    (lambda: mg.concatenate(3.0), InputError, "concatenate takes a list", "float 3.0"),
    (lambda: mg.concatenate([W, X], 2), ShapeError, "concatenate along axis 2: W of shape (2, 3)"),
    (lambda: mg.concatenate([W, X], (0, 1)), InputError, "concatenate of W", "one axis"),
    (lambda: mg.concatenate([W, "a"]), InputError, "concatenate", "str 'a'"),
    (lambda: mg.stack([W, B]), ShapeError, "stack along axis 0 of W of shape (2, 3) and b of shape (4,)", "one shape"),
    (lambda: mg.stack([V, B]), ShapeError, "stack along axis 0 of the number v and b of shape (4,)"),
    (lambda: mg.stack([W, X], 9), ShapeError, "stack along axis 9: W of shape (2, 3)", "3 axes, -3 to 2"),
    (lambda: mg.stack([]), ShapeError, "stack of nothing"),
    (lambda: mg.stack([V, None]), InputError, "stack", "NoneType None"),
    (lambda: mg.split(W, 4), ShapeError, "split of W of shape (2, 3)", "2 along axis 0 is not 4 equal parts"),
    (lambda: mg.split(W, 2.0), InputError, "split", "float 2.0"),
    (lambda: mg.split(W, 2, axis=7), ShapeError, "split along axis 7: W of shape (2, 3)"),
    (lambda: mg.unbind(S), ShapeError, "unbind along axis 0: s of shape ()", "one number"),
    # indices
    (lambda: W[5], ShapeError, "index [5] of W of shape (2, 3)", "out of bounds for axis 0 with size 2"),
    (lambda: H[0, 7], ShapeError, "index [0, 7] of W * 2.0 of shape (2, 3)", "axis 1"),
    (lambda: W[0, 0, 0], ShapeError, "index [0, 0, 0] of W of shape (2, 3)", "too many"),
    (lambda: W[[0, 9]], ShapeError, "index [[0, 9]] of W of shape (2, 3)"),
    (lambda: W[[True, False, True]], ShapeError, "index [[True, False, True]] of W of shape (2, 3)"),
    (lambda: W[[0, 1], [0, 1, 2]], ShapeError, "index [[0, 1], [0, 1, 2]] of W of shape (2, 3)", "(2,) (3,)"),
    (lambda: W[..., ...], ShapeError, "index [..., ...] of W"),
    (lambda: W[::0], ShapeError, "index [::0] of W", "zero"),
    (lambda: W[10**400], ShapeError, "of W of shape (2, 3)"),
    (lambda: W["a"], InputError, "index", "str 'a'"),
    (lambda: W[1.0], InputError, "index", "float 1.0"),
    (lambda: W[[0.5]], InputError, "index", "list [0.5]"),
    (lambda: W["a":], InputError, "slice", "whole numbers"),
    (lambda: W[X], InputError, "index", "the Tensor X", ".data.astype(int)"),
    (lambda: W[V], InputError, "index", "the Value v"),
    (lambda: W[[[0], [0, 1]]], ShapeError, "index", "different lengths"),
    # construction
    (lambda: Tensor([[1, 2], [3]]), ShapeError, "rows of different lengths", "[[1, 2], [3]]", "pad"),
    (lambda: Tensor([1j, 2]), InputError, "real numbers", "complex128", ".real and .imag"),
    (lambda: Tensor("3"), InputError, "real numbers", "str '3'", "np.asarray(x, float)"),
    (lambda: Tensor(["3"]), InputError, "real numbers", "dtype <U1"),
    (lambda: Tensor(b"3"), InputError, "real numbers", "bytes b'3'"),
    (lambda: Tensor(bytearray(b"3")), InputError, "real numbers", "bytearray"),
    (lambda: Tensor(None), InputError, "real numbers", "NoneType None"),
    (lambda: Tensor([1.0, None]), InputError, "real numbers", "dtype object"),
    (lambda: Tensor(object()), InputError, "real numbers", "object"),
    (lambda: Tensor({1, 2}), InputError, "real numbers", "set {1, 2}", "make a list"),
    (lambda: Tensor({"a": 1}), InputError, "real numbers", "dict", "values"),
    (lambda: Tensor(x for x in [1.0]), InputError, "real numbers", "generator", "make a list"),
    (lambda: Tensor(np.array([1, 2], object)), InputError, "real numbers", "dtype=object", "np.asarray(x, float)"),
    (lambda: Tensor([10**400, 1]), InputError, "too large for a float"),
    (lambda: Tensor(np.array("2020", "M8[D]")), InputError, "datetime64[D]", "subtract"),
    (lambda: Tensor(np.array([1], "m8[s]")), InputError, "timedelta64[s]", "divide by a unit"),
    (lambda: Tensor(np.zeros(2, [("a", float)])), InputError, "real numbers", "field"),
    (lambda: Tensor(np.ma.array([1.0], mask=[1])), InputError, "mask", "filled"),
    (lambda: Tensor(V), GraphCutError, "the Value v", "mg.stack"),
    (lambda: Tensor([V, V]), GraphCutError, "a list that holds the Value v", "mg.stack"),
    (lambda: Tensor([[1.0], [W]]), GraphCutError, "the Tensor W", "mg.stack"),
    (lambda: Tensor(H), GraphCutError, "the Tensor W * 2.0", ".detach()"),
    (lambda: Tensor([1.0], requires_grad="yes"), InputError, "requires_grad is True or False", "str 'yes'"),
    # backward
    (lambda: W.backward(), ShapeError, "backward() of W of shape (2, 3)", ".sum() or .mean()", "gradient"),
    (lambda: H.backward(np.ones(3)), ShapeError, "gradient of shape (3,) for W * 2.0 of shape (2, 3)"),
    (lambda: H.backward(1.0), ShapeError, "gradient of shape () for W * 2.0 of shape (2, 3)"),
    (lambda: W.sum().backward([1.0]), ShapeError, "gradient of shape (1,) for sum(W) of shape ()"),
    (lambda: W.sum().backward("a"), InputError, "gradient of sum(W)", "str 'a'"),
    (lambda: W.sum().backward(1j), InputError, "gradient of sum(W)", "complex 1j"),
    (lambda: W.sum().backward([[1], [2, 3]]), ShapeError, "gradient of sum(W)", "different lengths"),
    (lambda: X.sum().backward(), InputError, "nothing below sum(X) needs a gradient", "requires_grad=True", "no_grad"),
    (lambda: set_grad(W, np.zeros(5)), ShapeError, "grad of W", "(5,)", "(2, 3)", "None"),
    (lambda: set_grad(W, {1}), InputError, "grad of W", "set {1}"),
    (lambda: mg.adjoints(W), ShapeError, "adjoints", "W of shape (2, 3)", "not one number", "mg.jacobian"),
    (lambda: W.register_hook(3), InputError, "a hook is a function", "int 3"),
    # changes
    (lambda: set_data(W, np.ones(3)), ShapeError, "data of shape (3,) for W of shape (2, 3)"),
    (lambda: set_data(W, "a"), InputError, "data of W", "str 'a'"),
    (lambda: set_data(H, np.ones((2, 3))), InteriorError, "W * 2.0 is computed", "its inputs"),
    (lambda: operator.setitem(W, 0, 1.0), InteriorError, "W needs a gradient", ".data[...]"),
    (lambda: operator.setitem(H, 0, 1.0), InteriorError, "W * 2.0 is computed", "mg.where"),
    (lambda: operator.setitem(fresh(), 9, 1.0), ShapeError, "X of shape (2, 3)", "out of bounds"),
    (lambda: operator.setitem(fresh(), 0, [1.0, 2.0]), ShapeError, "(2,)", "X of shape (2, 3)"),
    (lambda: operator.setitem(fresh(), 0, "a"), InputError, "X", "str 'a'"),
    (lambda: operator.setitem(fresh(), 0, W[0]), GraphCutError, "X", "W[0]", ".detach()"),
    # Python and NumPy
    (lambda: W.item(), ShapeError, "item() of W of shape (2, 3)", ".tolist()"),
    (lambda: bool(W), InputError, "W of shape (2, 3)", ".data.any()"),
    (lambda: len(S), ShapeError, "s is one number"),
    (lambda: list(S), ShapeError, "s is one number"),
    (lambda: f"{W:.2f}", ShapeError, "W of shape (2, 3)", "'.2f'", "array2string"),
    (lambda: float(S), GraphCutError, "Tensor s", "mg.exp", ".data"),
    (lambda: math.exp(S), GraphCutError, "Tensor s", "mg.exp"),
    (lambda: np.asarray(W), GraphCutError, "W", ".numpy()"),
    (lambda: np.array([W, W]), GraphCutError, "W", ".numpy()"),
    (lambda: np.array([V, V]), GraphCutError, "v", "mg.stack"),
    (lambda: operator.iadd(np.ones((2, 3)), W), InputError, "np.add with out="),
    (lambda: np.cumsum(W), InputError, "np.cumsum records no graph", ".data"),
    (lambda: np.sum(W, dtype=float), InputError, "np.sum", ".data"),
    (lambda: np.hypot(W, W), InputError, "np.hypot records no graph"),
    (lambda: np.add.reduce(W), InputError, "np.add.reduce records no graph"),
    (lambda: np.linalg.norm(W), InputError, "norm records no graph", ".data"),
    # functions
    (lambda: mg.exp("a"), InputError, "exp", "str 'a'"),
    (lambda: mg.tanh(None), InputError, "tanh", "NoneType None"),
    (lambda: mg.maximum(W, "a"), InputError, "str 'a'"),
    (lambda: W.clip(), InputError, "clip needs a bound"),
    (lambda: mg.gelu(W, "fast"), InputError, "gelu", "str 'fast'"),
    (lambda: mg.erf(np.array([1j])), InputError, "erf of", "real numbers"),
    (lambda: nn.cross_entropy(W, [0, 9]), InputError, "label 9", "0 to 2"),
    (lambda: nn.cross_entropy(W, [-1, 0]), InputError, "label -1", "0 to 2"),
    (lambda: nn.cross_entropy(W, [0, 1, 2]), ShapeError, "cross_entropy of W", "(2, 3)", "(3,)", "(2,)"),
    (lambda: nn.cross_entropy(W, [0, 1], reduction="avg"), InputError, "reduction", "str 'avg'"),
    (lambda: nn.cross_entropy(S, 0), ShapeError, "cross_entropy of s", "()"),
    (lambda: nn.cross_entropy(W, ["a", "b"]), InputError, "targets of cross_entropy", "dtype <U1"),
    (lambda: nn.cross_entropy("a", [0]), InputError, "cross_entropy", "str 'a'"),
    # transforms
    (lambda: mg.grad(3), InputError, "grad", "function", "int 3"),
    (lambda: mg.grad(lambda x: x)(np.ones(2)), ShapeError, "grad", "(2,)", "not one number", "mg.jacobian"),
    (lambda: mg.grad(lambda x: "a")(1.0), InputError, "grad", "str 'a'"),
    (lambda: mg.grad(lambda x: (x, x))(1.0), InputError, "grad", "mg.jacobian", "has_aux"),
    (lambda: mg.grad(lambda x: x, has_aux=True)(1.0), InputError, "has_aux", "pair"),
    (lambda: mg.vjp(lambda x: x, 1.0, has_aux=True), InputError, "has_aux", "pair"),
    (lambda: mg.grad(lambda x: x)("a"), InputError, "grad", "argument 0", "str 'a'"),
    (lambda: mg.grad(lambda x: x)(np.array([1j])), InputError, "grad", "argument 0", "complex128"),
    (lambda: mg.grad(lambda x: x, 1)(1.0), InputError, "argument 1", "1 positional"),
    (lambda: mg.grad(lambda x: x, "a"), InputError, "argnums", "str 'a'"),
    (lambda: mg.vjp(lambda x: x, np.ones(2))[1](np.ones(3)), ShapeError, "cotangent", "(3,)", "(2,)"),
    (lambda: mg.jvp(lambda x: x, (np.ones(2),), (np.ones(3),)), ShapeError, "tangent", "(3,)", "(2,)"),
    (lambda: mg.jvp(lambda x: x, (1.0,), (1.0, 2.0)), InputError, "jvp", "tangent"),
    (lambda: mg.jvp(lambda x: x, 1.0, 1.0), InputError, "jvp", "tuple"),
    (lambda: mg.hvp(lambda x: x.sum(), np.ones(2), np.ones(3)), ShapeError, "tangent", "(3,)", "(2,)"),
    (lambda: mg.jacobian(lambda x: "a")(1.0), InputError, "jacobian", "str 'a'"),
    (lambda: mg.tree_map(3, [1.0]), InputError, "tree_map", "function", "int 3"),
    (lambda: mg.tree_map(operator.add, [1.0], [1.0, 2.0]), InputError, "tree_map", "list"),
    (lambda: mg.tree_unflatten(mg.tree_structure([1.0, 2.0]), [1.0]), InputError, "2 leaves, not 1"),
    (lambda: mg.no_grad(3), InputError, "no_grad()", "int 3"),
]


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: f"{case[1].__name__}: {case[2]}"[:70])
def test_what_an_error_says(case):
    call, kind, *words = case
    with pytest.raises(MicrogadError) as caught:
        call()
    error = caught.value
    text = str(error)
    assert isinstance(error, kind), repr(error)
    for word in words:
        assert word in text, text
    assert "\n" not in text
    assert len(text) < 400
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__, "the traceback tells of an inner exception as well"
    assert np.array_equal(W.data, np.ones((2, 3)))
    assert np.array_equal(X.data, np.ones((2, 3)))


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", ">i2", "i8", ">i8", "u8"])
def test_labels_of_every_integer_type(kind):
    logits = Tensor(np.zeros((2, 300)))
    logits.data[0, 100] = logits.data[1, 3] = 1.0
    expected = nn.cross_entropy(logits, [100, 3]).item()
    assert nn.cross_entropy(logits, np.array([100, 3], kind)).item() == expected
    if "i" in kind:
        with pytest.raises(InputError, match="the label -1 of 300 classes: labels count from 0 to 299"):
            nn.cross_entropy(logits, np.array([3, -1], kind))


def test_classes_are_those_that_python_code_expects():
    assert issubclass(ShapeError, ValueError)
    assert issubclass(InputError, TypeError)
    assert issubclass(GraphCutError, TypeError)
    assert issubclass(InteriorError, AttributeError)


@pytest.mark.parametrize("call", [lambda: W.sum(0, 1, 2), lambda: mg.softmax(), lambda: Tensor([1.0], size=3)])
def test_a_wrong_number_of_arguments_is_python_s_own_error(call):
    with pytest.raises(TypeError, match="argument"):
        call()


# ---- whatever is given: no exception but ours


class Unknown:
    """Of a class that has nothing to do with numbers."""


class Pretender:
    """It has the attributes of an array, and is none."""

    shape, ndim, dtype, size = (2,), 1, "what", "large"


class Unspeakable:
    """Its text cannot be had."""

    def __repr__(self):
        raise RuntimeError("no")


def itself():
    x = [1.0]
    x.append(x)
    return x


def deep(n):
    x = 1.0
    for _ in range(n):
        x = [x]
    return x


def matrix():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.matrix([[1.0, 2.0], [3.0, 4.0]])


Point = collections.namedtuple("Point", "x y")
BAD = {
    "None": lambda: None,
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "text": lambda: "a",
    "empty text": lambda: "",
    "number as text": lambda: "1",
    "bytes": lambda: b"a",
    "bytearray": lambda: bytearray(b"ab"),
    "object": object,
    "unknown": Unknown,
    "pretender": Pretender,
    "unspeakable": Unspeakable,
    "class": lambda: int,
    "module": lambda: np,
    "exception": lambda: ValueError("x"),
    "primitive": lambda: mg.tanh,
    "structure": lambda: mg.tree_structure([1.0]),
    "complex": lambda: 1j,
    "complex number of NumPy": lambda: np.complex128(1j),
    "complex array": lambda: np.array([1j, 2.0]),
    "objects": lambda: np.array([None, 1]),
    "object of no axes": lambda: np.array(None),
    "mixed objects": lambda: np.array([1.0, "a"], object),
    "texts": lambda: np.array(["a", "b"]),
    "text of NumPy": lambda: np.str_("a"),
    "date": lambda: np.datetime64("2020"),
    "dates": lambda: np.array(["2020", "2021"], "M8[D]"),
    "duration": lambda: np.timedelta64(1, "s"),
    "durations": lambda: np.array([1, 2], "m8[s]"),
    "datetime": lambda: datetime.datetime(2020, 1, 1),
    "structured": lambda: np.zeros(2, [("a", float)]),
    "record": lambda: np.zeros((), [("a", float)])[()],
    "masked": lambda: np.ma.array([1.0, 2.0], mask=[0, 1]),
    "matrix": matrix,
    "memoryview": lambda: memoryview(b"ab"),
    "array of Python": lambda: array.array("d", [1, 2]),
    "ragged": lambda: [1, [2]],
    "ragged rows": lambda: [[1, 2], [3]],
    "holds itself": itself,
    "deep": lambda: deep(80),
    "too deep": lambda: deep(3000),
    "huge": lambda: 10**400,
    "huge negative": lambda: -(10**400),
    "unprintable": lambda: 10**5000,
    "list of huge": lambda: [10**400, 1],
    "2 ** 63": lambda: 2**63,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "half": lambda: 0.5,
    "-1": lambda: -1,
    "0": lambda: 0,
    "7": lambda: 7,
    "-7": lambda: -7,
    "True": lambda: True,
    "True of NumPy": lambda: np.bool_(True),
    "Decimal": lambda: Decimal(1),
    "no Decimal": lambda: Decimal("sNaN"),
    "Fraction": lambda: Fraction(1, 3),
    "float16": lambda: np.float16(1),
    "longdouble": lambda: np.longdouble(1),
    "set": lambda: {1, 2},
    "empty set": set,
    "frozenset": lambda: frozenset([1]),
    "dict": lambda: {"a": 1.0},
    "empty dict": dict,
    "dict of tensors": lambda: {"a": leaf([1.0])},
    "generator": lambda: (x for x in [1.0, 2.0]),
    "iterator": lambda: iter([1.0]),
    "range": lambda: range(3),
    "slice": lambda: slice(None),
    "bad slice": lambda: slice("a"),
    "named tuple": lambda: Point(1.0, 2.0),
    "empty list": lambda: [],
    "empty rows": lambda: [[]],
    "empty array": lambda: np.zeros(0),
    "5 numbers": lambda: np.ones(5),
    "(2, 3)": lambda: np.ones((2, 3)),
    "(2, 3, 4)": lambda: np.ones((2, 3, 4)),
    "40 axes": lambda: np.ones((1,) * 40),
    "float32": lambda: np.ones(2, np.float32),
    "indices": lambda: [0, 1],
    "wrong indices": lambda: [-9, 9],
    "mask": lambda: [True, False],
    "wrong mask": lambda: np.ones(5, bool),
    "floats": lambda: [0.5, 1.5],
    "pair": lambda: (0, 1),
    "twice": lambda: (0, 0),
    "pair with None": lambda: (None, 0),
    "pair with text": lambda: (0, "a"),
    "pair with True": lambda: (True,),
    "Value": lambda: Value(2.0),
    "Values": lambda: [Value(1.0), Value(2.0)],
    "tensor": lambda: leaf([1.0, 2.0]),
    "tensor of no axes": lambda: leaf(2.0),
    "tensor (2, 3, 4)": lambda: leaf(np.ones((2, 3, 4))),
    "empty tensor": lambda: leaf(np.zeros((0, 3))),
    "computed": lambda: leaf([1.0, 2.0]) * 2.0,
    "tensors": lambda: [Tensor([1.0, 2.0]), leaf([1.0, 2.0])],
    "tensors that differ": lambda: [Tensor([1.0, 2.0]), leaf([1.0, 2.0, 3.0])],
    "Value and tensor": lambda: [Value(1.0), leaf([1.0, 2.0])],
}


def tensor():
    return leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "t")


def square():
    return leaf([[1.0, 2.0], [3.0, 4.0]], "q")


def hooked(t, gradient):
    with t.register_hook(lambda g: gradient):
        t.sum().backward()


def total(*trees):
    """The sum of the squares of all numbers."""
    squares = [x * x for x in mg.tree_leaves(trees) if isinstance(x, (Value, Tensor))]
    return sum(x.sum() if isinstance(x, Tensor) else x for x in squares)


# Of each callable the arguments of a good call, one after the other to be replaced by a bad thing.
CALLS = {
    "Tensor": (Tensor, lambda: [[1.0, 2.0], True, "name"]),
    "mg.leaky_relu slope": (mg.leaky_relu, lambda: [tensor(), 0.1]),
    "mg.elu alpha": (mg.elu, lambda: [tensor(), 0.1]),
    "mg.gelu approximate": (mg.gelu, lambda: [tensor(), "tanh"]),
    "mg.clip": (mg.clip, lambda: [tensor(), 0.0, 1.0]),
    "mg.where": (mg.where, lambda: [[True, False, True], tensor(), 0.0]),
    "mg.softmax axis": (mg.softmax, lambda: [tensor(), 0, 2.0]),
    "mg.log_softmax axis": (mg.log_softmax, lambda: [tensor(), 0, 2.0]),
    "mg.logsumexp axis": (mg.logsumexp, lambda: [tensor(), 0, True]),
    "mg.unbind axis": (mg.unbind, lambda: [tensor(), 1]),
    "mg.split": (mg.split, lambda: [tensor(), 3, 1]),
    "mg.concatenate": (mg.concatenate, lambda: [[tensor(), tensor()], 0]),
    "mg.concatenate of": (lambda x: mg.concatenate([tensor(), x]), lambda: [tensor()]),
    "mg.stack": (mg.stack, lambda: [[tensor(), tensor()], 0]),
    "mg.stack of": (lambda x: mg.stack([Value(1.0), x]), lambda: [2.0]),
    "mg.adjoints": (mg.adjoints, lambda: [tensor().sum()]),
    "mg.manual_seed": (mg.manual_seed, lambda: [3]),
    "mg.no_grad": (mg.no_grad, lambda: [len]),
    "mg.tree_flatten": (mg.tree_flatten, lambda: [{"a": [1.0, (2.0, None)]}]),
    "mg.tree_leaves": (mg.tree_leaves, lambda: [{"a": [1.0, (2.0, None)]}]),
    "mg.tree_structure": (mg.tree_structure, lambda: [{"a": [1.0, (2.0, None)]}]),
    "mg.tree_map": (mg.tree_map, lambda: [lambda *x: x, {"a": [1.0, 2.0]}, {"a": [3.0, 4.0]}]),
    "mg.tree_unflatten": (mg.tree_unflatten, lambda: [mg.tree_structure([1.0, 2.0]), [1.0, 2.0]]),
    "mg.vjp": (mg.vjp, lambda: [total, np.ones(2)]),
    "mg.vjp result": (lambda x: mg.vjp(lambda _: x, 1.0), lambda: [3.0]),
    "mg.vjp cotangent": (lambda x: mg.vjp(lambda y: y * 2.0, np.ones(2))[1](x), lambda: [np.ones(2)]),
    "mg.vjp of a tree": (lambda x: mg.vjp(lambda y: {"a": y, "b": (y,)}, 1.0)[1](x), lambda: [{"a": 1.0, "b": (1.0,)}]),
    "mg.jvp": (mg.jvp, lambda: [total, (np.ones(2),), (np.ones(2),)]),
    "mg.jvp primal": (lambda x: mg.jvp(total, (x,), (np.ones(2),)), lambda: [np.ones(2)]),
    "mg.jvp tangent": (lambda x: mg.jvp(total, (np.ones(2),), (x,)), lambda: [np.ones(2)]),
    "mg.hvp": (mg.hvp, lambda: [total, np.ones(2), np.ones(2)]),
    "mg.trace": (mg.trace, lambda: [total, np.ones(2)]),
    "mg.trace result": (lambda x: mg.trace(lambda _: x, 1.0), lambda: [3.0]),
    "mg.trace called": (lambda x: mg.trace(total, np.ones(2))(x), lambda: [np.ones(2)]),
    "mg.jit": (mg.jit, lambda: [total]),
    "mg.jit static": (lambda n, name: mg.jit(total, static_argnums=n, static_argnames=name), lambda: [0, "trees"]),
    "mg.vmap": (mg.vmap, lambda: [total, 0, 0]),
    "mg.vmap axes": (lambda x, y: mg.vmap(total, x, y)(np.ones((2, 3))), lambda: [0, 0]),
    "nn.linear": (nn.linear, lambda: [tensor(), tensor(), [1.0, 2.0]]),
    "nn.cross_entropy": (nn.cross_entropy, lambda: [tensor(), [0, 2], "sum"]),
    "t.item": (lambda t: t[0, 0].item(), lambda: [tensor()]),
    "t.argmax": (Tensor.argmax, lambda: [tensor(), 0]),
    "t.clip": (Tensor.clip, lambda: [tensor(), 0.0, 1.0]),
    "t.var": (Tensor.var, lambda: [tensor(), 0, True, 1]),
    "t.softmax": (Tensor.softmax, lambda: [tensor(), 0, 2.0]),
    "t.log_softmax": (Tensor.log_softmax, lambda: [tensor(), 0, 2.0]),
    "t.reshape": (Tensor.reshape, lambda: [tensor(), 3, 2]),
    "t.reshape tuple": (Tensor.reshape, lambda: [tensor(), (3, 2)]),
    "t.transpose axes": (Tensor.transpose, lambda: [tensor(), 1, 0]),
    "t.swapaxes": (Tensor.swapaxes, lambda: [tensor(), 1, 0]),
    "t.squeeze axis": (Tensor.squeeze, lambda: [tensor()[:1], 0]),
    "t.unsqueeze": (Tensor.unsqueeze, lambda: [tensor(), 0]),
    "t.broadcast_to": (Tensor.broadcast_to, lambda: [tensor(), (4, 2, 3)]),
    "t.split": (Tensor.split, lambda: [tensor(), 3, 1]),
    "t.unbind axis": (Tensor.unbind, lambda: [tensor(), 1]),
    "t.backward": (Tensor.backward, lambda: [tensor(), np.ones((2, 3))]),
    "t.register_hook": (lambda t, f: t.register_hook(f).remove(), lambda: [tensor(), len]),
    "t hooked": (hooked, lambda: [tensor(), np.ones((2, 3))]),
    "t[]": (operator.getitem, lambda: [tensor(), 0]),
    "t[,]": (lambda t, i, j: t[i, j], lambda: [tensor(), 0, 1]),
    "t[:]": (lambda t, i, j, k: t[i:j:k], lambda: [tensor(), 0, 1, 1]),
    "t[] =": (operator.setitem, lambda: [Tensor(np.ones((2, 3))), 0, 1.0]),
    "t.data =": (set_data, lambda: [tensor(), np.ones((2, 3))]),
    "t.grad =": (set_grad, lambda: [tensor(), np.ones((2, 3))]),
    "t contains": (operator.contains, lambda: [tensor(), 1.0]),
    "t @": (operator.matmul, lambda: [tensor(), [1.0, 2.0, 3.0]]),
    "@ q": (lambda x: x @ square(), lambda: [[1.0, 2.0]]),
    "np.where": (np.where, lambda: [[True, False, True], tensor(), 0.0]),
    "np.clip": (np.clip, lambda: [tensor(), 0.0, 1.0]),
    "np.reshape": (np.reshape, lambda: [tensor(), (3, 2)]),
    "np.transpose": (np.transpose, lambda: [tensor(), (1, 0)]),
    "np.split": (np.split, lambda: [tensor(), 2]),
    "np.matmul": (np.matmul, lambda: [square(), square()]),
}
of_one = "abs cos elu erf exp gelu leaky_relu log relu sigmoid sign silu sin softplus sqrt step swish tanh"
for name in (*of_one.split(), "softmax", "log_softmax", "logsumexp", "unbind"):
    CALLS[f"mg.{name}"] = getattr(mg, name), lambda: [tensor()]
for name in ("equal", "greater", "maximum", "minimum"):
    CALLS[f"mg.{name}"] = getattr(mg, name), lambda: [tensor(), 2.0]
for name in ("grad", "value_and_grad", "jacobian", "hessian", "hessian_diagonal"):
    transform = getattr(mg, name)
    CALLS[f"mg.{name}"] = transform, lambda: [total, 0]
    CALLS[f"mg.{name} of"] = lambda x, f=transform: f(total)(x), lambda: [np.ones(2)]
    CALLS[f"mg.{name} result"] = lambda x, f=transform: f(lambda _: x)(1.0), lambda: [3.0]
for name in ("jit", "vmap"):
    transform = getattr(mg, name)
    CALLS[f"mg.{name} of"] = lambda x, f=transform: f(total)(x), lambda: [np.ones(2)]
    CALLS[f"mg.{name} in vmap"] = lambda x, f=transform: mg.vmap(f(total))(x), lambda: [np.ones((2, 3))]
    CALLS[f"mg.{name} result"] = lambda x, f=transform: f(lambda _: x)(np.ones(2)), lambda: [3.0]
for name in ("numpy", "tolist", "detach", "relu", "flatten", "transpose", "squeeze", "unbind"):
    CALLS[f"t.{name}"] = getattr(Tensor, name), lambda: [tensor()]
for name in ("sum", "mean", "max", "min", "prod", "logsumexp"):
    CALLS[f"t.{name}"] = getattr(Tensor, name), lambda: [tensor(), 0, True]
for name in ("add", "sub", "mul", "truediv", "pow", "lt", "le", "gt", "ge", "eq", "ne", "iadd", "imul"):
    compute = getattr(operator, name)
    CALLS[f"t {name}"] = compute, lambda: [tensor() + 0.0, 2.0]  # computed: a leaf is not changed in place
    CALLS[f"{name} q"] = lambda x, f=compute: f(x, square()), lambda: [2.0]
for name in ("sum", "mean", "max", "prod", "var", "argmax", "argsort", "any", "add", "less", "maximum", "expand_dims"):
    CALLS[f"np.{name}"] = getattr(np, name), lambda: [tensor(), 0]

# These take no arrays, trees or functions of them, and have tests of their own.
ELSEWHERE = {
    "Value", "backward_steps", "check_grads", "derive", "detect_anomaly", "errors", "evaluation_trace", "formula",
    "forward_steps", "from_json", "nn", "parse", "primitive", "to_json", "viz",
}  # fmt: skip


def test_every_public_callable_is_called():
    functions = {f"mg.{name}" for name in set(mg.__all__) - ELSEWHERE} - {"mg.Tensor"}
    methods = {f"t.{name}" for name in dir(Tensor) if not name.startswith("_") and callable(getattr(Tensor, name))}
    elementwise = {f"t.{name}" for name in mg.__all__} | {"t.swish"}  # methods that are the functions above
    inner = {"t.as_gradient", "t.by_row", "t.collect", "t.constant", "t.edges", "t.flow_back", "t.seed", "t.settle"}
    inner |= {"t.spelled_out"}
    assert functions - set(CALLS) == set()
    assert methods - elementwise - inner - set(CALLS) == set()


@pytest.mark.parametrize(("call", "good"), CALLS.values(), ids=CALLS)
def test_good_calls(call, good):
    call(*good())


def from_us(error):
    """Whether code of microgad stands in the traceback: else an operator of the other operand's own refused."""
    trace, files = error.__traceback__, set()
    while trace:
        files.add(str(Path(trace.tb_frame.f_code.co_filename).parent))
        trace = trace.tb_next
    return bool(files & HOME)


def judged(call, args):
    """Call it, and fail where an exception is neither ours nor one that has nothing to do with us."""
    try:
        found = call(*args)
    except MicrogadError:
        return
    except TypeError as error:
        foreign = str(error).startswith("unsupported operand") or "not supported between instances" in str(error)
        if not foreign and from_us(error):
            raise
        return
    except Exception as error:
        arithmetic = isinstance(error, RuntimeWarning) and not isinstance(error, np.exceptions.ComplexWarning)
        old = isinstance(error, (DeprecationWarning, PendingDeprecationWarning))  # np.matrix; a bool as an index
        if not arithmetic and not old and from_us(error):
            raise
        return
    for x in found if isinstance(found, (tuple, list)) else [found]:
        if isinstance(x, Tensor):
            assert np.asarray(x._value).dtype in (np.float64, np.float32)
        elif isinstance(x, Value):
            assert type(x._value) is float


@pytest.mark.parametrize("name", CALLS)
def test_one_bad_argument(name):
    call, good = CALLS[name]
    of_itself = name.startswith("t") and not isinstance(good()[0], list)  # a method has its tensor
    for k in range(int(of_itself), len(good())):
        for said, bad in BAD.items():
            args = good()
            if callable(args[k]) and callable(bad()):
                continue  # a function that fails in its own way
            args[k] = bad()
            try:
                judged(call, args)
            except Exception as error:
                error.add_note(f"argument {k}: {said}")
                raise


SHAPES = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=3).map(tuple)
AXES = st.one_of(st.integers(-4, 4), st.lists(st.integers(-3, 3), max_size=3).map(tuple), st.none())
THINGS = st.one_of(
    st.sampled_from([name for name in BAD if not callable(BAD[name]())]).map(lambda name: BAD[name]()),
    SHAPES.map(lambda shape: leaf(np.ones(shape))),
    SHAPES.map(np.ones),
    SHAPES,
    AXES,
    st.floats(width=32),
)


@settings(max_examples=600, deadline=None)
@given(name=st.sampled_from(sorted(CALLS)), args=st.lists(THINGS, min_size=1, max_size=4))
def test_any_arguments(name, args):
    call, good = CALLS[name]
    first = good()[:1] if name.startswith("t") else []
    judged(call, [*first, *args, *good()[len(first) + len(args) :]][: len(good())])

"""What a Value is and does, where users of other libraries trip."""

import copy
import itertools
import math
import operator
import pickle
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import microgad as mg
from microgad import Value
from microgad.errors import DomainError, FormatError, GraphCutError, InputError, InteriorError, MicrogadError
from microgad.order import topological_order
from microgad.primitives import TABLE


def named(node):
    """The operands with nodes by name, for comparisons: == on nodes compares numbers."""
    return [getattr(x, "name", x) for x in node.operands]


# ---- what it holds


@pytest.mark.parametrize(
    "given",
    [3, True, 3.0, np.float32(3), np.float64(3), np.int64(3), np.bool_(True), Fraction(3), Decimal(3), np.array(3)],
    ids=lambda given: type(given).__name__,
)
def test_numbers_become_floats(given):
    assert type(Value(given).data) is float
    assert Value(given).data == float(given)


NOT_NUMBERS = [
    "1",
    b"1",
    bytearray(b"1"),
    [1.0],
    None,
    1j,
    np.complex128(1j),
    np.array([1.0]),
    np.array(1j),
    10**400,
    10**5000,  # too long to be printed as well
    Value(1.0),
]


@pytest.mark.parametrize("given", NOT_NUMBERS, ids=lambda given: type(given).__name__)
def test_what_is_no_real_number_is_refused(given):
    with pytest.raises(InputError, match="one real number, not"):
        Value(given)
    leaf = Value(2.0)
    with pytest.raises(InputError):
        leaf.data = given
    assert leaf.data == 2.0


def test_names():
    assert Value(1.0).name is None
    assert Value(1.0, "x").label == "x"
    assert Value(1.0, label="x").name == "x"
    x = Value(1.0)
    x.label = "later"
    assert x.name == "later"


def test_repr_and_format():
    assert repr(Value(2.0)) == "Value(data=2.0, grad=None)"
    x = Value(2.0, "x")
    (x * 3).backward()
    assert repr(x) == str(x) == f"{x}" == "Value(data=2.0, grad=3.0, name='x')"
    assert f"{x:.3f}" == "2.000"


def test_a_leaf_and_a_result():
    x = Value(2.0, "x")
    assert (x.op, x._op, x.inputs, x._prev, x.operands) == ("", "", (), (), ())
    y = x + 1
    assert (y.op, y._op) == ("+", "+")
    assert [id(node) for node in y.inputs] == [id(node) for node in y._prev] == [id(x)]
    assert y.operands[1] == 1.0
    assert type(y.operands[1]) is float


def test_data_of_a_leaf_can_be_set_and_of_a_result_not():
    x = Value(2.0)
    x.data = 5
    assert (type(x.data), (x * 1).data) == (float, 5.0)
    y = Value(1.0, "w") * 2
    with pytest.raises(InteriorError, match=r"w \* 2\.0 is computed"):
        y.data = 1.0
    assert y.data == 2.0


def test_errors_are_also_of_the_kinds_that_python_would_raise():
    assert issubclass(InteriorError, AttributeError)
    assert issubclass(DomainError, ValueError)
    assert issubclass(InputError, TypeError)
    assert all(issubclass(kind, MicrogadError) for kind in (InteriorError, DomainError, InputError, GraphCutError))


def test_a_deep_copy_of_a_long_graph():
    x = Value(0.5, "x")
    f = x
    for _ in range(20_000):
        f = f * 0.999 + x
    twin = copy.deepcopy(f)
    twin.backward()
    assert x.grad is None
    f.backward()
    assert topological_order(twin)[0].grad == x.grad


def test_a_copy_shares_what_was_copied_before():
    x = Value(2.0, "x")
    a, b = copy.deepcopy([x * x, x + 1.0])
    assert a.inputs[0] is b.inputs[0] is not x


def test_a_pickle_knows_its_rows_by_name():
    row = mg.primitive("doubled", lambda x: 2.0 * x, 2.0)
    try:
        node = row(Value(3.0))
        stored = pickle.dumps(node)
        assert pickle.loads(stored).prim is row
        mg.primitive("doubled", lambda x: 2.0 * x, 5.0)
        assert copy.deepcopy(node).prim is row
        with pytest.raises(InputError, match="a node of doubled cannot be pickled: that row is not, or no longer, in"):
            pickle.dumps(node)
    finally:
        del TABLE["doubled"]
    with pytest.raises(FormatError, match=r"needs the primitive doubled: define it with mg\.primitive first"):
        pickle.loads(stored)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_graph_computes_the_same_apart_from_it(duplicate):
    x = Value(2.0, "x")
    f = mg.exp(x * x) - x.relu() * math.nan + mg.where(x > 1, x, 2.0)
    twin = duplicate(f)
    pairs = list(zip(topological_order(f), topological_order(twin), strict=True))
    assert all(a is not b and a.prim is b.prim and len(a.operands) == len(b.operands) for a, b in pairs)
    f.backward()
    assert all(b.grad is None for _, b in pairs)
    twin.backward()
    assert [repr(a) for a, _ in pairs] == [repr(b) for _, b in pairs]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_leaf_is_a_leaf_of_its_own(duplicate):
    x = Value(3.0, "x")
    (x * 2).backward()
    y = duplicate(x)
    assert (y.data, y.grad, y.name, y.op) == (3.0, 2.0, "x", "")
    assert y.operands == () == y.inputs
    y.grad = None
    y.data = 4.0
    (y * y).backward()
    assert (y.grad, x.grad, x.data) == (8.0, 2.0, 3.0)


@pytest.mark.parametrize("bad", [None, "a", [1.0], (1.0,), object(), {}], ids=repr)
@pytest.mark.parametrize("function", [mg.exp, mg.erf, mg.sigmoid, mg.maximum], ids=lambda f: f.__name__)
def test_a_function_of_something_else(function, bad):
    operands = (bad, 1.0) if function is mg.maximum else (bad,)
    with pytest.raises(InputError, match=rf"{function.__name__} is of numbers, arrays and Values, not of \w+"):
        function(*operands)


# ---- operators


@pytest.mark.parametrize("other", [3, 3.0, True, np.float32(3), np.float64(3), np.int64(3), Fraction(3), np.array(3.0)])
@pytest.mark.parametrize(
    ("op", "name"),
    [
        (operator.add, "add"),
        (operator.sub, "sub"),
        (operator.mul, "mul"),
        (operator.truediv, "div"),
        (operator.pow, "pow"),
    ],
)
def test_operators_with_plain_numbers_on_either_side(op, name, other):
    x, number = Value(2.0, "x"), float(other)
    for node, operands in ((op(x, other), ["x", number]), (op(other, x), [number, "x"])):
        assert node.prim is TABLE[name]
        assert named(node) == operands
        assert [type(y) for y in node.operands if not isinstance(y, Value)] == [float]
    assert op(x, other).data == op(2.0, number)
    assert op(other, x).data == op(number, 2.0)


def test_operators_on_two_values_keep_the_order():
    x, y = Value(2.0, "x"), Value(3.0, "y")
    for op, want in (("add", x + y), ("sub", x - y), ("mul", x * y), ("div", x / y), ("pow", x**y)):
        assert want.prim is TABLE[op]
        assert named(want) == ["x", "y"]


def test_signs():
    x = Value(2.0)
    assert (-x).prim is TABLE["neg"]
    assert +x is x


def test_methods_and_functions_are_the_same_rows():
    x = Value(0.5)
    for name in ("exp", "log", "tanh", "relu"):
        assert getattr(x, name)().prim is getattr(mg, name)(x).prim is TABLE[name]
    assert mg.maximum(x, 1).prim is TABLE["maximum"]
    assert mg.minimum(1, x).prim is TABLE["minimum"]


def test_sum_starts_from_the_first_term():
    x, y = Value(1.0, "x"), Value(2.0, "y")
    assert 0 + x is x
    assert 0.0 + x is x
    assert named(sum([x, y])) == ["x", "y"]
    assert sum([x]) is x
    assert (x + 0) is not x


def test_a_square_has_two_edges():
    x = Value(3.0, "x")
    y = x * x
    assert named(y) == ["x", "x"]
    assert len(y.inputs) == 2
    y.backward()
    assert x.grad == 6.0


@pytest.mark.parametrize(
    "other", ["3", None, 1j, [3], {}, Decimal(3), object()], ids=lambda other: type(other).__name__
)
@pytest.mark.parametrize("op", [operator.add, operator.sub, operator.truediv, operator.pow])
def test_operands_of_another_kind_are_refused(op, other):
    for pair in ((Value(2.0), other), (other, Value(2.0))):
        with pytest.raises(TypeError, match=r"unsupported operand|can only concatenate"):  # Python's own words
            op(*pair)


def test_an_integer_beyond_the_floats_is_refused():
    for op in (operator.add, operator.mul, operator.sub, operator.pow):
        with pytest.raises(InputError):
            op(Value(2.0), 10**400)


def test_comparisons_are_of_numbers_and_give_bools():
    x, y = Value(1.0), Value(2.0)
    pairs = [(x, y), (y, x), (x, Value(1.0)), (x, 1), (x, 2.5), (1, x), (x, Fraction(1, 2)), (x, np.float64(1))]
    for compare in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):
        for a, b in pairs:
            got = compare(a, b)
            assert isinstance(got, (bool, np.bool_))
            numbers = [y.data if isinstance(y, Value) else y for y in (a, b)]
            assert got == compare(*numbers), (compare, a, b)
    assert max(x, y) is y
    assert x != "1.0"
    assert x != None  # noqa: E711
    nan = Value(math.nan)
    assert nan != nan
    with pytest.raises(TypeError):
        x < "1"  # noqa: B015


def test_hash_is_identity():
    x, y = Value(1.0, "x"), Value(1.0, "y")
    assert x == y
    assert {x: "x", y: "y"}[y] == "y"
    assert len({x, y, x}) == 2


def test_truth_is_that_of_the_number():
    assert Value(0.5)
    assert Value(math.nan)
    assert not Value(-0.0)


# ---- the outside world


@pytest.mark.parametrize("function", [math.exp, math.sin, math.floor, float])
def test_the_math_module_would_cut_the_graph(function):
    with pytest.raises(GraphCutError, match=r"mg\.exp"):
        function(Value(1.0, "x"))


def test_an_array_of_floats_would_cut_the_graph():
    with pytest.raises(GraphCutError):
        np.array([Value(1.0)], dtype=float)


@pytest.mark.parametrize(
    ("ufunc", "name", "count"),
    [
        (np.exp, "exp", 1),
        (np.log, "log", 1),
        (np.tanh, "tanh", 1),
        (np.negative, "neg", 1),
        (np.add, "add", 2),
        (np.subtract, "sub", 2),
        (np.multiply, "mul", 2),
        (np.divide, "div", 2),
        (np.power, "pow", 2),
        (np.maximum, "maximum", 2),
        (np.minimum, "minimum", 2),
    ],
)
def test_numpy_functions_record_nodes(ufunc, name, count):
    x = Value(2.0, "x")
    for operands in itertools.product((x, 3.0), repeat=count):
        if x in [y for y in operands if y is x]:
            node = ufunc(*operands)
            assert type(node) is Value
            assert node.prim is TABLE[name]
            assert named(node) == [getattr(y, "name", y) for y in operands]


def test_numpy_numbers_on_the_left():
    x = Value(2.0, "x")
    node = np.float64(5) - x
    assert (type(node), node.data, named(node)) == (Value, 3.0, [5.0, "x"])
    node.backward()
    assert x.grad == -1.0


def test_numpy_questions_have_plain_answers():
    x = Value(2.0)
    assert not np.isnan(x)
    assert np.isfinite(x)
    assert np.isinf(Value(math.inf))
    assert np.less(x, 3.0)
    assert np.equal(2.0, x)
    assert not np.greater(x, x)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.sinh(x),
        lambda x: np.add(x, 1.0, out=np.zeros(())),
        lambda x: np.add.reduce(x),
        lambda x: np.maximum.outer(x, x),
    ],
)
def test_numpy_that_does_not_work_on_a_value_says_so(call):
    with pytest.raises(
        InputError, match=r"np\.[\w.]+ .*records no graph(; these do: absolute, add, |: give it numbers)"
    ):
        call(Value(2.0))


@pytest.mark.parametrize("product", [lambda x: np.array([1.0, 3.0]) * x, lambda x: x * np.array([1.0, 3.0])])
def test_an_array_of_numpy_beside_a_value_makes_a_tensor(product):
    x = Value(2.0)
    y = product(x)
    assert (type(y), y.data.tolist()) == (mg.Tensor, [2.0, 6.0])
    y.sum().backward()
    assert x.grad == 4.0


def test_a_class_of_the_user_s_own():
    class Weight(Value):
        pass

    w, x = Weight(3.0, "w"), Value(2.0, "x")
    f = w * x + 2 * w
    f.backward()
    assert (f.data, w.grad, x.grad) == (12.0, 4.0, 3.0)
    assert type(w * w) is Weight


def test_different_graphs_in_different_threads():
    def work(k):
        x = Value(float(k))
        y = x
        for _ in range(200):
            y = y * 0.5 + x
        y.backward()
        return x.grad

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(64)))
    assert found == [work(k) for k in range(64)]


# ---- backward


def test_grad_is_none_until_a_pass_arrives():
    x, y, other = Value(2.0), Value(3.0), Value(4.0)
    z = x * y
    assert x.grad is y.grad is z.grad is None
    z.backward()
    assert (x.grad, y.grad, z.grad, other.grad) == (3.0, 2.0, 1.0, None)


def test_leaves_accumulate_and_nodes_in_between_hold_the_last_pass():
    x = Value(3.0)
    y = x * x
    z = y * 2
    for passes in (1, 2, 3):
        z.backward()
        assert (x.grad, y.grad, z.grad) == (12.0 * passes, 2.0, 1.0)
    x.grad = None
    z.backward()
    assert x.grad == 12.0


def test_two_losses_over_one_shared_node():
    x = Value(3.0)
    shared = x * x
    first, second = shared * 10, shared + x
    first.backward()
    assert (x.grad, shared.grad) == (60.0, 10.0)
    second.backward()
    assert (x.grad, shared.grad) == (60.0 + 7.0, 1.0)
    assert first.grad == 1.0


def test_a_node_in_between_as_the_root():
    x = Value(3.0)
    y = x * x
    z = y * 2
    z.backward()
    y.backward()
    assert (x.grad, y.grad, z.grad) == (12.0 + 6.0, 1.0, 1.0)


def test_the_gradient_to_start_from():
    x = Value(3.0)
    y = x * x
    y.backward(gradient=2.0)
    assert (y.grad, x.grad) == (2.0, 12.0)
    y.backward(-1)
    assert (y.grad, x.grad) == (-1.0, 6.0)
    with pytest.raises(InputError):
        y.backward("1")
    assert x.grad == 6.0


def test_backward_on_a_leaf():
    x = Value(3.0)
    x.backward()
    x.backward()
    assert x.grad == 2.0


def test_data_set_after_the_forward_pass_is_seen_by_the_next_one_only():
    w = Value(3.0)
    loss = w * w
    w.data = 10.0
    assert loss.data == 9.0
    assert (w * w).data == 100.0


def test_a_pass_that_fails_leaves_every_leaf_as_it_was():
    x, y, z = Value(2.0, "x"), Value(3.0, "y"), Value(0.0, "z")
    (x * 5).backward()
    for failing in (x * y + z**0.5, z**0.5 + x * y):
        with pytest.raises(DomainError):
            failing.backward()
        assert (x.grad, y.grad, z.grad) == (5.0, None, None)
    (x * y).backward()
    assert (x.grad, y.grad) == (8.0, 2.0)


# ---- messages


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x, y: mg.log(x), "log(x) is undefined at x = -1.0: log needs a number"),
        (lambda x, y: mg.log(x - y), "log(x - y) is undefined at x - y = -1.0"),
        (lambda x, y: x / y, "x / y is undefined at x = -1.0, y = 0.0"),
        (lambda x, y: 1 / y, "1.0 / y is undefined at y = 0.0"),
        (lambda x, y: (x * 8) ** 0.5, "(x * 8.0) ** 0.5 is undefined at x * 8.0 = -8.0"),
        (lambda x, y: y**-1, "y ** -1.0 is undefined at y = 0.0"),
        (lambda x, y: mg.log(0.0), "log(0.0) is undefined: log needs"),
        (lambda x, y: mg.log(((x + y) * x - 1) * y), "log((… - 1.0) * y) is undefined at (… - 1.0) * y = 0.0"),
    ],
)
def test_a_domain_error_gives_the_expression_and_the_number(make, words):
    with pytest.raises(DomainError) as caught:
        make(Value(-1.0, "x"), Value(0.0, "y"))
    assert str(caught.value).startswith(words)


def test_a_message_stays_short_on_a_long_graph():
    x = Value(1.0, "x")
    for _ in range(100_000):
        x = x * 1.0
    with pytest.raises(DomainError) as caught:
        mg.log(x - 1)
    assert len(str(caught.value)) < 200


def test_a_number_among_arrays_has_what_they_have():
    x = Value(3.0, "x")
    assert (type(x.item()), x.item()) == (float, 3.0)
    cut = x.detach()
    assert (cut.data, cut.inputs, cut is x) == (3.0, (), False)
    (x * cut).backward()
    assert (x.grad, cut.grad) == (3.0, 3.0)
    assert x.sum() is x.mean() is x
    with pytest.raises(mg.errors.ShapeError, match="x is one number, and has no axis int 0"):
        x.sum(0)
    slopes = mg.grad(lambda p: sum((v**2).sum() for v in p.values()))({"w": np.ones(2), "b": 1.5})
    assert (slopes["w"].tolist(), slopes["b"]) == ([2.0, 2.0], 3.0)

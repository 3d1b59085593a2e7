"""Programs: listed, folded, called, differentiated, regrouped, written, drawn; and what cannot be traced, and where."""

import contextlib
import dataclasses
import inspect
import itertools
import math
import operator
import random
from random import uniform

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn, viz
from microgad.errors import DomainError, GraphCutError, InputError, MicrogadError, ShapeError, TraceError


def array(*numbers, dtype=float):
    return np.array(numbers, dtype)


def same(got, want, rtol=1e-12):
    """Equal structures of close numbers."""
    got, structure = mg.tree_flatten(got)
    want, expected = mg.tree_flatten(want)
    assert structure == expected
    for x, y in zip(got, want, strict=True):
        assert np.shape(x) == np.shape(y)
        np.testing.assert_allclose(x, y, rtol, 1e-14)


W = Value(3.0, "w")
M = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="M")
X = array(1.0, 2.0)
CUBE = mg.primitive("cube_of_test_tracing", lambda x: x**3, lambda y, x: 3.0 * x**2)


@pytest.fixture(autouse=True)
def leaves_stay_as_they_are():
    yield
    assert (W.data, W.grad, W.name, M.requires_grad) == (3.0, None, "w", True)
    assert M.data.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert M.grad is None


# ---- what is listed


def test_a_listing_names_arguments_shapes_parameters_and_constants():
    def model(x, d, *, k=2.0):
        return (M @ x) * W + d["a"] * sum(d["b"]) - x * array(5.0, 6.0) * k

    program = mg.trace(model, X, {"a": 1.0, "b": [2.0, 3.0]}, k=4.0)
    assert str(program) == "\n".join(
        [
            "model(x: (2,), d['a'], d['b'][0], d['b'][1], k): 8 instructions",
            "  parameters M: (2, 2), w",
            "  constants C1: (2,)",
            "  v1: (2,) = M @ x",
            "  v2: (2,) = v1 * w",
            "  v3 = d['b'][0] + d['b'][1]",
            "  v4 = d['a'] * v3",
            "  v5: (2,) = v2 + v4",
            "  v6: (2,) = x * C1",
            "  v7: (2,) = v6 * k",
            "  v8: (2,) = v5 - v7",
            "  return v8",
        ]
    )
    assert program.name == "model"
    assert [x.name for x in program.arguments] == ["x", "d['a']", "d['b'][0]", "d['b'][1]", "k"]
    assert [x.node for x in program.parameters] == [M, W]
    assert len(program.constants) == 1
    assert program.constants[0].tolist() == [5.0, 6.0]
    assert [step.row.name for step in program.instructions].count("mul") == 4
    assert program.outputs == [program.instructions[-1].value]


def test_a_value_is_made_once_from_values_before_it():
    program = mg.trace(lambda x: (mg.exp(x) * x, mg.exp(x) + 2.0), 1.0)
    made = [step.value for step in program.instructions]
    assert made == sorted(set(made))
    assert all(x < step.value for step in program.instructions for x in step.operands)
    assert len(program.outputs) == 2


SHORTER = {
    "twice": (lambda x: mg.exp(x) * mg.exp(x), ["exp", "mul"]),
    "in another order": (lambda x: x * W - W * x, ["mul", "sub"]),
    "constants": (lambda x: mg.exp(Value(0.0)) * (2.0 + 3.0) * x, ["mul"]),
    "dead": (lambda x: [mg.exp(x), x + 1.0][1], ["add"]),
    "dead leaf": (lambda x: [W * x, x + 1.0][1], ["add"]),
    "identity": (lambda x: x, []),
    "nested calls": (mg.jit(lambda x: mg.jit(lambda y: y * y)(x)), ["mul"]),
    "nothing is changed by 0": (lambda x: x * 0.0, ["mul"]),
    "nor by x - x": (lambda x: x - x, ["sub"]),
}


@pytest.mark.parametrize(("f", "rows"), SHORTER.values(), ids=SHORTER)
def test_constants_are_folded_what_is_computed_twice_and_dead_code_left_out(f, rows):
    program = mg.trace(f, 2.0)
    assert [step.row.name for step in program.instructions] == rows
    assert program.parameters == [] or program.parameters[0].node is W


@pytest.mark.parametrize("f", [lambda x: 5.5, lambda x: (x, 5.5), lambda x: [x, "abc", 5.5]])
def test_results_that_are_constant_are_listed(f):
    assert "5.5" in str(mg.trace(f, 2.0)).rpartition("return")[2]


# ---- calling a program


def nested(x, d):
    return {"y": x * d["a"], "s": [sum(d["b"]), None, "text"]}


def test_a_program_answers_as_the_function():
    program = mg.trace(nested, X, {"a": 3.0, "b": [1.0, 2.0]})
    for x, d in ((X, {"a": 3.0, "b": [1.0, 2.0]}), (-X, {"a": 2, "b": [np.float32(0.5), np.array(1.0)]})):
        got, want = program(x, d), nested(x, d)
        same([got["y"], got["s"][0]], [want["y"], want["s"][0]])
        assert got["s"][1:] == [None, "text"]
    assert program(Tensor(X), {"a": Value(3.0), "b": [1.0, 2.0]})["y"].tolist() == [3.0, 6.0]


def test_parameters_are_read_in_each_call():
    w = Value(2.0)
    program = mg.trace(lambda x: w * x, 1.0)
    w.data = 10.0
    assert program(3.0) == 30.0


NOT_ITS_OWN = {
    "too few": ((X,), InputError, ["nested"]),
    "too many": ((X, {"a": 3.0, "b": [1.0, 2.0]}, 1.0), InputError, ["nested"]),
    "longer list": ((X, {"a": 3.0, "b": [1.0, 2.0, 3.0]}), InputError, ["[*, *, *]"]),
    "another key": ((X, {"c": 3.0, "b": [1.0, 2.0]}), InputError, ["'c'"]),
    "None": ((X, {"a": None, "b": [1.0, 2.0]}), InputError, ["None"]),
    "list for array": (([1.0, 2.0], {"a": 3.0, "b": [1.0, 2.0]}), InputError, ["[*, *]"]),
    "longer array": ((array(1, 2, 3), {"a": 3.0, "b": [1.0, 2.0]}), ShapeError, ["x", "(3,)", "(2,)"]),
    "number for array": ((1.0, {"a": 3.0, "b": [1.0, 2.0]}), ShapeError, ["x", "()", "(2,)"]),
    "array for number": ((X, {"a": X, "b": [1.0, 2.0]}), ShapeError, ["d['a']", "(2,)"]),
}


@pytest.mark.parametrize(("args", "error", "says"), NOT_ITS_OWN.values(), ids=NOT_ITS_OWN)
def test_other_arguments_are_refused(args, error, says):
    with pytest.raises(error) as raised:
        mg.trace(nested, X, {"a": 3.0, "b": [1.0, 2.0]})(*args)
    assert all(text in str(raised.value) for text in says)


@pytest.mark.parametrize("x", ["text", 1j, array(1j, 2j, dtype=complex), object()])
def test_the_error_for_no_number_says_what_was_given(x):
    with pytest.raises(InputError) as raised:
        mg.trace(lambda x: x * 2.0, 1.0)(x)
    assert type(x).__name__ in str(raised.value) or "complex" in str(raised.value)


def test_arguments_may_be_named():
    program = mg.trace(lambda x, y=2.0: x / y, 1.0, 2.0)
    assert program(3.0, y=4.0) == program(y=4.0, x=3.0) == 0.75


@pytest.mark.parametrize(("traced", "given"), [("a", "b"), (True, False), ("a", True)])
def test_other_text_is_refused(traced, given):
    program = mg.trace(lambda x, how: x if how in ("a", True) else -x, 1.0, traced)
    assert program(2.0, traced) == 2.0
    with pytest.raises(InputError, match="how"):
        program(2.0, given)


def test_a_domain_error_names_the_row():
    for f in (mg.log, lambda x: 1.0 / (x + 1.0)):
        program = mg.trace(f, 1.0)
        with pytest.raises(DomainError, match="is undefined"):
            program(-1.0)
    with np.errstate(divide="ignore"):
        assert mg.trace(lambda x: 1.0 / x, X)(array(0.0, 2.0)).tolist() == [math.inf, 0.5]


@pytest.mark.parametrize(
    "use",
    [
        lambda square: mg.jit(lambda x: square(x) * 1.0),
        lambda square: mg.jit(square),
        lambda square: mg.trace(square, 2.0),
        lambda square: lambda x: mg.vmap(square)(array(2.0, x))[1],
        lambda square: lambda x: mg.grad(square)(x) * x / 2.0,
        lambda square: lambda x: mg.jacobian(square)(x) * x / 2.0,
        lambda square: lambda x: mg.jvp(square, (x,), (x / 2.0,))[1],
        lambda square: lambda x: mg.vjp(square, x)[1](x / 2.0)[0],
    ],
)
def test_a_program_inside_of_a_transform_is_right_or_an_error(use):
    square = mg.trace(lambda x: x * x, 1.0)
    try:
        f = use(square)
        got = [f(2.0), f(3.0)]
    except MicrogadError:
        return
    assert got == [4.0, 9.0]


# ---- gradients of a program


def test_the_gradient_is_by_arguments_in_their_structure_and_then_parameters():
    program = mg.trace(lambda x, d: (x * d["a"]).sum() * W, X, {"a": 3.0})
    x, d, w = program.gradient()(X, {"a": 3.0})
    same((x, d, w), (array(9.0, 9.0), {"a": 9.0}, 9.0))
    assert mg.trace(lambda x: x**3, 2.0).gradient()(2.0) == 12.0
    assert mg.trace(lambda x: x**3, 2.0).gradient().gradient()(2.0) == 12.0
    assert mg.trace(lambda x: x**3, 2.0).regrouped().gradient()(2.0) == 12.0


@pytest.mark.parametrize(("f", "x"), [(lambda x: (x, x), 1.0), (lambda x: x * x, X), (lambda x: None, 1.0)])
def test_the_gradient_is_that_of_one_number(f, x):
    with pytest.raises(ShapeError, match="not one number"):
        mg.trace(f, x).gradient()


@pytest.mark.parametrize(
    "f",
    [
        lambda x: 5.0,
        lambda x: mg.exp(1.0),
        lambda x: mg.exp(Value(1.0)),
        lambda x: 2.0 * (x > 0.0),
        mg.step,
    ],
)
def test_the_gradient_of_a_constant_is_zero(f):
    assert mg.trace(f, 2.0).gradient()(2.0) == mg.grad(f)(2.0) == 0.0


INSIDE = {
    "grad": lambda x: mg.grad(lambda y: y**3)(x),
    "value_and_grad": lambda x: mg.value_and_grad(lambda y: y**3)(x)[1],
    "jvp": lambda x: mg.jvp(lambda y: y**3, (x,), (1.0,))[1],
    "vjp": lambda x: mg.vjp(lambda y: y**3, x)[1](1.0)[0],
    "hessian_diagonal": lambda x: mg.hessian_diagonal(lambda y: y**4 / 4.0)(x),
    "vmap": lambda x: mg.vmap(mg.grad(lambda y: y**3))(mg.stack([x]))[0],
    "jit": lambda x: mg.jit(mg.grad(lambda y: y**3))(x),
}


@pytest.mark.parametrize("f", INSIDE.values(), ids=INSIDE)
def test_the_gradient_of_a_program_with_a_transform_inside(f):
    expected = mg.grad(f)(2.0)
    assert mg.trace(f, Value(2.0)).gradient()(2.0) == expected
    assert mg.trace(f, 2.0).gradient()(2.0) == expected


def test_what_is_returned_belongs_to_the_caller():
    program = mg.trace(lambda x: (x * 2.0, x), X)
    out, x = program(X)
    out[:] = x[:] = 7.0
    same((program(X), X), ((array(2.0, 4.0), X), array(1.0, 2.0)))


def test_constants_that_are_returned_belong_to_the_caller():
    program = mg.trace(lambda x: (x, np.ones(2), (x * array(3.0, 4.0)).sum()), X)
    program(X)[1][:] = 7.0
    assert program(X)[1].tolist() == [1.0, 1.0]


# ---- regrouping


def layer(weights, biases, x):
    return [mg.tanh(sum(map(operator.mul, row, x), b)) for row, b in zip(weights, biases, strict=True)]


def test_regrouped_numbers_are_arrays_with_the_same_results():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(8, 5))
    weights, biases = [[Value(x) for x in row] for row in numbers], [Value(x) for x in numbers[:, 0]]
    x = rng.normal(size=5).tolist()
    program = mg.trace(lambda x: sum(layer(weights, biases, x)), x)
    short = program.regrouped()
    assert len(short.instructions) < len(program.instructions) / 8
    assert " @ " in str(short)
    assert " @ " not in str(program)
    same(short(x), program(x))
    same(short.gradient()(x)[0], program.gradient()(x)[0])


def test_an_irregular_program_is_left_as_it_is():
    program = mg.trace(lambda x, y: mg.exp(x) / mg.log(y) - mg.sin(x * y), 1.0, 2.0)
    assert program.regrouped() is program


# ---- Python


def run(source, *args):
    """Run the last function of generated source, in a module of its own."""
    module = {"__name__": "of_a_user"}
    exec(source, module)
    return [x for x in module.values() if getattr(x, "__module__", None) == "of_a_user"][-1](*args)


PY = {
    "numbers": (lambda x, y: x * y + x**3 / y - -x, (2.0, 3.0)),
    "functions": (lambda x: mg.gelu(x) + mg.softplus(x) * mg.sigmoid(x) + mg.erf(x) - mg.silu(abs(x)), (0.7,)),
    "pieces": (lambda x, y: mg.maximum(x, y) + mg.where(x > y, x * x, y) * mg.relu(x - 2.0), (2.0, 3.0)),
    "matrices": (lambda x, m: mg.tanh(m @ x).sum(), (X, np.arange(6.0).reshape(3, 2))),
    "reductions": (lambda x: x.mean() * x.max() + x.prod(), (X,)),
    "axes": (lambda x: (x.sum(axis=0) * x.min(axis=1)).sum(), (np.arange(4.0).reshape(2, 2),)),
    "logsumexp": (lambda x: mg.logsumexp(x) + mg.log_softmax(x)[0], (X,)),
    "indices": (lambda x: x[1:].sum() * x[[0, 0, 1]].sum(), (X,)),
    "joined": (lambda x, y: (mg.concatenate([x, mg.stack([y, y])]) ** 2).sum(), (X, 3.0)),
    "constants": (lambda x: (x * array(5.0, 6.0)).sum() * 0.1, (X,)),
    "float32": (lambda x: (x * x).sum() * 2.5, (X.astype(np.float32),)),
    "infinite": (lambda x: x * math.inf, (2.0,)),
    "branches of vmap": (lambda x: mg.vmap(lambda row: row.sum() ** 2)(x).sum(), (np.arange(4.0).reshape(2, 2),)),
}


@pytest.mark.parametrize(("f", "args"), PY.values(), ids=PY)
def test_python_needs_numpy_alone_and_gives_value_and_derivatives(f, args):
    source = mg.trace(f, *args).to_python()
    assert "microgad" not in source
    value, slopes = run(source, *args)
    want, expected = mg.value_and_grad(f, tuple(range(len(args))))(*args)
    same(value, want, 1e-6 if "float32" in source else 1e-12)
    slopes = slopes if len(args) > 1 else (slopes,)
    same([np.asarray(x).tolist() for x in slopes], [np.asarray(x).tolist() for x in expected])


def test_names_in_python_are_names():
    weights = [Value(2.0, name) for name in ("lambda", "a b", "x", "np", "v1", "")]
    source = mg.trace(lambda x, np, v1: sum(weights, x * np * v1), 1.0, 2.0, 3.0).to_python()
    value, slopes = run(source, 1.0, 2.0, 3.0, *[2.0] * 6)
    assert value == 18.0
    assert len(slopes) == 9


def test_parameters_follow_the_arguments_in_python():
    source = mg.trace(lambda x: (M @ x).sum() * W, X).to_python()
    value, (by_x, by_m, by_w) = run(source, X, M.data, 3.0)
    same((value, by_x, by_m, by_w), (48.0, array(12.0, 18.0), 3.0 * array(X, X), 16.0))


def test_a_primitive_of_the_users_own_cannot_be_written():
    with pytest.raises(InputError, match="cube_of_test_tracing"):
        mg.trace(CUBE, 2.0).to_python()


@pytest.mark.parametrize("f", [lambda x: 5.0, lambda x: (x * 2.0, 5.0), lambda x: (np.ones(2), x * 2.0)])
def test_constant_results_are_in_python(f):
    got = run(mg.trace(f, 3.0).to_python(), 3.0)
    same(got[0] if isinstance(f(3.0), float) and isinstance(got, tuple) else got, f(3.0))


def test_empty_arrays_in_python():
    _, slope = run(mg.trace(lambda x: x.sum(), np.zeros((0, 3))).to_python(), np.zeros((0, 3)))
    assert slope.shape == (0, 3)


def test_single_numbers_stay_numbers_in_regrouped_python():
    f = mg.trace(lambda s, x: (s * x).sum(), 2.0, X).regrouped()
    value, (by_s, _) = run(f.to_python(), 2.0, X)
    assert (value, by_s) == (6.0, 3.0)


# ---- drawing


@pytest.mark.parametrize(
    "f", [lambda x: x * W, lambda x: (x * 2.0, x + 1.0), lambda x: x, lambda x: {"a": [mg.exp(x)]}, lambda x: x > 1.0]
)
def test_a_program_is_drawn(f):
    program = mg.trace(f, 2.0)
    source = viz.draw(program).source
    assert "x" in source
    assert viz.draw(program.regrouped()).source.startswith("digraph")


@pytest.mark.parametrize("f", [lambda x: None, lambda x: 5.0, lambda x: []])
def test_a_program_without_results_is_drawn(f):
    assert viz.draw(mg.trace(f, 2.0)).source.startswith("digraph")


# ---- what cannot be traced: each names the line, and what to do


def the_line(f):
    """The number and the text of the line of a function that is marked, or its only one."""
    lines, first = inspect.getsourcelines(f)
    [offset] = [i for i, line in enumerate(lines) if "# here" in line] if len(lines) > 1 else [0]
    return first + offset, lines[offset].strip()


def check_trace_error(f, args, *says, error=TraceError):
    number, text = the_line(f)
    for attempt in (lambda: mg.trace(f, *args), lambda: mg.jit(f)(*args)):
        with pytest.raises(error) as raised:
            attempt()
        message = str(raised.value)
        assert f"line {number} of {__file__}" in message
        assert text[:60] in message
        advice = message.partition("cannot be traced")[2]
        assert all(word in advice for word in says), message


def branch(x):
    y = x * 2.0
    if y > 0.0:  # here
        return y
    return -y


def loop(x):
    while x < 10.0:  # here
        x = x * 2.0
    return x


def matched(x):
    match x:
        case 2.0:  # here
            return x
    return -x


def over_lines(x):
    return [
        1.0,
        x
        if x > 0.0  # here
        else -x,
    ]


BRANCHES = {
    "if": branch,
    "while": loop,
    "match": matched,
    "over several lines": over_lines,
    "bool": lambda x: bool(x),
    "not": lambda x: not x,
    "and": lambda x: x and 1.0,
    "or": lambda x: x or 1.0,
    "chain": lambda x: 0.0 < x < 1.0,
    "else": lambda x: x if x == 1.0 else -x,
    "any": lambda x: any([x > 1.0]),
    "all": lambda x: all([x > 1.0]),
    "max": lambda x: max(x, 1.0),
    "min": lambda x: min([x, x * 2.0]),
    "sorted": lambda x: sorted([x, x * 2.0]),
    "sort": lambda x: [x, x * 2.0].sort(),
    "key": lambda x: max([1.0, 2.0], key=lambda y: y * x),
    "in": lambda x: 5.0 in [x],
    "index": lambda x: [x].index(5.0),
    "lists": lambda x: [x, 1.0] == [2.0, 1.0],
    "filter": lambda x: list(filter(None, [x])),
    "groupby": lambda x: list(itertools.groupby([x, x * 2.0])),
    "data": lambda x: 1.0 if x.data > 1.0 else 2.0,
    "leaf": lambda x: x if W > 1.0 else -x,
    "leaf's data": lambda x: x if W.data > 1.0 else -x,
}


@pytest.mark.parametrize("f", BRANCHES.values(), ids=BRANCHES)
def test_a_branch_names_its_line_and_where(f):
    check_trace_error(f, (2.0,), "branch", "mg.where", "mg.maximum")


def test_the_line_is_that_of_the_function_that_branches():
    def model(x):
        return branch(x) * 2.0

    number, text = the_line(branch)
    with pytest.raises(TraceError) as raised:
        mg.jit(model)(1.0)
    assert f"line {number} of {__file__}, `{text}`" in str(raised.value)


CONVERSIONS = {
    "float": (lambda x: float(x), "mg.exp"),
    "complex": (lambda x: complex(x), "mg.exp"),
    "math": (lambda x: math.exp(x), "mg.exp"),
    "hypot": (lambda x: math.hypot(x, 1.0), "mg."),
    "isnan": (lambda x: math.isnan(x), "mg."),
    "percent": (lambda x: "%.2f" % x, "mg."),  # noqa: UP031
    "range": (lambda x: [x for _ in range(x)], "static_argnums"),
    "list index": (lambda x: [1.0, 2.0][x], "static_argnums"),
    "slice": (lambda x: X[:x], "static_argnums"),
    "repeat": (lambda x: [1.0] * x, "static_argnums"),
    "round": (lambda x: round(x), "static_argnums"),
    "floor": (lambda x: math.floor(x), "static_argnums"),
    "remainder": (lambda x: x % 2.0, "static_argnums"),
    "np.array": (lambda x: np.array(x), "mg.stack"),
    "np.array of list": (lambda x: np.array([x, x]), "mg.stack"),
    "np.asarray": (lambda x: np.asarray([x]), "mg.stack"),
    "np.vectorize": (lambda x: np.vectorize(abs)(x), "mg.stack"),
    "np.float64": (lambda x: np.float64(x), "mg."),
    "into an array": (lambda x: np.zeros(2).__setitem__(0, x), "mg.stack"),
    "array index": (lambda x: X[x], "mg."),
    "copy": (lambda x: __import__("copy").deepcopy(x), "copy"),
    "pickle": (lambda x: __import__("pickle").dumps(x), "copy"),
}


@pytest.mark.parametrize(("f", "says"), CONVERSIONS.values(), ids=CONVERSIONS)
def test_a_conversion_names_its_line_and_what_to_use(f, says):
    check_trace_error(f, (2,), says)


def test_int_names_static_argnums():
    check_trace_error(lambda x: int(x), (2,), "static_argnums")


@pytest.mark.parametrize(
    "f",
    [lambda x, i: x[i], lambda x, i: Tensor(X)[i], lambda x, i: x[0, i], lambda x, i: M[i], lambda x, i: x[x > 1.0]],
)
def test_an_index_names_its_line_and_static_argnums(f):
    check_trace_error(f, (M.data, 1), "static_argnums")


NUMPY = {
    "allclose": lambda x: np.allclose(x, 1.0),
    "array_equal": lambda x: np.array_equal(x, X),
    "any": lambda x: np.any(x > 1.0),
    "nonzero": lambda x: np.nonzero(x),
    "contains": lambda x: 2.0 in x,
    "dot": lambda x: x.dot(x),
    "cumsum": lambda x: x.cumsum(),
    "tobytes": lambda x: x.tobytes(),
    "astype": lambda x: x.astype(int),
}


@pytest.mark.parametrize("f", NUMPY.values(), ids=NUMPY)
def test_what_numpy_would_ask_of_an_array_names_its_line(f):
    check_trace_error(f, (X,), "traced array")


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.dot(x, x),
        lambda x: np.linalg.norm(x),
        lambda x: np.einsum("i,i", x, x),
        lambda x: np.cumsum(x),
        lambda x: np.sort(x),
        lambda x: np.floor(x),
        lambda x: np.add(x, 1.0, out=X),
    ],
)
def test_functions_of_numpy_that_are_not_traced_name_the_line(f):
    check_trace_error(f, (X,))


def test_functions_of_numpy_that_have_a_row_are_traced():
    program = mg.trace(lambda x: np.exp(x) + np.maximum(x, 1.5) * np.where(x > 1.0, x, 0.0), X)
    same(program(-X), np.exp(-X) + 0.0)


TEXTS = {
    "f-string": lambda x: f"{x:.3f}",
    "format": lambda x: format(x, ".2f"),
    "in a container": lambda x: {"loss": x * x, "log": f"loss {x:.2f}"}["log"],
    "leaf": lambda x: f"{W:.2f}",
    "data of a leaf": lambda x: f"{W.data:.2f}",
}


@pytest.mark.parametrize("f", TEXTS.values(), ids=TEXTS)
def test_text_of_a_number_cannot_be_traced(f):
    check_trace_error(f, (2.0,))


def test_a_tracer_can_be_printed_while_it_is_looked_into(capsys):
    mg.trace(lambda x: print(x, [x * 2.0]), 2.0)
    assert "Traced" in capsys.readouterr().out


# ---- effects


MODEL = nn.MLP(2, [3, 1])
SCALAR = nn.scalar.MLP(2, [2, 1])
STEPPER = nn.optim.SGD(MODEL.parameters(), lr=0.1)


def assigned(x):
    W.data = 5.0  # here


def stepped(x):
    W.data -= 0.1 * x  # here


def in_place(x):
    M.data += 1.0  # here


def local_leaf(x):
    leaf = Value(1.0)
    leaf.data = 2.0  # here
    return leaf * x


def cleared(x):
    W.grad = 0.0  # here


WRITES = {
    "data": assigned,
    "data of a traced number": lambda x: setattr(W, "data", x),
    "step": stepped,
    "in place": in_place,
    "item": lambda x: M.__setitem__((0, 0), 5.0),
    "item of data": lambda x: M.data.__setitem__((0, 0), 5.0),
    "item of numpy()": lambda x: M.numpy().__setitem__((0, 0), 5.0),
    "grad": cleared,
    "argument": lambda x: setattr(x, "data", 1.0),
    "leaf of its own": local_leaf,
    "optimizer": lambda x: STEPPER.step(),
    "optimizer.zero_grad": lambda x: STEPPER.zero_grad(),
    "module.zero_grad": lambda x: MODEL.zero_grad(),
    "scalar.zero_grad": lambda x: SCALAR.zero_grad(),
    "load_state_dict": lambda x: MODEL.load_state_dict(MODEL.state_dict()),
    "backward": lambda x: (W * x).backward(),
    "backward of a tensor": lambda x: (M * x).sum().backward(),
    "backward of no argument": lambda x: (W * W).backward(),
    "hook": lambda x: W.register_hook(print),
    "running means": lambda x: nn.BatchNorm1d(2)(np.ones((3, 2)) * x),
    "steps": lambda x: list(mg.backward_steps(W * x)),
}


@pytest.mark.parametrize("f", WRITES.values(), ids=WRITES)
def test_an_effect_names_its_line_and_is_not_done(f):
    check_trace_error(f, (2.0,), "outside")


def test_a_gradient_that_is_read_names_its_line():
    check_trace_error(lambda x: W.grad, (2.0,), "grad", "argument")


LOOKED_INTO = {
    "drawing": lambda x: viz.draw(W * x),
    "saving": lambda x: mg.to_json(W * x),
}


@pytest.mark.parametrize("f", LOOKED_INTO.values(), ids=LOOKED_INTO)
def test_drawing_and_saving_name_their_line_and_say_outside(f):
    check_trace_error(f, (2.0,), "outside")


@pytest.mark.parametrize("name", ["grad", "requires_grad"])
def test_forgetting_a_gradient_and_freezing_a_leaf_are_effects(name):
    leaf = Tensor([1.0], requires_grad=True)
    leaf.grad = np.ones(1)

    def forgets(x):
        setattr(leaf, name, {"grad": None, "requires_grad": False}[name])  # here
        return x

    check_trace_error(forgets, (2.0,))


GENERATOR, PYTHONS, STATE = np.random.default_rng(0), random.Random(0), np.random.RandomState(0)
DROPOUT = nn.Dropout(0.5)
DRAWS = {
    "random": lambda x: x * random.random(),
    "uniform": lambda x: x * uniform(0.0, 1.0),
    "gauss": lambda x: x * random.gauss(0.0, 1.0),
    "choice": lambda x: x * random.choice([1.0, 2.0]),
    "shuffle": lambda x: random.shuffle([1, 2, 3]),
    "seed": lambda x: random.seed(1),
    "Random": lambda x: x * PYTHONS.random(),
    "np.random": lambda x: x * np.random.rand(),
    "np.random.normal": lambda x: x * np.random.normal(size=3),
    "np.random.seed": lambda x: np.random.seed(0),
    "Generator": lambda x: x * GENERATOR.normal(),
    "RandomState": lambda x: x * STATE.rand(),
    "Dropout": lambda x: DROPOUT(mg.stack([x, x])),
    "dropout": lambda x: nn.dropout(mg.stack([x, x]), 0.5),
    "initial weights": lambda x: nn.Linear(1, 1)(mg.stack([x])),
    "data": lambda x: nn.data.moons(4)[0],
}


@pytest.mark.parametrize("f", DRAWS.values(), ids=DRAWS)
def test_random_numbers_name_their_line(f):
    check_trace_error(f, (2.0,), "random numbers", "argument")


DRAWS_BY_WAY_OF_ABC = {
    "shuffle": lambda x: np.random.shuffle([1, 2]),
    "manual_seed": lambda x: mg.manual_seed(0),
}


@pytest.mark.parametrize("f", DRAWS_BY_WAY_OF_ABC.values(), ids=DRAWS_BY_WAY_OF_ABC)
def test_random_numbers_that_ask_for_a_class_name_their_line(f):
    check_trace_error(f, (2.0,), "random numbers")


@pytest.mark.parametrize(
    "f", [lambda x: x * np.random.default_rng().normal(), lambda x: x * random.SystemRandom().random()]
)
def test_generators_without_a_seed_are_random(f):
    check_trace_error(f, (2.0,), "random numbers")


def test_the_line_is_not_that_of_generated_code():
    @dataclasses.dataclass(order=True)
    class Point:
        x: float

    check_trace_error(lambda x: Point(x) < Point(1.0), (2.0,))


def test_dropout_and_batch_norm_are_traced_after_eval():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5)).eval()
    x = np.ones((3, 2))
    same(mg.trace(model, x)(2.0 * x), model(2.0 * x).data)


# ---- after an error, all is as before


@pytest.mark.parametrize("f", [branch, assigned, DRAWS["random"], CONVERSIONS["float"][0]])
def test_after_an_error_nothing_is_traced(f):
    for _ in range(2):
        with pytest.raises(TraceError):
            mg.jit(f)(1.0)
    leaf = Value(1.0)
    leaf.data = 2.0
    (leaf * leaf).backward()
    assert (leaf.grad, float(leaf.data), random.random() < 1.0) == (4.0, 2.0, True)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RecursionError, GeneratorExit])
def test_what_f_raises_comes_out_and_nothing_is_traced(error):
    def f(x):
        mg.jit(lambda y: y * y)(x)
        raise error("of f")

    for attempt in (lambda: mg.trace(f, 1.0), lambda: mg.jit(f)(1.0)):
        with pytest.raises(error, match="of f"):
            attempt()
    leaf = Value(1.0)
    leaf.data = 2.0
    assert bool(leaf > 1.0)


def test_a_trace_goes_on_after_one_inside_of_it():
    def outer(x):
        mg.trace(lambda y: y * y, 1.0)
        mg.jit(lambda y: y * y)(x)
        if x > 0.0:  # here
            return x
        return -x

    check_trace_error(outer, (1.0,), "mg.where")


def test_an_error_inside_of_a_call_inside_names_the_line():
    number, text = the_line(branch)
    with pytest.raises(TraceError) as raised:
        mg.jit(lambda x: mg.jit(branch)(x) + mg.vmap(mg.jit(branch))(X).sum())(1.0)
    assert f"line {number} of {__file__}, `{text}`" in str(raised.value)


@pytest.mark.parametrize("f", [3, "text", [abs], {}])
def test_only_functions_are_traced(f):
    for transform in (mg.trace, mg.jit, mg.vmap):
        with pytest.raises(InputError):
            transform(f)


# ---- tracers that escape

USES = {
    "plus": lambda t: t + 1.0,
    "times": lambda t: 2.0 * t,
    "exp": mg.exp,
    "np.exp": np.exp,
    "compare": lambda t: t > 1.0,
    "bool": bool,
    "stack": lambda t: mg.stack([t]),
    "where": lambda t: mg.where(t, 1.0, 2.0),
    "sum": lambda t: sum([t, 1.0]),
    "jit": lambda t: mg.jit(lambda y: y * 2.0)(t),
    "closure of a jit": lambda t: mg.jit(lambda y: y * t)(1.0),
    "closure of a trace": lambda t: mg.trace(lambda y: y * t, 1.0),
    "closure of a gradient": lambda t: mg.grad(lambda y: y * t)(1.0),
    "draw": viz.draw,
    "minus": lambda t: -t,
    "data": lambda t: t.data,
    "backward": lambda t: t.backward(),
    "format": lambda t: f"{t:.2f}",
    "float": float,
    "math": math.exp,
    "array": np.array,
    "json": mg.to_json,
}


def escaped(make):
    kept = []
    mg.jit(lambda x: (kept.append(make(x)), x * 3.0)[1])(2.0)
    return kept[0]


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_computed_number_that_escaped_is_a_clear_error(use):
    with pytest.raises(TraceError, match="after its trace"):
        use(escaped(lambda x: x * x))


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_an_argument_that_escaped_is_a_clear_error(use):
    with pytest.raises(TraceError, match="after its trace"):
        use(escaped(lambda x: x))


def test_what_escaped_says_what_it_is():
    assert "of a trace that is over" in str([escaped(lambda x: x), escaped(lambda x: x * x)])


def test_backward_of_what_escaped_touches_no_leaf():
    leaf = Value(3.0)
    with pytest.raises(TraceError):
        escaped(lambda x: leaf * x).backward()
    assert leaf.grad is None


ARRAY_USES = {
    "plus": lambda t: t + 1.0,
    "item": lambda t: t[0],
    "sum": lambda t: t.sum(),
    "matmul": lambda t: X @ t,
    "list": list,
    "len": len,
    "module": lambda t: nn.Linear(2, 1)(t),
    "np.array": np.array,
    "numpy()": lambda t: t.numpy(),
}


@pytest.mark.parametrize("use", ARRAY_USES.values(), ids=ARRAY_USES)
def test_an_array_that_escaped_is_a_clear_error(use):
    kept = []
    mg.jit(lambda x: (kept.append(x * x), x)[1])(X)
    with pytest.raises(TraceError, match="after its trace"):
        use(kept[0])


HIDDEN = {
    "set": lambda x: {x},
    "object": lambda x: dataclasses.make_dataclass("Box", ["x"])(x * x),
    "function": lambda x: lambda: x * x,
    "generator": lambda x: (x * k for k in range(2)),
    "iterator": lambda x: map(abs, [x]),
}


@pytest.mark.parametrize("f", HIDDEN.values(), ids=HIDDEN)
def test_results_that_hide_numbers_are_refused(f):
    for attempt in (lambda: mg.jit(f)(2.0), lambda: mg.trace(f, 2.0)):
        with pytest.raises((InputError, TraceError, GraphCutError)):
            attempt()


# ---- what would be wrong without a word


def caught(x):
    try:
        return math.exp(x)  # here
    except Exception:
        return 0.0


def caught_branch(x):
    with contextlib.suppress(Exception):
        if x > 0.0:  # here
            return x
    return -x


def added(x):
    x += 5.0  # here
    return x


BATCHES = iter([[1.0], [2.0]])


@pytest.mark.parametrize(("f", "args"), [(caught, (1.0,)), (caught_branch, (1.0,)), (added, (X,))])
def test_what_is_refused_is_refused_whatever_the_function_does_about_it(f, args):
    check_trace_error(f, args)
    with pytest.raises(TraceError, match=f"line {the_line(f)[0]} of"):
        mg.vmap(f)(np.ones((2, *np.shape(args[0]))))
    assert X.tolist() == [1.0, 2.0]


def test_asking_for_an_attribute_is_no_mistake():
    assert mg.trace(lambda x: x if hasattr(x, "cumsum") else x * 2.0, X)(X).tolist() == [2.0, 4.0]


def test_an_array_that_is_computed_may_be_added_to():
    def f(x):
        y = x * 2.0
        y += 1.0
        return y

    assert mg.jit(f)(X).tolist() == [3.0, 5.0]


@pytest.mark.parametrize("f", [lambda x: x * next(BATCHES)[0], lambda x: sum(x * b[0] for b in BATCHES)])
def test_an_iterator_that_is_read_is_named(f):
    for attempt in (lambda: mg.trace(f, 1.0), lambda: mg.jit(f)(1.0)):
        with pytest.raises(TraceError, match="iterator BATCHES"):
            attempt()


def test_a_counter_is_no_data():
    counter = itertools.count()
    jitted = mg.jit(lambda x: (next(counter), x * 2.0)[1])
    assert [jitted(1.0), jitted(2.0), next(counter)] == [2.0, 4.0, 1]


@pytest.mark.parametrize("f", [lambda x: (f"loss {x}", x), lambda x: {"log": str([x * 2.0])}])
def test_the_text_of_what_stands_for_a_number_is_no_result(f):
    with pytest.raises(InputError, match="stands for a traced number"):
        mg.jit(f)(1.0)


def test_formulas_and_derivations_of_a_call_are_those_of_what_it_computes():
    x, w = Value(3.0, "x"), Value(2.0, "w")
    y = mg.jit(lambda x: w * x + 1.0)(x)
    assert str(mg.formula(y)) == str(mg.formula(w * x + 1.0))
    assert str(mg.formula(y, "x")) == "w"
    assert "simplified: ∂f/∂x = w" in mg.derive(y, "x")

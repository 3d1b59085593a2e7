"""Every row of the table, checked in every way a row can be: a new row is tested by being there."""

import itertools
import math
import operator
import string

import numpy as np
import pytest

import microgad as mg
from microgad import Value
from microgad.errors import DomainError
from microgad.primitives import TABLE, identity

ROWS = [row for row in TABLE.values() if row.partials]
NUMBERS = (0.7, 2.1, -1.3, 1.6, -0.4, 0.2, 3.1)  # neighbours are the operands: no ties, no zeros
POINTS = {  # more of them: where a rule has a case of its own, or a row has no value at the numbers above
    "mul": [(0.0, 1.5), (1.5, 0.0)],
    "div": [(0.0, 1.5)],
    "pow": [(2.5, 0.0), (2.5, 1.0), (2.5, 2.0), (2.5, -1.0)],
    "where": [(0.0, 0.7, 2.1)],
}

NOT_ANALYTIC = {"greater", "equal", "where", "relu", "maximum", "minimum", "abs", "sign", "step", "clip"}
NOT_ON_COMPLEX = {"erf", "gelu"}  # NumPy has no error function; references of many digits are in test_rows.py
CORRECTLY_ROUNDED = {"identity", "neg", "add", "sub", "mul", "div", "sqrt", "leaky_relu"} | NOT_ANALYTIC
SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.5, 5e-324, 1e308, -1e308, math.inf, -math.inf, math.nan)


def local(row, i, point):
    rule = row.partials[i]
    return rule(row(*point), *point) if callable(rule) else rule


def suits(row, point):
    try:
        numbers = [row(*point), *(local(row, i, point) for i in range(len(point)))]
    except DomainError:
        return False
    return all(math.isfinite(x) for x in numbers)


def points(row):
    n = len(row.partials)
    candidates = [NUMBERS[i : i + n] for i in range(len(NUMBERS) - n + 1)] + POINTS.get(row.name, [])
    return [point for point in candidates if suits(row, point)]


def moved(point, i, h):
    return (*point[:i], point[i] + h, *point[i + 1 :])


def slope(f, point, i, h=1e-5):
    return (f(*moved(point, i, h)) - f(*moved(point, i, -h))) / (2 * h)


def same_bits(x, y):
    return float.hex(x) == float.hex(y)


each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
each_point = pytest.mark.parametrize(
    ("row", "point"), [pytest.param(row, p, id=f"{row.name}{p}") for row in ROWS for p in points(row)]
)


def test_every_row_is_of_one_of_the_two_kinds():
    for row in TABLE.values():
        assert bool(row.partials) != bool(row.vjp), row.name
        assert len(row.jvp) == len(row.vjp), row.name


@each_row
def test_every_row_has_points_to_be_tested_at(row):
    assert len(points(row)) >= 2, f"{row.name}: add points in its domain to POINTS in tests/test_table.py"


@each_row
def test_label_and_templates(row):
    assert row.label
    for template in (row.text, row.latex):
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
        assert fields == [""] * len(row.partials)


# ---- derivatives


@each_point
def test_partials_against_the_complex_step(row, point):
    if row.name in NOT_ANALYTIC | NOT_ON_COMPLEX:
        assert not np.iscomplexobj(row.array(*point))
        return
    h = 1e-30  # nothing is subtracted, so it can be this small
    for i, x in enumerate(point):
        step = row.array(*moved(point, i, 1j * h)).imag / h
        assert abs(local(row, i, point) - step) <= 1e-12 * max(1.0, abs(step)), (i, x)


def smooth_operands(row, point):
    # The condition of `where` is a kink at 0 and does nothing elsewhere.
    return [i for i in range(len(point)) if not (row.name == "where" and i == 0)]


@each_point
def test_partials_against_central_differences(row, point):
    for i in smooth_operands(row, point):
        assert local(row, i, point) == pytest.approx(slope(row, point, i), rel=1e-8, abs=1e-8)


@each_point
def test_second_derivatives_against_central_differences_of_the_first(row, point):
    for i, j in itertools.product(smooth_operands(row, point), repeat=2):
        first = mg.grad(row, i)
        assert first(*point) == local(row, i, point)
        assert mg.grad(first, j)(*point) == pytest.approx(slope(first, point, j), rel=1e-7, abs=1e-7), (i, j)


# ---- the three ways to compute a row


@each_row
def test_floats_and_arrays_agree(row):
    exact = row.name in CORRECTLY_ROUNDED  # the others are rounded by the C library here and by NumPy there
    want = np.array([row(*point) for point in points(row)])
    columns = [np.array(column) for column in zip(*points(row), strict=True)]
    for got in (row(*columns), [row(*(column[k : k + 1] for column in columns))[0] for k in range(len(want))]):
        assert np.shape(got) == want.shape
        np.testing.assert_allclose(got, want, rtol=0.0 if exact else 1e-15, atol=0.0)


@each_row
def test_floats_and_arrays_agree_at_the_edges_of_the_floats(row):
    exact = row.name in CORRECTLY_ROUNDED
    for point in itertools.product(SPECIAL, repeat=len(row.partials)):
        try:
            want = row(*point)
        except DomainError:
            continue  # there an array has inf or nan, as everywhere in NumPy
        with np.errstate(all="ignore"):
            got = float(row.array(*map(np.array, point)))
        close = got == want if exact else math.isclose(got, want, rel_tol=1e-15, abs_tol=1e-320)
        assert close or (math.isnan(got) and math.isnan(want)), (point, got, want)


@each_point
def test_a_node_holds_what_the_floats_give(row, point):
    want = row(*point)
    assert same_bits(row(*map(Value, point)).data, want)
    for i, x in enumerate(point):  # a node in one place, numbers in the others
        node = row(*(Value(x) if k == i else y for k, y in enumerate(point)))
        assert same_bits(node.data, want)
        assert node.prim is row
        assert [getattr(y, "data", y) for y in node.operands] == list(point)


@each_point
def test_text_is_what_parse_reads(row, point):
    operands = dict(zip("abc", map(Value, point), strict=False))
    node = mg.parse(row.text.format(*operands), **operands)
    assert node.prim is (None if row is identity else row)
    assert node is operands["a"] or all(map(operator.is_, node.operands, operands.values()))
    assert same_bits(node.data, row(*point))


@each_row
def test_infinities_and_nan_raise_nothing_but_domain_errors(row):
    for point in itertools.product(SPECIAL, repeat=len(row.partials)):
        leaves = [Value(x) for x in point]
        try:
            root = row(*leaves)
            root.backward()
        except DomainError:
            assert all(leaf.grad is None for leaf in leaves)
        else:
            assert all(type(x) is float for x in (root.data, *(leaf.grad for leaf in leaves))), point


# ---- kinks and the edges of domains

NAN, INF = math.nan, math.inf
KINKS = [  # row, operands, value, partials
    ("relu", (0.0,), 0.0, (0.0,)),
    ("relu", (-0.0,), 0.0, (0.0,)),
    ("relu", (-INF,), 0.0, (0.0,)),
    ("relu", (NAN,), NAN, (0.0,)),
    ("maximum", (1.5, 1.5), 1.5, (0.5, 0.5)),
    ("maximum", (0.0, -0.0), 0.0, (0.5, 0.5)),
    ("maximum", (NAN, 1.0), NAN, (0.0, 0.0)),
    ("maximum", (1.0, NAN), NAN, (0.0, 0.0)),
    ("minimum", (1.5, 1.5), 1.5, (0.5, 0.5)),
    ("minimum", (0.0, -0.0), 0.0, (0.5, 0.5)),
    ("minimum", (NAN, 1.0), NAN, (0.0, 0.0)),
    ("minimum", (1.0, NAN), NAN, (0.0, 0.0)),
    ("greater", (1.0, 1.0), 0.0, (0.0, 0.0)),
    ("equal", (0.0, -0.0), 1.0, (0.0, 0.0)),
    ("equal", (NAN, NAN), 0.0, (0.0, 0.0)),
    ("where", (1.0, 2.0, 3.0), 2.0, (0.0, 1.0, 0.0)),
    ("where", (0.0, 2.0, 3.0), 3.0, (0.0, 0.0, 1.0)),
    ("where", (-0.0, 2.0, 3.0), 3.0, (0.0, 0.0, 1.0)),
    ("where", (NAN, 2.0, 3.0), 2.0, (0.0, 1.0, 0.0)),
    ("where", (1.0, 2.0, NAN), 2.0, (0.0, 1.0, 0.0)),  # what is not chosen does not matter
    ("pow", (0.0, 0.0), 1.0, (0.0, 0.0)),
    ("pow", (0.0, 1.0), 0.0, (1.0, 0.0)),
    ("pow", (0.0, 2.0), 0.0, (0.0, 0.0)),
    ("pow", (0.0, 0.5), 0.0, (DomainError, 0.0)),
    ("pow", (-2.0, 2.0), 4.0, (-4.0, DomainError)),
    ("pow", (-2.0, -1.0), -0.5, (-0.25, DomainError)),
    ("pow", (-10.0, 401.0), -INF, (INF, DomainError)),
    ("pow", (10.0, 400.0), INF, (INF, INF)),
    ("exp", (1000.0,), INF, (INF,)),
    ("exp", (-1000.0,), 0.0, (0.0,)),
    ("tanh", (1000.0,), 1.0, (0.0,)),
    ("log", (5e-324,), math.log(5e-324), (INF,)),
]


@pytest.mark.parametrize(("name", "point", "value", "partials"), KINKS)
def test_values_and_derivatives_at_kinks(name, point, value, partials):
    row = TABLE[name]
    node = row(*map(Value, point))
    assert node.data == value or (math.isnan(node.data) and math.isnan(value))
    for i, want in enumerate(partials):
        if want is DomainError:
            with pytest.raises(DomainError):
                local(row, i, point)
        else:
            assert local(row, i, point) == want, i


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("pow", (-8.0, 1 / 3)),
        ("pow", (0.0, -1.0)),
        ("pow", (-0.0, -0.5)),
        ("log", (0.0,)),
        ("log", (-0.0,)),
        ("log", (-1.0,)),
        ("log", (-INF,)),
        ("div", (1.0, 0.0)),
        ("div", (0.0, -0.0)),
    ],
)
def test_outside_the_domain(name, point):
    for operands in (point, tuple(map(Value, point))):
        with pytest.raises(DomainError, match=rf"is undefined.*: {name} needs "):
            TABLE[name](*operands)


def test_a_plain_exponent_needs_no_logarithm():
    x = Value(-2.0)
    (x**2).backward()  # log(-2), the derivative by the exponent, is not asked for
    assert x.grad == -4.0


def test_the_square_at_zero_to_the_third_derivative():
    def f(x):
        return x**2

    found = []
    for _ in range(4):
        found.append(f(0.0))
        f = mg.grad(f)
    assert found == [0.0, 0.0, 2.0, 0.0]


def test_a_derivative_that_does_not_exist_names_the_node_and_the_input():
    x = Value(0.0, "x")
    with pytest.raises(DomainError, match=r"derivative of x \*\* 0\.5 by x does not exist"):
        (x**0.5).backward()


# ---- the operators that are spelled out for speed

HOT = [("add", operator.add), ("mul", operator.mul)]


@pytest.mark.parametrize(("name", "spelled"), HOT)
def test_spelled_out_operators_are_their_rows(name, spelled):
    for a, b in itertools.product(SPECIAL, repeat=2):
        x = Value(a)
        for other in (Value(b), b):
            got, want = spelled(x, other), TABLE[name](x, other)
            assert same_bits(got.data, want.data), (a, b)
            assert got.prim is want.prim
            assert [id(operand) for operand in got.operands] == [id(operand) for operand in want.operands]
            assert (got.grad, got.mark, got.name) == (want.grad, want.mark, want.name)


def test_spelled_out_relu_is_its_row():
    for a in SPECIAL:
        x = Value(a)
        got, want = x.relu(), TABLE["relu"](x)
        assert same_bits(got.data, want.data), a
        assert got.prim is want.prim
        assert got.operands[0] is want.operands[0] is x
        assert len(got.operands) == 1
        assert (got.grad, got.mark, got.name) == (want.grad, want.mark, want.name)


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(lambda x, y: x + y, id="x + y"),
        pytest.param(lambda x, y: x + x, id="x + x"),
        pytest.param(lambda x, y: x + 2.5, id="x + 2.5"),
        pytest.param(lambda x, y: 2.5 + x, id="2.5 + x"),
        pytest.param(lambda x, y: x * y, id="x * y"),
        pytest.param(lambda x, y: x * x, id="x * x"),
        pytest.param(lambda x, y: x * 2.5, id="x * 2.5"),
        pytest.param(lambda x, y: 2.5 * x, id="2.5 * x"),
        pytest.param(lambda x, y: x.relu(), id="relu(x)"),
        pytest.param(lambda x, y: (x * y + x).relu() * y + x, id="all of them"),
    ],
)
def test_spelled_out_backward_is_the_chain_rule_of_the_rows(spelled):
    for a, b, upstream in itertools.product(SPECIAL, repeat=3):
        x, y = Value(a), Value(b)
        root = spelled(x, y) * upstream
        root.backward()
        for node, want in mg.adjoints(root).items():
            assert same_bits(node.grad, want), (a, b, upstream, node)

"""The rows of the table against references that share no code with them: many digits, PyTorch, the lectures."""

import itertools
import math
import operator

import mpmath
import numpy as np
import pytest

import microgad as mg
from microgad import Value, primitives
from microgad.errors import DomainError, GraphCutError, InputError
from microgad.primitive import Primitive

TABLE = {row.name: row for row in vars(primitives).values() if isinstance(row, Primitive)}  # no rows of a user's own
EPS, INF, NAN = 2.0**-52, math.inf, math.nan


def gelu_tanh(x):
    return mg.gelu(x, approximate="tanh")


def nth(f, n):
    for _ in range(n):
        f = mg.grad(f)
    return f


def same(x, y):
    return x == y or (x != x and y != y)


# ---- many digits

SIZES = (1e-300, 1e-20, 1e-8, 1e-3, 0.1, 0.5, 0.75, 1.0, 1.28, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 36.5, 40.0, 100.0)
EVERYWHERE = (0.0, 700.0, -700.0, *SIZES, *(-x for x in SIZES))
POSITIVE = (1e-100, 1e-20, 1e-8, 1e-3, 0.5, 1.0, 1.1, 2.0, 3.0, 10.0, 1e3, 1e15, 1e100)
RELATIVE = {"exp", "log", "sqrt"}  # each derivative is one product: no digit is lost however small it is
SMOOTH = {  # ours, the definition, where
    "exp": (mg.exp, mpmath.exp, EVERYWHERE),
    "log": (mg.log, mpmath.log, POSITIVE),
    "sqrt": (mg.sqrt, mpmath.sqrt, POSITIVE),
    "sin": (mg.sin, mpmath.sin, EVERYWHERE),
    "cos": (mg.cos, mpmath.cos, EVERYWHERE),
    "tanh": (mg.tanh, mpmath.tanh, EVERYWHERE),
    "erf": (mg.erf, mpmath.erf, EVERYWHERE),
    "sigmoid": (mg.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), EVERYWHERE),
    "softplus": (mg.softplus, lambda x: mpmath.log1p(mpmath.exp(x)), EVERYWHERE),
    "silu": (mg.silu, lambda x: x / (1 + mpmath.exp(-x)), EVERYWHERE),
    "gelu": (mg.gelu, lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2, EVERYWHERE),
    "gelu_tanh": (
        gelu_tanh,
        lambda x: x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3))),
        EVERYWHERE,
    ),
    "elu": (  # away from its kink
        lambda x: mg.elu(x, 1.5),
        lambda x: x if x > 0 else 1.5 * mpmath.expm1(x),
        tuple(x for x in EVERYWHERE if abs(x) > 1e-4),
    ),
}


def reference(f, x, n):
    """The derivative of order `n`, by differences of so many digits that none of them matters."""
    with mpmath.workdps(40):
        x = mpmath.mpf(x)
        step = x * mpmath.mpf(10) ** -30 if f in (mpmath.log, mpmath.sqrt) else None  # stays right of 0
        return float(mpmath.diff(f, x, n, h=step))


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_rows_against_many_digits(name, order):
    ours, definition, where = SMOOTH[name]
    f = nth(ours, order)
    for x in where:
        want = reference(definition, x, order)
        # Two units in the last place for each order. Derivatives as 1 - y² or x - y cancel terms of size 1 or |x|;
        # beyond 40 all of these rows are straight to the last bit, and nothing cancels.
        scale = abs(want) + (0.0 if name in RELATIVE else min(max(1.0, abs(x)), 40.0))
        assert abs(f(x) - want) <= 2 * (order + 1) * EPS * scale, (x, f(x), want)


TAILS = [  # where a result is small, and a formula that goes through 1 would lose its digits
    ("exp", 0, -700.0, mpmath.exp),
    ("tanh", 0, 1e-300, mpmath.tanh),
    ("erf", 0, 1e-300, mpmath.erf),
    ("erf", 1, 12.0, lambda x: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x)),
    ("log", 0, 1.0000000000000002, mpmath.log),
    ("sin", 0, 1e22, mpmath.sin),
    ("cos", 0, 1e22, mpmath.cos),
    *(("sigmoid", 0, x, lambda x: 1 / (1 + mpmath.exp(-x))) for x in (-700.0, -40.0, -20.0, -1e-9)),
    *(("sigmoid", 1, x, lambda x: 1 / (4 * mpmath.cosh(x / 2) ** 2)) for x in (-700.0, -40.0, -20.0)),
    *(("softplus", 0, x, lambda x: mpmath.log1p(mpmath.exp(x))) for x in (-700.0, -40.0, -1.0, 1.0, 25.0)),
    *(("softplus", 1, x, lambda x: 1 / (1 + mpmath.exp(-x))) for x in (-700.0, -40.0, -1.0)),
    *(("softplus", 2, x, lambda x: 1 / (4 * mpmath.cosh(x / 2) ** 2)) for x in (-700.0, -40.0)),
    *(("silu", 0, x, lambda x: x / (1 + mpmath.exp(-x))) for x in (-700.0, -40.0, 1e-300)),
    *(("elu", 0, x, mpmath.expm1) for x in (-1e-300, -1e-10, -1e-5)),
    *(("gelu", 0, x, lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2) for x in (1e-300, -1e-10)),
]


@pytest.mark.parametrize(("name", "order", "x", "definition"), TAILS)
def test_small_results_have_all_their_digits(name, order, x, definition):
    with mpmath.workdps(60):
        want = float(definition(mpmath.mpf(x)))
    assert nth(getattr(mg, name), order)(x) == pytest.approx(want, rel=8 * EPS, abs=0.0)
    if order == 0:
        assert getattr(mg, name)(np.array([x]))[0] == pytest.approx(want, rel=8 * EPS, abs=0.0)


@pytest.mark.parametrize("x", [-5.0, -8.0, -12.0, -30.0])
def test_gelu_has_all_its_digits_on_the_left(x):
    with mpmath.workdps(60):
        want = float(x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2)
    for got in (mg.gelu(x), mg.gelu(np.array([x]))[0]):
        assert got == pytest.approx(want, rel=x * x * EPS, abs=0.0)  # what the last bit of x/√2 does


def test_the_derivative_of_elu_by_alpha_has_all_its_digits():
    assert mg.grad(mg.elu, 1)(-1e-10, 2.0) == pytest.approx(math.expm1(-1e-10), rel=8 * EPS, abs=0.0)


def first_if(chosen, a, b):
    return a if chosen else b


SEVERAL = {  # rows of several operands: the definition, and points away from kinks
    "add": (operator.add, [(2.0, 3.0)]),
    "sub": (operator.sub, [(2.0, 3.0)]),
    "mul": (operator.mul, [(2.0, -3.0)]),
    "div": (operator.truediv, [(2.0, -3.0), (-1e8, 1e-4), (0.0, 2.0)]),
    "pow": (operator.pow, [(2.0, 3.0), (0.3, -2.5), (1e-5, 0.5), (40.0, 1e-3), (1.5, 0.0)]),
    "maximum": (max, [(2.0, 3.0), (3.0, -2.0)]),
    "minimum": (min, [(2.0, 3.0), (3.0, -2.0)]),
    "where": (lambda c, a, b: first_if(c != 0, a, b), [(1.0, 2.0, 3.0), (-0.5, 2.0, 3.0)]),
    "clip": (lambda x, low, high: min(max(x, low), high), [(0.5, -1.0, 1.0), (-2.0, -1.0, 1.0), (2.0, -1.0, 1.0)]),
    "leaky_relu": (lambda x, slope: first_if(x > 0, x, slope * x), [(2.0, 0.1), (-2.0, 0.1), (-1e8, -3.0)]),
    "elu": (lambda x, alpha: first_if(x > 0, x, alpha * mpmath.expm1(x)), [(2.0, 0.5), (-2.0, 0.5), (-30.0, -3.0)]),
}


@pytest.mark.parametrize(("name", "point"), [(name, point) for name in SEVERAL for point in SEVERAL[name][1]])
def test_mixed_derivatives_to_the_third_order_against_many_digits(name, point):
    definition, _ = SEVERAL[name]
    for order in range(4):
        for path in itertools.product(range(len(point)), repeat=order):
            f = TABLE[name]
            for i in path:
                f = mg.grad(f, i)
            counts = tuple(path.count(i) for i in range(len(point)))
            with mpmath.workdps(40):
                want = float(mpmath.diff(definition, tuple(map(mpmath.mpf, point)), counts))
            assert f(*point) == pytest.approx(want, rel=16 * EPS, abs=4 * EPS), path


# ---- numbers of any size

STRAIGHT = {  # what each comes to far out: value and slope on the left, value and slope on the right
    "sigmoid": (mg.sigmoid, (0.0, 0.0), (1.0, 0.0)),
    "tanh": (mg.tanh, (-1.0, 0.0), (1.0, 0.0)),
    "erf": (mg.erf, (-1.0, 0.0), (1.0, 0.0)),
    "relu": (mg.relu, (0.0, 0.0), ("x", 1.0)),
    "softplus": (mg.softplus, (0.0, 0.0), ("x", 1.0)),
    "silu": (mg.silu, (0.0, 0.0), ("x", 1.0)),
    "gelu": (mg.gelu, (0.0, 0.0), ("x", 1.0)),
    "gelu_tanh": (gelu_tanh, (0.0, 0.0), ("x", 1.0)),
    "elu": (lambda x: mg.elu(x, 1.5), (-1.5, 0.0), ("x", 1.0)),
    "abs": (mg.abs, ("-x", -1.0), ("x", 1.0)),
    "sign": (mg.sign, (-1.0, 0.0), (1.0, 0.0)),
    "step": (mg.step, (0.0, 0.0), (1.0, 0.0)),
}
FAR = [(name, x) for name in STRAIGHT for x in (1e3, 1e17, 1e160, 1e308)]
# The slope of its x³ overflows, and meets a factor 0: nan, as in PyTorch.
FAR = [case for case in FAR if case not in (("gelu_tanh", 1e160), ("gelu_tanh", 1e308))]


@pytest.mark.parametrize(("name", "x"), FAR)
def test_far_out_values_and_slopes_are_those_of_straight_lines(name, x):
    f, left, right = STRAIGHT[name]
    for at, (value, slope) in ((-x, left), (x, right)):
        value = {"x": at, "-x": -at}.get(value, value)
        node, leaf = f(v := Value(at)), v
        node.backward()
        assert (f(at), node.data, f(np.array([at]))[0]) == (value, value, value)
        assert (leaf.grad, mg.grad(f)(at)) == (slope, slope)


@pytest.mark.parametrize("name", [*(set(STRAIGHT) - {"silu", "gelu_tanh"}), "silu"])
def test_second_derivatives_far_out_are_zero(name):
    for x in (1e3, -1e3, 1e15, -1e308):
        assert nth(STRAIGHT[name][0], 2)(x) == 0.0


def test_the_exponential_at_the_end_of_the_floats():
    last = 709.782712893384
    for f in (mg.exp, lambda x: mg.exp(Value(x)).data, nth(mg.exp, 1)):
        assert f(last) == pytest.approx(1.797693134862273e308, rel=2 * EPS, abs=0.0)
        assert f(math.nextafter(last, 710.0)) == f(710.0) == INF
        assert f(-745.0) == 5e-324
        assert f(-746.0) == 0.0


def test_the_logarithm_of_a_small_sigmoid():
    x = Value(-40.0)
    loss = mg.log(mg.sigmoid(x))
    loss.backward()
    assert loss.data == pytest.approx(-40.0, rel=EPS, abs=0.0)
    assert x.grad == pytest.approx(1.0, rel=2 * EPS, abs=0.0)
    x = Value(-1000.0)  # where sigmoid(x) itself is 0
    loss = -mg.softplus(-x)
    loss.backward()
    assert (loss.data, x.grad) == (-1000.0, 1.0)


AT_INFINITY = [  # at -∞ and at ∞; the slope of silu and gelu is there nan, and silu(-∞) too, as in PyTorch
    ("exp", 0.0, INF),
    ("sigmoid", 0.0, 1.0),
    ("tanh", -1.0, 1.0),
    ("erf", -1.0, 1.0),
    ("relu", 0.0, INF),
    ("softplus", 0.0, INF),
    ("leaky_relu", -INF, INF),
    ("elu", -1.0, INF),
    ("abs", INF, INF),
    ("sign", -1.0, 1.0),
    ("step", 0.0, 1.0),
    ("sqrt", DomainError, INF),
    ("log", DomainError, INF),
    ("sin", DomainError, DomainError),
    ("cos", DomainError, DomainError),
    ("silu", NAN, INF),
    ("gelu", NAN, INF),
]


@pytest.mark.parametrize(("name", "left", "right"), AT_INFINITY)
def test_values_at_infinity(name, left, right):
    f = getattr(mg, name)
    for x, want in ((-INF, left), (INF, right)):
        if want is DomainError:
            with pytest.raises(DomainError):
                f(x)
        else:
            assert same(f(x), want)
            with np.errstate(invalid="ignore"):  # where the answer is nan, NumPy says so
                assert same(f(np.array([x]))[0], want)


# ---- kinks, the zeros, nan

KINKS = [  # row, operands, value, partials; relu, maximum, minimum and where are in test_table.py
    ("abs", (0.0,), 0.0, (0.0,)),
    ("abs", (-0.0,), 0.0, (0.0,)),
    ("abs", (-5e-324,), 5e-324, (-1.0,)),
    ("sign", (0.0,), 0.0, (0.0,)),
    ("sign", (-0.0,), -0.0, (0.0,)),
    ("sign", (-5e-324,), -1.0, (0.0,)),
    ("step", (0.0,), 1.0, (0.0,)),
    ("step", (-0.0,), 1.0, (0.0,)),
    ("step", (-5e-324,), 0.0, (0.0,)),
    ("leaky_relu", (0.0, 0.01), 0.0, (0.01, 0.0)),
    ("leaky_relu", (-0.0, 0.01), -0.0, (0.01, 0.0)),
    ("leaky_relu", (0.0, -0.5), -0.0, (-0.5, 0.0)),  # 0 is on the left
    ("leaky_relu", (5e-324, 0.01), 5e-324, (1.0, 0.0)),
    ("leaky_relu", (-2.0, 0.01), -0.02, (0.01, -2.0)),
    ("leaky_relu", (-2.0, 0.0), -0.0, (0.0, -2.0)),
    ("elu", (0.0, 1.5), 0.0, (1.5, 0.0)),
    ("elu", (-0.0, 1.5), -0.0, (1.5, 0.0)),
    ("elu", (5e-324, 1.5), 5e-324, (1.0, 0.0)),
    ("elu", (-INF, 1.5), -1.5, (0.0, -1.0)),
    ("clip", (-1.0, -1.0, 1.0), -1.0, (1.0, 0.0, 0.0)),  # both ends pass, as in PyTorch
    ("clip", (1.0, -1.0, 1.0), 1.0, (1.0, 0.0, 0.0)),
    ("clip", (math.nextafter(-1.0, -2.0), -1.0, 1.0), -1.0, (0.0, 1.0, 0.0)),
    ("clip", (math.nextafter(1.0, 2.0), -1.0, 1.0), 1.0, (0.0, 0.0, 1.0)),
    ("clip", (0.0, 0.0, 0.0), 0.0, (1.0, 0.0, 0.0)),
    ("clip", (0.0, 1.0, 1.0), 1.0, (0.0, 1.0, 0.0)),  # an interval of one point: the end on that side
    ("clip", (2.0, 1.0, 1.0), 1.0, (0.0, 0.0, 1.0)),
    ("clip", (0.0, -INF, INF), 0.0, (1.0, 0.0, 0.0)),
    ("clip", (2.0, 1.0, -1.0), -1.0, (0.0, 0.0, 1.0)),  # low > high: the number is high, wherever x is
    ("clip", (0.0, 1.0, -1.0), -1.0, (0.0, 0.0, 1.0)),
    ("clip", (-2.0, 1.0, -1.0), -1.0, (0.0, 0.0, 1.0)),
    ("clip", (-1.0, 1.0, -1.0), -1.0, (0.0, 0.0, 1.0)),
    ("softplus", (INF,), INF, (1.0,)),
    ("softplus", (-INF,), 0.0, (0.0,)),
    ("sqrt", (-0.0,), -0.0, (DomainError,)),
    ("sqrt", (0.0,), 0.0, (DomainError,)),
    ("sqrt", (INF,), INF, (0.0,)),
    ("sqrt", (5e-324,), 2.2227587494850775e-162, (0.5 / 2.2227587494850775e-162,)),
    ("silu", (-0.0,), -0.0, (0.5,)),
    ("gelu", (-0.0,), -0.0, (0.5,)),
    ("erf", (-0.0,), -0.0, (2 / math.sqrt(math.pi),)),
]


@pytest.mark.parametrize(("name", "point", "value", "partials"), KINKS)
def test_values_and_derivatives_at_kinks(name, point, value, partials):
    row = TABLE[name]
    for got in (row(*point), row(*map(Value, point)).data):
        assert got.hex() == value.hex()  # a zero with its sign; not so on arrays: np.sign(-0.0) is 0.0
    assert float(row.array(*map(np.array, point))) == value
    for i, want in enumerate(partials):
        leaves = [Value(x) for x in point]
        if want is DomainError:
            with pytest.raises(DomainError):
                row(*leaves).backward()
        else:
            assert mg.grad(row, i)(*point) == want, i
            row(*(leaf if k == i else x for k, (leaf, x) in enumerate(zip(leaves, point, strict=True)))).backward()
            assert leaves[i].grad == want, i


NOT_NUMBERS = {  # what a nan in each operand gives; a number where that operand does not matter
    "where": [((NAN, 2.0, 3.0), 2.0), ((1.0, NAN, 3.0), NAN), ((1.0, 2.0, NAN), 2.0), ((0.0, 2.0, NAN), NAN)],
    "greater": [((NAN, 1.0), 0.0), ((1.0, NAN), 0.0)],  # as Python's comparisons
    "equal": [((NAN, NAN), 0.0)],
    "pow": [((NAN, 0.5), NAN), ((2.0, NAN), NAN), ((NAN, 0.0), 1.0), ((1.0, NAN), 1.0)],  # as math.pow
    "leaky_relu": [((NAN, 0.1), NAN), ((-1.0, NAN), NAN), ((1.0, NAN), 1.0)],
    "elu": [((NAN, 0.1), NAN), ((-1.0, NAN), NAN), ((1.0, NAN), 1.0)],
    "clip": [((NAN, -1.0, 1.0), NAN), ((0.0, NAN, 1.0), NAN), ((0.0, -1.0, NAN), NAN)],
}


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.partials])
def test_nan_in_gives_nan_out(name):
    row = TABLE[name]
    n = len(row.partials)
    each = [(tuple(NAN if k == i else 1.0 for k in range(n)), NAN) for i in range(n)]
    for point, want in NOT_NUMBERS.get(name, each):
        assert same(row(*point), want), point
        assert same(float(row.array(*map(np.array, point))), want), point


# ---- slopes that are learnt


@pytest.mark.parametrize("x", [-3.0, -1.0, -0.5, 0.0, 0.5, 3.0])
def test_gradients_by_the_slopes(x):
    slope, alpha = Value(0.25, "slope"), Value(2.0, "alpha")
    (10.0 * mg.leaky_relu(x, slope) + 10.0 * Value(x).elu(alpha)).backward()
    assert slope.grad == 10.0 * min(0.0, x)
    assert alpha.grad == pytest.approx(10.0 * math.expm1(min(0.0, x)), abs=20 * EPS)


def test_a_slope_is_learnt():
    slope = Value(0.9)
    for _ in range(60):  # the loss is (slope - 0.25)² times the mean of x² below 0
        slope.grad = None
        terms = [(mg.leaky_relu(x, slope) - (x if x > 0 else 0.25 * x)) ** 2 for x in (-2.0, -1.0, 1.0, 2.0)]
        (sum(terms) / 4).backward()
        slope.data -= 0.3 * slope.grad
    assert slope.data == pytest.approx(0.25, abs=1e-12)


def test_the_default_slopes():
    assert (mg.leaky_relu(-1.0), mg.elu(-INF)) == (-0.01, -1.0)
    assert (Value(-1.0).leaky_relu().data, Value(-INF).elu().data) == (-0.01, -1.0)
    assert (mg.leaky_relu(-1.0, negative_slope=0.5), mg.elu(-INF, alpha=0.5)) == (-0.5, -0.5)


def test_clip_with_one_bound():
    for f, want in (
        (lambda x: mg.clip(x, 0.0), (0.0, 3.0)),
        (lambda x: mg.clip(x, low=0.0), (0.0, 3.0)),
        (lambda x: mg.clip(x, high=1.0), (-3.0, 1.0)),
        (lambda x: mg.clip(x, None, 1.0), (-3.0, 1.0)),
    ):
        assert (f(-3.0), f(3.0)) == want
        assert (f(Value(-3.0)).data, f(Value(3.0)).data) == want
    assert (mg.clip(INF, 0.0), mg.clip(-INF, high=0.0)) == (INF, -INF)
    for x in (0.5, Value(0.5), np.ones(2)):
        with pytest.raises(InputError, match="clip needs a bound: low, high, or both"):
            mg.clip(x)


@pytest.mark.parametrize("given", ["Tanh", "", None, True, 1.0])
def test_a_gelu_that_is_not_known(given):
    for f in (mg.gelu, Value.gelu):
        with pytest.raises(InputError, match=r"approximate='none', or approximate='tanh', not "):
            f(Value(1.0), given)


# ---- functions, methods, parse

CALLS = {  # what follows the first operand
    "where": (2.0, 3.0),
    "clip": (-0.5, 0.5),
    "leaky_relu": (0.3,),
    "elu": (0.3,),
    "maximum": (0.1,),
    "minimum": (0.1,),
    "greater": (0.1,),
    "equal": (0.7,),
}
FUNCTIONS = sorted(name for name in mg.__all__ if name in TABLE)
METHODS = [name for name in FUNCTIONS if hasattr(Value, name)]


def test_all_rows_are_functions_and_those_of_one_number_methods():
    operators = {"identity", "neg", "add", "sub", "mul", "div", "pow"}
    assert set(FUNCTIONS) == set(TABLE) - operators
    assert set(METHODS) == set(FUNCTIONS) - {"where", "maximum", "minimum", "greater", "equal"}


@pytest.mark.parametrize("x", [0.7, 2.5, 0.0, 1e-300])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_methods_and_text_record_the_same(name, x):
    if name == "log" and x == 0.0:
        return
    rest = CALLS.get(name, ())
    want = TABLE[name](x, *rest)
    nodes = [getattr(mg, name)(Value(x, "x"), *rest)]
    if name in METHODS:
        nodes.append(getattr(Value(x, "x"), name)(*rest))
    text = ", ".join(["x", *map(str, rest)])
    nodes.append(mg.parse(f"{name}({text})", x=x))
    for node in nodes:
        assert node.prim is TABLE[name]
        assert node.data.hex() == float(want).hex()
        assert [getattr(operand, "name", operand) for operand in node.operands] == ["x", *rest]


def test_the_other_spellings():
    x = Value(-0.5, "x")
    assert mg.swish is mg.silu
    assert x.swish().prim is mg.parse("swish(x)", x=x).prim is TABLE["silu"]
    assert abs(x).prim is mg.parse("abs(x)", x=x).prim is TABLE["abs"]
    assert x.leaky_relu(negative_slope=0.5).data == x.elu(alpha=0.0).data - 0.25
    assert x.clip(low=0.0).data == x.clip(-1.0, high=0.0).data + 0.5
    assert x.gelu(approximate="tanh").data == gelu_tanh(-0.5)
    assert mg.parse("where(x > y, x, y)", x=1, y=2).data == 2.0
    assert mg.parse("clip(x, -1)", x=-3).data == -1.0
    assert mg.parse("leaky_relu(x, s)", x=-3, s=0.5).data == -1.5


def test_where_on_comparisons_of_values():
    x, y = Value(2.0, "x"), Value(5.0, "y")
    node = mg.where(x > y, x * y, x - y)
    node.backward()
    assert (node.data, x.grad, y.grad) == (-3.0, 1.0, -1.0)
    assert mg.grad(lambda t: mg.where(t > 0, t * t, -t))(3.0) == 6.0
    assert nth(lambda t: mg.where(t > 0, t**3, -t), 2)(3.0) == 18.0


# ---- outside the domain


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: mg.sqrt(x), "sqrt(x) is undefined at x = -1.0: sqrt needs a number >= 0"),
        (lambda x, y: x.sqrt(), "sqrt(x) is undefined at x = -1.0: sqrt needs a number >= 0"),
        (lambda x, y: np.sqrt(x), "sqrt(x) is undefined at x = -1.0: sqrt needs a number >= 0"),
        (lambda x, y: mg.sqrt(x - y), "sqrt(x - y) is undefined at x - y = -3.0: sqrt needs a number >= 0"),
        (
            lambda x, y: mg.sqrt(mg.sin(x) * y),
            "sqrt(sin(x) * y) is undefined at sin(x) * y = -1.682941969615793: sqrt needs a number >= 0",
        ),
        (
            lambda x, y: mg.log(mg.relu(x + y) - y),  # the innermost part is left out
            "log(relu(…) - y) is undefined at relu(…) - y = -1.0: log needs a number > 0",
        ),
        (
            lambda x, y: mg.log(mg.clip(x, -5.0, y)),
            "log(clip(x, -5.0, y)) is undefined at clip(x, -5.0, y) = -1.0: log",
        ),
        (lambda x, y: mg.sin(y * INF), "sin(y * inf) is undefined at y * inf = inf: sin needs a finite number"),
        (lambda x, y: mg.cos(x / 0.0), "x / 0.0 is undefined at x = -1.0: div needs a divisor other than 0"),
        (lambda x, y: mg.cos(y * -INF), "cos(y * -inf) is undefined at y * -inf = -inf: cos needs a finite number"),
        (lambda x, y: mg.sqrt(-1.0), "sqrt(-1.0) is undefined: sqrt needs a number >= 0"),
        (lambda x, y: mg.parse("sqrt(a - b)", a=1, b=2), "column 1: sqrt(a - b) is undefined at a - b = -1.0: sqrt"),
        (lambda x, y: mg.grad(mg.sqrt)(-4.0), "sqrt(-4.0) is undefined: sqrt needs a number >= 0"),
    ],
)
def test_a_domain_error_gives_function_expression_and_number(make, message):
    with pytest.raises(DomainError) as caught:
        make(Value(-1.0, "x"), Value(2.0, "y"))
    assert str(caught.value).startswith(message)


def test_the_derivative_of_the_root_at_zero():
    x, y = Value(2.0, "x"), Value(2.0, "y")
    root = mg.sqrt(x - y)
    assert root.data == 0.0
    for fails in (root.backward, lambda: mg.adjoints(root)):
        with pytest.raises(DomainError, match=r"the derivative of sqrt\(x - y\) by x - y does not exist"):
            fails()
    assert x.grad is y.grad is None
    for n in (1, 2):
        with pytest.raises(DomainError):
            nth(mg.sqrt, n)(0.0)


def test_an_array_outside_the_domain_is_numpys_business():
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert math.isnan(mg.sqrt(np.array([-1.0]))[0])


# ---- arrays

UNARY = [name for name in FUNCTIONS if name not in {"where", "clip", "maximum", "minimum", "greater", "equal"}]
NUMBERS = np.array([[0.25, 1.0, 3.5], [0.001, 20.0, 2.0]])  # in every domain


def floats(f, *operands):
    """The same, number by number."""
    columns = np.broadcast_arrays(*operands)
    numbers = [f(*map(float, point)) for point in zip(*(column.ravel() for column in columns), strict=True)]
    return np.array(numbers).reshape(columns[0].shape)


@pytest.mark.parametrize("name", [*UNARY, "gelu_tanh"])
def test_arrays_agree_with_floats_and_keep_their_kind(name):
    f = getattr(mg, name, gelu_tanh)
    signed = NUMBERS if name in ("log", "sqrt") else NUMBERS * [1.0, -1.0, 1.0]
    before = signed.copy()
    for x in (signed, signed[:, ::2], signed.T, signed[0, 1], np.array(0.5), np.zeros((0, 3)), np.float64(0.5)):
        got, want = f(x), floats(f, x)
        assert (np.shape(got), got.dtype if np.ndim(x) else np.float64) == (np.shape(x), np.float64)
        np.testing.assert_allclose(got, want, rtol=4 * EPS, atol=0.0)
        got = f(np.asarray(x, np.float32))
        assert np.shape(got) == np.shape(x)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    for kind in (np.int64, np.int32):
        np.testing.assert_allclose(f(np.array([1, 2, 5], kind)), floats(f, [1, 2, 5]), rtol=4 * EPS)
    np.testing.assert_array_equal(signed, before)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for kind in (np.uint8, bool)  # -x of the one wraps, and NumPy has none of the other
        for name in UNARY
        if (name, kind) != ("sign", bool)  # nor a sign of one
    ],
)
def test_arrays_of_small_integers(name, kind):
    got = getattr(mg, name)(np.array([1, 1], kind))
    assert got == pytest.approx(getattr(mg, name)(1.0), rel=2e-3)  # NumPy computes in half precision for these


@pytest.mark.parametrize("name", ["where", "clip", "maximum", "minimum", "leaky_relu", "elu"])
def test_functions_of_several_arrays_broadcast(name):
    f, n = getattr(mg, name), len(TABLE[name].partials)
    column, row, table = np.array([[-2.0], [0.0], [1.5]]), np.array([-1.0, 0.0, 0.5, 2.0]), np.full((3, 4), 0.25)
    for operands in itertools.product((column, row, table, 0.75, np.float64(-1.0)), repeat=n):
        if any(np.ndim(x) for x in operands):
            got = f(*operands)
            assert (got.shape, got.dtype) == (np.broadcast_shapes(*map(np.shape, operands)), np.float64)
            np.testing.assert_allclose(got, floats(f, *operands), rtol=2 * EPS, atol=0.0)
    assert f(*[np.zeros((0, 1)), np.zeros(4), 1.0][:n]).shape == (0, 4)
    single = [x.astype(np.float32) for x in (column, row, table)]
    for operands in (single[:n], [single[0], 0.5, single[1]][:n], [single[1], *single[:2]][:n]):
        assert f(*operands).dtype == np.float32


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: mg.leaky_relu(x, 0.0), INF),
        (lambda x: mg.leaky_relu(x, 10.0), 1e308),
        (mg.elu, 1e308),
        (mg.softplus, -1e308),
        (mg.sigmoid, -1e308),
    ],
)
def test_an_array_gives_no_warning_for_a_branch_that_is_not_taken(f, x):
    assert f(np.array([x]))[0] == f(x)


# ---- numbers of Python

ODD = [
    (lambda: mg.sqrt(10**400), InputError),
    (lambda: mg.exp(-(10**400)), InputError),
    (lambda: gelu_tanh(1e200), 1e200),
    (lambda: type(mg.relu(3)), float),
    (lambda: type(mg.relu(True)), float),
    (lambda: type(mg.abs(-3)), float),
    (lambda: type(mg.sign(-3)), float),
]


@pytest.mark.parametrize(("call", "want"), ODD)
def test_numbers_that_are_not_floats(call, want):
    if want is InputError:
        with pytest.raises(InputError):
            call()
    else:
        assert call() == want


def test_a_number_of_numpy_is_an_array():
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert math.isnan(mg.sqrt(np.float64(-1.0)))
    with pytest.raises(DomainError, match=r"^sqrt\(-1\.0\) is undefined: "):
        mg.sqrt(Value(np.float64(-1.0)))


# ---- NumPy's functions on Values


@pytest.mark.parametrize(
    ("call", "name", "operands"),
    [
        (lambda x: np.abs(x), "abs", ["x"]),
        (lambda x: np.absolute(x), "abs", ["x"]),
        (lambda x: np.sqrt(x), "sqrt", ["x"]),
        (lambda x: np.sin(x), "sin", ["x"]),
        (lambda x: np.cos(x), "cos", ["x"]),
        (lambda x: np.sign(x), "sign", ["x"]),
        (lambda x: np.clip(x, -1.0, 1), "clip", ["x", -1.0, 1.0]),
        (lambda x: np.clip(x, None, 1), "clip", ["x", -INF, 1.0]),
        (lambda x: np.clip(0.5, -1.0, x), "clip", [0.5, -1.0, "x"]),
        (lambda x: np.where(x > 0, x, 0.0), "where", [1.0, "x", 0.0]),
        (lambda x: np.where(x, 1, x), "where", ["x", 1.0, "x"]),
        (lambda x: np.clip(x, a_min=-1, a_max=1), "clip", ["x", -1.0, 1.0]),
        (lambda x: np.clip(x, min=-1, max=1), "clip", ["x", -1.0, 1.0]),
    ],
)
def test_numpy_functions_record_nodes(call, name, operands):
    node = call(Value(2.0, "x"))
    assert type(node) is Value
    assert node.prim is TABLE[name]
    assert [getattr(operand, "name", operand) for operand in node.operands] == operands


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.sum(x),
        lambda x: np.mean(x),
        lambda x: np.dot(x, x),
        lambda x: np.vstack([x, x]),
        lambda x: np.round(x),
        lambda x: np.linalg.norm(x),
        lambda x: np.fabs(x),  # abs is np.abs
        lambda x: np.heaviside(x, 1.0),
        lambda x: np.square(x),
        lambda x: np.clip(x, None, None),
        lambda x: np.sqrt(x, where=True),
        lambda x: np.where(x),
        lambda x: np.clip(x, 0, 1, out=np.zeros(())),
    ],
)
def test_numpy_functions_that_record_no_graph_say_so(call):
    with pytest.raises(InputError):
        call(Value(2.0, "x"))


def test_numpy_functions_name_themselves_in_the_error():
    with pytest.raises(InputError, match=r"np\.sum records no graph: take \.data where only the number is wanted"):
        np.sum(Value(2.0))


def test_an_array_of_values_is_refused():
    with pytest.raises(GraphCutError, match=r"mg\.stack makes a Tensor of Values"):
        np.array([Value(-4.0), Value(9.0)])


# ---- PyTorch, where it is installed


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def theirs(torch, f, point):
    """Value, gradient and Hessian."""
    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in point]
    out = f(*inputs)
    # What does not depend on an input any more has the derivative 0.
    first = torch.autograd.grad(out, inputs, create_graph=True, materialize_grads=True)
    second = [
        torch.autograd.grad(g, inputs, retain_graph=True, materialize_grads=True)
        if g.requires_grad
        else [torch.tensor(0.0)] * len(inputs)
        for g in first
    ]
    return out.item(), [g.item() for g in first], [[h.item() for h in row] for row in second]


GRID = [0.0, -0.0, *(s * x for x in (1e-8, 0.3, 0.5, 1.0, 1.7, 2.5, 6.0, 15.0, 19.0, 700.0) for s in (1, -1))]
ALL, NOT_0, ABOVE_0, UP_TO_20 = GRID, GRID[2:], [x for x in GRID if x > 0], [x for x in GRID if x < 20]
PYTORCH = {  # ours, theirs, where
    "relu": (mg.relu, lambda t: t.relu, ALL),
    "sigmoid": (mg.sigmoid, lambda t: t.sigmoid, ALL),
    "tanh": (mg.tanh, lambda t: t.tanh, ALL),
    "exp": (mg.exp, lambda t: t.exp, ALL),
    "log": (mg.log, lambda t: t.log, ABOVE_0),
    "sqrt": (mg.sqrt, lambda t: t.sqrt, ABOVE_0),
    "sin": (mg.sin, lambda t: t.sin, ALL),
    "cos": (mg.cos, lambda t: t.cos, ALL),
    "erf": (mg.erf, lambda t: t.erf, ALL),
    "abs": (mg.abs, lambda t: t.abs, ALL),
    "sign": (mg.sign, lambda t: t.sign, ALL),
    "leaky_relu": (mg.leaky_relu, lambda t: t.nn.functional.leaky_relu, ALL),
    **{
        f"leaky_relu {s}": (lambda x, s=s: mg.leaky_relu(x, s), lambda t, s=s: t.nn.LeakyReLU(s), ALL)
        for s in (0.0, 0.3, 1.0, 2.0, -0.5)
    },
    **{
        f"elu {a}": (lambda x, a=a: mg.elu(x, a), lambda t, a=a: t.nn.ELU(a), NOT_0)  # at 0 see below
        for a in (0.5, 1.0, 2.0)
    },
    "softplus": (mg.softplus, lambda t: t.nn.functional.softplus, UP_TO_20),  # above see below
    "silu": (mg.silu, lambda t: t.nn.functional.silu, ALL),
    "gelu": (mg.gelu, lambda t: t.nn.functional.gelu, ALL),
    "gelu tanh": (gelu_tanh, lambda t: t.nn.GELU(approximate="tanh"), ALL),
    "clamp": (lambda x: mg.clip(x, -1.0, 0.5), lambda t: lambda x: t.clamp(x, -1.0, 0.5), ALL),
    "clamp min": (lambda x: mg.clip(x, 0.3), lambda t: lambda x: t.clamp(x, min=0.3), ALL),
    "clamp max": (lambda x: mg.clip(x, high=0.3), lambda t: lambda x: t.clamp(x, max=0.3), ALL),
    **{
        f"pow {n}": (lambda x, n=n: x**n, lambda t, n=n: lambda x: x**n, where)
        for n, where in ((2, ALL), (3.0, ALL), (1, ALL), (0.5, ABOVE_0), (-1, NOT_0), (-1.5, ABOVE_0))
    },
    "2 ** x": (lambda x: 2.0**x, lambda t: lambda x: 2.0**x, ALL),
}


@pytest.mark.parametrize("name", PYTORCH)
def test_values_and_two_derivatives_agree_with_pytorch(torch, name):
    ours, make, where = PYTORCH[name]
    for x in where:
        value, (first,), ((second,),) = theirs(torch, make(torch), (x,))
        got = ours(Value(x)).data, nth(ours, 1)(x), nth(ours, 2)(x)
        # Both round in every step, in places of their own: terms of size 1 and |x| cancel, see the scale above.
        for order, (a, b) in enumerate(zip(got, (value, first, second), strict=True)):
            assert a == b or abs(a - b) <= 8 * EPS * (abs(b) + min(max(1.0, abs(x)), 40.0)), (order, x, a, b)


FEW = (-2.5, -1.0, 0.0, 0.5, 1.0, 2.0)
PYTORCH_PAIRS = {  # of several operands, with every tie among the points
    "maximum": (mg.maximum, lambda t: t.maximum, itertools.product(FEW, repeat=2)),
    "minimum": (mg.minimum, lambda t: t.minimum, itertools.product(FEW, repeat=2)),
    "where": (mg.where, lambda t: lambda c, a, b: t.where(c != 0, a, b), itertools.product(FEW, (0.5, -1.0), (2.0,))),
    "clamp": (
        mg.clip,
        lambda t: t.clamp,
        [p for p in itertools.product(FEW, repeat=3) if p[1] < p[2] or (p[1] > p[2] != p[0])],  # others see below
    ),
    "pow": (TABLE["pow"], lambda t: t.pow, itertools.product((0.5, 1.0, 2.0, 3.7), (-2.5, -1.0, 0.5, 1.0, 2.0))),
    "div": (TABLE["div"], lambda t: t.div, itertools.product(FEW, (-2.5, 0.5, 2.0))),
    "prelu": (
        mg.leaky_relu,
        lambda t: lambda x, slope: t.nn.functional.prelu(x.reshape(1), slope.reshape(1)).sum(),
        itertools.product((-2.5, -1.0, 0.5, 2.0), (0.0, 0.25, -1.0)),
    ),
}


@pytest.mark.parametrize("name", PYTORCH_PAIRS)
def test_gradients_and_hessians_agree_with_pytorch(torch, name):
    ours, make, points = PYTORCH_PAIRS[name]
    for point in points:
        n = range(len(point))
        value, first, second = theirs(torch, make(torch), point)
        assert ours(*map(Value, point)).data == pytest.approx(value, rel=2 * EPS, abs=0.0), point
        assert [mg.grad(ours, i)(*point) for i in n] == pytest.approx(first, rel=8 * EPS, abs=0.0), point
        hessian = [[mg.grad(mg.grad(ours, i), j)(*point) for j in n] for i in n]
        assert np.array(hessian) == pytest.approx(np.array(second), rel=8 * EPS, abs=EPS), point


DIFFERENT = [  # on purpose: ours, theirs, the point, the order, what ours gives, what theirs gives, and why
    pytest.param(mg.softplus, lambda t: t.nn.functional.softplus, 25.0, 0, 25.0 + math.exp(-25), 25.0, id="threshold"),
    pytest.param(mg.softplus, lambda t: t.nn.functional.softplus, 25.0, 1, 1 - math.exp(-25), 1.0, id="threshold'"),
    # From the left, as the first derivative; PyTorch takes the first from the left and the second from the right.
    pytest.param(lambda x: mg.elu(x, 2.0), lambda t: t.nn.ELU(2.0), 0.0, 2, 2.0, 0.0, id="elu'' at its kink"),
    # A nan stays one in every value. PyTorch's sign drops it, and its derivatives at nan are those of some branch.
    pytest.param(mg.sign, lambda t: t.sign, NAN, 0, NAN, 0.0, id="sign of nan"),
    pytest.param(mg.abs, lambda t: t.abs, NAN, 1, NAN, 0.0, id="abs' of nan"),
    pytest.param(mg.elu, lambda t: t.nn.ELU(), NAN, 1, NAN, 1.0, id="elu' of nan"),
    pytest.param(mg.relu, lambda t: t.relu, NAN, 1, 0.0, 1.0, id="relu' of nan"),
    # Outside a domain there is an error, where PyTorch goes on with inf or nan.
    pytest.param(mg.sqrt, lambda t: t.sqrt, -1.0, 0, DomainError, NAN, id="sqrt of -1"),
    pytest.param(mg.sqrt, lambda t: t.sqrt, 0.0, 1, DomainError, INF, id="sqrt' at 0"),
    pytest.param(mg.log, lambda t: t.log, 0.0, 0, DomainError, -INF, id="log of 0"),
    pytest.param(mg.sin, lambda t: t.sin, INF, 0, DomainError, NAN, id="sin of inf"),
    # erf'' and gelu'' are 0 far out; PyTorch multiplies inf by 0.
    pytest.param(mg.erf, lambda t: t.erf, 1e308, 2, 0.0, NAN, id="erf'' far out"),
    pytest.param(mg.gelu, lambda t: t.nn.functional.gelu, 1e200, 2, 0.0, NAN, id="gelu'' far out"),
]


@pytest.mark.parametrize(("ours", "make", "x", "order", "own", "other"), DIFFERENT)
def test_where_we_differ_from_pytorch_on_purpose(torch, ours, make, x, order, own, other):
    value, first, second = theirs(torch, make(torch), (x,))
    assert same((value, first[0], second[0][0])[order], other)
    if own is DomainError:
        with pytest.raises(DomainError):
            nth(ours, order)(x)
    else:
        assert nth(ours, order)(x) == pytest.approx(own, rel=2 * EPS, abs=0.0, nan_ok=True)
        assert not same(nth(ours, order)(x), other)


def test_where_we_differ_from_pytorch_in_several_operands(torch):
    # A nan among two: nobody has the larger, and nobody gets a gradient; PyTorch gives all of it to both.
    assert theirs(torch, torch.maximum, (NAN, 1.0))[1] == [1.0, 1.0]
    assert mg.grad(mg.maximum, (0, 1))(NAN, 1.0) == (0.0, 0.0)
    # An interval of one point: the end on the side of x gets the gradient; PyTorch gives it to nobody.
    assert theirs(torch, torch.clamp, (0.0, 1.0, 1.0))[1] == [0.0, 0.0, 0.0]
    assert mg.grad(mg.clip, (0, 1, 2))(0.0, 1.0, 1.0) == (0.0, 1.0, 0.0)
    # At exponent 0 the derivative of b a^(b-1) by b is 1 / a; PyTorch has the constant 0 there.
    assert theirs(torch, torch.pow, (2.0, 0.0))[2][0][1] == 0.0
    assert mg.grad(mg.grad(TABLE["pow"], 0), 1)(2.0, 0.0) == 0.5
    # The step has the derivative 0 everywhere; PyTorch's has none.
    with pytest.raises(RuntimeError, match="heaviside"):
        theirs(torch, lambda x: torch.heaviside(x, torch.tensor(1.0, dtype=torch.float64)), (0.5,))
    assert [nth(mg.step, n)(0.5) for n in range(3)] == [1.0, 0.0, 0.0]


# ---- the figures of the lectures


def test_one_neuron_and_its_cost():  # lecture 001/003, inventory B6
    a_prev, w, b, y = Value(0.5, "a_prev"), Value(2.0, "w"), Value(-0.5, "b"), 1.0
    z = w * a_prev + b
    a = mg.sigmoid(z)
    cost = (a - y) ** 2
    cost.backward()
    found = (a.data, mg.grad(mg.sigmoid)(z.data), cost.data, w.grad, b.grad, a_prev.grad)
    assert z.data == 0.5
    assert [f"{x:.8f}" for x in found] == [
        *("0.62245933", "0.23500371", "0.14253696"),
        *("-0.08872346", "-0.17744692", "-0.35489383"),
    ]


def test_two_neurons_in_a_row():  # lecture 001/003, inventory B7
    x, y = 1.0, 0.0
    w1, b1, w2, b2 = Value(0.8), Value(0.1), Value(-1.5), Value(0.3)
    a1 = mg.sigmoid(w1 * x + b1)
    a2 = mg.sigmoid(w2 * a1 + b2)
    cost = (a2 - y) ** 2
    cost.backward()
    found = (a1.data, a2.data, cost.data, w2.grad, b2.grad, w1.grad, b1.grad)
    assert [f"{number:.8f}" for number in found] == [
        *("0.71094950", "0.31725312", "0.10064954"),
        *("0.09771028", "0.13743632", "-0.04236481", "-0.04236481"),
    ]


def test_a_product_of_a_sum():  # lecture 001/003, inventory D6
    x, y, z = Value(-2.0), Value(5.0), Value(-4.0)
    q = x + y
    f = q * z
    f.backward()
    assert (f.data, x.grad, y.grad, z.grad, q.grad) == (-12.0, -4.0, -4.0, 3.0, -4.0)


@pytest.mark.parametrize(("z", "shares"), [(-1.0, (0.0, 1.0)), (1.0, (0.5, 0.5)), (2.0, (1.0, 0.0))])
def test_an_exponential_with_a_maximum(z, shares):  # lecture 001/003, inventory D7; a tie gives half to each
    x, y, z, w = Value(0.5), Value(2.0), Value(z), Value(1.0)
    f = mg.exp(x * y + mg.maximum(z, w))
    f.backward()
    assert (z.grad, w.grad) == (shares[0] * f.data, shares[1] * f.data)
    if z.data <= 1.0:
        found = [f"{number:.8f}" for number in (f.data, x.grad, y.grad)]
        assert found == ["7.38905610", "14.77811220", "3.69452805"]


@pytest.mark.parametrize(("depth", "gradient"), [(1, "2.50e-01"), (10, "9.54e-07"), (20, "9.09e-13")])
def test_gradients_vanish_in_a_chain_of_sigmoids(depth, gradient):  # lecture 001/003, inventory D12
    x = a = Value(0.0)
    for _ in range(depth):
        z = a - a.data  # the bias that makes this sigmoid as steep as it can be
        assert z.data == 0.0
        a = mg.sigmoid(z)
    a.backward()
    assert x.grad == 0.25**depth
    assert f"{x.grad:.2e}" == gradient


def test_the_slope_of_the_sigmoid():  # lecture 001/003, inventory D12
    slope = mg.grad(mg.sigmoid)
    for x in np.linspace(-12.0, 12.0, 97):
        s = mg.sigmoid(float(x))
        assert slope(float(x)) == pytest.approx(s * (1 - s), rel=4 * EPS, abs=0.0)
        assert slope(float(x)) < 0.25 or x == 0.0
    assert slope(0.0) == 0.25


FIVE = (-2.0, -1.0, 0.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("f", "values"),
    [
        (mg.softplus, (0.126928, 0.313262, 0.693147, 1.313262, 2.126928)),
        (mg.leaky_relu, (-0.02, -0.01, 0.0, 1.0, 2.0)),
        (mg.elu, (-0.864665, -0.632121, 0.0, 1.0, 2.0)),
        (mg.swish, (-0.238406, -0.268941, 0.0, 0.731059, 1.761594)),
        (mg.gelu, (-0.0455, -0.158655, 0.0, 0.841345, 1.9545)),
        (gelu_tanh, (-0.045402, -0.158808, 0.0, 0.841192, 1.954598)),
    ],
)
def test_the_table_of_activations(f, values):  # lecture 001/003, inventory D15
    for x, want in zip(FIVE, values, strict=True):
        assert round(f(x), 6) == round(f(Value(x)).data, 6) == want
    assert tuple(f(np.array(FIVE)).round(6)) == values


def test_tanh_is_a_sigmoid():  # lecture 001/003, inventory D15
    for a in np.linspace(-5.0, 5.0, 41):
        assert mg.tanh(float(a)) == pytest.approx(2 * mg.sigmoid(2 * float(a)) - 1, abs=2 * EPS)


@pytest.mark.parametrize(
    ("f", "low", "high"),
    [
        (mg.sigmoid, 0.0, 1.0),
        (mg.tanh, -1.0, 1.0),
        (lambda x: mg.elu(x, 0.7), -0.7, INF),
        (mg.softplus, 0.0, INF),
    ],
)
def test_ranges_are_open(f, low, high):  # lecture 001/003, inventory D16
    values = [f(float(x)) for x in np.linspace(-18.0, 18.0, 181)]
    assert all(low < value < high for value in values)
    assert values == sorted(values)
    assert f(-1e3) == low  # and its ends are where it goes, to the last bit
    assert f(1e3) == min(high, 1e3)


@pytest.mark.parametrize(
    ("f", "at", "minimum"), [(mg.swish, "-1.27846", "-0.278465"), (mg.gelu, "-0.75179", "-0.169971")]
)
def test_minima_by_newtons_method(f, at, minimum):  # lecture 001/003, inventory D16
    slope, curvature = mg.grad(f), mg.grad(mg.grad(f))
    x = -1.0
    for _ in range(8):
        x -= slope(x) / curvature(x)
    assert abs(slope(x)) <= EPS
    assert curvature(x) > 0.0
    assert (f"{x:.5f}", f"{f(x):.6f}") == (at, minimum)
    assert all(f(float(t)) >= f(x) for t in np.linspace(-30.0, 30.0, 601))

"""`check_grads`: right derivatives pass at every scale, wrong ones fail, and what cannot be told is said."""

import cmath
import dataclasses
import functools
import inspect
import itertools
import math
import random
import re

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import microgad as mg
from microgad import Value
from microgad.checks import check_grads, slopes
from microgad.errors import DomainError, GradCheckError, InputError
from microgad.primitive import Primitive, elementwise
from microgad.primitives import TABLE, exp, log, mul, relu, tanh

# ---- right derivatives


def softplus(x):
    return mg.log(1.0 + mg.exp(x))


SMOOTH = [  # the same formula for `mg` and `mpmath`, at points of all scales
    ("cube", lambda m, x: x**3, 2.0),
    ("exp", lambda m, x: m.exp(x), 1.0),
    ("exp of 20", lambda m, x: m.exp(x), 20.0),
    ("near overflow", lambda m, x: m.exp(x), 700.0),
    ("log", lambda m, x: m.log(x), 3.0),
    ("log near 0", lambda m, x: m.log(x), 1e-3),
    ("log very near 0", lambda m, x: m.log(x), 1e-12),
    ("square root near 0", lambda m, x: x**0.5, 1e-4),
    ("tanh", lambda m, x: m.tanh(x), 0.3),
    ("steep tanh", lambda m, x: m.tanh(1e6 * x), 1e-6),
    ("tanh far from 0", lambda m, x: m.tanh(x - 1e6), 1e6 + 0.25),
    ("as far to the left", lambda m, x: m.tanh(x + 2**20 - 0.25), -(2.0**20) + 2.0**-30),
    ("quotient", lambda m, x: m.exp(x) / (1.0 + x * x), 0.5),
    ("narrow bell", lambda m, x: m.exp(-((1e4 * x) ** 2)), 1e-5),
    ("narrow wave", lambda m, x: x * m.exp(-((1e3 * x) ** 2)), 0.0),  # 0 for all larger steps, whose slope is sure
    ("narrower wave", lambda m, x: 1e6 * x * m.exp(-((1e6 * x) ** 2)), 1e-6),
    ("seventh power", lambda m, x: x**7, 1e6),
    ("reciprocal of small", lambda m, x: 1 / x, 1e-6),
    ("power of itself", lambda m, x: x**x, 1e-3),
    ("entropy", lambda m, x: x * m.log(x), 1e-6),
    ("wavy", lambda m, x: m.tanh(30 * m.tanh(7 * x)), 0.01),
    ("logit", lambda m, x: m.log(x / (1 - x)), 0.999),
    ("softplus", lambda m, x: m.log(1 + m.exp(x)), 30.0),
    ("linear", lambda m, x: 3 * x, 1e300),
]


@pytest.mark.parametrize(("f", "x"), [pytest.param(f, x, id=name) for name, f, x in SMOOTH])
def test_finite_differences_are_exact_to_nine_digits(f, x):
    [slope] = slopes(functools.partial(f, mg), x)
    with mpmath.workdps(60):
        h = mpmath.mpf(10) ** -20 * max(abs(mpmath.mpf(x)), mpmath.mpf(10) ** -12)
        exact = (f(mpmath, x + h) - f(mpmath, x - h)) / (2 * h)
        error = abs(slope.expected - exact)
    assert error <= 1e-11 * abs(exact)
    assert error <= 4.0 * slope.uncertainty <= 1e-8 * abs(exact)
    assert slope.fault == ""
    assert slope.got == pytest.approx(float(exact), rel=1e-9)


NOISY = [  # the slope is of size 1, and what it is the slope of, or an intermediate number, is not
    (lambda x: 1e8 + x, 1.0),
    (lambda x: 1e8 + x, 1e-6),
    (lambda x: 1e8 + x, 1e6),
    (lambda x: 1e8 - x, 0.0),
    (lambda x: 1e8 + mg.tanh(x), 0.5),
    (lambda x: 1e8 + mg.exp(x), 1e-6),
    (lambda x: (1e8 + x) - 1e8, 0.5),
    (lambda x: (1e8 + x) - 1e8 + mg.exp(x), 0.5),
    (lambda x: (1e8 + x) - 1e8 + mg.tanh(1e-8 * x), 0.125),
]


@pytest.mark.parametrize(("f", "x"), NOISY)
def test_rounding_raises_no_false_alarm_and_hides_no_error(f, x):
    check_grads(f, x)
    [slope] = slopes(f, x)
    assert slope.uncertainty <= slope.tolerance

    def wrong(x):  # 1 % off; as f(x) + 0.01 (x - c) with its own slope cut
        return f(x) + 0.01 * x.data

    with pytest.raises(GradCheckError, match="wrong"):
        check_grads(wrong, x)


POWER, LARGE = Value(3.0), Value(1000.0)
RIGHT = [
    (lambda x: x**3, 2, 3),
    (lambda x: x**3, (2,), 3),
    (lambda x: x**3, [Value(2)], 3),
    (lambda x: x.tanh() * x.exp() + x.relu(), 0.5, 3),  # methods, which a float has not
    (lambda x, y: x.tanh() * y.exp(), (0.5, -1.0), 3),
    (lambda x: mg.grad(softplus)(x), 0.3, 2),
    (lambda x, y: mg.exp(x * y) / y, (0.5, 2.0), 3),
    (lambda x, y, z: mg.maximum(x * y, z) + mg.minimum(x, z / y), (-2.0, 5.0, -4.0), 2),
    (lambda x, y: x**y, (2.5, 1.5), 2),
    (lambda x: mg.relu(x) ** 2, 0.0, 1),
    (lambda x: mg.relu(x), 1e-9, 2),
    (lambda x: mg.relu(x), -1.0, 3),
    (lambda x: mg.relu(x) + 5.0, -1.0, 1),
    (lambda x: mg.maximum(x, 1.0), 1.0 + 1e-9, 1),
    (lambda x: mg.tanh(x) if x > 0.2 else 0.0 * x, 0.25, 2),
    (lambda x: x * float(abs(x.data) > 0.5), 0.0, 1),  # flat near by, though not far away
    (lambda x: 5.0, 1.0, 2),
    (lambda x, y: x, (1.0, 2.0), 2),
    (lambda *xs: sum(x * x for x in xs), (1.0, 2.0, 3.0), 2),
    (lambda x, scale=2.0: x * scale, 1.0, 1),
    (functools.partial(lambda a, x: a * x, 3.0), 1.0, 2),
    (np.exp, 0.5, 2),
    (exp, 0.5, 3),
    (mul, (2.0, -3.0), 3),
    (tanh, Value(0.3), 3),
    (lambda x: 1e-7 * x**2, 1e3, 2),
    (lambda x: x**2, 1e-300, 1),
    (lambda x: mg.log(x), 1e-30, 1),
    (lambda x: 1e-3 * (x + x), 2.2250738585e-313, 1),  # where steps and results lose digits
    (lambda x: mg.tanh(x - 1e9), 1e9 + 0.25, 2),
    (lambda x: x**POWER, -2.0, 1),  # by which there is no derivative
    (lambda x: mg.minimum(mg.exp(LARGE), 1.0) * x, 1.0, 1),  # an infinity that does not matter
    (lambda x: mg.log(2.0 * x**4 + 0.5), 0.0, 2),  # whose slope is 0 at 0 and nowhere near by
    (lambda x: 1e6 * mg.exp(-((16.0 * x) ** 2)), 0.0, 1),  # the slope is as sure as it is 0 by symmetry
    (
        elementwise("log1m", lambda x: math.log(1.0 - x), (lambda y, x: 1.0 / (x - 1.0),), lambda x: np.log(1 - x)),
        0.999,
        2,
    ),
    (elementwise("tail", lambda x: 0.0, (0.0,), lambda x: 1.0 / (1.0 + np.exp(-x))), -800.0, 2),  # NumPy would warn
    (lambda x: mg.tanh(math.pi * 1e3 * (x - round(x.data))) / 1e3, 1.0, 1),
]


@pytest.mark.parametrize(("f", "args", "order"), RIGHT)
def test_right_derivatives_pass(f, args, order):
    assert check_grads(f, args, order) is None


def test_a_wave_whose_period_is_the_step_of_a_naive_choice():
    def wave(x):  # sin(2 pi x), made of what there is
        return _sine(2.0 * math.pi * x)

    check_grads(wave, 0.0)
    check_grads(wave, 1.25, order=1)


_sine: Primitive = elementwise("sine", math.sin, (lambda y, x: _cosine(x),), np.sin)
_cosine: Primitive = elementwise("cosine", math.cos, (lambda y, x: -_sine(x),), np.cos)


def test_a_function_without_a_signature():
    with pytest.raises(ValueError, match="signature"):
        inspect.signature(max)
    check_grads(max, (1.0, 2.0))
    with pytest.raises(GradCheckError, match=r"derivative of max by argument 0, order 1, at 2\.0, 2\.0: a kink"):
        check_grads(max, (2.0, 2.0))


# ---- every row of the table

NUMBERS = (0.7, 2.1, -1.3, 1.6, -0.4, 0.2, 3.1)  # neighbours are the operands: no ties, no zeros
ROWS = [row for row in TABLE.values() if row.partials]


def local(row, i, point):
    rule = row.partials[i]
    return rule(row(*point), *point) if callable(rule) else rule


def points(row):
    n = len(row.partials)
    for point in [NUMBERS[i : i + n] for i in range(len(NUMBERS) - n + 1)]:
        try:
            numbers = [row(*point), *(local(row, i, point) for i in range(n))]
        except DomainError:
            continue
        if all(map(math.isfinite, numbers)):
            yield point


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_passes(row):
    found = list(points(row))
    assert found
    for point in found[:4]:
        check_grads(row, point, order=2 if len(point) < 3 else 1)
    check_grads(row, found[0], order=3 if len(point) < 3 else 2)


def times(rule, factor, extra=0.0):
    return (lambda y, *x: rule(y, *x) * factor + extra) if callable(rule) else rule * factor + extra


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_fails_with_a_partial_a_little_off(row):
    point = next(points(row))
    for i, rule in enumerate(row.partials):
        partials = (*row.partials[:i], times(rule, 1.0, 1e-4), *row.partials[i + 1 :])
        with pytest.raises(GradCheckError, match=rf"the derivative of {row.name} by .*argument {i}\b.*: wrong"):
            check_grads(dataclasses.replace(row, partials=partials), point, order=1)


# ---- wrong derivatives


def second_only(y, x):
    """cos x, whose own derivative is wrong: that of the sine's table entry with the sign forgotten."""
    return _careless(x)


_careless = elementwise("careless", math.cos, (lambda y, x: _sine(x),), np.cos)


def row(name, scalar, *partials, array=None, **fields):
    return elementwise(name, scalar, partials, array, **fields)


def sin_row(partial, array=np.sin, **fields):
    return row("my_sin", math.sin, partial, array=array, **fields)


MUL = (lambda y, a, b: b, lambda y, a, b: a)
TICKS = itertools.count(1)
WRONG = {
    "partial": (
        sin_row(lambda y, x: _sine(x)),
        0.5,
        1,
        r"derivative of my_sin by .*argument 0\b.*, order 1, at 0\.5: wrong\n",
    ),
    "sign": (sin_row(lambda y, x: -_cosine(x)), 0.5, 1, "order 1, at 0.5: wrong"),
    "by 1e-4": (sin_row(lambda y, x: 1.0001 * _cosine(x)), 0.5, 1, "wrong"),
    "a constant": (row("twice", lambda x: 2.0 * x, 2.001), 0.5, 1, r"by x \(argument 0\), order 1"),
    "0": (row("twice", lambda x: 2.0 * x, 0.0), 0.5, 1, "got 0.0 by"),
    "nan": (row("twice", lambda x: 2.0 * x, lambda y, x: x - x + math.nan), 0.5, 1, "got nan by"),
    "one argument": (row("times", lambda a, b: a * b, MUL[0], times(MUL[1], 1.1)), (2, 3), 1, r"by b \(argument 1\)"),
    "swapped": (row("times", lambda a, b: a * b, *MUL[::-1]), (2, 3), 1, r"by a \(argument 0\)"),
    "second": (sin_row(second_only), 0.5, 2, r"argument 0\b.*, then by .*argument 0\b.*, order 2, at 0\.5: wrong\n"),
    "mixed second": (
        row("half_cut", lambda a, b: a * b, lambda y, a, b: b * 1.0, lambda y, a, b: 0.0 * b + getattr(a, "data", a)),
        (2.0, 3.0),
        2,
        r"by b \(argument 1\), then by a \(argument 0\), order 2",
    ),
    "third": (row("square", lambda x: x * x, lambda y, x: tanh(x) * 0.0 + _double(x)), 1.5, 3, "order 3.*: wrong"),
    "third, on one of the paths": (
        row("times", lambda a, b: a * b, lambda y, a, b: _line(b), MUL[1]),
        (2.0, 3.0),
        3,
        r"by a \(argument 0\), then by b \(argument 1\), then by b \(argument 1\), order 3",
    ),
    "a number cut out": (lambda x: x * x.data, 3.0, 1, r"derivative of f by x \(argument 0\), order 1, at 3\.0: wrong"),
    "inside a function": (lambda x: mg.exp(sin_row(lambda y, x: 1.0)(x)), 0.5, 1, "wrong"),
    "on floats only": (
        lambda x: sin_row(lambda y, x: _cosine(x) * (1.0 if isinstance(x, Value) else 2.0))(x),
        0.5,
        1,
        "wrong",
    ),
    "lost in float32": (
        lambda x: row("narrow", lambda x: float(np.float32(1.0 + x)), 0.0)(x),
        0.5,
        1,
        "do not settle here: f is flat for small steps",
    ),
    # the row itself
    "arrays": (sin_row(lambda y, x: _cosine(x), np.tan), 0.5, 1, r"row my_sin, at 0\.5: its rule on arrays gives \["),
    "arrays a little": (
        sin_row(lambda y, x: _cosine(x), lambda x: np.sin(x) * (1 + 1e-11)),
        0.5,
        1,
        "its rule on arrays",
    ),
    "no arrays": (
        row("my_sin", math.sin, lambda y, x: _cosine(x)),
        0.5,
        1,
        "rule on arrays fails on . numbers: .*NumPy",
    ),
    "longer arrays": (
        sin_row(lambda y, x: _cosine(x), lambda x: np.sin(x).mean() + 0 * x),
        0.5,
        1,
        "its rule on arrays gives",
    ),
    "shape": (sin_row(lambda y, x: _cosine(x), lambda x: np.sin(x)[None]), 0.5, 1, "arrays gives ndarray .* 1 numbers"),
    "dtype": (sin_row(lambda y, x: _cosine(x), lambda x: np.sin(x).astype("f4")), 0.5, 1, "arrays gives ndarray"),
    "a list": (sin_row(lambda y, x: _cosine(x), lambda x: list(np.sin(x))), 0.5, 1, "arrays gives list"),
    "no float": (row("one", lambda x: 1, 0.0, array=np.ones_like), 0.5, 1, "rule on floats gives int 1, not a float"),
    "too few partials": (row("times", lambda a, b: a * b, MUL[0]), (2, 3), 1, "has 1 partials, .* not take 1 operands"),
    "too many partials": (row("twice", lambda x: 2 * x, 2.0, 2.0), 0.5, 1, "has 2 partials, .* not take 2 operands"),
    "no partials": (Primitive("bare", lambda x: x, lambda x: x), 0.5, 1, "has 0 partials"),
    "math": (
        sin_row(lambda y, x: math.cos(x)),
        0.5,
        1,
        r"partial by operand 0 does not compute .* trace on nodes: .*write it in rows of the table",
    ),
    "data": (
        sin_row(lambda y, x: math.cos(getattr(x, "data", x))),
        0.5,
        1,
        "partial by operand 0 gives a plain number on nodes",
    ),
    "data of a float": (sin_row(lambda y, x: _cosine(x.data)), 0.5, 1, "operand 0 does not compute on floats"),
    "no number": (sin_row(lambda y, x: None), 0.5, 1, "operand 0 is not one number but NoneType"),
    "rule of few": (sin_row(lambda x: _cosine(x)), 0.5, 1, "operand 0 does not compute on floats"),
    "other on nodes": (
        sin_row(lambda y, x: _cosine(x) * (2.0 if isinstance(x, Value) else 1.0)),
        0.5,
        1,
        "operand 0 gives .* on floats and .* on nodes",
    ),
    "other each time": (
        row("ticks", lambda x: float(next(TICKS)), 0.0),
        0.5,
        1,
        r"gives \d+\.0 on floats and \d+\.0 on nodes",
    ),
    "text": (sin_row(lambda y, x: _cosine(x), text="sin"), 0.5, 1, "template 'sin' does not fill with 1 operands"),
    "fields": (sin_row(lambda y, x: _cosine(x), text="s({}, {})"), 0.5, 1, "does not fill with 1 operands"),
    "braces": (sin_row(lambda y, x: _cosine(x), latex=r"\sin{}{"), 0.5, 1, "does not fill with 1 operands"),
    "names": (sin_row(lambda y, x: _cosine(x), latex=r"\frac{x}{}"), 0.5, 1, "does not fill with 1 operands"),
}
_double = elementwise("double", lambda x: 2.0 * x, (lambda y, x: 2.0 + 0.5 * _flat(x),), lambda x: 2.0 * x)
_line = elementwise("line", lambda x: x, (lambda y, x: 1.0 + _flat(x),), np.positive)
_flat = elementwise("flat", lambda x: 0.0, (lambda y, x: 1.0 * x,), np.zeros_like)


@pytest.mark.parametrize(("f", "args", "order", "message"), WRONG.values(), ids=WRONG)
def test_wrong_ones_fail(f, args, order, message):
    with pytest.raises(GradCheckError, match=message):
        check_grads(f, args, order)
    if order > 1:  # and it is not seen below
        check_grads(f, args, order - 1)


def test_the_message():
    def product(width, height):
        return mg.exp(width) * height.data

    with pytest.raises(GradCheckError) as caught:
        check_grads(product, (0.0, 3))
    assert re.fullmatch(
        r"the derivative of product by height \(argument 1\), order 1, at 0\.0, 3\.0: wrong\n"
        r"got 0\.0 by backpropagation, expected 1\.0 ± \de-1\d by finite differences\n"
        r"difference 1, tolerance 2e-06",
        str(caught.value),
    )


def test_a_template_may_show_an_operand_twice():
    check_grads(row("square", lambda x: x * x, lambda y, x: 2.0 * x, text="{0} * {0}"), 3.0)


def test_a_rule_that_is_constant_may_be_a_number():
    check_grads(row("hinge", relu.scalar, lambda y, x: 1.0 if x > 0.0 else 0.0, array=relu.array), 3.0)


def test_tolerances():
    def f(x):
        return mg.exp(x) * (1.0 + 1e-4 * x.data)

    with pytest.raises(GradCheckError):
        check_grads(f, 1.0, 1)
    check_grads(f, 1.0, 1, rtol=1e-3)
    check_grads(f, 1.0, 1, atol=1e-3)
    with pytest.raises(GradCheckError, match="wrong"):
        check_grads(f, 1.0, 1, rtol=1e-5, atol=0.0)
    for tight in ({"rtol": 0.0, "atol": 1e-17}, {"rtol": 1e-18, "atol": 0.0}):
        with pytest.raises(GradCheckError, match="do not settle"):
            check_grads(softplus, 1.0, 1, **tight)
    check_grads(lambda x: mg.tanh(1e-9 * x), 1.0, 1, atol=0.0)
    with pytest.raises(GradCheckError, match="wrong"):
        check_grads(lambda x: mg.tanh(1e-9 * x) + 1e-12 * x.data, 1.0, 1, atol=0.0)


# ---- where finite differences cannot tell

UNTOLD = [
    (mg.relu, 0.0, 1, "a kink: the slope is 0 from the left and 1 from the right; move the point"),
    (relu, 0.0, 1, "a kink: the slope is 0 from the left and 1 from the right; move the point"),
    (lambda x: mg.maximum(x, 2.0 * x), 0.0, 1, "a kink: the slope is 1 from the left and 2 from the right"),
    (mg.maximum, (1.5, 1.5), 1, r"by a \(argument 0\), order 1, at 1.5, 1.5: a kink: the slope is 0 .* and 1 from"),
    (mg.minimum, (1e6, 1e6), 1, "a kink: the slope is 1 from the left and 0 from the right"),
    (lambda x: 3.0 * mg.relu(x) + mg.relu(x) ** 2, 0.0, 1, "a kink: the slope is 0 from the left and 3 from"),
    (lambda x: mg.exp(x) + 1e-4 * mg.relu(x), 0.0, 1, "a kink: the slope is 1 from the left and 1.0001 from"),
    (lambda x: mg.relu(x) ** 2, 0.0, 2, "order 2, at 0.0: a kink: the slope is 0 from the left and 2 from the right"),
    (lambda x: mg.maximum(x, 1.0), 1.0 + 1e-13, 1, "a kink: the slope is 0 from the left and 1 from the right"),
    (lambda x: x * float(x > 2.0), 2.0, 1, "do not settle here, as near a kink, at a jump"),
    (lambda x: mg.exp(x) + float(x > 2.0), 2.0, 1, "do not settle here"),
    (lambda x: float(x == 1.0) + x, 1.0, 1, "do not settle here"),
    (lambda x: 1e12 + mg.tanh(x), 0.5, 1, "do not settle here, .* mostly noise"),
    (lambda x: (1e12 + x) - 1e12 + mg.exp(x), 0.5, 1, "do not settle here, .* mostly noise"),
    (lambda x: mg.exp(x) + 1e-3 * random.Random(x.data).random(), 0.5, 1, "do not settle here, .* mostly noise"),
    (lambda x: mg.maximum(x, -x) ** 0.5 if x.data else 0.0 * x, 0.0, 1, "do not settle here"),
    (lambda x: x * float(abs(x.data) > 1e-3), 0.0, 1, "do not settle here: f is flat for small steps"),
    (lambda x: x**1.5, 0.0, 1, r"need values on both sides of the point: .* undefined: pow needs a base > 0"),
    (lambda *xs: mg.relu(xs[0] * xs[1]), (1.0, 0.0), 1, "of f by argument 1, order 1, at 1.0, 0.0: a kink"),
    (lambda a, *rest: mg.relu(rest[0]) * a, (1.0, 0.0), 1, "of f by argument 1, order 1, at 1.0, 0.0: a kink"),
    (lambda x: mg.log(x) if x >= 1.0 else mg.log(-1.0), 1.0, 1, "values on both sides of the point: .* log needs"),
    (lambda x: x if x == 3.0 else x * math.inf, 3.0, 1, "on both sides of the point: the function is -?inf at 2.99"),
    (lambda x: mg.exp(x), 1000.0, 1, r"the function is inf at \(1000.0,\)"),
    (lambda x: x * math.nan, 1.0, 1, r"the function is nan at \(1.0,\)"),
]


@pytest.mark.parametrize(("f", "args", "order", "message"), UNTOLD)
def test_what_cannot_be_told_is_said(f, args, order, message):
    with pytest.raises(GradCheckError, match=message):
        check_grads(f, args, order)


def test_a_function_that_is_not_deterministic():
    rng = random.Random(0)
    with pytest.raises(GradCheckError, match=r"not deterministic: at \(1.0,\) it gave 0\.8444\S+, then 0\.7579"):
        check_grads(lambda x: x * rng.random(), 1.0)


@pytest.mark.parametrize(
    ("f", "args"), [(mg.log, -1.0), (mg.log, 0.0), (log, -1.0), (TABLE["pow"], (-2.0, 2.0)), (lambda x: x**0.5, 0.0)]
)
def test_a_domain_error_at_the_point_itself(f, args):
    with pytest.raises(DomainError):
        check_grads(f, args)
    with pytest.raises(DomainError):
        slopes(f, args)


# ---- what is not to be checked

REFUSED = [
    (lambda x: x, "1", 1, "argument 0 is not one number but str '1'"),
    (lambda x: x, (1.0, None)[1:], 1, "argument 0 is not one number but NoneType None"),
    (lambda x, y: x, (1.0, ["2"]), 1, r"argument 1\[0\] is not a number or an array but str '2'"),
    (lambda x: x, np.ones(2) * 1j, 1, "argument 0 is not one number but ndarray"),
    (lambda x: x, 1j, 1, "argument 0 is not one number but complex"),
    (lambda x: x, (), 1, "one finite number or more"),
    (lambda x: x, math.inf, 1, "one finite number or more, not at .inf"),
    (lambda x: x, math.nan, 1, "one finite number or more, not at .nan"),
    (lambda x: x, 1.0, 0, "order is a whole number from 1 on, not int 0"),
    (lambda x: x, 1.0, 1.0, "order is a whole number from 1 on, not float 1.0"),
    (lambda x: x, 1.0, True, "order is a whole number"),
    (lambda x, y: x, 1.0, 1, "no function of 1 arguments: missing a required argument: 'y'"),
    (lambda x: x, (1.0, 2.0), 1, "no function of 2 arguments: too many positional arguments"),
    (lambda x, *, k: x, 1.0, 1, "no function of 1 arguments: missing a required"),
    (mul, 1.0, 1, "mul takes 2 operands, not 1"),
    (log, (1.0, 2.0), 1, "log takes 1 operands, not 2"),
    (3.0, 1.0, 1, "float 3.0 is no function"),
    (lambda x: None, 1.0, 1, "result of the function is not one number but NoneType"),
    (lambda x: (x, x), 1.0, 1, "result of the function is not one number but tuple"),
    (lambda x: np.ones(2), 1.0, 1, "result of the function is not one number but ndarray"),
    (lambda x: "1", 1.0, 1, "result of the function is not one number but str"),
]


@pytest.mark.parametrize(("f", "args", "order", "message"), REFUSED)
def test_refused(f, args, order, message):
    with pytest.raises(InputError, match=message):
        check_grads(f, args, order)


# ---- slopes


def test_the_uncertainty_counts_in_the_tolerance():
    def f(x, off=0.0):
        return 1e8 + mg.tanh(x) + off * x.data

    [slope] = slopes(f, 0.5)
    assert 1e-8 < slope.uncertainty < slope.tolerance
    found = [slopes(lambda x, n=n: f(x, slope.tolerance + 0.1 * n * slope.uncertainty), 0.5)[0] for n in range(30)]
    differences = [(abs(x.got - x.expected) - x.tolerance) / x.uncertainty for x in found]
    assert [x.fault for x in found] == ["" if x <= 1.0 else "wrong" for x in differences]
    assert any(0.0 < x <= 1.0 for x in differences)
    assert any(x > 1.0 for x in differences)


def test_a_polynomial_takes_large_steps():
    [slope] = slopes(lambda x: 1e8 + x**5 / 5.0, 1.0)
    assert slope.uncertainty <= 2e-7


def test_noise_that_no_node_tells_of_is_measured():
    for level, seed in itertools.product((1e-12, 1e-9, 1e-6), (798, 884, 993, *range(12))):

        def f(x):
            return mg.exp(x) + level * random.Random(f"{seed}{x.data!r}").random()  # noqa: B023

        [slope] = slopes(f, 0.5)
        assert abs(slope.expected - math.exp(0.5)) <= 4.0 * slope.uncertainty
        assert slope.fault == "" or (slope.fault.startswith("finite differences do not settle") and level == 1e-6)


def test_few_evaluations_suffice():
    def kept(x):  # an infinity that no argument makes must not spoil the estimate of rounding
        return mg.minimum(mg.exp(LARGE), 1.0) * mg.exp(x)

    for f, x, most in ((mg.exp, 1.0, 70), (mg.tanh, 0.3, 70), (mg.log, 1e-3, 80), (mg.relu, 0.0, 110), (kept, 1.0, 70)):
        count = 0

        def counted(x):
            nonlocal count
            count += 1
            return f(x)  # noqa: B023

        slopes(counted, x)
        assert count <= most


@pytest.mark.parametrize(("f", "x"), [(mg.exp, 1.0), (mg.tanh, 0.3), (mg.log, 2.0), (lambda x: x**5 / 3.0, 1.3)])
def test_well_scaled_functions_to_thirteen_digits(f, x):
    [slope] = slopes(f, x)
    assert abs(slope.expected - slope.got) <= 1e-13 * abs(slope.got)
    assert slope.uncertainty <= 1e-12 * abs(slope.got)


def test_slopes_do_not_raise_and_leave_the_arguments_alone():
    x, y = Value(2.0, "x"), Value(3.0, "y")
    fine, wrong, kink = slopes(lambda x, y, z: x * y + y.data * x + mg.relu(z), (x, y, 0.0))
    assert (fine.fault, wrong.fault) == ("", "wrong")
    assert kink.fault.startswith("a kink")
    assert (fine.got, wrong.got) == (6.0, 2.0)
    assert [wrong.expected, kink.expected, kink.uncertainty] == pytest.approx([4.0, 0.5, 0.5])
    assert wrong.tolerance == pytest.approx(5e-6)
    assert (x.grad, y.grad, x.prim) == (None, None, None)


def test_slopes_take_the_tolerances():
    def f(x):
        return x + 1e-3 * x.data

    assert [slope.fault for slope in slopes(f, 1.0)] == ["wrong"]
    assert [slope.fault for slope in slopes(f, 1.0, atol=1e-2)] == [""]
    assert [slope.fault for slope in slopes(f, 1.0, rtol=1e-2)] == [""]


# ---- random ones

STEPS = {
    "add": lambda m, a, b: a + b,
    "sub": lambda m, a, b: a - b,
    "mul": lambda m, a, b: a * b,
    "square": lambda m, a, b: a**2,
    "div": lambda m, a, b: a / (b * b + 1),
    "pow": lambda m, a, b: (a * a + 1) ** m.tanh(b),
    "exp": lambda m, a, b: m.exp(-a * a),
    "log": lambda m, a, b: m.log(a * a + b * b + 0.5),
    "tanh": lambda m, a, b: m.tanh(a),
}
BACK = st.integers(0, 8)
PROGRAMS = st.tuples(
    st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), BACK, BACK), min_size=1, max_size=9),
)


def run(program, inputs, m):
    values = list(inputs)
    for name, i, j in program[1]:
        values.append(STEPS[name](m, values[-1 - i % len(values)], values[-1 - j % len(values)]))
    return values


def tame(program):
    assume(max(map(abs, run(program, program[0], mg))) < 20.0)
    return lambda *xs: run(program, xs, mg)[-1]


@settings(deadline=None, max_examples=100)
@given(PROGRAMS, st.sampled_from([0.1, 1.0, 1e6]), st.sampled_from([0.0, 1e3, 1e5]))
def test_no_false_alarm_on_random_expressions(program, scale, offset):
    f = tame(program)
    found = slopes(lambda *xs: offset + scale * f(*xs), program[0], atol=1e-6 * scale)
    assert [slope.fault for slope in found] == [""] * len(found)
    h = 1e-30
    for i, slope in enumerate(found):
        moved = [complex(x, h * (k == i)) for k, x in enumerate(program[0])]
        exact = scale * run(program, moved, cmath)[-1].imag / h
        assert abs(slope.expected - exact) <= 2.0 * slope.uncertainty + 1e-12 * max(scale, abs(exact))


@settings(deadline=None, max_examples=12)
@given(PROGRAMS)
def test_no_false_alarm_on_second_derivatives(program):
    check_grads(tame(program), program[0], order=2)


OFF = st.floats(1e-4, 1e6, exclude_min=True) | st.floats(-1e6, -1e-4, exclude_max=True)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(ROWS), st.data(), OFF)
def test_a_partial_that_is_off_is_caught(row, data, off):
    point = data.draw(st.sampled_from(list(points(row))))
    i = data.draw(st.integers(0, len(point) - 1))
    assume(abs(local(row, i, point)) > 0.05)
    partials = (*row.partials[:i], times(row.partials[i], 1.0 + off), *row.partials[i + 1 :])
    check_grads(row, point, 1)
    with pytest.raises(GradCheckError, match=f"argument {i}.*: wrong"):
        check_grads(dataclasses.replace(row, partials=partials), point, 1)


@settings(deadline=None, max_examples=100)
@given(PROGRAMS, OFF)
def test_a_derivative_that_is_off_is_caught(program, off):
    f = tame(program)
    off *= max(1.0, *(abs(slope.got) for slope in slopes(f, program[0])))
    assume(abs(off) < 1e6)
    wrong = elementwise("wrong", lambda x: x, (1.0 + off,))
    found = slopes(lambda *xs: f(*xs) + wrong(xs[0]), program[0])
    assert [slope.fault for slope in found] == ["wrong"] + [""] * (len(found) - 1)

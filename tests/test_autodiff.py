"""Derivatives as functions: `adjoints`, and `grad` to any order and at any depth."""

import itertools
import math

import pytest

import microgad as mg
from microgad import Value
from microgad.errors import DomainError, InputError
from microgad.order import topological_order


def nth(f, n):
    for _ in range(n):
        f = mg.grad(f)
    return f


# ---- the examples of the lectures


def test_lecture_example_of_a_product():
    x, y, z = Value(-2, "x"), Value(5, "y"), Value(-4, "z")
    q = x + y
    f = q * z
    assert (q.data, f.data) == (3.0, -12.0)
    f.backward()
    assert [node.grad for node in (f, q, x, y, z)] == [1.0, -4.0, -4.0, -4.0, 3.0]


def test_lecture_example_of_an_exponential():
    x, y, z, w = Value(0.5, "x"), Value(2, "y"), Value(-1, "z"), Value(1, "w")
    f = mg.exp(x * y + mg.maximum(z, w))
    f.backward()
    numbers = [f"{number:.8f}" for number in (f.data, x.grad, y.grad, z.grad, w.grad)]
    assert numbers == ["7.38905610", "14.77811220", "3.69452805", "0.00000000", "7.38905610"]


# ---- adjoints


def test_adjoints_holds_every_node_and_touches_none():
    x, y = Value(2.0), Value(3.0)
    p = x * y
    f = p + x
    (x * 10).backward()
    before = {node: node.grad for node in topological_order(f)}
    for _ in range(2):
        assert mg.adjoints(f) == {f: 1.0, p: 1.0, x: 4.0, y: 2.0}
    assert {node: node.grad for node in before} == before
    assert (x.grad, y.grad, f.grad) == (10.0, None, None)


def test_adjoints_of_a_leaf_and_of_a_number():
    x = Value(2.0)
    assert mg.adjoints(x) == {x: 1.0}
    assert list(mg.adjoints(2.0).values()) == [1.0]
    with pytest.raises(InputError):
        mg.adjoints("x")


def test_adjoints_after_a_backward_pass_of_another_loss():
    x = Value(3.0)
    shared = x * x
    first, second = shared * 10, shared + x
    second.backward()
    assert mg.adjoints(first)[x] == 60.0
    assert x.grad == 7.0


# ---- grad: arguments and results


def test_numbers_give_a_float():
    for x in (3, 3.0, True + 2):
        got = mg.grad(lambda x: x * x)(x)
        assert (type(got), got) == (float, 6.0)


def test_a_value_gives_a_value_that_goes_backward():
    v = Value(3.0, "v")
    got = mg.grad(lambda x: x**3)(v)
    assert (type(got), got.data) == (Value, 27.0)
    (got * 2).backward()
    assert v.grad == 36.0  # d/dv of 2 * 3 v²


def test_a_value_gives_a_value_even_if_nothing_depends_on_it():
    for f in (lambda x: 5.0, lambda x: x, lambda x: Value(2.0) * 3):
        assert type(mg.grad(f)(Value(3.0))) is Value
        assert type(mg.grad(f)(3.0)) is float


def test_grad_leaves_the_grad_of_values_alone():
    v, w = Value(3.0), Value(2.0)
    assert mg.grad(lambda x, y: x * y * w, (0, 1))(v, 5.0) == (10.0, 6.0)
    assert v.grad is w.grad is None


@pytest.mark.parametrize(
    ("argnums", "want"),
    [
        (0, 12.0),
        (1, 4.0),
        (-1, 4.0),
        (-2, 12.0),
        ((0,), (12.0,)),
        ((1, 0), (4.0, 12.0)),
        ((0, -2), (12.0, 12.0)),
        ([0, 1], (12.0, 4.0)),
        ((), ()),
    ],
)
def test_argnums(argnums, want):
    got = mg.grad(lambda x, y: x**2 * y, argnums)(2.0, 3.0)
    assert got == want
    assert type(got) is type(want)


@pytest.mark.parametrize("argnums", [2, -3, (0, 2), 100])
def test_argnums_out_of_range(argnums):
    with pytest.raises(InputError, match=r"of a call with 2 positional arguments"):
        mg.grad(lambda x, y: x * y, argnums)(2.0, 3.0)


def test_an_argument_that_is_given_by_its_name_is_not_positional():
    with pytest.raises(InputError):
        mg.grad(lambda x: x * x)(x=2.0)


def test_keywords_go_to_the_function():
    def f(x, *, power, shift=0.0):
        return (x + shift) ** power

    assert mg.grad(f)(2.0, power=2) == 4.0
    assert mg.grad(f)(2.0, power=2, shift=1.0) == 6.0


@pytest.mark.parametrize("result", [None, (1.0, 2.0), [1.0], "1", 1j], ids=repr)
def test_a_result_that_is_not_one_number(result):
    with pytest.raises(InputError):
        mg.grad(lambda x: result)(2.0)


@pytest.mark.parametrize("x", ["1", None, [1.0], 1j], ids=repr)
def test_an_argument_that_is_not_one_number(x):
    with pytest.raises(InputError):
        mg.grad(lambda x: x)(x)


def test_constants_have_the_derivative_zero():
    for f in (lambda x: 5, lambda x: 5.0, lambda x: Value(5.0) * 2, lambda x: x.data):
        assert mg.grad(f)(2.0) == 0.0
        assert nth(f, 3)(2.0) == 0.0


def test_the_identity():
    assert [nth(lambda x: x, n)(2.0) for n in (1, 2, 3)] == [1.0, 0.0, 0.0]


def test_values_that_the_function_closes_over():
    w = Value(5.0, "w")
    assert mg.grad(lambda x: w * x * x)(3.0) == 30.0
    assert type(mg.grad(lambda x: w * x * x)(3.0)) is float  # a number in, a number out
    got = mg.grad(lambda x: w * x * x)(Value(3.0))
    got.backward()
    assert w.grad == 6.0


def test_the_same_value_as_argument_and_in_the_closure():
    v = Value(3.0)
    got = mg.grad(lambda x: x * x * v)(v)  # by x alone: 2 x v
    assert got.data == 18.0
    got.backward()
    assert v.grad == 12.0  # and of 2 v² by all of v


def test_the_same_value_as_two_arguments():
    v = Value(3.0)
    gx, gy = mg.grad(lambda x, y: x * x * y, (0, 1))(v, v)
    assert (gx.data, gy.data) == (18.0, 9.0)


def test_python_control_flow():
    def f(x):
        return x * x if x > 0 else -x

    assert (mg.grad(f)(3.0), mg.grad(f)(-3.0)) == (6.0, -1.0)

    def power(x):
        out = x
        while out < 100:
            out = out * x
        return out

    assert mg.grad(power)(3.0) == 5 * 3.0**4


def test_an_error_in_the_function_leaves_nothing_open():
    kept = []

    def fails(x):
        kept.append(x)
        raise KeyError

    with pytest.raises(KeyError):
        mg.grad(fails)(2.0)
    got = mg.grad(lambda y: y * kept[0])(3.0)
    assert (type(got), got) == (float, 2.0)


def test_an_error_in_a_derivative_leaves_nothing_open():
    kept = []

    def fails(x):
        kept.append(x)
        return x**0.5

    with pytest.raises(DomainError):
        mg.grad(fails)(0.0)
    assert type(mg.grad(lambda y: y * kept[0])(3.0)) is float


@pytest.mark.parametrize("kind", [float, Value])
def test_an_inner_derivative_at_a_number_sees_the_outer_variable_of_either_kind(kind):
    def h(x):
        return x * mg.grad(lambda y: x * y * y)(1.0)  # 2 x²

    assert [nth(h, n)(kind(3.0)) == want for n, want in ((1, 12.0), (2, 4.0), (3, 0.0))] == [True] * 3
    assert mg.grad(lambda a: mg.grad(lambda t, b: t * t * b)(3.0, a))(kind(2.0)) == 6.0
    deep = mg.grad(lambda a: mg.grad(lambda b: mg.grad(lambda c: a * b * b * c * c)(3.0))(2.0))  # 24 a at c=3, b=2
    assert deep(kind(5.0)) == 24.0


def test_a_closed_derivative_leaves_a_later_one_alone():
    x = Value(3.0)
    kept = mg.grad(lambda t: t * t)(x)  # a Value, whose graph holds the closed variable
    assert type(mg.grad(lambda y: y * kept)(2.0)) is float
    kept.backward()
    assert x.grad == 2.0


def test_a_variable_that_outlives_its_derivative_is_a_constant():
    kept = []
    mg.grad(lambda x: kept.append(x) or x * x)(2.0)
    assert mg.grad(lambda y: y * kept[0])(3.0) == 2.0
    assert type(mg.grad(lambda y: y * kept[0])(3.0)) is float


# ---- higher order


@pytest.mark.parametrize(
    ("f", "x", "derivatives"),
    [
        (lambda x: x**5, 2.0, [80.0, 160.0, 240.0, 240.0]),
        (lambda x: x * x * x * x, 3.0, [108.0, 108.0, 72.0, 24.0]),
        (lambda x: 1 / x, 2.0, [-1 / 4, 2 / 8, -6 / 16, 24 / 32]),
        (lambda x: mg.exp(2 * x), 0.0, [2.0, 4.0, 8.0, 16.0]),
        (mg.log, 2.0, [1 / 2, -1 / 4, 2 / 8, -6 / 16]),
        (mg.tanh, 0.0, [1.0, 0.0, -2.0, 0.0]),
        (lambda x: 2**x, 1.0, [2 * math.log(2) ** n for n in (1, 2, 3, 4)]),
        (lambda x: mg.relu(x) ** 2, 3.0, [6.0, 2.0, 0.0, 0.0]),
        (lambda x: mg.maximum(x**3, 1.0), 2.0, [12.0, 12.0, 6.0, 0.0]),
        (lambda x: x**x, 1.0, [1.0, 2.0, 3.0, 8.0]),
    ],
)
def test_four_derivatives(f, x, derivatives):
    assert [nth(f, n)(x) for n in (1, 2, 3, 4)] == pytest.approx(derivatives, rel=1e-14, abs=1e-14)


def test_mixed_second_derivatives_are_symmetric():
    def f(x, y, z):
        return mg.exp(x * y) * mg.tanh(z - x) / (y + z * z) + mg.log(x + y) ** z

    for i, j in itertools.combinations(range(3), 2):
        for point in ((0.5, 1.5, -0.7), (2.0, 0.3, 1.1)):
            ij, ji = mg.grad(mg.grad(f, i), j)(*point), mg.grad(mg.grad(f, j), i)(*point)
            assert ij == pytest.approx(ji, rel=1e-13)
            assert ij != 0.0


def test_the_hessian_of_rosenbrock():
    def f(x, y):
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    for x, y in ((1.0, 1.0), (-1.25, 1.0), (0.0, 0.0), (3.0, -2.0)):
        gradient = mg.grad(f, (0, 1))(x, y)
        assert gradient == pytest.approx((-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)), rel=1e-15, abs=1e-15)
        hessian = [[mg.grad(mg.grad(f, i), j)(x, y) for j in (0, 1)] for i in (0, 1)]
        assert hessian[0] == pytest.approx([2 - 400 * y + 1200 * x**2, -400 * x], rel=1e-15, abs=1e-15)
        assert hessian[1] == pytest.approx([-400 * x, 200.0], rel=1e-15, abs=1e-15)


# ---- derivatives inside derivatives


def test_nested_derivatives_do_not_mix_their_variables():
    d = mg.grad
    assert d(lambda x: x * d(lambda y: x + y)(1.0))(1.0) == 1.0  # 2.0 if the inner one saw the outer one's x
    assert d(lambda x: x * d(lambda y: x + y)(x))(1.0) == 1.0
    assert d(lambda x: x * d(lambda y: x * y)(2.0))(3.0) == 6.0
    assert d(lambda x: d(lambda y: x * y)(x))(3.0) == 1.0
    assert d(lambda x: d(lambda y: x * y * y)(x))(3.0) == 12.0  # of 2 x²
    assert d(lambda x: x * d(lambda x: x * x)(x))(3.0) == 12.0
    assert d(lambda x: d(lambda y: y * y)(5.0))(3.0) == 0.0
    assert d(lambda x: d(lambda y: x)(5.0))(3.0) == 0.0
    assert d(lambda x: d(lambda y: x * x)(x))(3.0) == 0.0
    assert d(lambda x: d(lambda y: d(lambda z: x * y * z)(x))(x) * x)(3.0) == 6.0  # of x²


def test_an_outer_variable_that_the_inner_one_closes_over():
    def inner(w):  # 6 w
        return mg.grad(lambda x: w * x * x)(3.0)

    assert inner(5.0) == 30.0
    assert mg.grad(inner)(5.0) == 6.0
    assert mg.grad(mg.grad(lambda w: inner(w) * w))(5.0) == 12.0


def test_three_levels():
    def f(x):
        return mg.grad(lambda y: mg.grad(lambda z: x**2 * y**3 * z**4)(y))(x)

    # by z at y: 4 x² y⁶; by y at x: 24 x⁷; by x: 168 x⁶
    assert f(2.0) == 24 * 2.0**7
    assert mg.grad(f)(2.0) == 168 * 2.0**6


def test_a_value_below_two_derivatives():
    v = Value(2.0)
    got = mg.grad(mg.grad(lambda x: x**4 * v))(v)  # 12 x² v
    assert got.data == 96.0
    got.backward()
    assert v.grad == 144.0  # of 12 v³: 36 v²


def test_an_inner_derivative_at_a_value_inside_an_outer_one_at_a_number():
    v = Value(2.0)
    got = mg.grad(lambda x: mg.grad(lambda y: x * y * y)(v) * x)(3.0)  # of 2 x² v
    assert (type(got), got) == (float, 24.0)


def test_a_derivative_in_a_loss():
    w = Value(3.0, "w")
    loss = (mg.grad(lambda x: mg.tanh(w * x))(Value(0.0)) - 1) ** 2  # (w - 1)²
    loss.backward()
    assert (loss.data, w.grad) == (4.0, 4.0)


@pytest.mark.parametrize(
    ("f", "argnums", "message"),
    [
        (None, 0, "grad is that of a function, not of NoneType None"),
        (3.0, 0, "grad is that of a function"),
        (abs, None, "argnums is the position of an argument, or several, not NoneType None"),
        (abs, "a", "argnums is"),
        (abs, 1.0, "argnums is"),
        (abs, (0, True), "argnums is"),
    ],
)
def test_grad_of_nothing_and_by_nothing(f, argnums, message):
    with pytest.raises(InputError, match=message):
        mg.grad(f, argnums)

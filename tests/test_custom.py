"""Rows of a user's own: they work wherever the table's do, and what is wrong with one is said when it is made."""

import itertools
import math

import numpy as np
import pytest

import microgad as mg
from microgad import Value, operators, primitives
from microgad.errors import DomainError, GradCheckError, GraphCutError, InputError, MicrogadError
from microgad.primitives import TABLE


@pytest.fixture(autouse=True)
def the_table_as_it_was():
    before, ufuncs = dict(TABLE), dict(operators.OF_UFUNC)
    yield
    for found, was in ((TABLE, before), (operators.OF_UFUNC, ufuncs)):
        found.clear()
        found.update(was)
    assert list(TABLE) == list(before)


def cube():
    return mg.primitive("cube", lambda x: x**3, lambda y, x: 3.0 * x**2, latex="{}^3", array=lambda x: x**3)


def hypot():
    return mg.primitive(
        "hypot",
        math.hypot,
        [lambda y, a, b: a / y, lambda y, a, b: b / y],
        array=np.hypot,
        text="hypot({}, {})",
        latex=r"\left|{}, {}\right|",
        domain="two numbers",
    )


def lerp():
    return mg.primitive(
        "lerp",
        lambda t, a, b: a + t * (b - a),
        [lambda y, t, a, b: b - a, lambda y, t, a, b: 1.0 - t, lambda y, t, a, b: t],
        label="~",
    )


def shifted():
    return mg.primitive("shifted", lambda a, b: a - b + 7, (1, -1.0))


def logit():
    return mg.primitive("logit", lambda p: math.log(p / (1 - p)), lambda y, p: 1 / (p * (1 - p)), domain="0 < p < 1")


ROWS = [  # row, a point, its partials there
    (cube, (0.5,), (0.75,)),
    (hypot, (3.0, 4.0), (0.6, 0.8)),
    (lerp, (0.25, 2.0, 6.0), (4.0, 0.75, 0.25)),
    (shifted, (2.0, 0.5), (1.0, -1.0)),
    (logit, (0.2,), (6.25,)),
]
each = pytest.mark.parametrize(("make", "point", "partials"), ROWS, ids=lambda x: getattr(x, "__name__", ""))


# ---- it works where the table's own work


@each
def test_on_floats_values_and_arrays(make, point, partials):
    row = make()
    want = row.scalar(*point)
    assert type(row(*point)) is float
    assert row(*point) == row(*map(Value, point)).data == want
    assert row(*map(Value, point)).prim is TABLE[row.name] is row
    got = row(*(np.array([x, x]) for x in point))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, [want, want], rtol=1e-15)
    mixed = row(Value(point[0]), *point[1:])
    assert (mixed.data, len(mixed.inputs)) == (want, 1)


@each
def test_derivatives(make, point, partials):
    row = make()
    leaves = [Value(x) for x in point]
    row(*leaves).backward()
    assert [leaf.grad for leaf in leaves] == pytest.approx(partials, rel=1e-15)
    assert list(mg.adjoints(row(*leaves)).values())[1:] == [leaf.grad for leaf in leaves[::-1]][::-1]
    mg.check_grads(row, point, order=3)
    mg.check_grads(lambda *x: mg.tanh(row(*x)) * x[0], point, order=2)


@each
def test_steps_and_the_trace(make, point, partials):
    row = make()
    f = row(*(Value(x, name) for x, name in zip(point, "xyz", strict=False)))
    call = ", ".join("xyz"[: len(point)])
    numbers = ", ".join(f"{x:g}" for x in point)
    *_, last = mg.forward_steps(f)
    assert str(last) == f"f = {row.name}({call}) = {row.name}({numbers}) = {f.data:.6g}"
    (step,) = mg.backward_steps(f)
    assert [edge.local for edge in step.edges] == pytest.approx(partials, rel=1e-15)
    assert mg.evaluation_trace(f).rows[-1].primal == f"{row.name}({call})"


@each
def test_formulas_parse_and_drawings(make, point, partials):
    row = make()
    names = dict(zip("xyz", point, strict=False))
    f = mg.parse(f"2 * {row.name}({', '.join(names)}) ** 2", **names)
    assert f.inputs[0].inputs[0].prim is row
    assert mg.formula(f) == f"2 * {row.name}({', '.join(names)}) ** 2"
    assert mg.parse(mg.formula(f), **names).data == f.data
    for name, leaf in zip(names, f.inputs[0].inputs[0].inputs, strict=True):
        derivative = mg.parse(mg.formula(f, name), **names)
        assert derivative.data == pytest.approx(mg.adjoints(f)[leaf], rel=1e-14)
        assert mg.derive(f, name).split("\n\n")[1].endswith(f" = {mg.adjoints(f)[leaf]:.6g}")
    assert f"label=<{row.label}>" in mg.viz.draw(f).source
    assert row.label in mg.viz.draw(f).text


@pytest.mark.parametrize(
    ("make", "text", "latex"),
    [
        (lambda x, y: cube()(x + y) * y, "cube(x + y) * y", r"\left(x + y\right)^3 \cdot y"),
        (lambda x, y: cube()(x) ** 2, "cube(x) ** 2", r"\left(x^3\right)^{2}"),
        (lambda x, y: cube()(cube()(x)), "cube(cube(x))", r"\left(x^3\right)^3"),
        (lambda x, y: -hypot()(x - y, 2.0), "-hypot(x - y, 2)", r"-\left|x - y, 2\right|"),
        (lambda x, y: lerp()(x, y, -x), "lerp(x, y, -x)", r"\operatorname{lerp}\left(x, y, -x\right)"),
    ],
)
def test_formulas(make, text, latex):
    found = mg.formula(make(Value(2.0, "x"), Value(3.0, "y")))
    assert (found, found.latex) == (text, latex)


def test_a_name_with_an_underscore():
    row = mg.primitive("my_row", lambda x: 2 * x, 2.0)
    assert mg.formula(row(Value(1.0, "x"))).latex == r"\operatorname{my\_row}\left(x\right)"


def test_a_derivation():
    x = Value(2.0, "x")
    assert mg.derive(cube()(x * 2.0), x) == (
        "v1 = x * 2\nf = cube(v1)\n\n"
        "∂f/∂x = ∂f/∂v1 · ∂v1/∂x\n      = (3 * v1 ** 2) · 2\n      = 48 · 2\n      = 96\n\n"
        "simplified: ∂f/∂x = 24 * x ** 2"
    )


def test_a_constant_0_stops_what_flows():
    first = mg.primitive("first", lambda a, b: a, [1, 0])
    a, b = Value(2.0, "a"), Value(3.0, "b")
    f = first(a, b) * math.inf
    f.backward()
    assert (a.grad, b.grad) == (math.inf, 0.0)
    assert mg.formula(first(a, b), b) == "0"
    assert mg.derive(first(a, b), b).endswith("∂f/∂b = 0")


# ---- what rules may give

GIVEN = [True, 3, -2, np.float64(0.1), np.float32(0.5), np.int64(7), np.bool_(True)]


@pytest.mark.parametrize("given", GIVEN, ids=repr)
def test_whatever_number_a_rule_gives_is_a_float(given):
    x = Value(2.0)
    y = mg.primitive("given", lambda x: given, lambda y, x: given)(x)
    y.backward()
    assert [type(number) for number in (y.data, x.grad, TABLE["given"](1.0))] == [float] * 3
    assert y.data == x.grad == float(given)


GARBAGE = [None, "5", b"5", 1j, [1.0], (), {}, object(), Ellipsis, 10**400]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda x: f"{x!r:.12}")
def test_garbage_is_refused_with_the_name_of_the_row(garbage):
    forward = mg.primitive("odd", lambda x: garbage, 1.0)
    backward = mg.primitive("odder", lambda x: x, lambda y, x: garbage)
    for call in (lambda: forward(1.0), lambda: forward(Value(1.0))):
        with pytest.raises(InputError, match=r"^a rule of odd gave "):
            call()
    x = Value(1.0, "x")
    f = backward(x)
    for call in (f.backward, lambda: mg.adjoints(f), lambda: list(mg.backward_steps(f)), lambda: mg.formula(f, x)):
        with pytest.raises(InputError, match=r"^a rule of odder gave "):
            call()
    assert x.grad is None


@pytest.mark.parametrize("garbage", [np.array([1.0, 2.0]), np.array([1.0]), np.array(1.0), Value(1.0)], ids=repr)
def test_a_forward_rule_that_gives_no_number(garbage):
    row = mg.primitive("odd", lambda x: garbage, 1.0)
    try:
        found = row(Value(2.0))
    except InputError:
        return
    assert type(found.data) is float


@pytest.mark.parametrize("error", [OverflowError, ValueError, ZeroDivisionError, FloatingPointError])
def test_where_a_forward_rule_has_no_value(error):
    def refuse(a, b):
        raise error("no value")

    row = mg.primitive("odd", refuse, (1.0, 1.0), domain="a better number")
    for operands, where in (
        ((2.0, 3.0), "odd(2.0, 3.0) is undefined"),
        ((Value(2.0, "x"), 3.0), "odd(x, 3.0) is undefined at x = 2.0"),
    ):
        with pytest.raises(DomainError) as caught:
            row(*operands)
        assert str(caught.value) == f"{where}: odd needs a better number"


@pytest.mark.parametrize("error", [OverflowError, ValueError, ZeroDivisionError])
def test_where_a_partial_has_no_value(error):
    def refuse(y, x):
        raise error("not there")

    x = Value(2.0, "x")
    f = mg.primitive("odd", lambda x: x, refuse)(x)
    for call in (f.backward, lambda: mg.adjoints(f), lambda: mg.evaluation_trace(f), lambda: mg.derive(f, x)):
        with pytest.raises(DomainError, match=r"derivative of odd\(x\) by x does not exist at x = 2.0: not there"):
            call()
    assert x.grad is None


def test_a_fault_in_a_rule_is_not_taken_for_a_domain():
    row = mg.primitive("odd", lambda x: x.nothing, 1.0)
    with pytest.raises(AttributeError, match="nothing"):
        row(Value(1.0))


def test_math_in_a_derivative_is_good_for_one_derivative_and_says_so():
    row = mg.primitive("sine", math.sin, lambda y, x: math.cos(x))
    x = Value(0.5, "x")
    row(x).backward()
    assert x.grad == math.cos(0.5)
    assert str(*mg.backward_steps(row(x))).endswith("= 1 · 0.877583 = 0.877583")
    for call in (lambda: mg.grad(mg.grad(row))(0.5), lambda: mg.formula(row(x), x), lambda: mg.derive(row(x), x)):
        with pytest.raises(GraphCutError, match=r"use mg\.exp, mg\.log … in place of math\.exp"):
            call()
    with pytest.raises(GradCheckError, match=r"write it in rows of the table, as mg\.exp, not in math"):
        mg.check_grads(row, 0.5)


def test_the_row_whose_derivative_uses_math_is_named():
    row = mg.primitive("sine", math.sin, lambda y, x: math.cos(x))
    with pytest.raises(GraphCutError, match="sine"):
        mg.grad(mg.grad(lambda x: mg.tanh(row(mg.exp(x)))))(0.5)


def test_a_derivative_in_numpy_s_functions_is_one_in_rows():
    row = mg.primitive("sine", math.sin, lambda y, x: np.cos(x), array=np.sin)
    assert mg.grad(mg.grad(row))(0.5) == -math.sin(0.5)
    assert mg.formula(row(Value(0.5, "x")), "x") == "cos(x)"


def test_a_derivative_that_decides():
    row = mg.primitive("ramp", lambda x: x if x > 0 else 0.1 * x, lambda y, x: mg.where(mg.greater(x, 0.0), 1.0, 0.1))
    mg.check_grads(row, 0.5)
    mg.check_grads(row, -0.5)
    x = Value(-2.0, "x")
    assert mg.formula(row(x), x) == "where([x > 0], 1, 0.1)"


def test_a_choice_of_one_s_own_is_no_guard_of_microgad_s():
    row = mg.primitive("odd", lambda x, b: x, [lambda y, x, b: mg.where(mg.equal(x, b), 1.0, x), 0.0])
    f = row(Value(2.0, "x"), Value(0.0, "b"))
    assert mg.formula(f, "x") == "where([x == b], 1, x)"
    assert "= where([x == b], 1, x)\n" in mg.derive(f, "x")


# ---- what is no row

NAMES = ["", "a b", "2x", "x-y", "f(x)", "x.y", " x", "λ x", None, 5, b"f", ["f"]]
OURS = ["exp", "maximum", "where", "add", "identity", "leaky_relu", "math"]


@pytest.mark.parametrize("name", [*NAMES, *OURS])
def test_names_that_are_refused(name):
    before = dict(TABLE)
    with pytest.raises(InputError, match=r"is an identifier, not|row of microgad's own"):
        mg.primitive(name, lambda x: x, 1.0)
    assert before == TABLE


@pytest.mark.parametrize("name", ["f", "λ", "f_2", "_f", "变量", "X"])
def test_names_that_parse_reads(name):
    row = mg.primitive(name, lambda x: 2.0 * x, 2.0)
    f = row(Value(3.0, "x")) + 1.0
    assert mg.parse(mg.formula(f), x=3.0).inputs[0].prim is row


@pytest.mark.parametrize("name", ["max", "min", "swish", "lambda", "if", "None", "not", "ﬁ"])
def test_names_that_parse_does_not_read(name):
    try:
        row = mg.primitive(name, lambda x: 2.0 * x, 2.0)
    except InputError:
        return
    assert mg.parse(mg.formula(row(Value(3.0, "x"))), x=3.0).prim is row


def pair(a, b):
    return a + b


PARTS = [
    ({"partials": [1.0]}, "the forward rule of f has to take 1 argument$"),
    ({"partials": [1.0, 1.0, 1.0]}, "the forward rule of f has to take 3 arguments"),
    ({"partials": [1.0, lambda a, b: a]}, "the partial rule of f has to take 3 arguments"),
    ({"partials": [1.0, lambda y, a, b, c: a]}, "the partial rule of f has to take 3 arguments"),
    ({"partials": [1.0, None]}, "one real number, not NoneType None"),
    ({"partials": [1.0, 1j]}, "one real number, not complex 1j"),
    ({"partials": [1.0, "1"]}, "the partial rule of f is a function, not str '1'"),
    ({"partials": "ab"}, "the partial rule of f is a function, not str 'a'"),
    ({"partials": [1.0, [2.0]]}, "one real number, not list"),
    ({"forward": 5.0}, "the forward rule of f is a function, not float 5.0"),
    ({"forward": None}, "the forward rule of f is a function, not NoneType None"),
    ({"forward": math.sin}, "the forward rule of f has to take 2 arguments"),
    ({"text": "f({})"}, r"text of f: 'f\(\{\}\)' has to have \{\} for each of 2 operands"),
    ({"text": "f({}, {}, {})"}, "for each of 2 operands"),
    ({"text": "f({0}, {1})"}, "for each of 2 operands"),
    ({"text": "f({a}, {b})"}, "for each of 2 operands"),
    ({"text": "f({, {})"}, "for each of 2 operands"),
    ({"text": "f({}, {}})"}, "for each of 2 operands"),
    ({"text": ""}, "for each of 2 operands"),
    ({"text": 5}, "text of f is text, not int 5"),
    ({"latex": r"\frac{{}}{{}}"}, r"latex of f: .* has to have \{\} for each of 2 operands"),
    ({"latex": r"\frac{}"}, "for each of 2 operands"),
]


@pytest.mark.parametrize(("part", "message"), PARTS, ids=lambda x: f"{x}"[:40] if isinstance(x, dict) else "")
def test_parts_that_do_not_fit(part, message):
    with pytest.raises(InputError, match=message):
        mg.primitive("f", **{"forward": pair, "partials": [1.0, 1.0], **part})
    assert "f" not in TABLE


@pytest.mark.parametrize(
    "part",
    [
        {"text": "f({:.3f}, {})"},
        {"text": "f({!r}, {})"},
        {"latex": "f({:{}}, {})"},
        {"latex": "{{ {} + {}"},
        {"label": 5},
        {"forward": lambda: 1.0, "partials": []},
    ],
    ids=["format", "conversion", "nested", "unbalanced", "label", "no operands"],
)
def test_parts_that_do_not_fit_either(part):
    with pytest.raises(InputError):
        mg.primitive("f", **{"forward": pair, "partials": [1.0, 1.0], **part})


def test_too_few_or_too_many_operands():
    row = hypot()
    for n in (0, 1, 3):
        with pytest.raises(InputError, match=f"hypot takes 2 operands, not {n}"):
            row(*[Value(1.0)] * n)


def test_a_rule_without_a_signature_is_taken_as_it_is():
    row = mg.primitive("larger", max, [1.0, 0.0])  # Python cannot tell how many arguments max takes
    assert row(Value(3.0), 2.0).data == 3.0


# ---- templates


TEMPLATES = [  # what parse makes of the text has to be what the row computes
    (lambda a, b: a + 3 * b, "({} + 3 * {})", r"\left({} + 3 {}\right)", r"\left(x + 3 y\right) \cdot z"),
    (lambda a, b: a + 3 * b, "{} + 3 * {}", "{} + 3 {}", r"\left(x + 3 y\right) \cdot z"),
    (lambda a, b: a - b, "{} - {}", "{} - {}", r"\left(x - y\right) \cdot z"),
    (lambda a, b: a / b, "{} / {}", r"\frac{{{}}}{{{}}}", r"\frac{x}{y} \cdot z"),
    (
        lambda a, b: a - b,
        "tp({}, {})",
        r"\operatorname{{tp}}\left({}, {}\right)",
        r"\operatorname{tp}\left(x, y\right) \cdot z",
    ),
    (lambda a, b: a - b, "tp({}, {})", r"{}_{{{}}}", r"x_{y} \cdot z"),
]


@pytest.mark.parametrize(("forward", "text", "latex", "product"), TEMPLATES)
def test_a_formula_around_a_template_keeps_its_meaning(forward, text, latex, product):
    row = mg.primitive("tp", forward, (1, 1), text=text, latex=latex)
    x, y, z = Value(2.0, "x"), Value(3.0, "y"), Value(5.0, "z")
    assert mg.formula(row(x, y) * z).latex == product
    for f in (
        row(x, y) * z,
        z * row(x, y),
        row(x, y) ** 2.0,
        z / row(x, y),
        z - row(x, y),
        -row(x, y),
        row(x + y, x - y),
        row(-x, y * z),
        row(row(x, y), row(y, z)),
        mg.exp(row(x, y)),
    ):
        assert mg.parse(mg.formula(f), x=2.0, y=3.0, z=5.0).data == f.data


@pytest.mark.parametrize(
    ("text", "latex"), [("{} @ {}", r"{} \star {}"), ("{} mod {}", r"{} \bmod {}"), ("{} & {}", r"{} \wedge {}")]
)
def test_an_operator_of_one_s_own_is_put_in_parentheses(text, latex):
    row = mg.primitive("tp", lambda a, b: a - b, (1, -1), text=text, latex=latex)
    x, y, z = Value(2.0, "x"), Value(3.0, "y"), Value(5.0, "z")
    operated = text.format("x", "y")
    assert mg.formula(row(x, y) * z) == f"({operated}) * z"
    assert mg.formula(row(x, y) * z).latex == rf"\left({latex.format('x', 'y')}\right) \cdot z"
    assert mg.formula(-row(x, y)) == f"-({operated})"


# ---- redefinition, and the table


def test_a_row_that_is_made_again():
    old = mg.primitive("f", lambda x: 2.0 * x, 2.0)
    x = Value(3.0, "x")
    before = old(x)
    new = mg.primitive("f", lambda x: x**2, lambda y, x: 2.0 * x, text="f({})")
    assert TABLE["f"] is new is not old
    assert mg.parse("f(x)", x=3.0).data == 9.0
    assert before.prim is old  # a graph keeps the row that it was made with
    before.backward()
    assert x.grad == 2.0
    assert mg.formula(before, x) == "2"
    assert mg.derive(before, x) == "f = f(x)\n\n∂f/∂x = 2"
    assert [row.name for row in TABLE.values()].count("f") == 1


def test_a_row_is_no_arithmetic_because_of_its_name():
    row = mg.primitive("plus", lambda a, b: a + b, (1.0, 1.0))
    assert mg.formula(row(Value(1.0, "x"), 0.0) * 1.0) == "plus(x, 0)"


def test_what_is_made_is_a_row_like_the_others():
    row = hypot()
    assert row is TABLE["hypot"]
    assert type(row) is type(primitives.add)
    assert (row.label, row.domain, len(row.partials)) == ("hypot", "two numbers", 2)
    assert np.hypot(Value(3.0), Value(4.0)).prim is row


def test_all_errors_are_microgad_s():
    for name, forward, partials in itertools.product(("f", "exp", 5), (None, pair, 3.0), (None, "a", 1j, [1.0, None])):
        with pytest.raises(MicrogadError):
            mg.primitive(name, forward, partials)

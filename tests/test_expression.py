"""`mg.parse`: text to graph. What it reads, and that nothing else gets through."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import microgad as mg
from microgad import Value
from microgad.errors import DomainError, ExpressionError, InputError, MicrogadError
from microgad.order import topological_order
from microgad.primitives import TABLE

many = settings(deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("3", 3.0),
        ("  x ", 2.0),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("1_000", 1000.0),
        ("x + y * z", 2.0 + 3.0 * -4.0),
        ("(x + y) * z", -20.0),
        ("x - y - z", 3.0),
        ("x / y / z", 2.0 / 3.0 / -4.0),
        ("-x**2", -4.0),
        ("(-x)**2", 4.0),
        ("x**y**2", 512.0),
        ("2**-x", 0.25),
        ("--x", 2.0),
        ("+x", 2.0),
        ("- -+-x", -2.0),
        ("x*-y", -6.0),
        ("max(x, y, z)", 3.0),
        ("min(x, y, z, -10)", -10.0),
        ("maximum(x, y) - minimum(x, y)", 1.0),
        ("max(x, y,)", 3.0),
        ("exp(log(x))", math.exp(math.log(2.0))),
        ("relu(z) + tanh(0)", 0.0),
        ("exp (x)", math.exp(2.0)),
        ("(x\n + y)", 5.0),
        ("(x +  # a comment\n y)", 5.0),
        ("\n\t x+y \n", 5.0),
        ("((((x))))", 2.0),
        ("größe * π", 6.0),
        ("exp * 2", 14.0),  # a name of the user's that is also a function's
        ("exp(exp)", math.exp(7.0)),
        ("text + self", 3.0),
    ],
)
def test_what_it_reads(text, want):
    values = {"x": 2, "y": 3, "z": -4, "größe": 2, "π": 3, "exp": 7, "text": 1, "self": 2, "unused": None}
    got = mg.parse(text, **values)
    assert type(got) is Value
    assert got.data == want


def test_the_graph_is_the_one_the_operators_make():
    f = mg.parse("(x + y) * z", x=-2, y=5, z=-4)
    q, z = f.inputs
    assert (f.prim, q.prim) == (TABLE["mul"], TABLE["add"])
    assert [leaf.name for leaf in (*q.inputs, z)] == ["x", "y", "z"]
    f.backward()
    assert [node.grad for node in (f, q, *q.inputs, z)] == [1.0, -4.0, -4.0, -4.0, 3.0]


def test_a_name_is_one_leaf_wherever_it_stands():
    f = mg.parse("x * x + x", x=3)
    assert [node.name for node in topological_order(f) if node.prim is None] == ["x"]
    f.backward()
    assert f.inputs[1].grad == 7.0


def test_numbers_stay_numbers():
    f = mg.parse("2 * x - 3**2 / 2", x=1)
    assert len(topological_order(f)) == 3  # x, the product, the difference
    assert f.operands[1] == 4.5
    assert f.operands[0].operands[0] == 2.0
    assert all(type(y) is float for y in (f.operands[1], f.operands[0].operands[0]))


def test_max_of_three_nests_from_the_left():
    f = mg.parse("max(x, y, z)", x=1, y=2, z=3)
    assert f.operands[0].prim is TABLE["maximum"]
    assert [leaf.name for leaf in f.operands[0].inputs] == ["x", "y"]
    assert f.operands[1].name == "z"


def test_a_minus_sign_is_a_node():
    f = mg.parse("-x**2", x=3)
    assert (f.prim, f.inputs[0].prim) == (TABLE["neg"], TABLE["pow"])


def test_a_value_stays_what_it_is():
    w = Value(2.0)
    named = Value(3.0, "theirs")
    interior = w * 5
    f = mg.parse("w * v + q", w=w, v=named, q=interior)
    f.backward()
    assert (w.grad, named.grad) == (8.0, 2.0)
    assert (w.name, named.name) == (None, "theirs")
    assert mg.parse("w", w=w) is w


def test_a_bad_number_for_a_name():
    for given_ in ("2", None, [1.0], 1j):
        with pytest.raises(InputError):
            mg.parse("x", x=given_)
    assert mg.parse("1", x="not used").data == 1.0


def test_functions_of_expressions_can_be_differentiated():
    assert mg.grad(lambda x: mg.parse("x**3 * w", x=x, w=2))(2.0) == 24.0


# ---- what it refuses, and where it points


def column_of(error):
    return int(re.match(r"column ([\d,]+): ", str(error)).group(1).replace(",", ""))


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        # no text
        ("", 1, "empty"),
        (" \n\t", 1, "empty"),
        # names and functions
        ("nope", 1, "'nope' has no value"),
        ("x + nope", 5, "'nope' has no value"),
        ("  x + nope", 7, "'nope' has no value"),
        ("é + nope", 1, "'é' has no value"),
        ("ü*nope", 3, "'nope' has no value"),
        ("(x +\n nope)", 7, "'nope' has no value"),
        ("(x\r\n+ nope)", 7, "'nope' has no value"),
        ("x +\f nope", 6, "'nope' has no value"),  # a form feed is white space, not the end of a line
        ("(x\f\n+ nope)", 7, "'nope' has no value"),
        ("(x # \u2028\n+ nope)", 10, "'nope' has no value"),  # nor is this one, in a comment
        ("(x # \u2028éé\n+  nope)", 13, "'nope' has no value"),
        ("(1 + nope) * x.data", 6, "'nope' has no value"),  # the first of two from the left
        ("exp", 1, r"exp needs its \(…\)"),
        ("x + sec(x)", 5, "no function 'sec'"),
        ("expp(x)", 1, "did you mean exp"),
        ("x()", 1, "no function 'x'"),
        ("2 * exp()", 5, "exp takes one argument, not 0"),
        ("exp(x, x)", 1, "exp takes one argument, not 2"),
        ("max(x)", 1, "two arguments or more, not 1"),
        ("x + max()", 5, "two arguments or more, not 0"),
        ("max(x, y=1)", 1, ""),
        ("max(x, *x)", 8, ""),
        ("max(*x)", 1, ""),
        ("max(**x)", 1, ""),
        ("(exp)(exp)(x)", 1, ""),
        # Python that is no arithmetic
        ("__import__('os')", 1, "no function '__import__'"),
        ("1 + __import__('os').system('x')", 5, ""),
        ("x.data", 1, ""),
        ("1 + x.__class__", 5, ""),
        ("x[0]", 1, ""),
        ("1 + lambda: x", 5, ""),
        ("(lambda: x)()", 1, ""),
        ("lambda: x", 1, ""),
        ("x if x else 1", 1, ""),
        ("[x]", 1, ""),
        ("(x, x)", 1, ""),
        ("x, x", 1, ""),
        ("{x}", 1, ""),
        ("{x: 1}", 1, ""),
        ("[x for x in x]", 1, ""),
        ("x and x", 1, ""),
        ("not x", 1, ""),
        ("~x", 1, ""),
        ("1 + (x <= 1)", 6, "compared by >, < or =="),
        ("x != 1", 1, "compared by >, < or =="),
        ("1 < x < 2", 1, "no chain of comparisons here"),
        ("[x]", 1, "no list here"),
        ("[x > 1, x]", 1, "no list here"),
        ("clip(x)", 1, "clip needs a bound"),
        ("clip(x, 1, 2, 3)", 1, "clip takes 1 to 3 arguments, not 4"),
        ("where(x, 1)", 1, "where takes 3 arguments, not 2"),
        ("(x := 2)", 2, ""),
        ("await x", 1, ""),
        ("print(x)", 1, "no function 'print'"),
        ("eval('x')", 1, "no function 'eval'"),
        # operators that it has not
        ("x^2", 1, r"a power is written \*\*"),
        ("1 + (x // 2)", 6, "no such operator"),
        ("x % 2", 1, "no such operator"),
        ("x @ x", 1, "no such operator"),
        ("x | x", 1, "no such operator"),
        ("x << 2", 1, "no such operator"),
        # what is not a real number
        ("x + 'a'", 5, "'a' is not a number"),
        ("'a' 'b'", 1, "is not a number"),
        ("b'a'", 1, "is not a number"),
        ("2 * 1j", 5, "1j is not a number"),
        ("True", 1, "True is not a number"),
        ("None", 1, "None is not a number"),
        ("...", 1, "is not a number"),
        ("x + f'{x}'", 5, ""),
        ("1e999", 1, "the number is too large"),
        ("x + 1" + "0" * 400, 5, "the number is too large"),
        ("x + " + "9" * 5000, None, ""),
        ("1 + 9**9**9**9", 8, "the number is too large"),
        ("1e308 * 10", 1, "the number is too large"),
        # no Python at all, at the place that Python's own parser finds
        ("x +", None, ""),
        ("x = 1", None, ""),
        ("x; x", None, ""),
        ("x\n+ x", None, ""),
        ("x ? x", None, ""),
        ("import os", None, ""),
        ("(x", None, ""),
        ("x)", None, ""),
        ("x + (x]", None, ""),
        ("x + 'a", None, ""),
        ("0777", None, ""),
        ("# x", None, ""),
        ("0\\\n\\", None, ""),  # a line that goes on
        ("\ufeffx", None, ""),
        ("x \u2028+ x", None, ""),
        # what that parser does not even begin to read
        ("x + \0", 5, "null"),
        ("x + \ud800", 5, ""),
        ("é'\ud800'", 3, ""),
        # too much
        ("(" * 10_000 + "x" + ")" * 10_000, None, "too long"),
        ("1+" * 20_000 + "x", None, "too long"),
        ("(" * 9_000 + "x" + ")" * 9_000, None, "nested"),
    ],
    ids=lambda part: ascii(part)[:24] if isinstance(part, str) else None,
)
def test_what_it_refuses(text, column, words):
    with pytest.raises(ExpressionError, match=words or None) as caught:
        mg.parse(text, x=1.0, ü=1.0)
    found = column_of(caught.value)
    assert 1 <= found <= len(text) + 1
    assert column in (found, None)
    assert len(str(caught.value)) < 400


def outcome(text):
    try:
        return mg.parse(text, x=1.0)
    except MicrogadError as error:
        return error


def test_a_column_counts_characters_from_the_start_of_the_text():
    """Wherever Python's parser stops in `x x`: bytes, lines and the space before it change nothing."""
    first = column_of(outcome("x x"))
    for before, text in (("", "é x"), ("  ", "x x"), ("\n\t", "x x"), ("", "x x  ")):
        assert column_of(outcome(before + text)) == len(before) + first
    assert column_of(outcome("(é,\n é é é)")) > len("(é,\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-" * 5_000 + "x", 1.0),
        ("x" + "**x" * 5_000, 1.0),
        ("x" + "+x" * 5_000, 5_001.0),
        ("relu(" * 3_000 + "x" + ")" * 3_000, 1.0),
        ("(" * 150 + "x" + ")" * 150, 1.0),
    ],
    ids=["minus", "power", "sum", "calls", "parentheses"],
)
def test_nesting_is_read_or_refused(text, value):
    """How deep Python's parser goes depends on its version; what may not happen is any other error."""
    got = outcome(text)
    if isinstance(got, Value):
        assert got.data == value
    else:
        assert isinstance(got, ExpressionError)
        assert re.search("nested", str(got))


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("log(x - x)", 1, r"log\(x - x\) is undefined at x - x = 0.0"),
        ("1 + log(-1)", 5, "log"),
        ("x / (x - 1)", 1, r"x / \(x - 1\.0\) is undefined"),
        ("2 * (1 / 0)", 6, "1.0 / 0.0 is undefined"),
        ("(-8) ** (1/3)", 1, "is undefined"),
        ("  0 ** -x", 3, r"0\.0 \*\* \(?-x\)? is undefined"),
        ("(x +\n log(0))", 7, "log"),
    ],
)
def test_where_an_operation_has_no_value(text, column, words):
    with pytest.raises(DomainError, match=words) as caught:
        mg.parse(text, x=1.0)
    assert column_of(caught.value) == column


@pytest.mark.parametrize("text", [None, 1, b"x", ["x"], Value(1.0)])
def test_what_is_no_text(text):
    with pytest.raises(ExpressionError, match="an expression is text"):
        mg.parse(text)


def test_nothing_is_evaluated_before_all_of_it_is_checked():
    with pytest.raises(ExpressionError, match="'nope' has no value"):
        mg.parse("log(0) + nope")


def test_a_long_sum_is_read():
    f = mg.parse("+".join(["x"] * 500), x=1.0)
    f.backward()
    assert f.data == 500.0


# ---- any text at all

WORDS = ["exp(", "log(", "max(", "exp", "lambda", "if", "x", "nope", "1", "0", "2.5", "9" * 30, "1e", "e5", "j", "**"]
PIECES = st.sampled_from(WORDS) | st.sampled_from("+-*/(),.='#\\[]{}:_^@ \n\f\r\t\0\u2028\ud800é𝐱")
ANY = st.text(st.characters(exclude_categories=())) | st.lists(PIECES, max_size=12).map("".join)


@settings(many, max_examples=500)
@given(ANY)
def test_any_text_gives_a_value_or_an_error_with_a_column(text):
    got = outcome(text)
    if not isinstance(got, Value):
        assert isinstance(got, (ExpressionError, DomainError))
        assert 1 <= column_of(got) <= len(text) + 1


@many
@given(st.lists(PIECES, max_size=5).map("".join), st.lists(PIECES, max_size=5).map("".join))
def test_a_column_points_at_the_missing_name(before, after):
    text = f"{before} nope {after}"
    got = outcome(text)
    if "'nope' has no value" in str(got):
        assert text[column_of(got) - 1 :].startswith("nope")


ARITHMETIC = st.recursive(
    st.sampled_from(["x", "y", "0.5", "2.0", "3.0", "0.0"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from([" + ", "-", "*", " / ", "**"]), inner).map("".join)
        | inner.map("-{}".format)
        | inner.map("({})".format)
    ),
    max_leaves=12,
)


@settings(many, max_examples=500)
@given(ARITHMETIC)
def test_arithmetic_agrees_with_python(text):
    names = {"x": 1.25, "y": -2.0}
    try:
        want = eval(text, {}, names)
    except (ZeroDivisionError, OverflowError) as error:
        want = error
    try:
        got = mg.parse(text, **names).data
    except MicrogadError as error:
        got = error
    if isinstance(got, float) and isinstance(want, float):
        assert got.hex() == want.hex()
    elif isinstance(want, OverflowError):  # Python stops at it, a Value goes on with inf, a constant is refused
        assert "too large" in str(got) or isinstance(got, (float, DomainError))
    elif isinstance(want, float):
        assert "too large" in str(got)
        assert isinstance(got, ExpressionError)
    else:  # a division by 0, or a power that is complex
        assert isinstance(got, DomainError) or "too large" in str(got)

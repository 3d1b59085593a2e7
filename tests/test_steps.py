"""The two passes step by step: the lectures' numbers, the pass itself on random graphs, and names that mislead."""

import gc
import re
import string
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from test_random_expressions import anything, graph, many

import microgad as mg
from microgad import Value
from microgad.errors import DomainError, GraphSizeError, InputError
from microgad.order import topological_order


def lecture():
    x, y, z = Value(-2, "x"), Value(5, "y"), Value(-4, "z")
    q = x + y
    q.name = "q"
    return q * z


def circuit():
    return mg.parse("exp(x * y + max(z, w))", x=0.5, y=2, z=-1, w=1)


def text(steps):
    return "\n".join(map(str, steps))


def of(make, **names):
    """A graph of `make` on Values that are named as given: ``of(lambda a, b: a * b, a="x", b=None)``."""
    return make(*(Value(k + 2, name) for k, name in enumerate(names.values())))


# ---- the lectures

LECTURES = {
    "(x + y) z": (
        lecture,
        """\
x = -2
y = 5
q = x + y = -2 + 5 = 3
z = -4
f = q * z = 3 * (-4) = -12""",
        """\
∂f/∂q = ∂f/∂f · ∂f/∂q = 1 · (-4) = -4
∂f/∂z = ∂f/∂f · ∂f/∂z = 1 · 3 = 3
∂f/∂x = ∂f/∂q · ∂q/∂x = -4 · 1 = -4
∂f/∂y = ∂f/∂q · ∂q/∂y = -4 · 1 = -4""",
        """\
node  primal  value  adjoint   value
────  ──────  ─────  ────────  ─────
x                -2  -4 · 1       -4
y                 5  -4 · 1       -4
q     x + y       3  1 · (-4)     -4
z                -4  1 · 3         3
f     q * z     -12                1""",
    ),
    "exp(x y + max(z, w))": (
        circuit,
        """\
x = 0.5
y = 2
v1 = x * y = 0.5 * 2 = 1
z = -1
w = 1
v2 = max(z, w) = max(-1, 1) = 1
v3 = v1 + v2 = 1 + 1 = 2
f = exp(v3) = exp(2) = 7.38906""",
        """\
∂f/∂v3 = ∂f/∂f · ∂f/∂v3 = 1 · 7.38906 = 7.38906
∂f/∂v1 = ∂f/∂v3 · ∂v3/∂v1 = 7.38906 · 1 = 7.38906
∂f/∂v2 = ∂f/∂v3 · ∂v3/∂v2 = 7.38906 · 1 = 7.38906
∂f/∂z = ∂f/∂v2 · ∂v2/∂z = 7.38906 · 0 = 0
∂f/∂w = ∂f/∂v2 · ∂v2/∂w = 7.38906 · 1 = 7.38906
∂f/∂x = ∂f/∂v1 · ∂v1/∂x = 7.38906 · 2 = 14.7781
∂f/∂y = ∂f/∂v1 · ∂v1/∂y = 7.38906 · 0.5 = 3.69453""",
        """\
node  primal       value  adjoint          value
────  ─────────  ───────  ─────────────  ───────
x                    0.5  7.38906 · 2    14.7781
y                      2  7.38906 · 0.5  3.69453
v1    x * y            1  7.38906 · 1    7.38906
z                     -1  7.38906 · 0          0
w                      1  7.38906 · 1    7.38906
v2    max(z, w)        1  7.38906 · 1    7.38906
v3    v1 + v2          2  1 · 7.38906    7.38906
f     exp(v3)    7.38906                       1""",
    ),
}


@pytest.mark.parametrize(("make", "forward", "backward", "trace"), LECTURES.values(), ids=LECTURES)
def test_the_lectures(make, forward, backward, trace):
    assert text(mg.forward_steps(make())) == forward
    assert text(mg.backward_steps(make())) == backward
    assert str(mg.evaluation_trace(make())) == repr(mg.evaluation_trace(make())) == trace


SUBSTITUTED = [  # numbers stand where the names stood: nothing is left out, no sign is taken in
    ("x * y", (-4, 1), "f = x * y = -4 * 1 = -4"),
    ("x * y", (1, -4), "f = x * y = 1 * (-4) = -4"),
    ("x * y", (-1, -1), "f = x * y = -1 * (-1) = 1"),
    ("x + y", (0, 5), "f = x + y = 0 + 5 = 5"),
    ("x + y", (3, -5), "f = x + y = 3 + (-5) = -2"),
    ("x - y", (3, -5), "f = x - y = 3 - (-5) = 8"),
    ("x - y", (0, 0), "f = x - y = 0 - 0 = 0"),
    ("x / y", (-3, 1), "f = x / y = -3 / 1 = -3"),
    ("x ** y", (-3, 1), "f = x ** y = (-3) ** 1 = -3"),
    ("x ** 2", (-3, 0), "f = x ** 2 = (-3) ** 2 = 9"),
    ("2 ** x", (-2, 0), "f = 2 ** x = 2 ** (-2) = 0.25"),
    ("-x", (-3, 0), "f = -x = -(-3) = 3"),
    ("x * 1", (7, 0), "f = x * 1 = 7 * 1 = 7"),
    ("x + 1e-20", (7, 0), "f = x + 1e-20 = 7 + 1e-20 = 7"),
    ("relu(x)", (-3, 0), "f = relu(x) = relu(-3) = 0"),
    ("where(x > 0, y, 3)", (1, 2), "f = where(v1, y, 3) = where(1, 2, 3) = 2"),
    ("x * 0.1", (1 / 3, 0), "f = x * 0.1 = 0.333333 * 0.1 = 0.0333333"),
]


@pytest.mark.parametrize(("expression", "point", "line"), SUBSTITUTED)
def test_the_numbers_of_a_forward_step(expression, point, line):
    *_, last = mg.forward_steps(mg.parse(expression, **dict(zip("xy", point, strict=True))))
    assert str(last) == line


# ---- on random graphs, the pass itself


def bits(x):
    return None if x is None else float.hex(x)


@many
@given(anything)
def test_backward_steps_are_the_backward_pass_to_the_last_bit(program):
    _, root = graph(program)
    order = topological_order(root)
    try:
        steps = list(mg.backward_steps(root))
    except DomainError:
        with pytest.raises(DomainError):
            root.backward()
        return
    assert all(node.grad is None for node in order)
    assert [id(step.node) for step in steps] == [id(node) for node in reversed(order) if node.prim is not None]
    totals = {root: 1.0}
    for step in steps:
        assert bits(step.upstream) == bits(totals[step.node])  # all that flows into a node has arrived
        assert [id(edge.input) for edge in step.edges] == [id(x) for x in step.node.inputs]
        places = [i for i, x in enumerate(step.node.operands) if isinstance(x, Value)]
        for i, (x, local, contribution, total) in zip(places, step.edges, strict=True):
            never = step.node.prim.partials[i] == 0.0  # a constant 0 stops even an infinite gradient
            assert bits(contribution) == bits(0.0 if never else step.upstream * local)
            assert bits(total) == bits(totals[x] + contribution if x in totals else contribution)
            totals[x] = total
    root.backward()
    assert {node: bits(total) for node, total in totals.items()} == {node: bits(node.grad) for node in order}


@many
@given(anything)
def test_forward_steps_and_the_trace_say_what_the_nodes_hold(program):
    _, root = graph(program)
    order = topological_order(root)
    steps = list(mg.forward_steps(root))
    assert [id(step.node) for step in steps] == [id(node) for node in order]
    for step in steps:
        assert step.upstream is None
        inputs = [(id(x), None, None, None) for x in step.node.inputs]
        assert [(id(edge.input), *edge[1:]) for edge in step.edges] == inputs
        assert str(step).endswith(f" = {step.node.data:.6g}")
        assert str(step).count(" = ") == (1 if step.node.prim is None else 3)
    try:
        want = mg.adjoints(root)
    except DomainError:
        with pytest.raises(DomainError):
            mg.evaluation_trace(root)
        return
    rows = mg.evaluation_trace(root).rows
    assert all(node.grad is None for node in order)
    assert [id(row.node) for row in rows] == [id(node) for node in order]
    assert [bits(row.value) for row in rows] == [bits(node.data) for node in order]
    assert [bits(row.adjoint) for row in rows] == [bits(want[node]) for node in order]
    assert len({row.name for row in rows}) == len(rows)
    uses = [x for node in order for x in node.inputs]
    for row in rows:
        n = sum(x is row.node for x in uses)
        assert row.parts.count(" · ") == min(n, 6)
        assert f"({n - 6} more)" in row.parts or n <= 6


def facts(step):
    return id(step.node), bits(step.upstream), [(id(x), *map(bits, rest)) for x, *rest in step.edges], str(step)


@settings(many, max_examples=100)
@given(anything)
def test_generators_and_backward_in_the_middle_do_not_disturb_one_another(program):
    _, root = graph(program)
    other = root * root + 1.0  # shares every node
    try:
        alone = [[facts(step) for step in mg.backward_steps(f)] for f in (root, other)]
    except DomainError:
        return
    generators = [mg.backward_steps(root), mg.backward_steps(other), mg.backward_steps(root)]
    found = [[], [], []]
    for turn in range(len(alone[1]) + 1):
        for steps, generator in zip(found, generators, strict=True):
            steps += [facts(step) for step in [next(generator, None)] if step is not None]
        (root, other)[turn % 2].backward()
        mg.adjoints(root)
    assert found == [alone[0], alone[1], alone[0]]


@pytest.mark.parametrize("steps", [mg.forward_steps, mg.backward_steps])
def test_a_step_cannot_be_changed(steps):
    for step in steps(lecture()):
        for name in ("node", "upstream", "edges", "view", "anything"):
            with pytest.raises(AttributeError):
                setattr(step, name, None)
        with pytest.raises(TypeError):
            step[0] = None
        for edge in step.edges:
            with pytest.raises(AttributeError):
                edge.total = None
        assert type(step.edges) is tuple


def test_steps_of_equal_numbers_are_not_equal():
    one, two = (next(mg.backward_steps(Value(2.0) * Value(3.0))) for _ in range(2))
    assert one != two
    assert len({one, two}) == 2


# ---- nodes that hold the same number, and inputs that stand in several places

SAME = {
    "x * x": (
        lambda x: x * x,
        "∂f/∂x, part 1 of 2: ∂f/∂f · ∂f/∂x⁽¹⁾ = 1 · 2 = 2\n∂f/∂x, part 2 of 2: ∂f/∂f · ∂f/∂x⁽²⁾ = 1 · 2 = 2, in all 4",
        {"x": "1 · 2 + 1 · 2"},
    ),
    "max(x, x)": (
        lambda x: mg.maximum(x, x),
        "∂f/∂x, part 1 of 2: ∂f/∂f · ∂f/∂x⁽¹⁾ = 1 · 0.5 = 0.5\n"
        "∂f/∂x, part 2 of 2: ∂f/∂f · ∂f/∂x⁽²⁾ = 1 · 0.5 = 0.5, in all 1",
        {"x": "1 · 0.5 + 1 · 0.5"},
    ),
    "where(x, 3, x)": (
        lambda x: mg.where(x, 3.0, x),
        "∂f/∂x, part 1 of 2: ∂f/∂f · ∂f/∂x⁽¹⁾ = 1 · 0 = 0\n∂f/∂x, part 2 of 2: ∂f/∂f · ∂f/∂x⁽²⁾ = 1 · 0 = 0, in all 0",
        {"x": "1 · 0 + 1 · 0"},
    ),
    "a * b + a, where all are 2": (
        lambda x: Value(2.0, "a") * (b := Value(2.0, "b")) + (b - Value(2.0, "c")),
        "∂f/∂v1 = ∂f/∂f · ∂f/∂v1 = 1 · 1 = 1\n"
        "∂f/∂v2 = ∂f/∂f · ∂f/∂v2 = 1 · 1 = 1\n"
        "∂f/∂b, part 1 of 2: ∂f/∂v2 · ∂v2/∂b = 1 · 1 = 1\n"
        "∂f/∂c = ∂f/∂v2 · ∂v2/∂c = 1 · (-1) = -1\n"
        "∂f/∂a = ∂f/∂v1 · ∂v1/∂a = 1 · 2 = 2\n"
        "∂f/∂b, part 2 of 2: ∂f/∂v1 · ∂v1/∂b = 1 · 2 = 2, in all 3",
        {"a": "1 · 2", "b": "1 · 1 + 1 · 2", "c": "1 · (-1)"},
    ),
    "two equal nodes of one formula": (
        lambda x: x * x - x * x,
        "∂f/∂v1 = ∂f/∂f · ∂f/∂v1 = 1 · 1 = 1\n"
        "∂f/∂v2 = ∂f/∂f · ∂f/∂v2 = 1 · (-1) = -1\n"
        "∂f/∂x, part 1 of 4: ∂f/∂v2 · ∂v2/∂x⁽¹⁾ = -1 · 2 = -2\n"
        "∂f/∂x, part 2 of 4: ∂f/∂v2 · ∂v2/∂x⁽²⁾ = -1 · 2 = -2, so far -4\n"
        "∂f/∂x, part 3 of 4: ∂f/∂v1 · ∂v1/∂x⁽¹⁾ = 1 · 2 = 2, so far -2\n"
        "∂f/∂x, part 4 of 4: ∂f/∂v1 · ∂v1/∂x⁽²⁾ = 1 · 2 = 2, in all 0",
        {"x": "-1 · 2 + (-1) · 2 + 1 · 2 + 1 · 2", "v1": "1 · 1", "v2": "1 · (-1)"},
    ),
}


@pytest.mark.parametrize(("make", "lines", "parts"), SAME.values(), ids=SAME)
def test_nodes_are_told_apart_by_identity(make, lines, parts):
    f = make(Value(2.0, "x"))
    assert text(mg.backward_steps(f)) == lines
    rows = {row.name: row.parts for row in mg.evaluation_trace(f).rows}
    assert {name: rows[name] for name in parts} == parts


def test_leaves_of_one_number_keep_their_own_totals():
    leaves = [Value(1.0) for _ in range(5)]
    f = sum((k + 1) * leaf for k, leaf in enumerate(leaves)) + leaves[0]
    totals = {edge.input: edge.total for step in mg.backward_steps(f) for edge in step.edges}
    assert [totals[leaf] for leaf in leaves] == [2.0, 2.0, 3.0, 4.0, 5.0]


LINE = re.compile(
    r"(?P<whole>∂\S+)(, part (?P<part>\d+) of (?P<of>\d+):| =) (?P<upstream>∂\S+) · (?P<local>∂\S+)"
    r" = (?P<u>\S+) · (?P<l>\S+) = (?P<product>[^ ,]+)(, (so far|in all) (?P<total>\S+))?"
)


@pytest.mark.parametrize(
    "expression", ["x * x * x", "x * y + x", "tanh(x) * x", "(x + y) * x * (x - y)", "x / (1 + x)"]
)
def test_one_symbol_does_not_stand_for_two_numbers(expression):
    said = {}
    for line in text(mg.backward_steps(mg.parse(expression, x=3, y=5))).splitlines():
        found = LINE.fullmatch(line)
        pairs = [(found["upstream"], found["u"]), (found["local"], found["l"].strip("()"))]
        if found["part"] == found["of"]:  # None for both, where there is one part only
            pairs.append((found["whole"], found["total"] or found["product"]))
        for symbol, value in pairs:
            assert said.setdefault(symbol, value) == value, symbol


# ---- names


def interior(name, root=None):
    q = Value(2.0, "x") * Value(3.0)
    q.name = name
    f = q + Value(4.0)
    f.name = root
    return f


NAMES = [
    (of(lambda a, b: a * b, a=None, b=None), ["v1", "v2", "f"], "f = v1 * v2 = 2 * 3 = 6"),
    (of(lambda a, b: a * b, a="x", b="x"), ["x", "x_2", "f"], "f = x * x_2 = 2 * 3 = 6"),
    (of(lambda a, b, c: a * b + c, a="x", b="x", c="x_2"), ["x", "x_3", "v1", "x_2", "f"], "f = v1 + x_2 = 6 + 4 = 10"),
    (of(lambda a, b: a * b, a="f", b=None), ["f", "v1", "v2"], "v2 = f * v1 = 2 * 3 = 6"),
    (of(lambda a, b: a * b, a="v1", b=None), ["v1", "v2", "f"], "f = v1 * v2 = 2 * 3 = 6"),
    (of(lambda a, b: a * b, a="a b", b="w[0]"), ["a b", "w[0]", "f"], "f = (a b) * w[0] = 2 * 3 = 6"),
    (of(lambda a, b: a - b, a="x", b="a+b"), ["x", "a+b", "f"], "f = x - (a+b) = 2 - 3 = -1"),
    (of(lambda a: a**2, a="变量"), ["变量", "f"], "f = 变量 ** 2 = 2 ** 2 = 4"),
    (of(lambda a: -a, a="a\nb"), [r"a\nb", "f"], r"f = -(a\nb) = -2 = -2"),
    (of(lambda a: -a, a=""), ["v1", "f"], "f = -v1 = -2 = -2"),
    (of(lambda a: -a, a="\ud800"), [r"\ud800", "f"], r"f = -(\ud800) = -2 = -2"),
    (interior("v1"), ["x", "v2", "v1", "v3", "f"], "f = v1 + v3 = 6 + 4 = 10"),
    (interior("f"), ["x", "v1", "f", "v2", "v3"], "v3 = f + v2 = 6 + 4 = 10"),
    (interior("x"), ["x", "v1", "x_2", "v2", "f"], "f = x_2 + v2 = 6 + 4 = 10"),
    (interior("q", "loss"), ["x", "v1", "q", "v2", "loss"], "loss = q + v2 = 6 + 4 = 10"),
    (interior("q", "q"), ["x", "v1", "q", "v2", "q_2"], "q_2 = q + v2 = 6 + 4 = 10"),
]


@pytest.mark.parametrize(("f", "names", "last"), NAMES, ids=[last for *_, last in NAMES])
def test_names(f, names, last):
    *_, final = steps = list(mg.forward_steps(f))
    assert [str(step).partition(" = ")[0] for step in steps] == names
    assert str(final) == last
    assert [row.name for row in mg.evaluation_trace(f).rows] == names


def test_a_name_that_is_no_word_is_one_operand():
    *_, last = mg.forward_steps(of(lambda a, b: a - b, a="a b", b="y"))
    assert str(last) == "f = (a b) - y = 2 - 3 = -1"


def test_names_in_derivatives():
    assert text(mg.backward_steps(interior("a b", "the loss"))) == (
        "∂(the loss)/∂(a b) = ∂(the loss)/∂(the loss) · ∂(the loss)/∂(a b) = 1 · 1 = 1\n"
        "∂(the loss)/∂v2 = ∂(the loss)/∂(the loss) · ∂(the loss)/∂v2 = 1 · 1 = 1\n"
        "∂(the loss)/∂x = ∂(the loss)/∂(a b) · ∂(a b)/∂x = 1 · 3 = 3\n"
        "∂(the loss)/∂v1 = ∂(the loss)/∂(a b) · ∂(a b)/∂v1 = 1 · 2 = 2"
    )


def test_a_leaf_alone():
    x = Value(2.0, "x")
    assert text(mg.forward_steps(x)) == "x = 2"
    assert list(mg.backward_steps(x)) == []
    assert mg.evaluation_trace(x).rows == ((x, "x", "", 2.0, "", 1.0),)


# ---- what cannot be shown


@pytest.fixture(scope="module")
def million():
    gc.disable()  # worth three seconds here
    x = Value(1.0)
    for _ in range(1_000_000):
        x = x + 1.0
    yield x
    gc.enable()


@pytest.mark.parametrize(
    ("function", "limit"),
    [(mg.forward_steps, "100,000"), (mg.backward_steps, "100,000"), (mg.evaluation_trace, "10,000")],
)
def test_graphs_that_nobody_reads(function, limit, million):
    start = time.perf_counter()
    with pytest.raises(GraphSizeError, match=rf"1,000,001 nodes .* up to {limit}\. .*mg\.adjoints"):
        function(million)  # already the call, not the first step
    assert time.perf_counter() - start < 5.0


@pytest.mark.parametrize("function", [mg.forward_steps, mg.backward_steps, mg.evaluation_trace])
@pytest.mark.parametrize("thing", [5, 2.0, "x", None, [Value(1.0)], Value])
def test_only_values_have_steps(function, thing):
    with pytest.raises(InputError, match="those of a Value, not of"):
        function(thing)


@pytest.mark.parametrize("function", [lambda f: list(mg.backward_steps(f)), mg.evaluation_trace])
def test_where_there_is_no_derivative_the_node_and_its_expression_are_named(function):
    root = mg.sqrt(Value(0.0, "x") * 1.0)
    root.name = "length"
    with pytest.raises(DomainError, match=r"the derivative of length = sqrt\(x \* 1\.0\) by x \* 1\.0 does not exist"):
        function(root * 2.0)
    assert text(mg.forward_steps(root)).endswith("length = sqrt(v1) = sqrt(0) = 0")


# ---- the trace as text, Markdown and HTML

HOSTILE = [
    "a|b",
    "`a`",
    "*x*",
    "_x_",
    "<b>x</b>",
    "a\\",
    "\\|",
    "a\nb",
    "[x](y)",
    "~x~",
    "&lt;",
    "$x$",
    "#",
    " ",
    "'\"",
]


def hostile():
    f = Value(1.0)
    for name in HOSTILE:
        f = f * Value(1.0, name) + 1.0
        f.name = f"sum of {name}"
    return f


def cells(trace):
    number = "{:.6g}".format
    return [[row.name, row.primal, number(row.value), row.parts, number(row.adjoint)] for row in trace.rows]


def markdown(line):
    """The cells of a line of a table, as Markdown reads them."""
    found, escaped = [""], False
    for c in line:
        if escaped:
            assert c in string.punctuation  # before anything else, a backslash is text
            found[-1] += c
        elif c == "|":
            found.append("")
        else:
            assert c not in "`*_[]<>#~&$"  # nothing is more than text
            found[-1] += c if c != "\\" else ""
        escaped = c == "\\" and not escaped
    assert found[0] == found[-1] == ""
    return [cell.strip(" ") for cell in found[1:-1]]


class Table(HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.rows, self.tags, self.open = [], set(), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add((tag, *attributes))
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data
        else:
            assert not data.strip()


@pytest.mark.parametrize("make", [lecture, circuit, hostile])
def test_the_trace_in_markdown(make):
    trace = mg.evaluation_trace(make())
    header, rule, *lines = trace.to_markdown().split("\n")
    assert markdown(header) == ["node", "primal", "value", "adjoint", "value"]
    assert rule == "| --- | --- | ---: | --- | ---: |"
    assert [markdown(line) for line in lines] == [[cell.strip(" ") for cell in row] for row in cells(trace)]


@pytest.mark.parametrize("make", [lecture, circuit, hostile])
def test_the_trace_in_html(make):
    trace = mg.evaluation_trace(make())
    table = Table(trace.to_html())
    assert table.open == []
    assert table.rows == [["node", "primal", "value", "adjoint", "value"], *cells(trace)]
    sides = {(tag, ("style", f"text-align: {side}")) for tag in ("td", "th") for side in ("left", "right")}
    assert table.tags == {("table",), ("thead",), ("tbody",), ("tr",)} | sides
    assert trace._repr_html_() == trace.to_html()


@pytest.mark.parametrize("make", [lecture, circuit, hostile])
def test_the_columns_of_the_text_are_aligned(make):
    trace = mg.evaluation_trace(make())
    header, rule, *lines = str(trace).split("\n")
    widths = [len(dashes) for dashes in rule.split("  ")]
    assert set(rule) == {"─", " "}
    assert header.split() == ["node", "primal", "value", "adjoint", "value"]
    for line, row in zip([header, *lines], [header.split(), *cells(trace)], strict=True):
        name, primal, value, parts, adjoint = row
        sides = [name.ljust, primal.ljust, value.rjust, parts.ljust, adjoint.rjust]
        assert line == "  ".join(side(width) for side, width in zip(sides, widths, strict=True))


@pytest.mark.parametrize("uses", [6, 7, 1234])
def test_many_parts_are_cut(uses):
    x = Value(1.0, "x")
    row, *_ = mg.evaluation_trace(sum(x * 2.0 for _ in range(uses))).rows
    some = " + ".join(["1 · 2"] * 6)
    assert (row.parts, row.adjoint) == (some if uses == 6 else f"{some} + … ({uses - 6:,} more)", 2.0 * uses)


# ---- data that was set later


@pytest.mark.parametrize(
    "show",
    [
        lambda f: str(next(mg.forward_steps(f))),
        lambda f: str(next(mg.backward_steps(f))),
        mg.evaluation_trace,
        lambda f: mg.derive(f, "x"),
    ],
    ids=["forward", "backward", "trace", "derive"],
)
def test_what_is_no_longer_true_is_not_shown(show):
    x = Value(3.0, "x")
    f = x * x
    assert show(f)
    x.data = 10.0
    with pytest.raises(
        InputError, match=r"^x \* x is 9\.0, but its operands as they are now give 100\.0: data was set"
    ):
        show(f)
    x.data = 3.0
    assert show(f)


def test_steps_themselves_are_there_after_an_update():
    x = Value(3.0, "x")
    f = x * x
    x.data = 10.0
    [step] = mg.backward_steps(f)
    f.backward()
    assert step.edges[-1].total == x.grad == 20.0

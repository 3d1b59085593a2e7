"""The chain rule written out: the lectures' lines, and on random graphs every line of numbers is the derivative."""

import math
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_random_expressions import many, programs, run

import microgad as mg
from microgad import Value
from microgad.errors import DomainError, GraphSizeError, InputError
from microgad.naming import all_names
from microgad.order import topological_order
from microgad.primitives import TABLE


def lecture():
    f = mg.parse("(x + y) * z", x=-2, y=5, z=-4)
    f.inputs[0].name = "q"
    return f


def circuit():
    return mg.parse("exp(x * y + max(z, w))", x=0.5, y=2, z=-1, w=1)


def cost():
    f = mg.parse("(sigmoid(w * a + b) - y) ** 2", a=0.5, w=2, b=-0.5, y=1)
    f.name = "C"
    return f


def rows(*lines):
    return r"\begin{aligned} " + r" \\ ".join(lines) + r" \end{aligned}"


# ---- the lectures

LECTURES = [
    (
        lecture,
        "x",
        """\
q = x + y
f = q * z

∂f/∂x = ∂f/∂q · ∂q/∂x
      = z · 1
      = -4 · 1
      = -4

simplified: ∂f/∂x = z""",
        rows(
            "q &= x + y",
            r"f &= q \cdot z",
            r"\frac{\partial f}{\partial x} &= \frac{\partial f}{\partial q} \cdot \frac{\partial q}{\partial x}",
            r" &= z \cdot 1",
            r" &= -4 \cdot 1",
            " &= -4",
            r"\text{simplified: } \frac{\partial f}{\partial x} &= z",
        ),
    ),
    (
        lecture,
        "z",
        """\
q = x + y
f = q * z

∂f/∂z = q
      = 3

simplified: ∂f/∂z = x + y""",
        rows(
            "q &= x + y",
            r"f &= q \cdot z",
            r"\frac{\partial f}{\partial z} &= q",
            " &= 3",
            r"\text{simplified: } \frac{\partial f}{\partial z} &= x + y",
        ),
    ),
    (
        circuit,
        "x",
        """\
v1 = x * y
v2 = max(z, w)
v3 = v1 + v2
f = exp(v3)

∂f/∂x = ∂f/∂v3 · ∂v3/∂v1 · ∂v1/∂x
      = f · 1 · y
      = 7.38906 · 1 · 2
      = 14.7781

simplified: ∂f/∂x = y * exp(x * y + max(z, w))""",
        rows(
            r"v_{1} &= x \cdot y",
            r"v_{2} &= \max\left(z, w\right)",
            "v_{3} &= v_{1} + v_{2}",
            "f &= e^{v_{3}}",
            r"\frac{\partial f}{\partial x} &= \frac{\partial f}{\partial v_{3}} \cdot "
            r"\frac{\partial v_{3}}{\partial v_{1}} \cdot \frac{\partial v_{1}}{\partial x}",
            r" &= f \cdot 1 \cdot y",
            r" &= 7.38906 \cdot 1 \cdot 2",
            " &= 14.7781",
            r"\text{simplified: } \frac{\partial f}{\partial x} &= y \cdot e^{x \cdot y + \max\left(z, w\right)}",
        ),
    ),
    (
        circuit,
        "z",
        """\
v1 = x * y
v2 = max(z, w)
v3 = v1 + v2
f = exp(v3)

∂f/∂z = ∂f/∂v3 · ∂v3/∂v2 · ∂v2/∂z
      = f · 1 · ([z > w] + 0.5 * [z == w])
      = 7.38906 · 1 · 0
      = 0

simplified: ∂f/∂z = exp(x * y + max(z, w)) * ([z > w] + 0.5 * [z == w])""",
        None,
    ),
    (
        cost,
        "w",
        """\
v1 = w * a
v2 = v1 + b
v3 = sigmoid(v2)
v4 = v3 - y
C = v4 ** 2

∂C/∂w = ∂C/∂v4 · ∂v4/∂v3 · ∂v3/∂v2 · ∂v2/∂v1 · ∂v1/∂w
      = (2 * v4) · 1 · (v3 * (1 - v3)) · 1 · a
      = -0.755081 · 1 · 0.235004 · 1 · 0.5
      = -0.0887235

simplified: ∂C/∂w = 2 * a * sigmoid(w * a + b) * (sigmoid(w * a + b) - y) * (1 - sigmoid(w * a + b))""",
        rows(
            r"v_{1} &= w \cdot a",
            "v_{2} &= v_{1} + b",
            r"v_{3} &= \sigma\left(v_{2}\right)",
            "v_{4} &= v_{3} - y",
            "C &= v_{4}^{2}",
            r"\frac{\partial C}{\partial w} &= \frac{\partial C}{\partial v_{4}} \cdot "
            r"\frac{\partial v_{4}}{\partial v_{3}} \cdot \frac{\partial v_{3}}{\partial v_{2}} \cdot "
            r"\frac{\partial v_{2}}{\partial v_{1}} \cdot \frac{\partial v_{1}}{\partial w}",
            r" &= \left(2 \cdot v_{4}\right) \cdot 1 \cdot \left(v_{3} \cdot \left(1 - v_{3}\right)\right) \cdot 1 "
            r"\cdot a",
            r" &= -0.755081 \cdot 1 \cdot 0.235004 \cdot 1 \cdot 0.5",
            " &= -0.0887235",
            r"\text{simplified: } \frac{\partial C}{\partial w} &= 2 \cdot a \cdot \sigma\left(w \cdot a + b\right) "
            r"\cdot \left(\sigma\left(w \cdot a + b\right) - y\right) \cdot "
            r"\left(1 - \sigma\left(w \cdot a + b\right)\right)",
        ),
    ),
    (
        cost,
        "y",
        """\
v1 = w * a
v2 = v1 + b
v3 = sigmoid(v2)
v4 = v3 - y
C = v4 ** 2

∂C/∂y = ∂C/∂v4 · ∂v4/∂y
      = (2 * v4) · (-1)
      = -0.755081 · (-1)
      = 0.755081

simplified: ∂C/∂y = 2 * (y - sigmoid(w * a + b))""",
        None,
    ),
]


@pytest.mark.parametrize(("make", "wrt", "text", "latex"), LECTURES, ids=lambda x: getattr(x, "__name__", None))
def test_the_lectures(make, wrt, text, latex):
    found = mg.derive(make(), wrt)
    assert found == repr(found) == text
    assert latex is None or found.latex == latex
    assert found._repr_latex_() == rf"$\displaystyle {found.latex}$"


def test_more_digits():
    found = mg.derive(cost(), "w", digits=8)
    assert "= -0.75508134 · 1 · 0.23500371 · 1 · 0.5\n      = -0.088723459\n" in found
    assert found != mg.derive(cost(), "w")


# ---- reading a derivation

WORD = re.compile(r"∂(\w+)/∂(\w+?)(?:⁽(\d)⁾)?(?!\w)".replace(r"\d", "[¹²³⁴⁵⁶⁷⁸⁹]"))
PLACES = {"¹": 1, "²": 2, "³": 3, None: None}


class Derivation:
    """What `derive` says of a graph whose names are words."""

    def __init__(self, f, wrt, digits=17):
        self.f, self.order = f, topological_order(f)
        self.names = all_names(self.order)
        self.nodes = {name: node for node, name in self.names.items()}
        self.text = str(mg.derive(f, wrt, digits=digits))
        *_, self.equations = blocks = self.text.split("\n\n")
        self.simplified = None
        if self.equations.startswith("simplified: "):
            self.simplified = self.equations
            self.equations = blocks[-2]
        note = re.search(
            r"^(.*) (?:paths lead|path leads) from (\w+) to (\w+); node by node:$", self.text, re.MULTILINE
        )
        self.paths = note and note[1]
        start = self.text.index(f"{note[0]}" if note else self.equations)
        self.definitions = self.text[:start].split("\n")[:-2]

    def lines(self):
        """Node by node: what stands on the left, and the sides."""
        for line in self.equations.split("\n"):
            left, *sides = line.split(" = ")
            yield left, sides

    def sides(self):
        """The sides of the one equation along the paths; a long one is broken in front of each +."""
        joined = re.sub(r"\n +\+ ", " + ", self.equations)
        left, *rest = re.split(r"\n* += ", joined)
        assert re.fullmatch(r"∂\w+/∂\w+", left)
        return rest

    def evaluate(self, side):
        """A side without ∂ as a number."""
        return mg.parse(side.replace("·", "*"), **{name: node.data for name, node in self.nodes.items()}).data

    def chain(self, side, first):
        """A side in ∂ as a number; `first` says what the first factor of each product is."""
        return sum(
            math.prod(first(factor) if k == 0 else self.local(factor) for k, factor in enumerate(product.split(" · ")))
            for product in side.split(" + ")
        )

    def local(self, factor):
        """∂node/∂input by one place of the input, from the rules."""
        top, bottom, place = WORD.fullmatch(factor).groups()
        node, x = self.nodes[top], self.nodes[bottom]
        found = [local for y, local, _ in node.edges(1.0) if y is x]
        assert place or len(found) == 1
        return found[PLACES[place] - 1 if place else 0]


def sizes(root):
    """For each node the sum of the sizes of the products that make up its derivative, before anything cancels."""
    found = {root: 1.0}
    steep = {TABLE[name] for name in ("tanh", "sigmoid", "silu", "gelu", "elu")}  # a derivative that is a difference
    for node in reversed(topological_order(root)):
        for x, local, _ in node.edges(1.0):
            found[x] = found.get(x, 0.0) + found[node] * (abs(local) + (node.prim in steep))
    return found


STEPS = {name: (lambda *x, row=row: row(*x[: len(row.partials)])) for name, row in TABLE.items()} | {
    "square": lambda a, b, c: a**2,
    "twice": lambda a, b, c: 2.0 * a,
    "minus 3": lambda a, b, c: a - 3.0,
    "from 1": lambda a, b, c: 1.0 - a,
    "once more": lambda a, b, c: a * a,
}
graphs = programs(STEPS, st.sampled_from([1.0, -1.0, 0.5, 2.0]) | st.integers(-3000, 3000).map(lambda k: k / 1000))


def graph(program):
    """The leaves, one of them without a name, and the result; nothing in between is large."""

    def step(name, *operands):
        try:
            out = STEPS[name](*operands)
        except DomainError:
            return operands[0]
        return out if abs(out.data) < 1e3 else operands[0]

    leaves = [Value(x, name) for x, name in zip(program[0], ("x", "y", None), strict=False)]
    return leaves, run(program, leaves, step)[-1]


def has_guards(root):
    """Whether the rules leave out a logarithm of 0 that the formulas have."""
    return any(node.prim is TABLE["pow"] and 0.0 in (getattr(x, "data", x) for x in node.operands[:1]) for node in root)


def count_paths(root, x):
    """One path for each way of choosing operands, by recursion."""
    return 1 if root is x else sum(count_paths(y, x) for y in root.inputs)


@settings(many, max_examples=300)
@given(graphs)
def test_every_line_is_the_derivative(program):
    leaves, root = graph(program)
    order = topological_order(root)
    try:
        adjoints, tolerances = mg.adjoints(root), sizes(root)
    except DomainError:
        return
    for x in (leaves[0], order[len(order) // 2]):
        if x is root or x not in adjoints or not max(tolerances.values()) < 1e12:
            continue
        derivation, size, name = Derivation(root, x), tolerances[x], all_names(order)[x]
        paths = count_paths(root, x)
        if derivation.paths is None:
            assert paths <= 8
            *sides, result = derivation.sides()
            assert float(result) == adjoints[x]
            for side in sides:
                if side.startswith("∂"):
                    found, exact = derivation.chain(side, derivation.local), True
                    assert len(side.split(" + ")) == paths
                else:
                    if has_guards(order):
                        continue
                    found, exact = derivation.evaluate(side), not re.search("[a-z]", side.replace("e", ""))
                assert abs(found - adjoints[x]) <= (1e-14 if exact else 1e-9) * size, side
        else:
            assert derivation.paths == f"{paths:,}"
            whole = {f"∂f/∂{name}": adjoints[node] for name, node in derivation.nodes.items() if node in adjoints}
            for left, sides in derivation.lines():
                assert float(sides[-1]) == whole[left]
                if len(sides) == 3 and "more)" not in sides[0]:  # the very sums of the backward pass, in its order
                    assert derivation.chain(sides[0], whole.__getitem__) == whole[left]
                    assert derivation.evaluate(sides[1]) == whole[left]
            assert left == f"∂f/∂{name}"
        for line in derivation.definitions:
            left, right = line.split(" = ", 1)
            assert derivation.evaluate(right) == derivation.nodes[left].data
        if derivation.simplified:
            assert derivation.simplified == f"simplified: ∂f/∂{name} = {mg.formula(root, x)}"


# ---- paths


def ladder(rungs, double=lambda x: x + x):
    x = out = Value(1.0, "x")
    for _ in range(rungs):
        out = double(out)
    return x, out


@pytest.mark.parametrize("rungs", range(1, 8))
def test_the_paths_of_a_ladder(rungs):
    x, f = ladder(rungs)
    derivation = Derivation(f, x)
    if rungs <= 3:
        first, *_ = derivation.sides()
        assert first.count(" + ") + 1 == 2**rungs
        assert len(set(first.split(" + "))) == 2**rungs  # each path once
        assert derivation.paths is None
    else:
        assert derivation.paths == f"{2**rungs}"
        assert [float(sides[-1]) for _, sides in derivation.lines()] == [2.0**k for k in range(rungs + 1)]


@pytest.mark.parametrize(
    ("rungs", "count"),
    [(20, "1,048,576"), (49, f"{2**49:,}"), (50, "about 10 to the power of 15"), (900, "about 10 to the power of 270")],
)
def test_paths_without_number(rungs, count):
    x, f = ladder(rungs, lambda x: 0.5 * x + 0.5 * x if rungs < 100 else mg.maximum(x, x))
    start = time.perf_counter()
    derivation = Derivation(f, x)
    assert time.perf_counter() - start < 2.0
    assert derivation.text.startswith(f"{count} paths lead from x to f; node by node:\n\n∂f/∂f = 1\n")
    assert derivation.text.endswith(" = 1")
    assert rf"\text{{{count} paths; node by node:}}" in mg.derive(f, x).latex


def test_a_long_path_is_one_path():
    x, f = ladder(48, lambda x: -x)
    chain, numbers, result = Derivation(f, x).sides()
    assert chain.count(" · ") == 47
    assert (numbers, result) == ("-1 · " + " · ".join(["(-1)"] * 47), "1")
    x, f = ladder(49, lambda x: -x)
    assert Derivation(f, x).paths == "1"


def test_one_path_leads():
    x, f = ladder(49, lambda x: -x)
    assert "1 path leads from x to f; node by node:" in mg.derive(f, x)


def test_many_uses_are_counted():
    x = Value(1.0, "x")
    f = sum((x * k for k in range(2, 12)), x * 1.0)
    last = mg.derive(f, x).split("\n")[-3]
    assert last.startswith("∂f/∂x = ∂f/∂v20 · ∂v20/∂x + ")
    assert last.endswith(" + … (5 more) = 1 · 11 + 1 · 10 + 1 · 9 + 1 · 8 + 1 · 7 + 1 · 6 + … (5 more) = 66")


# ---- by which node


def test_by_the_result():
    found = mg.derive(lecture(), "f")
    assert (found, found.latex) == ("∂f/∂f = 1", r"\begin{aligned} \frac{\partial f}{\partial f} &= 1 \end{aligned}")
    assert mg.derive(Value(2.0, "x"), "x") == "∂x/∂x = 1"


def test_by_a_node_in_between():
    f = lecture()
    assert mg.derive(f, "q") == mg.derive(f, f.inputs[0]) == "f = q * z\n\n∂f/∂q = z\n      = -4"


def test_by_a_leaf_without_a_name():
    f = Value(2.0) * Value(3.0) + 1.0
    text = "v3 = 2 * v2\nf = v3 + 1\n\n∂f/∂v2 = ∂f/∂v3 · ∂v3/∂v2\n       = 1 · 2\n       = 2"
    assert mg.derive(f, "v2") == mg.derive(f, f.inputs[0].inputs[1]) == text


def test_by_a_node_that_is_used_twice_in_one_operation():
    x = Value(3.0, "x")
    q = x * x
    q.name = "q"
    found = mg.derive(q + 1.0, x)
    assert found == (
        "q = x * x\nf = q + 1\n\n"
        "∂f/∂x = ∂f/∂q · ∂q/∂x⁽¹⁾ + ∂f/∂q · ∂q/∂x⁽²⁾\n      = 1 · x + 1 · x\n      = 1 · 3 + 1 · 3\n      = 6\n\n"
        "simplified: ∂f/∂x = 2 * x"
    )
    assert r"\frac{\partial q}{\partial x^{(1)}} + \frac{\partial f}{\partial q} \cdot" in found.latex


def test_by_a_node_that_arrives_by_itself_and_by_another():
    x = Value(3.0, "x")
    assert mg.derive(mg.tanh(x) * x, x) == (
        "v1 = tanh(x)\nf = v1 * x\n\n"
        "∂f/∂x = ∂f/∂v1 · ∂v1/∂x + ∂f/∂x⁽¹⁾\n"  # and not ∂f/∂x, which is the whole
        "      = x · (1 - v1 ** 2) + v1\n"
        "      = 3 · 0.00986604 + 0.995055\n"
        "      = 1.02465\n\n"
        "simplified: ∂f/∂x = tanh(x) + x * (1 - tanh(x) ** 2)"
    )


def test_three_places():
    x = Value(0.5, "x")
    first, _, numbers, result = Derivation(TABLE["clip"](x, x, x), x, 6).sides()
    assert first == "∂f/∂x⁽¹⁾ + ∂f/∂x⁽²⁾ + ∂f/∂x⁽³⁾"
    assert (numbers.split(" + "), float(result)) == (
        [f"{x:g}" for x in mg.grad(TABLE["clip"], (0, 1, 2))(*[0.5] * 3)],
        1.0,
    )


def test_equal_numbers_are_not_equal_nodes():
    a, b, c = (Value(2.0, name) for name in "abc")
    assert mg.derive(a * b + b * c, b) == (
        "v1 = a * b\nv2 = b * c\nf = v1 + v2\n\n"
        "∂f/∂b = ∂f/∂v1 · ∂v1/∂b + ∂f/∂v2 · ∂v2/∂b\n      = 1 · a + 1 · c\n      = 1 · 2 + 1 · 2\n      = 4\n\n"
        "simplified: ∂f/∂b = c + a"
    )
    x, one = Value(1.0, "x"), Value(1.0)
    assert Derivation(x * one + one * one, x).sides() == ["∂f/∂v2 · ∂v2/∂x", "1 · 1", "1"]


@pytest.mark.parametrize(
    ("wrt", "message"),
    [
        ("xx", r"the graph has no node named 'xx': did you mean x\?"),
        ("v9", "the graph has no node named 'v9': it has x, y"),
        ("loss", "the graph has no node named 'loss': it has x, y, v1, z, w, v2, v3, f$"),
        ("", "the graph has no node named '': it has x, y"),
        (2.0, "a node or its name is meant, not float 2.0"),
        (None, "a node or its name is meant, not NoneType None"),
        (("x",), r"a node or its name is meant, not tuple \('x',\)"),
    ],
)
def test_no_such_node(wrt, message):
    with pytest.raises(InputError, match=message):
        mg.derive(circuit(), wrt)


@pytest.mark.parametrize("thing", [5, "x * y", None, [Value(1.0)]])
def test_only_values_are_derived(thing):
    with pytest.raises(InputError, match="of a Value, not"):
        mg.derive(thing, "x")


@pytest.mark.parametrize("name", ["t", "x"])
def test_a_node_from_elsewhere(name):
    with pytest.raises(
        InputError, match=f"^{name} is no node of this graph" + (": .* made again since" if name == "x" else "$")
    ):
        mg.derive(lecture(), Value(7.0, name))


# ---- what is not written out


def test_too_many_nodes_on_the_paths():
    x, f = ladder(1000)
    with pytest.raises(GraphSizeError, match=r"^1,001 nodes lie on the paths; .* up to 1,000\. .*mg\.adjoints\(f\)"):
        mg.derive(f, x)
    x, f = ladder(999)
    assert mg.derive(f, x).count("\n") > 999


def test_a_large_graph_with_few_nodes_on_the_paths():
    x, y = Value(2.0, "x"), Value(3.0, "y")
    for _ in range(20_000):
        y = y * 1.0
    start = time.perf_counter()
    found = mg.derive(x * y, x)
    assert time.perf_counter() - start < 2.0
    assert found == "∂f/∂x = v20000\n      = 3"  # how v20000 came about would be 20,000 lines


def test_definitions_are_those_of_what_is_mentioned():
    x, y = Value(2.0, "x"), Value(3.0, "y")
    q = y * y
    q.name = "q"
    r = x**2
    r.name = "r"
    assert mg.derive(r * q + y, r).split("\n\n")[0] == "q = y * y\nv1 = r * q\nf = v1 + y"


def test_a_long_sum_has_a_line_for_each_term():
    x, f = ladder(3, lambda x: x * x)
    found = mg.derive(f, x)
    assert max(map(len, found.split("\n"))) <= 100
    assert found.count("\n      + ") == 3 * 7
    assert found.latex.count(r"\\ &\quad + ") == 3 * 7


@pytest.mark.parametrize(
    ("expression", "at", "message"),
    [
        ("2 * sqrt(x)", 0.0, r"the derivative of sqrt\(x\) by x does not exist at x = 0.0"),
        ("3 + x ** 0.5", 0.0, r"the derivative of x \*\* 0.5 by x does not exist at x = 0.0"),
        ("x ** n", -2.0, r"the derivative of x \*\* n by n does not exist at x = -2.0, n = 2.0"),
    ],
)
def test_where_there_is_no_derivative(expression, at, message):
    f = mg.parse(expression, x=at, n=2.0)
    with pytest.raises(DomainError, match=message):
        mg.derive(f, "n" if "n" in expression else "x")


def test_no_derivative_is_asked_for_off_the_paths():
    f = mg.parse("sqrt(x) * y", x=0.0, y=3.0)
    assert Derivation(f, "y").sides() == ["v1", "0"]
    f = mg.parse("x ** n", x=-2.0, n=2.0)
    assert Derivation(f, "x").sides() == ["n * x ** (n - 1)", "-4"]


def test_no_gradient_is_touched():
    f = circuit()
    f.backward()
    grads = [node.grad for node in topological_order(f)]
    names = [node.name for node in topological_order(f)]
    for wrt in ("x", "v2", "f"):
        mg.derive(f, wrt)
    assert [node.grad for node in topological_order(f)] == grads
    assert [node.name for node in topological_order(f)] == names


@pytest.mark.parametrize("digits", range(1, 18))
def test_numbers_have_the_digits_asked_for(digits):
    f = mg.parse("x * y", x=1 / 3, y=2 / 3)
    assert mg.derive(f, "x", digits=digits).rpartition("= ")[2] == f"{2 / 3:.{digits}g}"


def test_names_of_several_words():
    x = Value(2.0, "a b")
    q = x * 3.0
    q.name = "the sum"
    f = q * x
    f.name = "loss (mean)"
    assert mg.derive(f, x).split("\n\n")[1].split("\n")[0] == (
        "∂(loss (mean))/∂(a b) = ∂(loss (mean))/∂(the sum) · ∂(the sum)/∂(a b) + ∂(loss (mean))/∂(a b)⁽¹⁾"
    )


@pytest.mark.parametrize("digits", [0, -1, 18, 1.5, True, None, "6", 10**10])
def test_digits_that_no_number_has(digits):
    with pytest.raises(InputError, match=r"^digits is a number from 1 to 17, not"):
        mg.derive(lecture(), "x", digits=digits)

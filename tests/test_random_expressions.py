"""Random programs, whose nodes are used again and again, against references that share no code with the engine."""

import cmath
import itertools
import math
from fractions import Fraction

import mpmath
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import microgad as mg
from microgad import Value
from microgad.errors import DomainError
from microgad.order import topological_order
from microgad.primitives import TABLE

many = settings(deadline=None, max_examples=200)


def programs(steps, numbers):
    """Inputs, and steps `(name, i, j, k)`: an operation and how far back its operands were made."""
    back = st.integers(0, 11)
    step = st.tuples(st.sampled_from(sorted(steps)), back, back, back)
    return st.tuples(st.lists(numbers, min_size=1, max_size=3), st.lists(step, min_size=1, max_size=12))


def run(program, inputs, apply):
    """Every value of the program in the order of its steps; `apply` does one of them."""
    values = list(inputs)
    for name, *back in program[1]:
        values.append(apply(name, *(values[-1 - k % len(values)] for k in back)))
    return values


# ---- smooth programs

SMOOTH = {  # the same formula on Values (with `mg`), complex numbers (`cmath`) and many digits (`mpmath`)
    "add": lambda m, a, b: a + b,
    "sub": lambda m, a, b: a - b,
    "rsub": lambda m, a, b: 2 - a,
    "neg": lambda m, a, b: -a,
    "scale": lambda m, a, b: a * 0.5,
    "mul": lambda m, a, b: a * b,
    "square": lambda m, a, b: a**2,
    "div": lambda m, a, b: a / (b * b + 1),
    "rdiv": lambda m, a, b: 3 / (1.5 + m.tanh(a)),
    "pow": lambda m, a, b: (a * a + 1) ** m.tanh(b),
    "rpow": lambda m, a, b: 2 ** m.tanh(a),
    "exp": lambda m, a, b: m.exp(-a * a),
    "log": lambda m, a, b: m.log(a * a + b * b + 0.5),
    "tanh": lambda m, a, b: m.tanh(a),
}
smooth = programs(SMOOTH, st.floats(-2.0, 2.0).map(lambda x: round(x, 3)))


def compute(program, inputs, m):
    return run(program, inputs, lambda name, a, b, c: SMOOTH[name](m, a, b))


def tame(program):
    """The floats of a program, if they are of moderate size: a derivative is as exact as its terms are small."""
    values = compute(program, program[0], mg)
    assume(max(map(abs, values)) < 20.0)
    return values


def magnitudes(root):
    """For each node the sum of the absolute values of all the products that make up its derivative."""
    found = {root: 1.0}
    for node in reversed(topological_order(root)):
        for x, local, _ in node.edges(1.0):
            found[x] = found.get(x, 0.0) + found[node] * abs(local)
    return found


@many
@given(smooth)
def test_values_agree_with_floats_to_the_bit_and_with_many_digits(program):
    floats = tame(program)
    nodes = compute(program, [Value(x) for x in program[0]], mg)
    assert [node.data.hex() for node in nodes] == [x.hex() for x in floats]
    with mpmath.workdps(50):
        exact = compute(program, [mpmath.mpf(x) for x in program[0]], mpmath)
    assert floats[-1] == pytest.approx(float(exact[-1]), rel=1e-11, abs=1e-11)


@many
@given(smooth)
def test_gradients_against_the_complex_step(program):
    tame(program)
    leaves = [Value(x) for x in program[0]]
    root = compute(program, leaves, mg)[-1]
    root.backward()
    sizes = magnitudes(root)
    h = 1e-30
    for i, leaf in enumerate(leaves):
        moved = [complex(x, h * (k == i)) for k, x in enumerate(program[0])]
        step = compute(program, moved, cmath)[-1].imag / h
        assert abs((leaf.grad or 0.0) - step) <= 1e-12 * max(1.0, sizes.get(leaf, 0.0)), i


def slope(program, *directions):
    """The derivative by these inputs, one after the other: central differences, exact with so many digits."""
    with mpmath.workdps(80):
        h, total = mpmath.mpf(10) ** -20, mpmath.mpf(0)
        for signs in itertools.product((1, -1), repeat=len(directions)):
            moved = [mpmath.mpf(x) for x in program[0]]
            for sign, i in zip(signs, directions, strict=True):
                moved[i] += sign * h
            total += math.prod(signs) * compute(program, moved, mpmath)[-1]
        return float(total / (2 * h) ** len(directions))


@many
@given(smooth)
def test_gradients_against_central_differences(program):
    tame(program)
    leaves = [Value(x) for x in program[0]]
    root = compute(program, leaves, mg)[-1]
    found, sizes = mg.adjoints(root), magnitudes(root)
    for i, leaf in enumerate(leaves):
        assert abs(found.get(leaf, 0.0) - slope(program, i)) <= 1e-12 * max(1.0, sizes.get(leaf, 0.0)), i


@settings(many, max_examples=100)
@given(smooth)
def test_second_derivatives_against_central_differences(program):
    tame(program)

    def f(*inputs):
        return compute(program, inputs, mg)[-1]

    for i, j in itertools.combinations_with_replacement(range(len(program[0])), 2):
        want = slope(program, i, j)
        for first, second in ((i, j), (j, i)):
            got = mg.grad(mg.grad(f, first), second)(*program[0])
            assert type(got) is float
            assert got == pytest.approx(want, rel=1e-9, abs=1e-9), (first, second)


# ---- programs in the rows themselves, on any numbers

anything = programs(TABLE, st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, -3.0]) | st.floats(-1e3, 1e3))


def graph(program):
    """The leaves of the program and its last node, which is a leaf where all else has no value."""
    leaves = [Value(x) for x in program[0]]

    def apply(name, *operands):
        row = TABLE[name]
        try:
            return row(*operands[: len(row.partials)])
        except DomainError:
            return operands[0]

    return leaves, run(program, leaves, apply)[-1]


@many
@given(anything)
def test_backward_and_adjoints_agree_to_the_bit(program):
    _, root = graph(program)
    try:
        want = mg.adjoints(root)
    except DomainError:
        with pytest.raises(DomainError):
            root.backward()
        assert all(node.grad is None for node in topological_order(root) if node.prim is None)
    else:
        assert all(node.grad is None for node in want)
        root.backward()
        assert set(want) == set(topological_order(root))
        assert {node: node.grad.hex() for node in want} == {node: number.hex() for node, number in want.items()}


@many
@given(anything)
def test_a_second_pass_doubles_the_leaves_and_nothing_else(program):
    leaves, root = graph(program)
    try:
        root.backward()
    except DomainError:
        assume(False)
    first = {node: node.grad for node in topological_order(root)}
    root.backward()
    for node, grad in first.items():
        assert node.grad.hex() == (2.0 * grad if node.prim is None else grad).hex()
    assert {leaf for leaf in leaves if leaf.grad is not None} == {node for node in first if node.prim is None}


def by_recursion(node, seen, order):
    if node not in seen:
        seen.add(node)
        for x in node.inputs:
            by_recursion(x, seen, order)
        order.append(node)
    return order


@many
@given(anything)
def test_the_order_is_that_of_a_depth_first_search_from_the_left(program):
    _, root = graph(program)
    order = topological_order(root)
    position = {node: k for k, node in enumerate(order)}
    assert len(position) == len(order)  # each once
    assert all(position[x] < position[node] for node in order for x in node.inputs)
    assert order[-1] is root
    assert [id(node) for node in order] == [id(node) for node in by_recursion(root, set(), [])]


# ---- kinks: pairs of a number and its derivative, in exact arithmetic

HALF = Fraction(1, 2)
DUAL = {
    "identity": lambda a: a,
    "neg": lambda a: (-a[0], -a[1]),
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[0], a[1] - b[1]),
    "mul": lambda a, b: (a[0] * b[0], a[1] * b[0] + a[0] * b[1]),
    "relu": lambda a: a if a[0] > 0 else (0, 0),
    "greater": lambda a, b: (int(a[0] > b[0]), 0),
    "equal": lambda a, b: (int(a[0] == b[0]), 0),
    "where": lambda c, a, b: a if c[0] else b,
    "maximum": lambda a, b: (a[0], HALF * (a[1] + b[1])) if a[0] == b[0] else max(a, b, key=lambda x: x[0]),
    "minimum": lambda a, b: (a[0], HALF * (a[1] + b[1])) if a[0] == b[0] else min(a, b, key=lambda x: x[0]),
}
kinked = programs(DUAL, st.integers(-2, 2))  # small integers meet at every kink


@settings(many, max_examples=500)
@given(kinked)
def test_kinks_against_exact_dual_numbers(program):
    leaves = [Value(x) for x in program[0]]
    root = run(program, leaves, lambda name, *x: TABLE[name](*x[: len(TABLE[name].partials)]))[-1]
    derivatives = mg.adjoints(root)
    assume(all(abs(number) < 2**30 for number in derivatives.values()))  # below, floats are exact
    for i, leaf in enumerate(leaves):
        duals = run(
            program,
            [(x, Fraction(k == i)) for k, x in enumerate(program[0])],
            lambda name, *x: DUAL[name](*x[: len(TABLE[name].partials)]),
        )
        assume(all(abs(number) < 2**30 for pair in duals for number in pair))
        assert root.data == duals[-1][0]
        assert math.isfinite(root.data)
        assert derivatives.get(leaf, 0.0) == duals[-1][1], i

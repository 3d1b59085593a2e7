"""Random programs under `jit`, `trace` and `vmap`: each way to run one gives what the eager run gives, derivatives too.

A program is a function of numbers, drawn from a seed, with a choice of how it is given them and what it answers. A
failure prints it and its seed::

    pytest tests/test_random_programs.py --graphs 100000
    pytest tests/test_random_programs.py --graph 1234
"""

import itertools
import math
import operator
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pytest
import test_random_tensors
from test_random_tensors import SHARES, Unfit, pytest_generate_tests  # noqa: F401

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.autodiff import pull
from microgad.node import Node
from microgad.order import order_of_all
from microgad.replay.python import ONE_BY_ONE

RTOL = 1e-12  # of the terms that were added up
LARGEST = 1e6  # of these terms
SMALL = 12  # instructions
CALLS = (0, 1)  # of each program: the first is traced, the second replayed with other numbers
SHARES.update({
    "test_random_programs": 2, "test_random_compositions": 6, "test_random_edges": 10, "test_random_surroundings": 40,
    "test_random_trainings": 40,
})  # fmt: skip


class Draw(random.Random):
    def weight(self) -> float:
        return round(self.uniform(-1.5, 1.5), 3)

    def datum(self) -> float:
        return self.choice([0.0, 1.0, *(self.weight() for _ in range(4))])

    def few(self, low: int, high: int) -> int:
        """A number of things, rather a small one."""
        return min(self.randint(low, high), self.randint(low, high))


# ---- what numbers are computed with


OPERATIONS: list[tuple[int, Callable[..., Any]]] = [
    *((1, getattr(mg, name)) for name in (
        "tanh", "sigmoid", "relu", "sin", "cos", "abs", "softplus", "silu", "gelu", "leaky_relu", "elu", "erf", "sign",
        "step")),
    (1, operator.neg), (1, lambda x: x * (x > 0.1)), (1, lambda x: x**2), (1, lambda x: x**3), (1, lambda x: 1.5 - x),
    (1, lambda x: (x * x + 0.3) ** 0.5), (1, lambda x: (x * x + 0.3) ** x), (1, lambda x: mg.exp(x * 0.3)),
    (1, lambda x: mg.log(x * x + 1.0)), (1, lambda x: mg.sqrt(x * x + 0.5)), (1, lambda x: 2.0 / (x * x + 1.0)),
    (1, lambda x: x / 2.0), (1, lambda x: x * 0.5 + 1.0), (1, lambda x: mg.clip(x, -1.0, 1.0)),
    (1, lambda x: mg.where(x > 0.0, x, x * 0.1)),
    (2, operator.add), (2, operator.sub), (2, operator.mul), (2, mg.maximum), (2, mg.minimum),
    (2, lambda a, b: a / (b * b + 1.0)), (2, lambda a, b: a * b + a), (2, lambda a, b: mg.greater(a, b) * a),
    (2, lambda a, b: mg.where(a > b, a, b * 0.5)), (2, lambda a, b: mg.where(a <= b, a, b * 0.5)),
    (2, lambda a, b: mg.where(mg.equal(a, b), a, b)),
    (3, mg.clip), (3, lambda a, b, c: a * b + c),
]  # fmt: skip
ACTIVATIONS = [f for _, f in OPERATIONS[:12]]


def dot(w: Sequence[Any], x: Sequence[Any]) -> Any:
    return sum(a * b for a, b in zip(w, x, strict=True))


def in_pairs(terms: list[Any]) -> Any:
    """A sum that is a tree."""
    while len(terms) > 1:
        terms = [*(a + b for a, b in zip(terms[::2], terms[1::2], strict=False)), *terms[len(terms) // 2 * 2 :]]
    return terms[0]


NEURONS: list[Callable[..., Any]] = [
    lambda w, x, b: sum((a * c for a, c in zip(w, x, strict=True)), b),
    lambda w, x, b: dot(w, x) + b,
    lambda w, x, b: b + dot(x, w),
    lambda w, x, b: dot(w[::-1], x[::-1]) - b,
    lambda w, x, b: reduce(lambda total, pair: total - pair[0] * pair[1], zip(w, x, strict=True), b),
    lambda w, x, b: in_pairs([a * c for a, c in zip(w, x, strict=True)]) + b,
    lambda w, x, b: dot(w, x) + b * 1.0 + 0.0,
    lambda w, x, b: b - w[0] * x[0] + dot(w[1:], x[1:]),
]
TOTALS: list[Callable[[list[Any]], Any]] = [
    sum,
    in_pairs,
    lambda terms: sum(terms) / len(terms),
    lambda terms: sum(terms[::-1]) * (1.0 / len(terms)),
    lambda terms: reduce(lambda total, x: x + total, terms),
    lambda terms: reduce(operator.sub, terms),
]


# ---- functions of parameters p[i] and of rows of data x[i][j]


@dataclass
class Recipe:
    """How many numbers a function takes, and the results that it gives: the last one depends on most of them."""

    parameters: int
    rows: tuple[int, int]
    f: Callable[[Any, Any], list[Any]]


def steps(d: Draw, inputs: int, length: int, among: Any) -> Callable[[Sequence[Any]], list[Any]]:
    """Operations on values chosen at random, many used again and some never, unless they are of `EDGES`."""
    plan = []
    for n in range(inputs, inputs + length):
        arity, f = d.choice(among)
        plan.append((f, [d.randrange(n) if d.random() < 0.5 else n - d.randint(1, min(n, 3)) for _ in range(arity)]))

    def run(values: Sequence[Any]) -> list[Any]:
        values = list(values)
        for f, places in plan:
            values.append(f(*(values[i] for i in places)))
        return [*values, sum(values)] if among is not OPERATIONS else values

    return run


def row(x: Any, i: int, n: int) -> list[Any]:
    return [x[i][j] for j in range(n)]


def irregular(d: Draw, among: Any = OPERATIONS) -> Recipe:
    n, m = d.few(1, 5), d.few(1, 3)
    run = steps(d, n + m, d.few(1, 40), among)

    def f(p: Any, x: Any) -> list[Any]:
        values = run([*row([p], 0, n), *row(x, 0, m)])
        return [*values, sum(values[-3:])]

    return Recipe(n, (1, m), f)


def batch(d: Draw, size: int = 0, among: Any = OPERATIONS) -> Recipe:
    n, m, size = d.few(1, 4), d.few(1, 3), size or d.few(2, 24)
    run, total, decay = steps(d, n + m, d.few(1, 10), among), d.choice(TOTALS), d.choice([0.0, 0.1])

    def f(p: Any, x: Any) -> list[Any]:
        weights = row([p], 0, n)
        losses = [run([*weights, *row(x, i, m)])[-1] for i in range(size)]
        return [*losses, total(losses) + decay * sum(w * w for w in weights)]

    return Recipe(n, (size, m), f)


def perceptron(d: Draw, size: int = 0) -> Recipe:
    sizes = [d.few(1, 4), *(d.few(1, 5) for _ in range(d.few(1, 2))), d.few(1, 3)]
    size, neuron, bend, total = size or d.few(1, 8), d.choice(NEURONS), d.choice(ACTIVATIONS), d.choice(TOTALS)
    decay = d.choice([0.0, 0.01])

    def f(p: Any, x: Any) -> list[Any]:
        layers, place = [], itertools.count()
        for n, m in itertools.pairwise(sizes):
            layers.append([([p[next(place)] for _ in range(n)], p[next(place)]) for _ in range(m)])
        outs = []
        for i in range(size):
            now = row(x, i, sizes[0])
            for layer in layers:
                now = [bend(neuron(w, now, b)) for w, b in layer]
            outs.append(sum(y * y for y in now))
        weights = [w for layer in layers for ws, b in layer for w in (*ws, b)]
        return [*outs, total(outs) + decay * sum(w**2 for w in weights)]

    return Recipe(sum((n + 1) * m for n, m in itertools.pairwise(sizes)), (size, sizes[0]), f)


def convolution(d: Draw) -> Recipe:
    rows, columns = d.choice([(1, d.randint(4, 16)), (d.randint(2, 4), d.randint(3, 5))])
    height, width, filters = d.randint(1, min(rows, 2)), d.randint(2, 3), d.few(1, 3)
    bend, total, step = d.choice(ACTIVATIONS), d.choice(TOTALS), d.choice([1, 1, 2])
    size = height * width

    def f(p: Any, x: Any) -> list[Any]:
        outs = []
        for k, i, j in itertools.product(range(filters), range(rows - height + 1), range(0, columns - width + 1, step)):
            window = [x[i + a][j + b] for a in range(height) for b in range(width)]
            outs.append(bend(dot([p[k * size + a] for a in range(size)], window)))
        return [*outs, total([y * y for y in outs])]

    return Recipe(filters * size, (rows, columns), f)


def recurrent(d: Draw, size: int = 0) -> Recipe:
    n, m, length, sequences = d.few(1, 3), d.few(1, 3), d.few(1, 5), size or d.few(1, 3)
    neuron, start = d.choice(NEURONS), d.choice([0.0, 0.5])

    def f(p: Any, x: Any) -> list[Any]:
        width = n + m + 1
        weights = [[p[i * width + j] for j in range(width)] for i in range(n)]
        ends = []
        for k in range(sequences):
            h = [start] * n
            for t in range(length):
                seen = [*h, *row(x, k * length + t, m)]
                h = [mg.tanh(neuron(w[:-1], seen, w[-1])) for w in weights]
            ends.append(sum(h))
        return [*ends, sum(ends)]

    return Recipe(n * (n + m + 1), (sequences * length, m), f)


def pairwise(d: Draw) -> Recipe:
    n, m, which = d.few(2, 6), d.few(1, 2), d.choice([operator.ne, operator.lt, lambda i, j: True])
    kernels = lambda q, w: mg.exp(-(w * q)), lambda q, w: w / (q + 1.0), lambda q, w: mg.sqrt(q + w * w + 0.1)
    kernel = d.choice(kernels)

    def f(p: Any, x: Any) -> list[Any]:
        found = [
            kernel(sum((x[i][k] - x[j][k]) ** 2 for k in range(m)), p[0])
            for i, j in itertools.product(range(n), range(n))
            if which(i, j)
        ]
        return [*found, sum(found)]

    return Recipe(1, (n, m), f)


def attention(d: Draw) -> Recipe:
    n, m, scale = d.few(2, 4), d.few(1, 3), d.choice([1.0, 0.5])

    def f(p: Any, x: Any) -> list[Any]:
        tokens = [row(x, i, m) for i in range(n)]
        q, k, v = (
            [[dot([p[(which * m + i) * m + j] for j in range(m)], token) for i in range(m)] for token in tokens]
            for which in range(3)
        )
        outs = []
        for i in range(n):
            shares = [mg.exp(dot(q[i], k[j]) * scale) for j in range(n)]
            whole = sum(shares)
            outs += [sum((shares[j] / whole) * v[j][c] for j in range(n)) for c in range(m)]
        return [*outs, sum(y * y for y in outs)]

    return Recipe(3 * m * m, (n, m), f)


def ladder(d: Draw, length: int = 0) -> Recipe:
    """A chain so deep, of rungs that are alike."""
    rung = d.choice([
        lambda y, w, x: (y + y) * 0.5 + w * 0.01,
        lambda y, w, x: mg.tanh(y) + 0.1 * x,
        lambda y, w, x: y * w + x,
        lambda y, w, x: y - 0.1 * (w * y - x) * w,
        lambda y, w, x: y + w,
        lambda y, w, x: y * 1.0 + 0.0,
    ])  # fmt: skip
    length = length or d.randint(2, 60)

    def f(p: Any, x: Any) -> list[Any]:
        ys = [x[0][0]]
        for i in range(length):
            ys.append(rung(ys[-1], p[i % 2], x[0][1]))
        return [ys[1], ys[-1]]

    return Recipe(2, (1, 2), f)


def stencil(d: Draw) -> Recipe:
    """Neighbours in a row, as in Rosenbrock's function."""
    n = d.randint(3, 20)
    term = d.choice([
        lambda w, a, b, c: 10.0 * (b - a**2) ** 2 + (1.0 - a) ** 2,
        lambda w, a, b, c: (a - 2.0 * b + c) ** 2 * w,
        lambda w, a, b, c: mg.relu(a * w - b) * c,
    ])  # fmt: skip

    def f(p: Any, x: Any) -> list[Any]:
        found = [term(p[0], *(x[0][j] for j in range(i, i + 3))) for i in range(n - 2)]
        return [*found, sum(found)]

    return Recipe(1, (1, n), f)


def running(d: Draw) -> Recipe:
    """Sums of which all beginnings count, and sums of different lengths."""
    n, keep = d.randint(3, 14), d.random() < 0.7
    parts = [d.sample(range(n), d.randint(1, n)) for _ in range(d.randint(1, 10))]

    def f(p: Any, x: Any) -> list[Any]:
        terms = [p[i] * x[0][i] for i in range(n)]
        sums = list(itertools.accumulate(terms))
        kept = [mg.tanh(s) for s in sums] if keep else [sums[-1]]
        return [*kept, sum(kept) - sum(mg.sin(sum(terms[i] for i in part)) for part in parts)]

    return Recipe(n, (1, n), f)


def table(d: Draw) -> Recipe:
    """Sums of products of pairs of rows: all pairs, some of them, some twice, or blocks."""
    n, m, k = d.randint(1, 5), d.randint(1, 5), d.randint(1, 4)
    pairs = list(itertools.product(range(n), range(m)))
    chosen = d.randrange(5)
    if chosen == 1:
        d.shuffle(pairs)
    elif chosen == 2:
        pairs = d.sample(pairs, d.randint(1, len(pairs)))
    elif chosen == 3:
        pairs = [d.choice(pairs) for _ in range(len(pairs) + 3)]
    elif chosen == 4:
        pairs = [(i, j) for i, j in pairs if i % 2 == j % 2]
    turned, bend = d.random() < 0.5, d.choice([mg.tanh, mg.relu, lambda x: x])
    biased = d.choice([None, 0, 1])

    def f(p: Any, x: Any) -> list[Any]:
        outs = []
        for i, j in pairs:
            a, b = [p[i * k + c] for c in range(k)], [x[c][j] if turned else x[j][c] for c in range(k)]
            y = dot(a, b) if biased is None else dot(a, b) + p[n * k + (i, j)[biased]]
            outs.append(bend(y))
        return [*outs, sum(y * y for y in outs)]

    return Recipe(n * k + max(n, m), (k, m) if turned else (m, k), f)


def elimination(d: Draw) -> Recipe:
    """Solve linear equations, in the order of the textbook."""
    n = d.randint(2, 4)

    def f(p: Any, x: Any) -> list[Any]:
        a = [[x[i][j] + (4.0 if i == j else 0.0) for j in range(n)] for i in range(n)]
        b = [p[i] * 1.0 for i in range(n)]
        for k in range(n):
            for i in range(k + 1, n):
                share = a[i][k] / a[k][k]
                a[i] = [u - share * v for u, v in zip(a[i], a[k], strict=True)]
                b[i] = b[i] - share * b[k]
        found: list[Any] = []
        for i in reversed(range(n)):
            found.insert(0, (b[i] - sum(a[i][i + 1 + j] * y for j, y in enumerate(found))) / a[i][i])
        return [*found, sum(y * y for y in found)]

    return Recipe(n, (n, n), f)


def still(d: Draw) -> Recipe:
    """Results that are constants, or what was given."""
    last = d.choice([lambda p: p[1], lambda p: p[0] - p[0], lambda p: p[1] * 0.0 + 3.0, lambda p: 3.0])

    def f(p: Any, x: Any) -> list[Any]:
        return [x[0][0], 2.0, p[0] * 1.0, last(p)]

    return Recipe(2, (1, 1), f)


def woven(d: Draw) -> Recipe:
    """Numbers that become an array, and the array numbers, again and again."""
    n, m = d.few(1, 4), d.few(1, 4)
    ways = ("bent", "softmax", "matrix", "pairs", "numbers")
    layers = [(d.choice(ways), d.choice(ACTIVATIONS)) for _ in range(d.few(1, 4))]
    run = steps(d, n, d.few(1, 5), OPERATIONS)
    apart = d.choice([mg.unbind, list, lambda t: [t[i] for i in range(len(t))]])

    def f(p: Any, x: Any) -> list[Any]:
        w = mg.stack([mg.stack(row(x, i, n)) for i in range(m)])
        h = mg.stack(row([p], 0, n))
        for how, bend in layers:
            if how == "bent":
                h = bend(h * x[0][0] - p[0])
            elif how == "softmax":
                h = mg.softmax(h)
            elif how == "matrix":
                h = bend(w @ h) @ w
            elif how == "pairs":
                h = mg.stack([h[i] * h[i - 1] + p[i] for i in range(n)])
            else:
                h = mg.stack(run(apart(h))[-n:])
        return [*apart(h), h.sum()]

    return Recipe(n, (m, n), f)


def arrays(d: Draw) -> Recipe:
    """A graph of the other tests: see `of_arrays`."""
    raise NotImplementedError


FUNCTIONS: list[Callable[[Draw], Recipe]] = [
    *(irregular, irregular, batch, batch, perceptron, perceptron, convolution, recurrent, pairwise, attention, ladder),
    *(stencil, running, table, elimination, woven),
]
KINDS = [*FUNCTIONS, still, woven, arrays, arrays, arrays]


# ---- how a function is given its numbers, and what it answers

Numbers = Any  # a float, or nested lists of floats


def each(f: Callable[[float], Any]) -> Callable[[Numbers], Any]:
    return lambda x: mg.tree_map(f, x)


FORMS: dict[str, Callable[[Numbers], Any]] = {
    "floats": each(float),
    "integers": each(round),
    "Values": each(Value),
    "array": np.array,
    "integer array": lambda x: np.rint(x).astype(int),
    "Tensor": lambda x: Tensor(x, requires_grad=True),
    "constant": Tensor,
    "arrays": lambda x: list(map(np.array, x)),
    "Tensors": lambda x: tuple(Tensor(y, requires_grad=True) for y in x),
    "float32": lambda x: Tensor(np.array(x, np.float32), requires_grad=True),
}
NODES = ("Values", "Tensor", "constant", "Tensors", "float32")
OF_PARAMETERS = (*["Values"] * 6, "floats", "Tensor", "array", "Tensors", "float32")
OF_ROWS = (*["floats"] * 5, *FORMS)
ANSWERS: list[Callable[[list[Any]], Any]] = [
    *[lambda outs: outs[-1]] * 6,
    lambda outs: outs[-3:],
    lambda outs: (outs[-1], outs[0], outs[-1]),
    lambda outs: {"loss": outs[-1], "parts": [*outs[:2], None], "of": "a program"},
    lambda outs: mg.stack(outs[-3:]),
]


@dataclass
class Slot:
    """Some of the numbers of a program: in which form, those of each call, and what is closed over, if it is that."""

    form: str
    numbers: list[Numbers]
    held: Any = None

    def made(self, call: int) -> Any:
        return FORMS[self.form](self.numbers[call])


def plain(x: Any) -> Any:
    return x._value if isinstance(x, Node) else x


def tracked(x: Any) -> Any:
    """A leaf of the arguments as a node that gets a gradient."""
    data = plain(x)
    return Tensor(data, requires_grad=True) if isinstance(data, np.ndarray) else Value(data)


class Program:
    """A function of numbers in slots, and the arguments of each call."""

    whole = True  # nothing cuts gradients off
    traced: Any  # by `drawn`, on the numbers of the first call

    def __init__(self, d: Draw) -> None:
        made = d.choice(KINDS)
        self.kind, self.dead, self.named = made.__name__, d.random() < 0.2, d.random() < 0.1
        self.slots, self.f, answers = of_arrays(d) if made is arrays else of_numbers(d, made(d))
        self.answer = d.choice(answers)
        self.settle()

    def settle(self) -> None:
        if all(slot.held is not None and slot.form not in NODES for slot in self.slots):
            self.slots[0].held = None  # something has to be given
        self.leaves = [x for slot in self.slots for x in mg.tree_leaves(slot.held) if isinstance(x, Node)]
        self.single = any(slot.form == "float32" for slot in self.slots)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = iter([*args, *kwargs.values()])
        outs = self.f(*(next(given) if slot.held is None else slot.held for slot in self.slots))
        if self.dead:
            _ = [mg.exp(x) * 2.0 for x in outs]
        return self.answer(outs)

    def jitted(self) -> Any:
        """What has to give the same."""
        return mg.jit(self)

    def decisions(self, *args: Any, **kwargs: Any) -> Any:
        """A function whose kinks are those of this one."""
        return self(*args, **kwargs)

    def arguments(self, call: int) -> tuple[list[Any], dict[str, Any]]:
        given = [slot.made(call) for slot in self.slots if slot.held is None]
        return ([], dict(zip("abcdef", given, strict=False))) if self.named else (given, {})

    def set(self, call: int) -> None:
        """Give the leaves that are closed over the numbers of a call."""
        for slot in self.slots:
            for leaf, new in zip(mg.tree_leaves(slot.held), mg.tree_leaves(slot.made(call)), strict=False):
                if isinstance(leaf, Node):
                    leaf.data, leaf.grad = plain(new), None


def of_numbers(d: Draw, recipe: Recipe) -> tuple[list[Slot], Callable[..., list[Any]], list[Any]]:
    """Two slots, for parameters and for rows of data."""
    n, m = recipe.rows
    parameters = [[d.weight() for _ in range(recipe.parameters)] for _ in CALLS]
    rows = [[[d.datum() for _ in range(m)] for _ in range(n)] for _ in CALLS]
    slots = [Slot(d.choice(OF_PARAMETERS), parameters), Slot(d.choice(OF_ROWS), rows)]
    for slot, often in zip(slots, (0.7, 0.5), strict=True):
        slot.held = slot.made(0) if d.random() < often else None
    return slots, recipe.f, ANSWERS


def of_arrays(d: Draw) -> tuple[list[Slot], Callable[..., list[Any]], list[Any]]:
    """A graph of Values and Tensors as the other tests draw them, and a slot for each of its leaves."""
    graph = test_random_tensors.drawn(d.randrange(10**9))
    slots, single = [], d.random() < 0.2
    for x, needed, other in zip(graph.leaves, graph.tracked, moved(d, graph), strict=True):
        form = "Values" if type(x) is float else "float32" if single else "Tensor" if needed else "constant"
        slots.append(Slot(form, [x, other]))
        slots[-1].held = slots[-1].made(0) if d.random() < 0.5 else None

    def f(*leaves: Any) -> list[Any]:
        values = graph.run(list(leaves), "ours")
        return [*values, graph.root(values)]

    return slots, f, ANSWERS[:-1]


def moved(d: Draw, graph: test_random_tensors.Program) -> list[Any]:
    """Other numbers for the leaves of a graph, which are as far from the kinks."""
    for size in (1.0, 0.3, 0.1, 0.01):
        leaves = [x + size * d.weight() for x in graph.leaves]
        leaves = [x if type(x) is float else np.asarray(x) for x in leaves]
        values = list(leaves)
        for step in graph.steps:
            operands = [values[x] if isinstance(x, test_random_tensors.Ref) else x for x in step.operands]
            if not test_random_tensors.OPS[step.name].fits(*operands, **step.params):
                break
            values = step.run(values, "numpy")
        else:
            return leaves
    return graph.leaves


def numbers_of(tree: Any) -> list[Any]:
    return [x for x in mg.tree_leaves(tree) if not isinstance(x, str)]


# ---- functions of such functions


def total_of(tree: Any) -> Any:
    """The results of a program as one number."""
    found = numbers_of(tree)
    if len(found) == 1 and not np.shape(plain(found[0])):
        return found[0]
    weights = itertools.cycle([1.0, -0.5, 2.0])
    return sum(w * (x.sum() if np.shape(plain(x)) else x) for w, x in zip(weights, found, strict=False))


def ahead(p: Any) -> Any:
    """A direction in which parameters move."""
    return mg.tree_map(lambda w: 0.5 * w + 0.3, p)


def several(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda p, x: mg.stack([f(p, x), f(p, x) * p[0], p[0] * p[0]])


def twice(f: Callable[..., Any]) -> Callable[..., Any]:
    return mg.grad(lambda p, x: total_of(mg.grad(f)(p, x)))


def inside(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda p, x: f(mg.tree_map(lambda w: 2.0 * w, p), x) * 3.0 + p[0]


Ways = Callable[..., Callable[..., Any]]
TRANSFORMS: dict[str, Ways] = {  # of f(p, x) and of `jit`, which is the identity where nothing is traced
    "jit of jit": lambda f, jit: jit(jit(f)),
    "jit inside": lambda f, jit: inside(jit(f)),
    "jit inside of jit": lambda f, jit: jit(inside(jit(f))),
    "value_and_grad of jit": lambda f, jit: mg.value_and_grad(jit(f)),
    "jit of value_and_grad": lambda f, jit: jit(mg.value_and_grad(f)),
    "jit of value_and_grad of jit": lambda f, jit: jit(mg.value_and_grad(jit(f), (0, 1))),
    "grad twice of jit": lambda f, jit: twice(jit(f)),
    "jit of grad twice": lambda f, jit: jit(twice(f)),
    "grad of jit of grad": lambda f, jit: mg.grad(lambda p, x: total_of(jit(mg.grad(f))(p, x))),
    "hessian of jit": lambda f, jit: mg.hessian(jit(f)),
    "jit of hessian": lambda f, jit: jit(mg.hessian(f)),
    "hessian_diagonal of jit": lambda f, jit: mg.hessian_diagonal(jit(f)),
    "jit of hessian_diagonal": lambda f, jit: jit(mg.hessian_diagonal(f)),
    "jacobian of jit": lambda f, jit: mg.jacobian(jit(several(f))),
    "jit of jacobian": lambda f, jit: jit(mg.jacobian(several(f))),
    "jvp of jit": lambda f, jit: lambda p, x: mg.jvp(lambda q: jit(f)(q, x), (p,), (ahead(p),)),
    "jit of jvp": lambda f, jit: jit(lambda p, x: mg.jvp(lambda q: f(q, x), (p,), (ahead(p),))),
    "hvp of jit": lambda f, jit: lambda p, x: mg.hvp(lambda q: jit(f)(q, x), (p,), (ahead(p),)),
    "jit of hvp": lambda f, jit: jit(lambda p, x: mg.hvp(lambda q: f(q, x), (p,), (ahead(p),))),
    "jit of vjp": lambda f, jit: jit(lambda p, x: mg.vjp(several(f), p, x)[1](np.array([1.0, -0.5, 2.0]))),
    "vjp of jit": lambda f, jit: lambda p, x: mg.vjp(jit(several(f)), p, x)[1](np.array([1.0, -0.5, 2.0])),
}
VMAPS: dict[str, Ways] = {  # of f(p, x) of one example, `jit`, and `vmap`, which is a loop where nothing is traced
    "vmap": lambda f, jit, vmap: vmap(f, (None, 0)),
    "jit of vmap": lambda f, jit, vmap: jit(vmap(f, (None, 0))),
    "vmap of jit": lambda f, jit, vmap: vmap(jit(f), (None, 0)),
    "vmap of grad": lambda f, jit, vmap: vmap(mg.grad(f), (None, 0)),
    "vmap of value_and_grad by the example": lambda f, jit, vmap: vmap(mg.value_and_grad(f, 1), (None, 0)),
    "jit of vmap of grad": lambda f, jit, vmap: jit(vmap(mg.grad(f), (None, 0))),
    "vmap of hessian": lambda f, jit, vmap: vmap(mg.hessian(f), (None, 0)),
    "vmap of jvp": lambda f, jit, vmap: vmap(
        lambda p, x: mg.jvp(lambda q: f(q, x), (p,), (ahead(p),)), (None, 0)),
    "grad of vmap": lambda f, jit, vmap: mg.grad(lambda p, x: (vmap(f, (None, 0))(p, x) ** 2).sum(), (0, 1)),
    "jit of grad of vmap": lambda f, jit, vmap: jit(mg.grad(lambda p, x: vmap(f, (None, 0))(p, x).sum())),
    "vmap of vmap": lambda f, jit, vmap: lambda p, x: vmap(
        lambda a, p, x: vmap(lambda p, b: f(p, b) * a[0], (None, 0))(p, x), (0, None, None))(x, p, x),
    "vmap behind": lambda f, jit, vmap: vmap(several(f), (None, 0), out_axes=1),
    "vmap of columns": lambda f, jit, vmap: lambda p, x: vmap(f, (None, 1))(p, x.T),
    "vmap by the last axis": lambda f, jit, vmap: lambda p, x: vmap(several(f), (None, -1), out_axes=-1)(p, x.T),
    "vmap with a tree of axes": lambda f, jit, vmap: lambda p, x: vmap(
        lambda both: [f(p, both["x"]), both["p"][0]], in_axes=({"x": 0, "p": None},), out_axes=[0, None])(
        {"x": x, "p": p}),
}  # fmt: skip


def loop(f: Callable[..., Any], in_axes: Any, out_axes: Any = 0) -> Callable[..., Any]:
    """What `vmap` does, one example after the other."""

    def size(axis: Any, x: Any) -> int:
        if isinstance(axis, dict):
            return max(size(axis[k], x[k]) for k in axis)
        return 0 if axis is None else plain(x).shape[axis]

    def taken(axis: Any, x: Any, i: int) -> Any:
        if isinstance(axis, dict):
            return {k: taken(axis[k], x[k], i) for k in axis}
        return x if axis is None else x[i] if axis == 0 else x[..., i]

    def placed(axis: Any, outs: list[Any]) -> Any:
        if isinstance(axis, list):
            return [placed(one, [out[k] for out in outs]) for k, one in enumerate(axis)]
        columns = zip(*map(mg.tree_leaves, outs), strict=True)
        leaves = [column[0] if axis is None else mg.stack(list(column), axis) for column in columns]
        return mg.tree_unflatten(mg.tree_structure(outs[0]), leaves)

    def many(*args: Any) -> Any:
        pairs = list(zip(in_axes, args, strict=True))
        return placed(out_axes, [f(*(taken(*pair, i) for pair in pairs)) for i in range(max(size(*p) for p in pairs))])

    return many


class Composition(Program):
    """Transforms, `jit` and `vmap` of one another, of a function of a few numbers."""

    whole = False

    def __init__(self, d: Draw) -> None:
        self.kind = d.choice([*TRANSFORMS, *VMAPS])
        recipe = d.choice(FUNCTIONS)(d)
        while recipe.parameters > 6 or recipe.rows[0] > 1:
            recipe = d.choice(FUNCTIONS)(d)
        examples = d.randint(1, 5) if self.kind in VMAPS else 1
        parameters = [[d.weight() for _ in range(recipe.parameters)] for _ in CALLS]
        rows = [[[d.weight() for _ in range(recipe.rows[1])] for _ in range(examples)] for _ in CALLS]
        forms = ("array", "Tensor") if self.kind in VMAPS else ("floats", "array", "Values", "Tensor")
        self.slots = [Slot(d.choice(("floats", "array", "Values", "Tensor", "Tensors")), parameters)]
        self.slots.append(Slot(d.choice(forms), rows))
        self.named = False
        self.settle()
        self.one = lambda p, x: recipe.f(p, [x])[-1]

    def __call__(self, p: Any, x: Any) -> Any:
        return self.made(lambda f: f, loop)(p, x)

    def made(self, jit: Any, vmap: Any) -> Callable[..., Any]:
        """What the ways make of the function."""
        if self.kind in VMAPS:
            return VMAPS[self.kind](self.one, jit, vmap)
        return TRANSFORMS[self.kind](lambda p, x: self.one(p, x[0]), jit)

    def jitted(self) -> Any:
        return self.made(mg.jit, mg.vmap)

    def decisions(self, p: Any, x: Any) -> Any:
        return [self.one(p, x[i]) for i in range(len(x))]


# ---- how exact a result can be

SUMS = {"sum", "mean", "sum_to", "broadcast_to", "reshape", "transpose", "index", "scatter", "item", "cast", "stack",
        "concatenate"}  # fmt: skip
PRODUCTS = {"matmul", "linear"}
LOGARITHMS = {"log_softmax", "logsumexp", "cross_entropy"}  # as exact as 1 is
CONSTANT = {"data", "detach"}


def magnitudes(roots: Sequence[Node]) -> dict[Node, Any]:
    """For each node its size plus |derivative| times the magnitude of each operand: of all that was added up below it.

    Each operation is off by a few units in the last place of its result, and derivatives carry that on; so rounding,
    in whatever order sums are taken, is relative to this number. That of a gradient is the one over its own graph.
    """
    found: dict[Node, Any] = {}
    for node in order_of_all(roots):
        size, row, out = abs(node._value), node.prim, node._value
        operands = node.operands
        args = [plain(x) for x in operands]
        if row is None:
            pass
        elif row.name in SUMS:
            size = size + row.array(*[abs(x) if type(x) is float else found[x] for x in operands], **row.params)
        elif row.partials:
            for x, rule in zip(operands, row.partials, strict=True):
                if type(x) is not float:
                    local = rule if type(rule) is float else rule(out, *args)
                    size = size + found[x] * (1.0 if row.name in CONSTANT else abs(local))
                elif row.name in ("add", "sub"):
                    size = size + abs(x)
        else:
            for i, x in enumerate(operands):
                of = abs(x) if type(x) is float else found[x]
                if row.name in PRODUCTS:
                    size = size + row.jvp[i](of, out, *map(np.abs, args), **row.params)
                    continue
                for place in np.ndindex(np.shape(of)):
                    way = np.zeros(np.shape(of))
                    way[place] = of[place] if place else of
                    size = size + abs(row.jvp[i](way, out, *args, **row.params))
            size = size + float(row.name in LOGARITHMS)
        found[node] = size
    return found


def exact(x: Any) -> bool:
    """Whether a number was given, and is none that was rounded."""
    if type(x) is float or x.prim is None:
        return True
    return x.prim.name in SUMS - {"sum"} | CONSTANT and all(map(exact, x.operands))


def undecided(roots: Sequence[Node], near: float) -> bool:
    """Whether rounding, of so much, decides on which side of a kink a number is."""
    sizes = magnitudes(roots)
    for node in sizes:
        name, operands = node.prim and node.prim.name, node.operands
        if name in ("relu", "abs", "sign", "step", "leaky_relu", "elu"):
            pairs = [(operands[0], 0.0)]
        elif name in ("maximum", "minimum", "greater", "equal", "clip"):
            pairs = list(itertools.combinations(operands, 2))
        else:
            continue
        for a, b in pairs:
            size = sum(abs(x) if type(x) is float else sizes[x] for x in (a, b))
            close = abs(plain(a) - plain(b)) <= near * size
            if np.any(close & (np.asarray(size) > 0.0)) and not (exact(a) and exact(b)):
                return True
    return False


class Exact(NamedTuple):
    """A number or an array of the eager run, and how far off another one may be."""

    data: Any
    off: Any


class Reference:
    """The eager run of a call, with derivatives by all that is given or closed over."""

    def __init__(self, program: Program, call: int) -> None:
        args, kwargs = mg.tree_map(tracked, program.arguments(call))
        arguments, leaves = mg.tree_leaves((args, kwargs)), program.leaves
        rtol = RTOL * 2.0**29 if program.single else RTOL
        with all_tracked(leaves):
            values = numbers_of(out := program(*args, **kwargs))
            root = total_of(out)
            found = pull(order_of_all([root]), trace=True) if isinstance(root, Node) else {}
        slopes = {x: found.get(x, np.zeros(np.shape(plain(x)))) for x in (*arguments, *leaves)}
        sizes = magnitudes([x for x in (*values, root, *slopes.values()) if isinstance(x, Node)])

        def made(x: Any) -> Exact:
            size = sizes[x] if isinstance(x, Node) else np.abs(x)
            if not (np.isfinite(plain(x)).all() and np.all(size < LARGEST)):
                raise Unfit
            return Exact(plain(x), rtol * np.asarray(size))

        self.values, self.root = list(map(made, values)), made(root)
        self.arguments, self.leaves = ([made(slopes[x]) for x in some] for some in (arguments, leaves))


@contextmanager
def all_tracked(leaves: Sequence[Any]) -> Iterator[None]:
    """Let constants among leaves get gradients, too."""
    still = [x for x in leaves if not x.requires_grad]
    for x in still:
        x.requires_grad = True
    yield
    for x in still:
        x.requires_grad = False


def drawn(seed: int, kind: type[Program] = Program) -> tuple[Program, list[Reference]]:
    """A program, and the eager run of each call, on numbers whose rounding decides nothing."""
    for again in itertools.count():
        program, references = kind(Draw(seed + again * 1_000_000_007)), []
        try:
            for call in CALLS:
                program.set(call)
                references.append(Reference(program, call))
                args, kwargs = program.arguments(call)
                traced = mg.trace(program.decisions, *args, **kwargs)
                if call == CALLS[0]:
                    program.traced = traced
                if undecided([x for x in traced.graph() if isinstance(x, Node)], 1e-5 if program.single else 1e-9):
                    raise Unfit
        except (Unfit, mg.errors.DomainError, OverflowError, RuntimeWarning):
            continue
        return program, references
    raise AssertionError


# ---- what has to hold


def close(got: Any, want: Exact, what: str) -> None:
    got, data = np.asarray(plain(got)), np.asarray(want.data)
    assert got.shape == data.shape, f"{what}: shape {got.shape}, not {data.shape}"
    assert np.all(np.abs(got - data) <= want.off), f"{what}: {got.tolist()}, not {data.tolist()}"


def kind_of(x: Any) -> Any:
    if isinstance(x, Tensor) or np.ndim(plain(x)):
        return type(x), x.shape, x.dtype
    return type(x) if isinstance(x, Node) else x if isinstance(x, str) else float


def gradients(out: Any, leaves: Sequence[Any]) -> list[Any]:
    """What a backward pass leaves in leaves."""
    for x in leaves:
        x.grad = None
    root = total_of(out)
    if isinstance(root, Node) and root.requires_grad:
        root.backward()
    return [x.grad for x in leaves]


def check_calls(program: Program, references: Sequence[Reference]) -> Any:
    """Calls give what the function itself gives, and what they gave stays as it is in later ones."""
    jitted, kept = program.jitted(), []
    for call, reference in zip(CALLS, references, strict=True):
        program.set(call)
        found = []
        for f, said in ((program, "the function itself"), (jitted, "jit")):
            args, kwargs = program.arguments(call)
            given, out = mg.tree_leaves((args, kwargs)), f(*args, **kwargs)
            for got, want in zip(numbers_of(out), reference.values, strict=True):
                close(got, want, f"call {call} of {said}")
            wanted = [(x, slope) for x, slope in zip(given, reference.arguments, strict=True) if isinstance(x, Node)]
            wanted += zip(program.leaves, reference.leaves, strict=True)
            slopes = gradients(out, [x for x, _ in wanted])
            for got, (x, want) in zip(slopes, wanted, strict=True):
                if got is not None:
                    close(got, want, f"gradient of call {call} of {said}")
                elif program.whole and x.requires_grad:
                    assert not np.any(want.data), f"no gradient of call {call} of {said}"
            kinds = [kind_of(x) for x in mg.tree_leaves(out)]
            none = [x is None for x in slopes[len(slopes) - len(program.leaves) :]]
            found.append((mg.tree_structure(out), kinds, none))
        assert found[1] == found[0], "structures, kinds, and which leaves get no gradient"
        kept += [(x, np.copy(x)) for x in (*map(plain, numbers_of(out)), *slopes) if x is not None]
    assert all(np.array_equal(x, before) for x, before in kept), "a later call changes a result or a gradient"
    return jitted


def executor(jitted: Any) -> str:
    """How a function runs that was traced once."""
    said = jitted.explain()
    assert "traced once" in said
    assert "in the function itself" not in said
    return "Python" if "straight-line Python" in said else "regrouped" if "became" in said else "arrays"


class Call(NamedTuple):
    """The arguments of a call, and what is expected."""

    args: list[Any]
    kwargs: dict[str, Any]
    reference: Reference

    def inputs(self, program: Program, form: Any) -> list[tuple[Any, Exact]]:
        """What a traced program is given, and the derivative by each: the arguments, then what it closes over."""
        by = dict(zip(program.leaves, self.reference.leaves, strict=True))
        given = list(zip(mg.tree_leaves((self.args, self.kwargs)), self.reference.arguments, strict=True))
        given += [(x.node, by[x.node]) for x in form._inputs[len(given) :]]
        return [(plain(x), slope) for x, slope in given]


def calls(program: Program, references: Sequence[Reference]) -> Iterator[Call]:
    for k, reference in zip(CALLS, references, strict=True):
        program.set(k)
        yield Call(*program.arguments(k), reference)


def check_values(form: Any, program: Program, references: Sequence[Reference]) -> None:
    for call in calls(program, references):
        for got, want in zip(numbers_of(form(*call.args, **call.kwargs)), call.reference.values, strict=True):
            close(got, want, "a program")


def check_slopes(form: Any, program: Program, references: Sequence[Reference]) -> None:
    for call in calls(program, references):
        wanted = [slope for _, slope in call.inputs(program, form)]
        for got, want in zip(mg.tree_leaves(form(*call.args, **call.kwargs)), wanted, strict=True):
            close(got, want, "a program of derivatives")


def check_text(form: Any, program: Program, references: Sequence[Reference]) -> None:
    """A function in Python that needs nothing of ours gives the number, and the derivatives by all that it is given."""
    source, space = form.to_python(), dict[str, Any]()
    assert "microgad" not in source
    exec(source, space)
    *_, function = space.values()
    for call in calls(program, references):
        given = call.inputs(program, form)
        sources = form._sources or range(len(given))
        inputs = [joined([given[i] for i in x]) if isinstance(x, list) else given[x] for x in sources]
        pairs = list(zip(form.tape.inputs, inputs, strict=True))
        single = [x for one, x in pairs if one.node is not None and one.type is None]
        rest = [x for one, x in pairs if one.node is not None and one.type is not None]
        inputs = [x for one, x in pairs if one.node is None]
        alone = len(single) <= ONE_BY_ONE
        inputs += [x for one, x in pairs if one.node is not None] if alone else [*rest, joined(single)]
        with np.errstate(all="ignore"):
            out = function(*(x for x, _ in inputs))
        wanted = [slope for _, slope in inputs]
        value, slopes = out if wanted else (out, ())
        close(value, call.reference.root, "a text")
        for got, want in zip(slopes if len(wanted) != 1 else [slopes], wanted, strict=True):
            close(got, want, "derivative in a text")


def joined(given: list[tuple[Any, Exact]]) -> tuple[Any, Exact]:
    """Several numbers as one array."""
    data, slopes = zip(*given, strict=True)
    return np.array(data), Exact(*(np.array([x[k] for x in slopes]) for k in (0, 1)))


WAYS: list[tuple[Callable[..., None], Callable[[Any], Any]]] = [  # a check, and the program that it is of
    (check_values, lambda of_all: of_all),
    (check_slopes, lambda of_one: of_one.gradient()),
    (check_text, lambda of_one: of_one.regrouped()),
    (check_values, lambda of_all: of_all.regrouped()),
    (check_slopes, lambda of_one: of_one.gradient().regrouped()),
    (check_text, lambda of_one: of_one),
    (check_slopes, lambda of_one: of_one.regrouped().gradient()),
]


def check_trace(program: Program, references: Sequence[Reference], seed: int) -> None:
    """What is traced, in all its forms; of a large program in one form of three."""
    program.set(0)
    args, kwargs = program.arguments(0)
    of_all = program.traced
    of_one = mg.trace(lambda *args, **kwargs: total_of(program(*args, **kwargs)), *args, **kwargs)
    for k, (check, made) in enumerate(WAYS):
        of = of_all if check is check_values else of_one
        if of.outputs and (len(of) <= SMALL or k % 3 == seed % 3):
            check(made(of), program, references)


def each_of(seeds: Any, check: Callable[[int], Any], shown: Callable[[int], str] = str) -> None:
    test_random_tensors.each_of(seeds, check, shown, "test_random_programs")


def shown(seed: int, kind: type[Program] = Program) -> str:
    program, _ = drawn(seed, kind)
    program.set(0)
    args, kwargs = program.arguments(0)
    forms = ", ".join(f"{slot.form}{' closed over' if slot.held is not None else ''}" for slot in program.slots)
    return f"program {seed}, {program.kind} of {forms}\n{mg.trace(program.decisions, *args, **kwargs)}"


def test_random_programs(seeds):
    """Of every hundred some are regrouped and some are plain Python."""
    met = Counter[str]()

    def check(seed: int) -> None:
        program, references = drawn(seed)
        met[executor(check_calls(program, references))] += 1
        check_trace(program, references, seed)

    each_of(seeds, check, shown)
    assert len(seeds) < 50 or min(met["Python"], met["regrouped"]) > 3, met


def test_random_compositions(seeds):
    each_of(seeds, lambda seed: check_calls(*drawn(seed, Composition)), lambda seed: shown(seed, Composition))


def test_what_once_failed():
    """Seeds from longer runs, one for each cause."""
    for seed in (1868, 2026, 3221, 6257):
        check_trace(*drawn(seed), seed)
        check_calls(*drawn(seed))
    for seed in (440, 549, 570, 1087):
        check_calls(*drawn(seed, Composition))


# ---- where there is no number, or no finite one

EDGES: list[tuple[int, Callable[..., Any]]] = [
    (1, mg.log), (1, mg.sqrt), (1, lambda x: mg.exp(x * 400.0)), (1, lambda x: 1.0 / x), (1, lambda x: x**-1),
    (1, lambda x: x**0.5), (1, lambda x: mg.where(x > 0.0, mg.log(x), x)),
    (2, operator.truediv), (2, operator.pow), (2, lambda a, b: a * (b > 0.0)),
]  # fmt: skip
PLAINER = {"floats": "Values", "integers": "Values", "float32": "Tensor", "integer array": "array"}
SPECIAL = (0.0, -0.0, 1.0, -2.0, math.inf, -math.inf, math.nan)
EXACT = 1e-9  # by which the numbers of a call are moved, to see how much comes of it


class Edge(Program):
    """A program with operations that are not defined everywhere, or with numbers that are not finite."""

    def __init__(self, d: Draw) -> None:
        made, which = d.choice([irregular, batch, arrays]), [*OPERATIONS, *EDGES * d.randrange(3)]
        self.slots, self.f, _ = of_arrays(d) if made is arrays else of_numbers(d, made(d, among=which))
        self.kind, self.dead, self.named = made.__name__, False, False
        self.answer = list if made is arrays else d.choice(ANSWERS[:-1])  # all of it, for what is not needed may fail
        often = d.choice([0.0, 0.05, 0.3])
        for slot in self.slots:
            slot.form = PLAINER.get(slot.form, slot.form)
            slot.numbers = [strange(d, x, often) for x in slot.numbers]
            slot.held = None if slot.held is None else slot.made(0)
        self.settle()


def strange(d: Draw, x: Any, often: float) -> Any:
    """Numbers, some of which are others."""
    if isinstance(x, list):
        return [strange(d, y, often) for y in x]
    if isinstance(x, np.ndarray):
        return np.array([strange(d, float(y), often) for y in x.flat]).reshape(x.shape)
    return d.choice(SPECIAL) if d.random() < often else x


def outcome(program: Edge, f: Any, call: int, by: float = 0.0) -> list[Any]:
    """The numbers that a call and its reverse pass give, and the class of the error that ends it, if one does."""
    program.set(call)
    args, kwargs = program.arguments(call)
    found: list[Any] = []
    nodes = [x for x in (*mg.tree_leaves((args, kwargs)), *program.leaves) if isinstance(x, Node)]
    for x in nodes:
        x.data = x.data * (1.0 + by)
    args = [x * (1.0 + by) if isinstance(x, np.ndarray) else x for x in args]
    with np.errstate(all="ignore"):
        try:
            out = f(*args, **kwargs)
            found += [plain(x) for x in numbers_of(out)]
            slopes = gradients(out, nodes)
            found += [0.0 if x is None else np.where(np.isfinite(x), x, np.nan) for x in slopes]
        except mg.errors.InputError:  # losses look at their targets
            raise Unfit from None
        except (mg.errors.MicrogadError, ArithmeticError, ValueError) as error:
            found.append(type(error))
    return found


def alike(got: Any, want: Any, off: Any) -> bool:
    """Whether two outcomes are the same error, or have nan and the infinities at the same places."""
    if isinstance(got, type) or isinstance(want, type):
        return got is want
    got, want = np.asarray(got), np.asarray(want)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        return bool(got.shape == want.shape and np.all(same | (np.abs(got - want) <= off)))


def spread(outcomes: list[list[Any]]) -> list[Any]:
    """How far each number is from those of numbers nearby, which have to be of its kind."""
    found = []
    for some in itertools.zip_longest(*outcomes):
        if any(isinstance(x, type) or x is None for x in some):
            if len(set(map(id, some))) > 1:
                raise Unfit
            found.append(0.0)
            continue
        with np.errstate(all="ignore"):
            off = np.max([np.abs(np.subtract(x, some[0])) for x in some], axis=0)
            known = np.isfinite(some[0])
        if any(not np.array_equal(known, np.isfinite(x)) or not alike(x, some[0], np.inf) for x in some):
            raise Unfit
        found.append(np.where(known, off, 0.0) * 1e-3 + np.where(known, 1e-12 * np.abs(some[0]), 0.0))
    return found


def check_edges(seed: int) -> str:
    """It says how the function ends in the last call."""
    for again in range(100):
        program = Edge(Draw(seed + again * 1_000_000_007))
        try:
            runs = [[outcome(program, program, call, by) for by in (0.0, EXACT, -EXACT)] for call in CALLS]
            offs = list(map(spread, runs))
        except (Unfit, OverflowError):
            continue
        jitted = mg.jit(program)
        for call in CALLS:
            got, want = outcome(program, jitted, call), runs[call][0]
            if len(got) > len(want) > 1 and isinstance(want[-1], type):  # a derivative that meets a factor 0 only
                assert np.isfinite(np.concatenate([np.ravel(x) for x in got[len(want) - 1 :]])).all()
                got[len(want) - 1 :] = want[-1:]
            assert len(got) == len(want), f"call {call}: {got}, not {want}"
            for x, y, off in zip(got, want, offs[call], strict=True):
                assert alike(x, y, off), f"call {call}: {x}, not {y}"
        failed = any(isinstance(x, type) for x in want)
        return "error" if failed else "finite" if all(np.isfinite(x).all() for x in want) else "not finite"
    raise AssertionError


def test_random_edges(seeds):
    met = Counter[str]()
    each_of(seeds, lambda seed: met.update([check_edges(seed)]))
    assert len(seeds) < 50 or min(met[x] for x in ("error", "finite", "not finite")) > 5, met


# ---- what is around a function, and changes


def test_random_surroundings(seeds):
    """A program is that of the names, the structure and the shapes of this call, and is used again when they are."""
    each_of(seeds, check_surroundings)


def check_surroundings(seed: int) -> None:
    d = Draw(seed)
    w = [Value(d.weight()) for _ in range(4)]
    layers, flag, scale, bend, bias = 1, True, 0.5, mg.tanh, None

    def inner(h: Any, x: Any) -> Any:
        return bend(h * w[0] + x) * scale

    def f(xs: Any, more: Any = (), *, power: int = 2, mode: str = "sum") -> Any:
        leaves = [x.sum() if np.ndim(plain(x)) else x for x in numbers_of((xs, more))]
        h = sum(leaves) if flag else leaves[-1] - leaves[0]
        for k in range(layers):
            h = inner(h, w[k])
        h = h if bias is None else h + bias
        return h**power if mode == "sum" else {"mean": h / len(leaves), "scale": scale}

    jitted, before, last = mg.jit(f, static_argnames=("power", "mode")), None, ""
    made: list[Callable[[int], Any]] = [
        lambda n: [d.weight() for _ in range(n)],
        lambda n: np.array([d.weight() for _ in range(n)]),
        lambda n: {"a": d.weight(), "b": [Value(d.weight()) for _ in range(n)]},
        lambda n: Tensor([[d.weight() for _ in range(n)]]),
        lambda n: (None, d.weight(), d.choice(["text", "other"])),
    ]
    n, which, more, kwargs = 2, 0, False, dict[str, Any]()
    for _ in range(12):
        change = d.randrange(11)
        layers = d.randint(0, 3) if change == 0 else layers
        flag = not flag if change == 1 else flag
        scale = d.weight() if change == 2 else scale
        bend = d.choice([mg.tanh, mg.sin, lambda x: x]) if change == 3 else bend
        bias = d.choice([None, 0.25, Value(0.75)]) if change == 4 else bias
        if change == 5:
            n, which, more = d.randint(1, 3), d.randrange(len(made)), d.random() < 0.5
        if change == 6:
            kwargs = {"power": d.randint(1, 3), "mode": d.choice(["sum", "mean"])}
        for x in w:
            x.data = d.weight()
        state = d.getstate()
        outs = []
        for g in (f, jitted):
            d.setstate(state)
            outs.append(g(made[which](n), *[made[1](n)] * more, **kwargs))
        for got, want in zip(map(plain, mg.tree_leaves(outs[1])), map(plain, mg.tree_leaves(outs[0])), strict=True):
            assert got == pytest.approx(want, rel=1e-12, abs=1e-12)
        assert mg.tree_structure(outs[1]) == mg.tree_structure(outs[0])
        traces = jitted.explain().partition("\n")[0]  # how often it was
        now = (layers, flag, scale, bend, id(bias), n, which, more, str(kwargs))
        if now == before and which != 4:  # text is a part of the structure
            assert traces == last, "nothing has changed, and it is traced again"
        before, last = now, traces


# ---- training


def test_random_trainings(seeds):
    """Losses are those of the same training without jit, step by step."""
    each_of(seeds, check_training)


LOSSES: list[Callable[[Any, Any, Any], Any]] = [
    lambda out, y, t: nn.mse_loss(out[:, 0], y),
    lambda out, y, t: nn.cross_entropy(out, t),
    lambda out, y, t: mg.relu(1.0 - out[:, 0] * y).mean(),
    lambda out, y, t: sum((out[i] * y[i] - out[i - 1]) ** 2 @ np.ones(len(out[i])) for i in range(len(y))),
]
MODULES: list[Callable[[Draw, int, int], Any]] = [
    lambda d, n, m: nn.Linear(n, m),
    lambda d, n, m: nn.Sequential(nn.Linear(n, 3), d.choice([nn.Tanh, nn.ReLU, nn.GELU])(), nn.Linear(3, m)),
    lambda d, n, m: nn.MLP(n, [4, m], activation=d.choice(["relu", "tanh"])),
    lambda d, n, m: nn.Sequential(nn.Linear(n, 4), nn.LayerNorm(4), nn.Linear(4, m)),
    lambda d, n, m: nn.scalar.MLP(n, [3, m]),
]
OPTIMIZERS: list[Callable[[Any], Any]] = [
    lambda p: nn.optim.SGD(p, lr=0.1),
    lambda p: nn.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    lambda p: nn.optim.Adam(p, lr=0.05),
    lambda p: nn.optim.RMSprop(p, lr=0.01),
    lambda p: nn.optim.AdamW(p, lr=0.05),
]


def check_training(seed: int) -> None:
    d = Draw(seed)
    n, m, size = d.randint(1, 3), d.randint(2, 3), d.randint(2, 6)
    module, optimizer, loss, way = d.choice(MODULES), d.choice(OPTIMIZERS), d.choice(LOSSES), d.randrange(4)
    batches = [
        (np.array([[d.weight() for _ in range(n)] for _ in range(size)]),
         np.array([d.choice([-1.0, 1.0]) for _ in range(size)]), np.array([d.randrange(m) for _ in range(size)]))
        for _ in range(6)
    ]  # fmt: skip
    state = d.getstate()

    def trained(jit: Callable[..., Any], vmap: Callable[..., Any]) -> list[float]:
        d.setstate(state)
        mg.manual_seed(seed)
        model = module(d, n, m)
        steps = optimizer(model.parameters())
        scalar = module is MODULES[-1]
        run = jit(model) if way == 0 else model
        many = (lambda x: mg.stack([mg.stack(run(row)) for row in x])) if scalar else run
        if way == 1:
            many = vmap((lambda row: mg.stack(model(row))) if scalar else model)
        whole = jit(lambda x, y, t: loss(many(x), y, t)) if way > 1 else lambda x, y, t: loss(many(x), y, t)
        losses = []
        for batch in batches:
            steps.zero_grad()
            out = whole(*batch)
            out.backward()
            steps.step()
            losses.append(float(plain(out)))
        return [*losses, *(float(y) for x in model.parameters() for y in np.ravel(plain(x)))]

    want = trained(lambda f: f, lambda f: lambda x: mg.stack([f(row) for row in x]))
    assert trained(mg.jit, mg.vmap) == pytest.approx(want, rel=1e-8, abs=1e-10)


# ---- how large programs are

SIZES = (6, 12, 18)


def traced(made: Any, seed: int, size: int) -> Any:
    recipe = made(Draw(seed), size)
    p = [Value(0.1 * i) for i in range(recipe.parameters)]
    x = [[0.3 * i - 0.2 * j for j in range(recipe.rows[1])] for i in range(recipe.rows[0])]
    return mg.trace(lambda x: recipe.f(p, x)[-1], x)


@pytest.mark.parametrize("made", [batch, perceptron, recurrent, ladder], ids=lambda made: made.__name__)
def test_a_program_grows_with_the_examples_and_no_faster(made):
    for seed in range(6):
        programs = [traced(made, seed, size) for size in SIZES]
        for form in (len, lambda program: len(program.gradient()), lambda program: program.to_python().count("\n")):
            first, second, third = map(form, programs)
            assert third - second == second - first, f"seed {seed}: {first}, {second}, {third}"


@pytest.mark.parametrize("made", [batch, perceptron, recurrent], ids=lambda made: made.__name__)
def test_a_regrouped_program_does_not_grow_with_the_examples(made, monkeypatch):
    monkeypatch.setitem(globals(), "TOTALS", [TOTALS[0], *TOTALS[2:4]])
    for seed in range(6):
        programs = [traced(made, seed, size).regrouped() for size in SIZES]
        for form in (len, lambda program: len(program.gradient()), lambda program: program.to_python().count("\n")):
            found = list(map(form, programs))
            assert max(found) - min(found) <= 2, f"seed {seed}: {found}"  # rounding decides whether 6 * (1 / 6) is 1

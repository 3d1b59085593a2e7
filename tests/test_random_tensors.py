"""Random graphs of numbers and arrays, whose nodes are used again and again: all ways to a derivative agree.

A program is a list of steps, drawn from a seed. It runs on plain NumPy, on nodes, and on PyTorch where that is
installed. A failure prints the program and its seed::

    pytest tests/test_random_tensors.py --graphs 100000
    pytest tests/test_random_tensors.py --graph 1234
"""

import math
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn, primitives
from microgad.order import topological_order
from microgad.primitive import Primitive
from microgad.structural import ROWS

torch: Any = None  # loaded by the test that needs it
BLOCK = 100  # graphs in one test
LARGEST, WIDEST, LONGEST = 20.0, 48, 16  # of a number, an array, a program
MARGIN = 2e-3  # from kinks, unless a number is there exactly: else a difference of gradients would cross it


class Ref(int):
    """A value of the program, by its place."""

    def __repr__(self) -> str:
        return f"v{int(self)}"


class Unfit(Exception):  # noqa: N818
    """No such step can be drawn here: draw another one."""


@dataclass
class Op:
    """An operation three times over, and how a step with it is drawn: operands and parameters."""

    draw: Callable[..., tuple[list[Any], dict[str, Any]]]
    numpy: Callable[..., Any]
    ours: Callable[..., Any]
    torch: Callable[..., Any]
    fits: Callable[..., Any] = lambda *operands, **params: True


@dataclass
class Step:
    name: str
    operands: list[Any]
    params: dict[str, Any]

    def run(self, values: list[Any], column: str) -> list[Any]:
        """The values after this step: one more, or as many as an array is taken apart into."""
        operands = [values[x] if isinstance(x, Ref) else x for x in self.operands]
        if column == "torch":
            operands = [tensor(x) for x in operands]
        out = getattr(OPS[self.name], column)(*operands, **self.params)
        if column == "numpy":
            plain = all(isinstance(x, (float, int, type(None))) for x in operands) and self.name in NUMBERS
            out = out if isinstance(out, tuple) else float(out) if plain else np.asarray(out, float)
        return [*values, *(out if isinstance(out, tuple) else [out])]


@dataclass
class Program:
    """Leaves, of which some need a gradient, steps, and weights of the last values in the result."""

    seed: int
    leaves: list[Any]  # a float for a Value, an array for a Tensor
    tracked: list[bool]
    steps: list[Step]
    weights: list[float]
    values: list[Any]  # by NumPy

    def __str__(self) -> str:
        lines = [f"graph {self.seed}"]
        for i, (x, tracked) in enumerate(zip(self.leaves, self.tracked, strict=True)):
            kind = f"Value({x!r})" if type(x) is float else f"Tensor({x.tolist()}, requires_grad={tracked})"
            lines.append(f"  v{i} = {kind}")
        values = self.leaves
        for step in self.steps:
            n, values = len(values), step.run(values, "numpy")
            names = ", ".join(f"v{i}" for i in range(n, len(values)))
            said = [x.tolist() if isinstance(x, np.ndarray) else x for x in step.operands]
            given = ", ".join([*map(repr, said), *(f"{key}={x!r}" for key, x in step.params.items())])
            lines.append(f"  {names} = {step.name}({given})  # {[np.shape(x) for x in values[n:]]}")
        ends = range(len(values) - len(self.weights), len(values))
        lines.append("  " + " + ".join(f"{w} * v{i}.sum()" for w, i in zip(self.weights, ends, strict=True)))
        return "\n".join(lines)

    def run(self, leaves: list[Any], column: str) -> list[Any]:
        values = list(leaves)
        for step in self.steps:
            values = step.run(values, column)
        return values

    def root(self, values: list[Any]) -> Any:
        """One number from the last values."""
        ends = values[-len(self.weights) :]
        return sum(w * (x.sum() if hasattr(x, "sum") else x) for w, x in zip(self.weights, ends, strict=True))

    def of_tracked(self, numbers: list[Any]) -> Any:
        """The result as a function of the leaves that need a gradient; the others are constants."""
        rest = iter(numbers)
        leaves = [next(rest) if tracked else Tensor(x) for x, tracked in zip(self.leaves, self.tracked, strict=True)]
        return self.root(self.run(leaves, "ours"))


def tensor(x: Any) -> Any:
    return torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x


# ---- how steps are drawn


class Draw(random.Random):
    def value(self, values: list[Any], good: Callable[[Any], Any] = lambda x: True) -> Ref:
        """One of the values, rather a late one."""
        places = [i for i, x in enumerate(values) if good(x)]
        if not places:
            raise Unfit
        return Ref(self.choice(places[-4:] if self.random() < 0.5 else places))

    def array(self, values: list[Any], axes: int = 0) -> Ref:
        return self.value(values, lambda x: type(x) is not float and x.ndim >= axes)

    def number(self) -> float:
        return round(self.uniform(-2.0, 2.0), 3)

    def numbers(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.array([self.number() for _ in range(math.prod(shape))]).reshape(shape)

    def axes(self, x: Any) -> Any:
        """One axis, several, or None for all."""
        if not np.ndim(x) or self.random() < 0.25:
            return None
        if self.random() < 0.6:
            return self.randrange(-x.ndim, x.ndim)
        return tuple(sorted(self.sample(range(x.ndim), self.randint(1, x.ndim))))


def unary(d: Draw, values: list[Any]) -> Any:
    return [d.value(values)], {}


def fits_together(*shapes: tuple[int, ...]) -> bool:
    try:
        return math.prod(np.broadcast_shapes(*shapes)) <= WIDEST
    except ValueError:
        return False


def beside(d: Draw, values: list[Any], shape: tuple[int, ...], plain: bool) -> Any:
    """An operand that broadcasts with a shape: another value, a number, or an array unless all else is plain."""
    if d.random() < 0.7:
        return d.value(values, lambda x: fits_together(shape, np.shape(x)))
    if plain or d.random() < 0.5:
        return d.number()
    kept = shape[d.randint(0, len(shape)) :]
    return d.numbers(tuple(1 if d.random() < 0.3 else n for n in kept))


def binary(d: Draw, values: list[Any]) -> Any:
    a = d.value(values)
    pair = [a, beside(d, values, np.shape(values[a]), type(values[a]) is float)]
    d.shuffle(pair)
    return pair, {}


def choice(d: Draw, values: list[Any]) -> Any:
    (a, b), _ = binary(d, values)
    shape = np.broadcast_shapes(*(np.shape(values[x]) if isinstance(x, Ref) else np.shape(x) for x in (a, b)))
    plain = not any(isinstance(x, np.ndarray) for x in (a, b, *(values[x] for x in (a, b) if isinstance(x, Ref))))
    condition = d.numbers(shape) > 0.0
    return [bool(condition) if plain else condition, a, b], {}


def limits(d: Draw, values: list[Any]) -> Any:
    x = d.value(values)
    low, high = sorted((d.number(), d.number()))
    if d.random() < 0.3:
        low = d.value(values, lambda y: fits_together(np.shape(values[x]), np.shape(y)))
    return [x, *d.choice([(low, high), (low, None), (None, high)])], {}


def kink_at(place: float) -> Callable[..., Any]:
    return lambda x, *rest, **params: away(np.asarray(x) - place)


def away(x: Any) -> bool:
    """Far enough from 0, or there exactly."""
    return bool(np.all((x == 0.0) | (np.abs(x) > MARGIN)))


def within(low: float, high: float) -> Callable[..., Any]:
    return lambda x, **params: low <= np.min(x) and np.max(x) <= high


def not_zero(x: Any) -> bool:
    return bool(np.min(np.abs(x)) > 0.3)


# ---- shapes


def reduction(d: Draw, values: list[Any]) -> Any:
    x = d.array(values)
    return [x], {"axis": d.axes(values[x]), "keepdims": d.random() < 0.4}


def along(d: Draw, values: list[Any]) -> Any:
    x = d.array(values)
    operands = [x] if d.random() < 0.6 else [x, d.choice([0.7, 3.0])]
    return operands, {"axis": d.axes(values[x])}


def cooled(d: Draw, values: list[Any]) -> Any:
    x = d.array(values)
    return [x, d.value(values, lambda y: type(y) is float)], {"axis": d.axes(values[x])}


def reshaping(d: Draw, values: list[Any]) -> Any:
    x = d.array(values)
    rest, to = values[x].size, []
    while rest > 1 and len(to) < 3:
        n = d.choice([k for k in range(1, rest + 1) if rest % k == 0])
        to.append(n)
        rest //= n
    to = [*to, rest] if rest > 1 or d.random() < 0.2 else to
    if to and d.random() < 0.4:
        to[d.randrange(len(to))] = -1
    return [x], {"to": tuple(to)}


def permutation(d: Draw, values: list[Any]) -> Any:
    x = d.array(values)
    axes = list(range(values[x].ndim))
    d.shuffle(axes)
    return [x], {"axes": tuple(i - len(axes) if d.random() < 0.2 else i for i in axes)}


def two_axes(d: Draw, values: list[Any]) -> Any:
    x = d.array(values, 1)
    n = values[x].ndim
    return [x], {"a": d.randrange(-n, n), "b": d.randrange(-n, n)}


def short_axis(d: Draw, values: list[Any]) -> Any:
    x = d.value(values, lambda x: 1 in np.shape(x))
    return [x], {"axis": d.choice([None, *(i for i, n in enumerate(values[x].shape) if n == 1)])}


def new_axis(d: Draw, values: list[Any]) -> Any:
    x = d.array(values)
    n = values[x].ndim
    return [x], {"axis": d.randrange(-n - 1, n + 1)}


def repeated(d: Draw, values: list[Any]) -> Any:
    x = d.array(values)
    to = tuple(d.randint(1, 3) if n == 1 else n for n in values[x].shape)
    return [x], {"to": (*(d.randint(1, 2) for _ in range(d.randint(0, 1))), *to)}


def key(d: Draw, values: list[Any]) -> Any:
    x = d.array(values, 1)
    parts: list[Any] = []
    advanced = None  # the arrays of one index have one length
    for n in values[x].shape[: d.randint(1, values[x].ndim)]:
        kind = d.random()
        if kind < 0.2:
            parts.append(d.randrange(-n, n))
        elif kind < 0.45:
            parts.append(slice(*sorted((d.randint(0, n), d.randint(0, n))), d.choice([None, None, 2])))
        elif kind < 0.6:
            parts.append(slice(None, None, d.choice([None, -1, 2])))
        elif kind < 0.9:
            advanced = advanced or d.randint(1, 4)
            places = [d.randrange(-n, n) for _ in range(advanced)]
            parts.append(d.choice([places, np.array(places)]))
        else:
            mask = [d.random() < 0.6 for _ in range(n)]
            if not any(mask) or advanced not in (None, sum(mask)):
                raise Unfit
            advanced = sum(mask)
            parts.append(np.array(mask))
    if d.random() < 0.2:
        parts.insert(d.randint(0, len(parts)), None)
    if d.random() < 0.2:
        parts.append(Ellipsis)
    return [x], {"key": tuple(parts) if len(parts) != 1 or d.random() < 0.5 else parts[0]}


def mask(d: Draw, values: list[Any]) -> Any:
    x = d.array(values)
    return [x], {"key": d.numbers(values[x].shape) > -0.5}


def product(d: Draw, values: list[Any]) -> Any:
    a = d.array(values, 1)
    n = values[a].shape[-1]
    if d.random() < 0.5:
        return [a, d.value(values, lambda x: np.ndim(x) and np.shape(x)[-2:][0] == n)], {}
    b = d.numbers(d.choice([(n,), (n, 2), (n, 1), (2, n, 2), (3, n)]))
    return ([a, b] if np.shape(b)[-2:][0] == n else [b.reshape(3, n), a]), {}


def joined(d: Draw, values: list[Any]) -> Any:
    x = d.array(values, 1)
    axis, shape = d.randrange(values[x].ndim), values[x].shape

    def good(y: Any) -> bool:
        return np.ndim(y) == len(shape) and all(i == axis or y.shape[i] == n for i, n in enumerate(shape))

    parts = [x, *(d.value(values, good) for _ in range(d.randint(0, 2)))]
    if d.random() < 0.3:
        parts.append(d.numbers(shape))
    return parts, {"axis": axis - len(shape) if d.random() < 0.3 else axis}


def stacked(d: Draw, values: list[Any]) -> Any:
    x = d.value(values)
    shape = np.shape(values[x])
    parts = [x, *(d.value(values, lambda y: np.shape(y) == shape) for _ in range(d.randint(0, 2)))]
    if d.random() < 0.3:
        parts.append(d.numbers(shape) if shape else d.number())
    return parts, {"axis": d.randrange(-len(shape) - 1, len(shape) + 1)}


def taken_apart(d: Draw, values: list[Any]) -> Any:
    x = d.array(values, 1)
    return [x], {"axis": d.randrange(-values[x].ndim, values[x].ndim)}


def cut(d: Draw, values: list[Any]) -> Any:
    [x], params = taken_apart(d, values)
    n = values[x].shape[params["axis"]]
    sections = d.choice([d.choice([k for k in (1, 2, 3) if n % k == 0]), sorted((d.randint(0, n), d.randint(0, n)))])
    return [x], {"sections": sections, **params}


def layer(d: Draw, values: list[Any]) -> Any:
    x = d.array(values, 1)
    n = values[x].shape[-1]
    weight = (
        d.value(values, lambda y: np.ndim(y) == 2 and y.shape[1] == n)
        if d.random() < 0.5
        else d.numbers((d.randint(1, 3), n))
    )
    m = (values[weight] if isinstance(weight, Ref) else weight).shape[0]
    bias = d.choice([None, d.numbers((m,)), "one of the values"])
    bias = d.value(values, lambda y: np.shape(y) == (m,)) if isinstance(bias, str) else bias
    return [x, weight, bias], {}


def classes(d: Draw, values: list[Any]) -> Any:
    z = d.array(values, 1)
    *rows, k = values[z].shape
    params = {"reduction": d.choice(["mean", "sum", "none"])}
    kind = d.random()
    if kind < 0.4:
        labels = [d.randrange(k) for _ in range(math.prod(rows))]
        return [z], {"labels": np.array(labels, int).reshape(rows), **params}
    if kind < 0.7:
        target = np.exp(d.numbers((*rows, k)))
        return [z, target / target.sum(-1, keepdims=True)], params
    return [z, d.value(values, lambda y: np.shape(y) == (*rows, k))], params


# ---- the operations, on NumPy and on PyTorch, in functions of their own


def each(f: Callable[[float], float]) -> Callable[[Any], Any]:
    return np.vectorize(f, otypes=[float])


def all_axes(x: Any, axis: Any) -> tuple[int, ...]:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(i % x.ndim for i in axes) if x.ndim else ()


def with_torch(f: Callable[..., Any], of_one: Callable[[Any], Any]) -> Callable[..., Any]:
    """A reduction along several axes, which in PyTorch a number without axes does not have."""

    def rule(x: Any, axis: Any, keepdims: bool = False, **params: Any) -> Any:
        axes = all_axes(x, axis)
        return f(x, axes, keepdims, **params) if axes else of_one(x)

    return rule


def torch_prod(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keepdims)
    return x


def numpy_logsumexp(x: Any, axis: Any, keepdims: bool = False) -> Any:
    return np.log(np.sum(np.exp(x), axis, keepdims=keepdims))


def numpy_softmax(x: Any, temperature: Any = 1.0, *, axis: Any) -> Any:
    return np.exp(x / temperature) / np.sum(np.exp(x / temperature), axis, keepdims=True)


def torch_log_softmax(x: Any, temperature: Any = 1.0, *, axis: Any) -> Any:
    axes, x = all_axes(x, axis), x / temperature
    return x - torch.logsumexp(x, axes, keepdim=True) if axes else x - x


def torch_index(x: Any, key: Any) -> Any:
    """PyTorch has no negative steps: by the places of the numbers in a row."""
    places = np.arange(x.numel()).reshape(tuple(x.shape))[key]
    return x.reshape(-1)[torch.from_numpy(np.array(places))]


def losses(log_softmax: Callable[..., Any], one_hot: Callable[..., Any]) -> Callable[..., Any]:
    def rule(z: Any, target: Any = None, *, labels: Any = None, reduction: str) -> Any:
        target = one_hot(np.eye(z.shape[-1])[labels]) if target is None else target
        found = -(target * log_softmax(z, axis=-1)).sum(-1)
        return {"mean": found.mean, "sum": found.sum, "none": lambda: found}[reduction]()

    return rule


def our_losses(z: Any, target: Any = None, *, labels: Any = None, reduction: str) -> Any:
    return nn.cross_entropy(z, labels if target is None else target, reduction)


def in_two_rows(z: Any, target: Any = None, *, labels: Any = None, reduction: str) -> Any:
    if target is None:
        return nn.nll_loss(mg.log_softmax(z), labels, reduction)
    return ROWS["nll"].given(reduction=reduction)(mg.log_softmax(z), target)


def gaps(pick: Any) -> Callable[..., bool]:
    """Whether a maximum or minimum is far enough from all other numbers, or equal to them."""
    return lambda x, axis, keepdims: away(x - pick(x, axis, keepdims=True))


def same(f: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    """What is written alike everywhere."""
    return f, f, f


def by_name(name: str, torch_name: str | None = None) -> tuple[Callable[..., Any], ...]:
    """A function of NumPy, a method of ours, and a function of PyTorch."""
    return getattr(np, name), lambda x: getattr(x, name)(), lambda x: getattr(torch, torch_name or name)(x)


def number(x: Any) -> Any:
    """In PyTorch some functions take no plain numbers."""
    return x if not isinstance(x, float) else torch.tensor(x, dtype=torch.float64)


def sizes_are_small(*operands: Any, **params: Any) -> bool:
    return all(x is None or np.max(np.abs(x), initial=0.0) < 6.0 for x in operands)


def count_of(x: Any, axis: Any) -> int:
    return math.prod(x.shape[i] for i in all_axes(x, axis))


SIGMOID = lambda x: 1.0 / (1.0 + np.exp(-x))  # noqa: E731
OPS: dict[str, Op] = {
    # number by number
    "neg": Op(unary, *same(operator.neg)),
    "exp": Op(unary, *by_name("exp"), within(-9.0, 2.5)),
    "np.exp": Op(unary, np.exp, np.exp, lambda x: torch.exp(x), within(-9.0, 2.5)),
    "log": Op(unary, *by_name("log"), within(0.1, LARGEST)),
    "sqrt": Op(unary, *by_name("sqrt"), within(0.1, LARGEST)),
    "tanh": Op(unary, *by_name("tanh")),
    "sin": Op(unary, *by_name("sin")),
    "cos": Op(unary, *by_name("cos")),
    "abs": Op(unary, *same(abs), kink_at(0.0)),
    "sign": Op(unary, np.sign, mg.sign, lambda x: torch.sign(x), kink_at(0.0)),
    "step": Op(unary, lambda x: np.heaviside(x, 1.0), mg.step, lambda x: (x >= 0.0).double(), kink_at(0.0)),
    "relu": Op(unary, lambda x: np.maximum(x, 0.0), lambda x: x.relu(), lambda x: torch.relu(x), kink_at(0.0)),
    "sigmoid": Op(unary, SIGMOID, mg.sigmoid, lambda x: torch.sigmoid(x)),
    "softplus": Op(unary, lambda x: np.logaddexp(x, 0.0), mg.softplus,
                   lambda x: torch.logaddexp(x, torch.zeros((), dtype=torch.float64))),
    "silu": Op(unary, lambda x: x * SIGMOID(x), mg.silu, lambda x: torch.nn.functional.silu(x)),
    "erf": Op(unary, each(math.erf), mg.erf, lambda x: torch.erf(x)),
    "gelu": Op(unary, each(lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2.0))), mg.gelu,
               lambda x: torch.nn.functional.gelu(x)),
    "leaky_relu": Op(unary, lambda x: np.where(np.asarray(x) > 0.0, x, 0.1 * np.asarray(x)),
                     lambda x: mg.leaky_relu(x, 0.1), lambda x: torch.nn.functional.leaky_relu(x, 0.1), kink_at(0.0)),
    "elu": Op(unary, lambda x: np.where(np.asarray(x) > 0.0, x, 1.5 * np.expm1(np.minimum(x, 0.0))),
              lambda x: mg.elu(x, 1.5), lambda x: torch.nn.functional.elu(x, 1.5), kink_at(0.0)),
    "square": Op(unary, *same(lambda x: x**2)),
    "power": Op(unary, *same(lambda x: x**-1.5), within(0.3, LARGEST)),
    "two to the": Op(unary, *same(lambda x: 2.0**x), within(-9.0, 3.0)),
    "one over": Op(unary, *same(lambda x: 1.0 / x), not_zero),
    # several operands, which broadcast
    "add": Op(binary, *same(operator.add)),
    "sub": Op(binary, *same(operator.sub)),
    "mul": Op(binary, *same(operator.mul)),
    "div": Op(binary, *same(operator.truediv), lambda a, b: not_zero(b)),
    "pow": Op(binary, *same(operator.pow), lambda a, b: np.min(a) > 0.3 and np.max(np.abs(b)) < 3.0),
    "maximum": Op(binary, np.maximum, mg.maximum, lambda a, b: torch.maximum(number(a), number(b)),
                  lambda a, b: away(np.subtract(a, b))),
    "minimum": Op(binary, np.minimum, mg.minimum, lambda a, b: torch.minimum(number(a), number(b)),
                  lambda a, b: away(np.subtract(a, b))),
    "where": Op(choice, np.where, mg.where,
                lambda c, a, b: torch.where(torch.as_tensor(c), number(a), number(b))),
    "where above": Op(binary, lambda a, b: np.where(np.greater(a, b), a, 0.5 * b),
                      lambda a, b: mg.where(mg.greater(a, b), a, 0.5 * b),
                      lambda a, b: torch.where(torch.as_tensor(a > b), number(a), number(0.5 * b)),
                      lambda a, b: bool(np.all(np.abs(np.subtract(a, b)) > MARGIN))),
    "where equal": Op(binary, lambda a, b: np.where(np.equal(a, b), a * b, b),
                      lambda a, b: mg.where(mg.equal(a, b), a * b, b),
                      lambda a, b: torch.where(torch.as_tensor(a == b), number(a * b), number(b)),
                      lambda a, b: bool(np.all(np.abs(np.subtract(a, b)) > MARGIN))),
    "clip": Op(limits, lambda x, low, high: np.clip(x, -math.inf if low is None else low,
                                                    math.inf if high is None else high),
               mg.clip, lambda x, low, high: torch_clip(x, low, high),
               lambda x, low, high: all(away(np.subtract(a, b)) for a, b in ((x, low), (x, high), (low, high))
                                        if a is not None and b is not None)),
    # reductions
    "sum": Op(reduction, np.sum, lambda x, **params: x.sum(**params),
              with_torch(lambda x, axes, keepdims: x.sum(axes, keepdim=keepdims), lambda x: x)),
    "np.sum": Op(reduction, np.sum, np.sum,
                 with_torch(lambda x, axes, keepdims: x.sum(axes, keepdim=keepdims), lambda x: x)),
    "mean": Op(reduction, np.mean, lambda x, **params: x.mean(**params),
               with_torch(lambda x, axes, keepdims: x.mean(axes, keepdim=keepdims), lambda x: x)),
    "var": Op(reduction, np.var, lambda x, **params: x.var(**params),
              with_torch(lambda x, axes, keepdims: x.var(axes, correction=0, keepdim=keepdims), lambda x: x - x)),
    "unbiased var": Op(reduction, lambda x, **params: np.var(x, **params, ddof=1),
                       lambda x, **params: x.var(**params, correction=1),
                       with_torch(lambda x, axes, keepdims: x.var(axes, correction=1, keepdim=keepdims), None),
                       lambda x, axis, keepdims: count_of(x, axis) > 1),
    "max": Op(reduction, np.max, lambda x, **params: x.max(**params),
              with_torch(lambda x, axes, keepdims: x.amax(axes, keepdim=keepdims), lambda x: x), gaps(np.max)),
    "min": Op(reduction, np.min, lambda x, **params: x.min(**params),
              with_torch(lambda x, axes, keepdims: x.amin(axes, keepdim=keepdims), lambda x: x), gaps(np.min)),
    "prod": Op(reduction, np.prod, lambda x, **params: x.prod(**params), with_torch(torch_prod, lambda x: x)),
    "logsumexp": Op(reduction, numpy_logsumexp, mg.logsumexp,
                    with_torch(lambda x, axes, keepdims: torch.logsumexp(x, axes, keepdim=keepdims), lambda x: x)),
    "softmax": Op(along, numpy_softmax, lambda x, t=1.0, *, axis: mg.softmax(x, axis, t),
                  lambda *x, axis: torch.exp(torch_log_softmax(*x, axis=axis))),
    "log_softmax": Op(along, lambda *x, axis: np.log(numpy_softmax(*x, axis=axis)),
                      lambda x, t=1.0, *, axis: mg.log_softmax(x, axis, t), torch_log_softmax),
    "cooled softmax": Op(cooled, numpy_softmax, lambda x, t, axis: mg.softmax(x, axis, temperature=t),
                         lambda *x, axis: torch.exp(torch_log_softmax(*x, axis=axis)),
                         lambda x, t, axis: t > 0.3),
    # shapes
    "reshape": Op(reshaping, lambda x, to: np.reshape(x, to), *(lambda x, to: x.reshape(to),) * 2),
    "transpose": Op(permutation, lambda x, axes: np.transpose(x, axes), lambda x, axes: x.transpose(*axes),
                    lambda x, axes: x.permute(axes)),
    "T": Op(lambda d, values: ([d.array(values)], {}), np.transpose, lambda x: x.T,
            lambda x: x.permute(tuple(range(x.ndim))[::-1])),
    "swapaxes": Op(two_axes, lambda x, a, b: np.swapaxes(x, a, b), lambda x, a, b: x.swapaxes(a, b),
                   lambda x, a, b: x.transpose(a, b)),
    "squeeze": Op(short_axis, lambda x, axis: np.squeeze(x, axis), lambda x, axis: x.squeeze(axis),
                  lambda x, axis: x.squeeze() if axis is None else x.squeeze(axis)),
    "unsqueeze": Op(new_axis, lambda x, axis: np.expand_dims(x, axis), *(lambda x, axis: x.unsqueeze(axis),) * 2),
    "flatten": Op(lambda d, values: ([d.array(values)], {}), np.ravel, *(lambda x: x.flatten(),) * 2),
    "broadcast_to": Op(repeated, lambda x, to: np.broadcast_to(x, to), *(lambda x, to: x.broadcast_to(to),) * 2),
    "index": Op(key, lambda x, key: x[key], lambda x, key: x[key], torch_index),
    "mask": Op(mask, lambda x, key: x[key], lambda x, key: x[key], torch_index),
    # products
    "matmul": Op(product, np.matmul, operator.matmul, lambda a, b: torch.matmul(a, b)),
    "linear": Op(layer, lambda x, weight, bias: np.einsum("...n,mn->...m", x, weight) + (0.0 if bias is None else bias),
                 nn.linear, lambda x, weight, bias: torch.nn.functional.linear(x, weight, bias)),
    "cross_entropy": Op(classes, losses(lambda z, axis: np.log(numpy_softmax(z, axis=axis)), lambda x: x), our_losses,
                        losses(torch_log_softmax, tensor), sizes_are_small),
    "nll": Op(classes, losses(lambda z, axis: np.log(numpy_softmax(z, axis=axis)), lambda x: x), in_two_rows,
              losses(torch_log_softmax, tensor), sizes_are_small),
    # several arrays
    "concatenate": Op(joined, lambda *xs, axis: np.concatenate(xs, axis), lambda *xs, axis: mg.concatenate(xs, axis),
                      lambda *xs, axis: torch.cat(xs, axis)),
    "stack": Op(stacked, lambda *xs, axis: np.stack(xs, axis), lambda *xs, axis: mg.stack(xs, axis),
                lambda *xs, axis: torch.stack([number(x) for x in xs], axis)),
    "unbind": Op(taken_apart, lambda x, axis: tuple(map(float, x)) if x.ndim == 1 else tuple(np.moveaxis(x, axis, 0)),
                 lambda x, axis: x.unbind(axis), lambda x, axis: x.unbind(axis),
                 lambda x, axis: x.shape[axis] < 5),
    "split": Op(cut, lambda x, sections, axis: tuple(np.split(x, sections, axis)),
                lambda x, sections, axis: x.split(sections, axis),
                lambda x, sections, axis: torch.tensor_split(x, sections, axis)),
}  # fmt: skip
SELDOM = ("matmul", "linear", "div", "pow", "mul", "mask", "split", "unbind", "stack", "log", "cooled softmax")  # fit
NUMBERS = set(OPS) - {"stack"}  # the operations that make a number of numbers


def torch_clip(x: Any, low: Any, high: Any) -> Any:
    """By the rule of two maxima, but passing at both ends, as `torch.clamp` does with numbers."""
    low = number(-math.inf) if low is None else number(low)
    high = number(math.inf) if high is None else number(high)
    bounded = torch.where(x < low, low, x)
    return torch.where(bounded > high, high, bounded)


def drawn(seed: int) -> Program:
    d = Draw(seed)
    leaves: list[Any] = [d.number() for _ in range(d.randint(0, 2))]
    leaves += [d.numbers(tuple(d.randint(1, 3) for _ in range(d.randint(0, 3)))) for _ in range(d.randint(1, 3))]
    d.shuffle(leaves)
    tracked = [type(x) is float or d.random() < 0.85 for x in leaves]
    if not any(tracked):
        tracked[0] = True
    values, steps, names = list(leaves), [], [*OPS, *SELDOM, *SELDOM]
    length = d.randint(4, LONGEST)
    with np.errstate(all="ignore"):
        while len(steps) < length:
            name = d.choice(names)
            try:
                step = Step(name, *OPS[name].draw(d, values))
                operands = [values[x] if isinstance(x, Ref) else x for x in step.operands]
                if not OPS[name].fits(*operands, **step.params):
                    continue
                found = step.run(values, "numpy")
            except (Unfit, ValueError):  # no such operands, or of shapes that do not fit
                continue
            made = found[len(values) :]
            if all(0 < np.size(x) <= WIDEST and np.ndim(x) <= 4 and np.max(np.abs(x)) <= LARGEST for x in made):
                steps.append(step)
                values = found
    weights = [round(d.uniform(0.5, 2.0), 2) for _ in range(min(len(values) - len(leaves), d.randint(1, 6)))]
    return Program(seed, leaves, tracked, steps, weights, values)


# ---- what has to hold


def close(got: Any, want: Any, size: float, rtol: float, what: str) -> None:
    """Equal, to `rtol` of `size`: of the largest of the numbers that were added up."""
    got, want = np.asarray(getattr(got, "data", got)), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, not {want.shape}"
    assert np.all(np.abs(got - want) <= rtol * size), f"{what}: {got.tolist()}, not {want.tolist()}"


def largest(*xs: Any) -> float:
    return max([1.0, *(float(np.max(np.abs(x))) for x in xs)])


def check_forward(program: Program, values: list[Any]) -> None:
    assert len(values) == len(program.values)
    for i, (node, want) in enumerate(zip(values, program.values, strict=True)):
        assert type(node) is (Value if type(want) is float else Tensor), f"v{i}"
        close(node, want, largest(*program.values), 1e-12, f"v{i}")


def check(seed: int) -> None:
    program = drawn(seed)
    leaves = [
        Value(x) if type(x) is float else Tensor(x, requires_grad=tracked)
        for x, tracked in zip(program.leaves, program.tracked, strict=True)
    ]
    values = program.run(leaves, "ours")
    check_forward(program, values)
    root = program.root(values)
    close(root, program.root([np.asarray(x) for x in program.values]), largest(*program.values), 1e-11, "the result")
    chosen = [leaf for leaf, tracked in zip(leaves, program.tracked, strict=True) if tracked]
    point = [x for x, tracked in zip(program.leaves, program.tracked, strict=True) if tracked]
    order, needing = topological_order(root), set(map(id, chosen))
    # A Value always needs a gradient, also one that was taken from a tensor that does not.
    assert root.requires_grad == any(isinstance(node, Value) or id(node) in needing for node in order)
    if not root.requires_grad:
        with pytest.raises(mg.errors.InputError, match="needs a gradient"):
            root.backward()
        return

    adjoints = mg.adjoints(root)
    assert all(node.grad is None for node in order)
    size = largest(*adjoints.values())
    root.backward()
    for node in order:
        assert (node.grad is None) == (node not in adjoints)
        assert node.requires_grad or node not in adjoints
        if node.grad is not None:
            close(node.grad, adjoints[node], size, 1e-10, "backward and adjoints")
            assert type(node.grad) is float if isinstance(node, Value) else node.grad.dtype == np.float64
    gradient = [np.zeros_like(x) if leaf.grad is None else leaf.grad for x, leaf in zip(point, chosen, strict=True)]
    found = mg.grad(program.of_tracked)(point)
    for x, got, want in zip(point, found, gradient, strict=True):
        assert type(got) is type(x)
        close(got, want, size, 1e-10, "mg.grad and backward")

    random = np.random.default_rng(seed)
    way = [float(random.normal()) if type(x) is float else random.normal(size=x.shape) for x in point]
    want = sum(float(np.sum(g * t)) for g, t in zip(gradient, way, strict=True))
    out, moved = mg.jvp(program.of_tracked, (point,), (way,))
    close(out, root.data, largest(root.data), 1e-12, "jvp's result")
    close(moved, want, size * largest(*way) * len(order), 1e-10, "jvp and the gradient")
    if seed % 10 == 0:
        check_again(root, chosen, gradient)
    if seed % 10 == 1:
        check_traced(program, point, gradient, size)
    if seed % 10 == 2:
        check_second_order(program, point, way)


def check_again(root: Any, chosen: list[Any], gradient: list[Any]) -> None:
    """A second pass doubles the leaves, and changes nothing in between."""
    between = {node: np.copy(node.grad) for node in topological_order(root) if node.prim and node.grad is not None}
    root.backward()
    for leaf, want in zip(chosen, gradient, strict=True):
        if leaf.grad is not None:
            np.testing.assert_array_equal(leaf.grad, 2.0 * want)
    for node, want in between.items():
        np.testing.assert_array_equal(node.grad, want)


def check_traced(program: Program, point: list[Any], gradient: list[Any], size: float) -> None:
    nodes = [Value(x) if type(x) is float else Tensor(x, requires_grad=True) for x in point]
    for x, got, want in zip(nodes, mg.grad(program.of_tracked)(nodes), gradient, strict=True):
        assert type(got) is type(x)
        close(got, want, size, 1e-10, "traced")


def moved(x: Any, t: Any) -> Any:
    return x + t if type(x) is float else np.asarray(x + t)


def check_second_order(program: Program, point: list[Any], way: list[Any]) -> None:
    """The Hessian times a direction, as the difference of two gradients nearby."""
    h = 1e-5
    gradient = mg.grad(program.of_tracked)

    def beside(k: float) -> list[Any]:
        return [moved(x, k * h * t) for x, t in zip(point, way, strict=True)]

    ahead, behind = gradient(beside(1.0)), gradient(beside(-1.0))
    found = mg.hvp(program.of_tracked, point, way)
    size = largest(*found, *ahead)
    for got, a, b in zip(found, ahead, behind, strict=True):
        assert type(got) is type(a)
        close(got, (a - b) / (2.0 * h), size, 1e-6, "hvp and differences of gradients")


def check_torch(seed: int) -> None:
    program = drawn(seed)
    point = [x for x, tracked in zip(program.leaves, program.tracked, strict=True) if tracked]
    gradient = mg.grad(program.of_tracked)(point)
    leaves = [
        torch.tensor(x, dtype=torch.float64, requires_grad=tracked)
        for x, tracked in zip(program.leaves, program.tracked, strict=True)
    ]
    values = program.run(leaves, "torch")
    for i, (got, want) in enumerate(zip(values, program.values, strict=True)):
        close(number(got).detach().numpy(), want, largest(*program.values), 1e-11, f"PyTorch's v{i}")
    root = program.root(values)
    if root.requires_grad:  # its steps and signs have no derivative at all
        root.backward()
    chosen = [leaf for leaf, tracked in zip(leaves, program.tracked, strict=True) if tracked]
    size = largest(*gradient)
    for leaf, want in zip(chosen, gradient, strict=True):
        close(np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy(), want, size, 1e-9, "PyTorch's gradient")


def each_of(seeds: Any, check: Callable[[int], Any], shown: Any = None, file: str = "test_random_tensors") -> None:
    for seed in seeds:
        try:
            check(seed)
        except Exception as error:
            again = f"pytest tests/{file}.py --graph {seed}"
            what = (shown or drawn)(seed)
            raise AssertionError(f"{type(error).__name__}: {error}\n{what}\nagain: {again}") from error


SHARES: dict[str, int] = {}  # of other tests: they take one in so many of the graphs that the option asks for


def pytest_generate_tests(metafunc: Any) -> None:
    if "seeds" not in metafunc.fixturenames:
        return
    one, count = metafunc.config.getoption("graph"), metafunc.config.getoption("graphs")
    count = max(1, count // SHARES.get(metafunc.function.__name__, 1))
    starts = range(0, count, BLOCK)
    blocks = [range(one, one + 1)] if one is not None else [range(i, min(i + BLOCK, count)) for i in starts]
    metafunc.parametrize("seeds", blocks, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")


def test_random_graphs(seeds):
    each_of(seeds, check)


def test_random_graphs_against_pytorch(monkeypatch, pytestconfig):
    monkeypatch.setitem(globals(), "torch", pytest.importorskip("torch"))
    one, count = pytestconfig.getoption("graph"), pytestconfig.getoption("graphs")
    each_of(range(0, count, 10) if one is None else [one], check_torch)


def test_random_graphs_hold_every_row():
    """Else a new row would not be met; those that are left out only derivatives make, or other dtypes."""
    met, derived = set(), {"identity", "cast", "scatter", "sum_to"}
    for seed in range(400):
        program = drawn(seed)
        leaves = [Value(x) if type(x) is float else Tensor(x) for x in program.leaves]
        met |= {node.prim for value in program.run(leaves, "ours") for node in topological_order(value) if node.prim}
    rows = {row.name for row in vars(primitives).values() if isinstance(row, Primitive)} | set(ROWS)
    missing = rows - derived - {row.name for row in met}
    assert not missing, "add an operation that makes them to OPS in tests/test_random_tensors.py"

"""Every row on arrays, elementwise and structural, in every way a row can be asked: a row without a case here fails.

The references are NumPy's own functions on complex numbers. A first derivative is a complex step, exact to the last
digits; a second one is a difference of complex steps.
"""

import itertools
import math
import string
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

import mpmath
import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn, primitives
from microgad.errors import DomainError, ShapeError, spell
from microgad.node import Node
from microgad.primitive import Primitive
from microgad.structural import ROWS, Each, dtype

TABLE = {row.name: row for row in vars(primitives).values() if isinstance(row, Primitive)}  # no rows of a user's own
EPS = 2.0**-52


@dataclass(frozen=True)
class Case:
    """A row with its parameters, the shapes of its operands, and the same function in NumPy, on complex numbers too."""

    row: Primitive
    reference: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    positive: tuple[bool, ...] = ()  # which operands have to be above 0
    given: tuple[Any, ...] = ()  # the operands, where they are not drawn
    still: tuple[Any, ...] = ()  # operands behind the others that nothing is differentiated by
    rtol: float = 1e-11

    @cached_property
    def id(self) -> str:
        operands = ",".join(map(_said, self.given or self.shapes))
        return f"{self.row.name}-{operands}" + "".join(f"-{name}={_said(x)}" for name, x in self.params.items())

    def random(self, *seed: int) -> np.random.Generator:
        """Random numbers of this case's own, so that another case does not change them."""
        return np.random.default_rng([zlib.crc32(self.id.encode()), *seed])

    def __call__(self, *operands: Any) -> Any:
        operands += tuple(np.asarray(x, dtype(operands[0])) for x in self.still)
        return self.row.given(**self.params)(*operands) if self.params else self.row(*operands)

    @cached_property
    def numbers(self) -> list[np.ndarray]:
        """Numbers whose sizes all differ and are between 0.3 and 1.9: far from ties, kinks and poles."""
        if self.given:
            return [np.array(x, float) for x in self.given]
        count, random = sum(map(math.prod, self.shapes)), self.random(0)
        rest, made = random.permutation(np.linspace(0.3, 1.9, count)) * random.choice([-1.0, 1.0], count), []
        for i, shape in enumerate(self.shapes):
            part, rest = rest[: math.prod(shape)].reshape(shape), rest[math.prod(shape) :]
            made.append(np.abs(part) if self.positive and self.positive[i] else part)
        return made

    @cached_property
    def weights(self) -> np.ndarray:
        """A weight for each number of the result."""
        return self.random(2).normal(size=np.shape(self.reference(*self.numbers)))

    def operands(self, dtype: Any = float) -> tuple[np.ndarray, ...]:
        return tuple(np.array(x, dtype) for x in self.numbers)

    def directions(self, n: int, dtype: Any = float) -> list[tuple[np.ndarray, ...]]:
        """`n` directions in which the operands move."""
        random = self.random(1)
        return [tuple(np.array(random.normal(size=shape), dtype) for shape in self.shapes) for _ in range(n)]

    def cotangent(self, dtype: Any = float) -> Any:
        """A gradient of the result: a number where that is one."""
        return float(self.weights) if self.row.vjp and self.row.rank == 0 else np.array(self.weights, dtype)

    def summed(self, *operands: Any) -> Any:
        """The result as one number: the row's output times the cotangent, added up."""
        out = self(*operands) * self.cotangent()
        return out.sum() if hasattr(out, "sum") else out


def _said(x: Any) -> str:
    """A parameter in the name of a test."""
    if isinstance(x, tuple):
        return f"({','.join(map(_said, x))})"
    if isinstance(x, slice):
        return ":".join("" if end is None else str(end) for end in (x.start, x.stop, x.step))
    return str(np.asarray(x).tolist() if isinstance(x, (np.ndarray, list)) else x).replace(" ", "")


# ---- the same functions, in NumPy


def _if(condition: Any, a: Any, b: Any) -> Any:
    return np.where(condition, a, b)


def _by_digits(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that NumPy does not have, number by number."""

    def rule(x: Any) -> complex:
        with mpmath.workdps(60):  # beside 1 the complex step is small
            return complex(f(mpmath.mpmathify(x)))

    return np.vectorize(rule, otypes=[complex])


real, erf = np.real, _by_digits(mpmath.erf)
ELEMENTWISE: dict[str, tuple[Callable[..., Any], tuple[bool, ...]]] = {  # the function, and what has to be positive
    "identity": (lambda x: x * 1.0, ()),
    "greater": (lambda a, b: _if(real(a) > real(b), 1.0, 0.0), ()),
    "equal": (lambda a, b: _if(real(a) == real(b), 1.0, 0.0), ()),
    "where": (lambda c, a, b: _if(real(c) != 0, a, b), ()),
    "neg": (lambda x: 0.0 - x, ()),
    "add": (lambda a, b: a + b, ()),
    "sub": (lambda a, b: a - b, ()),
    "mul": (lambda a, b: a * b, ()),
    "div": (lambda a, b: a / b, ()),
    "pow": (lambda a, b: np.exp(b * np.log(a)), (True, False)),
    "exp": (np.exp, ()),
    "log": (np.log, (True,)),
    "tanh": (np.tanh, ()),
    "relu": (lambda x: _if(real(x) > 0, x, 0.0), ()),
    "maximum": (lambda a, b: _if(real(a) > real(b), a, b), ()),
    "minimum": (lambda a, b: _if(real(a) < real(b), a, b), ()),
    "clip": (lambda x, low, high: _if(real(_if(real(x) > real(low), x, low)) < real(high),
                                      _if(real(x) > real(low), x, low), high), ()),
    "sign": (lambda x: np.sign(real(x)), ()),
    "step": (lambda x: _if(real(x) >= 0, 1.0, 0.0), ()),
    "abs": (lambda x: _if(real(x) > 0, x, -x), ()),
    "sqrt": (np.sqrt, (True,)),
    "sin": (np.sin, ()),
    "cos": (np.cos, ()),
    "erf": (erf, ()),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), ()),
    "softplus": (lambda x: np.log(1 + np.exp(x)), ()),
    "silu": (lambda x: x / (1 + np.exp(-x)), ()),
    "gelu": (lambda x: x * (1 + erf(x / math.sqrt(2))) / 2, ()),
    "leaky_relu": (lambda x, slope: _if(real(x) > 0, x, slope * x), ()),
    "elu": (lambda x, alpha: _if(real(x) > 0, x, alpha * (np.exp(x) - 1)), ()),
}  # fmt: skip
BROADCAST: dict[int, list[tuple[tuple[int, ...], ...]]] = {  # by the number of operands, their shapes
    1: [((),), ((1,),), ((2, 3),), ((0,),), ((0, 3),), ((2, 0),)],
    2: [
        ((), ()),
        ((3,), (3,)),
        ((3, 1), (1, 4)),
        ((), (3,)),
        ((2, 3), (3,)),
        ((2, 3), ()),
        ((1,), (2, 3)),
        ((2, 1, 2), (3, 1)),
        ((1, 1), ()),
        ((0,), (0,)),
        ((0, 3), (3,)),
        ((2, 0), (2, 1)),
        ((), (0,)),
    ],
    3: [
        ((), (), ()),
        ((3,), (3,), (3,)),
        ((3, 1), (1, 2), ()),
        ((2,), (3, 2), (1, 2)),
        ((), (3,), (2, 1)),
        ((0, 3), (3,), ()),
        ((2, 0), (2, 1), (0,)),
    ],
}


def elementwise_cases() -> list[Case]:
    return [
        Case(TABLE[name], reference, shapes, positive=positive)
        for name, (reference, positive) in ELEMENTWISE.items()
        for shapes in BROADCAST[len(TABLE[name].partials)]
    ]


def _sum_to(x: Any, to: tuple[int, ...]) -> Any:
    out = np.zeros(to, x.dtype)
    for place in np.ndindex(x.shape):
        last = place[len(place) - len(to) :]
        out[tuple(i if n > 1 else 0 for i, n in zip(last, to, strict=True))] += x[place]
    return out


def _scatter(x: Any, key: Any, to: tuple[int, ...]) -> Any:
    places, out = np.arange(math.prod(to)).reshape(to)[key], np.zeros(math.prod(to), x.dtype)
    for place, number in zip(np.ravel(places), np.ravel(np.broadcast_to(x, np.shape(places))), strict=True):
        out[place] += number
    return out.reshape(to)


def _all_axes(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else axis


def _extreme(pick: Callable[..., Any]) -> Callable[..., Any]:
    """The number whose real part is the largest or smallest: maximum and minimum of complex numbers."""

    def rule(x: Any, axis: Any, keepdims: bool) -> Any:
        axes = _all_axes(x, axis)
        rest = [n for i, n in enumerate(x.shape) if i not in axes]
        rows = np.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim)).reshape(*rest, -1 if x.size else 1)
        found = np.take_along_axis(rows, pick(real(rows), axis=-1)[..., None], -1)[..., 0]
        return np.expand_dims(found, axes) if keepdims else found

    return rule


def _softmax(x: Any, axis: Any) -> Any:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def _nll(logp: Any, target: Any, reduction: str) -> Any:
    each = -(target * logp).sum(-1)
    return each if reduction == "none" else each.sum() / (max(each.size, 1) if reduction == "mean" else 1)


def _cross_entropy(z: Any, target: Any, reduction: str, hard: bool) -> Any:
    return _nll(np.log(_softmax(z, -1)), target, reduction)


def _labels(*of: int) -> np.ndarray:
    """For each example one class, that of its place."""
    return np.eye(of[-1])[np.arange(math.prod(of[:-1])) % of[-1]].reshape(of)


REDUCED: dict[str, Callable[..., Any]] = {
    "sum": lambda x, axis, keepdims: x.sum(axis, keepdims=keepdims),
    "mean": lambda x, axis, keepdims: (
        x.sum(axis, keepdims=keepdims) / math.prod(x.shape[i] for i in _all_axes(x, axis))
    ),
    "max": _extreme(np.argmax),
    "min": _extreme(np.argmin),
    "prod": lambda x, axis, keepdims: x.prod(axis, keepdims=keepdims),
    "logsumexp": lambda x, axis, keepdims: np.log(np.exp(x).sum(axis, keepdims=keepdims)),
}
ALONG: dict[str, Callable[..., Any]] = {
    "softmax": _softmax,
    "log_softmax": lambda x, axis: np.log(_softmax(x, axis)),
}
REDUCTIONS = [  # the shape, and the axes
    ((), None),
    ((), ()),
    ((3,), None),
    ((3,), (0,)),
    ((1,), (0,)),
    ((2, 3), None),
    ((2, 3), (0,)),
    ((2, 3), (1,)),
    ((2, 3), (0, 1)),
    ((2, 3), ()),
    ((2, 1, 3), (0, 2)),
    ((2, 3, 2), (1,)),
    ((0, 3), (1,)),
]
EMPTY_REDUCTIONS = [((0,), None), ((0, 3), (0,)), ((2, 0), (1,)), ((2, 0), (0,))]  # of those with a value of no numbers
WITH_ZEROS = [[0.0, 1.5, -0.7], [0.0, 1.5, 0.0], [0.0, 0.0, 0.0], [[2.0, 0.0], [0.0, 0.0], [0.5, 3.0]]]
KEYS: list[tuple[tuple[int, ...], tuple[Any, ...]]] = [
    ((3,), (1,)),
    ((3,), (-1,)),
    ((3,), ()),
    ((), ()),
    ((), (None,)),
    ((), (Ellipsis,)),
    ((5,), (slice(1, 4),)),
    ((5,), (slice(None, None, -1),)),
    ((5,), (slice(4, 0, -2),)),
    ((5,), (slice(2, 2),)),
    ((2, 3), (1,)),
    ((2, 3), (0, 2)),
    ((2, 3), (slice(None), 1)),
    ((2, 3), (Ellipsis, 0)),
    ((2, 3), (None, slice(None), None, -1)),
    ((2, 3, 2), (0, Ellipsis, slice(None, None, -1))),
    ((4,), (np.array([0, 2, 2, -1]),)),
    ((4,), (np.array([[0, 3], [3, 3]]),)),
    ((4,), (np.array([], int),)),
    ((4,), (np.array([True, False, True, True]),)),
    ((4,), (np.zeros(4, bool),)),
    ((2, 3), (np.array([[True, False, True], [False, False, True]]),)),
    ((2, 3), (np.array([1, 1, 0]), np.array([2, 2, 0]))),
    ((2, 3), (np.array([[0], [1]]), np.array([2, 0]))),
    ((2, 3), (slice(None), np.array([2, 2, 0, 2]))),
    ((2, 3), (np.array([False, True]), slice(1, None))),
    ((2, 3), (np.array([1, 1]), None, slice(None, None, 2))),
    ((2, 3, 2), (np.array([1, 0, 1]), slice(None), np.array([1, 1, 1]))),  # arrays apart: their axis comes first
    ((2, 3, 2), (1, np.array([2, 2]), Ellipsis)),
    ((3,), (np.array(True),)),
    ((3,), (np.array(False),)),
    ((0, 3), (slice(None), 1)),
    ((2, 0), (np.array([1, 1]),)),
]
MATMUL = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 2)),
    ((2, 2, 3), (3,)),
    ((3,), (2, 3, 2)),
    ((2, 2, 3), (3, 2)),
    ((2, 3), (2, 3, 2)),
    ((2, 2, 3), (2, 3, 2)),
    ((2, 1, 2, 3), (3, 3, 1)),
    ((1, 2, 3), (2, 3, 2)),
    ((2, 1, 1, 2), (1, 3, 2, 1)),
    ((2, 2, 2, 3), (3,)),
    ((3,), (2, 2, 3, 1)),
    ((0,), (0,)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((2, 0), (0,)),
    ((0, 2, 3), (3, 2)),
    ((0, 2, 3), (3,)),
    ((2, 3), (3, 0)),
]
LOGITS, WAYS = [(3,), (1,), (2, 3), (2, 1, 3), (0, 3)], ("mean", "sum", "none")
JOINED = [  # shapes, axis
    (((2,),), 0),
    (((2,), (3,)), 0),
    (((2, 3), (2, 1), (2, 2)), 1),
    (((1, 2), (2, 2)), 0),
    (((2, 2, 1), (2, 1, 1), (2, 3, 1)), 1),
    (((0, 3), (2, 3)), 0),
    (((2, 0), (2, 0), (2, 1)), 1),
]
STACKED = [
    (((),), 0),
    (((), ()), 0),
    (((), (), ()), 0),
    (((3,), (3,)), 0),
    (((3,), (3,)), 1),
    (((2, 3), (2, 3), (2, 3)), 1),
    (((2, 3), (2, 3)), 2),
    (((0,), (0,)), 1),
]


def _cases(name: str, reference: Callable[..., Any], *of: tuple[tuple[tuple[int, ...], ...], dict[str, Any]],
           **more: Any) -> list[Case]:  # fmt: skip
    def fixed(params: dict[str, Any]) -> Callable[..., Any]:
        return lambda *operands: reference(*operands, **params)

    return [Case(ROWS[name], fixed(params), shapes, params, **more) for shapes, params in of]


STRUCTURAL: dict[str, list[Case]] = {
    "broadcast_to": _cases(
        "broadcast_to",
        lambda x, to: np.broadcast_to(x, to) * 1.0,
        *(
            (((shape),), {"to": to})
            for shape, to in [
                ((), ()),
                ((), (3,)),
                ((), (0, 2)),
                ((3,), (3,)),
                ((1,), (3,)),
                ((3,), (2, 3)),
                ((2, 1), (2, 3)),
                ((2, 1), (2, 2, 3)),
                ((1, 3), (0, 3)),
                ((2, 0), (3, 2, 0)),
            ]
        ),
    ),
    "sum_to": _cases(
        "sum_to",
        _sum_to,
        *(
            ((shape,), {"to": to})
            for shape, to in [
                ((3,), ()),
                ((3,), (3,)),
                ((3,), (1,)),
                ((2, 3), ()),
                ((2, 3), (3,)),
                ((2, 3), (1, 3)),
                ((2, 3), (2, 1)),
                ((2, 2, 3), (2, 1)),
                ((2, 1, 3), (1, 1)),
                ((0, 3), (3,)),
                ((2, 0), (2, 1)),
                ((2, 0), (0,)),
            ]
        ),
    ),
    "cast": [
        *_cases(
            "cast",
            lambda x, to: x * 1.0,
            *(((shape,), {"to": np.dtype(np.float32)}) for shape in [(), (2, 3), (0, 3)]),
            rtol=2e-7,
        ),
        *_cases("cast", lambda x, to: x * 1.0, *(((shape,), {"to": np.dtype(float)}) for shape in [(), (3,)])),
    ],
    "reshape": _cases(
        "reshape",
        lambda x, to: np.reshape(x, to),
        *(
            ((shape,), {"to": to})
            for shape, to in [
                ((), ()),
                ((), (1, 1)),
                ((1,), ()),
                ((6,), (2, 3)),
                ((2, 3), (3, 2)),
                ((2, 3), (6,)),
                ((2, 2, 1), (1, 4)),
                ((0, 3), (3, 0, 2)),
                ((2, 0), (0,)),
            ]
        ),
    ),
    "transpose": _cases(
        "transpose",
        lambda x, axes: np.transpose(x, axes),
        *(
            ((shape,), {"axes": axes})
            for shape, axes in [
                ((), ()),
                ((3,), (0,)),
                ((2, 3), (1, 0)),
                ((2, 3), (0, 1)),
                ((2, 3, 2), (2, 1, 0)),
                ((2, 3, 4), (1, 2, 0)),  # not its own inverse
                ((2, 1, 3), (2, 0, 1)),
                ((0, 3), (1, 0)),
                ((2, 1, 3, 1), (3, 1, 0, 2)),
            ]
        ),
    ),
    "index": _cases("index", lambda x, key: x[key], *(((shape,), {"key": key}) for shape, key in KEYS)),
    "scatter": _cases(
        "scatter",
        _scatter,
        *(((np.zeros(shape)[key].shape,), {"key": key, "to": shape}) for shape, key in KEYS),
    ),
    "item": _cases(
        "item",
        lambda x, at: x[at],
        *(((shape,), {"at": at}) for shape, at in [((), ()), ((3,), (1,)), ((2, 3), (1, 2)), ((2, 1, 3), (0, 0, 1))]),
    ),
    "concatenate": _cases(
        "concatenate", lambda *xs, axis: np.concatenate(xs, axis), *((shapes, {"axis": i}) for shapes, i in JOINED)
    ),
    "stack": _cases("stack", lambda *xs, axis: np.stack(xs, axis), *((shapes, {"axis": i}) for shapes, i in STACKED)),
    "matmul": _cases("matmul", np.matmul, *((shapes, {}) for shapes in MATMUL)),
    "linear": _cases(
        "linear",
        lambda x, weight, bias: np.einsum("...n,mn->...m", x, weight) + bias,
        *(((x, (2, 3), (2,)), {}) for x in [(3,), (4, 3), (1, 3), (2, 2, 3), (2, 1, 2, 3), (0, 3), (2, 0, 3)]),
        (((2, 0), (3, 0), (3,)), {}),
    ),
    "nll": _cases("nll", _nll, *(((of, of), {"reduction": way}) for of in LOGITS for way in WAYS)),
    "cross_entropy": [
        *_cases(
            "cross_entropy",
            _cross_entropy,
            *(((of, of), {"reduction": way, "hard": False}) for of in LOGITS for way in WAYS),
        ),
        *(
            case
            for of in LOGITS
            for way in WAYS
            for case in _cases(
                "cross_entropy",
                lambda z, reduction, hard: _cross_entropy(z, _labels(*z.shape), reduction, hard),
                ((of,), {"reduction": way, "hard": True}),
                still=(_labels(*of),),
            )
        ),
    ],
    **{
        name: _cases(
            name,
            reference,
            *(
                ((shape,), {"axis": axis, "keepdims": keep})
                for shape, axis in REDUCTIONS + (EMPTY_REDUCTIONS if name in ("sum", "prod") else [])
                for keep in (False, True)
            ),
        )
        for name, reference in REDUCED.items()
    },
    **{
        name: _cases(name, reference, *(((shape,), {"axis": axis}) for shape, axis in [*REDUCTIONS, ((2, 0), (0,))]))
        for name, reference in ALONG.items()
    },
}
STRUCTURAL["prod"] += [
    case
    for x in WITH_ZEROS
    for axis in (None, (0,))
    for case in _cases("prod", REDUCED["prod"], ((np.shape(x),), {"axis": axis, "keepdims": False}), given=(x,))
]
CASES = elementwise_cases() + [case for cases in STRUCTURAL.values() for case in cases]
each_case = pytest.mark.parametrize("case", CASES, ids=attrgetter("id"))
each_elementwise_row = pytest.mark.parametrize("row", TABLE.values(), ids=attrgetter("name"))


def test_every_row_has_cases():
    assert set(ELEMENTWISE) == set(TABLE), "add the row's function in NumPy to ELEMENTWISE in tests/test_tensor_rows.py"
    assert set(STRUCTURAL) == set(ROWS), "add cases of the row to STRUCTURAL in tests/test_tensor_rows.py"
    assert all(STRUCTURAL.values())
    assert all(row.partials and not row.vjp for row in TABLE.values())
    assert all(row.vjp and not row.partials for row in ROWS.values())
    assert len({case.id for case in CASES}) == len(CASES)  # else two would draw the same numbers


# ---- references


def close(got: Any, want: Any, rtol: float) -> None:
    """Equal to `rtol` of the largest number, and in shape."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * max(1.0, np.max(np.abs(want), initial=0.0)))


def inner(a: Any, b: Any) -> float:
    """The sum of the products, of arrays or of tuples of them."""
    if isinstance(a, tuple):
        return sum(map(inner, a, b))
    return float(np.sum(np.asarray(a, float) * np.asarray(b, float)))


def along(case: Case, point: tuple[np.ndarray, ...], way: tuple[np.ndarray, ...]) -> Any:
    """The derivative of the reference along a direction, by a complex step: nothing is subtracted."""
    h = 1e-30
    return np.imag(case.reference(*(x + 1j * h * t for x, t in zip(point, way, strict=True)))) / h


def units(point: tuple[np.ndarray, ...]) -> Any:
    """Each number of the operands, as the direction in which it moves alone."""
    for i, x in enumerate(point):
        for place in np.ndindex(x.shape):
            way = tuple(np.zeros(y.shape) for y in point)
            way[i][place] = 1.0
            yield i, place, way


def gradients(case: Case, point: tuple[np.ndarray, ...], cotangent: Any) -> tuple[np.ndarray, ...]:
    found = tuple(np.zeros(x.shape) for x in point)
    for i, place, way in units(point):
        found[i][place] = inner(along(case, point, way), cotangent)
    return found


def hessian_times(case: Case, point: tuple[np.ndarray, ...], v: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """How the derivative along `v` of the summed reference changes with each number: four-point differences."""
    cotangent, h = case.cotangent(), 3e-4
    found = tuple(np.zeros(x.shape) for x in point)

    def slope(way: Any, k: float) -> float:
        return inner(along(case, tuple(x + k * h * t for x, t in zip(point, way, strict=True)), v), cotangent)

    for i, place, way in units(point):
        found[i][place] = (8 * (slope(way, 1) - slope(way, -1)) - (slope(way, 2) - slope(way, -2))) / (12 * h)
    return found


def leaves(case: Case, dtype: Any = float) -> list[Tensor]:
    return [Tensor(x, requires_grad=True) for x in case.operands(dtype)]


def exactly_like(got: Any, leaf: Any) -> None:
    """A gradient is an array with the shape and dtype of its leaf, also where that has no axes."""
    assert type(got) is np.ndarray
    assert (got.shape, got.dtype) == (leaf.shape, leaf.dtype)


# ---- forward


@each_case
def test_forward_is_numpy(case):
    point = case.operands()
    want = np.real(case.reference(*point))
    plain = case(*point)
    close(plain, want, min(case.rtol, 1e-13) if case.rtol < 1e-9 else case.rtol)
    assert not isinstance(plain, (Tensor, Value))

    out = case(*map(Tensor, point))
    assert type(out) is (Value if case.row.vjp and case.row.rank == 0 else Tensor)
    assert out.prim.name == case.row.name
    np.testing.assert_array_equal(out.data, plain)
    if type(out) is Tensor:
        assert (out.shape, out.ndim, out.size) == (want.shape, want.ndim, want.size)
        assert out.dtype == case.params["to"] if case.row.name == "cast" else out.dtype == np.float64
        assert not out.requires_grad
        assert case(*leaves(case)).requires_grad
    for i, _ in enumerate(point):  # plain arrays beside one tensor are constants
        mixed = case(*(Tensor(x) if k == i else x for k, x in enumerate(point)))
        np.testing.assert_array_equal(mixed.data, plain)


# ---- order 1


@each_case
def test_gradients_against_complex_steps(case):
    point, cotangent = case.operands(), case.cotangent()
    want = gradients(case, point, cotangent)
    of = leaves(case)
    case(*of).backward(cotangent)
    for leaf, wanted in zip(of, want, strict=True):
        exactly_like(leaf.grad, leaf)
        close(leaf.grad, wanted, case.rtol)

    out, pullback = mg.vjp(case, *point)
    np.testing.assert_array_equal(out, case(*point))
    for leaf, found in zip(of, pullback(cotangent), strict=True):
        exactly_like(found, leaf)
        np.testing.assert_array_equal(found, leaf.grad)

    for i, leaf in enumerate(of):  # one leaf alone: what needs no gradient gets none, and changes none
        alone = [Tensor(x, requires_grad=k == i) for k, x in enumerate(point)]
        case(*alone).backward(cotangent)
        np.testing.assert_array_equal(alone[i].grad, leaf.grad)
        assert [x.grad is None for x in alone] == [k != i for k in range(len(point))]


@each_case
def test_forward_mode_against_complex_steps_and_the_gradient(case):
    point, [way], cotangent = case.operands(), case.directions(1), case.cotangent()
    out, moved = mg.jvp(case, point, way)
    np.testing.assert_array_equal(out, case(*point))
    close(moved, along(case, point, way), case.rtol)
    back = mg.vjp(case, *point)[1](cotangent)
    size = sum(float(np.sum(np.abs(g * t))) for g, t in zip(back, way, strict=True))
    assert inner(cotangent, moved) == pytest.approx(inner(back, way), rel=case.rtol, abs=case.rtol * max(size, 1.0))
    for i, t in enumerate(way):  # each operand alone: the parts add up
        alone = tuple(t if k == i else np.zeros_like(x) for k, x in enumerate(point))
        close(mg.jvp(case, point, alone)[1], along(case, point, alone), case.rtol)


# ---- order 2


@each_case
def test_second_order_in_all_four_ways(case):
    point, [v, w] = case.operands(), case.directions(2)
    every = tuple(range(len(point)))
    want = hessian_times(case, point, v)
    rtol = max(1e-9, case.rtol)

    def times_v(*operands):
        found = mg.grad(case.summed, every)(*operands)
        return sum(((g * t).sum() for g, t in zip(found, v, strict=True)), start=0.0)

    def along_v(*operands):
        return mg.jvp(case.summed, operands, v)[1]

    reverse_over_reverse = mg.grad(times_v, every)(*point)
    forward_over_reverse = mg.hvp(case.summed, point, v)
    forward_over_reverse = forward_over_reverse if len(point) > 1 else (forward_over_reverse,)
    reverse_over_forward = mg.grad(along_v, every)(*point)
    for i, x in enumerate(point):
        for found in (reverse_over_reverse, forward_over_reverse, reverse_over_forward):
            exactly_like(found[i], x)
            close(found[i], want[i], rtol)
        close(forward_over_reverse[i], reverse_over_reverse[i], 1e-12 if case.rtol < 1e-9 else case.rtol)
    forward_over_forward = mg.jvp(along_v, point, w)[1]
    size = sum(float(np.sum(np.abs(g * t))) for g, t in zip(want, w, strict=True))
    assert forward_over_forward == pytest.approx(inner(want, w), rel=rtol, abs=rtol * max(size, 1.0))


# ---- traced


@each_case
def test_traced_derivatives_have_the_same_numbers(case):
    point, [v] = case.operands(), case.directions(1)
    every = tuple(range(len(point)))
    plain, traced = mg.grad(case.summed, every)(*point), mg.grad(case.summed, every)(*leaves(case))
    cotangent = case.cotangent()
    _, pullback = mg.vjp(case, *leaves(case))
    ahead, plain_ahead = mg.jvp(case, leaves(case), v)[1], mg.jvp(case, point, v)[1]
    rtol = 1e-14 if case.rtol < 1e-9 else case.rtol
    for x, want, found, pulled in zip(point, plain, traced, pullback(cotangent), strict=True):
        exactly_like(want, x)
        for node in (found, pulled):
            assert type(node) is Tensor
            assert (node.shape, node.dtype) == (x.shape, x.dtype)
            close(node.data, want, rtol)
    assert type(ahead) is (Value if case.row.vjp and case.row.rank == 0 else Tensor)
    close(ahead.data, plain_ahead, rtol)


# ---- layouts and dtypes


def turned(x: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    return np.ascontiguousarray(x.T), lambda t: t.T


def strided(x: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), 0.77)
    wide[..., ::2] = x
    return wide, lambda t: t[..., ::2]


def backwards(x: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    key = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[key]), lambda t: t[key]


@each_case
def test_views_inside_the_graph(case):
    """Operands whose numbers do not lie one after the other: the same result, and gradients at the same places."""
    point, cotangent = case.operands(), case.cotangent()
    rtol = 1e-13 if case.rtol < 1e-9 else case.rtol  # NumPy adds up in another order
    plain = leaves(case)
    straight = case(*plain)
    straight.backward(cotangent)
    for layout in (turned, strided, backwards):
        pairs = [layout(x) if x.ndim else (x, lambda t: t) for x in point]
        bases = [Tensor(base, requires_grad=True) for base, _ in pairs]
        seen = [view(base) for base, (_, view) in zip(bases, pairs, strict=True)]
        for x, node in zip(point, seen, strict=True):
            np.testing.assert_array_equal(node.data, x)
            if x.size and sum(n > 1 for n in x.shape) > (layout is turned):
                assert not node.data.flags.c_contiguous  # else nothing is tested
        out = case(*seen)
        close(out.data, straight.data, rtol)
        out.backward(cotangent)
        for leaf, base, (_, view) in zip(plain, bases, pairs, strict=True):
            exactly_like(base.grad, base)
            close(view(base.grad), leaf.grad, rtol)
            if layout is strided and base.ndim:
                assert not base.grad[..., 1::2].any()

    if np.ndim(cotangent):  # what comes back may be such a view, too
        fortran = np.asfortranarray(cotangent)
        for leaf, found in zip(plain, mg.vjp(case, *point)[1](fortran), strict=True):
            close(found, leaf.grad, rtol)


@each_case
def test_float32_stays_float32(case):
    single = np.dtype(np.float32)
    point = case.operands(single)
    cotangent, [way] = case.cotangent(single), case.directions(1, single)
    wide = tuple(x.astype(float) for x in point)
    want = gradients(case, wide, np.asarray(cotangent, float))
    rtol = 3e-6
    of = leaves(case, single)
    out = case(*of)
    if type(out) is Tensor:
        assert out.dtype == (case.params["to"] if case.row.name == "cast" else single)
        assert np.asarray(case(*point)).dtype == out.dtype
    close(out.data, np.real(case.reference(*wide)), rtol)
    out.backward(cotangent)
    for leaf, wanted in zip(of, want, strict=True):
        exactly_like(leaf.grad, leaf)
        close(leaf.grad, wanted, rtol)
    moved = mg.jvp(case, point, way)[1]
    close(moved, along(case, wide, tuple(x.astype(float) for x in way)), rtol)
    if np.ndim(moved):  # a number alone is a float of Python
        assert moved.dtype == out.dtype
    found = mg.hvp(case.summed, point, way)
    for x, second in zip(point, found if len(point) > 1 else (found,), strict=True):
        exactly_like(second, x)
        assert second.dtype == single
    traced = mg.jvp(case, of, way)[1]
    assert type(traced) is Value or traced.dtype == out.dtype
    assert all(node.dtype == single for node in mg.grad(case.summed, tuple(range(len(of))))(*of))


@pytest.mark.parametrize("case", [case for case in CASES if len(case.shapes) > 1], ids=attrgetter("id"))
def test_float32_beside_float64(case):
    """The result is in the finer of the two, each gradient in the dtype of its own leaf."""
    point = case.operands()
    want = gradients(case, tuple(x.astype(np.float32).astype(float) for x in point), case.cotangent())
    for single in range(len(point)):
        of = [
            Tensor(x.astype(np.float32).astype(np.float32 if i == single else float), requires_grad=True)
            for i, x in enumerate(point)
        ]
        out = case(*of)
        assert out.dtype == np.float64
        out.backward(case.cotangent(out.dtype))
        for leaf, wanted in zip(of, want, strict=True):
            exactly_like(leaf.grad, leaf)
            close(leaf.grad, wanted, 3e-6)


# ---- a scalar is a tensor of one element

POINTS = (-1.5, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0)  # with every kink, and every tie
ROUNDED = {"identity", "neg", "add", "sub", "mul", "div", "sqrt", "leaky_relu", "greater", "equal", "where", "relu",
           "maximum", "minimum", "abs", "sign", "step", "clip"}  # fmt: skip


def agree(row: Primitive, number: float, array: Any) -> None:
    """The same number; NumPy's exp and Python's may differ in the last bit."""
    assert np.size(array) == 1
    got = float(np.asarray(array).item())
    if row.name in ROUNDED:
        assert got == number or (got != got and number != number)
    else:
        assert got == pytest.approx(number, rel=8 * EPS, abs=2 * EPS)


def slopes(out: Any, operands: Any, seed: Any) -> list[Any] | None:
    """The gradients that a backward pass brings the nodes among the operands; None where it refuses."""
    nodes = [x for x in operands if isinstance(x, Node)]
    for x in nodes:
        x.grad = None
    try:
        out.backward(seed)
    except DomainError:
        return None
    return [x.grad for x in nodes]


@each_elementwise_row
def test_a_scalar_is_a_tensor_of_one_element(row):
    n, every, compared = len(row.partials), tuple(range(len(row.partials))), 0
    for point in itertools.product(POINTS, repeat=n):
        for alone in (None, *(range(n) if n > 1 else ())):  # all operands are nodes, or one is, beside plain numbers
            values = [Value(x) if alone in (None, i) else x for i, x in enumerate(point)]
            tensors = [
                [Tensor(np.full(shape, x), requires_grad=True) if alone in (None, i) else x
                 for i, x in enumerate(point)]
                for shape in ((1,), (), (1, 1))
            ]  # fmt: skip
            if alone is None and n > 1:  # Values and Tensors in one graph
                tensors.append([Value(x) if i == 0 else Tensor([x], requires_grad=True) for i, x in enumerate(point)])
            try:
                out = row(*values)
            except DomainError:
                out = None
            with np.errstate(all="ignore"):
                for operands in tensors:
                    made = row(*operands)
                    assert type(made) is Tensor
                    if out is None:  # where numbers have no value, arrays have NumPy's inf or nan
                        assert not np.isfinite(made.data).any(), point
                        continue
                    agree(row, out.data, made.data)
                    want, got = slopes(out, values, 3.0), slopes(made, operands, np.full(made.shape, 3.0))
                    if want is None or got is None:
                        assert want is None, point
                        # A number has no inf to give; beside one, an array need not either.
                        assert not all(np.isfinite(g).all() for g in got or [math.nan]), point
                        assert got is not None or not all(isinstance(x, Tensor) for x in operands), point
                        continue
                    compared += 1
                    for x, number, array in zip([x for x in operands if isinstance(x, Node)], want, got, strict=True):
                        assert type(array) is (float if isinstance(x, Value) else np.ndarray)
                        assert np.shape(array) == np.shape(x.data)
                        agree(row, number, array)
                if alone is None and out is not None and want is not None:  # the rules as they are traced
                    of = [Tensor([x]) for x in point]
                    for node, number in zip(mg.grad(lambda *xs: (row(*xs) * 3.0).sum(), every)(*of), want, strict=True):
                        agree(row, number, node.data)
    assert compared >= 3


KINKS = [  # row, operands, the derivative by each
    ("relu", [0.0], [0.0]),
    ("relu", [-0.0], [0.0]),
    ("abs", [0.0], [0.0]),
    ("sign", [0.0], [0.0]),
    ("step", [0.0], [0.0]),
    ("maximum", [1.5, 1.5], [0.5, 0.5]),
    ("minimum", [1.5, 1.5], [0.5, 0.5]),
    ("maximum", [0.0, -0.0], [0.5, 0.5]),
    ("clip", [-1.0, -1.0, 2.0], [1.0, 0.0, 0.0]),
    ("clip", [2.0, -1.0, 2.0], [1.0, 0.0, 0.0]),
    ("clip", [0.0, 2.0, -1.0], [0.0, 0.0, 1.0]),  # an interval of nothing: the number is the upper end
    ("leaky_relu", [0.0, 0.1], [0.1, 0.0]),
    ("elu", [0.0, 1.5], [1.5, 0.0]),
    ("where", [0.0, 2.0, 3.0], [0.0, 0.0, 1.0]),
    ("pow", [0.0, 2.0], [0.0, 0.0]),
    ("pow", [0.0, 0.0], [0.0, 0.0]),
]


@pytest.mark.parametrize(("name", "point", "want"), KINKS)
def test_kinks_of_arrays(name, point, want):
    row, every = TABLE[name], tuple(range(len(point)))
    arrays = [np.array([x, 0.75]) for x in point]

    def first(*xs):
        return row(*xs)[0]

    of = [Tensor(x, requires_grad=True) for x in arrays]
    first(*of).backward()
    for leaf, pulled, traced, number in zip(
        of, mg.grad(first, every)(*arrays), mg.grad(first, every)(*of), want, strict=True
    ):
        for found in (leaf.grad, pulled, traced.data):
            np.testing.assert_array_equal(found, [number, 0.0])
    for i, number in enumerate(want):
        way = [np.array([float(k == i), 0.0]) for k in every]
        assert mg.jvp(first, arrays, way)[1] == number


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.row.partials and () in case.shapes and any(case.shapes)],
    ids=attrgetter("id"),
)
def test_a_number_beside_arrays_is_a_tensor_without_axes(case):
    """A Value among Tensors: derivatives to the second order, forward, backward and mixed."""
    arrays, [way] = case.operands(), case.directions(1)
    numbers, steps = (tuple(x if np.ndim(x) else float(x) for x in of) for of in (arrays, way))
    every = tuple(range(len(arrays)))

    def along(*operands):
        return mg.jvp(case.summed, operands, steps)[1]

    def nodes():
        return [Tensor(x, requires_grad=True) if np.ndim(x) else Value(x) for x in numbers]

    first, second = mg.grad(case.summed, every)(*arrays), mg.hvp(case.summed, arrays, way)
    for want, found in [
        (first, mg.grad(case.summed, every)(*numbers)),
        (first, [node.data for node in mg.grad(case.summed, every)(*nodes())]),
        (second, mg.hvp(case.summed, numbers, steps)),
        (second, mg.grad(along, every)(*numbers)),
        (second, [node.data for node in mg.grad(along, every)(*nodes())]),
    ]:
        for x, a, b in zip(numbers, want, found, strict=True):
            assert type(b) is float if type(x) is float else b.shape == x.shape
            close(b, a, 1e-13)
    of = nodes()
    case(*of).backward(case.cotangent())
    for x, leaf, want in zip(numbers, of, first, strict=True):
        assert type(leaf.grad) is type(x)
        close(leaf.grad, want, 1e-13)


@pytest.mark.parametrize("number", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize(
    ("function", "degree"),
    [
        (lambda x: ROWS["broadcast_to"].given(to=(2, 2))(x), 4),
        (lambda x: ROWS["reshape"].given(to=(1, 1))(x), 1),
        (lambda x: ROWS["stack"].given(axis=0)(x, 2.0, x), 2),
        (lambda x: mg.stack([[x, 1.0], [x, x]]), 3),
    ],
)
def test_structural_rows_of_a_value(number, function, degree):
    """A row that makes an array of a Value: its gradient comes back as one float, at any order."""
    x, t = Value(number), Tensor(number, requires_grad=True)
    for leaf in (x, t):
        out = function(leaf)
        assert type(out) is Tensor
        (out * out).sum().backward()
    assert type(x.grad) is float
    assert x.grad == t.grad == 2.0 * degree * number
    squared = lambda x: (function(x) * function(x)).sum()  # noqa: E731
    assert mg.grad(mg.grad(squared))(number) == 2.0 * degree
    assert mg.jvp(mg.grad(squared), (number,), (1.0,))[1] == 2.0 * degree


def test_an_item_is_a_value_and_its_gradient_goes_to_its_place():
    t = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    node = ROWS["item"].given(at=(1, 0))(t)
    assert (type(node), type(node.data), node.data, node.op) == (Value, float, 3.0, "[1, 0]")
    (node * node * t).sum().backward()
    np.testing.assert_array_equal(t.grad, [[9.0, 9.0], [9.0 + 6.0 * 10.0, 9.0]])


# ---- ties, large numbers, nothing

TIES = [  # row, parameters, numbers, gradient of the sum of the result
    ("max", None, [1.0, 3.0, 3.0], [0.0, 0.5, 0.5]),
    ("max", None, [2.0, 2.0, 2.0, 2.0], [0.25, 0.25, 0.25, 0.25]),
    ("max", (1,), [[1.0, 1.0], [0.0, 5.0]], [[0.5, 0.5], [0.0, 1.0]]),
    ("max", (0,), [[1.0, 1.0], [1.0, 5.0]], [[0.5, 0.0], [0.5, 1.0]]),
    ("max", (0, 1), [[5.0, 1.0], [1.0, 5.0]], [[0.5, 0.0], [0.0, 0.5]]),
    ("max", None, [0.0, -0.0], [0.5, 0.5]),
    ("max", None, [math.inf, math.inf, 0.0], [0.5, 0.5, 0.0]),
    ("max", None, [-math.inf, -math.inf], [0.5, 0.5]),
    ("min", None, [1.0, 3.0, 1.0], [0.5, 0.0, 0.5]),
    ("min", (1,), [[1.0, 1.0], [0.0, 5.0]], [[0.5, 0.5], [1.0, 0.0]]),
    ("min", (0,), [[1.0, 1.0], [1.0, 5.0]], [[0.5, 1.0], [0.5, 0.0]]),
    ("min", None, 4.0, 1.0),
]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(("name", "axis", "numbers", "want"), TIES)
def test_ties_share_the_gradient_equally(name, axis, numbers, want, keepdims):
    row = ROWS[name].given(axis=axis, keepdims=keepdims)
    x = Tensor(numbers, requires_grad=True)
    row(x).sum().backward()
    np.testing.assert_array_equal(x.grad, want)
    np.testing.assert_array_equal(mg.grad(lambda x: row(x).sum())(np.array(numbers)), want)
    way = np.arange(1.0, 1.0 + np.size(numbers)).reshape(np.shape(numbers))
    assert mg.jvp(lambda x: row(x).sum(), (np.array(numbers),), (way,))[1] == inner(np.array(want), way)


@pytest.mark.parametrize("size", [1000.0, 1e300])
def test_large_logits(size):
    logits = np.array([[size, 0.0, -size], [-size, -size, -size]])
    far, even = [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]
    np.testing.assert_allclose(mg.softmax(Tensor(logits)).data, [far, even], rtol=1e-15)
    np.testing.assert_allclose(mg.log_softmax(Tensor(logits)).data, [[0.0, -size, -2 * size], np.log(even)], rtol=1e-15)
    np.testing.assert_allclose(mg.logsumexp(Tensor(logits), 1).data, [size, -size + math.log(3.0)], rtol=1e-15)
    for f, want in [
        (lambda z: mg.logsumexp(z, 1).sum(), [far, even]),
        (lambda z: mg.log_softmax(z)[:, 0].sum(), [[0.0, 0.0, 0.0], [2 / 3, -1 / 3, -1 / 3]]),
        (lambda z: nn.cross_entropy(z, [1, 0], "sum"), [[1.0, -1.0, 0.0], [-2 / 3, 1 / 3, 1 / 3]]),
        (lambda z: in_one_row(z, 2 * np.eye(3)[[1, 0]], "sum"), [[2.0, -2.0, 0.0], [-4 / 3, 2 / 3, 2 / 3]]),
        (lambda z: in_two_rows(z, np.eye(3)[[1, 0]], "sum"), [[1.0, -1.0, 0.0], [-2 / 3, 1 / 3, 1 / 3]]),
        (lambda z: mg.softmax(z)[:, 0].sum(), [[0.0, 0.0, 0.0], [2 / 9, -1 / 9, -1 / 9]]),
    ]:
        z = Tensor(logits, requires_grad=True)
        f(z).backward()
        np.testing.assert_allclose(z.grad, want, rtol=1e-14, atol=1e-15)
        moved = mg.hvp(f, logits, np.ones((2, 3)))  # all logits together: nothing changes
        np.testing.assert_allclose(moved, np.zeros((2, 3)), atol=1e-15)


def in_two_rows(z: Any, target: Any, reduction: str = "mean") -> Any:
    """What `cross_entropy` is in one."""
    return ROWS["nll"].given(reduction=reduction)(mg.log_softmax(z), target)


def in_one_row(z: Any, target: Any, reduction: str = "mean") -> Any:
    return ROWS["cross_entropy"].given(reduction=reduction, hard=False)(z, target)


@pytest.mark.parametrize("loss", [lambda z, t, way: nn.cross_entropy(z, [2], way), in_one_row, in_two_rows])
def test_a_class_that_is_ruled_out(loss):
    """A logit of minus infinity: probability 0 and no gradient, and no nan where the target there is 0."""
    z = Tensor([[0.0, -math.inf, math.log(3.0)]], requires_grad=True)
    target = np.array([[0.0, 0.0, 1.0]])
    for reduction, seed in (("mean", 1.0), ("sum", 1.0), ("none", [1.0])):
        found, z.grad = loss(z, target, reduction), None
        found.backward(np.array(seed))
        np.testing.assert_allclose(found.data, math.log(4 / 3) * np.array(seed), rtol=4 * EPS)
        np.testing.assert_allclose(z.grad, [[0.25, 0.0, -0.25]], rtol=4 * EPS)
        times = mg.hvp(lambda z, way=reduction: loss(z, target, way).sum(), (z.data,), (np.array([[1.0, 5.0, 0.0]]),))
        np.testing.assert_allclose(times, [[0.1875, 0.0, -0.1875]], rtol=4 * EPS)
    np.testing.assert_allclose(mg.softmax(z).data, [[0.25, 0.0, 0.75]], rtol=4 * EPS)


@pytest.mark.parametrize("reduction", WAYS)
@pytest.mark.parametrize("of", LOGITS)
def test_one_row_and_two_rows_are_one_function(of, reduction):
    """`cross_entropy`, and `nll` of `log_softmax`: the same bits, and derivatives by both operands to order 3."""
    random = np.random.default_rng(len(of))
    point, *ways = (tuple(random.normal(size=of) for _ in range(2)) for _ in range(3))
    one, two = (lambda z, t, f=f: (f(z, t, reduction) * 1.5).sum() for f in (in_one_row, in_two_rows))
    np.testing.assert_array_equal(in_one_row(*point, reduction), in_two_rows(*point, reduction))
    for way in ways:
        for a, b in zip(mg.grad(one, (0, 1))(*point), mg.grad(two, (0, 1))(*point), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)
        for a, b in zip(mg.hvp(one, point, way), mg.hvp(two, point, way), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
        one, two = (lambda *xs, f=f, way=way: mg.jvp(f, xs, way)[1] for f in (one, two))


@pytest.mark.parametrize("reduction", WAYS)
@pytest.mark.parametrize("of", LOGITS)
def test_labels_leave_nothing_out(of, reduction):
    """Where targets add up to 1, `hard` changes nothing."""
    random = np.random.default_rng(len(of))
    z, way, target = random.normal(size=of), random.normal(size=of), _labels(*of)
    hard, soft = (ROWS["cross_entropy"].given(reduction=reduction, hard=hard) for hard in (True, False))
    for f in (
        lambda row: row(z, target),
        lambda row: mg.grad(lambda z: row(z, target).sum())(z),
        lambda row: mg.grad(lambda t: row(z, t).sum())(target),
        lambda row: mg.jvp(lambda z: row(z, target), (z,), (way,))[1],
        lambda row: mg.jvp(lambda t: row(z, t), (target,), (way,))[1],
        lambda row: mg.hvp(lambda z: row(z, target).sum(), z, way),
    ):
        np.testing.assert_array_equal(f(hard), f(soft))


@pytest.mark.parametrize("hard", [True, False])
def test_logits_that_are_no_numbers(hard):
    """They spoil their own example, and nothing else."""
    z = Tensor([[0.0, math.nan], [0.0, 0.0]], requires_grad=True)
    losses = ROWS["cross_entropy"].given(reduction="none", hard=hard)(z, np.eye(2))
    losses.backward(np.ones(2))
    np.testing.assert_allclose(losses.data, [math.nan, math.log(2.0)], rtol=EPS)
    np.testing.assert_array_equal(z.grad, [[math.nan, math.nan], [0.5, -0.5]])


def test_logsumexp_of_nothing_and_of_minus_infinity():
    assert mg.logsumexp(Tensor(np.zeros(0))).data == -math.inf
    np.testing.assert_array_equal(mg.logsumexp(Tensor(np.zeros((2, 0))), 1).data, [-math.inf, -math.inf])
    masked = Tensor([0.0, -math.inf, math.log(3.0)], requires_grad=True)
    out = mg.logsumexp(masked)
    out.backward()
    assert out.item() == pytest.approx(math.log(4.0), rel=4 * EPS)
    np.testing.assert_allclose(masked.grad, [0.25, 0.0, 0.75], rtol=4 * EPS)
    assert mg.logsumexp(Tensor([math.inf, 0.0])).data == math.inf


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize(("shape", "axis"), [((0,), None), ((2, 0), (1,)), ((0, 3), (0,))])
def test_no_numbers_have_no_extreme(name, shape, axis):
    with pytest.raises(ShapeError, match="at least one number"):
        ROWS[name].given(axis=axis, keepdims=False)(Tensor(np.zeros(shape)))


# ---- templates


def fields(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def balanced(latex: str) -> bool:
    depth = 0
    for letter in latex:
        depth += (letter == "{") - (letter == "}")
        if depth < 0:
            return False
    return depth == 0 and latex.count(r"\left") == latex.count(r"\right")


@pytest.mark.parametrize("case", [case for case in CASES if case.row.vjp or case.shapes[0] == ()], ids=attrgetter("id"))
def test_what_a_drawing_says_of_it(case):
    row = case.row.given(**case.params) if case.params else case.row
    n = len(case.shapes) + len(case.still)
    several = isinstance(row.vjp, Each)  # one text for all of the operands
    assert row.label.strip()
    assert fields(row.text) == fields(row.latex) == [""] * (1 if several else n)
    names = [f"x{i}" for i in range(n)]
    filled = [", ".join(names)] if several else names
    for template in (row.text, row.latex):
        assert all(name in template.format(*filled) for name in names)
    assert balanced(row.latex.format(*filled))

    nodes = [Tensor(x, name=name) for x, name in zip((*case.operands(), *case.still), names, strict=True)]
    out = row(*nodes)
    assert out.op == row.label
    assert out.inputs == tuple(nodes)
    assert spell(out) == row.text.format(*filled)

    if row.vjp:  # and what it says of an edge, where there is no number to show
        assert len(row.flow) == len(row.vjp) == len(row.jvp) == (1 if several else n)
        assert all("G" in said.format(*names) for said in row.flow)

"""Derivatives against finite differences, and a row of the table against itself."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .autodiff import adjoints
from .errors import DomainError, GradCheckError, InputError, shown
from .node import Node
from .primitive import Primitive
from .primitives import identity
from .transforms import grad
from .value import Value

HALF_UNIT = 2.0**-53  # how far rounding moves a number, relative to it
Point = tuple[float, ...]


class Slope(NamedTuple):
    """The derivative by one argument, found in two ways, and what is wrong with it."""

    got: float  # by backpropagation
    expected: float  # by finite differences; nan where there are none
    uncertainty: float  # of `expected`
    tolerance: float  # atol + rtol * |expected|
    fault: str  # empty where all is well


def check_grads(f: Callable[..., Any], args: Any, order: int = 2, *, rtol: float = 1e-6, atol: float = 1e-6) -> None:
    """Compare every derivative of `f`, up to an order, with finite differences of the order below.

    A `GradCheckError` says where they differ, or that finite differences cannot tell: at a kink, at a
    jump, at the end of a domain, in noise. A `Primitive` is checked as a row, too: on floats, arrays
    and nodes, with its derivative rules traced and its templates filled.

    Parameters
    ----------
    f : callable or Primitive
        A function of numbers that returns one number, in operators and functions of `microgad`.
    args : tuple or list of float or Value
        The point; a number alone is one argument.
    order : int
        The highest derivative: with 2, each derivative is differentiated by each argument again.
    rtol, atol : float
        The two may differ by ``atol + rtol * abs(expected)`` plus the uncertainty of the finite
        differences, which may be no more than that itself.

    Examples
    --------
    >>> import microgad as mg
    >>> check_grads(lambda x, y: mg.exp(x * y) / y, (0.5, 2.0), order=3)
    >>> check_grads(mg.relu, 0.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    microgad.errors.GradCheckError: the derivative of relu by x (argument 0), order 1, at 0.0: a kink: ...
    """
    if type(order) is not int or order < 1:
        raise InputError(f"order is a whole number from 1 on, not {shown(order)}")
    inner, point = _prepared(f, args)
    row = f if isinstance(f, Primitive) else None
    title = row.name if row else getattr(f, "__name__", "f").replace("<lambda>", "f")
    where = ", ".join(map(repr, point))
    for fault in _row_faults(row, point) if row and not row.vjp else ():
        raise GradCheckError(f"the row {title}, at {where}: {fault}")
    names = _names(row.scalar if row else f, len(point))
    level: dict[tuple[int, ...], Callable[..., Any]] = {(): inner}
    for n in range(1, order + 1):
        for path, g in level.items():
            for i, slope in enumerate(_slopes(g, point, rtol, atol)):
                if slope.fault:
                    by = ", then by ".join(names[k] for k in (*path, i))
                    raise GradCheckError(
                        f"the derivative of {title} by {by}, order {n}, at {where}: {slope.fault}\n"
                        f"got {slope.got!r} by backpropagation, "
                        f"expected {slope.expected!r} ± {slope.uncertainty:.1g} by finite differences\n"
                        f"difference {abs(slope.got - slope.expected):.3g}, tolerance {slope.tolerance:.3g}"
                    )
        level = {(*path, i): _component(g, i) for path, g in level.items() for i in range(len(point))}


def slopes(f: Callable[..., Any], args: Any, *, rtol: float = 1e-6, atol: float = 1e-6) -> list[Slope]:
    """The first derivative by each argument, found in two ways, with a verdict in place of an error.

    Parameters
    ----------
    f, args, rtol, atol
        As for `check_grads`.

    Examples
    --------
    >>> [slope] = slopes(lambda x: x**3, 2.0)
    >>> slope.got, round(slope.expected, 9), slope.fault
    (12.0, 12.0, '')
    """
    return _slopes(*_prepared(f, args), rtol, atol)


def _prepared(f: Callable[..., Any], args: Any) -> tuple[Callable[..., Any], Point]:
    """`f` on Values, whose methods it may use, and the point as floats."""
    args = args if isinstance(args, (tuple, list)) else (args,)
    point = tuple(_number(x, f"argument {i}") for i, x in enumerate(args))
    if not point or not all(map(math.isfinite, point)):
        raise InputError(f"derivatives are checked at one finite number or more, not at {point}")
    try:
        inspect.signature(f).bind(*point)
    except TypeError as error:
        raise InputError(f"{shown(f)} is no function of {len(point)} arguments: {error}") from None
    except ValueError:
        pass  # it does not tell
    return lambda *xs: f(*(x if isinstance(x, Node) else Value(x) for x in xs)), point


def _names(f: Callable[..., Any], n: int) -> list[str]:
    try:
        found = list(inspect.signature(f).parameters.values())
    except ValueError:
        found = []
    known = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [f"{known[i]} (argument {i})" if i < len(known) else f"argument {i}" for i in range(n)]


def _number(x: Any, what: str = "the result of the function") -> float:
    try:
        return float(x.data if isinstance(x, Value) else Value.constant(x))
    except InputError:
        raise InputError(f"{what} is not one number but {shown(x)}") from None


def _component(g: Callable[..., Any], i: int) -> Callable[..., Any]:
    """The derivative of `g` by its argument `i`; all are variables, so that `g` sees Values only."""
    return lambda *xs: grad(g, range(len(xs)))(*xs)[i]


def _slopes(f: Callable[..., Any], point: Point, rtol: float, atol: float) -> list[Slope]:
    y = _number(f(*point))
    if not math.isfinite(y):
        raise GradCheckError(f"the function is {y} at {point}: finite differences need a finite number")
    if (again := _number(f(*point))) != y:
        raise GradCheckError(f"the function is not deterministic: at {point} it gave {y!r}, then {again!r}")
    derivatives, noise, found = grad(f, range(len(point)))(*point), _noise(f, point), []
    for i, x in enumerate(point):

        def along(z: float, i: int = i) -> float:
            return _number(f(*point[:i], z, *point[i + 1 :]))

        found.append(_verdict(derivatives[i], *_differences(along, x, y, noise), rtol, atol))
    return found


def _noise(f: Callable[..., Any], point: Point) -> float:
    """What rounding may do to `f`: each operation is off by half a unit, which reaches the result times its adjoint."""
    root: Any = f(*map(Value, point))
    try:
        found = adjoints(root) if isinstance(root, Node) else {}
    except DomainError:  # by a Value that is no argument
        found = {root: 1.0}
    terms = (abs(x._data * by) for x, by in found.items() if x.prim not in (None, identity))
    total: float = sum(term for term in terms if term < math.inf)
    return HALF_UNIT * total


def _differences(
    f: Callable[[float], float], x: float, y: float, noise: float
) -> tuple[list[tuple[float, float, float]], Exception | None]:
    """Extrapolations from ever smaller steps to 0: the slope of `f`, half of its jump, and how far both may be off.

    Of f(x + h) - y the half that is odd in h gives the slope. The even half, over h, gives half of the jump that
    the slope makes at x: 0 if f is smooth, so what is left of it tells a kink, or a step too large for f.
    """
    rows: list[tuple[float, float, float, float]] = []
    odd: list[float] = []
    even: list[float] = []
    outside, best = None, math.inf
    h = 0.73 * max(1.0, abs(x))  # with round numbers, steps of two sizes may agree by chance
    while h > 16.0 * HALF_UNIT * (max(abs(x), 1e-290) if x else 1.0):  # below that numbers lose digits
        step = abs(x + math.copysign(h, x) - x)  # so x + step and x - step are both floats
        h /= 2.0
        try:
            right, left = f(x + step), f(x - step)
            slope, jump = (right - left) / (2.0 * step), (right - y + (left - y)) / (2.0 * step)
            if not math.isfinite(slope + jump):
                raise ValueError(f"the function is {left} at {x - step} and {right} at {x + step}")
        except (ValueError, ArithmeticError) as error:  # past the end of the domain
            odd, even, outside = [], [], error
            continue
        odd, even = _extrapolated(slope, odd, 2), _extrapolated(jump, even, 1)
        rounding = max(noise, HALF_UNIT * abs(right), HALF_UNIT * abs(left)) / step
        if len(odd) > 1:
            off, k = min(
                (max(abs(odd[k] - odd[k - 1]), abs(even[k] - even[k - 1]), rounding), k) for k in range(1, len(odd))
            )
            rows.append((odd[k], even[k], off, step))
            best = min(best, max(off, abs(even[k])))
        # Smaller steps than the best only add noise; but until they do, they may show what larger ones step over.
        if rounding > max(64.0 * best, 1e-8 * (1.0 + abs(slope))):
            break
    hidden = max((abs(jump) * step for _, jump, _, step in rows[-4:]), default=0.0)  # the noise of the smallest steps
    return [(slope, jump, max(off, hidden / step)) for slope, jump, off, step in rows], outside


def _extrapolated(first: float, above: list[float], power: int) -> list[float]:
    """Richardson's scheme: a row from the one for twice the step, its errors in h to the power, power + 2 ..."""
    row = [first]
    for k, x in enumerate(above[:5]):
        row.append(row[k] + (row[k] - x) / (2.0 ** (power + 2 * k) - 1.0))
    return row


def _settled(estimates: list[tuple[float, float]]) -> tuple[float, float]:
    """The surest of the estimates, given for ever smaller steps, that those for smaller steps do not contradict."""
    best, error = math.nan, math.inf
    for (finer, _), (x, off) in pairwise(reversed(estimates)):
        off = max(off, 0.5 * abs(x - finer))  # one alone may look sure by accident
        if off < error and (error == math.inf or abs(x - best) <= 4.0 * (off + error)):
            best, error = x, off
    return best, error


def _verdict(got: float, rows: list[tuple[float, float, float]], outside: Any, rtol: float, atol: float) -> Slope:
    sure = [(slope, max(off, abs(jump))) for slope, jump, off in rows]
    expected, uncertainty = _settled(sure)
    tolerance, fault = atol + rtol * abs(expected), ""
    # Steps may be too small for `f` to feel, in roundings that no node tells of.
    lost = expected == 0.0 and sum(off <= tolerance < 1e-3 * abs(slope) for slope, off in sure) > 1
    if not rows:
        fault = f"finite differences need values on both sides of the point: {outside}"
    elif lost:
        fault = "finite differences do not settle here: f is flat for small steps, and for larger ones it is not"
    elif not uncertainty <= tolerance:
        fault = "finite differences do not settle here, as near a kink, at a jump, or where f is mostly noise"
        slope, jump, _ = min(rows, key=lambda row: row[2])
        # At a kink the slope jumps by the same for steps of all sizes; what noise does depends on the size.
        if sum(abs(x - slope) + abs(z - jump) <= 0.1 * abs(jump) for x, z, _ in rows) >= 8:
            expected, uncertainty = slope, abs(jump)
            left, right = (z if abs(z) > 1e-4 * abs(jump) else 0.0 for z in (slope - jump, slope + jump))
            fault = f"a kink: the slope is {left:.5g} from the left and {right:.5g} from the right; move the point"
    elif not abs(got - expected) <= tolerance + uncertainty:
        fault = "wrong"
    return Slope(got, expected, uncertainty, tolerance, fault)


def _row_faults(row: Primitive, point: Point) -> Iterator[str]:
    """What is wrong with a row, whether or not its derivatives are right."""
    n = len(row.partials)
    try:
        row.scalar(*(point * n)[:n])
    except TypeError as error:
        yield f"it has {n} partials, and its rule on floats does not take {n} operands: {error}"
    except (ValueError, ArithmeticError):
        pass  # if so at the point itself, the next line raises it
    if not isinstance(y := row(*point), float):
        yield f"its rule on floats gives {shown(y)}, not a float"
    if repr((node := row(*map(Value, point))).data) != repr(y):
        yield f"it gives {y!r} on floats and {node.data!r} on nodes"
    points, values = [], []
    for shift in (0.0, 0.016, -0.016, 0.004):  # of equal numbers even the mean would look right
        near = tuple(x + shift * (abs(x) or 1.0) for x in point)
        with suppress(DomainError):
            values.append(row(*near))
            points.append(near)
    for size in (1, len(points)):
        try:
            with np.errstate(all="ignore"):
                got = row(*map(np.array, zip(*points[:size], strict=True)))
        except Exception as error:
            yield f"its rule on arrays fails on {size} numbers: {error}; give it `array`, a rule in NumPy's functions"
            continue
        if np.shape(got) != (size,) or getattr(got, "dtype", None) != np.float64:
            yield f"its rule on arrays gives {shown(got)} for {size} numbers"
        elif not np.allclose(got, values[:size], rtol=1e-12, atol=1e-15, equal_nan=True):
            yield f"its rule on arrays gives {got}, that on floats {values[:size]}"
    for i, rule in enumerate(row.partials):
        yield from _rule_faults(row, f"its partial by operand {i}", rule, points) if callable(rule) else ()
    operands = [f"operand{i}" for i in range(n)]
    for template in (row.text, row.latex):
        try:
            if not all(name in template.format(*operands) for name in operands):
                raise ValueError("an operand is missing")
        except (LookupError, ValueError) as error:
            yield f"its template {template!r} does not fill with {n} operands, one {{}} for each: {error}"


def _rule_faults(row: Primitive, which: str, rule: Callable[..., Any], points: list[Point]) -> Iterator[str]:
    mend = "write it in rows of the table, as mg.exp, not in math nor on .data"
    numbers, cut = set(), False
    for point in points:
        nodes = [Value(x) for x in point]
        try:
            want = _number(rule(row(*point), *point), which)
            traced = rule(row(*nodes), *nodes)
            got = _number(traced, which)
        except (ValueError, ArithmeticError):  # there is none here: if so at the point, backpropagation says it
            continue
        except Exception as error:
            yield f"{which} does not compute on floats and trace on nodes: {error}; {mend}"
            return
        if not np.isclose(got, want, rtol=1e-12, atol=1e-15, equal_nan=True):
            yield f"{which} gives {want!r} on floats and {got!r} on nodes"
        numbers.add(want)
        cut = cut or not isinstance(traced, Node)
    if cut and len(numbers) > 1:
        yield f"{which} gives a plain number on nodes, which ends all further derivatives; {mend}"

"""Derivatives against finite differences, and a row of the table against itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .differences import Slope
from .errors import DomainError, GradCheckError, InputError, shown
from .forward_mode import push
from .node import Node
from .order import topological_order
from .primitive import Primitive
from .probes import SEED, Probes, number
from .structural import fitted, shape
from .symbolic import Expr, apply
from .tensor import Tensor
from .value import Value

Point = tuple[float, ...]


def check_grads(f: Callable[..., Any], args: Any, order: int = 2, *, rtol: float = 1e-6, atol: float = 1e-6) -> None:
    """Compare every derivative of `f`, up to an order, with finite differences of the order below.

    A `GradCheckError` says where they differ, or that finite differences cannot tell: at a kink, at a
    jump, at the end of a domain, in noise. A `Primitive` is checked as a row, too: on floats, arrays
    and nodes, with its derivative rules traced and its templates filled; one of whole arrays by its `vjp` and `jvp`,
    which have to be transposes of each other.

    Parameters
    ----------
    f : callable or Primitive
        A function of numbers, arrays, and lists, tuples and dicts of them, in operators and functions of `microgad`. It
        returns one number; a Tensor of several is checked as their sum with fixed weights, each between 0.5 and 1.5.
    args : tuple or list
        The point: arguments of floats, Values, arrays or Tensors, or lists, tuples and dicts of them; anything else is
        one argument. `f` sees Values and Tensors, arrays in float64.
    order : int
        The highest derivative: with 2, each derivative is differentiated by each argument again.

        Of arrays each number is checked, and with order 2 each pair, where all arguments together have up to 32. Of
        more it is a sample, always the same: 12 numbers, at least one of each array where there are so many, and 4
        random directions in which all numbers move; where one of these is wrong, halving it finds the number that is.
        Derivatives of order 3 and above are checked for 6 numbers or fewer, or such a sample.
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
    >>> import numpy as np
    >>> params = {"w": np.array([[0.5, -1.0]]), "b": 2.0}
    >>> check_grads(lambda p: mg.tanh(p["w"] * p["b"]).sum(), (params,))
    >>> check_grads(lambda p: (p["w"] * p["w"].data).sum(), (params,))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    microgad.errors.GradCheckError: the derivative of f by p['w'][0, 0] (argument 0['w'][0, 0]), order 1, at ...
    """
    if type(order) is not int or order < 1:
        raise InputError(f"order is a whole number from 1 on, not {shown(order)}")
    with np.errstate(all="ignore"):
        probes = Probes(f, _arguments(args))
        title = f.name if isinstance(f, Primitive) else getattr(f, "__name__", "f").replace("<lambda>", "f")
        if isinstance(f, Primitive) and not f.vjp and all(map(np.size, probes.given)):
            _raise_first(_row_faults(f, tuple(float(np.ravel(x)[0]) for x in probes.given)), title, probes.where)
        for n in range(1, order + 1):
            for by, at, slope in probes.slopes(n, rtol, atol):
                if slope.fault:
                    of = f"the sum of the numbers of {title}, times fixed weights," if probes.weighted else title
                    raise GradCheckError(
                        f"the derivative of {of} by {', then by '.join(by)}, order {n}, at {probes.where}"
                        f"{probes.hidden(at)}: {slope.fault}\n"
                        f"got {slope.got!r} by backpropagation, "
                        f"expected {slope.expected!r} ± {slope.uncertainty:.1g} by finite differences\n"
                        f"difference {abs(slope.got - slope.expected):.3g}, tolerance {slope.tolerance:.3g}"
                    )
            if n == 1 and isinstance(f, Primitive) and f.vjp:
                _raise_first(_structural_faults(f, probes.given), title, probes.where)


def slopes(f: Callable[..., Any], args: Any, *, rtol: float = 1e-6, atol: float = 1e-6) -> list[Slope]:
    """The first derivative by each number of the arguments, or of a sample, found in two ways, with verdicts.

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
    with np.errstate(all="ignore"):
        return [slope for _, _, slope in Probes(f, _arguments(args)).slopes(1, rtol, atol)]


def _arguments(args: Any) -> Sequence[Any]:
    return args if isinstance(args, (tuple, list)) else (args,)


def _raise_first(faults: Iterator[str], title: str, where: str) -> None:
    for fault in faults:
        raise GradCheckError(f"the row {title}, at {where}: {fault}")


def _structural_faults(row: Primitive, args: Sequence[Any]) -> Iterator[str]:
    """What is wrong with a row on whole arrays whose derivatives are right."""
    nodes = [Value(x) if type(x) is float else Tensor(x, requires_grad=True) for x in args]
    node, rng = row(*nodes), np.random.default_rng(SEED)
    y = node._value
    rounding = 1e-9 if np.asarray(y).dtype == np.float64 else 1e-5
    upstream = rng.normal(size=np.shape(y)) if np.ndim(y) else rng.normal()
    for i, (x, _, contribution) in enumerate(node.edges(upstream)):
        tangent = rng.normal(size=shape(x)) if shape(x) else rng.normal()
        try:
            moved = push(topological_order(node), {x: tangent})[node]
        except Exception as error:
            yield f"its jvp by operand {i} fails: {error}"
            continue
        sums = [np.sum(upstream * moved), np.sum(contribution * tangent)]
        size = np.sum(np.abs(upstream * moved)) + np.sum(np.abs(contribution * tangent))
        if not abs(sums[0] - sums[1]) <= rounding * size:
            yield f"its jvp and its vjp by operand {i} are not of one derivative: {sums[0]:.9g} and {sums[1]:.9g}"
        plain = fitted(row.vjp[i](upstream, y, *args, **row.params), x)
        if not np.allclose(plain, contribution, rtol=rounding, atol=rounding * np.max(np.abs(plain), initial=0.0)):
            yield f"its quick rule by operand {i} is not its vjp"
    operands = [Expr(f"operand{i}", f"operand{i}") for i in range(len(nodes))]
    try:
        found = apply(row, *operands)
        if not all(x.text in text for x in operands for text in (found.text, found.latex)):
            raise ValueError("an operand is missing")
    except (LookupError, ValueError) as error:
        yield f"its templates {row.text!r} and {row.latex!r} do not fill with {len(nodes)} operands: {error}"


def _row_faults(row: Primitive, point: Point) -> Iterator[str]:
    """What is wrong with an elementwise row, whether or not its derivatives are right."""
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
            want = number(rule(row(*point), *point), which)
            traced = rule(row(*nodes), *nodes)
            got = number(traced, which)
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

"""Finite differences that know how far they may be off, and what they say of a derivative."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

HALF_UNIT = 2.0**-53  # how far rounding moves a number, relative to it
WRONG = "wrong"


class Slope(NamedTuple):
    """The derivative by one argument, found in two ways, and what is wrong with it."""

    got: float  # by backpropagation
    expected: float  # by finite differences; nan where there are none
    uncertainty: float  # of `expected`
    tolerance: float  # atol + rtol * |expected|
    fault: str  # empty where all is well


def differences(
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


def verdict(got: float, rows: list[tuple[float, float, float]], outside: Any, rtol: float, atol: float) -> Slope:
    """What `differences` found, compared with a derivative."""
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
        fault = WRONG
    return Slope(got, expected, uncertainty, tolerance, fault)

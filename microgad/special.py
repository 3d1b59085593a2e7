"""The error function and its complement on arrays, which NumPy lacks, with all their digits.

Both are integrals of the bell 2/√π exp(-t²). At the nodes, every 1/512 up to 6 on either side, a table has the
integral and its Taylor terms, whose factors are Hermite polynomials (DLMF 7.10.1); a number goes on from the node
nearest to it. The table is made when it is first asked for, in whole numbers: the integral from a node on is the sum
over the nodes from there on with the Euler–Maclaurin terms of its end (DLMF 2.10.1), and over all nodes it is 2.
Beyond 6 the complement is a continued fraction (Abramowitz & Stegun 7.1.14, two levels in one).
"""

from __future__ import annotations

import math
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from .errors import NOT_REAL

STEP, LAST, BITS = 2.0**-9, 3072, 128
END = LAST * STEP  # erf is 1 from there on
SHIFT = 1.5 * 2.0**52 * STEP  # a number added to it is rounded to its node, whose place is then in the last bits
BLOCK = 16384  # numbers worked on at a time: they stay in the cache
# As arrays, for NumPy meets them quicker than numbers.
LOW, HIGH, TURN, FIRST = np.array(-END), np.array(END), np.array(SHIFT), np.array(SHIFT - END).view(np.int64)


@cache
def _tables() -> tuple[Any, Any, Any]:
    """At the nodes: erf, its complement, and the Taylor terms of what is added from there, the highest first."""
    bell = [1 << BITS]
    ratio = sum((-1) ** n * (bell[0] >> 18 * n) // math.factorial(n) for n in range(8))  # exp(-STEP²)
    square = ratio * ratio >> BITS
    while bell[-1]:
        bell.append(bell[-1] * ratio >> BITS)
        ratio = ratio * square >> BITS
    near = slice(len(bell) - 1 - LAST, len(bell) + LAST)  # of all nodes with a bell that is not 0, left to right
    bell = bell[:0:-1] + bell
    onwards = list(accumulate(reversed(bell)))[::-1]
    x, all_of_it = np.arange(-LAST, LAST + 1) * STEP, onwards[0] << 64
    y, hh = x * STEP, STEP**2
    end = y / 3 - (8 * y**3 - 12 * y * hh) / 360 + (32 * y**5 - 160 * y**3 * hh + 120 * y * hh**2) / 15120
    ends = map(int, (end * 2.0**64).tolist())
    right = [(2 * s - b << 64) - e * b for s, b, e in zip(onwards[near], bell[near], ends, strict=True)]
    erf = -np.array([(r - all_of_it) / all_of_it for r in right])  # at 0 it is -0.0: that keeps the sign of ±0.0
    terms = [np.array([b * int(2 / STEP) / onwards[0] for b in bell[near]])]
    terms.append(-x * terms[0])
    for n in range(1, 5):
        terms.append((-2 * x * terms[n] - 2 * n / (n + 1) * terms[n - 1]) / (n + 2))
    return erf, np.array([r / all_of_it for r in right]), np.array(terms[::-1])


def _far(x: Any) -> Any:
    """The complement beyond 6: exp(-x²) / (√π (x + s)). What rounding takes of x², quotient and product is put back."""
    x = np.minimum(x, 30.0, dtype=np.float64)  # it is 0 from 28 on
    square, s = x * x, 0.0
    for n in range(7, 0, -1):
        s = n * (n - 0.5) / (square + (2 * n + 0.5) - s)
    s = (0.5 - s) / x
    head = x.astype(np.float32).astype(np.float64)  # of so few digits that a product of two heads is exact
    lost = (head * head - square) + (x - head) * (x + head)
    top = math.sqrt(1.0 / math.pi)
    quotient = (top / (x + s)).astype(np.float32).astype(np.float64)
    rest = ((top - quotient * head) - quotient * ((x - head) + s) - top * lost) / (x + s)
    power = np.exp(-square)
    head = (power.view(np.int64) & -(1 << 27)).view(np.float64)
    return head * quotient + ((power - head) * quotient + power * rest)


def _near(x: Any, complement: bool) -> Any:
    """Either of the two of some numbers in a row: that at their nodes, and the integral from there."""
    erf, erfc, terms = _tables()
    inside = np.minimum(np.maximum(x, LOW, dtype=np.float64), HIGH)
    node = inside + TURN
    place = node.view(np.int64) - FIRST  # that of nan is anywhere
    node -= TURN
    inside -= node
    total, *terms = terms.take(place, axis=1, mode="clip")
    for term in terms:
        total *= inside
        total += term
    total *= inside
    if not complement:
        return erf.take(place, mode="clip") + total
    total = erfc.take(place, mode="clip") - total
    if (far := x > END).any():
        total[far] = _far(x[far])
    return total


def _in_blocks(x: Any, complement: bool) -> Any:
    x = np.asarray(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(NOT_REAL)
    out = np.empty(x.shape, np.promote_types(x.dtype, np.float32))
    numbers, results = x.reshape(-1), out.reshape(-1)
    with np.errstate(under="ignore"):
        for i in range(0, x.size, BLOCK):
            results[i : i + BLOCK] = _near(numbers[i : i + BLOCK], complement)
    return out[()]


def erf(x: Any) -> Any:
    """The error function of each number, within two units in the last place; of float32 as float32."""
    return _in_blocks(x, False)


def erfc(x: Any) -> Any:
    """1 - erf of each number, within two units in the last place of itself, however small it is."""
    return _in_blocks(x, True)

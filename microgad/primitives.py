"""THE table: one row for each primitive, and nothing about it anywhere else.

A row gives the rule on floats, the local derivatives (one for each operand: a constant, or a function of the output
`y` and the operands) and the rule on arrays. Derivatives are written in rows of this table: they compute on numbers
and trace on nodes, and never branch on data, for a replayed trace has to take its own branch. At kinks they follow
PyTorch and JAX: relu'(0) = 0; a tie of maximum or minimum gives half to each.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from .primitive import Primitive, elementwise

INF, LOG_MAX = math.inf, math.log(sys.float_info.max)  # exp of more is infinite


def _pow(a: float, b: float) -> float:
    try:
        return math.pow(a, b)  # unlike a ** b it refuses a complex result
    except OverflowError:
        return -INF if a < 0 and b % 2 == 1 else INF


# fmt: off
identity = elementwise("identity", lambda x: x, (1.0,), label="=", text="{}", latex="{}")
greater = elementwise("greater", lambda a, b: 1.0 if a > b else 0.0, (0.0, 0.0), lambda a, b: np.greater(a, b) * 1.0,
                      label=">", latex=r"\left[{} > {}\right]")
equal = elementwise("equal", lambda a, b: 1.0 if a == b else 0.0, (0.0, 0.0), lambda a, b: np.equal(a, b) * 1.0,
                    label="=", latex=r"\left[{} = {}\right]")
where: Primitive = elementwise("where", lambda c, a, b: a if c else b, (0.0, lambda y, c, a, b: where(c, 1.0, 0.0),
                                                                       lambda y, c, a, b: where(c, 0.0, 1.0)), np.where)
neg = elementwise("neg", lambda x: -x, (-1.0,), np.negative, text="-{}", latex="-{}")
add = elementwise("add", lambda a, b: a + b, (1.0, 1.0), np.add, label="+", text="{} + {}", latex="{} + {}")
sub = elementwise("sub", lambda a, b: a - b, (1.0, -1.0), np.subtract, label="−", text="{} - {}", latex="{} - {}")
mul = elementwise("mul", lambda a, b: a * b, (lambda y, a, b: b, lambda y, a, b: a), np.multiply,
                  label="×", text="{} * {}", latex=r"{} \cdot {}")
div = elementwise("div", lambda a, b: a / b, (lambda y, a, b: 1.0 / b, lambda y, a, b: -y / b), np.divide,
                  label="/", text="{} / {}", latex=r"\frac{{{}}}{{{}}}", domain="a divisor other than 0")
# A base of 0 gives way where 0 ** -1 or log(0) would only meet a factor 0. A plain exponent is no data: it may be seen.
pow: Primitive = elementwise("pow", _pow, (
    lambda y, a, b: b * pow(a if type(b) is float and b else where(equal(a, 0.0) * equal(b, 0.0), 1.0, a), b - 1.0),
    lambda y, a, b: y * log(where(equal(a, 0.0), 1.0, a))), np.power, label="**", text="{} ** {}", latex="{}^{{{}}}",
    domain="a base > 0, or a whole exponent (>= 0 at 0)")
exp = elementwise("exp", lambda x: INF if x > LOG_MAX else math.exp(x), (lambda y, x: y,), np.exp, latex="e^{{{}}}")
log: Primitive = elementwise("log", math.log, (lambda y, x: 1.0 / x,), np.log, latex=r"\log {}", domain="a number > 0")
tanh = elementwise("tanh", math.tanh, (lambda y, x: 1.0 - y * y,), np.tanh, latex=r"\tanh {}")
relu = elementwise("relu", lambda x: 0.0 if x <= 0.0 else x, (lambda y, x: greater(x, 0.0),),  # relu(nan) is nan
                   lambda x: np.maximum(x, 0.0))
maximum = elementwise("maximum", lambda a, b: a if a > b or a != a else b,
                      (lambda y, a, b: greater(a, b) + 0.5 * equal(a, b),
                       lambda y, a, b: greater(b, a) + 0.5 * equal(b, a)), np.maximum,
                      label="max", latex=r"\max\left({}, {}\right)")
minimum = elementwise("minimum", lambda a, b: a if a < b or a != a else b,
                      (lambda y, a, b: greater(b, a) + 0.5 * equal(b, a),
                       lambda y, a, b: greater(a, b) + 0.5 * equal(a, b)), np.minimum,
                      label="min", latex=r"\min\left({}, {}\right)")
# fmt: on

TABLE: dict[str, Primitive] = {row.name: row for row in list(vars().values()) if isinstance(row, Primitive)}

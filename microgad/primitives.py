"""THE table: one row for each primitive, and nothing about it anywhere else.

A row gives the rule on floats, the local derivatives (one for each operand: a constant, or a function of the output
`y` and the operands) and the rule on arrays. Derivatives are written in rows of this table: they compute on numbers
and trace on nodes, and never branch on data, for a replayed trace has to take its own branch. At kinks they follow
PyTorch: relu'(0) = abs'(0) = 0; a tie of maximum or minimum gives half to each; clip passes at both its ends.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from . import special
from .primitive import Primitive, elementwise

INF, LOG_MAX = math.inf, math.log(sys.float_info.max)  # exp of more is infinite
SQRT_HALF, PI = math.sqrt(0.5), math.pi


def _pow(a: float, b: float) -> float:
    try:
        return math.pow(a, b)  # unlike a ** b it refuses a complex result
    except OverflowError:
        return -INF if a < 0 and b % 2 == 1 else INF


def _exp_of_minus_abs(x: Any) -> tuple[Any, Any]:
    """Where `x` is positive, and e to the power of minus its size, which cannot overflow."""
    positive = np.real(x) > 0.0
    return positive, np.exp(np.where(positive, -1.0 * x, x))


def _sigmoid(x: Any) -> Any:
    positive, small = _exp_of_minus_abs(x)
    return np.where(positive, 1.0, small) / (1.0 + small)


def _softplus(x: Any) -> Any:
    positive, small = _exp_of_minus_abs(x)
    return np.where(positive, x, 0.0) + np.log1p(small)


def _as_number(question: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    return question(a, b).astype(np.result_type(a, b, np.float32))  # float64 but among float32


# fmt: off
identity = elementwise("identity", lambda x: x, (1.0,), label="=", text="{}", latex="{}")
greater = elementwise("greater", lambda a, b: 1.0 if a > b else 0.0, (0.0, 0.0),
                      lambda a, b: _as_number(np.greater, a, b),
                      label=">", text="[{} > {}]", latex=r"\left[{} > {}\right]")
equal = elementwise("equal", lambda a, b: 1.0 if a == b else 0.0, (0.0, 0.0),
                    lambda a, b: _as_number(np.equal, a, b),
                    label="=", text="[{} == {}]", latex=r"\left[{} = {}\right]")
where: Primitive = elementwise("where", lambda c, a, b: a if c else b, (0.0, lambda y, c, a, b: where(c, 1.0, 0.0),
                                                                       lambda y, c, a, b: where(c, 0.0, 1.0)), np.where)
neg = elementwise("neg", lambda x: -x, (-1.0,), np.negative, text="-{}", latex="-{}")
# `quick` is the chain rule of the rows that networks are made of, spelled out for arrays; a test holds it to the
# partials bit for bit.
add = elementwise("add", lambda a, b: a + b, (1.0, 1.0), np.add, label="+", text="{} + {}", latex="{} + {}",
                  quick=(lambda g, y, a, b: g, lambda g, y, a, b: g))
sub = elementwise("sub", lambda a, b: a - b, (1.0, -1.0), np.subtract, label="−", text="{} - {}", latex="{} - {}",
                  quick=(lambda g, y, a, b: g, lambda g, y, a, b: -g))
mul = elementwise("mul", lambda a, b: a * b, (lambda y, a, b: b, lambda y, a, b: a), np.multiply,
                  label="×", text="{} * {}", latex=r"{} \cdot {}",
                  quick=(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a))
div = elementwise("div", lambda a, b: a / b, (lambda y, a, b: 1.0 / b, lambda y, a, b: -y / b), np.divide,
                  label="/", text="{} / {}", latex=r"\frac{{{}}}{{{}}}", domain="a divisor other than 0")
# A base of 0 gives way where 0 ** -1 or log(0) would only meet a factor 0. A plain exponent is no data: it may be seen.
pow: Primitive = elementwise("pow", _pow, (
    lambda y, a, b: b * pow(a if type(b) is float and b else where(equal(a, 0.0) * equal(b, 0.0), 1.0, a), b - 1.0),
    lambda y, a, b: y * log(where(equal(a, 0.0), 1.0, a))), np.power, label="**", text="{} ** {}", latex="{}^{{{}}}",
    domain="a base > 0, or a whole exponent (>= 0 at 0)")
exp = elementwise("exp", lambda x: INF if x > LOG_MAX else math.exp(x), (lambda y, x: y,), np.exp, latex="e^{{{}}}")
log: Primitive = elementwise("log", math.log, (lambda y, x: 1.0 / x,), np.log, latex=r"\log\left({}\right)",
                           domain="a number > 0")
tanh = elementwise("tanh", math.tanh, (lambda y, x: 1.0 - y * y,), np.tanh, latex=r"\tanh\left({}\right)")
relu = elementwise("relu", lambda x: 0.0 if x <= 0.0 else x, (lambda y, x: greater(x, 0.0),),  # relu(nan) is nan
                   lambda x: np.maximum(x, 0.0), quick=(lambda g, y, x: g * (x > 0.0),))
maximum = elementwise("maximum", lambda a, b: a if a > b or a != a else b,
                      (lambda y, a, b: greater(a, b) + 0.5 * equal(a, b),
                       lambda y, a, b: greater(b, a) + 0.5 * equal(b, a)), np.maximum,
                      label="max", text="max({}, {})", latex=r"\max\left({}, {}\right)")
minimum = elementwise("minimum", lambda a, b: a if a < b or a != a else b,
                      (lambda y, a, b: greater(b, a) + 0.5 * equal(b, a),
                       lambda y, a, b: greater(a, b) + 0.5 * equal(a, b)), np.minimum,
                      label="min", text="min({}, {})", latex=r"\min\left({}, {}\right)")
clip = elementwise("clip", lambda x, low, high: minimum.scalar(maximum.scalar(x, low), high),
                   (lambda y, x, low, high: equal(y, x) * (1.0 - greater(low, high)),  # where low > high, y is high
                    lambda y, x, low, high: greater(y, x) * (1.0 - greater(low, high)),
                    lambda y, x, low, high: maximum(greater(x, y), greater(low, high))), np.clip)
sign = elementwise("sign", lambda x: 1.0 if x > 0.0 else -1.0 if x < 0.0 else x, (0.0,), np.sign)
step = elementwise("step", lambda x: 1.0 if x >= 0.0 else 0.0 if x < 0.0 else x, (0.0,), lambda x: np.heaviside(x, 1.0))
abs = elementwise("abs", math.fabs, (lambda y, x: sign(x),), np.abs, latex=r"\left|{}\right|")
sqrt = elementwise("sqrt", math.sqrt, (lambda y, x: 0.5 / y,), np.sqrt, latex=r"\sqrt{{{}}}", domain="a number >= 0")
sin: Primitive = elementwise("sin", math.sin, (lambda y, x: cos(x),), np.sin, latex=r"\sin\left({}\right)",
                             domain="a finite number")
cos: Primitive = elementwise("cos", math.cos, (lambda y, x: -sin(x),), np.cos, latex=r"\cos\left({}\right)",
                  domain="a finite number")
erf = elementwise("erf", math.erf, (lambda y, x: 2.0 / math.sqrt(PI) * exp(-(x * x)),), special.erf)
sigmoid = elementwise("sigmoid", lambda x: 1.0 / (1.0 + math.exp(-x)) if x > 0.0 else math.exp(x) / (1.0 + math.exp(x)),
                      (lambda y, x: y * (1.0 - y),), _sigmoid, latex=r"\sigma\left({}\right)")
softplus = elementwise("softplus", lambda x: (x if x > 0.0 else 0.0) + math.log1p(math.exp(-math.fabs(x))),
                       (lambda y, x: sigmoid(x),), _softplus)
silu = elementwise("silu", lambda x: x * sigmoid.scalar(x), (lambda y, x: sigmoid(x) + y * (1.0 - sigmoid(x)),),
                   lambda x: x * _sigmoid(x))
gelu = elementwise("gelu", lambda x: 0.5 * x * math.erfc(-x * SQRT_HALF), (
    lambda y, x: 0.5 * (1.0 + erf(x * SQRT_HALF)) + x * exp(-0.5 * (x * x)) / math.sqrt(2.0 * PI),),
    lambda x: 0.5 * x * special.erfc(x * -SQRT_HALF))
leaky_relu = elementwise("leaky_relu", lambda x, slope: x if x > 0.0 else slope * x,
                         (lambda y, x, slope: where(greater(x, 0.0), 1.0, slope),
                          lambda y, x, slope: where(greater(x, 0.0), 0.0, x)),
                         lambda x, slope: np.where(np.greater(x, 0.0), x, slope * np.minimum(x, 0.0)))
elu: Primitive = elementwise("elu", lambda x, alpha: x if x > 0.0 else alpha * math.expm1(x),
                  (lambda y, x, alpha: where(greater(x, 0.0), 1.0, y + alpha),
                   lambda y, x, alpha: where(greater(x, 0.0), 0.0, elu(x, 1.0))),
                  lambda x, alpha: np.where(np.greater(x, 0.0), x, alpha * np.expm1(np.minimum(x, 0.0))))
# fmt: on

TABLE: dict[str, Primitive] = {row.name: row for row in list(vars().values()) if isinstance(row, Primitive)}

"""The primitives as functions: on floats and arrays they compute, on Values and Tensors they record a node."""

from __future__ import annotations

import math
from typing import Any

from . import primitives as rows
from .errors import InputError, shown


def exp(x: Any) -> Any:
    """The exponential function, e to the power of `x`, elementwise; infinite where that overflows.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.exp(0.0), mg.exp(1000.0)
    (1.0, inf)
    """
    return rows.exp(x)


def log(x: Any) -> Any:
    """The natural logarithm of `x`, elementwise.

    A `DomainError` where a number is 0 or less; arrays get NumPy's -inf or nan.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.log(1.0)
    0.0
    """
    return rows.log(x)


def sqrt(x: Any) -> Any:
    """The square root of `x`, elementwise.

    A `DomainError` where a number is negative; arrays get NumPy's nan. At 0 there is a root but no derivative.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.sqrt(9.0), mg.grad(mg.sqrt)(0.25)
    (3.0, 1.0)
    """
    return rows.sqrt(x)


def abs(x: Any) -> Any:
    """The size of `x` without its sign, elementwise; the derivative at 0 is 0.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.abs(-3.0), mg.grad(mg.abs)(-3.0)
    (3.0, -1.0)
    """
    return rows.abs(x)


def sign(x: Any) -> Any:
    """1 where `x` is positive, -1 where it is negative, 0 at 0, elementwise; its derivative is 0.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.sign(-3.0)
    -1.0
    """
    return rows.sign(x)


def step(x: Any) -> Any:
    """Heaviside's step, elementwise: 1 where `x` is 0 or more, otherwise 0; its derivative is 0.

    The activation of Rosenblatt's perceptron. (The derivative of `relu` is 0 at 0, where this is 1.)

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.step(-3.0), mg.step(0.0)
    (0.0, 1.0)
    """
    return rows.step(x)


def sin(x: Any) -> Any:
    """The sine of `x`, in radians, elementwise.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.sin(0.0), mg.grad(mg.sin)(0.0)
    (0.0, 1.0)
    """
    return rows.sin(x)


def cos(x: Any) -> Any:
    """The cosine of `x`, in radians, elementwise.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.cos(0.0)
    1.0
    """
    return rows.cos(x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent of `x`, elementwise: odd, between -1 and 1.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.tanh(0.0), mg.tanh(100.0)
    (0.0, 1.0)
    """
    return rows.tanh(x)


def erf(x: Any) -> Any:
    """The error function, elementwise: twice the integral of e to the power of -t² from 0 to `x`, over √π.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.erf(0.0), mg.erf(10.0)
    (0.0, 1.0)
    """
    return rows.erf(x)


def sigmoid(x: Any) -> Any:
    """The logistic function 1 / (1 + exp(-x)), elementwise: between 0 and 1, and never an overflow.

    Its derivative is σ(x) (1 - σ(x)), at most 0.25.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.sigmoid(0.0), mg.sigmoid(-1000.0), mg.grad(mg.sigmoid)(0.0)
    (0.5, 0.0, 0.25)
    """
    return rows.sigmoid(x)


def relu(x: Any) -> Any:
    """The larger of `x` and 0, elementwise; the derivative at 0 is 0.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.relu(3.0), mg.relu(-3.0), mg.grad(mg.relu)(0.0)
    (3.0, 0.0, 0.0)
    """
    return rows.relu(x)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), elementwise: a smooth `relu`, above 0, and never an overflow.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.softplus(1000.0), round(mg.softplus(0.0), 6)
    (1000.0, 0.693147)
    """
    return rows.softplus(x)


def silu(x: Any) -> Any:
    """The product x · sigmoid(x), elementwise, also called swish: at least -0.278465, which it has at -1.27846.

    Ramachandran, Zoph and Le, "Searching for activation functions", 2017.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> round(mg.silu(1.0), 6), mg.swish is mg.silu
    (0.731059, True)
    """
    return rows.silu(x)


swish = silu


def gelu(x: Any, approximate: str = "none") -> Any:
    """The product x · Φ(x), elementwise, with the normal distribution function Φ: at least -0.169971, at -0.751792.

    Hendrycks and Gimpel, "Gaussian error linear units", 2016.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.
    approximate : {"none", "tanh"}
        The exact function, or the paper's approximation 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))), written in other
        primitives; anything else is an `InputError`.

    Examples
    --------
    >>> import microgad as mg
    >>> round(mg.gelu(1.0), 6), round(mg.gelu(1.0, approximate="tanh"), 6)
    (0.841345, 0.841192)
    """
    if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
        raise InputError(f"gelu is exact, approximate='none', or approximate='tanh', not {shown(approximate)}")
    if approximate == "none":
        return rows.gelu(x)
    half = rows.mul(0.5, x)
    cube = rows.mul(rows.mul(x, x), x)
    return half * (1.0 + rows.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * cube)))


def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Any:
    """`x` where it is positive, otherwise `negative_slope` times `x`, elementwise; so is the derivative at 0.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.
    negative_slope : float, array, Value or Tensor
        The slope below 0; a Value can be learnt, which is PReLU (He et al., 2015).

    Examples
    --------
    >>> import microgad as mg
    >>> mg.leaky_relu(2.0), mg.leaky_relu(-2.0), mg.leaky_relu(-2.0, 0.5)
    (2.0, -0.02, -1.0)
    """
    return rows.leaky_relu(x, negative_slope)


def elu(x: Any, alpha: Any = 1.0) -> Any:
    """`x` where it is positive, otherwise alpha · (exp(x) - 1), elementwise: above -alpha.

    Clevert, Unterthiner and Hochreiter, "Exponential linear units", 2015.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.
    alpha : float, array, Value or Tensor
        How far below 0 it can come.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.elu(2.0), round(mg.elu(-2.0), 6)
    (2.0, -0.864665)
    """
    return rows.elu(x, alpha)


def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    """`x`, but not below `low` and not above `high`, elementwise.

    The derivative by `x` is 1 from `low` to `high` with both ends, as in PyTorch; beyond it belongs to the bound.
    An `InputError` where no bound is given.

    Parameters
    ----------
    x : float, array, Value or Tensor
        The numbers to bound.
    low, high : float, array, Value or Tensor, optional
        The bounds; None is no bound on that side.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.clip(-3.0, -1.0, 1.0), mg.clip(0.5, -1.0, 1.0), mg.clip(7.0, high=1.0)
    (-1.0, 0.5, 1.0)
    """
    if low is None and high is None:
        raise InputError("clip needs a bound: low, high, or both")
    return rows.clip(x, -math.inf if low is None else low, math.inf if high is None else high)


def maximum(a: Any, b: Any) -> Any:
    """The larger of `a` and `b`, elementwise; in a tie each gets half of the derivative.

    Parameters
    ----------
    a, b : float, array, Value or Tensor
        Arrays broadcast as in NumPy.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.maximum(2.0, 3.0), mg.grad(mg.maximum, (0, 1))(1.0, 1.0)
    (3.0, (0.5, 0.5))
    """
    return rows.maximum(a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller of `a` and `b`, elementwise; in a tie each gets half of the derivative.

    Parameters
    ----------
    a, b : float, array, Value or Tensor
        Arrays broadcast as in NumPy.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.minimum(2.0, 3.0), mg.grad(mg.minimum, (0, 1))(2.0, 3.0)
    (2.0, (1.0, 0.0))
    """
    return rows.minimum(a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """`a` where `condition` is not 0, otherwise `b`, elementwise; the derivative goes to the one that was taken.

    Both are evaluated before the choice: ``where(x > 0, log(x), 0)`` still asks for the logarithm.

    Parameters
    ----------
    condition : bool, float, array, Value or Tensor
        What decides, such as ``x > 0``.
    a, b : float, array, Value or Tensor
        What is chosen from; arrays broadcast as in NumPy.

    Examples
    --------
    >>> import microgad as mg
    >>> x, y = mg.Value(2.0), mg.Value(5.0)
    >>> mg.where(x > y, x, y).data
    5.0
    """
    return rows.where(condition, a, b)


def greater(a: Any, b: Any) -> Any:
    """1 where `a` is greater than `b`, otherwise 0, elementwise, and its derivative is 0.

    Unlike ``a > b``, which is a bool of Python's, it records a node where an operand is one: a derivative rule that
    decides by it decides anew wherever it is evaluated.

    Parameters
    ----------
    a, b : float, array, Value or Tensor
        Arrays broadcast as in NumPy.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.greater(2.0, 1.0), mg.greater(1.0, 1.0)
    (1.0, 0.0)
    """
    return rows.greater(a, b)


def equal(a: Any, b: Any) -> Any:
    """1 where `a` is equal to `b`, otherwise 0, elementwise, and its derivative is 0; see `greater`.

    Parameters
    ----------
    a, b : float, array, Value or Tensor
        Arrays broadcast as in NumPy.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.equal(2.0, 1.0), mg.equal(1.0, 1.0)
    (0.0, 1.0)
    """
    return rows.equal(a, b)

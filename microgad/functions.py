"""The primitives as functions: on floats and arrays they compute, on Values they record a node."""

from __future__ import annotations

from typing import Any

from . import primitives as rows


def exp(x: Any) -> Any:
    """The exponential function, e to the power of `x`, elementwise; infinite where that overflows.

    Parameters
    ----------
    x : float, array or Value
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
    x : float, array or Value
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.log(1.0)
    0.0
    """
    return rows.log(x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent of `x`, elementwise: odd, from -1 to 1.

    Parameters
    ----------
    x : float, array or Value
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.tanh(0.0), mg.tanh(100.0)
    (0.0, 1.0)
    """
    return rows.tanh(x)


def relu(x: Any) -> Any:
    """The larger of `x` and 0, elementwise; the derivative at 0 is 0.

    Parameters
    ----------
    x : float, array or Value
        Where to evaluate it.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.relu(3.0), mg.relu(-3.0), mg.grad(mg.relu)(0.0)
    (3.0, 0.0, 0.0)
    """
    return rows.relu(x)


def maximum(a: Any, b: Any) -> Any:
    """The larger of `a` and `b`, elementwise; in a tie each gets half of the derivative.

    Parameters
    ----------
    a, b : float, array or Value
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
    a, b : float, array or Value
        Arrays broadcast as in NumPy.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.minimum(2.0, 3.0), mg.grad(mg.minimum, (0, 1))(2.0, 3.0)
    (2.0, (1.0, 0.0))
    """
    return rows.minimum(a, b)

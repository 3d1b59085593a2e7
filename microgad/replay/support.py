"""What the code of a program calls besides NumPy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from weakref import getweakrefcount

import numpy as np


class UndefinedError(ArithmeticError):
    """A number outside of the domain of a row, where Values raise an error and arrays have nan or inf."""


class Lender:
    """Arrays that are given away, and taken back when nobody has them any more: large ones are not made anew each time.

    Parameters
    ----------
    make : callable
        Makes an array that owns its numbers, and views of it: a tuple that begins with the array.
    """

    def __init__(self, make: Callable[[], tuple[Any, ...]]) -> None:
        self.make, self.made, self.count = make, list[tuple[Any, ...]](), -1

    def __call__(self) -> tuple[Any, ...]:
        """Arrays that nobody has."""
        for found in self.made:
            if references(found[0]) == self.count and not getweakrefcount(found[0]):
                return found
        found = self.make()
        if references is not _unknown:
            self.count = references(found[0])
            self.made = [*self.made[-1:], found]  # two: while one is filled, the caller still has the other
        return found


def _unknown(x: Any) -> int:
    """Where references are not counted, or not exactly, nothing is ever taken back."""
    return 0


references = sys.getrefcount if getattr(sys, "_is_gil_enabled", lambda: hasattr(sys, "getrefcount"))() else _unknown


def owned(rule: Callable[..., Any], *given: Any) -> Any:
    """What a rule makes of arrays, as an array that nobody else has.

    Examples
    --------
    >>> import numpy as np
    >>> owned(np.transpose, np.ones((2, 3))).base is None
    True
    """
    out = rule(*given)
    return np.array(out) if any(out is x for x in given) or getattr(out, "base", None) is not None else out


def undefined() -> None:
    """Raise: a number is outside of the domain of a row."""
    raise UndefinedError


def finite(x: Any) -> None:
    """Raise where an array is not finite."""
    s = x.sum()
    if s - s != 0.0:
        raise UndefinedError

"""The scalar node: a Python float that remembers how it was computed."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from .errors import InteriorError, ShapeError, shown, spell
from .operators import Arithmetic, as_float
from .order import EMPTY


class Value(Arithmetic, rank=0):
    """A number in a computation graph.

    Arithmetic on it gives new Values; `backward` on a result fills the `grad` of everything below.

    Parameters
    ----------
    data : float
        The number: what ``float()`` takes, text excepted; an `InputError` for anything else.
    name : str, optional
        What messages and drawings call it; `label`, micrograd's word, is the same.

    Examples
    --------
    >>> x, y, z = Value(-2, "x"), Value(5, "y"), Value(-4, "z")
    >>> f = (x + y) * z
    >>> f.backward()
    >>> f.data, x.grad, y.grad, z.grad
    (-12.0, -4.0, -4.0, 3.0)
    """

    __slots__ = ()
    constant = staticmethod(as_float)

    def as_gradient(self, x: Any) -> float:  # noqa: D102
        return as_float(x)

    def __init__(self, data: Any, name: str | None = None, *, label: str | None = None) -> None:
        self._value = self.constant(data)
        self._name = label if name is None else name
        self.a = self.b = EMPTY
        self.grad = self.mark = self.prim = None

    def _set_data(self, x: Any) -> None:
        if self.prim is not None:
            raise InteriorError(f"{spell(self)} is computed: set the data of its inputs and compute it again")
        self._value = x if type(x) is float else self.constant(x)

    # The getter is C's, worth 1.8 times of a loop that moves parameters.
    data = property(attrgetter("_value"), _set_data, doc="The number, a float; that of a leaf can be set.")

    def item(self) -> float:
        """The number, as of a Tensor that holds one."""
        return self._value  # type: ignore[no-any-return]

    def detach(self) -> Value:
        """A leaf with the same number, through which no gradient flows."""
        return Value(self._value)

    def sum(self, axis: None = None, keepdims: bool = False) -> Value:
        """The Value itself: a function of arrays that ends in a sum or a mean is one of numbers, too."""
        if axis is not None:
            raise ShapeError(f"{spell(self)} is one number, and has no axis {shown(axis)}")
        return self

    mean = sum

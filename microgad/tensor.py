"""The array node: a NumPy array that remembers how it was computed."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterator
from numbers import Rational
from threading import get_ident
from typing import Any

import numpy as np

from . import array_functions as functions
from . import primitives, structural
from .array_functions import array_of, as_array, axes_of, axis_of, reduce
from .errors import (
    GraphCutError,
    InputError,
    InteriorError,
    MicrogadError,
    ShapeError,
    brief,
    no_gradient,
    shown,
    spell,
)
from .node import Node, hooks
from .operators import Arithmetic
from .order import EMPTY
from .primitive import Primitive, silent, tracing, watchers

# The C library gives the memory of large arrays back to the system, and each step of a training loop has to ask for it
# anew, page by page. After one large array has come and gone, glibc keeps up to 64 MB instead: worth 1.5 times of a
# step with a batch of 256. The array itself is never touched, and takes no memory.
np.empty(31 << 20, np.uint8)

USED = object()  # the mark of a leaf that stands in a graph
FROZEN: Any = 0  # what a leaf that needed a gradient `needs` while it does not: it remains a parameter of its module
_new = object.__new__
NUMBERS = (int, float, np.floating, np.integer, np.bool_)
# What no number is, in an operator; anything else that is unknown may have an operator of its own.
FOREIGN = (str, bytes, bytearray, dict, set, frozenset, complex, type(None), np.timedelta64, np.datetime64)


def _operand(x: Any, row: Primitive, beside: Tensor) -> Any:
    """What stands beside a tensor in an operator: a node, a float, or an array; NotImplemented for anything else."""
    if isinstance(x, (Node, float)):
        return x
    try:
        if isinstance(x, FOREIGN):
            raise InputError(f"a Tensor computes with numbers and arrays, not with {shown(x)}")
        return Tensor.constant(x) if isinstance(x, (np.ndarray, list, tuple, Rational, *NUMBERS)) else NotImplemented
    except MicrogadError as error:
        raise type(error)(f"{row.name} with {spell(beside)}: {error}") from None


def _operator(row: Primitive) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """An operator and its reflection; with a tensor or a number beside it spelled out, worth 2 times and more."""
    rule = row.array

    def method(self: Tensor, other: Any) -> Any:
        kind = type(other)
        if kind is Tensor:
            data, needs = other._value, self.needs or other.needs
        elif kind is float or kind is int:
            try:
                data = other = float(other)
            except OverflowError:
                return _by_table(row, self, other)
            needs = self.needs
        else:
            return _by_table(row, self, other)
        if silent or watchers or tracing or type(self) is not Tensor:
            return row(self, other)
        try:
            data = rule(self._value, data)
        except Exception:
            return row(self, other)  # which says what is wrong
        out = _new(Tensor)
        if self.mark is None:
            self.mark = USED
        if kind is Tensor and other.mark is None:
            other.mark = USED
        out._value, out.prim, out.a, out.b, out.needs = data, row, self, other, needs
        out.grad = out.mark = out._name = None
        return out

    def reflected(self: Tensor, other: Any) -> Any:
        other = _operand(other, row, self)
        return NotImplemented if other is NotImplemented else row(other, self)

    return method, reflected


def leaf(data: np.ndarray[Any, Any]) -> Tensor:
    """An array that nobody else has as a constant, without a copy.

    Examples
    --------
    >>> leaf(np.zeros(2))
    Tensor(data=[0. 0.], grad=None)
    """
    out = _new(Tensor)
    out._value, out.needs, out.a, out.b = data, False, EMPTY, EMPTY
    out.grad = out.mark = out.prim = out._name = None
    if tracing and (trace := tracing.get(get_ident())):
        trace.constant(out)
    return out


def _by_table(row: Primitive, x: Any, other: Any) -> Any:
    other = _operand(other, row, x)
    return NotImplemented if other is NotImplemented else row(x, other)


class Tensor(Arithmetic, rank=1):
    """An array in a computation graph.

    Operators and functions on it give new Tensors, with NumPy's broadcasting; `backward` on a result fills the `grad`
    of the tensors below that require one. Every operation is recorded, also where nothing needs a gradient, so that the
    graph can be drawn and differentiated by a transform; only under `no_grad` is nothing recorded.

    Operations on a Value and a Tensor, or on an array and a Tensor, give Tensors; `mg.stack` and `unbind` lead from
    Values to Tensors and back. Indices are those of NumPy. Items can be set only in a leaf that needs no gradient;
    anywhere else it is an `InteriorError`.

    Parameters
    ----------
    data : array_like
        Numbers, which are copied: what becomes of the original later is not seen here. They become float64, or stay
        float32 where they are that already. A leaf Tensor gives its numbers, not its `requires_grad`.
    requires_grad : bool
        Whether backward passes give it a gradient. No gradient is computed for a tensor that needs none.
    name : str, optional
        What messages and drawings call it; `label` is the same.

    Raises
    ------
    InputError
        If the data are complex numbers, objects, text or a masked array, or `requires_grad` is no bool.
    ShapeError
        If they are rows of different lengths.
    GraphCutError
        If they are or hold a Value, or a Tensor that is not a leaf: a copy would be cut off from its graph.

    Examples
    --------
    >>> X, W = Tensor([[1, 2], [3, 4]], name="X"), Tensor([[1], [-1]], requires_grad=True, name="W")
    >>> loss = ((X @ W) ** 2).sum()
    >>> loss.backward()
    >>> loss.item(), W.grad.tolist(), X.grad
    (2.0, [[-8.0], [-12.0]], None)
    >>> doubled = X * 2.0
    >>> doubled.op, doubled.requires_grad
    ('×', False)
    """

    __slots__ = ("needs",)

    def __init__(
        self, data: Any, requires_grad: bool = False, name: str | None = None, *, label: str | None = None
    ) -> None:
        if isinstance(data, Tensor) and data.prim is None:
            data = data._value  # a leaf is no part of a graph that could be cut
        self._value = as_array(data)
        self._name = label if name is None else name
        self.a = self.b = EMPTY
        self.grad = self.mark = self.prim = None
        self.needs = False
        self.requires_grad = requires_grad

    @staticmethod
    def constant(x: Any) -> Any:
        """A plain operand as a graph keeps it: a number as a float, an array as a leaf that needs no gradient.

        Examples
        --------
        >>> Tensor.constant(3), Tensor.constant([1, 2])
        (3.0, Tensor(data=[1. 2.], grad=None))
        """
        if isinstance(x, (Rational, *NUMBERS)) and not isinstance(x, np.timedelta64):
            try:
                return float(x)
            except OverflowError:
                raise InputError(f"a number that is too large for a float: {shown(x)}") from None
        return Tensor(x)

    @staticmethod
    def settle(node: Any) -> None:
        """Say whether a new node needs a gradient: if one of its operands does. Leaves that do not are marked."""
        node.needs, a, b = False, node.a, node.b
        for x in a if type(a) is tuple else (a, b):  # EMPTY and numbers are floats
            if type(x) is not float:
                if x.needs:
                    node.needs = True
                elif x.mark is None:
                    x.mark = USED

    @property
    def requires_grad(self) -> bool:
        """Whether backward passes give it a gradient; of a leaf it can be set.

        Examples
        --------
        >>> w = Tensor([1.0])
        >>> w.requires_grad = True
        >>> (w * 2.0).requires_grad
        True
        """
        return bool(self.needs)

    @requires_grad.setter
    def requires_grad(self, needs: bool) -> None:
        if self.prim is not None:
            raise InteriorError(f"{spell(self)} is computed: .detach() is the same numbers without a gradient")
        if not isinstance(needs, (bool, np.bool_)):
            raise InputError(f"requires_grad is True or False, not {shown(needs)}")
        self.needs = True if needs else FROZEN if self.needs is not False else False

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The numbers. Those of a leaf can be set, also in place; those of a computed tensor are read-only.

        To write into the array of a computed tensor is NumPy's ValueError.

        Raises
        ------
        InteriorError
            If the data of a computed tensor are set.
        ShapeError
            If they are set to an array of another shape.
        InputError
            If they are set to what holds no real numbers.

        Examples
        --------
        >>> w = Tensor([1.0, 2.0], requires_grad=True)
        >>> w.data -= 0.5
        >>> w.data, (w * 2.0).data.flags.writeable
        (array([0.5, 1.5]), False)
        """
        if self.prim is None:
            return self._value  # type: ignore[no-any-return]
        view = np.asarray(self._value).view()
        view.flags.writeable = False
        return view

    @data.setter
    def data(self, x: Any) -> None:
        if self.prim is not None:
            raise InteriorError(f"{spell(self)} is computed: set the data of its inputs and compute it again")
        if x is self._value:  # as `p.data -= 0.1 * p.grad` ends
            return
        found = array_of(f"the data of {spell(self)}", x, self._value.dtype)
        if found.shape != self._value.shape:
            raise ShapeError(f"data of shape {found.shape} for {spell(self)} of shape {self.shape}: make a new Tensor")
        self._value = found

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis.

        Examples
        --------
        >>> Tensor([[1, 2, 3], [4, 5, 6]]).shape
        (2, 3)
        """
        return self._value.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """The number of axes.

        Examples
        --------
        >>> Tensor([[1, 2, 3], [4, 5, 6]]).ndim
        2
        """
        return self._value.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """How many numbers it holds; in PyTorch that is numel().

        Examples
        --------
        >>> Tensor([[1, 2, 3], [4, 5, 6]]).size
        6
        """
        return int(self._value.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its numbers: float64, or float32 where it was made of such.

        Examples
        --------
        >>> import numpy as np
        >>> Tensor([1, 2]).dtype, Tensor(np.float32([1, 2])).dtype
        (dtype('float64'), dtype('float32'))
        """
        return self._value.dtype  # type: ignore[no-any-return]

    def item(self) -> float:
        """The number of a tensor that holds one, as a float; a `ShapeError` where it holds more, or none.

        Examples
        --------
        >>> Tensor([[3]]).item()
        3.0
        """
        if self._value.size != 1:
            raise ShapeError(
                f"item() of {spell(self)} of shape {self.shape}: it is of one number; .tolist() gives all of them"
            )
        return float(self._value.item())

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy of the numbers, outside of the graph; PyTorch's is none, and refused where a gradient is needed.

        Examples
        --------
        >>> Tensor([1, 2], requires_grad=True).numpy()
        array([1., 2.])
        """
        return np.array(self._value)

    def tolist(self) -> Any:
        """The numbers as nested lists of floats; a float where there is no axis.

        Examples
        --------
        >>> Tensor([[1, 2], [3, 4]]).tolist(), Tensor(5).tolist()
        ([[1.0, 2.0], [3.0, 4.0]], 5.0)
        """
        return self._value.tolist()

    def detach(self) -> Tensor:
        """A leaf with a copy of the numbers, through which no gradient flows; in PyTorch it is no copy.

        Examples
        --------
        >>> x = Tensor([3.0], requires_grad=True)
        >>> (x * x.detach()).sum().backward()
        >>> x.grad
        array([3.])
        """
        return Tensor(np.array(self._value))

    # ---- operators

    __add__, _radd = _operator(primitives.add)
    __sub__, __rsub__ = _operator(primitives.sub)
    __mul__, __rmul__ = _operator(primitives.mul)
    __truediv__, __rtruediv__ = _operator(primitives.div)
    __pow__, __rpow__ = _operator(primitives.pow)
    __matmul__, __rmatmul__ = _operator(structural.matmul)

    def relu(self) -> Any:
        """``relu(self)``, as a new node.

        Examples
        --------
        >>> Tensor([-1.0, 2.0]).relu()
        Tensor(data=[0. 2.], grad=None)
        """
        if silent or watchers or tracing or type(self) is not Tensor:
            return primitives.relu(self)
        out = _new(Tensor)
        if self.mark is None:
            self.mark = USED
        out._value, out.prim, out.a, out.b = np.maximum(self._value, 0.0), primitives.relu, self, EMPTY
        out.needs = self.needs
        out.grad = out.mark = out._name = None
        return out

    def argmax(self, axis: int | None = None) -> Any:
        """Where the largest number stands: NumPy's whole numbers, through which no gradient flows.

        Parameters
        ----------
        axis : int, optional
            Along which; without one the place among all numbers. Of logits, ``argmax(1)`` is the class of each row.

        Raises
        ------
        ShapeError
            If there is no such axis, or along it there is no number.

        Examples
        --------
        >>> Tensor([[1.0, 5.0], [7.0, 2.0]]).argmax(1)
        array([1, 0])
        """
        along = None if axis is None else axis_of(self, axis, "argmax")
        if not (self._value.size if along is None else self._value.shape[along]):
            raise ShapeError(f"argmax of {spell(self)} of shape {self.shape}: there is no number to be the largest")
        return np.argmax(self._value, along)

    def __bool__(self) -> bool:
        if self._value.size != 1:
            raise InputError(
                f"{spell(self)} of shape {self.shape} is neither true nor false: use .data.any() or .data.all()"
            )
        return bool(self._value)

    # ---- shapes

    @property
    def T(self) -> Any:  # noqa: N802
        """The tensor with its axes in reverse order: the transposed matrix.

        Examples
        --------
        >>> Tensor([[1, 2], [3, 4]]).T.tolist()
        [[1.0, 3.0], [2.0, 4.0]]
        """
        return self.transpose()

    def transpose(self, *axes: Any) -> Any:
        """The tensor with its axes in another order, as in NumPy; for PyTorch's transpose(dim0, dim1) see `swapaxes`.

        Parameters
        ----------
        *axes : int, or one tuple of int
            All axes in their new order; without any, they are reversed.

        Raises
        ------
        ShapeError
            If an axis is missing, stands there twice, or is none of the tensor's.
        InputError
            If an axis is no whole number.

        Examples
        --------
        >>> x = Tensor([[[1, 2, 3], [4, 5, 6]]])
        >>> x.shape, x.transpose().shape, x.transpose(0, 2, 1).shape
        ((1, 2, 3), (3, 2, 1), (1, 3, 2))
        """
        given = axes[0] if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))) else axes or None
        order = tuple(range(self.ndim))[::-1] if given is None else axes_of(self, tuple(given), "transpose")
        if len(order) != self.ndim:
            raise ShapeError(
                f"transpose of {spell(self)} of shape {self.shape} to the axes {given}: name all {self.ndim}, or use "
                "swapaxes for two of them"
            )
        return structural.transpose.given(axes=order)(self)

    def swapaxes(self, a: int, b: int) -> Any:
        """The tensor with two axes exchanged, as in NumPy; PyTorch's transpose(dim0, dim1).

        Parameters
        ----------
        a, b : int
            The axes. One that the tensor has not is a `ShapeError`, one that is no whole number an `InputError`.

        Examples
        --------
        >>> Tensor([[1, 2], [3, 4]]).swapaxes(0, 1).tolist()
        [[1.0, 3.0], [2.0, 4.0]]
        """
        i, j = axis_of(self, a, "swapaxes"), axis_of(self, b, "swapaxes")
        order = list(range(self.ndim))
        order[i], order[j] = j, i
        return structural.transpose.given(axes=tuple(order))(self)

    def reshape(self, *shape: Any) -> Any:
        """The same numbers in another shape.

        Parameters
        ----------
        *shape : int, or one tuple of int
            The new lengths; one of them may be -1, and follows from the others.

        Raises
        ------
        ShapeError
            If the shape takes more numbers than there are, or fewer, or has -1 in it twice.
        InputError
            If a length is no whole number.

        Examples
        --------
        >>> Tensor([1, 2, 3, 4]).reshape(2, -1).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
        """
        given = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        to = self._lengths(given, "reshape")
        known = 1
        for n in to:
            known *= n if n != -1 else 1
        if to.count(-1) == 1 and known > 0 and self.size % known == 0:
            to = tuple(self.size // known if n == -1 else n for n in to)
        if min(to, default=0) < 0 or math.prod(to) != self.size:
            raise ShapeError(
                f"reshape of {spell(self)} of shape {self.shape} to {brief(to)}: {self.size} numbers do not fill that; "
                "-1 stands for one length that follows from the others"
            )
        return structural.reshape.given(to=to)(self)

    def flatten(self) -> Any:
        """All numbers along one axis; PyTorch's start_dim and end_dim are not there.

        Examples
        --------
        >>> Tensor([[1, 2], [3, 4]]).flatten()
        Tensor(data=[1. 2. 3. 4.], grad=None)
        """
        return self.reshape(-1) if self.size else self.reshape(0)

    def squeeze(self, axis: Any = None) -> Any:
        """The tensor without axes of length 1: all of them, or those that are named.

        Parameters
        ----------
        axis : int or tuple of int, optional
            Which axes to remove; by default all of length 1.

        Raises
        ------
        ShapeError
            If a named axis has another length, as in NumPy (PyTorch leaves it there), or the tensor has no such axis.
        InputError
            If an axis is no whole number.

        Examples
        --------
        >>> x = Tensor([[[1, 2]]])
        >>> x.shape, x.squeeze().shape, x.squeeze(0).shape
        ((1, 1, 2), (2,), (1, 2))
        """
        gone = [i for i, n in enumerate(self.shape) if n == 1] if axis is None else axes_of(self, axis, "squeeze")
        if any(self.shape[i] != 1 for i in gone):
            raise ShapeError(f"squeeze of {spell(self)} of shape {self.shape} along axis {axis}: its length is not 1")
        return self.reshape(tuple(n for i, n in enumerate(self.shape) if i not in gone))

    def unsqueeze(self, axis: int) -> Any:
        """The tensor with a new axis of length 1, as in PyTorch; NumPy's expand_dims.

        Parameters
        ----------
        axis : int
            Where it stands in the result: a `ShapeError` if that has no such axis, an `InputError` for no whole number.

        Examples
        --------
        >>> x = Tensor([1, 2, 3])
        >>> x.unsqueeze(0).shape, x.unsqueeze(-1).shape
        ((1, 3), (3, 1))
        """
        where = axis_of(self, axis, "unsqueeze", new=1)
        return self.reshape((*self.shape[:where], 1, *self.shape[where:]))

    def _lengths(self, shape: Any, what: str) -> tuple[int, ...]:
        """A shape that was asked for; an error of `what` if it is none."""
        try:
            return tuple(operator.index(n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,)))
        except TypeError:
            said = f"{what} of {spell(self)}"
            raise InputError(f"{said}: a shape is made of whole numbers, not {shown(shape)}") from None

    def broadcast_to(self, shape: Any) -> Any:
        """The tensor repeated to a larger shape, by NumPy's rule; its gradient is the sum of what its copies get.

        Parameters
        ----------
        shape : int or tuple of int
            The new lengths; -1, as in PyTorch's expand, means nothing here.

        Raises
        ------
        ShapeError
            If the tensor does not broadcast to that shape.
        InputError
            If a length is no whole number.

        Examples
        --------
        >>> x = Tensor([1, 2], requires_grad=True)
        >>> x.broadcast_to((3, 2)).sum().backward()
        >>> x.grad
        array([3., 3.])
        """
        to = self._lengths(shape, "broadcast_to")
        try:
            fits = np.broadcast_shapes(self.shape, to) == to
        except ValueError:
            fits = False
        if not fits:
            raise ShapeError(f"{spell(self)} of shape {self.shape} does not broadcast to {brief(shape)}")
        return structural.broadcast_to.given(to=to)(self)

    def __getitem__(self, key: Any) -> Any:
        parts = tuple(map(_index, key if isinstance(key, tuple) else (key,)))
        return structural.index.given(key=parts)(self)

    def __setitem__(self, key: Any, x: Any) -> None:
        if self.prim is not None:
            raise InteriorError(
                f"{spell(self)} is computed: make a new tensor with mg.where, or set data of its inputs"
            )
        if self.needs or self.mark is not None:
            why = "needs a gradient" if self.needs else "was used in a graph"
            raise InteriorError(
                f"{spell(self)} {why}, which would not know of the change: fill an array of NumPy and make a Tensor "
                "of it, or set .data[...] between two passes"
            )
        parts = tuple(map(_index, key if isinstance(key, tuple) else (key,)))
        given = array_of(f"what is put into {spell(self)}", x)
        try:
            self._value[parts] = given
        except (ValueError, IndexError, TypeError, OverflowError) as error:
            raise ShapeError(f"{given.shape} is put into {spell(self)} of shape {self.shape}: {error}") from None

    def _in_place(self, other: Any) -> Any:
        if self.prim is None and self.needs:
            raise InteriorError(
                f"{spell(self)} is a leaf that needs a gradient: an operator in place would leave it as it is and make "
                "a new tensor of its name; write p.data -= ..., with numbers, to change it, or p = p - ... for another"
            )
        return NotImplemented  # a new tensor, as of x = x + y

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = __imatmul__ = _in_place

    def __len__(self) -> int:
        if not self.ndim:
            raise ShapeError(f"{spell(self)} is one number, and has no length")
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise ShapeError(f"{spell(self)} is one number: there is nothing to go through")
        return (self[i] for i in range(len(self)))

    def __contains__(self, x: Any) -> bool:
        found = self.__eq__(x)  # not ==, which would ask `x` next
        return found is not NotImplemented and bool(np.any(found))

    unbind = functions.unbind
    split = functions.split

    # ---- reductions

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The sum of the numbers: of all, or along an axis or several.

        Parameters
        ----------
        axis : int or tuple of int, optional
            Along which to add; by default all. (`axis` and `keepdims` are NumPy's words for PyTorch's dim and keepdim.)
        keepdims : bool
            Whether the result keeps those axes, with length 1.

        Raises
        ------
        ShapeError
            If the tensor has no such axis, or one is named twice.
        InputError
            If an axis is no whole number, or `keepdims` no bool.

        Examples
        --------
        >>> x = Tensor([[1, 2], [3, 4]])
        >>> x.sum().item(), x.sum(axis=0).tolist(), x.sum(axis=1, keepdims=True).tolist()
        (10.0, [4.0, 6.0], [[3.0], [7.0]])
        """
        return reduce(structural.total, self, axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The mean of the numbers: of all, or along an axis or several.

        Parameters
        ----------
        axis : int or tuple of int, optional
            Along which to take it; by default all.
        keepdims : bool
            Whether the result keeps those axes, with length 1.

        Raises
        ------
        ShapeError
            If the tensor has no such axis, or one is named twice.
        InputError
            If an axis is no whole number, or `keepdims` no bool.

        Examples
        --------
        >>> x = Tensor([[1, 2], [3, 4]])
        >>> x.mean().item(), x.mean(axis=0).tolist()
        (2.5, [2.0, 3.0])
        """
        return reduce(structural.mean, self, axis, keepdims=keepdims)

    def var(self, axis: Any = None, keepdims: bool = False, correction: float = 0) -> Any:
        """The variance: the mean square distance from the mean.

        Parameters
        ----------
        axis : int or tuple of int, optional
            Along which to take it; by default all.
        keepdims : bool
            Whether the result keeps those axes, with length 1.
        correction : float
            The sum of n squares is divided by ``n - correction``. By default it is 0 as in NumPy, not 1 as in PyTorch.

        Raises
        ------
        InputError
            If the correction is not a number below n, an axis no whole number, or `keepdims` no bool.
        ShapeError
            If the tensor has no such axis, or one is named twice.

        Examples
        --------
        >>> x = Tensor([1, 3])
        >>> x.var().item(), x.var(correction=1).item()
        (1.0, 2.0)
        """
        n = structural.count(self, None if axis is None else axes_of(self, axis, "var"))
        spread = self - self.mean(axis, keepdims=True)
        try:
            less = float(correction) if isinstance(correction, NUMBERS) else math.nan
        except (OverflowError, TypeError):
            less = math.nan
        if not less < max(n, 1):
            raise InputError(f"var of {n} numbers: the correction is a number below {n}, not {shown(correction)}")
        found = (spread * spread).mean(axis, keepdims)
        return found * (n / (n - less)) if less else found

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The largest number: of all, or along an axis or several.

        Where several are the largest, each gets an equal share of the gradient. (Along an axis, PyTorch gives all of it
        to one of them, and returns indices besides.)

        Parameters
        ----------
        axis : int or tuple of int, optional
            Along which to look for it; by default all.
        keepdims : bool
            Whether the result keeps those axes, with length 1.

        Raises
        ------
        ShapeError
            If there are no numbers, the tensor has no such axis, or one is named twice.
        InputError
            If an axis is no whole number, or `keepdims` no bool.

        Examples
        --------
        >>> x = Tensor([2, 5, 5], requires_grad=True)
        >>> x.max().backward()
        >>> x.max().item(), x.grad
        (5.0, array([0. , 0.5, 0.5]))
        """
        return reduce(structural.largest, self, axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The smallest number: of all, or along an axis or several.

        Where several are the smallest, each gets an equal share of the gradient, as in `max`.

        Parameters
        ----------
        axis : int or tuple of int, optional
            Along which to look for it; by default all.
        keepdims : bool
            Whether the result keeps those axes, with length 1.

        Raises
        ------
        ShapeError
            If there are no numbers, the tensor has no such axis, or one is named twice.
        InputError
            If an axis is no whole number, or `keepdims` no bool.

        Examples
        --------
        >>> Tensor([[1, 2], [4, 3]]).min(axis=1)
        Tensor(data=[1. 3.], grad=None)
        """
        return reduce(structural.smallest, self, axis, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The product of the numbers: of all, or along an axis or several; its derivatives are right at zeros too.

        Parameters
        ----------
        axis : int or tuple of int, optional
            Along which to multiply; by default all. (In PyTorch it is one axis.)
        keepdims : bool
            Whether the result keeps those axes, with length 1.

        Raises
        ------
        ShapeError
            If the tensor has no such axis, or one is named twice.
        InputError
            If an axis is no whole number, or `keepdims` no bool.

        Examples
        --------
        >>> x = Tensor([2, 0, 3], requires_grad=True)
        >>> x.prod().backward()
        >>> x.prod().item(), x.grad
        (0.0, array([0., 6., 0.]))
        """
        return reduce(structural.product, self, axis, keepdims=keepdims)

    logsumexp, softmax, log_softmax = functions.logsumexp, functions.softmax, functions.log_softmax

    # ---- gradients

    def backward(self, gradient: Any = None) -> None:
        """Fill `grad` with the derivative of this tensor, times `gradient`, by every tensor and Value below it.

        Leaves add it to what they hold, until their `grad` is set back to None; nodes in between hold the last pass
        only, where PyTorch keeps nothing. A pass that fails leaves every leaf as it was. The graph stays, and can go
        backward again, without PyTorch's retain_graph. It takes the numbers as they are now: change data
        of a leaf after the pass, not before it (`backward_steps` and drawings notice, this does not).

        Parameters
        ----------
        gradient : array_like, optional
            In the shape of the tensor; only a tensor of one number can do without, for which it is 1.

        Raises
        ------
        InputError
            If nothing below needs a gradient, or `gradient` holds no real numbers.
        ShapeError
            If it is missing for a tensor of several numbers, or has another shape.

        Examples
        --------
        >>> x = Tensor([1, 2], requires_grad=True)
        >>> y = x * x
        >>> y.sum().backward()
        >>> x.grad
        array([2., 4.])
        >>> y.backward([1.0, 0.0])
        >>> x.grad
        array([4., 4.])
        """
        if not self.needs:
            raise no_gradient(spell(self))
        if gradient is None:
            if self._value.size != 1:
                raise ShapeError(
                    f"backward() of {spell(self)} of shape {self.shape}: it starts from one number, such as "
                    ".sum() or .mean(), or needs a gradient of that shape"
                )
            seed = self.seed()
        else:
            seed = self.as_gradient(gradient)
        short = self.prim is not None and self.prim.call and not (watchers or hooks) and self.prim.call.back(self, seed)
        if not short:
            self.flow_back(seed)

    def as_gradient(self, x: Any) -> Any:  # noqa: D102
        found = array_of(f"a gradient of {spell(self)}", x._value if isinstance(x, Node) else x, self._value.dtype)
        if found.shape != self.shape:
            raise ShapeError(
                f"a gradient of shape {found.shape} for {spell(self)} of shape {self.shape}: they have to be the same"
            )
        return found

    def collect(self, gradient: Any) -> Any:
        """What `grad` becomes with what a backward pass brought: an array that no other node has.

        Raises
        ------
        ShapeError
            If `grad` was set by hand to an array of another shape.

        Examples
        --------
        >>> w = Tensor([1.0, 2.0], requires_grad=True)
        >>> w.grad = np.array([10.0, 10.0])
        >>> w.collect(np.array([1.0, 2.0]))
        array([11., 12.])
        """
        self.mark = None
        if self.grad is None:
            shared = type(gradient) is not np.ndarray or gradient.base is not None or sys.getrefcount(gradient) > _ALONE
            return np.array(gradient) if shared else gradient
        held = self.grad
        if type(held) is not np.ndarray or held.dtype.kind != "f":  # set by hand
            held = array_of(f"the grad of {spell(self)}", getattr(held, "_value", held), self._value.dtype)
        if held.shape != gradient.shape:
            raise ShapeError(
                f"the grad of {spell(self)} was set to shape {held.shape}, and its own is {self.shape}: set it to None"
            )
        return np.asarray(held + gradient)

    # ---- NumPy and Python

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self.needs:
            raise GraphCutError(
                f"an array of {spell(self)} would cut it out of the graph: use functions of microgad, or .numpy() "
                "where only the numbers are wanted"
            )
        return np.array(self._value, dtype)

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        needs = ", requires_grad=True" if self.needs and self.prim is None else ""
        needs += f", shape={self.shape}" if not self.size and self.ndim > 1 else ""
        needs += f", dtype={self.dtype}" if self.dtype != np.float64 else ""
        kind = type(self).__name__

        def numbers(x: Any) -> str:
            ahead = f"{kind}(data="
            return "None" if x is None else np.array2string(np.asarray(x), threshold=50, edgeitems=2, prefix=ahead)

        data, grad = numbers(self._value), numbers(self.grad)
        apart = ",\n" + " " * (len(kind) + 1) if "\n" in data and self.grad is not None else ", "
        return f"{kind}(data={data}{apart}grad={grad}{needs}{name})"

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        if self._value.size != 1:
            raise ShapeError(
                f"{spell(self)} of shape {self.shape} in the format {spec!r}, which is that of one number: take "
                "np.array2string(x.data, precision=...)"
            )
        return format(self.item(), spec)


def _index(k: Any) -> Any:
    """A part of an index, as a row keeps it: an array copied, so that nobody changes it later."""
    if isinstance(k, Node):
        raise InputError(
            f"an index is a whole number, a slice or an array of them, not the {type(k).__name__} {spell(k)}, which "
            "holds floats: take .data.astype(int), or a comparison as a mask"
        )
    if k is None or k is Ellipsis:
        return k
    if isinstance(k, slice):
        try:
            return slice(*(None if x is None else operator.index(x) for x in (k.start, k.stop, k.step)))
        except TypeError:
            raise InputError(f"a slice is made of whole numbers, not {shown(k)}") from None
    if isinstance(k, (list, tuple, np.ndarray)):
        try:
            found = np.array(k, dtype=int) if isinstance(k, (list, tuple)) and not len(k) else np.array(k)
        except ValueError:
            raise ShapeError(f"an index of rows of different lengths: {shown(k)}") from None
        if found.dtype.kind not in "biu":
            raise InputError(f"an index is made of whole numbers or of True and False, not of {shown(k)}")
        return found
    if isinstance(k, (bool, np.bool_)):
        return np.array(k)
    try:
        return operator.index(k)
    except TypeError:
        raise InputError(f"an index is a whole number, a slice or an array of them, not {shown(k)}") from None


class _Counting(Tensor):
    __slots__ = ()

    def collect(self, gradient: Any) -> Any:
        """How many references a gradient has that belongs to nobody else; versions of Python differ."""
        self.mark = None
        return sys.getrefcount(gradient)


_probe = _Counting(np.zeros(1), True)
primitives.neg.bind(Tensor, (_probe,)).flow_back(np.ones(1))
_ALONE = _probe.grad

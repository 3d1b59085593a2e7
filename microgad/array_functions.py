"""Functions of whole arrays: they join them, cut them, and reduce them along an axis."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np

from . import structural as rows
from .errors import GraphCutError, InputError, MicrogadError, ShapeError, plain, shown, spell
from .node import Node
from .structural import shape


def as_array(x: Any, dtype: Any = None) -> np.ndarray[Any, Any]:
    """Numbers as an array of a tensor's own: float64, or float32 where they are that already.

    Parameters
    ----------
    x : array_like
        Numbers, which are copied.
    dtype : numpy.dtype, optional
        The type of the result, where it is known.

    Raises
    ------
    InputError
        If they are complex numbers, objects, text or a masked array.
    ShapeError
        If they are rows of different lengths, or nested too deeply.
    GraphCutError
        If a node is among them.

    Examples
    --------
    >>> as_array([1, True])
    array([1., 1.])
    """
    if isinstance(x, Node) or (isinstance(x, (list, tuple)) and _has_node(x)):
        alone = isinstance(x, Node) and type(x._value) is not float
        joined = "use it as it is" if alone else "join Values and Tensors with mg.stack"
        raise GraphCutError(
            f"an array of {_said(x)} would cut the graph: {joined}, or take .data, of a Tensor also .detach(), for the "
            "numbers alone"
        )
    if isinstance(x, np.ndarray) and hasattr(x, "mask") and isinstance(x, np.ma.MaskedArray):  # last: it loads numpy.ma
        raise InputError("a Tensor has no mask, as this masked array has: fill it first, as in x.filled(0.0)")
    try:
        foreign = not isinstance(x, (list, tuple, np.ndarray)) and hasattr(x, "__array__")
        found = np.array(np.asarray(x) if foreign else x)  # not all know how to make a copy
    except Exception as error:  # such as that of another library's tensor
        if not isinstance(x, (list, tuple)) or not isinstance(error, (ValueError, TypeError, OverflowError)):
            raise InputError(f"a Tensor holds numbers, not {shown(x)}: {' '.join(str(error).split())}") from None
        if "maximum number of dimension" in str(error):
            raise ShapeError(f"more axes than an array can have: {shown(x)}") from None
        raise ShapeError(f"rows of different lengths are no array: {shown(x)}; pad them, or keep a list") from None
    if found.dtype.kind not in "biuf" or isinstance(x, bytearray):
        raise InputError(f"a Tensor holds real numbers, not {shown(x)}{_advice(x, found)}")
    if dtype is None:
        dtype = found.dtype if found.dtype == np.float32 else np.float64
    return found.astype(dtype, copy=False)


def _has_node(x: Any) -> bool:
    try:
        return any(isinstance(y, Node) or (isinstance(y, (list, tuple)) and _has_node(y)) for y in x)
    except RecursionError:
        raise ShapeError(f"a {type(x).__name__} that is nested too deeply, or holds itself, is no array") from None


def _said(x: Any) -> str:
    """A node, or what holds one, in a message."""
    if isinstance(x, Node):
        return f"the {type(x).__name__} {spell(x)}"
    inner = next(y for y in x if isinstance(y, Node) or (isinstance(y, (list, tuple)) and _has_node(y)))
    return f"a {type(x).__name__} that holds {_said(inner)}"


def _advice(x: Any, found: np.ndarray[Any, Any]) -> str:
    """Why these are no real numbers, and what makes them such."""
    kind = found.dtype.kind
    if kind == "O" and found.size and all(isinstance(one, int) for one in found.flat):
        small = all(abs(one) < 2**1023 for one in found.flat)
        return "; convert it with np.asarray(x, float)" if small else ": an integer is too large for a float"
    if isinstance(x, (set, frozenset, dict)) or hasattr(x, "__next__"):
        return f"; make a list of {'its values' if isinstance(x, dict) else 'it'}"
    said = {
        "c": "take .real and .imag apart",
        "U": "convert text with np.asarray(x, float), and number labels with np.unique(x, return_inverse=True)[1]",
        "S": "convert text with np.asarray(x, float)",
        "M": "subtract a date and divide by np.timedelta64(1, 'D')",
        "m": "divide by a unit such as np.timedelta64(1, 's')",
        "V": "take a field of it, such as x['name']",
        "O": "if all are numbers, convert it with np.asarray(x, float)" if found.size > 1 else "",
    }.get(kind, "")
    of = f" (dtype {found.dtype})" if isinstance(x, (np.ndarray, list, tuple)) else ""
    return of + (f"; {said}" if said else "")


def operand(x: Any, what: str) -> Any:
    """An operand of a structural row: a node as it is, anything else as an array; an error says `what` took it.

    Examples
    --------
    >>> operand([1, 2], "sum")
    array([1., 2.])
    """
    return x if isinstance(x, Node) else array_of(what, x)


def array_of(what: str, x: Any, dtype: Any = None) -> np.ndarray[Any, Any]:
    """`as_array`, with errors that begin with `what`.

    Examples
    --------
    >>> array_of("the weight", [1, 2])
    array([1., 2.])
    """
    try:
        return as_array(x, dtype)
    except MicrogadError as error:
        raise type(error)(f"{what}: {error}") from None


def axes_of(x: Any, axis: Any, what: str, *, new: int = 0) -> tuple[int, ...]:
    """An axis, or several, counted from 0; an error of `what` if `x` has no such axis.

    Parameters
    ----------
    x : array or Tensor
        What has the axes.
    axis : int or tuple of int
        Counted from the end where negative.
    what : str
        The operation, for messages.
    new : int
        How many more axes the result has.

    Raises
    ------
    ShapeError
        If there is no such axis, or one is named twice.
    InputError
        If one is no whole number.

    Examples
    --------
    >>> import numpy as np
    >>> axes_of(np.zeros((2, 3)), (0, -1), "sum")
    (0, 1)
    """
    n = len(shape(x)) + new
    try:
        given = tuple(operator.index(i) for i in (axis if isinstance(axis, (tuple, list)) else (axis,)))
        if any(isinstance(i, (bool, np.bool_)) for i in (axis if isinstance(axis, (tuple, list)) else (axis,))):
            raise TypeError
    except TypeError:
        of = f"{what} of {spell(x)}"
        raise InputError(f"{of}: an axis is a whole number, or a tuple of them, not {shown(axis)}") from None
    found = tuple(i + n if i < 0 else i for i in given)
    if wrong := [i for i, j in zip(given, found, strict=True) if not 0 <= j < n]:
        has = f"{n} ax{'e' if n != 1 else 'i'}s, {-n} to {n - 1}" if n else "none: it is one number"
        of = "; with the new one there are" if new else " has"
        raise ShapeError(f"{what} along axis {plain(wrong[0])}: {spell(x)} of shape {shape(x)}{of} {has}")
    if len(set(found)) < len(found):
        raise ShapeError(f"{what} of {spell(x)} along axis {axis}: an axis stands there twice")
    return found


def axis_of(x: Any, axis: Any, what: str, *, new: int = 0) -> int:
    """One axis, counted from 0, as in `axes_of`; several are an `InputError`.

    Examples
    --------
    >>> import numpy as np
    >>> axis_of(np.zeros((2, 3)), -1, "split")
    1
    """
    found = axes_of(x, axis, what, new=new)
    if isinstance(axis, (tuple, list)):
        raise InputError(f"{what} of {spell(x)}: it is along one axis, a whole number, not along {shown(axis)}")
    return found[0]


def reduce(row: Any, x: Any, axis: Any, **params: Any) -> Any:
    """A reduction along `axis`, None for all.

    Raises
    ------
    ShapeError
        If `x` has no such axis, or one is named twice.
    InputError
        If an axis is no whole number, a parameter no bool, or `x` holds no real numbers.

    Examples
    --------
    >>> reduce(rows.total, [[1.0, 2.0], [3.0, 4.0]], 0, keepdims=False)
    array([4., 6.])
    """
    x = operand(x, row.name)
    axes = None if axis is None else tuple(sorted(axes_of(x, axis, row.name)))
    if "keepdims" in params and not isinstance(params["keepdims"], (bool, np.bool_)):
        raise InputError(f"keepdims of {row.name} is True or False, not {shown(params['keepdims'])}")
    params = {name: bool(x) for name, x in params.items()}
    return row.given(axis=axes, **params)(x)


def _sequence(parts: Any, what: str) -> list[Any]:
    if isinstance(parts, Node) or (isinstance(parts, np.ndarray) and parts.ndim) or isinstance(parts, (list, tuple)):
        if isinstance(parts, Node) and not shape(parts):
            raise ShapeError(f"{what} takes a list of arrays, not {spell(parts)}, which is one number")
        whole: Any = parts
        found = list(parts) if isinstance(parts, (list, tuple)) else [whole[i] for i in range(len(whole))]
        if not found:
            raise ShapeError(f"{what} of nothing: it needs at least one array")
        return found
    raise InputError(f"{what} takes a list of arrays, not {shown(parts)}")


def concatenate(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Arrays joined along an axis that they have.

    Parameters
    ----------
    arrays : sequence of array or Tensor
        One or more, of one number of axes, and of the same lengths but for `axis`.
    axis : int
        The axis, counted from 0, or from the end where it is negative.

    Returns
    -------
    array or Tensor
        A Tensor where one of them is.

    Raises
    ------
    ShapeError
        If there are none, their shapes do not agree, or they have no such axis, as numbers and Values have none.
    InputError
        If `arrays` is no list, one of them holds no real numbers, or the axis is no whole number.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.concatenate([[1.0, 2.0], mg.Tensor([3.0])])
    Tensor(data=[1. 2. 3.], grad=None)
    """
    parts = [operand(x, "concatenate") for x in _sequence(arrays, "concatenate")]
    return rows.concatenate.given(axis=axis_of(parts[0], axis, "concatenate"))(*parts)


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape, or Values, side by side along a new axis; the way from Values to a Tensor.

    Parameters
    ----------
    arrays : sequence of float, Value, array or Tensor
        One or more, of one shape. Lists in it that hold nodes are stacked first.
    axis : int
        Where the new axis stands in the result.

    Returns
    -------
    array or Tensor
        A Tensor where one of them is a node.

    Raises
    ------
    ShapeError
        If there are none, their shapes differ, or the result has no such axis.
    InputError
        If `arrays` is no list, one of them holds no real numbers, or the axis is no whole number.

    Examples
    --------
    >>> import microgad as mg
    >>> w = [mg.Value(1.0), mg.Value(2.0)]
    >>> (mg.stack(w) * [3.0, 4.0]).sum().backward()
    >>> [x.grad for x in w]
    [3.0, 4.0]
    """
    listed = _sequence(arrays, "stack")
    parts = [stack(x) if isinstance(x, (list, tuple)) and _has_node(x) else x for x in listed]
    parts = [x if isinstance(x, Node) or type(x) is float else operand(x, "stack") for x in parts]
    return rows.stack.given(axis=axis_of(parts[0], axis, "stack", new=1))(*parts)


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> tuple[Any, ...]:
    """An array cut along an axis.

    Parameters
    ----------
    x : array or Tensor
        What to cut.
    sections : int or sequence of int
        A number of equal parts, or the indices at which to cut, as in `numpy.split`. (PyTorch takes lengths of parts.)
    axis : int
        The axis, counted from 0, or from the end where it is negative.

    Returns
    -------
    tuple of array or Tensor
        The parts, in order.

    Raises
    ------
    ShapeError
        If the axis is not that many equal parts, or `x` has no such axis.
    InputError
        If `sections` or `axis` are no whole numbers, or `x` holds no real numbers.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.split([1.0, 2.0, 3.0, 4.0], 2)
    (array([1., 2.]), array([3., 4.]))
    >>> mg.Tensor([1.0, 2.0, 3.0, 4.0]).split([1])
    (Tensor(data=[1.], grad=None), Tensor(data=[2. 3. 4.], grad=None))
    """
    x = operand(x, "split")
    where = axis_of(x, axis, "split")
    n = shape(x)[where]
    try:
        listed = isinstance(sections, (list, tuple)) or bool(getattr(sections, "ndim", 0))
        cuts = [operator.index(i) for i in sections] if listed else operator.index(sections)  # type: ignore[union-attr, arg-type]
    except TypeError:
        raise InputError(f"split into {shown(sections)}: give a number of parts, or the indices of the cuts") from None
    if isinstance(cuts, int):
        if cuts < 1 or n % cuts or cuts > max(n, 1000):  # an axis of length 0 has as many parts as one likes
            said = f"split of {spell(x)} of shape {shape(x)}"
            raise ShapeError(f"{said}: {n} along axis {axis} is not {plain(cuts)} equal parts")
        cuts = [k * n // cuts for k in range(1, cuts)]
    edges = [0, *cuts, n]
    ahead = [slice(None)] * where
    return tuple(rows.index.given(key=(*ahead, slice(start, stop)))(x) for start, stop in pairwise(edges))


def unbind(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """The parts of an array along an axis; those of a Tensor of one axis are Values, with gradients.

    Parameters
    ----------
    x : array or Tensor
        What to take apart.
    axis : int
        The axis, counted from 0, or from the end where it is negative.

    Returns
    -------
    tuple of Value, Tensor, array or number
        One part for each place along the axis, without that axis.

    Raises
    ------
    ShapeError
        If `x` has no such axis.
    InputError
        If the axis is no whole number, or `x` holds no real numbers.

    Examples
    --------
    >>> import microgad as mg
    >>> t = mg.Tensor([2.0, 3.0], requires_grad=True)
    >>> a, b = mg.unbind(t)
    >>> (a * b).backward()
    >>> t.grad
    array([3., 2.])
    """
    x = operand(x, "unbind")
    where = axis_of(x, axis, "unbind")
    row = rows.item if len(shape(x)) == 1 and isinstance(x, Node) else rows.index
    ahead = (slice(None),) * where
    return tuple(row.given(**{"at" if row is rows.item else "key": (*ahead, i)})(x) for i in range(shape(x)[where]))


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The logarithm of the sum of exponentials, which does not overflow.

    Parameters
    ----------
    x : array or Tensor
        Numbers.
    axis : int or tuple of int, optional
        Along which to sum; by default all, where PyTorch wants it named.
    keepdims : bool
        Whether the result keeps those axes, with length 1.

    Raises
    ------
    ShapeError
        If `x` has no such axis, or one is named twice.
    InputError
        If an axis is no whole number, `keepdims` no bool, or `x` holds no real numbers.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.logsumexp([1000.0, 0.0])
    array(1000.)
    >>> import numpy as np
    >>> logs = mg.log(np.array([1.0, 2.0, 5.0]))
    >>> print(f"{mg.exp(mg.logsumexp(logs)):.6f}")
    8.000000
    """
    return reduce(rows.logsumexp, x, axis, keepdims=keepdims)


def softmax(x: Any, axis: Any = -1, temperature: Any = 1.0) -> Any:
    """Probabilities from logits: ``exp(x / temperature)``, divided by its sum along `axis`.

    Parameters
    ----------
    x : array or Tensor
        The logits, of any size: shifted by the largest, they do not overflow.
    axis : int, tuple of int or None
        Along which the probabilities add up to 1: by default the last, where PyTorch wants it named; None for all.
    temperature : float, Value or Tensor
        Above 1 the probabilities come closer together, near 0 the largest takes all. Whether a node is positive is not
        checked.

    Returns
    -------
    array or Tensor
        In the shape of `x`.

    Raises
    ------
    ShapeError
        If `x` has no such axis, or one is named twice.
    InputError
        If the temperature is no number above 0, an axis no whole number, or `x` holds no real numbers.

    Examples
    --------
    >>> import microgad as mg
    >>> import numpy as np
    >>> logits = mg.log(np.array([1.0, 3.0]))
    >>> mg.softmax(logits).round(6), mg.softmax(logits, temperature=0.5).round(6)
    (array([0.25, 0.75]), array([0.1, 0.9]))
    >>> mg.softmax([1000.0, 0.0])
    array([1., 0.])
    """
    return reduce(rows.softmax, _cooled(x, temperature), axis)


def log_softmax(x: Any, axis: Any = -1, temperature: Any = 1.0) -> Any:
    """The logarithm of `softmax`, right where a probability is too small for a float.

    Parameters
    ----------
    x : array or Tensor
        The logits.
    axis : int, tuple of int or None
        Along which the probabilities add up to 1; None for all.
    temperature : float, Value or Tensor
        What the logits are divided by; as in `softmax`.

    Returns
    -------
    array or Tensor
        In the shape of `x`.

    Raises
    ------
    ShapeError
        If `x` has no such axis, or one is named twice.
    InputError
        If the temperature is no number above 0, an axis no whole number, or `x` holds no real numbers.

    Examples
    --------
    >>> import microgad as mg
    >>> mg.log_softmax([0.0, -800.0])
    array([   0., -800.])
    """
    return reduce(rows.log_softmax, _cooled(x, temperature), axis)


def _cooled(x: Any, temperature: Any) -> Any:
    x = operand(x, "softmax")
    if isinstance(temperature, Node):
        if not isinstance(x, Node) and type(temperature._value) is float:
            temperature = stack([temperature])[0]  # an array computes with Tensors
        return x / temperature
    try:
        number = float(temperature) if isinstance(temperature, Real) else math.nan
    except (OverflowError, TypeError):  # an integer of 400 digits; a number of seconds
        number = math.nan
    if not number > 0:
        raise InputError(f"a temperature is a number above 0, not {shown(temperature)}")
    return x if number == 1 else x / number

"""Arrays and parameters of operations on whole arrays, as a saved graph has them: written, read, and bounded."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .agreement import close
from .primitive import Primitive
from .saved_text import check, fail, number, what, written
from .structural import ROWS, Each, cast, cross_entropy, item, linear, nll, shape

DTYPES = ("float64", "float32")


def listed(x: Any) -> Any:
    """An array as lists in lists."""

    def spelled(part: Any) -> Any:
        return list(map(spelled, part)) if type(part) is list else written(part)

    return x.tolist() if np.isfinite(x).all() else spelled(x.tolist())


def parameter(x: Any) -> Any:
    """A parameter of an operation, or a part of one, as JSON has it."""
    if isinstance(x, tuple):
        return list(map(parameter, x))
    if isinstance(x, slice):
        return {"slice": [x.start, x.stop, x.step]}
    if isinstance(x, np.ndarray):
        kept = x if x.dtype == bool else x.astype(np.int64)
        return {"dtype": kept.dtype.name, "shape": list(kept.shape), "data": kept.tolist()}
    return "..." if x is Ellipsis else x.name if isinstance(x, np.dtype) else x


# ---- parameters


@lru_cache(maxsize=256)
def readers(name: str) -> dict[str, Callable[..., Any]]:
    """What reads each parameter of a row: its rules name them after the operands."""
    row = ROWS[name]
    rule = tuple.__getitem__(row.vjp, 0) if isinstance(row.vjp, Each) else row.vjp[0]
    known: dict[str, Callable[..., Any]] = {
        "to": a_dtype if row is cast else a_shape,
        "axis": _axis if isinstance(row.vjp, Each) else _some_axes,
        "axes": _axes,
        "at": _axes,
        "keepdims": _truth,
        "reduction": _reduction,
        "hard": _truth,
        "key": _key,
    }
    return {key: known[key] for key in inspect.signature(rule).parameters if key in known}


def a_dtype(x: Any, i: int, field: str, room: int = 0) -> np.dtype[Any]:
    """A dtype that a Tensor can have."""
    if type(x) is not str or x not in DTYPES:
        fail(i, f'"{field}" has to be "float64" or "float32", not {what(x)}')
    return np.dtype(x)


def a_shape(x: Any, i: int, field: str, room: int) -> tuple[int, ...]:
    """The shape of an array that has room: one of (0, n) counts as if it were of (1, n), which is what its sum is."""
    if type(x) is not list or len(x) > 32 or not all(type(n) is int and n >= 0 for n in x):
        fail(i, f'"{field}" has to be a list of up to 32 lengths, not {what(x)}')
    if math.prod(n or 1 for n in x) > room:
        fail(i, f'"{field}" is of an array larger than the text')
    return tuple(x)


def _axis(x: Any, i: int, field: str, room: int = 0) -> int:
    if type(x) is not int or not 0 <= x < 64:
        fail(i, f'"{field}" has to be an axis counted from 0, not {what(x)}')
    return x


def _axes(x: Any, i: int, field: str, room: int = 0) -> tuple[int, ...]:
    if type(x) is not list or len(x) > 64 or not all(type(n) is int and 0 <= n < 2**63 for n in x):
        fail(i, f'"{field}" has to be a list of integers from 0 on, not {what(x)}')
    return tuple(x)


def _some_axes(x: Any, i: int, field: str, room: int = 0) -> tuple[int, ...] | None:
    return None if x is None else _axes(x, i, field)


def _truth(x: Any, i: int, field: str, room: int = 0) -> bool:
    if type(x) is not bool:
        fail(i, f'"{field}" has to be true or false, not {what(x)}')
    return x


def _reduction(x: Any, i: int, field: str, room: int = 0) -> str:
    if type(x) is not str or x not in ("mean", "sum", "none"):
        fail(i, f'"{field}" has to be "mean", "sum" or "none", not {what(x)}')
    return x


def _key(x: Any, i: int, field: str, room: int) -> tuple[Any, ...]:
    if type(x) is not list or len(x) > 64:
        fail(i, f'"{field}" has to be a list, not {what(x)}')
    return tuple(_part(part, i, field, room) for part in x)


def _part(x: Any, i: int, field: str, room: int) -> Any:
    """A part of an index."""
    if x is None or _is_index(x):
        return x
    if x == "...":
        return Ellipsis
    if type(x) is dict and "slice" in x:
        check(x, f'node {i}, "{field}"', {"slice"})
        ends = x["slice"]
        if type(ends) is list and len(ends) == 3 and all(end is None or _is_index(end) for end in ends):
            return slice(*ends)
    if type(x) is dict and "slice" not in x:
        check(x, f'node {i}, "{field}"', {"dtype", "shape", "data"})
        kind, of, flat = x["dtype"], a_shape(x["shape"], i, field, room), list[Any]()
        if kind in ("int64", "bool"):
            _walk(x["data"], of, i, f"{field}: data", flat, _is_index if kind == "int64" else _is_bool)
            return np.array(flat, kind).reshape(of)
    fail(i, f'"{field}" has to be made of integers, slices, null, "..." and arrays of them, not of {what(x)}')


def _is_index(x: Any) -> bool:
    return type(x) is int and -(2**63) <= x < 2**63


def _is_bool(x: Any) -> bool:
    return type(x) is bool


# ---- arrays


def array(x: Any, of: tuple[int, ...], dtype: np.dtype[Any], i: int, field: str) -> np.ndarray[Any, Any]:
    """Numbers in lists in lists as an array of that shape."""
    flat: list[Any] = []
    _walk(x, of, i, field, flat, None)
    made = np.array(flat, np.float64)
    found = made.astype(dtype)
    if not np.array_equal(np.isinf(made), np.isinf(found)):
        fail(i, f'"{field}" has a number too large for {dtype}')
    return found.reshape(of)


def _walk(
    x: Any, of: tuple[int, ...], i: int, field: str, flat: list[Any], belongs: Callable[[Any], bool] | None
) -> None:
    """Gather in `flat` what lists in lists of these lengths hold: numbers, or else what `belongs` there."""
    if not of:
        if belongs is not None and not belongs(x):
            fail(i, f'"{field}" cannot hold {what(x)}')
        flat.append(x if belongs is not None else number(x, i, field))
        return
    if type(x) is not list or len(x) != of[0]:
        has = f"a list of {len(x):,}" if type(x) is list else what(x)
        fail(i, f'"{field}" has to be a list of {of[0]:,}, as its shape says, not {has}')
    if len(of) == 1 and belongs is None and all(type(y) is float and y - y == 0.0 for y in x):  # finite
        flat.extend(x)
        return
    for k, part in enumerate(x):
        _walk(part, of[1:], i, f"{field}[{k}]", flat, belongs)


# ---- bounds


def fit(row: Primitive, operands: Sequence[Any], data: Any, i: int) -> None:
    """Raise where an operation would make an array of another size than the text says, before it does so."""
    shapes = [() if type(x) is float else shape(x) for x in operands]
    try:
        size = _size(row, shapes, row.params)
    except (ValueError, IndexError):
        said = " and ".join(map(str, shapes[:3]))
        fail(i, f"{row.name} does not take operands of shape {said}" + (f": it needs {row.domain}" * bool(row.domain)))
    if size is not None and size != np.size(data):
        fail(i, f"{row.name} of its operands gives {size:,} numbers, and its data are {np.size(data):,}")
    if row.params.get("hard") and not close(sums := np.add.reduce(operands[1]._value, -1), np.ones(sums.shape)):
        fail(i, '"hard" has to be false where a target does not add up to 1')


def _size(row: Primitive, shapes: Sequence[tuple[int, ...]], params: Any) -> int | None:
    """How many numbers an operation gives; None where that are no more than it was given."""
    first = shapes[0] if shapes else ()
    if row.partials:
        return math.prod(np.broadcast_shapes(*shapes))
    if row.name == item.name:
        if len(params["at"]) != len(first):
            raise IndexError
        return 1
    if row.name == linear.name and (not first or len(shapes[1]) != 2 or shapes[2] != shapes[1][:1]):
        raise ValueError
    if row.name in ("matmul", linear.name):
        if not first or not shapes[1]:
            raise ValueError
        second = shapes[1][::-1] if row.name == linear.name else shapes[1]
        batch = np.broadcast_shapes(first[:-2], second[:-2])
        return math.prod((*batch, *first[-2:-1], *second[1:][-1:]))
    if row.name == "index":
        return _picked(first, params["key"])
    if row.name in (nll.name, cross_entropy.name) and (not first or shapes[1] != first):
        raise ValueError
    if isinstance(row.vjp, Each):
        return sum(map(math.prod, shapes))
    return math.prod(params["to"]) if "to" in params and row.name != cast.name else None


def _picked(of: tuple[int, ...], key: tuple[Any, ...]) -> int:
    """How many numbers an index takes from an array of that shape."""
    takes = [k.ndim if isinstance(k, np.ndarray) and k.dtype == bool else int(k is not None) for k in key]
    hidden = len(of) - sum(n for k, n in zip(key, takes, strict=True) if k is not Ellipsis)
    axis, size, arrays = 0, 1, []
    for k, n in zip(key, takes, strict=True):
        if k is Ellipsis:
            n = max(hidden, 0)
            size *= math.prod(of[axis : axis + n])
        elif isinstance(k, slice):
            size *= len(range(*k.indices(of[axis])))
        elif isinstance(k, np.ndarray):
            arrays.append((int(np.count_nonzero(k)),) if k.dtype == bool else k.shape)
        axis += n
    return size * math.prod(of[axis:]) * math.prod(np.broadcast_shapes(*arrays))

"""What a model, or any function, gives for many points: of all at once where it takes them so, or else of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from microgad.errors import DomainError, InputError, MicrogadError, ShapeError, shown
from microgad.node import Node
from microgad.recording import no_grad
from microgad.replay.vmap import vmap
from microgad.tensor import Tensor
from microgad.viz.running import in_use

from .axes import Array


def outputs(model: Any, *args: Array) -> Array:
    """The numbers that a model gives for n points, as an array of shape (n, k); nothing is recorded.

    Parameters
    ----------
    model : callable
        It is tried in turn on Tensors, on arrays, and on one point after the other: traced once for all of them where
        that can be done.
    *args : array
        The arguments, with a row, or a number, for each point.

    Raises
    ------
    InputError
        If it cannot be called, or gives numbers in none of these ways; the message has its first and its last error.
    """
    ways = [_on_tensors, _on_arrays, _traced, _one_by_one]
    given = [(way, args) for way in ways]
    if len(args) == 1 and args[0].shape[1:] == (1,):  # of one number, which is perhaps called without a list around it
        given += [(way, (args[0][:, 0],)) for way in ways]
    failures: list[str] = []
    with in_use(model), no_grad(), np.errstate(all="ignore"):
        for way, of in given:
            try:
                return way(model, *of)
            except Exception as error:  # a function of the user's may raise anything
                failures.append(told(error))
    points = " and ".join(str(x.shape) for x in args)
    first, last = failures[0], failures[len(ways) - 1]
    raise InputError(f"the model gives no numbers for points of shape {points}: {first}; and for one of them: {last}")


def told(error: Exception) -> str:
    """What an error says, on one line; of one that is not ours also its class."""
    text = str(error) if isinstance(error, MicrogadError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _on_tensors(model: Any, *args: Array) -> Array:
    return _together(model(*map(Tensor, args)), len(args[0]))


def _on_arrays(model: Any, *args: Array) -> Array:
    return _together(model(*(x.copy() for x in args)), len(args[0]))


def _together(out: Any, n: int) -> Array:
    """The outputs for n points, as a matrix."""
    data = getattr(out, "_value", out)
    if not isinstance(data, np.ndarray) or data.shape[:1] != (n,) or data.ndim > 2 or not data.size:
        of = f"an array of shape {data.shape}" if isinstance(data, np.ndarray) else shown(out)
        raise ShapeError(f"it returned {of}, and not a number or a row for each point")
    return data.reshape(n, -1).astype(np.float64)


def _traced(model: Callable[..., Any], *args: Array) -> Array:
    out: Any = vmap(model)(*args)
    columns = out if isinstance(out, (list, tuple)) else [out]
    return np.concatenate([_together(x, len(args[0])) for x in columns], axis=1)


def _one_by_one(model: Callable[..., Any], *args: Array) -> Array:
    """Each point on its own; where one is outside of the domain of the function, nan."""
    rows: list[Array | None] = []
    problem: Exception = ShapeError("there are no points")
    for point in zip(*(x.tolist() for x in args), strict=True):
        try:
            out = model(*point)
        except (ValueError, ArithmeticError) as error:
            if isinstance(error, MicrogadError) and not isinstance(error, DomainError):
                raise
            rows.append(None)
            problem = error
            continue
        parts = out if isinstance(out, (list, tuple)) else [out]
        rows.append(np.concatenate([np.ravel(_number(x)) for x in parts]))
    known = [row for row in rows if row is not None]
    if not known:
        raise problem
    if len({row.shape for row in known}) > 1:
        raise ShapeError("it returned different numbers of outputs for different points")
    return np.stack([np.full(known[0].shape, np.nan) if row is None else row for row in rows])


def _number(x: Any) -> Array:
    found = np.asarray(x._value if isinstance(x, Node) else x)
    if found.dtype.kind not in "biuf":
        raise InputError(f"it returned {shown(x)}, which is no number")
    return found.astype(np.float64)

"""Where plots are drawn: matplotlib's Axes, loaded when they are asked for, and what all plots have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from operator import index
from typing import Any

import numpy as np

from microgad.array_functions import array_of
from microgad.errors import InputError, MissingExtraError, ShapeError, brief, shown
from microgad.naming import literal
from microgad.node import Node

Array = np.ndarray[Any, Any]

# Okabe and Ito, "Color Universal Design", 2008, the darkest first; without yellow, which cannot be seen on white, and
# with a grey, which can be seen on white and black, for black.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
PALE = ("#C7E1F1", "#F8DCC6", "#C5E8DC", "#F3DEE9", "#FAE7C0", "#E0F2FC", "#D9D9D9")  # the same, behind points
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
LINES = ("-", "--", "-.", ":")
LONGEST = 40  # characters of a label
HUGE = 1e300  # matplotlib adds and subtracts what it draws


def library(name: str) -> Any:
    """A module of matplotlib, such as ``"pyplot"``."""
    try:
        return import_module(f"matplotlib.{name}")
    except ImportError:
        raise MissingExtraError('a plot needs matplotlib: pip install "microgad[plot]"') from None


@contextmanager
def axes(ax: Any, **options: Any) -> Iterator[Any]:
    """The Axes that were given, or those of a new figure, which is closed again where drawing fails.

    The options are those of ``pyplot.subplots``, for several.
    """
    kind = library("axes").Axes
    if ax is not None:
        for one in np.ravel(ax) if isinstance(ax, (list, tuple, np.ndarray)) else [ax]:
            if not isinstance(one, kind) or one.name != "rectilinear":
                raise InputError(f"ax is one of matplotlib's Axes, with two straight axes, not {shown(one)}")
        yield ax
        return
    pyplot = library("pyplot")
    figure, made = pyplot.subplots(layout="constrained", **options)
    try:
        yield made
    except BaseException:
        pyplot.close(figure)
        raise


def alone(ax: Any) -> Any:
    """One Axes, or None; an error if these are several."""
    if isinstance(ax, (list, tuple, np.ndarray)):
        raise InputError(f"this is drawn in one Axes, and ax is {shown(ax)}: give one of them")
    return ax


def words(x: Any) -> str:
    """A text of the user's as a label: on one line, without formulas, and of a length that fits."""
    text = literal(str(x))
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return (f" {text}" if text.startswith("_") else text).replace("$", r"\$")  # a legend leaves out what begins with _


def color(i: int) -> str:
    """The colour of the thing with this number."""
    return COLORS[i % len(COLORS)]


def ink(ax: Any) -> Any:
    """The colour of text in these Axes: black, but in a dark style."""
    return ax.xaxis.label.get_color()


def numbers(name: str, x: Any) -> Array:
    """Numbers that are drawn, as an array of float64; of a Value or Tensor its data."""
    return array_of(name, x._value if isinstance(x, Node) else x, np.float64)


def column(name: str, x: Any) -> Array:
    """Numbers as an array with one axis, of shape (n,); they may stand in a column, (n, 1)."""
    found = numbers(name, x)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or not found.size:
        raise ShapeError(f"{name} is one or more numbers, in shape (n,) or (n, 1), and this is of shape {found.shape}")
    return found


def drawn(y: Array) -> Array:
    """Numbers as they are drawn: what is not finite, or too large for that, leaves a gap."""
    return np.where(np.abs(y) < HUGE, y, np.nan)


def texts(name: str, x: Any) -> list[str]:
    """One text or several as a list of at least one."""
    found = [x] if isinstance(x, str) else list(x) if isinstance(x, (list, tuple, np.ndarray)) else []
    if not found:
        raise InputError(f"{name} are one or more texts, not {shown(x)}")
    return [str(one) for one in found]


def whole(name: str, n: Any, least: int = 1) -> int:
    """A whole number that is large enough."""
    try:
        if isinstance(n, (bool, np.bool_)):
            raise TypeError
        found = index(n)
    except TypeError:
        raise InputError(f"{name} is a whole number, not {shown(n)}") from None
    if found < least:
        raise InputError(f"{name} is at least {least}, not {brief(found)}")
    return found


def box(bounds: Any, dimensions: tuple[int, ...] = (1, 2)) -> Array:
    """From where to where: an array of shape (1, 2) or (2, 2), with a row for each axis."""
    found = np.atleast_2d(numbers("bounds", bounds))
    forms = {1: "(low, high)", 2: "((x_low, x_high), (y_low, y_high))"}
    if found.ndim != 2 or found.shape[1] != 2 or len(found) not in dimensions:
        allowed = " or ".join(forms[n] for n in dimensions)
        raise ShapeError(f"bounds are {allowed}, and these are of shape {np.shape(bounds)}")
    with np.errstate(over="ignore"):
        width = found[:, 1] - found[:, 0]
    if not (np.isfinite(width).all() and (width > 0.0).all()):
        raise InputError(f"bounds go from a number to a larger one, and these are {found.tolist()}")
    return found


def around(points: Array, share: float = 0.1) -> Array:
    """The bounds of some points, with a margin: a row for each of their columns. What is not finite is left out."""
    rows = points[np.isfinite(points).all(axis=1)]
    if not len(rows):
        raise ShapeError(f"there is nothing to draw: of {len(points):,} points none is of finite numbers")
    low, high = rows.min(axis=0), rows.max(axis=0)
    with np.errstate(all="ignore"):
        margin = np.where(high > low, share * (high - low), np.maximum(np.abs(low) * share, 1.0))
        bounds = np.stack([low - margin, high + margin], axis=1)
        if not np.isfinite(bounds[:, 1] - bounds[:, 0]).all():
            raise InputError(f"numbers from {low.min():g} to {high.max():g} are too far apart for a picture")
    return bounds

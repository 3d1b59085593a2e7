"""Whether a graph is still one computation: data of a leaf that was set later leaves old results behind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import spell
from .node import Node


def now(node: Node) -> Any:
    """What an operation gives on its operands as they are now: a number or array, or the exception that it raises."""
    row, operands = node.prim, node.operands
    assert row is not None
    rule = row.on_floats if type(node._data) is float else row.on_arrays
    try:
        with np.errstate(all="ignore"):
            return rule([x if type(x) is float else x._data for x in operands], operands)
    except Exception as error:  # an operation that somebody defined may raise anything
        return error


def agree(x: Any, y: Any) -> bool:
    """Whether two results of one operation are the same, but for roundings of different machines."""
    if type(x) is not float:
        return np.shape(y) == np.shape(x) and close(x, y)
    if not isinstance(y, float):
        return False
    return x == y or (x != x and y != y) or math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-322)


def close(x: Any, y: Any) -> bool:
    """Whether two arrays of one shape are the same, but for rounding: a small number may be what sums of large leave."""
    rounding = 1e-9 if np.asarray(x).dtype == np.float64 else 1e-5
    finite = np.abs(x)[np.isfinite(x)]
    return np.allclose(y, x, rtol=rounding, atol=rounding * np.max(finite, initial=0.0), equal_nan=True)


def outdated(order: Iterable[Node]) -> str | None:
    """What is wrong with the first node that its operands no longer give; None for a graph of one piece."""
    for node in order:
        if node.prim is not None and not agree(node._data, given := now(node)):
            if type(node._data) is float:
                found = f"is {node._data!r}, but its operands as they are now give {given}"
            else:
                found = "holds other numbers than its operands as they are now give"
            return f"{spell(node)} {found}: data was set after it was computed, so compute it again"
    return None

"""Whether a graph is still one computation: data of a leaf that was set later leaves old results behind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import spell
from .node import Node
from .structural import cross_entropy, log_softmax, logsumexp

# Of what adds up to 1 and more: as exact as 1 is, though they are near 0.
LOGARITHMS = (log_softmax.name, logsumexp.name, cross_entropy.name)


def now(node: Node) -> Any:
    """What an operation gives on its operands as they are now: a number or array, or the exception that it raises.

    NumPy's warnings are for the caller to silence, once for all nodes.
    """
    row, operands = node.prim, node.operands
    assert row is not None
    rule = row.on_floats if type(node._value) is float else row.on_arrays
    try:
        return rule([x if type(x) is float else x._value for x in operands], operands)
    except Exception as error:  # an operation that somebody defined may raise anything
        return error


def agree(x: Any, y: Any, node: Node | None = None) -> bool:
    """Whether two results of one operation are the same, but for roundings of different machines.

    Those of arrays also have the same shape and dtype. `node` is where one of them came out: what it added up says how
    far roundings reach.
    """
    if type(x) is not float:
        if np.shape(y) != np.shape(x) or np.asarray(y).dtype != np.asarray(x).dtype:
            return False
        return np.array_equal(x, y, equal_nan=True) or _near(x, y, 0.0 if node is None else added(node))
    if not isinstance(y, float):
        return False
    return x == y or (x != x and y != y) or math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-322)


def close(x: Any, y: Any) -> bool:
    """Whether arrays of one shape are the same but for rounding; a small number may be what sums of large ones left."""
    finite = np.abs(x)[np.isfinite(x)]
    return _near(x, y, np.max(finite, initial=0.0))


def _near(x: Any, y: Any, size: Any) -> bool:
    """Whether arrays are the same, but for rounding of numbers as large as they are, or as `size`."""
    single = np.asarray(x).dtype == np.float32
    relative, smallest = (1e-5, 1e-43) if single else (1e-9, 1e-322)
    with np.errstate(all="ignore"):
        x, y = (np.asarray(z, np.float64) for z in (x, y))
        off = np.abs(x - y) <= relative * np.fmax(np.fmax(np.abs(x), np.abs(y)), size) + smallest
        return bool(np.all((x == y) | ((x != x) & (y != y)) | (off & np.isfinite(x) & np.isfinite(y))))


def added(node: Node) -> Any:
    """How large the numbers are that an operation adds up; where they cancel, the result says nothing of it."""
    row = node.prim
    assert row is not None
    if row.partials:
        return 0.0
    with np.errstate(all="ignore"):
        try:
            sizes = [x if type(x) is float else x._value for x in node.operands]
            of = 1 if row.name == cross_entropy.name else 0  # its logits are not added up, but the logarithms of them
            sizes[of:] = map(np.abs, sizes[of:])
            found = np.abs(row.array(*sizes, **row.params))
        except Exception:  # as in `now`
            return 0.0
    return np.where(np.isfinite(found), found, 0.0) + float(row.name in LOGARITHMS)


def outdated(order: Iterable[Node]) -> str | None:
    """What is wrong with the first node that its operands no longer give; None for a graph of one piece."""
    with np.errstate(all="ignore"):
        for node in order:
            if node.prim is not None and not agree(node._value, given := now(node), node):
                if type(node._value) is float:
                    found = f"is {node._value!r}, but its operands as they are now give {given}"
                else:
                    found = "holds other numbers than its operands as they are now give"
                return f"{spell(node)} {found}: data was set after it was computed, so compute it again"
    return None

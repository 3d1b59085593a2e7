"""Whether a graph is still one computation: data of a leaf that was set later leaves old results behind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .errors import spell
from .node import Node


def now(node: Node) -> Any:
    """What an operation gives on its operands as they are now: a number, or the exception that it raises."""
    operands = node.operands
    assert node.prim is not None
    try:
        return node.prim.on_floats([x if type(x) is float else x._data for x in operands], operands)
    except Exception as error:  # an operation that somebody defined may raise anything
        return error


def agree(x: float, y: Any) -> bool:
    """Whether two results of one operation are the same, but for roundings of different machines."""
    if not isinstance(y, float):
        return False
    return x == y or (x != x and y != y) or math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-322)


def outdated(order: Iterable[Node]) -> str | None:
    """What is wrong with the first node that its operands no longer give; None for a graph of one piece."""
    for node in order:
        if node.prim is not None and isinstance(node._data, float) and not agree(node._data, given := now(node)):
            return (
                f"{spell(node)} is {node._data!r}, but its operands as they are now give {given}: "
                "data was set after it was computed, so compute it again"
            )
    return None

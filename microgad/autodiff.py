"""Derivatives over a graph as a pure function: no `grad` is touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import get_ident
from typing import Any

import numpy as np

from .errors import ShapeError, spell
from .node import Node
from .order import topological_order
from .primitive import tracing
from .structural import OPEN, shape
from .value import Value


def adjoints(root: Node) -> dict[Node, Any]:
    """The derivative of `root` by every node below it: a dict from node to number or array, no `grad` touched.

    Tensors that require no gradient are left out. The root is one number; else it is a `ShapeError`.

    Examples
    --------
    >>> x = Value(3.0)
    >>> adjoints(x * x)[x]
    6.0
    """
    order = topological_order(one_number(root, "adjoints"))
    # Inside a derivative, or while a function is traced, as nodes.
    found = pull(order, trace=get_ident() in tracing or any(node.prim is OPEN for node in order))
    for x in found.values():
        if isinstance(x, np.ndarray):  # several nodes may have the same
            x.flags.writeable = False
    return found


def one_number(x: Any, what: str) -> Node:
    """`x` as a node to differentiate: of one number, and a plain one, which depends on nothing, as a Value."""
    node = x if isinstance(x, Node) else Value(x)
    if type(node._value) is not float and node._value.size != 1:
        raise ShapeError(
            f"{what}: the result, {spell(node)} of shape {shape(node)}, is not one number; take its .sum() or .mean(), "
            "or mg.jacobian for the derivative of each"
        )
    return node


def pull(
    order: Sequence[Any], trace: bool = False, among: set[Node] | None = None, seeds: Mapping[Node, Any] | None = None
) -> dict[Node, Any]:
    """Reverse mode: the derivative of the last node of `order` by those below it; for the options see `Node.edges`.

    With `seeds`, that of the sum of these nodes times their seeds.
    """
    found: dict[Node, Any] = {order[-1]: order[-1].seed()} if seeds is None else dict(seeds)
    for node in reversed(order):
        if node in found:
            for x, _, contribution in node.edges(found[node], trace, among):
                found[x] = found[x] + contribution if x in found else contribution
    return found

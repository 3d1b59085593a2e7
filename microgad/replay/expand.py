"""Graphs with calls of jitted functions, as the graphs that these are."""

from __future__ import annotations

from typing import Any

from microgad.node import Node
from microgad.order import topological_order
from microgad.scopes import name_above


def expanded(root: Node) -> Node:
    """The graph of a result in which every jitted call is replaced by what its function computes.

    Nodes that do not depend on a call stay what they are; the others are made anew, with their names and gradients.

    Examples
    --------
    >>> import microgad as mg
    >>> x = mg.Value(3.0, "x")
    >>> y = mg.jit(lambda x: x * x + 1.0)(x)
    >>> y.op, expanded(y).op
    ('[0]', '+')
    """
    now: dict[Any, Any] = {}
    results: dict[Any, list[Any]] = {}  # of each call
    known: dict[int, Any] = {}

    for node in topological_order(root):
        operands = [now.get(x, x) if type(x) is not float else x for x in node.operands]
        row: Any = node.prim
        if row is None:
            continue
        if row.call is None:
            if any(x is not y for x, y in zip(operands, node.operands, strict=True)):
                now[node] = made = row(*operands)
                made._name, made.grad = name_above(node._name, now, known), node.grad
        elif hasattr(row.call, "graph"):
            results[node] = row.call.graph(operands)
        else:
            found = results[node.a][row.call.place]
            now[node] = found = found if isinstance(found, Node) else type(node)(found)
            if not found._name:
                found._name = name_above(node._name, now, known)
            found.grad = node.grad if found.prim is not None else found.grad
    return now.get(root, root)  # type: ignore[no-any-return]

"""Forward mode: how the nodes of a graph move when some of them move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from .errors import undefined_derivative
from .node import Node, as_arrays
from .order import dependents
from .structural import broadcast_to, shape


def push(
    order: Sequence[Any], tangents: Mapping[Node, Any], trace: bool = False, among: Set[Node] | None = None
) -> dict[Node, Any]:
    """Forward mode: how the nodes of `order` move when some of them move along their `tangents`.

    Parameters
    ----------
    order : sequence of Node
        A graph, inputs before what is computed from them.
    tangents : mapping of Node to number or array
        The nodes that move, and how fast, each in the shape of the node.
    trace : bool
        Whether the derivative rules run on nodes and give nodes, to be differentiated again.
    among : set of Node, optional
        The nodes that move with them; by default all that depend on them.

    Returns
    -------
    dict of Node to number, array or Node
        The tangents, and those of all nodes of `order` that depend on them.

    Raises
    ------
    DomainError
        If a local derivative does not exist, as that of the square root at 0.

    Examples
    --------
    >>> from microgad import Value
    >>> x = Value(3.0)
    >>> y = x * x
    >>> push([x, y], {x: 1.0})[y]
    6.0
    """
    found = dict(tangents)
    among = dependents(order, found) if among is None else among
    for node in order:
        if node not in among or node in tangents:
            continue
        row, total = node.prim, None
        if row.call:
            found[node] = row.call.push(node, found, trace)
            continue
        out, args = (node, node.operands) if trace else (node._value, [getattr(x, "_value", x) for x in node.operands])
        for i, x in enumerate(node.operands):
            if isinstance(x, Node) and x in found:
                try:
                    if row.vjp:
                        part = row.jvp[i](found[x], out, *args, **row.params)
                    else:
                        rule = row.partials[i]
                        local = rule if type(rule) is float else rule(out, *args)
                        part = found[x] if local is rule and local == 1.0 else found[x] * local
                except (ValueError, ArithmeticError) as error:
                    if row.vjp or type(node._value) is float:
                        raise undefined_derivative(node, x, error) from None
                    part = found[x] * as_arrays(rule, out, args)
                total = part if total is None else total + part
        if type(node._value) is not float and shape(total) != shape(node):
            total = broadcast_to.given(to=shape(node))(total)
        found[node] = total
    return found

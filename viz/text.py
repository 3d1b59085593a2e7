"""A computation graph as text: numbers, a tree for terminals, and a sentence for screen readers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from microgad.naming import number
from microgad.node import Node

LINES = 200  # of a tree; a longer one says how much is missing


def gradients(node: Node, root: Node, adjoint: Mapping[Node, Any] | None) -> list[str]:
    """What a drawing says of a node's gradient: its ``grad``, and this result's share where that differs.

    Nothing without `adjoint`, a dash where that lacks the node.
    """
    if adjoint is None:
        return []
    here = adjoint.get(node)
    if here is None or node.grad is None or math.isclose(node.grad, here, rel_tol=1e-9) or here != here:
        return [f"grad {number(here)}"]
    share = [] if node is root else [f"of this result {number(here)}"]
    return [f"grad {number(node.grad)}", *share]


def lines_of(root: Node) -> tuple[list[tuple[Any, str, bool]], bool]:
    """What stands on each line of a tree, behind which branches, and if it stood above; and if there is more."""
    lines: list[tuple[Any, str, bool]] = []
    seen: set[Node] = set()
    stack: list[tuple[Any, str, str]] = [(root, "", "")]
    while stack and len(lines) < LINES:
        x, branch, below = stack.pop()
        again = isinstance(x, Node) and x in seen and x.prim is not None
        lines.append((x, branch, again))
        if isinstance(x, Node) and not again:
            seen.add(x)
            operands = x.operands
            for i in reversed(range(len(operands))):
                last = i == len(operands) - 1
                stack.append((operands[i], below + ("└── " if last else "├── "), below + ("    " if last else "│   ")))
    return lines, bool(stack)


def tree(root: Node, names: Mapping[Node, str], adjoint: Mapping[Node, Any] | None) -> str:
    """The graph as an indented tree, a node that is used again only named."""
    lines: list[str] = []
    found, more = lines_of(root)
    for x, branch, again in found:
        if not isinstance(x, Node):
            lines.append(f"{branch}{number(x)}")
            continue
        title = " ".join(part for part in (names.get(x, ""), x.op and f"({x.op})") if part)
        parts = [f"{branch}{title or 'value'} = {number(x._data)}", *gradients(x, root, adjoint)]
        lines.append(", ".join([*parts, "as above"] if again else parts))
    return "\n".join([*lines, "… and more"] if more else lines)


def sentence(root: Node, order: list[Node], names: Mapping[Node, str], adjoint: Mapping[Node, Any] | None) -> str:
    """What the picture shows, in words: the inputs, the operations, the result."""

    def value(x: Node) -> str:
        grads = ", ".join(gradients(x, root, adjoint))
        return f"{names.get(x, 'unnamed')} = {number(x._data)}" + (f" ({grads})" if grads else "")

    inputs = ", ".join(value(x) for x in order if x.prim is None)
    operations = ", ".join(x.op for x in order if x.prim is not None) or "none"
    return f"Computation graph. Inputs: {inputs or 'none'}. Operations: {operations}. Result: {value(root)}."

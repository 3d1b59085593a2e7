"""A computation graph as text: numbers, a tree for terminals, and a sentence for screen readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microgad.node import Node

LINES = 200  # of a tree; a longer one says how much is missing


def number(x: Any) -> str:
    """A number as drawings show it: six significant digits, a dash where there is none."""
    return "–" if x is None else f"{x:.6g}"


def literal(text: str) -> str:
    """A name on one line, with what cannot be printed as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tree(root: Node, names: Mapping[Node, str], adjoint: Mapping[Node, Any] | None) -> str:
    """The graph as an indented tree, a node that is used again only named."""
    lines: list[str] = []
    seen: set[Node] = set()
    stack: list[tuple[Any, str, str]] = [(root, "", "")]
    while stack and len(lines) < LINES:
        x, branch, below = stack.pop()
        if not isinstance(x, Node):
            lines.append(f"{branch}{number(x)}")
            continue
        title = " ".join(part for part in (names.get(x, ""), x.op and f"({x.op})") if part)
        line = f"{branch}{title or 'value'} = {number(x._data)}"
        if adjoint is not None:
            line += f", grad {number(adjoint.get(x))}"
        again = x in seen and x.prim is not None
        lines.append(line + (", as above" if again else ""))
        if not again:
            seen.add(x)
            operands = x.operands
            for i in reversed(range(len(operands))):
                last = i == len(operands) - 1
                stack.append((operands[i], below + ("└── " if last else "├── "), below + ("    " if last else "│   ")))
    if stack:
        lines.append("… and more")
    return "\n".join(lines)


def sentence(root: Node, order: list[Node], names: Mapping[Node, str], adjoint: Mapping[Node, Any] | None) -> str:
    """What the picture shows, in words: the inputs, the operations, the result."""

    def value(x: Node) -> str:
        grad = "" if adjoint is None else f" (grad {number(adjoint.get(x))})"
        return f"{names.get(x, 'unnamed')} = {number(x._data)}{grad}"

    inputs = ", ".join(value(x) for x in order if x.prim is None)
    operations = ", ".join(x.op for x in order if x.prim is not None) or "none"
    return f"Computation graph. Inputs: {inputs or 'none'}. Operations: {operations}. Result: {value(root)}."

"""A computation graph as text: numbers, a tree for terminals, and a sentence for screen readers."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from microgad.agreement import close
from microgad.errors import DomainError
from microgad.naming import FEW, literal, number
from microgad.node import Node

NAME, LONG = 40, 100  # letters of a name where there is little room, and on a box of a drawing
ALT, END = 2000, 500  # characters of the words that stand in for a picture, and of their end if they are cut
LINES = 200  # of a tree; a longer one says how much is missing
# How wide letters of DejaVu Sans are, where it is not about 0.65 of their size.
EMS = {
    c: em
    for em, some in (
        (0.29, "ijlIJ'′"), (0.33, " ,.·/:;\\|"), (0.38, "-()[]ftr!ᵀ"), (0.51, 'sz"*_`?∂'), (0.57, "cvxykFL"),
        (0.61, "aoeTYP"), (0.77, "DGHNOQU&"), (0.83, "wM#+<=>^~×−⊙"), (0.98, "mW%@…"),
    )
    for c in some
}  # fmt: skip
Said = tuple[str, Any] | tuple[str]  # what a line of a picture says: a word and a number, an array or text, or words


def said(line: Said) -> str:
    """A line of a picture as text."""
    return " ".join(x if isinstance(x, str) else number(x) for x in line)


def measures(node: Node) -> str:
    """The shape of a Tensor, and its dtype where that is not float64; nothing for a Value."""
    data = node._value
    if type(data) is float:
        return ""
    return str(data.shape) + ("" if data.dtype == np.float64 else f" {data.dtype}")


def operation(node: Node) -> str:
    """What a picture calls an operation: its label, and along which axis it goes; nothing for a leaf."""
    along = axis(node)
    return f"{node.op} {along}" if along else node.op


def axis(node: Node) -> str:
    """Along which axes an operation goes, as ``axis 0``; nothing where that is no question."""
    given = None if node.prim is None else node.prim.params.get("axis")
    if given is None:
        return ""
    axes = given if isinstance(given, tuple) else (given,)
    return f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"


def gradients(node: Node, root: Node, adjoint: Mapping[Node, Any] | None) -> list[Said]:
    """What a drawing says of a node's gradient: its ``grad``, and this result's share where that differs.

    Nothing without `adjoint`, a dash where that lacks the node.
    """
    if adjoint is None:
        return []
    here = adjoint.get(node)
    if here is None or node.grad is None or _same(node.grad, here):
        return [("grad", here)]
    share: list[Said] = [] if node is root else [("of this result", here)]
    return [("grad", node.grad), *share]


def _same(held: Any, here: Any) -> bool:
    """Whether a gradient that a node holds is the one that belongs here, but for rounding."""
    if type(here) is float:
        return math.isclose(held, here, rel_tol=1e-9) or here != here
    return np.shape(held) == np.shape(here) and close(here, held)


def links(node: Node, names: Mapping[Node, str]) -> list[Said]:
    """What the edge from each input says: the local derivative, or how an operation on arrays sends gradients back."""
    row, inputs = node.prim, node.inputs
    assert row is not None
    if row.vjp:
        called = [_factor(x, i, names) for i, x in enumerate(node.operands)]
        # of the rows of any number of operands the last says what is true of the others
        flows = [row.flow[min(i, len(row.flow) - 1)] if row.flow else "its vjp" for i in range(len(called))]
        pairs = zip(node.operands, flows, strict=True)
        return [(flow.format(*called),) for x, flow in pairs if isinstance(x, Node)]
    with np.errstate(all="ignore"):
        try:
            return [_local(local) for _, local, _ in node.edges(node.seed(), among=set(inputs))]
        except DomainError:
            return [_alone(node, x) for x in inputs]


def _factor(x: Any, i: int, names: Mapping[Node, str]) -> str:
    """What an operand is called in a formula: its name, or a letter."""
    if not isinstance(x, Node):
        return number(x)
    name = names.get(x, "ABCDEF"[i] if i < 6 else "")
    return name if re.fullmatch(r"[\w.\[\]'∇]+", name) else f"({name})"


def _alone(node: Node, x: Node) -> Said:
    """The local derivative by one input; at the edge of a domain, as of a square root at 0, it may not exist."""
    try:
        return _local(node.edges(node.seed(), among={x})[0][1])
    except DomainError:
        return ("local", "undefined")


def _local(x: Any) -> Said:
    return ("local", x if np.size(x) <= FEW else str(np.shape(x)))


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
        of = operation(x)
        kind = "value" if type(x._value) is float else "tensor"
        title = " ".join(part for part in (names.get(x, ""), of and f"({of})") if part) or kind
        title = " ".join(part for part in (title, measures(x)) if part)
        parts = [f"{branch}{title} = {number(x._value)}", *map(said, gradients(x, root, adjoint))]
        lines.append(", ".join([*parts, "as above"] if again else parts))
    return "\n".join([*lines, "… and more"] if more else lines)


def sentence(root: Node, order: list[Node], names: Mapping[Node, str], adjoint: Mapping[Node, Any] | None) -> str:
    """What the picture shows, in words: the inputs, the operations, the result."""

    def value(x: Node) -> str:
        grads = ", ".join(map(said, gradients(x, root, adjoint)))
        title = " ".join(part for part in (names.get(x, "unnamed"), measures(x)) if part)
        return f"{title} = {number(x._value)}" + (f" ({grads})" if grads else "")

    inputs = ", ".join(value(x) for x in order if x.prim is None)
    operations = ", ".join(operation(x) for x in order if x.prim is not None) or "none"
    return f"Computation graph. Inputs: {inputs or 'none'}. Operations: {operations}. Result: {value(root)}."


def shortened(text: str, most: int = NAME) -> str:
    """Text that can be printed, and that has room.

    Examples
    --------
    >>> shortened("a long name", 7)
    'a long…'
    """
    text = literal(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def abridged(words: str) -> str:
    """Words that stand in for a picture: of very many the beginning and the end, where the result is.

    Examples
    --------
    >>> len(abridged("word " * 1000)) == ALT
    True
    """
    words = literal(words)
    return words if len(words) <= ALT else f"{words[: ALT - END - 3]} … {words[-END:]}"


def width_of(text: str, size: float) -> float:
    """How wide a text is in the font of the pictures, about, in the unit of its size.

    Examples
    --------
    >>> width_of("i", 10) < width_of("m", 10)
    True
    """
    return size * sum(EMS.get(c) or (1.0 if unicodedata.east_asian_width(c) in "WF" else 0.65) for c in text)

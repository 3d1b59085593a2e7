"""A computation graph as DOT."""

from __future__ import annotations

import html
from typing import Any

import graphviz

from microgad.autodiff import adjoints
from microgad.errors import DomainError, GraphSizeError, InputError, shown
from microgad.naming import given_names, number
from microgad.node import Node
from microgad.order import topological_order
from microgad.primitives import add, maximum, minimum, mul

from .render import Drawing
from .text import gradients, sentence, tree
from .theme import THEMES

FONT = "DejaVu Sans,Verdana,sans-serif"  # the first comes with microgad, the second is as wide
COMMUTATIVE = (add, mul, maximum, minimum)
# For other rows, by rankdir: where the first and the second operand arrive, whatever the layout does with their boxes.
SIDES = {"LR": ("nw", "sw"), "RL": ("ne", "se"), "TB": ("nw", "ne"), "BT": ("sw", "se")}
LIMIT = 1000  # nodes; a picture of more cannot be read, and its layout takes many seconds


def draw(
    f: Node, *, format: str = "svg", rankdir: str = "LR", theme: str = "light", grads: bool | None = None
) -> Drawing:
    """The computation graph of `f`: every value, gradient and local derivative.

    A box is a value with its name, data and gradient; the box of the result has a double border. A
    circle is an operation, and the edge into it carries its local derivative: times the gradient of
    what comes out, it is what flows back along that edge.

    Parameters
    ----------
    f : Value
        The result to draw.
    format : {"svg", "png", "pdf", ...}
        What `render` and `pipe` make of it, as in graphviz.
    rankdir : {"LR", "TB", "RL", "BT"}
        The direction from inputs to result.
    theme : {"light", "dark", "colorblind"}
        Colours.
    grads : bool, optional
        Whether to show gradients; by default dashes, until `f` has a gradient itself. Where a node's own
        ``grad`` holds more than this result gave it, both are shown.

    Returns
    -------
    Drawing
        A `graphviz.Digraph`: ``.source`` is the DOT text, ``.render("f")`` writes the file, and a
        notebook shows it.

    Raises
    ------
    InputError
        If `f` is no node, or a choice does not exist.
    GraphSizeError
        If the graph has too many nodes for a picture.

    Examples
    --------
    >>> import microgad as mg
    >>> f = mg.parse("(x + y) * z", x=-2, y=5, z=-4)
    >>> f.backward()
    >>> drawing = draw(f)
    >>> print(drawing.text)
    (×) = -12, grad 1
    ├── (+) = 3, grad -4
    │   ├── x = -2, grad -4
    │   └── y = 5, grad -4
    └── z = -4, grad 3
    """
    if not isinstance(f, Node):
        raise InputError(f"draw shows the graph of a Value, not {shown(f)}")
    if format not in graphviz.FORMATS:
        raise InputError(f"no format {format!r}: svg, png, pdf, or another of graphviz.FORMATS")
    if theme not in tuple(THEMES):
        raise InputError(f"no theme {theme!r}: choose from {', '.join(THEMES)}")
    if rankdir not in tuple(SIDES):
        raise InputError(f"no rankdir {rankdir!r}: choose from {', '.join(SIDES)}")
    order = topological_order(f)
    if len(order) > LIMIT:
        raise GraphSizeError(
            f"a graph of {len(order):,} nodes; a picture shows up to {LIMIT:,}. Draw a part of it: the loss of one "
            "sample, or one neuron"
        )
    names = given_names(order)
    found = _adjoints(f) if grads or (grads is None and f.grad is not None) else {}
    adjoint = None if grads is False else found
    drawing = Drawing(format=format)
    _attributes(drawing, rankdir, theme)
    _contents(drawing, f, order, names, adjoint, rankdir, theme)
    drawing.alt = sentence(f, order, names, adjoint)
    drawing.text = tree(f, names, adjoint)
    return drawing


def mimebundle(node: Node) -> dict[str, Any]:
    """What a node alone in a notebook cell shows: its drawing, or a line if it is too large for one."""
    try:
        bundle = draw(node)._repr_mimebundle_()
    except GraphSizeError as error:
        return {"text/plain": f"{node!r}: {error}"}
    return {**bundle, "text/plain": repr(node)}


def _attributes(drawing: Drawing, rankdir: str, theme: str) -> None:
    colors = THEMES[theme]
    text = {"fontname": FONT, "fontcolor": colors.text}
    drawing.attr("graph", rankdir=rankdir, bgcolor=colors.background, nodesep="0.3", ranksep="0.45", pad="0.2")
    drawing.attr("node", fontsize="12", color=colors.line, style="filled", **text)
    drawing.attr("edge", fontsize="11", color=colors.line, arrowsize="0.7", **text)


def _contents(
    drawing: Drawing,
    root: Node,
    order: list[Node],
    names: dict[Node, str],
    adjoint: dict[Node, Any] | None,
    rankdir: str,
    theme: str,
) -> None:
    colors = THEMES[theme]
    ids = {node: f"v{i}" for i, node in enumerate(order)}
    for node, id in ids.items():
        role = "result" if node is root else "leaf" if node.prim is None else "interior"
        drawing.node(
            id,
            label=_label(node, root, names, adjoint),
            shape="box",
            style="filled,rounded" if role == "leaf" else "filled",
            fillcolor=getattr(colors, role),
            peripheries="2" if role == "result" else "1",
            margin="0.08,0.04",
        )
        if node.prim is None:
            continue
        operation = f"{id}o"
        shape = "circle" if len(node.op) < 3 else "ellipse"
        drawing.node(
            operation,
            label=f"<{_html(node.op)}>",
            shape=shape,
            fillcolor=colors.operation,
            fontsize="15",
            margin="0.03",
            ordering="in",
        )
        drawing.edge(operation, id)
        locals_ = iter(_locals(node))
        ordered = len(node.operands) == 2 and node.prim not in COMMUTATIVE
        sides = iter(SIDES[rankdir] if ordered else "_" * len(node.operands))
        for i, x in enumerate(node.operands):
            head = {"headport": next(sides)}
            if isinstance(x, Node):
                drawing.edge(ids[x], operation, label=f" local {next(locals_)} ", **head)
            else:
                drawing.node(
                    f"{operation}{i}",
                    label=number(x),
                    shape="plaintext",
                    fillcolor=colors.background,
                    width="0",
                    height="0",
                    margin="0.05",
                )
                drawing.edge(f"{operation}{i}", operation, **head)


def _label(node: Node, root: Node, names: dict[Node, str], adjoint: dict[Node, Any] | None) -> str:
    rows = [f'<font point-size="15">{_html(names[node])}</font>'] if node in names else []
    rows += [f"data {number(node._data)}", *gradients(node, root, adjoint)]
    cells = "".join(f'<tr><td align="left">{row}</td></tr>' for row in rows)
    return f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{cells}</table>>'


def _html(text: str) -> str:
    r"""Text that DOT's HTML-like labels draw as it stands, where ``\N`` would become the node's name."""
    return html.escape(text).replace("\\", r"<font>\</font>")


def _locals(node: Node) -> list[str]:
    """The local derivative of each input; at the edge of a domain, such as of a square root at 0, it may not exist."""
    try:
        return [number(local) for _, local, _ in node.edges(1.0)]
    except DomainError:
        return [_local(node, x) for x in node.inputs]


def _local(node: Node, x: Node) -> str:
    try:
        return number(node.edges(1.0, among={x})[0][1])
    except DomainError:
        return "undefined"


def _adjoints(f: Node) -> dict[Node, Any]:
    try:
        return adjoints(f)
    except DomainError:
        return {}

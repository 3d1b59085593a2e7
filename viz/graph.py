"""A computation graph as DOT."""

from __future__ import annotations

import html
from typing import Any

import graphviz

from microgad.agreement import outdated
from microgad.autodiff import pull
from microgad.errors import DomainError, GraphSizeError, InputError, shown
from microgad.naming import all_names, find, given_names, literal, number
from microgad.node import Node
from microgad.order import dependents, topological_order
from microgad.primitives import add, maximum, minimum, mul

from .render import Drawing
from .text import gradients, sentence, tree
from .theme import THEMES

FONT = "DejaVu Sans,Verdana,sans-serif"  # the first comes with microgad, the second is as wide
COMMUTATIVE = (add, mul, maximum, minimum)
# For other rows, by rankdir: where the first of two or three operands arrives, a third in the middle, and the last,
# whatever the layout does with their boxes.
SIDES = {"LR": ("nw", "w", "sw"), "RL": ("ne", "e", "se"), "TB": ("nw", "n", "ne"), "BT": ("sw", "s", "se")}
LIMIT = 1000  # nodes; a picture of more cannot be read, and its layout takes many seconds


def draw(
    f: Node,
    *,
    format: str = "svg",
    rankdir: str = "LR",
    theme: str = "light",
    grads: bool | None = None,
    highlight: Node | str | None = None,
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
    highlight : Value or str, optional
        A node, or its name: every path from it to `f` is marked, by colour and by thicker lines.

    Returns
    -------
    Drawing
        A `graphviz.Digraph`: ``.source`` is the DOT text, ``.render("f")`` writes the file, and a
        notebook shows it.

    Raises
    ------
    InputError
        If `f` is no node, a choice does not exist, or the graph has no such node to highlight.
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
    order = drawable(f, rankdir, "draw")
    if not isinstance(format, str) or format not in graphviz.FORMATS:
        raise InputError(f"no format {format!r}: svg, png, pdf, or another of graphviz.FORMATS")
    if theme not in tuple(THEMES):
        raise InputError(f"no theme {theme!r}: choose from {', '.join(THEMES)}")
    names, adjoint = given_names(order), shares(order, grads)
    source = None if highlight is None else find(order, highlight)
    drawing = Drawing(format=format)
    _attributes(drawing, rankdir, theme)
    _contents(drawing, f, order, names, adjoint, rankdir, theme, source)
    drawing.alt = sentence(f, order, names, adjoint)
    if source is not None:
        called = all_names(order)
        drawing.alt += f" Marked: every path from {called[source]} to {called[f]}."
    drawing.text = tree(f, names, adjoint)
    if problem := outdated(order):
        note = f"Not of one computation: {literal(problem)}."
        drawing.attr(label=f"<{_html(note)}>", labelloc="b", fontname=FONT, fontsize="12", fontcolor=THEMES[theme].text)
        drawing.alt += f" {note}"
        drawing.text += f"\n{note}"
    return drawing


def drawable(f: Any, rankdir: str, what: str) -> list[Node]:
    """The nodes of a graph in order; an error of `what` if there is no such picture of them."""
    if not isinstance(f, Node):
        raise InputError(f"{what} shows the graph of a Value, not {shown(f)}")
    if rankdir not in tuple(SIDES):
        raise InputError(f"no rankdir {rankdir!r}: choose from {', '.join(SIDES)}")
    order = topological_order(f)
    if len(order) > LIMIT:
        raise GraphSizeError(
            f"a graph of {len(order):,} nodes; a picture shows up to {LIMIT:,}. Draw a part of it: the loss of one "
            "sample, or one neuron"
        )
    return order


def shares(order: list[Node], grads: bool | None) -> dict[Node, Any] | None:
    """What the last node's gradient gives to each: None to show none, empty for dashes.

    `order` may lack its beginning: the nodes that it has get the same numbers.
    """
    if grads is False:
        return None
    if grads is None and order[-1].grad is None:
        return {}
    try:
        return pull(order)
    except DomainError:
        return {}


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
    source: Node | None,
) -> None:
    colors = THEMES[theme]
    marked = set() if source is None else dependents(order, [source])
    thick = {"color": colors.path, "penwidth": "3"}
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
            **(thick if node in marked else {}),
        )
        if node.prim is None:
            continue
        operation = f"{id}o"
        on_path = thick if node in marked and node is not source else {}
        shape = "circle" if len(node.op) < 3 else "ellipse"
        drawing.node(
            operation,
            label=f"<{_html(node.op)}>",
            shape=shape,
            fillcolor=colors.operation,
            fontsize="15",
            margin="0.03",
            **({} if node.prim in COMMUTATIVE else {"ordering": "in"}),
            **on_path,
        )
        drawing.edge(operation, id, **on_path)
        locals_ = iter(_locals(node))
        ordered = len(node.operands) in (2, 3) and node.prim not in COMMUTATIVE
        sides = iter(SIDES[rankdir][:: 4 - len(node.operands)] if ordered else "_" * len(node.operands))
        for i, x in enumerate(node.operands):
            head = {"headport": next(sides)}
            if isinstance(x, Node):
                head |= on_path if x in marked else {}
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

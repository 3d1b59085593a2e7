"""A computation graph as DOT."""

from __future__ import annotations

import html
from typing import Any

import graphviz
import numpy as np

from microgad.agreement import outdated
from microgad.autodiff import pull
from microgad.errors import DomainError, GraphSizeError, InputError, shown
from microgad.naming import DIGITS, DIGITS_OF_MANY, FEW, all_names, find, given_names, literal, number
from microgad.node import Node
from microgad.order import dependents, topological_order
from microgad.primitives import add, maximum, minimum, mul
from microgad.replay.expand import expanded

from .frames import Frame, frames, titles
from .render import Drawing
from .text import Said, axis, gradients, links, measures, said, sentence, tree
from .theme import THEMES, Theme

FONT = "DejaVu Sans,Verdana,sans-serif"  # the first comes with microgad, the second is as wide
COMMUTATIVE = (add, mul, maximum, minimum)
# For other rows, by rankdir: where the first of two or three operands arrives, a third in the middle, and the last,
# whatever the layout does with their boxes.
SIDES = {"LR": ("nw", "w", "sw"), "RL": ("ne", "e", "se"), "TB": ("nw", "n", "ne"), "BT": ("sw", "s", "se")}
SPARE = 60  # empty columns behind an array: of the width that a long name takes all columns get the same share
REACH = 500  # from here on straight edges and a layout in a hurry: in seconds what would take minutes
LIMIT = 1000  # nodes; a picture of more cannot be read, and its layout takes many seconds


def draw(
    f: Node,
    *,
    format: str = "svg",
    rankdir: str = "LR",
    theme: str = "light",
    grads: bool | None = None,
    highlight: Node | str | None = None,
    expand: bool = False,
) -> Drawing:
    """The computation graph of `f`: every value, gradient and local derivative.

    A box is a value with its name, data and gradient; the box of the result has a double border. A
    circle is an operation, and the edge into it carries its local derivative: times the gradient of
    what comes out, it is what flows back along that edge. Of a Tensor the box shows the shape as well, the
    dtype unless it is float64, and the numbers: up to 12, or else the smallest and the largest. An edge into an
    operation on whole arrays says what flows back, such as ``G Wᵀ``, where G is the gradient of what comes out.
    A dashed frame is a call of a module, with its dotted path and its class, such as ``layers.0  Linear``, around what
    was computed in it and the parameters that are used nowhere else; a single operation without any has none.

    Parameters
    ----------
    f : Value, Tensor or Program
        The result to draw; a program of `mg.trace` with the numbers of its example.
    format : {"svg", "png", "pdf", ...}
        What `render` and `pipe` make of it, as in graphviz.
    rankdir : {"LR", "TB", "RL", "BT"}
        The direction from inputs to result.
    theme : {"light", "dark", "colorblind"}
        Colours.
    grads : bool, optional
        Whether to show gradients; by default dashes, until `f` has a gradient itself. Where a node's own
        ``grad`` holds more than this result gave it, both are shown. A Tensor of several numbers has gradients
        after ``f.backward(gradient)``: those of that pass.
    highlight : Value, Tensor or str, optional
        A node, or its name: every path from it to `f` is marked, by colour and by thicker lines.
    expand : bool
        Whether a call of a jitted function, which is one node, is drawn as the graph that it computes.

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
    f, grads = shown_as(f, "draw", expand), False if grads is None and not isinstance(f, Node) else grads
    order = drawable(f, rankdir)
    if not isinstance(format, str) or format not in graphviz.FORMATS:
        raise InputError(f"no format {format!r}: svg, png, pdf, or another of graphviz.FORMATS")
    if theme not in tuple(THEMES):
        raise InputError(f"no theme {theme!r}: choose from {', '.join(THEMES)}")
    names, adjoint = given_names(order), shares(order, grads)
    source = None if highlight is None else find(order, highlight)
    drawing = Drawing(format=format)
    _attributes(drawing, rankdir, theme)
    found, placed = frames(order)
    _contents(drawing, f, order, names, adjoint, rankdir, theme, source, found, placed)
    if _reach(order) > REACH:
        # Of clusters whose ranks are not settled, for which nslimit1 can be the cause, dot makes nothing at all.
        hurry = {} if found else {"nslimit1": "0.1"}
        drawing.attr("graph", splines="line", searchsize="5", nslimit="0.1", **hurry)
    drawing.alt = sentence(f, order, names, adjoint)
    if found:
        drawing.alt += f" Modules: {', '.join(frame.title for frame in found)}."
    if source is not None:
        called = all_names(order)
        drawing.alt += f" Marked: every path from {called[source]} to {called[f]}."
    drawing.text = tree(f, names, adjoint)
    if problem := outdated(order):
        note = f"Not of one computation: {literal(problem)}."
        drawing.attr(
            label=f"<{escaped(note)}>", labelloc="b", fontname=FONT, fontsize="12", fontcolor=THEMES[theme].text
        )
        drawing.alt += f" {note}"
        drawing.text += f"\n{note}"
    return drawing


def _reach(order: list[Node]) -> int:
    """Over how many operations edges reach, all together: what the layout spends its time on."""
    depth: dict[Node, int] = {}
    for node in order:
        if node.prim is not None:
            depth[node] = 1 + max((depth.get(x, 0) for x in node.inputs), default=0)
    first: dict[Node, int] = {}  # a leaf stands in front of the first operation that uses it
    for node in order:
        for x in node.inputs:
            if x.prim is None:
                first[x] = min(first.get(x, depth[node]), depth[node] - 1)
    return sum(depth[node] - depth.get(x, first.get(x, 0)) - 1 for node in depth for x in node.inputs)


def shown_as(f: Any, what: str, expand: bool = False) -> Node:
    """The node whose graph is shown, of a node or a program; an error of `what` if it is neither."""
    if not isinstance(f, Node):
        root = getattr(f, "root", None)
        f = root() if callable(root) and not isinstance(f, type) else f
    if not isinstance(f, Node):
        raise InputError(f"{what} shows the graph of a Value, a Tensor or a program, not {shown(f)}")
    return expanded(f) if expand else f


def drawable(f: Node, rankdir: str) -> list[Node]:
    """The nodes of a graph in order; an error if there is no picture of them."""
    if rankdir not in tuple(SIDES):
        raise InputError(f"no rankdir {rankdir!r}: choose from {', '.join(SIDES)}")
    order = topological_order(f)
    if len(order) > LIMIT:
        raise GraphSizeError(
            f"a graph of {len(order):,} nodes; a picture shows up to {LIMIT:,}. Draw a part of it: the loss of one "
            "sample, or one neuron; or mg.trace(function).regrouped(), the same with matrices"
        )
    return order


def shares(order: list[Node], grads: bool | None) -> dict[Node, Any] | None:
    """What the last node's gradient gives to each: None to show none, empty for dashes.

    `order` may lack its beginning: the nodes that it has get the same numbers.
    """
    if grads is False:
        return None
    root = order[-1]
    alone = type(root._value) is float or root._value.size == 1
    if not root.needs or (root.grad is None and grads is None):
        return {}
    if not alone and np.shape(root.grad) != root._value.shape:  # None, or set by hand
        return {}
    try:
        with np.errstate(all="ignore"):
            return pull(order, seeds=None if alone else {root: root.grad})
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
    found: list[Frame],
    placed: dict[Node, Frame],
) -> None:
    colors = THEMES[theme]
    marked = set() if source is None else dependents(order, [source])
    thick = {"color": colors.path, "penwidth": "3"}
    ids = {node: f"v{i}" for i, node in enumerate(order)}
    clusters = {frame: _cluster(f"cluster_{i}", frame, colors) for i, frame in enumerate(found)}
    heads = titles(names, placed)
    for node, id in ids.items():
        here = clusters[placed[node]] if node in placed else drawing
        role = "result" if node is root else "leaf" if node.prim is None else "interior"
        here.node(
            id,
            label=_label(node, root, heads, adjoint),
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
        here.node(
            operation,
            label=_operation(node),
            shape=shape,
            fillcolor=colors.operation,
            fontsize="15",
            margin="0.03",
            **({} if node.prim in COMMUTATIVE else {"ordering": "in"}),
            **on_path,
        )
        drawing.edge(operation, id, **on_path)
        said_of = iter(links(node, names))
        ordered = len(node.operands) in (2, 3) and node.prim not in COMMUTATIVE
        sides = iter(SIDES[rankdir][:: 4 - len(node.operands)] if ordered else "_" * len(node.operands))
        for i, x in enumerate(node.operands):
            head = {"headport": next(sides)}
            if isinstance(x, Node):
                head |= on_path if x in marked else {}
                drawing.edge(ids[x], operation, label=_edge(next(said_of)), **head)
            else:
                here.node(
                    f"{operation}{i}",
                    label=number(x),
                    shape="plaintext",
                    fillcolor=colors.background,
                    width="0",
                    height="0",
                    margin="0.05",
                )
                drawing.edge(f"{operation}{i}", operation, **head)
    # Behind the edges, so dot begins with the first one at the left, or at the top if that is the last one in the text.
    side_by_side = found if rankdir in ("TB", "BT") else found[::-1]
    for frame in sorted(side_by_side, key=lambda frame: -len(frame.ends)):  # what stands inside has to be finished
        (drawing if frame.around is None else clusters[frame.around]).subgraph(clusters[frame])


def _cluster(name: str, frame: Frame, colors: Theme) -> Drawing:
    """A frame without contents, with its title at the upper left."""
    cluster = Drawing(name=name)
    title = {"label": f"<{escaped(frame.title)}>", "labeljust": "l"}
    text = {"fontname": FONT, "fontcolor": colors.text, "fontsize": "13"}
    cluster.attr(**title, **text, style="rounded,dashed", color=colors.line, margin="12")
    return cluster


def _label(node: Node, root: Node, names: dict[Node, str], adjoint: dict[Node, Any] | None) -> str:
    heads = [f'<font point-size="15">{escaped(names[node])}</font>'] if node in names else []
    heads += [escaped(measures(node))] if measures(node) else []
    return f"<{_table(heads, [('data', node._value), *gradients(node, root, adjoint)])}>"


def _operation(node: Node) -> str:
    small = f'<br/><font point-size="10">{axis(node)}</font>' if axis(node) else ""
    return f"<{escaped(node.op)}{small}>"


def _edge(line: Said) -> str:
    """The label of an edge."""
    if len(line) == 2 and not np.ndim(line[1]):
        return f" {said(line)} "  # a number: plain DOT
    return f"< {escaped(line[0])} >" if len(line) == 1 else f"<{_table([], [line])}>"


def _table(heads: list[str], lines: list[Said]) -> str:
    """Lines of HTML and of what is said, as a table; arrays that are written out share its columns."""
    blocks = [_matrices(line) for line in lines]
    numbers = max((len(block[0][0]) for block in blocks if block), default=0)
    spare = SPARE if heads else 0
    width = f' colspan="{numbers + 3 + spare}"' if numbers else ""
    gap = '<td colspan="{}" height="4" cellpadding="0"></td>'
    rows = [f'<td align="left"{width}>{head}</td>' for head in heads]
    for line, block in zip(lines, blocks, strict=True):
        if not block:
            rows.append(f'<td align="left"{width}>{escaped(said(line))}</td>')
            continue
        high = len(block[0])
        inside: list[str] = []
        bracket = f'<td rowspan="{high}" width="4" border="1" sides="{{}}TB"></td>'
        for matrix in block:
            cells = ["".join(f'<td align="right" cellpadding="3">{n}</td>' for n in row) for row in matrix]
            cells[0] = bracket.format("L") + cells[0] + bracket.format("R")
            inside += [gap.format(numbers + 2), *cells] if inside else cells
        inside[0] = f'<td align="left" rowspan="{len(inside)}">{line[0]} </td>{inside[0]}'
        rows += [gap.format(numbers + 3 + spare), *inside] if rows else inside
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{body}</table>'


def _matrices(line: Said) -> list[list[list[str]]]:
    """The numbers of an array that is written out, matrix by matrix and row by row; nothing for anything else."""
    x = np.asarray(line[-1])
    if len(line) == 1 or line[1] is None or not x.ndim or not 0 < x.size <= FEW:
        return []
    digits = DIGITS if x.size == 1 else DIGITS_OF_MANY
    matrices = x.reshape(-1, *x.shape[-2:]) if x.ndim > 1 else x.reshape(1, 1, -1)
    return [[[number(n, digits) for n in row] for row in matrix] for matrix in matrices.tolist()]


def escaped(text: str) -> str:
    r"""Text that DOT's HTML-like labels draw as it stands, where ``\N`` would become the node's name."""
    return html.escape(text).replace("\\", r"<font>\</font>")

"""A computation graph as DOT."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import graphviz
import numpy as np

from microgad.agreement import outdated
from microgad.autodiff import pull
from microgad.errors import DomainError, GraphSizeError, InputError, shown
from microgad.naming import DIGITS, DIGITS_OF_MANY, FEW, all_names, find, given_names, listed, literal, number
from microgad.node import Node
from microgad.order import dependents, topological_order
from microgad.replay.expand import expanded
from microgad.replay.programs import Program

from . import boxes
from .boxes import Flow
from .choices import check_choice, check_flag
from .folding import LIMIT, Box, View, viewed
from .frames import Frame, frames, innermost_first, titles
from .quotient import COMMUTATIVE
from .render import Drawing
from .text import LONG, Said, axis, gradients, measures, said, sentence, shortened, tree
from .theme import THEMES, Theme

FONT = "DejaVu Sans,Verdana,sans-serif"  # the first comes with microgad, the second is as wide
# For other rows, by rankdir: where the first of two or three operands arrives, a third in the middle, and the last,
# whatever the layout does with their boxes.
SIDES = {"LR": ("nw", "w", "sw"), "RL": ("ne", "e", "se"), "TB": ("nw", "n", "ne"), "BT": ("sw", "s", "se")}
SPARE = 60  # empty columns behind an array: of the width that a long name takes all columns get the same share
REACH = 500  # from here on straight edges and a layout in a hurry: in seconds what would take minutes
ACROSS = 5  # boxes behind each other; with more a folded picture, or that of a program, goes downward
UNASKED = 300_000  # nodes; what takes longer than a few seconds is drawn only when asked for


def draw(
    f: Node,
    *,
    format: str = "svg",
    rankdir: str | None = None,
    theme: str = "light",
    grads: bool | None = None,
    highlight: Node | str | None = None,
    depth: int | None = None,
    collapse: str | Sequence[str] | None = None,
    expand: bool | str | Sequence[str] = False,
    fold: bool | None = None,
) -> Drawing:
    """The computation graph of `f`: every value, gradient and local derivative.

    A box is a value with its name, data and gradient; the box of the result has a double border. A
    circle is an operation, and the edge into it carries its local derivative: times the gradient of
    what comes out, it is what flows back along that edge. Of a Tensor the box shows the shape as well, the
    dtype unless it is float64, and the numbers: up to 12, or else the smallest and the largest. An edge into an
    operation on whole arrays says what flows back, such as ``G Wᵀ``, where G is the gradient of what comes out.
    A dashed frame is a call of a module, with its dotted path and its class, such as ``layers.0  Linear``, around what
    was computed in it and the parameters that are used nowhere else; a single operation without any has none.

    A graph of more than 150 nodes is folded. What is computed alike is drawn once, in a box with depth, such as
    ``w0 … w15  ×16``, with its smallest and its largest number; a long sum is one operation in a double circle; and
    calls of modules are boxes with a tab, such as ``Neuron ×16``, as far as they have to be for the picture to be
    readable. A graph in which too little is alike is cut into a few parts of its order of evaluation, which say
    what is in them.

    Parameters
    ----------
    f : Value, Tensor or Program
        The result to draw; a program of `mg.trace` with the numbers of its example.
    format : {"svg", "png", "pdf", ...}
        What `render` and `pipe` make of it, as in graphviz.
    rankdir : {"LR", "TB", "RL", "BT"}, optional
        The direction from inputs to result: by default to the right, but downward in a long picture of a folded graph
        or of a program.
    theme : {"light", "dark", "colorblind"}
        Colours.
    grads : bool, optional
        Whether to show gradients; by default dashes, until `f` has a gradient itself. Where a node's own
        ``grad`` holds more than this result gave it, both are shown. A Tensor of several numbers has gradients
        after ``f.backward(gradient)``: those of that pass.
    highlight : Value, Tensor or str, optional
        A node, or its name: every path from it to `f` is marked, by colour and by thicker lines.
    depth : int, optional
        How many frames may stand inside of each other; calls of modules further in are one box each. By default all
        in a graph of up to 150 nodes, and else as many as can be read.
    collapse : str or list of str, optional
        Modules, by path or class as in a frame's title, whose calls are one box each: ``"layers.0"``, ``"Linear"``.
    expand : bool, str or list of str
        True: a call of a jitted function, which is one node, is drawn as the graph that it computes. Or modules, by
        path or class, whose calls are frames, whatever `depth` and `collapse` say.
    fold : bool, optional
        Whether what is alike is drawn once; by default in a graph of more than 150 nodes. False draws every node, but
        for what `depth` and `collapse` leave out.

    Returns
    -------
    Drawing
        A `graphviz.Digraph`, which a notebook shows: ``.save("f.svg")`` writes it as SVG, PNG, PDF or DOT, ``.source``
        is the DOT text, ``.text`` a tree or a list of the boxes, and ``.alt`` a description. ``.attr(size="7,9")``
        makes a larger picture fit so many inches.

    Raises
    ------
    InputError
        If `f` is no node, a choice does not exist, or the graph has no such node to highlight or module to collapse.
    GraphSizeError
        If more than 1,000 boxes are asked for, by `depth`, `expand` or `fold`. Without these any graph is drawn.

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
    >>> print(draw(sum(mg.Value(float(i), f"x{i}") ** 2 for i in range(1000))).text)
    2,999 nodes in 3 boxes
    1. x0 … x999  ×1,000: data 0 … 999, grad –
    2. 1,000 values (**): data 0 … 9.98e+05, grad –, of 1
    3. (+ ×999): data 3.32834e+08, grad –, of 2
    """
    program = not isinstance(f, Node)
    f, grads = shown_as(f, "draw", expand is True), False if grads is None and program else grads
    order = topological_order(f)
    if rankdir is not None:
        check_choice("rankdir", rankdir, SIDES)
    if not isinstance(format, str) or format not in graphviz.FORMATS:
        raise InputError(f"no format {shown(format)}: svg, png, pdf, or another of graphviz.FORMATS")
    check_choice("theme", theme, THEMES)
    check_flag("grads", grads)
    found, placed = frames(order)
    view = viewed(order, found, placed, depth, collapse, None if isinstance(expand, bool) else expand, fold)
    names, adjoint = given_names(order), shares(order, grads)
    heads = {node: shortened(name, LONG) for node, name in titles(names, placed).items()}
    source = None if highlight is None else find(order, highlight)
    drawing = Drawing(format=format)
    rankdir = rankdir or ("LR" if (view.whole and not program) or view.length <= ACROSS else "TB")
    _attributes(drawing, rankdir, theme)
    _contents(drawing, view, heads, names, adjoint, rankdir, theme, source)
    if _reach(view) > REACH:
        # Of clusters whose ranks are not settled, for which nslimit1 can be the cause, dot makes nothing at all.
        hurry = {} if view.frames else {"nslimit1": "0.1"}
        drawing.attr("graph", splines="line", searchsize="5", nslimit="0.1", **hurry)
    notes = []
    if view.whole:
        drawing.text, drawing.alt = tree(f, names, adjoint), sentence(f, order, names, adjoint)
    else:
        lines = boxes.listing(view, heads, adjoint)
        drawing.text, drawing.alt = "\n".join([boxes.summary(view), *lines]), boxes.sentence(view, lines)
        notes.append(": ".join(x for x in (boxes.summary(view), boxes.advice(view)) if x))
    if view.frames:
        around = [frame.title for frame in view.frames]
        drawing.alt += f" Modules: {', '.join(around) if view.whole else listed(around)}."
    if source is not None:
        called = all_names(order)
        drawing.alt += f" Marked: every path from {called[source]} to {called[f]}."
    if problem := outdated(order):
        notes.append(f"Not of one computation: {literal(problem)}.")
        drawing.alt += f" {notes[-1]}"
        drawing.text += f"\n{notes[-1]}"
    if notes:
        label = f"<{'<br/>'.join(map(escaped, notes))}>"
        drawing.attr(label=label, labelloc="b", fontname=FONT, fontsize="12", fontcolor=THEMES[theme].text)
    return drawing


def _reach(view: View) -> int:
    """Over how many operations edges reach, all together: what the layout spends its time on."""
    depth: list[int] = []
    first: dict[int, int] = {}  # a leaf stands in front of the first operation that uses it
    for box, below in zip(view.boxes, view.edges, strict=True):
        leaf = not box.closed and box.nodes[-1].prim is None
        depth.append(0 if leaf else 1 + max((depth[i] for i in below), default=0))
        for i in below:
            if not depth[i]:
                first[i] = min(first.get(i, depth[-1]), depth[-1] - 1)
    return sum(
        (depth[k] - (depth[i] or first[i]) - 1) * (times if view.boxes[i].single and view.boxes[k].single else 1)
        for k, below in enumerate(view.edges)
        for i, times in below.items()
    )


def shown_as(f: Any, what: str, expand: bool = False) -> Node:
    """The node whose graph is shown, of a node or a program; an error of `what` if it is neither."""
    if isinstance(f, Program):
        f = f.root()
    if not isinstance(f, Node):
        raise InputError(f"{what} shows the graph of a Value, a Tensor or a program, not {shown(f)}")
    return expanded(f) if expand else f


def drawable(f: Node, rankdir: str) -> list[Node]:
    """The nodes of a graph in order; an error if there is no picture of them."""
    check_choice("rankdir", rankdir, SIDES)
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
    """What a node alone in a notebook cell shows: its drawing, or a line where that would take long."""
    node = shown_as(node, "mimebundle")
    if (size := len(topological_order(node))) > UNASKED:
        return {"text/plain": f"{node!r}: a graph of {size:,} nodes, which mg.viz.draw shows folded"}
    return {**draw(node)._repr_mimebundle_(), "text/plain": repr(node)}


def _attributes(drawing: Drawing, rankdir: str, theme: str) -> None:
    colors = THEMES[theme]
    text = {"fontname": FONT, "fontcolor": colors.text}
    drawing.attr("graph", rankdir=rankdir, bgcolor=colors.background, nodesep="0.3", ranksep="0.45", pad="0.2")
    drawing.attr("node", fontsize="12", color=colors.line, style="filled", **text)
    drawing.attr("edge", fontsize="11", color=colors.line, arrowsize="0.7", **text)


def _contents(
    drawing: Drawing,
    view: View,
    heads: dict[Node, str],
    names: dict[Node, str],
    adjoint: dict[Node, Any] | None,
    rankdir: str,
    theme: str,
    source: Node | None,
) -> None:
    colors, root, place = THEMES[theme], view.order[-1], view.places()
    marked = set() if source is None else dependents(view.order, [source])
    ways = {(place[x], place[node]) for node in marked - {source} for x in node.inputs if x in marked}
    ends, thick = {place[node] for node in marked}, {"color": colors.path, "penwidth": "3"}
    clusters = {frame: _cluster(f"cluster_{i}", frame, colors) for i, frame in enumerate(view.frames)}
    for k, box in enumerate(view.boxes):
        here = clusters[box.around] if box.around else drawing
        node, id = box.nodes[-1], f"v{k}"
        leaf = not box.closed and node.prim is None
        role = "result" if k == place[root] else "leaf" if leaf else "interior"
        shape = _shape(box)
        here.node(
            id,
            label=_label(node, root, heads, adjoint) if box.single else _summary(box, root, heads, adjoint),
            shape=shape,
            style="filled,rounded" if role == "leaf" and box.single else "filled",
            fillcolor=getattr(colors, role),
            peripheries="2" if role == "result" else "1",
            margin="0.08,0.04" if shape == "box" else "0.14,0.08",
            **(thick if k in ends else {}),
        )
        end, sides = id, {}
        if not box.closed and not leaf:
            end = f"{id}o"
            on_path = thick if any(way[1] == k for way in ways) else {}
            here.node(
                end,
                label=_operation(box),
                shape="circle" if len(boxes.applied(box)) < 3 else "ellipse",
                fillcolor=colors.operation,
                fontsize="15",
                margin="0.03",
                **({"peripheries": "2"} if boxes.length(box) > 1 else {}),
                **({} if node.prim in COMMUTATIVE else {"ordering": "in"}),
                **on_path,
            )
            drawing.edge(end, id, **on_path)
            sides = {"headport": ports(node, rankdir) or "_" * len(node.operands)}
        for flow in boxes.flows(view, place, k, names):
            head = {port: side[flow.slot] for port, side in sides.items()}
            if isinstance(flow.source, int):
                head |= thick if (flow.source, k) in ways else {}
                drawing.edge(f"v{flow.source}", end, label=_edge(flow), **head)
            else:
                here.node(
                    f"{end}{flow.slot}",
                    label=number(flow.source),
                    shape="plaintext",
                    fillcolor=colors.background,
                    width="0",
                    height="0",
                    margin="0.05",
                )
                drawing.edge(f"{end}{flow.slot}", end, **head)
    # Behind the edges, so dot begins with the first one at the left, or at the top if that is the last one in the text.
    side_by_side = view.frames if rankdir in ("TB", "BT") else view.frames[::-1]
    for frame in innermost_first(side_by_side):
        (drawing if frame.around is None else clusters[frame.around]).subgraph(clusters[frame])


def ports(node: Node, rankdir: str) -> Sequence[str]:
    """Where the operands of a node arrive, where their order matters and there are sides for them; else nothing."""
    count = len(node.operands)
    return SIDES[rankdir][:: 4 - count] if count in (2, 3) and node.prim not in COMMUTATIVE else ()


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


def _shape(box: Box) -> str:
    """What tells a box apart that is more than a node."""
    return "component" if box.kinds else "folder" if box.calls else "box3d" if box.times > 1 else "box"


def _summary(box: Box, root: Node, names: dict[Node, str], adjoint: dict[Node, Any] | None) -> str:
    """The label of a box that is more than a node."""
    large, small = boxes.title(box, names)
    heads = [f'<font point-size="15">{escaped(large)}</font>'] if large else []
    heads += [escaped(x) for x in (small, *boxes.contents(box)) if x]
    return f"<{_table(heads, boxes.numbers(box, root, adjoint))}>"


def _operation(box: Box) -> str:
    small = [axis(box.nodes[-1]), f"×{boxes.length(box):,}" if boxes.length(box) > 1 else ""]
    lines = [f'<br/><font point-size="10">{x}</font>' for x in small if x]
    return f"<{escaped(boxes.applied(box))}{''.join(lines)}>"


def _edge(flow: Flow) -> str | None:
    """The label of an edge."""
    line, times = flow.says, [f"×{flow.times:,}"] if flow.times > 1 else []
    if line is None or times:
        return f"<{_table(times, [line] if line else [])}>" if times else None
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

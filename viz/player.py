"""Both passes over a graph, stepped through in one page that needs nothing else."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from microgad.algebra import formula
from microgad.errors import DomainError, GraphSizeError, InputError, RenderError
from microgad.naming import DIGITS_OF_MANY, FEW, literal, number
from microgad.node import Node
from microgad.steps import Edge, Step, View, steps_back
from microgad.symbolic import ATOM, SIGN, Expr, as_written

from .frames import frames
from .graph import COMMUTATIVE, FONT, SIDES, draw, escaped, shown_as
from .javascript import Functions, UnwrittenError, source
from .render import Drawing, destination, put
from .text import links, measures, operation, said
from .theme import THEMES

LIMIT = 300  # nodes; a pass over more is stepped through in parts
PAGE = Path(__file__).resolve().parent / "page"
SUFFIXES = (".html", ".htm")
# In points: how wide a digit is at a size of 12, and how high a line is in a box and on an edge.
DIGIT, LINE, SMALL = 7.7, 17, 13
ROOM = len("data -1.23457e-05")  # every box has room for the longest number
LABEL, HEAD = 22, 80  # letters on an edge, and of a formula above the page
ROUND = {"leaf": ' rx="8"', "interior": "", "result": ""}
FIELD = {True: 'type="number" step="any"', False: 'type="text"'}  # a number field cannot hold an infinity
Rows = list[tuple[str, str]]  # lines, each with what it says
# The browser itself sees to it that the page asks the network for nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
BUTTONS = {  # what each does, and its sign, drawn: no machine has to have a font for it
    "first": ("first step (Home)", "M5 4v12M15 4l-7 6 7 6"), "back": ("step back (←)", "M13 4l-7 6 7 6"),
    "play": ("play (space)", "M6 3v14l11-7z"), "next": ("step forward (→)", "M7 4l7 6-7 6"),
    "last": ("last step (End)", "M5 4l7 6-7 6M15 4v12"),
}  # fmt: skip


class Player:
    """The page that `play` makes: a notebook shows it, and `save` writes it.

    Attributes
    ----------
    text : str
        All steps, those of the forward pass first.
    alt : str
        A sentence that stands in for the picture.
    """

    def __init__(self, f: Node, theme: str) -> None:
        self._passes = _Passes(f)
        self._drawing = draw(f, theme=theme, grads=True)
        self._theme = theme
        self.alt = self._drawing.alt
        self.text = "\n".join(self._passes.lines)

    def __repr__(self) -> str:
        return self.text

    @cached_property
    def html(self) -> str:
        """The page; a `RenderError` if nothing on this machine can lay out the graph."""
        return _page(self._passes, self.alt, self._theme, self._layout)

    @cached_property
    def _layout(self) -> _Layout:
        return _Layout(self._passes)

    def save(self, path: Any) -> str:
        """Write the page, and return its path.

        Parameters
        ----------
        path : str or path-like
            It ends in ``.html`` or ``.htm``.

        Raises
        ------
        InputError
            For another suffix, or where no file can be written.
        RenderError
            If nothing on this machine can lay out the graph; the message says what to install.
        """
        target = destination(path, SUFFIXES)
        put(target, self.html.encode())
        return str(target)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        # A notebook that is not trusted, and GitHub, strip the frame: the same stands behind it without any script.
        picture = self._drawing._repr_mimebundle_()["text/html"]
        items = "".join(f'<li style="white-space: pre-wrap">{html.escape(line)}</li>' for line in self._passes.lines)
        title = f"Picture and all {len(self._passes.lines)} steps of {html.escape(self._passes.title)}"
        behind = f"<summary>{title}</summary>{picture}<ol>{items}</ol></details>"
        try:
            frame = (
                f'<iframe sandbox="allow-scripts" title="{html.escape(self._passes.title)}, step by step" '
                f'style="width: 100%; height: {min(self._layout.height, 560) + 460:.0f}px; border: 0" '
                f'srcdoc="{html.escape(self.html)}"></iframe>'
            )
        except RenderError:
            return {"text/plain": self.text, "text/html": f"<details open>{behind}"}
        return {"text/plain": self.text, "text/html": f"{frame}<details>{behind}"}


def play(f: Node, *, theme: str = "light", expand: bool = False) -> Player:
    """Both passes over the graph of `f`, one step at a time, as a page to play in a browser or a notebook.

    First the values, node by node, then the gradients: a backward step shows for each edge
    upstream · local = contribution, and how the contributions add up at a node that is used several times. Buttons, a
    slider, the arrow keys, Home, End and the space bar lead through the steps. The numbers of leaves can be edited:
    the page computes both passes anew, by the same rules. It is a single file, and asks the network for nothing.

    Parameters
    ----------
    f : Value, Tensor or Program
        The result, one number. A Tensor of several numbers has no backward pass. In a graph with Tensors the steps are
        shown with their numbers, but leaves cannot be edited.
    theme : {"light", "dark", "colorblind"}
        Colours.
    expand : bool
        Whether a call of a jitted function, which is one node, is played as the graph that it computes.

    Returns
    -------
    Player
        ``.save("f.html")`` writes the page. A notebook shows it, followed by the picture and all steps without any
        script, which are what is left in a notebook that is not trusted.

    Raises
    ------
    InputError
        If `f` is no node, the theme does not exist, or data was set after `f` was computed.
    GraphSizeError
        If the graph has more nodes than anybody steps through.

    Examples
    --------
    >>> import microgad as mg
    >>> player = play(mg.parse("(x + y) * z", x=-2, y=5, z=-4))
    >>> print(player.text)
    x = -2
    y = 5
    v1 = x + y = -2 + 5 = 3
    z = -4
    f = v1 * z = 3 * (-4) = -12
    ∂f/∂f = 1
    ∂f/∂v1 = ∂f/∂f · ∂f/∂v1 = 1 · (-4) = -4
    ∂f/∂z = ∂f/∂f · ∂f/∂z = 1 · 3 = 3
    ∂f/∂x = ∂f/∂v1 · ∂v1/∂x = -4 · 1 = -4
    ∂f/∂y = ∂f/∂v1 · ∂v1/∂y = -4 · 1 = -4
    """
    f = shown_as(f, "play", expand)
    if theme not in tuple(THEMES):
        raise InputError(f"no theme {theme!r}: choose from {', '.join(THEMES)}")
    return Player(f, theme)


class _Passes:
    """The steps of both passes, and what a page has to know to compute them again.

    Attributes
    ----------
    lines : list of str
        Each step as text.
    title : str
        What the result is called.
    order : list of Node
        The nodes; `edges` and `steps` speak of them by their places.
    names : dict
        By node.
    totals : dict
        The gradients, by node.
    edges : list of dict
        In the order of the backward pass: from which node, by which operand, to which input, and the numbers.
    steps : list of dict
    problem : str
        Why there is no backward pass, or none that ends; empty if there is one.
    fixed : str
        Why the leaves cannot be edited; empty if they can.
    """

    def __init__(self, f: Node) -> None:
        view = View(f, "steps in a page", LIMIT)
        self.order, self.names, self._view = view.order, view.names, view
        self.title = literal(self.names[f])
        self.place = {node: i for i, node in enumerate(self.order)}
        self.lines: list[str] = []
        self.steps: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        self.totals: dict[Node, Any] = {}
        self.problem = ""
        for node in self.order:
            step = Step((node, None, view, *(part for x in node.inputs for part in (x, None, None, None))))
            self._add("forward", node, str(step))
        if not f.needs:
            self.problem = f"No backward pass: {self.title} needs no gradient."
        elif np.size(f._value) != 1:
            self.problem = f"No backward pass: {self.title} is {np.shape(f._value)}, and not one number."
        else:
            self._backward()
        self.fixed, self.functions = "", Functions()
        self.rows: list[int | None] = []
        try:
            self.rows = [self._row(node) for node in self.order]
        except UnwrittenError as error:
            self.fixed = f"Leaves cannot be edited here: {literal(str(error))}."

    def _add(self, kind: str, node: Node, line: str, edges: Sequence[int] = ()) -> None:
        self.lines.append(line)
        self.steps.append({"kind": kind, "node": self.place[node], "edges": list(edges), "lines": line.split("\n")})

    def _backward(self) -> None:
        root, view = self.order[-1], self._view
        self.totals[root] = root.seed()
        self._add("seed", root, f"{view.derivative(root)} = {number(root.seed())}")
        try:
            for step in steps_back(view):
                slots = [k for k, x in enumerate(step.node.operands) if isinstance(x, Node) and x.needs]
                first, flows = len(self.edges), self._flows(step.node)
                for i, (slot, edge) in enumerate(zip(slots, step.edges, strict=True)):
                    head, tail = step.around(i)
                    self.totals[edge.input] = edge.total
                    self.edges.append(
                        {
                            "node": self.place[step.node], "slot": slot, "input": self.place[edge.input],
                            "head": head + step.product(i)[0], "tail": tail,
                            "numbers": [_shown(x) for x in (step.upstream, *edge[1:])],
                            "said": _said(edge, flows[i]),
                        }
                    )  # fmt: skip
                self._add("backward", step.node, str(step), range(first, len(self.edges)))
        except DomainError as error:
            self.problem = f"The backward pass ends here: {literal(str(error))}."

    def _flows(self, node: Node) -> list[str]:
        """What a drawing says on the edges that a gradient goes back along."""
        inputs = [x for x in node.operands if isinstance(x, Node)]
        return [said(line) for x, line in zip(inputs, links(node, self.names), strict=True) if x.needs]

    def _row(self, node: Node) -> int | None:
        if type(node._value) is not float:
            raise UnwrittenError(f"{literal(self.names[node])} is a Tensor")
        if self.problem:
            raise UnwrittenError("there is no backward pass")
        if node.prim is None:
            return None
        if not node.prim.partials:
            raise UnwrittenError(f"{literal(self.names[node])} is computed from arrays")
        return self.functions.row(node.prim, node.operands)

    @property
    def leaves(self) -> list[Node]:
        """What can be edited."""
        return [] if self.fixed else [node for node in self.order if node.prim is None]

    def data(self) -> dict[str, Any]:
        """What the script of the page works on."""
        nodes = []
        for i, node in enumerate(self.order):
            name = literal(self.names[node])
            found: dict[str, Any] = {"name": name, "data": _shown(node._value)}
            found["of"] = [self.place[x] if isinstance(x, Node) else str(float(x)) for x in node.operands]
            if not self.fixed:
                head = [f"{name} = "]
                if node.prim is not None:
                    found["formula"] = as_written(node, self._view.symbols(node)).text
                    head = [f"{name} = {found['formula']} = ", *_pieces(node), " = "]
                found["row"], self.steps[i]["parts"] = self.rows[i], head
            nodes.append(found)
        return {"nodes": nodes, "edges": self.edges, "steps": self.steps, "seed": _shown(self.order[-1].seed())}


def _shown(x: Any) -> Any:
    """A number for the script to compute with and to write; of an array the lines that stand for it."""
    return x if x is None or type(x) is float else _lines(x)


def _said(edge: Edge, flow: str) -> Rows:
    """What an edge says on the way back; of arrays only how they flow, for which there is room."""
    if type(edge.local) is type(edge.contribution) is float:
        return [("local", f"× {number(edge.local)}"), ("contribution", f"= {number(edge.contribution)}")]
    return [("flow", flow if len(flow) <= LABEL else f"{flow[: LABEL - 1]}…")]


def _lines(x: Any) -> list[str]:
    """What a box shows of a number or array."""
    if x is None or not np.ndim(x):
        return [number(None if x is None else float(x))]
    if not 0 < x.size <= FEW:
        return [str(x.shape), *([number(x)] if x.size else [])]
    return [number(row, DIGITS_OF_MANY) for row in (x if x.ndim > 1 else [x])]


def _pieces(node: Node) -> Iterator[str | tuple[int, bool]]:
    """What a node computes, in numbers: text, and operands by place and whether negative ones are in parentheses."""
    # Letters for private use stand for the operands: once as numbers, once as negative ones, which shows where
    # parentheses are without knowing of precedence.
    marks = {x: chr(0xE000 + k) for k, x in enumerate(node.operands) if isinstance(x, Node)}
    plain, negative = (
        as_written(node, {x: Expr(sign + c, c, (level, level)) for x, c in marks.items()}).text
        for sign, level in (("", ATOM), ("-", SIGN))
    )
    split = re.compile("([\ue000-\uf8ff])")
    closed = ""
    for i, (piece, signed) in enumerate(zip(split.split(plain), split.split(negative), strict=True)):
        if i % 2:
            yield ord(piece) - 0xE000, bool(closed)
        else:
            yield piece
            closed = ")" if signed.removeprefix(closed) == f"{piece}(-" else ""


class _Layout:
    """The picture of a page: Graphviz says where boxes and edges are, and what is drawn there can be lit and filled.

    Attributes
    ----------
    width, height : float
        In points.
    """

    def __init__(self, passes: _Passes) -> None:
        self.passes = passes
        self.frames, self._placed = frames(passes.order)
        self._boxes = {node: _box(node, literal(name), passes.totals.get(node)) for node, name in passes.names.items()}
        self._labels = {(edge["node"], edge["slot"]): edge["said"] for edge in passes.edges}
        found = json.loads(self._drawing().pipe("json0", encoding="utf-8"))
        self.width, self.height = (float(x) for x in found["bb"].split(",")[2:])
        self._at = {x["name"]: x for x in found.get("objects", ())}
        self._lines = {x["id"]: x for x in found.get("edges", ())}

    def _drawing(self) -> Drawing:
        """The graph with empty boxes, as large as what they will hold."""
        drawing = Drawing()
        drawing.attr("graph", rankdir="LR", nodesep="0.3", ranksep="0.35")
        drawing.attr("node", label="", fixedsize="true", shape="box")
        drawing.attr("edge", arrowsize="0.7")
        clusters = {frame: Drawing(name=f"cluster_{i}") for i, frame in enumerate(self.frames)}
        for frame, cluster in clusters.items():
            cluster.attr(label=f"<{escaped(frame.title)}>", fontname=FONT, fontsize="13", labeljust="l", margin="12")
        for i, (node, rows) in enumerate(self._boxes.items()):
            here = clusters[self._placed[node]] if node in self._placed else drawing
            here.node(f"v{i}", **_size(_width(rows), LINE * len(rows) + 10))
            if node.prim is None:
                continue
            ordered = node.prim not in COMMUTATIVE
            here.node(f"v{i}o", shape="ellipse", **_size(_round(node), 30), **({"ordering": "in"} if ordered else {}))
            drawing.edge(f"v{i}o", f"v{i}", id=f"{i}.-1")
            sides = SIDES["LR"][:: 4 - len(node.operands)] if ordered and len(node.operands) in (2, 3) else None
            for k, x in enumerate(node.operands):
                start = f"v{self.passes.place[x]}" if isinstance(x, Node) else f"v{i}o{k}"
                if not isinstance(x, Node):
                    here.node(start, **_size(DIGIT * len(number(x)) + 8, LINE))
                more = {"headport": sides[k]} if sides else {}
                if texts := self._labels.get((i, k)):
                    size = f'width="{_on_edge(texts):.0f}" height="{SMALL * len(texts) + 6}"'
                    room = f'<table border="0" cellborder="0" fixedsize="true" {size}><tr><td></td></tr></table>'
                    more["label"] = f"<{room}>"
                drawing.edge(start, f"v{i}o", id=f"{i}.{k}", **more)
        for frame in sorted(self.frames, key=lambda frame: -len(frame.ends)):  # what stands inside has to be finished
            (drawing if frame.around is None else clusters[frame.around]).subgraph(clusters[frame])
        return drawing

    def svg(self) -> str:
        """The picture, with all numbers as they are after the last step."""
        parts = [*self._frames(), *(self._edge(id) for id in self._lines)]
        for i, node in enumerate(self.passes.order):
            parts += self._node(i, node)
        size = f'width="{self.width + 8:.0f}" height="{self.height + 8:.0f}"'
        box = f'viewBox="-4 -4 {self.width + 8:.0f} {self.height + 8:.0f}"'
        # It shrinks to the page's width as long as it can be read, and is moved about in a window from there on.
        fits = f"width: min({self.width + 8:.0f}px, max(100%, {0.75 * self.width:.0f}px))"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} style="{fits}" aria-hidden="true">'
            f"{''.join(parts)}</svg>"
        )

    def _point(self, text: str) -> tuple[float, float]:
        x, y = map(float, text.split(","))
        return x, self.height - y  # Graphviz counts upward

    def _frames(self) -> Iterator[str]:
        for i, frame in enumerate(self.frames):
            left, low, right, high = map(float, self._at[f"cluster_{i}"]["bb"].split(","))
            x, y = left, self.height - high
            yield (
                f'<g class="frame"><rect x="{x:.1f}" y="{y:.1f}" width="{right - left:.1f}" height="{high - low:.1f}" '
                f'rx="6"/><text x="{x + 8:.1f}" y="{y + 16:.1f}">{html.escape(frame.title)}</text></g>'
            )

    def _node(self, i: int, node: Node) -> Iterator[str]:
        rows = self._boxes[node]
        x, y = self._point(self._at[f"v{i}"]["pos"])
        wide, high = _width(rows), LINE * len(rows) + 10
        left, top = x - wide / 2, y - high / 2
        role = "leaf" if node.prim is None else "result" if node is self.passes.order[-1] else "interior"
        outline = f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}"{ROUND[role]}/>'
        if role == "result":
            outline += (
                f'<rect class="outer" x="{left - 4:.1f}" y="{top - 4:.1f}" width="{wide + 8:.1f}" '
                f'height="{high + 8:.1f}"/>'
            )
        texts = "".join(
            f'<text class="{kind}" x="{left + 9:.1f}" y="{top + 3 + LINE * (k + 0.8):.1f}">{html.escape(text)}</text>'
            for k, (kind, text) in enumerate(rows)
        )
        yield f'<g class="{role}" data-node="{i}">{outline}{texts}</g>'
        if node.prim is None:
            return
        x, y = self._point(self._at[f"v{i}o"]["pos"])
        yield (
            f'<g class="op" data-op="{i}"><ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{_round(node) / 2:.1f}" ry="15"/>'
            f'<text x="{x:.1f}" y="{y + 5:.1f}">{html.escape(operation(node))}</text></g>'
        )
        for k, operand in enumerate(node.operands):
            if not isinstance(operand, Node):
                x, y = self._point(self._at[f"v{i}o{k}"]["pos"])
                yield f'<text class="constant" x="{x:.1f}" y="{y + 4:.1f}">{number(operand)}</text>'

    def _edge(self, id: str) -> str:
        line = self._lines[id]
        end, *points = line["pos"].removeprefix("e,").split()
        tip, path = self._point(end), [self._point(point) for point in points]
        (x, y), (tx, ty) = path[-1], tip
        drawn = f"M{path[0][0]:.1f},{path[0][1]:.1f}C" + " ".join(f"{x:.1f},{y:.1f}" for x, y in path[1:])
        ax, ay = 0.45 * (ty - y), 0.45 * (x - tx)  # across the tip
        head = f"M{tx:.1f},{ty:.1f}L{x + ax:.1f},{y + ay:.1f} {x - ax:.1f},{y - ay:.1f}Z"
        node, slot = map(int, id.split("."))
        texts = ""
        if "lp" in line:
            x, y = self._point(line["lp"])
            said = self._labels[node, slot]
            texts = "".join(
                f'<text class="{kind}" x="{x:.1f}" y="{y + SMALL * (k + 0.8 - len(said) / 2):.1f}">'
                f"{html.escape(text)}</text>"
                for k, (kind, text) in enumerate(said)
            )
        return f'<g class="edge" data-edge="{id}"><path d="{drawn}"/><path class="head" d="{head}"/>{texts}</g>'


def _box(node: Node, name: str, grad: Any) -> Rows:
    """The lines of a box, each with what it says."""
    rows = [("name", name)]
    rows += [("shape", measures(node))] if measures(node) else []
    for kind, x in (("data", node._value), ("grad", grad)):
        lines = _lines(x)
        rows += [(kind, f"{kind} {lines[0]}"), *((kind, line) for line in lines[1:])]
    return rows


def _width(rows: Rows) -> float:
    return 18 + DIGIT * max(ROOM, *(len(text) * (1.25 if kind == "name" else 1.0) for kind, text in rows))


def _on_edge(rows: Rows) -> float:
    return 6.9 * max(len(text) if kind == "flow" else max(len(text), 12) for kind, text in rows)


def _round(node: Node) -> float:
    """How wide an operation is."""
    return max(30.0, 9.5 * len(operation(node)) + 14)


def _size(width: float, height: float) -> dict[str, str]:
    return {"width": f"{width / 72:.4f}", "height": f"{height / 72:.4f}"}


def _page(passes: _Passes, alt: str, theme: str, layout: _Layout) -> str:
    """The page as HTML."""
    colors = "".join(f"--{name}: {color}; " for name, color in vars(THEMES[theme]).items())
    head = f"{passes.title}, step by step"
    with suppress(GraphSizeError):
        text = literal(formula(passes.order[-1]))
        if text != passes.title and len(text) <= HEAD:
            head = f"{passes.title} = {text}"
    buttons = "".join(
        f'<button type="button" id="{id}" aria-label="{does}" title="{does}"><svg width="20" height="20" '
        f'viewBox="0 0 20 20" aria-hidden="true"><path d="{sign}"/></svg></button>'
        for id, (does, sign) in BUTTONS.items()
    )
    fields = "".join(
        f'<label>{html.escape(literal(passes.names[leaf]))} <input name="{html.escape(literal(passes.names[leaf]))}" '
        f'value="{repr(leaf._value).removesuffix(".0")}" data-leaf="{passes.place[leaf]}" autocomplete="off" '
        f"{FIELD[math.isfinite(leaf._value)]}></label>"
        for leaf in passes.leaves
    )
    form = (
        f'<form id="leaves" aria-label="leaves">{fields}<button type="reset">as before</button>'
        '<p id="problem" role="alert"></p></form>'
    )
    last = len(passes.steps) - 1
    items = "".join(f"<li>{html.escape(line)}</li>" for line in passes.lines)
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in (passes.problem, passes.fixed) if note)
    script = f"const PAGE = {source(passes.data())};\n"
    if not passes.fixed:
        script += str(passes.functions)
    script += (PAGE / "player.js").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width">
<title>{html.escape(passes.title)}, step by step</title>
<style>:root {{ color-scheme: {"dark" if theme == "dark" else "light"}; {colors}}}
{(PAGE / "player.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<h1>{html.escape(head)}</h1>
<div class="controls" role="group" aria-label="steps">{buttons}
<input type="range" id="at" min="0" max="{last}" value="{last}" aria-label="step">
<output id="where">{last + 1} of {last + 1}</output></div>
<p id="said" aria-live="polite">{items and html.escape(passes.lines[-1])}</p>
<div class="picture" id="picture" role="img" aria-label="{html.escape(alt)}">{layout.svg()}</div>
{form if passes.leaves else ""}
{notes}
<ol id="steps">{items}</ol>
<p class="note">Keys: → and ← step, space plays, Home and End go to the ends.</p>
</main>
<script>
"use strict";
{script}</script>
</body>
</html>
"""

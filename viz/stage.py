"""The picture of a page that steps through a graph: Graphviz places it, and what stands in it can be lit and filled."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator
from pathlib import Path

from microgad.errors import RenderError
from microgad.naming import number
from microgad.node import Node

from .frames import frames, innermost_first
from .graph import FONT, escaped, ports
from .passes import Passes, Rows, lines_of
from .quotient import COMMUTATIVE
from .render import Drawing
from .text import measures, operation, shortened, width_of
from .theme import THEMES

PAGE = Path(__file__).resolve().parent / "page"
# In points: how wide a digit is at a size of 12, and how high a line is in a box and on an edge.
DIGIT, LINE, SMALL = 7.7, 17, 13
ROOM = len("data -1.23457e-05")  # every box has room for the longest number
LABEL = 22  # letters on an edge
MARGIN = 6  # around the picture
LEAST = 0.7  # of its size, to which it shrinks
Point = tuple[float, float]
ROUND = {"leaf": ' rx="8"', "interior": "", "result": ""}


class Stage:
    """The picture of a page: Graphviz says where boxes and edges are, and what is drawn there can be lit and filled.

    Attributes
    ----------
    width, height : float
        In points.
    """

    def __init__(self, passes: Passes) -> None:
        self.passes = passes
        self.frames, self._placed = frames(passes.order)
        self._boxes = {node: self._box(node) for node in passes.order}
        self._labels = {(edge["node"], edge["slot"]): edge["said"] for edge in passes.edges}
        try:
            found = json.loads(self._drawing().pipe("json0", encoding="utf-8"))
        except RenderError as error:
            raise RenderError(str(error).replace("json0", "the page")) from None
        except ValueError:
            raise RenderError("the page cannot be laid out: the program named dot gives no JSON") from None
        self.width, self.height = (float(x) for x in found["bb"].split(",")[2:])
        self._at = {x["name"]: x for x in found.get("objects", ())}
        self._lines = {x["id"]: x for x in found.get("edges", ())}

    def _box(self, node: Node) -> Rows:
        """The lines of a box, each with what it says."""
        rows = [("name", shortened(self.passes.names[node]))]
        rows += [("shape", measures(node))] if measures(node) else []
        for kind, x in (("data", self.passes.values[node]), ("grad", self.passes.totals.get(node))):
            lines = lines_of(x)
            rows += [(kind, f"{kind} {lines[0]}")] if len(lines) == 1 else [(kind, line) for line in (kind, *lines)]
        return rows

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
            sides = ports(node, "LR")
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
        for frame in innermost_first(self.frames):
            (drawing if frame.around is None else clusters[frame.around]).subgraph(clusters[frame])
        return drawing

    def svg(self) -> str:
        """The picture for a page, with all numbers as they are after the last step."""
        # It shrinks to the page's width as long as it can be read; what does not fit then is scrolled, in full size.
        width = f"{self.width + 2 * MARGIN:.0f}px"
        fits = f"max(min(100%, {width}), min({width}, calc(({LEAST} * {width} - 100%) * 1e6)))"
        return self._svg(f'style="width: {fits}" role="img" aria-label="{html.escape(self.passes.structure)}"')

    def image(self, theme: str) -> str:
        """The same as a file of its own."""
        return self._svg("", f"<style>{style(theme)}</style>")

    def _svg(self, attributes: str, head: str = "") -> str:
        wide, high = (f"{x + 2 * MARGIN:.0f}" for x in (self.width, self.height))
        nodes = (part for i, node in enumerate(self.passes.order) for part in self._node(i, node))
        parts = "".join([*self._frames(), *map(self._edge, self._lines), *nodes])
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" width="{wide}" height="{high}" '
            f'viewBox="{-MARGIN} {-MARGIN} {wide} {high}" {attributes}>{head}{parts}</svg>'
        )

    def _point(self, text: str) -> Point:
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
        drawn = f"M{path[0][0]:.1f},{path[0][1]:.1f}C" + " ".join(f"{x:.1f},{y:.1f}" for x, y in path[1:])
        back, (x, y), (ahead, beside) = math.dist(path[-1], tip), path[0], path[1]
        along = back / (math.hypot(ahead - x, beside - y) or 1.0)
        start = x + along * (ahead - x), y + along * (beside - y)
        heads = f'<path class="head" d="{_head(path[-1], tip)}"/><path class="tail" d="{_head(start, path[0])}"/>'
        node, slot = map(int, id.split("."))
        texts = ""
        if "lp" in line:
            x, y = self._point(line["lp"])
            said = self._labels[node, slot]
            texts = "".join(
                f'<text class="{kind}" x="{x:.1f}" y="{y + SMALL * (k + 0.8 - len(said) / 2):.1f}">'
                f"{html.escape(shortened(text, LABEL))}</text>"
                for k, (kind, text) in enumerate(said)
            )
        return f'<g class="edge" data-edge="{id}"><path d="{drawn}"/>{heads}{texts}</g>'


def _head(at: Point, tip: Point) -> str:
    """An arrowhead that begins at one point and ends at another, as the path of an SVG."""
    (x, y), (tx, ty) = at, tip
    ax, ay = 0.45 * (ty - y), 0.45 * (x - tx)  # across the tip
    return f"M{tx:.1f},{ty:.1f}L{x + ax:.1f},{y + ay:.1f} {x - ax:.1f},{y - ay:.1f}Z"


def _width(rows: Rows) -> float:
    return 18 + max(ROOM * DIGIT, *(width_of(text, 15 if kind == "name" else 12) for kind, text in rows))


def _on_edge(rows: Rows) -> float:
    return max(
        width_of(shortened(text, LABEL), 11) if kind == "flow" else max(82.0, width_of(text, 11)) for kind, text in rows
    )


def _round(node: Node) -> float:
    """How wide an operation is."""
    return max(30.0, width_of(operation(node), 15) + 14)


def _size(width: float, height: float) -> dict[str, str]:
    return {"width": f"{width / 72:.4f}", "height": f"{height / 72:.4f}"}


def style(theme: str) -> str:
    """The style of the picture: the colours of a theme as variables, then what has which."""
    colors = "".join(f"--{name}: {color}; " for name, color in vars(THEMES[theme]).items())
    scheme = "dark" if theme == "dark" else "light"
    return f":root {{ color-scheme: {scheme}; {colors}}}\n{(PAGE / 'graph.css').read_text(encoding='utf-8')}"

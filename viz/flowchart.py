"""A computation graph as Mermaid text, which GitHub, JupyterLab and many editors draw."""

from __future__ import annotations

import re
from typing import Any

from microgad.agreement import outdated
from microgad.naming import Text, given_names, literal, number
from microgad.node import Node

from .choices import check_flag
from .frames import frames, innermost_first, titles
from .graph import drawable, shares, shown_as
from .quotient import COMMUTATIVE
from .text import Said, gradients, links, measures, operation, said

SHAPES = {
    "leaf": ("(", ")"),
    "interior": ("[", "]"),
    "result": ("[[", "]]"),
    "operation": ("((", "))"),
    "constant": ("[", "]:::constant"),
}
# Once the characters are back in their places Mermaid looks for \n, $$formulas$$, fa:icons and marks of its own: a word
# joiner, which is not seen, keeps these characters apart from the next.
AGAIN, JOINER = "\\$:ﬂ¶", "#8288;"
EDGES, CHARACTERS = 500, 50_000  # what Mermaid draws by default; a page can set more, its source cannot


class Mermaid(Text):
    """Mermaid source: text, which JupyterLab 4.1 and later draws."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/vnd.mermaid": str(self), "text/plain": str(self)}


def mermaid(f: Node, *, rankdir: str = "LR", grads: bool | None = None) -> Mermaid:
    """The computation graph of `f` as the source of a Mermaid flowchart, for Markdown files and web pages.

    It says what `draw` says. A box is a value, round for a leaf and with doubled sides for the result; a
    circle is an operation, and the edge into it carries its local derivative. A frame, Mermaid's subgraph, is a call
    of a module. Mermaid places the boxes as it likes: where the order of operands matters, as in a subtraction, edges
    carry that as well.

    Parameters
    ----------
    f : Value or Tensor
        The result to draw.
    rankdir : {"LR", "TB", "RL", "BT"}
        The direction from inputs to result.
    grads : bool, optional
        Whether to show gradients; by default dashes, until `f` has a gradient itself. Where a node's own
        ``grad`` holds more than this result gave it, both are shown.

    Returns
    -------
    str
        The source: in a Markdown file it stands between ```` ```mermaid ```` and ```` ``` ````. A terminal
        shows it as it reads, JupyterLab draws it.

    Raises
    ------
    InputError
        If `f` is no node, or a choice does not exist.
    GraphSizeError
        If the graph has too many nodes for a picture.

    Notes
    -----
    Mermaid itself refuses more than 500 edges or 50,000 characters, unless the page it is on allows more:
    JupyterLab allows 100,000 of both. A comment in the source says so where that matters, which is from about
    160 operations on.

    Examples
    --------
    >>> import microgad as mg
    >>> x = mg.Value(3.0, "x")
    >>> mermaid(2 * x, grads=False)
    flowchart LR
    v0("x<br>data 3")
    v1[["data 6"]]
    v1o(("×"))
    v1o --> v1
    v1o0["2"]:::constant
    v1o0 --> v1o
    v0 -->|"local 2"| v1o
    classDef constant fill:none,stroke:none
    """
    f = shown_as(f, "mermaid")
    check_flag("grads", grads)
    order = drawable(f, rankdir)
    names, adjoint = given_names(order), shares(order, grads)
    ids = {node: f"v{i}" for i, node in enumerate(order)}
    lines: list[str] = []
    edges = 0
    found, placed = frames(order)
    heads = titles(names, placed)
    parts = {frame: [f'subgraph m{i}["{_text([_literal(frame.title)])}"]'] for i, frame in enumerate(found)}
    for node, id in ids.items():
        here = parts[placed[node]] if node in placed else lines
        role = "result" if node is f else "leaf" if node.prim is None else "interior"
        rows = [_literal(heads[node])] if node in heads else []
        rows += [_plain(measures(node))] if measures(node) else []
        rows += map(_said, [("data", node._value), *gradients(node, f, adjoint)])
        here.append(_box(id, role, rows))
        if node.prim is None:
            continue
        circle = f"{id}o"
        here.append(_box(circle, "operation", [_literal(operation(node)) or " "]))
        lines.append(f"{circle} --> {id}")
        edges += 1 + len(node.operands)
        ordered = len(node.operands) > 1 and node.prim not in COMMUTATIVE
        labels = iter(links(node, names))
        for i, x in enumerate(node.operands):
            rows = [f"operand {i + 1}"] if ordered else []
            if isinstance(x, Node):
                start = ids[x]
                rows.append(_said(next(labels)))
            else:
                start = f"{circle}{i}"
                here.append(_box(start, "constant", [number(x)]))
            label = f'|"{_text(rows)}"|' if rows else ""
            lines.append(f"{start} -->{label} {circle}")
    for frame in innermost_first(found):
        (lines if frame.around is None else parts[frame.around]).extend([*parts[frame], "end"])
    if problem := outdated(order):
        lines.append(_box("note", "constant", [_literal(f"Not of one computation: {literal(problem)}.")]))
        lines.append("class note constant")
    source = "\n".join([f"flowchart {rankdir}", *lines, "classDef constant fill:none,stroke:none"])
    if edges > EDGES or len(source) > CHARACTERS:
        size = f"{edges:,} edges in {len(source):,} characters"
        source = f"%% {size}: Mermaid draws up to {EDGES:,} in {CHARACTERS:,}, unless the page allows more\n{source}"
    return Mermaid(source)


def _box(id: str, shape: str, rows: list[str]) -> str:
    left, right = SHAPES[shape]
    return f'{id}{left}"{_text(rows)}"{right}'


def _text(rows: list[str]) -> str:
    text = "<br>".join(rows)
    # Mermaid 11.0 to 11.12 takes any text for Markdown, but not what is inside of such a block.
    return f"<div>{text}</div>" if "#" in text else text


def _said(line: Said) -> str:
    """A line as `draw` has it: words in which names may stand, or a number or an array, of which brackets mean much."""
    return _literal(said(line)) if len(line) == 1 else _plain(said(line))


def _plain(text: str) -> str:
    return re.sub(r"[()\[\]]", lambda found: f"#{ord(found[0])};", text)


def _literal(text: str) -> str:
    """Text that Mermaid draws as it stands: what has a meaning to it stands there by number, as in ``#35;``.

    A space is one that is not lost at an end. Where one of `AGAIN` ends nothing can begin.
    """
    return "".join(
        c
        if c not in AGAIN and (c.isalnum() or not c.isascii())
        else f"#{160 if c == ' ' else ord(c)};{JOINER if c in AGAIN else ''}"
        for c in literal(text)
    )

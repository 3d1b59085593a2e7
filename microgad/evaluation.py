"""Both passes over a graph as one table: the evaluation trace of the literature on automatic differentiation."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .naming import DIGITS, columns, number
from .node import Node
from .steps import View, steps_back
from .symbolic import Expr, as_written, numeral, products

LIMIT = 10_000  # rows
PARTS = 6  # of one adjoint that are written out
HEADER = ("node", "primal", "value", "adjoint", "value")
NUMBERS = (2, 4)  # columns that are aligned at the right


class Row(NamedTuple):
    """One node of an evaluation trace.

    Attributes
    ----------
    node : Value
        The node itself.
    name : str
        What the table calls it.
    primal : str
        How it was computed; empty for a leaf.
    value : float
        What came out.
    parts : str
        How its adjoint adds up from ``upstream · local``.
    adjoint : float
        The derivative of the result by it.
    """

    node: Any
    name: str
    primal: str
    value: float
    parts: str
    adjoint: float


@dataclass(frozen=True, repr=False)
class EvaluationTrace:
    """The table that `evaluation_trace` makes: ``print`` it, or see it in a notebook.

    Attributes
    ----------
    rows : tuple of Row
        One for each node, in order of evaluation. Primals are computed downward, adjoints upward.
    """

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        cells = self._cells(str)
        rule = ["─" * max(map(len, column)) for column in zip(HEADER, *cells, strict=True)]
        return "\n".join(columns([HEADER, rule, *cells], NUMBERS))

    def to_markdown(self) -> str:
        """The table in Markdown as GitHub and Jupyter read it."""
        rule = ["---:" if i in NUMBERS else "---" for i in range(len(HEADER))]
        lines = [HEADER, rule, *self._cells(_in_markdown)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def to_html(self) -> str:
        """The table in HTML."""

        def line(tag: str, cells: Sequence[str]) -> str:
            side = ["right" if i in NUMBERS else "left" for i in range(len(HEADER))]
            return "".join(f'<{tag} style="text-align: {side[i]}">{cell}</{tag}>' for i, cell in enumerate(cells))

        body = "\n".join(f"<tr>{line('td', cells)}</tr>" for cells in self._cells(html.escape))
        return f"<table>\n<thead><tr>{line('th', HEADER)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def _repr_html_(self) -> str:
        return self.to_html()

    def _cells(self, escape: Callable[[str], str]) -> list[tuple[str, ...]]:
        return [
            tuple(map(escape, (row.name, row.primal, number(row.value), row.parts, number(row.adjoint))))
            for row in self.rows
        ]


def _in_markdown(text: str) -> str:
    """Text that Markdown shows as it stands."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|~&$" else c for c in text)


def evaluation_trace(f: Node) -> EvaluationTrace:
    """The whole forward and backward pass as a table, a line for each node.

    The primal columns read downward, the adjoint columns upward: each adjoint ∂f/∂node is the sum, over the nodes that
    use it, of their adjoint times the local derivative. See Baydin et al., "Automatic differentiation in machine
    learning: a survey", 2018, table 3. No `grad` is touched.

    Parameters
    ----------
    f : Value
        The result.

    Returns
    -------
    EvaluationTrace
        As text by ``print``, in a notebook as a table, ``to_markdown()`` and ``to_html()``; its ``rows`` are numbers.

    Raises
    ------
    GraphSizeError
        If the table would have more rows than anybody reads.
    InputError
        If `f` is no Value.
    DomainError
        Where a derivative does not exist.

    Examples
    --------
    >>> import microgad as mg
    >>> print(evaluation_trace(mg.parse("(x + y) * z", x=-2, y=5, z=-4)))
    node  primal  value  adjoint   value
    ────  ──────  ─────  ────────  ─────
    x                -2  -4 · 1       -4
    y                 5  -4 · 1       -4
    v1    x + y       3  1 · (-4)     -4
    z                -4  1 · 3         3
    f     v1 * z    -12                1
    """
    view = View(f, "evaluation traces", LIMIT)
    adjoints: dict[Node, float] = {f: 1.0}
    parts: dict[Node, list[list[Expr]]] = {node: [] for node in view.order}
    for step in steps_back(view):
        for edge in step.edges:
            adjoints[edge.input] = edge.total
            parts[edge.input].append([numeral(step.upstream, DIGITS), numeral(edge.local, DIGITS)])

    def row(node: Node) -> Row:
        primal = "" if node.prim is None else as_written(node, view.symbols(node)).text
        some = parts[node][:PARTS]
        written = " + ".join(term.text for term in products(some, len(parts[node]) - len(some))) if some else ""
        return Row(node, view.names[node], primal, node._data, written, adjoints[node])

    return EvaluationTrace(tuple(map(row, view.order)))

"""Both passes over a graph as one table: the evaluation trace of the literature on automatic differentiation."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .autodiff import one_number
from .naming import DIGITS, columns
from .node import Node
from .steps import Step, View, said, steps_back
from .symbolic import as_written, numeral, products

LIMIT = 10_000  # rows
PARTS = 6  # of one adjoint that are written out
HEADER = ("node", "primal", "value", "adjoint", "value")
NUMBERS = (2, 4)  # columns that are aligned at the right
Use = tuple[Step, int, Any]  # of a node: the step that sends it a gradient, in which place, and the local derivative


class Row(NamedTuple):
    """One node of an evaluation trace.

    Attributes
    ----------
    node : Value or Tensor
        The node itself.
    name : str
        What the table calls it.
    primal : str
        How it was computed; empty for a leaf.
    value : float or array
        What came out.
    parts : str
        How its adjoint adds up from ``upstream · local``; of arrays in names where the numbers are many.
    adjoint : float, array or None
        The derivative of the result by it; None for a Tensor that needs none.
    """

    node: Any
    name: str
    primal: str
    value: Any
    parts: str
    adjoint: Any


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
            tuple(map(escape, (row.name, row.primal, said(row.value), row.parts, said(row.adjoint))))
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
    f : Value or Tensor
        The result, one number.

    Returns
    -------
    EvaluationTrace
        As text by ``print``, in a notebook as a table, ``to_markdown()`` and ``to_html()``; its ``rows`` are numbers.

    Raises
    ------
    GraphSizeError
        If the table would have more rows than anybody reads.
    InputError
        If `f` is no node.
    ShapeError
        If `f` is not one number.
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
    adjoints: dict[Node, Any] = {one_number(f, "evaluation_trace"): f.seed()}
    uses: dict[Node, list[Use]] = {node: [] for node in view.order}
    for step in steps_back(view):
        for i, edge in enumerate(step.edges):
            adjoints[edge.input] = edge.total
            uses[edge.input].append((step, i, edge.local))

    def row(node: Node) -> Row:
        primal = "" if node.prim is None else as_written(node, view.symbols(node)).text
        value = node._value if type(node._value) is float else np.array(node._value)
        return Row(node, view.names[node], primal, value, _parts(uses[node]), adjoints.get(node))

    return EvaluationTrace(tuple(map(row, view.order)))


def _parts(uses: Sequence[Use]) -> str:
    """The sum that an adjoint is, over the steps that the node has a part in."""
    some, more = uses[:PARTS], len(uses) - len(uses[:PARTS])
    if not some:
        return ""
    if all(type(step.upstream) is float and type(local) is float for step, _, local in some):
        factors = [[numeral(step.upstream, DIGITS), numeral(local, DIGITS)] for step, _, local in some]
        return " + ".join(term.text for term in products(factors, more))
    terms = [step.product(i)[-1] for step, i, _ in some]
    if len(terms) > 1:
        terms = [f"({term})" if local is None else term for term, (_, _, local) in zip(terms, some, strict=True)]
    return " + ".join(terms + [f"… ({more:,} more)"] * (more > 0))

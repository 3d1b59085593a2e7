"""The steps of both passes over a graph, and what a page has to know to show them and to compute them again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from microgad.errors import DomainError
from microgad.naming import DIGITS, DIGITS_OF_MANY, FEW, literal, number
from microgad.node import Node
from microgad.steps import Edge, Step, View, steps_back
from microgad.symbolic import ATOM, SIGN, Expr, as_written

from .javascript import Functions, UnwrittenError
from .text import abridged, links, operation, said, shortened

LIMIT = 300  # nodes; a pass over more is stepped through in parts
Rows = list[tuple[str, str]]  # lines, each with what it says
PLACE = "∂v/∂x⁽²⁾ is the derivative of v by the second place where x stands in it, and by nothing else."
FLOW = "On an edge, G is the gradient of what comes out, and v ⊙ multiplies it by v number by number."


class Passes:
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
    values : dict
        By node, its data as it is now: what a page shows stays of one computation, whatever an optimizer sets later.
    totals : dict
        The gradients, by node.
    edges : list of dict
        In the order of the backward pass: from which node, by which operand, to which input, and the numbers.
    steps : list of dict
    fixed : str
        Why the leaves cannot be edited; empty if they can.
    notes : list of str
        What else has to be said, such as why there is no backward pass, or none that ends.
    """

    def __init__(self, f: Node) -> None:
        view = View(f, "steps in a page", LIMIT)
        self.order, self.names, self._view = view.order, view.names, view
        self.title = literal(self.names[f])
        self.place = {node: i for i, node in enumerate(self.order)}
        self.lines: list[str] = []
        self.steps: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        self.values = {x: x._value if type(x._value) is float else x._value.copy() for x in self.order}
        self.totals: dict[Node, Any] = {}
        self.notes: list[str] = []
        self.fixed, self.functions = "", Functions()
        self.rows: list[int | None] = []
        with np.errstate(all="ignore"):
            self._walk()

    def _walk(self) -> None:
        for node in self.order:
            step = Step((node, None, self._view, *(part for x in node.inputs for part in (x, None, None, None))))
            self._add("forward", node, str(step))
        root = self.order[-1]
        if not root.needs:
            self.notes.append(f"No backward pass: {self.title} needs no gradient.")
        elif np.size(root._value) != 1:
            self.notes.append(f"No backward pass: {self.title} is {np.shape(root._value)}, and not one number.")
        else:
            self._backward()
        if not self.notes:
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
                first = len(self.edges)
                for i, (slot, edge) in enumerate(zip(slots, step.edges, strict=True)):
                    head, tail = step.around(i)
                    self.totals[edge.input] = edge.total
                    self.edges.append(
                        {
                            "node": self.place[step.node], "slot": slot, "input": self.place[edge.input],
                            "head": head + step.product(i)[0], "tail": tail,
                            "numbers": [_shown(x) for x in (step.upstream, *edge[1:])],
                            "said": self._said(step.node, edge, i),
                        }
                    )  # fmt: skip
                self._add("backward", step.node, str(step), range(first, len(self.edges)))
        except DomainError as error:
            self.notes.append(f"The backward pass ends here: {literal(str(error))}.")

    def _said(self, node: Node, edge: Edge, i: int) -> Rows:
        """What the i-th edge of a step says on the way back; of arrays only how they flow, for which there is room."""
        if type(edge.local) is type(edge.contribution) is float:
            return [("local", f"× {number(edge.local)}"), ("contribution", f"= {number(edge.contribution)}")]
        flows = [said(line) for x, line in zip(node.inputs, links(node, self.names), strict=True) if x.needs]
        return [("flow", flows[i])]

    @property
    def signs(self) -> list[str]:
        """What signs in the steps and on the edges mean that are not explained by themselves."""
        flows = any(kind == "flow" for edge in self.edges for kind, _ in edge["said"])
        return [PLACE] * any("⁽" in line for line in self.lines) + [FLOW] * flows

    @property
    def structure(self) -> str:
        """The graph in words, without numbers, which change."""
        names = [shortened(self.names[x]) for x in self.order if x.prim is None]
        done = [operation(x) for x in self.order if x.prim is not None]
        said = f"Graph of {self.title}. Inputs: {', '.join(names)}. Operations: {', '.join(done) or 'none'}."
        return abridged(said)

    def _row(self, node: Node) -> int | None:
        if type(node._value) is not float:
            call = node.prim is not None and node.prim.call
            raise UnwrittenError(
                f"{literal(self.names[node])} is a {'call: expand=True opens it' if call else 'Tensor'}"
            )
        if node.prim is None:
            return None
        if not node.prim.partials:
            raise UnwrittenError(f"{literal(self.names[node])} is computed from arrays")
        return self.functions.row(node)

    @property
    def leaves(self) -> list[Node]:
        """What can be edited."""
        return [] if not self.rows else [node for node in self.order if node.prim is None]

    def data(self) -> dict[str, Any]:
        """What the script of the page works on."""
        nodes = []
        for i, node in enumerate(self.order):
            name = literal(self.names[node])
            found: dict[str, Any] = {"name": name, "data": _shown(self.values[node])}
            found["of"] = [self.place[x] if isinstance(x, Node) else str(float(x)) for x in node.operands]
            if self.rows:
                parts: list[Any] = [f"{name} = "]
                if node.prim is not None:
                    found["formula"] = as_written(node, self._view.symbols(node)).text
                    parts = [f"{name} = {found['formula']} = ", *_pieces(node), " = "]
                found |= {"row": self.rows[i], "parts": parts}
            nodes.append(found)
        edges = [{key: x for key, x in edge.items() if key != "said"} for edge in self.edges]
        return {"nodes": nodes, "edges": edges, "steps": self.steps, "seed": _shown(self.order[-1].seed())}


def _shown(x: Any) -> Any:
    """A number for the script to compute with and to write; of an array the lines that stand for it."""
    return x if x is None or type(x) is float else lines_of(x)


def lines_of(x: Any) -> list[str]:
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
        as_written(node, {x: Expr(sign + c, c, (level, level)) for x, c in marks.items()}, DIGITS).text
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

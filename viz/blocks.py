"""The operations of a graph as equations between blocks: what stands in them, and of which size it is.

Forward they are the templates of the rows as text, backward the `flow` of the rows, in which G is the gradient of what
comes out and Y that itself; two blocks side by side are a product of matrices.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from microgad.naming import all_names, given_names, number
from microgad.node import Node
from microgad.primitives import add, mul, sub
from microgad.structural import linear, matmul, shape, transpose

SHOWN = 6  # operands of one operation, and parts of one gradient
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """One array of an equation.

    Its `shape` is NumPy's; `sides` is how it stands in the equation, where a vector is a row or a column.
    """

    name: str
    shape: Shape
    sides: Shape
    role: str

    @property
    def size(self) -> str:
        """The lengths of its axes, as text."""
        return "×".join(map(str, self.shape)) or "1"

    @property
    def turned(self) -> Block:
        """The transposed block."""
        name = self.name[:-1] if self.name.endswith("ᵀ") else f"{factor(self.name)}ᵀ"
        sides = (*self.sides[:-2], self.sides[-1], self.sides[-2])
        return replace(self, name=name, shape=sides if self.shape else (), sides=sides)

    def __str__(self) -> str:
        return f"{self.name} ({self.size})"


Part = Block | str
Parts = list[Part]


class Line(NamedTuple):
    """One equation, or one more term of the equation above it, which has no block of its own on the left."""

    left: Block | None
    sign: str
    right: Parts

    def __str__(self) -> str:
        if not self.right:
            return str(self.left)
        return f"{self.left or '   '} {self.sign} {''.join(map(str, self.right))}"


def factor(name: str) -> str:
    """A name in a formula; in parentheses where it would be misread."""
    return name if re.fullmatch(r"[\w.\[\]'∇ᵀ]+", name) else f"({name})"


class Equations:
    """Both passes over a graph, line by line.

    Attributes
    ----------
    forward, backward : list of Line
        In the order of computation.
    of : str
        What the gradients are of.
    """

    def __init__(self, order: Sequence[Node], grads: bool) -> None:
        self._root = order[-1]
        self._uses: dict[Node, list[tuple[Node, int]]] = {node: [] for node in order}
        for node in order:
            for i, x in enumerate(node.operands):
                if isinstance(x, Node):
                    self._uses[x].append((node, i))
        given = given_names(order)
        self._merged = {node for node in order if node not in given and self._merges(node)}
        shown = [node for node in order if node not in self._merged]
        self._names = all_names(shown)
        self._lying: set[Node] = set()
        for node in order:
            if self._lies(node):
                self._lying.add(node)
        name = self._names[self._root]
        self.of = name if _one(self._root) else f"Σ G ⊙ {factor(name)}"
        computed = [node for node in shown if node.prim is not None]
        self.forward = [self._forward(node) for node in computed or shown]
        self.backward = list(self._backward(order)) if grads and computed and self._root.needs else []

    # ---- what stands where

    def _merges(self, node: Node) -> bool:
        """Whether an unnamed node stands inside the equations of its users: Wᵀ, and W Y in W Y + b."""
        if node is self._root or node.prim is None:
            return False
        if _turns(node):
            return not _turns(node.inputs[0])
        uses = self._uses[node]
        if node.prim is not matmul or len(uses) > 1:
            return False
        user, i = uses[0]
        return (user.prim is add or (user.prim is sub and i == 0)) and shape(user) == shape(node)

    def _lies(self, node: Node) -> bool:
        """Whether a vector is a row rather than a column."""
        row = node.prim
        if row is None or len(shape(node)) != 1:
            return False
        first = node.operands[0]
        if row is linear:
            return True
        if row is matmul:
            return len(shape(first)) == 1
        key = row.params.get("key", ())
        if len(shape(first)) == 2 and (row.params.get("axis") == (0,) or any(isinstance(k, int) for k in key[:1])):
            return True  # X.sum(axis=0), X[0]
        return any(x in self._lying for x in node.inputs if len(shape(x)) == 1)

    def _sides(self, node: Node, i: int | None = None) -> Shape:
        """How operand `i` of a node stands in its equation, or, for None, the node itself."""
        x: Any = node if i is None else node.operands[i]
        of, row = shape(x), node.prim
        if row is matmul:
            vectors = [len(shape(operand)) == 1 for operand in node.operands]
            if i is not None:
                return of if not vectors[i] else (1, *of) if i == 0 else (*of, 1)
            sides = (*of, 1) if vectors[1] else of
            return (*sides[:-1], 1, *sides[-1:]) if vectors[0] else sides
        if len(of) > 1:
            return of
        if not of:
            return (1, 1)
        beside = row is not None and row.partials and len(shape(node)) > 1  # NumPy repeats a vector row by row
        return (1, *of) if row is linear or beside or x in self._lying or node in self._lying else (*of, 1)

    def _block(self, node: Node, i: int | None = None) -> Block:
        x: Any = node if i is None else node.operands[i]
        if x in self._merged and _turns(x):
            return self._block(x, 0).turned
        role = "leaf" if x.prim is None else "interior"
        return Block(self._names.get(x, ""), shape(x), self._sides(node, i), role)

    def _operand(self, node: Node, i: int) -> Part:
        x = node.operands[i]
        return self._block(node, i) if isinstance(x, Node) else number(x)

    def _gradient(self, x: Node, sides: Shape) -> Block:
        """The gradient of a node: δ where it was computed, ∇ for a leaf."""
        while x in self._merged:
            x = self._uses[x][0][0]
        name = factor(self._names[x])
        return Block(f"{'∇' if x.prim is None else 'δ'}{name}", shape(x), sides, "result")

    # ---- forward

    def _forward(self, node: Node) -> Line:
        left = self._block(node)
        return Line(left, "", []) if node.prim is None else Line(left, "=", self._written(node))

    def _written(self, node: Node) -> Parts:
        """What a node is computed from, by the template of its row."""
        assert node.prim is not None
        pieces = list(string.Formatter().parse(node.prim.text))
        places = iter(range(len(node.operands)))
        single = sum(piece[1] is not None for piece in pieces) == 1
        parts: Parts = []
        for text, field, *_ in pieces:
            last = parts[-1] if parts else ""
            if text.startswith(".T") and isinstance(last, Block) and len(last.shape) == 2:
                parts[-1], text = last.turned, text[2:]
            if text:
                parts.append(f" {self._times(*node.operands)} " if node.prim is mul else text)
            if field is not None:
                parts += self._listed(node) if single else self._inside(node, next(places))
        return parts

    def _inside(self, node: Node, i: int) -> Parts:
        x = node.operands[i]
        return self._written(x) if x in self._merged and not _turns(x) else [self._operand(node, i)]

    def _listed(self, node: Node) -> Parts:
        """The operands of an operation that takes any number of them."""
        n = len(node.operands)
        if n == 1:
            return [self._operand(node, 0)]
        places = range(n) if n <= SHOWN else [*range(SHOWN - 2), None, n - 1]
        parts = [f"… {n - SHOWN + 1:,} more" if i is None else self._operand(node, i) for i in places]
        return [part for one in parts for part in (", ", one)][1:]

    def _times(self, *factors: Any) -> str:
        """The sign between factors: ⊙ between arrays, · beside a number."""
        return "·" if any(_one(x) for x in factors) else "⊙"

    # ---- backward

    def _backward(self, order: Sequence[Node]) -> Iterator[Line]:
        root = self._root
        start: Part = "1" if _one(root) else Block("G", shape(root), self._sides(root), "leaf")
        yield Line(self._gradient(root, self._sides(root)), "=", [start])
        missing = {x: len(uses) for x, uses in self._uses.items()}
        for node in reversed(order):
            for x in node.inputs:
                missing[x] -= 1
            # A gradient is whole with the last use that adds to it. Those of leaves come first: nothing waits for them.
            whole = [x for x in dict.fromkeys(node.inputs) if not missing[x]]
            for x in sorted(whole, key=lambda x: x.prim is not None):
                yield from self._gathered(x)

    def _gathered(self, x: Node) -> Iterator[Line]:
        """How the gradient of a node adds up over its uses."""
        if not x.needs or x in self._merged or self._fused(x):
            return
        uses = list(self._through(reversed(self._uses[x])))
        terms = [term for term in (self._term(node, i) for node, i in uses) if term]
        for k, (sides, parts) in enumerate(terms[:SHOWN]):
            yield Line(None if k else self._gradient(x, sides), "+" if k else "=", parts)
        if len(terms) > SHOWN:
            yield Line(None, "+", [f"… {len(terms) - SHOWN:,} more"])
        if not terms:
            yield Line(self._gradient(x, self._sides(*uses[0])), "=", ["0"])

    def _through(self, uses: Iterable[tuple[Node, int]]) -> Iterator[tuple[Node, int]]:
        """The uses of a node, with those of its transposed in place of that one."""
        for node, i in uses:
            if node in self._merged and _turns(node):
                yield from self._uses[node]
            else:
                yield node, i

    def _fused(self, x: Node) -> bool:
        """Whether the gradient of an activation is no line of its own, as in δ = (Wᵀ δ) ⊙ f′(z)."""
        uses, row = self._uses[x], x.prim
        if x is self._root or row is None or not row.partials or len(uses) != 1:
            return False
        needing = [y for y in x.inputs if y.needs]
        if len(needing) != 1 or shape(needing[0]) != shape(x):
            return False
        [(user, i)] = uses
        return user.prim in _PRODUCTS and _is_product(self._flow(user, i)[1])

    def _term(self, node: Node, i: int) -> tuple[Shape, Parts] | None:
        """What one use of a node adds to its gradient, and how that stands; None where it is always 0."""
        x, row = node.operands[i], node.prim
        assert row is not None
        sides, parts = (self._sides(node, i), self._chain(node, i)) if row.partials else self._flow(node, i)
        if not parts:
            return None
        if x in self._merged:  # the transposed of what the gradient is of
            return (*sides[:-2], sides[-1], sides[-2]), _turned(parts)
        return sides, parts

    def _upstream(self, node: Node) -> Parts:
        """The gradient of what comes out of an operation."""
        if self._fused(node):
            user, i = self._uses[node][0]
            return ["(", *self._flow(user, i)[1], ")"]
        return [self._gradient(node, self._sides(node))]

    def _chain(self, node: Node, i: int) -> Parts:
        """Upstream times local, for an operation that works number by number."""
        row: Any = node.prim
        rule, x = row.partials[i], node.operands[i]
        if rule == 0.0:
            return []
        parts = self._upstream(node)
        if rule == 1.0:
            parts = parts[1:-1] if parts[0] == "(" else parts
        elif rule == -1.0:
            parts = ["−", *parts]
        elif type(rule) is float:
            parts = [f"{number(rule)} · ", *parts]
        else:
            local = self._local(node, i)
            one = _one(node) or not isinstance(local, Block) or not local.shape
            parts += [" · " if one else " ⊙ ", local]
        return ["Σ ", *parts] if math.prod(shape(x)) < math.prod(shape(node)) else parts

    def _local(self, node: Node, i: int) -> Part:
        """The local derivative: what the rule picks, or a block of its own for what it computes."""
        row: Any = node.prim
        marks = [object() for _ in range(1 + len(node.operands))]
        try:
            place = marks.index(row.partials[i](*marks))
            return self._block(node) if place == 0 else self._operand(node, place - 1)
        except Exception:  # a rule that computes does so on numbers
            pass
        x = self._block(node, i).name
        if len(node.inputs) == 1 and row.text.startswith(f"{row.name}("):
            name = f"{row.name}′({x})"
        else:
            name = f"∂{factor(self._names[node])}/∂{factor(x)}"
        return Block(name, shape(node), self._sides(node), "interior")

    def _flow(self, node: Node, i: int) -> tuple[Shape, Parts]:
        """What the row of an operation on whole arrays says of the way back to an operand."""
        row: Any = node.prim
        flow = row.flow[min(i, len(row.flow) - 1)] if row.flow else "its vjp of G"
        parts: Parts = []
        position = 0
        for found in _BLOCKS.finditer(flow):
            if between := flow[position : found.start()]:
                parts.append(between)
            block = self._meant(node, found["block"], found["function"])
            parts.append(block.turned if found["turned"] and isinstance(block, Block) else block)
            position = found.end()
        if rest := flow[position:]:
            parts.append(rest)
        sides = self._sides(node, i)
        if row.name == transpose.name:  # of any axes: what comes out has the shape of what went in
            parts = [
                replace(part, shape=shape(node.operands[i]), sides=sides) for part in parts if isinstance(part, Block)
            ]
        for k in range(1, len(parts) - 1):
            if parts[k] == " ":
                one = any(isinstance(part, Block) and not part.shape for part in (parts[k - 1], parts[k + 1]))
                parts[k] = " @ " if row in _PRODUCTS else " · " if one else " ⊙ "
        if _is_product(parts):
            left, right = (part for part in parts if isinstance(part, Block))
            if left.sides[-1] == right.sides[-2] == 1 or len(left.sides) > 2 < len(right.sides):
                # A column and a row, or a vector for each matrix: they say in their sizes how they stand.
                left, right = (replace(one, shape=one.sides if one.shape else ()) for one in (left, right))
            parts = [left, " @ ", right]
            batch = np.broadcast_shapes(left.sides[:-2], right.sides[:-2])
            if math.prod(batch) * left.sides[-2] * right.sides[-1] > math.prod(sides):
                parts = ["Σ ", *parts]
        elif parts[0] == "Σ " and isinstance(only := parts[-1], Block) and only.shape == shape(node.operands[i]):
            parts = [only]  # one example: nothing to add up
        return sides, parts

    def _meant(self, node: Node, block: str, function: str | None) -> Part:
        if block == "G":
            return self._gradient(node, self._sides(node))
        found = self._block(node) if block == "Y" else self._operand(node, int(block[1:-1]))
        if function and isinstance(found, Block):
            return replace(found, name=f"{function}({found.name})", role="interior")
        return found


_PRODUCTS = (matmul, linear)
_BLOCKS = re.compile(r"(?:(?P<function>\w+)\()?(?P<block>\{\d\}|(?<!\w)[GY](?=ᵀ|\b))(?(function)\))(?P<turned>ᵀ?)")


def _turns(node: Node) -> bool:
    """Whether a node is a transposed matrix, or several."""
    if node.prim is None or node.prim.name != transpose.name:
        return False
    axes = node.prim.params["axes"]
    n = len(axes)
    return n > 1 and axes == (*range(n - 2), n - 1, n - 2)


def _one(x: Any) -> bool:
    """Whether something is a single number."""
    return not isinstance(x, Node) or math.prod(shape(x)) == 1


def _is_product(parts: Parts) -> bool:
    return len(parts) == 3 and parts[1] == " @ "


def _turned(parts: Parts) -> Parts:
    """The transposed of a term."""
    if _is_product(parts) or len(parts) == 1:
        return [part.turned if isinstance(part, Block) else part for part in reversed(parts)]
    return ["(", *parts, ")ᵀ"]

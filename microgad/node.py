"""The node: what an operation leaves behind, and the pass that walks back over it."""

from __future__ import annotations

from typing import Any

from .errors import undefined_derivative
from .order import EMPTY, topological_order
from .primitive import Primitive, ranks, watchers
from .primitives import add, mul, relu

hooks: dict[Any, list[Any]] = {}  # by node, what `backward` calls with its gradient, in order: see hooks.py


class Node:
    """One value of a graph: a primitive, its operands, and what came out. ONE object for the collector."""

    __slots__ = ("_data", "a", "b", "grad", "mark", "name", "prim")
    _data: Any
    prim: Primitive | None  # None for a leaf
    a: Any  # an operand: a node, a plain number, or EMPTY; a tuple of operands where there are more than two
    b: Any
    grad: Any  # None until a backward pass arrives
    mark: Any  # belongs to the walk under way
    name: str | None

    def __init_subclass__(cls, rank: int | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ranks[cls] = ranks[cls.__mro__[1]] if rank is None else rank

    @property
    def operands(self) -> tuple[Any, ...]:
        """What the operation was given, in order: nodes, and plain numbers as floats."""
        a, b = self.a, self.b
        return () if self.prim is None else (a, b) if b is not EMPTY else a if type(a) is tuple else (a,)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes among the operands, in order; one that is used twice stands there twice."""
        return tuple(x for x in self.operands if isinstance(x, Node))

    @property
    def op(self) -> str:
        """The operation's label in a drawing; the empty string for a leaf."""
        return "" if self.prim is None else self.prim.label

    def edges(self, upstream: Any, trace: bool = False, among: Any = None) -> list[tuple[Node, Any, Any]]:
        """The chain rule at one node: ``(input, local derivative, contribution)`` for each input.

        With `trace` the rules run on nodes and give nodes, to be differentiated again; `among` is the set
        of inputs that need a derivative, None for all. The local derivative of a structural row is None.
        """
        row: Any = self.prim
        if (row is add or row is mul) and type(self._data) is float and among is None and not (trace or watchers):
            # The rows that networks are made of, spelled out, worth 2 times and more of adjoints and steps.
            a, b = self.a, self.b
            if type(b) is float:
                left = 1.0 if row is add else b
                return [(a, left, upstream * left)]
            right = 1.0 if row is add else a if type(a) is float else a._data
            if type(a) is float:
                return [(b, right, upstream * right)]
            left = 1.0 if row is add else b._data
            return [(a, left, upstream * left), (b, right, upstream * right)]
        operands = self.operands
        found: list[tuple[Node, Any, Any]] = []
        out, args = (self, operands) if trace else (self._data, [x if type(x) is float else x._data for x in operands])
        for i, x in enumerate(operands):
            if type(x) is float or (among is not None and x not in among):
                continue
            try:
                if row.vjp:
                    found.append((x, None, row.vjp[i](upstream, out, *args, **row.params)))
                    continue
                rule = row.partials[i]
                local = rule if type(rule) is float else rule(out, *args)
            except (ValueError, ArithmeticError) as error:
                raise undefined_derivative(self, x, error) from None
            # upstream * local, without the nodes that a 1 would leave in a trace; a constant 0 lets nothing through
            if local is rule and (local == 0.0 or local == 1.0):
                found.append((x, local, upstream if local else 0.0))
            elif trace and type(upstream) is float and upstream == 1.0:
                found.append((x, local, local))
            else:
                found.append((x, local, upstream * local))
        for watcher in watchers:
            watcher.flowed(self, upstream, found)
        return found

    def backward(self, gradient: float = 1.0) -> None:
        """Fill `grad` with the derivative of this node, times `gradient`, by every node below it.

        Leaves add it to what they hold, until their `grad` is set back to None; nodes in between hold
        the last pass only. A pass that fails leaves every leaf as it was.
        """
        token, number, watched, leaves = float("-0.0"), float, bool(watchers or hooks), []
        plus, times, hinge = (None, None, None) if watched else (add, mul, relu)
        order = topological_order(self, token)
        self.mark = type(self).constant(gradient)  # type: ignore[attr-defined]
        # A mark starts as the token, -0.0, and adds up contributions. The rows that networks are made of
        # are spelled out, worth 4 times; a test holds them to `edges` bit for bit.
        for node in reversed(order):
            row = node.prim
            if row is None:
                leaves.append(node)
                if watched:
                    node.edges(node._hooked(order))
                continue
            node.grad = g = node.mark
            a, b = node.a, node.b
            if row is plus:
                if type(a) is not number:
                    a.mark = g if a.mark is token else a.mark + g
                if type(b) is not number:
                    b.mark = g if b.mark is token else b.mark + g
            elif row is times:
                if type(b) is number:
                    a.mark = a.mark + g * b
                elif type(a) is number:
                    b.mark = b.mark + g * a
                else:
                    a.mark = a.mark + g * b._data
                    b.mark = b.mark + g * a._data
            elif row is hinge:
                a.mark = a.mark + g * (1.0 if a._data > 0.0 else 0.0)
            else:
                if watched:
                    node.grad = g = node._hooked(order)
                for x, _, contribution in node.edges(g):
                    x.mark = x.mark + contribution  # not +=, which would write into a shared array
        for leaf in leaves:
            leaf.grad = leaf.mark if leaf.grad is None else leaf.grad + leaf.mark

    def _hooked(self, order: list[Any]) -> Any:
        """The gradient that has come together in `mark`, after the hooks have seen it."""
        for hook in hooks.get(self, ()):
            marks = [x.mark for x in order]  # a hook may walk a graph of its own over these nodes
            changed = hook(self.mark)
            for x, mark in zip(order, marks, strict=True):
                x.mark = mark
            self.mark = self.mark if changed is None else type(self).constant(changed)  # type: ignore[attr-defined]
        return self.mark

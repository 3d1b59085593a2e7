"""The node: what an operation leaves behind, and the pass that walks back over it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import undefined_derivative
from .order import EMPTY, topological_order
from .primitive import Primitive, kinds, ranks, watchers
from .primitives import add, mul, relu
from .scopes import Scope
from .structural import fitted

hooks: dict[Any, list[Any]] = {}  # by node, what `backward` calls with its gradient, in order: see hooks.py


def as_arrays(rule: Any, out: Any, args: Any) -> Any:
    """A partial where a plain number stands beside arrays, and has what IEEE says of arrays: 1 / 0 is inf."""
    return rule(out, *(np.asarray(x) if type(x) is float else x for x in args))


class Node:
    """One value of a graph: a primitive, its operands, and what came out. ONE object for the collector."""

    __slots__ = ("_name", "_value", "a", "b", "grad", "mark", "prim")
    _value: Any  # its data (numpy.ma would read an attribute called _data, and cut the graph)
    prim: Primitive | None  # None for a leaf
    a: Any  # an operand: a node, a plain number, or EMPTY; a tuple of operands where there are more than two
    b: Any
    grad: Any  # None until a backward pass arrives
    mark: Any  # belongs to the walk under way
    _name: str | None  # or, where a module has left its mark, a Scope
    needs: bool = True  # a gradient; a Tensor may say no

    def __init_subclass__(cls, rank: int | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ranks[cls] = ranks[cls.__mro__[1]] if rank is None else rank
        kinds.setdefault(ranks[cls], cls)

    @property
    def name(self) -> str | None:
        """What messages and drawings call it."""
        name = self._name
        return name or None if type(name) is Scope else name

    @name.setter
    def name(self, name: str | None) -> None:
        known = getattr(self, "_name", None)
        name = str(name) if type(name) is Scope else name  # of another node
        self._name = known.renamed(name) if type(known) is Scope else name

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
        if (row is add or row is mul) and type(self._value) is float and among is None and not (trace or watchers):
            # The rows that networks are made of, spelled out, worth 2 times and more of adjoints and steps.
            a, b = self.a, self.b
            if type(b) is float:
                left = 1.0 if row is add else b
                return [(a, left, upstream * left)]
            right = 1.0 if row is add else a if type(a) is float else a._value
            if type(a) is float:
                return [(b, right, upstream * right)]
            left = 1.0 if row is add else b._value
            return [(a, left, upstream * left), (b, right, upstream * right)]
        if row is not None and row.call:
            return row.call.pull(self, upstream, trace, among)  # type: ignore[no-any-return]
        operands = self.operands
        found: list[tuple[Node, Any, Any]] = []
        out, args = (
            (self, operands) if trace else (self._value, [x if type(x) is float else x._value for x in operands])
        )
        arrays = type(self._value) is not float
        for i, x in enumerate(operands):
            if type(x) is float or not (x.needs if among is None else x in among):
                continue
            try:
                if row.vjp:
                    rule = local = None
                    rules = row.vjp if trace or not row.quick else row.quick
                    contribution = rules[i](upstream, out, *args, **row.params)
                else:
                    rule = row.partials[i]
                    local = rule if type(rule) is float else rule(out, *args)
            except (ValueError, ArithmeticError) as error:
                if row.vjp or not arrays:
                    raise undefined_derivative(self, x, error) from None
                local = as_arrays(rule, out, args)
            # upstream * local, without the nodes that a 1 would leave in a trace; a constant 0 lets nothing through
            if rule is None:
                pass
            elif local is rule and (local == 0.0 or local == 1.0):
                contribution = upstream if local else 0.0
            elif trace and type(upstream) is float and upstream == 1.0:
                contribution = local
            else:
                contribution = upstream * local
            found.append((x, local, fitted(contribution, x) if arrays else contribution))
        for watcher in watchers:
            watcher.flowed(self, upstream, found)
        return found

    def seed(self) -> Any:
        """The derivative of a result by itself: 1, in its shape."""
        data = self._value
        return 1.0 if type(data) is float else np.ones(data.shape, data.dtype) if data.ndim else data.dtype.type(1.0)

    def backward(self, gradient: float = 1.0) -> None:
        """Fill `grad` with the derivative of this node, times `gradient`, by every node below it.

        Leaves add it to what they hold, until their `grad` is set back to None; nodes in between hold
        the last pass only. A pass that fails leaves every leaf as it was. The numbers are taken as they are now:
        data of a leaf is changed after the pass, not before it.
        """
        if watchers or hooks:
            return self.flow_back(self.as_gradient(gradient))
        if self.prim is not None and self.prim.call and self.prim.call.back(self, self.as_gradient(gradient)):
            return None
        token, number, plus, times, hinge, leaves = float("-0.0"), float, add, mul, relu, []
        order = topological_order(self, token)
        self.mark = self.as_gradient(gradient)
        # A mark starts as the token, -0.0, and adds up contributions. The rows that networks are made of
        # are spelled out, worth 4 times; a test holds them to `edges` bit for bit.
        for node in reversed(order):
            row = node.prim
            if row is None:
                leaves.append(node)
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
                    a.mark = a.mark + g * b._value
                    b.mark = b.mark + g * a._value
            elif row is hinge:
                a.mark = a.mark + g * (1.0 if a._value > 0.0 else 0.0)
            elif row.vjp:  # arrays lie below: once more, by the way that is right for them too
                return self.flow_back(self.as_gradient(gradient))
            else:
                for x, _, contribution in node.edges(g):
                    x.mark = x.mark + contribution
        for leaf in leaves:
            leaf.grad = leaf.mark if leaf.grad is None else leaf.grad + leaf.mark

    def flow_back(self, gradient: Any) -> None:
        """The backward pass over nodes of every kind, with hooks."""
        token, hooked, leaves = object(), bool(watchers or hooks), []
        order = topological_order(self, token)
        self.mark = gradient
        for node in reversed(order):
            g = node.mark
            if g is token:  # needs no gradient
                continue
            if hooked:
                g = node._hooked(order)
            if node.prim is None:
                leaves.append(node)
                if hooked:
                    node.edges(g)
                continue
            node.grad = g
            quick, params, data = node.prim.quick, node.prim.params, node._value
            if hooked or not quick or type(data) is float:
                for x, _, contribution in node.edges(g):
                    # not +=, which would write into an array that another node has too
                    x.mark = contribution if x.mark is token else x.mark + contribution
                continue
            a, b = node.a, node.b
            operands = a if type(a) is tuple else (a,) if b is EMPTY else (a, b)
            args: list[Any] = [x if type(x) is float else x._value for x in operands]
            for x, arg, rule in zip(operands, args, quick):  # noqa: B905, which costs a tenth of a microsecond
                if type(x) is not float and x.needs:
                    try:
                        contribution = rule(g, data, *args, **params)
                    except ArithmeticError as error:  # which np.errstate may ask for
                        raise undefined_derivative(node, x, error) from None
                    if type(arg) is float or contribution.shape != arg.shape or contribution.dtype is not arg.dtype:
                        contribution = fitted(contribution, x)
                    x.mark = contribution if x.mark is token else x.mark + contribution
        g = contribution = None  # so that only the marks hold what has arrived: see `collect` of a Tensor
        for leaf, total in [(leaf, leaf.collect(leaf.mark)) for leaf in leaves]:
            leaf.grad = total

    def as_gradient(self, x: Any) -> Any:
        """What a hook or the caller of `backward` gives, as a gradient of this node; an error if it is none."""
        raise NotImplementedError

    def collect(self, gradient: Any) -> Any:
        """What the `grad` of a leaf becomes with what a backward pass brought."""
        return gradient if self.grad is None else self.grad + gradient

    def _hooked(self, order: list[Any]) -> Any:
        """The gradient that has come together in `mark`, after the hooks have seen it."""
        for hook in hooks.get(self, ()):
            marks = [x.mark for x in order]  # a hook may walk a graph of its own over these nodes
            changed = hook(self.mark)
            for x, mark in zip(order, marks, strict=True):
                x.mark = mark
            self.mark = self.mark if changed is None else self.as_gradient(changed)
        return self.mark

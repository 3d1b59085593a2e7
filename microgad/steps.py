"""The two passes over a graph, one node at a time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cached_property
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from .agreement import outdated
from .autodiff import one_number
from .errors import GraphSizeError, InputError, no_gradient, shown, spell, untraceable
from .naming import DIGITS, FEW, all_names, literal, number
from .node import Node
from .order import topological_order
from .primitive import tracing
from .structural import count, matmul, shape
from .symbolic import ATOM, Expr, as_written, datum, enclosed, partial, products, symbol

LIMIT = 100_000  # nodes; nobody reads the steps of more


class View:
    """One graph as it is shown: the order, and names that are only thought of when something is printed."""

    def __init__(self, f: Any, what: str, limit: int | None = LIMIT) -> None:
        if not isinstance(f, Node):
            raise InputError(f"{what} are those of a Value, not of {shown(f)}")
        if tracing and get_ident() in tracing:
            raise untraceable(f"{what} are asked for", "their numbers would be those of this one call; ask outside")
        self.order = topological_order(f)
        if limit is not None and len(self.order) > limit:
            raise GraphSizeError(
                f"a graph of {len(self.order):,} nodes is too large for {what}, which go up to {limit:,}. Take a part "
                "of it, such as the loss of one sample; mg.adjoints(f) has the derivatives of all"
            )

    @cached_property
    def names(self) -> dict[Node, str]:
        """What the nodes are called; an `InputError` if what is to be shown would not be true."""
        if problem := outdated(self.order):
            raise InputError(literal(problem))
        return all_names(self.order)

    @cached_property
    def users(self) -> dict[Node, list[Node]]:
        """For each node those that send it a gradient, once for each use, in the order in which the pass comes by."""
        found: dict[Node, list[Node]] = {node: [] for node in self.order}
        for node in reversed(self.order):
            if found[node] or node is self.order[-1]:
                for x in node.inputs:
                    if x.needs:
                        found[x].append(node)
        return found

    @cached_property
    def first_use(self) -> dict[tuple[Node, Node], int]:
        """By input and user, the place of its first use among the `users` of the input, counted from 0."""
        found: dict[tuple[Node, Node], int] = {}
        for x, users in self.users.items():
            for k, user in enumerate(users):
                found.setdefault((x, user), k)
        return found

    @cached_property
    def _position(self) -> dict[Node, int]:
        return {node: i for i, node in enumerate(self.order)}

    def place(self, node: Node, x: Node, nth: int) -> int:
        """The `nth` place of x in `node`, if ∂node/∂x could also mean another place or a longer way; otherwise 0."""
        others = [y for y in node.inputs if y is not x]
        return nth if len(node.inputs) - len(others) > 1 or self._lead_to(others, x) else 0

    def _lead_to(self, nodes: list[Node], x: Node) -> bool:
        seen, stack = set(nodes), nodes
        while stack and len(self.users[x]) > 1:
            for y in stack.pop().inputs:
                if y is x:
                    return True
                if y not in seen and self._position[y] > self._position[x]:
                    seen.add(y)
                    stack.append(y)
        return False

    def symbols(self, node: Node) -> dict[Node, Expr]:
        """The inputs of a node by their names."""
        return {x: symbol(self.names[x]) for x in node.inputs}

    def numbers(self, node: Node) -> dict[Node, Expr]:
        """The inputs of a node by their numbers."""
        return {x: datum(x._value, DIGITS) for x in node.inputs}

    def derivative(self, node: Node) -> str:
        """∂f/∂node."""
        return partial(self.names[self.order[-1]], self.names[node]).text

    def flow(self, node: Node, slot: int) -> str:
        """How an operation on whole arrays makes the gradient of an operand from its own, in the nodes' names."""
        row, operands = node.prim, node.operands
        assert row is not None
        x = operands[slot]

        def name(y: Any) -> str:
            return number(y) if type(y) is float else enclosed(symbol(self.names[y]), 0, ATOM)

        def filled(found: re.Match[str]) -> str:
            what, mark = found.groups()
            if what == "n":
                return str(_divisor(node))
            text = self.derivative(node) if what == "G" else name(node if what == "Y" else operands[int(what[1])])
            return f"({text}){mark}" if mark and re.search(r"\W", text) and text[0] != "(" else text + mark

        said = row.flow[min(slot, len(row.flow) - 1)] if row.flow else f"G, back through {row.name}"
        text = re.sub(r"(?<!\w)(G|Y|n|\{\d\})(ᵀ|(?!\w))", filled, said)
        apart = row is matmul and len(shape(x)) > 1 and shape(x)[:-2] != shape(node)[: len(shape(node)) - 2]
        return f"Σ {text}" if apart else text


class Edge(NamedTuple):
    """What flows from a node back to one of its inputs.

    Attributes
    ----------
    input : Value or Tensor
        The input.
    local : float, array or None
        The derivative of the node by this input alone, in a backward step; None where an operation on whole arrays,
        such as a matrix product, makes the contribution without it.
    contribution : float, array or None
        ``upstream * local``, summed where the input was broadcast: in the shape of the input.
    total : float, array or None
        What has arrived at the input so far, this contribution included.
    """

    input: Any
    local: Any = None
    contribution: Any = None
    total: Any = None


class Step(tuple[Any, ...]):
    """One node of a pass; ``print`` writes it as a formula with its numbers.

    In what is printed, ∂v/∂x is the derivative of one operation. Where x reaches v in more ways than one, ∂v/∂x⁽¹⁾ and
    ∂v/∂x⁽²⁾ are those by the first and the second place where x stands in v, and by nothing else.

    Of arrays of more than 12 numbers it prints the shape, the smallest and the largest number; ⊙ multiplies number by
    number, and Σ adds up what flows back to an input that was broadcast.

    Attributes
    ----------
    node : Value or Tensor
        The node.
    upstream : float, array or None
        In the backward pass, the derivative of the result by this node; None in the forward pass.
    edges : tuple of Edge
        One for each input, in order; in the backward pass for those that need a gradient. Arrays are read-only.
    """

    # Flat inside, (node, upstream, view, *edge, *edge), one object for the garbage collector and not four: worth 1.3
    # of a backward pass in steps.
    __slots__ = ()
    __hash__, __eq__ = object.__hash__, object.__eq__  # nodes compare as their numbers do, which says nothing here

    @property
    def node(self) -> Any:  # noqa: D102
        return self[0]

    @property
    def upstream(self) -> Any:  # noqa: D102
        return _read_only(self[1])

    @property
    def edges(self) -> tuple[Edge, ...]:  # noqa: D102
        return tuple(Edge(*map(_read_only, self[i : i + 4])) for i in range(3, len(self), 4))

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join(self._forward() if self.upstream is None else self._backward())

    def _forward(self) -> Iterator[str]:
        node, _, view, *_ = self
        parts = [view.names[node]]
        if node.prim is not None:
            parts.append(as_written(node, view.symbols(node)).text)
            if all(_few(x._value) for x in (node, *node.inputs)):
                parts.append(as_written(node, view.numbers(node), DIGITS).text)
        yield " = ".join([*parts, said(node._value)])

    def _backward(self) -> Iterator[str]:
        for i in range((len(self) - 3) // 4):
            _, _, contribution, total = self[4 * i + 3 : 4 * i + 7]
            head, tail = self.around(i)
            yield f"{head}{' = '.join([*self.product(i), said(contribution)])}{tail and tail + said(total)}"

    def around(self, i: int) -> tuple[str, str]:
        """What stands before the product of an edge, and behind it before the total, if that is said."""
        node, _, view, *_ = self
        x = self[4 * i + 3]
        place = sum(self[k] is x for k in range(3, 4 * i + 4, 4))
        count, part = len(view.users[x]), view.first_use[x, node] + place
        if count == 1:
            return f"{view.derivative(x)} = ", ""
        tail = "" if part == 1 else ", in all " if part == count else ", so far "
        return f"{view.derivative(x)}, part {part} of {count}: ", tail

    def product(self, i: int) -> list[str]:
        """How a contribution is computed: in derivatives, and in numbers where that is short."""
        node, upstream, view, *_ = self
        x, local, contribution, _ = self[4 * i + 3 : 4 * i + 7]
        place = sum(self[k] is x for k in range(3, 4 * i + 4, 4))
        names, here = view.names, view.derivative(node)
        if local is None:
            slots = [k for k, y in enumerate(node.operands) if y is x]
            return [view.flow(node, slots[place - 1])]
        arrays = type(upstream) is not float
        dot = " ⊙ " if arrays and (np.ndim(upstream) or np.ndim(local)) else " · "
        found = [f"{here}{dot}{partial(names[node], names[x], view.place(node, x, place)).text}"]
        if _few(upstream) and _few(local):
            [numbers] = products([[datum(upstream, DIGITS), datum(local, DIGITS)]], dots=(dot, r" \odot "))
            found.append(numbers.text)
        if arrays and np.size(contribution) < max(np.size(upstream), np.size(local)):
            found = [f"Σ ({text})" for text in found]
        return found


def said(x: Any) -> str:
    """A number, a small array, or of a large one the shape and the range."""
    if type(x) is float or (np.size(x) <= FEW and (np.size(x) or np.ndim(x) < 2)):
        return number(x)
    return f"{np.shape(x)}: {number(x)}" if np.size(x) else str(np.shape(x))


def _divisor(node: Node) -> int:
    """The n of a mean: how many numbers, or examples, it is of."""
    assert node.prim is not None
    x, params = node.operands[0], node.prim.params
    if "reduction" in params:
        return max(math.prod(shape(x)[:-1]), 1) if params["reduction"] == "mean" else 1
    return max(count(x, params["axis"]), 1)


def _few(x: Any) -> bool:
    return type(x) is float or np.size(x) <= FEW


def _read_only(x: Any) -> Any:
    if type(x) is not np.ndarray:
        return x
    view = x.view()
    view.flags.writeable = False
    return view


def forward_steps(f: Node) -> Iterator[Step]:
    """The forward pass, one node at a time: leaves as they are first needed, each node after its inputs.

    Parameters
    ----------
    f : Value or Tensor
        The result.

    Returns
    -------
    iterator of Step
        Each with its ``node``, an ``upstream`` of None, and ``edges`` that only know their ``input``.

    Raises
    ------
    GraphSizeError
        If the graph has more nodes than anybody steps through.
    InputError
        If `f` is no node.

    Examples
    --------
    >>> import microgad as mg
    >>> for step in forward_steps(mg.parse("(x + y) * z", x=-2, y=5, z=-4)):
    ...     print(step)
    x = -2
    y = 5
    v1 = x + y = -2 + 5 = 3
    z = -4
    f = v1 * z = 3 * (-4) = -12
    >>> *_, last = forward_steps(mg.Tensor([[1.0, 2.0]], name="x") @ mg.Tensor([[3.0], [4.0]], name="w"))
    >>> print(last)
    f = x @ w = [[1, 2]] @ [[3], [4]] = [[11]]
    """
    view = View(f, "steps")
    return (Step((node, None, view, *(part for x in node.inputs for part in Edge(x)))) for node in view.order)


def backward_steps(f: Node) -> Iterator[Step]:
    """The backward pass, one node at a time, from the result to the leaves; no `grad` is touched.

    The contributions and their order are those of `backward`, so the last ``total`` of an input is, to the last bit,
    the ``grad`` that a first backward pass gives it. Hooks are not called.

    Parameters
    ----------
    f : Value or Tensor
        The result, one number.

    Returns
    -------
    iterator of Step
        One for each node that was computed from one that needs a gradient: its ``upstream`` gradient, and for each
        input that needs one an `Edge` with ``local``, ``contribution`` and ``total``.

    Raises
    ------
    GraphSizeError
        If the graph has more nodes than anybody steps through.
    InputError
        If `f` is no node, or a Tensor that needs no gradient.
    ShapeError
        If `f` is not one number.
    DomainError
        At a step whose local derivative does not exist.

    Examples
    --------
    >>> import microgad as mg
    >>> f = mg.parse("(x + y) * z", x=-2, y=5, z=-4)
    >>> f.inputs[0].name = "q"
    >>> for step in backward_steps(f):
    ...     print(step)
    ∂f/∂q = ∂f/∂f · ∂f/∂q = 1 · (-4) = -4
    ∂f/∂z = ∂f/∂f · ∂f/∂z = 1 · 3 = 3
    ∂f/∂x = ∂f/∂q · ∂q/∂x = -4 · 1 = -4
    ∂f/∂y = ∂f/∂q · ∂q/∂y = -4 · 1 = -4
    >>> x, w = mg.Tensor([[1.0, 2.0]], name="x"), mg.Tensor([[3.0], [4.0]], requires_grad=True, name="w")
    >>> for step in backward_steps(x @ w):
    ...     print(step)
    ∂f/∂w = xᵀ ∂f/∂f = [[1], [2]]
    """
    view = View(f, "steps")
    one_number(f, "backward_steps")
    if not f.needs:
        raise no_gradient(literal(spell(f)))
    return steps_back(view)


def steps_back(view: View) -> Iterator[Step]:
    """The steps of `backward_steps` in a view that is there already."""
    root = view.order[-1]
    totals: dict[Any, Any] = {root: root.seed()} if root.needs else {}
    arrived = totals.get
    for node in reversed(view.order):
        if node.prim is not None and node in totals:
            upstream = totals[node]
            parts = [node, upstream, view]
            for x, local, contribution in node.edges(upstream):
                before = arrived(x)
                totals[x] = total = contribution if before is None else before + contribution
                parts += (x, local, contribution, total)
            if len(parts) > 3:  # a number that was taken from an array without a gradient has nobody to send one to
                yield Step(parts)

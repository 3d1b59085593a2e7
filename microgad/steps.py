"""The two passes over a graph, one node at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from .agreement import outdated
from .errors import GraphSizeError, InputError, shown
from .naming import DIGITS, all_names, literal, number
from .node import Node
from .order import topological_order
from .symbolic import Expr, as_written, numeral, partial, products, symbol

LIMIT = 100_000  # nodes; nobody reads the steps of more


class View:
    """One graph as it is shown: the order, and names that are only thought of when something is printed."""

    def __init__(self, f: Any, what: str, limit: int | None = LIMIT) -> None:
        if not isinstance(f, Node):
            raise InputError(f"{what} are those of a Value, not of {shown(f)}")
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
        """For each node those that use it, once for each use, in the order in which the backward pass comes by."""
        found: dict[Node, list[Node]] = {node: [] for node in self.order}
        for node in reversed(self.order):
            for x in node.inputs:
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
        return {x: numeral(x._data, DIGITS) for x in node.inputs}

    def derivative(self, node: Node) -> str:
        """∂f/∂node."""
        return partial(self.names[self.order[-1]], self.names[node]).text


class Edge(NamedTuple):
    """What flows from a node back to one of its inputs.

    Attributes
    ----------
    input : Value
        The input.
    local : float or None
        The derivative of the node by this input alone, in a backward step.
    contribution : float or None
        ``upstream * local``.
    total : float or None
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

    Attributes
    ----------
    node : Value
        The node.
    upstream : float or None
        In the backward pass, the derivative of the result by this node; None in the forward pass.
    edges : tuple of Edge
        One for each input, in order.
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
        return self[1]

    @property
    def edges(self) -> tuple[Edge, ...]:  # noqa: D102
        return tuple(Edge(*self[i : i + 4]) for i in range(3, len(self), 4))

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join(self._forward() if self.upstream is None else self._backward())

    def _forward(self) -> Iterator[str]:
        node, _, view, *_ = self
        parts = [view.names[node]]
        if node.prim is not None:
            parts += [as_written(node, view.symbols(node)).text, as_written(node, view.numbers(node)).text]
        yield " = ".join([*parts, number(node._data)])

    def _backward(self) -> Iterator[str]:
        node, upstream, view, *_ = self
        names, here, edges = view.names, view.derivative(node), self.edges
        for i, (x, local, contribution, total) in enumerate(edges):
            place = sum(edge.input is x for edge in edges[: i + 1])
            factors = f"{here} · {partial(names[node], names[x], view.place(node, x, place)).text}"
            [numbers] = products([[numeral(upstream, DIGITS), numeral(local, DIGITS)]])
            product = f"{factors} = {numbers.text} = {number(contribution)}"
            count, part = len(view.users[x]), view.first_use[x, node] + place
            if count == 1:
                yield f"{view.derivative(x)} = {product}"
            else:
                total = "" if part == 1 else f", {'in all' if part == count else 'so far'} {number(total)}"
                yield f"{view.derivative(x)}, part {part} of {count}: {product}{total}"


def forward_steps(f: Node) -> Iterator[Step]:
    """The forward pass, one node at a time: leaves as they are first needed, each node after its inputs.

    Parameters
    ----------
    f : Value
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
        If `f` is no Value.

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
    """
    view = View(f, "steps")
    return (Step((node, None, view, *(part for x in node.inputs for part in Edge(x)))) for node in view.order)


def backward_steps(f: Node) -> Iterator[Step]:
    """The backward pass, one node at a time, from the result to the leaves; no `grad` is touched.

    The contributions and their order are those of `Value.backward`, so the last ``total`` of an input is, to the last
    bit, the ``grad`` that a first backward pass gives it. Hooks are not called.

    Parameters
    ----------
    f : Value
        The result.

    Returns
    -------
    iterator of Step
        One for each node that was computed: its ``upstream`` gradient, and for each input an `Edge` with ``local``,
        ``contribution`` and ``total``.

    Raises
    ------
    GraphSizeError
        If the graph has more nodes than anybody steps through.
    InputError
        If `f` is no Value.
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
    """
    return steps_back(View(f, "steps"))


def steps_back(view: View) -> Iterator[Step]:
    """The steps of `backward_steps` in a view that is there already."""
    totals: dict[Any, Any] = {view.order[-1]: 1.0}
    arrived = totals.get
    for node in reversed(view.order):
        if node.prim is not None:
            upstream = totals[node]
            parts = [node, upstream, view]
            for x, local, contribution in node.edges(upstream):
                before = arrived(x)
                totals[x] = total = contribution if before is None else before + contribution
                parts += (x, local, contribution, total)
            yield Step(parts)

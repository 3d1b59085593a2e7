"""Derivatives as pure functions: of a graph, and of a Python function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .errors import InputError, shown
from .node import Node
from .order import dependents, topological_order
from .primitives import identity
from .value import Value

OPEN = replace(identity, name="variable")  # the row of a variable while its derivative is under way


def adjoints(root: Node) -> dict[Node, Any]:
    """The derivative of `root` by every node below it: a dict from node to number, no `grad` touched.

    Examples
    --------
    >>> x = Value(3.0)
    >>> adjoints(x * x)[x]
    6.0
    """
    return pull(topological_order(_result(root)))


def pull(order: list[Any], trace: bool = False, among: set[Node] | None = None) -> dict[Node, Any]:
    """The derivative of the last node of `order` by those below it; for the options see `Node.edges`."""
    found: dict[Node, Any] = {order[-1]: 1.0}
    for node in reversed(order):
        if node in found:
            for x, _, contribution in node.edges(found[node], trace, among):
                found[x] = found[x] + contribution if x in found else contribution
    return found


def grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The derivative of a function, as a function that takes the same arguments.

    Numbers give a number. A Value gives a Value, which belongs to the graph and can go backward. The call
    raises an `InputError` where the argument is missing or the result of `f` is not one number.

    Parameters
    ----------
    f : callable
        A function of numbers that returns one number, in operators and functions of `microgad`.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple the result is a tuple.

    Examples
    --------
    >>> cube = lambda x: x**3
    >>> grad(cube)(2.0), grad(grad(cube))(2.0)
    (12.0, 12.0)
    """
    if not callable(f):
        raise InputError(f"grad is that of a function, not of {shown(f)}")
    chosen = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    if any(type(i) is not int for i in chosen):
        raise InputError(f"argnums is the position of an argument, or several, not {shown(argnums)}")

    def gradient(*args: Any, **kwargs: Any) -> Any:
        if any(not -len(args) <= i < len(args) for i in chosen):
            raise InputError(f"grad by argument {argnums} of a call with {len(args)} positional arguments")
        # Each variable is a node of its own. What `f` sees of the same number by another way, as an
        # inner derivative sees the variable of an outer one, is no part of this derivative.
        variables = {i % len(args): OPEN.bind(Value, (args[i],)) for i in chosen}
        try:
            order = topological_order(_result(f(*(variables.get(i, x) for i, x in enumerate(args)), **kwargs)))
            among = dependents(order, variables.values())
            # The variable of an outer derivative stands open among them where that has to differentiate this result.
            outer = any(node.prim is OPEN and node not in among for node in order)
            trace = outer or any(isinstance(args[i], Node) for i in chosen)
            found = pull(order, trace, among)
        finally:
            for variable in variables.values():  # closed: from here on a constant, or the Value that it was given
                variable.prim = None if type(variable.a) is float else identity
        parts = ((args[i], found.get(variables[i % len(args)], 0.0)) for i in chosen)
        result = tuple(_result(part) if isinstance(x, Node) else part for x, part in parts)
        return result if isinstance(argnums, Sequence) else result[0]

    return gradient


def _result(x: Any) -> Any:
    """`x` as a node to differentiate: a Value, or a number, which depends on nothing."""
    return x if isinstance(x, Node) else Value(x)

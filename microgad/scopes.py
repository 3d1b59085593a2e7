"""Scopes: which module a node was computed in, as the name that the module leaves on its result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .node import Node
from .order import topological_order


class Scope(str):
    """The name of what a module gave, which knows the module's path and what it was called with.

    It is the node's `name`, and plain text to whoever reads that: a node has no place of its own for it, and
    needs none. What lies between the inputs and the node was computed inside.
    """

    __slots__ = ("inner", "inputs", "kind", "own", "path")
    path: str  # dotted, from the outermost module; empty for that one
    kind: str  # the class of the module
    inputs: Any  # what it was called with
    inner: Scope | None  # of a module within it, whose result this is as well
    own: bool  # whether the text is the user's, and not the path

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)  # saved graphs and copies have no modules


def enter(node: Any, path: str, kind: str, inputs: Any) -> None:
    """Say that a module gave this node."""
    before = node.name
    scope = Scope(before or path or kind)
    scope.path, scope.kind, scope.inputs = path, kind, inputs
    scope.inner = before if type(before) is Scope else None
    scope.own = bool(before) and (scope.inner is None or scope.inner.own)
    node.name = scope


def _nodes(x: Any) -> Iterable[Any]:
    if isinstance(x, Node):
        yield x
    elif isinstance(x, (list, tuple)):
        for y in x:
            yield from _nodes(y)
    elif isinstance(x, dict):
        yield from _nodes(list(x.values()))


def scopes(order: Sequence[Any]) -> dict[Any, tuple[Scope, ...]]:
    """For each node of a graph the calls of modules that it was computed in, the outermost first.

    A leaf, such as a weight, is where all that use it are.

    Examples
    --------
    >>> import microgad as mg
    >>> y = mg.nn.Sequential(mg.nn.Linear(2, 1), mg.nn.ReLU())(mg.Tensor([[1.0, 2.0]]))
    >>> [(node.op, [scope.kind for scope in found]) for node, found in scopes(topological_order(y)).items() if node.op]
    [('linear', ['Sequential', 'Linear']), ('relu', ['Sequential', 'ReLU'])]
    """
    regions: list[tuple[int, int, Scope, set[Any]]] = []
    for node in order:
        scope, depth = node.name if type(node.name) is Scope else None, 0
        while scope is not None:
            region = _region(node, set(_nodes(scope.inputs)))
            regions.append((-len(region), depth, scope, region))
            scope, depth = scope.inner, depth + 1
    inside: dict[Any, list[Scope]] = {}
    for _, _, scope, region in sorted(regions, key=lambda one: one[:2]):  # the larger one is the outer one
        for node in region:
            inside.setdefault(node, []).append(scope)
    found: dict[Any, tuple[Scope, ...]] = {}
    users: dict[Any, list[tuple[Scope, ...]]] = {}
    for node in order:
        found[node] = tuple(inside.get(node, ()))
        for x in node.inputs:
            users.setdefault(x, []).append(found[node])
    for node in order:
        if node.prim is None and node in users:
            found[node] = _common(users[node])
    return found


def _region(last: Any, inputs: set[Any]) -> set[Any]:
    """The computed nodes between the inputs of a module and its result."""
    found, waiting = set(), [last]
    while waiting:
        node = waiting.pop()
        if node not in found and node not in inputs and node.prim is not None:
            found.add(node)
            waiting += node.inputs
    return found


def _common(paths: Sequence[tuple[Scope, ...]]) -> tuple[Scope, ...]:
    first, n = paths[0], 0
    while n < len(first) and all(n < len(path) and path[n] is first[n] for path in paths):
        n += 1
    return first[:n]


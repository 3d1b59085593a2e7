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

    __slots__ = ("inner", "inputs", "module")
    module: Any  # with its dotted path from the outermost one, `_path`, which is empty there
    inputs: Any  # what it was called with
    inner: Any  # what the node was called before: if that is a Scope, of a module within, whose result this is as well

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)  # saved graphs and copies have no modules


    @property
    def kind(self) -> str:
        """The class of the module.

        Examples
        --------
        >>> import microgad as mg
        >>> mg.nn.ReLU()(mg.Tensor([1.0])).name.kind
        'ReLU'
        """
        return type(self.module).__name__

    @property
    def path(self) -> str:
        """Where the module stands in the outermost one.

        Examples
        --------
        >>> import microgad as mg
        >>> mg.nn.Sequential(mg.nn.ReLU())(mg.Tensor([1.0])).name.inner.path
        '0'
        """
        return str(self.module._path)

    @property
    def made_up(self) -> bool:
        """Whether the text is the module's, and no name that the user gave.

        Examples
        --------
        >>> import microgad as mg
        >>> mg.nn.ReLU()(mg.Tensor([1.0])).name.made_up
        True
        """
        return not self.inner or (type(self.inner) is Scope and self.inner.made_up)


def enter(node: Any, module: Any, inputs: Any) -> None:
    """Say that a module gave this node, called with these inputs.

    Examples
    --------
    >>> import microgad as mg
    >>> x = mg.Value(1.0)
    >>> y = x + 1.0
    >>> enter(y, mg.nn.ReLU(), (x,))
    >>> y.name
    'ReLU'
    """
    before = node.name
    node.name = scope = Scope(before or module._path or type(module).__name__)
    scope.module, scope.inputs, scope.inner = module, inputs, before


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
            scope, depth = scope.inner if type(scope.inner) is Scope else None, depth + 1
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


"""Scopes: which module a node was computed in, as the name that the module leaves on its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .primitive import ranks


class Scope(str):
    """The name of what a module gave, which knows the module's path and what it was called with.

    It is the node's `name`, and plain text to whoever reads that: a node has no place of its own for it, and
    needs none. What lies between the inputs and the node was computed inside. A node that gets another name gets
    another of these with it.
    """

    __slots__ = ("inner", "inputs", "module")
    module: Any  # with its dotted path from the outermost one, `_path`, which is empty there
    inputs: Any  # what it was called with
    inner: Any  # what the node was called before: if that is a Scope, of a module within, whose result this is as well

    def __reduce__(self) -> tuple[Any, ...]:
        return (str, (str(self),)) if self else (type(None), ())  # saved graphs and copies have no modules

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
    def first(self) -> Scope:
        """That of the innermost module whose result this is: the one that the text names.

        Examples
        --------
        >>> import microgad as mg
        >>> mg.nn.Sequential(mg.nn.ReLU())(mg.Tensor([1.0])).name.first.kind
        'ReLU'
        """
        scope = self
        while type(scope.inner) is Scope:
            scope = scope.inner
        return scope

    def renamed(self, name: str | None) -> Scope:
        """The same with the text that a user gives the node, which is empty where the name is taken away.

        Examples
        --------
        >>> import microgad as mg
        >>> scope = mg.nn.ReLU()(mg.Tensor([1.0])).name.renamed("y")
        >>> scope, scope.kind, scope.made_up
        ('y', 'ReLU', False)
        """
        found = Scope(name or "")
        found.module, found.inputs = self.module, self.inputs
        found.inner = self.inner.renamed(name) if type(self.inner) is Scope else name
        return found

    def above(self, now: Mapping[Any, Any], known: dict[int, Any]) -> Scope:
        """The same call in a copy of its graph, in which nodes have become others.

        `known` keeps what the calls of that graph were given, for what is one call here is one call there.

        Examples
        --------
        >>> import microgad as mg
        >>> x, copy = mg.Tensor([1.0]), mg.Tensor([1.0])
        >>> mg.nn.ReLU()(x).name.above({x: copy}, {}).inputs[0] is copy
        True
        """
        found = Scope(self)
        found.module = self.module
        if id(self.inputs) not in known:
            known[id(self.inputs)] = _replaced(self.inputs, now)
        found.inputs = known[id(self.inputs)]
        found.inner = self.inner.above(now, known) if type(self.inner) is Scope else self.inner
        return found

    @property
    def made_up(self) -> bool:
        """Whether the text is the module's, and no name that the user gave.

        Examples
        --------
        >>> import microgad as mg
        >>> mg.nn.ReLU()(mg.Tensor([1.0])).name.made_up
        True
        """
        return not self.first.inner


def enter(node: Any, module: Any, inputs: Any) -> None:
    """Say that a module gave this node, called with these inputs.

    The node is called as the module is in the outermost one, with its class in front where that begins with a number.

    Examples
    --------
    >>> import microgad as mg
    >>> x = mg.Value(1.0)
    >>> y = x + 1.0
    >>> enter(y, mg.nn.ReLU(), (x,))
    >>> y.name
    'ReLU'
    >>> mg.nn.Sequential(mg.nn.ReLU())(x).name
    'ReLU.0'
    """
    before = node._name
    if before:
        node._name = scope = Scope(before)
    else:
        path, kind = module._path, type(module).__name__
        node._name = scope = Scope(f"{kind}.{path}" if path[:1].isdigit() else path or kind)
    scope.module, scope.inputs, scope.inner = module, inputs, before


def name_above(name: Any, now: Mapping[Any, Any], known: dict[int, Any]) -> Any:
    """A node's name in a copy of its graph; of a `Scope` see `Scope.above`.

    Examples
    --------
    >>> name_above("x", {}, {})
    'x'
    """
    return name.above(now, known) if type(name) is Scope else name


def _replaced(x: Any, now: Mapping[Any, Any]) -> Any:
    """What a module was called with, with other nodes in it."""
    if type(x) in ranks:
        return now.get(x, x)
    if isinstance(x, dict):
        return {key: _replaced(y, now) for key, y in x.items()}
    return type(x)(_replaced(y, now) for y in x) if type(x) in (list, tuple) else x


class _Call:
    """One call of a module: the computed nodes between what it was given and what it gave."""

    def __init__(self, scope: Scope) -> None:
        self.scope, self.inputs = scope, nodes(scope.inputs)
        self.results: list[Any] = []
        self.at = (0, 0)  # of the last result: its place in the order, from the end, and how far inside the call is
        self.region: set[Any] = set()

    def was_given(self, leaf: Any) -> bool:
        """Whether it was called with a leaf, or with the array that has become this one."""
        if leaf.needs is not False or leaf in self.inputs:
            return leaf in self.inputs
        return any(_equal(x, leaf._value) for x in self.scope.inputs if type(x) not in ranks)


def scopes(order: Sequence[Any]) -> dict[Any, tuple[Scope, ...]]:
    """For each node of a graph the calls of modules that it was computed in, the outermost first.

    The same call is the same object wherever it stands, whatever it gave; two calls may be equal as text. A leaf, such
    as a weight, is where all that use it are, but not inside of a call that was given it, be it as a plain array.

    Examples
    --------
    >>> import microgad as mg
    >>> from microgad.order import topological_order
    >>> y = mg.nn.Sequential(mg.nn.Linear(2, 1), mg.nn.ReLU())(mg.Tensor([[1.0, 2.0]]))
    >>> [(node.op, [scope.kind for scope in found]) for node, found in scopes(topological_order(y)).items() if node.op]
    [('linear', ['Sequential', 'Linear']), ('relu', ['Sequential', 'ReLU'])]
    """
    calls: dict[tuple[int, int], _Call] = {}
    given: dict[Any, list[_Call]] = {}
    for i, node in enumerate(order):
        scope, depth = node._name, 0
        while type(scope) is Scope:
            key = id(scope.module), id(scope.inputs)
            call = calls[key] = calls.get(key) or _Call(scope)
            call.results.append(node)
            call.at = (-i, depth)
            given.setdefault(node, []).append(call)
            scope, depth = scope.inner, depth + 1
    inside: dict[Any, tuple[_Call, ...]] = {}
    for call in sorted(calls.values(), key=lambda call: call.at):  # what is called inside of another ends before it
        around = inside.get(call.results[-1], ())
        call.region = _region(call, given)
        if around:
            call.region &= around[-1].region
        inside.update(dict.fromkeys(call.region, (*around, call)))
    users: dict[Any, dict[int, tuple[_Call, ...]]] = {}  # of each leaf, each place once
    for node in order if calls else ():
        place = inside.get(node, ())
        for x in _inputs(node):
            if x.prim is None:
                users.setdefault(x, {})[id(place)] = place
    inside |= {x: _around(x, tuple(places.values())) for x, places in users.items()}
    found = {id(place): tuple([call.scope for call in place]) for place in inside.values()}
    return {node: found[id(inside[node])] if node in inside else () for node in order}


def nodes(x: Any) -> set[Any]:
    """The nodes in what a module was called with or gave, through lists, tuples and dicts.

    Examples
    --------
    >>> import microgad as mg
    >>> y = mg.Value(1.0)
    >>> nodes([2.0, {"a": (y, y)}]) == {y}
    True
    """
    found, seen, waiting = set(), set(), [x]
    while waiting:
        x = waiting.pop()
        if type(x) in ranks:
            found.add(x)
        elif isinstance(x, (list, tuple, dict)) and id(x) not in seen:
            seen.add(id(x))
            waiting += x.values() if isinstance(x, dict) else x
    return found


def _around(leaf: Any, places: Sequence[tuple[_Call, ...]]) -> tuple[_Call, ...]:
    """The calls that every use of a leaf is in, as far as they were not given it."""
    found: list[_Call] = []
    for call, *others in zip(*places, strict=False):
        if any(other is not call for other in others) or call.was_given(leaf):
            break
        found.append(call)
    return tuple(found)


def _equal(x: Any, data: Any) -> bool:
    """Whether something has the numbers of an array."""
    try:
        return bool(np.array_equal(np.asarray(x, data.dtype), data, equal_nan=True))
    except Exception:  # what a module is called with may be anything
        return False


def _region(call: _Call, given: dict[Any, list[_Call]]) -> set[Any]:
    """The computed nodes between the inputs of a call and its results.

    What another call of the same module gave is an input as well: a state that the module has kept.
    """
    found: set[Any] = set()
    module, waiting = call.scope.module, list(call.results)
    while waiting:
        node = waiting.pop()
        if node in found or node in call.inputs or node.prim is None:
            continue
        if node in given and call not in given[node] and any(x.scope.module is module for x in given[node]):
            continue
        found.add(node)
        waiting += _inputs(node)
    return found


def _inputs(node: Any) -> list[Any]:
    """`Node.inputs` of a computed node, for walks over many of them: worth 3 times."""
    a, b = node.a, node.b
    return [x for x in (a if type(a) is tuple else (a, b)) if type(x) is not float]

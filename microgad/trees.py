"""Nested lists, tuples and dicts of numbers: the arguments and results of the transforms."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import InputError, shown

LEAF = (None, range(0))
CONTAINERS = (dict, list, tuple, type(None))


@dataclass(frozen=True, repr=False)
class Structure:
    """The shape of a tree: which containers, with which keys, around how many leaves.

    Two are equal where the trees have the same containers in the same order, the keys of a dict included.

    Examples
    --------
    >>> tree_structure([1.0, (2.0,)]) == tree_structure(["a", ("b",)])
    True
    """

    nodes: tuple[tuple[Any, Sequence[Any]], ...]  # class and keys; a container stands before what it holds

    @property
    def count(self) -> int:
        """How many leaves it has.

        Examples
        --------
        >>> tree_structure([1.0, (2.0,)]).count
        2
        """
        return self.nodes.count(LEAF)

    def path(self, i: int) -> str:
        """Where node number `i` stands in the tree, as an index is written; the empty string for the tree itself.

        Examples
        --------
        >>> structure = tree_structure({"w": [1.0, 2.0]})
        >>> structure.path(0), structure.path(1), structure.path(3)
        ('', "['w']", "['w'][1]")
        """
        waiting: list[Any] = [None]
        above = []  # of each node, the number of its container, and the key there
        for n, (_, keys) in enumerate(self.nodes[: i + 1]):
            above.append(waiting.pop())
            waiting += [(n, key) for key in reversed(keys)]
        keys_back, at = [], above[i]
        while at:
            keys_back.append(f"[{at[1]!r}]")
            at = above[at[0]]
        return f"{''.join(reversed(keys_back)):.200}"

    def place(self, k: int) -> str:
        """Where leaf number `k` stands in the tree.

        Examples
        --------
        >>> tree_structure({"w": [1.0, 2.0]}).place(1)
        "['w'][1]"
        """
        return self.path([i for i, node in enumerate(self.nodes) if node == LEAF][k])

    def fold(self, leaves: Sequence[Any], made: Callable[[Any, Sequence[Any], list[Any]], Any]) -> Any:
        """The tree with these leaves, its containers `made` of their class, keys and parts.

        Examples
        --------
        >>> tree_structure([1.0, (2.0,)]).fold([3.0, 4.0], lambda kind, keys, parts: sum(parts))
        7.0
        """
        rest, parts = list(leaves), list[Any]()
        for kind, keys in reversed(self.nodes):  # so that the parts of a container are made before it
            parts.append(made(kind, keys, [parts.pop() for _ in keys]) if kind else rest.pop())
        return parts.pop()

    def __str__(self) -> str:
        return str(self.fold(["*"] * self.count, _written))

    __repr__ = __str__


ONE = Structure((LEAF,))


def _written(kind: Any, keys: Sequence[Any], parts: list[str]) -> str:
    if kind is type(None):
        return "None"
    if issubclass(kind, dict):
        return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(keys, parts, strict=True)) + "}"
    if hasattr(kind, "_fields"):
        return f"{kind.__name__}({', '.join(parts)})"
    left, right = "[]" if kind is list else "()"
    return left + ", ".join(parts) + ("," if kind is tuple and len(parts) == 1 else "") + right


def _made(kind: Any, keys: Sequence[Any], parts: list[Any]) -> Any:
    if kind is type(None):
        return None
    if issubclass(kind, dict):
        return kind(zip(keys, parts, strict=True))
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def _opened(x: Any) -> tuple[Any, Sequence[Any]]:
    """The class of a container and the keys of its parts; LEAF for a leaf."""
    if isinstance(x, dict):
        return OrderedDict if isinstance(x, OrderedDict) else dict, tuple(x)
    if isinstance(x, (list, tuple)):
        named = isinstance(x, tuple) and hasattr(x, "_fields")
        return type(x) if named else list if isinstance(x, list) else tuple, range(len(x))
    return (type(None), range(0)) if x is None else LEAF


def _said(kind: Any, keys: Sequence[Any]) -> str:
    """What stands at one place of a tree, for a message."""
    if kind is None:
        return "a leaf"
    if issubclass(kind, dict):
        return f"a dict with the keys {list(keys)!s:.200}"
    return "None" if kind is type(None) else f"a {kind.__name__} of {len(keys)}"


def tree_flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of a tree in order, and its structure, from which `tree_unflatten` makes it again.

    Lists, tuples, named tuples and dicts are containers, dicts in the order in which their keys were set; None is an
    empty one; everything else is a leaf.

    Parameters
    ----------
    tree : object
        Nested containers, or a leaf alone.

    Returns
    -------
    (list, Structure)
        The leaves, and what stands around them.

    Raises
    ------
    InputError
        If the tree holds itself.

    Examples
    --------
    >>> leaves, structure = tree_flatten({"w": [1.0, 2.0], "b": 3.0})
    >>> print(leaves, structure)
    [1.0, 2.0, 3.0] {'w': [*, *], 'b': *}
    """
    if _opened(tree) is LEAF:
        return [tree], ONE
    leaves, nodes, waiting, inside = [], [], [(tree, False)], set[int]()
    while waiting:
        x, done = waiting.pop()
        if done:
            inside.remove(id(x))
            continue
        kind, keys = _opened(x)
        nodes.append((kind, keys))
        if kind is None:
            leaves.append(x)
        elif (kind is list or kind is tuple) and not any([issubclass(k, CONTAINERS) for k in set(map(type, x))]):
            leaves += x  # of many numbers at once: worth 4 times of the whole
            nodes += [LEAF] * len(x)
        elif keys:
            if id(x) in inside:
                raise InputError(f"a tree that holds itself: {shown(x)}")
            inside.add(id(x))
            waiting += [(x, True), *((x[key], False) for key in reversed(keys))]
    return leaves, Structure(tuple(nodes))


def tree_unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The tree of that structure with these leaves.

    Parameters
    ----------
    structure : Structure
        From `tree_flatten` or `tree_structure`.
    leaves : sequence
        As many as it has leaves, in order.

    Raises
    ------
    InputError
        If there are too many leaves or too few, or `structure` is no Structure.

    Examples
    --------
    >>> leaves, structure = tree_flatten((1.0, [2.0]))
    >>> tree_unflatten(structure, "ab")
    ('a', ['b'])
    """
    if not isinstance(structure, Structure):
        raise InputError(f"a structure is what tree_flatten gives, not {shown(structure)}")
    try:
        listed = list(leaves)
    except TypeError:
        raise InputError(f"the leaves of a tree are a list, not {shown(leaves)}") from None
    if len(listed) != structure.count:
        raise InputError(f"a tree {structure!s:.200} has {structure.count} leaves, not {len(listed)}")
    return structure.fold(listed, _made)


def trees_of(structures: Sequence[Structure], leaves: Sequence[Any]) -> list[Any]:
    """Several trees, from the leaves of all of them.

    Examples
    --------
    >>> trees_of([tree_structure(0), tree_structure([0, 0])], [1.0, 2.0, 3.0])
    [1.0, [2.0, 3.0]]
    """
    rest, made = list(leaves), []
    for structure in structures:
        made.append(tree_unflatten(structure, rest[: structure.count]))
        rest = rest[structure.count :]
    return made


def tree_structure(tree: Any) -> Structure:
    """The structure of a tree: trees that differ in their leaves alone have the same.

    Parameters
    ----------
    tree : object
        Nested containers, or a leaf alone; an `InputError` if it holds itself.

    Examples
    --------
    >>> print(tree_structure([1.0, (2.0,)]))
    [*, (*,)]
    """
    return tree_flatten(tree)[1]


def tree_leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, in order.

    Parameters
    ----------
    tree : object
        Nested containers, or a leaf alone; an `InputError` if it holds itself.

    Examples
    --------
    >>> tree_leaves({"w": [1.0, 2.0], "b": 3.0})
    [1.0, 2.0, 3.0]
    """
    return tree_flatten(tree)[0]


def tree_map(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """The tree of what `f` says of each leaf, together with the leaves at the same place of the other trees.

    Parameters
    ----------
    f : callable
        Of as many arguments as there are trees.
    tree, *rest
        Nested lists, tuples and dicts of one structure, where the order of a dict's keys makes no difference.

    Returns
    -------
    tree
        In the structure of the first.

    Raises
    ------
    InputError
        If `f` is no function, the first tree holds itself, or the structures differ; the message says where.

    Examples
    --------
    >>> params, grads = {"w": [1.0, 2.0], "b": 3.0}, {"w": [0.5, 0.5], "b": -1.0}
    >>> tree_map(lambda p, g: p - 2.0 * g, params, grads)
    {'w': [0.0, 1.0], 'b': 5.0}
    """
    if not callable(f):
        raise InputError(f"tree_map applies a function to each leaf, not {shown(f)}")
    leaves, structure = tree_flatten(tree)
    columns = [leaves, *(same_structure(structure, other, "tree_map") for other in rest)]
    return structure.fold([f(*xs) for xs in zip(*columns, strict=True)], _made)


def same_structure(structure: Structure, tree: Any, what: str) -> list[Any]:
    """The leaves of another tree, in the order of `structure`; an `InputError` of `what` if it has another one.

    Examples
    --------
    >>> same_structure(tree_structure({"a": 0, "b": 0}), {"b": 2.0, "a": 1.0}, "tree_map")
    [1.0, 2.0]
    """
    leaves, waiting = [], [tree]
    for i, (kind, keys) in enumerate(structure.nodes):
        x = waiting.pop()
        got = _opened(x)
        if got[0] is not kind or (got[1] != keys and set(got[1]) != set(keys)):
            path = structure.path(i)
            raise InputError(f"{what}{path and ' at '}{path}: {_said(kind, keys)} is expected, not {shown(x)}")
        if kind is None:
            leaves.append(x)
        waiting += [x[key] for key in reversed(keys)]
    return leaves

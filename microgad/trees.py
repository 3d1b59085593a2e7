"""Nested lists, tuples and dicts of numbers: the arguments and results of the transforms."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import InputError, shown


@dataclass(frozen=True)
class Structure:
    """The shape of a tree: which containers, with which keys, around how many leaves."""

    kind: Any  # the class of the container; None for a leaf
    keys: tuple[Any, ...] = ()  # of a dict
    children: tuple[Structure, ...] = ()

    @property
    def count(self) -> int:
        """How many leaves it has."""
        return 1 if self.kind is None else sum(child.count for child in self.children)

    def __str__(self) -> str:
        if self.kind is None:
            return "*"
        if self.kind is type(None):
            return "None"
        parts = list(map(str, self.children))
        if issubclass(self.kind, dict):
            return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(self.keys, parts, strict=True)) + "}"
        left, right = "[]" if issubclass(self.kind, list) else "()"
        return left + ", ".join(parts) + ("," if left == "(" and len(parts) == 1 else "") + right


LEAF = Structure(None)


def tree_flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of a tree in order, and its structure, from which `tree_unflatten` makes it again.

    Lists, tuples, named tuples and dicts are containers, dicts in the order of their keys; None is an empty one;
    everything else is a leaf.

    Examples
    --------
    >>> leaves, structure = tree_flatten({"w": [1.0, 2.0], "b": 3.0})
    >>> print(leaves, structure)
    [1.0, 2.0, 3.0] {'w': [*, *], 'b': *}
    """
    leaves: list[Any] = []
    try:
        return leaves, _flatten(tree, leaves)
    except RecursionError:
        raise InputError("a tree that is nested too deeply, or holds itself") from None


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    if tree is None:
        return Structure(type(None))
    if isinstance(tree, dict):
        keys = tuple(tree)
        kind = OrderedDict if isinstance(tree, OrderedDict) else dict
        return Structure(kind, keys, tuple(_flatten(tree[key], leaves) for key in keys))
    if isinstance(tree, (list, tuple)):
        named = type(tree) if isinstance(tree, tuple) and hasattr(tree, "_fields") else None
        kind = named or (list if isinstance(tree, list) else tuple)
        return Structure(kind, (), tuple(_flatten(x, leaves) for x in tree))
    leaves.append(tree)
    return LEAF


def tree_unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The tree of that structure with these leaves; an `InputError` if there are too many, or too few.

    Examples
    --------
    >>> leaves, structure = tree_flatten((1.0, [2.0]))
    >>> tree_unflatten(structure, "ab")
    ('a', ['b'])
    """
    if not isinstance(structure, Structure):
        raise InputError(f"a structure is what tree_flatten gives, not {shown(structure)}")
    leaves = list(leaves)
    if len(leaves) != structure.count:
        raise InputError(f"a tree {structure} has {structure.count} leaves, not {len(leaves)}")
    return _unflatten(structure, iter(leaves))


def _unflatten(structure: Structure, leaves: Any) -> Any:
    kind = structure.kind
    if kind is None:
        return next(leaves)
    if kind is type(None):
        return None
    parts = [_unflatten(child, leaves) for child in structure.children]
    if issubclass(kind, dict):
        return kind(zip(structure.keys, parts, strict=True))
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def tree_structure(tree: Any) -> Structure:
    """The structure of a tree: trees that differ in their leaves alone have the same.

    Examples
    --------
    >>> print(tree_structure([1.0, (2.0,)]))
    [*, (*,)]
    """
    return tree_flatten(tree)[1]


def tree_leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, in order.

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
        Nested lists, tuples and dicts of one structure; else it is an `InputError`.

    Examples
    --------
    >>> params, grads = {"w": [1.0, 2.0], "b": 3.0}, {"w": [0.5, 0.5], "b": -1.0}
    >>> tree_map(lambda p, g: p - 0.1 * g, params, grads)
    {'w': [0.95, 1.95], 'b': 3.1}
    """
    if not callable(f):
        raise InputError(f"tree_map takes a function and then trees, not {shown(f)}")
    leaves, structure = tree_flatten(tree)
    columns = [leaves, *(same_structure(structure, other, "tree_map") for other in rest)]
    return tree_unflatten(structure, [f(*xs) for xs in zip(*columns, strict=True)])


def same_structure(structure: Structure, tree: Any, what: str) -> list[Any]:
    """The leaves of another tree, in the order of `structure`; an error of `what` if it has another one."""
    leaves: list[Any] = []

    def walk(want: Structure, x: Any, path: str) -> None:
        if want.kind is None:
            if isinstance(x, (list, tuple, dict)) or x is None:
                raise InputError(f"{what}: the trees differ{path}: one has a leaf there, the other {shown(x)}")
            leaves.append(x)
            return
        got = tree_structure(x)
        if got.kind is not want.kind or len(got.children) != len(want.children) or set(got.keys) != set(want.keys):
            raise InputError(f"{what}: the trees differ{path}: one is {want}, the other {got}")
        parts = [x[key] for key in want.keys] if want.keys else x or ()
        for i, (child, part) in enumerate(zip(want.children, parts, strict=True)):
            walk(child, part, f"{path or ' at '}[{want.keys[i] if want.keys else i!r}]")

    walk(structure, tree, "")
    return leaves

"""Copies and pickles of graphs, in which rows of the table stay what they are."""

from __future__ import annotations

import copyreg
from typing import Any

from .errors import FormatError, InputError
from .node import Node
from .order import EMPTY, topological_order
from .primitive import Primitive
from .primitives import TABLE


def deep_copy(root: Node, memo: dict[int, Any]) -> Any:
    """What `copy.deepcopy` makes of a node: without recursion, however long the graph."""
    for node in topological_order(root):
        if id(node) not in memo:
            memo[id(node)] = twin = object.__new__(type(node))
            for slot in Node.__slots__:
                x = getattr(node, slot)
                twins = tuple(memo.get(id(y), y) for y in x) if type(x) is tuple else memo.get(id(x), x)
                setattr(twin, slot, twins)
    return memo[id(root)]


def restore(node: Node, state: tuple[None, dict[str, Any]]) -> None:
    """Fill an unpickled node; a pickle keeps the number that `EMPTY` is, and not that it is EMPTY."""
    for slot, x in state[1].items():
        setattr(node, slot, x)
    if node.prim is None or len(node.prim.partials or node.prim.vjp) != 2:
        node.b = EMPTY


def by_name(name: str) -> Primitive:
    """The row of that name, which is what a pickled one becomes again."""
    if name not in TABLE:
        raise FormatError(f"the pickle needs the primitive {name}: define it with mg.primitive first")
    return TABLE[name]


def _reduced(row: Primitive) -> tuple[Any, tuple[str]]:
    if TABLE.get(row.name) is not row:
        raise InputError(f"a node of {row.name} cannot be pickled: that row is not, or no longer, in the table")
    return by_name, (row.name,)


copyreg.pickle(Primitive, _reduced)

"""Copies and pickles of graphs, in which rows of the table stay what they are, and arrays are copied."""

from __future__ import annotations

import copy
import copyreg
from typing import Any

import numpy as np

from .errors import FormatError, InputError
from .node import Node
from .order import EMPTY, topological_order
from .primitive import Primitive
from .primitives import TABLE
from .scopes import Scope
from .structural import ROWS, Each


def deep_copy(root: Node, memo: dict[int, Any]) -> Any:
    """What `copy.deepcopy` makes of a node: without recursion, however long the graph."""
    slots: dict[type, list[str]] = {}
    for node in topological_order(root):
        if id(node) not in memo:
            kind = type(node)
            memo[id(node)] = twin = object.__new__(kind)
            if kind not in slots:
                slots[kind] = [slot for base in kind.__mro__ for slot in getattr(base, "__slots__", ())]
            for slot in slots[kind]:
                x = None if slot == "frame" else getattr(node, slot)  # of a jitted call: it knows these leaves
                if type(x) is tuple:
                    x = tuple(memo.get(id(y), y) for y in x)
                elif isinstance(x, np.ndarray):
                    x = copy.deepcopy(x, memo)
                elif type(x) is Scope:
                    x = str(x) or None  # the module that it knows is none of the copy's
                else:
                    x = memo.get(id(x), x)
                setattr(twin, slot, x)
            twin.mark = None  # of a walk that knows nothing of the copy
    return memo[id(root)]


def restore(node: Node, state: tuple[None, dict[str, Any]]) -> None:
    """Fill an unpickled or copied node; a pickle keeps the number that `EMPTY` is, and not that it is EMPTY."""
    for slot, x in state[1].items():
        setattr(node, slot, x)
    node.mark = None
    if isinstance(node.grad, np.ndarray):
        node.grad = np.array(node.grad)
    if node.prim is None:
        node.b = EMPTY
        if isinstance(node._value, np.ndarray):
            node._value = np.array(node._value)  # which may be changed in place
    elif node.b is not EMPTY and type(node.b) is float and not _takes_two(node):
        node.b = EMPTY


def _takes_two(node: Node) -> bool:
    row: Any = node.prim
    if isinstance(row.vjp, Each):  # any number of operands: only `stack` keeps a plain number among them
        return bool(row.name == "stack" and np.shape(node._value)[row.params["axis"]] == 2)
    return len(row.partials or row.vjp) == 2


def by_name(name: str, params: dict[str, Any] | None = None) -> Primitive:
    """The row of that name, which is what a pickled one becomes again; a structural one with its `params`."""
    rows = TABLE if params is None else ROWS
    if name not in rows:
        raise FormatError(f"the pickle needs the primitive {name}: define it with mg.primitive first")
    return rows[name].given(**params) if params else rows[name]


def of_row(row: Primitive) -> bool:
    """Whether a row is a structural one of ours, with parameters or without."""
    known = ROWS.get(row.name)
    return known is not None and known.vjp is row.vjp and known.array is row.array


def _reduced(row: Primitive) -> tuple[Any, tuple[Any, ...]]:
    if TABLE.get(row.name) is row:
        return by_name, (row.name,)
    if of_row(row):
        return by_name, (row.name, dict(row.params))
    raise InputError(f"a node of {row.name} cannot be pickled: that row is not, or no longer, in the table")


copyreg.pickle(Primitive, _reduced)

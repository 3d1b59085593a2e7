"""Graphs as JSON text: saved with `to_json`, loaded with `from_json`, which runs nothing of what it reads.

A saved graph is an object of four fields::

    {"format": "microgad.graph", "version": 1, "root": 2, "nodes": [
      {"op": null, "operands": [], "data": 3.0, "name": "x", "grad": 6.0},
      {"op": "mul", "operands": [0, 0], "data": 9.0},
      {"op": "sub", "operands": [1, {"constant": 2.0}], "data": 7.0}
    ]}

format
    The text ``"microgad.graph"``.
version
    The integer 1, or 2 where the graph has Tensors.
root
    The index of the result among `nodes`, counted from 0. As the result is no operand, it is the last.
nodes
    The nodes, operands before the nodes that use them; the root is reached from each. A node is an object of

    op
        The name of the operation, such as ``"add"``: a row of `microgad.primitives.TABLE`; null for a leaf.
    operands
        A list, in order: the index of an earlier node, or ``{"constant": number}`` for a plain number. It is
        empty for a leaf; otherwise it holds at least one node.
    data
        The number.
    name
        Text; only where the node has a name.
    grad
        A number; only where the node has a gradient.

A number is a JSON number, or one of the strings ``"nan"``, ``"inf"`` and ``"-inf"``. No other fields are allowed.

In version 2 a node may be a Tensor, which has two or three fields more, and arrays in `data` and `grad`::

    {"format": "microgad.graph", "version": 2, "root": 1, "nodes": [
      {"op": null, "operands": [], "shape": [2, 2], "dtype": "float64", "data": [[1.0, 2.0], [3.0, 4.0]],
       "requires_grad": true, "name": "x"},
      {"op": "sum", "params": {"axis": [0], "keepdims": false}, "operands": [0],
       "shape": [2], "dtype": "float64", "data": [4.0, 6.0], "requires_grad": true}
    ]}

shape
    A list with the length of each axis.
dtype
    ``"float64"`` or ``"float32"``.
data, grad
    Lists in lists of numbers, of these lengths; a number where `shape` is empty.
requires_grad
    Whether the node needs a gradient: true, or false where it is missing.

An operation on whole arrays, a row of `microgad.structural.ROWS`, has its parameters in a field more:

params
    An object, empty for an operation without parameters. ``axis`` is null, an axis counted from 0, or a list of axes;
    ``keepdims`` true or false; ``axes`` and ``at`` are lists of integers; ``to`` is a shape, or a dtype for ``"cast"``;
    ``reduction`` is "mean", "sum" or "none". ``key``, an index, is a list of integers, of nulls for a new axis,
    ``"..."``, ``{"slice": [start, stop, step]}`` and ``{"dtype": "int64", "shape": [2], "data": [0, 1]}``, an array,
    whose dtype may also be ``"bool"``.

No array is made that is larger than what the text contains: the size of a result is found out before it is computed.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from .agreement import agree, now
from .array_functions import as_array
from .copying import of_row
from .errors import AnomalyError, FormatError, InputError, MicrogadError, shown, spell
from .naming import literal
from .node import Node
from .order import topological_order
from .primitive import Primitive
from .primitives import TABLE
from .recording import recording
from .replay.expand import expanded
from .saved_arrays import DTYPES, a_dtype, a_shape, array, fit, listed, parameter, readers
from .saved_text import AGAIN, Twice, check, fail, number, read, what, whole, written
from .structural import ROWS, Each
from .tensor import Tensor, leaf
from .value import Value

FORMAT, SCALARS, ARRAYS = "microgad.graph", 1, 2  # the versions
ROOM = 1_000_000  # numbers; an empty array of (0, n) may have so many along its other axes, however short the text is


def to_json(f: Node, *, indent: int | None = None) -> str:
    """A graph as JSON text: what `from_json` reads back with every bit, name and gradient.

    Parameters
    ----------
    f : Value or Tensor
        The result; the graph is all that it was computed from. A call of a jitted function is saved as what that
        computes.
    indent : int, optional
        Spaces for each level, for people to read; by default all is one line.

    Returns
    -------
    str
        An object with the fields ``"format"`` ("microgad.graph"), ``"version"`` (1, or 2 with Tensors), ``"root"`` and
        ``"nodes"``. Nodes stand in topological order, `root` is the index of the result among them. Each has ``"op"``,
        the name of the operation or null for a leaf, ``"operands"``, each the index of an earlier node or
        ``{"constant": number}``, ``"data"``, and where there is one ``"name"`` and ``"grad"``; Tensors have a
        ``"shape"`` and a ``"dtype"``, too. nan and the infinities are the strings "nan", "inf" and "-inf". The text is
        ASCII; the documentation of `microgad.serial` says all of it.

    Raises
    ------
    InputError
        If `f` is no node, or its graph cannot be saved: it has an operation that is not in the table, a name that is
        no text, or data that changed after something was computed from it.

    Examples
    --------
    >>> x = Value(3.0, "x")
    >>> print(to_json(x - 2.0))  # doctest: +NORMALIZE_WHITESPACE
    {"format": "microgad.graph", "version": 1, "root": 1, "nodes":
     [{"op": null, "operands": [], "data": 3.0, "name": "x"},
      {"op": "sub", "operands": [0, {"constant": 2.0}], "data": 1.0}]}
    """
    if not isinstance(f, Node):
        raise InputError(f"to_json saves the graph of a Value, not {shown(f)}")
    order = topological_order(expanded(f))
    index = {node: i for i, node in enumerate(order)}
    nodes = [_entry(node, index) for node in order]
    arrays = any(isinstance(node, Tensor) for node in order)
    graph = {"format": FORMAT, "version": ARRAYS if arrays else SCALARS, "root": len(order) - 1, "nodes": nodes}
    return json.dumps(graph, indent=indent, allow_nan=False)


def _entry(node: Node, index: dict[Node, int]) -> dict[str, Any]:
    """A node as it is saved."""
    row, data, name = node.prim, node._value, node.name
    tensor = isinstance(node, Tensor)
    if not tensor and not isinstance(data, float):
        _refuse(node, index, f"it holds {shown(data)}, and a Value holds one number")
    operands = [{"constant": written(x)} if type(x) is float else index[x] for x in node.operands]
    entry: dict[str, Any] = {"op": None if row is None else row.name}
    if row is not None and TABLE.get(row.name) is not row:
        if not of_row(row):
            _refuse(node, index, f"it was made by {row.name}, which is not, or no longer, in the table of primitives")
        entry["params"] = {key: parameter(x) for key, x in row.params.items()}
    entry["operands"] = operands
    if tensor:
        if data.dtype.name not in DTYPES or math.prod(n or 1 for n in data.shape) > max(ROOM, data.size):
            _refuse(node, index, f"it holds an array of shape {data.shape} and dtype {data.dtype}")
        entry |= {"shape": list(data.shape), "dtype": data.dtype.name}
    entry["data"] = listed(data) if tensor else written(data)
    if tensor and node.needs:
        entry["requires_grad"] = True
    # What does not agree would not load: a graph is no longer one computation once the data of a leaf was set.
    with np.errstate(all="ignore"):
        given = data if row is None else now(node)
    if row is not None and not agree(data, given, node):
        give = f"is {data!r}, but its operands as they are now give: {given}"
        if tensor:
            give = f"holds other numbers than its operands as they are now give{_reason(given)}"
        _refuse(node, index, f"it {give}; compute it again")
    if name is not None:
        if not isinstance(name, str) or not whole(name):
            _refuse(node, index, f"its name has to be text of whole characters, not {shown(name)}")
        entry["name"] = name
    if node.grad is not None:
        try:
            entry["grad"] = listed(_as_grad(node)) if tensor else written(Value.constant(node.grad))
        except MicrogadError:
            only = f"arrays of the node's shape, {data.shape}, and dtype" if tensor else "numbers"
            _refuse(node, index, f"its grad is {shown(node.grad)}, and only {only} are supported yet")
    return entry


def _as_grad(node: Node) -> np.ndarray[Any, Any]:
    """The gradient of a Tensor, as its own arrays are; an `InputError` if it is another."""
    made = as_array(node.grad, node._value.dtype)
    if made.shape != node._value.shape or not np.array_equal(made, np.asarray(node.grad), equal_nan=True):
        raise InputError("no gradient of this node")
    return made


def _reason(given: Any) -> str:
    return f": {given}" if isinstance(given, Exception) else ""


def _refuse(node: Node, index: dict[Node, int], problem: str) -> NoReturn:
    raise InputError(literal(f"node {index[node]}, {spell(node)}, cannot be saved: {problem}")) from None


def from_json(text: str | bytes) -> Value | Tensor:
    """The graph that `to_json` saved, as new Values and Tensors.

    The text may come from anyone: nothing in it is executed, and all of it is checked. Leaves are made as they are
    said, and every operation is computed again by its row of the table. Its result has to agree with the one in the
    text, which is kept to the last bit: the mathematical functions of two machines may differ there.

    Parameters
    ----------
    text : str or bytes
        The JSON text; bytes in UTF-8.

    Returns
    -------
    Value or Tensor
        The result; its ``inputs`` lead to the leaves.

    Raises
    ------
    FormatError
        With what is wrong and where, if the text is not a saved graph: truncated, changed, of another version, or
        with an operation that is not known here.

    Examples
    --------
    >>> x = Value(3.0, "x")
    >>> f = x * x
    >>> f.backward()
    >>> g = from_json(to_json(f))
    >>> g, g.inputs[0]
    (Value(data=9.0, grad=1.0), Value(data=3.0, grad=6.0, name='x'))
    """
    graph = read(text)
    if type(graph) is not dict:
        check(graph, "the text", set())
    if graph.get("format") != FORMAT:
        has = f"the format {what(graph['format'])}" if "format" in graph else "no format"
        fail("the text", f'it has {has}, where a saved graph has "{FORMAT}"')
    version = graph.get("version")
    if type(version) is not int or version not in (SCALARS, ARRAYS):
        newer = type(version) is int and version > ARRAYS
        advice = "a newer microgad may: pip install --upgrade microgad" if newer else AGAIN
        reads = f"this microgad reads versions {SCALARS} and {ARRAYS}"
        fail("the text", f"its version is {what(version)}, and {reads}", advice)
    check(graph, "the text", {"format", "version", "root", "nodes"})
    root, entries = graph["root"], graph["nodes"]
    if type(entries) is not list:
        fail('"nodes"', f"it has to be a list, not {what(entries)}")
    if not entries:
        fail('"nodes"', "it is empty, and a graph has at least its result")
    if type(root) is not int or not 0 <= root < len(entries):
        fail('"root"', f"it has to be the index of one of {len(entries):,} nodes, counted from 0, not {what(root)}")
    nodes: list[Any] = []
    used = {root}
    entries.reverse()
    room = max(ROOM, len(text)) if version == ARRAYS else 0
    with recording(), np.errstate(all="ignore"):
        while entries:  # each is freed when its node is there
            nodes.append(_node(entries.pop(), nodes, used, room))
    for i in range(len(nodes)):
        if i not in used:
            fail(i, f"no other node uses it, and it is not the root, which is node {root}")
    return nodes[root]  # type: ignore[no-any-return]


NEEDED, ALLOWED = {"op", "operands", "data"}, {"name", "grad"}
OF_TENSORS = {"shape", "dtype"}


def _node(entry: Any, nodes: Sequence[Any], used: set[int], room: int) -> Any:
    """The node that an entry stands for; `nodes` are those before it, and `used` gets the indices of its operands.

    `room` is how many numbers an array may hold; it is 0 in version 1, which has no arrays.
    """
    i = len(nodes)
    data: Any
    node: Any
    tensor = room > 0 and type(entry) is dict and not entry.keys().isdisjoint({*OF_TENSORS, "requires_grad"})
    if tensor:
        check(entry, i, NEEDED | OF_TENSORS, ALLOWED | {"params", "requires_grad"})
        dtype = a_dtype(entry["dtype"], i, "dtype")
        of = a_shape(entry["shape"], i, "shape", room)
        data = array(entry["data"], of, dtype, i, "data")
    else:
        check(entry, i, NEEDED, ALLOWED | {"params"} if room else ALLOWED)
        data = number(entry["data"], i, "data")
    op, listed = entry["op"], entry["operands"]
    if type(listed) is not list:
        fail(i, f'"operands" has to be a list, not {what(listed)}')
    operands: list[Any] = []
    for x in listed:
        if type(x) is int:
            if not 0 <= x < i:
                fail(i, f"an operand has to be the index of an earlier node, not {what(x)}: cyclic or out of order")
            operands.append(nodes[x])
            used.add(x)
        elif type(x) in (dict, Twice):
            check(x, i, {"constant"})
            operands.append(number(x["constant"], i, "constant"))
        else:
            fail(i, f'an operand has to be the index of an earlier node or {{"constant": number}}, not {what(x)}')
    if op is None and not operands and "params" not in entry:
        node = leaf(data) if tensor else Value(data)
    else:
        row = _row(op, operands, entry, i, room)
        node = _computed(row, operands, data, i)
    if tensor:
        needs = entry.get("requires_grad", False)
        if type(needs) is not bool:
            fail(i, f'"requires_grad" has to be true or false, not {what(needs)}')
        node.needs = needs
    if "name" in entry:
        name = entry["name"]
        if type(name) is not str or not whole(name):
            fail(i, f'"name" has to be text of whole characters, not {what(name)}')
        node.name = name
    if "grad" in entry:
        node.grad = array(entry["grad"], of, dtype, i, "grad") if tensor else number(entry["grad"], i, "grad")
    return node


def _row(op: Any, operands: Sequence[Any], entry: Any, i: int, room: int) -> Primitive:
    """The row of an operation, with its parameters; an error if it does not take these operands."""
    if op is None:
        fail(i, f"a leaf, whose op is null, has no operands, not {len(operands)}")
    structural = "params" in entry
    rows = ROWS if structural else TABLE
    row = rows.get(op) if type(op) is str else None
    if row is None:
        if type(op) is str and room and not structural and op in ROWS:
            fail(i, f'the field "params" is missing, which {op} has')
        near = difflib.get_close_matches(op, rows, 1) if type(op) is str else []
        hint = f", did you mean {near[0]}?" if near else ""
        advice = "one made with mg.primitive has to be defined before a graph that uses it is loaded"
        fail(i, f"there is no operation {what(op)} here{hint}", AGAIN if structural else advice)
    takes = len(row.partials or row.vjp)
    if len(operands) != takes and not isinstance(row.vjp, Each):
        fail(i, f"{op} takes {takes} operand{'s' * (takes != 1)}, not {len(operands)}")
    if all(type(x) is float for x in operands):
        fail(i, f"none of the operands of {op} is a node: what is computed from numbers alone is a leaf")
    if not structural:
        return row
    reads = readers(row.name)
    check(entry["params"], f"node {i}, params", set(reads))
    given = {key: reader(entry["params"][key], i, key, room) for key, reader in reads.items()}
    return row.given(**given) if given else row


def _computed(row: Primitive, operands: list[Any], data: Any, i: int) -> Node:
    """The node of an operation, with its data from the text, which has to agree with what comes out here."""
    tensor = type(data) is not float
    arrays = any(type(x) is not float and type(x._value) is not float for x in operands)
    if tensor != (bool(row.rank) if row.vjp else arrays):
        gives = "a Value, which has no shape" if tensor else "a Tensor, which has a shape"
        fail(i, f"{row.name} of these operands gives {gives}")
    if tensor or arrays:
        fit(row, operands, data, i)
    try:
        node: Node = row.bind(Tensor if tensor else Value, operands)
        agreed = agree(data, node._value, node)
    except AnomalyError:  # asked for with detect_anomaly: the text is not at fault
        raise
    except Exception as error:  # an operation that somebody defined may raise anything
        raise FormatError(literal(f"node {i}: {row.name} cannot be computed: {error}; {AGAIN}")) from error
    if not agreed and not tensor:
        fail(i, f"its data is {data!r}, but {row.name} of its operands is {node._value!r}")
    if not agreed:
        has, gives = (f"of shape {x.shape} and dtype {x.dtype}" for x in (data, node._value))
        other = "other numbers" if has == gives else f"numbers {gives}"
        fail(i, f"its data is {has}, but {row.name} of its operands gives {other}")
    node._value = data
    return node

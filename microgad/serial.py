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
    The value true; only where the node needs a gradient.

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
import inspect
import json
import math
from collections.abc import Callable, Sequence, Set
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

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
from .structural import ROWS, Each, cast, item, linear, shape
from .tensor import Tensor, leaf
from .value import Value

FORMAT, SCALARS, ARRAYS = "microgad.graph", 1, 2  # the versions
ROOM = 1_000_000  # numbers; an empty array of (0, n) may have so many along its other axes, however short the text is
DTYPES = ("float64", "float32")
AGAIN = "save the graph again with to_json, or correct the text"
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(f: Node, *, indent: int | None = None) -> str:
    """A graph as JSON text: what `from_json` reads back with every bit, name and gradient.

    Parameters
    ----------
    f : Value or Tensor
        The result; the graph is all that it was computed from.
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
    order = topological_order(f)
    index = {node: i for i, node in enumerate(order)}
    nodes = [_entry(node, index) for node in order]
    arrays = any(isinstance(node, Tensor) for node in order)
    graph = {"format": FORMAT, "version": ARRAYS if arrays else SCALARS, "root": len(order) - 1, "nodes": nodes}
    return json.dumps(graph, indent=indent, allow_nan=False)


def _entry(node: Node, index: dict[Node, int]) -> dict[str, Any]:
    """A node as it is saved."""
    row, data, name = node.prim, node._data, node.name
    tensor = isinstance(node, Tensor)
    if not tensor and not isinstance(data, float):
        _refuse(node, index, f"it holds {shown(data)}, and a Value holds one number")
    operands = [{"constant": _written(x)} if type(x) is float else index[x] for x in node.operands]
    entry: dict[str, Any] = {"op": None if row is None else row.name}
    if row is not None and TABLE.get(row.name) is not row:
        if not of_row(row):
            _refuse(node, index, f"it was made by {row.name}, which is not, or no longer, in the table of primitives")
        entry["params"] = {key: _parameter(x) for key, x in row.params.items()}
    entry["operands"] = operands
    if tensor:
        if data.dtype.name not in DTYPES or math.prod(n or 1 for n in data.shape) > max(ROOM, data.size):
            _refuse(node, index, f"it holds an array of shape {data.shape} and dtype {data.dtype}")
        entry |= {"shape": list(data.shape), "dtype": data.dtype.name}
    entry["data"] = _listed(data) if tensor else _written(data)
    if tensor and node.requires_grad:
        entry["requires_grad"] = True
    # What does not agree would not load: a graph is no longer one computation once the data of a leaf was set.
    if row is not None and not agree(data, given := now(node), node):
        give = f"is {data!r}, but its operands as they are now give: {given}"
        if tensor:
            give = f"holds other numbers than its operands as they are now give{_reason(given)}"
        _refuse(node, index, f"it {give}; compute it again")
    if name is not None:
        if not isinstance(name, str) or not _whole(name):
            _refuse(node, index, f"its name has to be text of whole characters, not {shown(name)}")
        entry["name"] = name
    if node.grad is not None:
        try:
            entry["grad"] = _listed(_as_grad(node)) if tensor else _written(Value.constant(node.grad))
        except MicrogadError:
            only = f"arrays of the node's shape, {data.shape}, and dtype" if tensor else "numbers"
            _refuse(node, index, f"its grad is {shown(node.grad)}, and only {only} are supported yet")
    return entry


def _as_grad(node: Node) -> np.ndarray[Any, Any]:
    """The gradient of a Tensor, as its own arrays are; an `InputError` if it is another."""
    made = as_array(node.grad, node._data.dtype)
    if made.shape != node._data.shape or not np.array_equal(made, np.asarray(node.grad), equal_nan=True):
        raise InputError("no gradient of this node")
    return made


def _listed(x: Any) -> Any:
    """An array as lists in lists."""

    def written(part: Any) -> Any:
        return list(map(written, part)) if type(part) is list else _written(part)

    return x.tolist() if np.isfinite(x).all() else written(x.tolist())


def _parameter(x: Any) -> Any:
    """A parameter of an operation, or a part of one, as JSON has it."""
    if isinstance(x, tuple):
        return list(map(_parameter, x))
    if isinstance(x, slice):
        return {"slice": [x.start, x.stop, x.step]}
    if isinstance(x, np.ndarray):
        kept = x if x.dtype == bool else x.astype(np.int64)
        return {"dtype": kept.dtype.name, "shape": list(kept.shape), "data": kept.tolist()}
    return "..." if x is Ellipsis else x.name if isinstance(x, np.dtype) else x


def _reason(given: Any) -> str:
    return f": {given}" if isinstance(given, Exception) else ""


def _refuse(node: Node, index: dict[Node, int], problem: str) -> NoReturn:
    raise InputError(literal(f"node {index[node]}, {spell(node)}, cannot be saved: {problem}")) from None


def from_json(text: str | bytes) -> Node:
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
    graph = _read(text)
    if type(graph) is not dict:
        _check(graph, "the text", set())
    if graph.get("format") != FORMAT:
        has = f"the format {_what(graph['format'])}" if "format" in graph else "no format"
        _fail("the text", f'it has {has}, where a saved graph has "{FORMAT}"')
    version = graph.get("version")
    if type(version) is not int or version not in (SCALARS, ARRAYS):
        newer = type(version) is int and version > ARRAYS
        advice = "a newer microgad may: pip install --upgrade microgad" if newer else AGAIN
        reads = f"this microgad reads versions {SCALARS} and {ARRAYS}"
        _fail("the text", f"its version is {_what(version)}, and {reads}", advice)
    _check(graph, "the text", {"format", "version", "root", "nodes"})
    root, entries = graph["root"], graph["nodes"]
    if type(entries) is not list:
        _fail('"nodes"', f"it has to be a list, not {_what(entries)}")
    if not entries:
        _fail('"nodes"', "it is empty, and a graph has at least its result")
    if type(root) is not int or not 0 <= root < len(entries):
        _fail('"root"', f"it has to be the index of one of {len(entries):,} nodes, counted from 0, not {_what(root)}")
    nodes: list[Node] = []
    used = {root}
    entries.reverse()
    room = max(ROOM, len(text)) if version == ARRAYS else 0
    with recording(), np.errstate(all="ignore"):
        while entries:  # each is freed when its node is there
            nodes.append(_node(entries.pop(), nodes, used, room))
    for i in range(len(nodes)):
        if i not in used:
            _fail(i, f"no other node uses it, and it is not the root, which is node {root}")
    return nodes[root]


NEEDED, ALLOWED = {"op", "operands", "data"}, {"name", "grad"}
OF_TENSORS = {"shape", "dtype"}


def _node(entry: Any, nodes: list[Node], used: set[int], room: int) -> Node:
    """The node that an entry stands for; `nodes` are those before it, and `used` gets the indices of its operands.

    `room` is how many numbers an array may hold; it is 0 in version 1, which has no arrays.
    """
    i = len(nodes)
    tensor = room > 0 and type(entry) is dict and not entry.keys().isdisjoint({*OF_TENSORS, "requires_grad"})
    if tensor:
        _check(entry, i, NEEDED | OF_TENSORS, ALLOWED | {"params", "requires_grad"})
        dtype = _dtype(entry["dtype"], i, "dtype")
        of = _shape(entry["shape"], i, "shape", room)
        data = _array(entry["data"], of, dtype, i, "data")
    else:
        _check(entry, i, NEEDED, ALLOWED | {"params"} if room else ALLOWED)
        data = _number(entry["data"], i, "data")
    op, listed = entry["op"], entry["operands"]
    if type(listed) is not list:
        _fail(i, f'"operands" has to be a list, not {_what(listed)}')
    operands: list[Any] = []
    for x in listed:
        if type(x) is int:
            if not 0 <= x < i:
                _fail(i, f"an operand has to be the index of an earlier node, not {_what(x)}: cyclic or out of order")
            operands.append(nodes[x])
            used.add(x)
        elif type(x) in (dict, _Twice):
            _check(x, i, {"constant"})
            operands.append(_number(x["constant"], i, "constant"))
        else:
            _fail(i, f'an operand has to be the index of an earlier node or {{"constant": number}}, not {_what(x)}')
    node: Node
    if op is None and not operands and "params" not in entry:
        node = leaf(data) if tensor else Value(data)
    else:
        row = _row(op, operands, entry.get("params"), i, room)
        node = _computed(row, operands, data, i)
    if tensor:
        needs = entry.get("requires_grad", False)
        if type(needs) is not bool:
            _fail(i, f'"requires_grad" has to be true or false, not {_what(needs)}')
        node.requires_grad = needs
    if "name" in entry:
        name = entry["name"]
        if type(name) is not str or not _whole(name):
            _fail(i, f'"name" has to be text of whole characters, not {_what(name)}')
        node.name = name
    if "grad" in entry:
        node.grad = _array(entry["grad"], of, dtype, i, "grad") if tensor else _number(entry["grad"], i, "grad")
    return node


def _row(op: Any, operands: Sequence[Any], params: Any, i: int, room: int) -> Primitive:
    """The row of an operation, with its parameters; an error if it does not take these operands."""
    if op is None:
        _fail(i, f"a leaf, whose op is null, has no operands, not {len(operands)}")
    rows = TABLE if params is None else ROWS
    row = rows.get(op) if type(op) is str else None
    if row is None:
        if type(op) is str and room and params is None and op in ROWS:
            _fail(i, f'the field "params" is missing, which {op} has')
        near = difflib.get_close_matches(op, rows, 1) if type(op) is str else []
        hint = f", did you mean {near[0]}?" if near else ""
        advice = "one made with mg.primitive has to be defined before a graph that uses it is loaded"
        _fail(i, f"there is no operation {_what(op)} here{hint}", AGAIN if params is not None else advice)
    takes = len(row.partials or row.vjp)
    if len(operands) != takes and not isinstance(row.vjp, Each):
        _fail(i, f"{op} takes {takes} operand{'s' * (takes != 1)}, not {len(operands)}")
    if all(type(x) is float for x in operands):
        _fail(i, f"none of the operands of {op} is a node: what is computed from numbers alone is a leaf")
    if params is None:
        return row
    readers = _readers(row.name)
    _check(params, f"node {i}, params", set(readers))
    given = {key: reader(params[key], i, key, room) for key, reader in readers.items()}
    return row.given(**given) if given else row


def _computed(row: Primitive, operands: list[Any], data: Any, i: int) -> Node:
    """The node of an operation, with its data from the text, which has to agree with what comes out here."""
    tensor = type(data) is not float
    arrays = any(type(x) is not float and type(x._data) is not float for x in operands)
    if tensor != (bool(row.rank) if row.vjp else arrays):
        gives = "a Value, which has no shape" if tensor else "a Tensor, which has a shape"
        _fail(i, f"{row.name} of these operands gives {gives}")
    if tensor or arrays:
        _fit(row, operands, data, i)
    try:
        node: Node = row.bind(Tensor if tensor else Value, operands)
        agreed = agree(data, node._data, node)
    except AnomalyError:  # asked for with detect_anomaly: the text is not at fault
        raise
    except Exception as error:  # an operation that somebody defined may raise anything
        raise FormatError(literal(f"node {i}: {row.name} cannot be computed: {error}; {AGAIN}")) from error
    if not agreed and not tensor:
        _fail(i, f"its data is {data!r}, but {row.name} of its operands is {node._data!r}")
    if not agreed:
        has, gives = (f"of shape {x.shape} and dtype {x.dtype}" for x in (data, node._data))
        numbers = "but with other numbers" if has == gives else f"but {gives}"
        _fail(i, f"its data is {has}, and so is what {row.name} of its operands gives, {numbers}")
    node._data = data
    return node


def _fit(row: Primitive, operands: Sequence[Any], data: Any, i: int) -> None:
    """Raise where an operation would make an array of another size than the text says, before it does so."""
    shapes = [() if type(x) is float else shape(x) for x in operands]
    try:
        size = _size(row, shapes, row.params)
    except (ValueError, IndexError):
        said = " and ".join(map(str, shapes[:3]))
        _fail(i, f"{row.name} does not take operands of shape {said}" + (f": it needs {row.domain}" * bool(row.domain)))
    if size is not None and size != np.size(data):
        _fail(i, f"{row.name} of its operands gives {size:,} numbers, and its data are {np.size(data):,}")


def _size(row: Primitive, shapes: Sequence[tuple[int, ...]], params: Any) -> int | None:
    """How many numbers an operation gives; None where that are no more than it was given."""
    first = shapes[0] if shapes else ()
    if row.partials:
        return math.prod(np.broadcast_shapes(*shapes))
    if row.name == item.name:
        if len(params["at"]) != len(first):
            raise IndexError
        return 1
    if row.name == linear.name and (not first or len(shapes[1]) != 2 or shapes[2] != shapes[1][:1]):
        raise ValueError
    if row.name in ("matmul", linear.name):
        if not first or not shapes[1]:
            raise ValueError
        second = shapes[1][::-1] if row.name == linear.name else shapes[1]
        batch = np.broadcast_shapes(first[:-2], second[:-2])
        return math.prod((*batch, *first[-2:-1], *second[1:][-1:]))
    if row.name == "index":
        return _picked(first, params["key"])
    if row.name == "nll" and len(set(shapes)) > 1:
        raise ValueError
    if isinstance(row.vjp, Each):
        return sum(map(math.prod, shapes))
    return math.prod(params["to"]) if "to" in params and row.name != cast.name else None


def _picked(of: tuple[int, ...], key: tuple[Any, ...]) -> int:
    """How many numbers an index takes from an array of that shape."""
    takes = [k.ndim if isinstance(k, np.ndarray) and k.dtype == bool else int(k is not None) for k in key]
    hidden = len(of) - sum(n for k, n in zip(key, takes, strict=True) if k is not Ellipsis)
    axis, size, arrays = 0, 1, []
    for k, n in zip(key, takes, strict=True):
        if k is Ellipsis:
            n = max(hidden, 0)
            size *= math.prod(of[axis : axis + n])
        elif isinstance(k, slice):
            size *= len(range(*k.indices(of[axis])))
        elif isinstance(k, np.ndarray):
            arrays.append((int(np.count_nonzero(k)),) if k.dtype == bool else k.shape)
        axis += n
    return size * math.prod(of[axis:]) * math.prod(np.broadcast_shapes(*arrays))


# ---- parameters of operations on whole arrays


@lru_cache(maxsize=256)
def _readers(name: str) -> dict[str, Callable[..., Any]]:
    """What reads each parameter of a row: its rules name them after the operands."""
    row = ROWS[name]
    rule = tuple.__getitem__(row.vjp, 0) if isinstance(row.vjp, Each) else row.vjp[0]
    readers = {
        "to": _dtype if row is cast else _shape,
        "axis": _axis if isinstance(row.vjp, Each) else _some_axes,
        "axes": _axes,
        "at": _axes,
        "keepdims": _truth,
        "reduction": _reduction,
        "key": _key,
    }
    return {key: readers[key] for key in inspect.signature(rule).parameters if key in readers}


def _dtype(x: Any, i: int, field: str, room: int = 0) -> np.dtype[Any]:
    if type(x) is not str or x not in DTYPES:
        _fail(i, f'"{field}" has to be "float64" or "float32", not {_what(x)}')
    return np.dtype(x)


def _shape(x: Any, i: int, field: str, room: int) -> tuple[int, ...]:
    if type(x) is not list or len(x) > 32 or not all(type(n) is int and n >= 0 for n in x):
        _fail(i, f'"{field}" has to be a list of up to 32 lengths, not {_what(x)}')
    if math.prod(n or 1 for n in x) > room:
        _fail(i, f'"{field}" is of an array larger than the text')
    return tuple(x)


def _axis(x: Any, i: int, field: str, room: int = 0) -> int:
    if type(x) is not int or not 0 <= x < 64:
        _fail(i, f'"{field}" has to be an axis counted from 0, not {_what(x)}')
    return x


def _axes(x: Any, i: int, field: str, room: int = 0) -> tuple[int, ...]:
    if type(x) is not list or len(x) > 64 or not all(type(n) is int and 0 <= n < 2**63 for n in x):
        _fail(i, f'"{field}" has to be a list of integers from 0 on, not {_what(x)}')
    return tuple(x)


def _some_axes(x: Any, i: int, field: str, room: int = 0) -> tuple[int, ...] | None:
    return None if x is None else _axes(x, i, field)


def _truth(x: Any, i: int, field: str, room: int = 0) -> bool:
    if type(x) is not bool:
        _fail(i, f'"{field}" has to be true or false, not {_what(x)}')
    return x


def _reduction(x: Any, i: int, field: str, room: int = 0) -> str:
    if type(x) is not str or x not in ("mean", "sum", "none"):
        _fail(i, f'"{field}" has to be "mean", "sum" or "none", not {_what(x)}')
    return x


def _key(x: Any, i: int, field: str, room: int) -> tuple[Any, ...]:
    if type(x) is not list or len(x) > 64:
        _fail(i, f'"{field}" has to be a list, not {_what(x)}')
    return tuple(_part(part, i, field, room) for part in x)


def _part(x: Any, i: int, field: str, room: int) -> Any:
    """A part of an index."""
    if x is None or _is_index(x):
        return x
    if x == "...":
        return Ellipsis
    if type(x) is dict and "slice" in x:
        _check(x, f'node {i}, "{field}"', {"slice"})
        ends = x["slice"]
        if type(ends) is list and len(ends) == 3 and all(end is None or _is_index(end) for end in ends):
            return slice(*ends)
    if type(x) is dict and "slice" not in x:
        _check(x, f'node {i}, "{field}"', {"dtype", "shape", "data"})
        kind, of, flat = x["dtype"], _shape(x["shape"], i, field, room), list[Any]()
        if kind in ("int64", "bool"):
            _walk(x["data"], of, i, f"{field}: data", flat, _is_index if kind == "int64" else _is_bool)
            return np.array(flat, kind).reshape(of)
    _fail(i, f'"{field}" has to be made of integers, slices, null, "..." and arrays of them, not of {_what(x)}')


def _is_index(x: Any) -> bool:
    return type(x) is int and -(2**63) <= x < 2**63


def _is_bool(x: Any) -> bool:
    return type(x) is bool


# ---- arrays


def _array(x: Any, of: tuple[int, ...], dtype: np.dtype[Any], i: int, field: str) -> np.ndarray[Any, Any]:
    """Numbers in lists in lists as an array of that shape."""
    flat: list[Any] = []
    _walk(x, of, i, field, flat, None)
    made = np.array(flat, np.float64)
    found = made.astype(dtype)
    if not np.array_equal(np.isinf(made), np.isinf(found)):
        _fail(i, f'"{field}" has a number too large for {dtype}')
    return found.reshape(of)


def _walk(
    x: Any, of: tuple[int, ...], i: int, field: str, flat: list[Any], belongs: Callable[[Any], bool] | None
) -> None:
    """Gather in `flat` what lists in lists of these lengths hold: numbers, or else what `belongs` there."""
    if not of:
        if belongs is not None and not belongs(x):
            _fail(i, f'"{field}" cannot hold {_what(x)}')
        flat.append(x if belongs is not None else _number(x, i, field))
        return
    if type(x) is not list or len(x) != of[0]:
        has = f"a list of {len(x):,}" if type(x) is list else _what(x)
        _fail(i, f'"{field}" has to be a list of {of[0]:,}, as its shape says, not {has}')
    if len(of) == 1 and belongs is None and all(type(y) is float and y - y == 0.0 for y in x):  # finite
        flat.extend(x)
        return
    for k, part in enumerate(x):
        _walk(part, of[1:], i, f"{field}[{k}]", flat, belongs)


class _Twice(NamedTuple):
    """Stands for an object in which a field stands twice."""

    field: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    for key, _ in reversed(pairs):  # the last of each is in `found`
        if key not in found:
            break
        del found[key]
    return _Twice(key)


def _integer(text: str) -> float:
    return -0.0 if text == "-0" else int(text)


def _read(text: Any) -> Any:
    """What JSON makes of a text."""
    if isinstance(text, (bytes, bytearray)):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            _fail(f"byte {error.start}", "a saved graph is text in UTF-8, and this byte is not")
    if not isinstance(text, str):
        _fail("from_json", f"it reads text, not {shown(text)}", "read the file first, as with Path(...).read_bytes()")
    text = text.removeprefix("\ufeff")  # with which Windows begins a file in UTF-8
    if not text.strip():
        _fail("the text", "it is empty")
    try:
        # NaN and 1e999 become floats that are not finite: `_number` refuses them, and knows which node they are in.
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        cut = "Unterminated" in error.msg or not text[error.pos :].strip()
        what = "the text ends too early, as if it was cut off" if cut else f"this is not JSON: {error.msg}"
        _fail(f"line {error.lineno}, column {error.colno}", what)
    except RecursionError:
        _fail("the text", "it is nested more deeply than a saved graph")
    except ValueError:
        _fail("the text", "it has an integer of too many digits")


def _check(x: Any, where: int | str, required: set[str], optional: Set[str] = frozenset()) -> None:
    """Raise unless `x` is an object with all required fields, none that is unknown, and each once."""
    if type(x) is _Twice:
        _fail(where, f"the field {_what(x.field)} stands there twice")
    if type(x) is not dict:
        _fail(where, f"it has to be an object, not {_what(x)}")
    if len(x) == len(required) and required <= x.keys():
        return
    for key in x:
        if key not in required and key not in optional:
            _fail(where, f"there is no field {_what(key)}; these are: {', '.join(sorted(required | optional))}")
    for key in sorted(required):
        if key not in x:
            _fail(where, f'the field "{key}" is missing')


def _number(x: Any, i: int, field: str) -> float:
    """A number of the text as a float."""
    if type(x) is float and math.isfinite(x):
        return x
    if type(x) is int:
        try:
            return float(x)
        except OverflowError:
            _fail(i, f'"{field}" is an integer too large for a float')
    if type(x) is str and x in NOT_FINITE:
        return NOT_FINITE[x]
    if type(x) is float:
        _fail(i, f'"{field}" is {x}, no JSON number or too large: nan and infinities are written "nan", "inf", "-inf"')
    _fail(i, f'"{field}" has to be a number, or "nan", "inf" or "-inf", not {_what(x)}')


def _written(x: float) -> float | str:
    """A number as JSON has it."""
    return x if math.isfinite(x) else repr(float(x))


def _whole(text: str) -> bool:
    """Whether no character of a text is a half one, a surrogate, with which it cannot be written to a file."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _what(x: Any) -> str:
    """A part of the text in a message, on one line and not too long."""
    if type(x) in (dict, _Twice):
        return "an object"
    if type(x) is list:
        return "a list"
    try:
        return f"{json.dumps(x):.60}"
    except ValueError:  # an integer of very many digits
        return "a number"


def _fail(where: int | str, problem: str, advice: str = AGAIN) -> NoReturn:
    place = f"node {where}" if type(where) is int else where
    raise FormatError(literal(f"{place}: {problem}; {advice}")) from None

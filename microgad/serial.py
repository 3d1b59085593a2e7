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
    The integer 1.
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
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Set
from typing import Any, NamedTuple, NoReturn

from .agreement import agree, now
from .errors import AnomalyError, FormatError, InputError, shown, spell
from .naming import literal
from .node import Node
from .order import topological_order
from .primitives import TABLE
from .value import Value

FORMAT, VERSION = "microgad.graph", 1
AGAIN = "save the graph again with to_json, or correct the text"
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(f: Node, *, indent: int | None = None) -> str:
    """A graph as JSON text: what `from_json` reads back with every bit, name and gradient.

    Parameters
    ----------
    f : Value
        The result; the graph is all that it was computed from.
    indent : int, optional
        Spaces for each level, for people to read; by default all is one line.

    Returns
    -------
    str
        An object with the fields ``"format"`` ("microgad.graph"), ``"version"`` (1), ``"root"`` and ``"nodes"``.
        Nodes stand in topological order, `root` is the index of the result among them. Each has ``"op"``, the name
        of the operation or null for a leaf, ``"operands"``, each the index of an earlier node or
        ``{"constant": number}``, ``"data"``, and where there is one ``"name"`` and ``"grad"``. nan and the
        infinities are the strings "nan", "inf" and "-inf". The text is ASCII.

    Raises
    ------
    InputError
        If `f` is no node, or its graph cannot be saved: it holds more than floats, an operation that is not in the
        table, a name that is no text, or data that changed after something was computed from it.

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
    graph = {"format": FORMAT, "version": VERSION, "root": len(order) - 1, "nodes": nodes}
    return json.dumps(graph, indent=indent, allow_nan=False)


def _entry(node: Node, index: dict[Node, int]) -> dict[str, Any]:
    """A node as it is saved."""
    row, data, operands, name = node.prim, node._data, node.operands, node.name
    if not isinstance(data, float):
        _refuse(node, index, f"it holds {shown(data)}, and only scalars are supported yet")
    entry: dict[str, Any] = {
        "op": None if row is None else row.name,
        "operands": [{"constant": _written(x)} if type(x) is float else index[x] for x in operands],
        "data": _written(data),
    }
    if row is not None:
        if TABLE.get(row.name) is not row:
            _refuse(node, index, f"it was made by {row.name}, which is not, or no longer, in the table of primitives")
        # What does not agree would not load: a graph is no longer one computation once the data of a leaf was set.
        if not agree(data, given := now(node)):
            _refuse(node, index, f"it is {data!r}, but its operands as they are now give: {given}; compute it again")
    if name is not None:
        if not isinstance(name, str) or not _whole(name):
            _refuse(node, index, f"its name has to be text of whole characters, not {shown(name)}")
        entry["name"] = name
    if node.grad is not None:
        try:
            entry["grad"] = _written(Value.constant(node.grad))
        except InputError:
            _refuse(node, index, f"its grad is {shown(node.grad)}, and only numbers are supported yet")
    return entry


def _refuse(node: Node, index: dict[Node, int], problem: str) -> NoReturn:
    raise InputError(literal(f"node {index[node]}, {spell(node)}, cannot be saved: {problem}")) from None


def from_json(text: str | bytes) -> Value:
    """The graph that `to_json` saved, as new Values.

    The text may come from anyone: nothing in it is executed, and all of it is checked. Leaves are made as Values, and
    every operation is computed again by its row of the table. Its result has to agree with the one in the text, which
    is kept to the last bit: the mathematical functions of two machines may differ there.

    Parameters
    ----------
    text : str or bytes
        The JSON text; bytes in UTF-8.

    Returns
    -------
    Value
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
    if type(version) is not int or version != VERSION:
        newer = type(version) is int and version > VERSION
        advice = "a newer microgad may: pip install --upgrade microgad" if newer else AGAIN
        _fail("the text", f"its version is {_what(version)}, and this microgad reads version {VERSION}", advice)
    _check(graph, "the text", {"format", "version", "root", "nodes"})
    root, entries = graph["root"], graph["nodes"]
    if type(entries) is not list:
        _fail('"nodes"', f"it has to be a list, not {_what(entries)}")
    if not entries:
        _fail('"nodes"', "it is empty, and a graph has at least its result")
    if type(root) is not int or not 0 <= root < len(entries):
        _fail('"root"', f"it has to be the index of one of {len(entries):,} nodes, counted from 0, not {_what(root)}")
    nodes: list[Value] = []
    used = {root}
    entries.reverse()
    while entries:  # each is freed when its node is there
        nodes.append(_node(entries.pop(), nodes, used))
    for i in range(len(nodes)):
        if i not in used:
            _fail(i, f"no other node uses it, and it is not the root, which is node {root}")
    return nodes[root]


def _node(entry: Any, nodes: list[Value], used: set[int]) -> Value:
    """The node that an entry stands for; `nodes` are those before it, and `used` gets the indices of its operands."""
    i = len(nodes)
    _check(entry, i, {"op", "operands", "data"}, {"name", "grad"})
    op, listed, data = entry["op"], entry["operands"], _number(entry["data"], i, "data")
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
    node = Value(data) if op is None and not operands else _computed(op, operands, data, i)
    if "name" in entry:
        name = entry["name"]
        if type(name) is not str or not _whole(name):
            _fail(i, f'"name" has to be text of whole characters, not {_what(name)}')
        node.name = name
    if "grad" in entry:
        node.grad = _number(entry["grad"], i, "grad")
    return node


def _computed(op: Any, operands: list[Any], data: float, i: int) -> Value:
    """The node of an operation, with its data from the text, which has to agree with what comes out here."""
    if op is None:
        _fail(i, f"a leaf, whose op is null, has no operands, not {len(operands)}")
    row = TABLE.get(op) if type(op) is str else None
    if row is None:
        near = difflib.get_close_matches(op, TABLE, 1) if type(op) is str else []
        hint = f", did you mean {near[0]}?" if near else ""
        advice = "one made with mg.primitive has to be defined before a graph that uses it is loaded"
        _fail(i, f"there is no operation {_what(op)} here{hint}", advice)
    takes = len(row.partials or row.vjp)
    if len(operands) != takes:
        _fail(i, f"{op} takes {takes} operand{'s' * (takes != 1)}, not {len(operands)}")
    if all(type(x) is float for x in operands):
        _fail(i, f"none of the operands of {op} is a node: what is computed from numbers alone is a leaf")
    try:
        node: Value = row.bind(Value, operands)
        agreed = agree(data, node._data)
    except AnomalyError:  # asked for with detect_anomaly: the text is not at fault
        raise
    except Exception as error:  # as above
        raise FormatError(literal(f"node {i}: {op} cannot be computed: {error}; {AGAIN}")) from error
    if not agreed:
        _fail(i, f"its data is {data!r}, but {op} of its operands is {node._data!r}")
    node._data = data
    return node


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

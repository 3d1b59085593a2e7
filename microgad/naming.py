"""What the nodes of a graph are called wherever they are shown, and how their numbers are written."""

from __future__ import annotations

import builtins
import difflib
import math
from collections.abc import Collection, Iterator, Sequence
from itertools import count, islice
from typing import Any

import numpy as np

from .errors import InputError, shown, spell
from .node import Node
from .scopes import Scope

DIGITS = 6  # significant, of a number that is shown
FEW, DIGITS_OF_MANY = 12, 4  # an array of so many numbers is written out, with fewer digits


class Text(str):
    """Text that a terminal and a notebook show as it reads, without quotes and escapes."""

    def __repr__(self) -> str:
        return str(self)


def number(x: Any, digits: int = DIGITS) -> str:
    """A number as people read it, with so many significant digits; a dash where there is none.

    A small array as nested lists; of a large one the smallest and the largest number.
    """
    if x is None:
        return "–"
    if isinstance(x, (float, int)):
        return f"{x:.{digits}g}"
    found = np.asarray(x)
    if found.dtype.kind not in "biuf":
        return shown(x)
    if found.size == 1:
        return _nested(found.tolist(), digits)
    digits = min(digits, DIGITS_OF_MANY)
    return _nested(found.tolist(), digits) if found.size <= FEW else _extent(found, digits)


def _nested(x: Any, digits: int) -> str:
    return f"[{', '.join(_nested(part, digits) for part in x)}]" if isinstance(x, list) else f"{x:.{digits}g}"


def _extent(x: np.ndarray[Any, Any], digits: int) -> str:
    """Between which numbers those of an array lie, and how many are none."""
    some = x[x == x]
    if not some.size:
        return "all nan"
    low, high = f"{some.min():.{digits}g}", f"{some.max():.{digits}g}"
    if some.size < x.size:
        return f"{low} … {high}, {x.size - some.size:,} nan"
    return f"all {low}" if low == high else f"{low} … {high}"


def columns(rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> list[str]:
    """The lines of a table of text; the columns of `numbers`, counted from 0, are aligned at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        lines.append("  ".join(cell.rjust(w) if i in numbers else cell.ljust(w) for i, (cell, w) in cells).rstrip())
    return lines


def magnitude(count: int) -> str:
    """A count, however large."""
    return f"{count:,}" if count < 10**15 else f"about 10 to the power of {math.floor(math.log10(count))}"


def counted(n: int, noun: str) -> str:
    """How many there are of something.

    Examples
    --------
    >>> counted(1, "call"), counted(1200, "call")
    ('1 call', '1,200 calls')
    """
    return f"{n:,} {noun}{'s' * (n != 1)}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first of some names, and how many more there are.

    Examples
    --------
    >>> listed(["x", "y", "z"], 2)
    'x, y, … and 1 more'
    """
    more = [f"… and {len(names) - most:,} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def literal(text: str) -> str:
    """A name on one line, with what cannot be printed as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def function_name(f: Any) -> str:
    """What a function is called, printable.

    Examples
    --------
    >>> function_name(abs), function_name(3.0)
    ('abs', 'float')
    """
    return literal(str(getattr(f, "__name__", type(f).__name__)))


def given_names(order: Sequence[Node]) -> dict[Node, str]:
    """The nodes' own names, printable; in a notebook, for the others, those of the user's variables.

    What a module has called its result comes last: a variable's name says more.
    """
    names: dict[Node, str] = {}
    made_up: dict[Node, str] = {}
    for node in order:
        if name := node.name:
            (made_up if type(name) is Scope and name.made_up else names)[node] = literal(str(name))
    shell = getattr(builtins, "get_ipython", lambda: None)()
    hidden = {"In", "Out", *getattr(shell, "user_ns_hidden", ())}
    variables = [(k, x) for k, x in list(getattr(shell, "user_ns", {}).items()) if k not in hidden and k[:1] != "_"]
    variables.sort(key=lambda pair: len(pair[0]))  # of several names the shortest: not the one of a loop's variable
    for name, x in [*variables, *_elements(variables)]:
        if isinstance(x, Node):
            names.setdefault(x, literal(name))
    return {**made_up, **names}


def _elements(variables: list[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The elements of lists, tuples and dicts as ``w[0]``, the first thousand of each."""
    for name, value in variables:
        if type(value) in (list, tuple, dict):  # and no Step or Edge, which are tuples, too
            for key, x in islice(value.items() if isinstance(value, dict) else enumerate(value), 1000):
                if isinstance(x, Node):
                    yield f"{name}[{key!r}]", x


def all_names(order: Sequence[Node]) -> dict[Node, str]:
    """A name for every node, each different: the given one, f for the result, v1, v2 … in order of evaluation."""
    inside = set(order)
    given = {node: name for node, name in given_names(order).items() if node in inside}
    if order[-1] not in given and "f" not in given.values():
        given[order[-1]] = "f"
    taken, shown_already = {_plain(name) for name in given.values()}, set()
    series: dict[str, Iterator[int]] = {}

    def fresh(stem: str, first: int) -> str:
        numbers = series.setdefault(stem, count(first))
        name = next(name for i in numbers if _plain(name := f"{stem}{i}") not in taken)
        taken.add(_plain(name))
        return name

    names: dict[Node, str] = {}
    for node in order:
        own = given.get(node)
        names[node] = fresh("v", 1) if own is None else own if own not in shown_already else fresh(f"{own}_", 2)
        shown_already.add(own)
    return names


def _plain(name: str) -> str:
    return name.replace("_", "")  # w_2 and w2 are the same in LaTeX


def find(order: Sequence[Node], what: Any) -> Node:
    """The node that `what` means: one of the graph, or the name of one."""
    if isinstance(what, Node):
        if any(node is what for node in order):
            return what
        again = any(node.name and node.name == what.name for node in order)
        advice = ": the graph has another one of that name; was it made again since?" if again else ""
        raise InputError(f"{literal(spell(what))} is no node of this graph{advice}")
    if not isinstance(what, str):
        raise InputError(f"a node or its name is meant, not {shown(what)}")
    for node in order:  # its own name first: to think of all the others takes a while in a large graph
        if node.name == what:
            return node
    names = all_names(order)
    for node, name in names.items():
        if name == what:
            return node
    near = difflib.get_close_matches(what, names.values(), 1)
    known = f"did you mean {near[0]}?" if near else "it has " + ", ".join(islice(names.values(), 10))
    raise InputError(f"the graph has no node named {literal(what)!r}: {known}")

"""What a box says that is more than a node: a title, what is in it, between which numbers its values lie."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, repeat
from typing import Any, NamedTuple

import numpy as np

from microgad.errors import DomainError
from microgad.naming import FEW, counted, listed, literal
from microgad.node import Node
from microgad.primitives import add, mul

from .folding import LIMIT, Box, View
from .frames import SHORT, spanned, titled
from .text import LINES, Said, axis, gradients, links, measures, said

KINDS = 4  # of what is in a part; the others are not named
ALT = 1500  # characters of a listing in the words that stand in for a picture


def title(box: Box, names: Mapping[Node, str]) -> tuple[str, str]:
    """What is written large on a box, and what smaller below; `names` are those that nodes have on boxes."""
    if box.kinds:
        return counted(len(box.nodes), "node"), ""
    if box.calls:
        whole = titled(box.calls)
        path, _, kind = whole.rpartition("  ")
        return (whole, "") if len(whole) <= SHORT else (kind, path)
    named = [names[node] for node in box.results if node in names]
    name = spanned(list(dict.fromkeys(named))) if len(named) == len(box.results) else ""
    if box.times == 1:
        return name, ""
    return (f"{name}  ×{box.times:,}", "") if name and len(name) <= SHORT else (counted(box.times, _noun(box)), name)


def _noun(box: Box) -> str:
    return "value" if type(box.results[0]._value) is float else "tensor"


def applied(box: Box) -> str:
    """Which operation it is, or all of several are, but for numbers that are their own, such as an index."""
    row, op = box.nodes[-1].prim, box.nodes[-1].op
    several = row is not None and row.params and any(node.op != op for node in box.nodes)
    return re.sub(r"\d+", "…", op) if several else op


def length(box: Box) -> int:
    """Of how many operations each of its chains is; 1 where there are none."""
    return 1 if box.closed else len(box.nodes) // box.times


def contents(box: Box) -> list[str]:
    """What is in a box, and of which shape its results are, line by line."""
    lines = []
    if box.kinds:
        kinds = sorted(box.kinds.items(), key=lambda pair: -pair[1])
        more = ["…"] if len(kinds) > KINDS else []
        lines = [", ".join([f"{n:,} {literal(kind)}" for kind, n in kinds[:KINDS]] + more)]
    elif box.calls:
        operations = sum(node.prim is not None for node in box.nodes)
        parameters = sum(node.prim is None and node.needs for node in box.nodes)
        parts = [counted(operations, "operation"), *([counted(parameters, "parameter")] if parameters else [])]
        lines = [", ".join(parts)]
    sizes = {measures(node) for node in box.results}
    return [*lines, *sizes] if len(sizes) == 1 and sizes != {""} else lines


def numbers(box: Box, root: Node, adjoint: Mapping[Node, Any] | None) -> list[Said]:
    """The data of a box's results and their gradients: of several between which numbers they lie."""
    if len(box.results) == 1:
        return [("data", box.results[0]._value), *gradients(box.results[0], root, adjoint)]
    found: dict[str, list[Any]] = {"data": [node._value for node in box.results]}
    for node in box.results if adjoint is not None else ():
        for line in gradients(node, root, adjoint):
            found.setdefault(line[0], []).append(line[-1])
    return [(word, _spread([x for x in values if x is not None])) for word, values in found.items()]


def _spread(values: Sequence[Any]) -> Any:
    """An array that is written as the smallest and the largest of some numbers and arrays; None for none of them."""
    if not values:
        return None
    arrays = [np.asarray(x) for x in values if type(x) is not float]
    x = np.concatenate([np.array([x for x in values if type(x) is float]), *map(_ends, arrays)])
    more = np.full(FEW, x[x == x][0] if (x == x).any() else np.nan)  # so many that they are not written out
    return np.concatenate([x, more]) if x.size else x


def _ends(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The smallest and the largest number of an array, and what is none, as often as it is in it."""
    some = x[x == x]
    return np.concatenate([[some.min(), some.max()] if some.size else [], np.full(x.size - some.size, np.nan)])


# ---- edges


class Flow(NamedTuple):
    """What arrives in a box from another one, or what numbers are operands in it.

    Attributes
    ----------
    source : int, float or array
        The place of the other box, or the numbers.
    slot : int
        Of an operation which operand it is.
    times : int
        How many operands there are.
    says : tuple or None
        The local derivatives, or how gradients flow back, where that can be said.
    """

    source: Any
    slot: int
    times: int
    says: Said | None


def flows(view: View, place: Mapping[Node, int], k: int, names: Mapping[Node, str]) -> list[Flow]:
    """What arrives in a box: in a node operand by operand, but together what comes from a box of more than a node."""
    box = view.boxes[k]
    if box.closed or box.nodes[-1].prim is None:
        return [Flow(i, 0, times, None) for i, times in view.edges[k].items()]
    chain = len(box.nodes) > box.times
    found: dict[Any, tuple[int, list[Any], list[Any]]] = {}  # which operand it is, from where, and what is said
    with np.errstate(all="ignore"):
        for node in box.nodes:
            says = _ways_back(node, box, names)
            for slot, x in enumerate(node.operands):
                slot = 0 if chain else slot
                if type(x) is float:
                    found.setdefault(("number", slot), (slot, [], []))[1].append(x)
                    continue
                i, line = place[x], next(says)
                if i != k:
                    together = (i, slot) if box.single and view.boxes[i].single else i
                    _, sources, lines = found.setdefault(together, (slot, [], []))
                    sources.append(i)
                    lines.append(line)
    return [
        Flow(sources[0] if lines else _alike(sources), slot, len(sources), _together(lines))
        for slot, sources, lines in found.values()
    ]


def _ways_back(node: Node, box: Box, names: Mapping[Node, str]) -> Iterator[Said | None]:
    """What is said of each input of an operation, which is all that is in a box, or one of many."""
    row: Any = node.prim
    if box.single:
        return iter(links(node, names))
    if row is add:
        return repeat(("local", 1.0))
    if row.vjp:
        return iter(links(node, {}))  # in letters: the others have other names
    if len(box.nodes) > box.times:  # a chain, whose derivative is a product
        return repeat(None)
    try:
        found = node.edges(node.seed(), among=None if row is mul else set(node.inputs))
    except DomainError:
        return repeat(None)
    return iter([("local", local) for _, local, _ in found])


def _together(lines: Sequence[Any]) -> Said | None:
    """What is said of several operands at once: the same words, or between which numbers the derivatives lie."""
    if len(lines) < 2 or None in lines:
        return lines[0] if len(lines) == 1 else None
    found = [line[-1] for line in lines]
    if any(isinstance(x, str) for x in found):
        return lines[0] if all(isinstance(x, str) and x == found[0] for x in found) else None
    return "local", _alike(found)


def _alike(values: Sequence[Any]) -> Any:
    """The number that all are, or else what is written as the numbers between which they lie."""
    return values[0] if type(values[0]) is float and values.count(values[0]) == len(values) else _spread(values)


# ---- words


def summary(view: View) -> str:
    """How many nodes there are in how many boxes."""
    return f"{counted(len(view.order), 'node')} in {len(view.boxes):,} box{'es' * (len(view.boxes) != 1)}"


def advice(view: View) -> str:
    """What shows more than a view; nothing where nothing does."""
    more = "depth= and expand= show more" if any(box.calls for box in view.boxes) else ""
    every = "fold=False alone shows every node" if view.folded and len(view.order) <= LIMIT else ""
    return ", ".join(x for x in (more, every) if x)


def listing(view: View, names: Mapping[Node, str], adjoint: Mapping[Node, Any] | None) -> list[str]:
    """The boxes as text, one a line, counted from 1, each with those whose values it uses."""
    found = []
    for i, box in enumerate(view.boxes[:LINES]):
        long = f"×{length(box):,}" if length(box) > 1 else ""
        operation = "" if box.closed else " ".join(x for x in (applied(box), axis(box.nodes[-1]), long) if x)
        large, small = title(box, names)
        head = " ".join(x for x in (small, large, f"({operation})" if operation else "") if x) or _noun(box)
        parts = [*contents(box), *map(said, numbers(box, view.order[-1], adjoint))]
        below = listed([str(x + 1) for x in view.edges[i]])
        found.append(f"{i + 1}. {head}: {', '.join([*parts, *([f'of {below}'] if below else [])])}")
    return [*found, "… and more"] if len(view.boxes) > LINES else found


def sentence(view: View, lines: Sequence[str]) -> str:
    """What the picture shows, in words, from its listing; not all of it where that is long."""
    few = sum(end <= ALT for end in accumulate(map(len, lines)))
    return f"Computation graph of {summary(view)}: {'; '.join([*lines[:few], *['…'] * (few < len(lines))])}."

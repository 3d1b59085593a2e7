"""A graph as integers, and in boxes: of calls of modules, of alike operations, or of parts of its order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from microgad.node import Node
from microgad.primitives import add, maximum, minimum, mul, pow
from microgad.scopes import Scope

from .frames import Frame
from .text import operation

PARTS = 8  # into so many a graph is cut in which too little is alike
SORTS = 6  # boxes of leaves there; instead of more there is one for each kind, whatever uses them
RUN = 4  # calls of a module, each on what another one of them gave: so many or more are one thing
COMMUTATIVE = (add, mul, maximum, minimum)
MIXED = -1
Ids = np.ndarray[Any, Any]


class Cut(NamedTuple):
    """A graph in boxes, each of alike things: a thing is a node, a chain of nodes, a call, a run of calls, or mixed.

    Attributes
    ----------
    thing : array
        Of each node the thing that it is in. They are counted so that what is used comes before what uses it.
    what : list of int
        Of each thing the node that it is, or the last one of the chain; the number of nodes and a frame; or `MIXED`.
    box : array
        Of each thing the box that it is in. They are counted in the same way.
    calls : dict
        Of each frame that is closed, and in no other that is, the thing.
    places : dict
        Of each frame that is open one of those that are drawn as one with it.
    kinds : dict
        Of each box that is mixed, or a part of the order, of what it consists, and how many of each there are.
    """

    thing: Ids
    what: list[int]
    box: Ids
    calls: dict[int, int]
    places: dict[int, int]
    kinds: Mapping[int, Mapping[str, int]]

    @property
    def boxes(self) -> int:
        """How many there are."""
        return int(self.box.max()) + 1


class Flat:
    """A graph as integers: its nodes in order, its frames as they were found, and its edges.

    Attributes
    ----------
    tails, heads, slots : array
        Of each edge the operand, the node that it is one of, and which one, if that is one of three; by heads.
    leaf : array of bool
        Of each node whether it is one.
    home : array
        Of each node the innermost frame, or -1.
    parent, level : list of int
        Of each frame the one around it, or -1; and how many there are around it.
    """

    def __init__(self, order: Sequence[Node], found: Sequence[Frame], placed: Mapping[Node, Frame], fold: bool) -> None:
        self.order, self.found, self.fold = order, found, fold
        at = {node: i for i, node in enumerate(order)}
        number = {frame: i for i, frame in enumerate(found)}
        self.parent = [-1 if frame.around is None else number[frame.around] for frame in found]
        self.level = [len(frame.ends) - 1 for frame in found]
        self.home = np.array([number[placed[node]] if node in placed else -1 for node in order])
        self.leaf = np.array([node.prim is None for node in order])
        tails, heads, slots = list[int](), list[int](), list[int]()
        for i, node in enumerate(order):
            a, b = node.a, node.b
            operands = a if type(a) is tuple else (a, b)
            for slot, x in enumerate(operands):
                if type(x) is not float:
                    tails.append(at[x])
                    heads.append(i)
                    slots.append(slot if len(operands) < 4 else 0)
        self.tails, self.heads, self.slots = (np.array(x, int) for x in (tails, heads, slots))
        if fold:
            self._look()

    def _look(self) -> None:
        """Find what looks alike before anything is known of operands: kinds of nodes, and of frames; and the chains."""
        known: dict[Any, int] = {}
        rows, sizes, named, kinds = list[int](), list[int](), list[bool](), list[int]()
        commutes: dict[int, bool] = {}
        for node in self.order:
            row, a, b, data, name = node.prim, node.a, node.b, node._value, node._name
            own = "" if not name or (type(name) is Scope and name.made_up) else _numberless(name)
            size: Any = None if type(data) is float else (data.shape, data.dtype)
            key: Any = node.needs, own, size
            chained = -1
            if row is not None:
                many = type(a) is tuple
                plain = tuple([type(x) is float for x in a]) if many else (type(a) is float, type(b) is float)
                exponent = b if row is pow and type(b) is float else None
                key = _called(node) if row.params else row, plain, exponent, a is b, own, size
                if row.partials and not many:
                    chained = known.setdefault(row, len(known))
            kind = known.setdefault(key, len(known))
            if kind not in commutes:
                commutes[kind] = row in COMMUTATIVE
            kinds.append(kind)
            rows.append(chained)
            sizes.append(known.setdefault(size, len(known)))
            named.append(bool(own))
        self.kind, self.commutes = kinds, [commutes[kind] for kind in kinds]  # of each node
        self.sort = [known.setdefault((f.kind, _numberless(f.path)), len(known)) for f in self.found]  # of each frame
        self.last = self._chains(*map(np.array, (rows, sizes, named, self.commutes)))
        self.operands = np.searchsorted(self.heads, np.arange(len(self.order) + 1)).tolist()  # of each node, from where

    def _chains(self, row: Ids, size: Ids, named: Ids, commutes: Ids) -> Ids:
        """Of each node the last one of its chain: of operations of one row, each used by the next one and nothing else.

        A long sum is such a chain. It goes on from its first operand, or from the one that is such an operation; and a
        sum of sums begins anew with its terms, so that the first of them is no other than the next ones.
        """
        n = len(self.order)
        first, other = np.full(n, -1), np.full(n, -1)
        first[self.heads[self.slots == 0]] = self.tails[self.slots == 0]
        other[self.heads[self.slots == 1]] = self.tails[self.slots == 1]

        def alike(x: Ids) -> Any:
            return (x >= 0) & (row[x] == row) & (row >= 0)

        swapped = alike(other) & ~alike(first) & commutes
        first, other = np.where(swapped, other, first), np.where(swapped, first, other)
        nest = [0] * n  # of each sum how many sums are inside of each other in what it adds last
        for i in np.flatnonzero(alike(other)).tolist():
            nest[i] = 1 + nest[other[i]]
        inner, uses = np.array(nest), np.bincount(self.tails, minlength=n)
        goes_on = alike(first) & (inner[first] >= inner) & (uses[first] == 1) & ~named[first]
        goes_on &= (self.home[first] == self.home) & (size[first] == size)
        last = list(range(n))
        for i in reversed(np.flatnonzero(goes_on).tolist()):
            last[first[i]] = last[i]
        return np.array(last)

    # ---- things

    def cuts(self, opens: Sequence[bool]) -> Iterator[Cut]:
        """The graph with some calls open, unless one around them is not: level after level, in the end all of these."""
        places: dict[int, int] = {}
        for i, wanted in enumerate(opens):
            if wanted and (self.parent[i] < 0 or self.parent[i] in places):
                places[i] = i
        deepest = max((self.level[i] for i in places), default=-1)
        for depth in range(deepest + 2) if self.fold else [deepest + 1]:
            cut, steps = self._cut({i: place for i, place in places.items() if self.level[i] < depth})
            yield cut
            # Alike calls at one place are drawn as one frame; but those of a run stand behind each other.
            classes: dict[Any, int] = {}
            for i, thing in cut.calls.items():
                if i in places and self.fold:
                    places[i] = classes.setdefault((cut.box[thing], steps.get(i)), i)

    def _cut(self, places: dict[int, int]) -> tuple[Cut, dict[int, int]]:
        """The graph with these frames open, and of each call of a run its place in that."""
        n, nodes = len(self.order), np.arange(len(self.order))
        outer: list[int] = []  # of each frame the outermost closed one that it is in, or is
        for i, parent in enumerate(self.parent):
            above = -1 if parent < 0 else outer[parent]
            outer.append(above if above >= 0 else -1 if i in places else i)
        closed = np.array([*outer, -1])[self.home]
        inside = np.full(len(outer), -1)  # of each closed frame a node in it
        inside[closed[closed >= 0]] = nodes[closed >= 0]
        things = np.where(closed >= 0, n + closed, self.last if self.fold else nodes)
        runs, steps = self._runs(things) if self.fold else ({}, {})
        while True:
            joined = np.array([*range(n), *(n + runs.get(i, i) for i in range(len(outer)))])
            thing, what, tails, heads = self._ranked(joined[things])
            calls = {i: int(thing[inside[i]]) for i in range(len(outer)) if outer[i] == i}
            broken = {run for i, run in runs.items() if what[calls[i]] == MIXED}
            if not broken:
                break
            runs = {i: run for i, run in runs.items() if run not in broken}  # something else is computed in between
        box = (
            self._alike(thing, what, tails, heads, places, Counter(runs.values()))
            if self.fold
            else np.arange(len(what))
        )
        cut = Cut(thing, what, box, calls, places, {})
        steps = {i: step for i, step in steps.items() if i in runs}
        return cut._replace(kinds=self._consist(cut, np.array(what) == MIXED)), steps

    def _runs(self, things: Ids) -> tuple[dict[int, int], dict[int, int]]:
        """Of each call of a run the first one of it, and which one it is."""
        n = len(self.order)
        tails, heads = things[self.tails] - n, things[self.heads] - n
        direct = (tails >= 0) & (heads >= 0) & (tails != heads)
        first: dict[int, int] = {}
        steps: dict[int, int] = {}
        for i, j in dict.fromkeys(zip(tails[direct].tolist(), heads[direct].tolist(), strict=True)):
            if self.found[i].module is self.found[j].module and self.parent[i] == self.parent[j]:
                one, other = _first(first, i), _first(first, j)
                if one != other:
                    first[max(one, other)] = min(one, other)
                steps[j] = max(steps.get(j, 0), steps.setdefault(i, 0) + 1)
        runs = {i: _first(first, i) for i in steps}
        lengths = Counter(runs.values())
        return {i: run for i, run in runs.items() if lengths[run] >= RUN}, steps

    def _ranked(self, things: Ids) -> tuple[Ids, list[int], Ids, Ids]:
        """Of each node its thing, counted so that operands come first; what these are; and the edges between them.

        What uses each other in a circle is one thing.
        """
        there = np.zeros(len(self.order) + len(self.found), bool)
        there[things] = True
        found, thing = np.flatnonzero(there), (np.cumsum(there) - 1)[things]
        last = np.empty(len(found), int)
        last[thing] = np.arange(len(thing))
        tails, heads = _between(thing[self.tails], thing[self.heads])
        straight = bool(np.all(last[tails] < last[heads]))
        rank = _inverse(np.argsort(last)) if straight else _circles(len(found), tails, heads)
        what = np.empty(rank.max() + 1, int)
        what[rank] = found
        what[np.bincount(rank) > 1] = MIXED
        return rank[thing], what.tolist(), *_between(rank[tails], rank[heads])

    # ---- boxes

    def _alike(
        self,
        thing: Ids,
        what: Sequence[int],
        tails: Ids,
        heads: Ids,
        places: Mapping[int, int],
        runs: Mapping[int, int],
    ) -> Ids:
        """Of each thing its box: alike things that stand at one place, and whose operands are alike."""
        n, kind = len(self.order), self.kind
        home = np.array([*(places.get(i, -1) for i in range(len(self.found))), -1])[self.home].tolist()
        things, of_node, sizes = thing.tolist(), self.tails.tolist(), np.bincount(thing).tolist()
        of_thing, begin = tails.tolist(), np.searchsorted(heads, np.arange(len(what) + 1)).tolist()
        known: dict[Any, int] = {}
        colours: list[int] = []
        for x, i in enumerate(what):
            if 0 <= i < n and sizes[x] == 1:
                below = [colours[things[y]] for y in of_node[self.operands[i] : self.operands[i + 1]]]
                if self.commutes[i]:
                    below.sort()
                key: tuple[int, ...] = (kind[i], home[i], *below)
            else:
                below = sorted({colours[y] for y in of_thing[begin[x] : begin[x + 1]]})
                if i == MIXED:
                    key = (MIXED, x)
                elif i < n:
                    key = (MIXED - 1, kind[i], home[i], sizes[x], *below)
                else:
                    f = i - n
                    key = (MIXED - 2, self.sort[f], places.get(self.parent[f], -1), runs.get(f, 1), *below)
            colours.append(known.setdefault(key, len(known)))
        colour, users = np.array(colours), thing[self.heads]
        alone = np.array([0 <= i < n and size == 1 for i, size in zip(what, sizes, strict=True)])
        roles = 4 * colour[users] + np.where(alone[users], self.slots, 3)  # of a weight and an input in a product
        return self._boxed(thing, what, colour, roles, np.arange(len(what)))

    def _boxed(self, thing: Ids, what: Sequence[int], colour: Ids, roles: Ids, place: Ids, most: float = np.inf) -> Ids:
        """Of each thing its box: by colour, and leaves by what uses them, too, which is the roles of their edges.

        If that makes more boxes of leaves than `most`, these are by colour alone. Boxes are counted so that what is
        used comes before what uses it, as it does by `place`.
        """
        leaf = np.append(self.leaf, np.zeros(len(self.found) + 1, bool))[what]  # of what is mixed the last one
        edges = leaf[thing[self.tails]]
        by, users = thing[self.tails[edges]], thing[self.heads[edges]]
        used: dict[int, list[int]] = {x: [] for x in np.flatnonzero(leaf).tolist()}
        for role, x in zip(*(part.tolist() for part in _pairs(roles[edges], by)), strict=True):
            used[x].append(role)
        names = [(int(colour[x]), *given) for x, given in used.items()]
        if len(set(names)) > most:
            names = [name[:1] for name in names]
        known: dict[Any, int] = {}
        found = colour.copy()
        found[list(used)] = [known.setdefault(name, colour.max() + 1 + len(known)) for name in names]
        at = np.full(found.max() + 1, np.inf)  # of each box where the first of its things is
        np.minimum.at(at, found, place)
        ahead = np.full(len(at), np.inf)  # of a box of leaves where the first thing is that uses one of them
        np.minimum.at(ahead, found[by], at[found[users]] - 0.5)
        return _inverse(np.argsort(np.minimum(at, ahead), kind="stable"))[found]

    def parts(self, cut: Cut) -> Cut:
        """The same in a few parts of its order, each as large as the others; the leaves by kind, the result alone."""
        what, things = np.array(cut.what), np.arange(len(cut.what))
        leaf = np.append(self.leaf, np.zeros(len(self.found) + 1, bool))[what]
        # What is used once is put in front of what uses it: as it is, the order comes upon it long before that.
        tails, heads = _between(cut.thing[self.tails], cut.thing[self.heads])
        uses, late = np.bincount(tails, minlength=len(what)).tolist(), things.tolist()
        for x, user in zip(tails[::-1].tolist(), heads[::-1].tolist(), strict=True):
            if uses[x] == 1:
                late[x] = late[user]
        order = np.lexsort([things, np.array(late)])
        sizes = np.where(leaf, 0, np.bincount(cut.thing))
        sizes[-1] = 0
        part = np.ceil(np.cumsum(sizes[order]) * (PARTS / max(sizes.sum(), 1))).astype(int)[_inverse(order)]
        part[-1] = PARTS + 1
        known: dict[Any, int] = {}
        for x in np.flatnonzero(leaf).tolist():
            node = self.order[what[x]]
            kind = node.needs, None if type(node._value) is float else (node._value.shape, node._value.dtype)
            part[x] = PARTS + 2 + known.setdefault(kind, len(known))
        box = self._boxed(cut.thing, cut.what, part, part[cut.thing[self.heads]], _inverse(order), SORTS)
        several = (np.bincount(part)[part] > 1) & (part <= PARTS)
        cut = cut._replace(box=box)
        return cut._replace(kinds=self._consist(cut, several | (what == MIXED)))

    def _consist(self, cut: Cut, things: Ids) -> dict[int, Counter[str]]:
        """Of what the boxes of these things consist."""
        calls, sizes = Counter(cut.calls.values()), np.bincount(cut.thing).tolist()
        kinds: dict[int, Counter[str]] = {}
        for x in np.flatnonzero(things).tolist():
            i, box = cut.what[x], int(cut.box[x])
            says = kinds[box] = kinds.get(box) or Counter()
            if i == MIXED:
                inside = [self.order[k] for k in np.flatnonzero(cut.thing == x).tolist()]
                says.update(_called(node) for node in inside if node.prim is not None)
            elif i < len(self.order):
                says[_called(self.order[i])] += sizes[x]
            else:
                says[self.found[i - len(self.order)].kind] += calls[x]
        return kinds

    def edges(self, cut: Cut) -> list[dict[int, int]]:
        """Of each box, by others, how often its nodes have one of theirs as an operand."""
        tails, heads = cut.box[cut.thing[self.tails]], cut.box[cut.thing[self.heads]]
        found: list[dict[int, int]] = [{} for _ in range(cut.boxes)]
        codes, counts = np.unique((heads * cut.boxes + tails)[tails != heads], return_counts=True)
        for code, times in zip(codes.tolist(), counts.tolist(), strict=True):
            found[code // cut.boxes][code % cut.boxes] = times
        return found

    def length(self, cut: Cut, edges: Sequence[Mapping[int, int]], operation: int = 1) -> int:
        """How many boxes stand behind each other at most, if one of operations counts so many times."""
        n = len(self.order)
        computed = {int(b) for b, i in zip(cut.box, cut.what, strict=True) if 0 <= i < n and not self.leaf[i]}
        computed -= cut.kinds.keys()
        ends: list[int] = []
        for b, below in enumerate(edges):
            ends.append((operation if b in computed else 1) + max((ends[i] for i in below), default=0))
        return max(ends)


def _called(node: Node) -> str:
    """An operation, without numbers that are its own, such as an index; nothing for a leaf."""
    if node.prim is None or node.prim.params.get("axis") is not None:
        return operation(node)
    return re.sub(r"\d+", "…", node.op)


def _numberless(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _first(first: dict[int, int], i: int) -> int:
    """The first one of those that are joined."""
    while i in first:
        i = first[i]
    return i


def _inverse(order: Ids) -> Ids:
    """Of each thing its place in an order of things."""
    places = np.empty(len(order), int)
    places[order] = np.arange(len(order))
    return places


def _pairs(first: Ids, second: Ids) -> tuple[Ids, Ids]:
    """Pairs of integers, each once, in the order of the second."""
    width = int(first.max(initial=0)) + 1
    found = np.sort(second * width + first)
    found = found[np.append(True, found[1:] != found[:-1])[: len(found)]]
    return found % width, found // width


def _between(tails: Ids, heads: Ids) -> tuple[Ids, Ids]:
    """Edges, each once, in the order of their heads, and none from a thing to itself."""
    apart = tails != heads
    return _pairs(tails[apart], heads[apart])


def _circles(count: int, tails: Ids, heads: Ids) -> Ids:
    """Of each thing the circle that it is in, if only with itself: counted so that operands come first.

    R. Tarjan, "Depth-First Search and Linear Graph Algorithms", 1972, with a stack in place of recursion.
    """
    begin, below = np.searchsorted(heads, np.arange(count + 1)).tolist(), tails.tolist()
    seen, low, found = [0] * count, [0] * count, [-1] * count  # when each was seen first, and what it leads back to
    clock = circles = 0
    path: list[int] = []
    for start in range(count):
        stack = [(start, begin[start])] if not seen[start] else []
        while stack:
            x, k = stack.pop()
            if not seen[x]:
                clock += 1
                seen[x] = low[x] = clock
                path.append(x)
            elif k > begin[x] and found[below[k - 1]] < 0:  # the operand before is done, and in no circle yet
                low[x] = min(low[x], low[below[k - 1]])
            if k < begin[x + 1]:
                stack.append((x, k + 1))
                if not seen[below[k]]:
                    stack.append((below[k], begin[below[k]]))
            elif low[x] == seen[x]:
                while found[x] < 0:
                    found[path.pop()] = circles
                circles += 1
    return np.array(found)

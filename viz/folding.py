"""Which boxes a picture has: a node each, or in a large graph calls of modules, alike nodes, and parts of the rest."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from microgad.errors import GraphSizeError, InputError, shown
from microgad.naming import listed, literal
from microgad.node import Node

from .choices import check_flag
from .frames import Frame
from .quotient import Cut, Flat

WHOLE = 150  # nodes; of so many each has a box of its own, unless something else is asked for
READABLE = 60  # boxes; where a view is chosen it has no more
LONG, TALL = 25, 3  # boxes behind each other, where an operation is 3: modules are opened until there are more
LIMIT = 1000  # boxes; a picture of more cannot be read, and its layout takes many seconds


@dataclass(eq=False)
class Box:
    """What is one box of a picture: a node, alike nodes, calls of modules, or a part of the order.

    Attributes
    ----------
    nodes : list of Node
        All that is in it, in order.
    results : list of Node
        Of these the ones whose numbers it shows: of alike nodes all, else those that are used outside.
    around : Frame or None
        The frame that it stands in.
    calls : list of Frame
        The calls of modules that it is.
    times : int
        How many alike things it is.
    kinds : dict
        Of a part of what it consists, and how many of each there are.
    """

    nodes: list[Node]
    results: list[Node]
    around: Frame | None
    calls: list[Frame]
    times: int
    kinds: Mapping[str, int]

    @property
    def closed(self) -> bool:
        """Whether it is no operation or leaf, nor several alike ones."""
        return bool(self.calls or self.kinds)

    @property
    def single(self) -> bool:
        """Whether it is one node."""
        return len(self.nodes) == 1 and not self.closed


@dataclass(eq=False)
class View:
    """A graph in boxes.

    Attributes
    ----------
    order : list of Node
        All nodes.
    boxes : list of Box
        Each node is in one of them; what is used stands before what uses it.
    frames : list of Frame
        Those that are open, as their calls ended, but what is around others before these.
    edges : list of dict
        Of each box, by the places of others, how often its nodes have one of theirs as an operand.
    length : int
        How many boxes stand behind each other at most.
    folded : bool
        Whether alike things are one box.
    """

    order: Sequence[Node]
    boxes: list[Box]
    frames: list[Frame]
    edges: list[dict[int, int]]
    length: int
    folded: bool

    def places(self) -> dict[Node, int]:
        """Of each node the place of its box."""
        return {node: i for i, box in enumerate(self.boxes) for node in box.nodes}

    @property
    def whole(self) -> bool:
        """Whether each node has a box of its own."""
        return len(self.boxes) == len(self.order)


def viewed(
    order: Sequence[Node],
    found: Sequence[Frame],
    placed: Mapping[Node, Frame],
    depth: Any = None,
    collapse: Any = None,
    expand: Any = None,
    fold: Any = None,
) -> View:
    """A graph in the boxes that are asked for, or that can be read.

    `found` and `placed` are the frames of `order`; for the other parameters, and for errors, see `draw`.
    """
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 0):
        raise InputError(f"depth is how many frames stand inside of each other, 0 or more, not {shown(depth)}")
    check_flag("fold", fold)
    shut, opened = _named(collapse, "collapse", found), _named(expand, "expand", found)
    fold = len(order) > WHOLE if fold is None else fold
    flat = Flat(order, found, placed, fold)
    while around := {flat.parent[i] for i in opened} - opened - {-1}:
        opened |= around

    def cuts(deep: float, also: Collection[int] = ()) -> Iterator[Cut]:
        return flat.cuts([i in also or (i not in shut and level < deep) for i, level in enumerate(flat.level)])

    cut = None
    if fold and depth is None:  # as deep as it can be read
        depth = 0
        for level, now in enumerate(cuts(np.inf)):
            if now.boxes > READABLE or (level and flat.length(now, flat.edges(now), TALL) > LONG):
                break
            cut, depth = now, level
        if cut is None and not opened:
            return _view(flat, flat.parts(now))
    if cut is None or opened:
        *_, cut = cuts(np.inf if depth is None else depth, opened)
    if cut.boxes > LIMIT:
        raise GraphSizeError(
            f"a picture of {cut.boxes:,} boxes, and it shows up to {LIMIT:,}: choose a smaller depth=, name modules in "
            "collapse=, or leave depth=, expand= and fold= out, and any graph is drawn in a few"
        )
    return _view(flat, cut)


def _named(names: Any, what: str, found: Sequence[Frame]) -> set[int]:
    """The places of the frames whose path or class is named."""
    names = [] if names is None else [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple, set)) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{what} is the path or the class of a module, or a list of these, not {shown(names)}")
    if not names:
        return set()
    known: dict[str, set[int]] = {}
    for i, frame in enumerate(found):
        for name in (frame.path, frame.kind):
            if name:
                known.setdefault(name, set()).add(i)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            has = f"did you mean {literal(near[0])}?" if near else f"it has {literal(listed(list(known))) or 'none'}"
            raise InputError(f"{what}: the graph has no frame {literal(name)!r}: {has}")
    return set[int]().union(*(known[name] for name in names))


def _view(flat: Flat, cut: Cut) -> View:
    """What a cut says, in nodes and frames."""
    n, order = len(flat.order), flat.order
    together: dict[int, list[Frame]] = {}
    for i, place in cut.places.items():
        together.setdefault(place, []).append(flat.found[i])
    open_ones: dict[int, Frame] = {}
    for place, calls in together.items():  # what is around others comes first
        around = open_ones.get(cut.places.get(flat.parent[place], -1))
        alone = len(calls) == 1 and calls[0].around is around
        open_ones[place] = calls[0] if alone else Frame.together(calls, around)
    used_outside = cut.thing[flat.tails] != cut.thing[flat.heads]
    shows = np.zeros(n, bool)
    shows[flat.tails[used_outside]] = shows[[i for i in cut.what if 0 <= i < n]] = shows[-1] = True
    times = np.bincount(cut.box).tolist()
    boxes = [Box([], [], None, [], times[b], cut.kinds.get(b, {})) for b in range(cut.boxes)]
    for node, b, result in zip(order, cut.box[cut.thing].tolist(), shows.tolist(), strict=True):
        boxes[b].nodes.append(node)
        if result:
            boxes[b].results.append(node)
    for i, thing in cut.calls.items():
        boxes[cut.box[thing]].calls.append(flat.found[i])
    frames: dict[Frame, None] = {}
    for b, i in zip(cut.box.tolist(), cut.what, strict=True):
        inside = -1 if i < 0 else int(flat.home[i]) if i < n else flat.parent[i - n]
        frame = boxes[b].around = open_ones.get(cut.places.get(inside, -1))
        while frame is not None:
            frames[frame] = None
            frame = frame.around
    edges = flat.edges(cut)
    behind = sorted(frames, key=lambda frame: frame.ends)
    return View(order, boxes, behind, edges, flat.length(cut, edges), flat.fold)

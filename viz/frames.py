"""Frames: in which calls of modules the nodes of a graph are drawn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from microgad.naming import literal
from microgad.node import Node
from microgad.scopes import Scope, scopes

from .text import LONG, shortened

SHORT = 24  # characters: as much as two names may have to stand there in full, as in "w0 … w15"


class Frame:
    """The frame around what one call of a module computed, and around its parameters; or around several alike calls.

    Attributes
    ----------
    path, kind : str
        Where the module stands in the outermost one, and its class.
    around : Frame or None
        The frame that this one stands in.
    ends : tuple of int
        When the call ended, after when each of those did that it was made in.
    module : Module
        The module that was called.
    """

    def __init__(self, scope: Scope, around: Frame | None, end: int) -> None:
        self.path, self.kind, self.module = scope.path, scope.kind, scope.module
        self.around = around
        self.ends: tuple[int, ...] = (*(around.ends if around else ()), end)
        self._calls: Sequence[Frame] = [self]

    @classmethod
    def together(cls, calls: Sequence[Frame], around: Frame | None) -> Frame:
        """One frame for several calls."""
        frame = object.__new__(cls)
        frame.path, frame.kind, frame.module = calls[0].path, calls[0].kind, calls[0].module
        frame.around = around
        frame.ends = (*(around.ends if around else ()), calls[-1].ends[-1])
        frame._calls = calls
        return frame

    @cached_property
    def title(self) -> str:
        """Path and class, and of several calls how many there are; printable."""
        return titled(self._calls)

    def says(self, node: Node, name: str) -> bool:
        """Whether a node has its name only from the module that the frame is of."""
        scope = node.name
        return type(scope) is Scope and scope.first.module is self.module and scope.made_up and name == literal(scope)


def frames(order: Sequence[Node]) -> tuple[list[Frame], dict[Node, Frame]]:
    """The frames of a graph, as their calls ended, but what is around others before these; and each node's innermost.

    There is none around a single operation without parameters, such as an activation.
    """
    found = scopes(order)
    keys = [*map(id, found.values())]  # nodes of one place share a tuple
    alike, places = Counter(keys), dict(zip(keys, found.values(), strict=True))
    last = {key: i for i, key in enumerate(keys)}
    sizes, ends = Counter[int](), dict[int, int]()
    for key, inside in places.items():
        for scope in inside:
            sizes[id(scope)] += alike[key]
            ends[id(scope)] = max(ends.get(id(scope), 0), last[key])
    known: dict[int, Frame] = {}
    innermost: dict[int, Frame] = {}
    for key, inside in places.items():
        frame = None
        for scope in inside:
            if sizes[id(scope)] > 1:
                frame = known[id(scope)] = known.get(id(scope)) or Frame(scope, frame, ends[id(scope)])
        if frame is not None:
            innermost[key] = frame
    placed = {node: innermost[key] for node, key in zip(found, keys, strict=True) if key in innermost}
    return sorted(known.values(), key=lambda frame: frame.ends), placed


def titles(names: Mapping[Node, str], placed: Mapping[Node, Frame]) -> dict[Node, str]:
    """The names that stand on boxes: those that are not on their frames already."""
    return {node: name for node, name in names.items() if node not in placed or not placed[node].says(node, name)}


def innermost_first(found: Sequence[Frame]) -> list[Frame]:
    """Frames in the order in which they are put into each other: what stands inside has to be finished."""
    return sorted(found, key=lambda frame: -len(frame.ends))


def titled(calls: Sequence[Frame]) -> str:
    """What stands above the frame of some calls of modules of one class: where these stand, the class, how many."""
    path = spanned(list(dict.fromkeys(call.path for call in calls)))
    times = f" ×{len(calls):,}" if len(calls) > 1 else ""
    return shortened(f"{path}  {calls[0].kind}" if path else calls[0].kind, LONG) + times


def spanned(names: Sequence[str]) -> str:
    """Several names in one, which differ in their numbers.

    Examples
    --------
    >>> spanned(["w2", "w0", "w1"]), spanned(["x"])
    ('w0 … w2', 'x')
    >>> spanned([f"layers.0.neurons.{i}.w.{j}" for i in range(16) for j in range(2)])
    'layers.0.neurons.0…15.w.0…1'
    """
    parts = [re.split(r"(\d+)", name) for name in names]
    words = parts[0][::2]
    if any(part[::2] != words for part in parts[1:]):
        return ", ".join(names) if len(names) < 4 else f"{names[0]} … {names[-1]}"
    ends = [
        (min(column, key=int), max(column, key=int)) for column in zip(*(part[1::2] for part in parts), strict=True)
    ]
    varied = [low != high for low, high in ends]
    if sum(varied) == 1:
        first, last = ("".join(_woven(words, [end[k] for end in ends])) for k in (0, 1))
        if len(first) + len(last) <= SHORT:
            return f"{first} … {last}"
    return "".join(_woven(words, [low if low == high else f"{low}…{high}" for low, high in ends]))


def _woven(words: Sequence[str], numbers: Sequence[str]) -> list[str]:
    """Words with numbers between them."""
    return [x for pair in zip(words, [*numbers, ""], strict=True) for x in pair]

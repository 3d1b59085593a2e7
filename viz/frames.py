"""Frames: in which calls of modules the nodes of a graph are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from microgad.naming import literal
from microgad.node import Node
from microgad.scopes import Scope, scopes


class Frame:
    """The frame around what one call of a module computed, and around its parameters.

    Attributes
    ----------
    title : str
        Where the module stands in the outermost one, and its class; printable.
    around : Frame or None
        The frame that this one stands in.
    ends : tuple of int
        When the call ended, after when each of those did that it was made in.
    """

    def __init__(self, scope: Scope, around: Frame | None, end: int) -> None:
        self.title = literal(f"{scope.path}  {scope.kind}" if scope.path else scope.kind)
        self.around = around
        self.ends: tuple[int, ...] = (*(around.ends if around else ()), end)
        self._module = scope.module

    def says(self, node: Node, name: str) -> bool:
        """Whether a node has its name only from the module that the frame is of."""
        scope = node.name
        return type(scope) is Scope and scope.first.module is self._module and scope.made_up and name == literal(scope)


def frames(order: Sequence[Node]) -> tuple[list[Frame], dict[Node, Frame]]:
    """The frames of a graph, as their calls ended, but what is around others before these; and each node's innermost.

    There is none around a single operation without parameters, such as an activation.
    """
    found = scopes(order)
    sizes = Counter(id(scope) for inside in found.values() for scope in inside)
    ends = {id(scope): i for i, node in enumerate(order) for scope in found[node]}
    known: dict[int, Frame] = {}
    placed: dict[Node, Frame] = {}
    for node in order:
        frame = None
        for scope in found[node]:
            if sizes[id(scope)] > 1:
                frame = known[id(scope)] = known.get(id(scope)) or Frame(scope, frame, ends[id(scope)])
        if frame is not None:
            placed[node] = frame
    return sorted(known.values(), key=lambda frame: frame.ends), placed


def titles(names: Mapping[Node, str], placed: Mapping[Node, Frame]) -> dict[Node, str]:
    """The names that stand on boxes: those that are not on their frames already."""
    return {node: name for node, name in names.items() if node not in placed or not placed[node].says(node, name)}

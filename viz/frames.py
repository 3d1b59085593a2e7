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
    depth : int
        How many there are around it.
    """

    def __init__(self, scope: Scope, around: Frame | None) -> None:
        self.title = literal(f"{scope.path}  {scope.kind}" if scope.path else scope.kind)
        self.around = around
        self.depth: int = 0 if around is None else around.depth + 1
        self._module = scope.module

    def says(self, node: Node, name: str) -> bool:
        """Whether a node has its name only from the module that the frame is of."""
        scope = node.name
        return type(scope) is Scope and scope.first.module is self._module and scope.made_up and name == literal(scope)


def frames(order: Sequence[Node]) -> tuple[list[Frame], dict[Node, Frame]]:
    """The frames of a graph, one that is around others before these, and the innermost frame of each node in one.

    There is none around a single operation without parameters, such as an activation.
    """
    found = scopes(order)
    sizes = Counter(id(scope) for inside in found.values() for scope in inside)
    known: dict[int, Frame] = {}
    placed: dict[Node, Frame] = {}
    for node in sorted(order, key=lambda node: node.prim is None):  # as computed: leaves stand before what needs them
        frame = None
        for scope in found[node]:
            if sizes[id(scope)] > 1:
                frame = known[id(scope)] = known.get(id(scope)) or Frame(scope, frame)
        if frame is not None:
            placed[node] = frame
    return list(known.values()), placed


def titles(names: Mapping[Node, str], placed: Mapping[Node, Frame]) -> dict[Node, str]:
    """The names that stand on boxes: those that are not on their frames already."""
    return {node: name for node, name in names.items() if node not in placed or not placed[node].says(node, name)}

"""Graphs, passes, networks and training to look at, and what a node shows in a notebook."""

from __future__ import annotations

from . import plot
from .flowchart import mermaid
from .graph import draw, mimebundle
from .network import Network, network
from .outline import tree
from .player import Player, play
from .render import Drawing, renderer
from .shapes import shapes

__all__ = [
    "Drawing",
    "Network",
    "Player",
    "draw",
    "mermaid",
    "mimebundle",
    "network",
    "play",
    "plot",
    "renderer",
    "shapes",
    "tree",
]

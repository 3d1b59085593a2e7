"""Computation graphs to look at: `draw`, `tree`, `mermaid` and `shapes`, and what a node shows in a notebook."""

from __future__ import annotations

from . import plot
from .flowchart import mermaid
from .graph import draw, mimebundle
from .outline import tree
from .player import Player, play
from .render import Drawing, renderer
from .shapes import shapes

__all__ = ["Drawing", "Player", "draw", "mermaid", "mimebundle", "play", "plot", "renderer", "shapes", "tree"]

"""Computation graphs to look at: `draw`, `tree` and `mermaid`, and what a node shows of itself in a notebook."""

from __future__ import annotations

from .flowchart import mermaid
from .graph import draw, mimebundle
from .outline import tree
from .render import Drawing, renderer

__all__ = ["Drawing", "draw", "mermaid", "mimebundle", "renderer", "tree"]

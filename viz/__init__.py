"""Drawings of computation graphs: `draw`, and what a node shows of itself in a notebook."""

from __future__ import annotations

from .graph import draw, mimebundle
from .render import Drawing, renderer

__all__ = ["Drawing", "draw", "mimebundle", "renderer"]

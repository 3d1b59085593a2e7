"""Neural networks: so far, the layers and losses that are functions."""

from __future__ import annotations

from .functional import cross_entropy, linear

__all__ = ["cross_entropy", "linear"]

"""Plots with matplotlib: training, fits, flows, activations, optimizers and linear regions.

Every function draws in the Axes that it is given as `ax`, or else in a new figure, and returns them; nothing is shown
or saved, and no setting of matplotlib's is changed.
"""

from __future__ import annotations

from .curves import activations, history
from .fits import decision_boundary, regression
from .flows import flow, weights
from .race import animate_race, paths, race
from .regions import count_linear_regions, linear_regions, region_bound

__all__ = [
    "activations",
    "animate_race",
    "count_linear_regions",
    "decision_boundary",
    "flow",
    "history",
    "linear_regions",
    "paths",
    "race",
    "region_bound",
    "regression",
    "weights",
]

"""The records of a network that is drawn: its layers, parameters and result, with their numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from microgad.node import Node

Numbers = np.ndarray[Any, Any]


class Skip(NamedTuple):
    """Numbers of an earlier layer that are used again later, as in a residual connection."""

    layer: int
    early: bool  # what they were before the last step between z and y
    mixed: bool  # whether they are then mixed with those of other neurons, as by a softmax


@dataclass
class Layer:
    """A column of neurons and the weights that lead to it; the first one is that of the inputs, which has none.

    Numbers are means over the examples, gradients of z and y sums over them. Gradients are objects, None where there is
    none; instead of an array there is None where nothing is known at all.
    """

    name: str
    kind: str = ""
    size: int = 0
    indices: list[int] = field(default_factory=list)  # of its neurons in their module, of which others may not be used
    activations: list[str] = field(default_factory=list)  # what lies between z and y, for each neuron
    mixes: bool = False  # whether each y comes from the z of all neurons
    skips: list[Skip] = field(default_factory=list)  # what is added between z and y
    weight: Numbers = field(default_factory=lambda: np.empty((0, 0)))  # of shape (size, size of the layer before)
    weight_grad: Numbers = field(default_factory=lambda: np.empty((0, 0)))
    bias: Numbers | None = None
    bias_grad: Numbers | None = None
    z: Numbers | None = None
    y: Numbers | None = None
    dz: Numbers | None = None
    dy: Numbers | None = None


class Cells(NamedTuple):
    """A parameter by its names: at which places of a layer's weights or biases, counted row by row, its numbers are.

    A place is -1 for what the result is not computed from.
    """

    names: tuple[str, ...]
    leaf: Node | None
    layer: int
    part: str  # "weight" or "bias"
    places: Numbers


@dataclass
class Result:
    """What the last layer's outputs go into: a loss."""

    name: str
    symbol: str  # in formulas: the name, if it is a short one
    kind: str
    value: float
    grad: Any
    skips: list[Skip]


@dataclass
class Chain:
    """All records of one network."""

    layers: list[Layer]
    cells: list[Cells]
    nodes: dict[Node, list[tuple[str, int, int]]]  # where nodes stand: "z" or "y", layer, neuron
    result: Result | None
    examples: int
    numbers: bool  # whether z and y are of interest: not where the model ran on zeros
    grads: bool
    more: bool = False  # whether parameters hold more gradient than this result gave

    @property
    def symbol(self) -> str:
        """What gradients are of, in formulas."""
        return "L" if self.result is None else self.result.symbol

"""A network of affine layers and ReLUs, cut into the pieces on which it is affine: exactly, unit by unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from microgad.errors import GraphSizeError, InputError, MicrogadError, shown, spell
from microgad.naming import counted, literal
from microgad.node import Node
from microgad.order import order_of_all
from microgad.primitives import add, div, identity, leaky_relu, mul, neg, relu, sub
from microgad.recording import no_grad, recording
from microgad.replay.expand import expanded
from microgad.structural import linear, matmul
from microgad.tensor import Tensor
from microgad.value import Value
from microgad.viz.running import in_use

from .axes import Array, box
from .outputs import told

LIMIT = 200_000  # regions
CHECKS = 64  # points at which a network is compared with its pieces
NEAR = 1e-13  # of the largest pre-activation of a unit: below that a corner lies on the line where it is 0
# Which operands of an operation may depend on the input, so that the result is affine in it, and how many of them.
AFFINE = {
    add: ((0, 1), 2), sub: ((0, 1), 2), neg: ((0,), 1), identity: ((0,), 1), mul: ((0, 1), 1), div: ((0,), 1),
    linear: ((0,), 1), matmul: ((0,), 1), relu: ((0,), 1), leaky_relu: ((0,), 1),
}  # fmt: skip
BENDS = (relu, leaky_relu)


class Pieces(NamedTuple):
    """A function's domain in pieces, on each of which every unit is active or inactive throughout.

    Attributes
    ----------
    corners : array, shape (n, 1) or (n, 2)
        The inputs at the corners of all pieces.
    cells : list of list of int
        For each piece its corners: two ends, or the corners of a convex polygon, one after the other.
    outputs : array, shape (n, k)
        The network's outputs at the corners.
    active : array, shape (len(cells),)
        How many units are active in each piece.
    """

    corners: Array
    cells: list[list[int]]
    outputs: Array
    active: Array


def pieces(model: Any, bounds: Any) -> Pieces:
    """The activation regions of a network in an interval or a rectangle.

    Each unit's pre-activation is affine on every piece that the units before it leave, and cuts it in two where it is 0
    inside of it. No two pieces have the same units active: of two that one cut has parted, its unit is active in one.
    """
    limits = box(bounds)
    dimensions = len(limits)
    problems: list[MicrogadError] = []
    further: list[InputError] = []
    with in_use(model):
        for inputs in ([Tensor(np.zeros((1, dimensions)))], [Value(0.0) for _ in range(dimensions)]):
            try:
                with recording():
                    roots = [expanded(x) for x in _results(model, inputs)]
            except MicrogadError as error:
                problems.append(error)
                continue
            try:
                made = _cut(limits, inputs, roots)
                _check(model, made, type(inputs[0]))
                return made
            except InputError as error:
                further.append(error)
    if further:
        raise further[0]
    batch, single = map(told, problems)
    said = counted(dimensions, "input")
    raise InputError(
        f"the network is not one of {said}: as a batch of one example, {batch}; as a list of Values, {single}"
    )


def _results(model: Any, inputs: Sequence[Node]) -> list[Node]:
    """What a network gives for one example: for a batch of one, or, of Values, for a list of them."""
    try:
        with np.errstate(all="ignore"):
            out = model(list(inputs) if type(inputs[0]) is Value else inputs[0])
    except MicrogadError:
        raise
    except Exception as error:  # a function of the user's may raise anything
        raise InputError(told(error)) from error
    parts = list(out) if isinstance(out, (list, tuple)) else [out]
    if not parts or not all(isinstance(x, Node) for x in parts):
        raise InputError(f"it returned {shown(out)}, which is no Tensor and no Value")
    return parts


def _cut(limits: Array, inputs: Sequence[Node], roots: Sequence[Node]) -> Pieces:
    """The pieces of what a graph computes from its inputs."""
    ends = limits.T
    around = ends if len(limits) == 1 else ends[[[0, 0], [1, 0], [1, 1], [0, 1]], [0, 1]]
    found = _Cells(around, inputs)
    order = order_of_all(roots)
    last = {x: i for i, node in enumerate(order) for x in node.inputs} | dict.fromkeys(roots, len(order))
    for i, node in enumerate(order):
        if any(x in found.known for x in node.inputs):
            found.take(node)
            for x in node.inputs:
                if last[x] == i:
                    found.known.pop(x, None)
    n = len(found.corners)
    results = [
        found.known[x].reshape(n, -1) if x in found.known else np.full((n, np.size(x._value)), x._value) for x in roots
    ]
    return Pieces(found.corners, found.cells, np.concatenate(results, axis=1), found.active)


def _check(model: Any, made: Pieces, kind: Any) -> None:
    """Raise if the network computes other things elsewhere than its graph at one example says: if it branches, say."""
    generator = np.random.default_rng(0)
    for cell in (made.cells[:: -(-len(made.cells) // CHECKS)] * CHECKS)[:CHECKS]:
        shares = generator.dirichlet(np.ones(len(cell)))
        point, here = shares @ made.corners[cell], shares @ made.outputs[cell]
        with no_grad():
            given = [Tensor(point[None])] if kind is Tensor else [Value(x) for x in point.tolist()]
            there = np.concatenate([np.ravel(x._value) for x in _results(model, given)])
        size = np.abs(made.outputs).max()
        if there.shape != here.shape or not np.allclose(there, here, rtol=0.0, atol=1e-4 * size + 1e-300):
            raise InputError(
                "the network computes other things elsewhere: it branches on numbers, or draws random ones"
            )


class _Cells:
    """A domain in convex cells, and what is known at their corners: numbers that are affine on every cell."""

    def __init__(self, corners: Array, inputs: Sequence[Node]) -> None:
        self.dimensions = corners.shape[1]
        self.corners = corners
        self.cells = [list(range(len(corners)))]
        self.active = np.zeros(1, int)
        alone = len(inputs) == 1 and type(inputs[0]._value) is not float
        self.known: dict[Node, Array] = {inputs[0]: corners} if alone else dict(zip(inputs, corners.T, strict=True))

    def take(self, node: Node) -> None:
        """Compute the next node of the graph at all corners, and cut the cells where it bends."""
        row: Any = node.prim
        places, most = AFFINE.get(row, ((), 0))
        moving = [i for i, x in enumerate(node.operands) if x in self.known]
        if len(moving) > most or not set(moving) <= set(places):
            way = " in that way" if row in AFFINE else ""
            raise InputError(
                "linear regions are those of affine layers with relu or leaky_relu between them, and "
                f"{literal(spell(node))} is computed by {row.name}{way}"
            )
        if row in BENDS:
            self._bend(node.operands[0])
        args = [
            self.known[x] if x in self.known else np.asarray(getattr(x, "_value", x), np.float64) for x in node.operands
        ]
        with np.errstate(all="ignore"):
            found = np.asarray(row.array(*args))
        expected = (len(self.corners), *np.shape(node._value)[1:])
        if found.shape != expected or not np.isfinite(found).all():
            why = "is not finite" if found.shape == expected else "is not of one row for each example"
            raise InputError(f"linear regions cannot be found: {literal(spell(node))} {why}")
        self.known[node] = found

    def _bend(self, z: Node) -> None:
        """Cut every cell where one of these pre-activations is 0 inside of it, and count which units are active."""
        n = len(self.corners)
        parts = {x: values.reshape(n, -1) for x, values in self.known.items()}
        ends = dict(zip(parts, self.dimensions + np.cumsum([x.shape[1] for x in parts.values()]), strict=True))
        columns = {x: slice(ends[x] - parts[x].shape[1], ends[x]) for x in parts}
        start = columns[z].start
        near = NEAR * np.abs(parts[z]).max(axis=0)
        nears = near.tolist()
        # A row for each corner, with all that is known there: a corner between two others has the numbers between.
        rows = list(np.concatenate([self.corners, *parts.values()], axis=1))
        between: dict[tuple[int, int, int], int] = {}
        signs = np.where(parts[z] > near, 1, 0) - np.where(parts[z] < -near, 1, 0)
        cells, parents = [], []
        for k, (cell, low, high) in enumerate(zip(self.cells, *self._extremes(signs), strict=True)):
            mixed = np.flatnonzero((low < 0) & (high > 0)).tolist()
            found = [cell]
            for u in mixed:
                found = [half for part in found for half in self._halves(part, u, start + u, nears[u], rows, between)]
            cells += found
            parents += [k] * len(found)
            if len(cells) > LIMIT:
                raise GraphSizeError(
                    f"more than {LIMIT:,} linear regions: choose narrower bounds, or a smaller network"
                )
        table = np.array(rows)
        self.corners, self.cells = table[:, : self.dimensions], cells
        self.known = {x: table[:, columns[x]].reshape(-1, *self.known[x].shape[1:]) for x in parts}
        active = np.where(table[:, columns[z]] > near, 1, 0)
        self.active = self.active[parents] + (self._extremes(active)[1] > 0).sum(axis=1)

    def _extremes(self, signs: Array) -> tuple[Array, Array]:
        """For each cell the smallest and the largest of what its corners have."""
        flat = signs[np.concatenate(self.cells)]
        starts = np.cumsum([0, *map(len, self.cells[:-1])])
        return np.minimum.reduceat(flat, starts), np.maximum.reduceat(flat, starts)

    def _halves(
        self, cell: list[int], u: int, at: int, near: float, rows: list[Array], between: dict[tuple[int, int, int], int]
    ) -> Iterator[list[int]]:
        """A cell as it is, or in two where unit `u`, whose pre-activation is in column `at`, is 0 inside of it."""
        z = [float(rows[i][at]) for i in cell]
        if not (max(z) > near and min(z) < -near):
            yield cell
            return
        above: list[int] = []
        below: list[int] = []
        ring = pairwise([*zip(cell, z, strict=True), (cell[0], z[0])])
        for k, ((i, a), (j, b)) in enumerate(ring):
            if a >= -near:
                above.append(i)
            if a <= near:
                below.append(i)
            if (a > near and b < -near) or (a < -near and b > near):
                if len(cell) == 2 and k:  # the way back along an interval
                    continue
                key = (min(i, j), max(i, j), u)
                if key not in between:  # else the cell beside this one has it
                    t = a / (a - b)
                    row = rows[i] + t * (rows[j] - rows[i])
                    row[at] = 0.0
                    between[key] = len(rows)
                    rows.append(row)
                above.append(between[key])
                below.append(between[key])
        yield above
        yield below

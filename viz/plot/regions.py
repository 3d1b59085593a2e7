"""The linear regions of a ReLU network: drawn, counted, and how many there can be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from microgad.naming import counted

from .axes import alone, axes, color, drawn, ink, library, whole
from .pieces import Pieces, pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def count_linear_regions(model: Any, bounds: Any) -> int:
    """How many activation regions a ReLU network has in an interval or a rectangle, exactly.

    An activation region is where the same units are active: on it the network is affine. Counted are those with a
    length, or an area. Two neighbours may have the same slope all the same, where a unit has no effect on the output;
    they count as two.

    Parameters
    ----------
    model : Module or callable
        Affine layers with relu or leaky_relu between them, of Tensors in shape (n, inputs) or, as those of
        `nn.scalar`, of a list of Values; residual connections and what `eval` mode makes affine, such as batch
        normalisation, may be among them.
    bounds : (low, high) or ((x_low, x_high), (y_low, y_high))
        Where to look: an interval, of a network with one input, or a rectangle, of one with two.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If the network takes other inputs, or computes anything else.
    ShapeError
        If the bounds are neither.
    GraphSizeError
        If there are more than 200,000 regions.

    Notes
    -----
    Along a line in a space of more dimensions, from a to b, it is that of ``lambda t: model(a + t * (b - a))`` between
    0 and 1.

    Examples
    --------
    >>> import microgad as mg
    >>> count_linear_regions(lambda x: mg.relu(x - 1.0) + mg.relu(2.0 * x + 1.0), (-4.0, 4.0))
    3
    """
    return len(pieces(model, bounds).cells)


def region_bound(width: int, inputs: int, layers: int) -> int:
    """How many linear regions a ReLU network of that size can have at least, with the right weights.

    ``(⌊D / Dᵢ⌋ + 1)^(Dᵢ (K - 1)) · Σ_{j ≤ Dᵢ} C(D, j)`` for K layers of D ≥ Dᵢ units and Dᵢ inputs. For one input,
    where it is ``(D + 1)^K``, and for one layer no network has more. For several layers and inputs a network may have
    more than this, but never more than ``region_bound(D, Dᵢ, 1) ** K``.

    Parameters
    ----------
    width : int
        D, the units of each hidden layer; at least as many as inputs.
    inputs : int
        Dᵢ.
    layers : int
        K, the hidden layers.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If one is no whole number of at least 1, or there are more inputs than units.

    Notes
    -----
    Zaslavsky (1975) for one layer; Pascanu, Montúfar and Bengio (2013) and Montúfar, Pascanu, Cho and Bengio (2014) for
    more; lecture 003, after Prince, Understanding Deep Learning (2023), chapter 4.

    Examples
    --------
    >>> [region_bound(10, 1, layers) for layers in (1, 2, 3, 4, 5)]
    [11, 121, 1331, 14641, 161051]
    """
    inputs = whole("inputs", inputs)
    width, layers = whole("width", width, inputs), whole("layers", layers)
    folds = int((width // inputs + 1) ** (inputs * (layers - 1)))
    return folds * sum(math.comb(width, j) for j in range(inputs + 1))


def linear_regions(model: Any, bounds: Any, *, ax: Axes | None = None) -> Axes:
    """The linear regions of a ReLU network: of one input its graph in pieces, of two the plane in polygons.

    A region is where the same units are active, as for `count_linear_regions`; how many there are stands above. On the
    graph neighbours differ in colour and line, and a dot is at each end; in the plane the colour says how many units
    are active.

    Parameters
    ----------
    model : Module or callable
        Affine layers with relu or leaky_relu between them, as for `count_linear_regions`.
    bounds : (low, high) or ((x_low, x_high), (y_low, y_high))
        What is drawn: an interval, of a network with one input, or a rectangle, of one with two.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the network takes other inputs, or computes anything else.
    ShapeError
        If the bounds are neither.
    GraphSizeError
        If there are more than 200,000 regions.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> import microgad as mg
    >>> ax = linear_regions(lambda x: mg.relu(x - 1.0) - 2.0 * mg.relu(x), (-2.0, 2.0))
    >>> ax.get_title()
    '3 linear regions'
    """
    with axes(alone(ax)) as ax:
        found = pieces(model, bounds)
        ax.set_title(counted(len(found.cells), "linear region"))
        (_graph if found.corners.shape[1] == 1 else _plane)(ax, found)
        return ax


def _graph(ax: Any, found: Pieces) -> None:
    x = found.corners[:, 0]
    cells = sorted(found.cells, key=lambda cell: x[cell[0]])
    many = found.outputs.shape[1]
    for k in range(many):
        y = drawn(found.outputs[:, k])
        for parity, line in enumerate("-:"):
            some = [[*cell, -1] for cell in cells[parity::2]]
            at = np.array([i for cell in some for i in cell], int)
            gaps = np.where(at < 0, np.nan, 1.0)
            ax.plot(x[at] * gaps, y[at] * gaps, line, color=color(parity), linewidth=2.0 if parity == 0 else 3.0)
        kinks = [cell[0] for cell in cells[1:]]
        ax.plot(x[kinks], y[kinks], "o", color=ink(ax), markersize=4 if len(kinks) < 50 else 1.5)
    ax.set(xlabel="x", ylabel="output" if many == 1 else "outputs")


def _plane(ax: Any, found: Pieces) -> None:
    collections, colors = library("collections"), library("colors")
    fewest, most = int(found.active.min()), int(found.active.max())
    width = 0.8 if len(found.cells) < 500 else 0.3
    cells = collections.PolyCollection(
        [found.corners[cell] for cell in found.cells],
        cmap="viridis",
        edgecolors="white",
        linewidths=width,
        norm=colors.Normalize(fewest - 0.5, most + 0.5),
    )
    cells.set_array(found.active)
    ax.add_collection(cells)
    low, high = found.corners.min(axis=0), found.corners.max(axis=0)
    ax.set(xlabel="$x_1$", ylabel="$x_2$", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    bar = ax.figure.colorbar(cells, ax=ax, label="active units")
    bar.locator = library("ticker").MaxNLocator(integer=True)
    bar.update_ticks()

"""What a model has learnt, beside the data: the regions of classes in the plane, and the curve through points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from microgad.errors import InputError, ShapeError, shown
from microgad.naming import listed, literal
from microgad.node import Node

from .axes import MARKERS, PALE, Array, alone, around, axes, color, column, drawn, ink, numbers, texts, whole, words
from .outputs import outputs, told

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAIRS = ([0, 1], [-1, 1])  # the labels of two classes, of which the data may have one alone
NONE = np.iinfo(np.int64).min  # the class of what has none
POINTS = 400  # of a curve


def decision_boundary(
    model: Callable[..., Any],
    X: Any,  # noqa: N803
    y: Any,
    threshold: float = 0.0,
    *,
    levels: Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    grid_resolution: int = 200,
    ax: Axes | None = None,
) -> Axes:
    """The regions in which a model says one class or another, with the data on them.

    Parameters
    ----------
    model : Module or callable
        Of points of shape (n, 2), or, as those of `nn.scalar`, of one point. With one output the second class is where
        that is above the threshold; with an output for each class, where its own is the largest. A module is asked in
        `eval` mode.
    X : array, shape (n, 2)
        The points. Those with a nan or an infinity are left out.
    y : array, shape (n,) or (n, 1)
        Their classes: numbers or text. With several outputs they are 0, 1, 2 …, or as many as there are outputs, in
        order; rows with a 1 at the class, of shape (n, outputs), are taken, too.
    threshold : float
        Of a model with one output: 0 for logits, 0.5 for probabilities.
    levels : list of float, optional
        Lines of equal output: of one output its values, of several how far the largest is above the next one.
    labels : list of str, optional
        What the legend calls the classes, in order.
    grid_resolution : int
        In how many places along each axis the model is evaluated.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the model fails or gives no finite numbers, or its outputs do not fit the classes.
    ShapeError
        If X is not of points in the plane, or y is of other points.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> import microgad as mg
    >>> X, y = mg.nn.data.xor(50, seed=0)
    >>> ax = decision_boundary(lambda X: -X[:, 0] * X[:, 1], X, y)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['class 0', 'class 1', 'boundary']
    """
    with axes(alone(ax)) as ax:
        points, given = _plane(X), _labels(y)
        if len(points) != len(given):
            raise ShapeError(f"X has {len(points):,} points and y {len(given):,} classes: each point needs one")
        bounds = around(points)
        n = whole("grid_resolution", grid_resolution, 2)
        grid = [np.linspace(low, high, n) for low, high in bounds]
        out = outputs(model, np.stack([x.ravel() for x in np.meshgrid(*grid)], axis=1)).reshape(n, n, -1)
        if not np.isfinite(out).any():
            raise InputError("the model gives no finite number in the region of the data")
        classes, given = _classes(given, out.shape[2])
        names = [f"class {c}" for c in classes] if labels is None else texts("labels", labels)
        if len(names) != len(classes):
            raise ShapeError(f"there are {len(classes)} classes, and {len(names)} labels: each class needs one")
        leads = _leads(out, threshold)
        for i, lead in enumerate(leads):
            _fill(ax, grid, lead, PALE[i % len(PALE)])
        border = any([_line(ax, grid, lead) for lead in (leads[1:] if len(leads) == 2 else leads)])
        if levels is not None:
            _levels(ax, grid, out[..., 0] if out.shape[2] == 1 else np.fmax.reduce(leads), levels)
        for i, c in enumerate(classes):
            its = points[given == c]
            look: dict[str, Any] = {"color": color(i), "marker": MARKERS[i % len(MARKERS)], "edgecolor": "white"}
            ax.scatter(its[:, 0], its[:, 1], 36, label=words(names[i]), linewidth=0.6, zorder=3, **look)
        if border:
            ax.plot([], [], color="black", linewidth=1.5, label="boundary")
        ax.set(xlabel="$x_1$", ylabel="$x_2$", xlim=bounds[0], ylim=bounds[1])
        ax.legend()
        return ax


def _plane(X: Any) -> Array:  # noqa: N803
    """Points in the plane."""
    found = numbers("X", X)
    if found.ndim != 2 or found.shape[1] != 2 or not len(found):
        raise ShapeError(f"X is of points in the plane, of shape (n, 2), and this is of {found.shape}")
    return found


def _labels(y: Any) -> Array:
    """Classes in shape (n,)."""
    try:
        found = np.asarray(y._value if isinstance(y, Node) else y)
    except ValueError:
        raise ShapeError(
            "y has a class for each point, in shape (n,), and these are rows of different lengths"
        ) from None
    except Exception as error:  # such as that of another library's tensor
        raise InputError(f"y has a class for each point, and is {shown(y)}: {told(error)}") from None
    if found.ndim == 2 and found.shape[1] > 1 and found.dtype.kind in "biuf":
        found = found.argmax(axis=1)
    found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
    if found.ndim != 1:
        raise ShapeError(f"y has a class for each point, in shape (n,), and this is of {found.shape}")
    if found.dtype.kind not in "biufU":
        raise InputError(f"classes are numbers or text, not of dtype {found.dtype}")
    return found


def _classes(given: Array, outputs: int) -> tuple[list[Any], Array]:
    """The classes, in the order of the outputs, and those of the points; what is no class is that of no point."""
    if given.dtype.kind == "f":
        sure = given[np.isfinite(given)]
        if not ((sure % 1.0).any() or (np.abs(sure) > 2.0**53).any()):
            given = np.where(np.isfinite(given), given, NONE).astype(np.int64)
        found = np.unique(sure).astype(given.dtype).tolist()
    else:
        given = given.astype(np.int64) if given.dtype.kind == "b" else given
        found = np.unique(given).tolist()
    pairs = PAIRS if outputs == 1 else [list(range(outputs))]
    for pair in pairs:
        if all(c in pair for c in found):
            return list(pair), given
    if len(found) != max(outputs, 2):
        many = "1 output, which tells 2" if outputs == 1 else f"{outputs} outputs, one for each of {outputs}"
        raise InputError(
            f"the model has {many} classes, and y has {len(found)}: {literal(listed([str(x) for x in found]))}"
        )
    return found, given


def _leads(out: Array, threshold: Any) -> list[Array]:
    """For each class how far it is ahead of all others: above 0 in its region, below 0 outside, and never 0."""
    with np.errstate(invalid="ignore"):
        if out.shape[2] == 1:
            limit = numbers("threshold", threshold)
            if limit.shape or not np.isfinite(limit):
                raise InputError(f"a threshold is a finite number, not {shown(threshold)}")
            ahead = out - limit
            leads, wins = np.concatenate([-ahead, ahead], axis=2), np.concatenate([ahead <= 0.0, ahead > 0.0], axis=2)
        else:
            order = np.sort(out, axis=2)
            first, second = order[..., -1:], order[..., -2:-1]
            leads = out - np.where(out == first, second, first)
            wins = np.arange(out.shape[2]) == out.argmax(axis=2)[..., None]
    smallest = 1e-12 * np.abs(leads[np.isfinite(leads)]).max(initial=0.0) or 1.0
    return list(np.moveaxis(np.where(leads == 0.0, np.where(wins, smallest, -smallest), leads), 2, 0))


def _unit(lead: Array) -> Any:
    """The same, between -1 and 1; masked where it is nan."""
    finite = np.abs(lead[np.isfinite(lead)])
    size = max(float(finite.max(initial=0.0)), 1e-300)
    return np.ma.masked_invalid(np.clip(lead, -size, size) / size)


def _fill(ax: Any, grid: Sequence[Array], lead: Array, shade: str) -> None:
    """Colour the region in which a class is ahead."""
    if (lead > 0.0).any():
        ax.contourf(*grid, _unit(lead), levels=[0.0, 2.0], colors=[shade], zorder=0)


def _line(ax: Any, grid: Sequence[Array], lead: Array) -> bool:
    """Draw the boundary of a region, and say whether there is one."""
    inside = bool((lead > 0.0).any() and (lead < 0.0).any())
    if inside:
        ax.contour(*grid, _unit(lead), levels=[0.0], colors="black", linewidths=1.5, zorder=1)
    return inside


def _levels(ax: Any, grid: Sequence[Array], out: Array, levels: Sequence[float]) -> None:
    """Lines of equal output, with their numbers."""
    finite = out[np.isfinite(out)]
    asked = np.unique(numbers("levels", levels))
    there = asked[(asked > finite.min()) & (asked < finite.max())]
    if len(there):
        shown_out = np.ma.masked_invalid(np.clip(out, finite.min(), finite.max()))
        lines = ax.contour(*grid, shown_out, levels=there, colors="0.25", linestyles="--", linewidths=1.0, zorder=1)
        ax.clabel(lines, fontsize=9)


def regression(
    model: Callable[..., Any],
    X: Any,  # noqa: N803
    y: Any,
    function: Callable[..., Any] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Points, and the curve of a model through them.

    Parameters
    ----------
    model : Module or callable
        Of numbers in shape (n, 1), or, as those of `nn.scalar`, of one of them; it has one output. A module is asked in
        `eval` mode.
    X, y : array, shape (n,) or (n, 1)
        The points. Those with a nan or an infinity are left out.
    function : callable, optional
        The true function, which is drawn, too: called as the model is.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the model fails.
    ShapeError
        If there are no points, not as many of y, or the model has several outputs.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> import microgad as mg
    >>> import numpy as np
    >>> X, y = mg.nn.data.curve("cubic", n=30, seed=0)
    >>> ax = regression(lambda x: 3 * x**3 - 2 * x, X, y, lambda x: 4 * x**3 - 3 * x)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['data', 'true function', 'model']
    """
    with axes(alone(ax)) as ax:
        points = [column("X", X), column("y", y)]
        if len(points[0]) != len(points[1]):
            raise ShapeError(
                f"X has {len(points[0]):,} numbers and y {len(points[1]):,}: they belong together in pairs"
            )
        [[low, high], _] = around(np.stack(points, axis=1), 0.05)
        x = np.linspace(low, high, POINTS)
        curves = [("model", model, color(1), "-")]
        if function is not None:
            curves.insert(0, ("true function", function, ink(ax), "--"))
        ax.plot(*points, "o", color=color(0), markersize=5, markeredgecolor="white", markeredgewidth=0.5, label="data")
        for name, f, shade, line in curves:
            out = outputs(f, x[:, None])
            if out.shape[1] != 1:
                raise ShapeError(f"the {name} has {out.shape[1]} outputs, and one is drawn: choose one of them")
            ax.plot(x, drawn(out[:, 0]), line, color=shade, linewidth=2.0, label=name)
        ax.set(xlabel="x", ylabel="y")
        ax.legend()
        return ax

"""Optimizers racing on a surface: their paths computed, drawn over contour lines, and animated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from microgad.errors import DomainError, InputError, MicrogadError, ShapeError, shown
from microgad.naming import literal, number
from microgad.node import Node
from microgad.recording import recording
from microgad.value import Value

from .axes import LINES, MARKERS, Array, alone, around, axes, box, color, library, numbers, whole, words
from .outputs import outputs, told

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

GRID = 160  # places along each axis at which the surface is computed
LEVELS = 20  # contour lines, about
FRAMES = 60  # of an animation, at most
APART = 30.0  # a path that goes so many times as far as others is not shown to its end
FAR = 50.0  # widths of the picture: what is farther away is drawn there
ROUND = ((1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0))
SKEW = 0.15  # where the middle of the heights is lower than that share of the highest, lines stand close at the bottom


def paths(
    f: Callable[[Any, Any], Any],
    optimizers: Mapping[str, Callable[[list[Any]], Any]],
    start: Sequence[float],
    steps: int = 100,
) -> dict[str, Array]:
    """The ways that optimizers take on a surface, each from the same point.

    Parameters
    ----------
    f : callable
        The surface: a number from two, x and y, computed with ``mg``'s functions.
    optimizers : dict of str to callable
        By name, a function that makes an optimizer of a list of two Values, such as
        ``lambda params: mg.nn.optim.SGD(params, lr=0.1)``, or a class of optimizers. One has ``zero_grad()`` and
        ``step(closure)``, as in PyTorch.
    start : (float, float)
        x and y.
    steps : int
        How many each takes.

    Returns
    -------
    dict of str to array, shape (steps + 1, 3)
        Points in rows: x, y and f(x, y). A path that leaves what is finite, or the domain of f, ends before that.

    Raises
    ------
    InputError
        If f or an optimizer cannot be used like that, or f is not finite at the start.
    ShapeError
        If the start is not of two numbers, or there is no optimizer.
    DomainError
        If f is undefined at the start.

    Examples
    --------
    >>> import microgad as mg
    >>> found = paths(lambda x, y: x**2 + y**2, {"SGD": lambda p: mg.nn.optim.SGD(p, lr=0.25)}, (4.0, 8.0), steps=2)
    >>> found["SGD"].tolist()
    [[4.0, 8.0, 80.0], [2.0, 4.0, 20.0], [1.0, 2.0, 5.0]]
    """
    begin = numbers("the start", start)
    if begin.shape != (2,) or not np.isfinite(begin).all():
        raise ShapeError(f"the start is two finite numbers, x and y, not {shown(start)}")
    if not isinstance(optimizers, Mapping):
        raise InputError(f"optimizers are a dict from names to functions that make them, not {shown(optimizers)}")
    if not optimizers:
        raise ShapeError("there is no optimizer to race")
    steps = whole("steps", steps)
    if not callable(f):
        raise InputError(f"a surface is a function of two numbers, not {shown(f)}")
    with recording(), np.errstate(all="ignore"):
        return {str(name): _path(f, str(name), make, begin.tolist(), steps) for name, make in optimizers.items()}


def _path(f: Callable[[Any, Any], Any], name: str, make: Any, start: Sequence[float], steps: int) -> Array:
    """The way of one optimizer."""
    params = [Value(start[0], "x"), Value(start[1], "y")]
    optimizer = _of_the_user(f"the optimizer {name}", make, params)
    if not all(callable(getattr(optimizer, method, None)) for method in ("zero_grad", "step")):
        raise InputError(f"the optimizer {literal(name)} is {shown(optimizer)}, which has no zero_grad() and step()")
    points: list[tuple[float, float, float]] = []

    def height() -> Any:
        out = _of_the_user("f", f, *params)
        if not isinstance(out, Node) or np.size(out._value) != 1:
            raise InputError(f"f returned {shown(out)}, and not a number computed from x and y")
        return out

    def closure() -> Any:  # NAG takes the gradient elsewhere than where it stands
        optimizer.zero_grad()
        out = height()
        out.backward()
        return out

    for _ in range(steps + 1):
        try:
            point = params[0].data, params[1].data, float(np.ravel(height()._value)[0])
            if not np.isfinite(point).all():
                break
            points.append(point)
            _of_the_user(f"a step of the optimizer {name}", optimizer.step, closure)
        except DomainError:
            if not points:
                raise
            break
    if not points:
        raise InputError(f"f is {point[2]} at the start: it has to be finite there")
    return np.array(points)


def _of_the_user(what: str, function: Any, *args: Any) -> Any:
    """What a function of the user's returns; its errors, other than our own, in one line."""
    what = literal(what)
    if not callable(function):
        raise InputError(f"{what} is made by a function of the parameters, not by {shown(function)}")
    try:
        return function(*args)
    except MicrogadError:
        raise
    except Exception as error:
        raise InputError(f"{what} raised {told(error)}") from error


def race(
    f: Callable[[Any, Any], Any],
    optimizers: Mapping[str, Callable[[list[Any]], Any]],
    start: Sequence[float],
    steps: int = 100,
    *,
    bounds: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Optimizers racing on a surface: contour lines, and the way that each takes from the start.

    Parameters
    ----------
    f : callable
        The surface: a number from two, x and y, computed with ``mg``'s functions.
    optimizers : dict of str to callable
        By name, a function that makes an optimizer of a list of two Values, such as
        ``lambda params: mg.nn.optim.Adam(params, lr=0.1)``.
    start : (float, float)
        x and y.
    steps : int
        How many each takes.
    bounds : ((x_low, x_high), (y_low, y_high)), optional
        What is shown; by default all paths, but for those that go much farther than the others. What leaves it is cut
        off at the edge.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If f or an optimizer cannot be used like that, or f is not finite at the start.
    ShapeError
        If the start is not of two numbers, or the bounds are none.
    DomainError
        If f is undefined at the start.
    MissingExtraError
        If matplotlib is not installed.

    Notes
    -----
    Lecture 002 shows optimizers at a saddle in this way, after A. Radford.

    Examples
    --------
    >>> import microgad as mg
    >>> optim = mg.nn.optim
    >>> rivals = {"SGD": lambda p: optim.SGD(p, lr=0.02), "Adam": lambda p: optim.Adam(p, lr=0.2)}
    >>> ax = race(lambda x, y: x**2 + 20 * y**2, rivals, (-4.0, 1.0), steps=60)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['start', 'SGD: 0.119', 'Adam: 0.0313']
    """
    with axes(alone(ax)) as ax:
        _scene(ax, f, paths(f, optimizers, start, steps), steps, bounds)
        return ax


def animate_race(
    f: Callable[[Any, Any], Any],
    optimizers: Mapping[str, Callable[[list[Any]], Any]],
    start: Sequence[float],
    steps: int = 100,
    *,
    bounds: Any = None,
    interval: int = 100,
    ax: Axes | None = None,
) -> FuncAnimation:
    """The same as `race`, step by step.

    Keep what it returns: with the last reference to it the animation stops.

    Parameters
    ----------
    f, optimizers, start, steps, bounds, ax
        As in `race`.
    interval : int
        Milliseconds from frame to frame. There are up to 61 frames: of more steps some are skipped.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        ``.save("race.png", writer="pillow")`` writes an animated PNG, which a notebook shows as a picture; with
        ``"race.gif"`` a GIF, and ``.to_jshtml()`` is a player. The legend has where each comes in the end.

    Raises
    ------
    InputError, ShapeError, DomainError, MissingExtraError
        As in `race`.

    Examples
    --------
    >>> import microgad as mg
    >>> rivals = {"SGD": lambda p: mg.nn.optim.SGD(p, lr=0.1)}
    >>> animation = animate_race(lambda x, y: x**2 - y**2, rivals, (1.0, 0.01), steps=20)
    >>> "<img" in animation.to_jshtml()
    True
    """
    with axes(alone(ax)) as ax:
        interval = whole("interval", interval)
        lines, ends = _scene(ax, f, paths(f, optimizers, start, steps), steps, bounds)
        heading = ax.set_title("step 0")
        routes = [line.get_xydata() for line in lines]

        def update(frame: int) -> list[Any]:
            for line, end, route in zip(lines, ends, routes, strict=True):
                line.set_data(*route[: frame + 1].T)
                end.set_data(*route[: frame + 1][-1:].T)
            heading.set_text(f"step {frame}")
            return [*lines, *ends, heading]

        stride = -(-steps // FRAMES)
        frames = [*range(0, steps, stride), steps]
        figure: Any = ax.figure.canvas.figure  # of a part of a figure the whole
        if figure.get_layout_engine() is not None:  # once is enough: worth half the time
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        animation: FuncAnimation = library("animation").FuncAnimation(figure, update, frames=frames, interval=interval)
        return animation


def _view(found: Mapping[str, Array], bounds: Any) -> Array:
    """What is shown: a row for each axis."""
    if bounds is not None:
        return box(bounds, (2,))
    begin = next(iter(found.values()))[0]
    below = [path[path[:, 2] <= begin[2], :2] for path in found.values()]  # above the start is nothing to be found
    reach = [float(np.abs(route - begin[:2]).max()) for route in below]
    usual = APART * float(np.quantile([far for far in reach if far > 0.0] or [0.0], 0.5, method="lower"))
    x, y = around(np.concatenate([route for route, far in zip(below, reach, strict=True) if far <= usual]), 0.15)
    for one, other in ((x, y), (y, x)):  # no strip, however straight the way
        lacking = (other[1] - other[0]) / 3.0 - (one[1] - one[0])
        if lacking > 0.0:
            one += [-lacking / 2.0, lacking / 2.0]
    return np.array([x, y])


def _scene(ax: Any, f: Any, found: Mapping[str, Array], steps: int, bounds: Any) -> tuple[list[Any], list[Any]]:
    """The surface with all paths; their lines and ends."""
    view = _view(found, bounds)
    _surface(ax, f, view)
    artists = _runners(ax, found, view, steps)
    ax.set(xlabel="x", ylabel="y", xlim=view[0], ylim=view[1])
    return artists


def _surface(ax: Any, f: Callable[[Any, Any], Any], view: Array) -> None:
    """The heights as colours and contour lines."""
    grid = [np.linspace(low, high, GRID) for low, high in view]
    x, y = np.meshgrid(*grid)
    heights = outputs(f, x.ravel(), y.ravel())[:, 0].reshape(x.shape)
    levels = _levels(heights[np.isfinite(heights)])
    if len(levels) < 2:
        return
    colors = library("colors")
    shades = colors.LinearSegmentedColormap.from_list("heights", ["#FFFFFF", "#A3B1BD"])
    norm = colors.BoundaryNorm(levels, shades.N, extend="both")
    seen = np.ma.masked_invalid(heights)
    half = (view[:, 1] - view[:, 0]) / (GRID - 1) / 2.0
    extent = (view + np.outer(half, [-1.0, 1.0])).ravel()
    image = ax.imshow(seen, cmap=shades, norm=norm, extent=extent, origin="lower", aspect="auto", zorder=0)
    ax.contour(*grid, seen, levels=levels, colors="0.5", linewidths=0.6, linestyles="solid", zorder=0)
    bar = ax.figure.colorbar(image, ax=ax, label="f(x, y)", format="%.3g", ticks=levels[:: -(-len(levels) // 10)])
    bar.minorticks_off()


def _levels(known: Array) -> Array:
    """At which heights there are contour lines: close at the bottom where the surface is much steeper elsewhere."""
    if not known.size or known.min() == known.max():
        return np.empty(0)
    low, high = float(known.min()), float(known.max())
    if np.median(known) - low >= SKEW * (high - low):
        levels = np.asarray(library("ticker").MaxNLocator(LEVELS).tick_values(low, high))
    else:
        base = min(low, 0.0)  # from which heights are counted: round numbers where that can be
        top = int(np.floor(np.log10(high - base)))
        for digits in ROUND:
            levels = base + np.outer(10.0 ** np.arange(top - 4, top + 1), digits).ravel()
            if np.sum((levels > low) & (levels < high)) >= LEVELS / 2:
                break
    inside: Array = levels[(levels > low) & (levels < high)]
    return inside


def _runners(ax: Any, found: Mapping[str, Array], view: Array, steps: int) -> tuple[list[Any], list[Any]]:
    """The paths and their ends, and a legend with where each has come."""
    effects = library("patheffects")
    far = FAR * (view[:, 1] - view[:, 0])
    begin = next(iter(found.values()))[0]
    ax.plot(*begin[:2], "ko", markersize=9, fillstyle="none", markeredgewidth=2, label="start")
    lines, ends = [], []
    for i, (name, path) in enumerate(found.items()):
        away = (np.abs(path[:, :2] - view.mean(axis=1)) > far).any(axis=1)
        last = int(np.argmax(away)) if away.any() else len(path)  # when it has left the picture for good
        route = np.clip(path[: last + 1, :2], view[:, 0] - far, view[:, 1] + far)
        lost = len(path) <= steps
        said = f"diverged after step {len(path) - 1}" if lost else number(float(path[-1, 2]), 3)
        look = {"color": color(i), "marker": MARKERS[i % len(MARKERS)], "zorder": 2.5}
        outline = [effects.withStroke(linewidth=3.5, foreground="white")]
        [line] = ax.plot(
            *route.T,
            LINES[i % len(LINES)],
            linewidth=1.8,
            markersize=4,
            markevery=max(1, len(route) // 10),
            label=f"{words(name)}: {said}",
            path_effects=outline,
            **look,
        )
        [end] = ax.plot(*route[-1:].T, markersize=10, markeredgecolor="white", linestyle="none", **look)
        lines.append(line)
        ends.append(end)
    ax.legend(loc=_corner([line.get_xydata() for line in lines], view))
    return lines, ends


def _corner(routes: Sequence[Array], view: Array) -> str:
    """The corner of the picture with the least of the paths: matplotlib's own "best" moves from frame to frame."""
    points = (np.concatenate(routes) - view[:, 0]) / (view[:, 1] - view[:, 0])
    corners = {"upper right": (1, 1), "lower right": (1, 0), "upper left": (0, 1), "lower left": (0, 0)}
    return min(corners, key=lambda corner: int((np.abs(points - corners[corner]) < (0.45, 0.4)).all(axis=1).sum()))

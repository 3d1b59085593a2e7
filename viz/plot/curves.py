"""Curves: how training went, and activation functions with their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from microgad import functions
from microgad.autodiff import adjoints, pull
from microgad.errors import DomainError, InputError, ShapeError, brief, shown
from microgad.naming import listed, literal
from microgad.node import Node
from microgad.order import topological_order
from microgad.recording import recording
from microgad.structural import shape
from microgad.tensor import Tensor
from microgad.value import Value

from .axes import LINES, MARKERS, Array, alone, axes, box, color, column, drawn, ink, library, texts, words
from .outputs import told

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("loss", "acc")  # what stands in the names of the records that a training history shows by itself
USUAL = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "silu", "gelu")
POINTS = 401  # of a curve: an odd number, so that the middle is among them
MARKS = 12  # along a curve


def history(
    history: Mapping[str, Sequence[float]], keys: Sequence[str] | None = None, *, ax: Axes | None = None
) -> Axes:
    """How training went: losses at the left, accuracies at the right, and the best epoch.

    What begins with ``val_``, of validation data, is dashed. The best epoch has the smallest validation loss, or else
    the smallest loss, or else the largest accuracy.

    Parameters
    ----------
    history : mapping of str to list of float
        What `nn.fit` returns, or any lists of one length, with a number for each epoch. What is not finite leaves a
        gap.
    keys : list of str, optional
        Which of them; by default the losses and accuracies, or, where there are none, all but "lr".
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        That of the losses; the accuracies are in another one, at the same place.

    Raises
    ------
    InputError
        If it is no mapping, holds no numbers, or has no such key.
    ShapeError
        If the lists are empty, or of different lengths.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> ax = history({"loss": [0.9, 0.5, 0.3], "val_loss": [0.9, 0.6, 0.7], "accuracy": [0.5, 0.8, 0.9]})
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.lines[-1].get_label()
    ('epoch', 'loss', 'best: epoch 2, val_loss 0.6')
    """
    with axes(alone(ax)) as ax:
        found = _records(history, keys)
        right = [key for key in found if "acc" in key]
        left = [key for key in found if key not in right] or right
        _measures(ax, found, left, "")
        ax.set(xlabel="epoch", ylabel=_kind(left))
        ax.xaxis.set_major_locator(library("ticker").MaxNLocator("auto", integer=True, steps=(1, 2, 5, 10)))
        lines = list(ax.lines)
        if right and right is not left:
            current = ax.figure.gca()
            twin = ax.twinx()
            ax.figure.sca(current)  # twinx has made its own the current one
            _measures(twin, found, right, " (right)", len({key.removeprefix("val_") for key in left}))
            twin.set_ylabel(_kind(right))
            lines += twin.lines
        marks = [*lines, *_best(ax, found)]
        legend = lines[-1].axes.legend(marks, [line.get_label() for line in marks])
        if lines[-1].axes is not ax:
            _move(legend, lines)
        return ax


def _records(history: Any, keys: Any) -> dict[str, Array]:
    """What is drawn, by name."""
    if not isinstance(history, Mapping):
        raise InputError(
            f"a history is a mapping from names to lists of numbers, as nn.fit returns, not {shown(history)}"
        )
    if strange := [key for key in history if not isinstance(key, str)]:
        raise InputError(f"the records of a history have names, and one has {shown(strange[0])}")
    if keys is None:
        plain = [key for key in history if key != "lr"]
        keys = [key for key in plain if any(part in key for part in SHOWN)] or plain
    else:
        keys = texts("keys", keys)
    if wrong := [key for key in keys if key not in history]:
        raise InputError(f"the history has no {wrong[0]!r}: it has {literal(listed(list(history))) or 'nothing'}")
    if not keys:
        raise ShapeError("the history has nothing to draw")
    found = {key: column(f"history[{key!r}]", history[key]) for key in keys}
    if len({len(x) for x in found.values()}) > 1:
        lengths = ", ".join(f"{literal(key)} has {len(x)}" for key, x in found.items())
        raise ShapeError(f"a history has a number for each epoch, and of these {lengths}: choose some of them as keys")
    return found


def _measures(ax: Any, found: Mapping[str, Array], keys: Sequence[str], where: str, first: int = 0) -> None:
    """The curves of some records; those of one measure have one colour and marker."""
    bases = list(dict.fromkeys(key.removeprefix("val_") for key in keys))
    for key in keys:
        y = drawn(found[key])
        held = key.startswith("val_") and len(keys) > 1
        i = first + bases.index(key.removeprefix("val_"))
        ax.plot(
            np.arange(1, len(y) + 1),
            y,
            LINES[held],
            color=color(i),
            marker=MARKERS[i % len(MARKERS)],
            markersize=4,
            markevery=max(1, len(y) // MARKS),
            label=words(key) + where,
        )


def _move(legend: Any, lines: Sequence[Any]) -> None:
    """Put a legend where it covers least of curves in several Axes: matplotlib itself looks at those of one."""
    box = legend.get_window_extent().transformed(lines[0].axes.transAxes.inverted())
    t = np.linspace(0.0, 1.0, POINTS)
    curves = [line.axes.transLimits.transform(line.get_xydata()) for line in lines]
    known = [curve[np.isfinite(curve).all(axis=1)] for curve in curves]
    points = np.concatenate([np.empty((0, 2)), *(np.stack([t, np.interp(t, *x.T)], axis=1) for x in known if len(x))])
    half = np.array(box.size) / 2.0 + 0.02
    spots = [
        (place, (x, y), (abs(x - half[0]), y))
        for place, x in (("center right", 1.0), ("center left", 0.0))
        for y in np.linspace(half[1], 1.0 - half[1], 9)
    ]
    covered = [(np.abs(points - middle) < half).all(axis=1).sum() for _, _, middle in spots]
    place, anchor, _ = spots[int(np.argmin(covered))]
    legend.set_loc(place)
    legend.set_bbox_to_anchor(anchor)


def _kind(keys: Sequence[str]) -> str:
    """What is along an axis of these records."""
    kind = next(
        (kind for kind, part in (("loss", "loss"), ("accuracy", "acc")) if all(part in key for key in keys)), ""
    )
    return kind or (words(keys[0]) if len(keys) == 1 else "value")


def _best(ax: Any, found: Mapping[str, Array]) -> list[Any]:
    """The mark of the best epoch, if there is one."""
    for key, sign in (("val_loss", 1.0), ("loss", 1.0), ("val_accuracy", -1.0), ("accuracy", -1.0)):
        if key in found and np.isfinite(found[key]).any():
            best = int(np.argmin(np.where(np.isfinite(found[key]), sign * found[key], np.inf)))
            said = f"best: epoch {best + 1}, {key} {found[key][best]:.4g}"
            return [ax.axvline(best + 1, color=ink(ax), linestyle=":", label=said)]
    return []


def activations(
    names: Any = None, bounds: tuple[float, float] = (-4.0, 4.0), *, ax: Axes | Sequence[Axes] | None = None
) -> Any:
    """Activation functions, and dashed their derivatives, which microgad computes as in a backward pass.

    Parameters
    ----------
    names : str, callable, list of these, or dict, optional
        Functions of ``mg`` by name, or functions of one Tensor or Value; a dict gives them names. By default sigmoid,
        tanh, relu, leaky_relu, elu, softplus, silu and gelu.
    bounds : (float, float)
        From where to where.
    ax : matplotlib.axes.Axes, or a sequence of them, optional
        Where to draw: one for each function, or one for all of them. By default in a new figure, each in its own.

    Returns
    -------
    matplotlib.axes.Axes or array of them
        Of several functions in a new figure an array with one for each; otherwise what was given.

    Raises
    ------
    InputError
        If there is no function of that name, or one cannot be computed or differentiated.
    ShapeError
        If there are not as many Axes as functions, or no functions.
    MissingExtraError
        If matplotlib is not installed.

    Notes
    -----
    Where the derivative jumps, as that of relu at 0, it is drawn as at the points to both sides. Lecture 003 has the
    table of activations, lecture 002 those with parameters.

    Examples
    --------
    >>> ax = activations("sigmoid")
    >>> function, derivative = ax.lines[-2:]
    >>> print(function.get_ydata()[200], derivative.get_ydata()[200])
    0.5 0.25
    """
    chosen = _functions(names)
    [[low, high]] = box(bounds, (1,))
    x = np.linspace(low, high, POINTS)
    several = len(chosen) > 1 and ax is None
    with axes(ax, **_panels(len(chosen) if several else 1)) as made:
        one_for_all = not isinstance(made, (list, tuple, np.ndarray))
        given = [made] * len(chosen) if one_for_all else list(np.ravel(made))
        panels, spare = (given[: len(chosen)], given[len(chosen) :]) if several else (given, [])
        if len(panels) != len(chosen):
            raise ShapeError(
                f"there are {len(chosen)} functions and {len(panels)} Axes: give one for each, or one for all"
            )
        for panel in spare:
            panel.remove()
        for panel in panels[-np.shape(made)[-1] :] if spare else []:
            panel.tick_params(labelbottom=True)  # nothing is below it now
        together = one_for_all and len(chosen) > 1
        curves = [_sampled(name, f, x) for name, f in chosen.items()]
        for i, (panel, name, (y, slope)) in enumerate(zip(panels, chosen, curves, strict=True)):
            if not (together and i):
                panel.axhline(0.0, color="0.75", linewidth=0.8, zorder=0)
                panel.axvline(0.0, color="0.75", linewidth=0.8, zorder=0)
            if together:
                marks = {"marker": MARKERS[i % len(MARKERS)], "markersize": 5, "markevery": (12 * i % 80, 80)}
                panel.plot(x, y, color=color(i), label=words(name), **marks)
                panel.plot(x, slope, "--", color=color(i), label=f"{words(name)}, derivative", **marks)
            else:
                panel.plot(x, y, color=color(0), label="f(x)")
                panel.plot(x, slope, "--", color=color(1), label="f′(x)")
                panel.set_title(words(name))
            panel.set(xlabel="x", ylabel="f(x) and f′(x)")
        panels[0].legend()
        return np.array(panels) if several else made


def _panels(n: int) -> dict[str, Any]:
    """How the figure is divided in which each function has its own Axes."""
    if n == 1:
        return {}
    rows = -(-n // 4)
    columns = -(-n // rows)
    return {"nrows": rows, "ncols": columns, "figsize": (2.8 * columns, 2.6 * rows), "sharex": True, "sharey": True}


def _functions(names: Any) -> dict[str, Callable[..., Any]]:
    """The functions that are asked for, by what they are called."""
    if names is None:
        names = USUAL
    if isinstance(names, Mapping):
        pairs = list(names.items())
    else:
        pairs = [(_called(one), one) for one in (names if isinstance(names, (list, tuple)) else [names])]
    if not pairs:
        raise ShapeError("there is no function to draw")
    found: dict[str, Callable[..., Any]] = {}
    for name, f in pairs:
        if isinstance(f, str):
            known = {
                key: one
                for key, one in vars(functions).items()
                if callable(one) and one.__module__ == functions.__name__
            }
            if f not in known:
                raise InputError(f"no function {f!r}: choose from {', '.join(sorted(known))}, or give a function")
            f = known[f]
        if not callable(f):
            raise InputError(f"an activation is a name or a function, not {shown(f)}")
        found[str(name) if str(name) not in found else f"{name} ({len(found) + 1})"] = f
    return found


def _called(f: Any) -> str:
    """The name of a function, or what a module says of itself."""
    if isinstance(f, str):
        return f
    try:
        name = getattr(f, "__name__", None)
    except Exception:  # it is not ours
        name = None
    name = name or brief(f) or type(f).__name__
    return "f" if name == "<lambda>" else literal(str(name))


def _sampled(name: str, f: Callable[..., Any], x: Array) -> tuple[Array, Array]:
    """A function and its derivative at some numbers: of all of them at once, or else of each."""
    with recording(), np.errstate(all="ignore"):
        try:
            t = Tensor(x, requires_grad=True)
            out = f(t)
            if not isinstance(out, Tensor) or shape(out) != x.shape:
                raise ShapeError(f"it returned {shown(out)}, and not a number for each")
            order = topological_order(out)
            slope = pull(order, seeds={out: np.ones_like(x)}).get(t, np.zeros_like(x))
            return drawn(out._value), drawn(slope)
        except Exception as error:  # a function of the user's may raise anything
            problem = error
        try:
            pairs = [_at(f, number) for number in x.tolist()]
            return drawn(np.array([y for y, _ in pairs])), drawn(np.array([slope for _, slope in pairs]))
        except Exception as error:
            first, last = told(problem), told(error)
    raise InputError(f"{name} cannot be computed and differentiated: of a Tensor {first}; of a Value {last}")


def _at(f: Callable[..., Any], number: float) -> tuple[float, float]:
    """The value and the derivative at one number; nan where there is none."""
    try:
        t = Value(number)
        out = f(t)
        if not isinstance(out, Node):
            return float(out), 0.0  # a constant there
        return float(out._value), float(adjoints(out).get(t, 0.0))
    except DomainError:
        return np.nan, np.nan

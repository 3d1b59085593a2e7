"""What flows through a network, layer by layer: activations, gradients, and how its weights are distributed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from microgad.agreement import outdated
from microgad.autodiff import adjoints
from microgad.errors import InputError, no_gradient, shown, spell
from microgad.naming import counted, listed, literal, number
from microgad.node import Node
from microgad.order import topological_order
from microgad.scopes import Scope
from microgad.structural import shape
from microgad.viz.choices import check_flag
from microgad.viz.graph import shares, shown_as
from microgad.viz.running import has, parts_of

from .axes import LINES, Array, alone, around, axes, color, ink, numbers, texts, whole, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = 16  # names of calls along the axis; of more some are left out


def flow(loss: Node, kinds: str | Sequence[str] | None = None, *, ax: Axes | None = None) -> Axes:
    """How large activations and gradients are from layer to layer: where they vanish, or explode.

    For each call of a module, in the order of execution, the mean of the absolute values of what it gave, and of the
    loss's derivative by that; on a logarithmic scale. Calls of one module that do not depend on each other, as of
    `nn.scalar` for several examples, are taken together, and so are the neurons of a layer; calls that do, as in a
    recurrent network, stand for themselves. A mean of exactly 0, and what is not finite, is marked at the edge.

    Parameters
    ----------
    loss : Tensor or Value
        The result that modules were used for: one number, or a Tensor after ``backward(gradient)``.
    kinds : str or list of str, optional
        The classes of the modules that are shown, such as "Linear" or "Tanh"; by default all of them, a loss that is a
        module among them.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The first of its lines is that of the activations, the second that of the gradients; calls are counted from 1.

    Raises
    ------
    InputError
        If it is no node, nothing below it needs a gradient, no such module was called, or data were set since.
    MissingExtraError
        If matplotlib is not installed.

    Notes
    -----
    The derivative of the sigmoid is at most 1/4: in a deep network of them gradients vanish (lecture 003).

    Examples
    --------
    >>> import microgad as mg
    >>> _ = mg.manual_seed(0)
    >>> model = mg.nn.MLP(2, [8] * 6 + [1], activation="sigmoid")
    >>> ax = flow(model([[1.0, 2.0]]).sum(), "Sigmoid")
    >>> activation, gradient = (line.get_ydata() for line in ax.lines[:2])
    >>> bool(activation.min() > 0.1), bool(gradient[0] < 1e-3 * gradient[-1])
    (True, True)
    """
    with axes(alone(ax)) as ax:
        root = shown_as(loss, "flow", expand=True)
        order = topological_order(root)
        if problem := outdated(order):
            raise InputError(f"flow is of one computation, before optimizer.step(): {literal(problem)}")
        if not root.needs:
            raise no_gradient(literal(spell(root)))
        adjoint = shares(order, True)
        if not adjoint:
            if np.size(root._value) == 1:
                adjoints(root)  # which says where a derivative does not exist
            raise InputError(
                f"flow shows gradients of one number, and {literal(spell(root))} is of shape {shape(root)}: take its "
                "mean, or call backward(gradient) first"
            )
        calls = _calls(order, kinds)
        x = np.arange(1, len(calls) + 1)
        _sizes(ax, x, [_mean([node._value for node in nodes]) for nodes in calls.values()], "mean |activation|", 0)
        gradients = [_mean([adjoint.get(node, 0.0) for node in nodes]) for nodes in calls.values()]
        _sizes(ax, x, gradients, "mean |∂loss/∂activation|", 1)
        ax.set(xlabel="calls of modules, in order", ylabel="mean absolute value", yscale="log")
        some = range(0, len(calls), -(-len(calls) // TICKS))
        ax.set_xticks(x[some], [words(list(calls)[i]) for i in some], rotation=45, ha="right", rotation_mode="anchor")
        ax.legend()
        return ax


def _sizes(ax: Any, x: Array, found: Sequence[float], label: str, i: int) -> None:
    """A curve on the logarithmic scale, and what has no place there at its edges: empty marks."""
    y = np.array(found)
    look: dict[str, Any] = {"color": color(i), "marker": "os"[i], "markersize": 4 if len(y) > TICKS else 6}
    ax.plot(x, np.where(np.isfinite(y) & (y > 0.0), y, np.nan), LINES[i], label=label, **look)
    look |= {"markerfacecolor": "white", "linestyle": "none", "clip_on": False, "transform": ax.get_xaxis_transform()}
    for marked, at, said in ((y == 0.0, 0.0, "0"), (~np.isfinite(y), 1.0, "not finite")):
        if marked.any():
            ax.plot(x[marked], np.full(marked.sum(), at), label=f"{label}: {said}", **look)


def _calls(order: Sequence[Node], kinds: Any) -> dict[str, list[Node]]:
    """What the calls of modules gave, by a name for each, in the order of execution."""
    results: dict[Any, list[Node]] = {}
    found: dict[Node, Scope] = {}
    for node in order:
        if (scope := _innermost(node)) is not None:
            found[node] = scope
            results.setdefault(id(scope.module), []).append(node)
    if not found:
        raise InputError(
            f"flow is of what modules compute, and no module gave anything in the graph of {literal(spell(order[-1]))}"
        )
    known = sorted({scope.kind for scope in found.values()})
    wanted = known if kinds is None else texts("kinds", kinds)
    if wrong := [kind for kind in wanted if kind not in known]:
        raise InputError(f"no module of the class {wrong[0]!r} was called: there are {literal(listed(list(known)))}")
    rounds = {key: _rounds(order, nodes) for key, nodes in results.items()}
    calls: dict[tuple[int, int], list[Node]] = {}
    for node, scope in found.items():
        if scope.kind in wanted:
            key = id(scope.module)
            calls.setdefault((key, rounds[key][node]), []).append(node)
    named: dict[str, list[Node]] = {}
    for (key, turn), nodes in calls.items():
        scope = found[nodes[0]]
        name = f"{scope.path} {scope.kind}".strip()
        if max(rounds[key].values()) > 1:
            name += f" ({turn})"
        while name in named:  # another module of that name: two models
            name += "′"
        named[name] = nodes
    return named


def _innermost(node: Node) -> Scope | None:
    """The innermost call that gave a node, but of a neuron in a layer the layer's."""
    scope: Any = node._name
    within: list[Any] = []
    while type(scope) is Scope:
        within.append(scope)
        scope = scope.inner
    if len(within) > 1 and any(x is within[-1].module for x in getattr(within[-2].module, "neurons", ())):
        within.pop()
    return within[-1] if within else None


def _rounds(order: Sequence[Node], results: Sequence[Node]) -> dict[Node, int]:
    """For each result of a module in which round it came: 1, or one more than what it depends on."""
    if len(results) == 1:
        return {results[0]: 1}
    mine, found = set(results), dict[Node, int]()
    for node in order:
        turn = max((found.get(x, 0) for x in node.inputs), default=0) + (node in mine)
        if turn:
            found[node] = turn
    return {node: found[node] for node in results}


def _mean(parts: Sequence[Any]) -> float:
    """The mean of the absolute values of some numbers and arrays."""
    with np.errstate(all="ignore"):
        return float(np.mean(np.abs(np.concatenate([np.ravel(part) for part in parts]).astype(np.float64))))


def weights(model: Any, grads: bool = False, bins: int = 60, *, ax: Axes | None = None) -> Axes:
    """Histograms of a model's weights, or of their gradients: a row for each parameter, all on one scale.

    Weights of an `nn.scalar` network are taken together by layer. Each histogram is as high as its row; beside it
    stands the standard deviation.

    Parameters
    ----------
    model : Module
        The network.
    grads : bool
        Whether to show gradients, as the last backward passes left them.
    bins : int
        How many there are from the smallest number to the largest.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default in a new figure, as high as it needs.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If it is no module, has no parameters, or no gradients are there.
    MissingExtraError
        If matplotlib is not installed.

    Examples
    --------
    >>> import microgad as mg
    >>> ax = weights(mg.nn.MLP(2, [16, 16, 1]))
    >>> [text.get_text() for text in ax.get_yticklabels()][:2]
    ['layers.0.weight (16×2)', 'layers.0.bias (16)']
    """
    rows = _rows(model, grads)
    everything = np.concatenate(list(rows.values()))
    sure = everything[np.isfinite(everything)]
    what = "gradient" if grads else "weight"
    if not len(sure):
        raise InputError(f"there is no {what} to draw" + (": call backward() first" if grads else ""))
    with axes(alone(ax), figsize=(6.4, max(3.2, 0.42 * len(rows) + 1.0))) as ax:
        [[low, high]] = around(sure[:, None], 0.02)
        edges = np.linspace(low, high, whole("bins", bins) + 1)
        sides = []
        for i, x in enumerate(rows.values()):
            known = x[np.isfinite(x)]
            counts, _ = np.histogram(known, edges)
            heights = 0.85 * counts / max(counts.max(), 1)
            base = len(rows) - 1 - i
            ax.stairs(base + heights, edges, baseline=base, fill=True, color=color(i % 2), alpha=0.55)
            ax.stairs(base + heights, edges, baseline=base, color=color(i % 2))
            lost = counted(len(x) - len(known), "number") + " not finite" if len(known) < len(x) else ""
            sides.append(lost or (f"σ {number(float(known.std()), 3)}" if len(known) else "no gradient"))
        ax.axvline(0.0, color=ink(ax), linestyle=":", linewidth=1.0)
        places = range(len(rows) - 1, -1, -1)
        ax.set(xlabel=what, ylabel="parameter", ylim=(-0.15, len(rows)))
        ax.set_yticks(places, [words(name) for name in rows])
        beside = ax.secondary_yaxis("right")
        beside.set_yticks(places, sides)
        beside.tick_params(length=0)
        return ax


def _rows(model: Any, grads: bool) -> dict[str, Array]:
    """The numbers of each parameter, by its name and shape; those of Values by layer."""
    if isinstance(model, type) or not has(model, "named_parameters"):
        raise InputError(f"weights are those of a module, not of {shown(model)}")
    found: dict[str, list[Array]] = {}
    check_flag("grads", grads, optional=False)
    for name, p in parts_of(model, "named_parameters"):
        alone = type(p._value) is float
        x = p.grad if grads else p._value
        size = "" if alone else f" ({'×'.join(map(str, p._value.shape))})"
        key = re.sub(r"\bneurons\.\d+\.|\.\d+$", "", name) if alone else name
        found.setdefault(key + size, []).append(np.empty(0) if x is None else np.ravel(numbers(f"the {name}", x)))
    if not found:
        raise InputError(f"this {type(model).__name__} has no parameters")
    return {name: np.concatenate(parts) for name, parts in found.items()}

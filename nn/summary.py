"""A network as a table: its modules, what comes out of each, and how many parameters it has."""

from __future__ import annotations

from typing import Any

import numpy as np

from microgad.errors import InputError, shown
from microgad.naming import Text, columns
from microgad.recording import no_grad

from .module import Module, wrapped
from .scalar import Layer


def _size(p: Any) -> int:
    return int(np.size(p._value))


def summary(model: Module, x: Any = None) -> Text:
    """A table of the modules of a network, with the number of their parameters.

    Parameters
    ----------
    model : Module
        The network.
    x : array, Tensor or list, optional
        A batch or an example to send through it, in order to know what shape comes out of each module. It is sent in
        `eval` mode, so that nothing changes.

    Returns
    -------
    str
        The table, and the numbers of parameters that are trained, that are frozen, and of buffers. A parameter that
        several modules share is counted in the first. A layer of scalar neurons is one row.

    Raises
    ------
    InputError
        If `model` is no module.

    Examples
    --------
    >>> import microgad as mg
    >>> print(summary(mg.nn.MLP(2, [16, 1]), [[0.0, 0.0]]))
    name           module  output   parameters
                   MLP     (1, 1)
    layers.0       Linear  (1, 16)          48
    activations.0  ReLU    (1, 16)
    layers.1       Linear  (1, 1)           17
    <BLANKLINE>
    65 parameters
    """
    if not isinstance(model, Module):
        raise InputError(f"summary is of a module, not of {shown(model)}")
    shapes = {} if x is None else _shapes(model, x)
    counted: set[int] = set()
    told: set[int] = set()  # in the row of another
    rows = [("name", "module", "output", "parameters")]
    trained = frozen = 0
    for name, module in model.named_modules():
        if id(module) in told:
            continue
        whole = isinstance(module, Layer)
        told |= {id(part) for part in module.modules()} if whole else set()
        own = {id(p): p for p in module.parameters(recurse=whole) if id(p) not in counted}
        counted |= own.keys()
        trained += sum(_size(p) for p in own.values() if p.needs)
        frozen += sum(_size(p) for p in own.values() if not p.needs)
        of = sum(map(_size, own.values()))
        rows.append((name, type(module).__name__, shapes.get(id(module), ""), f"{of:,}" if of else ""))
    shown_columns = [i for i in range(4) if i != 2 or shapes]
    lines = columns([[row[i] for i in shown_columns] for row in rows], {len(shown_columns) - 1})
    total = _counted(trained + frozen, "parameter") + (f", {frozen:,} of them frozen" if frozen else "")
    if buffers := sum(np.size(getattr(x, "_value", x)) for x in model.buffers()):
        total += f", and {_counted(buffers, 'number')} in buffers"
    return Text("\n".join([*lines, "", total]))


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _shapes(model: Module, x: Any) -> dict[int, str]:
    """What shape comes out of each module, by its id."""
    found: dict[int, str] = {}
    modules = list(model.modules())
    modes = [module.training for module in modules]

    def noted(module: Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        found[id(module)] = _shape(out)
        return out

    try:
        model.eval()
        with no_grad(), wrapped(modules, noted):
            model(x)
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
    return found


def _shape(out: Any) -> str:
    """A shape as it is written; of several outputs each, or how many there are of one shape."""
    if isinstance(out, dict):
        return ", ".join(f"{name}: {_shape(x)}" for name, x in out.items())
    if isinstance(out, (list, tuple)):
        shapes = [_shape(x) for x in out]
        return f"{len(shapes)} × {shapes[0]}" if len(set(shapes)) == 1 else ", ".join(shapes)
    data = getattr(out, "_value", out)
    if not isinstance(data, (float, int, np.ndarray, np.generic)):
        return type(out).__name__
    return str(np.shape(data)) if np.shape(data) else "number"

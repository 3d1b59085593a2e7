"""Running a model that somebody wrote, in order to see what it computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from microgad.array_functions import array_of
from microgad.errors import InputError, MicrogadError, ShapeError, shown
from microgad.node import Node
from microgad.randomness import undrawn
from microgad.recording import recording
from microgad.structural import shape
from microgad.tensor import Tensor


def has(model: Any, what: str) -> bool:
    """Whether something has a method of that name, whatever happens when it is asked."""
    try:
        return callable(getattr(model, what, None))
    except Exception:  # it is not ours
        return False


def parts_of(model: Any, what: str) -> list[Any]:
    """The modules or parameters of a model; none where it has no such method."""
    if not has(model, what):
        return []
    try:
        return list(getattr(model, what)())
    except Exception as error:  # whatever it is, it is no module
        raise InputError(f"{what}() of {shown(model)} gives no list of them: {type(error).__name__}") from None


@contextmanager
def in_use(model: Any) -> Iterator[None]:
    """While it lasts, a module and those in it are in `eval` mode, and then in the modes that they were in.

    Random numbers that it draws are not missing from the stream afterwards.

    An error if it is neither a module nor a function.
    """
    if not callable(model) or isinstance(model, type):
        raise InputError(f"a model is a module or a function, not {shown(model)}")
    modules = [one for one in parts_of(model, "modules") if hasattr(one, "training")] if has(model, "eval") else []
    modes = [module.training for module in modules]
    if modules:
        model.eval()
    try:
        with undrawn():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def parameters_of(model: Any) -> list[Any]:
    """The nodes among the parameters of a model."""
    return [p for p in parts_of(model, "parameters") if isinstance(p, Node)]


def neurons_of(model: Any) -> Iterator[Any]:
    """The neurons of Values in a model: what has weights ``w`` and a bias ``b``."""
    waiting, seen = parts_of(model, "modules") or [model], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if is_neuron(one):
            yield one
        for name in ("layers", "neurons"):
            inside = getattr(one, name, None)
            waiting += inside if isinstance(inside, (list, tuple)) else []


def is_neuron(x: Any) -> bool:
    """Whether something has weights that are Values."""
    w = getattr(x, "w", None)
    return isinstance(w, (list, tuple)) and bool(w) and all(isinstance(p, Node) and type(p._value) is float for p in w)


def _of_values(model: Any) -> bool:
    parameters = parameters_of(model)
    return bool(parameters) and all(type(p._value) is float for p in parameters)


def run(model: Any, x: Any) -> list[list[Node]]:
    """What comes out of a model for each pass: a Tensor, or the outputs of one example as Values."""
    with recording(), in_use(model), np.errstate(all="ignore"):
        return _passes(model, x)


def zeros_for(model: Any) -> Iterator[Any]:
    """Inputs that a model may take, by its first neuron or weight: a row, a vector or a column."""
    if _of_values(model):
        yield from ([0.0] * len(neuron.w) for neuron in list(neurons_of(model))[:1])
        return
    for p in [p for p in parameters_of(model) if len(shape(p)) in (1, 2)][:1]:
        for n in dict.fromkeys(shape(p)[::-1]):
            yield from (np.zeros(to, p._value.dtype) for to in ((1, n), (n,), (n, 1)))


def _passes(model: Any, x: Any) -> list[list[Node]]:
    if _of_values(model):
        examples = _examples(x)
        if not examples:
            raise no_example()
        return [_outputs(_called(model, one)) for one in examples]
    given: Any = x if isinstance(x, Node) else Tensor(array_of("x", x))
    try:
        return [_outputs(_called(model, given))]
    except MicrogadError:
        if len(shape(given)) != 1:
            raise
        with suppress(MicrogadError):  # batch normalization takes no single example
            return [_outputs(_called(model, given.reshape(1, -1)))]
        raise


def _examples(x: Any) -> list[Any]:
    """One example, or the rows of a batch: what a model of Values is given."""
    if isinstance(x, Node):
        return list(x) if len(shape(x)) == 2 else [x]  # type: ignore[call-overload]
    if isinstance(x, (list, tuple)) and any(isinstance(one, Node) for one in x):
        return [x]
    data = array_of("x", x)
    if data.ndim > 2:
        raise ShapeError(f"a network of Values takes one example or a batch of them, not x of shape {data.shape}")
    return list(data.tolist()) if data.ndim == 2 else [data.tolist()]


def _called(model: Any, x: Any) -> Any:
    try:
        return model(x)
    except MicrogadError:
        raise
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"network runs the model, and that fails: {said:.200}") from error


def _outputs(out: Any) -> list[Node]:
    found = list(out) if isinstance(out, (list, tuple)) else [out]
    strange = [x for x in found if not isinstance(x, Node)]
    if strange or not found:
        what = shown(strange[0]) if strange else "an empty list"
        raise InputError(f"network draws a model that gives a Tensor or Values, and this one gives {what}")
    if len(found) > 1 and any(type(x._value) is not float for x in found):
        raise refused(f"the model gives {len(found)} Tensors: give network one of them, as a result")
    return found


def refused(found: str) -> InputError:
    """The error of a network that cannot be drawn as one."""
    return InputError(f"network draws dense layers one behind the other: {found}; viz.draw shows any graph")


def no_example() -> ShapeError:
    """The error of a network that is shown with nothing."""
    return ShapeError("network: there is no example, and so no number to show")

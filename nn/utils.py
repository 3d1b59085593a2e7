"""What is done to all parameters together: their gradients clipped, their numbers as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from microgad.array_functions import array_of, concatenate, stack
from microgad.errors import DomainError, InputError, ShapeError, shown, spell
from microgad.node import Node

from .choices import real
from .module import gradient_of, listed


def _with_gradients(parameters: Any) -> list[tuple[Any, Any]]:
    """The parameters that have a gradient, with it as an array."""
    given = [parameters] if isinstance(parameters, Node) else listed(parameters, "the gradients are clipped of")
    for p in given:
        if not isinstance(p, Node):
            raise InputError(f"gradients of parameters are clipped, not of {shown(p)}")
    return [(p, gradient_of(p)) for p in given if p.grad is not None]


def _set(p: Any, gradient: Any) -> None:
    p.grad = gradient.item() if type(p._value) is float else gradient.astype(p._value.dtype, copy=False)


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    *,
    eps: float = 1e-6,
) -> float:
    """Shrink all gradients by one factor, so that together they are no longer than `max_norm`.

    Parameters
    ----------
    parameters : iterable of Value and Tensor
        Those without a gradient are skipped.
    max_norm : float
        The largest norm that is left as it is.
    norm_type : float
        2 for the length; ``math.inf`` for the largest absolute value.
    error_if_nonfinite : bool
        Whether a norm that is infinite or no number is an error.
    eps : float
        The factor is ``max_norm / (norm + eps)``, if that is below 1. Lectures 002 and 003 have no `eps`: with 0 the
        factor is theirs, ``min(1, max_norm / norm)``.

    Returns
    -------
    float
        The norm as it was before.

    Raises
    ------
    InputError
        If a number is out of its range, or these are no parameters.
    DomainError
        If `error_if_nonfinite` asks for it; the gradients are as before then.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = np.array([3.0, 4.0])
    >>> clip_grad_norm_([w], 1.0, eps=0.0), w.grad
    (5.0, array([0.6, 0.8]))
    """
    max_norm, eps = real(max_norm, "max_norm", infinite=True), real(eps, "eps")
    norm_type = real(norm_type, "norm_type", above=True, infinite=True)
    params = _with_gradients(parameters)
    sizes = [np.abs(g).reshape(-1) for _, g in params]
    every = np.concatenate([*sizes, np.zeros(0)])
    if norm_type == math.inf:
        norm = float(every.max(initial=0.0))
    else:
        top = float(every.max(initial=0.0)) or 1.0  # divided by the largest, squares do not overflow
        norm = top * float(((every / top) ** norm_type).sum() ** (1.0 / norm_type)) if math.isfinite(top) else top
    if error_if_nonfinite and not math.isfinite(norm):
        raise DomainError(f"the gradients of these {len(params)} parameters have the norm {norm}, and were not clipped")
    factor = max_norm / (norm + eps) if norm + eps and max_norm < math.inf else 1.0
    if not factor >= 1.0:
        with np.errstate(invalid="ignore"):  # 0 times an infinity is no number
            for p, g in params:
                _set(p, g * factor)
    return norm


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Bring each number of all gradients between ``-clip_value`` and ``clip_value``.

    Parameters
    ----------
    parameters : iterable of Value and Tensor
        Those without a gradient are skipped.
    clip_value : float
        The largest size that is left as it is.

    Raises
    ------
    InputError
        If it is negative or no number, or these are no parameters.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(0.0)
    >>> w.grad = -3.0
    >>> clip_grad_value_([w], 1.0)
    >>> w.grad
    -1.0
    """
    clip_value = real(clip_value, "clip_value", infinite=True)
    for p, g in _with_gradients(parameters):
        _set(p, np.clip(g, -clip_value, clip_value))


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All numbers one after the other, in the order of the parameters: [w1, b1, w2, b2, …] of a network.

    Parameters
    ----------
    parameters : iterable of Value, Tensor and array
        Arrays may be gradients: the vector of these, in the order of lecture 001.

    Returns
    -------
    Tensor or array, shape (n,)
        A Tensor, through which gradients flow, where a node is among them.

    Raises
    ------
    InputError
        If there are none, or one is None, as a gradient is before `backward`.

    Examples
    --------
    >>> import microgad as mg
    >>> parameters_to_vector([mg.Tensor([[1.0, 2.0]]), mg.Value(3.0)]).tolist()
    [1.0, 2.0, 3.0]
    """
    parts = []
    for p in listed(parameters, "a vector is made of"):
        if p is None:
            raise InputError("a vector of numbers has no place for None: has backward() been called?")
        if isinstance(p, Node) and type(p._value) is float:
            parts.append(stack([p]))
        else:
            found: Any = p if isinstance(p, Node) else array_of("a vector of parameters", p)
            parts.append(found.reshape(-1))
    if not parts:
        raise InputError("a vector of no parameters: is the model empty, or its generator used up?")
    return concatenate(parts)


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Set the parameters to the numbers of a vector, in their order.

    Parameters
    ----------
    vec : array or Tensor, shape (n,)
        As `parameters_to_vector` makes it.
    parameters : iterable of Value and leaf Tensor
        What is set.

    Raises
    ------
    ShapeError
        If there are not as many numbers as the parameters have; nothing is set then.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Tensor([[0.0, 0.0]])
    >>> vector_to_parameters([1.0, 2.0], [w])
    >>> w.tolist()
    [[1.0, 2.0]]
    """
    given = listed(parameters, "numbers are set in")
    numbers = np.asarray(vec._value) if isinstance(vec, Node) else array_of("a vector of parameters", vec)
    sizes = [np.size(p._value) if isinstance(p, Node) and p.prim is None else 0 for p in given]
    for p, size in zip(given, sizes, strict=True):
        if not size and not (isinstance(p, Node) and p.prim is None):
            raise InputError(f"numbers are set in leaves, and {spell(p) if isinstance(p, Node) else shown(p)} is none")
    if numbers.shape != (sum(sizes),):
        raise ShapeError(f"a vector of shape {numbers.shape} for parameters of {sum(sizes)} numbers")
    start = 0
    for p, size in zip(given, sizes, strict=True):
        part = numbers[start : start + size]
        if type(p._value) is float:
            p.data = part.item()
        else:
            p.data[...] = part.reshape(p.shape)
        start += size


__all__ = [
    "clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters",
]  # fmt: skip

"""Layers as functions. Losses are in `losses`, activations in `activations`; here, as in PyTorch, are all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from microgad import primitives as elementwise
from microgad import structural as rows
from microgad.array_functions import operand
from microgad.errors import InputError, ShapeError, shown, spell
from microgad.randomness import generator
from microgad.structural import shape
from microgad.tensor import Tensor
from microgad.tracing import refuse

from .activations import *  # noqa: F403
from .choices import real, whole
from .losses import *  # noqa: F403


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """An affine layer, ``x @ weight.T + bias``, as one operation.

    Parameters
    ----------
    x : array or Tensor, shape (..., n)
        A row of n features for each example.
    weight : array or Tensor, shape (m, n)
        A row of n weights for each neuron.
    bias : array or Tensor, shape (m,), optional
        One for each neuron.

    Returns
    -------
    array or Tensor, shape (..., m)
        The pre-activations.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    InputError
        If one of them holds no real numbers.

    Examples
    --------
    >>> linear([[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [0.5, -0.5])
    array([[11.5, 16.5]])
    """
    if type(x) is not Tensor or type(weight) is not Tensor:
        x, weight = operand(x, "linear"), operand(weight, "the weight of linear")
    of, by = shape(x), shape(weight)
    if len(by) != 2 or of[-1:] != by[1:]:
        features = f"{of[-1]} features do not meet {by[1]} columns; " if of and len(by) == 2 else ""
        raise ShapeError(
            f"linear of {spell(x)}, of shape {of}, and the weight {spell(weight)}, of shape {by}: {features}it "
            "needs inputs of (..., n) and a weight of (m, n)"
        )
    if bias is None:
        return rows.matmul(x, rows.transpose.given(axes=(1, 0))(weight))
    if type(bias) is not Tensor:
        bias = operand(bias, "the bias of linear")
    if shape(bias) != by[:1]:
        raise ShapeError(
            f"linear with the weight {spell(weight)}, of shape {by}, and the bias {spell(bias)}, of shape "
            f"{shape(bias)}: it needs one number for each row of the weight"
        )
    return rows.linear.bind(Tensor, (x, weight, bias)) if type(x) is Tensor else rows.linear(x, weight, bias)


def dropout(x: Any, p: float = 0.5, training: bool = True, *, inverted: bool = True) -> Any:
    """Set each number to 0 with probability `p` while training (Srivastava et al., 2014; lecture 002).

    Parameters
    ----------
    x : Value, array or Tensor
        What came out of a layer.
    p : float
        The probability of a 0, from 0 to 1.
    training : bool
        Whether to drop at all.
    inverted : bool
        Whether the numbers that stay are divided by ``1 - p``, so that in use nothing has to be done. False is the
        older form: they stay as they are, and in use all numbers are multiplied by ``1 - p``.

    Returns
    -------
    Value, array or Tensor
        In the shape of `x`. The mask is drawn from the generator that `mg.manual_seed` sets.

    Raises
    ------
    InputError
        If `p` is no number from 0 to 1, or `x` holds no real numbers.

    Examples
    --------
    >>> dropout([1.0, 2.0], training=False)
    array([1., 2.])
    >>> dropout([1.0, 2.0], training=False, inverted=False)
    array([0.5, 1. ])
    """
    p, x = real(p, "the probability p of dropout", 0.0, 1.0), operand(x, "dropout")
    if not training:
        return x if inverted else elementwise.mul(x, 1.0 - p)
    of = shape(x)
    refuse("random numbers are drawn by dropout",
           "all calls would get the same; call eval() first, or multiply by a mask that is an argument")  # fmt: skip
    kept = generator().random(of) >= p
    scale = 1.0 / (1.0 - p) if inverted and p < 1.0 else 1.0
    return elementwise.mul(x, (kept * scale).astype(rows.dtype(x)) if of else float(kept) * scale)


def batch_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Shift and scale each feature to mean 0 and variance 1 over the batch (Ioffe and Szegedy, 2015; lecture 002).

    Parameters
    ----------
    x : array or Tensor, shape (n, features) or (n, features, length)
        A batch.
    running_mean, running_var : leaf Tensor, shape (features,), optional
        What is used instead of the batch's own where not `training`. While training they move towards those of the
        batch, the variance without bias: divided by the number of examples less one.
    weight, bias : Tensor, shape (features,), optional
        Scale and shift afterwards.
    training : bool
        Whether mean and variance are those of the batch, with bias.
    momentum : float
        How far the running ones move, from 0 to 1.
    eps : float
        Added to the variance.

    Returns
    -------
    array or Tensor
        In the shape of `x`.

    Raises
    ------
    ShapeError
        If `x` has neither two nor three axes, there are other numbers of features, or, while training, there are
        fewer than two numbers for a feature.
    InputError
        If where not training there is no running mean or variance.

    Examples
    --------
    >>> batch_norm([[1.0], [2.0], [3.0], [4.0]], training=True, eps=0.0).ravel().round(6).tolist()
    [-1.341641, -0.447214, 0.447214, 1.341641]
    """
    x, momentum, eps = operand(x, "batch_norm"), real(momentum, "the momentum", 0.0, 1.0), real(eps, "eps")
    of = shape(x)
    if len(of) not in (2, 3):
        raise ShapeError(f"batch_norm of {spell(x)}, of shape {of}: it needs (n, features) or (n, features, length)")
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, y in given.items():
        if y is not None and shape(operand(y, name)) != of[1:2]:
            raise ShapeError(
                f"batch_norm of {spell(x)}, of shape {of}: the batch has {of[1]} features, and {name} is of shape "
                f"{shape(y)}"
            )
    axis, column = ((0,), of[1:2]) if len(of) == 2 else ((0, 2), (of[1], 1))
    if training:
        n = rows.count(x, axis)
        if n < 2:
            raise ShapeError(
                f"batch_norm of {spell(x)}, of shape {of}, in training: one number for each feature has no variance; "
                "give a larger batch, or call eval()"
            )
        mean, apart, var = _moments(x, axis)
        of_batch = ((running_mean, mean, 1.0), (running_var, var, n / (n - 1)))
        for kept, now, scale in [(_kept(x), now, scale) for x, now, scale in of_batch if x is not None]:
            kept += momentum * (np.asarray(getattr(now, "_value", now)).reshape(of[1]) * scale - kept)
    elif running_mean is None or running_var is None:
        raise InputError("batch_norm without training needs running_mean and running_var")
    else:
        mean, var = (rows.reshape.given(to=column)(operand(y, "batch_norm")) for y in (running_mean, running_var))
        apart = elementwise.sub(x, mean)
    return _scaled(apart, var, eps, weight, bias, column)


def layer_norm(
    x: Any, normalized_shape: int | Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Shift and scale each example to mean 0 and variance 1 over its features (Ba et al., 2016).

    Parameters
    ----------
    x : array or Tensor, shape (..., *normalized_shape)
        A batch, or one example.
    normalized_shape : int or sequence of int
        The lengths of the last axes, over which mean and variance are taken.
    weight, bias : Tensor, shape normalized_shape, optional
        Scale and shift afterwards.
    eps : float
        Added to the variance.

    Returns
    -------
    array or Tensor
        In the shape of `x`.

    Raises
    ------
    ShapeError
        If `x` does not end in these axes.

    Examples
    --------
    >>> layer_norm([[1.0, 3.0], [5.0, 5.0]], 2, eps=0.0 + 1e-12).round(6)
    array([[-1.,  1.],
           [ 0.,  0.]])
    """
    x, eps, last = operand(x, "layer_norm"), real(eps, "eps"), lengths_of(normalized_shape)
    of = shape(x)
    if of[-len(last) :] != last:
        raise ShapeError(f"layer_norm of {spell(x)}, of shape {of}: it needs (..., {', '.join(map(str, last))})")
    for y in (weight, bias):
        if y is not None and shape(operand(y, "layer_norm")) != last:
            raise ShapeError(f"layer_norm over {last} with {spell(y)} of shape {shape(y)}: they have to be the same")
    _, apart, var = _moments(x, tuple(range(len(of) - len(last), len(of))))
    return _scaled(apart, var, eps, weight, bias, last)


def lengths_of(normalized_shape: Any) -> tuple[int, ...]:
    """The lengths of the last axes that `layer_norm` goes over.

    Examples
    --------
    >>> lengths_of(3), lengths_of([2, 3])
    ((3,), (2, 3))
    """
    lengths = normalized_shape if isinstance(normalized_shape, (list, tuple)) else [normalized_shape]
    if not lengths:
        raise InputError("normalized_shape names at least one axis")
    return tuple(whole(n, "a length in normalized_shape") for n in lengths)


def _kept(running: Any) -> Any:
    """The array of running numbers, to be written into."""
    refuse("running means are kept", "a program would not do it again; call eval() first, or train outside of mg.jit")
    kept = running.data if isinstance(running, Tensor) and running.prim is None else running
    if isinstance(kept, np.ndarray) and kept.dtype.kind == "f" and kept.flags.writeable:
        return kept
    raise InputError(
        f"running numbers are kept in a leaf Tensor or an array of floats that can be written, not in {shown(running)}"
    )


def _moments(x: Any, axis: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """The mean, how far the numbers are from it, and the variance."""
    mean_of = rows.mean.given(axis=axis, keepdims=True)
    mean = mean_of(x)
    apart = elementwise.sub(x, mean)
    return mean, apart, mean_of(elementwise.mul(apart, apart))


def _scaled(apart: Any, var: Any, eps: float, weight: Any, bias: Any, to: tuple[int, ...]) -> Any:
    """The distances in units of their root, times the weights plus the biases, which stand along the axes `to`."""
    x = elementwise.div(apart, elementwise.sqrt(elementwise.add(var, eps)))
    for row, y in ((elementwise.mul, weight), (elementwise.add, bias)):
        if y is not None:
            y = operand(y, "a weight or bias")
            x = row(x, y if shape(y) == to else rows.reshape.given(to=to)(y))
    return x

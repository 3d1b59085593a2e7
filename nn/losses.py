"""Losses as functions and as modules."""

from __future__ import annotations

from typing import Any

import numpy as np

from microgad import structural as rows
from microgad.array_functions import array_of, operand
from microgad.errors import InputError, ShapeError, shown, spell
from microgad.node import Node
from microgad.structural import shape
from microgad.tensor import leaf


def cross_entropy(logits: Any, target: Any, reduction: str = "mean") -> Any:
    """The cross-entropy between target probabilities and the softmax of logits, stable at any size.

    Its gradient by the logits is softmax minus target, for "mean" divided by the number of examples.

    Parameters
    ----------
    logits : array or Tensor, shape (..., K)
        A row for each example; not probabilities. The classes are along the last axis, in PyTorch along the second.
    target : array of int, shape (...), or array or Tensor, shape (..., K)
        The index of the right class of each example, from 0 to K - 1, or its probabilities.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the examples.

    Returns
    -------
    number, array or Tensor
        One number, or for "none" one for each example.

    Raises
    ------
    ShapeError
        If there are no classes, or the target has neither the shape of the logits nor that without the last axis.
    InputError
        If a label is out of range (there is no ignore_index), `reduction` is none of the three, or the logits or the
        target hold no real numbers.

    Examples
    --------
    >>> import microgad as mg
    >>> z = mg.Tensor([[0.0, 0.0]], requires_grad=True)
    >>> loss = cross_entropy(z, [1])
    >>> loss.backward()
    >>> print(f"{mg.exp(loss).item():.6f}")
    2.000000
    >>> z.grad
    array([[ 0.5, -0.5]])
    """
    if not isinstance(reduction, str) or reduction not in ("mean", "sum", "none"):
        raise InputError(f'reduction is "mean", "sum" or "none", not {shown(reduction)}')
    z = operand(logits, "cross_entropy")
    of = shape(z)
    if not of or not of[-1]:
        raise ShapeError(f"cross_entropy of {spell(z)}, of shape {of}: it needs a row of at least one logit")
    logp = rows.log_softmax.given(axis=(len(of) - 1,))(z)
    return rows.nll.given(reduction=reduction)(logp, _probabilities(target, z))


def _probabilities(target: Any, z: Any) -> Any:
    """A target as one row of probabilities for each row of logits."""
    of = shape(z)
    if not isinstance(target, Node):
        try:
            given = np.asarray(target)
        except ValueError:
            raise ShapeError(f"targets of different lengths: {shown(target)}") from None
        if given.dtype.kind in "iu" and given.shape == of[:-1]:
            given = given.astype(np.int64, copy=False)  # in which every label has the sign and the bytes it should
            if given.size and np.maximum.reduce(given.view(f"u{given.itemsize}"), axis=None) >= of[-1]:
                wrong = given[(given < 0) | (given >= of[-1])][0]
                raise InputError(f"the label {wrong} of {of[-1]} classes: labels count from 0 to {of[-1] - 1}")
            flat = np.zeros((given.size, of[-1]), rows.dtype(z))
            flat[np.arange(given.size), given.reshape(-1)] = 1.0
            return leaf(flat.reshape(of)) if isinstance(z, Node) else flat.reshape(of)
        if given.dtype.kind in "fb" and given.shape == of[:-1]:
            raise InputError(
                f"targets of cross_entropy of dtype {given.dtype}, one for each example: labels are integers, as "
                "np.asarray(targets, int) makes them"
            )
        target = array_of("targets of cross_entropy", target, rows.dtype(z))
    if shape(target) != of:
        raise ShapeError(
            f"cross_entropy of {spell(z)}, of shape {of}, with targets of shape {shape(target)}: give an integer for "
            f"each example, in shape {of[:-1]}, or its probabilities, in shape {of}"
        )
    return target

"""Losses, as functions and as modules: errors of numbers, of margins (lecture 002), and of probabilities.

All take predictions and targets of one shape, and compute in rows of the table; `cross_entropy` and `nll_loss` also
take the indices of classes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from microgad import structural as rows
from microgad.array_functions import array_of, stack
from microgad.errors import GraphCutError, InputError, ShapeError, shown, spell
from microgad.node import Node
from microgad.primitives import abs as size
from microgad.primitives import clip, equal, exp, relu, sigmoid, softplus, where
from microgad.structural import dtype, shape
from microgad.tensor import Tensor, leaf
from microgad.tracers import PLAIN

from .choices import real
from .module import Module

REDUCTIONS: dict[str, Any] = {
    "mean": rows.mean.given(axis=None, keepdims=False),
    "sum": rows.total.given(axis=None, keepdims=False),
    "none": None,
}


def _reduction(name: Any) -> Any:
    """What makes one number of the losses; None to leave them."""
    if isinstance(name, str) and name in REDUCTIONS:
        return REDUCTIONS[name]
    near = difflib.get_close_matches(str(name).lower(), REDUCTIONS, 1) if isinstance(name, str) else []
    advice = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f'reduction is "mean", "sum" or "none", not {shown(name)}{advice}')


def _reduced(what: str, losses: Any, reduction: str) -> Any:
    row, of = _reduction(reduction), shape(losses)
    if row is None or not of:
        return losses
    _some(what, reduction, of)
    return row(losses)


def _some(what: str, reduction: str, of: tuple[int, ...]) -> None:
    """Refuse the mean over nothing."""
    if 0 in of and reduction == "mean":
        raise ShapeError(f'{what} of shape {of}: the mean over an empty batch; reduction="sum" gives 0')


def _numbers(what: str, x: Any, dtype: Any = None) -> Any:
    """An array of numbers, or a Tensor of Values in a list."""
    try:
        return array_of(what, x, dtype)
    except GraphCutError:
        return stack(x)


def _checked(what: str, target: Any, right: Callable[[Any], Any], needs: str) -> None:
    data = _plain(target)
    fits = right(data)
    if not np.logical_and.reduce(fits, axis=None):
        wrong = np.asarray(data)[np.logical_not(fits)][0]
        raise InputError(f"{what} with the target {wrong:g}: {needs}")


def _pair(what: str, input: Any, target: Any, right: Callable[[Any], Any], needs: str) -> tuple[Any, Any]:
    """Predictions and targets of one shape, so that nothing is broadcast."""
    x = input if isinstance(input, Node) else _numbers(what, input)
    t = target if isinstance(target, Node) else _numbers(f"the target of {what}", target, dtype(x))
    of, by = shape(x), shape(t)
    if of != by and (by or math.prod(of) != 1):
        fits = f"np.reshape(target, {of}) gives it the shape of the input" if math.prod(of) == math.prod(by) else ""
        raise ShapeError(
            f"{what} of {spell(x)}, of shape {of}, with a target of shape {by}, and nothing is broadcast: "
            + (fits or "it needs a target for each number")
        )
    _checked(what, t, right, needs)
    return x, t


def _beside(constant: Any, x: Any) -> Any:
    """An array that nobody else has as it stands beside `x`: as a leaf or a float, if that is a node."""
    if not isinstance(constant, np.ndarray) or not isinstance(x, Node):
        return constant
    return leaf(constant) if constant.ndim else float(constant)


def _plain(x: Any) -> Any:
    return getattr(x, "_value", x)


def _weights(what: str, weight: Any, x: Any) -> Any:
    """Weights as an array; a Tensor that needs no gradient gives its numbers."""
    constant = isinstance(weight, Tensor) and weight.prim is None and not weight.needs
    return array_of(what, weight._value if constant else weight, dtype(x))


# ---- errors of numbers


def _difference(what: str, input: Any, target: Any) -> Any:
    x, t = _pair(what, input, target, lambda t: t == t, "leave examples out whose target is not known")
    return x - _beside(t, x)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The squared error, ``(input - target) ** 2``.

    Lectures 002 and 004 take half of its sum, whose derivative is ``input - target``: that is
    ``0.5 * mse_loss(input, target, reduction="sum")``.

    Parameters
    ----------
    input : float, array, Value, Tensor, or list of Values, any shape
        The predictions.
    target : the same, shape of `input`
        What they should be; a plain number for one prediction.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses. (In PyTorch it has to be named, for two arguments of old stand before it.)

    Returns
    -------
    number, array, Value or Tensor
        One number, or for "none" one for each prediction.

    Raises
    ------
    ShapeError
        If input and target differ in shape, as (n, 1) and (n,) do, or it is the mean over an empty batch.
    InputError
        If a target is nan, one of them holds no real numbers, or `reduction` is none of the three.

    Examples
    --------
    >>> y = Tensor([1.0, 4.0], requires_grad=True)
    >>> loss = mse_loss(y, [1.0, 2.0])
    >>> loss.backward()
    >>> loss.item(), y.grad
    (2.0, array([0., 2.]))
    >>> 0.5 * mse_loss(y, [1.0, 2.0], reduction="sum").item()
    2.0
    """
    return _reduced("mse_loss", _difference("mse_loss", input, target) ** 2.0, reduction)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The absolute error, ``abs(input - target)``; its derivative at 0 is 0.

    Parameters
    ----------
    input : float, array, Value, Tensor, or list of Values, any shape
        The predictions.
    target : the same, shape of `input`
        What they should be; a plain number for one prediction.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Raises
    ------
    ShapeError, InputError
        As in `mse_loss`.

    Examples
    --------
    >>> l1_loss([1.0, 4.0], [1.0, 2.0], reduction="none")
    array([0., 2.])
    """
    return _reduced("l1_loss", size(_difference("l1_loss", input, target)), reduction)


def _huber(d: Any, delta: float) -> Any:
    """``d * d / 2`` up to `delta`, and from there on straight: smooth at 0 to any order, as ``abs(d)`` is not."""
    near = clip(d, -delta, delta)
    return near * (d - 0.5 * near)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """Half the squared error where that is small, else a straight line: far outliers pull no harder (Huber, 1964).

    With ``d = input - target`` it is ``d ** 2 / 2`` where ``abs(d) <= delta``, else ``delta * (abs(d) - delta / 2)``.

    Parameters
    ----------
    input : float, array, Value, Tensor, or list of Values, any shape
        The predictions.
    target : the same, shape of `input`
        What they should be; a plain number for one prediction.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.
    delta : float
        Up to which error it is squared; above 0.

    Raises
    ------
    ShapeError, InputError
        As in `mse_loss`; an `InputError` also if `delta` is not above 0.

    Examples
    --------
    >>> huber_loss([0.5, 3.0, -3.0], [0.0, 0.0, 0.0], reduction="none")
    array([0.125, 2.5  , 2.5  ])
    """
    delta = real(delta, "delta of huber_loss", above=True)
    return _reduced("huber_loss", _huber(_difference("huber_loss", input, target), delta), reduction)


def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    """The absolute error without its bend at 0: `huber_loss` of delta `beta`, divided by it (Girshick, 2015).

    With ``d = input - target`` it is ``d ** 2 / (2 * beta)`` where ``abs(d) < beta``, else ``abs(d) - beta / 2``.

    Parameters
    ----------
    input : float, array, Value, Tensor, or list of Values, any shape
        The predictions.
    target : the same, shape of `input`
        What they should be; a plain number for one prediction.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.
    beta : float
        Up to which error it is squared; with 0 it is `l1_loss`.

    Raises
    ------
    ShapeError, InputError
        As in `mse_loss`; an `InputError` also if `beta` is below 0.

    Examples
    --------
    >>> smooth_l1_loss([0.5, 3.0, -3.0], [0.0, 0.0, 0.0], reduction="none", beta=2.0)
    array([0.0625, 2.    , 2.    ])
    """
    beta, d = real(beta, "beta of smooth_l1_loss"), _difference("smooth_l1_loss", input, target)
    losses = size(d) if beta == 0.0 else _huber(d, beta) if beta == 1.0 else _huber(d, beta) / beta
    return _reduced("smooth_l1_loss", losses, reduction)


# ---- errors of margins


def _margin(what: str, input: Any, target: Any) -> Any:
    """Lecture 002's margin: how far on the right side a prediction is."""
    needs = "targets of a margin are -1 and 1; of 0 and 1, 2 * y - 1 makes them"
    x, t = _pair(what, input, target, lambda t: np.abs(t) == 1.0, needs)
    return _beside(t, x) * x


def soft_margin_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """Lecture 002's logarithmic loss of the margin, ``log(1 + exp(-M))`` with ``M = target * input``.

    It is the cross-entropy of logistic regression, `binary_cross_entropy_with_logits`, with other targets. Its
    derivative by the margin is ``-sigmoid(-M)``.

    Parameters
    ----------
    input : float, array, Value, Tensor, or list of Values, any shape
        Predictions of any size; their sign is the class.
    target : the same, shape of `input`
        The classes, -1 or 1.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Raises
    ------
    ShapeError, InputError
        As in `mse_loss`; an `InputError` also if a target is neither -1 nor 1.

    Examples
    --------
    >>> soft_margin_loss([1.0, -1.0, 1000.0], [1.0, 1.0, -1.0], reduction="none").round(8)
    array([3.13261690e-01, 1.31326169e+00, 1.00000000e+03])
    """
    return _reduced("soft_margin_loss", softplus(-_margin("soft_margin_loss", input, target)), reduction)


def hinge_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The loss of support vector machines, ``max(0, 1 - M)`` with ``M = target * input`` (lecture 002).

    Its derivative at the bend, where the margin is 1, is 0.

    Parameters
    ----------
    input : float, array, Value, Tensor, or list of Values, any shape
        Predictions of any size; their sign is the class.
    target : the same, shape of `input`
        The classes, -1 or 1.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Raises
    ------
    ShapeError, InputError
        As in `mse_loss`; an `InputError` also if a target is neither -1 nor 1.

    Examples
    --------
    >>> hinge_loss([-1.0, 0.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0], reduction="none")
    array([2., 1., 0., 0.])
    """
    return _reduced("hinge_loss", relu(1.0 - _margin("hinge_loss", input, target)), reduction)


def exponential_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The loss of boosting, ``exp(-M)`` with ``M = target * input`` (lecture 002).

    Parameters
    ----------
    input : float, array, Value, Tensor, or list of Values, any shape
        Predictions; their sign is the class. Of a margin below -709 the loss is infinite.
    target : the same, shape of `input`
        The classes, -1 or 1.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Raises
    ------
    ShapeError, InputError
        As in `mse_loss`; an `InputError` also if a target is neither -1 nor 1.

    Examples
    --------
    >>> exponential_loss([0.0, 1.0], [1.0, -1.0], reduction="none").round(8)
    array([1.        , 2.71828183])
    """
    return _reduced("exponential_loss", exp(-_margin("exponential_loss", input, target)), reduction)


def sigmoid_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """A smooth count of mistakes, ``1 / (1 + exp(M))`` with ``M = target * input`` (lecture 002).

    Parameters
    ----------
    input : float, array, Value, Tensor, or list of Values, any shape
        Predictions of any size; their sign is the class.
    target : the same, shape of `input`
        The classes, -1 or 1.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Raises
    ------
    ShapeError, InputError
        As in `mse_loss`; an `InputError` also if a target is neither -1 nor 1.

    Examples
    --------
    >>> sigmoid_loss([-1000.0, 0.0, 1000.0], [1.0, 1.0, 1.0], reduction="none")
    array([1. , 0.5, 0. ])
    """
    return _reduced("sigmoid_loss", sigmoid(-_margin("sigmoid_loss", input, target)), reduction)


# ---- errors of probabilities


def binary_cross_entropy_with_logits(
    input: Any, target: Any, reduction: str = "mean", *, weight: Any = None, pos_weight: Any = None
) -> Any:
    """The cross-entropy between target probabilities t and the sigmoid of logits x, stable at any size.

    It is ``-pos_weight * t * log(sigmoid(x)) - (1 - t) * log(sigmoid(-x))``, times `weight`, computed so that the
    smallest loss, too, is right to its last digits. Without weights its derivative by x is ``sigmoid(x) - t``.

    Parameters
    ----------
    input : float, array, Value, Tensor, or list of Values, any shape
        The logits; not probabilities.
    target : the same, shape of `input`
        The probabilities of the class 1, from 0 to 1; mostly the classes, 0 or 1.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses; the mean divides by their number, whatever the weights.
    weight : array, optional
        A factor for each loss, in a shape that broadcasts to that of `input`. (In PyTorch it comes third.)
    pos_weight : array, optional
        A factor for what the class 1 is worth, in the same way.

    Raises
    ------
    ShapeError
        If input and target differ in shape, weights do not broadcast to it, or it is the mean over an empty batch.
    InputError
        If a target is below 0, above 1 or nan, one of them holds no real numbers, or `reduction` is none of the three.

    Examples
    --------
    >>> x = Tensor([0.0, 1000.0, -1000.0], requires_grad=True)
    >>> loss = binary_cross_entropy_with_logits(x, [1.0, 0.0, 0.0], reduction="sum")
    >>> loss.backward()
    >>> print(f"{loss.item():.6f}", x.grad)
    1000.693147 [-0.5  1.   0. ]
    """
    what = "binary_cross_entropy_with_logits"
    needs = "targets are probabilities, from 0 to 1; of -1 and 1, (y + 1) / 2 makes them"
    x, t = _pair(what, input, target, lambda t: (t >= 0.0) & (t <= 1.0), needs)
    yes, no = t, 1.0 - t
    if pos_weight is not None:
        yes = yes * _repeated(f"pos_weight of {what}", pos_weight, x)
    if weight is not None:
        factor = _repeated(f"the weight of {what}", weight, x)
        yes, no = yes * factor, no * factor
    # yes * softplus(-x) + no * softplus(x), with the one of them that weighs more: their difference is x. Of 0 and 1
    # nothing else is left, so that no digit of a small loss is lost in a difference of large numbers.
    likely = np.greater_equal(_plain(yes), _plain(no))
    losses = softplus(_beside(np.where(likely, -1.0, 1.0).astype(dtype(x), copy=False), x) * x)
    if weight is not None or pos_weight is not None:
        losses = _beside(yes + no, x) * losses
    rest = where(likely, no, 0.0 - yes)
    if isinstance(rest, Node) or np.any(rest):
        losses = losses + _beside(rest, x) * x
    return _reduced(what, losses, reduction)


def _repeated(what: str, weight: Any, x: Any) -> Any:
    """Weights that broadcast to the shape of `x`."""
    found, of = _weights(what, weight, x), shape(x)
    pairs = zip(reversed(found.shape), reversed(of), strict=False)
    if found.ndim > len(of) or any(n not in (1, m) for n, m in pairs):
        raise ShapeError(f"{what}, of shape {found.shape}, does not broadcast to {of}, the shape of the input")
    return found


def cross_entropy(
    input: Any, target: Any, reduction: str = "mean", *, weight: Any = None, label_smoothing: float = 0.0
) -> Any:
    """The cross-entropy between target probabilities and the softmax of logits, stable at any size.

    Its gradient by the logits is softmax minus target, for "mean" divided by the number of examples; where target
    probabilities add up to S, it is S times softmax minus target (lecture 004).

    Parameters
    ----------
    input : array, Tensor or list of Values, shape (..., K)
        A row of logits for each example; not probabilities. The classes are along the last axis, in PyTorch along the
        second.
    target : array of int, shape (...), or array or Tensor, shape (..., K)
        The index of the right class of each example, from 0 to K - 1, or its probabilities.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the examples.
    weight : array, shape (K,), optional
        A factor for each class. The mean divides by the sum of those of the right classes if the target is indices, as
        in PyTorch, where the weight stands third, before `reduction`.
    label_smoothing : float
        The share of the target that is spread over all classes alike, from 0 to 1 (Szegedy et al., 2016).

    Returns
    -------
    number, array or Tensor
        One number, or for "none" one for each example.

    Raises
    ------
    ShapeError
        If there are no classes, the target has neither the shape of the logits nor that without the last axis, there is
        not one weight for each class, or it is the mean over an empty batch.
    InputError
        If a label is out of range (there is no ignore_index), a target nan, `reduction` none of the three,
        `label_smoothing` not from 0 to 1, or the logits or the target hold no real numbers.

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
    z, of = _classes("cross_entropy", input, reduction)
    labels = _labels("cross_entropy", target, of)
    hot = target = _probabilities(target, z) if labels is None else _one_hot(target, labels, of, dtype(z))
    if type(label_smoothing) is not float or label_smoothing != 0.0:
        share = real(label_smoothing, "label_smoothing of cross_entropy", 0.0, 1.0)
        target = target * (1.0 - share) + share / of[-1]
    if weight is not None:
        target, reduction = _weighted("cross_entropy", target, weight, z, labels, reduction)
    each_one = labels is not None and weight is None  # targets add up to 1
    loss = rows.cross_entropy.given(reduction=reduction, hard=each_one)(z, _beside(target, z))
    return loss if labels is None else _of_labels(loss, hot)


def nll_loss(input: Any, target: Any, reduction: str = "mean", *, weight: Any = None) -> Any:
    """The negative logarithm of the probability of the right class; of `log_softmax` it is `cross_entropy`.

    Parameters
    ----------
    input : array, Tensor or list of Values, shape (..., K)
        A row of logarithms of probabilities for each example. The classes are along the last axis, in PyTorch along the
        second.
    target : array of int, shape (...)
        The index of the right class of each example, from 0 to K - 1.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the examples.
    weight : array, shape (K,), optional
        A factor for each class. The mean divides by the sum of those of the right classes. (In PyTorch it comes third.)

    Returns
    -------
    number, array or Tensor
        One number, or for "none" one for each example.

    Raises
    ------
    ShapeError
        If there are no classes, there is not one label for each example or one weight for each class, or it is the mean
        over an empty batch.
    InputError
        If a label is out of range or no integer, `reduction` is none of the three, or the input holds no real numbers.

    Examples
    --------
    >>> nll_loss([[-0.5, -1.0], [-2.0, -0.25]], [0, 0]).item()
    1.25
    """
    logp, of = _classes("nll_loss", input, reduction)
    labels = _labels("nll_loss", target, of)
    if labels is None:
        found = target if isinstance(target, Node) else _numbers("targets of nll_loss", target)
        raise ShapeError(
            f"nll_loss of {spell(logp)}, of shape {of}, with targets of shape {shape(found)}: give an integer for each "
            f"example, in shape {of[:-1]}; cross_entropy takes probabilities, too"
        )
    hot = chosen = _one_hot(target, labels, of, dtype(logp))
    if weight is not None:
        chosen, reduction = _weighted("nll_loss", chosen, weight, logp, labels, reduction)
    return _of_labels(rows.nll.given(reduction=reduction)(logp, _beside(chosen, logp)), hot)


def _classes(what: str, input: Any, reduction: str) -> tuple[Any, tuple[int, ...]]:
    """A row of numbers for each example, and the shape."""
    _reduction(reduction)
    x = input if isinstance(input, Node) else _numbers(what, input)
    of = shape(x)
    if not of or not of[-1]:
        raise ShapeError(f"{what} of {spell(x)}, of shape {of}: it needs a row of numbers, one for each class")
    _some(what, reduction, of)
    return x, of


def _labels(what: str, target: Any, of: tuple[int, ...]) -> Any:
    """The index of the right class for each example; None if the target is something else."""
    try:
        given = np.asarray(target._value if isinstance(target, Node) else target)
    except ValueError:
        raise ShapeError(f"targets of different lengths: {shown(target)}") from None
    except GraphCutError:  # of nodes in a list
        return None
    if given.shape != of[:-1] or given.dtype.kind not in "iufb":
        return None
    whole = isinstance(target, PLAIN) and bool(np.all(given == np.floor(given)))  # integers, while they are traced
    if given.dtype.kind in "fb" and given.size and not whole:
        raise InputError(
            f"targets of {what} of dtype {given.dtype}, one for each example: labels are integers, as "
            f"np.asarray({'targets.data' if isinstance(target, Node) else 'targets'}, int) makes them"
        )
    given = given.astype(np.int64, copy=False)  # in which every label has the sign and the bytes it should
    if given.size and np.maximum.reduce(given.view("u8"), axis=None) >= of[-1]:
        wrong = given[(given < 0) | (given >= of[-1])][0]
        raise InputError(f"the label {wrong} of {of[-1]} classes: labels count from 0 to {of[-1] - 1}")
    return given


def _one_hot(target: Any, labels: Any, of: tuple[int, ...], dtype: Any) -> Any:
    """1 at the right class of each example; of a target that is traced as rows: it has other labels in each call."""
    if isinstance(target, Node):
        places = np.arange(of[-1], dtype=float)
        found = equal(rows.reshape.given(to=(*of[:-1], 1))(target) if len(of) > 1 else target, places)
        return found if shape(found) == of and found.dtype == dtype else rows.cast.given(to=np.dtype(dtype))(found)
    flat = np.zeros((labels.size, of[-1]), dtype)
    flat[np.arange(labels.size), labels.reshape(-1)] = 1.0
    return flat.reshape(of)


def _of_labels(loss: Any, hot: Any) -> Any:
    """A loss that is undefined where one of the labels is none, which may be so in a later call of what is traced."""
    if not isinstance(hot, Node):
        return loss
    right = equal(rows.single(rows.total.given(axis=None, keepdims=False)(hot)), float(math.prod(shape(hot)[:-1])))
    return loss * (1.0 / right)  # of numbers, which is an error where it divides by 0: the function itself runs then


def _probabilities(target: Any, z: Any) -> Any:
    """A target as one row of probabilities for each row of logits."""
    of = shape(z)
    found = target if isinstance(target, Node) else _numbers("targets of cross_entropy", target, dtype(z))
    if shape(found) != of:
        raise ShapeError(
            f"cross_entropy of {spell(z)}, of shape {of}, with targets of shape {shape(found)}: give an integer for "
            f"each example, in shape {of[:-1]}, or its probabilities, in shape {of}"
        )
    _checked("cross_entropy", found, lambda t: t == t, "leave examples out whose target is not known")
    return found


def _weighted(what: str, target: Any, weight: Any, z: Any, labels: Any, reduction: str) -> tuple[Any, str]:
    """Targets times the weights of the classes, and what is left of the reduction."""
    by = _weights(f"the weight of {what}", weight, z)
    if by.shape != shape(z)[-1:]:
        raise ShapeError(
            f"the weight of {what}, of shape {by.shape}, for {shape(z)[-1]} classes: it needs one for each"
        )
    if labels is None or reduction != "mean":
        return target * by, reduction
    if isinstance(target, Node):
        return target * by / rows.total.given(axis=None, keepdims=False)(target * by), "sum"
    total = by[labels].sum()
    if not total:
        raise InputError(f"{what} with weights that are 0 for all labels: there is no mean; take another reduction")
    return target * (by / total), "sum"


# ---- modules


class _Loss(Module):
    """A function of predictions and targets as a module."""

    function: Callable[..., Any]

    def __init__(self, reduction: str = "mean") -> None:
        _reduction(reduction)
        self.reduction = reduction

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of predictions."""
        return self.function(input, target, self.reduction)


class MSELoss(_Loss):
    """`mse_loss` as a module.

    Half the squared error of lectures 002 and 004 is ``0.5 * MSELoss(reduction="sum")(input, target)``.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Examples
    --------
    >>> MSELoss()([1.0, 4.0], [1.0, 2.0]).item()
    2.0
    """

    function = staticmethod(mse_loss)


class L1Loss(_Loss):
    """`l1_loss` as a module.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Examples
    --------
    >>> L1Loss(reduction="sum")([1.0, 4.0], [1.0, 2.0]).item()
    2.0
    """

    function = staticmethod(l1_loss)


class HuberLoss(_Loss):
    """`huber_loss` as a module.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.
    delta : float
        Up to which error it is squared; above 0.

    Examples
    --------
    >>> HuberLoss("none", delta=2.0)([1.0, 4.0], [0.0, 0.0])
    array([0.5, 6. ])
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = real(delta, "delta of HuberLoss", above=True)

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of predictions."""
        return huber_loss(input, target, self.reduction, self.delta)


class SmoothL1Loss(_Loss):
    """`smooth_l1_loss` as a module.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.
    beta : float
        Up to which error it is squared; with 0 it is `L1Loss`.

    Examples
    --------
    >>> SmoothL1Loss("none", beta=2.0)([1.0, 4.0], [0.0, 0.0])
    array([0.25, 3.  ])
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = real(beta, "beta of SmoothL1Loss")

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of predictions."""
        return smooth_l1_loss(input, target, self.reduction, self.beta)


class SoftMarginLoss(_Loss):
    """`soft_margin_loss` as a module: lecture 002's logarithmic loss of the margin.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Examples
    --------
    >>> SoftMarginLoss()([-1000.0, 1000.0], [1.0, 1.0]).item()
    500.0
    """

    function = staticmethod(soft_margin_loss)


class HingeLoss(_Loss):
    """`hinge_loss` as a module.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Examples
    --------
    >>> HingeLoss()([-1.0, 2.0], [1.0, 1.0]).item()
    1.0
    """

    function = staticmethod(hinge_loss)


class ExponentialLoss(_Loss):
    """`exponential_loss` as a module.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Examples
    --------
    >>> ExponentialLoss()([0.0, 0.0], [1.0, -1.0]).item()
    1.0
    """

    function = staticmethod(exponential_loss)


class SigmoidLoss(_Loss):
    """`sigmoid_loss` as a module.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.

    Examples
    --------
    >>> SigmoidLoss()([0.0, 0.0], [1.0, -1.0]).item()
    0.5
    """

    function = staticmethod(sigmoid_loss)


class _Weighted(_Loss):
    """A loss with weights, which are saved with it."""

    weight: Any

    def _keep(self, name: str, weight: Any) -> None:
        self.register_buffer(
            name, None if weight is None else _weights(f"{name} of {type(self).__name__}", weight, 0.0)
        )


class BCEWithLogitsLoss(_Weighted):
    """`binary_cross_entropy_with_logits` as a module.

    Parameters
    ----------
    weight : array, optional
        A factor for each loss, in a shape that broadcasts to that of the input.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses.
    pos_weight : array, optional
        A factor for what the class 1 is worth.

    Examples
    --------
    >>> BCEWithLogitsLoss()([1000.0, -1000.0], [0.0, 0.0]).item()
    500.0
    >>> BCEWithLogitsLoss(pos_weight=3.0)([-1000.0, 1000.0], [1.0, 0.0]).item()
    2000.0
    """

    pos_weight: Any

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self._keep("weight", weight)
        self._keep("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of logits."""
        weights = {"weight": self.weight, "pos_weight": self.pos_weight}
        return binary_cross_entropy_with_logits(input, target, self.reduction, **weights)


class CrossEntropyLoss(_Weighted):
    """`cross_entropy` as a module.

    Parameters
    ----------
    weight : array, shape (K,), optional
        A factor for each class.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the examples.
    label_smoothing : float
        The share of the target that is spread over all classes alike, from 0 to 1.

    Examples
    --------
    >>> CrossEntropyLoss()([[1000.0, 0.0], [0.0, 1000.0]], [1, 1]).item()
    500.0
    """

    def __init__(self, weight: Any = None, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction)
        self._keep("weight", weight)
        self.label_smoothing = real(label_smoothing, "label_smoothing of CrossEntropyLoss", 0.0, 1.0)

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of logits."""
        smoothing = self.label_smoothing
        return cross_entropy(input, target, self.reduction, weight=self.weight, label_smoothing=smoothing)


class NLLLoss(_Weighted):
    """`nll_loss` as a module.

    Parameters
    ----------
    weight : array, shape (K,), optional
        A factor for each class.
    reduction : {"mean", "sum", "none"}
        What becomes of the losses of the examples.

    Examples
    --------
    >>> NLLLoss()([[-0.5, -1.0], [-2.0, -0.25]], [0, 0]).item()
    1.25
    """

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._keep("weight", weight)

    def forward(self, input: Any, target: Any) -> Any:
        """The loss of logarithms of probabilities."""
        return nll_loss(input, target, self.reduction, weight=self.weight)


# What a loss may be asked for by: PyTorch's names, and short ones.
LOSSES: dict[str, Callable[..., Any]] = {
    "mse": mse_loss,
    "l1": l1_loss,
    "huber": huber_loss,
    "smooth_l1": smooth_l1_loss,
    "bce_with_logits": binary_cross_entropy_with_logits,
    "cross_entropy": cross_entropy,
    "nll": nll_loss,
    "soft_margin": soft_margin_loss,
    "hinge": hinge_loss,
    "exponential": exponential_loss,
    "sigmoid_margin": sigmoid_loss,
}
LOSSES |= {function.__name__: function for function in LOSSES.values()}

__all__ = [
    "BCEWithLogitsLoss", "CrossEntropyLoss", "ExponentialLoss", "HingeLoss", "HuberLoss", "L1Loss", "MSELoss",
    "NLLLoss", "SigmoidLoss", "SmoothL1Loss", "SoftMarginLoss", "binary_cross_entropy_with_logits", "cross_entropy",
    "exponential_loss", "hinge_loss", "huber_loss", "l1_loss", "mse_loss", "nll_loss", "sigmoid_loss",
    "smooth_l1_loss", "soft_margin_loss",
]  # fmt: skip

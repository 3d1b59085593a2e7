"""Activations, as functions and as modules: those of lecture 003's table, and what softmax makes of logits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from microgad import primitives as rows
from microgad.array_functions import log_softmax as _log_softmax
from microgad.array_functions import operand, unbind
from microgad.array_functions import softmax as _softmax
from microgad.errors import InputError, ShapeError, shown, spell
from microgad.functions import elu, gelu, leaky_relu, relu, sigmoid, silu, step, swish, tanh
from microgad.functions import softplus as _softplus
from microgad.node import Node
from microgad.structural import reshape, shape
from microgad.tensor import Tensor

from .choices import choose, real, whole
from .module import Module, Parameter


def identity(x: Any) -> Any:
    """`x` itself: no activation.

    Examples
    --------
    >>> identity(3.0)
    3.0
    """
    return x


def softplus(x: Any, beta: float = 1.0, threshold: float | None = None) -> Any:
    """``log(1 + exp(beta * x)) / beta``, elementwise: a smooth `relu`, closer to it where `beta` is larger.

    Parameters
    ----------
    x : float, array, Value or Tensor
        Where to evaluate it.
    beta : float
        How sharp the bend is; above 0. As a Value or Tensor it is learnt.
    threshold : float, optional
        Above it, ``beta * x`` counts as so large that the result is `x`. PyTorch's is 20, and its result then up to
        2.1e-9 too small; without one it is right everywhere.

    Examples
    --------
    >>> softplus(0.0, beta=2.0) == 0.5 * softplus(0.0)
    True
    """
    if not isinstance(beta, Node):  # to which a gradient flows, also where it is 1
        beta = real(beta, "beta of softplus", above=True)
    plain = isinstance(beta, float) and beta == 1.0
    bent = x if plain else rows.mul(x, beta)
    out = _softplus(bent)
    out = out if plain else rows.div(out, beta)
    if threshold is None:
        return out
    return rows.where(rows.greater(bent, real(threshold, "threshold of softplus", -np.inf)), x, out)


def prelu(x: Any, weight: Any) -> Any:
    """``max(0, x) + weight * min(0, x)``: a `leaky_relu` whose slope is learnt (He et al., 2015; lecture 002).

    Its derivative by the slope is ``min(0, x)``.

    Parameters
    ----------
    x : Value, array or Tensor, shape (n, channels, ...) or (channels,)
        Where to evaluate it.
    weight : Value, array or Tensor, shape (1,) or (channels,)
        The slope below 0: one for all, or one for each channel.

    Raises
    ------
    ShapeError
        If there are several slopes, and not one for each channel.

    Examples
    --------
    >>> prelu(np.array([-2.0, 1.0]), np.array([0.25]))
    array([-0.5,  1. ])
    """
    slopes, of = shape(weight), shape(x)
    if slopes not in ((), (1,)):
        axis = 1 if len(of) > 1 else 0
        if len(slopes) != 1 or not of or of[axis] != slopes[0]:
            raise ShapeError(
                f"prelu of {spell(x)}, of shape {of}, with the slopes {spell(weight)}, of shape {slopes}: it needs one "
                "for all, or one for each channel, and channels are along the second axis"
            )
        weight = reshape.given(to=(slopes[0],) + (1,) * (len(of) - axis - 1))(weight)
    elif slopes and not of:
        weight = unbind(weight)[0]  # of a Value, which remains one
    return rows.leaky_relu(x, weight)


def softmax(x: Any, dim: Any = -1, temperature: Any = 1.0) -> Any:
    """Probabilities from logits: ``exp(x / temperature)``, divided by its sum along `dim`.

    Parameters
    ----------
    x : array or Tensor
        Logits of any size; they do not overflow.
    dim : int
        The axis along which the probabilities add up to 1.
    temperature : float, Value or Tensor
        Above 1 the probabilities come closer together; near 0 the largest takes all.

    Examples
    --------
    >>> softmax([1000.0, 0.0])
    array([1., 0.])
    """
    return _softmax(x, dim, temperature)


def log_softmax(x: Any, dim: Any = -1, temperature: Any = 1.0) -> Any:
    """The logarithm of `softmax`, right where a probability is too small for a float.

    Parameters
    ----------
    x : array or Tensor
        Logits.
    dim : int
        The axis along which the probabilities add up to 1.
    temperature : float, Value or Tensor
        As in `softmax`.

    Examples
    --------
    >>> log_softmax([-800.0, 0.0])
    array([-800.,    0.])
    """
    return _log_softmax(x, dim, temperature)


class Activation(Module):
    """A function of one argument as a module.

    Parameters
    ----------
    function : callable
        Such as `mg.tanh`.

    Examples
    --------
    >>> Activation(tanh)(0.0), Activation(tanh)
    (0.0, Activation(tanh))
    """

    function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def forward(self, x: Any) -> Any:
        """The function of `x`, elementwise."""
        return self.function(self._given(x))

    def _given(self, x: Any) -> Any:
        """What it is called with; a list of numbers is an array."""
        return operand(x, self._said) if isinstance(x, (list, tuple)) else x

    def extra_repr(self) -> str:
        """The name of the function, where it has one."""
        return str(getattr(self.function, "__name__", ""))


class _Known(Activation):
    """An activation without options, whose class says what it is."""

    def __init__(self) -> None:
        pass

    def extra_repr(self) -> str:
        return ""


class Identity(_Known):
    """No activation: the module that gives what it is given.

    Examples
    --------
    >>> Identity()(2.0)
    2.0
    """

    function = staticmethod(identity)


class ReLU(_Known):
    """``max(0, x)``, the default of most networks. A neuron whose inputs are always negative learns no more.

    Its derivative at 0 is 0.

    Examples
    --------
    >>> ReLU()([-1.0, 2.0])
    array([0., 2.])
    """

    _fresh = True

    def forward(self, x: Any) -> Any:
        """The positive part of `x`, elementwise."""
        return x.relu() if type(x) is Tensor else relu(self._given(x))


class LeakyReLU(Activation):
    """``max(0, x) + negative_slope * min(0, x)``, which is never flat.

    Parameters
    ----------
    negative_slope : float
        The slope at 0 and below.

    Examples
    --------
    >>> LeakyReLU()([-1.0, 2.0])
    array([-0.01,  2.  ])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = real(negative_slope, "negative_slope", -np.inf)

    def forward(self, x: Any) -> Any:
        """The function of `x`, elementwise."""
        return leaky_relu(self._given(x), self.negative_slope)

    def extra_repr(self) -> str:  # noqa: D102
        return f"negative_slope={self.negative_slope}"


class PReLU(Activation):
    """``max(0, x) + weight * min(0, x)`` with a slope that is learnt (He et al., 2015; lecture 002).

    Parameters
    ----------
    num_parameters : int
        One slope for all, or one for each channel.
    init : float
        The slope to begin with.
    dtype : numpy.dtype, optional
        Of the slope: float64 or float32.

    Examples
    --------
    >>> layer = PReLU()
    >>> layer(Tensor([-1.0, 2.0])).sum().backward()
    >>> layer.weight.tolist(), layer.weight.grad
    ([0.25], array([-1.]))
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: Any = None) -> None:
        self.num_parameters = whole(num_parameters, "num_parameters")
        self.init = real(init, "init", -np.inf)
        self.weight = Parameter(np.full(self.num_parameters, self.init, float_type(dtype)))

    def forward(self, x: Any) -> Any:
        """The function of `x`, elementwise; channels are along the second axis."""
        return prelu(self._given(x), self.weight)

    def extra_repr(self) -> str:  # noqa: D102
        return f"num_parameters={self.num_parameters}"


class ELU(Activation):
    """`x` where it is positive, otherwise ``alpha * (exp(x) - 1)``: between -alpha and infinity.

    Parameters
    ----------
    alpha : float
        How far below 0 it reaches.

    Examples
    --------
    >>> ELU()([-1000.0, 2.0])
    array([-1.,  2.])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = real(alpha, "alpha", -np.inf)

    def forward(self, x: Any) -> Any:
        """The function of `x`, elementwise."""
        return elu(self._given(x), self.alpha)

    def extra_repr(self) -> str:  # noqa: D102
        return f"alpha={self.alpha}"


class Softplus(Activation):
    """``log(1 + exp(beta * x)) / beta``, a smooth ReLU.

    Parameters
    ----------
    beta : float
        How sharp the bend is.
    threshold : float, optional
        As in `softplus`; PyTorch's is 20.

    Examples
    --------
    >>> Softplus()([-1000.0, 1000.0])
    array([   0., 1000.])
    """

    def __init__(self, beta: float = 1.0, threshold: float | None = None) -> None:
        self.beta = real(beta, "beta", above=True)
        self.threshold = None if threshold is None else real(threshold, "threshold", -np.inf)

    def forward(self, x: Any) -> Any:
        """The function of `x`, elementwise."""
        return softplus(self._given(x), self.beta, self.threshold)

    def extra_repr(self) -> str:  # noqa: D102
        return f"beta={self.beta}" + ("" if self.threshold is None else f", threshold={self.threshold}")


class Sigmoid(_Known):
    """``1 / (1 + exp(-x))``, between 0 and 1. Its derivative is at most 1/4: in deep networks gradients vanish.

    Examples
    --------
    >>> Sigmoid()([-1000.0, 0.0])
    array([0. , 0.5])
    """

    function = staticmethod(sigmoid)


class Tanh(_Known):
    """The hyperbolic tangent, between -1 and 1.

    Examples
    --------
    >>> Tanh()([0.0, 1000.0])
    array([0., 1.])
    """

    function = staticmethod(tanh)


class SiLU(_Known):
    """``x * sigmoid(x)``, also called swish: at least -0.278465, at x = -1.27846.

    Examples
    --------
    >>> SiLU()([0.0, 1000.0])
    array([   0., 1000.])
    """

    function = staticmethod(silu)


Swish = SiLU


class GELU(Activation):
    """``x * Φ(x)``, with the normal distribution's Φ: at least -0.169971, at x = -0.75179.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Exact by the error function, or the approximation by tanh.

    Examples
    --------
    >>> GELU()([0.0, 1000.0])
    array([   0., 1000.])
    """

    def __init__(self, approximate: str = "none") -> None:
        choose(approximate, {"none": 0, "tanh": 1}, "approximation of GELU")
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        """The function of `x`, elementwise."""
        return gelu(self._given(x), self.approximate)

    def extra_repr(self) -> str:  # noqa: D102
        return f"approximate={self.approximate!r}"


class Step(_Known):
    """Heaviside's step, 1 from 0 on: the activation of Rosenblatt's perceptron. Its derivative is 0.

    Examples
    --------
    >>> Step()([-0.1, 0.0, 0.1])
    array([0., 1., 1.])
    """

    function = staticmethod(step)


class Softmax(Activation):
    """Probabilities from logits. Train with `cross_entropy` of the logits, which is stable.

    Parameters
    ----------
    dim : int
        The axis along which they add up to 1; in PyTorch there is no default.
    temperature : float
        Above 1 they come closer together; near 0 the largest takes all.

    Examples
    --------
    >>> Softmax()([1000.0, 0.0])
    array([1., 0.])
    """

    def __init__(self, dim: int = -1, temperature: float = 1.0) -> None:
        self.dim, self.temperature = whole(dim, "dim", -64), real(temperature, "the temperature", above=True)

    def forward(self, x: Any) -> Any:
        """The probabilities, in the shape of `x`."""
        return softmax(x, self.dim, self.temperature)

    def extra_repr(self) -> str:  # noqa: D102
        return f"dim={self.dim}" + (f", temperature={self.temperature}" if self.temperature != 1.0 else "")


class LogSoftmax(Softmax):
    """The logarithm of `Softmax`.

    Parameters
    ----------
    dim : int
        The axis along which the probabilities add up to 1.
    temperature : float
        As in `Softmax`.

    Examples
    --------
    >>> LogSoftmax()([-800.0, 0.0])
    array([-800.,    0.])
    """

    def forward(self, x: Any) -> Any:
        """The log-probabilities, in the shape of `x`."""
        return log_softmax(x, self.dim, self.temperature)


ACTIVATIONS: dict[str, Callable[[], Module]] = {
    "relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid, "leaky_relu": LeakyReLU, "prelu": PReLU, "elu": ELU,
    "softplus": Softplus, "silu": SiLU, "swish": SiLU, "gelu": GELU, "step": Step, "identity": Identity,
}  # fmt: skip


def activation_of(x: Any, dtype: Any = None) -> Any:
    """The activation that is asked for: by name, as a module or its class, as a function, or None for none.

    The `dtype` is that of parameters, if it has some.

    Examples
    --------
    >>> activation_of("tanh"), activation_of(ReLU), activation_of(None), activation_of(silu)
    (Tanh(), ReLU(), Identity(), Activation(silu))
    """
    if x is None:
        return Identity()
    if isinstance(x, Module):
        return x
    if callable(x) and not isinstance(x, type):
        return Activation(x)
    made: Any = x if isinstance(x, type) and issubclass(x, Module) else choose(x, ACTIVATIONS, "activation")
    try:
        inspect.signature(made.__init__).bind(made)
    except TypeError as error:
        raise InputError(f"an activation such as {made.__name__} has arguments, {error}: give an instance") from None
    return made(dtype=dtype) if made is PReLU else made()


def float_type(dtype: Any) -> Any:
    """The dtype of parameters: float64 unless float32 is asked for.

    Examples
    --------
    >>> float_type(None), float_type("float32")
    (dtype('float64'), dtype('float32'))
    """
    try:
        found = np.dtype(np.float64 if dtype is None else dtype)
    except TypeError:
        found = None
    if found not in (np.float32, np.float64):
        raise InputError(f"parameters are of float64 or float32, not of {shown(dtype)}")
    return found


__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "PReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "Swish",
    "Tanh",
    "elu",
    "gelu",
    "identity",
    "leaky_relu",
    "log_softmax",
    "prelu",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "step",
    "swish",
    "tanh",
]  # fmt: skip

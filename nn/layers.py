"""Layers: modules with weights, and modules made of others."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from microgad import primitives as elementwise
from microgad.array_functions import operand
from microgad.errors import InputError, ShapeError, shown, spell
from microgad.randomness import generator
from microgad.structural import shape
from microgad.tensor import Tensor

from . import functional as f
from .activations import activation_of, float_type
from .choices import flag, real, whole
from .module import Module, Parameter


class Linear(Module):
    """An affine layer, ``x @ weight.T + bias``: a row of weights for each neuron.

    Weights and biases begin uniform between ``-1 / sqrt(in_features)`` and ``1 / sqrt(in_features)``: PyTorch's
    default.

    Parameters
    ----------
    in_features, out_features : int
        How many numbers come in, and how many neurons there are.
    bias : bool
        Whether there is one.
    dtype : numpy.dtype, optional
        Of the parameters: float64 or float32.

    Attributes
    ----------
    weight : Tensor, shape (out_features, in_features)
        The row of a neuron is what it multiplies its inputs by.
    bias : Tensor, shape (out_features,), or None
        Added to that.

    Raises
    ------
    InputError
        If a number of features is no whole number of at least 1.

    Examples
    --------
    >>> layer = Linear(2, 3)
    >>> layer([[1.0, 2.0]]).shape, layer
    ((1, 3), Linear(in_features=2, out_features=3, bias=True))
    """

    weight: Any
    bias: Any
    _fresh = True

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: Any = None) -> None:
        self.in_features = whole(in_features, "in_features of Linear")
        flag(bias, "bias of Linear")
        self.out_features = whole(out_features, "out_features of Linear")
        kind, bound = float_type(dtype), 1.0 / math.sqrt(self.in_features)
        draw = generator()
        self.weight = Parameter(draw.uniform(-bound, bound, (self.out_features, self.in_features)).astype(kind))
        self.bias = Parameter(draw.uniform(-bound, bound, self.out_features).astype(kind)) if bias else None

    def forward(self, x: Any) -> Any:
        """The pre-activations of shape (..., out_features) of inputs of shape (..., in_features)."""
        if type(x) is not Tensor:
            x = operand(x, self._said)
        of = shape(x)
        if of[-1:] != (self.in_features,):
            raise ShapeError(
                f"{self._said} takes {self.in_features} features, in the last axis, and {spell(x)} of shape {of} has "
                f"{of[-1] if of else 'no axis'}"
            )
        return f.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:  # noqa: D102
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Sequential(Module):
    """Modules in a row: the result of each goes into the next.

    Parameters
    ----------
    *modules : Module
        In the order in which data goes through them; functions are taken, too. One dict of modules gives them names.

    Raises
    ------
    InputError
        If one of them cannot be called.

    Examples
    --------
    >>> import microgad as mg
    >>> model = Sequential(Linear(2, 3), mg.nn.ReLU(), Linear(3, 1))
    >>> model([[1.0, 2.0]]).shape, len(model), model[0]
    ((1, 1), 3, Linear(in_features=2, out_features=3, bias=True))
    """

    def __init__(self, *modules: Any) -> None:
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], dict) else dict(enumerate(modules))
        self._order: list[str] = []
        for name, module in named.items():
            self._append(str(name), module)

    def _append(self, name: str, module: Any) -> None:
        module = self._module(module)
        if not name or "." in name or hasattr(self, name):
            raise InputError(f"a module cannot be called {name!r} in {type(self).__name__}")
        setattr(self, name, module)
        self._order.append(name)

    def _module(self, module: Any) -> Any:
        """A part as a module, or the error of what is none."""
        if isinstance(module, Module):
            return module
        if callable(module) and not isinstance(module, type):
            return activation_of(module)
        name = type(self).__name__
        given, advice = shown(module), ""
        if isinstance(module, type):
            given, advice = f"the class {module.__name__}", f": {module.__name__}() is one"
        elif isinstance(module, (list, tuple)):
            advice = f": {name}(*modules) takes them out of a {type(module).__name__}"
        raise InputError(f"{name} is of modules and functions, not of {given}{advice}")

    def append(self, module: Any) -> Any:
        """Add a module at the end. Returns the sequence.

        Examples
        --------
        >>> len(Sequential().append(Linear(2, 1)))
        1
        """
        free = (str(i) for i in itertools.count(len(self._order)))
        self._append(next(name for name in free if not hasattr(self, name)), module)
        self._rename()
        return self

    def forward(self, x: Any) -> Any:
        """What the last module gives."""
        for module in self:
            x = module(x)
        return x

    def __iter__(self) -> Iterator[Any]:
        return iter([vars(self)[name] for name in self._order])

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, i: Any) -> Any:
        """A module; of a slice a sequence of the same class and options, whose modules are these, with their names."""
        names = self._names(i)
        if isinstance(names, str):
            return vars(self)[names]
        part = copy.copy(self)
        part._order = names
        for name in self._order:
            if name not in names:
                delattr(part, name)
        return part

    def __setitem__(self, i: Any, module: Any) -> None:
        """Another module in the place of one, under its name: a new last layer, say."""
        names = self._names(i)
        if not isinstance(names, str):
            raise InputError(f"modules of {type(self).__name__} are replaced one by one, and not by a slice")
        setattr(self, names, self._module(module))
        self._rename()

    def _names(self, i: Any) -> Any:
        try:
            return self._order[i]
        except IndexError:
            raise ShapeError(f"{self._said} of {len(self)} modules has no index {i}") from None
        except (TypeError, ValueError):
            raise InputError(f"{self._said} has whole numbers and slices of them as indices, not {shown(i)}") from None


class Residual(Sequential):
    """Modules in a row beside a direct path: ``x + scale * modules(x)`` (He et al., 2016; lecture 003).

    Parameters
    ----------
    *modules : Module
        As in `Sequential`; what they give has the shape of what they are given.
    scale : float
        ``1 / sqrt(depth)`` keeps the size of what flows through many of them.

    Examples
    --------
    >>> import microgad as mg
    >>> block = Residual(Linear(3, 3), mg.nn.Tanh())
    >>> block([[1.0, 2.0, 3.0]]).shape
    (1, 3)
    """

    def __init__(self, *modules: Any, scale: float = 1.0) -> None:
        super().__init__(*modules)
        self.scale = real(scale, "the scale of Residual", -math.inf)

    def forward(self, x: Any) -> Any:
        """The sum, in the shape of `x`."""
        x = operand(x, self._said)
        out = super().forward(x)
        if shape(out) != shape(x):
            raise ShapeError(
                f"{self._said}: its modules make shape {shape(out)} of shape {shape(x)}, and the sum needs the same"
            )
        return elementwise.add(x, out if self.scale == 1.0 else elementwise.mul(out, self.scale))

    def extra_repr(self) -> str:  # noqa: D102
        return f"scale={self.scale}" if self.scale != 1.0 else ""


class MLP(Module):
    """A network of `Linear` layers with an activation behind all but the last.

    Parameters
    ----------
    nin : int
        How many numbers an example has.
    nouts : int or sequence of int
        The widths of the layers, the outputs last.
    activation : str, module or function
        Behind each layer but the last: "relu", "tanh", "sigmoid", "leaky_relu", "prelu", "elu", "softplus", "silu",
        "gelu", "step", "identity"; or a module, its class, or a function. A name or a class makes one for each layer.
    dtype : numpy.dtype, optional
        Of the parameters: float64 or float32.

    Attributes
    ----------
    layers : list of Linear
        In the order in which data goes through them.

    Raises
    ------
    InputError
        If a width is no whole number of at least 1, or there is no such activation.

    Examples
    --------
    >>> model = MLP(2, [16, 16, 1])
    >>> model([[1.0, 2.0]]).shape, sum(p.size for p in model.parameters())
    ((1, 1), 337)
    """

    def __init__(self, nin: int, nouts: Any, activation: Any = "relu", dtype: Any = None) -> None:
        if type(nouts) is type(activation) is int:
            raise InputError(f"the widths of an MLP are one list: MLP({nin}, [{nouts}, {activation}])")
        sizes = widths_of(nin, nouts)
        self.layers = [Linear(n, m, dtype=dtype) for n, m in itertools.pairwise(sizes)]
        self.activations = [activation_of(activation, dtype) for _ in self.layers][1:]

    def _held(self) -> list[tuple[str, Any]]:
        def place(held: tuple[str, Any]) -> float:
            kind, _, i = held[0].partition(".")
            return int(i) if kind in ("layers", "activations") and i.isdecimal() else math.inf

        return sorted(super()._held(), key=place)  # as data goes through them

    def forward(self, x: Any) -> Any:
        """The outputs of shape (..., nouts[-1]) of inputs of shape (..., nin)."""
        for layer, activation in zip(self.layers, self.activations, strict=False):
            x = activation(layer(x))
        return self.layers[-1](x)


def widths_of(nin: Any, nouts: Any) -> list[int]:
    """The widths of a network from its inputs to its outputs.

    Examples
    --------
    >>> widths_of(2, [16, 1]), widths_of(2, 1)
    ([2, 16, 1], [2, 1])
    """
    several = isinstance(nouts, (list, tuple)) or (isinstance(nouts, np.ndarray) and nouts.ndim == 1)
    widths = list(nouts) if several else [nouts]
    if not widths:
        raise InputError("an MLP has at least one layer: nouts lists their widths, the outputs last")
    return [whole(nin, "nin"), *(whole(n, "a width in nouts") for n in widths)]


class Dropout(Module):
    """Set each number to 0 with probability `p` while training, and pass everything in use (lecture 002).

    Parameters
    ----------
    p : float
        The probability of a 0, from 0 to 1.
    inverted : bool
        Whether what stays is divided by ``1 - p`` while training. False is the form that lecture 002 begins with:
        what stays is as it was, and in use everything is multiplied by ``1 - p``.

    Raises
    ------
    InputError
        If `p` is no number from 0 to 1.

    Examples
    --------
    >>> Dropout(0.5).eval()([1.0, 2.0]), Dropout(1.0)([1.0, 2.0])
    (array([1., 2.]), array([0., 0.]))
    """

    def __init__(self, p: float = 0.5, *, inverted: bool = True) -> None:
        self.p, self.inverted = real(p, "the probability p of Dropout", 0.0, 1.0), bool(inverted)

    def forward(self, x: Any) -> Any:
        """What is left of `x`."""
        return f.dropout(x, self.p, self.training, inverted=self.inverted)

    def extra_repr(self) -> str:  # noqa: D102
        return f"p={self.p}" + ("" if self.inverted else ", inverted=False")


class BatchNorm1d(Module):
    """Shift and scale each feature to mean 0 and variance 1 over the batch, then to what is learnt (lecture 002).

    While training, mean and variance are those of the batch, and running ones follow them; in use, after `eval`, the
    running ones stand in, so that an example's result does not depend on the others.

    Parameters
    ----------
    num_features : int
        How many there are, along the second axis.
    eps : float
        Added to the variance.
    momentum : float or None
        How far the running mean and variance move towards those of a batch; None for the mean over all batches.
    affine : bool
        Whether a scale, `weight`, and a shift, `bias`, are learnt.
    track_running_stats : bool
        Whether there are running ones; without them the batch's own are used always.
    dtype : numpy.dtype, optional
        Of the parameters: float64 or float32.
    bias : bool
        With `affine`, whether there is a shift, too.

    Raises
    ------
    InputError
        If an argument is out of its range.

    Examples
    --------
    >>> layer = BatchNorm1d(1)
    >>> layer([[1.0], [2.0], [3.0], [4.0]]).data.ravel().round(6).tolist()
    [-1.341635, -0.447212, 0.447212, 1.341635]
    >>> layer.running_mean.tolist(), layer.running_var.data.round(6).tolist()
    ([0.25], [1.066667])
    """

    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        self.num_features = whole(num_features, "num_features of BatchNorm1d")
        self.eps = real(eps, "eps of BatchNorm1d")
        self.momentum = None if momentum is None else real(momentum, "the momentum of BatchNorm1d", 0.0, 1.0)
        ones, zeros = (np.full(self.num_features, x, float_type(dtype)) for x in (1.0, 0.0))
        self.weight = Parameter(ones) if affine else None
        self.bias = Parameter(zeros) if affine and bias else None
        tracked = track_running_stats
        self.register_buffer("running_mean", Tensor(zeros, name="running_mean") if tracked else None)
        self.register_buffer("running_var", Tensor(ones, name="running_var") if tracked else None)
        self.register_buffer("num_batches_tracked", np.array(0) if tracked else None)

    def forward(self, x: Any) -> Any:
        """The batch of shape (n, num_features) or (n, num_features, length), shifted and scaled."""
        x, momentum = operand(x, self._said), self.momentum
        of = shape(x)
        if len(of) in (2, 3) and of[1] != self.num_features:
            raise ShapeError(
                f"{self._said} takes {self.num_features} features, in the second axis, and {spell(x)} of shape {of} "
                f"has {of[1]}"
            )
        if self.training and self.running_mean is not None:
            seen = self.num_batches_tracked + 1
            momentum = 1.0 / int(seen) if momentum is None else momentum
        out = f.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum or 0.0,
            self.eps,
        )
        if self.training and self.running_mean is not None:
            self.num_batches_tracked[...] = seen  # only of a batch that had the right shape
        return out

    def extra_repr(self) -> str:  # noqa: D102
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}, "
            f"bias={self.bias is not None}, track_running_stats={self.running_mean is not None}"
        )


class LayerNorm(Module):
    """Shift and scale each example to mean 0 and variance 1 over its features, then to what is learnt.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of the last axes, over which mean and variance are taken.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether a scale, `weight`, is learnt for each number.
    bias : bool
        Whether a shift, `bias`, is learnt, too.
    dtype : numpy.dtype, optional
        Of the parameters: float64 or float32.

    Raises
    ------
    InputError
        If an argument is out of its range.

    Examples
    --------
    >>> LayerNorm(2)([[1.0, 3.0]]).data.round(4).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = f.lengths_of(normalized_shape)
        self.eps = real(eps, "eps of LayerNorm")
        kind = float_type(dtype)
        self.weight = Parameter(np.ones(self.normalized_shape, kind)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, kind)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Any:
        """The examples of shape (..., *normalized_shape), each shifted and scaled."""
        x, last = operand(x, self._said), self.normalized_shape
        of = shape(x)
        if of[-len(last) :] != last:
            raise ShapeError(
                f"{self._said} takes {last}, in the last {'axis' if len(last) == 1 else f'{len(last)} axes'}, and "
                f"{spell(x)} of shape {of} has {of[-len(last) :] or 'none'}"
            )
        return f.layer_norm(x, last, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:  # noqa: D102
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}, "
            f"bias={self.bias is not None}"
        )

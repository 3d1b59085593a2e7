"""Where training begins: functions that fill a parameter's numbers in place, and one for a whole network.

The weight of a layer has the shape (outputs, inputs). Its fan-in is the number of its inputs, its fan-out that of its
outputs; where there are more axes, both are multiplied by the lengths of those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from microgad.array_functions import array_of, operand
from microgad.errors import InputError, InteriorError, ShapeError, shown, spell
from microgad.node import Node
from microgad.randomness import seeded
from microgad.recording import no_grad
from microgad.structural import shape
from microgad.tensor import Tensor

from .choices import choose, real
from .layers import Linear
from .module import Module, wrapped

Array = np.ndarray[Any, Any]

_LINEAR = ("linear", *(f"conv{way}{n}d" for way in ("", "_transpose") for n in (1, 2, 3)))
_GAINS = {**dict.fromkeys((*_LINEAR, "sigmoid"), 1.0), "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much weights are to be larger because of the activation behind them, by its name.

    Parameters
    ----------
    nonlinearity : str
        "linear" and "sigmoid" have 1, and so have "conv1d" to "conv_transpose3d"; "tanh" has 5/3, "relu" √2,
        "leaky_relu" √(2 / (1 + slope²)), and "selu" 3/4.
    param : float, optional
        The slope of "leaky_relu" below 0, by default 0.01.

    Returns
    -------
    float
        The factor.

    Raises
    ------
    InputError
        If there is no such name, or the slope is no finite number.

    Examples
    --------
    >>> calculate_gain("leaky_relu", 1.0), calculate_gain("tanh")
    (1.0, 1.6666666666666667)
    """
    gain: float | None = choose(nonlinearity, {**_GAINS, "leaky_relu": None}, "nonlinearity")
    if gain is not None:
        return gain
    slope = 0.01 if param is None else real(param, "the slope of leaky_relu", -math.inf)
    return math.sqrt(2.0 / (1.0 + slope * slope))


# ---- what all of them share


def _filled(tensor: Any, what: str, axes: int = 0) -> Any:
    """A tensor that can be filled."""
    if not isinstance(tensor, Tensor):
        advice = ": set its .data" if isinstance(tensor, Node) else ""
        raise InputError(f"{what} fills a Tensor, not {shown(tensor)}{advice}")
    if tensor.prim is not None:
        raise InteriorError(f"{what} fills a leaf, and {spell(tensor)} is computed: fill what it is computed from")
    if tensor.ndim < axes:
        raise ShapeError(
            f"{what} of {spell(tensor)} of shape {tensor.shape}: a weight has at least {axes} axes, (outputs, inputs)"
        )
    return tensor


def _fill(tensor: Any, numbers: Any) -> Any:
    with np.errstate(over="ignore"):  # a float32 may be too small for them: inf, as of any other computation
        tensor.data[...] = numbers
    return tensor


def _number(x: Any, what: str) -> float:
    return real(x, what, -math.inf)


def _fans(tensor: Any) -> dict[str, int]:
    """The fans of a weight; 1 where it holds no numbers, and any will do."""
    area = math.prod(tensor.shape[2:])
    return {"fan_in": tensor.shape[1] * area or 1, "fan_out": tensor.shape[0] * area or 1}


def _apart(low: float, high: float, what: str) -> None:
    if not math.isfinite(high - low):
        raise InputError(f"{what} draws between {low:g} and {high:g}, which is too far apart for a float")


def _uniform(tensor: Any, low: float, high: float, generator: Any, what: str) -> Any:
    _apart(low, high, what)
    return _fill(tensor, seeded(generator).uniform(low, high, tensor.shape))


def _normal(tensor: Any, std: float, generator: Any) -> Any:
    return _fill(tensor, seeded(generator).normal(0.0, std, tensor.shape))


# ---- one distribution, one number


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Any:
    """Fill with numbers that are uniform between two.

    Parameters
    ----------
    tensor : Tensor
        A leaf of any shape; it is filled in place.
    a, b : float
        The least and the largest.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    InputError
        If it is no Tensor, a bound is no finite number, or `b` is below `a`.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import microgad as mg
    >>> w = uniform_(mg.Tensor([0.0, 0.0]), -1.0, 1.0)
    >>> bool((abs(w.data) <= 1.0).all())
    True
    """
    _filled(tensor, "uniform_")
    low = _number(a, "the lower bound a of uniform_")
    return _uniform(tensor, low, real(b, "the upper bound b of uniform_", low), generator, "uniform_")


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Any:
    """Fill with normally distributed numbers.

    Parameters
    ----------
    tensor : Tensor
        A leaf of any shape; it is filled in place.
    mean, std : float
        Of the distribution; the standard deviation is at least 0.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    InputError
        If it is no Tensor, a parameter is no finite number, or `std` is negative.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import microgad as mg
    >>> normal_(mg.Tensor([0.0, 0.0]), mean=3.0, std=0.0).tolist()
    [3.0, 3.0]
    """
    _filled(tensor, "normal_")
    mean, std = _number(mean, "the mean of normal_"), real(std, "the std of normal_")
    return _fill(tensor, seeded(generator).normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Any:
    """Fill with numbers of a normal distribution that is cut off below `a` and above `b`.

    Parameters
    ----------
    tensor : Tensor
        A leaf of any shape; it is filled in place.
    mean, std : float
        Of the distribution before it is cut; the standard deviation is above 0.
    a, b : float
        The least and the largest; the mean may lie outside of them, and they may be infinite.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    InputError
        If it is no Tensor, a parameter is no number, `std` is not above 0, or `b` is below `a`.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import microgad as mg
    >>> w = trunc_normal_(mg.Tensor([0.0, 0.0]), a=3.0, b=4.0)
    >>> bool(((w.data >= 3.0) & (w.data <= 4.0)).all())
    True
    """
    _filled(tensor, "trunc_normal_")
    mean, std = _number(mean, "the mean of trunc_normal_"), real(std, "the std of trunc_normal_", above=True)
    low = real(a, "the lower bound a of trunc_normal_", -math.inf, math.inf, below=True, infinite=True)
    high = real(b, "the upper bound b of trunc_normal_", low, infinite=True)
    draw = seeded(generator)
    mode = min(max(mean, low), high)  # where the density is highest
    z = abs(mode - mean) / std
    reach = 80.0 / (math.sqrt(z * z + 80.0) + z)  # so many std from there it is e⁻⁴⁰ times as high
    low, high = max(low, mode - reach * std), min(high, mode + reach * std)
    _apart(low, high, "trunc_normal_")
    out, left = np.empty(tensor.size), np.arange(tensor.size)
    while left.size:  # a candidate anywhere is taken with the probability of its density over the highest
        out[left] = draw.uniform(low, high, left.size)
        d = np.abs(out[left] - mode) / std
        left = left[draw.random(left.size) >= np.exp(-d * (z + 0.5 * d))]
    return _fill(tensor, out.reshape(tensor.shape))


def constant_(tensor: Any, val: float) -> Any:
    """Fill with one number.

    Parameters
    ----------
    tensor : Tensor
        A leaf of any shape; it is filled in place.
    val : float
        The number.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    InputError
        If it is no Tensor, or `val` no finite number.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import microgad as mg
    >>> constant_(mg.Tensor([0.0, 0.0]), 0.3).tolist()
    [0.3, 0.3]
    """
    return _fill(_filled(tensor, "constant_"), _number(val, "the number of constant_"))


def ones_(tensor: Any) -> Any:
    """Fill with 1.

    Parameters
    ----------
    tensor : Tensor
        A leaf of any shape; it is filled in place.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    InputError
        If it is no Tensor.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import microgad as mg
    >>> ones_(mg.Tensor([0.0, 0.0])).tolist()
    [1.0, 1.0]
    """
    return _fill(_filled(tensor, "ones_"), 1.0)


def zeros_(tensor: Any) -> Any:
    """Fill with 0.

    Parameters
    ----------
    tensor : Tensor
        A leaf of any shape; it is filled in place.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    InputError
        If it is no Tensor.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import microgad as mg
    >>> zeros_(mg.Tensor([1.0, 2.0])).tolist()
    [0.0, 0.0]
    """
    return _fill(_filled(tensor, "zeros_"), 0.0)


def eye_(tensor: Any) -> Any:
    """Fill with the identity: a layer passes on as many of its inputs as it has outputs for.

    Parameters
    ----------
    tensor : Tensor, shape (m, n)
        A leaf; it is filled in place.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    ShapeError
        If it has not two axes.
    InputError
        If it is no Tensor.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import microgad as mg
    >>> eye_(mg.Tensor([[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]])).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    if _filled(tensor, "eye_").ndim != 2:
        raise ShapeError(f"eye_ of {spell(tensor)} of shape {tensor.shape}: a matrix has two axes")
    return _fill(tensor, np.eye(*tensor.shape))


# ---- weights


def fan_uniform_(tensor: Any, mode: str = "fan_in", generator: Any = None) -> Any:
    """Fill uniformly between ``-1 / √fan`` and ``1 / √fan``, the first initialisation of lecture 002.

    With "fan_in", for which `Linear` is made by default, outputs of a layer have a third of the variance of its inputs,
    however wide the layer is: this is what the lecture proposes it for. It prints the layer's own width instead,
    which is "fan_out": for a layer from 300 to 100 that is 0.1, and with "fan_in" it is 0.0577.

    Parameters
    ----------
    tensor : Tensor, shape (outputs, inputs, ...)
        A leaf; it is filled in place.
    mode : {"fan_in", "fan_out"}
        Whether the inputs are counted, or the outputs.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    ShapeError
        If it has fewer than two axes.
    InputError
        If it is no Tensor, or the mode is none of the two.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import numpy as np, microgad as mg
    >>> w = mg.Tensor(np.zeros((100, 300)))
    >>> print(f"{abs(fan_uniform_(w).data).max():.4f} {abs(fan_uniform_(w, 'fan_out').data).max():.4f}")
    0.0577 0.1000
    """
    bound = 1.0 / math.sqrt(choose(mode, _fans(_filled(tensor, "fan_uniform_", 2)), "mode"))
    return _uniform(tensor, -bound, bound, generator, "fan_uniform_")


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Fill uniformly between ``-bound`` and ``bound = gain * √(6 / (fan_in + fan_out))`` (Glorot and Bengio, 2010).

    It is the second initialisation of lecture 002: gradients have the same variance in layers of all widths. The
    lecture prints ``6 / √(fan_in + fan_out)``, where the root has to be over the 6 as well: for a layer from 300 to 100
    the bound is 0.12247, and not 0.3.

    Parameters
    ----------
    tensor : Tensor, shape (outputs, inputs, ...)
        A leaf; it is filled in place.
    gain : float
        A factor of at least 0, such as `calculate_gain` gives.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    ShapeError
        If it has fewer than two axes.
    InputError
        If it is no Tensor, or the gain no number of at least 0.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import numpy as np, microgad as mg
    >>> w = xavier_uniform_(mg.Tensor(np.zeros((100, 300))))
    >>> print(f"{abs(w.data).max():.4f}")
    0.1225
    """
    bound = math.sqrt(3.0) * _xavier(tensor, gain, "xavier_uniform_")
    return _uniform(tensor, -bound, bound, generator, "xavier_uniform_")


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Fill with normal numbers of mean 0 and ``std = gain * √(2 / (fan_in + fan_out))`` (Glorot and Bengio, 2010).

    Parameters
    ----------
    tensor : Tensor, shape (outputs, inputs, ...)
        A leaf; it is filled in place.
    gain : float
        A factor of at least 0, such as `calculate_gain` gives.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    ShapeError
        If it has fewer than two axes.
    InputError
        If it is no Tensor, or the gain no number of at least 0.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import numpy as np, microgad as mg
    >>> w = xavier_normal_(mg.Tensor(np.zeros((100, 300))), generator=0)
    >>> print(f"{w.data.std():.3f}")
    0.071
    """
    return _normal(tensor, _xavier(tensor, gain, "xavier_normal_"), generator)


def _xavier(tensor: Any, gain: float, what: str) -> float:
    """The standard deviation."""
    fans = _fans(_filled(tensor, what, 2))
    return real(gain, f"the gain of {what}") * math.sqrt(2.0 / sum(fans.values()))


def kaiming_uniform_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Any:
    """Fill uniformly between ``-bound`` and ``bound = gain * √(3 / fan)`` (He et al., 2015).

    Parameters
    ----------
    tensor : Tensor, shape (outputs, inputs, ...)
        A leaf; it is filled in place.
    a : float
        The slope below 0 of the leaky_relu behind the layer; 0 is relu.
    mode : {"fan_in", "fan_out"}
        Whether the variance is kept of what flows forward, or of what flows back.
    nonlinearity : str
        The activation behind the layer, whose `calculate_gain` is the gain.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    ShapeError
        If it has fewer than two axes.
    InputError
        If it is no Tensor, `a` no finite number, or there is no such mode or nonlinearity.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import numpy as np, microgad as mg
    >>> w = kaiming_uniform_(mg.Tensor(np.zeros((100, 600))), nonlinearity="relu")
    >>> print(f"{abs(w.data).max():.4f}")
    0.1000
    """
    bound = math.sqrt(3.0) * _kaiming(tensor, a, mode, nonlinearity, "kaiming_uniform_")
    return _uniform(tensor, -bound, bound, generator, "kaiming_uniform_")


def kaiming_normal_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Any:
    """Fill with normal numbers of mean 0 and ``std = gain / √fan`` (He et al., 2015).

    Parameters
    ----------
    tensor : Tensor, shape (outputs, inputs, ...)
        A leaf; it is filled in place.
    a : float
        The slope below 0 of the leaky_relu behind the layer; 0 is relu.
    mode : {"fan_in", "fan_out"}
        Whether the variance is kept of what flows forward, or of what flows back.
    nonlinearity : str
        The activation behind the layer, whose `calculate_gain` is the gain.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    ShapeError
        If it has fewer than two axes.
    InputError
        If it is no Tensor, `a` no finite number, or there is no such mode or nonlinearity.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import numpy as np, microgad as mg
    >>> w = kaiming_normal_(mg.Tensor(np.zeros((100, 200))), mode="fan_out", generator=0)
    >>> print(f"{w.data.std():.2f}")
    0.14
    """
    return _normal(tensor, _kaiming(tensor, a, mode, nonlinearity, "kaiming_normal_"), generator)


def _kaiming(tensor: Any, a: float, mode: str, nonlinearity: str, what: str) -> float:
    """The standard deviation."""
    fan = choose(mode, _fans(_filled(tensor, what, 2)), "mode")
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def orthogonal_(tensor: Any, gain: float = 1, generator: Any = None) -> Any:
    """Fill with a random orthogonal matrix, times `gain`: the fifth initialisation of lecture 002 (Saxe et al., 2013).

    All its singular values are `gain`. The rows are orthogonal, or where there are more rows than columns, the columns.
    All such matrices are equally probable (Mezzadri, 2007).

    Parameters
    ----------
    tensor : Tensor, shape (outputs, inputs, ...)
        A leaf; it is filled in place. Axes from the second on count as one.
    gain : float
        A factor.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Tensor
        The same.

    Raises
    ------
    ShapeError
        If it has fewer than two axes.
    InputError
        If it is no Tensor, or the gain no finite number.
    InteriorError
        If it is a computed one.

    Examples
    --------
    >>> import numpy as np, microgad as mg
    >>> w = orthogonal_(mg.Tensor(np.zeros((2, 3)))).data
    >>> np.allclose(w @ w.T, np.eye(2))
    True
    """
    _filled(tensor, "orthogonal_", 2)
    gain = _number(gain, "the gain of orthogonal_")
    if not tensor.size:
        return tensor
    rows = tensor.shape[0]
    drawn = seeded(generator).normal(size=(rows, tensor.size // rows))
    wide = drawn.shape[1] > rows
    q, r = np.linalg.qr(drawn.T if wide else drawn)
    q *= gain * np.copysign(1.0, np.diagonal(r))
    return _fill(tensor, (q.T if wide else q).reshape(tensor.shape))


# ---- a whole network


def layerwise_(
    model: Any,
    X: Any,  # noqa: N803
    y: Any,
    examples: float = 0.5,
    features: float = 0.5,
    ridge: float = 1.0,
    generator: Any = None,
) -> Any:
    """Fit the neurons of a network one by one as linear models, the third initialisation of lecture 002.

    The model computes `X` once, and each `Linear` layer is fitted when data arrive there, so that the next one gets
    what it makes of them. A neuron is fitted by least squares to a random mixture of the classes or columns of `y`. So
    that neurons differ, each has a random part of the examples and of the inputs (its other weights are 0), and begins
    at random weights, from which `ridge` lets it go only so far. It is then scaled to pre-activations of variance 1.
    The last layer is fitted to `y` itself, with all examples and inputs: training begins about where a linear model
    ends.

    Layers whose weight is frozen stay as they are; so does everything but `Linear`. Dropout and batch normalisation
    work as in use, whatever mode the model is in.

    Parameters
    ----------
    model : Module
        What is called with `X`, in any order of its layers.
    X : array or Tensor, shape (n, ...)
        Examples. A few thousand of a large set are enough.
    y : array of int, shape (n,), or array or Tensor, shape (n,) or (n, k)
        The class of each example, or the numbers that the outputs are to be.
    examples, features : float
        The part that a neuron sees of the examples, at least 2, and of the inputs, at least 3; above 0, at most 1.
    ridge : float
        How strongly a neuron is held where it begins, beside inputs of variance 1; at least 1e-6. The last layer is
        held near 0, a tenth as strongly.
    generator : int or numpy.random.Generator, optional
        A seed, or where to draw from; by default what `manual_seed` sets.

    Returns
    -------
    Module
        The model.

    Raises
    ------
    InputError
        If the model is no Module or uses no `Linear` layer, an option is out of its range, numbers are not finite, or
        those of `X` or `y` are the same for all examples. The weights are then as they were.
    ShapeError
        If `X` and `y` are not of as many examples, or the outputs not those that `y` asks for.

    Examples
    --------
    >>> import numpy as np, microgad as mg
    >>> draw = np.random.default_rng(0)
    >>> X = draw.normal(size=(100, 5))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> model = layerwise_(mg.nn.MLP(5, [8, 2]), X, y, generator=0)
    >>> mg.nn.cross_entropy(model(X), y).item() < 0.5
    True
    """
    if not isinstance(model, Module):
        raise InputError(f"layerwise_ is given a Module, not {shown(model)}")
    fit = _Fit(
        _Target(y),
        real(examples, "the part of the examples", 0.0, 1.0, above=True),
        real(features, "the part of the features", 0.0, 1.0, above=True),
        real(ridge, "ridge", 1e-6),
        seeded(generator),
    )
    data = X if isinstance(X, Node) else Tensor(array_of("X of layerwise_", X))
    layers = [module for module in model.modules() if isinstance(module, Linear)]
    modes = [(module, module.training) for module in model.modules()]
    before = [(p, np.array(p.data)) for layer in layers for p in (layer.weight, layer.bias) if p is not None]
    try:
        with no_grad(), wrapped(layers, fit.seen):
            model.eval()(data)
        fit.outputs()
    except BaseException:
        for p, numbers in before:
            _fill(p, numbers)
        raise
    finally:
        for module, training in modes:
            module.training = training
    return model


class _Target:
    """What neurons are fitted to: labels, or columns of numbers."""

    def __init__(self, y: Any) -> None:
        numbers = array_of("y of layerwise_", y._value if isinstance(y, Node) else y)
        if not numbers.size or not np.isfinite(numbers).all() or (numbers == numbers.reshape(-1)[0]).all():
            raise InputError("y of layerwise_ holds finite numbers that are not all the same")
        self.labels = not isinstance(y, Node) and np.asarray(y).dtype.kind in "biu"
        self.shape = numbers.shape if self.labels or numbers.ndim < 2 else numbers.shape[:-1]
        if self.labels:
            self.classes, self.index = np.unique(numbers, return_inverse=True)
            self.index = self.index.reshape(-1)
        else:
            self.columns, self.mean, self.std = _standard(numbers.reshape(math.prod(self.shape), -1))

    def mixed(self, draw: np.random.Generator) -> Array:
        """A random mixture of all classes or columns."""
        if self.labels:
            return draw.normal(size=len(self.classes))[self.index]
        return np.asarray(self.columns @ draw.normal(size=self.columns.shape[1]))

    def of_outputs(self, n: int, layer: str) -> tuple[Array, Array, Array]:
        """A standardised column for each of `n` outputs, and what makes of it a column as it is wanted."""
        if not self.labels:
            if self.columns.shape[1] != n:
                raise ShapeError(f"{layer} has {n} outputs, and y of layerwise_ has {self.columns.shape[1]} columns")
            return self.columns, self.mean, self.std
        classes, few = self.classes, len(self.classes)
        if n > 1 and classes[0] >= 0 and classes[-1] < n:
            wanted = np.arange(n)
        elif n == few or (n, few) == (1, 2):
            wanted = classes[-n:]
        else:
            raise ShapeError(
                f"{layer} has {n} outputs, and the labels of layerwise_ are {few}, from {classes[0]:g} to "
                f"{classes[-1]:g}: labels count from 0; numbers that are no labels are given as floats"
            )
        hot = (classes[self.index][:, None] == wanted).astype(float)
        often = np.log(hot.sum(axis=0) + 1.0)  # so that the first guess at each class is its share of the examples
        middle = often - (often.mean() if n > 1 else math.log(len(hot) - hot.sum() + 1.0))
        return _standard(hot)[0], middle, np.ones(n)


class _Fit:
    """How layers are fitted, and which have been."""

    def __init__(
        self, target: _Target, examples: float, features: float, ridge: float, draw: np.random.Generator
    ) -> None:
        self.target, self.examples, self.features, self.ridge, self.draw = target, examples, features, ridge, draw
        self.inputs: dict[int, tuple[Any, Any]] = {}  # by id of a layer, in the order in which data came

    def seen(self, layer: Any, forward: Callable[..., Any], x: Any) -> Any:
        """The result of a layer, once its neurons are fitted."""
        self.hidden(layer, x)
        return forward(x)

    def hidden(self, layer: Any, x: Any) -> None:
        """Fit the neurons of a layer to mixtures of the target; a layer that is used again is left as it is."""
        x = operand(x, "Linear")
        if id(layer) in self.inputs or shape(x)[-1:] != (layer.in_features,):  # of which its forward says what is wrong
            return
        self.inputs[id(layer)] = layer, x
        if not layer.weight.requires_grad:
            return
        data, mean, std, times = self._standard_inputs(layer, x)
        vary = np.flatnonzero(std)
        n_rows = max(2, math.ceil(self.examples * len(data)))
        n_columns = min(len(vary), max(3, math.ceil(self.features * len(vary))))
        weight, bias = np.zeros(layer.weight.shape), np.zeros(layer.out_features)
        for j in range(layer.out_features):
            wanted = np.repeat(_standard(self.target.mixed(self.draw))[0], times)
            rows = self.draw.choice(len(data), n_rows, replace=False)
            columns = self.draw.choice(vary, n_columns, replace=False)
            start = self.draw.normal(size=n_columns) / math.sqrt(n_columns)
            seen = data[np.ix_(rows, columns)]
            centre = seen.mean(axis=0)
            w = _ridge(seen - centre, wanted[rows] - wanted[rows].mean(), start, self.ridge)
            scale = (data[:, columns] @ w).std() or 1.0
            weight[j, columns] = w / scale
            bias[j] = (wanted[rows].mean() - centre @ w) / scale
        _set(layer, weight, bias, mean, std)

    def outputs(self) -> None:
        """Fit the last layer to the target itself."""
        if not self.inputs:
            raise InputError("layerwise_ fits Linear layers, and the model used none")
        layer, x = list(self.inputs.values())[-1]
        if not layer.weight.requires_grad:
            return
        data, mean, std, times = self._standard_inputs(layer, x)
        wanted, middle, size = self.target.of_outputs(layer.out_features, _name(layer))
        w = _ridge(data, np.repeat(wanted, times, axis=0), np.zeros((data.shape[1], 1)), self.ridge / 10.0)
        _set(layer, (w * size).T, middle, mean, std)

    def _standard_inputs(self, layer: Any, x: Any) -> tuple[Array, Array, Array, int]:
        """What came to a layer, standardised, and how many rows of it belong to one of the target."""
        of, each = shape(x), self.target.shape
        if of[: len(each)] != each or len(of) == len(each):
            raise ShapeError(f"{_name(layer)} is given {spell(x)} of shape {of}, and layerwise_ a y of {each} examples")
        data, mean, std = _standard(np.reshape(getattr(x, "_value", x), (-1, of[-1])))
        if not np.isfinite(std).all() or not std.any():
            raise InputError(f"{_name(layer)} is given nan or inf, or the same for all examples of layerwise_")
        return data, mean, std, math.prod(of[len(each) : -1])


def _name(layer: Any) -> str:
    return layer._path or "Linear"


def _set(layer: Any, weight: Array, bias: Array, mean: Array, std: Array) -> None:
    """Give a layer what was found for standardised inputs."""
    weight = weight / np.where(std, std, 1.0)
    _fill(layer.weight, weight)
    if layer.bias is not None and layer.bias.requires_grad:
        _fill(layer.bias, bias - weight @ mean)


def _standard(x: Array) -> tuple[Array, Array, Array]:
    """Columns of mean 0 and variance 1, or of zeros where they do not vary; what their means and their sizes were.

    Where a column is nearly always the same, its range counts instead of its variance: it would get weights that are
    too large for the few examples in which it is not.
    """
    x = np.asarray(x, float)
    with np.errstate(all="ignore"):
        mean, std = x.mean(axis=0), x.std(axis=0)
        size = np.maximum(std, abs(x - mean).max(axis=0) / 4.0)
        size = np.where(std <= 1e-12 * abs(mean), 0.0, size)  # what rounding made of equal numbers
        return (x - mean) / np.where(size, size, np.inf), mean, size


def _ridge(x: Array, wanted: Array, start: Array, ridge: float) -> Array:
    """What makes the mean square of ``x @ w - wanted`` least, plus `ridge` times the square distance from `start`."""
    n, m = x.shape
    rest = wanted - x @ start
    if m <= n:
        return np.asarray(start + np.linalg.solve(x.T @ x + n * ridge * np.eye(m), x.T @ rest))
    return np.asarray(start + x.T @ np.linalg.solve(x @ x.T + n * ridge * np.eye(n), rest))


__all__ = [
    "calculate_gain", "constant_", "eye_", "fan_uniform_", "kaiming_normal_", "kaiming_uniform_", "layerwise_",
    "normal_", "ones_", "orthogonal_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

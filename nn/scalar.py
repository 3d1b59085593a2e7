"""Networks of Values: micrograd's `Neuron`, `Layer` and `MLP`, in which every multiplication is a node to be seen.

Called as micrograd's are; ``random.seed`` gives the weights that it gives there, as long as `mg.manual_seed` has not
been called. A layer of one neuron gives its number and no list of one, and is followed by others all the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from microgad.array_functions import unbind
from microgad.errors import InputError, ShapeError, shown
from microgad.functions import relu
from microgad.node import Node
from microgad.randomness import undrawn, uniform
from microgad.value import Value

from . import module as base
from .activations import Activation, Identity, PReLU, ReLU, Softmax, activation_of
from .choices import whole
from .layers import MLP as TensorMLP  # noqa: N811
from .layers import Linear, Sequential, widths_of
from .module import Contents


class Module(base.Module):
    """A module of Values: its parameters are a list, and `zero_grad` sets their gradients to 0, as in micrograd.

    Examples
    --------
    >>> neuron = Neuron(2)
    >>> neuron.zero_grad()
    >>> [p.grad for p in neuron.parameters()]
    [0.0, 0.0, 0.0]
    """

    def parameters(self, recurse: bool = True) -> list[Any]:  # noqa: D102
        known = _KNOWN.get(self) if recurse else None
        if known is None or not known[0].same():
            found = list(super().parameters(recurse))
            known = Contents(self), found
            if recurse and all(type(p._value) is float for p in found):  # which always need a gradient
                _KNOWN[self] = known
        return list(known[1])

    def zero_grad(self, set_to_none: bool = False) -> None:  # noqa: D102
        base.refuse_zero_grad()
        for p in self.parameters():
            if type(p._value) is float:
                p.grad = None if set_to_none else 0.0
            else:
                base.zero_grad(p, set_to_none)


# By module what it held, and its parameters: a training loop asks for them twice in each step.
_KNOWN: WeakKeyDictionary[Any, tuple[Contents, list[Any]]] = WeakKeyDictionary()


class _Features(list[Any]):
    """An example's numbers, which have been looked at."""


def _features(x: Any, module: Any) -> list[Any]:
    """What a neuron is given, as a list: an example's numbers, or one number alone."""
    if type(x) is _Features and len(x) == module.nin:
        return x
    if isinstance(x, Node):
        node: Any = x
        found = [node] if type(node._value) is float or not node.ndim else list(unbind(node))
    elif isinstance(x, (float, int, np.number)):
        found = [x]
    else:
        try:
            if isinstance(x, (Mapping, Set)):
                raise TypeError
            found = list(x)
        except TypeError:
            raise InputError(f"{module._said} is given a list of numbers or Values, not {shown(x)}") from None
    for y in found:
        if not isinstance(y, (Node, float, int, np.number)) or (isinstance(y, Node) and type(y._value) is not float):
            raise InputError(
                f"{module._said} is given one example, as a list of numbers or Values, and in it is {shown(y)}"
            )
    if len(found) != module.nin:
        raise ShapeError(f"{module._said} takes {module.nin} numbers for an example, not {len(found)}")
    return _Features(found)


def _in_values(activation: Any) -> Any:
    """The activation that is asked for; a slope that it learns is a Value."""
    found = activation_of(activation)
    if isinstance(found, PReLU) and found is not activation:
        found.weight = Value(found.init)
    return found


class Neuron(Module):
    """One neuron: ``activation(sum(w[i] * x[i]) + b)``, each step of it a node.

    Weights begin uniform between -1 and 1, the bias at 0, as in micrograd.

    Parameters
    ----------
    nin : int
        How many numbers it is given.
    nonlin : bool
        Whether it has an activation at all.
    activation : str, module or function
        Which: as in `nn.MLP`.

    Attributes
    ----------
    w : list of Value
        The weights.
    b : Value
        The bias.

    Examples
    --------
    >>> neuron = Neuron(2)
    >>> for p, number in zip(neuron.parameters(), [3.0, -1.0, 0.5], strict=True):
    ...     p.data = number
    >>> neuron([1.0, 2.0]).data, neuron
    (1.5, ReLUNeuron(2))
    """

    _fresh = True

    def __init__(self, nin: int, nonlin: bool = True, activation: Any = "relu") -> None:
        self.nin = whole(nin, "nin of a neuron")
        self.w: list[Any] = [Value(uniform(-1.0, 1.0)) for _ in range(self.nin)]
        self.b = Value(0.0)
        self.nonlin = bool(nonlin)
        self.activation = _in_values(activation if self.nonlin else None)

    def forward(self, x: Any) -> Any:
        """The neuron's output for one example, a Value."""
        out = self.b
        for w, one in zip(self.w, _features(x, self), strict=True):
            out = out + w * one
        return self._bent(out)

    def _bent(self, z: Any) -> Any:
        if not self.nonlin:
            return z
        return relu(z) if type(self.activation) is ReLU else self.activation.forward(z)

    def __repr__(self) -> str:
        kind = type(self.activation)
        name = self.activation.extra_repr() if kind is Activation else kind.__name__
        return f"{name if self.nonlin else 'Linear'}Neuron({self.nin})"


class Layer(Module):
    """Neurons side by side, all of which are given the same numbers.

    Parameters
    ----------
    nin : int
        How many numbers they are given.
    nout : int
        How many neurons there are.
    **kwargs
        Of `Neuron`: `nonlin` and `activation`, which is one module for all of them.

    Attributes
    ----------
    neurons : list of Neuron
        In the order of the outputs.

    Examples
    --------
    >>> len(Layer(2, 3)([1.0, 2.0])), type(Layer(2, 1)([1.0, 2.0])).__name__
    (3, 'Value')
    """

    _fresh = True

    def __init__(self, nin: int, nout: int, **kwargs: Any) -> None:
        self.nin = whole(nin, "nin of a layer")
        activation = _in_values(kwargs.pop("activation", "relu"))
        n = whole(nout, "nout of a layer")
        self.neurons = [Neuron(nin, activation=activation, **kwargs) for _ in range(n)]

    def forward(self, x: Any) -> Any:
        """The neurons' outputs for one example: a list of Values, or of one neuron its Value."""
        given = _features(x, self)
        out = [neuron(given) for neuron in self.neurons]
        return out[0] if len(out) == 1 else out

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(Module):
    """Layers one behind the other, with an activation in all but the last.

    Parameters
    ----------
    nin : int
        How many numbers an example has.
    nouts : list of int
        The widths of the layers, the outputs last.
    activation : str, module or function
        As in `nn.MLP`.

    Attributes
    ----------
    layers : list of Layer
        In the order in which data goes through them.

    Examples
    --------
    >>> model = MLP(2, [16, 16, 1])
    >>> len(model.parameters()), type(model([1.0, -2.0])).__name__
    (337, 'Value')
    """

    def __init__(self, nin: int, nouts: Sequence[int], activation: Any = "relu") -> None:
        widths = widths_of(nin, nouts)
        self.nin = widths[0]
        self.layers = [
            Layer(n, m, nonlin=i + 2 < len(widths), activation=activation) for i, (n, m) in enumerate(pairwise(widths))
        ]

    def forward(self, x: Any) -> Any:
        """The outputs for one example: a list of Values, or of one output its Value."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(str, self.layers))}]"

    @classmethod
    def from_module(cls, module: Any) -> MLP:
        """The same network in Values: from an `nn.MLP`, or an `nn.Sequential` of Linear layers and activations.

        Parameters
        ----------
        module : nn.MLP or nn.Sequential
            Its numbers are copied; a layer without biases gets biases of 0.

        Raises
        ------
        InputError
            If it has other layers than these, or an activation behind the last.
        ShapeError
            If the widths of its layers do not fit.

        Examples
        --------
        >>> import microgad as mg
        >>> twin = mg.nn.MLP(2, [3, 1], activation="tanh")
        >>> model = MLP.from_module(twin)
        >>> abs(model([1.0, 2.0]).data - twin([1.0, 2.0]).item()) < 1e-12
        True
        """
        layers, bends = _plan(module)
        with undrawn():
            made = cls(layers[0].in_features, [layer.out_features for layer in layers])
        copies: dict[int, list[Any]] = {}  # what several layers share remains shared
        for ours, theirs, bend in zip(made.layers, layers, [*bends, None], strict=True):
            bias = [0.0] * theirs.out_features if theirs.bias is None else theirs.bias.tolist()
            for neuron, row, b in zip(ours.neurons, theirs.weight.tolist(), bias, strict=True):
                for w, number in zip(neuron.w, row, strict=True):
                    w.data = number
                neuron.b.data = b
            if bend is not None:
                several = copies.setdefault(id(bend), _each(bend))
                if len(several) not in (1, theirs.out_features):
                    raise ShapeError(f"{bend!r} has no slope for each of {theirs.out_features} neurons")
                for i, neuron in enumerate(ours.neurons):
                    neuron.activation = several[i % len(several)]
        made._rename()
        return made

    def to_module(self) -> TensorMLP:
        """The same network in Tensors: an `nn.MLP` with copies of the numbers.

        Raises
        ------
        InputError
            If the neurons of a layer have different activations.

        Examples
        --------
        >>> model = MLP(2, [3, 1])
        >>> twin = model.to_module()
        >>> abs(model([1.0, 2.0]).data - twin([1.0, 2.0]).item()) < 1e-12
        True
        """
        with undrawn():
            made = TensorMLP(self.nin, [len(layer.neurons) for layer in self.layers], "identity")
        copies: dict[tuple[int, ...], Any] = {}
        straight = Identity()
        for i, (ours, theirs) in enumerate(zip(self.layers, made.layers, strict=True)):
            theirs.weight.data[...] = [[w.data for w in neuron.w] for neuron in ours.neurons]
            theirs.bias.data[...] = [neuron.b.data for neuron in ours.neurons]
            bends = [n.activation if n.nonlin else straight for n in ours.neurons]
            ids = tuple(map(id, bends))
            bend = copies.setdefault(ids if len(set(ids)) > 1 else ids[:1], _joint(bends))
            last = i + 1 == len(self.layers)
            if bend is None or (last and type(bend) is not Identity):
                said = ", ".join(dict.fromkeys(map(str, ours.neurons)))
                raise InputError(
                    f"{ours._said} is of {said}: an nn.MLP has one activation in each layer, and none in the last"
                )
            if not last:
                made.activations[i] = bend
        made._rename()
        return made


def _each(bend: Any) -> list[Any]:
    """The activations of neurons in the place of that of their layer: one for all, or one for each."""
    if not isinstance(bend, PReLU):
        return [copy.deepcopy(bend)]
    made = []
    for slope in np.ravel(bend.weight._value).tolist():
        made.append(_in_values("prelu"))
        made[-1].weight.data = slope
    return made


def _joint(bends: list[Any]) -> Any:
    """The activation of a layer in the place of those of its neurons; None if these differ."""
    first = bends[0]
    if len({(repr(one), getattr(one, "function", None)) for one in bends}) > 1:
        return None
    if isinstance(first, PReLU):
        alone = all(one is first for one in bends)
        slopes = [np.ravel(one.weight._value)[0] for one in (bends[:1] if alone else bends)]
        made = PReLU(len(slopes))
        made.weight.data[...] = slopes
        return made
    same = all(one is first for one in bends) or not list(first.parameters())
    return copy.deepcopy(first) if same else None


def _plan(module: Any) -> tuple[list[Linear], list[Any]]:
    """The layers of a network, and the activations between them."""
    forward = getattr(type(module), "forward", None)  # a class of the user's may compute something else
    if isinstance(module, TensorMLP) and forward is TensorMLP.forward:
        parts: list[Any] = [x for pair in zip(module.layers, module.activations, strict=False) for x in pair]
        parts.append(module.layers[-1])
    elif isinstance(module, Sequential) and forward is Sequential.forward:
        parts = list(module)
    else:
        raise InputError(f"an nn.MLP or an nn.Sequential can be made scalar, not {shown(module)}")
    layers: list[Linear] = []
    bends: list[Any] = []
    for part in parts:
        if isinstance(part, Linear):
            bends += ["identity"] * (len(layers) - len(bends))
            layers.append(part)
        elif isinstance(part, Activation) and not isinstance(part, Softmax) and len(bends) < len(layers):
            bends.append(part)
        else:
            raise InputError(
                f"a scalar network is of Linear layers and activations of single numbers, not more than one behind "
                f"each layer, and no {part!r}"
            )
    if not layers or len(bends) == len(layers):
        raise InputError("a scalar network ends in a Linear layer, and no activation")
    for one, other in pairwise(layers):
        if one.out_features != other.in_features:
            raise ShapeError(f"{other._said} takes {other.in_features} numbers, and before it come {one.out_features}")
    return layers, [activation_of(bend) for bend in bends]


__all__ = [
    "MLP",
    "Layer",
    "Module",
    "Neuron",
]  # fmt: skip

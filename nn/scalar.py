"""Networks of Values: micrograd's `Neuron`, `Layer` and `MLP`, in which every multiplication is a node to be seen.

Called as micrograd's are; ``random.seed`` gives the weights that it gives there, as long as `mg.manual_seed` has not
been called. A layer of one neuron gives its number and no list of one, and is followed by others all the same.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from microgad.errors import InputError, ShapeError, shown
from microgad.functions import relu
from microgad.node import Node
from microgad.randomness import uniform
from microgad.value import Value

from . import module as base
from .activations import Activation, activation_of
from .choices import whole
from .layers import MLP as TensorMLP  # noqa: N811
from .layers import Linear, Sequential


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
        return list(super().parameters(recurse))

    def zero_grad(self, set_to_none: bool = False) -> None:  # noqa: D102
        super().zero_grad(set_to_none)


class _Features(list[Any]):
    """An example's numbers, which have been looked at."""


def _features(x: Any, module: Any) -> list[Any]:
    """What a neuron is given, as a list: an example's numbers, or one number alone."""
    if type(x) is _Features and len(x) == module.nin:
        return x
    if isinstance(x, Node):
        if type(x._value) is float:
            found = [x]
        else:
            found = x.unbind() if x._value.ndim == 1 else list(x)
    elif isinstance(x, (float, int, np.number)):
        found = [x]
    else:
        try:
            found = list(x)
        except TypeError:
            raise InputError(f"a neuron is given a list of numbers or Values, not {shown(x)}") from None
    for y in found:
        if not isinstance(y, (Node, float, int, np.number)) or (isinstance(y, Node) and type(y._value) is not float):
            raise InputError(f"a neuron is given an example as a list of numbers or Values, and in it is {shown(y)}")
    if len(found) != module.nin:
        raise ShapeError(
            f"{module._path or type(module).__name__} takes {module.nin} numbers for an example, not {len(found)}"
        )
    return _Features(found)


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

    def __init__(self, nin: int, nonlin: bool = True, activation: Any = "relu") -> None:
        self.nin = whole(nin, "nin of a neuron")
        self.w: list[Any] = [Value(uniform(-1.0, 1.0)) for _ in range(self.nin)]
        self.b = Value(0.0)
        self.nonlin = bool(nonlin)
        self.activation = activation_of(activation)

    def forward(self, x: Any) -> Any:
        """The neuron's output for one example, a Value."""
        out = self.b
        for w, one in zip(self.w, _features(x, self), strict=True):
            out = out + w * one
        return self._bent(out)

    def _bent(self, z: Any) -> Any:
        if not self.nonlin:
            return z
        return relu(z) if type(self.activation).__name__ == "ReLU" else self.activation.forward(z)

    def __repr__(self) -> str:
        kind = type(self.activation).__name__ if self.nonlin else "Linear"
        return f"{kind}Neuron({self.nin})"


class Layer(Module):
    """Neurons side by side, all of which are given the same numbers.

    Parameters
    ----------
    nin : int
        How many numbers they are given.
    nout : int
        How many neurons there are.
    **kwargs
        Of `Neuron`: `nonlin` and `activation`.

    Attributes
    ----------
    neurons : list of Neuron
        In the order of the outputs.

    Examples
    --------
    >>> len(Layer(2, 3)([1.0, 2.0])), type(Layer(2, 1)([1.0, 2.0])).__name__
    (3, 'Value')
    """

    def __init__(self, nin: int, nout: int, **kwargs: Any) -> None:
        self.nin = whole(nin, "nin of a layer")
        self.neurons = [Neuron(nin, **kwargs) for _ in range(whole(nout, "nout of a layer"))]

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
        widths = [nin, *(nouts if isinstance(nouts, (list, tuple, np.ndarray)) else [nouts])]
        if len(widths) < 2:
            raise InputError("an MLP has at least one layer: nouts lists their widths, the outputs last")
        self.nin = whole(nin, "nin")
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
            Its numbers are copied.

        Raises
        ------
        InputError
            If it has other layers than these, or an activation behind the last.

        Examples
        --------
        >>> import microgad as mg
        >>> twin = mg.nn.MLP(2, [3, 1], activation="tanh")
        >>> model = MLP.from_module(twin)
        >>> abs(model([1.0, 2.0]).data - twin([1.0, 2.0]).item()) < 1e-12
        True
        """
        layers, bends = _plan(module)
        made = cls(layers[0].in_features, [layer.out_features for layer in layers])
        for ours, theirs, bend in zip(made.layers, layers, [*bends, None], strict=True):
            bias = [0.0] * theirs.out_features if theirs.bias is None else theirs.bias.tolist()
            for neuron, row, b in zip(ours.neurons, theirs.weight.tolist(), bias, strict=True):
                for w, number in zip(neuron.w, row, strict=True):
                    w.data = number
                neuron.b.data = b
                if bend is not None:
                    neuron.activation = bend
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
        made = TensorMLP(self.nin, [len(layer.neurons) for layer in self.layers], "identity")
        for i, (ours, theirs) in enumerate(zip(self.layers, made.layers, strict=True)):
            theirs.weight.data[...] = [[w.data for w in neuron.w] for neuron in ours.neurons]
            theirs.bias.data[...] = [neuron.b.data for neuron in ours.neurons]
            bends = {repr(n.activation) if n.nonlin else "Identity()": n.activation for n in ours.neurons}
            if len(bends) > 1 or (i + 1 == len(self.layers) and "Identity()" not in bends):
                raise InputError(
                    f"layer {i} has the activations {', '.join(bends)}: an nn.MLP has one in each layer, and none in "
                    "the last"
                )
            if i + 1 < len(self.layers) and "Identity()" not in bends:
                made.activations[i] = copy.deepcopy(next(iter(bends.values())))
        return made


def _plan(module: Any) -> tuple[list[Linear], list[Any]]:
    """The layers of a network, and the activations between them."""
    if isinstance(module, TensorMLP):
        parts: list[Any] = [x for pair in zip(module.layers, module.activations, strict=False) for x in pair]
        parts.append(module.layers[-1])
    elif isinstance(module, Sequential) and type(module) is Sequential:
        parts = list(module)
    else:
        raise InputError(f"an nn.MLP or an nn.Sequential can be made scalar, not {shown(module)}")
    layers: list[Linear] = []
    bends: list[Any] = []
    for part in parts:
        if isinstance(part, Linear):
            bends += ["identity"] * (len(layers) - len(bends))
            layers.append(part)
        elif isinstance(part, Activation) and len(bends) < len(layers):
            bends.append(part)
        else:
            raise InputError(f"a scalar network is of Linear layers and activations, one behind each, not of {part!r}")
    if not layers or len(bends) == len(layers):
        raise InputError("a scalar network ends in a Linear layer, and no activation")
    return layers, [copy.deepcopy(activation_of(bend)) for bend in bends]

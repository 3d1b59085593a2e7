"""Boolean functions as networks of threshold neurons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from microgad.array_functions import array_of
from microgad.errors import InputError, ShapeError, shown
from microgad.randomness import undrawn

from .activations import Step
from .choices import whole
from .layers import Linear, Sequential


def dnf_network(function: Callable[..., Any] | Sequence[Any], inputs: int | None = None) -> Sequential:
    """A network of two layers of threshold neurons that computes any Boolean function exactly (lecture 002).

    Its disjunctive normal form: in the first layer an AND neuron for each row of the truth table that is true, of each
    input or its negation; behind it one OR neuron.

    Parameters
    ----------
    function : callable or sequence
        Of so many numbers, each 0 or 1; or the last column of its truth table, whose rows count in binary.
    inputs : int, optional
        How many there are; a truth table says so itself.

    Returns
    -------
    Sequential
        `Linear`, `Step`, `Linear`, `Step`: from shape (..., inputs) to (..., 1), zeros and ones to zeros and ones.

    Raises
    ------
    ShapeError
        If a truth table has not 2, 4, 8 … rows.
    InputError
        If something in it is neither 0 nor 1, of a function the number of inputs is not given, or there are more than
        16: that would be up to 65,536 neurons.

    Examples
    --------
    >>> xor = dnf_network([0, 1, 1, 0])
    >>> xor([[0, 0], [0, 1], [1, 0], [1, 1]]).data.ravel()
    array([0., 1., 1., 0.])
    """
    if callable(function):
        if inputs is None:
            raise InputError("of a function say how many inputs it has: dnf_network(function, 2)")
        n = whole(inputs, "inputs")
        _bounded(n)
        truth = array_of("the results of the function", [function(*row) for row in product((0, 1), repeat=n)])
    else:
        truth = array_of("a truth table", function)
        n = truth.size.bit_length() - 1
        if truth.ndim != 1 or n < 1 or truth.size != 1 << n or (inputs is not None and inputs != n):
            raise ShapeError(f"the truth table of a Boolean function has 2, 4, 8 … rows, and this is of {truth.shape}")
        _bounded(n)
    if not np.isin(truth, (0.0, 1.0)).all():
        raise InputError(f"a Boolean function is 0 or 1, not {shown(truth[~np.isin(truth, (0.0, 1.0))][0])}")
    true = np.array(list(product((0.0, 1.0), repeat=n)))[truth == 1.0]
    if not len(true):
        true = np.full((1, n), 2.0)  # an AND that no input fulfils: of inputs that were 2
    with undrawn():
        network = Sequential(Linear(n, len(true)), Step(), Linear(len(true), 1), Step())
    network[0].weight.data[...] = np.where(true == 0.0, -1.0, 1.0)
    network[0].bias.data[...] = 0.5 - np.where(true == 0.0, 0.0, true).sum(1)
    network[2].weight.data[...] = 1.0
    network[2].bias.data[...] = -0.5
    return network


def _bounded(inputs: int) -> None:
    if inputs > 16:
        raise InputError(f"a normal form of {inputs} inputs may need {2**inputs:,} neurons: up to 16 inputs are taken")

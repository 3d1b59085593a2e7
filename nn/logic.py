"""Boolean functions as networks of threshold neurons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from microgad.errors import InputError, shown

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
    InputError
        If a truth table has not 2, 4, 8 … rows, or of a function the number of inputs is not given.

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
        rows = [list(row) for row in product((0, 1), repeat=n)]
        truth = [bool(function(*row)) for row in rows]
    else:
        try:
            truth = [bool(x) for x in function]
        except TypeError:
            raise InputError(f"a Boolean function is a callable or a truth table, not {shown(function)}") from None
        n = len(truth).bit_length() - 1
        if n < 1 or len(truth) != 1 << n or (inputs is not None and inputs != n):
            raise InputError(f"the truth table of a Boolean function has 2, 4, 8 … rows, not {len(truth)}")
        rows = [list(row) for row in product((0, 1), repeat=n)]
    true = np.array([row for row, on in zip(rows, truth, strict=True) if on], float).reshape(-1, n)
    if not len(true):
        true = np.full((1, n), 2.0)  # an AND that no input fulfils: of inputs that were 2
    network = Sequential(Linear(n, len(true)), Step(), Linear(len(true), 1), Step())
    network[0].weight.data[...] = np.where(true == 0.0, -1.0, 1.0)
    network[0].bias.data[...] = 0.5 - np.where(true == 0.0, 0.0, true).sum(1)
    network[2].weight.data[...] = 1.0
    network[2].bias.data[...] = -0.5
    return network

"""Where random numbers come from: one generator, which `manual_seed` sets."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import InputError, shown

_state: dict[str, Any] = {"generator": None, "seeded": False}


def manual_seed(seed: int) -> np.random.Generator:
    """Set the seed of all randomness of microgad: initial weights, dropout, shuffling and made-up data.

    Parameters
    ----------
    seed : int
        0 or more. The same seed gives the same numbers; those of PyTorch are others.

    Returns
    -------
    numpy.random.Generator
        The generator that all of them draw from, from now on.

    Raises
    ------
    InputError
        If the seed is no whole number, or negative.

    Examples
    --------
    >>> import microgad as mg
    >>> _ = mg.manual_seed(0)
    >>> first = mg.nn.Linear(2, 1).weight.tolist()
    >>> _ = mg.manual_seed(0)
    >>> mg.nn.Linear(2, 1).weight.tolist() == first
    True
    """
    _state.update(generator=_begun(seed), seeded=True)
    return generator()


def seeded(seed: Any) -> np.random.Generator:
    """A generator of its own for a seed; for None the one that all share.

    Examples
    --------
    >>> seeded(1).random() == seeded(1).random(), seeded(None) is generator()
    (True, True)
    """
    if seed is None:
        return generator()
    return seed if isinstance(seed, np.random.Generator) else _begun(seed)


def _begun(seed: Any) -> np.random.Generator:
    """A new generator for a whole number."""
    try:
        number = operator.index(seed)
        if number < 0 or isinstance(seed, bool):
            raise TypeError
    except TypeError:
        raise InputError(f"a seed is a whole number of 0 or more, not {shown(seed)}") from None
    return np.random.default_rng(number)


def generator() -> np.random.Generator:
    """The generator that all share.

    Examples
    --------
    >>> 0.0 <= generator().random() < 1.0
    True
    """
    found: np.random.Generator | None = _state["generator"]
    if found is None:
        found = _state["generator"] = np.random.default_rng()
    return found


def uniform(low: float, high: float) -> float:
    """One number between two; before the first `manual_seed` it is drawn from Python's `random`.

    So micrograd's code, which calls ``random.seed``, gets the weights that it gets there.

    Examples
    --------
    >>> -1.0 <= uniform(-1.0, 1.0) <= 1.0
    True
    """
    return float(generator().uniform(low, high)) if _state["seeded"] else random.uniform(low, high)


@contextmanager
def undrawn() -> Iterator[None]:
    """What is drawn here is replaced at once, and does not count: what is drawn next is what it would have been.

    Examples
    --------
    >>> import microgad as mg
    >>> _ = mg.manual_seed(0)
    >>> with undrawn():
    ...     first = generator().random()
    >>> generator().random() == first
    True
    """
    numbers, kept = generator().bit_generator.state, random.getstate()
    try:
        yield
    finally:
        generator().bit_generator.state = numbers
        random.setstate(kept)

"""Whether operations leave nodes behind: switched off with `no_grad`, thread by thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from threading import get_ident
from typing import Any

from .errors import InputError, shown
from .operators import by_table
from .primitive import silent


class _NoGrad(ContextDecorator):
    """The context; entered again it counts."""

    def __init__(self) -> None:
        self._entered: list[Any] = []

    def _recreate_cm(self) -> _NoGrad:  # one for each call of a decorated function, also from several threads
        return _NoGrad()

    def __enter__(self) -> None:
        context = _silence()
        context.__enter__()
        self._entered.append(context)

    def __exit__(self, *error: Any) -> None:
        self._entered.pop().__exit__(*error)


@contextmanager
def _silence() -> Iterator[None]:
    me = get_ident()
    with by_table():
        silent[me] = silent.get(me, 0) + 1
        try:
            yield
        finally:
            if silent[me] > 1:
                silent[me] -= 1
            else:
                del silent[me]


def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """Compute without recording: what comes out are leaves, Tensors among them without `requires_grad`.

    Parameters
    ----------
    function : callable, optional
        Where it is a decorator without parentheses, the function.

    Returns
    -------
    context manager and decorator
        For a ``with`` block, or in front of a function. Only the thread that enters it is affected. A transform such
        as `grad` that is called inside records what it needs all the same, and returns nodes without a graph.

    Raises
    ------
    InputError
        If it is used on anything but a function.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with mg.no_grad():
    ...     y = w * 2.0
    >>> y.inputs, y.requires_grad
    ((), False)
    >>> @mg.no_grad
    ... def double(x):
    ...     return x * 2.0
    >>> double(w)
    Tensor(data=[2. 4.], grad=None)
    """
    if function is None:
        return _NoGrad()
    if not callable(function):
        raise InputError(f"no_grad is used as no_grad(), or on a function, not on {shown(function)}")
    return _NoGrad()(function)


def silenced() -> bool:
    """Whether nothing is recorded in this thread at present.

    Examples
    --------
    >>> with no_grad():
    ...     silenced()
    True
    """
    return get_ident() in silent


@contextmanager
def recording() -> Iterator[None]:
    """Record, whatever surrounds it: for the transforms, which need the graph of the function they call.

    Examples
    --------
    >>> with no_grad(), recording():
    ...     silenced()
    False
    """
    me = get_ident()
    depth = silent.pop(me, 0)
    try:
        yield
    finally:
        if depth:
            silent[me] = depth

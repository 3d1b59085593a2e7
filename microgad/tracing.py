"""Tracing: a function runs once, on tracers in the place of its arguments, and every node that it makes is noted."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import numpy as np

from . import primitives, randomness
from .errors import refused, untraceable, user_line, users
from .operators import Arithmetic, by_table
from .order import EMPTY
from .primitive import Primitive, silent, tracing
from .recording import recording
from .structural import item
from .tensor import Tensor
from .tracers import AS_NODE, DATA, DETACHED, KINDS, PLAIN, TracedArray, TracedValue, end, watched
from .value import Value


class Trace:
    """One run of a function on tracers.

    Attributes
    ----------
    nodes : list of Node
        All nodes that were born in this run, operands before what uses them; constants among them as leaves.
    modes : dict
        The modules that were called, and whether they were training.
    needs : list of (Tensor, bool)
        The leaves that were asked whether they need a gradient, and the answer.
    alone : bool
        Whether the program is to be differentiated by plain numbers, too: then what transforms give are no constants.
    inline : callable or None
        What a function that is differentiated meanwhile becomes before it is called.
    strict : bool
        Whether some arrays stand for numbers that are an error outside of the domain of a row.
    inlined : int
        How many operations on numbers were replaced by some on arrays.
    arrays, replaced : set of int
        The ids of arrays that stand for numbers, and of the numbers that were replaced by arrays.
    """

    def __init__(
        self, outer: Trace | None = None, inline: Callable[..., Any] | None = None, alone: bool = False
    ) -> None:
        self.nodes: list[Any] = []
        self.modes: dict[Any, bool] = outer.modes if outer else {}
        self.needs: list[tuple[Any, Any]] = outer.needs if outer else []
        self.alone: bool = alone or (outer is not None and outer.alone)
        self.inline = inline
        self.strict, self.inlined = False, 0
        self.arrays: set[int] = set()
        self.replaced: set[int] = set()

    def born(self, row: Primitive, operands: Sequence[Any], value: Any) -> Any:
        """A new node of `row`, as a tracer."""
        plain = row is not DETACHED and row is not AS_NODE
        for x in operands:
            if type(x) is not float and type(x) not in PLAIN:
                plain = row is DATA
                break
        number = type(value) is float
        node: Any = object.__new__(KINDS[number, plain])
        node._value, node.prim = value, row
        one = operands[0] if len(operands) == 1 else tuple(operands)
        node.a, node.b = operands if len(operands) == 2 else (one, EMPTY)
        node.mark = node._name = None
        self.nodes.append(node)
        if not number:
            Tensor.settle(node)
            if plain and not value.ndim:  # as NumPy gives numbers, and no arrays without axes
                return self.born(item.given(at=()), (node,), float(value))
        if silent and row is not DETACHED and get_ident() in silent:
            node = self.born(DETACHED, (node,), value)
            if not number:
                node.needs = False
        return node

    def checks(self, node: Any) -> bool:
        """Whether a node that leads to no result is an error where it is outside of the domain of its row."""
        return id(node) in self.arrays or (type(node._value) is float and id(node) not in self.replaced)

    def constant(self, leaf: Any) -> None:
        """Take a new Tensor that needs no gradient for an array of the function's."""
        leaf.__class__ = TracedArray
        self.nodes.append(leaf)

    def close(self, given: Sequence[Any]) -> None:
        """From here on what was traced has no numbers, and the tracers of the arguments have none."""
        end(given)
        end(self.nodes)


_VALUES = (Value, TracedValue)
_new, _plus, _times = object.__new__, primitives.add, primitives.mul


def _add(self: Any, other: Any) -> Any:
    trace = tracing.get(get_ident())
    if trace is None or silent or type(self) not in _VALUES:
        return self._add(other)
    if type(other) is float:
        data = self._value + other
    elif type(other) in _VALUES:
        data = self._value + other._value
    else:
        return self._add(other)
    out = _new(TracedValue)
    out._value, out.prim, out.a, out.b = data, _plus, self, other
    out.mark = out._name = None
    trace.nodes.append(out)
    return out


def _mul(self: Any, other: Any) -> Any:
    trace = tracing.get(get_ident())
    if trace is None or silent or type(self) not in _VALUES:
        return self._mul(other)
    if type(other) is float:
        data = self._value * other
    elif type(other) in _VALUES:
        data = self._value * other._value
    else:
        return self._mul(other)
    out = _new(TracedValue)
    out._value, out.prim, out.a, out.b = data, _times, self, other
    out.mark = out._name = None
    trace.nodes.append(out)
    return out


# The operators that networks are made of, spelled out for tracers: worth 3 times of a trace.
SPELLED_OUT = {**Arithmetic.by_row, "__add__": _add, "__mul__": _mul}


@contextmanager
def traced(inline: Callable[..., Any] | None = None, alone: bool = False) -> Iterator[Trace]:
    """Trace what is computed in this thread meanwhile; for `inline` and `alone` see `Trace`.

    Examples
    --------
    >>> from microgad.tracers import tracer
    >>> with traced() as trace:
    ...     y = tracer(2.0) * 3.0
    >>> trace.nodes == [y]
    True
    """
    me = get_ident()
    outer = tracing.get(me)
    found = Trace(outer, inline, alone)
    with watched(), by_table(SPELLED_OUT), recording():
        tracing[me] = found
        refused.setdefault(me, [])
        try:
            yield found
        finally:
            if outer is None:
                del tracing[me], refused[me]
            else:
                tracing[me] = outer


def note_mode(module: Any) -> None:
    """Let the program that is being traced know that it holds for this mode of a module.

    Examples
    --------
    >>> import microgad as mg
    >>> with traced() as trace:
    ...     _ = mg.nn.ReLU()(2.0)
    >>> list(trace.modes.values())
    [True]
    """
    trace = tracing.get(get_ident())
    if trace is not None:
        trace.modes[module] = module.training


def refuse(what: str, why: str) -> None:
    """Raise while a function is traced, for it does what a program cannot do again.

    Examples
    --------
    >>> refuse("numbers are kept", "a program keeps none")
    """
    if tracing and get_ident() in tracing:
        raise untraceable(what, why)


# ---- random numbers


def _states(generators: Sequence[Any]) -> list[Any]:
    """Where all sources of random numbers stand that we know of."""
    found: list[Any] = [random.getstate(), np.random.get_state(legacy=True)]
    for x in [randomness.generator(), *generators]:
        if isinstance(x, random.Random):
            found.append(x.getstate())
        else:
            found.append(x.bit_generator.state if isinstance(x, np.random.Generator) else x.get_state(legacy=True))
    return found


def _restore(generators: Sequence[Any], states: list[Any]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    for x, state in zip([randomness.generator(), *generators], states[2:], strict=True):
        if isinstance(x, random.Random):
            x.setstate(state)
        elif isinstance(x, np.random.Generator):
            x.bit_generator.state = state
        else:
            x.set_state(state)


def _same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else (
        a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a) if isinstance(a, dict)
        else len(a) == len(b) and all(map(_same, a, b)) if isinstance(a, (tuple, list)) else a == b
    )  # fmt: skip


@contextmanager
def undrawn(run: Callable[[], Any], generators: Sequence[Any]) -> Iterator[None]:
    """An error if random numbers are drawn meanwhile, by `run`, which names the line where it does so."""
    before, lines = _states(generators), list[str]()
    with _seeds_noted(lines):
        yield
    if lines:
        raise untraceable(*_DRAWN, lines[0])
    after = _states(generators)
    if not _same(before, after):
        _restore(generators, before)
        line = _drawing_line(run, generators, before)
        _restore(generators, after if line is None else before)
        if line is not None:  # else another thread drew them
            raise untraceable(*_DRAWN, line)


_DRAWN = "random numbers are drawn", "all calls would get the same; draw them outside, and give them as an argument"


@contextmanager
def _seeds_noted(lines: list[str]) -> Iterator[None]:
    """Note the lines where generators are made that have no seed: these ask the system for one."""
    me = get_ident()
    places = [(module, name) for module, name in _SYSTEM if hasattr(module, name)]
    originals = [getattr(module, name) for module, name in places]

    def noting(original: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*args: Any) -> Any:
            if get_ident() == me:
                lines.append(user_line())
            return original(*args)

        return asked

    for (module, name), original in zip(places, originals, strict=True):
        setattr(module, name, noting(original))
    try:
        yield
    finally:
        for (module, name), original in zip(places, originals, strict=True):
            setattr(module, name, original)


_SYSTEM = ((np.random.bit_generator, "randbits"), (random, "_urandom"))  # where NumPy and Python get seeds


class _Found(BaseException):
    """Ends a run in which we only look for a line."""


def _drawing_line(run: Callable[[], Any], generators: Sequence[Any], before: list[Any]) -> str | None:
    """The line that draws random numbers, found by running it once more, line by line; None if it draws none."""
    last = [""]

    def watch(frame: Any, event: str, arg: Any) -> Any:
        if not users(frame):
            return None
        if not _same(before, _states(generators)):
            raise _Found
        last[0] = user_line(frame) if event == "line" else last[0]
        return watch

    outer = sys.gettrace()
    sys.settrace(watch)
    try:
        run()
    except _Found:
        return last[0]
    finally:
        sys.settrace(outer)
    return None if _same(before, _states(generators)) else ""  # in code that is not the user's

"""A function as it was traced: its tape, how its arguments are given, and how its results are put together."""

from __future__ import annotations

import gc
import inspect
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from threading import RLock, get_ident
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any
from weakref import ref

import numpy as np

from microgad.errors import InputError, brief, refused, shown, untraceable
from microgad.node import Node
from microgad.tape import Input, Tape
from microgad.tensor import Tensor
from microgad.tracers import KINDS, PLAIN, tracer
from microgad.tracing import traced, undrawn
from microgad.trees import Structure, tree_flatten, tree_unflatten
from microgad.value import Value

from .reads import Reads

NUMBERS = (float, int, np.floating, np.integer)
PLAINLY = (Node, str, bytes, int, float, complex, np.ndarray, np.generic, type(None))  # which hide nothing
ONE_BY_ONE = RLock()  # to trace: meanwhile the leaves, which threads may share, are marked
TRACER = re.compile(r"\bTraced(Number|Value|Array|Tensor)\(")  # as tracers are printed
DEEP = 1000  # things that are looked through for what they hide
ALWAYS = {float, int, Value, Tensor}  # the types of leaves that are data, whatever they are


def is_data(x: Any) -> bool:
    """Whether a leaf of the arguments is traced: a number, an array or a node; anything else is a part of the function.

    Examples
    --------
    >>> is_data(1.5), is_data(True), is_data("mean")
    (True, False, False)
    """
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "biuf"
    return isinstance(x, (Node, *NUMBERS)) and not isinstance(x, (bool, np.timedelta64))


def hides(x: Any) -> bool:
    """Whether a thing that is no container of ours holds numbers that are traced.

    Examples
    --------
    >>> hides({1.0}), hides({tracer(1.0)}), hides(lambda: 1.0)
    (False, True, False)
    """
    waiting, seen = [x], set[int]()
    while waiting and len(seen) < DEEP:
        for y in gc.get_referents(waiting.pop()):
            if type(y) in KINDS.values():
                return True
            known = id(y) in seen or isinstance(y, (ModuleType, type, Node, *PLAINLY))
            if not known and not (type(y) is dict and "__builtins__" in y):  # the variables of a module
                seen.add(id(y))
                waiting.append(y)
    return False


def _key(x: Any) -> Any:
    """What a thing is known by: the contents of containers and arrays, the sign and type of numbers."""
    kind = type(x)
    if kind in (list, tuple, set, frozenset):
        return kind, (frozenset if kind in (set, frozenset) else tuple)(map(_key, x))
    if kind is dict:
        return kind, tuple([(_key(k), _key(y)) for k, y in x.items()])
    if isinstance(x, np.ndarray):
        return kind, x.dtype, x.shape, x.tobytes()
    if isinstance(x, (float, complex)):
        return kind, repr(x)
    try:
        hash(x)
    except TypeError:
        raise InputError(f"{shown(x)} cannot be a part of a function: it has no hash, and may change") from None
    return kind, x


KEPT = (type, FunctionType, BuiltinFunctionType, ModuleType)  # what a program may keep alive


class Static:
    """What is no number, or is named to be a part of the function: another one makes another program.

    Of an argument that is known by its identity it is a weak reference, so that a program keeps no object alive.
    """

    __slots__ = ("_value", "key", "weak")

    def __init__(self, value: Any, given: bool = False) -> None:
        self.key, self.weak = _key(value), False
        by_identity: Any = type(value).__hash__ is object.__hash__  # type: ignore[comparison-overlap]
        if given and by_identity and not isinstance(value, KEPT):
            with suppress(TypeError):  # it can be no weak reference
                value, self.weak = ref(value), True
                self.key = type(value()), id(value())
        self._value = value

    @property
    def value(self) -> Any:
        """The thing; None where it is an argument that is no more, as the object of a method may be."""
        return self._value() if self.weak else self._value

    def watch(self, end: Callable[[Any], None]) -> None:
        """Call `end` when an argument is no more: another object may have its place in memory, and so its key."""
        if self.weak:
            self._value = ref(self._value(), end)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self.key == other.key


def flattened(args: Any, kwargs: Any, static: Collection[Any] = ()) -> tuple[list[Any], Structure]:
    """The leaves of all arguments, those that are no data as `Static`, and their structure.

    Examples
    --------
    >>> leaves, structure = flattened((1.0, [2.0]), {"mode": "mean"})
    >>> print([type(x).__name__ for x in leaves], structure)
    ['float', 'float', 'Static'] ((*, [*]), {'mode': *})
    """
    if static:
        args = tuple([Static(x, True) if i in static else x for i, x in enumerate(args)])
        kwargs = {k: Static(x, True) if k in static else x for k, x in kwargs.items()}
    leaves, structure = tree_flatten((args, kwargs))
    if set(map(type, leaves)) <= ALWAYS:
        return leaves, structure
    return [x if is_data(x) or type(x) is Static else Static(x, True) for x in leaves], structure


class Traced:
    """What came of tracing a function.

    Attributes
    ----------
    tape : Tape
        The instructions, as they were traced.
    arguments : Structure
        Of the positional and the keyword arguments.
    given : list of bool
        For each leaf of these whether it is data, and so an input of the tape.
    called, static : list of str
        The names of all leaves, and those that are a part of the function with what they are.
    structure : Structure
        Of what the function returns.
    results : list
        For each leaf of that the number of an output of the tape, or something `Static`.
    plain : list of bool
        For each output whether it is a plain number or array where nothing is traced.
    modes : list of (weak reference to a module, bool)
        The modules that were called, and whether they were training.
    needs : list of (Tensor, bool)
        The leaves that were asked whether they need a gradient, and the answer.
    reads : Reads
        What the function reads besides.
    """

    def __init__(
        self, f: Callable[..., Any], args: Any, kwargs: Any, name: str, static: Collection[Any] = (), reads: Any = None,
        inline: Any = None, alone: bool = False,
    ) -> None:  # fmt: skip
        leaves, self.arguments = flattened(args, kwargs, static)
        self.called = _names(reads or f, self.arguments, len(leaves))
        fixed = [(x.value, called) for x, called in zip(leaves, self.called, strict=True) if type(x) is Static]
        self.static = [f"{called} = {brief(x)}" for x, called in fixed]
        self.reads = Reads(reads or f, fixed)
        if self.reads.iterators:
            what = f"it reads the iterator {self.reads.iterators[0]}"
            why = "all calls would get what comes now; take that outside, and give it as an argument"
            raise untraceable(what, why, name)
        self.given = [is_data(x) for x in leaves]
        names = [called for called, data in zip(self.called, self.given, strict=True) if data]

        def run() -> tuple[Any, list[Any], Any]:
            with np.errstate(all="ignore"), traced(inline, alone) as trace:
                full = [tracer(x) if data else x.value for x, data in zip(leaves, self.given, strict=True)]
                given = [x for x, data in zip(full, self.given, strict=True) if data]
                for node, called in zip(given, names, strict=True):
                    node._name = node._name or called
                positional, named = tree_unflatten(self.arguments, full)
                out = f(*positional, **named)
                if refused[get_ident()]:
                    raise refused[get_ident()][0]  # which f has caught, and gone another way
                return out, given, trace

        with ONE_BY_ONE:
            self._trace(run, name)
        self.reads.renew()

    def _trace(self, run: Callable[[], tuple[Any, list[Any], Any]], name: str) -> None:
        with undrawn(run, self.reads.generators):
            out, given, trace = run()
        found, self.structure = tree_flatten(out)
        for x in found:
            if isinstance(x, str) and TRACER.search(x):
                raise InputError(f"{name} returns {shown(x)}, with what stands for a traced number: write it outside")
            if not isinstance(x, PLAINLY) and hides(x):
                raise InputError(
                    f"{name} returns {shown(x)}, in which numbers are traced: a list, tuple or dict can hold them"
                )
        nodes = [x for x in found if isinstance(x, Node)]
        whole = None if trace.alone else trace  # a program leaves out what leads to no result
        self.tape: Tape = Tape.of_graph(name, [(x, as_input(x)) for x in given], trace.nodes, nodes, whole)
        self.tape.strict, self.tape.inlined = trace.strict, trace.inlined
        self.plain = [type(x) in PLAIN for x in nodes]
        outputs = iter(range(len(nodes)))
        self.results: list[Any] = [next(outputs) if isinstance(x, Node) else Static(x) for x in found]
        self.modes = [(ref(module), training) for module, training in trace.modes.items()]
        self.needs = trace.needs
        trace.close(given)


def as_input(node: Any) -> Input:
    """A tracer as an input of a tape.

    Examples
    --------
    >>> as_input(tracer(2.0)).plain
    True
    """
    data = node._value
    kind = None if type(data) is float else (data.shape, data.dtype)
    return Input(str(node._name or ""), kind, type(node) in PLAIN, None, data)


def _names(f: Any, structure: Structure, count: int) -> list[str]:
    """What the leaves of the arguments are called."""
    f = getattr(f, "forward", f)  # of a module
    try:
        found = inspect.signature(f).parameters.values()
        names = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        names = []
    called = []
    for k in range(count):
        which, _, rest = structure.place(k)[1:].partition("][")  # of [0][1]['w'], in the pair (args, kwargs)
        first, _, more = rest.partition("]")
        if which == "0":
            first = names[int(first)] if int(first) < len(names) else f"arg{first}"
        called.append(first.strip("'\"") + more)
    return called


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the cyclic garbage collector, which would look through every node of a trace again and again.

    Examples
    --------
    >>> with uncollected():
    ...     gc.isenabled()
    False
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()

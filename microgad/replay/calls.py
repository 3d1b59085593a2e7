"""`jit`: a function that is traced once for each structure and shape of its arguments, and then replayed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, update_wrapper
from threading import get_ident
from time import perf_counter
from types import MethodType
from typing import Any

import numpy as np

from microgad.errors import InputError, shown
from microgad.naming import Text
from microgad.node import Node
from microgad.primitive import ranks, silent, tracing, watchers
from microgad.tape import Input, Tape
from microgad.primitives import identity
from microgad.recording import silenced
from microgad.tensor import USED, Tensor, leaf
from microgad.tracers import PLAIN, tracer
from microgad.tracing import Reads, traced, undrawn
from microgad.trees import LEAF, ONE, Structure, tree_flatten, tree_unflatten
from microgad.value import Value

from .kernel import Kernel

NUMBERS = (float, int, np.floating, np.integer)


def is_data(x: Any) -> bool:
    """Whether a leaf of the arguments is traced: a number, an array or a node; anything else is a part of the function.

    Examples
    --------
    >>> is_data(1.5), is_data(True), is_data("mean")
    (True, False, False)
    """
    if isinstance(x, bool):
        return False
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "biuf"
    return isinstance(x, (Node, *NUMBERS))


class Traced:
    """What came of tracing a function: its program, and how its results are put together.

    Attributes
    ----------
    tape : Tape
        The instructions, as they were traced.
    structure : Structure
        Of what the function returns.
    results : list
        For each leaf of that how it is made: by which output of the program, or from what else.
    """

    def __init__(
        self, f: Callable[..., Any], args: Any, kwargs: Any, name: str, static: set[Any] = frozenset(), reads: Any = None
    ) -> None:
        self.reads = Reads(reads or f)
        leaves, structure = flattened(args, kwargs, static)
        data = [x for x in leaves if is_data(x)]
        self.arguments, self.given = structure, [is_data(x) for x in leaves]

        def run() -> tuple[Any, list[Any], Any]:
            with traced() as trace:
                given = [tracer(x) for x in data]
                names = _names_of(f, structure, leaves)
                for node, called in zip(given, names, strict=True):
                    node._name = node._name or called
                waiting = iter(given)
                full = [next(waiting) if is_data(x) else x for x in leaves]
                positional, named = tree_unflatten(structure, [x.value if type(x) is Static else x for x in full])
                return f(*positional, **named), given, trace

        with undrawn(run, self.reads.generators):
            out, given, trace = run()
        self.modes = list(trace.modes.items())
        found, self.structure = tree_flatten(out)
        nodes = [x for x in found if isinstance(x, Node)]
        inputs = [Input(str(node._name or ""), None if type(node._value) is float else (node._value.shape, node._value.dtype),
                        type(node) in PLAIN, None, node._value) for node in given]  # fmt: skip
        self.tape: Tape = Tape.of_graph(name, list(zip(given, inputs, strict=True)), trace.nodes, nodes)
        # A node of a derivative is none any more where its argument was a number: only then is it worth a look at all.
        again = any(row is identity for row in self.tape.rows)
        plain = self.tape.plain() if again else []
        self.plain = [plain[i] if again else type(x) in PLAIN for x, i in zip(nodes, self.tape.outputs, strict=True)]
        outputs = iter(range(len(nodes)))
        self.results: list[Any] = [next(outputs) if isinstance(x, Node) else Static(x) for x in found]
        trace.close()


class Static:
    """What is no number, or is named to be a part of the function: another one is another function."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        try:
            hash(value)
            self.key: Any = type(value), value
        except TypeError:
            self.key = type(value), id(value)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self.key == other.key


def flattened(args: Any, kwargs: Any, static: set[Any]) -> tuple[list[Any], Structure]:
    """The leaves of all arguments, those that are no data as `Static`, and their structure."""
    if static:
        args = tuple([Static(x) if i in static else x for i, x in enumerate(args)])
        kwargs = {k: Static(x) if k in static else x for k, x in kwargs.items()}
    leaves, structure = tree_flatten((args, kwargs))
    return [x if is_data(x) or type(x) is Static else Static(x) for x in leaves], structure


def _names_of(f: Any, structure: Structure, leaves: Sequence[Any]) -> list[str]:
    """What the arguments that are data are called."""
    code = getattr(f, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code else ()
    found = []
    for k, x in enumerate(leaves):
        if is_data(x):
            place = structure.place(k)  # [0][1]['w'] of (args, kwargs)
            which, _, rest = place[1:].partition("][")
            first, _, more = rest.partition("]")
            if which == "0" and first.isdigit() and int(first) < len(names):
                found.append(names[int(first)] + more)
            else:
                found.append(first.strip("'\"") + more if which == "1" else f"arg{first}{more}")
    return found


class Entry:
    """A function for one structure of its arguments: its kernel, how that is called, and how it answers.

    Attributes
    ----------
    seconds : float
        How long tracing and planning took.
    calls, eager : int
        How often it was called, and how often the function itself was run instead.
    """

    def __init__(self, traced: Traced, leaves: Sequence[Any], started: float) -> None:
        self.traced, tape, n = traced, traced.tape, len(leaves)
        self.nodes = tuple([x.node for x in tape.inputs[n:]])
        self.kernel = Kernel(tape, [k for k, plain in enumerate(traced.plain) if not plain])
        self.readers = [self._reader(source, n) for source in self.kernel.sources]
        self.tensors = [x for x in self.nodes if isinstance(x, Tensor)]
        self.leaves_only = all(x.prim is None for x in self.nodes)
        self.answers = [self._answer(x, n) for x in traced.results]
        self.variants: dict[Any, Any] = {}
        self.packed = _packer(traced.structure)
        self.seconds = perf_counter() - started
        self.calls = self.eager = 0

    def _reader(self, source: int | list[int], n: int) -> tuple[str, Any]:
        """How an input of the kernel is found at a call."""
        if isinstance(source, int):
            return ("argument", source) if source < n else ("node", self.nodes[source - n])
        if source and min(source) >= n:
            return "nodes", [self.nodes[i - n] for i in source]
        return "arguments", source

    def _answer(self, x: Any, n: int) -> tuple[str, Any]:
        """How a leaf of the result is found at a call."""
        if type(x) is Static:
            return "static", x.value
        i, tape = self.kernel.tape.outputs[x], self.kernel.tape
        if i < len(tape.inputs):  # what goes in comes out
            return ("argument", i) if i < n else ("static", self.nodes[i - n])
        return ("node", self.kernel.of.index(x)) if x in self.kernel.of else ("plain", x)

    def given(self, data: Sequence[Any]) -> list[Any]:
        """What the forward pass is given."""
        found: list[Any] = []
        for how, what in self.readers:
            if how == "nodes":
                found.append([x._value for x in what])
            elif how == "argument":
                found.append(data[what])
            elif how == "node":
                found.append(what._value)
            else:
                found.append([data[i] for i in what])
        return found

    def stale(self) -> str | None:
        """Why the function has to be traced again; None if it has not."""
        for module, training in self.traced.modes:
            if module.training is not training:
                return f"{type(module).__name__}.{'train' if module.training else 'eval'}()"
        name = self.traced.reads.changed()
        return None if name is None else f"{name} is another one"

    def __call__(self, leaves: Sequence[Any]) -> Any:
        kernel, answers = self.kernel, self.answers
        data = [x._value if type(x) in ranks else x if type(x) is np.ndarray else float(x) for x in leaves]
        flags = None
        if kernel.of and not (silent and silenced()):
            flags = [x.needs for x in self.tensors]
            flags += [x.needs for x in leaves if type(x) in ranks]
        variant = self.variants.get(tuple(flags)) if flags else self.variants.get(flags is None)
        if variant is None:
            variant = self._variant(leaves, flags)
        frame = variant.frame()
        outputs = frame.forward(*self.given(data))
        nodes: list[Any] = []
        if flags is not None:
            operands = self.nodes
            if leaves:
                operands = (*[self._operand(x, d) for x, d in zip(leaves, data, strict=True)], *operands)
            if self.leaves_only and all([type(x) is float or x.prim is None for x in operands[: len(leaves)]]):
                frame.owners = self._owners(operands)
            nodes = kernel.nodes(operands, outputs, frame, bool(variant.listed))
            for x in self.tensors:
                if x.mark is None:
                    x.mark = USED
        elif kernel.of:
            nodes = kernel.leaves(outputs)
        self.calls += 1
        found = []
        for how, what in answers:
            if how == "node":
                found.append(nodes[what])
            elif how == "plain":
                x = outputs[what]
                found.append(np.array(x) if variant.shared[what] and type(x) is not float else x)
            else:
                found.append(leaves[what] if how == "argument" else what)
        return self.packed(found)

    def _variant(self, leaves: Sequence[Any], flags: list[Any] | None) -> Any:
        """The form of the kernel for these needs of gradients."""
        inputs = (*leaves, *self.nodes)
        wanted = [i for i, x in enumerate(inputs) if flags is not None and type(x) in ranks and x.needs]
        found = self.variants[tuple(flags) if flags else flags is None] = self.kernel.variant(wanted)
        return found

    def _operand(self, x: Any, data: Any) -> Any:
        """An argument as an operand of the node of a call."""
        return x if type(x) in ranks else data if type(data) is float else leaf(np.array(data))

    def _owners(self, operands: Sequence[Any]) -> list[Any]:
        return [what if how == "nodes" else [operands[i] for i in what] if how == "arguments" else
                operands[what] if how == "argument" else what for how, what in self.readers]  # fmt: skip


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


def _packer(structure: Structure) -> Callable[[list[Any]], Any]:
    """What puts the leaves of a result together: quicker than `tree_unflatten` where there is little to do."""
    if structure is ONE or structure == ONE:
        return lambda found: found[0]
    if all(node == LEAF for node in structure.nodes[1:]) and structure.nodes[0][0] in (tuple, list):
        return structure.nodes[0][0]
    return partial(tree_unflatten, structure)


class Jitted:
    """A function under `jit`; see there."""

    def __init__(self, f: Callable[..., Any], static: set[Any], reads: Any = None, name: str = "") -> None:
        self.f, self.static, self.reads = f, static, reads or f
        self.name = name or getattr(f, "__name__", type(f).__name__)
        self.entries: dict[Any, Entry] = {}
        self.reasons: list[str] = []
        update_wrapper(self, f, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if watchers or (tracing and get_ident() in tracing):
            return self.f(*args, **kwargs)  # as a part of what is traced there; or each node has to be seen
        key: Any = None
        leaves: Sequence[Any] = args
        if not kwargs and not self.static:
            key = tuple(map(_kind, args))
        if key is None or None in key:
            leaves, structure = flattened(args, kwargs, self.static)
            key = (structure, *[x if type(x) is Static else _kind(x) for x in leaves])
            leaves = [x for x in leaves if type(x) is not Static]
        entry = self.entries.get(key)
        if entry is not None and (why := entry.stale()) is not None:
            self.reasons.append(why)
            entry = None
        if entry is None:
            with uncollected():
                started = perf_counter()
                traced = Traced(self.f, args, kwargs, self.name, self.static, self.reads)
                entry = self.entries[key] = Entry(traced, leaves, started)
        try:
            return entry(leaves)
        except (ArithmeticError, ValueError):
            if not entry.kernel.scalar:
                raise
        entry.eager += 1
        return self.f(*args, **kwargs)  # outside of the domain of a row: the same error, at the line that causes it

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def explain(self) -> Text:
        """How the function runs: for each structure of its arguments what it was turned into, and how often it ran.

        Examples
        --------
        >>> import microgad as mg
        >>> square = mg.jit(lambda x: x * x)
        >>> square(3.0), square(4.0)
        (9.0, 16.0)
        """
        lines = [f"{self.name}: traced {len(self.entries) + len(self.reasons)} times"]
        for key, entry in self.entries.items():
            kernel = entry.kernel
            how = "NumPy" if kernel.regular or not kernel.scalar else "straight-line Python"
            lines.append(f"  {how}: {kernel.why}; {entry.calls} calls, traced and planned in {1e3 * entry.seconds:.1f} ms")
        return Text("\n".join(lines))


def _kind(x: Any) -> Any:
    """What a program depends on of an argument; None if it is a container, or no data."""
    kind = type(x)
    if kind is float or kind is int:
        return float
    if kind is np.ndarray:
        return (x.shape, x.dtype) if x.dtype.kind in "biuf" else None
    if kind is Value:
        return Value
    if kind in ranks:
        return kind, np.shape(x._value), getattr(x._value, "dtype", float)
    return float if isinstance(x, (np.floating, np.integer)) else None


def jit(
    f: Callable[..., Any] | None = None, *, static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> Any:
    """A function that is traced once, and replayed at the speed of matrix code.
    """
    if f is None:
        return partial(jit, static_argnums=static_argnums, static_argnames=static_argnames)
    if not callable(f):
        raise InputError(f"jit is that of a function, not of {shown(f)}")
    numbers = [static_argnums] if isinstance(static_argnums, int) else list(static_argnums)
    names = [static_argnames] if isinstance(static_argnames, str) else list(static_argnames)
    return Jitted(f, {*numbers, *names})

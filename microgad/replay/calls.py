"""`jit`: a function that is traced once for each structure and shape of its arguments, and then replayed."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial, update_wrapper
from operator import index
from threading import get_ident
from time import perf_counter
from types import MethodType
from typing import Any

import numpy as np

from microgad.errors import DomainError, InputError, shown
from microgad.naming import Text, counted, function_name, listed
from microgad.operators import as_float
from microgad.primitive import ranks, silent, tracing, watchers
from microgad.recording import silenced
from microgad.tape import Input
from microgad.tensor import USED, Tensor, leaf
from microgad.tracers import numbers_of, of_floats
from microgad.trees import LEAF, ONE, Structure, tree_unflatten
from microgad.value import Value

from .inline import inlined
from .kernel import Kernel
from .traced import ONE_BY_ONE, Static, Traced, flattened, is_data, uncollected

MANY = 64  # programs that a function keeps, of the structures and shapes that came last
NOBODY = Value(0.0)  # in the place of an argument that gets no gradient, for nothing is computed of it
MODES = 3  # others for the same arguments, such as that of a network in training


class Entry:
    """A function for one structure of its arguments: its kernel, how that is called, and how it answers.

    Attributes
    ----------
    kernel : Kernel
        What runs.
    seconds : float
        How long tracing and planning took.
    calls, eager : int
        How often it was called, and how often the function itself had to be run instead.
    """

    def __init__(self, traced: Traced, leaves: Sequence[Any], started: float) -> None:
        tape, n = traced.tape, len(leaves)
        self.traced = traced
        arrays = [(k, x) for k, x in enumerate(leaves) if isinstance(x, np.ndarray)]
        self.unlike = [k for k, x in arrays if type(x) is not np.ndarray or not x.ndim or of_floats(x) is not x]
        self.nodes = tuple([x.node for x in tape.inputs[n:]])
        self.kernel = Kernel(tape, [k for k, plain in enumerate(traced.plain) if not plain])
        for of in (tape, self.kernel.arrays):  # the example itself may go
            of.inputs = [_forgotten(x) if x.node is None and x.type else x for x in of.inputs]
        self.readers = [self._reader(source, n) for source in self.kernel.sources]
        self.takers = self.readers  # of gradients
        if tape.checks:
            idle = {id(self.nodes[i - n]) for i in self.kernel.idle if i >= n}
            self.takers = [
                (how, [x if id(x) not in idle else NOBODY for x in what] if how == "nodes" else what)
                for how, what in self.readers
            ]
        self.tensors = [x for x in self.nodes if isinstance(x, Tensor)]
        self.leaves_only = all(x.prim is None for x in self.nodes)
        self.answers = [self._answer(x, n) for x in traced.results]
        self.packed = _packer(traced.structure)
        self.variants: dict[Any, Any] = {}
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
            return "array" if isinstance(x.value, np.ndarray) else "static", x.value
        tape, of = self.kernel.tape, self.kernel.of
        i = tape.outputs[x]
        if i < len(tape.inputs):  # what goes in comes out
            return ("argument", i) if i < n else ("static", self.nodes[i - n])
        return ("node", of.index(x)) if x in of else ("plain", x)

    def given(self, data: Sequence[Any]) -> list[Any]:
        """What the forward pass is given, from the numbers of the arguments."""
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
            if (now := module()) is not None and now.training is not training:
                return f"{type(now).__name__}.{'train' if now.training else 'eval'}() was called"
        for x, needs in self.traced.needs:
            if x.needs is not needs:
                return f"requires_grad of {x.name or 'a leaf'} was set"
        return self.traced.reads.changed()

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """The result, from the leaves of the arguments that are data."""
        kernel = self.kernel
        data: list[Any] = [
            x._value if type(x) in ranks else x if isinstance(x, np.ndarray) else as_float(x) for x in leaves
        ]
        for k in self.unlike:
            data[k] = numbers_of(data[k])
        flags = None  # which of the nodes need a gradient
        if kernel.of and not (silent and silenced()):
            flags = [x.needs for x in self.tensors]
            flags += [x.needs for x in leaves if type(x) in ranks]
        key = flags is None if not flags else tuple(flags)
        variant = self.variants.get(key)
        if variant is None:
            both = enumerate((*leaves, *self.nodes))
            wanted = [i for i, x in both if flags is not None and type(x) in ranks and x.needs]
            with ONE_BY_ONE:
                started = perf_counter()
                variant = self.variants[key] = kernel.variant(wanted)
                self.seconds += perf_counter() - started
        operands = self.nodes
        if flags is not None and leaves:  # what the caller may change before the backward pass is copied
            own = [_operand(x, d) for x, d in zip(leaves, data, strict=True)]
            data = [x if type(x) is float else x._value for x in own]
            operands = (*own, *operands)
        frame = variant.frame()
        outputs = frame.forward(*self.given(data))
        nodes: list[Any] = []
        if flags is not None:
            if self.leaves_only and all([type(x) is float or x.prim is None for x in operands[: len(leaves)]]):
                frame.owners = self._owners(operands)
            nodes = kernel.nodes(operands, outputs, frame)
            for x in self.tensors:
                if x.mark is None:
                    x.mark = USED
        elif kernel.of:
            nodes = kernel.leaves(outputs)
        self.calls += 1
        found = []
        for how, what in self.answers:
            if how == "node":
                found.append(nodes[what])
            elif how == "plain":
                x = outputs[what]
                found.append(np.array(x) if variant.kept[what] and type(x) is not float else x)
            elif how == "array":
                found.append(np.array(what))
            else:
                found.append(leaves[what] if how == "argument" else what)
        return self.packed(found)

    def _owners(self, operands: Sequence[Any]) -> list[Any]:
        """For each input of the kernel the operand that it was, or the operands."""
        found: list[Any] = []
        for how, what in self.takers:
            if how == "arguments":
                idle = self.kernel.idle  # which is looked for when it is first asked for
                found.append([operands[i] if i not in idle else NOBODY for i in what])
            else:
                found.append(operands[what] if how == "argument" else what)
        return found

    def said(self) -> str:
        """The arguments, and how they are computed with."""
        kernel, tape = self.kernel, self.kernel.tape
        given = [f"{x.name} {x.type[0]}" for x in tape.inputs if x.node is None and x.type]
        numbers = [(x.name, x.plain) for x in tape.inputs if x.node is None and not x.type]
        for (stem, plain), count in Counter((name.partition("[")[0], plain) for name, plain in numbers).items():
            kind = "number" if plain else "Value"
            alone = stem if plain else f"{stem}: {kind}"
            given.append(alone if (stem, plain) in numbers else f"{stem}: {counted(count, kind)}")
        given += self.traced.static
        how = "straight-line Python" if kernel.python else "NumPy"
        times = counted(self.calls, "call") + (f", {self.eager:,} more in the function itself" if self.eager else "")
        return f"({listed(given)}): {how}, {kernel.why}; {times}; traced and planned in {1e3 * self.seconds:.1f} ms"


def _forgotten(x: Input) -> Input:
    """An argument with other numbers, and no memory of its own, in the place of the example."""
    assert x.type is not None
    return x._replace(example=np.broadcast_to(np.ones((), x.type[1]), x.type[0]))


def _operand(x: Any, data: Any) -> Any:
    """An argument as an operand of the node of a call; what was an array is copied, for it may change."""
    return x if type(x) in ranks else data if type(data) is float else leaf(np.array(data))


def _packer(structure: Structure) -> Callable[[list[Any]], Any]:
    """What puts the leaves of a result together: quicker than `tree_unflatten` where there is little to do."""
    if structure == ONE:
        return lambda found: found[0]
    kind = structure.nodes[0][0]
    if kind in (tuple, list) and all(node == LEAF for node in structure.nodes[1:]):
        return kind  # type: ignore[no-any-return]
    return partial(tree_unflatten, structure)


class Around:
    """What stands for a function: a method where that is one, and of a module with its parameters and the like."""

    _f: Any
    _name: str

    def __get__(self: Any, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._f, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._name}>"


class Jitted(Around):
    """A function under `jit`, called as it is; see there."""

    def __init__(self, f: Callable[..., Any], static: Collection[Any] = (), reads: Any = None, name: str = "") -> None:
        self._f, self._static, self._reads = f, static, reads or f
        self._name = name or function_name(f)
        self._entries: dict[Any, Entry] = {}
        self._others: dict[Any, list[Entry]] = {}  # what was replaced there, for what was may come back
        self._times = 0  # how often it was traced
        self._reasons: Counter[str] = Counter()  # why it was traced again
        update_wrapper(self, f, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function, replayed."""
        return self.call(args, kwargs, self._f)

    def call(self, args: Any, kwargs: Any, eager: Callable[..., Any]) -> Any:
        """The same; `eager` is what is called where each node has to be seen, or a number is outside of a domain."""
        if tracing and get_ident() in tracing:
            return self._f(*args, **kwargs)  # as a part of what is traced there
        if watchers:
            return eager(*args, **kwargs)  # each node has to be seen
        key: Any = None
        leaves: Sequence[Any] = args
        if not kwargs and not self._static:
            key = tuple([_kind(x) for x in args])
        if key is None or None in key:
            leaves, structure = flattened(args, kwargs, self._static)
            key = (structure, *[x if type(x) is Static else _kind(x) for x in leaves])
            leaves = [x for x in leaves if type(x) is not Static]
        entry = self._entries.get(key)
        if entry is None or entry.stale() is not None:
            try:
                entry = self._found(key, leaves, args, kwargs)
            except (DomainError, ArithmeticError):
                return eager(*args, **kwargs)
        try:
            return entry(leaves)
        except (ArithmeticError, ValueError):
            if not entry.kernel.scalar:
                raise
        entry.eager += 1
        return eager(*args, **kwargs)  # outside of the domain of a row: the same error, at the line that causes it

    def _found(self, key: Any, leaves: Sequence[Any], args: Any, kwargs: Any) -> Entry:
        """What holds for these arguments, and for all that the function reads as it is now."""
        with ONE_BY_ONE, uncollected():
            entry = self._entries.get(key)
            why = None if entry is None else entry.stale()
            if entry is not None and why is None:
                return entry  # of another thread
            for other in self._others.get(key, ()):
                if other.stale() is None:
                    self._put(key, other)
                    return other
            started = perf_counter()
            traced = Traced(self._f, args, kwargs, self._name, self._static, self._reads, inlined)
            made = Entry(traced, leaves, started)
            self._times += 1
            self._reasons.update([why] if why else [])
            self._put(key, made)
            return made

    def _put(self, key: Any, entry: Entry) -> None:
        before = self._entries.pop(key, None)
        if before is not None:
            others = [x for x in self._others.get(key, ()) if x is not entry]
            self._others[key] = [before, *others][:MODES]
        self._entries[key] = entry

        def end(_: Any) -> None:
            self._entries.pop(key, None)
            self._others.pop(key, None)

        for x in key[1:]:
            if type(x) is Static:
                x.watch(end)
        if len(self._entries) > MANY:
            oldest = next(iter(self._entries))
            del self._entries[oldest]
            self._others.pop(oldest, None)

    def __reduce__(self) -> Any:
        return type(self), (self._f, self._static)  # what was traced is of this one

    def explain(self) -> Text:
        """How the function runs: what it was turned into, why, how often it ran, and why it was traced again.

        Returns
        -------
        str
            A line for each structure and shape of the arguments, and one for each reason of a new trace.

        Examples
        --------
        >>> import microgad as mg
        >>> square = mg.jit(lambda x: x * x)
        >>> square(3.0), square(4.0)
        (9.0, 16.0)
        >>> print(str(square.explain()).partition(";")[0])
        <lambda>, traced once
          (x): straight-line Python, 1 number, computed in 1 way
        """
        times = self._times
        often = "never called" if not times else "traced once" if times == 1 else f"traced {times:,} times"
        lines = [f"{self._name}, {often}"]
        others = (entry for found in self._others.values() for entry in found)
        lines += [f"  {entry.said()}" for entry in (*self._entries.values(), *others)]
        lines += [f"  traced again as {why}: {counted(count, 'time')}" for why, count in self._reasons.items()]
        return Text("\n".join(lines))


def _kind(x: Any) -> Any:
    """What a program depends on of an argument; None if it is a container, or no data."""
    kind = type(x)
    if kind is float or kind is int:
        return float
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "biuf":
            return None
        return (x.shape, x.dtype) if kind is np.ndarray else (kind, x.shape, x.dtype)
    if kind is Value:
        return Value
    if kind in ranks:
        return kind, np.shape(x._value), getattr(x._value, "dtype", float), x.needs
    return float if is_data(x) else None


def jit(
    f: Callable[..., Any] | None = None, *, static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> Any:  # fmt: skip
    """A function that is traced once, and then replayed: code for each number, at the speed of matrix code.

    The first call runs `f` on tracers, and so does every call with another structure, shape or dtype of the arguments;
    every other call runs the program that was found. Numbers that are computed alike, such as the neurons of a layer
    and the samples of a batch, are arrays in it, and sums of products matrix products; what has no such regularity
    runs as plain Python. The results are those of `f` but for rounding, and of the same kinds: numbers where it gives
    numbers, Values and Tensors where it gives these, with gradients for its arguments and for the leaves that it closes
    over. A call is one node of the graph; `microgad.viz.draw` shows what is inside with ``expand=True``.

    Parameters
    ----------
    f : callable
        A function, a method or a module, of numbers, arrays, Values, Tensors, and of lists, tuples and dicts of them.
        Anything else among its arguments, such as text or True, is a part of it: another one makes another program.
    static_argnums, static_argnames : int or str, or sequences of them
        Arguments that are a part of the function, too, by position or by name, such as a number of layers.

    Returns
    -------
    callable
        Of the same arguments. Its ``explain()`` says what it was turned into, and why.

    Raises
    ------
    InputError
        If `f` is no function, or has no such argument.
    TraceError
        In a call, if the function does what a program cannot do again: branch on a number, set a leaf, call
        ``backward``, draw random numbers. It names the line, and what to use instead.
    DomainError
        In a call, if a Value is outside the domain of an operation: the error that `f` raises itself.

    Notes
    -----
    Leaves that `f` closes over are read in each call. All else that it reads around it is frozen when it is traced:
    variables of its module and of functions around it, attributes of objects, what is in lists, dicts and sets. When
    one of them is another thing by the next call, such as a new learning rate or a layer more, it is traced again, and
    so when a module changes between ``train()`` and ``eval()``. An array that is changed in place is not noticed, for
    that it would have to be read, nor are lists with more than 10,000 things in all: give them as arguments. Nor is
    what has no name in the code of `f`, such as ``getattr(model, name)``, ``globals()["k"]`` or a file.

    What `f` does besides computing, such as to print, to count or to append to a list, it does when it is traced, and
    not in every call. Its arguments are stand-ins then: a number is a Value to ``isinstance``, a comparison is 1.0 or
    0.0, and whole numbers are floats.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(2.0)
    >>> @mg.jit
    ... def loss(xs, ys):
    ...     return sum((w * x - y) ** 2 for x, y in zip(xs, ys))
    >>> out = loss([1.0, 2.0, 3.0], [2.0, 4.0, 9.0])
    >>> out.backward()
    >>> out.data, w.grad
    (9.0, -18.0)
    >>> slope = mg.jit(mg.grad(lambda x: mg.sin(x) ** 2))
    >>> slope(0.0)
    0.0
    """
    if f is None:
        return partial(jit, static_argnums=static_argnums, static_argnames=static_argnames)
    if not callable(f):
        raise InputError(f"jit is that of a function, not of {shown(f)}")
    return Jitted(f, _static(f, static_argnums, static_argnames))


def _static(f: Any, numbers: Any, names: Any) -> set[Any]:
    """Which arguments are a part of the function: of each its position and its name, as it may be given by both."""
    try:
        positions = [index(i) for i in (numbers if isinstance(numbers, (tuple, list)) else (numbers,))]
    except TypeError:
        raise InputError(f"static_argnums are positions of arguments, not {shown(numbers)}") from None
    try:
        listed = [names] if isinstance(names, str) else list(names)
    except TypeError:
        raise InputError(f"static_argnames are names of arguments, not {shown(names)}") from None
    if not positions and not listed:
        return set()
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    known = [p.name for p in parameters if p.kind not in starred]
    ends = len(known) == len(parameters)  # else there may be arguments of any name and place
    for name in listed:
        if known and ends and name not in known:
            of = getattr(f, "__name__", "the function")
            raise InputError(f"static_argnames: {name!r} is no argument of {of}, which has {', '.join(known)}")
    if known and ends and not all(-len(known) <= i < len(known) for i in positions):
        raise InputError(f"static_argnums: {positions} of a function with {len(known)} arguments")
    positions = [i % len(known) if known and i < 0 else i for i in positions]
    named = [known[i] for i in positions if i < len(known)]
    return {*positions, *listed, *named, *(known.index(name) for name in listed if name in known)}

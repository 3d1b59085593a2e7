"""`vmap`: a function of one example, applied to many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from operator import index
from typing import Any

import numpy as np

from microgad.array_functions import stack
from microgad.errors import InputError, ShapeError, shown
from microgad.node import Node
from microgad.tape import Input, Tape
from microgad.structural import shape, transpose
from microgad.tracers import PLAIN, tracer
from microgad.tracing import traced
from microgad.trees import tree_flatten, tree_leaves, tree_unflatten

from .batching import Batch
from .calls import Jitted, is_data
from .kernel import Kernel


class Mapped:
    """A function under `vmap`; see there."""

    def __init__(self, f: Callable[..., Any], in_axes: Any, out_axes: int) -> None:
        self.f, self.in_axes, self.out_axes = f, in_axes, out_axes
        self.name = getattr(f, "__name__", type(f).__name__)
        self.jitted = Jitted(self.inline, set(), reads=f, name=f"vmap({self.name})")
        update_wrapper(self, f, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.jitted(*map(_examples, args), **{k: _examples(x) for k, x in kwargs.items()})

    def explain(self) -> Any:
        """How the function runs; see `jit`."""
        return self.jitted.explain()

    def inline(self, *args: Any, **kwargs: Any) -> Any:
        """The function on tracers, as a part of what is traced."""
        axes = self.in_axes if isinstance(self.in_axes, (tuple, list)) else (self.in_axes,) * len(args)
        if len(axes) != len(args):
            raise InputError(f"vmap of {self.name}: in_axes has {len(axes)} axes, and it is given {len(args)} arguments")
        leaves, structure = tree_flatten((args, kwargs))
        counts = [len(tree_leaves(x)) for x in args]
        of_leaf = [axis for axis, n in zip(axes, counts, strict=True) for _ in range(n)]
        of_leaf += [0] * (len(leaves) - len(of_leaf))
        mapped: list[Any] = []
        sizes = {}
        for k, (x, axis) in enumerate(zip(leaves, of_leaf, strict=True)):
            if not is_data(x) or axis is None:
                mapped.append(None)
                continue
            of = shape(x)
            if not -len(of) <= axis < len(of):
                raise ShapeError(
                    f"vmap of {self.name}: argument {structure.place(k)[3:]} of shape {of} has no axis {axis}; where it is "
                    "the same for all examples, in_axes is None there"
                )
            mapped.append(axis % len(of))
            sizes[of[axis]] = k
        if len(sizes) != 1 or 0 in sizes:
            said = "no argument has an axis of examples" if not sizes else "there are no examples" if 0 in sizes else (
                f"arguments have different numbers of examples: {', '.join(map(str, sizes))}")  # fmt: skip
            raise ShapeError(f"vmap of {self.name}: {said}")
        [size] = sizes
        return self.applied(leaves, structure, mapped, size)

    def applied(self, leaves: Sequence[Any], structure: Any, mapped: Sequence[int | None], size: int) -> Any:
        """Trace one example, and compute all."""
        with traced() as trace:
            given, full = [], []
            for x, axis in zip(leaves, mapped, strict=True):
                if axis is None:
                    full.append(x)
                    continue
                full.append(_example(x, axis))
                given.append(full[-1])
            positional, named = tree_unflatten(structure, full)
            out = self.f(*positional, **named)
        found, outer = tree_flatten(out)
        nodes = [x for x in found if isinstance(x, Node)]
        inputs = [Input("", _type(x), type(x) in PLAIN, None, x._value) for x in given]
        tape: Tape = Tape.of_graph(self.name, list(zip(given, inputs, strict=True)), trace.nodes, nodes)
        trace.close()
        kernel = Kernel(tape)
        many = [_last(x, axis) for x, axis in zip(leaves, mapped, strict=True) if axis is not None]
        values = [*many, *(x.node for x in tape.inputs[len(many) :])]
        operands, flags = [], []
        for source in kernel.sources:
            if isinstance(source, int):
                operands.append(values[source])
                flags.append(source < len(many))
            else:
                flags.append(any(i < len(many) for i in source))
                parts = [values[i] for i in source]
                operands.append(stack(parts) if len(parts) else np.zeros(0))
        results = Batch(kernel.arrays, size).run(operands, flags)
        made = iter([_placed(x, flag, size, self.out_axes, self.name) for x, flag in results])
        return tree_unflatten(outer, [next(made) if isinstance(x, Node) else _repeated(x, size) for x in found])


def _type(x: Any) -> Any:
    return None if type(x._value) is float else (x._value.shape, x._value.dtype)


def _example(x: Any, axis: int) -> Any:
    """A tracer for one example of an array."""
    one = np.asarray(getattr(x, "_value", x)).take(0, axis)
    plain = not isinstance(x, Node) or type(x) in PLAIN
    return tracer(x, float(one) if plain and not one.ndim else np.asarray(one))


def _last(x: Any, axis: int) -> Any:
    """An array with the axis of examples last."""
    n = len(shape(x))
    order = (*(k for k in range(n) if k != axis), axis)
    return x if order == tuple(range(n)) else transpose.given(axes=order)(x)


def _placed(x: Any, many: bool, size: int, axis: int, name: str) -> Any:
    """A result with the axis of examples where it is asked for."""
    if not many:
        x = Batch(Tape(name), size).spread(x, False)
    n = len(shape(x))
    if not -n <= axis < n:
        raise ShapeError(f"vmap of {name}: a result of shape {shape(x)[-1:] + shape(x)[:-1]} has no axis {axis} for out_axes")
    order = list(range(n - 1))
    order.insert(axis % n, n - 1)
    return x if order == list(range(n)) else transpose.given(axes=tuple(order))(x)


def _repeated(x: Any, size: int) -> Any:
    """A result that is no node: the same number for every example."""
    return np.broadcast_to(np.asarray(x, float), (size, *np.shape(x))).copy()


def _examples(x: Any) -> Any:
    """An argument with an axis of examples: a list of examples, made of numbers, becomes arrays in its structure."""
    if not isinstance(x, (list, tuple)) or not x:
        return x
    leaves = tree_leaves(x)
    if all(len(shape(leaf)) for leaf in leaves if is_data(leaf)):
        return x
    parts = [tree_flatten(one) for one in x]
    if any(structure != parts[0][1] for _, structure in parts):
        raise ShapeError(f"the examples of a vmap differ in their structure: {shown(x)}")
    columns = [stack(list(column)) for column in zip(*(found for found, _ in parts), strict=True)]
    return tree_unflatten(parts[0][1], columns)


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: int = 0) -> Any:
    """A function of one example as a function of many."""
    if not callable(f):
        raise InputError(f"vmap is that of a function, not of {shown(f)}")
    return Mapped(f, in_axes, index(out_axes))

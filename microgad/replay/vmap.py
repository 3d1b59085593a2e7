"""`vmap`: a function of one example, applied to many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, update_wrapper
from operator import index
from threading import get_ident
from typing import Any

import numpy as np

from microgad.array_functions import stack
from microgad.errors import InputError, ShapeError, shown
from microgad.naming import Text
from microgad.node import Node
from microgad.primitive import tracing
from microgad.primitives import identity
from microgad.structural import shape, transpose
from microgad.tape import Tape
from microgad.tensor import Tensor
from microgad.tracers import AS_NODE, PLAIN, number_of, tracer
from microgad.tracing import traced
from microgad.trees import Structure, tree_flatten, tree_leaves, tree_structure, tree_unflatten

from .batching import Batch
from .calls import Around, Jitted
from .kernel import Kernel, is_strict
from .traced import as_input, is_data


class Mapped(Around):
    """A function under `vmap`; see there."""

    def __init__(self, f: Callable[..., Any], in_axes: Any, out_axes: Any) -> None:
        self._f, self._in_axes, self._out_axes = f, in_axes, out_axes
        self._name = f"vmap({getattr(f, '__name__', type(f).__name__)})"
        self._jitted = Jitted(self._inline, reads=f, name=self._name)
        update_wrapper(self, f, updated=())
        self.__name__ = self._name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results for all examples."""
        axes = self._axes(args)
        given = [
            self._examples(x, axis, f"argument {i + 1}") for i, (x, axis) in enumerate(zip(args, axes, strict=True))
        ]
        named = {k: self._examples(x, 0, f"argument {k}") for k, x in kwargs.items()}
        return self._jitted.call(given, named, partial(self._one_by_one, [*args, *kwargs.values()]))

    def __reduce__(self) -> Any:
        return type(self), (self._f, self._in_axes, self._out_axes)

    def explain(self) -> Text:
        """How the function runs; see `jit`."""
        return self._jitted.explain()

    def _axes(self, args: Any) -> Sequence[Any]:
        """The axis of each positional argument."""
        if not isinstance(self._in_axes, (tuple, list)):
            return (self._in_axes,) * len(args)
        if len(self._in_axes) != len(args):
            raise InputError(
                f"{self._name}: in_axes is of {len(self._in_axes)} arguments, and {len(args)} are given by position; "
                "keyword arguments have their examples in axis 0"
            )
        return self._in_axes

    def _prepared(self, args: Any, kwargs: Any) -> tuple[list[Any], Structure, list[int | None], int]:
        """The leaves of the arguments, their structure, which axis of each has the examples, and how many there are."""
        leaves, structure = tree_flatten((args, kwargs))
        pairs = zip(self._axes(args), args, strict=True)
        asked = [axis for pair in pairs for axis in self._of_leaves("in_axes", *pair)]
        asked += [0] * (len(leaves) - len(asked))
        mapped: list[int | None] = []
        sizes: dict[int, str] = {}
        for k, (x, axis) in enumerate(zip(leaves, asked, strict=True)):
            mapped.append(self._axis(axis, x, structure, k))
            if mapped[-1] is not None:
                sizes.setdefault(shape(x)[mapped[-1]], _said(structure, k))
        if len(sizes) > 1:
            said = ", ".join(f"{n} in {which}" for n, which in sizes.items())
            raise ShapeError(f"{self._name}: the arguments have different numbers of examples: {said}")
        if 0 in sizes or any(isinstance(x, (list, tuple)) and not x for x in args):
            raise ShapeError(f"{self._name}: there are no examples")
        if not sizes:
            given = ", ".join(f"{_said(structure, k)} is {_kind_of(x)}" for k, x in enumerate(leaves[:3]))
            raise ShapeError(f"{self._name}: no argument has an axis of examples" + f": {given}" * bool(given))
        return leaves, structure, mapped, next(iter(sizes))

    def _inline(self, *args: Any, **kwargs: Any) -> Any:
        """The function on tracers, as a part of what is traced."""
        return self._applied(*self._prepared(args, kwargs))

    def _one_by_one(self, asked: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        """What it means: the function of each example, and the results side by side; `asked` is what was given."""
        leaves, structure, mapped, size = self._prepared(args, kwargs)
        whole = [isinstance(axis, (list, tuple, dict)) for axis in (*self._axes(args), *[0] * len(kwargs))]
        outs = []
        for i in range(size):
            one = [x if axis is None else _taken(x, axis, i) for x, axis in zip(leaves, mapped, strict=True)]
            positional, named = tree_unflatten(structure, one)
            each = zip((*args, *kwargs.values()), asked, (*positional, *named.values()), whole, strict=True)
            taken = [now if x is y or nested else y[i] for x, y, now, nested in each]
            outs.append(self._f(*taken[: len(args)], **dict(zip(named, taken[len(args) :], strict=True))))
        axes = self._of_leaves("out_axes", self._out_axes, outs[0])
        columns = zip(*map(tree_leaves, outs), strict=True)
        found = [
            column[0] if axis is None or not is_data(column[0]) else stack(list(column), axis)
            for column, axis in zip(columns, axes, strict=True)
        ]
        return tree_unflatten(tree_structure(outs[0]), found)

    def _of_leaves(self, which: str, axis: Any, x: Any) -> list[Any]:
        """The axis of each leaf, of one axis for all of them or of a container like theirs."""
        if isinstance(axis, (tuple, list, dict)):
            keys: Any = list(x) if isinstance(x, dict) else range(len(x)) if isinstance(x, (tuple, list)) else ()
            alike = (isinstance(axis, dict) and isinstance(x, dict)) or type(axis) is type(x)
            if not alike or (set(axis) != set(keys) if isinstance(axis, dict) else len(axis) != len(x)):
                raise InputError(f"{self._name}: {which} has {shown(axis)} for the structure {tree_flatten(x)[1]}")
            return [found for k in keys for found in self._of_leaves(which, axis[k], x[k])]
        if axis is not None:
            try:
                if isinstance(axis, bool):
                    raise TypeError
                axis = index(axis)
            except TypeError:
                raise InputError(f"{self._name}: {which} are integers or None, not {shown(axis)}") from None
        return [axis] * len(tree_leaves(x))

    def _examples(self, x: Any, axis: Any, which: str) -> Any:
        """An argument with an axis of examples: a list of them, made of numbers, becomes arrays in their structure."""
        if isinstance(x, Iterator):
            raise InputError(f"{self._name}: {which} is {shown(x)}, which can be gone through once: make it a list")
        if isinstance(axis, dict) and isinstance(x, dict):
            return {k: self._examples(y, axis.get(k), f"{which}[{k!r}]") for k, y in x.items()}
        if axis is None or not isinstance(x, (list, tuple)) or not x:
            return x
        if isinstance(axis, (list, tuple)):
            if len(axis) != len(x):
                return x
            parts = [self._examples(y, of, f"{which}[{k}]") for k, (y, of) in enumerate(zip(x, axis, strict=True))]
            return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
        if all(len(shape(leaf)) for leaf in tree_leaves(x) if is_data(leaf)):
            return x
        if axis != 0:
            raise InputError(f"{self._name}: {which} is a list of examples: its axis is 0, not {shown(axis)}")
        found = [tree_flatten(one) for one in x]
        for k, (leaves, structure) in enumerate(found):
            if strange := [leaf for leaf in leaves if not is_data(leaf)]:
                raise InputError(f"{self._name}: {which}[{k}] holds {shown(strange[0])}, which is no number")
            shapes = [list(map(shape, of)) for of in (found[0][0], leaves)]
            if structure != found[0][1] or shapes[0] != shapes[1]:
                kinds = [f"the structure {structure}", f"{found[0][1]}"] if structure != found[0][1] else [
                    f"the shapes {shapes[1]}", f"{shapes[0]}"]  # fmt: skip
                raise ShapeError(f"{self._name}: {which}[{k}] has {kinds[0]}, and {which}[0] {kinds[1]}")
        columns = [stack(list(column)) for column in zip(*(leaves for leaves, _ in found), strict=True)]
        return tree_unflatten(found[0][1], columns)

    def _axis(self, axis: int | None, x: Any, structure: Structure, k: int) -> int | None:
        """The axis of examples of a leaf, counted from the front; None if it is the same for all."""
        if axis is None or not is_data(x):
            return None
        of = shape(x)
        if not -len(of) <= axis < len(of):
            raise ShapeError(
                f"{self._name}: {_said(structure, k)}, of shape {of}, has no axis {axis}; of what is the same for all "
                "examples, in_axes is None"
            )
        return axis % len(of)

    def _applied(self, leaves: Sequence[Any], structure: Any, mapped: Sequence[int | None], size: int) -> Any:
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
            out = self._f(*positional, **named)
        found, outer = tree_flatten(out)
        nodes = [x for x in found if isinstance(x, Node)]
        tape: Tape = Tape.of_graph(self._name, [(x, as_input(x)) for x in given], trace.nodes, nodes, trace)
        trace.close(given)
        kernel = Kernel(tape)
        if (around := tracing.get(get_ident())) is not None:
            around.inlined += trace.inlined + kernel.numbers
            around.strict |= trace.strict or is_strict(tape)  # a number may be outside of the domain of a row
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
        made = iter(results)
        axes = self._of_leaves("out_axes", self._out_axes, out)
        placed = [self._placed(x, axis, size, made) for x, axis in zip(found, axes, strict=True)]
        if around is not None:
            around.arrays.update(id(x) for x, _ in made if isinstance(x, Node))  # what leads to no result
        return tree_unflatten(outer, placed)

    def _placed(self, x: Any, axis: int | None, size: int, made: Iterator[tuple[Any, bool]]) -> Any:
        """A leaf of the result with the axis of examples where it is asked for."""
        if isinstance(x, Node):
            plain = type(x) in PLAIN
            x, many = next(made)
            if not isinstance(x, Node) and not plain:  # a constant that was a Value or Tensor
                x = AS_NODE(number_of(Tensor(x)))
            elif many and isinstance(x, Node) and x.prim is None:
                x = identity(x)  # no argument itself comes out
        elif is_data(x):
            x, many = np.asarray(x, float), False
        else:
            return x
        if axis is None:
            if many:
                raise ShapeError(f"{self._name}: a result differs between the examples, and out_axes is None for it")
            return x
        if not many:
            once = type(x) is np.ndarray
            x = np.repeat(x[..., None], size, -1) if once else Batch(Tape(self._name), size).spread(x, False)
        n = len(shape(x))
        if not -n <= axis < n:
            of = shape(x)[:-1]
            raise ShapeError(f"{self._name}: a result of shape {of} for each example has no axis {axis} for them")
        order = list(range(n - 1))
        order.insert(axis % n, n - 1)
        return x if order == list(range(n)) else transpose.given(axes=tuple(order))(x)


def _said(structure: Structure, k: int) -> str:
    """Which argument a leaf is, said for people."""
    which, _, rest = structure.place(k)[1:].partition("][")
    first, _, more = rest.partition("]")
    return f"argument {int(first) + 1 if which == '0' else first}{more}"


def _example(x: Any, axis: int) -> Any:
    """A tracer for one example of an array."""
    one = np.asarray(getattr(x, "_value", x)).take(0, axis)
    plain = not isinstance(x, Node) or type(x) in PLAIN
    return tracer(x, float(one) if plain and not one.ndim else np.asarray(one))


def _kind_of(x: Any) -> str:
    return f"an array of {x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else shown(x)


def _taken(x: Any, axis: int, i: int) -> Any:
    """An example of an array; a single number of a plain one as Python has it, as in a list."""
    one = x[(slice(None),) * axis + (i,)]
    return one.item() if isinstance(one, np.generic) else one


def _last(x: Any, axis: int) -> Any:
    """An array with the axis of examples last."""
    n = len(shape(x))
    order = (*(k for k in range(n) if k != axis), axis)
    return x if order == tuple(range(n)) else transpose.given(axes=order)(x)


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Any:
    """A function of one example as a function of many, computed with arrays.

    The first call for each structure and shape of the arguments traces `f` on one example; all examples then run at
    once, as under `jit`, which it includes: code for one sample and each of its numbers becomes matrix products. It
    composes with `jit`, `grad` and itself.

    Parameters
    ----------
    f : callable
        A function or a module, of numbers, arrays, Values, Tensors, and of lists, tuples and dicts of them.
    in_axes : int, None, or tuple of them
        The axis of the examples in each positional argument; None for one that is the same for all. An argument that is
        a container may have one like it. A list of numbers, or of lists of numbers, is one of examples. Keyword
        arguments have their examples in axis 0, and leaves that `f` closes over are the same for all.
    out_axes : int, None, or a container of them
        Where the results have the axis of the examples.

    Returns
    -------
    callable
        Of the same arguments, with the axis; it returns arrays or Tensors where `f` returns numbers, Values or Tensors.

    Raises
    ------
    InputError
        If `f` is no function, or `in_axes` does not fit its arguments.
    ShapeError
        In a call, if the arguments have no such axis, or different numbers of examples.
    TraceError
        In a call, as under `jit`.
    DomainError
        In a call, if a number of one of the examples is outside the domain of an operation: as under `jit` the function
        itself is called then, one example after the other.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(3.0)
    >>> def predict(x):
    ...     return mg.tanh(w * x[0] + x[1])
    >>> mg.vmap(predict)([[0.0, 0.0], [1.0, -3.0]])
    Tensor(data=[0. 0.], grad=None)
    >>> slopes = mg.vmap(mg.grad(lambda x, y: x * x * y), in_axes=(0, None))
    >>> slopes(np.array([1.0, 2.0, 3.0]), 10.0)
    array([20., 40., 60.])
    """
    if not callable(f):
        raise InputError(f"vmap is that of a function, not of {shown(f)}")
    return Mapped(f, in_axes, out_axes)

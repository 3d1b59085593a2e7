"""Tracers: the nodes that a function meets while it is traced, and what leads a number out of the graph then.

A tracer is a Value or Tensor with the numbers of the example, so that what a function checks of shapes and domains is
checked. What would read a number out of the graph, such as ``.data`` or ``x > 0``, gives a node through which no
gradient flows; what cannot be replayed, such as a branch that depends on it, is a `TraceError`. These ways out are
watched on all nodes while a trace is under way, for what a function closes over is no tracer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from numbers import Real
from threading import Lock, get_ident
from typing import Any

import numpy as np

from .array_functions import axis_of, stack, unbind
from .errors import InputError, TracedAttributeError, TraceError, shown, untraceable, untraced
from .node import Node
from .operators import OF_NUMPY, OF_UFUNC, QUESTIONS, Arithmetic, as_float
from .order import EMPTY
from .primitive import Primitive, tracing
from .primitives import equal, greater, identity, maximum
from .structural import cast, item
from .tensor import Tensor
from .trees import tree_leaves
from .value import Value

# The same number as a node that no gradient passes: where nothing is traced, a plain number or array, and a leaf.
DATA = replace(identity, name="data", partials=(0.0,), label="data", text="data({})")
DETACHED = replace(identity, name="detach", partials=(0.0,), label="detach", text="detach({})")
AS_NODE = replace(identity)  # of what stands for a plain number: a Value or Tensor


def _largest_at(x: Any, axis: int | None) -> Any:
    return np.asarray(np.argmax(x, axis), float)


ARGMAX = Primitive(
    "argmax", _largest_at, _largest_at, vjp=(lambda g, y, x, axis: np.zeros(x.shape),),
    jvp=(lambda t, y, x, axis: np.zeros(y.shape),), label="argmax", text="argmax({})",
    latex=r"\operatorname{{argmax}}\left({}\right)",
)  # fmt: skip


class _Tracer:
    """What is refused of every tracer, which has numbers only while it is traced."""

    __slots__ = ()

    def _refused(self, *args: Any) -> Any:
        raise untraceable(
            "a whole number or a remainder is made of a traced number (int, range, round, //, %)",
            "it may be another in the next call; compute it outside, and name the argument in static_argnums or "
            "static_argnames of mg.jit",
        )

    __index__ = __round__ = __floor__ = __ceil__ = __trunc__ = __floordiv__ = __rfloordiv__ = _refused
    __int__ = __mod__ = __rmod__ = __divmod__ = __rdivmod__ = __lshift__ = __rshift__ = _refused

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise untraceable("a copy of a traced number", "copy what comes out of the function")

    def __deepcopy__(self, memo: Any) -> Any:
        return self.__reduce_ex__(4)

    def __repr__(self) -> str:
        node: Any = self
        size = "" if type(node._value) is float else f", shape={np.shape(node._value)}"
        name = "" if not node.name else f", name={node.name!r}"
        return f"{type(self).__name__}({(name + size)[2:]})"

    # Masks, as comparisons give them.
    def __and__(self, other: Any) -> Any:
        return self * other

    def __or__(self, other: Any) -> Any:
        return maximum(self, other)

    def __invert__(self) -> Any:
        return 1.0 - self  # type: ignore[operator]

    __rand__, __ror__ = __and__, __or__


def _missing(x: Any, name: str, like: type) -> AttributeError:
    if name.startswith("_") or not hasattr(like, name):
        return AttributeError(f"{type(x).__name__!r} object has no attribute {name!r}")
    of = "a traced array" if like is np.ndarray else "a traced number"
    why = "only NumPy has it; compute with functions of microgad, or outside"
    return TracedAttributeError(untraced(f"{name} of {of}", why))


class TracedValue(_Tracer, Value, rank=0):
    """A Value while a function is traced."""

    __slots__ = ()


class TracedTensor(_Tracer, Tensor, rank=1):
    """A Tensor while a function is traced."""

    __slots__ = ()


class TracedNumber(TracedValue, rank=0):
    """What is a plain number where nothing is traced."""

    __slots__ = ()
    needs = False

    def __getattr__(self, name: str) -> Any:
        raise _missing(self, name, np.float64)


class TracedArray(TracedTensor, rank=1):
    """What is a plain array where nothing is traced."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        raise _missing(self, name, np.ndarray)

    def _in_place(self, other: Any) -> Any:
        if self.prim is None:
            raise untraceable("an array is changed in place", "its owner would not see it; x = x + 1 is another array")
        return NotImplemented  # of what is computed here nobody else knows

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = __imatmul__ = _in_place

    def copy(self) -> Any:
        """The array, which nobody can change."""
        return self

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """The array with numbers of another type, which has to be one of floats."""
        to: np.dtype[Any] = np.dtype(dtype)
        if to.kind != "f":
            raise untraceable(f"a traced array as {to}", "microgad computes with floats")
        return cast.given(to=to)(self)


PLAIN = (TracedNumber, TracedArray)
KINDS = {
    (True, True): TracedNumber,
    (True, False): TracedValue,
    (False, True): TracedArray,
    (False, False): TracedTensor,
}  # by whether it is a single number, and whether it is plain


def of_floats(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array with its numbers as floats of this machine.

    Examples
    --------
    >>> of_floats(np.array([1, 2])).dtype, of_floats(np.ones(2, ">f4")).dtype
    (dtype('float64'), dtype('float32'))
    """
    if x.dtype.kind != "f":
        return x.astype(float)
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def numbers_of(x: Any) -> Any:
    """What an argument is computed with: a float, or an array of floats.

    Examples
    --------
    >>> numbers_of(2), numbers_of(np.array(2)), numbers_of(np.array([2]))
    (2.0, 2.0, array([2.]))
    """
    return of_floats(np.asarray(x)) if isinstance(x, np.ndarray) and x.ndim else as_float(x)


def tracer(x: Any, example: Any = None) -> Any:
    """What stands for an argument, a node or number or array: a leaf of its kind that has its numbers, or the example.

    Examples
    --------
    >>> type(tracer(2.0)).__name__, type(tracer(Value(2.0))).__name__, type(tracer(np.zeros(2))).__name__
    ('TracedNumber', 'TracedValue', 'TracedArray')
    """
    given = isinstance(x, Node)
    if isinstance(x, (np.matrix, np.ma.MaskedArray)):
        raise InputError(f"{shown(x)} computes in a way of its own: give it as np.asarray(x)")
    data = example if example is not None else x._value if given else x
    array = isinstance(x, Tensor) and type(data) is not float  # of a computed one without axes NumPy makes a number
    data = of_floats(np.asarray(data)) if array else numbers_of(data)
    out: Any = object.__new__(KINDS[type(data) is float, not given or isinstance(x, PLAIN)])
    out._value, out.a, out.b = data, EMPTY, EMPTY
    out._name = x._name if given else None
    out.grad = out.mark = out.prim = None
    if type(data) is not float:
        out.needs = given and x.needs
    return out


class _Over:
    """A tracer once its trace is over."""

    __slots__ = ()

    def _gone(self, *args: Any, **kwargs: Any) -> Any:
        raise TraceError(
            "a number that was traced is used after its trace: it stood for those of all calls, and has none of its "
            "own; return it from the function instead of keeping it elsewhere"
        )

    _value: Any = property(_gone)
    grad: Any = property(_gone)
    __float__ = __int__ = __index__ = __bool__ = __array__ = __array_ufunc__ = __array_function__ = _gone
    __len__ = __iter__ = __format__ = backward = _gone

    def __repr__(self) -> str:
        return f"{type(self).__name__}(of a trace that is over)"


class OverValue(_Over, TracedValue, rank=0):
    """What a TracedValue becomes."""

    __slots__ = ()


class OverTensor(_Over, TracedTensor, rank=1):
    """What a TracedTensor becomes."""

    __slots__ = ()


def end(tracers: Iterable[Any]) -> None:
    """Let tracers have no numbers any more: see what their trace has made of them.

    Examples
    --------
    >>> end([x := tracer(2.0)])
    >>> x
    OverValue(of a trace that is over)
    """
    for x in tracers:
        number = type(x._value) is float
        x._value = None
        x.__class__ = OverValue if number else OverTensor


# ---- the ways out, as they are while a function is traced

Method = Callable[..., Any]


def number_of(x: Any) -> Any:
    """A node as a plain number or array: no gradient flows through it.

    Examples
    --------
    >>> number_of(Value(2.0)).op
    'data'
    """
    return DATA(x) if isinstance(x, Node) and not isinstance(x, PLAIN) else x


def _comparison(compare: Method) -> Method:
    """A comparison as a node that is 1 or 0."""

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, (Node, Real, np.ndarray, list, tuple)):
            return NotImplemented
        return compare(number_of(self), number_of(np.asarray(other) if isinstance(other, (list, tuple)) else other))

    return method


_COMPARED: dict[str, Method] = {
    "__lt__": lambda a, b: greater(b, a),
    "__le__": lambda a, b: greater(b, a) + equal(b, a),
    "__gt__": lambda a, b: greater(a, b),
    "__ge__": lambda a, b: greater(a, b) + equal(a, b),
    "__eq__": lambda a, b: equal(a, b),
    "__ne__": lambda a, b: 1.0 - equal(a, b),
}
_OF_UFUNC: dict[np.ufunc, Method] = {
    np.less: _COMPARED["__lt__"], np.less_equal: _COMPARED["__le__"], np.greater: _COMPARED["__gt__"],
    np.greater_equal: _COMPARED["__ge__"], np.equal: _COMPARED["__eq__"], np.not_equal: _COMPARED["__ne__"],
    np.isnan: lambda x: 1.0 - equal(x, x), np.isfinite: lambda x: equal(x - x, 0.0),
    np.logical_and: lambda a, b: a * b, np.logical_or: maximum, np.logical_not: lambda x: 1.0 - x,
}  # fmt: skip


def _refusing(what: str, advice: str) -> Method:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise untraceable(what, advice)

    return method


_branch = _refusing(
    "a branch depends on a traced number (if, while, and, or, not, max, min, sorted, in)",
    "a program would take the same one for ever; mg.where, mg.maximum and mg.minimum decide anew in each call",
)
_as_float = _refusing(
    "float() is taken of a traced number",
    "it would be that of this one call for ever; leave float() out, take mg.exp, mg.log … in place of math.exp, "
    "math.log …, and mg.stack in place of an array that is filled number by number",
)
_as_array = _refusing(
    "an array is made of traced numbers",
    "it would be that of this one call for ever; take mg.stack in place of np.array, sum(xs) / len(xs) in place of "
    "np.mean, and mg.exp in place of np.exp of a list",
)
_set = _refusing(
    "a leaf is written", "a program would not do it again; return what it should become, and set it outside"
)
_back = _refusing(
    "backward() is called", "its gradients would be those of this one call; call it outside, or mg.grad inside"
)
_hook = _refusing("a hook is registered", "no later call would call it; register it outside, on an argument or a leaf")
_read = _refusing(
    "the grad of a node is read",
    "it would be that of this one call for ever; give it as an argument, and look at graphs outside",
)
_text = _refusing(
    "a traced number is written as text",
    "it would be that of this one call for ever; format what the function returns; print(x) shows what stands for it",
)


_UNKNOWN = "it has no derivative here; take functions of microgad, or call it outside"


def _item(self: Any) -> Any:
    if self._value.size != 1:
        return ORIGINALS[Tensor, "item"](self)  # which says what is wrong
    x = number_of(self)
    return x if type(x._value) is float else item.given(at=(0,) * x._value.ndim)(x)


def _listed(self: Any) -> Any:
    x = number_of(self)
    if type(x._value) is float:
        return x
    return list(map(_listed, unbind(x))) if x._value.ndim else _item(x)


def _largest(self: Any, axis: Any = None) -> Any:
    return ARGMAX.given(axis=None if axis is None else axis_of(self, axis, "argmax"))(number_of(self))


def _detached(self: Any) -> Any:
    out = DETACHED(self)
    if type(out._value) is not float:
        out.needs = False
    return out


def _indexed(self: Any, key: Any) -> Any:
    if any(isinstance(x, Node) for x in tree_leaves(key)) or (
        isinstance(key, slice) and any(isinstance(x, Node) for x in (key.start, key.stop, key.step))
    ):
        raise untraceable(
            "an index is traced",
            "it may be another in the next call; name the argument in static_argnums or static_argnames of mg.jit, or "
            "take mg.where, or a product with np.arange(n) == index",
        )
    return ORIGINALS[Tensor, "__getitem__"](self, key)


def _formatted(self: Any, spec: str) -> str:
    return _text(self) if spec else repr(self)


def _needed(self: Any, needs: bool) -> None:
    same = isinstance(self, _Tracer) or needs is self.needs
    (ORIGINALS[Tensor, "requires_grad"].fset if same else _set)(self, needs)


def _asked_need(self: Any) -> bool:
    if not isinstance(self, _Tracer):
        tracing[get_ident()].needs.append((self, self.needs))
    return bool(self.needs)


def _of_ufunc(self: Any, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    if method == "__call__" and not kwargs and ufunc in _OF_UFUNC:
        return _OF_UFUNC[ufunc](*map(number_of, inputs))
    if {"d->?", "dd->?"} & set(ufunc.types):
        raise untraceable(f"np.{ufunc.__name__} of a traced number", "compare it with <, > or ==, or ask outside")
    if method != "__call__" or kwargs or ufunc not in OF_UFUNC:
        called = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        raise untraceable(f"np.{called}{' with keywords' * bool(kwargs)} of a traced number", _UNKNOWN)
    return ORIGINALS[Arithmetic, "__array_ufunc__"](self, ufunc, method, *inputs, **kwargs)


def _of_function(self: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    name = function.__name__
    if name in ("shape", "ndim", "size"):
        return getattr(np.empty(np.shape(args[0]._value)), name)
    if name in ("zeros_like", "ones_like") and len(args) == 1 and not kwargs:
        return function(np.empty(np.shape(args[0]._value)))
    if name == "argmax":
        return _largest(*args, **kwargs)
    if name in QUESTIONS:
        raise untraceable(f"np.{name} of a traced array", "its answer would be that of this one call; ask outside")
    if getattr(np, name, None) is not function or name not in OF_NUMPY:
        where = function.__module__.replace("numpy", "np", 1)
        raise untraceable(f"{where}.{name} of a traced number", _UNKNOWN)
    return ORIGINALS[Arithmetic, "__array_function__"](self, function, types, args, kwargs)


def _value_made(self: Any, data: Any, name: str | None = None, *, label: str | None = None) -> None:
    """A Value that the function makes: a constant, or a leaf's likeness where it is made of a traced number."""
    traced = type(data) is TracedNumber
    ORIGINALS[Value, "__init__"](self, data._value if traced else data, name, label=label)
    _adopt(self, data if traced else None, Value, TracedValue)


def _tensor_made(
    self: Any, data: Any, requires_grad: bool = False, name: str | None = None, *, label: str | None = None
) -> None:
    """The same of a Tensor."""
    below = data if isinstance(data, (TracedArray, TracedNumber)) else None
    if isinstance(data, (list, tuple)) and any(isinstance(x, _Tracer) for x in tree_leaves(data)):
        below = stack([_stacked(x) for x in data])
        if not isinstance(below, TracedArray):
            below = None
    ORIGINALS[Tensor, "__init__"](self, data if below is None else below._value, False, name, label=label)
    ORIGINALS[Tensor, "requires_grad"].fset(self, requires_grad)
    if below is not None and getattr(below._value, "dtype", None) != self._value.dtype:
        below = stack([below])[0] if type(below) is TracedNumber else cast.given(to=self._value.dtype)(below)
    _adopt(self, below, Tensor, TracedTensor)


def _constant(x: Any) -> Any:
    """An array beside a tracer: a constant, and no Tensor of the function's."""
    out = ORIGINALS[Tensor, "constant"](x)
    if type(out) is TracedTensor:
        out.__class__ = TracedArray
    return out


def _stacked(x: Any) -> Any:
    return stack(list(map(_stacked, x))) if isinstance(x, (list, tuple)) else x


def _adopt(leaf: Any, below: Any, kind: type, traced: type) -> None:
    if below is not None:
        leaf.prim, leaf.a = DETACHED, below
    if type(leaf) is kind:
        leaf.__class__ = traced
        tracing[get_ident()].nodes.append(leaf)


_WATCHED: dict[tuple[type, str], Method | tuple[Method, Method]] = {
    (Node, "grad"): (_read, _set),
    (Node, "backward"): _back,
    (Tensor, "backward"): _back,
    (Value, "data"): (number_of, _set),
    (Tensor, "data"): (number_of, _set),
    (Tensor, "__setitem__"): _set,
    (Tensor, "__getitem__"): _indexed,
    (Tensor, "requires_grad"): (_asked_need, _needed),
    (Arithmetic, "__format__"): _formatted,
    (Tensor, "__format__"): _formatted,
    (Value, "item"): number_of,
    (Tensor, "item"): _item,
    (Tensor, "numpy"): number_of,
    (Tensor, "tolist"): _listed,
    (Tensor, "argmax"): _largest,
    (Value, "detach"): _detached,
    (Tensor, "detach"): _detached,
    (Arithmetic, "register_hook"): _hook,
    (Arithmetic, "__bool__"): _branch,
    (Tensor, "__bool__"): _branch,
    (Arithmetic, "__float__"): _as_float,
    (Arithmetic, "__array__"): _as_array,
    (Tensor, "__array__"): _as_array,
    (Arithmetic, "__array_ufunc__"): _of_ufunc,
    (Arithmetic, "__array_function__"): _of_function,
    (Value, "__init__"): _value_made,
    (Tensor, "__init__"): _tensor_made,
    (Tensor, "constant"): _constant,
    **{(Arithmetic, name): _comparison(compare) for name, compare in _COMPARED.items()},
}
ORIGINALS: dict[tuple[type, str], Any] = {place: vars(place[0])[place[1]] for place in _WATCHED}


def _switch(original: Method, traced: Method) -> Method:
    """A method that is another one in a thread that traces."""

    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return (traced if get_ident() in tracing else original)(self, *args, **kwargs)

    return method


def _watching(place: tuple[type, str]) -> Any:
    original, traced = ORIGINALS[place], _WATCHED[place]
    if isinstance(original, staticmethod) and callable(traced):
        return staticmethod(_switch(original.__func__, traced))
    if callable(traced):
        return _switch(original, traced)
    if isinstance(original, property):
        assert original.fget is not None
        assert original.fset is not None
        return property(_switch(original.fget, traced[0]), _switch(original.fset, traced[1]))

    def write(self: Any, x: Any) -> None:  # None is what every node is born with
        effect = get_ident() in tracing and (x is not None or _is_set(original, self))
        (traced[1] if effect else original.__set__)(self, x)

    return property(_switch(original.__get__, traced[0]), write)


def _is_set(slot: Any, node: Any) -> bool:
    try:
        return slot.__get__(node) is not None
    except AttributeError:  # it is being born
        return False


_LOCK, _UNDER_WAY = Lock(), [0]


@contextmanager
def watched() -> Iterator[None]:
    """While it lasts, what leads out of the graph is another in threads that trace."""
    with _LOCK:
        _UNDER_WAY[0] += 1
        if _UNDER_WAY[0] == 1:
            for kind, name in _WATCHED:
                setattr(kind, name, _watching((kind, name)))
    try:
        yield
    finally:
        with _LOCK:
            _UNDER_WAY[0] -= 1
            if not _UNDER_WAY[0]:
                for (kind, name), original in ORIGINALS.items():
                    setattr(kind, name, original)

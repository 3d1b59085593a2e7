"""Python's and NumPy's operators on nodes, written once for every kind of node."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Complex, Real
from threading import Lock
from typing import Any, ClassVar

import numpy as np

from . import array_functions, functions, structural
from . import primitives as rows
from .copying import deep_copy, restore
from .errors import GraphCutError, InputError, MicrogadError, no_answer, shown, spell
from .hooks import Hook
from .node import Node
from .order import EMPTY
from .primitive import Primitive, ranks

_new, _plus, _times, _relu = object.__new__, rows.add, rows.mul, rows.relu
OF_UFUNC = {row.array: row for row in rows.TABLE.values() if isinstance(row.array, np.ufunc)}
OF_UFUNC[np.matmul] = structural.matmul


# How a node alone in a notebook cell shows itself: `microgad/__init__.py` puts the drawing here.
show: list[Callable[[Any], dict[str, Any]]] = [lambda node: {"text/plain": repr(node)}]


def as_float(x: Any) -> float:
    """A plain number as the float that a graph of scalars keeps."""
    if type(x) is float:
        return x
    if type(x) is int or not (
        isinstance(x, (str, bytes, bytearray, Node))
        or getattr(x, "ndim", False)
        or (isinstance(x, Complex) and not isinstance(x, Real))
    ):
        try:
            return float(x)
        except OverflowError:
            raise InputError(f"a Value holds one real number, not {shown(x)}, too large for a float") from None
        except (TypeError, ValueError):
            pass
    raise InputError(f"a Value holds one real number, not {shown(x)}")


def _binary(row: Primitive) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """An operator and its reflection."""

    def method(self: Arithmetic, other: object) -> Any:
        kind = type(self)
        if type(other) in (kind, float, int):
            return row.bind(kind, (self, other))
        return row(self, other) if isinstance(other, (Node, Real)) else NotImplemented

    def reflected(self: Arithmetic, other: object) -> Any:
        kind = type(self)
        if type(other) in (float, int):
            return row.bind(kind, (other, self))
        return row(other, self) if isinstance(other, (Node, Real)) else NotImplemented

    return method, reflected


def _plain(x: Any) -> Any:
    """The numbers of a node, also in a list of them."""
    return [getattr(y, "_value", y) for y in x] if type(x) in (list, tuple) else getattr(x, "_value", x)


def _asked(what: str, question: Callable[..., Any], args: Any, kwargs: Any = None) -> Any:
    """The answer to a question about the numbers of nodes, which has no derivative."""
    try:
        return question(*map(_plain, args), **{key: _plain(x) for key, x in (kwargs or {}).items()})
    except MicrogadError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise no_answer(what, args, error) from None


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Any, object], Any]:
    """A comparison of numbers, which leaves no node."""

    def method(self: Arithmetic, other: object) -> Any:
        if type(self._value) is float and not isinstance(other, Node):
            return bool(compare(self._value, other)) if isinstance(other, (float, int, Real)) else NotImplemented
        if not isinstance(other, (float, int, Node, Real, np.ndarray, list, tuple)):
            return NotImplemented
        if isinstance(other, (np.ndarray, list, tuple)):
            other = array_functions.as_array(other)
        given = other if isinstance(other, (Node, np.ndarray)) else as_float(other)
        found = _asked("a comparison", compare, (self, given))
        return found if getattr(found, "ndim", 0) else bool(found)

    return method


def _function(row: Primitive) -> Callable[[Any], Any]:
    """A row of one operand as a method."""

    def method(self: Arithmetic) -> Any:
        return row.bind(type(self), (self,))

    method.__doc__ = f"``{row.text.format('self')}``, as a new node."
    method.__name__ = row.name
    return method


def _reducing(name: str) -> Callable[..., Any]:
    return lambda a, axis=None, keepdims=False: getattr(a, name)(axis, keepdims)


# What NumPy's functions do with a node among their arguments, by name; others refuse.
OF_NUMPY: dict[str, Callable[..., Any]] = {
    "clip": functions.clip,
    "where": functions.where,
    "concatenate": array_functions.concatenate,
    "stack": array_functions.stack,
    "split": array_functions.split,
    "sum": _reducing("sum"),
    "mean": _reducing("mean"),
    "max": _reducing("max"),
    "amax": _reducing("max"),
    "min": _reducing("min"),
    "amin": _reducing("min"),
    "prod": _reducing("prod"),
    "var": lambda a, axis=None, keepdims=False, ddof=0: a.var(axis, keepdims, ddof),
    "reshape": lambda a, shape: a.reshape(shape),
    "ravel": lambda a: a.flatten(),
    "transpose": lambda a, axes=None: a.transpose(axes),
    "swapaxes": lambda a, axis1, axis2: a.swapaxes(axis1, axis2),
    "squeeze": lambda a, axis=None: a.squeeze(axis),
    "expand_dims": lambda a, axis: a.unsqueeze(axis),
    "broadcast_to": lambda array, shape: array.broadcast_to(shape),
}
QUESTIONS = {  # about numbers, with answers that have no derivative
    "shape", "ndim", "size", "zeros_like", "ones_like", "argmax", "argmin", "argsort", "allclose", "isclose",
    "array_equal", "any", "all", "count_nonzero", "nonzero",
}  # fmt: skip


class Arithmetic(Node, rank=-1):
    """A node on which operators and functions record new nodes."""

    __slots__ = ()
    __hash__ = object.__hash__  # identity, though == compares numbers
    _prev, _op = Node.inputs, Node.op  # micrograd's spellings
    __deepcopy__, __setstate__ = deep_copy, restore

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.prim is not None and self.prim.call:  # a jitted function cannot be pickled, but what it computes
            return self.prim.call.spelled_out(self).__reduce_ex__(protocol)
        return super().__reduce_ex__(protocol)

    _add, _radd = _binary(rows.add)
    _mul, __rmul__ = _binary(rows.mul)
    __sub__, __rsub__ = _binary(rows.sub)
    __truediv__, __rtruediv__ = _binary(rows.div)
    __pow__, __rpow__ = _binary(rows.pow)
    __neg__ = _function(rows.neg)
    exp, log, sqrt, sin, cos = map(_function, (rows.exp, rows.log, rows.sqrt, rows.sin, rows.cos))
    tanh, sigmoid, softplus, silu = map(_function, (rows.tanh, rows.sigmoid, rows.softplus, rows.silu))
    erf, sign, step = map(_function, (rows.erf, rows.sign, rows.step))
    abs = __abs__ = _function(rows.abs)
    swish = silu
    gelu, leaky_relu, elu, clip = functions.gelu, functions.leaky_relu, functions.elu, functions.clip
    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)
    __eq__, __ne__ = _comparison(operator.eq), _comparison(operator.ne)

    # The operators that networks are made of, spelled out: worth 2.4 to 2.9 times each, and a test holds them
    # to the table.
    def __add__(self, other: object) -> Any:
        kind = type(self)
        if type(other) is kind:
            data = self._value + other._value
        elif type(other) is float:
            data = self._value + other
        else:
            return self._add(other)
        out = _new(kind)
        out._value, out.prim = data, _plus
        out.a, out.b = self, other
        out.grad = out.mark = out._name = None
        return out

    def __mul__(self, other: object) -> Any:
        kind = type(self)
        if type(other) is kind:
            data = self._value * other._value
        elif type(other) is float:
            data = self._value * other
        else:
            return self._mul(other)
        out = _new(kind)
        out._value, out.prim = data, _times
        out.a, out.b = self, other
        out.grad = out.mark = out._name = None
        return out

    def relu(self) -> Any:
        """``relu(self)``, as a new node."""
        out = _new(type(self))
        out._value, out.prim = (self._value if self._value > 0.0 else rows.relu.scalar(self._value)), _relu
        out.a, out.b = self, EMPTY
        out.grad = out.mark = out._name = None
        return out

    # The same by the table, for `detect_anomaly`, which has to see every node that is born.
    by_row: ClassVar = {"__add__": _add, "__mul__": _mul, "relu": _function(rows.relu)}
    spelled_out: ClassVar = {"__add__": __add__, "__mul__": __mul__, "relu": relu}

    @property
    def requires_grad(self) -> bool:
        """Whether backward passes give it a gradient; of a leaf Tensor it can be set."""
        return self.needs

    @requires_grad.setter
    def requires_grad(self, needs: bool) -> None:
        raise InputError("a Value always has a gradient: take .data where a constant is meant")

    @property
    def label(self) -> str:
        """Micrograd's word for the name, and like there the empty string where there is none."""
        return self.name or ""

    @label.setter
    def label(self, name: str | None) -> None:
        self.name = name

    def __radd__(self, other: object) -> Any:
        return self if isinstance(other, (int, float)) and other == 0 else self._radd(other)  # sum() starts from 0

    def __pos__(self) -> Any:
        return self

    def register_hook(self, hook: Callable[[float], Any]) -> Hook:
        """Call `hook` with the gradient of this node in every backward pass, once all of it has arrived.

        What it returns, unless None, takes the place of the gradient, here and in all that lies below. It stays, and
        keeps the node alive, until the `Hook` that is returned is removed: ``with x.register_hook(print): ...``.
        """
        return Hook(self, hook)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __int__(self) -> int:
        return int(float(self))  # which says what to use

    def __float__(self) -> float:
        raise GraphCutError(
            f"float() of the {type(self).__name__} {spell(self)} would cut it out of the graph: use mg.exp, mg.log … "
            "in place of math.exp, math.log …, or .item() or .data where only the number is wanted and no derivative"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise GraphCutError(
            f"an array of the {type(self).__name__} {spell(self)} would cut it out of the graph: mg.stack makes a "
            "Tensor of Values, .data is the number alone"
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        row = OF_UFUNC.get(ufunc)
        if method == "__call__" and not kwargs:
            if row is not None:
                return row(*inputs)
            if {"d->?", "dd->?"} & set(ufunc.types):  # a question about numbers: np.isnan, np.less
                return _asked(f"np.{ufunc.__name__}", ufunc, inputs)
        if "out" in kwargs:
            raise InputError(
                f"np.{ufunc.__name__} with out=, as of an operator in place, records no graph: give it numbers, "
                "the .data of a Value or Tensor"
            )
        name = ".".join([ufunc.__name__, method][: 1 + (method != "__call__")]) + "".join(f" with {k}=" for k in kwargs)
        known = ", ".join(sorted(known.__name__ for known in OF_UFUNC))
        raise InputError(f"np.{name} records no graph; these do: {known}")

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        tensors = any(ranks.get(kind, 0) > 0 for kind in types)
        ours = OF_NUMPY.get(name) if getattr(np, name, None) is function else None
        if tensors and name in QUESTIONS:
            return _asked(f"np.{name}", function, args, kwargs)
        spelled = {"a_min": "low", "a_max": "high", "min": "low", "max": "high"} if name == "clip" else {}
        try:
            given = {spelled.get(key, key): x for key, x in kwargs.items()}
            if ours is None or not (tensors or name in ("clip", "where", "stack")):
                raise LookupError
            inspect.signature(ours).bind(*args, **given)
        except (LookupError, TypeError):
            known = f"take .data where only the number{'s are' if tensors else ' is'} wanted"
            where = function.__module__.replace("numpy", "np", 1)
            raise InputError(f"{where}.{name} records no graph: {known}") from None
        return ours(*args, **given)

    def __format__(self, spec: str) -> str:
        return format(self._value, spec) if spec else repr(self)

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        return f"{type(self).__name__}(data={self._value}, grad={self.grad}{name})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return show[-1](self)


_LOCK, _UNDER_WAY = Lock(), list[dict[str, Any]]()


@contextmanager
def by_table(methods: dict[str, Any] = Arithmetic.by_row) -> Iterator[None]:
    """While somebody has to see every node that is born, nothing is spelled out, or other `methods` see to it."""

    def install() -> None:
        every = Arithmetic.by_row in _UNDER_WAY
        chosen = Arithmetic.by_row if every else _UNDER_WAY[-1] if _UNDER_WAY else Arithmetic.spelled_out
        for name, method in chosen.items():
            setattr(Arithmetic, name, method)

    with _LOCK:
        _UNDER_WAY.append(methods)
        install()
    try:
        yield
    finally:
        with _LOCK:
            _UNDER_WAY.remove(methods)
            install()

"""The primitive: one differentiable operation, and the one place where a node is born."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from threading import get_ident
from typing import Any

import numpy as np

from .errors import InputError, MicrogadError, misfit, outside_domain, shown
from .order import EMPTY

Rule = Callable[..., Any]
ranks: dict[type, int] = {}  # the classes of nodes: an operation on several kinds gives the highest
kinds: dict[int, Any] = {}  # by rank, the class that a structural row gives: 0 for a float, 1 for an array
watchers: list[Any] = []  # told of every node that is born, and of every step of the chain rule: see anomaly.py
silent: dict[int, int] = {}  # threads in which nothing is recorded, and how many times over: see recording.py
tracing: dict[int, Any] = {}  # threads in which a function is traced, and the trace: see tracing.py


@dataclass(frozen=True, eq=False, slots=True)
class Primitive:
    """One row of the table: all that is known of an operation, written down once.

    Called on numbers or arrays it computes; called on a node it records one. Its rules are written in primitives,
    so the same rule gives a number in a backward pass and a graph in a derivative of higher order.
    """

    name: str
    scalar: Rule  # forward on Python floats; may raise ValueError or ArithmeticError
    array: Rule  # forward on NumPy arrays
    partials: tuple[Rule | float, ...] = ()  # elementwise: f(out, *operands) -> local, or a constant
    vjp: Sequence[Rule] = ()  # structural: f(upstream, out, *operands, **params) -> contribution
    jvp: Sequence[Rule] = ()  # structural: f(tangent, out, *operands, **params) -> tangent of out
    quick: Sequence[Rule] = ()  # f(upstream, out, *operands, **params) -> contribution, in plain NumPy, if it is hot
    rank: int = 1  # structural: of what it gives
    flow: Sequence[str] = ()  # structural: what a drawing says of the vjp; G is the upstream gradient
    label: str = ""  # what a drawing shows
    text: str = ""  # a template with {} for each operand: plain text, as `parse` reads it
    latex: str = ""  # the same for LaTeX
    domain: str = ""  # what the operands have to be, for the message of a DomainError
    params: Mapping[str, Any] = field(default_factory=dict)  # structural: keywords of the rules, such as axis=0
    spelled: Callable[..., dict[str, Any]] | None = None  # structural: from the params to the three templates above
    call: Any = None  # of a jitted function: what differentiates by all operands at once, see replay/kernel.py

    def given(self, **params: Any) -> Primitive:
        """The same row with its parameters, which a node keeps with it."""
        try:
            return _given(self, tuple(params.items()))
        except TypeError:  # a slice or an array, which has no hash
            return _given.__wrapped__(self, tuple(params.items()))

    def __call__(self, *operands: Any) -> Any:
        """The result on numbers or arrays; a new node where an operand is a node."""
        if self.vjp:
            nodes = any([type(x) in ranks for x in operands])
            return self.bind(kinds[self.rank], operands) if nodes else self.on_arrays(operands, operands)
        if len(operands) != len(self.partials):
            raise InputError(f"{self.name} takes {len(self.partials)} operands, not {len(operands)}")
        kind, top, floats, numbers, arrays = None, -1, True, True, False
        for x in operands:
            if type(x) is not float:
                floats, rank = False, ranks.get(type(x), -1)
                # A number of NumPy's is an array: it has inf and nan where a float of Python's has an error.
                numbers = numbers and isinstance(x, (float, int)) and not isinstance(x, np.generic)
                arrays = arrays or (rank < 0 and isinstance(x, np.ndarray) and x.ndim > 0)
                if rank > top:
                    kind, top = type(x), rank
        if kind is not None:
            return self.bind(kinds[1] if arrays and not top else kind, operands)  # of a Value and an array, a Tensor
        if not numbers:
            if foreign := [x for x in operands if not isinstance(x, (float, int)) and not hasattr(x, "dtype")]:
                raise InputError(f"{self.name} is of numbers, arrays and Values, not of {shown(foreign[0])}")
            out = self.on_arrays(operands, operands)
            return out[()] if type(out) is np.ndarray and not out.ndim else out  # a number
        try:
            operands = operands if floats else tuple(map(float, operands))
        except OverflowError:
            raise InputError(f"{self.name} of an integer that is too large for a float") from None
        return self.on_floats(operands, operands)

    def bind(self, kind: Any, operands: Sequence[Any]) -> Any:
        """A new node of class `kind`; the numbers among its operands are kept as floats."""
        slots, data = [], []
        for x in operands:
            if type(x) is not float and type(x) not in ranks:
                x = kind.constant(x)
            slots.append(x)
            data.append(x if type(x) is float else x._value)
        value = self.on_arrays(data, slots) if ranks[kind] else self.on_floats(data, slots)
        if tracing and (trace := tracing.get(get_ident())):
            return trace.born(self, slots, value)
        node = object.__new__(kind)
        node._value, node.prim = value, self
        node.a, node.b = slots if len(slots) == 2 else (slots[0] if len(slots) == 1 else tuple(slots), EMPTY)
        node.grad = node.mark = node._name = None
        for watcher in watchers:
            watcher.born(node)
        if silent and get_ident() in silent:
            node.prim, node.a, node.b = None, EMPTY, EMPTY
            if type(value) is not float and (self.vjp or any(value is x for x in data)):
                node._value = np.array(value)  # a leaf, whose data can be set, and no view of another's
        if type(value) is not float:
            kind.settle(node)
        return node

    def on_floats(self, data: Sequence[float], operands: Sequence[Any]) -> float:
        """The forward rule on floats; `operands` are what an error calls by name."""
        try:
            return self.scalar(*data)  # type: ignore[no-any-return]
        except (ValueError, ArithmeticError):
            raise outside_domain(self, operands, data) from None

    def on_arrays(self, data: Sequence[Any], operands: Sequence[Any]) -> Any:
        """The forward rule on arrays; `operands` are what an error calls by name."""
        try:
            return self.array(*data, **self.params)
        except MicrogadError:
            raise
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise misfit(self, operands, data, error) from None


@lru_cache(maxsize=4096)
def _given(row: Primitive, params: tuple[tuple[str, Any], ...]) -> Primitive:
    templates = row.spelled(**dict(params)) if row.spelled else {}
    return replace(row, params=dict(params), **templates)


def elementwise(
    name: str, scalar: Rule, partials: tuple[Rule | float, ...], array: Rule | None = None, **fields: Any
) -> Primitive:
    """A row that works number by number: the forward rule, and a local derivative for each operand."""
    call, operator = f"({', '.join('{}' for _ in partials)})", name.replace("_", r"\_")
    plain = {"label": name, "text": name + call, "latex": rf"\operatorname{{{{{operator}}}}}\left{call[:-1]}\right)"}
    return Primitive(name, scalar, array or scalar, partials, **{**plain, **fields})

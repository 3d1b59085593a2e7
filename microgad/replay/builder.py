"""Programs that are made instruction by instruction, each in its simplest form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from microgad.errors import MicrogadError
from microgad.primitive import Primitive
from microgad.structural import (
    concatenate,
    transpose,
)
from microgad.tape import Tape, Type

from .classes import COMMUTATIVE

SCALAR: Type = ((), np.dtype(float))
Spot = tuple[int, tuple[int, ...], tuple[int, ...]]  # where a part lies in an array: offset, strides and shape
Rule = Callable[["Builder", Primitive, tuple[int, ...], "Type | None"], "int | None"]


def kind_of(row: Primitive) -> Any:
    """What distinguishes rows: the name, and the parameters."""
    return (row.name, _hashable(tuple(row.params.items()))) if row.params else row


def _hashable(x: Any) -> Any:
    if isinstance(x, (tuple, list)):
        return tuple(map(_hashable, x))
    if isinstance(x, slice):
        return ("slice", x.start, x.stop, x.step)
    return (x.tobytes(), x.shape, x.dtype.str) if isinstance(x, np.ndarray) else x


class Builder:
    """A program that is being made.

    Parameters
    ----------
    tape : Tape
        Whose name and inputs it has.
    rules : dict
        By the name of a row, what it becomes where its operands are of a certain kind.
    fast : bool
        Whether it is to be quick, and not as it was written.

    Attributes
    ----------
    tape : Tape
        What is there so far.
    """

    def __init__(self, tape: Tape, rules: Mapping[str, Rule], fast: bool = True) -> None:
        self.tape, self.rules, self.fast = Tape(tape.name, tape.inputs), rules, fast
        self.with_ones: dict[int, tuple[int, int]] = {}  # arrays with ones behind them: along which axis, and these
        self.turned: dict[int, int] = {}  # of those the transposed ones, and which they are
        self._known: dict[Any, int] = {}

    def type(self, i: int) -> Type | None:
        """The shape and dtype of a value; None for a single number."""
        return self.tape.types[i]

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of a value."""
        kind = self.tape.types[i]
        return () if kind is None else kind[0]

    def made_by(self, i: int, row: Primitive) -> tuple[int, ...] | None:
        """The operands of a value, if a row of this name makes it."""
        found = self.tape.rows[i]
        return self.tape.operands[i] if found is not None and found.name == row.name else None

    def params(self, i: int) -> Any:
        """The parameters of the row that makes a value."""
        row = self.tape.rows[i]
        return row.params if row is not None else {}

    def number(self, i: int) -> Any:
        """A value that is a constant; None for another."""
        return self.tape.numbers.get(i)

    def is_number(self, i: int, x: float) -> bool:
        """Whether a value is a constant, the same number everywhere."""
        found = self.tape.numbers.get(i)
        return found is not None and bool(np.all(found == x))

    def longer(self, i: int, axis: int) -> int:
        """An array with ones behind it along an axis."""
        if (found := self.with_ones.get(i)) is None or found[0] != axis:
            of, kind = self.shape(i), self.type(i)
            assert kind is not None
            ones = self.tape.constant(np.ones(tuple(1 if k == axis else n for k, n in enumerate(of)), kind[1]))
            to = tuple(n + (k == axis) for k, n in enumerate(of))
            joined = self.emit(concatenate.given(axis=axis), (i, ones), (to, kind[1]))
            found = self.with_ones[i] = axis, joined
            if len(of) == 2:
                self.turned[self.emit(transpose.given(axes=(1, 0)), (i,), (of[::-1], kind[1]))] = i
        return found[1]

    def find(self, row: Primitive, operands: tuple[int, ...]) -> int | None:
        """The value that is `row` of others, if there is one."""
        return self._known.get(self._key(row, operands))

    def _key(self, row: Primitive, given: tuple[int, ...]) -> Any:
        swapped = row in COMMUTATIVE and given[0] > given[1]
        return kind_of(row), given[::-1] if swapped else given

    def emit(self, row: Primitive, operands: Sequence[int], kind: Type | None) -> int:
        """A value: what `row` makes of others."""
        given = tuple(operands)
        key = self._key(row, given)
        if key in self._known:
            return self._known[key]
        found = self._folded(row, given, kind)
        rule = self.rules.get(row.name)
        if found is None and rule is not None:
            found = rule(self, row, given, kind)
        if found is None:
            found = self.anew(row, given, kind)
        self._known[key] = found
        return found

    def anew(self, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int:
        """A value without a look at rules."""
        key = self._key(row, given)
        if key not in self._known:
            self._known[key] = self.tape.emit(row, given, kind)
        return self._known[key]

    def _folded(self, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
        numbers = [self.tape.numbers.get(i) for i in given]
        if any(x is None for x in numbers):
            return None
        # One number, repeated, is that number in what uses it.
        repeated = row.name == "broadcast_to" and math.prod(np.shape(numbers[0])) == 1  # type: ignore[arg-type]
        if not (self.fast or row.partials or repeated) and math.prod(() if kind is None else kind[0]) > 1:
            return None  # an array that is made of a smaller one says less
        try:
            with np.errstate(all="ignore"):
                data = row(*numbers) if row.partials else row.array(*numbers, **row.params)
        except MicrogadError:  # it is an error when it is computed, not before
            return None
        if kind is not None and row.domain and row.partials and not np.isfinite(data).all():
            return None  # an error, if it stands for numbers
        return self.tape.constant(float(data) if kind is None else np.array(data, kind[1]).reshape(kind[0]))

"""Arrays without axes as numbers: what is computed of ``x[i]`` is to be regrouped as what is computed of Values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from microgad.primitive import Primitive
from microgad.structural import item, scatter
from microgad.tape import Tape, Type

SINGLE: Type = ((), np.dtype(float))
MANY = 16  # operations on arrays without axes, from which on it is worth a look
NUMBER, ARRAY = item.given(at=()), scatter.given(key=(), to=())


class _Scalars:
    """The tape under way: what became of each value, as a number and as an array."""

    def __init__(self, tape: Tape) -> None:
        self.old, self.tape = tape, Tape(tape.name, tape.inputs)
        self.number: dict[int, int] = {}
        self.array: dict[int, int] = {}
        for i, kind in enumerate(self.tape.types):
            (self.number if kind is None else self.array)[i] = i

    def as_number(self, i: int) -> int:
        """A value as a number."""
        if i not in self.number:
            self.number[i] = self.tape.emit(NUMBER, (self.array[i],), None)
        return self.number[i]

    def as_array(self, i: int) -> int:
        """A value as it was."""
        if self.old.types[i] is None:
            return self.number[i]
        if i not in self.array:
            self.array[i] = self.tape.emit(ARRAY, (self.number[i],), SINGLE)
        return self.array[i]

    def instruction(self, i: int, row: Primitive, given: Sequence[int]) -> None:
        """See what a value becomes."""
        types, kind = self.old.types, self.old.types[i]
        single = kind == SINGLE
        if single and row.partials and all(types[x] in (None, SINGLE) for x in given):
            self.number[i] = self.tape.emit(row, [self.as_number(x) for x in given], None)
        elif single and row.name == "index" and all(type(k) is int for k in row.params["key"]):
            at, x = row.params["key"], given[0]
            self.number[i] = self.tape.emit(item.given(at=at), [self.as_array(x)], None) if at else self.as_number(x)
        elif single and row.name == "scatter" and types[given[0]] is None:
            self.number[i] = self.number[given[0]]
        elif row.name == "item" and types[given[0]] == SINGLE:
            self.number[i] = self.as_number(given[0])
        elif row.name == "stack" and row.params["axis"] == 0 and all(types[x] in (None, SINGLE) for x in given):
            self.array[i] = self.tape.emit(row, [self.as_number(x) for x in given], kind)
        else:
            new = self.tape.emit(row, [self.as_array(x) for x in given], kind)
            (self.number if kind is None else self.array)[i] = new


def scalars(tape: Tape) -> Tape:
    """The tape with numbers in the place of arrays without axes; itself, if it has few of them.

    Where one of these is nan or infinite, a number may be an error: whoever runs the tape is ready for that.

    Examples
    --------
    >>> import microgad as mg
    >>> program = mg.trace(lambda x: sum(x[i] * x[i + 1] for i in range(9)), mg.Tensor(np.zeros(10)))
    >>> [row.name for row in program.tape.rows[1:5]]
    ['index', 'index', 'mul', 'index']
    >>> [row.name for row in scalars(program.tape).rows[1:5]]
    ['item', 'item', 'mul', 'item']
    """
    pairs = zip(tape.rows, tape.types, strict=True)
    if sum(kind == SINGLE and row is not None and bool(row.partials) for row, kind in pairs) < MANY:
        return tape
    found = _Scalars(tape)
    for i in range(len(tape.inputs), len(tape.rows)):
        row = tape.rows[i]
        if row is not None:
            found.instruction(i, row, tape.operands[i])
        elif tape.types[i] in (None, SINGLE):
            found.number[i] = found.tape.constant(float(tape.numbers[i]))
        else:
            found.array[i] = found.tape.constant(tape.numbers[i])
        if i in tape.names:
            new = found.number.get(i, found.array.get(i))
            if new is not None and new >= len(tape.inputs):
                found.tape.names.setdefault(new, tape.names[i])
    found.tape.outputs = [found.as_array(i) for i in tape.outputs]
    return found.tape

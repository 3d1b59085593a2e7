"""Programs: what a function computes, as a list of instructions, each of which makes one value from earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .order import EMPTY
from .primitive import Primitive
from .scopes import Scope, name_above, nodes
from .structural import applied

Type = tuple[tuple[int, ...], np.dtype[Any]]  # of an array: its shape and dtype


class Input(NamedTuple):
    """What a program is given: an argument, or a leaf or node that its function closes over.

    Attributes
    ----------
    name : str
        What listings call it; empty where nobody has named it.
    type : (shape, dtype) or None
        Of an array; None for a single number.
    plain : bool
        Whether it is a number or array, and no Value or Tensor: nobody asks for its gradient.
    node : Value, Tensor, tuple of Values, or None
        The node itself, or the nodes whose numbers lie in an array, if the function closes over it: its number is read
        in each call.
    example : float or array
        What it was when the function was traced.
    """

    name: str
    type: Type | None
    plain: bool
    node: Any
    example: Any


class Instruction(NamedTuple):
    """One value of a program, by its number, and what makes it of which others."""

    value: int
    row: Primitive
    operands: tuple[int, ...]
    type: Type | None


class Tape:
    """A function as instructions in static single assignment form, as `trace` finds it.

    Values are counted from 0: the inputs come first, then constants and instructions, operands before what uses them.

    Attributes
    ----------
    name : str
        That of the function.
    inputs : list of Input
        The arguments, then what the function closes over.
    rows : list of Primitive or None
        What makes each value; None for inputs and constants.
    operands : list of tuple of int
        The values that each is made of.
    types : list
        Of each value the shape and dtype; None for a single number.
    numbers : dict
        The constants, by value.
    names : dict
        What some values are called.
    places : dict
        Of nodes that modules were called with the values that they are, so that names know of which calls they are.
    outputs : list of int
        The results.
    strict : bool
        Whether some of its arrays stand for numbers that are an error outside of the domain of a row.
    inlined : int
        How many operations on numbers its arrays stand for.
    checks : int
        How many of the outputs, the last ones, are no results: they are computed to see whether they can be.
    """

    def __init__(self, name: str, inputs: Sequence[Input] = ()) -> None:
        self.name = name
        self.inputs = list(inputs)
        self.rows: list[Primitive | None] = [None] * len(self.inputs)
        self.operands: list[tuple[int, ...]] = [()] * len(self.inputs)
        self.types: list[Type | None] = [x.type for x in self.inputs]
        self.numbers: dict[int, Any] = {}
        self.names = {i: x.name for i, x in enumerate(self.inputs) if x.name}
        self.outputs: list[int] = []
        self.strict, self.inlined, self.checks = False, 0, 0
        self.places: dict[Any, int] = {}
        self._constants: dict[Any, int] = {}

    @classmethod
    def of_graph(
        cls, name: str, given: Sequence[tuple[Any, Input]], order: Sequence[Any], results: Sequence[Any],
        trace: Any = None,
    ) -> Any:  # fmt: skip
        """The program that a graph is.

        Parameters
        ----------
        name : str
            Of the program.
        given : sequence of (node, Input)
            The nodes that stand for its arguments.
        order : sequence of Node
            The nodes that were computed, operands before what uses them; what does not lead to a result is left out.
            Leaves among them are constants. Every other node is an input as well.
        results : sequence of Node
            What comes out.
        trace : Trace, optional
            Of which this is the graph. Then what leads to no result comes out after the results if it may be outside of
            the domain of its row, for to compute it is an error there.
        """
        born, live = object(), object()
        for node in order:
            node.mark = born
        for i, (node, _) in enumerate(given):
            node.mark = i
        for node in results:
            if node.mark is born:
                node.mark = live
        kept = []
        for node in reversed(order):
            if node.mark is live:
                kept.append(node)
                a, b = node.a, node.b
                if type(a) is tuple:
                    for x in a:
                        if type(x) is not float and x.mark is born:
                            x.mark = live
                    continue
                if type(a) is not float and a.mark is born:
                    a.mark = live
                if type(b) is not float and b.mark is born:
                    b.mark = live
        if trace is not None:
            lost = [x for x in order if x.mark is born and x.prim is not None and x.prim.domain and trace.checks(x)]
            if lost:
                found = cls.of_graph(name, given, order, [*results, *lost])
                found.checks = len(lost)
                return found
        kept.reverse()
        outside: list[Any] = []
        known = len(given)
        for node in kept:
            a, b = node.a, node.b
            for x in a if type(a) is tuple else (a, b):
                if type(x) is not float and x.mark is not live and type(x.mark) is not int:
                    x.mark = known + len(outside)
                    outside.append(x)
        for x in results:
            if x.mark is not live and type(x.mark) is not int:
                x.mark = known + len(outside)
                outside.append(x)
        found = cls(name, [*(one for _, one in given), *map(_closed_over, outside)])
        rows, operands, types, constant = found.rows, found.operands, found.types, found.constant
        add_row, add_operands, add_type, number, empty = rows.append, operands.append, types.append, float, EMPTY
        i = len(rows)
        for node in kept:
            row, a, b, data = node.prim, node.a, node.b, node._value
            if row is None:
                node.mark = constant(data)
                i = len(rows)
                continue
            if b is empty:
                given_now = a if type(a) is tuple else (a,)
                made: tuple[int, ...] = tuple([constant(x) if type(x) is number else x.mark for x in given_now])
                i = len(rows)
            elif type(b) is number:
                made = (a.mark, constant(b))
                i = len(rows)
            elif type(a) is number:
                made = (constant(a), b.mark)
                i = len(rows)
            else:
                made = (a.mark, b.mark)
            add_row(row)
            add_operands(made)
            add_type(None if type(data) is number else (data.shape, data.dtype))
            node.mark = i
            if node._name:
                found.names[i] = node._name
            i += 1
        found.outputs = [x.mark for x in results]
        for name in found.names.values():
            while type(name) is Scope:
                found.places |= {x: x.mark for x in nodes(name.inputs) if type(x.mark) is int}
                name = name.inner
        for x in outside:
            x.mark = OUTSIDE
        return found

    def replay(self, given: Sequence[Any]) -> list[Any]:
        """All values of the program, computed from these inputs: of nodes nodes, of numbers and arrays the like."""
        values = list(given)
        for i in range(len(values), len(self.rows)):
            row = self.rows[i]
            if row is None:
                values.append(self.numbers[i])
            else:
                values.append(applied(row, [values[x] for x in self.operands[i]]))
        now, known = {x: values[i] for x, i in self.places.items()}, dict[int, Any]()
        for i, name in self.names.items():
            if i >= len(given) and hasattr(values[i], "_name") and not values[i]._name:
                values[i]._name = name_above(name, now, known)
        return values

    def needed(self, outputs: Sequence[int]) -> set[int]:
        """Some values, and all that they are computed of."""
        found = set(outputs)
        for i in range(len(self.rows) - 1, len(self.inputs) - 1, -1):
            if i in found:
                found.update(self.operands[i])
        return found

    def kept(self, outputs: Sequence[int]) -> Tape:
        """The program with these outputs, and nothing that they do not need; all inputs stay."""
        needed = self.needed(outputs)
        found = Tape(self.name, self.inputs)
        now = {i: i for i in range(len(self.inputs))}
        for i in range(len(self.inputs), len(self.rows)):
            if i not in needed:
                continue
            if self.rows[i] is None:
                now[i] = found.constant(self.numbers[i])
                continue
            now[i] = len(found.rows)
            found.rows.append(self.rows[i])
            found.operands.append(tuple([now[x] for x in self.operands[i]]))
            found.types.append(self.types[i])
            if i in self.names:
                found.names[now[i]] = self.names[i]
        found.places = {x: now[i] for x, i in self.places.items() if i in now}
        found.outputs, found.strict = [now[i] for i in outputs], self.strict
        return found

    def bound(self, numbers: Mapping[int, Any]) -> Tape:
        """The program with numbers in the place of some inputs, which it has no longer."""
        found = Tape(self.name, [x for i, x in enumerate(self.inputs) if i not in numbers])
        left = iter(range(len(found.inputs)))
        now = [found.constant(numbers[i]) if i in numbers else next(left) for i in range(len(self.inputs))]
        for i in range(len(self.inputs), len(self.rows)):
            if self.rows[i] is None:
                now.append(found.constant(self.numbers[i]))
                continue
            now.append(len(found.rows))
            found.rows.append(self.rows[i])
            found.operands.append(tuple([now[x] for x in self.operands[i]]))
            found.types.append(self.types[i])
        found.names |= {now[i]: name for i, name in self.names.items() if i >= len(self.inputs)}
        found.places = {x: now[i] for x, i in self.places.items()}
        found.outputs, found.strict = [now[i] for i in self.outputs], self.strict
        return found

    def emit(self, row: Primitive, operands: Sequence[int], kind: Type | None) -> int:
        """A new value: what `row` makes of others."""
        self.rows.append(row)
        self.operands.append(tuple(operands))
        self.types.append(kind)
        return len(self.rows) - 1

    def constant(self, x: Any) -> int:
        """The value that is this number, or this array."""
        if type(x) is float:
            key: Any = x or str(x)
        else:
            key = (x.tobytes(), x.shape, x.dtype) if x.size <= 4096 else id(x)
        found = self._constants.get(key)
        if found is None:
            found = self._constants[key] = len(self.rows)
            self.rows.append(None)
            self.operands.append(())
            self.types.append(None if type(x) is float else (x.shape, x.dtype))
            self.numbers[found] = x
        return found


OUTSIDE = object()  # the mark of a node that some program reads


def _closed_over(node: Any) -> Input:
    data = node._value
    kind = None if type(data) is float else (data.shape, data.dtype)
    return Input(str(node.name or ""), kind, False, node, data)

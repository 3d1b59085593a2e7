"""The values of a program by how they are computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from microgad.primitive import Primitive
from microgad.primitives import add, equal, maximum, minimum, mul, pow, sub
from microgad.tape import Input, Tape

Ids = np.ndarray[Any, Any]  # values of the program, as integers

SUMS = (add, sub)
COMMUTATIVE = {add, mul, maximum, minimum, equal}


class Classes:
    """The values of a program by colour: which look alike.

    Attributes
    ----------
    colour : array of int
        Of each value.
    left, right : array of int
        The first and second operand of each number that is computed, -1 where there is none.
    place : array of int
        Of each number that is taken out of an array, where it stands in that.
    absorbed : array of bool
        By colour, whether its members are only the beginnings of longer sums.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        n = len(tape.rows)
        self.place = np.full(n, -1)
        self._maps: dict[int, tuple[int, Ids]] = {}  # of arrays that are views of others: of which, and the places
        self.same = np.arange(n)  # of numbers that are taken out of an array several times the first one
        colours, left, right = self._painted()
        self.colour = np.array(colours)
        self.left, self.right = (np.where(np.array(x) < 0, -1, self.same[x]) for x in (left, right))
        self.count = len(self._keys)
        order = np.argsort(self.colour, kind="stable")
        self._members = np.split(order, np.cumsum(np.bincount(self.colour, minlength=self.count))[:-1])
        self.first = [int(m[0]) for m in self._members]
        self.row = [tape.rows[i] for i in self.first]
        self.number = [tape.types[i] is None for i in self.first]
        self.absorbed = self._absorbed()

    def _painted(self) -> tuple[list[int], list[int], list[int]]:
        """Colours, and first and second operands."""
        tape, keys = self.tape, dict[Any, int]()
        types, numbers, inputs = tape.types, tape.numbers, tape.inputs
        colours: list[int] = []
        left: list[int] = []
        right: list[int] = []
        taken: dict[tuple[int, int], int] = {}
        for i, (row, given) in enumerate(zip(tape.rows, tape.operands, strict=True)):
            a = b = -1
            key: Any
            if types[i] is not None:
                key = ("array", i)
                self._note_view(i, row, given)
            elif row is None:
                key = "constant" if i in numbers else pool_of(inputs[i])
            elif len(given) == 2:
                a, b = given
                if row is add and tape.rows[b] in SUMS and tape.rows[a] not in SUMS:
                    a, b = b, a  # a sum goes on from its beginning, wherever that is written
                one, other = colours[a], colours[b]
                if one > other and row in COMMUTATIVE and row is not add:
                    a, b, one, other = b, a, other, one
                key = (row, one, other)
                if row is pow and b in numbers:
                    key = (row, one, "to the", numbers[b])
            elif len(given) == 1:
                [a] = given
                key = (row, colours[a])
                if types[a] is not None:
                    base, places = self._places(a)
                    self.place[i], a = places[row.params["at"]], -1
                    self.same[i] = taken.setdefault((base, int(self.place[i])), i)
                    key = ("item", base)
            else:
                key = (row, *[colours[x] for x in given])
            colours.append(keys.setdefault(key, len(keys)))
            left.append(a)
            right.append(b)
        self._keys = list(keys)
        return colours, left, right

    def _note_view(self, i: int, row: Primitive | None, given: tuple[int, ...]) -> None:
        """Find out of what array another one is a view, so that numbers of both are of one class."""
        if row is None or len(given) != 1 or self.tape.types[given[0]] is None:
            return
        plain = row.name == "index" and all(isinstance(k, (int, slice)) or k is None or k is Ellipsis
                                            for k in row.params["key"])  # fmt: skip
        if plain or row.name in ("reshape", "transpose"):
            base, places = self._places(given[0])
            self._maps[i] = base, row.array(places, **row.params)

    def _places(self, i: int) -> tuple[int, Ids]:
        """The array that an array is a view of, and where its numbers stand there."""
        if i not in self._maps:
            kind = self.tape.types[i]
            assert kind is not None
            self._maps[i] = i, np.arange(int(np.prod(kind[0], dtype=int))).reshape(kind[0])
        return self._maps[i]

    def key(self, colour: int) -> Any:
        """What the members of a class have in common."""
        return self._keys[colour]

    def members(self, colour: int) -> Ids:
        """The values of a colour, in the order of the program."""
        return self._members[colour]

    def operands(self, members: Ids) -> list[Ids]:
        """For each operand of the members of a class, which values they are."""
        row, given = self.tape.rows[members[0]], self.tape.operands
        if len(given[members[0]]) < 3:
            assert row is not None
            return [self.left[members], self.right[members]][: len(given[members[0]])]
        return list(self.same[[given[i] for i in members]].T)

    def _absorbed(self) -> Any:
        """Which classes only begin longer sums; all of their members do so, or none."""
        tape, n = self.tape, len(self.tape.rows)
        is_sum = np.array([row is add or row is sub for row in self.row])[self.colour]
        uses = np.bincount(np.concatenate([self.left[self.left >= 0], self.right[self.right >= 0]]), minlength=n)
        for i, given in enumerate(tape.operands):
            if len(given) > 2 or tape.types[i] is not None:
                for x in given:
                    uses[x] += 2  # by something else than a sum
        uses[tape.outputs] += 2
        user = np.full(n, -1)
        users = np.flatnonzero(self.left >= 0)
        user[self.left[users]] = users
        begins = is_sum & (uses == 1) & (user >= 0)
        begins[begins] = is_sum[user[begins]] & (self.left[user[begins]] == np.flatnonzero(begins))
        # A sum of sums begins anew with its terms: the first sample is no other than the next ones.
        at = np.flatnonzero(begins)
        begins[at] &= ~(is_sum[self.right[user[at]]] & ~is_sum[self.right[at]])
        others = np.bincount(self.colour, weights=~begins, minlength=self.count)
        return others == 0

    def terms(self, colour: int) -> list[tuple[int, Ids]]:
        """The terms of a sum of each member of a class: their signs, and which values they are."""
        now = self.members(colour)
        found = []
        while True:
            found.append((-1 if self.tape.rows[now[0]] is sub else 1, self.right[now]))
            now = self.left[now]
            if not self.absorbed[self.colour[now[0]]]:
                break
        found.append((1, now))
        return found[::-1]


def pool_of(given: Input) -> str:
    """With which other numbers a number that is given lies in one array."""
    return "number" if given.plain else "value" if given.node is None else "parameter"

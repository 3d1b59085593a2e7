"""The plan of a program: what is computed in which pass, how long it is needed, and in whose memory it lies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from microgad.primitive import Primitive
from microgad.primitives import relu
from microgad.tape import Tape

from .rows import window

SAME = ("identity", "data", "detach")
VIEWS = ("view", "reshape", "transpose", *SAME)


class Plan:
    """A program of a forward and a reverse pass, before it becomes code.

    Parameters
    ----------
    tape : Tape
        The program.
    inputs, results : int
        How many inputs the forward pass has, and how many of the outputs; the others belong to the reverse pass.

    Attributes
    ----------
    passes : list of list of int
        The instructions of both passes.
    phase : dict
        In which pass each value is there for the first time.
    at : dict
        At what time each value is computed.
    users : dict
        What is computed of a value.
    masks : set of int
        Comparisons that are only multiplied with, and stay arrays of bool.
    target : dict
        Of values that are computed where they are joined to others: to which value, and as which part.
    root : list of int
        In whose memory each value lies.
    last : dict
        When each memory is needed for the last time.
    """

    def __init__(self, tape: Tape, inputs: int, results: int) -> None:
        self.tape, self.inputs, self.results = tape, inputs, results
        tape = self.tape
        first = tape.needed(tape.outputs[: self.results])
        second = tape.needed(tape.outputs[self.results :]) - first
        n = len(tape.inputs)
        self.passes = [sorted(i for i in found if tape.rows[i] is not None) for found in (first, second)]
        self.phase = {i: k for k, found in enumerate((first, second)) for i in found}
        self.phase |= {i: int(i >= self.inputs) for i in range(n)}
        order = [i for ids in self.passes for i in ids]
        self.at = {i: t for t, i in enumerate(order)}
        self.users: dict[int, list[int]] = {}
        for i in order:
            for x in tape.operands[i]:
                self.users.setdefault(x, []).append(i)
        self.masks: set[int] = set()
        for i in order:
            if self._is_mask(i):
                self.masks.add(i)
        self.target: dict[int, tuple[int, int]] = {}  # of values that are computed where they are joined: where
        for i in order:
            row = tape.rows[i]
            assert row is not None
            if row.name in ("assemble", "concatenate") and self.shape(i):
                for k, x in enumerate(tape.operands[i]):
                    if self._apart(row, i)[k]:
                        self._aim(x, i, k)
        self.root = list(range(len(tape.rows)))  # in whose memory a value lies
        for i in order:
            row, x = tape.rows[i], tape.operands[i][0]
            if row is not None and row.name in VIEWS and self.shape(x):
                self.root[i] = self.root[x]
        for i in range(len(self.root)):
            while self.root[i] in self.target:
                self.root[i] = self.root[self.target[self.root[i]][0]]
        self.last = {self.root[x]: self.at[i] for i in order for x in tape.operands[i]}
        self.last |= {self.root[i]: len(order) for i in tape.outputs}

    def _apart(self, row: Primitive, i: int) -> list[bool]:
        """Which parts of what is joined meet no other one."""
        n = len(self.tape.operands[i])
        if row.name == "concatenate":
            return [True] * n
        times = np.zeros(math.prod(self.shape(i)), int)
        for spot in row.params["spots"]:
            window(times, *spot)[...] += 1
        return [bool((window(times, *spot) == 1).all()) for spot in row.params["spots"]]

    def _is_mask(self, i: int) -> bool:
        """Whether a comparison is only multiplied with: then it can stay an array of bool."""
        row = self.tape.rows[i]
        assert row is not None
        if row.name not in ("greater", "equal") or not self.shape(i) or i in self.tape.outputs:
            return False
        for j in self.users.get(i, ()):
            user = self.tape.rows[j]
            a, b = (*self.tape.operands[j], -1)[:2]
            other = b if a == i else a
            if user is None or user.name != "mul" or other == i or other in self.masks:
                return False
        return True

    def _aim(self, x: int, i: int, k: int) -> None:
        """Let a value be computed at its place in what it is joined to, where nothing stands against it."""
        tape, to = self.tape, [n for n in self.shape(x) if n != 1]
        while x not in self.target and (row := tape.rows[x]) is not None and row.name == "reshape":
            if len(self.users[x]) > 1 or x in tape.outputs:
                return
            [x] = tape.operands[x]
            if [n for n in self.shape(x) if n != 1] != to and not self.in_a_row(i, k):
                return  # in another shape the place would be a copy
        row = tape.rows[x]
        if row is None or x in self.target or x in tape.outputs or self.phase[x] != self.phase[i]:
            return
        if tape.types[x] is None or tape.types[x][1] != tape.types[i][1] or not self.shape(x):  # type: ignore[index]
            return
        written = row.partials and ufunc(row) is not None and x not in self.masks  # by NumPy, where it is told to
        if written or row.name == "matmul" or self._one_axis(x) is not None:
            self.target[x] = (i, k)

    def in_a_row(self, i: int, k: int) -> bool:
        """Whether the numbers of part `k` of what is joined lie in a row there."""
        row = self.tape.rows[i]
        assert row is not None
        if row.name == "concatenate":
            return math.prod(self.shape(i)[: row.params["axis"]]) == 1
        _, strides, to = row.params["spots"][k]
        steps = [math.prod(to[a + 1 :]) for a in range(len(to))]
        return all(s == t for s, t, n in zip(strides, steps, to, strict=True) if n > 1)

    def _one_axis(self, i: int) -> int | None:
        """Along which axis a value is the sum of a matrix, where a product with ones is that."""
        row, kind = self.tape.rows[i], self.tape.types[i]
        if row is None or kind is None or row.name not in ("sum", "sum_to") or kind[1] != np.float64:
            return None
        of, to = self.shape(self.tape.operands[i][0]), kind[0]
        if len(of) != 2 or 0 in of or not to:
            return None
        if row.name == "sum":
            axis = row.params["axis"]
            return axis[0] if axis is not None and len(axis) == 1 else None
        padded = (1,) * (2 - len(to)) + to
        gone = [k for k in (0, 1) if padded[k] == 1 and (of[k] != 1 or len(to) == 1)]
        return gone[0] if len(gone) == 1 else None

    # ---- small questions

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of a value; none for a single number."""
        kind = self.tape.types[i]
        return () if kind is None else kind[0]

    def single(self, i: int) -> bool:
        """Whether a value is a float in the code: a number, or an array without axes."""
        return not self.shape(i)


def ufunc(row: Primitive) -> Any:
    """The function of NumPy's that a row is on arrays, which can write into an array that is given; None if none."""
    if row is relu:
        return np.maximum
    if row.name in ("greater", "equal"):
        return getattr(np, row.name)
    return row.array if isinstance(row.array, np.ufunc) else None

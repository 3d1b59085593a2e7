"""Names and buffers of a program that becomes code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from microgad.primitive import Primitive
from microgad.tape import Tape, Type

from .plan import Plan
from .rows import block, window
from .support import Lender, finite, undefined

SMALL = 4096  # numbers: constants of such arrays are written out, and inputs copied to where views of them stand
_FUNCTIONS = ("exp", "log", "tanh", "sqrt", "sin", "cos", "fabs", "erf")


class Memory(Plan):
    """A plan, with what its values are called in the code and where they lie.

    Parameters
    ----------
    kept : sequence of int
        The outputs that are given away: arrays of their own.

    Attributes
    ----------
    name : list of str
        What each value is called; empty where it is not there yet.
    top, body : list of str
        Lines that are run once, and those of the pass under way.
    space : dict
        The objects that the code uses, by name.
    fixed, flat : set of int
        Values whose array is the same one in every call, and those whose numbers lie in a row.
    """

    def __init__(self, tape: Tape, inputs: int, results: int, kept: Sequence[int] = ()) -> None:
        super().__init__(tape, inputs, results)
        self.own = {tape.outputs[k] for k in kept if tape.rows[tape.outputs[k]] is not None}
        self.space: dict[str, Any] = {f"math_{name}": getattr(math, name) for name in _FUNCTIONS}
        self.space |= {"np": np, "errstate": np.errstate, "inf": math.inf, "nan": math.nan}
        self.space |= {"finite": finite, "undefined": undefined, "Lender": Lender}
        self.top: list[str] = []
        self.body: list[str] = []
        self.now = 0  # the pass under way
        self.name = [""] * len(tape.rows)
        self.fixed: set[int] = set()
        self.flat: set[int] = set()
        self.buffer: dict[int, str] = {}  # of the values that own one which may be written into again
        self.free: dict[Any, list[str]] = {}
        self.whole: dict[int, tuple[bool, bool]] = {}  # of what is joined, whether parts fill it, and meet no other
        self.crossing: set[str] = set()  # what the forward pass leaves for the reverse pass
        self.loans: dict[int, dict[str, str]] = {}  # large arrays that are given away: what makes them and their views
        self.count = 0

    def fresh(self) -> int:
        """A number for a new name."""
        self.count += 1
        return self.count

    def bound(self, x: Any, stem: str) -> str:
        """A name for an object that the code uses."""
        for name, known in self.space.items():
            if known is x:
                return name
        name = stem if stem not in self.space else f"{stem}_{self.fresh()}"
        self.space[name] = x
        return name

    def line(self, text: str) -> None:
        """Add a line to the pass under way."""
        self.body.append(text)

    def use(self, i: int) -> str:
        """What a value is called here; a constant array gets its name when it is first used."""
        if not self.name[i]:
            x = self.tape.numbers[i]
            if self.single(i):
                text = repr(float(x))
                self.name[i] = f"({text})" if text.startswith("-") else text
            else:
                self.name[i] = self.bound(np.ascontiguousarray(x), f"c{i}")
                self.fixed.add(i)
                self.flat.add(i)
        if self.now == 1 and self.phase.get(i) == 0 and self.name[i].startswith(("a", "v")):
            self.crossing.add(self.name[i])
        return self.name[i]

    def beside(self, i: int, kind: Type) -> str:
        """A value as an operand of an operation on arrays: a constant number as an array, which NumPy meets quicker."""
        if not self.single(i) or i not in self.tape.numbers:
            return self.use(i)
        x = float(self.tape.numbers[i])
        key = f"k_{repr(x).replace('-', 'm').replace('.', '_').replace('+', 'p')}_{kind[1].name}"
        self.space.setdefault(key, np.array(x, kind[1]))
        return key

    def ones(self, n: int, kind: Type) -> str:
        """The name of so many ones."""
        name = f"ones_{n}_{kind[1].name}"
        self.space.setdefault(name, np.ones(n, kind[1]))
        return name

    def flat_name(self, i: int) -> str:
        """A name for the numbers of a value in a row."""
        text = f"{self.name[i]}.reshape(-1)"
        return self.named(text) if i in self.fixed else text

    def named(self, text: str) -> str:
        """A name for a view of a buffer."""
        name = f"s{self.fresh()}_"
        self.top.append(f"{name} = {text}")
        return name

    # ---- buffers

    def allocate(self, kind: Type, fill: str = "empty") -> str:
        """A new buffer."""
        name = f"b{self.fresh()}"
        self.top.append(f"{name} = np.{fill}({kind[0]}, {kind[1].name!r})")
        return name

    def place(self, i: int, inside: Sequence[int] = ()) -> str:
        """Where a value is computed: where it is joined to others, or in a buffer, of an operand that is done with."""
        kind = self.tape.types[i]
        assert kind is not None
        self.flat.add(i)
        if i in self.own and i not in self.target:
            self.name[i] = self.given_away(i, kind)
            return self.name[i]
        self.fixed.add(i)
        if i in self.target:
            return self.aimed(i)
        kind = (kind[0], np.dtype(bool)) if i in self.masks else kind
        for x in inside:
            done = x in self.buffer and self.last[x] == self.at[i] and self.phase[x] == self.phase[i]
            if done and self.tape.types[x] == kind and x not in self.masks:
                self.buffer[i] = self.name[i] = self.buffer.pop(x)
                return self.name[i]
        free = self.free.get(kind)
        self.buffer[i] = self.name[i] = free.pop() if free else self.allocate(kind)
        return self.name[i]

    def given_away(self, i: int, kind: Type) -> str:
        """An array of the caller's; a large one, with its views, is taken back when nobody has it any more."""
        text = f"np.empty({kind[0]}, {kind[1].name!r})"
        if math.prod(kind[0]) > SMALL:
            self.loans[i] = {f"v{i}": text}
            self.line(f"loan{i}")
        else:
            self.line(f"v{i} = {text}")
        return f"v{i}"

    def release(self, t: int, i: int) -> None:
        """Give back the buffers of what was used here for the last time."""
        for x in {self.root[x] for x in self.tape.operands[i]}:
            if x in self.buffer and x != i and self.last[x] == t and self.phase[x] == self.phase[i]:
                kind = self.tape.types[x]
                assert kind is not None
                kind = (kind[0], np.dtype(bool)) if x in self.masks else kind
                self.free.setdefault(kind, []).append(self.buffer.pop(x))

    def aimed(self, i: int) -> str:
        """The place of a value in what it is joined to."""
        j, k = self.target[i]
        whole = self.joined(j)
        row = self.tape.rows[j]
        assert row is not None
        text = self.part(whole, row, j, k)
        piece = self.shape(self.tape.operands[j][k])
        if piece != self.shape(i):
            text += f".reshape({self.shape(i)})"
        if j not in self.fixed:
            self.fixed.discard(i)
        self.name[i] = self.view_of(j, text, f"{'s' if j in self.fixed else 'v'}{i}")
        if not self.in_a_row(j, k):
            self.flat.discard(i)
        return self.name[i]

    def part(self, whole: str, row: Primitive, j: int, k: int) -> str:
        """Part `k` of what is joined."""
        parts = self.tape.operands[j]
        if row.name == "concatenate":
            axis = row.params["axis"]
            start = sum(self.shape(x)[axis] for x in parts[:k])
            cut = ":, " * axis + f"{start}:{start + self.shape(parts[k])[axis]}"
            return f"{whole}[{cut}]"
        offset, strides, to = row.params["spots"][k]
        flat = whole if len(self.shape(j)) == 1 else f"{whole}.reshape(-1)"
        return self.seen_in(flat, offset, strides, to, math.prod(self.shape(j)))

    def seen_in(self, flat: str, offset: int, strides: Sequence[int], to: tuple[int, ...], size: int) -> str:
        """A view of a flat array."""
        found = block(flat, offset, strides, to, size)
        return found or f"{self.bound(window, 'window')}({flat}, {offset}, {strides}, {to})"

    def joined(self, j: int) -> str:
        """The buffer in which parts are joined, made with the first of them."""
        if not self.name[j]:
            row, kind = self.tape.rows[j], self.tape.types[j]
            assert row is not None
            assert kind is not None
            self.whole[j] = self._covered(row, kind)
            full, clean = self.whole[j]
            fill = "empty" if full else "zeros"
            self.flat.add(j)
            if j in self.own and math.prod(kind[0]) > SMALL:  # sooner made anew than copied
                self.name[j] = self.given_away(j, kind)
                if fill == "zeros" or not clean:
                    self.line(f"v{j}.fill(0.0)")
                return self.name[j]
            self.name[j] = self.allocate(kind, fill)
            if not clean:
                self.line(f"{self.name[j]}.fill(0.0)")
            self.fixed.add(j)
        return self.name[j]

    def view_of(self, j: int, text: str, name: str = "") -> str:
        """A name for a view of what is joined in `j`: made once where that is there already."""
        name = name or f"s{self.fresh()}_"
        if j in self.loans:
            self.loans[j][name] = text
        else:
            (self.top.append if j in self.fixed else self.line)(f"{name} = {text}")
        return name

    def _covered(self, row: Primitive, kind: Type) -> tuple[bool, bool]:
        """Whether parts fill what they are joined to, and whether none meets another one where nothing was before."""
        if row.name == "concatenate":
            return True, True
        met = np.zeros(math.prod(kind[0]), bool)
        clean = True
        for offset, strides, to in row.params["spots"]:
            part = window(met, offset, strides, to)
            if part.any() and not part.all():
                clean = False
            part[...] = True
        return bool(met.all()), clean

"""From a program to Python that runs it: NumPy on arrays that are there already, floats for single numbers.

Every array instruction writes into a buffer that was planned for it; views of buffers are made once. What comes out
is the source of a function that makes two others, the forward pass and the reverse pass, around one set of buffers.
The reverse pass reads what the forward pass has left there, and destroys nothing of it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from struct import Struct
from typing import Any

import numpy as np

from microgad.primitive import Primitive
from microgad.primitives import TABLE, relu
from microgad.tape import Tape, Type

from .rows import nested, spelled, window

MANY = 8  # numbers that are taken out of an array, from which on they are taken out all at once
SMALL = 4096  # numbers: constants of such arrays are written out, and inputs copied to where views of them stand
FLOATS = {  # how a row is written on floats; others are called
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}",
    "relu": "(0.0 if {0} <= 0.0 else {0})", "greater": "(1.0 if {} > {} else 0.0)",
    "equal": "(1.0 if {} == {} else 0.0)", "where": "({1} if {0} else {2})",
    "maximum": "({0} if {0} > {1} or {0} != {0} else {1})", "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
    "exp": "math_exp({})", "log": "math_log({})", "tanh": "math_tanh({})", "sqrt": "math_sqrt({})",
    "sin": "math_sin({})", "cos": "math_cos({})", "abs": "math_fabs({})", "erf": "math_erf({})",
}  # fmt: skip
PLAIN = {"add", "sub", "mul", "neg", "relu", "greater", "equal", "maximum", "minimum"}  # which are never an error
SAME = ("identity", "data", "detach")
VIEWS = ("view", "reshape", "transpose", *SAME)
_FUNCTIONS = ("exp", "log", "tanh", "sqrt", "sin", "cos", "fabs", "erf")


class Undefined(ArithmeticError):
    """A number outside of the domain of a row, where Values raise an error and arrays have nan or inf."""


class Lender:
    """Arrays that are given away, and taken back when nobody has them any more: large ones are not made anew each time.

    Parameters
    ----------
    make : callable
        Makes an array that owns its numbers, and views of it: a tuple that begins with the array.
    """

    def __init__(self, make: Callable[[], tuple[Any, ...]]) -> None:
        self.make, self.made, self.count = make, list[tuple[Any, ...]](), -1

    def __call__(self) -> tuple[Any, ...]:
        for found in self.made:
            if references(found[0]) == self.count:
                return found
        found = self.make()
        if references is not _unknown:
            self.count = references(found[0])
            self.made = [*self.made[-1:], found]  # two: while one is filled, the caller still has the other
        return found


def _unknown(x: Any) -> int:
    """Where references are not counted, or not exactly, nothing is ever taken back."""
    return 0


references = sys.getrefcount if getattr(sys, "_is_gil_enabled", lambda: hasattr(sys, "getrefcount"))() else _unknown


def _undefined() -> None:
    raise Undefined


def _finite(x: Any) -> None:
    """Raise where an array is not finite."""
    s = x.sum()
    if s - s != 0.0:
        raise Undefined


class Lowered:
    """A program as source code.

    Parameters
    ----------
    tape : Tape
        The program.
    inputs, results : int
        How many inputs the forward pass has, and how many of the outputs; the others belong to the reverse pass.
    pools : sequence of int
        The inputs that are given as lists of floats.
    strict : bool
        Whether a number outside of the domain of a row is an error.
    kept : sequence of int
        The outputs that are given away: arrays of their own.

    Attributes
    ----------
    source : str
        Of a function ``make``, which returns the forward and the reverse pass around new buffers.
    shared : list of bool
        For each output whether what comes out belongs to the buffers, and has to be copied by whoever keeps it.
    """

    def __init__(
        self, tape: Tape, inputs: int, results: int, pools: Sequence[int] = (), strict: bool = False,
        kept: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.tape, self.inputs, self.results, self.strict = tape, inputs, results, strict
        self.own = {tape.outputs[k] for k in kept if tape.rows[tape.outputs[k]] is not None}
        self.pools = set(pools)
        self.space: dict[str, Any] = {f"math_{name}": getattr(math, name) for name in _FUNCTIONS}
        self.space |= {"finite": _finite, "undefined": _undefined, "inf": math.inf, "nan": math.nan, "errstate": np.errstate, "np": np, "Lender": Lender}
        self.top: list[str] = []
        self.body: list[str] = []
        self.name = [""] * len(tape.rows)
        self.fixed: set[int] = set()  # values whose array is the same one in every call
        self.flat: set[int] = set()  # values whose numbers lie in a row
        self.buffer: dict[int, str] = {}  # of the values that own one which may be written into again
        self.free: dict[Any, list[str]] = {}
        self.crossing: set[str] = set()  # what the forward pass leaves for the reverse pass
        self.seen: dict[int, int] = {}  # views of inputs, and the inputs, by value: of which input
        self.views: dict[int, list[str]] = {}  # lines that make them, which is done anew when the input is another array
        self.held: set[str] = set()  # their names
        self.loans: dict[int, dict[str, str]] = {}  # large arrays that are given away: what makes them and their views
        self.count = 0
        self.listed: dict[tuple[int, int], bool] = {}  # whether an array becomes a list in a pass, for its numbers
        self._plan()
        self.source = self._written()

    # ---- the plan: what is computed in which pass, and how long it is needed

    def _plan(self) -> None:
        tape = self.tape
        first = self._needed(tape.outputs[: self.results])
        second = self._needed(tape.outputs[self.results :]) - first
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

    def _needed(self, outputs: Sequence[int]) -> set[int]:
        found, waiting = set(outputs), list(outputs)
        while waiting:
            for x in self.tape.operands[waiting.pop()]:
                if x not in found:
                    found.add(x)
                    waiting.append(x)
        return found

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
        tape = self.tape
        while x not in self.target and (row := tape.rows[x]) is not None and row.name == "reshape":
            if len(self.users[x]) > 1:
                return
            [x] = tape.operands[x]
        row = tape.rows[x]
        if row is None or x in self.target or x in tape.outputs or self.phase[x] != self.phase[i]:
            return
        if tape.types[x] is None or tape.types[x][1] != tape.types[i][1] or not self.shape(x):  # type: ignore[index]
            return
        if row.name == "matmul" or self._one_axis(x) is not None or (row.partials and _ufunc(row) is not None and x not in self.masks):
            self.target[x] = (i, k)

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
        if self.now == 1 and self.phase.get(i) == 0 and self.name[i].startswith("v"):
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

    # ---- buffers

    def allocate(self, kind: Type, fill: str = "empty") -> str:
        """A new buffer."""
        name = f"b{self.fresh()}"
        self.top.append(f"{name} = np.{fill}({kind[0]}, {kind[1].name!r})")
        return name

    def place(self, i: int, inside: Sequence[int] = ()) -> str:
        """Where a value is computed: its place in what it is joined to, the buffer of an operand that is not needed
        any more, or one that is free."""  # fmt: skip
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
            if x in self.buffer and self.last[x] == self.at[i] and self.phase[x] == self.phase[i]:
                if self.tape.types[x] == kind and x not in self.masks:
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
        text, flat = self.part(whole, row, j, k)
        piece = self.shape(self.tape.operands[j][k])
        if piece != self.shape(i):
            text += f".reshape({self.shape(i)})"
        if j not in self.fixed:
            self.fixed.discard(i)
        self.name[i] = self.view_of(j, text, f"{'s' if j in self.fixed else 'v'}{i}")
        if not flat:
            self.flat.discard(i)
        return self.name[i]

    def part(self, whole: str, row: Primitive, j: int, k: int) -> tuple[str, bool]:
        """Part `k` of what is joined, and whether its numbers lie in a row."""
        parts = self.tape.operands[j]
        if row.name == "concatenate":
            axis = row.params["axis"]
            start = sum(self.shape(x)[axis] for x in parts[:k])
            cut = ":, " * axis + f"{start}:{start + self.shape(parts[k])[axis]}"
            return f"{whole}[{cut}]", math.prod(self.shape(j)[:axis]) == 1
        offset, strides, to = row.params["spots"][k]
        size = math.prod(self.shape(j))
        flat = whole if len(self.shape(j)) == 1 else f"{whole}.reshape(-1)"
        steps = [math.prod(to[a + 1 :]) for a in range(len(to))]
        if nested(strides, to) is None:
            name = self.bound(window, "window")
            return f"{name}({flat}, {offset}, {strides}, {to})", False
        return spelled(flat, offset, strides, to, size), all(
            s == t for s, t, n in zip(strides, steps, to, strict=True) if n > 1
        )

    def joined(self, j: int) -> str:
        """The buffer in which parts are joined, made with the first of them."""
        if not self.name[j]:
            row, kind = self.tape.rows[j], self.tape.types[j]
            assert row is not None and kind is not None
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

    # ---- the passes

    def _written(self) -> str:
        tape, n = self.tape, len(self.tape.inputs)
        self.whole: dict[int, tuple[bool, bool]] = {}
        bodies = []
        for phase in (0, 1):
            self.now, self.body = phase, []
            for i in range(n):
                if self.phase[i] == phase:
                    self._input(i)
            for i in self.passes[phase]:
                self._instruction(i)
                self.release(self.at[i], i)
            outputs = tape.outputs[: self.results] if phase == 0 else tape.outputs[self.results :]
            self.line(f"return ({''.join(self.use(i) + ', ' for i in outputs)})")
            bodies.append(self.body)
        if self.crossing:
            left = "".join(f"{name}, " for name in sorted(self.crossing))
            bodies[0].insert(-1, f"left = ({left})")
            bodies[1].insert(0, f"({left}) = left")
            self.held.add("left")
        self.shared = [not self.single(i) and (i in self.fixed or i in self.seen) or i < n for i in tape.outputs]
        lines = ["def make():", *(f"    {line}" for line in self.top)]
        for i, made in self.loans.items():
            names = "".join(f"{name}, " for name in made)
            lines += [f"    def new{i}():", *(f"        {name} = {text}" for name, text in made.items())]
            lines += [f"        return ({names})", f"    lend{i} = Lender(new{i})"]
            for body in bodies:
                body[:] = [f"({names}) = lend{i}()" if line == f"loan{i}" else line for line in body]
        kept = sorted(self.held)
        lines += [f"    {name} = None" for name in kept]
        for phase, name in enumerate(("forward", "backward")):
            given = ", ".join(f"a{i}" for i in range(n) if self.phase[i] == phase)
            lines += ["    @errstate(all='ignore')", f"    def {name}({given}):"]
            if phase == 0:
                lines += [f"        nonlocal {', '.join(kept)}"] * bool(kept)
                for i, views in self.views.items():
                    lines += [f"        if a{i} is not i{i}:", *(f"            {line}" for line in views)]
            lines += [f"        {line}" for line in bodies[phase]]
        return "\n".join([*lines, "    return forward, backward", ""])

    def _input(self, i: int) -> None:
        tape, kind = self.tape, self.tape.types[i]
        later = self.phase[i] == 0 and any(self.phase[j] == 1 for j in self._followed(i))
        views = [j for j in self.users.get(i, ()) if tape.rows[j].name in VIEWS]  # type: ignore[union-attr]
        if kind is None or (not kind[0] and i not in self.pools):
            self.name[i] = f"a{i}"
            if kind is not None:
                self.line(f"a{i} = float(a{i})")
        elif i in self.pools:
            self.name[i] = self.allocate(kind)
            pack = self.bound(Struct(f"{kind[0][0]}d").pack_into, f"pack{i}")
            self.line(f"{pack}({self.name[i]}, 0, *a{i})")
            self.fixed.add(i)
            self.flat.add(i)
            return
        elif views and self.phase[i] == 1:  # a cotangent, which is another array in each call
            self.name[i] = f"a{i}"
            self.line(f"a{i} = np.ascontiguousarray(a{i})")
            self.flat.add(i)
            return
        elif views:
            self.name[i] = f"n{i}"
            self.flat.add(i)
            self.seen[i] = i
            self.views[i] = [f"i{i} = a{i} if a{i}.flags.c_contiguous else None", f"n{i} = np.ascontiguousarray(a{i})"]
            self.held |= {f"i{i}", f"n{i}"}
            return
        else:
            self.name[i] = f"a{i}"
        if later:
            self.name[i] = f"v{i}"
            self.line(f"v{i} = a{i}")

    def _followed(self, i: int) -> list[int]:
        """The instructions that use a value, by whatever name."""
        found = list(self.users.get(i, ()))
        for j in found:  # which grows
            if self.tape.rows[j].name in (*VIEWS, "item", "scatter"):  # type: ignore[union-attr]
                found += self.users.get(j, ())
        return found

    def _instruction(self, i: int) -> None:
        row, given, kind = self.tape.rows[i], self.tape.operands[i], self.tape.types[i]
        assert row is not None
        if kind is None or not kind[0]:
            self._float(i, row, given)
            return
        make = getattr(self, f"_do_{row.name}", None)
        if make is not None:
            make(i, row, given, kind)
        elif row.partials:
            self._elementwise(i, row, given, kind)
        else:
            self._call(i, row, given)
        if self.strict and row.domain and row.partials:
            self._check(i, kind)

    def _check(self, i: int, kind: Type) -> None:
        """Raise where a value is not finite: where it is, its product with 0 is 0."""
        n = math.prod(kind[0])
        if i in self.flat and n <= SMALL:
            self.space.setdefault(f"zeros_{n}_{kind[1].name}", np.zeros(n, kind[1]))
            whole = self.name[i] if len(kind[0]) == 1 else self._flat_name(i)
            self.line(f"if {whole}.dot(zeros_{n}_{kind[1].name}): undefined()")
        else:
            self.line(f"finite({self.name[i]})")

    def _call(self, i: int, row: Primitive, given: Sequence[int]) -> None:
        """A row that is called, and makes an array of its own."""
        rule = partial(row.array, **row.params) if row.params else row.array
        name = self.bound(rule, f"{row.name}{i}" if row.params else row.name)
        self.name[i] = f"v{i}"
        self.line(f"v{i} = {name}({', '.join(map(self.use, given))})")
        if row.name not in ("index", "broadcast_to"):
            return
        self.flat.discard(i)

    def _alias(self, i: int, x: int) -> None:
        """One value that is another, by another name."""
        self.name[i] = self.use(x)
        for kinds in (self.fixed, self.flat):
            if x in kinds:
                kinds.add(i)
        if x in self.seen:
            self.seen[i] = self.seen[x]

    # ---- floats

    def _float(self, i: int, row: Primitive, given: Sequence[int]) -> None:
        x = given[0]
        if self.single(x) and (not row.partials or row.name in SAME):
            self._alias(i, x)
            return
        self.name[i] = f"v{i}"
        self.line(f"v{i} = {self._of_numbers(i, row, given) if row.partials else self._of_arrays(row, given)}")

    def _of_numbers(self, i: int, row: Primitive, given: Sequence[int]) -> str:
        names = list(map(self.use, given))
        value = self.tape.types[i] is None
        if row.name == "pow" and given[1] in self.tape.numbers and self.tape.numbers[given[1]] == 2.0:
            return f"{names[0]} * {names[0]}"
        if row.name in FLOATS and (value or row.name in PLAIN):
            return FLOATS[row.name].format(*names)
        if value:
            return f"{self.bound(row.scalar, row.name + '_of_float')}({', '.join(names)})"
        arrays = ", ".join(f"np.float64({name})" for name in names)
        return f"float({self.bound(row.array, row.name)}({arrays}))"

    def _of_arrays(self, row: Primitive, given: Sequence[int]) -> str:
        """A number that operations on arrays give."""
        x = given[0]
        if row.name == "nll" and row.params["reduction"] != "none" and not given[0] in self.tape.numbers:
            return self._nll(row, given)
        if row.name == "matmul":
            return f"float({self.use(given[0])}.dot({self.use(given[1])}))"
        if row.name in ("sum", "sum_to", "mean"):
            text = self._total(x)
            return f"{text} / {math.prod(self.shape(x))}" if row.name == "mean" else text
        if row.name in ("item", "view") and x in self.flat:
            at = row.params["offset"] if row.name == "view" else self._place_of(row, x)
            if self._listed(x):
                return f"l{x}[{at}]"
            return f"{self.use(x)}.item({at})"
        rule = partial(row.array, **row.params) if row.params else row.array
        name = self.bound(rule, f"{row.name}_{self.fresh()}")
        return f"float({name}({', '.join(map(self.use, given))}))"

    def _listed(self, x: int) -> bool:
        """Whether the numbers of an array are in a list, as many of them are taken out one by one."""
        if (x, self.now) not in self.listed:
            taken = sum(self.single(j) for j in self.users[x])
            self.listed[x, self.now] = taken > MANY and 4 * taken > math.prod(self.shape(x))
            if self.listed[x, self.now]:
                self.line(f"l{x} = {self.use(x)}.reshape(-1).tolist()")
        return self.listed[x, self.now]

    def _place_of(self, row: Primitive, x: int) -> int:
        """Where a number that is taken out of an array stands there."""
        return int(np.ravel_multi_index(_positive(row.params["at"], self.shape(x)), self.shape(x)))

    def _nll(self, row: Primitive, given: Sequence[int]) -> str:
        """A product, where none of the logarithms is -inf."""
        log, target = (f"{self.use(x)}.reshape(-1)" for x in given)
        name = self.bound(row.array, "nll")
        n = max(math.prod(self.shape(given[0])[:-1]), 1) if row.params["reduction"] == "mean" else 1
        self.line(f"product = float({target}.dot({log}))")
        slow = f"float({name}({self.use(given[0])}, {self.use(given[1])}, {row.params['reduction']!r}))"
        return f"0.0 - product / {n} if product == product else {slow}"

    def _total(self, x: int) -> str:
        """The sum of all numbers of an array: times 1, for BLAS is quicker than a reduction."""
        name, of, kind = self.use(x), self.shape(x), self.tape.types[x]
        assert kind is not None
        if x in self.flat and math.prod(of) and kind[1] == np.float64:
            ones = self.ones(math.prod(of), kind)
            return f"float({name}{'' if len(of) == 1 else '.reshape(-1)'}.dot({ones}))"
        return f"float({name}.sum())"

    def ones(self, n: int, kind: Type) -> str:
        """The name of so many ones."""
        name = f"ones_{n}_{kind[1].name}"
        self.space.setdefault(name, np.ones(n, kind[1]))
        return name

    # ---- arrays

    def _elementwise(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        ufunc = _ufunc(row)
        if row.name in SAME:
            self._alias(i, given[0])
            return
        if row.name == "pow" and (exponent := self.tape.numbers.get(given[1])) is not None:
            if exponent in (2.0, 3.0) and self.single(given[1]) and self.shape(given[0]) == kind[0]:
                self._power(i, given[0], int(exponent))
                return
        if ufunc is None:
            self._call(i, row, given)
            return
        operands = [self.beside(x, kind) for x in given]
        if row is relu:
            zero = f"zeros_{'_'.join(map(str, kind[0]))}_{kind[1].name}"
            if math.prod(kind[0]) <= SMALL:
                self.space.setdefault(zero, np.zeros(kind[0], kind[1]))
            else:
                zero = "k_0"
                self.space.setdefault(zero, np.array(0.0, kind[1]))
            operands.append(zero)
        full = [x for x in given if self.shape(x) == kind[0]]
        out = self.place(i, full)
        name = self.bound(ufunc, ufunc.__name__)
        positional = ufunc not in (np.maximum, np.minimum)  # of which NumPy wants it named
        self.line(f"{name}({', '.join(operands)}, {out if positional else f'out={out}'})")

    def _power(self, i: int, x: int, exponent: int) -> None:
        name = self.use(x)
        out = self.place(i, [x] if exponent == 2 else [])
        multiply = self.bound(np.multiply, "multiply")
        self.line(f"{multiply}({name}, {name}, {out})")
        if exponent == 3:
            self.line(f"{multiply}({out}, {name}, {out})")

    def _do_stack(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        if len(kind[0]) > 1 or kind[1] != np.float64 or len(given) == 1:
            self._call(i, row, given)
            return
        pack = self.bound(Struct(f"{len(given)}d").pack_into, f"pack{i}")
        names = list(map(self.use, given))
        self.line(f"{pack}({self.place(i)}, 0, {', '.join(names)})")

    def _do_linear(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        x, weight, bias = given
        types = [self.tape.types[k] for k in given]
        if len(self.shape(x)) != 2 or any(t is None or t[1] != kind[1] or 0 in t[0] for t in types):
            self._call(i, row, given)
            return
        out = self.place(i)
        self.line(f"np.matmul({self.use(x)}, {self.use(weight)}.T, {out})")
        self.line(f"{self.bound(np.add, 'add')}({out}, {self.use(bias)}, {out})")

    def _do_max(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        p = row.params
        reduce = self.bound(np.maximum.reduce, "largest")
        self.line(f"{reduce}({self.use(given[0])}, {p['axis']}, None, {self.place(i)}, {p['keepdims']})")

    def _do_matmul(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        a, b = map(self.use, given)
        types = [self.tape.types[x] for x in given]
        plain = all(t is not None and t[1] == kind[1] and 0 not in t[0] and len(t[0]) < 3 for t in types)
        out = self.place(i)
        if plain and self._turn_round(i, given, kind):
            return
        if plain and i in self.flat and 0 not in kind[0]:
            self.line(f"{a}.dot({b}, {out})")
        else:
            self.line(f"np.matmul({a}, {b}, {out})")

    def _turn_round(self, i: int, given: Sequence[int], kind: Type) -> bool:
        """A product of few rows with a matrix that is transposed, as the transposed one of that matrix and the rows.

        OpenBLAS has quicker code for products up to 100 x 100 x 100, but not where the second factor is transposed:
        with two copies of the rows it takes 0.65 to 0.9 of the time for the shapes below, and more for others.
        """
        a, b = given
        row = self.tape.rows[b]
        if row is None or row.name != "transpose" or len(kind[0]) != 2 or kind[1] != np.float64 or a not in self.flat:
            return False
        [w], (m, k), n = self.tape.operands[b], self.shape(a), kind[0][1]
        if w not in self.flat or not (12 <= m <= 40 and min(n, k) >= 64 and m * n * k <= 100**3):
            return False
        rows, made = (self.allocate((of, kind[1])) for of in ((k, m), (n, m)))
        self.line(f"{rows}[...] = {self.use(a)}.T")
        self.line(f"{self.use(w)}.dot({rows}, {made})")
        self.line(f"{self.name[i]}[...] = {self._named(f'{made}.T')}")
        return True

    def _see(self, i: int, x: int, text: str, flat: bool) -> None:
        """A view: made once where what it is of stays where it is."""
        if x in self.fixed:
            self.name[i] = f"s{i}"
            self.top.append(f"s{i} = {text}")
            self.fixed.add(i)
        elif x in self.seen:
            self.name[i] = f"u{i}"
            self.seen[i] = self.seen[x]
            self.views[self.seen[x]].append(f"u{i} = {text}")
            self.held.add(f"u{i}")
        else:
            self.name[i] = f"v{i}"
            self.line(f"v{i} = {text}")
        if flat:
            self.flat.add(i)

    def _do_view(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        [x], params = given, row.params
        name = self.use(x)
        steps = [math.prod(kind[0][a + 1 :]) for a in range(len(kind[0]))]
        flat = all(s == t for s, t, n in zip(params["strides"], steps, kind[0], strict=True) if n > 1)
        if x not in self.flat:
            self.name[i] = f"v{i}"
            self.line(f"v{i} = {spelled(f'np.ravel({name})', params['offset'], params['strides'], kind[0], params['size'])}")
            return
        name = name if len(self.shape(x)) == 1 else f"{name}.reshape(-1)"
        self._see(i, x, spelled(name, params["offset"], params["strides"], kind[0], params["size"]), flat)

    def _do_reshape(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        [x] = given
        if x in self.target and self.users[i] == [self.target[x][0]]:
            return  # it is in its place already
        name = self.use(x)
        if self.single(x):
            self.line(f"{self.place(i)}.fill({name})")
        elif x in self.flat:
            self._see(i, x, f"{name}.reshape({kind[0]})", True)
        else:
            self.name[i] = self.allocate(kind)
            self.line(f"{self._named(f'{self.name[i]}.reshape({self.shape(x)})')}[...] = {name}")
            self.fixed.add(i)
            self.flat.add(i)

    def _do_transpose(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        axes = row.params["axes"]
        text = ".T" if axes == tuple(range(len(axes)))[::-1] else f".transpose({axes})"
        self._see(i, given[0], self.use(given[0]) + text, False)

    def _do_broadcast_to(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        self.line(f"{self.place(i)}[...] = {self.use(given[0])}")

    def _do_scatter(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        if self.single(given[0]) and not kind[0]:
            self._alias(i, given[0])
        else:
            self._call(i, row, given)

    def _do_index(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        [x], key = given, row.params["key"]
        if len(key) == 1 and isinstance(key[0], np.ndarray) and key[0].dtype.kind in "iu" and len(self.shape(x)) == 1:
            places = self.bound(key[0] % max(self.shape(x)[0], 1), f"places{i}")
            out = self.place(i)
            self.line(f"{self.use(x)}.take({places}, None, {out}, 'clip')")
        else:
            self._call(i, row, given)

    def _do_sum(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        """A sum along an axis: a product with ones, for BLAS is quicker than a reduction."""
        axis, [x] = self._one_axis(i), given
        if axis is None:
            self._call(i, row, given)
            return
        name, out = self.use(x), self.place(i)
        ones = self.ones(self.shape(x)[axis], kind)
        product = f"{name}.dot({ones}" if axis else f"{ones}.dot({name}"
        if i not in self.flat:
            self.line(f"{out}[...] = {product}).reshape({kind[0]})")
        else:
            whole = out if len(kind[0]) == 1 else self._flat_name(i)
            self.line(f"{product}, {whole})")

    _do_sum_to = _do_sum

    def _flat_name(self, i: int) -> str:
        """A name for the numbers of a value in a row."""
        text = f"{self.name[i]}.reshape(-1)"
        return self._named(text) if i in self.fixed else text

    def _named(self, text: str) -> str:
        """A name for a view of a buffer."""
        name = f"s{self.fresh()}_"
        self.top.append(f"{name} = {text}")
        return name

    def _do_concatenate(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        whole = self.joined(i)
        aimed = {k for x, (j, k) in self.target.items() if j == i}
        for k, x in enumerate(given):
            if k in aimed:
                continue
            name = self.view_of(i, self.part(whole, row, i, k)[0])
            once = x in self.tape.numbers and i in self.fixed
            (self.top.append if once else self.line)(f"{name}[...] = {self.use(x)}")

    def _do_assemble(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        whole = self.joined(i)
        aimed = {k for x, (j, k) in self.target.items() if j == i}
        met = np.zeros(math.prod(kind[0]), bool)
        for k, x in enumerate(given):
            seen = window(met, *row.params["spots"][k])
            if k not in aimed:
                name = self.view_of(i, self.part(whole, row, i, k)[0])
                self.line(f"{name}[...] {'+' if seen.any() else ''}= {self.use(x)}")
            seen[...] = True
        if self.whole[i] == (True, True) and i in self.fixed:
            self.buffer[i] = whole

    def _do_place(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        self.fixed.add(i)
        self.flat.add(i)
        self.name[i] = self.allocate(kind, "zeros")
        flat = self.name[i] if len(kind[0]) == 1 else f"{self.name[i]}.reshape(-1)"
        part = spelled(flat, row.params["offset"], row.params["strides"], self.shape(given[0]), math.prod(kind[0]))
        self.line(f"{self._named(part)}[...] = {self.use(given[0])}")


def _ufunc(row: Primitive) -> Any:
    """The function of NumPy's that a row is on arrays, which can write into an array that is given; None if none."""
    if row is relu:
        return np.maximum
    if row.name in ("greater", "equal"):
        return getattr(np, row.name)
    return row.array if isinstance(row.array, np.ufunc) else None


def _positive(at: Sequence[int], of: Sequence[int]) -> tuple[int, ...]:
    return tuple(k % n for k, n in zip(at, of, strict=True))


def compiled(lowered: Lowered) -> Callable[[], tuple[Callable[..., Any], Callable[..., Any]]]:
    """The function that makes the passes around new buffers."""
    space = dict(lowered.space)
    exec(compile(lowered.source, f"<{lowered.tape.name}>", "exec"), space)
    return space["make"]  # type: ignore[no-any-return]

"""From a program to Python that runs it: NumPy on arrays that are there already, floats for single numbers.

Every array instruction writes into a buffer that was planned for it; views of buffers are made once. What comes out
is the source of a function that makes two others, the forward pass and the reverse pass, around one set of buffers.
The reverse pass reads what the forward pass has left there, and destroys nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from struct import Struct
from typing import Any

import numpy as np

from microgad.primitive import Primitive
from microgad.primitives import relu
from microgad.tape import Tape, Type

from .memory import SMALL, Memory
from .plan import SAME, VIEWS, ufunc
from .rows import place_of, window
from .support import owned

MANY = 8  # numbers that are taken out of an array, from which on they are taken out all at once
FLOATS = {  # how a row is written on floats; others are called
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}",
    "relu": "(0.0 if {0} <= 0.0 else {0})", "greater": "(1.0 if {} > {} else 0.0)",
    "equal": "(1.0 if {} == {} else 0.0)", "where": "({1} if {0} else {2})",
    "maximum": "({0} if {0} > {1} or {0} != {0} else {1})", "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
    "exp": "math_exp({})", "log": "math_log({})", "tanh": "math_tanh({})", "sqrt": "math_sqrt({})",
    "sin": "math_sin({})", "cos": "math_cos({})", "abs": "math_fabs({})", "erf": "math_erf({})",
}  # fmt: skip
PLAIN = {"add", "sub", "mul", "neg", "relu", "greater", "equal", "maximum", "minimum"}  # which are never an error


class Lowered(Memory):
    """A program as source code.

    Parameters
    ----------
    pools : sequence of int
        The inputs that are given as lists of floats.
    strict : bool
        Whether a number outside of the domain of a row is an error.

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
        super().__init__(tape, inputs, results, kept)
        self.strict, self.pools = strict, set(pools)
        self.seen: dict[int, int] = {}  # views of inputs, and the inputs, by value: of which input
        self.views: dict[int, list[str]] = {}  # lines that make them, done anew when the input is another array
        self.held: set[str] = set()  # their names
        self.listed: dict[tuple[int, int], bool] = {}  # whether an array becomes a list in a pass, for its numbers
        self.source = self._written()

    # ---- the passes

    def _written(self) -> str:
        tape, n = self.tape, len(self.tape.inputs)
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
        self.shared = [(not self.single(i) and (i in self.fixed or i in self.seen)) or i < n for i in tape.outputs]
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
            if self.strict and row.domain and row.partials and kind is not None:
                self.line(f"if {self.name[i]} - {self.name[i]}: undefined()")
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
            whole = self.name[i] if len(kind[0]) == 1 else self.flat_name(i)
            self.line(f"if {whole}.dot(zeros_{n}_{kind[1].name}): undefined()")
        else:
            self.line(f"finite({self.name[i]})")

    def _call(self, i: int, row: Primitive, given: Sequence[int]) -> None:
        """A row that is called, and makes an array of its own."""
        rule = partial(row.array, **row.params) if row.params else row.array
        if not isinstance(rule, np.ufunc):  # which may give a view, or what it was given
            rule = partial(owned, rule)
        name = self.bound(rule, f"{row.name}{i}" if row.params else row.name)
        self.name[i] = f"v{i}"
        self.line(f"v{i} = {name}({', '.join(map(self.use, given))})")
        kind = self.tape.types[i]
        if kind is not None and kind[1] != np.float64 and any(map(self.single, given)):  # which are floats in the code
            self.line(f"v{i} = v{i}.astype({kind[1].name!r}, copy=False)")
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
        if row.name == "nll" and row.params["reduction"] != "none" and given[0] not in self.tape.numbers:
            return self._nll(row, given)
        if row.name == "matmul":
            return f"float({self.use(given[0])}.dot({self.use(given[1])}))"
        if row.name in ("sum", "sum_to", "mean"):
            text = self._total(x)
            n = math.prod(self.shape(x))
            return text if row.name != "mean" else f"{text} / {n}" if n else "float('nan')"
        if row.name in ("item", "view") and x in self.flat:
            at = row.params["offset"] if row.name == "view" else place_of(row.params["at"], self.shape(x))
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
        if x in self.flat and 0 not in of and kind[1] == np.float64:
            ones = self.ones(math.prod(of), kind)
            return f"float({name}{'' if len(of) == 1 else '.reshape(-1)'}.dot({ones}))"
        return f"float({name}.sum())"

    # ---- arrays

    def _elementwise(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        in_numpy = ufunc(row)
        if row.name in SAME:
            self._alias(i, given[0])
            return
        exponent = self.tape.numbers.get(given[1]) if row.name == "pow" and self.single(given[1]) else None
        if exponent in (2.0, 3.0) and self.shape(given[0]) == kind[0]:
            self._power(i, given[0], int(exponent))
            return
        if in_numpy is None:
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
        name = self.bound(in_numpy, in_numpy.__name__)
        positional = in_numpy not in (np.maximum, np.minimum)  # of which NumPy wants it named
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
        self.line(f"{self.name[i]}[...] = {self.named(f'{made}.T')}")
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
        [x], name = given, self.use(given[0])
        offset, strides, size = (row.params[key] for key in ("offset", "strides", "size"))
        steps = [math.prod(kind[0][a + 1 :]) for a in range(len(kind[0]))]
        flat = all(s == t for s, t, n in zip(strides, steps, kind[0], strict=True) if n > 1)
        if x not in self.flat:
            self.name[i] = f"v{i}"
            flat_copy = f"np.array({name}, order='C').reshape(-1)"
            self.line(f"v{i} = {self.seen_in(flat_copy, offset, strides, kind[0], size)}")
            return
        name = name if len(self.shape(x)) == 1 else f"{name}.reshape(-1)"
        self._see(i, x, self.seen_in(name, offset, strides, kind[0], size), flat)

    def _do_reshape(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        [x] = given
        if x in self.target and self.users.get(i) == [self.target[x][0]] and i not in self.tape.outputs:
            return  # it is in its place already
        name = self.use(x)
        if self.single(x):
            self.line(f"{self.place(i)}.fill({name})")
        elif x in self.flat:
            self._see(i, x, f"{name}.reshape({kind[0]})", True)
        else:
            self.name[i] = self.allocate(kind)
            self.line(f"{self.named(f'{self.name[i]}.reshape({self.shape(x)})')}[...] = {name}")
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
            out, same = self.place(i), self.tape.types[x][1] == kind[1]  # type: ignore[index]
            take = f"{self.use(x)}.take({places}, None, {out}, 'clip')"
            self.line(take if same else f"{out}[...] = {self.use(x)}.take({places})")
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
            whole = out if len(kind[0]) == 1 else self.flat_name(i)
            self.line(f"{product}, {whole})")

    _do_sum_to = _do_sum

    def _do_concatenate(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        whole = self.joined(i)
        aimed = {k for x, (j, k) in self.target.items() if j == i}
        for k, x in enumerate(given):
            if k in aimed:
                continue
            name = self.view_of(i, self.part(whole, row, i, k))
            once = x in self.tape.numbers and i in self.fixed
            (self.top.append if once else self.line)(f"{name}[...] = {self.use(x)}")

    def _do_assemble(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        whole = self.joined(i)
        aimed = {k for x, (j, k) in self.target.items() if j == i}
        met = np.zeros(math.prod(kind[0]), bool)
        for k, x in enumerate(given):
            seen = window(met, *row.params["spots"][k])
            if k not in aimed:
                name = self.view_of(i, self.part(whole, row, i, k))
                self.line(f"{name}[...] {'+' if seen.any() else ''}= {self.use(x)}")
            seen[...] = True
        if self.whole[i] == (True, True) and i in self.fixed:
            self.buffer[i] = whole

    def _do_place(self, i: int, row: Primitive, given: Sequence[int], kind: Type) -> None:
        self.fixed.add(i)
        self.flat.add(i)
        self.name[i] = self.allocate(kind, "zeros")
        flat = self.name[i] if len(kind[0]) == 1 else f"{self.name[i]}.reshape(-1)"
        part = self.seen_in(flat, row.params["offset"], row.params["strides"], self.shape(given[0]), math.prod(kind[0]))
        self.line(f"{self.named(part)}[...] = {self.use(given[0])}")


def compiled(lowered: Lowered) -> Callable[[], tuple[Callable[..., Any], Callable[..., Any]]]:
    """The function that makes the passes around new buffers."""
    space = dict(lowered.space)
    exec(compile(lowered.source, f"<{lowered.tape.name}>", "exec"), space)
    return space["make"]  # type: ignore[no-any-return]

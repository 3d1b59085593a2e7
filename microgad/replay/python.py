"""A program as Python that people read: one function in NumPy, which needs nothing else."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from microgad.errors import InputError
from microgad.primitive import Primitive
from microgad.tape import Tape

from .plan import SAME
from .rows import spelled

ONE_BY_ONE = 12  # so many single numbers that a function closes over are arguments of their own; more are one array
NAMED = 24  # leaves, in the order in which an array holds them, that a docstring names
WIDE = 100  # columns, from which on a call is broken into lines
SOURCES = {  # rows whose text is no Python, or another one
    "greater": "1.0 * ({} > {})", "equal": "1.0 * ({} == {})", "where": "np.where({}, {}, {})",
    "relu": "np.maximum({}, 0.0)",
    "clip": "np.clip({}, {}, {})", "step": "np.heaviside({}, 1.0)", "identity": "{}", "data": "{}", "detach": "{}",
}  # fmt: skip
INFIX = {"add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4, "matmul": 2}
HELPERS = {
    "sigmoid": """
def sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(np.asarray(x) > 0, 1.0, small) / (1.0 + small)
""",
    "softplus": """
def softplus(x):
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))
""",
    "silu": """
def silu(x):
    return x * sigmoid(x)
""",
    "erf": """
def erf(x):
    return np.vectorize(math.erf, otypes=[float])(x)[()]
""",
    "gelu": """
def gelu(x):
    return 0.5 * x * np.vectorize(math.erfc, otypes=[float])(-x * math.sqrt(0.5))[()]
""",
    "leaky_relu": """
def leaky_relu(x, slope):
    return np.where(np.asarray(x) > 0, x, slope * np.minimum(x, 0.0))[()]
""",
    "elu": """
def elu(x, alpha):
    return np.where(np.asarray(x) > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))[()]
""",
    "softmax": """
def softmax(x, axis):
    small = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return small / np.sum(small, axis=axis, keepdims=True)
""",
    "log_softmax": """
def log_softmax(x, axis):
    x = x - np.max(x, axis=axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))
""",
    "logsumexp": """
def logsumexp(x, axis, keepdims):
    top = np.max(x, axis=axis, keepdims=True)
    out = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else np.squeeze(out, axis=axis)
""",
    "nll": """
def nll(logp, target, reduction):
    product = target * np.where((target == 0) & ~np.isfinite(logp), 0.0, logp)
    if reduction == "none":
        return -product.sum(axis=-1)
    return -product.sum() / (max(math.prod(logp.shape[:-1]), 1) if reduction == "mean" else 1)
""",
    "cross_entropy": """
def cross_entropy(z, target, reduction):
    return nll(log_softmax(z, -1), target, reduction)
""",
}
NEEDS = {"silu": ["sigmoid"], "cross_entropy": ["log_softmax", "nll"]}


class Writer:
    """A tape as the text of a function.

    Parameters
    ----------
    tape : Tape
        What to write: its first outputs are what is computed, the others derivatives.
    results : int
        How many come first.
    by : sequence of int
        By which inputs the derivatives are.
    """

    def __init__(self, tape: Tape, results: int, by: Sequence[int]) -> None:
        self.tape, self.results = tape, results
        # The arguments of the function come first, then what it closes over.
        self.inputs = sorted(range(len(tape.inputs)), key=lambda i: tape.inputs[i].node is not None)
        slopes = dict(zip(by, tape.outputs[results:], strict=True))
        self.by = [i for i in self.inputs if i in slopes]
        self.outputs = [*tape.outputs[:results], *(slopes[i] for i in self.by)]
        self.taken, self.count = {"np", "math"}, dict[str, int]()
        self.lines: list[str] = []
        self.constants: list[str] = []
        self.helpers: list[str] = []
        self.name: dict[int, str] = {}
        self.bundle = [i for i, x in enumerate(tape.inputs) if x.type is None and x.node is not None]
        if len(self.bundle) <= ONE_BY_ONE:
            self.bundle = []

    def source(self) -> str:
        """The text."""
        tape = self.tape
        function = self.fresh("f" if tape.name == "<lambda>" else tape.name)
        arguments = self.arguments()
        for i in range(len(tape.inputs), len(tape.rows)):
            if i in tape.numbers:
                self.constant(i)
        for i, j in zip(self.by, self.outputs[self.results :], strict=True):
            if tape.rows[j] is not None and i not in self.bundle:
                tape.names.setdefault(j, f"d_{self.name[i]}")
        first = max([-1, *self.outputs[: self.results]])
        started = False
        for i in range(len(tape.inputs), len(tape.rows)):
            row = tape.rows[i]
            if row is None:
                continue
            if i > first and not started and self.by:
                started = True
                self.lines.append("# backward")
            self.instruction(i, row, tape.operands[i])
        values = [self.name[i] for i in self.outputs]
        answer = values[0] if self.results == 1 else f"({', '.join(values[: self.results])})"
        if self.by:
            answer += f", {self.slopes(values[self.results :])}"
        self.lines.append(f"return {answer}")
        head = ["import math"] * self.uses("math.") + ["import numpy as np"] * self.uses("np.")
        body = f"def {function}({', '.join(arguments)}):\n{self.said()}\n" + "\n".join(f"    {x}" for x in self.lines)
        text = "\n\n".join(x for x in ("\n".join(head), "\n".join(self.constants)) if x)
        parts = [text, *(HELPERS[name].strip() for name in self.helpers), body]
        return "\n\n\n".join(x for x in parts if x) + "\n"

    def uses(self, word: str) -> bool:
        """Whether a word stands anywhere in the text."""
        return any(word in x for x in [*self.lines, *self.constants, *(HELPERS[name] for name in self.helpers)])

    def said(self) -> str:
        """What the function is, in a line."""
        what = "The value, and its derivatives by " if self.by else "The value"
        names = [self.name[i] for i in self.by if i not in self.bundle] + ["p"] * bool(self.bundle and self.by)
        lines = [f"{what}{', '.join(names[:8])}{', …' if len(names) > 8 else ''}."]
        held: list[tuple[str, Any]] = [
            (self.name[i], x.node) for i, x in enumerate(self.tape.inputs) if type(x.node) is tuple
        ]
        held += [("p", [self.tape.inputs[i].node for i in self.bundle])] * bool(self.bundle)
        for name, nodes in held:
            if any(x.name for x in nodes):
                few = ", ".join(str(x.name or "…") for x in nodes[:NAMED]) + ", …" * (len(nodes) > NAMED)
                lines += ["", f"{name} holds {few}."]
        body = "\n".join(f"    {line}".rstrip() for line in lines)
        return f'    """{body.strip()}' + ('\n    """' if len(lines) > 1 else '"""')

    # ---- names

    def fresh(self, wish: str) -> str:
        """An identifier of that kind that nothing else has."""
        stem = re.sub(r"\W+", "_", wish).strip("_") or "v"
        stem = f"v_{stem}" if stem[0].isdigit() or keyword.iskeyword(stem) else stem
        name = "" if stem == "v" else stem
        while not name or name in self.taken or name in HELPERS:
            n = self.count[stem] = self.count.get(stem, 0 if stem == "v" else 1) + 1
            name = f"{stem}{n}" if stem == "v" else f"{stem}_{n}"
        self.taken.add(name)
        return name

    def arguments(self) -> list[str]:
        """The names of the arguments of the function."""
        found, letters = [], iter("abcdefghijklmnopqrstuvwxyz")
        for i in self.inputs:
            x = self.tape.inputs[i]
            if i in self.bundle:
                continue
            self.name[i] = self.fresh(x.name or ("w" if x.node is not None else next(letters, "x")))
            found.append(self.name[i])
        if self.bundle:
            found.append(self.fresh("p"))
            for k, i in enumerate(self.bundle):
                self.name[i] = f"{found[-1]}[{k}]"
        return found

    def constant(self, i: int) -> None:
        """A constant: numbers where they stand, arrays at the top."""
        x = self.tape.numbers[i]
        if not np.ndim(x):
            text = {math.inf: "math.inf", -math.inf: "-math.inf"}.get(float(x), repr(float(x)))
            self.name[i] = "math.nan" if x != x else f"({text})" if text.startswith("-") else text
            return
        self.name[i] = self.fresh("C")
        if not x.size:
            text = f"np.zeros({x.shape})"
        elif x.size > 1 and (x == x.flat[0]).all():
            text = f"np.full({x.shape}, {float(x.flat[0])!r})"
        else:
            rows = np.array2string(x, separator=", ", threshold=x.size + 1, max_line_width=WIDE, floatmode="unique")
            text = f"np.array({rows})" if x.dtype == np.float64 else f"np.array({rows}, dtype=np.{x.dtype.name})"
            text = text.replace("\n", "\n" + " " * (len(self.name[i]) + 12))
            text = text.replace("nan", "math.nan").replace("inf", "math.inf")
        self.constants.append(f"{self.name[i]} = {text}")

    def slopes(self, names: Sequence[str]) -> str:
        """The derivatives, as they are returned."""
        of = dict(zip(self.by, names, strict=True))
        alone = [x for i, x in of.items() if i not in self.bundle]
        if self.bundle and any(i in of for i in self.bundle):
            self.lines.append(f"slopes = np.array([{', '.join(of.get(i, '0.0') for i in self.bundle)}])")
            alone.append("slopes")
        return alone[0] if len(alone) == 1 else f"({', '.join(alone)})"

    # ---- instructions

    def use(self, i: int, strength: int = 0) -> str:
        """A value inside of an operation that binds so strongly."""
        return self.name[i]

    def instruction(self, i: int, row: Primitive, given: Sequence[int]) -> None:
        """Write what makes a value."""
        names = [self.name[x] for x in given]
        if row.name == "transpose" and row.params["axes"] == (1, 0):
            self.name[i] = f"{names[0]}.T"
            return
        moved = row.name in ("item", "scatter") and not self.shape(given[0]) and not self.shape(i)
        if moved or row.name in SAME:
            self.name[i] = names[0]
            return
        own = self.tape.names.get(i)
        self.name[i] = self.fresh(own if own and not getattr(own, "made_up", False) else "v")
        method = getattr(self, f"_{row.name}", None)
        if method is not None:
            found = method(i, row, names, given)
            if found is not None:
                self.lines.append(f"{self.name[i]} = {found}")
            return
        self.lines.append(f"{self.name[i]} = {self.expression(row, names)}")

    def expression(self, row: Primitive, names: Sequence[str]) -> str:
        """A row as an expression."""
        if row.name in SOURCES:
            return SOURCES[row.name].format(*names)
        if row.name in INFIX:
            return row.text.format(*names)
        if isinstance(row.array, np.ufunc):
            return f"np.{row.array.__name__}({', '.join(names)})"
        if row.name in HELPERS:
            for name in [*NEEDS.get(row.name, ()), row.name]:
                if name not in self.helpers:
                    self.helpers.append(name)
            params = [f"{key}={x!r}" for key, x in row.params.items() if key != "hard"]
            return f"{row.name}({', '.join([*names, *params])})"
        raise InputError(f"to_python cannot write the primitive {row.name}, of which it only knows what it computes")

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of a value."""
        kind = self.tape.types[i]
        return () if kind is None else kind[0]

    def _item(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        at = row.params["at"]
        return f"{names[0]}[{', '.join(map(str, at))}]" if at else names[0]

    def _index(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        return f"{names[0]}[{self.key(row.params['key'])}]"

    def key(self, key: Sequence[Any]) -> str:
        """An index."""

        def part(k: Any) -> str:
            if isinstance(k, slice):
                ends = ":".join("" if x is None else str(x) for x in (k.start, k.stop))
                return ends if k.step is None else f"{ends}:{k.step}"
            return "..." if k is Ellipsis else repr(k.tolist()) if isinstance(k, np.ndarray) else str(k)

        return ", ".join(map(part, key)) or "()"

    def _scatter(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> None:
        key = row.params["key"]
        self.lines.append(f"{self.name[i]} = np.zeros({row.params['to']})")
        if any(isinstance(k, np.ndarray) for k in key):
            self.lines.append(f"np.add.at({self.name[i]}, np.s_[{self.key(key)}], {names[0]})")
        else:
            self.lines.append(f"{self.name[i]}[{self.key(key)}] = {names[0]}")

    def _view(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        params = row.params
        flat = names[0] if len(self.shape(given[0])) == 1 else f"{names[0]}.reshape(-1)"
        return spelled(flat, params["offset"], params["strides"], params["to"], params["size"])

    def _place(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> None:
        self.parts(i, row.params["of"], [(row.params["offset"], row.params["strides"], self.shape(given[0]))], names)

    def _assemble(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> None:
        self.parts(i, row.params["of"], row.params["spots"], names)

    def parts(self, i: int, of: Sequence[int], spots: Sequence[Any], names: Sequence[str]) -> None:
        """An array that is 0 but for its parts."""
        self.lines.append(f"{self.name[i]} = np.zeros({of[0] if len(of) == 1 else tuple(of)})")
        flat = self.name[i] if len(of) == 1 else f"{self.name[i]}.reshape(-1)"
        for (offset, strides, to), name in zip(spots, names, strict=True):
            text = spelled(flat, offset, strides, to, math.prod(of)) if to else f"{flat}[{offset}]"
            self.lines.append(f"{text}{'[...]' if text.endswith(')') or text.endswith('.T') else ''} += {name}")

    def _reshape(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        return f"np.reshape({names[0]}, {row.params['to']})"

    def _transpose(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        return f"{names[0]}.transpose{row.params['axes']}"

    def _broadcast_to(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        return f"np.broadcast_to({names[0]}, {row.params['to']})"

    def _cast(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        to = f"np.{row.params['to'].name}"
        return f"{names[0]}.astype({to})" if self.shape(given[0]) else f"{to}({names[0]})"

    def _sum_to(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        of, to = self.shape(given[0]), row.params["to"]
        if not to:
            return f"np.sum({names[0]})"
        ahead = len(of) - len(to)
        axes = (*range(ahead), *(k + ahead for k, n in enumerate(to) if n != of[k + ahead]))
        text = f"{names[0]}.sum(axis={axes[0] if len(axes) == 1 else axes}, keepdims=True)"
        return f"{text}.reshape({to})" if ahead else text

    def _along(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        """A reduction."""
        axis = row.params["axis"]
        if row.name == "mean" and 0 in self.shape(given[0]):  # of which NumPy warns
            return f"np.full({self.shape(i)}, math.nan)"
        said = [] if axis is None else [f"axis={axis[0] if len(axis) == 1 else axis}"]
        said += ["keepdims=True"] * row.params["keepdims"]
        return f"np.{row.name}({', '.join([names[0], *said])})"

    _sum = _mean = _max = _min = _prod = _along

    def _argmax(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        axis = row.params["axis"]
        return f"np.argmax({names[0]}{'' if axis is None else f', axis={axis}'})"

    def _concatenate(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        return f"np.{row.name}([{', '.join(names)}], axis={row.params['axis']})"

    _stack = _concatenate

    def _linear(self, i: int, row: Primitive, names: Sequence[str], given: Sequence[int]) -> str:
        return "{} @ {}.T + {}".format(*names)

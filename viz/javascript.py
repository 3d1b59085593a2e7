"""Rows of the table in JavaScript, for pages that compute: rules by hand, derivatives as the table has them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

from microgad.node import Node
from microgad.primitive import Primitive
from microgad.primitives import TABLE
from microgad.replay.programs import trace
from microgad.tape import Tape

# The rules on floats, of operands a, b and c; each is held to the table by a test.
RULES = {
    "identity": "a", "neg": "-a", "add": "a + b", "sub": "a - b", "mul": "a * b", "div": "a / b",
    "greater": "a > b ? 1 : 0", "equal": "a === b ? 1 : 0", "where": "a !== 0 ? b : c",
    "pow": "a === 1 || b === 0 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b",
    "exp": "Math.exp(a)", "log": "Math.log(a)", "tanh": "Math.tanh(a)", "relu": "a <= 0 ? 0 : a",
    "maximum": "a > b || a !== a ? a : b", "minimum": "a < b || a !== a ? a : b",
    "clip": "{minimum}({maximum}(a, b), c)", "sign": "a > 0 ? 1 : a < 0 ? -1 : a",
    "step": "a >= 0 ? 1 : a < 0 ? 0 : a", "abs": "Math.abs(a)", "sqrt": "Math.sqrt(a)",
    "sin": "Math.sin(a)", "cos": "Math.cos(a)", "erf": "erf(a)",
    "sigmoid": "a > 0 ? 1 / (1 + Math.exp(-a)) : Math.exp(a) / (1 + Math.exp(a))",
    "softplus": "(a > 0 ? a : 0) + Math.log1p(Math.exp(-Math.abs(a)))", "silu": "a * {sigmoid}(a)",
    "gelu": "0.5 * a * erfc(-a * Math.SQRT1_2)", "leaky_relu": "a > 0 ? a : b * a",
    "elu": "a > 0 ? a : b * Math.expm1(a)",
}  # fmt: skip
OUTSIDE = {  # where a row has no value, which JavaScript calls Infinity or NaN
    "div": "b === 0", "log": "a <= 0", "sqrt": "a < 0", "sin": "Math.abs(a) === Infinity",
    "cos": "Math.abs(a) === Infinity",
    "pow": "Number.isFinite(b) && (a === 0 ? b < 0 : a < 0 && a > -Infinity && !Number.isInteger(b))",
}  # fmt: skip
# The series of erf has terms of one sign (DLMF 7.6.2); from 2 on erfc is a continued fraction (DLMF 7.9.2).
ERF = """
function erf(x) {
  if (Math.abs(x) > 2) return Math.sign(x) * (1 - erfc(Math.abs(x)));
  let term = x, sum = x;
  for (let n = 1; n < 60; n++) sum += term *= 2 * x * x / (2 * n + 1);
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}
function erfc(x) {
  if (!(x > 2)) return 1 - erf(x);
  let below = x;
  for (let n = 120; n > 0; n--) below = x + n / 2 / below;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / below;
}
"""
HEAD = """
function outside(domain) {
  throw new RangeError(`outside of the domain${domain && `: it takes ${domain}`}`);
}
function within(domain, rule) {
  return (...operands) => {
    try { return rule(...operands); } catch (error) { return outside(domain); }
  };
}
"""
EXAMPLE = 0.75  # inside of the domain of all rows of microgad's own, and none of their kinks


class UnwrittenError(Exception):
    """A row that cannot be said in JavaScript, with the reason."""


class Functions:
    """The rows of one page as functions, each written once.

    Attributes
    ----------
    rows : list of str
        What `row` has been asked for, as objects with a ``rule`` and ``partials``.
    """

    def __init__(self) -> None:
        self.rows: list[str] = []
        self._places: dict[Any, int] = {}
        self._names: dict[Primitive, str] = {}
        self._bodies: list[str] = []

    def row(self, node: Any) -> int:
        """The place in `rows` of what a node computes; an `UnwrittenError` if there is no JavaScript for it."""
        row, operands = node.prim, node.operands
        key = (row, str([None if isinstance(x, Node) else x for x in operands]))
        if key not in self._places:
            pairs = zip(operands, row.partials, strict=True)
            partials = ", ".join(self._partial(node, rule) if isinstance(x, Node) else "0" for x, rule in pairs)
            rule = self._rule(row, [x if type(x) is float else x._value for x in operands])
            self.rows.append(f"{{ rule: {rule}, partials: [{partials}] }}")
            self._places[key] = len(self.rows) - 1
        return self._places[key]

    def __str__(self) -> str:
        bodies = "\n".join(self._bodies)
        listed = ",\n  ".join(self.rows)
        return f"{HEAD}{ERF if 'erf' in bodies else ''}{bodies}\nconst ROWS = [\n  {listed}\n];\n"

    def _rule(self, row: Primitive, example: Sequence[float] = ()) -> str:
        """The name of the function that is the rule of a row; `example` is what it has been called with."""
        if row in self._names:
            return self._names[row]
        if TABLE.get(row.name) is row and row.name in RULES:
            called = {name: self._rule(TABLE[name]) for name in TABLE if f"{{{name}}}" in RULES[row.name]}
            body = RULES[row.name]
            for name, function in called.items():
                body = body.replace(f"{{{name}}}", function)
            check = OUTSIDE.get(row.name)
            body = f"{check} ? outside({source(row.domain)}) : ({body})" if check else f"({body})"
            params = list("abc"[: len(row.partials)])
            text = f"({', '.join(params)}) => {body}"
        else:
            params = [f"x{k}" for k in range(len(row.partials))]
            text = self._traced(row, inspect.unwrap(row.scalar), params, params, example)
            text = f"within({source(row.domain)}, {text})"
        self._names[row] = name = f"f{len(self._names)}"
        self._bodies.append(f"const {name} = {text};")
        return name

    def _partial(self, node: Any, rule: Any) -> str:
        if isinstance(rule, float):
            return source(rule)
        operands = node.operands
        at = [k for k, x in enumerate(operands) if isinstance(x, Node)]

        def partial(y: Any, *nodes: Any) -> Any:
            given = list(operands)  # a number that is no node may be looked at by the rule
            for k, x in zip(at, nodes, strict=True):
                given[k] = x
            return rule(y, *given)

        params = ["y", *(f"x{k}" for k in range(len(operands)))]
        example = [node._value, *(operands[k]._value for k in at)]
        return self._traced(node.prim, partial, params, ["y", *(f"x{k}" for k in at)], example)

    def _traced(
        self, row: Primitive, rule: Callable[..., Any], params: list[str], given: list[str], example: Sequence[float]
    ) -> str:
        """A rule as a function of `params` in JavaScript, which is called with those that are `given`."""
        for numbers in ([EXAMPLE] * len(given), example):  # a rule of the user's may have another domain
            try:
                tape = trace(rule, *numbers).tape
            except Exception:  # and may raise anything
                continue
            return f"({', '.join(params)}) => {{ {self._body(tape, given, row)} }}"
        raise UnwrittenError(f"{row.name} branches on its numbers, or calls what only Python has")

    def _body(self, tape: Tape, names: list[str], row: Primitive) -> str:
        said = [*names, *(source(x.example) for x in tape.inputs[len(names) :])]
        lines = []
        for i in range(len(tape.inputs), len(tape.rows)):
            made = tape.rows[i]
            if made is None:
                said.append(source(tape.numbers[i]))
            elif tape.types[i] is not None or made.vjp:
                raise UnwrittenError(f"{row.name} computes with arrays")
            else:
                said.append(f"t{i}")
                lines.append(f"const t{i} = {self._rule(made)}({', '.join(said[x] for x in tape.operands[i])});")
        return " ".join([*lines, f"return {said[tape.outputs[0]]};"])


def source(x: Any) -> str:
    r"""A number, text, list or dict in JavaScript, numbers to the last digit, which cannot end the script of a page.

    Examples
    --------
    >>> print(source([float("inf"), "</script>"]))
    [Infinity, "\u003c/script>"]
    """
    return json.dumps(x, ensure_ascii=False).replace("<", r"\u003c")

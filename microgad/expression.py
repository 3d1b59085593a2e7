"""Text to graph: ``(x + y) * z`` read by Python's own parser, and never evaluated as Python."""

from __future__ import annotations

import ast
import difflib
import inspect
import io
import math
import warnings
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

from . import functions
from . import primitives as rows
from .errors import DomainError, ExpressionError, InputError
from .node import Node
from .value import Value

_OPERATORS = {ast.Add: rows.add, ast.Sub: rows.sub, ast.Mult: rows.mul, ast.Div: rows.div, ast.Pow: rows.pow}
_COMPARISONS = {ast.Gt: rows.greater, ast.Lt: rows.greater, ast.Eq: rows.equal}
_PAIRS = {"max": rows.maximum, "min": rows.minimum, "maximum": rows.maximum, "minimum": rows.minimum}
Callables = dict[str, tuple[Callable[..., Any], int, float]]  # with the least and the largest number of arguments


def _public() -> Callables:
    """Microgad's own functions, from their signatures."""
    found: Callables = {}
    for name, function in vars(functions).items():
        if inspect.isfunction(function) and function.__module__ == functions.__name__:
            parameters = inspect.signature(function).parameters.values()
            needed = sum(parameter.default is parameter.empty for parameter in parameters)
            found[name] = (function, needed, len(rows.TABLE[function.__name__].partials))
    return found


_PUBLIC = _public()
_ONLY = f"use numbers, names, + - * / **, parentheses and {', '.join(_PUBLIC)}, max, min"
_CALLED = {ast.IfExp: "if … else", ast.BoolOp: "and, or", ast.UnaryOp: "not, ~", ast.Compare: "chain of comparisons"}
_LIMIT = 20_000  # characters; more is no expression that a person wrote


def _functions() -> Callables:
    """What an expression may call, rows that a user has added among it."""
    added: Callables = {
        name: (row, len(row.partials), len(row.partials)) for name, row in rows.TABLE.items() if name not in vars(rows)
    }
    return {**added, **_PUBLIC, **{name: (row, 2, math.inf) for name, row in _PAIRS.items()}}


def parse(text: str, /, **values: Any) -> Value:
    """The graph of an expression, with a named leaf for each variable.

    Parameters
    ----------
    text : str
        Numbers, names, ``+ - * / **``, parentheses, microgad's functions (max and min of two or more), rows
        added with `primitive`, and comparisons ``>``, ``<``, ``==``, which are 1 or 0, in brackets or without.
        Python's precedence holds. It may come from anyone: it is read, not run.
    **values : float or Value
        A value for each name; names that do not occur are ignored.

    Returns
    -------
    Value
        The result; its ``inputs`` lead to the leaves.

    Raises
    ------
    ExpressionError
        With the column, if the text is no expression, holds anything else, or a value is missing.
    DomainError
        With the column, if an operation has no value there.

    Examples
    --------
    >>> f = parse("(x + y) * z", x=-2, y=5, z=-4)
    >>> f.data, [leaf.name for leaf in f.inputs[0].inputs]
    (-12.0, ['x', 'y'])
    """
    return _Reader(text, values).result()


class _Reader:
    """One reading of one text; it keeps what an error has to point at."""

    def __init__(self, text: str, values: dict[str, Any]) -> None:
        if not isinstance(text, str):
            raise ExpressionError(f"an expression is text, not {type(text).__name__}")
        self.indent = len(text) - len(text.lstrip())  # Python would take it for an indented block
        self.text = text.strip()
        self.values = values
        self.leaves: dict[str, Any] = {}
        self.functions = _functions()

    def result(self) -> Value:
        tree = self.tree()
        parts = [part for part in ast.walk(tree) if isinstance(part, ast.expr)]
        names_of_functions = {part.func for part in parts if isinstance(part, ast.Call)}
        parts = [part for part in parts if part not in names_of_functions]
        # What the text may not hold is found from left to right, before anything is computed.
        for part in sorted(parts, key=lambda part: (part.lineno, part.col_offset)):
            self.check(part)
        # Parents come first in ast.walk; backwards each finds its operands done, without recursion.
        done: dict[ast.AST, Any] = {}
        for part in reversed(parts):
            try:
                done[part] = self.build(part, done)
            except DomainError as error:
                raise DomainError(f"column {self.column(part)}: {error}") from None
            except InputError as error:
                if not isinstance(part, ast.Call):  # a value that was given with the text, no fault of the text
                    raise
                raise self.error(self.column(part), str(error)) from None
        out = done[tree]
        return out if isinstance(out, Value) else Value(out)

    def tree(self) -> ast.expr:
        """What Python's parser makes of the text."""
        if not self.text:
            raise ExpressionError("column 1: the expression is empty")
        if len(self.text) > _LIMIT:
            raise ExpressionError(f"column {_LIMIT:,}: an expression of {len(self.text):,} characters is too long")
        for i, c in enumerate(self.text):
            if c == "\0" or "\ud800" <= c <= "\udfff":
                raise self.error(self.indent + i + 1, "a null or half a character is no text")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # advice about running the text as Python
                return ast.parse(self.text, mode="eval").body
        except (RecursionError, MemoryError):
            raise self.error(1, "the expression is nested too deeply") from None
        except (SyntaxError, ValueError) as error:
            lines = self.lines()[: (getattr(error, "lineno", None) or 1) - 1]
            column = self.indent + len("".join(lines)) + (getattr(error, "offset", None) or 1)
            raise self.error(column, getattr(error, "msg", None) or str(error)) from None

    def check(self, part: ast.expr) -> None:
        """Raise unless the part is on the list of what an expression may hold."""
        problem = None
        match part:
            case ast.Constant(value=value):
                if type(value) not in (int, float):
                    problem = f"{value!r} is not a number"
                elif not math.isfinite(_float(value)):
                    problem = "the number is too large"
            case ast.Name(id=name):
                if name not in self.values:
                    known = name in self.functions
                    problem = f"{name} needs its (…)" if known else f"{name!r} has no value: give one, as in {name}=1"
            case ast.BinOp(op=op):
                if type(op) not in _OPERATORS:
                    problem = "a power is written **" if isinstance(op, ast.BitXor) else f"no such operator: {_ONLY}"
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                pass
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in self.functions:
                    near = difflib.get_close_matches(name, self.functions, 1)
                    problem = f"no function {name!r}: " + (f"did you mean {near[0]}?" if near else _ONLY)
                else:
                    _, least, most = self.functions[name]
                    if not least <= len(arguments) <= most:
                        problem = f"{name} takes {_arguments(least, most)}, not {len(arguments)}"
            case ast.List(elts=[ast.Compare()]):
                pass
            case ast.Compare(ops=[op]):
                if type(op) not in _COMPARISONS:
                    problem = "two numbers are compared by >, < or =="
            case _:
                what = _CALLED.get(type(part), type(part).__name__.lower())
                problem = f"no {what} here: {_ONLY}"
        if problem:
            raise self.error(self.column(part), problem)

    def build(self, part: ast.expr, done: dict[ast.AST, Any]) -> Any:
        """The node, or for constants alone the number, that a checked part stands for."""
        row: Callable[..., Any]
        match part:
            case ast.Constant(value=value):
                return _float(value)
            case ast.Name(id=name):
                given = self.values[name]
                return self.leaves.setdefault(name, given if isinstance(given, Node) else Value(given, name))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return done[operand]
            case ast.UnaryOp(operand=operand):
                row, operands = rows.neg, [done[operand]]
            case ast.BinOp(left=left, op=op, right=right):
                row, operands = _OPERATORS[type(op)], [done[left], done[right]]
            case ast.List(elts=[compared]):
                return done[compared]
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                row, operands = _COMPARISONS[type(op)], [done[left], done[right]]
                operands = operands[::-1] if isinstance(op, ast.Lt) else operands
            case ast.Call(func=ast.Name(id=name), args=arguments):
                (row, _, most), operands = self.functions[name], [done[argument] for argument in arguments]
                if most == math.inf:
                    row, operands = partial(reduce, row), [operands]
        out = row(*operands)
        if isinstance(out, float) and not math.isfinite(out):
            raise self.error(self.column(part), "the number is too large")
        return out

    def column(self, part: ast.expr) -> int:
        """The position of a part in the text as it was given, counted from 1."""
        lines = self.lines()
        here = lines[part.lineno - 1].encode()[: part.col_offset].decode()  # ast counts in bytes
        return self.indent + len("".join(lines[: part.lineno - 1])) + len(here) + 1

    def lines(self) -> list[str]:
        """The lines as Python's parser counts them; str.splitlines knows more ends of lines."""
        return list(io.StringIO(self.text, newline=""))

    def error(self, column: int, message: str) -> ExpressionError:
        column = min(column, self.indent + len(self.text) + 1)
        shown = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return ExpressionError(f"column {column}: {message}, in {shown!r}")


def _arguments(least: int, most: float) -> str:
    if most == math.inf:
        return "two arguments or more"
    return f"{least} to {most} arguments" if least < most else "one argument" if most == 1 else f"{most} arguments"


def _float(x: Any) -> float:
    """A literal as a float, an integer beyond all floats as infinity."""
    try:
        return float(x)
    except OverflowError:
        return math.inf

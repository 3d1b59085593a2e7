"""A way to add a row to the table."""

from __future__ import annotations

import inspect
import keyword
import string
import unicodedata
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from . import primitives
from .errors import GraphCutError, InputError, shown
from .naming import literal
from .node import Node
from .operators import OF_UFUNC, as_float
from .primitive import Primitive, elementwise
from .structural import ROWS

_TAKEN = ("max", "min", "swish")  # other spellings of rows


def primitive(
    name: str,
    forward: Callable[..., Any],
    partials: Callable[..., Any] | float | Sequence[Callable[..., Any] | float],
    *,
    array: Callable[..., Any] | None = None,
    label: str | None = None,
    text: str | None = None,
    latex: str | None = None,
    domain: str = "",
) -> Primitive:
    """A new primitive: one row of the table, which works wherever the others do.

    It is a function of floats, arrays and Values. `Value.backward`, `grad` to any order, steps, derivations, drawings,
    `parse`, `to_json` and `check_grads`, the judge of its derivatives, take it from the row.

    Parameters
    ----------
    name : str
        An identifier, by which `parse` and saved graphs find it. To use it again replaces the row; the names of
        microgad's own rows are taken.
    forward : callable
        The rule on floats. Where it has no value it raises a ValueError or ArithmeticError, which becomes a
        `DomainError`.
    partials : callable, float, or sequence of them
        For each operand the local derivative: a constant, or a function ``(out, *operands)``. It has to be written in
        operators and functions of microgad, as in ``lambda y, x: 3 * x**2``, never in those of ``math``, and it may
        not decide by ``if`` or ``x > 0`` but by `where` and `greater`: then it gives numbers in a backward pass, and
        in a second derivative a graph that decides anew.
    array : callable, optional
        The rule on NumPy arrays; by default `forward`, number by number.
    label : str, optional
        What a drawing shows, by default the name.
    text, latex : str, optional
        Templates with ``{}`` for each operand; the text is what `parse` reads. By default ``name({}, {})``.
    domain : str
        What it needs, for the message of a `DomainError`, such as ``"a number > 0"``.

    Returns
    -------
    Primitive
        The row, to be called.

    Raises
    ------
    InputError
        If the name is taken or no identifier, or the parts of the row do not fit together.

    Examples
    --------
    >>> import microgad as mg
    >>> cube = mg.primitive("cube", lambda x: x**3, lambda y, x: 3.0 * x**2, latex="{}^3")
    >>> x = mg.Value(2.0, "x")
    >>> y = cube(x)
    >>> y.backward()
    >>> y.data, x.grad, mg.grad(mg.grad(cube))(2.0)
    (8.0, 12.0, 12.0)
    >>> mg.check_grads(cube, 2.0)
    """
    plain = isinstance(name, str) and name.isidentifier() and name == unicodedata.normalize("NFKC", name)
    if not plain or keyword.iskeyword(name):
        raise InputError(f"the name of a primitive is an identifier, not {shown(name)}")
    if name in vars(primitives) or name in ROWS or name in _TAKEN:
        raise InputError(f"{name} is a row of microgad's own: choose another name")
    rules = tuple(partials) if isinstance(partials, Sequence) else (partials,)
    if not rules:
        raise InputError(f"{name} has to have an operand: give a partial for each")
    for what, rule, given in (("forward", forward, len(rules)), *(("partial", rule, len(rules) + 1) for rule in rules)):
        if callable(rule):
            _fits(f"the {what} rule of {name}", rule, given)
        elif what == "forward" or isinstance(rule, str):
            raise InputError(f"the {what} rule of {name} is a function, not {shown(rule)}")
    if array is not None and not callable(array):
        raise InputError(f"the rule on arrays of {name} is a function, not {shown(array)}")
    fields = {key: value for key, value in (("label", label), ("text", text), ("latex", latex)) if value is not None}
    if isinstance(label, str):
        fields["label"] = literal(label)
    for key, template in fields.items():
        if not isinstance(template, str):
            raise InputError(f"{key} of {name} is text, not {shown(template)}")
        if key != "label" and _slots(template) != len(rules):
            raise InputError(f"{key} of {name}: {template!r} has to have {{}} for each of {len(rules)} operands")
    row = elementwise(
        name,
        _giving_floats(name, forward, ()),
        tuple(_giving_floats(name, rule, (Node, np.ndarray)) if callable(rule) else as_float(rule) for rule in rules),
        array or np.vectorize(forward, otypes=[float]),
        domain=domain,
        **fields,
    )
    primitives.TABLE[name] = row
    if isinstance(array, np.ufunc):
        OF_UFUNC.setdefault(array, row)  # np.log1p(x) records the row whose rule on arrays it is
    return row


def _fits(what: str, rule: Callable[..., Any], given: int) -> None:
    try:
        inspect.signature(rule).bind(*range(given))
    except TypeError:
        raise InputError(f"{what} has to take {given} argument{'s' * (given > 1)}") from None
    except ValueError:  # written in C, without a signature
        pass


def _slots(template: str) -> int:
    """How many operands a template takes; -1 if it is none, or its braces are not in pairs."""
    try:
        parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
        filled = template.format(*"x" * len(parts))
    except (ValueError, LookupError, AttributeError):
        return -1
    plain = all(part[1:] == ("", "", None) for part in parts)
    return len(parts) if plain and filled.count("{") == filled.count("}") else -1


def _giving_floats(name: str, rule: Callable[..., Any], also: tuple[type, ...]) -> Callable[..., Any]:
    """A user's rule, whose ints, NumPy scalars and the like are made the floats that the engine counts on."""

    @wraps(rule)
    def checked(*operands: Any) -> Any:
        try:
            result = rule(*operands)
        except GraphCutError as error:
            raise GraphCutError(f"in a derivative rule of {name}: {error}") from None
        if type(result) is float or isinstance(result, also):
            return result
        try:
            return as_float(result)
        except InputError:
            raise InputError(f"a rule of {name} gave {shown(result)}, not one number") from None

    return checked

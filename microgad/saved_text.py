"""Strict reading of JSON: what is wrong with a text, and where, as a FormatError."""

from __future__ import annotations

import json
import math
from collections.abc import Set
from typing import Any, NamedTuple, NoReturn

from .errors import FormatError, shown
from .naming import literal

AGAIN = "save the graph again with to_json, or correct the text"
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Twice(NamedTuple):
    """Stands for an object in which a field stands twice."""

    field: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | Twice:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    for key, _ in reversed(pairs):  # the last of each is in `found`
        if key not in found:
            break
        del found[key]
    return Twice(key)


def _integer(text: str) -> float:
    return -0.0 if text == "-0" else int(text)


def read(text: Any) -> Any:
    """What JSON makes of a text."""
    if isinstance(text, (bytes, bytearray)):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            fail(f"byte {error.start}", "a saved graph is text in UTF-8, and this byte is not")
    if not isinstance(text, str):
        fail("from_json", f"it reads text, not {shown(text)}", "read the file first, as with Path(...).read_bytes()")
    text = text.removeprefix("\ufeff")  # with which Windows begins a file in UTF-8
    if not text.strip():
        fail("the text", "it is empty")
    try:
        # NaN and 1e999 become floats that are not finite: `number` refuses them, and knows which node they are in.
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        cut = "Unterminated" in error.msg or not text[error.pos :].strip()
        problem = "the text ends too early, as if it was cut off" if cut else f"this is not JSON: {error.msg}"
        fail(f"line {error.lineno}, column {error.colno}", problem)
    except RecursionError:
        fail("the text", "it is nested more deeply than a saved graph")
    except ValueError:
        fail("the text", "it has an integer of too many digits")


def check(x: Any, where: int | str, required: set[str], optional: Set[str] = frozenset()) -> None:
    """Raise unless `x` is an object with all required fields, none that is unknown, and each once."""
    if type(x) is Twice:
        fail(where, f"the field {what(x.field)} stands there twice")
    if type(x) is not dict:
        fail(where, f"it has to be an object, not {what(x)}")
    if len(x) == len(required) and required <= x.keys():
        return
    for key in x:
        if key not in required and key not in optional:
            fail(where, f"there is no field {what(key)}; these are: {', '.join(sorted(required | optional))}")
    for key in sorted(required):
        if key not in x:
            fail(where, f'the field "{key}" is missing')


def number(x: Any, i: int, field: str) -> float:
    """A number of the text as a float."""
    if type(x) is float and math.isfinite(x):
        return x
    if type(x) is int:
        try:
            return float(x)
        except OverflowError:
            fail(i, f'"{field}" is an integer too large for a float')
    if type(x) is str and x in NOT_FINITE:
        return NOT_FINITE[x]
    if type(x) is float:
        fail(i, f'"{field}" is {x}, no JSON number or too large: nan and infinities are written "nan", "inf", "-inf"')
    fail(i, f'"{field}" has to be a number, or "nan", "inf" or "-inf", not {what(x)}')


def written(x: float) -> float | str:
    """A number as JSON has it."""
    return x if math.isfinite(x) else repr(float(x))


def whole(text: str) -> bool:
    """Whether no character of a text is a half one, a surrogate, with which it cannot be written to a file."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def what(x: Any) -> str:
    """A part of the text in a message, on one line and not too long."""
    if type(x) in (dict, Twice):
        return "an object"
    if type(x) is list:
        return "a list"
    try:
        return f"{json.dumps(x):.60}"
    except ValueError:  # an integer of very many digits
        return "a number"


def fail(where: int | str, problem: str, advice: str = AGAIN) -> NoReturn:
    """Raise the error of a problem in the text: at a node, or where else, and what to do."""
    place = f"node {where}" if type(where) is int else where
    raise FormatError(literal(f"{place}: {problem}; {advice}")) from None

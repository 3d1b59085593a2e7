"""Every exception of the project: what happened, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class MicrogadError(Exception):
    """The base of every error that microgad raises on purpose."""


class InputError(MicrogadError, TypeError):
    """A value of a kind that a node cannot hold, or a function that cannot be differentiated."""


class DomainError(MicrogadError, ValueError):
    """A number outside the domain of a primitive, such as the logarithm of a negative number."""


class GraphCutError(MicrogadError, TypeError):
    """A conversion that would silently cut a node out of its graph, such as ``math.exp(v)``."""


class InteriorError(MicrogadError, AttributeError):
    """An attempt to set the data of a node that is computed from others."""


class ExpressionError(MicrogadError, ValueError):
    """Text that is not an expression, with the column where reading stopped."""


class GraphSizeError(MicrogadError, ValueError):
    """A graph too large for the form in which it was asked for."""


class FormatError(MicrogadError, ValueError):
    """Text that is not a saved graph: truncated, changed, or from another version."""


class AnomalyError(MicrogadError, RuntimeError):
    """A nan or an infinity that appeared under `detect_anomaly`, with the node that produced it."""


class GradCheckError(MicrogadError, AssertionError):
    """A derivative that differs from finite differences."""


class RenderError(MicrogadError, RuntimeError):
    """A picture that could not be made, with the command that installs what is missing."""


def shown(x: Any) -> str:
    """The type of a thing and the beginning of its text, whatever it is."""
    try:
        return f"{type(x).__name__} {x!r:.40}"
    except Exception:  # its __repr__ is not ours; of an integer of 5,000 digits Python gives none
        return type(x).__name__


def spell(x: Any, depth: int = 2) -> str:
    """A short text for an operand in a message: its name, its number, or how it was computed."""
    prim = getattr(x, "prim", None)
    if getattr(x, "name", None):
        return str(x.name)
    if prim is None:
        return repr(getattr(x, "_data", x))
    if depth == 0:
        return "…"
    return _fill(prim.text, [spell(operand, depth - 1) for operand in x.operands])


def _fill(template: str, texts: Sequence[str]) -> str:
    """A row's template with its operands' texts, in parentheses wherever one could be misread."""
    safe = "(" in template or template == "{}"
    misread = [" " in x or (i == 0 and x.startswith("-")) for i, x in enumerate(texts)]
    return template.format(*(f"({x})" if bad and not safe else x for x, bad in zip(texts, misread, strict=True)))


def undefined_derivative(node: Any, x: Any, error: Exception) -> DomainError:
    """The error of a node whose derivative by its input `x` does not exist."""
    operands = node.operands
    named = f"{node.name} = " if node.name else ""
    expression = named + _fill(node.prim.text, [spell(operand) for operand in operands])
    here = at(operands, [getattr(operand, "_data", operand) for operand in operands])
    why = "it would divide by 0" if str(error) == "float division by zero" else error  # Python's own words
    return DomainError(f"the derivative of {expression} by {spell(x)} does not exist{here}: {why}")


def outside_domain(row: Any, operands: Sequence[Any], data: Sequence[Any]) -> DomainError:
    """The error of a primitive that has no value at `data`, in the names of its operands."""
    expression = _fill(row.text, [spell(operand) for operand in operands])
    needs = f": {row.name} needs {row.domain}" if row.domain else ""
    return DomainError(f"{expression} is undefined{at(operands, data)}{needs}")


def at(operands: Sequence[Any], data: Sequence[Any]) -> str:
    """The numbers of the operands by name, for the end of a sentence; nothing where they name themselves."""
    pairs = dict(zip(map(spell, operands), data, strict=True))
    given = ", ".join(f"{text} = {number!r}" for text, number in pairs.items() if text != repr(number))
    return f" at {given}" if given else ""

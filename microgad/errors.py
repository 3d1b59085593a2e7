"""Every exception of the project: what happened, where, and what to do about it."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Sequence
from threading import get_ident
from typing import Any

NOT_REAL = "it is of real numbers, not of complex ones"


class MicrogadError(Exception):
    """The base of every error that microgad raises on purpose."""


class InputError(MicrogadError, TypeError):
    """A value of a kind that a node cannot hold, or a function that cannot be differentiated."""


class ShapeError(MicrogadError, ValueError):
    """Arrays whose shapes do not go together, or an axis or index that an array does not have."""


class DomainError(MicrogadError, ValueError):
    """A number outside the domain of a primitive, such as the logarithm of a negative number."""


class GraphCutError(MicrogadError, TypeError):
    """A conversion that would silently cut a node out of its graph, such as ``math.exp(v)``."""


class InteriorError(MicrogadError, AttributeError):
    """An attempt to change data that a graph was computed with, or that is computed from others."""


class ExpressionError(MicrogadError, ValueError):
    """Text that is not an expression, with the column where reading stopped."""


class GraphSizeError(MicrogadError, ValueError):
    """A graph too large for the form in which it was asked for."""


class FormatError(MicrogadError, ValueError):
    """A text or file that is not what was saved: truncated, changed, or from another program or version."""


class AnomalyError(MicrogadError, RuntimeError):
    """A nan or an infinity that appeared under `detect_anomaly`, with the node that produced it."""


class TraceError(MicrogadError, RuntimeError):
    """What cannot be traced, such as a branch that depends on data, with the line of the function that does it."""


class TracedAttributeError(TraceError, AttributeError):
    """An attribute that NumPy's arrays and numbers have, and what stands for them in a trace has not."""


class GradCheckError(MicrogadError, AssertionError):
    """A derivative that differs from finite differences."""


class StateDictError(MicrogadError, ValueError):
    """A saved state that does not fit a module or an optimizer: names that are missing or unexpected, or shapes."""


class TrainingError(MicrogadError, RuntimeError):
    """A loss that is no finite number any more, with the epoch and batch; its `history` is what came before."""

    history: Any = None


class RenderError(MicrogadError, RuntimeError):
    """A picture that could not be made, with the command that installs what is missing."""


class MissingExtraError(MicrogadError, ImportError):
    """An optional package that is not installed, with the command that installs it."""


def shown(x: Any) -> str:
    """The type of a thing and the beginning of its text, whatever it is."""
    name = " ".join((x if isinstance(x, type) else type(x)).__name__.split())
    return f"the class {name}" if isinstance(x, type) else f"{name} {brief(x)}".rstrip()


def brief(x: Any) -> str:
    """The beginning of a thing's text; nothing where it has none."""
    try:
        return f"{' '.join(f'{x!r:.60}'.split()):.40}"
    except Exception:  # its __repr__ is not ours; of an integer of 5,000 digits Python gives none
        return ""


def spell(x: Any, depth: int = 2) -> str:
    """A short text for an operand in a message: its name, its number, or how it was computed."""
    prim = getattr(x, "prim", None)
    if getattr(x, "name", None):
        return str(x.name)
    if prim is None:
        return plain(getattr(x, "_value", x))
    if depth == 0:
        return "…"
    return _fill(prim.text, [spell(operand, depth - 1) for operand in x.operands])


def plain(data: Any) -> str:
    """A number, or up to three of them, as they are written; more are an array."""
    if isinstance(data, float):
        return repr(float(data))
    if not hasattr(data, "dtype"):
        return repr(data) if type(data) is int and -(10**20) < data < 10**20 else shown(data)
    few = getattr(data, "shape", None) in ((), (0,), (1,), (2,), (3,)) and hasattr(data, "tolist")
    return repr(data.tolist()) if few else "an array"


def _fill(template: str, texts: Sequence[str]) -> str:
    """A row's template with its operands' texts, in parentheses wherever one could be misread."""
    if template.count("{}") == 1 < len(texts):  # of any number of operands
        texts = [", ".join([*texts[:3], "…"][: len(texts)])]
    safe = "(" in template or template == "{}"
    misread = [" " in x or (i == 0 and x.startswith("-")) for i, x in enumerate(texts)]
    return template.format(*(f"({x})" if bad and not safe else x for x, bad in zip(texts, misread, strict=True)))


def undefined_derivative(node: Any, x: Any, error: Exception) -> DomainError:
    """The error of a node whose derivative by its input `x` does not exist."""
    operands = node.operands
    named = f"{node.name} = " if node.name else ""
    expression = named + _fill(node.prim.text, [spell(operand) for operand in operands])
    here = at(operands, [getattr(operand, "_value", operand) for operand in operands])
    why = "it would divide by 0" if str(error) == "float division by zero" else error  # Python's own words
    return DomainError(f"the derivative of {expression} by {spell(x)} does not exist{here}: {why}")


def outside_domain(row: Any, operands: Sequence[Any], data: Sequence[Any]) -> DomainError:
    """The error of a primitive that has no value at `data`, in the names of its operands."""
    expression = _fill(row.text, [spell(operand) for operand in operands])
    needs = f": {row.name} needs {row.domain}" if row.domain else ""
    return DomainError(f"{expression} is undefined{at(operands, data)}{needs}")


def misfit(row: Any, operands: Sequence[Any], data: Sequence[Any], error: Exception) -> MicrogadError:
    """The error of a rule that refused arrays: their shapes, or what they hold."""
    given = " and ".join(_sized(x, y) for x, y in zip(operands[:4], data[:4], strict=True))
    given += f" and {len(operands) - 4} more" if len(operands) > 4 else ""
    says = f"{row.name}{_params(row)} of {given or 'nothing'}"
    if strange := [y.dtype for y in data if getattr(getattr(y, "dtype", None), "kind", "f") not in tuple("biufc")]:
        return InputError(f"{says}: it is of numbers, not of dtype {strange[0]}")
    if str(error) == NOT_REAL:
        return InputError(f"{says}: {error}")
    if isinstance(error, ArithmeticError):  # which np.errstate may ask for
        return DomainError(f"{says}: {error}" + (f"; it needs {row.domain}" if row.domain and row.partials else ""))
    if row.partials:
        shapes = [getattr(y, "shape", ()) for y in data]
        longest = max(map(len, shapes))
        padded = [(1,) * (longest - len(shape)) + shape for shape in shapes]
        for axis in list(zip(*padded, strict=True))[::-1]:
            if len(differ := list(dict.fromkeys(n for n in axis if n != 1))) > 1:
                lengths = " and ".join(map(str, differ))
                return ShapeError(f"{says}: {lengths} differ; from the last axis on, lengths have to be equal, or 1")
        return DomainError(f"{says}: {error}" + (f"; it needs {row.domain}" if row.domain else ""))
    why = _meeting(*(getattr(y, "shape", ()) for y in data)) if row.name == "matmul" else ""
    return ShapeError(f"{says}: {why}" + (f"it needs {row.domain}" if row.domain else str(error)))


def no_answer(what: str, operands: Sequence[Any], error: Exception) -> MicrogadError:
    """The error of a question about numbers, such as a comparison, that NumPy cannot answer."""
    given = " and ".join(_sized(x, getattr(x, "_value", x)) for x in operands if not isinstance(x, str))
    kind = ShapeError if isinstance(error, (ValueError, LookupError)) else InputError
    return kind(f"{what} of {given}: {error}")


def _meeting(left: tuple[int, ...], right: tuple[int, ...]) -> str:
    """Which lengths do not meet in a matrix product."""
    if not left or not right:
        return "a number is multiplied by *; "
    inner = left[-1], right[-2:][0]
    return f"{inner[0]} and {inner[1]} differ; " if inner[0] != inner[1] else "the axes in front do not broadcast; "


def _sized(x: Any, data: Any) -> str:
    """An operand and its shape."""
    return f"{spell(x)} of shape {data.shape}" if hasattr(data, "shape") else f"the number {spell(x)}"


def _params(row: Any) -> str:
    """With what parameters a row was called."""
    if "key" in row.params:
        return f" {row.text.format('')[:80]}"
    words = {"axis": "along axis", "axes": "to the axes", "to": "to"}
    given = {name: x for name, x in row.params.items() if name in words and x is not None}
    if isinstance(axis := given.get("axis"), tuple) and len(axis) == 1:
        [given["axis"]] = axis
    return "".join(f" {words[name]} {brief(x)}" for name, x in given.items())


def kind(x: Any) -> str:
    """What a message says of a number or an array."""
    shape = getattr(x, "shape", ())
    return f"of shape {shape}" if shape or hasattr(x, "shape") else "a number"


def no_gradient(name: str) -> InputError:
    """The error of a backward pass from a result below which nothing needs a gradient."""
    return InputError(
        f"nothing below {name} needs a gradient: make a leaf with Tensor(..., requires_grad=True), "
        "outside of mg.no_grad()"
    )


refused: dict[int, list[TraceError]] = {}  # of threads that trace: what was refused, whatever became of the error


def untraceable(what: str, why: str, line: str = "") -> TraceError:
    """The error of what cannot be traced, with the line of the user's that asks for it."""
    error = TraceError(untraced(what, why, line))
    if get_ident() in refused:
        refused[get_ident()].append(error)
    return error


def untraced(what: str, why: str, line: str = "") -> str:
    """What is said of something that cannot be traced."""
    return f"{line or user_line()} cannot be traced: {what}, and {why}"


def users(frame: Any) -> bool:
    """Whether a frame is of the user's code: neither of ours, nor of NumPy's or Python's own, nor made by it."""
    name, path, function = frame.f_globals.get("__name__", ""), frame.f_code.co_filename, frame.f_code.co_name
    made = path.startswith("<frozen ") or (path == "<string>" and function.startswith("__"))  # by dataclasses
    return name.partition(".")[0] not in ("microgad", "numpy") and not path.startswith(_LIBRARY) and not made


_LIBRARY = os.path.dirname(linecache.__file__) + os.sep


def user_line(frame: Any = None) -> str:
    """Where the code is that called microgad, and what stands there."""
    frame = frame or sys._getframe(1)
    while frame is not None and not users(frame):
        frame = frame.f_back
    if frame is None:
        return "the function"
    path = frame.f_code.co_filename
    code = linecache.getline(path, frame.f_lineno).strip()
    where = "a cell" if "ipykernel" in path or path.startswith("<ipython") else path
    return f"line {frame.f_lineno} of {where}" + (f", `{code:.100}`," if code else "")


def at(operands: Sequence[Any], data: Sequence[Any]) -> str:
    """The numbers of the operands by name, for the end of a sentence; nothing where they name themselves."""
    pairs = dict(zip(map(spell, operands), data, strict=True))
    given = ", ".join(
        f"{text} {kind(number)}" if getattr(number, "ndim", 0) else f"{text} = {plain(number)}"
        for text, number in pairs.items()
        if text != plain(number)
    )
    return f" at {given}" if given else ""

"""Arguments that are one of several names, or a number within bounds: what they mean, and the error if they do not."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from microgad.errors import InputError, brief, shown

MOST = 1 << 31  # of a whole number: more would not fit into any memory


def choose(name: Any, table: Mapping[str, Any], what: str) -> Any:
    """The entry of that name; else an `InputError` that says which is near, or what there is.

    Examples
    --------
    >>> choose("relu", {"relu": 1, "tanh": 2}, "activation")
    1
    """
    if isinstance(name, str) and name in table:
        return table[name]
    text = str(name).lower()
    begun = [known for known in table if text and known.startswith(text)]  # such as "bce"
    near = begun[:1] or difflib.get_close_matches(text, table, 1)
    advice = f"did you mean {near[0]!r}?" if near else "choose from " + ", ".join(map(repr, table))
    said = repr(name) if isinstance(name, str) else shown(name)
    raise InputError(f"no {what} {said}: {advice}")


def flag(x: Any, what: str) -> bool:
    """True or False, and nothing that counts as such.

    Examples
    --------
    >>> flag(np.True_, "shuffle")
    True
    """
    if not isinstance(x, (bool, np.bool_)):
        raise InputError(f"{what} is True or False, not {shown(x)}")
    return bool(x)


def whole(x: Any, what: str, least: int = 1) -> int:
    """A whole number of at least so much.

    Examples
    --------
    >>> whole(3, "the number of features")
    3
    """
    try:
        if isinstance(x, (bool, np.bool_)):
            raise TypeError
        found = operator.index(x)
    except TypeError:
        raise InputError(f"{what} is a whole number, not {shown(x)}") from None
    if not least <= found < MOST:
        bound = f"at least {least}" if found < least else f"below {MOST:,}"
        raise InputError(f"{what} is {bound}, not {brief(found)}")
    return found


def real(
    x: Any,
    what: str,
    low: float = 0.0,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    infinite: bool = False,
) -> float:
    """A number within bounds; `above` and `below` leave the bounds themselves out, `infinite` lets an infinity in.

    Examples
    --------
    >>> real(0.5, "the probability", 0.0, 1.0)
    0.5
    """
    try:
        if isinstance(x, (str, bytes, bool, np.bool_, complex, np.complexfloating)):
            raise TypeError
        found = float(x)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what} is a number, not {shown(x)}") from None
    inside = (low < found if above else low <= found) and (found < high if below else found <= high)
    endless = math.isinf(found) and not infinite
    if not inside or endless:
        least = ("finite and " if endless else "") + ("above" if above else "at least")
        most = "" if math.isinf(high) else f" and {'below' if below else 'at most'} {high:g}"
        bounds = f"{least} {low:g}{most}" if low > -math.inf else "finite"
        raise InputError(f"{what} is {bounds}, not {found:g}")
    return found

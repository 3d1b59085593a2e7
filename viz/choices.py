"""Arguments that are one of a few things, and errors for all others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from microgad.errors import InputError, shown


def check_choice(name: str, given: Any, choices: Iterable[str]) -> None:
    """An error if something is none of these texts.

    Examples
    --------
    >>> check_choice("theme", "dark", ["light", "dark"])
    """
    known = list(choices)
    if not isinstance(given, str) or given not in known:
        what = repr(given) if isinstance(given, str) else shown(given)
        raise InputError(f"no {name} {what}: choose from {', '.join(known)}")


def check_flag(name: str, given: Any, optional: bool = True) -> None:
    """An error if something is not True or False, or None where that is `optional`.

    Examples
    --------
    >>> check_flag("grads", None)
    """
    if given is None and optional:
        return
    if not isinstance(given, bool):
        raise InputError(f"{name} is {'True, False or None' if optional else 'True or False'}, not {shown(given)}")

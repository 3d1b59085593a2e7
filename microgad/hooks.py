"""Hooks: a function that sees, and may change, the gradient of one node while a backward pass runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import InputError, shown
from .node import Node, hooks


class Hook:
    """The registration of a hook, which `remove` ends; so does the end of a ``with`` block."""

    def __init__(self, node: Node, function: Callable[[Any], Any]) -> None:
        if not callable(function):
            raise InputError(f"a hook is a function of the gradient, not {shown(function)}")
        self._node, self._function = node, function
        hooks.setdefault(node, []).append(self)

    def remove(self) -> None:
        """End it; a second time does nothing."""
        left = [hook for hook in hooks.pop(self._node, []) if hook is not self]  # a new list: one may be under way
        if left:
            hooks[self._node] = left

    def __call__(self, gradient: Any) -> Any:
        """What the function says to a gradient; an array it gets read-only, for other nodes may have the same."""
        if isinstance(gradient, np.ndarray):
            gradient = gradient.view()
            gradient.flags.writeable = False
        return self._function(gradient)

    def __enter__(self) -> Hook:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

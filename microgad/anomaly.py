"""The first nan or infinity: which node produced it, going forward or going back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import AnomalyError, at, spell
from .node import Node
from .operators import by_table
from .primitive import watchers


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Raise an `AnomalyError` where a nan or an infinity appears, in a ``with`` block or a decorated function.

    The error names the node, how it was computed, and the numbers it was computed from; its traceback shows the line
    that did it. Both directions are watched: values as they are recorded, and every product of the chain rule in
    `Value.backward`, `adjoints`, `grad` and `backward_steps`. Values that are made of such a number do not raise; what
    is computed from them does. Only the thread that entered is watched. Recording and backward are several times slower
    meanwhile.

    Examples
    --------
    >>> import microgad as mg
    >>> x = mg.Value(1000.0, "x")
    >>> with mg.detect_anomaly():
    ...     y = mg.exp(x) - 1.0
    Traceback (most recent call last):
    microgad.errors.AnomalyError: exp(x) is inf at x = 1000.0
    """
    watcher = _Watcher()
    with by_table():
        watchers.append(watcher)
        try:
            yield
        finally:
            watchers.remove(watcher)


def _finite(x: Any) -> bool:
    return bool(np.isfinite(x).all())


def _first(x: Any) -> str:
    """The number, or of an array the first that is not finite, and where it stands."""
    if not getattr(x, "ndim", 0):
        return repr(float(x))
    where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
    return f"{float(x[where])!r} at {list(where)}"


class _Watcher:
    """What every new node and every step back is shown to."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def born(self, node: Node) -> None:
        """Called with each new node."""
        if self.thread == threading.get_ident() and not _finite(node._value):
            given = at(node.operands, [getattr(x, "_value", x) for x in node.operands])
            raise AnomalyError(f"{spell(node)} is {_first(node._value)}{given}")

    def flowed(self, node: Node, upstream: Any, edges: list[tuple[Node, Any, Any]]) -> None:
        """Called with each step back from a node to its inputs; a leaf has none."""
        if self.thread != threading.get_ident():
            return
        total = getattr(upstream, "_value", upstream)
        if not _finite(total):
            raise AnomalyError(f"the gradient of {spell(node)} is {_first(total)}: so much came in, or adds up to that")
        for x, local, contribution in edges:
            local_, flow = (getattr(part, "_value", part) for part in (local, contribution))
            if not _finite(flow):
                at_ = f" = {x._value!r}" if not getattr(x._value, "ndim", 0) else ""
                how = f": upstream {total!r} times local derivative {local_!r}" if not getattr(flow, "ndim", 0) else ""
                raise AnomalyError(
                    f"the gradient is {_first(flow)} where it flows from {spell(node)} to {spell(x)}{at_}{how}"
                )

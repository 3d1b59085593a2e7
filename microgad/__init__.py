"""Microgad: a scalar autograd engine in which every number can be seen.

>>> import microgad as mg
>>> x, y, z = mg.Value(-2, "x"), mg.Value(5, "y"), mg.Value(-4, "z")
>>> f = (x + y) * z
>>> f.backward()
>>> x.grad, y.grad, z.grad
(-4.0, -4.0, 3.0)

In a notebook, `f` alone in a cell draws itself; anywhere, ``mg.viz.draw(f)`` is the picture.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors, operators
from .autodiff import adjoints, grad
from .expression import parse
from .functions import exp, log, maximum, minimum, relu, tanh
from .value import Value

if TYPE_CHECKING:
    from . import nn, viz

__version__ = "0.1.0"

__all__ = [
    "Value",
    "adjoints",
    "errors",
    "exp",
    "grad",
    "log",
    "maximum",
    "minimum",
    "nn",
    "parse",
    "relu",
    "tanh",
    "viz",
]


def __getattr__(name: str) -> Any:
    if name in ("nn", "viz"):  # loaded when used
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


operators.show.append(lambda node: import_module(f"{__name__}.viz").mimebundle(node))

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
from .anomaly import detect_anomaly
from .autodiff import adjoints, grad
from .checks import check_grads
from .custom import primitive
from .derivation import derive
from .evaluation import evaluation_trace
from .expression import parse
from .functions import (
    abs,
    clip,
    cos,
    elu,
    erf,
    exp,
    gelu,
    leaky_relu,
    log,
    maximum,
    minimum,
    relu,
    sigmoid,
    sign,
    silu,
    sin,
    softplus,
    sqrt,
    step,
    swish,
    tanh,
    where,
)
from .steps import backward_steps, forward_steps
from .symbolic import formula
from .value import Value

if TYPE_CHECKING:
    from . import nn, viz

__version__ = "0.1.0"

__all__ = [
    "Value",
    "abs",
    "adjoints",
    "backward_steps",
    "check_grads",
    "clip",
    "cos",
    "derive",
    "detect_anomaly",
    "elu",
    "erf",
    "errors",
    "evaluation_trace",
    "exp",
    "formula",
    "forward_steps",
    "gelu",
    "grad",
    "leaky_relu",
    "log",
    "maximum",
    "minimum",
    "nn",
    "parse",
    "primitive",
    "relu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softplus",
    "sqrt",
    "step",
    "swish",
    "tanh",
    "viz",
    "where",
]


def __getattr__(name: str) -> Any:
    if name in ("nn", "viz"):  # loaded when used
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


operators.show.append(lambda node: import_module(f"{__name__}.viz").mimebundle(node))

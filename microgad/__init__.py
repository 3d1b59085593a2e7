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
from .array_functions import concatenate, log_softmax, logsumexp, softmax, split, stack, unbind
from .autodiff import adjoints
from .custom import primitive
from .functions import (
    abs,
    clip,
    cos,
    elu,
    equal,
    erf,
    exp,
    gelu,
    greater,
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
from .randomness import manual_seed
from .recording import no_grad
from .tensor import Tensor
from .value import Value

if TYPE_CHECKING:
    from . import nn, viz
    from .algebra import formula
    from .anomaly import detect_anomaly
    from .checks import check_grads
    from .derivation import derive
    from .evaluation import evaluation_trace
    from .expression import parse
    from .replay.calls import jit
    from .replay.programs import trace
    from .replay.vmap import vmap
    from .serial import from_json, to_json
    from .steps import backward_steps, forward_steps
    from .transforms import grad, hessian, hessian_diagonal, hvp, jacobian, jvp, value_and_grad, vjp
    from .trees import tree_flatten, tree_leaves, tree_map, tree_structure, tree_unflatten

__version__ = "0.1.0"

__all__ = [
    "Tensor",
    "Value",
    "abs",
    "adjoints",
    "backward_steps",
    "check_grads",
    "clip",
    "concatenate",
    "cos",
    "derive",
    "detect_anomaly",
    "elu",
    "equal",
    "erf",
    "errors",
    "evaluation_trace",
    "exp",
    "formula",
    "forward_steps",
    "from_json",
    "gelu",
    "grad",
    "greater",
    "hessian",
    "hessian_diagonal",
    "hvp",
    "jacobian",
    "jit",
    "jvp",
    "leaky_relu",
    "log",
    "log_softmax",
    "logsumexp",
    "manual_seed",
    "maximum",
    "minimum",
    "nn",
    "no_grad",
    "parse",
    "primitive",
    "relu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "split",
    "sqrt",
    "stack",
    "step",
    "swish",
    "tanh",
    "to_json",
    "trace",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_structure",
    "tree_unflatten",
    "unbind",
    "value_and_grad",
    "viz",
    "vjp",
    "vmap",
    "where",
]


_HOME = {  # of what is loaded when it is first used
    "backward_steps": "steps",
    "check_grads": "checks",
    "derive": "derivation",
    "detect_anomaly": "anomaly",
    "evaluation_trace": "evaluation",
    "formula": "algebra",
    "forward_steps": "steps",
    "from_json": "serial",
    "grad": "transforms",
    "hessian": "transforms",
    "hessian_diagonal": "transforms",
    "hvp": "transforms",
    "jacobian": "transforms",
    "jit": "replay.calls",
    "jvp": "transforms",
    "parse": "expression",
    "to_json": "serial",
    "trace": "replay.programs",
    "tree_flatten": "trees",
    "tree_leaves": "trees",
    "tree_map": "trees",
    "tree_structure": "trees",
    "tree_unflatten": "trees",
    "value_and_grad": "transforms",
    "vjp": "transforms",
    "vmap": "replay.vmap",
}


def __getattr__(name: str) -> Any:
    if name in ("nn", "viz"):
        return import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


operators.show.append(lambda node: import_module(f"{__name__}.viz").mimebundle(node))

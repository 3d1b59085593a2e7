"""Neural networks: modules, layers, losses, optimizers, data, and a loop that trains.

Names and signatures are PyTorch's. `nn.scalar` has the same networks in Values, where every number can be drawn.
"""

from __future__ import annotations

from typing import Any

from . import data, functional, init, lr_scheduler, optim, scalar, utils
from .activations import *  # noqa: F403
from .activations import __all__ as _activations
from .files import load, save
from .functional import batch_norm, dropout, layer_norm, linear
from .layers import MLP, BatchNorm1d, Dropout, LayerNorm, Linear, Residual, Sequential
from .logic import dnf_network
from .losses import *  # noqa: F403
from .losses import __all__ as _losses
from .module import Module, Parameter
from .summary import summary
from .training import History, fit
from .utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters

__all__ = [
    "MLP", "BatchNorm1d", "Dropout", "History", "LayerNorm", "Linear", "Module", "Parameter", "Residual", "Sequential",
    "batch_norm", "clip_grad_norm_", "clip_grad_value_", "data", "dnf_network", "dropout", "fit", "functional", "init",
    "layer_norm", "linear", "load", "lr_scheduler", "optim", "parameters_to_vector", "save", "scalar", "summary",
    "utils", "vector_to_parameters", *_activations, *_losses,
]  # fmt: skip

_INSTEAD = {
    "Neuron": "nn.scalar has micrograd's", "Layer": "nn.scalar has micrograd's",
    "ModuleList": "a plain list does", "ModuleDict": "a plain dict does", "ParameterList": "a plain list does",
    "ParameterDict": "a plain dict does", "Flatten": "x.reshape(len(x), -1) does",
    "BCELoss": "nn.BCEWithLogitsLoss takes logits, and is right where probabilities come to 0 or 1",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    hint = f": {_INSTEAD[name]}" if name in _INSTEAD else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted(__all__)

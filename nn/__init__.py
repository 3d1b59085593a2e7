"""Neural networks: modules, layers, losses, optimizers, data, and a loop that trains.

Names and signatures are PyTorch's. `nn.scalar` has the same networks in Values, where every number can be drawn.
"""

from __future__ import annotations

from . import activations, functional, optim
from .activations import *  # noqa: F403
from .functional import batch_norm, dropout, layer_norm, linear
from .layers import MLP, BatchNorm1d, Dropout, LayerNorm, Linear, Residual, Sequential
from .module import Module, Parameter
from .losses import cross_entropy

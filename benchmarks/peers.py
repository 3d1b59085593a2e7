"""One training step of a small classifier, in microgad and in its peers: the same network, data and rate.

A step is forward, softmax cross-entropy, backward, and a step of gradient descent. Each contestant is a class with
`step`, which returns the loss, and `gradients`, those of the last step. Peers are written as well as we can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

import microgad as mg

RATE = 1e-4


class Problem:
    """Weights of shape (outputs, inputs), biases, and one batch; all contestants begin with copies of them."""

    def __init__(self, sizes: Sequence[int], batch: int, dtype: str, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.sizes, self.batch, self.dtype = tuple(sizes), batch, dtype
        self.weights = [(draw.normal(size=(m, n)) / np.sqrt(n)).astype(dtype) for n, m in pairwise(sizes)]
        self.biases = [draw.normal(size=m).astype(dtype) * 0.1 for m in sizes[1:]]
        self.inputs = draw.normal(size=(batch, sizes[0])).astype(dtype)
        self.labels = draw.integers(0, sizes[-1], batch)

    def parameters(self) -> list[np.ndarray[Any, Any]]:
        return [x.copy() for pair in zip(self.weights, self.biases, strict=True) for x in pair]


class Microgad:
    """In Tensors."""

    name = "microgad"

    def __init__(self, problem: Problem) -> None:
        self.parameters = [mg.Tensor(p, requires_grad=True) for p in problem.parameters()]
        self.layers = list(zip(self.parameters[::2], self.parameters[1::2], strict=True))
        self.inputs, self.labels = mg.Tensor(problem.inputs), problem.labels
        self.scaled = False

    def forward(self) -> Any:
        x = self.inputs
        for weight, bias in self.layers[:-1]:
            x = mg.nn.linear(x, weight, bias).relu()
        return mg.nn.cross_entropy(mg.nn.linear(x, *self.layers[-1]), self.labels)

    def step(self) -> Any:
        for p in self.parameters:
            p.grad = None
        loss = self.forward()
        loss.backward()
        for p in self.parameters:
            p.grad *= RATE  # in place, as below by hand
            p.data -= p.grad
        return loss

    def gradients(self) -> list[Any]:
        return [p.grad / RATE for p in self.parameters]


class Modules:
    """In modules, a loss and an optimizer, as the loop is written everywhere."""

    name = "microgad"

    def __init__(self, problem: Problem) -> None:
        self.model = mg.nn.MLP(problem.sizes[0], problem.sizes[1:], dtype=problem.dtype)
        for p, x in zip(self.model.parameters(), problem.parameters(), strict=True):
            p.data = x
        self.criterion = mg.nn.CrossEntropyLoss()
        self.optimizer = mg.nn.optim.Adam(self.model.parameters(), lr=RATE)
        self.inputs, self.labels = mg.Tensor(problem.inputs), problem.labels

    def step(self) -> Any:
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(self.inputs), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def gradients(self) -> list[Any]:
        return [p.grad for p in self.model.parameters()]


class Replayed(Modules):
    """The same with the loss jitted."""

    name = "microgad, jit"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.optimizer = self.make(mg.nn.optim)
        self.loss = mg.jit(lambda x, labels: self.criterion(self.model(x), labels))

    def make(self, optim: Any) -> Any:
        return optim.SGD(self.model.parameters(), lr=RATE)

    def step(self) -> Any:
        self.optimizer.zero_grad()
        loss = self.loss(self.inputs, self.labels)
        loss.backward()
        self.optimizer.step()
        return loss


class ReplayedAdam(Replayed):
    """The same with Adam."""

    def make(self, optim: Any) -> Any:
        return optim.Adam(self.model.parameters(), lr=RATE)


class Functional:
    """Value and gradient as a jitted function of a flat array of parameters, and the update by hand."""

    name = "microgad, jit"

    def __init__(self, problem: Problem) -> None:
        sizes = problem.sizes
        weights = [x.T if x.ndim == 2 else x for x in problem.parameters()]  # as (inputs, outputs)
        self.flat = np.concatenate([x.ravel() for x in weights])
        self.shapes = [x.shape for x in weights]

        def loss(flat: Any, x: Any, labels: Any) -> Any:
            start = 0
            for n, m in pairwise(sizes):
                w = flat[start : start + n * m].reshape(n, m)
                start += n * m + m
                x = x @ w + flat[start - m : start]
                if start < flat.size:
                    x = mg.relu(x)
            return mg.nn.cross_entropy(x, labels)

        self.both = mg.jit(mg.value_and_grad(loss))
        self.inputs, self.labels = problem.inputs, problem.labels
        self.slopes: Any = None
        self.rate = np.array(RATE)

    def step(self) -> Any:
        loss, slopes = self.both(self.flat, self.inputs, self.labels)
        self.slopes = slopes
        np.multiply(slopes, self.rate, slopes)
        np.subtract(self.flat, slopes, self.flat)
        return loss

    def gradients(self) -> list[Any]:
        found, start = [], 0
        for of in self.shapes:
            found.append(self.slopes[start : start + math.prod(of)].reshape(of).T / RATE)
            start += math.prod(of)
        return found


class Handwritten:
    """In NumPy: parameters and gradients flat, every array allocated once, activations overwritten in place.

    Products and sums go through BLAS by ``dot``, which NumPy enters quicker than ``matmul`` and ``sum``, and numbers
    are arrays without axes, which it meets quicker than floats.
    """

    name = "NumPy"

    def __init__(self, problem: Problem) -> None:
        dtype, sizes, batch = problem.dtype, problem.sizes, problem.batch
        flat = np.concatenate([p.ravel() for p in problem.parameters()])
        self.flat, self.slopes = flat, np.empty_like(flat)
        self.layers, start = [], 0
        for n, m in pairwise(sizes):
            # Weights as (inputs, outputs), so that x @ w reads both along their rows.
            views = []
            for buffer in (self.flat, self.slopes):
                w = buffer[start : start + n * m].reshape(n, m)
                views += [w, buffer[start + n * m : start + n * m + m]]
            self.layers.append((*views, views[0].T))
            start += n * m + m
        for (w, b, _, _, _), weight, bias in zip(self.layers, problem.weights, problem.biases, strict=True):
            w[...], b[...] = weight.T, bias
        self.inputs, self.labels, self.starts = problem.inputs, problem.labels, np.arange(batch) * sizes[-1]
        self.outs = [problem.inputs, *(np.empty((batch, m), dtype) for m in sizes[1:])]
        self.deltas: list[Any] = [None, *(np.empty((batch, m), dtype) for m in sizes[1:])]
        self.masks: list[Any] = [None, *(np.empty((batch, m), bool) for m in sizes[1:-1])]
        self.zeros: list[Any] = [None, *(np.zeros((batch, m), dtype) for m in sizes[1:-1])]
        self.turned = [x.T for x in self.outs]
        self.column, self.picked = np.empty((batch, 1), dtype), np.empty(batch, dtype)
        self.logits, self.last, self.sums = self.outs[-1].ravel(), self.deltas[-1].ravel(), self.column.ravel()
        self.logs, self.places = np.empty(batch, dtype), np.empty(batch, int)
        self.ones, self.width = np.ones(batch, dtype), np.ones(sizes[-1], dtype)
        self.zero, self.share, self.rate = np.array(0, dtype), np.array(1.0 / batch, dtype), np.array(RATE, dtype)
        self.batch = batch

    def step(self) -> float:
        outs, deltas, masks, ones, last = self.outs, self.deltas, self.masks, self.ones, len(self.layers)
        for k, (w, b, _, _, _) in enumerate(self.layers):
            h = outs[k + 1]
            outs[k].dot(w, h)
            np.add(h, b, h)
            if k + 1 < last:
                np.maximum(h, self.zeros[k + 1], out=h)
        z, d, places = outs[last], deltas[last], self.places
        np.add(self.starts, self.labels, places)
        np.maximum.reduce(z, 1, None, self.column, True)
        np.subtract(z, self.column, z)
        self.logits.take(places, None, self.picked, "clip")
        np.exp(z, d)
        d.dot(self.width, self.sums)
        np.divide(d, self.column, d)
        np.log(self.sums, self.logs)
        np.subtract(self.logs, self.picked, self.logs)
        loss = self.logs.dot(ones) / self.batch
        self.last[places] -= 1.0
        np.multiply(d, self.share, d)
        for k in range(last - 1, -1, -1):
            _, _, dw, db, turned = self.layers[k]
            d = deltas[k + 1]
            self.turned[k].dot(d, dw)
            ones.dot(d, db)
            if k:
                d.dot(turned, deltas[k])
                np.greater(outs[k], self.zero, masks[k])
                np.multiply(deltas[k], masks[k], deltas[k])
        self.update()
        return float(loss)

    def update(self) -> None:
        np.multiply(self.slopes, self.rate, self.slopes)
        np.subtract(self.flat, self.slopes, self.flat)

    def gradients(self) -> list[Any]:
        return [x / RATE for _, _, dw, db, _ in self.layers for x in (dw.T, db)]

    def buffers(self) -> int:
        """Bytes of the activations and gradients that a step holds."""
        return sum(x.nbytes for x in (self.slopes, *self.outs[1:], *self.deltas[1:], *self.masks[1:]))

    def buffers_one_by_one(self) -> int:
        """The same where each of z, relu(z) and their gradients has an array of its own, as ours have."""
        hidden = sum(x.nbytes for x in self.outs[1:-1])
        return int(self.buffers() - sum(x.nbytes for x in self.masks[1:]) + 2 * hidden)


class HandwrittenAdam(Handwritten):
    """The same with Adam: ten passes over the flat arrays, for the constant factors of both means go into the rate."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.mean, self.square, self.spare = (np.zeros_like(self.flat) for _ in range(3))
        self.steps = 0

    def update(self) -> None:
        beta1, beta2, g, spare = 0.9, 0.999, self.slopes, self.spare
        self.steps += 1
        np.multiply(self.mean, beta1, out=self.mean)
        np.add(self.mean, g, out=self.mean)
        np.multiply(self.square, beta2, out=self.square)
        np.multiply(g, g, out=spare)
        np.add(self.square, spare, out=self.square)
        np.sqrt(self.square, out=spare)
        size = math.sqrt((1.0 - beta2) / (1.0 - beta2**self.steps))
        np.add(spare, 1e-8 / size, out=spare)
        np.divide(self.mean, spare, out=spare)
        np.multiply(spare, RATE * (1.0 - beta1) / (1.0 - beta1**self.steps) / size, out=spare)
        np.subtract(self.flat, spare, out=self.flat)

    def gradients(self) -> list[Any]:
        return [x for _, _, dw, db, _ in self.layers for x in (dw.T, db)]


class PyTorch:
    """Eager PyTorch as its users write it: modules, a loss, an optimizer."""

    name = "PyTorch"

    def __init__(self, problem: Problem) -> None:
        self.torch = torch = import_module("torch")
        torch.set_num_threads(1)
        layers: list[Any] = []
        for weight, bias in zip(problem.weights, problem.biases, strict=True):
            m, n = weight.shape
            layer = torch.nn.Linear(n, m, dtype=getattr(torch, problem.dtype))
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weight))
                layer.bias.copy_(torch.from_numpy(bias))
            layers += [layer, torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.criterion = torch.nn.CrossEntropyLoss()
        self.optimizer = self.make(torch.optim)
        self.inputs, self.labels = torch.from_numpy(problem.inputs), torch.from_numpy(problem.labels)

    def make(self, optim: Any) -> Any:
        return optim.SGD(self.model.parameters(), lr=RATE)

    def step(self) -> Any:
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(self.inputs), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def gradients(self) -> list[Any]:
        return [p.grad.numpy() for p in self.model.parameters()]


class PyTorchAdam(PyTorch):
    """The same with Adam."""

    def make(self, optim: Any) -> Any:
        return optim.Adam(self.model.parameters(), lr=RATE)


class PyTorchFused(PyTorch):
    """The same with Adam in one compiled operation, which PyTorch has on request."""

    name = "PyTorch, fused"

    def make(self, optim: Any) -> Any:
        return optim.Adam(self.model.parameters(), lr=RATE, fused=True)


class BarePyTorch:
    """Eager PyTorch with as little around it as possible: no modules, no optimizer."""

    name = "bare PyTorch"

    def __init__(self, problem: Problem) -> None:
        self.torch = torch = import_module("torch")
        torch.set_num_threads(1)
        self.parameters = [torch.from_numpy(p).requires_grad_() for p in problem.parameters()]
        self.layers = list(zip(self.parameters[::2], self.parameters[1::2], strict=True))
        self.inputs, self.labels = torch.from_numpy(problem.inputs), torch.from_numpy(problem.labels)

    def step(self) -> Any:
        functional, x = self.torch.nn.functional, self.inputs
        for p in self.parameters:
            p.grad = None
        for weight, bias in self.layers[:-1]:
            x = functional.linear(x, weight, bias).relu()
        loss = functional.cross_entropy(functional.linear(x, *self.layers[-1]), self.labels)
        loss.backward()
        with self.torch.no_grad():
            for p in self.parameters:
                p.sub_(p.grad, alpha=RATE)
        return loss

    def gradients(self) -> list[Any]:
        return [p.grad.numpy() for p in self.parameters]


class Autograd:
    """HIPS autograd."""

    name = "autograd"

    def __init__(self, problem: Problem) -> None:
        anp = import_module("autograd.numpy")
        logsumexp = import_module("autograd.scipy.special").logsumexp
        self.parameters = problem.parameters()
        inputs, labels, rows = problem.inputs, problem.labels, np.arange(problem.batch)

        def loss(parameters: list[Any]) -> Any:
            x = inputs
            for k in range(0, len(parameters), 2):
                x = anp.dot(x, parameters[k].T) + parameters[k + 1]
                if k + 2 < len(parameters):
                    x = anp.maximum(x, 0.0)
            return anp.mean(logsumexp(x, axis=1) - x[rows, labels])

        self.both = import_module("autograd").value_and_grad(loss)
        self.slopes: list[Any] = []

    def step(self) -> float:
        loss, self.slopes = self.both(self.parameters)
        for p, slope in zip(self.parameters, self.slopes, strict=True):
            p -= RATE * slope
        return float(loss)

    def gradients(self) -> list[Any]:
        return self.slopes


class Jax:
    """JAX with the whole step compiled, buffers donated."""

    name = "JAX jit"

    def __init__(self, problem: Problem) -> None:
        jax = import_module("jax")
        jax.config.update("jax_enable_x64", True)
        jnp = import_module("jax.numpy")
        self.parameters = [jnp.asarray(p) for p in problem.parameters()]
        self.inputs, self.labels = jnp.asarray(problem.inputs), jnp.asarray(problem.labels)

        def loss(parameters: list[Any], x: Any, labels: Any) -> Any:
            for k in range(0, len(parameters), 2):
                x = x @ parameters[k].T + parameters[k + 1]
                if k + 2 < len(parameters):
                    x = jax.nn.relu(x)
            logp = jax.nn.log_softmax(x)
            return -jnp.mean(jnp.take_along_axis(logp, labels[:, None], axis=1))

        def step(parameters: list[Any], x: Any, labels: Any) -> Any:
            value, slopes = jax.value_and_grad(loss)(parameters, x, labels)
            return value, [p - RATE * slope for p, slope in zip(parameters, slopes, strict=True)]

        self.slopes_of = jax.jit(jax.grad(loss))
        self.compiled = jax.jit(step, donate_argnums=0)
        self.before: Any = [np.array(p) for p in self.parameters]

    def step(self) -> float:
        loss, self.parameters = self.compiled(self.parameters, self.inputs, self.labels)
        return float(loss)  # which waits for it

    def gradients(self) -> list[Any]:
        return [np.array(x) for x in self.slopes_of(self.before, self.inputs, self.labels)]


def check_agreement(a: Any, b: Any, rtol: float) -> None:
    """Raise unless a first step of both gives the same loss and gradients: a wrong answer has no speed."""
    losses = [float(x.item() if hasattr(x, "item") else x) for x in (a.step(), b.step())]
    if abs(losses[0] - losses[1]) > rtol * abs(losses[0]):
        raise AssertionError(f"the losses of {a.name} and {b.name} differ: {losses}")
    for i, (x, y) in enumerate(zip(a.gradients(), b.gradients(), strict=True)):
        if not np.allclose(x, y, rtol=100 * rtol, atol=100 * rtol * np.abs(x).max()):
            raise AssertionError(f"gradient {i} of {a.name} and {b.name} differs by {np.abs(x - y).max()}")


ADAM: tuple[Callable[[Problem], Any], ...] = (HandwrittenAdam, PyTorchAdam, PyTorchFused)
PEERS: tuple[Callable[[Problem], Any], ...] = (Handwritten, PyTorch, BarePyTorch, Autograd, Jax)

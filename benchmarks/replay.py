"""The moons demo and Rosenbrock's function as code for single numbers that is replayed, and in peers.

A contestant is a class with `step`, which computes value and gradient, and `answer`, which gives both: a float and a
flat array, in the order of the parameters of `moons.Demo` (each neuron's weights, then its bias).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

import microgad as mg

from .moons import Demo, two_moons

SIZES = (2, 16, 16, 1)
L2 = 1e-4


class Moons:
    """Points in rows, labels -1.0 and 1.0, and the parameters of a 2-16-16-1 network."""

    def __init__(self, batch: int = 100, seed: int = 1337) -> None:
        points, labels = two_moons(batch, seed=seed)
        self.points, self.labels, self.batch = np.array(points), np.array(labels), batch
        draw = random.Random(seed)
        neurons = [[*(draw.uniform(-1, 1) for _ in range(n)), 0.0] for n, m in pairwise(SIZES) for _ in range(m)]
        self.flat = np.concatenate(neurons)
        self.cuts = np.cumsum([0, *((n + 1) * m for n, m in pairwise(SIZES))])

    def blocks(self, flat: Any) -> list[Any]:
        """The parameters of each layer as a matrix: neurons in rows, the bias last."""
        shapes = [(m, n + 1) for n, m in pairwise(SIZES)]
        return [flat[i:j].reshape(of) for (i, j), of in zip(pairwise(self.cuts), shapes, strict=True)]


def score(parameters: Sequence[Any], x: Sequence[Any]) -> Any:
    """The network for one point, number by number."""
    start = 0
    for n, m in pairwise(SIZES):
        out = []
        for _ in range(m):
            w, b = parameters[start : start + n], parameters[start + n]
            start += n + 1
            out.append(sum((wi * xi for wi, xi in zip(w, x, strict=True)), b))
        x = [z.relu() for z in out] if m > 1 else out
    return x[0]


class Replayed:
    """Code for one point and single numbers, under jit, value_and_grad and vmap."""

    name = "microgad"

    def __init__(self, moons: Moons) -> None:
        many = mg.vmap(score, in_axes=(None, 0))

        def loss(flat: Any) -> Any:
            scores = many(mg.unbind(flat), moons.points)
            return mg.relu(1.0 - moons.labels * scores).mean() + L2 * (flat * flat).sum()

        self.both, self.flat = mg.jit(mg.value_and_grad(loss)), moons.flat

    def step(self) -> Any:
        return self.both(self.flat)

    def answer(self) -> tuple[float, Any]:
        value, slopes = self.step()
        return float(value), slopes


class Handwritten:
    """In NumPy, as quick as we can: neurons in rows and points in columns, so that parts are contiguous.

    Biases are a column of the weights, which meets a row of ones; every array and view is made once, numbers are arrays
    without axes, and what can goes through BLAS.
    """

    name = "NumPy"

    def __init__(self, moons: Moons) -> None:
        n = self.batch = moons.batch
        self.flat, self.slopes = moons.flat.copy(), np.empty_like(moons.flat)
        self.w1, self.w2, w3 = moons.blocks(self.flat)
        self.d1, self.d2, d3 = moons.blocks(self.slopes)
        self.w3, self.d3 = w3[0], d3[0]
        x = np.concatenate([moons.points.T, np.ones((1, n))])
        h1, h2 = np.ones((17, n)), np.ones((17, n))
        self.x, self.h1, self.h2, self.out1, self.out2 = x, h1, h2, h1[:16], h2[:16]
        self.x_turned, self.h1_turned, self.h2_turned = x.T, h1.T, h2.T
        self.w2_turned, self.column = self.w2[:, :16].T, self.w3[:16, None]
        self.minus, self.share = -moons.labels, -moons.labels / n
        self.margins, self.g = np.empty(n), np.empty(n)
        self.g1, self.g2 = np.empty((16, n)), np.empty((16, n))
        self.mask, self.masks = np.empty(n, bool), np.empty((16, n), bool)
        self.zeros, self.none, self.ones = np.zeros((16, n)), np.zeros(n), np.ones(n)
        self.zero, self.one, self.decay = np.array(0.0), np.array(1.0), np.array(2.0 * L2)
        self.spare = np.empty_like(self.flat)

    def step(self) -> float:
        m, g, g1, g2, masks = self.margins, self.g, self.g1, self.g2, self.masks
        self.w1.dot(self.x, self.out1)
        np.maximum(self.out1, self.zeros, out=self.out1)
        self.w2.dot(self.h1, self.out2)
        np.maximum(self.out2, self.zeros, out=self.out2)
        self.w3.dot(self.h2, m)
        np.multiply(m, self.minus, m)
        np.add(m, self.one, m)
        np.maximum(m, self.none, out=m)
        value = m.dot(self.ones) / self.batch + L2 * self.flat.dot(self.flat)
        np.greater(m, self.zero, self.mask)
        np.multiply(self.mask, self.share, g)
        self.h2.dot(g, self.d3)
        np.multiply(self.column, g, g2)
        np.greater(self.out2, self.zero, masks)
        np.multiply(g2, masks, g2)
        g2.dot(self.h1_turned, self.d2)
        self.w2_turned.dot(g2, g1)
        np.greater(self.out1, self.zero, masks)
        np.multiply(g1, masks, g1)
        g1.dot(self.x_turned, self.d1)
        np.multiply(self.flat, self.decay, self.spare)
        np.add(self.slopes, self.spare, self.slopes)
        return float(value)

    def answer(self) -> tuple[float, Any]:
        return self.step(), self.slopes


class Jax:
    """The matrix form, compiled by JAX."""

    name = "JAX jit"

    def __init__(self, moons: Moons) -> None:
        jax = import_module("jax")
        jax.config.update("jax_enable_x64", True)
        jnp = import_module("jax.numpy")
        x, y = jnp.asarray(moons.points), jnp.asarray(moons.labels)

        def loss(flat: Any) -> Any:
            h = x
            for block in moons.blocks(flat):
                h = h @ block[:, :-1].T + block[:, -1]
                if block.shape[0] > 1:
                    h = jnp.maximum(h, 0.0)
            return jnp.mean(jnp.maximum(1.0 - y * h[:, 0], 0.0)) + L2 * jnp.sum(flat * flat)

        self.both, self.wait = jax.jit(jax.value_and_grad(loss)), jax.block_until_ready
        self.flat = jnp.asarray(moons.flat)

    def step(self) -> Any:
        return self.wait(self.both(self.flat))

    def answer(self) -> tuple[float, Any]:
        value, slopes = self.step()
        return float(value), np.array(slopes)


class PyTorch:
    """The matrix form in eager PyTorch."""

    name = "PyTorch"

    def __init__(self, moons: Moons) -> None:
        self.torch = torch = import_module("torch")
        torch.set_num_threads(1)
        self.moons, self.flat = moons, torch.from_numpy(moons.flat.copy()).requires_grad_()
        self.x, self.y = torch.from_numpy(moons.points), torch.from_numpy(moons.labels)

    def step(self) -> Any:
        torch, h = self.torch, self.x
        for block in self.moons.blocks(self.flat):
            h = torch.nn.functional.linear(h, block[:, :-1], block[:, -1])
            if block.shape[0] > 1:
                h = torch.relu(h)
        loss = torch.relu(1.0 - self.y * h[:, 0]).mean() + L2 * self.flat.dot(self.flat)
        self.flat.grad = None
        loss.backward()
        return loss

    def answer(self) -> tuple[float, Any]:
        return float(self.step().detach()), self.flat.grad.numpy()


class Casadi:
    """The scalar form in CasADi: SX for one point, its gradient, and both mapped over the points.

    The gradient of a map was slower than the map of gradients in every size. Arguments and results are buffers.
    """

    name = "CasADi"

    def __init__(self, moons: Moons) -> None:
        casadi = import_module("casadi")
        n, count = moons.batch, moons.flat.size
        flat, x, y = casadi.SX.sym("p", count), casadi.SX.sym("x", 2), casadi.SX.sym("y")
        h, start = [x[0], x[1]], 0
        for width, m in pairwise(SIZES):
            out = []
            for _ in range(m):
                z = flat[start + width]
                for j in range(width):
                    z = z + flat[start + j] * h[j]
                out.append(casadi.fmax(z, 0) if m > 1 else z)
                start += width + 1
            h = out
        one = casadi.fmax(1 - y * h[0], 0)
        each = casadi.Function("each", [flat, x, y], [one, casadi.gradient(one, flat)]).map(n)
        p, xs, ys = casadi.MX.sym("p", count), casadi.MX.sym("x", 2, n), casadi.MX.sym("y", 1, n)
        values, slopes = each(p, xs, ys)
        total = [casadi.sum2(values) / n + L2 * casadi.dot(p, p), casadi.sum2(slopes) / n + 2 * L2 * p]
        self.buffer, self.step = casadi.Function("total", [p, xs, ys], total).buffer()
        self.given = [moons.flat.copy(), moons.points.ravel().copy(), moons.labels.copy()]  # columns are points
        self.made = [np.zeros(1), np.zeros(count)]
        for i, given in enumerate(self.given):
            self.buffer.set_arg(i, memoryview(given))
        for i, made in enumerate(self.made):
            self.buffer.set_res(i, memoryview(made))

    def answer(self) -> tuple[float, Any]:
        self.step()
        return float(self.made[0][0]), self.made[1]


class MappedDemo(Demo):
    """The moons demo with its loss under jit and vmap: parameters are Values, as before."""

    def __init__(self) -> None:
        super().__init__(mg.Value, zero=None)
        points, labels, many = np.array(self.points), np.array(self.labels), mg.vmap(self.score)
        self.loss = mg.jit(  # type: ignore[method-assign]
            lambda: mg.relu(1.0 - labels * many(points)).mean() + L2 * sum(p * p for p in self.parameters)
        )


class JittedDemo(Demo):
    """The moons demo with its loss under jit: every point by itself, and every number."""

    def __init__(self, batch: int = 100) -> None:
        super().__init__(mg.Value, zero=None)
        self.points, self.labels = two_moons(batch)
        self.loss = mg.jit(self.loss)  # type: ignore[method-assign]


# ---- Rosenbrock's function


def rosenbrock(x: Sequence[Any]) -> Any:
    """Rosenbrock's function, number by number."""
    return sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in pairwise(x))


class ReplayedRosenbrock:
    name = "microgad"

    def __init__(self, x: Any) -> None:
        self.both, self.x = mg.jit(mg.value_and_grad(lambda x: rosenbrock(mg.unbind(x)))), x

    def step(self) -> Any:
        return self.both(self.x)

    def answer(self) -> tuple[float, Any]:
        value, slopes = self.step()
        return float(value), slopes


class CasadiRosenbrock:
    """SX with arrays of symbols, into buffers."""

    name = "CasADi"

    def __init__(self, x: Any) -> None:
        casadi = import_module("casadi")
        v = casadi.SX.sym("x", x.size)
        f = casadi.sum1(100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2)
        self.buffer, self.step = casadi.Function("both", [v], [f, casadi.gradient(f, v)]).buffer()
        self.x, self.made = x.copy(), [np.zeros(1), np.zeros(x.size)]
        self.buffer.set_arg(0, memoryview(self.x))
        for i, made in enumerate(self.made):
            self.buffer.set_res(i, memoryview(made))

    def answer(self) -> tuple[float, Any]:
        self.step()
        return float(self.made[0][0]), self.made[1]


class HandwrittenRosenbrock:
    name = "NumPy"

    def __init__(self, x: Any) -> None:
        n = x.size
        self.a, self.b = x[:-1], x[1:]
        self.d, self.e, self.spare, self.slopes = np.empty(n - 1), np.empty(n - 1), np.empty(n - 1), np.empty(n)
        self.front, self.back = self.slopes[:-1], self.slopes[1:]
        self.one, self.two, self.slope, self.bend = (np.array(c) for c in (1.0, 2.0, 200.0, -2.0))

    def step(self) -> float:
        a, d, e, spare = self.a, self.d, self.e, self.spare
        np.multiply(a, a, d)
        np.subtract(self.b, d, d)
        np.subtract(self.one, a, e)
        value = 100.0 * d.dot(d) + e.dot(e)
        self.slopes[0] = 0.0
        np.multiply(d, self.slope, self.back)  # 200 d
        np.multiply(self.back, a, spare)
        np.add(spare, e, spare)
        np.multiply(spare, self.bend, spare)
        np.add(self.front[1:], spare[1:], self.front[1:])
        self.slopes[0] = spare[0]
        return float(value)

    def answer(self) -> tuple[float, Any]:
        return self.step(), self.slopes


# ---- irregular programs


def mixture(nodes: int, seed: int = 0) -> Callable[[Sequence[Any], Any], Any]:
    """A random program of about so many operations, in which hardly any two look alike; of numbers and of a library."""
    draw = random.Random(seed)
    plan = [(draw.randrange(7), draw.random(), draw.random(), draw.uniform(0.2, 0.9)) for _ in range(nodes // 2)]

    def program(xs: Sequence[Any], lib: Any) -> Any:
        values = list(xs)
        for kind, p, q, c in plan:
            first = max(0, len(values) - 50)
            a, b = (values[first + int(u * (len(values) - first))] for u in (p, q))
            values.append(
                a + b * c if kind == 0 else a * b * c if kind == 1 else lib.tanh(a) - b if kind == 2
                else lib.sin(a - b) if kind == 3 else lib.exp(a * b * -c) if kind == 4
                else a / (1.5 + b * b) if kind == 5 else lib.cos(a) * c
            )  # fmt: skip
            if kind < 2:
                values[-1] = lib.tanh(values[-1])  # so that it stays small
        return sum(values[-10:])

    return program


class ReplayedMixture:
    name = "microgad"

    def __init__(self, nodes: int, x: Any) -> None:
        program = mixture(nodes)
        self.both, self.x = mg.jit(mg.value_and_grad(lambda x: program(mg.unbind(x), mg))), x

    def step(self) -> Any:
        return self.both(self.x)

    def answer(self) -> tuple[float, Any]:
        value, slopes = self.step()
        return float(value), slopes


class CasadiMixture(CasadiRosenbrock):
    def __init__(self, nodes: int, x: Any) -> None:
        casadi = import_module("casadi")
        v = casadi.SX.sym("x", x.size)
        f = mixture(nodes)([v[i] for i in range(x.size)], casadi)
        self.buffer, self.step = casadi.Function("both", [v], [f, casadi.gradient(f, v)]).buffer()
        self.x, self.made = x.copy(), [np.zeros(1), np.zeros(x.size)]
        self.buffer.set_arg(0, memoryview(self.x))
        for i, made in enumerate(self.made):
            self.buffer.set_res(i, memoryview(made))


def check_agreement(a: Any, b: Any, rtol: float = 1e-9) -> None:
    """Raise unless both give the same value and gradient: a wrong answer has no speed."""
    (x, dx), (y, dy) = ((value, np.array(slopes)) for value, slopes in (a.answer(), b.answer()))
    if not math.isclose(x, y, rel_tol=rtol) or not np.allclose(dx, dy, rtol=rtol, atol=rtol * np.abs(dy).max()):
        raise AssertionError(f"{a.name} and {b.name} differ: {x!r} and {y!r}, gradients by {np.abs(dx - dy).max()}")

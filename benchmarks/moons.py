"""One training step of micrograd's moons demo, written once for any class of scalar nodes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np


def two_moons(samples: int = 100, noise: float = 0.1, seed: int = 1337) -> tuple[list[list[float]], list[float]]:
    """Points on two interlocking half circles, and the label of each: -1.0 or 1.0."""
    angle = np.linspace(0.0, math.pi, samples // 2)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate([upper, [1.0, 0.5] - upper])
    points += np.random.default_rng(seed).normal(scale=noise, size=points.shape)
    return points.tolist(), [-1.0] * len(angle) + [1.0] * len(angle)


class Demo:
    """A 2-16-16-1 network of ``Value`` and its training, in the terms that both libraries share.

    `zero` is what the library's gradients are reset to: 0 in micrograd, None in microgad.
    """

    def __init__(self, value: Any, zero: Any, sizes: Sequence[int] = (2, 16, 16, 1), seed: int = 1337) -> None:
        draw = random.Random(seed)
        self.zero = zero
        self.layers = [
            [([value(draw.uniform(-1, 1)) for _ in range(n_in)], value(0.0)) for _ in range(n_out)]
            for n_in, n_out in pairwise(sizes)
        ]
        self.parameters = [p for layer in self.layers for weights, bias in layer for p in (*weights, bias)]
        self.points, self.labels = two_moons()

    def score(self, x: Any) -> Any:
        for layer in self.layers:
            x = [sum((wi * xi for wi, xi in zip(w, x, strict=True)), b) for w, b in layer]
            if layer is not self.layers[-1]:
                x = [activation.relu() for activation in x]
        return x[0]

    def loss(self) -> Any:
        losses = [
            (1 + -label * self.score(point)).relu() for point, label in zip(self.points, self.labels, strict=True)
        ]
        return sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in self.parameters)

    def step(self, rate: float = 0.1) -> float:
        """Forward, zero gradients, backward, update. The graph is freed on return: that is part of a step."""
        loss = self.loss()
        for p in self.parameters:
            p.grad = self.zero
        loss.backward()
        for p in self.parameters:
            p.data -= rate * p.grad
        return float(loss.data)


def check_agreement(a: Demo, b: Demo) -> None:
    """Raise unless a step of both gives the same loss and the same gradients: a wrong answer has no speed."""
    pairs = [("loss", a.step(), b.step())]
    pairs += [
        (f"gradient {i}", p.grad, q.grad) for i, (p, q) in enumerate(zip(a.parameters, b.parameters, strict=True))
    ]
    for what, x, y in pairs:
        if not math.isclose(x, y, rel_tol=1e-9):
            raise AssertionError(f"moons: the {what} of the two contestants differs: {x!r} and {y!r}")

"""``python -m benchmarks.accuracy [--seeds N] [task ...]``: what networks get right after training, seed by seed."""

# ruff: noqa: N803, N806, because matrices have capital names

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from statistics import mean
from time import perf_counter
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # read when NumPy is loaded

import numpy as np  # noqa: E402

import microgad as mg  # noqa: E402
from microgad import nn  # noqa: E402

from .__main__ import positive  # noqa: E402

POINT = 1.0  # how far below that of scikit-learn a mean accuracy, in percent, may be
MISSING = 'scikit-learn is not installed: pip install "microgad[bench]"'


def accuracy(model: Any, X: Any, y: Any) -> float:
    """The share of right answers in percent: the largest of the outputs, or of a single one the sign."""
    with mg.no_grad():
        if isinstance(model, nn.scalar.Module):
            out = np.array([[model(row).data] for row in X.tolist()])
        else:
            out = model(mg.Tensor(X)).data
    return 100.0 * float(np.mean(out.argmax(1) == y if out.shape[1] > 1 else (out[:, 0] > 0.0) == (y > 0)))


def line(name: str, found: Sequence[float], verdict: str, seconds: float) -> str:
    each = " ".join(f"{x:.1f}" for x in found)
    return (
        f"{f'{name:<15} mean {mean(found):.2f}  {verdict}'.rstrip()}\n    {each}; {seconds / len(found):.1f} s a seed"
    )


def words(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={x!r}" for name, x in arguments.items())


def called(function: str, call: partial[Any]) -> str:
    """A call as it is written."""
    return f"{function}({', '.join([*map(repr, call.args), *filter(None, [words(call.keywords)])])})"


@dataclass(frozen=True)
class Separation:
    """Data that a network is to separate: how much of what it was trained on is right in the end."""

    data: partial[Any]
    model: partial[Any]
    settings: Mapping[str, Any]
    seeds: int = 10
    bar: float | None = 1.0  # the share of the seeds that has to reach 100 %; None where that is only reported
    margins: bool = False  # whether targets are -1 and 1

    def run(self, seed: int) -> float:
        mg.manual_seed(seed)
        X, y = self.data()
        model = self.model()
        nn.fit(model, X, 2.0 * y - 1.0 if self.margins else y, **self.settings)
        return accuracy(model, X, y)

    def __call__(self, name: str, seeds: int | None) -> Iterator[str]:
        start = perf_counter()
        found = [self.run(seed) for seed in range(seeds or self.seeds)]
        full = sum(x == 100.0 for x in found)
        verdict = f"100 % with {full} of {len(found)} seeds"
        if self.bar is not None:
            verdict += f" (bar: {self.bar:.0%})  {'ok' if full >= self.bar * len(found) else 'BELOW'}"
        yield line(name, found, verdict, perf_counter() - start)
        kind = "scalar.MLP" if issubclass(self.model.func, nn.scalar.Module) else "MLP"
        calls = called(self.data.func.__name__, self.data), called(kind, self.model), f"fit({words(self.settings)})"
        yield f"    {', '.join(calls)}"


@dataclass(frozen=True)
class Digits:
    """Handwritten digits that were not trained on, beside scikit-learn's classifier of that size with its defaults."""

    hidden: tuple[int, ...]
    seeds: int = 5

    def __call__(self, name: str, seeds: int | None) -> Iterator[str]:
        try:
            peer = import_module("sklearn.neural_network").MLPClassifier
        except ModuleNotFoundError:
            peer = None
        settings = {"lr": 1e-3, "batch_size": 200, "epochs": 200}  # the defaults of scikit-learn
        ours, theirs, clock = [], [], [0.0, 0.0]
        for seed in range(seeds or self.seeds):
            X, held, y, labels = nn.data.train_test_split(*nn.data.digits(), seed=seed, stratify=True)
            X, held = nn.data.standardize(X, held)
            clock[0] -= perf_counter()
            mg.manual_seed(seed)
            model = nn.MLP(64, [*self.hidden, 10])
            nn.fit(model, X, y, **settings)
            clock[0] += perf_counter()
            ours.append(accuracy(model, held, labels))
            if peer is not None:
                clock[1] -= perf_counter()
                with warnings.catch_warnings(action="ignore"):  # that 200 epochs are too few
                    model = peer(self.hidden, random_state=seed).fit(X, y)
                clock[1] += perf_counter()
                theirs.append(100.0 * model.score(held, labels))
        if theirs:
            apart = mean(ours) - mean(theirs)
            verdict = f"{apart:+.2f} points (bar: {-POINT:+g})  {'ok' if apart >= -POINT else 'BELOW'}"
            yield line(name, ours, verdict, clock[0])
            yield line("  scikit-learn", theirs, "", clock[1])
        else:
            yield line(name, ours, MISSING, clock[0])
        yield f"    25 % held out, standardize, MLP(64, {[*self.hidden, 10]}), fit({words(settings)})"


LOGITS = {"loss": "bce_with_logits", "lr": 0.01, "epochs": 200}
HINGE = {"loss": "hinge", "lr": 0.02, "epochs": 30, "batch_size": 20}  # micrograd's loss
SMALL, WIDER = partial(nn.MLP, 2, [16, 16, 1]), partial(nn.MLP, 2, [32, 32, 2])
VALUES = partial(nn.scalar.MLP, 2, [16, 16, 1])
moons, xor, spirals = nn.data.moons, nn.data.xor, nn.data.spirals
TASKS: dict[str, Callable[[str, int | None], Iterator[str]]] = {
    "moons": Separation(partial(moons, 200, noise=0.1), SMALL, LOGITS, bar=0.9),
    "moons-noisy": Separation(partial(moons, 200, noise=0.2), SMALL, LOGITS, bar=None),
    "moons-values": Separation(partial(moons, 100, noise=0.1), VALUES, HINGE, seeds=3, bar=None, margins=True),
    "xor": Separation(partial(xor, 200, noise=0.1), SMALL, LOGITS),
    "spirals": Separation(partial(spirals, 200, noise=0.02), WIDER, {"lr": 0.01, "epochs": 200}),
    "digits-100": Digits((100,)),
    "digits-128-128": Digits((128, 128)),
}


def task(name: str) -> str:
    """A name of a task; ``choices=`` would reject the empty list of a call without names."""
    if name not in TASKS:
        raise argparse.ArgumentTypeError(f"no task {name!r}: choose from {', '.join(TASKS)}")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description="What networks get right after training, in percent."
    )
    parser.add_argument("tasks", nargs="*", type=task, metavar="task", help=f"{', '.join(TASKS)}; all if none is named")
    parser.add_argument("--seeds", type=positive, help="how many, from 0 on (default: 10; of Values 3, of digits 5)")
    options = parser.parse_args()
    for name in dict.fromkeys(options.tasks or TASKS):
        for text in TASKS[name](name, options.seeds):
            print(text, flush=True)


if __name__ == "__main__":
    main()

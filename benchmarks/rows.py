"""The rows of the table: what is measured, against what, and the bar it has to pass."""

from __future__ import annotations

import gc
import math
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import microgad as mg
from microgad.order import topological_order

from . import peers, replay
from .moons import Demo, check_agreement
from .timing import Duel, collector, duel

NODES = 1_000_000  # in the chain of the memory row
SETTLING = 60  # uncounted rounds, after which the times of a step stay where they are
CALLS = 100_000  # in one timing of a single operation
HEADER = f"{'row':<18}{'figure':>9}  {'min-max':<15}{'bar':<11}{'aim':<11}{'verdict':<9}medians"


@dataclass(frozen=True)
class Line:
    """One line of the table: a figure as the median of its rounds."""

    name: str
    rounds: Sequence[float]
    unit: str
    bar: float | None  # None where a figure is only reported
    medians: str
    at_least: bool = False
    aim: float | None = None

    def __str__(self) -> str:
        if not self.rounds:
            return f"{self.name:<18}{'–':>9}  {'':<15}{'':<11}{'':<11}{'':<9}{self.medians}"
        figure = median(self.rounds)
        digits = 2 if self.unit in ("x", " s") else 1
        spread = f"{min(self.rounds):.{digits}f}-{max(self.rounds):.{digits}f}" if len(self.rounds) > 1 else ""
        sign = ">=" if self.at_least else "<="
        aim = f"{sign} {self.aim:g}{self.unit}" if self.aim else ""
        verdict = "ok" if self.bar is not None else ""
        bar = f"{sign} {self.bar:g}{self.unit}" if self.bar is not None else ""
        if self.bar is not None and ((figure < self.bar) if self.at_least else (figure > self.bar)):
            verdict = "BELOW" if self.at_least else "ABOVE"
        return (
            f"{self.name:<18}{f'{figure:.{digits}f}{self.unit}':>9}  {spread:<15}"
            f"{bar:<11}{aim:<11}{verdict:<9}{self.medians}"
        )


def moons(name: str, collecting: bool, bar: float, aim: float, rounds: int, uncounted: int = 1) -> Iterator[Line]:
    """A training step of micrograd's demo, in micrograd and here.

    With the collector off the comparison favours micrograd: its graphs are cycles, which nobody frees
    while the clock runs, whereas ours is freed within its step.

    The first steps of a process find memory in order. As graph after graph is freed, the nodes of the next
    lie ever more scattered, which costs us more than micrograd; after some 50 steps that has settled. So there
    is a row after many `uncounted` rounds, too, and the others come out lower the more rounds are asked for.
    """
    peer = import_module("micrograd.engine").Value
    check_agreement(Demo(mg.Value, zero=None), Demo(peer, zero=0))
    # Both train on from the same weights, so in every round they do the same arithmetic.
    found = duel(Demo(mg.Value, zero=None).step, Demo(peer, zero=0).step, rounds, collecting, uncounted)
    ours, theirs = found.milliseconds()
    medians = f"microgad {ours:.1f} ms, micrograd {theirs:.1f} ms"
    yield Line(f"moons, {name}", found.ratios(), "x", bar, medians, at_least=True, aim=aim)


def replayed_step(name: str, make: Callable[[], Demo], bar: float, aim: float, rounds: int) -> Iterator[Line]:
    """The same step with our loss under jit. A timing is of 200 of our steps and of one of micrograd's."""
    peer = import_module("micrograd.engine").Value
    check_agreement(make(), Demo(peer, zero=0))
    found = duel(make().step, Demo(peer, zero=0).step, rounds, collecting=False, calls=(200, 1))
    ours, theirs = found.milliseconds()
    medians = f"microgad {1e3 * ours:.0f} us, micrograd {theirs:.1f} ms"
    yield Line(f"step, {name}", found.ratios(), "x", bar, medians, at_least=True, aim=aim)


def against(
    row: str, ours: Callable[[], Any], theirs: Callable[[], Any], bar: float | None, aim: float | None, rounds: int,
    at_least: bool = True,
) -> Iterator[Line]:  # fmt: skip
    """Value and gradient, here and in a peer: theirs by ours, or with ``at_least=False`` ours by theirs."""
    try:
        a, b = ours(), theirs()
    except ModuleNotFoundError as error:
        yield Line(f"{row}, {error.name} missing", [], "x", None, 'pip install "microgad[bench]"')
        return
    replay.check_agreement(a, b)
    found = duel(a.step, b.step, rounds, collecting=True, calls=(_enough(a), _enough(b)))
    yield Line(f"{row}, {b.name}", found.ratios(not at_least), "x", bar, _microseconds(found), at_least, aim)


def _enough(contestant: Any) -> int:
    """How many steps take some 10 milliseconds."""
    start = perf_counter()
    contestant.step()
    contestant.step()
    return max(1, int(0.02 / (perf_counter() - start)))


def _microseconds(found: Duel) -> str:
    ours, theirs = found.milliseconds()
    return f"{1e3 * ours:.1f} and {1e3 * theirs:.1f} us"


def moons_against(
    peer: Callable[[replay.Moons], Any], batch: int, bar: float | None, aim: float | None, rounds: int,
    at_least: bool = True,
) -> Iterator[Line]:  # fmt: skip
    """Value and gradient of the moons demo."""
    data = replay.Moons(batch)
    yield from against(f"vmap {batch}", lambda: replay.Replayed(data), lambda: peer(data), bar, aim, rounds, at_least)


def rosenbrock(rounds: int) -> Iterator[Line]:
    """Value and gradient of Rosenbrock's function of 1,000 numbers."""
    x = np.random.default_rng(0).normal(size=1000)
    ours, row = lambda: replay.ReplayedRosenbrock(x), "rosenbrock"
    yield from against(row, ours, lambda: replay.CasadiRosenbrock(x), 1.0, 2.0, rounds)
    yield from against(row, ours, lambda: replay.HandwrittenRosenbrock(x), None, None, rounds, at_least=False)


def planning(row: str, make: Callable[[], Callable[[], Any]], bar: float, aim: float, rounds: int) -> Iterator[Line]:
    """Milliseconds of the first call of a jitted function: tracing, regrouping, its derivative, and compiling."""
    times = []
    with collector(True):
        for _ in range(rounds):
            f = mg.jit(make())
            gc.collect()
            start = perf_counter()
            f()
            times.append(1e3 * (perf_counter() - start))
    yield Line(f"plan, {row}", times, " ms", bar, f"{len(mg.trace(make())):,} instructions", aim=aim)


def one_point() -> Callable[[], Any]:
    demo = Demo(mg.Value, zero=None)
    return lambda: demo.score(demo.points[0])


def unrolled(batch: int) -> Callable[[], Any]:
    demo = Demo(mg.Value, zero=None)
    demo.points, demo.labels = replay.two_moons(batch)
    return demo.loss


def scaling(rounds: int) -> Iterator[Line]:
    """From 1,000 to 1,000,000 numbers, regular and irregular: what the first call and a later one cost a number."""
    for batch in (2, 16, 154, 1538):
        times = []
        for _ in range(min(rounds, 3)):
            f = mg.jit(unrolled(batch))
            start = perf_counter()
            f().backward()
            first = perf_counter() - start
            start, count = perf_counter(), max(1, 1000 // batch)
            for _ in range(count):
                f().backward()
            times.append((first, (perf_counter() - start) / count))
        nodes = len(mg.trace(unrolled(batch)))
        first, again = (median(column) for column in zip(*times, strict=True))
        said = f"{nodes:>9,} regular: first call {first:.3f} s, later {1e6 * again:.0f} us"
        yield Line("scale, regular", [1e6 * t / nodes for t, _ in times], " us", None, said)
    x = np.random.default_rng(0).normal(size=20)
    for size in (1_000, 10_000, 100_000, 1_000_000):
        start = perf_counter()
        ours = replay.ReplayedMixture(size, x)
        ours.step()
        first = perf_counter() - start
        times = []
        for _ in range(3):
            start = perf_counter()
            ours.step()
            times.append(perf_counter() - start)
        said = f"{size:>9,} irregular: first call {first:.2f} s, later {1e3 * median(times):.2f} ms"
        yield Line("scale, irregular", [1e6 * first / size], " us", None, said)


def irregular(rounds: int) -> Iterator[Line]:
    """Irregular programs, which are straight-line Python here, and a virtual machine in CasADi."""
    x = np.random.default_rng(0).normal(size=20)
    for size in (1_000, 10_000, 100_000):
        row, ours = f"irregular {size:,}", lambda size=size: replay.ReplayedMixture(size, x)
        yield from against(row, ours, lambda size=size: replay.CasadiMixture(size, x), None, None, rounds)


def operation(on_values: str, on_floats: str, rounds: int) -> Iterator[Line]:
    """One operation on a graph that stays alive, in units of the same operation on floats.

    The loop is part of both times, and every result is kept, as a graph keeps it.
    """

    def loop(expression: str, a: Any, b: Any) -> Callable[[], object]:
        # Compiled for each contestant apart: the interpreter adapts code to the types that pass through it.
        return partial(eval(f"lambda a, b, tanh: [{expression} for _ in range({CALLS})]"), a, b, math.tanh)

    ours, theirs = loop(on_values, mg.Value(1.5), mg.Value(0.7)), loop(on_floats, 1.5, 0.7)
    found = duel(ours, theirs, rounds, collecting=False)
    each = [1e6 * milliseconds / CALLS for milliseconds in found.milliseconds()]
    medians = f"microgad {each[0]:.0f} ns, float {each[1]:.0f} ns a call"
    yield Line(f"op {on_values}", found.ratios(ours_over_theirs=True), "x", 35, medians)


def stepping(name: str, graph: Callable[[], mg.Value], rounds: int) -> Iterator[Line]:
    """Every step of the backward pass over a graph, kept in a list, in units of the backward pass itself."""
    root = graph()
    nodes = len(topological_order(root))
    found = duel(lambda: list(mg.backward_steps(root)), root.backward, rounds, collecting=True)
    ours, theirs = found.milliseconds()
    medians = f"{nodes:,} nodes: steps {ours:.1f} ms, backward {theirs:.1f} ms"
    yield Line(f"steps, {name}", found.ratios(ours_over_theirs=True), "x", 5, medians)


def sample() -> mg.Value:
    """The loss of one sample of the moons demo."""
    demo = Demo(mg.Value, zero=None)
    return (1 - demo.labels[0] * demo.score(demo.points[0])).relu()


def mixture() -> mg.Value:
    """10,000 operations of many kinds, most results used more than once."""
    draw = random.Random(0)
    values = [mg.Value(draw.uniform(-1, 1)) for _ in range(10)]
    for i in range(10_000):
        a, b = draw.choices(values[-10:], k=2)
        values.append((a + b, a * b, a - b, a.tanh(), a.relu(), a * 0.5, a / (b * b + 1.0), a.sigmoid())[i % 8])
    return sum(values[-10:], start=mg.Value(0.0))


def sums() -> mg.Value:
    """10,000 additions of one leaf: the backward pass does least here."""
    x = total = mg.Value(0.5)
    for _ in range(10_000):
        total = total + x
    return total


def modules(samples: int) -> Callable[[], mg.Value]:
    """The margin loss of a network of modules on so many points."""

    def made() -> mg.Value:
        mg.manual_seed(0)
        X, y = mg.nn.data.moons(150, noise=0.1)  # noqa: N806
        model = mg.nn.scalar.MLP(2, [16, 16, 1])
        pairs = zip(X[:samples].tolist(), (2.0 * y[:samples] - 1.0).tolist(), strict=True)
        return sum((1 - label * model(point)).relu() for point, label in pairs) / float(samples)

    return made


def without_modules() -> mg.Value:
    """The same as the loss of micrograd's demo, with nothing that says what belongs together."""
    demo = Demo(mg.Value, zero=None)
    points = zip(demo.points * 2, demo.labels * 2, strict=True)  # 200 of them
    return sum((1 - y * demo.score(x)).relu() for x, y in list(points)[:150])


def irregular_graph() -> mg.Value:
    """100,000 operations that are drawn at random."""
    draw = random.Random(0)
    values = [mg.Value(draw.uniform(-1, 1)) for _ in range(20)]
    while len(values) < 100_000:
        a, b = draw.choices(values[-500:], k=2)
        values.append((a + b, a - b, a * 0.5, a.tanh(), (a * b).tanh())[draw.randrange(5)])
    return sum(values[-50:], start=mg.Value(0.0))


def deep() -> mg.Value:
    """100,000 operations in a row."""
    x = mg.Value(0.5)
    for _ in range(100_000):
        x = x.tanh()
    return x


def drawing(name: str, graph: Callable[[], mg.Value], bar: float, rounds: int) -> Iterator[Line]:
    """The picture of a large graph as SVG, after a backward pass."""
    root = graph()
    root.backward()
    nodes, times = len(topological_order(root)), []
    for _ in range(min(rounds, 5)):
        start = perf_counter()
        drawn = mg.viz.draw(root)
        drawn.pipe("svg")
        times.append(perf_counter() - start)
    said = drawn.alt.split(":")[0].removeprefix("Computation graph of ")
    yield Line(f"draw, {name}", times, " s", bar, said if "boxes" in said else f"{nodes:,} nodes")


def chain() -> mg.Value:
    x = mg.Value(1.0)
    for _ in range(NODES):
        x = x * 1.0000001
    return x


def memory(rounds: int) -> Iterator[Line]:
    """Bytes for each node of a long chain, and the seconds it takes where nothing is traced."""
    times = []
    with collector(False):
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        x = chain()
        forward = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.reset_peak()
        x.backward()
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        del x
        for _ in range(min(rounds, 5)):
            gc.collect()
            clock = [perf_counter()]
            x = chain()
            clock.append(perf_counter())
            x.backward()
            clock.append(perf_counter())
            del x
            clock.append(perf_counter())
            times.append([stop - start for start, stop in pairwise(clock)])
    build, backward, free = (median(column) for column in zip(*times, strict=True))
    yield Line("memory, forward", [forward / NODES], " B", 115, f"a node; build {build:.2f} s, free {free:.2f} s")
    yield Line("memory, backward", [peak / NODES], " B", 170, f"a node, at the peak; backward {backward:.2f} s")


def importing(rounds: int) -> Iterator[Line]:
    """What ``import microgad`` adds to ``import numpy``, each time in a fresh interpreter.

    Both are timed in the same child, one after the other, so what they share is numpy's.
    """
    code = (
        "from time import perf_counter as now; start = now(); import numpy; between = now(); import microgad; "
        "stop = now(); print(between - start, stop - between)"
    )
    root = Path(mg.__file__).parents[1]  # so that the child finds the copy that is measured here

    def child() -> list[float]:
        out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
        return [1e3 * float(word) for word in out.split()]

    child()  # the first may have to compile
    numpy, added = zip(*(child() for _ in range(max(rounds, 7))), strict=True)
    yield Line("import", added, " ms", 40, f"on top of numpy's {median(numpy):.0f} ms")


def mlp(
    sizes: Sequence[int], batch: int, dtype: str, by_hand: float, rounds: int, adam: bool = False
) -> Iterator[Line]:
    """A training step of a classifier in Tensors, against each peer; a timing is of 20 steps, as in training."""
    problem = peers.Problem(sizes, batch, dtype)
    steps = 20
    bars: dict[Any, tuple[float, bool]] = {
        peers.Handwritten: (by_hand, False),
        peers.HandwrittenAdam: (by_hand, False),
        peers.PyTorch: (2.5, True),
        peers.PyTorchAdam: (2.5, True),
    }
    name = "adam" if adam else "mlp"
    for make in peers.ADAM if adam else peers.PEERS:
        ours: Any = peers.Modules(problem) if adam else peers.Microgad(problem)
        try:
            theirs = make(problem)
        except ModuleNotFoundError as error:
            yield Line(f"{name}, {error.name} missing", [], "x", None, 'pip install "microgad[bench]"')
            continue
        peers.check_agreement(ours, theirs, 1e-5 if dtype == "float32" else 1e-12)

        def many(contestant: Any) -> None:
            for _ in range(steps):
                contestant.step()

        found = duel(partial(many, ours), partial(many, theirs), rounds, collecting=True)
        microseconds = [1e3 * x / steps for x in found.milliseconds()]
        medians = f"{batch} x {'-'.join(map(str, sizes))}, {dtype}: {microseconds[0]:.0f} and {microseconds[1]:.0f} us"
        bar, faster = bars.get(make, (None, True))
        if dtype == "float32" or (faster and batch != 32):
            bar = None
        ratios = found.ratios(ours_over_theirs=not faster)
        yield Line(f"{name}, {theirs.name}", ratios, "x", bar, medians, at_least=faster)


def mlp_replayed(
    ours: Callable[[peers.Problem], Any], theirs: Callable[[peers.Problem], Any], row: str, bar: float | None,
    rounds: int,
) -> Iterator[Line]:  # fmt: skip
    """A training step of a classifier in Tensors under jit; a timing is of 20 steps."""
    problem = peers.Problem(SMALL, 32, "float64")
    try:
        a, b = ours(problem), theirs(problem)
    except ModuleNotFoundError as error:
        yield Line(f"{row}, {error.name} missing", [], "x", None, 'pip install "microgad[bench]"')
        return
    peers.check_agreement(a, b, 1e-12)
    found = duel(a.step, b.step, rounds, collecting=True, calls=(20, 20))
    aim = 0.9 if bar is not None else None
    by_hand = "NumPy" in b.name
    yield Line(f"{row}, {b.name}", found.ratios(ours_over_theirs=by_hand), "x", bar, _microseconds(found), aim=aim)


def mlp_memory(sizes: Sequence[int], batch: int, rounds: int) -> Iterator[Line]:
    """The peak of a step over what stays, in units of the activations and gradients of hand-written code."""
    problem = peers.Problem(sizes, batch, "float64")
    ours, theirs = peers.Microgad(problem), peers.Handwritten(problem)
    ours.step()
    for p in ours.parameters:
        p.grad = None
    with collector(False):
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        ours.step()
        peak = tracemalloc.get_traced_memory()[1] - before
        left = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    size = f"{batch} x {'-'.join(map(str, sizes))}"
    kilobytes = f"{size}: peak {peak / 1e3:,.0f} kB, after it {left / 1e3:,.0f} kB"
    yield Line("mlp memory", [peak / theirs.buffers_one_by_one()], "x", 1.2, kilobytes)
    yield Line("mlp mem, in place", [peak / theirs.buffers()], "x", None, f"{size}: against activations in place")


SMALL, LARGE = (64, 128, 128, 10), (784, 256, 128, 10)
ROWS: dict[str, Callable[[int], Iterator[Line]]] = {
    "moons-off": partial(moons, "gc off", False, 2.5, 4.0),
    "moons-on": partial(moons, "gc on", True, 10.0, 18.0),
    "moons-settled": partial(moons, "settled", False, 2.5, 4.0, uncounted=SETTLING),
    "mul": partial(operation, "a * b", "a * b"),
    "mul-int": partial(operation, "a * 2", "a * 2"),
    "sub-from": partial(operation, "2.0 - a", "2.0 - a"),
    "div": partial(operation, "a / b", "a / b"),
    "pow": partial(operation, "a ** 2", "a ** 2"),
    "tanh": partial(operation, "a.tanh()", "tanh(a)"),
    "steps-sample": partial(stepping, "sample", sample),
    "steps-mixture": partial(stepping, "mixture", mixture),
    "steps-sums": partial(stepping, "sums", sums),
    "mlp-32": partial(mlp, SMALL, 32, "float64", 1.15),
    "mlp-32-single": partial(mlp, SMALL, 32, "float32", 1.15),
    "mlp-256": partial(mlp, SMALL, 256, "float64", 1.05),
    "mlp-784": partial(mlp, LARGE, 128, "float64", 1.05),
    "adam-32": partial(mlp, SMALL, 32, "float64", 1.15, adam=True),
    "adam-784": partial(mlp, LARGE, 128, "float64", 1.15, adam=True),
    "mlp-memory-32": partial(mlp_memory, SMALL, 32),
    "mlp-memory-256": partial(mlp_memory, SMALL, 256),
    "mlp-memory-784": partial(mlp_memory, LARGE, 128),
    "step-unrolled": partial(replayed_step, "unrolled", replay.JittedDemo, 300, 1000),
    "step-vmap": partial(replayed_step, "vmap", replay.MappedDemo, 700, 1000),
    "vmap-numpy": partial(moons_against, replay.Handwritten, 100, 1.3, 1.0, at_least=False),
    "vmap-casadi": partial(moons_against, replay.Casadi, 100, 5, 8),
    "vmap-casadi-1000": partial(moons_against, replay.Casadi, 1000, 10, 30),
    "vmap-jax": partial(moons_against, replay.Jax, 100, 1.0, 1.5),
    "vmap-torch": partial(moons_against, replay.PyTorch, 100, 4, 7),
    "rosenbrock": rosenbrock,
    "mlp-jit": partial(mlp_replayed, peers.Functional, peers.Handwritten, "mlp jit", 1.0),
    "mlp-jit-torch": partial(mlp_replayed, peers.Functional, peers.BarePyTorch, "mlp jit", None),
    "mlp-jit-modules": partial(mlp_replayed, peers.Replayed, peers.Handwritten, "modules jit", None),
    "adam-jit": partial(mlp_replayed, peers.ReplayedAdam, peers.HandwrittenAdam, "adam jit", None),
    "plan-point": partial(planning, "one point", one_point, 20, 5),
    "plan-unrolled": partial(planning, "unrolled", partial(unrolled, 100), 500, 200),
    "plan-million": lambda rounds: planning("million", partial(unrolled, 1538), 6000, 3000, min(rounds, 3)),
    "scaling": scaling,
    "irregular": irregular,
    "draw-sample": partial(drawing, "sample", modules(1), 1.0),
    "draw-modules": partial(drawing, "modules", modules(150), 2.0),
    "draw-plain": partial(drawing, "no modules", without_modules, 2.0),
    "draw-irregular": partial(drawing, "irregular", irregular_graph, 2.0),
    "draw-deep": partial(drawing, "deep", deep, 2.0),
    "memory": memory,
    "import": importing,
}

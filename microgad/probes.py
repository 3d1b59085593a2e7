"""A function of nested arguments as one of a vector of numbers, and its derivatives along directions in that space."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import Any, NamedTuple

import numpy as np

from .agreement import added
from .array_functions import as_array
from .autodiff import adjoints
from .differences import HALF_UNIT, WRONG, Slope, differences, verdict
from .errors import DomainError, GradCheckError, InputError, shown
from .naming import FEW, Text
from .naming import number as plain
from .node import Node
from .primitive import Primitive
from .primitives import identity
from .structural import item
from .tensor import Tensor
from .transforms import grad
from .trees import tree_flatten, tree_map, trees_of
from .value import Value

EACH = 32  # numbers, of which each is checked, and each pair
SAMPLE, DIRECTIONS = 12, 4  # of more: single numbers, and directions in which all of them move
SEED = 0  # of the sample, of the directions, and of the weights of a result of several numbers

Vector = np.ndarray[Any, np.dtype[np.float64]]
Path = tuple[int, ...]  # probes, in the order of differentiation


class Probe(NamedTuple):
    """A direction: that of one number, or one in which several move."""

    label: str
    at: int | None  # the place of the number
    way: Vector | None  # how the others move


def number(x: Any, what: str = "the result of the function") -> float:
    """One number as a float; else an error."""
    if isinstance(x, Tensor) and x.size == 1:
        return x.item()
    try:
        return float(x.data if isinstance(x, Value) else Value.constant(x))
    except InputError:
        raise InputError(f"{what} is not one number but {shown(x)}") from None


def _plain(x: Any, where: str, what: str) -> Any:
    """An argument, or a part of one, as a float or an array of floats."""
    try:
        if isinstance(x, (Tensor, np.ndarray)):
            return as_array(x._value if isinstance(x, Tensor) else x, np.float64)
        return number(x)
    except InputError:
        raise InputError(f"{where} is not {what} but {shown(x)}") from None


class Probes:
    """A function at a point, and the directions in which it is looked at."""

    def __init__(self, f: Callable[..., Any], args: Sequence[Any]) -> None:
        self.f, self.weighted = f, False
        self.structures, self.given, self.labels = [], [], list[tuple[str, str]]()
        names = _parameters(f)
        for i, arg in enumerate(args):
            if arg is None:
                raise InputError(f"argument {i} is not one number but {shown(arg)}")
            leaves, structure = tree_flatten(arg)
            self.structures.append(structure)
            for k, x in enumerate(leaves):
                place = structure.place(k)
                what = "a number or an array" if place else "one number"
                self.given.append(_plain(x, f"argument {i}{place}", what))
                self.labels.append((names[i] + place if i < len(names) else "", f"argument {i}{place}"))
        shown_args = [tree_map(_text, tree) for tree in self.trees(self.given)]
        where = ", ".join(map(repr, shown_args))
        self.where = where if len(where) <= 400 else f"{where[:400]} …"
        self.at = f"({self.where}{',' * (len(args) == 1)})"
        sizes = [np.size(x) for x in self.given]
        self.cuts = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
        self.point: Vector = np.concatenate([np.zeros(0), *map(np.ravel, self.given)])
        if not self.point.size or not np.isfinite(self.point).all():
            raise InputError(f"derivatives are checked at one finite number or more, not at {self.at}")
        try:
            inspect.signature(f).bind(*args)
        except TypeError as error:
            raise InputError(f"{shown(f)} is no function of {len(args)} arguments: {error}") from None
        except ValueError:
            pass  # it does not tell

    # ---- the arguments, and the vector of their numbers

    def trees(self, leaves: Sequence[Any]) -> list[Any]:
        """Leaves as the arguments that they are of."""
        return trees_of(self.structures, leaves)

    def leaves(self, vector: Vector) -> list[Any]:
        """A vector as the numbers and arrays of the arguments."""
        parts = zip(self.given, self.cuts, self.cuts[1:], strict=False)
        return [float(vector[i]) if type(x) is float else vector[i:j].reshape(x.shape) for x, i, j in parts]

    def label(self, i: int) -> str:
        """What a message calls number `i`."""
        leaf = self.leaf(i)
        at = self.index(i)
        called = f"[{', '.join(map(str, at))}]" if at else ""
        name, argument = self.labels[leaf]
        return f"{name}{called} ({argument}{called})" if name else f"{argument}{called}"

    def leaf(self, i: int) -> int:
        """In which leaf number `i` stands."""
        return int(np.searchsorted(self.cuts, i, side="right")) - 1

    def index(self, i: int) -> tuple[int, ...]:
        """At which index of its leaf number `i` stands."""
        leaf = self.leaf(i)
        return tuple(map(int, np.unravel_index(i - self.cuts[leaf], np.shape(self.given[leaf]))))

    def hidden(self, i: int | None) -> str:
        """Number `i`, where the message does not show all of it."""
        some = i is not None and self.index(i)
        return f", where that is {float(self.point[i])!r}" if some else ""

    def probes(self, order: int) -> list[Probe]:
        """The directions for derivatives of some order: all numbers where they are few, or else a sample."""
        n, rng = self.point.size, np.random.default_rng(SEED)
        most = EACH if order <= 2 else max(2, int(36 ** (1 / (order - 1)) + 1e-9))
        if n <= most or all(type(x) is float for x in self.given):
            return [Probe(self.label(i), i, None) for i in range(n)]
        alone, ways = (SAMPLE, DIRECTIONS) if order <= 2 else (most - 1, 1)
        first = [int(rng.integers(i, j)) for i, j in zip(self.cuts, self.cuts[1:], strict=False) if i < j][:alone]
        rest = (int(i) for i in rng.permutation(n) if i not in first)
        found = [Probe(self.label(i), i, None) for i in sorted([*first, *islice(rest, alone - len(first))])]
        every = f"all {n:,} numbers, along direction"
        moves = (rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 1.0, n) for _ in range(ways))
        return found + [Probe(f"{every} {k}", None, way) for k, way in enumerate(moves)]

    # ---- the function, and its derivatives along probes

    def __call__(self, xs: Sequence[Any]) -> Any:
        """The function of numbers, arrays or nodes, which gives one number."""
        nodes = [x if isinstance(x, Node) else Value(x) if type(x) is float else Tensor(x) for x in xs]
        out = self.f(*self.trees(nodes))
        if not isinstance(out, Tensor) or out.size == 1:
            return out
        if not out.size:
            raise InputError(f"the result of the function is not one number but {shown(out)}")
        self.weighted = True
        return (out * np.random.default_rng(SEED).uniform(0.5, 1.5, out.shape)).sum()

    def gradient(self, g: Callable[[list[Any]], Any], vector: Vector) -> Vector:
        """The derivatives of `g` by all numbers."""
        return np.concatenate([np.zeros(0), *map(np.ravel, grad(g)(self.leaves(vector)))])

    def along(self, g: Callable[[list[Any]], Any], probe: Probe) -> Callable[[list[Any]], Any]:
        """The derivative of `g` along a probe, as a function to be differentiated again."""
        return lambda xs: self.part(grad(g)(xs), probe)

    def part(self, parts: Sequence[Any], probe: Probe) -> Any:
        """What moves along a probe: of numbers, arrays or nodes in the places of the arguments."""
        if probe.at is not None:
            x, at = parts[self.leaf(probe.at)], self.index(probe.at)
            if isinstance(x, Tensor):
                return item.given(at=at)(x)
            return float(x[at]) if isinstance(x, np.ndarray) else x
        assert probe.way is not None
        ways = zip(parts, self.leaves(probe.way), strict=True)
        return sum(x * way if type(way) is float else (x * way).sum() for x, way in ways)

    def moved(self, probe: Probe, z: float) -> Vector:
        """The point with one number set to z, or z steps along a direction."""
        if probe.way is not None:
            return self.point + z * probe.way
        vector = self.point.copy()
        vector[probe.at] = z
        return vector

    def slopes(self, order: int, rtol: float, atol: float) -> Iterator[tuple[list[str], int | None, Slope]]:
        """Each derivative of an order, found in two ways: by what, at which number, and how they compare."""
        level = _Level(self, order)
        for path in product(range(len(level.probes)), repeat=order - 1):
            before = [level.probes[k].label for k in path]
            for j, probe in enumerate(level.probes):
                slope = level.slope(path, probe, rtol, atol, level.values_along(j, path))
                if slope.fault == WRONG and probe.at is None:
                    probe, slope = level.narrowed(path, probe, slope, rtol, atol)
                yield [*before, probe.label], probe.at, slope


class _Level:
    """The derivatives of one order less than those that are checked: what their finite differences are of."""

    def __init__(self, of: Probes, order: int) -> None:
        self.of, self.order, self.probes = of, order, of.probes(order)
        self.functions: dict[Path, Callable[[list[Any]], Any]] = {(): of}
        self.gradients: dict[Path, Vector] = {}
        self.known: dict[tuple[int, float], Any] = {}
        self.here = self.values(of.point)
        if not np.isfinite(self.here).all():
            bad = next(float(x) for x in self.here.flat if not math.isfinite(x))
            raise GradCheckError(f"the function is {bad} at {of.at}: finite differences need a finite number")
        again = self.values(of.point)
        if not np.array_equal(self.here, again):
            x, y = next((float(x), float(y)) for x, y in zip(self.here.flat, again.flat, strict=True) if x != y)
            raise GradCheckError(f"the function is not deterministic: at {of.at} it gave {x!r}, then {y!r}")
        self.noise = self._noise()

    def function(self, path: Path) -> Callable[[list[Any]], Any]:
        """The derivative along the probes of a path."""
        if path not in self.functions:
            self.functions[path] = self.of.along(self.function(path[:-1]), self.probes[path[-1]])
        return self.functions[path]

    def values(self, vector: Vector) -> Vector:
        """At a point the derivatives of one order less, an axis for each time: from one gradient all of the last."""
        if self.order == 1:
            return np.array(number(self.of(self.of.leaves(vector))))
        n, rows = len(self.probes), []
        for path in product(range(n), repeat=self.order - 2):
            parts = grad(self.function(path))(self.of.leaves(vector))
            rows.append([number(self.of.part(parts, probe)) for probe in self.probes])
        return np.array(rows).reshape((n,) * (self.order - 1))

    def values_along(self, j: int, path: Path) -> Callable[[float], float]:
        """One of these derivatives as a function of how far probe `j` has moved; all of them are found at once."""

        def value(z: float) -> float:
            if (j, z) not in self.known:
                try:
                    self.known[j, z] = self.values(self.of.moved(self.probes[j], z))
                except (ValueError, ArithmeticError) as error:  # past the end of the domain
                    self.known[j, z] = error
            found = self.known[j, z]
            if isinstance(found, Exception):
                raise found
            return float(found[path])

        return value

    def slope(
        self, path: Path, probe: Probe, rtol: float, atol: float, value: Callable[[float], float] | None = None
    ) -> Slope:
        """The derivative along a path, differentiated along a probe in two ways."""
        if path not in self.gradients:
            self.gradients[path] = self.of.gradient(self.function(path), self.of.point)
        gradient, noise = self.gradients[path], float(self.noise[path])
        if probe.at is not None:
            got, x = float(gradient[probe.at]), float(self.of.point[probe.at])
        else:
            assert probe.way is not None
            got, x = float(probe.way @ gradient), 0.0
            noise += HALF_UNIT * float(np.sum(np.abs(self.of.point * gradient), where=probe.way != 0.0))
        g = self.function(path)
        one = value or (lambda z: number(g(self.of.leaves(self.of.moved(probe, z)))))
        return verdict(got, *differences(one, x, float(self.here[path]), noise), rtol, atol)

    def narrowed(self, path: Path, probe: Probe, slope: Slope, rtol: float, atol: float) -> tuple[Probe, Slope]:
        """Of the numbers that a probe moves those, if possible the one, whose derivative is wrong."""
        assert probe.way is not None
        moving = np.flatnonzero(probe.way)
        while probe.way is not None:
            for half in (moving[: len(moving) // 2], moving[len(moving) // 2 :]):
                if len(half) == 1:
                    found = Probe(self.of.label(int(half[0])), int(half[0]), None)
                else:
                    ends = f"{self.of.label(int(half[0]))} to {self.of.label(int(half[-1]))}"
                    way = np.zeros_like(self.of.point)
                    way[half] = probe.way[half]
                    found = Probe(f"{len(half):,} numbers together, {ends}", None, way)
                at_half = self.slope(path, found, rtol, atol)
                if at_half.fault == WRONG:
                    moving, probe, slope = half, found, at_half
                    break
            else:
                break
        return probe, slope

    def _noise(self) -> Vector:
        """What rounding may do: each operation is off by half a unit, which reaches the result times its adjoint."""
        nodes = [Value(x) if type(x) is float else Tensor(x, requires_grad=True) for x in self.of.leaves(self.of.point)]
        if self.order == 1:
            return np.array(_rounding(self.of(nodes)))
        n, rows = len(self.probes), []
        for path in product(range(n), repeat=self.order - 2):
            parts = grad(self.function(path))(nodes)
            rows.append([_rounding(self.of.part(parts, probe)) for probe in self.probes])
        return np.array(rows).reshape((n,) * (self.order - 1))


def _rounding(root: Any) -> float:
    try:
        found = adjoints(root) if isinstance(root, Node) else {}
    except DomainError:  # by a Value that is no argument
        found = {root: 1.0}
    total = 0.0
    for x, by in found.items():
        if x.prim not in (None, identity):
            size = np.abs(x._value) if type(x._value) is float else np.fmax(np.abs(x._value), added(x))
            term = float(np.sum(size * np.abs(by)))
            total += term if term < math.inf else 0.0
    return HALF_UNIT * total


def _parameters(f: Any) -> list[str]:
    try:
        found = list(inspect.signature(f.array if isinstance(f, Primitive) else f).parameters.values())
    except (ValueError, TypeError):
        return []
    return [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _text(x: Any) -> Text:
    """A number of the point, a small array with a few digits, or the shape of a large one."""
    return Text(repr(x) if type(x) is float else plain(x) if x.size <= FEW else f"array{x.shape}")

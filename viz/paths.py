"""What is highlighted in a network, and the paths from there to its result."""

from __future__ import annotations

import difflib
import re
from typing import Any

import numpy as np

from microgad.errors import InputError, shown, spell
from microgad.naming import listed, literal
from microgad.node import Node

from .layers import Cells, Chain, Layer, Numbers, Skip

Source = tuple[str, int, int, int]  # where a path begins: "weight", "bias", "z" or "y", layer, neuron, input


class Paths:
    """The paths from what is highlighted to the result.

    Attributes
    ----------
    z, y : list of array of bool
        By layer, which circles they go through.
    count : int
        How many there are.
    """

    def __init__(self, chain: Chain, what: Any) -> None:
        layers, result = chain.layers, chain.result
        self.sources = {} if what is None else _sources(chain, what)
        whole = literal(what if isinstance(what, str) else spell(what))
        self.name = _address(chain, *next(iter(self.sources))) if len(self.sources) == 1 else whole
        # From each circle, how many paths lead to the result; backward, as gradients go. Python's integers: of deep
        # networks there are very many.
        self.from_z = [np.zeros(layer.size, object) for layer in layers]
        self.from_y = [np.zeros(layer.size, object) for layer in layers]
        self.from_y[-1] += 1
        for skip in result.skips if result is not None else ():
            self._before(skip, self.from_z, self.from_y)[:] += 1
        for level in range(len(layers) - 1, 0, -1):
            ways, together = self.from_y[level], self.from_y[level].sum()
            self.from_z[level] += together if layers[level].mixes else ways
            for skip in layers[level].skips:
                self._before(skip, self.from_z, self.from_y)[:] += together if skip.mixed else ways
            self.from_y[level - 1] += self.from_z[level].sum()
        # Which of them the highlighted ones reach; forward.
        self.z = [np.zeros(layer.size, bool) for layer in layers]
        self.y = [np.zeros(layer.size, bool) for layer in layers]
        self.count = 0
        for part, level, i, _ in self.sources:
            self.count += (self.from_y if part == "y" else self.from_z)[level][i]
            (self.y if part == "y" else self.z)[level][i] = True
        for level in range(1, len(layers)):  # of which direct paths reach none that the layers do not
            self.z[level] |= self.y[level - 1].any()
            self.y[level] |= self.z[level].any() if layers[level].mixes else self.z[level]

    def _before(self, skip: Skip, z: list[Numbers], y: list[Numbers]) -> Numbers:
        return (z if skip.early else y)[skip.layer]

    def weight(self, level: int, i: int, j: int) -> bool:
        """Whether a path goes along a weight, or begins with it."""
        return bool(self.y[level - 1][j]) or ("weight", level, i, j) in self.sources

    def bias(self, level: int, i: int) -> bool:
        """Whether a path begins with a bias."""
        return ("bias", level, i, 0) in self.sources

    def skip(self, skip: Skip) -> bool:
        """Whether a path goes along a residual connection."""
        return bool(self._before(skip, self.z, self.y).any())


def _sources(chain: Chain, what: Any) -> dict[Source, None]:
    """What is highlighted, number by number."""
    found: list[Source] = []
    if isinstance(what, Node):
        for cells in chain.cells:
            found += _numbers_of(chain, cells, ()) if cells.leaf is what else []
        found = found or [(*place, 0) for place in chain.nodes.get(what, ())]
        if not found:
            raise InputError(f"{literal(spell(what))} is no parameter, input or neuron of this network")
        return dict.fromkeys(found)
    if not isinstance(what, str):
        raise InputError(f"highlight is a name, a Value or a Tensor, not {shown(what)}")
    for name, index in _readings(what):
        named = [cells for cells in chain.cells if name in cells.names]
        named = [cells for cells in named if cells.leaf is not None] or named
        levels = [level for level, layer in enumerate(chain.layers) if layer.name == name and not named]
        of = named[0].places.shape if named else _positions(chain.layers[levels[0]]).shape if levels else ()
        try:
            for cells in named:
                found += _numbers_of(chain, cells, index)
            for level in levels:
                rows = np.ravel(_positions(chain.layers[level])[index])
                found += [("z" if level else "y", level, int(i), 0) for i in rows if i >= 0]
            if (named or levels) and not found:
                raise IndexError
        except IndexError:
            raise InputError(f"{literal(name)} of shape {of} has no index {what[len(name) :]}") from None
        if found:
            return dict.fromkeys(found)
    known = list(dict.fromkeys([x for cells in chain.cells for x in cells.names] + [x.name for x in chain.layers]))
    stem = _readings(what)[-1][0]
    near = difflib.get_close_matches(stem, known, 1)
    advice = f"did you mean {literal(near[0] + what[len(stem) :])}?" if near else f"it has {literal(listed(known))}"
    raise InputError(f"the network has nothing named {literal(what)!r}: {advice}")


def _readings(what: str) -> list[tuple[str, tuple[Any, ...]]]:
    """A name as it stands, and as a name with an index."""
    found = re.fullmatch(r"(.*?)\[([-\d\s,:]*)\]", what, re.DOTALL)
    parts = [part.strip() for part in found[2].split(",")] if found else []
    readings: list[tuple[str, tuple[Any, ...]]] = [(what, ())]
    if found and all(re.fullmatch(r"-?\d{1,18}|:", part) for part in parts):
        readings.append((found[1], tuple(slice(None) if part == ":" else int(part) for part in parts)))
    return readings


def _numbers_of(chain: Chain, cells: Cells, index: tuple[Any, ...]) -> list[Source]:
    """Numbers of a parameter as beginnings of paths."""
    wide = chain.layers[cells.layer - 1].size if cells.part == "weight" else 1
    places = np.ravel(cells.places[index])
    return [(cells.part, cells.layer, *divmod(int(place), wide)) for place in places if place >= 0]


def _positions(layer: Layer) -> Numbers:
    """By the index of a neuron where it stands in its column; -1 for those that are not used."""
    found = np.full(max(layer.indices) + 1, -1)
    found[layer.indices] = range(layer.size)
    return found


def _address(chain: Chain, part: str, level: int, i: int, j: int) -> str:
    """What one weight, bias or neuron is called."""
    for cells in chain.cells:
        if (cells.part, cells.layer) == (part, level) and cells.names:
            at = np.argwhere(cells.places == (i * chain.layers[level - 1].size + j if part == "weight" else i))
            if len(at):
                return literal(cells.names[0]) + (f"[{', '.join(map(str, at[0]))}]" if at.size else "")
    layer = chain.layers[level]
    return f"{'y of ' if part == 'y' and level else ''}{literal(layer.name)}[{layer.indices[i]}]"

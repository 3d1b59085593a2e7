"""A small network as textbooks draw it: columns of neurons, each two circles, and a line for each weight."""

from __future__ import annotations

import difflib
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from microgad.agreement import outdated
from microgad.errors import GraphSizeError, InputError, shown, spell
from microgad.naming import columns, counted, listed, literal, magnitude, number
from microgad.node import Node

from .graph import FONT, escaped
from .layers import Cells, Chain, Layer, Numbers, Skip, of_model, of_result
from .render import Drawing
from .shapes import _width as width_of
from .theme import THEMES

MOST, FIRST, LAST = 12, 5, 3  # neurons of a column; of a longer one so many from its beginning and its end
FEW = 30  # weights between two columns that carry their numbers
LIMIT = 50  # layers
DIGITS, ROOM = 4, 7  # of a number in a circle, and how many characters it may have
WRAP = 60  # characters of a line below the picture, at least
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
# In points. The radius of a circle with a symbol alone, with a number, and with its gradient, too.
RADII = (17.0, 27.0, 32.0)
BAR, WIDEST_BAR, WIDEST_HEAD = 26.0, 120.0, 220.0  # between the circles of a neuron, and above them
BETWEEN, AIRY = 16.0, 68.0  # below a neuron; and where there are few, and lines between them carry numbers
GAP, LONGEST, ALONG = 90.0, 330.0, 100.0  # between columns; and the room for a label to move along its line
LANE = 24.0  # between the lines of skip connections
NAME, NUMBER, SMALL, HIGH = 13, 12, 10, 14.0  # sizes of type, and the height of a line of the smallest
# The width of a line: of the smallest weight, the largest and one that is no number; of others; more on a marked path.
THIN, THICK, PLAIN, BOLD, MARK = 0.8, 3.6, 1.0, 1.4, 2.6


class Palette(NamedTuple):
    """What a network needs besides the colours of its theme: for lines and numbers, and behind text."""

    positive: str
    negative: str
    above: str  # the fill of a circle with the largest number
    below: str  # and with the smallest, if that is below 0


PALETTES = {
    "light": Palette("#0b5cad", "#9a4a00", "#a9cef4", "#f6cda2"),
    "dark": Palette("#7ab8ff", "#ffb454", "#1d4a78", "#6b4510"),
    "colorblind": Palette("#005b8f", "#8a3f72", "#a6d8f2", "#ecc3dc"),  # blue, and a darker reddish purple
}


class Network(Drawing):
    """The picture that `network` makes: a notebook shows it, and `save` writes it.

    Attributes
    ----------
    text : str
        Layer by layer a table of all numbers: weights, biases, z, y and gradients.
    alt : str
        What the picture shows, in words.
    """


def network(
    model: Any,
    x: Any = None,
    *,
    highlight: Node | str | None = None,
    theme: str = "light",
    labels: bool | None = None,
    grads: bool | None = None,
) -> Network:
    """A neural network as columns of neurons, from the inputs at the left to the loss at the right.

    A neuron is two circles: z at the left is what its weights and its bias make of the layer before, and y at the right
    what the activation makes of that. A line is a weight: the wider, the larger its size; it is solid where the weight
    is positive and dashed where it is negative, and the colours differ as well. The square below a neuron is its bias.
    Indices count from 0: z₁ of ``layers.0`` is the neuron ``layers.0[1]``, and ``layers.0.weight[1, 0]`` is the weight
    from y₀ of the layer before to it.

    Parameters
    ----------
    model : Module, callable, Value or Tensor
        A model: `nn.MLP`, `nn.Sequential`, a module of your own, `nn.scalar.MLP`, or a function. Or a result, such as a
        loss: then the network is found in its graph, and the result stands at the right.
    x : array, Tensor or list, shape (n,) or (m, n), optional
        Of a model, one example, or a batch of m: circles then hold numbers, which are means over the examples. The
        model is run in `eval` mode, and nothing of it changes.
    highlight : str, Value or Tensor, optional
        A weight, a bias or a neuron, whose paths to the result are marked by colour and by thicker lines:
        ``"layers.0.weight[1, 0]"``, ``"layers.0.bias[1]"``, ``"layers.0[1]"``, ``"inputs[0]"``, another name of
        `named_parameters`, or the leaf itself. A name without an index is the whole parameter.
    theme : {"light", "dark", "colorblind"}
        Colours.
    labels : bool, optional
        Whether weights and biases carry their numbers; by default biases do, and weights where there are up to 30
        between two columns.
    grads : bool, optional
        Whether to show gradients: δ = ∂L/∂z and ∂L/∂y of neurons, which only a result has, and those of weights and
        biases. Of a result they are dashes by default, until it has a gradient itself; of a model they are left out,
        until a parameter has one. Those of neurons are sums over the examples, as that of a bias is.

    Returns
    -------
    Network
        A notebook shows it as a picture, ``.save("net.svg")`` writes it as SVG, PNG, PDF or DOT, ``.source`` is the DOT
        text, ``.text`` a table of all numbers, and ``.alt`` a description.

    Raises
    ------
    InputError
        If `model` is neither, it cannot be run, its layers do not stand one behind the other, or there is nothing of
        the name to highlight.
    ShapeError
        If `x` has a shape that the model does not take.
    GraphSizeError
        If there are more than 50 layers.

    Notes
    -----
    Of a layer of more than 12 neurons the first 5 and the last 3 are drawn, and those that are highlighted; the text
    has these as well. What lies between two layers besides activations, such as dropout and batch normalization, stands
    where the activation does. A residual connection is a line above the columns. The picture is that of the lecture on
    backpropagation, in which the paths of a weight, of a neuron and of a bias explain the chain rule.

    Examples
    --------
    >>> import microgad as mg
    >>> model = mg.nn.scalar.MLP(2, [1])
    >>> for p, number in zip(model.parameters(), [0.5, -1.0, 0.25], strict=True):
    ...     p.data = number
    >>> loss = (model([1.0, 2.0]) - 1.0) ** 2
    >>> loss.backward()
    >>> drawing = network(loss, highlight="layers.0.weight[0, 1]")
    >>> print(drawing.text)
    2 inputs, layers.0 Layer (1 neuron), L = 5.0625, grad 1
    <BLANKLINE>
    inputs  y
    0       1
    1       2
    <BLANKLINE>
    layers.0      z  ∂L/∂z      y  ∂L/∂y  bias  ∂L/∂bias
    0         -1.25   -4.5  -1.25   -4.5  0.25      -4.5
    weight  from 0  from 1
    0          0.5      -1
    ∂L/∂w     -4.5      -9
    <BLANKLINE>
    Marked: 1 path from layers.0.neurons.0.w.1 to L.
    Along it ∂L/∂w = δ · y = -4.5 · 2 = -9.
    """
    if theme not in tuple(THEMES):
        raise InputError(f"no theme {theme!r}: choose from {', '.join(THEMES)}")
    for name, given in {"labels": labels, "grads": grads}.items():
        if given not in (None, True, False):
            raise InputError(f"{name} is True, False or None, not {shown(given)}")
    problem = None
    if isinstance(model, Node):
        if x is not None:
            raise InputError("network of a result takes no x: the numbers are those that it was computed from")
        chain, order = of_result(model, grads)
        problem = outdated(order)
    elif isinstance(model, type) or not callable(model):
        raise InputError(f"network draws a model or the graph of a result, not {shown(model)}")
    else:
        chain = of_model(model, x, grads)
    if len(chain.layers) - 1 > LIMIT:
        raise GraphSizeError(f"a network of {len(chain.layers) - 1} layers; a picture shows up to {LIMIT}")
    paths = _Paths(chain, highlight)
    notes = _notes(chain, paths, problem)
    drawing = Network(format="svg")
    _Page(drawing, chain, paths, theme, labels).draw(notes)
    drawing.text = "\n\n".join([*_tables(chain, paths), *(["\n".join(notes)] if notes else [])])
    drawing.alt = " ".join([_sentence(chain), *notes])
    return drawing


# ---- what is marked

_Source = tuple[str, int, int, int]  # where a path begins: "weight", "bias", "z" or "y", layer, neuron, input


class _Paths:
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


def _sources(chain: Chain, what: Any) -> dict[_Source, None]:
    """What is highlighted, number by number."""
    found: list[_Source] = []
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


def _numbers_of(chain: Chain, cells: Cells, index: tuple[Any, ...]) -> list[_Source]:
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


# ---- in words


def _notes(chain: Chain, paths: _Paths, problem: str | None) -> list[str]:
    """What has to be said besides the numbers."""
    notes = []
    if chain.numbers and chain.examples > 1:
        sums = f"; δ and ∂{chain.symbol}/∂y are sums over them" if chain.layers[-1].dz is not None else ""
        notes.append(f"z and y are means over {counted(chain.examples, 'example')}{sums}.")
    if chain.more:
        notes.append("Gradients of weights and biases hold more than this result gave them.")
    if paths.sources:
        notes += _product(chain, paths)
    if problem is not None:
        notes.append(f"Not of one computation: {literal(problem)}.")
    return notes


def _product(chain: Chain, paths: _Paths) -> list[str]:
    """The paths that are marked, and the products of the chain rule that belong to them."""
    result, layers = chain.result, chain.layers
    ways = f"{magnitude(paths.count)} path{'s' * (paths.count != 1)}"
    said = f"Marked: {ways} from {paths.name} to {'the outputs' if result is None else result.name}."
    if len(paths.sources) > 1 or result is None:
        return [said]
    [(part, level, i, j)] = paths.sources
    layer = layers[level]
    after = layers[level + 1] if level + 1 < len(layers) else None
    skipped = [skip.layer for skips in (result.skips, *(one.skips for one in layers)) for skip in skips]
    factors: list[Any] = []
    if part in ("weight", "bias"):
        rule = f"∂{chain.symbol}/∂w = δ · y" if part == "weight" else f"∂{chain.symbol}/∂b = δ"
        factors = [(layer.dz, i), *([(layers[level - 1].y, j)] if part == "weight" else [])]
    elif part == "z" and after is not None and not layer.mixes and level not in skipped:
        many = f"Σ over {after.size} neurons of δ · w" if after.size > 1 else "δ · w of the next neuron"
        rule = f"δ = ({many}) · {_slope(layer.activations[i])}"
    else:
        return [said]
    if chain.examples > 1:
        rule += ", summed over the examples"
    elif layer.dz is not None and None not in layer.dz.tolist():
        if factors:
            given = [float(numbers[k]) for numbers, k in factors]
            rule += "".join(f" {'·' if k else '='} {_factor(x, k)}" for k, x in enumerate(given))
            rule += f" = {number(math.prod(given), DIGITS)}" if len(given) > 1 else ""
        elif after is not None and after.dz is not None and after.size <= 4:
            terms = [f"{_factor(after.dz[k], k)} · {_factor(after.weight[k, i])}" for k in range(after.size)]
            rule += f" = ({' + '.join(terms)}) · {_slope(layer.activations[i])} = {number(layer.dz[i], DIGITS)}"
    return [said, f"Along {'it' if paths.count == 1 else 'them'} {rule}."]


def _slope(activation: str) -> str:
    return "1" if not activation else f"{activation}′(z)" if activation.isidentifier() else "f′(z)"


def _factor(x: Any, behind: int = 1) -> str:
    """A number in a product or a sum; in parentheses where its sign would stand behind another."""
    said = number(x, DIGITS)
    return f"({said})" if behind and said.startswith("-") else said


def _sentence(chain: Chain) -> str:
    """What the picture shows."""
    parts = [counted(chain.layers[0].size, "input")]
    for layer in chain.layers[1:]:
        parts.append(
            f"{_title(layer)} of {counted(layer.size, 'neuron')}" + (f" with {_bends(layer)}" if _bends(layer) else "")
        )
    said = f"A neural network of {', '.join(parts)}"
    said += f"; the result is {chain.result.name} = {number(chain.result.value)}." if chain.result is not None else "."
    if chain.numbers:
        first, last = chain.layers[0], chain.layers[-1]
        for name, numbers in (("Inputs", first.y), ("Outputs", last.y)):
            assert numbers is not None
            said += f" {name}: {listed([number(float(x)) for x in numbers])}."
    return said


def _title(layer: Layer) -> str:
    return literal(" ".join(dict.fromkeys(x for x in (layer.name, layer.kind) if x)))


def _bends(layer: Layer) -> str:
    """The activations of a layer, if there are any."""
    names = list(dict.fromkeys(layer.activations))
    return "" if names == [""] else listed([name or "identity" for name in names], 3)


def _slots(size: int, more: Iterable[int] = ()) -> list[int | str]:
    """What stands in a column: its neurons, and in the place of those that are left out how many they are."""
    if size <= MOST:
        return list(range(size))
    rows = sorted({*range(FIRST), *range(size - LAST, size), *more})
    found: list[int | str] = []
    for i, after in zip(rows, [*rows[1:], size], strict=True):
        found += [i, f"{after - i - 1:,} more"] if after - i > 1 else [i]
    return found


def _extra(paths: _Paths, level: int) -> set[int]:
    """Neurons that are drawn because a path begins at them."""
    found = {i for _, at, i, _ in paths.sources if at == level}
    found |= {j for part, at, _, j in paths.sources if part == "weight" and at == level + 1}
    return found if len(found) <= MOST else set()


def _tables(chain: Chain, paths: _Paths) -> list[str]:
    """All numbers, layer by layer."""
    of = chain.symbol
    heads = [counted(chain.layers[0].size, "input")]
    for layer in chain.layers[1:]:
        said = [counted(layer.size, "neuron"), *([_bends(layer)] if _bends(layer) else [])]
        heads.append(f"{_title(layer)} ({', '.join(said)})")
    found = [", ".join(heads)]
    if chain.result is not None:
        grad = f", grad {number(chain.result.grad)}" if chain.grads else ""
        found[0] += f", {chain.result.name} = {number(chain.result.value)}{grad}"
    for level, layer in enumerate(chain.layers):
        rows = _slots(layer.size, _extra(paths, level))
        given = [("z", layer.z), (f"∂{of}/∂z", layer.dz), ("y", layer.y), (f"∂{of}/∂y", layer.dy)]
        given = [*(given if chain.numbers else []), ("bias", layer.bias)]
        given += [(f"∂{of}/∂bias", layer.bias_grad)] if chain.grads else []
        present = {head: numbers for head, numbers in given if numbers is not None}
        lines: list[str] = []
        if present:
            table = [[literal(layer.name), *present]]
            table += [[_named(layer, i), *(_cell(numbers, i) for numbers in present.values())] for i in rows]
            lines += columns(table, range(1, len(present) + 1))
        if layer.weight.size:
            across = _slots(layer.weight.shape[1], _extra(paths, level - 1))
            before = chain.layers[level - 1]
            table = [["weight", *(_named(before, j, "from ") for j in across)]]
            for i in rows:
                table.append([_named(layer, i), *(_cell(layer.weight, i, j) for j in across)])
                if chain.grads and isinstance(i, int):
                    table.append([f"∂{of}/∂w", *(_cell(layer.weight_grad, i, j) for j in across)])
            lines += columns(table, range(1, len(across) + 1))
        found += ["\n".join(lines)] if lines else []
    return found


def _named(layer: Layer, slot: int | str, before: str = "") -> str:
    """The index of a neuron, or how many are left out."""
    return slot if isinstance(slot, str) else f"{before}{layer.indices[slot]}"


def _cell(numbers: Numbers, *at: int | str) -> str:
    """A number of a table, where it is not left out."""
    places = tuple(i for i in at if isinstance(i, int))
    return number(numbers[places]) if len(places) == len(at) else "…"


# ---- the picture


@dataclass
class _Column:
    """Where the neurons of a layer stand."""

    level: int
    layer: Layer
    slots: list[int | str]
    z: float = 0.0  # the middles of its circles, from left to right; inputs have those of y alone
    y: float = 0.0
    rows: dict[int, float] = field(default_factory=dict)  # their heights; upward, as Graphviz counts
    gaps: list[tuple[str, float]] = field(default_factory=list)
    top: float = 0.0
    bottom: float = 0.0

    @property
    def middle(self) -> float:
        """The middle of its neurons, from left to right."""
        return (self.z + self.y) / 2


class _Label(NamedTuple):
    """The numbers of a weight, which stand somewhere along its line."""

    lines: list[str]
    color: str
    start: float  # the heights of the ends of the line
    end: float
    wide: float
    high: float


class _Page:
    """One drawing, whose parts are all placed here."""

    def __init__(self, drawing: Network, chain: Chain, paths: _Paths, theme: str, labels: bool | None) -> None:
        self.drawing, self.chain, self.paths = drawing, chain, paths
        self.colors, self.palette = THEMES[theme], PALETTES[theme]
        self.labels = labels
        self.grads = chain.layers[-1].dz is not None and chain.numbers
        self.radius = RADII[2 if self.grads else 1 if chain.numbers else 0]
        self.biased = any(layer.bias is not None for layer in chain.layers)
        self.square = (10.0, 10.0) if labels is False else (ROOM * 8.4, HIGH * (1 + chain.grads))
        self.most = max(_largest(layer.weight) for layer in chain.layers)
        self.count = 0
        self.left = self.right = self.top = self.bottom = self.result = 0.0
        self.columns = [_Column(k, x, _slots(x.size, _extra(paths, k))) for k, x in enumerate(chain.layers)]

    def draw(self, notes: Sequence[str]) -> None:
        """Everything, from the columns down to the notes."""
        colors = self.colors
        text = {"fontname": FONT, "fontcolor": colors.text, "color": colors.line}
        # What is placed here is not laid out again: "nop" is Graphviz's word for that. Labels stand on their lines.
        self.drawing.attr("graph", layout="nop", bgcolor=colors.background, pad="0.2", outputorder="edgesfirst")
        self.drawing.attr("node", shape="plaintext", width="0", height="0", margin="0", **text)
        self.drawing.attr("edge", arrowhead="none", color=colors.line)
        self._stack()
        self._spread()
        for column in self.columns:
            self._neurons(column)
        self._result()
        self._skips()
        self._headings()
        self._legend(notes)
        self.drawing.dpi = int(min(192, max(24, 72 * 20_000 / max(self.right - self.left, self.top - self.bottom))))

    # ---- where everything is

    def _stack(self) -> None:
        """The heights of the rows, around 0."""
        under = max(0.0, self._drop() + self.square[1] / 2 - self.radius) if self.biased else 0.0
        airy = self.labels is not False and all(len(column.slots) <= 4 for column in self.columns)
        pitch = 2 * self.radius + max(under + BETWEEN, AIRY if airy else 0.0)
        for column in self.columns:
            heights = [pitch if isinstance(slot, int) else 0.7 * pitch for slot in column.slots]
            at = sum(heights) / 2
            for slot, high in zip(column.slots, heights, strict=True):
                if isinstance(slot, int):
                    column.rows[slot] = at - high / 2
                else:
                    column.gaps.append((slot, at - high / 2))
                at -= high
            rows = column.rows.values()
            column.top, column.bottom = max(rows) + self.radius, min(rows) - self.radius - under
        self.top = max(column.top for column in self.columns)
        self.bottom = min(column.bottom for column in self.columns)

    def _drop(self) -> float:
        """How far below the middle of a neuron its bias stands: between its circles, and clear of both."""
        aside = BAR / 2 + self.radius - self.square[0] / 2  # from the middle of a circle to the side of the square
        clear = self.radius + 3
        return max(math.sqrt(max(0.0, clear * clear - aside * aside)), 5.0) + self.square[1] / 2

    def _spread(self) -> None:
        """Place the columns from left to right, with lines and labels between them."""
        self.left = -max(self.radius, self._heading(self.columns[0])[1] / 2)
        for before, column in pairwise(self.columns):
            mixes = column.layer.mixes
            wide = max(width_of(name, SMALL) for name in column.layer.activations) + 6
            bar = min(WIDEST_BAR, max(BAR, wide + (28 if mixes else 0)))
            labels = self._labels(before, column)
            tall = max(one.top - one.bottom for one in (before, column))
            gap = min(LONGEST, max(GAP, ALONG + max((label.wide for label in labels), default=0.0), 0.45 * tall))
            heads = (self._heading(before)[1] + self._heading(column)[1]) / 2 + 12
            gap = max(gap, heads - (before.y - before.z) / 2 - bar / 2 - 3 * self.radius)
            for _ in range(8):
                column.z = before.y + gap + 2 * self.radius
                column.y = column.z + 2 * self.radius + bar
                places, clear = _arranged(labels, before.y, column.z, self.radius + 4)
                if clear:
                    break
                gap *= 1.25
            self._weights(before, column)
            for label, (x, y) in zip(labels, places, strict=True):
                self._box(label.lines, x, y, label.wide, label.high, self.colors.background, fontcolor=label.color)
        self.right = self.columns[-1].y + self.radius

    def _labels(self, before: _Column, column: _Column) -> list[_Label]:
        """What stands on the lines between two columns: the numbers of weights, where these are few."""
        if self.labels is False or (self.labels is None and len(before.slots) * len(column.slots) > FEW):
            return []
        found = []
        for i, end in column.rows.items():
            for j, start in before.rows.items():
                w = column.layer.weight[i, j]
                lines = [_short(w), *([f"∂ {_short(column.layer.weight_grad[i, j])}"] if self.chain.grads else [])]
                color = self._color(w, self.paths.weight(column.level, i, j))
                wide = max(width_of(line, SMALL) for line in lines) + 4
                found.append(_Label(lines, color, start, end, wide, HIGH * len(lines)))
        return found

    # ---- weights and neurons

    def _weights(self, before: _Column, column: _Column) -> None:
        """A line for each weight between neurons that are drawn."""
        for j in before.rows:
            for i in column.rows:
                w, marked = float(column.layer.weight[i, j]), self.paths.weight(column.level, i, j)
                share = abs(w) / self.most if self.most else 0.0
                wide = THIN + (THICK - THIN) * share if math.isfinite(w) else PLAIN
                style = {"style": "dashed"} if w < 0 else {}
                ends = f"y{before.level}_{j}", f"z{column.level}_{i}"
                self._line(*ends, marked, wide, color=self._color(w, marked), **style)

    def _color(self, w: float, marked: bool) -> str:
        palette = self.palette
        sign = palette.positive if w > 0 else palette.negative if w < 0 else self.colors.text
        return self.colors.path if marked else sign

    def _neurons(self, column: _Column) -> None:
        """The neurons of a column, with their biases."""
        level, layer = column.level, column.layer
        for i, at in column.rows.items():
            self._circle("y", column, i, layer.y, layer.dy)
            if level:
                self._circle("z", column, i, layer.z, layer.dz)
                self._bias(column, i)
            if level and not layer.mixes:
                marked = bool(self.paths.z[level][i] and self.paths.y[level][i])
                self._line(f"z{level}_{i}", f"y{level}_{i}", marked, BOLD)
                said = layer.activations[i] or "="
                self._text(_cut(said, column.y - column.z - 2 * self.radius, SMALL), column.middle, at + 9, SMALL)
        if layer.mixes:
            self._mixer(column)
        for more, at in column.gaps:
            self._text("⋮", column.middle, at + 6, NAME)
            self._text(more, column.middle, at - 9, SMALL)

    def _circle(self, part: str, column: _Column, i: int, numbers: Numbers | None, grads: Numbers | None) -> None:
        level, x = column.level, column.z if part == "z" else column.y
        marked = bool((self.paths.z if part == "z" else self.paths.y)[level][i])
        symbol = (part if level else "x") + str(column.layer.indices[i]).translate(SUBSCRIPTS)
        said, fill = [(symbol, SMALL if self.chain.numbers else NAME)], self.colors.interior
        if self.chain.numbers and numbers is not None:
            most, number_of = _largest(numbers), float(numbers[i])
            size = 0.0 if number_of != number_of else abs(number_of)
            share = 1.0 if size == math.inf else size / most if most else 0.0
            fill = mixed(self.colors.background, self.palette.below if number_of < 0 else self.palette.above, share)
            said.append((_short(numbers[i]), NUMBER))
            if self.grads and grads is not None:
                said.append((f"{'δ' if part == 'z' else '∂'} {_short(grads[i])}", SMALL))
        self._round(f"{part}{level}_{i}", said, x, column.rows[i], self.radius, fill, marked)

    def _bias(self, column: _Column, i: int) -> None:
        """The bias of a neuron, and the line from it to z."""
        level, layer = column.level, column.layer
        if layer.bias is None or layer.bias_grad is None:
            return
        marked = self.paths.bias(level, i)
        said = [_short(layer.bias[i]), *([f"∂ {_short(layer.bias_grad[i])}"] if self.chain.grads else [])]
        wide, high = self.square
        x, drop = column.middle, self._drop()
        if layer.mixes:  # whose box stands between the circles
            x, drop = column.z + self.radius + 9 - wide / 2, self.radius + 3 + high / 2
        look = {"color": self.colors.path, "penwidth": "3"} if marked else {"color": self.colors.line}
        name, at = f"b{level}_{i}", column.rows[i] - drop
        self._box(said if self.labels is not False else [], x, at, wide, high, self.colors.leaf, name=name, **look)
        self._line(name, f"z{level}_{i}", marked, THIN)

    def _mixer(self, column: _Column) -> None:
        """The box of an activation that makes each y from all z, such as softmax."""
        level, rows = column.level, column.rows.values()
        z, y = self.paths.z[level], self.paths.y[level]
        through = bool(z.any() and y.any())
        half = (column.y - column.z) / 2 - self.radius - 12
        look = {"color": self.colors.path, "penwidth": "3"} if through else {"color": self.colors.line}
        said = [_cut(column.layer.activations[0], 2 * half - 4, SMALL)]
        at, high = (max(rows) + min(rows)) / 2, max(rows) - min(rows) + 2 * self.radius
        self._box(said, column.middle, at, 2 * half, high, self.colors.operation, name=f"f{level}", **look)
        for i, at in column.rows.items():
            self._line(f"z{level}_{i}", self._point(column.middle - half, at), bool(z[i]) and through, BOLD)
            self._line(self._point(column.middle + half, at), f"y{level}_{i}", bool(y[i]) and through, BOLD)

    # ---- what stands around

    def _result(self) -> None:
        """The result at the right, and the lines to it."""
        result, last = self.chain.result, self.columns[-1]
        if result is None:
            return
        radius = self.radius + 3
        self.result = self.right + max(GAP, 0.3 * (last.top - last.bottom)) + radius
        said = [(result.symbol, SMALL), (_short(result.value), NUMBER)]
        said += [(f"∂ {_short(result.grad)}", SMALL)] if self.grads else []
        self._round("L", said, self.result, 0.0, radius, self.colors.result, self.paths.count > 0, peripheries="2")
        for i in last.rows:
            self._line(f"y{last.level}_{i}", "L", bool(self.paths.y[-1][i]), BOLD)
        self.right = self.result + radius + 4

    def _skips(self) -> None:
        """Residual connections: lines above the columns."""
        found: list[tuple[_Column | None, Skip]] = []
        found += [(column, skip) for column in self.columns for skip in column.layer.skips]
        found += [(None, skip) for skip in (self.chain.result.skips if self.chain.result is not None else ())]
        for target, skip in found:
            source, part = self.columns[skip.layer], "z" if skip.early else "y"
            start = source.z if skip.early else source.y
            if target is None:
                end, name = self.result, "L"
            elif skip.mixed:
                end, name = target.middle, f"f{target.level}"
            else:
                end, name = target.y, f"y{target.level}_{next(iter(target.rows))}"
            self.top += LANE
            marked = self.paths.skip(skip)
            first, second = (self._point(x, self.top - 8) for x in (start, end))
            self._line(f"{part}{skip.layer}_{next(iter(source.rows))}", first, marked, BOLD)
            self._line(first, second, marked, BOLD)
            self._line(second, name, marked, BOLD, arrowhead="normal", arrowsize="0.7")
            said = f"{part} of {literal(source.layer.name)}"
            said = said if target is None else f"+ {said}, neuron by neuron"
            self._text(_cut(said, end - start - 8, SMALL), (start + end) / 2, self.top, SMALL)

    def _heading(self, column: _Column) -> tuple[list[tuple[str, int]], float]:
        """What stands above a column, and how wide that is."""
        layer = column.layer
        bends = ", ".join(x for x in (literal(layer.kind) * (layer.kind != layer.name), _bends(layer)) if x)
        size = [counted(layer.size, "neuron" if column.level else "input")] if column.gaps else []
        lines = [(_cut(literal(layer.name), WIDEST_HEAD, NAME), NAME)]
        lines += [(_cut(text, WIDEST_HEAD, SMALL), SMALL) for text in (bends, *size) if text]
        return lines, max(width_of(text, size) for text, size in lines)

    def _headings(self) -> None:
        heads = [(column.middle, self._heading(column)[0]) for column in self.columns]
        if (result := self.chain.result) is not None:
            room = min(WIDEST_HEAD, 2 * (self.result - self.columns[-1].y - self.radius))
            said = [(result.name, NAME), (result.kind, SMALL)]
            heads.append((self.result, [(_cut(text, room, size), size) for text, size in said if text]))
        self.top += 12 + 16 * max(len(lines) for _, lines in heads)
        for x, lines in heads:
            for k, (text, size) in enumerate(lines):
                self._text(text, x, self.top - 16 * k - 10, size)
                self.left = min(self.left, x - width_of(text, size) / 2)
                self.right = max(self.right, x + width_of(text, size) / 2)

    def _legend(self, notes: Sequence[str]) -> None:
        """What the picture means, and what has to be said besides."""
        colors, y, x, size = self.colors, self.bottom - 26, self.left, SMALL + 1
        samples = [
            ("w > 0", {"color": self.palette.positive, "penwidth": "2"}),
            ("w < 0", {"color": self.palette.negative, "penwidth": "2", "style": "dashed"}),
            (f"|w| = {number(self.most, DIGITS)}", {"color": colors.line, "penwidth": f"{THICK}"}),
        ]
        samples += [("path", {"color": colors.path, "penwidth": f"{THICK + MARK}"})] if self.paths.sources else []
        for text, look in samples:
            self.drawing.edge(self._point(x, y), self._point(x + 30, y), **look)
            self._text(text, x + 36, y, size, left=True)
            x += 54 + width_of(text, size)
        self.right = max(self.right, x)
        of = self.chain.symbol
        said = "Circles: z = Σ w · y + b, and y, the activation of z." + " Squares: biases b." * self.biased
        if self.grads:
            said += f" δ = ∂{of}/∂z; ∂ stands for the gradient of {of} by y, w or b."
        elif self.chain.grads:
            said += " ∂ stands for the gradient of a weight or bias."
        room = max(WRAP, int((self.right - self.left) / (0.57 * size)))
        for line in [line for text in (said, *notes) for line in textwrap.wrap(text, room)]:
            y -= 17
            self._text(line, self.left, y, size, left=True)
        self.bottom = y

    # ---- pieces

    def _line(self, tail: str, head: str, marked: bool, wide: float, **look: str) -> None:
        color = {"color": self.colors.path} if marked else {}
        self.drawing.edge(tail, head, penwidth=f"{wide + MARK * marked:.2f}", **{**color, **look})

    def _round(
        self, name: str, said: Sequence[tuple[str, int]], x: float, y: float, radius: float, fill: str, marked: bool,
        **look: str,
    ) -> None:  # fmt: skip
        """A circle."""
        label = "<br/>".join(f'<font point-size="{size}">{escaped(text)}</font>' for text, size in said)
        look |= {"color": self.colors.path, "penwidth": "3"} if marked else {"color": self.colors.line}
        self._put(label, x, y, name, shape="circle", style="filled", fillcolor=fill, **_sized(2 * radius), **look)

    def _box(
        self, lines: Sequence[str], x: float, y: float, wide: float, high: float, fill: str, name: str = "",
        **look: str,
    ) -> None:  # fmt: skip
        look = {"color": fill, **look}
        label = "<br/>".join(map(escaped, lines))
        self._put(label, x, y, name, shape="box", style="filled", fillcolor=fill, fontsize=str(SMALL),
                  **_sized(wide, high), **look)  # fmt: skip

    def _text(self, text: str, x: float, y: float, size: int, left: bool = False) -> None:
        label = escaped(text)
        if left:
            wide = 1.2 * width_of(text, size)  # what is wider than its cell would move to the left
            cell = f'<tr><td align="left" width="{math.ceil(wide)}">{label}</td></tr>'
            label, x = f'<table border="0" cellborder="0" cellspacing="0" cellpadding="0">{cell}</table>', x + wide / 2
        if text:
            self._put(label, x, y, fontsize=str(size))

    def _point(self, x: float, y: float) -> str:
        """A corner of a line, which is not seen."""
        return self._put("", x, y, shape="point", style="invis")

    def _put(self, label: str, x: float, y: float, name: str = "", **look: str) -> str:
        self.count += not name
        name = name or f"n{self.count}"
        self.drawing.node(name, label=f"<{label}>" if label else "", pos=f"{x:.1f},{y:.1f}", **look)
        return name


def _sized(wide: float, high: float | None = None) -> dict[str, str]:
    """The size of a node, in inches, as Graphviz counts."""
    return {"fixedsize": "true", "width": f"{wide / 72:.4f}", "height": f"{(high or wide) / 72:.4f}"}


def _largest(numbers: Numbers) -> float:
    """The largest size of a number among those that are finite."""
    return float(np.max(np.abs(numbers[np.isfinite(numbers)]), initial=0.0))


def mixed(one: str, other: str, share: float) -> str:
    """A colour between two, as ``#rrggbb``.

    Examples
    --------
    >>> mixed("#000000", "#ffffff", 0.5)
    '#808080'
    """
    pairs = [(int(one[k : k + 2], 16), int(other[k : k + 2], 16)) for k in (1, 3, 5)]
    return "#" + "".join(f"{math.floor(a + (b - a) * share + 0.5):02x}" for a, b in pairs)


def _short(x: Any) -> str:
    """A number for which there is little room."""
    found = (number(None if x is None else float(x), digits) for digits in range(DIGITS, 0, -1))
    return next(said for said in found if len(said) <= ROOM)


def _cut(text: str, wide: float, size: int) -> str:
    """The beginning of a text, where there is no room for all of it."""
    if width_of(text, size) <= wide:
        return text
    kept = next((k for k in range(len(text) - 1, 1, -1) if width_of(f"{text[:k]}…", size) <= wide), 1)
    return f"{text[:kept]}…"


def _arranged(
    labels: Sequence[_Label], start: float, end: float, margin: float
) -> tuple[list[tuple[float, float]], bool]:
    """Where labels stand on their lines, and whether they are clear of one another.

    The lines lead from `start` to `end`. Each label moves along its own, outside of the margin, to where it covers no
    other label, and as few other lines as may be, as far from them as it can; a few rounds of that settle all of them.
    """
    if not labels:
        return [], True
    starts, ends, wide, high = np.array([label[2:] for label in labels]).T
    left, right = start + margin, end - margin
    steps = np.linspace(-1.0, 1.0, 33)
    every = np.arange(len(labels))
    xs = np.full(len(labels), (left + right) / 2)

    def height(k: Any, x: Any) -> Any:
        return starts[k] + (ends[k] - starts[k]) * (x - start) / (end - start)

    def gaps(k: Any, x: Any) -> tuple[Any, Any]:
        """How far label k is from all labels and from all lines, at each x; below 0 they meet."""
        x = x[:, None]
        y, half = height(k, x), wide[k] / 2
        aside = np.abs(x - xs) - (wide[k] + wide) / 2
        above = np.abs(y - height(every, xs)) - (high[k] + high) / 2
        first, second = height(every, x - half), height(every, x + half)
        off = np.maximum(np.minimum(first, second) - y, y - np.maximum(first, second)) - high[k] / 2
        found = np.maximum(aside, above) - 2, off
        for gap in found:
            gap[:, k] = np.inf
        return found

    for _ in range(6):
        before = xs.copy()
        for k in every:
            x = (left + right) / 2 + steps * max(0.0, (right - left - wide[k]) / 2)
            labels_off, lines_off = gaps(k, x)
            cost = np.where(labels_off < 0, 1000, 3 * np.exp(-labels_off / 12)).sum(axis=1)
            cost += np.where(lines_off < 0, 10, 3 * np.exp(-lines_off / 12)).sum(axis=1)
            xs[k] = x[int(np.argmin(cost + np.abs(steps)))]
        if np.array_equal(before, xs):
            break
    clear = all((gaps(k, xs[k : k + 1])[0] >= 0).all() for k in every) and bool((wide <= right - left).all())
    return list(zip(xs.tolist(), height(every, xs).tolist(), strict=True)), clear

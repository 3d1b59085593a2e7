"""The picture of a network: where its columns, circles, lines and numbers stand."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from microgad.naming import counted, literal, number

from .captions import DIGITS, bends, extra, slots
from .graph import FONT, escaped
from .layers import Chain, Layer, Numbers, Skip
from .paths import Paths
from .render import Drawing
from .text import width_of
from .theme import THEMES

FEW = 30  # weights between two columns that carry their numbers
ROOM = 7  # characters of a number in a circle
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


class Page:
    """One drawing, whose parts are all placed here."""

    def __init__(self, drawing: Drawing, chain: Chain, paths: Paths, theme: str, labels: bool | None) -> None:
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
        self.columns = [_Column(k, x, slots(x.size, extra(paths, k))) for k, x in enumerate(chain.layers)]

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
        said = ", ".join(x for x in (literal(layer.kind) * (layer.kind != layer.name), bends(layer)) if x)
        size = [counted(layer.size, "neuron" if column.level else "input")] if column.gaps else []
        lines = [(_cut(literal(layer.name), WIDEST_HEAD, NAME), NAME)]
        lines += [(_cut(text, WIDEST_HEAD, SMALL), SMALL) for text in (said, *size) if text]
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
    text = text[: int(4 * wide / size) + 2]  # of the narrowest letters no more fit
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

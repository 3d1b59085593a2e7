"""The operations of a graph as blocks in the proportions of their arrays, forward and backward."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import chain

from microgad.errors import GraphSizeError
from microgad.node import Node
from microgad.order import topological_order

from .blocks import Block, Equations, Line, Part
from .choices import check_choice, check_flag
from .graph import FONT, escaped, shown_as
from .render import Drawing
from .text import width_of
from .theme import THEMES, Theme

LIMIT = 200  # equations
# In points: an axis of 1, the shortest and the longest other one, and the most that a number along an axis takes.
THIN, SHORT, LONG, UNIT = 22.0, 34.0, 130.0, 26.0
NAME, SMALL, SIGN, HEAD, BRACKET = 15, 11, 18, 17, 28  # sizes of type
GAP, BETWEEN, BEHIND = 6.0, 14.0, 5.0
SIGNS = {"@": "·", "-": "−"}  # where a picture has a better one than the text
TIMES = ("·", "⊙")


class Shapes(Drawing):
    """The picture that `shapes` makes: a notebook shows it, and `save` writes it.

    Attributes
    ----------
    text : str
        A line for each operation, with the sizes.
    alt : str
        The same as a sentence.
    """


def shapes(f: Node, *, theme: str = "light", grads: bool = True) -> Shapes:
    """The operations of a graph as equations between blocks, whose proportions are the shapes of the arrays.

    First the forward pass, operation by operation, then the backward pass: how the gradient of every array that needs
    one is put together. δ is the gradient of something that was computed, ∇ that of a leaf, and G what ``backward`` is
    given for a result of several numbers. Σ adds up over all that an array was repeated for, as a bias is for the
    examples of a batch; n is how many numbers a mean is of. An unnamed W.T stands as Wᵀ, an unnamed product in
    W @ Y + b inside of the sum, and the gradient of an activation inside of the next, as in δ = (Wᵀ δ) ⊙ f′(z).

    Lengths are true to scale within a drawing as long as that can be read; longer ones are drawn shorter, never in
    another order. An axis of 1 is thin, and of three axes and more the last two are drawn, with a sheet behind them.

    Parameters
    ----------
    f : Tensor, Value or Program
        The result. A Value is a block of one number.
    theme : {"light", "dark", "colorblind"}
        Colours: of leaves, of what is computed, and of gradients.
    grads : bool
        Whether to draw the backward pass; there is none where nothing needs a gradient.

    Returns
    -------
    Shapes
        A notebook shows it as a picture, ``.save("f.svg")`` writes it as SVG, PNG, PDF or DOT, ``.source`` is the
        DOT text, and ``.text`` has a line for each operation.

    Raises
    ------
    InputError
        If `f` is no node, or the theme does not exist.
    GraphSizeError
        If there are too many operations for a picture.

    Notes
    -----
    The equations are those of the vector form of backpropagation: Z = W Y + b, ∇W = δ Yᵀ, δ = Wᵀ δ ⊙ f′(z).

    Examples
    --------
    >>> import microgad as mg
    >>> import numpy as np
    >>> W = mg.Tensor(np.ones((2, 3)), requires_grad=True, name="W")
    >>> Y, b = mg.Tensor(np.ones((3, 32)), name="Y"), mg.Tensor([[0.5], [1.5]], requires_grad=True, name="b")
    >>> Z = W @ Y + b
    >>> Z.name = "Z"
    >>> print(shapes(Z).text)
    forward
    Z (2×32) = W (2×3) @ Y (3×32) + b (2×1)
    backward
    δZ (2×32) = G (2×32)
    ∇b (2×1) = Σ δZ (2×32)
    ∇W (2×3) = δZ (2×32) @ Yᵀ (32×3)
    """
    f = shown_as(f, "shapes")
    check_choice("theme", theme, THEMES)
    check_flag("grads", grads, optional=False)
    order = topological_order(f)
    computed = sum(node.prim is not None for node in order)
    if computed > 4 * LIMIT:  # even if some of them share a line
        raise _too_many(f"{computed:,} operations")
    equations = Equations(order, grads)
    forward, backward = len(equations.forward), len(equations.backward)
    if forward + backward > LIMIT:
        more = ", or leave out the backward pass with grads=False" if forward <= LIMIT else ""
        raise _too_many(f"{forward + backward:,} equations", more)
    drawing = Shapes(format="svg")
    _contents(drawing, equations, THEMES[theme])
    parts = {"forward": equations.forward, "backward": equations.backward}
    known = {head: [str(line) for line in lines] for head, lines in parts.items() if lines}
    drawing.text = "\n".join(chain.from_iterable((head, *lines) for head, lines in known.items()))
    said = " ".join(f"{head.capitalize()}: {'; '.join(map(str.strip, lines))}." for head, lines in known.items())
    drawing.alt = f"Operations as blocks in the proportions of their arrays. {said}"
    return drawing


def _too_many(what: str, more: str = "") -> GraphSizeError:
    return GraphSizeError(
        f"shapes of {what}; a picture shows up to {LIMIT:,} equations. Draw a part of the graph, such as the loss of "
        f"fewer layers or steps{more}"
    )


def _contents(drawing: Drawing, equations: Equations, colors: Theme) -> None:
    lines = [*equations.forward, *equations.backward]
    # What is placed here is not laid out again: "nop" is Graphviz's word for that.
    drawing.attr("graph", layout="nop", bgcolor=colors.background, pad="0.2")
    text = {"fontname": FONT, "fontcolor": colors.text, "color": colors.line}
    drawing.attr("node", shape="plaintext", width="0", height="0", margin="0", **text)
    page = _Page(drawing, colors, _Scale(n for line in lines for block in _blocks(line) for n in block.sides[-2:]))
    page.write("forward", equations.forward)
    if equations.backward:
        page.write(f"backward: δ and ∇ are gradients of {equations.of}", equations.backward)
    drawing.dpi = int(min(192, max(24, 72 * 20_000 / page.extent)))


def _blocks(line: Line) -> list[Block]:
    return [part for part in (line.left, *line.right) if isinstance(part, Block)]


class _Scale:
    """From the length of an axis to points on paper: proportional, or compressed so far that all can be read."""

    def __init__(self, lengths: Iterable[int]) -> None:
        some = [n for n in lengths if n > 1] or [2]
        self.longest, shortest = max(some), min(some)
        self.most = min(LONG, self.longest * UNIT)
        ratio, room = self.longest / shortest, self.most / min(SHORT, self.most)
        self.power = min(1.0, math.log(room) / math.log(ratio)) if ratio > 1 else 1.0

    def __call__(self, n: int) -> float:
        return THIN if n <= 1 else self.most * (n / self.longest) ** self.power


class _Page:
    """Where the next line of a drawing goes."""

    def __init__(self, drawing: Drawing, colors: Theme, scale: _Scale) -> None:
        self.drawing, self.colors, self.scale = drawing, colors, scale
        self.y = 0.0  # grows downward
        self.right = 0.0
        self.count = 0

    @property
    def extent(self) -> float:
        """The longer side so far."""
        return max(self.y, self.right, 1.0)

    def write(self, head: str, lines: Sequence[Line]) -> None:
        """Lines under a heading, their signs below each other."""
        self.y += 1.5 * BETWEEN if self.count else 0.0
        wide = width_of(head, HEAD)
        at_left = (
            f'<table border="0" cellborder="0" cellspacing="0"><tr><td align="left" width="{wide:.0f}">{{}}</td></tr>'
        )
        at_left += "</table>"
        self._text(head, wide / 2, self.y + HEAD / 2, HEAD, inside=at_left)
        self.right = max(self.right, wide)
        self.y += HEAD + BETWEEN
        left = max((self._room(line.left) for line in lines if line.left), default=0.0)
        for line in lines:
            self._line(line, left)

    def _line(self, line: Line, left: float) -> None:
        reach = [self._reach(block) for block in _blocks(line)]
        self.y += max((above for above, _ in reach), default=BRACKET / 2)
        if line.left:
            self._block(line.left, left - self._room(line.left) / 2, self.y)
        x = left
        for part in (line.sign, *line.right) if line.right else ():
            x += GAP
            pieces: Sequence[Part] = [part] if isinstance(part, Block) else _pieces(part)
            for k, piece in enumerate(pieces):
                wide = self._room(piece)
                x += GAP if k and piece in TIMES else 0.0
                if isinstance(piece, Block):
                    self._block(piece, x + wide / 2, self.y)
                else:
                    self._text(piece, x + wide / 2, self.y, _type(piece))
                x += wide
        self.right = max(self.right, x)
        self.y += max((below for _, below in reach), default=BRACKET / 2) + BETWEEN

    def _reach(self, block: Block) -> tuple[float, float]:
        """How far a block with its texts goes up and down from the middle of its line."""
        half = self._measure(block)[1] / 2
        return half + (0 if self._holds(block) else NAME + 5), half + SMALL + 4

    def _measure(self, block: Block) -> tuple[float, float]:
        """Width and height of a block, with the sheet that may be behind it."""
        high, wide = (self.scale(n) for n in block.sides[-2:])
        behind = BEHIND if _deep(block) else 0.0
        return wide + behind, high + behind

    def _room(self, part: Part) -> float:
        """The width of a block with its texts, or of text."""
        if not isinstance(part, Block):
            return width_of(part, _type(part))
        return max(self._measure(part)[0], width_of(part.name, NAME), width_of(part.size, SMALL))

    def _holds(self, block: Block) -> bool:
        """Whether there is room for the name inside."""
        wide, high = (self.scale(n) for n in block.sides[:-3:-1])
        return wide >= width_of(block.name, NAME) + 6 and high >= NAME + 8

    def _block(self, block: Block, x: float, y: float) -> None:
        wide, high = self._measure(block)
        name, middle, bottom = y - high / 2 - NAME / 2 - 4, x, y + high / 2 + SMALL / 2 + 3
        if _deep(block):
            wide, high = wide - BEHIND, high - BEHIND
            self._box("", x + BEHIND / 2, y - BEHIND / 2, wide, high, block.role)
            x, y = x - BEHIND / 2, y + BEHIND / 2
        inside = self._holds(block)
        self._box(block.name if inside else "", x, y, wide, high, block.role)
        if not inside:
            self._text(block.name, middle, name, NAME)
        self._text(block.size, x, bottom, SMALL)

    def _box(self, text: str, x: float, y: float, wide: float, high: float, role: str) -> None:
        look = {"shape": "box", "style": "filled", "fixedsize": "true", "penwidth": "2" if role == "leaf" else "1"}
        look |= {"width": f"{wide / 72:.4f}", "height": f"{high / 72:.4f}", "fillcolor": getattr(self.colors, role)}
        self._text(text, x, y, NAME, **look)

    def _text(self, text: str, x: float, y: float, size: int, inside: str = "{}", **look: str) -> None:
        label = f"<{inside.format(escaped(text))}>" if text else ""
        self.drawing.node(f"n{self.count}", label=label, pos=f"{x:.1f},{-y:.1f}", fontsize=str(size), **look)
        self.count += 1


def _deep(block: Block) -> bool:
    return math.prod(block.sides[:-2]) > 1


def _pieces(part: str) -> list[str]:
    """The text between blocks as a picture shows it, brackets that go around blocks on their own."""
    text, opened, alone = part.strip(), list[int](), set[int]()
    for k, c in enumerate(text):
        if c in "([":
            opened.append(k)
        elif c in ")]":
            if opened:
                opened.pop()
            else:
                alone.add(k)
    alone.update(opened)
    found = [""]
    for k, c in enumerate(text):
        if k in alone:
            found += [c, ""]
        else:
            found[-1] += c
    return [SIGNS.get(piece.strip(), piece.strip()) for piece in found if piece.strip()]


def _type(piece: str) -> int:
    """The size of a piece of text: of brackets and signs larger than of words."""
    if piece in tuple("()[]·"):
        return BRACKET
    return SIGN if len(piece) < 5 and not re.search("[A-Za-z]", piece) else NAME

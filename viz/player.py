"""Both passes over a graph, stepped through in one page that needs nothing else."""

from __future__ import annotations

import html
from contextlib import suppress
from functools import cached_property
from typing import Any

from microgad.algebra import formula
from microgad.errors import GraphSizeError, RenderError
from microgad.naming import literal, number
from microgad.node import Node

from .choices import check_choice, check_flag
from .graph import shown_as
from .javascript import source
from .passes import Passes
from .render import destination, image, put
from .stage import PAGE, Stage, style
from .text import abridged, sentence, shortened, tree
from .theme import THEMES

SUFFIXES = (".html", ".htm")
FIELD = 9  # digits of a number to edit
HEAD = 80  # letters of a formula above the page
# The browser itself sees to it that the page asks the network for nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
BUTTONS = {  # what each does, and its sign, drawn: no machine has to have a font for it
    "first": ("first step (Home)", "M5 4v12M15 4l-7 6 7 6"), "back": ("step back (←)", "M13 4l-7 6 7 6"),
    "play": ("play (space)", "M6 3v14l11-7z"), "next": ("step forward (→)", "M7 4l7 6-7 6"),
    "last": ("last step (End)", "M5 4l7 6-7 6M15 4v12"),
}  # fmt: skip


class Player:
    """The page that `play` makes: a notebook shows it, and `save` writes it.

    Attributes
    ----------
    text : str
        All steps, those of the forward pass first.
    alt : str
        A sentence that stands in for the picture.
    """

    def __init__(self, f: Node, theme: str) -> None:
        self._passes = passes = Passes(f)
        self._theme = theme
        self._tree = tree(f, passes.names, passes.totals)
        self.alt = abridged(sentence(f, passes.order, passes.names, passes.totals))
        self.text = "\n".join([*passes.lines, *passes.notes])

    def __repr__(self) -> str:
        return self.text

    @cached_property
    def html(self) -> str:
        """The page; a `RenderError` if nothing on this machine can lay out the graph."""
        return _page(self._passes, self._theme, self._stage)

    @cached_property
    def _stage(self) -> Stage:
        return Stage(self._passes)

    @property
    def _height(self) -> int:
        """Of the frame in a notebook, in pixels: the picture, the fields, of which three fit a line, and the rest."""
        return int(min(self._stage.height, 560) + 40 * min(4, -(-len(self._passes.leaves) // 3)) + 450)

    def save(self, path: Any) -> str:
        """Write the page, and return its path.

        Parameters
        ----------
        path : str or path-like
            It ends in ``.html`` or ``.htm``.

        Raises
        ------
        InputError
            For another suffix, or where no file can be written.
        RenderError
            If nothing on this machine can lay out the graph; the message says what to install.
        """
        target = destination(path, SUFFIXES)
        put(target, self.html.encode())
        return str(target)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        # A notebook that is not trusted, and GitHub, strip the frame: the same stands behind it without any script, and
        # open, for else nothing would be seen there.
        title, lines = html.escape(self._passes.title), self._passes.lines
        items = "".join(f'<li style="white-space: pre-wrap">{html.escape(line)}</li>' for line in lines)
        listed = f'<ol style="max-height: 26em; overflow: auto">{items}</ol>{_notes(self._passes)}'
        summary = f"<summary>Picture and all {len(lines)} steps of {title}</summary>"
        try:
            picture = image(self._stage.image(self._theme).encode(), self.alt)
        except RenderError as error:
            found = f"<pre>{html.escape(self._tree)}\n{html.escape(str(error))}</pre>"
            return {"text/plain": self.text, "text/html": f"<details open>{summary}{found}{listed}</details>"}
        frame = (
            f'<iframe sandbox="allow-scripts" title="{title}, step by step" srcdoc="{html.escape(self.html)}" '
            f'style="width: 100%; height: {self._height}px; border: 0"></iframe>'
        )
        return {
            "text/plain": self.text,
            "text/html": f"{frame}<details open>{summary}{picture}{listed}</details>",
        }


def play(f: Node, *, theme: str = "light", expand: bool = False) -> Player:
    """Both passes over the graph of `f`, one step at a time, as a page to play in a browser or a notebook.

    First the values, node by node, then the gradients: a backward step shows for each edge
    upstream · local = contribution, and how the contributions add up at a node that is used several times. Buttons, a
    slider, the arrow keys, Home, End and the space bar lead through the steps. The numbers of leaves can be edited:
    the page computes both passes anew, by the same rules. It is a single file, and asks the network for nothing.

    Parameters
    ----------
    f : Value, Tensor or Program
        The result, one number. A Tensor of several numbers has no backward pass. In a graph with Tensors the steps are
        shown with their numbers, but leaves cannot be edited.
    theme : {"light", "dark", "colorblind"}
        Colours.
    expand : bool
        Whether a call of a jitted function, which is one node, is played as the graph that it computes.

    Returns
    -------
    Player
        ``.save("f.html")`` writes the page, ``.html`` is its text, ``.text`` the steps with a line for each edge, and
        ``.alt`` a description. A notebook shows it, followed by the picture and all steps without any script, which
        are what is left in a notebook that is not trusted.

    Raises
    ------
    InputError
        If `f` is no node, the theme does not exist, or data was set after `f` was computed.
    GraphSizeError
        If the graph has more than 300 nodes.

    Examples
    --------
    >>> import microgad as mg
    >>> player = play(mg.parse("(x + y) * z", x=-2, y=5, z=-4))
    >>> print(player.text)
    x = -2
    y = 5
    v1 = x + y = -2 + 5 = 3
    z = -4
    f = v1 * z = 3 * (-4) = -12
    ∂f/∂f = 1
    ∂f/∂v1 = ∂f/∂f · ∂f/∂v1 = 1 · (-4) = -4
    ∂f/∂z = ∂f/∂f · ∂f/∂z = 1 · 3 = 3
    ∂f/∂x = ∂f/∂v1 · ∂v1/∂x = -4 · 1 = -4
    ∂f/∂y = ∂f/∂v1 · ∂v1/∂y = -4 · 1 = -4
    """
    check_flag("expand", expand, optional=False)
    f = shown_as(f, "play", expand)
    check_choice("theme", theme, THEMES)
    return Player(f, theme)


def _notes(passes: Passes) -> str:
    return "".join(f'<p class="note">{html.escape(note)}</p>' for note in (*passes.notes, *passes.signs))


def _page(passes: Passes, theme: str, stage: Stage) -> str:
    """The page as HTML."""
    head = f"{passes.title}, step by step"
    with suppress(GraphSizeError):
        text = literal(formula(passes.order[-1]))
        if text != passes.title and len(text) <= HEAD:
            head = f"{passes.title} = {text}"
    buttons = "".join(
        f'<button type="button" id="{id}" aria-label="{does}" title="{does}"><svg width="20" height="20" '
        f'viewBox="0 0 20 20" aria-hidden="true"><path d="{sign}"/></svg></button>'
        for id, (does, sign) in BUTTONS.items()
    )
    fields = "".join(
        f'<label title="{html.escape(name)}">{html.escape(shortened(name))} <input name="{html.escape(name)}" '
        f'value="{number(passes.values[leaf], FIELD)}" data-leaf="{passes.place[leaf]}" inputmode="decimal" '
        f'autocomplete="off" aria-describedby="problem"></label>'
        for leaf in passes.leaves
        for name in [literal(passes.names[leaf])]
    )
    form = (
        f'<form id="leaves" aria-label="numbers to edit">Edit: {fields}<button type="reset">reset</button></form>'
        '<p id="problem" role="alert"></p>'
    )
    fixed = f'<p class="note">{html.escape(passes.fixed)}</p>' if passes.fixed else ""
    last = len(passes.steps) - 1
    items = "".join(f"<li>{html.escape(line)}</li>" for line in passes.lines)
    script = f"const PAGE = {source(passes.data())};\n"
    if passes.rows:
        script += str(passes.functions)
    script += (PAGE / "player.js").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width">
<title>{html.escape(passes.title)}, step by step</title>
<style>
{style(theme)}{(PAGE / "player.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<h1>{html.escape(head)}</h1>
<div class="controls" role="group" aria-label="steps">{buttons}
<input type="range" id="at" min="0" max="{last}" value="{last}" aria-label="step">
<span id="where">{last + 1} of {last + 1}</span></div>
<p id="said" aria-live="polite">{html.escape(passes.lines[-1])}</p>
<div class="picture" id="picture" tabindex="0">{stage.svg()}</div>
{form if passes.leaves else ""}
{_notes(passes)}{fixed}
<ol id="steps">{items}</ol>
<p class="note keys">Keys: → and ← step, space plays, Home and End go to the ends.</p>
</main>
<script>
"use strict";
{script}</script>
</body>
</html>
"""

"""From DOT to a picture: the system's ``dot``, else pygraphviz, else a tree of text."""

from __future__ import annotations

import base64
import html
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import graphviz

from microgad.atomic import write
from microgad.errors import InputError, RenderError, shown
from microgad.naming import literal

from .text import abridged

INSTALL = 'pip install "microgad[render]"'
FONT = Path(__file__).resolve().parent / "fonts" / "DejaVuSans.ttf"
MORE_FONTS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "/System/Library/Fonts")
_DRAWING = threading.Lock()  # one picture at a time: it changes the environment, which all threads share
SOURCES = (".dot", ".gv")
SUFFIXES = (".svg", ".png", ".pdf", *SOURCES)  # of what `save` writes
LEAST = 0.45  # of its size, to which a picture shrinks in a page: text of 16 pixels to 7
RASTER = ("png", "jpg", "jpeg", "gif", "webp")

# pygraphviz lays out inside the process that calls it: in one of its own, a long layout can be
# interrupted, and what the C libraries print stays out of the user's terminal.
_PYGRAPHVIZ = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog=sys.argv[2]))
"""


class Drawing(graphviz.Digraph):
    """A `graphviz.Digraph` that also renders on a machine without ``dot``.

    Attributes
    ----------
    alt : str
        A sentence that stands in for the picture.
    text : str
        The graph as a tree of text.
    """

    text = ""
    _alt = "A graph"
    dpi: int | None = None  # of pictures made of pixels, if not the usual

    @property
    def alt(self) -> str:  # noqa: D102
        return self._alt

    @alt.setter
    def alt(self, words: str) -> None:
        self._alt = abridged(words)

    def pipe(
        self,
        format: str | None = None,
        renderer: str | None = None,
        formatter: str | None = None,
        neato_no_op: bool | int | None = None,
        quiet: bool = False,
        *,
        engine: str | None = None,
        encoding: str | None = None,
    ) -> bytes | str:
        """The picture as bytes, or as text in `encoding`; the parameters are graphviz's.

        Raises
        ------
        RenderError
            If nothing on this machine can make it; the message says what to install.
        """
        format = format or self.format
        try:
            with _font(self.source), self._sharp(format):
                data, problem = b"", ""
                try:
                    data = super().pipe(format, renderer, formatter, neato_no_op, True, engine=engine)
                except graphviz.CalledProcessError as error:
                    problem = _last_line(error.stderr)
                except (graphviz.ExecutableNotFound, OSError):  # none there, or none that runs
                    pass
                data = data or _pygraphviz(self.source, format, engine or self.engine, problem)
        except OSError as error:  # such as no folder for temporary files
            raise RenderError(f"could not make {format}: {error}") from None
        return data if encoding is None else data.decode(encoding)

    def render(
        self,
        filename: Any = None,
        directory: Any = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,
        renderer: str | None = None,
        formatter: str | None = None,
        neato_no_op: bool | int | None = None,
        quiet: bool = False,
        quiet_view: bool = False,
        *,
        outfile: Any = None,
        engine: str | None = None,
        raise_if_result_exists: bool = False,
        overwrite_source: bool = False,
    ) -> str:
        """Write the picture, and with `cleanup=False` its DOT text beside it; return the picture's path.

        The parameters are graphviz's. Files are written whole or not at all.
        """
        if outfile is not None:
            target = Path(outfile)
            source = Path(filename) if filename is not None else target.with_suffix(".gv")
            format = format or target.suffix.lstrip(".") or self.format
        else:
            source = Path(directory or self.directory or "", filename or self.filename)
            format = format or self.format
            target = source.with_name(".".join(x for x in (source.name, renderer, formatter, format) if x))
        if raise_if_result_exists and target.exists():
            raise graphviz.FileExistsError(f"output file exists: {str(target)!r}")
        data = self.pipe(format, renderer, formatter, neato_no_op, quiet, engine=engine)
        assert isinstance(data, bytes)
        with suppress(OSError):  # `put` says what is wrong
            target.parent.mkdir(parents=True, exist_ok=True)
        put(target, data)
        if not cleanup and source != target:
            put(source, self.source.encode())
        if view:
            self._view(str(target), format=format, quiet=quiet_view)
        return str(target)

    def save(self, filename: Any = None, directory: Any = None, *, skip_existing: bool | None = False) -> str:
        """Write the picture, in the format that the suffix of the path names, and return the path.

        Parameters
        ----------
        filename : str or path-like, optional
            It ends in ``.svg``, ``.png`` or ``.pdf``; in ``.dot`` or ``.gv`` for the DOT text, which graphviz's own
            `save` always writes. Without a path it is that.
        directory, skip_existing : optional
            As in graphviz.

        Raises
        ------
        InputError
            For another suffix, or where no file can be written.
        RenderError
            If nothing on this machine can make it; the message says what to install.
        """
        target = destination(self.filename if filename is None else filename, SUFFIXES, directory)
        if skip_existing and target.exists():
            return str(target)
        suffix = target.suffix.lower()
        data = self.source.encode() if suffix in SOURCES else self.pipe(suffix[1:])
        assert isinstance(data, bytes)
        put(target, data)
        return str(target)

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None, **_: Any
    ) -> dict[str, Any]:
        # An <img> survives in a notebook that is not trusted, where image/svg+xml and inline SVG vanish.
        try:
            svg = self.pipe("svg")
        except RenderError as error:
            text = f"{self.text}\n{error}"
            return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}
        assert isinstance(svg, bytes)
        return {"text/plain": self.text, "text/html": image(svg, self.alt)}

    @contextmanager
    def _sharp(self, format: str) -> Iterator[None]:
        """Twice the pixels for pictures made of pixels, while one is made."""
        if format not in RASTER or "dpi" in self.graph_attr:
            yield
            return
        self.graph_attr["dpi"] = str(self.dpi or (192 if len(self.body) < 300 else 96))
        try:
            yield
        finally:
            del self.graph_attr["dpi"]


def image(svg: bytes, alt: str) -> str:
    """A picture in HTML: it shrinks to where it stands as long as it can be read, and is scrolled from there on."""
    size = "max-width: 100%"
    if found := re.search(rb'<svg[^>]*?width="([\d.]+)(pt|)"', svg):
        size += f"; min-width: {LEAST * float(found[1]) * (4 / 3 if found[2] else 1):.0f}px"
    data = base64.b64encode(svg).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(alt)}" style="{size}">'


def destination(path: Any, suffixes: Sequence[str], directory: Any = None) -> Path:
    """Where a file is written; an error if that is no path, or it does not end in one of the suffixes."""
    try:
        target = Path(os.fspath(directory or ""), os.fspath(path))
    except TypeError:
        raise InputError(f"a path is text or a Path, not {shown(path)}") from None
    if target.suffix.lower() not in suffixes:
        raise InputError(f"{literal(str(target))}: unknown suffix {target.suffix!r}: use {', '.join(suffixes)}")
    return target


def put(target: Path, data: bytes) -> None:
    """Write a file whole or not at all; an error of one line where that cannot be done."""
    try:
        write(target, data)
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {literal(str(target))}: {reason}") from None


def renderer() -> str | None:
    """What would draw here: ``"dot"``, ``"pygraphviz"``, or None."""
    try:
        graphviz.version()
    except (RuntimeError, OSError, graphviz.CalledProcessError):  # none there, or none that runs
        return "pygraphviz" if importlib.util.find_spec("pygraphviz") else None
    return "dot"


def _pygraphviz(source: str, format: str, engine: str, problem: str) -> bytes:
    """The picture by pygraphviz; `problem` is what dot said, if there is one."""
    if importlib.util.find_spec("pygraphviz") is None:
        cause = f"dot could not make {format} ({problem})" if problem else f"no renderer found for {format}"
        raise RenderError(f"{cause}: {INSTALL}, or install Graphviz")
    command = [sys.executable, "-c", _PYGRAPHVIZ, format, engine]
    done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise RenderError(f"pygraphviz could not make {format}: {_last_line(done.stderr)}")
    return done.stdout


def _last_line(stderr: bytes | None) -> str:
    lines = (stderr or b"").decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


@contextmanager
def _font(source: str) -> Iterator[None]:
    """Show the renderers the font that comes with microgad, and only that, so that none need be installed.

    It stands in a folder of its own, with the cache: fontconfig writes into both. What the machine has
    besides is linked there where the font lacks a script, which takes a while.
    """
    with _DRAWING:
        if "FONTCONFIG_FILE" in os.environ:
            yield
            return
        with tempfile.TemporaryDirectory(prefix="microgad-") as folder:
            shutil.copy(FONT, folder)
            if os.name == "posix" and max(source) >= "\u2e80":  # it has no Chinese, Japanese or Korean: others may
                found = (path for top in MORE_FONTS for path in Path(top).expanduser().rglob("*.[ot]t[cf]"))
                for i, path in enumerate(found):
                    os.symlink(path, Path(folder, f"{i}-{path.name}"))
            config = Path(folder, "fonts.conf")
            config.write_text(
                '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">'
                f"<fontconfig><dir>{html.escape(folder)}</dir><cachedir>{html.escape(folder)}</cachedir></fontconfig>",
                encoding="utf-8",
            )
            os.environ["FONTCONFIG_FILE"] = str(config)
            try:
                yield
            finally:
                del os.environ["FONTCONFIG_FILE"]

"""The command line: an expression drawn, stepped through, derived and checked; and a look at the machine."""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import os
import platform
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import graphviz
import numpy as np

from . import __version__, viz
from .checks import slopes
from .derivation import derive
from .errors import ExpressionError, InputError, MicrogadError
from .evaluation import evaluation_trace
from .expression import parse
from .naming import DIGITS, columns, literal
from .order import topological_order
from .serial import to_json
from .steps import backward_steps, forward_steps
from .value import Value
from .viz.graph import SIDES
from .viz.player import SUFFIXES as PAGES
from .viz.render import INSTALL, destination, put
from .viz.theme import THEMES

SUFFIXES = (".svg", ".png", ".pdf", ".dot", ".mmd", ".json")


class _Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"microgad: error: {literal(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0, 1 where a check failed, 2 where the input was at fault."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ∂ still gets the numbers
    parser = _parser()
    args = parser.parse_args(_shield(sys.argv[1:] if argv is None else argv))
    if args.command is None:
        parser.print_help()
        return 0
    code = None
    try:
        code = args.command(args)
        if sys.stdout is not None:  # as where it was closed with >&-
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _discard_output()
    except OSError as error:
        print(f"microgad: error: cannot print: {error.strerror or error}", file=sys.stderr)
        _discard_output()
        return 2
    except MicrogadError as error:
        print(f"microgad: error: {literal(str(error))}", file=sys.stderr)
        return 2
    return code or 0


def _discard_output() -> None:
    """Let Python's own last flush find nothing to complain of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> _Parser:
    parser = _Parser(prog="microgad", description="Trace a formula, run backpropagation, draw every number.")
    parser.add_argument("--version", action="version", version=f"microgad {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, does: Callable[[argparse.Namespace], int | None], about: str, example: str) -> _Parser:
        description = f"{about[0].upper()}{about[1:]}."
        parser = commands.add_parser(name, help=about, description=description, epilog=f"example: {example}")
        parser.add_argument("expression", help="such as '(x + y) * z': + - * / **, exp log tanh relu max min and more")
        parser.add_argument("values", nargs="*", metavar="name=value", help="a number for each name")
        parser.set_defaults(command=does)
        return parser

    graph = command(
        "graph",
        _graph,
        "draw the graph of an expression, with its value and gradients",
        "microgad graph '(x + y) * z' x=-2 y=5 z=-4 -o graph.svg",
    )
    endings = f"{' '.join(SUFFIXES)} (.mmd is Mermaid)"
    graph.add_argument("-o", "--output", metavar="FILE", help=f"{endings}; without it, a tree in the terminal")
    graph.add_argument("--rankdir", choices=tuple(SIDES), help="direction (default: LR, or TB where that fits better)")
    graph.add_argument("--theme", choices=tuple(THEMES), default="light", help="colours (default: light)")
    graph.add_argument("--highlight", metavar="NAME", help="mark every path from this variable to the result")
    steps = command(
        "steps",
        _steps,
        "show the forward and the backward pass, one node at a time",
        "microgad steps 'exp(x*y + max(z, w))' x=0.5 y=2 z=-1 w=1",
    )
    steps.add_argument(
        "--format",
        choices=("text", "table", "markdown", "html"),
        default="text",
        help="the steps as text (default), or both passes as one table",
    )
    play = command(
        "play",
        _play,
        "write a page that steps through both passes, in which the numbers can be edited",
        "microgad play '(x + y) * z' x=-2 y=5 z=-4 -o f.html",
    )
    play.add_argument("-o", "--output", metavar="FILE", required=True, help="the page, .html")
    play.add_argument("--theme", choices=tuple(THEMES), default="light", help="colours (default: light)")
    derive = command(
        "derive",
        _derive,
        "write out the chain rule, in names, formulas and numbers",
        "microgad derive 'exp(x*y + max(z, w))' x=0.5 y=2 z=-1 w=1 --wrt x",
    )
    derive.add_argument("--wrt", metavar="NAME", help="the variable to differentiate by; without it, each in turn")
    derive.add_argument("--format", choices=("text", "latex"), default="text", help="(default: text)")
    derive.add_argument("--digits", type=int, default=DIGITS, help=f"of the numbers, significant (default: {DIGITS})")
    command(
        "check",
        _check,
        "compare the gradients with finite differences; exit code 1 if they differ",
        "microgad check 'tanh(w*x + b)' w=0.5 x=2 b=-1",
    )
    doctor = commands.add_parser("doctor", help="say what is found on this machine and what to install for the rest")
    doctor.set_defaults(command=_doctor)
    return parser


def _shield(argv: Sequence[str]) -> list[str]:
    """Keep argparse from taking an expression such as ``-x * y`` for options."""
    names = "output rankdir theme highlight wrt format digits help version"
    option = re.compile(rf"-(-|-({names.replace(' ', '|')})(=.*)?|h|o.*)", re.DOTALL)

    def shield(before: str, word: str) -> str:
        if not word.startswith("-"):
            return word
        if before in ("-o", "--output"):
            return f"./{word}"
        return word if option.fullmatch(word) else f" {word}"

    return [shield(before, word) for before, word in zip(["", *argv], argv, strict=False)]


def _graph(args: argparse.Namespace) -> None:
    target = None if args.output is None else destination(args.output, SUFFIXES)
    f, leaves = _read(args)
    f.backward()
    drawing = viz.draw(f, rankdir=args.rankdir, theme=args.theme, highlight=args.highlight)
    if target is not None:
        _save(f, drawing, args.rankdir, target)
    title = "" if f.name == args.expression.strip() else f"{args.expression.strip()} = "
    print(f"{f.name + ' = ' if f.name else ''}{literal(title)}{f.data:.10g}\n")
    rows = [[literal(name), f"{x.data:.10g}", f"{x.grad:.10g}"] for name, x in leaves.items()]
    print(*columns([["name", "data", "grad"], *rows], (1, 2)), sep="\n")
    print(f"\nwrote {target}" if target is not None else f"\n{drawing.text}")


def _play(args: argparse.Namespace) -> None:
    destination(args.output, PAGES)
    f, _ = _read(args)
    print(f"wrote {viz.play(f, theme=args.theme).save(args.output)}")


def _steps(args: argparse.Namespace) -> None:
    f, _ = _read(args)
    if args.format != "text":
        table = evaluation_trace(f)
        forms = {"table": table.__str__, "markdown": table.to_markdown, "html": table.to_html}
        print(forms[args.format]())
        return
    for title, steps in (("forward", forward_steps(f)), ("backward", backward_steps(f))):
        print(title if f.prim is not None else f"{title}: nothing is computed")
        for step in steps:
            print("  " + str(step).replace("\n", "\n  "))


def _derive(args: argparse.Namespace) -> None:
    f, leaves = _variables(args)
    if args.wrt is not None and args.wrt not in leaves:
        raise InputError(f"no variable {args.wrt!r} in the expression: it has {', '.join(leaves)}")
    for i, name in enumerate([args.wrt] if args.wrt is not None else leaves):
        found = derive(f, name, digits=args.digits)
        print("\n" * (i > 0) + (found.latex if args.format == "latex" else str(found)))


def _check(args: argparse.Namespace) -> int:
    _, leaves = _variables(args)
    point = [leaf.data for leaf in leaves.values()]

    def value(*xs: Value) -> Value:
        for name, x in zip(leaves, xs, strict=True):
            x.name = name  # what an error calls it
        return parse(args.expression, **dict(zip(leaves, xs, strict=True)))

    found = slopes(value, point)
    rows = [["name", "gradient", "finite difference", "difference", "  verdict"]]
    for name, slope in zip(leaves, found, strict=True):
        numbers = (slope.got, slope.expected)
        difference = f"{abs(slope.got - slope.expected):.1g}"
        rows.append([literal(name), *(f"{x:.10g}" for x in numbers), difference, f"  {slope.fault or 'ok'}"])
    print(*columns(rows, (1, 2, 3)), sep="\n")
    return 1 if any(slope.fault for slope in found) else 0


def _read(args: argparse.Namespace) -> tuple[Value, dict[str, Value]]:
    """The graph of the expression, its result named f, and its variables by name."""
    values = _values(args.values)
    f = parse(args.expression, **values)
    leaves = {node.name: node for node in topological_order(f) if node.prim is None and node.name}
    if f.prim is not None and "f" not in leaves:
        f.name = "f"
    if unused := [name for name in values if name not in leaves]:
        print(f"microgad: note: not in the expression: {literal(', '.join(unused))}", file=sys.stderr)
    return f, leaves


def _variables(args: argparse.Namespace) -> tuple[Value, dict[str, Value]]:
    f, leaves = _read(args)
    if not leaves:
        raise InputError("the expression has no variable to differentiate by")
    return f, leaves


def _values(pairs: Sequence[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        name = name.strip()
        if not name or not equals:
            what = "no such option" if pair.strip().startswith("-") else "no name=value"
            raise ExpressionError(f"column 1: {pair.strip()!r} is {what}")
        if not name.isidentifier():
            raise ExpressionError(f"column 1: {name!r} is no name, in {pair!r}")
        if name in values:
            raise ExpressionError(f"column 1: {pair!r}: {name} has a value already")
        column = len(pair) - len(number) + 1
        try:
            values[name] = float(number)
        except ValueError:
            raise ExpressionError(f"column {column}: {number!r} is not a number, in {pair!r}") from None
        if math.isinf(values[name]) and "inf" not in number.lower():
            raise ExpressionError(f"column {column}: the number is too large, in {pair!r}")
    return values


def _save(f: Value, drawing: viz.Drawing, rankdir: str | None, target: Path) -> None:
    suffix = target.suffix.lower()
    texts: dict[str, Callable[[], str]] = {
        ".dot": lambda: drawing.source,
        ".mmd": lambda: viz.mermaid(f, rankdir=rankdir or "LR"),
        ".json": lambda: to_json(f, indent=2) + "\n",
    }
    data: Any = texts[suffix]().encode() if suffix in texts else drawing.pipe(suffix[1:])
    put(target, data)


def _doctor(args: argparse.Namespace) -> None:
    found = viz.renderer()
    if found == "dot":
        drawn = f"dot {'.'.join(map(str, graphviz.version()))}"
    else:
        drawn = f"pygraphviz {_version('pygraphviz')}" if found else f"none: {INSTALL}, or install Graphviz"
    rows = [
        ["microgad", __version__],
        ["Python", platform.python_version()],
        ["numpy", np.__version__],
        ["graphviz", graphviz.__version__],
        ["renderer", drawn],
    ]
    for extra, packages in _extras().items():
        versions = {package: _version(package) for package in packages}
        missing = [package for package, version in versions.items() if version is None]
        have = ", ".join(f"{package} {version}" for package, version in versions.items() if version is not None)
        lack = f'missing {", ".join(missing)}: pip install "microgad[{extra}]"' if missing else ""
        rows.append([f"[{extra}]", "; ".join(part for part in (have, lack) if part)])
    print(*columns(rows), sep="\n")


def _extras() -> dict[str, list[str]]:
    """The extras that the installed distribution declares, with their packages."""
    extras: dict[str, list[str]] = defaultdict(list)
    try:
        requirements = importlib.metadata.requires("microgad") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return {}
    for requirement in requirements:
        package, extra = re.match(r"[\w.-]+", requirement), re.search(r"extra == ['\"]([\w-]+)", requirement)
        if package and extra and package[0] != "microgad":
            extras[extra[1]].append(package[0])
    return extras


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

"""The chain rule written out: along every path from a node to the result, or node by node where they are too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .algebra import collect, formula, of_numbers
from .autodiff import pull
from .errors import GraphSizeError, InputError, shown
from .naming import DIGITS, find, magnitude
from .node import Node
from .order import dependents
from .replay.expand import expanded
from .steps import View
from .symbolic import Expr, Formula, as_written, leaf_symbols, numeral, partial, products, symbol
from .value import Value

PATHS, FACTORS = 8, 48  # more paths than the one, or factors in all, are shown node by node
LIMIT = 1000  # nodes on the paths; nobody reads a longer derivation
DEFINED = 30  # computed nodes; how more of them are computed is for evaluation_trace to say
TERMS = 6  # of one node's sum that are written out
WIDTH = 88  # characters of a sum on one line
Side = Sequence[Expr]  # of an equation: summands


class _Link(NamedTuple):
    """A step of a path: from a node back to one of its inputs, with the derivative of the one by the other."""

    input: Node
    partial: Expr  # ∂node/∂input
    rule: Expr  # as a formula
    local: float  # as a number


def derive(f: Node, wrt: Node | str, *, digits: int = DIGITS) -> Formula:
    """The chain rule from `f` back to one of its nodes, written out: names, then formulas, then numbers.

    There is a product for each path from the node to `f`, and they add up. Where there are too many paths to read, it
    says how many, and gives the sums node by node, as the backward pass computes them.

    Parameters
    ----------
    f : Value
        The result.
    wrt : Value or str
        The node to differentiate by, or its name. A small number, as in ∂q/∂x⁽²⁾, makes it the derivative by the
        second place where x stands in q, and by nothing else.
    digits : int
        Significant digits of the numbers; with 17 they evaluate to the derivative to the last place.

    Returns
    -------
    Formula
        A ``str`` of several lines; a notebook shows its ``latex``.

    Raises
    ------
    GraphSizeError
        If the paths have more nodes than anybody reads.
    InputError
        If `f` is no Value, or `wrt` none of its nodes; if a Tensor lies between the two, whose derivatives are products
        of arrays that `backward_steps` writes out.
    DomainError
        Where a derivative does not exist.

    Examples
    --------
    >>> import microgad as mg
    >>> f = mg.parse("(x + y) * z", x=-2, y=5, z=-4)
    >>> f.inputs[0].name = "q"
    >>> derive(f, "x")
    q = x + y
    f = q * z
    <BLANKLINE>
    ∂f/∂x = ∂f/∂q · ∂q/∂x
          = z · 1
          = -4 · 1
          = -4
    <BLANKLINE>
    simplified: ∂f/∂x = z
    """
    if type(digits) is not int or not 1 <= digits <= 17:
        raise InputError(f"digits is a number from 1 to 17, not {shown(digits)}")
    view = View(expanded(f) if isinstance(f, Node) else f, "derivations", None)  # of jitted calls what they compute
    order = view.order
    x = find(order, wrt)
    on_paths = dependents(order, [x])
    nodes = [node for node in order if node in on_paths]
    of_numbers(order, on_paths, x, "derive")
    if len(nodes) > LIMIT:
        raise GraphSizeError(
            f"{len(nodes):,} nodes lie on the paths; a derivation shows up to {LIMIT:,}. Derive a part of the graph, "
            "such as the loss of one sample; mg.adjoints(f) has the numbers"
        )
    return _Derivation(view, x, nodes, digits).written()


class _Derivation:
    """One derivation, and what its lines need to know of the graph."""

    def __init__(self, view: View, x: Node, nodes: Sequence[Node], digits: int) -> None:
        self.view, self.x, self.nodes, self.digits = view, x, nodes, digits
        self.order, self.f, self.names = view.order, view.order[-1], view.names
        written = leaf_symbols(self.order, self.names)
        self.symbols = {node: symbol(name) for node, name in self.names.items()} | written
        self.symbols[x] = symbol(self.names[x])

    def written(self) -> Formula:
        top, bottom = self.names[self.f], self.names[self.x]
        whole = partial(top, bottom)
        if self.x is self.f:
            return _formula([_inline(whole, [[numeral(1.0)]])])
        on_paths = set(self.nodes)
        links = {node: self.links(node, on_paths) for node in self.nodes if node is not self.x}
        adjoints = {node: numeral(number, self.digits) for node, number in pull(self.order, among=on_paths).items()}
        paths, factors = self.size(links)
        lines = self.definitions()
        sides: list[Side] = []
        if paths <= PATHS and factors <= FACTORS:
            sides = [*self.along_paths(links), [adjoints[self.x]]]
            sides = [side for i, side in enumerate(sides) if i == 0 or _text(side) != _text(sides[i - 1])]
            lines.append(_stacked(whole, sides))
        else:
            many = "1 path" if paths == 1 else f"{magnitude(paths)} paths"
            lead = f"{many} {'leads' if paths == 1 else 'lead'} from {bottom} to {top}; node by node:\n"
            lines.append((lead, rf"&\text{{{many}; node by node:}}"))
            lines += self.node_by_node(links, adjoints)
        try:
            simplified = formula(self.f, self.x)
        except GraphSizeError:
            simplified = None
        if simplified is not None and simplified not in map(_text, sides):
            row = rf"\text{{simplified: }} {whole.latex} &= {simplified.latex}"
            lines.append((f"\nsimplified: {whole.text} = {simplified}", row))
        return _formula(lines)

    def links(self, node: Node, on_paths: set[Node]) -> list[_Link]:
        """What leads from a node back towards x, operand by operand."""
        assert node.prim is not None
        found = []
        edges = iter(node.edges(1.0, among=on_paths))
        stand_ins = {x: Value(x._value) for x in (node, *node.inputs)}
        names: dict[Node, Expr] = {stand_in: self.symbols[x] for x, stand_in in stand_ins.items()}
        operands = node.operands
        for i, x in enumerate(operands):
            if not isinstance(x, Node) or x not in on_paths:
                continue
            rule: Any = node.prim.partials[i]
            if callable(rule):
                rule = rule(stand_ins[node], *(stand_ins[y] if isinstance(y, Node) else y for y in operands))
            place = self.view.place(node, x, sum(y is x for y in operands[: i + 1]))
            _, local, contribution = next(edges)
            local = contribution if local is None else local  # of a variable, whose rule is that of a whole array, too
            found.append(_Link(x, partial(self.names[node], self.names[x], place), collect(rule, names), local))
        return found

    def size(self, links: Mapping[Node, list[_Link]]) -> tuple[int, int]:
        """How many paths there are, and how many factors in all of them."""
        paths, factors = {self.x: 1}, {self.x: 0}
        for node in self.nodes:
            if node is not self.x:
                paths[node] = sum(paths[link.input] for link in links[node])
                factors[node] = sum(factors[link.input] + paths[link.input] for link in links[node])
        return paths[self.f], factors[self.f]

    def along_paths(self, links: Mapping[Node, list[_Link]]) -> list[Side]:
        """The sum over the paths of the products along them: as derivatives, as formulas, as numbers."""
        found: list[list[_Link]] = []
        stack: list[tuple[Node, list[_Link]]] = [(self.f, [])]
        while stack:
            node, path = stack.pop()
            if node is self.x:
                found.append(path)
            else:
                stack += [(link.input, [*path, link]) for link in reversed(links[node])]
        sides: list[Side] = [
            products([[link.partial for link in path] for path in found]),
            products([[link.rule for link in path] for path in found]),
            products([[numeral(link.local, self.digits) for link in path] for path in found]),
        ]
        return sides if len(found) > 1 or len(found[0]) > 1 else sides[1:]

    def node_by_node(self, links: Mapping[Node, list[_Link]], adjoints: Mapping[Node, Expr]) -> list[tuple[str, str]]:
        """A line for each node on the paths: the sum over the nodes that use it."""
        top = self.names[self.f]
        users: dict[Node, list[tuple[Node, _Link]]] = {node: [] for node in self.nodes}
        for node in reversed(self.nodes):
            for link in links.get(node, []):
                users[link.input].append((node, link))
        lines = [_inline(partial(top, top), [[numeral(1.0)]])]
        for node in reversed(self.nodes[:-1]):
            some = users[node][:TERMS]
            more = len(users[node]) - len(some)
            chain = products([[partial(top, self.names[user]), link.partial] for user, link in some], more)
            numbers = [[adjoints[user], numeral(link.local, self.digits)] for user, link in some]
            sides = [chain, products(numbers, more), [adjoints[node]]]
            lines.append(_inline(partial(top, self.names[node]), sides))
        return lines

    def definitions(self) -> list[tuple[str, str]]:
        """How what the derivation mentions is computed, down to x, if that is not too much to say here."""
        needed = {node for node in self.nodes if node is not self.x}
        for node in reversed(self.order):
            if node in needed:
                needed.update(y for y in node.inputs if y is not self.x and y.prim is not None)
        if len(needed) > DEFINED:
            return []
        lines = [(node, as_written(node, self.symbols)) for node in self.order if node in needed]
        return [*(_inline(symbol(self.names[node]), [[written]]) for node, written in lines), ("", "")]


def _text(side: Side, plus: str = " + ") -> str:
    return plus.join(term.text for term in side)


def _latex(side: Side, plus: str = " + ") -> str:
    return plus.join(term.latex for term in side)


def _inline(left: Expr, sides: Sequence[Side]) -> tuple[str, str]:
    """One line: left = side = side."""
    return " = ".join([left.text, *map(_text, sides)]), f"{left.latex} &= {' = '.join(map(_latex, sides))}"


def _stacked(left: Expr, sides: Sequence[Side]) -> tuple[str, str]:
    """A line for each side, the signs = below each other; of a side that is too wide, one for each summand."""
    pad = "\n" + " " * len(left.text)
    wide = [len(_text(side)) > WIDTH for side in sides]
    lines = [_text(side, f"{pad} + " if w else " + ") for side, w in zip(sides, wide, strict=True)]
    rows = [_latex(side, r" \\ &\quad + " if w else " + ") for side, w in zip(sides, wide, strict=True)]
    return left.text + pad.join(f" = {x}" for x in lines), left.latex + r" \\ ".join(f" &= {x}" for x in rows)


def _formula(lines: Sequence[tuple[str, str]]) -> Formula:
    rows = r" \\ ".join(latex for _, latex in lines if latex)
    return Formula("\n".join(text for text, _ in lines), rf"\begin{{aligned}} {rows} \end{{aligned}}")

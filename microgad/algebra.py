"""Formulas of graphs and of their derivatives, these as a teacher writes them: sums of terms, terms of powers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from . import primitives as rows
from .autodiff import pull
from .errors import InputError, shown, spell
from .naming import all_names, find, literal
from .node import Node
from .order import dependents, topological_order
from .primitives import TABLE
from .replay.expand import expanded
from .symbolic import LIMIT, Expr, Formula, applied, apply, leaf_symbols, numeral, operand_formulas, symbol, too_long

MANY = 10_000  # nodes, of which there is no need to count the symbols


def formula(f: Node, wrt: Node | str | None = None) -> Formula:
    """The formula that a graph computes, or that of its derivative.

    Parameters
    ----------
    f : Value or Tensor
        The result. Named leaves stand for themselves, the others for their numbers, large arrays for their shape.
    wrt : Value or str, optional
        A node of the graph, or the name of one: then it is the derivative by that node, collected and simplified.

    Returns
    -------
    Formula
        A ``str`` that `parse` reads where the names in it are identifiers and nothing is an array; a notebook shows
        its ``latex``.

    Raises
    ------
    GraphSizeError
        If it would have more symbols than anybody reads; the message says how many.
    InputError
        If `f` is no node, or `wrt` none of its nodes; if Tensors lie between the two, whose derivatives are products
        of arrays that `backward_steps` writes out.

    Examples
    --------
    >>> import microgad as mg
    >>> f = mg.parse("exp(x * y + max(z, w))", x=0.5, y=2, z=-1, w=1)
    >>> formula(f)
    exp(x * y + max(z, w))
    >>> formula(f, "x")
    y * exp(x * y + max(z, w))
    """
    if not isinstance(f, Node):
        raise InputError(f"formula is that of a Value, not of {shown(f)}")
    f = expanded(f)  # of jitted calls what they compute
    order = topological_order(f)
    x = None if wrt is None else find(order, wrt)
    _guard_size(order, x)
    names = all_names(order)
    written = leaf_symbols(order, names)
    if x is None:
        for node in order:
            if node not in written:
                written[node] = applied(node, operand_formulas(node, written))
        found = written[f]
    else:
        on_paths = dependents(order, [x])
        of_numbers(order, on_paths, x, "formula")
        if x not in written or written[x].number is not None:
            written[x] = symbol(names[x])
        derivative = pull(order, trace=True, among=on_paths).get(x, 0.0)
        found = collect(derivative, written, set(order))
    return Formula(found.text, found.latex)


def of_numbers(order: Sequence[Node], on_paths: Set[Node], x: Node, what: str) -> None:
    """Raise where a Tensor lies between x and the result, whose derivative is no formula of numbers."""
    for node in order:
        if node in on_paths and type(node._value) is not float:
            raise InputError(
                f"{what} by {literal(spell(x))}: {literal(spell(node))} is a Tensor, and only derivatives of Values by "
                "Values are written as formulas: mg.backward_steps writes out each step, mg.grad computes derivatives"
            )


def _guard_size(order: Sequence[Node], x: Node | None) -> None:
    """Raise before a formula is written whose shared parts, each written out, would go on for ever."""
    if len(order) > MANY:
        raise too_long(len(order), "at least ")
    sizes: dict[Node, int] = {}
    for node in order:
        sizes[node] = 1 + (0 if node is x else sum(sizes.get(y, 1) for y in node.operands))
    if sizes[order[-1]] > LIMIT:
        raise too_long(sizes[order[-1]])


Factors = dict[Expr, float]  # bases and their exponents
Terms = list[tuple[float, Factors]]  # coefficients and what they stand before


def collect(result: Any, written: Mapping[Node, Expr], own: Set[Node] = frozenset()) -> Expr:
    """The formula of a traced derivative: like terms added, powers of one base joined, the signs in front.

    What is not among the user's `own` nodes was recorded by a rule.
    """
    if not isinstance(result, Node):
        return numeral(float(result))
    done: dict[Node, Terms] = {node: _atom(expr) for node, expr in written.items()}
    for node in topological_order(result):
        if node not in done:
            done[node] = _atom(numeral(node._value)) if node.prim is None else _terms(node, done, own)
    return _sum(done[result])


def _atom(expr: Expr) -> Terms:
    if expr.number is not None:
        return [(expr.number, {})] if expr.number else []
    return [(1.0, {expr: 1.0})]


def _terms(node: Node, done: Mapping[Node, Terms], own: Set[Node]) -> Terms:
    row = node.prim
    assert row is not None
    operands = [done[x] if isinstance(x, Node) else _atom(numeral(x)) for x in node.operands]
    if TABLE.get(row.name) is row:
        match row.name:
            case "identity":
                return operands[0]
            case "neg":
                return _scaled(-1.0, operands[0])
            case "add":
                return _merged([*operands[0], *operands[1]])
            case "sub":
                return _merged([*operands[0], *_scaled(-1.0, operands[1])])
            case "mul":
                return _product(operands[0], operands[1])
            case "div":
                return _product(operands[0], _power(operands[1], -1.0))
            case "pow" if not operands[1]:
                return [(1.0, {})]
            case "pow" if len(operands[1]) == 1 and not operands[1][0][1]:
                return _power(operands[0], operands[1][0][0])
            case "where" if node not in own and _is_guard(node):
                return operands[2]
            case "where" if _is_truth(node.operands[0]) and all(type(x) is float for x in node.operands[1:]):
                taken = operands[0]  # where([x > y], 1, 0) is [x > y] itself
                if node.operands[1:] == (1.0, 0.0):
                    return taken
                if node.operands[1:] == (0.0, 1.0):
                    return _merged([(1.0, {}), *_scaled(-1.0, taken)])
    return _atom(apply(row, *map(_sum, operands)))


def _is_guard(node: Node) -> bool:
    """Whether a node is where(a = 0 …, 1, a), by which a rule keeps its numbers finite at 0; elsewhere it is a."""
    condition, one, a = node.operands
    found = condition.operands if isinstance(condition, Node) and condition.prim is rows.mul else (condition,)
    return (
        type(one) is float
        and one == 1.0
        and any(
            isinstance(x, Node) and x.prim is rows.equal and x.operands[0] is a and _is_zero(x.operands[1])
            for x in found
        )
    )


def _is_zero(x: Any) -> bool:  # a node would compare as its number does
    return type(x) is float and x == 0.0


def _is_truth(condition: Any) -> bool:
    return isinstance(condition, Node) and condition.prim in (rows.greater, rows.equal)


def _scaled(c: float, terms: Terms) -> Terms:
    return [(c * coefficient, factors) for coefficient, factors in terms]


def _merged(terms: Terms) -> Terms:
    found: dict[frozenset[tuple[Expr, float]], tuple[list[float], Factors]] = {}
    for coefficient, factors in terms:
        found.setdefault(frozenset(factors.items()), ([], factors))[0].append(coefficient)
    sums = ((_total(coefficients), factors) for coefficients, factors in found.values())
    return [(coefficient, factors) for coefficient, factors in sums if coefficient]


def _total(numbers: Sequence[float]) -> float:
    """A sum, or 0 where it is only what rounding has left: of 0.1 + 0.2 - 0.3."""
    total = sum(numbers)
    return total if abs(total) > 1e-15 * sum(map(abs, numbers)) else 0.0


def _single(terms: Terms) -> tuple[float, Factors]:
    """The terms as one, a sum of several as a factor by itself."""
    return terms[0] if len(terms) == 1 else _atom(_sum(terms))[0]


def _product(a: Terms, b: Terms) -> Terms:
    if not a or not b:
        return []
    for one, other in ((a, b), (b, a)):  # a sign goes into a sum, any other factor stays in front of it
        if len(one) == 1 and not one[0][1] and abs(one[0][0]) == 1.0:
            return _scaled(one[0][0], other)
    (c, factors), (d, more) = _single(a), _single(b)
    joined = dict(factors)
    for base, n in more.items():
        joined[base] = _total([joined[base], n]) if base in joined else n
    left = {base: n for base, n in joined.items() if n}
    if c * d and math.isfinite(c * d):
        return [(c * d, left)]
    whole = _sum(b)  # beyond the floats: as it stands
    return [(c, {**factors, whole: factors.get(whole, 0.0) + 1.0})]


def _power(terms: Terms, n: float) -> Terms:
    if not terms:
        return _atom(apply(rows.pow, numeral(0.0), numeral(n)))
    c, factors = _single(terms)
    bare = c == 1.0 and list(factors.values()) == [1.0]
    coefficient = rows.pow.scalar(c, n) if n.is_integer() or bare else 0.0  # (x²)^½ is not x
    if not (coefficient and math.isfinite(coefficient)):
        if n < 0:
            return [(1.0, {apply(rows.pow, _sum(terms), numeral(-n)): -1.0})]
        return _atom(apply(rows.pow, _sum(terms), numeral(n)))
    return [(coefficient, {base: exponent * n for base, exponent in factors.items()})]


def _sum(terms: Terms) -> Expr:
    """Terms as a formula; one that has no minus goes first."""
    if not terms:
        return numeral(0.0)
    first = next((i for i, (coefficient, _) in enumerate(terms) if coefficient > 0), 0)
    formulas = [_term(*terms[i]) for i in (first, *(i for i in range(len(terms)) if i != first))]
    total = formulas[0]
    for part in formulas[1:]:
        total = apply(rows.add, total, part)
    return total


def _term(coefficient: float, factors: Factors) -> Expr:
    turning = ((base, base.turned) for base, n in factors.items() if base.turned is not None and n % 2 == 1)
    if coefficient < 0 and (pair := next(turning, None)):  # -(y - 1) is 1 - y
        factors = {pair[1] if base is pair[0] else base: n for base, n in factors.items()}
        coefficient = -coefficient
    above = [(base, n) for base, n in factors.items() if n > 0]
    below = [(base, -n) for base, n in factors.items() if n < 0]
    size, divisor = abs(coefficient), 1.0
    if below and 1e-6 < size < 1.0 and (1.0 / size).is_integer():
        size, divisor = 1.0, 1.0 / size
    result = _multiplied(size, above)
    if below:
        result = apply(rows.div, result, _multiplied(divisor, below))
    return apply(rows.neg, result) if coefficient < 0 else result


def _multiplied(number: float, factors: Iterable[tuple[Expr, float]]) -> Expr:
    result = numeral(number)
    for base, n in sorted(factors, key=lambda pair: pair[0].size):  # y · exp(x · y), not exp(x · y) · y
        result = apply(rows.mul, result, apply(rows.pow, base, numeral(n)))
    return result

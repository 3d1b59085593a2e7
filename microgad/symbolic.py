r"""Formulas, as text that `parse` reads and as LaTeX, with what they need to know of precedence.

An `Expr` is a formula that is finished in both notations and knows how tightly it binds, so that the next one can
be put together from it without looking inside. `apply` writes a row of the table as it stands.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import GraphSizeError
from .naming import DIGITS, DIGITS_OF_MANY, FEW, Text, given_names, magnitude
from .naming import number as plain_number
from .node import Node
from .primitive import Primitive
from .primitives import TABLE
from .structural import matmul, shape

ODD, SUM, SIGN, PRODUCT, FRACTION, CALL, ATOM = range(7)  # how tightly a formula binds; ODD are names like "a b"
LIMIT = 300  # symbols; more is no formula that a person reads
GREEK = set(
    """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi
    omega varepsilon vartheta varphi varrho Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega""".split()  # noqa: SIM905
)
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_ESCAPED = {c: f"\\{c}" for c in "{}$%#&_"} | {
    " ": r"\ ", "\\": r"\backslash ", "^": r"\wedge ", "~": r"\sim ", "'": r"\prime ", '"': r"\prime\prime ",
    "`": r"\prime ",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expr:
    """A formula in both notations."""

    text: str
    latex: str
    levels: tuple[int, int] = (ATOM, ATOM)  # of the text, of the LaTeX
    size: int = 1  # symbols in it
    number: float | None = None  # what it is, if it is a number
    opposite: Expr | None = None  # the same without its minus, if it begins with one
    turned: Expr | None = None  # of a - b, b - a
    matrix: bool = False  # a product of matrices
    reaches: bool = False  # its LaTeX ends in the operand of a sign Σ, to which a factor behind it would seem to belong


class Formula(Text):
    """A formula as text: a ``str`` with the same in LaTeX, which a notebook shows.

    Attributes
    ----------
    latex : str
        The formula in LaTeX's mathematics, without dollars around it.
    """

    latex: str

    def __new__(cls, text: str, latex: str) -> Formula:  # noqa: D102
        self = super().__new__(cls, text)
        self.latex = latex
        return self

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return str(self), self.latex

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex}$"


def leaf_symbols(order: Sequence[Node], names: Mapping[Node, str]) -> dict[Node, Expr]:
    """The leaves as they stand in a formula: by their `names` if they were given one, otherwise as numbers."""
    given = given_names(order)
    leaves = [node for node in order if node.prim is None]
    return {leaf: symbol(names[leaf]) if leaf in given else datum(leaf._value) for leaf in leaves}


def as_written(node: Node, written: Mapping[Node, Expr], digits: int | None = None) -> Expr:
    """The formula of one operation on what its operands are called, with a factor 1 or a summand 0 where it had one."""
    parts = operand_formulas(node, written, digits)
    return applied(node, [replace(part, number=None, opposite=None) for part in parts])


def operand_formulas(node: Node, written: Mapping[Node, Expr], digits: int | None = None) -> list[Expr]:
    """The formulas of the operands of a node, in order; of plain numbers with so many digits, or all."""
    return [written[x] if isinstance(x, Node) else numeral(x, digits) for x in node.operands]


def applied(node: Node, parts: Sequence[Expr]) -> Expr:
    """The operation of a node applied to formulas, in LaTeX with another sign where it multiplies number by number."""
    assert node.prim is not None
    if node.prim is TABLE["mul"] and all(map(shape, node.operands)):
        return _mul(parts[0], parts[1], _HADAMARD)
    return apply(node.prim, *parts)


def too_long(size: int, more: str = "") -> GraphSizeError:
    """The error of a formula that nobody would read."""
    return GraphSizeError(
        f"a formula of {more}{magnitude(size)} symbols; up to {LIMIT} are written out. mg.evaluation_trace shows it "
        "node by node; a part of the graph has a shorter one"
    )


# ---- the pieces


def numeral(x: float, digits: int | None = None) -> Expr:
    """A number: as exact as it takes, or with so many significant digits."""
    if x < 0 or (x == 0 and math.copysign(1, x) < 0):
        positive = numeral(-x, digits)
        return Expr(f"-{positive.text}", f"-{positive.latex}", (SIGN, SIGN), 1, x, positive)
    if digits is not None:
        text = plain_number(x, digits)
    else:
        text = str(int(x)) if x.is_integer() and x < 1e15 else repr(x)
    mantissa, e, exponent = text.partition("e")
    if x == math.inf:
        return Expr(text, r"\infty", number=x)
    if x != x:
        return Expr(text, r"\mathrm{nan}", number=x)
    if not e:
        return Expr(text, text, number=x)
    power = f"10^{{{int(exponent)}}}"
    if mantissa == "1":
        return Expr(text, power, (ATOM, CALL), number=x)
    return Expr(text, rf"{mantissa} \cdot {power}", (ATOM, PRODUCT), number=x)


def datum(x: Any, digits: int | None = None) -> Expr:
    """What a node holds: a number as by `numeral`, the numbers of a small array, or the shape of a large one."""
    if type(x) is float or not np.ndim(x):
        return numeral(float(x), digits)
    if x.size > FEW:
        lengths = ", ".join(map(str, x.shape))
        return Expr(f"array{x.shape}", rf"\operatorname{{array}}\left({lengths}\right)", (ATOM, CALL))
    digits = DIGITS if x.size == 1 else DIGITS_OF_MANY
    text = plain_number(x, digits)
    if x.ndim > 2:
        return Expr(text, rf"\left{text[:-1]}\right]", size=max(x.size, 1))
    rows = np.atleast_2d(x).tolist()
    inside = r" \\ ".join(" & ".join(numeral(z, digits).latex for z in row) for row in rows)
    return Expr(text, rf"\begin{{pmatrix}} {inside} \end{{pmatrix}}", size=max(x.size, 1))


def symbol(name: str) -> Expr:
    """A name; in LaTeX with Greek letters and subscripts, as in ``w_21``, ``x1`` and ``w[0]``."""
    return Expr(name, _latex_name(name), (ATOM if re.fullmatch(r"[\w.\[\]]+", name) else ODD, ATOM))


def _latex_name(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    stem = name.rstrip("'")
    if stem and stem != name:
        primes = r"\prime" * (len(name) - len(stem))
        return f"{{{_latex_name(stem)}^{{{primes}}}}}"
    match = re.fullmatch(r"([^\W\d_]+)(?:_?(\w*?)|((?:\[\w+\])+))", name)
    if not match:
        return _upright(name)
    head, after, brackets = match.groups()
    if head in GREEK:
        head = rf"\{head}"
    elif len(head) > 1 or not head.isascii():
        head = _upright(head)
    subscript = after or ",".join(re.findall(r"\w+", brackets or ""))
    if not subscript:
        return head
    plain = subscript.replace(",", "")
    return f"{head}_{{{subscript if plain.isascii() and '_' not in plain else _upright(subscript)}}}"


def _upright(text: str) -> str:
    return rf"\mathrm{{{''.join(_ESCAPED.get(c, c if c.isascii() or c.isalnum() else '?') for c in text)}}}"


def partial(f: str, x: str, place: int = 0) -> Expr:
    """The partial derivative ∂f/∂x of one name by another; a `place` tells several in the same operation apart."""
    top, bottom = (symbol(name) for name in (f, x))
    text = "/".join(f"∂{s.text}" if s.levels[0] == ATOM else f"∂({s.text})" for s in (top, bottom))
    small, raised = (str(place).translate(SUPERSCRIPTS), f"^{{({place})}}") if place else ("", "")
    latex = rf"\frac{{\partial {top.latex}}}{{\partial {bottom.latex}{raised}}}"
    return Expr(f"{text}⁽{small}⁾" if small else text, latex, (ATOM, FRACTION))


def products(
    products: Sequence[Sequence[Expr]], more: int = 0, dots: tuple[str, str] = (" · ", r" \cdot ")
) -> list[Expr]:
    """A sum of products, with every factor, a 1 too; after them how many `more` there are."""
    alone = len(products) == len(products[0]) == 1
    terms = []
    for k, factors in enumerate(products):
        first = SUM if alone else SIGN if k == 0 and factors[0].number is not None else FRACTION
        least = [first, *[FRACTION] * (len(factors) - 1)]
        text, latex = (
            dot.join(enclosed(x, style, need) for x, need in zip(factors, least, strict=True))
            for style, dot in enumerate(dots)
        )
        terms.append(Expr(text, latex))
    if more:
        terms.append(Expr(f"… ({more:,} more)", rf"\dots\ (\text{{{more:,} more}})"))
    return terms


def enclosed(part: Expr, style: int, least: int) -> str:
    """A part in one of the notations, in parentheses where it binds less tightly than at `least`."""
    text = part.latex if style else part.text
    if part.levels[style] >= least:
        return text
    return rf"\left({text}\right)" if style else f"({text})"


def _fill(row: Primitive, parts: Sequence[Expr], levels: tuple[int, int], *least: tuple[int, int]) -> Expr:
    """A row's templates filled; `least` says for each part how tightly it has to bind in either of them."""
    text, latex = (
        template.format(*(enclosed(part, style, need[style]) for part, need in zip(parts, least, strict=True)))
        for style, template in enumerate((row.text, row.latex))
    )
    size = 1 + sum(part.size for part in parts)
    if size > LIMIT:
        raise too_long(size, "at least ")
    return Expr(text, latex, levels, size)


def _neg(a: Expr) -> Expr:
    if a.number is not None:
        return numeral(-a.number)
    if a.opposite is not None:
        return a.opposite
    made = _fill(TABLE["neg"], [a], (SIGN, SIGN), (PRODUCT, PRODUCT))
    return Expr(made.text, made.latex, made.levels, made.size, None, a)


def _add(a: Expr, b: Expr) -> Expr:
    if a.number == 0.0 or b.number == 0.0:
        return b if a.number == 0.0 else a
    if b.opposite is not None:
        return _sub(a, b.opposite)
    return _fill(TABLE["add"], [a, b], (SUM, SUM), (SUM, SUM), (PRODUCT, PRODUCT))


def _sub(a: Expr, b: Expr) -> Expr:
    if b.number == 0.0 or a.number == 0.0:
        return a if b.number == 0.0 else _neg(b)
    if b.opposite is not None:
        return _add(a, b.opposite)
    made, turned = (_fill(TABLE["sub"], x, (SUM, SUM), (SUM, SUM), (PRODUCT, PRODUCT)) for x in ([a, b], [b, a]))
    plain = a.levels[0] > SUM and a.opposite is None  # (a + b) - c would turn into c - (a + b)
    return replace(made, turned=turned) if plain else made


_HADAMARD = replace(TABLE["mul"], latex=r"{} \odot {}")


def _mul(a: Expr, b: Expr, row: Primitive = TABLE["mul"]) -> Expr:
    for one, other in ((a, b), (b, a)):
        if one.number in (1.0, -1.0):
            return other if one.number == 1.0 else _neg(other)
    if a.opposite is not None:
        return _neg(_mul(a.opposite, b, row))
    left = FRACTION if a.matrix else SIGN  # (A @ B) * C, which Python would read without parentheses, and people not
    return _fill(row, [a, b], (PRODUCT, PRODUCT), (left, ATOM if a.reaches else left), (FRACTION, FRACTION))


def _matmul(a: Expr, b: Expr) -> Expr:
    left = PRODUCT if a.matrix else FRACTION
    made = _fill(matmul, [a, b], (PRODUCT, PRODUCT), (left, ATOM if a.reaches else left), (FRACTION, FRACTION))
    return replace(made, matrix=True)


def _div(a: Expr, b: Expr) -> Expr:
    if b.number == 1.0:
        return a
    if a.opposite is not None:
        return _neg(_div(a.opposite, b))
    return _fill(TABLE["div"], [a, b], (PRODUCT, FRACTION), (SIGN, SUM), (FRACTION, SUM))


def _pow(a: Expr, b: Expr) -> Expr:
    if b.number == 1.0:
        return a
    least = SUM if b.number is not None else ATOM
    function = re.match(r"\\(tanh|sin|cos|sigma)(?=\\left\()", a.latex)
    if function and a.levels[1] == CALL and b.number is not None and b.number > 1 and b.number.is_integer():
        latex = f"{function[0]}^{{{b.latex}}}{a.latex[function.end() :]}"
        text = _fill(TABLE["pow"], [a, b], (CALL, CALL), (ATOM, ATOM), (least, SUM)).text
        return Expr(text, latex, (CALL, CALL), 1 + a.size + b.size)
    return _fill(TABLE["pow"], [a, b], (CALL, CALL), (ATOM, ATOM), (least, SUM))


_ARITHMETIC: dict[str, Callable[..., Expr]] = {
    "identity": lambda a: a, "neg": _neg, "add": _add, "sub": _sub, "mul": _mul, "div": _div, "pow": _pow,
}  # fmt: skip


def apply(row: Primitive, *parts: Expr) -> Expr:
    """A row applied to formulas, as it was computed, but without a factor 1, a summand 0 or a + in front of a -."""
    if TABLE.get(row.name) is row and row.name in _ARITHMETIC:
        return _ARITHMETIC[row.name](*parts)
    if row is matmul:
        return _matmul(*parts)
    if row.text.count("{}") == 1 < len(parts):  # of any number of operands
        slots = ", ".join(["{}"] * len(parts))
        row = replace(row, text=row.text.replace("{}", slots), latex=row.latex.replace("{}", slots))
    open_text, open_latex = _open_slots(row.text), _open_slots(row.latex)
    reaches = row.latex.startswith((r"\sum", r"\prod"))
    bound = PRODUCT if reaches else ATOM
    least = [(ATOM if i in open_text else ODD, bound if i in open_latex else ODD) for i in range(len(parts))]
    behind = row.text.startswith(("{}[", "{}."))  # an index binds as tightly as a call
    text = SUM if _is_loose(row.text) else CALL if open_text and not behind else ATOM
    enclosed = row.latex.startswith(r"\left") and not open_latex
    latex = PRODUCT if reaches else SUM if _is_loose(row.latex) else ATOM if enclosed else CALL
    return replace(_fill(row, parts, (text, latex), *least), reaches=reaches)


def _tokens(template: str) -> list[str]:
    return re.findall(r"\\left.|\\right.|\\[a-z]+|\{\{|\}\}|\{\}|\\?.", template.replace(" ", ""))


def _opens(token: str) -> bool:
    return token in ("(", "[", "{{") or token.startswith(r"\left")


def _closes(token: str) -> bool:
    return token in (")", "]", "}}") or token.startswith(r"\right")


def _open_slots(template: str) -> set[int]:
    """The slots of a template that no bracket, comma or comparison encloses, where an operand has to bind by itself."""
    tokens = ["", *_tokens(template), ""]
    slots = [i for i, token in enumerate(tokens) if token == "{}"]
    between = (",", "<", ">", "=")
    left = [_opens(tokens[i - 1]) or tokens[i - 1] in between for i in slots]
    bases = [tokens[i + 1] == "}}" and tokens[i + 2] in ("^", "_") for i in slots]  # as in {x}^{\top}
    right = [_closes(tokens[i + 1]) or tokens[i + 1] in between for i in slots]
    return {k for k in range(len(slots)) if bases[k] or not (left[k] and right[k])}


def _is_loose(template: str) -> bool:
    """Whether an operator, or a second operand, stands in a template outside of all brackets."""
    depth, operands = 0, 0
    for token in _tokens(template):
        depth += _opens(token) - _closes(token)
        if not depth and token in ("+", "-", "*", "/", "<", ">", "=", r"\cdot", r"\times", r"\pm", r"\circ", r"\,"):
            return True
        operands += not depth and token == "{}"
    return operands > 1

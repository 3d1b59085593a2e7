"""Batching: a program of one example becomes one of many, with an axis more in everything that depends on them.

That axis stands last. So NumPy's loops run along it, arrays meet those of a single example as they did before, and the
axes that rows name keep their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from microgad import structural as rows
from microgad.errors import InputError
from microgad.node import Node
from microgad.primitive import Primitive
from microgad.primitives import add, equal, mul, neg, sub, where
from microgad.structural import shape
from microgad.tape import Tape

from .rows import place, view

REDUCTIONS = ("sum", "mean", "max", "min", "prod", "softmax", "log_softmax", "logsumexp")


class Batch:
    """A program replayed on nodes of which some have an axis for the examples, their last.

    Parameters
    ----------
    tape : Tape
        Of one example.
    size : int
        How many there are.
    """

    def __init__(self, tape: Tape, size: int) -> None:
        self.tape, self.size = tape, size

    def run(self, given: Sequence[Any], many: Sequence[bool]) -> list[tuple[Any, bool]]:
        """The results for inputs of which `many` have an axis of examples, and whether they have one."""
        tape = self.tape
        values, flags = list(given), list(many)
        for i in range(len(values), len(tape.rows)):
            row = tape.rows[i]
            if row is None:
                values.append(tape.numbers[i])
                flags.append(False)
                continue
            operands = [values[x] for x in tape.operands[i]]
            here = [flags[x] for x in tape.operands[i]]
            flags.append(any(here))
            values.append(self.apply(row, operands, here) if any(here) else rows.applied(row, operands))
        return [(values[i], flags[i]) for i in tape.outputs]

    def apply(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        """One row on operands of which some are of many examples.

        Raises
        ------
        InputError
            If there is no rule for it.
        """
        if row.partials:
            return row(*[x if flag else _beside(x) for x, flag in zip(operands, many, strict=True)])
        rule = getattr(self, f"_{row.name}", None)
        if rule is not None:
            return rule(row, operands, many)
        if row.name in REDUCTIONS:
            [x] = operands
            axis = row.params["axis"]
            return row.given(**{**row.params, "axis": tuple(range(len(shape(x)) - 1)) if axis is None else axis})(x)
        raise InputError(f"vmap has no rule for batches of {row.name}, of which it only knows what it computes")

    def spread(self, x: Any, many: bool) -> Any:
        """A value for every example."""
        if many:
            return x
        if type(x) is float or not shape(x):
            x = rows.stack.given(axis=0)(x) if isinstance(x, Node) else np.full(1, x)
            return rows.broadcast_to.given(to=(self.size,))(x)
        of = shape(x)
        return rows.broadcast_to.given(to=(*of, self.size))(rows.reshape.given(to=(*of, 1))(x))

    # ---- shapes

    def _item(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        return rows.index.given(key=tuple(row.params["at"]))(operands[0])

    def _index(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        return rows.index.given(key=_key(row.params["key"]))(operands[0])

    def _scatter(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        return rows.scatter.given(key=_key(row.params["key"]), to=(*row.params["to"], self.size))(operands[0])

    def _longer(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        return row.given(to=(*row.params["to"], self.size))(operands[0])

    _reshape = _broadcast_to = _sum_to = _longer

    def _cast(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        return row(operands[0])

    def _transpose(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        axes = row.params["axes"]
        return rows.transpose.given(axes=(*axes, len(axes)))(operands[0])

    def _joined(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        return row(*[self.spread(x, flag) for x, flag in zip(operands, many, strict=True)])

    _concatenate = _stack = _joined

    def _view(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        p, n = row.params, self.size
        strides = (*(n * s for s in p["strides"]), 1)
        return view.given(offset=n * p["offset"], strides=strides, to=(*p["to"], n), size=n * p["size"])(operands[0])

    def _place(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        p, n = row.params, self.size
        strides = (*(n * s for s in p["strides"]), 1)
        return place.given(offset=n * p["offset"], strides=strides, of=(*p["of"], n))(operands[0])

    def _argmax(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        [x] = operands
        if row.params["axis"] is None:
            return row.given(axis=0)(rows.reshape.given(to=(-1, self.size))(x))
        return row(x)

    # ---- products

    def _matmul(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        (a, b), (left, right) = operands, many
        n, m = len(shape(a)) - left, len(shape(b)) - right
        if left and right:
            if n == m == 1:
                return rows.total.given(axis=(0,), keepdims=False)(mul(a, b))
        elif n <= 2 and m <= 2:
            if left:
                return rows.matmul(b if m == 1 else _turned(b), a)
            if m == 1:
                return rows.matmul(a, b)
            k, across, size = shape(b)
            out = rows.matmul(a, rows.reshape.given(to=(k, across * size))(b))
            return rows.reshape.given(to=(*shape(a)[:-1], across, size))(out)
        return self._matmul_of_each(a, b, left, right, n, m)

    def _matmul_of_each(self, a: Any, b: Any, left: bool, right: bool, n: int, m: int) -> Any:
        """The examples as a stack of matrices, as NumPy has it: their axis first."""
        a, b = (_first(x) if flag else x for x, flag in ((a, left), (b, right)))
        if n == 1:
            a = rows.reshape.given(to=(*shape(a)[:-1], 1, shape(a)[-1]))(a)
        if m == 1:
            b = rows.reshape.given(to=(*shape(b), 1))(b)
        deepest = max(n, m, 2)
        a = _padded(a, left, max(n, 2), deepest)
        b = _padded(b, right, max(m, 2), deepest)
        out = rows.matmul(a, b)
        of = shape(out)
        if m == 1:
            out = rows.reshape.given(to=of[:-1])(out)
        if n == 1:
            of = shape(out)
            gone = len(of) - 1 - (m > 1)
            out = rows.reshape.given(to=(*of[:gone], *of[gone + 1 :]))(out)
        return _last(out)

    def _linear(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        x, weight, bias = operands
        turned = self.apply(rows.transpose.given(axes=(1, 0)), [weight], many[1:2]) if many[1] else _turned(weight)
        product = self.apply(rows.matmul, [x, turned], many[:2]) if any(many[:2]) else rows.matmul(x, turned)
        return self.apply(add, [product, bias], [any(many[:2]), many[2]])

    # ---- losses

    def _cross_entropy(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        (z, target), last = operands, len(shape(operands[0])) - many[0] - 1
        log = rows.log_softmax.given(axis=(last,))
        return self._nll(row, [log(z), target], many)

    def _nll(self, row: Primitive, operands: list[Any], many: list[bool]) -> Any:
        logp, target = operands
        reduction, n = row.params["reduction"], len(shape(logp)) - many[0]
        # Where the target is 0, what is not finite counts nothing.
        gone = self.apply(mul, [equal(target, 0.0), sub(1.0, equal(sub(logp, logp), 0.0))], many[::-1])
        logp = self.apply(where, [gone, 0.0, logp], [True, False, many[0]])
        product = self.apply(mul, [target, logp], [many[1], True])
        axis = (n - 1,) if reduction == "none" else tuple(range(n))
        total = rows.total.given(axis=axis, keepdims=False)(product)
        examples = max(math.prod(shape(logp)[: n - 1]), 1) if reduction == "mean" else 1
        return mul(neg(total), 1.0 / examples)


def _beside(x: Any) -> Any:
    """What is the same for all examples, beside what has an axis for them."""
    of = shape(x)
    return rows.reshape.given(to=(*of, 1))(x) if of else x


def _key(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*key, slice(None)) if any(k is Ellipsis for k in key) else key


def _turned(x: Any) -> Any:
    return rows.transpose.given(axes=(1, 0))(x)


def _first(x: Any) -> Any:
    n = len(shape(x))
    return rows.transpose.given(axes=(n - 1, *range(n - 1)))(x)


def _last(x: Any) -> Any:
    n = len(shape(x))
    return rows.transpose.given(axes=(*range(1, n), 0))(x)


def _padded(x: Any, many: bool, n: int, to: int) -> Any:
    """An array of `n` axes, behind that of the examples, with axes of length 1 in front of them."""
    of = shape(x)
    if not many or n == to:
        return x
    return rows.reshape.given(to=(of[0], *(1,) * (to - n), *of[1:]))(x)


Rule = Callable[..., Any]

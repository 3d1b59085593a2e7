"""What a row becomes where its operands are of a certain kind: a value, or None where nothing better is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from microgad.primitive import Primitive
from microgad.primitives import add, div, exp, identity, log, mul, neg, relu, sub
from microgad.structural import (
    broadcast_to,
    cast,
    concatenate,
    index,
    item,
    largest,
    log_softmax,
    matmul,
    nll,
    reshape,
    scatter,
    sum_to,
    total,
    transpose,
)
from microgad.tape import Type
from microgad.tracers import DATA, DETACHED

from .builder import SCALAR, Builder, Rule, Spot
from .rows import assemble, place, place_of, view


def _first(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    """What changes nothing."""
    return given[0] if b.type(given[0]) == kind else None


def _mul(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    given = _single(b, given, kind)
    for c, x in (given, given[::-1]):
        number = b.number(c)
        if number is None:
            continue
        if b.is_number(c, 1.0) and b.type(x) == kind:
            return x
        if not np.ndim(number) and (below := _wide(b, x)) is not None:  # the number first, and then many of it
            return b.emit(broadcast_to.given(to=b.shape(x)), (b.emit(mul, (c, below), b.type(below)),), kind)
        inner = b.made_by(x, mul)
        for d, y in (inner, inner[::-1]) if inner else ():
            other = b.number(d)
            if other is not None:
                both = np.multiply(number, other)
                fits = both.size <= max(np.size(number), np.size(other)) and (b.fast or not both.ndim)
                if fits and _at_once(number, other):
                    return b.emit(mul, (_constant(b, both), y), kind)
            elif not b.shape(d) and not np.ndim(number) and b.shape(y) and _at_once(number, 1.0):
                return b.emit(mul, (b.emit(mul, (c, d), b.type(d)), y), kind)
    return _narrow(b, row, given, kind) or b.anew(row, given, kind)


def _at_once(c: Any, d: Any) -> bool:
    """Whether c (d x) is (c d) x for all numbers that are not close to the largest and smallest floats."""
    sizes = np.abs(np.concatenate([np.ravel(c), np.ravel(d)]))
    return bool(((sizes >= 1e-6) & (sizes <= 1e6)).all())


def _pow(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    if b.is_number(given[1], 1.0) and b.type(given[0]) == kind:
        return given[0]
    return _narrow(b, row, given, kind)


def _single(b: Builder, given: tuple[int, ...], kind: Type | None) -> tuple[int, ...]:
    """Operands with arrays of one number, again and again, as that number, where the shape does not come from them."""
    for k, i in enumerate(given):
        x = b.number(i)
        if x is not None and np.ndim(x) and kind is not None and x.size and (x == x.flat[0]).all():
            others = [b.shape(j) for j in given if j != i]
            if others and np.broadcast_shapes(*others) == kind[0] and x.dtype == kind[1]:
                given = (*given[:k], b.tape.constant(float(x.flat[0])), *given[k + 1 :])
    return given


def _wide(b: Builder, i: int) -> int | None:
    """Of what a value is many copies."""
    below = b.made_by(i, broadcast_to)
    return below[0] if below and math.prod(b.shape(below[0])) == 1 and b.shape(below[0]) and b.shape(i) else None


def _constant(b: Builder, x: Any) -> int:
    return b.tape.constant(x if np.ndim(x) else float(x))


def _narrow(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    """Operands before they were broadcast to the shape that they would get anyway."""
    if kind is None or len(given) < 2:
        return None
    single = _single(b, given, kind)
    if single != given:
        return b.emit(row, single, kind)
    for k, i in enumerate(given):
        alone = math.prod(b.shape(i)) == 1
        below = b.made_by(i, broadcast_to) or (b.made_by(i, reshape) or b.made_by(i, scatter) if alone else None)
        if below is None or (alone and math.prod(b.shape(below[0])) != 1):
            continue
        if b.type(below[0]) is not None and b.type(below[0])[1] != b.type(i)[1]:  # type: ignore[index]
            continue
        shapes = [b.shape(below[0]) if j == k else b.shape(x) for j, x in enumerate(given)]
        if np.broadcast_shapes(*shapes) == kind[0]:
            return b.emit(row, (*given[:k], below[0], *given[k + 1 :]), kind)
    return None


def _add(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    if given[0] == given[1]:
        return b.emit(mul, (b.tape.constant(2.0), given[0]), kind)
    if kind is None or not kind[0]:
        return None
    for m, bias in (given, given[::-1]) if b.fast else ():
        if (found := _layer(b, m, bias, kind)) is not None:
            return found
    dense: list[int] = []
    parts: list[int] = []
    spots: list[Spot] = []
    for i in given:
        inner = b.made_by(i, add)
        fits = inner is not None and all(b.type(y) == kind for y in inner)  # what is broadcast has other places
        for x in inner if inner and fits and any(_sparse(b, y) for y in inner) else (i,):
            some = _sparse(b, x) if b.type(x) == kind else None
            if some:
                parts += some[0]
                spots += some[1]
            else:
                dense.append(x)
    if len(parts) > 1 and (len(dense) < 2 or len(parts) > 2):
        parts, spots = _biases_joined(b, parts, spots, kind)  # none, where there are no arrays with ones
        whole = b.emit(assemble.given(spots=tuple(spots), of=kind[0]), parts, kind)
        for x in dense:
            whole = b.anew(add, (x, whole), kind)
        return whole
    return _narrow(b, row, given, kind)


def _sparse(b: Builder, i: int) -> tuple[list[int], list[Spot]] | None:
    """The parts of an array that is 0 elsewhere, and their places."""
    params = b.params(i)
    if (found := b.made_by(i, place)) is not None:
        return list(found), [(params["offset"], params["strides"], b.shape(found[0]))]
    if (found := b.made_by(i, assemble)) is not None:
        return list(found), list(params["spots"])
    return None


# ---- biases: [W b] @ [x, 1] for W @ x + b, where they lie so, and the gradients of both as one product


def _layer(b: Builder, m: int, bias: int, kind: Type) -> int | None:
    """A product and a bias as one product, with a row of ones in what is multiplied."""
    factors, at = b.made_by(m, matmul), _seen(b, bias)
    if factors is None or at is None or b.type(m) != kind:
        return None
    for k, w in enumerate(factors):
        of, x, seen = b.shape(w), factors[1 - k], _seen(b, w)
        if seen is None or seen[0] != at[0] or len(of) > 2 or len(b.shape(x)) > 2:
            continue
        inner = len(of) - 1 if k == 0 else 0  # the axis that is summed over
        source, offset, steps, size = seen
        across = [(s, n) for j, (s, n) in enumerate(zip(steps, of, strict=True)) if j != inner and n > 1]
        given = [(s, n) for s, n in zip(at[2], b.shape(bias), strict=True) if n > 1]
        if across != given or at[1] != offset + of[inner] * steps[inner]:
            continue
        if given and b.shape(bias)[-1 if k else -2 :][:1] != (of[1 - inner],):
            continue  # it belongs to the other axis
        to = tuple(n + (j == inner) for j, n in enumerate(of))
        block = b.emit(view.given(offset=offset, strides=steps, to=to, size=size), (source,), (to, kind[1]))
        longer = b.longer(x, 0 if k == 0 else len(b.shape(x)) - 1)
        return b.emit(matmul, (block, longer) if k == 0 else (longer, block), kind)
    return None


def _seen(b: Builder, i: int) -> tuple[int, int, tuple[int, ...], int] | None:
    """Of what array a value is a view: which one, where it begins, its strides, and how large that is."""
    params = b.params(i)
    if (found := b.made_by(i, view)) is not None:
        return found[0], params["offset"], params["strides"], params["size"]
    if (found := b.made_by(i, item)) is not None and b.shape(found[0]):
        of = b.shape(found[0])
        return found[0], place_of(params["at"], of), (), math.prod(of)
    return None


def _biases_joined(b: Builder, parts: list[int], spots: list[Spot], kind: Type) -> tuple[list[int], list[Spot]]:
    """Parts of a gradient, with those of weights and of their biases as one where they lie side by side."""
    for i, (part, (offset, steps, to)) in enumerate(zip(parts, spots, strict=True)):
        factors = b.made_by(part, matmul)
        for k, g in enumerate(factors or ()):
            x = b.turned.get(factors[1 - k])  # type: ignore[index]
            if x is None or b.with_ones[x][0] != k:
                continue
            inner, longer = len(to) - 1 if k == 0 else 0, b.with_ones[x][1]
            across = [(s, n) for j, (s, n) in enumerate(zip(steps, to, strict=True)) if j != inner and n > 1]
            for j, (other, (start, strides, shape)) in enumerate(zip(parts, spots, strict=True)):
                given = [(s, n) for s, n in zip(strides, shape, strict=True) if n > 1]
                if start != offset + to[inner] * steps[inner] or given != across:
                    continue
                if _summed(b, other) != (g, len(b.shape(g)) - 1 if k == 0 else 0):
                    continue
                of = tuple(n + (a == inner) for a, n in enumerate(to))
                turned = b.emit(transpose.given(axes=(1, 0)), (longer,), (b.shape(longer)[::-1], kind[1]))
                whole = b.emit(matmul, (g, turned) if k == 0 else (turned, g), (of, kind[1]))
                left = [n for n in range(len(parts)) if n not in (i, j)]
                joined = [*(parts[n] for n in left), whole], [*(spots[n] for n in left), (offset, steps, of)]
                return _biases_joined(b, *joined, kind)
    return parts, spots


def _summed(b: Builder, i: int) -> tuple[int, int] | None:
    """Of what a value is the sum along one axis, or of a row the sum of all, and along which axis."""
    while (below := b.made_by(i, reshape) or b.made_by(i, item) or b.made_by(i, scatter)) is not None and (
        math.prod(b.shape(i)) == math.prod(b.shape(below[0]))
    ):
        [i] = below
    below = b.made_by(i, sum_to) or b.made_by(i, total)
    if below is None:
        return None
    of, to = b.shape(below[0]), b.shape(i)
    kept = [k for k, n in enumerate(of) if n > 1 and k < len(to) and to[k] == n] if len(to) == len(of) else []
    gone = [k for k, n in enumerate(of) if k not in kept]
    if len(to) < len(of) and to:
        axis = b.params(i).get("axis")
        gone = list(axis) if axis else list(range(len(of) - len(to)))
    return (below[0], gone[0]) if len(gone) == 1 else None


def _sum(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    """The sum of products is a product of rows."""
    factors = b.made_by(given[0], mul)
    alike = factors and kind == SCALAR and all(b.type(x) == b.type(given[0]) for x in factors)
    return b.emit(matmul, factors, kind) if factors and alike and len(b.shape(given[0])) == 1 else None


# ---- probabilities: what softmax and the cross-entropy have in common


def _exponentials(b: Builder, z: int, axis: Any, kind: Type) -> tuple[int, int, int]:
    """Logits less the largest, the exponentials of that, and the sums of these."""
    axes = tuple(range(len(kind[0]))) if axis is None else tuple(axis)
    one: Type = tuple(1 if k in axes else n for k, n in enumerate(kind[0])), kind[1]
    top = b.emit(largest.given(axis=axes, keepdims=True), (z,), one)
    less = b.emit(sub, (z, top), kind)
    small = b.emit(exp, (less,), kind)
    return less, small, b.emit(total.given(axis=axes, keepdims=True), (small,), one)


def _softmax(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    if kind is None or 0 in kind[0]:
        return None
    _, small, whole = _exponentials(b, given[0], row.params["axis"], kind)
    return b.emit(div, (small, whole), kind)


def _log_softmax(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    if kind is None or 0 in kind[0]:
        return None
    less, _, whole = _exponentials(b, given[0], row.params["axis"], kind)
    return b.emit(sub, (less, b.emit(log, (whole,), b.type(whole))), kind)


def _cross_entropy(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    of = b.type(given[0])
    if of is None or 0 in of[0]:
        return None
    log = b.emit(log_softmax.given(axis=(len(of[0]) - 1,)), given[:1], of)
    return b.emit(nll.given(reduction=row.params["reduction"]), (log, given[1]), kind)


def _linear(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    """A layer as a product and a sum."""
    x, weight, bias = given
    of = b.type(weight)
    if of is None or kind is None or len(b.shape(x)) > 2:
        return None
    turned = b.emit(transpose.given(axes=(1, 0)), (weight,), (of[0][::-1], of[1]))
    return b.emit(add, (b.emit(matmul, (x, turned), kind), bias), kind)


def _greater(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    """Where x is positive relu(x) is, which the forward pass keeps anyway."""
    bent = b.find(relu, (given[0],)) if b.is_number(given[1], 0.0) else None
    return b.emit(row, (bent, given[1]), kind) if bent is not None else _narrow(b, row, given, kind)


def _neg(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    below = b.made_by(given[0], neg)
    if below:
        return below[0]
    for c, x in (lambda f: (f, f[::-1]))(b.made_by(given[0], mul) or ()) if b.made_by(given[0], mul) else ():
        if not b.shape(c) and b.shape(x):  # the number changes its sign sooner than the array
            return b.emit(mul, (b.emit(neg, (c,), b.type(c)), x), kind)
    return None


def _reshape(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    if b.type(given[0]) == kind:
        return given[0]
    below = b.made_by(given[0], reshape)
    if below:
        return b.emit(row, below, kind)
    seen = b.made_by(given[0], view)
    if seen and kind is not None and [n for n in kind[0] if n > 1] == [n for n in b.shape(given[0]) if n > 1]:
        params = b.params(given[0])
        steps = iter([s for s, n in zip(params["strides"], b.shape(given[0]), strict=True) if n > 1])
        strides = tuple(next(steps) if n > 1 else 0 for n in kind[0])
        return b.emit(view.given(**{**params, "strides": strides, "to": kind[0]}), seen, kind)
    return None


def _transpose(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    axes = row.params["axes"]
    if axes == tuple(range(len(axes))):
        return given[0]
    below = b.made_by(given[0], transpose)
    if below is None:
        return None
    inner = b.params(given[0])["axes"]
    return b.emit(transpose.given(axes=tuple(inner[k] for k in axes)), below, kind)


def _index(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    """A slice of a product is the product of a slice; a slice of what was joined may be a part of that."""
    [x], key = given, row.params["key"]
    if not all(isinstance(k, (int, slice)) or k is None or k is Ellipsis for k in key) or kind is None:
        return None
    if (joined := b.made_by(x, concatenate)) is not None and len(key) == b.params(x)["axis"] + 1:
        start, part = 0, key[-1]
        for i in joined:
            n = b.shape(i)[len(key) - 1]
            if all(k == slice(None) for k in key[:-1]) and isinstance(part, slice) and part == slice(start, start + n):
                return i
            start += n
    factors = b.made_by(x, matmul)
    if factors and len(key) == 1 and isinstance(key[0], slice) and len(b.shape(x)) == len(b.shape(factors[0])) == 2:
        a, c = factors
        left = b.emit(row, (a,), ((len(range(*key[0].indices(b.shape(a)[0]))), b.shape(a)[1]), kind[1]))
        return b.emit(matmul, (left, c), kind)
    of = b.shape(x)
    turned = b.made_by(x, transpose)
    if turned and len(of) == 2:
        cut = (*key, slice(None))[:2]
        if len(key) <= 2 and all(isinstance(k, slice) for k in cut):
            kept = b.emit(index.given(key=cut[::-1]), turned, (kind[0][::-1], kind[1]))
            return b.emit(transpose.given(axes=(1, 0)), (kept,), kind)
        return None
    source, start, steps, size = x, 0, _steps(of), math.prod(of)
    if (below := b.made_by(x, view)) is not None:
        params = b.params(x)
        source, start, steps, size = below[0], params["offset"], params["strides"], params["size"]
    spot = _spot(of, steps, key)
    if spot is None or not _forward(spot[1], kind[0]):
        return None
    return b.emit(view.given(offset=start + spot[0], strides=spot[1], to=kind[0], size=size), (source,), kind)


def _steps(of: tuple[int, ...]) -> tuple[int, ...]:
    """How far apart the numbers of an array are along each axis, in numbers."""
    return tuple(math.prod(of[k + 1 :]) for k in range(len(of)))


def _forward(steps: Sequence[int], of: Sequence[int]) -> bool:
    return all(s > 0 for s, n in zip(steps, of, strict=True) if n > 1)


def _spot(of: tuple[int, ...], steps: tuple[int, ...], key: Any) -> tuple[int, tuple[int, ...]] | None:
    """Where a slice of an array begins, in numbers, and how far apart its numbers are along each axis."""
    if 0 in of:
        return None
    nothing = np.lib.stride_tricks.as_strided(np.empty(1, np.int8), of, steps)
    found = np.asarray(nothing[(*key, ...) if Ellipsis not in key else key])
    if not found.size:
        return None
    offset = found.__array_interface__["data"][0] - nothing.__array_interface__["data"][0]
    return offset, tuple(found.strides)


def _scatter(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    key = row.params["key"]
    if kind is None or not kind[0] or not all(isinstance(k, (int, slice)) or k is None or k is Ellipsis for k in key):
        return None
    spot = _spot(kind[0], _steps(kind[0]), key)
    if spot is None or not _forward(spot[1], b.shape(given[0])):
        return None
    if math.prod(b.shape(given[0])) == math.prod(kind[0]):
        return b.emit(reshape.given(to=kind[0]), given, kind)
    return b.emit(place.given(offset=spot[0], strides=spot[1], of=kind[0]), given, kind)


def _view(b: Builder, row: Primitive, given: tuple[int, ...], kind: Type | None) -> int | None:
    """A view of the whole array is none."""
    params, of = row.params, b.shape(given[0])
    below = b.made_by(given[0], reshape)
    if below:
        return b.emit(row, below, kind)
    steps = zip(params["strides"], _steps(of), of, strict=True) if params["to"] == of else ()
    return given[0] if params["to"] == of and all(s == t for s, t, n in steps if n > 1) else None


RULES: dict[str, Rule] = {
    "mul": _mul, "add": _add, "pow": _pow, "greater": _greater, "neg": _neg, "sum": _sum, "linear": _linear,
    "reshape": _reshape, "transpose": _transpose, "index": _index, "scatter": _scatter, "view": _view,
    "softmax": _softmax, "log_softmax": _log_softmax, "cross_entropy": _cross_entropy,
    **dict.fromkeys((broadcast_to.name, sum_to.name, cast.name, DATA.name, DETACHED.name, identity.name), _first),
    **dict.fromkeys(("sub", "div", "where", "maximum", "minimum", "equal", "clip"), _narrow),
}  # fmt: skip


_FAST = {"greater", "index", "linear", "scatter", "view", "sum", "softmax", "log_softmax", "cross_entropy"}
READABLE = {name: RULES[name] for name in RULES.keys() - _FAST}  # what leaves a program as it was written

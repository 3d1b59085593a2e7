"""Rows that only programs have: views of flat arrays, and their opposite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from microgad.primitive import Primitive
from microgad.structural import Each, dtype, index, reshape, scatter, shape


def window(x: Any, offset: int, strides: Sequence[int], to: tuple[int, ...], size: int = 0) -> Any:
    """Numbers of a flat array as an array of the shape `to`: element (i, j) is number offset + i s₀ + j s₁.

    Parameters
    ----------
    x : array
        Of any shape.
    offset : int
        Where the first one stands.
    strides : sequence of int
        How far apart numbers are along each axis, in numbers.
    to : tuple of int
        The shape of the result, which is a view where `x` is contiguous.
    size : int
        How many numbers `x` has, for those who write the view down.

    Examples
    --------
    >>> window(np.arange(6.0), 1, (3, 1), (2, 2))
    array([[1., 2.],
           [4., 5.]])
    """
    flat = np.reshape(x, -1)
    return as_strided(flat[offset:], to, [s * flat.strides[0] for s in strides])  # it may be a view with gaps


def _placed(g: Any, offset: int, strides: Sequence[int], of: tuple[int, ...]) -> Any:
    out = np.zeros(of, dtype(g))
    window(out, offset, strides, shape(g))[...] = g
    return out


def _back(g: Any, y: Any, x: Any, offset: int, strides: Any, to: Any, size: int) -> Any:
    return place.given(offset=offset, strides=strides, of=shape(x))(g)


def _again(g: Any, y: Any, x: Any, offset: int, strides: Any, of: Any) -> Any:
    return view.given(offset=offset, strides=strides, to=shape(x), size=math.prod(of))(g)


def place_of(at: Sequence[int], of: Sequence[int]) -> int:
    """Where an element of an array stands, counted in memory.

    Examples
    --------
    >>> place_of((1, -1), (2, 3))
    5
    """
    found = 0
    for k, n in zip(at, of, strict=True):
        found = found * n + k % n
    return found


def nested(strides: Sequence[int], to: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """How a view is a block of a larger array; None if it is none.

    That is: its axes of more than one number, the farthest apart first, and how long they are in that array.

    Examples
    --------
    >>> nested((3, 1), (2, 2)), nested((1, 4), (4, 2)), nested((1, 1), (2, 2))
    (([0, 1], [2, 3]), ([1, 0], [2, 4]), None)
    """
    order = sorted((k for k, n in enumerate(to) if n > 1), key=lambda k: -strides[k])
    lengths = [to[k] for k in order[:1]]
    for a, b in pairwise(order):
        if strides[b] < 1 or strides[a] % strides[b] or strides[a] // strides[b] < to[b]:
            return None
        lengths.append(strides[a] // strides[b])
    return (order, lengths) if all(strides[k] > 0 for k in order) else None


def block(name: str, offset: int, strides: Sequence[int], to: tuple[int, ...], size: int) -> str | None:
    """A view as NumPy's users write it: a slice of the flat array, in a shape, perhaps cut and transposed.

    None if no block of the array has it as a cut.

    Examples
    --------
    >>> block("p", 4, (3, 1), (2, 3), 99), block("p", 0, (3, 1), (2, 2), 99), block("p", 2, (3, 0), (2, 1), 6)
    ('p[4:10].reshape(2, 3)', 'p[0:6].reshape(2, 3)[:, :2]', 'p[2:6:3][:, None]')
    """
    found = nested(strides, to)
    if found is None:
        return None
    order, full = found
    if not order:
        return f"{name}[{offset}:{offset + 1}]" + (f".reshape({to})" if len(to) != 1 else "")
    step, n = strides[order[-1]], math.prod(full)
    # The block begins earlier where it would reach beyond the end.
    back = max(0, -(-(offset + (n - 1) * step + 1 - size) // step)) if len(order) > 1 else 0
    start, first = offset - back * step, [int(k) for k in np.unravel_index(min(back, n - 1), full)]
    if back >= n or start < 0 or any(a + to[k] > m for a, k, m in zip(first, order, full, strict=True)):
        return None
    text = f"{name}[{start}:{start + (n - 1) * step + 1}{f':{step}' if step != 1 else ''}]"
    if len(order) > 1:
        text += f".reshape({', '.join(map(str, full))})"
        cuts = [":" if to[k] == m else f"{a or ''}:{a + to[k]}" for a, k, m in zip(first, order, full, strict=True)]
        if set(cuts) != {":"}:
            text += f"[{', '.join(cuts)}]"
        if order != sorted(order):
            places = sorted(order)
            axes = tuple(order.index(k) for k in places)
            text += ".T" if axes == tuple(range(len(axes)))[::-1] else f".transpose{axes}"
    if len(order) < len(to):
        text += f"[{', '.join(':' if m > 1 else 'None' for m in to)}]"
    return text


def spelled(name: str, offset: int, strides: Sequence[int], to: tuple[int, ...], size: int) -> str:
    """A view as it is read: a `block`, or where there is none the places of all its numbers, which give a copy.

    Examples
    --------
    >>> spelled("p", 0, (9, 3, 1), (2, 2, 3), 15)
    'p[0 + 9 * np.arange(2)[:, None, None] + 3 * np.arange(2)[:, None] + np.arange(3)]'
    """
    found = block(name, offset, strides, to, size)
    if found is not None:
        return found
    axes = enumerate(zip(strides, to, strict=True))
    parts = [f"{s} * np.arange({n})[:{', None' * (len(to) - 1 - k)}]" for k, (s, n) in axes if n > 1]
    where = " + ".join([str(offset), *(x.removeprefix("1 * ").removesuffix("[:]") for x in parts)])
    return f"{name}[{where}]" + (f".reshape{to}" if len(parts) < len(to) else "")


def _spelled(offset: int, strides: Any, to: Any, size: int) -> dict[str, Any]:
    return {"text": spelled("{}", offset, strides, to, size)}


view: Primitive = Primitive(
    "view", window, window, vjp=(_back,), jvp=(lambda t, y, x, **params: view.given(**params)(t),),
    flow=("G at its places, else 0",), label="view", text="{}[…]", latex="{}", spelled=_spelled,
)  # fmt: skip
place: Primitive = Primitive(
    "place", _placed, _placed, vjp=(_again,), jvp=(lambda t, y, x, **params: place.given(**params)(t),),
    flow=("G of its places",), label="place", text="place({})", latex=r"\operatorname{{place}}\left({}\right)",
)  # fmt: skip


def _side_by_side(*xs: Any) -> Any:
    return np.concatenate([np.reshape(x, -1) for x in xs])


def _place_of(i: int, xs: Sequence[Any]) -> tuple[int, int]:
    start = sum(math.prod(shape(x)) for x in xs[:i])
    return start, start + math.prod(shape(xs[i]))


def _its_part(i: int, g: Any, y: Any, *xs: Any) -> Any:
    start, stop = _place_of(i, xs)
    return reshape.given(to=shape(xs[i]))(index.given(key=(slice(start, stop),))(g))


def _its_way(i: int, t: Any, y: Any, *xs: Any) -> Any:
    start, stop = _place_of(i, xs)
    flat = reshape.given(to=(stop - start,))(t)
    return scatter.given(key=(slice(start, stop),), to=(_place_of(len(xs) - 1, xs)[1],))(flat)


# Several results, of any shape, as one flat array: to see a program with all of them in one graph.
results: Primitive = Primitive(
    "results", _side_by_side, _side_by_side, vjp=Each([_its_part]), jvp=Each([_its_way]),
    flow=("its part of G",), label="results", text="results({})", latex=r"\left({}\right)",
)  # fmt: skip


def _assembled(*parts: Any, spots: Any, of: tuple[int, ...]) -> Any:
    out = np.zeros(of)
    for x, (offset, strides, to) in zip(parts, spots, strict=True):
        window(out, offset, strides, to)[...] += x
    return out


def _part_of(i: int, g: Any, y: Any, *xs: Any, spots: Any, of: tuple[int, ...]) -> Any:
    offset, strides, to = spots[i]
    return view.given(offset=offset, strides=strides, to=to, size=math.prod(of))(g)


def _alone(i: int, t: Any, y: Any, *xs: Any, spots: Any, of: tuple[int, ...]) -> Any:
    return place.given(offset=spots[i][0], strides=spots[i][1], of=of)(t)


# Arrays at their places in a larger one, which is 0 elsewhere: the sum of several `place`.
assemble = Primitive("assemble", _assembled, _assembled, vjp=Each([_part_of]), jvp=Each([_alone]), label="assemble",
                     spelled=lambda spots, of: {"text": f"assemble({', '.join(['{}'] * len(spots))})"})  # fmt: skip

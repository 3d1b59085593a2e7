"""The structural rows: operations on whole arrays, which change shapes or mix numbers.

Where an elementwise row has local derivatives, these have a `vjp`, from the gradient `g` of the output to that of an
operand, and a `jvp`, from the tangent `t` of an operand to that of the output. Both are written in rows of the
table, so on nodes they trace. None undoes broadcasting: `Node.edges` does that, in one place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .errors import brief
from .primitive import Primitive, Rule
from .primitives import div, equal, exp, identity, mul, neg, sub

ROWS: dict[str, Primitive] = {}


class Each(tuple[Any, ...]):
    """The rules of a row of any number of operands: one rule, which is told the operand's place first."""

    def __getitem__(self, i: Any) -> Any:
        rule = tuple.__getitem__(self, 0)
        return lambda *args, **params: rule(i, *args, **params)


def row(name: str, array: Rule, vjp: Sequence[Rule], jvp: Sequence[Rule] | None = None, **fields: Any) -> Primitive:
    """A structural row; where it has no `jvp` of its own it is linear, and does to a tangent what it does to `x`."""

    def linear(t: Any, y: Any, *xs: Any, **params: Any) -> Any:
        return made.given(**params)(t)

    plain = {"label": name, "text": f"{name}({{}})", "latex": rf"\operatorname{{{{{name}}}}}\left({{}}\right)"}
    plain["latex"] = plain["latex"].replace("_", r"\_")
    made = Primitive(name, array, array, vjp=vjp, jvp=(linear,) if jvp is None else jvp, **{**plain, **fields})
    ROWS[name] = made
    return made


def shape(x: Any) -> tuple[int, ...]:
    """The shape of a number, an array or a node."""
    data = getattr(x, "_value", x)
    return data.shape if hasattr(data, "shape") else np.shape(data)


def dtype(x: Any) -> Any:
    """The dtype of a number, an array or a node."""
    return getattr(getattr(x, "_value", x), "dtype", np.dtype(float))


# ---- shapes


def _filled(x: Any, to: tuple[int, ...]) -> Any:
    out = np.empty(to, dtype(x))
    out[...] = x
    return out


def _summed(x: Any, to: tuple[int, ...]) -> Any:
    x = np.asarray(x)  # a number, where it moves a tensor without axes
    ahead = x.ndim - len(to)
    shrunk = [i + ahead for i, n in enumerate(to) if n == 1 != x.shape[i + ahead]]
    return np.add.reduce(x, axis=(*range(ahead), *shrunk)).reshape(to)


def _scattered(g: Any, key: Any, to: tuple[int, ...]) -> Any:
    out = np.zeros(to, dtype(g))
    if all(isinstance(k, (int, slice)) or k is None or k is Ellipsis for k in key):
        out[key] = g
    else:
        np.add.at(out, key, g)  # an index that stands there twice gets both
    return out


def _in_dtype_of(x: Any, g: Any) -> Any:
    return g if dtype(g) == dtype(x) else cast.given(to=dtype(x))(g)


def _said(key: tuple[Any, ...]) -> str:
    """An index as it is written."""

    def part(k: Any) -> str:
        if isinstance(k, slice):
            ends = ":".join("" if x is None else brief(x) for x in (k.start, k.stop))
            return ends if k.step is None else f"{ends}:{brief(k.step)}"
        if isinstance(k, np.ndarray):
            return str(k.tolist()) if k.size <= 8 else f"{k.dtype.name}{list(k.shape)}"
        return "..." if k is Ellipsis else brief(k) or "…"

    return ", ".join(map(part, key))


def _indexed(key: tuple[Any, ...]) -> dict[str, str]:
    said = f"[{_said(key) or '()'}]"
    latex = rf"{{{{{{}}}}}}_{{{{{said[1:-1]}}}}}"
    return {"label": said if len(said) < 20 else "[…]", "text": f"{{}}{said}", "latex": latex}


# fmt: off
broadcast_to = row("broadcast_to", lambda x, to: _filled(x, to), (lambda g, y, x, to: sum_to.given(to=shape(x))(g),),
                   flow=("Σ G",), label="repeat", spelled=lambda to: {"text": f"broadcast_to({{}}, {to})"})
sum_to: Primitive = row("sum_to", _summed, (lambda g, y, x, to: broadcast_to.given(to=shape(x))(g),),
                        flow=("G, repeated",), label="Σ", spelled=lambda to: {"text": f"sum_to({{}}, {to})"})
cast: Primitive = row("cast", lambda x, to: np.asarray(x, to), (lambda g, y, x, to: cast.given(to=dtype(x))(g),),
                      flow=("G",), spelled=lambda to: {"label": to.name, "text": f"{to.name}({{}})"})
reshape: Primitive = row("reshape", lambda x, to: np.reshape(x, to),
                         (lambda g, y, x, to: reshape.given(to=shape(x))(g),), flow=("G, reshaped",),
                         domain="as many numbers before as after",
                         spelled=lambda to: {"text": f"reshape({{}}, {to})"})
transpose: Primitive = row("transpose", lambda x, axes: np.transpose(x, axes),
                           (lambda g, y, x, axes: transpose.given(axes=tuple(map(axes.index, range(len(axes)))))(g),),
                           flow=("Gᵀ",), label="ᵀ", latex=r"{{{}}}^{{\top}}",
                           spelled=lambda axes: {"text": "{}.T" if axes == tuple(range(len(axes)))[::-1]
                                                 else f"transpose({{}}, {axes})"})
index: Primitive = row("index", lambda x, key: np.asarray(x)[key],
                       (lambda g, y, x, key: scatter.given(key=key, to=shape(x))(g),),
                       flow=("G at its place, else 0",), spelled=_indexed)
scatter: Primitive = row("scatter", _scattered, (lambda g, y, x, key, to: index.given(key=key)(g),),
                         flow=("G of its place",), spelled=lambda key, to: {"text": f"scatter({{}}, [{_said(key)}])"})
item: Primitive = row("item", lambda x, at: float(np.asarray(x)[at]), (
    lambda g, y, x, at: _in_dtype_of(x, scatter.given(key=at, to=shape(x))(g)),),  # what a Value gets is not `fitted`
                      (lambda t, y, x, at: applied(item.given(at=at), (t,)),), rank=0,
                      flow=("G at its place, else 0",),
                      spelled=lambda at: {**_indexed(at), "scalar": lambda x: float(x[at])})
# fmt: on


def _part(i: int, g: Any, y: Any, *xs: Any, axis: int) -> Any:
    start = sum(shape(x)[axis] for x in xs[:i])
    part = slice(start, start + shape(xs[i])[axis])
    return index.given(key=(*[slice(None)] * axis, part))(g)


def _layer(i: int, g: Any, y: Any, *xs: Any, axis: int) -> Any:
    return index.given(key=(*[slice(None)] * axis, i))(g)


def _alone(joined: Callable[[], Primitive]) -> Rule:
    """The tangent of a joined array, of which only one part moves."""

    def rule(i: int, t: Any, y: Any, *xs: Any, axis: int) -> Any:
        return joined().given(axis=axis)(*(t if k == i else np.zeros(shape(x), dtype(x)) for k, x in enumerate(xs)))

    return rule


concatenate: Primitive = row(
    "concatenate",
    lambda *xs, axis: np.concatenate(xs, axis),
    Each([_part]),
    Each([_alone(lambda: concatenate)]),
    flow=("its part of G",),
    spelled=lambda axis: {"text": f"concatenate([{{}}]{f', axis={axis}' if axis else ''})"},
    domain="arrays of the same shape, but for the axis along which they are joined",
)
stack: Primitive = row(
    "stack",
    lambda *xs, axis: np.stack(xs, axis),
    Each([_layer]),
    Each([_alone(lambda: stack)]),
    flow=("its part of G",),
    spelled=lambda axis: {"text": f"stack([{{}}]{f', axis={axis}' if axis else ''})"},
    domain="arrays of one shape",
)


# ---- products


def _swapped(x: Any) -> Any:
    n = len(shape(x))
    return transpose.given(axes=(*range(n - 2), n - 1, n - 2))(x)


def _column(x: Any) -> Any:
    return reshape.given(to=(*shape(x), 1))(x)


def _by_left(g: Any, y: Any, a: Any, b: Any) -> Any:
    if len(shape(b)) == 1:
        return mul(_column(g) if len(shape(a)) > 1 else g, b)
    if len(shape(a)) == 1 and len(shape(b)) > 2:
        return matmul(b, _column(g))[..., 0]
    return matmul(g, _swapped(b))


def _by_right(g: Any, y: Any, a: Any, b: Any) -> Any:
    left, right = shape(a), shape(b)
    if len(left) == 1:
        row_of_g = reshape.given(to=(*shape(g)[:-1], 1, *shape(g)[-1:]))(g) if len(right) > 1 else g
        return mul(_column(a) if len(right) > 1 else a, row_of_g)
    if len(right) == 1:
        return matmul(g, a) if len(left) == 2 else mul(_column(g), a)
    if len(right) == 2 < len(left):  # all matrices of the batch at once, worth 2 times and more
        rows = math.prod(left[:-1])
        a, g = (reshape.given(to=(rows, shape(x)[-1]))(x) for x in (a, g))
    return matmul(_swapped(a), g)


matmul: Primitive = row(
    "matmul",
    np.matmul,
    (_by_left, _by_right),
    (lambda t, y, a, b: matmul(t, b), lambda t, y, a, b: matmul(a, t)),
    flow=("G {1}ᵀ", "{0}ᵀ G"),
    quick=(
        lambda g, y, a, b: g @ b.T if a.ndim == b.ndim == 2 else _by_left(g, y, a, b),
        lambda g, y, a, b: a.T @ g if a.ndim == b.ndim == 2 else _by_right(g, y, a, b),
    ),
    label="@",
    text="{} @ {}",
    latex=r"{} \, {}",
    domain="the last axis of the first as long as the last but one of the second (an array of one axis has only that)",
)


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    out = np.matmul(x, weight.T)
    return np.add(out, bias, out=out if out.ndim and bias.dtype == out.dtype else None)  # a layer keeps one array


def _to_weight(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
    rows = math.prod(shape(x)[:-1])
    flat = [z if len(shape(z)) == 2 else reshape.given(to=(rows, shape(z)[-1]))(z) for z in (g, x)]
    return matmul(_swapped(flat[0]), flat[1])


linear: Primitive = row(
    "linear",
    _affine,
    (lambda g, y, x, weight, bias: matmul(g, weight), _to_weight, lambda g, y, x, weight, bias: g),
    (lambda t, y, x, weight, bias: matmul(t, _swapped(weight)),
     lambda t, y, x, weight, bias: matmul(x, _swapped(t)), lambda t, y, x, weight, bias: t),
    flow=("G {1}", "Gᵀ {0}", "Σ G"),
    quick=(
        lambda g, y, x, weight, bias: g @ weight,
        lambda g, y, x, weight, bias: g.T @ x if x.ndim == 2 else _to_weight(g, y, x, weight, bias),
        lambda g, y, x, weight, bias: g if g.ndim != 2 else np.add.reduce(g, 0),  # as `fitted` would, in half its time
    ),
    text="{} @ {}.T + {}",
    latex=r"{} \, {{{}}}^{{\top}} + {}",
    domain="inputs of (..., n), a weight of (m, n) and a bias of (m,)",
)  # fmt: skip


# ---- reductions; `axis` is a tuple, and None for all axes


def _kept(x: Any, like: Any, axis: Any, keepdims: bool) -> Any:
    """What came out of a reduction, with the axes that it lost as axes of length 1."""
    if keepdims:
        return x
    to = tuple(1 if axis is None or i in axis else n for i, n in enumerate(shape(like)))
    return x if shape(x) == to else reshape.given(to=to)(x)


def _spread(g: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return broadcast_to.given(to=shape(x))(_kept(g, x, axis, keepdims))


def count(x: Any, axis: Any) -> int:
    """How many numbers a reduction of `x` makes into one."""
    of = shape(x)
    return math.prod(of) if axis is None else math.prod(of[i] for i in axis)


def _spread_at_once(g: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return _filled(_kept(g, x, axis, keepdims) if axis is not None else g, () if type(x) is float else x.shape)


def _mean(x: Any, axis: Any, keepdims: Any) -> Any:
    return np.add.reduce(x, axis=axis, keepdims=keepdims) / count(x, axis)


def _mean_spread(g: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return _spread(mul(g, 1.0 / max(count(x, axis), 1)), y, x, axis, keepdims)


def _hits(y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """For each number its share in the extreme one: equal shares where several are as large."""
    hit = equal(x, _kept(y, x, axis, keepdims))
    return div(hit, total.given(axis=axis, keepdims=True)(hit))


def _to_extreme(g: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return mul(_kept(g, x, axis, keepdims), _hits(y, x, axis, keepdims))


def _of_extreme(t: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return total.given(axis=axis, keepdims=keepdims)(mul(t, _hits(y, x, axis, keepdims)))


def _others(x: Any, axis: Any) -> Any:
    """For each number the product of all others: of those before it times those behind it, right at a 0 too."""
    axes = tuple(range(len(shape(x)))) if axis is None else axis
    rest = tuple(i for i in range(len(shape(x))) if i not in axes)
    order = (*rest, *axes)
    moved = transpose.given(axes=order)(x)
    n = count(x, axes)
    flat = reshape.given(to=(math.prod(shape(x)[i] for i in rest), n))(moved)
    ones = np.ones((shape(flat)[0], 1), dtype(x))
    back = index.given(key=(slice(None), slice(None, None, -1)))
    before = []
    for one in (flat, back(flat)):
        product = concatenate.given(axis=1)(ones, index.given(key=(slice(None), slice(0, max(n - 1, 0))))(one))
        step = 1
        while step < n:  # each round doubles how far back a product reaches
            ahead = broadcast_to.given(to=(shape(flat)[0], step))(ones)
            product = mul(product, concatenate.given(axis=1)(
                ahead, index.given(key=(slice(None), slice(0, n - step)))(product)))  # fmt: skip
            step *= 2
        before.append(product)
    both = index.given(key=(slice(None), slice(0, n)))(mul(before[0], back(before[1])))
    again = reshape.given(to=tuple(shape(x)[i] for i in order))(both)
    return transpose.given(axes=tuple(map(order.index, range(len(order)))))(again)


def _by_others(g: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    return mul(_kept(g, x, axis, keepdims), _others(x, axis))


def _exponentials(x: Any, axis: Any) -> tuple[Any, Any]:
    """The largest number, and the exponentials of all less that, which cannot overflow."""
    top = np.maximum.reduce(x, axis=axis, keepdims=True, initial=-math.inf)
    return top, np.exp(np.subtract(x, np.where(np.isfinite(top), top, 0.0).astype(top.dtype)))


def _logsumexp(x: Any, axis: Any, keepdims: bool) -> Any:
    top, small = _exponentials(x, axis)
    with np.errstate(divide="ignore"):  # the sum of no numbers, or of zeros alone, has the logarithm -inf
        out = np.log(np.add.reduce(small, axis=axis, keepdims=True)) + np.where(np.isfinite(top), top, 0.0)
    out = out.astype(dtype(x), copy=False)
    return out if keepdims else out.reshape([n for i, n in enumerate(shape(x)) if axis is not None and i not in axis])


def _softmax(x: Any, axis: Any) -> Any:
    small = np.asarray(np.subtract(x, np.maximum.reduce(x, axis=axis, keepdims=True, initial=-math.inf)))
    np.exp(small, out=small)
    return np.divide(small, np.add.reduce(small, axis=axis, keepdims=True), out=small)


def _log_softmax(x: Any, axis: Any) -> Any:
    out = np.asarray(np.subtract(x, np.maximum.reduce(x, axis=axis, keepdims=True, initial=-math.inf)))
    return np.subtract(out, np.log(np.add.reduce(np.exp(out), axis=axis, keepdims=True)), out=out)


def _log_softmax_back(g: Any, y: Any, x: Any, axis: Any) -> Any:
    out = np.asarray(np.exp(y))
    out *= np.add.reduce(g, axis=axis, keepdims=True)
    return np.subtract(g, out, out=out)


def _reduction(text: str, sign: str = "") -> Callable[..., dict[str, str]]:
    """How a reduction is written; in LaTeX by a `sign`, else by its name, with the axes below."""
    name, slot = (sign, " {}") if sign else (rf"\operatorname{{{{{text}}}}}".replace("_", r"\_"), r"\left({}\right)")

    def spelled(axis: Any, keepdims: bool = False) -> dict[str, str]:
        along = "" if axis is None else f", axis={axis[0] if len(axis) == 1 else axis}"
        below = "" if axis is None else f"_{{{{{', '.join(map(str, axis))}}}}}"
        return {"text": f"{text}({{}}{along}{', keepdims=True' * keepdims})", "latex": name + below + slot}

    return spelled


# fmt: off
total: Primitive = row("sum", lambda x, axis, keepdims: np.add.reduce(x, axis=axis, keepdims=keepdims), (_spread,),
                       flow=("G, repeated",), quick=(_spread_at_once,), label="Σ", latex=r"\sum {}",
                       spelled=_reduction("sum", r"\sum"))
mean: Primitive = row("mean", _mean, (_mean_spread,), flow=("G / n, repeated",), quick=(
    lambda g, y, x, axis, keepdims: _spread_at_once(g * (1.0 / max(count(x, axis), 1)), y, x, axis, keepdims),),
                      spelled=_reduction("mean"))
largest = row("max", lambda x, axis, keepdims: np.max(x, axis=axis, keepdims=keepdims), (_to_extreme,), (_of_extreme,),
              flow=("G at the largest, else 0",), spelled=_reduction("max"), domain="at least one number")
smallest = row("min", lambda x, axis, keepdims: np.min(x, axis=axis, keepdims=keepdims), (_to_extreme,), (_of_extreme,),
               flow=("G at the smallest, else 0",), spelled=_reduction("min"), domain="at least one number")
product = row("prod", lambda x, axis, keepdims: np.prod(x, axis=axis, keepdims=keepdims), (_by_others,),
              (lambda t, y, x, axis, keepdims: total.given(axis=axis, keepdims=keepdims)(mul(t, _others(x, axis))),),
              flow=("G ⊙ product of the others",), label="∏", latex=r"\prod {}",
              spelled=_reduction("prod", r"\prod"))
softmax: Primitive = row(
    "softmax", _softmax,
    (lambda g, y, x, axis: mul(y, sub(g, total.given(axis=axis, keepdims=True)(mul(g, y)))),),
    (lambda t, y, x, axis: mul(y, sub(t, total.given(axis=axis, keepdims=True)(mul(t, y)))),),
    flow=("Y ⊙ (G − Σ G ⊙ Y)",), spelled=_reduction("softmax"))
log_softmax: Primitive = row(
    "log_softmax", _log_softmax,
    (lambda g, y, x, axis: sub(g, mul(exp(y), total.given(axis=axis, keepdims=True)(g))),),
    (lambda t, y, x, axis: sub(t, total.given(axis=axis, keepdims=True)(mul(exp(y), t))),),
    quick=(_log_softmax_back,), flow=("G − softmax({0}) ⊙ Σ G",), spelled=_reduction("log_softmax"))
logsumexp: Primitive = row(
    "logsumexp", _logsumexp,
    (lambda g, y, x, axis, keepdims: mul(_kept(g, x, axis, keepdims), softmax.given(axis=axis)(x)),),
    (lambda t, y, x, axis, keepdims: total.given(axis=axis, keepdims=keepdims)(
        mul(t, softmax.given(axis=axis)(x))),),
    flow=("G ⊙ softmax({0})",), spelled=_reduction("logsumexp"))
# fmt: on


def _nll(logp: Any, target: Any, reduction: str) -> Any:
    if reduction != "none":
        found = np.vdot(target, logp)
        if found == found:
            return 0.0 - found / _examples(logp, reduction)  # 0 of a perfect prediction, not -0
    # Perhaps only 0 times -inf: a class that is ruled out, and not meant.
    found = np.multiply(target, logp, where=target != 0.0, out=np.zeros(logp.shape, np.result_type(target, logp)))
    return 0.0 - np.add.reduce(found, axis=-1 if reduction == "none" else None) / _examples(logp, reduction)


def _examples(logp: Any, reduction: str) -> int:
    return max(math.prod(shape(logp)[:-1]), 1) if reduction == "mean" else 1


def _negated(g: Any, logp: Any, reduction: str) -> Any:
    return mul(_column(g) if reduction == "none" else g, -1.0 / _examples(logp, reduction))


def _scaled(g: Any, logp: Any, reduction: str) -> Any:
    return (np.asarray(g)[..., None] if reduction == "none" else g) * (-1.0 / _examples(logp, reduction))


def _moved(t: Any, other: Any, logp: Any, reduction: str) -> Any:
    axis = (len(shape(logp)) - 1,) if reduction == "none" else None
    return total.given(axis=axis, keepdims=False)(mul(mul(t, other), -1.0 / _examples(logp, reduction)))


nll: Primitive = row(
    "nll",
    _nll,
    (lambda g, y, logp, target, reduction: mul(target, _negated(g, logp, reduction)),
     lambda g, y, logp, target, reduction: mul(logp, _negated(g, logp, reduction))),
    (lambda t, y, logp, target, reduction: _moved(t, target, logp, reduction),
     lambda t, y, logp, target, reduction: _moved(t, logp, logp, reduction)),
    quick=(
        lambda g, y, logp, target, reduction: target * _scaled(g, logp, reduction),
        lambda g, y, logp, target, reduction: logp * _scaled(g, logp, reduction),
    ),
    spelled=lambda reduction: {
        "flow": tuple(
            f"−G {'⊙' if reduction == 'none' else '·'} {other}{' / n' if reduction == 'mean' else ''}"
            for other in ("{1}", "{0}")
        )
    },
    text="nll({}, {})",
    latex=r"-\textstyle\sum {} \odot {}",
    domain="log-probabilities and target probabilities of one shape",
)  # fmt: skip


def _surprise(z: Any, target: Any, reduction: str, hard: bool) -> Any:
    return _nll(_log_softmax(z, -1), target, reduction)


def _error(z: Any, target: Any, hard: bool) -> Any:
    """How far the probabilities are from the target's: softmax − target, where each target adds up to 1."""
    last = (len(shape(z)) - 1,)
    likely = softmax.given(axis=last)(z)
    return sub(likely if hard else mul(likely, total.given(axis=last, keepdims=True)(target)), target)


def _error_at_once(g: Any, y: Any, z: Any, target: Any, reduction: str, hard: bool) -> Any:
    out = _softmax(z, -1)
    if not hard:
        out *= np.add.reduce(target, axis=-1, keepdims=True)
    out -= target
    out *= -_scaled(g, z, reduction)
    return out


def _log_likely(z: Any) -> Any:
    return log_softmax.given(axis=(len(shape(z)) - 1,))(z)


cross_entropy: Primitive = row(
    "cross_entropy",
    _surprise,
    (lambda g, y, z, target, reduction, hard: neg(mul(_error(z, target, hard), _negated(g, z, reduction))),
     lambda g, y, z, target, reduction, hard: mul(_log_likely(z), _negated(g, z, reduction))),
    (lambda t, y, z, target, reduction, hard: neg(_moved(t, _error(z, target, hard), z, reduction)),
     lambda t, y, z, target, reduction, hard: _moved(t, _log_likely(z), z, reduction)),
    quick=(
        _error_at_once,
        lambda g, y, z, target, reduction, hard: _log_softmax(z, -1) * _scaled(g, z, reduction),
    ),
    spelled=lambda reduction, hard: {
        "flow": (
            f"(softmax({{0}}){'' if hard else ' ⊙ Σ {1}'} − {{1}}) {'⊙' if reduction == 'none' else '·'} G"
            + " / n" * (reduction == "mean"),
            f"−G {'⊙' if reduction == 'none' else '·'} log_softmax({{0}}){' / n' if reduction == 'mean' else ''}",
        )
    },
    text="cross_entropy({}, {})",
    latex=r"\operatorname{{cross\_entropy}}\left({}, {}\right)",
    domain="logits and target probabilities of one shape",
)  # fmt: skip

# The row of a variable while the function runs that is differentiated: see transforms.py. It is a structural one, so
# that a backward pass meets what lies below it by `collect`.
OPEN = replace(identity, name="variable", vjp=(lambda g, y, x: g,), flow=("G",))


def single(x: Any) -> Any:
    """An array without axes as a number; while a function is traced, one of a plain array is that already."""
    return x if type(getattr(x, "_value", x)) is float else item.given(at=())(x)


def applied(row: Primitive, operands: Sequence[Any]) -> Any:
    """A row of a program on its operands, of which an array without axes may be a number already: see `single`."""
    return single(operands[0]) if row.name == "item" and not row.params["at"] else row(*operands)


def fitted(contribution: Any, x: Any) -> Any:
    """What flows back to `x`, in the shape and dtype of `x`: here, and only here, broadcasting is undone."""
    data = x._value
    if type(data) is float:
        if not hasattr(contribution, "_value"):
            return float(np.add.reduce(contribution, axis=None)) if shape(contribution) else float(contribution)
        return contribution if type(contribution._value) is float else single(sum_to.given(to=())(contribution))
    if type(contribution) is float:
        return np.full(data.shape, contribution, data.dtype)
    if shape(contribution) != data.shape:
        smaller = len(shape(contribution)) < data.ndim
        contribution = (broadcast_to if smaller else sum_to).given(to=data.shape)(contribution)
    if dtype(contribution) != data.dtype:
        contribution = cast.given(to=data.dtype)(contribution)
    return contribution

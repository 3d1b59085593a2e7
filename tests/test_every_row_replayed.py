"""Every row of the tables, replayed in every way there is: a new row without a case makes a test fail."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from test_programs import outcome, run_alone

import microgad as mg
from microgad import Tensor, Value, nn, primitives
from microgad.errors import DomainError
from microgad.replay import batching, lower, plan, python, rows, rules
from microgad.replay.classes import COMMUTATIVE
from microgad.structural import ROWS
from microgad.tracers import ARGMAX, DATA, DETACHED

OWN = {id(x) for x in vars(primitives).values()}
TABLE = {name: row for name, row in primitives.TABLE.items() if id(row) in OWN}  # other tests add rows of their own
ELEMENTWISE = [row for row in TABLE.values() if row.partials]
INF, NAN = math.inf, math.nan
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.5, 5e-324, 1e308, -1e308, INF, -INF, NAN)
FEWER = (0.0, -0.0, 1.0, -1.0, 2.5, 1e308, INF, NAN)  # for rows of three operands
SMOOTH = ((0.7, 1.3, 0.4), (1.5, 2.5, 0.7), (0.3, 0.6, 1.1), (2.0, 0.2, 1.7))  # in the domain of each row, no ties
INTERNAL = (rows.view, rows.place, rows.assemble, rows.results, DATA, DETACHED, ARGMAX)  # which only programs have

each_row = pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)


def points(row):
    n = len(row.partials)
    return list(itertools.product(SPECIAL if n < 3 else FEWER, repeat=n))


def smooth(row):
    return [point[: len(row.partials)] for point in SMOOTH]


def agree(got, want, rtol=1e-12, scale=False):
    """The same error, or numbers that agree, each or by the `scale` of the largest; nan and inf where they were."""
    if isinstance(want, Exception) or isinstance(got, Exception):
        assert (type(got), str(got)) == (type(want), str(want))
        return
    got, structure = mg.tree_flatten(got)
    want, expected = mg.tree_flatten(want)
    assert structure == expected
    for x, y in zip(got, want, strict=True):
        if y is None or x is None:
            assert x is y
            continue
        x, y = (getattr(z, "data", z) if not isinstance(z, np.ndarray) else z for z in (x, y))
        assert (np.shape(x), np.asarray(x).dtype) == (np.shape(y), np.asarray(y).dtype)
        finite = np.abs(np.asarray(y)[np.isfinite(y)])
        atol = rtol * float(np.max(finite, initial=0.0)) if scale else 0.0
        tiny = 1e-320 if np.asarray(y).dtype == np.float64 else 1e-44  # to the last but few bits of what is denormal
        np.testing.assert_allclose(x, y, rtol, max(atol, tiny))


def of_values(f, point):
    """The value and the gradients of single numbers."""
    leaves = [Value(x, f"x{k}") for k, x in enumerate(point)]
    out = f(*leaves)
    out.backward()
    return [out.data, *(x.grad for x in leaves)]


def weights(shape):
    return np.random.default_rng(5).uniform(0.5, 1.5, shape)


def of_tensors(f, arrays):
    """The value and the gradients of arrays."""
    leaves = [Tensor(x, requires_grad=True) for x in arrays]
    out = f(*leaves)
    out.backward(np.asarray(weights(out.shape), out.dtype) if out.ndim else 1.0)
    assert all(x.grad is None or type(x.grad) is np.ndarray for x in leaves)
    return [out.data, *(x.grad for x in leaves)]


def columns(row, dtype=float):
    with np.errstate(all="ignore"):
        return [np.array(column).astype(dtype) for column in zip(*points(row), strict=True)]


def slope(f, k):
    """The derivative by operand k of a function of numbers."""
    return mg.grad(f, k)


# ---- rows on single numbers


@each_row
def test_on_values_a_row_is_replayed_as_straight_line_python(row):
    jitted = mg.jit(row)
    of_values(jitted, smooth(row)[0])
    for point in [*smooth(row), *points(row)[:: 1 if len(row.partials) < 3 else 3]]:
        agree(outcome(of_values, jitted, point), outcome(of_values, row, point))
    assert "straight-line Python" in jitted.explain() or row.name == "identity"  # which computes nothing
    assert "traced once" in jitted.explain()


@each_row
def test_a_trace_at_a_special_point_is_good_for_all_others(row):
    for first in points(row)[:: 7 if len(row.partials) < 3 else 61]:
        jitted = mg.jit(row)
        want = outcome(of_values, row, first)
        got = outcome(of_values, jitted, first)
        assert type(got) is type(want), first
        for point in smooth(row):
            agree(of_values(jitted, point), of_values(row, point))


@each_row
def test_derivatives_of_derivatives_of_numbers(row):
    n = len(row.partials)
    jitted = mg.jit(row)
    for i, k in itertools.product(range(n), repeat=2):
        eager, of_jit = slope(slope(row, i), k), slope(slope(jitted, i), k)
        jit_of = mg.jit(eager)
        jit_of(*smooth(row)[0])
        for point in [*smooth(row), *points(row)[:: (1, 5, 23)[n - 1]]]:
            want = outcome(eager, *point)
            agree(outcome(of_jit, *point), want)
            if not isinstance(outcome(row, *point), DomainError):  # about these is the next test
                agree(outcome(jit_of, *point), want)


@pytest.mark.parametrize(
    ("f", "point"),
    [
        (mg.log, (-1.0,)),
        (mg.log, (-INF,)),
        (lambda x: mg.log(x) + x, (-1.0,)),
        (lambda x: x**-1.0, (0.0,)),
        (lambda x, y: x / y, (-1.0, 0.0)),
        (lambda x: sum(mg.log(x + i) for i in range(20)), (-1.0,)),
    ],
)
def test_a_derivative_has_the_domain_of_its_function(f, point):
    jitted = mg.jit(mg.grad(f))
    jitted(*(1.5 for _ in point))
    with pytest.raises(DomainError):
        mg.grad(f)(*point)
    with pytest.raises(DomainError):
        jitted(*point)


@each_row
def test_among_many_alike_one_lane_at_a_special_point(row):
    def many(lanes):
        return [row(*lane) for lane in lanes]

    def of_lane(f, point):
        lanes = [[Value(x, f"x{k}") for x in good] for k, good in enumerate(smooth(row) * 5)]
        lanes[3] = [Value(x, "odd") for x in point]
        out = f(lanes)
        (out[3] + out[5]).backward()
        return [[y.data for y in out], [x.grad for lane in (lanes[3], lanes[5]) for x in lane]]

    jitted = mg.jit(many)
    of_lane(jitted, smooth(row)[0])
    assert "on arrays" in jitted.explain() or row.name == "identity"
    for point in points(row)[:: (1, 5, 23)[len(row.partials) - 1]]:
        agree(outcome(of_lane, jitted, point), outcome(of_lane, many, point))


@each_row
def test_a_regrouped_program_and_its_gradient(row):
    lanes = [[x + 0.01 * k for x in good] for k, good in enumerate(smooth(row) * 5)]

    def total(lanes):
        return sum(row(*lane) * (k + 1.0) for k, lane in enumerate(lanes))

    program = mg.trace(total, lanes)
    regrouped = program.regrouped()
    assert len(regrouped) < len(program) / 2
    other = [[x * 1.1 for x in lane] for lane in lanes]
    want, slopes = mg.value_and_grad(total)(other)
    agree([program(other), regrouped(other)], [want, want])
    for gradient in (
        program.gradient(),
        regrouped.gradient(),
        program.gradient().regrouped(),
        regrouped.gradient().regrouped(),
    ):
        agree(gradient(other), slopes, scale=True)


# ---- rows on arrays


@each_row
def test_on_tensors(row):
    arrays = columns(row)
    want = outcome(of_tensors, row, arrays)
    for way in (mg.jit(row), mg.vmap(row), mg.jit(mg.vmap(row)), mg.vmap(mg.jit(row)), mg.jit(lambda *xs: row(*xs))):
        for _ in range(2):  # traced, and replayed
            agree(outcome(of_tensors, way, arrays), want)


@each_row
def test_on_plain_arrays(row):
    arrays = columns(row)
    with np.errstate(all="ignore"):
        want = row(*arrays)
    program = mg.trace(row, *arrays)
    for way in (mg.jit(row), program, program.regrouped()):
        got = way(*arrays)
        assert type(got) is np.ndarray
        agree(got, want)


@each_row
def test_a_batch_of_plain_numbers_is_one_of_values(row):
    batch = [np.array(column) for column in zip(*smooth(row), strict=True)]
    want = np.array([row(*point) for point in smooth(row)])
    agree(mg.vmap(row)(*batch), want)
    for k in range(len(batch)):
        agree(mg.vmap(mg.grad(row, k))(*batch), np.array([mg.grad(row, k)(*point) for point in smooth(row)]))
    for point in points(row)[:: (1, 3, 41)[len(batch) - 1]]:  # among others, first and last
        many = [(*smooth(row), point), (point, *smooth(row))]
        want = outcome(row, *point)
        for examples in many:
            got = outcome(mg.vmap(row), *map(np.array, zip(*examples, strict=True)))
            if isinstance(want, Exception):
                assert isinstance(got, DomainError), point
            else:
                agree(got, np.array([row(*example) for example in examples]))


@each_row
def test_on_tensors_without_axes(row):
    jitted = mg.jit(row)
    for point in [*smooth(row), *points(row)[:: 1 if len(row.partials) < 3 else 5]]:
        arrays = [np.array(x) for x in point]
        agree(outcome(of_tensors, jitted, arrays), outcome(of_tensors, row, arrays))


@each_row
def test_float32_stays_float32(row):
    jitted = mg.jit(row)
    for arrays in (columns(row, np.float32), [np.array([x, x], np.float32) for x in smooth(row)[0]]):
        want = outcome(of_tensors, row, arrays)
        assert [x.dtype for x in want] == [np.float32] * len(want)
        agree(outcome(of_tensors, jitted, arrays), want, rtol=2e-6)
    for point in smooth(row):
        arrays = [np.array(x, np.float32) for x in point]
        agree(outcome(of_tensors, jitted, arrays), outcome(of_tensors, row, arrays), rtol=2e-6)


BASE = np.linspace(0.2, 2.4, 24).reshape(4, 6)
LAYOUTS = {
    "transposed": BASE.T,
    "strided": BASE[:, ::2],
    "backwards": BASE[::-1, ::-1],
    "broadcast": np.broadcast_to(BASE[:1], (5, 6)),
    "one number": np.broadcast_to(1.5, (2, 3)),
    "Fortran": np.asfortranarray(BASE),
    "empty": np.zeros((0, 3)),
    "empty behind": np.zeros((3, 0)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@each_row
def test_arrays_however_they_lie_in_memory(row, layout):
    x = LAYOUTS[layout]
    arrays = [x, *(x[..., :1] for _ in row.partials[1:])] if x.size else [x for _ in row.partials]
    jitted, want = mg.jit(row), outcome(row, *arrays)
    agree(outcome(of_tensors, jitted, arrays), outcome(of_tensors, row, arrays))
    for _ in range(2):
        agree(outcome(jitted, *arrays), want)


@each_row
def test_integers_as_data(row):
    arrays = [np.arange(1, 6) + k for k in range(len(row.partials))]
    floats = [x.astype(float) for x in arrays]
    some = Tensor(np.linspace(0.5, 1.5, 5))
    agree(mg.jit(row)(*arrays), row(*floats))  # a program computes with floats
    agree(mg.jit(row)(*(int(x[0]) for x in arrays)), row(*(float(x[0]) for x in floats)))
    agree(mg.jit(row)(some, *arrays[1:]), row(some, *floats[1:]))


# ---- rows as Python


def flat(found):
    """The value, and then all derivatives."""
    value, slopes = found if isinstance(found, tuple) else (found, ())
    return [value, *(slopes if isinstance(slopes, tuple) else [slopes])]


@each_row
def test_python_of_a_row_on_numbers(row):
    source = mg.trace(row, *smooth(row)[0]).to_python()
    for point in smooth(row):
        want = [x or 0.0 for x in of_values(row, point)]
        agree([float(x) for x in flat(run_alone(source, *point))], want)
    for point in points(row):  # on NumPy's numbers, for which nothing is an error
        want = outcome(of_values, row, point)
        if isinstance(want, Exception):
            continue
        with np.errstate(all="ignore"):
            got = flat(run_alone(source, *map(np.float64, point)))
        agree([float(x) for x in got], [x or 0.0 for x in want])


@each_row
def test_python_of_a_row_on_arrays(row):
    arrays = columns(row)
    scale = weights(arrays[0].shape)

    def f(*xs):
        return (row(*xs) * scale).sum()

    source = mg.trace(lambda *xs: row(*xs), *arrays).to_python()
    with np.errstate(all="ignore"):
        agree(np.asarray(run_alone(source, *arrays), float), np.asarray(row(*arrays), float))
    source = mg.trace(f, *arrays).to_python()
    inside = [np.array(column) for column in zip(*smooth(row) * 36, strict=True)]
    inside = [np.resize(x, arrays[0].shape) for x in inside]
    got = flat(run_alone(source, *inside))
    agree(
        [np.asarray(x, float) for x in got], [np.asarray(f(*inside)), *mg.grad(f, tuple(range(len(inside))))(*inside)]
    )


@each_row
def test_python_of_a_regrouped_row(row):
    lanes = [[x + 0.01 * k for x in good] for k, good in enumerate(smooth(row) * 5)]
    program = mg.trace(lambda lanes: sum(row(*lane) * (k + 1.0) for k, lane in enumerate(lanes)), lanes)
    value, slopes = mg.value_and_grad(lambda lanes: sum(row(*a) * (k + 1.0) for k, a in enumerate(lanes)))(lanes)
    numbers = [x for lane in lanes for x in lane]
    got = flat(run_alone(program.to_python(), *numbers))
    agree([float(x) for x in got], [value, *(x for lane in slopes for x in lane)], scale=True)
    regrouped = program.regrouped()
    [pool] = regrouped.arguments  # all numbers, in another order
    value_there, slopes_there = run_alone(regrouped.to_python(), np.array(pool.example))
    agree(float(value_there), value)
    agree(np.sort(slopes_there), np.sort([x for lane in slopes for x in lane]), scale=True)


# ---- structural rows

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape)


def likely(*shape):
    x = RNG.uniform(0.1, 1.0, shape)
    return x / x.sum(axis=-1, keepdims=True)


A, S, FULL = np.array, slice, slice(None)
KEYS = [
    (1,), (-1,), (FULL,), (S(1, 3),), (S(None, None, -1),), (S(None, None, 3),), (S(None, None, 2), S(1, None)),
    (FULL, S(None, None, 2)), (0, 1), (FULL, 1), (None,), (Ellipsis, 0), (S(3, 0, -2),), (S(2, 2),),
    (FULL, None, S(0, 2)), (1, S(None, None, -1)), (S(4, None),), (Ellipsis,), (), (A([0, 2, 2, 0]),),
    (A([0, 2]), A([1, 1])), (FULL, A([0, 0, 1])), (A([[0, 1], [2, 3]]),), (A([], int),),
    (A([-1, -4]),), (A([True, False, True, True]),),
    (A([0, 1])[:, None], A([0, 2])), (A([1]), FULL, None),
]  # fmt: skip
REDUCED = [
    (None, (2, 3, 4)), ((0,), (2, 3, 4)), ((1,), (2, 3, 4)), ((0, 2), (2, 3, 4)), ((2,), (2, 3, 4)), (None, ()),
    ((0,), (3,)), ((0,), (3, 2)), ((1,), (3, 2)), ((0,), (1, 2)), ((1,), (0, 2)),
]  # fmt: skip
PRODUCTS = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)),
    ((2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,)),
    ((2, 0), (0, 4)), ((0, 3), (3, 4)), ((0,), (0,)), ((1, 3), (3, 1)), ((1,), (1,)), ((16, 70), (70, 80)),
]  # fmt: skip
F32, F64 = np.dtype("float32"), np.dtype("float64")
CASES = [
    *(("broadcast_to", {"to": to}, [normal(*of)]) for to, of in [
        ((4, 3), (3,)), ((2, 4, 3), (4, 1)), ((3,), ()), ((3, 3), (1, 1)), ((0, 3), (1, 3)), ((2, 3), (2, 3))]),
    *(("sum_to", {"to": to}, [normal(*of)]) for to, of in [
        ((3,), (4, 3)), ((1, 3), (4, 3)), ((4, 1), (4, 3)), ((), (4, 3)), ((1, 3, 1), (2, 5, 3, 4)), ((3,), (0, 3)),
        ((1, 1), (4, 3)), ((1,), (4, 3)), ((4, 3), (4, 3))]),
    *(("cast", {"to": to}, [normal(3).astype(of)]) for to, of in [(F32, F64), (F64, F32), (F64, F64)]),
    *(("reshape", {"to": to}, [normal(*of)]) for to, of in [
        ((6,), (2, 3)), ((3, 2), (2, 3)), ((1, 1), ()), ((), (1, 1)), ((0, 7), (0, 3)), ((3, 1, 2), (2, 3))]),
    *(("transpose", {"axes": axes}, [normal(*of)]) for axes, of in [
        ((1, 0), (2, 3)), ((0, 1), (2, 3)), ((2, 0, 1), (2, 3, 4)), ((1, 2, 0), (2, 3, 4)), ((0,), (3,)),
        ((1, 0), (0, 3))]),
    *(("index", {"key": key}, [normal(4, 3)]) for key in KEYS),
    *(("index", {"key": key}, [normal(3, 4, 5)]) for key in [
        (FULL, S(1, None)), (S(1, None), S(1, 3), S(2, None)), (S(None, None, 2),), (Ellipsis, S(None, None, 2)),
        (FULL, 1), (1, FULL, S(0, 4, 3)), (FULL, S(None, None, -1), 2)]),
    *(("index", {"key": key}, [normal(*of)]) for key, of in [((2,), (5,)), ((A([4, 4, -5]),), (5,)), ((None,), ())]),
    *(("scatter", {"key": key, "to": (4, 3)}, [np.array(np.zeros((4, 3))[key] + normal(1)[0])]) for key in KEYS[::2]),
    *(("item", {"at": at}, [normal(*of)]) for at, of in [((1, 2), (2, 3)), ((-1,), (3,)), ((0, 0, 0), (1, 1, 1))]),
    *(("concatenate", {"axis": axis}, [normal(*of) for of in parts]) for axis, parts in [
        (0, [(2, 3), (1, 3), (4, 3)]), (1, [(2, 3), (2, 1)]), (0, [(2, 3)]), (0, [(0, 3), (2, 3)]), (0, [(3,), (2,)]),
        (2, [(2, 3, 1), (2, 3, 2)])]),
    *(("stack", {"axis": axis}, [normal(*of) for of in parts]) for axis, parts in [
        (0, [(3,), (3,)]), (1, [(3,), (3,)]), (2, [(2, 3), (2, 3)]), (0, [(), (), ()]), (0, [(2,)]),
        (0, [(0, 2), (0, 2)])]),
    *(("matmul", {}, [normal(*a), normal(*b)]) for a, b in PRODUCTS),
    *(("linear", {}, [normal(*of), normal(m, of[-1]), normal(m)]) for of, m in [
        ((3,), 4), ((2, 3), 4), ((5, 2, 3), 4), ((0, 3), 4), ((2, 3), 1), ((1, 3), 4), ((2, 0), 4)]),
    *((name, {"axis": axis, "keepdims": keep}, [normal(*of)])
      for name in ("sum", "mean", "max", "min", "prod", "logsumexp") for axis, of in REDUCED
      for keep in ((False, True) if axis in (None, (1,), (0, 2)) else (False,))),
    *((name, {"axis": axis, "keepdims": False}, [A([[1.0, 0.0, 0.0], [2.0, 2.0, 2.0]])])
      for name in ("sum", "mean", "max", "min", "prod", "logsumexp") for axis in (None, (0,), (1,))),
    *((name, {"axis": None, "keepdims": False}, [normal(0, 2)]) for name in ("sum", "mean", "prod")),
    *((name, {"axis": axis}, [x]) for name in ("softmax", "log_softmax") for axis, x in [
        ((0,), normal(3, 4)), ((1,), normal(3, 4)), ((0, 1), normal(3, 4)), ((0,), normal(4)), ((1,), normal(0, 4)),
        ((0,), A([1000.0, -1000.0, 0.0])), ((1,), normal(3, 1))]),
    *(("nll", {"reduction": kind}, [logp, target]) for kind in ("mean", "sum", "none") for logp, target in [
        (np.log(likely(3, 4)), likely(3, 4)), (np.log(likely(4)), likely(4)),
        (np.log(likely(2, 3, 4)), likely(2, 3, 4)),
        (A([[0.0, -INF]]), A([[1.0, 0.0]])), (np.log(likely(2, 3)), A([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))]),
    *(("cross_entropy", {"reduction": kind, "hard": hard}, [z, target])
      for kind in ("mean", "sum", "none") for hard in (True, False) for z, target in [
        (normal(3, 4), likely(3, 4)), (normal(4), likely(4)), (normal(2, 3, 4), likely(2, 3, 4)),
        (A([[1000.0, -1000.0], [0.0, 1.0]]), np.eye(2))]),
]  # fmt: skip


def named(case):
    name, params, arrays = case
    return f"{name}-{params}-{[x.shape for x in arrays]}"[:90]


each_case = pytest.mark.parametrize("case", CASES, ids=named)


def test_every_structural_row_has_cases():
    assert {name for name, _, _ in CASES} == set(ROWS)


def taken(case):
    name, params, arrays = case
    made = ROWS[name].given(**params)
    return (lambda *xs: made(*xs)), arrays


def bent(f):
    """One number, in which nothing is linear."""

    def loss(*xs):
        out = f(*xs)
        shape = np.shape(getattr(out, "_value", out))
        out = mg.sin(out * weights(shape) if shape else out * 1.7)
        return out.sum() if shape else out

    return loss


def of_item(f, arrays):
    leaves = [Tensor(x, requires_grad=True) for x in arrays]
    out = f(*leaves)
    out.backward()
    return [out.data, *(x.grad for x in leaves)]


def ran(case, f, arrays):
    return outcome(of_item if case[0] == "item" else of_tensors, f, arrays)


@each_case
def test_structural_rows_on_tensors_and_arrays(case):
    f, arrays = taken(case)
    jitted, want = mg.jit(f), ran(case, f, arrays)
    for _ in range(2):
        agree(ran(case, jitted, arrays), want, scale=True)
    program = mg.trace(f, *arrays)
    plain = outcome(f, *arrays)
    agree([outcome(way, *arrays) for way in (mg.jit(f), program, program.regrouped())], [plain] * 3, scale=True)


@each_case
def test_structural_rows_however_arrays_lie_in_memory(case):
    f, arrays = taken(case)
    jitted, want = mg.jit(f), ran(case, f, arrays)
    layouts = (
        [np.asfortranarray(x) if x.ndim else x for x in arrays],
        [np.repeat(x, 2, -1)[..., ::2] if x.ndim else x for x in arrays],
        [np.ascontiguousarray(x[..., ::-1])[..., ::-1] if x.ndim else x for x in arrays],
    )
    for other in layouts:
        agree(ran(case, jitted, other), want, scale=True)
        agree(outcome(jitted, *other), outcome(f, *other), scale=True)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] not in ("cast", "item")], ids=named)
def test_structural_rows_keep_float32(case):
    f, arrays = taken(case)
    arrays = [x.astype(np.float32) for x in arrays]
    agree(ran(case, mg.jit(f), arrays), ran(case, f, arrays), rtol=1e-5, scale=True)


@each_case
def test_derivatives_of_structural_rows(case):
    f, arrays = taken(case)
    loss = bent(f)
    by = tuple(range(len(arrays)))
    with np.errstate(all="ignore"):
        want = mg.grad(loss, by)(*arrays)
        agree(mg.jit(mg.grad(loss, by))(*arrays), want, scale=True)
        agree(mg.grad(mg.jit(loss), by)(*arrays), want, scale=True)
        got = mg.trace(loss, *arrays).gradient()(*arrays)
        agree(got if len(by) > 1 else (got,), want, scale=True)


@each_case
def test_second_derivatives_of_structural_rows(case):
    f, arrays = taken(case)
    loss, by = bent(f), tuple(range(len(arrays)))
    jitted = mg.jit(loss)

    def twice(loss):
        def total(*xs):
            slopes = mg.grad(loss, by)(*xs)
            return sum((s * weights(x.shape)).sum() for s, x in zip(slopes, arrays, strict=True))

        return mg.grad(total, by)

    with np.errstate(all="ignore"):
        want = twice(loss)(*arrays)
        agree(mg.jit(twice(loss))(*arrays), want, rtol=1e-11, scale=True)
        agree(twice(jitted)(*arrays), want, rtol=1e-11, scale=True)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "cast"], ids=named)
def test_structural_rows_as_python(case):
    f, arrays = taken(case)
    loss, by = bent(f), tuple(range(len(arrays)))
    program = mg.trace(loss, *arrays)
    with np.errstate(all="ignore"):
        want = [np.asarray(loss(*arrays)), *mg.grad(loss, by)(*arrays)]
        got = flat(run_alone(program.to_python(), *(x.copy() for x in arrays)))
        agree([np.asarray(x) for x in got], want, scale=True)
        if all(x.ndim for x in arrays):  # single numbers are one array in a regrouped program
            got = flat(run_alone(program.regrouped().to_python(), *(x.copy() for x in arrays)))
            agree([np.asarray(x) for x in got], want, scale=True)


MAPPED = [case for case in CASES if case[0] not in ("cast", "item") and all(x.size for x in case[2])]


@pytest.mark.parametrize("case", MAPPED, ids=named)
def test_vmap_of_structural_rows(case):
    f, arrays = taken(case)
    n = len(arrays)
    many = [
        np.stack([x + 0.1 * (k if case[0] not in ("nll", "cross_entropy") else 0) for k in range(3)]) for x in arrays
    ]
    for mask in [[True] * n, *([i == k for i in range(n)] for k in range(n) if 1 < n < 4)]:
        given = [b if m else x for b, x, m in zip(many, arrays, mask, strict=True)]

        def each(*xs, mask=mask):
            return mg.stack([f(*(x[k] if m else x for x, m in zip(xs, mask, strict=True))) for k in range(3)])

        mapped = mg.vmap(f, in_axes=tuple(0 if m else None for m in mask))
        want = ran(case, each, given)
        known = slice(None) if all(np.isfinite(x).all() for x in arrays) else slice(0, 2)  # not by a target, at log(0)
        for way in (mapped, mg.jit(mapped)):
            agree(ran(case, way, given)[known], want[known], scale=True)


# ---- the tables of generated code agree with the table of primitives


KNOWN = {*TABLE, *ROWS, *(row.name for row in INTERNAL)}


def test_no_table_of_replay_knows_a_row_that_does_not_exist():
    methods = [name[4:] for name in vars(lower.Lowered) if name.startswith("_do_")]
    writers = [
        row.name for row in (*TABLE.values(), *ROWS.values(), *INTERNAL) if hasattr(python.Writer, f"_{row.name}")
    ]
    assert writers
    for names in (
        lower.FLOATS, lower.PLAIN, methods, python.SOURCES, python.INFIX, python.HELPERS, python.NEEDS, rules.RULES,
        rules.READABLE, plan.SAME, plan.VIEWS, batching.REDUCTIONS,
    ):  # fmt: skip
        assert set(names) <= KNOWN
    assert set(rules.READABLE) < set(rules.RULES)
    assert set(lower.PLAIN) <= set(lower.FLOATS) <= set(TABLE)


@pytest.mark.parametrize("name", [*TABLE, *ROWS])
def test_every_row_can_be_written_and_mapped(name):
    row = {**TABLE, **ROWS}[name]
    written = name in {*python.SOURCES, *python.INFIX, *python.HELPERS} or hasattr(python.Writer, f"_{name}")
    assert written or isinstance(row.array, np.ufunc)
    assert row.partials or name in batching.REDUCTIONS or hasattr(batching.Batch, f"_{name}")


@pytest.mark.parametrize("name", sorted(lower.FLOATS))
def test_formulas_on_floats_are_the_rows(name):
    row, space = TABLE[name], {f"math_{f}": getattr(math, f) for f in dir(math)}
    letters = "abc"[: len(row.partials)]
    formula = eval(f"lambda {', '.join(letters)}: {lower.FLOATS[name].format(*letters)}", space)
    for point in points(row):
        try:
            got = formula(*point)
        except (ValueError, ArithmeticError):
            assert name not in lower.PLAIN  # the function itself is run, and raises, or is infinite
            continue
        assert float.hex(got) == float.hex(row(*point)), point


@each_row
def test_commutative_rows_are(row):
    if row in COMMUTATIVE:
        for a, b in points(row):
            agree(outcome(row, a, b), outcome(row, b, a))
            agree(outcome(row, np.array(a), np.array(b)), outcome(row, np.array(b), np.array(a)))


# ---- rewriting

X = np.array([0.0, -0.0, 1.0, -1.0, 2.5, 5e-324, 1e-300, 1e300, 1e308, -1e308, INF, -INF, NAN])
W = np.linspace(-1.0, 1.0, 13)
M = np.array([[1.0, -INF, 0.0], [2.0, NAN, 1e308]])
REWRITES = {  # by rule: functions in which it does something
    "mul": [
        *(lambda x, c=c, d=d: c * (d * x) for c, d in [
            (0.0, 1e10), (1e-200, 1e-200), (2.0, 3.0), (-0.0, 1e200), (INF, 0.5), (1e200, 1e200), (1.0, 1.0),
            (-1.0, -1.0), (1.0, -0.0), (NAN, 1.0)]),
        lambda x: np.ones(13) * x, lambda x: np.full(13, 3.0) * (x * 0.5), lambda x: (x * W) * W, lambda x: x * 0.0,
        lambda x: 0.0 * (1e10 * x[:1]) * np.ones(3), lambda x: 3.0 * (x[7] * x), lambda x: 0.0 * (x[7] * x),
    ],
    "add": [lambda x: x + x, lambda x: (x + x) + (x + x), lambda x: x + 0.0, lambda x: x + -0.0,
            lambda x: 0.0 + x * 1.0],
    "pow": [lambda x: x**1.0, lambda x: x**2.0, lambda x: x**3.0, lambda x: x**0.0, lambda x: x**0.5,
            lambda x: x**-1.0],
    "greater": [lambda x: mg.relu(x) + (x > 0.0) * 1.0, lambda x: mg.relu(x) * (x > 0.0) * x, lambda x: (x > W) * x],
    "neg": [lambda x: TABLE["neg"](-x), lambda x: -(3.0 * x), lambda x: -(x * 0.0), lambda x: -(x[4] * x),
            lambda x: -(x - x)],
    "sum": [lambda x: (x * W).sum(), lambda x: (x[:9] * x[:9]).sum(), lambda x: (x[:5] * W[:5]).sum() * 2.0],
    "linear": [lambda x: nn.functional.linear(x[None, :5], np.ones((2, 5)), W[:2])],
    "reshape": [lambda x: x.reshape(13, 1).reshape(1, 13), lambda x: x.reshape(13), lambda x: (x * 2.0).reshape(13, 1)],
    "transpose": [lambda x: x.reshape(13, 1).T.T, lambda x: (x.reshape(13, 1) * np.ones((13, 2))).T],
    "index": [
        lambda x: mg.concatenate([x, x * 2.0])[13:], lambda x: mg.concatenate([x, W])[:13],
        lambda x: mg.exp(x)[::-1][2:5], lambda x: (x[2:5].reshape(3, 1) @ np.ones((1, 3)))[1:3],
        lambda x: x[:12].reshape(4, 3).T[1:, ::2], lambda x: x[3:][2:][::3],
    ],
    "scatter": [lambda x: x[2:5] * 2.0],
    "view": [lambda x: x[0:13] * 1.0, lambda x: x[:12].reshape(3, 4)[:, 1:3]],
    "softmax": [mg.softmax], "log_softmax": [mg.log_softmax],
    "cross_entropy": [lambda x: nn.cross_entropy(x[None, 2:5], np.array([[0.0, 1.0, 0.0]]))],
    "broadcast_to": [lambda x: x[:1] + np.zeros(13)], "sum_to": [lambda x: x * np.ones((1, 13))],
    "cast": [lambda x: x.astype(float) if isinstance(x, np.ndarray) else x * 1.0], "data": [lambda x: x * 1.0],
    "detach": [lambda x: x + 0.0], "identity": [TABLE["identity"]],
    "sub": [lambda x: x - x, lambda x: x - np.zeros(13), lambda x: x - x[:1]],
    "div": [lambda x: x / x, lambda x: x / np.full(13, 3.0), lambda x: 1.0 / x, lambda x: x / x[:1]],
    "where": [lambda x: mg.where(x > 0.0, x, np.zeros(13)), lambda x: mg.where(np.ones(13), x, x[:1])],
    "maximum": [lambda x: mg.maximum(x, np.zeros(13)), lambda x: mg.maximum(x[:1], x)],
    "minimum": [lambda x: mg.minimum(x, np.zeros(13)), lambda x: mg.minimum(x, x[4:5])],
    "equal": [lambda x: mg.equal(x, x), lambda x: mg.equal(x, np.zeros(13))],
    "clip": [lambda x: mg.clip(x, np.zeros(13), np.ones(13)), lambda x: mg.clip(x, -1.0, 1.0)],
}  # fmt: skip


def test_every_rule_has_functions_in_which_it_does_something():
    assert set(REWRITES) == set(rules.RULES)


def plain(x):
    return np.asarray(x.data if isinstance(x, Tensor) else x)


@pytest.mark.parametrize(
    ("rule", "f"), [pytest.param(k, f, id=f"{k}{i}") for k, fs in REWRITES.items() for i, f in enumerate(fs)]
)
def test_what_is_rewritten_stays_nan_infinite_zero_and_signed(rule, f):
    want = plain(outcome(f, Tensor(X)))
    program = outcome(mg.trace, lambda x: f(x), Tensor(W))
    for way in (mg.jit(lambda x: f(x)), program, program.regrouped()):
        got = plain(outcome(way, Tensor(X)))
        agree(got, want)
        zeros = (got == 0.0) & (want == 0.0)
        if rule != "clip":  # of 0 and -0 NumPy takes the one or the other, array or number
            assert np.signbit(got[zeros]).tolist() == np.signbit(want[zeros]).tolist()


@pytest.mark.parametrize(
    ("rule", "f"), [pytest.param(k, f, id=f"{k}{i}") for k, fs in REWRITES.items() for i, f in enumerate(fs)]
)
def test_derivatives_of_what_is_rewritten(rule, f):
    def loss(x):
        return (f(x) * 1.5).sum()

    def by_backward(loss):
        x = Tensor(W + 0.03, requires_grad=True)
        with np.errstate(all="ignore"):
            loss(x).backward()
        return x.grad

    want = by_backward(loss)
    agree(by_backward(mg.jit(loss)), want, scale=True)
    with np.errstate(all="ignore"):
        agree(mg.trace(loss, Tensor(W)).gradient()(W + 0.03), want, scale=True)


@pytest.mark.parametrize("name", ["mul", "add", "sub", "div", "pow", "neg"])
def test_rewriting_keeps_the_errors_of_numbers(name):
    f = {
        "mul": lambda x: 0.0 * (1.0 * (1.0 / x)),
        "add": lambda x: mg.log(x) + mg.log(x),
        "sub": lambda x: mg.log(x) - mg.log(x),
        "div": lambda x: x / x,
        "pow": lambda x: (x**-1.0) ** 1.0,
        "neg": lambda x: TABLE["neg"](-(1.0 / x)),
    }[name]
    jitted, program = mg.jit(f), mg.trace(f, 1.0)
    jitted(Value(1.0))
    many = mg.jit(lambda xs: [f(x) for x in xs])
    many([Value(1.0)] * 20)
    for way in (f, jitted, program, program.regrouped()):
        with pytest.raises(DomainError):
            way(Value(0.0))
    for xs in ([0.0] + [1.0] * 19, [1.0] * 19 + [0.0]):
        with pytest.raises(DomainError):
            many(list(map(Value, xs)))


def test_rows_of_ones_own_are_replayed():
    cube = mg.primitive("cube_of_replay", lambda x: x**3, lambda y, x: 3.0 * x**2)
    case = SimpleNamespace(x=[0.5, -2.0, 3.0] * 7)
    agree(mg.jit(lambda xs: sum(cube(x) for x in xs))(case.x), sum(x**3 for x in case.x))
    agree(mg.jit(mg.grad(lambda xs: sum(cube(x) for x in xs)))(case.x), [3.0 * x**2 for x in case.x])
    agree(mg.vmap(mg.grad(mg.grad(cube)))(np.array(case.x)), 6.0 * np.array(case.x))

"""The error function on arrays: against many digits in every region, and on every kind of array."""

import math

import mpmath
import numpy as np
import pytest

import microgad as mg
from microgad.special import BLOCK, END, STEP, erf, erfc

INF, NAN = math.inf, math.nan
draw = np.random.default_rng(0)


def off(f, x, definition):
    """How far from the definition the worst of the results is, in units in the last place, and where."""
    errors = []
    with mpmath.workprec(160):
        for at, got in zip(x.tolist(), f(x).tolist(), strict=True):
            want = definition(mpmath.mpf(at))
            errors.append((float(abs(got - want) / math.ulp(float(want))), at))
    return max(errors)


def around(*numbers):
    """Each of them, and the floats on its sides."""
    return np.array([x for at in numbers for x in (math.nextafter(at, -INF), at, math.nextafter(at, INF))])


NODES = np.array([1, 2, 3, 17, 255, 256, 511, 1024, 1025, 2047, 2048, 3000, 3071]) * STEP
BORDERS = around(*NODES, *(NODES + STEP / 2), *(NODES - STEP / 2), END)
REGIONS = {
    "0": np.array([5e-324, 1e-323, 2.3e-308, 1e-300, 1e-160, 1e-154, 1e-20, 1e-8, 1e-5]),
    "every size": 10.0 ** draw.uniform(-320.0, -3.0, 300),
    "the first node": np.linspace(0.0, STEP / 2, 300)[1:],
    "the second node": np.linspace(STEP / 2, 1.5 * STEP, 300),
    "borders": BORDERS,
    "up to 1": draw.uniform(0.0, 1.0, 500),
    "up to 6": draw.uniform(1.0, END, 1000),
    "up to 5.5": np.linspace(0.0, 5.5, 400)[1:],
    "powers of 2": 2.0 ** np.arange(-30, 3),
}
FAR = {  # where the complement is a small number
    "just before 6": draw.uniform(5.9, END, 300),
    "just beyond 6": np.append(draw.uniform(END, 6.1, 300), around(END)),
    "beyond 6": draw.uniform(6.0, 26.5, 600),
    "a grid beyond 6": np.linspace(6.0, 26.5, 500),
    "subnormal": np.append(np.linspace(26.5, 27.2, 100), around(26.543258, 27.226, 27.2260176, 27.23)),
    "nothing left": np.array([27.3, 28.0, 29.9, 30.0, 31.0]),
}


@pytest.mark.parametrize("region", REGIONS)
def test_erf_against_many_digits(region):
    x = REGIONS[region]
    assert off(erf, x, mpmath.erf) <= (2.0, INF)
    assert off(erf, -x, mpmath.erf) <= (2.0, INF)


@pytest.mark.parametrize("x", [*REGIONS.values(), *FAR.values()], ids=[*REGIONS, *FAR])
def test_erfc_against_many_digits(x):
    assert off(erfc, x, mpmath.erfc) <= (2.0, INF)
    assert off(erfc, -x, mpmath.erfc) <= (1.0, INF)  # it is near 2


def test_at_the_nodes_both_are_rounded_as_well_as_they_can_be():
    nodes = np.arange(1, 3072, 7) * STEP
    for x in (nodes, -nodes):
        assert off(erf, x, mpmath.erf) <= (0.5001, INF)
        assert off(erfc, x, mpmath.erfc) <= (0.5001, INF)


def test_the_c_library_agrees():
    x = draw.normal(size=5000) * 2.0
    np.testing.assert_allclose(erf(x), [math.erf(at) for at in x], rtol=2e-15, atol=0.0)
    np.testing.assert_allclose(erfc(x), [math.erfc(at) for at in x], rtol=2e-15, atol=0.0)


SPECIAL = [  # where, erf, erfc
    (0.0, 0.0, 1.0),
    (-0.0, -0.0, 1.0),
    (5e-324, 5e-324, 1.0),
    (-5e-324, -5e-324, 1.0),
    (5.95, 1.0, None),
    (-5.95, -1.0, 2.0),
    (END, 1.0, None),
    (-END, -1.0, 2.0),
    (6.5, 1.0, None),
    (-6.5, -1.0, 2.0),
    (28.0, 1.0, 0.0),
    (-28.0, -1.0, 2.0),
    (1e19, 1.0, 0.0),
    (-1e19, -1.0, 2.0),
    (1e308, 1.0, 0.0),
    (-1e308, -1.0, 2.0),
    (INF, 1.0, 0.0),
    (-INF, -1.0, 2.0),
    (NAN, NAN, NAN),
    (-NAN, NAN, NAN),
]


@pytest.mark.parametrize(("x", "value", "complement"), SPECIAL)
def test_at_the_edges_of_the_floats(x, value, complement):
    with np.errstate(all="raise"):
        for dtype in (np.float64, np.float32) if abs(x) != 5e-324 and abs(x) != 1e308 else (np.float64,):
            for f, want in ((erf, value), (erfc, complement)):
                got = float(f(np.array([0.25, x, 7.0], dtype))[1])  # among numbers of other kinds
                if want is None:
                    assert 0.0 < got < 1e-15
                else:
                    assert got == want or (math.isnan(got) and math.isnan(want))
                    assert math.isnan(want) or math.copysign(1.0, got) == math.copysign(1.0, want)


def test_nothing_is_raised_for_numbers_of_any_size():
    sizes = 2.0 ** np.arange(-1074, 1024)
    with np.errstate(all="raise"):
        assert (erf(sizes) > 0.0).all()
        assert (erf(sizes) <= 1.0).all()
        assert (erfc(sizes) <= 1.0).all()
        assert (erfc(-sizes) >= 1.0).all()


def test_erf_is_odd_to_the_last_bit():
    x = np.concatenate([*REGIONS.values(), *FAR.values()])
    assert (erf(-x) == -erf(x)).all()


# ---- arrays

LONG = draw.normal(size=2 * BLOCK + 5) * 5.0
GRID = LONG[:24].reshape(4, 6)
LAYOUTS = {
    "no axis": GRID[0, 0].reshape(()),
    "one": GRID[0, :1],
    "one of two axes": GRID[:1, :1],
    "none": np.zeros(0),
    "none of two axes": np.zeros((0, 3)),
    "rows": GRID,
    "three axes": GRID.reshape(2, 3, 4),
    "columns": np.asfortranarray(GRID),
    "transposed": GRID.T,
    "every second": GRID[:, ::2],
    "backwards": GRID[::-1, ::-1],
    "one for many": np.broadcast_to(GRID[0], (3, 6)),
    "other byte order": GRID.astype(">f8"),
    "a block": LONG[:BLOCK],
    "a block and one": LONG[: BLOCK + 1],
    "several blocks": LONG,
}


@pytest.mark.parametrize("f", [erf, erfc])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, f):
    x = LAYOUTS[layout]
    before = x.copy()
    got = f(x)
    assert (got.shape, got.dtype) == (x.shape, np.dtype(float))
    assert type(got) is (np.ndarray if x.ndim else np.float64)  # as NumPy's own functions
    want = [math.erf(at) if f is erf else math.erfc(at) for at in x.ravel()]
    np.testing.assert_allclose(np.ravel(got), want, rtol=2e-15, atol=0.0)
    assert (x == before).all()


@pytest.mark.parametrize("f", [erf, erfc])
def test_a_result_does_not_depend_on_the_numbers_beside_it(f):
    alone = [float(f(LONG[i : i + 1])[0]) for i in range(300)]
    assert f(LONG[:300]).tolist() == alone
    assert f(LONG)[:300].tolist() == alone
    assert f(LONG[::-1])[::-1].tolist() == f(LONG).tolist()


DTYPES = [
    (np.float64, np.float64),
    (np.float32, np.float32),
    (np.float16, np.float32),
    (np.int64, np.float64),
    (np.int32, np.float64),
    (np.int8, np.float32),
    (np.uint64, np.float64),
    (np.bool_, np.float32),
    (np.longdouble, np.longdouble),
]


@pytest.mark.parametrize("f", [erf, erfc])
@pytest.mark.parametrize(("given", "dtype"), DTYPES)
def test_dtypes(given, dtype, f):
    x = np.array([0, 1, 1, 3, 7, 1]).astype(given)
    got = f(x)
    assert got.dtype == np.dtype(dtype)
    assert got.tolist() == f(x.astype(float)).astype(dtype).tolist()
    assert f(x[1]).dtype == f(x[1].reshape(())).dtype == np.dtype(dtype)
    assert f(x[:0]).dtype == np.dtype(dtype)


def test_numbers_and_lists():
    assert (erf(0.5), erfc(0.5)) == (erf(np.array(0.5)), erfc(np.array(0.5)))
    assert erf([[0.5, 1]]).tolist() == [[erf(0.5), erf(1.0)]]


@pytest.mark.parametrize(("f", "definition"), [(erf, mpmath.erf), (erfc, mpmath.erfc)])
def test_float32_is_rounded_once(f, definition):
    x = draw.uniform(-9.0, 9.0, 500).astype(np.float32)
    with mpmath.workprec(160):
        want = [float(np.float32(float(definition(mpmath.mpf(float(at)))))) for at in x]
    assert f(x).tolist() == want


@pytest.mark.parametrize("f", [erf, erfc])
@pytest.mark.parametrize(
    "x",
    [
        np.array([1.0 + 1e-30j]),
        np.array([], complex),
        np.array(["1"]),
        np.array([], str),
        np.array([1.0], object),
        np.array([0], "M8[s]"),
        np.array([0], "m8[s]"),
    ],
    ids=lambda x: str(x.dtype),
)
def test_what_is_refused(x, f):
    with pytest.raises(TypeError, match="real numbers"):
        f(x)


# ---- the rows that are made of them


def test_the_rows_have_all_their_digits_on_arrays():
    x = np.concatenate([draw.normal(size=300) * 2.0, [1e-300, -1e-300, -0.0, 5e-324]])
    assert off(mg.erf, x, mpmath.erf) <= (2.0, INF)
    x = x[(x > -1.0) & (np.abs(x) > 1e-320)]  # further left the last bit of x/√2 counts for more
    assert off(mg.gelu, x, lambda at: at * mpmath.erfc(-at / mpmath.sqrt(2)) / 2) <= (4.0, INF)


@pytest.mark.parametrize("f", [mg.erf, mg.gelu])
def test_the_rows_keep_float32(f):
    x = np.linspace(-4.0, 4.0, 9, dtype=np.float32)
    tensor = mg.Tensor(x, requires_grad=True)
    f(tensor).sum().backward()
    assert f(x).dtype == f(tensor).dtype == tensor.grad.dtype == np.dtype(np.float32)
    assert f(tensor).data.tolist() == f(x).tolist()
    np.testing.assert_allclose(f(x), [f(float(at)) for at in x], rtol=1e-4, atol=0.0)

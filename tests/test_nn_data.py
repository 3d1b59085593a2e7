"""Data sets, the way they are split and batched, and what is refused."""

# ruff: noqa: N803, N806, because matrices have capital names

import math
import tomllib
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import microgad as mg
from microgad import Tensor, Value
from microgad.errors import GraphCutError, InputError, MicrogadError, ShapeError
from microgad.nn import data

NAN, INF = math.nan, math.inf
SETS = {
    "moons": (data.moons, 2),
    "circles": (data.circles, 2),
    "spirals": (data.spirals, 2),
    "three spirals": (lambda *args, **kwargs: data.spirals(*args, classes=3, **kwargs), 3),
    "xor": (data.xor, 2),
}
CURVES = {
    "sine": lambda x: math.sin(2 * math.pi * x),
    "waves": lambda x: sum(math.sin(2 * k * math.pi * x) / m for k, m in [(1, 1), (3, 2), (7, 4)]),
    "line": lambda x: x,
    "cubic": lambda x: math.cos(3 * math.acos(x)),
    "abs": lambda x: math.sqrt(x * x),
    "step": lambda x: float(x >= 0),
    "bump": lambda x: math.exp(-((4 * x) ** 2)),
}
SURFACES = {
    "product": lambda a, b: ((a + b) ** 2 - (a - b) ** 2) / 4,
    "saddle": lambda a, b: (a + b) * (a - b),
    "bowl": lambda a, b: abs(complex(a, b)) ** 2,
    "ripple": lambda a, b: math.cos(3 * math.pi * abs(complex(a, b))),
}
X6, Y6 = np.arange(12.0).reshape(6, 2), np.arange(6) % 2


def ordered(X):
    return np.array(sorted(X.tolist()))


# ---- made-up classes


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("n", [4, 5, 6, 7, 200, 201])
def test_points_of_two_coordinates_in_balanced_classes(name, n):
    make, classes = SETS[name]
    X, y = make(n, seed=0)
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((n, 2), np.float64, (n,), np.int64)
    counts = np.bincount(y)
    assert len(counts) == classes
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("name", SETS)
def test_their_order_is_random_and_the_seed_decides(name):
    make, _ = SETS[name]
    X, y = make(100, seed=3)
    again, labels = make(100, seed=3)
    assert (again == X).all()
    assert (y == labels).all()
    assert (make(100, seed=4)[0] != X).any()
    assert 25 < np.count_nonzero(np.diff(y)) < 85  # of 99 neighbours; sorted by class they would be 1 or 2
    exact, _ = make(100, noise=0.0, seed=3)
    others, _ = make(100, noise=0.0, seed=4)
    assert (exact != others).any()
    np.testing.assert_array_equal(ordered(exact), ordered(others))


@pytest.mark.parametrize(
    "draw",
    [make for make, _ in SETS.values()]
    + [data.curve, data.surface, lambda: data.train_test_split(X6, Y6), lambda: next(iter(data.minibatches(X6)))],
)
def test_without_a_seed_manual_seed_decides(draw):
    mg.manual_seed(5)
    first, second = draw(), draw()
    mg.manual_seed(5)
    again = draw()
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", SETS)
def test_noise_is_a_standard_deviation_in_both_coordinates(name):
    make, _ = SETS[name]
    exact, y = make(20_000, noise=0.0, seed=1)
    noisy, labels = make(20_000, noise=0.3, seed=1)
    assert (y == labels).all()
    added = noisy - exact
    np.testing.assert_allclose(added.std(axis=0), 0.3, rtol=0.03)
    np.testing.assert_allclose(added.mean(axis=0), 0.0, atol=0.01)
    assert abs(np.corrcoef(added.T)[0, 1]) < 0.03


@pytest.mark.parametrize("n", [2, 3, 10, 101])
@pytest.mark.parametrize(("ours", "theirs"), [("moons", "make_moons"), ("circles", "make_circles")])
def test_the_geometry_is_that_of_sklearn(ours, theirs, n):
    sets = pytest.importorskip("sklearn.datasets")
    options = {"factor": 0.3} if ours == "circles" else {}
    X, y = getattr(data, ours)(n, noise=0.0, seed=0, **options)
    points, labels = getattr(sets, theirs)(n, shuffle=False, **options)
    for label in (0, 1):
        np.testing.assert_allclose(ordered(X[y == label].round(12)), ordered(points[labels == label].round(12)))


def test_the_geometry_of_moons():
    X, y = data.moons(101, noise=0.0, seed=0)
    x1, x2 = X[y == 0].T
    np.testing.assert_allclose(np.hypot(x1, x2), 1.0)
    assert x2.min() > -1e-12
    x1, x2 = X[y == 1].T
    np.testing.assert_allclose(np.hypot(x1 - 1.0, x2 - 0.5), 1.0)
    assert x2.max() < 0.5 + 1e-12
    assert (x1.min(), x1.max()) == (0.0, 2.0)


def test_the_geometry_of_circles():
    X, y = data.circles(100, noise=0.0, factor=0.25, seed=0)
    np.testing.assert_allclose(np.hypot(*X.T), np.where(y == 0, 1.0, 0.25))
    for label in (0, 1):
        angles = np.sort(np.arctan2(*X[y == label].T[::-1]))
        np.testing.assert_allclose(np.diff(angles), 2 * math.pi / 50)


@pytest.mark.parametrize(("classes", "turns"), [(2, 1.5), (3, 1.0), (5, -0.5), (2, 0.0)])
def test_the_geometry_of_spirals(classes, turns):
    X, y = data.spirals(20 * classes, noise=0.0, classes=classes, turns=turns, seed=0)
    for k in range(classes):
        along = X[y == k]
        along = along[np.hypot(*along.T).argsort()]
        r = np.array([0.1 + 0.9 * i / 19 for i in range(20)])
        angle = 2 * math.pi * (turns * r + k / classes)
        np.testing.assert_allclose(along, np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1), atol=1e-12)


def test_xor_is_the_truth_table():
    X, y = data.xor(202, noise=0.0, seed=0)
    assert (y == (X[:, 0] != X[:, 1])).all()
    corners, counts = np.unique(X, axis=0, return_counts=True)
    assert corners.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert counts.max() - counts.min() <= 1


# ---- made-up functions


@pytest.mark.parametrize("name", CURVES)
def test_the_functions_of_one_number(name):
    X, y = data.curve(name, n=50, noise=0.0, seed=0)
    assert (X.shape, y.shape, X.dtype, y.dtype) == ((50, 1), (50, 1), np.float64, np.float64)
    np.testing.assert_allclose(y[:, 0], [CURVES[name](x) for x in X[:, 0].tolist()], atol=1e-12)


@pytest.mark.parametrize("name", SURFACES)
def test_the_functions_of_two_numbers(name):
    X, y = data.surface(name, n=50, noise=0.0, seed=0)
    assert (X.shape, y.shape, X.dtype, y.dtype) == ((50, 2), (50, 1), np.float64, np.float64)
    np.testing.assert_allclose(y[:, 0], [SURFACES[name](*x) for x in X.tolist()], atol=1e-12)


def test_every_function_is_tested():
    assert set(CURVES) == set(data.CURVES)
    assert {*SURFACES, "peaks"} == set(data.SURFACES)


@pytest.mark.parametrize(  # its extrema as MATLAB's documentation and many others print them
    ("x", "y", "z"),
    [(0.0, 0.0, 8 / 3 / math.e), (-0.0093, 1.5814, 8.1062), (0.2283, -1.6255, -6.5511), (1.2857, -0.0048, 3.5925)],
)
def test_peaks(x, y, z):
    assert data.SURFACES["peaks"](np.array(x / 3), np.array(y / 3)) * 8 == pytest.approx(z, abs=1e-4)


@pytest.mark.parametrize(("make", "inputs"), [(data.curve, 1), (data.surface, 2)])
def test_points_are_drawn_from_low_to_high_and_y_has_the_noise(make, inputs):
    X, y = make(n=20_000, noise=0.0, low=2.0, high=5.0, seed=0)
    noisy, with_noise = make(n=20_000, noise=0.2, low=2.0, high=5.0, seed=0)
    assert (noisy == X).all()
    for column in X.T:
        np.testing.assert_allclose(np.histogram(column, 10, (2.0, 5.0))[0], 2000, rtol=0.1)
    assert len(np.unique(X, axis=1).T) == inputs
    assert (with_noise - y).std() == pytest.approx(0.2, rel=0.03)
    assert (with_noise - y).mean() == pytest.approx(0.0, abs=0.01)


def spoiled(x):
    x += 100.0
    return x


@pytest.mark.parametrize(
    ("make", "f", "expected"),
    [
        (data.curve, np.exp, lambda X: np.exp(X)),
        (data.curve, mg.tanh, lambda X: np.tanh(X)),
        (data.curve, np.vectorize(math.sin), lambda X: np.sin(X)),
        (data.curve, lambda x: x[:, None], lambda X: X),
        (data.curve, lambda x: Tensor(x), lambda X: X),
        (data.curve, lambda x: [int(z > 0) for z in x], lambda X: X > 0),
        (data.curve, lambda x: 3, lambda X: np.full((len(X), 1), 3.0)),
        (data.curve, spoiled, lambda X: X + 100.0),
        (data.surface, np.maximum, lambda X: X.max(axis=1, keepdims=True)),
        (data.surface, lambda a, b: a - 2 * b, lambda X: X @ [[1.0], [-2.0]]),
    ],
)
def test_functions_of_the_users_own(make, f, expected):
    X, y = make(f, n=7, noise=0.0, seed=0)
    assert (y.shape, y.dtype) == ((7, 1), np.float64)
    assert abs(X).max() <= 1.0
    np.testing.assert_allclose(y, expected(X))


def test_an_error_of_the_users_function_is_kept():
    with pytest.raises(InputError, match=r"f raised ZeroDivisionError: .* np\.vectorize") as caught:
        data.curve(lambda x: 1 / 0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


# ---- digits


def test_digits_are_those_of_sklearn():
    theirs = pytest.importorskip("sklearn.datasets").load_digits()
    X, y = data.digits()
    np.testing.assert_array_equal(X, theirs.data / 16)
    np.testing.assert_array_equal(y, theirs.target)


def test_digits():
    X, y = data.digits()
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((1797, 64), np.float64, (1797,), np.int64)
    assert (X.min(), X.max(), 16 * X.sum()) == (0.0, 1.0, 561718.0)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    X[:], y[:] = 0.0, 0
    assert data.digits()[0].any()
    assert data.digits()[1].any()


def test_digits_are_shipped_with_their_source_and_licence():
    root = Path(__file__).resolve().parent.parent
    folder = root / "nn" / "datasets"
    assert (folder / "digits.npz").stat().st_size < 40_000
    with zipfile.ZipFile(folder / "digits.npz") as saved:
        assert saved.testzip() is None
    said = (folder / "digits.txt").read_text(encoding="utf-8")
    for what in ("Alpaydin", "Kaynak", "1998", "10.24432/C50P49", "CC BY 4.0", "creativecommons.org", "changed"):
        assert what in said
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert "datasets/*" in project["tool"]["setuptools"]["package-data"]["microgad.nn"]
    assert "nn/datasets/digits.txt" in project["project"]["license-files"]


# ---- splitting


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_split_is_a_partition_of_the_rows(draw):
    n = draw.draw(st.integers(2, 40))
    test_size = draw.draw(st.one_of(st.integers(1, n - 1), st.floats(0.02, 0.98)))
    tests = test_size if isinstance(test_size, int) else math.ceil(test_size * n - 1e-9)
    X, y = np.arange(3 * n).reshape(n, 3), np.arange(n)
    if tests == n:
        with pytest.raises(InputError, match="leaves none to learn from"):
            data.train_test_split(X, y, test_size)
        return
    X_train, X_test, y_train, y_test = data.train_test_split(X, y, test_size, seed=draw.draw(st.integers(0, 99)))
    assert len(y_test) == tests
    assert sorted([*y_train, *y_test]) == list(range(n))
    assert (X_train == X[y_train]).all()
    assert (X_test == X[y_test]).all()


@pytest.mark.parametrize(
    ("n", "test_size", "tests"),
    [(4, 0.25, 1), (5, 0.25, 2), (2, 0.25, 1), (100, 0.07, 7), (30, 0.1, 3), (10, 3, 3), (9, Fraction(1, 3), 3)],
)
@pytest.mark.parametrize("stratify", [False, True])
def test_how_many_are_for_the_test(n, test_size, tests, stratify):
    y = np.zeros(n, int)
    parts = data.train_test_split(np.ones((n, 2)), y, test_size, seed=0, stratify=stratify)
    assert [len(part) for part in parts] == [n - tests, tests, n - tests, tests]


def test_a_quarter_is_for_the_test_and_the_order_is_random():
    _, _, train, test = data.train_test_split(np.arange(1000), np.arange(1000), seed=0)
    assert len(test) == 250
    for part in (train, test):
        assert abs(np.corrcoef(part, np.arange(len(part)))[0, 1]) < 0.2
    assert abs(test.mean() - 499.5) < 60
    assert sorted(data.train_test_split(np.arange(1000), np.arange(1000), seed=1)[3]) != sorted(test)


@given(st.lists(st.integers(2, 30), min_size=1, max_size=6), st.floats(0.05, 0.95), st.integers(0, 99))
@example([2, 30], 0.93, 0)  # the share of the smaller class, 1.9 of 2, may not be rounded
@settings(max_examples=100, deadline=None)
def test_a_stratified_split_keeps_the_shares_of_the_classes(sizes, test_size, seed):
    sizes = np.array(sizes)
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    n, tests = len(y), math.ceil(len(y) * test_size - 1e-9)
    if not len(sizes) <= tests <= n - len(sizes):
        with pytest.raises(InputError, match=r"stratify needs|leaves none"):
            data.train_test_split(y, y, test_size, stratify=True)
        return
    train, test, _, labels = data.train_test_split(np.arange(n), y, test_size, seed, stratify=True)
    assert sorted([*train, *test]) == list(range(n))
    assert (labels == y[test]).all()
    taken = np.bincount(labels, minlength=len(sizes))
    assert taken.sum() == tests
    assert ((taken >= 1) & (taken < sizes)).all()
    share = sizes * tests / n
    if ((share >= 1) & (share <= sizes - 1)).all():
        assert (abs(taken - share) < 1 + 1e-9).all()


@pytest.mark.parametrize("form", [lambda y: y, lambda y: y[:, None], lambda y: np.eye(3)[y], lambda y: y / 7])
def test_what_a_class_is_for_stratify(form):
    y = np.repeat([0, 1, 2], [40, 20, 20])
    X_train, X_test, _, _ = data.train_test_split(y, form(y), seed=0, stratify=True)
    assert np.bincount(X_test).tolist() == [10, 5, 5]
    assert (np.diff(X_test) < 0).any()
    assert (np.diff(X_train) < 0).any()


def test_a_stratified_split_is_random():
    tests = [data.train_test_split(np.arange(40), np.arange(40) % 2, seed=k, stratify=True)[1] for k in (0, 0, 1)]
    assert (tests[0] == tests[1]).all()
    assert sorted(tests[0]) != sorted(tests[2])


# ---- what both take


KINDS = {
    "lists": ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [1, 0, 2], np.ndarray, np.float64, np.int64),
    "arrays": (np.ones((3, 2), np.float32), np.uint8([1, 0, 2]), np.ndarray, np.float32, np.uint8),
    "half": (np.ones((3, 2), np.float16), [True, False, True], np.ndarray, np.float64, np.bool_),
    "tensors": (Tensor(np.ones((3, 2))), Tensor([[1.0], [0.0], [2.0]]), Tensor, np.float64, np.float64),
    "float32": (Tensor(np.ones((3, 2), np.float32)), Tensor([1.0, 0.0, 2.0]), Tensor, np.float32, np.float64),
    "images": (np.zeros((3, 2, 2, 1)), np.eye(3), np.ndarray, np.float64, np.float64),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_data(kind):
    X, y, kept, of_x, of_y = KINDS[kind]
    train, test, labels, others = data.train_test_split(X, y, 1, seed=0)
    [(x, target)] = data.minibatches(X, y, shuffle=False)
    for part, dtype in [(train, of_x), (test, of_x), (x, of_x), (labels, of_y), (others, of_y), (target, of_y)]:
        assert type(part) is kept
        assert part.dtype == dtype
    plain = [a.data if kept is Tensor else np.asarray(a) for a in (X, y)]
    assert train.shape == (2, *plain[0].shape[1:])
    np.testing.assert_array_equal(x.data if kept is Tensor else x, plain[0])
    np.testing.assert_array_equal(target.data if kept is Tensor else target, plain[1])


def test_tensors_of_a_batch_need_no_gradient_and_an_array_beside_one_stays_an_array():
    x, y = next(iter(data.minibatches(Tensor(X6), Y6)))
    assert (type(x), x.requires_grad, x.prim) == (Tensor, False, None)
    assert type(y) is np.ndarray
    train, test, labels, _ = data.train_test_split(X6, Tensor(Y6))
    assert [type(part) for part in (train, test, labels)] == [np.ndarray, np.ndarray, Tensor]


@pytest.mark.parametrize("kind", [np.array, Tensor])
@pytest.mark.parametrize("shuffle", [False, True])
def test_what_is_done_to_a_part_does_not_reach_the_data_nor_back(kind, shuffle):
    X = kind(X6)
    batches = data.minibatches(X, shuffle=shuffle)
    train, test, _, _ = data.train_test_split(X, Y6)
    array = X.data if kind is Tensor else X
    for part in (train, test, *(x for (x,) in batches)):
        (part.data if kind is Tensor else part)[...] = -1.0
    assert (array == X6).all()
    array[...] = -2.0
    [(x,)] = batches
    assert np.sort(x.data if kind is Tensor else x, axis=0).tolist() == X6.tolist()


# ---- batches


@pytest.mark.parametrize(
    ("n", "size", "drop_last", "lengths"),
    [
        (6, 4, False, [4, 2]),
        (6, 4, True, [4]),
        (6, 3, False, [3, 3]),
        (6, 3, True, [3, 3]),
        (6, 1, False, [1] * 6),
        (6, 100, False, [6]),
        (6, 6, True, [6]),
        (100, None, False, [32, 32, 32, 4]),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_each_example_once(n, size, drop_last, lengths, shuffle):
    options = {} if size is None else {"batch_size": size}
    batches = data.minibatches(np.arange(n), np.arange(n) * 10, shuffle=shuffle, drop_last=drop_last, **options)
    for _ in range(2):
        found = list(batches)
        assert len(batches) == len(found)
        assert [len(x) for x, _ in found] == lengths
        seen = np.concatenate([x for x, _ in found])
        assert len(set(seen.tolist())) == sum(lengths)
        assert (np.concatenate([y for _, y in found]) == 10 * seen).all()
        if not shuffle:
            assert seen.tolist() == list(range(sum(lengths)))


def epoch(batches):
    return np.concatenate([x for x, *_ in batches]).tolist()


def test_each_epoch_has_an_order_of_its_own():
    batches = data.minibatches(np.arange(50), batch_size=7, seed=1)
    first, second = epoch(batches), epoch(batches)
    assert first != list(range(50))
    assert first != second
    again = data.minibatches(np.arange(50), batch_size=7, seed=1)
    assert [epoch(again), epoch(again)] == [first, second]
    assert epoch(data.minibatches(np.arange(50), batch_size=7, seed=2)) != first


def test_manual_seed_between_two_epochs():
    batches = data.minibatches(np.arange(50))
    mg.manual_seed(0)
    first = epoch(batches)
    mg.manual_seed(0)
    assert epoch(batches) == first


def test_what_is_not_random_draws_nothing():
    mg.manual_seed(0)
    expected = data.moons(6)[0]
    mg.manual_seed(0)
    epoch(data.minibatches(np.arange(50), shuffle=False))
    list(data.minibatches(np.arange(50), seed=3))
    data.moons(seed=3), data.curve(seed=3), data.digits(), data.standardize(X6)
    assert (data.moons(6)[0] == expected).all()


def test_two_loops_at_a_time():
    batches = data.minibatches(np.arange(9), batch_size=3, seed=0)
    outer = [x.tolist() for (x,) in batches for _ in batches]
    assert sorted(x for batch in outer[::3] for x in batch) == list(range(9))
    assert outer[0] == outer[1] == outer[2]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_any_number_of_arrays(count):
    [batch] = data.minibatches(*[np.arange(4) + 10 * i for i in range(count)], seed=0)
    assert type(batch) is tuple
    assert len(batch) == count
    for i, x in enumerate(batch):
        assert (x == batch[0] + 10 * i).all()


def test_what_minibatches_say_of_themselves():
    batches = data.minibatches(X6, batch_size=4, drop_last=True)
    assert repr(batches) == "Minibatches of 6 examples, 4 in each"
    assert (batches.batch_size, batches.shuffle, batches.drop_last) == (4, True, True)


# ---- scaling


def test_standardize():
    generator = np.random.default_rng(0)
    X = generator.normal([5.0, -100.0, 1e-6], [2.0, 50.0, 1e-9], (40, 3))
    new = generator.normal(size=(7, 3))
    scaled, other, third = data.standardize(X, new, Tensor(X))
    np.testing.assert_allclose(scaled.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(axis=0), 1.0)
    np.testing.assert_allclose(other, (new - X.mean(axis=0)) / X.std(axis=0))
    assert type(third) is Tensor
    assert (third.data == scaled).all()
    assert (data.standardize(X) == scaled).all()


def test_standardize_leaves_constant_columns_at_zero():
    X = np.full((30, 2), 0.1)  # whose mean is not 0.1, in floating point
    X[:, 1] = np.arange(30)
    assert X.mean(axis=0)[0] != 0.1
    scaled, other = data.standardize(X, [[0.6, 14.5]])
    assert (scaled[:, 0] == 0.0).all()
    np.testing.assert_allclose(other, [[0.5, 0.0]], atol=1e-12)
    assert np.isfinite(data.standardize(data.digits()[0])).all()


@pytest.mark.parametrize(
    ("X", "dtype"), [([1, 2, 3], np.float64), (np.float32([1, 2, 3]), np.float32), ([[True], [False]], np.float64)]
)
def test_standardize_of_other_kinds(X, dtype):
    scaled = data.standardize(X)
    assert scaled.dtype == dtype
    assert scaled.shape == np.shape(X)
    np.testing.assert_allclose(scaled.std(), 1.0, rtol=1e-6)


# ---- numbers


@pytest.mark.parametrize("x", [[1, 2], np.uint8([3]), [True], 2.5, [[1.5, 2]], np.zeros((0, 3)), Tensor([1.0])])
def test_finite_numbers_are_copied_as_they_are(x):
    found = data.finite("x", x)
    given = x.data if isinstance(x, Tensor) else np.asarray(x)
    assert type(found) is np.ndarray
    assert found.dtype == given.dtype
    np.testing.assert_array_equal(found, given)
    assert not np.shares_memory(found, given)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([[1, 2], [3, 4], [5, 6], [7, NAN], [NAN, 1]], "x has nan at row 3, column 1 (2 numbers are not finite): drop"),
        ([[INF, 1]], "x has inf at row 0, column 0 (1 number is not finite): drop"),
        ([1, -INF, NAN, INF], "x has -inf at row 1 (3 numbers are not finite): drop"),
        (np.full((2, 1, 2), NAN), "x has nan at index (0, 0, 0) (4 numbers are not finite): drop"),
        (NAN, "x has nan at its only place (1 number is not finite): drop"),
        (Tensor([0, NAN]), "x has nan at row 1 (1 number is not finite): drop"),
        (np.float32([0, INF]), "x has inf at row 1 (1 number is not finite): drop"),
    ],
)
def test_where_a_number_is_not_finite(x, said):
    with pytest.raises(InputError) as caught:
        data.finite("x", x)
    assert str(caught.value).startswith(said)


PAIRED = {
    "split": lambda X, y: data.train_test_split(X, y),
    "batches": lambda X, y: data.minibatches(X, y),
}


@pytest.mark.parametrize("take", PAIRED)
@pytest.mark.parametrize(
    ("X", "y", "error", "said"),
    [
        (X6, Y6[:5], ShapeError, "X has 6 and y has 5 rows"),
        ([], [], ShapeError, r"X, of shape \(0,\), is empty"),
        (X6[:, :0], Y6, ShapeError, r"X, of shape \(6, 0\), is empty"),
        (X6, [], ShapeError, r"y, of shape \(0,\), is empty"),
        (3.0, 4.0, ShapeError, r"X is the number 3\.0, and has no rows"),
        (X6, 1.0, ShapeError, r"y is the number 1\.0, and has no rows"),
        ([[1, 2], [3]], [1, 2], ShapeError, "X: rows of different lengths"),
        ([[1, 2], [3, 4]], [[1], [2, 3]], ShapeError, "y: rows of different lengths"),
        (X6, list("ababab"), InputError, "y: .* convert text"),
        (X6, None, InputError, "y: .* NoneType"),
        (X6, Y6 + 0j, InputError, "y: .* complex128"),
        (X6.astype(object), Y6, InputError, r"X: .* np\.asarray\(x, float\)"),
        (np.ma.masked_array(X6), Y6, InputError, "X: .* mask"),
        (dict(enumerate(X6)), Y6, InputError, "X: .* dict"),
        (iter(X6), Y6, InputError, "X: .* make a list of it"),
        ([[1, NAN]], [1], InputError, "X has nan at row 0, column 1"),
        ([[1, 2]], [INF], InputError, "y has inf at row 0"),
        (Tensor(X6) * 2.0, Y6, GraphCutError, "X: "),
        (Tensor(X6, requires_grad=True), Y6, GraphCutError, "X: "),
        (X6, [Value(1.0)] * 6, GraphCutError, "y: "),
        (X6, Value(1.0), GraphCutError, "y: "),
    ],
)
def test_data_that_are_refused(take, X, y, error, said):
    with pytest.raises(error, match=said):
        PAIRED[take](X, y)


def test_of_several_the_message_says_which():
    with pytest.raises(ShapeError, match="data 1 has 6, data 2 has 6 and data 3 has 5 rows"):
        data.minibatches(X6, Y6, Y6[:5])
    with pytest.raises(InputError, match="data 3 has nan at row 0"):
        data.minibatches(X6, Y6, [NAN] * 6)
    with pytest.raises(InputError, match="data 2 has nan at row 0"):
        data.standardize(X6, [[NAN, 1.0]])


# ---- arguments

REFUSED = [
    (data.moons, {"n": 1}, "at least 2, not 1"),
    (data.moons, {"n": 0}, "at least 2"),
    (data.moons, {"n": -4}, "at least 2"),
    (data.moons, {"n": True}, "whole number, not bool"),
    (data.moons, {"n": 10.0}, r"whole number, not float 10\.0"),
    (data.moons, {"n": "10"}, "whole number, not str"),
    (data.moons, {"n": None}, "whole number, not NoneType"),
    (data.moons, {"n": 2**64}, "below 2,147,483,648"),
    (data.circles, {"n": 1}, "of 2 classes is at least 2"),
    (data.spirals, {"n": 4, "classes": 5}, "of 5 classes is at least 5, not 4"),
    (data.xor, {"n": 3}, "around 4 corners is at least 4, not 3"),
    (data.curve, {"n": 0}, "at least 1"),
    (data.surface, {"n": 1.5}, "whole number"),
    *[
        (make, {"noise": noise}, "noise is")
        for make in (data.moons, data.circles, data.spirals, data.xor, data.curve, data.surface)
        for noise in (-0.1, NAN, INF, None, "a lot", True)
    ],
    (data.moons, {"noise": 1e308}, "the result has .* less noise"),
    (data.surface, {"noise": 1e308}, "the result has .* less noise"),
    *[(data.circles, {"factor": factor}, "factor is") for factor in (0.0, 1.0, -0.5, 1.5, NAN, "half")],
    *[(data.spirals, {"classes": classes}, "classes is") for classes in (1, 0, 2.0, True, "two")],
    *[(data.spirals, {"turns": turns}, "turns is") for turns in (NAN, INF, 1e9, "one")],
    *[(make, {"seed": seed}, "a seed is") for make in (data.xor, data.curve) for seed in (-1, 0.5, "x")],
    (data.curve, {"f": "sin"}, "no function 'sin': did you mean 'sine'"),
    (data.curve, {"f": "zzz"}, "no function 'zzz': choose from 'sine', 'waves'"),
    (data.curve, {"f": 3}, "no function int 3"),
    (data.surface, {"f": "prodct"}, "did you mean 'product'"),
    (data.surface, {"f": "sine"}, "no function 'sine'"),
    (data.curve, {"f": math.sin}, "f raised TypeError: .* an array of 200 numbers"),
    (data.surface, {"f": lambda x: x}, "f raised TypeError: .* two arrays of 200 numbers"),
    (data.curve, {"f": np.log}, r"f\(X\) has nan at row \d+ \(.* from low to high"),
    (data.curve, {"f": lambda x: x[:3]}, r"shape \(3,\) for 200 points"),
    (data.surface, {"f": lambda a, b: np.stack([a, b], 1)}, r"shape \(200, 2\) for 200 points"),
    (data.curve, {"f": lambda x: None}, r"f\(X\): "),
    (data.curve, {"f": lambda x: Tensor(x) * 2.0}, r"f\(X\): .* cut the graph"),
    (data.curve, {"low": 1.0}, "low has to be below high"),
    (data.curve, {"low": 2.0, "high": 1.5}, "low has to be below high"),
    (data.surface, {"low": NAN}, "low is finite"),
    (data.surface, {"high": INF}, "high is finite"),
    (data.curve, {"low": -1e308, "high": 1e308}, "infinitely far"),
    *[(data.train_test_split, {"X": X6, "y": Y6, "test_size": size}, "test_size") for size in (0, 6, 7, -1, 0.0, 1.0)],
    *[(data.train_test_split, {"X": X6, "y": Y6, "test_size": size}, "test_size") for size in (NAN, True, "a", None)],
    (data.train_test_split, {"X": X6, "y": Y6, "test_size": 0.9}, "0.9 of 6 examples leaves none to learn from"),
    (data.train_test_split, {"X": X6[:1], "y": Y6[:1]}, "of 1 example leaves none to learn from"),
    (data.train_test_split, {"X": X6, "y": Y6, "test_size": 1e-12}, "leaves none to test with"),
    (data.train_test_split, {"X": X6, "y": Y6, "stratify": Y6}, "stratify is True or False"),
    (data.train_test_split, {"X": X6, "y": np.arange(6), "stratify": True}, "of the 6 classes in y the smallest has 1"),
    (data.train_test_split, {"X": X6, "y": [0, 1, 1, 1, 1, 1], "stratify": True}, "of the 2 classes .* smallest has 1"),
    (data.train_test_split, {"X": X6, "y": Y6, "test_size": 1, "stratify": True}, "1 are for the test"),
    (data.train_test_split, {"X": X6, "y": Y6, "test_size": 5, "stratify": True}, "5 are for the test"),
    (data.train_test_split, {"X": X6, "y": Y6, "seed": -1}, "a seed is"),
    *[
        (data.standardize, {"X": [[x], [0.0]]}, "X, standardized, has .* another unit")
        for x in (1e200, 1e-200, 1.7e308)
    ],
    (data.standardize, {"X": 3.0}, "has no rows"),
    (data.standardize, {"X": []}, "is empty"),
]


@pytest.mark.parametrize(("call", "arguments", "said"), REFUSED)
def test_arguments_that_are_refused(call, arguments, said):
    with pytest.raises(MicrogadError, match=said) as caught:
        call(**arguments)
    assert isinstance(caught.value, (InputError, ShapeError, GraphCutError))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *[({"batch_size": size}, "batch_size is") for size in (0, -1, 2.0, True, "8", None, NAN)],
        ({"batch_size": 7, "drop_last": True}, "of 6 examples none has 7"),
        ({"shuffle": 1}, "shuffle is True or False, not int 1"),
        ({"drop_last": "no"}, "drop_last is True or False"),
        ({"seed": 1.5}, "a seed is"),
    ],
)
def test_batches_are_refused_before_the_first(arguments, said):
    with pytest.raises(InputError, match=said):
        data.minibatches(X6, Y6, **arguments)


def test_batches_of_nothing_and_a_size_without_its_name():
    with pytest.raises(InputError, match="minibatches of nothing"):
        data.minibatches()
    with pytest.raises(InputError, match="batch_size=32"):
        data.minibatches(X6, Y6, 32)


def test_columns_that_differ():
    with pytest.raises(ShapeError, match=r"X has rows of shape \(2,\), and data 2 of shape \(1,\)"):
        data.standardize(X6, X6[:, :1])


@pytest.mark.parametrize("arguments", [{"n": 1}, {"noise": -1.0}, {"factor": 2.0}, {"seed": -1}])
def test_a_refused_call_draws_nothing(arguments):
    mg.manual_seed(0)
    expected = data.xor(8)[0]
    mg.manual_seed(0)
    with pytest.raises(InputError):
        data.circles(**arguments)
    assert (data.xor(8)[0] == expected).all()

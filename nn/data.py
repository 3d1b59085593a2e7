"""Data to learn from: made-up sets, handwritten digits, and how to split them and take them in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microgad.array_functions import array_of
from microgad.errors import InputError, ShapeError
from microgad.randomness import seeded
from microgad.tensor import Tensor, leaf

from .choices import choose, flag, real, whole

Array = np.ndarray[Any, Any]

# ---- checks


def finite(name: str, x: Any, advice: str = "drop such rows, or fill them in") -> Array:
    """Data as an array of their own, with no nan and no infinity in it.

    Parameters
    ----------
    name : str
        What messages call them.
    x : array_like or leaf Tensor
        Numbers in any shape.
    advice : str
        How the message about a nan ends.

    Returns
    -------
    array
        A copy: of integers and bools in their own type, of float32 as such, of anything else as float64.

    Raises
    ------
    InputError
        If a number is nan or infinite, which the message places, counting from 0; or if they are no real numbers.
    ShapeError
        If they are rows of different lengths.
    GraphCutError
        If they are or hold a node that is computed, or that needs a gradient: a copy would be cut off from its graph.

    Examples
    --------
    >>> finite("y", [1, 0, 1])
    array([1, 0, 1])
    >>> finite("X", [[1.0, 2.0], [3.0, float("nan")]])
    Traceback (most recent call last):
    microgad.errors.InputError: X has nan at row 1, column 1 (1 number is not finite): drop such rows, or fill them in
    """
    if isinstance(x, Tensor) and x.prim is None and not x.requires_grad:
        x = x.data
    found = array_of(name, x)
    if len(bad := np.argwhere(~np.isfinite(found))):
        place = bad[0].tolist()
        where = f"index {tuple(place)}" if found.ndim > 2 else f"row {place[0]}" if place else "its only place"
        where += f", column {place[1]}" if found.ndim == 2 else ""
        many = "1 number is" if len(bad) == 1 else f"{len(bad)} numbers are"
        raise InputError(f"{name} has {found[tuple(place)]} at {where} ({many} not finite): {advice}")
    return np.array(x) if np.asarray(x).dtype.kind in "biu" else found


def examples(data: Mapping[str, Any]) -> list[Array]:
    """`finite` data that belong together: a row for each example, in each as many.

    Parameters
    ----------
    data : dict of str to array_like or leaf Tensor
        By the names that messages call them.

    Returns
    -------
    list of array
        As `finite` returns them.

    Raises
    ------
    ShapeError
        If one is a single number or empty, or their lengths differ; also as `finite` says.
    InputError, GraphCutError
        As `finite` says.

    Examples
    --------
    >>> examples({"X": [[0.0, 1.0]], "y": [1]})
    [array([[0., 1.]]), array([1])]
    """
    found = {name: finite(name, x) for name, x in data.items()}
    for name, x in found.items():
        if not x.ndim:
            raise ShapeError(f"{name} is the number {x}, and has no rows: it needs a row for each example")
        if not x.size:
            raise ShapeError(f"{name}, of shape {x.shape}, is empty: it needs at least one row, of at least one number")
    if len({len(x) for x in found.values()}) > 1:
        lengths = [f"{name} has {len(x)}" for name, x in found.items()]
        raise ShapeError(f"{', '.join(lengths[:-1])} and {lengths[-1]} rows: each needs a row for every example")
    return list(found.values())


def _like(given: Any, found: Array) -> Any:
    """An array, as a Tensor where one was given."""
    return leaf(found) if isinstance(given, Tensor) else found


def _many(n: Any, least: int = 1, of: str = "") -> int:
    """A number of points."""
    return whole(n, f"the number n of points{of}", least)


# ---- made-up classes


def moons(n: int = 200, noise: float = 0.1, seed: int | None = None) -> tuple[Array, Array]:
    """Two half circles of radius 1, each of which reaches into the other; scikit-learn's ``make_moons``.

    Parameters
    ----------
    n : int
        How many points; of class 0 there are n // 2.
    noise : float
        The standard deviation of what is added to each coordinate.
    seed : int, optional
        0 or more; without one, `microgad.manual_seed` decides.

    Returns
    -------
    X : array, shape (n, 2)
        The points, in random order: of class 0 (cos t, sin t), and of class 1 (1 - cos t, 1/2 - sin t), with t evenly
        from 0 to π.
    y : array of int, shape (n,)
        Their classes, 0 and 1.

    Raises
    ------
    InputError
        If there are fewer points than classes, or an argument is out of bounds.

    Examples
    --------
    >>> X, y = moons(100, seed=0)
    >>> X.shape, np.bincount(y)
    ((100, 2), array([50, 50]))
    """
    sizes, noise, generator = _classes(n, 2, noise, seed)
    (x1, x2), (x3, x4) = (_circle(np.linspace(0.0, math.pi, m)).T for m in sizes)
    return _mixed([np.stack([x1, x2], 1), np.stack([1.0 - x3, 0.5 - x4], 1)], noise, generator)


def circles(n: int = 200, noise: float = 0.05, factor: float = 0.5, seed: int | None = None) -> tuple[Array, Array]:
    """A circle of radius 1 and a smaller one inside it; scikit-learn's ``make_circles``.

    Parameters
    ----------
    n : int
        How many points; on the outer circle there are n // 2.
    noise : float
        The standard deviation of what is added to each coordinate.
    factor : float
        The radius of the inner circle, between 0 and 1.
    seed : int, optional
        0 or more; without one, `microgad.manual_seed` decides.

    Returns
    -------
    X : array, shape (n, 2)
        The points, evenly around each circle, in random order.
    y : array of int, shape (n,)
        0 on the outer circle, and 1 on the inner one.

    Raises
    ------
    InputError
        If there are fewer points than classes, or an argument is out of bounds.

    Examples
    --------
    >>> X, y = circles(6, noise=0.0, seed=0)
    >>> np.hypot(*X.T).round(3), y
    (array([0.5, 1. , 0.5, 0.5, 1. , 1. ]), array([1, 0, 1, 1, 0, 0]))
    """
    factor = real(factor, "factor", 0.0, 1.0, above=True, below=True)
    sizes, noise, generator = _classes(n, 2, noise, seed)
    rings = [_circle(np.linspace(0.0, 2.0 * math.pi, m, endpoint=False)) for m in sizes]
    return _mixed([rings[0], factor * rings[1]], noise, generator)


def spirals(
    n: int = 200, noise: float = 0.02, classes: int = 2, turns: float = 1.5, seed: int | None = None
) -> tuple[Array, Array]:
    """Spirals around one another, an arm for each class: two of them are a classic test of hidden layers.

    Parameters
    ----------
    n : int
        How many points.
    noise : float
        The standard deviation of what is added to each coordinate.
    classes : int
        How many arms, at least 2.
    turns : float
        How often an arm goes around on its way from the centre to radius 1, from -1000 to 1000: counter-clockwise, or
        clockwise if negative.
    seed : int, optional
        0 or more; without one, `microgad.manual_seed` decides.

    Returns
    -------
    X : array, shape (n, 2)
        The points, in random order: of class k, r (cos a, sin a) with a = 2π (turns r + k / classes), and r evenly
        from 0.1 to 1.
    y : array of int, shape (n,)
        Their classes, from 0 to classes - 1, of as many points each, or of one more.

    Raises
    ------
    InputError
        If there are fewer points than classes, or an argument is out of bounds.

    Examples
    --------
    >>> X, y = spirals(100, classes=3, seed=0)
    >>> X.shape, np.bincount(y)
    ((100, 2), array([33, 33, 34]))
    """
    classes = whole(classes, "classes", 2)
    turns = real(turns, "turns", -1000.0, 1000.0)
    sizes, noise, generator = _classes(n, classes, noise, seed)
    arms = []
    for k, m in enumerate(sizes):
        r = np.linspace(0.1, 1.0, m)
        arms.append(r[:, None] * _circle(2.0 * math.pi * (turns * r + k / classes)))
    return _mixed(arms, noise, generator)


def xor(n: int = 200, noise: float = 0.1, seed: int | None = None) -> tuple[Array, Array]:
    """The exclusive or: clouds around the corners of the unit square, each of the class of the opposite corner.

    Parameters
    ----------
    n : int
        How many points, at least one for each corner. ``xor(4, noise=0)`` is the truth table.
    noise : float
        The standard deviation of what is added to each coordinate.
    seed : int, optional
        0 or more; without one, `microgad.manual_seed` decides.

    Returns
    -------
    X : array, shape (n, 2)
        The points, in random order.
    y : array of int, shape (n,)
        0 around (0, 0) and (1, 1), and 1 around (0, 1) and (1, 0).

    Raises
    ------
    InputError
        If there are fewer than 4 points, or an argument is out of bounds.

    Examples
    --------
    >>> X, y = xor(4, noise=0.0, seed=0)
    >>> sorted((a, b, int(label)) for (a, b), label in zip(X.tolist(), y))
    [(0.0, 0.0, 0), (0.0, 1.0, 1), (1.0, 0.0, 1), (1.0, 1.0, 0)]
    """
    n = _many(n, 4, " around 4 corners")
    sizes, noise, generator = _classes(n, 2, noise, seed)
    corners = np.array([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    return _mixed([corners[k, np.arange(m) % 2] for k, m in enumerate(sizes)], noise, generator)


def _classes(n: Any, classes: int, noise: Any, seed: Any) -> tuple[list[int], float, np.random.Generator]:
    """How many points each class has, and the other arguments that made-up classes share, checked."""
    n = _many(n, classes, f" of {classes} classes")
    return [(n + k) // classes for k in range(classes)], real(noise, "noise"), seeded(seed)


def _circle(angles: Array) -> Array:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _mixed(classes: Sequence[Array], noise: float, generator: np.random.Generator) -> tuple[Array, Array]:
    """The points of all classes with noise, in random order, and their classes."""
    points = np.concatenate(classes)
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(x) for x in classes])
    order = generator.permutation(len(points))
    return _noisy(points[order], noise, generator), labels[order]


def _noisy(exact: Array, noise: float, generator: np.random.Generator) -> Array:
    with np.errstate(over="ignore"):
        return finite("the result", exact + noise * generator.standard_normal(exact.shape), "it needs less noise")


# ---- made-up functions

CURVES: dict[str, Callable[[Array], Array]] = {
    "sine": lambda x: np.sin(2.0 * np.pi * x),
    "waves": lambda x: np.sin(2.0 * np.pi * x) + np.sin(6.0 * np.pi * x) / 2.0 + np.sin(14.0 * np.pi * x) / 4.0,
    "line": lambda x: x,
    "cubic": lambda x: 4.0 * x**3 - 3.0 * x,
    "abs": np.abs,
    "step": lambda x: np.where(x < 0.0, 0.0, 1.0),
    "bump": lambda x: np.exp(-16.0 * x * x),
}

SURFACES: dict[str, Callable[[Array, Array], Array]] = {
    "product": lambda x1, x2: x1 * x2,
    "saddle": lambda x1, x2: x1 * x1 - x2 * x2,
    "bowl": lambda x1, x2: x1 * x1 + x2 * x2,
    "ripple": lambda x1, x2: np.cos(3.0 * np.pi * np.hypot(x1, x2)),
    "peaks": lambda x1, x2: _peaks(3.0 * x1, 3.0 * x2) / 8.0,
}


def _peaks(x: Array, y: Array) -> Any:
    """MATLAB's ``peaks``."""
    return (
        3.0 * (1.0 - x) ** 2 * np.exp(-(x**2) - (y + 1.0) ** 2)
        - 10.0 * (x / 5.0 - x**3 - y**5) * np.exp(-(x**2) - y**2)
        - np.exp(-((x + 1.0) ** 2) - y**2) / 3.0
    )


def curve(
    f: str | Callable[..., Any] = "sine",
    n: int = 200,
    noise: float = 0.1,
    low: float = -1.0,
    high: float = 1.0,
    seed: int | None = None,
) -> tuple[Array, Array]:
    """Points of a function of one number, with noise: what a network is to fit.

    Parameters
    ----------
    f : str or callable
        "sine", sin 2πx; "waves", sin 2πx + sin 6πx / 2 + sin 14πx / 4; "line", x; "cubic", 4x³ - 3x; "abs", the
        absolute value of x; "step", 0 below 0 and else 1; "bump", exp(-16x²); or a function that takes an array of n
        numbers and returns as many.
    n : int
        How many points.
    noise : float
        The standard deviation of what is added to y.
    low, high : float
        Between these x is drawn, all numbers being equally likely.
    seed : int, optional
        0 or more; without one, `microgad.manual_seed` decides.

    Returns
    -------
    X : array, shape (n, 1)
        The points, in no order.
    y : array, shape (n, 1)
        f(x) and noise, in the shape of a model's output.

    Raises
    ------
    InputError
        If there is no function of that name, f fails or is not finite at a point, or an argument is out of bounds.
    ShapeError
        If f does not return a number for each point.

    Examples
    --------
    >>> X, y = curve("cubic", n=50, noise=0.0, seed=0)
    >>> X.shape, y.shape, bool(np.allclose(y, 4 * X**3 - 3 * X))
    ((50, 1), (50, 1), True)
    """
    return _sampled(f, CURVES, 1, n, noise, low, high, seed)


def surface(
    f: str | Callable[..., Any] = "product",
    n: int = 200,
    noise: float = 0.1,
    low: float = -1.0,
    high: float = 1.0,
    seed: int | None = None,
) -> tuple[Array, Array]:
    """Points of a function of two numbers, with noise: what a network is to fit.

    Parameters
    ----------
    f : str or callable
        "product", x₁x₂; "saddle", x₁² - x₂²; "bowl", x₁² + x₂²; "ripple", cos 3πr with r the distance from 0; "peaks",
        MATLAB's, of 3x₁ and 3x₂ and divided by 8; or a function that takes two arrays of n numbers and returns as many.
    n : int
        How many points.
    noise : float
        The standard deviation of what is added to y.
    low, high : float
        Between these x₁ and x₂ are drawn, all numbers being equally likely.
    seed : int, optional
        0 or more; without one, `microgad.manual_seed` decides.

    Returns
    -------
    X : array, shape (n, 2)
        The points, in no order.
    y : array, shape (n, 1)
        f(x₁, x₂) and noise, in the shape of a model's output.

    Raises
    ------
    InputError
        If there is no function of that name, f fails or is not finite at a point, or an argument is out of bounds.
    ShapeError
        If f does not return a number for each point.

    Examples
    --------
    >>> X, y = surface(lambda a, b: a + 2 * b, n=50, noise=0.0, seed=0)
    >>> X.shape, y.shape, bool(np.allclose(y[:, 0], X @ [1, 2]))
    ((50, 2), (50, 1), True)
    """
    return _sampled(f, SURFACES, 2, n, noise, low, high, seed)


def _sampled(
    f: Any, table: Mapping[str, Any], inputs: int, n: Any, noise: Any, low: Any, high: Any, seed: Any
) -> tuple[Array, Array]:
    rule = f if callable(f) else choose(f, table, "function")
    n, noise = _many(n), real(noise, "noise")
    low, high = real(low, "low", -math.inf), real(high, "high", -math.inf)
    if not low < high or math.isinf(high - low):
        raise InputError(f"low has to be below high, and not infinitely far, but they are {low:g} and {high:g}")
    generator = seeded(seed)
    points = generator.uniform(low, high, (n, inputs))
    try:
        with np.errstate(all="ignore"):  # what is not finite is said below
            found = rule(*points.T.copy())
    except Exception as error:
        given = "an array" if inputs == 1 else "two arrays"
        raise InputError(
            f"f raised {type(error).__name__}: {error}; it is called once, with {given} of {n} numbers, as np.sin can "
            "be, and np.vectorize makes such a function of one of numbers"
        ) from error
    y = finite("f(X)", found, "f has to be finite from low to high")
    if y.shape not in ((), (n,), (n, 1)):
        raise ShapeError(f"f returned an array of shape {y.shape} for {n} points: it has to be a number for each")
    return points, _noisy(np.broadcast_to(y.reshape(-1, 1), (n, 1)), noise, generator)


# ---- real data


def digits() -> tuple[Array, Array]:
    """1,797 handwritten digits as pictures of 8 x 8 pixels, the set of scikit-learn's ``load_digits``.

    They are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI
    Machine Learning Repository, DOI 10.24432/C50P49, licence CC BY 4.0; see datasets/digits.txt.

    Returns
    -------
    X : array, shape (1797, 64)
        The pixels row by row, from 0, which is paper, to 1, which is ink. They are those of scikit-learn divided by 16.
    y : array of int, shape (1797,)
        The digits, 0 to 9, in the order of the source.

    Examples
    --------
    >>> X, y = digits()
    >>> X.shape, y[:10]
    ((1797, 64), array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
    >>> for row in X[0].reshape(8, 8):
    ...     print("".join(" .:+#"[int(4 * ink)] for ink in row).rstrip())
      .+:
      ++:+.
      +  ::
     .+  ::
     .:  ::
     .:  +.
      +.:+
      .+:
    """
    with np.load(Path(__file__).parent / "datasets" / "digits.npz", allow_pickle=False) as saved:
        y = saved["y"].astype(np.int64)
        pixels = np.empty((len(y), 64))
        pixels[np.argsort(y, kind="stable")] = saved["X"] / 16.0  # there they are sorted by label
    return pixels, y


# ---- what is done with them


def train_test_split(
    X: Any,  # noqa: N803
    y: Any,
    test_size: float = 0.25,
    seed: int | None = None,
    stratify: bool = False,
) -> tuple[Any, Any, Any, Any]:
    """A random part of the examples to learn from, and the rest to test with.

    Parameters
    ----------
    X : array_like or leaf Tensor, shape (n, ...)
        A row for each example.
    y : array_like or leaf Tensor, shape (n, ...)
        Its label or target.
    test_size : float or int
        Which share of the examples are for the test, between 0 and 1, rounded up to a whole number of them; or, as an
        integer, how many.
    seed : int, optional
        0 or more; without one, `microgad.manual_seed` decides.
    stratify : bool
        Whether each class has the same share of both parts, to within one example, and at least one in each; a class
        is all examples with the same y.

    Returns
    -------
    X_train, X_test, y_train, y_test : array or Tensor
        Copies; Tensors where a Tensor was given, and else arrays.

    Raises
    ------
    ShapeError
        If X and y are not of the same length, empty, or have rows of different lengths.
    InputError
        If a part would be empty, or for `stratify` a class would be missing in one; if X or y hold a nan, an infinity
        or no numbers; or if an argument is out of bounds.
    GraphCutError
        If X or y is a Tensor that is computed, or that needs a gradient.

    Examples
    --------
    >>> X, y = moons(100, seed=0)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, seed=0, stratify=True)
    >>> X_train.shape, X_test.shape, np.bincount(y_test)
    ((80, 2), (20, 2), array([10, 10]))
    """
    given, found = (X, X, y, y), examples({"X": X, "y": y})
    n, stratify = len(found[0]), flag(stratify, "stratify")
    if isinstance(test_size, (int, np.integer)):
        tests = whole(test_size, "test_size", 1)
    else:  # less a little, so that 0.07 of 100 are 7, not 8
        tests = math.ceil(n * real(test_size, "test_size", 0.0, 1.0, above=True, below=True) - 1e-9)
    if not 0 < tests < n:
        raise InputError(
            f"test_size {test_size} of {n} example{'s' if n > 1 else ''} leaves none "
            f"{'to learn from' if tests else 'to test with'}"
        )
    generator = seeded(seed)
    if stratify:
        test, train = _by_class(found[1], tests, generator)
    else:
        order = generator.permutation(n)
        test, train = order[:tests], order[tests:]
    parts = (found[0][train], found[0][test], found[1][train], found[1][test])
    first, second, third, fourth = (_like(x, part) for x, part in zip(given, parts, strict=True))
    return first, second, third, fourth


def _by_class(y: Array, tests: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """The places of the test examples, as many of each class as its share is, and those of the others."""
    n = len(y)
    _, inverse, sizes = np.unique(y.reshape(n, -1), axis=0, return_inverse=True, return_counts=True)
    labels = inverse.reshape(-1)
    classes = len(sizes)
    if sizes.min() < 2 or not classes <= tests <= n - classes:
        raise InputError(
            f"stratify needs an example of each class to learn from and one to test with, but of the {n} examples "
            f"{tests} are for the test, and of the {classes} classes in y the smallest has {sizes.min()}"
        )
    take, share = np.ones(classes, int), sizes * (tests / n)
    for _ in range(tests - classes):
        take[np.where(take < sizes - 1, share - take, -np.inf).argmax()] += 1
    test = np.concatenate([generator.permutation(np.flatnonzero(labels == k))[:m] for k, m in enumerate(take)])
    return generator.permutation(test), generator.permutation(np.setdiff1d(np.arange(n), test))


def standardize(X: Any, *others: Any) -> Any:  # noqa: N803
    """Each column of the training data with mean 0 and variance 1, and the same done to other data.

    So inputs of any units suit the initial weights of a network. The means and standard deviations are those of the
    training data alone: a test set that had a part in them would no longer be unseen.

    Parameters
    ----------
    X : array_like or leaf Tensor, shape (n, ...)
        The training data. A column that is constant there becomes 0, and is only shifted in the others.
    *others : array_like or leaf Tensor, shape (m, ...)
        Others, such as test data, with the same columns.

    Returns
    -------
    array or Tensor, or a tuple of them
        As many as were given.

    Raises
    ------
    ShapeError
        If the columns are not the same, or as `examples` says.
    InputError
        If they hold a nan, an infinity or no numbers, or a variance is too large or too small for a float.
    GraphCutError
        If one is a Tensor that is computed, or that needs a gradient.

    Examples
    --------
    >>> standardize([[1.0, 5.0], [3.0, 5.0]], [[4.0, 6.0]])
    (array([[-1.,  0.],
           [ 1.,  0.]]), array([[2., 1.]]))
    """
    given = (X, *others)
    names = ["X", *(f"data {i + 2}" for i in range(len(others)))]
    found = [examples({name: x})[0] for name, x in zip(names, given, strict=True)]
    train = found[0]
    for name, x in zip(names, found, strict=True):
        if x.shape[1:] != train.shape[1:]:
            raise ShapeError(f"X has rows of shape {train.shape[1:]}, and {name} of shape {x.shape[1:]}")
    low, high = train.min(axis=0), train.max(axis=0)
    with np.errstate(all="ignore"):  # what is not finite is said below
        # A mean of equal numbers may differ from them in the last digit, and then a constant column would become noise.
        mean = np.where(low == high, low, train.mean(axis=0))
        deviation = np.where(low == high, 1.0, train.std(axis=0))
        deviation = np.where(np.isinf(deviation), np.nan, deviation)  # which would make it 0
        parts = [(x - mean) / deviation for x in found]
    parts = [finite(f"{name}, standardized,", x, "use another unit") for name, x in zip(names, parts, strict=True)]
    scaled = tuple(_like(x, part) for x, part in zip(given, parts, strict=True))
    return scaled if others else scaled[0]


def minibatches(
    *data: Any, batch_size: int = 32, shuffle: bool = True, drop_last: bool = False, seed: int | None = None
) -> Minibatches:
    """The examples in batches, for as many epochs as one likes: each loop over it is one, in an order of its own.

    Parameters
    ----------
    *data : array_like or leaf Tensor, shape (n, ...)
        One or more, as a rule X and y, with a row for each example. They are copied.
    batch_size : int
        How many examples are in a batch; the last one may have fewer.
    shuffle : bool
        Whether each epoch has a random order of its own. False keeps theirs.
    drop_last : bool
        Whether to leave out a last batch that has fewer.
    seed : int, optional
        0 or more; without one, `microgad.manual_seed` decides, also if it is called between two epochs.

    Returns
    -------
    Minibatches
        Its length is the number of batches. A batch is a tuple of as many as were given: Tensors where a Tensor was
        given, and else arrays, which may be changed at will.

    Raises
    ------
    ShapeError
        If they are not of the same length, empty, or have rows of different lengths.
    InputError
        If they hold a nan, an infinity or no numbers, there would be no batch, or an argument is out of bounds.
    GraphCutError
        If one is a Tensor that is computed, or that needs a gradient.

    Examples
    --------
    >>> X, y = moons(100, seed=0)
    >>> batches = minibatches(X, y, batch_size=32, seed=0)
    >>> for epoch in range(2):
    ...     print([x.shape for x, target in batches])
    [(32, 2), (32, 2), (32, 2), (4, 2)]
    [(32, 2), (32, 2), (32, 2), (4, 2)]
    """
    if not data:
        raise InputError("minibatches of nothing: give it X, or X and y")
    if len(data) > 1 and isinstance(data[-1], (int, np.integer)):
        raise InputError(f"minibatches takes the size of a batch by its name: batch_size={data[-1]}")
    return Minibatches(data, batch_size, shuffle, drop_last, seed)


def _names(count: int) -> list[str]:
    return ["X", "y"][:count] if count < 3 else [f"data {i + 1}" for i in range(count)]


class Minibatches:
    """What `minibatches` returns.

    Examples
    --------
    >>> batches = minibatches([1.0, 2.0, 3.0], batch_size=2, shuffle=False)
    >>> batches, len(batches), list(batches)
    (Minibatches of 3 examples, 2 in each, 2, [(array([1., 2.]),), (array([3.]),)])
    """

    def __init__(self, data: Sequence[Any], batch_size: Any, shuffle: Any, drop_last: Any, seed: Any) -> None:
        self._data = examples(dict(zip(_names(len(data)), data, strict=True)))
        self._given = tuple(isinstance(x, Tensor) for x in data)
        self.batch_size, self._count = whole(batch_size, "batch_size"), len(self._data[0])
        self.shuffle, self.drop_last = flag(shuffle, "shuffle"), flag(drop_last, "drop_last")
        self._generator = None if seed is None else seeded(seed)
        if not len(self):
            raise InputError(
                f"no batch: of {self._count} examples none has {self.batch_size}, and drop_last drops what has fewer"
            )

    def __len__(self) -> int:
        full, rest = divmod(self._count, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        order = seeded(self._generator).permutation(self._count) if self.shuffle else np.arange(self._count)
        size = self.batch_size
        return (self._batch(order[k * size : (k + 1) * size]) for k in range(len(self)))

    def _batch(self, places: Array) -> tuple[Any, ...]:
        batch = (x[places] for x in self._data)  # copies, also where the places are in order
        return tuple(leaf(x) if tensor else x for x, tensor in zip(batch, self._given, strict=True))

    def __repr__(self) -> str:
        return f"Minibatches of {self._count} examples, {self.batch_size} in each"


__all__ = [
    "Minibatches", "circles", "curve", "digits", "minibatches", "moons", "spirals", "standardize", "surface",
    "train_test_split", "xor",
]  # fmt: skip

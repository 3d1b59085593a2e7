"""Where training begins: PyTorch's distributions, the numbers of lecture 002, layer-wise fits, and bad calls."""

# ruff: noqa: N803, N806 - matrices have capital names

import inspect
import math

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.errors import InputError, InteriorError, MicrogadError, ShapeError
from microgad.nn import init

WIDE = (300, 400)


def zeros(*shape, dtype=float):
    return Tensor(np.zeros(shape, dtype), requires_grad=True)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


# ---- one table: a call by the module that has it, PyTorch's or this one; the shape; what the numbers are

SQRT = math.sqrt
LEAKY = SQRT(2 / (1 + 0.3**2))
UNIFORM = {  # the bounds
    "uniform": (lambda m, w: m.uniform_(w), WIDE, (0.0, 1.0)),
    "uniform, shifted": (lambda m, w: m.uniform_(w, -3.0, -1.0), (50000,), (-3.0, -1.0)),
    "xavier": (lambda m, w: m.xavier_uniform_(w), WIDE, SQRT(6 / 700)),
    "xavier, gain": (lambda m, w: m.xavier_uniform_(w, gain=5 / 3), (900, 100), 5 / 3 * SQRT(6 / 1000)),
    "xavier, 4 axes": (lambda m, w: m.xavier_uniform_(w), (60, 50, 4, 5), SQRT(6 / (1000 + 1200))),
    "kaiming": (lambda m, w: m.kaiming_uniform_(w), WIDE, SQRT(2) * SQRT(3 / 400)),
    "kaiming, √5": (lambda m, w: m.kaiming_uniform_(w, a=SQRT(5)), WIDE, 1 / SQRT(400)),
    "kaiming, out": (lambda m, w: m.kaiming_uniform_(w, 0.3, "fan_out"), WIDE, LEAKY * SQRT(3 / 300)),
    "kaiming, tanh": (lambda m, w: m.kaiming_uniform_(w, nonlinearity="tanh"), WIDE, 5 / 3 * SQRT(3 / 400)),
    "kaiming, 3 axes": (lambda m, w: m.kaiming_uniform_(w, mode="fan_out"), (90, 80, 10), SQRT(6 / 900)),
}
NORMAL = {  # mean and standard deviation
    "normal": (lambda m, w: m.normal_(w), WIDE, (0.0, 1.0)),
    "normal, shifted": (lambda m, w: m.normal_(w, 2.0, 0.01), (50000,), (2.0, 0.01)),
    "xavier": (lambda m, w: m.xavier_normal_(w), WIDE, (0.0, SQRT(2 / 700))),
    "xavier, gain": (lambda m, w: m.xavier_normal_(w, 0.5), (100, 900), (0.0, 0.5 * SQRT(2 / 1000))),
    "kaiming": (lambda m, w: m.kaiming_normal_(w), WIDE, (0.0, SQRT(2 / 400))),
    "kaiming, out": (lambda m, w: m.kaiming_normal_(w, 0.3, "fan_out"), WIDE, (0.0, LEAKY / SQRT(300))),
    "kaiming, selu": (lambda m, w: m.kaiming_normal_(w, nonlinearity="selu"), WIDE, (0.0, 0.75 / SQRT(400))),
    "kaiming, linear": (lambda m, w: m.kaiming_normal_(w, 7.0, nonlinearity="linear"), WIDE, (0.0, 1 / SQRT(400))),
}
CUT = {  # mean, standard deviation, bounds
    "default": {},
    "narrow": {"std": 2.0, "a": -0.5, "b": 1.0},
    "off the middle": {"mean": 1.0, "std": 0.5, "a": 0.9, "b": 5.0},
    "the mean outside": {"mean": -1.0, "a": 0.5, "b": 2.0},
    "above": {"mean": 3.0, "a": -1.0, "b": 1.5},
}


def sample(call, shape, seed=0):
    mg.manual_seed(seed)
    w = zeros(*shape)
    assert call(init, w) is w
    return w.data


def within(got, want, error, times=5):
    assert abs(got - want) < times * error, f"{got} is {abs(got - want) / error:.1f} standard errors from {want}"


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_distributions(name):
    call, shape, bounds = UNIFORM[name]
    low, high = bounds if isinstance(bounds, tuple) else (-bounds, bounds)
    x = sample(call, shape)
    n, variance = x.size, (high - low) ** 2 / 12
    assert low <= x.min() < low + 30 * (high - low) / n
    assert high >= x.max() > high - 30 * (high - low) / n
    within(x.mean(), (low + high) / 2, SQRT(variance / n))
    within(x.var(), variance, variance * SQRT(0.8 / n))
    flat = x.reshape(-1)
    within(np.corrcoef(flat[:-1], flat[1:])[0, 1], 0.0, 1 / SQRT(n))


@pytest.mark.parametrize("name", NORMAL)
def test_normal_distributions(name):
    call, shape, (mean, std) = NORMAL[name]
    x = sample(call, shape)
    n, z = x.size, (sample(call, shape) - mean) / std
    within(x.mean(), mean, std / SQRT(n))
    within(x.var(), std**2, std**2 * SQRT(2 / n))
    within((z**3).mean(), 0.0, SQRT(15 / n))
    within((z**4).mean(), 3.0, SQRT(96 / n))


def phi(z):
    return 0.5 * (1.0 + math.erf(z / SQRT(2)))


@pytest.mark.parametrize("name", CUT)
def test_a_normal_distribution_that_is_cut(name):
    options = {"mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0, **CUT[name]}
    mean, std, a, b = options.values()
    x = np.sort(sample(lambda m, w: m.trunc_normal_(w, **options), (200, 250)).reshape(-1))
    assert a <= x[0]
    assert x[-1] <= b
    below, inside = phi((a - mean) / std), phi((b - mean) / std) - phi((a - mean) / std)
    expected = np.array([(phi((t - mean) / std) - below) / inside for t in x])
    assert np.abs(expected - (np.arange(x.size) + 0.5) / x.size).max() < 1.95 / SQRT(x.size)  # Kolmogorov: 0.1 %


def test_cut_far_from_the_mean_or_nowhere():
    """In the tail of a normal distribution it is nearly exponential, with mean 1 / a."""
    x = sample(lambda m, w: m.trunc_normal_(w, a=30.0, b=math.inf), (20000,))
    assert x.min() >= 30.0
    within((x - 30.0).mean(), 1 / 30 - 2 / 30**3, 1 / 30 / SQRT(20000))
    y = sample(lambda m, w: m.trunc_normal_(w, 5.0, 2.0, -math.inf, math.inf), (20000,))
    within(y.mean(), 5.0, 2.0 / SQRT(20000))
    within(y.var(), 4.0, 4.0 * SQRT(2 / 20000))
    assert sample(lambda m, w: m.trunc_normal_(w, a=0.25, b=0.25), (3,)).tolist() == [0.25] * 3


@pytest.mark.parametrize("name", [*UNIFORM, *NORMAL, *(f"cut {name}" for name in CUT)])
def test_distributions_as_pytorch(torch, name):
    """Two samples of 10,000 numbers and more, compared at every place (Kolmogorov and Smirnov)."""
    if name.startswith("cut "):
        tables = [(lambda m, w: m.trunc_normal_(w, **CUT[name[4:]]), (100, 100), None)]
    else:
        tables = [table[name] for table in (UNIFORM, NORMAL) if name in table]
    for call, shape, _ in tables:
        torch.manual_seed(0)
        theirs = np.sort(call(torch.nn.init, torch.empty(shape, dtype=torch.float64)).numpy().reshape(-1))
        mine = np.sort(sample(call, shape).reshape(-1))
        apart = np.searchsorted(mine, theirs) / mine.size - np.arange(theirs.size) / theirs.size
        assert np.abs(apart).max() < 1.95 * SQRT(2 / mine.size)


GAINS = ["linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid",
         "tanh", "relu", "leaky_relu", "selu"]  # fmt: skip


@pytest.mark.parametrize("name", GAINS)
def test_gains_as_pytorch(torch, name):
    for param in ((), (0.2,), (-1.0,), (3,)):
        assert init.calculate_gain(name, *param) == pytest.approx(torch.nn.init.calculate_gain(name, *param), rel=1e-15)


def test_gains():
    assert [init.calculate_gain(name) for name in ("linear", "sigmoid", "tanh", "relu", "selu")] == [
        1.0, 1.0, 5 / 3, SQRT(2), 0.75]  # fmt: skip
    assert init.calculate_gain("leaky_relu") == SQRT(2 / 1.0001)


def test_signatures_as_pytorch(torch):
    names = [name for name in DRAWING if name != "fan_uniform_"]
    for name in (*names, "calculate_gain", "constant_", "ones_", "zeros_", "eye_"):
        mine, theirs = (inspect.signature(getattr(m, name)).parameters.values() for m in (init, torch.nn.init))
        assert [(p.name, p.default) for p in mine] == [(p.name, p.default) for p in theirs]


def test_the_numbers_of_lecture_002():
    """A layer from 300 to 100: the printed bounds, and those that were meant."""
    for call, bound, variance in (
        (lambda m, w: m.fan_uniform_(w), 0.0577, 1 / 900),
        (lambda m, w: m.fan_uniform_(w, "fan_out"), 0.1, 1 / 300),
        (lambda m, w: m.xavier_uniform_(w), 0.12247, 0.005),
    ):
        x = sample(call, (100, 300))
        assert bound * 0.999 < np.abs(x).max() < bound + 5e-5
        within(x.var(), variance, variance * SQRT(0.8 / x.size))


def test_fan_in_keeps_a_third_of_the_variance_whatever_the_width():
    draw = np.random.default_rng(0)
    for n, m in ((50, 400), (400, 50)):
        w = init.fan_uniform_(zeros(m, n), generator=1).data
        out = draw.normal(size=(500, n)) @ w.T
        assert out.var() == pytest.approx(1 / 3, rel=0.05)
    default = nn.Linear(300, 100).weight.data
    assert 0.05774 > np.abs(default).max() > 0.057


# ---- matrices


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (1, 4), (4, 1), (2, 3, 4), (30, 2, 2)])
@pytest.mark.parametrize("gain", [1, 0.5, -2.0, SQRT(2)])
def test_orthogonal(shape, gain):
    x = sample(lambda m, w: m.orthogonal_(w, gain), shape).reshape(shape[0], -1)
    np.testing.assert_allclose(np.linalg.svd(x, compute_uv=False), abs(gain), rtol=1e-12)
    small = min(x.shape)
    product = x @ x.T if x.shape[0] == small else x.T @ x
    np.testing.assert_allclose(product, gain**2 * np.eye(small), atol=1e-12)


def test_orthogonal_matrices_are_equally_probable():
    """The signs of a QR decomposition are no part of it: each entry is distributed about 0, with variance 1 / n."""
    draw = np.random.default_rng(0)
    for n in (1, 2, 3):
        found = np.array([init.orthogonal_(zeros(n, n), generator=draw).data for _ in range(3000)])
        assert np.abs(found.mean(axis=0)).max() < 4.5 / SQRT(3000 * n)
        assert np.abs((found**2).mean(axis=0) - 1 / n).max() < 4.5 * SQRT(2 / 3000) / n
        within(np.linalg.det(found).mean(), 0.0, 1 / SQRT(3000))


def test_orthogonal_gain_has_a_sign():
    a, b = (init.orthogonal_(zeros(3, 4), gain, generator=5).data for gain in (2.0, -2.0))
    assert (a == -b).all()


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (0, 3)])
def test_eye_and_constants_as_pytorch(torch, shape):
    for call in (
        lambda m, w: m.eye_(w),
        lambda m, w: m.ones_(w),
        lambda m, w: m.zeros_(w),
        lambda m, w: m.constant_(w, 0.3),
    ):
        mine = Tensor(np.full(shape, 7.0))
        theirs = torch.full(shape, 7.0, dtype=torch.float64)
        assert call(init, mine) is mine
        assert mine.data.tolist() == call(torch.nn.init, theirs).tolist()
    assert init.constant_(zeros(), -2).item() == -2.0


# ---- in place, from one generator

DRAWING = {
    "uniform_": init.uniform_,
    "normal_": init.normal_,
    "trunc_normal_": init.trunc_normal_,
    "fan_uniform_": init.fan_uniform_,
    "xavier_uniform_": init.xavier_uniform_,
    "xavier_normal_": init.xavier_normal_,
    "kaiming_uniform_": init.kaiming_uniform_,
    "kaiming_normal_": init.kaiming_normal_,
    "orthogonal_": init.orthogonal_,
}


@pytest.mark.parametrize("name", DRAWING)
def test_seeds(name):
    fill, w = DRAWING[name], zeros(4, 5)

    def filled(generator=None):
        return fill(w, generator=generator).data.tolist()

    mg.manual_seed(1)
    first, second = filled(), filled()
    mg.manual_seed(1)
    assert [filled(), filled()] == [first, second]
    assert first != second
    assert filled(1) == filled(1) == filled(np.random.default_rng(1)) == first
    draw = np.random.default_rng(2)
    assert filled(draw) != filled(draw)
    mg.manual_seed(3)
    want = filled()
    mg.manual_seed(3)
    filled(7)
    assert filled() == want  # a generator of its own leaves the common one alone


@pytest.mark.parametrize("name", DRAWING)
def test_numbers_are_written_in_place(name):
    w = zeros(4, 5, dtype=np.float32)
    data = w.data
    (w * 2.0).sum().backward()
    assert DRAWING[name](w) is w
    assert w.data is data
    assert w.dtype == np.float32
    assert np.abs(data).min() > 0.0
    assert w.requires_grad
    assert w.grad.tolist() == np.full((4, 5), 2.0).tolist()


@pytest.mark.parametrize("name", DRAWING)
def test_nothing_to_fill(name):
    for shape in ((0, 3), (3, 0), (0, 0)):
        assert DRAWING[name](zeros(*shape)).shape == shape


def test_float32_keeps_the_bounds():
    bound = np.float32(1 / SQRT(3))
    x = init.fan_uniform_(zeros(200000, 3, dtype=np.float32), generator=0).data
    assert np.abs(x).max() <= bound
    y = init.trunc_normal_(zeros(100000, dtype=np.float32), a=-0.1, b=0.1, generator=0).data
    assert np.abs(y).max() <= np.float32(0.1)
    assert init.constant_(zeros(1, dtype=np.float32), 1e300).item() == math.inf


def test_a_network_in_one_line():
    mg.manual_seed(0)
    model = nn.MLP(3, [4, 2])
    model.apply(lambda m: init.ones_(m.weight) if isinstance(m, nn.Linear) else None)
    assert all((layer.weight.data == 1.0).all() for layer in model.layers)


# ---- one table: a bad call, its class, what it says

W = zeros(3, 4)
H = W * 2.0
FILLS = [*DRAWING.values(), init.ones_, init.zeros_, init.eye_, lambda w: init.constant_(w, 1.0)]
ERRORS = [
    (lambda: init.uniform_(W, 1.0, 0.0), InputError, "the upper bound b of uniform_ is at least 1, not 0"),
    (lambda: init.uniform_(W, "low"), InputError, "the lower bound a of uniform_ is a number, not str 'low'"),
    (lambda: init.uniform_(W, math.nan), InputError, "the lower bound a of uniform_ is finite, not nan"),
    (lambda: init.uniform_(W, -1.7e308, 1.7e308), InputError, "uniform_ draws between -1.7e+308 and 1.7e+308"),
    (lambda: init.normal_(W, std=-1.0), InputError, "the std of normal_ is at least 0, not -1"),
    (lambda: init.normal_(W, mean=math.inf), InputError, "the mean of normal_ is finite, not inf"),
    (lambda: init.normal_(W, [1.0]), InputError, "the mean of normal_ is a number, not list [1.0]"),
    (lambda: init.normal_(W, Value(1.0)), InputError, "the mean of normal_ is a number, not Value"),
    (lambda: init.trunc_normal_(W, std=0.0), InputError, "the std of trunc_normal_ is above 0, not 0"),
    (lambda: init.trunc_normal_(W, a=1.0, b=0.0), InputError, "the upper bound b of trunc_normal_ is at least 1"),
    (lambda: init.trunc_normal_(W, a=math.inf), InputError, "the lower bound a of trunc_normal_ is finite, not inf"),
    (lambda: init.trunc_normal_(W, a=np.ones(2)), InputError, "the lower bound a of trunc_normal_ is a number"),
    (lambda: init.trunc_normal_(W, std=1e308, a=-math.inf), InputError, "trunc_normal_ draws between -inf and 2"),
    (lambda: init.constant_(W, "1"), InputError, "the number of constant_ is a number, not str '1'"),
    (lambda: init.constant_(W, None), InputError, "the number of constant_ is a number, not NoneType"),
    (lambda: init.xavier_uniform_(W, -1.0), InputError, "the gain of xavier_uniform_ is at least 0, not -1"),
    (lambda: init.xavier_uniform_(W, 1.7e308), InputError, "xavier_uniform_ draws between"),
    (lambda: init.xavier_normal_(W, "relu"), InputError, "the gain of xavier_normal_ is a number, not str 'relu'"),
    (lambda: init.orthogonal_(W, math.nan), InputError, "the gain of orthogonal_ is finite, not nan"),
    (lambda: init.fan_uniform_(W, "fan_im"), InputError, "no mode 'fan_im': did you mean 'fan_in'?"),
    (lambda: init.fan_uniform_(W, "width"), InputError, "no mode 'width': choose from 'fan_in', 'fan_out'"),
    (lambda: init.kaiming_normal_(W, mode=1), InputError, "no mode int 1"),
    (
        lambda: init.kaiming_uniform_(W, nonlinearity="rellu"),
        InputError,
        "no nonlinearity 'rellu': did you mean 'relu'?",
    ),
    (lambda: init.kaiming_uniform_(W, "relu"), InputError, "the slope of leaky_relu is a number, not str 'relu'"),
    (lambda: init.kaiming_normal_(W, math.inf), InputError, "the slope of leaky_relu is finite, not inf"),
    (lambda: init.calculate_gain("Tanh"), InputError, "no nonlinearity 'Tanh': did you mean 'tanh'?"),
    (lambda: init.calculate_gain(None), InputError, "no nonlinearity NoneType"),
    (lambda: init.calculate_gain("leaky_relu", True), InputError, "the slope of leaky_relu is a number, not bool"),
    (lambda: init.eye_(zeros(3)), ShapeError, "eye_ of [0.0, 0.0, 0.0] of shape (3,): a matrix has two axes"),
    (lambda: init.eye_(zeros(2, 2, 2)), ShapeError, "eye_ of an array of shape (2, 2, 2)"),
    (lambda: init.uniform_(W, generator=-1), InputError, "a seed is a whole number of 0 or more, not int -1"),
    (lambda: init.orthogonal_(W, generator="seed"), InputError, "a seed is a whole number of 0 or more, not str"),
]


@pytest.mark.parametrize("k", range(len(ERRORS)))
def test_errors(k):
    call, kind, text = ERRORS[k]
    with pytest.raises(MicrogadError) as caught:
        call()
    assert type(caught.value) is kind
    assert text in str(caught.value)
    assert not W.data.any()


@pytest.mark.parametrize("fill", FILLS)
def test_what_cannot_be_filled(fill):
    before = H.data.tolist()
    with pytest.raises(InteriorError, match=r"fills a leaf, and .* is computed: fill what it is computed from"):
        fill(H)
    assert H.data.tolist() == before
    value = Value(1.0)
    with pytest.raises(InputError, match=r"_ fills a Tensor, not Value .*: set its \.data"):
        fill(value)
    assert value.data == 1.0
    array = np.zeros((3, 4))
    with pytest.raises(InputError, match=r"_ fills a Tensor, not ndarray"):
        fill(array)
    assert not array.any()


@pytest.mark.parametrize("name", [name for name in DRAWING if name not in ("uniform_", "normal_", "trunc_normal_")])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_weight_has_two_axes(name, shape):
    w = Tensor(np.zeros(shape), name="b")
    with pytest.raises(ShapeError, match=rf"{name} of b of shape .*: a weight has at least 2 axes"):
        DRAWING[name](w)
    assert not w.data.any()


# ---- layer by layer


def blobs(n=300, features=12, classes=3, seed=0):
    """Classes about random centres, in features of different sizes."""
    draw = np.random.default_rng(seed)
    y = draw.integers(classes, size=n)
    X = draw.normal(size=(classes, features))[y] + draw.normal(size=(n, features))
    return X * np.geomspace(0.01, 100.0, features), y


def curve(n=300, features=5, seed=0):
    """Numbers that depend on features in a way that is not linear."""
    X = np.random.default_rng(seed).normal(size=(n, features))
    return X, (np.sin(2.0 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.5 * X[:, 3] + 30.0)[:, None]


def standard(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


def mean_square(out, y):
    return ((out - y) ** 2).mean()


TASKS = {
    "relu": (blobs, lambda n: nn.MLP(n, [32, 16, 3]), nn.cross_entropy),
    "tanh": (blobs, lambda n: nn.MLP(n, [32, 16, 3], "tanh"), nn.cross_entropy),
    "sigmoid": (blobs, lambda n: nn.MLP(n, [32, 3], "sigmoid"), nn.cross_entropy),
    "sequence": (
        blobs,
        lambda n: nn.Sequential(
            nn.Linear(n, 20), nn.Tanh(), nn.Dropout(0.0), nn.Residual(nn.Linear(20, 20)), nn.Linear(20, 3)
        ),
        nn.cross_entropy,
    ),
    "no bias": (
        blobs,
        lambda n: nn.Sequential(nn.Linear(n, 20, bias=False), nn.ReLU(), nn.Linear(20, 3, bias=False)),
        nn.cross_entropy,
    ),
    "normalised": (
        blobs,
        lambda n: nn.Sequential(nn.Linear(n, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3)).eval(),
        nn.cross_entropy,
    ),
    "linear": (blobs, lambda n: nn.Linear(n, 3), nn.cross_entropy),
    "numbers": (curve, lambda n: nn.MLP(n, [32, 32, 1]), mean_square),
    "few": (lambda seed: blobs(12, 30, 2, seed), lambda n: nn.MLP(n, [40, 2]), nn.cross_entropy),
}


@pytest.mark.parametrize("name", TASKS)
def test_training_begins_lower(name):
    """Than from the default, with features that have variance 1, in each of five runs."""
    data, make, loss = TASKS[name]
    for seed in range(5):
        X, y = data(seed=seed)
        X = standard(X)
        mg.manual_seed(seed)
        model = make(X.shape[1])
        before = loss(model(X), y).item()
        assert init.layerwise_(model, X, y) is model
        after = loss(model(X), y).item()
        assert after < 0.8 * before
        if loss is mean_square:
            assert after < 0.9 * y.var()  # which the mean would have


def test_training_goes_on_lower():
    """20 steps from here come lower than 20 from the default, at which the lecture's heuristics aim."""
    losses = []
    for layerwise in (False, True):
        found = []
        for seed in range(3):
            X, y = curve(seed=seed)
            X, y = standard(X), y - 30.0
            mg.manual_seed(seed)
            model = nn.MLP(5, [24, 24, 1], "tanh")
            if layerwise:
                init.layerwise_(model, X, y)
            optimizer = nn.optim.Adam(model.parameters(), lr=0.01)
            for _ in range(20):
                optimizer.zero_grad()
                loss = mean_square(model(X), y)
                loss.backward()
                optimizer.step()
            found.append(loss.item())
        losses.append(np.mean(found))
    assert losses[1] < 0.8 * losses[0]


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    X, y = X[:600] / 16.0, y[:600]
    mg.manual_seed(0)
    model = nn.MLP(64, [32, 10])
    before = nn.cross_entropy(model(X), y).item()
    init.layerwise_(model, X, y)
    assert nn.cross_entropy(model(X), y).item() < 0.7 * before
    assert (model(X).data.argmax(axis=1) == y).mean() > 0.7
    signals = np.corrcoef(model.layers[0](X).data.T) - np.eye(32)
    assert np.abs(signals).max() < 0.9


def cosines(rows):
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.abs(rows @ rows.T - np.eye(len(rows))).max()


@pytest.mark.parametrize("data", [blobs, curve])
def test_neurons_differ(data):
    X, y = data(400, 20)
    X = standard(X)
    model = init.layerwise_(nn.MLP(20, [30, 30, y.max() + 1 if data is blobs else 1]), X, y, generator=0)
    assert [cosines(layer.weight.data) < 0.93 for layer in model.layers[:2]] == [True, True]
    alike = nn.MLP(20, [30, 1])
    init.layerwise_(alike, X, y if data is curve else y == 1, examples=1.0, features=1.0, ridge=1e-6, generator=0)
    assert cosines(alike.layers[0].weight.data) > 0.999  # without what makes them differ


def test_each_neuron_has_a_part_of_the_features():
    X, y = blobs(200, 12)
    for features, n in ((0.5, 6), (0.3, 4), (0.01, 3), (1.0, 12)):
        model = init.layerwise_(nn.MLP(12, [40, 3]), X, y, features=features, generator=0)
        used = model.layers[0].weight.data != 0.0
        assert set(used.sum(axis=1)) == {n}
        assert (used.sum(axis=0) > 0).all()
        assert len({tuple(row) for row in used}) > (20 if n < 12 else 0)
        assert (model.layers[1].weight.data != 0.0).all()


def test_each_neuron_has_a_part_of_the_examples():
    """With all features and next to no ridge, two neurons differ by their examples only, up to their signs."""
    X, y = curve(200, 4)
    a, b = (
        init.layerwise_(nn.MLP(4, [30, 1]), X, y, part, 1.0, 1e-6, generator=0).layers[0].weight.data
        for part in (0.1, 1.0)
    )
    signs = np.sign(a @ a[0])
    assert np.ptp(a * signs[:, None], axis=0).min() > 0.1
    assert np.ptp(b * np.sign(b @ b[0])[:, None], axis=0).max() < 1e-3


def test_neurons_are_linear_models_with_an_intercept():
    """What is linear is found from any part of the examples: pre-activations are it, with mean 0 and either sign."""
    X, _ = curve(200, 4)
    y = X @ [1.0, -2.0, 0.5, 3.0] + 7.0
    model = init.layerwise_(nn.MLP(4, [20, 1]), X, y, 0.05, 1.0, 1e-6, generator=0)
    found = model.layers[0](X).data
    signs = np.sign(found[0] * standard(y)[0])
    assert set(signs) == {-1.0, 1.0}
    np.testing.assert_allclose(found * signs, np.repeat(standard(y)[:, None], 20, axis=1), atol=1e-4)
    bent = init.layerwise_(nn.MLP(4, [20, 1]), X, y**2, 0.05, generator=0).layers[0](X).data
    assert bent.mean(axis=0).std() > 0.1  # what is not linear has another one in each part


@pytest.mark.parametrize("kind", ["classes", "columns"])
def test_neurons_are_fitted_to_mixtures(kind):
    """Of 4 classes, which leave 3 dimensions, or of 3 columns; with all else alike, rows are in just so many."""
    X, y = blobs(400, 12, 4)
    X = standard(X)
    y = y if kind == "classes" else X @ np.random.default_rng(1).normal(size=(12, 3))
    model = nn.MLP(12, [30, 4 if kind == "classes" else 3])
    init.layerwise_(model, X, y, 1.0, 1.0, 1e-6, generator=0)
    sizes = np.linalg.svd(model.layers[0].weight.data, compute_uv=False)
    assert sizes[2] > 0.05 * sizes[0]
    assert sizes[3] < 1e-4 * sizes[0]


def pre_activations(model, X):
    """What each Linear layer of a model makes of the data."""
    found, kept = [], []
    for layer in (m for m in model.modules() if isinstance(m, nn.Linear)):
        own = layer.forward
        kept.append(layer)
        layer.forward = lambda x, own=own: found.append(own(x)) or found[-1]
    model(X)
    for layer in kept:
        del layer.forward
    return [x.data for x in found]


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid", "sequence", "no bias", "normalised", "numbers", "few"])
def test_pre_activations_have_variance_1(name):
    data, make, _ = TASKS[name]
    X, y = data(seed=0)
    model = init.layerwise_(make(X.shape[1]), X, y, generator=0)
    hidden = pre_activations(model, X)[:-1]
    assert hidden
    for x in hidden:
        np.testing.assert_allclose(x.std(axis=0), 1.0, rtol=1e-9)
        if name not in ("no bias", "few"):
            assert np.abs(x.mean(axis=0)).max() < 0.5


class Backwards(nn.Module):
    """Layers that stand in another order than data goes through them; one is used twice, and one never."""

    def __init__(self, n):
        self.third, self.second = nn.Linear(16, 3), nn.Linear(16, 16)
        self.unused, self.inside = nn.Linear(n, n), [{"first": nn.Linear(n, 16)}]

    def forward(self, x):
        x = self.second(self.inside[0]["first"](x).tanh()).tanh()
        return self.third(self.second(x).tanh())


def test_layers_are_fitted_in_the_order_of_the_data():
    X, y = blobs()
    model = Backwards(12)
    unused = model.unused.weight.data.copy()
    init.layerwise_(model, X, y, generator=0)
    first = model.inside[0]["first"](X)
    second = model.second(first.tanh())
    for x in (first, second):
        np.testing.assert_allclose(x.data.std(axis=0), 1.0, rtol=1e-9)
    assert (model.unused.weight.data == unused).all()
    assert nn.cross_entropy(model(X), y).item() < 0.8


def test_nothing_else_of_a_model_changes():
    X, y = blobs()
    model = nn.Sequential(
        nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.9), nn.PReLU(), nn.Linear(8, 8), nn.Linear(8, 3)
    )
    model[2].eval()
    model[4].requires_grad_(False)
    kept = {name: x for name, x in model.state_dict().items() if not name.startswith(("0.", "5."))}
    arrays = {name: p.data for name, p in model.named_parameters()}
    init.layerwise_(model, X, y, generator=0)
    state = model.state_dict()
    assert all((state[name] == x).all() for name, x in kept.items())  # running statistics, and the frozen layer
    assert all(p.data is arrays[name] and p.grad is None for name, p in model.named_parameters())
    assert [m.training for m in model.modules()] == [True, True, True, False, True, True, True]
    assert not any("forward" in vars(m) for m in model.modules())
    assert model[4].weight.requires_grad is False
    model[0].bias.requires_grad = False
    bias = model[0].bias.data.copy()
    init.layerwise_(model, X, y, generator=1)
    assert (model[0].bias.data == bias).all()


def test_a_forward_of_the_users_own_stays():
    X, y = blobs()
    model = nn.MLP(12, [8, 3])
    calls = []
    own = model.layers[0].forward
    mine = model.layers[0].forward = lambda x: calls.append(1) or own(x)
    init.layerwise_(model, X, y)
    assert model.layers[0].forward is mine
    assert calls == [1]


def test_layerwise_seeds():
    X, y = blobs()

    def weights(seed, generator=None):
        mg.manual_seed(seed)
        return init.layerwise_(nn.MLP(12, [8, 3]), X, y, generator=generator).layers[0].weight.tolist()

    assert weights(0) == weights(0) != weights(1)
    assert weights(0, 5) == weights(1, 5) == weights(2, np.random.default_rng(5)) != weights(0, 6)


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [
        ([0, 1], 1),
        ([-1, 1], 1),
        ([0, 1], 2),
        ([-1, 1], 2),
        ([0, 1], 5),
        ([3, 1], 5),
        ([7, 9, 4], 3),
        ([False, True], 1),
    ],
)
def test_kinds_of_labels(labels, outputs):
    X, index = blobs(classes=len(labels))
    y = np.array(labels)[index]
    model = init.layerwise_(nn.MLP(12, [16, outputs]), X, y, generator=0)
    out = model(X).data
    order = sorted(labels)
    if outputs == 1:
        right = (out[:, 0] > 0.0) == (y == order[1])
    elif outputs > len(labels) or order[0] == 0:
        right = out.argmax(axis=1) == y
    else:
        right = np.array(order)[out.argmax(axis=1)] == y
    assert right.mean() > 0.8


def test_rare_classes_begin_rare():
    """The probabilities are about the shares of the classes, also where nothing can be learnt."""
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(2000, 4)), draw.choice(3, size=2000, p=[0.9, 0.08, 0.02])
    many = init.layerwise_(nn.MLP(4, [8, 3]), X, y, generator=0)
    np.testing.assert_allclose(many(X).softmax(axis=1).data.mean(axis=0), [0.9, 0.08, 0.02], atol=0.02)
    one = init.layerwise_(nn.MLP(4, [8, 1]), X, y == 2, generator=0)
    assert mg.sigmoid(one(X)).data.mean() == pytest.approx(0.02, abs=0.01)


def test_outputs_are_those_of_least_squares():
    """One linear layer of a linear function, with next to no ridge: the function itself."""
    X = np.random.default_rng(0).normal(size=(50, 3)) * [1.0, 100.0, 0.01] + 5.0
    y = X @ np.array([[2.0, -1.0], [0.5, 3.0], [-7.0, 0.0]]) + [10.0, -4.0]
    model = init.layerwise_(nn.Linear(3, 2), X, y, ridge=1e-6)
    np.testing.assert_allclose(model(X).data, y, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(model.weight.data, [[2.0, 0.5, -7.0], [-1.0, 3.0, 0.0]], rtol=1e-3, atol=1e-2)
    alone = init.layerwise_(nn.Linear(3, 1), Tensor(X), Tensor(y[:, 0]), ridge=1e-6)
    np.testing.assert_allclose(alone(X).data[:, 0], y[:, 0], rtol=1e-4, atol=1e-3)


def test_ridge_least_squares():
    """Both ways to solve it have a gradient of 0."""
    draw = np.random.default_rng(0)
    for n, m in ((30, 5), (5, 30)):
        x, wanted, start = draw.normal(size=(n, m)), draw.normal(size=n), draw.normal(size=m)
        w = init._ridge(x, wanted, start, 0.3)
        np.testing.assert_allclose(x.T @ (x @ w - wanted) / n + 0.3 * (w - start), 0.0, atol=1e-12)


def test_examples_that_are_sequences():
    """What is computed for each place of an example has the example's target; or each place has its own."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(100, 7, 4))
    each = (X[..., 0] > 0.0).astype(int)
    whole = (X[..., 0].mean(axis=1) > 0.0).astype(int)

    class Pooled(nn.Module):
        def __init__(self):
            self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.outer(self.inner(x).tanh().mean(axis=1))

    model = init.layerwise_(Pooled(), X, whole, generator=0)
    assert (model(X).data.argmax(axis=1) == whole).mean() > 0.85
    places = init.layerwise_(nn.MLP(4, [8, 2], "tanh"), X, each, generator=0)
    assert (places(X).data.argmax(axis=2) == each).mean() > 0.9


def test_features_that_do_not_vary_or_hardly():
    X, y = blobs()
    X[:, 3] = 7.1
    X[:, 4] = 0.0
    X[0, 4] = 1.0  # in one example
    model = init.layerwise_(nn.MLP(12, [40, 3]), X, y, generator=0)
    weight = model.layers[0].weight.data
    assert (weight[:, 3] == 0.0).all()
    assert np.abs(weight[:, 4]).max() < 8.0  # and not as large as 1 / 0.058, what has variance 1 asks for
    assert np.isfinite(model(X).data).all()


def test_float32_models():
    X, y = blobs()
    model = init.layerwise_(nn.MLP(12, [8, 3], dtype=np.float32), X.astype(np.float32), y, generator=0)
    assert model.layers[0].weight.dtype == np.float32
    assert model(X.astype(np.float32)).dtype == np.float32


class Broken(nn.Module):
    def __init__(self):
        self.first, self.second = nn.Linear(12, 8), nn.Linear(7, 3)

    def forward(self, x):
        return self.second(self.first(x))


class Elsewhere(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(12, 3)

    def forward(self, x):
        return self.layer(np.ones((4, 12)))


X0, Y0 = blobs()
BAD = X0.copy()
BAD[3, 3] = math.nan
MLP = lambda: nn.MLP(12, [8, 3])  # noqa: E731
LAYERWISE = [
    (lambda: 5, X0, Y0, {}, InputError, "layerwise_ is given a Module, not int 5"),
    (lambda: nn.ReLU(), X0, Y0, {}, InputError, "layerwise_ fits Linear layers, and the model used none"),
    (MLP, X0, Y0, {"examples": 0.0}, InputError, "the part of the examples is above 0 and at most 1, not 0"),
    (MLP, X0, Y0, {"features": 1.5}, InputError, "the part of the features is above 0 and at most 1, not 1.5"),
    (MLP, X0, Y0, {"ridge": 0.0}, InputError, "ridge is at least 1e-06, not 0"),
    (MLP, X0, Y0, {"generator": "seed"}, InputError, "a seed is a whole number of 0 or more, not str 'seed'"),
    (MLP, X0, Y0[:-1], {}, ShapeError, "layers.0 is given an array of shape (300, 12), and layerwise_ a y of (299,)"),
    (MLP, X0, np.zeros(300), {}, InputError, "y of layerwise_ holds finite numbers that are not all the same"),
    (MLP, X0, np.full((300, 3), math.nan), {}, InputError, "y of layerwise_ holds finite numbers"),
    (MLP, X0[:0], [], {}, InputError, "y of layerwise_ holds finite numbers"),
    (MLP, X0, ["a"] * 300, {}, InputError, "y of layerwise_: a Tensor holds real numbers"),
    (MLP, "data", Y0, {}, InputError, "X of layerwise_: a Tensor holds real numbers, not str 'data'"),
    (MLP, X0[:, :5], Y0, {}, ShapeError, "layers.0 takes 12 features, in the last axis"),
    (MLP, X0[0], Y0, {}, ShapeError, "layers.0 is given an array of shape (12,), and layerwise_ a y of (300,)"),
    (MLP, BAD, Y0, {}, InputError, "layers.0 is given nan or inf"),
    (MLP, np.full((300, 12), 3.3), Y0, {}, InputError, "layers.0 is given nan or inf, or the same for all examples"),
    (MLP, X0, Y0 + 1, {}, None, ""),
    (MLP, X0, Y0 * 5, {}, None, ""),
    (lambda: nn.MLP(12, [8, 2]), X0, Y0, {}, ShapeError, "layers.1 has 2 outputs, and the labels of layerwise_ are 3"),
    (
        lambda: nn.MLP(12, [8, 1]),
        X0,
        Y0,
        {},
        ShapeError,
        "labels of layerwise_ are 3, from 0 to 2: labels count from 0",
    ),
    (MLP, X0, X0[:, :2], {}, ShapeError, "layers.1 has 3 outputs, and y of layerwise_ has 2 columns"),
    (Broken, X0, Y0, {}, ShapeError, "second takes 7 features, in the last axis"),
    (Elsewhere, X0, Y0, {}, ShapeError, "layer is given an array of shape (4, 12), and layerwise_ a y of (300,)"),
]


@pytest.mark.parametrize("k", range(len(LAYERWISE)))
def test_layerwise_errors(k):
    make, X, y, options, kind, text = LAYERWISE[k]
    model = make()
    if kind is None:  # the labels are taken in their order
        assert init.layerwise_(model, X, y, **options) is model
        return
    before = model.state_dict() if isinstance(model, nn.Module) else {}
    with pytest.raises(MicrogadError) as caught:
        init.layerwise_(model, X, y, **options)
    assert type(caught.value) is kind
    assert text in str(caught.value)
    if before:
        assert all((model.state_dict()[name] == x).all() for name, x in before.items())
        assert not any("forward" in vars(m) or not m.training for m in model.modules())


def test_an_error_of_the_model_leaves_it_as_it_was():
    class Late(Broken):
        def forward(self, x):
            self.first(x)
            raise KeyError("of the user")

    model = Late()
    before = model.state_dict()
    with pytest.raises(KeyError, match="of the user"):
        init.layerwise_(model, X0, Y0)
    assert all((model.state_dict()[name] == x).all() for name, x in before.items())
    assert "forward" not in vars(model.first)

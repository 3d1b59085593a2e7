"""Losses: the lectures' numbers, PyTorch's, finite differences, and what is refused."""

import contextlib
import inspect
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.errors import InputError, MicrogadError, ShapeError
from microgad.nn import functional, losses
from microgad.nn.choices import choose
from microgad.nn.losses import LOSSES
from microgad.order import topological_order

OF_NUMBERS = {name: getattr(losses, name) for name in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss")}
OF_MARGINS = {
    name: getattr(losses, name) for name in ("soft_margin_loss", "hinge_loss", "exponential_loss", "sigmoid_loss")
}
BCE = losses.binary_cross_entropy_with_logits
ELEMENTWISE = {**OF_NUMBERS, **OF_MARGINS, "binary_cross_entropy_with_logits": BCE}
OF_CLASSES = {"cross_entropy": losses.cross_entropy, "nll_loss": losses.nll_loss}
ALL = {**ELEMENTWISE, **OF_CLASSES}
MODULES = {
    "mse_loss": losses.MSELoss,
    "l1_loss": losses.L1Loss,
    "huber_loss": losses.HuberLoss,
    "smooth_l1_loss": losses.SmoothL1Loss,
    "soft_margin_loss": losses.SoftMarginLoss,
    "hinge_loss": losses.HingeLoss,
    "exponential_loss": losses.ExponentialLoss,
    "sigmoid_loss": losses.SigmoidLoss,
    "binary_cross_entropy_with_logits": losses.BCEWithLogitsLoss,
    "cross_entropy": losses.CrossEntropyLoss,
    "nll_loss": losses.NLLLoss,
}
REDUCTIONS = ("mean", "sum", "none")
EPS = np.finfo(float).eps
few = settings(max_examples=40, deadline=None)


def leaf(x, dtype=float):
    return Tensor(np.array(x, dtype), requires_grad=True)


def good_target(name, shape, seed=0):
    """Targets such as a loss wants."""
    rng = np.random.default_rng(seed)
    if name in OF_MARGINS:
        return rng.choice([-1.0, 1.0], shape)
    if name in OF_CLASSES:
        return rng.integers(0, shape[-1], shape[:-1])
    return rng.random(shape) if name == "binary_cross_entropy_with_logits" else rng.normal(size=shape)


def close(got, want, atol=5e-9):
    np.testing.assert_allclose(getattr(got, "data", got), want, rtol=0.0, atol=atol)


# ---- lecture 002: losses of the margin

MARGINS = [-1.0, 0.0, 1.0, 2.0]
OF_LECTURE = {  # at these margins: the loss, and its derivative
    "soft_margin_loss": (
        [1.31326169, 0.69314718, 0.31326169, 0.12692801],
        [-0.73105858, -0.5, -0.26894142, -0.11920292],
    ),
    "hinge_loss": ([2.0, 1.0, 0.0, 0.0], [-1.0, -1.0, 0.0, 0.0]),
    "exponential_loss": ([2.71828183, 1.0, 0.36787944, 0.13533528], [-2.71828183, -1.0, -0.36787944, -0.13533528]),
    "sigmoid_loss": ([0.73105858, 0.5, 0.26894142, 0.11920292], [-0.19661193, -0.25, -0.19661193, -0.10499359]),
}


@pytest.mark.parametrize("name", OF_LECTURE)
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_losses_of_margins(name, side):
    values, slopes = OF_LECTURE[name]
    x, t = leaf(side * np.array(MARGINS)), side * np.ones(4)
    loss = OF_MARGINS[name](x, t, reduction="none")
    loss.sum().backward()
    close(loss, values)
    close(side * x.grad, slopes)
    close(OF_MARGINS[name](x.data, t, "none"), values)
    for margin, value, slope in zip(MARGINS, values, slopes, strict=True):
        one = Value(side * margin)
        loss = OF_MARGINS[name](one, side)
        loss.backward()
        assert type(loss) is Value
        close(loss, value)
        close(side * one.grad, slope)


@pytest.mark.parametrize("name", OF_MARGINS)
@few
@given(arrays(float, 7, elements=st.floats(-30.0, 30.0)), st.floats(0.0, 10.0), st.sampled_from([-1.0, 1.0]))
def test_no_loss_grows_with_the_margin(name, x, more, side):
    t = np.full(7, side)
    before, after = (OF_MARGINS[name](side * m, t, "none") for m in (x, x + more))
    assert (after <= before).all()
    assert (after >= 0.0).all()


@pytest.mark.parametrize(("margin", "loss", "slope"), [(1000.0, 0.0, 0.0), (-1000.0, 1000.0, -1.0)])
def test_the_logarithmic_loss_of_large_margins(margin, loss, slope):  # where PyTorch's is infinite
    x = leaf([margin])
    found = losses.soft_margin_loss(x, [1.0])
    found.backward()
    assert (found.item(), x.grad.tolist()) == (loss, [slope])


def test_the_exponential_loss_of_a_large_margin_is_infinite():
    assert losses.exponential_loss(Value(-1000.0), 1.0).data == math.inf
    with np.errstate(over="ignore"):
        assert losses.exponential_loss(leaf([-1000.0, 1000.0]), [1.0, 1.0], "none").tolist() == [math.inf, 0.0]


# ---- lectures 002 and 004: half the squared error


def test_half_the_squared_error():  # 1/2 Σ (t - y)², whose derivative is y - t
    y, t = [0.25478062, 0.93266911], [1.0, 0.0]
    out = leaf(y)
    loss = 0.5 * losses.mse_loss(out, t, reduction="sum")
    loss.backward()
    close(loss, 0.71261179, 1e-8)  # of outputs with 8 digits
    close(out.grad, [-0.74521938, 0.93266911])
    out = [Value(x) for x in y]
    loss = 0.5 * losses.MSELoss(reduction="sum")(out, t)
    loss.backward()
    close(loss, 0.71261179, 1e-8)
    close([x.grad for x in out], [-0.74521938, 0.93266911])


# ---- lectures 003 and 004: cross-entropy from logits, from logarithms, from Values, by modules


def forms():
    yield "cross_entropy", losses.cross_entropy
    yield "CrossEntropyLoss", losses.CrossEntropyLoss()
    yield "nll_loss", lambda z, t: losses.nll_loss(mg.log_softmax(z if isinstance(z, Tensor) else mg.stack(z)), t)
    yield "NLLLoss", lambda z, t: losses.NLLLoss()(mg.log_softmax(z if isinstance(z, Tensor) else mg.stack(z)), t)


@pytest.mark.parametrize("form", [pytest.param(f, id=name) for name, f in forms()])
def test_cross_entropy_of_one_example(form):
    slopes = [0.09003057, 0.24472847, -0.33475904]
    z, one = leaf([1.0, 2.0, 3.0]), [Value(x) for x in (1.0, 2.0, 3.0)]
    for logits in (z, one):
        loss = form(logits, 2)
        loss.backward()
        close(loss, 0.40760596)
    close(z.grad, slopes)
    close([x.grad for x in one], slopes)
    batch = [[Value(x) for x in row] for row in ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])]
    loss = form(batch, [2, 0])
    loss.backward()
    close(loss, 0.40760596)
    close([[x.grad for x in row] for row in batch], np.array([slopes, slopes[::-1]]) / 2.0)


@pytest.mark.parametrize("form", [pytest.param(f, id=name) for name, f in forms()])
def test_softmax_regression(form):  # dL/dW = Xᵀ (S - Y) / n
    x, w = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), leaf([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]])
    loss = form(x @ w, [0, 1, 2])
    loss.backward()
    close(loss, 29.05187476 / 3.0)
    slopes = [[7.94751106, -2.94986919, -4.99764187], [9.89691269, -3.90162728, -5.99528541]]
    close(w.grad, np.array(slopes) / 3.0)


@pytest.mark.parametrize("form", [pytest.param(f, id=name) for name, f in forms()])
def test_an_unlikely_class_to_the_last_digit(form):
    z = leaf([0.0, -800.0])
    loss = form(z, 1)
    loss.backward()
    assert (loss.item(), z.grad.tolist()) == (800.0, [1.0, -1.0])


def test_cross_entropy_of_values_as_targets():
    z, t = [Value(1.0), Value(2.0)], [Value(0.25), Value(0.75)]
    losses.cross_entropy(z, t).backward()
    logp = np.array([1.0, 2.0]) - np.log(np.exp([1.0, 2.0]).sum())
    close([x.grad for x in t], -logp, 1e-15)
    close([x.grad for x in z], np.exp(logp) - [0.25, 0.75], 1e-15)


# ---- against PyTorch

SHAPES = [(5,), (4, 3), (2, 3, 4)]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def functions_of_torch(torch):
    F = torch.nn.functional  # noqa: N806
    return {
        "mse_loss": F.mse_loss,
        "l1_loss": F.l1_loss,
        "huber_loss": F.huber_loss,
        "smooth_l1_loss": F.smooth_l1_loss,
        "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
        "soft_margin_loss": lambda x, t, reduction: reduced(torch.logaddexp(-t * x, 0.0 * x), reduction),
        "hinge_loss": lambda x, t, reduction: reduced(F.relu(1.0 - t * x), reduction),
        "exponential_loss": lambda x, t, reduction: reduced(torch.exp(-t * x), reduction),
        "sigmoid_loss": lambda x, t, reduction: reduced(torch.sigmoid(-t * x), reduction),
    }


def reduced(x, reduction):
    return x if reduction == "none" else getattr(x, reduction)()


def both(torch, ours, theirs, x, t, *, slopes_of_targets=False, **options):
    """The same loss here and there: its value, and its gradient times a random one, by x and perhaps t."""
    a, b = leaf(x), Tensor(t, requires_grad=True) if slopes_of_targets else t
    loss = ours(a, b, **options)
    c = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    d = torch.tensor(t, requires_grad=slopes_of_targets)
    there = {key: torch.tensor(w) if isinstance(w, np.ndarray) else w for key, w in options.items()}
    want = theirs(c, d, **there)
    assert loss.shape == tuple(want.shape)
    np.testing.assert_allclose(loss.data, want.detach().numpy(), rtol=1e-12, atol=1e-12)
    g = np.random.default_rng(1).normal(size=loss.shape)
    loss.backward(g)
    want.backward(torch.tensor(g))
    np.testing.assert_allclose(a.grad, c.grad.numpy(), rtol=1e-12, atol=1e-12)
    if slopes_of_targets:
        np.testing.assert_allclose(b.grad, d.grad.numpy(), rtol=1e-12, atol=1e-12)
    plain = ours(x, t, **options)  # and on arrays
    np.testing.assert_array_equal(plain, loss.data)


def extreme(shape, size=1000.0):
    """Numbers with ±size, 0, and ties among them."""
    x = np.random.default_rng(3).normal(size=shape)
    for place, number in zip(np.ndindex(*shape), (0.0, size, -size, 1.0), strict=False):
        x[place] = number
    return x


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_losses_against_pytorch(torch, name, shape, reduction):
    theirs, rng = functions_of_torch(torch)[name], np.random.default_rng(2)
    t = good_target(name, shape)
    by_target = name not in OF_MARGINS
    for x in (rng.normal(size=shape), extreme(shape, 1000.0 if name != "exponential_loss" else 30.0)):
        both(torch, ELEMENTWISE[name], theirs, x, t, reduction=reduction, slopes_of_targets=by_target)
    if name in OF_NUMBERS:  # no error at all, and errors at a bend
        both(torch, ELEMENTWISE[name], theirs, t, t, reduction=reduction, slopes_of_targets=True)
        both(torch, ELEMENTWISE[name], theirs, np.ones(shape), np.zeros(shape), reduction=reduction)
        both(torch, ELEMENTWISE[name], theirs, -np.ones(shape), np.zeros(shape), reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("bend", [0.25, 1.0, 2.0, 1e-6, 1e6])
def test_bends_against_pytorch(torch, bend, reduction):
    x, t = np.array([0.0, 0.1, -0.25, 0.5, 2.0, -3.0, 1000.0, -1000.0]), np.zeros(8)
    theirs = functions_of_torch(torch)
    both(torch, losses.huber_loss, theirs["huber_loss"], x, t, reduction=reduction, delta=bend)
    both(torch, losses.smooth_l1_loss, theirs["smooth_l1_loss"], x, t, reduction=reduction, beta=bend)
    both(torch, losses.smooth_l1_loss, theirs["smooth_l1_loss"], x, t, reduction=reduction, beta=0.0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("weight", [None, (4, 1), (3,), (4, 3), ()], ids=str)
@pytest.mark.parametrize("pos_weight", [None, (3,), ()], ids=str)
def test_weights_of_two_classes_against_pytorch(torch, pos_weight, weight, hard, reduction):
    rng = np.random.default_rng(4)
    options = {"weight": weight, "pos_weight": pos_weight}
    options = {name: 3.0 * rng.random(shape) for name, shape in options.items() if shape is not None}
    options = {name: np.asarray(x) for name, x in options.items()}
    t = rng.random((4, 3))
    t = np.round(t) if hard else t
    theirs = functions_of_torch(torch)["binary_cross_entropy_with_logits"]
    for x in (rng.normal(size=(4, 3)), extreme((4, 3))):
        both(torch, BCE, theirs, x, t, reduction=reduction, slopes_of_targets=not hard, **options)


def classes_last(f):
    """A loss of PyTorch's, which has the classes along the second axis, with the classes along the last one."""

    def moved(x, t, **options):
        t = t.movedim(-1, 1) if x.ndim > 2 and t.ndim == x.ndim else t
        return f(x.movedim(-1, 1) if x.ndim > 2 else x, t, **options)

    return moved


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (4, 1)], ids=str)
def test_cross_entropy_against_pytorch(torch, shape, weighted, smoothing, reduction):
    rng = np.random.default_rng(5)
    theirs = classes_last(torch.nn.functional.cross_entropy)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    if weighted:
        options["weight"] = 0.5 + rng.random(shape[-1])
    soft = rng.random(shape)
    for x in (rng.normal(size=shape), extreme(shape)):
        both(torch, losses.cross_entropy, theirs, x, good_target("cross_entropy", shape), **options)
        both(torch, losses.cross_entropy, theirs, x, soft, slopes_of_targets=True, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3)], ids=str)
def test_nll_loss_against_pytorch(torch, shape, weighted, reduction):
    rng = np.random.default_rng(6)
    options = {"reduction": reduction, **({"weight": 0.5 + rng.random(shape[-1])} if weighted else {})}
    theirs = classes_last(torch.nn.functional.nll_loss)
    for x in (-rng.random(shape), extreme(shape)):
        both(torch, losses.nll_loss, theirs, x, good_target("nll_loss", shape), **options)


DEPRECATED = {"size_average", "reduce", "ignore_index"}
OURS_ALONE = {"hinge_loss", "exponential_loss", "sigmoid_loss"}  # PyTorch has no such


@pytest.mark.parametrize("name", sorted(set(ALL) - OURS_ALONE))
def test_names_and_defaults_are_those_of_pytorch(torch, name):
    def parameters(f):
        found = inspect.signature(f).parameters.values()
        return {p.name: p.default for p in found if p.name not in DEPRECATED}

    ours, theirs = parameters(ALL[name]), parameters(getattr(torch.nn.functional, name))
    theirs = {key: theirs[key] for key in ours if key in theirs}  # of mse_loss and others a weight is missing here
    assert list(ours)[:2] == ["input", "target"]
    assert ours == theirs
    module, there = MODULES[name], getattr(torch.nn, MODULES[name].__name__)
    assert list(parameters(module.__init__).items()) == list(parameters(there.__init__).items())
    assert repr(module()) == repr(there())


# ---- derivatives of any order

AWAY = {  # from bends: predictions and targets
    "mse_loss": ([0.5, -1.0, 2.0], [0.5, 1.0, -0.5]),
    "l1_loss": ([0.5, -1.0, 2.0], [0.0, 1.0, -0.5]),
    "huber_loss": ([0.5, -1.0, 2.0], [0.5, 1.0, 1.5]),  # at 0, where its second derivative is 1
    "smooth_l1_loss": ([0.5, -1.0, 2.0], [0.5, 1.0, 1.5]),
    "soft_margin_loss": ([0.0, -1.0, 2.0], [1.0, 1.0, -1.0]),
    "hinge_loss": ([0.5, -1.0, 2.0], [1.0, 1.0, 1.0]),
    "exponential_loss": ([0.0, -1.0, 1.5], [1.0, -1.0, -1.0]),
    "sigmoid_loss": ([0.0, -1.0, 2.0], [1.0, 1.0, -1.0]),
    "binary_cross_entropy_with_logits": ([0.0, -1.0, 2.0], [0.3, 0.0, 0.8]),
}


@pytest.mark.parametrize("name", AWAY)
def test_derivatives_of_elementwise_losses(name):
    x, t = map(np.array, AWAY[name])
    for one, target in zip(*AWAY[name], strict=True):
        mg.check_grads(lambda x, t=target: ELEMENTWISE[name](x, t), (Value(one),))
    if name in OF_NUMBERS:
        mg.check_grads(ELEMENTWISE[name], (x, t))
    else:
        mg.check_grads(lambda x: ELEMENTWISE[name](x, t), (x,))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_derivatives_of_reductions(reduction):
    mg.check_grads(lambda x, t: losses.mse_loss(x, t, reduction), tuple(map(np.array, AWAY["mse_loss"])))


@pytest.mark.parametrize("weights", [{}, {"weight": [0.5, 2.0, 1.0], "pos_weight": [3.0, 1.0, 0.1]}], ids=str)
def test_derivatives_by_target_probabilities(weights):
    x, t = np.array([0.5, -1.0, 2.0]), np.array([-0.8, 0.4, 1.4])
    mg.check_grads(lambda x, t: BCE(x, mg.sigmoid(t), **weights), (x, t))


def test_the_second_derivatives_where_an_error_is_0():
    for f in (losses.huber_loss, losses.smooth_l1_loss, lambda x, t: 0.5 * losses.mse_loss(x, t)):
        assert mg.grad(mg.grad(lambda x, f=f: f(x, 1.0)))(1.0) == 1.0
    assert mg.grad(mg.grad(lambda x: losses.smooth_l1_loss(x, 1.0, beta=0.5)))(1.0) == 2.0


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (True, 0.1)])
def test_derivatives_of_losses_of_classes(weighted, smoothing, reduction):
    z, weight = np.array([[0.0, 1.0, -0.5], [2.0, 2.0, 0.3]]), [0.5, 2.0, 1.0]
    hard = {"reduction": reduction, "weight": weight if weighted else None}
    soft = {"reduction": reduction, "weight": weight[:2] if weighted else None, "label_smoothing": smoothing}
    mg.check_grads(lambda z: losses.cross_entropy(z, [2, 0], label_smoothing=smoothing, **hard), (z,))
    mg.check_grads(lambda z, t: losses.cross_entropy(z, t, **soft), (z[:, :2], np.array([[0.2, 0.3], [0.0, 0.7]])))
    mg.check_grads(lambda z: losses.nll_loss(z, [2, 0], **hard), (z,))


# ---- precision


def test_small_losses_to_their_last_digits():
    """Where the prediction is nearly certain, and right, the loss is far smaller than the logit."""
    with mpmath.workdps(60):
        for x in (0.0, 1e-20, 0.3, 1.0, 20.0, 40.0, 300.0, 700.0):
            for t in (0.0, 1.0, 0.5, 1e-3, 1.0 - 2.0**-40, 0.3):
                for side in (x, -x):
                    exact, p = mpmath.mpf(side), mpmath.mpf(t)
                    likely = 1 / (1 + mpmath.exp(-exact))
                    want = -p * mpmath.log(likely) - (1 - p) * mpmath.log(1 / (1 + mpmath.exp(exact)))
                    slope = likely - p if t != 1.0 else -1 / (1 + mpmath.exp(exact))
                    z = leaf([side])
                    loss = BCE(z, [t])
                    loss.backward()
                    assert loss.item() == pytest.approx(float(want), rel=8 * EPS)
                    assert z.grad[0] == pytest.approx(float(slope), rel=8 * EPS, abs=EPS if 0.0 < t < 1.0 else 0.0)
                    assert BCE(Value(side), t).data == pytest.approx(float(want), rel=8 * EPS)


@pytest.mark.parametrize("name", ALL)
def test_single_precision_remains(name):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    t = good_target(name, (4, 3))
    more = [{}]
    more += [{"weight": [1.0, 2.0, 3.0]}] if "weight" in inspect.signature(ALL[name]).parameters else []
    more += [{"pos_weight": 2.0}, {"pos_weight": [1.0, 2.0, 3.0]}] if ALL[name] is BCE else []
    more += [{"label_smoothing": 0.1}] if name == "cross_entropy" else []
    for reduction in REDUCTIONS:
        for options in more:
            z = leaf(x, np.float32)
            loss = ALL[name](z, t, reduction, **options)
            loss.sum().backward()
            assert (loss.dtype, z.grad.dtype) == (np.float32, np.float32)
            assert ALL[name](x, t, reduction, **options).dtype == np.float32
            exact = ALL[name](x.astype(float), t, reduction, **options)
            np.testing.assert_allclose(loss.data, exact, rtol=1e-4, atol=1e-6)


# ---- what they take


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values_lists_of_values_arrays_and_tensors(name):
    f, x, t = ELEMENTWISE[name], np.array([[0.5, -1.5], [2.0, 0.1]]), good_target(name, (2, 2))
    for reduction in REDUCTIONS:
        want = f(x, t, reduction)
        z = leaf(x)
        loss = f(z, Tensor(t), reduction)
        loss.sum().backward()
        np.testing.assert_array_equal(loss.data, want)
        np.testing.assert_array_equal(f(x.tolist(), t.tolist(), reduction), want)
        np.testing.assert_array_equal(f(x, Tensor(t), reduction).data, want)
        values = [[Value(y) for y in row] for row in x.tolist()]
        loss = f(values, t, reduction)
        loss.sum().backward()
        np.testing.assert_array_equal(loss.data, want)
        np.testing.assert_array_equal([[y.grad for y in row] for row in values], z.grad)
        one, single = leaf(x[0, 0]), Value(x[0, 0])
        for found in (f(one, t[0, 0], reduction), f(single, float(t[0, 0]), reduction), f(single, Value(t[0, 0]))):
            found.backward()
            assert found.item() == pytest.approx(f(x[0, 0], t[0, 0]), rel=4 * EPS)
        assert type(f(single, np.asarray(t[0, 0]))) is Value
        assert single.grad == pytest.approx(2.0 * float(one.grad), rel=4 * EPS)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_a_number_as_the_target_of_one_prediction(name, shape):
    x = leaf(np.full(shape, 0.5))
    for target in (1, 1.0, np.float64(1.0), Value(1.0), Tensor(1.0)):
        loss = ELEMENTWISE[name](x, target, "none")
        assert loss.shape == shape
        assert loss.item() == ELEMENTWISE[name](0.5, 1.0)


@pytest.mark.parametrize("targets", [[True, False], [1, 0], np.uint8([1, 0]), Tensor([1, 0])], ids=repr)
def test_classes_as_probabilities(targets):
    np.testing.assert_array_equal(BCE([0.5, 2.0], targets, "none"), BCE([0.5, 2.0], [1.0, 0.0], "none"))


def test_weights_in_tensors():
    x, weight = np.array([[0.5, -1.0], [2.0, 0.0]]), Tensor([1.0, 3.0])
    for f, target in ((losses.cross_entropy, [0, 1]), (losses.nll_loss, [0, 1]), (BCE, [[0.0, 1.0], [1.0, 0.0]])):
        assert f(x, target, weight=weight) == f(x, target, weight=[1.0, 3.0]) != f(x, target)
    assert BCE(Value(0.5), 1.0, weight=2.0, pos_weight=3.0).data == pytest.approx(6.0 * BCE(0.5, 1.0), rel=4 * EPS)


def test_the_target_array_is_not_kept():
    y = np.array([1.0, 2.0])
    loss = losses.mse_loss(leaf([0.0, 0.0]), y)
    y[:] = 9.0
    assert mg.adjoints(loss)  # nothing that it looks at has changed
    targets = [node for node in topological_order(loss) if node.prim is None and not node.needs]
    assert [x.tolist() for x in targets] == [[1.0, 2.0]]


# ---- how many nodes, in order

NODES = {
    "mse_loss": ["−", "**", "mean"],
    "l1_loss": ["−", "abs", "mean"],
    "huber_loss": ["−", "clip", "×", "−", "×", "mean"],
    "smooth_l1_loss": ["−", "clip", "×", "−", "×", "mean"],
    "soft_margin_loss": ["×", "neg", "softplus", "mean"],
    "hinge_loss": ["×", "−", "relu", "mean"],
    "exponential_loss": ["×", "neg", "exp", "mean"],
    "sigmoid_loss": ["×", "neg", "sigmoid", "mean"],
    "binary_cross_entropy_with_logits": ["×", "softplus", "×", "+", "mean"],
    "nll_loss": ["nll"],
}


@pytest.mark.parametrize("name", NODES)
def test_each_step_is_a_node(name):
    def ops(loss):
        return [node.op for node in topological_order(loss) if node.prim is not None]

    x, t = np.ones((2, 3)), good_target(name, (2, 3))
    assert ops(ALL[name](leaf(x), t)) == NODES[name]
    if name in OF_NUMBERS:
        z = leaf(x)
        error = next(node for node in topological_order(ALL[name](z, t)) if node.prim is not None)
        assert error.operands[0] is z  # input - target
    if name in ELEMENTWISE:
        assert ops(ALL[name](Value(0.5), float(t[0, 0]))) == NODES[name][:-1]
        assert ops(ALL[name](leaf(x), t, "none")) == NODES[name][:-1]


# ---- what is refused

ONE, TWO, FLAT = np.zeros((4, 1)), np.zeros((4, 2)), np.ones(4)
NAMED = Tensor(ONE, name="out")


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nothing_is_broadcast(name, reduction):
    cases = [
        (NAMED, FLAT, "of out, of shape (4, 1)", "a target of shape (4,)", "np.reshape(target, (4, 1))"),
        (FLAT, np.ones((4, 1)), "shape (4,)", "shape (4, 1)", "np.reshape(target, (4,))"),
        (NAMED, Tensor(FLAT), "shape (4, 1)", "shape (4,)", "np.reshape(target, (4, 1))"),
        (TWO, FLAT, "shape (4, 2)", "shape (4,)", "a target for each number"),
        (TWO, np.ones((4, 1)), "shape (4, 2)", "shape (4, 1)", "a target for each number"),
        (TWO, 1.0, "shape (4, 2)", "shape ()", "a target for each number"),
        (TWO, Value(1.0), "shape (4, 2)", "shape ()", "a target for each number"),
        (np.zeros(0), 1.0, "shape (0,)", "shape ()", "a target for each number"),
        (Value(1.0), [1.0], "shape ()", "shape (1,)", "np.reshape(target, ())"),
        ([Value(1.0), Value(2.0)], [[1.0, 1.0]], "shape (2,)", "shape (1, 2)", "np.reshape(target, (2,))"),
    ]
    for x, t, *parts in cases:
        with pytest.raises(ShapeError) as caught:
            ELEMENTWISE[name](x, t, reduction)
        assert all(part in str(caught.value) for part in (name, *parts)), caught.value
    assert ELEMENTWISE[name](NAMED, np.reshape(FLAT, (4, 1)), reduction).shape == (
        (4, 1) if reduction == "none" else ()
    )


@pytest.mark.parametrize("name", ALL)
def test_an_empty_batch(name):
    for empty in (np.zeros((0, 3)), leaf(np.zeros((0, 3))), np.zeros((2, 0, 3)), np.zeros(0)):
        shape = empty.shape
        if shape == (0,) and name in OF_CLASSES:
            continue  # no classes
        t = np.zeros(shape[:-1], int) if name in OF_CLASSES else np.ones(shape)
        with pytest.raises(ShapeError, match=rf"{name}.* the mean over an empty batch.*reduction=.sum."):
            ALL[name](empty, t)
        assert ALL[name](empty, t, "sum").item() == 0.0
        assert ALL[name](empty, t, "none").shape == t.shape
    if name in OF_CLASSES:
        assert ALL[name](np.zeros((0, 3)), [], "sum") == 0.0
        with pytest.raises(ShapeError, match=r"the mean over an empty batch"):
            ALL[name](np.zeros((0, 3)), [])
    else:
        with pytest.raises(ShapeError, match=r"the mean over an empty batch"):
            ALL[name]([], [])


@pytest.mark.parametrize("bad", ["avg", "means", "Sum", "NONE", "", None, 0, ["mean"], np.ones(3), b"mean"], ids=repr)
def test_unknown_reductions(bad):
    near = {"means": "mean", "Sum": "sum", "NONE": "none"}.get(bad if isinstance(bad, str) else None)
    for name, f in ALL.items():
        with pytest.raises(InputError, match='"mean", "sum" or "none", not ') as caught:
            f(np.ones((2, 3)), good_target(name, (2, 3)), bad)
        said = str(caught.value)
        assert type(bad).__name__ in said
        assert (f"did you mean {near!r}?" in said) if near else ("did you mean" not in said)
        with pytest.raises(InputError, match='"mean", "sum" or "none", not '):
            MODULES[name](reduction=bad)


def unfit():
    for name, f in OF_MARGINS.items():
        for t in ([0.0, 1.0], [1.0, 0.5], [1.0, math.nan], [2.0, 1.0], [1.0, -math.inf], Tensor([0.0, 1.0]), [0, 1]):
            yield f"{name} {t}", f, [[1.0, 2.0], t], [name, "2 * y - 1"]
        yield f"{name} of a Value", f, [Value(1.0), 0.0], [name, "target 0", "2 * y - 1"]
    for t in ([-1.0, 1.0], [0.5, 1.5], [math.nan, 0.0], Tensor([-0.1, 1.0])):
        yield f"BCE {t}", BCE, [[1.0, 2.0], t], ["binary_cross_entropy_with_logits", "from 0 to 1", "(y + 1) / 2"]
    for name, f in OF_NUMBERS.items():
        yield f"{name} nan", f, [[1.0, 2.0], [0.0, math.nan]], [name, "the target nan", "leave"]
        yield f"{name} nan in a node", f, [leaf([1.0, 2.0]), leaf([0.0, math.nan])], [name, "the target nan"]
        yield f"{name} nan alone", f, [Value(1.0), math.nan], [name, "the target nan"]
        yield f"{name} of text", f, [[1.0, 2.0], ["a", "b"]], [f"the target of {name}", "<U1"]
        yield f"{name} of complex numbers", f, [[1j, 2j], [1.0, 2.0]], [name, "real"]
    z = np.zeros((2, 3))
    yield "huber", losses.huber_loss, [1.0, 2.0, "mean", 0.0], ["delta of huber_loss", "above 0"]
    yield "huber text", losses.huber_loss, [1.0, 2.0, "mean", "a"], ["delta of huber_loss", "'a'"]
    yield "huber nan", losses.huber_loss, [1.0, 2.0, "mean", math.nan], ["delta of huber_loss"]
    yield "smooth_l1", losses.smooth_l1_loss, [1.0, 2.0, "mean", -1.0], ["beta of smooth_l1_loss", "at least 0"]
    yield "HuberLoss", losses.HuberLoss, ["mean", 0.0], ["delta of HuberLoss", "above 0"]
    yield "SmoothL1Loss", losses.SmoothL1Loss, ["mean", -1.0], ["beta of SmoothL1Loss", "at least 0"]
    yield "CrossEntropyLoss", losses.CrossEntropyLoss, [None, "mean", 2.0], ["label_smoothing", "at most 1"]
    yield "weight text", losses.CrossEntropyLoss, ["heavy"], ["weight of CrossEntropyLoss", "heavy"]
    yield "pos_weight text", losses.BCEWithLogitsLoss, [None, "mean", "a"], ["pos_weight of BCEWithLogitsLoss"]
    yield "soft nan", losses.cross_entropy, [z, z + math.nan], ["cross_entropy", "the target nan"]
    for name, f in OF_CLASSES.items():
        yield f"{name} 3", f, [z, [0, 3]], ["label 3", "0 to 2"]
        yield f"{name} -1", f, [z, [-1, 0]], ["label -1", "0 to 2"]
        yield f"{name} floats", f, [z, [0.0, 1.0]], [name, "float64", "np.asarray(targets, int)"]
        yield f"{name} bools", f, [z, [True, False]], [name, "bool", "integers"]
        yield f"{name} nan", f, [z, [0.0, math.nan]], [name, "float64", "integers"]
        yield f"{name} node", f, [z, Tensor([0.0, 1.0])], [name, "np.asarray(targets.data, int)"]
        yield f"{name} one node", f, [z[0], Value(1.0)], [name, "np.asarray(targets.data, int)"]
        yield f"{name} text", f, [z, ["a", "b"]], [f"targets of {name}", "<U1"]


@pytest.mark.parametrize(("call", "args", "parts"), [pytest.param(*rest, id=name) for name, *rest in unfit()])
def test_what_is_refused(call, args, parts):
    with pytest.raises(InputError) as caught:
        call(*args)
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: losses.cross_entropy(np.zeros((2, 3)), [0, 1, 2]), ["(2, 3)", "(3,)", "(2,)"]),
        (lambda: losses.cross_entropy(np.zeros((2, 3)), np.zeros((3, 2))), ["(2, 3)", "(3, 2)"]),
        (lambda: losses.cross_entropy(np.zeros((2, 3)), [[0], [1]]), ["(2, 1)", "(2,)"]),
        (lambda: losses.cross_entropy(np.zeros((2, 0)), [0, 1]), ["(2, 0)", "one for each class"]),
        (lambda: losses.cross_entropy(Value(1.0), 0), ["()", "one for each class"]),
        (lambda: losses.cross_entropy([[1.0, 2.0], [1.0]], [0, 1]), ["cross_entropy", "different lengths"]),
        (lambda: losses.cross_entropy(np.zeros((2, 3)), [[1.0], [1.0, 2.0]]), ["different lengths"]),
        (lambda: losses.nll_loss(np.zeros((2, 3)), np.zeros((2, 3))), ["nll_loss", "(2, 3)", "cross_entropy takes"]),
        (lambda: losses.nll_loss(np.zeros((2, 3)), Tensor(np.eye(3))), ["nll_loss", "(3, 3)", "(2,)"]),
        (lambda: losses.cross_entropy(np.zeros((2, 3)), [0, 1], weight=[1.0, 2.0]), ["weight", "(2,)", "3 classes"]),
        (lambda: losses.nll_loss(np.zeros((2, 3)), [0, 1], weight=2.0), ["weight of nll_loss", "()", "3 classes"]),
        (lambda: BCE(TWO, TWO, weight=[1.0, 2.0, 3.0]), ["the weight of", "(3,)", "(4, 2)"]),
        (lambda: BCE(TWO, TWO, pos_weight=np.ones((1, 4, 2))), ["pos_weight of", "(1, 4, 2)", "(4, 2)"]),
        (lambda: BCE(Value(1.0), 1.0, weight=[1.0]), ["the weight of", "(1,)", "()"]),
        (lambda: BCE(TWO, TWO, weight=np.ones((1,) * 40)), ["does not broadcast"]),
    ],
)
def test_shapes_that_do_not_fit(call, parts):
    with pytest.raises(ShapeError) as caught:
        call()
    assert all(part in str(caught.value) for part in parts), caught.value


def test_a_mean_with_no_weight():
    for f in OF_CLASSES.values():
        with pytest.raises(InputError, match="weights that are 0 for all labels"):
            f(np.zeros((2, 3)), [0, 0], weight=[0.0, 1.0, 1.0])
        assert f(np.zeros((2, 3)), [0, 0], "sum", weight=[0.0, 1.0, 1.0]) == 0.0


def test_a_weight_that_needs_a_gradient_gets_none():
    for f, target in ((losses.cross_entropy, [0, 1]), (losses.nll_loss, [0, 1]), (BCE, np.ones((2, 3)))):
        with pytest.raises(MicrogadError, match=r"the weight of .* would cut the graph"):
            f(np.zeros((2, 3)), target, weight=leaf([1.0, 2.0, 3.0]))


# ---- modules and names


@pytest.mark.parametrize("name", ALL)
def test_modules_are_the_functions(name):
    x, t = np.random.default_rng(9).normal(size=(2, 3)), good_target(name, (2, 3))
    options = [{"reduction": reduction} for reduction in REDUCTIONS]
    options += [{"delta": 0.3}] if name == "huber_loss" else []
    options += [{"beta": 0.3}] if name == "smooth_l1_loss" else []
    options += [{"label_smoothing": 0.3}] if name == "cross_entropy" else []
    options += [{"pos_weight": [1.0, 2.0, 3.0]}] if ALL[name] is BCE else []
    options += [{"weight": [1.0, 2.0, 3.0]}] if "weight" in inspect.signature(ALL[name]).parameters else []
    defaults = MODULES[name]()
    assert (defaults.reduction, repr(defaults)) == ("mean", f"{MODULES[name].__name__}()")
    for given_ in options:
        module = MODULES[name](**given_)
        assert isinstance(module, nn.Module)
        assert list(module.parameters()) == []
        for key, x_ in given_.items():
            np.testing.assert_array_equal(getattr(module, key), x_)
        z = leaf(x)
        np.testing.assert_array_equal(module(z, t).data, ALL[name](z, t, **given_).data)
        if given_ != {"reduction": "mean"}:
            assert np.any(module(x, t) != ALL[name](x, t))


def test_settings_by_place():
    assert losses.HuberLoss("sum", 2.0).delta == 2.0
    assert losses.SmoothL1Loss("sum", 2.0).beta == 2.0
    assert losses.huber_loss(3.0, 0.0, "sum", 2.0) == 4.0
    assert losses.smooth_l1_loss(3.0, 0.0, "sum", 2.0) == 2.0
    module = losses.CrossEntropyLoss([1.0, 2.0], "sum", 0.5)
    assert (module.weight.tolist(), module.reduction, module.label_smoothing) == ([1.0, 2.0], "sum", 0.5)


def test_a_changed_setting_is_used():
    module = losses.MSELoss()
    module.reduction = "sum"
    assert module([1.0, 2.0], [0.0, 0.0]) == 5.0


def test_weights_are_saved():
    weights = {"weight": [1.0, 2.0], "pos_weight": [3.0, 4.0]}
    for module in (
        losses.BCEWithLogitsLoss(**weights),
        losses.CrossEntropyLoss([1.0, 2.0]),
        losses.NLLLoss([1.0, 2.0]),
    ):
        state = module.state_dict()
        names = list(weights) if isinstance(module, losses.BCEWithLogitsLoss) else ["weight"]
        assert {name: x.tolist() for name, x in state.items()} == {name: weights[name] for name in names}
        other = type(module)(**{name: [0.5, 0.5] for name in names})
        other.load_state_dict(state)
        assert other.weight.tolist() == [1.0, 2.0]
        assert list(type(module)().state_dict()) == []


def test_losses_by_name():
    short = "mse l1 huber smooth_l1 bce_with_logits cross_entropy nll soft_margin hinge exponential sigmoid_margin"
    assert set(LOSSES) == {*short.split(), *ALL}
    assert {LOSSES[name] for name in short.split()} == set(ALL.values())
    for name, f in ALL.items():
        assert choose(name, LOSSES, "loss") is f
        assert f.__name__ == name
        assert getattr(functional, name) is f
        assert MODULES[name].__name__ in losses.__all__
        assert name in losses.__all__
    for short_name in ("mse", "l1", "huber", "smooth_l1", "nll", "soft_margin", "hinge", "exponential"):
        assert LOSSES[short_name] is LOSSES[f"{short_name}_loss"]
    assert LOSSES["sigmoid_margin"] is losses.sigmoid_loss
    with pytest.raises(InputError, match="no loss 'crossentropy': did you mean 'cross_entropy'"):
        choose("crossentropy", LOSSES, "loss")


def test_public_names_have_examples():
    assert len(losses.__all__) == len(set(losses.__all__)) == 22
    assert all(">>>" in getattr(losses, name).__doc__ for name in losses.__all__)


# ---- properties

finite = st.floats(-50.0, 50.0)


@pytest.mark.parametrize("name", ALL)
@few
@given(st.data())
def test_reductions_agree(name, data):
    shape = data.draw(st.sampled_from([(1, 2), (3, 2), (2, 1, 4), (5, 1)]))
    x = data.draw(arrays(float, shape, elements=finite))
    t = good_target(name, shape, data.draw(st.integers(0, 99)))
    mean, total, each = (ALL[name](x, t, reduction) for reduction in ("mean", "sum", "none"))
    assert each.shape == np.shape(t)
    assert total == pytest.approx(each.sum(), rel=1e-13, abs=1e-13)
    assert mean == pytest.approx(total / each.size, rel=1e-13, abs=1e-13)
    assert ALL[name](x.tolist(), t) == mean


@few
@given(arrays(float, (3, 4), elements=finite), st.floats(-1e3, 1e3), st.booleans())
def test_cross_entropy_does_not_change_with_a_shift(z, shift, soft):
    t = np.full((3, 4), 0.25) if soft else np.array([0, 3, 1])
    moved, stays = leaf(z + shift), leaf(z)
    there, here = losses.cross_entropy(moved, t), losses.cross_entropy(stays, t)
    there.backward()
    here.backward()
    assert there.item() == pytest.approx(here.item(), abs=1e-11)
    np.testing.assert_allclose(moved.grad, stays.grad, rtol=0.0, atol=1e-11)
    np.testing.assert_allclose(stays.grad.sum(-1), 0.0, atol=1e-15)
    assert here.item() >= 0.0


@few
@given(arrays(float, (3, 4), elements=finite))
def test_two_ways_to_the_same_loss(z):
    t = np.array([0, 3, 1])
    want = losses.cross_entropy(z, t, "none")
    np.testing.assert_allclose(losses.nll_loss(mg.log_softmax(z), t, "none"), want, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(losses.cross_entropy(z, np.eye(4)[t], "none"), want, rtol=1e-14, atol=1e-14)
    y = np.array([1.0, 0.0, 1.0])
    as_margin = losses.soft_margin_loss(z[:, 0], 2.0 * y - 1.0, "none")
    np.testing.assert_allclose(BCE(z[:, 0], y, "none"), as_margin, rtol=1e-15)
    pair = np.stack([np.zeros(3), z[:, 0]], -1)
    np.testing.assert_allclose(losses.cross_entropy(pair, y.astype(int), "none"), as_margin, rtol=1e-12, atol=1e-14)


@few
@given(arrays(float, 4, elements=finite), arrays(float, 4, elements=finite), st.floats(0.01, 10.0))
def test_the_straight_ends_of_the_squared_error(x, t, bend):
    d = np.abs(x - t)
    want = np.where(d <= bend, 0.5 * d * d, bend * (d - 0.5 * bend))
    huber = losses.huber_loss(x, t, "none", bend)
    np.testing.assert_allclose(huber, want, rtol=1e-13, atol=1e-300)
    np.testing.assert_allclose(losses.smooth_l1_loss(x, t, "none", bend) * bend, want, rtol=1e-13, atol=1e-300)
    assert (huber <= 0.5 * losses.mse_loss(x, t, "none") * (1 + 1e-13)).all()
    assert (huber <= bend * losses.l1_loss(x, t, "none") * (1 + 1e-13)).all()


# ---- anything at all, in place of an argument


class Strange:
    def __repr__(self):
        raise ValueError("no text")


STRANGE = {
    "text": "abc",
    "bytes": b"abc",
    "None": None,
    "dict": {"a": 1},
    "set": {1, 2},
    "complex": np.complex128(1j),
    "object": Strange(),
    "objects": np.array([Strange(), 1.0], object),
    "ragged": [[1.0], [1.0, 2.0]],
    "huge": 10**400,
    "big labels": np.array([2**63, 0], np.uint64),
    "masked": np.ma.array([1.0, 2.0], mask=[True, False]),
    "dates": np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"),
    "delta": np.timedelta64(3, "s"),
    "Values": [Value(1.0), Value(2.0)],
    "ragged Values": [[Value(1.0)], [Value(1.0), Value(2.0)]],
    "Value and text": [Value(1.0), "a"],
    "tensors": [leaf([1.0, 2.0]), leaf([1.0])],
    "tensor": leaf(np.ones((3, 2, 4))),
    "function": len,
    "empty": [],
    "axes": np.ones((1,) * 40),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("said", STRANGE)
def test_every_error_is_ours(name, said):
    bad, t = STRANGE[said], good_target(name, (2, 3))
    options = set(inspect.signature(ALL[name]).parameters) - {"input", "target", "reduction"}
    calls = [lambda: ALL[name](bad, t), lambda: ALL[name](Value(1.0), bad), lambda: ALL[name](bad, bad)]
    for x in (np.ones((2, 3)), leaf(np.ones((2, 3)))):
        calls += [lambda x=x: ALL[name](x, bad), lambda x=x: ALL[name](x, t, bad)]
    if said != "complex":
        calls += [lambda key=key: ALL[name](np.ones((2, 3)), t, **{key: bad}) for key in options]
    for call in calls:
        with contextlib.suppress(MicrogadError):
            call()

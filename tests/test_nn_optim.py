"""Optimizers: PyTorch's trajectories, the lectures' numbers, saved states, and what is refused."""

import copy
import inspect
import math
import pickle
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.errors import DomainError, InputError, MicrogadError, ShapeError, StateDictError
from microgad.nn import clip_grad_norm_, clip_grad_value_, lr_scheduler, optim, parameters_to_vector
from microgad.nn import vector_to_parameters as set_parameters

EXACT = 1e-10  # how far 200 steps may be from PyTorch's


@pytest.fixture
def torch():
    """PyTorch with float64, in which it then keeps the numbers of an optimizer as well."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def leaf(x, dtype=float):
    return Tensor(np.array(x, dtype), requires_grad=True)


def number(p):
    """What a parameter holds, of whichever kind."""
    return np.array(p.data if isinstance(p, (Value, Tensor)) else p.detach().numpy())


def numbers(params):
    return np.concatenate([np.ravel(number(p)) for p in params])


def apart(ours, theirs):
    """The largest difference between two lists of parameters."""
    return np.abs(numbers(ours) - numbers(theirs)).max()


# ---- 200 steps on a small network, with every option

# Each option stands here at least once with what is not its default. None of them swings about a minimum: there a last
# digit grows to all of them within 200 steps, and PyTorch's own two ways to compute a step part.
CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "dampening": -0.3, "weight_decay": 0.01, "maximize": True}),
    ("SGD", {"lr": 0.03, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.03, "momentum": 0.7, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.2, "initial_accumulator_value": 0.5, "weight_decay": 0.02, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.005, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.05}),
    ("RMSprop", {"lr": 0.003, "momentum": 0.8, "maximize": True}),
    ("RMSprop", {"lr": 0.005, "centered": True, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.002, "centered": True, "momentum": 0.5, "weight_decay": 0.01, "alpha": 0.95, "eps": 1e-2}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.97, "eps": 1e-4, "weight_decay": 0.05}),
    ("Adadelta", {"lr": 2.0, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.03, "betas": (0.8, 0.99), "eps": 1e-3}),
    ("Adam", {"lr": 0.02, "betas": (0.0, 0.99), "eps": 0.03, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01, "betas": (0.9, 0.0), "eps": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.03, "amsgrad": True, "betas": (0.9, 0.9)}),
    ("Adam", {"lr": 0.03, "amsgrad": True, "weight_decay": 0.05, "maximize": True}),
    ("Adam", {"lr": 0.03, "weight_decay": 0.2, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.03}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.3, "betas": (0.85, 0.95), "eps": 1e-5}),
    ("AdamW", {"lr": 0.02, "amsgrad": True, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-3, "momentum_decay": 0.1}),
    ("NAdam", {"lr": 0.02, "momentum_decay": 0.0, "weight_decay": 0.05, "maximize": True}),
    ("NAdam", {"lr": 0.02, "weight_decay": 0.2, "decoupled_weight_decay": True}),
]
IDS = [f"{name} {' '.join(f'{k}={x}' for k, x in options.items())}".strip() for name, options in CASES]
# One of each, with all that it remembers.
RICH = {
    "SGD": {"lr": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.02},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.02, "initial_accumulator_value": 0.2},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "centered": True, "eps": 1e-2},
    "Adadelta": {"lr": 1.0, "eps": 1e-3},
    "Adam": {"lr": 0.02, "amsgrad": True, "betas": (0.9, 0.95)},
    "AdamW": {"lr": 0.02, "weight_decay": 0.1},
    "NAdam": {"lr": 0.02, "momentum_decay": 0.02},
}
# PyTorch's Adagrad ignores a group's own initial_accumulator_value, and its other numbers begin with the constructor's.
ALL = pytest.mark.parametrize("name", RICH)

rng = np.random.default_rng(5)
X, Y = rng.normal(size=(6, 3)), rng.normal(size=(6, 1))
START = [rng.normal(size=shape) for shape in [(3, 4), (4,), (4, 1), ()]]


def network(params, tanh, sign=1.0, x=X, y=Y):
    w1, b1, w2, b2 = params
    return sign * ((tanh(x @ w1 + b1) @ w2 + b2 - y) ** 2).mean()


def moved(optimizer, params, loss, steps):
    """The parameters after each step."""
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss(params).backward()
        optimizer.step()
        found.append(numbers(params))
    return np.array(found)


def test_the_table_has_every_option():
    for name in RICH:
        known = inspect.signature(getattr(optim, name)).parameters
        shown = {
            k for at, options in CASES if at == name for k, x in options.items() if x != known[k].default
        }  # what is not the default
        assert shown == set(known) - {"params", "form"}
        assert set(RICH[name]) <= set(known)


@ALL
def test_signatures(torch, name):
    ours = inspect.signature(getattr(optim, name)).parameters
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    for k, x in ours.items():
        assert k == "form" or x.default == theirs[k].default, k
    plain = [k for k, x in ours.items() if x.kind is x.POSITIONAL_OR_KEYWORD]
    assert plain == list(theirs)[: len(plain)]


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_trajectories(torch, name, options):
    sign = -1.0 if options.get("maximize") else 1.0
    ours = [leaf(x) for x in START]
    got = moved(getattr(optim, name)(ours, **options), ours, lambda p: network(p, mg.tanh, sign), 200)
    theirs = [torch.nn.Parameter(torch.tensor(x)) for x in START]
    x, y = torch.tensor(X), torch.tensor(Y)
    want = moved(
        getattr(torch.optim, name)(theirs, **options), theirs, lambda p: network(p, torch.tanh, sign, x, y), 200
    )
    assert np.abs(got - want).max() <= EXACT
    assert np.abs(got[-1] - got[0]).max() > 0.01


@ALL
def test_float32(torch, name):
    single = [x.astype(np.float32) for x in (*START, X, Y)]
    ours, x, y = [leaf(x, np.float32) for x in single[:4]], *single[4:]
    optimizer = getattr(optim, name)(ours, **RICH[name])
    got = moved(optimizer, ours, lambda p: network(p, mg.tanh, 1.0, x, y), 50)
    theirs, x, y = [torch.nn.Parameter(torch.tensor(x)) for x in single[:4]], *map(torch.tensor, single[4:])
    want = moved(
        getattr(torch.optim, name)(theirs, **RICH[name]), theirs, lambda p: network(p, torch.tanh, 1.0, x, y), 50
    )
    assert np.abs(got - want).max() < 1e-4
    kept = {x.dtype for entry in optimizer.state_dict()["state"].values() for x in entry.values() if np.ndim(x)}
    assert {p.dtype for p in ours} | kept == {np.dtype(np.float32)}


def bumps(params):
    """A smooth function of three numbers that is not convex."""
    a, b, c = params
    return mg.sin(a * 2.0) + mg.cos(b - a * c) + mg.tanh(b * c) + (a * a + b * b + c * c) * 0.1


def run_of(optimizer, params, f, steps=200):
    if isinstance(optimizer, optim.NAG):
        return np.array([_ahead(optimizer, params, f) for _ in range(steps)])
    return moved(optimizer, params, f, steps)


def _ahead(optimizer, params, f):
    optimizer.look_ahead()
    optimizer.zero_grad()
    f(params).backward()
    optimizer.step()
    return numbers(params)


LECTURE = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "form": "lecture"}),
    ("NAG", {"lr": 0.05}),
    ("NAG", {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.1, "form": "lecture"}),
    ("Adadelta", {"form": "lecture"}),
    ("NAdam", {"form": "lecture"}),
]


@pytest.mark.parametrize(("name", "options"), [*CASES, *LECTURE])
def test_values_move_as_tensors_do(name, options):
    f = (lambda p: -bumps(p)) if options.get("maximize") else bumps
    begin, runs = [0.7, -0.4, 1.3], []
    for kind in (Value, leaf):
        params = [kind(x) for x in begin]
        runs.append(run_of(getattr(optim, name)(params, **options), params, f))
    together = leaf(begin)
    runs.append(run_of(getattr(optim, name)([together], **options), [together], lambda p: f(p[0].unbind())))
    assert np.abs(runs[0] - runs[1]).max() <= 1e-12
    assert np.abs(runs[0] - runs[2]).max() <= 1e-12
    assert np.abs(runs[0][-1] - runs[0][0]).max() > 1e-3 * (name != "Adadelta")


def test_a_scalar_network_moves_as_its_twin_does():
    mg.manual_seed(3)
    scalar = nn.scalar.MLP(3, [4, 1], activation="tanh")
    twin = scalar.to_module()
    a, b = optim.Adam(scalar.parameters(), lr=0.05), optim.Adam(twin.parameters(), lr=0.05)
    for _ in range(30):
        a.zero_grad()
        b.zero_grad()
        sum((scalar(x) - y) ** 2 for x, y in zip(X.tolist(), Y[:, 0].tolist(), strict=True)).backward()
        ((twin(X) - Y) ** 2).sum().backward()
        a.step()
        b.step()
    again = scalar.to_module()
    assert apart(again.parameters(), twin.parameters()) < 1e-12


# ---- the lectures

HALF_SQUARE = [  # w = 1 at first, the loss w * w / 2, the first five steps as the lectures' authors would print them
    ("SGD", {}, [0.9, 0.81, 0.729, 0.6561, 0.59049]),
    ("SGD", {"momentum": 0.9, "form": "lecture"}, [0.99, 0.9711, 0.944379, 0.91088631, 0.8716340259]),
    ("SGD", {"momentum": 0.9}, [0.9, 0.72, 0.486, 0.2268, -0.02916]),
    ("NAG", {"form": "lecture"}, [0.99, 0.97119, 0.94471839, 0.9116850016, 0.8731354025]),
    ("SGD", {"momentum": 0.9, "nesterov": True}, [0.81, 0.5751, 0.327321, 0.09388791, -0.1045816839]),
    ("RMSprop", {"alpha": 0.9}, [0.683772244, 0.4988706201, 0.3691805674, 0.2728248989, 0.1997951669]),
    ("Adadelta", {"lr": 1.0, "form": "lecture"}, [0.9999968377, 0.9999922494, 0.9999869984, 0.999981308, 0.9999752831]),
    ("Adadelta", {"lr": 1.0}, [0.9968377382, 0.9935981984, 0.9903090828, 0.9869840926, 0.9836313873]),
    ("Adam", {}, [0.900000001, 0.8004122297, 0.7015862745, 0.6039390627, 0.5079636619]),
    ("NAdam", {"form": "lecture"}, [0.8100000019, 0.6741299663, 0.5568291466, 0.4502492574, 0.3517758501]),
]


def half_square(params):
    return params[0] * params[0] / 2


@pytest.mark.parametrize("kind", [Value, leaf])
@pytest.mark.parametrize(("name", "options", "printed"), HALF_SQUARE)
def test_numbers_of_the_lectures(name, options, printed, kind):
    w = kind(1.0)
    got = run_of(getattr(optim, name)([w], **{"lr": 0.1, **options}), [w], half_square, 5)
    np.testing.assert_allclose(got[:, 0], printed, rtol=0.0, atol=5.1e-11)  # ten digits


def test_momentum_of_the_lecture_holds_the_last_tenth():
    w = Value(0.0)
    optimizer = optim.SGD([w], lr=1.0, momentum=0.9, form="lecture")
    for _ in range(10):  # 1 / (1 - 0.9)
        w.grad = 1.0
        optimizer.step()
    assert round(float(optimizer.state_dict()["state"][0]["momentum_buffer"]), 4) == 0.6513


def test_adadelta_of_the_lecture_starts_slowly():
    ends = {}
    for form, eps in (("lecture", 1e-6), ("pytorch", 1e-6), ("lecture", 1e-3)):
        w = Value(1.0)
        ends[form, eps] = run_of(optim.Adadelta([w], eps=eps, form=form), [w], half_square, 2000)[:, 0]
    assert round(ends["lecture", 1e-6][-1], 3) == 0.798
    assert abs(ends["pytorch", 1e-6][-1]) < 1e-3
    first = {key: 1.0 - found[0] for key, found in ends.items()}
    assert first["pytorch", 1e-6] == pytest.approx(1000.0 * first["lecture", 1e-6], rel=1e-3)
    assert first["pytorch", 1e-6] == pytest.approx(first["lecture", 1e-3], rel=1e-2)


@pytest.mark.parametrize(("kept", "w"), [(1.0, 0.959), (0.0, 0.999)])
def test_weight_decay_with_dropout(kept, w):  # lecture 002: w * (1 - lr * λ) - lr * ξ / (1 - p) * L'
    p = Value(1.0)
    (p * 0.2 * (kept / (1.0 - 0.5))).backward()
    optim.SGD([p], lr=0.1, weight_decay=0.01).step()
    assert p.data == pytest.approx(w, abs=1e-15)


@pytest.mark.parametrize(("grad", "most", "clipped"), [([3, 4], 1.0, [0.6, 0.8]), ([-30, 40], 5.0, [-3.0, 4.0])])
def test_clipping_of_the_lectures(grad, most, clipped):
    together, single = leaf([0.0, 0.0]), [Value(0.0), leaf([0.0])]
    together.grad = np.array(grad, float)
    single[0].grad, single[1].grad = float(grad[0]), np.array(grad[1:], float)
    for params in ([together], single):
        assert clip_grad_norm_(params, most, eps=0.0) == math.hypot(*grad)
        np.testing.assert_allclose(gradients(params), clipped, rtol=1e-15)


# ---- Nesterov's method

NESTEROV = [{}, {"weight_decay": 0.1}, {"momentum": 0.6, "maximize": True, "weight_decay": 0.05}]


@pytest.mark.parametrize("options", NESTEROV)
def test_points_ahead_are_those_of_pytorch(torch, options):
    sign = -1.0 if options.get("maximize") else 1.0
    options = {"lr": 0.03, "momentum": 0.9, **options}
    ours, ahead = [leaf(x) for x in START], []
    optimizer = optim.NAG(ours, **options)

    def closure():
        ahead.append(numbers(ours))
        optimizer.zero_grad()
        loss = network(ours, mg.tanh, sign)
        loss.backward()
        return loss

    for _ in range(201):
        assert isinstance(optimizer.step(closure), Tensor)
    theirs = [torch.nn.Parameter(torch.tensor(x)) for x in START]
    x, y = torch.tensor(X), torch.tensor(Y)
    want = moved(
        torch.optim.SGD(theirs, nesterov=True, **options), theirs, lambda p: network(p, torch.tanh, sign, x, y), 200
    )
    np.testing.assert_array_equal(ahead[0], np.concatenate([x.ravel() for x in START]))
    assert np.abs(ahead[1:] - want).max() <= EXACT
    assert np.abs(numbers(ours) - ahead[-1]).max() > 1e-5  # it comes back from them


@pytest.mark.parametrize("kind", [Value, leaf])
def test_both_ways_to_look_ahead_agree(kind):
    a, b = [kind(x) for x in (0.7, -0.4, 1.3)], [kind(x) for x in (0.7, -0.4, 1.3)]
    optimizer = optim.NAG(a, lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = bumps(a)
        loss.backward()
        return loss

    steps = []
    for _ in range(50):
        optimizer.step(closure)
        steps.append(numbers(a))
    assert np.array_equal(steps, run_of(optim.NAG(b, lr=0.1), b, bumps, 50))


@pytest.fixture
def nag():
    """Nesterov's method under way, with its parameters."""
    params = [leaf([1.0, -2.0]), Value(0.5)]
    optimizer = optim.NAG([{"params": params[:1]}, {"params": params[1:], "lr": 0.3}], lr=0.1)
    for _ in range(3):
        optimizer.look_ahead()
        params[0].grad, params[1].grad = params[0].data * 1.0, params[1].data
        optimizer.step()
    return optimizer, params


def test_a_closure_that_fails_leaves_the_parameters(nag):
    optimizer, params = nag
    before, state = numbers(params), repr(optimizer.state_dict())

    def closure():
        assert (numbers(params) != before).all()
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            optimizer.step(closure)
        assert np.array_equal(numbers(params), before)
        assert repr(optimizer.state_dict()) == state


def test_nothing_was_looked_ahead(nag):
    optimizer, params = nag
    before = numbers(params)
    with pytest.raises(InputError, match=r"look_ahead\(\) before the loss is computed"):
        optimizer.step()
    optimizer.look_back()
    assert np.array_equal(numbers(params), before)


def test_ahead_and_back(nag):
    optimizer, params = nag
    before = numbers(params)
    optimizer.look_ahead()
    ahead = numbers(params)
    optimizer.look_ahead()  # no further
    assert np.array_equal(numbers(params), ahead)
    assert (ahead != before).all()
    optimizer.look_back()
    assert np.array_equal(numbers(params), before)


def test_what_comes_while_ahead_is_not_lost(nag):
    optimizer, params = nag
    before, new = numbers(params), leaf([5.0])
    optimizer.look_ahead()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.add_param_group({"params": [new]})
    others = copy.deepcopy(optimizer)
    optimizer.look_back()
    assert np.array_equal(numbers(params), before)
    assert new.tolist() == [5.0]
    others.look_back()
    assert np.array_equal(numbers(p for group in others.param_groups[:2] for p in group["params"]), before)


def test_a_wrong_gradient_ahead_moves_nothing(nag):
    optimizer, params = nag
    before = numbers(params)
    optimizer.look_ahead()
    params[0].grad = np.ones(3)
    with pytest.raises(ShapeError):
        optimizer.step()
    assert np.array_equal(numbers(params), before)


# ---- the same parameters here and in PyTorch, with the same gradients

SHAPES = [(3, 2), (4,), (), (1, 5), (2, 1, 2)]
KINDS = ["float64"] * 5


class Twin:
    """Parameters here and in PyTorch, which are given the same gradients."""

    def __init__(self, torch, name, groups, kinds=KINDS, **options):
        self.torch, self.rng = torch, np.random.default_rng(11)
        self.ours, self.theirs = [], []
        for shape, kind in zip(SHAPES, kinds, strict=True):
            x = self.rng.normal(size=shape)
            self.ours.append(Value(float(x)) if kind == "value" else leaf(x, kind))
            self.theirs.append(torch.nn.Parameter(torch.tensor(x.astype("float64" if kind == "value" else kind))))
        self.a, self.b = (
            getattr(module, name)([{**rest, "params": [params[k] for k in at]} for at, rest in groups], **options)
            for module, params in ((optim, self.ours), (torch.optim, self.theirs))
        )
        if name == "Adagrad":  # see above
            for group in self.b.param_groups:
                for p in group["params"]:
                    self.b.state[p]["sum"].fill_(group["initial_accumulator_value"])

    def feed(self, missing=0.0):
        for p, q in zip(self.ours, self.theirs, strict=True):
            # from PyTorch's numbers for both, so that float32 does not lead them apart
            g = np.sin(3.0 * number(q)) + self.rng.normal(size=q.shape)
            if self.rng.random() < missing:
                p.grad = q.grad = None
            else:
                q.grad = self.torch.tensor(g, dtype=q.dtype)
                p.grad = float(g) if isinstance(p, Value) else q.grad.numpy().copy()

    def step(self, missing=0.0, optimizers=None):
        self.feed(missing)
        for optimizer in optimizers or (self.a, self.b):
            optimizer.step()

    def set(self, k, x):
        self.ours[k].data = x
        with self.torch.no_grad():
            self.theirs[k].copy_(self.torch.as_tensor(x))

    def options(self, i, **options):
        for optimizer in (self.a, self.b):
            optimizer.param_groups[i].update(options)

    def check(self, tolerance=EXACT):
        assert apart(self.ours, self.theirs) <= tolerance


OTHER = {
    "SGD": {"lr": 0.3, "momentum": 0.0, "dampening": 0.0, "maximize": True},
    "Adagrad": {"lr": 0.2, "initial_accumulator_value": 0.7},
    "RMSprop": {"lr": 0.02, "momentum": 0.0, "centered": False, "alpha": 0.5},
    "Adadelta": {"rho": 0.5, "weight_decay": 0.1},
    "Adam": {"lr": 0.1, "amsgrad": False, "maximize": True},
    "AdamW": {"lr": 0.1, "betas": (0.5, 0.5), "amsgrad": True},
    "NAdam": {"lr": 0.1, "betas": (0.5, 0.5), "momentum_decay": 0.3, "weight_decay": 0.1},
}


@ALL
def test_groups_with_gradients_now_and_then(torch, name):
    twin = Twin(torch, name, [([3, 0, 2], {}), ([1, 4], OTHER[name])], **RICH[name])
    begin = numbers(twin.ours)
    for i in range(50):
        twin.step(missing=0.4 if i < 40 else 0.0)
        twin.check()
    assert (numbers(twin.ours) != begin).all()


@ALL
def test_frozen_parameters_stay(torch, name):
    twin = Twin(torch, name, [([0, 1, 2, 3, 4], {})], **RICH[name])
    twin.ours[1].requires_grad = twin.theirs[1].requires_grad = False
    begin = number(twin.ours[1])
    for _ in range(20):
        twin.feed()
        twin.ours[1].grad = twin.theirs[1].grad = None
        twin.a.step()
        twin.b.step()
        twin.check()
    assert np.array_equal(number(twin.ours[1]), begin)
    assert 1 not in twin.a.state_dict()["state"]
    twin.ours[1].requires_grad = twin.theirs[1].requires_grad = True
    for _ in range(20):
        twin.step()
        twin.check()


@ALL
def test_frozen_parameters_stay_whatever_gradient_is_left(name):
    p, frozen = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    optimizer = getattr(optim, name)([p, frozen], **{**RICH[name], "weight_decay": 0.5})
    p.grad, frozen.grad = np.ones(2), np.ones(2)
    frozen.requires_grad = False
    for _ in range(3):
        optimizer.step(lambda: None)
        optimizer.zero_grad(set_to_none=False)
    assert frozen.tolist() == [3.0, 4.0]
    assert (p.data != [1.0, 2.0]).all()


def test_what_has_no_gradient_gets_no_zeros(torch):
    twin = Twin(torch, "SGD", [([0, 1], {})], lr=0.1, weight_decay=0.5)
    for ours, theirs in zip(twin.ours, twin.theirs, strict=True):
        ours.grad = theirs.grad = None
    twin.a.zero_grad(set_to_none=False)
    twin.b.zero_grad(set_to_none=False)
    assert [p.grad for p in (*twin.ours, *twin.theirs)] == [None] * len([*twin.ours, *twin.theirs])


@ALL
def test_kinds_together_in_a_group(torch, name):
    kinds = ["float64", "float32", "value", "float64", "float32"]
    twin = Twin(torch, name, [([4, 2, 0, 1, 3], {})], kinds, **RICH[name])
    for _ in range(30):
        twin.step(missing=0.2)
        twin.check(1e-4)
        assert apart(twin.ours[::3], twin.theirs[::3]) <= EXACT
        assert apart(twin.ours[2:3], twin.theirs[2:3]) <= EXACT
    entries = twin.a.state_dict()["state"]
    assert [type(p.data) is float for p in twin.ours] == [kind == "value" for kind in kinds]
    for k, at in enumerate([4, 2, 0, 1, 3]):
        found = {(x.shape, str(x.dtype)) for x in entries[k].values() if isinstance(x, np.ndarray)}
        assert found == {(SHAPES[at], "float32" if kinds[at] == "float32" else "float64")}


@ALL
def test_data_and_options_are_changed_between_steps(torch, name):
    twin = Twin(torch, name, [([0, 1, 2], {}), ([3, 4], {})], **RICH[name])
    for i in range(60):
        if i == 5:
            twin.set(0, np.arange(6.0).reshape(3, 2) / 5)
            twin.set(2, np.array(0.25))
        if i == 10:
            twin.ours[1].data *= 0.5
            twin.ours[3].data[0, 2:] = 1.0
            with torch.no_grad():
                twin.theirs[1] *= 0.5
                twin.theirs[3][0, 2:] = 1.0
        if i == 15:
            twin.options(0, lr=0.001)
            twin.options(1, lr=1, weight_decay=0.2, maximize=True)
        if i == 20:
            twin.ours[0].data, twin.ours[3].data = np.ones((3, 2)), twin.ours[3].data * 2
            with torch.no_grad():
                twin.theirs[0].fill_(1.0)
                twin.theirs[3] *= 2
        if i == 30:
            twin.options(1, maximize=False, lr=np.float64(0.05))
        twin.step(missing=0.2)
        twin.check()


def test_parameters_change_places():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    optimizer = optim.SGD([a, b], lr=1.0)
    for _ in range(2):
        a.data, b.data = b.data, a.data
        a.grad, b.grad = np.array([1.0, 0.0]), np.array([0.0, 1.0])
        optimizer.step()
    assert (a.tolist(), b.tolist()) == ([0.0, 1.0], [2.0, 3.0])


@ALL
def test_a_model_is_loaded_between_steps(torch, name):
    mg.manual_seed(0)
    model, twin = nn.MLP(3, [4, 1]), torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    names = dict(zip(model.state_dict(), twin.state_dict(), strict=True))
    a, b = (
        getattr(optim, name)(model.parameters(), **RICH[name]),
        getattr(torch.optim, name)(twin.parameters(), **RICH[name]),
    )
    best = model.state_dict()
    twin.load_state_dict({names[k]: torch.tensor(x) for k, x in best.items()})
    generator = np.random.default_rng(2)
    for i in range(30):
        if i == 15:
            model.load_state_dict(best)
            twin.load_state_dict({names[k]: torch.tensor(x) for k, x in best.items()})
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            p.grad = generator.normal(size=p.shape)
            q.grad = torch.tensor(p.grad)
        a.step()
        b.step()
        assert apart(model.parameters(), twin.parameters()) <= EXACT


@ALL
def test_two_optimizers_in_turn(torch, name):
    twin = Twin(torch, name, [([0, 1, 2, 3, 4], {})], ["float64", "float64", "value", "float64", "float64"])
    others = [
        module.SGD([params[k] for k in (4, 2, 1)], lr=0.01, momentum=0.9)
        for module, params in ((optim, twin.ours), (torch.optim, twin.theirs))
    ]
    for i in range(40):
        twin.step(missing=0.1, optimizers=others if i % 3 == 1 else None)
        twin.check()


@ALL
def test_a_group_is_added_between_steps(torch, name):
    twin = Twin(torch, name, [([0, 4], {})], **RICH[name])
    for i in range(30):
        if i == 10:
            for optimizer, params in ((twin.a, twin.ours), (twin.b, twin.theirs)):
                optimizer.add_param_group({"params": [params[1], params[3]], **OTHER[name]})
                optimizer.add_param_group({"params": params[2]})
            if name == "Adagrad":
                for p in twin.theirs[1], twin.theirs[3]:
                    twin.b.state[p] = {
                        "step": torch.tensor(0.0),
                        "sum": torch.full_like(p, OTHER[name]["initial_accumulator_value"]),
                    }
        twin.step(missing=0.1)
        twin.check()
    assert len(twin.a.param_groups) == 3


@pytest.mark.parametrize("dampening", [0.0, 0.5])
def test_momentum_comes_and_goes(torch, dampening):
    twin = Twin(torch, "SGD", [([0, 1], {}), ([2, 3, 4], {})], lr=0.05, dampening=dampening)
    for i in range(60):
        if i % 10 == 9:
            twin.options(0, momentum=(i // 10) % 3 * 0.4)
            twin.options(1, momentum=0.9, nesterov=i > 40)
        if i == 25:
            twin.options(1, momentum=0)
        twin.step(missing=0.4)
        twin.check()


def test_nesterov_without_momentum_for_a_while(torch):
    twin = Twin(torch, "SGD", [([0, 1, 2, 3, 4], {})], lr=0.05, momentum=0.9, nesterov=True)
    for momentum in (0.9, 0.0, 0.5):
        twin.options(0, momentum=momentum)
        for _ in range(5):
            twin.step()
            twin.check()


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(("name", "option"), [("RMSprop", "centered"), ("Adam", "amsgrad")])
def test_switches_come_on_later(name, option, steps):
    x = leaf([1.0, 2.0])
    optimizer = getattr(optim, name)([x])
    for _ in range(steps):
        x.grad = x.data * 2.0
        optimizer.step()
        optimizer.param_groups[0][option] = not optimizer.param_groups[0][option]
    other = getattr(optim, name)([leaf(x.data)])
    other.load_state_dict(optimizer.state_dict())
    assert repr(other.state_dict()) == repr(optimizer.state_dict())
    begin = x.tolist()
    for made in (optimizer, other):
        made.param_groups[0]["params"][0].grad = np.ones(2)
        made.step()
    assert other.param_groups[0]["params"][0].tolist() == x.tolist() != begin


# ---- schedulers

SCHEDULES = {
    "LambdaLR": (lambda t: 1 / (1 + 0.01 * t),),
    "StepLR": (30, 0.7),
    "MultiStepLR": ([20, 90, 90, 150], 0.6),
    "ConstantLR": (0.5, 40),
    "LinearLR": (0.1, 1.0, 60),
    "ExponentialLR": (0.99,),
    "CosineAnnealingLR": (60, 0.001),
    "CosineAnnealingWarmRestarts": (20, 2, 0.001),
    "SequentialLR": (),
    "ReduceLROnPlateau": ("min", 0.5, 3),
}


def scheduled(module, optimizer, name):
    if name != "SequentialLR":
        return getattr(module, name)(optimizer, *SCHEDULES[name])
    parts = [module.LinearLR(optimizer, 0.1, 1.0, 20), module.CosineAnnealingLR(optimizer, 100)]
    return module.SequentialLR(optimizer, parts, [20])


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize("name", SCHEDULES)
def test_trajectories_under_schedules(torch, name):
    runs = []
    for module, schedules, params, x, y, tanh in (
        (optim, lr_scheduler, [leaf(x) for x in START], X, Y, mg.tanh),
        (
            torch.optim,
            torch.optim.lr_scheduler,
            [torch.nn.Parameter(torch.tensor(x)) for x in START],
            torch.tensor(X),
            torch.tensor(Y),
            torch.tanh,
        ),
    ):
        optimizer = module.SGD([{"params": params[:2]}, {"params": params[2:], "lr": 0.02}], lr=0.05, momentum=0.9)
        scheduler, found = scheduled(schedules, optimizer, name), []
        for _ in range(200):
            optimizer.zero_grad()
            loss = network(params, tanh, 1.0, x, y)
            loss.backward()
            optimizer.step()
            scheduler.step(*[loss.item()] * (name == "ReduceLROnPlateau"))
            found.append([*numbers(params), *(10 * group["lr"] for group in optimizer.param_groups)])
        runs.append(np.array(found))
    assert np.abs(runs[0] - runs[1]).max() <= EXACT
    assert np.ptp(runs[0][:, -1]) > 1e-3


def test_every_scheduler_is_in_the_table():
    known = {k for k, x in vars(lr_scheduler).items() if inspect.isclass(x) and issubclass(x, lr_scheduler.LRScheduler)}
    assert known - {"LRScheduler"} == set(SCHEDULES)


# ---- gradients, losses, nothing to do


@pytest.mark.parametrize("kind", [Value, leaf])
def test_gradients_are_forgotten(kind):
    w = kind(2.0)
    optimizer = optim.SGD([{"params": w}])
    for set_to_none, want in ((True, None), (False, 0.0)):
        (w * w).backward()
        assert w.grad == 4.0
        optimizer.zero_grad(set_to_none)
        assert w.grad == want
        assert want is None or np.shape(w.grad) == np.shape(w.data)
    optimizer.zero_grad()
    assert w.grad is None


@ALL
def test_a_step_without_gradients(name):
    params = [leaf([1.0, 2.0]), Value(3.0)]
    optimizer = getattr(optim, name)(params, **RICH[name])
    assert optimizer.step() is None
    assert numbers(params).tolist() == [1.0, 2.0, 3.0]
    assert optimizer.state_dict()["state"] == {}


@ALL
def test_a_step_returns_the_loss(name):
    w, calls = leaf([1.0, 2.0]), []
    optimizer = getattr(optim, name)([w])

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert isinstance(loss, Tensor)
    assert (loss.item(), len(calls)) == (5.0, 1)
    assert (w.data < [1.0, 2.0]).all()


@ALL
def test_zero_gradients_are_steps(torch, name):
    twin = Twin(torch, name, [([0, 1, 2, 3, 4], {})], **RICH[name])
    for i in range(10):
        twin.step()
        if i % 2:
            twin.a.zero_grad(set_to_none=False)
            twin.b.zero_grad(set_to_none=False)
            twin.a.step()
            twin.b.step()
        twin.check()


def test_gradients_are_not_overwritten():
    params = [leaf([1.0, 2.0]), Value(3.0)]
    for name in RICH:
        params[0].grad, params[1].grad = kept = np.array([0.5, -0.5]), 0.25
        getattr(optim, name)(params, **{"maximize": True, "weight_decay": 0.1}).step()
        assert params[0].grad is kept[0]
        assert [*params[0].grad, params[1].grad] == [0.5, -0.5, 0.25]


def test_gradients_set_by_hand():
    params = [leaf([1.0, 2.0]), leaf(3.0), Value(4.0), leaf(np.zeros((0, 2)))]
    for p, g in zip(params, ([1, 2], 1.0, np.array(1), np.zeros((0, 2))), strict=True):
        p.grad = g
    optim.SGD(params, lr=1.0).step()
    assert numbers(params).tolist() == [0.0, 0.0, 2.0, 3.0]
    params[0].grad, params[2].grad = Tensor([1.0, 1.0]), Value(1.0)
    optim.SGD(params[:3:2], lr=1.0).step()
    assert numbers(params).tolist() == [-1.0, -1.0, 2.0, 2.0]


WRONG = [
    (0, np.ones(3), ShapeError, r"the grad of w has shape \(3,\), and its own is \(2,\)"),
    (0, np.ones((1, 2)), ShapeError, r"the grad of w has shape \(1, 2\), and its own is \(2,\)"),
    (0, 1.0, ShapeError, r"the grad of w has shape \(\), and its own is \(2,\)"),
    (0, [[1], [2, 3]], ShapeError, "the grad of w"),
    (0, np.array(["a", "b"]), InputError, "the grad of w"),
    (0, np.ones(2) * 1j, InputError, "the grad of w"),
    (0, "ab", InputError, "the grad of w"),
    (1, np.ones(2), ShapeError, r"the grad of v has shape \(2,\), and its own is \(\)"),
    (1, "a", InputError, "the grad of v"),
    (1, 1j, InputError, "the grad of v"),
]


@pytest.mark.parametrize(("k", "grad", "kind", "message"), WRONG)
def test_gradients_that_do_not_fit_move_nothing(k, grad, kind, message):
    params = [Tensor([1.0, 2.0], requires_grad=True, name="w"), Value(3.0, name="v"), leaf([4.0])]
    optimizer = optim.SGD([{"params": params[2]}, {"params": params[:2]}], lr=1.0, momentum=0.9)
    params[0].grad, params[1].grad, params[2].grad = np.ones(2), 1.0, np.ones(1)
    optimizer.step()
    before, state = numbers(params), repr(optimizer.state_dict())
    params[k].grad = grad
    with pytest.raises(kind, match=message):
        optimizer.step()
    assert np.array_equal(numbers(params), before)
    assert repr(optimizer.state_dict()) == state


# ---- flat arrays


@ALL
@pytest.mark.parametrize("block", [1, 7])
def test_blocks(monkeypatch, name, block):
    runs = []
    for size in (optim.BLOCK, block):
        monkeypatch.setattr(optim, "BLOCK", size)
        generator, params = np.random.default_rng(1), [leaf(np.ones(shape)) for shape in SHAPES]
        optimizer = getattr(optim, name)(params, **RICH[name])
        for i in range(6):
            for k, p in enumerate(params):
                g = generator.normal(size=p.shape)
                p.grad = None if (i + k) % 5 == 0 else g
            optimizer.step()
        runs.append(numbers(params))
    assert np.array_equal(*runs)


@ALL
def test_a_large_parameter_moves_as_small_ones(name):
    rows = optim.BLOCK // 100
    big, small = leaf(np.ones((3 * rows, 101))), [leaf(np.ones((rows, 101))) for _ in range(3)]
    optimizers = [getattr(optim, name)(params, **RICH[name]) for params in ([big], small)]
    for i in range(3):
        big.grad = np.random.default_rng(i).normal(size=big.shape)
        for k, p in enumerate(small):
            p.grad = big.grad[k * rows : (k + 1) * rows]
        for optimizer in optimizers:
            optimizer.step()
    assert big.size > 3 * optim.BLOCK
    assert np.array_equal(big.data, np.concatenate([p.data for p in small]))
    assert np.abs(big.data - 1.0).min() > 0.0


def test_data_stay_the_same_array():
    w, v = leaf([1.0, 2.0]), leaf([[3.0]])
    before = w.data
    optimizer = optim.Adam([w, v])
    kept = w.data
    for _ in range(2):
        w.grad, v.grad = np.ones(2), np.ones((1, 1))
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        assert w.data is kept
    kept[0] = 7.0
    optimizer.step()
    assert abs(w.data[0] - 7.0) < 0.01
    assert before.tolist() == [1.0, 2.0]  # which nobody has any more


def continued(optimizer, params, steps=10, missing=0.3):
    generator = np.random.default_rng(7)
    for _ in range(steps):
        for p in params:
            g = np.cos(number(p)) + generator.normal(size=np.shape(p.data))
            p.grad = None if generator.random() < missing else float(g) if isinstance(p, Value) else g
        optimizer.step()
    return numbers(params)


def some(name, kinds=KINDS):
    params = [
        Value(0.5) if kind == "value" else leaf(np.linspace(-1, 1, math.prod(shape)).reshape(shape), kind)
        for shape, kind in zip(SHAPES, kinds, strict=True)
    ]
    return getattr(optim, name)([{"params": params[1:]}, {"params": params[:1], "lr": 0.03}], **RICH[name]), params


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
@ALL
def test_copies_move_on_alone(name, way):
    optimizer, params = some(name, ["float64", "value", "value", "float32", "float64"])
    continued(optimizer, params)
    model, other = way((params, optimizer))
    alone = way(optimizer)
    begin = numbers(params)
    moved_on = continued(other, model)
    assert np.array_equal(numbers(params), begin)
    assert np.array_equal(continued(optimizer, params), moved_on)
    of = [*alone.param_groups[1]["params"], *alone.param_groups[0]["params"]]
    assert np.array_equal(continued(alone, of), moved_on)


def test_a_model_is_saved_without_the_others():
    w, big = leaf([1.0]), leaf(np.zeros(10000))
    optimizer = optim.SGD([w, big])
    w.grad, big.grad = np.ones(1), np.ones(10000)
    optimizer.step()
    assert len(pickle.dumps(w)) < 2000
    other = copy.deepcopy(w)
    optimizer.step()
    assert other.data != w.data


# ---- states


def shapes_of(state):
    return {k: {name: np.shape(x) for name, x in entry.items()} for k, entry in state.items()}


REMEMBERED = {
    "SGD": ["momentum_buffer"],
    "Adagrad": ["sum"],
    "RMSprop": ["square_avg", "momentum_buffer", "grad_avg"],
    "Adadelta": ["square_avg", "acc_delta"],
    "Adam": ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
    "AdamW": ["exp_avg", "exp_avg_sq"],
    "NAdam": ["exp_avg", "exp_avg_sq"],
}


@ALL
def test_states_have_the_shapes_of_pytorch(torch, name):
    twin = Twin(torch, name, [([2, 0], {}), ([1, 3, 4], {})], ["float64", "float32", "value", "float64", "float64"])
    twin.a, twin.b = (
        getattr(module, name)([{"params": [params[k] for k in at]} for at in ([2, 0], [1, 3, 4])], **RICH[name])
        for module, params in ((optim, twin.ours), (torch.optim, twin.theirs))
    )
    twin.step()
    ours, theirs = twin.a.state_dict(), twin.b.state_dict()
    without = {k: {n: x for n, x in entry.items() if n != "step"} for k, entry in ours["state"].items()}
    counted = {k: {n: x for n, x in entry.items() if n != "step"} for k, entry in theirs["state"].items()}
    assert shapes_of(without) == shapes_of(counted)
    for k, entry in counted.items():
        for what, x in entry.items():
            np.testing.assert_allclose(without[k][what], x.numpy(), rtol=1e-6, atol=0.0)
    assert {entry["step"] for entry in ours["state"].values()} == {1}
    assert set(REMEMBERED[name]) <= set(ours["state"][0])
    for group, of in zip(ours["param_groups"], theirs["param_groups"], strict=True):
        assert {k: x for k, x in group.items() if k != "form"} == {k: of[k] for k in group if k != "form"}


def test_states_without_memory(torch):
    twin = Twin(torch, "SGD", [([0, 1, 2, 3, 4], {})], lr=0.1)
    twin.step()
    assert twin.a.state_dict()["state"] == twin.b.state_dict()["state"] == {}


@ALL
@pytest.mark.parametrize("kinds", [KINDS, ["float32", "value", "value", "float64", "float64"]], ids=["one", "mixed"])
def test_states_go_on_to_the_same_bits(name, kinds):
    optimizer, params = some(name, kinds)
    continued(optimizer, params)
    state, before = optimizer.state_dict(), numbers(params)
    kept = repr(state)
    other, twins = some(name, kinds)
    for p, twin in zip(params, twins, strict=True):
        twin.data = p.data
    other.param_groups[0]["lr"] = 9.0
    other.load_state_dict(state)
    assert repr(other.state_dict()) == kept
    end = continued(optimizer, params)
    assert repr(state) == kept  # a copy
    assert np.array_equal(continued(other, twins), end)
    assert repr(other.state_dict()) == repr(optimizer.state_dict())
    assert not np.array_equal(end, before)
    optimizer.load_state_dict(state)  # and back
    assert repr(optimizer.state_dict()) == kept


@ALL
@pytest.mark.parametrize("before", [0, 1, 20])
def test_states_of_pytorch(torch, name, before):
    twin = Twin(torch, name, [([3, 0, 2], {}), ([1, 4], OTHER[name])], **RICH[name])
    for _ in range(before):
        twin.feed(missing=0.4)
        twin.b.step()
    for p, q in zip(twin.ours, twin.theirs, strict=True):
        p.data = number(q)
    for group in twin.a.param_groups:
        group["lr"] = 7.0
    twin.a.load_state_dict(twin.b.state_dict())
    for _ in range(20):
        twin.step(missing=0.3)
        twin.check()


def test_states_of_pytorch_with_none(torch):  # as older versions save them, without momentum
    optimizer = optim.SGD([leaf([1.0, 2.0])], lr=1.0)
    state = optimizer.state_dict()
    state["state"] = {0: {"momentum_buffer": None}}
    state["param_groups"][0].update(momentum=0.9, dampening=0.5)
    optimizer.load_state_dict(state)
    optimizer.param_groups[0]["params"][0].grad = np.ones(2)
    optimizer.step()
    assert optimizer.param_groups[0]["params"][0].tolist() == [0.0, 1.0]  # undamped, as the first is


def test_a_state_lacks_what_is_counted():
    optimizer, params = some("NAdam")
    continued(optimizer, params)
    state = optimizer.state_dict()
    assert 0.0 < state["state"][2].pop("mu_product") < 1.0
    with pytest.raises(StateDictError, match="parameter 2: mu_product is missing"):
        optimizer.load_state_dict(state)


def test_names_of_states_may_be_text():
    optimizer, params = some("Adam")
    continued(optimizer, params)
    state = optimizer.state_dict()
    state["state"] = {str(k): {n: np.asarray(x).tolist() for n, x in e.items()} for k, e in state["state"].items()}
    for group in state["param_groups"]:
        group["betas"] = list(group["betas"])
    other, _ = some("Adam")
    other.load_state_dict(state)
    assert repr(other.state_dict()) == repr(optimizer.state_dict())


def test_a_run_is_taken_up_with_its_schedule():
    w = Value(1.0)
    optimizer = optim.SGD([w], lr=0.1)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    scheduler.step()
    other = optim.SGD([w])
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["initial_lr"] == 0.1
    again = lr_scheduler.ExponentialLR(other, 0.5, last_epoch=0)
    again.step()
    assert other.param_groups[0]["lr"] == 0.025


def broken(change):
    optimizer, params = some("Adam")
    continued(optimizer, params)
    state = optimizer.state_dict()
    change(state)
    return state


def change_all(state):
    state["state"][0]["exp_avg"] = np.ones(7)
    del state["state"][1]["exp_avg_sq"]
    state["state"][2]["momentum_buffer"] = np.ones((1, 5))
    state["param_groups"][1]["lr"] = -1.0
    del state["param_groups"][0]["betas"]


UNFIT = [
    (lambda s: s["state"][0].update(exp_avg=np.ones(7)), ["parameter 0: exp_avg is (7,), and should be (4,)"]),
    (lambda s: s["state"][1].update(exp_avg=np.ones(1)), ["parameter 1: exp_avg is (1,), and should be ()"]),
    (lambda s: s["state"][0].pop("exp_avg_sq"), ["parameter 0: exp_avg_sq is missing"]),
    (lambda s: s["state"][0].update(square_avg=np.ones(4)), ["parameter 0: square_avg is unexpected"]),
    (lambda s: s["state"][1].update(sum=2.0), ["parameter 1: sum is unexpected"]),
    (lambda s: s["state"][0].update(exp_avg=["a"] * 4), ["parameter 0: exp_avg: a Tensor holds real numbers"]),
    (lambda s: s["state"][0].update(step=-1), ["parameter 0: step is -1"]),
    (lambda s: s["state"][0].update(step=math.nan), ["parameter 0: step is nan"]),
    (lambda s: s["state"][0].update(step=math.inf), ["parameter 0: step is inf"]),
    (lambda s: s["state"][0].update(step=1.5), ["parameter 0: step is 1.5"]),
    (lambda s: s["state"][0].update(step="two"), ["parameter 0: step: "]),
    (lambda s: s["state"][0].update(step=[1, 2]), ["parameter 0: step is (2,), and should be ()"]),
    (lambda s: s["state"].update({0: 5}), ["parameter 0: "]),
    (lambda s: s["state"].update({9: {"step": 1}}), ["parameter 9: this optimizer has none"]),
    (lambda s: s["param_groups"][0].update(lr=-1.0), ["group 0: lr of Adam is at least 0, not -1"]),
    (lambda s: s["param_groups"][1].update(betas=0.9), ["group 1: betas of Adam are two numbers"]),
    (lambda s: s["param_groups"][1].update(amsgrad=np.ones(2)), ["group 1: amsgrad of Adam is True or False"]),
    (lambda s: s["param_groups"][0].pop("betas"), ["group 0: no betas"]),
    (lambda s: s["param_groups"].pop(), ["groups of [4] parameters, and this optimizer of [4, 1]"]),
    (lambda s: s["param_groups"][1].update(params=[4, 5]), ["groups of [4, 2] parameters"]),
    (
        change_all,
        [
            "parameter 0: exp_avg is (7,)",
            "parameter 1: exp_avg_sq is missing",
            "parameter 2: momentum_buffer is unexpected",
            "group 1: lr of Adam",
            "group 0: no betas",
        ],
    ),
    (lambda s: s.pop("state"), ['"state" and "param_groups"']),
    (lambda s: s.update(state=5), ['"state" and "param_groups"']),
    (lambda s: s.update(param_groups=5), ['"state" and "param_groups"']),
    (lambda s: s.update(param_groups=[5]), ['"state" and "param_groups"']),
    (lambda s: s["param_groups"][0].update(params=5), ['"state" and "param_groups"']),
    (lambda s: s["param_groups"][0].pop("params"), ['"state" and "param_groups"']),
]


@pytest.mark.parametrize(("change", "problems"), UNFIT, ids=[str(k) for k in range(len(UNFIT))])
def test_states_that_do_not_fit(change, problems):
    optimizer, params = some("Adam")
    continued(optimizer, params, 3)
    before, kept = numbers(params), repr(optimizer.state_dict())
    with pytest.raises(StateDictError) as raised:
        optimizer.load_state_dict(broken(change))
    for problem in problems:
        assert problem in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 1 + len(problems)
    assert repr(optimizer.state_dict()) == kept
    assert np.array_equal(numbers(params), before)


@pytest.mark.parametrize("state", [None, 5, [], "state", {}])
def test_states_that_are_none(state):
    with pytest.raises(StateDictError, match='has "state" and "param_groups", and this is'):
        optim.SGD([Value(1.0)]).load_state_dict(state)


@pytest.mark.parametrize(("saved", "wanted"), [(a, b) for a in RICH for b in RICH if a != b and "Adam" not in a + b])
def test_states_of_another_optimizer(saved, wanted):
    optimizer, params = some(saved)
    continued(optimizer, params)
    with pytest.raises(StateDictError):
        some(wanted)[0].load_state_dict(optimizer.state_dict())


# ---- what is refused


def w():
    return Tensor([1.0, 2.0], requires_grad=True, name="w")


REFUSED = [
    (lambda: optim.SGD([w() * 2.0]), "is computed from others"),
    (lambda: optim.SGD([Value(1.0) * 2.0]), "is computed from others"),
    (lambda: optim.SGD([Tensor([1.0])]), "requires no gradient"),
    (lambda: optim.SGD([np.ones(2)]), "ndarray .* is neither"),
    (lambda: optim.SGD([1.0]), "float 1.0 is neither"),
    (lambda: optim.SGD([(w(), w())]), "tuple .* is neither"),
    (lambda: optim.SGD([]), "no parameters: is the model empty"),
    (lambda: optim.SGD(iter(())), "no parameters: is the model empty"),
    (lambda: optim.SGD(w()), "is given a list of parameters"),
    (lambda: optim.SGD("weights"), "is given a list of parameters.*not str 'weights'"),
    (lambda: optim.SGD(None), "is given a list of parameters"),
    (lambda: optim.SGD({"params": [w()]}), "is given a list of parameters"),
    (lambda: optim.SGD({w()}), "is given a list of parameters"),
    (lambda: optim.SGD(nn.MLP(2, [1])), r"give it model\.parameters\(\)"),
    (lambda: optim.SGD(nn.Sequential(nn.Linear(2, 1))), r"give it model\.parameters\(\)"),
    (lambda: optim.SGD([{"lr": 0.1}]), 'a dict with "params"'),
    (lambda: optim.SGD([{"params": [w()]}, w()]), 'a dict with "params"'),
    (lambda: optim.SGD([{"params": None}]), "is given a list of parameters"),
    (lambda: optim.SGD([{"params": {w()}}]), "is given a list of parameters"),
    (lambda: optim.SGD([{"params": "ab"}]), "is given a list of parameters"),
    (lambda: optim.SGD([{"params": [w()], "momentun": 0.9}]), "no option of SGD 'momentun': did you mean 'momentum'"),
    (lambda: optim.SGD([{"params": [w()], "betas": (0.9, 0.9)}]), "no option of SGD 'betas'"),
    (lambda: optim.SGD([w()], lr=-0.1), "lr of SGD is at least 0, not -0.1"),
    (lambda: optim.SGD([w()], lr=math.nan), "lr of SGD is at least 0, not nan"),
    (lambda: optim.SGD([w()], lr=math.inf), "lr of SGD is finite"),
    (lambda: optim.SGD([w()], lr="fast"), "lr of SGD is a number, not str 'fast'"),
    (lambda: optim.SGD([w()], lr=None), "lr of SGD is a number"),
    (lambda: optim.SGD([w()], lr=Value(0.1)), "lr of SGD is a number"),
    (lambda: optim.SGD([w()], momentum=-0.5), "momentum of SGD is at least 0"),
    (lambda: optim.SGD([w()], dampening=math.nan), "dampening of SGD is finite"),
    (lambda: optim.SGD([w()], weight_decay=-0.5), "weight_decay of SGD is at least 0"),
    (lambda: optim.SGD([w()], nesterov=True), "nesterov needs momentum, and no dampening"),
    (lambda: optim.SGD([w()], nesterov=True, momentum=0.9, dampening=0.1), "nesterov needs momentum, and no dampening"),
    (lambda: optim.SGD([w()], momentum=0.9, nesterov="no"), "nesterov of SGD is True or False, not str 'no'"),
    (lambda: optim.SGD([w()], form="lectures"), "no form of SGD 'lectures': did you mean 'lecture'"),
    (lambda: optim.SGD([w()], momentum=0.9, dampening=0.1, form="lecture"), "lecture's form of momentum"),
    (lambda: optim.SGD([w()], momentum=0.9, nesterov=True, form="lecture"), "lecture's form of momentum"),
    (lambda: optim.Adagrad([w()], lr_decay=-1.0), "lr_decay of Adagrad is at least 0"),
    (lambda: optim.Adagrad([w()], initial_accumulator_value=-1.0), "initial_accumulator_value of Adagrad is at least"),
    (lambda: optim.Adagrad([w()], eps=-1.0), "eps of Adagrad is at least 0"),
    (lambda: optim.RMSprop([w()], alpha=-1.0), "alpha of RMSprop is at least 0"),
    (lambda: optim.RMSprop([w()], centered=1), "centered of RMSprop is True or False"),
    (lambda: optim.Adadelta([w()], rho=1.5), "rho of Adadelta is at least 0 and at most 1"),
    (lambda: optim.Adadelta([w()], form=None), "no form of Adadelta"),
    (lambda: optim.Adam([w()], betas=(1.0, 0.9)), "each of betas of Adam is at least 0 and below 1, not 1"),
    (lambda: optim.Adam([w()], betas=(0.9, -0.1)), "each of betas of Adam is at least 0 and below 1"),
    (lambda: optim.Adam([w()], betas=0.9), "betas of Adam are two numbers"),
    (lambda: optim.Adam([w()], betas=(0.9, 0.9, 0.9)), "betas of Adam are two numbers"),
    (lambda: optim.Adam([w()], amsgrad="yes"), "amsgrad of Adam is True or False"),
    (lambda: optim.AdamW([w()], maximize=None), "maximize of AdamW is True or False"),
    (lambda: optim.NAdam([w()], momentum_decay=-1.0), "momentum_decay of NAdam is at least 0"),
    (lambda: optim.NAdam([w()], decoupled_weight_decay=2), "decoupled_weight_decay of NAdam is True or False"),
    (lambda: optim.NAG([w()], momentum=math.inf), "momentum of NAG is finite"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_parameter_stands_twice():
    p = w()
    for given_twice in ([p, p], [{"params": [p]}, {"params": [p]}]):
        with pytest.raises(InputError, match="w stands twice"):
            optim.SGD(given_twice)


def test_a_group_that_is_refused_leaves_the_others():
    p = w()
    optimizer = optim.SGD([p])
    for group in ({"params": [p]}, {"params": [w()], "lr": -1.0}, {"params": [Tensor([1.0])]}, {"params": 5}, [w()]):
        with pytest.raises(InputError):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1
    p.grad = np.ones(2)
    optimizer.step()
    assert p.tolist() == [0.999, 1.999]


def test_a_group_is_copied():
    group = {"params": [w()], "lr": 0.5}
    optimizer = optim.SGD([group])
    assert list(group) == ["params", "lr"]
    group["lr"] = 3.0
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_parameters_may_come_with_names_and_alone():
    model = nn.Linear(2, 1)
    assert optim.SGD(model.named_parameters()).param_groups[0]["params"] == [model.weight, model.bias]
    groups = [{"params": model.weight}, {"params": []}, {"params": model.bias, "lr": 1}]
    assert [len(group["params"]) for group in optim.SGD(groups).param_groups] == [1, 0, 1]


OPTIONS_BY_HAND = [
    ("lr", "fast"),
    ("lr", -1.0),
    ("lr", np.ones(2)),
    ("momentum", None),
    ("nesterov", "no"),
    ("form", 3),
]


@pytest.mark.parametrize(("option", "x"), OPTIONS_BY_HAND)
def test_options_that_are_changed_to_nonsense(option, x):
    params = [w(), Value(3.0)]
    optimizer = optim.SGD([{"params": params[:1]}, {"params": params[1:]}], lr=0.1, momentum=0.9)
    params[0].grad, params[1].grad = np.ones(2), 1.0
    optimizer.step()
    before, state = numbers(params), repr(optimizer.state_dict())
    good = optimizer.param_groups[1][option]
    optimizer.param_groups[1][option] = x
    for _ in range(2):
        with pytest.raises(InputError, match=f"{option} of SGD|no {option}"):
            optimizer.step()
    optimizer.param_groups[1][option] = good
    assert np.array_equal(numbers(params), before)
    assert repr(optimizer.state_dict()) == state
    del optimizer.param_groups[1][option]
    with pytest.raises(InputError, match=f"a group has no {option}"):
        optimizer.step()


def append(groups):
    groups[0]["params"].append(w())


def replace(groups):
    groups[0]["params"] = [w()]


def exchange(groups):
    groups[0]["params"][0] = w()


def remove(groups):
    del groups[0]


def more(groups):
    groups.append({**groups[0], "params": [w()]})


@pytest.mark.parametrize("change", [append, replace, exchange, remove, more])
def test_parameters_that_are_changed_by_hand(change):
    params = [w(), Value(3.0)]
    optimizer = optim.Adam([{"params": params[:1]}, {"params": params[1:]}])
    params[0].grad, params[1].grad = np.ones(2), 1.0
    change(optimizer.param_groups)
    with pytest.raises(InputError, match="than before: add_param_group adds"):
        optimizer.step()
    assert numbers(params).tolist() == [1.0, 2.0, 3.0]


def test_an_optimizer_without_a_rule():
    p = Value(1.0)
    p.grad = 1.0
    with pytest.raises(NotImplementedError, match="Optimizer has no rule"):
        optim.Optimizer([p], {"lr": 0.1}).step()


class Averaged(optim.Optimizer):
    """Steps along the mean of all gradients, half of which goes every second step."""

    fresh_clock: ClassVar = {"step": 0, "halves": 1.0}

    def __init__(self, params, lr=0.5):
        super().__init__(params, {"lr": lr})

    def memory(self, group):
        return {"sum": 1.0}

    def tick(self, clock, group):
        clock["halves"] *= 1.0 if clock["step"] % 2 else 0.5

    def rule(self, x, g, state, clock, group):
        state["sum"] += g
        x -= group["lr"] * clock["halves"] * state["sum"] / clock["step"]


def test_an_optimizer_of_ones_own():
    params = [leaf([1.0, 2.0]), Value(3.0), leaf([4.0], np.float32)]
    optimizer = Averaged(params)
    for _ in range(3):
        other = Averaged(params)
        other.load_state_dict(optimizer.state_dict())
        optimizer = other
        for p in params:
            p.grad = 1.0 if isinstance(p, Value) else np.ones(p.shape, p.dtype)
        optimizer.step()
    end = 0.5 * (2 / 1 + 3 / 2 / 2 + 4 / 3 / 2)
    np.testing.assert_allclose(numbers(params), np.array([1.0, 2.0, 3.0, 4.0]) - end, rtol=1e-6)
    assert optimizer.state_dict()["state"][1] == {"step": 3, "halves": 0.5, "sum": 4.0}


def test_texts():
    text = repr(optim.Adam([{"params": [w()]}, {"params": [w()], "lr": 0.5}]))
    assert text.startswith("Adam (\nParameter Group 0\n    amsgrad: False\n    betas: (0.9, 0.999)\n")
    assert "Parameter Group 1" in text
    assert "lr: 0.5" in text


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_has_its_name(name):
    assert optim.OPTIMIZERS[name].__name__.lower() == name
    assert {x.__name__ for x in optim.OPTIMIZERS.values()} == {*RICH, "NAG"}


def test_a_variance_that_rounds_below_zero():
    x = leaf([0.3, 1.0, 7.0])
    optimizer = optim.RMSprop([x], centered=True, alpha=0.5, eps=1e-3)
    for _ in range(100):  # the same gradient again and again
        x.grad = np.array([0.1, 1 / 3, 0.7])
        optimizer.step()
        assert np.isfinite(x.data).all()


# ---- Adam, number by number

GRADIENTS = st.lists(array_shapes(min_dims=0, max_dims=3, max_side=4), min_size=1, max_size=5)


@settings(deadline=None)
@given(GRADIENTS, st.integers(0, 2**32 - 1), st.floats(0.0, 0.9), st.floats(0.0, 0.99), st.floats(0.0, 0.5))
def test_adam_number_by_number(shapes, seed, beta1, beta2, missing):
    generator = np.random.default_rng(seed)
    x = [generator.normal(size=shape) for shape in shapes]
    params = [Value(float(a)) if a.ndim == 0 and generator.random() < 0.5 else leaf(a) for a in x]
    optimizer = optim.Adam(params, lr=0.1, betas=(beta1, beta2), weight_decay=0.01)
    m, v, t = [np.zeros(shape) for shape in shapes], [np.zeros(shape) for shape in shapes], [0] * len(shapes)
    for _ in range(4):
        for k, p in enumerate(params):
            p.grad = None
            if generator.random() >= missing:
                g = generator.normal(size=x[k].shape)
                p.grad = float(g) if isinstance(p, Value) else g
                g = g + 0.01 * x[k]
                t[k] += 1
                m[k] = beta1 * m[k] + (1 - beta1) * g
                v[k] = beta2 * v[k] + (1 - beta2) * g * g
                x[k] = x[k] - 0.1 * (m[k] / (1 - beta1 ** t[k])) / (np.sqrt(v[k] / (1 - beta2 ** t[k])) + 1e-8)
        optimizer.step()
    for p, a in zip(params, x, strict=True):
        np.testing.assert_allclose(p.data, a, rtol=1e-9, atol=1e-9)


# ---- gradients clipped


def with_gradients(torch, scale=1.0):
    generator, pairs = np.random.default_rng(3), []
    for shape in SHAPES:
        g = scale * generator.normal(size=shape)
        p, q = leaf(np.zeros(shape)), torch.nn.Parameter(torch.zeros(shape))
        p.grad, q.grad = g, torch.tensor(g)
        pairs.append((p, q))
    ours, theirs = (list(x) for x in zip(*pairs, strict=True))
    ours[2] = Value(0.0)
    ours[2].grad = theirs[2].grad.item()
    ours.append(leaf([1.0]))  # without a gradient
    theirs.append(torch.nn.Parameter(torch.zeros(1)))
    return ours, theirs


def gradients(params):
    return np.concatenate([np.ravel(p.grad) for p in params if p.grad is not None])


@pytest.mark.parametrize("norm_type", [1, 2, 3.0, 0.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.7, 1e3])
def test_norms_are_clipped(torch, norm_type, max_norm):
    ours, theirs = with_gradients(torch)
    want = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    got = clip_grad_norm_(iter(ours), max_norm, norm_type)
    assert type(got) is float
    assert got == pytest.approx(want.item(), rel=1e-14)
    np.testing.assert_allclose(gradients(ours), gradients(theirs), rtol=1e-13, atol=0.0)
    assert type(ours[2].grad) is float
    assert ours[-1].grad is None
    assert [np.shape(p.grad) for p in ours[:-1]] == SHAPES


def test_huge_and_tiny_gradients_are_clipped():
    p = leaf([0.0, 0.0])
    for scale in (1e200, 1e-200):
        for norm_type, norm in ((2, 5.0), (3, 91 ** (1 / 3)), (math.inf, 4.0)):
            p.grad = np.array([3.0, -4.0]) * scale
            assert clip_grad_norm_([p], scale, norm_type, eps=0.0) == pytest.approx(norm * scale, rel=1e-14)
            np.testing.assert_allclose(p.grad, np.array([3.0, -4.0]) / norm * scale, rtol=1e-14)


def test_clipping_without_gradients():
    assert clip_grad_norm_([leaf([1.0]), Value(1.0)], 1.0) == 0.0
    assert clip_grad_norm_([], 1.0, eps=0.0) == 0.0
    clip_grad_value_([leaf([1.0])], 1.0)
    p = leaf([1.0, 2.0])
    p.grad = np.zeros(2)
    assert clip_grad_norm_(p, 0.0, eps=0.0) == 0.0
    assert p.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_norms_that_are_no_numbers(bad):
    p, q = leaf([1.0, 2.0]), Value(1.0)
    p.grad, q.grad = np.array([bad, 1.0]), 1.0
    with pytest.raises(DomainError, match="the gradients of these 2 parameters have the norm"):
        clip_grad_norm_([p, q], 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(gradients([p, q]), [bad, 1.0, 1.0])
    with np.errstate(invalid="ignore"):
        assert not math.isfinite(clip_grad_norm_([p, q], 1.0))
    assert q.grad == 0.0 or math.isnan(q.grad)


@pytest.mark.parametrize("clip", [0.0, 0.5, 10])
def test_values_are_clipped(torch, clip):
    ours, theirs = with_gradients(torch)
    torch.nn.utils.clip_grad_value_(theirs, clip)
    clip_grad_value_(ours, clip)
    np.testing.assert_array_equal(gradients(ours), gradients(theirs))
    assert type(ours[2].grad) is float
    assert [np.shape(p.grad) for p in ours[:-1]] == SHAPES


def test_clipped_gradients_keep_their_kind():
    p = leaf([1.0, 2.0], np.float32)
    for clip in (lambda: clip_grad_norm_([p], 1.0), lambda: clip_grad_value_([p], 0.5)):
        p.grad = np.array([3.0, 4.0], np.float32)
        clip()
        assert p.grad.dtype == np.float32
        optim.SGD([p]).step()


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
@pytest.mark.parametrize(
    ("params", "most"),
    [
        ([np.ones(2)], 1.0),
        (["w"], 1.0),
        ([Value(1.0)], -1.0),
        ([Value(1.0)], "a"),
        ([Value(1.0)], None),
        ([Value(1.0)], np.ones(2)),
    ],
)
def test_clipping_is_refused(clip, params, most):
    with pytest.raises(InputError):
        clip(params, most)


@pytest.mark.parametrize("norm_type", [0, -1.0, math.nan, "2"])
def test_norms_are_refused(norm_type):
    with pytest.raises(InputError, match="norm_type"):
        clip_grad_norm_([Value(1.0)], 1.0, norm_type)


# ---- numbers as one vector


def test_parameters_as_a_vector():  # lecture 001: [w1, b1, w2, b2, …]
    model = nn.MLP(2, [3, 1])
    parts = [p for layer in model.layers for p in (layer.weight, layer.bias)]
    vector = parameters_to_vector(model.parameters())
    assert vector.tolist() == np.concatenate([p.data.ravel() for p in parts]).tolist()
    (vector * np.arange(13.0)).sum().backward()
    assert gradients(parts).tolist() == list(range(13))
    model(X[:, :2]).sum().backward()
    assert parameters_to_vector([p.grad for p in parts]).tolist() == gradients(parts).tolist()
    assert isinstance(parameters_to_vector([p.grad for p in parts]), np.ndarray)


def test_a_vector_through_values():
    params = [Value(1.0), leaf([[2.0, 3.0]]), leaf(4.0)]
    vector = parameters_to_vector(params)
    assert vector.tolist() == [1.0, 2.0, 3.0, 4.0]
    (vector * vector).sum().backward()
    assert gradients(params).tolist() == [2.0, 4.0, 6.0, 8.0]


def test_a_vector_is_set():
    params = [Value(0.0), leaf([[0.0, 0.0]]), leaf(0.0), leaf([0.0], np.float32)]
    optimizer = optim.SGD(params, lr=1.0)
    for vector in ([1.0, 2.0, 3.0, 4.0, 5.0], np.arange(5.0), Tensor(np.arange(5.0)) * 2.0):
        set_parameters(vector, iter(params))
        assert numbers(params).tolist() == np.asarray(getattr(vector, "data", vector)).tolist()
    assert (type(params[0].data), params[3].dtype) == (float, np.float32)
    for p in params:
        p.grad = np.ones(np.shape(p.data)) if isinstance(p, Tensor) else 1.0
    optimizer.step()
    assert numbers(params).tolist() == [-1.0, 1.0, 3.0, 5.0, 7.0]


@pytest.mark.parametrize(
    ("vector", "more", "kind"),
    [
        ([1.0, 2.0], [], ShapeError),
        ([1.0] * 4, [], ShapeError),
        ([[1.0, 2.0, 3.0]], [], ShapeError),
        ([1.0, 2.0, 3.0], [np.zeros(1)], InputError),
        ([1.0] * 4, [Value(1.0) * 2.0], InputError),
        (["a"] * 3, [], InputError),
        (None, [], InputError),
    ],
)
def test_a_vector_that_does_not_fit_sets_nothing(vector, more, kind):
    params = [Value(7.0), leaf([8.0, 9.0])]
    with pytest.raises(kind):
        set_parameters(vector, [*params, *more])
    assert numbers(params).tolist() == [7.0, 8.0, 9.0]


@pytest.mark.parametrize(
    ("params", "message"), [([], "no parameters"), ([None], r"has backward\(\) been called"), (["a"], "real numbers")]
)
def test_vectors_are_refused(params, message):
    with pytest.raises(MicrogadError, match=message):
        parameters_to_vector(params)

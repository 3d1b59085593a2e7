"""Schedules of the learning rate: PyTorch's numbers, closed forms, saved states, and what a bad call says."""

import copy
import json
import math

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.errors import InputError, MicrogadError, StateDictError
from microgad.nn import lr_scheduler as ours

# PyTorch says that its optimizer should have moved in between
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of", "ignore:Seems like `optimizer.step")

RATES = [0.5, 0.03]
N = 200


class Groups:
    """The least that a scheduler needs."""

    def __init__(self, lrs=RATES):
        self.param_groups = [{"lr": lr} for lr in lrs]


def optimizer():
    return nn.optim.SGD([{"params": [Value(1.0)], "lr": RATES[0]}, {"params": [Value(2.0)], "lr": RATES[1]}])


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def of_torch(torch):
    made = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in RATES])
    made.step()
    return made


def lrs_of(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def equal(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)


# ---- one table: a scheduler by the module that has it, PyTorch's or this one, and an optimizer

MAKERS = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda t: 0.95**t),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: math.sin(t) + 2]),
    "step": lambda s, o: s.StepLR(o, 30),
    "step 1": lambda s, o: s.StepLR(o, step_size=1, gamma=0.97),
    "step up": lambda s, o: s.StepLR(o, 7, 1.5),
    "milestones": lambda s, o: s.MultiStepLR(o, [30, 80]),
    "milestones out of order, twice": lambda s, o: s.MultiStepLR(o, (90, 20, 20, 55, 55), gamma=0.5),
    "milestone 0": lambda s, o: s.MultiStepLR(o, [0, 10], gamma=0.5),
    "constant": lambda s, o: s.ConstantLR(o),
    "constant long": lambda s, o: s.ConstantLR(o, factor=0.25, total_iters=60),
    "linear": lambda s, o: s.LinearLR(o),
    "linear long": lambda s, o: s.LinearLR(o, start_factor=0.01, end_factor=0.8, total_iters=90),
    "linear down": lambda s, o: s.LinearLR(o, 1.0, 0.1, 20),
    "linear to 0": lambda s, o: s.LinearLR(o, 1.0, 0.0, 20),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.97),
    "exponential up": lambda s, o: s.ExponentialLR(o, gamma=1.01),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 200),
    "cosine and back": lambda s, o: s.CosineAnnealingLR(o, T_max=30, eta_min=0.001),
    "cosine odd": lambda s, o: s.CosineAnnealingLR(o, 7, 0.01),
    "cosine 1": lambda s, o: s.CosineAnnealingLR(o, 1),
    "cosine upwards": lambda s, o: s.CosineAnnealingLR(o, 40, eta_min=0.1),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 30),
    "restarts longer": lambda s, o: s.CosineAnnealingWarmRestarts(o, 10, 2, 1e-3),
    "restarts 3": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=3),
    "sequence": lambda s, o: s.SequentialLR(
        o,
        [s.LinearLR(o, 0.1, total_iters=10), s.ExponentialLR(o, 0.9), s.CosineAnnealingLR(o, 50)],
        milestones=[10, 40],
    ),
    "sequence of all": lambda s, o: s.SequentialLR(
        o,
        [
            s.ConstantLR(o, 0.5, 8),
            s.StepLR(o, 3, 0.7),
            s.MultiStepLR(o, [0, 5], 0.3),
            s.CosineAnnealingWarmRestarts(o, 5, 2),
            s.LambdaLR(o, lambda t: 1 / (2 + t)),
            s.LinearLR(o),
        ],
        [20, 21, 60, 100, 150],
    ),
    "sequence that skips": lambda s, o: s.SequentialLR(
        o, [s.ExponentialLR(o, 0.9), s.StepLR(o, 2), s.ConstantLR(o)], [15, 15]
    ),
    "sequence of one": lambda s, o: s.SequentialLR(o, [s.StepLR(o, 40)], []),
}
STACKS = {
    "warm-up and decay": ["linear", "exponential"],
    "three": ["constant long", "cosine and back", "milestones"],
    "two of a kind": ["step", "step up"],
    "restarts below a factor": ["restarts", "step"],
    "sequence below a factor": ["sequence", "step 1"],
}


def trajectory(schedulers, optimizer, n=N, hand=False):
    """The learning rates after each step; with `hand` changed by hand between some."""
    found = [lrs_of(optimizer)]
    for t in range(n):
        if hand and t in (13, 37, 120):
            optimizer.param_groups[1]["lr"] *= 0.5
            optimizer.param_groups[0]["lr"] = 0.2 + 0.001 * t
        for scheduler in schedulers:
            scheduler.step()
        found.append(lrs_of(optimizer))
    assert [list(map(float, x.get_last_lr())) for x in schedulers[-1:]] == found[-1:]
    return np.array(found, float)


def both(torch, makers, hand=False):
    """The same run here and in PyTorch."""
    found = []
    for module, made in ((ours, optimizer()), (torch.optim.lr_scheduler, of_torch(torch))):
        found.append(trajectory([make(module, made) for make in makers], made, hand=hand))
    return found


@pytest.mark.parametrize("hand", [False, True], ids=["left alone", "changed by hand"])
@pytest.mark.parametrize("name", MAKERS)
def test_as_pytorch(torch, name, hand):
    equal(*both(torch, [MAKERS[name]], hand))


@pytest.mark.parametrize("hand", [False, True], ids=["left alone", "changed by hand"])
@pytest.mark.parametrize("name", STACKS)
def test_several_on_one_optimizer_as_pytorch(torch, name, hand):
    equal(*both(torch, [MAKERS[part] for part in STACKS[name]], hand))


@pytest.mark.parametrize("name", ["restarts", "restarts longer", "restarts 3"])
def test_restarts_at_any_place_as_pytorch(torch, name):
    found = []
    for module, made in ((ours, optimizer()), (torch.optim.lr_scheduler, of_torch(torch))):
        scheduler = MAKERS[name](module, made)
        places = [None, 0.25, 3.5, 3.75, None, 30, 29.9, 45.0, None, 7, None, 10**12 + 0.5, None, 0]
        run = []
        for place in places:
            scheduler.step(place) if place is not None else scheduler.step()
            run.append([*lrs_of(made), scheduler.last_epoch])
        found.append(run)
    equal(*found)


METRICS = {
    "falls, then stays": np.r_[np.linspace(3.0, 1.0, 60), np.full(140, 1.0)],
    "noise": np.random.default_rng(0).normal(size=N),
    "slowly down": 2.0 * 0.9999 ** np.arange(N),
    "up": np.linspace(-1.0, 1.0, N),
    "with nan and inf": np.where(
        np.arange(N) % 7 == 3, np.nan, np.where(np.arange(N) % 11 == 5, -np.inf, np.sin(np.arange(N) / 9))
    ),
    "nan": np.full(N, np.nan),
}
PLATEAUS = {
    "default": {},
    "max": {"mode": "max", "patience": 3},
    "absolute": {"threshold_mode": "abs", "threshold": 0.01, "patience": 4, "factor": 0.5},
    "absolute max": {"mode": "max", "threshold_mode": "abs", "threshold": 0.05, "patience": 2},
    "cooldown": {"cooldown": 6, "patience": 2, "factor": 0.7},
    "floors": {"min_lr": [0.01, 0.02], "patience": 0, "factor": 0.6},
    "floor, eps": {"min_lr": 1e-3, "patience": 1, "factor": 0.9, "eps": 1e-3},
    "to the floor": {"factor": 0.0, "patience": 5, "min_lr": 0.001},
}


@pytest.mark.parametrize("metrics", METRICS)
@pytest.mark.parametrize("name", PLATEAUS)
def test_plateaus_as_pytorch(torch, name, metrics):
    found = []
    for module, made in ((ours, optimizer()), (torch.optim.lr_scheduler, of_torch(torch))):
        scheduler = module.ReduceLROnPlateau(made, **PLATEAUS[name])
        run = []
        for t, metric in enumerate(METRICS[metrics]):
            scheduler.step(float(metric))
            run.append([*lrs_of(made), scheduler.best, scheduler.num_bad_epochs, scheduler.in_cooldown])
            if t == 90:
                made.param_groups[0]["lr"] = 0.4
        found.append(run)
    equal(*found)


RESUMED = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda t: 0.95**t, last_epoch=12),
    "step": lambda s, o: s.StepLR(o, 30, last_epoch=12),
    "milestones": lambda s, o: s.MultiStepLR(o, [30, 80], last_epoch=12),
    "constant": lambda s, o: s.ConstantLR(o, 0.5, 60, last_epoch=12),
    "linear": lambda s, o: s.LinearLR(o, 0.1, total_iters=90, last_epoch=12),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9, last_epoch=12),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 30, last_epoch=12),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 20, last_epoch=12),
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_is_taken_up_at_an_epoch_as_pytorch(torch, name):
    if not hasattr(torch.optim.lr_scheduler.LRScheduler, "_is_initial"):
        pytest.skip("older versions of PyTorch change the learning rate when a run is taken up")
    found = []
    for module, made in ((ours, optimizer()), (torch.optim.lr_scheduler, of_torch(torch))):
        for group in made.param_groups:
            group["initial_lr"] = group["lr"] * 2.0
        found.append(trajectory([RESUMED[name](module, made)], made))
    equal(*found)


# ---- what needs no PyTorch

CLOSED = {
    "step": (MAKERS["step"], lambda t: 0.1 ** (t // 30)),
    "milestones": (MAKERS["milestones"], lambda t: 0.1 ** ((t >= 30) + (t >= 80))),
    "constant": (MAKERS["constant"], lambda t: 1 / 3 if t < 5 else 1.0),
    "linear": (MAKERS["linear"], lambda t: 1 / 3 + 2 / 3 * min(t, 5) / 5),
    "linear to 0": (MAKERS["linear to 0"], lambda t: 1.0 - min(t, 20) / 20),
    "exponential": (MAKERS["exponential"], lambda t: 0.97**t),
    "cosine": (MAKERS["cosine"], lambda t: (1 + math.cos(math.pi * t / 200)) / 2),
    "cosine 1": (MAKERS["cosine 1"], lambda t: 1.0 - t % 2),
    "restarts": (MAKERS["restarts"], lambda t: (1 + math.cos(math.pi * (t % 30) / 30)) / 2),
    "lambda": (MAKERS["lambda"], lambda t: 0.95**t),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name):
    make, factor = CLOSED[name]
    made = Groups()
    want = np.outer([factor(t) for t in range(N + 1)], RATES)
    np.testing.assert_allclose(trajectory([make(ours, made)], made), want, rtol=1e-9, atol=1e-12)


def test_the_state_is_complete_with_the_optimizers():
    """Saved as text in the middle, and taken by new ones: the run goes on with the same numbers."""
    for make in MAKERS.values():
        made = optimizer()
        scheduler = make(ours, made)
        trajectory([scheduler], made, 73, hand=True)
        text = json.dumps([scheduler.state_dict(), made.state_dict()])
        new = optimizer()
        other = make(ours, new)
        trajectory([other], new, 5)
        state, of_optimizer = json.loads(text)
        new.load_state_dict(of_optimizer)
        other.load_state_dict(state)
        assert other.last_epoch == 73
        assert other.get_last_lr() == scheduler.get_last_lr()
        assert trajectory([other], new).tolist() == trajectory([scheduler], made).tolist()


@pytest.mark.parametrize("name", PLATEAUS)
def test_the_state_of_a_plateau(name):
    metrics = METRICS["noise"].tolist()
    made, new = Groups(), Groups()
    a, b = ours.ReduceLROnPlateau(made, **PLATEAUS[name]), ours.ReduceLROnPlateau(new)
    for x in metrics[:73]:
        a.step(x)
    new.param_groups = copy.deepcopy(made.param_groups)
    b.load_state_dict(json.loads(json.dumps(a.state_dict())))
    for x in metrics[73:]:
        a.step(x)
        b.step(x)
        assert (lrs_of(made), a.best, a.state_dict()) == (lrs_of(new), b.best, b.state_dict())


@pytest.mark.parametrize("name", [name for name in MAKERS if "lambda" not in name])
def test_a_state_of_pytorch_is_taken(torch, name):
    theirs, mine = of_torch(torch), optimizer()
    scheduler, other = MAKERS[name](torch.optim.lr_scheduler, theirs), MAKERS[name](ours, mine)
    trajectory([scheduler], theirs, 33)
    other.load_state_dict(scheduler.state_dict())
    for group, lr in zip(mine.param_groups, lrs_of(theirs), strict=True):
        group["lr"] = lr
    equal(trajectory([other], mine), trajectory([scheduler], theirs))


def test_a_state_of_pytorchs_plateau_is_taken(torch):
    theirs, mine = of_torch(torch), optimizer()
    a, b = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, "max", patience=2), ours.ReduceLROnPlateau(mine)
    for x in (1.0, 2.0, 2.0, 2.0):
        a.step(x)
    b.load_state_dict(a.state_dict())
    assert (b.mode, b.patience, b.best, b.num_bad_epochs) == ("max", 2, 2.0, 2)


class Fading:
    """A function with a memory."""

    def __init__(self, rate):
        self.rate, self.calls = rate, [0]

    def __call__(self, t):
        self.calls[0] += 1
        return self.rate**t


def test_functions_with_a_memory_are_part_of_the_state():
    a, b = (ours.LambdaLR(Groups(), [Fading(rate), lambda t: 1.0]) for rate in (0.5, 0.9))
    a.step()
    state = a.state_dict()
    a.step()
    assert state["lr_lambdas"] == [{"rate": 0.5, "calls": [2]}, None]  # a copy
    b.load_state_dict(state)
    b.step()
    assert (b.last_epoch, b.lr_lambdas[0].rate, b.lr_lambdas[0].calls, lrs_of(b.optimizer)) == (
        2,
        0.5,
        [3],
        [0.125, 0.03],
    )
    assert state["lr_lambdas"][0]["calls"] == [2]


def test_a_sequence_inside_a_sequence_begins_with_its_own_epoch_0():
    for at in (0, 1):
        made = Groups([1.0])
        inner = ours.SequentialLR(made, [ours.ConstantLR(made, 0.5, 9), ours.ExponentialLR(made, 0.9)], [2])
        outer = [ours.StepLR(made, 99), inner] if at else [inner, ours.StepLR(made, 99)]
        scheduler = ours.SequentialLR(made, outer, [4])
        run = [scheduler.get_last_lr()[0]]
        for _ in range(7):
            scheduler.step()
            run.append(scheduler.get_last_lr()[0])
        want = [0.5, 0.5, 1.0, 0.9]
        equal(run, [1.0] * 4 + want if at else want + [1.0] * 4)


def test_a_schedule_of_ones_own():
    class Triangle(ours.LRScheduler):
        def __init__(self, optimizer, period, last_epoch=-1):
            self.period = period
            super().__init__(optimizer, last_epoch)

        def get_lr(self):
            return [lr * (1 + self.last_epoch % self.period) for lr in self.base_lrs]

    made = Groups([0.5])
    scheduler = Triangle(made, 3)
    assert trajectory([scheduler], made, 4).reshape(-1).tolist() == [0.5, 1.0, 1.5, 0.5, 1.0]
    state = scheduler.state_dict()
    assert state == {"period": 3, "last_epoch": 4, "base_lrs": [0.5], "_last_lr": [1.0]}
    other = Triangle(Groups([9.0]), 5)
    other.load_state_dict(state)
    other.step()
    assert (other.period, other.get_last_lr()) == (3, [1.5])
    with pytest.raises(NotImplementedError, match="LRScheduler has no get_lr"):
        ours.LRScheduler(Groups())


def test_what_is_given_out_is_a_copy():
    made = Groups()
    scheduler = ours.StepLR(made, 1)
    scheduler.get_last_lr().clear()
    scheduler.state_dict()["base_lrs"].clear()
    assert scheduler.get_last_lr() == RATES == scheduler.base_lrs
    state = scheduler.state_dict()
    scheduler.load_state_dict(state)
    state["base_lrs"].clear()
    assert scheduler.base_lrs == RATES


def test_the_initial_learning_rate_stays_with_the_group():
    made = optimizer()
    ours.LinearLR(made)
    assert [group["initial_lr"] for group in made.param_groups] == RATES
    made.param_groups[0]["lr"] = 7.0
    assert ours.ExponentialLR(made, 0.5).base_lrs == RATES
    assert lrs_of(made) == [7.0, pytest.approx(0.01)]


def test_a_run_is_taken_up_with_the_state_of_the_optimizer():
    made, new = optimizer(), optimizer()
    scheduler = ours.ExponentialLR(made, 0.9)
    trajectory([scheduler], made, 10)
    new.load_state_dict(made.state_dict())
    other = ours.ExponentialLR(new, 0.9, last_epoch=scheduler.last_epoch - 1)
    assert (other.last_epoch, other.base_lrs) == (10, RATES)
    assert trajectory([other], new).tolist() == trajectory([scheduler], made).tolist()


def test_a_run_with_an_optimizer():
    w = Value(1.0)
    made = nn.optim.SGD([w], lr=0.1)
    scheduler = ours.ExponentialLR(made, 0.5)
    want = 1.0
    for t in range(5):
        made.zero_grad()
        (w * w).backward()
        made.step()
        scheduler.step()
        want -= 0.1 * 0.5**t * 2.0 * want
    assert w.data == pytest.approx(want, rel=1e-14)


@pytest.mark.parametrize(
    "metric", [2.0, 2, np.float32(2), Value(2.0), Tensor([[2.0]]), Tensor(2.0, requires_grad=True) * 1.0, np.array(2.0)]
)
def test_kinds_of_metric(metric):
    scheduler = ours.ReduceLROnPlateau(Groups(), patience=0)
    scheduler.step(3.0)
    scheduler.step(metric)
    assert scheduler.best == 2.0
    assert type(scheduler.best) is float
    assert lrs_of(scheduler.optimizer) == RATES


# ---- one table: a bad call, its class, what it says; the optimizer stays as it was


class Wrong:
    param_groups = ({"lr": 0.1},)


def stepped(make, change):
    def call(made):
        scheduler = make(ours, made)
        change(scheduler)
        before = scheduler.state_dict(), [dict(group) for group in made.param_groups]
        try:
            scheduler.step()
        finally:
            assert before == (scheduler.state_dict(), made.param_groups) or "nan" in str(before)

    return call


def set_lr(lr):
    return lambda scheduler: scheduler.optimizer.param_groups[0].update(lr=lr)


def loaded(make, **changes):
    def call(made):
        scheduler = make(ours, made)
        state = {**scheduler.state_dict(), **changes}
        before = scheduler.state_dict()
        try:
            scheduler.load_state_dict({name: x for name, x in state.items() if x is not ...})
        finally:
            assert scheduler.state_dict() == before

    return call


def plateau(**options):
    return lambda o: ours.ReduceLROnPlateau(o, **options)


def metric(x):
    def call(made):
        scheduler = ours.ReduceLROnPlateau(made)
        before = scheduler.state_dict()
        try:
            scheduler.step(x)
        finally:
            assert scheduler.state_dict() == before

    return call


PARTS = {
    "two": lambda o: [ours.StepLR(o, 5), ours.StepLR(o, 6)],
    "other": lambda o: [ours.StepLR(o, 5), ours.StepLR(Groups(), 6)],
    "plateau": lambda o: [ours.StepLR(o, 5), ours.ReduceLROnPlateau(o)],
}
in_sequence = MAKERS["sequence of one"]
BEFORE = [  # what a constructor refuses before it touches anything
    (lambda o: ours.StepLR([1.0], 5), "a scheduler is given an optimizer", "param_groups", "list [1.0]"),
    (lambda o: ours.StepLR(Groups([]), 5), "a scheduler is given an optimizer"),
    (lambda o: ours.StepLR(Wrong(), 5), "a scheduler is given an optimizer"),
    (lambda o: ours.LambdaLR(None, abs), "a scheduler is given an optimizer"),
    (lambda o: ours.ReduceLROnPlateau(Value(1.0)), "a scheduler is given an optimizer"),
    (lambda o: ours.SequentialLR(o.param_groups, [], []), "a scheduler is given an optimizer"),
    (lambda o: ours.StepLR(Groups(["fast"]), 5), 'InputError: "lr" of group 0 is a number, not str'),
    (lambda o: ours.StepLR(o, 0), "step_size of StepLR is at least 1, not 0"),
    (lambda o: ours.StepLR(o, 2.5), "step_size of StepLR is a whole number, not float 2.5"),
    (lambda o: ours.StepLR(o, True), "step_size of StepLR is a whole number"),
    (lambda o: ours.StepLR(o, 5, 0.0), "gamma of StepLR is above 0, not 0"),
    (lambda o: ours.StepLR(o, 5, gamma=-1), "gamma of StepLR is above 0, not -1"),
    (lambda o: ours.StepLR(o, 5, gamma="half"), "gamma of StepLR is a number, not str 'half'"),
    (lambda o: ours.StepLR(o, 5, gamma=math.nan), "gamma of StepLR is above 0, not nan"),
    (lambda o: ours.ExponentialLR(o, math.inf), "gamma of ExponentialLR is ", "not inf"),
    (lambda o: ours.ExponentialLR(o, None), "gamma of ExponentialLR is a number, not NoneType"),
    (lambda o: ours.MultiStepLR(o, 30), "milestones of MultiStepLR is a list, not int 30"),
    (lambda o: ours.MultiStepLR(o, "30"), "milestones of MultiStepLR is a list, not str '30'"),
    (lambda o: ours.MultiStepLR(o, [30, 40.5]), "one of milestones of MultiStepLR is a whole number, not float 40.5"),
    (lambda o: ours.MultiStepLR(o, [-1]), "one of milestones of MultiStepLR is at least 0, not -1"),
    (lambda o: ours.MultiStepLR(o, [3], 0), "gamma of MultiStepLR is above 0"),
    (lambda o: ours.ConstantLR(o, 0.0), "factor of ConstantLR is above 0 and at most 1, not 0"),
    (lambda o: ours.ConstantLR(o, 1.5), "factor of ConstantLR is above 0 and at most 1, not 1.5"),
    (lambda o: ours.ConstantLR(o, total_iters=0), "total_iters of ConstantLR is at least 1, not 0"),
    (lambda o: ours.LinearLR(o, 0.0), "start_factor of LinearLR is above 0 and at most 1, not 0"),
    (lambda o: ours.LinearLR(o, end_factor=-0.1), "end_factor of LinearLR is at least 0 and at most 1, not -0.1"),
    (lambda o: ours.LinearLR(o, total_iters=2.0), "total_iters of LinearLR is a whole number, not float 2.0"),
    (lambda o: ours.CosineAnnealingLR(o, 0), "T_max of CosineAnnealingLR is at least 1, not 0"),
    (lambda o: ours.CosineAnnealingLR(o, 5, -0.1), "eta_min of CosineAnnealingLR is at least 0, not -0.1"),
    (lambda o: ours.CosineAnnealingWarmRestarts(o, 0), "T_0 of CosineAnnealingWarmRestarts is at least 1"),
    (lambda o: ours.CosineAnnealingWarmRestarts(o, 5, 1.5), "T_mult of CosineAnnealingWarmRestarts is a whole number"),
    (lambda o: ours.LambdaLR(o, 0.5), "lr_lambda of LambdaLR is a function, or a list of 2, not float 0.5"),
    (lambda o: ours.LambdaLR(o, [abs]), "lr_lambda of LambdaLR is a function, or a list of 2, not list"),
    (lambda o: ours.LambdaLR(o, [abs, 1]), "lr_lambda of LambdaLR is a function, or a list of 2, not list"),
    (lambda o: ours.StepLR(o, 5, last_epoch=3), 'last_epoch=3 takes up a run, and group 0 has no "initial_lr"'),
    (lambda o: ours.StepLR(o, 5, last_epoch=-2), "last_epoch of StepLR is at least -1, not -2"),
    (lambda o: ours.StepLR(o, 5, last_epoch=0.5), "last_epoch of StepLR is a whole number"),
    (plateau(mode="mim"), "no mode of ReduceLROnPlateau 'mim': did you mean 'min'?"),
    (plateau(mode=None), "no mode of ReduceLROnPlateau NoneType"),
    (plateau(threshold_mode="relative"), "no threshold_mode of ReduceLROnPlateau 'relative'"),
    (plateau(factor=1.0), "factor of ReduceLROnPlateau is at least 0 and below 1, not 1"),
    (plateau(patience=-1), "patience of ReduceLROnPlateau is at least 0, not -1"),
    (plateau(patience=1.5), "patience of ReduceLROnPlateau is a whole number"),
    (plateau(threshold=-1), "threshold of ReduceLROnPlateau is at least 0"),
    (plateau(cooldown="long"), "cooldown of ReduceLROnPlateau is a whole number"),
    (plateau(min_lr=[0.1]), "min_lr of ReduceLROnPlateau has 1 numbers, and the optimizer 2 groups"),
    (plateau(min_lr="low"), "of ReduceLROnPlateau is a number, not str 'low'"),
    (plateau(min_lr=[0.1, -1]), "one of min_lrs of ReduceLROnPlateau is at least 0, not -1"),
    (plateau(eps=-1), "eps of ReduceLROnPlateau is at least 0"),
    (lambda o: ours.SequentialLR(o, [], []), "SequentialLR is given a list of schedulers, not list []"),
    (lambda o: ours.SequentialLR(o, 5, []), "SequentialLR is given a list of schedulers, not int 5"),
    (lambda o: ours.SequentialLR(o, ["step"], []), "scheduler 0 of SequentialLR is none that steps without a metric"),
]
AFTER = [
    (lambda o: ours.LambdaLR(o, lambda t: "half"), "what lr_lambda gives for epoch 0 is a number, not str 'half'"),
    (lambda o: ours.LambdaLR(o, lambda t: math.nan), "what lr_lambda gives for epoch 0 is finite, not nan"),
    (lambda o: ours.SequentialLR(o, PARTS["two"](o), []), "2 schedulers have 1 milestones, in order, not list []"),
    (lambda o: ours.SequentialLR(o, PARTS["two"](o), [1, 2]), "2 schedulers have 1 milestones, in order"),
    (lambda o: ours.SequentialLR(o, PARTS["two"](o), ["1"]), "one of milestones of SequentialLR is a whole number"),
    (lambda o: ours.SequentialLR(o, [*PARTS["two"](o), ours.StepLR(o, 1)], [5, 2]), "in order, not list [5, 2]"),
    (
        lambda o: ours.SequentialLR(o, PARTS["two"](o), [5], 3),
        "takes up a run by load_state_dict, not by last_epoch=int 3",
    ),
    (lambda o: ours.SequentialLR(o, PARTS["other"](o), [5]), "scheduler 1 of SequentialLR has another optimizer"),
    (lambda o: ours.SequentialLR(o, PARTS["plateau"](o), [5]), "scheduler 1 of SequentialLR is none that steps"),
    (stepped(MAKERS["step"], set_lr("fast")), '"lr" of group 0 is a number, not str'),
    (stepped(MAKERS["step"], set_lr(Value(0.1))), '"lr" of group 0 is a number, not Value'),
    (stepped(MAKERS["exponential"], set_lr(math.nan)), '"lr" of group 0 is finite, not nan'),
    (stepped(MAKERS["exponential up"], set_lr(1.79e308)), "the learning rates of ExponentialLR is finite, not inf"),
    (stepped(MAKERS["step"], lambda x: x.optimizer.param_groups[0].pop("lr")), '"lr" of group 0 is a number, not None'),
    (
        stepped(MAKERS["restarts"], lambda x: x.optimizer.param_groups.append({"lr": 1.0})),
        "CosineAnnealingWarmRestarts has 2 learning rates, and the optimizer 3 groups",
    ),
    (
        stepped(MAKERS["lambda"], lambda x: x.optimizer.param_groups.append({"lr": 1.0})),
        "LambdaLR has 2 learning rates",
    ),
    (lambda o: MAKERS["restarts"](ours, o).step(-1), "epoch of CosineAnnealingWarmRestarts is at least 0, not -1"),
    (lambda o: MAKERS["restarts"](ours, o).step("next"), "epoch of CosineAnnealingWarmRestarts is a number, not str"),
    (metric("low"), "the metric of ReduceLROnPlateau: a Tensor holds real numbers, not str 'low'"),
    (metric(None), "the metric of ReduceLROnPlateau: a Tensor holds real numbers, not NoneType"),
    (metric([1.0, 2.0]), "the metric of ReduceLROnPlateau is one number, not an array of shape (2,)"),
    (metric(Tensor([1.0, 2.0])), "the metric of ReduceLROnPlateau is one number, not an array of shape (2,)"),
    (lambda o: MAKERS["step"](ours, o).load_state_dict([1]), "the state of a scheduler is a dict, not list [1]"),
    (
        loaded(MAKERS["step"], gamma=...),
        "the state does not fit this StepLR, and nothing was loaded:\n  missing: gamma",
    ),
    (loaded(MAKERS["step"], delta=1), "unexpected: delta"),
    (loaded(MAKERS["step"], gamma="x"), "gamma is a number, not str 'x'"),
    (loaded(MAKERS["step"], step_size=0), "step_size is at least 1, not 0"),
    (loaded(MAKERS["step"], last_epoch=1.5), "last_epoch is a whole number, not float 1.5"),
    (loaded(MAKERS["step"], base_lrs=[1.0]), "base_lrs is of 1 groups, and the optimizer has 2"),
    (loaded(MAKERS["step"], _last_lr=3.0), "_last_lr is a list, not float 3.0"),
    (loaded(MAKERS["milestones"], milestones=["x"]), "one of milestones is a whole number, not str 'x'"),
    (loaded(MAKERS["lambda"], lr_lambdas=[None]), "the state is that of a LambdaLR with other functions"),
    (loaded(MAKERS["lambda"], lr_lambdas=[None, {"a": 1}]), "the state is that of a LambdaLR with other functions"),
    (loaded(in_sequence, _schedulers=[]), "the state is not that of a SequentialLR of 1 schedulers"),
    (loaded(in_sequence, _schedulers=[{}]), "the state does not fit this StepLR"),
    (loaded(in_sequence, _milestones=[3]), "the state is not that of a SequentialLR of 1 schedulers"),
    (loaded(lambda s, o: s.ReduceLROnPlateau(o), mode="mid"), "no mode 'mid': did you mean 'min'?"),
    (loaded(lambda s, o: s.ReduceLROnPlateau(o), best="x"), "best is a number, not str 'x'"),
    (loaded(lambda s, o: s.ReduceLROnPlateau(o), min_lrs=[0.0]), "min_lrs is of 1 groups, and the optimizer has 2"),
]


def refused(call, made, texts):
    with pytest.raises(MicrogadError) as caught:
        call(made)
    said = f"{type(caught.value).__name__}: {caught.value}"
    for text in texts:
        assert text in said
    assert type(caught.value) is (StateDictError if "the state does" in said or "the state is " in said else InputError)


@pytest.mark.parametrize("k", range(len(BEFORE)))
def test_what_a_constructor_refuses(k):
    made = Groups()
    call, *texts = BEFORE[k]
    refused(call, made, texts)
    assert made.param_groups == [{"lr": lr} for lr in RATES]


@pytest.mark.parametrize("k", range(len(AFTER)))
def test_what_else_is_refused(k):
    call, *texts = AFTER[k]
    refused(call, Groups(), texts)


def test_a_sequence_loads_all_or_nothing():
    made = Groups()
    scheduler = MAKERS["sequence"](ours, made)
    trajectory([scheduler], made, 20)
    good = scheduler.state_dict()
    trajectory([scheduler], made, 3)
    before, bad = scheduler.state_dict(), copy.deepcopy(good)
    bad["_schedulers"][2]["T_max"] = 0
    with pytest.raises(StateDictError, match="T_max is at least 1"):
        scheduler.load_state_dict(bad)
    assert scheduler.state_dict() == before != good
    scheduler.load_state_dict(good)
    assert scheduler.state_dict() == good


def test_groups_that_are_added_are_known_where_they_can_be():
    made = Groups()
    step, plain = ours.StepLR(made, 1, 0.5), ours.ReduceLROnPlateau(made, patience=0, factor=0.5)
    listed = ours.ReduceLROnPlateau(made, min_lr=[0.0, 0.0])
    made.param_groups.append({"lr": 1.0})
    step.step()
    plain.step(1.0)
    plain.step(1.0)
    assert lrs_of(made) == [0.125, 0.0075, 0.25]
    plain.load_state_dict(plain.state_dict())
    assert plain.min_lrs == [0.0, 0.0, 0.0]
    with pytest.raises(InputError, match="min_lr of ReduceLROnPlateau has 2 numbers, and the optimizer 3 groups"):
        listed.step(1.0)
    assert listed.last_epoch == 0


def test_nothing_is_recorded():
    loss = Value(2.0, name="loss")
    scheduler = ours.ReduceLROnPlateau(Groups())
    scheduler.step(mg.exp(loss))
    assert loss.grad is None
    assert scheduler.best == math.exp(2.0)

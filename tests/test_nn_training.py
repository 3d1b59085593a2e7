"""The training loop: that networks learn by it, what it records, and that whatever goes wrong loses nothing."""

# ruff: noqa: N806, because matrices have capital names

import importlib.util
import io
import math
import random
import sys
import types
from functools import partial

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn, randomness
from microgad.errors import (
    AnomalyError,
    GraphCutError,
    InputError,
    MicrogadError,
    MissingExtraError,
    ShapeError,
    TrainingError,
)
from microgad.nn import data, lr_scheduler, optim

X, Y = data.moons(50, seed=0)
COLUMN, SIGNS = Y.reshape(-1, 1), 2.0 * Y - 1.0
ONE_HOT = np.eye(2)[Y]
HELD = data.moons(31, seed=1)
NAN, INF = math.nan, math.inf
OPTIMIZERS = {
    "sgd": optim.SGD,
    "nag": optim.NAG,
    "adagrad": optim.Adagrad,
    "rmsprop": optim.RMSprop,
    "adadelta": optim.Adadelta,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "nadam": optim.NAdam,
}


def net(outputs=2, seed=1, **options):
    mg.manual_seed(seed)
    return nn.MLP(2, [8, outputs], **options)


def normalized(seed=1):
    mg.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))


def bits(model):
    state = model if isinstance(model, dict) else model.state_dict()
    return {name: x.tobytes() for name, x in state.items()}


def finite(model):
    return all(np.isfinite(x).all() for x in model.state_dict().values())


def outputs(model, inputs=X):
    with mg.no_grad():
        return model(Tensor(inputs)).data


def right(model, inputs, labels):
    out = outputs(model, inputs)
    return float(np.mean(out.argmax(1) == labels if out.shape[1] > 1 else (out[:, 0] > 0) == (labels > 0)))


def by_hand(model, optimizer, y=COLUMN, epochs=3, batch_size=16, seed=7, steps=100):
    """The loop as it is written out: what `fit` has to give, bit for bit."""
    batches = data.minibatches(X, y, batch_size=batch_size, seed=seed)
    for x, y in [batch for _ in range(epochs) for batch in batches][:steps]:

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = nn.mse_loss(model(Tensor(x)), y)
            loss.backward()
            return loss

        optimizer.step(closure)
    return model


class Spy(nn.Module):
    """A network that notes what it was called with, and in which mode."""

    def __init__(self, inside):
        self.inside, self.calls = inside, []

    def forward(self, x):
        out = self.inside(x)
        self.calls.append((self.training, *x.shape, x.dtype.name, out.dtype.name))
        return out


# ---- it learns


@pytest.mark.parametrize("seed", range(3))
def test_moons_are_separated(seed):
    mg.manual_seed(seed)
    X, y = data.moons(200, noise=0.1)
    model = nn.MLP(2, [16, 16, 1])
    nn.fit(model, X, y, loss="bce_with_logits", lr=0.02, epochs=150)
    assert right(model, X, y) == 1.0


@pytest.mark.parametrize(
    ("points", "widths", "epochs"),
    [(data.xor(4, noise=0.0, seed=0), [8, 1], 300), (data.spirals(seed=0), [32, 32, 2], 150)],
    ids=["xor", "spirals"],
)
def test_what_one_layer_cannot_separate(points, widths, epochs):
    mg.manual_seed(0)
    model = nn.MLP(2, widths)
    nn.fit(model, *points, lr=0.02, epochs=epochs)
    assert right(model, *points) == 1.0


def test_digits_that_were_not_trained_on():
    X, test, y, labels = data.train_test_split(*data.digits(), seed=2, stratify=True)
    X, test = data.standardize(X, test)
    mg.manual_seed(0)
    model = nn.MLP(64, [100, 10])
    history = nn.fit(model, X, y, epochs=15, validation=(test, labels))
    assert history["val_accuracy"][-1] == right(model, test, labels) > 0.96


# ---- the steps it takes


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_steps_are_those_of_a_loop_written_out(name):
    make = OPTIMIZERS[name]
    model = net(1)
    expected = bits(by_hand(model, make(model.parameters(), lr=0.05)))
    for optimizer in (name, make, lambda params, lr: make(params, lr=lr)):
        model = net(1)
        nn.fit(model, X, Y, loss="mse", optimizer=optimizer, lr=0.05, epochs=3, batch_size=16, seed=7)
        assert bits(model) == expected
    model = net(1)
    nn.fit(model, X, Y, loss="mse", optimizer=make(model.parameters(), lr=0.05), epochs=3, batch_size=16, seed=7)
    assert bits(model) == expected


def test_the_defaults_are_adam_with_its_own_and_batches_of_32():
    a, b = net(1), net(1)
    nn.fit(a, X, COLUMN, epochs=2, seed=7)
    by_hand(b, optim.Adam(b.parameters()), epochs=2, batch_size=32)
    assert bits(a) == bits(b)
    assert nn.fit(net(), X, Y).epochs == 100


def test_an_optimizer_goes_on_where_it_was():
    a, b = net(1), net(1)
    optimizer = optim.Adam(a.parameters())
    nn.fit(a, X, COLUMN, optimizer=optimizer, epochs=1, seed=7)
    nn.fit(a, X, COLUMN, optimizer=optimizer, epochs=1, seed=8)
    fresh = optim.Adam(b.parameters())
    by_hand(b, fresh, epochs=1, batch_size=32, seed=7)
    by_hand(b, fresh, epochs=1, batch_size=32, seed=8)
    assert bits(a) == bits(b)


def test_a_part_of_the_parameters_can_be_trained():
    model = net()
    before = bits(model)
    nn.fit(model, X, Y, optimizer=optim.SGD(model.layers[1].parameters(), lr=0.1), epochs=2)
    after = bits(model)
    assert [name for name in after if after[name] != before[name]] == ["layers.1.weight", "layers.1.bias"]
    model = net()
    model.layers[0].requires_grad_(False)
    nn.fit(model, X, Y, epochs=2)
    after = bits(model)
    assert [name for name in after if after[name] != before[name]] == ["layers.1.weight", "layers.1.bias"]


# ---- losses


def test_losses_by_name_class_instance_and_function_are_the_same():
    given = [
        *("bce_with_logits", "binary_cross_entropy_with_logits"),
        *(nn.binary_cross_entropy_with_logits, partial(nn.binary_cross_entropy_with_logits, reduction="mean")),
        *(nn.BCEWithLogitsLoss, nn.BCEWithLogitsLoss()),
        type("Mine", (nn.BCEWithLogitsLoss,), {}),
    ]
    found = [nn.fit(net(1), X, Y, loss=loss, epochs=2, seed=0) for loss in given]
    assert all(history == found[0] for history in found)
    assert set(found[0]) == {"loss", "accuracy", "lr"}
    plain = nn.fit(net(1), X, Y, loss=lambda out, y: nn.binary_cross_entropy_with_logits(out, y), epochs=2, seed=0)
    assert plain == {key: found[0][key] for key in ("loss", "lr")}


@pytest.mark.parametrize(
    ("y", "outs", "same"),
    [
        (Y, 2, ("cross_entropy", Y)),
        (Y.astype(np.uint8), 2, ("cross_entropy", Y)),
        (Y > 0, 2, ("cross_entropy", Y)),
        (Y.tolist(), 3, ("cross_entropy", Y)),
        (Y, 1, ("bce_with_logits", Y)),
        (Y > 0, 1, ("bce_with_logits", COLUMN)),
        (3 * Y, 1, ("mse", 3.0 * COLUMN)),
        (SIGNS.astype(int), 1, ("mse", SIGNS)),
        (Y.astype(float), 1, ("mse", COLUMN)),
        (COLUMN, 1, ("mse", COLUMN.astype(float))),
        (ONE_HOT, 2, ("mse", ONE_HOT)),
    ],
)
def test_the_default_loss_follows_from_targets_and_outputs(y, outs, same):
    loss, targets = same
    expected = nn.fit(net(outs), X, targets, loss=loss, epochs=2, seed=0)
    assert nn.fit(net(outs), X, y, epochs=2, seed=0) == expected


CLASSES = [
    ("cross_entropy", nn.CrossEntropyLoss(), 3, Y),
    ("cross_entropy", nn.CrossEntropyLoss(weight=[1.0, 2.0], label_smoothing=0.1), 2, ONE_HOT),
    ("nll", nn.NLLLoss(), 2, Y),
    ("bce_with_logits", nn.BCEWithLogitsLoss(pos_weight=2.0), 1, Y),
    ("bce_with_logits", nn.BCEWithLogitsLoss(), 2, ONE_HOT),
    ("soft_margin", nn.SoftMarginLoss(), 1, SIGNS),
    ("hinge", nn.HingeLoss(), 1, SIGNS),
    ("exponential", nn.ExponentialLoss(), 1, SIGNS),
    ("sigmoid_margin", nn.SigmoidLoss(), 1, SIGNS),
]


@pytest.mark.parametrize(("name", "module", "outs", "y"), CLASSES, ids=lambda x: x if isinstance(x, str) else None)
def test_losses_of_classes_record_what_is_right(name, module, outs, y):
    """With a learning rate of 0 the means over the batches are those over all examples: the last one weighs less."""
    for loss in (name, module):
        model = net(outs, seed=5)
        for p in model.parameters():
            p.data *= 3.0  # so that some of the outputs are right, and some not
        history = nn.fit(model, X, y, loss=loss, optimizer="sgd", lr=0.0, batch_size=16, epochs=2, validation=(X, y))
        out = outputs(model)
        targets = y.reshape(-1, 1) if outs == 1 else y
        function = module if loss is module else nn.losses.LOSSES[name]
        expected = float(function(Tensor(out), targets).item())
        labels = Y if outs > 1 else COLUMN
        if outs == 2 and name == "bce_with_logits":
            hits = np.mean((out > 0) == (ONE_HOT > 0))
        else:
            hits = np.mean((out.argmax(1) if outs > 1 else out > 0) == labels)
        assert 0.0 < hits < 1.0
        assert hits != 0.5
        for key, number in (("loss", expected), ("accuracy", hits)):
            np.testing.assert_allclose(history[f"val_{key}"], [number] * 2, rtol=1e-12)
            np.testing.assert_allclose(history[key], [number] * 2, rtol=1e-12)


@pytest.mark.parametrize("loss", ["mse", "l1", "huber", nn.SmoothL1Loss])
def test_losses_of_numbers_record_no_accuracy(loss):
    history = nn.fit(net(1), X, Y, loss=loss, epochs=2, validation=HELD)
    assert list(history) == ["loss", "val_loss", "lr"]


def test_a_column_of_outputs_takes_flat_targets_and_any_other_shape_its_own():
    for loss, y in (("mse", SIGNS), ("hinge", SIGNS), ("bce_with_logits", Y)):
        a = nn.fit(net(1), X, y, loss=loss, epochs=2, seed=0)
        assert a == nn.fit(net(1), X, y.reshape(-1, 1), loss=loss, epochs=2, seed=0)
    with pytest.raises(InputError, match="the label 1 of 1 classes"):  # whose loss would be 0 for whatever
        nn.fit(net(1), X, Y, loss="cross_entropy")
    seen = []
    flat = lambda out, y: seen.append(y.shape) or nn.mse_loss(out.sum(axis=1), y)  # noqa: E731
    nn.fit(net(2), X, SIGNS, loss=flat, epochs=1)
    assert set(seen) == {(2,), (50,), (32,), (18,)}


def test_targets_as_probabilities_learn_what_labels_learn():
    a, b = net(), net()
    one = nn.fit(a, X, Y, loss="cross_entropy", epochs=3, seed=0)
    assert nn.fit(b, X, ONE_HOT, loss="cross_entropy", epochs=3, seed=0) == one
    assert bits(a) == bits(b)


# ---- what is recorded


@pytest.mark.parametrize("validation", [None, HELD, list(HELD)])
def test_there_is_a_number_for_each_epoch(validation):
    history = nn.fit(net(), X, Y, lr=0.01, epochs=20, validation=validation)
    keys = ["loss", "accuracy", *(["val_loss", "val_accuracy"] if validation else []), "lr"]
    assert list(history) == keys
    assert {type(x) for numbers in history.values() for x in numbers} == {float}
    assert {len(numbers) for numbers in history.values()} == {20} == {history.epochs}
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert all(after < before for before, after in zip(history["loss"][::5], history["loss"][5::5], strict=False))
    assert 0.5 < history["accuracy"][-1] <= 1.0
    assert history["lr"] == [0.01] * 20


def test_validation_is_of_the_network_after_the_epoch_in_eval_mode_and_moves_nothing():
    model, states = normalized(), []
    seen = lambda epoch, history: states.append(model.state_dict())  # noqa: E731
    history = nn.fit(model, X, Y, epochs=4, validation=HELD, callback=seen)
    again = normalized()
    for i, state in enumerate(states):
        again.load_state_dict(state)
        assert history["val_loss"][i] == nn.cross_entropy(again.eval()(Tensor(HELD[0])), HELD[1]).item()
        assert history["val_accuracy"][i] == right(again, *HELD)
    plain = normalized()
    nn.fit(plain, X, Y, epochs=4)
    assert bits(plain) == bits(model)


def test_the_text_and_the_best_epoch_of_a_history():
    history = nn.History(loss=[3.0, 1.0, 2.0], val_loss=[0.5, 0.75, 0.25], lr=[0.1, 0.1, 0.01])
    assert repr(history) == "History(3 epochs, best 3: loss 2, val loss 0.25, lr 0.01)"
    assert (history.epochs, history.best_epoch) == (3, 3)
    assert repr(nn.History()) == "History(0 epochs)"
    assert nn.History(loss=[2.0, 1.0, 1.0]).best_epoch == 2
    assert nn.History(loss=[2.0, 1.0], val_loss=[NAN, 7.0]).best_epoch == 2
    assert nn.History(loss=[NAN, INF]).best_epoch == 1
    history["own"] = [1.0]  # as a callback may have done in one epoch
    assert repr(history) == "History(3 epochs, best 3: loss 2, val loss 0.25, lr 0.01)"


# ---- patience and checkpoints


def drifting(**options):
    """Training whose validation loss first falls and then rises, and every state on the way."""
    model, states = net(2, activation="tanh"), []
    y = np.array(Y)
    y[::3] = 1 - y[::3]  # wrong labels, to be learnt by heart
    callback = lambda epoch, history: states.append(model.state_dict())  # noqa: E731
    history = nn.fit(model, X, y, lr=0.1, epochs=40, validation=HELD, callback=callback, **options)
    return model, history, states


@pytest.mark.parametrize("patience", [1, 3, 10])
def test_patience_stops_and_goes_back_to_the_best_epoch(patience):
    _, full, states = drifting()
    best = [1 + int(np.argmin(full["val_loss"][:n])) for n in range(1, 41)]
    end = next(n for n in range(1, 41) if n - best[n - 1] >= patience)
    model, history, _ = drifting(patience=patience)
    assert 1 < history.best_epoch == end - patience < history.epochs == end < 40
    assert history == {key: numbers[:end] for key, numbers in full.items()}
    assert bits(model) == bits(states[end - patience - 1])


def test_patience_that_was_not_used_up_goes_back_too_and_without_it_nothing_does():
    model, history, states = drifting(patience=1000)
    assert history.epochs == 40 > history.best_epoch
    assert bits(model) == bits(states[history.best_epoch - 1])
    model, history, states = drifting()
    assert bits(model) == bits(states[-1]) != bits(states[history.best_epoch - 1])


@pytest.mark.parametrize(
    ("held", "numbers"),
    [
        ((HELD[0], HELD[1].astype(float)), [NAN, 3.0, NAN, 2.0, NAN, 2.0, 0.0]),
        ((HELD[0], HELD[1].astype(float)), [INF, 3.0, INF, 2.0, 2.0, INF, 0.0]),
        (None, [3.0, 2.5, 4.0, 2.0, 2.0, 3.0, 0.0]),
    ],
    ids=["nan", "inf", "no validation"],
)
def test_which_epoch_is_the_best(held, numbers):
    """The first of the smallest; nan is larger than everything. Without validation data the training loss counts."""
    states = []

    def given(out, y):
        if held is None or len(y) == len(held[0]):
            return out.sum() * 0.0 + numbers[len(states)]
        return nn.mse_loss(out, y)

    model = net(1)
    history = nn.fit(
        model, X, SIGNS, loss=given, optimizer=optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1), epochs=7,
        validation=held, patience=2,
        callback=lambda epoch, history: states.append(model.state_dict()),
    )  # fmt: skip
    assert (history.epochs, history.best_epoch) == (6, 4)
    assert bits(model) == bits(states[3])
    assert len({str(bits(state)) for state in states}) == 6


def test_where_no_validation_loss_is_a_number_the_first_epoch_is_the_best():
    model, states = net(1), []
    history = nn.fit(
        model, X, SIGNS, loss=lambda out, y: nn.mse_loss(out, y) * (NAN if len(y) == 31 else 1.0), epochs=9,
        validation=(HELD[0], HELD[1].astype(float)), patience=3,
        callback=lambda epoch, history: states.append(model.state_dict()),
    )  # fmt: skip
    assert (history.epochs, history.best_epoch) == (4, 1)
    assert bits(model) == bits(states[0])


@pytest.mark.parametrize("patience", [None, 3])
def test_a_checkpoint_holds_the_best_weights_so_far(tmp_path, patience):
    path, best = tmp_path / "best.npz", []

    def compare(epoch, history):
        if history.best_epoch == epoch:
            best.append(bits(model))
        assert bits(nn.load(net(2, seed=5, activation="tanh"), path)) == best[-1]

    model, y = net(2, activation="tanh"), np.where(np.arange(50) % 3, Y, 1 - Y)
    given = str(path) if patience else path
    history = nn.fit(
        model, X, y, lr=0.1, epochs=40, validation=HELD, patience=patience, checkpoint=given, callback=compare
    )
    assert 1 < len(best) < history.epochs
    assert (bits(model) == best[-1]) == (patience is not None)
    assert [x.name for x in tmp_path.iterdir()] == ["best.npz"]


# ---- schedulers


def test_a_scheduler_made_before_or_by_a_function_steps_once_an_epoch():
    def check(optimizer, scheduler):
        history = nn.fit(model, X, Y, optimizer=optimizer, scheduler=scheduler, epochs=5)
        assert history["lr"] == [0.1, 0.1, 0.05, 0.05, 0.025]

    model = net()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    check(optimizer, lr_scheduler.StepLR(optimizer, 2, gamma=0.5))
    check(optim.SGD(model.parameters(), lr=0.1), lambda optimizer: lr_scheduler.StepLR(optimizer, 2, gamma=0.5))
    check(optim.SGD(model.parameters(), lr=0.1), partial(lr_scheduler.StepLR, step_size=2, gamma=0.5))
    warm = nn.fit(model, X, Y, lr=0.1, scheduler=lambda x: lr_scheduler.LinearLR(x, 0.5, total_iters=2), epochs=3)
    assert warm["lr"] == pytest.approx([0.05, 0.075, 0.1])


@pytest.mark.parametrize("validation", [None, HELD])
def test_a_plateau_is_one_of_the_validation_loss_or_else_of_the_training_loss(validation):
    seen = []

    class Noting(lr_scheduler.ReduceLROnPlateau):
        def step(self, metrics):
            seen.append(metrics)
            super().step(metrics)

    history = nn.fit(net(), X, Y, scheduler=Noting, epochs=3, validation=validation)
    assert seen == history["val_loss" if validation else "loss"]
    still = partial(lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.5, threshold=1e9, threshold_mode="abs")
    history = nn.fit(net(), X, Y, lr=0.1, scheduler=still, epochs=3, validation=validation)
    assert history["lr"] == [0.1, 0.1, 0.05]


# ---- the same seed, the same numbers


def test_the_seed_decides_everything_bit_for_bit():
    def run(first, **options):
        model = normalized(first)
        return nn.fit(model, X, Y, epochs=3, batch_size=16, **options), bits(model)

    assert run(3) == run(3)
    assert run(3) != run(4)
    assert run(3, seed=5) == run(3, seed=5) != run(3, seed=6)
    a, b = net(1), net(1)
    nn.fit(a, X, COLUMN, epochs=2, seed=5)
    mg.manual_seed(99)  # of no account where the order has a seed of its own
    nn.fit(b, X, COLUMN, epochs=2, seed=5)
    assert bits(a) == bits(b)


@pytest.mark.parametrize(
    ("loss", "outs", "y"),
    [("mse", 1, SIGNS), ("hinge", 1, SIGNS), ("bce_with_logits", 1, Y), ("cross_entropy", 3, Y), (None, 2, ONE_HOT)],
)
@pytest.mark.parametrize("optimizer", ["sgd", "nag", "adam"])
def test_networks_of_values_learn_what_their_twins_learn(loss, outs, y, optimizer):
    mg.manual_seed(2)
    values = nn.scalar.MLP(2, [3, outs], activation="tanh")
    tensors = values.to_module()
    n = slice(0, 20)
    options = {"loss": loss, "optimizer": optimizer, "lr": 0.05, "epochs": 2, "batch_size": 8, "seed": 3}
    a, b = (nn.fit(m, X[n], y[n], validation=(X[20:30], y[20:30]), **options) for m in (values, tensors))
    assert list(a) == list(b)
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol=1e-9)
    for name, x in values.to_module().state_dict().items():
        np.testing.assert_allclose(x, tensors.state_dict()[name], rtol=1e-9, atol=1e-12)


RANDOM = {
    "weights": lambda: nn.MLP(2, [3, 1]).layers[0].bias.data,
    "weights of values": lambda: [p.data for p in nn.scalar.MLP(2, [3, 1]).parameters()],
    "initial weights": lambda: nn.init.normal_(Tensor(np.zeros((3, 2)))).data,
    "dropout": lambda: nn.Dropout(0.5)(Tensor(np.ones(50))).data,
    "made-up classes": lambda: data.moons(9)[0],
    "made-up functions": lambda: data.curve(n=9)[0],
    "splits": lambda: data.train_test_split(X, Y)[0],
    "batches": lambda: next(iter(data.minibatches(X)))[0],
    "fit": lambda: nn.fit(nn.Linear(2, 2), X, Y, epochs=1)["loss"],
}


@pytest.mark.parametrize("what", RANDOM)
def test_everything_random_follows_manual_seed(what):
    draw = RANDOM[what]
    generator = mg.manual_seed(8)
    assert generator is randomness.generator()
    first, second = (np.array(draw()) for _ in range(2))
    mg.manual_seed(8)
    np.testing.assert_array_equal(draw(), first)
    np.testing.assert_array_equal(draw(), second)
    assert (first != second).any()


@pytest.mark.parametrize(
    "seed", [None, True, -1, 1.0, "1", [1], np.random.default_rng(0)], ids=lambda x: type(x).__name__
)
def test_a_seed_is_a_whole_number_and_any_other_changes_nothing(seed):
    before = mg.manual_seed(np.int64(2**40))
    state = before.bit_generator.state
    with pytest.raises(InputError, match="a seed is a whole number of 0 or more, not "):
        mg.manual_seed(seed)
    assert randomness.generator() is before
    assert before.bit_generator.state == state


def test_before_the_first_manual_seed_values_are_those_of_micrograd(monkeypatch):
    monkeypatch.setitem(randomness._state, "seeded", False)
    random.seed(1337)
    weights = [p.data for p in nn.scalar.MLP(2, [3, 1]).parameters()]
    random.seed(1337)
    assert [w for w in weights if w] == [random.uniform(-1, 1) for _ in range(9)]


# ---- modes, kinds of networks and data


def test_training_is_in_training_mode_and_everything_else_in_that_of_use():
    model = Spy(nn.Linear(2, 2))
    nn.fit(model, X, Y, epochs=2, batch_size=20, validation=HELD)
    epoch = [(True, 20, 2), (True, 20, 2), (True, 10, 2), (False, 31, 2)]
    tried, calls = [call[:3] for call in model.calls[:-8]], [call[:3] for call in model.calls[-8:]]
    assert calls == epoch * 2
    assert {call[0] for call in tried} == {False}
    assert sum(call[1] for call in tried) <= 10  # so that trying costs nothing
    assert not any(module.training for module in model.modules())


def failing(kind):
    def callback(epoch, history):
        raise kind

    return callback


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"callback": failing(KeyboardInterrupt)}, KeyboardInterrupt),
        ({"callback": failing(ZeroDivisionError)}, ZeroDivisionError),
        ({"lr": 1e300}, TrainingError),
        ({"loss": "mse"}, ShapeError),
        ({"loss": "mes"}, InputError),
        ({"batch_size": 1}, ShapeError),
        ({}, None),  # though the callback switches
    ],
)
def test_afterwards_it_is_in_eval_mode_whatever_happened(options, error):
    model = normalized().train()
    if error is None:
        nn.fit(model, X, Y, epochs=2, callback=lambda epoch, history: model.train())
    else:
        with pytest.raises(error):
            nn.fit(model, X, Y, **{"epochs": 2, **options})
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize(("n", "batch_size", "steps"), [(33, 32, 1), (33, 16, 2), (34, 16, 3), (2, 32, 1), (9, 9, 1)])
def test_a_last_batch_of_one_is_left_out_where_a_batch_is_normalized(n, batch_size, steps):
    model = normalized()
    history = nn.fit(model, X[:n], Y[:n], epochs=3, batch_size=batch_size)
    assert int(model[1].num_batches_tracked) == 3 * steps
    assert history.epochs == 3
    plain = Spy(nn.Linear(2, 2))
    nn.fit(plain, X[:n], Y[:n], epochs=1, batch_size=batch_size)
    assert sum(call[1] for call in plain.calls if call[0]) == n


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"rows": 1}])
def test_where_every_batch_is_of_one_nothing_moves(options):
    n, model = options.pop("rows", 5), normalized()
    before = bits(model)
    with pytest.raises(ShapeError, match="give a larger batch"):
        nn.fit(model, X[:n], Y[:n], **options)
    assert bits(model) == before


def test_a_network_of_float32_computes_in_float32():
    model = Spy(net(1, dtype="float32"))
    found = []
    history = nn.fit(model, X, SIGNS, loss=lambda out, y: found.append(y.dtype.name) or nn.mse_loss(out, y), epochs=9)
    assert {call[3:] for call in model.calls} == {("float32", "float32")}
    assert set(found) == {"float32"}
    assert {p.dtype.name for p in model.parameters()} == {"float32"}
    assert history["loss"][-1] < history["loss"][0]
    np.testing.assert_allclose(nn.fit(net(1), X, SIGNS, epochs=9)["loss"], history["loss"], rtol=1e-4)
    whole = Spy(net(2))
    nn.fit(whole, (10 * X).astype(np.int8), Y, epochs=1)
    assert {call[3:] for call in whole.calls} == {("float64", "float64")}


def test_data_may_be_lists_or_tensors_and_are_not_changed():
    x, y = X.copy(), Y.copy()
    expected = nn.fit(net(), X, Y, epochs=2, seed=0, validation=HELD)
    assert nn.fit(net(), X.tolist(), Y.tolist(), epochs=2, seed=0, validation=HELD) == expected
    held = (Tensor(HELD[0]), Tensor(np.eye(2)[HELD[1]]))
    got = nn.fit(net(), Tensor(X), Tensor(ONE_HOT), loss="cross_entropy", epochs=2, seed=0, validation=held)
    assert got == expected
    assert (x == X).all()
    assert (y == Y).all()


def test_a_network_may_give_more_than_a_tensor_where_the_loss_takes_it():
    class Two(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 1)

        def forward(self, x):
            return self.a(x), self.b(x)

    mg.manual_seed(0)
    model = Two()
    history = nn.fit(
        model, X, Y, lr=0.05, epochs=20, validation=HELD,
        loss=lambda out, y: nn.cross_entropy(out[0], y) + nn.mse_loss(out[1], y[:, None].astype(float)),
    )  # fmt: skip
    assert history["val_loss"][-1] < 0.7 * history["val_loss"][0]


def test_modules_of_ones_own_may_be_of_values():
    class Line(nn.Module):
        def __init__(self):
            self.slope, self.offset = Value(0.0), [Value(0.0)]

        def forward(self, x):
            return self.slope * x + self.offset[0]

    line, x = Line(), np.linspace(-1, 1, 40).reshape(-1, 1)
    nn.fit(line, x, 3 * x - 2, lr=0.1, epochs=100)
    assert (line.slope.data, line.offset[0].data) == pytest.approx((3.0, -2.0), abs=1e-2)

    class Rows(nn.Module):
        def __init__(self):
            self.inside = nn.scalar.MLP(2, [3, 1])

        def forward(self, x):
            return [self.inside(row) for row in x.tolist()]

    mg.manual_seed(0)
    history = nn.fit(Rows(), X, Y, loss="bce_with_logits", lr=0.1, epochs=4)
    assert list(history) == ["loss", "lr"]
    assert history["loss"][-1] < 0.8 * history["loss"][0]


# ---- callbacks and the bar


@pytest.mark.parametrize(
    ("answer", "epochs"),
    [(True, 2), (np.True_, 2), (None, 5), (1, 5), ("stop", 5), (False, 5), (np.False_, 5)],
    ids=repr,
)
def test_a_callback_sees_every_epoch_and_stops_by_true(answer, epochs):
    seen = []

    def callback(epoch, history):
        seen.append((epoch, history.epochs, len(history["lr"])))
        return answer if epoch == 2 else None

    history = nn.fit(net(), X, Y, epochs=5, callback=callback)
    assert seen == [(i, i, i) for i in range(1, epochs + 1)]
    assert history.epochs == epochs


class Bar:
    """What stands for tqdm."""

    made: list["Bar"]

    def __init__(self, total, unit):
        self.total, self.unit, self.texts, self.closed = total, unit, [], False
        Bar.made.append(self)

    def set_postfix_str(self, text, refresh):
        self.text = text

    def update(self):
        self.texts.append(self.text)

    def close(self):
        self.closed = True


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def bars(monkeypatch):
    """The bars that were made; outside of terminals and notebooks."""
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm, "tqdm", Bar)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    Bar.made = []
    return Bar.made


def without(monkeypatch, *names):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *args: None if name in names else find(name, *args))


def test_a_bar_is_shown_where_somebody_looks_or_if_it_is_asked_for(bars, monkeypatch):
    def count(progress=None):
        before = len(bars)
        nn.fit(net(), X, Y, epochs=1, progress=progress)
        return len(bars) - before

    assert [count(), count(False), count(True)] == [0, 0, 1]
    monkeypatch.setattr("sys.stderr", Terminal())
    assert [count(), count(False), count(True)] == [1, 0, 1]
    monkeypatch.setattr("sys.stderr", None)
    assert [count(), count(True)] == [0, 1]
    kernel = types.SimpleNamespace(kernel=1)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kernel))
    without(monkeypatch, "ipywidgets")
    assert [count(), count(False)] == [1, 0]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=Bar))
    assert [count(), count(False)] == [1, 0]
    assert all(bar.closed for bar in bars)


def test_what_the_bar_says(bars):
    history = nn.fit(net(), X, Y, epochs=3, validation=HELD, progress=True)
    [bar] = bars
    assert (bar.total, bar.unit, bar.closed) == (3, "epoch", True)
    keys = [key for key in history if key != "lr"]
    assert bar.texts == [", ".join(f"{key.replace('_', ' ')} {history[key][i]:.4g}" for key in keys) for i in range(3)]


def test_the_bar_of_tqdm_itself(monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)  # which would start a thread
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    nn.fit(net(), X, Y, epochs=3)
    text = terminal.getvalue()
    assert "0/3" in text
    assert "3/3" in text
    assert "loss 0." in text.rpartition("\r")[2]
    assert text.endswith("\n")


def test_without_tqdm_a_bar_that_is_asked_for_is_an_error_and_else_there_is_none(bars, monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    without(monkeypatch, "tqdm")
    model = net()
    before = bits(model)
    with pytest.raises(MissingExtraError, match=r'^a progress bar needs tqdm: pip install "microgad\[train\]"$'):
        nn.fit(model, X, Y, epochs=1, progress=True)
    assert bits(model) == before
    nn.fit(model, X, Y, epochs=1)
    nn.fit(model, X, Y, epochs=1, progress=False)
    assert bits(model) != before
    assert not bars


# ---- what is refused


def spoilt(array, place, number):
    array = np.array(array, float)
    array[place] = number
    return array


ELSEWHERE = optim.SGD(nn.Linear(2, 2).parameters())


class Median(nn.MSELoss):
    def __init__(self):
        super().__init__("median")


LAST = np.where(np.arange(50) == 49, 2, Y)  # a label that only the last example has
REFUSED = {
    "features": ({"X": X[:, :1]}, ShapeError, "layers.0 takes 2 features"),
    "no rows": ({"X": X[:0], "y": Y[:0]}, ShapeError, r"X, of shape \(0, 2\), is empty"),
    "lengths": ({"y": Y[:-1]}, ShapeError, "X has 50 and y has 49 rows"),
    "nan": ({"X": spoilt(X, (49, 1), NAN)}, InputError, "X has nan at row 49, column 1"),
    "inf": ({"y": spoilt(Y, 3, -INF)}, InputError, "y has -inf at row 3"),
    "text": ({"y": ["a"] * 50}, InputError, "y: a Tensor holds real numbers"),
    "graph": ({"X": Tensor(X, requires_grad=True)}, GraphCutError, "X: "),
    "label": ({"y": LAST}, InputError, "the label 2 of 2 classes"),
    "negative": ({"y": LAST - 3}, InputError, "the label -3 of 2 classes"),
    "floats": ({"y": SIGNS, "loss": "cross_entropy"}, InputError, "labels are integers"),
    "margin": ({"y": spoilt(ONE_HOT * 2 - 1, (49, 0), 0), "loss": "hinge"}, InputError, "targets of a margin are"),
    "logits": ({"y": spoilt(ONE_HOT, (49, 0), 2), "loss": "bce_with_logits"}, InputError, "targets are probabilities"),
    "shapes": ({"y": X[:, :1], "loss": "mse"}, ShapeError, r"shape \(2, 2\), with a target of shape \(2, 1\)"),
    "validation": ({"validation": 0.2}, InputError, r"examples and targets, as in \(X, y\), not float 0.2"),
    "three": ({"validation": (X, Y, Y)}, InputError, r"examples and targets, as in \(X, y\), not tuple"),
    "its features": ({"validation": (X[:, :1], Y)}, ShapeError, "layers.0 takes 2 features"),
    "its label": ({"validation": (X, LAST)}, InputError, "the label 2 of 2 classes"),
    "its nan": ({"validation": (spoilt(X, 0, NAN), Y)}, InputError, "X of validation has nan at row 0, column 0"),
    "its rows": ({"validation": (X, Y[1:])}, ShapeError, "X of validation has 50 and y of validation has 49"),
    "loss": ({"loss": "cros_entropy"}, InputError, "no loss 'cros_entropy': did you mean 'cross_entropy'"),
    "loss 5": ({"loss": 5}, InputError, "no loss int 5: "),
    "class of loss": ({"loss": nn.Linear}, InputError, "the loss could not be made: .*in_features"),
    "own refusal": ({"loss": Median}, InputError, "^reduction is"),
    "losses": ({"loss": lambda out, y: out}, InputError, "a loss to train by is one number"),
    "reduction": ({"loss": nn.CrossEntropyLoss(reduction="none")}, InputError, "a loss to train by is one number"),
    "cut": ({"loss": lambda out, y: float(out.data.sum())}, InputError, "computed of the outputs as Tensors"),
    "cut later": ({"loss": lambda out, y: Tensor(out.data.sum())}, InputError, "needs a gradient"),
    "optimizer": ({"optimizer": "adm"}, InputError, "no optimizer 'adm': did you mean 'adam'"),
    "optimizer 5": ({"optimizer": 5}, InputError, "no optimizer int 5: "),
    "no optimizer": ({"optimizer": list}, InputError, "has to return one, not list"),
    "its options": ({"optimizer": lambda: None}, InputError, "the optimizer could not be made: .*positional"),
    "of another": ({"optimizer": ELSEWHERE}, InputError, "moves no parameter of this model"),
    "made of another": ({"optimizer": lambda _: ELSEWHERE}, InputError, "moves no parameter of this model"),
    "lr": ({"lr": -0.1}, InputError, "lr of Adam is at least 0, not -0.1"),
    "lr nan": ({"lr": NAN}, InputError, "lr of Adam is at least 0, not nan"),
    "lr text": ({"lr": "fast"}, InputError, "lr of Adam is a number, not str 'fast'"),
    "two lr": ({"lr": 0.1, "optimizer": ELSEWHERE}, InputError, "this one has its own"),
    "scheduler": ({"scheduler": "cosine"}, InputError, r"a scheduler has step\(\), .*and str 'cosine' has not"),
    "no scheduler": ({"scheduler": lambda optimizer: 5}, InputError, "and int 5 has not"),
    "its class": ({"scheduler": lr_scheduler.StepLR}, InputError, "the scheduler could not be made: .*step_size"),
    "of another optimizer": (
        {"scheduler": lr_scheduler.StepLR(ELSEWHERE, 1)}, InputError, "this scheduler is of another optimizer"
    ),
    "epochs": ({"epochs": 0}, InputError, "epochs is at least 1, not 0"),
    "half": ({"epochs": 1.5}, InputError, "epochs is a whole number, not float 1.5"),
    "batch_size": ({"batch_size": 0}, InputError, "batch_size is at least 1, not 0"),
    "patience": ({"patience": 0}, InputError, "patience is at least 1, not 0"),
    "seed": ({"seed": -1}, InputError, "a seed is a whole number of 0 or more, not int -1"),
    "callback": ({"callback": 5}, InputError, "a callback is a function of the epoch and the history, not int 5"),
    "suffix": ({"checkpoint": "weights.pt"}, InputError, "weights.pt: unknown suffix"),
    "folder": ({"checkpoint": "nowhere/at/all.npz"}, InputError, "the folder of the checkpoint nowhere"),
    "path": ({"checkpoint": 5}, InputError, "a path is text or a Path"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_and_loses_nothing(what):
    options, error, message = REFUSED[what]
    model = net()
    before, state = bits(model), randomness.generator().bit_generator.state
    options = {"X": X, "y": Y, **options}
    with pytest.raises(error, match=message) as caught:
        nn.fit(model, **options)
    assert isinstance(caught.value, MicrogadError)
    assert bits(model) == before
    if what != "cut later":
        assert all(p.grad is None for p in model.parameters())
        assert randomness.generator().bit_generator.state == state


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("MLP", "fit trains a module, not str 'MLP'"),
        (nn.MLP, "fit trains a module, not the class MLP"),
        (nn.Identity(), "no parameters"),
        (nn.Linear(2, 2).requires_grad_(False), "all parameters of this Linear are frozen"),
    ],
)
def test_what_cannot_be_trained(model, message):
    with pytest.raises(InputError, match=message):
        nn.fit(model, X, Y)


def test_a_checkpoint_of_before_survives_what_is_refused(tmp_path):
    path = tmp_path / "best.npz"
    nn.save(net(seed=9), path)
    content = path.read_bytes()
    for options in ({"loss": "mse"}, {"lr": 1e300, "batch_size": 16}):
        with pytest.raises(MicrogadError):
            nn.fit(net(), X, Y, checkpoint=path, **options)
        assert path.read_bytes() == content


# ---- what goes wrong on the way


@pytest.mark.parametrize("make", [net, nn.scalar.MLP], ids=["tensors", "values"])
@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1e100), ("sgd", 1e300), ("nag", 1e200), ("adam", 1e300)])
def test_a_loss_that_is_not_finite_stops_before_its_step(make, optimizer, lr):
    mg.manual_seed(0)
    model = net(1) if make is net else nn.scalar.MLP(2, [3, 1])
    said = r"^the loss is (nan|inf) at batch \d of epoch \d; the weights are those of before that (step|epoch): "
    with pytest.raises(
        TrainingError, match=rf"{said}try a smaller lr than 1e\+{math.log10(lr):.0f}, .*mg.detect_anomaly"
    ):
        nn.fit(model, X, SIGNS, loss="mse", optimizer=optimizer, lr=lr, epochs=9, batch_size=16)
    assert finite(model)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_the_weights_and_the_memory_of_the_optimizer_are_those_of_before_that_step(name, fault):
    """Of batch 2 in epoch 2, which is step 6 here."""
    calls = []

    def wrong(out, y):
        calls.append(len(y))
        if len(calls) != 2 + 6:  # two of them tried what fits
            return nn.mse_loss(out, y)
        zero = (out * 0.0).sum()
        return nn.mse_loss(out, y) * NAN if fault == "loss" else nn.mse_loss(out, y) + mg.sqrt(zero * zero)

    a, b = net(1), net(1)
    mine, theirs = (OPTIMIZERS[name](model.parameters(), lr=0.05) for model in (a, b))
    what = "the loss is nan" if fault == "loss" else "the gradient of layers.0.weight is not finite"
    with pytest.raises(
        TrainingError, match=rf"^{what} at batch 2 of epoch 2; the weights .* before that step: .* 0\.05,"
    ):
        nn.fit(a, X, Y.astype(float), loss=wrong, optimizer=mine, batch_size=16, seed=7)
    by_hand(b, theirs, steps=5)
    assert bits(a) == bits(b)
    assert repr(mine.state_dict()) == repr(theirs.state_dict())


@pytest.mark.parametrize(("batch_size", "what"), [(50, r"layers.\d.\w+ is not finite"), (16, "the loss is (nan|inf)")])
def test_weights_that_a_step_itself_made_infinite_are_those_of_before_the_epoch(batch_size, what):
    def steep(out, y):
        return out.sum() * (1e10 if len(states) == 2 else 1e-10)

    model, states = net(1), []
    with pytest.raises(
        TrainingError, match=rf"^{what} at batch \d of epoch 3; the weights are those of before that epoch"
    ):
        nn.fit(
            model, X, Y, loss=steep, optimizer="sgd", batch_size=batch_size,
            scheduler=lambda x: lr_scheduler.LambdaLR(x, lambda epoch: 1e303 if epoch == 2 else 1.0),
            callback=lambda epoch, history: states.append(model.state_dict()),
        )  # fmt: skip
    assert len(states) == 2
    assert bits(model) == bits(states[1])


def test_running_means_that_a_batch_made_infinite_are_those_of_before_the_epoch():
    model = normalized()
    before = bits(model)
    with pytest.raises(TrainingError, match=r"^1.running_var is not finite at batch 2 of epoch 1; .* that epoch"):
        nn.fit(model, X * 1e200, Y)
    assert bits(model) == before


def test_what_the_optimizer_remembers_goes_back_with_the_weights():
    model = net(1)
    mine = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    nn.fit(model, X, Y, optimizer=mine, epochs=1)
    mine.param_groups[0]["lr"] = 1e300
    before, memory = bits(model), repr(mine.state_dict())
    with pytest.raises(TrainingError, match="before that epoch"):
        nn.fit(model, X, Y, loss=lambda out, y: out.sum() * 1e10, optimizer=mine, batch_size=50)
    assert (bits(model), repr(mine.state_dict())) == (before, memory)


def test_a_history_may_hold_more_than_numbers():
    assert repr(nn.History(loss=[0.5], note=["x"], layer=[np.ones(2)])) == "History(1 epochs, best 1: loss 0.5)"


def test_a_mask_may_hold_infinities():
    model = net()
    model.register_buffer("mask", np.array([0.0, -math.inf]))
    assert nn.fit(model, X, Y, epochs=2).epochs == 2


def test_the_advice_to_detect_anomalies_helps():
    model = net()
    with mg.detect_anomaly(), pytest.raises(AnomalyError, match=r"layers\.\d"):
        nn.fit(model, X, Y, lr=1e200, epochs=3)
    assert finite(model)
    assert not model.training


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("name", ["sgd", "nag", "adam"])
def test_an_interrupt_leaves_the_weights_as_they_are(bars, name, steps):
    calls = []

    def interrupted(out, y):
        calls.append(len(y))
        if len(calls) == 3 + steps:  # two of which tried what fits
            raise KeyboardInterrupt
        return nn.mse_loss(out, y)

    a, b = net(1), net(1)
    optimizer = OPTIMIZERS[name](a.parameters(), lr=0.05)
    with pytest.raises(KeyboardInterrupt):
        nn.fit(a, X, SIGNS, loss=interrupted, optimizer=optimizer, batch_size=16, seed=7, progress=True, patience=1)
    by_hand(b, OPTIMIZERS[name](b.parameters(), lr=0.05), SIGNS.reshape(-1, 1), steps=steps)
    assert bits(a) == bits(b)
    assert [bar.closed for bar in bars] == [True]
    assert not a.training


def test_warnings_of_numpy_do_not_come_through_and_its_settings_stay():
    with np.errstate(all="raise"):
        with pytest.raises(TrainingError):
            nn.fit(net(), X, Y, lr=1e300)
        assert set(np.geterr().values()) == {"raise"}


def test_labels_in_a_tensor_are_labels():
    X, y = nn.data.moons(40, seed=0)
    histories = []
    for labels in (y, Tensor(y)):
        mg.manual_seed(0)
        histories.append(nn.fit(nn.MLP(2, [4, 1]), X, labels, epochs=2))
    assert histories[0] == histories[1]
    assert "accuracy" in histories[0]


def test_the_history_of_what_diverged():
    X, y = nn.data.moons(40, seed=0)
    mg.manual_seed(0)
    with pytest.raises(TrainingError) as caught:
        nn.fit(nn.MLP(2, [8, 1]), X, y, loss="mse", optimizer="sgd", lr=30.0, epochs=200)
    assert caught.value.history.epochs >= 0


def test_without_recording_there_is_nothing_to_train_by():
    X, y = nn.data.moons(20, seed=0)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    before = model.state_dict()
    with mg.no_grad(), pytest.raises(InputError, match="outside of mg"):
        nn.fit(model, X, y)
    assert all((x == before[name]).all() for name, x in model.state_dict().items())

"""Networks of Values: micrograd's own programs and numbers, and the same network in Tensors."""

import contextlib
import copy
import gc
import itertools
import math
import pickle
import random

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn, randomness
from microgad.errors import InputError, MicrogadError, ShapeError, StateDictError
from microgad.nn.activations import ACTIVATIONS
from microgad.nn.scalar import MLP, Layer, Neuron
from microgad.order import topological_order
from microgad.scopes import scopes


@pytest.fixture(autouse=True)
def _not_seeded(monkeypatch):
    """As in a new session: weights come from Python's `random` until `mg.manual_seed` is called."""
    monkeypatch.setattr(randomness, "_state", {"generator": None, "seeded": False})


@pytest.fixture
def peer():
    return pytest.importorskip("micrograd.nn")


def data(x):
    """Numbers of a Value, a list of them, or a Tensor, as a flat list."""
    return [y.data for y in x] if isinstance(x, list) else np.ravel(x.data).tolist()


def leaf(x):
    return Tensor(np.array(x, float), requires_grad=True)


# ---- micrograd's nn, called as it is there


@pytest.mark.parametrize("shape", [(2, [16, 16, 1]), (3, [4, 4, 2]), (1, [2, 1]), (2, [1])], ids=str)
def test_the_same_weights_outputs_and_gradients_as_micrograd(peer, shape):
    nin, nouts = shape
    models = []
    for module in (nn.scalar, peer):
        random.seed(1337)
        models.append(module.MLP(nin, nouts))
    ours, theirs = models
    assert repr(ours) == repr(theirs)
    assert type(ours.parameters()) is list
    assert [p.data for p in ours.parameters()] == [p.data for p in theirs.parameters()]
    assert [p.grad for p in ours.parameters()] == [None] * len(ours.parameters())
    for x in ([0.5, -1.5, 2.0][:nin], [-3.0, 0.0, 1.0][:nin], list(range(1, nin + 1))):
        outs = []
        for model in models:
            model.zero_grad()
            assert [p.grad for p in model.parameters()] == [0] * len(model.parameters())
            out = model(x)
            total = out * 1.0 if nouts[-1] == 1 else sum(y * (i + 1.0) for i, y in enumerate(out))
            total.backward()
            outs.append(out)
        assert isinstance(outs[0], list) == isinstance(outs[1], list)
        assert data(outs[0]) == pytest.approx(
            [y.data for y in outs[1]] if isinstance(outs[1], list) else [outs[1].data], rel=1e-14, abs=1e-15
        )
        want = [p.grad for p in theirs.parameters()]
        assert [p.grad for p in ours.parameters()] == pytest.approx(want, rel=1e-13, abs=1e-15)


def test_the_parts_of_micrograd(peer):
    random.seed(1)
    for module in (nn.scalar, peer):
        neuron, layer = module.Neuron(3), module.Layer(3, 2, nonlin=False)
        assert (len(neuron.w), neuron.b.data, neuron.nonlin) == (3, 0, True)
        assert repr(neuron) == "ReLUNeuron(3)"
        assert repr(layer) == "Layer of [LinearNeuron(3), LinearNeuron(3)]"
        assert neuron.parameters() == [*neuron.w, neuron.b]
        assert len(layer.neurons) == 2
        assert len(layer.parameters()) == 8
        model = module.MLP(3, [2, 1])
        assert [type(part).__name__ for part in model.layers] == ["Layer", "Layer"]
        assert issubclass(module.MLP, module.Module)
        model.layers[0].neurons[1].b.data = 5.0
        assert 5.0 in [p.data for p in model.parameters()]


DEMO = """
import random
import numpy as np
from {engine} import Value
from {nn} import Neuron, Layer, MLP

np.random.seed(1337)
random.seed(1337)

y = y*2 - 1 # make y be -1 or 1

# initialize a model
model = MLP(2, [16, 16, 1]) # 2-layer neural network
print(model)
print("number of parameters", len(model.parameters()))

# loss function
def loss(batch_size=None):

    # inline DataLoader :)
    if batch_size is None:
        Xb, yb = X, y
    else:
        ri = np.random.permutation(X.shape[0])[:batch_size]
        Xb, yb = X[ri], y[ri]
    inputs = [list(map(Value, xrow)) for xrow in Xb]

    # forward the model to get scores
    scores = list(map(model, inputs))

    # svm "max-margin" loss
    losses = [(1 + -yi*scorei).relu() for yi, scorei in zip(yb, scores)]
    data_loss = sum(losses) * (1.0 / len(losses))
    # L2 regularization
    alpha = 1e-4
    reg_loss = alpha * sum((p*p for p in model.parameters()))
    total_loss = data_loss + reg_loss

    # also get accuracy
    accuracy = [(yi > 0) == (scorei.data > 0) for yi, scorei in zip(yb, scores)]
    return total_loss, sum(accuracy) / len(accuracy)

total_loss, acc = loss()
print(total_loss, acc)

# optimization
for k in range(STEPS):

    # forward
    total_loss, acc = loss(BATCH)

    # backward
    model.zero_grad()
    total_loss.backward()

    # update (sgd)
    learning_rate = 1.0 - 0.9*k/100
    for p in model.parameters():
        p.data -= learning_rate * p.grad

    if k % 1 == 0:
        print(f"step {{k}} loss {{total_loss.data}}, accuracy {{acc*100}}%")

    record.append([total_loss.data, acc, *[p.grad for p in model.parameters()], *[p.data for p in model.parameters()]])

# visualize decision boundary
h = 1.0
x_min, x_max = X[:, 0].min() - 1, X[:, 0].max() + 1
y_min, y_max = X[:, 1].min() - 1, X[:, 1].max() + 1
xx, yy = np.meshgrid(np.arange(x_min, x_max, h),
                     np.arange(y_min, y_max, h))
Xmesh = np.c_[xx.ravel(), yy.ravel()]
inputs = [list(map(Value, xrow)) for xrow in Xmesh]
scores = list(map(model, inputs))
Z = np.array([s.data > 0 for s in scores])
Z = Z.reshape(xx.shape)
"""


@pytest.mark.parametrize(("n", "steps", "batch"), [(20, 4, None), (30, 5, 6)], ids=["all", "batches"])
def test_the_demo_with_only_the_imports_changed(peer, capsys, n, steps, batch):
    X, y = nn.data.moons(n, noise=0.1, seed=0)  # noqa: N806
    runs = []
    for names in (
        {"engine": "microgad", "nn": "microgad.nn.scalar"},
        {"engine": "micrograd.engine", "nn": "micrograd.nn"},
    ):
        scope = {"X": X, "y": y, "STEPS": steps, "BATCH": batch, "record": []}
        gc.disable()  # micrograd's nodes keep it busy
        try:
            exec(DEMO.format(**names), scope)
        finally:
            gc.enable()
        runs.append((scope["record"], scope["Z"], capsys.readouterr().out.splitlines()))
    (ours, boundary, printed), (theirs, theirs_boundary, theirs_printed) = runs
    assert len(ours) == steps
    assert len(ours[0]) == 2 + 2 * 337
    for mine, hers in zip(ours, theirs, strict=True):  # step by step: loss, accuracy, all gradients, all weights
        assert mine == pytest.approx(hers, rel=1e-9, abs=1e-9)
    assert np.array_equal(boundary, theirs_boundary)
    assert printed[:2] == theirs_printed[:2]
    assert printed[1] == "number of parameters 337"
    if batch is None:
        assert ours[-1][0] < ours[0][0]  # and it learns


# ---- one network at two resolutions

SHAPES = [(2, [1]), (1, [1]), (1, [1, 1, 1]), (2, [1, 3, 1]), (3, [4, 1, 2]), (2, [5, 4, 3])]
BENT = {
    **dict.fromkeys(ACTIVATIONS),
    "leaky 0.2": nn.LeakyReLU(0.2),
    "elu 2": nn.ELU(2.0),
    "softplus, sharp": nn.Softplus(2.0, 3.0),
    "gelu by tanh": nn.GELU("tanh"),
    "a class": nn.Tanh,
    "a function": mg.sin,
    "none": None,
}


def agree(scalar, tensor, x, *, tol=1e-12):
    """Outputs, and gradients of inputs and parameters."""
    values, a = [Value(float(number)) for number in x], leaf(x)
    scalar.zero_grad()
    tensor.zero_grad()
    out, want = scalar(values), tensor(a)
    assert data(out) == pytest.approx(data(want), rel=tol, abs=tol)
    weights = np.arange(1.0, want.size + 1.0)
    outs = out if isinstance(out, list) else [out]
    assert (len(outs) > 1) == isinstance(out, list)
    sum(w * y for w, y in zip(weights.tolist(), outs, strict=True)).backward()
    (want * weights).sum().backward()
    assert [v.grad for v in values] == pytest.approx(a.grad.tolist(), rel=tol, abs=tol)
    for ours, theirs in zip(
        scalar.layers, [part for part in tensor.modules() if isinstance(part, nn.Linear)], strict=True
    ):
        assert [[w.grad for w in neuron.w] for neuron in ours.neurons] == [
            pytest.approx(row, rel=tol, abs=tol) for row in theirs.weight.grad.tolist()
        ]
        if theirs.bias is not None:
            assert [n.b.grad for n in ours.neurons] == pytest.approx(theirs.bias.grad.tolist(), rel=tol, abs=tol)
    slopes = [p for module in tensor.modules() if isinstance(module, nn.PReLU) for p in module.parameters()]
    found = {
        id(n.activation.weight): n.activation.weight
        for layer in scalar.layers
        for n in layer.neurons
        if isinstance(n.activation, nn.PReLU)
    }
    assert [p.grad for p in found.values()] == pytest.approx(
        [g for p in slopes for g in p.grad.tolist()], rel=tol, abs=tol
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", BENT)
def test_twins(name, shape):
    mg.manual_seed(3)
    activation = name if name in ACTIVATIONS else BENT[name]
    x = np.linspace(-1.0, 2.0, shape[0])
    tensor = nn.MLP(*shape, activation)
    scalar = MLP.from_module(tensor)
    agree(scalar, tensor, x)
    again = scalar.to_module()
    agree(scalar, again, x)
    assert [p.data.tolist() for p in again.parameters()] == [p.data.tolist() for p in tensor.parameters()]
    assert repr(again) == repr(tensor)
    made = MLP(*shape, activation)  # and the other way round
    agree(made, made.to_module(), x)
    agree(MLP.from_module(made.to_module()), made.to_module(), x)
    assert len(made.parameters()) == sum(p.size for p in made.to_module().parameters())


def test_twins_of_sequences():
    mg.manual_seed(0)
    for parts in (
        [nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)],
        [nn.Linear(2, 3), nn.Linear(3, 3), nn.Sigmoid(), nn.Linear(3, 2)],
        [nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False)],
        [nn.Linear(2, 3), nn.PReLU(3), nn.Linear(3, 1), nn.PReLU(), nn.Linear(1, 1)],
        [nn.Linear(2, 2)],
        [nn.Linear(2, 3), mg.tanh, nn.Linear(3, 1)],
    ):
        tensor = nn.Sequential(*parts)
        for p in tensor.parameters():
            p.data[...] = np.random.default_rng(1).normal(size=p.shape)
        scalar = MLP.from_module(tensor)
        agree(scalar, tensor, [0.3, -0.7])
        agree(scalar, scalar.to_module(), [0.3, -0.7])
    single = nn.MLP(2, [3, 1], dtype=np.float32)
    assert [w.data for w in MLP.from_module(single).layers[0].neurons[0].w] == single.layers[0].weight.data[0].tolist()


def test_twins_share_nothing():
    tensor = nn.MLP(2, [3, 1], nn.PReLU())
    scalar = MLP.from_module(tensor)
    again = scalar.to_module()
    before = [tensor.state_dict(), again.state_dict()]
    for p in scalar.parameters():
        p.data = 9.0
    for module, state in zip((tensor, again), before, strict=True):
        assert all(np.array_equal(x, state[name]) for name, x in module.state_dict().items())
    assert again.activations[0] is not scalar.layers[0].neurons[0].activation
    assert all(isinstance(p, Value) for p in scalar.parameters())  # a slope too


@pytest.mark.parametrize("seed", [None, 0])
def test_to_convert_draws_no_random_numbers(seed):
    tensor, scalar = nn.MLP(2, [3, 1]), MLP(2, [3, 1])
    odd = nn.Sequential(nn.Linear(2, 2), nn.PReLU(3), nn.Linear(2, 1))
    for convert in (lambda: MLP.from_module(tensor), scalar.to_module, lambda: MLP.from_module(odd)):
        random.seed(0)
        if seed is not None:
            mg.manual_seed(seed)
        source = randomness.generator()
        want = copy.deepcopy(source).random(), random.Random(0).random()
        with contextlib.suppress(ShapeError):
            convert()
        assert (source.random(), random.random()) == want


def test_slopes_of_single_neurons():
    scalar = MLP(2, [3, 1], "prelu")
    assert len(scalar.parameters()) == 14  # one slope for the layer, none for the last
    for neuron, slope in zip(scalar.layers[0].neurons, (0.1, 0.2, 0.3), strict=True):
        neuron.activation = nn.PReLU()
        neuron.activation.weight = Value(slope)
    tensor = scalar.to_module()
    assert repr(tensor.activations) == "[PReLU(num_parameters=3)]"
    assert tensor.activations[0].weight.tolist() == [0.1, 0.2, 0.3]
    agree(scalar, tensor, [-1.0, 0.5])
    agree(MLP.from_module(tensor), tensor, [-1.0, 0.5])
    given = nn.PReLU(init=0.75)  # a module of the user's is used as it is
    scalar = MLP(2, [3, 1], given)
    assert scalar.layers[0].neurons[2].activation is given
    assert type(scalar([-1.0, -2.0])) is Value
    assert scalar.to_module().activations[0].weight.tolist() == [0.75]


def test_a_slope_that_layers_share_remains_shared():
    tensor = nn.MLP(2, [3, 3, 1], nn.PReLU())
    assert len(list(tensor.parameters())) == 7
    scalar = MLP.from_module(tensor)
    slopes = {id(n.activation.weight) for layer in scalar.layers[:2] for n in layer.neurons}
    assert len(slopes) == 1
    agree(scalar, tensor, [-1.0, 2.0])
    again = scalar.to_module()
    assert again.activations[0] is again.activations[1]
    agree(scalar, again, [-1.0, 2.0])
    assert nn.MLP(2, [3, 3, 1], "prelu").activations[0] is not nn.MLP(2, [3, 3, 1], "prelu").activations[1]
    apart = MLP.from_module(nn.MLP(2, [3, 3, 1], "prelu")).to_module()
    assert apart.activations[0] is not apart.activations[1]


class Gain(nn.Module):
    def __init__(self):
        self.gain = Value(2.0)

    def forward(self, x):
        return x * self.gain


class Outside(nn.MLP):
    def forward(self, x):
        return super().forward(x) * 2.0


def changed(**kwargs):
    scalar = MLP(2, [2, 1])
    for name, x in kwargs.items():
        setattr(scalar.layers[-1 if name == "nonlin" else 0].neurons[0], name, x)
    if "nonlin" in kwargs:
        scalar.layers[-1].neurons[0].activation = nn.ReLU()
    return scalar


@pytest.mark.parametrize(
    ("run", "error", "match"),
    [
        (lambda: MLP.from_module(3), InputError, "an nn.MLP or an nn.Sequential can be made scalar, not int 3"),
        (lambda: MLP.from_module(nn.Linear(2, 1)), InputError, "can be made scalar, not Linear"),
        (lambda: MLP.from_module(MLP(2, [1])), InputError, "can be made scalar, not MLP"),
        (lambda: MLP.from_module(Outside(2, [1])), InputError, "can be made scalar, not Outside"),
        (lambda: MLP.from_module(nn.Residual(nn.Linear(2, 2))), InputError, "can be made scalar, not Residual"),
        (lambda: MLP.from_module(nn.Sequential()), InputError, "ends in a Linear layer"),
        (
            lambda: MLP.from_module(nn.Sequential(nn.Linear(2, 1), nn.ReLU())),
            InputError,
            "ends in a Linear layer, and no activation",
        ),
        (lambda: MLP.from_module(nn.Sequential(nn.ReLU(), nn.Linear(2, 1))), InputError, r"and no ReLU\(\)"),
        (
            lambda: MLP.from_module(nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.ReLU(), nn.Linear(1, 1))),
            InputError,
            "not more than one behind each layer",
        ),
        (
            lambda: MLP.from_module(nn.Sequential(nn.Linear(2, 1), nn.Dropout(), nn.Linear(1, 1))),
            InputError,
            r"no Dropout\(p=0.5\)",
        ),
        (
            lambda: MLP.from_module(nn.Sequential(nn.Linear(2, 2), nn.Softmax(), nn.Linear(2, 1))),
            InputError,
            r"of single numbers.*no Softmax\(dim=-1\)",
        ),
        (
            lambda: MLP.from_module(nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 1))),
            ShapeError,
            "Linear 1 takes 3 numbers, and before it come 2",
        ),
        (
            lambda: MLP.from_module(nn.Sequential(nn.Linear(2, 2), nn.PReLU(3), nn.Linear(2, 1))),
            ShapeError,
            "no slope for each of 2 neurons",
        ),
        (
            lambda: changed(activation=nn.Tanh()).to_module(),
            InputError,
            r"Layer layers\.0 is of TanhNeuron\(2\), ReLUNeuron\(2\): an nn.MLP has one",
        ),
        (lambda: changed(activation=nn.LeakyReLU(0.2)).to_module(), InputError, "one activation in each layer"),
        (
            lambda: changed(nonlin=True).to_module(),
            InputError,
            r"Layer layers\.1 is of ReLUNeuron\(2\): .* none in the last",
        ),
    ],
)
def test_what_has_no_twin(run, error, match):
    with pytest.raises(error, match=match):
        run()


def test_activations_with_parameters_of_the_user_s():
    shared = MLP(2, [2, 1], Gain())
    assert len(shared.parameters()) == 10
    agree(shared, shared.to_module(), [1.0, -2.0])
    shared.layers[0].neurons[0].activation = Gain()
    with pytest.raises(InputError, match="one activation in each layer"):
        shared.to_module()
    ours, theirs = MLP(2, [2, 1], lambda x: x * x), MLP(2, [2, 1], lambda x: x * x * x)
    ours.layers[0].neurons[0].activation = theirs.layers[0].neurons[0].activation  # two functions without a name
    with pytest.raises(InputError, match="one activation in each layer"):
        ours.to_module()


# ---- a layer of one neuron is like any other


def test_width_1():
    layer = Layer(1, 1)
    assert type(layer([2.0])) is Value
    assert (
        layer([2.0]).data
        == layer(2.0).data
        == layer(Value(2.0)).data
        == layer(np.float64(2.0)).data
        == layer((2,)).data
    )
    narrow = MLP(1, [1, 1, 1], "tanh")
    x = Value(0.5)
    y = narrow(x)
    assert type(y) is Value
    h = 0.5
    for part in narrow.layers:
        (neuron,) = part.neurons
        h = neuron.w[0].data * h + neuron.b.data
        h = math.tanh(h) if neuron.nonlin else h
    assert y.data == pytest.approx(h, rel=1e-14)
    y.backward()
    assert x.grad is not None
    assert type(MLP(3, [4, 1, 2])([1.0, 2.0, 3.0])) is list
    assert [layer.nin for layer in MLP(3, [4, 1, 2]).layers] == [3, 4, 1]
    assert MLP(2, 3).layers[0].nin == 2  # a number of outputs alone
    assert len(MLP(2, np.array([3, 1])).layers) == 2


# ---- inputs


def test_inputs_of_every_kind():
    model = MLP(2, [3, 2], "tanh")
    want = data(model([1.0, -2.0]))
    given = [
        (1, -2), [Value(1.0), -2.0], np.array([1.0, -2.0]), np.array([1, -2]), np.float32([1, -2]), iter([1.0, -2.0]),
        Tensor([1.0, -2.0]), mg.stack([Value(1.0), Value(-2.0)]), [True, Value(-2.0)], range(1, -3, -3),
    ]  # fmt: skip
    for x in given:
        assert data(model(x)) == pytest.approx(want, rel=1e-15)
    row = leaf([1.0, -2.0])
    sum(model(row)).backward()
    a, b = Value(1.0), Value(-2.0)
    sum(model([a, b])).backward()
    assert row.grad.tolist() == pytest.approx([a.grad, b.grad], rel=1e-14)


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        ([1.0], ShapeError, r"Layer layers\.0 takes 2 numbers for an example, not 1"),
        ([1.0, 2.0, 3.0], ShapeError, r"Layer layers\.0 takes 2 numbers for an example, not 3"),
        ([], ShapeError, "not 0"),
        (1.0, ShapeError, "not 1"),
        (Value(1.0), ShapeError, "not 1"),
        (Tensor([1.0, 2.0, 3.0]), ShapeError, "not 3"),
        (
            [[1.0, 2.0]],
            InputError,
            r"Layer layers\.0 is given one example, as a list of numbers or Values, and in it is list",
        ),
        (np.ones((1, 2)), InputError, "one example, .* ndarray"),
        (Tensor([[1.0, 2.0]]), InputError, "one example, .* Tensor"),
        (Tensor(1.0), InputError, "one example, .* Tensor"),
        ([Tensor([1.0]), 2.0], InputError, "in it is Tensor"),
        ("ab", InputError, "in it is str 'a'"),
        ([1.0, "2"], InputError, "in it is str '2'"),
        ([1.0, None], InputError, "in it is NoneType"),
        ([1.0, 2j], InputError, "in it is complex 2j"),
        (None, InputError, r"Layer layers\.0 is given a list of numbers or Values, not NoneType None"),
        ({1.0: 0, 2.0: 0}, InputError, "not dict"),
        ({1.0, 2.0}, InputError, "not set"),
        ([1.0, 10**400], InputError, "int"),
    ],
    ids=str,
)
def test_wrong_input(x, error, match):
    model = MLP(2, [3, 1])
    with pytest.raises(error, match=match):
        model(x)
    assert issubclass(error, MicrogadError)


@pytest.mark.parametrize(
    ("run", "match"),
    [
        (lambda: MLP(2, []), "an MLP has at least one layer: nouts lists their widths, the outputs last"),
        (lambda: MLP(2, [3, 0]), "a width in nouts is at least 1, not 0"),
        (lambda: MLP(2.5, [1]), "nin is a whole number, not float 2.5"),
        (lambda: MLP(0, [1]), "nin is at least 1, not 0"),
        (lambda: MLP(2, "16"), "a width in nouts is a whole number, not str '16'"),
        (lambda: MLP(2, [3, 1], "rleu"), "no activation 'rleu': did you mean 'relu'"),
        (lambda: Neuron(0), "nin of a neuron is at least 1, not 0"),
        (lambda: Layer(2, "3"), "nout of a layer is a whole number, not str '3'"),
        (lambda: Layer("2", 3), "nin of a layer is a whole number, not str '2'"),
    ],
)
def test_wrong_arguments(run, match):
    with pytest.raises(InputError, match=match):
        run()


# ---- names, states, copies, scopes


def test_names_and_states():
    model = MLP(1, [2, 1])
    found = [name for name, _ in model.named_parameters()]
    assert found == [
        "layers.0.neurons.0.w.0", "layers.0.neurons.0.b", "layers.0.neurons.1.w.0", "layers.0.neurons.1.b",
        "layers.1.neurons.0.w.0", "layers.1.neurons.0.w.1", "layers.1.neurons.0.b",
    ]  # fmt: skip
    assert [p.name for p in model.parameters()] == found
    state = model.state_dict()
    assert list(state) == found
    other = MLP(1, [2, 1])
    other.load_state_dict(state)
    assert [p.data for p in other.parameters()] == [p.data for p in model.parameters()]
    assert other([0.3]).data == model([0.3]).data
    with pytest.raises(StateDictError, match=r"layers\.0\.neurons\.0\.b is \(2,\), and the model's is \(\)"):
        model.load_state_dict({**state, "layers.0.neurons.0.b": [1.0, 2.0]})
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin([0.3]).data == model([0.3]).data
        twin.parameters()[0].data = 99.0
        assert model.parameters()[0].data != 99.0
        assert repr(twin) == repr(model)


@pytest.mark.parametrize(
    ("neuron", "text"),
    [
        (Neuron(2), "ReLUNeuron(2)"),
        (Neuron(2, False), "LinearNeuron(2)"),
        (Neuron(2, nonlin=False, activation="tanh"), "LinearNeuron(2)"),
        (Neuron(3, activation="gelu"), "GELUNeuron(3)"),
        (Neuron(3, activation=mg.sin), "sinNeuron(3)"),
        (Layer(2, 1, activation=nn.Tanh), "Layer of [TanhNeuron(2)]"),
        (MLP(1, [1, 1], "tanh"), "MLP of [Layer of [TanhNeuron(1)], Layer of [LinearNeuron(1)]]"),
    ],
)
def test_text(neuron, text):
    assert repr(neuron) == text


def test_a_class_of_the_user_s_that_is_called_relu():
    class ReLU(nn.Module):
        def forward(self, x):
            return x * 0.0 + 7.0

    assert Neuron(1, activation=ReLU())([1.0]).data == 7.0


def test_seeds():
    random.seed(5)
    a = [p.data for p in MLP(2, [3, 1]).parameters()]
    random.seed(5)
    assert [p.data for p in MLP(2, [3, 1]).parameters()] == a
    mg.manual_seed(5)  # from here on all randomness is of one seed
    b = [p.data for p in MLP(2, [3, 1]).parameters()]
    random.seed(5)
    mg.manual_seed(5)
    assert [p.data for p in MLP(2, [3, 1]).parameters()] == b != a
    assert all(-1.0 <= x <= 1.0 for x in a + b)
    assert [p.data for p in Layer(2, 2).parameters()][2::3] == [0.0, 0.0]


def test_scopes_of_a_scalar_network():
    model = MLP(2, [2, 1], "tanh")
    found = scopes(topological_order(model([1.0, Value(2.0)])))
    around = [[scope.kind for scope in calls] for node, calls in found.items() if node.prim]
    assert around == [["MLP", "Layer", "Neuron"]] * len(around)
    assert [node.op for node in found if node.prim].count("tanh") == 2
    neurons = {calls[2].module: calls[2].path for calls in found.values() if len(calls) > 2}
    assert sorted(neurons.values()) == ["layers.0.neurons.0", "layers.0.neurons.1", "layers.1.neurons.0"]
    weight = model.layers[0].neurons[1].w[0]
    assert [scope.path for scope in found[weight]] == ["", "layers.0", "layers.0.neurons.1"]


def test_a_neuron_is_its_formula():
    neuron = Neuron(2, activation="sigmoid")
    for p, number in zip(neuron.parameters(), (0.5, -1.5, 0.25), strict=True):
        p.data = number
    x = [Value(2.0, "x1"), Value(-1.0, "x2")]
    y = neuron(x)
    z = 0.5 * 2.0 + -1.5 * -1.0 + 0.25
    assert y.data == pytest.approx(1.0 / (1.0 + math.exp(-z)), rel=1e-15)
    y.backward()
    slope = y.data * (1.0 - y.data)
    assert [p.grad for p in neuron.parameters()] == pytest.approx([2.0 * slope, -slope, slope], rel=1e-14)
    assert [v.grad for v in x] == pytest.approx([0.5 * slope, -1.5 * slope], rel=1e-14)
    assert [node.op for node in topological_order(y) if node.prim] == ["×", "+", "×", "+", "sigmoid"]


# ---- lecture 004: the worked net, and the loop


def test_the_worked_net_of_lecture_004():
    tensor = nn.MLP(2, [2, 2], "sigmoid")
    tensor.load_state_dict({
        "layers.0.weight": [[0.1, 0.4], [-0.3, 0.2]], "layers.0.bias": [0.05, -0.1],
        "layers.1.weight": [[0.7, -0.5], [0.6, 0.8]], "layers.1.bias": [0.0, 0.1],
    })  # fmt: skip
    model = MLP.from_module(tensor)
    out = model([1.0, 2.0])
    loss = 0.5 * sum((t - y) ** 2 for t, y in zip([1.0, 0.0], out, strict=True))
    model.zero_grad()
    loss.backward()
    assert data(out) == pytest.approx([0.25478062, 0.93266911], abs=5e-9)
    assert loss.data == pytest.approx(0.71261179, abs=5e-9)
    of_weights = [[w.grad for w in neuron.w] for layer in model.layers for neuron in layer.neurons]
    assert of_weights == [
        pytest.approx(row, abs=5e-9)
        for row in (
            [0.00763163, 0.01526326],
            [0.27968624, 0.55937249],
            [-0.53738900, -0.37260969],
            [0.67256185, 0.46633455],
        )
    ]
    of_biases = [neuron.b.grad for layer in model.layers for neuron in layer.neurons]
    assert of_biases == pytest.approx([0.00763163, 0.27968624, -0.74521938, 0.93266911], abs=5e-9)


OPTIMIZERS = {
    "sgd": lambda p: nn.optim.SGD(p, lr=0.05),
    "momentum": lambda p: nn.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: nn.optim.Adam(p, lr=0.05),
}
CRITERIA = {"mse": nn.MSELoss(), "l1": nn.L1Loss(), "huber": nn.HuberLoss(), "margin": nn.SoftMarginLoss()}


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("loss_name", CRITERIA)
def test_the_loop_of_lecture_004(name, loss_name, width):
    rng = mg.manual_seed(0)
    tensor = nn.MLP(2, [4, width], "tanh")
    scalar, criterion = MLP.from_module(tensor), CRITERIA[loss_name]
    examples = [(rng.normal(size=2), rng.choice([-1.0, 1.0], width)) for _ in range(4)]
    losses = {}
    for model in (scalar, tensor):
        optimizer = OPTIMIZERS[name](model.parameters())
        for x, t in itertools.islice(itertools.cycle(examples), 12):
            t = t[0] if width == 1 and model is scalar else t
            optimizer.zero_grad()
            y = model(x)
            loss = criterion(y, t)
            loss.backward()
            optimizer.step()
            losses.setdefault(model, []).append(loss.item())
    assert losses[scalar] == pytest.approx(losses[tensor], rel=1e-10)
    want = tensor.state_dict()
    for name, x in scalar.to_module().state_dict().items():
        np.testing.assert_allclose(x, want[name], rtol=1e-9, atol=1e-11)


def test_cross_entropy_of_a_scalar_network():
    tensor = nn.MLP(2, [3, 3], "sigmoid")
    scalar = MLP.from_module(tensor)
    losses = []
    for model in (scalar, tensor):
        model.zero_grad()
        loss = nn.cross_entropy(model([0.5, -1.0]), 2)
        loss.backward()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-13)
    assert [n.b.grad for n in scalar.layers[1].neurons] == pytest.approx(tensor.layers[1].bias.grad.tolist(), rel=1e-12)

"""Layers and activations: PyTorch's numbers, those of the lectures, and what is refused."""

import itertools
import math

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.errors import GraphCutError, InputError, MicrogadError, ShapeError
from microgad.nn import functional
from microgad.nn.activations import ACTIVATIONS, Activation, activation_of

F32 = np.float32


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # of so few numbers, threads make it slower
    return torch


def leaf(x, dtype=float):
    return Tensor(np.array(x, dtype), requires_grad=True)


def numbers(x):
    return np.asarray(getattr(x, "_value", x))


def close(got, want, atol=5e-9):
    """Equal to the eight digits after the point that are written down."""
    got, want = numbers(got), np.asarray(want, float)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0.0, atol=atol)


def equal(got, want, tol=1e-12):
    """Equal to PyTorch's, which is a tensor or None."""
    if want is None:
        assert got is None
        return
    got, want = numbers(got), want.detach().numpy()
    assert (got.shape, got.dtype.kind) == (want.shape, want.dtype.kind)
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def set_numbers(layer, weight, bias):
    layer.weight.data[...], layer.bias.data[...] = weight, bias
    return layer


# ---- the same layer in both libraries: outputs, gradients of inputs and parameters, buffers

LAYERS = {
    "linear": (lambda nn: nn.Linear(5, 3), [(4, 5), (5,), (2, 3, 5), (1, 5), (0, 5)]),
    "linear without bias": (lambda nn: nn.Linear(5, 3, bias=False), [(4, 5), (5,), (2, 3, 5)]),
    "linear of 1": (lambda nn: nn.Linear(1, 1), [(4, 1), (1,)]),
    "layer norm": (lambda nn: nn.LayerNorm(5), [(4, 5), (5,), (2, 3, 5), (0, 5)]),
    "layer norm of two axes": (lambda nn: nn.LayerNorm((3, 5)), [(3, 5), (4, 3, 5), (2, 4, 3, 5)]),
    "layer norm with eps": (lambda nn: nn.LayerNorm([5], eps=0.1), [(4, 5)]),
    "layer norm, not affine": (lambda nn: nn.LayerNorm(5, elementwise_affine=False), [(4, 5), (2, 3, 5)]),
    "layer norm without bias": (lambda nn: nn.LayerNorm((3, 5), bias=False), [(4, 3, 5)]),
    "layer norm of 1": (lambda nn: nn.LayerNorm(1), [(4, 1)]),
    "prelu": (lambda nn: nn.PReLU(), [(4, 5), (5,), (2, 3, 5)]),
    "prelu that begins elsewhere": (lambda nn: nn.PReLU(init=-0.7), [(4, 5)]),
    "prelu of channels": (lambda nn: nn.PReLU(3, 0.1), [(4, 3), (4, 3, 2), (2, 3, 4, 2)]),
    "softmax": (lambda nn: nn.Softmax(dim=-1), [(4, 5), (5,), (2, 3, 5)]),
    "softmax of columns": (lambda nn: nn.Softmax(dim=0), [(4, 5), (5,)]),
    "log softmax": (lambda nn: nn.LogSoftmax(dim=1), [(4, 5), (2, 3, 5)]),
    "batch norm in use": (lambda nn: nn.BatchNorm1d(5).eval(), [(4, 5), (1, 5), (4, 5, 3), (0, 5)]),
    "dropout in use": (lambda nn: nn.Dropout(0.7).eval(), [(4, 5)]),
    "dropout of nothing": (lambda nn: nn.Dropout(0.0), [(4, 5)]),
    "dropout of everything": (lambda nn: nn.Dropout(1.0), [(4, 5)]),
    "several": (
        lambda nn: nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.GELU()),
            nn.PReLU(4), nn.Linear(4, 2, bias=False), nn.Softplus(beta=1.0, threshold=20.0), nn.LogSoftmax(dim=-1),
        ),
        [(6, 5), (2, 5)],
    ),
}  # fmt: skip


def randomised(ours, theirs, rng):
    """Numbers for all parameters and running statistics, the same in both."""
    state = {}
    for name, x in theirs.state_dict().items():
        state[name] = (
            x
            if "num" in name
            else type(x)(rng.uniform(0.5, 1.5, x.shape) if "var" in name else rng.normal(size=x.shape))
        )
    theirs.load_state_dict(state)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])


def step(ours, theirs, torch, x, g):
    """One pass forward and backward in both, compared."""
    a, b = leaf(x), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    ours.zero_grad()
    theirs.zero_grad()
    equal(y, z)
    (y * g).sum().backward()
    (z * torch.tensor(g)).sum().backward()
    equal(a.grad, b.grad)
    parameters = dict(ours.named_parameters())
    assert list(parameters) == [name for name, _ in theirs.named_parameters()]
    for name, p in theirs.named_parameters():
        equal(parameters[name].grad, p.grad)
    for name, x in theirs.named_buffers():
        equal(dict(ours.named_buffers())[name], x)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_pytorch_s(torch, name):
    build, shapes = LAYERS[name]
    rng = np.random.default_rng(0)
    for shape in shapes:
        ours, theirs = build(nn), build(torch.nn).double()
        randomised(ours, theirs, rng)
        for scale in (1.0, 30.0):
            x = scale * rng.normal(size=shape)
            g = rng.normal(size=tuple(theirs(torch.tensor(x)).shape))
            if name == "several":  # the statistics of that call
                ours.load_state_dict(theirs.state_dict())
            step(ours, theirs, torch, x, g)


NORMS = {
    "plain": {},
    "momentum": {"momentum": 0.3},
    "momentum 0": {"momentum": 0.0},
    "momentum 1": {"momentum": 1.0},
    "mean of all batches": {"momentum": None},
    "not affine": {"affine": False},
    "of the batch always": {"track_running_stats": False},
    "eps": {"eps": 0.5},
    "nothing": {"momentum": None, "affine": False, "track_running_stats": False},
}


@pytest.mark.parametrize("length", [(), (1,), (4,)], ids=str)
@pytest.mark.parametrize("name", NORMS)
def test_batch_norm_is_pytorch_s_over_several_batches(torch, name, length):
    rng = np.random.default_rng(1)
    ours, theirs = nn.BatchNorm1d(3, **NORMS[name]), torch.nn.BatchNorm1d(3, **NORMS[name]).double()
    if NORMS[name].get("affine", True):
        randomised(ours, theirs, rng)
    for i, n in enumerate((4, 2, 7, 5, 3, 6)):
        if i in (3, 4):
            ours.train(i == 4)
            theirs.train(i == 4)
        x = rng.normal(size=(n, 3, *length)) * (0.1, 5.0)[i % 2] + rng.normal(size=(3, *(1 for _ in length)))
        step(ours, theirs, torch, x, rng.normal(size=x.shape))
    if name not in ("of the batch always", "nothing"):
        assert ours.num_batches_tracked == 5
    ours.eval()
    theirs.eval()
    step(ours, theirs, torch, x[:2], np.ones(x[:2].shape))


def test_batch_norm_without_bias():
    layer = nn.BatchNorm1d(2, bias=False)
    assert list(layer.state_dict()) == ["weight", "running_mean", "running_var", "num_batches_tracked"]
    with_one = nn.BatchNorm1d(2)
    x = np.random.default_rng(0).normal(size=(4, 2))
    assert np.array_equal(layer(x).data, with_one(x).data)


def test_residual(torch):
    rng = np.random.default_rng(2)
    for scale in (1.0, 0.3, -2.0):
        ours, theirs = (lib.Sequential(lib.Linear(4, 4), lib.Tanh(), lib.Linear(4, 4)) for lib in (nn, torch.nn))
        randomised(ours, theirs.double(), rng)
        block = nn.Residual(*ours, scale=scale)
        a, b = leaf(rng.normal(size=(3, 4))), None
        b = torch.tensor(a.data, requires_grad=True)
        y, z = block(a), b + scale * theirs(b)
        equal(y, z)
        g = rng.normal(size=(3, 4))
        (y * g).sum().backward()
        (z * torch.tensor(g)).sum().backward()
        equal(a.grad, b.grad)
        for p, q in zip(block.parameters(), theirs.parameters(), strict=True):
            equal(p.grad, q.grad)
    x = Tensor([1.0, 2.0])
    assert nn.Residual()(x).tolist() == [2.0, 4.0]
    assert nn.Residual(np.tanh)(Value(0.5)).data == 0.5 + math.tanh(0.5)
    assert nn.Residual(nn.ReLU())([[-1.0, 2.0]]).tolist() == [[-1.0, 4.0]]


def test_an_mlp_is_pytorch_s_sequence(torch):
    rng = np.random.default_rng(3)
    for name, activation in {"relu": torch.nn.ReLU(), "tanh": torch.nn.Tanh(), "prelu": torch.nn.PReLU()}.items():
        ours = nn.MLP(2, [5, 4, 1], name)
        layers = [torch.nn.Linear(2, 5), activation, torch.nn.Linear(5, 4), torch.nn.Linear(4, 1)]
        if name == "prelu":
            ours.activations[1] = ours.activations[0]
        theirs = torch.nn.Sequential(*layers[:3], activation, layers[3]).double()
        for p, q in zip(ours.layers, (theirs[0], theirs[2], theirs[4]), strict=True):
            p.load_state_dict(q.state_dict())
        x, g = rng.normal(size=(6, 2)), rng.normal(size=(6, 1))
        a, b = leaf(x), torch.tensor(x, requires_grad=True)
        equal(ours(a), theirs(b))
        (ours(a) * g).sum().backward()
        (theirs(b) * torch.tensor(g)).sum().backward()
        equal(a.grad, b.grad)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            equal(p.grad, q.grad)


# ---- activations, on a grid with extreme numbers

GRID = np.array([0.0, 1e-300, 1e-8, 1e-3, 0.5, 0.7517915, 1.0, 1.27846, 2.0, 3.0, 9.99, 10.0, 10.01, 19.99, 20.0,
                 20.01, 36.0, 40.0, 100.0, 709.0, 710.0, 745.0, 746.0, 1000.0, 1e10, 1e100])  # fmt: skip
GRID = np.concatenate([GRID, -GRID])
BENT = {
    "relu": lambda nn: nn.ReLU(),
    "leaky": lambda nn: nn.LeakyReLU(),
    "leaky 0.3": lambda nn: nn.LeakyReLU(0.3),
    "leaky, downwards": lambda nn: nn.LeakyReLU(-0.3),
    "leaky, steep": lambda nn: nn.LeakyReLU(1.5),
    "leaky, flat": lambda nn: nn.LeakyReLU(0),
    "elu": lambda nn: nn.ELU(),
    "elu 2.5": lambda nn: nn.ELU(2.5),
    "elu of nothing": lambda nn: nn.ELU(0.0),
    "elu, downwards": lambda nn: nn.ELU(-0.5),
    "softplus": lambda nn: nn.Softplus(threshold=20),
    "softplus, sharp": lambda nn: nn.Softplus(2.0, 20),
    "softplus, blunt": lambda nn: nn.Softplus(0.3, 5),
    "softplus, always the line": lambda nn: nn.Softplus(1.0, -1e300),
    "sigmoid": lambda nn: nn.Sigmoid(),
    "tanh": lambda nn: nn.Tanh(),
    "silu": lambda nn: nn.SiLU(),
    "gelu": lambda nn: nn.GELU(),
    "gelu by tanh": lambda nn: nn.GELU("tanh"),
    "prelu": lambda nn: nn.PReLU(init=0.375),
    "identity": lambda nn: nn.Identity(),
    "softmax": lambda nn: nn.Softmax(dim=-1),
    "log softmax": lambda nn: nn.LogSoftmax(dim=-1),
}


@pytest.mark.parametrize("name", BENT)
def test_activations_are_pytorch_s(torch, name):
    ours, theirs = BENT[name](nn), BENT[name](torch.nn).double()
    grid = GRID[np.abs(GRID) < 1e50] if name == "gelu by tanh" else GRID  # whose cube is infinite there
    x, y = leaf(grid), torch.tensor(grid, requires_grad=True)
    g = np.linspace(0.5, 1.5, len(grid))
    equal(ours(x), theirs(y))
    (ours(x) * g).sum().backward()
    (theirs(y) * torch.tensor(g)).sum().backward()
    equal(x.grad, y.grad)
    if "softmax" not in name:  # number by number
        for number, want in zip(grid.tolist(), theirs(y).tolist(), strict=True):
            v = Value(number)
            out = ours(v)
            assert type(out) is Value
            assert out.data == pytest.approx(want, rel=1e-12, abs=1e-12)
            if not isinstance(ours, nn.PReLU):
                assert numbers(ours(number)) == pytest.approx(want, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_the_beta_of_softplus_can_be_learnt(beta):
    mg.check_grads(lambda b: nn.softplus(0.7, b), beta)
    sharp = Value(beta)
    nn.softplus(Value(0.7), sharp).backward()
    assert sharp.grad is not None


def test_softplus_without_a_threshold_is_right_everywhere(torch):
    for beta in (0.3, 1.0, 2.0):
        x = GRID / beta
        z, slope = np.logaddexp(0.0, GRID) / beta, np.exp(-np.logaddexp(0.0, -GRID))
        t = leaf(x)
        y = nn.Softplus(beta)(t)
        y.sum().backward()
        np.testing.assert_allclose(y.data, z, rtol=1e-12)
        np.testing.assert_allclose(t.grad, slope, rtol=1e-12, atol=1e-300)
    over = nn.softplus(Tensor([20.0 + 1e-9])).item() - nn.softplus(Tensor([20.0 + 1e-9]), threshold=20.0).item()
    assert 2.0e-9 < over < 2.1e-9  # what the threshold costs
    assert torch.nn.functional.softplus(torch.tensor(20.0 + 1e-9, dtype=torch.float64)).item() == 20.0 + 1e-9


@pytest.mark.parametrize("dim", [0, 1, -1, 2])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_softmax_with_a_temperature(torch, dim, temperature):
    x = np.random.default_rng(0).normal(size=(2, 3, 4)) * 5.0
    for ours, theirs, function in (
        (nn.Softmax(dim, temperature), torch.nn.Softmax(dim), nn.softmax),
        (nn.LogSoftmax(dim, temperature), torch.nn.LogSoftmax(dim), nn.log_softmax),
    ):
        a, b = leaf(x), torch.tensor(x, requires_grad=True)
        equal(ours(a), theirs(b / temperature))
        assert np.array_equal(function(a, dim, temperature).data, ours(a).data)
        (ours(a) ** 2).sum().backward()
        (theirs(b / temperature) ** 2).sum().backward()
        equal(a.grad, b.grad)


# ---- lecture 003's table of activations: at -2, -1, 0, 1 and 2

POINTS = [-2.0, -1.0, 0.0, 1.0, 2.0]
TABLE = {
    "softplus": [0.126928, 0.313262, 0.693147, 1.313262, 2.126928],
    "leaky_relu": [-0.02, -0.01, 0.0, 1.0, 2.0],
    "elu": [-0.864665, -0.632121, 0.0, 1.0, 2.0],
    "silu": [-0.238406, -0.268941, 0.0, 0.731059, 1.761594],
    "swish": [-0.238406, -0.268941, 0.0, 0.731059, 1.761594],
    "gelu": [-0.0455, -0.158655, 0.0, 0.841345, 1.9545],
    "relu": [0.0, 0.0, 0.0, 1.0, 2.0],
    "prelu": [-0.5, -0.25, 0.0, 1.0, 2.0],
    "step": [0.0, 0.0, 1.0, 1.0, 1.0],
    "sigmoid": [0.119203, 0.268941, 0.5, 0.731059, 0.880797],
    "tanh": [-0.964028, -0.761594, 0.0, 0.761594, 0.964028],
    "identity": POINTS,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_table_of_activations(name):
    module, function = activation_of(name), getattr(nn, name)
    assert type(module) is ACTIVATIONS[name]
    assert getattr(functional, name) is function
    given = (np.array(POINTS), Tensor(POINTS), [Value(x) for x in POINTS], POINTS)
    for x in given:
        for f in (module, lambda x: function(x, module.weight) if name == "prelu" else function(x)):
            if isinstance(x, list):
                got = [numbers(f(one)).item() for one in x]
            else:
                got = f(x)
                assert name == "prelu" or type(got) is type(x)
            close(got, TABLE[name], 5e-7)
    close(module(POINTS), TABLE[name], 5e-7)  # and of a list


def test_gelu_by_tanh_in_the_table():
    for f in (nn.GELU("tanh"), lambda x: nn.gelu(x, "tanh")):
        close(f(Tensor([-2.0, -1.0])), [-0.045402, -0.158808], 5e-7)


def test_tanh_is_a_sigmoid():
    a = np.linspace(-5.0, 5.0, 101)
    np.testing.assert_allclose(nn.Tanh()(Tensor(a)).data, 2.0 * nn.Sigmoid()(Tensor(2.0 * a)).data - 1.0, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "low", "high", "at"),
    [
        ("sigmoid", 0.0, 1.0, None),
        ("tanh", -1.0, 1.0, None),
        ("relu", 0.0, math.inf, None),
        ("leaky_relu", -math.inf, math.inf, None),
        ("elu", -1.0, math.inf, None),
        ("softplus", 0.0, math.inf, None),
        ("silu", -0.278465, math.inf, -1.27846),
        ("gelu", -0.169971, math.inf, -0.75179),
        ("step", 0.0, 1.0, None),
    ],
)
def test_ranges(name, low, high, at):  # the print has closed intervals, and others
    x = np.concatenate([np.linspace(-12.0, 12.0, 240_001), [-1e30, 1e30]])
    y = activation_of(name)(Tensor(x)).data
    if at is None:
        assert y.min() >= low
        assert y.max() <= high
        near = y[np.abs(x) <= 12.0]
        if name in ("sigmoid", "tanh", "elu", "softplus"):  # the ends are not reached, where floats can tell
            assert low < near.min() < low + 1e-4
            assert near.max() < high
    else:
        assert y.min() == pytest.approx(low, abs=5e-7)
        assert x[y.argmin()] == pytest.approx(at, abs=1e-4)
    assert (y.max() > 1e29) == (high == math.inf)
    assert (y.min() < -1e27) == (low == -math.inf)


def test_derivatives_of_the_lectures():  # 004: relu'(0) = 0, and leaky_relu has the slope 0.01 at z <= 0; 002: prelu
    x = leaf([-2.0, 0.0, 2.0])
    for module, want in {
        nn.ReLU(): [0.0, 0.0, 1.0],
        nn.LeakyReLU(): [0.01, 0.01, 1.0],
        nn.PReLU(): [0.25, 0.25, 1.0],
        nn.Step(): [0.0, 0.0, 0.0],
        nn.Sigmoid(): [0.10499359, 0.25, 0.10499359],
        nn.Tanh(): [0.07065082, 1.0, 0.07065082],
        nn.Identity(): [1.0, 1.0, 1.0],
    }.items():
        x.grad = None
        (module(x) * 1.0).sum().backward()
        close(x.grad, want)
    layer = nn.PReLU()
    layer(leaf([-3.0, -0.5, 4.0])).sum().backward()
    assert layer.weight.grad.tolist() == [-3.5]  # Σ min(0, y)
    layer.weight.grad = None
    layer(Value(-3.0)).backward()
    assert layer.weight.grad.tolist() == [-3.0]
    slope = Value(0.25)
    nn.prelu(Value(-3.0), slope).backward()
    assert slope.grad == -3.0
    channels = nn.PReLU(2)
    channels(leaf([[-1.0, -2.0], [-3.0, 4.0]])).sum().backward()
    assert channels.weight.grad.tolist() == [-4.0, -2.0]


def test_the_sigmoid_as_a_smooth_step():
    x = np.array([-1.0, -0.01, 0.0, 0.01, 1.0])
    assert nn.Step()(x).tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]  # 1 at 0
    far = x[x != 0.0]
    gaps = [np.abs(nn.sigmoid(k * far) - nn.Step()(far)).max() for k in (1.0, 100.0, 10_000.0)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-40


def test_an_activation_is_given_by_name_class_module_or_function():
    own = nn.Tanh()
    for given in ("tanh", nn.Tanh, own, mg.tanh, np.tanh, lambda x: x.tanh()):
        model = nn.MLP(2, [3, 3, 1], given)
        assert len(model.activations) == 2
        mg.manual_seed(0)
        other = nn.MLP(2, [3, 3, 1], "tanh")
        model.load_state_dict(other.state_dict())
        assert np.array_equal(model([[0.3, -0.7]]).data, other([[0.3, -0.7]]).data)
        assert (model.activations[0] is model.activations[1]) == (given is own)
    assert nn.MLP(2, [3, 1], own).activations == [own]
    assert repr(nn.MLP(2, [3, 1], None).activations) == "[Identity()]"
    assert repr(nn.MLP(2, [3, 1], nn.Softplus).activations) == "[Softplus(beta=1.0)]"
    prelu = nn.MLP(2, [3, 3, 1], "prelu")
    assert [name for name, _ in prelu.named_parameters()][2::3] == ["activations.0.weight", "activations.1.weight"]
    assert prelu.activations[0].weight is not prelu.activations[1].weight


class NeedsMore(Activation):
    def __init__(self, gain):
        self.gain = gain


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("rleu", "no activation 'rleu': did you mean 'relu'?"),
        ("ReLu", "no activation 'ReLu': did you mean 'relu'?"),
        ("leakyrelu", "did you mean 'leaky_relu'?"),
        ("soft_plus", "did you mean 'softplus'?"),
        ("", "no activation '': choose from 'relu', 'tanh', 'sigmoid'"),
        (3.0, "no activation float 3.0: choose from"),
        (True, "no activation bool True"),
        (dict, "no activation the class dict"),
        (["relu"], "no activation list ['relu']"),
        (nn.Linear, "an activation such as Linear has arguments, missing a required argument: 'in_features'"),
        (NeedsMore, "an activation such as NeedsMore has arguments, missing a required argument: 'gain'"),
    ],
)
def test_what_is_no_activation(given, match):
    for run in (
        lambda: nn.MLP(2, [3, 1], given),
        lambda: nn.MLP(2, 1, given),
        lambda: nn.scalar.Neuron(2, True, given),
    ):
        with pytest.raises(InputError) as caught:
            run()
        assert match in str(caught.value)


def test_widths_without_a_list():
    with pytest.raises(InputError, match=r"one list: MLP\(2, \[16, 1\]\)"):
        nn.MLP(2, 16, 1)


# ---- lecture 002: threshold neurons

TWO = np.array(list(itertools.product((0.0, 1.0), repeat=2)))


def neuron(weights, threshold):
    """[Σ w f - w0 > 0] as a layer of one neuron: the bias is minus the threshold."""
    return nn.Sequential(set_numbers(nn.Linear(len(weights), 1), [weights], [-threshold]), nn.Step())


def test_a_threshold_neuron():
    rng = np.random.default_rng(0)
    f, w, w0 = rng.normal(size=(20, 3)), [0.5, -1.0, 2.0], 0.3
    want = (f @ w - w0 >= 0.0).astype(float)
    assert neuron(w, w0)(f).data.ravel().tolist() == want.tolist()
    with_constant = np.column_stack([np.full(20, -1.0), f])  # the feature x0 = -1 stands for the threshold
    assert nn.linear(with_constant, [[w0, *w]]).ravel() == pytest.approx(f @ w - w0, abs=1e-15)
    assert neuron([1.0], 1.0)([[1.0]]).item() == 1.0  # at the threshold itself: H(0) = 1
    bent = nn.scalar.Neuron(3, activation="sigmoid")
    for p, number in zip(bent.parameters(), [*w, -w0], strict=True):
        p.data = number
    assert bent(f[0].tolist()).data == pytest.approx(1.0 / (1.0 + math.exp(-(f[0] @ w - w0))), rel=1e-14)


@pytest.mark.parametrize(
    ("weights", "threshold", "x", "truth"),
    [
        ([1.0, 1.0], 1.5, TWO, [0, 0, 0, 1]),
        ([1.0, 1.0], 0.5, TWO, [0, 1, 1, 1]),
        ([-1.0], -0.5, np.array([[0.0], [1.0]]), [1, 0]),
    ],
    ids=["and", "or", "not"],
)
def test_and_or_not(weights, threshold, x, truth):
    assert neuron(weights, threshold)(x).data.ravel().tolist() == truth


def test_xor_in_two_ways():
    features = np.column_stack([TWO, TWO[:, 0] * TWO[:, 1]])
    assert neuron([1.0, 1.0, -2.0], 0.5)(features).data.ravel().tolist() == [0, 1, 1, 0]
    hidden = set_numbers(nn.Linear(2, 2), [[1.0, 1.0], [1.0, 1.0]], [-0.5, -1.5])  # or, and
    network = nn.Sequential(hidden, nn.Step(), *neuron([1.0, -1.0], 0.5))
    assert network(TWO).data.ravel().tolist() == [0, 1, 1, 0]
    assert [network(x).item() for x in TWO] == [0, 1, 1, 0]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_boolean_function_is_a_network_of_two_layers(n):
    x = np.array(list(itertools.product((0.0, 1.0), repeat=n)))
    for truth in itertools.product((0, 1), repeat=2**n):
        network = nn.dnf_network(truth)
        assert network(x).data.ravel().tolist() == list(truth)
        assert [type(part).__name__ for part in network] == ["Linear", "Step", "Linear", "Step"]
        assert network[0].out_features == max(1, sum(truth))
    table = nn.dnf_network(lambda *bits: sum(bits) % 2, n)
    assert table(x).data.ravel().tolist() == (x.sum(axis=1) % 2).tolist()


def test_the_perceptron_of_rosenblatt_learns_what_is_separable():
    """w += η (y - a) x: AND and OR in a few epochs, XOR never."""
    for truth, learnt in (([0, 0, 0, 1], True), ([0, 1, 1, 1], True), ([0, 1, 1, 0], False)):
        network = neuron([0.0, 0.0], 0.0)
        for _ in range(100):
            for x, y in zip(TWO, truth, strict=True):
                wrong = y - network(x).item()
                network[0].weight.data += wrong * x
                network[0].bias.data += wrong
        assert (network(TWO).data.ravel().tolist() == truth) == learnt


# ---- lecture 002: dropout

H = [1.0, 2.0, 3.0, 4.0]


def seed_of(mask, p=0.5):
    """A seed with which dropout keeps just these."""
    return next(seed for seed in itertools.count() if ((mg.manual_seed(seed).random(len(mask)) >= p) == mask).all())


@pytest.mark.parametrize(
    ("inverted", "train", "use"),
    [(False, [1.0, 0.0, 3.0, 0.0], [0.5, 1.0, 1.5, 2.0]), (True, [2.0, 0.0, 6.0, 0.0], H)],
    ids=["as it was", "inverted"],
)
def test_dropout_with_the_lecture_s_mask(inverted, train, use):
    seed = seed_of(np.array([1, 0, 1, 0], bool))
    layer = nn.Dropout(0.5, inverted=inverted)
    x = leaf(H)
    mg.manual_seed(seed)
    y = layer(x)
    assert y.tolist() == train
    y.sum().backward()
    assert x.grad.tolist() == (np.array(train) / H).tolist()
    mg.manual_seed(seed)
    assert nn.dropout(np.array(H), 0.5, inverted=inverted).tolist() == train
    assert layer.eval()(x).tolist() == use
    assert nn.dropout(H, 0.5, False, inverted=inverted).tolist() == use


class Fixed:
    """In the place of the generator: these masks, one after the other."""

    def __init__(self, masks):
        self.masks = iter(masks)

    def random(self, shape):
        return np.where(next(self.masks), 0.99, 0.01).reshape(shape)


@pytest.mark.parametrize("p", [0.5, 0.25])
def test_the_mean_of_dropout_over_all_masks(monkeypatch, p):
    masks = list(itertools.product((True, False), repeat=4))
    weights = [np.prod([1.0 - p if kept else p for kept in mask]) for mask in masks]
    for inverted, want in ((True, H), (False, (1.0 - p) * np.array(H))):
        source = Fixed(masks)
        monkeypatch.setattr(functional, "generator", lambda source=source: source)
        layer = nn.Dropout(p, inverted=inverted)
        mean = sum(w * layer(Tensor(H)).data for w in weights)
        assert mean == pytest.approx(np.array(want), rel=1e-14)


def test_dropout_as_a_vote_of_all_subnetworks():
    """Of one softmax layer the geometric mean of all 2 ** 8 thinned networks is the one with scaled weights."""
    rng = mg.manual_seed(5)
    masks = np.array(list(itertools.product((0.0, 1.0), repeat=8)))
    layer = nn.Linear(8, 3)
    model = nn.Sequential(nn.Dropout(0.5, inverted=False), layer, nn.Softmax()).eval()
    for scale in (1.0, 5.0):
        layer.weight.data[...] = scale * rng.normal(size=(3, 8))
        x = rng.normal(size=8)
        vote = nn.softmax(nn.log_softmax(layer(masks * x)).data.mean(axis=0))
        assert vote == pytest.approx(model(x).data, abs=2e-15)
    two = nn.Sequential(layer, nn.ReLU(), nn.Linear(3, 3))  # of more layers it is not
    vote = nn.softmax(nn.log_softmax(two(masks * x)).data.mean(axis=0))
    assert np.abs(vote - nn.softmax(two(0.5 * x).data)).max() > 1e-3


def test_dropout_in_large_numbers():
    mg.manual_seed(0)
    for p in (0.1, 0.5, 0.9):
        y = nn.Dropout(p)(Tensor(np.ones((200, 500)))).data
        kept = y != 0.0
        assert kept.mean() == pytest.approx(1.0 - p, abs=0.01)
        assert set(np.unique(y)) == {0.0, 1.0 / (1.0 - p)}
        assert np.abs(kept.mean(axis=0) - (1.0 - p)).max() < 0.2  # no column is special
    v = nn.Dropout(0.5)(Value(3.0))
    assert type(v) is Value
    assert v.data in (0.0, 6.0)


def test_dropout_at_its_bounds():
    x = leaf(H)
    y = nn.Dropout(1.0)(x)
    assert y.tolist() == [0.0] * 4
    y.sum().backward()
    assert x.grad.tolist() == [0.0] * 4
    assert nn.Dropout(0.0)(x).tolist() == H
    assert nn.Dropout(0)(Value(2.0)).data == 2.0
    assert nn.Dropout(1)(Value(2.0)).data == 0.0
    assert nn.Dropout(1.0, inverted=False).eval()(x).tolist() == [0.0] * 4


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf, "half", None, True, [0.5], 1j], ids=str)
def test_the_probability_of_dropout(p):
    with pytest.raises(InputError, match="the probability p of Dropout is "):
        nn.Dropout(p)
    with pytest.raises(InputError, match="the probability p of dropout is "):
        nn.dropout([1.0], p, False)


def test_seeds_make_initial_weights_and_dropout_again():
    def run():
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.PReLU(), nn.Linear(4, 2))
        return *model.state_dict().values(), *(model(np.ones((5, 3))).data for _ in range(3))

    runs = []
    for seed in (7, 7, 8):
        mg.manual_seed(seed)
        runs.append(run())
    assert all(np.array_equal(a, b) for a, b in zip(*runs[:2], strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(runs[0][:2], runs[2][:2], strict=True))
    assert not np.array_equal(runs[0][-1], runs[0][-2])  # each call has a mask of its own


def test_initial_weights_are_pytorch_s_default():
    mg.manual_seed(0)
    for n, m in ((300, 100), (4, 500), (1, 400)):
        layer = nn.Linear(n, m)
        bound = 1.0 / math.sqrt(n)
        for p in layer.parameters():
            assert np.abs(p.data).max() <= bound
            assert np.abs(p.data).max() > 0.97 * bound
            assert p.data.std() == pytest.approx(bound / math.sqrt(3.0), rel=0.1)
            assert abs(p.data.mean()) < 0.2 * bound
    assert 1.0 / math.sqrt(300) == pytest.approx(0.0577, abs=5e-5)
    assert nn.PReLU(3).weight.tolist() == [0.25] * 3
    assert nn.Linear(2, 1, bias=False).bias is None


# ---- lecture 002: batch normalisation

ONE = np.array([[1.0], [2.0], [3.0], [4.0]])


def test_batch_norm_of_the_lecture():
    layer = nn.BatchNorm1d(1)
    close(layer(ONE).data.ravel(), [-1.34163542, -0.44721181, 0.44721181, 1.34163542])
    assert layer.running_mean.tolist() == pytest.approx([0.25])
    close(layer.running_var, [0.9 + 0.1 * 1.66666667])  # without bias; the biased 1.25 divides
    assert np.var(ONE) == 1.25
    x = leaf(ONE)
    y = functional.batch_norm(x, weight=Tensor([2.0]), bias=Tensor([0.5]), training=True, eps=0.0)
    close(y.data.ravel(), [-2.18328157, -0.39442719, 1.39442719, 3.18328157])
    functional.batch_norm(x, training=True, eps=0.0)[0, 0].backward()
    close(x.grad.ravel(), [0.26832816, -0.35777088, -0.08944272, 0.17888544])
    assert layer.eval()(ONE).data.ravel() == pytest.approx((ONE.ravel() - 0.25) / math.sqrt(1.0666667 + 1e-5), rel=1e-6)


def test_an_example_in_use_does_not_depend_on_the_others():
    rng = np.random.default_rng(0)
    layer = nn.BatchNorm1d(3)
    for _ in range(20):
        layer(rng.normal(2.0, 3.0, (8, 3)))
    x = rng.normal(2.0, 3.0, (5, 3))
    alone = [layer.eval()(x[i : i + 1]).data[0] for i in range(5)]
    assert np.array_equal(layer(x).data, alone)
    assert not np.allclose(layer.train()(x).data, alone)


def test_layer_norm_does_not_depend_on_the_batch():
    x = np.random.default_rng(0).normal(2.0, 3.0, (5, 4))
    layer = nn.LayerNorm(4)
    y = layer(x).data
    assert np.array_equal(y, [layer(row).data for row in x])
    assert y.mean(axis=1) == pytest.approx(np.zeros(5), abs=1e-15)
    assert y.std(axis=1) == pytest.approx(np.ones(5), rel=1e-4)


def test_a_batch_that_is_refused_changes_nothing():
    layer = nn.BatchNorm1d(2)
    before = layer.state_dict()
    for x in (np.ones((1, 2)), np.ones((4, 3)), np.ones(2), np.ones((0, 2))):
        with pytest.raises(ShapeError):
            layer(x)
    assert all(np.array_equal(x, before[name]) for name, x in layer.state_dict().items())
    running = Tensor([0.0]), [1.0]
    with pytest.raises(InputError, match="running numbers are kept in a leaf Tensor or an array"):
        functional.batch_norm(ONE, *running, training=True)
    assert running[0].tolist() == [0.0]
    mean, var = np.zeros(1), np.broadcast_to(1.0, (1,))
    with pytest.raises(InputError, match="an array of floats that can be written"):
        functional.batch_norm(ONE, mean, var, training=True)
    assert mean.tolist() == [0.0]


def test_running_numbers_may_be_arrays():
    mean, var = np.zeros(1), np.ones(1)
    functional.batch_norm(ONE, mean, var, training=True, momentum=0.5)
    assert (mean.tolist(), var.tolist()) == ([1.25], [pytest.approx(0.5 + 5.0 / 6.0)])
    assert functional.batch_norm(ONE, mean, var, eps=0.0).ravel() == pytest.approx(
        (ONE.ravel() - 1.25) / math.sqrt(4 / 3)
    )
    assert functional.batch_norm(ONE, [2.5], [4.0], [2.0], [1.0], eps=0.0).ravel().tolist() == [-0.5, 0.5, 1.5, 2.5]


# ---- lecture 003: deep networks

DEPTH, WIDTH = 30, 50


def vanishing(activation, std, scale=None):
    """|∂L/∂h0| over |∂L/∂h30| of a network of 30 layers, 50 neurons wide."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(DEPTH):
        layer = set_numbers(nn.Linear(WIDTH, WIDTH), rng.normal(size=(WIDTH, WIDTH)) * std, 0.0)
        part = [layer, activation_of(activation)]
        parts += [nn.Residual(*part, scale=scale)] if scale else part
    h0 = leaf(rng.normal(size=(20, WIDTH)))
    last = nn.Sequential(*parts)(h0)
    (last * rng.normal(size=(20, WIDTH))).sum().backward()
    return np.linalg.norm(h0.grad) / np.linalg.norm(last.grad)


GLOROT, HE = math.sqrt(2.0 / (WIDTH + WIDTH)), math.sqrt(2.0 / WIDTH)


@pytest.mark.parametrize(
    ("activation", "std", "scale", "low", "high"),
    [
        ("sigmoid", GLOROT, None, 1e-20, 1e-18),
        ("tanh", GLOROT, None, 0.02, 0.7),
        ("relu", HE, None, 0.1, 2.0),
        ("relu", 2.0 * HE, None, 1e8, 3e9),
        ("tanh", GLOROT, 1.0 / math.sqrt(DEPTH), 0.8, 2.0),
    ],
    ids=["sigmoid", "tanh", "relu", "relu, too large", "residual"],
)
def test_gradients_in_thirty_layers(activation, std, scale, low, high):
    assert low < vanishing(activation, std, scale) < high


def test_the_slope_of_a_sigmoid_is_at_most_a_quarter():
    slope = mg.grad(mg.sigmoid)
    assert slope(0.0) == 0.25
    assert all(slope(float(x)) < 0.25 for x in np.linspace(-5.0, 5.0, 50) if x)
    for depth, want in ((10, 9.54e-7), (20, 9.09e-13)):
        x = Value(0.0)
        h = x
        for _ in range(depth):
            h = mg.sigmoid(h) - 0.5  # so that each is at 0, where it is steepest
        h.backward()
        assert x.grad == 0.25**depth == pytest.approx(want, rel=1e-3)


def test_a_dead_relu_learns_no_more_and_a_leaky_one_does():
    x = np.random.default_rng(0).normal(size=(50, 3))
    t = np.abs(x).sum(axis=1, keepdims=True)
    for activation, alive in (("relu", False), ("leaky_relu", True)):
        layer = set_numbers(nn.Linear(3, 1), [[0.1, 0.2, 0.3]], [-10.0])
        model = nn.Sequential(layer, activation_of(activation))
        optimizer = nn.optim.SGD(model.parameters(), lr=1.0)
        before = layer.state_dict()
        for i in range(2000):
            optimizer.zero_grad()
            nn.mse_loss(model(x), t).backward()
            if i == 0:
                assert np.any(layer.weight.grad) == np.any(layer.bias.grad) == alive
            optimizer.step()
            if not alive or i == 0:
                assert (
                    all(np.array_equal(a, b) for a, b in zip(before.values(), layer.state_dict().values(), strict=True))
                    != alive
                )
            if alive and layer.bias.item() > 0.0:
                break
            if not alive and i == 20:
                break
        assert (model(x).data.max() > 0.0) == alive


# ---- lecture 004: the layer as a formula, and the small net worked out by hand, as modules

W1, B1 = [[0.1, 0.4], [-0.3, 0.2]], [0.05, -0.1]
W2, B2 = [[0.7, -0.5], [0.6, 0.8]], [0.0, 0.1]


def test_a_layer_is_its_formula():
    """z_i = Σ_j w_ij y_j + b_i: the row of W is that of the target neuron, so W is (out, in)."""
    rng = np.random.default_rng(0)
    layer, y, delta = nn.Linear(3, 2), rng.normal(size=3), rng.normal(size=2)
    assert layer.weight.shape == (2, 3)
    z = layer(y)
    want = [sum(layer.weight.data[i, j] * y[j] for j in range(3)) + layer.bias.data[i] for i in range(2)]
    close(z, want, 1e-15)
    (z * delta).sum().backward()
    close(layer.bias.grad, delta, 1e-15)  # what comes to a bias is delta itself
    close(layer.weight.grad, np.outer(delta, y), 1e-15)


@pytest.mark.parametrize(
    "build",
    [lambda: nn.MLP(2, [2, 2], "sigmoid"), lambda: nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2))],
)
def test_a_batch_of_the_lecture_through_modules(build):
    model = build()
    first, last = [module for module in model.modules() if isinstance(module, nn.Linear)]
    set_numbers(first, W1, B1)
    set_numbers(last, W2, B2)
    x, t = np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    loss = (0.5 * ((t - model(x)) ** 2).sum(axis=1)).mean()
    loss.backward()
    close(loss, 0.38203425)
    close(last.weight.grad, [[-0.25286424, -0.17000834], [0.27189154, 0.16688147]])
    close(last.bias.grad, [-0.33431521, 0.31057227])
    close(first.weight.grad, [[0.00381581, 0.02379438], [0.13984312, 0.31482885]])
    close(first.bias.grad, [-0.01234694, 0.10470051])
    one = model(x[0])
    close(one, [0.25478062, 0.93266911])
    close(0.5 * ((t[0] - one) ** 2).sum(), 0.71261179)


# ---- float32, empty batches, kinds of input

OF_DTYPE = {
    "linear": lambda d: nn.Linear(3, 2, dtype=d),
    "linear without bias": lambda d: nn.Linear(3, 2, bias=False, dtype=d and "float32"),
    "mlp": lambda d: nn.MLP(3, [4, 2], dtype=d),
    "prelu mlp": lambda d: nn.MLP(3, [4, 2], "prelu", dtype=d),
    "batch norm": lambda d: nn.BatchNorm1d(3, dtype=d),
    "batch norm, mean of all": lambda d: nn.BatchNorm1d(3, momentum=None, dtype=d),
    "layer norm": lambda d: nn.LayerNorm(3, dtype=d),
    "prelu of channels": lambda d: nn.PReLU(3, dtype=d),
    "prelu": lambda d: nn.PReLU(dtype=d),
    "residual": lambda d: nn.Residual(nn.Linear(3, 3, dtype=d), nn.Tanh(), scale=0.3),
    "dropout": lambda d: nn.Dropout(0.3),
    "old dropout": lambda d: nn.Dropout(0.3, inverted=False),
    "softmax": lambda d: nn.Softmax(temperature=0.7),
    "log softmax": lambda d: nn.LogSoftmax(temperature=0.7),
    "gelu by tanh": lambda d: nn.GELU("tanh"),
    "sharp softplus": lambda d: nn.Softplus(2.0, 3.0),
    **{name: lambda d, made=made: made() for name, made in ACTIVATIONS.items() if name != "prelu"},
}


@pytest.mark.parametrize("name", OF_DTYPE)
def test_float32_stays_float32(name):
    model, wide = OF_DTYPE[name](F32), OF_DTYPE[name](None)
    wide.load_state_dict(model.state_dict())
    assert {p.dtype for p in model.parameters()} <= {np.dtype(F32)}
    data = np.random.default_rng(0).normal(size=(5, 3)).astype(F32)
    for mode in (True, False):
        x, same = leaf(data, F32), leaf(data)
        mg.manual_seed(1)
        y = model.train(mode)(x)
        mg.manual_seed(1)
        z = wide.train(mode)(same)
        (y * F32(0.5)).sum().backward()
        (z * 0.5).sum().backward()
        assert (y.dtype, x.grad.dtype, z.dtype, same.grad.dtype) == (F32, F32, float, float)
        np.testing.assert_allclose(y.data, z.data, rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(x.grad, same.grad, rtol=2e-5, atol=2e-6)
        assert {p.grad.dtype for p in model.parameters()} <= {np.dtype(F32)}
    assert {x.dtype for x in model.state_dict().values() if x.dtype.kind == "f"} <= {np.dtype(F32)}


@pytest.mark.parametrize("dtype", [int, np.float16, complex, "text", object, 3.0, "float16"], ids=str)
def test_dtypes_of_parameters(dtype):
    for build in (
        lambda: nn.Linear(2, 1, dtype=dtype),
        lambda: nn.MLP(2, [1], dtype=dtype),
        lambda: nn.BatchNorm1d(2, dtype=dtype),
        lambda: nn.LayerNorm(2, dtype=dtype),
        lambda: nn.PReLU(dtype=dtype),
    ):
        with pytest.raises(InputError, match="parameters are of float64 or float32, not of"):
            build()


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(3, 2), nn.MLP(3, [4, 2]), nn.LayerNorm(3), nn.Dropout(), nn.PReLU(), nn.Residual(nn.Linear(3, 3)),
        nn.Softmax(), nn.BatchNorm1d(3).eval(), *(made() for made in ACTIVATIONS.values()),
    ],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
def test_an_empty_batch(model):
    x = leaf(np.zeros((0, 3)))
    y = model(x) * 1.0
    assert y.shape == ((0, 2) if isinstance(model, (nn.Linear, nn.MLP)) else (0, 3))
    y.sum().backward()
    assert x.grad.shape == (0, 3)
    assert not any(np.any(p.grad) for p in model.parameters())


def test_inputs_of_every_kind():
    layer = nn.Linear(2, 3)
    want = layer(Tensor([[1.0, 2.0]]))
    for x in (
        [[1, 2]],
        ((1.0, 2.0),),
        np.array([[1, 2]]),
        np.float32([[1, 2]]),
        mg.stack([Value(1.0), Value(2.0)]).reshape(1, 2),
    ):
        assert np.array_equal(layer(x).data, want.data)
    for module in (
        nn.LayerNorm(2),
        nn.BatchNorm1d(2).eval(),
        nn.Dropout().eval(),
        nn.Residual(nn.ReLU()),
        nn.Softmax(),
    ):
        assert np.array_equal(numbers(module([[1, 2]])), numbers(module(np.array([[1.0, 2.0]]))))
    assert type(nn.ReLU()(np.array([1.0]))) is np.ndarray  # what has no parameters computes on arrays
    assert nn.Tanh()(0.5) == math.tanh(0.5)
    x, y = Value(1.0), Value(-2.0)
    layer(mg.stack([x, y])).sum().backward()
    assert [x.grad, y.grad] == pytest.approx(layer.weight.data.sum(axis=0))
    scalar = Tensor(-0.5, requires_grad=True)
    for module in (made() for made in ACTIVATIONS.values()):
        y = module(scalar) * 1.0
        assert y.shape in ((), (1,))
        y.sum().backward()


X = np.random.default_rng(9).normal(size=(4, 3))


def named(module):
    """The module as a part of another, two deep."""
    nn.Sequential(nn.ReLU(), nn.Sequential(module))
    return module


@pytest.mark.parametrize(
    ("run", "error", "match"),
    [
        (lambda: nn.Linear(2, 3)(np.ones((4, 5))), ShapeError, r"^Linear takes 2 features, in the last axis, .* 5$"),
        (lambda: named(nn.Linear(2, 3))(np.ones((4, 5))), ShapeError, r"^Linear 1\.0 takes 2 features, .* has 5$"),
        (lambda: nn.MLP(2, [3, 1])(Tensor(X, name="X")), ShapeError, r"Linear layers\.0 .* X of shape \(4, 3\) has 3"),
        (lambda: nn.Linear(2, 3)(1.0), ShapeError, r"takes 2 features, in the last axis, and 1\.0 .* has no axis"),
        (lambda: nn.Linear(2, 3)(Value(1.0)), ShapeError, "has no axis"),
        (lambda: nn.Linear(2, 3)(Tensor(1.0)), ShapeError, "has no axis"),
        (lambda: nn.MLP(2, [3, 1])([Value(1.0), Value(2.0)]), GraphCutError, r"Linear layers\.0: .* with mg\.stack"),
        (lambda: nn.Linear(2, 3)("text"), InputError, "Linear: a Tensor holds real numbers, not str 'text'"),
        (lambda: nn.Linear(2, 3)(None), InputError, "Linear: a Tensor holds real numbers, not NoneType None"),
        (lambda: nn.Linear(2, 3)([[1.0], [1.0, 2.0]]), ShapeError, "Linear: rows of different lengths"),
        (lambda: nn.Linear(2, 3)(np.array([[1j, 2.0]])), InputError, "complex"),
        (lambda: named(nn.BatchNorm1d(3))(X[:, :2]), ShapeError, r"BatchNorm1d 1\.0 takes 3 features, .* has 2$"),
        (lambda: nn.BatchNorm1d(3)(np.ones((4, 2, 3))), ShapeError, r"in the second axis, .* \(4, 2, 3\) has 2$"),
        (lambda: nn.BatchNorm1d(3)(np.ones(3)), ShapeError, r"it needs \(n, features\) or \(n, features, length\)"),
        (lambda: nn.BatchNorm1d(3)(np.ones((2, 3, 4, 5))), ShapeError, r"it needs \(n, features\)"),
        (lambda: nn.BatchNorm1d(3)(X[:1]), ShapeError, r"has no variance; give a larger batch, or call eval\(\)"),
        (lambda: nn.BatchNorm1d(3)([Value(1.0)] * 3), GraphCutError, "BatchNorm1d: an array of a list that holds"),
        (lambda: named(nn.LayerNorm(3))(X[:, :2]), ShapeError, r"LayerNorm 1\.0 takes \(3,\), .* has \(2,\)$"),
        (lambda: nn.LayerNorm((2, 3))(np.ones((4, 2, 2))), ShapeError, r"\(2, 3\), in the last 2 axes, .* \(2, 2\)$"),
        (lambda: nn.LayerNorm(3)(1.0), ShapeError, r"takes \(3,\), in the last axis, and 1\.0 of shape \(\) has none"),
        (lambda: named(nn.Residual(nn.Linear(3, 2)))(X), ShapeError, r"Residual 1\.0: .* \(4, 2\) of shape \(4, 3\)"),
        (lambda: nn.Residual(nn.ReLU())([Value(1.0)]), GraphCutError, "Residual: an array of a list"),
        (lambda: named(nn.PReLU(3))(X[:, :2]), ShapeError, r"slopes 1\.0\.weight, of shape \(3,\): it needs one"),
        (lambda: nn.PReLU(3)(1.0), ShapeError, r"prelu of 1\.0, of shape \(\)"),
        (lambda: nn.PReLU(3)(np.ones(2)), ShapeError, "channels are along the second axis"),
        (lambda: nn.ReLU()("text"), InputError, "relu is of numbers, arrays and Values, not of str 'text'"),
        (lambda: nn.Tanh()(None), InputError, "tanh is of numbers"),
        (lambda: nn.Tanh()([Value(1.0)]), GraphCutError, r"Tanh: an array of a list that holds the Value 1\.0"),
        (lambda: nn.Softmax(3)(np.ones((2, 2))), ShapeError, "softmax along axis 3"),
        (lambda: nn.Softmax()([Value(1.0)]), GraphCutError, "softmax"),
        (lambda: nn.Softmax()(1.0), ShapeError, "it is one number"),
        (lambda: nn.Dropout()("text"), InputError, "dropout"),
        (lambda: nn.Dropout()([Value(1.0)]), GraphCutError, "dropout"),
    ],
)  # fmt: skip
def test_wrong_input(run, error, match):
    with pytest.raises(error, match=match):
        run()
    assert issubclass(error, MicrogadError)


@pytest.mark.parametrize(
    ("run", "match"),
    [
        (lambda: nn.Linear(0, 1), "in_features of Linear is at least 1, not 0"),
        (lambda: nn.Linear(2, -1), "out_features of Linear is at least 1, not -1"),
        (lambda: nn.Linear(2.0, 1), "in_features of Linear is a whole number, not float 2.0"),
        (lambda: nn.Linear(2, "1"), "out_features of Linear is a whole number, not str '1'"),
        (lambda: nn.Linear(True, 1), "in_features of Linear is a whole number, not bool True"),
        (lambda: nn.MLP(2, []), "an MLP has at least one layer: nouts lists their widths, the outputs last"),
        (lambda: nn.MLP(2, np.zeros(0, int)), "an MLP has at least one layer"),
        (lambda: nn.MLP(2, None), "a width in nouts is a whole number, not NoneType None"),
        (lambda: nn.MLP(2, [3, 0]), "a width in nouts is at least 1, not 0"),
        (lambda: nn.MLP(2, [3, 1.5]), "a width in nouts is a whole number, not float 1.5"),
        (lambda: nn.MLP("2", [1]), "nin is a whole number, not str '2'"),
        (lambda: nn.BatchNorm1d(0), "num_features of BatchNorm1d is at least 1, not 0"),
        (lambda: nn.BatchNorm1d(2, eps=-1.0), "eps of BatchNorm1d is at least 0, not -1"),
        (lambda: nn.BatchNorm1d(2, momentum=1.5), "the momentum of BatchNorm1d is at least 0 and at most 1, not 1.5"),
        (lambda: nn.BatchNorm1d(2, momentum="x"), "the momentum of BatchNorm1d is a number, not str 'x'"),
        (lambda: nn.LayerNorm([]), "normalized_shape names at least one axis"),
        (lambda: nn.LayerNorm(0), "a length in normalized_shape is at least 1, not 0"),
        (lambda: nn.LayerNorm([2, "3"]), "a length in normalized_shape is a whole number, not str '3'"),
        (lambda: nn.LayerNorm(2, eps=math.nan), "eps of LayerNorm is at least 0, not nan"),
        (lambda: nn.Residual(scale="half"), "the scale of Residual is a number, not str 'half'"),
        (lambda: nn.Residual(scale=math.inf), "the scale of Residual is finite, not inf"),
        (lambda: nn.LeakyReLU("a"), "negative_slope is a number, not str 'a'"),
        (lambda: nn.LeakyReLU(math.inf), "negative_slope is finite, not inf"),
        (lambda: nn.PReLU(0), "num_parameters is at least 1, not 0"),
        (lambda: nn.PReLU(init="a"), "init is a number, not str 'a'"),
        (lambda: nn.ELU(None), "alpha is a number, not NoneType None"),
        (lambda: nn.Softplus(0.0), "beta is above 0, not 0"),
        (lambda: nn.Softplus(threshold="20"), "threshold is a number, not str '20'"),
        (lambda: nn.GELU("tan"), "no approximation of GELU 'tan': did you mean 'tanh'?"),
        (lambda: nn.GELU(1), "no approximation of GELU int 1: choose from 'none', 'tanh'"),
        (lambda: nn.Softmax("last"), "dim is a whole number, not str 'last'"),
        (lambda: nn.Softmax(0, 0.0), "the temperature is above 0, not 0"),
        (lambda: nn.Softmax(0, -1.0), "the temperature is above 0, not -1"),
    ],
)  # fmt: skip
def test_wrong_arguments(run, match):
    with pytest.raises(InputError) as caught:
        run()
    assert match in str(caught.value)


@pytest.mark.parametrize("build", [lambda: nn.ReLU(mg.tanh), lambda: nn.Tanh(True), lambda: nn.Dropout(0.5, True)])
def test_an_argument_too_many_is_not_taken_for_another(build):
    with pytest.raises(TypeError, match="positional argument"):
        build()


# ---- layers as functions


@pytest.mark.parametrize(
    ("run", "error", "match"),
    [
        (lambda f: f.linear(X, np.ones((2, 4))), ShapeError, "3 features do not meet 4 columns"),
        (lambda f: f.linear(X, np.ones(3)), ShapeError, r"a weight of \(m, n\)"),
        (lambda f: f.linear(X, np.ones((2, 3)), np.ones(3)), ShapeError, "one number for each row of the weight"),
        (lambda f: f.linear("x", np.ones((2, 3))), InputError, "linear: a Tensor holds real numbers"),
        (lambda f: f.linear(X, None), InputError, "the weight of linear"),
        (lambda f: f.linear(X, np.ones((2, 3)), "b"), InputError, "the bias of linear"),
        (lambda f: f.dropout(None), InputError, "dropout"),
        (lambda f: f.batch_norm(X), InputError, "without training needs running_mean and running_var"),
        (lambda f: f.batch_norm(X, np.ones(3), None), InputError, "needs running_mean and running_var"),
        (lambda f: f.batch_norm(X, training=True, momentum="a"), InputError, "the momentum is a number, not str"),
        (lambda f: f.batch_norm(X, training=True, momentum=2.0), InputError, "momentum is at least 0 and at most 1"),
        (lambda f: f.batch_norm(X, training=True, eps=-1.0), InputError, "eps is at least 0, not -1"),
        (lambda f: f.batch_norm(X, training=True, weight=np.ones(2)), ShapeError, r"3 features, and weight .* \(2,\)"),
        (lambda f: f.batch_norm(X, training=True, bias=2.0), ShapeError, r"has 3 features, and bias is of shape \(\)"),
        (lambda f: f.batch_norm(X, np.ones(2), np.ones(2)), ShapeError, r"and running_mean is of shape \(2,\)"),
        (lambda f: f.batch_norm(X, "mean", np.ones(3)), InputError, "running_mean: a Tensor holds real numbers"),
        (lambda f: f.batch_norm(X, leaf(np.ones(3)) * 2.0, training=True), InputError, "kept in a leaf Tensor or"),
        (lambda f: f.batch_norm(X, np.ones(3, int), training=True), InputError, "a leaf Tensor or an array of floats"),
        (lambda f: f.layer_norm(X, 4), ShapeError, r"it needs \(\.\.\., 4\)"),
        (lambda f: f.layer_norm(X, (2, 4, 3)), ShapeError, r"it needs \(\.\.\., 2, 4, 3\)"),
        (lambda f: f.layer_norm(X, ()), InputError, "normalized_shape names at least one axis"),
        (lambda f: f.layer_norm(X, None), InputError, "a length in normalized_shape is a whole number, not NoneType"),
        (lambda f: f.layer_norm(X, np.ones((2, 2))), InputError, "a length in normalized_shape is a whole number"),
        (lambda f: f.softplus(X, np.ones(2)), InputError, "beta of softplus is a number"),
        (lambda f: f.softplus(X, 0.0), InputError, "beta of softplus is above 0, not 0"),
        (lambda f: f.layer_norm(X, 3, np.ones(2)), ShapeError, "they have to be the same"),
        (lambda f: f.layer_norm(X, 3, "w"), InputError, "layer_norm: a Tensor holds real numbers"),
        (lambda f: f.layer_norm(X, 3, eps="a"), InputError, "eps is a number, not str 'a'"),
        (lambda f: f.prelu(X, np.ones(2)), ShapeError, "one for each channel"),
        (lambda f: f.softmax(X, temperature=0.0), InputError, "a temperature is a number above 0"),
    ],
)  # fmt: skip
def test_functions_refuse(run, error, match):
    with pytest.raises(error, match=match):
        run(functional)


def test_functions_are_what_the_layers_compute():
    linear, norm, layer = nn.Linear(3, 2), nn.BatchNorm1d(3), nn.LayerNorm(3)
    for p in (*norm.parameters(), *layer.parameters()):
        p.data[...] = np.random.default_rng(1).normal(size=3)
    x = leaf(X)
    assert np.array_equal(functional.linear(x, linear.weight, linear.bias).data, linear(x).data)
    got = functional.batch_norm(x, weight=norm.weight, bias=norm.bias, training=True)
    assert np.array_equal(got.data, norm(x).data)
    got = functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    assert np.array_equal(got.data, norm.eval()(x).data)
    assert np.array_equal(functional.layer_norm(x, (3,), layer.weight, layer.bias).data, layer(x).data)
    arrays = functional.layer_norm(X, [3], layer.weight.data.tolist(), layer.bias.data)
    assert type(arrays) is np.ndarray  # without a Tensor, an array
    assert np.array_equal(arrays, layer(x).data)
    for name in ("linear", "dropout", "batch_norm", "layer_norm", "softmax", "cross_entropy", "mse_loss"):
        assert getattr(nn, name) is getattr(functional, name)
    given = np.array([-2.0, 1.0])
    weight = [0.25]
    assert nn.prelu(given, np.array(weight)).tolist() == [-0.5, 1.0]


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_layers_against_differences(order):
    rng = np.random.default_rng(4)
    for f, shape in (
        (lambda x: functional.batch_norm(x, training=True), (3, 2)),
        (lambda x: functional.batch_norm(x, training=True), (2, 1, 3)),
        (lambda x: functional.layer_norm(x, (1, 3)), (2, 1, 3)),
        (lambda x: nn.Residual(nn.Tanh(), scale=0.5)(x), (3,)),
        (lambda x: nn.prelu(x, 0.3), (3,)),
        (lambda x: nn.softplus(x, 2.0), (3,)),
        (lambda x: nn.softmax(x, 0, 0.5), (3, 2)),
    ):
        weight = rng.normal(size=shape)
        mg.check_grads(lambda x, f=f, weight=weight: (f(x) * weight).sum(), (rng.normal(size=shape),), order=order)
    x = rng.normal(size=(4, 3))
    mg.check_grads(
        lambda w, b: (functional.batch_norm(x, None, None, w, b, True) ** 3).sum(),
        (np.ones(3), np.zeros(3)),
        order=order,
    )

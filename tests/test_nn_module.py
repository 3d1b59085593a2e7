"""Modules: what they hold and how it is called, states, modes, scopes, copies, and how they are shown."""

import copy
import gc
import pickle
import re
from abc import ABC, abstractmethod
from contextlib import nullcontext

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn
from microgad.errors import InputError, MicrogadError, ShapeError, StateDictError
from microgad.nn.module import Loaded, Module, Parameter
from microgad.order import topological_order
from microgad.scopes import Scope, scopes


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # of so few numbers, threads make it slower
    return torch


class Bag(Module):
    """Whatever it is given, as attributes."""

    def __init__(self, **parts):
        for name, x in parts.items():
            setattr(self, name, x)


class Call(Module):
    """A function of the arguments as a module."""

    def __init__(self, function):
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


class Normed(Module):
    """A bit of everything: Values, Tensors in lists and dicts, a module, a buffer that is saved and one that is not."""

    def __init__(self):
        self.scale = Value(2.0)
        self.rows = [Parameter([1.0, 2.0]), {"a": Parameter([[3.0]]), "b": (Value(4.0),)}]
        self.layer = nn.Linear(2, 2)
        self.register_buffer("seen", Tensor([0.0, 0.0]))
        self.register_buffer("scratch", np.zeros(3), persistent=False)

    def forward(self, x):
        return self.layer(x) * self.scale + self.rows[0]


def names(module, **kwargs):
    return [name for name, _ in module.named_parameters(**kwargs)]


def same(state, other):
    return state.keys() == other.keys() and all(np.array_equal(state[name], other[name]) for name in state)


def drawn_in(root):
    """For each computed node its operation, and the classes of the calls around it."""
    return [(n.op, [scope.kind for scope in found]) for n, found in scopes(topological_order(root)).items() if n.prim]


# ---- parameters, and what they are called


def test_parameters_are_found_in_attributes_lists_tuples_and_dicts():
    model = Normed()
    assert names(model) == ["scale", "rows.0", "rows.1.a", "rows.1.b.0", "layer.weight", "layer.bias"]
    assert [p.name for p in model.parameters()] == names(model)
    assert [type(p) for p in model.parameters()] == [Value, Tensor, Tensor, Value, Tensor, Tensor]
    assert names(model, prefix="net") == [f"net.{name}" for name in names(model)]
    assert names(model, recurse=False) == ["scale", "rows.0", "rows.1.a", "rows.1.b.0"]
    assert [p.name for p in model.parameters(recurse=False)] == names(model, recurse=False)


def test_what_is_no_parameter():
    class WithOne(Bag):
        of_the_class = Value(1.0)

    leaf = Parameter([1.0])
    model = WithOne(
        plain=Tensor([1.0]),
        computed=leaf * 2.0,
        number=3.0,
        text="w",
        array=np.ones(2),
        nothing=None,
        function=np.tanh,
        several={1: [None, "x", 2.0]},
        own=leaf,
    )
    assert names(model) == ["own"]


def test_parameters_of_modules_in_lists_and_dicts():
    model = Bag(
        layers=[nn.Linear(1, 1), [nn.ReLU(), nn.Linear(1, 1, bias=False)]], heads={"a": nn.PReLU(), 7: Value(1.0)}
    )
    assert names(model) == ["heads.7", "layers.0.weight", "layers.0.bias", "layers.1.1.weight", "heads.a.weight"]
    found = ["", "layers.0", "layers.1.0", "layers.1.1", "heads.a"]
    assert [name for name, _ in model.named_modules()] == found
    assert [name for name, _ in model.named_modules("m")] == ["m", *(f"m.{name}" for name in found[1:])]
    assert [name for name, _ in model.named_children()] == found[1:]
    assert list(model.children()) == [module for _, module in model.named_modules()][1:]
    assert next(model.modules()) is model


def test_an_attribute_that_holds_itself():
    knot = [Value(1.0)]
    knot.append(knot)
    assert names(Bag(knot=knot)) == ["knot.0"]


def test_parameters_are_leaves_that_need_a_gradient():
    x = Tensor([1.0], requires_grad=True)
    assert [isinstance(p, Parameter) for p in (x, Value(1.0), Tensor([1.0]), x * 2.0, Value(1.0) * 2.0, 3.0)] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
    frozen = Parameter([1.0], requires_grad=False, name="w")
    assert isinstance(frozen, Parameter)
    assert not frozen.requires_grad
    assert (type(frozen), frozen.name) == (Tensor, "w")
    given = np.ones(2)
    made = Parameter(given)
    given[:] = 5.0
    assert made.tolist() == [1.0, 1.0]


def test_names_that_the_user_gave_are_kept():
    model = Bag(a=Value(1.0, "speed"), b=Bag(c=Parameter([1.0], name="mass"), d=Value(2.0)))
    assert names(model) == ["a", "b.c", "b.d"]
    assert [p.name for p in model.parameters()] == ["speed", "mass", "b.d"]
    nn.Sequential(model.b)
    assert [p.name for p in model.parameters()] == ["speed", "mass", "0.d"]


def test_a_name_is_the_place_in_what_was_made_last():
    layer = nn.Linear(2, 2)
    assert (layer.weight.name, layer._said) == ("weight", "Linear")
    body = nn.Sequential(nn.ReLU(), layer)
    assert (layer.weight.name, layer._said) == ("1.weight", "Linear 1")
    model = Bag(body=body, head=nn.Linear(2, 1))
    assert (layer.weight.name, layer._said, model.head.bias.name) == ("body.1.weight", "Linear body.1", "head.bias")
    list(body.parameters())  # a question does not rename
    body.state_dict()
    assert layer.weight.name == "body.1.weight"
    other = nn.Sequential(layer)
    assert (layer.weight.name, layer._said) == ("0.weight", "Linear 0")
    assert names(model)[0] == "body.1.weight"
    assert names(other)[0] == "0.weight"


def test_what_is_added_later_is_found_and_named():
    model = Bag(layers=[nn.Linear(2, 2)])
    assert len(list(model.parameters())) == 2
    model.layers.append(nn.Sequential(nn.Linear(2, 1)))
    model.extra = Value(1.0)
    assert names(model) == ["extra", "layers.0.weight", "layers.0.bias", "layers.1.0.weight", "layers.1.0.bias"]
    assert [p.name for p in model.parameters()] == names(model)
    assert model.layers[1][0]._said == "Linear layers.1.0"
    outer = Bag(inner=model)
    model.more = Value(2.0)
    list(model.parameters())  # asked from within: the place is that in the outer one all the same
    assert model.more.name == "inner.more"
    model.layers[1].append(nn.Linear(1, 1))
    assert model.layers[1][1].bias.name == "inner.layers.1.1.bias"
    assert names(outer)[-1] == "inner.layers.1.1.bias"
    del model.extra
    assert "extra" not in names(model)


def test_what_is_shared_is_counted_once():
    layer, p = nn.Linear(2, 2), Value(1.0)
    model = Bag(a=layer, b=[layer, p], c=p, d=Bag(e=layer, f=p))
    assert names(model) == ["b.1", "a.weight", "a.bias"]
    assert [module for _, module in model.named_modules()] == [model, layer, model.d]
    assert [name for name, _ in model.named_children()] == ["a", "d"]
    model.b[1].grad = 1.0
    model.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("itself", [False, True])
def test_modules_in_a_circle(itself):
    a = Bag(w=Value(1.0))
    b = a if itself else Bag(w=Value(2.0), back=a)
    a.next = b
    assert names(a) == (["w"] if itself else ["w", "next.w"])
    assert list(a.state_dict()) == names(a)
    assert list(a.modules()) == ([a] if itself else [a, b])
    assert a.eval() is a
    assert not b.training
    met = []
    a.apply(met.append)
    assert met == ([a] if itself else [b, a])
    assert repr(a) == ("Bag(\n  (next): ...\n)" if itself else "Bag(\n  (next): Bag(\n    (back): ...\n  )\n)")
    twin = pickle.loads(pickle.dumps(copy.deepcopy(a)))
    assert (twin.next if itself else twin.next.back) is twin
    assert "parameter" in nn.summary(a)


def test_a_module_of_shared_modules_is_walked_once():
    module = nn.Linear(1, 1)
    for _ in range(40):  # in every place there would be 2 ** 40
        module = Bag(a=module, b=module)
    assert len(list(module.parameters())) == 2
    assert len(list(module.modules())) == 41
    module.train(False)
    module.zero_grad()
    module.apply(lambda part: None)


def test_abstract_modules():
    class Layer(Module, ABC):
        @abstractmethod
        def bend(self, x): ...

        def forward(self, x):
            return self.bend(x)

    class Square(Layer):
        def bend(self, x):
            return x * x

    with pytest.raises(TypeError, match="abstract"):
        Layer()
    assert Square()(Value(3.0)).data == 9.0


def test_a_module_without_forward():
    with pytest.raises(NotImplementedError, match="Bag has no forward"):
        Bag()(1.0)


# ---- states


def test_state_is_a_copy_with_parameters_and_buffers():
    model = Normed()
    state = model.state_dict()
    assert list(state) == ["scale", "rows.0", "rows.1.a", "rows.1.b.0", "seen", "layer.weight", "layer.bias"]
    assert all(type(x) is np.ndarray for x in state.values())
    assert [x.shape for x in state.values()] == [(), (2,), (1, 1), (), (2,), (2, 2), (2,)]
    model.layer.bias.data[0] = 77.0
    model.seen.data[0] = 77.0
    model.scale.data = 77.0
    assert not any((x == 77.0).any() for x in state.values())


def test_round_trip():
    a, b = Normed(), Normed()
    for i, p in enumerate(a.parameters()):
        p.data = np.full(np.shape(p.data), i) if np.shape(p.data) else i
    a.seen.data[...], a.scratch[...] = 5.0, 5.0
    kept = {name: p for name, p in b.named_parameters()}
    arrays = {name: p.data for name, p in kept.items() if isinstance(p, Tensor)}
    assert b.load_state_dict(a.state_dict()) == Loaded([], []) == ([], [])
    assert same(a.state_dict(), b.state_dict())
    assert not b.scratch.any()
    assert all(p is kept[name] for name, p in b.named_parameters())
    assert all(arrays[name] is kept[name].data for name in arrays)  # which an optimizer may hold
    assert type(b.scale.data) is float
    a.layer.weight.data[...] = 9.0
    assert not (b.layer.weight.data == 9.0).any()


def test_every_problem_is_listed_and_nothing_is_loaded():
    model = Normed()
    model.layer.weight.name = "a name of the user's"
    before = model.state_dict()
    state = {**before, "scale": np.zeros(2), "rows.0": [0.0, 0.0], "seen": "text", "layer.bias": [1j, 0.0]}
    state["layer.weight"] = np.zeros((2, 3))
    state["other"] = state["layer.gain"] = 0.0
    del state["rows.1.a"], state["rows.1.b.0"]
    with pytest.raises(StateDictError) as caught:
        model.load_state_dict(state)
    first, *lines = str(caught.value).splitlines()
    assert first == "the state does not fit this Normed, and nothing was loaded:"
    assert [line.strip().partition(":")[0] for line in lines] == [
        "missing", "missing", "unexpected", "unexpected", "shape", "no numbers", "shape", "no numbers",
    ]  # fmt: skip
    for said in ("missing: rows.1.a", "missing: rows.1.b.0", "unexpected: other", "unexpected: layer.gain"):
        assert f"  {said}" in lines
    assert "  shape: layer.weight is (2, 3), and the model's is (2, 2)" in lines
    assert "  shape: scale is (2,), and the model's is ()" in lines
    assert any("no numbers: seen" in line and "text" in line for line in lines)
    assert any("no numbers: layer.bias" in line and "complex" in line for line in lines)
    assert same(model.state_dict(), before)


def test_a_part_of_a_state():
    model = Normed()
    before = model.state_dict()
    found = model.load_state_dict({"layer.bias": [1.0, 2.0], "head": 3.0}, strict=False)
    assert found.unexpected_keys == ["head"]
    assert found.missing_keys == [name for name in before if name != "layer.bias"]
    assert same(model.state_dict(), {**before, "layer.bias": np.array([1.0, 2.0])})
    with pytest.raises(StateDictError, match=r"shape: layer\.bias"):
        model.load_state_dict({"layer.bias": [1.0], "scale": 5.0}, strict=False)
    assert model.scale.data == before["scale"]


@pytest.mark.parametrize("given", [[], None, "weight", 3.0, {1.0}], ids=str)
def test_a_state_is_a_mapping(given):
    with pytest.raises(InputError, match="a state_dict is a mapping"):
        nn.Linear(2, 1).load_state_dict(given)


def test_states_of_pytorch(torch):
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.PReLU())
    theirs(torch.randn(5, 3))
    ours = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.PReLU())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for name, x in ours.state_dict().items():
        assert x.tolist() == theirs.state_dict()[name].tolist()
    assert ours[1].num_batches_tracked.dtype.kind == "i"
    for kind in (torch.bfloat16, torch.float16, torch.int64, torch.bool):
        weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]).to(kind)
        ours.load_state_dict({"0.weight": weight}, strict=False)
        assert ours[0].weight.tolist() == weight.tolist()
    ours.load_state_dict(dict(theirs.named_parameters()), strict=False)  # which need a gradient
    assert np.array_equal(ours[0].weight.data, theirs[0].weight.detach().numpy())
    with pytest.raises(StateDictError, match=r"no numbers: 0\.bias"):
        ours.load_state_dict({"0.bias": torch.zeros(2, dtype=torch.complex64)}, strict=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loaded_parameter_keeps_its_dtype(dtype):
    model = nn.Linear(2, 1, dtype=dtype)
    for given in (np.array([[1.0, 0.1]]), np.float32([[1.0, 0.1]]), [[1, 0.1]], Tensor([[1.0, 0.1]])):
        model.load_state_dict({"weight": given, "bias": [0]})
        assert {x.dtype for x in model.state_dict().values()} == {np.dtype(dtype)}
        assert model.weight.data[0, 1] == pytest.approx(0.1, rel=1e-7)


def test_tied_weights():
    encoder, decoder = nn.Linear(3, 2, bias=False), nn.Linear(2, 3, bias=False)
    decoder.weight = encoder.weight
    model = Bag(encoder=encoder, decoder=decoder)
    assert names(model) == ["encoder.weight"]
    assert list(model.state_dict()) == ["encoder.weight", "decoder.weight"]  # as in PyTorch: both names
    model.load_state_dict({name: np.full((2, 3), 4.0) for name in model.state_dict()})
    assert encoder.weight.tolist() == decoder.weight.tolist() == [[4.0] * 3] * 2
    with pytest.raises(StateDictError, match=r"missing: decoder\.weight"):
        model.load_state_dict({"encoder.weight": np.zeros((2, 3))})
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.encoder.weight is twin.decoder.weight
        assert twin.encoder.weight is not encoder.weight


def test_a_module_in_two_places_has_both_names_in_the_state():
    layer = nn.Linear(1, 1)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert names(model) == ["0.weight", "0.bias"]
    model.load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    "model",
    [Bag(a={"0": Value(1.0), 0: Value(2.0)}), Bag(**{"a.b": Value(1.0), "a": {"b": Value(2.0)}})],
    ids=["keys", "dots"],
)
def test_two_parameters_of_one_name_are_an_error_and_not_lost(model):
    assert len(list(model.parameters())) == 2
    with pytest.raises(InputError, match=r"Bag holds two things that are called a\.[0b]: rename one"):
        model.state_dict()


# ---- buffers


def test_buffers():
    model = Bag(inner=Normed())
    model.register_buffer("steps", np.array(0))
    assert [name for name, _ in model.named_buffers()] == ["steps", "inner.seen", "inner.scratch"]
    assert [name for name, _ in model.named_buffers("m", recurse=False)] == ["m.steps"]
    assert [np.shape(x) for x in model.buffers()] == [(), (2,), (3,)]
    assert len(list(model.buffers(recurse=False))) == 1
    assert "inner.scratch" not in model.state_dict()
    assert "steps" not in names(model)
    model.register_buffer("steps", np.array(1), persistent=False)  # once more
    assert next(model.buffers(recurse=False)) == 1
    assert "steps" not in model.state_dict()
    model.register_buffer("gained", Tensor([1.0], requires_grad=True))  # a buffer is not trained, whatever it is
    assert "gained" not in names(model)
    assert "gained" in model.state_dict()


def test_a_buffer_of_none():
    model = Bag()
    model.register_buffer("mean", None)
    assert (model.mean, model.state_dict(), list(model.buffers())) == (None, {}, [])
    model.mean = np.ones(2)
    assert model.state_dict()["mean"].tolist() == [1.0, 1.0]
    norm = nn.BatchNorm1d(2)
    norm.running_mean = norm.running_var = None  # as some do to use the batch's own
    assert list(norm.state_dict()) == ["weight", "bias", "num_batches_tracked"]


def test_a_buffer_that_was_computed_is_loaded_all_the_same():
    model = Bag()
    model.register_buffer("mean", Tensor([1.0, 2.0]))
    model.mean = model.mean * 0.5
    assert model.state_dict()["mean"].tolist() == [0.5, 1.0]
    model.load_state_dict({"mean": [3.0, 4.0]})
    assert model.mean.tolist() == [3.0, 4.0]
    assert model.mean.prim is None


@pytest.mark.parametrize(
    ("name", "tensor", "match"),
    [
        ("weight", np.ones(2), "Linear has something else that is called weight"),
        ("forward", np.ones(2), "Linear has something else that is called forward"),
        ("not a name", np.ones(2), "the name of a buffer is that of an attribute, not str 'not a name'"),
        ("a.b", np.ones(2), "the name of a buffer"),
        (3, np.ones(2), "the name of a buffer"),
        ("mean", 3.0, "a buffer is a Tensor or an array, not float 3.0"),
        ("mean", [1.0], "a buffer is a Tensor or an array, not list"),
        ("mean", Value(1.0), "a buffer is a Tensor or an array, not Value"),
    ],
)
def test_what_is_no_buffer(name, tensor, match):
    layer = nn.Linear(2, 1)
    with pytest.raises(InputError, match=match):
        layer.register_buffer(name, tensor)
    assert list(layer.buffers()) == []
    assert len(list(layer.parameters())) == 2


def test_a_buffer_that_was_replaced_by_something_else():
    layer = nn.BatchNorm1d(2)
    layer.num_batches_tracked = 3
    with pytest.raises(
        InputError, match="the buffer num_batches_tracked of BatchNorm1d is a Tensor or an array, not int"
    ):
        layer.state_dict()


# ---- modes, freezing, gradients


def test_train_and_eval():
    model = Bag(layers=[nn.Dropout(), nn.Sequential(nn.Dropout())], norm={"a": nn.BatchNorm1d(2)})
    every = list(model.modules())
    assert [module.training for module in every] == [True] * 5
    assert model.eval() is model
    assert [module.training for module in every] == [False] * 5
    assert model.train() is model
    assert [module.training for module in every] == [True] * 5
    assert model.train(np.bool_(False)).training is False
    model.norm["a"].train()
    assert [module.training for module in every] == [False, False, False, False, True]


@pytest.mark.parametrize("mode", [1, 0, None, "eval", [True], np.array(1)], ids=str)
def test_train_is_given_a_bool(mode):
    layer = nn.Dropout()
    with pytest.raises(InputError, match="the mode of train is True or False"):
        layer.train(mode)
    assert layer.training


def test_frozen_parameters(torch):
    torch.manual_seed(0)
    ours, theirs = (lib.Sequential(lib.Linear(2, 3), lib.Tanh(), lib.Linear(3, 1)) for lib in (nn, torch.nn))
    ours.load_state_dict(theirs.double().state_dict())
    ours[0].requires_grad_(False)
    theirs[0].requires_grad_(False)
    assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in theirs.parameters()]
    assert len(ours.state_dict()) == 4
    optimizers = nn.optim.Adam(ours.parameters(), 0.1), torch.optim.Adam(theirs.parameters(), 0.1)
    x = np.random.default_rng(0).normal(size=(5, 2))
    for thaw in (False, False, True, True):
        if thaw:
            ours.requires_grad_()
            theirs.requires_grad_()
        for optimizer, model, given in zip(optimizers, (ours, theirs), (Tensor(x), torch.tensor(x)), strict=True):
            optimizer.zero_grad()
            (model(given) ** 2).sum().backward()
            optimizer.step()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None)
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_freezing_by_the_parameter():
    layer = nn.Linear(2, 1)
    layer.weight.requires_grad = False
    assert names(layer) == ["weight", "bias"]
    assert list(layer.state_dict()) == ["weight", "bias"]
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert [(name, p.requires_grad) for name, p in twin.named_parameters()] == [("weight", False), ("bias", True)]
    layer.load_state_dict({"weight": [[1.0, 2.0]], "bias": [0.0]})
    out = layer([[3.0, 4.0]])
    out.sum().backward()
    assert (out.item(), layer.weight.grad, layer.bias.grad.tolist()) == (11.0, None, [1.0])
    layer.weight.requires_grad = True
    layer([[3.0, 4.0]]).sum().backward()
    assert layer.weight.grad.tolist() == [[3.0, 4.0]]


def test_values_are_never_frozen():
    model = Bag(a=Parameter([1.0]), b=Value(1.0))
    assert model.requires_grad_(True) is model
    with pytest.raises(InputError, match="b is a Value, and those always need a gradient"):
        model.requires_grad_(False)
    assert model.a.requires_grad  # nothing was done by halves
    with pytest.raises(InputError, match="what requires_grad_ is given is True or False, not str"):
        model.requires_grad_("no")


def test_zero_grad_both_ways():
    model = Normed()
    model([[1.0, 2.0]]).sum().backward()
    touched = [model.scale, model.rows[0], *model.layer.parameters()]
    assert all(p.grad is not None for p in touched)
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    model([[1.0, 2.0]]).sum().backward()
    model.zero_grad(set_to_none=False)
    for p in touched:
        assert np.shape(p.grad) == np.shape(p.data)
        assert not np.any(p.grad)
    assert type(model.scale.grad) is float
    small = nn.Linear(2, 1, dtype=np.float32)
    small.zero_grad(set_to_none=False)
    assert small.weight.grad is None  # as in PyTorch
    small(np.float32([[1.0, 2.0]])).sum().backward()
    small.zero_grad(set_to_none=False)
    assert small.weight.grad.dtype == np.float32
    p = small.weight.grad
    small(np.float32([[1.0, 2.0]])).sum().backward()
    assert p.tolist() == [[0.0, 0.0]]  # the zeros were not written into


def test_apply_goes_in_pytorch_s_order(torch):
    def build(nn):
        return nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Tanh(), nn.Sequential(nn.Sigmoid()))

    orders = []
    for library in (nn, torch.nn):
        met = []
        model = build(library)
        assert model.apply(lambda module, met=met: met.append(type(module).__name__)) is model
        orders.append(met)
    assert orders[0] == orders[1]
    relu = nn.ReLU()
    met = []
    nn.Sequential(relu, nn.Sequential(relu)).apply(met.append)
    assert len(met) == 3  # each once
    with pytest.raises(InputError, match="apply is given a function of a module, not int"):
        nn.ReLU().apply(3)


@pytest.mark.parametrize(
    ("own", "given"),
    [(np.int8([1]), [300]), (np.uint8([1]), [-1]), (np.array([True]), [5]), (np.int64([1]), [np.inf]),
     (np.int64([1]), [np.nan]), (np.int64([1]), [0.5])],
)  # fmt: skip
def test_whole_numbers_that_a_buffer_cannot_hold(own, given):
    model = nn.Linear(2, 1)
    model.register_buffer("count", own)
    weight = model.weight.tolist()
    with pytest.raises(StateDictError, match="count is of whole numbers"):
        model.load_state_dict({**nn.Linear(2, 1).state_dict(), "count": given})
    assert (model.weight.tolist(), model.count.tolist()) == (weight, own.tolist())


def test_a_buffer_that_cannot_be_written_is_replaced():
    model = nn.Linear(2, 1)
    model.register_buffer("mask", np.broadcast_to(1.0, (3,)))
    model.load_state_dict({**model.state_dict(), "mask": [1.0, 2.0, 3.0]})
    assert model.mask.tolist() == [1.0, 2.0, 3.0]


def test_apply_sets_initial_weights():
    def ones(module):
        if isinstance(module, nn.Linear):
            module.weight.data[...], module.bias.data[...] = 1.0, 0.0

    assert nn.MLP(2, [3, 1]).apply(ones)([[1.0, 2.0]]).item() == 9.0


# ---- scopes


def test_nested_calls_are_nested_scopes():
    model = nn.Sequential(nn.Residual(nn.Linear(2, 2), nn.Tanh()), nn.Linear(2, 1))
    found = drawn_in(model(Tensor([[1.0, 2.0]])).sum())
    assert found == [
        ("linear", ["Sequential", "Residual", "Linear"]),
        ("tanh", ["Sequential", "Residual", "Tanh"]),
        ("+", ["Sequential", "Residual"]),
        ("linear", ["Sequential", "Linear"]),
        ("Σ", []),
    ]


def test_a_scope_knows_its_module_and_its_place():
    model = nn.MLP(2, [3, 1])
    y = model([[1.0, 2.0]])
    assert isinstance(y.name, Scope)
    assert (y.name.kind, y.name.module) == ("MLP", model)
    assert (y.name.inner.kind, y.name.inner.path, y.name.inner.module) == ("Linear", "layers.1", model.layers[1])
    assert str(y.name) == "layers.1"


def test_a_module_that_is_called_twice():
    layer = nn.Linear(2, 2)
    y = layer(layer(Tensor([[1.0, 2.0]])))
    around = [found for node, found in scopes(topological_order(y)).items() if node.prim]
    assert [[scope.module for scope in found] for found in around] == [[layer], [layer]]
    assert around[0][0] is not around[1][0]
    w = Parameter([1.0])
    none = Call(lambda: w * 2.0)
    around = [found for node, found in scopes(topological_order(none() + none())).items() if node.op == "×"]
    assert len({id(scope) for found in around for scope in found}) == 2  # of no arguments, too


def test_keyword_inputs_are_outside():
    class Weighted(Module):
        def forward(self, x, *, by):
            return x * by

    x, by = Value(2.0), Value(3.0) + 1.0
    y = Weighted()(x, by=by)
    assert drawn_in(y) == [("+", []), ("×", ["Weighted"])]
    y.backward()
    assert x.grad == 4.0
    assert drawn_in(Weighted()(x=Value(1.0) * 2.0, by=2.0)) == [("×", []), ("×", ["Weighted"])]


def test_results_in_tuples_lists_and_dicts():
    split = Call(lambda x: (x * 2.0, [x + 1.0, {"a": x - 1.0, "n": 3, "none": None}]))
    twice, (more, rest) = split(Value(1.0))
    assert [drawn_in(node)[-1][1] for node in (twice, more, rest["a"])] == [["Call"]] * 3
    assert rest["n"] == 3
    a, b = Call(lambda x: (x * 2.0, x * 3.0))(Tensor([1.0]))
    order = topological_order((a + b).sum())
    around = [found for node, found in scopes(order).items() if node.op == "×"]
    assert len({id(found[0]) for found in around}) == 1  # one call, whatever it gave


@pytest.mark.parametrize(
    ("call", "pick"),
    [
        (lambda m, x, y: m(x), lambda out: out),
        (lambda m, x, y: m(y, x), lambda out: out),
        (lambda m, x, y: m(y, other=x), lambda out: out),
        (lambda m, x, y: m([x, y]), lambda out: out[0]),
        (lambda m, x, y: m({"a": [y, (x,)]}), lambda out: out["a"][1][0]),
    ],
    ids=["alone", "second", "keyword", "list", "nested"],
)
@pytest.mark.parametrize("kind", [Value, Tensor])
def test_what_is_only_passed_on_is_in_no_scope(call, pick, kind):
    x, y = kind(1.0) * 2.0, kind(2.0) * 2.0

    def last(*args, **kwargs):
        return [*args, *kwargs.values()][-1]

    out = pick(call(Call(last), x, y))
    assert out is x
    assert x.name is None
    assert nn.Identity()(x) is x
    assert nn.Dropout().eval()(x) is x
    assert nn.Sequential()(x) is x
    assert x.name is None
    assert drawn_in(x) == [("×", [])]


def test_a_subclass_may_pass_on_what_it_is_given():
    class Off(nn.Linear):
        def forward(self, x):
            return x

    x = Tensor([[1.0, 2.0]]) * 2.0
    assert Off(2, 2)(x) is x
    assert x.name is None


def test_a_name_of_the_user_s_stays_inside():
    def named(x):
        y = x * 2.0
        y.name = "double"
        return y

    y = Call(named)(Value(1.0))
    assert (str(y.name), y.name.kind, y.name.made_up) == ("double", "Call", False)


def test_without_recording_there_are_no_scopes():
    model = nn.MLP(2, [3, 1])
    with mg.no_grad():
        y = model([[1.0, 2.0]])
        z = nn.scalar.MLP(2, [3, 2])([1.0, 2.0])
    assert [(node.name, node.prim) for node in (y, *z)] == [(None, None)] * 3


def test_a_graph_is_freed_when_its_result_is_dropped():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Residual(nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 1))
    scalar = nn.scalar.MLP(3, [4, 1], "tanh")
    split = Call(lambda x: [x * 2.0, {"a": x + 1.0}])

    def run():
        for part in (model, scalar):
            part.zero_grad()
            out = part(np.ones((3, 3)) if part is model else [1.0, 2.0, 3.0])
            (out * out).sum().backward()
            split(out)
            list(part.named_parameters())
            part.state_dict()
            part.load_state_dict(part.state_dict())
            part.apply(lambda module: None)
            part.eval()
            repr(part)
            part.train()
            part.zero_grad()

    run()
    gc.collect()
    gc.disable()
    try:
        before = sum(type(x) in (Value, Tensor) for x in gc.get_objects())
        for _ in range(3):
            run()
        assert sum(type(x) in (Value, Tensor) for x in gc.get_objects()) == before
        assert gc.collect() == 0  # no cycle of any kind was left
    finally:
        gc.enable()


# ---- copies


def trained():
    mg.manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.PReLU(), nn.Dropout(0.3), nn.Linear(3, 1))
    model.extra = {"gain": Value(1.5), "list": [Parameter([2.0], name="mine")]}
    optimizer = nn.optim.SGD(model.parameters(), 0.1)
    x = np.random.default_rng(0).normal(size=(6, 2))
    for _ in range(3):
        optimizer.zero_grad()
        (model(x) * model.extra["gain"]).sum().backward()
        optimizer.step()
    return model, x


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_copies(duplicate):
    model, x = trained()
    twin = duplicate(model)
    assert type(twin) is nn.Sequential
    assert same(twin.state_dict(), model.state_dict())
    assert [p.name for p in twin.parameters()] == [p.name for p in model.parameters()]
    assert twin[1]._said == "BatchNorm1d 1"
    assert repr(twin) == repr(model)
    for p, q in zip(twin.parameters(), model.parameters(), strict=True):
        assert p is not q
        assert np.array_equal(p.grad, q.grad) if q.grad is not None else p.grad is None
    assert np.array_equal(twin.eval()(x).data, model.eval()(x).data)
    before, gradients = model.state_dict(), [copy.copy(p.grad) for p in model.parameters()]
    twin.train()
    optimizer = nn.optim.Adam(twin.parameters(), 0.1)
    optimizer.zero_grad()
    twin(x).sum().backward()
    optimizer.step()
    assert not same(twin.state_dict(), before)
    assert same(model.state_dict(), before)  # they share nothing
    for p, g in zip(model.parameters(), gradients, strict=True):
        assert np.array_equal(p.grad, g) if g is not None else p.grad is None
    assert not model[1].training
    assert twin[1].training


class Keeps(Module):
    def __init__(self):
        self.layer, self.last = nn.Linear(2, 1), None

    def forward(self, x):
        self.last = self.layer(x)
        return self.last


def test_a_copy_of_a_module_that_keeps_its_last_result():
    model = Keeps()
    y = model([[1.0, 2.0]])
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.last.item() == y.item()
        assert names(twin) == names(model) == ["layer.weight", "layer.bias"]


# ---- text


def test_text_is_pytorch_s(torch):
    def build(nn):
        inner = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Identity())
        norms = nn.BatchNorm1d(3), nn.BatchNorm1d(3, 1e-3, None, False, False), nn.LayerNorm(3), nn.LayerNorm((3, 2))
        model = nn.Sequential(
            nn.Linear(2, 3), nn.ReLU(), inner, nn.PReLU(), nn.LeakyReLU(0.2), nn.ELU(), nn.GELU(), nn.SiLU(),
            nn.Sigmoid(), nn.Softmax(dim=-1), nn.GELU("tanh"), nn.PReLU(3), nn.Linear(3, 1, bias=False), *norms,
            nn.LogSoftmax(dim=1), nn.Sequential(),
        )  # fmt: skip
        return re.sub(r"(affine=\w+), bias=\w+", r"\1", repr(model))  # which older versions do not say

    assert build(nn) == build(torch.nn)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Dropout(0.2), "Dropout(p=0.2)"),
        (nn.Dropout(0.2, inverted=False), "Dropout(p=0.2, inverted=False)"),
        (nn.Softplus(), "Softplus(beta=1.0)"),
        (nn.Softplus(2.0, 20), "Softplus(beta=2.0, threshold=20.0)"),
        (nn.Step(), "Step()"),
        (nn.Swish(), "SiLU()"),
        (nn.Softmax(0, 2.0), "Softmax(dim=0, temperature=2.0)"),
        (nn.Sequential(mg.sin), "Sequential(\n  (0): Activation(sin)\n)"),
        (nn.Residual(nn.ReLU(), scale=0.5), "Residual(\n  scale=0.5\n  (0): ReLU()\n)"),
        (nn.Residual(), "Residual()"),
        (Bag(w=Value(1.0), layers=[nn.ReLU()], d={"k": nn.Tanh()}), "Bag(\n  (layers.0): ReLU()\n  (d.k): Tanh()\n)"),
    ],
)
def test_text(module, text):
    assert repr(module) == text


def test_an_mlp_is_shown_as_data_goes_through_it():
    model = nn.MLP(2, [16, 16, 1], "tanh")
    assert repr(model) == (
        "MLP(\n"
        "  (layers.0): Linear(in_features=2, out_features=16, bias=True)\n"
        "  (activations.0): Tanh()\n"
        "  (layers.1): Linear(in_features=16, out_features=16, bias=True)\n"
        "  (activations.1): Tanh()\n"
        "  (layers.2): Linear(in_features=16, out_features=1, bias=True)\n"
        ")"
    )
    model.extra = nn.ReLU()
    assert [name for name, _ in model.named_children()][-1] == "extra"
    model.activations[0] = [nn.Tanh(), nn.ReLU()]  # a list in a list still has names
    assert "activations.0.1" in [name for name, _ in model.named_modules()]


# ---- summary


def summary(*args):
    return str(nn.summary(*args)).splitlines()


def test_summary_of_an_mlp():
    model = nn.MLP(2, [16, 1])
    assert summary(model) == [
        "name           module  parameters",
        "               MLP",
        "layers.0       Linear          48",
        "activations.0  ReLU",
        "layers.1       Linear          17",
        "",
        "65 parameters",
    ]
    for x in (np.zeros((5, 2)), Tensor(np.zeros((5, 2))), [[0.0, 0.0]] * 5):
        assert summary(model, x) == [
            "name           module  output   parameters",
            "               MLP     (5, 1)",
            "layers.0       Linear  (5, 16)          48",
            "activations.0  ReLU    (5, 16)",
            "layers.1       Linear  (5, 1)           17",
            "",
            "65 parameters",
        ]
    assert repr(nn.summary(model)) == str(nn.summary(model))  # a notebook shows it as it is


def test_summary_counts_what_is_shared_frozen_and_kept():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.Sequential(nn.BatchNorm1d(2), layer), nn.Linear(2, 2))
    model[2].weight = layer.weight
    layer.bias.requires_grad = False
    assert summary(model, np.ones((3, 2))) == [
        "name  module       output  parameters",
        "      Sequential   (3, 2)",
        "0     Linear       (3, 2)           6",
        "1     Sequential   (3, 2)",
        "1.0   BatchNorm1d  (3, 2)           4",
        "2     Linear       (3, 2)           2",
        "",
        "12 parameters, 2 of them frozen, and 5 numbers in buffers",
    ]
    assert summary(Bag(w=Value(1.0)))[-1] == "1 parameter"
    big = summary(nn.Linear(1000, 1000))
    assert big[1].endswith("1,001,000")
    assert big[-1] == "1,001,000 parameters"
    assert summary(nn.ReLU())[-1] == "0 parameters"


def test_summary_of_scalar_networks():
    model = nn.scalar.MLP(2, [16, 16, 1])
    assert summary(model, [1.0, 2.0]) == [
        "name      module  output       parameters",
        "          MLP     number",
        "layers.0  Layer   16 × number          48",
        "layers.1  Layer   16 × number         272",
        "layers.2  Layer   number               17",
        "",
        "337 parameters",
    ]
    assert summary(nn.scalar.Neuron(2))[1].split() == ["Neuron", "3"]


@pytest.mark.parametrize(
    ("function", "output"),
    [
        (lambda x: (x, x), "2 × (3, 2)"),
        (lambda x: [x, x.sum()], "(3, 2), number"),
        (lambda x: {"a": x, "b": [x[0], x[0]]}, "a: (3, 2), b: 2 × (2,)"),
        (lambda x: x.data, "(3, 2)"),
        (lambda x: 1.0, "number"),
        (lambda x: None, "NoneType"),
        (lambda x: "text", "str"),
        (lambda x: [], ""),
    ],
)
def test_summary_of_any_output(function, output):
    assert summary(Call(function), Tensor(np.ones((3, 2))))[1].split(maxsplit=1)[1:] == ([output] if output else [])


def test_summary_changes_nothing():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    model[1].eval()
    model[0].forward = own = lambda x: nn.Linear.forward(model[0], x)
    before = model.state_dict()
    for x, failing in ((np.ones((3, 2)), False), (np.ones((3, 5)), True)):
        with pytest.raises(ShapeError, match="Linear 0 takes 2 features") if failing else nullcontext():
            nn.summary(model, x)
        assert [module.training for module in model.modules()] == [True, True, False, True]
        assert model[0].forward is own
        assert "forward" not in vars(model[1])
        assert same(model.state_dict(), before)
    assert nn.summary(model, np.ones((1, 2)))  # of one example, too: it is sent in use, not in training


@pytest.mark.parametrize("model", [None, 3, "MLP", nn.MLP, [nn.ReLU()]], ids=str)
def test_summary_is_of_a_module(model):
    with pytest.raises(InputError, match="summary is of a module"):
        nn.summary(model)


# ---- Sequential as a sequence


def test_sequences():
    linear, relu, last = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    model = nn.Sequential(linear, relu, last)
    assert (model[0], model[-1], model[np.int64(1)], len(model)) == (linear, last, relu, 3)
    assert list(model) == [linear, relu, last]
    assert [module for module in model] == [*model]
    tail = nn.Tanh()
    assert model.append(tail) is model
    assert (model[3], len(model)) == (tail, 4)
    x = [[1.0, 2.0]]
    assert model(x).item() == np.tanh(model[:3](x).item())
    assert nn.Sequential()(x) is x
    assert nn.Sequential(mg.tanh, np.tanh)(Tensor([1.0])).item() == np.tanh(np.tanh(1.0))


def test_sequences_with_names():
    model = nn.Sequential({"first": nn.Linear(2, 3), "bend": nn.ReLU(), "last": nn.Linear(3, 1)})
    assert names(model) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert model.first is model[0]
    assert (
        repr(model[1:])
        == "Sequential(\n  (bend): ReLU()\n  (last): Linear(in_features=3, out_features=1, bias=True)\n)"
    )
    model.append(nn.Tanh())
    assert [name for name, _ in model.named_children()] == ["first", "bend", "last", "3"]
    model.last = nn.Linear(3, 5)  # by its name
    assert model([[1.0, 2.0]]).shape == (1, 5)


def test_a_slice_is_of_the_same_modules(torch):
    ours, theirs = (
        lib.Sequential(lib.Linear(2, 2), lib.ReLU(), lib.Linear(2, 2), lib.Tanh()) for lib in (nn, torch.nn)
    )
    for piece in (slice(1, None), slice(None, -1), slice(None, None, 2), slice(2, 1), slice(None)):
        assert repr(ours[piece]) == repr(theirs[piece])
        assert list(ours[piece].state_dict()) == list(theirs[piece].state_dict())
        assert list(ours[piece]) == list(ours)[piece]
    part = ours[2:]
    assert part[0] is ours[2]
    assert part[0].weight.name == "2.weight"  # which is its name here and there
    assert len(ours) == 4  # still
    part.append(nn.ReLU())
    assert [name for name, _ in part.named_children()] == ["2", "3", "4"]
    part.append(nn.ReLU())
    assert len(part) == 4
    assert len(ours) == 4
    block = nn.Residual(nn.Linear(2, 2), nn.ReLU(), scale=0.5).eval()[:1]
    assert (type(block), block.scale, block.training) == (nn.Residual, 0.5, False)


def test_a_module_of_a_sequence_is_replaced():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    model[-1] = nn.Linear(3, 5)
    model[1] = np.tanh
    assert model([[1.0, 2.0]]).shape == (1, 5)
    assert model[2].weight.name == "2.weight"
    assert names(model) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    with pytest.raises(InputError, match="replaced one by one"):
        model[:2] = [nn.ReLU(), nn.ReLU()]
    with pytest.raises(ShapeError, match="Sequential of 3 modules has no index 3"):
        model[3] = nn.ReLU()
    with pytest.raises(InputError, match=r"not of float 2\.0"):
        model[0] = 2.0
    assert isinstance(model[0], nn.Linear)


@pytest.mark.parametrize(
    ("run", "error", "match"),
    [
        (lambda m: m[3], ShapeError, "Sequential of 2 modules has no index 3"),
        (lambda m: m[-3], ShapeError, "Sequential of 2 modules has no index -3"),
        (lambda m: m["0"], InputError, "whole numbers and slices of them as indices, not str '0'"),
        (lambda m: m[1.0], InputError, "not float 1.0"),
        (lambda m: m[None], InputError, "not NoneType None"),
        (lambda m: m[::0], InputError, "whole numbers and slices"),
        (lambda m: m["a":], InputError, "whole numbers and slices"),
        (lambda m: m.append(3), InputError, "Sequential is of modules and functions, not of int 3"),
        (lambda m: m.append(nn.ReLU), InputError, r"not of the class ReLU: ReLU\(\) is one"),
        (lambda m: nn.Sequential([nn.ReLU()]), InputError, r"Sequential\(\*modules\) takes them out of a list"),
        (lambda m: nn.Sequential(None), InputError, "not of NoneType None"),
        (lambda m: nn.Sequential({"forward": nn.ReLU()}), InputError, "cannot be called 'forward' in Sequential"),
        (lambda m: nn.Sequential({"training": nn.ReLU()}), InputError, "cannot be called 'training'"),
        (lambda m: nn.Sequential({"a.b": nn.ReLU()}), InputError, "cannot be called 'a.b'"),
        (lambda m: nn.Sequential({"": nn.ReLU()}), InputError, "cannot be called ''"),
        (lambda m: nn.Sequential({1: nn.ReLU(), "1": nn.ReLU()}), InputError, "cannot be called '1'"),
    ],
)
def test_what_a_sequence_refuses(run, error, match):
    model = nn.Sequential(nn.ReLU(), nn.Tanh())
    with pytest.raises(error, match=match):
        run(model)
    assert len(model) == 2
    assert issubclass(error, MicrogadError)


# ---- the loop of lecture 004


def test_the_loop_of_lecture_004_with_modules_of_every_kind():
    class Mixed(Module):
        def __init__(self):
            self.body = [nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)]
            self.gain, self.shift = Value(1.0), {"b": Parameter([0.0])}

        def forward(self, x):
            for part in self.body:
                x = part(x)
            return x * self.gain + self.shift["b"]

    mg.manual_seed(0)
    x = np.random.default_rng(1).uniform(-1.0, 1.0, (32, 2))
    t = x[:, :1] * x[:, 1:]
    model, criterion = Mixed(), nn.MSELoss()
    optimizer = nn.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        y = model(x)
        loss = criterion(y, t)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]
    assert model.gain.data != 1.0
    assert model.shift["b"].item() != 0.0


@pytest.mark.parametrize(
    "x", [np.zeros((1, 2)), Tensor(np.zeros((1, 2))), 0.0, [[0.0, 0.0]]], ids=lambda x: type(x).__name__
)
def test_what_is_no_parameter_cannot_take_the_place_of_one(x):
    layer = nn.Linear(2, 1)
    with pytest.raises(InputError, match=r"weight of Linear is a parameter, .* is none: .*\.data.*nn\.Parameter"):
        layer.weight = x
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    layer.weight = nn.Parameter(np.zeros((1, 2)))
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_a_state_may_be_computed_anew():
    class Counter(nn.Module):
        def __init__(self):
            self.total = Value(0.0)

        def forward(self, x):
            self.total = self.total + x
            return self.total

    counter = Counter()
    counter(2.0)
    assert counter(3.0).data == 5.0


@pytest.mark.parametrize("name", ["ModuleList", "Neuron", "Flatten"])
def test_what_is_missing_says_what_does_instead(name):
    with pytest.raises(AttributeError, match=rf"no attribute '{name}': "):
        getattr(nn, name)


def test_what_nn_shows_is_what_it_promises():
    assert dir(nn) == sorted(nn.__all__)
    assert len(set(nn.__all__)) == len(nn.__all__)
    assert all(getattr(nn, name).__doc__ for name in nn.__all__)


def test_an_argument_that_holds_itself():
    class First(nn.Module):
        def forward(self, x):
            return x[0] * 2.0

    given = [mg.exp(Value(0.0))]
    given.append(given)
    assert First()(given).data == 2.0

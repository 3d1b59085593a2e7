"""Modules in graphs: what scopes know, the frames of drawings, and what results and parameters are called."""

import copy
import html
import pickle
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from test_mermaid import LABEL, text_of
from test_viz import HOSTILE, shown, svg_texts

import microgad as mg
from microgad import Tensor, Value, nn, viz
from microgad.naming import all_names, given_names, literal
from microgad.order import topological_order
from microgad.replay.expand import expanded
from microgad.scopes import Scope, enter, scopes
from microgad.viz.frames import frames
from microgad.viz.theme import THEMES

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def same_weights():
    mg.manual_seed(1)


def batch(name="x"):
    return Tensor([[1.0, 2.0]], name=name)


class Line(nn.Module):
    def __init__(self):
        self.slope, self.offset = Value(2.0), Value(1.0)

    def forward(self, x):
        return self.slope * x + self.offset


class Around(nn.Module):
    """Calls what it is given, and something else as well."""

    def __init__(self, inside):
        self.inside = inside

    def forward(self, *args, **kwargs):
        return self.inside(*args, **kwargs) * 2.0


class Function(nn.Module):
    def __init__(self, function, **parts):
        self.function = function
        vars(self).update(parts)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def paths(f):
    """For each node, by a name that it does not share, in which calls it was computed."""
    order = topological_order(f)
    found = scopes(order)
    return {
        name: " > ".join(f"{scope.path} {scope.kind}".strip() for scope in found[node])
        for node, name in all_names(order).items()
    }


def by_op(f):
    """The operations in order, with the calls that they stand in."""
    order = topological_order(f)
    found = scopes(order)
    return [(node.op, [f"{scope.path} {scope.kind}".strip() for scope in found[node]]) for node in order if node.op]


# ---- scopes


def test_operations_stand_in_the_calls_that_they_were_made_in():
    model = nn.Sequential(nn.Linear(2, 2), nn.Residual(nn.Linear(2, 2), nn.Tanh()), nn.Linear(2, 1))
    assert by_op(model(batch()).sum()) == [
        ("linear", ["Sequential", "0 Linear"]),
        ("linear", ["Sequential", "1 Residual", "1.0 Linear"]),
        ("tanh", ["Sequential", "1 Residual", "1.1 Tanh"]),
        ("+", ["Sequential", "1 Residual"]),
        ("linear", ["Sequential", "2 Linear"]),
        ("Σ", []),
    ]


def test_a_graph_without_modules_has_none():
    order = topological_order(mg.parse("x * y + x", x=1, y=2))
    assert scopes(order) == dict.fromkeys(order, ())


def test_leaves_stand_where_all_that_use_them_are():
    shared, own = nn.Linear(2, 2, bias=False), nn.Parameter([1.0, 2.0])
    first = Function(lambda self, x: self.linear(x) * self.own, linear=shared, own=own)
    second = Function(lambda self, x: self.linear(x) + self.deep(x), linear=shared, deep=nn.Linear(2, 2, bias=False))
    both = Function(lambda self, x: self.first(x) - self.second(x), first=first, second=second)
    x = batch()
    found = paths(both(x) @ Tensor([1.0, 1.0], name="outside"))
    assert {name: found[name] for name, _ in both.named_parameters()} == {
        "first.linear.weight": "Function",  # in two of the modules inside
        "first.own": "Function > first Function",
        "second.deep.weight": "Function > second Function > second.deep Linear",
    }
    assert found["x"] == found["outside"] == ""


@pytest.mark.parametrize("make", [Tensor, np.array, list, tuple, lambda x: np.array(x, np.float32)])
def test_what_a_model_is_called_with_lies_outside(make):
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    order = topological_order(model(make([[1.0, 2.0], [3.0, 4.0]])))
    [data] = [node for node in order if node.prim is None and not node.name]
    assert scopes(order)[data] == ()
    assert all(scopes(order)[node] for node in order if node is not data)


def test_what_a_module_makes_itself_lies_inside():
    f = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))([[1.0, 2.0], [3.0, 5.0]])
    order = topological_order(f)
    [given, *_, mask] = [node for node in order if node.prim is None]
    assert scopes(order)[given] == ()
    assert [scope.kind for scope in scopes(order)[mask]] == ["Sequential", "Dropout"]


def test_a_frozen_parameter_that_equals_the_input_stays_inside():
    model = nn.LayerNorm(2).requires_grad_(False)
    model.weight.data[...] = [3.0, 4.0]
    order = topological_order(model(np.array([3.0, 4.0])))
    [weight] = [node for node in order if node.name == "weight"]
    assert [scope.kind for scope in scopes(order)[weight]] == ["LayerNorm"]


@pytest.mark.parametrize(
    "call",
    [
        lambda model, x: model(x),
        lambda model, x: model([x]),
        lambda model, x: model({"a": {"b": (x,)}}),
        lambda model, x: model(inputs=x),
        lambda model, x: model(0.0, x),
    ],
)
def test_inputs_are_found_in_lists_and_dicts_and_keywords(call):
    def last(self, *args, **kwargs):
        found = [*args, *kwargs.values()][-1]
        while isinstance(found, (list, tuple, dict)):
            found = found[-1] if isinstance(found, (list, tuple)) else next(iter(found.values()))
        return found * 2.0 + 1.0

    x = mg.exp(Value(1.0, "x"))
    assert by_op(call(Function(last), x)) == [("exp", []), ("×", ["Function"]), ("+", ["Function"])]


def test_inputs_that_hold_themselves():
    x = mg.exp(Value(1.0, "x"))
    y = x + 1.0
    inputs = [x]
    inputs.append({"again": inputs})
    enter(y, nn.ReLU(), (inputs,))
    assert by_op(y) == [("exp", []), ("+", ["ReLU"])]


def test_two_calls_are_two_scopes_and_one_call_is_one():
    line, x = Line(), Value(3.0, "x")
    order = topological_order(line(x) * line(x))
    found = {id(scope) for inside in scopes(order).values() for scope in inside}
    assert len(found) == 2
    order = topological_order(sum(nn.scalar.Layer(2, 3)([x, x])))
    outer = [inside[0] for inside in scopes(order).values() if inside]
    assert {scope.kind for scope in outer} == {"Layer"}
    assert len(outer) > 20
    assert len({id(scope) for scope in outer}) == 1
    inner = {id(inside[1]) for inside in scopes(order).values() if len(inside) > 1}
    assert len(inner) == 3


def test_a_result_that_is_given_twice():
    line = Line()
    twice = Function(lambda self, x: [self.line(x)] * 2, line=line)
    a, b = twice(Value(1.0, "x"))
    assert a is b
    assert by_op(a) == [(op, ["Function", "line Line"]) for op in "×+"]


def test_the_state_that_a_module_keeps_is_of_the_call_that_made_it():
    def step(self, x):
        self.state = self.line(x) if self.state is None else self.line(x) + self.state
        return self.state

    model = Function(step, line=Line(), state=None)
    a, b = Value(1.0, "a"), Value(2.0, "b")
    first = model(a)
    order = topological_order(model(b))
    found = scopes(order)
    assert {node.name: found[node] for node in order if node.name in ("a", "b")} == {"a": (), "b": ()}
    products = [found[node] for node in order if node.op == "×"]
    assert [[scope.kind for scope in inside] for inside in products] == [["Function", "Line"]] * 2
    outer = [inside[0] for inside in products]
    assert outer[0] is not outer[1]
    assert found[first][0] in outer
    assert found[first][0] is first.name


def test_a_state_below_the_result():
    def step(self, x):
        self.state = self.cell(x) + (0.0 if self.state is None else self.state)
        return mg.tanh(self.state)  # no result of a call is what is kept

    model = Function(step, cell=Line(), state=None)
    order = topological_order(model(Value(1.0, "a")) + model(Value(2.0, "b")))
    found = scopes(order)
    cells = [found[node] for node in order if node.op == "×"]
    tanhs = [found[node] for node in order if node.op == "tanh"]
    assert [len(inside) for inside in cells] == [2, 2]
    assert [inside[0] for inside in cells] == [inside[0] for inside in tanhs]
    assert cells[0][0] is tanhs[0][0]
    assert cells[1][0] is tanhs[1][0]
    assert cells[0][0] is not cells[1][0]


def test_a_module_inside_of_one_does_not_reach_beyond_it():
    x = Value(1.0, "x")
    scale = mg.exp(x)

    def outer(self, x, scale):
        self.inner.scale = scale
        return self.inner(x) + 1.0

    inner = Function(lambda self, x: x * self.scale)
    order = topological_order(Function(outer, inner=inner)(Value(2.0, "y"), scale))
    found = scopes(order)
    assert [(node.op, len(found[node])) for node in order if node.op] == [("exp", 0), ("×", 2), ("+", 1)]


def test_a_module_that_calls_itself():
    def tree(self, x):
        return self.line(self(x[0]) + self(x[1])) if isinstance(x, list) else x * 2.0

    a, b, c = (Value(float(i), name) for i, name in enumerate("abc"))
    f = Function(tree, line=Line())([[a, b], c])
    assert all(inside[0] == "Function" for _, inside in by_op(f))
    assert [paths(f)[name] for name in "abc"] == ["", "", ""]


def test_what_was_computed_before_any_call_belongs_to_the_first_that_used_it():
    rate = Value(1.0, "rate")
    model = Function(lambda self, x: x * self.rate, rate=mg.exp(rate))
    order = topological_order(model(Value(1.0, "a")) + model(Value(2.0, "b")))
    [computed] = [node for node in order if node.op == "exp"]
    first = order[-1].inputs[0]
    assert scopes(order)[computed] == scopes(order)[first]


def test_thousands_of_calls():
    line = Line()

    def many(self, x):
        for _ in range(2000):
            x = line(x)
        return x

    order = topological_order(Function(many)(Value(1e-300, "x")))
    found = scopes(order)
    assert len({id(scope) for inside in found.values() for scope in inside}) == 2001
    assert {len(found[node]) for node in order if node.op} == {2}
    assert [len(found[node]) for node in order if not node.op] == [1, 0, 1]  # used by all calls; the input


# ---- names


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda x: nn.ReLU()(x), "ReLU"),
        (lambda x: nn.Sequential(nn.ReLU())(x), "ReLU.0"),
        (lambda x: nn.Sequential(nn.Sequential(nn.Tanh()))(x), "Tanh.0.0"),
        (lambda x: nn.Sequential({"bend": nn.ReLU()})(x), "bend"),
        (lambda x: Around(nn.ReLU())(x), "Around"),
        (lambda x: Around(nn.ReLU())(x).inputs[0], "inside"),
        (lambda x: nn.MLP(2, [3, 1])(x), "layers.1"),
        (lambda x: nn.MLP(2, [3, 1])(x).inputs[0].inputs[0], "layers.0"),
    ],
)
def test_results_are_called_as_their_modules_are(f, name):
    node = f(batch())
    assert node.name == name
    assert node.name.made_up


def test_parameters_and_results_of_a_network_in_text():
    f = nn.Sequential(nn.Linear(2, 1), nn.Tanh())(batch())
    assert [re.split("[(=]", line)[0].strip("│├└─ ") for line in viz.tree(f).splitlines()] == [
        "Tanh.1", "Linear.0", "x", "0.weight", "0.bias",
    ]  # fmt: skip
    assert viz.shapes(f).text.splitlines()[1:3] == [
        "Linear.0 (1×1) = x (1×2) @ 0.weightᵀ (2×1) + 0.bias (1)",
        "Tanh.1 (1×1) = tanh(Linear.0 (1×1))",
    ]
    assert str(mg.formula(nn.scalar.Neuron(1)([Value(2.0, "x")]))) == "relu(b + w.0 * x)"


def test_a_variable_s_name_comes_before_a_module_s_and_after_a_user_s(monkeypatch):
    model = nn.MLP(2, [3, 3, 1])
    y = model(batch())
    hidden, deeper = (y.inputs[0].inputs[0], y.inputs[0].inputs[0].inputs[0].inputs[0])
    deeper.name = "own"
    space = {"y": y, "h": hidden, "d": deeper, "W": model.layers[0].weight}
    monkeypatch.setattr("builtins.get_ipython", lambda: SimpleNamespace(user_ns=space), raising=False)
    names = given_names(topological_order(y))
    assert [names[node] for node in (y, hidden, deeper, model.layers[0].weight)] == [
        "y", "h", "own", "layers.0.weight",
    ]  # fmt: skip
    assert {"y", "h", "own", "layers.0.weight"} <= set(svg_texts(viz.draw(y)))
    assert (y.name, hidden.name) == ("layers.2", "layers.1")  # the drawing borrowed the names, the nodes took none


def test_a_name_of_the_user_s_inside_of_a_module_is_kept():
    def forward(self, x):
        h = self.line(x)
        h.name = "h"
        return h

    y = Function(forward, line=Line())(Value(1.0, "x"))
    assert (y.name, y.name.made_up, y.name.first.kind) == ("h", False, "Line")
    assert by_op(y) == [(op, ["Function", "line Line"]) for op in "×+"]


@pytest.mark.parametrize("attribute", ["name", "label"])
def test_a_result_with_another_name_stays_in_its_frame(attribute):
    y = nn.MLP(2, [3, 1])(batch())
    before = by_op(y)
    setattr(y, attribute, "score")
    assert (str(y.name), y.label, y.name.made_up) == ("score", "score", False)
    assert by_op(y) == before
    assert "score" in svg_texts(viz.draw(y))
    assert "layers.1 \xa0Linear" in svg_texts(viz.draw(y))
    setattr(y, attribute, "other")
    assert (str(y.name), by_op(y)) == ("other", before)


def test_a_result_whose_name_is_taken_away_stays_in_its_frame():
    y = nn.MLP(2, [3, 1])(batch())
    before = by_op(y)
    y.name = None
    assert (y.name, y.label, "name" in repr(y)) == (None, "", False)
    assert by_op(y) == before
    assert y not in given_names(topological_order(y))
    assert '"layers.1"' not in mg.to_json(y)


def test_a_name_that_is_handed_on_is_text():
    y = nn.ReLU()(batch())
    z = y * 2.0
    z.name = y.name
    assert type(z.name) is str
    assert by_op(z) == [("relu", ["ReLU"]), ("×", [])]


@pytest.mark.parametrize("node", [Value(1.0), Value(1.0) * 2.0, Tensor([1.0]), Tensor([1.0]) + 1.0])
def test_names_of_nodes_outside_of_modules(node):
    assert node.name is None
    for name in ("a", "", None, "b"):
        node.name = name
        assert node.name is name
        assert node.label == (name or "")


# ---- copies


@pytest.mark.parametrize("name", [None, "score", ""], ids=["made up", "given", "taken away"])
@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f)), lambda f: mg.from_json(mg.to_json(f))],
    ids=["deepcopy", "pickle", "json"],
)
def test_copies_have_names_and_no_modules(again, name):
    f = nn.MLP(2, [3, 1])(batch())
    if name is not None:
        f.name = name or None
    twin = again(f)
    order = topological_order(twin)
    assert [node.name for node in order] == [node.name for node in topological_order(f)]
    assert {type(node.name) for node in order} <= {str, type(None)}
    assert not any(scopes(order).values())
    assert "subgraph" not in viz.draw(twin).source
    assert "subgraph" in viz.draw(f).source
    assert type(f._name) is Scope


def test_a_copy_of_one_node_is_computed_where_it_was():
    f = nn.MLP(2, [3, 1])(batch())
    twin = copy.copy(f)
    assert by_op(twin) == by_op(f)


def test_a_pickle_from_before_names_could_be_more_than_text():
    x = Value(3.0, "x")
    kind, args, (_, slots), *_ = x.__reduce_ex__(2)
    slots["name"] = slots.pop("_name")
    old = kind(*args)
    old.__setstate__((None, slots))
    assert (old.name, old.data) == ("x", 3.0)


# ---- frames


def parsed(source):
    """Of DOT: for each node the titles of the frames around it, and the edges; nothing else may be there."""
    places, edges, around = {}, [], []
    for line in source.splitlines()[1:-1]:
        text = line.strip()
        if text.startswith("subgraph "):
            assert re.fullmatch(r"subgraph cluster_\d+ \{", text)
            around.append(None)
        elif text == "}":
            around.pop()
        elif found := re.match(r"(v\w+) \[label", text):
            assert found[1] not in places
            places[found[1]] = tuple(around)
        elif found := re.match(r"(v\w+) -> (v\w+)", text):
            assert not around  # or both its ends would stand in there
            edges.append(found.groups())
        elif around:
            assert around[-1] is None
            around[-1] = html.unescape(re.sub("</?font>", "", re.search(r"label=<(.*?)> labeljust=l", text)[1]))
        else:
            assert re.match("(graph|node|edge) |label", text), text
    assert {end for edge in edges for end in edge} <= places.keys()
    return places, edges


def framed(f, **options):
    """For each frame what stands directly in it, nodes by number: the frame's titles from the outside are the key."""
    found = {}
    for id, around in parsed(viz.draw(f, **options).source)[0].items():
        found.setdefault(" > ".join(around), []).append(id)
    return found


def test_a_neuron():
    x = [Value(1.0, "x1"), Value(-2.0, "x2")]
    f = nn.scalar.Neuron(2)(x) * 2.0
    names = all_names(topological_order(f))
    found = framed(f)
    assert list(found) == ["", "Neuron"]
    ids = {f"v{i}": name for i, name in enumerate(names.values())}
    assert [ids.get(id, id) for id in found[""]] == ["x1", "x2", "f", "v10o", "v10o1"]
    assert {ids.get(id) for id in found["Neuron"]} >= {"b", "w.0", "w.1", "Neuron"}
    assert len(found["Neuron"]) == 8 + 5  # values and operations


def test_a_network_of_values_for_one_sample():
    f = (nn.scalar.MLP(2, [2, 1])([Value(1.0, "x1"), Value(-2.0, "x2")]) - 1.0) ** 2
    found = framed(f)
    assert {title: len(ids) for title, ids in found.items()} == {
        "": 2 + 4 + 2,  # inputs; a difference and a square with their circles; their plain numbers
        "MLP > layers.0  Layer > layers.0.neurons.0  Neuron": 3 + 5 + 5,
        "MLP > layers.0  Layer > layers.0.neurons.1  Neuron": 3 + 5 + 5,
        "MLP > layers.1  Layer > layers.1.neurons.0  Neuron": 3 + 4 + 4,
    }


def test_a_network_with_a_loss():
    model = nn.MLP(2, [3, 1])
    f = nn.MSELoss()(model(batch()), [[1.0]])
    found = framed(f)
    assert set(found) == {"", "MSELoss", "MLP", "MLP > layers.0  Linear", "MLP > layers.1  Linear"}
    assert found["MLP"] == ["v4", "v4o"]  # the activation, without a frame of its own
    assert found["MLP > layers.0  Linear"] == ["v1", "v2", "v3", "v3o"]
    assert found[""] == ["v0", "v8"]  # data and target


def test_blocks_inside_of_blocks():
    model = nn.Sequential(nn.Linear(2, 2), nn.Residual(nn.Linear(2, 2), nn.Tanh()), nn.Linear(2, 1))
    assert {title: len(ids) for title, ids in framed(model(batch())).items()} == {
        "": 1,
        "Sequential > 0  Linear": 4,
        "Sequential > 1  Residual": 4,
        "Sequential > 1  Residual > 1.0  Linear": 4,
        "Sequential > 2  Linear": 4,
    }


def test_a_model_that_is_called_twice_has_two_frames_and_its_weights_between_them():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    drawing = viz.draw(model(batch("a")) - model(batch("b")))
    assert drawing.source.count("subgraph") == 2  # none around linear alone
    places = parsed(drawing.source)[0]
    outside = [id for id, around in places.items() if not around]
    assert outside == ["v0", "v1", "v2", "v5", "v8", "v8o"]
    assert set(places.values()) == {(), ("Sequential",)}


def test_modules_in_dicts():
    class Duo(nn.Module):
        def __init__(self):
            self.parts = {"left": nn.Linear(2, 2), "right side": nn.Linear(2, 2)}
            self.gate = nn.Parameter([0.5, 0.5])

        def forward(self, x):
            return self.parts["left"](x) * self.gate + self.parts["right side"](x)

    assert {title: len(ids) for title, ids in framed(Duo()(batch())).items()} == {
        "": 1,
        "Duo": 1 + 2 + 2,  # the gate; a product and a sum with their circles
        "Duo > parts.left  Linear": 4,
        "Duo > parts.right side  Linear": 4,
    }


@pytest.mark.parametrize(
    ("module", "frames"),
    [
        (nn.ReLU(), 0),
        (nn.Tanh(), 0),
        (nn.PReLU(), 1),
        (nn.Linear(2, 2), 1),
        (nn.Sequential(nn.ReLU()), 0),
        (nn.Sequential(nn.ReLU(), nn.ReLU()), 1),
    ],
    ids=str,
)
def test_a_single_operation_without_parameters_has_no_frame(module, frames):
    assert viz.draw(module(batch())).source.count("subgraph") == frames


def test_without_modules_there_is_no_frame():
    drawing = viz.draw(mg.parse("x * y + x", x=1, y=2))
    assert "subgraph" not in drawing.source
    assert "Modules" not in drawing.alt


def test_numbers_stand_with_their_operation():
    places, _ = parsed(viz.draw(Around(Line())(3.0) + 1.0).source)
    assert {id: around[-1] if around else "" for id, around in places.items() if re.fullmatch(r"v\d+o\d", id)} == {
        "v1o1": "inside  Line",
        "v4o1": "Around",
        "v5o1": "",
    }


def test_boxes_say_what_their_frames_do_not():
    f = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))(batch())
    texts = svg_texts(viz.draw(f))
    for text in ("0.weight", "2.bias", "ReLU.1", "0 \xa0Linear", "2 \xa0Linear", "Sequential"):
        assert texts.count(text) == 1, text
    assert " Gᵀ ReLU.1 " in texts
    assert not {"Linear.0", "Linear.2"} & set(texts)


def test_full_dotted_names_stand_on_parameters():
    model = nn.scalar.MLP(2, [2, 1])
    texts = svg_texts(viz.draw(model([1.0, 2.0])))
    assert {name for name, _ in model.named_parameters()} <= set(texts)


def test_the_words_that_stand_in_for_the_picture_name_the_modules():
    f = nn.scalar.MLP(2, [2, 1])([1.0, 2.0])
    drawing = viz.draw(f)
    assert drawing.alt.endswith(
        " Modules: MLP, layers.0  Layer, layers.0.neurons.0  Neuron, layers.0.neurons.1  Neuron, layers.1  Layer, "
        "layers.1.neurons.0  Neuron."
    )
    assert drawing.text == viz.tree(f)
    assert "layers.0.neurons.1 (relu) = " in drawing.text


@pytest.mark.parametrize("theme", THEMES)
def test_frames_in_the_colours_of_the_theme(theme):
    source = viz.draw(nn.MLP(2, [3, 1])(batch()), theme=theme).source
    frames = re.findall(r"subgraph cluster_\d+ \{\n(.*)\n", source)
    assert len(frames) == 3
    for line in frames:
        # No ground of their own: `test_text_has_contrast_on_every_colour` holds for what stands inside.
        assert not re.search("fillcolor|bgcolor|filled", line)
        assert f'fontcolor="{THEMES[theme].text}"' in line
        assert f'color="{THEMES[theme].line}"' in line
        assert 'style="rounded,dashed"' in line  # as nothing else is
    assert source.count("dashed") == 3


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_drawn_literally(name):
    try:
        kind = type(name, (Line,), {})
    except ValueError:  # no name for a class
        kind = Line
    model = Function(lambda self, x: self.parts[name](x) * 2.0, parts={name: kind()})
    drawing = viz.draw(model(Value(1.0, "x")))
    svg = drawing.pipe("svg", encoding="utf-8")
    title = f"parts.{literal(name)}  {literal(kind.__name__)}"
    text = "".join(shown(svg)).replace("\xa0", " ")
    assert title in text
    assert f"parts.{literal(name)}.slope" in text
    assert not list(ElementTree.fromstring(svg).iter(f"{SVG}script"))
    groups = [group.get("class") for group in ElementTree.fromstring(svg).iter(f"{SVG}g")]
    assert groups.count("cluster") == 2
    assert title in drawing.alt
    alt = re.search('alt="([^"<>]*)"', drawing._repr_mimebundle_()["text/html"])
    assert title in html.unescape(alt[1])


def boxes(svg, kind):
    """The extent of each cluster or node of an SVG, by its id in the DOT text."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class") != kind:
            continue
        points = []
        for shape in group:
            numbers = [*map(float, re.findall(r"-?\d+\.?\d*", shape.get("points") or shape.get("d") or ""))]
            points += zip(numbers[::2], numbers[1::2], strict=True)
            if shape.tag == f"{SVG}ellipse":
                cx, cy, rx, ry = (float(shape.get(k)) for k in ("cx", "cy", "rx", "ry"))
                points += [(cx - rx, cy - ry), (cx + rx, cy + ry)]
            if shape.tag == f"{SVG}text":
                points.append((float(shape.get("x")), float(shape.get("y"))))
        if points:
            xs, ys = zip(*points, strict=True)
            found[group.find(f"{SVG}title").text] = min(xs), min(ys), max(xs), max(ys)
    return found


@pytest.mark.parametrize("rankdir", ["LR", "TB", "RL", "BT"])
def test_in_the_picture_frames_hold_what_is_in_them_and_nothing_else(rankdir):
    f = (nn.scalar.MLP(2, [2, 1])([Value(1.0, "x1"), Value(-2.0, "x2")]) - 1.0) ** 2
    drawing = viz.draw(f, rankdir=rankdir)
    svg = drawing.pipe("svg", encoding="utf-8")
    clusters, nodes = boxes(svg, "cluster"), boxes(svg, "node")
    titles = dict(re.findall(r"subgraph (cluster_\d+) \{\n.*label=<(.*?)> labeljust", drawing.source))
    assert len(clusters) == 6
    places, _ = parsed(drawing.source)
    assert nodes.keys() == places.keys()
    for id, (left, low, right, high) in nodes.items():
        for cluster, (x0, y0, x1, y1) in clusters.items():
            inside = x0 < left and y0 < low and right < x1 and high < y1
            beside = right < x0 or x1 < left or high < y0 or y1 < low
            assert inside if titles[cluster] in places[id] else beside, (id, titles[cluster])


@pytest.mark.parametrize(("rankdir", "axis", "sign"), [("LR", 0, 1), ("RL", 0, -1), ("TB", 1, 1), ("BT", 1, -1)])
def test_layers_follow_each_other_in_the_direction_of_the_drawing(rankdir, axis, sign):
    drawing = viz.draw(nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))(batch()), rankdir=rankdir)
    clusters = boxes(drawing.pipe("svg", encoding="utf-8"), "cluster")
    ends = [sign * clusters[f"cluster_{i}"][axis + (2 if sign > 0 else 0)] for i in (1, 2, 3)]
    assert ends == sorted(ends)
    starts = [clusters[f"cluster_{i}"][1 - axis] for i in (1, 2, 3)]
    assert starts == sorted(starts)  # and the other way from the top, or from the left


def test_a_network_that_is_laid_out_in_a_hurry():
    """There dot fails on clusters with some of what makes it faster."""
    f = nn.scalar.MLP(2, [10, 10, 1])([1.0, 2.0])
    drawing = viz.draw(f, fold=False)
    assert "splines=line" in drawing.source
    assert len(boxes(drawing.pipe("svg", encoding="utf-8"), "cluster")) == 1 + 3 + 21


def test_a_long_name_leaves_the_array_below_it_together():
    def gaps(name):
        drawing = viz.draw(Tensor([1.25, 2.5], name=name))
        texts = ElementTree.fromstring(drawing.pipe("svg", encoding="utf-8")).iter(f"{SVG}text")
        x = {"".join(text.itertext()).strip(): float(text.get("x")) for text in texts}
        return np.diff([x["data"], x["1.25"], x["2.5"]])

    assert np.abs(gaps("a.dotted.name.that.is.much.wider.than.this") - gaps("x")).max() < 12


def test_a_marked_path_through_modules():
    f = nn.MLP(2, [3, 1])(batch())
    drawing = viz.draw(f, highlight="layers.1.weight")
    assert drawing.source.count("penwidth=3") == 5  # two boxes, a circle, two edges
    assert drawing.alt.endswith("Marked: every path from layers.1.weight to layers.1.")


# ---- Mermaid


def charted(f):
    """Of Mermaid's text: for each box the titles of the frames around it."""
    found, around = {}, []
    for line in viz.mermaid(f).splitlines()[1:-1]:
        if title := re.fullmatch(rf"subgraph m\d+\[{LABEL}\]", line):
            around.append(text_of(title[1])[0])
        elif line == "end":
            around.pop()
        elif "-->" in line:
            assert not around
        else:
            found[re.match(r"v\w+", line)[0]] = tuple(around)
    assert not around
    return found


@pytest.mark.parametrize(
    "f",
    [
        lambda: (nn.scalar.MLP(2, [2, 1])([Value(1.0, "x1"), -2.0]) - 1.0) ** 2,
        lambda: nn.MSELoss()(nn.MLP(2, [3, 1])(batch()), [[1.0]]),
        lambda: mg.parse("x * y + x", x=1, y=2),
    ],
)
def test_mermaid_has_the_same_frames(f):
    f = f()
    assert charted(f) == parsed(viz.draw(f).source)[0]


def test_mermaid_s_boxes_say_what_their_frames_do_not():
    source = viz.mermaid(nn.Sequential(nn.Linear(2, 2), nn.ReLU())(batch()))
    assert "<div>ReLU#46;1<br>" in source  # the activation has no frame
    assert "Linear#46;0" not in source


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_in_mermaid(name):
    model = Function(lambda self, x: self.parts[name](x) * 2.0, parts={name: Line()})
    assert set(charted(model(Value(1.0, "x"))).values()) == {
        (),
        ("Function",),
        ("Function", f"parts.{literal(name)}  Line"),
    }


@pytest.mark.parametrize("kind", ["values", "tensors"])
@pytest.mark.parametrize("how", ["jit", "trace"])
def test_the_frames_of_a_replayed_module_are_those_of_the_module(kind, how):
    """The nodes are made anew, and the calls of modules with them."""
    mg.manual_seed(0)
    model = mg.nn.scalar.MLP(2, [2, 1]) if kind == "values" else mg.nn.MLP(2, [2, 1])
    x = [1.0, 2.0] if kind == "values" else np.array([[1.0, 2.0]])
    again = expanded(mg.jit(model)(x)) if how == "jit" else mg.trace(model, x).root()
    nested, known = (
        sorted((frame.title, frame.around and frame.around.title) for frame in frames(topological_order(f))[0])
        for f in (again, model(x))
    )
    assert nested == known
    assert len(known) == (3 if kind == "tensors" else 6)

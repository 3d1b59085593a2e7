"""Drawings of graphs of any size: which boxes there are, what they say, and that the pictures can be read."""

import html
import io
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_viz import HOSTILE, shown, svg_texts
from test_viz_scopes import Function

import microgad as mg
from microgad import Tensor, Value, nn, viz
from microgad.errors import GraphSizeError, InputError
from microgad.naming import literal, number
from microgad.order import topological_order
from microgad.primitives import where
from microgad.viz.folding import LIMIT, LONG, READABLE, WHOLE, _view, viewed
from microgad.viz.frames import frames, spanned
from microgad.viz.quotient import PARTS, RUN, SORTS, Flat

SIZE = re.compile(r'<svg width="(\d+)pt" height="(\d+)pt"')


@pytest.fixture(autouse=True)
def same_weights():
    mg.manual_seed(1)


def view_of(f, **options):
    order = topological_order(f)
    return viewed(order, *frames(order), **options)


def lines(f, **options):
    """What the text of a drawing says of each box: the title with the operation, and the boxes that it uses."""
    text = viz.draw(f, **options).text.split("\n")[1:]
    titles = [re.fullmatch(r"\d+\. (.*?): .*", line)[1] for line in text]
    below = [(line.rpartition(", of ")[2] if ", of " in line else "").split(", …")[0] for line in text]
    return [(title, [int(x) for x in ks.split(", ") if x]) for title, ks in zip(titles, below, strict=True)]


def boxes(f, **options):
    return [title for title, _ in lines(f, **options)]


# ---- graphs


def one_sample(model=None):
    model = model or nn.scalar.MLP(2, [16, 16, 1])
    loss = (model([Value(0.3, "x1"), Value(-0.2, "x2")]) - 1.0) ** 2
    loss.name = "loss"
    return loss


def samples(n=100, widths=(4, 1)):
    model = nn.scalar.MLP(2, list(widths))
    points, labels = nn.data.moons(n, noise=0.1)
    scores = [model([Value(x) for x in point]) for point in points.tolist()]
    return sum((1 - float(2 * y - 1) * score).relu() for score, y in zip(scores, labels, strict=True)) / float(n)


def neurons(weights, x):
    return [mg.tanh(sum(w * u for w, u in zip(row, x, strict=True))) for row in weights]


def unscoped(n=30):
    """Code without modules, or names: a layer of 4 neurons for each of n points."""
    rng = random.Random(0)
    weights = [[Value(rng.random()) for _ in range(3)] for _ in range(4)]
    return sum(sum(neurons(weights, [Value(rng.random()) for _ in range(3)])) ** 2 for _ in range(n))


def chain(n, step=mg.tanh):
    x = Value(0.5, "x")
    for _ in range(n):
        x = step(x)
    return x


def irregular(n, seed=0):
    """Operations on operands at random, none of them alike."""
    rng = random.Random(seed)
    pool = [Value(rng.random(), f"x{i}") for i in range(5)]
    steps = [lambda a, b: mg.tanh(a * b), lambda a, b: a - b, lambda a, b: mg.sin(a), lambda a, b: mg.tanh(a + b)]
    for _ in range(n):
        pool.append(rng.choice(steps)(pool[-1 - min(int(rng.expovariate(0.2)), len(pool) - 1)], rng.choice(pool)))
    used = {x for node in pool for x in node.inputs}
    return sum(node for node in pool if node not in used)


class Cell(nn.Module):
    def __init__(self, n=2):
        self.w = [[nn.scalar.Value(0.1 * (i - j)) for j in range(2 * n)] for i in range(n)]

    def forward(self, x, state):
        return neurons(self.w, [*x, *state])


class Recurrent(nn.Module):
    def __init__(self, between=None):
        self.cell, self.between = Cell(), between

    def forward(self, xs):
        state = [0.0, 0.0]
        for x in xs:
            state = self.cell(x, state)
            state = state if self.between is None else [self.between(y) for y in state]
        return sum(state)


def sequence(n=20, **options):
    return Recurrent(**options)([[Value(0.1 * i), Value(0.2)] for i in range(n)])


def nested(depth, width=3):
    """Modules in modules: a Sequential of Sequentials of …, to Linears with activations."""
    if not depth:
        return nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    return nn.Sequential(*(nested(depth - 1, width) for _ in range(width)))


# ---- small graphs


SMALL = [
    lambda: mg.parse("exp(x*y + max(z, w)) / 2", x=0.5, y=2, z=-1, w=1),
    lambda: nn.MSELoss()(nn.MLP(2, [3, 1])(Tensor([[1.0, 2.0]], name="x")), [[1.0]]),
    lambda: one_sample(nn.scalar.MLP(2, [2, 1])),
    lambda: chain(WHOLE - 1),
]


@pytest.mark.parametrize("make", SMALL)
def test_of_a_small_graph_each_node_is_a_box(make):
    f = make()
    view = view_of(f)
    assert view.whole
    assert [box.nodes for box in view.boxes] == [[node] for node in topological_order(f)]
    assert viz.draw(f).source == viz.draw(f, fold=False).source == viz.draw(f, depth=99, expand=[], collapse=[]).source
    assert viz.draw(f).text == viz.tree(f)


def test_from_where_on_graphs_are_folded():
    assert len(view_of(chain(WHOLE - 1)).boxes) == WHOLE
    assert len(view_of(chain(WHOLE)).boxes) == 2
    assert len(view_of(chain(WHOLE), fold=False).boxes) == WHOLE + 1
    assert len(view_of(chain(20), fold=True).boxes) == 2


# ---- what holds of every view


PLAIN = [
    lambda a, b: a * b,
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: mg.tanh(a),
    lambda a, b: where(a, b, 2.0),
    lambda a, b: 2.0 - b,
]


@st.composite
def graphs(draw):
    """Graphs with modules: alike ones, some in others, some that keep what they were given, or give two results."""
    mg.manual_seed(1)
    kept = []

    def keeps(self, a, b):
        kept.append(a * b)
        return kept[0] + kept[-1] * a

    modules = [
        Function(lambda self, a, b: a * b + a),
        Function(lambda self, a, b: [a * b, mg.tanh(a) - b]),
        Function(keeps),
        nn.scalar.Layer(2, 2),
    ]
    around = Function(
        lambda self, a, b: self.one(self.two(a, b), b) * a,
        one=modules[0],
        two=Function(lambda self, a, b: mg.tanh(a * b) + a),
    )
    calls = [*PLAIN, *[lambda a, b, m=m: m(a, b) for m in modules[:3]], lambda a, b: modules[3]([a, b]), around]
    names = draw(st.lists(st.sampled_from([None, "w1", "w2", "b"]), min_size=1, max_size=4))
    pool = [Value(0.5 + 0.1 * i, name) for i, name in enumerate(names)]
    steps = draw(st.lists(st.tuples(st.integers(0, len(calls) - 1), st.integers(0, 9), st.integers(0, 9)), max_size=25))
    for k, i, j in steps:
        found = calls[k](pool[-1 - i % len(pool)], pool[-1 - j % len(pool)])
        pool += found if isinstance(found, list) else [found]
    return mg.stack(pool[-3:]).sum() if draw(st.booleans()) else sum(pool[-3:])


def check(view):
    """What holds of every view; and the view as text, to compare."""
    place = {}
    for i, box in enumerate(view.boxes):
        assert set(box.results) <= set(box.nodes)
        assert box.results
        for node in box.nodes:
            assert node not in place
            place[node] = i
        assert box.around is None or box.around in view.frames
        if not box.closed:
            assert len({node.op for node in box.nodes}) == 1
            assert len(box.nodes) % box.times == 0
            assert len(box.results) == box.times
    assert set(place) == set(view.order)
    edges = [{} for _ in view.boxes]
    for node in view.order:
        for x in node.inputs:
            i, k = place[x], place[node]
            if i != k:
                edges[k][i] = edges[k].get(i, 0) + 1
    assert edges == view.edges
    assert all(i < k for k, below in enumerate(edges) for i in below)  # nowhere in a circle
    assert all(frame.around is None or frame.around in view.frames[:i] for i, frame in enumerate(view.frames))
    return [(place[node], str(getattr(view.boxes[place[node]].around, "title", None))) for node in view.order]


@settings(deadline=None, max_examples=100)
@given(graphs(), st.integers(0, 3))
def test_views(f, depth):
    order = topological_order(f)
    found, placed = frames(order)
    for options in ({"fold": True}, {"fold": True, "depth": depth}, {"fold": False, "depth": depth}, {"depth": depth}):
        view = viewed(order, found, placed, **options)
        assert check(view) == check(viewed(order, found, placed, **options))
    flat = Flat(order, found, placed, fold=True)
    for cut in flat.cuts([True] * len(found)):
        view = _view(flat, flat.parts(cut))
        assert check(view) == check(_view(flat, flat.parts(cut)))
        leaves = [all(node.prim is None for node in box.nodes) for box in view.boxes]
        assert leaves.count(False) <= PARTS + 1


# ---- what is one box


def test_a_layer_of_16_neurons():
    texts = svg_texts(viz.draw(one_sample()))
    assert texts.count("Neuron ×16") == 2
    for text in ("MLP", "layers.0 \xa0Layer", "layers.0.neurons.0…15", "80 operations, 48 parameters", "×256", "loss"):
        assert text in texts
    assert lines(one_sample()) == [
        ("x1 … x2  ×2", []),
        ("layers.0.neurons.0…15 Neuron ×16", [1]),
        ("layers.1.neurons.0…15 Neuron ×16", [2]),
        ("layers.2.neurons.0 Neuron", [3]),
        ("(−)", [4]),
        ("loss (**)", [5]),
    ]


@pytest.mark.parametrize(
    ("depth", "found"),
    [
        (0, ["MLP"]),
        (1, ["layers.0  Layer", "layers.1  Layer", "layers.2  Layer"]),
        (2, ["layers.0.neurons.0…15 Neuron ×16", "layers.1.neurons.0…15 Neuron ×16", "layers.2.neurons.0 Neuron"]),
        (3, ["(×)", "(+ ×2)", "(relu)", "(×)", "(+ ×16)", "(relu)", "(×)", "(+ ×16)"]),
    ],
)
def test_depth(depth, found):
    f = one_sample()
    inner = [title for title, below in lines(f, depth=depth) if below][:-2]
    assert [re.sub(r"^\d+ values ", "", title) for title in inner] == found
    assert len(view_of(f, depth=depth).frames) == (0, 1, 4, 7)[depth]
    assert viz.draw(f, depth=np.int64(depth)).source == viz.draw(f, depth=depth).source


def test_one_model_on_100_examples():
    f = samples(100)
    assert lines(f, depth=0) == [
        ("layers.0…1.neurons.0…3.b  ×5", []),
        ("layers.0…1.neurons.0…3.w.0…3 12 values", []),
        ("200 values", []),
        ("MLP ×100", [1, 2, 3]),
        ("100 values (×)", [4]),
        ("100 values (−)", [5]),
        ("100 values (relu)", [6]),
        ("(+ ×99)", [7]),
        ("(/)", [8]),
    ]
    assert [frame.title for frame in view_of(f).frames] == [
        "MLP ×100", "layers.0  Layer ×100", "layers.1  Layer ×100",
    ]  # fmt: skip
    assert lines(f)[5:7] == [
        ("layers.0.neurons.0…3 Neuron ×400", [3, 4, 5]),
        ("layers.1.neurons.0 Neuron ×100", [1, 2, 6]),
    ]


def test_code_without_modules():
    """What is drawn is the program in matrices: weights, points, products, sums, tanh."""
    assert lines(unscoped(30)) == [
        ("12 values", []),
        ("90 values", []),
        ("360 values (×)", [1, 2]),
        ("120 values (+ ×2)", [3]),
        ("120 values (tanh)", [4]),
        ("30 values (+ ×3)", [5]),
        ("30 values (**)", [6]),
        ("(+ ×29)", [7]),
    ]


@pytest.mark.parametrize("n", [10_000, 300])
def test_a_long_sum_is_one_operation(n):
    xs = [Value(float(i)) for i in range(n)]
    f = sum(xs)
    f.backward()
    drawing = viz.draw(f)
    assert lines(f) == [(f"{n:,} values", []), (f"(+ ×{n - 1:,})", [1])]
    assert f"data 0 … {number(n - 1.0, 4)}, grad all 1" in drawing.text
    assert f"data {number(n * (n - 1) / 2)}, grad 1" in drawing.text
    assert drawing.source.count("peripheries=2") == 2  # the result, and the operation
    assert lines(sum(reversed(xs[:-1]), xs[-1])) == lines(f)  # written from the other end
    total = xs[0]
    for x in xs[1:]:
        total = x + total
    assert lines(total) == lines(f)


def test_sums_of_sums():
    terms = [[Value(1.0) * Value(2.0) for _ in range(10)] for _ in range(10)]
    assert boxes(sum(map(sum, terms)), fold=True)[-2:] == ["10 values (+ ×9)", "(+ ×9)"]
    half = [sum(row) for row in terms]
    pairs = [half[i] + half[i + 1] for i in range(0, 10, 2)]
    assert boxes(sum(pairs), fold=True)[-3:] == ["10 values (+ ×9)", "5 values (+)", "(+ ×4)"]


def test_a_chain_ends_where_something_else_uses_it():
    x = chain(100)
    assert boxes(mg.exp(x) * x, fold=True) == ["x", "(tanh ×100)", "(exp)", "(×)"]
    assert boxes(mg.exp(x.inputs[0]) * x, fold=True) == ["x", "(tanh ×99)", "(exp)", "(tanh)", "(×)"]
    partial = Value(1.0) + 1.0
    sums = [partial := partial + float(i) for i in range(5)]
    assert boxes(sum(sums), fold=True)[:6] == ["value", "(+ ×2)", *["(+)"] * 4]
    total = Value(0.0, "x")
    for i in range(20):
        total = total + 1.0
        total.name = "halfway" if i == 9 else None
    assert boxes(total, fold=True) == ["x", "halfway (+ ×10)", "(+ ×10)"]  # a name is not lost


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (lambda a, b: a * b, lambda a, b: b * a, True),
        (lambda a, b: a - b, lambda a, b: a - b, True),
        (lambda a, b: a - 1.0, lambda a, b: 1.0 - a, False),
        (lambda a, b: a * 2.0, lambda a, b: 3.0 * a, False),  # the first operand, or the second
        (lambda a, b: a * 2.0, lambda a, b: a * 3.0, True),
        (lambda a, b: a**2, lambda a, b: b**2, True),
        (lambda a, b: a**2, lambda a, b: a**3, False),
        (lambda a, b: a * a, lambda a, b: a * b, False),
        (lambda a, b: mg.tanh(a), lambda a, b: mg.sin(a), False),
        (lambda a, b: mg.tanh(a), lambda a, b: mg.tanh(mg.tanh(a)), False),
    ],
)
def test_what_is_alike(one, other, alike):
    pairs = [(Value(0.1 * i, f"a{i}"), Value(0.2 * i, f"a{i + 50}")) for i in range(1, 9)]
    found = view_of(mg.stack([*(one(a, b) for a, b in pairs), *(other(a, b) for a, b in pairs)]), fold=True)
    assert (max(box.times for box in found.boxes if box.nodes[0].prim) == 16) is alike


def test_leaves_are_told_apart_by_what_uses_them():
    w, b, x = ([Value(0.1 * i) for i in range(n)] for n in (6, 2, 3))
    f = sum(mg.tanh(sum((p * u for p, u in zip(w[3 * k : 3 * k + 3], x, strict=True)), b[k])) for k in range(2))
    assert [len(box.nodes) for box in view_of(f, fold=True).boxes if not box.nodes[0].prim] == [2, 6, 3]


def test_arrays_of_other_shapes_are_not_alike():
    arrays = [Tensor(np.ones(n), name=f"x{i}", requires_grad=True) for i, n in enumerate([2, 2, 3, 3, 3])]
    f = mg.stack([x.sum() for x in arrays])
    assert boxes(f, fold=True) == ["x0 … x1  ×2", "2 tensors (Σ)", "x2 … x4  ×3", "3 tensors (Σ)", "(stack axis 0)"]


def test_calls_in_a_row_are_one_box():
    title, below = lines(sequence(20))[2]
    assert (title, len(below)) == ("cell  Cell ×20", 2)
    assert sum("Cell" in title for title in boxes(sequence(RUN), fold=True, depth=1)) == 1
    assert sum("Cell" in title for title in boxes(sequence(RUN - 1), fold=True, depth=1)) == RUN - 1
    assert [frame.title for frame in view_of(sequence(20), depth=2).frames] == ["Recurrent", *["cell  Cell"] * 20]


def test_calls_between_which_something_is_computed_are_no_run():
    titles = boxes(sequence(20, between=mg.exp), depth=1)
    assert titles.count("cell  Cell") == 20
    assert titles.count("2 values (exp)") == 20


def test_runs_that_are_alike():
    model = Recurrent()
    f = sum(model([[Value(0.1 * i), Value(0.2)] for i in range(RUN)]) for _ in range(50))
    assert f"cell  Cell ×{50 * RUN}" in boxes(f, depth=1)


# ---- depth, collapse, expand


@pytest.mark.parametrize(
    ("options", "count", "some"),
    [
        ({"depth": 0}, 2, "Sequential"),
        ({"depth": 1}, 4, "0  Sequential"),
        ({"depth": 2}, 10, "0.0  Sequential"),
        ({"depth": 3}, 37 - 9 * 2, "0.0.0  Linear"),
        ({"depth": 4}, 37, "0.0.0.weight"),
        ({"collapse": "Linear"}, 37 - 9 * 2, "2.2.0  Linear"),
        ({"collapse": "1"}, 37 - 12 + 1, "1  Sequential"),
        ({"collapse": ["0", "1"]}, 37 - 2 * 11, "0  Sequential"),
        ({"collapse": ("0", "1", "2.2")}, 37 - 2 * 11 - 3, "2.2  Sequential"),
        ({"collapse": "Sequential"}, 2, "Sequential"),
        ({"depth": 1, "collapse": "Linear"}, 4, "0  Sequential"),
        ({"depth": 0, "expand": "1"}, 6, "1.1  Sequential"),
        ({"depth": 1, "expand": ["1", "0.1"]}, 1 + 3 + 1 + 3 + 1, "0.1.0  Linear"),
        ({"collapse": "Sequential", "expand": "1.0"}, 1 + 2 + 4 + 2, "Tanh.1.0.1 (tanh)"),
        ({"depth": 2, "expand": "Linear"}, 37, "0.0.0.weight"),
        ({"expand": "1"}, 37, "0.0.0.weight"),
    ],
)
def test_which_modules_are_open(options, count, some):
    f = nested(2)(Tensor(np.ones((4, 2)), name="x"))
    found = boxes(f, **options) if count < 37 else []
    assert len(view_of(f, **options).boxes) == count
    assert some in found or (count == 37 and some in viz.draw(f, **options).source)


def test_one_of_many_neurons_is_opened():
    titles = boxes(one_sample(), expand="layers.0.neurons.3")
    assert "layers.0.neurons.0…15 Neuron ×15" in titles
    assert "layers.0.neurons.3.b" in titles
    titles = boxes(samples(100), expand="layers.0.neurons.1")
    assert {"layers.0.neurons.0…3 Neuron ×300", "layers.0.neurons.1.b", "100 values (relu)"} <= set(titles)


def test_the_most_that_can_be_read_is_open():
    assert len(view_of(one_sample(nn.scalar.MLP(2, [20, 1]))).frames) == 5  # the neurons, too
    assert len(view_of(one_sample(nn.scalar.MLP(2, [10, 10, 1]))).frames) == 4
    for width, count in ((LONG - 1, LONG - 1), (LONG, 1)):
        inner = [nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)) for _ in range(width)]
        assert len(boxes(nn.Sequential(*inner)(Tensor(np.ones((4, 2)))))) == 1 + count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": -1}, "depth is how many frames .* not int -1"),
        ({"depth": 1.0}, "not float 1.0"),
        ({"depth": True}, "not bool True"),
        ({"depth": "2"}, "not str '2'"),
        ({"fold": 1}, "fold is True, False or None, not int 1"),
        ({"collapse": 3}, "collapse is the path or the class of a module, or a list of these, not int 3"),
        ({"collapse": [3]}, "not list"),
        ({"collapse": True}, "collapse is .*not bool True"),
        ({"expand": 3.0}, "expand is .* not float"),
        ({"collapse": "Linaer"}, "collapse: the graph has no frame 'Linaer': did you mean Linear?"),
        ({"expand": "layers.7"}, r"expand: the graph has no frame 'layers.7': did you mean layers.\d?"),
        ({"expand": ["MLP", "zzz"]}, "no frame 'zzz': it has MLP, layers.0, Linear, layers.1"),
        ({"collapse": "a\nb"}, r"no frame 'a\\\\nb'"),
    ],
)
def test_what_cannot_be_drawn(options, message):
    f = nn.MLP(2, [3, 1])(Tensor([[1.0, 2.0]]))
    with pytest.raises(InputError, match=message) as error:
        viz.draw(f, **options)
    assert "\n" not in str(error.value)


def test_without_modules_there_is_nothing_to_collapse():
    with pytest.raises(InputError, match="no frame 'x': it has none"):
        viz.draw(mg.parse("x + 1", x=1), collapse="x")


# ---- what is not alike


@pytest.mark.parametrize("n", [1_000, 20_000])
def test_what_is_not_alike_is_cut_into_parts(n):
    f = irregular(n)
    titles = boxes(f)
    parts = [title for title in titles if title.endswith("nodes")]
    assert len(parts) == PARTS
    sizes = [int(title.split()[0].replace(",", "")) for title in parts]
    assert max(sizes) < 1.2 * min(sizes)
    assert titles[-1].startswith("(+ ×")  # the result stands alone
    kinds = viz.draw(f).text.split(parts[0])[1].split("data")[0]
    counts = [int(x.replace(",", "")) for x in re.findall(r"([\d,]+) [^\d ]+,", kinds)]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 4


def test_parts_keep_calls_of_modules():
    layers = [nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(200)]
    y = Tensor(np.ones((4, 2)), name="x")
    for layer in layers:
        y = layer(y) * 2.0
    assert viz.draw(y).text.count("25 Sequential") == PARTS


def test_steps_that_follow_each_other_stay_together():
    """Each part of a recurrent network without modules uses the one before, and no other."""
    weights = [[Value(0.1 * (i - j)) for j in range(4)] for i in range(2)]
    state = [Value(0.0), Value(0.0)]
    for i in range(100):
        state = neurons(weights, [Value(0.01 * i), Value(0.2), *state])
    below = [below for title, below in lines(sum(state)) if title.endswith("nodes")]
    first = len(lines(sum(state))) - len(below)
    assert [[k for k in ks if k >= first] for ks in below[1:]] == [[first + i] for i in range(len(below) - 1)]


def test_leaves_of_one_kind_are_one_box_where_there_would_be_many():
    f = irregular(3000)
    twice = irregular(3000, seed=1)
    assert sum("×" in title or title.startswith("x") for title in boxes(f * twice)) <= SORTS


def test_a_long_chain():
    f = chain(100_000)
    drawing = viz.draw(f)
    assert lines(f) == [("x", []), ("(tanh ×100,000)", [1])]
    assert "100,001 nodes in 2 boxes" in svg_texts(drawing)
    assert drawing.alt.startswith("Computation graph of 100,001 nodes in 2 boxes: 1. x: data 0.5, grad –; 2. (tanh ×")


def test_what_was_asked_for_and_is_too_much_is_an_error():
    for f, options in (
        (irregular(2000), {"depth": 99}),
        (irregular(2000), {"fold": False}),
        (chain(2000), {"fold": False}),
    ):
        count = len(topological_order(f))
        with pytest.raises(
            GraphSizeError, match=r"a picture of [\d,]+ boxes, and it shows up to 1,000: choose"
        ) as error:
            viz.draw(f, **options)
        assert "\n" not in str(error.value)
        assert count > LIMIT
    assert len(view_of(chain(LIMIT - 1), fold=False).boxes) == LIMIT


def test_a_node_in_a_notebook_is_drawn_in_the_same_view():
    f = one_sample()
    bundle = f._repr_mimebundle_()
    assert bundle["text/plain"] == repr(f)
    assert bundle["text/html"] == viz.draw(f)._repr_mimebundle_()["text/html"]
    assert "981 nodes in 6 boxes" in bundle["text/html"]


# ---- programs and jitted calls


def written(x, y, weights):
    rows = [weights[3 * k : 3 * k + 3] for k in range(112)]
    return sum((mg.tanh(a * x + b * y + c) for a, b, c in rows), weights[336])


def parameters():
    return [Value(0.01 * (i % 7), f"p{i}") for i in range(1, 338)]


def test_a_traced_program_of_337_parameters():
    weights = parameters()
    program = mg.trace(lambda x, y: written(x, y, weights), 0.5, 0.25)
    found = boxes(program)
    assert found[-1].endswith("(+ ×112)")
    assert {"x", "y", "p1 … p334  ×112", "p337"} <= set(found)
    assert len(found) < 15
    assert size(viz.draw(program))[0] < 1800
    assert "rankdir=BT" in viz.draw(program, rankdir="BT").source
    assert "rankdir=LR" in viz.draw(mg.trace(lambda x: x * 2.0, 0.5)).source
    assert "rankdir=TB" in viz.draw(mg.trace(lambda x: mg.tanh(mg.exp(mg.sin(mg.exp(x * 2.0) - 1.0))), 0.5)).source
    assert "rankdir=LR" in viz.draw(chain(9)).source


def test_a_jitted_call_of_337_leaves():
    weights = parameters()
    call = mg.jit(lambda x, y: written(x, y, weights))(0.5, Value(0.25, "y"))
    call.backward()
    found = lines(call)
    assert ("p1 … p337  ×337", []) in found
    assert len(found) < 8
    assert size(viz.draw(call))[1] < 500
    f = viz.draw(call, expand=True)
    assert f.text.count("\n") < 15
    assert "112 values (tanh)" in f.text
    assert "grad all 1" in f.text


# ---- numbers


def test_between_which_numbers_values_and_gradients_lie():
    xs = [Value(x, f"x{i}") for i, x in enumerate([3.0, -1.5, 0.25])]
    f = sum(x**2 for x in xs)
    f.backward()
    text = viz.draw(f, fold=True).text.split("\n")
    assert text[1] == "1. x0 … x2  ×3: data -1.5 … 3, grad -3 … 6"
    assert text[2] == "2. 3 values (**): data 0.0625 … 9, grad all 1, of 1"
    assert text[3] == "3. (+ ×2): data 11.3125, grad 1, of 2"
    (2.0 * xs[1]).backward()  # another result
    text = viz.draw(f, fold=True).text.split("\n")
    assert text[1] == "1. x0 … x2  ×3: data -1.5 … 3, grad -1 … 6, of this result all -3"
    assert "grad" not in viz.draw(f, fold=True, grads=False).text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([1.0, 2.0], "data 1 … 2"),
        ([2.0, 2.0], "data all 2"),
        ([float("nan"), 2.0, 1.0], "data 1 … 2, 1 nan"),
        ([float("nan")] * 3, "data all nan"),
        ([float("inf"), -float("inf")], "data -inf … inf"),
        ([np.zeros((0, 2)), np.zeros((0, 2))], "data []"),
        ([np.array([1.0, 2.0]), np.array([0.5, np.nan])], "data 0.5 … 2, 1 nan"),
        ([np.full((50, 50), np.nan), np.full((50, 50), 3.0)], "data 3 … 3, 2,500 nan"),
        ([np.float32([1, 2, 3]), np.float32([4, 5, 6])], "data 1 … 6"),
    ],
    ids=str,
)
def test_numbers_of_several(data, text):
    leaves = [Value(x) if isinstance(x, float) else Tensor(x, requires_grad=True) for x in data]
    f = mg.stack([x * 1.0 if isinstance(x, Value) else x.sum() for x in leaves])
    drawing = viz.draw(f, fold=True)
    assert text in drawing.text
    assert text in svg_texts(drawing)


def test_gradients_that_are_none_are_a_dash():
    f = sum(Tensor([1.0 * i, 2.0]).sum() for i in range(4))
    assert "4 tensors: (2,), data 0 … 3, grad –" in viz.draw(f, fold=True, grads=True).text


def test_numbers_that_stand_in_the_code():
    xs = [Value(0.5 * i) for i in range(1, 5)]
    source = viz.draw(sum(2.0 * x for x in xs), fold=True).source
    assert re.findall(r"v1o\d \[label=(\S+)", source) == ["2"]
    source = viz.draw(sum(float(i) - x for i, x in enumerate(xs)), fold=True).source
    assert re.findall(r'v1o0 \[label="(.*?)"', source) == ["0 … 3"]
    source = viz.draw(chain(300, lambda x: x + 1.0)).source
    assert re.findall(r"v1o\d \[label=(\S+)", source) == ["1"]


def test_what_edges_say():
    w, x = [Value(float(i)) for i in range(1, 4)], [Value(0.5 * i) for i in range(1, 4)]
    texts = svg_texts(viz.draw(sum(a * b for a, b in zip(w, x, strict=True)), fold=True))
    assert texts.count("×3") == 3  # two into the products, one into the sum
    for text in ("local 0.5 … 1.5", "local 1 … 3", "local 1"):
        assert text in texts, text
    texts = svg_texts(viz.draw(one_sample(), depth=0))
    assert "×32" in texts  # into a call
    assert " local 1 " in texts  # out of it
    texts = svg_texts(viz.draw(chain(300, mg.sin)))
    assert not [text for text in texts if "local" in text]  # of a chain it is a product
    root = [Value(0.0) ** 0.5 for _ in range(200)]
    assert not [text for text in svg_texts(viz.draw(mg.stack(root))) if "local" in text]  # there is none
    rows = [Tensor(np.ones((2, 2)), name=f"W{i}") @ Tensor(np.ones(2), name=f"v{i}") for i in range(3)]
    texts = [text.strip() for text in svg_texts(viz.draw(mg.stack([row.sum() for row in rows]), fold=True))]
    for text in ("G Bᵀ", "Aᵀ G", "G, repeated", "its part of G"):
        assert text in texts, text


# ---- names


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["x"], "x"),
        (["w2", "w0", "w1"], "w0 … w2"),
        (["p[0]", "p[336]", "p[12]"], "p[0] … p[336]"),
        ([f"a.{i}.w.{j}" for i in range(3) for j in range(2)], "a.0…2.w.0…1"),
        (["layers.0.neurons.0.b", "layers.0.neurons.15.b"], "layers.0.neurons.0…15.b"),
        (["x1y2", "x1y3"], "x1y2 … x1y3"),
        (["a", "b"], "a, b"),
        (["a", "b", "c", "d"], "a … d"),
        (["9", "10"], "9 … 10"),
        (["w٣", "w4"], "w٣ … w4"),
    ],
    ids=str,
)
def test_several_names_in_one(names, text):
    assert spanned(names) == text


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_drawn_literally(name):
    class Strange(nn.Module):
        def __init__(self):
            self.parts = {name: Function(lambda self, x: x * self.w + 1.0, w=Value(2.0))}

        def forward(self, x):
            return self.parts[name](x)

    model = Strange()
    leaves = [Value(0.1 * i, f"{name}{i}") for i in range(9)]
    f = sum(model(x) for x in leaves)
    drawing = viz.draw(f, fold=True, depth=1)
    text = "".join(shown(drawing.pipe("svg", encoding="utf-8"))).replace("\xa0", " ")
    first = spanned([literal(f"{name}{i}") for i in range(9)])
    assert first in text
    assert f"parts.{literal(name)}" in text
    assert first in drawing.alt
    page = drawing._repr_mimebundle_()["text/html"]
    alt = re.fullmatch(r'<img src="[^"]*" alt="([^"<>]*)" style="[^"]*">', page)
    assert first in html.unescape(alt[1])
    assert boxes(f, fold=True, depth=0) != boxes(f, fold=True, depth=0, expand=f"parts.{name}")


def test_a_name_is_not_lost():
    xs = [Value(0.1 * i, "special" if i == 3 else None) for i in range(5)]
    assert boxes(sum(x * 1.0 for x in xs), fold=True) == ["4 values", "4 values (×)", "special", "(×)", "(+ ×4)"]


def test_variables_are_names_of_all_or_of_none(monkeypatch):
    xs = [Value(0.1 * i) for i in range(5)]
    space = {"x": xs[4]}  # what a loop has left
    monkeypatch.setattr("builtins.get_ipython", lambda: SimpleNamespace(user_ns=space), raising=False)
    assert boxes(sum(xs), fold=True) == ["5 values", "(+ ×4)"]
    space["xs"] = xs
    assert boxes(sum(xs[:3]), fold=True) == ["xs[0] … xs[2]  ×3", "(+ ×2)"]


# ---- pictures


def size(drawing):
    return tuple(map(int, SIZE.search(drawing.pipe("svg", encoding="utf-8")).groups()))


PICTURES = {
    "one sample": one_sample,
    "examples": samples,
    "code": unscoped,
    "recurrent": sequence,
    "irregular": lambda: irregular(1000),
    "sum": lambda: sum(Value(float(i)) for i in range(500)),
    "blocks": lambda: nested(4)(Tensor(np.ones((4, 2)), name="x")).sum(),
}


@pytest.mark.parametrize("make", PICTURES.values(), ids=PICTURES)
def test_a_picture_of_a_large_graph_can_be_read_and_is_whole(make):
    f = make()
    f.backward()
    drawing = viz.draw(f)
    assert len(topological_order(f)) > WHOLE
    assert 2 <= len(view_of(f).boxes) <= READABLE
    width, height = size(drawing)
    assert width < 1700  # points, shown on 1,000 pixels: letters of 12 points are 7 pixels and more
    assert height < 4000
    image = Image.open(io.BytesIO(drawing.pipe("png"))).convert("RGB")
    pixels = np.asarray(image)
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()  # nothing is cut off
    assert 0.001 < (pixels < 128).any(axis=2).mean() < 0.5  # letters and lines
    places = np.argwhere((pixels < 128).any(axis=2))
    assert (places.min(axis=0) < 0.2 * np.array(pixels.shape[:2])).all()
    assert (places.max(axis=0) > 0.8 * np.array(pixels.shape[:2])).all()


@pytest.mark.parametrize("make", PICTURES.values(), ids=PICTURES)
def test_the_words_that_stand_in_for_a_picture(make):
    f = make()
    drawing, view = viz.draw(f), view_of(f)
    summary = f"{len(view.order):,} nodes in {len(view.boxes)} boxes"
    assert drawing.text.split("\n")[0] == summary
    assert drawing.text.count("\n") == len(view.boxes)
    assert drawing.alt.startswith(f"Computation graph of {summary}: 1. ")
    assert len(drawing.alt) < 2000
    assert any(text.startswith(summary) for text in svg_texts(drawing))


def test_the_note_says_what_shows_more():
    note = viz.draw(one_sample()).source
    assert "981 nodes in 6 boxes: depth= and expand= show more, fold=False alone shows every node" in note
    assert "351 nodes in 2 boxes: fold=False alone shows every node" in viz.draw(chain(350)).source
    assert "label=<1,351 nodes in 2 boxes> " in viz.draw(chain(1350)).source
    f = nested(1)(Tensor([[1.0, 2.0]]))
    assert "13 nodes in 4 boxes: depth= and expand= show more>" in viz.draw(f, depth=1).source
    assert "nodes in" not in viz.draw(f).source


def test_data_that_changed_is_said_below():
    f = one_sample()
    topological_order(f)[0].data = 5.0
    drawing = viz.draw(f)
    assert "Not of one computation" in drawing.text.split("\n")[-1]
    assert "show every node<br/>Not of one" in drawing.source.replace("shows", "show")
    assert drawing.pipe("svg").startswith(b"<?xml")


def test_shapes_tell_what_a_box_is():
    source = viz.draw(one_sample(), expand="layers.0").source
    shapes = dict(re.findall(r"^\t+(v\d+) \[.* shape=(\w+)", source, re.MULTILINE))
    found = dict(zip(shapes.values(), shapes, strict=True))
    assert set(found) == {"box3d", "folder", "box"}
    parts = viz.draw(irregular(1000)).source
    assert parts.count("shape=component") == PARTS
    assert source.count("peripheries=2") == 1
    assert "dashed" in source


def test_text_of_pictures_in_boxes_is_in_the_colours_of_the_theme():
    for theme in ("dark", "colorblind"):
        colors = viz.graph.THEMES[theme]
        source = viz.draw(samples(), theme=theme).source
        assert source.count(f'fillcolor="{colors.interior}"') > 3
        assert "fontcolor" not in re.sub(rf'fontcolor="{colors.text}"', "", source)


def test_a_marked_path_goes_through_boxes():
    f = one_sample()
    source = viz.draw(f, highlight="layers.1.neurons.3.b").source
    thick = re.findall(r"^\t+(v\w+(?: -> v\w+)?) \[.*penwidth=3", source, re.MULTILINE)
    among = "v2, v3, v4, v4o, v5, v5o, v2 -> v3, v3 -> v4o, v4o -> v4, v4 -> v5o, v5o -> v5"
    assert set(thick) == set(among.split(", "))
    assert len(thick) == len(set(thick))
    assert viz.draw(f, highlight="x1").alt.endswith("Marked: every path from x1 to loss.")
    xs = [Value(0.1 * i, f"x{i}") for i in range(4)]
    f = sum(mg.exp(x) for x in xs[:2]) * sum(mg.sin(x) for x in xs[2:])
    source = viz.draw(f, highlight="x3", fold=True).source
    assert source.count("penwidth=3") == 13  # x2 … x3; sin, +, ×: two shapes and two edges of each

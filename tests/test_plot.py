"""Plots: what they draw is what was computed, whoever asks, and they leave everything else as it was."""

import io
import math
import subprocess
import sys
from itertools import combinations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from browser import contrast
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import microgad as mg
from microgad import nn
from microgad.errors import DomainError, GraphSizeError, InputError, ShapeError
from microgad.nn import optim
from microgad.viz import plot
from microgad.viz.plot.pieces import pieces

NAN, INF = float("nan"), float("inf")
MISSING = 'a plot needs matplotlib: pip install "microgad[plot]"'


@pytest.fixture(autouse=True)
def _figures():
    plt.close("all")
    yield
    plt.close("all")


def seeded(make, seed=0):
    mg.manual_seed(seed)
    return make()


def points(n=40, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 2))


def bowl(x, y):
    return x**2 + 20 * y**2


def rosenbrock(x, y):
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


RIVALS = {
    "SGD": lambda p: optim.SGD(p, lr=0.02),
    "momentum": lambda p: optim.SGD(p, lr=0.02, momentum=0.8),
    "NAG": lambda p: optim.NAG(p, lr=0.02),
    "Adam": lambda p: optim.Adam(p, lr=0.2),
}
HISTORY = {
    "loss": [0.9, 0.5, 0.3, 0.25, 0.2],
    "val_loss": [0.9, 0.6, 0.4, 0.5, 0.6],
    "accuracy": [0.5, 0.7, 0.8, 0.9, 0.95],
    "val_accuracy": [0.5, 0.7, 0.75, 0.74, 0.73],
    "lr": [0.1] * 5,
}


def deep(activation="sigmoid", layers=30, width=20):
    model = seeded(lambda: nn.MLP(width, [width] * layers + [1], activation=activation))
    return (model(np.random.default_rng(0).normal(size=(8, width))) ** 2).mean()


def trained(**options):
    model = seeded(lambda: nn.MLP(2, [16, 16, 1], **options))
    model(points()).mean().backward()
    return model


LABELS = (points()[:, 0] > 0).astype(int)
PLOTS = {
    "history": lambda **ax: plot.history(HISTORY, **ax),
    "decision_boundary": lambda **ax: plot.decision_boundary(trained(), points(), LABELS, levels=[0.1], **ax),
    "several classes": lambda **ax: plot.decision_boundary(
        seeded(lambda: nn.MLP(2, [8, 3])), points(), np.arange(40) % 3, labels=["a", "b", "c"], **ax
    ),
    "regression": lambda **ax: plot.regression(
        seeded(lambda: nn.MLP(1, [8, 1])), points()[:, 0], points()[:, 1], np.sin, **ax
    ),
    "flow": lambda **ax: plot.flow(deep(), **ax),
    "weights": lambda **ax: plot.weights(trained(), **ax),
    "weights of 12 layers": lambda **ax: plot.weights(nn.MLP(8, [8] * 12), **ax),
    "one activation": lambda **ax: plot.activations("gelu", **ax),
    "activations": lambda **ax: plot.activations(["relu", "silu", "elu"], **ax),
    "race": lambda **ax: plot.race(bowl, RIVALS, (-4.0, 1.0), steps=40, **ax),
    "regions of a line": lambda **ax: plot.linear_regions(seeded(lambda: nn.MLP(1, [8, 8, 1])), (-3, 3), **ax),
    "regions of the plane": lambda **ax: plot.linear_regions(trained(), ((-3, 3), (-3, 3)), **ax),
}


def picture(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def texts(figure):
    """The texts that are seen: not the ticks that lie beyond the limits."""
    beyond = set()
    for ax in figure.findobj(Axes):
        if not ax.xaxis.get_visible():  # of a twin, at the same place
            beyond |= set(ax.get_xticklabels()) | {ax.xaxis.label}
        for k, axis in enumerate((ax.xaxis, ax.yaxis)):
            low, high = sorted(axis.get_view_interval())
            for label in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True)):
                if not low <= label.get_position()[k] <= high:
                    beyond.add(label)
    found = figure.findobj(Text)
    return [text for text in found if text.get_visible() and text.get_text().strip() and text not in beyond]


def plain():
    """Axes without pyplot and without a layout, which takes as long as the picture."""
    return Figure().subplots()


def said(texts):
    return [text.get_text() for text in texts]


def legend(ax):
    return said(ax.get_legend().get_texts())


# ---- what holds for all plots


@pytest.mark.parametrize("name", PLOTS)
def test_every_plot_is_a_picture_that_can_be_read(name):
    panels = np.ravel(PLOTS[name]())
    figure = panels[0].figure
    assert plt.get_fignums() == [figure.number]
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in panels)
    assert len(np.unique(picture(figure).reshape(-1, 3), axis=0)) > 20
    page, boxes = figure.bbox.padded(1.0), []
    for text in texts(figure):
        box = text.get_window_extent()
        assert text.get_fontsize() >= 8.0
        assert contrast(to_hex(text.get_color()), "#ffffff") >= 4.5, text
        assert page.x0 <= box.x0 < box.x1 <= page.x1, text
        assert page.y0 <= box.y0 < box.y1 <= page.y1, text
        if text.get_rotation() in (0.0, 90.0) and text not in panels[0].texts:
            boxes.append((text, box.padded(-2.0)))
    assert [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)] == []


@pytest.mark.parametrize("name", PLOTS)
def test_it_draws_in_the_axes_that_it_is_given_and_changes_nothing_else(name):
    figure, (mine, other) = plt.subplots(1, 2)
    plt.sca(other)
    settings_before, backend = dict(mpl.rcParams), mpl.get_backend()
    made = PLOTS[name](ax=mine)
    assert made is mine
    assert mine.has_data()
    assert not other.has_data()
    assert plt.get_fignums() == [figure.number]
    assert plt.gca() is other
    assert (dict(mpl.rcParams), mpl.get_backend()) == (settings_before, backend)


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_without_pyplot_will_do(name):
    PLOTS[name](ax=plain())
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("ax", [3, "ax", [], [None], plt], ids=["number", "text", "empty", "list", "module"])
def test_no_axes(name, ax):
    with pytest.raises((InputError, ShapeError)):
        PLOTS[name](ax=ax)
    assert plt.get_fignums() == []


def test_axes_of_other_coordinates():
    for projection in ("polar", "3d"):
        with pytest.raises(InputError, match="two straight axes"):
            plot.history(HISTORY, ax=Figure().add_subplot(projection=projection))


def test_every_public_function_is_tested():
    drawing = {"history", "decision_boundary", "regression", "flow", "weights", "activations", "race", "linear_regions"}
    assert set(plot.__all__) == drawing | {"animate_race", "paths", "count_linear_regions", "region_bound"}


def test_a_machine_without_matplotlib():
    code = f"""
import sys
import microgad as mg
from microgad.viz import plot
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
model = mg.nn.MLP(1, [2, 1])
rivals = {{"SGD": lambda p: mg.nn.optim.SGD(p, lr=0.1)}}
bowl = lambda x, y: x**2 + y**2
X, y = [[0.0, 1.0], [1.0, 0.0]], [0, 1]
for draw in (
    lambda: plot.history({{"loss": [1.0]}}),
    lambda: plot.decision_boundary(mg.nn.MLP(2, [1]), X, y),
    lambda: plot.regression(model, y, y),
    lambda: plot.flow(model([[1.0]]).sum()),
    lambda: plot.weights(model),
    lambda: plot.activations("relu"),
    lambda: plot.race(bowl, rivals, (1.0, 1.0)),
    lambda: plot.animate_race(bowl, rivals, (1.0, 1.0)),
    lambda: plot.linear_regions(model, (-1.0, 1.0)),
):
    try:
        draw()
    except mg.errors.MissingExtraError as error:
        assert str(error) == {MISSING!r}
    else:
        raise AssertionError
print(plot.count_linear_regions(lambda x: mg.relu(x), (-1.0, 1.0)), len(plot.paths(bowl, rivals, (1.0, 1.0), 5)["SGD"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stderr, done.stdout) == ("", "2 6\n")


# ---- errors


class Loose(nn.Module):
    def forward(self, x):
        raise RuntimeError("it\nbroke")


def moved():
    model = trained()
    loss = (model(points()) ** 2).mean()
    loss.backward()
    optim.SGD(model.parameters(), lr=0.1).step()
    return loss


X = points(4)
ERRORS = {
    "no history": (lambda: plot.history([1.0]), InputError, "mapping from names"),
    "an empty one": (lambda: plot.history({}), ShapeError, "nothing to draw"),
    "no epochs": (lambda: plot.history({"loss": []}), ShapeError, "one or more numbers"),
    "lengths": (lambda: plot.history({"loss": [1], "val_loss": [1, 2]}), ShapeError, "loss has 1, val_loss has 2"),
    "text": (lambda: plot.history({"loss": ["low"]}), InputError, "real numbers"),
    "a key": (lambda: plot.history(HISTORY, "los"), InputError, "no 'los': it has loss, val_loss"),
    "keys": (lambda: plot.history(HISTORY, 3), InputError, "keys are one or more texts"),
    "3 inputs": (lambda: plot.decision_boundary(trained(), np.ones((4, 3)), [0, 1, 0, 1]), ShapeError, r"\(4, 3\)"),
    "no points": (lambda: plot.decision_boundary(trained(), np.ones((0, 2)), []), ShapeError, r"\(0, 2\)"),
    "only nan": (lambda: plot.decision_boundary(trained(), [[NAN, 1.0]], [0]), ShapeError, "nothing to draw"),
    "far apart": (lambda: plot.decision_boundary(trained(), [[1e308, 0], [-1e308, 1]], [0, 1]), InputError, "too far"),
    "labels": (lambda: plot.decision_boundary(trained(), X, [0, 1]), ShapeError, "4 points and y 2 classes"),
    "ragged labels": (lambda: plot.decision_boundary(trained(), X, [[0], [0, 1]]), ShapeError, "different lengths"),
    "objects": (lambda: plot.decision_boundary(trained(), X, [None] * 4), InputError, "numbers or text"),
    "3 classes": (lambda: plot.decision_boundary(trained(), X, [0, 1, 2, 1]), InputError, "y has 3: 0, 1, 2"),
    "5 classes": (lambda: plot.decision_boundary(nn.MLP(2, [3]), X, [9, 8, 7, 6]), InputError, "3 outputs.*has 4"),
    "no threshold": (lambda: plot.decision_boundary(trained(), X, [0, 1] * 2, NAN), InputError, "a finite number"),
    "names": (lambda: plot.decision_boundary(trained(), X, [0, 1] * 2, labels="a"), ShapeError, "2 classes, and 1 lab"),
    "resolution": (lambda: plot.decision_boundary(trained(), X, [0, 1] * 2, grid_resolution=1), InputError, "least 2"),
    "no model": (lambda: plot.decision_boundary(nn.MLP, X, [0, 1] * 2), InputError, "not the class MLP"),
    "a model that fails": (lambda: plot.decision_boundary(Loose(), X, [0, 1] * 2), InputError, "Error: it broke"),
    "a model of 3": (lambda: plot.decision_boundary(nn.MLP(3, [1]), X, [0, 1] * 2), InputError, "takes 3 features"),
    "a scalar of 3": (
        lambda: plot.decision_boundary(nn.scalar.MLP(3, [1]), X, [0, 1] * 2),
        InputError,
        "takes 3 numbers for an example, not 2",
    ),
    "a model of nan": (lambda: plot.decision_boundary(lambda x: x * NAN, X, [0, 1] * 2), InputError, "no finite"),
    "pairs": (lambda: plot.regression(np.sin, [1, 2], [1]), ShapeError, "2 numbers and y 1"),
    "columns": (lambda: plot.regression(np.sin, X, X), ShapeError, r"\(n, 1\), and this is of shape \(4, 2\)"),
    "outputs": (lambda: plot.regression(nn.MLP(1, [2]), [1, 2], [1, 2]), ShapeError, "2 outputs"),
    "no function": (lambda: plot.regression(np.sin, [1], [1], "sin"), InputError, "a module or a function"),
    "no loss": (lambda: plot.flow(3.0), InputError, "a Value, a Tensor or a program"),
    "no module": (lambda: plot.flow(mg.Value(1.0) * 2.0), InputError, "no module gave anything"),
    "no gradient": (lambda: plot.flow(mg.Tensor([1.0]).sum()), InputError, "needs a gradient"),
    "many numbers": (lambda: plot.flow(trained()(X)), InputError, r"of shape \(4, 1\): take its mean"),
    "a step since": (lambda: plot.flow(moved()), InputError, r"before optimizer\.step\(\).*data was set after"),
    "a class": (lambda: plot.flow(trained()(X).sum(), "Tanh"), InputError, "'Tanh' was called: there are Linear, ReLU"),
    "no network": (lambda: plot.weights([1.0]), InputError, "those of a module"),
    "no parameters": (lambda: plot.weights(nn.ReLU()), InputError, "has no parameters"),
    "before backward": (lambda: plot.weights(nn.MLP(2, [1]), grads=True), InputError, r"call backward\(\) first"),
    "bins": (lambda: plot.weights(nn.MLP(2, [1]), bins=0.5), InputError, "bins is a whole number"),
    "a name": (lambda: plot.activations("rleu"), InputError, "no function 'rleu': choose from"),
    "no name": (lambda: plot.activations([]), ShapeError, "no function"),
    "a number": (lambda: plot.activations(3), InputError, "a name or a function"),
    "a function that fails": (lambda: plot.activations(Loose()), InputError, "Loose.* RuntimeError: it broke"),
    "bounds": (lambda: plot.activations("relu", (1, 1)), InputError, "to a larger one"),
    "panels": (lambda: plot.activations(["relu", "elu"], ax=Figure().subplots(3)), ShapeError, "2 functions and 3 A"),
    "start": (lambda: plot.race(bowl, RIVALS, (1.0, NAN)), ShapeError, "two finite numbers"),
    "a list": (lambda: plot.race(bowl, list(RIVALS), (1.0, 1.0)), InputError, "a dict from names"),
    "none": (lambda: plot.race(bowl, {}, (1.0, 1.0)), ShapeError, "no optimizer"),
    "no optimizer": (lambda: plot.race(bowl, {"a": lambda p: 3}, (1.0, 1.0)), InputError, "no zero_grad"),
    "a failing one": (lambda: plot.race(bowl, {"a": lambda p: 1 / 0}, (1.0, 1.0)), InputError, "ZeroDivisionError"),
    "no surface": (lambda: plot.race(3, RIVALS, (1.0, 1.0)), InputError, "a function of two numbers"),
    "a flat one": (lambda: plot.race(lambda x, y: 1.0, RIVALS, (1.0, 1.0)), InputError, "not a number computed from"),
    "a domain": (lambda: plot.race(lambda x, y: mg.log(x), RIVALS, (-1.0, 1.0)), DomainError, "a number > 0"),
    "infinite": (lambda: plot.race(lambda x, y: x * INF, RIVALS, (1.0, 1.0)), InputError, "f is inf at the start"),
    "steps": (lambda: plot.animate_race(bowl, RIVALS, (1.0, 1.0), 0), InputError, "steps is at least 1"),
    "interval": (lambda: plot.animate_race(bowl, RIVALS, (1.0, 1.0), interval=None), InputError, "interval is a whole"),
    "a rectangle": (lambda: plot.race(bowl, RIVALS, (1.0, 1.0), bounds=(0, 1)), ShapeError, "x_low, x_high"),
    "no bounds": (lambda: plot.count_linear_regions(nn.MLP(1, [1]), 3.0), ShapeError, r"\(low, high\) or"),
    "tanh": (lambda: plot.linear_regions(trained(activation="tanh"), ((-1, 1), (-1, 1))), InputError, "by tanh"),
    "a product": (lambda: plot.linear_regions(lambda x: x * x, (-1, 1)), InputError, "by mul in that way"),
    "softmax": (lambda: plot.linear_regions(nn.Sequential(nn.Softmax()), (-1, 1)), InputError, "by softmax"),
    "other inputs": (lambda: plot.linear_regions(trained(), (-1, 1)), InputError, "not one of 1 input.*takes 2 feat"),
    "a branch": (
        lambda: plot.linear_regions(lambda x: x if x[0, 0] > -0.5 else -x, (-1, 1)),
        InputError,
        "branches on numbers",
    ),
    "width": (lambda: plot.region_bound(3, 4, 1), InputError, "width is at least 4"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_in_one_line_what_is_wrong_and_leave_no_figure(name):
    call, kind, match = ERRORS[name]
    with pytest.raises(kind, match=match) as error:
        call()
    assert "\n" not in str(error.value)
    assert plt.get_fignums() == []


# ---- training


def test_a_history_is_drawn_as_it_was():
    ax = plot.history(HISTORY)
    [twin] = [other for other in ax.figure.axes if other is not ax]
    curves = [line for line in (*ax.lines, *twin.lines) if len(line.get_xdata()) == 5]
    assert [line.get_label() for line in curves] == ["loss", "val_loss", "accuracy (right)", "val_accuracy (right)"]
    for line, key in zip(curves, ("loss", "val_loss", "accuracy", "val_accuracy"), strict=True):
        assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]
        assert line.get_ydata().tolist() == HISTORY[key]
        assert line.get_linestyle() == ("--" if key.startswith("val_") else "-")
    assert (ax.get_ylabel(), twin.get_ylabel()) == ("loss", "accuracy")
    assert legend(twin) == [line.get_label() for line in curves] + ["best: epoch 3, val_loss 0.4"]
    assert ax.lines[-1].get_xdata() == [3, 3]


@pytest.mark.parametrize(
    ("history", "keys", "label", "names"),
    [
        ({"loss": [3.0, NAN, 1.0, INF]}, None, "loss", ["loss", "best: epoch 3, loss 1"]),
        ({"loss": [NAN, NAN]}, None, "loss", ["loss"]),
        ({"accuracy": [0.1, 0.3, 0.2]}, None, "accuracy", ["accuracy", "best: epoch 2, accuracy 0.3"]),
        ({"train": [1, 2], "test": [2, 3], "lr": [1, 1]}, None, "value", ["train", "test"]),
        ({"loss": [1.0, 2.0], "lr": [0.1, 0.2], "every tenth": [1.0]}, ["lr"], "lr", ["lr"]),
        ({"loss": mg.Tensor([1.0, 2.0])}, ["loss"], "loss", ["loss", "best: epoch 1, loss 1"]),
        ({"$loss_{": [1.0], "_loss": [2.0]}, None, "loss", ["\\$loss_{", " _loss"]),
        ({"loss": [1e308, -1e308, 0.0]}, None, "loss", ["loss", "best: epoch 2, loss -1e+308"]),
    ],
)
def test_histories_of_all_kinds(history, keys, label, names):
    ax = plot.history(history, keys, ax=plain())
    assert ax.get_ylabel() == label
    assert legend(ax) == names
    for line, key in zip(ax.lines, keys or history, strict=False):
        known = [x if abs(x) < 1e300 else NAN for x in getattr(history[key], "data", history[key])]
        np.testing.assert_array_equal(line.get_ydata(), known)
    picture(ax.figure)


def test_what_fit_returns():
    x, y = nn.data.moons(40, seed=0)
    history = nn.fit(seeded(lambda: nn.MLP(2, [4, 1])), x, y, epochs=3, validation=(x, y), seed=0)
    ax = plot.history(history)
    assert ax.lines[-1].get_xdata()[0] == history.best_epoch


# ---- fits


def boundary(ax):
    """The corners of the black lines between regions."""
    lines = [c for c in ax.collections if isinstance(c, ContourSet) and not c.filled]
    black = [line for line in lines if to_hex(line.get_edgecolor()[0]) == "#000000"]
    return np.concatenate([path.vertices for line in black for path in line.get_paths()])


def test_the_boundary_is_where_the_output_is_at_the_threshold():
    ax = plot.decision_boundary(lambda x: 2.0 * x[:, 0] - x[:, 1], points(), LABELS, threshold=0.25)
    found = boundary(ax)
    assert len(found) > 50
    np.testing.assert_allclose(2.0 * found[:, 0] - found[:, 1], 0.25, atol=1e-9)


def regions_of(ax):
    return [c for c in ax.collections if isinstance(c, ContourSet) and c.filled]


def test_each_point_lies_in_the_region_of_its_class():
    centres = np.array([[0.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    x = points(60)
    y = ((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    ax = plot.decision_boundary(lambda x: 2.0 * x @ centres.T - (centres**2).sum(axis=1), x, y)
    for k, region in enumerate(regions_of(ax)):
        inside = np.any([path.contains_points(x) for path in region.get_paths()], axis=0)
        assert (inside == (y == k)).all()
    scatter = [c for c in ax.collections if isinstance(c, PathCollection)]
    for k, marks in enumerate(scatter):
        np.testing.assert_array_equal(marks.get_offsets(), x[y == k])
    assert len({marks.get_paths()[0].vertices.tobytes() for marks in scatter}) == 3  # markers differ, too


def test_lines_of_equal_output():
    ax = plot.decision_boundary(lambda x: x[:, 0], points(), LABELS, levels=[-1.0, 0.5, 99.0])
    [lines] = [c for c in ax.collections if isinstance(c, ContourSet) and list(c.levels) == [-1.0, 0.5]]
    assert [np.unique(path.vertices[:, 0].round(9)).tolist() for path in lines.get_paths()] == [[-1.0], [0.5]]


@pytest.mark.parametrize(
    ("model", "y", "names"),
    [
        (lambda x: x[:, 0], [False, True] * 20, ["class 0", "class 1", "boundary"]),
        (lambda x: x[:, 0], np.array([[0.0], [1.0]] * 20), ["class 0", "class 1", "boundary"]),
        (lambda x: x[:, 0], [-1, -1] * 20, ["class -1", "class 1", "boundary"]),
        (lambda x: x[:, 0], ["no", "yes"] * 20, ["class no", "class yes", "boundary"]),
        (lambda x: x[:, 0], mg.Tensor([1.0, NAN] * 20), ["class 0", "class 1", "boundary"]),
        (lambda x: x[:, 0], [0.5, 1.5] * 20, ["class 0.5", "class 1.5", "boundary"]),
        (lambda x: mg.stack([x[:, 0], x[:, 1]], 1), np.eye(2)[[0, 1] * 20], ["class 0", "class 1", "boundary"]),
        (lambda x: 0.0, [0, 1] * 20, ["class 0", "class 1"]),
        (lambda x: mg.step(x[:, 0]), [0, 1] * 20, ["class 0", "class 1", "boundary"]),
        (lambda x: mg.log(x[:, 0]), [0, 1] * 20, ["class 0", "class 1", "boundary"]),
        (lambda x: 1.0 / x[:, 0], [0, 1] * 20, ["class 0", "class 1", "boundary"]),
        (lambda x: x[:, 0] * 1e308, [0, 1] * 20, ["class 0", "class 1", "boundary"]),
    ],
)
def test_labels_and_models_of_all_kinds(model, y, names):
    ax = plot.decision_boundary(model, points(), y, grid_resolution=50, ax=plain())
    assert legend(ax) == names
    picture(ax.figure)


def test_a_step_has_two_regions_and_its_edge_belongs_to_the_first():
    ax = plot.decision_boundary(lambda x: mg.step(x[:, 0]), points(), LABELS)
    for k, region in enumerate(regions_of(ax)):
        inside = np.any([path.contains_points([[-1.0, 0.0], [1.0, 0.0]]) for path in region.get_paths()], axis=0)
        assert inside.tolist() == [k == 0, k == 1]


def test_points_that_are_no_numbers_are_left_out():
    ax = plot.decision_boundary(trained(), [[NAN, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, INF]], [0, 0, 1, 1])
    assert [len(c.get_offsets()) for c in ax.collections if isinstance(c, PathCollection)] == [2, 2]
    assert ax.get_xlim() == (-0.1, 1.1)


WAYS = {
    "tensors": lambda m: m,
    "values": nn.scalar.MLP.from_module,
    "a function of one": lambda m: lambda x: m(mg.Tensor([x])).item(),
    "float32": lambda m: as_float32(m),
}


def as_float32(model):
    twin = nn.MLP(2, [16, 16, 1], dtype="float32")
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.mark.parametrize("way", WAYS)
def test_a_model_is_asked_in_the_way_that_it_can_be(way):
    model = trained()
    expected = boundary(plot.decision_boundary(model, points(), LABELS, grid_resolution=30))
    found = boundary(plot.decision_boundary(WAYS[way](model), points(), LABELS, grid_resolution=30))
    np.testing.assert_allclose(found, expected, atol=1e-5 if way == "float32" else 1e-9)


def test_a_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    model[2].eval()
    model(points()).mean().backward()
    before = {**model.state_dict(), **{name: p.grad.copy() for name, p in model.named_parameters()}}
    plain = plot.decision_boundary(model, points(), LABELS)
    plot.linear_regions(model, ((-1, 1), (-1, 1)))
    plot.weights(model, grads=True)
    after = {**model.state_dict(), **{name: p.grad for name, p in model.named_parameters()}}
    assert [module.training for module in model.modules()] == [True, True, True, False, True]
    assert all(np.array_equal(before[name], after[name]) for name in before)
    np.testing.assert_array_equal(boundary(plain), boundary(plot.decision_boundary(model.eval(), points(), LABELS)))


@pytest.mark.parametrize("way", ["tensors", "values", "math", "branches"])
def test_a_curve_through_points(way):
    model = seeded(lambda: nn.MLP(1, [8, 1], activation="tanh"))
    twin = nn.scalar.MLP.from_module(model)
    ask = {
        "tensors": model,
        "values": twin,
        "math": lambda x: math.sin(x),
        "branches": lambda x: 1.0 if x[0] > 0 else -1.0,
    }[way]
    truth = {"math": np.sin, "branches": lambda x: np.where(x > 0, 1.0, -1.0)}
    x, y = [2.0, -1.0, 0.5, NAN], [1.0, INF, 0.0, 1.0]
    ax = plot.regression(ask, x, y, math.cos)
    data, exact, curve = ax.lines
    at = curve.get_xdata()
    expected = truth.get(way, lambda x: model(x[:, None]).data[:, 0])
    np.testing.assert_allclose(curve.get_ydata(), expected(at), atol=1e-12)
    np.testing.assert_allclose(exact.get_ydata(), np.cos(at), atol=1e-12)
    np.testing.assert_array_equal(data.get_xydata(), np.stack([x, y], axis=1))
    assert at[0] < 0.5 < 2.0 < at[-1]  # of the pairs that are numbers
    assert legend(ax) == ["data", "true function", "model"]
    picture(ax.figure)


# ---- flows


def by_hand(model, x):
    """The mean sizes of what the layers of a ReLU network give, and of the gradients of the sum of squares by these."""
    w1, b1, w2, b2 = (p.data for p in model.parameters())
    z1 = x @ w1.T + b1
    y1 = np.maximum(z1, 0.0)
    z2 = y1 @ w2.T + b2
    g2 = 2.0 * z2
    gy = g2 @ w2
    return [np.abs(v).mean() for v in (z1, y1, z2)], [np.abs(v).mean() for v in (gy * (z1 > 0), gy, g2)]


def test_a_flow_is_that_of_the_chain_rule():
    model = seeded(lambda: nn.MLP(2, [6, 2]))
    ax = plot.flow((model(points()) ** 2).sum())
    activations, gradients = by_hand(model, points())
    np.testing.assert_allclose(ax.lines[0].get_ydata(), activations, rtol=1e-12)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), gradients, rtol=1e-12)
    assert said(ax.get_xticklabels()) == [
        "layers.0 Linear",
        "activations.0 ReLU",
        "layers.1 Linear",
    ]
    assert ax.get_yscale() == "log"


def test_the_neurons_of_a_layer_and_the_examples_of_a_batch_are_taken_together():
    model = seeded(lambda: nn.MLP(2, [6, 2]))
    twin = nn.scalar.MLP.from_module(model)
    loss = sum(out**2 for x in points(5).tolist() for out in twin(x))
    ax = plot.flow(loss)
    activations, gradients = by_hand(model, points(5))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), activations[1:], rtol=1e-12)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), gradients[1:], rtol=1e-12)
    assert said(ax.get_xticklabels()) == ["layers.0 Layer", "layers.1 Layer"]


def test_each_round_of_a_recurrent_network_stands_for_itself():
    cell = seeded(lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    h, states = mg.Tensor(np.ones((2, 3))), []
    for _ in range(4):
        h = cell(h)
        states.append(np.abs(h.data).mean())
    ax = plot.flow(h.sum(), "Tanh")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), states, rtol=1e-12)
    assert said(ax.get_xticklabels()) == [f"1 Tanh ({i})" for i in (1, 2, 3, 4)]


def test_a_flow_through_a_jitted_function_is_the_same():
    model = seeded(lambda: nn.MLP(2, [6, 2]))
    plain = plot.flow((model(points()) ** 2).sum())
    jitted = plot.flow(mg.jit(lambda x: (model(x) ** 2).sum())(points()))
    for one, other in zip(plain.lines, jitted.lines, strict=True):
        np.testing.assert_allclose(one.get_ydata(), other.get_ydata(), rtol=1e-12)


def test_gradients_vanish_in_a_deep_network_of_sigmoids():
    """Lecture 003: the derivative of the sigmoid is at most 1/4."""
    ax = plot.flow(deep(), "Sigmoid")
    gradient = ax.lines[1].get_ydata()
    assert len(gradient) == 30
    assert gradient[0] < 0.3**29 * gradient[-1]
    low, high = ax.get_ylim()
    assert low < gradient.min() < gradient.max() < high


def test_zeros_and_what_is_not_finite_are_marked_at_the_edges():
    model = seeded(lambda: nn.MLP(2, [4, 4, 1]))
    model.layers[1].bias.data[...] = -100.0  # dead
    ax = plot.flow((model(points()) ** 2).mean())
    marks = {line.get_label(): line for line in ax.lines[2:]} | {line.get_label(): line for line in ax.lines[1:]}
    dead, none = marks["mean |activation|: 0"], marks["mean |∂loss/∂activation|: 0"]
    assert (dead.get_xdata().tolist(), dead.get_ydata().tolist()) == ([4], [0.0])
    assert none.get_xdata().tolist() == [1, 2, 3]
    model.layers[0].bias.data[...] = NAN
    ax = plot.flow((model(points()) ** 2).mean())
    assert [line.get_xdata().tolist() for line in ax.lines if "not finite" in line.get_label()] == [[1, 2, 3, 4, 5]] * 2
    picture(ax.figure)


def test_weights_are_counted_in_rows():
    model = seeded(lambda: nn.MLP(2, [6, 1]))
    ax = plot.weights(model, bins=10)
    rows = [patch for patch in ax.patches if not patch.get_fill()]
    for i, (row, p) in enumerate(zip(rows, model.parameters(), strict=True)):
        heights, edges, baseline = row.get_data()
        counts, _ = np.histogram(p.data, edges)
        assert baseline == 3 - i
        assert counts.sum() == p.size
        np.testing.assert_allclose(heights - baseline, 0.85 * counts / counts.max(), atol=1e-12)
    names = ["layers.0.weight (6×2)", "layers.0.bias (6)", "layers.1.weight (1×6)", "layers.1.bias (1)"]
    assert said(ax.get_yticklabels()) == names


def test_weights_of_values_are_taken_together_by_layer():
    model = nn.scalar.MLP(2, [3, 1])
    ax = plot.weights(model)
    assert said(ax.get_yticklabels()) == [
        "layers.0.w",
        "layers.0.b",
        "layers.1.w",
        "layers.1.b",
    ]
    [first, *_] = [patch for patch in ax.patches if not patch.get_fill()]
    heights, edges, baseline = first.get_data()
    counts, _ = np.histogram([w.data for neuron in model.layers[0].neurons for w in neuron.w], edges)
    np.testing.assert_allclose(heights - baseline, 0.85 * counts / counts.max(), atol=1e-12)


def test_gradients_that_are_missing_or_not_finite_are_said():
    model = seeded(lambda: nn.MLP(2, [3, 1]))
    model.layers[0].weight.grad = np.full((3, 2), NAN)
    model.layers[1].weight.grad = np.array([[1.0, 2.0, NAN]])
    model.layers[1].bias.grad = np.array([0.5])
    ax = plot.weights(model, grads=True)
    ax.figure.canvas.draw()
    [beside] = ax.child_axes
    assert said(beside.get_yticklabels()) == ["6 numbers not finite", "no gradient", "1 number not finite", "σ 0"]


# ---- activations


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def normal(x):
    return np.array([0.5 * (1.0 + math.erf(one / math.sqrt(2.0))) for one in x])


CLOSED = {
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * (1.0 - sigmoid(x))),
    "tanh": (np.tanh, lambda x: 1.0 - np.tanh(x) ** 2),
    "relu": (lambda x: np.maximum(x, 0.0), lambda x: 1.0 * (x > 0)),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1.0, 0.01)),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, 1.0, np.exp(x))),
    "softplus": (lambda x: np.log1p(np.exp(x)), sigmoid),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)))),
    "gelu": (lambda x: x * normal(x), lambda x: normal(x) + x * np.exp(-x * x / 2.0) / math.sqrt(2.0 * math.pi)),
}


def test_activations_and_their_derivatives():
    panels = plot.activations()
    assert [ax.get_title() for ax in panels] == list(CLOSED)
    for ax in panels:
        f, derivative = CLOSED[ax.get_title()]
        curve, slope = (line for line in ax.lines if len(line.get_xdata()) > 2)
        x = curve.get_xdata()
        assert (x[0], x[-1]) == (-4.0, 4.0)
        np.testing.assert_allclose(curve.get_ydata(), f(x), atol=1e-12)
        np.testing.assert_allclose(slope.get_ydata(), derivative(x), atol=1e-12)
        assert (curve.get_linestyle(), slope.get_linestyle()) == ("-", "--")


@pytest.mark.parametrize(
    ("f", "title", "truth", "derivative"),
    [
        (lambda x: x**3, "f", lambda x: x**3, lambda x: 3 * x**2),
        (lambda x: x if x > 0 else 0.1 * x, "f", lambda x: np.maximum(x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.1)),
        (np.tanh, "tanh", np.tanh, lambda x: 1.0 - np.tanh(x) ** 2),
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)", lambda x: np.where(x > 0, x, 0.2 * x),
         lambda x: np.where(x > 0, 1, 0.2)),
        (lambda x: 1.0, "f", np.ones_like, np.zeros_like),
        (lambda x: x, "f", lambda x: x, np.ones_like),
        ("log", "log", lambda x: np.log(np.where(x > 0, x, NAN)), lambda x: 1.0 / np.where(x == 0, NAN, x)),
    ],
)  # fmt: skip
def test_functions_of_the_user(f, title, truth, derivative):
    ax = plot.activations(f)
    curve, slope = (line for line in ax.lines if len(line.get_xdata()) > 2)
    x = curve.get_xdata()
    assert ax.get_title() == title
    np.testing.assert_allclose(curve.get_ydata(), truth(x), atol=1e-12)
    np.testing.assert_allclose(slope.get_ydata(), derivative(x), atol=1e-12)


def test_where_several_functions_are_drawn():
    figure = Figure()
    together = figure.subplots()
    assert plot.activations(["relu", "elu"], ax=together) is together
    assert legend(together) == ["relu", "relu, derivative", "elu", "elu, derivative"]
    given = figure.subplots(1, 2)
    assert plot.activations({"one": "relu", "two": "elu"}, ax=given) is given
    assert [ax.get_title() for ax in given] == ["one", "two"]
    made = plot.activations(["relu", "relu", "elu", "silu", "gelu"])
    assert [ax.get_title() for ax in made] == ["relu", "relu (2)", "elu", "silu", "gelu"]
    assert made[0].figure.axes == list(made)


# ---- races


def test_paths_are_those_of_the_rule():
    found = plot.paths(bowl, {"SGD": lambda p: optim.SGD(p, lr=0.01)}, (-4, 1), steps=30)["SGD"]
    k = np.arange(31)
    x, y = -4.0 * 0.98**k, 0.6**k
    np.testing.assert_allclose(found, np.stack([x, y, bowl(x, y)], axis=1), rtol=1e-12)
    assert [path.shape for path in plot.paths(bowl, RIVALS, (-4, 1), 7).values()] == [(8, 3)] * 4


def test_a_race_shows_its_paths():
    found = plot.paths(bowl, RIVALS, (-4.0, 1.0), 40)
    ax = plot.race(bowl, RIVALS, (-4.0, 1.0), 40)
    routes = [line for line in ax.lines if len(line.get_xdata()) == 41]
    for line, path in zip(routes, found.values(), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), path[:, :2])
    assert legend(ax) == ["start", *(f"{name}: {path[-1, 2]:.3g}" for name, path in found.items())]
    assert len({(line.get_linestyle(), line.get_marker()) for line in routes}) == len(routes)
    (x_low, x_high), (y_low, y_high) = ax.get_xlim(), ax.get_ylim()
    assert x_low < -4.0 < 0.0 < x_high
    assert y_low < 0.0 < 1.0 < y_high
    bar = ax.figure.axes[-1]
    assert bar.get_ylabel() == "f(x, y)"


def test_heights_are_drawn_where_they_are():
    ax = plot.race(lambda x, y: x + 2.0 * y, RIVALS, (0.0, 0.0), 5, bounds=((-1, 1), (-2, 2)))
    [lines] = [c for c in ax.collections if isinstance(c, ContourSet)]
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        np.testing.assert_allclose(path.vertices @ [1.0, 2.0], level, atol=1e-9)
    [image] = ax.images
    assert image.get_array().shape == (160, 160)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1.0, 1.0), (-2.0, 2.0))


def test_levels_lie_close_where_the_surface_is_much_steeper_elsewhere():
    ax = plot.race(rosenbrock, {"Adam": RIVALS["Adam"]}, (-1.5, 2.0), 60)
    [lines] = [c for c in ax.collections if isinstance(c, ContourSet)]
    ratios = lines.levels[1:] / lines.levels[:-1]
    assert len(lines.levels) >= 10
    assert ratios.max() < 1.5 * ratios.min()


def test_a_path_that_diverges_does_not_spoil_the_picture():
    rivals = {"good": RIVALS["SGD"], "bad": lambda p: optim.SGD(p, lr=1.0)}
    ax = plot.race(bowl, rivals, (-4.0, 1.0), 400)
    assert legend(ax)[2].startswith("bad: diverged after step 9")
    width = np.ptp(ax.get_xlim())
    assert width < 10.0
    assert all(np.abs(line.get_xydata()).max() < 100.0 * width for line in ax.lines)
    picture(ax.figure)


@pytest.mark.parametrize(
    ("f", "start"),
    [
        (lambda x, y: x**2 if x > 0 else y**2, (1.0, 1.0)),  # point by point
        (lambda x, y: 0.0 * x, (0.0, 0.0)),
        (lambda x, y: mg.Value(1.0), (0.0, 0.0)),
        (lambda x, y: mg.log(x) + y**2, (0.1, 1.0)),  # leaves its domain
        (lambda x, y: 1e300 * (x**2 + y**2), (1.0, 1.0)),
        (lambda x, y: mg.abs(x) + mg.maximum(y, 0.0), (1.0, 1.0)),
    ],
)
def test_surfaces_of_all_kinds(f, start):
    ax = plot.race(f, {"$a_{": RIVALS["SGD"], "_b": optim.Adam}, start, 20, ax=plain())
    assert legend(ax)[1].startswith(r"\$a_{: ")
    picture(ax.figure)


def test_an_animation_moves(tmp_path):
    animation = plot.animate_race(bowl, RIVALS, (-4.0, 1.0), steps=4)
    assert len(plt.get_fignums()) == 1
    animation.save(tmp_path / "race.gif", writer="pillow", dpi=50)
    with Image.open(tmp_path / "race.gif") as gif:
        frames = []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(gif.convert("RGB").tobytes())
    assert len(set(frames)) == 5


def test_an_animation_of_many_steps_leaves_some_out_and_ends_with_the_last():
    ax = plt.figure().subplots()
    animation = plot.animate_race(bowl, {"SGD": RIVALS["SGD"]}, (-4.0, 1.0), steps=205, ax=ax)
    frames = list(animation.new_frame_seq())
    assert frames[:2] == [0, 4]
    assert frames[-1] == 205
    assert len(frames) <= 61
    animation._func(frames[-1])
    [route] = [line for line in ax.lines if len(line.get_xdata()) > 100]
    path = plot.paths(bowl, {"SGD": RIVALS["SGD"]}, (-4.0, 1.0), 205)["SGD"]
    np.testing.assert_array_equal(route.get_xydata(), path[:, :2])
    animation._draw_was_started = True  # it is not shown
    assert ax.get_title() == "step 205"


# ---- linear regions


def folding(layers):
    """The network of three units a layer that attains the bound (lecture 003, after Prince)."""
    model = nn.MLP(1, [3] * layers + [1])
    sign, shift, slope = np.array([-1.0, 1.0, 1.0]), np.array([3.0, 0.0, -1.0]), np.array([-1.0, -2.0, 1.5])
    first, *inner, last = model.layers
    first.weight.data[...], first.bias.data[...] = sign[:, None], shift
    for layer in inner:  # of y = (f + 4) * 6.4 - 1.2
        layer.weight.data[...], layer.bias.data[...] = 6.4 * np.outer(sign, slope), sign * (4 * 6.4 - 1.2) + shift
    last.weight.data[...], last.bias.data[...] = slope, 0.0
    return model


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_folding_network_attains_the_bound(layers):
    assert plot.count_linear_regions(folding(layers), (-1e4, 1e4)) == 4**layers == plot.region_bound(3, 1, layers)


def one_layer(w, b):
    model = nn.MLP(2, [len(w), 1])
    model.layers[0].weight.data[...], model.layers[0].bias.data[...] = w, b
    return model


@given(st.integers(2, 25), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_lines_cut_the_plane(n, seed):
    rng = np.random.default_rng(seed)
    w, b, centre = rng.normal(size=(n, 2)), rng.normal(size=n), rng.normal(size=2)
    corners = [np.linalg.solve(w[[i, j]], -b[[i, j]]) for i, j in combinations(range(n), 2)]
    size = 1.1 * np.abs([*corners, [1.0, 1.0]]).max() + 1.0
    square = ((-size, size), (-size, size))
    assert plot.count_linear_regions(one_layer(w, b), square) == 1 + n + n * (n - 1) // 2
    assert plot.count_linear_regions(one_layer(w, -w @ centre), ((-9, 9), (-7, 8))) == 2 * n  # all through one point


def patterns(model, x):
    """Which units are active at some points, in NumPy."""
    found = []
    for layer in model.layers[:-1]:
        x = x @ layer.weight.data.T + layer.bias.data
        found.append(x > 0)
        slope = getattr(model.activations[0], "negative_slope", 0.0)
        x = np.where(x > 0, x, slope * x)
    return np.concatenate(found, axis=1)


@given(
    st.integers(1, 2),
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.sampled_from(["relu", "leaky_relu"]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_the_pieces_cover_all_and_each_has_a_pattern_of_its_own(inputs, widths, activation, seed):
    model = seeded(lambda: nn.MLP(inputs, [*widths, 1], activation=activation), seed)
    bounds = (-3.0, 5.0) if inputs == 1 else ((-3.0, 5.0), (-2.0, 4.0))
    made = pieces(model, bounds)
    rng = np.random.default_rng(seed)
    places = [rng.dirichlet(np.ones(len(cell)), 5) @ made.corners[cell] for cell in made.cells]
    found = [np.unique(patterns(model, x), axis=0) for x in places]
    assert all(len(one) == 1 for one in found)  # within a piece
    assert len({one.tobytes() for one in found}) == len(made.cells) == plot.count_linear_regions(model, bounds)
    assert [int(one.sum()) for one in found] == made.active.tolist()
    np.testing.assert_allclose(made.outputs, model(made.corners).data, atol=1e-9)
    sizes = [np.ptp(made.corners[cell]) if inputs == 1 else area(made.corners[cell]) for cell in made.cells]
    assert min(sizes) > 0.0
    assert abs(sum(sizes) - (8.0 if inputs == 1 else 48.0)) < 1e-9


def area(corners):
    x, y = corners.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2.0


def test_the_same_network_in_other_forms_has_the_same_regions():
    model = seeded(lambda: nn.MLP(2, [5, 5, 1]))
    square = ((-3, 3), (-3, 3))
    count = plot.count_linear_regions(model, square)
    assert count > 20
    assert plot.count_linear_regions(nn.scalar.MLP.from_module(model), square) == count
    assert plot.count_linear_regions(mg.jit(model), square) == count
    assert plot.count_linear_regions(lambda x: model(x) * 2.0 - 1.0, square) == count
    rows = [[w.data[...] for w in (layer.weight, layer.bias)] for layer in model.layers]

    def products(x):
        for w, b in rows[:-1]:
            x = mg.relu(x @ w.T + b)
        return x @ rows[-1][0].T + rows[-1][1]

    assert plot.count_linear_regions(products, square) == count
    with mg.no_grad():
        assert plot.count_linear_regions(model, square) == count


@pytest.mark.parametrize(
    ("model", "bounds", "count"),
    [
        (lambda x: x, (-1, 1), 1),
        (lambda x: mg.Tensor([[1.0]]), (-1, 1), 1),
        (lambda x: mg.relu(x[0]) + mg.relu(x[0] - 0.5) - mg.relu(-x[0]), (-1, 1), 3),  # of a list of Values
        (lambda x: mg.relu(mg.relu(x) - 0.25), (-1, 1), 3),
        (lambda x: mg.relu(x - 5.0), (-1, 1), 1),
        (lambda x: mg.relu(x) - mg.relu(x), (-1, 1), 2),  # both units change, the output does not
        (lambda t: mg.relu(np.array([1.0, -1.0]) + t * np.array([-2.0, 1.5])), (0, 1), 3),  # along a line
        (nn.Residual(nn.Linear(1, 1), nn.ReLU()), (-1e6, 1e6), 2),
    ],
)
def test_functions_that_are_piecewise_linear(model, bounds, count):
    ax = plot.linear_regions(model, bounds)
    assert plot.count_linear_regions(model, bounds) == count
    assert ax.get_title() == f"{count} linear region{'s' * (count > 1)}"


def test_what_eval_mode_makes_affine():
    parts = nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 1)
    model = nn.Sequential(*parts)
    for _ in range(50):
        model(points())
    norm = model[1]
    scale = norm.weight.data / np.sqrt(norm.running_var + norm.eps)
    twin = one_layer(
        model[0].weight.data * scale[:, None],
        (model[0].bias.data - norm.running_mean) * scale + norm.bias.data,
    )
    square = ((-3, 3), (-3, 3))
    assert plot.count_linear_regions(model, square) == plot.count_linear_regions(twin, square) > 10


def test_a_graph_in_pieces():
    model = seeded(lambda: nn.MLP(1, [8, 8, 1], dtype="float32"))
    ax = plot.linear_regions(model, (-3, 3))
    *curves, dots = ax.lines
    made = pieces(model, (-3, 3))
    assert ax.get_title() == f"{len(made.cells)} linear regions"
    assert len(dots.get_xdata()) == len(made.cells) - 1
    for line in curves:
        x, y = line.get_data()
        np.testing.assert_allclose(y, model(x[:, None]).data[:, 0], atol=1e-6)
    assert sum(np.isnan(line.get_xdata()).sum() for line in curves) == len(made.cells)
    assert len({(line.get_color(), line.get_linestyle()) for line in curves}) == 2


def test_the_plane_in_polygons():
    ax = plot.linear_regions(trained(), ((-3, 3), (-2, 4)))
    [cells] = ax.collections
    made = pieces(trained(), ((-3, 3), (-2, 4)))
    assert len(cells.get_paths()) == len(made.cells) == int(ax.get_title().split()[0])
    assert cells.get_array().tolist() == made.active.tolist()
    assert (ax.get_xlim(), ax.get_ylim()) == ((-3.0, 3.0), (-2.0, 4.0))
    assert ax.figure.axes[-1].get_ylabel() == "active units"


def test_too_many_regions(monkeypatch):
    monkeypatch.setattr("microgad.viz.plot.pieces.LIMIT", 200)
    with pytest.raises(GraphSizeError, match="more than 200 linear regions: choose narrower bounds"):
        plot.linear_regions(folding(4), (-1e4, 1e4))


@pytest.mark.parametrize(
    ("sizes", "bound"),
    [
        *(((10, 1, k), 11**k) for k in (1, 2, 3, 4, 5)),
        ((3, 2, 1), 7),
        ((3, 2, 2), 28),
        ((50, 10, 5), 179562019186562049740867382427559978336256),
    ],
)
def test_the_bound(sizes, bound):
    """The numbers of lecture 003: 161051 for five layers of ten units, and more than 10⁴⁰."""
    assert plot.region_bound(*sizes) == bound

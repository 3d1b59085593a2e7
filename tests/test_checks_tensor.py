"""`check_grads` of arrays and trees: right derivatives pass, wrong ones are found, down to the number that is wrong."""

import math
import random
import re
from collections import namedtuple
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from test_tensor_rows import CASES

import microgad as mg
from microgad import Tensor, Value
from microgad.checks import check_grads, slopes
from microgad.errors import GradCheckError, InputError
from microgad.primitives import TABLE
from microgad.probes import DIRECTIONS, EACH, SAMPLE, Probes
from microgad.structural import ROWS, index, item, matmul, mean, product, softmax, stack, total

RNG = np.random.default_rng(0)
W, B, X = RNG.normal(size=(3, 2)), RNG.normal(size=2), RNG.normal(size=(4, 3))
BIG = RNG.normal(size=(40, 30))
FAR = RNG.normal(size=50) * 1e6
Params = namedtuple("Params", "w b")


def loss(p, x):
    return (mg.tanh(x @ p["w"] + p["b"]) ** 2).mean()


def cut(x, at):
    """The same numbers, with the derivative by one of them halved."""
    mask = np.zeros(x.shape)
    mask[at] = 0.5
    return x * (1.0 - mask) + Tensor(x.data * mask)


RIGHT = {
    "a dict": (loss, ({"w": W, "b": B}, X), 2),
    "Tensors": (loss, ({"w": Tensor(W), "b": Tensor(B, requires_grad=True)}, Tensor(X)), 1),
    "lists and tuples": (lambda p: (p[0] @ p[1][0]).sum() * p[1][1], ([W, (B, 2.0)],), 2),
    "a named tuple": (lambda p: mg.exp(p.w @ p.b).sum(), (Params(W, B),), 1),
    "an array alone": (lambda x: mg.logsumexp(x * x), B, 3),
    "a dict alone": (lambda p: p["a"] * p["b"].sum(), {"a": 2.0, "b": B}, 2),
    "None in a tree": (lambda p: mg.nn.linear(X, p["w"], p["b"]).sum(), ({"w": W.T, "b": None},), 1),
    "a Tensor of one number": (lambda x: x * x * x, Tensor(2.0), 2),
    "in one axis": (lambda x: x**3, np.array([[2.0]]), 2),
    "numbers and arrays": (lambda v, x: mg.stack([v, v * x[0]]) @ x, (Value(2.0), B), 2),
    "a number taken from an array": (lambda x: mg.unbind(x)[0] ** 3, B, 2),
    "single precision, checked in double": (lambda x: mg.exp(x).sum(), B.astype(np.float32), 2),
    "integers": (lambda x: (x**3).sum(), np.array([1, 2, 3]), 2),
    "several numbers": (lambda x: mg.tanh(x @ W), X, 2),
    "several numbers of a number": (lambda v: mg.stack([v, v * v, mg.exp(v)]), 0.5, 2),
    "a constant": (lambda x: 5.0, B, 2),
    "methods": (lambda x: x.tanh().reshape(2, 1).T.flatten().max(), B, 2),
    "where no number counts": (lambda x, y: (x * 0.0).sum() + y, (X, 2.0), 2),
    "a large array": (lambda x: mg.softmax(x)[:, 0].sum(), BIG, 2),
    "many large numbers": (lambda x: mg.tanh(x - FAR).sum(), FAR + 0.1, 1),  # steps along a direction are rounded
    "a derivative": (lambda x: mg.grad(lambda z: mg.tanh(z).sum())(x).sum(), B, 1),
    "order 3 of more numbers than are all checked": (lambda x: (x**3).sum(), np.linspace(0.5, 2.0, 7), 3),
    "nearly cancelling": (lambda x: (1e7 * mg.exp(x - x) + mg.tanh(x)).sum() - 2e7, B, 1),
    "products of large numbers that cancel": (lambda x: (x @ [[1e7], [-1e7]]).sum() * 1e-3, np.array([1.0, 1.0]), 1),
}


@pytest.mark.parametrize(("f", "args", "order"), RIGHT.values(), ids=RIGHT)
def test_right_derivatives_pass(f, args, order):
    assert check_grads(f, args, order) is None


def test_a_network_with_two_thousand_numbers():
    rng = np.random.default_rng(1)
    sizes = [10, 40, 30, 3]
    layers = [(rng.normal(size=(n, m)) * 0.3, np.zeros(m)) for n, m in pairwise(sizes)]
    x, y = rng.normal(size=(16, 10)), np.arange(16) % 3

    def network(layers, wrong=0.0):
        h = x
        for w, b in layers:
            h = mg.tanh(h @ w + b)
        return mg.nn.cross_entropy(h, y) + wrong * (layers[1][0].data[7, 9] * layers[1][0][7, 9])

    check_grads(network, [layers], 1)
    with pytest.raises(GradCheckError, match=r"by layers\[1\]\[0\]\[7, 9\] \(argument 0\[1\]\[0\]\[7, 9\]\), order 1,"):
        check_grads(lambda layers: network(layers, wrong=0.01), [layers], 1)


# ---- rows of the table, on arrays


def small_cases(name, most):
    """Cases with few numbers, all of which move, some in the result, in double precision, and no ties."""
    found = [case for case in CASES if case.row.name == name and 0 < sum(map(math.prod, case.shapes)) <= most]
    found = [case for case in found if not case.still]
    found = [case for case in found if case.weights.size and case.params.get("to") != np.float32]
    return [case for case in found if name not in ("max", "min") or len(set(case.numbers[0].flat)) > 1]


@pytest.mark.parametrize("name", ROWS)
def test_every_structural_row_passes(name):
    found = small_cases(name, 12)
    for case in random.Random(name).sample(found, min(len(found), 3)):
        row = case.row.given(**case.params) if case.params else case.row
        check_grads(row, tuple(case.numbers), order=1)
    check_grads(row, tuple(case.numbers), order=2)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.still and all(case.shapes[0])], ids=lambda case: case.id
)
def test_rows_with_operands_that_do_not_move(case):
    check_grads(case, tuple(case.numbers), order=2)
    check_grads(case.row.given(**case.params), (*case.numbers, *case.still), order=1)


def off(rule):
    return lambda *args, **params: rule(*args, **params) * 1.0001


@pytest.mark.parametrize("name", [name for name in ROWS if name not in ("stack", "concatenate")])
def test_every_structural_row_fails_with_a_rule_a_little_off(name):
    case = next(case for case in small_cases(name, 40) if all(case.shapes))
    row, point = case.row.given(**case.params) if case.params else case.row, tuple(case.numbers)
    for i in range(len(row.vjp)):
        vjp = (*row.vjp[:i], off(row.vjp[i]), *row.vjp[i + 1 :])
        with pytest.raises(GradCheckError, match=rf" {name}.* by .*\(argument {i}\[.*\]\), order 1, at .*: wrong"):
            check_grads(replace(row, vjp=vjp, quick=()), point, 1)
        jvp = (*row.jvp[:i], off(row.jvp[i]), *row.jvp[i + 1 :])
        with pytest.raises(
            GradCheckError, match=rf"the row {name}, at .*: its jvp and its vjp by operand {i} are not of"
        ):
            check_grads(replace(row, jvp=jvp), point, 1)


@pytest.mark.parametrize("name", ["exp", "mul", "where", "relu", "pow"])
def test_elementwise_rows_on_arrays(name):
    row = TABLE[name]
    point = [np.array([0.3, 1.2, 0.7]), np.array([[1.5], [0.4]]), 2.0][: len(row.partials)]
    check_grads(row, tuple(point))
    rule = row.partials[0] if callable(row.partials[0]) else lambda y, *x: 0.0 * y + 1e-3
    with pytest.raises(GradCheckError, match=rf" {name}.* by \w*\[0\] \(argument 0\[0\]\), order 1"):
        check_grads(replace(row, partials=(off(rule), *row.partials[1:]), quick=()), tuple(point))


def row_of(**fields):
    """A row on whole arrays that adds up twice each number, with some of its parts replaced."""
    fields = {
        "vjp": (lambda g, y, x: _twice_back(g, x),),
        "jvp": (lambda t, y, x: _twice(t),),
        "text": "twice({})",
        "latex": "2{}",
        "quick": (),
        **fields,
    }
    return replace(mean, name="twice", array=lambda x: 2.0 * np.sum(x), params={}, **fields)


def _twice(x):
    return total.given(axis=None, keepdims=False)(x) * 2.0


def _twice_back(g, x):
    return mg.structural.broadcast_to.given(to=mg.structural.shape(x))(g * 2.0)


BROKEN = {
    "nothing": ({}, None),
    "no jvp": ({"jvp": (None,)}, "its jvp by operand 0 fails: "),
    "a jvp of another function": ({"jvp": (lambda t, y, x: _twice(t) * 0.5,)}, "are not of one derivative"),
    "a quick rule of its own": ({"quick": (lambda g, y, x: np.full(x.shape, 3.0 * g),)}, r"by .*, order 1, .*: wrong"),
    "a vjp that only a second derivative would use": (
        {"quick": (lambda g, y, x: np.full(x.shape, 2.0 * g),), "vjp": (lambda g, y, x: _twice_back(g, x) * 1.5,)},
        "its quick rule by operand 0 is not its vjp",
    ),
    "no operand in the text": ({"text": "twice"}, "its templates 'twice' and '2{}' do not fill with 1 operands"),
    "no operand in the LaTeX": ({"latex": "2"}, "its templates .* do not fill with 1 operands"),
    "other numbers on nodes": ({"vjp": (lambda g, y, x: _twice_back(g, x) * 2.0,)}, r"order 1, .*: wrong"),
}


@pytest.mark.parametrize(("fields", "message"), BROKEN.values(), ids=BROKEN)
def test_a_row_against_itself(fields, message):
    if message is None:
        return check_grads(row_of(**fields), B)
    with pytest.raises(GradCheckError, match=message):
        check_grads(row_of(**fields), B, 1)


@pytest.mark.parametrize(
    ("row", "args"),
    [
        (stack.given(axis=0), (1.0, 2.0)),
        (mean.given(axis=None, keepdims=True), 3.0),
        (stack.given(axis=1), (B, B + 1.0, 2.0 * B)),
        (item.given(at=(1, 0)), (W,)),
        (index.given(key=(np.array([0, 0, 2]), slice(None))), (W,)),
        (product.given(axis=(0,), keepdims=True), np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])),
        (softmax.given(axis=None), W),
        (matmul, (W.T, W)),
    ],
)
def test_structural_rows(row, args):
    check_grads(row, args, order=2)


# ---- what is wrong is named


def test_the_message():
    def product(p, x):
        return (p["w"] * cut(x, (1, 0))).sum()

    with pytest.raises(GradCheckError) as caught:
        check_grads(product, ({"w": np.array([[2.0], [3.0]])}, np.array([[0.5], [0.25]])))
    assert re.fullmatch(
        r"the derivative of product by x\[1, 0\] \(argument 1\[1, 0\]\), order 1, at "
        r"\{'w': \[\[2\], \[3\]\]\}, \[\[0\.5\], \[0\.25\]\], where that is 0\.25: wrong\n"
        r"got 1\.5 by backpropagation, expected (3\.0|2\.9)\d* ± \de-1\d by finite differences\n"
        r"difference 1\.5, tolerance 4e-06",
        str(caught.value),
    )


WRONG = {
    "in a dict": (lambda p: (cut(p["w"], (2, 1)) ** 2).sum(), ({"w": W},), 1,
                  r"by p\['w'\]\[2, 1\] \(argument 0\['w'\]\[2, 1\]\), order 1,"),
    "in a list of lists": (lambda p: p[0][1].data * p[0][1] * p[1], ([[1.0, 2.0], 3.0],), 1,
                           r"by p\[0\]\[1\] \(argument 0\[0\]\[1\]\), order 1"),
    "in a field": (lambda p: (cut(p.b, 0) * p.w).sum(), (Params(W, B),), 1, r"by p\S*\[0\] \(argument 0\S*\[0\]\), o"),
    "in the second derivative": (lambda x: (half(x)).sum(), B, 2,
                                 r"by x\[1\] \(argument 0\[1\]\), then by x\[1\] \(argument 0\[1\]\), order 2,"),
    "of several numbers": (lambda x: cut(x, 1) * 2.0, B, 1,
                           r"of the sum of the numbers of f, times fixed weights, by x\[1\] \(argument 0\[1\]\), o"),
    "without a name": (lambda *xs: cut(xs[1], 0).sum(), (W, B), 1, r"of f by argument 1\[0\], order 1"),
    "a number beside arrays": (lambda x, v: (x * v.data * v).sum(), (B, 2.0), 1, r"by v \(argument 1\), order 1"),
    "a kink": (lambda x: mg.relu(x).sum(), np.array([1.0, 0.0]), 1, r"by x\[1\] .* where that is 0\.0: a kink: the "),
    "a tie": (lambda x: x.max(), np.array([1.0, 1.0]), 1, r"by x\[0\] .*: a kink"),
    "a domain": (lambda x: mg.sqrt(x).sum(), np.array([1.0, 0.0]), 1, r"by x\[1\] .* values on both sides of the"),
    "nan": (lambda x: mg.log(x).sum(), np.array([1.0, -1.0]), 1, r"the function is nan at \(\[1, -1\],\)"),
    "one nan": (lambda x: mg.log(x), np.array([1.0, -1.0]), 1, r"the function is nan at"),
    "infinite": (lambda x: mg.exp(x).sum(), np.array([1.0, 1000.0]), 1, r"the function is inf at"),
    "a large array": (lambda x: cut(x, (17, 23)).sum(), BIG, 1,
                      r"by x\[17, 23\] \(argument 0\[17, 23\]\), order 1, at array\(40, 30\), where that is "),
}  # fmt: skip


def half(x):
    """Numbers whose first derivative is right, and the second one that of half of it."""
    return HALF(x)


HALF = replace(
    TABLE["tanh"], name="half", scalar=lambda x: x**3, array=lambda x: x**3,
    partials=(lambda y, x: 3.0 * mg.where(mg.equal(x, B[1]), x * getattr(x, "data", x), x * x),), quick=(),
)  # fmt: skip


@pytest.mark.parametrize(("f", "args", "order", "message"), WRONG.values(), ids=WRONG)
def test_wrong_ones_fail(f, args, order, message):
    with pytest.raises(GradCheckError, match=message):
        check_grads(f, args, order)
    if order > 1:
        check_grads(f, args, order - 1)


@pytest.mark.parametrize("seed", range(8))
def test_any_number_of_a_large_array_is_found(seed):
    rng = random.Random(seed)
    at = rng.randrange(40), rng.randrange(30)
    with pytest.raises(GradCheckError, match=rf"by x\[{at[0]}, {at[1]}\] \(argument 0\[{at[0]}, {at[1]}\]\)"):
        check_grads(lambda x: (mg.tanh(cut(x, at)) * np.arange(30.0)[::-1] + x).sum(), BIG, 1)


def test_errors_that_cancel_in_one_direction_are_found_in_another():
    def f(x):  # all numbers are wrong, and together they are not
        return (x * x).sum() + (Tensor(x.data) * (x - x.data[::-1])).sum()

    with pytest.raises(GradCheckError, match="order 1"):
        check_grads(f, np.linspace(-1.0, 1.0, 100), 1)


def test_a_function_that_is_not_deterministic():
    rng = random.Random(0)
    with pytest.raises(GradCheckError, match=r"not deterministic: at \(\[1, 2\],\) it gave 2\.53\S+, then 2\.27"):
        check_grads(lambda x: (x * rng.random()).sum(), np.array([1.0, 2.0]))


# ---- the sample


def test_small_points_are_checked_number_by_number():
    probes = Probes(lambda p: p["w"].sum(), ({"w": np.zeros((4, 8))},))
    assert [probe.at for order in (1, 2) for probe in probes.probes(order)] == [*range(EACH)] * 2
    assert len(probes.probes(3)) == 6
    numbers = Probes(lambda *xs: sum(xs), [0.5] * 40)
    assert len(numbers.probes(4)) == 40  # arguments that are numbers are all checked


def test_large_points_are_sampled_and_always_in_the_same_way():
    args = [np.zeros((100, 100)), 1.0, np.zeros(3), np.zeros((0, 4)), np.zeros(50)]
    one, two = (Probes(lambda *xs: xs[1], args).probes(2) for _ in range(2))
    assert [probe.label for probe in one] == [probe.label for probe in two]
    assert len(one) == SAMPLE + DIRECTIONS
    alone = [probe.at for probe in one if probe.at is not None]
    assert alone == sorted(set(alone))
    assert {Probes(lambda *xs: xs[1], args).leaf(i) for i in alone} == {0, 1, 2, 4}
    ways = [probe.way for probe in one if probe.way is not None]
    assert all(np.abs(way).min() >= 0.5 and np.abs(way).max() <= 1.0 for way in ways)
    assert all(not np.array_equal(a, b) for i, a in enumerate(ways) for b in ways[:i])


def test_slopes_of_a_tree():
    fine, wrong, kink = slopes(
        lambda p: p[0] * 2.0 + (p[1] * p[1].data)[0] + mg.relu(p[1][1]), ([3.0, np.array([2.0, 0.0])],)
    )
    assert (fine.fault, wrong.fault, kink.fault[:6]) == ("", "wrong", "a kink")
    assert (fine.got, wrong.got) == (2.0, 2.0)
    assert wrong.expected == pytest.approx(4.0)


def test_the_arguments_are_left_alone():
    w = Tensor(W, requires_grad=True, name="w")
    w.grad = np.ones((3, 2))
    array = B.copy()
    seen = set()

    def f(w, b):
        seen.update((type(w).__mro__[-5:-4], isinstance(w, Tensor), isinstance(b, Tensor), w.dtype == float))
        return (w * b).sum()

    check_grads(f, (w, array), 1)
    assert seen >= {True}
    assert False not in seen
    np.testing.assert_array_equal(w.data, W)
    np.testing.assert_array_equal(array, B)
    assert w.grad.tolist() == np.ones((3, 2)).tolist()


def test_no_warning_of_numpy_is_seen():
    check_grads(lambda x: mg.log(x).sum(), np.array([1e-3, 1.0]), 1)  # steps reach beyond 0


# ---- what is not to be checked

REFUSED = [
    (lambda p: p["a"], ({"a": "x"},), r"argument 0\['a'\] is not a number or an array but str 'x'"),
    (lambda p: p, ([1.0, 2j],), r"argument 0\[1\] is not a number or an array but complex 2j"),
    (lambda p: p, (np.array(["a"]),), r"argument 0 is not one number but ndarray"),
    (lambda p: p, ([np.array([object()])],), r"argument 0\[0\] is not a number or an array but ndarray"),
    (lambda p: 1.0, ([],), r"one finite number or more, not at \(\[\],\)"),
    (lambda p: p.sum(), (np.zeros((0, 3)),), r"one finite number or more"),
    (lambda p: p.sum(), (np.array([1.0, math.inf]),), r"one finite number or more, not at \(\[1, inf\],\)"),
    (lambda p, q: p.sum(), (B,), r"no function of 1 arguments: missing a required argument: 'q'"),
    (lambda p: (p, p), (B,), r"the result of the function is not one number but tuple"),
    (lambda p: p.data, (B,), r"the result of the function is not one number but ndarray"),
    (lambda p: p[:0], (B,), r"the result of the function is not one number but Tensor"),
    (lambda p: None, (B,), r"the result of the function is not one number but NoneType"),
]


@pytest.mark.parametrize(("f", "args", "message"), REFUSED)
def test_refused(f, args, message):
    with pytest.raises(InputError, match=message):
        check_grads(f, args)

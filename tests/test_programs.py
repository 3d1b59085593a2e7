"""Programs of regular and irregular patterns: regrouped, differentiated, written, drawn; and the rows that they add."""

import builtins
import itertools
import math
import operator
import random
from functools import reduce

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value, nn, viz
from microgad.errors import DomainError, GraphSizeError, MicrogadError
from microgad.nn import scalar
from microgad.replay.rows import assemble, block, place, place_of, results, spelled, view, window

INF, NAN = math.inf, math.nan
RNG = np.random.default_rng(1)


def numbers(*shape):
    return RNG.normal(size=shape).tolist()


def dot(w, x):
    return sum(a * b for a, b in zip(w, x, strict=True))


def leaves(tree):
    return mg.tree_flatten(tree)[0]


def plain(x):
    return x.data if isinstance(x, (Value, Tensor)) else x


def agree(got, want, rtol=1e-11):
    """Lists of numbers that agree by the largest; nan and inf where they were."""
    got, want = (np.array([0.0 if x is None else plain(x) for x in xs], float) for xs in (got, want))
    finite = np.abs(want[np.isfinite(want)])
    np.testing.assert_allclose(got, want, rtol, rtol * max(1e-3, float(np.max(finite, initial=0.0))))


# ---- patterns of numbers

PATTERNS = {}


def pattern(*args):
    def known(f):
        PATTERNS[f.__name__] = (f, args)
        return f

    return known


W, B, X = numbers(6, 5), numbers(6), numbers(7, 5)


@pattern(W, B, X)
def minibatch(w, b, xs):
    return sum(mg.tanh(dot(row, x) + c) for x in xs for row, c in zip(w, b, strict=True))


@pattern(W, X)
def dots_backwards(w, xs):
    return sum(mg.relu(dot(row[::-1], x[::-1])) for x in xs for row in w)


@pattern(W, X)
def dots_the_other_way_round(w, xs):
    return sum(mg.sin(dot(x, row)) for row in w for x in xs)


@pattern(W, X)
def dots_with_factors_in_any_order(w, xs):
    return sum(
        mg.sin(sum(b * a if i % 2 else a * b for i, (a, b) in enumerate(zip(row, x, strict=True))))
        for row in w
        for x in xs
    )


@pattern(W, X)
def dots_in_another_order_each(w, xs):
    shuffle, out = random.Random(0).shuffle, 0.0
    for row, x in itertools.product(w, xs):
        order = list(range(5))
        shuffle(order)
        out = out + mg.sin(sum(row[i] * x[i] for i in order))
    return out


@pattern(W, numbers(5), B)
def dots_of_blocks(w, x, b):
    return sum(mg.relu(dot(row[1:4], x[1:4]) + c) for row, c in zip(w, b, strict=True))


@pattern(W, numbers(5), B)
def rows_in_disorder(w, x, b):
    order = [(3, 0), (1, 5), (0, 2), (5, 1), (2, 4), (4, 3)]
    return sum(mg.relu(dot(w[i], x) + b[j]) * (k + 1.0) for k, (i, j) in enumerate(order))


@pattern(W, numbers(5))
def rows_several_times(w, x):
    return [dot(w[i // 2], x) for i in range(12)]


@pattern(numbers(32))
def tree_of_sums(xs):
    xs = [mg.sin(x) for x in xs]
    while len(xs) > 1:
        xs = list(map(operator.add, xs[::2], xs[1::2]))
    return xs[0]


@pattern(numbers(33))
def tree_of_sums_of_an_odd_number(xs):
    xs = [mg.sin(x) for x in xs]
    while len(xs) > 1:
        xs = list(map(operator.add, xs[:-1:2], xs[1::2])) + xs[-1:] * (len(xs) % 2)
    return xs[0]


@pattern(numbers(20))
def sum_from_the_right(xs):
    return reduce(lambda total, x: x + total, xs[::-1]) ** 2


@pattern(numbers(20))
def alternating_signs(xs):
    return sum((x if i % 2 else -x) * mg.exp(x) for i, x in enumerate(xs))


@pattern(numbers(20))
def chain_of_minus(xs):
    return reduce(lambda total, x: total - mg.sin(x), xs) ** 2


@pattern(numbers(20))
def windows_with_weights_that_are_numbers(xs):
    return sum(mg.tanh(dot(xs[i : i + 5], [1.0, 2.0, 3.0, 2.0, 1.0])) for i in range(16))


@pattern(numbers(41), numbers(3))
def windows_with_holes(xs, kernel):
    return sum(mg.tanh(dot(kernel, xs[i : i + 5 : 2])) for i in range(36))


@pattern(numbers(6, 6), numbers(3, 3))
def windows_of_a_picture(x, kernel):
    return sum(
        mg.relu(sum(kernel[a][b] * x[i + a][j + b] for a in range(3) for b in range(3)))
        for i in range(4)
        for j in range(4)
    )


@pattern(numbers(20))
def one_lane_is_another_function(xs):
    return sum((mg.sin(x) if i != 7 else mg.cos(x)) * x for i, x in enumerate(xs))


@pattern(numbers(20))
def one_lane_is_shorter(xs):
    return sum(mg.tanh(sum(xs[j] * xs[j + 1] for j in range(i, i + (3 if i != 5 else 2)))) for i in range(16))


@pattern(numbers(20))
def constants_by_place(xs):
    return sum((i + 1.0) * x**2 + mg.sin(x * (0.1 * i)) - i for i, x in enumerate(xs))


@pattern(numbers(20))
def exponents_by_place(xs):
    return sum(x ** (i % 4) for i, x in enumerate(xs))


@pattern(numbers(4))
def few_numbers_in_many_lanes(xs):
    return sum(mg.sin(xs[i % 4] * xs[(i * i) % 4]) for i in range(40))


@pattern(1.3, numbers(20))
def one_number_in_all_lanes(c, xs):
    return sum(mg.tanh(c * x + c) for x in xs)


@pattern(numbers(12))
def all_pairs(xs):
    return sum(mg.sin(a - 0.5 * b) for a in xs for b in xs)


@pattern(numbers(12))
def pairs_above_the_diagonal(xs):
    return sum(mg.sin(a * b) for i, a in enumerate(xs) for b in xs[i:])


@pattern(numbers(5, 5))
def a_matrix_times_its_transposed(a):
    return sum(mg.sin(dot(one, other)) for one in a for other in a)


@pattern(numbers(5, 5))
def a_matrix_times_itself(a):
    return sum(mg.sin(dot(row, column)) for row in a for column in zip(*a, strict=True))


@pattern(numbers(3, 4, 5), numbers(3, 5, 2))
def products_of_a_batch(a, b):
    return sum(
        mg.sin(dot(row, column)) for x, y in zip(a, b, strict=True) for row in x for column in zip(*y, strict=True)
    )


@pattern(numbers(30))
def rosenbrock(xs):
    return sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in itertools.pairwise(xs))


@pattern(numbers(4, 4), numbers(4), numbers(8, 4))
def recurrence(u, h, xs):
    for x in xs:
        h = [mg.tanh(dot(row, h) + e) for row, e in zip(u, x, strict=True)]
    return sum(h)


@pattern(numbers(12))
def scan(xs):
    h, out = 0.0, []
    for x in xs:
        h = 0.5 * h + x
        out.append(mg.tanh(h))
    return sum(out)


@pattern(numbers(5, 4))
def entropy_of_rows(rows):
    exps = [[mg.exp(x) for x in row] for row in rows]
    return -sum(mg.log(row[i % 4] / sum(row)) for i, row in enumerate(exps)) / 5.0


@pattern(numbers(20))
def standardized(xs):
    mean = sum(xs) / 20.0
    spread = (sum((x - mean) ** 2 for x in xs) / 20.0 + 1e-5) ** 0.5
    return sum(((x - mean) / spread) ** 3 for x in xs)


@pattern(numbers(20))
def kinks(xs):
    return sum(
        mg.where(x > 0.0, x * x, -x) + mg.maximum(x, 0.3) + mg.minimum(x, y) + mg.clip(x, -0.5, 0.5)
        for x, y in zip(xs, xs[::-1], strict=True)
    )


@pattern(numbers(16))
def only_sums(xs):
    return sum(xs) + sum(x * 2.0 for x in xs) - sum(xs[3:9])


@pattern(numbers(5), numbers(5))
def a_table_transposed(a, b):
    return [[x * y for x in a] for y in b]


@pattern(numbers(20))
def results_in_disorder(xs):
    ys = [mg.sin(xs[(7 * i) % 20]) for i in range(20)]
    return ys + ys[::-1] + [ys[0], xs[0], sum(ys)]


@pattern(numbers(20))
def arguments_that_come_out(xs):
    return xs


each_pattern = pytest.mark.parametrize("name", PATTERNS)
of_one_number = pytest.mark.parametrize(
    "name", [name for name, (f, args) in PATTERNS.items() if not isinstance(f(*args), list)]
)


def with_backward(f, args):
    """All results as one list, and the gradients of their weighted sum."""
    given = [mg.tree_map(Value, x) for x in args]
    out = leaves(f(*given))
    total = sum(x * (k + 1.0) for k, x in enumerate(out))
    total.backward()
    return [x.data for x in out], [x.grad for x in leaves(given)]


def elsewhere(args):
    return mg.tree_map(lambda x: abs(x) * 0.7 + 0.2, list(args))


@each_pattern
def test_under_jit_values_and_gradients_are_those_of_the_function(name):
    f, args = PATTERNS[name]
    jitted = mg.jit(f)
    for given in (args, elsewhere(args), args):
        for got, want in zip(with_backward(jitted, given), with_backward(f, given), strict=True):
            agree(got, want)
    assert "traced once" in jitted.explain()


@each_pattern
def test_programs_answer_as_the_function(name):
    f, args = PATTERNS[name]
    program = mg.trace(f, *args)
    regrouped = program.regrouped()
    for given in (args, elsewhere(args)):
        want = f(*given)
        for way in (program, regrouped, mg.jit(f)):
            got = way(*given)
            assert mg.tree_flatten(got)[1] == mg.tree_flatten(want)[1]
            agree(leaves(got), leaves(want))
    assert len(regrouped) <= max(len(program), 1)


@of_one_number
def test_gradients_and_regrouping_go_in_any_order(name):
    f, args = PATTERNS[name]
    program, given = mg.trace(f, *args), elsewhere(args)
    want = leaves(mg.grad(f, tuple(range(len(args))))(*given))
    for way in (
        program.gradient(),
        program.regrouped().gradient(),
        program.gradient().regrouped(),
        program.regrouped().gradient().regrouped(),
    ):
        agree(leaves(way(*given)), want)
        assert str(way).startswith(f"{name}(")


@of_one_number
def test_derivatives_of_derivatives(name):
    f, args = PATTERNS[name]
    by, given = tuple(range(len(args))), elsewhere(args)

    def twice(f):
        def total(*xs):
            return sum(x * (k % 7 + 1.0) for k, x in enumerate(leaves(mg.grad(f, by)(*xs))))

        return mg.grad(total, by)

    want = leaves(twice(f)(*given))
    agree(leaves(mg.jit(twice(f))(*given)), want, rtol=1e-9)
    agree(leaves(twice(mg.jit(f))(*given)), want, rtol=1e-9)


def only_numpy(name, *args, **kwargs):
    assert name in ("numpy", "math"), f"the text imports {name}"
    return __import__(name, *args, **kwargs)


def run_alone(source, *args):
    """Run a text in which nothing is known but NumPy."""
    space = {"__builtins__": {**vars(builtins), "__import__": only_numpy}}
    exec(source, space)
    [name] = [line[4 : line.index("(")] for line in source.splitlines() if line.startswith("def ")][-1:]
    return space[name](*args)


@of_one_number
def test_python_alone_gives_value_and_derivatives(name):
    f, args = PATTERNS[name]
    given = elsewhere(args)
    value, slopes = mg.value_and_grad(f, tuple(range(len(args))))(*given)
    got, found = run_alone(mg.trace(f, *args).to_python(), *leaves(given))
    agree([got, *found], [value, *leaves(slopes)])


@each_pattern
def test_python_of_a_regrouped_program(name):
    f, args = PATTERNS[name]
    regrouped = mg.trace(f, *args).regrouped()
    given = [x.example if x.type is None else np.array(x.example) for x in regrouped.arguments]
    found = run_alone(regrouped.to_python(), *given)
    want = leaves(f(*args))
    if len(want) > 1:
        agree(found, want)
        return
    agree([found[0]], want)
    slopes = np.concatenate([np.ravel(x) for x in (found[1] if isinstance(found[1], tuple) else [found[1]])])
    agree(np.sort(slopes), np.sort(leaves(mg.grad(f, tuple(range(len(args))))(*args))))


SPECIAL = (0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, 5e-324, 1e-200)


def outcome(f, *args):
    """What comes out, or which error."""
    with np.errstate(all="ignore"):
        try:
            return f(*args)
        except MicrogadError as error:
            return error


@each_pattern
def test_a_few_special_numbers_among_others(name):
    f, args = PATTERNS[name]
    jitted = mg.jit(f)
    with_backward(jitted, args)
    flat, structure = mg.tree_flatten(list(args))
    draw = random.Random(name)
    for _ in range(12):
        some = list(flat)
        for _ in range(draw.choice([1, 1, 2, 3])):
            some[draw.randrange(len(some))] = draw.choice(SPECIAL)
        given = mg.tree_unflatten(structure, some)
        want, got = outcome(with_backward, f, given), outcome(with_backward, jitted, given)
        if isinstance(want, Exception):
            assert type(got) is type(want)
            continue
        for x, y in zip(got, want, strict=True):
            agree(x, y)


def test_what_no_result_needs_has_no_gradient():
    def f(xs):
        return sum(mg.sin(x) for x in xs[::2])

    xs = [Value(0.1 * k) for k in range(40)]
    mg.jit(f)(xs).backward()
    assert [x.grad is None for x in xs] == [False, True] * 20


# ---- errors on one lane

UNDEFINED = {
    "log": (mg.log, -1.0),
    "log of 0": (mg.log, 0.0),
    "sqrt": (mg.sqrt, -1.0),
    "div": (lambda x: 1.0 / x, 0.0),
    "pow": (lambda x: x**0.5, -2.0),
    "pow of 0": (lambda x: x**-1, 0.0),
    "pow by a number": (lambda x: (2.0 * x) ** x, -1.5),
    "sin": (mg.sin, INF),
    "cos": (mg.cos, -INF),
}
NO_SLOPE = {"sqrt": (mg.sqrt, 0.0), "pow": (lambda x: x**0.5, 0.0)}
OVER = {
    "list": lambda f: lambda xs: [f(x) for x in xs],
    "sum": lambda f: lambda xs: sum(f(x) * x for x in xs),
    "deep": lambda f: lambda xs: sum(mg.tanh(f(x + 0.0)) * mg.exp(-x * x) for x in xs),
}


def good(lane, bad):
    xs = [Value(1.5 + 0.1 * k, f"x{k}") for k in range(20)]
    if lane is not None:
        xs[lane] = Value(bad, "odd")
    return xs


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("what", UNDEFINED)
def test_a_number_outside_of_a_domain_in_one_lane(what, over):
    row, bad = UNDEFINED[what]
    f = OVER[over](row)
    jitted = mg.jit(f)
    jitted(good(None, bad))
    assert "on arrays" in jitted.explain()
    for lane in (0, 7, 19):
        want = outcome(f, good(lane, bad))
        assert type(want) is DomainError
        assert "odd" in str(want)
        assert str(outcome(jitted, good(lane, bad))) == str(want)
    agree(leaves(jitted(good(None, bad))), leaves(f(good(None, bad))))


@pytest.mark.parametrize("what", UNDEFINED)
def test_programs_outside_of_a_domain(what):
    row, bad = UNDEFINED[what]
    for over in OVER.values():
        program = mg.trace(over(row), [1.5] * 20)
        for way in (program, program.regrouped(), mg.trace(over(row), [Value(1.5)] * 20).regrouped()):
            for lane in (0, 19):
                with pytest.raises(DomainError, match="is undefined"):
                    way([x.data for x in good(lane, bad)])
            way([1.5] * 20)


@pytest.mark.parametrize("what", NO_SLOPE)
@pytest.mark.parametrize("lane", [0, 7, 19])
def test_a_derivative_that_does_not_exist_in_one_lane(what, lane):
    row, bad = NO_SLOPE[what]

    def f(xs):
        return sum(row(x) for x in xs)

    def backward(f):
        xs = good(lane, bad)
        f(xs).backward()

    jitted, of_grad = mg.jit(f), mg.jit(mg.grad(f))
    jitted(good(None, bad)).backward()
    of_grad(good(None, bad))
    want = outcome(backward, f)
    assert "the derivative of" in str(want)
    assert "odd" in str(want)
    assert str(outcome(backward, jitted)) == str(want)
    with pytest.raises(DomainError):
        of_grad(good(lane, bad))
    with pytest.raises(DomainError):
        mg.jit(mg.grad(f))([x.data for x in good(lane, bad)])  # the first call, which traces
    with pytest.raises(DomainError):
        mg.trace(f, [1.5] * 20).regrouped().gradient()([x.data for x in good(lane, bad)])


@pytest.mark.parametrize("xs", [[1.0, -1.0], [-1.0, 1.0]])
def test_vmap_of_an_example_outside_of_a_domain_is_an_error_wherever_it_stands(xs):
    first, later, of_grad = mg.vmap(mg.log), mg.jit(mg.vmap(mg.log)), mg.vmap(mg.grad(mg.sqrt))
    later(np.array([1.0, 2.0]))
    of_grad(np.array([1.0, 2.0]))
    for way in (first, later, of_grad, mg.jit(mg.vmap(mg.sqrt))):
        for given in (xs, np.array(xs)):
            with pytest.raises(DomainError, match="is undefined"):
                way(given)
    np.testing.assert_array_equal(np.isnan(outcome(first, Tensor(xs)).data), np.array(xs) < 0)  # as of Tensors


# ---- slices: views of arrays, and of buffers


def key_of(draw, shape):
    key = []
    for n in shape[: draw.randint(1, len(shape))]:
        what = draw.random()
        if what < 0.2:
            key.append(draw.randrange(-n, n))
        elif what < 0.3:
            key += [None, slice(None)]
        else:
            a, b = sorted((draw.randrange(n + 1), draw.randrange(n + 1)))
            key.append(draw.choice([slice(a, b, draw.choice([None, 2, 3])), slice(None, None, -1), slice(b, None)]))
    return tuple(key)


@pytest.mark.parametrize("seed", range(60))
def test_random_slices(seed):
    draw = random.Random(seed)
    shape = tuple(draw.choice([1, 2, 3, 4, 5]) for _ in range(draw.randint(1, 4)))
    x = np.random.default_rng(seed).normal(size=shape)
    axes = tuple(draw.sample(range(len(shape)), len(shape)))
    one = key_of(draw, [shape[k] for k in axes])
    other = key_of(draw, shape)

    def f(x):
        y = mg.sin(x)
        a, b = y.transpose(axes)[one], y[other]  # which are needed when the numbers of y no longer are
        z = mg.exp(mg.cos(y) * 2.0)
        return (a * a).sum() * z.sum() + (b * 3.0).sum() + (x[other] * 0.5).sum()

    for of, want in ((f, f(x)), (mg.grad(f), mg.grad(f)(x))):
        np.testing.assert_allclose(mg.jit(of)(x), want, 1e-11, 1e-11)
    program = mg.trace(f, x)
    np.testing.assert_allclose(program.regrouped()(x), f(x), 1e-11)
    np.testing.assert_allclose(run_alone(program.to_python(), x)[1], mg.grad(f)(x), 1e-11, 1e-11)
    got = mg.vmap(lambda y: y.transpose(axes)[one] * 2.0)(np.stack([x, x + 1.0]))
    np.testing.assert_array_equal(got, np.stack([x.transpose(axes)[one], (x + 1.0).transpose(axes)[one]]) * 2.0)


@pytest.mark.parametrize("seed", range(40))
def test_layers_whose_weights_lie_anywhere_in_one_array(seed):
    draw = random.Random(seed)
    n, k = draw.choice([(4, 3), (3, 3), (4, 4), (1, 3), (3, 1), (2, 5)])
    offset, wide = draw.randrange(3), k + draw.randrange(3)
    bias, step = offset + draw.choice([k, k, 0, 1, wide]), draw.choice([wide, wide, 1, 2])
    many, turned = draw.choice([None, 5, n]), draw.random() < 0.5
    rng = np.random.default_rng(seed)
    p, x = rng.normal(size=60), rng.normal(size=k if many is None else (many, k) if turned else (k, many))

    def f(p, x):
        w = p[offset : offset + n * wide].reshape(n, wide)[:, :k]
        b = p[bias : bias + (n - 1) * step + 1 : step]
        if many is None:
            return mg.sin(x @ w.T + b if turned else w @ x + b).sum()
        return mg.sin(x @ w.T + b if turned else w @ x + b[:, None]).sum()

    want = [f(p, x), *mg.grad(f, (0, 1))(p, x)]
    jitted = mg.jit(f)
    for got in (
        [jitted(p, x), *mg.grad(jitted, (0, 1))(p, x)],
        [mg.jit(f)(p, x), *mg.jit(mg.grad(f, (0, 1)))(p, x)],
        [f(p, x), *mg.trace(f, p, x).gradient()(p, x)],
    ):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, 1e-11, 1e-11)


# ---- the rows that only programs have


def a_view(draw):
    """A random slice of a random array as a view of its numbers: of which size, where, and what NumPy gives."""
    shape = tuple(draw.choice([1, 2, 3, 5]) for _ in range(draw.randint(1, 4)))
    cut = tuple(slice(a, b, draw.choice([1, 2, 3])) for a, b in (sorted(draw.sample(range(n + 1), 2)) for n in shape))
    flat = np.arange(float(np.prod(shape, dtype=int)))
    found = flat.reshape(shape)[cut].transpose(draw.sample(range(len(shape)), len(shape)))
    offset = int(found.flat[0])
    return flat, offset, tuple(s // 8 for s in found.strides), found


@pytest.mark.parametrize("seed", range(100))
def test_views_are_spelled_as_slices(seed):
    flat, offset, strides, found = a_view(random.Random(seed))
    np.testing.assert_array_equal(window(flat, offset, strides, found.shape), found)
    seen = eval(spelled("p", offset, strides, found.shape, flat.size), {"p": flat, "np": np})
    np.testing.assert_array_equal(seen, found)
    text = block("p", offset, strides, found.shape, flat.size)  # where one writes into it, it has to be a view
    if text is not None:
        assert np.shares_memory(eval(text, {"p": flat}), flat)


@pytest.mark.parametrize("of", [np.arange(20.0)[::2], np.arange(10.0)[::-1], np.arange(12.0).reshape(3, 4).T])
def test_a_window_reads_the_numbers_of_an_array_however_it_lies_in_memory(of):
    want = window(np.array(of).reshape(-1), 1, (2,), (3,))
    np.testing.assert_array_equal(window(of, 1, (2,), (3,)), want)
    np.testing.assert_array_equal(want, np.array(of).reshape(-1)[1:7:2])


def test_the_place_of_an_element():
    of = (3, 1, 4)
    for at in itertools.product((-3, -1, 0, 2), (-1, 0), (-4, 0, 3)):
        assert np.arange(12).reshape(of)[at] == place_of(at, of)


INTERNAL = {
    "a block": (view.given(offset=1, strides=(4, 1), to=(3, 2), size=12), [(12,)]),
    "a column": (view.given(offset=3, strides=(4,), to=(3,), size=12), [(3, 4)]),
    "one number": (view.given(offset=5, strides=(), to=(), size=12), [(12,)]),
    "transposed": (view.given(offset=0, strides=(1, 4), to=(4, 3), size=12), [(3, 4)]),
    "with an axis of 1": (view.given(offset=2, strides=(3, 0), to=(3, 1), size=12), [(12,)]),
    "placed": (place.given(offset=1, strides=(4, 1), of=(12,)), [(3, 2)]),
    "placed in a matrix": (place.given(offset=2, strides=(4,), of=(3, 4)), [(3,)]),
    "two parts": (assemble.given(spots=((0, (4, 1), (3, 2)), (2, (4,), (3,))), of=(12,)), [(3, 2), (3,)]),
    "parts that overlap": (assemble.given(spots=((0, (1,), (4,)), (2, (1,), (4,))), of=(8,)), [(4,), (4,)]),
    "one part": (assemble.given(spots=((3, (2,), (2,)),), of=(2, 4)), [(2,)]),
    "side by side": (results, [(2, 3), (), (4,)]),
}


@pytest.mark.parametrize("name", INTERNAL)
def test_derivatives_of_internal_rows_against_differences(name):
    row, shapes = INTERNAL[name]
    rng = np.random.default_rng(2)
    arrays = [rng.normal(size=of) for of in shapes]
    like = rng.normal(size=np.shape(row(*arrays)))

    def f(*xs):
        out = row(*(mg.sin(x) for x in xs))
        return (out * out * like).sum() if like.ndim else out * out

    mg.check_grads(f, tuple(arrays), order=2)
    by = tuple(range(len(arrays)))
    for got, want in zip(mg.jit(mg.grad(f, by))(*arrays), mg.grad(f, by)(*arrays), strict=True):
        np.testing.assert_allclose(got, want, 1e-12)
    tangents = tuple(np.ones(of) for of in shapes)  # forward mode, which has rules of its own
    got = mg.jvp(f, tuple(arrays), tangents)[1]
    want = sum(np.sum(g) for g in mg.grad(f, by)(*arrays))
    np.testing.assert_allclose(plain(got), want, 1e-12)


@pytest.mark.parametrize(
    "at", [[3, 0, 3, 3], [], [0], [-1, 4, -5], [[0, 1], [1, 0]], np.arange(5)[::-1], [[]], np.arange(1000) % 5]
)
def test_gathers_of_any_places(at):
    at = np.array(at, int)
    x, like = np.linspace(0.3, 1.7, 5), np.random.default_rng(3).normal(size=at.shape)

    def f(x):
        return (mg.sin(x[at]) * like).sum() + (x[at] ** 2).sum()

    with np.errstate(all="raise"):
        np.testing.assert_allclose(mg.jit(f)(x), f(x), 1e-12)
        np.testing.assert_allclose(mg.jit(mg.grad(f))(x), mg.grad(f)(x), 1e-12)
        np.testing.assert_allclose(run_alone(mg.trace(f, x).to_python(), x)[1], mg.grad(f)(x), 1e-12)
    if at.size < 10:
        mg.check_grads(mg.jit(f), (x,), order=2)


# ---- what programs look like


def mlp(*sizes):
    mg.manual_seed(0)
    return scalar.MLP(*sizes)


def test_a_network_of_numbers_is_one_of_matrices():
    program = mg.trace(mlp(3, [4, 5, 2]), [1.0, 2.0, 3.0])
    text = str(program.regrouped())
    lines = [line.split(": ", 1)[1].split(" ", 1)[-1] for line in text.splitlines()[2:-1]]
    for layer in ("W1 @ x + b1", "W2 @ v2 + b2", "W3 @ v4 + b3"):
        assert [line for line in lines if line.endswith(layer)] != []
    assert "  W1: (4, 3) = p[0:16].reshape(4, 4)[:, :3]\n  b1: (4,) = p[3:16:4]" in text
    assert "  W3: (2, 5) = p[41:53].reshape(2, 6)[:, :5]\n  b3: (2,) = p[46:53:6]" in text
    assert text.count(" @ ") == text.count(" = relu(") + 1 == 3


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_a_batch_of_any_size_is_three_products(n):
    model, rng = mlp(3, [4, 4, 2]), np.random.default_rng(0)
    xs = rng.normal(size=(n, 3)).tolist()
    program = mg.trace(lambda xs: sum(y * y for x in xs for y in model(x)), xs)
    regrouped = program.regrouped()
    rows = [step.row.name for step in regrouped.instructions]
    assert rows.count("matmul") == 4  # of three layers, and of the results with themselves
    assert len(regrouped) <= 20 < len(program)
    agree([regrouped(xs)], [program(xs)])


def test_a_length_counts_the_lines_of_a_listing():
    for name in ("minibatch", "rosenbrock", "kinks"):
        f, args = PATTERNS[name]
        for program in (mg.trace(f, *args).regrouped(), mg.trace(f, *args).regrouped().gradient()):
            lines = str(program).splitlines()
            body = [line for line in lines[1:-1] if " = " in line]
            inside = sum(line.count(" @ ") for line in body if " + " in line or " - " in line)
            assert len(program) == len(body) + inside
            assert f"{len(program)} instructions" in lines[0]
            assert repr(program) == str(program)


def test_a_listing_says_all_operands():
    program = mg.trace(lambda x, y: (mg.concatenate([x, y, x]), mg.stack([x, y])), np.ones(3), np.zeros(3))
    assert "concatenate([x, y, x])" in str(program)
    assert "stack([x, y])" in str(program)


def test_derivatives_of_programs_fold_and_share():
    cube = mg.trace(lambda x: x * x * x, 2.0)
    found = [cube(5.0)]
    for _ in range(4):
        cube = cube.gradient()
        found.append(cube(5.0))
    assert found == [125.0, 75.0, 30.0, 6.0, 0.0]
    assert len(cube) == 0
    shared = mg.trace(lambda x: mg.exp(x) * mg.exp(x) + mg.exp(x + 0.0), 0.5)
    assert [step.row.name for step in shared.gradient().instructions].count("exp") <= 2
    unused = mg.trace(lambda x, y: x * 2.0 + (mg.log(y) - mg.log(y)) * 0.0, 1.0, 2.0)
    assert unused.gradient()(1.0, 2.0) == (2.0, 0.0)


@pytest.mark.parametrize("name", ["entropy_of_rows", "rows_in_disorder"])
@pytest.mark.parametrize("way", ["traced", "regrouped", "gradient", "both"])
def test_programs_are_drawn_in_every_way(name, way):
    program = mg.trace(PATTERNS[name][0], *PATTERNS[name][1])
    program = program.regrouped() if way in ("regrouped", "both") else program
    if way in ("gradient", "both"):
        program = program.gradient()
    assert viz.draw(program).source.startswith("digraph")
    assert "flowchart" in str(viz.mermaid(program))
    assert program.name in str(viz.tree(program)) or "results" in str(viz.tree(program))
    try:
        assert str(viz.shapes(program)).startswith("digraph")
    except GraphSizeError:
        assert len(program) > 60  # a picture of so much shows nothing


def test_drawing_a_program_changes_none_of_its_leaves():
    w = Value(2.0, "w")
    w.grad = 7.0
    program = mg.trace(lambda x: mg.tanh(w * x), 0.5)
    viz.draw(program)
    viz.tree(program.gradient())
    assert (w.grad, w.data) == (7.0, 2.0)


def test_a_program_of_tensors_and_modules():
    mg.manual_seed(0)
    model, x, y = nn.MLP(4, [8, 3]), np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 1, 2, 1, 0])
    program = mg.trace(lambda x: nn.cross_entropy(model(x), y), Tensor(x))
    names = [p.name for p in program.parameters]
    assert len(names) == len(list(model.parameters()))
    slopes = program.gradient()(x)
    loss = nn.cross_entropy(model(Tensor(x, requires_grad=True)), y)
    loss.backward()
    for got, parameter in zip(slopes[1:], program.parameters, strict=True):
        np.testing.assert_allclose(got, parameter.node.grad, 1e-11, 1e-14)
    found = run_alone(program.to_python(), x, *(p.node.data for p in program.parameters))
    np.testing.assert_allclose(found[0], loss.data, 1e-12)

"""Numbers that the lectures print or derive by hand: layers, backpropagation, softmax and cross-entropy.

Each is computed on arrays, and where it is small also number by number.
"""

import itertools

import numpy as np
import pytest

import microgad as mg
from microgad import Tensor, Value


def numbers(x):
    """A node, or nested lists of nodes and numbers, as an array."""
    return np.array([numbers(part) for part in x] if isinstance(x, list) else getattr(x, "_value", x), float)


def close(got, want, atol=5e-9):
    """Equal to the eight digits after the point that are written down."""
    got, want = numbers(got), np.array(want, float)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0.0, atol=atol)


def values(array):
    """An array as nested lists of Values."""
    return [values(x) for x in array] if np.ndim(array) else Value(array)


def leaf(array):
    return Tensor(array, requires_grad=True)


def grads(nested):
    return [grads(x) for x in nested] if isinstance(nested, list) else 0.0 if nested.grad is None else nested.grad


def product(a, b):
    """The matrix product, number by number."""
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


# ---- a matrix product: X is (3, 2), W is (2, 3)

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
W = np.array([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]])
Y = [[5.0, 2.0, -1.0], [11.0, 4.0, -3.0], [17.0, 6.0, -5.0]]


def test_a_matrix_product_backward():  # dL/dW = Xᵀ dY, dL/dX = dY Wᵀ, with dY of ones
    x, w = leaf(X), leaf(W)
    y = x @ w
    assert y.tolist() == Y
    y.sum().backward()
    assert w.grad.tolist() == [[9.0, 9.0, 9.0], [12.0, 12.0, 12.0]]
    assert x.grad.tolist() == [[0.0, 3.0], [0.0, 3.0], [0.0, 3.0]]
    upstream = np.arange(9.0).reshape(3, 3)
    out, pullback = mg.vjp(lambda x, w: x @ w, X, W)
    assert out.tolist() == Y
    for got, want in zip(pullback(upstream), (upstream @ W.T, X.T @ upstream), strict=True):
        assert got.tolist() == want.tolist()


def test_a_matrix_product_backward_number_by_number():
    x, w = values(X), values(W)
    y = product(x, w)
    close(y, Y, 0.0)
    sum(itertools.chain(*y)).backward()
    assert grads(w) == [[9.0, 9.0, 9.0], [12.0, 12.0, 12.0]]
    assert grads(x) == [[0.0, 3.0], [0.0, 3.0], [0.0, 3.0]]


# ---- softmax regression: dL/dW = Xᵀ (S - Y) for L = -Σ y log s

SLOPES = [[7.94751106, -2.94986919, -4.99764187], [9.89691269, -3.90162728, -5.99528541]]


@pytest.mark.parametrize(("reduction", "n"), [("sum", 1.0), ("mean", 3.0)])
@pytest.mark.parametrize("targets", [np.eye(3), np.array([0, 1, 2])], ids=["one-hot", "labels"])
def test_softmax_regression(reduction, n, targets):
    w = leaf(W)
    loss = mg.nn.cross_entropy(X @ w, targets, reduction=reduction)
    close(loss, 29.05187476 / n)
    loss.backward()
    close(w.grad, np.array(SLOPES) / n)
    residual = mg.softmax(X @ W) - np.eye(3)
    np.testing.assert_allclose(w.grad, X.T @ residual / n, rtol=0.0, atol=1e-13)


def test_softmax_regression_in_steps():
    w = leaf(W)
    loss = -(np.eye(3) * mg.log(mg.softmax(Tensor(X) @ w))).sum()
    loss.backward()
    close(loss, 29.05187476)
    close(w.grad, SLOPES)


def test_softmax_regression_number_by_number():
    w = values(W)
    loss = Value(0.0)
    for i, logits in enumerate(product(X.tolist(), w)):
        exponentials = [mg.exp(z) for z in logits]
        loss = loss - mg.log(exponentials[i] / sum(exponentials))
    loss.backward()
    close(loss, 29.05187476)
    close(grads(w), SLOPES)


# ---- a net of 2, 2 and 2 neurons worked out by hand: sigmoid, then linear, and L = ½ Σ (t - y)²

W1, B1 = np.array([[0.1, 0.4], [-0.3, 0.2]]), np.array([0.05, -0.1])
W2, B2 = np.array([[0.7, -0.5], [0.6, 0.8]]), np.array([0.0, 0.1])
Y0, TARGET = np.array([1.0, 2.0]), np.array([1.0, 0.0])
WORKED = {
    "z1": [0.95, 0.0],
    "y1": [0.72111518, 0.5],
    "z2": [0.25478062, 0.93266911],
    "loss": 0.71261179,
    "d2": [-0.74521938, 0.93266911],
    "gW2": [[-0.53738900, -0.37260969], [0.67256185, 0.46633455]],
    "d1": [0.00763163, 0.27968624],
    "gW1": [[0.00763163, 0.01526326], [0.27968624, 0.55937249]],
}


def test_a_small_net_worked_out_by_hand():
    w1, b1, w2, b2 = map(leaf, (W1, B1, W2, B2))
    z1 = w1 @ Y0 + b1
    y1 = mg.sigmoid(z1)
    z2 = w2 @ y1 + b2
    loss = 0.5 * ((TARGET - z2) ** 2).sum()
    loss.backward()
    got = {"z1": z1, "y1": y1, "z2": z2, "loss": loss, "d2": z2.grad, "gW2": w2.grad, "d1": z1.grad, "gW1": w1.grad}
    for name, want in WORKED.items():
        close(got[name], want)
    close(b2.grad, WORKED["d2"])  # what comes to a bias is delta itself
    close(b1.grad, WORKED["d1"])
    np.testing.assert_allclose(w2.grad, np.outer(z2.grad, y1.data), rtol=1e-15)
    np.testing.assert_allclose(w1.grad, np.outer(z1.grad, Y0), rtol=1e-15)


def test_a_small_net_number_by_number():
    w1, b1, w2, b2 = map(values, (W1, B1, W2, B2))

    def layer(w, x, b):
        return [sum(p * q for p, q in zip(row, x, strict=True)) + shift for row, shift in zip(w, b, strict=True)]

    z1 = layer(w1, Y0.tolist(), b1)
    y1 = [mg.sigmoid(z) for z in z1]
    z2 = layer(w2, y1, b2)
    loss = 0.5 * sum((t - y) ** 2 for t, y in zip(TARGET.tolist(), z2, strict=True))
    loss.backward()
    got = {"z1": z1, "y1": y1, "z2": z2, "loss": loss}
    got |= {"d2": grads(z2), "gW2": grads(w2), "d1": grads(z1), "gW1": grads(w1)}
    for name, want in WORKED.items():
        close(got[name], want)
    close(grads(b2), WORKED["d2"])
    close(grads(b1), WORKED["d1"])
    assert mg.adjoints(loss)[z1[0]] == z1[0].grad


# ---- the same net and a batch of two examples: gW = (1/M) Δ Yᵀ, gb = the mean of the columns of Δ

BATCH, TARGETS = np.array([[1.0, 0.0], [2.0, -1.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])  # examples are columns
OF_THE_BATCH = {
    "loss": 0.38203425,
    "gW2": [[-0.25286424, -0.17000834], [0.27189154, 0.16688147]],
    "gb2": [-0.33431521, 0.31057227],
    "gW1": [[0.00381581, 0.02379438], [0.13984312, 0.31482885]],
    "gb1": [-0.01234694, 0.10470051],
}


def in_columns(w1, b1, w2, b2):
    """As the lecture writes it: a column for each example, weights from the left, biases as columns."""
    z1 = w1 @ BATCH + b1.reshape(2, 1)
    y1 = mg.sigmoid(z1)
    z2 = w2 @ y1 + b2.reshape(2, 1)
    return ((TARGETS - z2) ** 2).sum() / (2.0 * BATCH.shape[1]), z1, y1, z2


def in_rows(w1, b1, w2, b2):
    """As libraries write it: a row for each example."""
    z1 = mg.nn.linear(BATCH.T, w1, b1)
    y1 = mg.sigmoid(z1)
    z2 = mg.nn.linear(y1, w2, b2)
    return (0.5 * ((TARGETS.T - z2) ** 2).sum(axis=1)).mean(), z1, y1, z2


@pytest.mark.parametrize("net", [in_columns, in_rows])
def test_a_batch(net):
    w1, b1, w2, b2 = map(leaf, (W1, B1, W2, B2))
    loss, z1, y1, z2 = net(w1, b1, w2, b2)
    loss.backward()
    got = {"loss": loss, "gW2": w2.grad, "gb2": b2.grad, "gW1": w1.grad, "gb1": b1.grad}
    for name, want in OF_THE_BATCH.items():
        close(got[name], want)
    # each column of Δ is that of one example alone, and the matrices are products: gW = Δ Yᵀ / M
    delta1, delta2, hidden = (x if net is in_columns else x.T for x in (2.0 * z1.grad, 2.0 * z2.grad, y1.data))
    close(delta2[:, 0], WORKED["d2"])
    close(delta1[:, 0], WORKED["d1"])
    np.testing.assert_allclose(w2.grad, delta2 @ hidden.T / 2.0, rtol=1e-14)
    np.testing.assert_allclose(w1.grad, delta1 @ BATCH.T / 2.0, rtol=1e-14)
    np.testing.assert_allclose(b2.grad, delta2.mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(b1.grad, delta1.mean(axis=1), rtol=1e-14)


def test_a_batch_by_transforms():
    for net in (in_columns, in_rows):
        value, found = mg.value_and_grad(lambda p, net=net: net(**p)[0])({"w1": W1, "b1": B1, "w2": W2, "b2": B2})
        close(value, OF_THE_BATCH["loss"])
        for name, slope in found.items():
            close(slope, OF_THE_BATCH["g" + name.replace("w", "W")])


def test_a_batch_number_by_number():
    w1, b1, w2, b2 = map(values, (W1, B1, W2, B2))
    losses = []
    for example, target in zip(BATCH.T.tolist(), TARGETS.T.tolist(), strict=True):
        y1 = [mg.sigmoid(sum(map(lambda p, q: p * q, row, example)) + b) for row, b in zip(w1, b1, strict=True)]
        z2 = [sum(map(lambda p, q: p * q, row, y1)) + b for row, b in zip(w2, b2, strict=True)]
        losses.append(0.5 * sum((t - y) ** 2 for t, y in zip(target, z2, strict=True)))
    loss = sum(losses) / 2.0
    loss.backward()
    got = {"loss": loss, "gW2": grads(w2), "gb2": grads(b2), "gW1": grads(w1), "gb1": grads(b1)}
    for name, want in OF_THE_BATCH.items():
        close(got[name], want)


# ---- the four equations of backpropagation, by hand, and by autograd

ACTIVATIONS = {
    "sigmoid": (mg.sigmoid, lambda z, a: a * (1.0 - a)),
    "tanh": (mg.tanh, lambda z, a: 1.0 - a * a),
    "relu": (mg.relu, lambda z, a: (z > 0.0) * 1.0),
    "softplus": (mg.softplus, lambda z, a: mg.sigmoid(z)),
}


def by_four_equations(weights, biases, x, y, activation, slope):
    """The gradients of C = Σ (a - y)² by the weights and biases of an MLP."""
    a, zs = [x], []
    for w, b in zip(weights, biases, strict=True):
        zs.append(w @ a[-1] + b)
        a.append(activation(zs[-1]))
    delta = 2.0 * (a[-1] - y) * slope(zs[-1], a[-1])  # 1: at the output, ∂C/∂a times the slope
    of_weights, of_biases = [], []
    for k in reversed(range(len(weights))):
        of_weights.insert(0, np.outer(delta, a[k]))  # 3: ∂C/∂W = δ aᵀ of the layer below
        of_biases.insert(0, delta)  # 4: ∂C/∂b = δ
        if k:
            delta = (weights[k].T @ delta) * slope(zs[k - 1], a[k])  # 2: one layer back
    return of_weights, of_biases


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(3, 2), (4, 5, 3), (2, 16, 16, 16, 1), (5, 4, 3, 2, 3, 4, 5)], ids=str)
def test_the_four_equations_of_backpropagation(name, sizes):
    activation, slope = ACTIVATIONS[name]
    rng = np.random.default_rng(len(sizes))
    weights = [rng.normal(size=(m, n)) / np.sqrt(n) for n, m in itertools.pairwise(sizes)]
    biases = [rng.normal(size=m) for m in sizes[1:]]
    x, y = rng.normal(size=sizes[0]), rng.normal(size=sizes[-1])
    want = by_four_equations(weights, biases, x, y, activation, slope)

    def cost(weights, biases):
        a = x
        for w, b in zip(weights, biases, strict=True):
            a = activation(w @ a + b)
        return ((a - y) ** 2).sum()

    leaves = [[leaf(p) for p in part] for part in (weights, biases)]
    cost(*leaves).backward()
    found = mg.grad(cost, (0, 1))(weights, biases)
    for got in ([[p.grad for p in part] for part in leaves], found):
        for mine, hers in zip(itertools.chain(*got), itertools.chain(*want), strict=True):
            np.testing.assert_allclose(mine, hers, rtol=1e-12, atol=1e-12)
    if sum(sizes) < 20:  # and number by number
        (ws, bs), a = ([values(p) for p in part] for part in (weights, biases)), x.tolist()
        for w, b in zip(ws, bs, strict=True):
            a = [activation(sum(map(lambda p, q: p * q, row, a)) + c) for row, c in zip(w, b, strict=True)]
        sum((p - q) ** 2 for p, q in zip(a, y.tolist(), strict=True)).backward()
        for mine, hers in zip([*ws, *bs], itertools.chain(*want), strict=True):
            np.testing.assert_allclose(grads(mine), hers, rtol=1e-12, atol=1e-12)


# ---- softmax, its logarithm, and the sum of exponentials

Z = np.array([1.0, 2.0, 3.0])
SOFTMAX = [0.09003057, 0.24472847, 0.66524096]
LSE = 3.40760596


def test_softmax_and_the_logarithm_of_a_sum_of_exponentials():
    for z in (Z, leaf(Z), mg.stack(values(Z))):
        close(mg.logsumexp(z), LSE)
        close(mg.softmax(z), SOFTMAX)
        close(mg.log_softmax(z), Z - LSE)
        close(mg.softmax(z).sum(), 1.0, 1e-15)
        assert ((mg.softmax(z) > 0.0) & (mg.softmax(z) < 1.0)).all()


def test_softmax_number_by_number():
    z = values(Z)
    exponentials = [mg.exp(x) for x in z]
    total = sum(exponentials)
    close([x / total for x in exponentials], SOFTMAX)
    log = mg.log(total)
    close(log, LSE)
    log.backward()
    close(grads(z), SOFTMAX)  # the derivative of the one is the other


def test_softmax_does_not_change_with_a_shift():
    for shift in (-1000.0, -3.0, 0.5, 1000.0):
        close(mg.softmax(Z + shift), SOFTMAX)
        close(mg.log_softmax(leaf(Z) + shift), Z - LSE)
        close(mg.logsumexp(Z + shift) - shift, LSE)


def test_softmax_of_large_logits():
    large = np.array([1000.0, 0.0])
    with np.errstate(over="ignore", invalid="ignore"):  # as its formula is written it is nan
        naive = mg.exp(leaf(large)) / mg.exp(leaf(large)).sum()
    assert np.isnan(naive.data[0])
    first, second = values(large)
    assert np.isnan((mg.exp(first) / (mg.exp(first) + mg.exp(second))).data)
    z = leaf(large)
    stable = mg.softmax(z)
    assert stable.tolist() == [1.0, 0.0]
    stable[0].backward()
    assert z.grad.tolist() == [0.0, 0.0]
    assert mg.softmax(mg.stack([first, second])).tolist() == [1.0, 0.0]


# ---- cross-entropy

ONE_HOT = np.array([0.0, 0.0, 1.0])
RESIDUAL = [0.09003057, 0.24472847, -0.33475904]


@pytest.mark.parametrize("target", [2, ONE_HOT], ids=["label", "one-hot"])
def test_cross_entropy(target):  # its gradient by the logits is softmax minus target
    z = leaf(Z)
    loss = mg.nn.cross_entropy(z, target)
    loss.backward()
    close(loss, LSE - 3.0)
    close(loss, 0.40760596)
    close(z.grad, RESIDUAL)
    one = values(Z)  # through a stack of single numbers
    mg.nn.cross_entropy(mg.stack(one), target).backward()
    close(grads(one), RESIDUAL)
    one = values(Z)  # and by its formula
    loss = mg.log(sum(mg.exp(x) for x in one)) - one[2]
    loss.backward()
    close(loss, 0.40760596)
    close(grads(one), RESIDUAL)


@pytest.mark.parametrize("target", [[0.2, 0.3, 0.5], [0.5, 0.5, 0.5], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]], ids=str)
def test_cross_entropy_with_soft_targets(target):  # y Σt - t, also where the targets do not add up to 1
    target, probabilities = np.array(target), np.exp(Z) / np.exp(Z).sum()
    want = probabilities * target.sum() - target
    z = leaf(Z)
    loss = mg.nn.cross_entropy(z, target)
    loss.backward()
    close(z.grad, want, 1e-15)
    close(loss, -(target * np.log(probabilities)).sum(), 1e-14)
    parts = leaf(Z)
    (-(target * mg.log(mg.softmax(parts))).sum()).backward()
    close(parts.grad, want, 1e-14)


def test_cross_entropy_as_one_operation_and_in_steps():
    logits, target = np.array([0.0, -800.0]), np.array([0.0, 1.0])
    z = leaf(logits)
    with np.errstate(divide="ignore", invalid="ignore"):  # the probability is 0, and its logarithm lost
        loss = -(target * mg.log(mg.softmax(z))).sum()
        assert mg.log(mg.softmax(z)).tolist() == [0.0, -np.inf]
        loss.backward()
    assert not np.isfinite(loss.item())
    assert np.isnan(z.grad).any()
    z = leaf(logits)
    assert mg.log_softmax(z).tolist() == [0.0, -800.0]
    loss = mg.nn.cross_entropy(z, target)
    loss.backward()
    assert (loss.item(), z.grad.tolist()) == (800.0, [1.0, -1.0])
    far, near = values(logits)  # number by number, shifted by the larger one
    loss = mg.log(mg.exp(far - 0.0) + mg.exp(near - 0.0)) + 0.0 - near
    loss.backward()
    assert (loss.data, far.grad, near.grad) == (800.0, 1.0, -1.0)


# ---- temperature

AT = {
    1.0: (SOFTMAX, 0.83239558, 5e-9),
    100.0: ([0.33000561, 0.33332222, 0.33667217], 1.09857896, 5e-9),
    0.1: ([2.061e-9, 4.5398e-5, 0.9999546], 4.994e-4, 5e-8),
}


@pytest.mark.parametrize("temperature", AT)
def test_temperature(temperature):
    probabilities, entropy, atol = AT[temperature]
    assert np.log(3.0) == pytest.approx(1.09861229, abs=5e-9)  # the most that three classes can have
    for z in (Z, leaf(Z), mg.stack(values(Z))):
        for t in (temperature, Value(temperature), Tensor(temperature)):
            p = mg.softmax(z, temperature=t)
            close(p, probabilities, atol)
            close(-(p * mg.log_softmax(z, temperature=t)).sum(), entropy, atol)
    exponentials = [mg.exp(z / temperature) for z in values(Z)]
    close([x / sum(exponentials) for x in exponentials], probabilities, atol)


def test_small_probabilities_to_all_digits_that_are_printed():
    smallest, middle, largest = mg.softmax(Z, temperature=0.1)
    assert (f"{smallest:.3e}", f"{middle:.4e}", f"{largest:.5f}") == ("2.061e-09", "4.5398e-05", "0.99995")


@pytest.mark.parametrize(("temperature", "slopes"), [(1.0, RESIDUAL), (2.0, [0.09316186, 0.15359794, -0.24675980])])
def test_temperature_divides_the_gradient(temperature, slopes):
    z = leaf(Z)
    (-mg.log_softmax(z, temperature=temperature)[2]).backward()
    close(z.grad, slopes)
    z = leaf(Z)
    mg.nn.cross_entropy(z / temperature, 2).backward()
    close(z.grad, slopes)
    np.testing.assert_allclose(
        z.grad, (mg.softmax(Z, temperature=temperature) - ONE_HOT) / temperature, rtol=0.0, atol=1e-15
    )
    one = values(Z)
    (mg.log(sum(mg.exp(x / temperature) for x in one)) - one[2] / temperature).backward()
    close(grads(one), slopes)

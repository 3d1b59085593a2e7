"""Formulas of graphs of Tensors: as they were written, with the parentheses that they need, and no others."""

import ast
import re

import numpy as np
import pytest
from test_random_tensors import drawn
from test_tensor_rows import CASES, leaves

import microgad as mg
from microgad import Tensor, Value
from microgad.errors import GraphSizeError, InputError
from microgad.order import topological_order
from microgad.structural import ROWS

A, B = Tensor([[1.0, 2.0], [3.0, 4.0]], name="A"), Tensor([[0.5, -1.0], [2.0, 1.5]], name="B")
x, y, v = Tensor([1.0, 2.0], name="x"), Tensor([3.0, -4.0], name="y"), Value(2.0, "v")

WRITTEN = [  # a graph, its text, its LaTeX
    (A @ B, "A @ B", r"A \, B"),
    (A @ B @ x, "A @ B @ x", r"A \, B \, x"),
    (A @ (B @ x), "A @ (B @ x)", r"A \, \left(B \, x\right)"),
    ((A + B) @ x, "(A + B) @ x", r"\left(A + B\right) \, x"),
    (A @ B + x, "A @ B + x", r"A \, B + x"),
    (x + A @ B, "x + A @ B", r"x + A \, B"),
    (A @ (x - y), "A @ (x - y)", r"A \, \left(x - y\right)"),
    (-A @ x, "(-A) @ x", r"\left(-A\right) \, x"),
    (A @ -x, "A @ (-x)", r"A \, \left(-x\right)"),
    (-(A @ x), "-A @ x", r"-A \, x"),
    ((A * B) @ x, "(A * B) @ x", r"\left(A \odot B\right) \, x"),
    (A * (B @ x), "A * (B @ x)", r"A \odot \left(B \, x\right)"),
    ((A @ B) * x, "(A @ B) * x", r"\left(A \, B\right) \odot x"),
    (2 * (A @ x), "2 * (A @ x)", r"2 \cdot \left(A \, x\right)"),
    (A @ x * 2, "(A @ x) * 2", r"\left(A \, x\right) \cdot 2"),
    (A @ x / 2, "A @ x / 2", r"\frac{A \, x}{2}"),
    ((A @ B) ** 2, "(A @ B) ** 2", r"\left(A \, B\right)^{2}"),
    # number by number, and by a number
    (A * B, "A * B", r"A \odot B"),
    (-A * B, "-A * B", r"-A \odot B"),
    (A * v, "A * v", r"A \cdot v"),
    (A * B * v, "A * B * v", r"A \odot B \cdot v"),
    (A / B, "A / B", r"\frac{A}{B}"),
    (mg.relu(A @ x + y), "relu(A @ x + y)", r"\operatorname{relu}\left(A \, x + y\right)"),
    (mg.exp(-(x**2)), "exp(-x ** 2)", "e^{-x^{2}}"),
    (mg.where(x > 1.0, x, y), "where([0, 1], x, y)",
     r"\operatorname{where}\left(\begin{pmatrix} 0 & 1 \end{pmatrix}, x, y\right)"),
    # behind the array
    (A.T, "A.T", r"{A}^{\top}"),
    ((A + B).T, "(A + B).T", r"{\left(A + B\right)}^{\top}"),
    (A.T @ B, "A.T @ B", r"{A}^{\top} \, B"),
    (A.T**2, "A.T ** 2", r"\left({A}^{\top}\right)^{2}"),
    (A[0], "A[0]", "{A}_{0}"),
    (A[0:2, 1], "A[0:2, 1]", "{A}_{0:2, 1}"),
    (A[::-1, ..., None], "A[::-1, ..., None]", "{A}_{::-1, ..., None}"),
    (A[[0, 0]][:, [True, False]], "A[[0, 0]][:, [True, False]]",
     r"{\left({A}_{[0, 0]}\right)}_{:, [True, False]}"),
    ((A + B)[0], "(A + B)[0]", r"{\left(A + B\right)}_{0}"),
    (mg.unbind(x)[1] * v, "x[1] * v", r"{x}_{1} \cdot v"),
    # functions of whole arrays
    (A.sum(), "sum(A)", r"\sum A"),
    (A.sum(axis=0), "sum(A, axis=0)", r"\sum_{0} A"),
    (A.sum(axis=(0, 1), keepdims=True), "sum(A, axis=(0, 1), keepdims=True)", r"\sum_{0, 1} A"),
    ((A + B).sum(), "sum(A + B)", r"\sum \left(A + B\right)"),
    ((A * B).sum(), "sum(A * B)", r"\sum A \odot B"),
    ((A**2).sum() * v, "sum(A ** 2) * v", r"\left(\sum A^{2}\right) \cdot v"),
    (v * A.sum(), "v * sum(A)", r"v \cdot \left(\sum A\right)"),
    (A.sum(0) @ x, "sum(A, axis=0) @ x", r"\left(\sum_{0} A\right) \, x"),
    (A - A.mean(axis=1, keepdims=True), "A - mean(A, axis=1, keepdims=True)",
     r"A - \operatorname{mean}_{1}\left(A\right)"),
    (A.max(), "max(A)", r"\operatorname{max}\left(A\right)"),
    (mg.maximum(A, B), "max(A, B)", r"\max\left(A, B\right)"),
    (A.prod(1), "prod(A, axis=1)", r"\prod_{1} A"),
    (mg.softmax(A), "softmax(A, axis=1)", r"\operatorname{softmax}_{1}\left(A\right)"),
    (mg.log_softmax(A, axis=None), "log_softmax(A)", r"\operatorname{log\_softmax}\left(A\right)"),
    (mg.nn.cross_entropy(A + B, Tensor(B.data, name="T")), "cross_entropy(A + B, T)",
     r"\operatorname{cross\_entropy}\left(A + B, T\right)"),
    (A.reshape(4), "reshape(A, (4,))", r"\operatorname{reshape}\left(A\right)"),
    (mg.stack([x, y + 1]), "stack([x, y + 1])", r"\operatorname{stack}\left(x, y + 1\right)"),
    (mg.concatenate([A, B, A], axis=1), "concatenate([A, B, A], axis=1)",
     r"\operatorname{concatenate}\left(A, B, A\right)"),
    (mg.stack([v, 1.0]), "stack([v, 1])", r"\operatorname{stack}\left(v, 1\right)"),
    (mg.nn.linear(A + 1, B, x), "(A + 1) @ B.T + x", r"\left(A + 1\right) \, {B}^{\top} + x"),
    (mg.nn.linear(A, B + 1, x).sum(), "sum(A @ (B + 1).T + x)",
     r"\sum \left(A \, {\left(B + 1\right)}^{\top} + x\right)"),
    # arrays without a name
    (A @ [[1.0], [-0.25]], "A @ [[1], [-0.25]]", r"A \, \begin{pmatrix} 1 \\ -0.25 \end{pmatrix}"),
    (x * [1 / 3, 2e10], "x * [0.3333, 2e+10]", r"x \odot \begin{pmatrix} 0.3333 & 2 \cdot 10^{10} \end{pmatrix}"),
    (A @ np.ones((2, 30)), "A @ array(2, 30)", r"A \, \operatorname{array}\left(2, 30\right)"),
    (A * np.ones((2, 2, 2)), "A * [[[1, 1], [1, 1]], [[1, 1], [1, 1]]]",
     r"A \odot \left[[[1, 1], [1, 1]], [[1, 1], [1, 1]]\right]"),
    (x * Tensor(3.0), "x * 3", r"x \cdot 3"),
]  # fmt: skip


@pytest.mark.parametrize(("f", "text", "latex"), WRITTEN, ids=[text for _, text, _ in WRITTEN])
def test_formulas(f, text, latex):
    found = mg.formula(f)
    assert (found, found.latex) == (text, latex)


# ---- the text, evaluated by Python's rules, is what was computed


class Comparisons(ast.NodeTransformer):
    """Brackets around a comparison are Iverson's, not a list."""

    def visit_List(self, node):
        self.generic_visit(node)
        if len(node.elts) == 1 and isinstance(node.elts[0], ast.Compare):
            return ast.BinOp(node.elts[0], ast.Mult(), ast.Constant(1.0))
        return node


def extreme(of_two, of_many):
    return lambda *xs, **options: of_two(*xs) if len(xs) == 2 else of_many(*xs, **options)


def soft(f):
    return lambda z, axis=None, **options: f(z, axis=axis, **options)


def on_arrays(f):
    return lambda *xs: np.asarray(f(*xs))  # which has an index even where it is one number


FUNCTIONS = {
    **{name: on_arrays(getattr(mg, name)) for name in mg.functions.__dict__ if callable(getattr(mg, name, None))},
    **{name: soft(getattr(mg, name)) for name in ("softmax", "log_softmax", "logsumexp")},
    "max": extreme(mg.maximum, np.max),
    "min": extreme(mg.minimum, np.min),
    "sum": np.sum,
    "mean": np.mean,
    "prod": np.prod,
    "stack": np.stack,
    "concatenate": np.concatenate,
    "reshape": np.reshape,
    "transpose": np.transpose,
    "broadcast_to": np.broadcast_to,
    "sum_to": lambda z, to: ROWS["sum_to"].given(to=to)(z),
    "float32": np.float32,
    "float64": np.float64,
    "inf": np.inf,
}


def evaluated(text, names):
    tree = ast.fix_missing_locations(Comparisons().visit(ast.parse(text, mode="eval")))
    # Constants between an array's brackets are its numbers; an index that is an array has brackets of its own.
    return eval(compile(tree, "formula", "eval"), {"__builtins__": {}}, {**FUNCTIONS, **names})


def named(root):
    """The numbers of the leaves, each with a name of its own."""
    found = {}
    for i, node in enumerate(topological_order(root)):
        if node.prim is None:
            node.name = f"leaf{i}"
            found[node.name] = node.data
    return found


def balanced(latex):
    marks = re.findall(r"\\left|\\right|\\begin|\\end|(?<!\\)[{}]", latex)
    stack = []
    closing = {"\\right": "\\left", "\\end": "\\begin", "}": "{"}
    for mark in marks:
        if mark in closing:
            if not stack or stack.pop() != closing[mark]:
                return False
        else:
            stack.append(mark)
    return not stack


@pytest.mark.parametrize("block", range(4))
def test_the_text_is_the_computation(block):
    """Of random graphs of numbers and arrays: parentheses that are left out would give other numbers."""
    evaluable = 0
    for seed in range(block * 25, block * 25 + 25):
        program = drawn(seed)
        tracked = zip(program.leaves, program.tracked, strict=True)
        values = program.run([Value(z) if type(z) is float else Tensor(z, requires_grad=r) for z, r in tracked], "ours")
        for node in values[len(program.leaves) :]:
            names = named(node)
            try:
                formula = mg.formula(node)
            except GraphSizeError:
                continue
            assert balanced(formula.latex), (seed, formula.latex)
            assert not re.search(r"\}_\{[^{}]*\}_|\^\{[^{}]*\}\^", formula.latex), (seed, formula.latex)
            if re.search(r"int64\[|bool\[|nll\(|cross_entropy\(|scatter\(", formula):  # an index too long to be written
                continue
            got = evaluated(formula, names)
            np.testing.assert_allclose(got, node.data, rtol=1e-9, atol=1e-12, err_msg=f"{seed}: {formula}")
            evaluable += 1
    assert evaluable > 100


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_a_formula(name):
    for case in [case for case in CASES if case.row.name == name]:
        operands = leaves(case)
        for i, leaf in enumerate(operands):
            leaf.name = f"operand{i}"
        found = mg.formula(case(*operands))
        assert all(leaf.name in found and f"operand_{{{i}}}" in found.latex.replace(r"\mathrm{operand}", "operand")
                   for i, leaf in enumerate(operands))  # fmt: skip
        assert balanced(found.latex)


# ---- derivatives, of Values only


def test_derivatives_by_arrays_are_not_written_as_formulas():
    w = Tensor([[1.0, 2.0]], requires_grad=True, name="w")
    loss = ((A @ w.T) ** 2).sum()
    for show in (mg.formula, mg.derive):
        for wrt in (w, "w"):
            with pytest.raises(InputError, match=rf"^{show.__name__} by w: w is a Tensor, .*backward_steps.*mg\.grad"):
                show(loss, wrt)


def test_derivatives_through_arrays_are_not_written_as_formulas():
    f = (mg.stack([v, v * v]) * x).sum()
    for show in (mg.formula, mg.derive):
        with pytest.raises(InputError, match=r"by v: stack\(\[v, v \* v\]\) is a Tensor, and only derivatives of"):
            show(f, "v")
        with pytest.raises(InputError, match=r"by v: .* is a Tensor"):
            show(mg.unbind(mg.stack([v, v]))[0] * 2.0, v)


def test_derivatives_of_values_beside_arrays_are():
    first, second = mg.unbind(x)
    f = first * v * v + second
    assert mg.formula(f, "v") == "2 * v * x[0]"
    assert mg.formula(f, first) == "v ** 2"
    lines = str(mg.derive(f, v)).splitlines()
    assert lines[0] == "v1 = x[0]"
    assert lines[-1].startswith("simplified: ∂f/∂v = 2 * ")


def test_inside_a_function_that_is_being_differentiated():
    seen = []

    def f(z):
        out = z * z
        seen.extend(
            [str(mg.derive(out, "v")).splitlines()[-1], mg.formula(out, "v"), str(list(mg.backward_steps(out))[-1])]
        )
        return out

    assert mg.grad(f)(v).data == 4.0
    assert seen == ["simplified: ∂f/∂v = 2 * v", "2 * v", "∂f/∂v = ∂f/∂v1 = 4"]


def test_large_formulas_are_refused():
    z = x
    for _ in range(400):
        z = z + 1.0
    with pytest.raises(GraphSizeError, match="symbols; up to 300"):
        mg.formula(z)
    with pytest.raises(GraphSizeError):
        mg.formula(sum((x * np.arange(2.0) for _ in range(80)), start=y))

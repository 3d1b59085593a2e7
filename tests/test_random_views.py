"""Random programs of arrays that are views of each other, under `jit`, `trace` and `vmap`: all give what is eager.

Reshapes, slices, indexes, joins, products, sums and masks of Tensors and plain arrays. What is computed at its place in
another array, or a gradient that is added up in one, goes wrong without an error: so numbers are compared, of values
and of derivatives of first and second order. A failure prints the program, its numbers and its seed::

    pytest tests/test_random_views.py --graphs 100000
    pytest tests/test_random_views.py --graph 1234
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import test_random_programs as programs
from test_random_programs import Draw, Program, Reference, ahead, pytest_generate_tests, total_of  # noqa: F401
from test_random_tensors import fits_together

import microgad as mg

LARGEST, WIDEST, AXES = 20.0, 48, 3  # of a number, an array
RETRIES = 0.02  # how often a program is drawn again: rounding decides in it, or its numbers are too large
programs.SHARES.update({"test_random_views": 8, "test_random_derivatives_of_views": 9})


# ---- how a step is drawn: as text, from the shapes of all arrays before it, one of them, and one of its axes


class Shapes(dict[str, tuple[int, ...]]):
    """Shapes by name, the dtype of constants beside them, and whether any array is of float32."""

    dtype, single = "", False

    def full(self, d: Draw, shape: Sequence[int]) -> str:
        return f"np.full({tuple(shape)}, {d.weight()}{self.dtype})"


def reshape(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    rest, to = math.prod(shapes[x]), list[int]()
    for _ in range(d.randint(0, AXES - 1)):
        factors = [k for k in range(1, rest + 1) if rest % k == 0]
        to.append(d.choice(factors + factors[1:-1] * 3))
        rest //= to[-1]
    to.insert(d.randint(0, len(to)), rest)
    return f"{x}.reshape({tuple(to)})"


def part(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    def along(n: int) -> str:
        start = d.randrange(n)
        return d.choice([":", "::-1", "::2", f"{start}:", f"{start}:{d.randint(start + 1, n)}", f"{start}::-1"])

    key = [along(n) for n in shapes[x]]
    if d.random() < 0.2:
        key.insert(d.randint(0, len(key)), "None")
    return f"{x}[{', '.join(key)}]"


def index(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    """One place of an axis, or several, or places of two axes."""
    count, axes = d.randint(0, 4), shapes[x][axis : axis + d.choice([1, 1, 2])]
    found = [[d.randrange(-n, n) for _ in range(count)] if count else d.randrange(-n, n) for n in axes]
    return f"{x}[{':, ' * axis}{', '.join(map(str, found))}]"


def numbers(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    """Numbers of an array and sums of its parts: these are joined, or all of it meets one."""
    kept, found = [1 if k == axis else n for k, n in enumerate(shapes[x])], []
    of: Any = {x: shapes[x], f"{x}.sum({axis}, keepdims=True)": kept}
    for _ in range(d.randint(1, 4)):
        some = d.choice([part, index])(d, of, d.choice(list(of)), axis)
        one = f"{x}[{', '.join(str(d.randrange(-n, n)) for n in shapes[x])}]"
        found.append(d.choice([one, f"mg.tanh({some}).sum()"]))
    return d.choice([f"{x} {d.choice('+-*')} {found[0]}", f"mg.stack([{', '.join(found)}])"])


def mask(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    kept = [d.random() < 0.6 for _ in range(shapes[x][axis])]
    kept[d.randrange(len(kept))] = True
    ways = [f"{x}[{':, ' * axis}np.array({kept})]", f"mg.where({x} > 0.0, {x}, {x} * 0.5)", f"mg.relu({x})"]
    return d.choice(ways if shapes.single else [*ways, f"{x} * ({x} > 0.1)"])  # which is eagerly of float64


def joined(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    name, rest = d.choice(["concatenate", "concatenate", "concatenate", "stack"]), [*shapes[x]]
    if name == "concatenate":
        rest[axis] = 0  # where arrays of all sizes fit
    names = [y for y, shape in shapes.items() if len(shape) == len(rest)]
    names = [y for y in names if all(k in (0, n) for k, n in zip(rest, shapes[y], strict=True))]
    names = [x, *d.choices(names, k=d.randint(0, 2))]
    for k, y in enumerate(names if d.random() < 0.5 else []):  # what is computed at its place, in another shape
        same = [z for z in shapes if math.prod(shapes[z]) == math.prod(shapes[y]) and shapes[z] != shapes[y]]
        names[k] = f"mg.{d.choice(['tanh', 'sin'])}({d.choice(same or [y])}).reshape({shapes[y]})"
    names += [shapes.full(d, [k or d.randint(1, 2) for k in rest])] * (d.random() < 0.3)
    return f"mg.{name}([{', '.join(d.sample(names, len(names)))}], axis={d.choice([axis, axis - len(rest)])})"


def cut(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    """An array taken apart along an axis, and put together in another order."""
    if d.random() < 0.5 and not (shapes.single and len(shapes[x]) == 1):  # these numbers are of float64 but in `vmap`
        return f"mg.stack(mg.unbind({x}, {axis})[::-1], axis={axis})"
    return f"mg.concatenate(mg.split({x}, [{(shapes[x][axis] + 1) // 2}], {axis})[::-1], axis={axis})"


def reduced(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    name, keepdims = d.choice(["sum", "sum", "sum", "mean", "prod"]), d.random() < 0.7 or len(shapes[x]) == 1
    return f"{x}.{name}({d.choice([axis, axis, None]) if keepdims else axis}, keepdims={keepdims})"


def unary(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    ways = [f"mg.{name}({x})" for name in ("tanh", "tanh", "sin", "sigmoid", "softmax")] * 2
    return d.choice([*ways, f"{x} * 0.5", f"{x} + 1.0", f"{x} * {x}", f"{x} - {x}.mean()", f"-{x}"])


def binary(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    y = d.choice([x, *(y for y, shape in shapes.items() if fits_together(shape, shapes[x]))])
    return f"{x} {d.choice('+-*')} {y if d.random() < 0.9 else shapes.full(d, shapes[y])}"


def product(d: Draw, shapes: Shapes, x: str, axis: int) -> str:
    """A product of matrices, or a layer whose weights and biases are parts of one array."""
    of = shapes[x]
    ways = [f"{x} @ {shapes.full(d, (of[-1], d.randint(1, 3)))}"]
    for y, shape in shapes.items():
        if shape[-2:][0] == of[-1] and fits_together(shape[:-2], of[:-2]):
            ways.append(f"{x} @ {y}")
        if len(shape) == 2 and shape[0] == of[-1] + 1:
            ways.append(f"{x} @ {y}[:-1] + {y}[-1]")
    return d.choice(ways)


STEPS: list[Callable[[Draw, Shapes, str, int], str]] = [
    *[reshape] * 4, *[joined] * 5, *[unary] * 4, *[part] * 3, *[index] * 3, *[product] * 3, *[binary] * 2,
    *[reduced] * 2, *[numbers] * 2, mask, cut,
    lambda d, shapes, x, axis: f"{x}.transpose({d.sample(range(len(shapes[x])), len(shapes[x]))})",
]  # fmt: skip


class Views(Program):
    """A function in Python, of a few arrays, that gives some of all that it computes."""

    def __init__(self, d: Draw) -> None:
        self.kind, self.dead, self.named, single = "views", False, d.random() < 0.1, d.random() < 0.2
        self.slots, self.lines, values, shapes = [], [], dict[str, Any](), Shapes()
        shapes.single, shapes.dtype = single, ", np.float32" if single and d.random() < 0.8 else ""
        for k in range(d.randint(1, 3)):
            shape = tuple(d.choice([1, 2, 2, 3, 3, 4]) for _ in range(d.randint(1, AXES)))
            form = d.choice(["Tensor", "Tensor", "Tensor", "array", "constant"] if k else ["Tensor"])
            data = [np.reshape([d.weight() for _ in range(math.prod(shape))], shape) for _ in programs.CALLS]
            self.slots.append(programs.Slot("float32" if single and form == "Tensor" else form, data))
            self.slots[k].held = self.slots[k].made(0) if k and d.random() < 0.3 else None
            values[f"v{k}"], shapes[f"v{k}"] = mg.Tensor(data[0]), shape
        length, given = d.choice([3, 6, 10, 10, 25]), list(values)
        while len(self.lines) < length:
            x = d.choice(list(shapes)[-3:] if d.random() < 0.6 else list(shapes))
            text, name = d.choice(STEPS)(d, shapes, x, d.randrange(len(shapes[x]))), f"v{len(values)}"
            out = eval(text, {"mg": mg, "np": np, **values})
            if 0 < out.ndim <= AXES and 0 < out.size <= WIDEST and np.max(np.abs(out.data)) <= LARGEST:
                values[name], shapes[name] = out, out.shape
                self.lines.append(f"{name} = {text}")
                if x not in given and d.random() < 0.5:
                    del shapes[x]  # what is used once may be computed at its place in another array
        ends = [name, *d.choices(list(shapes if d.random() < 0.5 else values), k=d.randint(0, 4))]
        ends = [reshape(d, Shapes({y: values[y].shape}), y, 0) if d.random() < 0.3 else y for y in ends]
        self.lines.append(f"return [{', '.join(d.sample(ends, len(ends)))}]")
        exec("\n    ".join([f"def f({', '.join(given)}):", *self.lines]), space := {"mg": mg, "np": np})
        self.f, self.answer = space["f"], list
        self.settle()

    def __str__(self) -> str:
        held = ["" if slot.held is None else ", closed over" for slot in self.slots]
        slots = [f"v{k} = {slot.form}({slot.numbers[0].tolist()}){held[k]}" for k, slot in enumerate(self.slots)]
        return "\n".join([self.kind, *slots, *self.lines])


def examples(args: Sequence[Any]) -> list[Any]:
    return [mg.stack([x, x * 0.5, x - 0.3]) for x in args]


WAYS: dict[str, Callable[..., Callable[..., Any]]] = {  # of f, its sum, `jit`, `vmap`, and the places of all arguments
    "jit of grad": lambda f, one, jit, vmap, by: jit(mg.grad(one, by)),
    "grad of jit": lambda f, one, jit, vmap, by: mg.grad(jit(one), by),
    "grad of sum of jit": lambda f, one, jit, vmap, by: mg.grad(lambda *args: total_of(jit(f)(*args)), by),
    "jit of grad of grad": lambda f, one, jit, vmap, by: jit(
        mg.grad(lambda *args: total_of(mg.grad(one, by)(*args)), by)),
    "jit of jvp": lambda f, one, jit, vmap, by: jit(lambda *args: mg.jvp(one, args, tuple(map(ahead, args)))),
    "vmap": lambda f, one, jit, vmap, by: lambda *args: vmap(f, (0,) * len(by))(*examples(args)),
    "jit of vmap": lambda f, one, jit, vmap, by: jit(lambda *args: vmap(f, (0,) * len(by))(*examples(args))),
    "vmap of the first": lambda f, one, jit, vmap, by: lambda x, *args: vmap(
        f, (0, *(None,) * len(args)))(*examples([x]), *args),
    "vmap of grad": lambda f, one, jit, vmap, by: lambda *args: vmap(mg.grad(one, by), (0,) * len(by))(*examples(args)),
}  # fmt: skip


class Derived(Views):
    """What transforms make of such a function; the gradients of what they give are compared, too."""

    whole = False

    def __init__(self, d: Draw) -> None:
        super().__init__(d)
        self.kind, self.named = d.choice(list(WAYS)), False
        for slot in self.slots:  # else `vmap` gives plain arrays, and `jit` a gradient 0.0 where it is None
            slot.form = "Tensor" if self.kind == "vmap of grad" and slot.form == "array" else slot.form
            slot.held = None if self.kind == "jit of grad of grad" else slot.held
        self.settle()

    def made(self, jit: Any, vmap: Any) -> Callable[..., Any]:
        f, by = super().__call__, tuple(range(sum(slot.held is None for slot in self.slots)))
        return WAYS[self.kind](f, lambda *args: total_of(f(*args)), jit, vmap, by)

    def __call__(self, *args: Any) -> Any:
        return self.made(lambda f: f, programs.loop)(*args)

    def jitted(self) -> Any:
        return self.made(mg.jit, mg.vmap)

    def decisions(self, *args: Any) -> Any:
        """On all examples."""
        f, runs = super().__call__, [args, *zip(*examples(args), strict=True)] if "vmap" in self.kind else [args]
        return [f(*run) for run in [*runs, *[(run[0], *args[1:]) for run in runs] * (self.kind == "vmap of the first")]]


def check_each(seeds: Any, kind: type[Views], check: Callable[[Any, list[Reference], int], Any]) -> None:
    tried: list[Views] = []

    def made(d: Draw) -> Views:
        tried.append(kind(d))
        return tried[-1]

    for seed in seeds:
        try:
            check(*programs.drawn(seed, made), seed)
        except Exception as error:
            said = f"{type(error).__name__}: {error}\n{seed}: {tried[-1] if tried else 'none'}"
            raise AssertionError(f"{said}\nagain: pytest tests/test_random_views.py --graph {seed}") from error
    assert len(tried) <= len(seeds) * (1.0 + RETRIES) + 10, f"{len(tried)} programs were drawn for {len(seeds)}"


def test_random_views(seeds):
    def check(program: Views, references: list[Reference], seed: int) -> None:
        assert programs.executor(programs.check_calls(program, references)) != "Python"
        programs.check_trace(program, references, seed)

    check_each(seeds, Views, check)


def test_random_derivatives_of_views(seeds):
    check_each(seeds, Derived, lambda program, references, seed: programs.check_calls(program, references))

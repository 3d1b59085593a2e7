"""Kernels: programs that run. A call of one is one node of a graph, and keeps what its reverse pass needs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

import numpy as np

from microgad.autodiff import pull
from microgad.errors import DomainError
from microgad.naming import counted
from microgad.node import Node
from microgad.order import EMPTY, order_of_all
from microgad.primitive import Primitive, watchers
from microgad.structural import cast, dtype, index, item, reshape, scatter
from microgad.symbolic import symbol
from microgad.tape import Tape
from microgad.tensor import Tensor, leaf
from microgad.value import Value

from . import derive
from .expand import expanded
from .lower import Lowered, compiled
from .optimise import optimised
from .plan import VIEWS
from .regroup import IrregularError, regrouped
from .scalars import scalars
from .traced import uncollected

MOVES = (*VIEWS, "item", "index", "scatter", "stack", "concatenate", "place", "assemble", "broadcast_to")
SPARE = 8  # sets of buffers that are kept for later calls
Passes = tuple[Callable[..., Any], Callable[..., Any]]


class Variant:
    """A program in the form that runs: with the reverse pass for some of its inputs, or without one.

    Attributes
    ----------
    listed : list of int
        The inputs by which it gives derivatives.
    flows : list of bool
        For each result that is a node whether a gradient flows back; where it gives no derivatives, to an error.
    shared : list of bool
        For each output whether its array is one of the buffers, or that of another output, too.
    kept : list of bool
        For each output whether its array is one of these, or may be needed by the reverse pass.
    """

    def __init__(self, kernel: Kernel, by: Collection[int]) -> None:
        arrays, self.by, self.listed = kernel.arrays, by, list[int]()
        results = len(arrays.outputs)
        if by:
            arrays, self.listed = derive.with_gradient(arrays, by, kernel.of)
        pools = [k for k, source in enumerate(kernel.sources) if isinstance(source, list)]
        kept = [k for k in range(results)] + [
            results + k for k, i in enumerate(self.listed) if not isinstance(kernel.sources[i], list)
        ]
        self.lowered = Lowered(optimised(arrays), len(kernel.sources), results, pools, kernel.strict, kept)
        self.flows = derive.flows(kernel.arrays, by, kernel.of)
        self.make = compiled(self.lowered)
        roots = [self.lowered.root[i] for i in self.lowered.tape.outputs[:results]]
        alone = Counter(roots)
        shared, self.shared_slopes = self.lowered.shared[:results], self.lowered.shared[results:]
        self.shared = [x or alone[root] > 1 for x, root in zip(shared, roots, strict=True)]
        self.kept = [x or bool(by) for x in self.shared]
        self.pool: list[Passes] = []

    def frame(self) -> Frame:
        """Buffers that nobody uses, and the passes around them."""
        try:
            return Frame(self, self.pool.pop())
        except IndexError:
            return Frame(self, self.make())


class Frame:
    """The buffers of one call, which go back to the pool when the call is forgotten.

    Attributes
    ----------
    forward, backward : callable
        The passes.
    owners : list or None
        For each input of the array program the node that it was, or the list of nodes; None where one of them is
        computed itself, so that a backward pass has to go on from there.
    """

    __slots__ = ("backward", "forward", "owners", "variant")

    def __init__(self, variant: Variant, passes: Passes) -> None:
        self.variant = variant
        self.forward, self.backward = passes
        self.owners: Any = None

    def __del__(self, spare: int = SPARE) -> None:  # the name may be gone when Python ends
        if len(self.variant.pool) < spare:
            self.variant.pool.append((self.forward, self.backward))


class Call(Tensor, rank=1):
    """A call of a kernel in a graph: its results as one flat array, of which they are parts."""

    __slots__ = ("frame",)
    frame: Any


def is_strict(tape: Tape) -> bool:
    """Whether numbers of a program may be outside of the domain of a row: an error, where arrays have nan or inf."""
    each = zip(tape.rows, tape.types, strict=True)
    return tape.strict or any(row.domain for row, kind in each if row is not None and kind is None)


class Kernel:
    """A program, ready to run and to be differentiated.

    Attributes
    ----------
    tape : Tape
        As it was traced.
    arrays : Tape
        What runs: regrouped, if that makes it shorter.
    sources : list
        For each input of `arrays` which input of `tape` it is, or which numbers lie in it.
    regular, python : bool
        Whether it was regrouped, and whether most of it is computed number by number.
    numbers : int
        How many operations on numbers have become some on arrays.
    without_axes : bool
        Whether there are arrays without axes among the inputs, which it may compute with as numbers.
    of : list of int
        The outputs that are nodes where the kernel is called on nodes; the others are plain numbers and arrays.
    """

    def __init__(self, tape: Tape, of: Sequence[int] | None = None) -> None:
        self.tape = tape
        plain = scalars(tape)
        each = zip(plain.rows, plain.types, strict=True)
        names = [row.name for row, kind in each if row is not None and kind is None]
        numbers = [name for name in names if name not in MOVES]
        self.scalar = bool(numbers) or tape.strict
        self.arrays, self.regular, why = tape, False, ""
        self.sources: list[int | list[int]] = list(range(len(tape.inputs)))
        if names:
            try:
                self.arrays, self.sources = regrouped(plain)
                self.regular = True
            except IrregularError as error:
                why = str(error)
        self.strict = tape.strict or (self.regular and is_strict(tape))
        rows = sum(row is not None and row.name not in MOVES for row in self.arrays.rows)
        self.numbers = len(numbers) * self.regular + tape.inlined  # operations on numbers that are on arrays now
        self.python = not self.regular and not tape.inlined and 2 * len(numbers) > rows
        self._why = why
        self.without_axes = any(x.type is not None and x.type[0] == () for x in tape.inputs)
        self.where: dict[int, int] = {}  # of each input of the program the one of `arrays` that it is or lies in
        for k, source in enumerate(self.sources):
            self.where |= dict.fromkeys(source if isinstance(source, list) else [source], k)
        count = len(tape.outputs) - tape.checks
        if self.regular and tape.checks:  # whole arrays, and not number by number
            made, operands, outputs = self.arrays.rows, self.arrays.operands, self.arrays.outputs
            taken = [made[i] is not None and made[i].name == "item" for i in outputs[count:]]  # type: ignore[union-attr]
            checks = [operands[i][0] if item else i for i, item in zip(outputs[count:], taken, strict=True)]
            self.arrays.outputs = [*outputs[:count], *dict.fromkeys(checks)]
        self.of = list(range(count) if of is None else of)
        self.parts = [Part(self, place, tape.types[tape.outputs[k]]) for place, k in enumerate(self.of)]
        for part, start in zip(self.parts, accumulate((part.size for part in self.parts), initial=0), strict=False):
            part.put(start)
        self.size = sum(part.size for part in self.parts)
        kinds = {part.dtype for part in self.parts}
        self.dtype = kinds.pop() if len(kinds) == 1 else np.dtype(float)
        shown = tape.name.replace("_", r"\_") if tape.name.isidentifier() else symbol(tape.name).latex
        text, latex = (x.replace("{", "{{").replace("}", "}}") for x in (tape.name, rf"\operatorname{{{shown}}}"))
        self.row = Primitive(
            tape.name, self.computed, self.computed, vjp=(_refused,), jvp=(_refused,), label=tape.name,
            text=text + "({})", latex=latex + r"\left({}\right)", flow=("its reverse pass",), call=self,
        )  # fmt: skip
        self._variants: dict[Any, Variant] = {}
        self._derived: dict[Any, Any] = {}

    @cached_property
    def idle(self) -> set[int]:
        """The inputs that lead to no result that is a node."""
        tape = self.tape
        results = [tape.outputs[k] for k in self.of]
        used = tape.needed(results) if tape.checks else {*results, *chain.from_iterable(tape.operands)}
        return set(range(len(tape.inputs))) - used

    @property
    def why(self) -> str:
        """Why it runs as it does."""
        if self.numbers:
            rows = sum(row is not None and row.name not in MOVES for row in optimised(self.arrays).rows)
            return f"{counted(self.numbers, 'operation')} on numbers became {rows:,} on arrays"
        return self._why if self.python else "arrays as they were written"

    # ---- running

    def variant(self, wanted: Collection[int]) -> Variant:
        """The form that gives derivatives by these inputs of the program."""
        by = frozenset([self.where[i] for i in wanted])
        if by not in self._variants:
            with uncollected():
                try:
                    self._variants[by] = Variant(self, sorted(by))
                except DomainError:  # of a derivative at a constant, which is an error where it is asked for
                    self._variants[by] = Variant(self, ())
                    self._variants[by].flows = [True] * len(self.of)
        return self._variants[by]

    def given(self, data: Sequence[Any]) -> list[Any]:
        """What the forward pass is given, of the numbers and arrays of all inputs."""
        return [[data[i] for i in source] if isinstance(source, list) else data[source] for source in self.sources]

    def run(self, data: Sequence[Any], wanted: Collection[int] = ()) -> tuple[tuple[Any, ...], Frame]:
        """All outputs, from numbers and arrays for all inputs, and the buffers of this call.

        Arrays among the outputs may be buffers.
        """
        frame = self.variant(wanted).frame()
        return frame.forward(*self.given(data)), frame

    def computed(self, *data: Any) -> Any:
        """The flat array of the results, from numbers and arrays for all inputs."""
        return self.flat(self.run(data)[0])

    def graph(self, operands: Sequence[Any]) -> list[Any]:
        """The results as the graph that the tape is, above these operands."""
        values = self.tape.replay(operands)
        return [values[self.tape.outputs[k]] for k in self.of]

    def bind(self, operands: Sequence[Any]) -> list[Any]:
        """The results of a call, as nodes, from nodes and numbers for all inputs."""
        wanted = [i for i, x in enumerate(operands) if type(x) is not float and x.needs]
        outputs, frame = self.run([x if type(x) is float else x._value for x in operands], wanted)
        return self.nodes(tuple(operands), outputs, frame)

    def flat(self, outputs: Sequence[Any], shared: bool = True) -> Any:
        """The results in one array; a single one that is not `shared` with others is that array itself."""
        if len(self.of) == 1 and self.parts[0].to and not shared:
            return outputs[self.of[0]].reshape(-1)
        out = np.empty(self.size, self.dtype)
        for k, part in zip(self.of, self.parts, strict=True):
            if not part.to:
                out[part.start] = outputs[k]
            else:
                out[part.start : part.stop] = outputs[k].reshape(-1)
        return out

    def nodes(self, operands: tuple[Any, ...], outputs: Sequence[Any], frame: Frame) -> list[Any]:
        """The results of a call, as nodes above that of the call."""
        call: Any = object.__new__(Call)
        shared = frame.variant.shared[self.of[0]]
        call._value, call.prim, call.a, call.b = self.flat(outputs, shared), self.row, operands, EMPTY
        call.frame = frame
        call.grad = call.mark = call._name = None
        call.needs = any(frame.variant.flows)
        return [part.of(call, flows) for part, flows in zip(self.parts, frame.variant.flows, strict=True)]

    def leaves(self, outputs: Sequence[Any]) -> list[Any]:
        """The results as leaves, where nothing is recorded."""
        found = []
        for k, part in zip(self.of, self.parts, strict=True):
            data = outputs[k]
            found.append(Value(data) if part.to is None else Tensor(np.array(data, part.dtype).reshape(part.to)))
        return found

    # ---- derivatives

    def pull(self, call: Any, upstream: Any, trace: bool, among: Any) -> list[tuple[Node, Any, Any]]:
        """The chain rule at a call: for each operand that needs one its contribution."""
        operands = call.a
        wanted = [i for i, x in enumerate(operands)
                  if type(x) is not float and (x.needs if among is None else x in among)]  # fmt: skip
        cotangents = [part.taken(upstream) for part in self.parts]
        try:
            if trace:
                found = self._traced(operands, wanted, cotangents)
            else:
                found = self._pulled(call.frame, operands, wanted, cotangents)
        except (ArithmeticError, ValueError):
            found = self._step_by_step(operands, wanted, cotangents, trace)
        edges = [(operands[i], None, found[i]) for i in wanted if i in found]
        for watcher in watchers:
            watcher.flowed(call, upstream, edges)
        return edges

    def _pulled(self, frame: Any, operands: Any, wanted: Sequence[int], cotangents: Sequence[Any]) -> dict[int, Any]:
        if frame is None or not {self.where[i] for i in wanted} <= set(frame.variant.by):
            frame = self.run([x if type(x) is float else x._value for x in operands], wanted)[1]
            if not {self.where[i] for i in wanted} <= set(frame.variant.by):
                raise ArithmeticError
        found: dict[int, Any] = {}
        variant = frame.variant
        for k, slope, shared in zip(variant.listed, frame.backward(*cotangents), variant.shared_slopes, strict=True):
            source = self.sources[k]
            if isinstance(source, list):
                found |= {i: g for i, g in zip(source, slope.tolist(), strict=True) if i not in self.idle}
            else:
                found[source] = np.array(slope) if shared else slope
        return {i: _of_kind(operands[i], g) for i, g in found.items()} if self.without_axes else found

    def _traced(self, operands: Any, wanted: Sequence[int], cotangents: Sequence[Any]) -> dict[int, Any]:
        key = "gradient", tuple(wanted)
        if key not in self._derived:
            tape, listed = derive.gradient(self.tape, wanted, self.of)
            self._derived[key] = Kernel(tape), listed
        kernel, listed = self._derived[key]
        return dict(zip(listed, kernel.bind([*operands, *map(_as_node, cotangents)]), strict=True)) if listed else {}

    def _step_by_step(
        self, operands: Any, wanted: Sequence[int], cotangents: Sequence[Any], trace: bool
    ) -> dict[int, Any]:
        """The same over the graph that the program is, which says where a derivative does not exist."""
        given = list(operands)
        if not trace:
            given = [x if type(x) is float else Value(x._value, x.name) if type(x._value) is float
                     else Tensor(x._value, True, x.name) for x in operands]  # fmt: skip
        with np.errstate(all="ignore"):
            results = self.graph(given)
            order = order_of_all([x for x in results if isinstance(x, Node)])
            among = derive.reached(order, [given[i] for i in wanted])
            seeds: dict[Node, Any] = {}
            for x, g in zip(results, cotangents, strict=True):
                if x in among:
                    seeds[x] = seeds[x] + g if x in seeds else g
            found = pull(order, trace, among, seeds)
        return {i: found[given[i]] for i in wanted if given[i] in found}

    def push(self, call: Any, tangents: Any, trace: bool) -> Any:
        """Forward mode at a call: how its flat array moves with the operands that have tangents."""
        operands = call.a
        by = [i for i, x in enumerate(operands) if type(x) is not float and x in tangents]
        key = "tangent", tuple(by)
        if key not in self._derived:
            self._derived[key] = Kernel(derive.tangent(self.tape, by, self.of))
        kernel, ways = self._derived[key], [tangents[operands[i]] for i in by]
        if trace:
            return kernel.bind([*operands, *map(_as_node, ways)])[0].a
        return kernel.computed(*(x if type(x) is float else x._value for x in operands), *ways)

    def back(self, call: Any, gradient: Any) -> bool:
        """There is no short way back from a call itself, which nobody has."""
        return False


class Part:
    """One result of a kernel: where it lies in the flat array, and the row that takes it from there.

    Attributes
    ----------
    place : int
        Which one it is.
    to : tuple of int or None
        Its shape; None for a Value.
    start, stop, size : int
        Where it lies.
    """

    def __init__(self, kernel: Kernel, place: int, kind: Any) -> None:
        self.kernel, self.place = kernel, place
        self.to: Any
        self.dtype: np.dtype[Any]
        self.to, self.dtype = (None, np.dtype(float)) if kind is None else kind
        self.size = 1 if self.to is None else math.prod(self.to)

    def put(self, start: int) -> None:
        """Say where it lies."""
        self.start, self.stop = start, start + self.size
        text = f"{{}}[{start}]" if self.to is None else f"{{}}[{start}:{self.stop}]"
        latex = f"{{{{{{}}}}}}_{{{{{text[3:-1]}}}}}"
        self.row = Primitive(
            "result", self.taken, self.taken, vjp=(_refused,), jvp=(_refused,), label=text[2:], text=text,
            latex=latex, flow=("G at its place, else 0",), call=self,
        )  # fmt: skip

    def of(self, call: Any, needs: bool) -> Any:
        """The result of a call, as a node."""
        out: Any
        if self.to is None:
            out = object.__new__(Value)
            out._value = float(call._value[self.start])
        else:
            out = object.__new__(Tensor)
            data = call._value[self.start : self.stop].reshape(self.to)
            out._value = data if data.dtype is self.dtype else data.astype(self.dtype, copy=False)
            out.needs = needs
        out.prim, out.a, out.b = self.row, call, EMPTY
        out.grad = out.mark = out._name = None
        return out

    def taken(self, flat: Any) -> Any:
        """The part of a flat array: a number or array, or where that is a node a node."""
        if isinstance(flat, Node):
            if self.to is None:
                return item.given(at=(self.start,))(flat)
            part = reshape.given(to=self.to)(index.given(key=(slice(self.start, self.stop),))(flat))
            return part if dtype(part) == self.dtype else cast.given(to=self.dtype)(part)
        if self.to is None:
            return float(flat[self.start])
        return np.asarray(flat[self.start : self.stop]).reshape(self.to).astype(self.dtype, copy=False)

    def pull(self, node: Any, upstream: Any, trace: bool, among: Any) -> list[tuple[Node, Any, Any]]:
        """The chain rule at a result: what flows into the flat array."""
        call, size = node.a, self.kernel.size
        if not (call.needs if among is None else call in among):
            return []
        if isinstance(upstream, Node):
            flat = upstream if self.to is None else reshape.given(to=(self.size,))(upstream)
            key: Any = (self.start,) if self.to is None else (slice(self.start, self.stop),)
            found = scatter.given(key=key, to=(size,))(flat)
            found = found if dtype(found) == self.kernel.dtype else cast.given(to=self.kernel.dtype)(found)
        else:
            found = np.zeros(size, self.kernel.dtype)
            found[self.start : self.stop] = np.reshape(upstream, -1)
        for watcher in watchers:
            watcher.flowed(node, upstream, [(call, None, found)])
        return [(call, None, found)]

    def spelled_out(self, node: Any) -> Any:
        """The result as the graph that the function computes."""
        return expanded(node)

    def push(self, node: Any, tangents: Any, trace: bool) -> Any:
        """Forward mode at a result."""
        return self.taken(tangents[node.a])

    def back(self, node: Any, gradient: Any) -> bool:
        """A backward pass from a result of a kernel that was called on leaves: at once, and it says so."""
        call, kernel = node.a, self.kernel
        frame = call.frame
        if frame is None or frame.owners is None or not frame.variant.listed:
            return False
        seed = np.zeros(kernel.size, kernel.dtype)
        seed[self.start : self.stop] = gradient if self.to is None else np.reshape(gradient, -1)
        cotangents = [gradient if part is self else part.taken(seed) for part in kernel.parts]
        try:
            slopes = frame.backward(*cotangents)
        except (ArithmeticError, ValueError):
            return False
        node.grad, call.grad = gradient, seed
        variant, slopes = frame.variant, list(slopes)
        for n, (k, shared) in enumerate(zip(variant.listed, variant.shared_slopes, strict=True)):
            owner, slope = frame.owners[k], slopes[n]
            slopes[n] = None  # so that nobody else has it
            if type(owner) is list:
                numbers = slope.tolist()
                if kernel.without_axes:
                    numbers = list(map(_of_kind, owner, numbers))
                for leaf, g in zip(owner, numbers):  # noqa: B905, which costs a tenth
                    if leaf.grad is None:
                        leaf.grad = g
                    else:
                        leaf.grad += g
            elif type(slope) is float and type(owner) is Value:
                owner.grad = slope if owner.grad is None else owner.grad + slope
            elif owner.needs:
                slope = _of_kind(owner, np.array(slope) if shared else slope)
                owner.grad = slope if owner.grad is None else owner.collect(slope)
        return True


def _of_kind(x: Any, slope: Any) -> Any:
    """A derivative by an operand: of a Tensor without axes an array of its dtype, where numbers were computed with."""
    if not isinstance(x, Tensor) or getattr(slope, "dtype", None) is x._value.dtype:
        return slope
    return np.asarray(slope, x._value.dtype)


def _as_node(x: Any) -> Any:
    """A number as it is, an array as a leaf."""
    return x if type(x) is float or isinstance(x, Node) else leaf(x)


def _refused(*args: Any, **params: Any) -> Any:
    raise TypeError("a kernel is differentiated as a whole")

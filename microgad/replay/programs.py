"""`trace`: what a function computes, as a program to be read, run, drawn and written down."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from microgad.errors import InputError, MicrogadError, ShapeError, brief, shown
from microgad.naming import counted, function_name, listed, literal
from microgad.node import Node
from microgad.primitive import tracing
from microgad.scopes import Scope
from microgad.structural import item, scatter
from microgad.symbolic import numeral
from microgad.tape import Input, Instruction, Tape
from microgad.tensor import Tensor
from microgad.tracers import numbers_of
from microgad.trees import Structure, tree_flatten, tree_unflatten
from microgad.value import Value

from . import derive
from .kernel import Kernel, is_strict
from .optimise import optimised
from .python import Writer
from .regroup import IrregularError, regrouped
from .rows import results
from .rules import READABLE
from .scalars import scalars
from .traced import Static, Traced, flattened, is_data, uncollected

LINES = 100  # of a listing; a longer one says how many are missing


class Form(NamedTuple):
    """How a program is called and how it answers: the structures, and what the leaves of the answer are."""

    signature: inspect.Signature | None
    arguments: Structure
    given: list[Static | None]  # of each leaf of the arguments: None if it is data
    called: list[str]  # the names of these leaves
    results: Structure
    answers: list[Any]  # of each leaf of the results which output it is, or a Static


class Program:
    """A function as instructions in static single assignment form: each makes one value, which never changes.

    ``print`` it to read it; call it as the function; `microgad.viz.draw` draws it.

    Attributes
    ----------
    name : str
        That of the function.
    arguments : list of Input
        The numbers and arrays that it is given, with names, shapes and dtypes.
    parameters : list of Input
        The leaves that it closes over, with their `node`; their numbers are read in each call. In a regrouped program
        many numbers are one array, and `node` the tuple of the leaves in its order.
    constants : list
        The numbers and arrays that stand in it.
    instructions : list of Instruction
        What makes which value of which others, counted with the inputs and the constants.
    outputs : list of int
        The values that come out.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(3.0, "w")
    >>> program = mg.trace(lambda x, y: mg.relu(w * x + y) * (2.0 * 2.0), 1.0, 2.0)
    >>> print(program)
    <lambda>(x, y): 4 instructions
      parameters w
      v1 = w * x
      v2 = v1 + y
      v3 = relu(v2)
      v4 = v3 * 4
      return v4
    >>> program(1.0, 2.0)
    20.0
    """

    def __init__(
        self, tape: Tape, raw: Callable[[], Tape], form: Form, inputs: Sequence[Input],
        sources: Sequence[int | list[int]] | None = None,
    ) -> None:  # fmt: skip
        self.tape, self._made, self._form, self._inputs = tape, raw, form, inputs
        self._sources = sources  # of a regrouped one: of which inputs each of its own is made
        self._regrouping: Callable[[], Program] | None = None  # how to regroup it, if not by itself
        self._kernel: Kernel | None = None

    @cached_property
    def _raw(self) -> Tape:
        """The program as it was traced, number by number."""
        return self._made()

    name = property(lambda self: self.tape.name)
    arguments = property(lambda self: [x for x in self.tape.inputs if x.node is None])
    parameters = property(lambda self: [x for x in self.tape.inputs if x.node is not None])
    constants = property(lambda self: list(self.tape.numbers.values()))
    outputs = property(lambda self: list(self.tape.outputs))

    @property
    def instructions(self) -> list[Instruction]:
        """What makes each value."""
        tape = self.tape
        each = zip(tape.rows, tape.operands, tape.types, strict=True)
        return [Instruction(i, row, given, kind) for i, (row, given, kind) in enumerate(each) if row is not None]

    def __len__(self) -> int:
        used = {x for given in self.tape.operands for x in given}
        return sum(not self._the_same(x.value) and not self._only_out(x.value, used) for x in self.instructions)

    # ---- as text

    def __str__(self) -> str:
        tape = self.tape
        users = Counter(x for given in tape.operands for x in given)
        inside = self._inside(users)
        names = self._names(inside)
        arrays = [self._said(i, names) for i, x in tape.numbers.items() if np.ndim(x) and users[i]]
        head = [listed([self._said(i, names) for i, x in enumerate(tape.inputs) if (x.node is None) is given])
                for given in (True, False)]  # fmt: skip
        lines = []
        for i, row, operands, _ in self.instructions:
            if self._the_same(i):
                continue
            texts = [_enclosed(names[x]) for x in operands]
            text = row.text.format(*texts if row.text.count("{}") == len(texts) else [", ".join(texts)])
            if i in inside:
                names[i] = text
            else:
                lines.append(f"  {self._said(i, names)} = {text}")
        if len(lines) > LINES:
            lines[LINES:] = [f"  … and {len(lines) - LINES:,} more"]
        made = [brief(x.value) if type(x) is Static else names[tape.outputs[x]] for x in self._form.answers]
        lines += [f"  return {listed(made)}"]
        ahead = [f"  parameters {head[1]}"] * bool(head[1]) + [f"  constants {listed(arrays)}"] * bool(arrays)
        return "\n".join([f"{tape.name}({head[0]}): {counted(len(self), 'instruction')}", *ahead, *lines])

    __repr__ = __str__

    def _inside(self, users: Counter[int]) -> set[int]:
        """What stands in the line that uses it: products, as in W @ x + b, and numbers of arrays that come out."""
        tape, outputs = self.tape, set(self.tape.outputs)
        last = {x: i for i, given in enumerate(tape.operands) for x in given}
        return {
            i for i, row in enumerate(tape.rows) if row is not None and (
                (row.name == "matmul" and users[i] == 1 and i not in outputs
                 and tape.rows[last[i]].name in ("add", "sub"))  # type: ignore[union-attr]
                or self._only_out(i, users)
            )
        }  # fmt: skip

    def _names(self, inside: Collection[int] = ()) -> list[str]:
        """What each value is called; of those that stand inside of another one, no number is used up."""
        tape, taken, found = self.tape, set[str](), list[str]()
        count = {"v": 0, "p": 0, "C": 0}
        for i, row in enumerate(tape.rows):
            if self._the_same(i):
                found.append(found[tape.operands[i][0]])
                continue
            if i in inside or (i in tape.numbers and not np.ndim(tape.numbers[i])):
                found.append("" if i in inside else numeral(tape.numbers[i], 6).text)
                continue
            own = tape.names.get(i)
            wish = "" if own is None or (type(own) is Scope and own.made_up) else literal(str(own))
            stem = "v" if row is not None else "C" if i in tape.numbers else "p"
            while not wish or wish in taken:
                count[stem] += 1
                wish = f"{stem}{count[stem]}"
            taken.add(wish)
            found.append(wish)
        return found

    def _the_same(self, i: int) -> bool:
        """Whether a value is only an array without axes as a number, or the other way round."""
        row, tape = self.tape.rows[i], self.tape
        return row is not None and row.params.get("at", row.params.get("key", 0)) == () and len(tape.operands[i]) == 1

    def _only_out(self, i: int, used: Collection[int]) -> bool:
        """Whether a value is a number of an array, that is a result and nothing else."""
        row = self.tape.rows[i]
        return row is not None and row.name == "item" and i not in used and not self._the_same(i)

    def _said(self, i: int, names: Sequence[str]) -> str:
        kind = self.tape.types[i]
        if kind is None:
            return names[i]
        return f"{names[i]}: {kind[0]}{'' if kind[1] == np.float64 else f' {kind[1]}'}"

    # ---- run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns.

        From plain numbers and arrays come plain numbers and arrays. Values and Tensors record a node for each
        instruction, as in the function itself; so programs can be parts of other functions, and be differentiated.

        Raises
        ------
        InputError
            If the arguments differ in structure from those of the example, or in what is no number.
        ShapeError
            If an array has another shape.
        DomainError
            If a number is outside the domain of a row.
        """
        form = self._form
        leaves, structure = flattened(*_bound(form.signature, self.name, args, kwargs))
        if structure != form.arguments:
            raise InputError(f"{self.name} was traced with arguments {form.arguments}, and is given {structure}")
        data: list[Any] = []
        for x, static, called in zip(leaves, form.given, form.called, strict=True):
            if static is not None and x != static:
                got = x.value if type(x) is Static else x
                raise InputError(f"{self.name} was traced with {called} = {brief(static.value)}, not {brief(got)}")
            if static is None and type(x) is Static:
                raise InputError(f"{self.name}: {called} is a number or an array, not {shown(x.value)}")
            if static is None:
                data.append(numbers_of(getattr(x, "_value", x)))
        inputs = self._inputs
        for one, x in zip(inputs, data, strict=False):
            of = () if one.type is None else one.type[0]
            if np.shape(x) != of:
                raise ShapeError(f"{self.name}: {one.name} has the shape {np.shape(x)}, and was traced with {of}")
        if (tracing and get_ident() in tracing) or any(isinstance(x, Node) for x in leaves):
            pairs = zip((x for x in leaves if type(x) is not Static), data, strict=True)
            given = [x if isinstance(x, Node) else y for x, y in pairs]
            values = self._raw.replay([*given, *(x.node for x in inputs[len(data) :])])
            return self._answer([values[i] for i in self._raw.outputs])
        data += [x.node._value for x in inputs[len(data) :]]
        given = data
        if self._sources is not None:
            given = [np.array([data[i] for i in s]) if isinstance(s, list) else data[s] for s in self._sources]
        if self._kernel is None:
            self._kernel = Kernel(self.tape if self._sources is not None else self._raw)
        try:
            outputs = self._kernel.run(given)[0]
        except (ArithmeticError, ValueError) as error:
            if isinstance(error, MicrogadError) or not self._kernel.scalar:
                raise
            values = self._raw.replay(data)
            outputs = tuple([values[i] for i in self._raw.outputs])
        return self._answer([x if type(x) is float else np.array(x) for x in outputs])

    def _answer(self, outputs: Sequence[Any]) -> Any:
        """The outputs in the structure of what the function returns."""
        form = self._form
        return tree_unflatten(form.results, [x.value if type(x) is Static else outputs[x] for x in form.answers])

    def gradient(self) -> Program:
        """The program of the derivatives of the result, which has to be one number.

        Returns
        -------
        Program
            Of the same arguments. It returns the derivative by each argument, in its structure, and then by each
            parameter: a tuple, where it is not a single one.

        Raises
        ------
        ShapeError
            If the result is not one number.
        DomainError
            If a derivative does not exist at the constants of the program.

        Examples
        --------
        >>> import microgad as mg
        >>> program = mg.trace(lambda x, y: x * x * y, 3.0, 2.0).gradient()
        >>> print(program)
        <lambda>(x, y): 3 instructions
          v1 = x * x
          v2 = y * x
          v3 = 2 * v2
          return v3, v1
        >>> program(3.0, 2.0)
        (12.0, 9.0)
        """
        self._one_number("gradient")
        tape, sources, form, count = self.tape, self._sources, self._form, iter(range(len(self._inputs)))
        if sources is None:
            slopes = _slopes(self._raw)
            raw = lambda: slopes  # noqa: E731
        else:
            slopes, before = _slopes(tape), self._made
            raw = lambda: _slopes(before())  # noqa: E731
            places: dict[int, int] = {}  # of each number in the arrays
            for k, source in enumerate(sources):
                at = [(j, item.given(at=(p,))) for p, j in enumerate(source)] if isinstance(source, list) else ()
                places |= {j: slopes.emit(row, (slopes.outputs[k],), None) for j, row in at}
                places |= {} if isinstance(source, list) else {source: slopes.outputs[k]}
            slopes.outputs = [places[i] for i in range(len(self._inputs))]
        tree = tree_unflatten(form.arguments, [next(count) if x is None else None for x in form.given])
        parts = [*tree[0], *tree[1].values(), *count]
        answers, structure = tree_flatten(parts[0] if len(parts) == 1 else tuple(parts))
        form = form._replace(results=structure, answers=answers)
        found = Program(optimised(slopes, READABLE), raw, form, self._inputs, sources)
        found._regrouping = lambda: self.regrouped().gradient()  # of arrays, for those of the derivatives follow
        return found

    def regrouped(self) -> Program:
        """The program with numbers that are computed in the same way as arrays: sums of products as matrix products.

        Returns
        -------
        Program
            Of the same arguments; the numbers among them lie in arrays. It is the program itself where it is irregular:
            almost every number is computed in a way of its own. `jit` asks for more, 8 numbers that are computed alike.

        Examples
        --------
        >>> import microgad as mg
        >>> def layer(W, b, x):
        ...     return [mg.relu(sum(w * u for w, u in zip(row, x)) + c) for row, c in zip(W, b)]
        >>> W = [[mg.Value(0.1 * i) for i in range(3)] for _ in range(4)]
        >>> b = [mg.Value(0.5) for _ in range(4)]
        >>> program = mg.trace(lambda x: layer(W, b, x), [1.0, 2.0, 3.0]).regrouped()
        >>> print(program)
        <lambda>(x: (3,)): 5 instructions
          parameters p: (16,)
          W1: (4, 3) = p[0:16].reshape(4, 4)[:, :3]
          b1: (4,) = p[3:16:4]
          v1: (4,) = W1 @ x + b1
          v2: (4,) = relu(v1)
          return v2[0], v2[1], v2[2], v2[3]
        >>> [round(y, 12) for y in program([1.0, 2.0, 3.0])]
        [1.3, 1.3, 1.3, 1.3]
        """
        if self._regrouping is not None:
            found = self._regrouping()
            if found._sources is not None:
                return found
        try:
            tape, sources = regrouped(scalars(self._raw), alike=1.5)
        except IrregularError:
            return self
        tape, sources = _single(tape, sources)
        tape.strict = is_strict(self._raw)
        return Program(optimised(tape, READABLE), self._made, self._form, self._inputs, sources)

    def to_python(self) -> str:
        """The program as a function in Python that needs NumPy and nothing else, and can be read.

        Returns
        -------
        str
            The source of a function of the arguments, then the parameters; many single numbers among these are one
            array ``p``. It returns the value and, where that is one number, its derivatives by all of them, in the
            order of the arguments.

        Raises
        ------
        InputError
            If there is a primitive of the user's own in it.

        Examples
        --------
        >>> import microgad as mg
        >>> source = mg.trace(lambda x, y: x * mg.tanh(y), 1.0, 2.0).to_python()
        >>> print(source[source.index("d_x = ") :].rstrip())
        d_x = np.tanh(y)
            v1 = x * d_x
            # backward
            v2 = d_x * d_x
            v3 = 1.0 - v2
            d_y = x * v3
            return v1, (d_x, d_y)
        """
        tape, by = self.tape, list[int]()
        if len(tape.outputs) == 1 and (tape.types[tape.outputs[0]] or ((),))[0] == ():
            joint, listed = derive.with_gradient(tape, range(len(tape.inputs)), [0])
            joint, by = _seeded(joint, len(tape.inputs)), list(range(len(tape.inputs)))
            _by_all(joint, 1, listed)
            tape = optimised(joint, READABLE)
        return Writer(tape, len(self.tape.outputs), by).source()

    def graph(self) -> list[Any]:
        """The results as nodes, above leaves with the numbers of the example: the graph that the program is.

        Examples
        --------
        >>> import microgad as mg
        >>> [f] = mg.trace(lambda x: x * x, 3.0).graph()
        >>> f.data, f.op
        (9.0, '×')
        """
        leaves = derive.leaves_of(self.tape.inputs)
        values, tape = self.tape.replay(leaves), self.tape
        names = self._names(self._inside(Counter(x for given in tape.operands for x in given)))
        for i, x in enumerate(values):  # arrays are called as in the listing
            if i >= len(leaves) and isinstance(x, Tensor) and not x._name and names[i]:
                x._name = names[i]
        return [values[i] for i in tape.outputs]

    def root(self) -> Node:
        """One node above the whole graph: the result, or what holds all of them.

        Examples
        --------
        >>> import microgad as mg
        >>> mg.trace(lambda x: (x * x, x + 1.0), 3.0).root().op
        'results'
        """
        nodes = [x if isinstance(x, Node) else Value(x) if type(x) is float else Tensor(x) for x in self.graph()]
        found: Node = nodes[0] if len(nodes) == 1 else results(*nodes) if nodes else Tensor(np.zeros(0), name=self.name)
        if found.prim is not None and not found._name and self.name.isidentifier():
            found._name = self.name
        return found

    def _one_number(self, what: str) -> None:
        kinds = [self.tape.types[i] for i in self.tape.outputs]
        if len(kinds) != 1 or (kinds[0] is not None and kinds[0][0] != ()):
            raise ShapeError(f"{what} of {self.name}: it returns {self._form.results!s:.60}, and not one number")


def _single(tape: Tape, sources: Sequence[int | list[int]]) -> tuple[Tape, list[int | list[int]]]:
    """A regrouped program that is given a number where an array would hold a single one."""
    single = {i for i, x in enumerate(sources) if isinstance(x, list) and len(x) == 1}
    inputs = list(tape.inputs)
    for i in single:
        x = inputs[i]
        inputs[i] = x._replace(type=None, example=float(x.example[0]), node=None if x.node is None else x.node[0])
    found, now = Tape(tape.name, inputs), list(range(len(inputs)))
    for i in single:
        now[i] = found.emit(scatter.given(key=(0,), to=(1,)), (i,), tape.types[i])
    for i in range(len(inputs), len(tape.rows)):
        row, operands = tape.rows[i], tape.operands[i]
        if row is None:
            now.append(found.constant(tape.numbers[i]))
        elif row.name == "item" and operands[0] in single:
            now.append(operands[0])
        else:
            now.append(found.emit(row, [now[x] for x in operands], tape.types[i]))
    found.names |= {now[i]: name for i, name in tape.names.items() if i >= len(inputs)}
    found.outputs, found.strict = [now[i] for i in tape.outputs], tape.strict
    return found, [x[0] if i in single and isinstance(x, list) else x for i, x in enumerate(sources)]


def _seeded(tape: Tape, i: int) -> Tape:
    """The derivatives of one number: its cotangent, an input, is 1."""
    kind = tape.types[i]
    return tape.bound({i: 1.0 if kind is None or kind[1] == np.float64 else np.ones(*kind)})


def _by_all(tape: Tape, first: int, listed: Sequence[int]) -> None:
    """Let the outputs from `first` on, derivatives by the inputs that are listed, be those by all: 0 by the others."""
    slopes = dict(zip(listed, tape.outputs[first:], strict=True))
    for i in range(len(tape.inputs)):
        if i not in slopes:
            kind = tape.types[i]
            slopes[i] = tape.constant(0.0 if kind is None else np.zeros(*kind))
    tape.outputs[first:] = [slopes[i] for i in range(len(tape.inputs))]


def _slopes(tape: Tape) -> Tape:
    """The derivatives of the first output of a program by all of its inputs."""
    by = list(range(len(tape.inputs)))
    found, listed = derive.gradient(tape, by, [0])
    found = _seeded(found, len(by))
    _by_all(found, 0, listed)
    return found


def _enclosed(name: str) -> str:
    return f"({name})" if name.startswith("-") else name


def trace(f: Callable[..., Any], *example: Any, **kwargs: Any) -> Program:
    """Run a function once, and see what it computes, as a program.

    Constants are folded, what is computed twice is computed once, and what leads to no result is left out.

    Parameters
    ----------
    f : callable
        A function of numbers, arrays, Values and Tensors, and of lists, tuples and dicts of them, in operators and
        functions of microgad. Anything else among its arguments, such as text or True, is a part of it.
    *example, **kwargs
        Arguments; what comes out holds for all of their structure, shapes and dtypes.

    Returns
    -------
    Program
        To ``print``, to call, and to make others of: `gradient`, `regrouped`, `to_python`.

    Raises
    ------
    InputError
        If `f` is no function.
    TraceError
        If the function does what a program cannot do again: branch on a number, set a leaf, call ``backward``, draw
        random numbers. It names the line.

    Notes
    -----
    What `f` reads besides its arguments and besides Values and Tensors, such as numbers and arrays of its module, is
    frozen.

    Examples
    --------
    >>> import microgad as mg
    >>> def f(x, y, z):
    ...     return (x + y) * z
    >>> program = mg.trace(f, -2.0, 5.0, -4.0)
    >>> print(program)
    f(x, y, z): 2 instructions
      v1 = x + y
      v2 = v1 * z
      return v2
    >>> program(1.0, 2.0, 3.0)
    9.0
    """
    if not callable(f):
        raise InputError(f"trace is that of a function, not of {shown(f)}")
    name = function_name(f)
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # of a function in C
        signature = None
    args, kwargs = _bound(signature, name, example, kwargs)
    with uncollected():
        traced = Traced(f, args, kwargs, name, alone=True)
    tape, leaves = traced.tape, flattened(args, kwargs)[0]
    answers, outputs = list[Any](), list[int]()
    for x in traced.results:
        if type(x) is not Static:
            outputs.append(tape.outputs[x])
        elif is_data(x.value):  # what does not depend on the arguments is a constant of it
            outputs.append(tape.constant(np.array(x.value, float) if np.ndim(x.value) else float(x.value)))
        else:
            answers.append(x)
            continue
        answers.append(len(outputs) - 1)
    tape.outputs = outputs
    given = [None if data else x for x, data in zip(leaves, traced.given, strict=True)]
    form = Form(signature, traced.arguments, given, traced.called, traced.structure, answers)
    return Program(optimised(tape, {}), lambda: tape, form, tape.inputs)


def _bound(signature: inspect.Signature | None, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments by position, as far as they have one."""
    if signature is None:
        return args, kwargs
    try:
        found = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InputError(f"{name}: {error}") from None
    return found.args, found.kwargs

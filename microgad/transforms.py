"""Transforms: from a function to its derivatives, of any order, over nested lists, tuples and dicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from .array_functions import as_array, stack
from .autodiff import one_number, pull
from .errors import InputError, ShapeError, shown
from .forward_mode import push
from .node import Node
from .order import EMPTY, dependents, order_of_all
from .primitives import identity
from .recording import recording
from .structural import cast, dtype, item, reshape, shape
from .tensor import Tensor
from .trees import Structure, same_structure, tree_flatten, tree_map, tree_unflatten
from .value import Value

MAX_AXES = 64  # of a NumPy array
OPEN = replace(identity, name="variable")  # the row of a variable while its derivative is under way


class Run:
    """One call of a function on variables, and the graph that it left."""

    def __init__(self, trees: Sequence[Any], what: str) -> None:
        self.given, self.structures = [], []
        for i, tree in enumerate(trees):
            leaves, structure = tree_flatten(tree)
            self.given += [_leaf(x, f"{what}: argument {i}") for x in leaves]
            self.structures.append(structure)
        # Each variable is a node of its own. What the function sees of the same number by another way, as an
        # inner derivative sees the variable of an outer one, is no part of this derivative.
        self.variables = [OPEN.bind(Value if shape_of(x) is None else Tensor, (x,)) for x in self.given]
        for variable in self.variables:
            if isinstance(variable, Tensor):
                variable.requires_grad = True

    def arguments(self) -> list[Any]:
        """The variables in the places of what was given."""
        return self.trees(self.variables)

    def trees(self, leaves: Sequence[Any]) -> list[Any]:
        """Something for each variable, in the structure of the arguments."""
        rest, made = list(leaves), []
        for structure in self.structures:
            made.append(tree_unflatten(structure, rest[: structure.count]))
            rest = rest[structure.count :]
        return made

    def returned(self, out: Any, what: str) -> None:
        """Take note of what the function gave."""
        leaves, self.structure = tree_flatten(out)
        self.results = [x if isinstance(x, Node) else _constant(x, what) for x in leaves]
        self.order = order_of_all(self.results)
        self.among = dependents(self.order, self.variables)
        # The variable of an outer derivative stands open among them where that has to differentiate this result.
        outer = any(node.prim is OPEN and node not in self.among for node in self.order)
        self.trace = outer or any(isinstance(x, Node) for x in self.given)

    def close(self) -> None:
        """From here on the variables are constants, or the nodes that were given."""
        for variable, x in zip(self.variables, self.given, strict=True):
            if isinstance(x, Node):
                variable.prim = identity
            else:
                variable.prim, variable.a, variable.b = None, EMPTY, EMPTY

    def pulled(self, seeds: dict[Node, Any], trace: bool) -> list[Any]:
        """For each variable the derivative of the results times `seeds`, in the kind that was given."""
        found = pull(self.order, trace, self.among, seeds)
        return distinct([as_given(found.get(v, 0.0), x) for v, x in zip(self.variables, self.given, strict=True)])

    def pushed(self, tangents: Sequence[Any], trace: bool) -> list[Any]:
        """For each result how it moves with the variables."""
        found = push(self.order, dict(zip(self.variables, tangents, strict=True)), trace)
        return [found.get(node, 0.0) for node in self.results]

    def value(self, node: Node, moved: Any = None) -> Any:
        """A result, or how it moves, as the caller sees it: a node where the call was traced."""
        x = node if moved is None else moved
        if isinstance(x, Node) and (self.trace or moved is not None):
            return x if dtype(x) == dtype(node) else cast.given(to=dtype(node))(x)
        x = getattr(x, "_data", x)
        if type(node._data) is float:
            return Value(x) if self.trace else float(x)
        x = np.asarray(x, dtype(node))
        x = x if x.shape == shape(node) else np.full(shape(node), x)
        if self.trace:
            return Tensor(x)
        return np.array(x) if np.ndim(x) else float(x)


def shape_of(x: Any) -> tuple[int, ...] | None:
    """The shape of an argument; None for a number or a Value."""
    if isinstance(x, Node):
        return None if type(x._data) is float else x._data.shape
    return x.shape if isinstance(x, np.ndarray) else None


def _leaf(x: Any, where: str) -> Any:
    try:
        return x if isinstance(x, Node) else as_array(x) if isinstance(x, np.ndarray) else Value.constant(x)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _constant(x: Any, what: str) -> Node:
    try:
        made = Tensor(x) if isinstance(x, np.ndarray) else Value(x)
    except InputError:
        raise InputError(f"{what}: the function gave {shown(x)}, which is no number") from None
    return made


def as_given(part: Any, x: Any) -> Any:
    """A derivative by `x` as a number, array or node like `x`; what was traced stays a node."""
    if isinstance(part, Node):
        return part
    to = shape_of(x)
    if to is None:
        return Value(part) if isinstance(x, Node) else float(part)
    part = np.asarray(part, dtype(x))
    part = part if part.shape == to else np.full(to, part)
    return Tensor(part) if isinstance(x, Node) else part


def distinct(parts: list[Any]) -> list[Any]:
    """The same arrays, but none twice and none a view: what a caller changes in one is in no other."""
    seen: set[int] = set()
    for i, x in enumerate(parts):
        if isinstance(x, np.ndarray):
            if x.base is not None or id(x) in seen or not x.flags.writeable:
                parts[i] = x = np.array(x)
            seen.add(id(x))
    return parts


@contextmanager
def running(f: Callable[..., Any], trees: Sequence[Any], call: Callable[[list[Any]], Any], what: str) -> Iterator[Run]:
    """A call of `f`, with its variables open while the body of the ``with`` block computes derivatives."""
    with recording():
        run = Run(trees, what)
        try:
            run.returned(call(run.arguments()), what)
            yield run
        finally:
            run.close()


def _function(f: Any, what: str) -> None:
    if not callable(f):
        raise InputError(f"{what} is that of a function, not of {shown(f)}")


def _chosen(argnums: Any, what: str) -> tuple[int, ...]:
    chosen = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    if any(type(i) is not int for i in chosen):
        raise InputError(f"argnums is the position of an argument, or several, not {shown(argnums)}")
    return chosen


def _places(chosen: tuple[int, ...], args: Sequence[Any], what: str) -> list[int]:
    """The positions counted from 0, each once."""
    if any(not -len(args) <= i < len(args) for i in chosen):
        numbers = chosen[0] if len(chosen) == 1 else chosen
        raise InputError(f"{what} by argument {numbers} of a call with {len(args)} positional arguments")
    return list(dict.fromkeys(i % len(args) for i in chosen))


def _call(f: Callable[..., Any], args: Sequence[Any], kwargs: Any, places: list[int]) -> Callable[[list[Any]], Any]:
    def call(variables: list[Any]) -> Any:
        full = list(args)
        for i, variable in zip(places, variables, strict=True):
            full[i] = variable
        return f(*full, **kwargs)

    return call


def _by_argument(parts: list[Any], places: list[int], chosen: tuple[int, ...], argnums: Any, args: Any) -> Any:
    """The part of each chosen argument: alone for one, as a tuple for a tuple."""
    of = dict(zip(places, parts, strict=True))
    listed = tuple(of[i % len(args)] for i in chosen)
    return listed if isinstance(argnums, Sequence) else listed[0]


def value_and_grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function's result and its derivative, from one forward and one backward pass.

    Parameters
    ----------
    f : callable
        A function that returns one number; with `has_aux`, a pair of that and anything else.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple the derivative is a tuple.
    has_aux : bool
        Whether `f` returns more than the number; then the value is a pair, too.

    Returns
    -------
    callable
        Of the same arguments as `f`; it returns ``(value, derivative)``, the derivative as `grad` gives it.

    Examples
    --------
    >>> value_and_grad(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 3.0})
    (6.0, {'a': 3.0, 'b': 2.0})
    """
    _function(f, "value_and_grad")
    chosen = _chosen(argnums, "value_and_grad")

    def both(*args: Any, **kwargs: Any) -> Any:
        places, aux = _places(chosen, args, "grad"), None
        called = _call(f, args, kwargs, places)

        def call(variables: list[Any]) -> Any:
            nonlocal aux
            out = called(variables)
            if has_aux:
                if not isinstance(out, (tuple, list)) or len(out) != 2:
                    raise InputError(f"with has_aux the function returns a pair, not {shown(out)}")
                out, aux = out
            return one_number(out, "grad")

        with running(f, [args[i] for i in places], call, "grad") as run:
            [root] = run.results
            parts = run.trees(run.pulled({root: root.seed()}, run.trace))
            value = run.value(root)
            if has_aux:
                plain = tree_map(lambda x: run.value(x) if isinstance(x, Node) and x in run.among else x, aux)
                value = (value, plain)
        return value, _by_argument(parts, places, chosen, argnums, args)

    return both


def grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The derivative of a function, as a function that takes the same arguments.

    Numbers give numbers, arrays give arrays, lists, tuples and dicts of them the same of derivatives. Values and
    Tensors give nodes, which belong to the graph and can go backward. The call raises an `InputError` where an
    argument is missing or holds no numbers, and a `ShapeError` where the result of `f` is not one number.

    Parameters
    ----------
    f : callable
        A function that returns one number, in operators and functions of `microgad`.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple the result is a tuple.
    has_aux : bool
        Whether `f` returns a pair of the number and anything else; then so does the derivative.

    Examples
    --------
    >>> cube = lambda x: x**3
    >>> grad(cube)(2.0), grad(grad(cube))(2.0)
    (12.0, 12.0)
    >>> import numpy as np
    >>> grad(lambda w: (w * w).sum())(np.array([1.0, 2.0]))
    array([2., 4.])
    """
    _function(f, "grad")
    both = value_and_grad(f, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def _like(structures: Sequence[Structure], xs: Sequence[Any], trees: Any, what: str) -> list[Any]:
    """Cotangents or tangents for the leaves `xs`, checked: a number or array for each, of its shape."""
    if not isinstance(trees, (list, tuple)) or len(trees) != len(structures):
        raise InputError(f"{what}: {shown(trees)} has to be a tuple of {len(structures)}")
    leaves = [x for s, tree in zip(structures, trees, strict=True) for x in same_structure(s, tree, what)]
    found = []
    for x, like in zip(leaves, xs, strict=True):
        given = _leaf(x, what)
        to = shape_of(like) or ()
        if (shape_of(given) or ()) != to:
            raise ShapeError(f"{what}: {shown(x)} of shape {shape_of(given) or ()} for a number or array of shape {to}")
        scalar = shape_of(like) is None
        if isinstance(given, Node):
            wrong = scalar != (type(given._data) is float)
            given = given if not wrong else item.given(at=())(given) if scalar else stack([given]).reshape(())
        else:
            given = float(given) if scalar else as_array(given, getattr(getattr(like, "_data", like), "dtype", None))
        found.append(given)
    return found


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """A function's result, and the function from a cotangent of the result to those of the arguments (reverse mode).

    Parameters
    ----------
    f : callable
        A function of numbers, arrays, or lists, tuples and dicts of them, that returns the like.
    *primals
        Its arguments.
    has_aux : bool
        Whether `f` returns a pair of its result and anything else, which then is returned third.

    Returns
    -------
    (result, function)
        The function takes a cotangent in the structure and shapes of the result, and returns a tuple with one for each
        argument. It can be called any number of times.

    Examples
    --------
    >>> out, pullback = vjp(lambda x, y: (x * y, x + y), 2.0, 3.0)
    >>> out, pullback((1.0, 0.0)), pullback((0.0, 1.0))
    ((6.0, 5.0), (3.0, 2.0), (1.0, 1.0))
    """
    _function(f, "vjp")
    aux = None

    def call(variables: list[Any]) -> Any:
        nonlocal aux
        out = f(*variables)
        if has_aux:
            out, aux = out
        return out

    with running(f, primals, call, "vjp") as run:
        out = tree_unflatten(run.structure, [run.value(x) for x in run.results])

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        with recording():
            given = _like([run.structure], run.results, (cotangent,), "cotangent")
            trace = run.trace or any(isinstance(x, Node) for x in given)
            seeds: dict[Node, Any] = {}
            for node, x in zip(run.results, given, strict=True):
                seeds[node] = seeds[node] + x if node in seeds else x
            return tuple(run.trees(run.pulled(seeds, trace)))

    return (out, pullback, aux) if has_aux else (out, pullback)


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """A function's result, and how it moves when its arguments move along tangents (forward mode).

    Parameters
    ----------
    f : callable
        A function of numbers, arrays, or lists, tuples and dicts of them, that returns the like.
    primals, tangents : tuple or list
        The arguments, and for each its direction in the same structure and shapes.

    Returns
    -------
    (result, tangent)
        The tangent has the structure and shapes of the result.

    Examples
    --------
    >>> jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.5))
    (6.0, 4.0)
    """
    _function(f, "jvp")
    if not isinstance(primals, (list, tuple)) or not isinstance(tangents, (list, tuple)):
        raise InputError(f"jvp takes its arguments as a tuple, and so their tangents, not {shown(primals)}")
    with running(f, primals, lambda variables: f(*variables), "jvp") as run:
        given = _like(run.structures, run.given, tangents, "tangent")
        trace = run.trace or any(isinstance(x, Node) for x in given)
        moved = run.pushed(given, trace)
        outs = [run.value(node) for node in run.results]
        ways = [run.value(node, way) for node, way in zip(run.results, moved, strict=True)]
    return tree_unflatten(run.structure, outs), tree_unflatten(run.structure, distinct(ways))


def _unit(x: Any, k: int) -> Any:
    """The direction in which number `k` of `x` moves alone."""
    to = shape_of(x)
    if to is None:
        return 1.0
    one = np.zeros(to, getattr(getattr(x, "_data", x), "dtype", float))
    one.reshape(-1)[k] = 1.0
    return one


def _numbers(x: Any) -> int:
    return math.prod(shape_of(x) or ())


def jacobian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The derivative of each number of a function's result by each number of an argument.

    Forward or reverse mode, whichever takes fewer passes: one for each number of the argument, or of the result.

    Parameters
    ----------
    f : callable
        A function of numbers, arrays, or lists, tuples and dicts of them, that returns the like.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple there is a tuple of derivatives.

    Returns
    -------
    callable
        Of the same arguments. It returns the structure of the result, and at each leaf of it the structure of the
        argument, with arrays of shape ``result.shape + argument.shape``.

    Examples
    --------
    >>> import numpy as np
    >>> jacobian(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    _function(f, "jacobian")
    chosen = _chosen(argnums, "jacobian")

    def full(*args: Any, **kwargs: Any) -> Any:
        places = _places(chosen, args, "jacobian")
        with running(f, [args[i] for i in places], _call(f, args, kwargs, places), "jacobian") as run:
            inputs, outputs = sum(map(_numbers, run.given)), sum(map(_numbers, run.results))
            table = (_columns if inputs < outputs else _rows)(run)
        blocks = [
            _by_argument(run.trees(line), places, chosen, argnums, args) for line in table
        ]  # one for each leaf of the result
        return tree_unflatten(run.structure, blocks)

    return full


def _rows(run: Run) -> list[list[Any]]:
    """The blocks of a Jacobian, each by its rows: a reverse pass for each number of the results."""
    table = []
    for node in run.results:
        lines = [run.pulled({node: _unit(node, k)}, run.trace) for k in range(_numbers(node))]
        table.append([
            _block([line[i] for line in lines], shape_of(node), shape_of(x), run.trace, after=True)
            for i, x in enumerate(run.given)
        ])  # fmt: skip
    return table


def _columns(run: Run) -> list[list[Any]]:
    """The blocks of a Jacobian, each by its columns: a forward pass for each number of the arguments."""
    found: list[list[Any]] = [[] for _ in run.results]
    for i, x in enumerate(run.given):
        ways = [[run.value(node, way) for node, way in zip(run.results, moved, strict=True)] for moved in (
            run.pushed([_unit(v, k) if v is run.variables[i] else np.zeros(shape(v)) if shape_of(v) is not None else 0.0
                        for v in run.variables], run.trace) for k in range(_numbers(x)))]  # fmt: skip
        for j, node in enumerate(run.results):
            parts = [way[j] for way in ways]
            found[j].append(_block(parts, shape_of(node), shape_of(x), run.trace, after=False))
    return found


def _block(parts: list[Any], of: Any, by: Any, trace: bool, after: bool) -> Any:
    """One block of a Jacobian from its rows (`after`: the shape that varies is in front) or columns."""
    if of is None and by is None:
        return parts[0]
    to = (*(of or ()), *(by or ()))
    if len(to) > MAX_AXES:
        raise ShapeError(f"a Jacobian of shape {of} + {by} has {len(to)} axes, an array at most {MAX_AXES}: flatten both")
    if not parts:
        return Tensor(np.zeros(to)) if trace else np.zeros(to)
    if not any(isinstance(x, Node) for x in parts):
        made = np.stack(parts, 0 if after else -1).reshape(to)
        return Tensor(made) if trace else made
    return reshape.given(to=to)(stack(parts, 0 if after else -1 if shape(parts[0]) else 0))


def hessian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The second derivatives of a function that returns one number, by each pair of numbers of an argument.

    Parameters
    ----------
    f : callable
        A function that returns one number.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple there is a tuple of tuples.

    Returns
    -------
    callable
        Of the same arguments. It returns the structure of the argument, at each leaf of it that structure again, with
        arrays of shape ``leaf.shape + other.shape``.

    Examples
    --------
    >>> import numpy as np
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    _function(f, "hessian")
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The Hessian of a function times a direction, without the Hessian: forward mode over reverse mode.

    Parameters
    ----------
    f : callable
        A function that returns one number.
    primals, tangents : tuple, or a single argument
        The arguments, and for each its direction, in the same structure and shapes. Where `f` has one argument, it and
        its direction may stand alone.

    Returns
    -------
    array, number or tree
        In the structure of the argument; for several, a tuple.

    Examples
    --------
    >>> import numpy as np
    >>> hvp(lambda x: x[0] ** 2 * x[1], np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    array([4., 2.])
    """
    _function(f, "hvp")
    alone = not isinstance(primals, tuple)
    if alone:
        primals, tangents = (primals,), (tangents,)
    gradient = grad(f, tuple(range(len(primals))))
    moved = jvp(gradient, primals, tangents)[1]
    moved = tree_map(lambda part, x: as_given(part, _leaf(x, "hvp")), moved, primals)
    return moved[0] if len(primals) == 1 else moved


def hessian_diagonal(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The second derivative of a function by each number of an argument, with itself alone: exact, and in its shape.

    It takes a forward pass over the graph of the gradient for each number, and never holds the Hessian.

    Parameters
    ----------
    f : callable
        A function that returns one number.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple there is a tuple of diagonals.

    Examples
    --------
    >>> import numpy as np
    >>> hessian_diagonal(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([4., 0.])
    """
    _function(f, "hessian_diagonal")
    chosen, gradient = _chosen(argnums, "hessian_diagonal"), grad

    def diagonal(*args: Any, **kwargs: Any) -> Any:
        places = _places(chosen, args, "hessian_diagonal")
        called = _call(gradient(f, tuple(places)), args, kwargs, places)
        with running(f, [args[i] for i in places], called, "hessian_diagonal") as run:
            found = []
            for i, x in enumerate(run.given):
                parts = []
                for k in range(_numbers(x)):
                    unit = [_unit(v, k) if v is run.variables[i] else 0.0 * _unit(v, 0) if _numbers(v) else _unit(v, 0)
                            for v in run.variables]  # fmt: skip
                    way = run.pushed(unit, run.trace)[i]
                    parts.append(way if shape_of(x) is None else _number_of(way, k, shape_of(x)))
                found.append(_diagonal(parts, x, run.trace))
        return _by_argument(run.trees(found), places, chosen, argnums, args)

    return diagonal


def _number_of(x: Any, k: int, to: Any) -> Any:
    at = tuple(int(i) for i in np.unravel_index(k, to))
    return item.given(at=at)(x) if isinstance(x, Node) else np.broadcast_to(x, to)[at]


def _diagonal(parts: list[Any], x: Any, trace: bool) -> Any:
    to = shape_of(x)
    if to is None:
        return as_given(parts[0], x) if not trace or isinstance(parts[0], Node) else Value(parts[0])
    if any(isinstance(part, Node) for part in parts):
        return reshape.given(to=to)(stack(parts))
    made = np.array(parts, float).reshape(to)
    return Tensor(made) if trace else made

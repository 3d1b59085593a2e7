"""Transforms: from a function to its derivatives, of any order, over nested lists, tuples and dicts.

They call the function on variables and walk the graph that it leaves; no `grad` is touched. They nest in any way, and
record even under `no_grad`, where what they return has no graph of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from operator import index
from threading import get_ident
from typing import Any

import numpy as np

from .array_functions import as_array, stack
from .autodiff import one_number, pull
from .errors import GraphCutError, InputError, ShapeError, shown
from .forward_mode import push
from .node import Node
from .order import EMPTY, dependents, order_of_all
from .primitive import tracing
from .primitives import identity
from .recording import recording, silenced
from .structural import OPEN, cast, dtype, reshape, shape, single
from .structural import index as index_of
from .tensor import Tensor
from .tracers import AS_NODE, PLAIN, number_of
from .trees import ONE, Structure, same_structure, tree_flatten, tree_leaves, tree_map, tree_unflatten, trees_of
from .value import Value

MAX_AXES = 64  # of a NumPy array


class _Outside:
    """What lies below a variable while its function runs: nothing that a backward pass could fill."""

    __slots__ = ()

    def collect(self, gradient: Any) -> Any:
        """Refuse a gradient, which would be a plain number, and cut what is computed with it out of the derivative."""
        raise GraphCutError(
            "backward() inside a function that is being differentiated leaves plain numbers in .grad, of which the "
            "derivative would know nothing: use mg.grad inside, or take .data where a constant is meant"
        )


class _Number(_Outside, Value, rank=0):
    __slots__ = ()


class _Array(_Outside, Tensor, rank=1):
    __slots__ = ()


class Run:
    """One call of a function, with variables in the place of some of its arguments, and the graph that it left."""

    def __init__(
        self, what: str, f: Any, args: Sequence[Any], places: Any = None, kwargs: Any = None, has_aux: bool = False
    ) -> None:
        if not isinstance(has_aux, bool):
            raise InputError(f"{what}: has_aux is True or False, not {shown(has_aux)}")
        self.given: list[Any] = []
        self.structures = []
        places = range(len(args)) if places is None else places
        for i in places:
            leaves, structure = tree_flatten(args[i])
            closure = "; a function can close over anything else"
            self.given += [_leaf(x, f"{what}: argument {i}", structure, k, closure) for k, x in enumerate(leaves)]
            self.structures.append(structure)
        self.silenced, self.nodes, self.wraps = silenced(), False, False
        with recording():
            self.variables = list(map(_variable, self.given))
            full = list(args)
            for i, tree in zip(places, self.trees(self.variables), strict=True):
                full[i] = tree
            inline = tracing[get_ident()].inline if _inside() else None
            try:
                self._returned((inline(f) if inline else f)(*full, **(kwargs or {})), what, has_aux)
            finally:
                self._close()

    def one(self, what: str) -> Node:
        """The result, where it is one number; else an error."""
        if self.structure is not ONE:
            raise InputError(
                f"{what}: the result is {self.structure!s:.60}, not one number; mg.jacobian takes several, and "
                "has_aux=True a pair of one and anything else"
            )
        return one_number(self.results[0], what)

    def trees(self, leaves: Sequence[Any]) -> list[Any]:
        """Something for each variable, in the structures of the arguments."""
        return trees_of(self.structures, leaves)

    def _returned(self, out: Any, what: str, has_aux: bool) -> None:
        """Take note of what the function gave."""
        aux = None
        if has_aux:
            if not isinstance(out, (tuple, list)) or len(out) != 2:
                raise InputError(f"{what}: with has_aux the function returns a pair, not {shown(out)}")
            out, aux = out
        leaves, self.structure = tree_flatten(out)
        self.results = [_constant(x, f"{what}: the result", self.structure, k) for k, x in enumerate(leaves)]
        self.besides = aux
        besides = [x for x in tree_leaves(aux) if isinstance(x, Node)]
        self.order = order_of_all([*self.results, *besides])
        self.among = dependents(self.order, self.variables)
        # The variable of an outer derivative stands open below what that has to differentiate.
        outer = any(node.prim is OPEN and node not in self.among for node in self.order)
        given = [x for x in self.given if isinstance(x, Node)]
        inside = _inside()
        self.nodes = outer or inside or bool(given)  # whether nodes come out,
        self.trace = self.nodes and (inside or not self.silenced)  # with a graph below them
        # While a function is traced, nodes stand for what are plain numbers elsewhere.
        alone = inside and tracing[get_ident()].alone
        self.wraps = outer or alone or any(not isinstance(x, PLAIN) for x in given)

    def _close(self) -> None:
        """From here on the variables are constants, or the nodes that were given."""
        for variable, x in zip(self.variables, self.given, strict=True):
            below = isinstance(x, Node)
            variable.prim, variable.a = (identity, x) if below else (None, EMPTY)
            if isinstance(variable, Tensor):
                variable.needs = below and x.needs
        if self.nodes:
            for node in self.order:  # what the function computed needs a gradient where the given nodes do
                if node in self.among and node.prim is not None and type(node._value) is not float:
                    Tensor.settle(node)

    def pulled(self, seeds: dict[Node, Any], trace: bool) -> list[Any]:
        """For each variable the derivative of the results times `seeds`."""
        found = pull(self.order, trace, self.among, seeds)
        return [_full(found.get(v, 0.0), v) for v in self.variables]

    def pushed(self, tangents: dict[Node, Any], trace: bool) -> list[Any]:
        """For each result how it moves with the variables."""
        found = push(self.order, tangents, trace)
        return [_full(found.get(node, 0.0), node) for node in self.results]

    def along(self, primals: Sequence[Any], tangents: Any, what: str) -> tuple[list[Any], bool]:
        """For each result how it moves along the tangents of all arguments; and whether these hold nodes."""
        if not isinstance(tangents, (list, tuple)) or len(tangents) != len(primals):
            raise InputError(f"{what} takes a tuple of one tangent for each argument, not {shown(tangents)}")
        names = [f"{what}: tangent {i}" for i in range(len(primals))]
        given, nodes = _like(self.structures, self.variables, tangents, names)
        trace = (self.nodes or nodes) and (_inside() or not silenced())
        return self.pushed(dict(zip(self.variables, given, strict=True)), trace), nodes

    def derivatives(self, parts: Sequence[Any], node: bool = False) -> list[Any]:
        """One for each variable, in trees as the caller sees them."""
        return self.trees([_own(part, node or self.wraps) for part in parts])

    def value(self, node: Node) -> Any:
        """A result as the caller sees it."""
        if self.trace:
            return _own(node, self.wraps)
        return self.plain(_full(node._value, node))

    def plain(self, x: Any, node: bool = False) -> Any:
        """A number or array for the caller, who gets numbers where he gave none but numbers and arrays."""
        return _own(x, node or self.wraps) if node or self.nodes else x if np.ndim(x) else float(x)

    def out(self) -> Any:
        """The result, as the caller sees it."""
        return tree_unflatten(self.structure, list(map(self.value, self.results)))

    def aux(self) -> Any:
        """What the function returned besides; as the result, where it depends on the variables."""
        if not any(isinstance(x, Node) and x in self.among for x in tree_leaves(self.besides)):
            return self.besides
        return tree_map(lambda x: self.value(x) if isinstance(x, Node) and x in self.among else x, self.besides)


def _inside() -> bool:
    """Whether a function is being traced here, in which every number has to come from a node."""
    return bool(tracing) and get_ident() in tracing


def _variable(x: Any) -> Any:
    """The node that the function sees in the place of `x`.

    What it sees of the same number by another way, as an inner derivative sees the variable of an outer one, is no
    part of this derivative.
    """
    array = shape_of(x) is not None
    below = (_Array if array else _Number)(getattr(x, "_value", x), name=getattr(x, "name", None))
    variable = OPEN.bind(Tensor if array else Value, (below,))
    if array:
        below.needs = variable.needs = True
    return variable


def shape_of(x: Any) -> tuple[int, ...] | None:
    """The shape of an argument; None for a number or a Value.

    Examples
    --------
    >>> import numpy as np
    >>> shape_of(np.zeros((2, 3))), shape_of(1.0)
    ((2, 3), None)
    """
    if isinstance(x, Node):
        return None if type(x._value) is float else x._value.shape
    return x.shape if isinstance(x, np.ndarray) else None


def _leaf(x: Any, where: str, structure: Structure, k: int, advice: str = "") -> Any:
    """A number as a float, an array as one of floats, a node as it is; else an error that says where."""
    try:
        return x if isinstance(x, Node) else as_array(x) if isinstance(x, np.ndarray) else Value.constant(x)
    except InputError as error:
        why = error if isinstance(x, np.ndarray) else f"a number or an array is expected, not {shown(x)}{advice}"
        raise InputError(f"{where}{structure.place(k)}: {why}") from None


def _constant(x: Any, where: str, structure: Structure, k: int) -> Node:
    """A result as a node."""
    found = _leaf(x, where, structure, k, "; with has_aux=True it may come second")
    return found if isinstance(found, Node) else Value(found) if type(found) is float else Tensor(found)


def _full(x: Any, like: Any) -> Any:
    """A derivative in the kind, shape and dtype of what it belongs to: a number, a node, or an array of its own."""
    data = like._value
    if not isinstance(x, Node):
        if type(data) is float:
            return float(x)
        return np.array(x, data.dtype) if np.shape(x) == data.shape else np.full(data.shape, x, data.dtype)
    if type(data) is float:
        return single(x)
    if type(x._value) is float:
        x = stack([_as_node(x)]).reshape(data.shape)
    return x if dtype(x) == data.dtype else cast.given(to=data.dtype)(x)


def _own(x: Any, node: bool) -> Any:
    """A number, array or node for the caller: no leaf of another, whose data could be set."""
    if isinstance(x, Node):
        if not node:
            return number_of(x)
        x = _as_node(x)
        return identity(x) if x.prim is None else x
    return x if not node else Value(x) if type(x) is float else Tensor(x)


def _as_node(x: Any) -> Any:
    """What stands for a plain number while a function is traced as a Value or Tensor; any other node as it is."""
    return AS_NODE(x) if isinstance(x, PLAIN) else x


def _function(f: Any, what: str) -> None:
    if not callable(f):
        raise InputError(f"{what} is that of a function, not of {shown(f)}")


def _chosen(argnums: Any) -> tuple[int, ...]:
    given = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    try:
        if not any(isinstance(i, bool) for i in given):
            return tuple(map(index, given))
    except TypeError:
        pass
    raise InputError(f"argnums is the position of an argument, or several, not {shown(argnums)}")


def _places(chosen: tuple[int, ...], args: Sequence[Any], what: str) -> list[int]:
    """The positions counted from 0."""
    if any(not -len(args) <= i < len(args) for i in chosen):
        numbers = chosen[0] if len(chosen) == 1 else chosen
        raise InputError(f"{what} by argument {numbers} of a call with {len(args)} positional arguments")
    return [i % len(args) for i in chosen]


def _by_argument(parts: list[Any], places: list[int], chosen: tuple[int, ...], argnums: Any, args: Any) -> Any:
    """The part of each chosen argument: alone for one, as a tuple for a tuple."""
    of = dict(zip(places, parts, strict=True))
    listed = tuple(of[i % len(args)] for i in chosen)
    return listed if isinstance(argnums, Sequence) else listed[0]


def _called(f: Any, what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a derivative the arguments of its function, for whoever asks, and a name that says both."""

    def named(derivative: Callable[..., Any]) -> Callable[..., Any]:
        wraps(f, updated=())(derivative)
        derivative.__name__ = derivative.__qualname__ = f"{what}({getattr(f, '__name__', type(f).__name__)})"
        return derivative

    return named


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
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

    Raises
    ------
    InputError, ShapeError, DomainError, GraphCutError
        As `grad`.

    Examples
    --------
    >>> value_and_grad(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 3.0})
    (6.0, {'a': 3.0, 'b': 2.0})
    >>> value_and_grad(lambda x: (x * x, "aux"), has_aux=True)(3.0)
    ((9.0, 'aux'), 6.0)
    """
    _function(f, "value_and_grad")
    chosen = _chosen(argnums)

    @_called(f, "value_and_grad")
    def both(*args: Any, **kwargs: Any) -> Any:
        places = _places(chosen, args, "grad")
        run = Run("grad", f, args, places, kwargs, has_aux)
        root = run.one("grad")
        parts = run.derivatives(run.pulled({root: root.seed()}, run.trace))
        value = run.value(root)
        return (value, run.aux()) if has_aux else value, _by_argument(parts, places, chosen, argnums, args)

    return both


def grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The derivative of a function, as a function that takes the same arguments.

    Numbers give numbers, arrays give arrays, lists, tuples and dicts of them the same of derivatives. Where Values or
    Tensors are among them, nodes come out, which belong to the graph and can go backward.

    What the function closes over is a constant in the result, unless a Value or Tensor is among the differentiated
    arguments: a plain number or array as result has no graph, and such leaves get no gradient from it.

    Parameters
    ----------
    f : callable
        A function that returns one number, in operators and functions of `microgad`.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple the result is a tuple.
    has_aux : bool
        Whether `f` returns a pair of the number and anything else; then so does the derivative. Of the latter, what
        was computed from the arguments comes as plain numbers and arrays where they are plain.

    Returns
    -------
    callable
        Of the same arguments as `f`; it returns the derivative, in the structure and shapes of the argument.

    Raises
    ------
    InputError
        At once if `f` is no function or `argnums` no position; in the call if an argument is missing or holds no real
        numbers, the result is a container or no number, or with `has_aux` no pair.
    ShapeError
        In the call, if the result is an array of several numbers.
    DomainError
        In the call, if a number is where `f` has no value or no derivative; arrays get NumPy's inf or nan.
    GraphCutError
        In the call, if `f` uses `math` in place of `microgad`, or calls `backward`.

    Examples
    --------
    >>> cube = lambda x: x**3
    >>> grad(cube)(2.0), grad(grad(cube))(2.0)
    (12.0, 12.0)
    >>> import numpy as np
    >>> grad(lambda w: (w * w).sum())(np.array([1.0, 2.0]))
    array([2., 4.])
    >>> from microgad import Value
    >>> w = Value(2.0)
    >>> slope = grad(lambda x: w * x * x)  # 2 w x
    >>> slope(3.0), w.grad
    (12.0, None)
    >>> slope(Value(3.0)).backward()
    >>> w.grad
    6.0
    """
    _function(f, "grad")
    both = value_and_grad(f, argnums, has_aux)

    @_called(f, "grad")
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def _like(
    structures: Sequence[Structure], alike: Sequence[Node], trees: Sequence[Any], names: Sequence[str]
) -> tuple[list[Any], bool]:
    """Cotangents or tangents, checked: a number or array for each of `alike`; and whether nodes are among them."""
    found: list[Any] = []
    nodes = False
    for structure, tree, name in zip(structures, trees, names, strict=True):
        for k, x in enumerate(same_structure(structure, tree, name)):
            like, given = alike[len(found)], _leaf(x, name, structure, k)
            if shape(given) != shape(like):
                raise ShapeError(
                    f"{name}{structure.place(k)}: {shown(x)}, of shape {shape(given)}, for a number or array of shape "
                    f"{shape(like)}"
                )
            nodes = nodes or (isinstance(given, Node) and not isinstance(given, PLAIN))
            found.append(_full(getattr(given, "_value", given) if silenced() and not _inside() else given, like))
    return found, nodes


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

    Raises
    ------
    InputError
        If `f` is no function, an argument, the result or a cotangent holds no real numbers, or the cotangent differs in
        structure from the result.
    ShapeError
        If a cotangent has another shape than its part of the result.
    DomainError
        If a number is where `f` has no value, or, from the function, no derivative.
    GraphCutError
        If `f` uses `math` in place of `microgad`, or calls `backward`.

    Examples
    --------
    >>> out, pullback = vjp(lambda x, y: (x * y, x + y), 2.0, 3.0)
    >>> out, pullback((1.0, 0.0)), pullback((0.0, 1.0))
    ((6.0, 5.0), (3.0, 2.0), (1.0, 1.0))
    """
    _function(f, "vjp")
    run = Run("vjp", f, primals, has_aux=has_aux)

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        given, nodes = _like([run.structure], run.results, (cotangent,), ["vjp: cotangent"])
        seeds: dict[Node, Any] = {}
        for node, x in zip(run.results, given, strict=True):
            seeds[node] = seeds[node] + x if node in seeds else x
        trace = (run.nodes or nodes) and (_inside() or not silenced())
        return tuple(run.derivatives(run.pulled(seeds, trace), nodes))

    return (run.out(), pullback, run.aux()) if has_aux else (run.out(), pullback)


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """A function's result, and how it moves when its arguments move along tangents (forward mode).

    Parameters
    ----------
    f : callable
        A function of numbers, arrays, or lists, tuples and dicts of them, that returns the like.
    primals, tangents : tuple or list
        The arguments, and for each its direction in the same structure and shapes.
    has_aux : bool
        Whether `f` returns a pair of its result and anything else, which then is returned third.

    Returns
    -------
    (result, tangent)
        The tangent has the structure and shapes of the result.

    Raises
    ------
    InputError
        If `f` is no function, the arguments or tangents are no tuple, hold no real numbers or differ in structure.
    ShapeError
        If a tangent has another shape than its argument.
    DomainError
        If a number is where `f` has no value or no derivative.
    GraphCutError
        If `f` uses `math` in place of `microgad`, or calls `backward`.

    Examples
    --------
    >>> jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.5))
    (6.0, 4.0)
    """
    _function(f, "jvp")
    if not isinstance(primals, (list, tuple)):
        raise InputError(f"jvp takes the arguments as a tuple, and so their tangents, not {shown(primals)}")
    run = Run("jvp", f, primals, has_aux=has_aux)
    moved, nodes = run.along(primals, tangents, "jvp")
    ways = tree_unflatten(run.structure, [run.plain(way, nodes) for way in moved])
    return (run.out(), ways, run.aux()) if has_aux else (run.out(), ways)


def _units(node: Node) -> Iterator[Any]:
    """The directions in which the numbers of a node move, each alone."""
    data = node._value
    if type(data) is float:
        yield 1.0
    else:
        for at in np.ndindex(data.shape):
            unit = np.zeros(data.shape, data.dtype)
            unit[at] = 1.0
            yield unit


def jacobian(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The derivative of each number of a function's result by each number of an argument.

    Forward or reverse mode, whichever takes fewer passes: one for each number of the argument, or of the result.

    Parameters
    ----------
    f : callable
        A function of numbers, arrays, or lists, tuples and dicts of them, that returns the like.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple there is a tuple of derivatives.
    has_aux : bool
        Whether `f` returns a pair of its result and anything else; then so does the derivative.

    Returns
    -------
    callable
        Of the same arguments. It returns the structure of the result, and at each leaf of it the structure of the
        argument, with arrays of shape ``result.shape + argument.shape``.

    Raises
    ------
    InputError
        At once if `f` is no function or `argnums` no position; in the call if an argument is missing, or if it or the
        result holds no real numbers.
    ShapeError
        In the call, if the result and the argument together have more axes than an array of NumPy can have.
    DomainError
        In the call, if a number is where `f` has no value or no derivative.
    GraphCutError
        In the call, if `f` uses `math` in place of `microgad`, or calls `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> jacobian(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    _function(f, "jacobian")
    chosen = _chosen(argnums)

    @_called(f, "jacobian")
    def full(*args: Any, **kwargs: Any) -> Any:
        places = _places(chosen, args, "jacobian")
        run = Run("jacobian", f, args, places, kwargs, has_aux)
        inputs, outputs = (sum(math.prod(shape(x)) for x in nodes) for nodes in (run.variables, run.results))
        table = (_columns if inputs < outputs else _rows)(run)
        blocks = [_by_argument(run.trees(line), places, chosen, argnums, args) for line in table]
        found = tree_unflatten(run.structure, blocks)
        return (found, run.aux()) if has_aux else found

    return full


def _rows(run: Run) -> list[list[Any]]:
    """The blocks of a Jacobian, each from its rows: a reverse pass for each number of the results."""
    table = []
    for node in run.results:
        rows = [run.pulled({node: unit}, run.trace) for unit in _units(node)]
        table.append([_block(run, [row[i] for row in rows], 0, node, x) for i, x in enumerate(run.variables)])
    return table


def _columns(run: Run) -> list[list[Any]]:
    """The blocks of a Jacobian, each from its columns: a forward pass for each number of the arguments."""
    table: list[list[Any]] = [[] for _ in run.results]
    for x in run.variables:
        columns = [run.pushed({x: unit}, run.trace) for unit in _units(x)]
        for j, node in enumerate(run.results):
            table[j].append(_block(run, [column[j] for column in columns], -1, node, x))
    return table


def _block(run: Run, parts: list[Any], axis: int, of: Node, by: Node) -> Any:
    """One block of a Jacobian from its rows, or from its columns along the last axis."""
    to = (*shape(of), *shape(by))
    if len(to) > MAX_AXES:
        raise ShapeError(
            f"a Jacobian of shape {shape(of)} + {shape(by)} would have {len(to)} axes: flatten, {MAX_AXES} are the most"
        )
    if not to and type(by._value) is float:
        return _own(_full(parts[0], by), run.wraps)
    of_type = dtype(of) if type(by._value) is float else dtype(by)
    if not any(isinstance(x, Node) for x in parts):
        return _own(np.stack(parts, axis).reshape(to).astype(of_type) if parts else np.zeros(to, of_type), run.wraps)
    made = reshape.given(to=to)(stack(parts, axis))
    return _own(made if dtype(made) == of_type else cast.given(to=of_type)(made), run.wraps)


def hessian(f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The second derivatives of a function that returns one number, by each pair of numbers of an argument.

    Parameters
    ----------
    f : callable
        A function that returns one number.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple there is a tuple of tuples.
    has_aux : bool
        Whether `f` returns a pair of the number and anything else; then so does the second derivative.

    Returns
    -------
    callable
        Of the same arguments. It returns the structure of the argument, at each leaf of it that structure again, with
        arrays of shape ``leaf.shape + other.shape``.

    Raises
    ------
    InputError, ShapeError, DomainError, GraphCutError
        As `grad`; a `ShapeError` also for more axes than an array of NumPy can have.

    Examples
    --------
    >>> import numpy as np
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    _function(f, "hessian")
    return _called(f, "hessian")(jacobian(grad(f, argnums, has_aux), argnums, has_aux))


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

    Raises
    ------
    InputError
        If `f` is no function, there is not one tangent for each argument, they hold no real numbers or differ in
        structure, or the result is a container.
    ShapeError
        If a tangent has another shape than its argument, or the result is an array of several numbers.
    DomainError
        If a number is where `f` has no value or no derivative.
    GraphCutError
        If `f` uses `math` in place of `microgad`, or calls `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> hvp(lambda x: x[0] ** 2 * x[1], np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    array([4., 2.])
    """
    _function(f, "hvp")
    if not isinstance(primals, tuple):
        primals, tangents = (primals,), (tangents,)
    run = Run("hvp", grad(f, tuple(range(len(primals)))), primals)
    moved = run.derivatives(*run.along(primals, tangents, "hvp"))
    return moved[0] if len(primals) == 1 else tuple(moved)


def hessian_diagonal(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The second derivative of a function by each number of an argument, with itself alone: exact, and in its shape.

    It takes a forward pass over the graph of the gradient for each number, and never holds the Hessian.

    Parameters
    ----------
    f : callable
        A function that returns one number.
    argnums : int or tuple of int
        The positional argument to differentiate by; for a tuple there is a tuple of diagonals.

    Returns
    -------
    callable
        Of the same arguments; it returns the diagonal, in the structure and shapes of the argument.

    Raises
    ------
    InputError, ShapeError, DomainError, GraphCutError
        As `grad`.

    Examples
    --------
    >>> import numpy as np
    >>> hessian_diagonal(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([4., 0.])
    """
    _function(f, "hessian_diagonal")
    chosen, gradient = _chosen(argnums), grad

    @_called(f, "hessian_diagonal")
    def diagonal(*args: Any, **kwargs: Any) -> Any:
        places = _places(chosen, args, "hessian_diagonal")
        run = Run("hessian_diagonal", gradient(f, tuple(places)), args, places, kwargs)
        found = []
        for i, x in enumerate(run.variables):
            ways = [run.pushed({x: unit}, run.trace)[i] for unit in _units(x)]
            found.append(_diagonal(run, ways, x))
        return _by_argument(run.trees(found), places, chosen, argnums, args)

    return diagonal


def _diagonal(run: Run, ways: list[Any], x: Node) -> Any:
    """Number k of way k for each k, in the shape of `x`."""
    to = shape(x)
    if type(x._value) is not float:
        places = list(np.ndindex(to))
        if any(isinstance(way, Node) for way in ways):
            numbers = [index_of.given(key=at)(way) for at, way in zip(places, ways, strict=True)]
            return _own(reshape.given(to=to)(stack(numbers)), run.wraps)
        ways = [np.array([np.asarray(way)[at] for at, way in zip(places, ways, strict=True)], dtype(x)).reshape(to)]
    return _own(ways[0], run.wraps)

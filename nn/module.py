"""Modules: what has parameters, and is called."""

from __future__ import annotations

import inspect
import operator
from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from reprlib import recursive_repr
from typing import Any, NamedTuple

import numpy as np

from microgad.array_functions import array_of
from microgad.errors import InputError, MicrogadError, ShapeError, StateDictError, shown, spell
from microgad.naming import literal
from microgad.node import Node
from microgad.primitive import ranks, tracing
from microgad.scopes import enter, nodes
from microgad.tensor import FROZEN, Tensor
from microgad.tracing import note_mode, refuse

from .choices import flag


class _IsParameter(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Node) and _trained(x)


class Parameter(metaclass=_IsParameter):
    """A Tensor that a module trains.

    It is no class of its own: any leaf that needs a gradient is a parameter, a Value too, and stays one while it is
    frozen by ``p.requires_grad = False``. So ``isinstance(x, Parameter)`` asks for that, and this makes a Tensor.

    Parameters
    ----------
    data : array_like
        Numbers, which are copied.
    requires_grad : bool
        False makes a frozen one: no gradient reaches it, and it is saved and loaded as the others are.
    name : str, optional
        What messages and drawings call it; by default its place in the module.

    Examples
    --------
    >>> p = Parameter([1.0, 2.0])
    >>> p, isinstance(p, Parameter), isinstance(p * 2.0, Parameter)
    (Tensor(data=[1. 2.], grad=None, requires_grad=True), True, False)
    """

    def __new__(cls, data: Any, requires_grad: bool = True, name: str | None = None) -> Any:
        """A leaf Tensor."""
        found: Any = Tensor(data, requires_grad=requires_grad, name=name)
        found.needs = found.needs or FROZEN
        return found


_Place = tuple[str, Any, list[tuple[str, Any]]]  # a dotted path, the module there, and its own parameters by name
PLAIN = (float, int, str, bool, type(None))  # of which an attribute may hold very many
changes = [0]  # how often an attribute of any module was set


class Loaded(NamedTuple):
    """What `load_state_dict` met of what it did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class _Named(ABCMeta):  # so that a module may be abstract as well
    @property
    def __signature__(cls) -> inspect.Signature:  # for help and tooltips, which would show that of __call__ below
        own = inspect.signature(cls.__init__)  # type: ignore[misc]
        return own.replace(parameters=list(own.parameters.values())[1:], return_annotation=own.empty)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        module = super().__call__(*args, **kwargs)
        module._rename()
        return module


class Module(metaclass=_Named):
    """The base of everything that has parameters: give it attributes and a `forward`, and call it.

    Its parameters are the leaves that need a gradient among its attributes, through lists, tuples, dicts and other
    modules; nothing has to be registered. Each has a dotted name such as ``layers.0.weight``, its place, which is also
    what messages and drawings call it, unless it has a name already. What is computed in a call of a module is drawn
    inside a frame with the module's name.

    Examples
    --------
    >>> import microgad as mg
    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.slope, self.offsets = mg.Value(2.0), [mg.Value(1.0)]
    ...
    ...     def forward(self, x):
    ...         return self.slope * x + self.offsets[0]
    >>> line = Line()
    >>> line(3.0).data, [name for name, _ in line.named_parameters()]
    (7.0, ['slope', 'offsets.0'])
    """

    training = True
    _path = ""  # from the outermost module
    _fresh = False  # whether `forward` never passes on what it is given: to look for that takes as long as a neuron

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`, whose result remembers that it came from here."""
        if tracing:
            note_mode(self)
        out = self.forward(*args, **kwargs)
        inputs: Any = (*args, *kwargs.values()) if kwargs else args or []  # a thing of its own for each call
        given = () if self._fresh else nodes(inputs)
        for node in (out,) if type(out) in ranks else nodes(out):
            if node.prim is not None and node not in given:  # else it was only passed on
                enter(node, self, inputs)
        return out

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls):
            cls._fresh = vars(cls).get("_fresh", False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; each module has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward: define what it computes")

    def __setattr__(self, name: str, x: Any) -> None:
        held = vars(self).get(name)
        if isinstance(held, Parameter) and not (x is None or isinstance(x, Parameter) or getattr(x, "prim", None)):
            raise InputError(
                f"{name} of {self._said} is a parameter, and {shown(x)} is none: set its numbers by .data, or give "
                "nn.Parameter(...)"
            )
        changes[0] += 1
        super().__setattr__(name, x)

    @property
    def _said(self) -> str:
        """What a message calls it: its class, and its place."""
        return f"{type(self).__name__} {self._path}".rstrip()

    # ---- what it holds

    def _held(self) -> list[tuple[str, Any]]:
        """The modules and leaves among the attributes, through lists, tuples and dicts, with their dotted names."""
        found: list[tuple[str, Any]] = []
        for name, x in vars(self).items():
            if type(x) not in PLAIN:
                _open(name, x, found, ())
        return found

    def _places(self, prefix: str = "", every: bool = False) -> list[_Place]:
        """The module itself, then those that it holds, to any depth: each once, or in every place where it stands."""
        found: list[_Place] = []
        _visit(prefix, self, found, set(), every)
        return found

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """The module itself, then those that it holds, to any depth, each once, with their dotted names.

        Parameters
        ----------
        prefix : str
            What the names begin with.

        Examples
        --------
        >>> import microgad as mg
        >>> [name for name, _ in mg.nn.Sequential(mg.nn.Linear(2, 1), mg.nn.ReLU()).named_modules()]
        ['', '0', '1']
        """
        return ((path, module) for path, module, _ in self._places(prefix))

    def modules(self) -> Iterator[Any]:
        """The module itself and all that it holds, each once.

        Examples
        --------
        >>> import microgad as mg
        >>> [type(module).__name__ for module in mg.nn.Sequential(mg.nn.ReLU()).modules()]
        ['Sequential', 'ReLU']
        """
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The modules that it holds directly, each once, with their names.

        Examples
        --------
        >>> import microgad as mg
        >>> list(mg.nn.Sequential(mg.nn.ReLU()).named_children())
        [('0', ReLU())]
        """
        found = {id(x): (name, x) for name, x in reversed(self._held()) if isinstance(x, Module)}
        return reversed(found.values())

    def children(self) -> Iterator[Any]:
        """The modules that it holds directly, each once.

        Examples
        --------
        >>> import microgad as mg
        >>> list(mg.nn.Sequential(mg.nn.ReLU()).children())
        [ReLU()]
        """
        return (module for _, module in self.named_children())

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any]]:
        """The parameters with their dotted names, each once, under its first name.

        Parameters
        ----------
        prefix : str
            What the names begin with.
        recurse : bool
            Whether to go into the modules inside.

        Examples
        --------
        >>> import microgad as mg
        >>> [(name, p.shape) for name, p in mg.nn.Linear(3, 2).named_parameters()]
        [('weight', (2, 3)), ('bias', (2,))]
        """
        places = self._named() if recurse else self._named()[:1]
        prefix = f"{prefix}." if prefix else ""
        return _once((prefix + _joined(path, name), p) for path, _, own in places for name, p in own)

    def parameters(self, recurse: bool = True) -> Iterable[Any]:
        """The parameters, each once: what an optimizer is given.

        Parameters
        ----------
        recurse : bool
            Whether to go into the modules inside.

        Examples
        --------
        >>> import microgad as mg
        >>> sum(p.size for p in mg.nn.MLP(2, [16, 16, 1]).parameters())
        337
        """
        places = self._named() if recurse else self._named()[:1]
        return iter({id(p): p for _, _, own in places for _, p in own}.values())

    def _rename(self) -> None:
        _name(self._places(), anew=True)

    def _named(self) -> list[_Place]:
        places = self._places()
        _name(places)
        return places

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any]]:
        """What is saved with the module and not trained, such as running means, with dotted names.

        Parameters
        ----------
        prefix : str
            What the names begin with.
        recurse : bool
            Whether to go into the modules inside.

        Examples
        --------
        >>> import microgad as mg
        >>> [name for name, _ in mg.nn.BatchNorm1d(3).named_buffers()]
        ['running_mean', 'running_var', 'num_batches_tracked']
        """
        places = self._places(prefix) if recurse else self._places(prefix)[:1]
        return _once((_joined(path, name), x) for path, module, _ in places for name, x, _ in module._own_buffers())

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """What is saved with the module and not trained.

        Parameters
        ----------
        recurse : bool
            Whether to go into the modules inside.

        Examples
        --------
        >>> import microgad as mg
        >>> len(list(mg.nn.BatchNorm1d(3).buffers()))
        3
        """
        return (x for _, x in self.named_buffers(recurse=recurse))

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Make an attribute of an array that is saved with the module and not trained.

        Parameters
        ----------
        name : str
            Of the attribute.
        tensor : Tensor, array or None
            The numbers; None for no buffer, as `affine=False` and the like ask for.
        persistent : bool
            Whether `state_dict` has it.

        Raises
        ------
        InputError
            If it is neither a Tensor nor an array, or the name is no identifier, or that of something else.

        Examples
        --------
        >>> import microgad as mg
        >>> module = mg.nn.Linear(2, 1)
        >>> module.register_buffer("mean", mg.Tensor([0.0, 0.0]))
        >>> list(module.state_dict())
        ['weight', 'bias', 'mean']
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"the name of a buffer is that of an attribute, not {shown(name)}")
        known = vars(self).setdefault("_buffers", {})
        if name not in known and getattr(self, name, None) is not None:
            raise InputError(f"{self._said} has something else that is called {name}: give the buffer another name")
        if tensor is not None and not isinstance(tensor, (Tensor, np.ndarray)):
            raise InputError(f"a buffer is a Tensor or an array, not {shown(tensor)}")
        known[name] = bool(persistent)
        setattr(self, name, tensor)

    def _own_buffers(self) -> Iterator[tuple[str, Any, bool]]:
        """The buffers of this module alone, with their names, and whether they are saved."""
        for name, persistent in vars(self).get("_buffers", {}).items():
            x = getattr(self, name, None)
            if x is not None:
                if not isinstance(x, (Tensor, np.ndarray)):
                    raise InputError(f"the buffer {name} of {self._said} is a Tensor or an array, not {shown(x)}")
                yield name, x, persistent

    # ---- modes

    def train(self, mode: bool = True) -> Any:
        """Switch to training: dropout drops, batch normalisation uses the batch. Returns the module.

        Parameters
        ----------
        mode : bool
            False is the same as `eval`.

        Examples
        --------
        >>> import microgad as mg
        >>> mg.nn.Dropout(0.5).train(False).training
        False
        """
        mode = flag(mode, "the mode of train")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Any:
        """Switch to use: dropout passes everything, batch normalisation uses what it has learnt. Returns the module.

        Examples
        --------
        >>> import microgad as mg
        >>> mg.nn.Dropout(0.5).eval()(mg.Tensor([1.0, 2.0])).tolist()
        [1.0, 2.0]
        """
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Freeze all parameters, or thaw them. Returns the module.

        Parameters
        ----------
        requires_grad : bool
            False freezes: no gradient reaches them, and optimizers leave them as they are.

        Examples
        --------
        >>> import microgad as mg
        >>> model = mg.nn.Linear(2, 1).requires_grad_(False)
        >>> [p.requires_grad for p in model.parameters()]
        [False, False]
        """
        requires_grad = flag(requires_grad, "what requires_grad_ is given")
        given = dict(self.named_parameters())
        values = [name for name, p in given.items() if not isinstance(p, Tensor)]
        if values and not requires_grad:
            raise InputError(f"{values[0]} is a Value, and those always need a gradient: leave it out of the optimizer")
        for p in given.values():
            if isinstance(p, Tensor):
                p.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Parameters
        ----------
        set_to_none : bool
            Whether they become None, which is drawn as a dash and skipped by optimizers, or 0; None stays None.

        Examples
        --------
        >>> import microgad as mg
        >>> model = mg.nn.Linear(2, 1)
        >>> model([[1.0, 2.0]]).sum().backward()
        >>> model.zero_grad()
        >>> model.weight.grad is None
        True
        """
        refuse_zero_grad()
        for p in self.parameters():
            if p.grad is not None:
                zero_grad(p, set_to_none)

    def apply(self, fn: Callable[[Any], Any]) -> Any:
        """Call a function with every module inside, and then with this one. Returns the module.

        Parameters
        ----------
        fn : callable
            Of one module; what it returns is ignored.

        Examples
        --------
        >>> import microgad as mg
        >>> _ = mg.nn.Sequential(mg.nn.ReLU()).apply(print)
        ReLU()
        Sequential(
          (0): ReLU()
        )
        """
        if not callable(fn):
            raise InputError(f"apply is given a function of a module, not {shown(fn)}")
        _apply(self, fn, set())
        return self

    # ---- state

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """The numbers of all parameters and buffers by their dotted names, as copies.

        In PyTorch they are no copies: what was kept as the best weights changes on with the model.

        Examples
        --------
        >>> import microgad as mg
        >>> {name: x.shape for name, x in mg.nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {name: np.array(getattr(x, "_value", x)) for name, (x, _, _) in self._state().items()}

    def _state(self) -> dict[str, tuple[Any, Any, str]]:
        """What is saved, by its dotted name, in every place: the leaf or array, its module, and its name there."""
        found: dict[str, tuple[Any, Any, str]] = {}
        for path, module, own in self._places(every=True):
            saved = [(name, x) for name, x, persistent in module._own_buffers() if persistent]
            for name, x in [*own, *saved]:
                dotted = _joined(path, name)
                if dotted in found:
                    raise InputError(f"{self._said} holds two things that are called {dotted}: rename one of them")
                found[dotted] = x, module, name
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Loaded:
        """Take the numbers of `state_dict`; all of them, or none where something does not fit.

        Parameters
        ----------
        state_dict : mapping
            From dotted names to arrays, Tensors or numbers, PyTorch's tensors among them.
        strict : bool
            Whether names that are missing or unexpected are an error. A wrong shape is one always. With False a part
            can be loaded: the first layers of a network that was trained before, as lecture 002 proposes to begin.

        Returns
        -------
        Loaded
            The missing and the unexpected names; both lists are empty where `strict`.

        Raises
        ------
        StateDictError
            With every name that is missing, unexpected, of a wrong shape, or holds no real numbers.

        Examples
        --------
        >>> import microgad as mg
        >>> a, b = mg.nn.Linear(3, 2), mg.nn.Linear(3, 2)
        >>> a.load_state_dict(b.state_dict())
        Loaded(missing_keys=[], unexpected_keys=[])
        >>> bool((a.weight.data == b.weight.data).all())
        True
        """
        if not isinstance(state_dict, Mapping):
            raise InputError(f"a state_dict is a mapping from names to arrays, not {shown(state_dict)}")
        own = self._state()
        missing = [name for name in own if name not in state_dict]
        unexpected = [str(name) for name in state_dict if name not in own]
        problems = [f"missing: {name}" for name in missing] + [f"unexpected: {name}" for name in unexpected]
        problems = problems if strict else []
        new: list[tuple[Any, Any, Any, str]] = []
        for name, (x, module, at) in own.items():
            if name in state_dict:
                data = getattr(x, "_value", x)
                try:
                    found = numbers_of(state_dict[name], name, np.asarray(data).dtype)
                except MicrogadError as error:
                    problems.append(f"no numbers: {error}")
                    continue
                if found.shape != np.shape(data):
                    problems.append(f"shape: {name} is {found.shape}, and the model's is {np.shape(data)}")
                new.append((found, x, module, at))
        if problems:
            raise misfit(self, problems)
        for found, x, module, at in new:
            if isinstance(x, np.ndarray) and x.flags.writeable:
                x[...] = found
            elif isinstance(x, np.ndarray):
                setattr(module, at, np.array(found, x.dtype))
            elif x.prim is not None:  # a buffer that was computed
                setattr(module, at, Tensor(found))
            elif type(x._value) is float:
                x.data = found.item()
            else:
                x.data[...] = found
        return Loaded(missing, unexpected)

    # ---- text

    def extra_repr(self) -> str:
        """What stands in the parentheses of the text of a module; each module may have its own.

        Examples
        --------
        >>> import microgad as mg
        >>> mg.nn.Linear(3, 2).extra_repr()
        'in_features=3, out_features=2, bias=True'
        """
        return ""

    @recursive_repr()
    def __repr__(self) -> str:
        extra, inside = self.extra_repr(), []
        for name, module in self.named_children():
            first, *rest = repr(module).split("\n")
            inside += [f"  ({name}): {first}", *(f"  {line}" for line in rest)]
        name = type(self).__name__
        if not inside:
            return f"{name}({extra})"
        return "\n".join([f"{name}(", *([f"  {extra}"] if extra else []), *inside, ")"])


@contextmanager
def wrapped(modules: Iterable[Any], around: Callable[..., Any]) -> Iterator[None]:
    """While it lasts, ``around(module, forward, *args)`` is called in the place of each module's `forward`.

    Examples
    --------
    >>> import microgad as mg
    >>> model = mg.nn.Sequential(mg.nn.ReLU())
    >>> with wrapped(model, lambda module, forward, x: forward(x) + 1.0):
    ...     model(-3.0)
    1.0
    """
    kept = [(module, vars(module).get("forward")) for module in modules]
    try:
        for module, _ in kept:
            module.forward = partial(around, module, module.forward)
        yield
    finally:
        for module, own in kept:
            vars(module).pop("forward", None)
            if own is not None:
                module.forward = own


def refuse_zero_grad() -> None:
    """Raise while a function is traced.

    Examples
    --------
    >>> refuse_zero_grad()
    """
    refuse("gradients are forgotten", "a program would not do it again; call zero_grad() outside")


def zero_grad(p: Any, set_to_none: bool = True) -> None:
    """Forget the gradient of one parameter.

    Examples
    --------
    >>> p = Parameter([1.0])
    >>> zero_grad(p, set_to_none=False)
    >>> p.grad
    array([0.])
    """
    p.grad = None if set_to_none else 0.0 if type(p._value) is float else np.zeros_like(p._value)


def gradient_of(p: Any) -> Any:
    """The gradient of a parameter as an array, also where it was set by hand; None where it has none.

    Examples
    --------
    >>> p = Parameter([1.0])
    >>> p.grad = [2.0]
    >>> gradient_of(p)
    array([2.])
    """
    if p.grad is None:
        return None
    found = array_of(f"the grad of {spell(p)}", getattr(p.grad, "_value", p.grad))
    if found.shape != np.shape(p._value):
        raise ShapeError(f"the grad of {spell(p)} has shape {found.shape}, and its own is {np.shape(p._value)}")
    return found


def listed(params: Any, what: str) -> list[Any]:
    """Parameters as a list: what has an order.

    Examples
    --------
    >>> listed((1, 2), "an optimizer is given")
    [1, 2]
    """
    if isinstance(params, (Node, Module, Mapping, str, set, frozenset)) or not isinstance(params, Iterable):
        hint = ": give it model.parameters()" if isinstance(params, Module) else ""
        raise InputError(f"{what} a list of parameters, not {shown(params)}{hint}")
    return list(params)


def numbers_of(x: Any, name: str, dtype: Any) -> Any:
    """An array of a saved state, whoever saved it.

    Examples
    --------
    >>> numbers_of([1, 2], "weight", np.dtype(float))
    array([1., 2.])
    """
    if isinstance(x, Node):
        return np.asarray(x._value)
    if hasattr(x, "detach") and hasattr(x, "cpu"):  # PyTorch's
        x = x.detach().cpu()
        x = (x if x.is_complex() else x.double()).numpy()
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # of float64 in float32
            return array_of(name, x, dtype)
    if getattr(x, "dtype", None) == dtype:
        return x  # to the last of its bits, which float64 may not have
    found = array_of(name, x)
    with np.errstate(invalid="ignore"):
        kept = found.astype(dtype)
    if not (kept == found).all():
        raise InputError(f"{name} is of whole numbers, as {dtype} has them, not {shown(x)}")
    return kept


def misfit(what: Any, problems: list[str]) -> StateDictError:
    """The error of a saved state, with everything in it that does not fit; of very many things the first 100.

    Examples
    --------
    >>> print(misfit(Parameter([1.0]), ["missing: bias"]))
    the state does not fit this Tensor, and nothing was loaded:
      missing: bias
    """
    more = [f"and {len(problems) - 100:,} more"] if len(problems) > 100 else []
    lines = "\n  ".join([*map(literal, problems[:100]), *more])
    return StateDictError(f"the state does not fit this {type(what).__name__}, and nothing was loaded:\n  {lines}")


def _visit(path: str, module: Any, found: list[_Place], barred: set[int], every: bool) -> None:
    """Add a module and those in it to the places; `barred` are those met already, or on the way here: a cycle."""
    own: list[tuple[str, Any]] = []
    found.append((path, module, own))
    barred.add(id(module))
    buffers = vars(module).get("_buffers", ())
    for name, x in module._held():
        if isinstance(x, Node):
            if _trained(x) and name not in buffers:
                own.append((name, x))
        elif id(x) not in barred:
            _visit(_joined(path, name), x, found, barred, every)
    if every:
        barred.discard(id(module))


class Contents:
    """What a module holds, to be compared with what it holds later: quicker than to look through all of it again.

    Examples
    --------
    >>> import microgad as mg
    >>> model = mg.nn.scalar.Neuron(2)
    >>> known = Contents(model)
    >>> known.same()
    True
    >>> model.w.append(mg.Value(1.0))
    >>> known.same()
    False
    """

    def __init__(self, module: Any) -> None:
        self.changes = changes[0]
        self.lists: list[tuple[Any, tuple[Any, ...]]] = []
        waiting = [x for one in module.modules() for x in vars(one).values()]
        seen = set[int]()
        for x in waiting:  # which grows
            if isinstance(x, (list, tuple, dict)) and id(x) not in seen:
                seen.add(id(x))
                inside = tuple(x.values() if isinstance(x, dict) else x)
                self.lists.append((x, inside))
                waiting += [y for y in inside if isinstance(y, (list, tuple, dict))]

    def same(self) -> bool:
        """Whether no attribute was set since, and every list holds what it held."""
        return self.changes == changes[0] and all(
            len(x) == len(inside) and all(map(operator.is_, x.values() if type(x) is dict else x, inside))
            for x, inside in self.lists
        )


def _apply(module: Any, fn: Callable[[Any], Any], met: set[int]) -> None:
    met.add(id(module))
    for child in module.children():
        if id(child) not in met:
            _apply(child, fn, met)
    fn(module)


def _open(name: str, x: Any, found: list[tuple[str, Any]], within: tuple[int, ...]) -> None:
    """Add the modules and nodes in an attribute to those that were found."""
    if isinstance(x, (Node, Module)):
        found.append((name, x))
    elif isinstance(x, (list, tuple, dict)) and id(x) not in within:
        for key, y in x.items() if isinstance(x, dict) else enumerate(x):
            if type(y) in ranks:
                found.append((f"{name}.{key}", y))
            elif type(y) not in PLAIN:
                _open(f"{name}.{key}", y, found, (*within, id(x)))


def _trained(x: Any) -> bool:
    """Whether a node is a parameter: a leaf that needs a gradient, or did so before it was frozen."""
    return x.prim is None and x.needs is not False


def _name(places: list[_Place], anew: bool = False) -> None:
    """Call modules and parameters by their dotted names, if they have no names of the user's.

    When a module has been made, `anew`, all that it holds stands in its place there; later only what is new, or has a
    name that was the end of this one.
    """
    named: set[int] = set()
    base = places[0][1]._path
    for below, module, own in places:
        path, old = _joined(base, below), module._path
        moved = old != path and (anew or not old or path.endswith(f".{old}"))
        if moved:
            module._path = path
        for name, p in own:
            if id(p) not in named:
                named.add(id(p))
                if not p.name or (moved and p.name == _joined(old, name)):
                    p.name = _joined(path, name)


def _once(leaves: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, x in leaves:
        if id(x) not in seen:
            seen.add(id(x))
            yield name, x


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name

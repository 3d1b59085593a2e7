"""What a function reads besides its arguments, and whether that is still what it was when the function was traced."""

from __future__ import annotations

import dis
import functools
import random
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from io import IOBase
from itertools import chain, count, islice
from operator import is_, itemgetter
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from microgad.node import Node

ARRAYS = {"microgad", "numpy"}
OURS = ARRAYS | sys.stdlib_module_names  # what does not change under a program
NO_CALL = {"__init__", "__new__", "__repr__", "__str__", "__del__", "__setattr__", "__reduce__", "__init_subclass__"}
MANY = 10_000  # things, from which on no more are looked at
LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
NUMBERS = (float, int, bool, str, type(None))  # of which another one that is equal is the same
MISSING = object()


class Reads:
    """What a function reads by name: variables of its module, of functions around it, attributes, lists and dicts.

    Numbers and arrays among them are frozen when the function is traced; whoever keeps the program asks `changed`
    whether something else stands there by now. Values and Tensors are read in each call; arrays are not looked into.

    Parameters
    ----------
    f : callable
        The function.
    given : sequence of (thing, name)
        What it is given and is a part of it, such as the object of a method.

    Attributes
    ----------
    generators : list
        The sources of random numbers among what it reads.
    iterators : list of str
        The names of iterators.
    """

    def __init__(self, f: Any, given: Sequence[tuple[Any, str]] = ()) -> None:
        self.generators: list[Any] = []
        self.iterators: list[str] = []
        self._names: set[str] = set()  # by which code takes attributes
        self._seen: dict[int, Any] = {}
        self._instances: list[Any] = []
        self._slots: set[tuple[int, str]] = set()
        self._items = 0  # in all lists, dicts and sets
        self._cells: list[tuple[CellType | _Attribute, str, Any]] = []
        self._places: dict[int, tuple[Any, dict[str, Any]]] = {}  # namespaces, and what was found there by name
        self._whole: list[tuple[Any, list[Any], str]] = []  # lists, dicts and sets, what they held, and their names
        self._waiting = [(f, ""), *given]
        known = -1
        while self._waiting or known < len(self._names):  # a name that is met later may be an attribute of what was met
            known = len(self._names)
            while self._waiting and len(self._seen) < MANY:
                self._visit(*self._waiting.pop())
            self._waiting.clear()
            for x in self._instances:
                self._attributes(x)
        self.renew()
        del self._seen, self._instances, self._waiting

    def renew(self) -> None:
        """Forget what is another thing by now: what the function itself changes, such as a counter, says nothing."""
        whole = [(x, list(_values(x)), held, name) for x, held, name in self._whole]
        self._whole = [(x, now, name) for x, now, held, name in whole if _alike(now, held)]
        self._cells = [(cell, name, x) for cell, name, x in self._cells if _same(_content(cell), x)]
        ordered = [(x, held) for x, held, _ in self._whole if type(x) is not set]
        self._lists = [_values(x) for x, _ in ordered]
        self._lengths = [len(held) for _, held in ordered]
        self._held = list(chain.from_iterable(held for _, held in ordered))
        self._sets = [(x, frozenset(held), name) for x, held, name in self._whole if type(x) is set]
        for space, found in self._places.values():
            for name in [name for name, x in found.items() if not _same(space.get(name), x)]:
                del found[name]
        # What is looked at in every call is taken at once; where a name is gone, that raises KeyError.
        self._values, self._absent = list[Any](), list[Any]()
        for space, found in self._places.values():
            there = [name for name in found if name in space]
            if there:
                held = [found[name] for name in there]
                self._values.append((itemgetter(*there, *there), space, held + held))
            if len(there) < len(found):
                self._absent.append((space, found.keys() - set(there)))

    def changed(self) -> str | None:
        """What is another thing by now; None where all is as it was."""
        try:
            return None if self._as_it_was() else self._said()
        except (KeyError, ValueError):  # a name is not there, or a cell is empty
            return self._said()

    def _as_it_was(self) -> bool:
        for names, space, held in self._values:
            if not all(map(is_, names(space), held)):
                return False
        for space, missing in self._absent:
            if not missing.isdisjoint(space):
                return False
        for cell, _, x in self._cells:
            if cell.cell_contents is not x:
                return False
        for now, then, _ in self._sets:
            if now != then:
                return False
        same = list(map(len, self._lists)) == self._lengths
        return same and all(map(is_, chain.from_iterable(self._lists), self._held))

    def _said(self) -> str | None:
        """The same, one by one; numbers that are equal are the same."""
        for space, found in self._places.values():
            for name, x in found.items():
                if not _same(space.get(name), x):
                    return f"{name} was set anew"
        for cell, called, thing in self._cells:
            if not _same(_content(cell), thing):
                return f"{called} was set anew"
        for whole, before, called in self._whole:
            if not _alike(list(_values(whole)), before):
                return f"{called} was changed"
        return next((f"{called} was changed" for now, then, called in self._sets if now != then), None)

    # ---- finding it

    def _visit(self, x: Any, name: str) -> None:
        if id(x) in self._seen or isinstance(x, (*NUMBERS, Node, np.ndarray, np.generic, complex, bytes)):
            return
        self._seen[id(x)] = x
        if isinstance(x, (np.random.Generator, np.random.RandomState, random.Random)):
            self.generators.append(x)
        elif isinstance(x, Iterator) and not isinstance(x, (IOBase, count)):  # which are to write, and to count
            self.iterators.append(name)
        elif isinstance(x, FunctionType):
            self._function(x)
        elif isinstance(x, functools.partial):
            self._later([x.func, *x.args, *x.keywords.values()], name)
        elif isinstance(x, MethodType):
            self._later([x.__func__, x.__self__], name)
        elif isinstance(x, (staticmethod, classmethod)):
            self._later([x.__func__], name)
        elif isinstance(x, property):
            self._later([x.fget], name)
        elif isinstance(x, (tuple, frozenset, list, dict, set, deque)) and len(x) > MANY - self._items:
            return  # to look through so much in each call would take longer than most calls
        elif isinstance(x, (tuple, frozenset)):
            self._later(x, name)
        elif isinstance(x, (list, dict, set, deque)):
            self._items += len(x)
            self._whole.append((x, list(_values(x)), name))
            self._later(_values(x), name)
        elif isinstance(x, type):
            self._instances.append(x)
        elif "__wrapped__" in getattr(x, "__dict__", ()):
            self._later([x.__wrapped__], name)
        elif isinstance(x, ModuleType):
            self._instances += [x] * (not _ours(x.__name__))
        elif _is_module(x) and _ours(type(x).__module__):
            self._whole.append((x.__dict__, list(x.__dict__.values()), type(x).__name__))
            self._later(x.__dict__.values(), type(x).__name__)
        elif type(x).__module__.partition(".")[0] not in ARRAYS:
            self._instances.append(x)

    def _later(self, things: Any, name: str) -> None:
        self._waiting += [(x, name) for x in things]

    def _function(self, f: FunctionType) -> None:
        if hasattr(f, "__wrapped__"):
            self._later([f.__wrapped__], f.__name__)
            return
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            x = _content(cell)
            if x is not MISSING:  # it is bound
                self._cells.append((cell, name, x))
                self._later([x], name)
        if _ours(f.__module__):
            return
        globals_, attributes = _names_in(f.__code__)
        self._names |= attributes
        for name in globals_ & f.__globals__.keys():
            self._note(f.__globals__, f.__globals__, name)
        for x in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self._later([x], f.__name__)
        if f.__defaults__ is not None:
            self._cells.append((_Attribute(f, "__defaults__"), f"a default of {f.__name__}", f.__defaults__))

    def _note(self, of: Any, space: Any, name: str) -> None:
        found = self._places.setdefault(id(of), (space, {}))[1]
        if name not in found:
            found[name] = space.get(name)
            self._later([found[name]], name)

    def _attributes(self, x: Any) -> None:
        """Note the attributes of an object by names that stand in code, and the parts of a network."""
        kind = x if isinstance(x, type) else type(x)
        if kind is not x:
            space = getattr(x, "__dict__", {})
            for name, y in list(space.items()):
                if name in self._names or (_is_module(x) and _is_part(y)):
                    self._note(x, space, name)
        for base in () if isinstance(x, ModuleType) else kind.__mro__:
            for name in self._names & set(getattr(base, "__slots__", ())) if kind is not x else ():
                slot = _Attribute(x, name)
                if (id(x), name) not in self._slots:
                    self._slots.add((id(x), name))
                    self._cells.append((slot, name, _content(slot)))
                    self._later([_content(slot)], name)
            if not _ours(base.__module__):
                for name, y in list(vars(base).items()):
                    called = name == "forward" or (name[:2] == "__" and name not in NO_CALL and kind is not x)
                    if name in self._names or (called and isinstance(y, FunctionType)):
                        self._note(base, vars(base), name)
                        if kind is not x and name in self._names and name not in space:
                            self._note(x, space, name)  # it may be set, and hide that of the class


class _Attribute:
    """An attribute that is looked at like a cell."""

    def __init__(self, of: Any, name: str) -> None:
        self.of, self.name = of, name

    @property
    def cell_contents(self) -> Any:
        return getattr(self.of, self.name, MISSING)


def _is_module(x: Any) -> bool:
    return hasattr(type(x), "forward")


def _is_part(x: Any) -> bool:
    """Whether it is a part of a network, or holds some."""
    return isinstance(x, Node) or _is_module(x) or (
        isinstance(x, (list, tuple, dict)) and any(map(_is_part, islice(_values(x), 3)))
    )  # fmt: skip


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _values(x: Any) -> Any:
    return x.values() if isinstance(x, dict) else x


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and type(a) in NUMBERS and a == b and str(a) == str(b))


def _alike(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(map(_same, a, b))


def _ours(module: Any) -> bool:
    return (module or "").partition(".")[0] in OURS


@functools.lru_cache(maxsize=1024)
def _names_in(code: CodeType) -> tuple[set[str], set[str]]:
    """The names that code reads from its module, and the others: attributes among them."""
    globals_, others = set[str](), set[str]()
    for one in _codes(code):
        found = {x.argval for x in dis.get_instructions(one) if x.opname in LOADS}
        globals_ |= found
        others |= set(one.co_names) - found
    return globals_, others


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for x in code.co_consts:
        if isinstance(x, CodeType):
            yield from _codes(x)

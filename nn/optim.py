"""Optimizers: how parameters move along their gradients.

All work on Values and on Tensors. The parameters of a group lie in one flat array, of which the tensors' data are
views, so that a step is a few operations on that, however many parameters there are. Results are PyTorch's to the
last digits; where lecture 002 prints another form of a rule, ``form="lecture"`` is that.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from microgad.errors import InputError, MicrogadError, StateDictError, shown, spell
from microgad.node import Node
from microgad.tracing import refuse

from . import lr_scheduler as lr_scheduler
from .choices import choose, flag, real
from .module import Parameter, gradient_of, listed, misfit, numbers_of, refuse_zero_grad, zero_grad

BLOCK = 1 << 15  # numbers that a rule works on at a time: with what belongs to them they stay in the cache
ANY, FORMS = (-math.inf, math.inf), {"pytorch": "pytorch", "lecture": "lecture"}
BOUNDS = {  # of the options of a group
    "lr": (0.0, math.inf), "momentum": (0.0, math.inf), "dampening": ANY, "weight_decay": (0.0, math.inf),
    "eps": (0.0, math.inf), "alpha": (0.0, math.inf), "rho": (0.0, 1.0), "lr_decay": (0.0, math.inf),
    "momentum_decay": (0.0, math.inf), "initial_accumulator_value": (0.0, math.inf), "initial_lr": (0.0, math.inf),
}  # fmt: skip
SWITCHES = {"nesterov", "maximize", "centered", "amsgrad", "decoupled_weight_decay"}

Array = np.ndarray[Any, Any]
Group = dict[str, Any]


class Flat:
    """Parameters of one kind as one flat array, with what an optimizer remembers of them."""

    def __init__(self, params: list[Any], indices: list[int], clock: dict[str, float]) -> None:
        self.params, self.indices = params, indices
        self.scalars = type(params[0]._value) is float
        self.shapes = [() if self.scalars else p._value.shape for p in params]
        ends = np.cumsum([0, *(math.prod(shape) for shape in self.shapes)]).tolist()
        self.slices = [slice(a, b) for a, b in pairwise(ends)]
        self.x = np.empty(ends[-1], np.float64 if self.scalars else params[0]._value.dtype)
        self.pack: Any = struct.Struct(f"{len(params)}d").pack_into  # half the time of an assignment of a list
        self.g = np.empty_like(self.x)
        self.views = self._parts()
        self.state: dict[str, Array] = {}
        self.clocks = [dict(clock)] * len(params)
        self.together = True  # whether there is one clock, as long as all have taken the same steps

    def _parts(self) -> list[Any]:
        return [self.x[s].reshape(shape) for s, shape in zip(self.slices, self.shapes, strict=True)]

    def __getstate__(self) -> dict[str, Any]:
        return {name: x for name, x in vars(self).items() if name != "pack"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.pack = struct.Struct(f"{len(self.params)}d").pack_into
        self.views = self._parts()  # in a copy they are arrays of their own

    def remembered(self, name: str, fresh: float = 0.0) -> Array:
        """What an optimizer remembers by this name, for all numbers; `fresh` at first."""
        if name not in self.state:
            self.state[name] = np.full_like(self.x, fresh)
        return self.state[name]

    def read(self) -> None:
        """Bring in the parameters as they are now."""
        if self.scalars:
            self.pack(self.x, 0, *[p._value for p in self.params])
            return
        for p, view in zip(self.params, self.views, strict=True):
            if p._value is not view:  # at first, and where somebody has set the data anew
                view[...] = p._value
                p._value = view

    def write(self) -> None:
        """Bring the new numbers back; a tensor's data are a view of them."""
        if self.scalars:
            for p, x in zip(self.params, self.x.tolist(), strict=True):
                p._value = x

    def gradients(self) -> list[bool] | None:
        """Bring in the gradients: which parameters have one, or None for all of them."""
        if self.scalars:
            try:
                self.pack(self.g, 0, *[p.grad for p in self.params])
                return None
            except struct.error:  # one has none, or one that was set by hand
                pass
        found = [p.grad if p.needs else None for p in self.params]  # of a frozen one it would be an old one
        present = [g is not None for g in found]
        try:
            self._fill(found)
        except (TypeError, ValueError, AttributeError):  # one that was set by hand
            self._fill([None if g is None else gradient_of(p) for p, g in zip(self.params, found, strict=True)])
        return None if all(present) else present

    def _fill(self, found: list[Any]) -> None:
        if self.scalars:
            self.g[:] = [0.0 if g is None else g for g in found]
            return
        parts = []
        for g, shape in zip(found, self.shapes, strict=True):
            if g is None:
                g = np.zeros(shape)
            elif g.shape != shape:
                raise ValueError
            parts.append(g.reshape(-1))
        np.concatenate(parts, out=self.g)

    def runs(self, present: list[bool] | None) -> list[tuple[dict[str, float], list[slice]]]:
        """The stretches of numbers that are moved, with their clocks."""
        if present is None and self.together:
            return [(self.clocks[0], [slice(0, self.x.size)])]
        on = present or [True] * len(self.params)
        absent = {id(clock) for clock, there in zip(self.clocks, on, strict=True) if not there}
        clocks, copies = self.clocks, {id(clock): dict(clock) for clock in self.clocks}
        self.clocks = [
            copies[id(clock)] if there and id(clock) in absent else clock
            for clock, there in zip(clocks, on, strict=True)
        ]
        self.together = False
        found: dict[int, tuple[dict[str, float], list[slice]]] = {}
        for clock, part, there in zip(self.clocks, self.slices, on, strict=True):
            if there:
                parts = found.setdefault(id(clock), (clock, []))[1]
                if parts and parts[-1].stop == part.start:
                    parts[-1] = slice(parts[-1].start, part.stop)
                else:
                    parts.append(part)
        return list(found.values())


class Optimizer:
    """The base of all optimizers.

    An optimizer of your own has its options as keywords, and a `rule` in NumPy, which works on numbers one by one.

    Parameters
    ----------
    params : iterable of parameters, or of dicts
        Values and leaf Tensors, as ``model.parameters()`` gives them; or groups, dicts with "params" and with options
        of their own.
    defaults : dict
        The options of groups that say nothing else.

    Attributes
    ----------
    param_groups : list of dict
        The groups with their options, which can be changed at any time.

    Notes
    -----
    From here on the data of the tensors are views of larger arrays, and `step` changes them in place. An array that was
    ``p.data`` before keeps its numbers; take ``p.data`` again where it is to follow. A graph that was computed before a
    step and goes backward after it meets the new numbers: call `backward` first.

    Raises
    ------
    InputError
        If there are no parameters, one stands there twice or is none, or an option is unknown or out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> class SignDescent(Optimizer):
    ...     def __init__(self, params, lr=0.1):
    ...         super().__init__(params, {"lr": lr})
    ...
    ...     def rule(self, x, g, state, clock, group):
    ...         x -= group["lr"] * np.sign(g)
    >>> w = mg.Value(1.0)
    >>> (w * w).backward()
    >>> SignDescent([w]).step()
    >>> w.data
    0.9
    """

    fresh_clock: ClassVar[dict[str, float]] = {"step": 0}  # what is counted for each parameter; `tick` may do more

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self._flats: list[list[Flat]] = []
        self._seen: list[tuple[list[Any], list[Any]]] = []  # of each group the options and the parameters
        given = listed(params, "an optimizer is given")
        if not given:
            raise InputError("an optimizer got no parameters: is the model empty, or its generator used up?")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own.

        Parameters
        ----------
        param_group : dict
            "params", and any options.

        Examples
        --------
        >>> import microgad as mg
        >>> optimizer = SGD([mg.Value(1.0)], lr=0.1)
        >>> optimizer.add_param_group({"params": [mg.Value(2.0)], "lr": 0.01})
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.1, 0.01]
        """
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise InputError(f'a group is a dict with "params" and options, not {shown(param_group)}')
        params = param_group["params"]
        params = [params] if isinstance(params, Node) else listed(params, "an optimizer is given")
        params = [p[1] if isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str) else p for p in params]
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Parameter):
                found = spell(p) if isinstance(p, Node) else shown(p)
                why = "is computed from others" if getattr(p, "prim", None) else "requires no gradient"
                raise InputError(
                    f"an optimizer moves Values, and Tensors with requires_grad=True, and {found} "
                    + (why if isinstance(p, Node) else "is neither")
                )
            if id(p) in known:
                raise InputError(f"{spell(p)} stands twice among the parameters of this optimizer")
            known.add(id(p))
        group = {"params": params, **self.defaults}
        for name, x in param_group.items():
            if name != "params":
                choose(name, {**self.defaults, "initial_lr": 0}, f"option of {type(self).__name__}")
                group[name] = x
        self._check(group)
        kinds: dict[Any, list[int]] = {}
        for k, p in enumerate(params):
            kinds.setdefault("value" if type(p._value) is float else p._value.dtype, []).append(k)
        flats = [Flat([params[k] for k in found], found, self.fresh_clock) for found in kinds.values()]
        for flat in flats:
            flat.read()
        self.param_groups.append(group)
        self._flats.append(flats)
        self._seen.append((list(group.values()), list(params)))

    def _check(self, group: Group) -> None:
        """See that options are within their ranges; numbers become floats."""
        of = f" of {type(self).__name__}"
        if lacking := [name for name in self.defaults if name not in group]:
            raise InputError(f"a group has no {lacking[0]}{of} any more")
        for name, x in group.items():
            if name in BOUNDS:
                group[name] = real(x, name + of, *BOUNDS[name])
            elif name == "betas":
                if not isinstance(x, (tuple, list)) or len(x) != 2:
                    raise InputError(f"betas{of} are two numbers, not {shown(x)}")
                group[name] = tuple([real(beta, f"each of betas{of}", 0.0, 1.0, below=True) for beta in x])
            elif name == "form":
                choose(x, FORMS, f"form{of}")
            elif name in SWITCHES:
                flag(x, name + of)

    def _flat(self, i: int) -> list[Flat]:
        """The parameters of a group, by kind, once its options have been looked at where they have changed."""
        if i >= len(self._flats) or len(self.param_groups) < len(self._flats):
            raise InputError("param_groups has other groups than before: add_param_group adds one")
        group, (options, params) = self.param_groups[i], self._seen[i]
        if len(group) != len(options) or not all(map(operator.is_, group.values(), options)):
            Optimizer._check(self, group)  # not what SGD asks for: momentum may come to 0 with nesterov, as in PyTorch
            self._seen[i] = (list(group.values()), params)
        now = group["params"]
        if len(now) != len(params) or not all(map(operator.is_, now, params)):
            raise InputError(f"group {i} has other parameters than before: add_param_group adds some")
        return self._flats[i]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Parameters
        ----------
        set_to_none : bool
            Whether they become None, which `step` skips, or 0; what is None stays so.

        Examples
        --------
        >>> import microgad as mg
        >>> w = mg.Value(1.0)
        >>> (w * w).backward()
        >>> SGD([w]).zero_grad()
        >>> w.grad is None
        True
        """
        refuse_zero_grad()
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    zero_grad(p, False)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient, and is not frozen.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss anew: forgets the gradients, calls `backward`, and returns the loss.

        Returns
        -------
        Value, Tensor or None
            What the closure returned.

        Raises
        ------
        ShapeError or InputError
            If a gradient or an option was set by hand to what it cannot be; nothing has moved then.

        Examples
        --------
        >>> import microgad as mg
        >>> w = mg.Value(1.0)
        >>> (w * w).backward()
        >>> SGD([w], lr=0.1).step()
        >>> w.data
        0.8
        """
        refuse("an optimizer steps", "a program would not do it again; call step() outside")
        loss = None if closure is None else closure()
        moves = []
        for i, group in enumerate(self.param_groups):
            for flat in self._flat(i):
                flat.read()
                moves.append((flat, group, flat.gradients()))
        for flat, group, present in moves:
            memory = {name: flat.remembered(name, fresh) for name, fresh in self.memory(group).items()}
            for clock, parts in flat.runs(present):
                clock["step"] += 1
                self.tick(clock, group)
                for part in parts:
                    for start in range(part.start, part.stop, BLOCK):
                        block = slice(start, min(start + BLOCK, part.stop))
                        state = {name: x[block] for name, x in memory.items()}
                        self.rule(flat.x[block], flat.g[block], state, clock, group)
            flat.write()
        return loss

    def memory(self, group: Group) -> dict[str, float]:
        """What the rule remembers of each number, and what it is at first."""
        return {}

    def tick(self, clock: dict[str, float], group: Group) -> None:
        """What changes once in a step, and not for each number; what it counts begins as `fresh_clock` says."""

    def rule(self, x: Array, g: Array, state: dict[str, Array], clock: dict[str, float], group: Group) -> None:
        """Move the numbers `x` along their gradients `g`, in place; `g` and `state` may be overwritten."""
        raise NotImplementedError(f"{type(self).__name__} has no rule: define how parameters move")

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """What the optimizer remembers and its options, in PyTorch's form: copies.

        Examples
        --------
        >>> import microgad as mg
        >>> w = mg.Value(1.0)
        >>> optimizer = SGD([w], lr=0.1, momentum=0.9)
        >>> (w * w).backward()
        >>> optimizer.step()
        >>> optimizer.state_dict()["state"]
        {0: {'step': 1, 'momentum_buffer': array(2.)}}
        """
        state: dict[int, dict[str, Any]] = {}
        groups, first = [], 0
        for i, group in enumerate(self.param_groups):
            for flat in self._flat(i):
                for name, fresh in self.memory(group).items():
                    flat.remembered(name, fresh)
                for k, part, shape, clock in zip(flat.indices, flat.slices, flat.shapes, flat.clocks, strict=True):
                    if clock["step"]:
                        copies = {name: np.array(x[part].reshape(shape)) for name, x in flat.state.items()}
                        state[first + k] = {**clock, **copies}
            n = len(group["params"])
            groups.append({name: x for name, x in group.items() if name != "params"})
            groups[-1]["params"] = list(range(first, first + n))
            first += n
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take what another optimizer of the same kind remembers, PyTorch's among them; all of it, or nothing.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` gave, for as many groups with as many parameters of the same shapes.

        Raises
        ------
        StateDictError
            With everything that does not fit.

        Examples
        --------
        >>> import microgad as mg
        >>> w = mg.Value(1.0)
        >>> a, b = SGD([w], lr=0.1), SGD([w], lr=0.2)
        >>> a.load_state_dict(b.state_dict())
        >>> a.param_groups[0]["lr"]
        0.2
        """
        try:
            groups, saved = [dict(group) for group in state_dict["param_groups"]], dict(state_dict["state"])
            names = [list(map(str, group["params"])) for group in groups]
        except (TypeError, KeyError, ValueError, AttributeError):
            raise StateDictError(
                f'the state of an optimizer has "state" and "param_groups", and this is {shown(state_dict)}'
            ) from None
        sizes, own = [len(found) for found in names], [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise StateDictError(f"the state has groups of {sizes} parameters, and this optimizer of {own}")
        entries = {str(k): entry for k, entry in saved.items()}
        problems: list[str] = []
        loaded = []
        for i, group in enumerate(groups):
            current = self.param_groups[i]
            numbers = [name for name in self.defaults if name in BOUNDS or name == "betas"]
            problems += [f"group {i}: no {name}" for name in numbers if name not in group]
            taken = {name: x for name, x in group.items() if name in current or name == "initial_lr"}
            new = {**current, **taken, "params": current["params"]}
            try:
                self._check(new)
            except MicrogadError as error:
                problems.append(f"group {i}: {error}")
                new = current
            for flat in self._flat(i):
                other = Flat(flat.params, flat.indices, self.fresh_clock)
                problems += self._take(other, [(names[i][k], entries.pop(names[i][k], {})) for k in flat.indices], new)
                loaded.append((flat, other))
            groups[i] = new
        problems += [f"parameter {name}: this optimizer has none of that number" for name in entries]
        if problems:
            raise misfit(self, problems)
        for current, new in zip(self.param_groups, groups, strict=True):
            current.update(new)
        for flat, other in loaded:
            flat.state, flat.clocks, flat.together = other.state, other.clocks, other.together

    def _take(self, flat: Flat, entries: list[tuple[str, Any]], group: Group) -> list[str]:
        """Bring what was saved for each parameter into a new `flat`: the problems with it."""
        needed = [*self.memory(group), *(what for what in self.fresh_clock if what != "step")]
        known = self.memory({**group, **dict.fromkeys(SWITCHES, True), "momentum": 1.0})  # what it may have had before
        problems, clocks = [], []
        for (name, entry), part, shape in zip(entries, flat.slices, flat.shapes, strict=True):
            try:
                given = {what: x for what, x in dict(entry).items() if x is not None}
                kinds = {what: np.dtype(float) if what in self.fresh_clock else flat.x.dtype for what in given}
                found = {what: numbers_of(x, what, kinds[what]) for what, x in given.items()}
            except (TypeError, ValueError) as error:
                problems.append(f"parameter {name}: {error}")
                continue
            # Where PyTorch counts no steps, as in SGD, what is remembered says that there were some.
            clock = {**self.fresh_clock, "step": 1 if found else 0}
            for what, x in found.items():
                of = () if what in clock else shape
                if what not in clock and what not in known:
                    problems.append(f"parameter {name}: {what} is unexpected")
                elif x.shape != of:
                    problems.append(f"parameter {name}: {what} is {x.shape}, and should be {of}")
                elif what in known:
                    flat.remembered(what, known[what])[part] = x.reshape(-1)
                elif not 0.0 <= x < math.inf or (what == "step" and x % 1.0):
                    problems.append(f"parameter {name}: {what} is {x}")
                else:
                    clock[what] = int(x) if what == "step" else float(x)
            if clock["step"]:
                problems += [f"parameter {name}: {what} is missing" for what in needed if what not in found]
            clocks.append(clock)
        shared: dict[Any, dict[str, float]] = {}
        flat.clocks = [shared.setdefault(tuple(clock.items()), clock) for clock in clocks]
        flat.together = len(shared) == 1
        return problems

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {i}"]
            lines += [f"    {name}: {x}" for name, x in sorted(group.items()) if name != "params"]
        return "\n".join([f"{type(self).__name__} (", *lines, ")"])


def _decayed(x: Array, g: Array, group: Group) -> None:
    """Turn the gradient round, to climb; and add that of ``weight_decay / 2 * x ** 2``, or shrink `x` apart from it."""
    if group["maximize"]:
        np.negative(g, out=g)
    if group["weight_decay"]:
        if group.get("decoupled_weight_decay"):
            x *= 1.0 - group["lr"] * group["weight_decay"]
        else:
            g += group["weight_decay"] * x


def _average(average: Array, new: Array, keep: float) -> None:
    """Move an average towards new numbers: exponentially fading weights, that of the newest ``1 - keep``."""
    average *= keep
    average += (1.0 - keep) * new


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for: ``v = momentum * v + (1 - dampening) * g``, ``x -= lr * v``.

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        The length of a step.
    momentum : float
        How much of the last step is taken along.
    dampening : float
        How much less of the gradient, from the second step on.
    weight_decay : float
        λ of the penalty ``λ / 2 * x ** 2`` (lecture 002): a step is then ``x * (1 - lr * λ) - lr * g``.
    nesterov : bool
        PyTorch's reformulation of Nesterov's method; `NAG` evaluates the gradient ahead, as he does.
    maximize : bool
        Whether to climb.
    form : {"pytorch", "lecture"}
        Lecture 002 prints momentum as an average, ``v = momentum * v + (1 - momentum) * g`` from 0 on: steps are
        ``1 - momentum`` times as long as PyTorch's.

    Raises
    ------
    InputError
        If an option is out of its range, or `nesterov` has no momentum, or some dampening.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(1.0)
    >>> optimizer = SGD([w], lr=0.1, momentum=0.9, form="lecture")
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     loss = w * w / 2
    ...     loss.backward()
    ...     optimizer.step()
    ...     print(round(w.data, 9))
    0.99
    0.9711
    0.944379
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        form: str = "pytorch",
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov, "maximize": maximize, "form": form})  # fmt: skip

    def _check(self, group: Group) -> None:
        super()._check(group)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise InputError("nesterov needs momentum, and no dampening")
        if group["form"] == "lecture" and (group["nesterov"] or group["dampening"]):
            raise InputError(
                'the lecture\'s form of momentum has no dampening, and its look-ahead is NAG(form="lecture")'
            )

    def memory(self, group: Group) -> dict[str, float]:  # noqa: D102
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def tick(self, clock: dict[str, float], group: Group) -> None:  # noqa: D102
        clock["step"] -= not group["momentum"]  # only steps that momentum remembers are counted

    def rule(self, x: Array, g: Array, state: dict[str, Array], clock: dict[str, float], group: Group) -> None:  # noqa: D102
        momentum = group["momentum"]
        _decayed(x, g, group)
        if momentum:
            v = state["momentum_buffer"]
            if group["form"] == "lecture":
                _average(v, g, momentum)
            elif clock["step"] == 1:
                v[...] = g
            else:
                v *= momentum
                v += g if not group["dampening"] else (1.0 - group["dampening"]) * g
            g = g + momentum * v if group["nesterov"] else v.copy()
        g *= group["lr"]
        x -= g


class NAG(Optimizer):
    """Nesterov's accelerated gradient: the gradient is taken where momentum would lead, at ``x - lr * momentum * v``.

    Then ``v = momentum * v + g`` and ``x -= lr * v``. The points ahead are those of PyTorch's ``SGD(nesterov=True)``,
    which never returns from them. Either `step` is given a closure, which it calls ahead, or the loop calls
    `look_ahead` before it computes the loss.

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        The length of a step.
    momentum : float
        How much of the last step is taken along.
    weight_decay : float
        λ of the penalty ``λ / 2 * x ** 2``.
    maximize : bool
        Whether to climb.
    form : {"pytorch", "lecture"}
        Lecture 002 prints ``v = momentum * v + (1 - momentum) * g``.

    Raises
    ------
    InputError
        If an option is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(1.0)
    >>> optimizer = NAG([w], lr=0.1, momentum=0.9, form="lecture")
    >>> for _ in range(3):
    ...     optimizer.look_ahead()
    ...     optimizer.zero_grad()
    ...     loss = w * w / 2
    ...     loss.backward()
    ...     optimizer.step()
    ...     print(round(w.data, 8))
    0.99
    0.97119
    0.94471839
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        form: str = "pytorch",
    ) -> None:
        self._behind: list[tuple[Flat, Array]] | None = None  # the numbers that `look_ahead` went from
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "maximize": maximize,
                                  "form": form})  # fmt: skip

    def look_ahead(self) -> None:
        """Move the parameters to where momentum would lead; the next `step` starts from where they were.

        Examples
        --------
        >>> import microgad as mg
        >>> w = mg.Value(1.0)
        >>> NAG([w]).look_ahead()  # without momentum as yet
        >>> w.data
        1.0
        """
        if self._behind is not None:
            return
        self._behind = []
        for i, group in enumerate(self.param_groups):
            for flat in self._flat(i):
                flat.read()
                self._behind.append((flat, flat.x.copy()))
                flat.x -= group["lr"] * group["momentum"] * flat.remembered("momentum_buffer")
                flat.write()

    def look_back(self) -> None:
        """Move the parameters back without a step, as where the loss ahead could not be computed.

        Examples
        --------
        >>> import microgad as mg
        >>> optimizer = NAG([mg.Value(1.0)])
        >>> optimizer.look_ahead()
        >>> optimizer.look_back()
        """
        for flat, x in self._behind or ():
            flat.read()  # whatever was set ahead is forgotten
            flat.x[:] = x
            flat.write()
        self._behind = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: D102
        if closure is None and self._behind is None:
            raise InputError(
                "NAG needs the gradient ahead: call optimizer.look_ahead() before the loss is computed, or give step a "
                "closure that computes it"
            )
        try:
            self.look_ahead()
            loss = None if closure is None else closure()
        finally:
            self.look_back()
        super().step()
        return loss

    def memory(self, group: Group) -> dict[str, float]:  # noqa: D102
        return {"momentum_buffer": 0.0}

    def rule(self, x: Array, g: Array, state: dict[str, Array], clock: dict[str, float], group: Group) -> None:  # noqa: D102
        v = state["momentum_buffer"]
        ahead = x - group["lr"] * group["momentum"] * v if group["weight_decay"] else x
        _decayed(ahead, g, group)
        v *= group["momentum"]
        v += (1.0 - group["momentum"]) * g if group["form"] == "lecture" else g
        x -= group["lr"] * v


class Adagrad(Optimizer):
    """Steps that shrink with the sum of all squared gradients, number by number (Duchi et al., 2011).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        The length of the first steps.
    lr_decay : float
        How fast `lr` falls: it is divided by ``1 + (step - 1) * lr_decay``.
    weight_decay : float
        λ of the penalty ``λ / 2 * x ** 2``.
    initial_accumulator_value : float
        What the sum begins with.
    eps : float
        Added to the root of the sum.
    maximize : bool
        Whether to climb.

    Raises
    ------
    InputError
        If an option is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(1.0)
    >>> (w * w).backward()
    >>> Adagrad([w], lr=0.25).step()
    >>> round(w.data, 6)
    0.75
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps,
                                  "initial_accumulator_value": initial_accumulator_value,
                                  "maximize": maximize})  # fmt: skip

    def memory(self, group: Group) -> dict[str, float]:  # noqa: D102
        return {"sum": group["initial_accumulator_value"]}

    def rule(self, x: Array, g: Array, state: dict[str, Array], clock: dict[str, float], group: Group) -> None:  # noqa: D102
        _decayed(x, g, group)
        total = state["sum"]
        total += g * g
        lr = group["lr"] / (1.0 + (clock["step"] - 1) * group["lr_decay"])
        x -= lr * g / (np.sqrt(total) + group["eps"])


class RMSprop(Optimizer):
    """Steps in units of the root of the running mean of squared gradients (Hinton; lecture 002, the same form).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        The length of a step.
    alpha : float
        How much of the running mean is kept.
    eps : float
        Added to its root.
    weight_decay : float
        λ of the penalty ``λ / 2 * x ** 2``.
    momentum : float
        How much of the last step is taken along.
    centered : bool
        Whether to divide by the standard deviation: the square of the running mean is subtracted.
    maximize : bool
        Whether to climb.

    Raises
    ------
    InputError
        If an option is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(1.0)
    >>> (w * w / 2).backward()
    >>> RMSprop([w], lr=0.1, alpha=0.9).step()
    >>> round(w.data, 9)
    0.683772244
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay,
                                  "momentum": momentum, "centered": centered, "maximize": maximize})  # fmt: skip

    def memory(self, group: Group) -> dict[str, float]:  # noqa: D102
        buffers = {"momentum_buffer": 0.0} if group["momentum"] else {}
        return {"square_avg": 0.0, **buffers, **({"grad_avg": 0.0} if group["centered"] else {})}

    def rule(self, x: Array, g: Array, state: dict[str, Array], clock: dict[str, float], group: Group) -> None:  # noqa: D102
        _decayed(x, g, group)
        square = state["square_avg"]
        _average(square, g * g, group["alpha"])
        if group["centered"]:
            mean = state["grad_avg"]
            _average(mean, g, group["alpha"])
            square = np.maximum(square - mean * mean, 0.0)  # rounding can make it negative
        move = g / (np.sqrt(square) + group["eps"])
        if group["momentum"]:
            buffer = state["momentum_buffer"]
            buffer *= group["momentum"]
            buffer += move
            move = buffer
        x -= group["lr"] * move


class Adadelta(Optimizer):
    """Steps in units of the last steps over those of the gradients, so that `lr` may be 1 (Zeiler, 2012).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        By what a step is multiplied.
    rho : float
        How much of the running means is kept.
    eps : float
        Added to the running means, inside of the roots.
    weight_decay : float
        λ of the penalty ``λ / 2 * x ** 2``.
    maximize : bool
        Whether to climb.
    form : {"pytorch", "lecture"}
        Lecture 002 prints `eps` outside of the roots, ``g * (sqrt(D) + eps) / (sqrt(G) + eps)``, and starts about a
        thousand times more slowly with the same `eps`; 1e-3 there is about what 1e-6 is here.

    Raises
    ------
    InputError
        If an option is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> for form in ("pytorch", "lecture"):
    ...     w = mg.Value(1.0)
    ...     (w * w / 2).backward()
    ...     Adadelta([w], form=form).step()
    ...     print(round(w.data, 10))
    0.9968377382
    0.9999968377
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        form: str = "pytorch",
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
                                  "form": form})  # fmt: skip

    def memory(self, group: Group) -> dict[str, float]:  # noqa: D102
        return {"square_avg": 0.0, "acc_delta": 0.0}

    def rule(self, x: Array, g: Array, state: dict[str, Array], clock: dict[str, float], group: Group) -> None:  # noqa: D102
        _decayed(x, g, group)
        square, moved, eps = state["square_avg"], state["acc_delta"], group["eps"]
        _average(square, g * g, group["rho"])
        if group["form"] == "lecture":
            g *= (np.sqrt(moved) + eps) / (np.sqrt(square) + eps)
        else:
            g *= np.sqrt(moved + eps) / np.sqrt(square + eps)
        _average(moved, g * g, group["rho"])
        x -= group["lr"] * g


class Adam(Optimizer):
    """Momentum in units of the root of the running mean of squared gradients (Kingma and Ba, 2014).

    Both means are divided by ``1 - beta ** step``, which makes up for their start at 0. That is also what lecture 002
    means, where the print multiplies by the root.

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        The length of a step.
    betas : (float, float)
        How much of the running mean of the gradients is kept, and of that of their squares.
    eps : float
        Added to the root.
    weight_decay : float
        λ of the penalty ``λ / 2 * x ** 2``, part of the gradient; see `AdamW`.
    amsgrad : bool
        Whether to divide by the largest running mean so far (Reddi et al., 2018).
    maximize : bool
        Whether to climb.
    decoupled_weight_decay : bool
        Whether the decay is no part of the gradient, as in `AdamW`.

    Raises
    ------
    InputError
        If an option is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(1.0)
    >>> optimizer = Adam([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     loss = w * w / 2
    ...     loss.backward()
    ...     optimizer.step()
    ...     print(round(w.data, 9))
    0.900000001
    0.80041223
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "amsgrad": amsgrad, "maximize": maximize,
                                  "decoupled_weight_decay": decoupled_weight_decay})  # fmt: skip

    def memory(self, group: Group) -> dict[str, float]:  # noqa: D102
        largest = {"max_exp_avg_sq": 0.0} if group["amsgrad"] else {}
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0, **largest}

    def rule(self, x: Array, g: Array, state: dict[str, Array], clock: dict[str, float], group: Group) -> None:  # noqa: D102
        (beta1, beta2), lr, step = group["betas"], group["lr"], clock["step"]
        _decayed(x, g, group)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        # x -= lr * mean / (1 - beta1 ** step) / (sqrt(square / (1 - beta2 ** step)) + eps), in place and in few passes
        _average(mean, g, beta1)
        g *= g
        g *= 1.0 - beta2
        square *= beta2
        square += g
        if group["amsgrad"]:
            square = np.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
        size = math.sqrt(1.0 - beta2**step)
        np.sqrt(square, out=g)
        g += group["eps"] * size
        np.divide(mean, g, out=g)
        g *= lr * size / (1.0 - beta1**step)
        x -= g


class AdamW(Adam):
    """`Adam` whose decay of the weights is no part of the gradient: ``x *= 1 - lr * weight_decay`` first.

    After Loshchilov and Hutter, 2017.

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        The length of a step.
    betas : (float, float)
        How much of the running mean of the gradients is kept, and of that of their squares.
    eps : float
        Added to the root.
    weight_decay : float
        How fast the weights decay.
    amsgrad : bool
        Whether to divide by the largest running mean so far.
    maximize : bool
        Whether to climb.

    Raises
    ------
    InputError
        If an option is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(1.0)
    >>> (w * w / 2).backward()
    >>> AdamW([w], lr=0.1).step()
    >>> round(w.data, 6)
    0.899
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)


class NAdam(Optimizer):
    """`Adam` with Nesterov's look-ahead (Dozat, 2016).

    Parameters
    ----------
    params : iterable
        Parameters, or groups of them.
    lr : float
        The length of a step.
    betas : (float, float)
        How much of the running mean of the gradients is kept, and of that of their squares.
    eps : float
        Added to the root.
    weight_decay : float
        λ of the penalty ``λ / 2 * x ** 2``.
    momentum_decay : float
        Momentum is ``beta1 * (1 - 0.96 ** (step * momentum_decay) / 2)``.
    decoupled_weight_decay : bool
        Whether the decay is no part of the gradient, as in `AdamW`.
    maximize : bool
        Whether to climb.
    form : {"pytorch", "lecture"}
        Lecture 002 keeps momentum as it is, and moves by ``beta1 * mean + (1 - beta1) / (1 - beta1 ** step) * g``, the
        mean without its bias, over the same root: its first step is ``1 + beta1`` times as long as `lr`.

    Raises
    ------
    InputError
        If an option is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> w = mg.Value(1.0)
    >>> (w * w / 2).backward()
    >>> NAdam([w], lr=0.1, form="lecture").step()
    >>> round(w.data, 9)
    0.810000002
    """

    fresh_clock: ClassVar[dict[str, float]] = {"step": 0, "mu_product": 1.0}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        form: str = "pytorch",
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "form": form,
                                  "momentum_decay": momentum_decay, "maximize": maximize,
                                  "decoupled_weight_decay": decoupled_weight_decay})  # fmt: skip

    def memory(self, group: Group) -> dict[str, float]:  # noqa: D102
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def tick(self, clock: dict[str, float], group: Group) -> None:  # noqa: D102
        clock["mu_product"] *= self._momentum(clock["step"], group)

    @staticmethod
    def _momentum(step: float, group: Group) -> float:
        return float(group["betas"][0] * (1.0 - 0.5 * 0.96 ** (step * group["momentum_decay"])))

    def rule(self, x: Array, g: Array, state: dict[str, Array], clock: dict[str, float], group: Group) -> None:  # noqa: D102
        (beta1, beta2), lr, step = group["betas"], group["lr"], clock["step"]
        _decayed(x, g, group)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        _average(mean, g, beta1)
        _average(square, g * g, beta2)
        if group["form"] == "lecture":
            of_g, of_mean = (1.0 - beta1) / (1.0 - beta1**step), beta1 / (1.0 - beta1**step)
        else:
            now, soon, product = self._momentum(step, group), self._momentum(step + 1, group), clock["mu_product"]
            of_g, of_mean = (1.0 - now) / (1.0 - product), soon / (1.0 - product * soon)
        x -= lr * (of_g * g + of_mean * mean) / (np.sqrt(square / (1.0 - beta2**step)) + group["eps"])


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD, "nag": NAG, "adagrad": Adagrad, "rmsprop": RMSprop, "adadelta": Adadelta, "adam": Adam, "adamw": AdamW,
    "nadam": NAdam,
}  # fmt: skip


__all__ = [
    "NAG",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "lr_scheduler",
]  # fmt: skip

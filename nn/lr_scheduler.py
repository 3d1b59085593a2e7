"""Learning rates that change as training goes on: PyTorch's schedulers, for any optimizer that has `param_groups`.

As in PyTorch, most of them compute a learning rate from the one before, not from the number of the epoch: so
several can work on one optimizer, their factors multiply, and a learning rate that is changed by hand between two
steps is where the schedule goes on from. For the same reason a saved state is complete only with the learning rates
themselves, which are part of the state of the optimizer.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, ClassVar

from microgad.array_functions import array_of
from microgad.errors import InputError, MicrogadError, StateDictError, shown
from microgad.node import Node

from .choices import choose, real, whole

# What a parameter of a scheduler may be, as constructors and `load_state_dict` ask.
Check = Callable[[Any, str], Any]
_positive: Check = partial(real, above=True)
_finite: Check = partial(real, low=-math.inf)
_score: Check = partial(real, low=-math.inf, infinite=True)
_share: Check = partial(real, high=1.0, above=True)
_count: Check = partial(whole, least=0)


def _each(check: Check, x: Any, what: str) -> list[Any]:
    """A list, of which each is checked; a Counter, as PyTorch saves milestones, is one too."""
    if isinstance(x, Mapping) and hasattr(x, "elements"):
        x = x.elements()
    if isinstance(x, str) or not isinstance(x, Iterable):
        raise InputError(f"{what} is a list, not {shown(x)}")
    return [check(one, f"one of {what}") for one in x]


def _one_of(*names: str) -> Check:
    return lambda x, what: choose(x, dict(zip(names, names, strict=True)), what)


_rates: Check = partial(_each, _finite)
_OF_GROUPS = {"base_lrs", "_last_lr", "min_lrs"}  # what has a number for each
# What PyTorch's schedulers save besides, and these do without.
_IGNORED = {"_step_count", "_get_lr_called_within_step", "_is_initial", "mode_worse", "verbose"}


def _groups_of(optimizer: Any) -> list[Any]:
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list) or not groups or not all(isinstance(x, dict) and "lr" in x for x in groups):
        raise InputError(
            f'a scheduler is given an optimizer, with param_groups, a list of dicts with "lr", not {shown(optimizer)}'
        )
    return groups


class LRScheduler:
    """The base of schedulers: a class with a `get_lr`, which says what the learning rates are at `last_epoch`.

    Making one takes its step 0 at once, which may change the learning rates already. The learning rate that a group had
    then is kept in the group as ``"initial_lr"``.

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`, a list of dicts with the key "lr".
    last_epoch : int
        The number of the last step of a run that is taken up, whose groups have an "initial_lr"; -1 begins anew.

    Attributes
    ----------
    last_epoch : int
        The number of the last step.
    base_lrs : list of float
        The initial learning rate of each group.

    Raises
    ------
    InputError
        If the optimizer has no such groups, or a run is taken up and a group lacks "initial_lr".

    Examples
    --------
    >>> import microgad as mg
    >>> class Halving(LRScheduler):
    ...     def get_lr(self):
    ...         return [lr * 0.5**self.last_epoch for lr in self.base_lrs]
    >>> optimizer = mg.nn.optim.SGD([mg.Value(1.0)], lr=0.1)
    >>> scheduler = Halving(optimizer)
    >>> scheduler.step()
    >>> optimizer.param_groups[0]["lr"], scheduler.get_last_lr(), scheduler.last_epoch
    (0.05, [0.05], 1)
    """

    _checks: ClassVar[dict[str, Check]] = {}  # of the parameters of the class
    _common: ClassVar[dict[str, Check]] = {
        "last_epoch": partial(whole, least=-1),
        "base_lrs": _rates,
        "_last_lr": _rates,
    }
    _apart: ClassVar[set[str]] = set()  # what a state does not have as it is
    base_lrs: list[float]
    last_epoch: int
    _last_lr: list[float]
    _is_initial = False  # whether this is the step 0 of a constructor

    def __init__(self, optimizer: Any, last_epoch: int = -1) -> None:
        groups = _groups_of(optimizer)
        self.optimizer = optimizer
        self._set(last_epoch=last_epoch)
        if self.last_epoch == -1:
            for group, lr in zip(groups, self._lrs(), strict=True):
                group.setdefault("initial_lr", lr)
        elif lacking := [i for i, group in enumerate(groups) if "initial_lr" not in group]:
            raise InputError(
                f'last_epoch={last_epoch} takes up a run, and group {lacking[0]} has no "initial_lr": load the state '
                "of the optimizer first, or begin anew with last_epoch=-1"
            )
        self._set(base_lrs=[group["initial_lr"] for group in groups])
        self._begin()

    def _set(self, **options: Any) -> None:
        """Take parameters as attributes, once all of them are what they may be."""
        checks = {**self._common, **self._checks}
        kind = type(self).__name__
        vars(self).update({name: checks[name](x, f"{name.lstrip('_')} of {kind}") for name, x in options.items()})

    def _begin(self) -> None:
        self._is_initial = True
        try:
            self.step()
        finally:
            del self._is_initial

    def _restart(self) -> None:
        """Take step 0 again, from the initial learning rates."""
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=False):
            group["lr"] = lr
        self.last_epoch = -1
        self._begin()

    def _lrs(self) -> list[float]:
        """The learning rates as they are."""
        groups = self.optimizer.param_groups
        return [_finite(group.get("lr"), f'"lr" of group {i}') for i, group in enumerate(groups)]

    def get_lr(self) -> list[float]:
        """The learning rate of each group at `last_epoch`, for `step`; `get_last_lr` is what is meant elsewhere."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr: define what the learning rates are")

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={vars(self)[name]!r}" for name in self._checks if name in vars(self))
        return f"{type(self).__name__}({options})"

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group after the last step.

        Examples
        --------
        >>> import microgad as mg
        >>> ExponentialLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=0.1), gamma=0.5).get_last_lr()
        [0.1]
        """
        return list(self._last_lr)

    def step(self) -> None:
        """Go on by one: after each epoch, or each batch, behind `optimizer.step`.

        Raises
        ------
        InputError
            If a learning rate was set by hand to what is no number, or becomes none, or groups were added that the
            scheduler does not know. Nothing has changed then.

        Examples
        --------
        >>> import microgad as mg
        >>> scheduler = ExponentialLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=0.1), gamma=0.5)
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [0.05]
        """
        self._go(self.last_epoch + 1)

    def _go(self, epoch: int) -> None:
        before, groups = self.last_epoch, self.optimizer.param_groups
        self.last_epoch = epoch
        try:
            lrs = _rates(self.get_lr(), f"the learning rates of {type(self).__name__}")
            if len(lrs) != len(groups):
                raise InputError(
                    f"{type(self).__name__} has {len(lrs)} learning rates, and the optimizer {len(groups)} groups: add "
                    "groups before the scheduler is made"
                )
        except BaseException:
            self.last_epoch = before
            raise
        for group, lr in zip(groups, lrs, strict=True):
            group["lr"] = lr
        self._last_lr = lrs

    # ---- state

    def state_dict(self) -> dict[str, Any]:
        """What the scheduler remembers, and its parameters, as copies.

        The learning rates are not among them: save the state of the optimizer as well.

        Examples
        --------
        >>> import microgad as mg
        >>> scheduler = ExponentialLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=0.1), gamma=0.5)
        >>> scheduler.state_dict()
        {'gamma': 0.5, 'last_epoch': 0, 'base_lrs': [0.1], '_last_lr': [0.1]}
        """
        apart = {"optimizer", *self._apart}
        return copy.deepcopy({name: x for name, x in vars(self).items() if name not in apart})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take what another scheduler of the same kind remembers, PyTorch's among them; all of it, or nothing.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` gave, for an optimizer of as many groups.

        Raises
        ------
        StateDictError
            With everything that does not fit.
        InputError
            If it is no mapping.

        Examples
        --------
        >>> import microgad as mg
        >>> optimizer = mg.nn.optim.SGD([mg.Value(1.0)], lr=0.1)
        >>> a, b = ExponentialLR(optimizer, gamma=0.5), ExponentialLR(optimizer, gamma=0.9)
        >>> a.load_state_dict(b.state_dict())
        >>> a.gamma
        0.9
        """
        self._take(self._read(state_dict))

    def _read(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """A state whose every part has been checked."""
        if not isinstance(state_dict, Mapping):
            raise InputError(f"the state of a scheduler is a dict, not {shown(state_dict)}")
        own, checks = self.state_dict(), {**self._common, **self._checks}
        problems = [f"missing: {name}" for name in own if name not in state_dict]
        problems += [f"unexpected: {name}" for name in state_dict if name not in own and name not in _IGNORED]
        found = {}
        for name in [name for name in own if name in state_dict]:
            check = checks.get(name)
            try:
                found[name] = check(state_dict[name], name) if check else copy.deepcopy(state_dict[name])
            except MicrogadError as error:
                problems.append(str(error))
                continue
            if name in _OF_GROUPS and len(found[name]) != (n := len(self.optimizer.param_groups)):
                problems.append(f"{name} is of {len(found[name])} groups, and the optimizer has {n}")
        if problems:
            raise StateDictError(
                f"the state does not fit this {type(self).__name__}, and nothing was loaded:\n  "
                + "\n  ".join(problems)
            )
        return found

    def _take(self, found: dict[str, Any]) -> None:
        vars(self).update(found)


class LambdaLR(LRScheduler):
    """The initial learning rate times what a function gives for the number of the epoch.

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`.
    lr_lambda : callable or list of callable
        A factor of an epoch, counted from 0; or one such function for each group.
    last_epoch : int
        The number of the last step of a run that is taken up; -1 begins anew.

    Raises
    ------
    InputError
        If it is no function, or not one for each group, or gives what is no number.

    Examples
    --------
    >>> import microgad as mg
    >>> scheduler = LambdaLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=0.1), lambda epoch: 1 / (1 + epoch))
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.05]
    """

    _apart: ClassVar[set[str]] = {"lr_lambdas"}

    def __init__(self, optimizer: Any, lr_lambda: Any, last_epoch: int = -1) -> None:
        n = len(_groups_of(optimizer))
        found = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * n
        if len(found) != n or not all(map(callable, found)):
            raise InputError(f"lr_lambda of LambdaLR is a function, or a list of {n}, not {shown(lr_lambda)}")
        self.lr_lambdas = found
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # noqa: D102
        said = f"what lr_lambda gives for epoch {self.last_epoch}"
        return [
            lr * float(_finite(f(self.last_epoch), said)) for f, lr in zip(self.lr_lambdas, self.base_lrs, strict=False)
        ]

    def state_dict(self) -> dict[str, Any]:
        """What the scheduler remembers; of the functions, the attributes of those that are objects with a `__call__`.

        Examples
        --------
        >>> import microgad as mg
        >>> LambdaLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=0.1), lambda epoch: 1.0).state_dict()["lr_lambdas"]
        [None]
        """
        kept = [None if isinstance(f, FunctionType) else getattr(f, "__dict__", None) for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": copy.deepcopy(kept)}

    def _take(self, found: dict[str, Any]) -> None:
        kept = found.pop("lr_lambdas")
        if not isinstance(kept, list) or [x is None for x in kept] != [
            x is None for x in self.state_dict()["lr_lambdas"]
        ]:
            raise StateDictError("the state is that of a LambdaLR with other functions, and nothing was loaded")
        super()._take(found)
        for f, attributes in zip(self.lr_lambdas, kept, strict=True):
            vars(f).update(attributes or {})


class StepLR(LRScheduler):
    """The learning rate times `gamma` after every `step_size` epochs.

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`.
    step_size : int
        How many epochs, at least 1.
    gamma : float
        The factor, above 0.
    last_epoch : int
        The number of the last step of a run that is taken up; -1 begins anew.

    Raises
    ------
    InputError
        If a parameter is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> scheduler = StepLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    _checks: ClassVar[dict[str, Check]] = {"step_size": whole, "gamma": _positive}
    step_size: int
    gamma: float

    def __init__(self, optimizer: Any, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self._set(step_size=step_size, gamma=gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # noqa: D102
        now = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [lr * self.gamma for lr in self._lrs()] if now else self._lrs()


class MultiStepLR(LRScheduler):
    """The learning rate times `gamma` at each of several epochs.

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`.
    milestones : list of int
        The epochs, counted from 0; one that stands there twice counts twice.
    gamma : float
        The factor, above 0.
    last_epoch : int
        The number of the last step of a run that is taken up; -1 begins anew.

    Raises
    ------
    InputError
        If a parameter is out of its range, or the milestones are no list of whole numbers.

    Examples
    --------
    >>> import microgad as mg
    >>> scheduler = MultiStepLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), [1, 3], gamma=0.5)
    >>> for _ in range(4):
    ...     scheduler.step()
    ...     print(scheduler.get_last_lr())
    [0.5]
    [0.5]
    [0.25]
    [0.25]
    """

    _checks: ClassVar[dict[str, Check]] = {"milestones": partial(_each, _count), "gamma": _positive}
    milestones: list[int]
    gamma: float

    def __init__(self, optimizer: Any, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self._set(milestones=milestones, gamma=gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # noqa: D102
        return [lr * self.gamma ** self.milestones.count(self.last_epoch) for lr in self._lrs()]


class ConstantLR(LRScheduler):
    """The learning rate times `factor` for the first `total_iters` epochs, and then as it is.

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`.
    factor : float
        Above 0, at most 1. (PyTorch takes 0, and divides by it in the end.)
    total_iters : int
        How many epochs, at least 1.
    last_epoch : int
        The number of the last step of a run that is taken up; -1 begins anew.

    Raises
    ------
    InputError
        If a parameter is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> scheduler = ConstantLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), factor=0.5, total_iters=2)
    >>> for _ in range(2):
    ...     print(scheduler.get_last_lr())
    ...     scheduler.step()
    [0.5]
    [0.5]
    >>> scheduler.get_last_lr()
    [1.0]
    """

    _checks: ClassVar[dict[str, Check]] = {"factor": _share, "total_iters": whole}
    factor: float
    total_iters: int

    def __init__(self, optimizer: Any, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1) -> None:
        self._set(factor=factor, total_iters=total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # noqa: D102
        by = {0: self.factor, self.total_iters: 1.0 / self.factor}.get(self.last_epoch, 1.0)
        return [lr * by for lr in self._lrs()]


class LinearLR(LRScheduler):
    """The learning rate times a factor that goes in a straight line from one to another: a warm-up.

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`.
    start_factor : float
        At epoch 0; above 0, at most 1.
    end_factor : float
        From `total_iters` on; from 0 to 1.
    total_iters : int
        How many epochs, at least 1.
    last_epoch : int
        The number of the last step of a run that is taken up; -1 begins anew.

    Raises
    ------
    InputError
        If a parameter is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> scheduler = LinearLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), start_factor=0.25, total_iters=3)
    >>> for _ in range(5):
    ...     print(scheduler.get_last_lr())
    ...     scheduler.step()
    [0.25]
    [0.5]
    [0.75]
    [1.0]
    [1.0]
    """

    _checks: ClassVar[dict[str, Check]] = {
        "start_factor": _share,
        "end_factor": partial(real, high=1.0),
        "total_iters": whole,
    }
    start_factor: float
    end_factor: float
    total_iters: int

    def __init__(
        self,
        optimizer: Any,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self._set(start_factor=start_factor, end_factor=end_factor, total_iters=total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # noqa: D102
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._lrs()]
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._lrs()
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return [lr * (1.0 + rise / before) for lr in self._lrs()]


class ExponentialLR(LRScheduler):
    """The learning rate times `gamma` after every epoch.

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`.
    gamma : float
        The factor, above 0.
    last_epoch : int
        The number of the last step of a run that is taken up; -1 begins anew.

    Raises
    ------
    InputError
        If `gamma` is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> scheduler = ExponentialLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), gamma=0.5)
    >>> scheduler.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    _checks: ClassVar[dict[str, Check]] = {"gamma": _positive}
    gamma: float

    def __init__(self, optimizer: Any, gamma: float, last_epoch: int = -1) -> None:
        self._set(gamma=gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # noqa: D102
        return self._lrs() if self._is_initial else [lr * self.gamma for lr in self._lrs()]


class CosineAnnealingLR(LRScheduler):
    """The learning rate along half a wave of a cosine down to `eta_min`, up again, and so on.

    At epoch t, where nothing else changes it, it is
    ``eta_min + (initial_lr - eta_min) * (1 + cos(π * t / T_max)) / 2`` (Loshchilov and Hutter, 2017).

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`.
    T_max : int
        How many epochs down, at least 1; then as many up.
    eta_min : float
        The least learning rate, at least 0.
    last_epoch : int
        The number of the last step of a run that is taken up; -1 begins anew.

    Raises
    ------
    InputError
        If a parameter is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> scheduler = CosineAnnealingLR(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), T_max=3)
    >>> for _ in range(4):
    ...     print(f"{scheduler.get_last_lr()[0]:.2f}")
    ...     scheduler.step()
    1.00
    0.75
    0.25
    0.00
    """

    _checks: ClassVar[dict[str, Check]] = {"T_max": whole, "eta_min": real}
    T_max: int
    eta_min: float

    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:  # noqa: N803
        self._set(T_max=T_max, eta_min=eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # noqa: D102
        if self._is_initial:
            return self._lrs()
        least, epoch, n = self.eta_min, self.last_epoch, self.T_max
        if (epoch - 1 - n) % (2 * n) == 0:  # up from the bottom, where the ratio would divide by 0
            up = (1 - math.cos(math.pi / n)) / 2
            return [lr + (base - least) * up for lr, base in zip(self._lrs(), self.base_lrs, strict=False)]
        ratio = (1 + math.cos(math.pi * epoch / n)) / (1 + math.cos(math.pi * (epoch - 1) / n))
        return [ratio * (lr - least) + least for lr in self._lrs()]


class CosineAnnealingWarmRestarts(LRScheduler):
    """The learning rate along half a wave of a cosine, again and again from the top (Loshchilov and Hutter, 2017).

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`.
    T_0 : int
        How many epochs the first wave has, at least 1.
    T_mult : int
        How many times longer each is than the one before, at least 1.
    eta_min : float
        The least learning rate, at least 0.
    last_epoch : int
        The number of the last step of a run that is taken up; -1 begins anew.

    Raises
    ------
    InputError
        If a parameter is out of its range.

    Examples
    --------
    >>> import microgad as mg
    >>> scheduler = CosineAnnealingWarmRestarts(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), T_0=2)
    >>> for _ in range(4):
    ...     print(f"{scheduler.get_last_lr()[0]:.2f}")
    ...     scheduler.step()
    1.00
    0.50
    1.00
    0.50
    """

    _checks: ClassVar[dict[str, Check]] = {
        "T_0": whole,
        "T_mult": whole,
        "eta_min": real,
        "T_cur": _finite,
        "T_i": whole,
    }
    T_0: int
    T_i: int
    T_mult: int
    eta_min: float
    T_cur: float

    def __init__(
        self,
        optimizer: Any,
        T_0: int,  # noqa: N803
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self._set(T_0=T_0, T_i=T_0, T_mult=T_mult, eta_min=eta_min, T_cur=last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # noqa: D102
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (lr - self.eta_min) * height for lr in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on by one, or to any place.

        Parameters
        ----------
        epoch : float, optional
            Where to go, at least 0: within an epoch of n batches, the number of epochs that are done plus ``i / n``.

        Raises
        ------
        InputError
            If it is no number, or negative.

        Examples
        --------
        >>> import microgad as mg
        >>> scheduler = CosineAnnealingWarmRestarts(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), T_0=2)
        >>> scheduler.step(3.0)
        >>> print(f"{scheduler.get_last_lr()[0]:.2f}")
        0.50
        """
        before = self.T_cur, self.T_i
        if epoch is None and self.last_epoch >= 0:
            number, at, length = self.last_epoch + 1, self.T_cur + 1, self.T_i
        else:
            at, length = real(0 if epoch is None else epoch, f"epoch of {type(self).__name__}"), self.T_0
            number = math.floor(at)
        if self.T_mult == 1:
            at %= length
        while at >= length:
            at, length = at - length, length * self.T_mult
        self.T_cur, self.T_i = at, length
        try:
            self._go(number)
        except BaseException:
            self.T_cur, self.T_i = before
            raise


class SequentialLR(LRScheduler):
    """One scheduler after another: each begins at a milestone, with its own epoch 0 and the initial learning rates.

    So does a `SequentialLR` among them. (In PyTorch its own milestones come one epoch too early if it is the first, and
    it fails if it is a later one.)

    Parameters
    ----------
    optimizer : Optimizer
        That of all of them.
    schedulers : list of LRScheduler
        In their order; `ReduceLROnPlateau` cannot be among them.
    milestones : list of int
        The epochs at which the second and the others begin: whole numbers, none below the one before.
    last_epoch : int
        Only -1: to take up a run, load the state of the scheduler.

    Raises
    ------
    InputError
        If there are no schedulers, one is none or has another optimizer, the milestones are not one fewer, or out of
        order, or `last_epoch` is not -1.

    Examples
    --------
    >>> import microgad as mg
    >>> optimizer = mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0)
    >>> warm, decay = LinearLR(optimizer, start_factor=0.5, total_iters=2), ExponentialLR(optimizer, gamma=0.5)
    >>> scheduler = SequentialLR(optimizer, [warm, decay], milestones=[2])
    >>> for _ in range(5):
    ...     print(scheduler.get_last_lr())
    ...     scheduler.step()
    [0.5]
    [0.75]
    [1.0]
    [0.5]
    [0.25]
    """

    _checks: ClassVar[dict[str, Check]] = {"_milestones": partial(_each, _count)}
    _apart: ClassVar[set[str]] = {"_schedulers"}
    _milestones: list[int]

    def __init__(self, optimizer: Any, schedulers: list[Any], milestones: list[int], last_epoch: int = -1) -> None:
        _groups_of(optimizer)
        listed = list(schedulers) if isinstance(schedulers, (list, tuple)) else []
        if not listed:
            raise InputError(f"SequentialLR is given a list of schedulers, not {shown(schedulers)}")
        for i, x in enumerate(listed):
            if not isinstance(x, LRScheduler) or isinstance(x, ReduceLROnPlateau):
                raise InputError(f"scheduler {i} of SequentialLR is none that steps without a metric: {shown(x)}")
            if x.optimizer is not optimizer:
                raise InputError(f"scheduler {i} of SequentialLR has another optimizer: all have to have the same")
        self._set(_milestones=milestones)
        if len(self._milestones) != len(listed) - 1 or sorted(self._milestones) != self._milestones:
            raise InputError(
                f"{len(listed)} schedulers have {len(listed) - 1} milestones, in order, not {shown(self._milestones)}"
            )
        if last_epoch != -1:
            raise InputError(f"SequentialLR takes up a run by load_state_dict, not by last_epoch={shown(last_epoch)}")
        self.optimizer, self._schedulers = optimizer, listed
        self._restart()

    def _restart(self) -> None:
        self._go_on(0, True)

    def step(self) -> None:
        """Go on by one, with the scheduler whose time it is.

        Examples
        --------
        >>> import microgad as mg
        >>> optimizer = mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0)
        >>> parts = [ConstantLR(optimizer, factor=0.5), ExponentialLR(optimizer, gamma=0.5)]
        >>> scheduler = SequentialLR(optimizer, parts, milestones=[1])
        >>> scheduler.step()
        >>> scheduler.get_last_lr()
        [1.0]
        """
        self._go_on(self.last_epoch + 1, self.last_epoch + 1 in self._milestones)

    def _go_on(self, epoch: int, anew: bool) -> None:
        scheduler = self._schedulers[bisect_right(self._milestones, epoch)]
        if anew:
            scheduler._restart()
        else:
            scheduler.step()
        self.last_epoch, self._last_lr = epoch, scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """What the scheduler remembers, and what each of its schedulers does.

        Examples
        --------
        >>> import microgad as mg
        >>> optimizer = mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0)
        >>> state = SequentialLR(optimizer, [ExponentialLR(optimizer, gamma=0.5)], milestones=[]).state_dict()
        >>> state["_schedulers"]
        [{'gamma': 0.5, 'last_epoch': 0, 'base_lrs': [1.0], '_last_lr': [1.0]}]
        """
        return {**super().state_dict(), "_schedulers": [x.state_dict() for x in self._schedulers]}

    def _take(self, found: dict[str, Any]) -> None:
        saved, before = found.pop("_schedulers"), [x.state_dict() for x in self._schedulers]
        if not isinstance(saved, list) or len(saved) != len(before) or len(found["_milestones"]) != len(before) - 1:
            raise StateDictError(f"the state is not that of a SequentialLR of {len(before)} schedulers")
        try:
            for scheduler, state in zip(self._schedulers, saved, strict=True):
                scheduler.load_state_dict(state)
        except MicrogadError:
            for scheduler, state in zip(self._schedulers, before, strict=True):
                scheduler.load_state_dict(state)
            raise
        super()._take(found)


class ReduceLROnPlateau(LRScheduler):
    """The learning rate times `factor` whenever a metric has not become better for some epochs.

    Parameters
    ----------
    optimizer : Optimizer
        Anything with `param_groups`.
    mode : {"min", "max"}
        Whether a smaller metric is better, or a larger.
    factor : float
        From 0, below 1.
    patience : int
        How many epochs without improvement are let pass; the next one reduces the learning rate.
    threshold : float
        What an improvement is at least, from 0.
    threshold_mode : {"rel", "abs"}
        Whether that is a part of the best metric, or a difference from it.
    cooldown : int
        How many epochs after a reduction do not count.
    min_lr : float or list of float
        What no learning rate goes below, for all groups or for each.
    eps : float
        A reduction by no more than this is not made.

    Raises
    ------
    InputError
        If a parameter is out of its range, or `min_lr` is not of as many numbers as there are groups.

    Examples
    --------
    >>> import microgad as mg
    >>> scheduler = ReduceLROnPlateau(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     scheduler.step(loss)
    ...     print(scheduler.get_last_lr())
    [1.0]
    [1.0]
    [1.0]
    [0.1]
    """

    _checks: ClassVar[dict[str, Check]] = {
        "factor": partial(real, high=1.0, below=True),
        "patience": _count,
        "threshold": real,
        "mode": _one_of("min", "max"),
        "threshold_mode": _one_of("rel", "abs"),
        "cooldown": _count,
        "eps": real,
        "best": _score,
        "cooldown_counter": _count,
        "num_bad_epochs": _count,
        "min_lrs": partial(_each, real),
        "default_min_lr": lambda x, what: None if x is None else real(x, what),
    }
    best: float
    cooldown: int
    cooldown_counter: int
    default_min_lr: float | None
    eps: float
    factor: float
    min_lrs: list[float]
    mode: str
    num_bad_epochs: int
    patience: int
    threshold: float
    threshold_mode: str

    def __init__(
        self,
        optimizer: Any,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Any = 0,
        eps: float = 1e-8,
    ) -> None:
        n = len(_groups_of(optimizer))
        self.optimizer = optimizer
        self._set(mode=mode, factor=factor, patience=patience, threshold=threshold, threshold_mode=threshold_mode)
        self._set(cooldown=cooldown, eps=eps, cooldown_counter=0, num_bad_epochs=0, last_epoch=0)
        listed = isinstance(min_lr, (list, tuple))
        if listed and len(min_lr) != n:
            raise InputError(f"min_lr of ReduceLROnPlateau has {len(min_lr)} numbers, and the optimizer {n} groups")
        self._set(default_min_lr=None if listed else min_lr, min_lrs=min_lr if listed else [min_lr] * n)
        self.best, self._last_lr = math.inf if mode == "min" else -math.inf, self._lrs()

    @property
    def in_cooldown(self) -> bool:
        """Whether epochs do not count at present.

        Examples
        --------
        >>> import microgad as mg
        >>> ReduceLROnPlateau(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0)).in_cooldown
        False
        """
        return self.cooldown_counter > 0

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Go on by one, with the metric of the epoch.

        Parameters
        ----------
        metrics : float, Value, Tensor or array
            One number, such as the loss on held-out data. nan is no improvement, whatever was before.

        Raises
        ------
        InputError
            If it is not one number, or there are groups that the scheduler does not know. Nothing has changed then.

        Examples
        --------
        >>> import microgad as mg
        >>> scheduler = ReduceLROnPlateau(mg.nn.optim.SGD([mg.Value(1.0)], lr=1.0), patience=0)
        >>> scheduler.step(mg.Value(2.0))
        >>> scheduler.step(float("nan"))
        >>> scheduler.get_last_lr()
        [0.1]
        """
        found = array_of("the metric of ReduceLROnPlateau", metrics._value if isinstance(metrics, Node) else metrics)
        if found.size != 1:
            raise InputError(f"the metric of ReduceLROnPlateau is one number, not an array of shape {found.shape}")
        lrs, metric = self._lrs(), float(found.item())
        floors = self.min_lrs if self.default_min_lr is None else [self.default_min_lr] * len(lrs)
        if len(floors) != len(lrs):
            raise InputError(
                f"min_lr of ReduceLROnPlateau has {len(floors)} numbers, and the optimizer {len(lrs)} groups"
            )
        self.last_epoch += 1
        better = self._is_better(metric)
        self.best = metric if better else self.best
        self.num_bad_epochs = 0 if better or self.in_cooldown else self.num_bad_epochs + 1
        self.cooldown_counter = max(self.cooldown_counter - 1, 0)
        if self.num_bad_epochs > self.patience:
            self.num_bad_epochs, self.cooldown_counter = 0, self.cooldown
            for group, lr, floor in zip(self.optimizer.param_groups, lrs, floors, strict=True):
                new = max(lr * self.factor, floor)
                if lr - new > self.eps:
                    group["lr"] = new
        self.min_lrs, self._last_lr = floors, self._lrs()

    def _is_better(self, metric: float) -> bool:
        sign = -1.0 if self.mode == "min" else 1.0
        if self.threshold_mode == "rel":
            return metric * sign > self.best * (1.0 + sign * self.threshold) * sign
        return metric * sign > (self.best + sign * self.threshold) * sign


__all__ = [
    "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "ExponentialLR", "LRScheduler", "LambdaLR",
    "LinearLR", "MultiStepLR", "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip

"""The training loop: epochs of minibatches, with a record of how it went."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from microgad.array_functions import stack
from microgad.errors import InputError, MicrogadError, MissingExtraError, TrainingError, shown, spell
from microgad.node import Node
from microgad.recording import no_grad, silenced
from microgad.structural import dtype, shape
from microgad.tensor import Tensor, leaf

from . import files, losses, scalar
from .choices import choose, whole
from .data import examples, minibatches
from .layers import BatchNorm1d
from .lr_scheduler import ReduceLROnPlateau
from .module import Module
from .optim import OPTIMIZERS, Optimizer

State = dict[str, np.ndarray[Any, Any]]


def _indices(out: Any, y: Any) -> Any:
    return out.argmax(-1) == (y if y.ndim < out.ndim else y.argmax(-1))


# Which outputs are right: for losses of classes, as functions and as modules.
RIGHT: dict[Any, Callable[[Any, Any], Any]] = {
    **dict.fromkeys((losses.cross_entropy, losses.CrossEntropyLoss, losses.nll_loss, losses.NLLLoss), _indices),
    **dict.fromkeys(
        (losses.binary_cross_entropy_with_logits, losses.BCEWithLogitsLoss), lambda out, y: (out > 0.0) == (y > 0.5)
    ),
    **dict.fromkeys(
        (losses.soft_margin_loss, losses.SoftMarginLoss, losses.hinge_loss, losses.HingeLoss,
         losses.exponential_loss, losses.ExponentialLoss, losses.sigmoid_loss, losses.SigmoidLoss),
        lambda out, y: (out > 0.0) == (y > 0.0),
    ),
}  # fmt: skip


class History(dict[str, list[float]]):
    """What `fit` records, a number for each epoch: by "loss", "accuracy", "val_loss", "val_accuracy" and "lr".

    Examples
    --------
    >>> history = History(loss=[0.5, 0.2, 0.3], lr=[0.1, 0.1, 0.1])
    >>> history.epochs, history.best_epoch, history
    (3, 2, History(3 epochs, best 2: loss 0.2, lr 0.1))
    """

    @property
    def epochs(self) -> int:
        """How many epochs there were.

        Examples
        --------
        >>> History().epochs
        0
        """
        return len(self.get("loss", ()))

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, with the smallest loss on the validation data, or else on the training data.

        Examples
        --------
        >>> History(loss=[0.3, 0.2], val_loss=[0.4, 0.5]).best_epoch
        1
        """
        found = self.get("val_loss") or self.get("loss") or [math.inf]
        return 1 + int(np.argmin([math.inf if math.isnan(x) else x for x in found]))

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(0 epochs)"
        best, n = self.best_epoch, self.epochs
        then = {k: x[best - 1] for k, x in self.items() if len(x) == n}  # also what a callback has added
        numbers = {k: x for k, x in then.items() if isinstance(x, (float, int, np.number))}
        return f"History({n} epochs, best {best}: {_said(numbers)})"


def fit(
    model: Module,
    X: Any,  # noqa: N803
    y: Any,
    *,
    loss: Any = None,
    optimizer: Any = "adam",
    lr: float | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    validation: tuple[Any, Any] | None = None,
    scheduler: Any = None,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    seed: int | None = None,
    progress: bool | None = None,
    callback: Callable[[int, History], Any] | None = None,
) -> History:
    """Train a network on examples. Afterwards, also after an error, it is in `eval` mode.

    Parameters
    ----------
    model : Module
        A network of Tensors, or one of `nn.scalar`, which is called example by example.
    X : array, shape (n, ...)
        The examples. If all parameters are float32 they become that, and else float64.
    y : array, shape (n,) or (n, outputs)
        Targets. Where a network gives a column of numbers, (n, 1), targets of shape (n,) are taken as one.
    loss : str, module or function
        "mse", "cross_entropy", "bce_with_logits", "hinge" and so on; a module such as ``nn.CrossEntropyLoss()``; or a
        function of the outputs and the array of targets, which is called once more at first, to see whether it takes
        all targets. By default, of integers in shape (n,), or whole numbers in a Tensor of that shape, it is
        "cross_entropy" if the network has several outputs, and "bce_with_logits" if it has one and they are 0 and 1; of
        all other targets it is "mse".
    optimizer : str, Optimizer, or function that makes one from the parameters
        "sgd", "nag", "adagrad", "rmsprop", "adadelta", "adam", "adamw" or "nadam", with defaults; a class of
        optimizers; or one that was made for the model's parameters.
    lr : float, optional
        The learning rate of an optimizer that is made here.
    epochs : int
        How many times all examples are seen.
    batch_size : int
        How many examples make one step. The last batch of an epoch may be smaller; if that would be one example, and
        there is a `BatchNorm1d`, which needs two, it is left out.
    validation : (array, array), optional
        Examples and targets that are not trained on, whose loss is recorded after each epoch.
    scheduler : LRScheduler, or function that makes one from the optimizer
        Steps once in an epoch. `ReduceLROnPlateau` sees the validation loss, or else the training loss.
    patience : int, optional
        Stop after so many epochs without a better loss, of the validation data if there are some. In the end the
        weights are those of the best epoch, also where it did not come to that.
    checkpoint : str or Path, optional
        A file to which the weights are saved, as `nn.save` does, each time that loss is better than before.
    seed : int, optional
        Of the order of the examples; by default it follows `mg.manual_seed`.
    progress : bool, optional
        Whether a bar is shown, by tqdm. By default in a terminal or notebook if tqdm is installed.
    callback : callable, optional
        Called after each epoch with its number, from 1, and the history, to which it may add lists of its own. If it
        returns True, training stops.

    Returns
    -------
    History
        Epoch by epoch "loss", "val_loss" and "lr", that of the optimizer's first group; for losses of classes also
        "accuracy" and "val_accuracy", the share of the outputs that are right. Those of training are means over the
        batches, while the weights moved and dropout was on.

    Raises
    ------
    InputError
        If the data hold a nan or an infinity (which says where) or a target that the loss does not take, an argument is
        out of its range, there is no loss or optimizer of that name, or an optimizer is not of this model.
    ShapeError
        If there are no examples, not as many targets, or the shapes do not fit the network. As with an `InputError`,
        nothing has moved then.
    GraphCutError
        If the data are Tensors that are computed, or that need a gradient.
    MissingExtraError
        If `progress` is asked for, and tqdm is not installed.
    TrainingError
        If the loss or a gradient is no finite number any more. The weights are those of before that step, or, where
        these are not finite either, of before that epoch, and so is what the optimizer remembers.

    Examples
    --------
    >>> import microgad as mg
    >>> _ = mg.manual_seed(1)
    >>> X, y = mg.nn.data.moons(100)
    >>> model = mg.nn.MLP(2, [16, 16, 1])
    >>> history = mg.nn.fit(model, X, y, loss="bce_with_logits", lr=0.01, epochs=100)
    >>> history["loss"][-1] < 0.1 < history["loss"][0], history["accuracy"][-1] > 0.9
    (True, True)
    """
    if not isinstance(model, Module):
        raise InputError(f"fit trains a module, not {shown(model)}")
    if silenced():
        raise InputError("fit needs gradients: call it outside of mg.no_grad()")
    if not any(p.needs for p in model.parameters()) and next(iter(model.parameters()), None) is not None:
        raise InputError(f"all parameters of this {type(model).__name__} are frozen: requires_grad_() thaws them")
    model.eval()
    labels = loss is None or isinstance(loss, (str, Module))
    X, y = _examples(model, X, y, labels)  # noqa: N806
    held = () if validation is None else _examples(model, *_two(validation), labels, of=" of validation")
    epochs, batch_size = whole(epochs, "epochs"), whole(batch_size, "batch_size")
    patience = None if patience is None else whole(patience, "patience")
    if callback is not None and not callable(callback):
        raise InputError(f"a callback is a function of the epoch and the history, not {shown(callback)}")
    place, tqdm = None if checkpoint is None else _place(checkpoint), _tqdm(progress)
    task = _task(model, loss, X, y)
    for part in filter(None, ((X, y), held)):
        task.check(*part)
    alone = batch_size > 1 == len(X) % batch_size and any(isinstance(x, BatchNorm1d) for x in model.modules())
    batches = minibatches(X, y, batch_size=batch_size, drop_last=alone and len(X) > 1, seed=seed)
    optimizer = _optimizer(optimizer, lr, model)
    schedule = _scheduler(scheduler, optimizer)
    history, lowest, best = History(), math.inf, model.state_dict()
    bar = None if tqdm is None else tqdm(total=epochs, unit="epoch")
    try:
        for epoch in range(1, epochs + 1):
            rate = _rate(optimizer)
            found, state = task.epoch(epoch, optimizer, batches)
            found |= {f"val_{key}": number for key, number in task.evaluate(*held).items()} if held else {}
            for key, number in {**found, "lr": rate}.items():
                history.setdefault(key, []).append(number)
            watched = found.get("val_loss", found["loss"])
            if isinstance(schedule, ReduceLROnPlateau):
                schedule.step(watched)
            elif schedule is not None:
                schedule.step()
            if epoch == 1 or watched < lowest:
                lowest, best = math.inf if math.isnan(watched) else watched, state
                if place is not None:
                    files.save(model, place)
            if bar is not None:
                bar.set_postfix_str(_said(found), refresh=False)
                bar.update()
            stop = callback(epoch, history) if callback is not None else None
            if isinstance(stop, (bool, np.bool_)) and stop:
                break
            if patience is not None and epoch - history.best_epoch >= patience:
                break
    except TrainingError as error:
        error.history = history
        raise
    finally:
        model.eval()
        if bar is not None:
            bar.close()
    if patience is not None:
        model.load_state_dict(best)
    return history


class _Task(NamedTuple):
    """A network, the loss that it learns by, and how its outputs are told to be right, where the loss says."""

    model: Any
    criterion: Any
    right: Callable[[Any, Any], Any] | None

    def loss(self, x: Any, y: Any) -> tuple[Any, Any, Any]:
        """The loss of a batch, the outputs, and the targets in their shape."""
        out = _outputs(self.model, x)
        y = self.beside(out, y)
        return self.criterion(out, y), out, y

    def beside(self, out: Any, y: Any) -> Any:
        """Targets in the shape of the outputs."""
        return y.reshape(-1, 1) if self.right is not _indices and _column(out, y) else y

    def measures(self, loss: Any, out: Any, y: Any) -> dict[str, float]:
        if self.right is None or not isinstance(out, Tensor):
            return {"loss": loss.item()}
        return {"loss": loss.item(), "accuracy": float(np.mean(self.right(out._value, y)))}

    def check(self, x: Any, y: Any) -> None:
        """Raise what does not fit: with two examples the shapes, and with their outputs all targets."""
        with no_grad(), np.errstate(all="ignore"):
            loss, out, _ = self.loss(x[:2], y[:2])
            if not isinstance(loss, Node) or math.prod(shape(loss)) != 1:
                raise InputError(
                    f"a loss to train by is one number, computed of the outputs as Tensors, and this is {shown(loss)}"
                )
            if isinstance(out, Tensor) and shape(out)[:1] == (len(x[:2]),):
                every = leaf(np.resize(out._value, (len(y), *shape(out)[1:])))
                self.criterion(every, self.beside(every, y))

    def evaluate(self, x: Any, y: Any) -> dict[str, float]:
        with no_grad(), np.errstate(all="ignore"):
            return self.measures(*self.loss(x, y))

    def epoch(self, epoch: int, optimizer: Optimizer, batches: Iterable[Any]) -> tuple[dict[str, float], State]:
        """Take a step for each batch; what was measured, as means over the examples, and the weights then."""
        before, memory = self.model.state_dict(), optimizer.state_dict()
        total, seen = dict[str, float](), 0
        self.model.train()
        try:
            with np.errstate(all="ignore"):  # what is not finite is said by an error
                for batch, (x, y) in enumerate(batches, 1):
                    found = self.step(optimizer, x, y, at := f"at batch {batch} of epoch {epoch}")
                    total = {key: total.get(key, 0.0) + len(x) * number for key, number in found.items()}
                    seen += len(x)
            after = self.model.state_dict()
            if lost := _lost(before, after):
                raise TrainingError(f"{lost[0]} is not finite {at}")
        except TrainingError as error:
            kept = not _lost(before, self.model.state_dict())
            if not kept:
                self.model.load_state_dict(before)
                optimizer.load_state_dict(memory)
            raise TrainingError(
                f"{error}; the weights are those of before that {'step' if kept else 'epoch'}: try a smaller lr than "
                f"{_rate(optimizer):g}, nn.data.standardize, or mg.detect_anomaly() to see where it begins"
            ) from None
        finally:
            self.model.eval()
        return {key: number / seen for key, number in total.items()}, after

    def step(self, optimizer: Optimizer, x: Any, y: Any, at: str) -> dict[str, float]:
        """Take a step, unless the loss or a gradient is not finite."""
        last: list[Any] = []

        def closure() -> Any:
            optimizer.zero_grad()
            last[:] = self.loss(x, y)
            loss = last[0]
            if not math.isfinite(loss.item()):
                raise TrainingError(f"the loss is {loss.item()} {at}")
            loss.backward()
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is not None and not _finite(p.grad):
                        raise TrainingError(f"the gradient of {spell(p)} is not finite {at}")
            return loss

        optimizer.step(closure)
        return self.measures(*last)


def _rate(optimizer: Optimizer) -> float:
    rate: float = optimizer.param_groups[0].get("lr", math.nan)
    return rate


def _finite(x: Any) -> bool:
    return math.isfinite(np.vdot(x, x)) or bool(np.isfinite(x).all())  # the first is faster, and may overflow


def _lost(before: State, after: State) -> list[str]:
    """What is no longer finite; a mask, say, may have held infinities from the start."""
    return [name for name, x in after.items() if not _finite(x) and _finite(before[name])]


def _examples(model: Module, X: Any, y: Any, whole: bool, of: str = "") -> tuple[Any, Any]:  # noqa: N803
    """Examples and targets, with numbers of the kind that the network computes with.

    A Tensor cannot hold integers: `whole` ones of it are labels all the same.
    """
    labels = isinstance(y, Tensor) and y.ndim == 1 and whole
    X, y = examples({f"X{of}": X, f"y{of}": y})  # noqa: N806
    y = y.astype(np.int64) if labels and (y % 1.0 == 0.0).all() else y
    single = {dtype(p) for p in model.parameters()} == {np.dtype(np.float32)}
    kind = np.float32 if single else np.float64
    with np.errstate(over="ignore"):  # to infinity, which minibatches refuses
        return X.astype(kind), y.astype({"f": kind, "b": np.int64}.get(y.dtype.kind, y.dtype))


def _outputs(model: Any, x: Any) -> Any:
    if not isinstance(model, scalar.Module):
        return model(Tensor(x))
    outs = [model(row) for row in x.tolist()]
    return stack([stack(out if isinstance(out, list) else [out]) for out in outs])


def _column(out: Any, y: Any) -> bool:
    """Whether there is one output for each target, in a column."""
    return isinstance(out, Node) and y.ndim == 1 and shape(out) == (len(y), 1)


def _task(model: Any, loss: Any, X: Any, y: Any) -> _Task:  # noqa: N803
    """The task of a network, by the loss that is asked for, or that its outputs and the targets suggest."""
    if loss is None and (y.ndim > 1 or y.dtype.kind not in "iu"):
        loss = "mse"
    elif loss is None:
        with no_grad(), np.errstate(all="ignore"):
            single = _column(_outputs(model, X[:2]), y[:2])
        loss = "cross_entropy" if not single else "bce_with_logits" if np.isin(y, (0, 1)).all() else "mse"
    if isinstance(loss, type):
        loss = _made("the loss", loss)
    if not callable(loss):
        loss = choose(loss, losses.LOSSES, "loss")
    plain = getattr(loss, "func", loss)  # of functools.partial
    known = (
        rule for kind, rule in RIGHT.items() if plain is kind or (isinstance(kind, type) and isinstance(loss, kind))
    )
    return _Task(model, loss, next(known, None))


def _optimizer(optimizer: Any, lr: float | None, model: Module) -> Optimizer:
    params = list(model.parameters())
    if not isinstance(optimizer, Optimizer):
        make = optimizer if callable(optimizer) else choose(optimizer, OPTIMIZERS, "optimizer")
        optimizer = _made("the optimizer", make, params, **({} if lr is None else {"lr": lr}))
    elif lr is not None:
        raise InputError("lr is for an optimizer that is made here; this one has its own")
    if not isinstance(optimizer, Optimizer):
        raise InputError(f"a function that makes an optimizer has to return one, not {shown(optimizer)}")
    known = {id(p) for p in params}
    if not any(id(p) in known for group in optimizer.param_groups for p in group["params"]):
        raise InputError("this optimizer moves no parameter of this model: make a new one from model.parameters()")
    return optimizer


def _scheduler(scheduler: Any, optimizer: Optimizer) -> Any:
    if isinstance(scheduler, type) or (callable(scheduler) and not hasattr(scheduler, "step")):
        scheduler = _made("the scheduler", scheduler, optimizer)
    if scheduler is not None and not hasattr(scheduler, "step"):
        raise InputError(f"a scheduler has step(), as those of nn.lr_scheduler, and {shown(scheduler)} has not")
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise InputError(
            "this scheduler is of another optimizer: give fit that one, or a function that makes a scheduler, such as "
            "lambda optimizer: StepLR(optimizer, 10)"
        )
    return scheduler


def _made(what: str, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return make(*args, **kwargs)
    except TypeError as error:
        if isinstance(error, MicrogadError):
            raise
        raise InputError(f"{what} could not be made: {error}") from error


def _two(validation: Any) -> tuple[Any, Any]:
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        raise InputError(f"validation is examples and targets, as in (X, y), not {shown(validation)}")
    return validation[0], validation[1]


def _place(checkpoint: Any) -> Path:
    """Where checkpoints go, which has to be known before the first of them."""
    place = files.place_of(checkpoint)
    if not place.parent.is_dir():
        raise InputError(f"the folder of the checkpoint {place} does not exist: make it first")
    return place


def _said(found: dict[str, float]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {number:.4g}" for key, number in found.items())


def _tqdm(progress: bool | None) -> Any:
    """What shows how far training is, or None."""
    installed = importlib.util.find_spec("tqdm") is not None
    if progress and not installed:
        raise MissingExtraError('a progress bar needs tqdm: pip install "microgad[train]"')
    kernel = hasattr(getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)(), "kernel")
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not installed or not (kernel or terminal if progress is None else progress):
        return None
    widgets = kernel and importlib.util.find_spec("ipywidgets") is not None
    return importlib.import_module("tqdm.auto" if widgets else "tqdm").tqdm

"""The training loop: epochs of minibatches, with a record of how it went."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from microgad.array_functions import stack
from microgad.errors import InputError, TrainingError, shown
from microgad.recording import no_grad
from microgad.structural import shape
from microgad.tensor import Tensor

from . import scalar
from .choices import choose, real, whole
from .data import examples, minibatches
from .files import save
from .losses import LOSSES
from .lr_scheduler import ReduceLROnPlateau
from .module import Module
from .optim import OPTIMIZERS, Optimizer

# How a prediction is read, to be compared with the target: for losses of classes.
CLASSES: dict[str, Callable[[Any, Any], Any]] = {
    "cross_entropy": lambda out, y: out.argmax(-1) == (y if y.ndim < out.ndim else y.argmax(-1)),
    "nll_loss": lambda out, y: out.argmax(-1) == y,
    "binary_cross_entropy_with_logits": lambda out, y: (out > 0.0) == (y > 0.5),
    **dict.fromkeys(
        ("soft_margin_loss", "hinge_loss", "exponential_loss", "sigmoid_loss"), lambda out, y: (out > 0.0) == (y > 0.0)
    ),
}


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
        losses = self.get("val_loss") or self.get("loss") or [math.inf]
        return 1 + int(np.argmin(losses))

    def __repr__(self) -> str:
        if not self.epochs:
            return "History(0 epochs)"
        best = self.best_epoch
        return f"History({self.epochs} epochs, best {best}: {_said({k: x[best - 1] for k, x in self.items()})})"


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
    """Train a network on examples. Afterwards it is in `eval` mode.

    Parameters
    ----------
    model : Module
        A network of Tensors, or one of `nn.scalar`, which is called example by example.
    X : array, shape (n, ...)
        The examples.
    y : array, shape (n,) or (n, outputs)
        Targets. Where a network gives a column of numbers, (n, 1), targets of shape (n,) are taken as one.
    loss : str, module or function
        "mse", "cross_entropy", "bce_with_logits", "hinge" and so on, or a function of outputs and targets. By default
        cross-entropy if the targets are whole numbers of shape (n,), and otherwise the mean squared error.
    optimizer : str or Optimizer
        "sgd", "nag", "adagrad", "rmsprop", "adadelta", "adam", "adamw" or "nadam", with defaults; or one that was made
        for the model's parameters.
    lr : float, optional
        The learning rate of an optimizer that is given by name.
    epochs : int
        How many times all examples are seen.
    batch_size : int
        How many examples make one step. The last batch of an epoch may be smaller.
    validation : (array, array), optional
        Examples and targets that are not trained on, whose loss is recorded after each epoch.
    scheduler : LRScheduler, or function that makes one from the optimizer
        Steps once in an epoch. `ReduceLROnPlateau` sees the validation loss, or else the training loss.
    patience : int, optional
        Stop after so many epochs without a better loss, of the validation data if there are some, and go back to the
        weights of the best epoch.
    checkpoint : str or Path, optional
        A file to which the weights are saved, as `nn.save` does, each time the loss is better than before.
    seed : int, optional
        Of the order of the examples; by default it follows `mg.manual_seed`.
    progress : bool, optional
        Whether a bar is shown, by tqdm. By default in a terminal or notebook if tqdm is installed.
    callback : callable, optional
        Called after each epoch with its number, from 1, and the history; if it returns True, training stops.

    Returns
    -------
    History
        The loss and the like, epoch by epoch; of training as the mean over the batches while the weights moved.

    Raises
    ------
    InputError
        If the data hold a nan or an infinity (which says where), an argument is out of its range, or there is no loss
        or optimizer of that name.
    ShapeError
        If there are no examples, not as many targets, or the shapes do not fit the network. Nothing has moved then.
    TrainingError
        If the loss is no finite number any more. The weights are those of before that step.

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
    X, y = examples({"X": X, "y": y})  # noqa: N806
    held = None if validation is None else examples(dict(zip(("X of validation", "y of validation"), _two(validation), strict=True)))
    epochs, batch_size = whole(epochs, "epochs"), whole(batch_size, "batch_size")
    patience = None if patience is None else whole(patience, "patience")
    criterion, name = _criterion(loss, y)
    optimizer = _optimizer(optimizer, lr, model)
    schedule = scheduler(optimizer) if callable(scheduler) and not hasattr(scheduler, "step") else scheduler
    if schedule is not None and not hasattr(schedule, "step"):
        raise InputError(f"a scheduler has step(), as those of nn.lr_scheduler, and {shown(schedule)} has not")
    batches, history = minibatches(X, y, batch_size=batch_size, seed=seed), History()
    best: tuple[float, Any] = (math.inf, None)
    bar = _bar(progress, epochs)
    model.eval()
    with no_grad():  # what does not fit is said before anything moves
        _loss(model, criterion, X[:2], y[:2])
        if held:
            _loss(model, criterion, held[0][:2], held[1][:2])
    try:
        for epoch in range(1, epochs + 1):
            model.train()
            rates = [group["lr"] for group in optimizer.param_groups]
            found = _epoch(model, criterion, name, optimizer, batches, epoch)
            model.eval()
            found |= {f"val_{k}": x for k, x in evaluate(model, criterion, name, *held).items()} if held else {}
            for key, number in {**found, "lr": rates[0]}.items():
                history.setdefault(key, []).append(number)
            watched = found.get("val_loss", found["loss"])
            if schedule is not None:
                schedule.step(watched) if isinstance(schedule, ReduceLROnPlateau) else schedule.step()
            if watched < best[0]:
                best = (watched, model.state_dict() if patience is not None else None)
                if checkpoint is not None:
                    save(model, checkpoint)
            bar(epoch, found)
            stop = callback is not None and callback(epoch, history) is True
            if stop or (patience is not None and epoch - history.best_epoch >= patience):
                break
    finally:
        bar(None, {})
        model.eval()
    if patience is not None and best[1] is not None:
        model.load_state_dict(best[1])
    return history


def evaluate(model: Any, criterion: Any, name: str, X: Any, y: Any) -> dict[str, float]:  # noqa: N803
    """The loss of a network on data, and where these are classes, how many of them are right.

    Examples
    --------
    >>> import microgad as mg
    >>> evaluate(mg.nn.Identity(), mg.nn.mse_loss, "mse_loss", np.array([[1.0]]), np.array([[3.0]]))
    {'loss': 4.0}
    """
    with no_grad():
        loss, out, target = _loss(model, criterion, X, y)
    found = {"loss": loss.item()}
    return found | ({"accuracy": float(np.mean(CLASSES[name](out.data, target)))} if name in CLASSES else {})


def _epoch(
    model: Any, criterion: Any, name: str, optimizer: Optimizer, batches: Iterable[Any], epoch: int
) -> dict[str, float]:
    total = right = seen = 0.0
    for batch, (x, t) in enumerate(batches, 1):
        last: dict[str, Any] = {}

        def closure(x: Any = x, t: Any = t, last: Any = last, batch: int = batch) -> Any:
            optimizer.zero_grad()
            loss, last["out"], last["target"] = _loss(model, criterion, x, t)
            if not math.isfinite(loss.item()):
                rate = optimizer.param_groups[0]["lr"]
                raise TrainingError(
                    f"the loss is {loss.item()} at batch {batch} of epoch {epoch}, and the weights are those of before: "
                    f"try a smaller lr than {rate:g}, nn.clip_grad_norm_, or mg.detect_anomaly() to see where it begins"
                )
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        total, seen = total + len(x) * loss.item(), seen + len(x)
        if name in CLASSES:
            right += len(x) * float(np.mean(CLASSES[name](last["out"].data, last["target"])))
    return {"loss": total / seen, **({"accuracy": right / seen} if name in CLASSES else {})}


def _loss(model: Any, criterion: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
    """The loss of a batch, what the network gave, and the targets in its shape."""
    if isinstance(model, scalar.Module):
        out = stack([_row(model(row)) for row in x.tolist()])
    else:
        out = model(Tensor(x))
    if shape(out) == (len(y), 1) and y.shape == (len(y),):
        y = y.reshape(-1, 1)
    return criterion(out, y), out, y


def _row(out: Any) -> Any:
    return stack(out if isinstance(out, list) else [out])


def _criterion(loss: Any, y: Any) -> tuple[Any, str]:
    """The loss as a function, and its name among those of `LOSSES`."""
    if loss is None:
        loss = "cross_entropy" if y.ndim == 1 and y.dtype.kind in "iu" else "mse"
    if isinstance(loss, type) and issubclass(loss, Module):
        loss = loss()
    if not callable(loss):
        loss = choose(loss, LOSSES, "loss")
    if isinstance(loss, Module):
        if getattr(loss, "reduction", "mean") == "none":
            raise InputError('a loss to train by is one number: reduction "mean" or "sum"')
        return loss, getattr(getattr(loss, "function", None), "__name__", "")
    return loss, getattr(loss, "__name__", "")


def _optimizer(optimizer: Any, lr: float | None, model: Module) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        if lr is not None:
            raise InputError("lr is for an optimizer that is given by name; this one has its own")
        return optimizer
    made = optimizer if isinstance(optimizer, type) and issubclass(optimizer, Optimizer) else None
    made = made or choose(optimizer, OPTIMIZERS, "optimizer")
    return made(model.parameters(), **({} if lr is None else {"lr": real(lr, "lr")}))  # type: ignore[no-any-return]


def _two(validation: Any) -> Any:
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        raise InputError(f"validation is examples and targets, as in (X, y), not {shown(validation)}")
    return validation


def _said(found: dict[str, float]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {number:.4g}" for key, number in found.items())


def _bar(progress: bool | None, epochs: int) -> Callable[[int | None, dict[str, float]], None]:
    """What shows how far training is: called after each epoch, and at the end with None."""
    installed = importlib.util.find_spec("tqdm") is not None
    if progress and not installed:
        raise InputError('a progress bar needs tqdm: pip install "microgad[train]"')
    interactive = sys.stderr.isatty() or "ipykernel" in sys.modules
    if not installed or progress is False or (progress is None and not interactive):
        return lambda epoch, found: None
    bar = importlib.import_module("tqdm.auto" if "ipykernel" in sys.modules else "tqdm").tqdm(total=epochs, unit="epoch")

    def show(epoch: int | None, found: dict[str, float]) -> None:
        if epoch is None:
            bar.close()
        else:
            bar.set_postfix_str(_said(found), refresh=False)
            bar.update()

    return show

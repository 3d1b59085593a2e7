"""The interleaving harness: contestants take turns in one process, so that what slows the machine slows both."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter


@contextmanager
def collector(on: bool) -> Iterator[None]:
    """The garbage collector on or off, and afterwards as it was."""
    before = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        yield
    finally:
        (gc.enable if before else gc.disable)()


def seconds(work: Callable[[], object]) -> float:
    """The time of one call. What the call returns is freed after the clock has stopped."""
    gc.collect()  # so that nobody pays for the garbage of the one before
    start = perf_counter()
    kept = work()
    stop = perf_counter()
    del kept
    return stop - start


def _many(work: Callable[[], object], times: int) -> Callable[[], object]:
    def many() -> None:
        for _ in range(times):
            work()

    return work if times == 1 else many


@dataclass(frozen=True)
class Duel:
    """The seconds of two contestants, round by round."""

    ours: list[float]
    theirs: list[float]

    def ratios(self, ours_over_theirs: bool = False) -> list[float]:
        """One ratio for each round: both of its times were taken in the same second or two."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return [a / b if ours_over_theirs else b / a for a, b in pairs]

    def milliseconds(self) -> tuple[float, float]:
        return 1e3 * median(self.ours), 1e3 * median(self.theirs)


def duel(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    collecting: bool,
    uncounted: int = 1,
    calls: tuple[int, int] = (1, 1),
) -> Duel:
    """Both in every round, after some `uncounted` rounds in which they warm up.

    Each is made so many `calls` in a row for one timing, and the seconds are those of one call: what takes
    microseconds is not to be timed with cold caches against what takes milliseconds.
    """
    works = [_many(work, n) for work, n in zip((ours, theirs), calls, strict=True)]
    times: tuple[list[float], list[float]] = [], []
    with collector(collecting):
        for i in range(-uncounted, rounds):
            # Who goes first alternates: a drift of the machine's speed within a round cancels out.
            for side in (0, 1) if i % 2 else (1, 0):
                taken = seconds(works[side]) / calls[side]
                if i >= 0:
                    times[side].append(taken)
    return Duel(*times)

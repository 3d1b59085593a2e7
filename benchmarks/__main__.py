"""``python -m benchmarks [--rounds N] [row ...]``: the table of ratios."""

from __future__ import annotations

import argparse
import os
import platform

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # read when NumPy is loaded: all contestants on one thread
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from .rows import HEADER, ROWS, SETTLING  # noqa: E402

MISSING = 'micrograd is not installed: pip install "microgad[bench]"'


def row(name: str) -> str:
    """A name of a row; ``choices=`` would reject the empty list of a call without names."""
    if name not in ROWS:
        raise argparse.ArgumentTypeError(f"no row {name!r}: choose from {', '.join(ROWS)}")
    return name


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast microgad is, as ratios.")
    parser.add_argument("rows", nargs="*", type=row, metavar="row", help=f"{', '.join(ROWS)}; all if none is named")
    parser.add_argument("--rounds", type=positive, default=15, help="timings of each contestant (default: %(default)s)")
    options = parser.parse_args()

    print(HEADER)
    missing = False
    for name in dict.fromkeys(options.rows or ROWS):
        try:
            for line in ROWS[name](options.rounds):
                print(line, flush=True)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "micrograd":
                raise
            if not missing:
                print(MISSING, flush=True)
            missing = True
    print()
    print(f"Python {platform.python_version()} ({platform.python_implementation()}), {os.cpu_count()} CPUs")
    print(
        f"A ratio is the median over the rounds ({options.rounds}) of one time divided by the other: in moons "
        "micrograd's by microgad's\n(more is better), in op microgad's by a plain float's, in steps that of all steps "
        "by that of backward (less is better).\nIn mlp, NumPy: microgad's by that of hand-written code (less is "
        "better); the other peers: theirs by microgad's (more is better); so in what runs under jit, from step to adam "
        "jit.\nIn plan the time of the first call. One thread.\n"
        f"Settled: gc off, after {SETTLING} rounds that are not counted."
    )


if __name__ == "__main__":
    main()

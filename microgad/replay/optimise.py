"""Simpler programs that compute the same: constants folded, repetitions and dead code removed, patterns replaced.

What is replaced may round differently, as sums in another order do; what is nan or infinite stays so.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from microgad.tape import Tape

from .builder import Builder, Rule
from .rules import RULES


def optimised(tape: Tape, rules: Mapping[str, Rule] = RULES) -> Tape:
    """The tape with everything folded and shared, and replaced by `rules`; inputs that nothing needs stay."""
    b, n = Builder(tape, rules, rules is RULES), len(tape.inputs)
    now = dict(zip(range(n), range(n), strict=True))

    def emit(i: int) -> int:
        row = tape.rows[i]
        if row is None:
            return b.tape.constant(tape.numbers[i])
        found = b.emit(row, [made(x) for x in tape.operands[i]], tape.types[i])
        if i in tape.names:
            b.tape.names.setdefault(found, tape.names[i])
        return found

    def made(i: int) -> int:
        if i not in now:
            now[i] = emit(i)  # a view of an input waits until it is needed
        return now[i]

    with np.errstate(all="ignore"):
        for i in range(n, len(tape.rows)):
            row = tape.rows[i]
            if row is None or row.name != "view" or tape.operands[i][0] >= n:
                made(i)
    b.tape.strict, b.tape.inlined = tape.strict, tape.inlined
    b.tape.places = {x: now[i] for x, i in tape.places.items() if i in now}
    return b.tape.kept([made(i) for i in tape.outputs])

"""Functions that are differentiated while they are traced: their derivative is that of the regrouped program."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

import numpy as np

from microgad.array_functions import stack
from microgad.node import Node
from microgad.primitive import tracing
from microgad.tape import Tape
from microgad.tracing import traced
from microgad.trees import tree_flatten, tree_unflatten

from .kernel import Kernel


def inlined(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function as its regrouped program, if that makes it less, at its place in what is being traced.

    So the derivative of scalar code is one of matrix code, and nobody has to find the matrices in the derivative again.

    Examples
    --------
    >>> import microgad as mg
    >>> with traced(inline=inlined) as trace:
    ...     slopes = mg.grad(lambda x: sum(y * y for y in x))([mg.Value(float(i)) for i in range(30)])
    >>> len(slopes), [node.prim.name for node in trace.nodes if node.prim and node.prim.name == "matmul"]
    (30, ['matmul'])
    """

    def inside(*args: Any, **kwargs: Any) -> Any:
        outer = tracing[get_ident()]
        with traced(inlined) as trace:
            out = f(*args, **kwargs)
        outer.nodes += trace.nodes  # what the function has handed to others goes on from there
        outer.strict |= trace.strict
        outer.inlined += trace.inlined
        found, structure = tree_flatten(out)
        results = [x for x in found if isinstance(x, Node)]
        kernel = Kernel(Tape.of_graph("", [], trace.nodes, results, trace))
        outer.arrays |= trace.arrays
        outer.replaced |= trace.replaced
        if not kernel.regular:
            return out
        outer.replaced.update(map(id, trace.nodes))
        outer.strict |= kernel.strict
        outer.inlined += kernel.numbers
        given = [x.node for x in kernel.tape.inputs]
        operands = [
            given[source] if isinstance(source, int)
            else stack([given[i] for i in source]) if source else np.zeros(0)
            for source in kernel.sources
        ]  # fmt: skip
        values = kernel.arrays.replay(operands)
        made = iter([values[i] for i in kernel.arrays.outputs])
        outer.arrays.update(id(x) for x in values if isinstance(x, Node) and x.prim is not None and x.prim.partials)
        made_of = [next(made) if isinstance(x, Node) else x for x in found]
        return tree_unflatten(structure, made_of)

    return inside

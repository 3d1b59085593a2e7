"""A computation graph as a tree of text, for terminals; of a graph of any size."""

from __future__ import annotations

from microgad.agreement import outdated
from microgad.naming import Text, given_names, literal
from microgad.node import Node
from microgad.order import topological_order

from . import text
from .choices import check_flag
from .graph import shares, shown_as


def tree(f: Node, *, grads: bool | None = None) -> Text:
    """The computation graph of `f` as an indented tree: below each node its operands, in order.

    It says what `draw` says, local derivatives excepted. A node that is used again is only named again,
    and after 200 lines the tree ends with "… and more", so that no graph is too large for it.

    Parameters
    ----------
    f : Value or Tensor
        The result to show.
    grads : bool, optional
        Whether to show gradients; by default dashes, until `f` has a gradient itself. Where a node's own
        ``grad`` holds more than this result gave it, both are shown.

    Returns
    -------
    str
        The tree, which a terminal shows as it reads.

    Raises
    ------
    InputError
        If `f` is no node.

    Examples
    --------
    >>> import microgad as mg
    >>> f = mg.parse("(x + y) * 2", x=-2, y=5)
    >>> f.backward()
    >>> tree(f)
    (×) = 6, grad 1
    ├── (+) = 3, grad 2
    │   ├── x = -2, grad 2
    │   └── y = 5, grad 2
    └── 2
    """
    f = shown_as(f, "tree")
    check_flag("grads", grads)
    order = topological_order(f)
    nodes = {x for x, _, _ in text.lines_of(f)[0] if isinstance(x, Node)}
    # Gradients flow from the end of the order: of a large graph only so much is computed as the tree shows.
    first = next(i for i, node in enumerate(order) if node in nodes)
    found = text.tree(f, given_names(list(nodes)), shares(order[first:], grads))
    problem = outdated(order[first:])
    return Text(found + (f"\nNot of one computation: {literal(problem)}." if problem else ""))

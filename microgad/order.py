"""The order in which a graph is walked: inputs before the nodes that use them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

EMPTY = float("nan")  # fills the slots of operands that a node does not have: like any number, it leads nowhere


def topological_order(root: Any, token: object | None = None) -> list[Any]:
    """Every node below `root`, each once, inputs first and `root` last; reversed, the backward pass.

    A left-first depth-first search, so also the order in which Python evaluates what was written, with a stack
    of its own in place of recursion. Visited nodes keep ``mark = token``, a fresh object for each walk.
    """
    token = object() if token is None else token
    order: list[Any] = []
    stack: list[Any] = []
    emit, push, pop, number, node = order.append, stack.append, stack.pop, float, root
    while True:
        # Down the left spine. A slot holds a node or a float; `a` may hold a tuple of three or more.
        while node.mark is not token:
            node.mark = token
            push(node)
            left = node.a
            kind = type(left)
            if kind is number:
                break
            if kind is tuple:
                stack += [(x,) for x in left[::-1] if type(x) is not number]
                break
            node = left
        # Back up, past every node whose operands are done.
        while stack:
            node = pop()
            if type(node) is tuple:  # one of three operands or more, waiting for its turn
                node = node[0]
                break
            right = node.b
            if type(right) is number or right.mark is token:
                emit(node)
                continue
            # A right operand that has nothing to wait for needs no descent: worth 1.4 of this walk.
            left, last = right.a, right.b
            kind, ready = type(left), type(last) is number or last.mark is token
            if ready and (kind is number or (kind is not tuple and left.mark is token)):
                right.mark = token
                emit(right)
                emit(node)
                continue
            push(node)
            node = right
            break
        else:
            return order


def order_of_all(roots: Iterable[Any]) -> list[Any]:
    """The topological order of several results together."""
    token = object()
    return [node for root in roots for node in (topological_order(root, token) if root.mark is not token else ())]


def dependents(order: Sequence[Any], sources: Iterable[Any]) -> set[Any]:
    """The `sources`, and every node of `order` that was computed from one of them."""
    found = set(sources)
    for node in order:
        if any(x in found for x in node.inputs):
            found.add(node)
    return found

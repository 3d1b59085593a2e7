"""Programs of derivatives: the chain rule walks the graph that a program is, and leaves another program."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from microgad.autodiff import pull
from microgad.forward_mode import push
from microgad.node import Node
from microgad.order import order_of_all
from microgad.structural import broadcast_to, cast, dtype, shape, single
from microgad.tape import Input, Tape
from microgad.tensor import Tensor
from microgad.tracers import ARGMAX, DATA, DETACHED
from microgad.value import Value

from .regroup import apart

STOPS = (DATA.name, DETACHED.name, ARGMAX.name)  # rows through which nothing flows back


def leaves_of(inputs: Sequence[Input]) -> list[Any]:
    """A leaf for each input of a program, with the number of its example."""
    return [
        Value(x.example, x.name or None) if x.type is None else Tensor(x.example, True, x.name or None) for x in inputs
    ]


def _variables(inputs: Sequence[Input]) -> list[Any]:
    """A leaf for each input of a program that is to be differentiated, whatever its numbers are.

    A number is nan: it is in the domain of every row, so that no derivative fails to exist at it.
    """
    return leaves_of([x._replace(example=math.nan) if x.type is None else x for x in inputs])


def reached(order: Sequence[Any], sources: Collection[Node]) -> set[Any]:
    """The sources, and the nodes that a gradient reaches from there."""
    found = set(sources)
    for node in order:
        on = node not in found and node.prim is not None and node.prim.name not in STOPS
        if on and any(type(x) is not float and x in found for x in node.operands):
            found.add(node)
    return found


def flows(tape: Tape, by: Collection[int], of: Sequence[int]) -> list[bool]:
    """For each of some results of a program whether a gradient flows from it to inputs `by`."""
    found = set(by)
    for i, row in enumerate(tape.rows):
        if row is not None and row.name not in STOPS and not found.isdisjoint(tape.operands[i]):
            found.add(i)
    return [tape.outputs[k] in found for k in of]


def with_gradient(tape: Tape, by: Collection[int], of: Sequence[int]) -> tuple[Tape, list[int]]:
    """A program with its reverse pass: it takes cotangents of results as well, and gives derivatives as well.

    Parameters
    ----------
    tape : Tape
        The function.
    by : collection of int
        The inputs by which to differentiate.
    of : sequence of int
        The results that have a cotangent, counted among the outputs.

    Returns
    -------
    (Tape, list of int)
        Its inputs are followed by the cotangents, its outputs by the derivatives of those inputs that lead to an
        output, which are listed.

    Raises
    ------
    DomainError
        If a derivative does not exist at the constants of the program.
    """
    with apart():
        leaves = _variables(tape.inputs)
        results, cotangents, seeds = _seeded(tape, leaves, of)
        order = order_of_all([x for x in results if isinstance(x, Node)])
        among = reached(order, [leaves[i] for i in by])
        found = pull(order, True, among, {x: g for x, g in seeds.items() if x in among})
        listed = [i for i in by if leaves[i] in found]
        slopes = [_full(found[leaves[i]], leaves[i]) for i in listed]
        given = [(x, y) for x, y in zip(leaves, tape.inputs, strict=True)]
        given += [(x, _input(f"d{k}", x)) for k, x in zip(of, cotangents, strict=True)]
        return _program(tape, given, [*results, *slopes]), listed


def gradient(tape: Tape, by: Collection[int], of: Sequence[int]) -> tuple[Tape, list[int]]:
    """The reverse pass of a program alone: derivatives from inputs and cotangents; see `with_gradient`."""
    found, listed = with_gradient(tape, by, of)
    return found.kept(found.outputs[len(tape.outputs) :]), listed


def tangent(tape: Tape, by: Sequence[int], of: Sequence[int]) -> Tape:
    """The forward mode of a program: how its results `of` move, from inputs and how those of `by` move.

    Its inputs are followed by a tangent for each of `by`.
    """
    with apart():
        leaves = _variables(tape.inputs)
        results = tape.replay(leaves)
        results = [results[tape.outputs[k]] for k in of]
        ways = _variables([tape.inputs[i] for i in by])
        order = order_of_all([x for x in results if isinstance(x, Node)])
        tangents = {leaves[i]: way for i, way in zip(by, ways, strict=True)}
        found = push(order, tangents, True, reached(order, list(tangents)))
        moved = [_full(found.get(x, 0.0), x) if isinstance(x, Node) else 0.0 for x in results]
        given = [(x, y) for x, y in zip(leaves, tape.inputs, strict=True)]
        given += [(x, _input(f"t{i}", x)) for i, x in zip(by, ways, strict=True)]
        return _program(tape, given, moved)


def _seeded(tape: Tape, leaves: Sequence[Any], of: Sequence[int]) -> tuple[list[Any], list[Any], dict[Node, Any]]:
    """The results of a program on leaves, a leaf for the cotangent of each of some, and what flows into these."""
    values = tape.replay(leaves)
    results = [values[i] for i in tape.outputs]
    cotangents: list[Any] = []
    seeds: dict[Node, Any] = {}
    for x in [results[k] for k in of]:
        data = getattr(x, "_value", x)
        cotangents.append(Value(1.0) if type(data) is float else Tensor(np.ones(data.shape, data.dtype), True))
        if isinstance(x, Node):
            seeds[x] = seeds[x] + cotangents[-1] if x in seeds else cotangents[-1]
    return results, cotangents, seeds


def _input(name: str, node: Any) -> Input:
    data = node._value
    return Input(name, None if type(data) is float else (data.shape, data.dtype), False, None, data)


def _program(tape: Tape, given: Sequence[tuple[Any, Input]], results: Sequence[Any]) -> Tape:
    nodes = [x if isinstance(x, Node) else Value(x) if type(x) is float else Tensor(x) for x in results]
    found: Tape = Tape.of_graph(tape.name, given, order_of_all(nodes), nodes)
    found.strict = tape.strict
    return found


def _full(x: Any, like: Any) -> Any:
    """A derivative in the kind, shape and dtype of what it belongs to."""
    if type(like._value) is float:
        return single(x)
    if not isinstance(x, Node):
        return Tensor(np.full(like.shape, x, like.dtype))
    x = x if shape(x) == like.shape else broadcast_to.given(to=like.shape)(x)
    return x if dtype(x) == like.dtype else cast.given(to=like.dtype)(x)

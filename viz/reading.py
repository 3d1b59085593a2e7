"""The dense layers of a network, found in a graph: what they hold and what flowed through them, as plain records.

Networks of Values and of Tensors give the same records. A layer of Tensors is one operation, ``linear`` or a product
with a matrix of parameters and the bias behind it; a neuron of Values is the sum of products and of its bias.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from microgad.array_functions import array_of, stack
from microgad.errors import InputError, MicrogadError, ShapeError, shown, spell
from microgad.naming import listed, literal
from microgad.node import Node
from microgad.order import order_of_all
from microgad.primitives import add, mul
from microgad.recording import recording
from microgad.replay.expand import expanded
from microgad.scopes import Scope, scopes
from microgad.structural import shape

from .graph import shares
from .layers import Cells, Chain, Layer, Numbers, Result, Skip
from .running import is_neuron, neurons_of, no_example, parameters_of, parts_of, refused, run, zeros_for
from .text import gradients

# What belongs to an output layer where no module says so.
ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "step", "softmax", "log_softmax")
OVER_AXES = ("sum", "mean", "max", "min", "prod", "logsumexp", "softmax", "log_softmax")
PER_NEURON = ("reshape", "broadcast_to", "sum_to", "cast")
SILENT = (*PER_NEURON, "stack", "item", "index", "concatenate")  # no name of what an activation does


def of_result(root: Node, grads: bool | None) -> tuple[Chain, list[Node]]:
    """The records of the network in the graph of a result, and the nodes of that graph.

    Examples
    --------
    >>> import microgad as mg
    >>> x, W = mg.Tensor([1.0, 2.0]), mg.Tensor([[3.0, 4.0]], requires_grad=True, name="W")
    >>> found, _ = of_result(mg.tanh(W @ x), None)
    >>> [layer.size for layer in found.layers], found.layers[1].z, found.layers[1].activations
    ([2, 1], array([11.]), ['tanh'])
    """
    root = _opened([root])[0]
    order = order_of_all([root])
    return _Reader(order, [root], adjoint=shares(order, grads), grads=grads is not False).read(), order


def of_model(model: Any, x: Any, grads: bool | None) -> Chain:
    """The records of a model, run on `x`, or on zeros where that is None.

    Examples
    --------
    >>> import microgad as mg
    >>> found = of_model(mg.nn.MLP(2, [3, 1]), None, None)
    >>> [(layer.name, layer.size) for layer in found.layers]
    [('inputs', 2), ('layers.0', 3), ('layers.1', 1)]
    """
    if x is not None:
        return _found(model, run(model, x), grads)
    failed: MicrogadError | None = None
    strange: MicrogadError | None = None  # which says more
    for zeros in zeros_for(model):
        try:
            passes = run(model, zeros)
        except MicrogadError as error:
            failed = failed or error
            continue
        try:
            found = _found(model, passes, grads)
        except InputError as error:
            strange = strange or error
            continue
        found.numbers = False
        return found
    if strange is not None:
        raise strange
    if failed is not None:
        raise InputError(f"network runs the model on zeros to find its layers: {failed}; give x, an example")
    raise InputError(f"network of {shown(model)} needs x, an example: no weight says how many inputs it takes")


def _found(model: Any, passes: list[list[Node]], grads: bool | None) -> Chain:
    """The records of a model that has been run."""
    flat = _opened([node for outputs in passes for node in outputs])
    ends = iter(flat)
    passes = [[next(ends) for _ in outputs] for outputs in passes]
    names = {p: str(name) for name, p in parts_of(model, "named_parameters")}
    shown_too = any(p.grad is not None for p in parameters_of(model)) if grads is None else grads
    return _Reader(order_of_all(flat), flat, passes, list(neurons_of(model)), names, grads=shown_too).read()


def _opened(results: list[Node]) -> list[Node]:
    """The results with jitted calls as the graphs that these compute."""
    if not any(node.prim is not None and node.prim.call for node in order_of_all(results)):
        return results
    if len(results) == 1:
        return [expanded(results[0])]
    with recording():
        return list(expanded(stack(results)).inputs)


@dataclass(eq=False)
class _Unit:
    """What has weights of its own: a layer of Tensors, or one neuron of Values."""

    inputs: int
    size: int
    weights: list[tuple[Node, Numbers]]  # each with its places among the weights
    biases: list[tuple[Node, Numbers]]
    columns: bool = False  # whether examples are columns, as in W @ Y
    module: Any = None  # of a neuron


class _Call(NamedTuple):
    """Where a unit was used: what its pre-activation was computed from."""

    unit: _Unit
    inputs: list[Any]


class _Region(NamedTuple):
    """What lies between a node and the ends before it."""

    ends: set[Node]
    skips: list[tuple[int, bool, Node]]  # the layer, whether early, the node
    nodes: set[Node]


class _Reader:
    """The layers of one graph."""

    def __init__(
        self,
        order: list[Node],
        results: Sequence[Node],
        given: Sequence[list[Node]] = (),
        neurons: Iterable[Any] = (),
        names: Mapping[Node, str] | None = None,
        adjoint: Mapping[Node, Any] | None = None,
        grads: bool = True,
    ) -> None:
        self.order, self.results, self.given, self.names = order, results, given, dict(names or {})
        self.adjoint, self.grads, self.more, self.examples = adjoint, grads, False, 0
        self.ends = set(results)
        self.place = {node: i for i, node in enumerate(order)}
        self.known: dict[Node, tuple[int, int]] = {}  # which y a node is
        self.data: set[Node] = set()  # what the inputs were computed from
        self.users: dict[Node, list[Node]] = {node: [] for node in order}
        for node in order:
            for x in node.inputs:
                self.users[x].append(node)
        self.scopes = scopes(order)
        self.gave: dict[tuple[int, int], list[Node]] = {}  # what calls of modules gave
        modules = {id(neuron): neuron for neuron in neurons}
        for node in order:
            scope = node._name
            while type(scope) is Scope:
                self.gave.setdefault((id(scope.module), id(scope.inputs)), []).append(node)
                if is_neuron(scope.module):
                    modules[id(scope.module)] = scope.module
                scope = scope.inner
        self.pure: dict[Node, bool] = {}  # whether a node comes from parameters alone
        for node in order:
            leaf = node.prim is None
            self.pure[node] = node.needs is not False if leaf else all(self.pure[x] for x in node.inputs)
        self.calls: dict[Node, _Call] = {}
        self._find_neurons(modules.values())
        self._find_matrices()
        self.around = {id(scope) for z in self.calls for scope in self.scopes[z]}  # the modules that layers are in
        self.level: dict[Node, int] = {}  # how many layers are below a node, with its own
        for node in order:
            call = self.calls.get(node)
            below = node.inputs if call is None else [x for x in call.inputs if isinstance(x, Node)]
            self.level[node] = max((self.level[x] for x in below), default=0) + (call is not None)

    # ---- what is a layer

    def _find_neurons(self, modules: Iterable[Any]) -> None:
        """Sums of products with the weights of a neuron, in whatever order they are added up."""
        slots: dict[Node, tuple[_Unit, int]] = {}
        for neuron in modules:
            weights = [(w, np.array(k)) for k, w in enumerate(neuron.w)]
            b = getattr(neuron, "b", None)
            biases = [(b, np.array(0))] if isinstance(b, Node) and type(b._value) is float else []
            unit = _Unit(len(weights), 1, weights, biases, module=neuron)
            slots |= {leaf: (unit, -1) for leaf, _ in biases}
            slots |= {leaf: (unit, k) for k, (leaf, _) in enumerate(weights)}
        sums: dict[Node, tuple[_Unit, dict[int, Any]]] = {}
        for node in self.order if slots else ():
            found = None
            if slots.get(node, (None, 0))[1] == -1:
                found = slots[node][0], {-1: None}
            elif node.prim is mul:
                a, b = node.operands
                for w, x in ((a, b), (b, a)):
                    if found is None and isinstance(w, Node) and slots.get(w, (None, -1))[1] >= 0:
                        found = slots[w][0], {slots[w][1]: x}
            elif node.prim is add:
                parts = [(x, *sums[x]) for x in node.inputs if x in sums]
                if len(parts) == 2 and parts[0][1] is parts[1][1] and not parts[0][2].keys() & parts[1][2].keys():
                    (x, unit, terms), (_, _, more) = sorted(parts, key=lambda part: -len(part[2]))
                    # A copy only of what is used again: else a sum of n terms would take n² steps.
                    found = unit, (terms if len(self.users[x]) == 1 else dict(terms))
                    found[1].update(more)
            if found is not None:
                unit, terms = sums[node] = found
                if len(terms) == unit.inputs + len(unit.biases):
                    self.calls[node] = _Call(unit, [terms[k] for k in range(unit.inputs)])

    def _find_matrices(self) -> None:
        """Products with matrices of parameters."""
        units: dict[tuple[Any, ...], _Unit] = {}
        unsure: list[Node] = []
        for node in self.order:
            name = node.prim.name if node.prim is not None else ""
            if name == "linear":
                x, weight, bias = node.inputs
                self._add_matrix(units, node, x, weight, bias, rows=True, columns=False)
            elif name == "matmul" and all(isinstance(x, Node) for x in node.operands):
                sides = [self.pure[x] for x in node.inputs]
                if sides[0] != sides[1]:
                    self._add_product(units, node, sides[0])
                elif sides[0]:
                    unsure.append(node)
        if not self.calls:  # the data need a gradient, too
            for node in unsure:
                left, right = (_untransposed(x)[0] for x in node.inputs)
                if left is not right and (left.prim is None or right.prim is None):
                    self._add_product(units, node, right.prim is not None)

    def _add_product(self, units: dict[Any, _Unit], node: Node, left: bool) -> None:
        weight, x = node.inputs if left else node.inputs[::-1]
        if len(shape(weight)) > 2 or not shape(weight):
            return
        size = shape(weight)[-2 if left else -1] if len(shape(weight)) == 2 else 1
        users = self.users[node]
        z, bias = node, None
        if len(users) == 1 and users[0].prim is add and shape(users[0]) == shape(node):
            other = next((y for y in users[0].operands if y is not node), None)
            if isinstance(other, Node) and self.pure[other] and _is_bias(shape(other), shape(node), size, left):
                z, bias = users[0], other
        self._add_matrix(units, z, x, weight, bias, rows=left, columns=left)

    def _add_matrix(
        self, units: dict[Any, _Unit], z: Node, x: Node, weight: Node, bias: Node | None, rows: bool, columns: bool
    ) -> None:
        """A layer, in whose weight each neuron is a row or a column, and so is each example in what it is given."""
        leaf, turned = _untransposed(weight)
        bias, rows = _unreshaped(bias), rows != turned
        unit = units.get((leaf, bias, rows, columns))
        if unit is None:
            of = shape(leaf) if len(shape(leaf)) == 2 else (1, *shape(leaf)) if rows else (*shape(leaf), 1)
            size, inputs = of if rows else of[::-1]
            if not size or not inputs:
                raise refused(f"a weight of shape {shape(leaf)} has no neurons, or no inputs")
            places = np.arange(size * inputs).reshape(size, inputs)
            places = (places if rows else places.T).reshape(shape(leaf))
            biases = [] if bias is None else [(bias, np.arange(size).reshape(shape(bias)))]
            unit = units[leaf, bias, rows, columns] = _Unit(inputs, size, [(leaf, places)], biases, columns)
        self.calls[z] = _Call(unit, [x])

    # ---- how they stand behind one another

    def read(self) -> Chain:
        """All records; an error where the layers are no chain."""
        if not self.calls:
            operations = list(dict.fromkeys(literal(node.op) for node in self.order if node.prim is not None))
            only = f"only {listed(operations)}" if operations else "and nothing that was computed (under mg.no_grad()?)"
            raise refused(f"this graph has none, {only}")
        self.last = max(self.level[z] for z in self.calls)
        self.units: list[list[_Unit]] = [[]]
        self.passes: list[list[list[Node]]] = [[]]
        for level in range(1, self.last + 1):
            units, passes = self._on_level(level)
            self.units.append(units)
            self.passes.append(passes)
        if len({len(passes) for passes in self.passes[1:]}) > 1:
            raise refused("some layers are used more often than others")
        # By layer and pass: the nodes that y stands in.
        self.ys: list[list[list[Any]]] = [[self.calls[zs[0]].inputs for zs in passes] for passes in self.passes[1:]]
        self.ys.append(self._last_ys())
        for level, passes in enumerate(self.ys):
            for ys in passes:
                self.known.update({y: (level, k) for k, y in enumerate(ys) if isinstance(y, Node)})
        inputs = [y for ys in self.ys[0] for y in ys if isinstance(y, Node)]
        self.data = {node for node in _reached(inputs) if not self.pure[node]}
        for level in range(1, self.last + 1):
            self._sort(level)
        layers = [self._inputs()]
        for level, (name, kind) in enumerate(self._layer_names(), 1):
            layers.append(self._layer(level, name, kind, layers))
        cells = [
            cells
            for level in range(1, self.last + 1)
            for cells in self._cells(level, layers[level].name, layers[level].indices)
        ]
        return Chain(layers, cells, self._places(), self._result(), self.examples, True, self.grads, self.more)

    def _on_level(self, level: int) -> tuple[list[_Unit], list[list[Node]]]:
        """The units that stand side by side, and their pre-activations in each pass."""
        calls: dict[_Unit, list[Node]] = {}
        for z, call in self.calls.items():
            if self.level[z] == level:
                calls.setdefault(call.unit, []).append(z)
        units = list(calls)
        if len(units) > 1 and not all(unit.module is not None for unit in units):
            said = listed([literal(spell(unit.weights[0][0])) for unit in units])
            raise refused(f"{said} stand side by side")
        for zs in calls.values():
            zs.sort(key=self.place.__getitem__)
        units.sort(key=lambda unit: _natural(getattr(unit.module, "_path", "")))
        if len({len(zs) for zs in calls.values()}) > 1:
            raise refused("some neurons of a layer are used more often than others")
        passes = [list(zs) for zs in zip(*(calls[unit] for unit in units), strict=True)]
        for zs in passes:
            first = self.calls[zs[0]].inputs
            for z in zs[1:]:
                mine = self.calls[z].inputs
                if len(mine) != len(first) or not all(map(_same, mine, first)):
                    raise refused("not all neurons of a layer are given the same numbers")
        return units, passes

    def _last_ys(self) -> list[list[Any]]:
        """What comes out of the last layer, in each pass."""
        return [
            self.given[i] if i < len(self.given) and self._stands_for(self.given[i], zs) else [*map(self._output, zs)]
            for i, zs in enumerate(self.passes[-1])
        ]

    def _stands_for(self, outputs: Sequence[Node], zs: Sequence[Node]) -> bool:
        """Whether outputs have a number for each neuron."""
        return len(outputs) == len(zs) and all(
            np.size(y._value) == np.size(z._value) for y, z in zip(outputs, zs, strict=True)
        )

    def _output(self, z: Node) -> Node:
        """The output behind a pre-activation: what the outermost module gave, and activations behind that."""
        y = z
        for scope in self.scopes[z]:
            gave = self.gave.get((id(scope.module), id(scope.inputs)), ())
            of_z = [
                x
                for x in gave
                if np.size(x._value) == np.size(z._value) and self._region(x, self.last, {z}).ends == {z}
            ]
            if of_z:
                y = of_z[0]
                break
        while y not in self.ends and len(self.users[y]) == 1:
            user = self.users[y][0]
            if user.prim is None or user.prim.name not in ACTIVATIONS or shape(user) != shape(y):
                break
            y = user
        return y

    def _region(self, node: Node, level: int, ends: set[Node]) -> _Region:
        """What lies between a node and the `ends` on this level."""
        found = _Region(set(), [], set())
        seen, waiting = set[Node](), [node]
        while waiting:
            x = waiting.pop()
            if x in seen:
                continue
            seen.add(x)
            if x in ends:
                found.ends.add(x)
            elif self.level[x] == level:
                found.nodes.add(x)
                waiting += x.inputs
            elif x in self.known:
                found.skips.append((self.known[x][0], False, x))
            elif x in self.calls:
                found.skips.append((self.level[x], True, x))
            elif x in self.data:
                found.skips.append((0, False, x))
            else:
                waiting += x.inputs
        return found

    def _sort(self, level: int) -> None:
        """Put the neurons of a layer of Values in the order in which their numbers are used."""
        units, passes = self.units[level], self.passes[level]
        if units[0].module is None:
            return
        at = {z: i for i, z in enumerate(passes[0])}
        ends = [self._region(y, level, set(at)).ends if isinstance(y, Node) else set() for y in self.ys[level][0]]
        if all(len(found) == 1 for found in ends):
            order = [at[z] for found in ends for z in found]
            if sorted(order) != list(range(len(units))):
                raise refused(f"not each neuron of layer {level} goes into the next one once")
            self.units[level] = [units[i] for i in order]
            self.passes[level] = [[zs[i] for i in order] for zs in passes]

    # ---- one layer

    def _layer(self, level: int, name: str, kind: str, before: Sequence[Layer]) -> Layer:
        units, passes = self.units[level], self.passes[level]
        first, inputs = units[0], units[0].inputs
        size = sum(unit.size for unit in units)
        made = Layer(name, kind, size, self._indices(level, size))
        self._link(level, made, before)
        weight, weight_grad = np.empty(size * inputs), np.full(size * inputs, None)
        bias, bias_grad = np.zeros(size), np.full(size, None)
        row = 0
        for unit in units:
            for leaf, places in unit.weights:
                weight[places + row * inputs] = leaf._value
                weight_grad[places + row * inputs] = self._grad(leaf)
            for leaf, places in unit.biases:
                bias[places + row] = leaf._value
                bias_grad[places + row] = self._grad(leaf)
            row += unit.size
        made.weight, made.weight_grad = weight.reshape(size, inputs), weight_grad.reshape(size, inputs)
        if any(unit.biases for unit in units):
            made.bias, made.bias_grad = bias, bias_grad
        made.z, made.dz = self._numbers(passes, size, first)
        made.y, made.dy = self._numbers(self.ys[level], size, self.units[min(level + 1, self.last)][0], passes)
        return made

    def _inputs(self) -> Layer:
        unit = self.units[1][0]
        y, dy = self._numbers(self.ys[0], unit.inputs, unit)
        needed = any(isinstance(x, Node) and x.needs for ys in self.ys[0] for x in ys)
        return Layer("inputs", size=unit.inputs, indices=list(range(unit.inputs)), y=y, dy=dy if needed else None)

    def _numbers(
        self, passes: Sequence[Sequence[Any]], size: int, unit: _Unit, like: Sequence[Sequence[Any]] = ()
    ) -> tuple[Numbers, Numbers | None]:
        """The means of some nodes over the examples, and the sums of their gradients."""
        of = [[shape(x) for x in nodes] for nodes in like or passes]  # an output may have lost an axis of 1
        rows = _matrix([[getattr(x, "_value", x) for x in nodes] for nodes in passes], of, size, unit)
        if not len(rows):
            raise no_example()
        self.examples = self.examples or len(rows)
        with np.errstate(all="ignore"):
            means = np.asarray(np.mean(rows, axis=0, dtype=np.float64))
            if self.adjoint is None:
                return means, None
            flows = [[self.adjoint.get(x) if isinstance(x, Node) else None for x in nodes] for nodes in passes]
            grads = np.full(size, None)
            if unit.module is None:
                if all(flow[0] is not None for flow in flows):
                    grads[:] = _matrix(flows, of, size, unit).sum(axis=0)
            else:
                for k, flow in enumerate(zip(*flows, strict=True)):
                    grads[k] = None if any(x is None for x in flow) else float(sum(flow))
        return means, grads

    def _grad(self, leaf: Node) -> Any:
        """The gradient of a parameter, as pictures show it."""
        if not self.grads:
            return None
        held = leaf.grad
        if self.adjoint is not None:
            said = gradients(leaf, self.results[0], self.adjoint)
            held, self.more = said[0][1], self.more or len(said) > 1  # type: ignore[misc]
        if held is None:
            return None
        found = array_of(f"the grad of {spell(leaf)}", getattr(held, "_value", held), np.float64)
        if found.shape != shape(leaf):
            raise ShapeError(f"the grad of {spell(leaf)} has shape {found.shape}, and its own is {shape(leaf)}")
        return found

    def _indices(self, level: int, size: int) -> list[int]:
        """Where neurons of Values stand in their module: a result may be computed from some of them alone."""
        modules = [unit.module for unit in self.units[level]]
        for scope in self.scopes[self.passes[level][0][0]]:
            inside = getattr(scope.module, "neurons", None)
            at = {id(neuron): i for i, neuron in enumerate(inside)} if isinstance(inside, (list, tuple)) else {}
            if all(id(module) in at for module in modules):
                return [at[id(module)] for module in modules]
        return list(range(size))

    # ---- what lies between z and y

    def _link(self, level: int, made: Layer, before: Sequence[Layer]) -> None:
        """Find the activations of a layer, and what is added to its numbers."""
        unit, behind = self.units[level][0], f"behind {literal(made.name)}"
        of_values = unit.module is not None
        wanted = self.units[level + 1][0].inputs if level < self.last else made.size
        everywhere = {z for zs in self.passes[level] for z in zs}
        skips: dict[Skip, None] = {}
        for i, (zs, ys) in enumerate(zip(self.passes[level], self.ys[level], strict=True)):
            if len(zs) != len(ys):
                raise refused(f"there are {len(zs)} neurons in {literal(made.name)} and {len(ys)} numbers behind it")
            for k, (z, y) in enumerate(zip(zs, ys, strict=True)):
                found = self._region(y, level, everywhere) if isinstance(y, Node) else _Region(set(), [], set())
                if not found.ends or not found.ends <= set(zs):
                    raise refused(f"other numbers than its own are used {behind}")
                if np.size(z._value) != np.size(y._value) or wanted != made.size:
                    raise refused(f"the shape changes {behind}, from {shape(z)} to {shape(y)}")
                mixing = [] if of_values else self._mixing(found.nodes, z, unit, behind)
                made.mixes = made.mixes or bool(mixing) or len(found.ends) > 1
                below = _reached(mixing)
                for layer, early, node in found.skips:
                    at = self.known.get(node, (layer, k))[1]
                    if before[layer].size != made.size or (of_values and at != k):
                        name = literal(before[layer].name)
                        raise refused(f"numbers of {name} are used again {behind}, not one for one")
                    skips[Skip(layer, early, node in below or (of_values and made.mixes))] = None
                if not i:
                    made.activations += [self._activation(found)] * unit.size
        made.skips = list(skips)

    def _mixing(self, nodes: Iterable[Node], z: Node, unit: _Unit, behind: str) -> list[Node]:
        """The operations on Tensors that make numbers of one neuron from those of several."""
        own = len(shape(z)) - (2 if unit.columns and len(shape(z)) > 1 else 1)
        found = []
        for node in nodes:
            row: Any = node.prim
            alone = unit.size == 1 and np.size(node._value) == np.size(z._value)  # as in y[:, 0]
            if row.partials or row.name in PER_NEURON or (alone and row.name == "index"):
                continue
            if row.name not in OVER_AXES:
                raise refused(f"{behind} comes {literal(row.name)}")
            axis = row.params.get("axis")
            if unit.size > 1 and (axis is None or own in axis or len(shape(node.inputs[0])) != len(shape(z))):
                found.append(node)
        return found

    def _activation(self, region: _Region) -> str:
        """What lies between a pre-activation and its output, as text: functions, and modules of several operations."""
        nodes = sorted(region.nodes, key=self.place.__getitem__)
        inside = {node: next((s for s in self.scopes[node] if id(s) not in self.around), None) for node in nodes}
        sizes = Counter(id(scope) for scope in inside.values() if scope is not None)
        labels: dict[str, None] = {}
        for node in nodes:
            row, scope = node.prim, inside[node]
            assert row is not None
            joins = row is add and any(self.level[x] < self.level[node] and not self.pure[x] for x in node.inputs)
            if scope is not None and (sizes[id(scope)] > 1 or not _function(row)):
                labels[scope.kind] = None
            elif row.name not in SILENT and not joins:
                labels[_function(row) or row.label] = None
        return " → ".join(map(literal, labels))

    # ---- names

    def _layer_names(self) -> list[tuple[str, str]]:
        """The name of each layer, unlike all others, and the class of its module."""
        holds = Counter(id(scope) for zs in self.passes[1:] for z in zs[0][:1] for scope in self.scopes[z])
        found: list[tuple[str, str]] = []
        taken = {"inputs"}
        for level in range(1, self.last + 1):
            unit, z = self.units[level][0], self.passes[level][0][0]
            own = [scope for scope in self.scopes[z] if holds[id(scope)] == 1]
            if unit.module is not None:
                own = [scope for scope in own if scope.module is not unit.module] or own
            scope = own[-1] if own else None
            leaf = unit.weights[0][0]
            weight = self.names.get(leaf) or leaf.name or ""
            found_in = re.fullmatch(r"(.+?)\.(weight|neurons\.\d+\.w\.\d+)", weight, re.DOTALL)
            name = found_in[1] if found_in else ""
            name = name or (scope.path or scope.kind if scope is not None else f"layer{level}")
            fresh, i = name, 2
            while fresh in taken:
                fresh, i = f"{name}_{i}", i + 1
            taken.add(fresh)
            found.append((fresh, "" if scope is None else scope.kind))
        return found

    def _cells(self, level: int, name: str, indices: list[int]) -> Iterator[Cells]:
        """The parameters of a layer, and its weights and biases as a whole."""
        units = self.units[level]
        inputs, size = units[0].inputs, sum(unit.size for unit in units)
        row = 0
        for unit in units:
            for part, pairs, step in (("weight", unit.weights, inputs), ("bias", unit.biases, 1)):
                for leaf, places in pairs:
                    names = dict.fromkeys(x for x in (self.names.get(leaf), leaf.name) if x)
                    yield Cells(tuple(map(str, names)), leaf, level, part, places + row * step)
            row += unit.size
        places = np.full((max(indices) + 1, inputs), -1)
        places[indices] = np.arange(size * inputs).reshape(size, inputs)
        yield Cells((f"{name}.weight",), None, level, "weight", places)
        if any(unit.biases for unit in units):
            yield Cells((f"{name}.bias",), None, level, "bias", np.where(places[:, 0] < 0, -1, places[:, 0] // inputs))

    def _places(self) -> dict[Node, list[tuple[str, int, int]]]:
        """Of the nodes that circles stand for, which circles."""
        found: dict[Node, list[tuple[str, int, int]]] = {}
        for part, columns in (("y", self.ys), ("z", self.passes)):
            for level, passes in enumerate(columns):
                unit = self.units[max(level, 1)][0]
                size = unit.size if level else unit.inputs
                for k, node in ((k, node) for nodes in passes for k, node in enumerate(nodes)):
                    if isinstance(node, Node):
                        rows = range(size) if unit.module is None else [k]
                        found[node] = [(part, level, i) for i in rows]
        return found

    # ---- the loss

    def _result(self) -> Result | None:
        """What is computed from the outputs; None where they are the results."""
        outputs = {y for ys in self.ys[-1] for y in ys}
        if self.ends <= outputs:
            return None
        if len(self.results) > 1:
            raise refused(f"there are {len(self.results)} results, and they are not the outputs of the last layer")
        [root] = self.results
        found = self._region(root, self.last, outputs | {z for zs in self.passes[-1] for z in zs})
        scope = next((s for s in self.scopes[root] if id(s) not in self.around), None)
        named = root._name if type(root._name) is not Scope else "" if root._name.made_up else root.name
        data = np.asarray(root._value)
        return Result(
            literal(named or "L"),
            named if named and re.fullmatch(r"[^\W\d]\w{0,7}", named) else "L",
            scope.kind if scope is not None else _function(root.prim),
            float(np.mean(data)) if data.size else float("nan"),
            None if data.size != 1 or self._grad(root) is None else self._grad(root).item(),
            list(dict.fromkeys(Skip(layer, early, False) for layer, early, _ in found.skips)),
        )


# ---- small things


def _natural(path: str) -> list[tuple[bool, int, str]]:
    """A dotted path, to be sorted so that 10 comes behind 9."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in path.split(".")]


def _reached(nodes: Sequence[Node]) -> set[Node]:
    """Nodes, and all that they were computed from."""
    found: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.inputs
    return found


def _function(row: Any) -> str:
    """The name of an operation that is written as a function; nothing for operators."""
    return row.name if row is not None and row.text.startswith(f"{row.name}(") else ""


def _same(x: Any, y: Any) -> bool:
    """Whether two operands are the same node, or the same number."""
    return x is y or (type(x) is float and type(y) is float and (x == y or (x != x and y != y)))


def _untransposed(x: Node) -> tuple[Node, bool]:
    """A matrix before it was transposed, and whether it was."""
    turned = False
    while x.prim is not None and x.prim.name == "transpose" and x.prim.params["axes"] == (1, 0):
        x, turned = x.inputs[0], not turned
    return x, turned


def _unreshaped(x: Node | None) -> Node | None:
    """A bias before it got more axes."""
    while x is not None and x.prim is not None:
        row, before = x.prim, x.inputs[0]
        adds = row.name == "index" and all(k is None or k == slice(None) for k in row.params["key"])
        if (row.name != "reshape" and not adds) or np.size(before._value) != np.size(x._value):
            break
        x = before
    return x


def _is_bias(of: tuple[int, ...], z: tuple[int, ...], size: int, columns: bool) -> bool:
    """Whether an array of this shape has a number for each neuron, and is repeated for the examples."""
    if columns and len(z) > 1:
        return of[-2:] == (size, 1) and int(np.prod(of)) == size
    return int(np.prod(of)) == size and (size == 1 or of[-1:] == (size,))


def _matrix(
    passes: Sequence[Sequence[Any]], shapes: Sequence[Sequence[tuple[int, ...]]], size: int, unit: _Unit
) -> Numbers:
    """Numbers as a row for each example."""
    rows = []
    for data, of in zip(passes, shapes, strict=True):
        if unit.module is not None:
            rows.append(np.array([[float(x) for x in data]]))
            continue
        found = np.asarray(data[0]).reshape(of[0])
        found = np.moveaxis(found, -2, -1) if unit.columns and found.ndim > 1 else found
        rows.append(found.reshape(-1, size))
    return np.concatenate(rows)

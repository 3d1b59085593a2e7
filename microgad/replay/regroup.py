"""Regrouping: a program of numbers becomes one of arrays, as the lectures go from scalar formulas to matrices.

Values that are computed in the same way, whatever leaves they are computed from, are a class: they get the same colour,
bottom up, from the row and the colours of its operands. A class becomes one array, and an operand of all its members
a gather from another one: where the places follow a pattern, a view. Chains of additions are one sum; where its terms
are products, and the sums are all pairs of some rows of the one and the other factors, it is a matrix product. Nothing
is known of batches: the samples of an unrolled one simply look alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import numpy as np

from microgad.naming import counted
from microgad.node import Node
from microgad.order import order_of_all
from microgad.primitive import tracing
from microgad.primitives import add, mul, neg, sub
from microgad.recording import recording
from microgad.structural import broadcast_to, concatenate, index, item, matmul, reshape, stack, total, transpose
from microgad.tape import Input, Tape
from microgad.tensor import Tensor, leaf
from microgad.value import Value

from .classes import Classes, Ids, pool_of
from .rows import nested, view
from .tables import different, table_of

FEW = 2  # terms of one class that are added one by one, for a reduction of so few is slower


@contextmanager
def apart() -> Iterator[None]:
    """Compute and record as if nobody traced in this thread."""
    me = get_ident()
    outer = tracing.pop(me, None)
    try:
        with recording(), np.errstate(all="ignore"):
            yield
    finally:
        if outer is not None:
            tracing[me] = outer


class IrregularError(Exception):
    """A program of which regrouping makes no less; the argument says why."""


Group = tuple[int, int, Ids]  # the sign and colour of some terms of a sum, and which values they are, member by member


class Regrouping:
    """The array program of a program, made as a graph of Tensors."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.classes = tape, Classes(tape)
        self.node: dict[int, Any] = {}  # of a class, its array; where it is a single number, a Value or a float
        self.pos = np.full(len(tape.rows), -1)  # where a value stands in the array of its class
        self.placed: dict[str, list[int]] = {}  # of each pool of numbers that are given, which inputs lie there
        self.pool: dict[str, Any] = {}
        for i, x in enumerate(tape.inputs):
            if x.type is None:
                self.placed.setdefault(pool_of(x), []).append(i)
        for kind, found in self.placed.items():
            stems = {tape.inputs[i].name.partition("[")[0] for i in found} if kind != "parameter" else ()
            name = stems.pop() if len(stems) == 1 else kind[0]  # that of an argument, where all are from one
            self.pool[kind] = Tensor(np.full(len(found), np.nan), kind != "number", name=name)
            found.clear()
        self.arrays: dict[int, Any] = {}  # inputs that are arrays
        self.layers = 0
        classes = self.classes
        self.active = [
            c for c, row in enumerate(classes.row)
            if classes.number[c] and row is not None and not classes.absorbed[c] and classes.key(c)[0] != "item"
        ]  # fmt: skip

    def run(self) -> tuple[Tape, list[int | list[int]]]:
        """The array program, and of which input each of its inputs is, or of which ones."""
        classes, tape, active = self.classes, self.tape, self.active
        sums = {c: self.grouped(c) for c in active if classes.row[c] in (add, sub)}
        wanted = self.wanted(active, sums)
        todo = set(active)
        for c in range(classes.count):
            if not classes.number[c]:
                self.array(c)
            elif c in sums:
                self.sum(c, sums[c])
            elif c in todo and (classes.row[c] is not mul or c in wanted):
                self.elementwise(c)
        return self.finished([self.result(i) for i in tape.outputs])

    # ---- which classes need arrays

    def grouped(self, c: int) -> list[Group]:
        """The terms of a sum, those of one sign and class together."""
        found: dict[tuple[int, int], list[Ids]] = {}
        for sign, ids in self.classes.terms(c):
            found.setdefault((sign, int(self.classes.colour[ids[0]])), []).append(ids)
        return [(sign, of, np.stack(columns, axis=1)) for (sign, of), columns in found.items()]

    def products(self, group: Group) -> bool:
        """Whether terms are products to be contracted, which then need no array of their own."""
        return self.classes.row[group[1]] is mul and group[2].shape[1] > 1

    def wanted(self, active: Sequence[int], sums: dict[int, list[Group]]) -> set[int]:
        """The classes that something else than a contraction uses."""
        classes, tape = self.classes, self.tape
        found = {int(classes.colour[i]) for i in tape.outputs}
        for c in active:
            if c in sums:
                found |= {group[1] for group in sums[c] if not self.products(group)}
                factors = [group[2][0, 0] for group in sums[c] if self.products(group)]
                found |= {int(classes.colour[side[i]]) for i in factors for side in (classes.left, classes.right)}
            else:
                found |= {int(classes.colour[ids[0]]) for ids in classes.operands(classes.members(c))}
        for i, given in enumerate(tape.operands):
            if tape.types[i] is not None:
                found |= {int(classes.colour[x]) for x in given}
        return found

    # ---- where numbers are

    def source(self, ids: Ids) -> tuple[Any, Ids]:
        """The array in which values of one class are, and where."""
        c = int(self.classes.colour[ids.flat[0]])
        key = self.classes.key(c)
        if type(key) is str:
            self.place(key, ids)
            return self.pool[key], self.pos[ids]
        if key[0] == "item":
            return self.node[int(self.classes.colour[key[1]])], self.classes.place[ids]
        return self.node[c], self.pos[ids]

    def place(self, kind: str, ids: Ids) -> None:
        """Give numbers of a pool their places, in this order, where they have none yet."""
        flat = ids.reshape(-1)
        new = flat[self.pos[flat] < 0]
        if new.size:
            new = new[np.sort(np.unique(new, return_index=True)[1])]
            start = len(self.placed[kind])
            self.pos[new] = np.arange(start, start + new.size)
            self.placed[kind] += new.tolist()
            inputs = self.tape.inputs
            self.pool[kind]._value[start : start + new.size] = [inputs[i].example for i in new.tolist()]

    def fresh(self, ids: Ids) -> bool:
        """Whether values are numbers of a pool that all have no places yet."""
        return type(self.classes.key(int(self.classes.colour[ids.flat[0]]))) is str and bool(
            (self.pos[ids] < 0).all() and ids.flat[0] not in self.tape.numbers
        )

    def number(self, i: int) -> Any:
        """One value: a float, or a Value."""
        if i in self.tape.numbers:
            return self.tape.numbers[i]
        found = self.node.get(int(self.classes.colour[i]))
        if found is not None and (type(found) is float or type(found._value) is float):
            return found
        node, p = self.source(np.array([i]))
        return item.given(at=tuple(int(k) for k in np.unravel_index(p[0], node.shape)))(node)

    def gather(self, ids: Ids) -> Any:
        """Values of one class as an array that broadcasts to the shape of `ids`; a single one as a number."""
        for axis in range(ids.ndim):
            first = ids.take([0], axis)
            if ids.shape[axis] > 1 and (ids == first).all():
                ids = first
        c = int(self.classes.colour[ids.flat[0]])
        key = self.classes.key(c)
        if c in self.node and type(getattr(self.node[c], "_value", 0.0)) is float:
            return self.node[c]
        if ids.size == 1 and (key == "constant" or type(key) is not str):
            return self.number(int(ids.flat[0]))
        if key == "constant":
            numbers = np.array([self.tape.numbers[i] for i in ids.reshape(-1).tolist()]).reshape(ids.shape)
            return float(numbers.flat[0]) if (numbers == numbers.flat[0]).all() else leaf(numbers)
        return _viewed(*self.source(ids))

    def whole(self, ids: Ids) -> Any:
        """The same as an array of the very shape of `ids`."""
        found = self.gather(ids)
        if type(found) is float:
            return leaf(np.full(ids.shape, found))
        if type(found._value) is float:
            found = stack.given(axis=0)(found)
        return found if found.shape == ids.shape else broadcast_to.given(to=ids.shape)(found)

    def settle(self, members: Ids, grid: Ids, node: Any) -> None:
        """Let a class be this array, in which its members stand as in `grid`."""
        c = int(self.classes.colour[members[0]])
        if not isinstance(node, Tensor) or not node.ndim:  # the same for all of them
            self.node[c] = node
            return
        if node.shape != grid.shape:
            node = broadcast_to.given(to=grid.shape)(node)
        self.node[c] = node
        self.pos[members[grid.reshape(-1)]] = np.arange(grid.size)

    # ---- classes

    def array(self, c: int) -> None:
        """A value that is an array by itself: the same instruction on what its operands have become."""
        tape, i = self.tape, self.classes.first[c]
        row, given = tape.rows[i], tape.operands[i]
        if i in tape.numbers:
            self.node[c] = leaf(tape.numbers[i])
        elif row is None:
            one = tape.inputs[i]
            self.node[c] = self.arrays[i] = Tensor(one.example, not one.plain, one.name or None)
        elif row.name == "stack" and len(given) > 1 and all(tape.types[x] is None for x in given):
            self.node[c] = self.stacked(self.classes.same[list(given)])
        else:
            found = row(*[self.result(x) for x in given])
            self.node[c] = found if isinstance(found, Node) else leaf(np.asarray(found))

    def stacked(self, ids: Ids) -> Any:
        """Numbers side by side: of each run of one class a gather."""
        of = self.classes.colour[ids]
        runs = np.split(ids, np.flatnonzero(of[1:] != of[:-1]) + 1)
        if len(runs) > max(1, len(ids) // FEW):
            return stack.given(axis=0)(*[self.number(int(i)) for i in ids])
        parts = [self.whole(run) for run in runs]
        return parts[0] if len(parts) == 1 else concatenate.given(axis=0)(*parts)

    def result(self, i: int) -> Any:
        """A value as an operand: a number, or an array."""
        return self.number(i) if self.tape.types[i] is None else self.node[int(self.classes.colour[i])]

    def elementwise(self, c: int) -> None:
        """A row of the table, on all members of a class."""
        row, members = self.classes.row[c], self.classes.members(c)
        assert row is not None
        operands = self.classes.operands(members)
        kept, same = self.distinct(operands)
        operands = [ids[kept] for ids in operands]
        if len(kept) == 1:
            self.node[c] = row(*[self.number(int(ids[0])) for ids in operands])
            return
        grid = self.arranged(operands)
        self.settle(members[kept], grid, row(*[self.gather(ids[grid]) for ids in operands]))
        self.pos[members] = self.pos[members[kept]][same]

    def distinct(self, operands: Sequence[Ids]) -> tuple[Ids, Ids]:
        """The members of a class that differ in what their operands are, and which of them each member is as."""
        _, same = different(np.stack([self.identity(ids) for ids in operands], axis=1))
        kept = np.zeros(same.max() + 1, int)
        kept[same[::-1]] = np.arange(len(same))[::-1]
        return kept, same

    def identity(self, ids: Ids) -> Ids:
        """Numbers that are the same where values of one class are."""
        key = self.classes.key(int(self.classes.colour[ids[0]]))
        if type(key) is str:
            return ids
        return self.classes.place[ids] if key[0] == "item" else self.pos[ids]

    def arranged(self, operands: Sequence[Ids]) -> Ids:
        """In which order and shape the members of a class stand best: as an operand does, or as a table of two."""
        n = len(operands[0])
        best, found = 0, np.arange(n)
        for ids in operands:
            c = int(self.classes.colour[ids[0]])
            if self.classes.key(c) == "constant" or self.fresh(ids):
                continue
            if type(getattr(self.node.get(c), "_value", None)) is float:
                continue
            node, p = self.source(ids)
            if len(np.unique(p)) < n:
                continue
            good = 3 if n == node.size and node.ndim > 1 else 2 if n == node.size else 1
            if good > best:
                order = np.argsort(p)
                best, found = good, order.reshape(node.shape) if good == 3 else order
        if not best and len(operands) == 2:
            table = table_of(*(ids[:, None] for ids in operands))
            if table is not None and table.batch == 1 and table.unique:
                return np.argsort(table.cell).reshape(len(table.a), len(table.b))
        return found

    def sum(self, c: int, groups: list[Group]) -> None:
        """A sum of each member of a class."""
        members = self.classes.members(c)
        kept, same = self.distinct([x for group in groups for x in self.factors(group)])
        groups, n = [(sign, of, ids[kept]) for sign, of, ids in groups], len(kept)
        if n == 1:
            order = sorted(range(len(groups)), key=lambda k: not self.products(groups[k]))  # weights lie before a bias
            totals = {k: self.totals(groups[k][1], groups[k][2][0]) for k in order}
            self.node[c] = _added([(group[0], x) for k, group in enumerate(groups) for x in totals[k]])
            return
        parts: list[tuple[int, Any]] = []
        rest, grid = list(groups), None
        products = sorted((g for g in groups if self.products(g)), key=lambda g: -g[2].shape[1])
        for group in products:
            found = self.contracted(group, groups)
            if found is not None:
                node, cell = found
                unique = len(np.unique(cell)) == n == node.size
                grid = np.argsort(cell).reshape(node.shape) if unique else np.arange(n)
                parts.append((group[0], node if unique else _viewed(node, cell)))
                rest.remove(group)
                break
        if grid is None:
            leading = sorted((g for g in groups if not self.products(g)), key=lambda g: g[2].shape[1])
            grid = self.arranged([ids[:, 0] for _, _, ids in leading]) if leading else np.arange(n)
        for group in rest:
            sign, _, ids = group
            if not self.products(group):
                added = self.added_up(ids[grid])
                self.named("b", *(added if parts else ()))
                parts += [(sign, x) for x in added]
                continue
            found = self.contracted(group, ())
            if found is not None:
                parts.append((sign, _viewed(found[0], found[1][grid])))
            else:
                parts += [(sign, x) for x in self.row_by_row(ids[grid])]
        self.settle(members[kept], grid, _added(parts))
        self.pos[members] = self.pos[members[kept]][same]

    def factors(self, group: Group) -> list[Ids]:
        """What the terms of a sum are, one by one; of products that are contracted their factors."""
        columns = list(group[2].T)
        if not self.products(group):
            return columns
        return [side[ids] for ids in columns for side in (self.classes.left, self.classes.right)]

    def totals(self, of: int, ids: Ids) -> list[Any]:
        """What some terms of a single sum add up to: numbers."""
        if self.classes.row[of] is mul and len(ids) > 1:
            a, b = self.classes.left[ids], self.classes.right[ids]
            order = self.along(a, b)
            return [item.given(at=())(matmul(self.whole(a[order]), self.whole(b[order])))]
        if len(ids) <= FEW:
            return [self.number(int(i)) for i in ids]
        node, p = self.source(ids) if self.classes.key(of) != "constant" else (None, ids)
        terms = self.whole(ids if node is None else ids[np.argsort(p)])
        return [item.given(at=())(total.given(axis=None, keepdims=False)(terms))]

    def added_up(self, ids: Ids) -> list[Any]:
        """Terms of one class, along the last axis, as few arrays."""
        k = ids.shape[-1]
        if k <= FEW:
            return [self.gather(ids[..., j]) for j in range(k)]
        return [total.given(axis=(ids.ndim - 1,), keepdims=False)(self.whole(ids))]

    def row_by_row(self, ids: Ids) -> list[Any]:
        """Sums of products that are no matrix product: each of factors of its own."""
        a, b = self.classes.left[ids], self.classes.right[ids]
        if ids.shape[-1] <= FEW:
            return [mul(self.gather(a[..., j]), self.gather(b[..., j])) for j in range(ids.shape[-1])]
        products = mul(self.whole(a), self.whole(b))
        return [total.given(axis=(ids.ndim - 1,), keepdims=False)(products)]

    def along(self, a: Ids, b: Ids) -> Ids:
        """In which order products are added up, that the factors lie in a row."""
        for ids in (b, a):
            c = int(self.classes.colour[ids[0]])
            single = type(getattr(self.node.get(c), "_value", None)) is float
            if self.classes.key(c) != "constant" and not self.fresh(ids) and not single:
                return np.argsort(self.source(ids)[1], kind="stable")
        return np.arange(len(a))

    def contracted(self, group: Group, groups: Sequence[Group]) -> tuple[Any, Ids] | None:
        """Sums of products as a matrix product, and where in it each of them stands; None if they are none."""
        _, _, ids = group
        a, b = self.classes.left[ids], self.classes.right[ids]
        table = table_of(a, b)
        if table is None or (len(table.a) == len(table.b) == table.batch):
            return None
        order = self.along(table.a[0], table.b[0])
        rows, columns = table.a[:, order], table.b[:, order]
        for side, of in ((rows, table.row), (columns, table.column)):
            if self.fresh(side) and len(np.unique(side)) == side.size:
                self.block(side, of, group, groups)
        # The longer axis last, for NumPy's loops run along it; a vector where the matrix lies in memory for it.
        turned = len(columns) < len(rows)
        if min(len(rows), len(columns)) == 1:
            turned = self.in_columns(rows) if len(rows) > 1 else not self.in_columns(columns)
        if turned:
            rows, columns = columns, rows
        cell = table.cell if not turned else table.turned()
        k, n, m, batch = rows.shape[1], len(rows) // table.batch, len(columns) // table.batch, table.batch
        if batch > 1:
            left = self.whole(rows.reshape(batch, n, k))
            right = self.whole(columns.reshape(batch, m, k).transpose(0, 2, 1))
        else:
            left, right = self.whole(rows if n > 1 else rows[0]), self.whole(columns.T if m > 1 else columns[0])
        self.layers += 1
        self.named("W", left, right)
        return matmul(left, right), cell

    def in_columns(self, ids: Ids) -> bool:
        """Whether neighbours in a column are neighbours where the values are."""
        if self.classes.key(int(self.classes.colour[ids.flat[0]])) == "constant" or self.fresh(ids) or ids.size < 2:
            return False
        return len(ids) > 1 and bool(np.diff(self.source(ids[:2, 0])[1])[0] == 1)

    def named(self, letter: str, *nodes: Any) -> None:
        """Call the parameters of a layer by its number."""
        for node in nodes:
            pool = self.pool.get("parameter")
            if isinstance(node, Node) and node.prim is not None and node.a is pool and not node._name:
                node._name = f"{letter}{self.layers}"

    def block(self, side: Ids, of: Ids, group: Group, groups: Sequence[Group]) -> None:
        """Give the weights of a layer their places, each row with its bias behind it, if there is one."""
        kind = self.classes.key(int(self.classes.colour[side.flat[0]]))
        for other in groups:
            ids = other[2][:, 0]
            if other is group or other[2].shape[1] > 1 or not self.fresh(ids):
                continue
            if self.classes.key(int(self.classes.colour[ids[0]])) != kind:
                continue
            first = np.zeros(len(side), int)
            first[of[::-1]] = np.arange(len(of))[::-1]
            bias = ids[first]
            if (bias[of] == ids).all() and len(np.unique(bias)) == len(bias):
                side = np.concatenate([side, bias[:, None]], axis=1)
                break
        self.place(kind, side)

    # ---- the end

    def finished(self, results: list[Any]) -> tuple[Tape, list[int | list[int]]]:
        """The program of these results, with its inputs."""
        given: list[tuple[Any, Input]] = []
        sources: list[int | list[int]] = []
        for kind, pool in self.pool.items():
            some = [i for i, x in enumerate(self.tape.inputs) if x.type is None and pool_of(x) == kind]
            self.place(kind, np.array(some))
            data = pool._value
            held = tuple([self.tape.inputs[i].node for i in self.placed[kind]]) if kind == "parameter" else None
            given.append((pool, Input(pool.name, (data.shape, data.dtype), kind == "number", held, data)))
            sources.append(self.placed[kind])
        for i, node in self.arrays.items():
            given.append((node, self.tape.inputs[i]))
            sources.append(i)
        nodes = [x if isinstance(x, Node) else Value(x) if np.ndim(x) == 0 else leaf(x) for x in results]
        found = Tape.of_graph(self.tape.name, given, order_of_all(nodes), nodes)
        return found, sources


def _viewed(node: Any, places: Ids) -> Any:
    """The numbers of an array at these places: itself, a view where they follow a pattern, else a gather."""
    to, size = places.shape, node.size
    start = int(places.flat[0])
    steps = tuple(int(places[(0,) * k + (1,)  + (0,) * (places.ndim - k - 1)]) - start if n > 1 else 0
                  for k, n in enumerate(to))  # fmt: skip
    regular = np.full(to, start)
    for k, step in enumerate(steps):
        regular += (np.arange(to[k]) * step).reshape((-1,) + (1,) * (places.ndim - k - 1))
    if (regular == places).all():
        if places.size == size and (places.reshape(-1) == np.arange(size)).all():
            return node if node.shape == to else reshape.given(to=to)(node)
        if node.ndim == 2 and (cut := _cut(node, start, steps, to)) is not None:
            return cut
        found = nested(steps, to)
        if found is not None and (found[0] or places.size == 1):
            return view.given(offset=start, strides=steps, to=to, size=size)(node)
    flat = node if node.ndim == 1 else reshape.given(to=(size,))(node)
    return index.given(key=(places,))(flat)


def _cut(node: Any, start: int, steps: tuple[int, ...], to: tuple[int, ...]) -> Any:
    """A block of a matrix, one of its rows or columns, or such a block transposed; None if it is none of these."""
    n, m = node.shape
    i, j = divmod(start, m)
    if len(to) == 1 and steps == (1,) and j + to[0] <= m:
        return index.given(key=(i,) if to[0] == m else (i, slice(j, j + to[0])))(node)
    if len(to) == 1 and steps == (m,):
        return index.given(key=(slice(None) if to[0] == n else slice(i, i + to[0]), j))(node)
    if len(to) != 2 or 1 in to or steps not in ((m, 1), (1, m)):
        return None
    rows, columns = to if steps == (m, 1) else to[::-1]
    if j + columns > m:
        return None
    key = [slice(None) if size == whole else slice(k, k + size) for k, size, whole in ((i, rows, n), (j, columns, m))]
    block = node if key == [slice(None)] * 2 else index.given(key=tuple(key))(node)
    return block if steps == (m, 1) else transpose.given(axes=(1, 0))(block)


def _added(parts: Sequence[tuple[int, Any]]) -> Any:
    """The sum of parts with signs."""
    first = next((k for k, (sign, _) in enumerate(parts) if sign > 0), None)
    out = neg(parts[0][1]) if first is None else parts[first][1]
    for k, (sign, x) in enumerate(parts):
        if k != (first or 0):
            out = add(out, x) if sign > 0 else sub(out, x)
    return out


def regrouped(tape: Tape, alike: float = 8.0) -> tuple[Tape, list[int | list[int]]]:
    """The array program of a program, and of which input each of its inputs is, or of which ones.

    Parameters
    ----------
    tape : Tape
        The program.
    alike : float
        How many numbers have to be computed alike, on average; with fewer, arrays are slower than Python's numbers.

    Raises
    ------
    IrregularError
        If there are not so many.
    """
    computed = sum(1 for row, kind in zip(tape.rows, tape.types, strict=True) if row is not None and kind is None)
    with apart():
        found = Regrouping(tape)
        if alike * len(found.active) > computed:
            ways = f"{counted(computed, 'number')}, computed in {counted(len(found.active), 'way')}"
            more = f"; arrays are quicker from {alike:g} of a way on" * (computed > len(found.active))
            raise IrregularError(ways + more)
        return found.run()

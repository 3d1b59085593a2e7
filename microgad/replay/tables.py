"""Pairs of rows as tables: where sums of products are a matrix product."""

from __future__ import annotations

import numpy as np

from .classes import Ids


class Table:
    """Pairs of rows, sorted into a table, or into several of one size: a `batch`.

    Attributes
    ----------
    a, b : array of int, shape (rows, k)
        The rows that differ, those of one table together.
    row, column : array of int
        Which of them the pairs are made of.
    batch : int
        How many tables there are.
    cell : array of int
        Where each pair stands in the tables.
    """

    def __init__(self, a: Ids, b: Ids, row: Ids, column: Ids, batch: int) -> None:
        self.a, self.b, self.row, self.column, self.batch = a, b, row, column, batch
        n, m = len(a) // batch, len(b) // batch
        self.cell = row * m + column % m
        self.unique = len(row) == n * m * batch and len(np.unique(self.cell)) == len(row)

    def turned(self) -> Ids:
        """Where each pair stands in the tables with rows and columns exchanged."""
        n = len(self.a) // self.batch
        found: Ids = self.column * n + self.row % n
        return found


def table_of(a: Ids, b: Ids) -> Table | None:
    """The table that pairs of rows fill; None where they do not."""
    (rows, row), (columns, column) = different(a), different(b)
    n, m = len(rows), len(columns)
    pairs = np.unique(row * m + column)
    if len(pairs) == n * m:
        return Table(rows, columns, row, column, 1)
    i, j = pairs // m, pairs % m
    of_row, of_column = np.arange(n), np.full(m, n)
    for _ in range(4):  # in a full table each row meets each column: twice is enough
        np.minimum.at(of_column, j, of_row[i])
        np.minimum.at(of_row, i, of_column[j])
    if (of_row[i] != of_column[j]).any():
        return None
    names, size = np.unique(of_row, return_counts=True)
    batch = len(names)
    other = np.unique(of_column, return_counts=True)[1]
    if n % batch or m % batch or (size != n // batch).any() or (other != m // batch).any():
        return None
    if len(pairs) != n * m // batch:
        return None
    to_row, to_column = np.argsort(of_row, kind="stable"), np.argsort(of_column, kind="stable")
    new_row, new_column = np.empty(n, int), np.empty(m, int)
    new_row[to_row], new_column[to_column] = np.arange(n), np.arange(m)
    return Table(rows[to_row], columns[to_column], new_row[row], new_column[column], batch)


_MIX = np.random.default_rng(0).integers(1, 2**62, 4096) * 2 + 1  # odd, so that no bit of a place is lost


def different(rows: Ids) -> tuple[Ids, Ids]:
    """The rows that differ, as they first appear, and of each row which one it is."""
    k = rows.shape[1]
    if k > len(_MIX):
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    else:
        mixed = rows[:, 0] if k == 1 else (rows * _MIX[:k]).sum(axis=1)
        _, first, inverse = np.unique(mixed, return_index=True, return_inverse=True)
        if k > 1 and (rows[first][inverse] != rows).any():
            _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), int)
    order = np.argsort(first)
    rank[order] = np.arange(len(first))
    return rows[first[order]], rank[inverse.reshape(-1)]

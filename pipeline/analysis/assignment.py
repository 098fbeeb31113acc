"""The best one-to-one matching of rows to columns.

Written here because it is forty lines and its only other home would be a package of 35 MB.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def best_matching(score: Floats) -> tuple[Ints, Ints]:
    """Rows and columns of the one-to-one matching with the largest sum of `score` [R, C].

    min(R, C) pairs, rows ascending. Hungarian method by shortest augmenting paths (Jonker and
    Volgenant 1987), O(R^2 C) with R <= C.
    """
    if score.shape[0] > score.shape[1]:
        columns, rows = best_matching(score.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    cost = score.max(initial=0.0) - np.asarray(score, np.float64)
    n_rows, n_columns = cost.shape
    row_price, column_price = np.zeros(n_rows), np.zeros(n_columns)
    row_of = np.full(n_columns, -1)
    for row in range(n_rows):
        _augment(cost, row, row_of, row_price, column_price)
    columns = np.flatnonzero(row_of >= 0)
    order = np.argsort(row_of[columns])
    return row_of[columns][order], columns[order]


def _augment(
    cost: Floats, start: int, row_of: Ints, row_price: Floats, column_price: Floats
) -> None:
    """Match row `start` along the cheapest path that ends in a free column; prices stay such that
    cost >= row price + column price, with equality on matched pairs."""
    n_columns = len(row_of)
    distance = np.full(n_columns, np.inf)
    before = np.full(n_columns, -1)  # column before each on its path
    done = np.zeros(n_columns, bool)
    row, last, reached = start, -1, 0.0
    path: list[int] = []
    while True:
        through = reached + cost[row] - row_price[row] - column_price
        better = ~done & (through < distance)
        distance[better], before[better] = through[better], last
        last = int(np.argmin(np.where(done, np.inf, distance)))
        reached = distance[last]
        done[last] = True
        if row_of[last] < 0:
            break
        path.append(last)
        row = row_of[last]
    row_price[start] += reached
    for column in path:
        row_price[row_of[column]] += reached - distance[column]
        column_price[column] -= reached - distance[column]
    while last >= 0:  # turn the path over: each column takes the row of the one before it
        row_of[last] = row_of[before[last]] if before[last] >= 0 else start
        last = int(before[last])

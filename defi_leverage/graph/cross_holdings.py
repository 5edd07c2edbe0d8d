"""Look-through leverage of entities that hold each other: the dollars of base assets behind a dollar of equity.

An account that holds the token of a leveraged vault has that vault's leverage on top of its own, which its direct
leverage hides. Entities hold base assets X and claims H[i, j] on j's equity, and owe D, all in USD; their equity is
E = X + H 1 - D. The exposure of a dollar of equity to base assets solves

    eps = (I - diag(1/E) H)^-1 diag(1/E) X

(the cross-holdings of Elliott, Golub & Jackson, American Economic Review 2014, with debt). A cycle of claims is solved,
never followed: its terms form a geometric series that ends where the spectral radius of diag(1/E) H is below 1. It
cannot reach 1 while nobody's token is claimed beyond its equity and somebody outside the cycle holds a part.

Leverage is never averaged. What has no look-through leverage has no number but a `status`, and is counted apart:

- `negative equity`: equity is not positive
- `endless cycle`: in a cycle of claims whose spectral radius is at least 1
- `claim without value`: holds, directly or not, a claim on one of these
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_array, csr_array, dia_array, eye_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.sparse.linalg import splu

__all__ = ["STATUSES", "LookThrough", "solve_look_through"]

Floats = NDArray[np.float64]

STATUSES = ("", "negative equity", "endless cycle", "claim without value")
_SOLVED, _NEGATIVE, _ENDLESS, _CLAIM = range(4)
_LARGEST = 1e9  # turns of a cycle beyond which its spectral radius is 1 for all that float64 can tell


class LookThrough(NamedTuple):
    """One row an entity; nan where `status` (an index into STATUSES) is not 0. USD, and USD of base a USD of equity."""

    equity: Floats
    direct_leverage: Floats
    look_through_leverage: Floats
    status: NDArray[np.int64]

    def frame(self, index: "pd.Index[str] | None" = None) -> pd.DataFrame:
        """Columns equity_usd, direct_leverage, look_through_leverage, status (a word)."""
        return pd.DataFrame(
            {
                "equity_usd": self.equity,
                "direct_leverage": self.direct_leverage,
                "look_through_leverage": self.look_through_leverage,
                "status": np.array(STATUSES, object)[self.status],
            },
            index=index,
        )


def solve_look_through(base: ArrayLike, claims: "ArrayLike | csr_array", debt: ArrayLike) -> LookThrough:
    """Leverage of n entities that hold `base` (n,), `claims` (n, n; row holds column's token) and owe `debt` (n,), USD.

    Direct leverage is (X + H 1) / E; look-through leverage is eps above. Raises ValueError for shapes that do not fit
    and for amounts that are negative or not finite. Takes one sparse LU factorisation, and one more for each cycle.
    """
    held = csr_array(claims, dtype=float, copy=True)
    held.sum_duplicates()
    held.eliminate_zeros()
    size = int(held.shape[0])
    assets, owed = (np.asarray(values, float) for values in (base, debt))
    for name, values, shape in (("base", assets, (size,)), ("debt", owed, (size,)), ("claims", held, (size, size))):
        if values.shape != shape:
            raise ValueError(f"{name}: shape {values.shape} is not {shape}; one row an entity")
        numbers = np.asarray(held.data if values is held else values, float)
        if not (np.isfinite(numbers) & (numbers >= 0)).all():
            raise ValueError(f"{name}: every amount must be finite and at least 0; write a debt in `debt`")
    claimed = np.asarray(held.sum(axis=1)).ravel()
    equity = assets + claimed - owed
    # the sums have rounding errors: what is left of an equity of nothing is nothing
    status = np.where(equity > 1e-12 * (assets + claimed), _SOLVED, _NEGATIVE)
    inverse = np.divide(1.0, equity, out=np.zeros(size), where=status == _SOLVED)
    share = csr_array(dia_array((inverse[None, :], [0]), shape=(size, size)) @ held)
    status[_endless(share) & (status == _SOLVED)] = _ENDLESS
    status[_holders(held, status != _SOLVED) & (status == _SOLVED)] = _CLAIM
    solved = np.flatnonzero(status == _SOLVED)
    exposure = np.full(size, np.nan)
    if len(solved):
        within = share[solved][:, solved]
        exposure[solved] = splu(csc_array(eye_array(len(solved)) - within)).solve(inverse[solved] * assets[solved])
    direct = np.divide(assets + claimed, equity, out=np.full(size, np.nan), where=status != _NEGATIVE)
    return LookThrough(equity, direct, exposure, status)


def _endless(share: csr_array) -> NDArray[np.bool_]:
    """Entities in a strongly connected block of `share` with a spectral radius of at least 1.

    For a block M >= 0, the radius is below 1 exactly if (I - M) x = 1 has a solution x >= 0 (Berman & Plemmons,
    Nonnegative Matrices, chapter 6: I - M is then a nonsingular M-matrix); x counts the turns that a dollar takes.
    """
    count, block = connected_components(share, directed=True, connection="strong")
    size = np.bincount(block, minlength=count)
    cyclic = size > 1
    cyclic[block[share.diagonal() > 0]] = True
    endless = np.zeros(share.shape[0], bool)
    order = np.argsort(block, kind="stable")
    ends = np.cumsum(size)
    for number in np.flatnonzero(cyclic):
        members = order[ends[number] - size[number] : ends[number]]
        endless[members] = not _ends(share[members][:, members])
    return endless


def _ends(block: csr_array) -> bool:
    try:
        turns = splu(csc_array(eye_array(block.shape[0]) - block)).solve(np.ones(block.shape[0]))
    except RuntimeError:  # exactly singular: a radius of 1
        return False
    return bool((turns > 0).all() and turns.max() < _LARGEST)


def _holders(held: csr_array, of: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Who holds claims on one of these entities, directly or not; the entities themselves too."""
    size = held.shape[0]
    start = np.flatnonzero(of)
    reached = of.copy()
    if len(start):
        # one more node, which leads to all of these, so that one search serves them
        issued = held.T.tocoo()
        rows = np.concatenate([issued.row, np.full(len(start), size)])
        columns = np.concatenate([issued.col, start])
        graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(size + 1, size + 1))
        found = breadth_first_order(graph, size, directed=True, return_predecessors=False)
        reached[found[found < size]] = True
    return reached

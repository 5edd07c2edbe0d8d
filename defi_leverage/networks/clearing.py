"""Clearing and distress: what each can pay when all owe each other, and how losses spread before anyone defaults.

A node is anything that owes or is owed: an owner, a vault, a venue. Clearing asks what each can pay when all are paid
by each other (Eisenberg & Noe 2001, 'Systemic risk in financial systems'; with default costs Rogers & Veraart 2013,
'Failure and rescue in an interbank network'). Linear DebtRank asks how much equity each loses when a claim is worth
less as soon as its debtor is in distress (Bardoscia et al. 2015, 'DebtRank: a microscopic foundation for shock
propagation'). Both are the extreme fixed point of one monotone map, and one function finds it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import block_array, csc_array, csr_array, eye_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.sparse.linalg import splu

from defi_leverage.networks.inputs import Floats, as_matrix, as_vector, refuse, scale

__all__ = ["Clearing", "Distress", "clear_liabilities", "run_debtrank"]

Ints = NDArray[np.int64]

# A node short of its debts by less than this share is solvent: where payments jump, rounding must not decide.
_SOLVENT_WITHIN = 1e-12
# An iteration is at its end when it moves no node by more than rounding, or by next to nothing of its ceiling.
_ROUNDING, _NOTHING = 4e-15, 1e-25
# Damping of a linear solve. Its step is never too far whatever this is, and loops that leak nothing stay solvable.
_DAMPING = 1e-10


@dataclass(frozen=True, eq=False, slots=True)
class Clearing:
    """What the nodes of a network pay, in the unit of its liabilities; one element a node.

    `owed`: all it owes; `payments`: the greatest clearing vector; `least`: the least; `unique`: whether the two are
    equal (to 1e-9 of what is owed); `defaults`: who pays less than it owes at the greatest; `equity`: what is left
    after paying there. `pure_loops`: groups of nodes (indices) that owe only one another and that no external asset
    reaches: what they pay rests on nothing, and without default costs any one share of it, down to 0, clears as well.
    `residual`: the largest change that one more application of the map would make, as a share of what is owed;
    `converged` says whether it is within rounding.
    """

    owed: Floats
    payments: Floats
    least: Floats
    unique: bool
    defaults: NDArray[np.bool_]
    equity: Floats
    pure_loops: tuple[Ints, ...]
    converged: bool
    residual: float
    iterations: int


@dataclass(frozen=True, eq=False, slots=True)
class Distress:
    """Linear DebtRank, one element a node.

    `distress`: share of its equity that a node has lost, at most 1; `equity`: what is left of it, negative where losses
    exceed it. `converged`, `residual` (of the distress) and `iterations` as for Clearing.
    """

    distress: Floats
    equity: Floats
    converged: bool
    residual: float
    iterations: int


def clear_liabilities(
    liabilities: ArrayLike | csr_array,
    external_assets: ArrayLike,
    external_liabilities: ArrayLike = 0.0,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    max_iterations: int = 100_000,
) -> Clearing:
    """Clear a network of debts: the greatest and the least clearing vector.

    `liabilities[i, j]`: what i owes j (n x n, dense or sparse); `external_assets`: what each has besides, and
    `external_liabilities`: what each owes outside of the network, of equal rank (n, or one number for all); all in one
    unit, finite and not negative. With p what is paid, pbar what is owed and Pi = L / pbar, a node whose e + Pi'p
    covers pbar pays pbar, and any other pays alpha * e + beta * Pi'p (Rogers & Veraart 2013). At alpha = beta = 1 (no
    default costs) this is p = min(pbar, e + Pi'p) of Eisenberg & Noe (2001).

    The greatest vector is found from above, the least from below, each by iteration, with a linear solve for a set of
    defaulters (as in their fictitious default algorithms) where it is slow. With default costs the map jumps, and the
    limit from below need not be a fixed point: the search goes on from there. A node short of its debts by less
    than 1e-12 of them is solvent. `converged` is False after `max_iterations`. Raises ValueError for arguments out of
    range.
    """
    debts = as_matrix(liabilities, "liabilities", square=True)
    nodes = debts.shape[0]
    assets = as_vector(external_assets, "external_assets", nodes)
    outside = as_vector(external_liabilities, "external_liabilities", nodes)
    refuse(debts.diagonal() != 0, "liabilities", "of the diagonal must be 0: nobody owes itself")
    for name, kept in (("alpha", alpha), ("beta", beta)):
        if not 0 <= kept <= 1:
            raise ValueError(f"{name} {kept} must be in [0, 1]: the share of its assets that a defaulter pays out")
    owed = debts.sum(axis=1) + outside
    per_owed = np.divide(1.0, owed, out=np.zeros(nodes), where=owed > 0)
    shares = csr_array(scale(debts, rows=per_owed).T)
    above = _fixed_point(assets, shares, owed, alpha, beta, greatest=True, max_iterations=max_iterations)
    below = _fixed_point(assets, shares, owed, alpha, beta, greatest=False, max_iterations=max_iterations)
    payments = above.value
    return Clearing(
        owed=owed,
        payments=payments,
        least=below.value,
        unique=bool((payments - below.value <= 1e-9 * owed).all()),
        defaults=payments < owed * (1 - _SOLVENT_WITHIN),
        equity=np.maximum(assets + shares @ payments - owed, 0.0),
        pure_loops=_find_pure_loops(debts, assets, outside),
        converged=above.converged and below.converged,
        residual=max(above.residual, below.residual),
        iterations=above.iterations + below.iterations,
    )


def _find_pure_loops(debts: csr_array, assets: Floats, outside: Floats) -> tuple[Ints, ...]:
    """Strongly connected groups that owe nobody else, and that nobody with external assets owes, however indirectly.

    At alpha = beta = 1 these are the only reason for which clearing vectors differ: the difference d of two satisfies
    d = Pi'd, as equity is the same in all of them (Eisenberg & Noe 2001, theorem 1).
    """
    nodes = debts.shape[0]
    debts.eliminate_zeros()
    groups, group = connected_components(debts, directed=True, connection="strong")
    edges = debts.tocoo()
    leaves = group[edges.row] != group[edges.col]
    is_open = np.bincount(group, minlength=groups) < 2
    is_open[group[edges.row[leaves]]] = True
    is_open[group[outside > 0]] = True
    source = csr_array((assets > 0).astype(float)[None, :])
    graph = block_array([[debts, csr_array((nodes, 1))], [source, csr_array((1, 1))]], format="csr")
    reached = breadth_first_order(graph, nodes, return_predecessors=False)
    is_open[group[reached[reached < nodes]]] = True
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.searchsorted(group[order], np.arange(1, groups)))
    loops = [members[number].astype(np.int64) for number in np.flatnonzero(~is_open)]
    return tuple(sorted(loops, key=lambda loop: int(loop[0])))


def run_debtrank(
    exposures: ArrayLike | csr_array, equity: ArrayLike, loss: ArrayLike, *, max_iterations: int = 100_000
) -> Distress:
    """Linear DebtRank: the equity that each node loses to a first loss and to the distress of its debtors.

    `exposures[i, j]`: i's claim on j (n x n, dense or sparse); `equity`: before the loss, positive; `loss`: the first
    loss of each (n, or one number); all in one unit, none negative. The least h = min(1, h0 + Lam h), with
    Lam[i, j] = exposures[i, j] / equity[i] and h0 = loss / equity: the end of the dynamics of Bardoscia, Battiston,
    Caccioli & Caldarelli (2015). A node passes its distress on up to 1 and no further, while its own equity goes on
    falling. Raises ValueError for arguments out of range.
    """
    claims = as_matrix(exposures, "exposures", square=True)
    nodes = claims.shape[0]
    capital = as_vector(equity, "equity", nodes)
    refuse(capital <= 0, "equity", "must be positive; leave out what is insolvent before the loss")
    first = as_vector(loss, "loss", nodes) / capital
    relative = scale(claims, rows=1 / capital)
    end = _fixed_point(first, relative, np.ones(nodes), 1.0, 1.0, greatest=False, max_iterations=max_iterations)
    left = capital * (1 - first - relative @ end.value)
    return Distress(end.value, left, end.converged, end.residual, end.iterations)


@dataclass(frozen=True, slots=True)
class _FixedPoint:
    value: Floats
    converged: bool
    residual: float
    iterations: int


def _fixed_point(
    base: Floats,
    matrix: csr_array,
    ceiling: Floats,
    alpha: float,
    beta: float,
    *,
    greatest: bool,
    max_iterations: int,
) -> _FixedPoint:
    """Greatest or least fixed point of x -> ceiling where base + matrix x reaches it, else alpha base + beta matrix x.

    The map is monotone, so that its iterates from the ceiling fall to the greatest fixed point and those from 0 rise
    towards the least. While the set of nodes at their ceiling stands still the map is affine, and where iteration is
    slow a linear solve goes to its end at once: (I - beta A) d = change. Any d >= 0 with d - beta A d <= change keeps
    an iterate on its side of the fixed point; on the way up this holds until the first node reaches its ceiling, and
    the step stops there. That stop is what a jump needs: who reaches its ceiling only in the limit pays in full.
    """
    value = ceiling.copy() if greatest else np.zeros_like(ceiling)
    full = np.full(ceiling.shape, greatest)
    residual, steps = np.inf, 0
    for iteration in range(1, max_iterations + 1):
        received = matrix @ value
        reaches = base + received >= ceiling * (1 - _SOLVENT_WITHIN)
        reaches = (reaches & full) if greatest else (reaches | full)  # in exact arithmetic it is so anyway
        change = np.where(reaches, ceiling, alpha * base + beta * received) - value
        if not np.array_equal(reaches, full):
            full, steps = reaches, 0
        relative = np.divide(np.abs(change), ceiling, out=np.zeros_like(change), where=ceiling > 0)
        residual = float(relative.max(initial=0))
        if (np.abs(change) <= _ROUNDING * value + _NOTHING * ceiling).all():
            return _FixedPoint(np.clip(value + change, 0, ceiling), True, residual, iteration)
        below = np.flatnonzero(~full)
        if steps < max(50, len(below)):  # a solve can cost as much as one step for every unknown
            value, steps = value + change, steps + 1
            continue
        steps = 0
        inner = matrix[below][:, below]
        step = _solve(inner, beta, change[below], -1.0 if greatest else 1.0)
        length = 1.0
        if step is None:
            step = change[below]
        elif not greatest:
            gain, room = inner @ step, (ceiling - base - received)[below]
            length = min(1.0, float(np.divide(room, gain, out=np.ones_like(gain), where=gain > 0).min(initial=1)))
        value[below] = np.maximum(value[below] + length * step, 0.0)
    return _FixedPoint(np.clip(value, 0, ceiling), False, residual, max_iterations)


def _solve(inner: csr_array, beta: float, change: Floats, sign: float) -> Floats | None:
    """d with (I - beta A) d = change, of the sign of `change`; None where A amplifies (spectral radius above 1)."""
    system = eye_array(len(change)) - (1 - _DAMPING) * beta * inner
    try:
        step: Floats = sign * splu(csc_array(system)).solve(change)
    except RuntimeError:  # exactly singular
        return None
    if not np.isfinite(step).all() or step.min(initial=0) < -1e-9 * step.max(initial=0):
        return None
    return sign * np.maximum(step, 0.0)

"""Look-through leverage of a snapshot's accounts, vaults and venues, and of the whole system.

The linear system is that of `cross_holdings`. Who holds what:

- An account holds what it supplies and owes its debts, at the oracle's feed prices; each asset is base, or a vault.
- A vault is a token that is a claim. Where its issuer has accounts here (the owner of the accounts is the token's own
  contract, or the asset_id itself), they are its balance sheet. If more of the token is held here than these accounts
  are worth, the rest is taken as held elsewhere without debt: of a leveraged vault that gives the least leverage that
  is possible, and `attrs["notices"]` says so. Any other token with backing (wrapped, staked, deposited, pooled) is its
  parts, by value, without debt.
- Everything else is base, a coin minted against collateral too: it is a promise of its own price.

A venue, or the system, is the one balance sheet of its accounts: what they hold of each other's equity is taken out,
so that its look-through leverage is base over the equity that outsiders hold. Accounts without a figure (status) are
left out of it and counted: `left_out_accounts`, `left_out_debt_usd`.
"""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, eye_array
from scipy.sparse.linalg import splu

from defi_leverage.graph.cross_holdings import STATUSES, Floats, LookThrough, solve_look_through
from defi_leverage.graph.owners import identify_owners
from defi_leverage.health import leg_values
from defi_leverage.snapshot import Snapshot

__all__ = ["look_through_leverage"]

_Ints = NDArray[np.int64]
_CLAIM = STATUSES.index("claim without value")


class _Sheets(NamedTuple):
    """Balance sheets in USD: of accounts, and of vaults (scaled to whatever is known of them)."""

    vaults: "pd.Index[str]"
    issuer: _Ints  # per account: the vault whose balance sheet it belongs to, or -1
    base: Floats
    claims: csr_array  # accounts x vaults
    debt: Floats
    solved: LookThrough  # vaults
    vault_claims: csr_array  # vaults x vaults
    vault_sheets: pd.DataFrame  # base_usd, claims_usd, debt_usd
    notices: list[str]


def look_through_leverage(
    snapshot: Snapshot,
    level: Literal["account", "vault", "venue", "system"] = "system",
    owners: "pd.Series[str] | None" = None,
) -> pd.DataFrame:
    """One row an account, vault, venue, or the system, indexed by its identifier, in the snapshot's order.

    `owners`: account_id -> owner, by default as `identify_owners` gives it. Columns:
    base_usd and claims_usd (claims on vaults), debt_usd, equity_usd, direct_leverage ((base + claims) / equity),
    look_through_leverage (base behind a dollar of equity), status (see `cross_holdings`). Of a vault without accounts
    here the sums are those of one USD of it. Venues and the system have accounts, left_out_accounts and
    left_out_debt_usd instead of a status, and outside_equity_usd: equity less what their accounts hold of each other.
    Raises ValueError for another level.
    """
    if level not in ("account", "vault", "venue", "system"):
        raise ValueError(f"level={level!r} must be account, vault, venue or system")
    sheets = _balance_sheets(snapshot, owners)
    if level == "vault":
        table = pd.concat([sheets.vault_sheets, sheets.solved.frame(sheets.vaults)], axis=1)
    else:
        accounts = _solve_accounts(sheets)
        named = pd.Index(snapshot.accounts["account_id"], name="account_id")
        table = accounts.frame(named)
        table.insert(0, "base_usd", sheets.base)
        table.insert(1, "claims_usd", np.asarray(sheets.claims.sum(axis=1)).ravel())
        table.insert(2, "debt_usd", sheets.debt)
        if level != "account":
            table = _join_sheets(snapshot, sheets, table, level)
    table.attrs["notices"] = sheets.notices
    return table


def _balance_sheets(snapshot: Snapshot, owners: "pd.Series[str] | None") -> _Sheets:
    legs, value = snapshot.legs, leg_values(snapshot)
    accounts = len(snapshot.accounts)
    account = pd.Index(snapshot.accounts["account_id"]).get_indexer(pd.Index(legs["account_id"]))
    is_debt = (legs["side"] == "debt").to_numpy()
    debt = np.bincount(account, np.where(is_debt, value, 0.0), accounts).astype(np.float64)
    issuer_of = _issuers(snapshot, owners)  # asset_id per account, '' where its owner issues no token
    backing = snapshot.backing[snapshot.backing["kind"] != "minted_against"]
    names = {*issuer_of, *backing["asset_id"]} - {""}
    vaults: pd.Index[str] = pd.Index(sorted(names), name="asset_id", dtype=object)
    vault = vaults.get_indexer(pd.Index(legs["asset_id"]))
    to_base, to_vault = ~is_debt & (vault < 0), ~is_debt & (vault >= 0)
    base = np.bincount(account[to_base], value[to_base], accounts).astype(np.float64)
    claims = csr_array((value[to_vault], (account[to_vault], vault[to_vault])), shape=(accounts, len(vaults)))
    issuer = vaults.get_indexer(pd.Index(issuer_of, dtype=object))

    # the vaults' own sheets: their issuers' accounts and what must be elsewhere, or one USD of their parts
    own = np.flatnonzero(issuer >= 0)
    joins = csr_array((np.ones(len(own)), (issuer[own], own)), shape=(len(vaults), accounts))
    vault_base, vault_debt, vault_claims = joins @ base, joins @ debt, csr_array(joins @ claims)
    equity = vault_base + np.asarray(vault_claims.sum(axis=1)).ravel() - vault_debt
    held = np.asarray(claims.sum(axis=0)).ravel()  # by accounts; how much other tokens hold is not known
    issues = np.isin(np.arange(len(vaults)), issuer)
    elsewhere = np.where(issues & (equity > 0) & (held > equity * (1 + 1e-9)), held - equity, 0.0)
    price = snapshot.assets.set_index("asset_id")["price_usd"]
    part = (backing["units"] * backing["underlying_id"].map(price)).to_numpy(float)
    row, column = (vaults.get_indexer(pd.Index(backing[name])) for name in ("asset_id", "underlying_id"))
    whole = np.bincount(row, part, len(vaults))
    part = part * (np.where(issues, elsewhere, 1.0) / np.where(whole > 0, whole, 1.0))[row]
    vault_base += np.bincount(row[column < 0], part[column < 0], len(vaults)) + np.where(whole > 0, 0.0, elsewhere)
    inner = column >= 0
    parts = csr_array((part[inner], (row[inner], column[inner])), shape=(len(vaults), len(vaults)))
    vault_claims = csr_array(vault_claims + parts)

    symbol = snapshot.assets.set_index("asset_id")["symbol"]
    notices = [
        f"{symbol[vaults[at]]}: {held[at]:,.0f} USD of it are held here, its accounts here are worth "
        f"{equity[at]:,.0f} USD; the rest counts as held without debt, so its leverage is at least what is shown"
        for at in np.flatnonzero((elsewhere > 0) & (vault_debt > 0)).tolist()
    ]
    sheet = {"base_usd": vault_base, "claims_usd": np.asarray(vault_claims.sum(axis=1)).ravel(), "debt_usd": vault_debt}
    solved = solve_look_through(vault_base, vault_claims, vault_debt)
    sheets = pd.DataFrame(sheet, index=vaults)
    return _Sheets(vaults, issuer.astype(np.int64), base, claims, debt, solved, vault_claims, sheets, notices)


def _issuers(snapshot: Snapshot, owners: "pd.Series[str] | None") -> NDArray[np.object_]:
    """Per account the asset_id of the token whose contract owns it, '' where there is none."""
    accounts = snapshot.accounts
    owner = accounts["account_id"].map(identify_owners(snapshot) if owners is None else owners).fillna("")
    asset_id = snapshot.assets["asset_id"]
    # CAIP-19 eip155:1/erc20:0xab... is the token of the contract whose CAIP-10 is eip155:1:0xab...
    contract = asset_id.str.lower().str.replace(r"/erc20:", ":", regex=False)
    token = dict(zip([*contract, *asset_id.str.lower()], [*asset_id, *asset_id], strict=True))
    names = owner.astype(object).str.lower() if len(owner) else owner
    issued: NDArray[np.object_] = names.map(token).fillna("").to_numpy(object)
    return issued


def _solve_accounts(sheets: _Sheets) -> LookThrough:
    """Accounts hold vaults and nobody holds accounts, so that one product does what the system did for vaults."""
    claimed = np.asarray(sheets.claims.sum(axis=1)).ravel()
    assets = sheets.base + claimed
    equity = assets - sheets.debt
    positive = equity > 1e-12 * assets
    unsolved = (sheets.solved.status != 0).astype(float)
    status = np.where(positive, np.where(sheets.claims @ unsolved > 0, _CLAIM, 0), STATUSES.index("negative equity"))
    exposure = sheets.base + sheets.claims @ np.nan_to_num(sheets.solved.look_through_leverage)

    def over_equity(amount: Floats, where: NDArray[np.bool_]) -> Floats:
        ratio: Floats = np.divide(amount, equity, out=np.full(len(equity), np.nan), where=where)
        return ratio

    return LookThrough(equity, over_equity(assets, positive), over_equity(exposure, status == 0), status)


def _join_sheets(snapshot: Snapshot, sheets: _Sheets, table: pd.DataFrame, level: str) -> pd.DataFrame:
    """Sums over the accounts of each venue, or of all, of what is solved; claims on each other's equity taken out."""
    venues = pd.Index(snapshot.venues["venue_id"], name="venue_id")
    group = venues.get_indexer(pd.Index(snapshot.accounts["venue_id"]))
    if level == "system":
        venues, group = pd.Index(["system"], name="system"), np.zeros(len(table), int)
    good = (table["status"] == "").to_numpy()

    def total(values: Floats, of: NDArray[np.bool_] = good) -> Floats:
        sums: Floats = np.bincount(group[of], values[of], len(venues)).astype(np.float64)
        return sums

    equity, exposure = (table[name].to_numpy(float) for name in ("equity_usd", "look_through_leverage"))
    supplied = (table["base_usd"] + table["claims_usd"]).to_numpy(float)
    gross, carried, one = total(equity), equity * np.nan_to_num(exposure), np.ones(len(table))
    outside = gross - _internal_claims(sheets, group, good, equity, len(venues))
    base_behind = total(carried) - _internal_claims(sheets, group, good, carried, len(venues))
    joined = {
        "base_usd": total(table["base_usd"].to_numpy(float)),
        "claims_usd": total(table["claims_usd"].to_numpy(float)),
        "debt_usd": total(sheets.debt),
        "equity_usd": gross,
        "outside_equity_usd": outside,
        "direct_leverage": np.divide(total(supplied), gross, out=np.full(len(gross), np.nan), where=gross > 0),
        "look_through_leverage": np.divide(
            base_behind, outside, out=np.full(len(gross), np.nan), where=outside > 1e-12 * np.abs(gross)
        ),
        "accounts": total(one).astype(int),
        "left_out_accounts": total(one, ~good).astype(int),
        "left_out_debt_usd": total(sheets.debt, ~good),
    }
    return pd.DataFrame(joined, index=venues)


def _internal_claims(
    sheets: _Sheets, group: NDArray[np.int64], good: NDArray[np.bool_], value: Floats, groups: int
) -> Floats:
    """Per group, what its accounts hold, through any tokens, of the `value` of accounts of the same group.

    A holder of a share of a vault's equity holds that share of the value of each of its issuer's accounts.
    """
    internal = np.zeros(groups)
    issuing = np.unique(sheets.issuer[good & (sheets.issuer >= 0)])
    usable = np.flatnonzero(sheets.solved.status == 0)
    issuing = issuing[sheets.solved.status[issuing] == 0]
    if not len(issuing):
        return internal
    # USD of each issuing vault's equity in a USD of each vault: a pass-through token is its parts, an issuer is itself
    passes = sheets.vault_claims[usable][:, usable].tolil()
    at = np.searchsorted(usable, issuing)
    passes[at] = 0
    own = csc_array((np.ones(len(at)), (at, np.arange(len(at)))), shape=(len(usable), len(at))).toarray()
    inside = splu(csc_array(eye_array(len(usable)) - csr_array(passes))).solve(own)
    held = np.where(good[:, None], sheets.claims[:, usable] @ inside, 0.0)
    for column, vault in enumerate(issuing):
        of_issuer = good & (sheets.issuer == vault)
        holders = np.bincount(group, held[:, column], groups)
        worth = np.bincount(group[of_issuer], value[of_issuer], groups)
        internal += holders * worth / sheets.solved.equity[vault]
    return internal

"""What a contagion run found: tables by round, by account, by venue and asset, and a summary of plain numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from defi_leverage.contagion.book import Book, Floats
from defi_leverage.contagion.prices import beyond_range
from defi_leverage.contagion.scenario import Scenario

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from defi_leverage.contagion.records import Liquidations, VenueState

__all__ = ["ContagionResult", "count_toxic"]


@dataclass(frozen=True, eq=False)
class ContagionResult:
    """The end of one run, with its way there.

    `price_path`: market prices, rounds x assets: row 0 before the shock, row r in force in round r, the last row final;
    `shocked_price`: after the shock alone. `book`: as the run started, after rate shocks.
    `exhausted`: symbols of which liquidators would have to buy more than the pool holds, which stopped the run.
    `amount`: tokens a leg of `book` at the end. `net_sales`: tokens by asset that reached the market. `haircut`: share
    of what was supplied that bad debt took, venues x assets.
    """

    scenario: Scenario
    converged: bool
    exhausted: tuple[str, ...]
    book: Book
    price_path: Floats
    shocked_price: Floats
    final_feed_price: Floats
    amount: Floats
    net_sales: Floats
    haircut: Floats
    health_before: Floats
    health_after: Floats
    bad_before: pd.DataFrame
    venue_state: "VenueState"
    rounds_recorded: "tuple[tuple[Liquidations, pd.DataFrame, Floats], ...]"

    @property
    def prices(self) -> pd.DataFrame:
        """Market prices in USD: a row a round (0: before the shock, the last: final), a column an asset_id."""
        index = pd.RangeIndex(len(self.price_path), name="round")
        return pd.DataFrame(self.price_path, index=index, columns=pd.Index(self.book.asset_ids, name="asset_id"))

    @property
    def liquidations(self) -> pd.DataFrame:
        """One row a liquidation: round, account, legs, tokens and USD (at the feed prices of its round).

        A whole account closed is a row for each pair of its legs. Of the debt asset: repaid, of which bought in the
        market, and redistributed (other accounts took it over); of the collateral asset: seized, of which protocol_fee
        was kept and sold reached the market; credit_usd: owed to the owner.
        """
        book = self.book
        frames = [
            pd.DataFrame(
                {
                    "round": number,
                    "account_id": book.account_ids[done.account],
                    "venue_id": book.venue_ids[book.account_venue[done.account]],
                    "health_factor": done.health_factor,
                    "debt_asset_id": book.asset_ids[book.leg_asset[done.debt_leg]],
                    "collateral_asset_id": book.asset_ids[book.leg_asset[done.collateral_leg]],
                    "repaid": done.repaid,
                    "seized": done.seized,
                    "protocol_fee": done.fee,
                    "repaid_usd": done.repaid_usd,
                    "seized_usd": done.seized_usd,
                    "protocol_fee_usd": done.fee_usd,
                    "sold": done.sold,
                    "bought": done.bought,
                    "redistributed": done.moved,
                    "credit_usd": done.credit_usd,
                }
            )
            for number, (done, _, _) in enumerate(self.rounds_recorded, start=1)
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(_LIQUIDATION_COLUMNS))

    @property
    def bad_debt(self) -> pd.DataFrame:
        """One row a debt that was left without collateral: round, account, venue, asset, tokens, USD at feed prices."""
        book = self.book
        frames = [
            pd.DataFrame(
                {
                    "round": number,
                    "account_id": book.account_ids[bad["account"]],
                    "venue_id": book.venue_ids[book.account_venue[bad["account"]]],
                    "asset_id": book.asset_ids[book.leg_asset[bad["leg"]]],
                    "amount": bad["amount"].to_numpy(),
                    "usd": bad["usd"].to_numpy(),
                }
            )
            for number, (_, bad, _) in enumerate(self.rounds_recorded, start=1)
            if len(bad)
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(_BAD_DEBT_COLUMNS))

    @property
    def rounds(self) -> pd.DataFrame:
        """One row a round: accounts liquidated, USD repaid, seized, kept by protocols as fee, and left as bad debt."""
        return pd.DataFrame(
            [
                {
                    "round": number,
                    "accounts": int(np.unique(done.account).size),
                    "repaid_usd": float(done.repaid_usd.sum()),
                    "seized_usd": float(done.seized_usd.sum()),
                    "protocol_fee_usd": float(done.fee_usd.sum()),
                    "bad_debt_usd": float(bad["usd"].sum()),
                }
                for number, (done, bad, _) in enumerate(self.rounds_recorded, start=1)
            ],
            columns=["round", "accounts", "repaid_usd", "seized_usd", "protocol_fee_usd", "bad_debt_usd"],
        )

    @property
    def legs(self) -> pd.DataFrame:
        """Every leg before and after: account_id, side, asset_id, feed_id, amount_before, amount_after (tokens)."""
        book = self.book
        return pd.DataFrame(
            {
                "account_id": book.account_ids[book.leg_account],
                "side": np.where(book.is_debt, "debt", "collateral"),
                "asset_id": book.asset_ids[book.leg_asset],
                "feed_id": book.feed_ids[book.leg_feed],
                "amount_before": book.amount,
                "amount_after": self.amount,
            }
        )

    @property
    def accounts(self) -> pd.DataFrame:
        """Health factor of every account before the shock and at the end, by account_id; inf without debt."""
        return pd.DataFrame(
            {"health_factor_before": self.health_before, "health_factor_after": self.health_after},
            index=pd.Index(self.book.account_ids, name="account_id"),
        )

    @property
    def amplification(self) -> float:
        """Fall in the value of all collateral over the fall that the shock alone causes, at market prices.

        Where one asset is shocked and no other falls, that is its final fall over its shock. Below 1 where purchases of
        repaid debt raise what is also collateral; by asset it is in `summary`. nan where the shock lowers nothing.
        """
        book = self.book
        supplied = np.bincount(
            book.leg_asset[~book.is_debt], weights=book.amount[~book.is_debt], minlength=len(book.price)
        )
        rows = (self.price_path[0], self.shocked_price, self.price_path[-1])
        return _ratio_of_falls(*(float(supplied @ row) for row in rows))

    @property
    def residual(self) -> float:
        """What was still going on when the run stopped: the largest relative change of a price in the last round.

        0 where it converged.
        """
        if self.converged or len(self.price_path) < 2:
            return 0.0
        before, last = self.price_path[-2:]
        change = np.abs(np.divide(last, before, out=np.ones_like(last), where=before > 0) - 1)
        return float(change.max(initial=0.0))

    @property
    def toxic_liquidations(self) -> int:
        """Liquidations that lowered their account's health: weight * seized / repaid above its health factor.

        The dynamic side of `Book.toxic_terms`, which has the source: every account far enough under water has them.
        """
        return sum(count_toxic(self.book, done) for done, _, _ in self.rounds_recorded)

    @property
    def beyond_range(self) -> list[str]:
        """Symbols of assets of which more was sold or bought than their market is known for (see `Impact.covers`)."""
        beyond = beyond_range(self.book, self.net_sales, self.scenario.depth_multiplier)
        return sorted(set(self.book.symbols[beyond]))

    @property
    def haircuts(self) -> pd.DataFrame:
        """Supply shares that bad debt lowers: asset_id, symbol, venue_id, haircut (share of the claim that is lost)."""
        book, final = self.book, self.price_path[-1]
        rows = []
        for claim in book.claims:
            whole = sum(units * final[base] for base, units, _ in claim.backing)
            for venue in sorted({venue for *_, venue in claim.backing if venue >= 0}):
                lost = sum(
                    units * final[base] * self.haircut[venue, base]
                    for base, units, issuer in claim.backing
                    if issuer == venue
                )
                if lost > 0:
                    names = book.asset_ids[claim.asset], book.symbols[claim.asset], book.venue_ids[venue]
                    rows.append((*names, float(lost / whole)))
        return pd.DataFrame(rows, columns=["asset_id", "symbol", "venue_id", "haircut"])

    @property
    def venues(self) -> pd.DataFrame:
        """What each venue fell back on, USD by venue_id: buffer_drawn_usd from its reserves, stability pool or
        insurance fund (negative: they gained), deleveraged_usd from the equity of opposite positions.
        """
        columns = {"buffer_drawn_usd": self.venue_state.drawn, "deleveraged_usd": self.venue_state.levied}
        return pd.DataFrame(columns, index=pd.Index(self.book.venue_ids, name="venue_id"))

    @property
    def missing_depth(self) -> list[str]:
        """Symbols of assets that were sold or bought without any market depth: their prices could not react."""
        book, traded = self.book, np.zeros(len(self.book.price), bool)
        for done, _, _ in self.rounds_recorded:
            if self.scenario.sell_collateral:
                traded[book.leg_asset[done.collateral_leg[done.sold > 0]]] = True
            if self.scenario.buy_debt:
                traded[book.leg_asset[done.debt_leg[done.bought > 0]]] = True
        return sorted(set(book.symbols[traded & book.missing_depth]))

    def summary(self) -> dict[str, Any]:
        """Plain numbers for a report; USD at the feed prices of each round, prices at the market."""
        book, rounds = self.book, self.rounds
        liquidated: NDArray[np.int64] = np.unique(
            np.concatenate([done.account for done, _, _ in self.rounds_recorded] or [np.zeros(0, np.int64)])
        )
        shares = np.zeros(len(book.price), bool)
        shares[[claim.asset for claim in book.claims if any(venue >= 0 for *_, venue in claim.backing)]] = True
        rows = np.stack([self.price_path[0], self.shocked_price, self.price_path[-1]])
        moved = np.flatnonzero((self.price_path != self.price_path[0]).any(axis=0) & ~shares)
        already_bad = self.bad_before
        symbol = dict(zip(book.asset_ids, book.symbols, strict=True))
        bad_price = book.feed_price[book.leg_feed[already_bad["leg"].to_numpy(np.int64)]]
        return {
            "scenario": self.scenario.name,
            "converged": self.converged,
            "residual": self.residual,
            "exhausted": list(self.exhausted),
            "rounds": len(rounds),
            "accounts_liquidated": int(liquidated.size),
            "repaid_usd": float(rounds["repaid_usd"].sum()),
            "seized_usd": float(rounds["seized_usd"].sum()),
            "protocol_fee_usd": float(rounds["protocol_fee_usd"].sum()),
            "bad_debt_usd": float(rounds["bad_debt_usd"].sum()),
            "amplification": self.amplification,
            "buffer_drawn_usd": float(self.venue_state.drawn.sum()),
            "deleveraged_usd": float(self.venue_state.levied.sum()),
            "liquidatable_before": int((self.health_before < 1).sum()),
            "liquidatable_after": int((self.health_after < 1).sum()),
            "bad_debt_before_usd": float((already_bad["amount"].to_numpy() * bad_price).sum()),
            "prices": [
                {
                    "asset_id": str(book.asset_ids[asset]),
                    "symbol": str(book.symbols[asset]),
                    "before_usd": float(self.price_path[0, asset]),
                    "shocked_usd": float(self.shocked_price[asset]),
                    "final_usd": float(self.price_path[-1, asset]),
                    "amplification": _ratio_of_falls(*rows[:, asset].tolist()),
                }
                for asset in moved
            ],
            "haircuts": self.haircuts.to_dict("records"),
            "missing_depth": self.missing_depth,
            "beyond_range": self.beyond_range,
            "toxic": [f"{symbol[asset]} at {venue}" for asset, venue in book.toxic_terms],
            "toxic_liquidations": self.toxic_liquidations,
        }


def count_toxic(book: Book, done: "Liquidations") -> int:
    """Accounts of one round whose liquidation lowered their health (`ContagionResult.toxic_liquidations`)."""
    weight, of_debt = book.weight[done.collateral_leg], book.weight[done.debt_leg]
    lowers = weight * done.seized_usd > done.health_factor * of_debt * done.repaid_usd * (1 + 1e-12)
    return int(np.unique(done.account[lowers & (done.repaid_usd > 0)]).size)


def _ratio_of_falls(base: float, shocked: float, final: float) -> float:
    """The final fall over the fall by the shock alone; nan where the shock lowers nothing."""
    return (base - final) / (base - shocked) if base - shocked > 1e-12 * base else float("nan")


_LIQUIDATION_COLUMNS = (
    "round",
    "account_id",
    "venue_id",
    "health_factor",
    "debt_asset_id",
    "collateral_asset_id",
    "repaid",
    "seized",
    "protocol_fee",
    "repaid_usd",
    "seized_usd",
    "protocol_fee_usd",
    "sold",
    "bought",
    "redistributed",
    "credit_usd",
)
_BAD_DEBT_COLUMNS = ("round", "account_id", "venue_id", "asset_id", "amount", "usd")

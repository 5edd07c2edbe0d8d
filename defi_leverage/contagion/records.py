"""What a round of liquidations leaves behind: rows of liquidations, and what venues have drawn on."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from defi_leverage.contagion.book import Bools, Floats, Ints

__all__ = ["Liquidations", "VenueState", "join", "select"]


@dataclass(frozen=True, slots=True)
class Liquidations:
    """What one round liquidates: index of account and legs, tokens, USD at the feed prices.

    One row an account, or, where a rule closes whole accounts, one for each pair of its debt and collateral legs.
    Of the collateral leg, in tokens: `seized`, of which the protocol keeps `fee` and `sold` reach the market. Of the
    debt leg: `repaid`, for which `bought` have to be bought in the market, and `moved` to other accounts (not repaid).
    `credit_usd` is owed to the account outside its legs.
    """

    account: Ints
    debt_leg: Ints
    collateral_leg: Ints
    health_factor: Floats
    repaid: Floats
    seized: Floats
    fee: Floats
    repaid_usd: Floats
    seized_usd: Floats
    fee_usd: Floats
    sold: Floats
    bought: Floats
    moved: Floats
    credit_usd: Floats


@dataclass(slots=True)
class VenueState:
    """By venue, USD so far: `drawn` from its buffer (reserves, stability pool, insurance fund; negative: gained), and
    `levied` on the equity of opposite positions (auto-deleveraging).
    """

    drawn: Floats
    levied: Floats

    @classmethod
    def start(cls, venues: int) -> "VenueState":
        """Nothing drawn yet."""
        return cls(np.zeros(venues), np.zeros(venues))


def select(done: Liquidations, rows: "Ints | Bools") -> Liquidations:
    """The chosen rows, in that order."""
    return Liquidations(*(getattr(done, item.name)[rows] for item in fields(Liquidations)))


def join(parts: Sequence[Liquidations]) -> Liquidations:
    """All rows, by account."""
    if len(parts) == 1:
        return parts[0]
    joined = Liquidations(
        *(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Liquidations))
    )
    return select(joined, np.argsort(joined.account, kind="stable"))

"""What moves Maker's prices. Only those that the vat has stored can be read: pips answer whom governance lets.

An ilk's price is spot * mat * par: what the spotter put into the vat at its last poke, however far the oracle has moved
since. Kinds, by what the pip is (makerdao/osm, makerdao/median, dapphub/ds-value):

| pip | kind |
|---|---|
| names a source (OSM, LP oracle: src; capped OSM: osm) or what it prices (median: wat) | market |
| a DSValue (owner and authority, no source): somebody pokes a number into it (stablecoins, real-world assets) | fixed |
| of any other make | market, and its `source` says so |

wstETH is a market: its median comes from trades of stETH against ETH (MIP10c3-SP42). The coin counts as par: fixed.
"""

from collections.abc import Sequence
from typing import Literal

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import RAY
from defi_leverage.protocols.maker.system import Ilk, System
from defi_leverage.questions import probe
from defi_leverage.reading import FeedReading

__all__ = ["coin_feed", "read_feeds"]


async def read_feeds(chain: Chain, system: System, ilks: Sequence[Ilk], chain_name: str) -> dict[bytes, FeedReading]:
    """The feed of each ilk, by its key; each ilk of a token has one of its own, as each is poked by itself."""
    abi = load_abi("maker")
    pips = await probe(chain, abi, sorted({ilk.pip for ilk in ilks}), ("src", "osm", "wat", "owner", "authority"))
    feeds = {}
    for ilk in ilks:
        found = pips[ilk.pip]
        kind: Literal["market", "fixed"] = "market"
        note = ""
        if found["src"] is None and found["osm"] is None and found["wat"] is None:
            if found["owner"] is not None and found["authority"] is not None:
                kind, note = "fixed", " a value that is set by hand"
            else:
                note = " of unknown make: taken to follow the market"
        assert ilk.gem is not None
        asset_id = f"{chain_name}/erc20:{ilk.gem.address}"
        feeds[ilk.key] = FeedReading(
            feed_id=f"{asset_id}@{system.vat}/{ilk.name}",
            asset_id=asset_id,
            price_raw=ilk.spot * ilk.mat * system.par,
            price_scale=RAY**3,
            kind=kind,
            source=f"as stored for {ilk.name}, pip {ilk.pip}{note}",
        )
    return feeds


def coin_feed(system: System, chain_name: str) -> FeedReading:
    """The coin's: par, which only governance moves."""
    asset_id = f"{chain_name}/erc20:{system.coin.address}"
    return FeedReading(f"{asset_id}@{system.spotter}", asset_id, system.par, RAY, "fixed", source="par of the spotter")

"""The backing of one chain's assets, composed: walk down, write rows, price what is new, report what is in a circle."""

import logging
from collections.abc import Sequence

from defi_leverage.abi import checksum_address
from defi_leverage.backing.claims import Finding, Token
from defi_leverage.backing.families.exchange_rates import native_coin
from defi_leverage.backing.minted import minted_backing
from defi_leverage.backing.rows import asset_name, claim_rows, keep_priced, new_assets, quote_rows
from defi_leverage.backing.valuation import find_circles, price_assets
from defi_leverage.backing.walk import MOST_DECIMALS, Progress, Walk, follow
from defi_leverage.chain import Chain
from defi_leverage.reading import AssetReading, ClaimsReading, PriceReading, Reading

__all__ = ["read_backing"]

log = logging.getLogger(__name__)

_ISSUED = ("deposited", "minted_against")  # of these the venue itself is the authority


async def read_backing(chain: Chain, readings: Sequence[Reading], progress: Progress | None = None) -> ClaimsReading:
    """What the assets of one chain's readings are claims on, and all that lies behind those.

    Rows that a venue issues itself (deposits, minted coins) are left to its reader. Raises ChainError where the chain
    does not answer.
    """
    chain_name = f"eip155:{chain.chain_id}"
    assets = {asset.asset_id: asset for reading in readings for asset in reading.assets}
    walk = Walk(chain_name, native_coin(chain.chain_id), assets, {asset_id.lower(): asset_id for asset_id in assets})
    issued = {claim.asset_id for reading in readings for claim in reading.backing if claim.kind in _ISSUED}
    await follow(chain, walk, [_token(asset) for asset in assets.values() if _is_token(asset, issued)], progress)
    rows = claim_rows(walk, readings)
    discounted = {walk.asset_id(address) for address, finding in walk.findings.items() if is_discounted(finding)}
    prices = price_assets(readings, rows, quote_rows(walk), discounted)
    kept = keep_priced(walk, rows, prices.keys() | assets.keys(), discounted)
    found = new_assets(walk, kept)
    read = {row.asset_id for row in kept}
    others = [claim for reading in readings for claim in reading.backing if claim.asset_id not in read]
    for circle in find_circles([*kept, *others]):
        names = " > ".join(asset_name(walk, asset_id) for asset_id in (*circle, circle[0]))
        log.warning("%s: backing runs in a circle: %s", chain.name, names)
        walk.gaps[f"backing in a circle {names}"] = "each holds the next one; kept, to be solved as one system"
    return ClaimsReading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        assets=tuple(found),
        prices=tuple(
            PriceReading(asset.asset_id, price.numerator, price.denominator, source)
            for asset in found
            if asset.asset_id not in assets
            for price, source in (prices[asset.asset_id],)
        ),
        backing=(*kept, *minted_backing(readings)),
        gaps=walk.gaps,
    )


def is_discounted(finding: Finding) -> bool:
    return finding.asset_kind == "pt" and any(claim.kind == "staked" for claim in finding.claims)


def _is_token(asset: AssetReading, issued: set[str]) -> bool:
    return "/erc20:" in asset.asset_id and asset.asset_id not in issued and asset.decimals <= MOST_DECIMALS


def _token(asset: AssetReading) -> Token:
    return Token(checksum_address(asset.asset_id.rsplit(":", 1)[1]), asset.symbol, asset.decimals)

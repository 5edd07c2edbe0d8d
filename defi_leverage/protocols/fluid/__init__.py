"""Fluid: every position of every vault of one token against one token, at one block.

Each vault is a venue, and each position, an NFT, an account of its own, `nft:<id>`, of its owner. Fluid liquidates by
ticks: what a vault stores of a position is stale from then on, and Fluid's resolvers settle it, which is what is read.
No view says a position's health: it is collateral times the liquidation price times the threshold over the debt, cut to
a wad; the vault compares ticks of 0.15 %, so that positions that close to 1 may be on either side.

The deployment's address is the VaultResolver; `positions_resolver` is the VaultPositionsResolver, `eth_usd_feed` a
Chainlink aggregator of the chain's own coin in USD. Vaults of smart collateral or debt (types T2 to T4) are left out by
name. Interfaces: Instadapp/fluid-contracts-public, periphery/resolvers vault (commit a9949b4) and vaultPositions
(a10da39). The vaults lend from Fluid's liquidity layer, whose lenders are not read; how its rates follow utilisation
is said in `rate_curves`.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.dollar_symbols import USD_SYMBOLS
from defi_leverage.errors import ReaderError
from defi_leverage.fixed_point import BPS, RAY, WAD, mul_div_down
from defi_leverage.protocols import Progress, silence, without_figures
from defi_leverage.protocols.fluid.price_feeds import Dollar, collateral_feed, dollar_feed, price_tokens
from defi_leverage.protocols.fluid.rate_curves import read_curves
from defi_leverage.protocols.fluid.vaults import RATE_SCALE, Vault, asset_reference, read_vaults
from defi_leverage.questions import ask
from defi_leverage.reading import (
    NO_CAP,
    AccountReading,
    AssetReading,
    Deployment,
    FeedReading,
    LegReading,
    MarketReading,
    RateCurve,
    Reading,
    VenueReading,
)

__all__ = ["OPTIONS", "read"]

OPTIONS = {"positions_resolver": "address", "eth_usd_feed": "address"}
_SLICE = 100  # positions asked for in one call
_TOLERATED = 10**6  # a millionth of a vault's totals may be without a position
_BPS_WAD = WAD // BPS
_BPS_RAY = RAY // BPS
_NO_DEBT = 2**256 - 1

_Position = tuple[int, str, int, int]  # NFT, owner, supply and borrow, raw


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading for each vault that has positions, at the chain's pinned block.

    Prices are USD by the routes of `price_feeds`. What is left out is in one more reading, that of the resolver.
    Raises ReaderError where the addresses are not Fluid's resolvers or the feed has no price, ChainError where the
    chain does not answer.
    """
    tell = progress or silence
    resolver, positions_resolver, feed = (
        _address(deployment, text)
        for text in (deployment.address, *(deployment.options.get(name, "") for name in OPTIONS))
    )
    native = await _native_price(chain, deployment, feed)
    known = await read_vaults(chain, resolver)
    if known is None:
        raise _error(deployment, f"{resolver} lists no vaults on {chain.name} at block {chain.block.number}")
    vaults, gaps = known
    tell("vaults", len(vaults), len(vaults))
    curves = await read_curves(chain, resolver, vaults.values())
    held, unread = await _read_positions(chain, deployment, resolver, positions_resolver, tell)
    prices = price_tokens(vaults.values(), native)
    failed = {f"nft:{nft}": "the resolver does not answer its position" for nft in unread}
    readings = []
    for address, vault in vaults.items():
        why = vault.problem or next(
            (f"no oracle leads to a price of {side.symbol} in USD" for side in (vault.debt, vault.collateral)
             if side.address not in prices), ""
        )  # fmt: skip
        if why:
            gaps[address] = why
        elif held.get(address):
            rest = list(vaults.values()), prices, held[address], curves.get(address)
            readings.append(_reading(chain, deployment, resolver, vault, *rest))
    names = {address: vault.name for address, vault in vaults.items()}
    failed |= {f"nft:{p[0]} in {a}": gaps[a] for a in gaps for p in held.get(a, ()) if p[2] or p[3]}
    shown = {f"{names.get(address, 'vault')} {address}": why for address, why in gaps.items()}
    if shown or failed:
        readings.append(_left_out(chain, deployment, resolver, shown, failed))
    return tuple(readings)


async def _read_positions(
    chain: Chain, deployment: Deployment, resolver: str, positions_resolver: str, progress: Progress
) -> tuple[dict[str, list[_Position]], list[int]]:
    """Settled positions by vault, and the NFTs whose position cannot be read. NFTs are numbered from 1, never burnt."""
    abi = load_abi("fluid")
    (total,) = await ask(chain, abi, [(resolver, "totalPositions", ())])
    if total is None:
        raise _error(deployment, f"{resolver} does not answer totalPositions()")
    slices = [list(range(start, min(start + _SLICE, total + 1))) for start in range(1, total + 1, _SLICE)]
    answers = await ask(chain, abi, [(positions_resolver, "getPositionsForNftIds", (nfts,)) for nfts in slices])
    alone = [nft for nfts, answer in zip(slices, answers, strict=True) if answer is None for nft in nfts]
    answers += await ask(chain, abi, [(positions_resolver, "getPositionsForNftIds", ([nft],)) for nft in alone])
    if total and not any(answers):
        raise _error(deployment, f"{positions_resolver} does not answer getPositionsForNftIds")
    positions: dict[int, _Position] = {row[0]: tuple(row) for rows in answers if rows for row in rows}
    progress("positions", len(positions), total)
    nfts = sorted(positions)
    owners = await ask(chain, abi, [(resolver, "vaultByNftId", (nft,)) for nft in nfts])
    held: dict[str, list[_Position]] = {}
    for nft, vault in zip(nfts, owners, strict=True):
        if positions[nft][2] or positions[nft][3]:
            held.setdefault(vault, []).append(positions[nft])
    return held, [nft for nft in range(1, total + 1) if nft not in positions]


def _reading(
    chain: Chain,
    deployment: Deployment,
    resolver: str,
    vault: Vault,
    vaults: Sequence[Vault],
    prices: Mapping[str, Dollar],
    positions: Sequence[_Position],
    curve: RateCurve | None,
) -> Reading:
    chain_name = f"eip155:{chain.chain_id}"
    asset_ids = {token: f"{chain_name}/{asset_reference(chain.chain_id, token)}" for token in prices}
    dollars = {token: dollar_feed(token, asset_ids[token], resolver, prices) for token in prices}
    collateral, *under = collateral_feed(vault, vaults, dollars, asset_ids[vault.collateral.address])
    debt = dollars[vault.debt.address]
    # The first market feed of an asset is its market price: the one that the most of it relies on.
    own = (dollars[vault.collateral.address],) if collateral.kind == "market" else ()
    feeds = {feed.feed_id: feed for feed in (*own, debt, *under, collateral)}
    return Reading(
        chain=chain_name,
        block_number=chain.block.number,
        block_hash=chain.block.hash,
        block_timestamp=chain.block.timestamp,
        venue=_venue(
            chain, vault.address, f"{deployment.name} {vault.name}", {"absorb_ratio": vault.absorbed_at / BPS}
        ),
        assets=_assets(vault, vaults, feeds, asset_ids),
        feeds=tuple(feeds.values()),
        backing=(),
        markets=(
            MarketReading(
                asset_id=debt.asset_id,
                supply_raw=0,  # the liquidity layer's
                borrow_raw=vault.borrow,
                cash_raw=vault.borrowable,
                borrow_rate_ray=vault.borrow_rate * _BPS_RAY,
                borrow_cap_raw=vault.borrow_limit,
                curve=curve,
            ),
            MarketReading(
                asset_id=collateral.asset_id,
                supply_raw=vault.supply,
                borrow_raw=0,
                cash_raw=vault.withdrawable,
                supply_rate_ray=vault.supply_rate * _BPS_RAY,
                supply_cap_raw=NO_CAP,
            ),
        ),
        accounts=tuple(_account(position, vault, collateral, debt) for position in positions),
        found=len(positions),
        gaps=_missing(vault, positions),
    )


def _account(position: _Position, vault: Vault, collateral: FeedReading, debt: FeedReading) -> AccountReading:
    nft, owner, supply, borrow = position
    worth = mul_div_down(supply, vault.price, RATE_SCALE)
    legs = (
        LegReading(
            "collateral",
            collateral.asset_id,
            collateral.feed_id,
            supply,
            vault.threshold * _BPS_WAD,
            vault.penalty * _BPS_WAD,
        ),
        LegReading("debt", debt.asset_id, debt.feed_id, borrow, WAD),
    )
    health = (
        mul_div_down(supply * vault.price * vault.threshold, WAD, RATE_SCALE * BPS * borrow) if borrow else _NO_DEBT
    )
    return AccountReading(
        address=f"nft:{nft}",
        mode="isolated",
        health_factor_raw=health,
        collateral_base_raw=worth,
        debt_base_raw=borrow,
        legs=tuple(leg for leg in legs if leg.amount_raw),
        owner=owner,
    )


def _assets(
    vault: Vault, vaults: Sequence[Vault], feeds: Mapping[str, FeedReading], asset_ids: Mapping[str, str]
) -> tuple[AssetReading, ...]:
    tokens = {
        asset_ids[side.address]: side
        for one in (*vaults, vault)
        for side in (one.collateral, one.debt)
        if side.address in asset_ids
    }
    assets: dict[str, AssetReading] = {}
    for feed in feeds.values():
        token = tokens[feed.asset_id]
        kind = "usd" if token.symbol.lower() in USD_SYMBOLS else "token"
        if feed.kind == "ratio":
            base = tokens[feeds[feed.base_feed_id].asset_id]
            is_dollar = base.symbol.lower() in USD_SYMBOLS
            kind = "pt" if token.symbol.startswith("PT-") else "vault_share" if is_dollar else "lst"
        assets.setdefault(feed.asset_id, AssetReading(feed.asset_id, token.symbol, token.decimals, kind))
    return tuple(assets.values())


def _missing(vault: Vault, positions: Sequence[_Position]) -> dict[str, str]:
    """That the positions fall short of the vault's totals, less what it has absorbed."""
    pairs = (
        ("supply", sum(position[2] for position in positions), vault.supply, vault.absorbed_supply),
        ("debt", sum(position[3] for position in positions), vault.borrow, vault.absorbed_borrow),
    )
    short = [
        f"{1 - held / total:.2%} of the {name}"
        for name, held, total, absorbed in pairs
        if total - held - absorbed > 1 + len(positions) + total // _TOLERATED
    ]
    return {"positions": f"{' and '.join(short)} is in none that the resolver has"} if short else {}


def _left_out(
    chain: Chain, deployment: Deployment, resolver: str, gaps: dict[str, str], failed: dict[str, str]
) -> Reading:
    """What is missing of all vaults: a reading without figures."""
    return without_figures(chain, _venue(chain, resolver, f"{deployment.name}, vaults left out", {}), gaps, failed)


def _venue(chain: Chain, address: str, name: str, parameters: dict[str, float]) -> VenueReading:
    return VenueReading(
        venue_id=f"eip155:{chain.chain_id}:{address}",
        protocol="fluid",
        name=name,
        address=address,
        revision=1,
        liquidation_rule="fluid",
        liquidation_parameters=dict(parameters),
    )


async def _native_price(chain: Chain, deployment: Deployment, feed: str) -> Dollar:
    answer, description = await ask(
        chain, load_abi("price_feeds"), [(feed, "latestAnswer", ()), (feed, "description", ())]
    )
    (decimals,) = await ask(chain, load_abi("erc20"), [(feed, "decimals", ())])
    if answer is None or answer <= 0 or decimals is None:
        raise _error(deployment, f"the feed {feed} answers no price")
    return Fraction(answer, 10**decimals), f"{description or feed}"


def _address(deployment: Deployment, text: str) -> str:
    try:
        return checksum_address(text)
    except ValueError:
        raise _error(deployment, f"{text!r} is not an address") from None


def _error(deployment: Deployment, fault: str) -> ReaderError:
    return ReaderError(
        f"{fault}. Give Fluid's VaultResolver as the deployment's address, its VaultPositionsResolver as "
        "positions_resolver, and a Chainlink aggregator of the chain's own coin in USD as eth_usd_feed.",
        address=deployment.address,
    )

"""Morpho Blue: every account of every market of one Morpho contract at one block.

Each market is a venue of its own, and the reader returns one reading a market: a market's collateral secures its own
debts alone, its oracle and threshold (LLTV) are its own, and bad debt falls on its own suppliers at once. A market is
`eip155:1:0xBBBB.../0x<market id>`, an account `eip155:1:0x<owner>@0xBBBB.../0x<market id>`.

Amounts are those that the contract would use in a transaction of that block: interest due is added by the market's own
rate model. The contract has no view of an account's health; `arithmetic.health_factor` is the quotient of the two
amounts that it compares. Pre-liquidation contracts, to which a borrower may opt in, are not read.
"""

from dataclasses import replace
from functools import partial

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.protocols import Progress, deployment_error, root_contract, silence
from defi_leverage.protocols.morpho_blue.authorisations import read_authorisations
from defi_leverage.protocols.morpho_blue.markets import read_markets, read_tokens
from defi_leverage.protocols.morpho_blue.oracles import read_oracles
from defi_leverage.protocols.morpho_blue.positions import find_candidates, read_positions
from defi_leverage.protocols.morpho_blue.price_feeds import MarketFeeds, find_leading_feeds, make_feeds
from defi_leverage.protocols.morpho_blue.readings import (
    Scene,
    add_fee_shares,
    left_out_reading,
    market_reading,
    phantom_debt,
)
from defi_leverage.protocols.morpho_blue.usd_prices import price_tokens
from defi_leverage.questions import ask
from defi_leverage.reading import Deployment, Reading

__all__ = ["read"]

_error = partial(
    deployment_error, remedy="Give the address of the Morpho contract itself, and a block after its first market."
)


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading for each market of the Morpho contract that anybody lends to, at the chain's pinned block.

    Prices are USD by the routes of `usd_prices`, kinds of feeds as in `price_feeds`. Markets that cannot be valued, and
    dead ones, are together in one more reading, that of the contract, as its `gaps`, with their accounts in `failed`.
    Raises ReaderError where the address is not Morpho Blue's or has no market yet, ChainError where the chain does not
    answer.
    """
    tell = progress or silence
    morpho, fee_recipient = await _find_morpho(chain, deployment)
    candidates = await find_candidates(chain, morpho, deployment.first_block, fee_recipient, tell)
    markets, gaps = await read_markets(chain, morpho, candidates)
    if not markets and not gaps:
        raise _error(chain, deployment, "has no market with loans")
    tell("markets", len(markets), len(markets))
    found = await read_positions(chain, morpho, {market.id: candidates[market.id] for market in markets}, tell)
    held = {market.id: add_fee_shares(found[market.id], market, fee_recipient) for market in markets}
    sound = [market for market in markets if not market.problem]
    collateral = {market.id: sum(p.collateral for p in held[market.id].values() if p) for market in sound}
    oracles = await read_oracles(chain, {market.oracle: market.price for market in sound if market.price})
    usd = price_tokens(sound, oracles, collateral)
    chain_name = f"eip155:{chain.chain_id}"
    feeds = make_feeds(sound, oracles, collateral, usd, chain_name)
    tokens = {token.address: token for market in markets for token in (market.loan, market.collateral) if token}
    behind = {feed.asset_id.rsplit(":", 1)[1] for own in feeds.values() for feed in own.others}
    tokens |= await read_tokens(chain, behind - tokens.keys())
    leading = find_leading_feeds(sound, feeds, usd, chain_name)
    scene = Scene(chain, deployment, morpho, tokens, leading)
    readings: list[Reading] = []
    failed: dict[str, str] = {}
    for market in markets:
        own = feeds.get(market.id, MarketFeeds())
        if why := market.problem or own.problem or phantom_debt(market, held[market.id], own):
            gaps[f"{market.name} {market.key}"] = why
            failed |= {f"{owner} in {market.key}": why for owner in held[market.id]}
        else:
            readings.append(market_reading(scene, market, own, held[market.id]))
    if gaps:
        readings.append(left_out_reading(scene, gaps, failed))
    owners = {owner for accounts in held.values() for owner in accounts}
    links = await read_authorisations(chain, morpho, deployment.first_block, owners)
    return replace(readings[0], links=links), *readings[1:]


async def _find_morpho(chain: Chain, deployment: Deployment) -> tuple[str, str]:
    """The contract's address, checksummed, and who receives its fees."""
    morpho = await root_contract(chain, deployment, _error)
    (recipient,) = await ask(chain, load_abi("morpho_blue"), [(morpho, "feeRecipient", ())])
    if recipient is None:
        raise _error(chain, deployment, "does not answer feeRecipient()")
    return morpho, recipient

"""Euler v2: every account of every vault on the list of one EVault factory, at one block.

Each vault is a venue: it lends one asset, decides which vaults' shares secure its debts and at what loan-to-value, has
its own oracle and unit of account, and its lenders bear its bad debt. An account is an address on the vault's
connector (EVC), of which each owner has 256. It owes one vault at most; its collateral legs are the shares of other
vaults that it has pledged, at that vault's venue. Shares that secure nothing are a supply at their own vault. Those
that are pledged are there one account together, that of the connector, as if it held them: their owners have them as
collateral elsewhere, and no share counts twice for one owner.

Health is accountLiquidity for liquidation: mid-point prices, LTVs on their ramps at the block. Bid and ask prices and
cool-off times are not read; hooks on liquidations are, and are `gaps`. Interfaces: euler-xyz/euler-vault-kit (commits
432c4b5, aa8db73, 1dad88b, 3289803), euler-xyz/ethereum-vault-connector (1601566), euler-xyz/euler-price-oracle
(dda7da3, 5478632).
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.protocols import Progress, deployment_error, root_contract, silence
from defi_leverage.protocols._tokens import read_tokens
from defi_leverage.protocols.euler_v2.health import mismatch
from defi_leverage.protocols.euler_v2.oracles import Pair, Route, read_routes
from defi_leverage.protocols.euler_v2.positions import Borrower, find_candidates, read_borrowers, read_shares
from defi_leverage.protocols.euler_v2.price_feeds import (
    Relying,
    VaultFeeds,
    choose_dollar_routes,
    make_feeds,
    make_vault_feeds,
)
from defi_leverage.protocols.euler_v2.rate_curves import read_curves
from defi_leverage.protocols.euler_v2.readings import (
    Scene,
    left_out_reading,
    missing_accounts,
    phantom_debt,
    suspended_liquidations,
    vault_reading,
)
from defi_leverage.protocols.euler_v2.vaults import Vault, read_vaults
from defi_leverage.questions import NOBODY, ask_all
from defi_leverage.reading import Deployment, Reading

__all__ = ["read"]

_error = partial(
    deployment_error,
    remedy="Give the address of the EVault factory (eVaultFactory of Euler's interfaces), and a block after its "
    "first vault.",
)

_FINE = 10**9  # so many whole shares are converted
_NO_DECIMALS = 18  # what Euler's adapters take for a unit that does not answer, such as the dollar


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading for each vault of the factory that anybody lends to, the largest debts first.

    Prices are USD by the routes of `price_feeds`. Vaults that cannot be valued, and dead ones, are together in one more
    reading, that of the factory, as its `gaps`, with their borrowers in `failed`. Raises ReaderError where the address
    is no factory of Euler's or has no vault in use, ChainError where the chain does not answer.
    """
    tell = progress or silence
    factory = await root_contract(chain, deployment, _error)
    vaults = await read_vaults(chain, factory)
    if not vaults:
        raise _error(chain, deployment, "has no vault in use" if vaults == {} else "keeps no list of vaults")
    tell("vaults", len(vaults), len(vaults))
    connectors = {vault.connector for vault in vaults.values()} - {NOBODY}
    owing, holding, owners = await find_candidates(chain, connectors, list(vaults), deployment.first_block, tell)
    shares = await read_shares(chain, holding, tell)
    borrowers = await read_borrowers(chain, {a: v for a, v in vaults.items() if not v.problem}, owing, tell)
    routes = await read_routes(chain, _wanted(vaults, borrowers))
    _judge_unpriced(vaults, borrowers, routes)
    places = await _places(chain, vaults, routes)
    dollars = choose_dollar_routes(_relying(vaults, borrowers, routes, places))

    chain_name = f"eip155:{chain.chain_id}"
    sound: dict[str, tuple[Vault, VaultFeeds]] = {}
    gaps: dict[str, str] = {}
    failed: dict[str, str] = {}
    for address, vault in vaults.items():
        debts = borrowers.get(address, [])
        feeds = VaultFeeds(problem=vault.problem)
        if not vault.problem:
            own = _own_routes(vault, debts, routes)
            feeds = make_vault_feeds(vault, own, dollars, chain_name)
        why = feeds.problem
        if not why:
            why = phantom_debt(vault, debts, Fraction(feeds.asset[0].price_raw, feeds.asset[0].price_scale))
        if why:
            gaps[f"{vault.share.symbol} {address}"] = why
            failed |= {f"{one.account} at {address}": why for one in debts}
        else:
            sound[address] = vault, feeds
    converted = await ask_all(
        chain,
        load_abi("euler_v2"),
        [(a, "convertToAssets", (_FINE * 10**vault.share.decimals,)) for a, (vault, _) in sound.items()],
    )
    leading = {
        f"{chain_name}/erc20:{token}": made
        for token, route in dollars.items()
        if (made := make_feeds(route, chain_name))
    }
    named = {
        feed.asset_id.rsplit(":", 1)[1]
        for feed in (
            *(feed for made in leading.values() for feed in made),
            *(feed for _, f in sound.values() for made in (f.asset, *(f.collaterals or {}).values()) for feed in made),
        )
    }
    scene = Scene(
        chain=chain,
        deployment=deployment,
        factory=factory,
        venues={address: vault for address, (vault, _) in sound.items()},
        tokens=await read_tokens(chain, named),
        leading=leading,
        claims={address: answer[0] for address, answer in zip(sound, converted, strict=True) if answer},
        claim_scale=_FINE,
        owners=owners,
        curves=await read_curves(chain, {address: vault for address, (vault, _) in sound.items()}),
    )
    readings = await _readings(scene, vaults, sound, borrowers, shares, routes, places)
    readings.sort(key=lambda reading: (-_borrowed_usd(reading), reading.venue.venue_id))
    return (*readings, left_out_reading(scene, gaps, failed)) if gaps else tuple(readings)


async def _readings(
    scene: Scene,
    vaults: Mapping[str, Vault],
    sound: Mapping[str, tuple[Vault, VaultFeeds]],
    borrowers: Mapping[str, Sequence[Borrower]],
    shares: Mapping[str, Mapping[str, int | None]],
    routes: Mapping[Pair, Route],
    places: dict[str, int],
) -> list[Reading]:
    kept: dict[str, list[Borrower]] = {}
    failed: dict[str, dict[str, str]] = {}
    pledged: dict[tuple[str, str], int] = {}  # vault of the shares, account
    for address, (vault, _) in sound.items():
        kept[address], failed[address] = [], {}
        own = {
            token: route for token, route in _own_routes(vault, borrowers[address], routes).items() if route is not None
        }
        for one in borrowers[address]:
            why = one.fault or mismatch(one, vault, places, places[vault.unit], own)
            if why:
                failed[address][one.account] = why
            else:
                kept[address].append(one)
                pledged |= {(token, one.account): amount for token, amount in one.held.items()}
    held: dict[str, dict[str, int]] = {address: {} for address in sound}
    for address, (vault, _) in sound.items():
        for account, amount in shares[address].items():
            if amount is None:
                failed[address][account] = "its shares cannot be read"
                continue
            secured = min(amount, pledged.get((address, account), 0))
            for owner, part in ((account, amount - secured), (vault.connector, secured)):
                held[address][owner] = held[address].get(owner, 0) + part
    pairs = [(address, account) for address in held for account in held[address]]
    asked = [(address, "convertToAssets", (held[address][account],)) for address, account in pairs]
    lent: dict[str, dict[str, int]] = {address: {} for address in sound}
    for (address, account), answer in zip(pairs, await ask_all(scene.chain, load_abi("euler_v2"), asked), strict=True):
        if answer is None:
            failed[address][account] = "the vault does not convert its shares"
        else:
            lent[address][account] = answer[0]
    first_block = scene.deployment.first_block
    return [
        vault_reading(
            scene,
            vault,
            feeds,
            kept[address],
            lent[address],
            failed[address],
            missing_accounts(vault, shares[address], borrowers[address], first_block)
            | suspended_liquidations(vault, borrowers[address], vaults),
        )
        for address, (vault, feeds) in sound.items()
    ]


def _wanted(vaults: Mapping[str, Vault], borrowers: Mapping[str, Sequence[Borrower]]) -> set[Pair]:
    """What oracles are asked about: each vault's asset, and the collateral that its borrowers have."""
    return {
        (vault.oracle, token, vault.unit)
        for address, vault in vaults.items()
        if not vault.problem
        for token in (vault.asset.address, *(token for one in borrowers[address] for token in one.held))
    }


def _judge_unpriced(
    vaults: Mapping[str, Vault], borrowers: Mapping[str, Sequence[Borrower]], routes: Mapping[Pair, Route]
) -> None:
    """Collateral without a price is its holders' fault alone, as accountLiquidity reverts for nobody else.

    With an LTV of 0 it is taken away: the vault does not ask for a price then, and without one nobody can seize it.
    """
    for address, debts in borrowers.items():
        vault = vaults[address]
        for one in debts:
            for token in [token for token in one.held if (vault.oracle, token, vault.unit) not in routes]:
                if vault.ltvs[token]:
                    one.fault = one.fault or f"the oracle does not price its {token}"
                else:
                    del one.held[token]
                    one.quotes.pop(token, None)


def _own_routes(vault: Vault, borrowers: Sequence[Borrower], routes: Mapping[Pair, Route]) -> dict[str, Route | None]:
    tokens = (vault.asset.address, *sorted({token for one in borrowers if not one.fault for token in one.held}))
    return {token: routes.get((vault.oracle, token, vault.unit)) for token in tokens}


def _relying(
    vaults: Mapping[str, Vault],
    borrowers: Mapping[str, Sequence[Borrower]],
    routes: Mapping[Pair, Route],
    places: Mapping[str, int],
) -> list[Relying]:
    """How much is priced by each route: what is owed, and what is pledged."""
    found = []
    for address, vault in vaults.items():
        if vault.problem:
            continue
        amounts = {vault.asset.address: vault.borrows}
        for one in borrowers[address]:
            for token, amount in one.held.items():
                amounts[token] = amounts.get(token, 0) + amount
        for token, amount in amounts.items():
            route = routes.get((vault.oracle, token, vault.unit))
            if route:
                found.append(Relying(route, vault.unit, Fraction(amount, 10 ** places[token])))
    return found


async def _places(chain: Chain, vaults: Mapping[str, Vault], routes: Mapping[Pair, Route]) -> dict[str, int]:
    """Decimals of every token and unit on the way; a unit that does not answer has 18."""
    named = {vault.unit for vault in vaults.values()} | {token for pair in routes for token in pair[1:]}
    named |= {token for route in routes.values() for hop in route for token in (hop.source, hop.target)}
    found = await read_tokens(chain, named | {vault.asset.address for vault in vaults.values()})
    return {address: token.decimals if not token.problem else _NO_DECIMALS for address, token in found.items()}


def _borrowed_usd(reading: Reading) -> Fraction:
    market = reading.markets[0]
    decimals = next(asset.decimals for asset in reading.assets if asset.asset_id == market.asset_id)
    feed = next(feed for feed in reading.feeds if feed.asset_id == market.asset_id)
    return Fraction(feed.price_raw * market.borrow_raw, feed.price_scale * 10**decimals)

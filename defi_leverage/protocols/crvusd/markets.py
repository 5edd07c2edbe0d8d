"""The markets of a factory of crvUSD (ControllerFactory) or of LlamaLend (OneWayLendingFactory)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols._tokens import Token, read_tokens
from defi_leverage.questions import NOBODY, ask, ask_list, probe

__all__ = ["Factory", "Market", "find_factory", "read_markets"]

_CONTROLLER = ("amm", "collateral_token", "borrowed_token", "liquidation_discount", "total_debt")
_AMM = ("A", "rate", "active_band", "price_oracle", "price_oracle_contract", "admin_fees_x", "admin_fees_y")
_ORACLE = ("AGG", "STABLESWAP_AGGREGATOR", "stableswap_aggregator", "VAULT")


@dataclass(frozen=True, slots=True)
class Factory:
    """The root contract. `mints`: its markets mint the stablecoin; else each lends what its vault has."""

    address: str
    stablecoin: str
    mints: bool
    controllers: tuple[str, ...]
    vaults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Market:
    """One controller with its AMM. Raw amounts; `price` of the oracle, wad; `rate` a second, wad.

    `aggregator` is the price of the stablecoin in USD that the oracle multiplies by, "" where it does not; `share_rate`
    is (underlying token, its raw units for one whole share) where the oracle prices a vault's share by that.
    `problem`: why it cannot be read, or valued.
    """

    controller: str
    amm: str
    vault: str
    collateral: Token
    borrowed: Token
    amplification: int
    discount: int
    price: int
    oracle: str
    aggregator: str
    aggregated: int
    share_rate: tuple[Token, int] | None
    active_band: int
    rate: int
    total_debt: int
    ceiling: int | None
    held_collateral: int
    held_borrowed: int
    problem: str = ""

    @property
    def name(self) -> str:
        """For people: wstETH/crvUSD."""
        return f"{self.collateral.symbol}/{self.borrowed.symbol}"


async def find_factory(chain: Chain, address: str) -> Factory | None:
    """The factory at an address, None where there is none."""
    abi = load_abi("crvusd")
    names = ("stablecoin", "STABLECOIN", "n_collaterals", "market_count")
    told = (await probe(chain, abi, [address], names))[address]
    mints = told["n_collaterals"] is not None
    stablecoin = told["stablecoin"] or told["STABLECOIN"]
    if stablecoin is None or (not mints and told["market_count"] is None):
        return None
    count = "n_collaterals" if mints else "market_count"
    controllers = await ask_list(chain, abi, address, count, "controllers") or []
    vaults = [] if mints else await ask_list(chain, abi, address, count, "vaults") or []
    if None in controllers or None in vaults:
        raise ReaderError(f"{address} does not name all of its markets.", address=address)
    return Factory(address, stablecoin, mints, tuple(controllers), tuple(vaults))


async def read_markets(chain: Chain, factory: Factory) -> list[Market]:
    """All markets of a factory, those with a `problem` too."""
    abi, erc20 = load_abi("crvusd"), load_abi("erc20")
    controllers = await probe(chain, abi, list(factory.controllers), _CONTROLLER)
    for told in controllers.values():
        told["borrowed_token"] = told["borrowed_token"] or factory.stablecoin  # the first controllers do not say it
    amms = await probe(chain, abi, _addresses(controllers, "amm"), _AMM)
    oracles = await probe(chain, abi, _addresses(amms, "price_oracle_contract"), _ORACLE)
    aggregators = {oracle: _first(told, _ORACLE[:3]) for oracle, told in oracles.items()}
    aggregated = await probe(chain, abi, sorted(set(aggregators.values()) - {""}), ("price",))
    rates = await _share_rates(
        chain, {told["VAULT"] for told in oracles.values() if told["VAULT"] not in (None, NOBODY)}
    )
    wanted = {told[key] for told in controllers.values() for key in ("collateral_token", "borrowed_token") if told[key]}
    tokens = await read_tokens(chain, wanted)
    ceilings = await ask(chain, abi, [(factory.address, "debt_ceiling", (key,)) for key in factory.controllers])
    sides = [
        (told[key], told["amm"]) for told in controllers.values() for key in ("collateral_token", "borrowed_token")
    ]
    balances = iter(await ask(chain, erc20, [(token or NOBODY, "balanceOf", (amm or NOBODY,)) for token, amm in sides]))
    markets = []
    for place, controller in enumerate(factory.controllers):
        told, held = controllers[controller], (next(balances), next(balances))
        amm = amms.get(told["amm"], dict.fromkeys(_AMM))
        oracle = amm["price_oracle_contract"] or ""
        aggregator = aggregators.get(oracle, "")
        row = {**told, **amm, "oracle": oracle, "aggregator": aggregator}
        row["aggregated"] = aggregated[aggregator]["price"] if aggregator else None
        row["ceiling"] = ceilings[place] if factory.mints else None
        row["share_rate"] = rates.get(oracles[oracle]["VAULT"]) if oracle else None
        row["vault"] = "" if factory.mints else factory.vaults[place]
        markets.append(_market(controller, row, tokens, held))
    return markets


def _market(
    controller: str, row: Mapping[str, Any], tokens: Mapping[str, Token], held: tuple[int | None, int | None]
) -> Market:
    nothing = Token("", "?", 0, "its controller does not say its tokens")
    collateral, borrowed = tokens.get(row["collateral_token"], nothing), tokens.get(row["borrowed_token"], nothing)
    silent = [name for name in (*_CONTROLLER, *_AMM[:3], *_AMM[5:]) if row[name] is None]
    problems = (
        (bool(silent), f"its contracts do not answer {', '.join(f'{name}()' for name in silent)}"),
        (bool(collateral.problem), collateral.problem),
        (bool(borrowed.problem), borrowed.problem),
        (max(collateral.decimals, borrowed.decimals) > 18, "a token of more than 18 decimals"),
        (row["price_oracle"] is None, "its price oracle reverts"),
        (row["price_oracle"] == 0, "its price oracle answers 0"),
        (None in held, "its tokens do not say what the AMM holds"),
        (row["A"] is not None and row["A"] < 2, "its A is below 2"),
    )
    share_rate = row["share_rate"]
    return Market(
        controller=controller,
        amm=row["amm"] or "",
        vault=row["vault"],
        collateral=collateral,
        borrowed=borrowed,
        amplification=row["A"] or 0,
        discount=row["liquidation_discount"] or 0,
        price=row["price_oracle"] or 0,
        oracle=row["oracle"],
        aggregator=row["aggregator"] if row["aggregated"] else "",
        aggregated=row["aggregated"] or 0,
        share_rate=share_rate[1:] if share_rate and share_rate[0] == collateral.address else None,
        active_band=row["active_band"] or 0,
        rate=row["rate"] or 0,
        total_debt=row["total_debt"] or 0,
        ceiling=row["ceiling"],
        held_collateral=max(0, (held[0] or 0) - (row["admin_fees_y"] or 0)),
        held_borrowed=max(0, (held[1] or 0) - (row["admin_fees_x"] or 0)),
        problem=next((why for wrong, why in problems if wrong), ""),
    )


async def _share_rates(chain: Chain, vaults: set[str]) -> dict[str, tuple[str, Token, int]]:
    """Vault -> (vault, underlying token, raw underlying for one whole share)."""
    abi = load_abi("crvusd")
    assets = {key: told["asset"] for key, told in (await probe(chain, abi, sorted(vaults), ("asset",))).items()}
    known = {key: asset for key, asset in assets.items() if asset}
    tokens = await read_tokens(chain, {*known, *known.values()})
    shares = [key for key in sorted(known) if not tokens[key].problem and not tokens[known[key]].problem]
    answers = await ask(chain, abi, [(key, "convertToAssets", (10 ** tokens[key].decimals,)) for key in shares])
    return {key: (key, tokens[known[key]], answer) for key, answer in zip(shares, answers, strict=True) if answer}


def _addresses(told: Mapping[str, Mapping[str, Any]], key: str) -> list[str]:
    return sorted({answers[key] for answers in told.values() if answers[key]})


def _first(told: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((str(told[name]) for name in names if told[name] not in (None, NOBODY)), "")

"""The reserves of an Aave v3 market and its e-mode categories at the pinned block."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import BPS, RAY
from defi_leverage.protocols.aave_v3.pool import Pool
from defi_leverage.questions import NOBODY, Question, ask, decode, decode_symbol
from defi_leverage.reading import NO_CAP

__all__ = ["Category", "Reserve", "describe_reserves", "read_categories", "read_reserves"]

# A strategy of 3.0, one for each reserve; since 3.1 one for all answers getInterestRateDataBps instead.
_CURVE = ("OPTIMAL_USAGE_RATIO", "getBaseVariableBorrowRate", "getVariableRateSlope1", "getVariableRateSlope2")
_WITHOUT_DISCOUNT = 8  # from 3.4 on GHO's debt is as any other
_ISOLATION_ENDS = 11  # 3.7 has no isolation mode, and the bits of the debt ceiling mean nothing


@dataclass(frozen=True, slots=True)
class Reserve:
    """One asset of the market. Amounts in its raw units, indices in ray, the price in the oracle's unit.

    The properties decode the configuration's bits; source: ReserveConfiguration.sol.
    """

    index: int
    asset: str
    symbol: str
    configuration: int
    a_token: str
    a_token_symbol: str
    variable_debt_token: str
    stable_debt_token: str  # "" where no stable debt counts (3.2 and later)
    treasury: str  # "" where unknown
    income: int
    debt_index: int
    supply_rate: int  # in ray, a year
    borrow_rate: int  # of variable debt; stable debt has a rate for each account
    price: int
    source: str
    supply: int
    borrow: int
    cash: int
    deficit: int
    discounted: bool  # the debt's value is the token's balanceOf (GHO in 3.3), not scaled balance times index
    problem: str  # why the reserve cannot be valued; "" where it can
    unbacked: int = 0  # minted without the underlying (3.0 to 3.3)
    grace_until: int = 0  # UTC seconds up to which nobody who uses it is liquidated (3.1 and later)
    curve: tuple[int, int, int, int] | None = None  # optimal utilisation, base rate, slopes below and above it, in ray
    stable_borrow: int = 0  # of what is borrowed: the stable debt
    stable_rate: int | None = None  # what that pays on average, in ray a year

    @property
    def threshold_bps(self) -> int:
        """Liquidation threshold outside e-mode."""
        return self.configuration >> 16 & 0xFFFF

    @property
    def bonus_bps(self) -> int:
        """Liquidation bonus outside e-mode, 100 % included; 0 where the asset is no collateral."""
        return self.configuration >> 32 & 0xFFFF

    @property
    def decimals(self) -> int:
        """Decimals that the protocol values the asset with."""
        return self.configuration >> 48 & 0xFF

    @property
    def borrow_cap(self) -> int:
        """Most that may be borrowed, in the token's raw units; NO_CAP where the pool has none."""
        return self._cap(80)

    @property
    def supply_cap(self) -> int:
        """Most that may be supplied, in the token's raw units; NO_CAP where the pool has none."""
        return self._cap(116)

    def _cap(self, first_bit: int) -> int:
        # 36 bits of whole tokens, 0 for none
        return (self.configuration >> first_bit & (1 << 36) - 1) * 10**self.decimals or NO_CAP

    @property
    def is_paused(self) -> bool:
        """Whether nothing can be done with it, liquidations included."""
        return bool(self.configuration >> 60 & 1)

    @property
    def reserve_factor_bps(self) -> int:
        """Share of the interest that the protocol keeps."""
        return self.configuration >> 64 & 0xFFFF

    @property
    def protocol_fee_bps(self) -> int:
        """Share of the liquidation bonus that the protocol keeps."""
        return self.configuration >> 152 & 0xFFFF

    @property
    def category(self) -> int:
        """The one e-mode category of the asset up to 3.1; 0 is none."""
        return self.configuration >> 168 & 0xFF

    @property
    def debt_ceiling(self) -> int:
        """Debt ceiling in isolation mode; 0 where the asset is not isolated."""
        return self.configuration >> 212 & (1 << 40) - 1


@dataclass(frozen=True, slots=True)
class Category:
    """An e-mode category: its members as a bitmap of reserve indices, and its own price source up to 3.1."""

    index: int
    threshold_bps: int
    bonus_bps: int
    members: int
    price_source: str = NOBODY
    price: int = 0  # 0: the members' own prices apply


async def read_reserves(chain: Chain, pool: Pool) -> tuple[list[Reserve], dict[str, str]]:
    """The market's reserves, and the assets not even the pool describes, with the reason."""
    abi = load_abi("aave_v3")
    assets = (await ask(chain, abi, [(pool.address, "getReservesList", ())]))[0] or ()
    described = await ask(chain, abi, [(pool.address, "getReserveData", (asset,)) for asset in assets])
    return await describe_reserves(chain, pool, assets, described)


async def describe_reserves(
    chain: Chain, pool: Pool, assets: Sequence[str], described: Sequence[tuple[Any, ...] | None]
) -> tuple[list[Reserve], dict[str, str]]:
    """The reserves of these assets, of each of which the pool says what is in `described`, as getReserveData of v3."""
    known = [(asset, data) for asset, data in zip(assets, described, strict=True) if data is not None]
    answers = await _answers(chain, pool, known)
    reserves = [_reserve(pool, asset, data, found) for (asset, data), found in zip(known, answers, strict=True)]
    described_assets = {asset for asset, _ in known}
    missing = [asset for asset in assets if asset not in described_assets]
    return reserves, dict.fromkeys(missing, "the pool does not answer getReserveData")


async def _answers(chain: Chain, pool: Pool, known: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """What the pool, the oracle and the tokens answer about each reserve."""
    calls: list[tuple[int, str, str, Question]] = []  # reserve, name of the answer, ABI, question
    for at, (asset, data) in enumerate(known):
        a_token, stable, variable, strategy = data[8:12]
        one = (asset,)
        calls += [
            (at, "income", "aave_v3", (pool.address, "getReserveNormalizedIncome", one)),
            (at, "debt_index", "aave_v3", (pool.address, "getReserveNormalizedVariableDebt", one)),
            (at, "cash", "aave_v3", (pool.address, "getVirtualUnderlyingBalance", one)),
            (at, "balance", "erc20", (asset, "balanceOf", (a_token,))),
            (at, "deficit", "aave_v3", (pool.address, "getReserveDeficit", one)),
            (at, "grace_until", "aave_v3", (pool.address, "getLiquidationGracePeriod", one)),
            (at, "price", "aave_v3", (pool.oracle, "getAssetPrice", one)),
            (at, "source", "aave_v3", (pool.oracle, "getSourceOfAsset", one)),
            (at, "symbol", "erc20", (asset, "symbol", ())),
            (at, "decimals", "erc20", (asset, "decimals", ())),
            (at, "a_token_symbol", "erc20", (a_token, "symbol", ())),
            (at, "supply", "erc20", (a_token, "totalSupply", ())),
            (at, "treasury", "aave_v3", (a_token, "RESERVE_TREASURY_ADDRESS", ())),
            (at, "variable_debt", "erc20", (variable, "totalSupply", ())),
            (at, "curve_bps", "aave_v3", (strategy, "getInterestRateDataBps", one)),
            *((at, name, "aave_v3", (strategy, name, ())) for name in _CURVE),
        ]
        if _counts_stable_debt(pool, stable):
            calls.append((at, "stable_debt", "erc20", (stable, "totalSupply", ())))
            calls.append((at, "stable_rate", "aave_v3", (stable, "getAverageStableRate", ())))
    encoded = [(to, load_abi(family).encode(name, *arguments)) for _, _, family, (to, name, arguments) in calls]
    found: list[dict[str, Any]] = [{} for _ in known]
    for (at, key, family, (_, name, _)), answer in zip(calls, await chain.call(encoded), strict=True):
        found[at][key] = decode_symbol(answer) if key.endswith("symbol") else decode(load_abi(family), name, answer)
    return found


def _counts_stable_debt(pool: Pool, token: str) -> bool:
    # Later releases answer the address of a stand-in, or of the old token, that the health factor ignores.
    return token != NOBODY and not pool.has_liquid_categories


def _reserve(pool: Pool, asset: str, data: tuple[Any, ...], found: Mapping[str, Any]) -> Reserve:
    configuration, index, (a_token, stable, variable) = data[0], data[7], data[8:11]
    decimals = configuration >> 48 & 0xFF
    problems = [
        (found["income"] is None or found["debt_index"] is None, "the pool does not answer its interest indices"),
        (found["decimals"] is None, "the token does not answer decimals()"),
        (found["decimals"] != decimals, f"the token has {found['decimals']} decimals, the pool counts {decimals}"),
        (found["price"] is None, "the oracle reverts"),
        (found["price"] == 0, "the oracle answers a price of 0"),
        (found["supply"] is None or found["variable_debt"] is None, "its tokens do not answer totalSupply()"),
        (found.get("stable_debt", 0) is None, "its stable debt token does not answer totalSupply()"),
    ]
    has_virtual_balance = configuration >> 252 & 1
    return Reserve(
        index=index,
        asset=asset,
        symbol=found["symbol"] or f"{asset[:6]}..{asset[-4:]}",
        configuration=configuration if pool.revision < _ISOLATION_ENDS else configuration & ~((1 << 40) - 1 << 212),
        a_token=a_token,
        a_token_symbol=found["a_token_symbol"] or f"a{found['symbol'] or asset[:6]}",
        variable_debt_token=variable,
        stable_debt_token=stable if _counts_stable_debt(pool, stable) else "",
        treasury=found["treasury"] if found["treasury"] not in (None, NOBODY) else "",
        income=found["income"] or 0,
        debt_index=found["debt_index"] or 0,
        supply_rate=data[2],
        borrow_rate=data[4],
        price=found["price"] or 0,
        source=found["source"] if found["source"] not in (None, NOBODY) else pool.oracle,
        supply=found["supply"] or 0,
        borrow=(found["variable_debt"] or 0) + (found.get("stable_debt") or 0),
        cash=found["cash"] if found["cash"] is not None else found["balance"] or 0,
        deficit=found["deficit"] or 0,
        discounted=pool.has_deficit and pool.revision < _WITHOUT_DISCOUNT and not has_virtual_balance,
        problem=next((why for wrong, why in problems if wrong), ""),
        unbacked=data[13] if len(data) > 13 else 0,  # v2 has none
        grace_until=found["grace_until"] or 0,
        curve=_curve(found),
        stable_borrow=found.get("stable_debt") or 0,
        stable_rate=found.get("stable_rate"),
    )


def _curve(found: Mapping[str, Any]) -> tuple[int, int, int, int] | None:
    """What the reserve's rate strategy answers, None where it is not one of the default strategies."""
    if (bps := found["curve_bps"]) is not None:
        optimal, base, below, above = (value * RAY // BPS for value in bps)
        return optimal, base, below, above
    optimal, base, below, above = (found[name] for name in _CURVE)
    return None if None in (optimal, base, below, above) else (optimal, base, below, above)


async def read_categories(
    chain: Chain, pool: Pool, reserves: Sequence[Reserve], indices: Iterable[int]
) -> dict[int, Category]:
    """The e-mode categories of these indices; one that the pool does not describe is left out."""
    abi = load_abi("aave_v3")
    wanted = sorted(set(indices) - {0})
    if pool.has_liquid_categories:
        names = ("getEModeCategoryCollateralConfig", "getEModeCategoryCollateralBitmap")
        answers = await ask(chain, abi, [(pool.address, name, (index,)) for index in wanted for name in names])
        pairs = zip(wanted, answers[::2], answers[1::2], strict=True)
        return {
            index: Category(index, limits[1], limits[2], members)
            for index, limits, members in pairs
            if limits is not None and members is not None
        }
    found = await ask(chain, abi, [(pool.address, "getEModeCategoryData", (index,)) for index in wanted])
    known = [(index, data) for index, data in zip(wanted, found, strict=True) if data is not None]
    sources = sorted({data[3] for _, data in known} - {NOBODY})
    asked = await ask(chain, abi, [(pool.oracle, "getAssetPrice", (source,)) for source in sources])
    prices = dict(zip(sources, asked, strict=True))
    members = {index: sum(1 << r.index for r in reserves if r.category == index) for index, _ in known}
    return {
        index: Category(index, data[1], data[2], members[index], data[3], prices.get(data[3]) or 0)
        for index, data in known
    }

"""The vaults on an Euler factory's list at the pinned block, with their terms; and answers of several values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import BPS, SECONDS_PER_YEAR, mul_div_down
from defi_leverage.protocols._tokens import Token, read_tokens
from defi_leverage.questions import NOBODY, ask, ask_all, probe
from defi_leverage.reading import NO_CAP

__all__ = ["Limits", "Vault", "liquidation_ltv", "read_vaults", "resolve_cap"]

_SLICE = 500
_FIGURES = ("cash", "totalAssets", "totalBorrows", "totalSupply", "accumulatedFees", "interestRate", "interestFee")
_TERMS = ("EVC", "asset", "oracle", "unitOfAccount", "maxLiquidationDiscount", "LTVList")


@dataclass(frozen=True, slots=True)
class Limits:
    """What LTVFull says of a collateral: LTVs in bps, the ramp's end (UTC seconds) and duration (s)."""

    borrow: int
    liquidation: int
    initial: int
    target: int
    ramp: int


@dataclass(frozen=True, slots=True)
class Vault:
    """A vault: `borrows`, `assets`, `cash` in raw units of its asset, `supply` and `fees` in shares, `rate` in ray a
    second, LTVs by collateral in bps at the block. A collateral whose LTV has come down to 0 secures nothing, and can
    be seized still. `hooked`: the operations (bits) that call `hook_target`, or that nobody can do without one; None
    where the vault does not say.
    """

    share: Token
    asset: Token
    connector: str
    oracle: str
    unit: str
    cash: int
    assets: int
    borrows: int
    supply: int
    fees: int
    rate: int
    interest_fee: int
    discount: int
    supply_cap: int | None
    borrow_cap: int | None
    ltvs: Mapping[str, int]
    problem: str
    hook_target: str = NOBODY
    hooked: int | None = 0

    @property
    def address(self) -> str:
        """The vault, which is its own share token."""
        return self.share.address

    @property
    def yearly_rates(self) -> tuple[int, int]:
        """What suppliers earn and borrowers pay a year in ray, compounded every second."""
        borrow = self.rate * SECONDS_PER_YEAR
        earned = mul_div_down(borrow, self.borrows, self.assets) if self.assets else 0
        return mul_div_down(earned, BPS - self.interest_fee, BPS), borrow


def liquidation_ltv(limits: Limits, timestamp: int) -> int:
    """The liquidation LTV in bps at a time: where it is lowered, it goes down in a straight line (LTVConfig.getLTV)."""
    if timestamp >= limits.target or limits.liquidation >= limits.initial:
        return limits.liquidation
    return limits.liquidation + (limits.initial - limits.liquidation) * (limits.target - timestamp) // limits.ramp


def resolve_cap(packed: int) -> int:
    """A cap in raw units: six bits of exponent, ten of mantissa in hundredths, 0 for none (AmountCapLib.resolve)."""
    return 10 ** (packed & 63) * (packed >> 6) // 100 if packed else NO_CAP


async def read_vaults(chain: Chain, factory: str) -> dict[str, Vault] | None:
    """The vaults that anybody lends to, by address; None where the contract keeps no list of vaults."""
    abi = load_abi("euler_v2")
    (length,) = await ask(chain, abi, [(factory, "getProxyListLength", ())])
    if length is None:
        return None
    slices = [(start, min(start + _SLICE, length)) for start in range(0, length, _SLICE)]
    found = await ask(chain, abi, [(factory, "getProxyListSlice", bounds) for bounds in slices])
    listed = [vault for part in found for vault in part or ()]
    figures = await probe(chain, abi, listed, _FIGURES)
    used = [vault for vault in listed if figures[vault]["totalSupply"] != 0 or figures[vault]["totalBorrows"]]
    terms = await probe(chain, abi, used, _TERMS)
    caps, hooks = [await ask_all(chain, abi, [(vault, name, ()) for vault in used]) for name in ("caps", "hookConfig")]
    limits = await _read_limits(chain, {vault: terms[vault]["LTVList"] or () for vault in used})
    assets = {terms[vault]["asset"] for vault in used} - {None}
    tokens = await read_tokens(chain, {*used, *assets})
    return {
        vault: _vault(vault, figures[vault] | terms[vault], cap, hook, limits[vault], tokens, chain.block.timestamp)
        for vault, cap, hook in zip(used, caps, hooks, strict=True)
    }


async def _read_limits(chain: Chain, listed: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Limits | None]]:
    pairs = [(vault, collateral) for vault, collaterals in listed.items() for collateral in collaterals]
    answers = await ask_all(
        chain, load_abi("euler_v2"), [(vault, "LTVFull", (collateral,)) for vault, collateral in pairs]
    )
    found: dict[str, dict[str, Limits | None]] = {vault: {} for vault in listed}
    for (vault, collateral), answer in zip(pairs, answers, strict=True):
        found[vault][collateral] = Limits(*answer) if answer else None
    return found


def _vault(
    address: str,
    found: Mapping[str, Any],
    caps: tuple[Any, ...] | None,
    hook: tuple[Any, ...] | None,
    limits: Mapping[str, Limits | None],
    tokens: Mapping[str, Token],
    timestamp: int,
) -> Vault:
    share = tokens[address]
    missing = [name for name in (*_FIGURES, *_TERMS) if found[name] is None]
    asset = tokens.get(found["asset"] or "", share)
    problems = [
        (missing, f"it does not answer {', '.join(missing)}"),
        (share.problem, share.problem),
        (asset.problem, asset.problem),
        (None in limits.values(), "it does not answer LTVFull"),
    ]
    return Vault(
        share=share,
        asset=asset,
        connector=found["EVC"] or NOBODY,
        oracle=found["oracle"] or NOBODY,
        unit=found["unitOfAccount"] or NOBODY,
        cash=found["cash"] or 0,
        assets=found["totalAssets"] or 0,
        borrows=found["totalBorrows"] or 0,
        supply=found["totalSupply"] or 0,
        fees=found["accumulatedFees"] or 0,
        rate=found["interestRate"] or 0,
        interest_fee=found["interestFee"] or 0,
        discount=found["maxLiquidationDiscount"] or 0,
        supply_cap=resolve_cap(caps[0]) if caps else None,
        borrow_cap=resolve_cap(caps[1]) if caps else None,
        ltvs={collateral: liquidation_ltv(known, timestamp) for collateral, known in limits.items() if known},
        problem=next((str(why) for wrong, why in problems if wrong), ""),
        hook_target=hook[0] if hook else NOBODY,
        hooked=hook[1] if hook else None,
    )

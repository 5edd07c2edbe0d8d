"""How a market's borrow rate follows its utilisation, by the monetary policy of its controller.

| market | policy | curve |
|---|---|---|
| mints the stablecoin | any | fixed: nobody lends, and no withdrawal moves what the AMM charges now |
| lends | SemilogMonetaryPolicy | semi_log between its lowest and its highest rate |
| lends | SecondaryMonetaryPolicy | hyperbolic, in ratios to the rate of another AMM |
| lends | SusdeMonetaryPolicy | hyperbolic, in ratios to the average yield of sUSDe |
| lends | any other | none |

Utilisation is the debt over the debt and what the controller holds. The reference rate of a hyperbolic curve moves by
itself, not with a withdrawal; it is the one of the block. (EMAMonetaryPolicy first brings its average up to date, with
a rate that its view does not use yet, so that no view says what it will charge.) A controller charges no more than
MAX_RATE, whatever its policy says. Suppliers get all of the interest where the vault counts all of the debt as theirs.

A policy is known by its functions, and taken for what it seems only where it answers what the curve says: to the wei,
of the exponential to two units of 1e-18 a second and 1e-9. Source: curvefi/curve-stablecoin contracts/mpolicies
SemilogMonetaryPolicy.vy (commit 070ecf3), SecondaryMonetaryPolicy.vy (c63a090), SusdeMonetaryPolicy.vy (2b16df8);
Controller.vy, _save_rate; lending/Vault.vy, lend_apr.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import RAY, WAD, yearly_ray
from defi_leverage.protocols.crvusd.markets import Market
from defi_leverage.questions import NOBODY, ask, ask_all, probe
from defi_leverage.reading import RateCurve

__all__ = ["Policy", "lent_curve", "minted_curve", "read_policies"]

_MAX_RATE = 43_959_106_799  # Controller.vy: 300 % a year, compounded
_NAMES = ("BORROWED_TOKEN", "min_rate", "max_rate", "AMM", "ma_susde_rate")
_ROUNDING, _EXPONENTIAL = 2, 1e-9  # units of the rate, and a share of it


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy and what it answers for its controller now, a second in wad.

    `bounds`: the lowest and highest rate of a semi-log policy; `hyperbola`: reference rate, u_inf, A, r_minf and shift.
    One of them is None.
    """

    rate: int
    borrowed: str
    bounds: tuple[int, int] | None
    hyperbola: tuple[int, int, int, int, int] | None


async def read_policies(chain: Chain, markets: Sequence[Market]) -> dict[str, Policy]:
    """The policies of these markets by controller, without those of a kind that is not known."""
    policy_abi, abi = load_abi("crvusd_policies"), load_abi("crvusd")
    answers = await ask(chain, abi, [(market.controller, "monetary_policy", ()) for market in markets])
    used = {m.controller: policy for m, policy in zip(markets, answers, strict=True) if policy not in (None, NOBODY)}
    addresses = sorted(set(used.values()))
    told = await probe(chain, policy_abi, addresses, _NAMES)
    parameters = await ask_all(chain, policy_abi, [(address, "parameters", ()) for address in addresses])
    hyperbolas = dict(zip(addresses, parameters, strict=True))
    rates = await ask(chain, policy_abi, [(policy, "rate", (controller,)) for controller, policy in used.items()])
    others = await ask(chain, abi, [(told[address]["AMM"] or NOBODY, "rate", ()) for address in addresses])
    references = dict(zip(addresses, others, strict=True))
    found = {}
    for (controller, address), rate in zip(used.items(), rates, strict=True):
        own = told[address]
        reference = references[address] if own["AMM"] else own["ma_susde_rate"]
        bounds = (own["min_rate"], own["max_rate"]) if own["min_rate"] and own["max_rate"] else None
        words = hyperbolas[address]
        hyperbola = (reference, *words) if reference is not None and words is not None else None
        if rate is not None and own["BORROWED_TOKEN"] and (bounds is None) != (hyperbola is None):
            found[controller] = Policy(rate, own["BORROWED_TOKEN"], bounds, hyperbola)
    return found


def minted_curve(market: Market) -> RateCurve:
    """The rate that the AMM charges, which no lender can move."""
    return RateCurve("fixed", {"rate": yearly_ray(market.rate)})


def lent_curve(market: Market, policy: Policy | None, cash: int, supplied: int) -> RateCurve | None:
    """The curve of a market that lends, None where its policy is not known or answers something else.

    `cash` is what the controller holds, `supplied` what the vault says is its lenders', both raw.
    """
    total = market.total_debt + cash
    if policy is None or policy.borrowed != market.borrowed.address:
        return None
    named = {"ceiling": yearly_ray(_MAX_RATE)} | ({"fee": 0} if supplied == total else {})
    if policy.bounds is not None:
        low, high = policy.bounds
        rate = low * (high / low) ** (market.total_debt / total if total else 0.0)
        if abs(rate - policy.rate) > _ROUNDING + _EXPONENTIAL * rate:
            return None
        return RateCurve("semi_log", {"minimum": yearly_ray(low), "maximum": yearly_ray(high)} | named)
    assert policy.hyperbola is not None
    reference, pole, scale, lowest, shift = policy.hyperbola
    used = market.total_debt * WAD // total if total else 0
    if pole <= WAD or reference * lowest // WAD + scale * reference // (pole - used) + shift != policy.rate:
        return None
    base = yearly_ray(reference * lowest + shift * WAD) // WAD
    curve = {"base": base, "scale": yearly_ray(scale * reference) // WAD, "pole": pole * RAY // WAD}
    return RateCurve("hyperbolic", curve | named)

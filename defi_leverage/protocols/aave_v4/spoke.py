"""A spoke of Aave v4 at the pinned block: its reserves, which a hub lends, and how it liquidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import BPS, RAY, mul_div_down, mul_div_up, ray_mul_ceil, ray_mul_floor
from defi_leverage.protocols import deployment_error, root_contract
from defi_leverage.protocols._tokens import Token, read_tokens
from defi_leverage.protocols.aave_v4.rate_curves import Loans
from defi_leverage.questions import NOBODY, Question, ask
from defi_leverage.reading import NO_CAP, Deployment

__all__ = ["PRICE_SCALE", "Reserve", "Spoke", "find_spoke", "read_reserves"]

_error = partial(
    deployment_error,
    remedy="Give the address of a spoke (AaveV4...Spokes of Aave's address book), and a block after its first reserve.",
)

PRICE_SCALE = 10**8  # AaveOracle.decimals, which a spoke's constructor insists on
_PAUSED = 1
_NO_CAP = 2**40 - 1  # Hub.MAX_ALLOWED_SPOKE_CAP, in whole tokens


@dataclass(frozen=True, slots=True)
class Spoke:
    """The spoke, its oracle, and its terms of liquidation: health factors in wad, the share in bps."""

    address: str
    oracle: str
    reserves: int
    target: int
    maximum_bonus: int
    bonus_factor: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """An asset of the spoke, owed to and by one hub. Amounts raw and the spoke's own, but `cash`, which is all spokes'.

    `drawn_index` and yearly rates in ray; `price` in 1e-8 USD; caps raw.
    """

    index: int
    token: Token
    hub: str
    hub_asset: int
    decimals: int
    price: int
    source: str
    drawn_index: int
    supply: int
    borrow: int
    cash: int
    deficit: int
    supply_rate: int
    borrow_rate: int
    supply_cap: int
    borrow_cap: int
    problem: str
    suspended: str = ""  # why nobody is liquidated out of it, or of a debt in it, now
    loans: Loans | None = None  # all spokes'; None where the hub does not answer

    @property
    def scale(self) -> int:
        """What a raw amount is multiplied with for its value: price times 10^(18 - decimals), 1e26 for a dollar."""
        scale: int = self.price * 10 ** (18 - self.decimals)
        return scale


async def find_spoke(chain: Chain, deployment: Deployment) -> Spoke:
    """The spoke behind the address. Raises ReaderError where it is none of Aave v4."""
    address = await root_contract(chain, deployment, _error)
    abi = load_abi("aave_v4")
    names = ("ORACLE", "getReserveCount", "getLiquidationConfig")
    oracle, count, config = await ask(chain, abi, [(address, name, ()) for name in names])
    if oracle in (None, NOBODY) or count is None or config is None:
        raise _error(chain, deployment, "is not a spoke of Aave v4")
    (decimals,) = await ask(chain, abi, [(oracle, "decimals", ())])
    if decimals is None or 10**decimals != PRICE_SCALE:
        raise _error(chain, deployment, f"has an oracle of {decimals} decimals, where a spoke's has 8,")
    return Spoke(address, oracle, count, *config)


async def read_reserves(chain: Chain, spoke: Spoke) -> tuple[list[Reserve], dict[str, str]]:
    """The spoke's reserves, and those that it does not describe, with the reason."""
    abi = load_abi("aave_v4")
    described = await ask(chain, abi, [(spoke.address, "getReserve", (index,)) for index in range(spoke.reserves)])
    known = {index: data for index, data in enumerate(described) if data is not None}
    tokens = await read_tokens(chain, {data[0] for data in known.values()})
    asked: list[Question] = []
    for index, (_, hub, asset, *_) in known.items():
        asked += [
            (spoke.oracle, "getReservePrice", (index,)),
            (spoke.oracle, "getReserveSource", (index,)),
            (spoke.address, "getReserveSuppliedAssets", (index,)),
            (spoke.address, "getReserveTotalDebt", (index,)),
            (hub, "getAsset", (asset,)),
            (hub, "getAssetDrawnIndex", (asset,)),
            (hub, "getAddedAssets", (asset,)),
            (hub, "getSpoke", (asset, spoke.address)),
        ]
    answers = iter(await ask(chain, abi, asked))
    names = ("price", "source", "supply", "borrow", "asset", "drawn_index", "added", "spoke")
    reserves = [
        _reserve(spoke, index, data, tokens[data[0]], {name: next(answers) for name in names})
        for index, data in known.items()
    ]
    missing = (index for index, data in enumerate(described) if data is None)
    return reserves, {f"reserve {index}": "the spoke does not describe it" for index in missing}


def _reserve(spoke: Spoke, index: int, data: tuple[Any, ...], token: Token, found: Mapping[str, Any]) -> Reserve:
    _, hub, asset, decimals, _, flags, _ = data
    hub_asset, limits = found["asset"], found["spoke"]
    problems = [
        (token.problem, token.problem),
        (token.decimals != decimals, f"the token has {token.decimals} decimals, the spoke counts {decimals}"),
        (decimals > 18, f"the spoke counts {decimals} decimals"),
        (found["price"] is None, "the oracle reverts"),
        (found["price"] == 0, "the oracle answers a price of 0"),
        (None in (hub_asset, found["drawn_index"], found["added"], limits), "its hub does not answer"),
        (None in (found["supply"], found["borrow"]), "the spoke does not answer its totals"),
    ]
    problem = next((str(why) for wrong, why in problems if wrong), "")
    drawn_index, rate = found["drawn_index"] or 0, hub_asset[10] if hub_asset else 0
    earned = 0
    loans = None
    if hub_asset and found["added"]:
        # premium shares bear the drawn rate, too; a part of all interest is a fee
        bearing = ray_mul_floor(hub_asset[6] + hub_asset[7], drawn_index)
        earned = mul_div_down(mul_div_down(rate, bearing, found["added"]), BPS - hub_asset[8], BPS)
        loans = Loans(
            strategy=hub_asset[13],
            liquidity=hub_asset[0],
            drawn=ray_mul_ceil(hub_asset[6], drawn_index),
            swept=hub_asset[4],
            deficit=mul_div_up(hub_asset[16], 1, RAY),
            bearing=bearing,
            added=found["added"],
            fee=hub_asset[8],
        )
    add_cap, draw_cap = (limits[4], limits[5]) if limits else (_NO_CAP, _NO_CAP)
    return Reserve(
        index=index,
        token=token,
        hub=hub,
        hub_asset=asset,
        decimals=decimals,
        price=found["price"] or 0,
        source=found["source"] if found["source"] not in (None, NOBODY) else spoke.oracle,
        drawn_index=drawn_index,
        supply=found["supply"] or 0,
        borrow=found["borrow"] or 0,
        cash=hub_asset[0] if hub_asset else 0,
        deficit=mul_div_up(limits[9], 1, RAY) if limits else 0,
        supply_rate=earned,
        borrow_rate=rate,
        supply_cap=NO_CAP if add_cap == _NO_CAP else add_cap * 10**decimals,
        borrow_cap=NO_CAP if draw_cap == _NO_CAP else draw_cap * 10**decimals,
        problem=problem,
        suspended=_suspension(flags, limits),
        loans=loans,
    )


def _suspension(flags: int, limits: Sequence[Any] | None) -> str:
    """The reserve's first flag, and what the hub lets the spoke do (ReserveFlagsMap, IHub.SpokeData)."""
    if flags & _PAUSED:
        return "the reserve is paused"
    active, halted = limits[7:9] if limits else (True, False)
    return "its hub has halted the spoke" if halted else "" if active else "its hub has deactivated the spoke"

"""The rule of Aave 3.3 and later against Aave's own LiquidationDataProvider: every pair of a debt and a collateral."""

from collections import Counter

import pytest

from defi_leverage.chain import open_chain
from defi_leverage.contagion.liquidation import aave_v3_3, seize
from defi_leverage.protocols import aave_v3
from defi_leverage.reading import Deployment, Reading
from tests.devnet.build import OWNER
from tests.devnet.chain import Deployer
from tests.devnet.protocols.aave_v3_origin.market import compile_release
from tests.devnet.session import Devnet
from tests.devnet.tokens import FINAL, set_answer

pytestmark = pytest.mark.devnet("aave_v3_origin")

WAD = 10**18
INFO = "getLiquidationInfo(address,address,address)"  # twenty words, the last four of them what can be done


async def read(devnet: Devnet) -> Reading:
    market = devnet.description.protocols["aave_v3_origin"]["market"]
    wanted = Deployment("aave_v3", market["name"], market["provider"], market["first_block"])
    async with open_chain("devnet", devnet.chain_id, [devnet.url]) as chain:
        return await aave_v3.read(chain, wanted)


MILD = {"unlimited": 76, "limited by collateral": 8, "limited by debt": 4, "paused": 2}
DEEP = {"unlimited": 162, "paused": 4}


@pytest.mark.parametrize(("fall", "expected"), [(0.08, MILD), (0.25, DEEP)])
async def test_every_pair_is_liquidated_on_the_terms_that_aave_s_own_view_says(
    devnet: Devnet, fall: float, expected: dict[str, int]
) -> None:
    """All figures to 1e-9 or three raw units. Where the collateral that is left is what limits, Aave's view takes the
    protocol's fee off twice and stops short of what liquidationCall lets, by exactly that.
    """
    market = devnet.description.protocols["aave_v3_origin"]["market"]
    view = Deployer(devnet.chain, compile_release(), OWNER).deploy(
        "LiquidationDataProvider", market["pool"], market["provider"]
    )
    drop = {"WETH": FINAL.eth, "WBTC": FINAL.btc}
    devnet.send_many([set_answer(OWNER, devnet.feeds[symbol], price * (1 - fall)) for symbol, price in drop.items()])
    reading = await read(devnet)
    places = {token.asset_id: token.decimals for token in reading.assets}
    price = {feed.feed_id: feed.price_raw / feed.price_scale for feed in reading.feeds}
    paused = f"eip155:{devnet.chain_id}/erc20:{devnet.description.protocols['aave_v3_origin']['tokens']['PYUSD']}"
    seen = Counter[str]()
    for account in reading.accounts:
        assert account.health_factor_raw is not None
        if account.health_factor_raw >= WAD:
            continue
        value = {leg: leg.amount_raw / 10 ** places[leg.asset_id] * price[leg.feed_id] for leg in account.legs}
        debts = [leg for leg in account.legs if leg.side == "debt"]
        total = sum(value[leg] for leg in debts)
        for held in (leg for leg in account.legs if leg.weight_wad and leg.side == "collateral"):
            bonus, weight, fee = (
                raw / WAD for raw in (held.liquidation_bonus_wad, held.weight_wad, held.protocol_fee_wad)
            )
            for owed in debts:
                tokens = [leg.asset_id.rsplit(":", 1)[1] for leg in (held, owed)]
                (words,) = devnet.call(view, INFO, "(uint256[20])", account.address, *tokens)
                paid_out, repaid, kept = words[16:19]
                if paused in {held.asset_id, owed.asset_id}:
                    assert (paid_out, repaid, kept) == (0, 0, 0)
                    seen["paused"] += 1
                    continue
                health = account.health_factor_raw / WAD
                terms = aave_v3_3(health, total, value[owed], value[held], bonus, weight, fee)
                ours = seize(terms.repaid, value[owed], value[held], terms.bonus)
                units = [10 ** places[leg.asset_id] / price[leg.feed_id] for leg in (owed, held)]
                left = (value[owed] - ours[0], value[held] - ours[1])
                if left[1] == pytest.approx(1_000, rel=1e-9) and left[0] > 1_000:
                    twice = min(value[owed], total / 2) * terms.kept  # the fee on what half the debt would seize
                    coarse = 3 + 3 * units[0] / units[1]  # a raw unit of WBTC is a thousand of USDC
                    assert (ours[0] - twice) * units[0] == pytest.approx(repaid, rel=1e-9, abs=coarse)
                    seen["limited by collateral"] += 1
                    continue
                figures = (ours[0] * units[0], ours[1] * units[1], ours[1] * terms.kept * units[1])
                for mine, theirs in zip(figures, (repaid, paid_out + kept, kept), strict=True):
                    assert mine == pytest.approx(theirs, rel=1e-9, abs=3), account.address
                seen["limited by debt" if left[0] == pytest.approx(1_000, rel=1e-9) else "unlimited"] += 1
    assert all(seen[what] >= least for what, least in expected.items()), seen

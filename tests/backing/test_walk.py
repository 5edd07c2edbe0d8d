"""From the assets of a scan down: stacks, circles, prices, venues, and what becomes of it in a snapshot."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.backing import read_backing, walk
from defi_leverage.backing.claims import Claim, Finding, Token
from defi_leverage.backing.families import load_families
from defi_leverage.backing.families.exchange_rates import load_rows
from defi_leverage.chain import Chain, open_chain
from defi_leverage.config import load_config
from defi_leverage.contagion.engine import run_contagion
from defi_leverage.contagion.scenario import Scenario
from defi_leverage.errors import RpcError
from defi_leverage.reading import AssetReading, BackingReading, ClaimsReading
from defi_leverage.scan import scan
from defi_leverage.snapshot import from_readings
from tests.backing import test_pendle
from tests.backing.fake_chain import USD, FakeChain, add_vault, address, asset_id, reading_of, token

if TYPE_CHECKING:
    from tests.devnet.session import Devnet

USDC = token(1, "USDC", 6)
BOTTOM, MIDDLE, TOP = token(2, "vUSDC"), token(3, "vvUSDC"), token(4, "vvvUSDC", 24)
MAINNET = {row.symbol: Token(row.token, row.symbol, 18) for row in load_rows() if row.chain_id == 1}
ETH = "eip155:1/slip44:60"


def units(claims: ClaimsReading) -> dict[tuple[str, str], Fraction]:
    return {(row.asset_id, row.underlying_id): Fraction(row.units_raw, row.units_scale) for row in claims.backing}


def prices(claims: ClaimsReading) -> dict[str, Fraction]:
    return {price.asset_id: Fraction(price.price_raw, price.price_scale) for price in claims.prices}


def stack(fake: FakeChain) -> None:
    """Three vaults upon each other, worth 1.5, 2 and 0.5 of what they hold a share, but for virtual shares."""
    for listed in (USDC, BOTTOM, MIDDLE, TOP):
        fake.is_token(listed)
    add_vault(fake, BOTTOM, USDC.address, 1_500_000 * 10**6, 10**6 * 10**18)
    add_vault(fake, MIDDLE, BOTTOM.address, 2_000 * 10**18, 1_000 * 10**18)
    add_vault(fake, TOP, MIDDLE.address, 500 * 10**18, 1_000 * 10**24)


async def test_a_stack_of_vaults_down_to_what_is_none() -> None:
    fake = FakeChain()
    stack(fake)
    claims = await read_backing(fake.chain, [reading_of({USDC: USD, TOP: 3 * USD // 2})])
    assert claims.gaps == {}
    found = units(claims)
    steps = [(TOP, MIDDLE, 0.5), (MIDDLE, BOTTOM, 2), (BOTTOM, USDC, 1.5)]
    assert set(found) == {(asset_id(of), asset_id(under)) for of, under, _ in steps}
    for of, under, worth in steps:
        assert float(found[asset_id(of), asset_id(under)]) == pytest.approx(worth, rel=1e-11)
    assert {asset.asset_id: (asset.symbol, asset.decimals, asset.kind) for asset in claims.assets} == {
        asset_id(BOTTOM): ("vUSDC", 18, "vault_share"),
        asset_id(MIDDLE): ("vvUSDC", 18, "vault_share"),
        asset_id(TOP): ("vvvUSDC", 24, "vault_share"),  # in the scan already, as a plain token
    }
    assert set(prices(claims)) == {asset_id(BOTTOM), asset_id(MIDDLE)}  # what has a feed keeps its price
    # a sole claim with a price speaks for its underlying last: from below, 1.5 USD and 2 of that
    assert float(prices(claims)[asset_id(MIDDLE)]) == pytest.approx(3.0, rel=1e-11)


async def test_an_underlying_takes_its_price_from_a_sole_claim_when_there_is_no_other() -> None:
    fake = FakeChain()
    stack(fake)
    claims = await read_backing(fake.chain, [reading_of({BOTTOM: 3 * USD // 2})])
    assert [(asset.symbol, asset.kind) for asset in claims.assets] == [("vUSDC", "vault_share"), ("USDC", "usd")]
    assert float(prices(claims)[asset_id(USDC)]) == pytest.approx(1.0, rel=1e-11)
    (price,) = claims.prices
    assert price.source == f"claim {asset_id(BOTTOM)}"


async def test_nothing_is_asked_twice_and_every_level_is_told() -> None:
    fake, told = FakeChain(), []
    stack(fake)
    await read_backing(fake.chain, [reading_of({TOP: USD})], lambda *step: told.append(step))
    assert told[:1] == [("exchange_rates", 1, 8)]
    asked = [call for call in fake.asked if call[1] == load_abi("erc4626").encode("cooldownDuration")]
    assert len(asked) == len(set(asked)) == 4


@pytest.mark.parametrize("listed", [BOTTOM, MIDDLE])
async def test_a_circle_ends_and_is_reported_and_kept(listed: Token) -> None:
    fake = FakeChain()
    fake.is_token(BOTTOM)
    fake.is_token(MIDDLE)
    add_vault(fake, BOTTOM, MIDDLE.address, 10**24, 10**24)
    add_vault(fake, MIDDLE, BOTTOM.address, 10**24, 10**24)
    claims = await read_backing(fake.chain, [reading_of({listed: USD})])
    assert set(units(claims)) == {(asset_id(BOTTOM), asset_id(MIDDLE)), (asset_id(MIDDLE), asset_id(BOTTOM))}
    (name,) = claims.gaps
    assert name == (f"backing in a circle vUSDC {BOTTOM.address} > vvUSDC {MIDDLE.address} > vUSDC {BOTTOM.address}")
    snapshot = from_readings([reading_of({listed: USD})], claims_readings=[claims])
    assert len(snapshot.backing) == 2
    assert not snapshot.complete
    assert "backing in a circle" in snapshot.coverage["why"].iloc[-1]


async def test_a_circle_without_a_feed_is_priced_as_one_system() -> None:
    # A is half a B and 1 USD, B is half an A and 2 USD: A = 1 + B / 2, B = 2 + A / 2, so A = 8/3 and B = 10/3
    fake, a, b, top = FakeChain(), token(11), token(12), token(15, "TOP")
    for share, other, usdc in ((a, b, 10**6), (b, a, 2 * 10**6)):
        fake.is_token(share)
        for index, (coin, balance) in enumerate(((other.address, 10**18 // 2), (USDC.address, usdc))):
            fake.says(share.address, "curve", "coins(uint256)", (index,), coin)
            fake.says(share.address, "curve", "balances(uint256)", (index,), balance)
            fake.says(coin, "erc20", "balanceOf", (share.address,), balance)
        fake.answers(share.address, "curve", get_virtual_price=10**18, totalSupply=10**18)
    fake.is_token(USDC)
    add_vault(fake, top, a.address, 10**24, 10**24)
    claims = await read_backing(fake.chain, [reading_of({USDC: USD, top: 9 * USD})])
    assert prices(claims) == {asset_id(a): Fraction(8, 3), asset_id(b): Fraction(10, 3)}
    assert list(claims.gaps) == [f"backing in a circle T12 {b.address} > T11 {a.address} > T12 {b.address}"]


async def test_an_endless_stack_is_cut_off_by_name() -> None:
    class Endless(FakeChain):
        async def call(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
            for contract, data in calls:
                if data == load_abi("erc4626").encode("asset"):
                    of = token(int(contract[2:6], 16))
                    below = token(int(contract[2:6], 16) + 1)
                    self.is_token(below)
                    add_vault(self, of, below.address, 10**24, 10**24)
            return await super().call(calls)

    claims = await read_backing(Endless().chain, [reading_of({token(2): USD})])
    assert len(claims.backing) == 16
    assert "not followed past 16 levels: T18" in claims.gaps["deeper backing"]


async def test_an_underlying_without_a_price_leaves_its_claim_out_by_name() -> None:
    fake, pair, junk = FakeChain(), token(5, "UNI-V2"), token(6, "JUNK")
    for listed in (USDC, pair, junk):
        fake.is_token(listed)
    fake.answers(pair.address, "uniswap_v2", factory=address(9), token0=USDC.address, token1=junk.address)
    fake.answers(pair.address, "uniswap_v2", getReserves=(10**12, 10**24, 0), totalSupply=10**18, kLast=0)
    fake.says(address(9), "uniswap_v2", "getPair", (USDC.address, junk.address), pair.address)
    claims = await read_backing(fake.chain, [reading_of({USDC: USD, pair: 2 * 10**6 * USD})])
    assert (claims.backing, claims.assets) == ((), ())
    assert claims.gaps == {f"backing of UNI-V2 {pair.address}": f"left out: no price is known of JUNK {junk.address}"}


async def test_an_underlying_without_decimals_leaves_its_claim_out_by_name() -> None:
    fake = FakeChain()
    add_vault(fake, BOTTOM, USDC.address, 10**24, 10**24)
    claims = await read_backing(fake.chain, [reading_of({BOTTOM: USD})])
    assert claims.backing == ()
    assert claims.gaps == {"backing of vUSDC": f"its underlying {USDC.address} answers decimals() None"}


async def test_a_family_that_stumbles_is_named_and_the_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stumble(_chain: Chain, _tokens: Sequence[Token]) -> dict[str, Finding]:
        raise ArithmeticError("a pool of strangers")

    families = load_families()
    monkeypatch.setattr(walk, "load_families", lambda: families | {"curve": stumble})
    fake = FakeChain()
    stack(fake)
    claims = await read_backing(fake.chain, [reading_of({USDC: USD, BOTTOM: USD})])
    assert len(claims.backing) == 1
    assert "a pool of strangers" in claims.gaps["backing of the family curve"]


async def test_a_chain_that_does_not_answer_ends_the_scan() -> None:
    class Silent(FakeChain):
        async def call(self, calls: Sequence[tuple[str, bytes]]) -> list[bytes | None]:
            raise RpcError(f"no endpoint answered {len(calls)} calls")

    with pytest.raises(RpcError):
        await read_backing(Silent().chain, [reading_of({USDC: USD})])


async def test_a_doubt_is_a_gap() -> None:
    fake = FakeChain()
    add_vault(fake, BOTTOM, USDC.address, 10**24, 10**24, convert=lambda shares: 2 * shares)
    claims = await read_backing(fake.chain, [reading_of({BOTTOM: USD})])
    assert "but it says that it has" in claims.gaps[f"backing of vUSDC {BOTTOM.address} (erc4626)"]


# ----- the native coin


def lido(fake: FakeChain) -> None:
    wsteth = MAINNET["wstETH"]
    fake.is_token(MAINNET["stETH"])
    fake.says(wsteth.address, "exchange_rates", "stEthPerToken", (), 12 * 10**17)


async def test_the_wrapped_coin_of_a_scan_stands_for_the_coin() -> None:
    fake = FakeChain(chain_id=1)
    lido(fake)
    weth, wsteth, steth = MAINNET["WETH"], MAINNET["wstETH"], MAINNET["stETH"]
    claims = await read_backing(fake.chain, [reading_of({weth: 2000 * USD, wsteth: 2376 * USD}, 1)])
    assert units(claims) == {
        (asset_id(wsteth, 1), asset_id(steth, 1)): Fraction(6, 5),
        (asset_id(steth, 1), asset_id(weth, 1)): 1,
    }
    # 1 % below par: what wstETH is sold for says what stETH is worth
    assert prices(claims) == {asset_id(steth, 1): Fraction(1980)}
    assert claims.gaps == {}


async def test_without_either_the_coin_is_priced_by_its_claims() -> None:
    fake = FakeChain(chain_id=1)
    lido(fake)
    wsteth, steth = MAINNET["wstETH"], MAINNET["stETH"]
    claims = await read_backing(fake.chain, [reading_of({wsteth: 2400 * USD}, 1)])
    assert set(units(claims)) == {(asset_id(wsteth, 1), asset_id(steth, 1)), (asset_id(steth, 1), ETH)}
    assert prices(claims) == {asset_id(steth, 1): Fraction(2000), ETH: Fraction(2000)}
    assert {(asset.asset_id, asset.symbol, asset.kind) for asset in claims.assets if asset.asset_id == ETH} == {
        (ETH, "ETH", "token")
    }


async def test_a_native_coin_that_is_not_known_is_a_gap() -> None:
    fake, pool = FakeChain(), token(5, "LP")
    fake.is_token(USDC)
    for at, coin in enumerate(("0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE", USDC.address)):
        fake.says(pool.address, "curve", "coins(uint256)", (at,), coin)
        fake.says(pool.address, "curve", "balances(uint256)", (at,), 10**6)
    fake.says(USDC.address, "erc20", "balanceOf", (pool.address,), 10**6)
    fake.answers(pool.address, "curve", get_virtual_price=10**18, totalSupply=10**18)
    claims = await read_backing(fake.chain, [reading_of({USDC: USD, pool: USD})])
    assert claims.backing == ()
    assert "a claim on a native coin of eip155:31337" in claims.gaps[f"backing of LP {pool.address}"]


# ----- principal tokens, prices


async def test_a_pt_before_maturity_is_priced_by_its_market_or_not_at_all() -> None:
    fake, susde = test_pendle.describe(), Token(test_pendle.SUSDE, "sUSDe", 18)
    sy, pt, lp = test_pendle.SY, test_pendle.PT, test_pendle.LP
    for listed in (sy, pt, lp, susde):
        fake.is_token(listed)
    claims = await read_backing(fake.chain, [reading_of({susde: 12 * USD // 10, lp: 2 * USD})])
    # half a year at ln(1.1): 1 / sqrt(1.1) of a dollar
    assert float(prices(claims)[asset_id(pt)]) == pytest.approx(1.1**-0.5, rel=1e-12)
    assert prices(claims)[asset_id(sy)] == Fraction(6, 5)
    assert len(claims.backing) == 4
    pair = [BackingReading(asset_id(token(9, "X")), asset_id(pt), 1, 1, "wraps")]
    alone = await read_backing(fake.chain, [reading_of({susde: 12 * USD // 10, pt: USD // 2}, backing=pair)])
    assert asset_id(pt) not in prices(alone)  # in the scan with its own price
    assert prices(alone)[asset_id(sy)] == Fraction(6, 5)  # by what it wraps, never by a PT's discount


async def test_a_deposit_is_owed_by_the_venue_of_the_scan() -> None:
    fake = FakeChain()
    stack(fake)
    readings = [reading_of({USDC: USD, BOTTOM: USD}, venue=BOTTOM.address), reading_of({USDC: USD})]
    (row,) = (await read_backing(fake.chain, readings)).backing
    assert row.venue_id == f"eip155:31337:{BOTTOM.address}"
    (row,) = (await read_backing(fake.chain, [*readings[1:], reading_of({BOTTOM: USD})])).backing
    assert row.venue_id == ""


async def test_an_identifier_may_be_spelled_in_any_case() -> None:
    fake = FakeChain()
    stack(fake)
    reading = reading_of({USDC: USD, BOTTOM: USD})
    lower = [replace(asset, asset_id=asset.asset_id.lower()) for asset in reading.assets]
    feeds = [replace(feed, asset_id=feed.asset_id.lower()) for feed in reading.feeds]
    claims = await read_backing(fake.chain, [replace(reading, assets=tuple(lower), feeds=tuple(feeds))])
    assert set(units(claims)) == {(asset_id(BOTTOM).lower(), asset_id(USDC).lower())}
    assert [(asset.symbol, asset.kind) for asset in claims.assets] == [("vUSDC", "vault_share")]


async def test_claims_on_the_same_thing_are_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    async def twice(_chain: Chain, tokens: Sequence[Token]) -> dict[str, Finding]:
        claims = tuple(Claim(USDC.address, raw, 10**18, "deposited", f"market {raw}") for raw in (10**6, 2 * 10**6))
        return {of.address: Finding(claims, "vault_share") for of in tokens if of == BOTTOM}

    monkeypatch.setattr(walk, "load_families", lambda: {"morpho_vault": twice})
    (row,) = (await read_backing(FakeChain().chain, [reading_of({USDC: USD, BOTTOM: USD})])).backing
    assert Fraction(row.units_raw, row.units_scale) == 3
    assert row.source == "market 1000000; market 2000000"


async def test_what_a_venue_issues_is_left_to_its_reader_and_what_it_infers_gives_way() -> None:
    fake = FakeChain()
    stack(fake)
    issued = BackingReading(asset_id(BOTTOM), asset_id(USDC), 1, 1, "deposited", "aToken")
    inferred = BackingReading(asset_id(MIDDLE), asset_id(USDC), 3, 1, "staked", "ratio feed")
    listed = {USDC: USD, BOTTOM: USD, MIDDLE: 3 * USD}
    reading = reading_of(listed, backing=(issued, inferred))
    claims = await read_backing(fake.chain, [reading])
    assert set(units(claims)) == {(asset_id(MIDDLE), asset_id(BOTTOM))}
    backing = from_readings([reading], claims_readings=[claims]).backing
    assert sorted(zip(backing["asset_id"], backing["underlying_id"], backing["kind"], strict=True)) == sorted(
        [
            (asset_id(BOTTOM), asset_id(USDC), "deposited"),
            (asset_id(MIDDLE), asset_id(BOTTOM), "deposited"),
        ]
    )


async def test_the_snapshot_takes_the_new_assets() -> None:
    fake = FakeChain()
    stack(fake)
    reading = reading_of({USDC: USD, TOP: USD})
    snapshot = from_readings([reading], claims_readings=[await read_backing(fake.chain, [reading])])
    assert snapshot.complete
    assert len(snapshot.coverage) == 1
    assets = snapshot.assets.set_index("symbol")
    assert assets["kind"].to_dict() == {
        "USDC": "token",
        "vUSDC": "vault_share",
        "vvUSDC": "vault_share",
        "vvvUSDC": "vault_share",
    }
    assert assets["price_usd"]["vUSDC"] == pytest.approx(1.5, rel=1e-11)
    assert assets["price_source"]["vUSDC"] == f"backing {asset_id(USDC)}"
    assert assets["price_source"]["vvvUSDC"].startswith("oracle")


# ----- the devnet


@pytest.mark.devnet("vaults")
async def test_a_scan_of_the_devnet_looks_through_its_stack_and_its_pool(devnet: "Devnet", tmp_path: Path) -> None:
    told = devnet.description.protocols["vaults"]
    config = tmp_path / "devnet.toml"
    config.write_text(devnet.config())
    snapshot = await asyncio.to_thread(scan, load_config(config), "latest")
    assert snapshot.complete
    symbol = snapshot.assets.set_index("asset_id")["symbol"]
    backing = snapshot.backing.assign(
        of=snapshot.backing["asset_id"].map(symbol), on=snapshot.backing["underlying_id"].map(symbol)
    )
    rows = backing[backing["source"] != "aToken"].set_index(["of", "on"])
    assert set(rows.index) >= {
        ("bsyUSDC", "syUSDC"),
        ("syUSDC", "yUSDC"),
        ("yUSDC", "USDC"),
        ("UNI-V2", "WETH"),
        ("UNI-V2", "USDC"),
    }
    steps = [("bsyUSDC", "syUSDC"), ("syUSDC", "yUSDC"), ("yUSDC", "USDC")]
    through = prod(rows["units"].to_dict()[step] for step in steps)
    assert through == pytest.approx(told["redeems"][-1] / 10**6, rel=1e-6)  # of one share, cut to a raw USDC
    kinds = snapshot.assets.set_index("symbol")["kind"]
    assert (kinds["bsyUSDC"], kinds["syUSDC"], kinds["yUSDC"], kinds["UNI-V2"]) == (*["vault_share"] * 3, "lp")
    fallen = run_contagion(snapshot, Scenario("USDC -1 %", {"USDC": -0.01}, sell_collateral=False, buy_debt=False))
    falls = {row["symbol"]: row["final_usd"] / row["before_usd"] for row in fallen.summary()["prices"]}
    assert [falls[name] for name in ("yUSDC", "syUSDC", "bsyUSDC")] == pytest.approx([0.99] * 3)
    config.write_text("read_backing = false\n" + devnet.config())
    plain = await asyncio.to_thread(scan, load_config(config), "latest")
    assert not plain.assets["symbol"].isin(["syUSDC", "yUSDC"]).any()


@pytest.mark.devnet("vaults")
async def test_the_circle_on_the_devnet_is_worth_the_dollars_behind_it(devnet: "Devnet") -> None:
    cycle = devnet.description.protocols["vaults"]["cycle"]
    outer, inner, pool = (Token(checksum_address(cycle[name]), name, 18) for name in ("outer", "inner", "pool"))
    usdc = Token(devnet.tokens["USDC"], "USDC", 6)
    chain_id = devnet.chain_id
    ids = {asset_id(of, chain_id): of for of in (outer, inner, pool)}
    reading = reading_of({usdc: USD}, chain_id)
    listed = AssetReading(asset_id(outer, chain_id), "OUTER", 18)  # without a feed: only the others get a price
    async with open_chain("devnet", chain_id, [devnet.url], "latest") as chain:
        claims = await read_backing(chain, [replace(reading, assets=(*reading.assets, listed))])
    (name,) = claims.gaps
    assert name.startswith("backing in a circle")
    price, of_outer = prices(claims), units(claims)[asset_id(outer, chain_id), asset_id(pool, chain_id)]
    assert set(price) == ids.keys() - {listed.asset_id}
    price[listed.asset_id] = of_outer * price[asset_id(pool, chain_id)]

    def raw(of: Token, call: str, *arguments: str) -> int:
        value: int = devnet.call(of.address, call, "(uint256)", *arguments)[0]
        return value

    # what outsiders hold of all three is the pool's dollars, and no more
    held = {
        outer: raw(outer, "balanceOf(address)", inner.address),
        inner: raw(inner, "balanceOf(address)", pool.address),
        pool: raw(pool, "balanceOf(address)", outer.address),
    }
    outside = {of: raw(of, "totalSupply()") - held[of] for of in held}
    worth = sum(outside[of] * price[key] / 10 ** raw(of, "decimals()") for key, of in ids.items())
    assert float(worth) == pytest.approx(raw(usdc, "balanceOf(address)", pool.address) / 10**6, rel=1e-9)

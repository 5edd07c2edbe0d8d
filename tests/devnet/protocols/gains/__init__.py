"""A stand-in of gTrade's diamond: three collaterals, four pairs, trades of before and since v10, an order, a dead pair.

Funding and borrowing accrue over the waves' days; see the Solidity's comments.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...artifacts import compile_contracts
from ...chain import transaction
from ...tokens import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

__all__ = ["HAND", "LIMITS", "PRICES", "build"]

PRICES = {"BTC/USD": 90_000, "ETH/USD": 3_000, "EUR/JPY": 160}
"""Of the head; DOGE/USD has none."""
LIMITS = (5 * 10**8, 90 * 10**10, 75 * 10**10, 20_000, 100_000)
"""Most spread 0.05 %, 90 % of the margin up to 20 times falling to 75 % at 100 times."""
HAND = {"collateral": 1_000 * 10**6, "leverage": 10_000, "fees": 20 * 10**6, "pnl": 5 * 10**6}
"""A long of EUR/JPY at 160, ten times 1,000 USDC, 20 of fees and 5 of profit realised; the pair costs nothing else."""
_COLLATERALS = ("USDC", "WETH", "DAI")
_PAIRS = (*PRICES, "DOGE/USD")
_TRADE = "(address,uint32,uint16,uint24,bool,bool,uint8,uint8,uint120,uint64,uint64,uint64,bool,uint160,uint24)"
_OPEN = f"open({_TRADE},uint8,(uint40,uint40,uint40,uint24,uint24),uint64)"
_ADD_PAIR = "addPair(string,string,address,uint256,(uint256,uint256,uint256,uint16,uint256,int256,uint256))"
_NOBODY = "0x" + "00" * 20


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy before the first wave; see protocols.Build."""
    first_block = site.chain.head()[0] + 1
    compiled = compile_contracts("0.8.26", [Path(__file__).parent / "Diamond.sol"], viaIR=True, evmVersion="paris")
    diamond = site.deployer(compiled).deploy("Diamond")
    vaults = {name: site.account(f"vault:{name}") for name in _COLLATERALS}
    calls = []
    for name in _COLLATERALS:
        added = (site.tokens[name], site.feeds[name], vaults[name], DECIMALS[name])
        amount = 2_000 * 10 ** DECIMALS[name]
        calls.append(transaction(site.owner, diamond, "addCollateral(address,address,address,uint8)", *added))
        calls.append(transaction(site.owner, site.tokens[name], "mint(address,uint256)", vaults[name], amount))
    for n, pair in enumerate(_PAIRS):
        origin, quote = pair.split("/")
        is_free = pair == "EUR/JPY"
        # fee 0.06 %, least 1,500 USD, borrowing about 9 % a year, funding about 19 % a year, old fee
        terms = (6 * 10**8, 1_500 * 10**18, 150_000, 500, 3_000, 6 * 10**11 * (-1) ** n, 2 * 10**5)
        terms = (0, 0, 150_000, 1_000, 0, 0, 0) if is_free else terms
        feed = site.feeds["WBTC"] if pair == "BTC/USD" else _NOBODY
        spread = 0 if is_free else (4, 30)[n % 2] * 10**8
        calls.append(transaction(site.owner, diamond, _ADD_PAIR, origin, quote, feed, spread, terms))
    site.chain.send(calls)
    accounts: list[dict[str, Any]] = []
    counts: dict[str, int] = {}

    def trade(
        name: str,
        pair: str,
        is_long: bool,
        margin_usd: float,
        leverage: float,
        price: float,
        version: int = 2,
        kind: str = "crowd",
        order: int = 0,
        is_counter: bool = False,
    ) -> str:
        owner = site.account(f"trader:{len(accounts) // 2}")
        index = counts.get(owner, 0)
        counts[owner] = index + 1
        usd = {"WETH": 3_000}.get(name, 1)
        amount = int(margin_usd * 10 ** DECIMALS[name] / usd)
        raw = int(price * 10**10)
        collateral, listed = _COLLATERALS.index(name) + 1, _PAIRS.index(pair)
        given = (owner, 0, listed, int(leverage * 1000), is_long, True, collateral, order, amount, raw)
        limits = LIMITS if version else (0, 0, 0, 0, 0)
        # Half a per cent of price impact of the skew is in the price, and not in the size in tokens.
        size = amount * int(leverage * 1000) // 1000 * 10 ** (28 - DECIMALS[name]) * 200 // (raw * 199)
        tokens = size if version == 2 and pair == "BTC/USD" else 0
        call = (_OPEN, (*given, 0, 0, is_counter, tokens, 0), version, limits, raw)
        site.chain.send([transaction(site.owner, diamond, *call)])
        account = {"address": f"{owner}-{index}", "owner": owner, "index": index, "collateral": name, "pair": pair}
        accounts.append(account | {"kind": kind, "is_long": is_long, "version": version})
        return f"{owner}-{index}"

    draw = site.rng.uniform
    yield "rally"
    for n in range(18):
        pair = ("BTC/USD", "ETH/USD")[n % 2]
        entry = PRICES[pair] * draw(0.97, 1.03)
        trade(_COLLATERALS[n % 3], pair, n % 4 < 2, draw(50, 900), draw(1.1, 60), entry, (2, 2, 1, 0)[n % 4])
    yield "late"
    for n in range(24):
        pair = ("BTC/USD", "ETH/USD")[n % 2]
        entry = PRICES[pair] * draw(0.995, 1.005)
        trade(_COLLATERALS[n % 3], pair, n % 4 < 2, draw(50, 900), draw(2, 150), entry, is_counter=n % 7 == 0)
    for n in range(4):
        trade("DAI", "BTC/USD", n < 2, 400, 20, 90_000 * (1.06 if n < 2 else 0.94), kind="under_water")
    trade("USDC", "DOGE/USD", True, 100, 5, 0.2, kind="unpriced")
    trade("USDC", "ETH/USD", True, 100, 5, 2_900, kind="order", order=1)
    yield "settle"
    hand = trade("USDC", "EUR/JPY", True, 1_000, 10, 160, kind="hand")
    owner, index = hand.split("-")
    realize = ("realize(address,uint32,int256,uint256)", owner, int(index), HAND["pnl"], HAND["fees"])
    site.chain.send([transaction(site.owner, diamond, *realize)])
    given = [f"{pair}={price}" for pair, price in PRICES.items()]
    return {
        "reads": [site.reads("gains", "gTrade", diamond, first_block) | {"prices": given}],
        "diamond": diamond,
        "vaults": vaults,
        "prices": given,
        "pairs": list(_PAIRS),
        "collaterals": list(_COLLATERALS),
        "first_block": first_block,
        "accounts": accounts,
        "hand": hand,
    }

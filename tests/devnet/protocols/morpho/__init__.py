"""Morpho Blue with eight sound markets, three broken ones, and a MetaMorpho vault whose shares are collateral, too.

Morpho, its AdaptiveCurveIrm and MetaMorpho are compiled from their own source; oracles and feeds are stand-ins, whose
files say what they imitate. Fees are on in one market; bad debt has been realised in it, and somebody else is under
water. `kinds` of feed (collateral, loan) follow from what each oracle is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...artifacts import AAVE_3_0, Artifacts
from ...chain import deploy, transaction
from ...plans import MAX_UINT
from ...tokens import DECIMALS
from .contracts import NOBODY, PARAMS, Market, compile_all, deploy_oracle
from .crowd import Crowd

if TYPE_CHECKING:
    from collections.abc import Generator

    from .. import Site

DAY = 86_400
E18, E8, E6 = 10**18, 10**8, 10**6
FEE = 10**17
VAULT = "mmUSDC"
BROKEN = ("dead", "reverting", "unpriced")


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    chain, owner, compiled = site.chain, site.owner, compile_all()
    first_block = chain.head()[0] + 1
    morpho = deploy(chain, owner, compiled["Morpho"], owner)
    irm = deploy(chain, owner, compiled["AdaptiveCurveIrm"], morpho)
    vault = deploy(
        chain, owner, compiled["MetaMorpho"], owner, morpho, DAY, site.tokens["USDC"], "MetaMorpho USDC", VAULT
    )
    tokens = site.tokens | {VAULT: vault} | _extra_tokens(site)
    markets = _create_markets(site, compiled, morpho, irm, tokens)
    crowd = Crowd(site, markets)
    _set_fee(site, markets["weth_usdc"])
    for key, amount in _LENT.items():
        crowd.lend(key, amount)
    caps = {"weth_usdc": 20_000_000 * E6, "wbtc_usdc": 15_000_000 * E6, "idle": 10**30}
    cap_types = f"{PARAMS},uint256"
    for key, cap in caps.items():
        _as_owner(site, vault, f"submitCap({cap_types})", markets[key].params, cap)

    yield "glitch"  # ETH at twice its price: under water when it is back
    (lost,) = crowd.borrow("weth_usdc", [40 * E18], (0.9, 0.95), "bad_debtor")
    (sunk,) = crowd.borrow("weth_usdc", [7 * E18], (0.64, 0.66), "under_water")
    crowd.borrow("dead", [60_000 * E18], (0.965116279, 0.965116279))  # all that was lent
    crowd.borrow("reverting", [1_000 * E18], (0.5, 0.6))
    crowd.borrow("unpriced", [1_000 * E18], (0.5, 0.6))
    yield "rally"
    for key in caps:
        chain.send([transaction(owner, vault, f"acceptCap({PARAMS})", markets[key].params)])
    _as_owner(site, vault, "setSupplyQueue(bytes32[])", [markets[key].id for key in caps])
    depositors = [_deposit(site, vault, f"depositor:{n}", (9_000_000 + 777_777 * n) * E6 + n) for n in range(4)]
    rng = site.rng
    crowd.borrow("weth_usdc", [int(rng.uniform(2, 400) * E18) for _ in range(16)], (0.3, 0.95))
    crowd.borrow("weth_usdc", [int(rng.uniform(2, 90) * E18) for _ in range(3)], (0.97, 0.99), "liquidatable")
    for turns in range(1, 16):
        crowd.loop("wsteth_weth", int(rng.uniform(1, 300) * E18), turns, rng.uniform(0.8, 0.985))
    crowd.borrow("wbtc_usdc", [int(rng.uniform(0.05, 20) * E8) for _ in range(16)], (0.3, 0.98))
    yield "slump"
    for turns in range(1, 13):
        crowd.loop("wsteth_weth", int(rng.uniform(1, 300) * E18), turns, rng.uniform(0.8, 0.97))
    crowd.borrow("wsteth_usdc", [int(rng.uniform(1, 200) * E18) for _ in range(12)], (0.3, 0.97))
    crowd.borrow("weth_dai", [int(rng.uniform(1, 200) * E18) for _ in range(10)], (0.3, 0.97))
    crowd.borrow("pt_usdc", [int(rng.uniform(1e3, 5e5) * E18) for _ in range(8)], (0.5, 0.995))
    held = [_deposit(site, vault, f"share_borrower:{n}", (40_000 + 31_111 * n) * E6) for n in range(8)]
    _pledge_shares(site, markets["share_dai"], crowd, held, vault)
    yield "late"
    crowd.borrow("weth_usdc", [int(rng.uniform(1, 300) * E18) for _ in range(14)], (0.3, 0.9))
    crowd.borrow("weth_usdc", [10**12, 10**13, 3 * 10**12], (0.1, 0.9), "dust")
    crowd.borrow("wsteth_weth", [40, 61, 170], (0.1, 0.9), "dust")
    crowd.lend("wbtc_usdc", 1, "dust_lender")
    crowd.pledge("wbtc_usdc", 3 * E8)
    crowd.pledge("wsteth_weth", 11 * E18)
    _realise_bad_debt(site, markets["weth_usdc"], crowd, lost)
    for market, answer in (("dead", 10**12), ("reverting", 0)):
        chain.send([transaction(owner, markets[market].oracle, "setPrice(uint256)", answer)])
    yield "settle"
    chain.send([markets["share_dai"].call(owner, "accrueInterest", "")])
    return {
        "reads": [site.reads("morpho_blue", "Morpho Blue", morpho, first_block)],
        "address": morpho,
        "first_block": first_block,
        "irm": irm,
        "vault": vault,
        "tokens": {symbol: address for symbol, address in tokens.items() if symbol not in site.tokens},
        "markets": {
            key: {"id": "0x" + market.id.hex(), "params": list(market.params), "kinds": list(_KINDS.get(key, ()))}
            for key, market in markets.items()
        },
        "accounts": crowd.accounts,
        "depositors": depositors,
        "fee_recipient": site.account("fee recipient"),
        "bad_debtor": lost,
        "under_water": sunk,
        "broken": list(BROKEN),
    }


_LENT = {
    "wsteth_weth": 60_000 * E18,
    "weth_usdc": 20_000_000 * E6,
    "wbtc_usdc": 9_000_000 * E6,
    "wsteth_usdc": 12_000_000 * E6,
    "weth_dai": 8_000_000 * E18,
    "pt_usdc": 6_000_000 * E6,
    "share_dai": 4_000_000 * E18,
    "dead": 49_800 * E6,
    "reverting": 10 * E18,
    "unpriced": 1_000 * E18,
}
_KINDS = {  # collateral, loan
    "wsteth_weth": ("ratio", "market"),
    "weth_usdc": ("market", "market"),
    "wbtc_usdc": ("market", "market"),
    "wsteth_usdc": ("ratio", "market"),
    "weth_dai": ("market", "fixed"),
    "pt_usdc": ("ratio", "market"),
    "share_dai": ("ratio", "market"),
    "idle": ("market",),
}


def _extra_tokens(site: Site) -> dict[str, str]:
    deployer = site.deployer(Artifacts(AAVE_3_0))
    return {name: deployer.deploy("MintableERC20", name, name, 18) for name in ("PT-yUSDC", "DEAD", "FOO", "BAR")}


def _create_markets(
    site: Site, compiled: dict[str, Any], morpho: str, irm: str, tokens: dict[str, str]
) -> dict[str, Market]:
    chain, owner, feeds = site.chain, site.owner, site.feeds
    places = dict.fromkeys(tokens, 18) | DECIMALS | {VAULT: DECIMALS["USDC"]}  # of a vault: of what it converts to
    rate = deploy(chain, owner, compiled["ExchangeRateFeed"], feeds["wstETH"])
    maturity = chain.head()[1] + 180 * DAY
    discount = deploy(chain, owner, compiled["LinearDiscountFeed"], tokens["PT-yUSDC"], maturity, 12 * 10**16)
    eth, btc, usdc, dai = (feeds[symbol] for symbol in ("WETH", "WBTC", "USDC", "DAI"))
    made = {  # collateral, loan, feeds above and below, LLTV in thousandths
        "wsteth_weth": ("wstETH", "WETH", (rate,), (), 945),
        "weth_usdc": ("WETH", "USDC", (eth,), (usdc,), 860),
        "wbtc_usdc": ("WBTC", "USDC", (btc,), (usdc,), 860),
        "wsteth_usdc": ("wstETH", "USDC", (rate, eth), (usdc,), 860),
        "weth_dai": ("WETH", "DAI", (eth,), (), 770),
        "pt_usdc": ("PT-yUSDC", "USDC", (discount,), (), 915),
        "share_dai": (VAULT, "DAI", (usdc,), (dai,), 915),
    }
    settable = {  # collateral, loan, raw price
        "dead": ("DEAD", "USDC", 10**24),
        "reverting": ("DEAD", "WETH", 10**33),
        "unpriced": ("FOO", "BAR", 10**36),
    }
    markets = {}
    for key, (held, lent, above, below, lltv) in made.items():
        vault = (tokens[VAULT], E18) if held == VAULT else (NOBODY, 1)
        oracle = deploy_oracle(chain, owner, compiled, above, below, (places[held], places[lent]), *vault)
        markets[key] = Market(morpho, held, lent, tokens[lent], tokens[held], oracle, irm, lltv * 10**15)
    for key, (held, lent, price) in settable.items():
        oracle = deploy(chain, owner, compiled["SettableOracle"], price)
        markets[key] = Market(morpho, held, lent, tokens[lent], tokens[held], oracle, irm, 860 * 10**15)
    markets["idle"] = Market(morpho, "", "USDC", tokens["USDC"], NOBODY, NOBODY, NOBODY, 0)
    setup = [transaction(owner, morpho, "enableIrm(address)", model) for model in (irm, NOBODY)]
    setup += [
        transaction(owner, morpho, "enableLltv(uint256)", lltv) for lltv in sorted({m.lltv for m in markets.values()})
    ]
    chain.send([*setup, *(market.call(owner, "createMarket", "") for market in markets.values())])
    return markets


def _set_fee(site: Site, market: Market) -> None:
    recipient = site.account("fee recipient")
    site.chain.send(
        [
            transaction(site.owner, market.morpho, "setFeeRecipient(address)", recipient),
            market.call(site.owner, "setFee", ",uint256", FEE),
        ]
    )


def _as_owner(site: Site, to: str, signature: str, *arguments: Any) -> None:
    site.chain.send([transaction(site.owner, to, signature, *arguments)])


def _deposit(site: Site, vault: str, role: str, amount: int) -> str:
    user, usdc = site.account(role), site.tokens["USDC"]
    site.chain.send(
        [
            transaction(user, usdc, "mint(address,uint256)", user, amount),
            transaction(user, usdc, "approve(address,uint256)", vault, MAX_UINT),
            transaction(user, vault, "deposit(uint256,address)", amount, user),
        ]
    )
    return user


def _pledge_shares(site: Site, market: Market, crowd: Crowd, users: list[str], vault: str) -> None:
    """Depositors use their shares as collateral."""
    price = crowd.price("share_dai")
    for user in users:
        shares = site.chain.call(vault, "balanceOf(address)", "(uint256)", user)[0]
        owed = int(crowd.most(market, shares, price) * site.rng.uniform(0.4, 0.995))
        approve = transaction(user, vault, "approve(address,uint256)", market.morpho, MAX_UINT)
        site.chain.send([approve, market.pledge(user, shares), market.borrow(user, owed)])
        crowd.accounts.append({"address": user, "market": "share_dai", "kind": "borrower"})


def _realise_bad_debt(site: Site, market: Market, crowd: Crowd, user: str) -> None:
    """Liquidate somebody of all collateral: what is still owed falls on the market's suppliers."""
    liquidator = site.account("liquidator")
    _, _, collateral = site.chain.call(
        market.morpho, "position(bytes32,address)", "(uint256,uint128,uint128)", market.id, user
    )
    crowd.fund(market, liquidator, market.loan, 10_000_000 * E6)
    site.chain.send([market.liquidate(liquidator, user, seized=collateral)])

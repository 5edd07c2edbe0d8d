"""Rounds on the devnet: everyone whom an Aave market reports below 1 is liquidated once, then liquidators sell."""

from dataclasses import dataclass

from tests.contagion.test_real_liquidations import LIQUIDATION_CALL, LIQUIDATOR, TRANSFER
from tests.devnet.chain import transaction
from tests.devnet.description import Deployment
from tests.devnet.plans import MAX_UINT
from tests.devnet.session import Devnet
from tests.devnet.test_devnet import WAD, account_data, read_all
from tests.devnet.tokens import DECIMALS, FINAL, PRICE_UNIT, RATIO_UNIT
from tests.devnet.uniswap import SpotPool

_USER_RESERVE = ("getUserReserveData(address,address)", "(" + "uint256," * 7 + "uint40,bool)")


@dataclass(frozen=True, slots=True)
class Position:
    """What an account has, by symbol, in raw units; `collateral` is what it has enabled as such of `supplied`."""

    supplied: dict[str, int]
    collateral: dict[str, int]
    debt: dict[str, int]


@dataclass(frozen=True, slots=True)
class Liquidated:
    """One liquidationCall, in raw units; `seized` includes the protocol's `fee`."""

    account: str
    collateral: str
    debt: str
    health_factor: float
    repaid: int
    seized: int
    fee: int


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did, the bad debt it left in USD at its own prices, and the pool's price after its sale."""

    liquidated: list[Liquidated]
    bad_debt_usd: float
    price: float


def run_rounds(devnet: Devnet, market: Deployment, pool: SpotPool, users: list[str], timestamp: int) -> list[Round]:
    """Liquidate and sell until nobody of `users` with collateral is below 1, every block at `timestamp`."""
    rounds = []
    while done := liquidate_once(devnet, market, users, timestamp):
        after = account_data(devnet, market, [one.account for one in done])
        bad_debt = sum(debt for collateral, debt, *_ in after if not collateral) / PRICE_UNIT
        sold = weth_to_sell(done)
        assert sold > 0  # a purchase would pay the pool's fee in USDC, and move the price by another formula
        devnet.send_many([pool.sell(LIQUIDATOR, sold)], timestamp)
        rounds.append(Round(done, bad_debt, pool.price()))
    return rounds


def liquidate_once(devnet: Devnet, market: Deployment, users: list[str], timestamp: int) -> list[Liquidated]:
    """Liquidate everyone below 1 who has both sides, in one block: the largest debt out of the largest collateral."""
    rows = dict(zip(users, account_data(devnet, market, users), strict=True))
    below = [user for user, (collateral, debt, *_, health) in rows.items() if collateral and debt and health < WAD]
    if not below:
        return []
    prices = {
        symbol: devnet.call(market.oracle, "getAssetPrice(address)", "(uint256)", token)[0] / 10 ** DECIMALS[symbol]
        for symbol, token in devnet.tokens.items()
    }
    legs = {
        user: (_largest(position.collateral, prices), _largest(position.debt, prices))
        for user, position in read_positions(devnet, market, below).items()
    }
    signature = "liquidationCall(address,address,address,uint256,bool)"
    calls = [
        transaction(
            *(LIQUIDATOR, market.pool, signature, devnet.tokens[collateral], devnet.tokens[debt], user),
            *(MAX_UINT, False),
        )
        for user, (collateral, debt) in legs.items()
    ]
    receipts = devnet.send_many(calls, timestamp)
    treasury = read_treasury(devnet, market)
    done = []
    for (user, (collateral, debt)), receipt in zip(legs.items(), receipts, strict=True):
        event = next(log["data"] for log in receipt["logs"] if log["topics"][0] == LIQUIDATION_CALL)
        repaid, paid_out = int(event[2:66], 16), int(event[66:130], 16)
        payment = [TRANSFER[-40:], user[2:].lower(), treasury[2:]]
        fee = sum(
            int(log["data"], 16) for log in receipt["logs"] if [topic[-40:] for topic in log["topics"]] == payment
        )
        done.append(Liquidated(user, collateral, debt, rows[user][5] / WAD, repaid, paid_out + fee, fee))
    return done


def weth_to_sell(liquidated: list[Liquidated]) -> int:
    """Raw WETH that brings liquidators' stock back: paid out to them less repaid, wstETH by its ratio."""

    def net(symbol: str) -> int:
        received = sum(one.seized - one.fee for one in liquidated if one.collateral == symbol)
        return received - sum(one.repaid for one in liquidated if one.debt == symbol)

    return net("WETH") + net("wstETH") * round(FINAL.ratio * RATIO_UNIT) // RATIO_UNIT


def read_positions(devnet: Devnet, market: Deployment, users: list[str]) -> dict[str, Position]:
    """Every user's supplies and debts with interest, as the market's data provider reports them."""
    questions = [(token, user) for user in users for token in devnet.tokens.values()]
    answers = iter(read_all(devnet, market.data_provider, *_USER_RESERVE, questions))
    found = {}
    for user in users:
        rows = {symbol: next(answers) for symbol in devnet.tokens}
        found[user] = Position(
            supplied={symbol: row[0] for symbol, row in rows.items() if row[0]},
            collateral={symbol: row[0] for symbol, row in rows.items() if row[0] and row[8]},
            debt={symbol: row[1] + row[2] for symbol, row in rows.items() if row[1] + row[2]},
        )
    return found


def read_treasury(devnet: Devnet, market: Deployment) -> str:
    """Address that the protocol's fees go to, in lower case."""
    treasury: str = devnet.call(market.a_tokens["WETH"], "RESERVE_TREASURY_ADDRESS()", "(address)")[0]
    return treasury.lower()


def _largest(amounts: dict[str, int], prices: dict[str, float]) -> str:
    return max(amounts, key=lambda symbol: amounts[symbol] * prices[symbol])

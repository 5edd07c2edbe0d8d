"""The accounts of a Compound v2 comptroller: who may hold a position, by events, and what each one holds.

Who owes is not indexed in Borrow (nor who enters in MarketEntered of the original): no node can search for an account.
All logs of the cTokens are read instead. Every way to hold cTokens (a mint, a transfer, a seizure) emits the token's
own Transfer, whose receiver is its third topic; every debt begins with a Borrow, whose borrower is the first word of
its data. Debt in VAI begins with a MintVAI of the VAI controller, the minter the first word of the data.
"""

from collections.abc import Sequence

from defi_leverage.abi import address_word, checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.errors import ReaderError
from defi_leverage.protocols import Progress
from defi_leverage.protocols.compound_v2.comptroller import Comptroller
from defi_leverage.protocols.compound_v2.health import Factors, Holder
from defi_leverage.protocols.compound_v2.markets import Market
from defi_leverage.questions import call_in_parts, decode_all

__all__ = ["find_candidates", "read_holders"]

VAI = -1
"""Stands for the debt in VAI, which is not a market."""

_LIQUIDATION_THRESHOLD = 1  # WeightFunction.USE_LIQUIDATION_THRESHOLD of Venus
_WORD = 64


async def find_candidates(
    chain: Chain, comptroller: Comptroller, first_block: int, progress: Progress
) -> dict[str, set[int]]:
    """Every address (lower case) that may hold a position -> the markets, by index, in which it may.

    Whoever may owe VAI has VAI among them.
    """
    abi = load_abi("compound_v2")
    transfer, borrow = abi.topic("Transfer"), abi.topic("Borrow")
    at = {token: index for index, token in enumerate(comptroller.markets)}
    candidates: dict[str, set[int]] = {}
    progress("events", 0, 2)
    for log in await chain.logs(list(at), [[transfer, borrow]], first_block):
        try:
            word = log.topics[2] if log.topics[0] == transfer else log.data[:32].hex().rjust(_WORD, "0")
            account = "0x" + word[-40:]
            if log.topics[0] == borrow and len(log.data) < 32:
                raise IndexError
        except IndexError:
            raise ReaderError(
                f"{log.address} emits an event in block {log.block} that is not one of a cToken. This reader cannot "
                "read the fork: take the deployment out of the configuration."
            ) from None
        candidates.setdefault(account, set()).add(at[log.address])
    progress("events", 1, 2)
    if comptroller.vai_controller:
        for log in await chain.logs([comptroller.vai_controller], [[abi.topic("MintVAI")]], first_block):
            account = abi.decode_log("MintVAI", log)["minter"].lower()
            candidates.setdefault(account, set()).add(VAI)
    progress("events", 2, 2)
    return candidates


async def read_holders(
    chain: Chain,
    comptroller: Comptroller,
    markets: Sequence[Market],
    candidates: dict[str, set[int]],
    progress: Progress,
    *,
    current: bool = False,
) -> list[Holder]:
    """The candidates with any position, by address, with their balances and what the comptroller reports of them.

    `current`: their debts as after accrueInterest at the pinned block, too.
    """
    holders = {account: Holder(account) for account in sorted(candidates)}
    pairs = [(holder, index) for account, holder in holders.items() for index in sorted(candidates[account])]
    await _read_balances(chain, comptroller, markets, pairs, "balances", progress)
    found = [holder for holder in holders.values() if holder.tokens or holder.debts or holder.vai or holder.fault]
    await _read_reports(chain, comptroller, found, progress)
    # The comptroller looks at every market that an account has entered; where no event named one, it holds nothing.
    entered = [
        (holder, index)
        for holder in found
        for index in holder.entered
        if index not in candidates[holder.address] and index >= 0
    ]
    await _read_balances(chain, comptroller, markets, entered, "entered markets", progress)
    if comptroller.has_pools:
        await _read_factors(chain, comptroller, markets, found, progress)
    if current:
        await _read_current_debts(chain, markets, found, progress)
    for holder in found:
        holder.address = checksum_address(holder.address)
    return found


async def _read_balances(
    chain: Chain,
    comptroller: Comptroller,
    markets: Sequence[Market],
    pairs: Sequence[tuple[Holder, int]],
    stage: str,
    progress: Progress,
) -> None:
    abi = load_abi("compound_v2")
    snapshot, repay = abi.function("getAccountSnapshot").selector, abi.function("getVAIRepayAmount").selector
    calls = [
        (comptroller.vai_controller, repay + address_word(holder.address))
        if index == VAI
        else (markets[index].address, snapshot + address_word(holder.address))
        for holder, index in pairs
    ]
    for (holder, index), answer in zip(pairs, await call_in_parts(chain, calls, stage, progress), strict=True):
        if index == VAI:
            owed = _words(answer, 1)
            if owed is None:
                holder.fault = "its debt in VAI cannot be read"
            else:
                holder.vai = owed[0]
            continue
        balance = _words(answer, 4)
        if balance is None or balance[0]:
            # A market that answers nobody is named once, in the gaps; its accounts are known by their other positions.
            holder.unread.add(index)
            continue
        _, tokens, debt, _ = balance
        if tokens:
            holder.tokens[index] = tokens
        if debt:
            holder.debts[index] = debt


async def _read_reports(chain: Chain, comptroller: Comptroller, holders: Sequence[Holder], progress: Progress) -> None:
    """What the comptroller says of each: what it has entered, its liquidity, and its pool where there are any."""
    abi = load_abi("compound_v2")
    functions = ["getAssetsIn", "getAccountLiquidity", *(["userPoolId"] if comptroller.has_pools else [])]
    selectors = [abi.function(name).selector for name in functions]
    calls = [
        (comptroller.address, selector + address_word(holder.address)) for holder in holders for selector in selectors
    ]
    answers = await call_in_parts(chain, calls, "health", progress)
    at = {token: index for index, token in enumerate(comptroller.markets)}
    for place, holder in enumerate(holders):
        entered, liquidity, *pool = answers[place * len(functions) : (place + 1) * len(functions)]
        assets = decode_all(load_abi("compound_v2"), "getAssetsIn", entered)
        if assets is None:
            holder.fault = "the markets that it has entered cannot be read"
        elif unknown := [asset for asset in assets[0] if asset not in at]:
            holder.fault = f"has entered {unknown[0]}, which the comptroller does not list"
        else:
            holder.entered = tuple(at[asset] for asset in assets[0])
        report = _words(liquidity, 3)
        if report is not None:
            holder.reported = (report[0], report[1], report[2])
        if pool:
            number = _words(pool[0], 1)
            if number is None:
                holder.fault = "its e-mode pool cannot be read"
            else:
                holder.pool = number[0]


async def _read_factors(
    chain: Chain, comptroller: Comptroller, markets: Sequence[Market], holders: Sequence[Holder], progress: Progress
) -> None:
    """The threshold and incentive that apply to accounts in an e-mode pool, market by market, as the contract says."""
    abi = load_abi("compound_v2")
    pairs = [(holder, index) for holder in holders if holder.pool for index in {*holder.tokens, *holder.entered}]
    calls = []
    for holder, index in pairs:
        account, token = holder.address, markets[index].address
        threshold = abi.encode("getEffectiveLtvFactor", account, token, _LIQUIDATION_THRESHOLD)
        calls += [
            (comptroller.address, threshold),
            (comptroller.address, abi.encode("getEffectiveLiquidationIncentive", account, token)),
        ]
    answers = await call_in_parts(chain, calls, "pools", progress)
    for (holder, index), of_threshold, of_incentive in zip(pairs, answers[::2], answers[1::2], strict=True):
        limit, incentive = _words(of_threshold, 1), _words(of_incentive, 1)
        if limit is None or incentive is None:
            holder.fault = f"its threshold in e-mode pool {holder.pool} cannot be read"
        else:
            holder.factors[index] = Factors(limit[0], incentive[0])


async def _read_current_debts(
    chain: Chain, markets: Sequence[Market], holders: Sequence[Holder], progress: Progress
) -> None:
    selector = load_abi("compound_v2").function("borrowBalanceCurrent").selector
    pairs = [(holder, index) for holder in holders for index in holder.debts]
    calls = [(markets[index].address, selector + address_word(holder.address)) for holder, index in pairs]
    for (holder, index), answer in zip(
        pairs, await call_in_parts(chain, calls, "current debts", progress), strict=True
    ):
        debt = _words(answer, 1)
        if debt is None:
            holder.fault = f"its current debt in {markets[index].symbol} cannot be read"
        else:
            holder.current_debts[index] = debt[0]


def _words(answer: bytes | None, count: int) -> tuple[int, ...] | None:
    if answer is None or len(answer) != 32 * count:
        return None
    return tuple(int.from_bytes(answer[32 * at : 32 * at + 32], "big") for at in range(count))

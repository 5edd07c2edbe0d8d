"""Who owes and who holds shares of Euler's vaults, by events, and how much."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from defi_leverage.abi import address_in, load_abi
from defi_leverage.chain import Call, Chain
from defi_leverage.protocols import Progress
from defi_leverage.protocols.euler_v2.vaults import Vault
from defi_leverage.questions import NOBODY, Question, ask_all

__all__ = ["Borrower", "find_candidates", "read_borrowers", "read_shares"]

_PART = 20_000  # calls between two reports of progress

Pairs = dict[str, set[str]]  # vault -> accounts


@dataclass
class Borrower:
    """An account that owes a vault: raw debt, shares and quotes (unit of account) by collateral that can be seized, the
    debt's quote, and what accountLiquidity reports. `fault`: why it cannot be read.

    Shares of a vault on the LTV list can be seized whatever their LTV is now, as long as the oracle quotes them
    (Liquidation.calculateLiquidation: isRecognizedCollateral; calculateMaxLiquidation: getQuote).
    """

    account: str
    debt: int
    held: dict[str, int] = field(default_factory=dict)
    quotes: dict[str, int] = field(default_factory=dict)
    liability: int = 0
    reported: tuple[int, int] = (0, 0)
    fault: str = ""


async def find_candidates(
    chain: Chain, connectors: Iterable[str], vaults: Sequence[str], first_block: int, progress: Progress
) -> tuple[Pairs, Pairs, dict[str, str]]:
    """Vault -> accounts that may owe it, vault -> accounts that may hold its shares, and the registered owners.

    Owners are by the 38 digits that their 256 accounts share. Who owes a vault has enabled it as controller first, on
    the connector; shares are received by a transfer. Fees are shares of nobody until they are claimed, by a transfer,
    too.
    """
    abi = load_abi("euler_v2")
    owing: Pairs = {vault: set() for vault in vaults}
    holding: Pairs = {vault: set() for vault in vaults}
    owners: dict[str, str] = {}
    registered, enabled = abi.topic("OwnerRegistered"), abi.topic("ControllerStatus")
    progress("events", 0, 2)
    for log in await chain.logs(sorted(connectors), [[registered, enabled]], first_block):
        if len(log.topics) != 3:
            continue
        who = address_in(log.topics[2])
        if log.topics[0] == registered:
            owners[log.topics[1][2:40]] = who
        elif who in owing:
            owing[who].add(address_in(log.topics[1]))
    progress("events", 1, 2)
    for log in await chain.logs(list(vaults), [[abi.topic("Transfer")]], first_block):
        if len(log.topics) == 3:
            holding[log.address].add(address_in(log.topics[2]))
    progress("events", 2, 2)
    for accounts in holding.values():
        accounts.discard(NOBODY)
    return owing, holding, owners


async def read_shares(chain: Chain, holding: Pairs, progress: Progress) -> dict[str, dict[str, int | None]]:
    """Vault -> account -> shares, for accounts that have any; None where they cannot be read."""
    pairs = [(vault, account) for vault in sorted(holding) for account in sorted(holding[vault])]
    balances = await _numbers(chain, [(vault, "balanceOf", (account,)) for vault, account in pairs], "shares", progress)
    found: dict[str, dict[str, int | None]] = {vault: {} for vault in holding}
    for (vault, account), balance in zip(pairs, balances, strict=True):
        if balance != 0:
            found[vault][account] = balance
    return found


async def read_borrowers(
    chain: Chain, vaults: Mapping[str, Vault], owing: Pairs, progress: Progress
) -> dict[str, list[Borrower]]:
    """Vault -> its borrowers, with what the vault and its oracle say of them."""
    pairs = [(vault, account) for vault in sorted(vaults) for account in sorted(owing[vault])]
    debts = await _numbers(chain, [(vault, "debtOf", (account,)) for vault, account in pairs], "debts", progress)
    found: dict[str, list[Borrower]] = {vault: [] for vault in vaults}
    owed = [(vaults[vault], Borrower(account, debt or 0, fault=_unless(debt, "debt")))
            for (vault, account), debt in zip(pairs, debts, strict=True) if debt != 0]  # fmt: skip
    for vault, borrower in owed:
        found[vault.address].append(borrower)
    pledged = await ask_all(
        chain, load_abi("euler_v2"), [(vault.connector, "getCollaterals", (one.account,)) for vault, one in owed]
    )
    counted = [
        (vault, one, collateral)
        for (vault, one), answer in zip(owed, pledged, strict=True)
        for collateral in (answer[0] if answer else ())
        if collateral in vault.ltvs
    ]
    for (_, one), answer in zip(owed, pledged, strict=True):
        one.fault = one.fault or ("" if answer else "its collaterals cannot be read")
    asked: list[Question] = [(collateral, "balanceOf", (one.account,)) for _, one, collateral in counted]
    for (vault, one, collateral), balance in zip(
        counted, await _numbers(chain, asked, "collateral", progress), strict=True
    ):
        if vault.ltvs[collateral]:
            one.fault = one.fault or _unless(balance, f"balance of {collateral}")
        if balance:
            one.held[collateral] = balance
    await _read_quotes(chain, owed, progress)
    return found


async def _read_quotes(chain: Chain, owed: Sequence[tuple[Vault, Borrower]], progress: Progress) -> None:
    """What the oracle says of each amount by itself, and the vault of the whole account."""
    amounts = [
        (vault, one, token, amount, is_debt)
        for vault, one in owed
        for is_debt, part in ((False, one.held), (True, {vault.asset.address: one.debt}))
        for token, amount in part.items()
    ]
    asked: list[Question] = [
        (vault.oracle, "getQuote", (amount, token, vault.unit))
        for vault, _, token, amount, _ in amounts
        if token != vault.unit
    ]
    quoted = iter(await _numbers(chain, asked, "quotes", progress))
    for vault, one, token, amount, is_debt in amounts:
        quote = amount if token == vault.unit else next(quoted)
        if not quote and not is_debt and not vault.ltvs[token]:
            del one.held[token]  # the vault does not ask for its price, and nobody can seize it
            continue
        one.fault = one.fault or _unless(quote, f"quote of {token}")
        if is_debt:
            one.liability = quote or 0
        else:
            one.quotes[token] = quote or 0
    reports = await ask_all(
        chain, load_abi("euler_v2"), [(vault.address, "accountLiquidity", (one.account, True)) for vault, one in owed]
    )
    for (_, one), report in zip(owed, reports, strict=True):
        one.fault = one.fault or ("" if report else "the vault does not answer accountLiquidity")
        one.reported = (report[0], report[1]) if report else (0, 0)


async def _numbers(chain: Chain, questions: Sequence[Question], stage: str, progress: Progress) -> list[int | None]:
    """One word for each question, None where it fails."""
    abi = load_abi("euler_v2")
    calls: list[Call] = [(to, abi.encode(name, *arguments)) for to, name, arguments in questions]
    found: list[int | None] = []
    progress(stage, 0, len(calls))
    for start in range(0, len(calls), _PART):
        answers = await chain.call(calls[start : start + _PART])
        found += [int.from_bytes(answer, "big") if answer and len(answer) == 32 else None for answer in answers]
        progress(stage, len(found), len(calls))
    return found


def _unless(answer: int | None, name: str) -> str:
    return "" if answer is not None else f"its {name} cannot be read"

"""The loans of a market: what each holds in which bands, and its health, as the contract computes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import WAD
from defi_leverage.protocols import Progress
from defi_leverage.protocols.crvusd.arithmetic import Band, full_health, health, remaining_bands, x_down
from defi_leverage.protocols.crvusd.markets import Market
from defi_leverage.questions import Question, ask, ask_list

__all__ = ["Loan", "read_loans"]

_PART = 4_000  # loans between two reports of progress
_UNEVEN = 50  # a loan's bands are filled alike where x_down says so to a fiftieth


@dataclass(frozen=True, slots=True)
class Loan:
    """A loan: raw collateral left, raw borrowed tokens that soft liquidation has got for the rest, raw debt.

    `health` is the controller's, at 1e18, in full. `discount`: the loan's own liquidation discount, wad. `top`: upper
    edge (wad price) of what is not sold yet, `bands` its height in bands, wad; both 0 where all is sold. `down`: what
    it would hold after a slow fall through all its bands. `uneven`: its bands do not hold what even filling would.
    """

    user: str
    collateral: int = 0
    stablecoin: int = 0
    debt: int = 0
    health: int = 0
    discount: int = 0
    top: int = 0
    bands: int = 0
    down: int = 0
    uneven: bool = False
    problem: str = ""


async def read_loans(chain: Chain, market: Market, progress: Progress) -> list[Loan] | None:
    """Every loan of the controller's list; None where it has no list. Of a market with a problem the users alone."""
    abi = load_abi("crvusd")
    users = await ask_list(chain, abi, market.controller, "n_loans", "loans")
    if users is None:
        return None
    loans = [
        Loan(f"loan {at}", problem="the list of loans does not say whose it is")
        for at, user in enumerate(users)
        if user is None
    ]
    users = [user for user in users if user is not None]
    if market.problem:
        return [*loans, *(Loan(user, problem=market.problem) for user in users)]
    progress(f"loans {market.name}", 0, len(users))
    for start in range(0, len(users), _PART):
        part = users[start : start + _PART]
        loans += await _read_part(chain, market, part)
        progress(f"loans {market.name}", start + len(part), len(users))
    return loans


async def _read_part(chain: Chain, market: Market, users: Sequence[str]) -> list[Loan]:
    abi = load_abi("crvusd")
    questions: list[Question] = []
    for user in users:
        questions += [
            (market.controller, "user_state", (user,)),
            (market.controller, "liquidation_discounts", (user,)),
            (market.controller, "health", (user, False)),
            (market.controller, "health", (user, True)),
            (market.amm, "read_user_tick_numbers", (user,)),
            (market.amm, "get_x_down", (user,)),
        ]
    answers = await ask(chain, abi, questions)
    rows = [answers[at : at + 6] for at in range(0, len(answers), 6)]
    numbers = sorted({market.active_band, *(row[4][0] for row in rows if row[4] is not None)})
    edges = await ask(chain, abi, [(market.amm, "p_oracle_up", (number,)) for number in numbers])
    tops = dict(zip(numbers, edges, strict=True))
    x, y = await ask(chain, abi, [(market.amm, name, (market.active_band,)) for name in ("bands_x", "bands_y")])
    active = Band(x or 0, y or 0)
    return [_loan(market, user, row, tops, active) for user, row in zip(users, rows, strict=True)]


def _loan(market: Market, user: str, row: Sequence[Any], tops: dict[int, int | None], active: Band) -> Loan:
    if any(answer is None for answer in row) or tops[row[4][0]] is None or tops[market.active_band] is None:
        return Loan(user, problem="it cannot be read")
    (collateral, stablecoin, debt, number), discount, plain, full, (first, last), down = row
    if not debt:
        return Loan(user, problem="it is in the list of loans and owes nothing")
    first_top, active_top = tops[first] or 0, tops[market.active_band] or 0
    scale_y, scale_x = 10 ** (18 - market.collateral.decimals), 10 ** (18 - market.borrowed.decimals)
    ours = health(down, debt, discount)
    untouched = first > market.active_band
    whole = ours
    if untouched:
        whole = full_health(ours, debt * scale_x, collateral * scale_y, market.price, first_top)
    problem = ""
    if last - first + 1 != number:
        problem = f"bands {first} to {last}, where the controller has {number}"
    elif (ours, whole) != (plain, full):
        problem = f"health {ours} and {whole} in full, where the controller has {plain} and {full}"
    if untouched:
        top, bands = first_top, number * WAD
        evenly = [Band(0, collateral * scale_y // number)] * number
        expected = x_down(evenly, first_top, market.price, market.amplification)
    elif collateral and last >= market.active_band:
        top, bands = remaining_bands(active, active_top, last - market.active_band, market.amplification)
        expected = _expected(market, (first, last), (collateral * scale_y, stablecoin * scale_x), (first_top, bands))
    else:
        top, bands, expected = 0, 0, down * scale_x
    return Loan(
        user=user,
        collateral=collateral,
        stablecoin=stablecoin,
        debt=debt,
        health=full,
        discount=discount,
        top=top,
        bands=bands,
        down=down,
        uneven=abs(expected - down * scale_x) * _UNEVEN > down * scale_x,
        problem=problem,
    )


def _expected(market: Market, ends: tuple[int, int], held: tuple[int, int], ladder: tuple[int, int]) -> int:
    """x_down of a loan in soft liquidation whose y and x lie evenly in what is unsold and in what is sold."""
    (first, last), (y, x), (first_top, unsold) = ends, held, ladder
    sold = (last - first + 1) * WAD - unsold
    bands = []
    for number in range(first, last + 1):
        if number < market.active_band:
            part_x, part_y = WAD, 0
        elif number > market.active_band:
            part_x, part_y = 0, WAD
        else:
            part_y = unsold - (last - number) * WAD
            part_x = WAD - part_y
        bands.append(Band(x * part_x // sold if sold else 0, y * part_y // unsold if unsold else 0))
    return x_down(bands, first_top, market.price, market.amplification)

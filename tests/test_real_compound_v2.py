"""Collateral of the Compound v2 accounts that were recorded in March 2023, from their cTokens by our arithmetic.

Recorded by rtuchman/compound-risk-optimization @ f7b808a (Apache-2.0), block not recorded: cToken balances and each
account's collateral total in ETH, already times the collateral factors. What one cToken counts for (exchange rate *
price * factor) is taken from accounts with one market and tested on those with several, which it was not taken from.
"""

import gzip
import json
import os
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from defi_leverage.fixed_point import WAD
from defi_leverage.protocols.compound_v2.health import Book, Holder, value_position
from tests.protocols.test_compound_v2_original import market

pytestmark = pytest.mark.validation

DATA = Path(
    os.environ.get("DEFI_LEVERAGE_VALIDATION_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
)
DIGITS = 10**8  # of a cToken
SMALLEST = 1e-9  # ETH


@pytest.fixture(scope="module")
def accounts() -> list[tuple[float, dict[str, int]]]:
    """(recorded collateral in ETH, raw cTokens by address) of every account with both."""
    path = DATA / "compound_v2" / "borrow_positions.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is missing; set DEFI_LEVERAGE_VALIDATION_DATA to the folder that has it")
    with gzip.open(path) as lines:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    found = []
    for row in rows:
        held = {t["id"].split("-")[0]: round(float(t["cTokenBalance"]) * DIGITS) for t in row["tokens"]}
        held = {token: amount for token, amount in held.items() if amount > 0}
        if held and float(row["totalCollateralValueInEth"]) > SMALLEST:
            found.append((float(row["totalCollateralValueInEth"]), held))
    return found


def test_the_collateral_of_several_markets_is_the_recorded_total(accounts: list[tuple[float, dict[str, int]]]) -> None:
    a_token = defaultdict(list)
    for total, held in accounts:
        if len(held) == 1:
            ((token, amount),) = held.items()
            a_token[token].append(total / amount)
    known = {token: median(values) for token, values in a_token.items()}
    for token, values in a_token.items():
        assert max(values) / min(values) == pytest.approx(1, abs=1e-6), token
    index = {token: at for at, token in enumerate(known)}
    markets = [market(at, exchange_rate=round(known[token] * WAD * WAD)) for token, at in index.items()]
    book, weights = Book(markets, {}, {}), dict.fromkeys(index.values(), WAD)
    several = 0
    for total, held in accounts:
        if len(held) > 1 and held.keys() <= known.keys():
            several += 1
            tokens = {index[token]: amount for token, amount in held.items()}
            value = value_position(Holder("", tokens=tokens, entered=tuple(tokens)), book, weights)[0]
            assert value / WAD == pytest.approx(total, rel=1e-9, abs=1e-15)
    assert several > 2_000

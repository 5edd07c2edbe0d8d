"""What auctions under way will still raise. Source: makerdao/dss, clip.sol (active, sales, take).

From bark() on, the vat counts the debt of what is at auction as the system's own bad debt (vat.grab, sin of the vow):
against that stands what the auction will bring.
"""

from collections.abc import Sequence

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.fixed_point import RAY
from defi_leverage.protocols.maker.system import Ilk, call_words
from defi_leverage.questions import NOBODY, ask_list

__all__ = ["read_proceeds"]


async def read_proceeds(chain: Chain, ilks: Sequence[Ilk]) -> int:
    """Rad that all auctions will raise at the prices that the vat has stored: of each its tab, or all of its lot.

    An auction that cannot be read, or whose ilk has no price, counts as nothing.
    """
    abi = load_abi("maker")
    found = 0
    for ilk in ilks:
        if ilk.clip == NOBODY or not ilk.dirt:
            continue
        running = [number for number in await ask_list(chain, abi, ilk.clip, "count", "active") or [] if number]
        calls = [(ilk.clip, abi.function("sales").selector + number.to_bytes(32, "big")) for number in running]
        price = ilk.spot * ilk.mat // RAY
        for words in await call_words(chain, calls, 6):
            if words is not None:
                _, tab, lot, *_ = words
                found += min(tab, lot * price)
    return found

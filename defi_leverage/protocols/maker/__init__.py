"""Maker (Sky): every vault of every collateral type at one block.

Each ilk (ETH-A) is a venue of its own, and the reader returns one reading an ilk. Debts carry the stability fee up to
the block, which is what anybody's drip() makes them: the rate is compared with the jug's own answer. The vat itself,
and bark(), go by the rate as last stored and by the price as last poked; health factors here have the fee, and that
price.

A vault is an account under its own address (an urn); its owner is whom the CDP manager names, else the urn itself.
Whoever owes USDS owes the vat's coin all the same: it is called by the chainlog's MCD_DAI. What is at auction takes up
room; the surplus is coins and what auctions under way will raise, less the system's own bad debt (sin). Not read: what
keepers are paid for an auction out of the surplus (tip and chip of its clipper), savings, staked MKR or SKY whose
engine owns its urns.
"""

from defi_leverage.chain import Chain
from defi_leverage.protocols import Progress, silence
from defi_leverage.protocols.maker.auctions import read_proceeds
from defi_leverage.protocols.maker.price_feeds import coin_feed, read_feeds
from defi_leverage.protocols.maker.readings import Scene, ilk_reading, left_out_reading
from defi_leverage.protocols.maker.system import find_system, read_ilks
from defi_leverage.protocols.maker.vaults import find_candidates, read_notes, read_owners, read_vaults
from defi_leverage.reading import Deployment, Reading

__all__ = ["read"]


async def read(chain: Chain, deployment: Deployment, progress: Progress | None = None) -> tuple[Reading, ...]:
    """One reading for each ilk of the system behind a chainlog that has any vault, at the chain's pinned block.

    Prices are USD, accounts' totals in 1e-18 USD. Ilks that cannot be valued are together in one more reading, that of
    the vat, as its `gaps`, with their vaults in `failed`. Raises ReaderError where the address is not a chainlog that
    names Maker's contracts, ChainError where the chain does not answer.
    """
    tell = progress or silence
    system = await find_system(chain, deployment)
    notes = await read_notes(chain, system, deployment.first_block, tell)
    ilks = await read_ilks(chain, system, notes)
    tell("ilks", len(ilks), len(ilks))
    vaults = await read_vaults(chain, system, find_candidates(notes), tell)
    owners = await read_owners(chain, system, tell)
    used = [ilk for ilk in ilks if ilk.art or vaults.get(ilk.key)]
    chain_name = f"eip155:{chain.chain_id}"
    feeds = await read_feeds(chain, system, [ilk for ilk in used if not ilk.problem], chain_name)
    debt = sum(ilk.art * ilk.rate for ilk in used)
    surplus = max(0, system.surplus + await read_proceeds(chain, ilks))
    scene = Scene(chain, deployment, system, coin_feed(system, chain_name), owners, debt, surplus)
    readings: list[Reading] = []
    gaps: dict[str, str] = {}
    failed: dict[str, str] = {}
    for ilk in used:
        found = vaults.get(ilk.key, {})
        if ilk.problem:
            gaps[ilk.name] = ilk.problem
            failed |= {f"{urn} in {ilk.name}": ilk.problem for urn in found}
        else:
            readings.append(ilk_reading(scene, ilk, feeds[ilk.key], found))
    known = sum(ilk.art * ilk.stored for ilk in ilks)
    if known < system.owed:
        gaps["ilks that no note names"] = (
            f"they owe {1 - known / system.owed:.2%} of the debt; first_block {deployment.first_block} is too late, or "
            "the endpoint keeps back logs"
        )
    if gaps or not readings:
        readings.append(left_out_reading(scene, gaps, failed))
    return tuple(readings)

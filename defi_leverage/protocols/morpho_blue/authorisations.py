"""Who may act for an owner of positions: Morpho's authorisations that stand at the block."""

from collections.abc import Set

from defi_leverage.abi import address_in, load_abi
from defi_leverage.chain import Chain
from defi_leverage.reading import OwnerLink

__all__ = ["read_authorisations"]

_PARTIES = 4  # topics: the event, who called, who authorises, who is authorised


async def read_authorisations(chain: Chain, morpho: str, first_block: int, owners: Set[str]) -> tuple[OwnerLink, ...]:
    """A link from each of the owners (checksummed) to each address that it authorises, by its last SetAuthorization.

    An authorisation lets another act, it does not say that both are one person: many go to shared contracts, which
    `graph.owners` leaves out. Source: Morpho Blue EventsLib, SetAuthorization, of setAuthorization and of its signed
    form alike.
    """
    topic = load_abi("morpho_blue").topic("SetAuthorization")
    stands: dict[tuple[str, str], bool] = {}
    for log in await chain.logs([morpho], [[topic]], first_block):
        if len(log.topics) == _PARTIES:
            owner, other = map(address_in, log.topics[2:])
            stands[owner, other] = any(log.data)
    name = f"eip155:{chain.chain_id}"
    return tuple(
        OwnerLink(f"{name}:{owner}", f"{name}:{other}", "morpho_authorisation", "SetAuthorization")
        for (owner, other), is_authorised in sorted(stands.items())
        if is_authorised and owner in owners
    )

"""Who controls a contract that owns accounts, as far as the contract itself says so on chain."""

from collections.abc import Sequence

from defi_leverage.abi import load_abi
from defi_leverage.chain import Chain
from defi_leverage.questions import NOBODY, probe
from defi_leverage.reading import OwnerLink

__all__ = ["read_owner_links"]

_FUNCTIONS = ("owner", "authority", "cache", "getThreshold", "getOwners")


async def read_owner_links(chain: Chain, addresses: Sequence[str]) -> tuple[OwnerLink, ...]:
    """Links of those of these addresses that are controlled by one other.

    - `dsproxy`: a contract that answers owner(), authority() and cache() as DappHub's DSProxy does. owner() alone is
      no sign: a vault's owner governs it, its positions are others'.
    - `safe`: a Safe with a single owner, getOwners() and getThreshold() of 1. One with several owners is nobody's,
      whatever its threshold: where any one of several can sign, they are not one person.

    A plain account, or any other contract, gives none. Asks five questions an address in batches; raises RpcError
    where no endpoint answers.
    """
    asked = list(dict.fromkeys(addresses))
    answers = await probe(chain, load_abi("ownership"), asked, _FUNCTIONS)
    name = f"eip155:{chain.chain_id}"
    links = []
    for address, found in answers.items():
        owner, authority, cache, threshold, owners = (found[function] for function in _FUNCTIONS)
        if threshold == 1 and owners and len(owners) == 1:
            links.append(OwnerLink(f"{name}:{address}", f"{name}:{owners[0]}", "safe", "getOwners()"))
        elif owner not in (None, NOBODY) and authority is not None and cache not in (None, NOBODY):
            links.append(OwnerLink(f"{name}:{address}", f"{name}:{owner}", "dsproxy", "owner()"))
    return tuple(links)

"""The vaults (urns) of Maker: which there may be, by the vat's notes, what each one holds, and whose it is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from defi_leverage.abi import Log, address_word, checksum_address, load_abi
from defi_leverage.chain import Chain
from defi_leverage.protocols import Progress
from defi_leverage.protocols.maker.system import Ilk, System, call_words, note_topic
from defi_leverage.questions import NOBODY, ask

__all__ = ["Vault", "find_candidates", "missing_debt", "read_notes", "read_owners", "read_vaults"]

_PART = 20_000  # calls between two reports of progress
_CHANGES = ("frob", "fork", "grab")


@dataclass(frozen=True, slots=True)
class Vault:
    """Locked collateral and normalised debt, both in wad."""

    ink: int
    art: int


async def read_notes(chain: Chain, system: System, first_block: int, progress: Progress) -> list[Log]:
    """The vat's notes of new ilks and of all that changes a vault."""
    progress("events", 0, 1)
    topics = [note_topic(name) for name in ("init", *_CHANGES)]
    notes = await chain.logs([system.vat], [topics], first_block)
    progress("events", 1, 1)
    return [note for note in notes if len(note.topics) == 4]


def find_candidates(notes: Iterable[Log]) -> dict[bytes, set[str]]:
    """Ilk -> addresses of the vaults that any call has ever changed, lower case.

    A vault is the second argument of frob, and of grab, which may also give (End returns what is at auction to it); of
    fork it is that one and the third. The calls need not come by way of a manager.
    """
    fork = note_topic("fork")
    changes = {note_topic(name) for name in _CHANGES}
    found: dict[bytes, set[str]] = {}
    for note in notes:
        if note.topics[0] in changes:
            urns = found.setdefault(bytes.fromhex(note.topics[1][2:]), set())
            urns.add("0x" + note.topics[2][-40:])
            if note.topics[0] == fork:
                urns.add("0x" + note.topics[3][-40:])
    return found


async def read_vaults(
    chain: Chain, system: System, candidates: Mapping[bytes, Iterable[str]], progress: Progress
) -> dict[bytes, dict[str, Vault | None]]:
    """Ilk -> address -> vault, of those with anything in it; None where it cannot be read."""
    select = load_abi("maker").function("urns(bytes32,address)").selector
    pairs = [(ilk, urn) for ilk in sorted(candidates) for urn in sorted(candidates[ilk])]
    found: dict[bytes, dict[str, Vault | None]] = {ilk: {} for ilk in candidates}
    progress("vaults", 0, len(pairs))
    for start in range(0, len(pairs), _PART):
        part = pairs[start : start + _PART]
        calls = [(system.vat, select + ilk + address_word(urn)) for ilk, urn in part]
        for (ilk, urn), words in zip(part, await call_words(chain, calls, 2), strict=True):
            if words is None or any(words):
                found[ilk][checksum_address(urn)] = Vault(*words) if words else None
        progress("vaults", start + len(part), len(pairs))
    return found


async def read_owners(chain: Chain, system: System, progress: Progress) -> dict[str, str]:
    """Vault -> who the CDP manager says owns it. A vault that it does not know is its owner's own address."""
    if not system.manager:
        return {}
    abi = load_abi("maker")
    (count,) = await ask(chain, abi, [(system.manager, "cdpi", ())])
    owners: dict[str, str] = {}
    total = count or 0
    progress("owners", 0, total)
    for start in range(1, total + 1, _PART):
        part = range(start, min(start + _PART, total + 1))
        asked = [(system.manager, name, (cdp,)) for cdp in part for name in ("urns(uint256)", "owns")]
        answers = iter(await ask(chain, abi, asked))
        for _ in part:
            urn, owner = next(answers), next(answers)
            if urn not in (None, NOBODY) and owner not in (None, NOBODY):
                owners[urn] = owner
        progress("owners", part[-1], total)
    return owners


def missing_debt(ilk: Ilk, vaults: Mapping[str, Vault | None]) -> int:
    """Normalised debt of the ilk that no vault found owes: every one of them together owes it exactly."""
    return ilk.art - sum(vault.art for vault in vaults.values() if vault)

"""From the assets of a scan down to what is not a claim on anything: each token once, so that a circle ends, too.

Each round asks every family about the tokens that the round before brought up. A family that cannot be read, a token in
doubt and an underlying without a price are gaps, each with its name; they never end a scan, and nothing is guessed.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from defi_leverage.abi import checksum_address, load_abi
from defi_leverage.backing.claims import NATIVE, Family, Finding, Token
from defi_leverage.backing.families import load_families
from defi_leverage.backing.families.exchange_rates import Coin
from defi_leverage.chain import Chain
from defi_leverage.errors import ConfigError, ReaderError
from defi_leverage.questions import decode, decode_symbol
from defi_leverage.reading import AssetReading

__all__ = ["MOST_DECIMALS", "Progress", "Walk", "follow"]

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Told (family, done, total) as the rounds go on."""

_MOST_ROUNDS = 16  # deeper than any stack there is; a chain of vaults without an end is somebody's trap
_MOST_TOKENS = 2000
MOST_DECIMALS = 36


@dataclass
class Walk:
    """What the rounds have brought together so far; assets by their id, tokens by their address."""

    chain_name: str
    coin: Coin | None
    assets: dict[str, AssetReading]
    spelled: dict[str, str]  # asset_id of a venue in lower case -> as its reader spells it
    tokens: dict[str, Token] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)

    def asset_id(self, address: str) -> str:
        """The CAIP-19 identifier of a token, or of what stands for the native coin."""
        if address != NATIVE:
            plain = f"{self.chain_name}/erc20:{address}"
            return self.spelled.get(plain.lower(), plain)
        assert self.coin is not None
        native = f"{self.chain_name}/{self.coin.reference}"
        wrapped = self.asset_id(self.coin.wrapper)
        # A scan that lists the wrapped coin alone has it for the coin itself: one root, which a shock can name.
        return wrapped if native not in self.assets and wrapped in self.assets else native

    def address_of(self, asset_id: str) -> str:
        """The token's address, checksummed; NATIVE for what is no token."""
        return checksum_address(asset_id.rsplit(":", 1)[1]) if "/erc20:" in asset_id else NATIVE


async def follow(chain: Chain, walk: Walk, frontier: list[Token], progress: Progress | None) -> None:
    """Round after round, until no token is new. Raises ChainError where the chain does not answer."""
    families = load_families()
    walk.tokens = {token.address: token for token in frontier}
    for _ in range(_MOST_ROUNDS):
        if not frontier:
            return
        for done, (name, family) in enumerate(families.items(), start=1):
            unread = [token for token in frontier if not _has_claims(walk, token)]
            if unread:
                await _ask_family(chain, walk, name, family, unread)
            if progress is not None:
                progress(name, done, len(families))
        frontier = await _next_tokens(chain, walk, frontier)
    if frontier:
        names = ", ".join(token.symbol for token in frontier[:3])
        walk.gaps["deeper backing"] = f"not followed past {_MOST_ROUNDS} levels: {names}"


def _has_claims(walk: Walk, token: Token) -> bool:
    finding = walk.findings.get(token.address)
    return finding is not None and bool(finding.claims)


async def _ask_family(chain: Chain, walk: Walk, name: str, family: Family, tokens: Sequence[Token]) -> None:
    try:
        found = await family(chain, tokens)
    except (ConfigError, ReaderError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        # Contracts of strangers answer what they like; one that upsets a family costs that family, not the scan.
        log.warning("%s: backing of the family %s: %r", chain.name, name, error)
        walk.gaps[f"backing of the family {name}"] = f"not read: {error!r}"
        return
    for address, finding in found.items():
        if finding.doubt:
            walk.gaps[f"backing of {walk.tokens[address].symbol} {address} ({name})"] = finding.doubt
        if finding.claims:
            walk.findings[address] = finding
            log.info("%s: %s is of the family %s", chain.name, walk.tokens[address].symbol, name)


async def _next_tokens(chain: Chain, walk: Walk, frontier: Sequence[Token]) -> list[Token]:
    """The underlyings of this round that are new, with what they say of themselves."""
    named: dict[str, Token] = {}
    for token in frontier:
        finding = walk.findings.get(token.address)
        for claim in finding.claims if finding else ():
            if claim.underlying not in walk.tokens and claim.underlying != NATIVE:
                named.setdefault(claim.underlying, token)
    room = _MOST_TOKENS - len(walk.tokens)
    if len(named) > room:
        walk.gaps["further backing"] = f"more than {_MOST_TOKENS} tokens; {len(named) - room} are not followed"
        named = dict(list(named.items())[: max(0, room)])
    abi = load_abi("erc20")
    fields = ("symbol", "decimals")
    answers = iter(await chain.call([(address, abi.encode(name)) for address in named for name in fields]))
    found = []
    for address, holder in named.items():
        symbol, decimals = decode_symbol(next(answers)), decode(abi, "decimals", next(answers))
        known = walk.assets.get(walk.asset_id(address))
        if known is not None:
            symbol, decimals = known.symbol, known.decimals
        if decimals is None or decimals > MOST_DECIMALS:
            walk.gaps[f"backing of {holder.symbol}"] = f"its underlying {address} answers decimals() {decimals}"
            continue
        token = Token(address, symbol or f"{address[:6]}..{address[-4:]}", decimals)
        walk.tokens[address] = token
        found.append(token)
    return [token for token in found if walk.asset_id(token.address) not in walk.assets]

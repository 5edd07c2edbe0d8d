"""Maker's contracts, found by the chainlog, and the collateral types (ilks) at the pinned block."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from defi_leverage.abi import Log, checksum_address, load_abi
from defi_leverage.chain import Call, Chain
from defi_leverage.fixed_point import RAY, WAD
from defi_leverage.protocols import deployment_error, root_contract
from defi_leverage.protocols._tokens import Token, read_tokens
from defi_leverage.protocols.maker.arithmetic import dripped
from defi_leverage.questions import NOBODY, ask
from defi_leverage.reading import Deployment

__all__ = ["Ilk", "System", "call_words", "find_system", "note_topic", "read_ilks"]

_error = partial(deployment_error, remedy="Give the address of Maker's chainlog, and a block after it was set up.")

_KEYS = ("MCD_VAT", "MCD_SPOT", "MCD_JUG", "MCD_DOG", "MCD_VOW", "MCD_DAI", "ILK_REGISTRY", "CDP_MANAGER")


@dataclass(frozen=True, slots=True)
class System:
    """The contracts, and what they say of the whole: `par` USD a coin (ray); in rad, `room` for auctions, the `surplus`
    of coins over bad debt (below 0 where there is more of that), and what all ilks owe by their stored rates.
    """

    vat: str
    spotter: str
    jug: str
    dog: str
    registry: str
    manager: str  # "" where the chainlog has none
    coin: Token
    par: int
    room: int
    surplus: int
    owed: int


@dataclass(frozen=True, slots=True)
class Ilk:
    """A collateral type. `stored` is the vat's rate, `rate` that with the fee up to the block, `fee` a second's (ray).

    `spot` is the price over the liquidation ratio `mat` as the spotter last stored it, per coin (ray); `room` for
    auctions, `dirt` at auction, `line` and `dust` are rad, the penalty `chop` a wad of at least one where the ilk can
    be liquidated. `clip` sells what is at auction, NOBODY where nobody does.
    """

    key: bytes
    art: int
    stored: int
    rate: int
    spot: int
    line: int
    dust: int
    pip: str
    mat: int
    fee: int
    chop: int
    room: int
    dirt: int
    clip: str
    gem: Token | None
    problem: str

    @property
    def name(self) -> str:
        """For people, and in identifiers: ETH-A."""
        text = self.key.rstrip(b"\0").decode("ascii", "replace")
        return text if text.isprintable() and "\ufffd" not in text and text else f"0x{self.key.hex()}"


async def find_system(chain: Chain, deployment: Deployment) -> System:
    """The contracts that a chainlog names. Raises ReaderError where one that is needed is missing."""
    abi = load_abi("maker")
    root = await root_contract(chain, deployment, _error)
    named = await ask(chain, abi, [(root, "getAddress", (key.encode().ljust(32, b"\0"),)) for key in _KEYS])
    found = {key: address for key, address in zip(_KEYS, named, strict=True) if address not in (None, NOBODY)}
    if missing := [key for key in _KEYS[:-1] if key not in found]:
        raise _error(chain, deployment, f"does not name {', '.join(missing)}")
    vat, dog, vow, coin = (found[key] for key in ("MCD_VAT", "MCD_DOG", "MCD_VOW", "MCD_DAI"))
    par, live, hole, dirt, dai, sin, debt, vice = await ask(
        chain,
        abi,
        [
            (found["MCD_SPOT"], "par", ()),
            (dog, "live", ()),
            (dog, "Hole", ()),
            (dog, "Dirt", ()),
            (vat, "dai", (vow,)),
            (vat, "sin", (vow,)),
            (vat, "debt", ()),
            (vat, "vice", ()),
        ],
    )
    if None in (par, live, hole, dirt, dai, sin, debt, vice) or not par:
        raise _error(chain, deployment, "names contracts that are not Maker's")
    token = (await read_tokens(chain, [coin]))[coin]
    if token.problem:
        raise _error(chain, deployment, f"names a coin that makes no sense ({token.problem})")
    return System(
        vat=vat,
        spotter=found["MCD_SPOT"],
        jug=found["MCD_JUG"],
        dog=dog,
        registry=found["ILK_REGISTRY"],
        manager=found.get("CDP_MANAGER", ""),
        coin=token,
        par=par,
        room=max(0, hole - dirt) if live else 0,
        surplus=dai - sin,
        owed=debt - vice,
    )


def note_topic(function: str) -> str:
    """The first topic of the vat's anonymous notes of a function: its selector, and zeros.

    The next topics are the call's first three arguments. Source: LibNote of dss, as the deployed vat has it.
    """
    return "0x" + load_abi("maker").function(function).selector.hex().ljust(64, "0")


async def read_ilks(chain: Chain, system: System, notes: Iterable[Log]) -> list[Ilk]:
    """Every ilk that a note of the vat's init() names, by name."""
    keys = sorted({bytes.fromhex(log.topics[1][2:]) for log in notes if log.topics[0] == note_topic("init")})
    abi = load_abi("maker")
    select = abi.function("ilks").selector
    states = await call_words(chain, [(system.vat, select + key) for key in keys], 5)
    prices = await call_words(chain, [(system.spotter, select + key) for key in keys], 2)
    fees = await call_words(chain, [(system.jug, select + key) for key in keys], 2)
    limits = await call_words(chain, [(system.dog, select + key) for key in keys], 4)
    gems = await ask(chain, abi, [(system.registry, "gem", (key,)) for key in keys])
    (base,) = await ask(chain, abi, [(system.jug, "base", ())])
    tokens = await read_tokens(chain, {gem for gem in gems if gem not in (None, NOBODY)})
    clips = [_address(limit[0]) if limit else NOBODY for limit in limits]
    stops = await ask(chain, abi, [(clip, "stopped", ()) for clip in clips])
    # In batches of their own: within one call the vat would remember what was dripped.
    drips = await ask(chain, abi, [(system.jug, "drip", (key,)) for key in keys])
    ilks = []
    for key, state, price, fee, limit, gem, clip, stopped, drip in zip(
        keys, states, prices, fees, limits, gems, clips, stops, drips, strict=True
    ):
        token = tokens.get(gem)
        if state is None or price is None or fee is None or base is None:
            unknown = "vat, spotter or jug do not know it"
            ilks.append(Ilk(key, 0, 0, 0, 0, 0, 0, NOBODY, 0, RAY, 0, 0, 0, NOBODY, token, unknown))
            continue
        art, stored, spot, line, dust = state
        rate = stored if drip is None else dripped(stored, base + fee[0], max(0, chain.block.timestamp - fee[1]))
        problems = (
            (token is None, "the ilk registry names no token for it"),
            (token is not None and token.problem, token.problem if token else ""),
            (not price[1], "the spotter has no liquidation ratio for it"),
            (price[1] < RAY, "its liquidation ratio is below 1: more may be owed than is held"),
            (not spot, "its price is 0: nobody can borrow against it, and nobody is liquidated"),
            (drip is not None and drip != rate, f"jug.drip() makes its rate {drip}, we {rate}"),
        )
        open_ = limit is not None and clip != NOBODY and not stopped
        ilks.append(
            Ilk(
                key=key,
                art=art,
                stored=stored,
                rate=rate,
                spot=spot,
                line=line,
                dust=dust,
                pip=_address(price[0]),
                mat=price[1],
                fee=base + fee[0],
                chop=max(WAD, limit[1]) if limit else WAD,
                room=max(0, limit[2] - limit[3]) if limit and open_ else 0,
                dirt=limit[3] if limit else 0,
                clip=clip,
                gem=token,
                problem=next((str(why) for wrong, why in problems if wrong), ""),
            )
        )
    return sorted(ilks, key=lambda ilk: ilk.name)


async def call_words(chain: Chain, calls: Sequence[Call], count: int) -> list[tuple[int, ...] | None]:
    """The words of each answer; None where it fails or is not exactly `count` words long."""
    answers = await chain.call(calls)
    return [
        tuple(int.from_bytes(answer[at : at + 32], "big") for at in range(0, 32 * count, 32))
        if answer is not None and len(answer) == 32 * count
        else None
        for answer in answers
    ]


def _address(word: int) -> str:
    return checksum_address(f"0x{word % 2**160:040x}")

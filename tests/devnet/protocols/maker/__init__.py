"""Maker's vat, spotter, jug, dog and CDP manager: stand-ins whose file says what they imitate and what not.

Five sound ilks and three broken ones; vaults of the manager and without it (raw frobs), one that is only ever named as
the third argument of a fork, dust, some below 1, some under water. Fees run over the waves' days; some ilks are dripped
on the way, none at the end. ETH-B has a small hole, PSM-USDC-A nothing that could liquidate it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eth_utils.address import to_checksum_address

from ...artifacts import compile_contracts
from ...chain import deploy, transaction

if TYPE_CHECKING:
    from collections.abc import Generator

    from ...chain import Transaction
    from .. import Site

WAD, RAY, RAD = 10**18, 10**27, 10**45
VOW = "0x0000000000000000000000000000000000000F0F"
BASE = 10**17  # a ray a second, on top of every ilk's duty
BROKEN = ("DEAD-A", "LOW-A", "NOGEM-A")
ILKS = {  # token, mat in per cent, duty as a ray a second above one (0.x % to 9 % a year), chop in per cent, hole, dust
    "ETH-A": ("WETH", 145, 627937192491029810, 113, 40_000_000, 100),
    "ETH-B": ("WETH", 130, 2732676825177582095, 113, 400_000, 100),
    "WBTC-A": ("WBTC", 145, 1547125957863212448, 113, 10_000_000, 100),
    "WSTETH-A": ("wstETH", 150, 937303470807876289, 115, 10_000_000, 100),
    "PSM-USDC-A": ("USDC", 100, -BASE, 0, 0, 0),
    "DEAD-A": ("DAI", 150, 0, 113, 1_000_000, 0),
    "LOW-A": ("DAI", 90, 0, 113, 1_000_000, 0),
    "NOGEM-A": ("", 150, 0, 113, 1_000_000, 0),
}


def build(site: Site) -> Generator[str, None, dict[str, Any]]:
    """Deploy everything before the first wave; see protocols.Build."""
    maker = _Maker(site)
    rng = site.rng

    yield "glitch"  # ETH at twice its price: under water when it is back
    maker.poke()
    maker.vault("ETH-A", 12 * WAD, 0.99, "under_water")
    maker.vault("ETH-A", 30 * WAD, 0.545, "liquidatable")
    maker.vault("ETH-B", 44 * WAD, 0.52, "liquidatable")
    maker.vault("ETH-B", 120 * WAD, 0.55, "liquidatable")
    maker.vault("DEAD-A", 1_000 * WAD, 0.5, "dead")
    maker.vault("NOGEM-A", 1_000 * WAD, 0.5, "nogem")
    maker.vault("LOW-A", 1_000 * WAD, 0.95, "low")
    yield "rally"
    maker.poke()
    for _ in range(12):
        maker.vault("ETH-A", int(rng.uniform(2, 500) * WAD), rng.uniform(0.3, 0.95))
    for _ in range(4):
        maker.vault("ETH-B", int(rng.uniform(2, 90) * WAD), rng.uniform(0.5, 0.99))
    yield "slump"
    maker.poke()
    maker.drip("ETH-A", "WSTETH-A")
    for _ in range(10):
        maker.vault("WBTC-A", int(rng.uniform(0.2, 30) * 10**8) * 10**10, rng.uniform(0.3, 0.97))
    for _ in range(8):
        maker.vault("WSTETH-A", int(rng.uniform(2, 400) * WAD), rng.uniform(0.3, 0.97))
    for _ in range(5):
        maker.raw_vault("ETH-A", int(rng.uniform(2, 100) * WAD), rng.uniform(0.3, 0.9))
    maker.raw_vault("PSM-USDC-A", 25_000_000 * WAD, 1.0, "psm")
    yield "late"
    maker.poke()
    maker.drip("WBTC-A")
    maker.vault("ETH-A", WAD // 10, 100.5, "dust")
    maker.vault("ETH-A", 7 * WAD + 7, 0, "no_debt")
    maker.fork()
    maker.give()
    yield "settle"
    maker.poke()
    maker.kill("DEAD-A")
    site.chain.send([transaction(site.owner, maker.at["MCD_VAT"], "suck(address,address,uint256)", VOW, VOW, 7 * RAD)])
    return {
        "reads": [site.reads("maker", "Maker", maker.at["CHANGELOG"], maker.first_block)],
        "first_block": maker.first_block,
        "contracts": maker.at,
        "clips": maker.clips,
        "pips": maker.pips,
        "vaults": maker.vaults,
        "broken": list(BROKEN),
    }


def key(ilk: str) -> bytes:
    """The bytes32 of an ilk's name."""
    return ilk.encode().ljust(32, b"\0")


class _Maker:
    """The contracts by the chainlog's keys, and the vaults in the order of their opening."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.first_block = site.chain.head()[0] + 1
        self.vaults: list[dict[str, str]] = []
        compiled = compile_contracts("0.8.26", Path(__file__).parent.glob("*.sol"), viaIR=True, evmVersion="paris")
        self._compiled = compiled

        def make(name: str, *arguments: Any) -> str:
            return deploy(site.chain, site.owner, compiled[f"{name}StandIn"], *arguments)

        vat = make("Vat")
        spotter = make("Spotter", vat)
        dog = make("Dog", vat, VOW, 3_000_000 * RAD)
        self.at = {
            "CHANGELOG": make("ChainLog"),
            "MCD_VAT": vat,
            "MCD_SPOT": spotter,
            "MCD_JUG": make("Jug", vat, VOW, BASE),
            "MCD_DOG": dog,
            "MCD_VOW": VOW,
            "MCD_DAI": site.tokens["DAI"],
            "ILK_REGISTRY": make("IlkRegistry"),
            "CDP_MANAGER": make("CdpManager", vat),
        }
        for name, address in self.at.items():
            self._send("CHANGELOG", "setAddress(bytes32,address)", key(name), address)
        self.clips: dict[str, str] = {}
        self.pips: dict[str, str] = {}
        for ilk in ILKS:
            self._list(ilk, make)

    def _list(self, ilk: str, make: Any) -> None:
        symbol, mat, duty, chop, hole, dust = ILKS[ilk]
        is_value = symbol in ("USDC", "DAI", "")
        pip = make("DSValue", WAD.to_bytes(32, "big")) if is_value else make("Osm", self._site.feeds[symbol])
        self.pips[ilk] = pip
        self._send("MCD_VAT", "init(bytes32)", key(ilk))
        for what, amount in (("line", 10**9), ("dust", dust)):
            self._send("MCD_VAT", "file(bytes32,bytes32,uint256)", key(ilk), key(what), amount * RAD)
        self._send("MCD_SPOT", "set(bytes32,address,uint256)", key(ilk), pip, mat * RAY // 100)
        self._send("MCD_JUG", "init(bytes32,uint256)", key(ilk), RAY + duty)
        if symbol:
            self._send("ILK_REGISTRY", "put(bytes32,address)", key(ilk), self._site.tokens[symbol])
        if chop:
            clip = make("Clipper", self.at["MCD_VAT"], self.at["MCD_SPOT"], self.at["MCD_DOG"], key(ilk))
            self.clips[ilk] = clip
            limits = chop * WAD // 100, hole * RAD
            self._send("MCD_DOG", "set(bytes32,address,uint256,uint256)", key(ilk), clip, *limits)
        if not is_value:
            for usr in (self.at["MCD_SPOT"], self.clips[ilk]):
                self._site.chain.send([transaction(self._site.owner, pip, "kiss(address)", usr)])

    def poke(self) -> None:
        """Let the vat know all prices."""
        for ilk in ILKS:
            self._send("MCD_SPOT", "poke(bytes32)", key(ilk))

    def drip(self, *ilks: str) -> None:
        """Put the fees so far on the rates."""
        for ilk in ilks:
            self._send("MCD_JUG", "drip(bytes32)", key(ilk))

    def kill(self, ilk: str) -> None:
        """Take the price of an ilk away."""
        self._site.chain.send([transaction(self._site.owner, self.pips[ilk], "poke(bytes32)", bytes(32))])
        self._send("MCD_SPOT", "poke(bytes32)", key(ilk))

    def vault(self, ilk: str, ink: int, share: float, kind: str = "vault") -> None:
        """A new vault of the manager, with a share of the most that it may owe, or (from 1 on) so many coins."""
        owner = self._arrive(ilk, kind)
        self._send("CDP_MANAGER", "open(bytes32,address)", key(ilk), owner)
        number = self._site.chain.call(self.at["CDP_MANAGER"], "cdpi()", "(uint256)")[0]
        urn = self._site.chain.call(self.at["CDP_MANAGER"], "urns(uint256)", "(address)", number)[0]
        urn = to_checksum_address(urn)
        self._send("MCD_VAT", "slip(bytes32,address,int256)", key(ilk), urn, ink)
        frob = ("frob(uint256,int256,int256)", number, ink, self._art(ilk, ink, share))
        self._site.chain.send([transaction(owner, self.at["CDP_MANAGER"], *frob)])
        self.vaults.append({"ilk": ilk, "urn": urn, "owner": owner, "kind": kind})

    def raw_vault(self, ilk: str, ink: int, share: float, kind: str = "raw") -> str:
        """A new vault of an account's own, without the manager."""
        user = self._arrive(ilk, kind)
        self._send("MCD_VAT", "slip(bytes32,address,int256)", key(ilk), user, ink)
        self._site.chain.send([self._frob(user, ilk, ink, self._art(ilk, ink, share))])
        self.vaults.append({"ilk": ilk, "urn": user, "owner": user, "kind": kind})
        return user

    def fork(self) -> None:
        """Half of a raw vault goes to another account, which has never frobbed."""
        giver = self.raw_vault("ETH-A", 40 * WAD, 0.6, "fork_giver")
        taker = self._arrive("ETH-A", "fork_taker")
        vat, chain = self.at["MCD_VAT"], self._site.chain
        ink, art = chain.call(vat, "urns(bytes32,address)", "(uint256,uint256)", key("ETH-A"), giver)
        fork = ("fork(bytes32,address,address,int256,int256)", key("ETH-A"), giver, taker, ink // 2, art // 2)
        chain.send([transaction(taker, vat, "hope(address)", giver), transaction(giver, vat, *fork)])
        self.vaults.append({"ilk": "ETH-A", "urn": taker, "owner": taker, "kind": "fork_taker"})

    def give(self) -> None:
        """The first vault gets another owner."""
        heir, manager = self._site.account("heir"), self.at["CDP_MANAGER"]
        self._site.chain.send([transaction(self.vaults[0]["owner"], manager, "give(uint256,address)", 1, heir)])
        self.vaults[0]["owner"] = heir

    def _art(self, ilk: str, ink: int, share: float) -> int:
        """Normalised debt: a share of the most, or (from more than 1 on) so many coins."""
        rate: int
        spot: int
        _, rate, spot, _, _ = self._site.chain.call(
            self.at["MCD_VAT"], "ilks(bytes32)", "(uint256,uint256,uint256,uint256,uint256)", key(ilk)
        )
        if share > 1:
            return int(share * WAD) * RAY // rate
        return int(ink * spot // rate * share) if share < 1 else ink * spot // rate

    def _frob(self, user: str, ilk: str, ink: int, art: int) -> Transaction:
        signature = "frob(bytes32,address,address,address,int256,int256)"
        return transaction(user, self.at["MCD_VAT"], signature, key(ilk), user, user, user, ink, art)

    def _send(self, contract: str, signature: str, *arguments: Any) -> None:
        self._site.chain.send([transaction(self._site.owner, self.at[contract], signature, *arguments)])

    def _arrive(self, ilk: str, kind: str) -> str:
        count = sum(vault["kind"] == kind and vault["ilk"] == ilk for vault in self.vaults)
        is_shared = (ilk, kind) == ("ETH-A", "vault") and count < 4
        return self._site.shared_account(count) if is_shared else self._site.account(f"{ilk}:{kind}:{count}")

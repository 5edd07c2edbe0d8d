"""Protocols that a devnet can have beside its two Aave markets: a module or sub-package each, a line in PROTOCOLS.

A devnet is built in two stages. The base (tokens, feeds, Aave 3.0 and 3.2) never changes when a protocol is added: same
blocks, same hashes, same sample. On a copy of it the protocols that a test names are built, all together on one chain,
and kept on disk for that selection:

    @pytest.mark.devnet("morpho")               # the `devnet` fixture then is the base with Morpho on it
    @pytest.mark.devnet("morpho", "vaults")     # one chain with both; `@pytest.mark.devnet` alone is the base
    devnet.description.protocols["morpho"]      # what the module returned
    open_devnet(protocols=["morpho"])           # the same outside pytest; `python -m tests.devnet morpho` serves it

To add a protocol, write ``protocols/<name>.py`` (or a sub-package ``protocols/<name>/`` that also holds its Solidity)
and put its name into PROTOCOLS. The module has one public function, of the type `Build`:

    def build(site: Site) -> Generator[str, None, dict[str, Any]]:
        deployer = site.deployer(Artifacts(pack("@scope/package@1.2.3") / "artifacts"))   # or compile_contracts(...)
        address = deployer.deploy("Contract", site.tokens["WETH"], site.feeds["WETH"])
        yield "rally"       # suspend until that wave: its day has come and the shared feeds answer its prices
        site.chain.send([transaction(site.account("looper:0"), address, "open(uint256)", 5)])
        yield "late"
        ...
        return {"address": address, "accounts": {...}, "reads": [site.reads("morpho", "Morpho Blue", address, block)]}

Rules: the names to yield are the WAVES of population.py, in their order, none twice. Between two yields a protocol has
the chain to itself; it may mine blocks within the wave's day. Randomness comes from ``site.rng`` and addresses from
``site.account``, so that a protocol is the same whatever stands beside it (only times within a day and block numbers
differ). What is returned is plain JSON; each of its ``reads`` is a table in ``Devnet.config()`` as soon as
defi_leverage has a reader of that name. A module imports from tests.devnet and from no other protocol's module: what
two share goes into tests/devnet. npm packages come from packs.toml, compilers from package.json.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from ..chain import Deployer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from ..artifacts import Artifact
    from ..chain import Chain
    from ..description import Deployment

__all__ = ["PROTOCOLS", "Build", "Site", "in_order", "load_build", "source_files"]

PROTOCOLS = (
    "vaults",  # ERC-4626 vaults, a Uniswap v2 pool, and a third Aave market that takes their shares as collateral
    "morpho",  # Morpho Blue with eight sound markets and three broken ones, and a MetaMorpho vault
    "venus",  # Venus core pool: five markets, two e-mode pools, VAI debt, a Liquidator that takes its share
    "aave_v2",  # Aave v2: a market in ETH with stable and variable debt, and a small one in USD
    "euler_v2",  # Stand-in of Euler v2: nine sound vaults, an LTV that ramps down, sub-accounts, two broken vaults
    "synthetix_perps_v2",  # Synthetix PerpsV2: isolated perp markets of ETH and BTC from production bytecode
    "perp_curie",  # Perpetual Protocol v2: a cross-margin clearing house over two Uniswap v3 pools
    "comet",  # two Comets (stand-ins): one in USD with eighteen collaterals, one in ETH
    "maker",  # Maker (stand-ins): five ilks and two broken ones, vaults of the CDP manager and raw ones
    "liquity_v1",  # stand-in: Liquity v1's troves against LUSD, two of them redistributed
    "liquity_v2",  # stand-in: three branches of Liquity v2 with batches, zombies and a shutdown
    "crvusd",  # stand-in: mint and LlamaLend markets with loans above, inside and below their bands
    "aave_v4",  # Stand-in of Aave v4: a hub and a spoke, dynamic configurations, premiums, a deficit, a dead reserve
    "fluid",  # Stand-in of Fluid: positions that are stale since a liquidation, smart collateral, a broken oracle
    "gmx_v2",  # stand-in of GMX v2: five perp markets in the DataStore's layout, readers of two releases
    "synthetix_v3_perps",  # Synthetix v3 perps from its sources: cross margin over three markets, one of a stale price
    "gains",  # stand-in of gTrade: a diamond with three collaterals, trades of before and since v10
    "aave_v3_origin",  # Aave v3.6 from its sources: e-modes by bitmap, isolated, siloed, deficits, paused and frozen
)
"""In the order in which they are built."""

READS = "reads"
"""Key of what a protocol returns, for the deployments that readers are pointed at."""


@dataclass(frozen=True)
class Site:
    """What a protocol's module builds on: the chain, what is there already, and an owner and randomness of its own."""

    name: str
    seed: int
    chain: Chain
    tokens: dict[str, str]
    """Mintable ERC-20 tokens by symbol: anyone calls ``mint(address,uint256)``; decimals are in tokens.DECIMALS."""
    feeds: dict[str, str]
    """Chainlink-like USD feeds by the token they price; the build moves them, wave by wave."""
    deployments: dict[str, Deployment]
    """The two Aave markets."""

    @cached_property
    def rng(self) -> Random:
        """Randomness of this protocol alone."""
        return Random(f"{self.seed}:{self.name}")

    @property
    def owner(self) -> str:
        """Address that deploys and administers this protocol, and no other one."""
        return _address(f"devnet owner of {self.name}")

    def account(self, role: str) -> str:
        """Address of one of this protocol's users."""
        return _address(f"{self.seed}:{self.name}:{role}")

    def shared_account(self, index: int) -> str:
        """Address of a user who also has a position in the Aave markets, for ``index`` below SHARED_ACCOUNTS."""
        return _address(f"{self.seed}:any:shared:{index}")

    def deployer(self, artifacts: Mapping[str, Artifact]) -> Deployer:
        """Deploys contracts for the owner; a ChainMap joins several sets of artifacts."""
        return Deployer(self.chain, artifacts, self.owner)

    def reads(self, reader: str, name: str, address: str, first_block: int) -> dict[str, Any]:
        """One deployment for a reader: what its table ``[[chains.devnet.<reader>]]`` says."""
        return {"reader": reader, "name": name, "address": address, "first_block": first_block}


class Build(Protocol):
    """Deploys and populates one protocol; yields the name of the wave it waits for, returns what describes it."""

    def __call__(self, site: Site) -> Generator[str, None, dict[str, Any]]:
        """See the module's docstring."""


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The named protocols in the order of PROTOCOLS. Raises ValueError for a name that is not there."""
    wanted = set(names)
    if unknown := wanted.difference(PROTOCOLS):
        raise ValueError(f"no protocol {', '.join(sorted(unknown))}; there are: {', '.join(PROTOCOLS)}")
    return tuple(name for name in PROTOCOLS if name in wanted)


def load_build(name: str) -> Build:
    """The ``build`` of a protocol's module."""
    build: Build = importlib.import_module(f"{__name__}.{name}").build
    return build


def source_files(name: str) -> list[Path]:
    """Every file of a protocol's module or sub-package, tests aside."""
    here = Path(__file__).parent
    found = [here / f"{name}.py", *(here / name).rglob("*")]
    return sorted(path for path in found if path.suffix in {".py", ".sol", ".json", ".toml"} and path.is_file())


def _address(text: str) -> str:
    return to_checksum_address(keccak(text=text)[-20:])

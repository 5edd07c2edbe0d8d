"""Synthetix v3's own Solidity, from npm, with what npm does not have of what it imports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...artifacts import compile_contracts, pack

if TYPE_CHECKING:
    from ...artifacts import Artifact

__all__ = ["compile_perps", "compile_spot"]

_HERE = Path(__file__).parent
_SCOPE = "@synthetixio/"
_RELEASES = {
    "core-contracts": "3.1.1",
    "core-modules": "3.1.1",
    "oracle-manager": "3.13.0",
    "perps-market": "3.13.0",
    "spot-market": "3.13.0",
}
"""The newest of each: the first two were not published again."""
_STAND_INS = {
    "Absent.sol": ("ERC2771Context", "ForkDetector", "RevertUtil"),
    "Main.sol": (
        *("interfaces/IMarketManagerModule", "interfaces/IMarketCollateralModule", "interfaces/IUtilsModule"),
        *("interfaces/ICollateralConfigurationModule", "interfaces/IVaultModule", "interfaces/external/IMarket"),
        *("interfaces/external/IRewardDistributor", "storage/Account", "storage/AccountRBAC"),
    ),
}
_FOLDERS = {"Absent.sol": "core-contracts/contracts/utils", "Main.sol": "main/contracts"}


def compile_perps() -> dict[str, Artifact]:
    """The perps market's modules, the oracle manager, the tokens, and what stands for the core system."""
    perps = _folder("perps-market")
    return _compile(
        *(perps / "modules").glob("*.sol"),
        perps / "mocks" / "MockGasPriceNode.sol",
        _folder("oracle-manager") / "modules" / "NodeModule.sol",
        *(_folder("core-modules") / "modules" / f"{name}.sol" for name in ("NftModule", "TokenModule")),
    )


def compile_spot() -> dict[str, Artifact]:
    """The spot market's modules for synths and their trade at once."""
    modules = ("SpotMarketFactoryModule", "MarketConfigurationModule", "AtomicOrderModule", "FeatureFlagModule")
    return _compile(
        *(_folder("spot-market") / "modules" / f"{name}.sol" for name in (*modules, "token/SynthTokenModule"))
    )


def _compile(*files: Path) -> dict[str, Artifact]:
    meant = {f"{_SCOPE}{name}/": f"{_SCOPE}{name}@{release}/" for name, release in _RELEASES.items()}
    for ours, names in _STAND_INS.items():
        meant |= {f"{_SCOPE}{_FOLDERS[ours]}/{name}.sol": ours for name in names}
    meant[f"{_SCOPE}rewards-distributor/src/RewardsDistributor.sol"] = "Main.sol"
    return compile_contracts("0.8.26", [*files, *_HERE.glob("*.sol")], meant, evmVersion="paris")


def _folder(package: str) -> Path:
    return pack(f"{_SCOPE}{package}@{_RELEASES[package]}") / "contracts"

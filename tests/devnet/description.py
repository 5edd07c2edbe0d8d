"""What lies where on the devnet, as plain values that survive a trip through JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Account:
    """An account with a position. ``kind`` is a value of plans.Kind; ``turns`` is a loop's depth, else 0."""

    address: str
    kind: str
    turns: int = 0


@dataclass(frozen=True)
class Deployment:
    """One Aave market. The token maps go from the asset's symbol to the address of its aToken or debt token."""

    name: str
    provider: str
    pool: str
    configurator: str
    oracle: str
    data_provider: str
    first_block: int
    a_tokens: dict[str, str]
    stable_debt_tokens: dict[str, str]
    variable_debt_tokens: dict[str, str]
    accounts: tuple[Account, ...]

    def of_kind(self, kind: str) -> list[str]:
        """Addresses of the accounts of one kind."""
        return [account.address for account in self.accounts if account.kind == kind]


@dataclass(frozen=True)
class Description:
    """The whole chain as built: its last block, tokens and price feeds by symbol, deployments by key."""

    chain_id: int
    head_number: int
    head_timestamp: int
    head_hash: str
    tokens: dict[str, str]
    feeds: dict[str, str]
    deployments: dict[str, Deployment]
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each further protocol's module tells of itself, by the protocol's name in protocols.PROTOCOLS."""

    def to_json(self) -> str:
        """The description as JSON text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The description ``to_json`` wrote."""
        body = json.loads(text)
        deployments = {key: read_deployment(found) for key, found in body.pop("deployments").items()}
        return cls(**body, deployments=deployments)


def read_deployment(body: dict[str, Any]) -> Deployment:
    """A market from the plain values that ``dataclasses.asdict`` made of it."""
    return Deployment(**{**body, "accounts": tuple(Account(**account) for account in body["accounts"])})

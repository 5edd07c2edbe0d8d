"""The venues of config.toml that are not on a chain, and the accounts that are to be read at each."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from defi_leverage.config_keys import HTTP_VENUE, OPTION_KINDS
from defi_leverage.config_values import Key, nearest, read_rows
from defi_leverage.errors import ConfigError
from defi_leverage.http_api import Budget
from defi_leverage.rpc_faults import mask_url
from defi_leverage.venues_http import HttpVenue, venue_interface, venue_names

__all__ = ["HttpVenueConfig", "expand_url", "read_http_venues", "venue_to_read"]


@dataclass(frozen=True, slots=True)
class HttpVenueConfig:
    """One [[venues.PROTOCOL]]. `url` is as written, `${NAME}` and all (see `expand_url`), and stays out of the repr."""

    protocol: str
    name: str
    network: str
    url: str = field(repr=False)
    budget: Budget
    accounts: tuple[str, ...]
    accounts_file: Path | None
    options: Mapping[str, Any]


def read_http_venues(tables: Mapping[str, Any], folder: Path) -> tuple[HttpVenueConfig, ...]:
    """The rows under `venues`; a relative accounts_file is found from `folder`, where the configuration is.

    Raises ConfigError that names the key and the remedy.
    """
    found: list[HttpVenueConfig] = []
    for protocol, rows in tables.items():
        if protocol not in venue_names():
            raise ConfigError(f"venues.{protocol} is not a known venue; {nearest(protocol, venue_names())}")
        found += _read_rows(protocol, rows, folder)
    return tuple(found)


def _read_rows(protocol: str, rows: Any, folder: Path) -> list[HttpVenueConfig]:
    networks, budget, pattern, kinds = venue_interface(protocol)
    options: dict[str, Key] = {name: OPTION_KINDS[kind] for name, kind in kinds.items()}
    found = []
    for position, row in enumerate(read_rows(rows, {**HTTP_VENUE, **options}, f"venues.{protocol}"), start=1):
        where = f"venues.{protocol}[{position}]"
        if row["network"] not in networks:
            raise ConfigError(f"{where}.network = {row['network']!r}: {nearest(row['network'], list(networks))}")
        if bool(row["accounts"]) == (row["accounts_file"] is not None):
            raise ConfigError(f"{where}: give either accounts or accounts_file; the venue has no list of its own")
        for account in row["accounts"]:
            _check_account(account, pattern, f"{where}.accounts")
        if row["budget"] is not None and row["budget"] > budget.weight:
            raise ConfigError(
                f"{where}.budget = {row['budget']:g} is more than the {budget.weight:g} in {budget.seconds:g} seconds "
                "that the venue allows; lower it, or leave it out"
            )
        if row["budget"] is not None and row["budget"] < 2 * budget.heaviest:
            raise ConfigError(
                f"{where}.budget = {row['budget']:g} is too little for requests that weigh up to {budget.heaviest:g}; "
                f"give {2 * budget.heaviest:g} or more"
            )
        file = row["accounts_file"]
        found.append(
            HttpVenueConfig(
                protocol=protocol,
                name=row["name"],
                network=row["network"],
                url=row["url"] or networks[row["network"]].url,
                budget=replace(budget, weight=row["budget"] or budget.weight),
                accounts=row["accounts"],
                accounts_file=None if file is None else folder / file,
                options={name: row[name] for name in options if row[name] is not None},
            )
        )
    if len({(venue.network, venue.url) for venue in found}) < len(found):
        raise ConfigError(f"venues.{protocol} names the same network and url twice; list all accounts in one table")
    return found


def venue_to_read(venue: HttpVenueConfig) -> HttpVenue:
    """What the reader is asked to read: the listed accounts, each once, or those of the file, one a line.

    In the file, what follows `#` or a comma is passed over. Raises ConfigError that names the file, the line and the
    remedy.
    """
    accounts = venue.accounts if venue.accounts_file is None else _read_accounts(venue.accounts_file, venue.protocol)
    unique = {account.lower(): account for account in accounts}
    return HttpVenue(venue.protocol, venue.name, venue.network, tuple(unique.values()), venue.options)


def expand_url(venue: HttpVenueConfig, environment: Mapping[str, str] = os.environ) -> str:
    """The venue's URL with `${NAME}` replaced. Raises ConfigError for a variable that is not set, or a bad URL."""
    where = f"venues.{venue.protocol}.url"
    for name in re.findall(r"\$\{([^}]*)\}", venue.url):
        if not environment.get(name):
            raise ConfigError(f"{where}: the environment variable {name} is not set; set it", variable=name)
    url = re.sub(r"\$\{([^}]*)\}", lambda match: environment[match[1]], venue.url)
    if mask_url(url) == "***":
        raise ConfigError(f"{where}: not an http:// or https:// URL with a host; correct it")
    return url


def _read_accounts(file: Path, protocol: str) -> tuple[str, ...]:
    pattern = venue_interface(protocol)[2]
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; correct accounts_file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as text: {type(error).__name__}; correct accounts_file") from None
    found = []
    for number, line in enumerate(lines, start=1):
        account = re.split(r"[#,]", line)[0].strip()
        if account:
            _check_account(account, pattern, f"{file}, line {number}")
            found.append(account)
    if not found:
        raise ConfigError(f"{file}: names no account; write one a line")
    return tuple(found)


def _check_account(account: str, pattern: str, where: str) -> None:
    if not re.fullmatch(pattern, account):
        raise ConfigError(f"{where}: {account!r} is not an account of this venue; correct it", account=account)

"""[[venues.PROTOCOL]] of config.toml, and the file of accounts."""

from pathlib import Path

import pytest

from defi_leverage.config import load_config
from defi_leverage.config_http import expand_url, venue_to_read
from defi_leverage.errors import ConfigError
from defi_leverage.venues_http import load_http_reader, venue_names

A, B = "0x" + "a" * 40, "0x" + "B" * 40


def write(folder: Path, *lines: str, protocol: str = "hyperliquid") -> Path:
    path = folder / "venues.toml"
    path.write_text("\n".join(['source = "chains"', f"[[venues.{protocol}]]", 'name = "H"', *lines]))
    return path


def test_the_defaults(tmp_path: Path) -> None:
    (venue,) = load_config(write(tmp_path, f'accounts = ["{A}", "{A}", "{B}"]')).venues
    assert (venue.protocol, venue.name, venue.network) == ("hyperliquid", "H", "mainnet")
    assert expand_url(venue) == "https://api.hyperliquid.xyz"
    assert (venue.budget.weight, venue.budget.seconds) == (1200, 60)
    assert venue_to_read(venue).accounts == (A, B)
    assert venue_to_read(venue).options == {}


def test_options_network_and_budget(tmp_path: Path) -> None:
    given = (
        'network = "testnet"',
        'dexs = ["main"]',
        "insurance_fund_usd = 1e6",
        "budget = 600",
        f'accounts = ["{A}"]',
    )
    (venue,) = load_config(write(tmp_path, *given)).venues
    assert expand_url(venue) == "https://api.hyperliquid-testnet.xyz"
    assert venue.options == {"dexs": ("main",), "insurance_fund_usd": 1e6}
    assert (venue.budget.weight, venue.budget.seconds, venue.budget.heaviest) == (600, 60, 60)


def test_accounts_of_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"# whales\n{A},1200.5\n\n  {B}  # a vault\n")
    (venue,) = load_config(write(tmp_path, 'accounts_file = "list.csv"')).venues
    assert venue_to_read(venue).accounts == (A, B)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; correct accounts_file"),
        ("# nobody\n", "names no account"),
        (f"{A}\n0x12\n", "line 2: '0x12' is not an account of this venue"),
        ("dydx1" + "q" * 38, "line 1"),
    ],
)
def test_a_file_that_cannot_be_used(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_text(content)
    (venue,) = load_config(write(tmp_path, 'accounts_file = "list.txt"')).venues
    with pytest.raises(ConfigError, match=message):
        venue_to_read(venue)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], r"venues.hyperliquid\[1\]: give either accounts or accounts_file"),
        ([f'accounts = ["{A}"]', 'accounts_file = "x"'], "give either accounts or accounts_file"),
        (['accounts = ["0x12"]'], r"venues.hyperliquid\[1\].accounts: '0x12' is not an account"),
        ([f'accounts = ["{A}"]', 'netwrk = "testnet"'], "netwrk is not a known key; did you mean network"),
        ([f'accounts = ["{A}"]', 'network = "goerli"'], "network = 'goerli': use one of mainnet, testnet"),
        ([f'accounts = ["{A}"]', "budget = 5000"], "budget = 5000 is more than the 1200 in 60 seconds"),
        (
            [f'accounts = ["{A}"]', "budget = 100"],
            "budget = 100 is too little for requests that weigh up to 60; give 120",
        ),
        ([f'accounts = ["{A}"]', "[[venues.hyperliquid]]", 'name = "I"', f'accounts = ["{B}"]'], "twice; list all"),
        ([f'accounts = ["{A}"]', "[[venues.hyperlikwid]]", 'name = "I"'], "did you mean hyperliquid"),
    ],
)
def test_what_is_wrong_is_one_error(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, *lines))


def test_a_key_in_the_url_comes_from_the_environment(tmp_path: Path) -> None:
    (venue,) = load_config(write(tmp_path, f'accounts = ["{A}"]', 'url = "https://hl.example/${HL_KEY}"')).venues
    assert expand_url(venue, {"HL_KEY": "k"}) == "https://hl.example/k"
    with pytest.raises(ConfigError, match="environment variable HL_KEY is not set"):
        expand_url(venue, {})
    assert "HL_KEY" not in repr(venue)


def test_a_url_that_is_none(tmp_path: Path) -> None:
    (venue,) = load_config(write(tmp_path, f'accounts = ["{A}"]', 'url = "ftp://secret"')).venues
    with pytest.raises(ConfigError, match="not an http:// or https:// URL") as error:
        expand_url(venue)
    assert "secret" not in str(error.value)


def test_readers_are_found_by_name() -> None:
    assert venue_names() == ("dydx", "hyperliquid")
    assert all(callable(load_http_reader(name)) for name in venue_names())
    with pytest.raises(ConfigError, match=r"There is no venue 'gmx'\. There are: dydx, hyperliquid"):
        load_http_reader("gmx")

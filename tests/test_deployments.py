"""Known deployments: what the tables must be, and how a configuration names them."""

from collections import Counter
from pathlib import Path

import pytest

from defi_leverage import deployments
from defi_leverage.abi import checksum_address
from defi_leverage.config import load_config
from defi_leverage.config_keys import OPTION_KINDS
from defi_leverage.deployments import known_deployments
from defi_leverage.errors import ConfigError
from defi_leverage.protocols import reader_names, reader_options
from defi_leverage.reading import Deployment

CHAIN = '[chains.here]\nrpc_urls = "https://rpc.example.com"\n'


def load(folder: Path, text: str) -> tuple[Deployment, ...]:
    path = folder / "config.toml"
    path.write_text(CHAIN + text)
    return load_config(path).chains[0].deployments


def test_every_row_is_a_deployment_of_a_reader() -> None:
    known = known_deployments()
    assert {"aave_v2", "aave_v3"} <= {item.protocol for _, item in known} <= set(reader_names())
    for chain_id, item in known:
        assert chain_id > 0
        assert item.first_block > 0
        assert item.name
        assert item.address == checksum_address(item.address)
        kinds = reader_options(item.protocol)
        assert {name: OPTION_KINDS[kinds[name]].read(value) for name, value in item.options.items()} == item.options
    for key in ("name", "address"):
        assert max(Counter((chain, item.protocol, getattr(item, key)) for chain, item in known).values()) == 1


def test_every_row_names_its_source() -> None:
    for file in Path(deployments.__file__).parent.glob("*.csv"):
        header, *rows = file.read_text().splitlines()
        assert header.split(",")[:4] == ["chain_id", "name", "address", "first_block"]
        assert header.split(",")[-1] == "source"
        assert all(row.rpartition(",")[2] for row in rows)


def test_a_configuration_names_them(tmp_path: Path) -> None:
    named = 'chain_id = 1\ndeployments = ["aave_v2 Aave v2", "aave_v3 SparkLend"]'
    aave, spark = load(tmp_path, named)
    assert (spark.protocol, spark.address) == ("aave_v3", "0x02C3eA4e34C0cBd694D2adFa2c690EECbC1793eE")
    assert aave.options == {"eth_usd_feed": "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419"}
    table = '\n[[chains.here.aave_v2]]\nname = "Mine"\naddress = "0x' + "1" * 40 + '"\nfirst_block = 5\n'
    plain, *_ = [item for item in load(tmp_path, named + table) if item.name == "Mine"]
    assert (plain.first_block, plain.options) == (5, {})
    feed = "0x" + "2" * 40
    with_feed, *_ = load(tmp_path, f'chain_id = 1\n{table}eth_usd_feed = "{feed}"')
    assert with_feed.options == {"eth_usd_feed": feed}


def test_a_protocol_s_name_alone_is_all_of_them_on_the_chain(tmp_path: Path) -> None:
    names = {item.name for item in load(tmp_path, 'chain_id = 1\ndeployments = "aave_v3"')}
    assert {"Core", "Prime", "EtherFi", "SparkLend"} <= names
    assert [item.name for item in load(tmp_path, 'chain_id = 8453\ndeployments = "aave_v3"')] == ["Base"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'chain_id = 1\ndeployments = ["spark SparkLend"]',
            r"chains\.here\.deployments: no deployment 'spark SparkLend' is known on chain 1; did you mean aave_v3",
        ),
        ('chain_id = 42161\ndeployments = ["aave_v2"]', r"'aave_v2' is known on chain 42161; did you mean aave_v3"),
        ('chain_id = 987654\ndeployments = ["aave_v3"]', r"none is known there: add a \[\[table\]\] of the protocol"),
        ("chain_id = 1\ndeployments = []", r"deployments = \[\]: must be a list of texts"),
        ('chain_id = 1\ndeployments = ["aave_v3", "aave_v3 Core"]', "the same protocol and address twice"),
        (
            'chain_id = 1\n[[chains.here.aave_v2]]\nname = "a"\naddress = "0x' + "1" * 40 + '"\nfirst_block = 5\n'
            'eth_usd_feed = "0x12"',
            r"chains\.here\.aave_v2\[1\]\.eth_usd_feed = '0x12': must be an address",
        ),
        (
            'chain_id = 1\n[[chains.here.aave_v3]]\nname = "a"\naddress = "0x' + "1" * 40 + '"\nfirst_block = 5\n'
            'eth_usd_feed = "0x12"',
            r"chains\.here\.aave_v3\[1\]\.eth_usd_feed is not a known key",
        ),
    ],
)
def test_mistakes(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)

"""Positions from CSV and Parquet, and the one line that each mistake gets."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from defi_leverage.config import Config, load_config
from defi_leverage.errors import ImportFileError
from defi_leverage.health import account_health
from defi_leverage.positions import TEMPLATE, import_positions
from defi_leverage.snapshot import Snapshot

HEADER = "account,venue,side,asset,amount,price_usd,weight,liquidation_bonus"
GOOD = ["a,v,collateral,WETH,10,2000,0.8,0.05", "a,v,debt,USDC,9000,1,,"]


@pytest.fixture
def config() -> Config:
    return load_config(Path(__file__).parent.parent / "config.toml")


def import_text(folder: Path, config: Config, *lines: str, header: str = HEADER) -> Snapshot:
    path = folder / "positions.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return import_positions(path, config)


def test_the_template_is_a_snapshot(tmp_path: Path, config: Config) -> None:
    path = tmp_path / "template.csv"
    path.write_text(TEMPLATE)
    snapshot = import_positions(path, config)
    health = account_health(snapshot)["health_factor"]
    assert health["alice@aave"] == pytest.approx(120 * 3600 * 0.955 / (110 * 3000))
    assert health["bob@aave"] == pytest.approx(50 * 3000 * 0.83 / 90000)
    feeds = snapshot.feeds.set_index("feed_id")
    assert feeds.loc[["wstETH:ratio:ETH"], ["kind", "base_feed_id", "ratio"]].to_numpy().tolist() == [
        ["ratio", "ETH", 1.2]
    ]
    assert snapshot.backing[["asset_id", "underlying_id", "units"]].to_numpy().tolist() == [["wstETH", "ETH", 1.2]]
    assert snapshot.complete
    assert snapshot.coverage[["venue_id", "found", "read"]].to_numpy().tolist() == [["aave", 2, 2]]


def test_parquet_and_csv_give_the_same_snapshot(tmp_path: Path, config: Config) -> None:
    text = TEMPLATE[TEMPLATE.index("\naccount,") + 1 :]
    (tmp_path / "p.csv").write_text(text)
    frame = pd.read_csv(io.StringIO(text))  # nan where the CSV is empty
    frame.to_parquet(tmp_path / "p.parquet")
    one, other = import_positions(tmp_path / "p.csv", config), import_positions(tmp_path / "p.parquet", config)
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(
            table.drop(columns="source", errors="ignore"), other.tables[name].drop(columns="source", errors="ignore")
        )


def test_optional_columns(tmp_path: Path, config: Config) -> None:
    more = "protocol,rule,rule_parameters,protocol_fee,health_factor,mode,decimals,owner,symbol"
    snapshot = import_text(
        tmp_path,
        config,
        "a,v,collateral,eip155:1/erc20:0xC0,10,2000,0.8,0.05,aave,full,{},0.1,inf,emode:1,8,me,WETH",
        header=f"{HEADER},{more}",
    )
    (asset,) = snapshot.assets[["asset_id", "symbol", "decimals", "chain"]].to_numpy().tolist()
    assert asset == ["eip155:1/erc20:0xC0", "WETH", 8, "eip155:1"]
    assert snapshot.venues.loc[[0], ["protocol", "liquidation_rule"]].to_numpy().tolist() == [["aave", "full"]]
    (account,) = snapshot.accounts[["account_id", "owner", "health_factor", "mode"]].to_numpy().tolist()
    assert account == ["a@v", "me", np.inf, "emode:1"]
    assert snapshot.legs.loc[0, "protocol_fee"] == 0.1


def test_spreadsheets_are_forgiven_blank_lines_spaces_quotes_and_a_byte_order_mark(
    tmp_path: Path, config: Config
) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(f'\ufeff{HEADER}\r\n\r\n a , v,Collateral,WETH,"10",2000,0.8,0.05\r\n,,,,,,,\r\n'.encode())
    snapshot = import_positions(path, config)
    assert snapshot.accounts["account_id"].tolist() == ["a@v"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((GOOD[0], "a,v,debt,USDC,9k,1,,"), "line 3, column amount: '9k' is not a number; write whole tokens"),
        ((GOOD[0], "", "a,v,debt,USDC,-1,1,,"), "line 4, column amount: .* is negative; write a debt as side debt"),
        (("a,v,debt,USDC,,1,,",), "line 2, column amount: '' is empty"),
        (("a,v,debt,USDC,nan,1,,",), "line 2, column amount: 'nan' is not a number"),
        (("a,v,debt,USDC,inf,1,,",), "line 2, column amount: .* is not finite"),
        (('a,v,debt,USDC,"1,000",1,,',), "line 2, column amount: '1,000' is not a number"),
        (("a,v,debt,USDC,1,0,,",), "line 2, column price_usd: .* is not a price"),
        (("a,v,debt,USDC,1,,,",), "line 2, column price_usd: '' is empty"),
        (("a,v,borrow,USDC,1,1,,",), "line 2, column side: 'borrow' is not a side; write collateral or debt"),
        ((",v,debt,USDC,1,1,,",), "line 2, column account: '' is empty; fill it in"),
        (
            ("a,v,collateral,WETH,1,1,8300,0.05",),
            "line 2, column weight: .*8300.* is not a fraction; write 0.83, not 83 or",
        ),
        (("a,v,collateral,WETH,1,1,,0.05",), "line 2, column weight: '' is empty; write a fraction such as 0.83"),
        (("a,v,debt,WETH,1,1,0,",), "line 2, column weight: .* is no weight of a debt"),
        (("a,v,collateral,WETH,1,1,0.8,",), "line 2, column liquidation_bonus: '' is empty; write 0.05"),
        (("a,v,collateral,WETH,1,1,0.8,1.05",), "line 2, column liquidation_bonus: .*1.05.* is not a fraction below 1"),
        (
            (*GOOD, "b,v,debt,USDC,1,1.01,,"),
            "lines 3 and 4, column price_usd: .*1.0.* and .*1.01.* for the same USDC market",
        ),
        ((*GOOD, GOOD[1]), "lines 3 and 4: the same account, venue, side and asset .a, v, debt, USDC.; add them up"),
        ((GOOD[0], "a,v,debt,USDC,1,1"), "line 3: has 6 values for 8 columns"),
        ((GOOD[0], "a,v,debt,USDC,1,1,,,,"), "line 3: has 10 values for 8 columns"),
        ((), "has no rows; add one"),
        (("a,v@w,debt,USDC,1,1,,",), "line 2, column venue: 'v@w' has an @, which parts account and venue"),
        (("a,v,debt,US\x1b[31mDC,1,1,,",), "line 2, column asset: .* holds a character that cannot be shown"),
        (
            ("a,v,debt,USDC,9e15,1,,",),
            "line 2, column amount: .* is worth more than a quadrillion USD; write whole tokens",
        ),
        (("a,v,debt,USDC,1e308,1e308,,",), "line 2, column amount: .* is worth more than a quadrillion USD"),
        (("a,v,debt,USDC,x,1,,", "a,v,debt,DAI,y,1,,", "a,v,debt,FRAX,z,1,,"), r"'x' is not a number \(2 more lines\)"),
    ],
)
def test_mistakes_in_rows(lines: tuple[str, ...], message: str, tmp_path: Path, config: Config) -> None:
    with pytest.raises(ImportFileError, match=message) as caught:
        import_text(tmp_path, config, *lines)
    assert "\n" not in str(caught.value)
    assert "positions.csv" in str(caught.value)
    assert "np." not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("feed_kind", "oracle", "line 2, column feed_kind: 'oracle' is no kind of feed; write market, ratio, fixed"),
        ("feed_kind", "ratio", "column feed_base: '' names no asset for a ratio feed"),
        ("kind", "stable", "line 2, column kind: 'stable' is no kind of asset; write one of token, lst"),
        ("rule", "aave", "line 2, column rule: 'aave' is no liquidation rule; write aave_v3"),
        ("rule_parameters", "{'a': 1}", "line 2, column rule_parameters: .* are no parameters of the rule aave_v3"),
        (
            "rule_parameters",
            '"{""close"": 1}"',
            "are no parameters of the rule aave_v3; write a JSON object of close_factor",
        ),
        (
            "rule_parameters",
            '"{""close_factor"": NaN}"',
            "write a JSON object of close_factor, full_close_health_factor",
        ),
        ("rule_parameters", '"{""close_factor"": ""half""}"', "are no parameters of the rule aave_v3"),
        ("decimals", "1.5", "line 2, column decimals: .* is not a whole number"),
        ("decimals", "1e300", "line 2, column decimals: .* is not a whole number from 0 to 255"),
        ("protocol_fee", "10", "line 2, column protocol_fee: .* is not a fraction below 1; write 0.1, not 10"),
        ("health_factor", "good", "line 2, column health_factor: 'good' is not a number"),
        ("helth_factor", "1", "unknown column 'helth_factor'; did you mean health_factor?"),
        ("side", "x", "column side is there twice; remove one"),
    ],
)
def test_mistakes_in_optional_columns(column: str, value: str, message: str, tmp_path: Path, config: Config) -> None:
    with pytest.raises(ImportFileError, match=re.escape(message) if "*" not in message else message):
        import_text(tmp_path, config, f"a,v,collateral,XYZ,10,2000,0.8,0.05,{value}", header=f"{HEADER},{column}")


def test_a_ratio_feed_needs_a_priced_base(tmp_path: Path, config: Config) -> None:
    header = f"{HEADER},feed_kind,feed_base"
    with pytest.raises(ImportFileError, match="line 2, column feed_base: 'ETH' has no price in this file"):
        import_text(tmp_path, config, "a,v,collateral,wstETH,10,2000,0.8,0.05,ratio,ETH", header=header)


def test_a_ratio_feed_may_stand_on_a_ratio_feed(tmp_path: Path, config: Config) -> None:
    rows = (
        "a,v,collateral,wstETH,10,2400,0.8,0.05,ratio,stETH",
        "a,v,collateral,stETH,10,1990,0.8,0.05,ratio,ETH",
        "a,v,debt,ETH,1,2000,,,,",
    )
    feeds = import_text(tmp_path, config, *rows, header=f"{HEADER},feed_kind,feed_base").feeds
    assert feeds["base_feed_id"].tolist() == ["stETH:ratio:ETH", "ETH", ""]


def test_two_feeds_never_share_a_name(tmp_path: Path, config: Config) -> None:
    rows = "a,v,collateral,WETH,1,2000,0.8,0.05,fixed", "b,v,collateral,WETH:fixed,1,5,0.8,0.05,market"
    with pytest.raises(ImportFileError, match=r"lines 2 and 3, column asset: .* rename one of the assets"):
        import_text(tmp_path, config, *rows, header=f"{HEADER},feed_kind")


def test_what_belongs_to_an_account_or_a_venue_must_agree(tmp_path: Path, config: Config) -> None:
    with pytest.raises(ImportFileError, match=r"lines 2 and 3, column health_factor: 1\.7 and 1.8 for the same a v"):
        import_text(tmp_path, config, f"{GOOD[0]},1.7", f"{GOOD[1]},1.8", header=f"{HEADER},health_factor")
    with pytest.raises(ImportFileError, match="lines 2 and 3, column rule: 'full' and 'aave_v3' for the same v"):
        import_text(tmp_path, config, f"{GOOD[0]},full", f"{GOOD[1]},", header=f"{HEADER},rule")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.xlsx", b"x", "positions are read from .csv or .parquet files"),
        ("p.csv", HEADER.replace(",", ";").encode(), "line 1: columns are not separated by commas"),
        ("p.csv", HEADER.replace(",side", "").encode() + b"\na,v,W,1,1,1,0\n", "missing column side"),
        ("p.csv", b"\xff\xfe\x00", "not a readable CSV file"),
        ("p.csv", b"", "is empty; start with a line of column names"),
        ("p.csv", b"# about\n# this\n", "is empty; start with a line of column names"),
        ("p.csv", HEADER.encode(), "has no rows; add one"),
        ("p.parquet", b"PAR1", "not a readable PARQUET file"),
    ],
)
def test_files_that_are_no_positions(name: str, content: bytes, message: str, tmp_path: Path, config: Config) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportFileError, match=re.escape(message)) as caught:
        import_positions(tmp_path / name, config)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path, config: Config) -> None:
    with pytest.raises(ImportFileError, match="no such file"):
        import_positions(tmp_path / "p.csv", config)


def test_many_rows(tmp_path: Path, config: Config) -> None:
    rows = 100_000
    account = np.repeat(np.arange(rows // 2), 2).astype(str)
    frame = pd.DataFrame({"account": account, "venue": "v", "side": np.tile(["collateral", "debt"], rows // 2)})
    frame["asset"] = np.tile(["WETH", "USDC"], rows // 2)
    frame["amount"] = np.linspace(1, 2, len(frame))
    frame["price_usd"] = np.tile([2000.0, 1.0], rows // 2)
    frame[["weight", "liquidation_bonus"]] = [0.8, 0.05]
    frame.loc[frame["side"] == "debt", "weight"] = 1
    frame.to_csv(tmp_path / "p.csv", index=False)
    snapshot = import_positions(tmp_path / "p.csv", config)
    assert len(snapshot.legs) == len(frame)

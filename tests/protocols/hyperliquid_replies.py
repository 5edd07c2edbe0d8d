"""Replies of Hyperliquid's info endpoint, typed in.

DOCUMENTED: the example of the documentation (info-endpoint/perpetuals, "Retrieve user's perpetuals account summary").
RECORDED: a mainnet account on 14 January 2026, 14 cross and 2 isolated positions, every figure as printed; a fixture of
a public Rust client (hypersdk). UNIFIED: a mainnet account in unified mode with one BTC long, September 2026, from a
public C# client's tests; its spot balance is not in that record.
Margin tables and tiers: documentation, Margin tiers and "Retrieve perpetuals metadata".
"""

from typing import Any

USER = "0x5e9ee1089755c3435139848e47e6635505d5a13a"

DOCUMENTED: dict[str, Any] = {
    "assetPositions": [
        {
            "position": {
                "coin": "ETH",
                "cumFunding": {"allTime": "514.085417", "sinceChange": "0.0", "sinceOpen": "0.0"},
                "entryPx": "2986.3",
                "leverage": {"rawUsd": "-95.059824", "type": "isolated", "value": 20},
                "liquidationPx": "2866.26936529",
                "marginUsed": "4.967826",
                "maxLeverage": 50,
                "positionValue": "100.02765",
                "returnOnEquity": "-0.0026789",
                "szi": "0.0335",
                "unrealizedPnl": "-0.0134",
            },
            "type": "oneWay",
        }
    ],
    "crossMaintenanceMarginUsed": "0.0",
    "crossMarginSummary": {
        "accountValue": "13104.514502",
        "totalMarginUsed": "0.0",
        "totalNtlPos": "0.0",
        "totalRawUsd": "13104.514502",
    },
    "marginSummary": {
        "accountValue": "13109.482328",
        "totalMarginUsed": "4.967826",
        "totalNtlPos": "100.02765",
        "totalRawUsd": "13009.454678",
    },
    "time": 1708622398623,
    "withdrawable": "13104.514502",
}

# coin, szi, entryPx, positionValue, unrealizedPnl, liquidationPx, marginUsed, maxLeverage, rawUsd of an isolated one
_POSITIONS: list[tuple[str, str, str, str, str, str | None, str, int, str | None]] = [
    ("BTC", "-1.47472", "95137.8", "140406.61648", "-104.935956", "5387394.7801264981", "7020.330824", 40, None),
    ("ETH", "-45.7436", "3297.47", "151232.91596", "-394.470067", "172665.4473515121", "7561.645798", 25, None),
    ("SOL", "30390.93", "144.1206", "4398175.3896000003", "18214.531954", None, "219908.76948", 20, None),
    ("LTC", "3.51", "98.87", "277.72875", "-69.30495", None, "27.772875", 10, None),
    ("LDO", "16332.0", "0.66227", "10661.85624", "-154.358374", None, "1066.185624", 10, None),
    ("XRP", "-92720.0", "2.127177", "197317.432", "-85.535846", "85.2742980086", "9865.8716", 20, None),
    ("WIF", "146.0", "0.344551", "60.85864", "10.55408", None, "12.171728", 5, None),
    ("SAGA", "-220.2", "0.10448", "13.899024", "9.107472", "30759.3016032192", "4.633008", 3, None),
    ("MOODENG", "54674.0", "0.084892", "4618.58615", "-22.823047", None, "1539.528716", 3, None),
    ("PURR", "-552200.0", "0.069135", "34082.3362", "4094.36687", "12.3275383017", "11360.778733", 3, None),
    ("HYPE", "-149078.45", "25.4825", "3878574.0336500001", "-79672.19014", "76.4988794996", "775714.80673", 10, None),
    ("VIRTUAL", "-9594.1", "1.92458", "10004.72748", "8459.899945", "749.8030102371", "2000.945496", 5, None),
    ("MORPHO", "-1286.7", "1.3869", "1801.50867", "-16.972812", "5584.4267052968", "360.301734", 5, None),
    ("IP", "55968.6", "3.75896", "211180.72152", "796.732292", None, "70393.57384", 3, None),
    ("MON", "-1114261.0", "0.024464", "26961.773417", "297.787566", "0.0296643783", "9397.472442", 5, "36359.245859"),
    ("MET", "-43463.0", "0.27653", "11878.87253", "139.95366", "0.316148663", "4152.025031", 3, "16030.897561"),
]


def position(
    coin: str,
    size: str,
    entry: str,
    value: str,
    pnl: str,
    liquidation: str | None,
    margin: str,
    leverage: int,
    raw: str | None = None,
) -> dict[str, Any]:
    """One entry of assetPositions; with `raw`, isolated."""
    mode = {"type": "cross", "value": 5} if raw is None else {"type": "isolated", "value": 3, "rawUsd": raw}
    return {
        "type": "oneWay",
        "position": {
            "coin": coin,
            "szi": size,
            "leverage": mode,
            "entryPx": entry,
            "positionValue": value,
            "unrealizedPnl": pnl,
            "returnOnEquity": "0.0",
            "liquidationPx": liquidation,
            "marginUsed": margin,
            "maxLeverage": leverage,
            "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"},
        },
    }


def state(
    positions: list[dict[str, Any]],
    cross_value: str,
    raw: str,
    maintenance: str,
    value: str | None = None,
    used: tuple[str, str] = ("0.0", "0.0"),
) -> dict[str, Any]:
    """A clearinghouseState; `used`: totalMarginUsed of the cross margin, and of all."""
    summary = {"accountValue": cross_value, "totalNtlPos": "0.0", "totalRawUsd": raw, "totalMarginUsed": used[0]}
    return {
        "assetPositions": positions,
        "crossMarginSummary": summary,
        "marginSummary": summary | {"accountValue": value or cross_value, "totalMarginUsed": used[1]},
        "crossMaintenanceMarginUsed": maintenance,
        "withdrawable": "0.0",
        "time": 1768397010203,
    }


RECORDED = state(
    [position(*row) for row in _POSITIONS],
    cross_value="8259027.0754620004",
    raw="8047485.4040259998",
    maintenance="356978.709123",
    value="8272576.5729350001",
    used=("1106837.3161859999", "1120386.813659"),
)

UNIFIED = state(
    [position("BTC", "4.5", "81285.0", "377667.0", "11884.306507", "74501.802790436", "37766.7", 40)],
    cross_value="38252.7",
    raw="-339414.3",
    maintenance="4720.8375",
    used=("37766.7", "37766.7"),
)
UNIFIED_TOTAL = "46599.61385"
"""The USDC that puts liquidation at the recorded price: p s / 80 = T + s (p - 83926), p = 74501.802790436, s = 4.5."""

EMPTY = state([], "0.0", "0.0", "0.0")


def _table(*tiers: tuple[str, int]) -> dict[str, Any]:
    return {"description": "", "marginTiers": [{"lowerBound": low, "maxLeverage": most} for low, most in tiers]}


_TABLES: list[Any] = [
    [50, _table(("0.0", 50))],
    [51, _table(("0.0", 10), ("3000000.0", 5))],
    [55, _table(("0.0", 25), ("100000000.0", 15))],
    [56, _table(("0.0", 40), ("150000000.0", 20))],
]


def meta(marks: dict[str, str] | None = None) -> list[Any]:
    """metaAndAssetCtxs: every market of the record at its price there, or `marks` alone."""
    recorded = {row[0]: (row[3], row[1], row[7]) for row in _POSITIONS}
    prices = {coin: repr(float(value) / abs(float(size))) for coin, (value, size, _) in recorded.items()}
    prices = prices if marks is None else marks
    special = {"BTC": 56, "ETH": 55, "OP": 51}
    universe, contexts = [], []
    for coin, price in prices.items():
        leverage = recorded[coin][2] if coin in recorded else 10
        table = special.get(coin, leverage)
        universe.append({"szDecimals": 2, "name": coin, "maxLeverage": leverage, "marginTableId": table})
        contexts.append(
            {
                "dayNtlVlm": "1169046.29406",
                "funding": "0.0000125",
                "impactPxs": ["14.3047", "14.3444"],
                "markPx": price,
                "midPx": None,
                "openInterest": "688.11",
                "oraclePx": price,
                "premium": "0.00031774",
                "prevDayPx": "15.322",
            }
        )
    return [{"universe": universe, "marginTables": _TABLES, "collateralToken": 0}, contexts]


PERP_DEXS: list[Any] = [
    None,
    {
        "name": "test",
        "fullName": "test dex",
        "deployer": "0x5e89b26d8d66da9888c835c9bfcc2aa51813e152",
        "oracleUpdater": None,
        "feeRecipient": None,
        "assetToStreamingOiCap": [["COIN1", "100000.0"], ["COIN2", "200000.0"]],
    },
]
SPOT_META = {
    "tokens": [
        {
            "name": "USDC",
            "szDecimals": 8,
            "weiDecimals": 8,
            "index": 0,
            "tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054",
            "isCanonical": True,
            "evmContract": None,
            "fullName": None,
        }
    ],
    "universe": [],
}


OUTCOMES: dict[str, Any] = {
    "balances": [
        {"coin": "USDC", "token": 0, "total": "11.515057", "hold": "11.515057", "entryNtl": "0.0"},
        {"coin": "USDE", "token": 235, "total": "0.0", "hold": "0.0", "entryNtl": "0.0"},
        {"coin": "+92260", "total": "0.0", "hold": "0.0", "entryNtl": "0.0"},
        {"coin": "+92261", "total": "0.0", "hold": "0.0", "entryNtl": "0.0"},
    ],
    "tokenToAvailableAfterMaintenance": [[0, "8.554471"]],
}
"""Of a unified account on 6 October 2026 that held sides of an outcome market; tests of a public Rust client."""


def spot(total: str, available: str | None = None) -> dict[str, Any]:
    """spotClearinghouseState with USDC alone, and what it leaves after maintenance."""
    told = {} if available is None else {"tokenToAvailableAfterMaintenance": [[0, available]]}
    return {"balances": [{"coin": "USDC", "token": 0, "hold": "0.0", "total": total, "entryNtl": "0.0"}], **told}

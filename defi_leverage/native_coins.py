"""The chains' own coins, for venues that take one without a wrapper."""

__all__ = ["NATIVE_COINS"]

NATIVE_COINS = {
    1: ("slip44:60", "ETH"),
    10: ("slip44:60", "ETH"),
    56: ("slip44:714", "BNB"),
    100: ("slip44:700", "xDAI"),
    137: ("slip44:966", "POL"),
    8453: ("slip44:60", "ETH"),
    42161: ("slip44:60", "ETH"),
    43114: ("slip44:9005", "AVAX"),
}
"""Chain id -> CAIP-19 asset reference and symbol. Coin types of satoshilabs/slips slip-0044; all have 18 decimals."""

"""Symbols of tokens that are meant to be worth a US dollar: their assets are of kind `usd`."""

__all__ = ["USD_SYMBOLS"]

USD_SYMBOLS = frozenset(
    "crvUSD DAI FDUSD FRAX GHO LUSD MAI PYUSD RLUSD sUSD TUSD USDA USDC USDC.e USDbC USDe USDG USDH USDP USDS USDT "
    "USDT0 USD₮0 USDtb USD1 WXDAI xDAI".lower().split()
)
"""In lower case. A symbol proves nothing: it groups assets, and prices none."""

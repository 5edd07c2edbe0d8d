"""Families of derived assets: one module a family, found by its name, with one public coroutine `read` (a `Family`).

A family reads its own tokens and says nothing of others. `exchange_rates`, a table of known tokens, is asked first, and
`erc4626` last, for what is known more closely (a Morpho vault) is an ERC-4626 vault too; the others exclude each other.
"""

import importlib
import pkgutil

from defi_leverage.backing.claims import Family

__all__ = ["load_families"]

_FIRST, _LAST = "exchange_rates", "erc4626"


def load_families() -> dict[str, Family]:
    """The families by name, in the order in which they are asked."""
    names = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    ordered = (_FIRST, *sorted(names - {_FIRST, _LAST}), _LAST)
    return {name: importlib.import_module(f"{__name__}.{name}").read for name in ordered}

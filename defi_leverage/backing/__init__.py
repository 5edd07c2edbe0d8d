"""What derived assets are claims on, read from the chain at its pinned block: one module a family in `families/`."""

from defi_leverage.backing.compose import read_backing

__all__ = ["read_backing"]

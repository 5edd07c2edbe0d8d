"""Price histories from a user's files."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from defi_leverage.errors import ImportFileError
from defi_leverage.stress.plan import PriceSource
from defi_leverage.stress.price_history import align_prices

__all__ = ["read_price_history"]


def read_price_history(source: PriceSource) -> pd.DataFrame:
    """The prices of all files of `source` on one clock, a column an asset (see `align_prices` for their layout).

    Raises ImportFileError that names the file which is missing or cannot be read, ScenarioError for what is in them.
    """
    return align_prices(pd.concat(map(_read, source.files), ignore_index=True), source.step, source.max_age)


def _read(name: str) -> pd.DataFrame:
    path = Path(name).expanduser()
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise ImportFileError(f"{name}: a price history is a .csv or .parquet file; rename or convert it")
    try:
        prices = pd.read_csv(path) if ending == ".csv" else pd.read_parquet(path)
    except FileNotFoundError:
        raise ImportFileError(f"{name}: no such file; correct the name of the price history") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ImportFileError(f"{name}: cannot be read as a price history: {str(error).splitlines()[0]}") from None
    return prices.rename(columns=str.lower)  # files of several assets may not agree on capitals

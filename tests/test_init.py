"""The names a notebook uses: each exists, each is listed, and importing the package alone stays cheap."""

import subprocess
import sys

import pytest

import defi_leverage as dl


@pytest.mark.parametrize("name", dl.__all__)
def test_every_listed_name_exists(name: str) -> None:
    assert getattr(dl, name) is not None
    assert name in dir(dl)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dl.nothing


def test_importing_loads_no_heavy_library() -> None:
    code = "import sys, defi_leverage; print([m for m in ('pandas', 'networkx', 'web3', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

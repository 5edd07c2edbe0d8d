"""The wheel carries all it needs, and works outside the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); from defi_leverage.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # -P: nothing from the working directory; -I would also drop the site-packages that a wheel's dependencies are in
    command = [sys.executable, "-P", "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_data_travels_in_the_wheel(installed: Path) -> None:
    package = installed / "defi_leverage"
    for name in ("config.toml", "schema.csv", "py.typed", "abis/aave_v3.json", "sample/manifest.json"):
        assert (package / name).is_file(), name
    assert not (installed / "tests").exists()


def test_the_main_job_runs_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "run", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "Systemic leverage clusters" in done.stdout
    assert (tmp_path / "out" / "summary.json").is_file()


def test_help_explains_itself(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "--help")
    assert done.returncode == 0
    for command in ("scan", "run", "graph", "loops", "shock", "clusters", "export", "import"):
        assert command in done.stdout

"""The wheel holds what runs, and only that."""

import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("hwnas", "search_spaces", "latency_predictors", "targets")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the tools at hand, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    options = ["--no-index", "--disable-pip-version-check", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([*command, *options, str(ROOT)], check=True, timeout=300)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_every_source_file_is_in_the_wheel(names: list[str]) -> None:
    sources = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*.py")
    }
    assert sources <= set(names)


def test_only_the_four_packages_and_metadata_are_in_the_wheel(names: list[str]) -> None:
    top = {name.split("/")[0] for name in names}
    assert {part for part in top if not part.endswith(".dist-info")} == set(PACKAGES)
    suffixes = {Path(name).suffix for name in names if name.split("/")[0] in PACKAGES}
    assert suffixes == {".py", ".typed", ".yaml"}


def test_board_descriptions_type_markers_and_licence_are_in_the_wheel(names: list[str]) -> None:
    boards = {f"targets/boards/{path.name}" for path in (ROOT / "targets/boards").glob("*.yaml")}
    assert {"targets/boards/host.yaml", "targets/boards/host-onnxruntime.yaml"} <= boards
    assert boards <= set(names)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_metadata_states_version_python_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(path))
    assert (metadata["Name"], metadata["Requires-Python"]) == ("hwnas", ">=3.11")
    assert metadata["License-Expression"] == "Apache-2.0"
    assert wheel.name == f"hwnas-{metadata['Version']}-py3-none-any.whl"


def test_the_unpacked_wheel_runs_by_itself(wheel: Path, tmp_path: Path) -> None:
    """Away from the sources: board descriptions are found, and the help comes from the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import hwnas, targets; print(hwnas.__file__); print(*targets.names());"
        "print(targets.load_spec('host').backend)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    file, known, backend = done.stdout.splitlines()
    assert Path(file) == tmp_path / "hwnas" / "__init__.py"
    assert {"host", "host-onnxruntime"} <= set(known.split())
    assert backend == "tvm"

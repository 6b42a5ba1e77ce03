"""What an installed attnrules consists of: the wheel holds every file of the rooms, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("attnrules", "ingest", "queries", "sql", "warehouse")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
# What is not read from a room when it runs: caches, and what an editor or a desktop hides there.
IGNORED = shutil.ignore_patterns("__pycache__", ".*")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a wheel is built from, where building may leave its own files."""
    folder = tmp_path_factory.mktemp("source")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=IGNORED)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def stated(source: Path) -> set[str]:
    """The files of the rooms, each by its place in the one namespace."""
    files = {path.relative_to(source) for room in ROOMS for path in (source / room).rglob("*")}
    return {
        path.as_posix() if path.parts[0] == "attnrules" else f"attnrules/{path.as_posix()}"
        for path in files
        if (source / path).is_file()
    }


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """The wheel that is built from it."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, "built"], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = (source / "built").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def packaged(wheel: Path) -> set[str]:
    """The files of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_rooms(packaged: set[str], stated: set[str]) -> None:
    assert {Path(name).suffix for name in stated} >= {
        ".py",
        ".sql",
        ".toml",
        ".safetensors",
        ".json",
        ".typed",
    }
    assert sorted(stated - packaged) == []


def test_the_wheel_holds_nothing_else(packaged: set[str], stated: set[str]) -> None:
    # `sql` and `queries` beside `attnrules` would take the place of other projects' packages.
    others = packaged - stated
    assert {name.split("/")[0].split("-")[0] for name in packaged} == {"attnrules"}
    assert [name for name in sorted(others) if ".dist-info/" not in name] == []


def test_the_wheel_brings_the_command(wheel: Path, packaged: set[str]) -> None:
    (entry_points,) = (name for name in packaged if name.endswith(".dist-info/entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert "attnrules = attnrules.cli:main" in archive.read(entry_points).decode()

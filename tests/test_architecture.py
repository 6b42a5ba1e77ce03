"""The house rules: data flows one way, heavy libraries stay in their room, SQL stays in its files."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"ingest": "ingest", "warehouse": "warehouse", "sql": "sql", "queries": "queries", "attnrules": ""}
# What each room may import of the others.
ALLOWED = {
    "sql": set(),
    "warehouse": {"sql", "errors"},
    "queries": {"warehouse", "sql", "errors"},
    "ingest": {"warehouse", "errors", "demo"},
    "attnrules": {"ingest", "warehouse", "queries", "errors", "demo", "commands", "cli", "api"},
}
HEAVY = ("torch", "transformer_lens", "transformers", "sae_lens", "datasets")


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_lies_downstream(room: str) -> None:
    rooms = {"ingest", "warehouse", "sql", "queries", "errors", "demo", "commands", "cli", "api"}
    for path in sources(room):
        used = {name.split(".")[1] for name in imported(path) if name.startswith("attnrules.")} & rooms
        assert used - {room} <= ALLOWED[room], path


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "ingest"])
def test_only_ingest_imports_torch_and_its_kin(room: str) -> None:
    for path in sources(room):
        assert not {name.split(".")[0] for name in imported(path)} & set(HEAVY), path


def loaded_after(code: str) -> set[str]:
    """Run Python code in a fresh interpreter and return which heavy modules it has loaded."""
    script = f"{code}\nimport sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["ingest", "--help"],
        ["demo", "--help"],
        ["intervene", "--help"],
        ["mine", "absence", "{w}"],
        ["mine", "counting", "{w}"],
        ["mine", "skipgrams", "{w}", "--examples-per-split", "10", "--features", "1", "--heads", "0"],
        ["show", "{w}", "L0H0.0"],
        ["query", "{w}", "FROM model"],
        ["info", "{w}"],
        ["check", "{w}"],
        ["describe", "{w}"],
        ["export", "{w}", "{w}.export"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_commands_that_need_no_model_do_not_load_torch(arguments: list[str], mined: Path) -> None:
    filled = [argument.format(w=mined) for argument in arguments]
    assert loaded_after(f"from attnrules.cli import run; assert run({filled!r}) == 0") == set()


def test_importing_ingest_loads_nothing_heavy() -> None:
    assert loaded_after("import attnrules.ingest") == set()


def test_every_sql_file_says_what_a_row_is_or_what_it_verifies() -> None:
    for folder in ("sql", "queries"):
        for path in sorted((ROOT / folder).rglob("*.sql")):
            text = path.read_text("utf-8")
            assert text.startswith(("-- ", "CREATE MACRO")), path


def test_packages_list_every_room_and_package() -> None:
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        "attnrules" if folder == Path("attnrules") else f"attnrules.{'.'.join(parts)}"
        for room in ROOMS
        for init in (ROOT / room).rglob("__init__.py")
        for folder in [init.parent.relative_to(ROOT)]
        for parts in [folder.parts[1:] if folder.parts[0] == "attnrules" else folder.parts]
    }
    assert found == listed

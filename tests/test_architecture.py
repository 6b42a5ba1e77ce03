"""The house rules: data flows one way, heavy libraries stay in their room, SQL stays in its files."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse
from tests import tiny

ROOT = Path(__file__).parent.parent
ROOMS = {"ingest": "ingest", "warehouse": "warehouse", "sql": "sql", "queries": "queries", "attnrules": ""}
# What each room may import of the others.
ALLOWED = {
    "sql": {"errors"},
    "warehouse": {"sql", "errors", "interrupts"},
    "queries": {"warehouse", "sql", "errors"},
    "ingest": {"warehouse", "errors", "demo"},
    "attnrules": {
        "ingest",
        "warehouse",
        "sql",
        "queries",
        "errors",
        "interrupts",
        "demo",
        "commands",
        "cli",
        "api",
    },
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
    rooms = {
        "ingest",
        "warehouse",
        "sql",
        "queries",
        "errors",
        "interrupts",
        "demo",
        "commands",
        "cli",
        "api",
    }
    for path in sources(room):
        used = {name.split(".")[1] for name in imported(path) if name.startswith("attnrules.")} & rooms
        assert used - {room} <= ALLOWED[room], path


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "ingest"])
def test_only_ingest_imports_torch_and_its_kin(room: str) -> None:
    for path in sources(room):
        assert not {name.split(".")[0] for name in imported(path)} & set(HEAVY), path


# Loads the command line once; each line of its input is then code that runs in a process of its own, forked
# from there, which says whether it ended and which modules it has loaded.
FRESH = """
import json, os, sys
import attnrules.cli
for line in sys.stdin:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        ended = False
        try:
            exec(json.loads(line), {})
            ended = True
        finally:
            os.write(writer, json.dumps([ended, sorted(sys.modules)]).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        print(answer.read(), flush=True)
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded_after() -> Iterator[Callable[[str], set[str]]]:
    """Run Python code in a process that has loaded the command line, and return its heavy modules."""
    with subprocess.Popen(
        [sys.executable, "-c", FRESH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def loaded(code: str) -> set[str]:
            print(json.dumps(code), file=process.stdin, flush=True)
            ended, modules = json.loads(process.stdout.readline())
            assert ended, code
            return set(modules) & set(HEAVY)

        yield loaded
        process.stdin.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny warehouse of one mined head, and an empty one."""
    folder = tmp_path_factory.mktemp("made")
    Warehouse.create(folder / "empty.duckdb", d_head=2).close()
    shape = tiny.Tiny(seed=0, n_seqs=12, seq_len=5, steep=False, sparse=False)
    spec = SkipgramSpec(layers=(0,), heads=(0,), examples_per_split=1, n_features=2)
    with tiny.build(folder / "w.duckdb", shape) as warehouse:
        numbers = ("n_layers", "n_heads", "n_kv_heads", "d_model", "d_head", "n_ctx", "vocab_size")
        texts = (
            "name",
            "architecture",
            "normalization",
            "positional_embedding",
            "processing",
            "dtype",
            "sha256",
        )
        model = {**dict.fromkeys(numbers, 4), **dict.fromkeys(texts, "tiny"), "attn_scale": 2.0}
        warehouse.append("model", pa.Table.from_pylist([{**model, "bos_token_id": tiny.N_TOKENS}]))
        mine_skipgrams(warehouse, spec)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["ingest", "--help"],
        ["demo", "--help"],
        ["intervene", "--help"],
        ["mine", "absence", "{w}"],
        ["mine", "counting", "{w}"],
        [
            "mine",
            "skipgrams",
            "{w}",
            "--examples-per-split",
            "1",
            "--features",
            "1",
            "--heads",
            "0",
            "--layers",
            "0",
        ],
        ["show", "{w}", "L0H0.2"],
        ["query", "{w}", "FROM model"],
        ["info", "{w}"],
        ["check", "{empty}"],
        ["describe", "{w}"],
        ["export", "{w}", "{w}.export"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_commands_that_need_no_model_do_not_load_torch(
    arguments: list[str], made: Path, tmp_path: Path, loaded_after: Callable[[str], set[str]]
) -> None:
    place = shutil.copytree(made, tmp_path / "made")
    filled = [argument.format(w=place / "w.duckdb", empty=place / "empty.duckdb") for argument in arguments]
    assert loaded_after(f"from attnrules.cli import run; assert run({filled!r}) == 0") == set()


def test_importing_ingest_loads_nothing_heavy(loaded_after: Callable[[str], set[str]]) -> None:
    assert loaded_after("import attnrules.ingest") == set()


def test_what_is_heavy_is_seen(loaded_after: Callable[[str], set[str]]) -> None:
    assert loaded_after("import datasets") == {"datasets"}


def test_every_sql_file_says_what_a_row_is_or_what_it_verifies() -> None:
    for folder in ("sql", "queries"):
        for path in sorted((ROOT / folder).rglob("*.sql")):
            text = path.read_text("utf-8")
            assert text.startswith(("-- ", "CREATE MACRO")), path


OURS = ("attnrules", "benchmarks", "tests")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names_of_others(path: Path) -> Iterator[str]:
    """The names private to another module of ours that a module imports or reads."""
    imported: set[str] = set()
    attributes: list[ast.Attribute] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {a.asname or a.name.split(".")[0] for a in node.names if a.name.split(".")[0] in OURS}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            imported |= {alias.asname or alias.name for alias in node.names}
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from filter(is_private, parts)
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            attributes.append(node)
    for node in attributes:
        holder = node.value
        while isinstance(holder, ast.Attribute):
            holder = holder.value
        if isinstance(holder, ast.Name) and holder.id in imported:
            yield ast.unparse(node)


def test_no_module_uses_what_is_private_to_another() -> None:
    paths = [path for folder in (*ROOMS, "benchmarks", "docs", "tests") for path in sources(folder)]
    assert len(paths) > 100
    assert {str(path): names for path in paths if (names := list(private_names_of_others(path)))} == {}


@pytest.mark.parametrize(
    "code",
    [
        "from attnrules.errors import _secret",
        "from attnrules.ingest import pipeline\npipeline._secret()",
        "import attnrules.errors\nattnrules.errors._secret",
        "from attnrules.warehouse import Warehouse as W\nW._secret",
    ],
)
def test_private_names_are_seen(code: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(code)
    (found,) = private_names_of_others(tmp_path / "module.py")
    assert found.endswith("_secret")


def test_no_folder_is_named_like_a_module_beside_it() -> None:
    for folder in ("attnrules", "benchmarks", "ingest", "queries", "sql", "tests", "warehouse"):
        for path in sources(folder):
            assert not path.with_suffix("").exists(), path


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

"""A warehouse from a file into a lake, and back.

The copy is made under a hidden name, checked against the digests, which are copied with the rows, and takes
its name at the very end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from attnrules import sql
from attnrules.errors import AttnRulesError, UsageError
from attnrules.warehouse import catalogue, files
from attnrules.warehouse.connection import connect_beside
from attnrules.warehouse.digests import IN_FILES
from attnrules.warehouse.export import folder_made_whole
from attnrules.warehouse.faults import explained
from attnrules.warehouse.handle import Connection
from attnrules.warehouse.inspect import check
from attnrules.warehouse.lake import Lake
from attnrules.warehouse.part import WHOLE, Part
from attnrules.warehouse.rewrite import Report, silent
from attnrules.warehouse.store import Warehouse


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Arguments:
        n_rows: rows copied. n_bytes: sizes of what was converted and of what was made.
        left_out: (kind, name) of what the old one holds besides an attnrules warehouse; not copied.
    """

    n_rows: int
    n_bytes: tuple[int, int]
    left_out: list[tuple[str, str]]


def convert(
    source: Path,
    target: Path,
    report: Report = silent,
    *,
    part: Part = WHOLE,
    to_lake: bool | None = None,
    called: str | None = None,
) -> Conversion:
    """Make a lake at `target` of the warehouse file `source`, or a file of a lake, with the same rows.

    Or what `to_lake` says. Or with the rows of a `part` alone, and all that belongs to no layer. `target`
    must not exist, as a lake it may be an empty folder. The run is recorded as of what is `called` so, by
    default the name of `source`. `report` is told what is done next and with how many rows. Raises
    `WarehouseUnavailableError` when `source` is no warehouse or in use, `UsageError` when it lacks the part,
    and `AttnRulesError` when it does not pass its checks or `target` cannot be made; nothing is left of it
    then.
    """
    files.refuse_remote(target)
    is_lake = files.is_lake(source)
    to_lake = not is_lake if to_lake is None else to_lake
    with Warehouse.open(source) as old:
        part.refuse_missing(old)
        n_bytes = old.n_bytes
        with old.session() as connection:
            found = catalogue.read(connection)
            found = catalogue.of_lake(found) if is_lake else found
    d_head = found.d_head or 1
    with _made(target, d_head, to_lake) as new:
        n_rows = _copy(source, new, part, report)
        with Warehouse.open(new, writable=True) as warehouse:
            names = {"source": called or source.name, "target": target.name}
            with warehouse.run("lake", names if part.is_whole else {**names, **asdict(part)}):
                if not part.is_whole:
                    part.restrict_ledger(warehouse)
            report("checking the copy", n_rows)
            _refuse_problems(source, warehouse)
            n_bytes_after = warehouse.n_bytes
    Warehouse.open(target).close()
    return Conversion(n_rows, (n_bytes, n_bytes_after), found.own())


@contextmanager
def _made(target: Path, d_head: int, to_lake: bool) -> Iterator[Path]:
    """Yield an empty warehouse under a hidden name that becomes `target` when the block ends well."""
    if to_lake:
        if target.suffix == ".duckdb":
            raise UsageError(f"{target}: a lake is a folder; name one without .duckdb")
        # Names the folder that was asked for, not the one in the making.
        Lake.at(target)
        with folder_made_whole(target) as unfinished:
            Warehouse.create(unfinished, d_head=d_head, lake=True).close()
            yield unfinished
    else:
        files.refuse_no_place(target)
        with files.made_whole(target) as unfinished:
            Warehouse.create(unfinished, d_head=d_head).close()
            yield unfinished


def _copy(source: Path, new: Path, part: Part, report: Report) -> int:
    """Copy the rows of all tables; return their number."""
    lakes = [Lake.at(path) for path in (source, new) if files.is_lake(path)]
    old_file, new_file = files.database_of(source), files.database_of(new)
    n_rows = 0
    beside = connect_beside(old_file, new_file, [folder for lake in lakes for folder in lake.allowed])
    with closing(beside) as connection, explained(source, writing=True):
        connection.execute("USE new").fetchall()
        connection.execute("BEGIN TRANSACTION").fetchall()
        for table in sql.table_names():
            old = part.of(table, f"old.main.{table}")
            ((n,),) = connection.execute(f"SELECT count(*) FROM {old}").fetchall()
            report(f"copying {table}", n)
            _copy_table(connection, table, old, Lake.at(new) if files.is_lake(new) else None)
            n_rows += n
        connection.execute("COMMIT").fetchall()
    return n_rows


def _copy_table(connection: Connection, table: str, old: str, lake: Lake | None) -> None:
    """Copy the rows of `old`, what stands in a FROM."""
    if lake is not None and table in IN_FILES:
        lake.fill(connection, table, old)
        return
    if table not in IN_FILES:
        connection.execute(f"DELETE FROM new.main.{table}").fetchall()
    connection.execute(f"INSERT INTO new.main.{table} BY NAME FROM {old}").fetchall()


def _refuse_problems(source: Path, copy: Warehouse) -> None:
    found = [f"{result.name}: {result.first_problem}" for result in check(copy) if result.n_problems]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise AttnRulesError(
            f"{source}: does not pass its checks: {found[0]}{more}; nothing was made of it. Restore it from a"
            " copy first"
        )

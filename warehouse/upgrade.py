"""A warehouse of an earlier schema version, written anew in the one of today.

The new file is made beside the old one under a name of its own, compared with it row by row (`rewrite`),
checked, and put in its place at the very end: until then the old file is only read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from attnrules import sql
from attnrules.errors import AttnRulesError, WarehouseUnavailableError
from attnrules.warehouse import catalogue, files
from attnrules.warehouse.catalogue import Catalogue
from attnrules.warehouse.connection import connect, connect_beside
from attnrules.warehouse.digests import IN_FILES, RESULTS
from attnrules.warehouse.faults import explained
from attnrules.warehouse.handle import Connection
from attnrules.warehouse.inspect import check
from attnrules.warehouse.rewrite import Report, Rewriting, silent
from attnrules.warehouse.store import Warehouse

# Schema versions whose tables this version knows to read.
_READABLE = (2, 3, 4, sql.SCHEMA_VERSION)
# The new file takes a little less disk than the old one; bytes asked for besides, for what it is made with.
_DISK_BESIDES = 64 << 20


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade did.

    Arguments:
        version: schema version of the old file.
        rows: table to number of rows copied.
        file_bytes: sizes of the old file and of the new one.
        kept: where the old file is now, None where it is gone.
        left_out: (kind, name) of what the old file holds besides an attnrules warehouse; not copied.
        not_known: in words, what the old file did not record, and how to get it.
        problems: in words, what `attnrules check` finds.
    """

    version: int
    rows: dict[str, int]
    file_bytes: tuple[int, int]
    kept: Path | None
    left_out: list[tuple[str, str]]
    not_known: list[str]
    problems: list[str]


def upgrade(
    path: Path, *, keep: bool = True, accept_problems: bool = False, report: Report = silent
) -> Upgrade | None:
    """Write the warehouse at `path` anew in the schema version of today; None where it is of it already.

    Of a lake that is its catalogue; its files are the same in all versions that have lakes, and tables that
    only the catalogue of an older one holds become files. The old file stays beside it as
    `NAME.vVERSION.duckdb` if `keep`. What `attnrules check` finds in it is refused unless `accept_problems`.
    `report` is told what is done next and with how many rows. Raises
    `WarehouseUnavailableError` when `path` is no warehouse, is of a version that this one cannot read, or is
    in use; `AttnRulesError` when the disk lacks space, a table cannot be read or copied, a problem is found,
    the old file holds more than would be copied and is not to be kept, or its new name is taken. Whatever
    goes wrong, the old file is as it was.
    """
    file = files.database_of(path).resolve()
    identity = files.identity(file)
    _write_back_log(file)
    old = _read(path.resolve(), file)
    if old.version == sql.SCHEMA_VERSION and not old.moved and not any(_faults(old.found)):
        return None
    files.refuse_tasks(old.path)
    kept = file.with_name(f"{file.stem}.v{old.version}{file.suffix}") if keep else None
    _refuse_no_room(file, kept)
    # The old file is open for reading until the end: nobody can write to it meanwhile.
    with _made_beside(old) as new, closing(_beside(old, new)) as connection:
        done = _write(_opened(connection, old, new), new, old, kept, accept_problems, report)
        if files.identity(file) != identity:
            raise AttnRulesError(
                f"{old.path}: was removed, renamed or replaced meanwhile; it is left as it is"
            )
        made = files.database_of(new)
        shutil.copymode(file, made)
        files.put_in_place(made, file, kept)
    return done


@dataclass(frozen=True)
class _Old:
    """The old warehouse.

    Arguments:
        path: its name. file: the database. found: what it defines. version: of its schema.
        listed: of a lake, the files that it lists, by table; None for a file.
        moved: of a lake, the tables that it holds itself and that are to become files.
    """

    path: Path
    file: Path
    found: Catalogue
    version: int
    listed: Mapping[str, Sequence[str]] | None
    moved: frozenset[str] = frozenset()


def _read(path: Path, file: Path) -> _Old:
    with closing(connect(file, writable=False)) as connection, explained(path):
        found = catalogue.read(connection)
        version = _version(connection, path, found)
        if path == file:
            return _Old(path, file, found, version, None)
        # A file by itself needs nothing of it.
        from attnrules.warehouse.lake import Lake, listed

        moved = frozenset(table for table in RESULTS if ("table", table) in found.definitions)
        for fault in Lake.at(path).faults(connection, tables=moved):
            raise WarehouseUnavailableError(f"{path}: {fault}; restore its catalogue from a copy")
        return _Old(path, file, catalogue.of_lake(found), version, listed(connection), moved)


def _beside(old: _Old, new: Path) -> Connection:
    """Open both databases; of a lake the new one lists the files of the old one."""
    if old.listed is None:
        return connect_beside(old.file, new)
    from attnrules.warehouse.lake import Lake

    lake = Lake.at(new)
    database = connect(files.database_of(new), writable=True, folders=lake.allowed)
    with closing(database) as connection, explained(new, writing=True):
        lake.list_files(connection, old.listed)
    return connect_beside(old.file, files.database_of(new), lake.allowed)


def _opened(both: Connection, old: _Old, new: Path) -> Warehouse:
    """Return both databases as one warehouse, which is named as the old one and writes files of the new."""
    if old.listed is None:
        return Warehouse(both, old.path)
    from attnrules.warehouse.lake import Lake

    return Warehouse(both, old.path, lake=Lake.at(new))


def _settle(new: Path, path: Path) -> None:
    """Move the files that `new` wrote into the lake at `path`, and let the catalogue of `new` list them."""
    from attnrules.warehouse.lake import Lake, listed

    lake = Lake.at(path)
    database = connect(files.database_of(new), writable=True, folders=lake.allowed)
    with closing(database) as connection, explained(path, writing=True):
        names = listed(connection)
        for table in sorted(RESULTS):
            for name in names[table]:
                lake.take(table, new / name)
        lake.list_files(connection, names)


def _write(
    both: Warehouse, new: Path, old: _Old, kept: Path | None, accept_problems: bool, report: Report
) -> Upgrade:
    """Fill the empty warehouse `new` from the old one; both are open in `both`."""
    path = old.path
    with both.session():
        in_files = frozenset() if old.listed is None else IN_FILES - old.moved
        rewriting = Rewriting(both, report, in_files=in_files, moved=old.moved)
        left_out = _left_out(old.found, rewriting)
        _refuse_loss(path, left_out, kept)
        damage = rewriting.damage()
        _refuse_problems(path, damage, accepted=accept_problems)
        rows = rewriting.copy()
        rewriting.compare()
        rewriting.release()
    n_rows = sum(rows.values())
    arguments = {"from_version": old.version, **({"damage": damage} if damage else {})}
    not_known = _finish(new, arguments, n_rows, report)
    problems = [*damage, *_problems(new, n_rows, report)]
    _refuse_problems(path, problems, accepted=accept_problems)
    if old.listed is not None:
        _settle(new, path)
    sizes = old.file.stat().st_size, files.database_of(new).stat().st_size
    return Upgrade(old.version, rows, sizes, kept, left_out, not_known, problems)


def _faults(found: Catalogue) -> Iterator[str]:
    yield from catalogue.shadows(found)
    yield from catalogue.differences(found)


def _write_back_log(path: Path) -> None:
    """Let DuckDB take what a killed process has left in the write-ahead log into the file."""
    if files.write_ahead_log(path).exists():
        with closing(connect(path, writable=True)) as connection, explained(path, writing=True):
            connection.execute("CHECKPOINT")


def _version(connection: Connection, path: Path, found: Catalogue) -> int:
    is_table = ("table", "schema_version") in found.definitions
    version = catalogue.schema_version(connection) if is_table else None
    if version is None:
        raise WarehouseUnavailableError(f"{path}: a DuckDB database, but not an attnrules warehouse")
    if version > sql.SCHEMA_VERSION:
        raise WarehouseUnavailableError(
            f"{path}: has schema version {version}, this attnrules reads {sql.SCHEMA_VERSION}; upgrade"
            " attnrules to read it"
        )
    if version not in _READABLE:
        raise WarehouseUnavailableError(
            f"{path}: has schema version {version}, which cannot be upgraded; ingest it anew"
        )
    return version


def _d_head(path: Path, found: Catalogue) -> int:
    if found.d_head is None:
        raise WarehouseUnavailableError(
            f"{path}: the table projections of an attnrules warehouse is missing, or its vectors have no one"
            " width"
        )
    return found.d_head


def _refuse_no_room(path: Path, kept: Path | None) -> None:
    if kept is not None and os.path.lexists(kept):
        raise AttnRulesError(f"{kept}: exists; move it, the old file is to be kept under this name")
    needed = path.stat().st_size + _DISK_BESIDES
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise AttnRulesError(
            f"{path}: the new file needs about {needed / 1e9:,.1f} GB in {path.parent}, where"
            f" {free / 1e9:,.1f} GB are free; free some space, or copy the warehouse to a larger disk first"
        )


@contextmanager
def _made_beside(old: _Old) -> Iterator[Path]:
    """Yield an empty warehouse in a folder of its own beside the old file that vanishes afterwards."""
    folder = files.unused_name_beside(old.file)
    is_lake = old.listed is not None
    new = folder if is_lake else folder / old.file.name
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise AttnRulesError(f"{folder.parent}: cannot be written: {error.strerror or error}") from error
    try:
        Warehouse.create(new, d_head=_d_head(old.path, old.found), lake=is_lake).close()
        if is_lake:
            files.share_files(old.path, new)
        yield new
    except AttnRulesError as error:
        # Nobody knows the name of the file that was in the making.
        raise type(error)(str(error).replace(str(new), str(old.path))) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _left_out(found: Catalogue, rewriting: Rewriting) -> list[tuple[str, str]]:
    schemas = [("schema", name) for name in sorted(found.schemas)]
    return [*found.own(), *rewriting.columns_left_out(), *schemas]


def _refuse_loss(path: Path, left_out: list[tuple[str, str]], kept: Path | None) -> None:
    if left_out and kept is None:
        kind, name = left_out[0]
        raise AttnRulesError(
            f"{path}: holds what is no part of a warehouse and would be lost with the old file, such as the"
            f" {kind} {name!r}; leave --no-keep out"
        )


def _refuse_problems(path: Path, problems: list[str], *, accepted: bool) -> None:
    if problems and not accepted:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise AttnRulesError(
            f"{path}: does not pass its checks: {problems[0]}{more}; the file is as it was. Restore it from a"
            " copy, or upgrade it as it is with --accept-problems"
        )


def _finish(new: Path, arguments: dict[str, object], n_rows: int, report: Report) -> list[str]:
    """Record the run, compute anew what features fire on, and return what is not known."""
    with Warehouse.open(new, writable=True) as warehouse:
        with warehouse.run("upgrade", arguments):
            # NULL until the ingest is finished, which computes all of it.
            if warehouse.value("SELECT bool_and(kept_attention_mass IS NOT NULL) FROM main.heads"):
                report("computing what features fire on", n_rows)
                warehouse.refresh_derived()
        return [words for query in sql.not_known() for (words,) in warehouse.rows(query)]


def _problems(new: Path, n_rows: int, report: Report) -> list[str]:
    report("checking the new file", n_rows)
    with Warehouse.open(new) as warehouse:
        return [f"{result.name}: {result.first_problem}" for result in check(warehouse) if result.n_problems]

"""A lake: a folder with Parquet files of what is large, and a small catalogue, a DuckDB file, of all else.

    DIR/catalogue.duckdb
    DIR/facts/<table>/layer=L/head=H/seqs-<first>-<n>-<attempt>.parquet
    DIR/results/<table>/layer=L/head=H/features-<first>-<n>-<attempt>.parquet

In the catalogue such a table is a view over a list of files, never over a pattern. The list is the ledger:
it changes in the transaction of the rows of `chunks` and `digests`, so that a file of a command that was
killed is not read. Paths are absolute; a lake that was moved or copied has its views written anew when it is
opened.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from attnrules import sql
from attnrules.errors import AttnRulesError, WarehouseUnavailableError
from attnrules.warehouse import catalogue
from attnrules.warehouse.arrow import numpy_column
from attnrules.warehouse.digests import IN_FILES, RESULTS
from attnrules.warehouse.files import CATALOGUE, FACTS_FOLDER, RESULTS_FOLDER, flush

Connection = duckdb.DuckDBPyConnection
# (layer, head) of a file, of the keys that its table has.
Place = tuple[int, ...]

_KEYS = ("layer", "head")
_ROW_GROUP = 122_880
_ROWS = "attnrules_rows_to_write"
# Read by DuckDB as patterns, keys or slashes, not as parts of a name.
_MISREAD = re.compile(r"[*?\[\]=\\]")
_FILE = re.compile(r"(?:layer=(\d+)/)?(?:head=(-?\d+)/)?(seqs|features)-(\d+)-(\d+)-[0-9a-f]+\.parquet")


@dataclass(frozen=True)
class _Kind:
    """What files of a table are called by.

    Arguments:
        folder: of the lake. prefix: of a name. column: whose first value and extent are in the name.
    """

    folder: str
    prefix: str
    column: str


_OF_FACTS = _Kind(FACTS_FOLDER, "seqs", "seq_id")
_OF_RESULTS = _Kind(RESULTS_FOLDER, "features", "feature")
# Of results, the order of rows in a file: with `n_rules` before the places a fifth smaller than after them.
_ORDERS = {
    "rule_scores": ("feature", "example_set", "method", "scaling", "n_rules", "seq_id", "pos"),
}


@dataclass
class Lake:
    """The files of one lake; what it does to them is part of the transaction of its connection.

    Arguments:
        root: the folder, absolute.
        written: files made since the last commit. dropped: files that are no part of the lake since then.
    """

    root: Path
    written: list[Path] = field(default_factory=list)
    dropped: list[Path] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path) -> Lake:
        """Return the lake of a folder; raises `WarehouseUnavailableError` for a path that DuckDB misreads."""
        root = folder.resolve()
        if misread := _MISREAD.search(str(root)):
            raise WarehouseUnavailableError(
                f"{folder}: a lake cannot lie below a path with {misread[0]!r}, which DuckDB reads as a"
                " pattern, a key or a slash; move or rename it"
            )
        return cls(root)

    @property
    def folders(self) -> tuple[Path, Path]:
        """The folders of the files, of facts and of results."""
        return self.root / FACTS_FOLDER, self.root / RESULTS_FOLDER

    @property
    def allowed(self) -> tuple[Path, ...]:
        """The folders whose files may be read; DuckDB looks where links lead, which `share_files` made."""
        facts, results = self.folders
        return facts, results, *_led_to(results)

    def create_views(self, connection: Connection) -> None:
        """Put empty views in the place of the tables of a new catalogue that are kept in files."""
        for table in sorted(IN_FILES):
            connection.execute(f"DROP TABLE {table}")
            _replace_view(connection, table, [])

    def faults(self, connection: Connection, *, tables: Collection[str] = ()) -> Iterator[str]:
        """Yield, in words, what the views of the catalogue are besides lists of files of one lake.

        But for `tables`, which are none.
        """
        roots = set()
        for table, stored in _stored_views(connection).items():
            if table in tables:
                continue
            if not stored and table in RESULTS:
                yield f"{table} is no view of files, as it is in a lake of this version"
                return
            paths = _paths(stored)
            if not _is_view_of(stored, table, paths):
                yield f"the view {table} is not a list of files of a lake"
                return
            roots |= {_split(table, path)[0] for path in paths}
        if len(roots) > 1:
            yield f"its views list files of several folders, such as {min(roots)}"

    def was_moved(self, connection: Connection) -> bool:
        """Tell whether the views of a catalogue without faults name another folder than where it is."""
        return any(
            _split(table, path)[0] != self.root
            for table, view in _stored_views(connection).items()
            for path in _paths(view)
        )

    def follow_move(self, connection: Connection) -> None:
        """Let the views name the folder where the lake is; raises `duckdb.Error` where files are missing."""
        self.list_files(connection, listed(connection))

    def list_files(self, connection: Connection, names: Mapping[str, Sequence[str]]) -> None:
        """Let the views list these files of the lake, table to names as `listed` returns them."""
        connection.execute("BEGIN TRANSACTION").fetchall()
        for table in sorted(IN_FILES):
            _replace_view(connection, table, [str(self.root / name) for name in names.get(table, ())])
        connection.execute("COMMIT").fetchall()

    def paths(self, connection: Connection, table: str) -> list[Path]:
        """Return the files that hold the rows of a table."""
        return [*map(Path, _paths(_stored_views(connection)[table]))]

    def n_files(self, connection: Connection) -> int:
        """Return the number of files that are listed."""
        return sum(len(_paths(view)) for view in _stored_views(connection).values())

    def n_bytes(self, connection: Connection) -> int:
        """Return the bytes of the catalogue and of the files it lists."""
        listed = [Path(path) for view in _stored_views(connection).values() for path in _paths(view)]
        return sum(path.stat().st_size for path in (self.root / CATALOGUE, *listed) if path.exists())

    def append(self, connection: Connection, table: str, rows: pa.Table) -> None:
        """Add an Arrow table to a table, a file for each layer and head in it."""
        self.replace(connection, table, add=self.write_rows(connection, table, rows))

    def fill(self, connection: Connection, table: str, source: str) -> None:
        """Add the rows of `source`, as `write` takes it, a file for each layer and head in it."""
        keys = _keys(table)
        found = [()]
        if keys:
            query = f"SELECT DISTINCT {', '.join(keys)} FROM {source} ORDER BY ALL"
            found = connection.execute(query).fetchall()
        self.replace(connection, table, add=[self.write(connection, table, place, source) for place in found])

    def write_rows(self, connection: Connection, table: str, rows: pa.Table) -> list[Path]:
        """Write an Arrow table to files, one for each layer and head in it, and return them."""
        written = []
        for place, of_place in _by_place(rows, _keys(table)):
            connection.register(_ROWS, of_place)
            try:
                written.append(self.write(connection, table, place, _ROWS))
            finally:
                connection.unregister(_ROWS)
        return written

    def adopt(self, connection: Connection, table: str, captured: Sequence[Path]) -> None:
        """Move files of a table from another folder into this one, and list them, as `take` does."""
        self.replace(connection, table, add=[self.take(table, path) for path in captured])

    def adopt_place(self, connection: Connection, table: str, place: Place, found: Sequence[Path]) -> None:
        """Let the rows of a layer and head be those of files, which are moved here as `take` does."""
        here = [self.take(table, path) for path in found]
        before = self.of_place(connection, table, place)
        self.replace(
            connection,
            table,
            add=[path for path in here if path not in before],
            drop=[path for path in before if path not in here],
        )

    def take(self, table: str, path: Path) -> Path:
        """Move a file of a table from another folder into this one and return where it is.

        A file that is here already was moved by a try that was killed before it could commit: this one
        does not undo its moves either. Raises `AttnRulesError` where a file is at neither place.
        """
        here = self.root / _split(table, str(path))[1]
        here.parent.mkdir(parents=True, exist_ok=True)
        # A link leads here: `share_files` made it of a file that nobody wrote anew.
        if not path.is_symlink():
            with suppress(FileNotFoundError):
                _move(path, here)
        if not here.exists():
            raise AttnRulesError(f"{path}: is missing")
        return here

    def write(self, connection: Connection, table: str, place: Place, source: str) -> Path:
        """Write the rows of a layer and head of `source` to a file, in their order, and return it.

        `source`: a table, or what stands in a FROM like one, that has all columns of the table.
        """
        kind, keys = _kind(table), _keys(table)
        where = " AND ".join(f"{key} = {number}" for key, number in zip(keys, place, strict=True)) or "true"
        ((first, last),) = connection.execute(
            f"SELECT coalesce(min({kind.column}), 0), coalesce(max({kind.column}), -1) FROM {source}"
            f" WHERE {where}"
        ).fetchall()
        columns = {name: kind for name, kind in catalogue.columns_of(table).items() if name not in keys}
        order = ", ".join(_ORDERS.get(table) or (name for name in columns if columns[name] == "INTEGER"))
        casts = ", ".join(f"CAST({name} AS {of_column}) AS {name}" for name, of_column in columns.items())
        folders = [f"{key}={number}" for key, number in zip(keys, place, strict=True)]
        name = f"{kind.prefix}-{first}-{last - first + 1}-{secrets.token_hex(4)}.parquet"
        path = (self.root / kind.folder).joinpath(table, *folders, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.written.append(path)
        unfinished = path.with_name(f".{name}")
        connection.execute(
            f"COPY (SELECT {casts} FROM {source} WHERE {where} ORDER BY {order}) TO {_text(unfinished)}"
            f" (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2, ROW_GROUP_SIZE {_ROW_GROUP})"
        ).fetchall()
        # The catalogue, which DuckDB flushes, must not list what a failing machine loses.
        flush(unfinished)
        unfinished.replace(path)
        return path

    def replace(
        self, connection: Connection, table: str, *, add: Sequence[Path] = (), drop: Sequence[Path] = ()
    ) -> None:
        """Let a table be its files without those of `drop` and with those of `add`."""
        kept = [path for path in self.paths(connection, table) if path not in set(drop)]
        _replace_view(connection, table, sorted(map(str, [*kept, *add]), key=_order))
        self.dropped += drop

    def forget(self, connection: Connection, table: str, place: Place) -> None:
        """Drop the files of a layer and head."""
        if of_place := self.of_place(connection, table, place):
            self.replace(connection, table, drop=of_place)

    def replace_features(
        self,
        connection: Connection,
        table: str,
        place: Place,
        features: Collection[int],
        written: Sequence[Path],
    ) -> None:
        """Let the rows of some features of a layer and head be those of the files `written`.

        A file that holds other features too is written anew without these.
        """
        added, dropped = [*written], []
        for path in self.of_place(connection, table, place):
            held = {feature for (feature,) in connection.execute(_features_of(path)).fetchall()}
            if held & set(features):
                dropped.append(path)
                if held - set(features):
                    added.append(self._without(connection, table, path, features))
        if added or dropped:
            self.replace(connection, table, add=added, drop=dropped)

    def _without(self, connection: Connection, table: str, path: Path, features: Collection[int]) -> Path:
        """Write a file anew without the rows of these features."""
        left = f"feature NOT IN ({', '.join(map(str, sorted(features)))})"
        source = f"({_select(table, [str(path)])} WHERE {left})"
        return self.write(connection, table, _order(str(path))[0], source)

    def of_place(self, connection: Connection, table: str, place: Place) -> list[Path]:
        """Return the files of a layer and head."""
        return [path for path in self.paths(connection, table) if _order(str(path))[0] == place]

    def compact(self, connection: Connection) -> None:
        """Write several files of a layer and head anew as one, which holds the same rows."""
        for table, view in _stored_views(connection).items():
            for place, paths in groupby(sorted(_paths(view), key=_order), lambda path: _order(path)[0]):
                several = [*map(Path, paths)]
                if len(several) > 1:
                    self.replace(
                        connection, table, add=[self.write(connection, table, place, table)], drop=several
                    )

    def strays(self, connection: Connection) -> list[Path]:
        """Return the files of the folder that no view lists: those of commands that were killed."""
        listed = {path for view in _stored_views(connection).values() for path in _paths(view)}
        files = (path for folder in self.folders for path in folder.rglob("*.parquet"))
        found = (path for path in files if str(path) not in listed)
        unfinished = self.root.glob(f".{CATALOGUE}.*")
        return sorted([*(path for path in found if _FILE.search(str(path))), *unfinished])

    def committed(self) -> None:
        """Remove the files that are no part of the lake any more."""
        self._remove(self.dropped)

    def undone(self) -> None:
        """Remove the files of a transaction that was undone."""
        self._remove([*self.written, *(path.with_name(f".{path.name}") for path in self.written)])

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            with suppress(OSError):
                path.unlink()
        self.written, self.dropped = [], []


def _led_to(results: Path) -> Iterator[Path]:
    """Yield the folder whose files those below `results` are links to, as `share_files` makes them."""
    first = next(results.rglob("*.parquet"), None)
    if first is not None and first.is_symlink():
        yield first.resolve().parents[len(first.relative_to(results).parts) - 1]


def _move(path: Path, here: Path) -> None:
    """Rename a file, or copy it where its folder is a link to another disk."""
    try:
        path.replace(here)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        unfinished = here.with_name(f".{here.name}")
        shutil.copyfile(path, unfinished)
        flush(unfinished)
        unfinished.replace(here)
        path.unlink()


def listed(connection: Connection) -> dict[str, list[str]]:
    """Return the files that the views of a catalogue without faults list, by table, relative to the lake."""
    return {
        table: [_split(table, path)[1] for path in _paths(view)]
        for table, view in _stored_views(connection).items()
    }


def place_of(table: str, path: str) -> dict[str, int]:
    """Return the layer and the head that a file of a table is of, as far as its rows have one."""
    return dict(zip(_keys(table), _order(path)[0], strict=True))


def _kind(table: str) -> _Kind:
    return _OF_RESULTS if table in RESULTS else _OF_FACTS


def _keys(table: str) -> tuple[str, ...]:
    return tuple(key for key in _KEYS if key in catalogue.columns_of(table))


def _by_place(rows: pa.Table, keys: Sequence[str]) -> Iterator[tuple[Place, pa.Table]]:
    """Yield the rows of each layer and head, which lie together in few runs."""
    if not rows.num_rows:
        return
    columns = np.stack([np.zeros(rows.num_rows, np.int64), *(numpy_column(rows.column(key)) for key in keys)])
    starts = np.flatnonzero(np.r_[True, (columns[:, 1:] != columns[:, :-1]).any(axis=0)])
    found: dict[Place, list[pa.Table]] = {}
    for start, end in zip(starts, [*starts[1:], rows.num_rows], strict=True):
        place = tuple(int(number) for number in columns[1:, start])
        found.setdefault(place, []).append(rows.slice(start, end - start))
    for place, runs in sorted(found.items()):
        yield place, pa.concat_tables(runs)


def _replace_view(connection: Connection, table: str, paths: Sequence[str]) -> None:
    connection.execute(f"CREATE OR REPLACE VIEW {table} AS {_select(table, paths)}").fetchall()
    for comment in _comments(table):
        connection.execute(comment).fetchall()


def _select(table: str, paths: Sequence[str]) -> str:
    """Return the query of a view, as DuckDB 2.0 stores it."""
    columns = catalogue.columns_of(table)
    if not paths:
        nothing = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in columns.items())
        return f"SELECT {nothing} WHERE false"
    keys = ", ".join(f'{key} := "{columns[key]}"' for key in _keys(table))
    hive = f", hive_types := struct_pack({keys})" if keys else ""
    partitioned = "true" if keys else "false"
    return (
        f"SELECT {', '.join(columns)} FROM read_parquet(list_value({', '.join(map(_text, paths))}),"
        f" hive_partitioning := {partitioned}{hive})"
    )


def _is_view_of(stored: str, table: str, paths: Sequence[str]) -> bool:
    """Tell whether a stored definition is the view of these files, all of them named as those of a lake."""
    try:
        for path in paths:
            _split(table, path)
    except AttnRulesError:
        return False
    wanted = _select(table, paths)
    found = stored.removeprefix(f"CREATE VIEW {table} AS ").removesuffix(";")
    return found == wanted or _as_stored(found) == _as_stored(wanted)


def _as_stored(query: str) -> str | None:
    """Return a query as this DuckDB writes it, None where it is none."""
    with duckdb.connect(config={"threads": 1, "enable_external_access": False}) as connection:
        asked = "SELECT json_deserialize_sql(json_serialize_sql($query))"
        try:
            ((text,),) = connection.execute(asked, {"query": query}).fetchall()
        except duckdb.Error:
            return None
    return str(text)


def _stored_views(connection: Connection) -> dict[str, str]:
    """Return the definitions of the tables that are kept in files, empty for one that is no view."""
    rows = connection.execute(sql.catalogue_query("views").text).fetchall()
    found = {name: text for schema, name, text in rows if schema == "main"}
    return {table: found.get(table, "") for table in sorted(IN_FILES)}


def _features_of(path: Path) -> str:
    """Return a query of the features that a file of results holds."""
    return f"SELECT DISTINCT feature FROM read_parquet({_text(path)}, hive_partitioning := false)"


def _paths(view: str) -> list[str]:
    return [path.replace("''", "'") for path in re.findall(r"'((?:[^']|'')*)'", view)]


def _split(table: str, path: str) -> tuple[Path, str]:
    """Return the folder of the lake and the rest of the path of one of its files.

    Raises `AttnRulesError` where the path is not that of a file of the table.
    """
    kind = _kind(table)
    root, marker, rest = path.rpartition(f"/{kind.folder}/{table}/")
    match = _FILE.fullmatch(rest)
    wanted = [*(key in _keys(table) for key in _KEYS), kind.prefix]
    if not marker or match is None or [match[1] is not None, match[2] is not None, match[3]] != wanted:
        raise AttnRulesError(f"{path}: is not a file of {table} in a lake")
    if root != os.path.normpath(root) or not Path(root).is_absolute():
        raise AttnRulesError(f"{path}: is not an absolute path")
    return Path(root), f"{kind.folder}/{table}/{rest}"


def _order(path: str) -> tuple[Place, int, str]:
    """Return what files are ordered by: layer and head, first sequence or feature, name."""
    match = _FILE.search(path)
    if match is None:
        raise AttnRulesError(f"{path}: is not a file of a lake")
    layer, head, _, first, _ = match.groups()
    return tuple(int(key) for key in (layer, head) if key is not None), int(first), path


def _text(path: object) -> str:
    return "'" + str(path).replace("'", "''") + "'"


@cache
def _comments(table: str) -> list[str]:
    (definition,) = (s.text for s in sql.table_statements(1, "0" * 32) if s.name == f"tables/{table}")
    lines = re.findall(r"(?m)^COMMENT ON .*;$", definition)
    return [line.replace("COMMENT ON TABLE", "COMMENT ON VIEW", 1) for line in lines]

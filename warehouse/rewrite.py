"""The rows of an older warehouse, copied into an empty one of today and compared with it."""

from __future__ import annotations

from collections.abc import Callable

from attnrules import sql
from attnrules.errors import AttnRulesError, WarehouseUnavailableError
from attnrules.warehouse import catalogue, digests
from attnrules.warehouse.store import Warehouse

# Tables that no file of version 2 has, nor every one of versions 3 and 4.
_ADDED = frozenset(
    (
        *("corpus_files", "digests", "feature_heads", "head_probes", "head_roles", "rotations"),
        *("output_corpus_tokens", "output_effects", "output_tests", "output_token_tests", "output_tokens"),
        *("rule_readings", "rule_right_sides", "stated_atoms", "stated_rules", "unembedding"),
        *("stated_tests", "stated_trials"),
    )
)
# Columns that a file lacks and that another column of it stands for: before version 4 an SAE read one head.
_STOOD_FOR = {"through_head": "head"}
# Views of the same names are not taken for tables: what they hold is a query of whoever made the file.
_COLUMNS = (
    "SELECT c.database_name, c.table_name, c.column_name, c.data_type"
    " FROM system.main.duckdb_columns() AS c"
    " JOIN system.main.duckdb_tables() AS t USING (database_name, schema_name, table_name)"
    " WHERE schema_name = 'main' ORDER BY c.column_index"
)

# Told what is done next, and with how many rows.
Report = Callable[[str, int], None]


def silent(what: str, n_rows: int) -> None:
    """Tell nobody."""
    del what, n_rows


class Rewriting:
    """The copy of a warehouse `old` into an empty one `new`; both are attached in a session of `both`.

    What a lake keeps in files is no table of the catalogues: `new` has views of the same files, which are
    read as they are.

    Two schemas of views in memory stand between them: `before`, the tables of the old one, and `after`, the
    rows that the new ones are to hold. Nothing else that the old file defines is ever reached.

    Arguments:
        both: where both are attached; its path is the one that errors name.
        report: told of each step.
        in_files: of a lake, the tables that are kept in files in both.
        moved: those that are in `new` alone.
    """

    def __init__(
        self,
        both: Warehouse,
        report: Report,
        *,
        in_files: frozenset[str] = frozenset(),
        moved: frozenset[str] = frozenset(),
    ) -> None:
        self._both = both
        self._in_files = in_files
        self._moved = moved
        self._report = report
        self._types: dict[str, dict[str, dict[str, str]]] = {"old": {}, "new": {}}
        for database, table, column, kind in both.rows(_COLUMNS):
            self._types[database].setdefault(table, {})[column] = kind
        for table in in_files | moved:
            self._types["new"][table] = catalogue.columns_of(table)
        for table in in_files:
            self._types["old"][table] = self._types["new"][table]
        self._refuse_missing()
        self._statements = {
            table: statement
            for table, statement in sql.upgrade_statements().items()
            if table not in _ADDED or table not in self._types["old"]
        }
        self._kept = [name for name in digests.tables() if name not in self._statements]
        self._copied = [name for name in self._kept if name not in in_files]
        both.execute("CREATE SCHEMA memory.before")
        both.execute("CREATE SCHEMA memory.after")
        for table in sql.table_names():
            self._view("before", table, fill=False)
            self._view("after", table, fill=True)

    def columns_left_out(self) -> list[tuple[str, str]]:
        """Return, as (kind, name), the columns of the old tables that are no part of a warehouse."""
        return [
            ("column", f"{table}.{column}")
            for table in sql.table_names()
            for column in self._types["old"].get(table, {})
            if column not in self._types["new"][table]
        ]

    def damage(self) -> list[str]:
        """Say in what the old file differs from what was written to it, where it knows that."""
        if "digests" not in self._types["old"]:
            return []
        self._both.execute("USE memory.before")
        tables = [table for table in self._kept if table in self._types["old"]]
        return [f"{table}, {words}" for table in tables for words in digests.problems(self._both, table)]

    def copy(self) -> dict[str, int]:
        """Fill the new warehouse, digests included; return the rows of each table.

        Raises `AttnRulesError` that names the table that cannot be read or copied.
        """
        self._both.execute("USE new")
        self._both.execute("DELETE FROM new.main.schema_version")
        rows = {table: self._copy(table) for table in sql.table_names() if table != "digests"}
        with self._both.transaction():
            digests.stamp(self._both)
        return rows

    def compare(self) -> None:
        """Raise `AttnRulesError` unless the new tables have the rows of the old ones and no other."""
        self._both.execute("USE memory.after")
        for table in self._copied:
            self._report(f"comparing {table}", self._count(f"new.main.{table}"))
            if problems := digests.problems(self._both, table):
                raise AttnRulesError(
                    f"{self._both.path}: the copy of the table {table} is not the table ({problems[0]}); the"
                    " file is as it was"
                )

    def release(self) -> None:
        """Let go of the new warehouse, so that it can be opened."""
        self._both.execute("USE memory")
        self._both.execute("DETACH new")

    def _refuse_missing(self) -> None:
        for table in sql.table_names():
            if table not in self._types["old"] and table not in _ADDED:
                raise WarehouseUnavailableError(
                    f"{self._both.path}: the table {table} of an attnrules warehouse is missing; restore the"
                    " file from a copy, or ingest it anew"
                )

    def _view(self, schema: str, table: str, *, fill: bool) -> None:
        """Make a view of the rows of an old table; `fill` adds the columns that it lacks.

        They are NULL, but for those that another column stands for.
        """
        there = self._types["old"].get(table, {})
        if not there and not fill:
            return
        is_new = table in self._in_files or (fill and (table == "digests" or not there))
        source = "new" if is_new else "old"
        columns = ", ".join(
            f'"{name}"'
            if name in there or source == "new"
            else f'CAST({_STOOD_FOR.get(name, "NULL")} AS {kind}) AS "{name}"'
            for name, kind in self._types["new"][table].items()
            if fill or name in there
        )
        self._both.execute(
            f"CREATE VIEW memory.{schema}.{table} AS SELECT {columns} FROM {source}.main.{table}"
        )

    def _copy(self, table: str) -> int:
        if table in self._in_files:
            return self._count(f"new.main.{table}")
        source = f"memory.after.{table}"
        try:
            if table not in self._statements:
                self._report(f"copying {table}", self._count(source))
            if table in self._moved:
                self._both.fill(table, source)
            else:
                copied = f"INSERT INTO new.main.{table} BY NAME FROM {source}"
                self._both.execute(self._statements.get(table, copied))
        except AttnRulesError as error:
            reason = str(error).removeprefix(f"{self._both.path}: ")
            raise AttnRulesError(
                f"{self._both.path}: the table {table} cannot be copied: {reason}; the file is as it was"
            ) from error
        return self._count(f"new.main.{table}")

    def _count(self, table: str) -> int:
        return int(self._both.value(f"SELECT count(*) FROM {table}"))

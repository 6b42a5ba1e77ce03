"""`attnrules browse`: the pages of a warehouse, made on request, for a browser on this machine."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import click

from attnrules.commands.clock import Clock
from attnrules.commands.options import device_option, ingested_sources_options, warehouse_argument
from attnrules.commands.output import as_text, distinct_names
from attnrules.commands.terminal import tell
from attnrules.errors import UsageError

if TYPE_CHECKING:
    from attnrules.explainer import Explainer
    from attnrules.ingest.intervene import LaboratorySpec
    from attnrules.pages.tables import Table
    from attnrules.queries.explain import Attended, Explained
    from attnrules.queries.heads import FeatureId
    from attnrules.warehouse import Warehouse

# Rows of an answer to SQL, and the seconds that DuckDB may take for it.
_ROWS = 200
_SECONDS = 60


@click.command("browse")
@warehouse_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8384, show_default=True, help="0: a free one.")
@click.option("--public", is_flag=True, help="Listen at an address that others reach, without a password.")
@ingested_sources_options
@device_option("Where texts are read: cpu, cuda, mps or auto.")
def command(warehouse: Path, host: str, port: int, public: bool, **sources: Any) -> None:
    """Serve the pages of `attnrules report` to a browser on this machine, each made when it is asked for.

    Beside the pages there are a search, a box for SQL that reads, and one that explains a text. Nothing is
    written. Addresses are such as http://127.0.0.1:8384/L2H1/393. Ctrl-C ends it. The model is loaded when a
    text is first explained; --model and the options of SAEs say where they are now.

    \b
    attnrules browse gpt2.duckdb
    attnrules browse gpt2.duckdb --port 0
    """
    from attnrules.ingest.intervene import LaboratorySpec
    from attnrules.pages.browser import Browser
    from attnrules.server import Server
    from attnrules.warehouse import Warehouse

    with Warehouse.open(warehouse) as opened:
        texts = Texts(opened, LaboratorySpec(**sources))
        browser = Browser(opened, run=lambda sql: answer(opened, sql), texts=texts)
        with Server(browser, host, port, public=public) as server:
            tell(f"{warehouse} at {server.url}, until Ctrl-C")
            server.serve_forever()


def answer(warehouse: Warehouse, sql: str) -> Table:
    """Return what SQL that reads answers, as text; the limits are those of a table of `attnrules query`."""
    from attnrules.pages.tables import Table
    from attnrules.queries.questions import ask
    from attnrules.queries.questions.readonly import check_reads

    check_reads(warehouse, sql)
    clock = Clock(warehouse, _SECONDS)
    with clock.running():
        relation = ask(warehouse, sql, {})
    if relation is None:
        raise UsageError("that SQL is a statement without a result; ask with SELECT or FROM")
    names = distinct_names(list(relation.columns))
    rows: list[list[str | None]] = []
    for batch in clock.batches(as_text(relation).limit(_ROWS + 1)):
        rows += [list(row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]
    return Table(names, rows[:_ROWS], more=len(rows) > _ROWS)


class Texts:
    """Explains texts; what reads them is loaded when it is first needed, and one text is read at a time.

    Arguments:
        spec: where the model and the SAEs are.
    """

    def __init__(self, warehouse: Warehouse, spec: LaboratorySpec) -> None:
        self._warehouse = warehouse
        self._spec = spec
        self._explainers: dict[bool, Explainer] = {}
        self._lock = Lock()

    def explain(self, text: str, with_model: bool) -> Explained:
        """Return a text explained by all stated rules, with the model or without."""
        from attnrules.queries.explain import explained_features

        with self._lock:
            features = explained_features(self._warehouse)
            return self._explainer(with_model).explain(text, features)

    def attended(self, text: str, feature: FeatureId, pos: int) -> Attended:
        """Return what the token of a text attends to, through the head that a feature reads, and why."""
        with self._lock:
            return self._explainer(True).attended(text, feature, pos)

    def _explainer(self, with_model: bool) -> Explainer:
        from attnrules.explainer import Explainer

        if with_model not in self._explainers:
            self._explainers[with_model] = Explainer(self._warehouse, self._spec, with_model=with_model)
        return self._explainers[with_model]

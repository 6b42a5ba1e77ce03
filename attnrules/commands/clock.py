"""The time that a query may take."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from attnrules.errors import AttnRulesError

if TYPE_CHECKING:
    import pyarrow as pa

    from attnrules.warehouse import Warehouse

_BATCH_ROWS = 10_000
# An interrupt between two statements is lost, so it is repeated.
_AGAIN = 0.1


class Clock:
    """The seconds that DuckDB may still compute, 0 for ever; what reads the rows may take its own time."""

    def __init__(self, warehouse: Warehouse, seconds: float) -> None:
        self._warehouse = warehouse
        self._seconds = seconds
        self._left = seconds
        self._rung = False

    def batches(self, relation: Any) -> Generator[pa.RecordBatch]:
        """Yield the batches of a relation; raises `AttnRulesError` when it fails or time is up."""
        with closing(relation.batches(_BATCH_ROWS)) as batches:
            while True:
                with self.running():
                    batch = next(batches, None)
                if batch is None:
                    return
                yield batch

    @contextmanager
    def running(self) -> Iterator[None]:
        """Interrupt what DuckDB computes in the block when time is up; then raises `AttnRulesError`."""
        ended, started = Event(), time.monotonic()
        if self._seconds:
            Thread(target=self._ring, args=(ended,), daemon=True).start()
        try:
            yield
        except AttnRulesError:
            if not self._rung:
                raise
        finally:
            ended.set()
            self._left -= time.monotonic() - started
        if self._rung:
            raise AttnRulesError(
                f"stopped after {self._seconds:g} s; give it longer with --timeout, 0 for ever"
            )

    def _ring(self, ended: Event) -> None:
        if not ended.wait(max(self._left, 0.001)):
            self._rung = True
            while not ended.wait(_AGAIN):
                self._warehouse.interrupt()

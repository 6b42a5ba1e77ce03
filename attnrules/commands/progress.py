"""How long work reports: bars with rate and time left on a terminal, plain lines elsewhere; on stderr."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from attnrules.commands.terminal import say

if TYPE_CHECKING:
    from rich.progress import TaskID

    from attnrules.ingest import IngestProgress, IngestSpec
    from attnrules.spread import Spread


def quiet_libraries() -> None:
    """Keep the progress bars and advice of other libraries off the terminal; ours says what matters."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TQDM_DISABLE", "1")
    warnings.filterwarnings("ignore")


def run_ingest(path: Path, spec: IngestSpec, *, lake: bool = False, spread: Spread | None = None) -> None:
    """Run an ingest, into a new `lake` or file, showing how far it is and what came of it.

    As `spread` says, which takes a lake, other processes capture.
    """
    from attnrules.ingest import ingest

    started = time.monotonic()
    with Reporter() as reporter:
        if spread is None or spread.is_here:
            result = ingest(path, spec, reporter, lake=lake)
        else:
            from attnrules.ingest_tasks import ingest_shared

            shared = ingest_shared(path, spec, spread, reporter)
            if isinstance(shared, str):
                say(shared)
                return
            result = shared
    for warning in result.warnings:
        say(f"attnrules: note: {warning}")
    if result.n_captured:
        say(
            f"captured {result.n_captured} sequences in {time.monotonic() - started:.0f} s;"
            f" {path} holds {result.n_sequences}",
        )
    else:
        say(f"nothing to do: {path} holds {result.n_sequences} sequences")


class Reporter:
    """Shows how far work is; call it with each `IngestProgress`, or `tell` it."""

    def __init__(self) -> None:
        self._stage = ""
        self._next_line = 0.0
        self._bar: TaskID | None = None

    def __enter__(self) -> Reporter:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", style="dim"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop_bar()

    def __call__(self, progress: IngestProgress) -> None:
        """Show how far an ingest is."""
        self.tell(progress.stage, progress.done, progress.total, progress.things)

    def tell(
        self,
        stage: str,
        done: int = 0,
        total: int = 0,
        things: str = "sequences",
        *,
        note: str | None = None,
        line: str | None = None,
    ) -> None:
        """Say that `done` of `total` things of a stage are done, or that one without a count begins.

        `note`: beside the bar, in place of a rate. `line`: said where there is no bar, in place of a line
        at every tenth.
        """
        if stage != self._stage:
            self._stop_bar()
            self._stage = stage
            self._next_line = 0.0
            if not (total and sys.stderr.isatty()):
                say(f"{stage} ...")
        if sys.stderr.isatty():
            if total:
                self._draw(stage, done, total, things, note)
        elif line is not None:
            say(line)
        elif total and done >= self._next_line:
            self._next_line = done + total / 10
            say(f"  {done} of {total} {things}")

    def _draw(self, stage: str, done: int, total: int, things: str, note: str | None) -> None:
        if self._bar is None:
            self._progress.start()
            self._bar = self._progress.add_task(stage, total=total, rate=note or "")
        # rich knows no speed before the second update.
        speed = self._progress.tasks[0].speed
        rate = "" if speed is None else f"{speed:.0f} {things}/s"
        self._progress.update(self._bar, completed=done, rate=rate if note is None else note)

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._progress.stop()
            self._progress.remove_task(self._bar)
            self._bar = None

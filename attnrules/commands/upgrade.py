"""`attnrules upgrade`: a warehouse of an earlier version in the schema of today."""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import warehouse_argument
from attnrules.commands.terminal import say, tell

# A step over fewer rows takes no time that anybody would wonder about.
_WORTH_TELLING = 1_000_000


@click.command("upgrade")
@warehouse_argument
@click.option(
    "--keep/--no-keep",
    default=True,
    show_default=True,
    help="Keep the old file beside the new one, as NAME.v2.duckdb.",
)
@click.option("--accept-problems", is_flag=True, help="Upgrade although `attnrules check` finds problems.")
def command(warehouse: Path, keep: bool, accept_problems: bool) -> None:
    """Write a warehouse of an earlier version anew in the schema of today; no row of it is lost.

    It needs as much disk again as the warehouse has. Every row is compared with the old file and the new one
    is checked before it takes its place; until then the old file is only read.
    """
    from attnrules.warehouse import upgrade

    done = upgrade(warehouse, keep=keep, accept_problems=accept_problems, report=_tell)
    if done is None:
        tell(f"{warehouse} has the schema of today already; nothing was done")
        return
    before, after = (n_bytes / 1e6 for n_bytes in done.file_bytes)
    tell(
        f"{warehouse}: upgraded from schema version {done.version}, {sum(done.rows.values()):,} rows of"
        f" {len(done.rows)} tables, {before:,.1f} MB -> {after:,.1f} MB"
    )
    for words in done.not_known:
        tell(f"not known: {words}")
    for kind, name in done.left_out:
        tell(f"not copied, no part of a warehouse: {kind} {name!r}")
    for words in done.problems:
        tell(f"problem: {words}")
    if done.kept is not None:
        tell(f"the old file is {done.kept}; remove it when you need it no more")


def _tell(what: str, n_rows: int) -> None:
    if n_rows >= _WORTH_TELLING:
        say(f"{what}: {n_rows:,} rows")

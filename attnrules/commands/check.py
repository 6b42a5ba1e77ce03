"""`attnrules check`: does the warehouse hold together?"""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import warehouse_argument
from attnrules.commands.terminal import tell
from attnrules.errors import AttnRulesError


@click.command("check")
@warehouse_argument
@click.option("--quick", is_flag=True, help="Only whether the tables agree with each other.")
def command(warehouse: Path, quick: bool) -> None:
    """Verify that every row is as it was written and that the tables agree; exit 1 on a violation.

    Every block of the file that holds rows is read. `--quick` leaves that out, and with it damage that
    contradicts no other table.
    """
    from attnrules.warehouse import Warehouse, check

    with Warehouse.open(warehouse) as opened:
        results = check(opened, quick=quick)
    for result in results:
        if result.n_problems:
            tell(f"FAIL  {result.name}: {result.n_problems} problems, first: {result.first_problem}")
        else:
            tell(f"ok    {result.name}")
    n_failed = sum(result.n_problems > 0 for result in results)
    if n_failed:
        raise AttnRulesError(f"{warehouse}: {n_failed} of {len(results)} checks failed")

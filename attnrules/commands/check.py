"""`attnrules check`: does the warehouse hold together?"""

from __future__ import annotations

from pathlib import Path

import click

from attnrules.commands.options import warehouse_argument
from attnrules.errors import AttnRulesError


@click.command("check")
@warehouse_argument
def command(warehouse: Path) -> None:
    """Verify row counts, uniqueness, ids, activations and attention; exit 1 on a violation."""
    from attnrules.warehouse import Warehouse, check

    with Warehouse.open(warehouse) as opened:
        results = check(opened)
    for result in results:
        if result.n_problems:
            click.echo(f"FAIL  {result.name}: {result.n_problems} problems, first: {result.first_problem}")
        else:
            click.echo(f"ok    {result.name}")
    n_failed = sum(result.n_problems > 0 for result in results)
    if n_failed:
        raise AttnRulesError(f"{warehouse}: {n_failed} of {len(results)} checks failed")

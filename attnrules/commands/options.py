"""Options and parameter types that commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

warehouse_argument = click.argument(
    "warehouse", type=click.Path(path_type=Path, dir_okay=True), metavar="WAREHOUSE"
)


class Numbers(click.ParamType[tuple[int, ...]]):
    """Numbers and ranges, such as 0,3-5."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the distinct numbers in ascending order."""
        if isinstance(value, tuple):
            return value
        found: set[int] = set()
        for part in str(value).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdigit() or (dash and not last.isdigit()):
                self.fail(f"{value!r} is not a list of numbers such as 0,3-5", param, ctx)
            end = int(last) if dash else int(first)
            if end < int(first):
                self.fail(f"{part!r} runs backwards", param, ctx)
            found |= set(range(int(first), end + 1))
        return tuple(sorted(found))


layers_option = click.option("--layers", type=Numbers(), help="Layers, such as 0,3-5.  [all]")
heads_option = click.option("--heads", type=Numbers(), help="Heads, such as 0,1.  [all]")
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)


class Size(click.ParamType[str]):
    """An amount of memory, such as 8GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as DuckDB reads it."""
        if not re.fullmatch(r"[1-9]\d*(\.\d+)?\s*[MGT]i?B", str(value), re.IGNORECASE):
            self.fail(f"{value!r} is not a size such as 8GB", param, ctx)
        return str(value)


memory_limit_option = click.option(
    "--memory-limit",
    type=Size(),
    metavar="SIZE",
    help="What DuckDB may hold before it spills to disk, such as 8GB.  [half of the machine's memory]",
)


def feature_options(features: str) -> dict[str, Any]:
    """Read `--features`: a number per head, `all`, or features; return it as fields of a spec."""
    from attnrules.queries.card import parse_feature

    if features == "all":
        return {"n_features": None}
    if features.isdigit():
        if not int(features):
            raise click.BadParameter("must be at least 1", param_hint="--features")
        return {"n_features": int(features)}
    return {"features": tuple(parse_feature(part) for part in features.split(","))}

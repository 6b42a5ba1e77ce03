"""The card of a model: its heads, and how far rules describe them."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from attnrules.commands.terminal import visible

if TYPE_CHECKING:
    from attnrules.queries.pages import Site

# Heads of a screen.
_SHOWN = 32


def model_lines(site: Site, path: Path) -> list[str]:
    """Return the card of a model as lines of text; `path` is named in what to run next."""
    model = site.provenance
    if not model:
        return ["nothing is ingested yet: `attnrules ingest --help`"]
    lines = [
        f"{visible(model['name'])}  {model['n_layers']} layers of {model['n_heads']} heads;"
        f" {model['n_sequences']:,} sequences, {model['n_tokens']:,} tokens of {visible(model['source'])}",
        "",
        "average precision is of the median feature on all test positions, of lists of at most 16 rules",
        f"{'head':8} {'role':28} {'firing':>6} {'judged':>6}  {'average precision':17} {'ceiling':>7}"
        "  absence",
        *(_head_line(row) for row in site.heads[:_SHOWN]),
    ]
    where = quote(str(path))
    if (more := len(site.heads) - _SHOWN) > 0:
        lines.append(f"and {more} more: `attnrules query {where} heads_explained`")
    first = site.heads[0]["name"] if site.heads else "L0H0"
    return [*lines, "", f"more: `attnrules show {where} {first}`, `attnrules query {where} best_features`"]


def _head_line(row: dict[str, Any]) -> str:
    role = "—"
    if row["role"] is not None:
        role = f"{row['role'].replace('_', ' ')} {row['role_attention']:.2f}"
    precision = _number(row["median_average_precision_16"])
    tested = "—" if not row["n_absence_tested"] else f"{row['n_absence_confirmed']}/{row['n_absence_tested']}"
    return (
        f"{row['name']:8} {role:28} {row['n_firing']:6} {row['n_judged'] or 0:6}"
        f"  {precision:>17} {_number(row['median_ceiling']):>7}  {tested:>7}"
    )


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"
